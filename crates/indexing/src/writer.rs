//! Adds events and alerts to their partitions, exactly once.
//!
//! What is added waits, sorted by partition, until a batch is complete, so that a batch over many
//! days opens each day once. Then [`IndexWriter::commit`] makes it durable and visible: first each
//! changed partition with its offsets, then the checkpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bus::Topic;
use event::{Event, Timestamp};
use fail::fail_point;
use query::Filter;
use tantivy::index::{SegmentId, SegmentMeta};
use tantivy::indexer::{IndexWriterOptions, NoMergePolicy};
use tantivy::{FutureResult, Term};

use crate::checkpoint::Offsets;
use crate::document::DocumentMaker;
use crate::error::IndexError;
use crate::hold;
use crate::index::{Inner, guarded};
use crate::metrics;
use crate::partition::{Kind, Partition, PartitionId};
use crate::purge::Purges;
use crate::removal::Removal;
use crate::retention::{Class, among, before};
use crate::set_aside::{self, Note};
use crate::usage;

/// The least memory that tantivy lets a thread have.
const THREAD_BYTES_MIN: usize = 15_000_000;

/// Above which share of removed documents a segment is merged. Each byte that a merge frees costs at
/// most three that are written again, and the files are at most a third larger than what they hold.
const REMOVED_PERCENT_MAX: u32 = 25;

/// How long after the end of a day, and after the last change of its partition, it is merged: an hour,
/// in which shippers that were away for a while send what they have.
const SEALED_AFTER_NANOS: i64 = 3600 * 1_000_000_000;

/// Where a record stood on the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The topic.
    pub topic: Topic,
    /// The partition.
    pub partition: u32,
    /// The offset.
    pub offset: u64,
}

/// An event or an alert to index.
#[derive(Debug, Clone)]
pub struct Document {
    /// Which of both.
    pub kind: Kind,
    /// Its time, which decides the partition.
    pub time: Timestamp,
    /// Its fields.
    pub event: Event,
    /// The same as JSON, to be stored.
    pub json: Vec<u8>,
    /// Where it came from; `None` if from nowhere that could be read again.
    pub position: Option<Position>,
}

/// The one writer of an index.
pub struct IndexWriter {
    pub(crate) inner: Arc<Inner>,
    /// The identity of the log that is read.
    log: String,
    /// Whether the last checkpoint is of another log.
    is_moved: bool,
    open: BTreeMap<PartitionId, Open>,
    waiting: BTreeMap<PartitionId, Vec<Document>>,
    waiting_bytes: usize,
    /// Up to where records were handed in.
    seen: Offsets,
    /// The last checkpoint that was written.
    checkpoint: Offsets,
    maker: DocumentMaker,
    uncommitted_bytes: usize,
    /// Counts uses, to find the partition that was not used for longest.
    clock: u64,
    /// Partitions of which enough was removed that their segments shall be merged.
    to_merge: BTreeSet<PartitionId>,
    /// Days that were over, and last changed, before this are sealed.
    sealed_before: Timestamp,
    /// The one that is being merged, beside whatever else happens.
    merging: Option<(PartitionId, FutureResult<Option<SegmentMeta>>)>,
    /// Partitions that were set aside and are made again.
    rebuilding: Vec<Rebuilding>,
    /// What must not be added again.
    pub(crate) purges: Purges,
}

/// A partition that is made again from the log.
struct Rebuilding {
    note: Note,
    id: PartitionId,
    until: Offsets,
    /// What came into it that it had not had.
    later: u64,
}

/// What retention removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// How many events and alerts.
    pub documents: u64,
    /// How many partitions had nothing else, and were dropped whole.
    pub partitions: usize,
}

struct Open {
    partition: Arc<Partition>,
    writer: tantivy::IndexWriter,
    /// What the partition has.
    has: Offsets,
    changed: bool,
    used: u64,
}

impl IndexWriter {
    pub(crate) fn new(inner: Arc<Inner>, log: &str) -> Result<Self, IndexError> {
        let purges = Purges::of(&inner)?;
        for note in set_aside::notes(&inner.dir) {
            if note.problem(&inner.dir).is_none() {
                // Removing it was cut off.
                note.remove(&inner.dir)?;
            }
        }
        let rebuilding = rebuilding(&inner);
        let found = Offsets::read_checkpoint(&inner.dir);
        let is_moved = found.is_foreign(log);
        let checkpoint = found.or_none_of(log);
        Ok(IndexWriter {
            inner,
            log: log.to_owned(),
            is_moved,
            open: BTreeMap::new(),
            waiting: BTreeMap::new(),
            waiting_bytes: 0,
            seen: checkpoint.clone(),
            checkpoint,
            maker: DocumentMaker::default(),
            uncommitted_bytes: 0,
            clock: 0,
            to_merge: BTreeSet::new(),
            sealed_before: Timestamp::EPOCH,
            merging: None,
            rebuilding,
            purges,
        })
    }

    /// From where records must be read again: for each partition of a topic the first offset that
    /// may be missing.
    pub fn start(&self) -> Vec<(Topic, u32, u64)> {
        self.checkpoint.iter().collect()
    }

    /// Whether the index was fed from another log until now, whose offsets mean nothing here.
    pub fn is_moved(&self) -> bool {
        self.is_moved
    }

    /// Notes a record that gives nothing to index, so that it is not read again.
    pub fn skip(&mut self, position: Position) {
        self.seen.advance(position.topic, position.partition, position.offset);
    }

    /// Takes a document in, unless it was purged. It is in memory until [`IndexWriter::flush`].
    pub fn add(&mut self, document: Document) {
        if let Some(Position { topic, partition, offset }) = document.position {
            self.seen.advance(topic, partition, offset);
        }
        if self.purges.concern(document.kind, &document.event, document.time) {
            return;
        }
        self.waiting_bytes += document.json.len();
        let id = PartitionId::of(document.kind, document.time);
        self.waiting.entry(id).or_default().push(document);
    }

    /// Takes a document out of the partition of the time that it was stored with. What is added under
    /// the same id afterwards is there.
    ///
    /// # Errors
    /// As [`IndexWriter::flush`].
    pub fn remove(&mut self, kind: Kind, time: Timestamp, id: &str) -> Result<(), IndexError> {
        let partition = PartitionId::of(kind, time);
        // What waits for it is older.
        let waiting = self.waiting.remove(&partition).unwrap_or_default();
        self.flush_partition(partition, waiting)?;
        if let Some(open) = self.open.get_mut(&partition) {
            open.writer.delete_term(Term::from_field_text(open.partition.fields.id, id));
            open.changed = true;
        }
        Ok(())
    }

    /// How many bytes of documents are not committed.
    pub fn uncommitted_bytes(&self) -> usize {
        self.uncommitted_bytes + self.waiting_bytes
    }

    /// Whether a commit would change anything.
    pub fn has_changes(&self) -> bool {
        self.uncommitted_bytes() > 0 || self.seen != self.checkpoint
    }

    /// Hands what waits to the partitions.
    ///
    /// # Errors
    /// When a partition cannot be made or written. Then [`IndexWriter::rollback`] and read again
    /// from [`IndexWriter::start`].
    pub fn flush(&mut self) -> Result<(), IndexError> {
        // Partitions that are open come first: closing one to make room commits it as complete up
        // to `seen`, so it must have got its documents by then.
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        let (first, then): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|(id, _)| self.open.contains_key(id));
        for (id, documents) in first.into_iter().chain(then) {
            self.flush_partition(id, documents)?;
        }
        Ok(())
    }

    fn flush_partition(
        &mut self,
        id: PartitionId,
        documents: Vec<Document>,
    ) -> Result<(), IndexError> {
        self.open(id)?;
        let Some(open) = self.open.get_mut(&id) else { return Ok(()) };
        let mut rebuilding = self.rebuilding.iter_mut().find(|rebuilding| rebuilding.id == id);
        let mut added = 0;
        for document in documents {
            if let Some(Position { topic, partition, offset }) = document.position {
                if open.has.include(topic, partition, offset) {
                    continue;
                }
                if let Some(rebuilding) = &mut rebuilding {
                    let is_later = !rebuilding.until.include(topic, partition, offset);
                    rebuilding.later += u64::from(is_later);
                }
            }
            let wrong = || IndexError::partition(id, "adding a document");
            if id.kind == Kind::Alerts
                && let Some(alert) = document.event.str("event.id")
            {
                // An alert that is made again, with more events, takes the place of the former.
                open.writer.delete_term(Term::from_field_text(open.partition.fields.id, alert));
            }
            let made = self.maker.make(
                &open.partition.fields,
                &document.event,
                &document.json,
                document.time,
            );
            open.writer.add_document(made).map_err(wrong())?;
            self.uncommitted_bytes += document.json.len();
            added += 1;
        }
        open.changed |= added > 0;
        metrics::INDEXED.with_label_values(&[id.kind.as_str()]).inc_by(added);
        Ok(())
    }

    /// Sees to it that a partition can be written.
    fn open(&mut self, id: PartitionId) -> Result<(), IndexError> {
        self.clock += 1;
        if !self.open.contains_key(&id) {
            self.make_room()?;
            let open = open(&self.inner, id, &self.log)?;
            self.open.insert(id, open);
        }
        if let Some(open) = self.open.get_mut(&id) {
            open.used = self.clock;
        }
        Ok(())
    }

    /// Closes the partition that was not used for longest if there are as many as may be. One that is
    /// being merged comes last: to close it is to begin its merge again some day.
    fn make_room(&mut self) -> Result<(), IndexError> {
        while self.open.len() >= self.inner.options.writers_max.max(1) {
            let is_merging = |id: &PartitionId| self.merging.as_ref().is_some_and(|(m, _)| m == id);
            let least = self.open.iter().min_by_key(|(id, open)| (is_merging(id), open.used));
            let Some(id) = least.map(|(id, _)| *id) else {
                return Ok(());
            };
            if let Some(mut open) = self.open.remove(&id) {
                commit(&mut open, &self.seen)?;
            }
        }
        Ok(())
    }

    /// Makes everything that was added durable and visible.
    ///
    /// # Errors
    /// When something cannot be written. Then [`IndexWriter::rollback`], and read again.
    pub fn commit(&mut self) -> Result<(), IndexError> {
        self.flush()?;
        let timer = metrics::COMMIT_SECONDS.start_timer();
        for open in self.open.values_mut() {
            if open.changed {
                commit(open, &self.seen)?;
                fail_point!("index-between-partitions", |_| std::process::abort());
            }
        }
        fail_point!("index-before-checkpoint", |_| std::process::abort());
        if self.seen != self.checkpoint {
            self.seen.write_checkpoint(&self.inner.dir)?;
            self.checkpoint.clone_from(&self.seen);
            self.is_moved = false;
        }
        fail_point!("index-after-checkpoint", |_| std::process::abort());
        self.uncommitted_bytes = 0;
        timer.observe_duration();
        Ok(())
    }

    /// Forgets what was added since the last commit.
    pub fn rollback(&mut self) {
        self.open.clear();
        self.merging = None;
        self.waiting.clear();
        self.waiting_bytes = 0;
        self.uncommitted_bytes = 0;
        self.seen.clone_from(&self.checkpoint);
    }

    /// Removes what is kept no longer; see `retention`. What was added is committed first. Also looks
    /// which partitions [`IndexWriter::merge_beside`] has to merge.
    ///
    /// # Errors
    /// When files cannot be read, written or removed, or a legal hold cannot be read. What was removed
    /// until then stays removed.
    pub fn enforce_retention(&mut self, now: Timestamp) -> Result<Removed, IndexError> {
        let retention = self.inner.options.retention.clone();
        let mut removed = Removed::default();
        if retention.binds() {
            self.commit()?;
            let holds = hold::filters(&self.inner.data_dir)?;
            let free = match holds.into_iter().map(|(_, held)| held).collect::<Vec<_>>() {
                none if none.is_empty() => Filter::All,
                holds => Filter::or(holds).negated(),
            };
            let partitions = self.inner.partitions().into_iter();
            for partition in partitions.filter(|partition| retention.reaches(partition.id, now)) {
                let usage = guarded(&partition, || partition.usage())?;
                let changed = partition.changed().unwrap_or(now);
                for (class, filter) in retention.past(partition.id, changed, &usage, now) {
                    let filter = Filter::and(vec![filter, free.clone()]);
                    self.retire(&partition, filter, (class, "age"), &mut removed)?;
                }
            }
            for class in retention.classes() {
                self.bound_size(class, &free, &mut removed)?;
            }
        }
        self.sealed_before = now.plus_nanos(-SEALED_AFTER_NANOS);
        for partition in self.inner.partitions() {
            let is_open = self.open.contains_key(&partition.id);
            let left_overs = || guarded(&partition, || partition.has_left_overs());
            if (!is_open && left_overs()?) || !self.mergeable(&partition).is_empty() {
                self.to_merge.insert(partition.id);
            }
        }
        Ok(removed)
    }

    /// Removes the oldest events of a class until it takes no more than it may. What is not free to go
    /// counts, and stays: nothing newer goes in its place.
    fn bound_size(
        &mut self,
        class: Class,
        free: &Filter,
        removed: &mut Removed,
    ) -> Result<(), IndexError> {
        let retention = self.inner.options.retention.clone();
        let Some(bytes_max) = retention.keep(class).bytes_max else { return Ok(()) };
        let mut shares = Vec::new();
        for partition in self.inner.partitions().into_iter().filter(|p| p.id.kind == Kind::Events) {
            let mut usage = guarded(&partition, || partition.usage())?;
            usage.retain(|dataset, _| retention.class_of(dataset) == class);
            let bytes: f64 = usage.values().map(|share| share.bytes).sum();
            let datasets: Vec<String> = usage.into_keys().collect();
            if !datasets.is_empty() {
                shares.push((partition, datasets, bytes));
            }
        }
        let total: f64 = shares.iter().map(|(_, _, bytes)| bytes).sum();
        let gauge = metrics::RETAINED_BYTES.with_label_values(&[retention.name(class)]);
        gauge.set(total as i64);
        let mut excess = total - bytes_max as f64;
        for (partition, datasets, bytes) in shares {
            if excess <= 0.0 {
                break;
            }
            let mut filters = vec![among(datasets.iter().map(String::as_str)), free.clone()];
            if excess < bytes {
                let is_wanted = |dataset: &str| datasets.iter().any(|wanted| wanted == dataset);
                let mut left = excess;
                let minutes = guarded(&partition, || usage::by_minute(&partition, is_wanted))?;
                let last = minutes.iter().find_map(|(minute, bytes)| {
                    left -= bytes;
                    (left <= 0.0).then_some(*minute)
                });
                filters.extend(last.map(|minute| before(usage::end_of(minute))));
            }
            excess -= bytes;
            self.retire(&partition, Filter::and(filters), (class, "size"), removed)?;
        }
        Ok(())
    }

    /// Removes what passes from a partition by retention, and tells of it.
    fn retire(
        &mut self,
        partition: &Arc<Partition>,
        filter: Filter,
        (class, bound): (Class, &'static str),
        removed: &mut Removed,
    ) -> Result<(), IndexError> {
        let removal = Removal { partition: partition.clone(), filter };
        let documents = removal.count()?;
        if documents == 0 {
            return Ok(());
        }
        let is_whole = documents == partition.searcher().num_docs();
        if is_whole {
            self.close(partition.id);
            self.inner.drop_partition(partition)?;
            removed.partitions += 1;
        } else {
            self.remove_passing(removal)?;
        }
        removed.documents += documents;
        let name = self.inner.options.retention.name(class);
        metrics::RETENTION_REMOVED.with_label_values(&[name, bound]).inc_by(documents);
        tracing::info!(partition = %partition.id, dataset = name, bound, documents, is_whole, "retention removed what it no longer keeps");
        Ok(())
    }

    /// Removes what passes, and commits that.
    pub(crate) fn remove_passing(&mut self, removal: Removal) -> Result<(), IndexError> {
        let id = removal.partition.id;
        self.open(id)?;
        let Some(open) = self.open.get_mut(&id) else { return Ok(()) };
        open.writer
            .delete_query(Box::new(removal))
            .map_err(IndexError::partition(id, "removing from it"))?;
        open.changed = true;
        commit(open, &self.seen)
    }

    /// Removes what has these ids from a partition, and commits that.
    pub(crate) fn remove_ids(
        &mut self,
        id: PartitionId,
        documents: &[String],
    ) -> Result<(), IndexError> {
        if documents.is_empty() {
            return Ok(());
        }
        self.open(id)?;
        let Some(open) = self.open.get_mut(&id) else { return Ok(()) };
        for document in documents {
            open.writer.delete_term(Term::from_field_text(open.partition.fields.id, document));
        }
        open.changed = true;
        commit(open, &self.seen)
    }

    /// Lets go of all partitions, once what is being merged is.
    pub(crate) fn settle(&mut self) -> Result<(), IndexError> {
        self.merging = None;
        for (id, Open { partition, writer, .. }) in std::mem::take(&mut self.open) {
            let wrong = IndexError::partition(id, "waiting for its merges");
            writer.wait_merging_threads().map_err(wrong)?;
            partition.reload()?;
        }
        Ok(())
    }

    /// Merges every segment of a partition that lacks documents, and removes files that belong to no
    /// segment any more. Waits until that is done.
    pub(crate) fn merge_whole(&mut self, partition: &Arc<Partition>) -> Result<(), IndexError> {
        let id = partition.id;
        let wrong = || IndexError::partition(id, "merging it");
        self.settle()?;
        let mut open = open(&self.inner, id, &self.log)?;
        open.writer.set_merge_policy(Box::new(NoMergePolicy));
        let segments = partition.segments_over(0);
        if !segments.is_empty() {
            open.writer.merge(&segments).wait().map_err(wrong())?;
            partition.reload()?;
        }
        open.writer.garbage_collect_files().wait().map_err(wrong())?;
        open.writer.wait_merging_threads().map_err(wrong())?;
        partition.reload()
    }

    /// Lets go of a partition; what was not committed to it is forgotten.
    fn close(&mut self, id: PartitionId) {
        self.open.remove(&id);
        self.to_merge.remove(&id);
        self.merging.take_if(|(merging, _)| *merging == id);
    }

    /// The segments of a partition that are to be merged: of a day that is over, or such as lack much.
    fn mergeable(&self, partition: &Partition) -> Vec<SegmentId> {
        if partition.is_older_than(self.sealed_before) {
            let segments = partition.segments_to_seal();
            if !segments.is_empty() {
                return segments;
            }
        }
        partition.segments_over(REMOVED_PERCENT_MAX)
    }

    /// Merges the segments of days that are over, and such of which much was removed, one partition at
    /// a time and beside everything else.
    /// Called now and then; returns at once.
    ///
    /// # Errors
    /// When a partition cannot be opened, or a merge failed.
    pub fn merge_beside(&mut self) -> Result<(), IndexError> {
        if let Some((id, merge)) = &mut self.merging {
            let id = *id;
            let mut context = Context::from_waker(Waker::noop());
            let Poll::Ready(merged) = Pin::new(merge).poll(&mut context) else { return Ok(()) };
            self.merging = None;
            // A writer that was closed meanwhile took its merge along; it is begun again.
            if let (Ok(_), Some(open)) = (merged, self.open.get(&id)) {
                open.partition.reload()?;
                tracing::debug!(partition = %id, "merged segments");
            }
        }
        let Some(id) = self.to_merge.pop_first() else { return Ok(()) };
        let Some(partition) = self.inner.partition(id) else { return Ok(()) };
        let segments = self.mergeable(&partition);
        self.open(id)?;
        let Some(open) = self.open.get_mut(&id) else { return Ok(()) };
        if segments.is_empty() {
            // Whoever merged it was killed before the old files were removed.
            let wrong = IndexError::partition(id, "removing files of no segment");
            open.writer.garbage_collect_files().wait().map_err(wrong)?;
        } else {
            self.merging = Some((id, open.writer.merge(&segments)));
        }
        Ok(())
    }

    /// Sets partitions aside that were found damaged. True if there was one: then what was added since
    /// the last commit is forgotten, and the log must be read again from [`IndexWriter::start`].
    ///
    /// # Errors
    /// When files cannot be moved.
    pub fn set_damaged_aside(&mut self) -> Result<bool, IndexError> {
        let mut was_damaged = false;
        for partition in self.inner.partitions() {
            let Some(damage) = partition.damage() else { continue };
            self.rollback();
            self.inner.set_aside(partition.id, damage, &self.checkpoint)?;
            was_damaged = true;
        }
        if was_damaged {
            self.checkpoint = Offsets::none_of(&self.log);
            self.seen.clone_from(&self.checkpoint);
            self.rebuilding = rebuilding(&self.inner);
        }
        Ok(was_damaged)
    }

    /// Whether a damaged partition is still being made again from the log.
    pub fn is_rebuilding(&self) -> bool {
        !self.rebuilding.is_empty()
    }

    /// Tells of partitions that were made again, once all that the log still had was read; `is_idle`
    /// if there is nothing left to read.
    ///
    /// # Errors
    /// When the note of one cannot be written.
    pub fn finish_rebuilding(&mut self, is_idle: bool) -> Result<(), IndexError> {
        let is_done =
            |rebuilding: &mut Rebuilding| is_idle || self.checkpoint.cover(&rebuilding.until);
        let done: Vec<Rebuilding> = self.rebuilding.extract_if(.., is_done).collect();
        for Rebuilding { mut note, id, later, .. } in done {
            let partition = self.inner.partition(id);
            let documents = partition.map_or(0, |partition| partition.searcher().num_docs());
            let rebuilt = documents.saturating_sub(later);
            note.rebuilt = Some(rebuilt);
            note.write(&self.inner.dir)?;
            match note.problem(&self.inner.dir) {
                None => {
                    note.remove(&self.inner.dir)?;
                    tracing::info!(partition = %id, rebuilt, "a damaged index partition was made again, whole")
                }
                Some(problem) => {
                    tracing::error!(partition = %id, rebuilt, had = note.documents, reason = problem.reason, "a damaged index partition could be made again only in part")
                }
            }
            self.inner.report_set_aside();
        }
        Ok(())
    }

    /// Commits, and merges every partition into one segment: for an import that is complete, or a
    /// measurement. Waits until it is done.
    ///
    /// # Errors
    /// When something cannot be written.
    pub fn compact(&mut self) -> Result<(), IndexError> {
        self.commit()?;
        self.settle()?;
        for partition in self.inner.partitions() {
            let wrong = || IndexError::partition(partition.id, "merging it");
            let segments = partition.index.searchable_segment_ids().map_err(wrong())?;
            if segments.len() < 2 {
                continue;
            }
            let mut open = open(&self.inner, partition.id, &self.log)?;
            open.writer.merge(&segments).wait().map_err(wrong())?;
            open.writer.wait_merging_threads().map_err(wrong())?;
            partition.reload()?;
        }
        Ok(())
    }
}

/// The partitions that were set aside and not made again yet.
fn rebuilding(inner: &Inner) -> Vec<Rebuilding> {
    let notes = set_aside::notes(&inner.dir).into_iter().filter(|note| note.rebuilt.is_none());
    let known = notes.filter_map(|note| {
        let id = note.partition.parse().ok()?;
        let until = Offsets::parse(&note.until).unwrap_or_default();
        Some(Rebuilding { note, id, until, later: 0 })
    });
    known.collect()
}

fn open(inner: &Inner, id: PartitionId, log: &str) -> Result<Open, IndexError> {
    let wrong = || IndexError::partition(id, "opening it for writing");
    let partition = inner.partition_or_create(id)?;
    let options = &inner.options;
    let threads = options.threads.clamp(1, 8);
    let bytes = options.memory_bytes_max / options.writers_max.max(1) / threads;
    let writer = partition
        .index
        .writer_with_options(
            IndexWriterOptions::builder()
                .num_worker_threads(threads)
                .memory_budget_per_thread(bytes.max(THREAD_BYTES_MIN))
                .num_merge_threads(1)
                .build(),
        )
        .map_err(wrong())?;
    let payload = partition.index.load_metas().map_err(wrong())?.payload;
    let has = payload.as_deref().and_then(Offsets::parse).unwrap_or_default().or_none_of(log);
    Ok(Open { partition, writer, has, changed: false, used: 0 })
}

fn commit(open: &mut Open, seen: &Offsets) -> Result<(), IndexError> {
    let wrong = || IndexError::partition(open.partition.id, "committing it");
    if !open.changed {
        return Ok(());
    }
    let mut prepared = open.writer.prepare_commit().map_err(wrong())?;
    open.has.include_all(seen);
    prepared.set_payload(&open.has.to_json());
    prepared.commit().map_err(wrong())?;
    open.changed = false;
    open.partition.reload()
}
