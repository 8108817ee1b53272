//! The embedded log: topics that survive, in one process and one folder.
//!
//! Records lie as entries of many records in a log-structured store (`fjall`), which gives one atomic
//! and synced write batch over topics, offsets and state: that is what a commit is. The journal of
//! the store makes it durable; its tables, of keys that only grow, are moved and dropped but never
//! rewritten. The store writes each byte twice, to the journal and to a table; so large entries lie in
//! plain files, written once and synced before the batch that points to them (`files.rs`), and a group
//! that has some pays a second sync. `benches` measures it against plain files.
//!
//! It refuses to share its folder with a second process, to acknowledge anything when the disk is
//! nearly full, and to go on after a failed write.

mod committer;
mod entry;
mod files;
mod keys;
mod maintenance;
mod recovery;
mod segments;
mod store;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use event::Timestamp;

use self::committer::{Committer, Request};
use self::maintenance::Maintenance;
use self::store::{FreeBytes, Shared, get_u64};
use crate::consumer::{LocalConsumer, Store, lock};
use crate::error::{count_refused, too_large};
use crate::group::check_name;
use crate::records::RECORD_BYTES_MAX;
use crate::{
    Bus, BusError, Clock, Consumer, Extent, Offset, OnDone, Partition, Records, Retention,
    StateVisitor, Topic,
};

pub use self::entry::Compression;

/// Tells for how long the machine has run.
pub type Running = Arc<dyn Fn() -> Duration + Send + Sync>;

/// How an [`EmbeddedBus`] is opened.
#[derive(Clone)]
pub struct Settings {
    /// Each topic's own settings, by [`Topic::index`].
    pub topics: [TopicSettings; Topic::ALL.len()],
    /// How records are compressed on disk.
    pub compression: Compression,
    /// The largest record.
    pub record_bytes_max: usize,
    /// The most bytes that may wait to be written; above it, appends wait or are refused.
    pub pending_bytes_max: usize,
    /// Nothing is accepted while less than this is free on the disk, so that what was accepted can
    /// still be moved, indexed and removed.
    pub disk_reserve_bytes: u64,
    /// The memory for blocks read from disk. Consumers read what was just written, which is in
    /// memory anyway.
    pub cache_bytes: u64,
    /// A partition's newest entries are kept in memory up to this, then written as a table.
    pub memtable_bytes_max: u64,
    /// The same for offsets and for the state of stages.
    pub small_memtable_bytes_max: u64,
    /// The bound of all of these together; checked once a second.
    pub memtables_bytes_max: u64,
    /// How often retention is applied.
    pub retention_interval: Duration,
    /// Where the time comes from.
    pub clock: Clock,
    /// How long the machine has run since some moment. Unlike the clock it cannot be set, and the
    /// age of records is told by both (see [`AgeClock`](event::AgeClock)).
    pub running: Running,
}

/// The settings of one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicSettings {
    /// How many partitions it is made with; it keeps them.
    pub partitions: u32,
    /// How long its records are kept.
    pub retention: Retention,
}

impl Settings {
    /// The settings of a topic.
    pub fn topic(&self, topic: Topic) -> &TopicSettings {
        &self.topics[topic.index()]
    }

    /// The settings of a topic, to change.
    pub fn topic_mut(&mut self, topic: Topic) -> &mut TopicSettings {
        &mut self.topics[topic.index()]
    }
}

impl Default for Settings {
    fn default() -> Self {
        const MIB: u64 = 1024 * 1024;
        const GIB: u64 = 1024 * MIB;
        let days = |days: u64| Some(Duration::from_secs(days * 24 * 60 * 60));
        // The topics are a buffer between stages, not the archive, which is the index: a few days
        // to replay, and bounds that fit the disk of a laptop. Alerts and rejected records are few
        // and dear.
        let busy = |bytes| TopicSettings {
            partitions: 4,
            retention: Retention { age: days(7), bytes: Some(bytes) },
        };
        let dear = TopicSettings {
            partitions: 1,
            retention: Retention { age: days(90), bytes: Some(2 * GIB) },
        };
        Settings {
            topics: Topic::ALL.map(|topic| match topic {
                Topic::Raw | Topic::Events => busy(10 * GIB),
                Topic::Matches => busy(2 * GIB),
                Topic::Alerts | Topic::Rejected => dear,
            }),
            compression: Compression::Lz4,
            record_bytes_max: RECORD_BYTES_MAX,
            pending_bytes_max: 32 * MIB as usize,
            disk_reserve_bytes: 512 * MIB,
            cache_bytes: 16 * MIB,
            memtable_bytes_max: 8 * MIB,
            small_memtable_bytes_max: 4 * MIB,
            memtables_bytes_max: 48 * MIB,
            retention_interval: Duration::from_secs(30),
            clock: Arc::new(Timestamp::now),
            running: {
                let started = Instant::now();
                Arc::new(move || started.elapsed())
            },
        }
    }
}

/// The durable bus of one process. Clones are the same bus.
#[derive(Clone)]
pub struct EmbeddedBus(Arc<Owner>);

/// Ends the threads when the last handle goes.
struct Owner {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    stop: Arc<Stop>,
}

/// Wakes the maintenance thread to stop.
#[derive(Default)]
struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl EmbeddedBus {
    /// Opens the log in a folder, which is made if it does not exist, and recovers what was
    /// acknowledged.
    ///
    /// The folder stays in use until the bus and all its consumers are dropped.
    pub fn open(path: impl AsRef<Path>, settings: Settings) -> Result<Self, BusError> {
        let path = path.as_ref().to_owned();
        let of_disk = path.clone();
        Self::open_with(&path, settings, Box::new(move || free_bytes(&of_disk)))
    }

    fn open_with(path: &Path, settings: Settings, free: FreeBytes) -> Result<Self, BusError> {
        recovery::prepare(path)?;
        let shared = Arc::new(Shared::open(path.to_owned(), settings, free)?);
        let bus = EmbeddedBus(Arc::new(Owner {
            shared: Arc::clone(&shared),
            threads: Mutex::default(),
            stop: Arc::default(),
        }));
        let for_committer = Arc::clone(&shared);
        bus.start("bus-committer", move || Committer::new(&for_committer).run())?;
        let stop = Arc::clone(&bus.0.stop);
        bus.start("bus-maintenance", move || {
            let mut maintenance = Maintenance::new(&shared);
            while !stop.is_stopped_after(maintenance::TICK) {
                maintenance.tick(&shared);
            }
        })?;
        Ok(bus)
    }

    fn start(&self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), BusError> {
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(run)
            .map_err(|error| BusError::storage("starting a thread of the log", error))?;
        lock(&self.0.threads).push(thread);
        Ok(())
    }
}

impl Bus for EmbeddedBus {
    fn append(&self, topic: Topic, records: &mut Records) -> Result<(), BusError> {
        let shared = &self.0.shared;
        too_large(topic, records, shared.settings.record_bytes_max).inspect_err(count_refused)?;
        if records.is_empty() {
            return Ok(());
        }
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        // The receiver waits below, so sending cannot fail.
        let done: OnDone = Box::new(move |records, result| drop(sender.send((records, result))));
        let records_taken = std::mem::take(records);
        shared.queue.push_waiting(Request::Append { topic, records: records_taken, done });
        let (returned, result) = receiver.recv().map_err(|_| BusError::Closed)?;
        *records = returned;
        result
    }

    fn append_async(&self, topic: Topic, records: Records, done: OnDone) {
        let shared = &self.0.shared;
        if let Err(error) = too_large(topic, &records, shared.settings.record_bytes_max) {
            count_refused(&error);
            return done(records, Err(error));
        }
        if records.is_empty() {
            return done(records, Ok(()));
        }
        shared.queue.push(Request::Append { topic, records, done });
    }

    fn consumer(&self, group: &str, topics: &[Topic]) -> Result<Box<dyn Consumer>, BusError> {
        check_name(group)?;
        let shared = &self.0.shared;
        if shared.queue.is_closed() {
            return Err(BusError::Closed);
        }
        let member = {
            // Not while a commit is being written: it was checked against the old generation.
            let _writing = lock(&shared.writing);
            lock(&shared.groups).join(group, topics)
        };
        shared.arrivals.notify();
        Ok(Box::new(LocalConsumer::new(Arc::clone(shared), group.to_owned(), member)))
    }

    fn partitions(&self, topic: Topic) -> u32 {
        self.0.shared.logs(topic).len() as u32
    }

    fn extents(&self, topic: Topic) -> Result<Vec<Extent>, BusError> {
        let extents = self.0.shared.logs(topic).iter().map(|log| Extent {
            partition: log.partition,
            begin: log.begin(),
            end: log.end(),
            bytes: Some(lock(&log.segments).bytes()),
        });
        Ok(extents.collect())
    }

    fn committed(&self, group: &str, topic: Topic) -> Result<Vec<Option<Offset>>, BusError> {
        let shared = &self.0.shared;
        shared
            .logs(topic)
            .iter()
            .map(|log| {
                let key = keys::committed(group, topic, log.partition);
                Ok(get_u64(&shared.meta, &key)?.map(Offset))
            })
            .collect()
    }

    fn state_of(&self, group: &str, each: &mut StateVisitor<'_>) -> Result<(), BusError> {
        let partitions = Topic::ALL.iter().map(|topic| self.partitions(*topic)).max().unwrap_or(0);
        for partition in (0..partitions).map(Partition) {
            self.0.shared.state_scan(group, partition, b"", each)?;
        }
        Ok(())
    }

    fn set_retention(&self, topic: Topic, retention: Retention) -> Result<(), BusError> {
        lock(&self.0.shared.retention)[topic.index()] = retention;
        Ok(())
    }

    fn enforce_retention(&self) -> Result<u64, BusError> {
        maintenance::enforce(&self.0.shared)
    }

    fn health(&self) -> Result<(), BusError> {
        let shared = &self.0.shared;
        if shared.queue.is_closed() {
            return Err(BusError::Closed);
        }
        match lock(&shared.failure).clone() {
            Some(failure) => Err(failure),
            None => shared.check_disk().map(|_| ()),
        }
    }

    fn close(&self) {
        self.0.close();
    }
}

impl Owner {
    fn close(&self) {
        self.shared.queue.close();
        self.stop.stop();
        let threads = std::mem::take(&mut *lock(&self.threads));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the log panicked");
            }
        }
        self.shared.arrivals.notify();
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.close();
    }
}

impl Stop {
    fn stop(&self) {
        *lock(&self.stopped) = true;
        self.changed.notify_all();
    }

    fn is_stopped_after(&self, wait: Duration) -> bool {
        let (stopped, _) = self
            .changed
            .wait_timeout_while(lock(&self.stopped), wait, |stopped| !*stopped)
            .unwrap_or_else(PoisonError::into_inner);
        *stopped
    }
}

/// What an unprivileged process may still write to the disk of a path.
fn free_bytes(path: &Path) -> std::io::Result<u64> {
    let disk = rustix::fs::statvfs(path)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}
