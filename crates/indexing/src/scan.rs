//! Reads everything that passes a filter, whole: for what no statistic over columns can tell.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::bits::Bits;
use crate::error::IndexError;
use crate::filter;
use crate::index::guarded;
use crate::request::{Deadline, Partial, SearchRequest};
use crate::search::{Searcher, shared, slices};
use crate::segment::{Segment, Stop};
use query::Filter;

/// How many documents are read between two looks at the clock.
const CLOCK_EVERY: usize = 128;

/// What a scan came to.
#[derive(Debug)]
pub struct Scan<T> {
    /// What each of the threads made of what it was shown.
    pub states: Vec<T>,
    /// How many events the range of time has.
    pub in_range: u64,
    /// How many of them passed the filter and were shown.
    pub shown: u64,
    /// Why it is not whole, if it is not.
    pub partial: Vec<Partial>,
}

impl Searcher {
    /// Shows the JSON of every event that passes the request's filter, in no order. Each thread has a
    /// state of its own, begun by `begin`. Pipes are not looked at, and the limits are the request's
    /// time and threads alone.
    pub fn scan<T: Send>(
        &self,
        request: &SearchRequest<'_>,
        begin: impl Fn() -> T + Sync,
        each: impl Fn(&mut T, &[u8]) + Sync,
    ) -> Scan<T> {
        let deadline = Deadline::new(Instant::now() + request.limits.time, &request.limits.cancel);
        let mut filters = vec![request.query.filter.clone()];
        filters.extend(request.only.cloned());
        let passing = Filter::and(filters);
        let (work, partial) = self.work(request);
        let slices = slices(&work, request.limits.threads, request.limits.slice_documents);
        let shared = shared(&slices, work.len());
        let next = AtomicUsize::new(0);
        let scan = Mutex::new(Scan { states: Vec::new(), in_range: 0, shown: 0, partial });
        let run = || {
            let mut state = begin();
            let (mut in_range, mut shown, mut partial) = (0, 0, Vec::new());
            while let Some((at, docs)) = slices.get(next.fetch_add(1, Ordering::Relaxed)) {
                let Some((partition, searcher, n)) = work.get(*at) else { continue };
                let Some(reader) = searcher.segment_readers().get(*n) else { continue };
                let read = guarded(partition, || {
                    let segment = Segment::new(partition, reader, deadline.clone())?
                        .sharing(shared.get(*at).and_then(Option::as_ref));
                    let mut show = |json: &[u8]| each(&mut state, json);
                    let mut bits = segment.alive();
                    bits.cut(docs);
                    let Some(bits) = filter::in_range(&segment, request.range, bits) else {
                        return Ok(true);
                    };
                    in_range += u64::from(bits.count());
                    match read(&segment, &passing, &bits, &mut shown, &mut show) {
                        Ok(()) => Ok(true),
                        Err(Stop::Timeout | Stop::OverBudget) => Ok(false),
                        Err(Stop::Failed(error)) => {
                            Err(IndexError::partition(partition.id, "reading it")(error))
                        }
                    }
                });
                match read {
                    Ok(true) => {}
                    Ok(false) => {
                        partial.push(Partial::Timeout(request.limits.time));
                        break;
                    }
                    Err(error) => partial.push(Partial::Partition {
                        partition: partition.id.to_string(),
                        reason: error.to_string(),
                    }),
                }
            }
            let mut scan = scan.lock().unwrap_or_else(PoisonError::into_inner);
            scan.in_range += in_range;
            scan.shown += shown;
            for reason in partial {
                if !scan.partial.contains(&reason) {
                    scan.partial.push(reason);
                }
            }
            scan.states.push(state);
        };
        let threads = request.limits.threads.min(slices.len());
        if threads <= 1 {
            run();
        } else {
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(run);
                }
            });
        }
        scan.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(
    segment: &Segment<'_>,
    passing: &Filter,
    within: &Bits,
    shown: &mut u64,
    show: &mut dyn FnMut(&[u8]),
) -> Result<(), Stop> {
    for (n, doc) in filter::passing(segment, passing, within)?.iter().enumerate() {
        if n % CLOCK_EVERY == 0 {
            segment.check_time()?;
        }
        show(&segment.source(doc)?);
        *shown += 1;
    }
    Ok(())
}
