//! Follows files into a log in a folder and says each second how it goes:
//! `tail FOLDER PATTERN... [--start REGEX]`. Ends when its standard input does.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bus::{Bus, EmbeddedBus, Settings, Topic};
use ingest::tail::{FileSettings, Tail};
use ingest::{Intake, IntakeLimits};

#[expect(clippy::print_stdout, reason = "an example tells what it does")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("name a folder for the log")?);
    let mut files = FileSettings::default();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--start" => files.multiline_start = arguments.next().ok_or("--start needs a regex")?,
            _ => files.paths.push(argument),
        }
    }
    let bus: Arc<dyn Bus> = Arc::new(EmbeddedBus::open(&folder, Settings::default())?);
    let intake = Intake::new(Arc::clone(&bus), IntakeLimits::default());
    let tail = Tail::open(&[files], folder.join("files.json"), intake)?;
    let statuses = tail.statuses();
    let stop = Arc::new(AtomicBool::new(false));
    let following = tail.start(Arc::clone(&stop))?;
    let at_end = Arc::clone(&stop);
    thread::spawn(move || {
        let mut rest = Vec::new();
        std::io::stdin().read_to_end(&mut rest).ok();
        at_end.store(true, Ordering::Relaxed);
    });
    let appended = || -> Result<u64, bus::BusError> {
        Ok(bus.extents(Topic::Raw)?.iter().map(|extent| extent.end.0).sum())
    };
    let (started, mut before) = (Instant::now(), appended()?);
    while !stop.load(Ordering::Relaxed) && !following.is_finished() {
        thread::sleep(Duration::from_secs(1));
        let (files, now) = (statuses.get(), appended()?);
        let lag: u64 = files.iter().map(|file| file.size.saturating_sub(file.position)).sum();
        let at = started.elapsed().as_secs_f64();
        println!(
            "{at:.1} s: {} files, {lag} bytes behind, {now} records (+{})",
            files.len(),
            now - before
        );
        before = now;
    }
    following.join().map_err(|_| "the thread of the tail panicked")??;
    println!("{} records", appended()?);
    bus.close();
    Ok(())
}
