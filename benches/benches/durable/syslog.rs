//! Syslog over TCP until it is durable, beside rsyslog.
//!
//! All take the same stream and must have all of it on disk, with a sync for each batch. Protocol
//! and senders are the same; nobody acknowledges, because syslog over TCP has no way to.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::process::{Process, Server, free_address, wait_for_listener, wait_until};
use crate::{Fault, Setting, emptied, number, payload};

const CONNECTIONS: usize = 4;
const LINE_BYTES: usize = 300;
const RSYSLOG: &str = "/usr/sbin/rsyslogd";

/// The stream repeats itself after so many lines, which is farther than LZ4 looks.
const BLOCK_LINES: usize = 10_000;

const CHECK_EVERY: Duration = Duration::from_millis(10);
const TIME_MAX: Duration = Duration::from_secs(300);

pub(crate) fn run(setting: &Setting) -> Result<(), Fault> {
    let blocks = number("LINES", 400_000)? / BLOCK_LINES;
    let stream = Stream { blocks: CONNECTIONS_SEEDS.map(block), repeats: blocks.max(1) };
    println!(
        "{CONNECTIONS} connections, {} lines of {LINE_BYTES} bytes each, newline-framed RFC 5424",
        stream.repeats * BLOCK_LINES
    );
    let mut contenders = vec![Contender::new("watchpost", watchpost)];
    if Path::new(RSYSLOG).exists() {
        contenders.push(Contender::new("rsyslog, imtcp", |folder, stream| {
            rsyslog(folder, stream, "imtcp")
        }));
        contenders.push(Contender::new("rsyslog, imptcp", |folder, stream| {
            rsyslog(folder, stream, "imptcp")
        }));
    } else {
        println!("{RSYSLOG} is not there, so without it");
    }
    for _ in 0..setting.rounds {
        for contender in &mut contenders {
            let folder = emptied(setting.folder.join("syslog"))?;
            contender.turns.push((contender.run)(&folder, &stream)?);
        }
    }
    emptied(setting.folder.join("syslog"))?;
    println!(
        "{:<16} | {:>9} {:>7} {:>6} | {:>18} | turns, events/s",
        "", "events/s", "MB/s", "ratio", "CPU s / M events"
    );
    let lines = stream.lines() as f64;
    let rate = |turn: &Turn| lines / turn.seconds;
    let best = |contender: &Contender| contender.turns.iter().map(rate).fold(0.0, f64::max);
    let ours = contenders.first().map_or(f64::NAN, best);
    for contender in &contenders {
        let cpu = contender.turns.iter().map(|turn| turn.cpu_seconds).fold(f64::INFINITY, f64::min);
        let turns: Vec<String> =
            contender.turns.iter().map(|turn| format!("{:.0}", rate(turn))).collect();
        let best = best(contender);
        println!(
            "{:<16} | {best:>9.0} {:>7.1} {:>6.2} | {:>18.2} | {}",
            contender.name,
            best * LINE_BYTES as f64 / 1e6,
            best / ours,
            cpu * 1e6 / lines,
            turns.join(" ")
        );
    }
    Ok(())
}

struct Contender {
    name: &'static str,
    run: fn(&Path, &Stream) -> Result<Turn, Fault>,
    turns: Vec<Turn>,
}

impl Contender {
    fn new(name: &'static str, run: fn(&Path, &Stream) -> Result<Turn, Fault>) -> Self {
        Contender { name, run, turns: Vec::new() }
    }
}

struct Turn {
    /// From the first byte until all is durable.
    seconds: f64,
    /// Of the process that is measured.
    cpu_seconds: f64,
}

/// What is sent: a block for each connection, again and again.
struct Stream {
    blocks: [Vec<u8>; CONNECTIONS],
    repeats: usize,
}

const CONNECTIONS_SEEDS: [u64; CONNECTIONS] = [1, 2, 3, 4];

fn block(seed: u64) -> Vec<u8> {
    let mut random = Rng::with_seed(seed);
    (0..BLOCK_LINES).flat_map(|_| payload::rfc5424_line(&mut random, LINE_BYTES)).collect()
}

impl Stream {
    fn lines(&self) -> usize {
        CONNECTIONS * self.repeats * BLOCK_LINES
    }

    /// Sends all of it over all connections, and waits until it is durable.
    fn send(
        &self,
        process: &Process,
        to: SocketAddr,
        is_durable: impl FnMut() -> Result<bool, Fault>,
    ) -> Result<Turn, Fault> {
        let cpu_before = process.cpu_seconds()?;
        let started = Instant::now();
        std::thread::scope(|scope| {
            let senders = self.blocks.each_ref().map(|block| {
                scope.spawn(move || {
                    let mut stream = TcpStream::connect(to)?;
                    (0..self.repeats).try_for_each(|_| stream.write_all(block))
                })
            });
            wait_until(CHECK_EVERY, TIME_MAX, is_durable)?;
            let seconds = started.elapsed().as_secs_f64();
            for sender in senders {
                sender.join().map_err(|_| "a sender panicked")??;
            }
            Ok(Turn { seconds, cpu_seconds: process.cpu_seconds()? - cpu_before })
        })
    }
}

fn watchpost(folder: &Path, stream: &Stream) -> Result<Turn, Fault> {
    let address = free_address()?;
    let server = Server::start(
        &folder.join("data"),
        &["--stages", "ingest"],
        &[("WATCHPOST_SYSLOG_TCP", &address.to_string())],
    )?;
    let lines = stream.lines();
    stream.send(&server.process, address, || {
        // Counted when the bus has acknowledged. A process without pages has this but no status.
        let metrics = server.get("/metrics")?;
        let counted = metrics.lines().find_map(|line| {
            line.strip_prefix("watchpost_ingest_records_total{listener=\"syslog-tcp\"} ")
        });
        Ok(counted.is_some_and(|count| count.parse() == Ok(lines)))
    })
}

/// The settings are the fastest of those that we tried with which rsyslog loses nothing: one worker
/// (only one can write the file), large batches (a sync is for a batch), a queue in memory that makes
/// senders wait when it is full, a large buffer before the file, lines written as they came.
fn rsyslog(folder: &Path, stream: &Stream, input: &str) -> Result<Turn, Fault> {
    let address = free_address()?;
    let (config, out) = (folder.join("rsyslog.conf"), folder.join("out.log"));
    std::fs::write(
        &config,
        format!(
            r#"global(workDirectory="{folder}" maxMessageSize="64k")
main_queue(queue.type="FixedArray" queue.size="200000" queue.dequeueBatchSize="16384"
           queue.workerThreads="1" queue.timeoutEnqueue="600000")
module(load="{input}")
input(type="{input}" address="127.0.0.1" port="{port}")
template(name="raw" type="list") {{ property(name="rawmsg") constant(value="\n") }}
action(type="omfile" file="{out}" template="raw" sync="on" asyncWriting="off" ioBufferSize="1m")
"#,
            folder = folder.display(),
            port = address.port(),
            out = out.display(),
        ),
    )?;
    let child = Command::new(RSYSLOG)
        .arg("-n")
        .arg("-f")
        .arg(&config)
        .arg("-i")
        .arg(folder.join("rsyslog.pid"))
        .stdin(Stdio::null())
        .spawn()?;
    let process = Process(child);
    wait_for_listener(address)?;
    let bytes = (stream.lines() * LINE_BYTES) as u64;
    // Seen when it is written, which is before the last sync.
    let turn = stream
        .send(&process, address, || Ok(out.metadata().is_ok_and(|meta| meta.len() >= bytes)))?;
    let length = out.metadata()?.len();
    if length != bytes {
        return Err(format!("rsyslog wrote {length} bytes of {bytes}").into());
    }
    Ok(turn)
}
