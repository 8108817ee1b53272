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
use crate::index::{Claim, Index};
use crate::partition::Kind;
use crate::writer::{Document, IndexWriter, Position};

/// How often partitions are looked through for what is kept no longer.
const RETENTION_EVERY: Duration = Duration::from_secs(10 * 60);

/// How often it is looked whether a purge was asked for.
const PURGES_EVERY: Duration = Duration::from_secs(1);

/// How long nothing must have come for it to be certain that nothing is left to read. A poll waits a
/// tenth of a second.
const IDLE_AFTER: Duration = Duration::from_secs(2);

/// Indexes the topics `events` and `alerts`.
pub struct IndexStage {
    index: Index,
    writer: IndexWriter,
    /// When the oldest uncommitted change was made.
    changed: Option<Instant>,
    age: Age,
    /// When it was last looked whether a purge was asked for.
    purged: Option<Instant>,
    /// When it was last looked whether something is too old. Not by the clock, which may be set.
    retained: Option<Instant>,
    /// When a record was last read.
    idle: Instant,
    _claim: Claim,
}

impl IndexStage {
    /// The stage that writes this index from the log of this identity. There must be one.
    ///
    /// # Errors
    /// When the index was opened for reading only, or another process writes it.
    pub fn new(index: &Index, log: &str) -> Result<IndexStage, IndexError> {
        Ok(IndexStage {
            writer: index.writer(log)?,
            _claim: index.claim()?,
            age: Age::of(&index.inner.dir),
            index: index.clone(),
            changed: None,
            purged: None,
            retained: None,
            idle: Instant::now(),
        })
    }

    fn commit(&mut self) -> Result<(), IndexError> {
        self.changed = None;
        self.writer.commit()
    }

    /// All that is done beside taking records in.
    fn work(&mut self, now: Timestamp) -> Result<(), IndexError> {
        self.writer.flush()?;
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
            // Somebody may have taken away what was set aside.
            self.index.inner.report_set_aside();
            let now = self.age.step(now, elapsed.unwrap_or_default());
            match self.writer.enforce_retention(now) {
                // Only a person can mend it, and what is taken in must go on meanwhile.
                Err(error @ (IndexError::Hold(_) | IndexError::Query(_))) => {
                    tracing::error!(%error, "nothing is removed by retention");
                }
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
        if self.purged.is_none_or(|last| last.elapsed() >= PURGES_EVERY) {
            self.purged = Some(Instant::now());
            self.run_purges()?;
        }
        self.writer.merge_beside()?;
        let is_idle = self.idle.elapsed() > IDLE_AFTER && !self.writer.has_changes();
        self.writer.finish_rebuilding(is_idle)
    }

    /// Before anything is added: it might have been purged.
    fn run_purges(&mut self) -> Result<(), IndexError> {
        match self.writer.run_purges() {
            Err(error @ (IndexError::Hold(_) | IndexError::Query(_))) => {
                tracing::error!(%error, "a purge cannot be done");
                Ok(())
            }
            other => other,
        }
    }

    /// Tells an error of the index to the runtime, which will make us begin again.
    fn failed(&self, error: IndexError) -> StageError {
        self.index.inner.suspect(&error);
        StageError::new(error)
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
        self.writer.set_damaged_aside().map_err(StageError::new)?;
        self.run_purges().map_err(|error| self.failed(error))?;
        self.changed = None;
        self.idle = Instant::now();
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
        self.idle = Instant::now();
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
        if self.writer.set_damaged_aside().map_err(StageError::new)? {
            return Err(StageError::new("a damaged partition is made again from the log"));
        }
        self.work(now).map_err(|error| self.failed(error))
    }

    fn finish(&mut self, _now: Timestamp, _output: &mut Output) -> Result<(), StageError> {
        self.commit().map_err(|error| self.failed(error))
    }

    fn ledger(&self) -> Option<Topic> {
        Some(Topic::Events)
    }

    fn is_settled(&self) -> bool {
        !self.writer.has_changes()
    }
}
