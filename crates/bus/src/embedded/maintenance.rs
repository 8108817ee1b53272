//! Retention, and keeping memory small: what the embedded log does beside appending.
//!
//! Retention moves the first readable offset of a partition forward, by whole segments and only over
//! what may go, and then lets the store drop the tables that lie wholly before it: no record is
//! rewritten to remove another. The files of large entries are removed when nothing that is kept is in
//! them. The newest entry of a partition is never dropped from the store, even when nobody can read it
//! any more (and what it points to may be gone): from it the store and the log know how far the
//! partition ever came.

use std::ops::Bound;
use std::time::{Duration, Instant};

use fjall::AbstractTree;

use super::keys;
use super::segments::Segment;
use super::store::{DURABILITY, Log, Shared, get_u64, referenced};
use crate::consumer::lock;
use crate::{BusError, Offset, Retention, Topic, metrics};

/// How often memory is looked at.
pub(super) const TICK: Duration = Duration::from_secs(1);

/// A partition that nothing was appended to for this long gives its memory back.
const IDLE: Duration = Duration::from_secs(20);

/// What an idle partition may keep in memory; smaller tables would be too many.
const IDLE_BYTES: u64 = 1024 * 1024;

/// The maintenance thread's memory.
pub(super) struct Maintenance {
    retention_due: Instant,
    /// Of each partition: its end when it last changed, and when that was.
    seen: Vec<(Offset, Instant)>,
}

impl Maintenance {
    pub(super) fn new(shared: &Shared) -> Self {
        let now = Instant::now();
        Maintenance {
            retention_due: now + shared.settings.retention_interval,
            seen: logs(shared).map(|log| (log.end(), now)).collect(),
        }
    }

    /// Called every [`TICK`].
    pub(super) fn tick(&mut self, shared: &Shared) {
        let now = Instant::now();
        if now >= self.retention_due {
            self.retention_due = now + shared.settings.retention_interval;
            if has_room(shared)
                && let Err(error) = enforce(shared).and_then(|_| shared.keep_age())
            {
                tracing::warn!(%error, "retention could not remove what it should");
            }
        }
        if has_room(shared) {
            self.shrink_memory(shared, now);
        }
        if let Err(error) = report(shared) {
            tracing::warn!(%error, "the log cannot tell its metrics");
        }
    }

    fn shrink_memory(&mut self, shared: &Shared, now: Instant) {
        let mut total = 0;
        let mut largest: Option<(u64, &fjall::Keyspace)> = None;
        for (log, (end, changed)) in logs(shared).zip(&mut self.seen) {
            let bytes = log.entries.tree.active_memtable().size();
            if log.end() != *end {
                (*end, *changed) = (log.end(), now);
            } else if bytes > IDLE_BYTES && now.duration_since(*changed) > IDLE {
                flush(&log.entries);
                continue;
            }
            total += bytes;
            largest = largest.max_by_bytes(bytes, &log.entries);
        }
        for keyspace in [&shared.meta, &shared.state] {
            let bytes = keyspace.tree.active_memtable().size();
            total += bytes;
            largest = largest.max_by_bytes(bytes, keyspace);
        }
        if let (Some((_, keyspace)), true) = (largest, total > shared.settings.memtables_bytes_max)
        {
            flush(keyspace);
        }
    }
}

/// Whether the disk has room for what is written here. The store does not survive a write that finds
/// none, not before it is opened again; so on a disk that others have filled up, reserve and all,
/// nothing is written until there is room again.
fn has_room(shared: &Shared) -> bool {
    let needed = shared.settings.memtables_bytes_max.min(shared.settings.disk_reserve_bytes);
    (shared.free_bytes)().is_ok_and(|free| free >= needed)
}

trait Largest<'a> {
    fn max_by_bytes(self, bytes: u64, keyspace: &'a fjall::Keyspace) -> Self;
}

impl<'a> Largest<'a> for Option<(u64, &'a fjall::Keyspace)> {
    fn max_by_bytes(self, bytes: u64, keyspace: &'a fjall::Keyspace) -> Self {
        match self {
            Some((most, _)) if most >= bytes => self,
            _ => Some((bytes, keyspace)),
        }
    }
}

fn flush(keyspace: &fjall::Keyspace) {
    if let Err(error) = keyspace.rotate_memtable() {
        tracing::warn!(%error, keyspace = &**keyspace.name(), "cannot flush memory to disk");
    }
}

fn logs(shared: &Shared) -> impl Iterator<Item = &Log> {
    Topic::ALL.into_iter().flat_map(|topic| shared.logs(topic))
}

/// Removes what may go, and returns how many records that was.
pub(super) fn enforce(shared: &Shared) -> Result<u64, BusError> {
    let now = shared.age_now();
    let retention = *lock(&shared.retention);
    let mut removed = 0;
    for topic in Topic::ALL {
        let Retention { age, bytes } = retention[topic.index()];
        let logs = shared.logs(topic);
        let writing = lock(&shared.writing);
        // The segments have what was not written, and the store may still accept our writes.
        if let Some(failure) = &*lock(&shared.failure) {
            return Err(failure.clone());
        }
        let mut doomed: Vec<Vec<(Segment, bool)>> = logs.iter().map(|_| Vec::new()).collect();
        if let Some(age) = age {
            for (log, doomed) in logs.iter().zip(&mut doomed) {
                let mut segments = lock(&log.segments);
                while segments.expired(now, age).is_some() {
                    doomed.extend(segments.remove_oldest());
                }
            }
        }
        if let Some(bytes_max) = bytes {
            remove_over(logs, bytes_max, &mut doomed);
        }
        removed += retire(shared, logs, &doomed)?;
        let unreferenced = shared.files(topic).unreferenced(&referenced(logs));
        drop(writing);
        shared.files(topic).remove(&unreferenced)?;
        for (log, doomed) in logs.iter().zip(&doomed) {
            if let Some((last, _)) = doomed.last() {
                drop_tables(log, last.last)?;
            }
        }
    }
    Ok(removed)
}

/// Takes the oldest segments of a topic while it stays at least as large as the bound without them.
fn remove_over(logs: &[Log], bytes_max: u64, doomed: &mut [Vec<(Segment, bool)>]) {
    let mut total: u64 = logs.iter().map(|log| lock(&log.segments).bytes()).sum();
    while total > bytes_max {
        let oldest = logs
            .iter()
            .enumerate()
            .filter_map(|(index, log)| Some((index, lock(&log.segments).oldest()?)))
            .min_by_key(|(_, segment)| segment.newest);
        let Some((index, segment)) = oldest else { return };
        if total - segment.bytes < bytes_max {
            return;
        }
        total -= segment.bytes;
        doomed[index].extend(lock(&logs[index].segments).remove_oldest());
    }
}

/// Makes the segments unreadable, durably.
fn retire(shared: &Shared, logs: &[Log], doomed: &[Vec<(Segment, bool)>]) -> Result<u64, BusError> {
    let mut batch = shared.database.batch().durability(Some(DURABILITY));
    for (log, doomed) in logs.iter().zip(doomed) {
        let Some((last, _)) = doomed.last() else { continue };
        let begin = last.last.0 + 1;
        batch.insert(&shared.meta, keys::begin(log.topic, log.partition), begin.to_le_bytes());
        for (segment, _) in doomed.iter().filter(|(_, is_stored)| *is_stored) {
            batch.remove(&shared.meta, keys::segment(log.topic, log.partition, segment.last));
        }
    }
    batch.commit().map_err(|error| BusError::storage("removing old records", error))?;
    let mut removed = 0;
    for (log, doomed) in logs.iter().zip(doomed) {
        let Some((last, _)) = doomed.last() else { continue };
        let begin = Offset(last.last.0 + 1);
        removed += begin.0.saturating_sub(log.begin().0);
        log.set_begin(begin);
    }
    if let (Some(log), true) = (logs.first(), removed > 0) {
        metrics::BUS_RETIRED.with_label_values(&[log.topic.as_str()]).inc_by(removed);
        tracing::info!(topic = %log.topic, records = removed, "retention removed records");
    }
    Ok(removed)
}

/// Drops the tables that hold nothing after `last`, except the one with the newest entry.
fn drop_tables(log: &Log, last: Offset) -> Result<(), BusError> {
    let Some(newest) = log.entries.last_key_value() else { return Ok(()) };
    let newest = newest.key().map_err(|error| BusError::storage("removing old records", error))?;
    let after = keys::entry(Offset(last.0.saturating_add(1)));
    let end: &[u8] = if *newest < after[..] { &newest } else { &after };
    log.entries
        .tree
        .drop_range::<&[u8], _>((Bound::Unbounded, Bound::Excluded(end)))
        .map_err(|error| BusError::storage("dropping old tables", error))
}

/// Sets the gauges: how large topics are, and how far groups are behind.
fn report(shared: &Shared) -> Result<(), BusError> {
    for topic in Topic::ALL {
        let bytes: u64 = shared.logs(topic).iter().map(|log| lock(&log.segments).bytes()).sum();
        metrics::BUS_TOPIC_BYTES.with_label_values(&[topic.as_str()]).set(bytes as i64);
    }
    let mut groups: Vec<(String, Topic)> = Vec::new();
    for guard in shared.meta.prefix(keys::COMMITTED) {
        let key = guard.key().map_err(|error| BusError::storage("reading offsets", error))?;
        groups.extend(keys::committed_parts(&key));
    }
    groups.dedup();
    for (group, topic) in groups {
        let mut behind = 0;
        for log in shared.logs(topic) {
            let at = get_u64(&shared.meta, &keys::committed(&group, topic, log.partition))?;
            let at = at.unwrap_or(0).max(log.begin().0);
            behind += log.end().0.saturating_sub(at);
        }
        metrics::BUS_LAG.with_label_values(&[group.as_str(), topic.as_str()]).set(behind as i64);
    }
    Ok(())
}
