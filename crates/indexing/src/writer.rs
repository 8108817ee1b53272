//! Adds events and alerts to their partitions, exactly once.
//!
//! What is added waits, sorted by partition, until a batch is complete, so that a batch over many
//! days opens each day once. Then [`IndexWriter::commit`] makes it durable and visible: first each
//! changed partition with its offsets, then the checkpoint.

use std::collections::BTreeMap;
use std::sync::Arc;

use bus::Topic;
use event::{Event, Timestamp};
use fail::fail_point;
use tantivy::Term;
use tantivy::indexer::IndexWriterOptions;

use crate::checkpoint::Offsets;
use crate::document::DocumentMaker;
use crate::error::IndexError;
use crate::index::Inner;
use crate::metrics;
use crate::partition::{Kind, Partition, PartitionId};

/// The least memory that tantivy lets a thread have.
const THREAD_BYTES_MIN: usize = 15_000_000;

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
    inner: Arc<Inner>,
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
    pub(crate) fn new(inner: Arc<Inner>, log: &str) -> Self {
        let found = Offsets::read_checkpoint(&inner.dir);
        let is_moved = found.is_foreign(log);
        let checkpoint = found.or_none_of(log);
        IndexWriter {
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
        }
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

    /// Takes a document in. It is in memory until [`IndexWriter::flush`].
    pub fn add(&mut self, document: Document) {
        if let Some(Position { topic, partition, offset }) = document.position {
            self.seen.advance(topic, partition, offset);
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
        self.clock += 1;
        let clock = self.clock;
        if !self.open.contains_key(&id) {
            self.make_room()?;
            let open = open(&self.inner, id, &self.log)?;
            self.open.insert(id, open);
        }
        let Some(open) = self.open.get_mut(&id) else { return Ok(()) };
        open.used = clock;
        let mut added = 0;
        for document in documents {
            if let Some(Position { topic, partition, offset }) = document.position
                && open.has.include(topic, partition, offset)
            {
                continue;
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

    /// Closes the partition that was not used for longest if there are as many as may be.
    fn make_room(&mut self) -> Result<(), IndexError> {
        while self.open.len() >= self.inner.options.writers_max.max(1) {
            let Some(id) = self.open.iter().min_by_key(|(_, open)| open.used).map(|(id, _)| *id)
            else {
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
        self.waiting.clear();
        self.waiting_bytes = 0;
        self.uncommitted_bytes = 0;
        self.seen.clone_from(&self.checkpoint);
    }

    /// Drops partitions whose day, and the last change of which, are longer ago than is kept: what
    /// was imported today of last year's logs is kept as long as today's. Returns how many.
    ///
    /// # Errors
    /// When files cannot be removed.
    pub fn enforce_retention(&mut self, now: Timestamp) -> Result<usize, IndexError> {
        let Some(since) = self.inner.kept_since(now) else { return Ok(0) };
        self.open.retain(|_, open| open.changed || !open.partition.is_older_than(since));
        let open: Vec<PartitionId> = self.open.keys().copied().collect();
        self.inner.drop_before(since, &open)
    }

    /// Commits, and merges every partition into one segment: for an import that is complete, or a
    /// measurement. Waits until it is done.
    ///
    /// # Errors
    /// When something cannot be written.
    pub fn compact(&mut self) -> Result<(), IndexError> {
        self.commit()?;
        self.open.clear();
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
    prepared.set_payload(&seen.to_json());
    prepared.commit().map_err(wrong())?;
    open.has.clone_from(seen);
    open.changed = false;
    open.partition.reload()
}
