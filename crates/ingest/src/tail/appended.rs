//! What was appended after the last checkpoint, found on the bus: so that a crash doubles nothing.
//!
//! A checkpoint holds where the topic ended. After a crash, what stands behind that is read once, and
//! every record that came from a file is remembered by name, position and text. When the file is
//! read again from the checkpoint on, those are passed over. A record is passed over only if just
//! this record is on the bus, so nothing can be lost by it.

use std::collections::HashMap;

use bus::{Batch, Bus, BusError, Offset, PollLimits, Polled, Topic};
use event::Timestamp;
use event::raw::{LISTENER_FILE, RawRecord};
use xxhash_rust::xxh3::Xxh3;

/// The group that reads; it never commits.
const GROUP: &str = "files-recovery";

/// The most records that are gone through. A checkpoint is at most about a minute old, and this is
/// more than comes in a minute; if not, the rest may be doubled.
pub const RECOVERY_RECORDS_MAX: u64 = 20_000_000;

/// How long the bus may take to give us its partitions, or anything further.
const QUIET_MAX: u32 = 300;

/// Records that are on the bus already, each as often as it is.
#[derive(Debug, Default)]
pub(super) struct Appended(HashMap<u128, u32>);

impl Appended {
    /// Reads the topic from these offsets to its present end.
    pub(super) fn since(bus: &dyn Bus, from: &[u64]) -> Result<Appended, BusError> {
        let mut appended = Appended::default();
        let ends = bus.extents(Topic::Raw)?;
        let is_ahead = |extent: &bus::Extent| {
            let from = from.get(extent.partition.0 as usize).copied();
            from.filter(|from| *from < extent.end.0).map(|from| from.max(extent.begin.0))
        };
        if !ends.iter().any(|extent| is_ahead(extent).is_some()) {
            return Ok(appended);
        }
        let mut consumer = bus.consumer(GROUP, &[Topic::Raw])?;
        let limits = PollLimits::default();
        let (mut batch, mut records, mut quiet) = (Batch::new(), 0, 0);
        let mut is_placed = false;
        while quiet < QUIET_MAX {
            match consumer.poll(&limits, &mut batch)? {
                Polled::Reassigned => {
                    for extent in &ends {
                        let from = is_ahead(extent).unwrap_or(extent.end.0);
                        consumer.seek(Topic::Raw, extent.partition, Offset(from))?;
                    }
                    appended.0.clear();
                    is_placed = true;
                    continue;
                }
                Polled::Nothing => quiet += 1,
                Polled::Records => quiet = 0,
            }
            for record in batch.iter() {
                let mut raw = RawRecord::new(record.value, Timestamp::EPOCH);
                for (name, value) in record.headers.iter() {
                    raw.read_header(name, value);
                }
                if let (LISTENER_FILE, Some(position)) = (raw.listener, raw.position) {
                    *appended.0.entry(key(raw.peer, position, raw.payload)).or_default() += 1;
                }
            }
            records += batch.len() as u64;
            if records > RECOVERY_RECORDS_MAX {
                tracing::warn!(
                    records,
                    "so much was appended since the checkpoint of files that some of it may be doubled"
                );
                break;
            }
            let is_done = |extent: &bus::Extent| {
                consumer
                    .position(Topic::Raw, extent.partition)
                    .is_none_or(|position| position >= extent.end)
            };
            if is_placed && ends.iter().all(is_done) {
                break;
            }
        }
        Ok(appended)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether just this record is there; it is then taken out.
    pub(super) fn take(&mut self, name: &str, position: u64, text: &[u8]) -> bool {
        let key = key(name, position, text);
        let Some(count) = self.0.get_mut(&key) else { return false };
        *count -= 1;
        if *count == 0 {
            self.0.remove(&key);
        }
        true
    }
}

fn key(name: &str, position: u64, text: &[u8]) -> u128 {
    let mut hash = Xxh3::new();
    hash.update(&(name.len() as u64).to_le_bytes());
    hash.update(name.as_bytes());
    hash.update(&position.to_le_bytes());
    hash.update(text);
    hash.digest128()
}
