//! How fast events are indexed and found, and how much room they take, beside plain tantivy with a
//! schema made by hand, DuckDB and VictoriaLogs.
//!
//! `cargo bench -p benches --bench searching`. `EVENTS=5000000` sets how many, `ROUNDS=9` how often
//! each question is asked, `PYTHON` names an interpreter with the package `duckdb`, `VICTORIA_LOGS` a
//! binary; a peer that is not there is left out, and the run says so. See `benches/README.md`.

#![expect(clippy::print_stdout, reason = "a benchmark's output is its purpose")]

mod backtests;
mod events;
mod ours;
mod peers;
mod plain;
mod questions;

use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::questions::QUESTIONS;

// The allocator of the engine.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Any error, from any thread.
type Fault = Box<dyn Error + Send + Sync>;

/// What indexing came to.
struct Loaded {
    /// From the first line until all can be searched.
    took: Duration,
    /// What putting it together took after that.
    merged: Duration,
    /// On the disk.
    bytes: u64,
}

/// What asking came to.
#[derive(Debug, Default)]
struct Answered {
    hits: u64,
    /// The first time, with nothing in the page cache where that could be had.
    cold: Duration,
    warm: Vec<Duration>,
}

impl Answered {
    fn took(&mut self, time: Duration) {
        if self.cold.is_zero() {
            self.cold = time;
        } else {
            self.warm.push(time);
        }
    }

    /// The warm time that so many of a hundred are below.
    fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.warm.clone();
        sorted.sort_unstable();
        let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
        sorted.get(at).copied().unwrap_or_default()
    }
}

fn main() -> Result<(), Fault> {
    let number = |name: &str, default: usize| -> Result<usize, Fault> {
        std::env::var(name).map_or(Ok(default), |text| Ok(text.parse()?))
    };
    let (count, rounds) = (number("EVENTS", 5_000_000)?, number("ROUNDS", 20)?);
    let base = std::env::var_os("FOLDER").unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into());
    std::fs::create_dir_all(&base)?;
    // Removed in the end, also after a panic.
    let folder = tempfile::Builder::new().prefix("searching-").tempdir_in(base)?;
    let at = |name: &str| folder.path().join(name);
    let lines = at("events.jsonl");
    let started = Instant::now();
    let (raw, recorded) = events::write(&lines, count)?;
    println!(
        "{count} events ({recorded} different recorded ones), {} MB as JSON, made in {:.0} s; asked {rounds} times",
        raw / 1_000_000,
        started.elapsed().as_secs_f64()
    );
    println!("zstd (level 3) makes {:.3} of that\n", zstd_ratio(&lines, raw)?);

    let show = |name: &str, loaded: &Loaded| {
        println!(
            "{name:<14} {:>8.0} events/s  {:>5.1} MB/s  merged in {:>4.0} s  {:.3} of the JSON",
            count as f64 / loaded.took.as_secs_f64(),
            raw as f64 / 1e6 / loaded.took.as_secs_f64(),
            loaded.merged.as_secs_f64(),
            loaded.bytes as f64 / raw as f64
        );
    };
    show("ours", &ours::load(&lines, &at("ours"))?);
    show("plain tantivy", &plain::load(&lines, &at("plain"))?);
    let mut duckdb = match std::env::var("PYTHON") {
        Ok(python) => {
            let mut peer = peers::DuckDb::start(&python, &at("duckdb"))?;
            show("DuckDB", &peer.load(&lines)?);
            Some(peer)
        }
        Err(_) => {
            println!("DuckDB: left out, PYTHON names no interpreter");
            None
        }
    };
    let victoria = match std::env::var("VICTORIA_LOGS") {
        Ok(binary) => {
            let peer = peers::VictoriaLogs::start(&binary, &at("victoria"))?;
            show("VictoriaLogs", &peer.load(&lines)?);
            Some(peer)
        }
        Err(_) => {
            println!("VictoriaLogs: left out, VICTORIA_LOGS names no binary");
            None
        }
    };

    println!("\nmilliseconds: cold, median, 95th percentile");
    for question in &QUESTIONS {
        println!("{}: {}", question.name, question.ours);
        let mut answers = vec![
            ("ours", ours::ask(&at("ours"), question, rounds)?),
            ("plain tantivy", plain::ask(&at("plain"), question, rounds)?),
        ];
        if let Some(peer) = &mut duckdb {
            answers.push(("DuckDB", peer.ask(question, rounds)?));
        }
        if let Some(peer) = &victoria {
            answers.push(("VictoriaLogs", peer.ask(question, rounds)?));
        }
        for (name, answered) in answers {
            let ms = |time: Duration| time.as_secs_f64() * 1e3;
            println!(
                "  {name:<14} {:>9.1} {:>9.1} {:>9.1}   {} hits",
                ms(answered.cold),
                ms(answered.percentile(50)),
                ms(answered.percentile(95)),
                answered.hits
            );
        }
    }
    backtests::run(&at("ours"))
}

/// What zstd makes of all lines, as a share of them.
fn zstd_ratio(lines: &Path, raw: u64) -> Result<f64, Fault> {
    struct Counted(u64);
    impl std::io::Write for Counted {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len() as u64;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut counted = Counted(0);
    zstd::stream::copy_encode(std::fs::File::open(lines)?, &mut counted, 3)?;
    Ok(counted.0 as f64 / raw as f64)
}

/// The bytes of all files below a folder.
fn bytes_below(folder: &Path) -> Result<u64, Fault> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        bytes += match entry.file_type()?.is_dir() {
            true => bytes_below(&entry.path())?,
            false => entry.metadata()?.len(),
        };
    }
    Ok(bytes)
}

/// Takes the files below a folder out of the page cache, with `dd`, which can ask for that.
fn drop_cached(folder: &Path) -> Result<(), Fault> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            drop_cached(&path)?;
        } else {
            let of = format!("of={}", path.display());
            Command::new("dd")
                .args([&of, "oflag=nocache", "conv=notrunc,fdatasync", "count=0", "status=none"])
                .status()?;
        }
    }
    Ok(())
}
