//! Answers queries: prunes partitions, asks segments in parallel, puts their answers together.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use event::Timestamp;
use query::{Filter, Groups, Pipe, Stats};
use tantivy::schema::IndexRecordOption;
use tantivy::{DocSet, TERMINATED, Term};

use crate::bits::Bits;
use crate::dictionary::Shared;
use crate::error::IndexError;
use crate::filter::{in_range, passing};
use crate::group::{self, Counted};
use crate::index::{FieldInfo, Index, Inner, guarded};
use crate::merge::Merged;
use crate::metrics;
use crate::partition::{Kind, Partition, PartitionId};
use crate::request::{
    Deadline, Histogram, Hit, Kinds, Limits, Partial, Results, Search, SearchRequest,
};
use crate::segment::{Segment, Stop};
use crate::sequence::{self, Steps};

/// Times of documents that are read from their column at once.
const BLOCK: usize = 1024;

/// Answers queries over an index. Clones are cheap; all can be used at once.
#[derive(Clone)]
pub struct Searcher {
    inner: Arc<Inner>,
}

/// A segment to be read: the partition, what searches it, which of its segments.
pub(crate) type Work = (Arc<Partition>, tantivy::Searcher, usize);

impl Searcher {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        Searcher { inner }
    }

    /// Answers a request.
    pub fn search(&self, request: &SearchRequest<'_>) -> Results {
        let started = Instant::now();
        let timer = metrics::SEARCH_SECONDS.start_timer();
        let plan = Plan::new(request, started);
        let (work, mut partial) = self.work(request);
        let histogram = plan.histogram(&work);
        let found = run(&plan, histogram.as_ref(), &work);
        let mut all = Merged::new(&plan, histogram);
        for (n, answer) in found {
            all.take(n, answer, &mut partial);
        }
        let (answer, more) = all.answer(&plan, &work);
        partial.extend(more);
        if all.timed_out {
            partial.push(Partial::Timeout(request.limits.time));
        }
        if all.groups.as_ref().is_some_and(Groups::overflowed) || all.groups_left_out {
            partial.push(Partial::Groups(request.limits.groups));
        }
        let facets = all.facets(&plan);
        timer.observe_duration();
        Results {
            answer,
            total: all.total,
            took: started.elapsed(),
            partial,
            histogram: all.histogram.filter(|histogram| !histogram.counts.is_empty()),
            facets,
        }
    }

    /// The event or alert with this id.
    ///
    /// # Errors
    /// When a partition cannot be read and no other has it.
    pub fn get(&self, id: &str) -> Result<Option<Hit>, IndexError> {
        let mut failed = None;
        for partition in self.inner.partitions().iter().rev() {
            match guarded(partition, || find(partition, id)) {
                Ok(Some(hit)) => return Ok(Some(hit)),
                Ok(None) => {}
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(None), Err)
    }

    /// Everything that has this id: more than one only where an exchange was cut off between two days.
    ///
    /// # Errors
    /// When a partition cannot be read.
    pub fn get_all(&self, id: &str) -> Result<Vec<Hit>, IndexError> {
        let mut hits = Vec::new();
        for partition in self.inner.partitions() {
            hits.extend(guarded(&partition, || find(&partition, id))?);
        }
        Ok(hits)
    }

    /// The segments that are asked, and what can't be.
    pub(crate) fn work(&self, request: &SearchRequest<'_>) -> (Vec<Work>, Vec<Partial>) {
        // A day that cannot be used matters to whoever asks for it.
        let problems = self.inner.problems().into_iter();
        let asked = problems
            .filter(|problem| problem.partition.parse().map_or(true, |id| concerns(request, id)));
        let partial = asked.map(|problem| Partial::Partition {
            partition: problem.partition,
            reason: problem.reason,
        });
        let work = self.pruned(request).into_iter().flat_map(|partition| {
            let searcher = partition.searcher();
            (0..searcher.segment_readers().len())
                .map(move |n| (partition.clone(), searcher.clone(), n))
        });
        (work.collect(), partial.collect())
    }

    /// All partitions, oldest first.
    pub(crate) fn partitions(&self) -> Vec<Arc<Partition>> {
        self.inner.partitions()
    }

    /// Partitions of the kinds and days that are asked for.
    fn pruned(&self, request: &SearchRequest<'_>) -> Vec<Arc<Partition>> {
        let mut partitions = self.inner.partitions();
        partitions.retain(|partition| concerns(request, partition.id));
        partitions
    }
}

/// Whether a partition is of the kinds and days that are asked for.
fn concerns(request: &SearchRequest<'_>, id: PartitionId) -> bool {
    let wanted = match request.kinds {
        Kinds::Events => id.kind == Kind::Events,
        Kinds::Alerts => id.kind == Kind::Alerts,
        Kinds::Both => true,
    };
    wanted
        && request.range.since.is_none_or(|since| since < id.end())
        && request.range.until.is_none_or(|until| id.start() < until)
}

impl Search for Searcher {
    fn search(&self, request: &SearchRequest<'_>) -> Results {
        Searcher::search(self, request)
    }

    fn get(&self, id: &str) -> Result<Option<Hit>, IndexError> {
        Searcher::get(self, id)
    }

    fn fields(&self) -> Result<Vec<FieldInfo>, IndexError> {
        Ok(Index { inner: self.inner.clone() }.fields())
    }
}

fn find(partition: &Partition, id: &str) -> Result<Option<Hit>, IndexError> {
    let wrong = || IndexError::partition(partition.id, "looking up an id");
    let term = Term::from_field_text(partition.fields.id, id);
    let searcher = partition.searcher();
    for reader in searcher.segment_readers() {
        let index = reader.inverted_index(partition.fields.id).map_err(wrong())?;
        let postings = index
            .read_postings(&term, IndexRecordOption::Basic)
            .map_err(|error| wrong()(error.into()))?;
        let Some(mut docs) = postings else { continue };
        while docs.doc() != TERMINATED {
            let doc = docs.doc();
            if !reader.is_deleted(doc) {
                let forever = Deadline::within(Duration::from_secs(3600));
                let segment = Segment::new(partition, reader, forever)?;
                return match hit(&segment, doc) {
                    Ok(hit) => Ok(Some(hit)),
                    Err(Stop::Failed(error)) => Err(wrong()(error)),
                    Err(Stop::Timeout | Stop::OverBudget) => Ok(None),
                };
            }
            docs.advance();
        }
    }
    Ok(None)
}

pub(crate) fn hit(segment: &Segment<'_>, doc: u32) -> Result<Hit, Stop> {
    Ok(Hit {
        time: Timestamp::from_nanos(segment.columns.time.values.get_val(doc)),
        json: String::from_utf8_lossy(&segment.source(doc)?).into_owned(),
    })
}

/// How a request is answered.
pub(crate) struct Plan<'r> {
    pub(crate) request: &'r SearchRequest<'r>,
    pub(crate) filter: Filter,
    /// A statistic that columns alone can give.
    pub(crate) grouped: Option<(&'r Pipe, Stats)>,
    /// A sequence that columns alone can give, and for how many events there is room.
    pub(crate) sequence: Option<(&'r query::Sequence, AtomicUsize)>,
    /// The pipes after that, or all of them.
    pub(crate) pipes: &'r [Pipe],
    /// How many of the newest events are read whole.
    pub(crate) wanted: usize,
    /// Whether pipes need every event, so that `wanted` may be too few.
    pub(crate) needs_all: bool,
    pub(crate) facets: Vec<FacetPlan>,
    pub(crate) deadline: Deadline,
}

/// How the numbers of a field are had.
pub(crate) struct FacetPlan {
    has: Filter,
    pub(crate) pipe: Pipe,
    /// How its values are counted, if columns can tell.
    pub(crate) grouping: Option<Stats>,
}

impl<'r> Plan<'r> {
    fn new(request: &'r SearchRequest<'r>, started: Instant) -> Self {
        let limits = &request.limits;
        let mut filters = vec![request.query.filter.clone()];
        filters.extend(request.only.cloned());
        let mut pipes = request.query.pipes.as_slice();
        // A condition on events right after the filter is a part of the filter.
        while let Some((Pipe::Where(filter), rest)) = pipes.split_first() {
            filters.push(filter.clone());
            pipes = rest;
        }
        if let Some(Pipe::Sequence(sequence)) = pipes.first() {
            filters.push(sequence.candidates());
        }
        let mut sequence = None;
        if let Some((Pipe::Sequence(wanted), rest)) = pipes.split_first()
            && sequence::is_columnar(wanted)
        {
            sequence = Some((wanted, AtomicUsize::new(limits.sequence_events)));
            pipes = rest;
        }
        let mut grouped = None;
        if sequence.is_none()
            && let Some((pipe, rest)) = pipes.split_first()
            && let Some(stats) = pipe.grouping().filter(group::is_columnar)
        {
            grouped = Some((pipe, stats));
            pipes = rest;
        }
        let (wanted, needs_all) = wanted(pipes, limits);
        let facets = request.facets.iter().map(|field| {
            let (fields, by) = (vec![(*field).to_owned()], Vec::new());
            let pipe = Pipe::Top { count: request.facet_values, fields, by, rare: false };
            let grouping = pipe.grouping().filter(group::is_columnar);
            FacetPlan { has: Filter::exists(field), pipe, grouping }
        });
        let facets = facets.collect();
        Plan {
            request,
            filter: Filter::and(filters),
            wanted: if grouped.is_some() || sequence.is_some() { 0 } else { wanted },
            needs_all,
            grouped,
            sequence,
            pipes,
            facets,
            deadline: Deadline::new(started + limits.time, &limits.cancel),
        }
    }

    /// The buckets of the histogram, still empty.
    fn histogram(&self, work: &[Work]) -> Option<Histogram> {
        let buckets = self.request.histogram?;
        let range = self.request.range;
        let mut first = i64::MAX;
        let mut last = i64::MIN;
        for (partition, searcher, n) in work {
            let Some(reader) = searcher.segment_readers().get(*n) else { continue };
            let Ok(columns) = guarded(partition, || partition.columns(reader)) else { continue };
            if reader.max_doc() > 0 {
                first = first.min(columns.time.min_value());
                last = last.max(columns.time.max_value());
            }
        }
        if first > last {
            return None;
        }
        let (first, last) = (Timestamp::from_nanos(first), Timestamp::from_nanos(last));
        Some(Histogram::between(range, first, last, buckets))
    }
}

/// How many of the newest events the pipes need whole, and whether they would need all.
fn wanted(pipes: &[Pipe], limits: &Limits) -> (usize, bool) {
    for pipe in pipes {
        match pipe {
            Pipe::Fields(_) => {}
            Pipe::Head(count) => {
                return ((*count).min(limits.documents), *count > limits.documents);
            }
            _ => return (limits.documents, true),
        }
    }
    (if pipes.is_empty() { limits.hits } else { limits.rows.min(limits.documents) }, false)
}

/// What a slice of a segment gave, or the whole of it. Groups are counted by slice, and finished by segment.
pub(crate) struct Found<G> {
    pub(crate) total: u64,
    /// The newest, with their times.
    pub(crate) newest: Vec<(i64, u32)>,
    pub(crate) histogram: Option<Vec<u64>>,
    pub(crate) groups: Option<G>,
    pub(crate) steps: Steps,
    /// For each facet, how many events have the field, and its values.
    pub(crate) facets: Vec<(u64, Option<G>)>,
    /// Its time was up; the rest is what was found until then.
    pub(crate) timed_out: bool,
}

impl Found<Counted> {
    /// Takes in what the next slice of the same segment gave.
    fn absorb(&mut self, other: Found<Counted>) {
        let absorb = |into: &mut Option<Counted>, more: Option<Counted>| match (into, more) {
            (Some(into), Some(more)) => into.absorb(more),
            (into, more) => *into = into.take().or(more),
        };
        self.total += other.total;
        self.newest.extend(other.newest);
        match (&mut self.histogram, other.histogram) {
            (Some(counts), Some(more)) => {
                counts.iter_mut().zip(more).for_each(|(count, more)| *count += more);
            }
            (counts, more) => *counts = counts.take().or(more),
        }
        absorb(&mut self.groups, other.groups);
        self.steps.steps.extend(other.steps.steps);
        self.steps.left_out |= other.steps.left_out;
        self.facets.resize_with(self.facets.len().max(other.facets.len()), || (0, None));
        for ((events, groups), (more_events, more)) in self.facets.iter_mut().zip(other.facets) {
            *events += more_events;
            absorb(groups, more);
        }
        self.timed_out |= other.timed_out;
    }

    fn finish(self, plan: &Plan<'_>) -> tantivy::Result<Found<Groups>> {
        let finish = |counted: Option<Counted>, stats: Option<&Stats>| {
            counted.zip(stats).map(|(counted, stats)| counted.finish(stats)).transpose()
        };
        let groups = finish(self.groups, plan.grouped.as_ref().map(|(_, stats)| stats))?;
        let mut facets = Vec::with_capacity(self.facets.len());
        for ((events, counted), facet) in self.facets.into_iter().zip(&plan.facets) {
            facets.push((events, finish(counted, facet.grouping.as_ref())?));
        }
        Ok(Found {
            total: self.total,
            newest: self.newest,
            histogram: self.histogram,
            groups,
            steps: self.steps,
            facets,
            timed_out: self.timed_out,
        })
    }
}

/// Which segment, and what it gave.
type Outcome = (usize, Result<Found<Groups>, IndexError>);

/// The segments in slices, so that all threads have something to do where one segment has most of the
/// documents: which segment, and which of its documents.
pub(crate) fn slices(
    work: &[Work],
    threads: usize,
    documents_min: u32,
) -> Vec<(usize, Range<u32>)> {
    let docs = |(_, searcher, n): &Work| {
        searcher.segment_readers().get(*n).map_or(0, |reader| reader.max_doc())
    };
    let all: u64 = work.iter().map(|work| u64::from(docs(work))).sum();
    let mut slices = Vec::with_capacity(work.len());
    for (at, work) in work.iter().enumerate() {
        let docs = docs(work);
        let share = (u64::from(docs) * threads as u64).div_ceil(all.max(1));
        let count = share.min(u64::from(docs / documents_min.max(1))).max(1);
        let size = docs.div_ceil(u32::try_from(count).unwrap_or(1)).max(1);
        let starts = (0..docs).step_by(size as usize);
        slices.extend(starts.map(|start| (at, start..start.saturating_add(size).min(docs))));
    }
    slices
}

/// What the slices of each segment share; none where there is one.
pub(crate) fn shared(slices: &[(usize, Range<u32>)], segments: usize) -> Vec<Option<Shared>> {
    let mut counts = vec![0; segments];
    for (at, _) in slices {
        if let Some(count) = counts.get_mut(*at) {
            *count += 1;
        }
    }
    counts.into_iter().map(|count| (count > 1).then(|| Shared::new(count))).collect()
}

/// What slices of a segment gave until now, and of how many nothing is known yet.
#[derive(Default)]
struct Gathered {
    left: usize,
    found: Vec<(usize, Result<Found<Counted>, IndexError>)>,
}

/// Puts what a slice gave to the rest of its segment; returns that once it is whole.
fn gather(
    gathered: &Mutex<Vec<Gathered>>,
    at: usize,
    slice: usize,
    found: Result<Found<Counted>, IndexError>,
) -> Option<Result<Found<Counted>, IndexError>> {
    let mut all = gathered.lock().unwrap_or_else(PoisonError::into_inner);
    let segment = all.get_mut(at)?;
    segment.found.push((slice, found));
    segment.left = segment.left.saturating_sub(1);
    if segment.left > 0 {
        return None;
    }
    let mut found = std::mem::take(&mut segment.found);
    drop(all);
    // In their order, so that sums of floats are the same each time.
    found.sort_by_key(|(slice, _)| *slice);
    let parts = found.into_iter().map(|(_, found)| found);
    parts.reduce(|all, more| {
        let mut all = all?;
        all.absorb(more?);
        Ok(all)
    })
}

/// Asks all segments, some at a time.
fn run(plan: &Plan<'_>, histogram: Option<&Histogram>, work: &[Work]) -> Vec<Outcome> {
    // A sequence has room for so many events of a segment, the newest.
    let threads = if plan.sequence.is_some() { 1 } else { plan.request.limits.threads };
    let slices = slices(work, threads, plan.request.limits.slice_documents);
    let mut gathered = Vec::new();
    gathered.resize_with(work.len(), Gathered::default);
    for (at, _) in &slices {
        if let Some(segment) = gathered.get_mut(*at) {
            segment.left += 1;
        }
    }
    let shared = shared(&slices, work.len());
    let gathered = Mutex::new(gathered);
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::with_capacity(work.len()));
    let ask = || {
        loop {
            // The newest partitions first: if time runs out, they matter more.
            let Some(slice) = slices.len().checked_sub(1 + next.fetch_add(1, Ordering::Relaxed))
            else {
                return;
            };
            let Some((at, docs)) = slices.get(slice) else { return };
            let Some((partition, searcher, n)) = work.get(*at) else { return };
            let Some(reader) = searcher.segment_readers().get(*n) else { continue };
            let found = guarded(partition, || {
                let segment = Segment::new(partition, reader, plan.deadline.clone())?
                    .sharing(shared.get(*at).and_then(Option::as_ref));
                slice_answer(plan, histogram, &segment, docs)
            });
            let Some(found) = gather(&gathered, *at, slice, found) else { continue };
            let wrong = IndexError::partition(partition.id, "naming its groups");
            let outcome =
                found.and_then(|found| guarded(partition, || found.finish(plan).map_err(wrong)));
            outcomes.lock().unwrap_or_else(PoisonError::into_inner).push((*at, outcome));
        }
    };
    let threads = plan.request.limits.threads.min(slices.len());
    if threads <= 1 {
        ask();
    } else {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(ask);
            }
        });
    }
    let mut outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_by_key(|(at, _)| *at);
    outcomes
}

fn slice_answer(
    plan: &Plan<'_>,
    histogram: Option<&Histogram>,
    segment: &Segment<'_>,
    docs: &Range<u32>,
) -> Result<Found<Counted>, IndexError> {
    let mut found = Found {
        total: 0,
        newest: Vec::new(),
        histogram: None,
        groups: None,
        steps: Steps::default(),
        facets: Vec::new(),
        timed_out: false,
    };
    match fill(plan, histogram, segment, docs, &mut found) {
        Ok(()) => Ok(found),
        Err(Stop::Timeout | Stop::OverBudget) => {
            found.timed_out = true;
            Ok(found)
        }
        Err(Stop::Failed(error)) => {
            Err(IndexError::partition(segment.partition.id, "searching it")(error))
        }
    }
}

fn fill(
    plan: &Plan<'_>,
    histogram: Option<&Histogram>,
    segment: &Segment<'_>,
    docs: &Range<u32>,
    found: &mut Found<Counted>,
) -> Result<(), Stop> {
    let mut bits = segment.alive();
    bits.cut(docs);
    let Some(bits) = in_range(segment, plan.request.range, bits) else { return Ok(()) };
    let bits = passing(segment, &plan.filter, &bits)?;
    found.total = u64::from(bits.count());
    if found.total == 0 {
        return Ok(());
    }
    if plan.wanted > 0 || histogram.is_some() {
        by_time(plan, histogram, segment, &bits, found)?;
    }
    let groups_max = plan.request.limits.groups;
    if let Some((pipe, stats)) = &plan.grouped {
        found.groups = Some(group::count(segment, &bits, pipe, stats, groups_max)?);
    }
    if let Some((wanted, room)) = &plan.sequence {
        found.steps = sequence::steps(segment, &bits, wanted, room)?;
    }
    for FacetPlan { has, pipe, grouping } in &plan.facets {
        let events = u64::from(passing(segment, has, &bits)?.count());
        let groups = match grouping {
            Some(stats) => Some(group::count(segment, &bits, pipe, stats, groups_max)?),
            None => None,
        };
        found.facets.push((events, groups));
    }
    Ok(())
}

/// One walk over the times: the newest documents and the histogram.
fn by_time(
    plan: &Plan<'_>,
    histogram: Option<&Histogram>,
    segment: &Segment<'_>,
    bits: &Bits,
    found: &mut Found<Counted>,
) -> Result<(), Stop> {
    let mut counts = histogram.map(|histogram| vec![0u64; histogram.counts.len()]);
    let mut newest: BinaryHeap<Reverse<(i64, u32)>> = BinaryHeap::new();
    let mut docs = Vec::with_capacity(BLOCK);
    let mut times = vec![0i64; BLOCK];
    let mut all = bits.iter();
    loop {
        docs.clear();
        docs.extend(all.by_ref().take(BLOCK));
        if docs.is_empty() {
            break;
        }
        segment.check_time()?;
        let times = times.get_mut(..docs.len()).unwrap_or_default();
        segment.columns.time.values.get_vals(&docs, times);
        if let (Some(counts), Some(histogram)) = (&mut counts, histogram) {
            let start = histogram.start.as_nanos();
            for time in times.iter() {
                let bucket = time.saturating_sub(start) / histogram.step_nanos;
                if let Some(count) = usize::try_from(bucket).ok().and_then(|n| counts.get_mut(n)) {
                    *count += 1;
                }
            }
        }
        if plan.wanted == 0 {
            continue;
        }
        for place in times.iter().copied().zip(docs.iter().copied()) {
            if newest.len() < plan.wanted {
                newest.push(Reverse(place));
            // By the whole place, which is the order of the answer: fewer hits are then the first of
            // more, also where all have one time, and pages follow each other.
            } else if newest.peek().is_some_and(|Reverse(oldest)| *oldest < place) {
                newest.pop();
                newest.push(Reverse(place));
            }
        }
    }
    found.newest = newest.into_iter().map(|Reverse(pair)| pair).collect();
    found.histogram = counts;
    Ok(())
}
