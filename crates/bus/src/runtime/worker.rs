//! One worker of a stage: the loop from poll to commit, and what it does when something fails.
//!
//! There are three kinds of failure. A record that is refused goes to `rejected`, and the batch goes
//! on. A record that panics goes there too, but the stage may be half changed, so it is restored and
//! the batch is done again without that record. A failure that names no record (in `end_batch`, or a
//! commit that can never succeed) is isolated: the same records are done again one by one, each with
//! its own commit, until the one that fails is alone and can be rejected. Everything else (a full
//! disk, an index that cannot be written) is tried again with growing pauses, without end: giving up
//! would lose what was acknowledged.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use event::Timestamp;
use fail::fail_point;

use super::{Reject, Shutdown, Stage, StageOptions, Start, rejected_header, replayed_header};
use crate::ledger::{Outcome, Pending};
use crate::{
    Batch, BusError, Consumer, Offset, Output, Partition, PollLimits, Polled, Record, Topic,
    metrics,
};

/// The longest reason that is put into a rejected record.
const REASON_BYTES_MAX: usize = 2048;

/// How often a stage that keeps its own offsets tells the bus how far it is.
const OWN_REPORT: Duration = Duration::from_secs(1);

/// How often a sleeping worker looks whether it shall stop.
const SHUTDOWN_CHECK: Duration = Duration::from_millis(20);

pub(super) struct Worker {
    stage: Box<dyn Stage>,
    name: &'static str,
    group: String,
    consumer: Box<dyn Consumer>,
    options: StageOptions,
    shutdown: Shutdown,
    batch: Batch,
    output: Output,
    /// The records that panicked, and why, until they are committed as rejected.
    condemned: Vec<Condemned>,
    /// Records still to be done one by one.
    isolating: usize,
    /// Whether the stage keeps its offsets itself.
    owns_offsets: bool,
    reported: Instant,
    backoff: Duration,
    ledger: Pending,
}

struct Condemned {
    topic: Topic,
    partition: Partition,
    offset: Offset,
    reason: String,
}

/// How a batch ended without an error of the bus.
enum Done {
    Committed,
    /// It must be done again.
    Undone,
}

impl Worker {
    pub(super) fn new(
        stage: Box<dyn Stage>,
        consumer: Box<dyn Consumer>,
        group: String,
        options: StageOptions,
        shutdown: Shutdown,
    ) -> Self {
        Worker {
            name: stage.name(),
            ledger: Pending::of(stage.ledger()),
            stage,
            group,
            consumer,
            backoff: options.backoff_min,
            options,
            shutdown,
            batch: Batch::new(),
            output: Output::new(),
            condemned: Vec::new(),
            isolating: 0,
            owns_offsets: false,
            reported: Instant::now(),
        }
    }

    pub(super) fn run(mut self) -> Result<(), BusError> {
        tracing::debug!(stage = self.name, group = %self.group, "stage started");
        let result = self.run_until_shutdown();
        if let Err(error) = &result {
            tracing::error!(stage = self.name, %error, "stage stopped");
        }
        result
    }

    fn run_until_shutdown(&mut self) -> Result<(), BusError> {
        while !self.shutdown.is_triggered() {
            match self.step() {
                Ok(Done::Committed) => self.backoff = self.options.backoff_min,
                Ok(Done::Undone) => self.undo()?,
                Err(BusError::Closed) => return Err(BusError::Closed),
                Err(error) => self.after_bus_error(error)?,
            }
        }
        if !self.guarded("finish", |stage, now, output| stage.finish(now, output)) {
            return Ok(());
        }
        if self.has_nothing_to_tell() {
            return Ok(());
        }
        self.ledger.write(self.consumer.state(), &mut self.output)?;
        match self.consumer.commit(&mut self.output) {
            // Another worker of the group ended first, and took our last batch from us by that.
            // Nothing of it is stored, and it is done again by whoever reads next.
            Err(BusError::Fenced { .. }) => Ok(()),
            other => other,
        }
    }

    /// One poll and what follows from it.
    fn step(&mut self) -> Result<Done, BusError> {
        let limits = self.limits();
        match self.consumer.poll(&limits, &mut self.batch)? {
            Polled::Reassigned => {
                self.isolating = 0;
                self.condemned.clear();
                if self.restore()? { Ok(Done::Committed) } else { Ok(Done::Undone) }
            }
            Polled::Records | Polled::Nothing => self.batch(),
        }
    }

    fn limits(&self) -> PollLimits {
        if self.isolating > 0 {
            PollLimits { records_max: 1, ..self.options.limits }
        } else {
            self.options.limits
        }
    }

    /// Processes the batch, which may be empty, and commits it.
    fn batch(&mut self) -> Result<Done, BusError> {
        let started = Instant::now();
        let now = Timestamp::now();
        self.output.clear();
        let mut rejected = 0;
        for index in 0..self.batch.len() {
            let Some(record) = self.batch.get(index) else { break };
            let is_replay = record.headers.get(replayed_header::FROM).is_some();
            if is_for_another(&record, &self.group) {
                self.ledger.count(&record, is_replay, Outcome::NotOurs);
                continue;
            }
            let condemned = self.condemned.iter().find(|condemned| condemned.is(&record));
            if let Some(condemned) = condemned {
                reject(&mut self.output, self.name, &self.group, &record, &condemned.reason);
                self.ledger.count(&record, is_replay, Outcome::Rejected);
                rejected += 1;
                continue;
            }
            let mark = self.output.mark();
            let (stage, output) = (&mut self.stage, &mut self.output);
            match catch_unwind(AssertUnwindSafe(|| stage.process(&record, now, output))) {
                Ok(Ok(())) => {
                    let is_held = self.output.take_held();
                    let outcome = match self.output.records_since(mark) {
                        produced if is_held => Outcome::Held { produced },
                        0 if record.topic == Topic::Raw => Outcome::Dropped,
                        produced => Outcome::Handled { produced },
                    };
                    self.ledger.count(&record, is_replay, outcome);
                }
                // It is on `rejected` since that offset was committed; a stage with offsets of its
                // own may read it again.
                Ok(Err(_)) if self.ledger.is_counted(&record) => self.output.rewind(mark),
                Ok(Err(Reject { reason })) => {
                    self.output.rewind(mark);
                    reject(&mut self.output, self.name, &self.group, &record, &reason);
                    self.ledger.count(&record, is_replay, Outcome::Rejected);
                    rejected += 1;
                }
                Err(panic) => {
                    let reason = panic_reason("a panic", panic);
                    tracing::error!(stage = self.name, topic = %record.topic,
                        partition = %record.partition, offset = %record.offset, reason,
                        "a record made the stage panic and will be rejected");
                    metrics::STAGE_PANICS.with_label_values(&[self.name]).inc();
                    self.condemned.push(Condemned::new(&record, reason));
                    return Ok(Done::Undone);
                }
            }
        }
        let mark = self.output.mark();
        if !self.guarded("end_batch", |stage, now, output| stage.end_batch(now, output)) {
            return Ok(Done::Undone);
        }
        self.ledger.count_made_late(&self.output, mark);
        let processed = Instant::now();
        fail_point!("stage-before-commit", |_| std::process::abort());
        self.commit()?;
        fail_point!("stage-after-commit", |_| std::process::abort());
        self.count(rejected, processed - started, processed.elapsed());
        let batch = &self.batch;
        self.condemned.retain(|condemned| !batch.iter().any(|record| condemned.is(&record)));
        self.isolating = self.isolating.saturating_sub(self.batch.len());
        Ok(Done::Committed)
    }

    /// Runs a step of the stage that concerns no single record. False if it failed.
    fn guarded(
        &mut self,
        step: &'static str,
        run: impl FnOnce(&mut dyn Stage, Timestamp, &mut Output) -> Result<(), super::StageError>,
    ) -> bool {
        let (stage, output) = (&mut self.stage, &mut self.output);
        let ran = catch_unwind(AssertUnwindSafe(|| run(stage.as_mut(), Timestamp::now(), output)));
        match ran {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::warn!(stage = self.name, step, %error, "the stage failed and will try again");
                false
            }
            Err(panic) => {
                let reason = panic_reason(step, panic);
                tracing::error!(stage = self.name, step, reason, "the stage panicked");
                metrics::STAGE_PANICS.with_label_values(&[self.name]).inc();
                self.isolate(reason);
                false
            }
        }
    }

    /// Commits the batch. A stage with its own offsets commits to the bus only what must be there,
    /// and now and then how far it is.
    fn commit(&mut self) -> Result<(), BusError> {
        let is_early = self.owns_offsets && self.reported.elapsed() < OWN_REPORT;
        if self.has_nothing_to_tell() || (is_early && self.output.is_empty()) {
            return Ok(());
        }
        self.reported = Instant::now();
        self.ledger.write(self.consumer.state(), &mut self.output)?;
        match self.consumer.commit(&mut self.output) {
            Ok(()) => {
                self.ledger.committed();
                Ok(())
            }
            Err(error @ (BusError::RecordTooLarge { .. } | BusError::ForeignState { .. })) => {
                // The same batch would give the same output again.
                self.isolate(error.to_string());
                Err(error)
            }
            other => other,
        }
    }

    /// Whether the bus would be told that the stage is further than what it keeps itself.
    fn has_nothing_to_tell(&self) -> bool {
        self.owns_offsets && self.output.is_empty() && !self.stage.is_settled()
    }

    /// The batch failed and no record is known to be the reason: do its records one by one, and once
    /// there is only one, it is the reason.
    fn isolate(&mut self, reason: String) {
        match self.batch.len() {
            0 => {}
            1 => {
                if let Some(record) = self.batch.get(0) {
                    if self.condemned.iter().any(|condemned| condemned.is(&record)) {
                        return;
                    }
                    self.condemned.push(Condemned::new(&record, reason));
                }
            }
            many => self.isolating = self.isolating.max(many),
        }
    }

    /// Forgets what was done since the last commit, and makes the stage forget it.
    fn undo(&mut self) -> Result<(), BusError> {
        metrics::STAGE_RETRIES.with_label_values(&[self.name]).inc();
        loop {
            self.output.clear();
            let restored = self.consumer.rewind().and_then(|()| self.restore());
            match restored {
                Ok(true) => break,
                Ok(false) => {}
                Err(BusError::Closed) => return Err(BusError::Closed),
                Err(error) => {
                    tracing::warn!(stage = self.name, %error, "cannot go back to the last commit yet");
                }
            }
            if !self.pause() {
                return Ok(());
            }
        }
        // A condemned record is no reason to wait: the next try is without it.
        if self.condemned.is_empty() && self.isolating == 0 {
            self.pause();
        }
        Ok(())
    }

    fn after_bus_error(&mut self, error: BusError) -> Result<(), BusError> {
        match &error {
            BusError::Fenced { .. } => {
                // The next poll says who reads what; nothing of ours was stored.
                tracing::info!(stage = self.name, "partitions were dealt anew during a batch");
                self.output.clear();
                return Ok(());
            }
            _ => {
                tracing::warn!(stage = self.name, %error, "the bus failed and will be tried again")
            }
        }
        self.undo()
    }

    /// True if the stage is restored; false if it failed and must be tried again.
    fn restore(&mut self) -> Result<bool, BusError> {
        // Nothing was polled since the group's places were taken over, so these are they.
        let places = self.consumer.assignment().to_vec();
        let committed: Vec<(Topic, Partition, Offset)> = places
            .iter()
            .filter_map(|&(topic, at)| Some((topic, at, self.consumer.position(topic, at)?)))
            .collect();
        self.ledger.restart(committed.iter().copied(), self.consumer.state())?;
        let (stage, consumer) = (&mut self.stage, &self.consumer);
        let restored = catch_unwind(AssertUnwindSafe(|| {
            stage.restore(consumer.assignment(), consumer.state())
        }));
        match restored {
            Ok(Ok(Start::Committed)) => self.owns_offsets = false,
            Ok(Ok(Start::Moved)) => self.owns_offsets = true,
            Ok(Ok(Start::Own(offsets))) => {
                self.owns_offsets = true;
                for (topic, partition, reported) in committed {
                    let offset = offsets
                        .iter()
                        .find(|(of, at, _)| (*of, *at) == (topic, partition))
                        .map_or(Offset(0), |(_, _, offset)| *offset);
                    // What it has and had not reported is read again, to be counted; it knows what
                    // it has.
                    self.consumer.seek(topic, partition, offset.min(reported))?;
                }
            }
            Ok(Err(error)) => {
                tracing::warn!(stage = self.name, %error, "the stage cannot be restored yet");
                return Ok(false);
            }
            Err(panic) => {
                let reason = panic_reason("restore", panic);
                tracing::error!(stage = self.name, reason, "the stage panicked");
                metrics::STAGE_PANICS.with_label_values(&[self.name]).inc();
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn count(&self, rejected: u64, processing: Duration, committing: Duration) {
        let Some(last) = self.batch.iter().last() else { return };
        let label = &[self.name];
        let delay_ms = Timestamp::now().as_millis() - last.timestamp.as_millis();
        metrics::STAGE_DELAY_MS.with_label_values(label).set(delay_ms);
        metrics::STAGE_RECORDS.with_label_values(label).inc_by(self.batch.len() as u64);
        metrics::STAGE_BYTES.with_label_values(label).inc_by(self.batch.bytes_len() as u64);
        metrics::STAGE_REJECTED.with_label_values(label).inc_by(rejected);
        metrics::STAGE_PROCESS_SECONDS.with_label_values(label).observe(processing.as_secs_f64());
        metrics::STAGE_COMMIT_SECONDS.with_label_values(label).observe(committing.as_secs_f64());
    }

    /// Sleeps, longer each time. False if it was woken to stop.
    fn pause(&mut self) -> bool {
        let until = Instant::now() + self.backoff;
        self.backoff = (self.backoff * 2).min(self.options.backoff_max);
        while Instant::now() < until {
            if self.shutdown.is_triggered() {
                return false;
            }
            std::thread::sleep(SHUTDOWN_CHECK.min(self.options.backoff_min));
        }
        true
    }
}

impl Condemned {
    fn new(record: &Record<'_>, reason: String) -> Self {
        let Record { topic, partition, offset, .. } = *record;
        Condemned { topic, partition, offset, reason }
    }

    fn is(&self, record: &Record<'_>) -> bool {
        (self.topic, self.partition, self.offset) == (record.topic, record.partition, record.offset)
    }
}

/// Whether a record was put back for the stage of another group: this one has handled the original.
fn is_for_another(record: &Record<'_>, group: &str) -> bool {
    record.headers.get_str(replayed_header::GROUP).is_some_and(|meant| meant != group)
}

/// Puts a record onto `rejected`, whole, with the reason and where it was.
fn reject(output: &mut Output, stage: &str, group: &str, record: &Record<'_>, reason: &str) {
    let reason = reason.get(..reason.floor_char_boundary(REASON_BYTES_MAX)).unwrap_or_default();
    let partition = record.partition.to_string();
    let offset = record.offset.to_string();
    let mut headers: Vec<(&str, &[u8])> = vec![
        (rejected_header::REASON, reason.as_bytes()),
        (rejected_header::STAGE, stage.as_bytes()),
        (rejected_header::GROUP, group.as_bytes()),
        (rejected_header::TOPIC, record.topic.as_str().as_bytes()),
        (rejected_header::PARTITION, partition.as_bytes()),
        (rejected_header::OFFSET, offset.as_bytes()),
    ];
    headers.extend(record.headers.iter());
    output.to(Topic::Rejected).push(record.key, &headers, record.value);
}

fn panic_reason(step: &str, panic: Box<dyn Any + Send>) -> String {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    format!("{step} in the stage: {message}")
}
