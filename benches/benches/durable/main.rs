//! How fast events become durable, and searchable, beside the fastest that does the same.
//!
//! `cargo bench -p benches --bench durable -- [append] [ingest] [pipeline]` runs the named sections,
//! or all. See `benches/README.md` for what is and is not included, and for the variables.

#![expect(clippy::print_stdout, reason = "a benchmark's output is its purpose")]

mod append;
mod ingest;
mod payload;
mod pipeline;
mod process;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

// The allocator of the engine.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Section = fn(&Setting) -> Result<(), Fault>;

/// Any error, from any thread.
type Fault = Box<dyn Error + Send + Sync>;

/// What all sections share.
struct Setting {
    /// Everything is written below it.
    folder: PathBuf,
    /// How often every contender has its turn; its best one counts.
    rounds: usize,
    /// The brokers of a Kafka cluster, if there is one.
    kafka: Option<String>,
}

fn main() -> Result<(), Fault> {
    let known = ["append", "ingest", "pipeline"];
    // Cargo adds options of its own.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    if let Some(unknown) = wanted.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("there is no section {unknown:?}; there are {known:?}").into());
    }
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);

    let base = std::env::var_os("FOLDER").unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into());
    std::fs::create_dir_all(&base)?;
    // Removed in the end, also after a panic.
    let folder = tempfile::Builder::new().prefix("durable-").tempdir_in(base)?;
    let kind = file_system(folder.path())?;
    if kind == "tmpfs" {
        return Err("FOLDER must be on a disk, and this is memory".into());
    }
    let setting = Setting {
        folder: folder.path().to_owned(),
        rounds: number("ROUNDS", 3)?,
        kafka: std::env::var("WATCHPOST_TEST_KAFKA").ok(),
    };
    println!("in {} ({kind}), best of {} rounds", folder.path().display(), setting.rounds);
    if setting.kafka.is_none() {
        println!("WATCHPOST_TEST_KAFKA names no broker, so without Kafka");
    }
    let sections: [(&str, Section); 3] =
        [("append", append::run), ("ingest", ingest::run), ("pipeline", pipeline::run)];
    for (name, run) in sections {
        if is_wanted(name) {
            println!("\n{name}, load {}", load()?);
            run(&setting)?;
            println!("load {}", load()?);
        }
    }
    Ok(())
}

/// A number that a variable may set.
fn number<N: FromStr<Err: Error + Send + Sync + 'static>>(
    name: &str,
    default: N,
) -> Result<N, Fault> {
    std::env::var(name).map_or(Ok(default), |text| Ok(text.parse()?))
}

/// The largest; zero of none.
fn best(of: &[f64]) -> f64 {
    of.iter().copied().fold(0.0, f64::max)
}

/// A folder that is there and empty.
fn emptied(folder: PathBuf) -> std::io::Result<PathBuf> {
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// What names of topics begin with, different in every call.
fn fresh_prefix() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("bench{}.", now.as_nanos())
}

/// The kind of file system that a folder is on.
fn file_system(folder: &Path) -> Result<String, Fault> {
    let folder = folder.canonicalize()?;
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let of_folder = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (place, kind) = (words.next()?, words.next()?);
        folder.starts_with(place).then_some((place.len(), kind))
    });
    // The last of equals is the one mounted on top.
    let (_, kind) = of_folder.max_by_key(|(length, _)| *length).ok_or("no mount has the folder")?;
    Ok(kind.to_owned())
}

/// How many processes wanted to run, over one, five and fifteen minutes, and how many can.
fn load() -> Result<String, Fault> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    let averages: Vec<&str> = text.split(' ').take(3).collect();
    let cores = std::thread::available_parallelism()?;
    Ok(format!("{} on {cores} cores", averages.join(" ")))
}
