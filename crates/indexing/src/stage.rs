//! The stage that feeds the index from the bus.
//!
//! It keeps its own offsets, with its data: see `checkpoint`. A batch is handed to the partitions
//! at its end, and committed once enough time or data has passed since the last commit, so that a
//! busy index commits about once a second and an idle one not at all.

use std::time::{Duration, Instant};

use bus::{
    Offset, Output, Partition, Record, Reject, Stage, StageError, Start, StateReader, Topic,
};
use event::{Event, Timestamp};

use crate::age::Age;
use crate::error::IndexError;
use crate::index::Index;
use crate::partition::Kind;
use crate::writer::{Document, IndexWriter, Position};

/// How often partitions are looked through for such as are too old.
const RETENTION_EVERY: Duration = Duration::from_secs(10 * 60);

/// Indexes the topics `events` and `alerts`.
pub struct IndexStage {
    index: Index,
    writer: IndexWriter,
    /// When the oldest uncommitted change was made.
    changed: Option<Instant>,
    age: Age,
    /// When it was last looked whether something is too old. Not by the clock, which may be set.
    retained: Option<Instant>,
}

impl IndexStage {
    /// The stage that writes this index from the log of this identity. There must be one.
    ///
    /// # Errors
    /// When the index was opened for reading only.
    pub fn new(index: &Index, log: &str) -> Result<IndexStage, IndexError> {
        let writer = index.writer(log)?;
        let age = Age::of(&index.inner.dir);
        Ok(IndexStage { index: index.clone(), writer, changed: None, age, retained: None })
    }

    fn commit(&mut self) -> Result<(), StageError> {
        self.changed = None;
        self.writer.commit().map_err(StageError::new)
    }
}

impl Stage for IndexStage {
    fn name(&self) -> &'static str {
        "indexing"
    }

    fn inputs(&self) -> &[Topic] {
        &[Topic::Events, Topic::Alerts]
    }

    fn restore(
        &mut self,
        _assigned: &[(Topic, Partition)],
        _state: &dyn StateReader,
    ) -> Result<Start, StageError> {
        self.writer.rollback();
        self.changed = None;
        if self.writer.is_moved() {
            return Ok(Start::Moved);
        }
        let start = self.writer.start().into_iter();
        Ok(Start::Own(
            start
                .map(|(topic, partition, next)| (topic, Partition(partition), Offset(next)))
                .collect(),
        ))
    }

    fn process(
        &mut self,
        record: &Record<'_>,
        _now: Timestamp,
        _output: &mut Output,
    ) -> Result<(), Reject> {
        let position = Position {
            topic: record.topic,
            partition: record.partition.0,
            offset: record.offset.0,
        };
        let mut event = Event::new();
        if let Err(error) = event.parse_json(record.value) {
            self.writer.skip(position);
            return Err(Reject::new(error.to_string()));
        }
        self.writer.add(Document {
            kind: if record.topic == Topic::Alerts { Kind::Alerts } else { Kind::Events },
            time: event.timestamp().unwrap_or(record.timestamp),
            event,
            json: record.value.to_vec(),
            position: Some(position),
        });
        Ok(())
    }

    fn end_batch(&mut self, now: Timestamp, _output: &mut Output) -> Result<(), StageError> {
        self.writer.flush().map_err(StageError::new)?;
        if self.writer.has_changes() {
            let since = *self.changed.get_or_insert_with(Instant::now);
            let options = &self.index.inner.options;
            if since.elapsed() >= options.commit_every
                || self.writer.uncommitted_bytes() >= options.commit_bytes_max
            {
                self.commit()?;
            }
        }
        let elapsed = self.retained.map(|last| last.elapsed());
        if elapsed.is_none_or(|elapsed| elapsed >= RETENTION_EVERY) {
            self.retained = Some(Instant::now());
            let now = self.age.step(now, elapsed.unwrap_or_default());
            self.writer.enforce_retention(now).map_err(StageError::new)?;
        }
        Ok(())
    }

    fn finish(&mut self, _now: Timestamp, _output: &mut Output) -> Result<(), StageError> {
        self.commit()
    }

    fn ledger(&self) -> Option<Topic> {
        Some(Topic::Events)
    }

    fn is_settled(&self) -> bool {
        !self.writer.has_changes()
    }
}
