//! Measures how many megabytes a second the embedded log acknowledges, beside its floor.
//!
//! The floor is the least that any durable log must do: the same producers hand the same records to
//! one thread, which writes them to plain segment files and syncs once per group. Both run in turns
//! in one process on one disk, so that the ratio means something on any machine.
//!
//! ```text
//! cargo run --release -p bus --example append [FOLDER] [SECONDS_PER_RUN]
//! ```
//!
//! Records are of two kinds: lines like those of a log, and random bytes, on which compression gains
//! nothing and costs most.

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use bus::{Bus, Compression, EmbeddedBus, Records, Settings, Topic};

const PRODUCERS: usize = 8;
const SEGMENT_BYTES: usize = 64 * 1024 * 1024;
const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let seconds = arguments.next().map_or(Ok(3.0), |text| text.parse())?;
    let time = Duration::from_secs_f64(seconds);
    let folder = folder.join(format!("bus-append-{}", std::process::id()));
    let mut out = std::io::stdout();
    writeln!(out, "{PRODUCERS} producers, {seconds} s a run, in {}", folder.display())?;
    writeln!(
        out,
        "{:>7} {:>7} {:>7} | {:>10} {:>10} {:>10} | {:>7} {:>7}",
        "record", "append", "kind", "floor MB/s", "lz4 MB/s", "none MB/s", "lz4", "none"
    )?;
    for (record_bytes, records) in
        [(200, 1), (200, 300), (1024, 1), (1024, 64), (10_240, 1), (10_240, 16)]
    {
        for random in [false, true] {
            let load = Load { record_bytes, records, random, time };
            let floor = fresh(&folder, |path| floor(path, &load))?;
            let lz4 = fresh(&folder, |path| log(path, &load, Compression::Lz4))?;
            let none = fresh(&folder, |path| log(path, &load, Compression::None))?;
            let kind = if random { "random" } else { "lines" };
            writeln!(
                out,
                "{record_bytes:>7} {records:>7} {kind:>7} | {floor:>10.1} {lz4:>10.1} {none:>10.1} | {:>6.0}% {:>6.0}%",
                100.0 * lz4 / floor,
                100.0 * none / floor,
            )?;
        }
    }
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

/// What each producer appends.
struct Load {
    record_bytes: usize,
    /// Records of one append.
    records: usize,
    random: bool,
    time: Duration,
}

impl Load {
    fn values(&self, seed: u64) -> Vec<Vec<u8>> {
        let mut random = fastrand::Rng::with_seed(seed);
        let value = |_| {
            let mut value = Vec::new();
            while value.len() < self.record_bytes {
                if self.random {
                    value.push(random.u8(..));
                } else {
                    let (host, pid, port) = (random.u16(..500), random.u16(..), random.u16(..));
                    let line = format!(
                        "<38>Nov 24 12:{:02}:{:02} web{host:03} sshd[{pid}]: Failed password for \
                         invalid user admin from 10.{}.{}.{} port {port} ssh2\n",
                        random.u8(..60),
                        random.u8(..60),
                        random.u8(..),
                        random.u8(..),
                        random.u8(..)
                    );
                    value.extend_from_slice(line.as_bytes());
                }
            }
            value.truncate(self.record_bytes);
            value
        };
        (0..self.records).map(value).collect()
    }
}

fn fresh(
    folder: &Path,
    run: impl FnOnce(&Path) -> Result<f64, Box<dyn Error>>,
) -> Result<f64, Box<dyn Error>> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    std::fs::create_dir_all(folder)?;
    run(folder)
}

/// Megabytes of values a second that the log acknowledged.
fn log(path: &Path, load: &Load, compression: Compression) -> Result<f64, Box<dyn Error>> {
    let settings = Settings { compression, ..Settings::default() };
    let bus = EmbeddedBus::open(path, settings)?;
    produce(load, |values| {
        let bus = bus.clone();
        let mut records = Records::new();
        move || {
            for value in &values {
                records.push(b"host", &[], value);
            }
            bus.append(Topic::Raw, &mut records).is_ok()
        }
    })
}

/// Megabytes of values a second that plain synced files take.
fn floor(path: &Path, load: &Load) -> Result<f64, Box<dyn Error>> {
    let (sender, receiver) = sync_channel::<(Vec<u8>, SyncSender<Vec<u8>>)>(PRODUCERS);
    let path = path.to_owned();
    let writer = std::thread::spawn(move || write_segments(&path, &receiver));
    let speed = produce(load, |values| {
        let to_writer = sender.clone();
        let (done, answers) = sync_channel(1);
        let mut buffer = Vec::new();
        move || {
            for value in &values {
                buffer.extend_from_slice(value);
            }
            let sent = to_writer.send((std::mem::take(&mut buffer), done.clone())).is_ok();
            match answers.recv() {
                Ok(returned) => buffer = returned,
                Err(_) => return false,
            }
            sent
        }
    })?;
    drop(sender);
    writer.join().map_err(|_| "the writer panicked")??;
    Ok(speed)
}

fn write_segments(
    path: &Path,
    receiver: &Receiver<(Vec<u8>, SyncSender<Vec<u8>>)>,
) -> std::io::Result<()> {
    let mut group = Vec::new();
    let (mut number, mut written) = (0, SEGMENT_BYTES);
    let mut file = None;
    while let Ok(first) = receiver.recv() {
        group.push(first);
        let mut bytes = 0;
        while let Ok(more) = receiver.try_recv() {
            bytes += more.0.len();
            group.push(more);
            if bytes > GROUP_BYTES_MAX {
                break;
            }
        }
        if written >= SEGMENT_BYTES {
            (number, written) = (number + 1, 0);
            file = Some(File::create(path.join(format!("{number}.log")))?);
        }
        if let Some(file) = &mut file {
            for (buffer, _) in &group {
                file.write_all(buffer)?;
                written += buffer.len();
            }
            file.sync_data()?;
        }
        for (mut buffer, done) in group.drain(..) {
            buffer.clear();
            done.send(buffer).ok();
        }
    }
    Ok(())
}

/// Runs the producers until the time is over.
fn produce<A: FnMut() -> bool + Send + 'static>(
    load: &Load,
    producer: impl Fn(Vec<Vec<u8>>) -> A,
) -> Result<f64, Box<dyn Error>> {
    let started = Instant::now();
    let mut producers = Vec::new();
    for seed in 0..PRODUCERS {
        let mut append = producer(load.values(seed as u64));
        let time = load.time;
        producers.push(std::thread::spawn(move || {
            let mut appends = 0_usize;
            while started.elapsed() < time {
                if !append() {
                    return None;
                }
                appends += 1;
            }
            Some(appends)
        }));
    }
    let mut appends = 0;
    for producer in producers {
        let done = producer.join().map_err(|_| "a producer panicked")?;
        appends += done.ok_or("an append failed")?;
    }
    let bytes = appends * load.records * load.record_bytes;
    Ok(bytes as f64 / 1e6 / started.elapsed().as_secs_f64())
}
