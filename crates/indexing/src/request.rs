//! What is asked of the index, and the form of its answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use event::{Event, Timestamp};
use query::{Cell, Filter, Query, Table, TimeRange};

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
    /// The longest time.
    pub time: Duration,
    /// The most threads.
    pub threads: usize,
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
            time: Duration::from_secs(30),
            threads: std::thread::available_parallelism().map_or(2, |n| n.get()).min(8),
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
    /// Fields whose most frequent values are wanted.
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

impl Histogram {
    /// Each bucket's beginning and count.
    pub fn buckets(&self) -> Vec<(Timestamp, u64)> {
        let starts = (0i64..).map(|n| self.start.plus_nanos(n.saturating_mul(self.step_nanos)));
        starts.zip(self.counts.iter().copied()).collect()
    }
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
    /// For each field that was asked for, its most frequent values.
    pub facets: Vec<(String, Vec<FacetValue>)>,
}
