//! What is asked of the index, and the form of its answers.

use std::time::Duration;

use event::{Event, Timestamp};
use query::{Cell, Exceeded, Filter, Query, Table, TimeRange};

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
