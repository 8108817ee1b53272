//! The consumer of both local backends: membership, positions, polling.
//!
//! A backend is a [`Store`]; what a consumer must get right, and what the in-memory backend and the
//! embedded log must do alike, is here once.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::group::Member;
use crate::{
    Batch, BusError, Consumer, Gap, GapReason, Offset, Output, Partition, PollLimits, Polled,
    StateReader, StateVisitor, Topic, metrics,
};

/// What a local backend offers to its consumers.
pub(crate) trait Store: Send + Sync + 'static {
    /// The group's generation, and [`BusError::Closed`] once the bus is closed.
    fn generation(&self, group: &str) -> Result<u64, BusError>;

    /// The generation and this member's partitions in it.
    fn assignment(&self, group: &str, member: Member) -> (u64, Vec<(Topic, Partition)>);

    fn leave(&self, group: &str, member: Member);

    /// Where the group would go on.
    fn committed(
        &self,
        group: &str,
        topic: Topic,
        partition: Partition,
    ) -> Result<Option<Offset>, BusError>;

    /// Reads from an offset on until the batch is full or the partition ends, and returns where to
    /// go on. Missing records are pushed as gaps.
    fn read(
        &self,
        topic: Topic,
        partition: Partition,
        from: Offset,
        limits: &PollLimits,
        batch: &mut Batch,
    ) -> Result<Offset, BusError>;

    /// The counter that rises with every change that could wake a consumer.
    fn arrivals(&self) -> &Arrivals;

    fn commit(&self, commit: Commit<'_>) -> Result<(), BusError>;

    fn state_get(
        &self,
        group: &str,
        partition: Partition,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, BusError>;

    fn state_scan(
        &self,
        group: &str,
        partition: Partition,
        prefix: &[u8],
        each: &mut StateVisitor<'_>,
    ) -> Result<(), BusError>;
}

/// One atomic step of a consumer.
pub(crate) struct Commit<'a> {
    pub(crate) group: &'a str,
    pub(crate) generation: u64,
    pub(crate) offsets: Vec<(Topic, Partition, Offset)>,
    pub(crate) output: &'a mut Output,
}

/// Lets consumers sleep until something is appended.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    count: Mutex<u64>,
    changed: Condvar,
}

impl Arrivals {
    pub(crate) fn notify(&self) {
        *lock(&self.count) += 1;
        self.changed.notify_all();
    }

    pub(crate) fn count(&self) -> u64 {
        *lock(&self.count)
    }

    /// Waits until the count is no longer `seen`, or the deadline.
    fn wait(&self, seen: u64, deadline: Instant) {
        let mut count = lock(&self.count);
        while *count == seen {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return };
            if left.is_zero() {
                return;
            }
            count =
                self.changed.wait_timeout(count, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Locks a mutex. A panic while it was held is a bug elsewhere; what it guards is changed in single
/// steps, so it is still whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A member of a group in this process.
pub(crate) struct LocalConsumer<S: Store> {
    store: Arc<S>,
    group: String,
    member: Member,
    /// The generation that `assignment` is from; zero is none.
    generation: u64,
    assignment: Vec<(Topic, Partition)>,
    /// By the index in `assignment`.
    positions: Vec<Position>,
    /// Where the next poll begins, so that a busy partition does not starve the others.
    turn: usize,
    /// What was missing since the last commit. It is told with the next one: until then another
    /// member may get the partition, and meet the same.
    gaps: Vec<Gap>,
}

/// So many gaps wait for a commit; further ones are told at once.
const GAPS_WAITING_MAX: usize = 1000;

#[derive(Debug, Clone, Copy)]
struct Position {
    next: Offset,
    /// Whether it is ahead of what the group committed.
    moved: bool,
}

impl<S: Store> LocalConsumer<S> {
    pub(crate) fn new(store: Arc<S>, group: String, member: Member) -> Self {
        LocalConsumer {
            store,
            group,
            member,
            generation: 0,
            assignment: Vec::new(),
            positions: Vec::new(),
            turn: 0,
            gaps: Vec::new(),
        }
    }

    /// Reads what there is, beginning with the partition whose turn it is.
    fn read(&mut self, limits: &PollLimits, batch: &mut Batch) -> Result<(), BusError> {
        let count = self.assignment.len();
        for step in 0..count {
            if batch.is_enough(limits) {
                break;
            }
            let index = (self.turn + step) % count;
            let (topic, partition) = self.assignment[index];
            let position = &mut self.positions[index];
            let next = self.store.read(topic, partition, position.next, limits, batch)?;
            if next != position.next {
                *position = Position { next, moved: true };
            }
        }
        if count > 0 {
            self.turn = (self.turn + 1) % count;
        }
        for gap in batch.gaps() {
            if self.gaps.len() < GAPS_WAITING_MAX {
                self.gaps.push(gap.clone());
            } else {
                report_gap(&self.group, gap);
            }
        }
        Ok(())
    }

    fn load_positions(&mut self) -> Result<(), BusError> {
        self.positions.clear();
        self.gaps.clear();
        for &(topic, partition) in &self.assignment {
            let committed = self.store.committed(&self.group, topic, partition)?;
            let next = committed.unwrap_or_default();
            self.positions.push(Position { next, moved: false });
        }
        Ok(())
    }
}

/// Logs and counts what a consumer could not have.
pub fn report_gap(group: &str, gap: &Gap) {
    let Gap { topic, partition, first, next, reason } = gap;
    let records = next.0.saturating_sub(first.0);
    let label = match reason {
        GapReason::Retention => {
            tracing::warn!(group, %topic, %partition, %first, %next, records,
                "a consumer came too late: retention had removed records that it did not read");
            "retention"
        }
        GapReason::Corrupt(what) => {
            tracing::error!(group, %topic, %partition, %first, %next, records, what,
                "stored records are damaged and were skipped");
            "corrupt"
        }
    };
    metrics::BUS_MISSING.with_label_values(&[group, topic.as_str(), label]).inc_by(records);
}

impl<S: Store> Consumer for LocalConsumer<S> {
    fn poll(&mut self, limits: &PollLimits, batch: &mut Batch) -> Result<Polled, BusError> {
        batch.clear();
        let deadline = Instant::now() + limits.wait;
        loop {
            let seen = self.store.arrivals().count();
            if self.store.generation(&self.group)? != self.generation {
                let (generation, assignment) = self.store.assignment(&self.group, self.member);
                self.assignment = assignment;
                self.load_positions()?;
                // Last, so that a failure above is met again by the next poll.
                self.generation = generation;
                return Ok(Polled::Reassigned);
            }
            self.read(limits, batch)?;
            if !batch.is_empty() || !batch.gaps().is_empty() {
                return Ok(Polled::Records);
            }
            if Instant::now() >= deadline {
                return Ok(Polled::Nothing);
            }
            self.store.arrivals().wait(seen, deadline);
        }
    }

    fn commit(&mut self, output: &mut Output) -> Result<(), BusError> {
        let foreign = output.state().iter().find(|change| {
            !self.assignment.iter().any(|(_, partition)| *partition == change.partition)
        });
        if let Some(change) = foreign {
            let partition = change.partition;
            return Err(BusError::ForeignState { group: self.group.clone(), partition });
        }
        let offsets: Vec<(Topic, Partition, Offset)> = self
            .assignment
            .iter()
            .zip(&self.positions)
            .filter(|(_, position)| position.moved)
            .map(|(&(topic, partition), position)| (topic, partition, position.next))
            .collect();
        if offsets.is_empty() && output.is_empty() {
            return Ok(());
        }
        let generation = self.generation;
        self.store.commit(Commit { group: &self.group, generation, offsets, output })?;
        output.clear();
        self.positions.iter_mut().for_each(|position| position.moved = false);
        for gap in self.gaps.drain(..) {
            report_gap(&self.group, &gap);
        }
        Ok(())
    }

    fn assignment(&self) -> &[(Topic, Partition)] {
        &self.assignment
    }

    fn position(&self, topic: Topic, partition: Partition) -> Option<Offset> {
        let index = self.assignment.iter().position(|assigned| *assigned == (topic, partition))?;
        self.positions.get(index).map(|position| position.next)
    }

    fn seek(&mut self, topic: Topic, partition: Partition, offset: Offset) -> Result<(), BusError> {
        let index = self
            .assignment
            .iter()
            .position(|assigned| *assigned == (topic, partition))
            .ok_or(BusError::NoPartition { topic, partition })?;
        self.positions[index] = Position { next: offset, moved: true };
        Ok(())
    }

    fn rewind(&mut self) -> Result<(), BusError> {
        self.load_positions()
    }

    fn state(&self) -> &dyn StateReader {
        self
    }
}

impl<S: Store> StateReader for LocalConsumer<S> {
    fn get(&self, partition: Partition, key: &[u8]) -> Result<Option<Vec<u8>>, BusError> {
        self.store.state_get(&self.group, partition, key)
    }

    fn scan(&self, prefix: &[u8], each: &mut StateVisitor<'_>) -> Result<(), BusError> {
        let mut partitions: Vec<Partition> =
            self.assignment.iter().map(|(_, partition)| *partition).collect();
        partitions.sort_unstable();
        partitions.dedup();
        for partition in partitions {
            self.store.state_scan(&self.group, partition, prefix, each)?;
        }
        Ok(())
    }
}

impl<S: Store> Drop for LocalConsumer<S> {
    fn drop(&mut self) {
        self.store.leave(&self.group, self.member);
    }
}
