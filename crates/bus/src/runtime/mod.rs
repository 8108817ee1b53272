//! The stage runtime: what every stage needs and none should write again.
//!
//! A [`Stage`] is a plain function from records to records with some state. [`run_stage`] gives it a
//! thread that polls, commits, retries with backoff, counts, and stops in order. A record that fails
//! or panics goes to `rejected`, whole, with the reason, and takes nothing else down with it.
//!
//! What it refuses to do: let a stage commit for itself. A sink whose data lives elsewhere (the
//! search index) keeps its offsets with that data, and tells them from [`Stage::restore`].

mod worker;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use event::Timestamp;

use crate::{Bus, BusError, Offset, Output, Partition, PollLimits, Record, StateReader, Topic};

/// A step of the pipeline.
pub trait Stage: Send {
    /// Its name: the consumer group, the label in metrics, the origin in rejected records.
    fn name(&self) -> &'static str;

    /// The topics it reads. They must have as many partitions as each other if the stage keeps
    /// state, because state belongs to a partition number.
    fn inputs(&self) -> &[Topic];

    /// Called before the first record, and again whenever what the stage did since the last commit
    /// was undone: after a failure, or when partitions were distributed anew. The stage must forget
    /// all it has in memory and build it again from `state`, which has what was committed for the
    /// assigned partitions.
    fn restore(
        &mut self,
        assigned: &[(Topic, Partition)],
        state: &dyn StateReader,
    ) -> Result<Start, StageError> {
        let _ = (assigned, state);
        Ok(Start::Committed)
    }

    /// Handles one record. On `Err`, what was put into `output` for it is taken back and the record
    /// goes to `rejected`; the stage must be as if it had not seen it. On a panic the stage is
    /// restored instead.
    fn process(
        &mut self,
        record: &Record<'_>,
        now: Timestamp,
        output: &mut Output,
    ) -> Result<(), Reject>;

    /// Called after each batch, before its commit, and also when nothing came for
    /// [`PollLimits::wait`]. The place for timers, and for a sink to commit its own data.
    fn end_batch(&mut self, now: Timestamp, output: &mut Output) -> Result<(), StageError> {
        let _ = (now, output);
        Ok(())
    }

    /// Called once before an orderly stop; what it puts into `output` is committed.
    fn finish(&mut self, now: Timestamp, output: &mut Output) -> Result<(), StageError> {
        self.end_batch(now, output)
    }

    /// Whether all that was processed is kept, so that the bus may be told how far the stage came.
    /// Only asked of a stage with offsets of its own ([`Start::Own`]).
    fn is_settled(&self) -> bool {
        true
    }

    /// The topic whose records are counted in the [ledger](crate::ledger) of this stage; one of its
    /// inputs. For the stages at the two ends of the pipeline.
    fn ledger(&self) -> Option<Topic> {
        None
    }
}

/// Where a stage begins to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// Where its group last committed: what it makes is on the bus.
    Committed,
    /// At the offsets that it keeps with its own data; other partitions from their beginning. Its
    /// commits on the bus then only report how far it came, about once a second, whenever it is
    /// settled ([`Stage::is_settled`]).
    Own(Vec<(Topic, Partition, Offset)>),
    /// Like [`Start::Own`], but its data came from another log, whose offsets mean nothing here: it
    /// begins where its group is on this one, which is where the move put it.
    Moved,
}

/// Why a record cannot be processed, for the people who will look at `rejected`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Reject {
    /// What is wrong with the record.
    pub reason: Cow<'static, str>,
}

impl Reject {
    /// A rejection with this reason.
    pub fn new(reason: impl Into<Cow<'static, str>>) -> Self {
        Reject { reason: reason.into() }
    }
}

/// A failure of the stage itself, not of a record. The runtime restores the stage and tries again,
/// for as long as it takes.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StageError(pub Box<dyn std::error::Error + Send + Sync>);

impl StageError {
    /// From a message or another error.
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        StageError(error.into())
    }
}

impl From<BusError> for StageError {
    fn from(error: BusError) -> Self {
        StageError(Box::new(error))
    }
}

/// How a stage is run.
#[derive(Debug, Clone)]
pub struct StageOptions {
    /// The consumer group; the stage's name if `None`.
    pub group: Option<String>,
    /// How much is polled at once; `wait` is also the tick of an idle stage.
    pub limits: PollLimits,
    /// The first pause after a failure; it doubles up to [`StageOptions::backoff_max`].
    pub backoff_min: Duration,
    /// The longest pause between two tries.
    pub backoff_max: Duration,
}

impl Default for StageOptions {
    fn default() -> Self {
        StageOptions {
            group: None,
            limits: PollLimits::default(),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(10),
        }
    }
}

/// How often a sleeper looks whether it shall end.
const SHUTDOWN_CHECK: Duration = Duration::from_millis(50);

/// Asks stages to stop. All clones are one.
#[derive(Debug, Clone, Default)]
pub struct Shutdown(Arc<AtomicBool>);

impl Shutdown {
    /// Not yet triggered.
    pub fn new() -> Self {
        Shutdown::default()
    }

    /// Stages finish their batch, commit and leave.
    pub fn trigger(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it was triggered.
    pub fn is_triggered(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Sleeps for so long, for threads that look after something now and then. False, and soon, if
    /// it was triggered.
    pub fn sleep(&self, time: Duration) -> bool {
        let started = std::time::Instant::now();
        while !self.is_triggered() {
            let left = time.saturating_sub(started.elapsed());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(SHUTDOWN_CHECK));
        }
        false
    }
}

/// A running worker of a stage.
#[derive(Debug)]
pub struct StageHandle {
    thread: JoinHandle<Result<(), BusError>>,
}

impl StageHandle {
    /// Waits until the worker has stopped. An error means that it could not go on, or that its last
    /// commit failed.
    pub fn join(self) -> Result<(), BusError> {
        self.thread.join().unwrap_or_else(|_| {
            Err(BusError::storage(
                "running a stage",
                std::io::Error::other("the stage's worker panicked outside a record"),
            ))
        })
    }

    /// Whether it has stopped.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
}

/// Runs one worker of a stage in a thread of its own. For several workers call it several times,
/// each with its own `Stage` value: the group shares the partitions out among them.
pub fn run_stage(
    bus: Arc<dyn Bus>,
    stage: Box<dyn Stage>,
    options: StageOptions,
    shutdown: Shutdown,
) -> Result<StageHandle, BusError> {
    let group = options.group.clone().unwrap_or_else(|| stage.name().to_owned());
    let consumer = bus.consumer(&group, stage.inputs())?;
    let thread = std::thread::Builder::new()
        .name(format!("stage-{}", stage.name()))
        .spawn(move || worker::Worker::new(stage, consumer, group, options, shutdown).run())
        .map_err(|error| BusError::storage("starting a stage's thread", error))?;
    Ok(StageHandle { thread })
}

/// The names of the headers that a rejected record has beside its own.
pub mod rejected_header {
    /// Why it was rejected.
    pub const REASON: &str = "rejected.reason";
    /// The stage that rejected it.
    pub const STAGE: &str = "rejected.stage";
    /// The consumer group in which that stage read it; mostly of the same name.
    pub const GROUP: &str = "rejected.group";
    /// The topic it was in.
    pub const TOPIC: &str = "rejected.topic";
    /// The partition it was in.
    pub const PARTITION: &str = "rejected.partition";
    /// Its offset.
    pub const OFFSET: &str = "rejected.offset";
}

/// The names of the headers that a record has beside its own when it was put back from `rejected`.
pub mod replayed_header {
    /// Where it is on `rejected`: `PARTITION/OFFSET`.
    pub const FROM: &str = "replayed.from";
    /// How often it was put back by now, counted over all its rejections.
    pub const TIMES: &str = "replayed.times";
    /// The consumer group whose stage had refused it. The stages of other groups have handled the
    /// original, so they pass it by.
    pub const GROUP: &str = "replayed.group";
}
