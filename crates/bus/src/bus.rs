//! The interface that every backend has: append, consume, commit.
//!
//! It is cut so that a Kafka cluster fits as well as a local log. There, an append is an idempotent
//! produce with `acks=all`; a consumer is a member of a consumer group with a transactional
//! producer; a commit is one transaction with `send_offsets_to_transaction`, whose state changes go
//! to a compacted changelog topic.

use std::sync::Arc;
use std::time::Duration;

use event::Timestamp;

use crate::{Batch, BusError, Offset, Output, Partition, Records, Topic};

/// Called once an append is durable, or refused. It gets the records back: empty when they are
/// stored, untouched when they are not. It runs on the bus's own thread, so it must be short and
/// must not wait for the bus.
pub type OnDone = Box<dyn FnOnce(Records, Result<(), BusError>) + Send>;

/// Where a backend takes the time of appends and the age of records from.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A set of topics. All of it can be called from any thread.
pub trait Bus: Send + Sync {
    /// Appends records, and returns once they are durable; callers share the cost of a sync. Waits
    /// while the bus is full. On success the records are cleared, on failure they are left as they
    /// were. What is refused is not stored; where an answer did not come in time
    /// ([`BusError::Unavailable`]), some of it may be, and a sender who sends again may double it.
    fn append(&self, topic: Topic, records: &mut Records) -> Result<(), BusError>;

    /// Appends records without waiting: `done` is called once they are durable, or at once, with
    /// [`BusError::Full`], when the bus is full. For listeners in async code, whose `done` wakes
    /// them.
    fn append_async(&self, topic: Topic, records: Records, done: OnDone);

    /// Joins a consumer group. Each partition of the topics is read by one consumer of the group,
    /// from where the group last committed, or from the beginning.
    fn consumer(&self, group: &str, topics: &[Topic]) -> Result<Box<dyn Consumer>, BusError>;

    /// How many partitions a topic has.
    fn partitions(&self, topic: Topic) -> u32;

    /// Whether every offset is a record; not where the marks of transactions take some.
    fn has_dense_offsets(&self) -> bool {
        true
    }

    /// What each partition of a topic holds, in the order of partitions.
    fn extents(&self, topic: Topic) -> Result<Vec<Extent>, BusError>;

    /// Where a group would go on reading, for each partition of a topic; `None` where it never
    /// committed.
    fn committed(&self, group: &str, topic: Topic) -> Result<Vec<Option<Offset>>, BusError>;

    /// How many records a group has still to read of some topics. Zero is exact; a backend whose
    /// offsets have holes may count a few too many otherwise.
    fn lag(&self, group: &str, topics: &[Topic]) -> Result<u64, BusError> {
        let mut records = 0;
        for &topic in topics {
            let committed = self.committed(group, topic)?;
            for (extent, at) in self.extents(topic)?.iter().zip(committed) {
                let at = at.unwrap_or(extent.begin).max(extent.begin);
                records += extent.end.0.saturating_sub(at.0);
            }
        }
        Ok(records)
    }

    /// Shows the committed state of a group, of all partitions, to one who is no member.
    fn state_of(&self, group: &str, each: &mut StateVisitor<'_>) -> Result<(), BusError>;

    /// Changes how long a topic's records are kept.
    fn set_retention(&self, topic: Topic, retention: Retention) -> Result<(), BusError>;

    /// Removes now what retention allows to remove; backends also do it by themselves. Returns how
    /// many records became unreadable. A cluster keeps its own hours: there it does nothing.
    fn enforce_retention(&self) -> Result<u64, BusError>;

    /// Whether an append would be accepted now, or why not; for readiness probes.
    fn health(&self) -> Result<(), BusError>;

    /// Finishes what was accepted, and accepts nothing more. Also done on drop.
    fn close(&self);
}

/// A member of a consumer group. Dropping it leaves the group: at once on a local bus, on a cluster
/// when its place has stayed empty for the session's time.
pub trait Consumer: Send {
    /// Gets the next records into `batch`, which is cleared first. Waits up to `limits.wait` if
    /// there are none.
    ///
    /// [`Polled::Reassigned`] comes once before the first records, and whenever the group's
    /// partitions were distributed anew: what was polled and not committed is forgotten, and the
    /// caller must forget what it made of it.
    fn poll(&mut self, limits: &PollLimits, batch: &mut Batch) -> Result<Polled, BusError>;

    /// Makes durable, in one atomic step: the output's records, its state changes, and that
    /// everything polled so far is consumed. On success the output is cleared. On failure nothing
    /// is stored, and the output is left as it was.
    fn commit(&mut self, output: &mut Output) -> Result<(), BusError>;

    /// The partitions that this consumer reads now.
    fn assignment(&self) -> &[(Topic, Partition)];

    /// Where a partition that this consumer has is read next; where the group committed, until
    /// something was polled.
    fn position(&self, topic: Topic, partition: Partition) -> Option<Offset>;

    /// Continues reading a partition at an offset. For consumers that keep their offsets with their
    /// own data.
    fn seek(&mut self, topic: Topic, partition: Partition, offset: Offset) -> Result<(), BusError>;

    /// Goes back to the last commit, as after a restart: forgets what was polled since.
    fn rewind(&mut self) -> Result<(), BusError>;

    /// The group's durable state, of the partitions that this consumer has.
    fn state(&self) -> &dyn StateReader;
}

/// Is shown the partition, the key and the value of each state entry.
pub type StateVisitor<'a> = dyn FnMut(Partition, &[u8], &[u8]) + 'a;

/// Reads a stage's durable state: what was committed, not what is in an output.
pub trait StateReader {
    /// One value.
    fn get(&self, partition: Partition, key: &[u8]) -> Result<Option<Vec<u8>>, BusError>;

    /// Every key with this prefix, of all partitions assigned, in the order of partition and key.
    fn scan(&self, prefix: &[u8], each: &mut StateVisitor<'_>) -> Result<(), BusError>;
}

/// How much one poll may bring, and how long it may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PollLimits {
    /// At most this many records.
    pub records_max: usize,
    /// At most about this many bytes; one record is always brought, however large.
    pub bytes_max: usize,
    /// How long to wait for the first record.
    pub wait: Duration,
}

impl Default for PollLimits {
    fn default() -> Self {
        // A batch of 4 MiB costs one sync of a few milliseconds, and a stage's scratch memory stays
        // small.
        PollLimits {
            records_max: 10_000,
            bytes_max: 4 * 1024 * 1024,
            wait: Duration::from_millis(100),
        }
    }
}

/// How a poll ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polled {
    /// There are records or gaps in the batch.
    Records,
    /// Nothing came in time.
    Nothing,
    /// The partitions were distributed anew; see [`Consumer::assignment`].
    Reassigned,
}

/// What a partition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The partition.
    pub partition: Partition,
    /// The oldest offset that can be read.
    pub begin: Offset,
    /// The offset that the next record gets.
    pub end: Offset,
    /// About how many bytes it takes on disk, where the backend knows.
    pub bytes: Option<u64>,
}

/// How long records are kept. A bound that is `None` does not bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Records appended longer ago than this may be removed.
    pub age: Option<Duration>,
    /// While a topic is larger than this, its oldest records may be removed.
    pub bytes: Option<u64>,
}
