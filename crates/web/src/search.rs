//! Running searches for pages and calls: read, bounded, on blocking threads, page by page.
//!
//! A list goes on from a [`Cursor`]: a time, and how many of the hits at that very time were shown
//! already. Times alone would not do: a log with whole seconds has hundreds of events at one time,
//! and a page that ends among them would lose the rest or show them twice.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use event::{Event, Timestamp};
use indexing::{Answer, FieldInfo, Kinds, Limits, Results, Search, SearchRequest};
use query::{Filter, Hint, ParseError, Query, TimeError, TimeRange};
use tokio::sync::Semaphore;

/// The most hits of one answer.
pub(crate) const HITS_MAX: usize = 10_000;

/// The most rows of a table, unless fewer are asked for.
pub(crate) const ROWS_MAX: usize = 10_000;

/// The most hits at one moment that a list goes through; each page reads them anew.
const SKIP_MAX: usize = 20_000;

/// The values of each facet, if nothing is said.
const FACET_VALUES_DEFAULT: usize = 10;

/// The longest time of one search.
const TIME_MAX: Duration = Duration::from_secs(30);

/// The most searches at a time. Each uses all cores, so that more would only wait for each other.
const RUNNING_MAX: usize = 4;

/// How long a search waits for its turn before it is refused.
const TURN_MAX: Duration = Duration::from_secs(2);

/// Where searches run.
#[derive(Clone)]
pub(crate) struct Searches {
    searcher: Arc<dyn Search>,
    turns: Arc<Semaphore>,
    turn_max: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SearchError {
    /// The query is wrong.
    #[error("{0}")]
    Query(#[from] ParseError),
    /// The range of time is wrong.
    #[error("{0}")]
    Time(#[from] TimeError),
    /// Something else of the request is wrong.
    #[error("{0}")]
    Request(String),
    /// Too many others are running.
    #[error("{RUNNING_MAX} searches are running already; try again in a moment")]
    Busy,
    /// The index.
    #[error("{0}")]
    Index(#[from] indexing::IndexError),
    /// The search panicked.
    #[error("the search failed; the server's log says more")]
    Panicked,
}

/// What is asked.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) query: Query,
    /// What the query was read from, if somebody wrote it and may want hints when it finds nothing.
    pub(crate) text: String,
    pub(crate) kinds: Kinds,
    pub(crate) range: TimeRange,
    /// The most hits.
    pub(crate) hits: usize,
    /// The most rows of a table.
    pub(crate) rows: usize,
    /// Where the page before ended.
    pub(crate) cursor: Option<Cursor>,
    pub(crate) histogram: Option<usize>,
    pub(crate) facets: Vec<String>,
    /// How many values of each facet.
    pub(crate) facet_values: usize,
    /// The most groups of a statistic, and values of a facet.
    pub(crate) groups: usize,
    /// The longest time.
    pub(crate) time: Duration,
}

/// An answer, and where the next page begins.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) results: Results,
    pub(crate) next: Option<Cursor>,
    /// Why the answer is not whole.
    pub(crate) notes: Vec<String>,
    /// What is odd about the query, if it found nothing.
    pub(crate) hints: Vec<Hint>,
}

/// Where a list goes on: at `time`, without the first `skip` hits of that time. Written `TIME~SKIP`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) time: Timestamp,
    pub(crate) skip: usize,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}~{}", self.time, self.skip)
    }
}

impl FromStr for Cursor {
    type Err = SearchError;

    fn from_str(text: &str) -> Result<Self, SearchError> {
        text.split_once('~')
            .and_then(|(time, skip)| {
                let skip = skip.parse().ok().filter(|skip| *skip <= SKIP_MAX)?;
                Some(Cursor { time: Timestamp::parse_rfc3339(time)?, skip })
            })
            .ok_or_else(|| {
                SearchError::Request(format!("`{text}` is no cursor; use `next` of an answer"))
            })
    }
}

/// Reads a query; nothing is everything.
pub(crate) fn parse(text: &str) -> Result<Query, ParseError> {
    query::parse(if text.trim().is_empty() { "*" } else { text })
}

/// The filter for a field that has this value.
pub(crate) fn term(field: &str, value: &str) -> Filter {
    Filter::term(field, value)
}

/// The fields of an event that was stored as JSON; none if it were damaged.
pub(crate) fn event_of(json: &serde_json::Value) -> Event {
    let mut event = Event::new();
    event.parse_json(json.to_string().as_bytes()).unwrap_or_default();
    event
}

impl Ask {
    /// A query over events, with nothing besides.
    pub(crate) fn new(query: Query, range: TimeRange) -> Ask {
        Ask {
            query,
            text: String::new(),
            kinds: Kinds::Events,
            range,
            hits: 100,
            rows: ROWS_MAX,
            cursor: None,
            histogram: None,
            facets: Vec::new(),
            facet_values: FACET_VALUES_DEFAULT,
            groups: Limits::default().groups,
            time: TIME_MAX,
        }
    }

    fn request<'a>(&'a self, facets: &'a [&'a str]) -> SearchRequest<'a> {
        SearchRequest {
            kinds: self.kinds,
            range: self.range,
            limits: Limits {
                // One more than is shown tells whether there is a next page.
                hits: if self.hits == 0 { 0 } else { self.hits + 1 },
                rows: self.rows,
                groups: self.groups,
                time: self.time,
                ..Limits::default()
            },
            histogram: self.histogram,
            facets,
            facet_values: self.facet_values,
            ..SearchRequest::new(&self.query)
        }
    }
}

impl Searches {
    pub(crate) fn new(searcher: Arc<dyn Search>) -> Self {
        Searches::with(searcher, RUNNING_MAX, TURN_MAX)
    }

    pub(crate) fn with(searcher: Arc<dyn Search>, running_max: usize, turn_max: Duration) -> Self {
        Searches { searcher, turns: Arc::new(Semaphore::new(running_max)), turn_max }
    }

    /// Answers.
    pub(crate) async fn ask(&self, ask: Ask) -> Result<Found, SearchError> {
        self.block(move |searcher| answer(&ask, searcher)).await
    }

    /// The event or alert with this id.
    pub(crate) async fn get(&self, id: String) -> Result<Option<indexing::Hit>, SearchError> {
        self.block(move |searcher| searcher.get(&id)).await?.map_err(SearchError::Index)
    }

    /// Every field that some event or alert has.
    pub(crate) async fn fields(&self) -> Result<Vec<FieldInfo>, SearchError> {
        self.block(|searcher| searcher.fields()).await?.map_err(SearchError::Index)
    }

    /// Runs something that reads the index, in its turn.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, SearchError> {
        self.block(move |_| run()).await
    }

    /// Runs something on a blocking thread when it is its turn.
    async fn block<T: Send + 'static>(
        &self,
        run: impl FnOnce(&dyn Search) -> T + Send + 'static,
    ) -> Result<T, SearchError> {
        let turn = tokio::time::timeout(self.turn_max, self.turns.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(SearchError::Busy) };
        let searcher = self.searcher.clone();
        blocking(move || {
            // Held until the work is done, even if whoever asked is gone before.
            let _turn = turn;
            run(searcher.as_ref())
        })
        .await
    }
}

/// Runs something short that blocks, whatever searches are running.
pub(crate) async fn blocking<T: Send + 'static>(
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SearchError> {
    tokio::task::spawn_blocking(run).await.map_err(|_| SearchError::Panicked)
}

fn answer(ask: &Ask, searcher: &dyn Search) -> Found {
    let facets: Vec<&str> = ask.facets.iter().map(String::as_str).collect();
    let mut request = ask.request(&facets);
    let pages = ask.query.pipes.is_empty() && ask.hits > 0;
    let cursor = ask.cursor.filter(|_| pages);
    let mut results;
    if let Some(cursor) = cursor {
        // The totals stay those of the whole; only the hits are of the rest.
        request.limits.hits = 0;
        results = searcher.search(&request);
        let end = cursor.time.plus_nanos(1);
        let mut rest = ask.request(&[]);
        rest.histogram = None;
        rest.range.until = Some(ask.range.until.map_or(end, |until| until.min(end)));
        rest.limits.hits += cursor.skip;
        let rest = searcher.search(&rest);
        results.took += rest.took;
        for partial in rest.partial {
            if !results.partial.contains(&partial) {
                results.partial.push(partial);
            }
        }
        results.answer = rest.answer;
        if let Answer::Hits(hits) = &mut results.answer {
            hits.drain(..cursor.skip.min(hits.len()));
        }
    } else {
        results = searcher.search(&request);
    }
    let mut notes: Vec<String> = results.partial.iter().map(ToString::to_string).collect();
    let mut next = None;
    if pages && let Answer::Hits(hits) = &mut results.answer {
        let more = hits.len() > ask.hits;
        hits.truncate(ask.hits);
        if let Some(last) = hits.last().filter(|_| more) {
            let time = last.time;
            let mut skip = hits.iter().rev().take_while(|hit| hit.time == time).count();
            // Cursors are written with the text of a time, so the page may be all at one time.
            if let Some(cursor) = cursor.filter(|cursor| cursor.time == time) {
                skip += cursor.skip;
            }
            if skip <= SKIP_MAX {
                next = Some(Cursor { time, skip });
            } else {
                notes.push(format!(
                    "more than {SKIP_MAX} hits have the time {time}; the list ends here, so narrow the query"
                ));
            }
        }
    }
    let nothing = match &results.answer {
        Answer::Hits(_) => results.total == 0,
        Answer::Table(table) => results.total == 0 || table.rows.is_empty(),
    };
    let hints = if nothing && !ask.text.is_empty() { hints(ask, searcher) } else { Vec::new() };
    Found { results, next, notes, hints }
}

/// What is odd about a query that found nothing.
fn hints(ask: &Ask, searcher: &dyn Search) -> Vec<Hint> {
    // Without its fields there are no hints; the answer itself stands.
    let fields = searcher.fields().unwrap_or_default();
    let known: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
    // Of an index without events nothing can be told.
    if known.len() <= 1 { Vec::new() } else { query::hints(&ask.query, &ask.text, &known) }
}
