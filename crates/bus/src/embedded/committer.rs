//! Group commit: one thread makes everything durable that waits, with one sync.
//!
//! Callers put requests into a bounded queue. The committer takes all that is there, up to a bound,
//! gives out offsets, packs the records of each partition into entries, writes the large ones to files
//! of their own and syncs those, writes one atomic batch with one sync, and only then tells all callers. While it syncs, the next group gathers: so the more
//! callers there are, the fewer syncs each of them pays.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use event::Timestamp;
use fail::fail_point;
use fjall::OwnedWriteBatch;

use super::entry::{self, Compression};
use super::files::SEPARATE_BYTES_MIN;
use super::keys;
use super::segments::Added;
use super::store::{DURABILITY, Log, Shared};
use crate::consumer::lock;
use crate::error::count_refused;
use crate::memory::count_appended;
use crate::{
    BusError, Offset, OnDone, Output, Partition, Records, Topic, metrics, partition_of_key,
};

/// The most bytes of one group. Larger groups would not sync fewer bytes a second, and every caller
/// of the group waits for all of it.
const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Records of one partition are packed into one entry up to this size. A reader reads whole entries.
const ENTRY_BYTES_MAX: usize = 256 * 1024;

/// Records without a key stay on one partition for this many bytes, so that they are packed
/// together, and then move on, so that the load is spread.
const TURN_BYTES: usize = 64 * 1024;

/// After an entry that did not shrink, so many of its partition are not tried: data that is
/// compressed or encrypted already mostly stays so, and each try costs as much as a success.
const INCOMPRESSIBLE_ENTRIES: u32 = 16;

/// A smaller entry that does not shrink says nothing about the next.
const COMPRESSION_PROBE_BYTES: usize = 16 * 1024;

/// What a request costs in the queue beside its bytes, so that empty ones are bounded too.
const REQUEST_BYTES: usize = 256;

/// How long enough free space is believed in: the reserve is larger than what is written meanwhile.
const DISK_CHECK: Duration = Duration::from_millis(250);

/// Something to make durable.
pub(super) enum Request {
    Append { topic: Topic, records: Records, done: OnDone },
    Commit(Box<CommitRequest>),
}

/// A consumer's atomic step.
pub(super) struct CommitRequest {
    pub(super) group: String,
    pub(super) generation: u64,
    pub(super) offsets: Vec<(Topic, Partition, Offset)>,
    pub(super) output: Output,
    pub(super) done: mpsc::SyncSender<(Output, Result<(), BusError>)>,
}

impl Request {
    fn bytes_len(&self) -> usize {
        REQUEST_BYTES
            + match self {
                Request::Append { records, .. } => records.bytes_len(),
                Request::Commit(commit) => commit.output.bytes_len(),
            }
    }

    /// Tells the caller how it went. On success its records are empty.
    fn finish(self, result: Result<(), BusError>) {
        match self {
            Request::Append { topic, mut records, done } => {
                if result.is_ok() {
                    count_appended(topic, &records);
                    records.clear();
                }
                done(records, result);
            }
            Request::Commit(commit) => {
                let CommitRequest { output, done, .. } = *commit;
                if result.is_ok() {
                    for topic in Topic::ALL {
                        count_appended(topic, output.records(topic));
                    }
                }
                // A caller that is gone needs no answer.
                done.send((output, result)).ok();
            }
        }
    }
}

/// The requests that wait.
pub(super) struct Queue {
    bytes_max: usize,
    inner: Mutex<Waiting>,
    filled: Condvar,
    drained: Condvar,
}

#[derive(Default)]
struct Waiting {
    requests: VecDeque<Request>,
    /// Of the requests here and of those that the committer is writing.
    bytes: usize,
    closed: bool,
}

impl Queue {
    pub(super) fn new(bytes_max: usize) -> Self {
        Queue {
            bytes_max,
            inner: Mutex::default(),
            filled: Condvar::new(),
            drained: Condvar::new(),
        }
    }

    /// Puts a request in, or refuses it if there is no room for it. A request that is larger than all
    /// the room there is enters when nothing else waits.
    pub(super) fn push(&self, request: Request) {
        self.put(lock(&self.inner), request);
    }

    /// Puts a request in, once there is room for it.
    pub(super) fn push_waiting(&self, request: Request) {
        let bytes = request.bytes_len();
        let waiting = self
            .drained
            .wait_while(lock(&self.inner), |waiting| {
                !waiting.closed && !self.has_room(waiting, bytes)
            })
            .unwrap_or_else(PoisonError::into_inner);
        self.put(waiting, request);
    }

    fn put(&self, mut waiting: MutexGuard<'_, Waiting>, request: Request) {
        let bytes = request.bytes_len();
        let refusal = if waiting.closed {
            BusError::Closed
        } else if !self.has_room(&waiting, bytes) {
            BusError::Full { pending_bytes: waiting.bytes, pending_bytes_max: self.bytes_max }
        } else {
            waiting.bytes += bytes;
            waiting.requests.push_back(request);
            metrics::BUS_PENDING_BYTES.set(waiting.bytes as i64);
            self.filled.notify_one();
            return;
        };
        // Its callback must not find the queue locked.
        drop(waiting);
        count_refused(&refusal);
        request.finish(Err(refusal));
    }

    fn has_room(&self, waiting: &Waiting, bytes: usize) -> bool {
        waiting.bytes == 0 || waiting.bytes + bytes <= self.bytes_max
    }

    pub(super) fn is_closed(&self) -> bool {
        lock(&self.inner).closed
    }

    /// Lets what is in finish, and nothing more in.
    pub(super) fn close(&self) {
        lock(&self.inner).closed = true;
        self.filled.notify_all();
        self.drained.notify_all();
    }

    /// Takes the next group, waiting for it. False once the queue is closed and empty.
    fn take(&self, group: &mut Vec<Request>) -> bool {
        let mut waiting = self
            .filled
            .wait_while(lock(&self.inner), |waiting| waiting.requests.is_empty() && !waiting.closed)
            .unwrap_or_else(PoisonError::into_inner);
        let mut bytes = 0;
        while let Some(request) = waiting.requests.front() {
            bytes += request.bytes_len();
            if !group.is_empty() && bytes > GROUP_BYTES_MAX {
                break;
            }
            group.extend(waiting.requests.pop_front());
        }
        !group.is_empty()
    }

    /// Frees the room that a written group took.
    fn free(&self, bytes: usize) {
        let mut waiting = lock(&self.inner);
        waiting.bytes -= bytes;
        metrics::BUS_PENDING_BYTES.set(waiting.bytes as i64);
        drop(waiting);
        self.drained.notify_all();
    }
}

/// The committer thread's own memory, used again for each group.
pub(super) struct Committer<'a> {
    shared: &'a Shared,
    /// By topic and partition.
    packers: Vec<Vec<Packer>>,
    /// For compressing.
    entry: Vec<u8>,
    /// Where the next record without a key goes, and how many bytes went there already.
    turn: u32,
    turn_bytes: usize,
    /// The time of this group as ages are told.
    age_now: Timestamp,
    /// When the disk last had enough free space.
    disk_checked: Option<Instant>,
}

/// The records of one partition in the group being built.
#[derive(Default)]
struct Packer {
    records: Vec<u8>,
    count: u32,
    /// The offset of the next entry of this group, once it has one.
    next: Option<Offset>,
    /// Entries that are not tried to be compressed, because one just did not shrink.
    incompressible: u32,
}

impl<'a> Committer<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        let packers = Topic::ALL.map(|topic| {
            let mut of_topic = Vec::new();
            of_topic.resize_with(shared.logs(topic).len(), Packer::default);
            of_topic
        });
        Committer {
            shared,
            packers: packers.into(),
            entry: Vec::new(),
            turn: 0,
            turn_bytes: 0,
            age_now: Timestamp::EPOCH,
            disk_checked: None,
        }
    }

    /// Writes groups until the queue is closed and empty.
    pub(super) fn run(&mut self) {
        let mut group = Vec::new();
        while self.shared.queue.take(&mut group) {
            let bytes: usize = group.iter().map(Request::bytes_len).sum();
            self.write(&mut group);
            self.shared.queue.free(bytes);
        }
    }

    /// Makes a group durable and answers all of it.
    fn write(&mut self, group: &mut Vec<Request>) {
        if let Err(error) = self.check_disk() {
            return answer(group.drain(..), &Err(error));
        }
        let started = Instant::now();
        // Held until the ends are moved: whoever joins a group after this sees all of it.
        let writing = lock(&self.shared.writing);
        let (fenced, valid): (Vec<Request>, Vec<Request>) =
            group.drain(..).partition(|request| self.is_fenced(request));
        let result = self.write_valid(&valid);
        if let Err(error) = &result {
            tracing::error!(%error, "the log cannot be written and accepts nothing more until it is opened again");
            *lock(&self.shared.failure) = Some(error.clone());
        }
        drop(writing);
        metrics::BUS_SYNC_SECONDS.observe(started.elapsed().as_secs_f64());
        self.shared.arrivals.notify();
        answer(valid.into_iter(), &result);
        for request in fenced {
            if let Request::Commit(commit) = &request {
                let group = commit.group.clone();
                answer(std::iter::once(request), &Err(BusError::Fenced { group }));
            }
        }
    }

    fn is_fenced(&self, request: &Request) -> bool {
        match request {
            Request::Append { .. } => false,
            Request::Commit(commit) => {
                lock(&self.shared.groups).generation(&commit.group) != commit.generation
            }
        }
    }

    fn check_disk(&mut self) -> Result<(), BusError> {
        if let Some(failure) = &*lock(&self.shared.failure) {
            return Err(failure.clone());
        }
        if self.disk_checked.is_none_or(|when| when.elapsed() >= DISK_CHECK) {
            self.disk_checked = None;
            self.shared.check_disk()?;
            self.disk_checked = Some(Instant::now());
        }
        Ok(())
    }

    fn write_valid(&mut self, group: &[Request]) -> Result<(), BusError> {
        if group.is_empty() {
            return Ok(());
        }
        let time = (self.shared.settings.clock)();
        self.age_now = self.shared.age_now();
        let mut batch = self.shared.database.batch().durability(Some(DURABILITY));
        let written = self.write_entries(group, time, &mut batch);
        let committed = written.and_then(|()| {
            fail_point!("bus-between-syncs", |_| std::process::abort());
            batch.commit().map_err(|error| BusError::storage("writing a group", error))
        });
        fail_point!("bus-after-sync", |_| std::process::abort());
        self.move_ends(committed.is_ok());
        committed
    }

    /// Fills the batch. What it points to is durable then, and the batch itself is not yet.
    fn write_entries(
        &mut self,
        group: &[Request],
        time: Timestamp,
        batch: &mut OwnedWriteBatch,
    ) -> Result<(), BusError> {
        for request in group {
            match request {
                Request::Append { topic, records, .. } => {
                    self.pack(*topic, records, time, batch)?;
                }
                Request::Commit(commit) => {
                    for topic in Topic::ALL {
                        self.pack(topic, commit.output.records(topic), time, batch)?;
                    }
                    self.put_offsets_and_state(commit, batch);
                }
            }
        }
        self.seal_all(time, batch)?;
        fail_point!("bus-before-sync", |_| std::process::abort());
        for topic in Topic::ALL {
            self.shared.files(topic).sync().map_err(entries_failed)?;
        }
        Ok(())
    }

    /// Puts records into the packers of their partitions.
    fn pack(
        &mut self,
        topic: Topic,
        records: &Records,
        time: Timestamp,
        batch: &mut OwnedWriteBatch,
    ) -> Result<(), BusError> {
        let partitions = self.packers[topic.index()].len() as u32;
        for (record, bytes) in records.iter().zip(records.encoded()) {
            let partition = partition_of_key(record.key, partitions).unwrap_or_else(|| {
                self.turn_bytes += bytes.len();
                if self.turn_bytes > TURN_BYTES {
                    self.turn_bytes = 0;
                    self.turn = self.turn.wrapping_add(1);
                }
                Partition(self.turn % partitions)
            });
            let index = partition.0 as usize;
            let packer = &self.packers[topic.index()][index];
            if packer.count > 0 && packer.records.len() + bytes.len() > ENTRY_BYTES_MAX {
                self.seal(topic, index, time, batch)?;
            }
            let packer = &mut self.packers[topic.index()][index];
            packer.records.extend_from_slice(bytes);
            packer.count += 1;
        }
        Ok(())
    }

    /// Makes an entry of what a packer has.
    fn seal(
        &mut self,
        topic: Topic,
        index: usize,
        time: Timestamp,
        batch: &mut OwnedWriteBatch,
    ) -> Result<(), BusError> {
        let log = &self.shared.logs(topic)[index];
        let packer = &mut self.packers[topic.index()][index];
        if packer.count == 0 {
            return Ok(());
        }
        let first = packer.next.unwrap_or_else(|| log.end());
        let next = Offset(first.0 + u64::from(packer.count));
        let last = Offset(next.0 - 1);
        let compression = match packer.incompressible {
            0 => self.shared.settings.compression,
            _ => Compression::None,
        };
        packer.incompressible = packer.incompressible.saturating_sub(1);
        let used =
            entry::encode(&mut self.entry, compression, packer.count, first, time, &packer.records);
        if compression != used && packer.records.len() > COMPRESSION_PROBE_BYTES {
            packer.incompressible = INCOMPRESSIBLE_ENTRIES;
        }
        let key = keys::entry(last);
        let mut file = None;
        if self.entry.len() < SEPARATE_BYTES_MIN {
            batch.insert(&log.entries, key, self.entry.as_slice());
        } else {
            let pointer = log.files.append(&self.entry).map_err(entries_failed)?;
            batch.insert(&log.entries, key, pointer.encode());
            file = Some(pointer.file);
        }
        let added = Added { last, time: self.age_now, bytes: self.entry.len() as u64, file };
        let closed = lock(&log.segments).add(added);
        for segment in closed.into_iter().flatten() {
            let key = keys::segment(topic, log.partition, segment.last);
            batch.insert(&self.shared.meta, key, segment.encode());
        }
        packer.next = Some(next);
        packer.count = 0;
        packer.records.clear();
        // One record of many megabytes must not hold its memory for ever.
        packer.records.shrink_to(2 * ENTRY_BYTES_MAX);
        Ok(())
    }

    fn seal_all(&mut self, time: Timestamp, batch: &mut OwnedWriteBatch) -> Result<(), BusError> {
        for topic in Topic::ALL {
            for index in 0..self.packers[topic.index()].len() {
                self.seal(topic, index, time, batch)?;
            }
        }
        self.entry.shrink_to(2 * ENTRY_BYTES_MAX);
        Ok(())
    }

    fn put_offsets_and_state(&self, commit: &CommitRequest, batch: &mut OwnedWriteBatch) {
        let CommitRequest { group, offsets, output, .. } = commit;
        for &(topic, partition, offset) in offsets {
            let key = keys::committed(group, topic, partition);
            batch.insert(&self.shared.meta, key, offset.0.to_le_bytes());
        }
        // Within one write batch all items have one sequence number, so only the last change of a
        // key may enter.
        let mut changes: Vec<_> = output.state().iter().collect();
        changes.reverse();
        changes.sort_by(|a, b| (a.partition, &a.key).cmp(&(b.partition, &b.key)));
        changes
            .dedup_by(|later, kept| (later.partition, &later.key) == (kept.partition, &kept.key));
        for change in changes {
            let key = keys::state(group, change.partition, &change.key);
            match &change.value {
                Some(value) => batch.insert(&self.shared.state, key, value.as_slice()),
                None => batch.remove(&self.shared.state, key),
            }
        }
    }

    /// Shows readers what is durable now.
    fn move_ends(&mut self, is_durable: bool) {
        for topic in Topic::ALL {
            let logs: &[Log] = self.shared.logs(topic);
            for (log, packer) in logs.iter().zip(&mut self.packers[topic.index()]) {
                if let (Some(next), true) = (packer.next.take(), is_durable) {
                    log.set_end(next);
                }
            }
        }
    }
}

fn entries_failed(error: std::io::Error) -> BusError {
    BusError::storage("writing large entries", error)
}

fn answer(requests: impl Iterator<Item = Request>, result: &Result<(), BusError>) {
    for request in requests {
        if let Err(error) = result {
            count_refused(error);
        }
        request.finish(result.clone());
    }
}
