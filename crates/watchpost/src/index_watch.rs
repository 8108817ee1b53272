//! Checks the files of the index in the background: at the start, and once a day.
//!
//! Opening the index reads little of it, so a byte that flipped on the disk would be met by a search
//! some day, or make it answer wrongly. What is found damaged the stage `indexing` sets aside and
//! makes again from the bus.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bus::Shutdown;
use indexing::Index;

/// How long between two rounds.
const EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// Starts the thread that checks.
///
/// # Errors
/// When there is no thread to be had.
pub(crate) fn start(index: Index, shutdown: Shutdown) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("index-watch".into()).spawn(move || {
        loop {
            round(&index, &shutdown);
            if !shutdown.sleep(EVERY) {
                return;
            }
        }
    })
}

/// Checks all partitions, the newest first: what a crash damaged is there.
fn round(index: &Index, shutdown: &Shutdown) {
    for partition in index.partitions().iter().rev() {
        let started = Instant::now();
        match index.check(partition.id) {
            Ok(Some(checked)) if !checked.damage.is_empty() => {
                let damage = checked.damage.join(", ");
                tracing::error!(partition = %partition.id, damage, "an index partition is damaged");
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, partition = %partition.id, "an index partition cannot be checked");
            }
        }
        // The disk is for searches; half of the time it is theirs alone.
        if !shutdown.sleep(started.elapsed()) {
            return;
        }
    }
}
