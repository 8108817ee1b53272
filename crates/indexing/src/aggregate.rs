//! Aggregations: documents split into buckets, buckets into further ones, and measured.
//!
//! A tree of [`Aggregation`]s is opened over a segment once: columns are found, filters are answered
//! with one set of documents each. Then it walks down with lists of documents; a level costs a read of
//! its column for the documents of its buckets. Values are ordinals of the segment's dictionaries until
//! the segment is done, and only then become the [`Cell`]s by which segments are merged.
//!
//! What it refuses to do: guess. Distinct values and percentiles are exact, from values that are kept;
//! their number is bounded over the whole request, and who needs more of them is told so.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use event::Timestamp;
use foldhash::fast::FixedState;
use jiff::tz::TimeZone;
use query::{Cell, Filter};

use crate::bits::Bits;
use crate::filter::passing;
use crate::group::Coder;
use crate::request::Hit;
use crate::segment::{Segment, Stop};

/// How many documents are looked at between two looks at the clock.
const CLOCK_EVERY: usize = 4096;

/// One aggregation, and what is asked of each of its buckets.
#[derive(Debug, Clone)]
pub struct Aggregation {
    /// Its name in the answer.
    pub name: String,
    /// How documents are split or measured.
    pub kind: AggregationKind,
    /// What is asked of each bucket; nothing for measures.
    pub inner: Vec<Aggregation>,
}

/// How documents are split or measured.
#[derive(Debug, Clone)]
pub enum AggregationKind {
    /// A bucket for each value of a field.
    Terms {
        /// The field.
        field: String,
        /// The value of documents without one; they are left out if `None`.
        missing: Option<Cell>,
        /// How the buckets are ordered; the first order matters most.
        order: Vec<BucketOrder>,
        /// The most buckets.
        size: usize,
        /// The fewest documents of a bucket that is shown.
        count_min: u64,
    },
    /// A bucket for each step of time.
    Dates {
        /// The field.
        field: String,
        /// The steps.
        step: DateStep,
    },
    /// A bucket for each step of a number.
    Steps {
        /// The field.
        field: String,
        /// How long a step is; more than zero.
        interval: f64,
        /// Where a step begins.
        offset: f64,
    },
    /// A bucket for each of these filters, whose keys are their places.
    Filters(Vec<Filter>),
    /// Count, sum, least and greatest of a field's numbers.
    Numbers(String),
    /// How many values a field has.
    Count(String),
    /// How many different values a field has.
    Distinct(String),
    /// All numbers of a field, in order.
    Values(String),
    /// The newest documents, or the oldest.
    Top {
        /// How many.
        size: usize,
        /// The oldest instead.
        oldest: bool,
    },
}

/// By what buckets are ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketOrder {
    /// Of a bucket.
    pub by: OrderBy,
    /// The greatest first.
    pub descending: bool,
}

/// What of a bucket is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderBy {
    /// How many documents it has.
    Count,
    /// Its key.
    Key,
    /// A measure: the place of an inner aggregation, and what of it.
    Measure(usize, Measure),
}

/// One number of a measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// How many values.
    Count,
    /// Their sum.
    Sum,
    /// Their average.
    Avg,
    /// The least.
    Min,
    /// The greatest.
    Max,
}

/// Steps of time.
#[derive(Debug, Clone)]
pub enum DateStep {
    /// Of one length, told by the clocks of a zone.
    Fixed {
        /// The length; more than zero.
        nanos: i64,
        /// Where a step begins.
        offset_nanos: i64,
        /// The zone.
        zone: TimeZone,
    },
    /// Days of a zone's calendar or longer.
    Calendar(CalendarUnit, TimeZone),
}

/// Steps of a calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CalendarUnit {
    /// A day.
    Day,
    /// A week, from Monday.
    Week,
    /// A month.
    Month,
    /// Three months.
    Quarter,
    /// A year.
    Year,
}

impl DateStep {
    /// The first moment of the step of a moment, and that of the next step.
    pub fn around(&self, time: Timestamp) -> (Timestamp, Timestamp) {
        match self {
            DateStep::Fixed { nanos, offset_nanos, zone } => {
                let shift = zone_offset_nanos(zone, time).saturating_sub(*offset_nanos);
                let local = time.as_nanos().saturating_add(shift);
                let first = local.div_euclid(*nanos).saturating_mul(*nanos).saturating_sub(shift);
                (Timestamp::from_nanos(first), Timestamp::from_nanos(first.saturating_add(*nanos)))
            }
            DateStep::Calendar(unit, zone) => {
                let date = zone.to_datetime(time.to_jiff()).date();
                let (first, length) = unit.first_of(date);
                let moment = |date: jiff::civil::Date| {
                    let midnight = date.to_datetime(jiff::civil::Time::midnight());
                    zone.to_timestamp(midnight).ok().and_then(Timestamp::from_jiff)
                };
                let next = first.checked_add(length).ok().and_then(moment);
                // At the ends of what a time can be there is no such day.
                let first = moment(first).unwrap_or(time);
                (first, next.unwrap_or_else(|| time.plus_nanos(1)))
            }
        }
    }
}

impl CalendarUnit {
    fn first_of(self, date: jiff::civil::Date) -> (jiff::civil::Date, jiff::Span) {
        use jiff::ToSpan;
        let month = |month: i8| {
            let first = date.first_of_month();
            first.with().month(month).build().unwrap_or(first)
        };
        match self {
            CalendarUnit::Day => (date, 1.day()),
            CalendarUnit::Week => {
                let back = date.weekday().to_monday_zero_offset();
                (date.checked_sub(i32::from(back).days()).unwrap_or(date), 1.week())
            }
            CalendarUnit::Month => (date.first_of_month(), 1.month()),
            CalendarUnit::Quarter => (month((date.month() - 1) / 3 * 3 + 1), 3.months()),
            CalendarUnit::Year => (date.first_of_year(), 1.year()),
        }
    }
}

fn zone_offset_nanos(zone: &TimeZone, time: Timestamp) -> i64 {
    if *zone == TimeZone::UTC {
        return 0;
    }
    i64::from(zone.to_offset(time.to_jiff()).seconds()).saturating_mul(1_000_000_000)
}

/// What an aggregation gave.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Buckets; steps of time and numbers by their keys, filters in their order.
    Buckets {
        /// The buckets.
        buckets: Vec<Bucket>,
        /// How many documents are in buckets that were left out.
        other: u64,
    },
    /// Of the numbers of a field.
    Numbers(Numbers),
    /// How many values.
    Count(u64),
    /// All numbers, the least first.
    Values(Vec<f64>),
    /// Documents.
    Top {
        /// How many the bucket has.
        total: u64,
        /// The first of them.
        hits: Vec<FoundHit>,
    },
}

/// Documents that have something in common.
#[derive(Debug, Clone)]
pub struct Bucket {
    /// What they have in common.
    pub key: Cell,
    /// How many.
    pub count: u64,
    /// What was asked of them, in the order of the aggregation's `inner`.
    pub inner: Vec<Outcome>,
}

/// A document, and the partition that has it.
#[derive(Debug, Clone)]
pub struct FoundHit {
    /// Its partition.
    pub partition: crate::partition::PartitionId,
    /// It.
    pub hit: Hit,
    /// The values by which it was sorted, the tie-breaker last.
    pub sort: Vec<Cell>,
}

/// What is known of a field's numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Numbers {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The sum of their squares.
    pub squares: f64,
    /// The least; infinite if there is none.
    pub min: f64,
    /// The greatest; infinite if there is none.
    pub max: f64,
}

impl Numbers {
    /// Of no numbers.
    pub const NONE: Numbers =
        Numbers { count: 0, sum: 0.0, squares: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY };

    /// Adds a number.
    pub fn add(&mut self, number: f64) {
        self.count += 1;
        self.sum += number;
        self.squares += number * number;
        self.min = self.min.min(number);
        self.max = self.max.max(number);
    }

    fn merge(&mut self, other: &Numbers) {
        self.count += other.count;
        self.sum += other.sum;
        self.squares += other.squares;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// The average; `None` of no numbers.
    pub fn avg(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

/// A value as measures of numbers see it: times are milliseconds; texts are none.
pub fn as_number(cell: &Cell) -> Option<f64> {
    match cell {
        Cell::Int(number) => Some(*number as f64),
        Cell::Float(number) => Some(*number),
        Cell::Bool(value) => Some(f64::from(u8::from(*value))),
        Cell::Time(time) => Some(time.as_nanos() as f64 / 1e6),
        Cell::Null | Cell::Text(_) | Cell::List(_) => None,
    }
}

/// How many buckets and kept values a request may still make, over all segments.
pub(crate) struct Budget {
    left: AtomicUsize,
}

impl Budget {
    pub(crate) fn new(max: usize) -> Budget {
        Budget { left: AtomicUsize::new(max) }
    }

    /// Takes some; not if there are not so many.
    fn take(&self, count: usize) -> Result<(), Stop> {
        let taken = self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(count));
        match taken {
            Ok(_) => Ok(()),
            Err(_) => {
                self.left.store(0, Relaxed);
                Err(Stop::OverBudget)
            }
        }
    }
}

/// A place of a document in the answer of all segments: its time, segment and number.
pub(crate) type Place = (i64, usize, u32);

/// What an aggregation gave in one segment, or in several.
pub(crate) enum Gathered {
    Buckets(HashMap<Cell, (u64, Vec<Gathered>), FixedState>),
    Numbers(Numbers),
    Count(u64),
    Distinct(HashSet<Cell, FixedState>),
    Values(Vec<f64>),
    Top { total: u64, places: Vec<Place> },
}

/// An aggregation over the columns of a segment.
struct Node<'a> {
    kind: &'a AggregationKind,
    over: Over,
    inner: Vec<Node<'a>>,
}

enum Over {
    Values(Box<Coder>),
    Filters(Vec<Bits>),
    Documents,
}

/// Aggregates the documents of a segment, the `at`th.
pub(crate) fn gather(
    segment: &Segment<'_>,
    at: usize,
    bits: &Bits,
    aggregations: &[Aggregation],
    budget: &Budget,
) -> Result<Vec<Gathered>, Stop> {
    let docs: Vec<u32> = bits.iter().collect();
    let nodes = open(segment, bits, aggregations)?;
    let mut walk = Walk { segment, at, budget, since_clock: 0 };
    nodes.into_iter().map(|mut node| walk.gather(&mut node, &docs)).collect()
}

fn open<'a>(
    segment: &Segment<'_>,
    bits: &Bits,
    aggregations: &'a [Aggregation],
) -> Result<Vec<Node<'a>>, Stop> {
    let mut nodes = Vec::with_capacity(aggregations.len());
    for aggregation in aggregations {
        let over = match &aggregation.kind {
            AggregationKind::Terms { field, .. }
            | AggregationKind::Dates { field, .. }
            | AggregationKind::Steps { field, .. }
            | AggregationKind::Numbers(field)
            | AggregationKind::Count(field)
            | AggregationKind::Distinct(field)
            | AggregationKind::Values(field) => {
                Over::Values(Box::new(Coder::new(segment, field, None)?))
            }
            AggregationKind::Filters(filters) => Over::Filters(
                filters
                    .iter()
                    .map(|filter| passing(segment, filter, bits))
                    .collect::<Result<_, Stop>>()?,
            ),
            AggregationKind::Top { .. } => Over::Documents,
        };
        let inner = open(segment, bits, &aggregation.inner)?;
        nodes.push(Node { kind: &aggregation.kind, over, inner });
    }
    Ok(nodes)
}

/// A walk down the tree.
struct Walk<'a> {
    segment: &'a Segment<'a>,
    at: usize,
    budget: &'a Budget,
    since_clock: usize,
}

impl Walk<'_> {
    fn tick(&mut self) -> Result<(), Stop> {
        self.since_clock += 1;
        if self.since_clock >= CLOCK_EVERY {
            self.since_clock = 0;
            self.segment.check_time()?;
        }
        Ok(())
    }

    fn gather(&mut self, node: &mut Node<'_>, docs: &[u32]) -> Result<Gathered, Stop> {
        match (node.kind, &mut node.over) {
            (AggregationKind::Top { size, oldest }, _) => self.top(docs, *size, *oldest),
            (AggregationKind::Filters(_), Over::Filters(sets)) => {
                let mut parts: Vec<(Cell, Vec<u32>)> = Vec::with_capacity(sets.len());
                for (n, set) in (0i64..).zip(sets.iter()) {
                    self.tick()?;
                    let own = docs.iter().copied().filter(|doc| set.contains(*doc)).collect();
                    parts.push((Cell::Int(n), own));
                }
                self.buckets(parts, &mut node.inner)
            }
            (AggregationKind::Terms { missing, .. }, Over::Values(coder)) => {
                let mut parts: HashMap<u32, Vec<u32>, FixedState> = HashMap::default();
                let mut without = Vec::new();
                for doc in docs {
                    self.tick()?;
                    let codes = coder.codes(*doc);
                    if codes.is_empty() {
                        without.push(*doc);
                    }
                    for code in codes {
                        parts.entry(code).or_default().push(*doc);
                    }
                }
                let mut cells = coder.cells(parts.keys().copied().collect())?;
                let mut named: Vec<(Cell, Vec<u32>)> = parts
                    .into_iter()
                    .filter_map(|(code, docs)| Some((cells.remove(&code)?, docs)))
                    .collect();
                if let Some(missing) = missing.as_ref().filter(|_| !without.is_empty()) {
                    match named.iter_mut().find(|(cell, _)| cell == missing) {
                        Some((_, docs)) => {
                            docs.extend(without);
                            docs.sort_unstable();
                            docs.dedup();
                        }
                        None => named.push((missing.clone(), without)),
                    }
                }
                self.buckets(named, &mut node.inner)
            }
            (AggregationKind::Dates { step, .. }, Over::Values(coder)) => {
                let mut last = (Timestamp::EPOCH, Timestamp::EPOCH);
                self.stepped(coder, docs, &mut node.inner, |cell| {
                    let Cell::Time(time) = cell else { return None };
                    if *time < last.0 || last.1 <= *time {
                        last = step.around(*time);
                    }
                    Some(Cell::Time(last.0))
                })
            }
            (AggregationKind::Steps { interval, offset, .. }, Over::Values(coder)) => {
                self.stepped(coder, docs, &mut node.inner, |cell| {
                    step_of(as_number(cell)?, *interval, *offset)
                })
            }
            (AggregationKind::Numbers(_), Over::Values(coder)) => {
                let mut numbers = Numbers::NONE;
                for doc in docs {
                    self.tick()?;
                    coder.each(*doc, |cell| {
                        if let Some(number) = as_number(&cell) {
                            numbers.add(number);
                        }
                    });
                }
                Ok(Gathered::Numbers(numbers))
            }
            (AggregationKind::Count(_), Over::Values(coder)) => {
                let mut count = 0;
                for doc in docs {
                    self.tick()?;
                    count += coder.codes(*doc).len() as u64;
                }
                Ok(Gathered::Count(count))
            }
            (AggregationKind::Values(_), Over::Values(coder)) => {
                let mut values = Vec::new();
                for doc in docs {
                    self.tick()?;
                    coder.each(*doc, |cell| values.extend(as_number(&cell)));
                }
                self.budget.take(values.len())?;
                Ok(Gathered::Values(values))
            }
            (AggregationKind::Distinct(_), Over::Values(coder)) => {
                let mut codes: HashSet<u32, FixedState> = HashSet::default();
                for doc in docs {
                    self.tick()?;
                    codes.extend(coder.codes(*doc));
                }
                self.budget.take(codes.len())?;
                let cells = coder.cells(codes.into_iter().collect())?;
                Ok(Gathered::Distinct(cells.into_values().collect()))
            }
            // `open` gives each kind its own.
            _ => Ok(Gathered::Count(0)),
        }
    }

    /// Buckets by what values become.
    fn stepped(
        &mut self,
        coder: &mut Coder,
        docs: &[u32],
        inner: &mut [Node<'_>],
        mut step: impl FnMut(&Cell) -> Option<Cell>,
    ) -> Result<Gathered, Stop> {
        let mut parts: HashMap<Cell, Vec<u32>, FixedState> = HashMap::default();
        let mut keys: Vec<Cell> = Vec::new();
        for doc in docs {
            self.tick()?;
            keys.clear();
            coder.each(*doc, |cell| {
                if let Some(key) = step(&cell).filter(|key| !keys.contains(key)) {
                    keys.push(key);
                }
            });
            for key in keys.drain(..) {
                parts.entry(key).or_default().push(*doc);
            }
        }
        self.buckets(parts, inner)
    }

    fn buckets(
        &mut self,
        parts: impl IntoIterator<Item = (Cell, Vec<u32>), IntoIter: ExactSizeIterator>,
        inner: &mut [Node<'_>],
    ) -> Result<Gathered, Stop> {
        let parts = parts.into_iter();
        self.budget.take(parts.len())?;
        let mut buckets = HashMap::with_capacity_and_hasher(parts.len(), FixedState::default());
        for (key, docs) in parts {
            let mut own = Vec::with_capacity(inner.len());
            for node in inner.iter_mut() {
                own.push(self.gather(node, &docs)?);
            }
            buckets.insert(key, (docs.len() as u64, own));
        }
        Ok(Gathered::Buckets(buckets))
    }

    fn top(&mut self, docs: &[u32], size: usize, oldest: bool) -> Result<Gathered, Stop> {
        let times = self.segment.columns.time.values.clone();
        let mut best: BinaryHeap<Reverse<(i64, u32)>> = BinaryHeap::with_capacity(size + 1);
        for doc in docs {
            self.tick()?;
            let time = times.get_val(*doc);
            best.push(Reverse((if oldest { time.saturating_neg() } else { time }, *doc)));
            if best.len() > size {
                best.pop();
            }
        }
        let at = self.at;
        let places = best.into_iter().map(|Reverse((time, doc))| (time, at, doc)).collect();
        Ok(Gathered::Top { total: docs.len() as u64, places })
    }
}

/// The step that a number is in.
pub fn step_of(number: f64, interval: f64, offset: f64) -> Option<Cell> {
    Some(Cell::number(((number - offset) / interval).floor() * interval + offset))
        .filter(|cell| *cell != Cell::Null)
}

/// Puts what another segment gave to what is there.
pub(crate) fn merge(all: &mut [Gathered], more: Vec<Gathered>) {
    for (all, more) in all.iter_mut().zip(more) {
        match (all, more) {
            (Gathered::Buckets(all), Gathered::Buckets(more)) => {
                for (key, (count, inner)) in more {
                    match all.get_mut(&key) {
                        Some((before, own)) => {
                            *before += count;
                            merge(own, inner);
                        }
                        None => {
                            all.insert(key, (count, inner));
                        }
                    }
                }
            }
            (Gathered::Numbers(all), Gathered::Numbers(more)) => all.merge(&more),
            (Gathered::Count(all), Gathered::Count(more)) => *all += more,
            (Gathered::Distinct(all), Gathered::Distinct(more)) => all.extend(more),
            (Gathered::Values(all), Gathered::Values(more)) => all.extend(more),
            (
                Gathered::Top { total, places },
                Gathered::Top { total: more_total, places: more },
            ) => {
                *total += more_total;
                places.extend(more);
            }
            _ => {}
        }
    }
}

/// What aggregations give over no documents.
pub(crate) fn nothing(aggregations: &[Aggregation]) -> Vec<Gathered> {
    let of = |aggregation: &Aggregation| match &aggregation.kind {
        AggregationKind::Filters(filters) => Gathered::Buckets(
            (0i64..)
                .zip(filters)
                .map(|(n, _)| (Cell::Int(n), (0, nothing(&aggregation.inner))))
                .collect(),
        ),
        AggregationKind::Terms { .. }
        | AggregationKind::Dates { .. }
        | AggregationKind::Steps { .. } => Gathered::Buckets(HashMap::default()),
        AggregationKind::Numbers(_) => Gathered::Numbers(Numbers::NONE),
        AggregationKind::Count(_) => Gathered::Count(0),
        AggregationKind::Distinct(_) => Gathered::Distinct(HashSet::default()),
        AggregationKind::Values(_) => Gathered::Values(Vec::new()),
        AggregationKind::Top { .. } => Gathered::Top { total: 0, places: Vec::new() },
    };
    aggregations.iter().map(of).collect()
}

/// Orders and cuts; `read` gets the documents of places.
pub(crate) fn finish(
    aggregations: &[Aggregation],
    gathered: Vec<Gathered>,
    read: &mut dyn FnMut(&[Place]) -> Vec<FoundHit>,
) -> Vec<Outcome> {
    aggregations
        .iter()
        .zip(gathered)
        .map(|(aggregation, gathered)| match gathered {
            Gathered::Buckets(buckets) => {
                finish_buckets(aggregation, buckets.into_iter().collect(), read)
            }
            Gathered::Numbers(numbers) => Outcome::Numbers(numbers),
            Gathered::Count(count) => Outcome::Count(count),
            Gathered::Distinct(cells) => Outcome::Count(cells.len() as u64),
            Gathered::Values(mut values) => {
                values.sort_unstable_by(f64::total_cmp);
                Outcome::Values(values)
            }
            Gathered::Top { total, mut places } => {
                let size = match aggregation.kind {
                    AggregationKind::Top { size, .. } => size,
                    _ => 0,
                };
                places.sort_unstable_by(|a, b| b.cmp(a));
                places.truncate(size);
                Outcome::Top { total, hits: read(&places) }
            }
        })
        .collect()
}

fn finish_buckets(
    aggregation: &Aggregation,
    mut buckets: Vec<(Cell, (u64, Vec<Gathered>))>,
    read: &mut dyn FnMut(&[Place]) -> Vec<FoundHit>,
) -> Outcome {
    let mut other = 0;
    if let AggregationKind::Terms { order, size, count_min, .. } = &aggregation.kind {
        buckets.retain(|(_, (count, _))| count >= count_min);
        buckets.sort_unstable_by(|a, b| compare(order, a, b));
        other = buckets.iter().skip(*size).map(|(_, (count, _))| count).sum();
        buckets.truncate(*size);
    } else {
        buckets.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    }
    let buckets = buckets
        .into_iter()
        .map(|(key, (count, inner))| Bucket {
            key,
            count,
            inner: finish(&aggregation.inner, inner, read),
        })
        .collect();
    Outcome::Buckets { buckets, other }
}

fn compare(
    order: &[BucketOrder],
    (key_a, (count_a, inner_a)): &(Cell, (u64, Vec<Gathered>)),
    (key_b, (count_b, inner_b)): &(Cell, (u64, Vec<Gathered>)),
) -> Ordering {
    for order in order {
        let mut found = match order.by {
            OrderBy::Count => count_a.cmp(count_b),
            OrderBy::Key => key_a.cmp(key_b),
            OrderBy::Measure(at, measure) => {
                let a = inner_a.get(at).and_then(|gathered| gathered.measure(measure));
                let b = inner_b.get(at).and_then(|gathered| gathered.measure(measure));
                match (a, b) {
                    (Some(a), Some(b)) => a.total_cmp(&b),
                    // Buckets without a number come last, whatever the order.
                    (a, b) => {
                        let found = b.is_some().cmp(&a.is_some());
                        if order.descending { found.reverse() } else { found }
                    }
                }
            }
        };
        if order.descending {
            found = found.reverse();
        }
        if found != Ordering::Equal {
            return found;
        }
    }
    key_a.cmp(key_b)
}

impl Gathered {
    fn measure(&self, measure: Measure) -> Option<f64> {
        match (self, measure) {
            (Gathered::Numbers(numbers), Measure::Count) => Some(numbers.count as f64),
            (Gathered::Numbers(numbers), Measure::Sum) => Some(numbers.sum),
            (Gathered::Numbers(numbers), Measure::Avg) => numbers.avg(),
            (Gathered::Numbers(numbers), Measure::Min) => Some(numbers.min),
            (Gathered::Numbers(numbers), Measure::Max) => Some(numbers.max),
            (Gathered::Count(count), _) => Some(*count as f64),
            (Gathered::Distinct(cells), _) => Some(cells.len() as f64),
            _ => None,
        }
        .filter(|number| number.is_finite())
    }
}
