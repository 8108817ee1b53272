//! Measures records through two stages on the embedded log, and the memory it takes.
//!
//! Producers append to `raw`, one stage copies `raw` to `events`, another `events` to `matches`, each
//! with its offsets in the same commit: the bus's share of the pipeline's cost, with no work in it.
//!
//! ```text
//! cargo run --release -p bus --example stages [FOLDER] [RECORDS]
//! ```

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::{
    Bus, EmbeddedBus, Output, Record, Records, Reject, Settings, Shutdown, Stage, StageOptions,
    Topic, run_stage,
};
use event::Timestamp;

/// As in the real program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PRODUCERS: usize = 2;
const RECORD_BYTES: usize = 1024;
const APPEND_RECORDS: usize = 200;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let records: usize = arguments.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let folder = folder.join(format!("bus-stages-{}", std::process::id()));
    let bus = Arc::new(EmbeddedBus::open(&folder, Settings::default())?);
    let shutdown = Shutdown::new();
    let stages = [
        Copy { name: "first", from: [Topic::Raw], to: Topic::Events },
        Copy { name: "second", from: [Topic::Events], to: Topic::Matches },
    ];
    let mut workers = Vec::new();
    for stage in stages {
        let options = StageOptions::default();
        workers.push(run_stage(bus.clone(), Box::new(stage), options, shutdown.clone())?);
    }
    let mut out = std::io::stdout();
    let started = Instant::now();
    std::thread::scope(|scope| {
        for seed in 0..PRODUCERS {
            let bus = bus.as_ref();
            scope.spawn(move || produce(bus, seed as u64, records / PRODUCERS));
        }
    });
    let appended = started.elapsed();
    let end: u64 = bus.extents(Topic::Raw)?.iter().map(|extent| extent.end.0).sum();
    while bus.extents(Topic::Matches)?.iter().map(|extent| extent.end.0).sum::<u64>() < end {
        std::thread::sleep(Duration::from_millis(1));
    }
    let through = started.elapsed();
    for (what, time) in [("appended", appended), ("through both stages", through)] {
        let speed = end as f64 / time.as_secs_f64();
        writeln!(out, "{end} records of {RECORD_BYTES} bytes {what}: {speed:.0} a second")?;
    }
    writeln!(out, "memory after it: {}", resident()?)?;
    std::thread::sleep(Duration::from_secs(30));
    writeln!(out, "memory after 30 idle seconds: {}", resident()?)?;
    writeln!(out, "left to read: {}", bus.lag("second", &[Topic::Events])?)?;
    shutdown.trigger();
    for worker in workers {
        worker.join()?;
    }
    drop(bus);
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

fn produce(bus: &dyn Bus, seed: u64, records: usize) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut batch = Records::new();
    let mut value = Vec::new();
    for _ in 0..records / APPEND_RECORDS {
        for _ in 0..APPEND_RECORDS {
            value.clear();
            while value.len() < RECORD_BYTES {
                let (host, user, number) = (random.u16(..500), random.u16(..2000), random.u32(..));
                value.extend_from_slice(
                    format!(
                        r#"{{"host.name":"web{host}","user.name":"u{user}","event.code":{number}}}"#
                    )
                    .as_bytes(),
                );
            }
            value.truncate(RECORD_BYTES);
            let key = format!("web{}", random.u16(..500));
            batch.push(key.as_bytes(), &[("source", b"10.0.0.1")], &value);
        }
        bus.append(Topic::Raw, &mut batch).expect("the disk has room");
    }
}

fn resident() -> Result<String, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS")).ok_or("no VmRSS")?;
    Ok(line.trim_start_matches("VmRSS:").trim().to_owned())
}

struct Copy {
    name: &'static str,
    from: [Topic; 1],
    to: Topic,
}

impl Stage for Copy {
    fn name(&self) -> &'static str {
        self.name
    }

    fn inputs(&self) -> &[Topic] {
        &self.from
    }

    fn process(
        &mut self,
        record: &Record<'_>,
        _: Timestamp,
        output: &mut Output,
    ) -> Result<(), Reject> {
        output.to(self.to).push(record.key, &[("source", b"10.0.0.1")], record.value);
        Ok(())
    }
}
