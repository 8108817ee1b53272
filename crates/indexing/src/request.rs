//! What is asked of the index, and the form of its answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use event::{Event, Timestamp};
use query::{Cell, Exceeded, Filter, Query, Table, TimeRange};

use crate::error::IndexError;
use crate::index::FieldInfo;

/// What answers searches: the index of this machine, or a cluster.
pub trait Search: Send + Sync {
    /// Answers, within the request's limits. What is missing is told in [`Results::partial`].
    fn search(&self, request: &SearchRequest<'_>) -> Results;

    /// The event or alert with this id.
    ///
    /// # Errors
    /// When not all could be looked through, and it was not found in the rest.
    fn get(&self, id: &str) -> Result<Option<Hit>, IndexError>;

    /// Every field that some event or alert has, sorted by name.
    ///
    /// # Errors
    /// When a cluster does not answer.
    fn fields(&self) -> Result<Vec<FieldInfo>, IndexError>;
}

/// What is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kinds {
    /// Events.
    #[default]
    Events,
    /// Alerts.
    Alerts,
    /// Both.
    Both,
}

/// How much an answer may cost. What is left out because of it is told in [`Results::partial`].
#[derive(Debug, Clone)]
pub struct Limits {
    /// The most events that are returned, newest first. The total counts all.
    pub hits: usize,
    /// The most rows of a table.
    pub rows: usize,
    /// The most events that pipes may read whole, where columns do not suffice.
    pub documents: usize,
    /// The most groups of a statistic.
    pub groups: usize,
    /// The most events that a sequence is looked for among; each takes about 200 bytes.
    pub sequence_events: usize,
    /// The longest time.
    pub time: Duration,
    /// The most threads.
    pub threads: usize,
    /// Where one segment has most of the documents, threads share it in slices of at least so many. Each
    /// looks through the dictionaries by itself, so small ones do not pay.
    pub slice_documents: u32,
    /// Ends it when whoever asked is gone.
    pub cancel: Cancel,
}

/// Ends a search from outside. Clones are the same one; nothing is cancelled until one of them says so.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Ends what has it among its limits, as if its time were up.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was ended.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// When a search must end: at a moment, or because nobody waits for it any more.
#[derive(Debug, Clone)]
pub(crate) struct Deadline {
    at: Instant,
    cancel: Cancel,
}

impl Deadline {
    /// So long from now, whoever asked may hang up.
    pub(crate) fn within(time: Duration) -> Deadline {
        Deadline::new(Instant::now() + time, &Cancel::default())
    }

    pub(crate) fn new(at: Instant, cancel: &Cancel) -> Deadline {
        Deadline { at, cancel: cancel.clone() }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.cancel.is_cancelled() || Instant::now() >= self.at
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            hits: 100,
            rows: 10_000,
            documents: 100_000,
            groups: 500_000,
            sequence_events: 500_000,
            time: Duration::from_secs(30),
            threads: std::thread::available_parallelism().map_or(2, |n| n.get()).min(8),
            slice_documents: 250_000,
            cancel: Cancel::default(),
        }
    }
}

/// A query with all that is wanted of it.
#[derive(Debug, Clone)]
pub struct SearchRequest<'q> {
    /// The query.
    pub query: &'q Query,
    /// What must hold besides, such as what the asker may see. The query cannot widen it.
    pub only: Option<&'q Filter>,
    /// What is searched.
    pub kinds: Kinds,
    /// The range of time.
    pub range: TimeRange,
    /// How much it may cost.
    pub limits: Limits,
    /// About how many buckets a histogram of all matching events shall have; none if `None`.
    pub histogram: Option<usize>,
    /// Fields whose numbers and most frequent values are wanted.
    pub facets: &'q [&'q str],
    /// How many values of each.
    pub facet_values: usize,
}

impl<'q> SearchRequest<'q> {
    /// A query over events of all time, with default limits.
    pub fn new(query: &'q Query) -> Self {
        SearchRequest {
            query,
            only: None,
            kinds: Kinds::Events,
            range: TimeRange::ALL,
            limits: Limits::default(),
            histogram: None,
            facets: &[],
            facet_values: 10,
        }
    }
}

/// An event or alert that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// Its time.
    pub time: Timestamp,
    /// It as ECS JSON, as it was stored.
    pub json: String,
}

impl Hit {
    /// Its fields. Empty if the stored JSON were damaged.
    pub fn event(&self) -> Event {
        let mut event = Event::new();
        // It was parsed before it was stored.
        event.parse_json(self.json.as_bytes()).unwrap_or_default();
        event
    }
}

/// What a query gave.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Events, for a query without pipes or with such as keep events.
    Hits(Vec<Hit>),
    /// A table.
    Table(Table),
}

/// Why an answer is not whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Partial {
    /// Its time was up.
    #[error("the search was stopped after {0:?}; narrow the time range or the filter")]
    Timeout(Duration),
    /// There were more groups than are counted.
    #[error("more groups than the limit of {0}; those first met were counted")]
    Groups(usize),
    /// There were more rows than are returned.
    #[error("more rows than the limit of {0}; the first are shown")]
    Rows(usize),
    /// A pipe needs whole events, and there were more than are read.
    #[error("this pipe reads whole events, and only the newest {0} were read")]
    Documents(usize),
    /// More events passed a step of a sequence than are followed.
    #[error(
        "more than {0} events pass a step of the sequence, and the oldest were left out; narrow the time range or the steps"
    )]
    SequenceEvents(usize),
    /// A pipe ran into a bound of its own.
    #[error("{0}")]
    Pipes(Exceeded),
    /// A cluster did not answer, or not as it should.
    #[error("the cluster: {0}")]
    Cluster(String),
    /// A partition could not be read.
    #[error("the partition {partition} did not answer: {reason}")]
    Partition {
        /// Which.
        partition: String,
        /// Why.
        reason: String,
    },
}

/// Counts by time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    /// The beginning of the first bucket.
    pub start: Timestamp,
    /// The length of a bucket.
    pub step_nanos: i64,
    /// How many are in each.
    pub counts: Vec<u64>,
}

/// The most buckets of a histogram; a screen has no more columns.
const BUCKETS_MAX: usize = 2000;

impl Histogram {
    /// Empty buckets for a range of time, about so many, in steps that people count in. Where the range
    /// is open, it ends with the first or the last time that was found.
    pub fn between(
        range: TimeRange,
        first: Timestamp,
        last: Timestamp,
        buckets: usize,
    ) -> Histogram {
        let buckets = i64::try_from(buckets.clamp(1, BUCKETS_MAX)).unwrap_or(1);
        // An end that was asked for is shown, as long as it does not make a sliver of the rest.
        let first = range.since.unwrap_or(first).as_nanos();
        let until = range.until.map(|until| until.as_nanos().saturating_sub(1));
        let last = until.unwrap_or(last.as_nanos()).max(first);
        let length = last.saturating_sub(first).saturating_add(1);
        let step_nanos = step(length / buckets);
        let start = first.div_euclid(step_nanos).saturating_mul(step_nanos);
        let count = (last.saturating_sub(start) / step_nanos).saturating_add(1);
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(2 * BUCKETS_MAX);
        Histogram { start: Timestamp::from_nanos(start), step_nanos, counts: vec![0; count] }
    }

    /// Counts so many at a time; those outside of the buckets are not counted.
    pub fn add(&mut self, time: Timestamp, count: u64) {
        let bucket = time.as_nanos().saturating_sub(self.start.as_nanos()) / self.step_nanos;
        if let Some(counted) = usize::try_from(bucket).ok().and_then(|n| self.counts.get_mut(n)) {
            *counted += count;
        }
    }

    /// Each bucket's beginning and count.
    pub fn buckets(&self) -> Vec<(Timestamp, u64)> {
        let starts = (0i64..).map(|n| self.start.plus_nanos(n.saturating_mul(self.step_nanos)));
        starts.zip(self.counts.iter().copied()).collect()
    }
}

/// What the events found have of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facet {
    /// The field.
    pub field: String,
    /// How many of the events have it.
    pub events: u64,
    /// How many different values they have; `None` for fields of text and others without a column,
    /// whose values are not counted.
    pub distinct: Option<u64>,
    /// Whether all values were counted; else there were more than [`Limits::groups`].
    pub whole: bool,
    /// The most frequent values.
    pub values: Vec<FacetValue>,
}

/// A value of a field, and how many events have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FacetValue {
    /// The value.
    pub value: Cell,
    /// How many.
    pub count: u64,
}

/// The answer to a request.
#[derive(Debug, Clone)]
pub struct Results {
    /// Events or a table.
    pub answer: Answer,
    /// How many events pass the filter.
    pub total: u64,
    /// How long it took.
    pub took: Duration,
    /// Why the answer is not whole; empty if it is.
    pub partial: Vec<Partial>,
    /// If it was asked for and anything was found.
    pub histogram: Option<Histogram>,
    /// What was found of each field that was asked for.
    pub facets: Vec<Facet>,
}

/// The smallest length of time that people count in and that is at least this long.
fn step(nanos: i64) -> i64 {
    const MS: i64 = 1_000_000;
    const S: i64 = 1000 * MS;
    const STEPS: [i64; 26] = [
        MS,
        10 * MS,
        100 * MS,
        S,
        2 * S,
        5 * S,
        10 * S,
        15 * S,
        30 * S,
        60 * S,
        120 * S,
        300 * S,
        600 * S,
        900 * S,
        1800 * S,
        3600 * S,
        7200 * S,
        10_800 * S,
        21_600 * S,
        43_200 * S,
        86_400 * S,
        172_800 * S,
        604_800 * S,
        2_592_000 * S,
        7_776_000 * S,
        31_536_000 * S,
    ];
    let years = nanos / (31_536_000 * S) + 1;
    STEPS
        .into_iter()
        .find(|step| *step >= nanos)
        .unwrap_or_else(|| years.saturating_mul(31_536_000 * S))
}
