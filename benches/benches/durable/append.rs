//! Megabytes a second that a bus acknowledges, through the trait that every backend has.
//!
//! The floor is the least that any durable log must do: the same producers hand the same records to
//! one thread, which writes them to plain segment files and syncs once per group.
//!
//! Records are of two kinds: lines like those of a log, and random bytes, on which compression gains
//! nothing and costs most.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use bus::{Bus, Compression, EmbeddedBus, Records, Retention, Settings, Topic};
use bus_kafka::KafkaBus;
use fastrand::Rng;

use crate::{Fault, Setting, best, emptied, fresh_prefix, number, payload};

const PRODUCERS: usize = 8;
const SEGMENT_BYTES: usize = 64 * 1024 * 1024;
const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes of a record, and records of an append.
const LOADS: [(usize, usize); 6] =
    [(200, 1), (200, 300), (1024, 1), (1024, 64), (10_240, 1), (10_240, 16)];

/// What the cluster keeps of what we wrote, so that its disk does not fill.
const KAFKA_BYTES_KEPT: u64 = 256 * 1024 * 1024;

pub(crate) fn run(setting: &Setting) -> Result<(), Fault> {
    let seconds = number("SECONDS", 2.0)?;
    let time = Duration::from_secs_f64(seconds);
    let kafka = setting.kafka.as_deref().map(connect).transpose()?;
    println!("{PRODUCERS} producers, {seconds} s a turn; MB/s, and the share of the floor");
    println!(
        "{:>7} {:>7} {:>7} | {:>8} | {:>8} {:>6} | {:>8} {:>6} | {:>8} {:>6}",
        "record", "append", "kind", "floor", "lz4", "", "none", "", "kafka", ""
    );
    let only: usize = number("LOAD", usize::MAX)?;
    for (kind, random) in [("lines", false), ("random", true)] {
        for (index, (record_bytes, records)) in LOADS.into_iter().enumerate() {
            if only != usize::MAX && only != index {
                continue;
            }
            let load = Load { record_bytes, records, random, time };
            let folder = || emptied(setting.folder.join("append"));
            let mut speeds: [Vec<f64>; 4] = Default::default();
            for _ in 0..setting.rounds {
                speeds[0].push(floor(&folder()?, &load)?);
                speeds[1].push(embedded(&folder()?, &load, Compression::Lz4)?);
                speeds[2].push(embedded(&folder()?, &load, Compression::None)?);
                if let Some(kafka) = &kafka {
                    speeds[3].push(through(kafka, &load)?);
                }
            }
            folder()?;
            let [floor, others @ ..] = speeds.map(|speeds| best(&speeds));
            print!("{record_bytes:>7} {records:>7} {kind:>7} | {floor:>8.1}");
            for speed in others.into_iter().filter(|speed| *speed > 0.0) {
                print!(" | {speed:>8.1} {:>5.0}%", 100.0 * speed / floor);
            }
            println!();
        }
    }
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
        let mut random = Rng::with_seed(seed);
        let value = |_| match self.random {
            true => (0..self.record_bytes).map(|_| random.u8(..)).collect(),
            false => payload::old_lines(&mut random, self.record_bytes),
        };
        (0..self.records).map(value).collect()
    }
}

fn connect(brokers: &str) -> Result<KafkaBus, Fault> {
    let mut settings = bus_kafka::Settings::from_url(&format!("kafka://{brokers}"))?;
    settings.prefix = fresh_prefix();
    settings.partitions = Settings::default().topic(Topic::Raw).partitions;
    settings.segment_bytes = Some(KAFKA_BYTES_KEPT / 16);
    settings.retention[Topic::Raw.index()] = Retention { age: None, bytes: Some(KAFKA_BYTES_KEPT) };
    Ok(KafkaBus::connect(settings)?)
}

fn embedded(folder: &Path, load: &Load, compression: Compression) -> Result<f64, Fault> {
    let settings = Settings { compression, ..Settings::default() };
    through(&EmbeddedBus::open(folder, settings)?, load)
}

/// Megabytes of values a second that a bus acknowledged.
fn through(bus: &dyn Bus, load: &Load) -> Result<f64, Fault> {
    produce(load, |values| {
        let mut records = Records::new();
        move || {
            for value in &values {
                records.push(b"host", &[], value);
            }
            Ok(bus.append(Topic::Raw, &mut records)?)
        }
    })
}

/// A group's bytes, and where they go back to once they are durable.
type Handed = (Vec<u8>, SyncSender<Vec<u8>>);

/// Megabytes of values a second that plain synced files take.
fn floor(folder: &Path, load: &Load) -> Result<f64, Fault> {
    let (sender, receiver) = sync_channel::<Handed>(PRODUCERS);
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || write_segments(folder, &receiver));
        let speed = produce(load, |values| {
            let to_writer = sender.clone();
            let (done, answers) = sync_channel(1);
            let mut buffer = Vec::new();
            move || {
                for value in &values {
                    buffer.extend_from_slice(value);
                }
                to_writer.send((std::mem::take(&mut buffer), done.clone()))?;
                buffer = answers.recv()?;
                Ok(())
            }
        });
        drop(sender);
        writer.join().map_err(|_| "the writer panicked")??;
        speed
    })
}

fn write_segments(folder: &Path, receiver: &Receiver<Handed>) -> std::io::Result<()> {
    let mut group = Vec::new();
    let (mut number, mut written) = (0, SEGMENT_BYTES);
    let mut file = None;
    while let Ok(first) = receiver.recv() {
        let mut bytes = first.0.len();
        group.push(first);
        while bytes < GROUP_BYTES_MAX
            && let Ok(more) = receiver.try_recv()
        {
            bytes += more.0.len();
            group.push(more);
        }
        if written >= SEGMENT_BYTES {
            (number, written) = (number + 1, 0);
            file = Some(File::create(folder.join(format!("{number}.log")))?);
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
            // A producer that failed is gone.
            done.send(buffer).ok();
        }
    }
    Ok(())
}

/// Runs the producers until the time is over.
fn produce<A: FnMut() -> Result<(), Fault> + Send>(
    load: &Load,
    producer: impl Fn(Vec<Vec<u8>>) -> A,
) -> Result<f64, Fault> {
    let appends: Vec<A> = (0..PRODUCERS as u64).map(|seed| producer(load.values(seed))).collect();
    let started = Instant::now();
    let run = |mut append: A| {
        let mut count = 0_usize;
        while started.elapsed() < load.time {
            append()?;
            count += 1;
        }
        Ok(count)
    };
    let counts: Result<Vec<usize>, Fault> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            appends.into_iter().map(|append| scope.spawn(move || run(append))).collect();
        threads.into_iter().map(|t| t.join().map_err(|_| "a producer panicked")?).collect()
    });
    let bytes = counts?.iter().sum::<usize>() * load.records * load.record_bytes;
    Ok(bytes as f64 / 1e6 / started.elapsed().as_secs_f64())
}
