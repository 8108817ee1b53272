//! The bus in memory: the same promises as the embedded log, except that a restart forgets.
//!
//! For tests of stages and for the contract suite, where it is the plain twin of the durable log.
//! Everything is behind one mutex, so its atomicity needs no argument.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex};

use event::Timestamp;

use crate::bus::{Clock, StateVisitor};
use crate::consumer::{Arrivals, Commit, LocalConsumer, Store, lock};
use crate::error::{count_refused, too_large};
use crate::group::{Groups, Member, check_name};
use crate::{
    Batch, Bus, BusError, Consumer, Extent, Gap, GapReason, Offset, OnDone, Output, Partition,
    PollLimits, RecordRef, Records, Retention, Topic, metrics, partition_of_key,
};

/// How a [`MemoryBus`] is made.
#[derive(Clone)]
pub struct MemorySettings {
    /// Partitions of each topic.
    pub partitions: u32,
    /// The largest record.
    pub record_bytes_max: usize,
    /// Where the time comes from.
    pub clock: Clock,
}

impl Default for MemorySettings {
    fn default() -> Self {
        MemorySettings {
            partitions: 4,
            record_bytes_max: crate::records::RECORD_BYTES_MAX,
            clock: Arc::new(Timestamp::now),
        }
    }
}

/// A bus that lives as long as the process.
#[derive(Clone)]
pub struct MemoryBus(Arc<Shared>);

struct Shared {
    settings: MemorySettings,
    inner: Mutex<Inner>,
    arrivals: Arrivals,
}

#[derive(Default)]
struct Inner {
    topics: [Vec<Log>; Topic::ALL.len()],
    retention: [Retention; Topic::ALL.len()],
    groups: Groups,
    committed: BTreeMap<(String, Topic, Partition), Offset>,
    state: BTreeMap<(String, Partition), BTreeMap<Vec<u8>, Vec<u8>>>,
    /// Where the next record without a key goes.
    turn: u32,
    closed: bool,
}

#[derive(Default)]
struct Log {
    begin: u64,
    records: VecDeque<Stored>,
    bytes: u64,
}

struct Stored {
    timestamp: Timestamp,
    /// In the stored form.
    bytes: Box<[u8]>,
}

impl MemoryBus {
    /// An empty bus.
    pub fn new(settings: MemorySettings) -> Self {
        let mut inner = Inner::default();
        for logs in &mut inner.topics {
            logs.resize_with(settings.partitions.max(1) as usize, Log::default);
        }
        MemoryBus(Arc::new(Shared {
            settings,
            inner: Mutex::new(inner),
            arrivals: Arrivals::default(),
        }))
    }
}

impl Default for MemoryBus {
    fn default() -> Self {
        MemoryBus::new(MemorySettings::default())
    }
}

impl Bus for MemoryBus {
    fn append(&self, topic: Topic, records: &mut Records) -> Result<(), BusError> {
        self.0.append(topic, records).inspect_err(count_refused)
    }

    fn append_async(&self, topic: Topic, mut records: Records, done: OnDone) {
        let result = self.append(topic, &mut records);
        done(records, result);
    }

    fn consumer(&self, group: &str, topics: &[Topic]) -> Result<Box<dyn Consumer>, BusError> {
        check_name(group)?;
        let member = {
            let mut inner = lock(&self.0.inner);
            if inner.closed {
                return Err(BusError::Closed);
            }
            inner.groups.join(group, topics)
        };
        self.0.arrivals.notify();
        Ok(Box::new(LocalConsumer::new(Arc::clone(&self.0), group.to_owned(), member)))
    }

    fn partitions(&self, topic: Topic) -> u32 {
        lock(&self.0.inner).topics[topic.index()].len() as u32
    }

    fn extents(&self, topic: Topic) -> Result<Vec<Extent>, BusError> {
        let inner = lock(&self.0.inner);
        let extents = (0..).zip(&inner.topics[topic.index()]).map(|(partition, log)| Extent {
            partition: Partition(partition),
            begin: Offset(log.begin),
            end: log.end(),
            bytes: Some(log.bytes),
        });
        Ok(extents.collect())
    }

    fn committed(&self, group: &str, topic: Topic) -> Result<Vec<Option<Offset>>, BusError> {
        let inner = lock(&self.0.inner);
        let offsets = (0..inner.topics[topic.index()].len()).map(|partition| {
            let key = (group.to_owned(), topic, Partition(partition as u32));
            inner.committed.get(&key).copied()
        });
        Ok(offsets.collect())
    }

    fn state_of(&self, group: &str, each: &mut StateVisitor<'_>) -> Result<(), BusError> {
        let inner = lock(&self.0.inner);
        for ((of, partition), state) in &inner.state {
            if of == group {
                state.iter().for_each(|(key, value)| each(*partition, key, value));
            }
        }
        Ok(())
    }

    fn set_retention(&self, topic: Topic, retention: Retention) -> Result<(), BusError> {
        lock(&self.0.inner).retention[topic.index()] = retention;
        Ok(())
    }

    fn enforce_retention(&self) -> Result<u64, BusError> {
        let now = (self.0.settings.clock)();
        let mut inner = lock(&self.0.inner);
        let inner = &mut *inner;
        let mut removed = 0;
        for topic in Topic::ALL {
            let logs = &mut inner.topics[topic.index()];
            let Retention { age, bytes } = inner.retention[topic.index()];
            if let Some(age) = age {
                let oldest_ms = now.as_millis().saturating_sub_unsigned(age.as_millis() as u64);
                for log in logs.iter_mut() {
                    while log.records.front().is_some_and(|r| r.timestamp.as_millis() < oldest_ms) {
                        log.remove_first();
                        removed += 1;
                    }
                }
            }
            if let Some(bytes_max) = bytes {
                while let Some(log) = largest_over(logs, bytes_max) {
                    log.remove_first();
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }

    fn health(&self) -> Result<(), BusError> {
        if lock(&self.0.inner).closed { Err(BusError::Closed) } else { Ok(()) }
    }

    fn close(&self) {
        lock(&self.0.inner).closed = true;
        self.0.arrivals.notify();
    }
}

impl Shared {
    fn append(&self, topic: Topic, records: &mut Records) -> Result<(), BusError> {
        too_large(topic, records, self.settings.record_bytes_max)?;
        let mut inner = lock(&self.inner);
        if inner.closed {
            return Err(BusError::Closed);
        }
        inner.append(topic, records, (self.settings.clock)());
        drop(inner);
        records.clear();
        self.arrivals.notify();
        Ok(())
    }
}

impl Store for Shared {
    fn generation(&self, group: &str) -> Result<u64, BusError> {
        let inner = lock(&self.inner);
        if inner.closed { Err(BusError::Closed) } else { Ok(inner.groups.generation(group)) }
    }

    fn assignment(&self, group: &str, member: Member) -> (u64, Vec<(Topic, Partition)>) {
        let inner = lock(&self.inner);
        let partitions = |topic: Topic| inner.topics[topic.index()].len() as u32;
        (inner.groups.generation(group), inner.groups.assignment(group, member, partitions))
    }

    fn leave(&self, group: &str, member: Member) {
        lock(&self.inner).groups.leave(group, member);
        self.arrivals.notify();
    }

    fn committed(
        &self,
        group: &str,
        topic: Topic,
        partition: Partition,
    ) -> Result<Option<Offset>, BusError> {
        let key = (group.to_owned(), topic, partition);
        Ok(lock(&self.inner).committed.get(&key).copied())
    }

    fn read(
        &self,
        topic: Topic,
        partition: Partition,
        from: Offset,
        limits: &PollLimits,
        batch: &mut Batch,
    ) -> Result<Offset, BusError> {
        let inner = lock(&self.inner);
        let log = inner.topics[topic.index()]
            .get(partition.0 as usize)
            .ok_or(BusError::NoPartition { topic, partition })?;
        let begin = Offset(log.begin);
        let mut offset = from;
        if from < begin {
            let reason = GapReason::Retention;
            batch.push_gap(Gap { topic, partition, first: from, next: begin, reason });
            offset = begin;
        }
        for stored in log.records.iter().skip((offset.0 - log.begin) as usize) {
            if batch.is_enough(limits) {
                break;
            }
            let (record, _) = RecordRef::decode(&stored.bytes).expect("it was encoded here");
            batch.push(topic, partition, offset, stored.timestamp, record);
            offset = Offset(offset.0 + 1);
        }
        Ok(offset)
    }

    fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }

    fn commit(&self, commit: Commit<'_>) -> Result<(), BusError> {
        let Commit { group, generation, offsets, output } = commit;
        for topic in Topic::ALL {
            too_large(topic, output.records(topic), self.settings.record_bytes_max)?;
        }
        let mut inner = lock(&self.inner);
        if inner.closed {
            return Err(BusError::Closed);
        }
        if inner.groups.generation(group) != generation {
            return Err(BusError::Fenced { group: group.to_owned() });
        }
        inner.apply(group, &offsets, output, (self.settings.clock)());
        drop(inner);
        self.arrivals.notify();
        Ok(())
    }

    fn state_get(
        &self,
        group: &str,
        partition: Partition,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, BusError> {
        let inner = lock(&self.inner);
        let state = inner.state.get(&(group.to_owned(), partition));
        Ok(state.and_then(|state| state.get(key)).cloned())
    }

    fn state_scan(
        &self,
        group: &str,
        partition: Partition,
        prefix: &[u8],
        each: &mut StateVisitor<'_>,
    ) -> Result<(), BusError> {
        let inner = lock(&self.inner);
        if let Some(state) = inner.state.get(&(group.to_owned(), partition)) {
            let range = (Bound::Included(prefix), Bound::Unbounded);
            for (key, value) in state.range::<[u8], _>(range) {
                if !key.starts_with(prefix) {
                    break;
                }
                each(partition, key, value);
            }
        }
        Ok(())
    }
}

impl Inner {
    fn append(&mut self, topic: Topic, records: &Records, timestamp: Timestamp) {
        let logs = &mut self.topics[topic.index()];
        let partitions = logs.len() as u32;
        for (record, bytes) in records.iter().zip(records.encoded()) {
            let partition = partition_of_key(record.key, partitions).unwrap_or_else(|| {
                self.turn = self.turn.wrapping_add(1);
                Partition(self.turn % partitions)
            });
            let log = &mut logs[partition.0 as usize];
            log.bytes += bytes.len() as u64;
            log.records.push_back(Stored { timestamp, bytes: bytes.into() });
        }
        count_appended(topic, records);
    }

    fn apply(
        &mut self,
        group: &str,
        offsets: &[(Topic, Partition, Offset)],
        output: &Output,
        timestamp: Timestamp,
    ) {
        for topic in Topic::ALL {
            self.append(topic, output.records(topic), timestamp);
        }
        for &(topic, partition, offset) in offsets {
            self.committed.insert((group.to_owned(), topic, partition), offset);
        }
        for change in output.state() {
            let state = self.state.entry((group.to_owned(), change.partition)).or_default();
            match &change.value {
                Some(value) => state.insert(change.key.clone(), value.clone()),
                None => state.remove(&change.key),
            };
        }
    }
}

impl Log {
    fn end(&self) -> Offset {
        Offset(self.begin + self.records.len() as u64)
    }

    fn remove_first(&mut self) {
        if let Some(record) = self.records.pop_front() {
            self.begin += 1;
            self.bytes -= record.bytes.len() as u64;
        }
    }
}

/// The partition with the most bytes, while the topic without its oldest record is still at least as
/// large as the bound.
fn largest_over(logs: &mut [Log], bytes_max: u64) -> Option<&mut Log> {
    let total: u64 = logs.iter().map(|log| log.bytes).sum();
    let log = logs.iter_mut().max_by_key(|log| log.bytes)?;
    let first = log.records.front()?.bytes.len() as u64;
    (total - first >= bytes_max).then_some(log)
}

/// Counts records that became durable.
pub fn count_appended(topic: Topic, records: &Records) {
    if !records.is_empty() {
        metrics::BUS_APPENDED_RECORDS
            .with_label_values(&[topic.as_str()])
            .inc_by(records.len() as u64);
        metrics::BUS_APPENDED_BYTES
            .with_label_values(&[topic.as_str()])
            .inc_by(records.bytes_len() as u64);
    }
}
