//! What the embedded log's threads share: the store, the partitions, the groups.
//!
//! Writing is the committer's alone (`committer.rs`), so offsets are given out without a race.
//! Reading is everyone's: a partition's `end` moves only after its records are durable, and readers
//! never look past it.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use event::{AgeClock, Timestamp};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::committer::{CommitRequest, Queue, Request};
use super::files::{EntryFiles, FileNumber, Pointer};
use super::segments::{Added, Segment, Segments};
use super::{Settings, entry, files, keys};
use crate::consumer::{Arrivals, Commit, Store, lock};
use crate::error::{count_refused, too_large};
use crate::group::{Groups, Member};
use crate::{
    Batch, BusError, Gap, GapReason, Offset, Partition, PollLimits, Retention, StateVisitor, Topic,
};

/// So many offsets around a damage are tried one by one: a few of the largest entries of the
/// smallest records, some seconds at most if a whole table is damaged.
const SALVAGE_OFFSETS_MAX: u64 = 100_000;

/// Tells how much of the disk is free.
pub(super) type FreeBytes = Box<dyn Fn() -> std::io::Result<u64> + Send + Sync>;

pub(super) struct Shared {
    pub(super) path: PathBuf,
    pub(super) settings: Settings,
    pub(super) free_bytes: FreeBytes,
    pub(super) queue: Queue,
    pub(super) groups: Mutex<Groups>,
    pub(super) arrivals: Arrivals,
    pub(super) retention: Mutex<[Retention; Topic::ALL.len()]>,
    age: Mutex<Age>,
    /// Held while something is written, so that whoever holds it sees a log at rest.
    pub(super) writing: Mutex<()>,
    /// The failed write after which nothing more is accepted, because what the disk holds is unknown
    /// until the log is opened again.
    pub(super) failure: Mutex<Option<BusError>>,
    topics: [Vec<Log>; Topic::ALL.len()],
    files: [Arc<EntryFiles>; Topic::ALL.len()],
    pub(super) meta: Keyspace,
    pub(super) state: Keyspace,
    /// Last, so that it is dropped after its keyspaces.
    pub(super) database: Database,
}

/// The time that ages are told by.
struct Age {
    clock: AgeClock,
    /// For how long the machine had run at its last step.
    running: Duration,
}

/// A partition.
pub(super) struct Log {
    pub(super) topic: Topic,
    pub(super) partition: Partition,
    /// Entries by their last offset, or pointers to those in files.
    pub(super) entries: Keyspace,
    /// Those of its topic.
    pub(super) files: Arc<EntryFiles>,
    pub(super) segments: Mutex<Segments>,
    begin: AtomicU64,
    end: AtomicU64,
}

impl Shared {
    pub(super) fn open(
        path: PathBuf,
        settings: Settings,
        free_bytes: FreeBytes,
    ) -> Result<Self, BusError> {
        let database = open_database(&path, &settings)?;
        let open = |source| BusError::storage("opening a part of the log", source);
        let small = || {
            KeyspaceCreateOptions::default().max_memtable_size(settings.small_memtable_bytes_max)
        };
        let meta = database.keyspace(keys::META, small).map_err(open)?;
        let state = database.keyspace(keys::STATE, small).map_err(open)?;
        let age =
            Age { clock: age_clock(&meta, (settings.clock)())?, running: (settings.running)() };
        let no_folder = |error| BusError::storage("opening the folder of large entries", error);
        let folder = files::prepare(&path).map_err(no_folder)?;
        let mut topics: [Vec<Log>; Topic::ALL.len()] = Default::default();
        let mut files = Vec::new();
        for topic in Topic::ALL {
            let of_topic = Arc::new(EntryFiles::open(&folder, topic).map_err(no_folder)?);
            files.push(Arc::clone(&of_topic));
            let partitions = stored_partitions(&meta, topic, settings.topic(topic).partitions)?;
            for partition in 0..partitions {
                let log = Log::open(
                    &database,
                    &meta,
                    topic,
                    Partition(partition),
                    &settings,
                    age.clock.now(),
                    Arc::clone(&of_topic),
                )?;
                topics[topic.index()].push(log);
            }
            // What a crash left behind, of a group that was not acknowledged or of a retention.
            let unreferenced = of_topic.unreferenced(&referenced(&topics[topic.index()]));
            if let Err(error) = of_topic.remove(&unreferenced) {
                tracing::warn!(%topic, %error, "a file that is not needed stays until the next time");
            }
        }
        let retention = Topic::ALL.map(|topic| settings.topic(topic).retention);
        Ok(Shared {
            path,
            queue: Queue::new(settings.pending_bytes_max),
            settings,
            free_bytes,
            groups: Mutex::default(),
            arrivals: Arrivals::default(),
            retention: Mutex::new(retention),
            age: Mutex::new(age),
            writing: Mutex::default(),
            failure: Mutex::default(),
            topics,
            files: files.try_into().unwrap_or_else(|_| unreachable!("there is one for each topic")),
            meta,
            state,
            database,
        })
    }

    /// Asks for the free space, and refuses to go on with too little. Returns what is free.
    pub(super) fn check_disk(&self) -> Result<u64, BusError> {
        let reserve_bytes = self.settings.disk_reserve_bytes;
        let free_bytes = (self.free_bytes)()
            .map_err(|error| BusError::storage("asking for the free space", error))?;
        if free_bytes < reserve_bytes {
            let path = self.path.clone();
            return Err(BusError::DiskLow { path, free_bytes, reserve_bytes });
        }
        Ok(free_bytes)
    }

    /// The time now as ages are told.
    pub(super) fn age_now(&self) -> Timestamp {
        let mut age = lock(&self.age);
        let running = (self.settings.running)();
        let elapsed = running.saturating_sub(age.running);
        age.running = running;
        age.clock.step((self.settings.clock)(), elapsed)
    }

    /// Keeps it for the next start. Not synced: it matters little how old it is.
    pub(super) fn keep_age(&self) -> Result<(), BusError> {
        let text = lock(&self.age).clock.to_text();
        self.meta
            .insert(keys::AGE, text)
            .map_err(|error| BusError::storage("keeping the time", error))
    }

    pub(super) fn logs(&self, topic: Topic) -> &[Log] {
        &self.topics[topic.index()]
    }

    pub(super) fn files(&self, topic: Topic) -> &EntryFiles {
        &self.files[topic.index()]
    }

    pub(super) fn log(&self, topic: Topic, partition: Partition) -> Result<&Log, BusError> {
        self.logs(topic).get(partition.0 as usize).ok_or(BusError::NoPartition { topic, partition })
    }
}

impl Log {
    fn open(
        database: &Database,
        meta: &Keyspace,
        topic: Topic,
        partition: Partition,
        settings: &Settings,
        now: Timestamp,
        files: Arc<EntryFiles>,
    ) -> Result<Self, BusError> {
        let failed = |source| BusError::storage("opening a partition", source);
        let options = || {
            // Entries are compressed already, and are found by ranges, never by a filter.
            KeyspaceCreateOptions::default()
                .max_memtable_size(settings.memtable_bytes_max)
                .data_block_compression_policy(fjall::config::CompressionPolicy::disabled())
                .filter_policy(fjall::config::FilterPolicy::disabled())
        };
        let entries =
            database.keyspace(&keys::keyspace(topic, partition), options).map_err(failed)?;
        let begin = get_u64(meta, &keys::begin(topic, partition))?.unwrap_or(0);
        let mut segments = Segments::default();
        let prefix = keys::segments(topic, partition);
        for guard in meta.prefix(&prefix) {
            let (key, value) = guard.into_inner().map_err(failed)?;
            let last = key.strip_prefix(prefix.as_slice()).and_then(keys::entry_last);
            let segment = last.and_then(|last| Segment::decode(last, &value));
            segments.restore(segment.ok_or_else(|| damaged_meta(&key))?);
        }
        // What came after the last closed segment is little; its times and sizes are read again.
        let from = segments.last_closed().map_or(Offset(0), |last| Offset(last.0 + 1));
        let mut end = from.max(Offset(begin));
        let mut at = from;
        let mut buffer = Vec::new();
        while let Some(guard) = entries.range(keys::entry(at)..).next() {
            let added = match guard.into_inner() {
                Ok((key, value)) => {
                    let last = keys::entry_last(&key).ok_or_else(|| damaged_meta(&key))?;
                    let pointer = Pointer::decode(&value);
                    let bytes = pointer.map_or(value.len() as u64, |pointer| pointer.bytes.into());
                    // What nobody may read any more may be gone.
                    let time = if last.0 < begin {
                        Timestamp::EPOCH
                    } else {
                        let decoded = decode(&files, last, &value, &mut buffer)
                            .map_err(|error| BusError::storage("opening a partition", error))?;
                        // A damaged entry has no time of its own; its reader will report it.
                        let time = decoded.map_or(Timestamp::EPOCH, |(header, _)| header.timestamp);
                        // It is what the clock said then, which may have been ahead.
                        time.min(now)
                    };
                    Added { last, time, bytes, file: pointer.map(|pointer| pointer.file) }
                }
                Err(error) if is_damage(&error) => {
                    let next = next_readable(&entries, at, Offset(u64::MAX))?;
                    let last = Offset(next.0 - 1);
                    Added { last, time: Timestamp::EPOCH, bytes: 0, file: None }
                }
                Err(error) => return Err(failed(error)),
            };
            at = Offset(added.last.0 + 1);
            end = end.max(at);
            if added.last.0 >= begin {
                segments.add(added);
            }
        }
        Ok(Log {
            topic,
            partition,
            entries,
            files,
            segments: Mutex::new(segments),
            begin: AtomicU64::new(begin),
            end: AtomicU64::new(end.0),
        })
    }

    pub(super) fn begin(&self) -> Offset {
        Offset(self.begin.load(Ordering::Acquire))
    }

    pub(super) fn end(&self) -> Offset {
        Offset(self.end.load(Ordering::Acquire))
    }

    pub(super) fn set_begin(&self, begin: Offset) {
        self.begin.store(begin.0, Ordering::Release);
    }

    pub(super) fn set_end(&self, end: Offset) {
        self.end.store(end.0, Ordering::Release);
    }

    /// Reads from `from`, which is within the partition, until the batch is full or `end`.
    pub(super) fn read(
        &self,
        mut from: Offset,
        end: Offset,
        limits: &PollLimits,
        batch: &mut Batch,
    ) -> Result<Offset, BusError> {
        let mut buffer = Vec::new();
        for guard in self.entries.range(keys::entry(from)..) {
            if batch.is_enough(limits) || from >= end {
                return Ok(from);
            }
            let (key, value) = match guard.into_inner() {
                Ok(found) => found,
                Err(error) if is_damage(&error) => {
                    let what = format!("a block of the store: {error}");
                    // The key is unknown, so where the damage ends must be searched.
                    let next = next_readable(&self.entries, from, end)?;
                    return Ok(match self.first_whole(from, next)? {
                        Some((key, value)) => {
                            self.take(&key, &value, from, end, &what, limits, batch, &mut buffer)?.0
                        }
                        None => {
                            batch.push_gap(gap(self, from, next, what));
                            next
                        }
                    });
                }
                Err(error) => return Err(BusError::storage("reading records", error)),
            };
            let missing = "entries are missing from the store";
            let (reached, next) =
                self.take(&key, &value, from, end, missing, limits, batch, &mut buffer)?;
            from = reached;
            if from != next {
                return Ok(from);
            }
        }
        if from < end && !batch.is_enough(limits) {
            let what = "entries are missing from the end of the store".to_owned();
            batch.push_gap(gap(self, from, end, what));
            return Ok(end);
        }
        Ok(from)
    }

    /// Adds an entry's records, from the offset `from` on, to a batch. Returns where to go on, and
    /// where the next entry begins; they differ where reading must stop. If the entry begins after
    /// `from`, what is between is missing, and `missing` says why.
    #[expect(clippy::too_many_arguments, reason = "it is the middle of the loop above")]
    fn take(
        &self,
        key: &[u8],
        value: &[u8],
        from: Offset,
        end: Offset,
        missing: &str,
        limits: &PollLimits,
        batch: &mut Batch,
        buffer: &mut Vec<u8>,
    ) -> Result<(Offset, Offset), BusError> {
        let Some(last) = keys::entry_last(key) else {
            let next = Offset(from.0 + 1);
            let what = format!("the key of an entry has {} bytes", key.len());
            batch.push_gap(gap(self, from, next, what));
            return Ok((next, next));
        };
        let next = Offset(last.0 + 1);
        if next > end {
            // Written, and not acknowledged yet.
            return Ok((from, next));
        }
        let decoded = decode(&self.files, last, value, buffer)
            .map_err(|error| BusError::storage("reading records", error))?;
        let read = decoded.and_then(|(header, body)| {
            if header.first > from {
                batch.push_gap(gap(self, from, header.first, missing.to_owned()));
            }
            header.read_into(body, (self.topic, self.partition), from, limits, batch)
        });
        match read {
            Ok(reached) => Ok((reached, next)),
            Err(what) => {
                // Retention removes a file after it has moved the beginning, and may do so now.
                let begin = self.begin();
                if begin > last {
                    let (topic, partition) = (self.topic, self.partition);
                    let reason = GapReason::Retention;
                    batch.push_gap(Gap { topic, partition, first: from, next: begin, reason });
                    return Ok((begin, next));
                }
                batch.push_gap(gap(self, from, next, what));
                Ok((next, next))
            }
        }
    }

    /// The first entry that ends at or after `from` and before `next` and can be read by itself. A
    /// range of the store looks some entries ahead of the one that it gives, and fails for them too,
    /// so before the damage there are mostly some that are whole.
    fn first_whole(
        &self,
        from: Offset,
        next: Offset,
    ) -> Result<Option<([u8; 8], fjall::Slice)>, BusError> {
        for offset in from.0..next.0.min(from.0.saturating_add(SALVAGE_OFFSETS_MAX)) {
            let key = keys::entry(Offset(offset));
            match self.entries.get(key) {
                Ok(Some(value)) => return Ok(Some((key, value))),
                Ok(None) => {}
                Err(error) if is_damage(&error) => {}
                Err(error) => return Err(BusError::storage("reading records", error)),
            }
        }
        Ok(None)
    }
}

/// The files that entries of these partitions are in.
pub(super) fn referenced(logs: &[Log]) -> BTreeSet<FileNumber> {
    let mut files = BTreeSet::new();
    for log in logs {
        files.extend(lock(&log.segments).files());
    }
    files
}

/// The smallest offset above `from`, at or soon after which is damage, at which reading works again,
/// or `end`.
fn next_readable(entries: &Keyspace, from: Offset, end: Offset) -> Result<Offset, BusError> {
    let is_readable = |offset: u64| match entries.range(keys::entry(Offset(offset))..).next() {
        None => Ok(true),
        Some(guard) => match guard.into_inner() {
            Ok(_) => Ok(true),
            Err(error) if is_damage(&error) => Ok(false),
            Err(error) => Err(BusError::storage("reading records", error)),
        },
    };
    // A damaged block is a run of offsets, so both searches see "damaged" first and "readable"
    // after it.
    let (mut damaged, mut step) = (from.0, 1_u64);
    let mut readable = loop {
        let probe = damaged.saturating_add(step).min(end.0);
        if probe == end.0 || is_readable(probe)? {
            break probe;
        }
        (damaged, step) = (probe, step.saturating_mul(2));
    };
    while damaged + 1 < readable {
        let middle = damaged + (readable - damaged) / 2;
        if is_readable(middle)? { readable = middle } else { damaged = middle }
    }
    Ok(Offset(readable))
}

impl Store for Shared {
    fn generation(&self, group: &str) -> Result<u64, BusError> {
        if self.queue.is_closed() {
            return Err(BusError::Closed);
        }
        Ok(lock(&self.groups).generation(group))
    }

    fn assignment(&self, group: &str, member: Member) -> (u64, Vec<(Topic, Partition)>) {
        let groups = lock(&self.groups);
        let partitions = |topic| self.logs(topic).len() as u32;
        (groups.generation(group), groups.assignment(group, member, partitions))
    }

    fn leave(&self, group: &str, member: Member) {
        {
            // Not while a commit is being written: it was checked against the old generation.
            let _writing = lock(&self.writing);
            lock(&self.groups).leave(group, member);
        }
        self.arrivals.notify();
    }

    fn committed(
        &self,
        group: &str,
        topic: Topic,
        partition: Partition,
    ) -> Result<Option<Offset>, BusError> {
        Ok(get_u64(&self.meta, &keys::committed(group, topic, partition))?.map(Offset))
    }

    fn read(
        &self,
        topic: Topic,
        partition: Partition,
        from: Offset,
        limits: &PollLimits,
        batch: &mut Batch,
    ) -> Result<Offset, BusError> {
        let log = self.log(topic, partition)?;
        // The end first: retention moves the beginning, and never past an end that was seen later.
        let end = log.end();
        let begin = log.begin();
        let start = from.max(begin);
        if start > from {
            let reason = GapReason::Retention;
            batch.push_gap(Gap { topic, partition, first: from, next: start, reason });
        }
        if start >= end {
            return Ok(start);
        }
        log.read(start, end, limits, batch)
    }

    fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }

    fn commit(&self, commit: Commit<'_>) -> Result<(), BusError> {
        let Commit { group, generation, offsets, output } = commit;
        for topic in Topic::ALL {
            too_large(topic, output.records(topic), self.settings.record_bytes_max)
                .inspect_err(count_refused)?;
        }
        let (sender, receiver) = mpsc::sync_channel(1);
        self.queue.push_waiting(Request::Commit(Box::new(CommitRequest {
            group: group.to_owned(),
            generation,
            offsets,
            output: std::mem::take(output),
            done: sender,
        })));
        let (returned, result) = receiver.recv().map_err(|_| BusError::Closed)?;
        *output = returned;
        result
    }

    fn state_get(
        &self,
        group: &str,
        partition: Partition,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, BusError> {
        let value = self
            .state
            .get(keys::state(group, partition, key))
            .map_err(|error| BusError::storage("reading state", error))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn state_scan(
        &self,
        group: &str,
        partition: Partition,
        prefix: &[u8],
        each: &mut StateVisitor<'_>,
    ) -> Result<(), BusError> {
        let start = keys::state(group, partition, &[]).len();
        for guard in self.state.prefix(keys::state(group, partition, prefix)) {
            let (key, value) =
                guard.into_inner().map_err(|error| BusError::storage("reading state", error))?;
            each(partition, key.get(start..).unwrap_or_default(), &value);
        }
        Ok(())
    }
}

fn open_database(path: &std::path::Path, settings: &Settings) -> Result<Database, BusError> {
    // Journals that are not yet in tables: 64 MiB is the least that fjall takes. What they hold is
    // replayed at the next start.
    const JOURNAL_BYTES_MAX: u64 = 64 * 1024 * 1024;
    // Enough for one flush and one compaction beside it.
    const WORKERS: usize = 2;

    Database::builder(path)
        .cache_size(settings.cache_bytes)
        .max_journaling_size(JOURNAL_BYTES_MAX)
        .worker_threads(WORKERS)
        .journal_compression(fjall::CompressionType::None)
        .open()
        .map_err(|error| match error {
            fjall::Error::Locked => BusError::InUse { path: path.to_owned() },
            error => BusError::Open { path: path.to_owned(), reason: error.to_string() },
        })
}

/// The partitions that a topic has: what the folder was made with counts, because keys and state are
/// bound to it.
fn stored_partitions(meta: &Keyspace, topic: Topic, wanted: u32) -> Result<u32, BusError> {
    let key = keys::partitions(topic);
    let wanted = wanted.max(1);
    match get_u64(meta, &key)?.map(|stored| u32::try_from(stored).unwrap_or(u32::MAX)) {
        Some(stored) => {
            if stored != wanted {
                tracing::warn!(%topic, stored, wanted,
                    "the number of partitions cannot be changed in an existing data folder");
            }
            Ok(stored)
        }
        None => {
            // Not synced: whatever is synced later is behind it in the journal.
            meta.insert(key, u64::from(wanted).to_le_bytes())
                .map_err(|error| BusError::storage("storing the number of partitions", error))?;
            Ok(wanted)
        }
    }
}

/// The time that ages are told by, as the last process left it.
fn age_clock(meta: &Keyspace, clock: Timestamp) -> Result<AgeClock, BusError> {
    let value =
        meta.get(keys::AGE).map_err(|error| BusError::storage("reading the time", error))?;
    let kept = value.and_then(|value| AgeClock::from_text(std::str::from_utf8(&value).ok()?));
    let Some(mut age) = kept else {
        let age = AgeClock::new(clock);
        // Not synced: whatever is synced later is behind it in the journal.
        meta.insert(keys::AGE, age.to_text())
            .map_err(|error| BusError::storage("keeping the time", error))?;
        return Ok(age);
    };
    let now = age.resume(clock);
    let ahead_s = clock.as_seconds() - now.as_seconds();
    if ahead_s.abs() > 3600 {
        tracing::warn!(%clock, %now, "the clock is far from where it was when the log was last open; \
            ages are told by the time that passed, until it has caught up");
    }
    Ok(age)
}

pub(super) fn get_u64(meta: &Keyspace, key: &[u8]) -> Result<Option<u64>, BusError> {
    let value = meta.get(key).map_err(|error| BusError::storage("reading an offset", error))?;
    match value {
        None => Ok(None),
        Some(value) => match (*value).try_into() {
            Ok(bytes) => Ok(Some(u64::from_le_bytes(bytes))),
            Err(_) => Err(damaged_meta(key)),
        },
    }
}

/// How each write is made durable. The journal's length is allocated ahead and its metadata is synced
/// when it is, so `fdatasync`, which also syncs what is needed to read the data back, is enough.
pub(super) const DURABILITY: PersistMode = PersistMode::SyncData;

/// Or what is wrong with its bytes.
type Decoded<'a> = Result<(entry::Header, &'a [u8]), String>;

/// Reads and checks an entry: the value that the store has, or what that points to, which is read into
/// the buffer. Fails if the disk does.
fn decode<'a>(
    files: &EntryFiles,
    last: Offset,
    value: &'a [u8],
    buffer: &'a mut Vec<u8>,
) -> io::Result<Decoded<'a>> {
    let Some(pointer) = Pointer::decode(value) else { return Ok(entry::decode(value, last)) };
    match files.read(&pointer, buffer) {
        Ok(()) => Ok(entry::decode(buffer, last)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(Err(format!("{} is missing", files.path(pointer.file).display())))
        }
        Err(error) if is_bad_data(&error) => {
            Ok(Err(format!("{} is too short", files.path(pointer.file).display())))
        }
        Err(error) => Err(error),
    }
}

fn gap(log: &Log, first: Offset, next: Offset, what: String) -> Gap {
    let reason = GapReason::Corrupt(what);
    Gap { topic: log.topic, partition: log.partition, first, next, reason }
}

/// Whether reading failed because of what is on the disk, rather than because of the disk.
fn is_damage(error: &fjall::Error) -> bool {
    match error {
        fjall::Error::Io(error) => is_bad_data(error),
        fjall::Error::Storage(fjall::LsmError::Io(error)) => is_bad_data(error),
        fjall::Error::Storage(_) | fjall::Error::Decompress(_) | fjall::Error::InvalidTag(_) => {
            true
        }
        _ => false,
    }
}

fn is_bad_data(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData)
}

fn damaged_meta(key: &[u8]) -> BusError {
    let what = format!("the value of {:?} is damaged", String::from_utf8_lossy(key));
    BusError::storage("reading what the log knows of itself", std::io::Error::other(what))
}
