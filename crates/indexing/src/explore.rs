//! Answers what other programs ask: hits in any order, from any place on, and trees of aggregations.
//!
//! Beside [`Searcher::search`], which answers our own language newest first. Documents are compared by
//! small numbers (ordinals, milliseconds) within a segment, and only the first of each segment become
//! values by which segments are merged. Equal documents are ordered by `event.id`, so that the order is
//! whole: who goes on after a hit misses none and sees none twice, whatever was merged meanwhile.

use std::collections::{BTreeMap, BinaryHeap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use event::Timestamp;
use query::{Cell, Filter, TimeRange};

use crate::aggregate::{Aggregation, Budget, FoundHit, Gathered, Outcome, Place, finish};
use crate::aggregate::{gather, merge, nothing};
use crate::bits::Bits;
use crate::error::IndexError;
use crate::filter::{in_range, passing};
use crate::group::Coder;
use crate::index::guarded;
use crate::partition::PartitionId;
use crate::request::{Cancel, Deadline, Partial};
use crate::search::{Searcher, Work, hit};
use crate::segment::{Segment, Stop};

/// The most fields by which hits are sorted, with the one that breaks ties.
pub const SORT_KEYS_MAX: usize = 4;

/// What breaks ties: every event and alert has it, and no two have the same.
pub const TIE_BREAKER: &str = "event.id";

/// How many documents are compared between two looks at the clock.
const CLOCK_EVERY: usize = 4096;

/// What is asked.
#[derive(Debug, Clone)]
pub struct ExploreRequest<'r> {
    /// Which events and alerts.
    pub filter: &'r Filter,
    /// In which partitions.
    pub partitions: &'r [PartitionId],
    /// The range of time, which may be wider than the filter's.
    pub range: TimeRange,
    /// How many hits.
    pub hits: usize,
    /// By what they are sorted; ties by [`TIE_BREAKER`], upwards. Those past [`SORT_KEYS_MAX`] are
    /// not looked at.
    pub sort: &'r [Order],
    /// The sort values of the hit after which to go on, the tie-breaker too if it is known.
    pub after: Option<&'r [Cell]>,
    /// What is counted.
    pub aggregations: &'r [Aggregation],
    /// The longest time.
    pub time: Duration,
    /// The most threads.
    pub threads: usize,
    /// The most buckets and kept values of all aggregations and segments together.
    pub values: usize,
    /// Ends it when whoever asked is gone.
    pub cancel: Cancel,
}

/// A field by which hits are sorted. Times are compared by milliseconds, as they are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The field.
    pub field: String,
    /// The greatest first.
    pub descending: bool,
    /// Documents without it come first.
    pub missing_first: bool,
}

/// What was found.
#[derive(Debug, Clone)]
pub struct Explored {
    /// How many events pass the filter.
    pub total: u64,
    /// The first of them.
    pub hits: Vec<FoundHit>,
    /// For each aggregation, what it gave.
    pub aggregations: Vec<Outcome>,
    /// How long it took.
    pub took: Duration,
    /// How many segments were asked.
    pub segments: usize,
    /// Why the answer is not whole; empty if it is.
    pub partial: Vec<Partial>,
}

/// A value within a segment, so that a lesser pair comes first.
type Key = (u8, i128);

/// What a segment gave.
struct Found {
    total: u64,
    hits: Vec<(Vec<Cell>, u32)>,
    aggregations: Vec<Gathered>,
    stopped: Option<Partial>,
}

impl Searcher {
    /// Answers.
    pub fn explore(&self, request: &ExploreRequest<'_>) -> Explored {
        let started = Instant::now();
        let deadline = Deadline::new(started + request.time, &request.cancel);
        let work = self.segments_of(request);
        let budget = Budget::new(request.values);
        let mut orders: Vec<Order> = request.sort.iter().take(SORT_KEYS_MAX).cloned().collect();
        if orders.len() < SORT_KEYS_MAX && !orders.iter().any(|o| o.field == TIE_BREAKER) {
            let field = TIE_BREAKER.to_owned();
            orders.push(Order { field, descending: false, missing_first: false });
        }
        let mut explored = Explored {
            total: 0,
            hits: Vec::new(),
            aggregations: Vec::new(),
            took: Duration::ZERO,
            segments: work.len(),
            partial: Vec::new(),
        };
        let note = |explored: &mut Explored, partial| {
            if !explored.partial.contains(&partial) {
                explored.partial.push(partial);
            }
        };
        let mut gathered = nothing(request.aggregations);
        let mut first: Vec<(Vec<Cell>, usize, u32)> = Vec::new();
        for (at, found) in ask_all(request, &orders, &budget, &deadline, &work) {
            match found {
                Ok(found) => {
                    explored.total += found.total;
                    first.extend(found.hits.into_iter().map(|(sort, doc)| (sort, at, doc)));
                    merge(&mut gathered, found.aggregations);
                    if let Some(partial) = found.stopped {
                        note(&mut explored, partial);
                    }
                }
                Err(error) => {
                    let partition =
                        work.get(at).map(|(p, ..)| p.id.to_string()).unwrap_or_default();
                    tracing::error!(%error, %partition, "a search could not read a partition");
                    let reason = error.to_string();
                    note(&mut explored, Partial::Partition { partition, reason });
                }
            }
        }
        first.sort_unstable_by(|(a, ..), (b, ..)| compare(&orders, a, b));
        first.truncate(request.hits);
        let mut sorts: Vec<Vec<Cell>> = Vec::with_capacity(first.len());
        let places: Vec<Place> = first
            .into_iter()
            .map(|(sort, at, doc)| {
                sorts.push(sort);
                (0, at, doc)
            })
            .collect();
        let mut failed = Vec::new();
        let mut hits = read(&work, &places, &deadline, &mut failed);
        for (hit, sort) in hits.iter_mut().zip(sorts) {
            if let Some(hit) = hit {
                hit.sort = sort;
            }
        }
        explored.hits = hits.into_iter().flatten().collect();
        explored.aggregations = finish(request.aggregations, gathered, &mut |places| {
            read(&work, places, &deadline, &mut failed).into_iter().flatten().collect()
        });
        failed.into_iter().for_each(|partial| note(&mut explored, partial));
        explored.took = started.elapsed();
        explored
    }

    fn segments_of(&self, request: &ExploreRequest<'_>) -> Vec<Work> {
        let range = request.range;
        self.partitions()
            .into_iter()
            .filter(|partition| {
                let id = partition.id;
                request.partitions.contains(&id)
                    && range.since.is_none_or(|since| since < id.end())
                    && range.until.is_none_or(|until| id.start() < until)
            })
            .flat_map(|partition| {
                let searcher = partition.searcher();
                (0..searcher.segment_readers().len())
                    .map(move |n| (partition.clone(), searcher.clone(), n))
            })
            .collect()
    }
}

/// Asks all segments, some at a time.
fn ask_all(
    request: &ExploreRequest<'_>,
    orders: &[Order],
    budget: &Budget,
    deadline: &Deadline,
    work: &[Work],
) -> Vec<(usize, Result<Found, IndexError>)> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::with_capacity(work.len()));
    let ask = || {
        loop {
            // The newest first: if time runs out, they matter more.
            let Some(at) = work.len().checked_sub(1 + next.fetch_add(1, Ordering::Relaxed)) else {
                return;
            };
            let Some((partition, searcher, n)) = work.get(at) else { return };
            let Some(reader) = searcher.segment_readers().get(*n) else { continue };
            let outcome = guarded(partition, || {
                let segment = Segment::new(partition, reader, deadline.clone())?;
                let mut found =
                    Found { total: 0, hits: Vec::new(), aggregations: Vec::new(), stopped: None };
                match fill(request, orders, budget, &segment, at, &mut found) {
                    Ok(()) => {}
                    Err(Stop::Timeout) => found.stopped = Some(Partial::Timeout(request.time)),
                    Err(Stop::OverBudget) => found.stopped = Some(Partial::Groups(request.values)),
                    Err(Stop::Failed(error)) => {
                        return Err(IndexError::partition(partition.id, "searching it")(error));
                    }
                }
                Ok(found)
            });
            outcomes.lock().unwrap_or_else(PoisonError::into_inner).push((at, outcome));
        }
    };
    let threads = request.threads.min(work.len());
    if threads <= 1 {
        ask();
    } else {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(ask);
            }
        });
    }
    outcomes.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn fill(
    request: &ExploreRequest<'_>,
    orders: &[Order],
    budget: &Budget,
    segment: &Segment<'_>,
    at: usize,
    found: &mut Found,
) -> Result<(), Stop> {
    let Some(bits) = in_range(segment, request.range, segment.alive()) else { return Ok(()) };
    let bits = passing(segment, request.filter, &bits)?;
    found.total = u64::from(bits.count());
    if found.total == 0 {
        return Ok(());
    }
    if request.hits > 0 {
        found.hits = first(request, orders, segment, &bits)?;
    }
    if !request.aggregations.is_empty() {
        found.aggregations = gather(segment, at, &bits, request.aggregations, budget)?;
    }
    Ok(())
}

/// The first documents of a segment, with their sort values.
fn first(
    request: &ExploreRequest<'_>,
    orders: &[Order],
    segment: &Segment<'_>,
    bits: &Bits,
) -> Result<Vec<(Vec<Cell>, u32)>, Stop> {
    let mut sorters = Vec::with_capacity(orders.len());
    for order in orders {
        sorters.push(Sorter::new(segment, order)?);
    }
    let after: Option<Vec<Key>> = match request.after {
        Some(cells) => {
            let mut keys = Vec::with_capacity(cells.len());
            for (sorter, cell) in sorters.iter().zip(cells) {
                keys.push(sorter.key_of(cell)?);
            }
            Some(keys)
        }
        None => None,
    };
    // The last of the first is on top, and goes when a better one comes.
    let mut best: BinaryHeap<([Key; SORT_KEYS_MAX], u32)> = BinaryHeap::new();
    for (n, doc) in bits.iter().enumerate() {
        if n % CLOCK_EVERY == 0 {
            segment.check_time()?;
        }
        let mut keys = [(0u8, 0i128); SORT_KEYS_MAX];
        for (key, sorter) in keys.iter_mut().zip(&sorters) {
            *key = sorter.key(doc);
        }
        if let Some(after) = &after
            && keys.get(..after.len()).is_some_and(|keys| keys <= after.as_slice())
        {
            continue;
        }
        if best.len() >= request.hits {
            if best.peek().is_some_and(|(last, _)| *last <= keys) {
                continue;
            }
            best.pop();
        }
        best.push((keys, doc));
    }
    let mut hits = Vec::with_capacity(best.len());
    for (_, doc) in best {
        let mut sort = Vec::with_capacity(sorters.len());
        for sorter in &sorters {
            sort.push(sorter.cell(doc)?);
        }
        hits.push((sort, doc));
    }
    Ok(hits)
}

/// Compares the documents of a segment by one field.
struct Sorter<'a> {
    order: &'a Order,
    coder: Coder,
}

/// Where documents without a value stand.
const MISSING_FIRST: Key = (0, 0);
const MISSING_LAST: Key = (u8::MAX, 0);

impl<'a> Sorter<'a> {
    fn new(segment: &Segment<'_>, order: &'a Order) -> Result<Self, Stop> {
        Ok(Sorter { order, coder: Coder::new(segment, &order.field, None)? })
    }

    fn turned(&self, (rank, value): Key) -> Key {
        if self.order.descending { (u8::MAX - rank, -value) } else { (rank, value) }
    }

    fn missing(&self) -> Key {
        if self.order.missing_first { MISSING_FIRST } else { MISSING_LAST }
    }

    /// Of several values, the one that comes first counts.
    fn key(&self, doc: u32) -> Key {
        let mut key: Option<Key> = None;
        self.coder.sort_keys(doc, |found| {
            let found = self.turned(found);
            if key.is_none_or(|key| found < key) {
                key = Some(found);
            }
        });
        key.unwrap_or_else(|| self.missing())
    }

    fn cell(&self, doc: u32) -> Result<Cell, Stop> {
        let mut best: Option<Cell> = None;
        let mut cells = Vec::new();
        self.coder.values(doc, &mut cells)?;
        for cell in cells {
            let cell = sort_value(cell);
            let better = |before: &Cell| match self.order.descending {
                true => cell > *before,
                false => cell < *before,
            };
            if best.as_ref().is_none_or(better) {
                best = Some(cell);
            }
        }
        Ok(best.unwrap_or(Cell::Null))
    }

    fn key_of(&self, cell: &Cell) -> Result<Key, Stop> {
        if *cell == Cell::Null {
            return Ok(self.missing());
        }
        // A client gives back a time as the number of milliseconds that it got, or as a text.
        Ok(self.turned(self.coder.sort_key_of(cell)?))
    }
}

/// A value as it is sorted by: times have whole milliseconds.
fn sort_value(cell: Cell) -> Cell {
    match cell {
        Cell::Time(time) => Cell::Time(Timestamp::from_millis(time.as_millis())),
        other => other,
    }
}

/// How values of different types stand to each other; numbers are one type.
pub(crate) fn sort_rank(cell: &Cell) -> u8 {
    match cell {
        Cell::Null | Cell::List(_) => 0,
        Cell::Bool(_) => 1,
        Cell::Int(_) | Cell::Float(_) => 2,
        Cell::Time(_) => 3,
        Cell::Text(_) => 4,
    }
}

fn compare(orders: &[Order], a: &[Cell], b: &[Cell]) -> std::cmp::Ordering {
    use std::cmp::Ordering::{Equal, Greater, Less};
    for ((order, a), b) in orders.iter().zip(a).zip(b) {
        let missing = if order.missing_first { Less } else { Greater };
        let found = match (*a == Cell::Null, *b == Cell::Null) {
            (true, true) => Equal,
            (true, false) => missing,
            (false, true) => missing.reverse(),
            (false, false) if order.descending => b.cmp(a),
            (false, false) => a.cmp(b),
        };
        if found != Equal {
            return found;
        }
    }
    Equal
}

/// Reads documents in the order of the store, and gives them in the order of their places.
fn read(
    work: &[Work],
    places: &[Place],
    deadline: &Deadline,
    failed: &mut Vec<Partial>,
) -> Vec<Option<FoundHit>> {
    let mut order: Vec<(usize, u32, usize)> =
        places.iter().enumerate().map(|(n, (_, at, doc))| (*at, *doc, n)).collect();
    order.sort_unstable();
    let mut hits: BTreeMap<usize, FoundHit> = BTreeMap::new();
    for chunk in order.chunk_by(|a, b| a.0 == b.0) {
        let Some((at, ..)) = chunk.first() else { continue };
        let Some((partition, searcher, n)) = work.get(*at) else { continue };
        let Some(reader) = searcher.segment_readers().get(*n) else { continue };
        let outcome = guarded(partition, || {
            let segment = Segment::new(partition, reader, deadline.clone())?;
            for (_, doc, place) in chunk {
                match hit(&segment, *doc) {
                    Ok(hit) => {
                        let (partition, sort) = (partition.id, Vec::new());
                        hits.insert(*place, FoundHit { partition, hit, sort })
                    }
                    Err(Stop::Failed(error)) => {
                        return Err(IndexError::partition(partition.id, "reading events")(error));
                    }
                    Err(Stop::Timeout | Stop::OverBudget) => return Ok(()),
                };
            }
            Ok(())
        });
        if let Err(error) = outcome {
            let (partition, reason) = (partition.id.to_string(), error.to_string());
            failed.push(Partial::Partition { partition, reason });
        }
    }
    (0..places.len()).map(|place| hits.remove(&place)).collect()
}
