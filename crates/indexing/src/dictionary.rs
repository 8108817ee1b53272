//! Which terms of a column's dictionary pass a test.
//!
//! To look through a dictionary of millions of command lines is most of the time of `*part*`. The
//! slices of a segment have one dictionary, so their threads share that work: each takes parts of it
//! until none is left, and then has the answers of all.

use std::ops::{self, Range};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use query::{Bound, Scalar, Test};
use tantivy::columnar::StrColumn;

use crate::filter::CLOCK_EVERY;
use crate::segment::{Segment, Stop};

/// How many terms a part has at least: finding its ends takes as long as some hundred terms.
const PART_TERMS_MIN: usize = 8192;

/// The most parts of a dictionary.
const PARTS_MAX: usize = 64;

/// What the threads of one search found out of a segment, by field and test.
pub(crate) struct Shared {
    slices: usize,
    known: Mutex<Vec<(String, Test, Arc<Verdicts>)>>,
}

struct Verdicts {
    /// The next part that nobody took.
    next: AtomicUsize,
    /// For each part, the ordinals of the terms that pass.
    parts: Vec<OnceLock<Result<Vec<u64>, Stop>>>,
}

impl Shared {
    pub(crate) fn new(slices: usize) -> Shared {
        Shared { slices, known: Mutex::default() }
    }

    /// How many slices there are.
    pub(crate) fn slices(&self) -> usize {
        self.slices
    }

    fn verdicts(&self, path: &str, test: &Test, terms: usize) -> Arc<Verdicts> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let same = known.iter().find(|(field, asked, _)| field == path && asked == test);
        if let Some((.., verdicts)) = same {
            return verdicts.clone();
        }
        let parts = (terms / PART_TERMS_MIN).clamp(1, PARTS_MAX);
        let parts = (0..parts).map(|_| OnceLock::new()).collect();
        let verdicts = Arc::new(Verdicts { next: AtomicUsize::new(0), parts });
        known.push((path.to_owned(), test.clone(), verdicts.clone()));
        verdicts
    }
}

/// The ordinals of the terms that pass, in order.
pub(crate) fn accepted(
    segment: &Segment<'_>,
    path: &str,
    column: &StrColumn,
    test: &Test,
) -> Result<Vec<u64>, Stop> {
    let wanted = possible(column, test)?;
    let Some(shared) = segment.shared else {
        return among(segment, column, test, wanted);
    };
    let terms = wanted.end.saturating_sub(wanted.start) as usize;
    let verdicts = shared.verdicts(path, test, terms);
    let start = |part: usize| wanted.start + (part * terms / verdicts.parts.len()) as u64;
    let look = |part: usize| among(segment, column, test, start(part)..start(part + 1));
    loop {
        let taken = verdicts.next.fetch_add(1, Ordering::Relaxed);
        let Some(part) = verdicts.parts.get(taken) else { break };
        part.get_or_init(|| look(taken));
    }
    let mut ords = Vec::new();
    for (n, part) in verdicts.parts.iter().enumerate() {
        // Waits for whoever took it; one that failed to answer is looked through here.
        match part.get_or_init(|| look(n)) {
            Ok(found) => ords.extend_from_slice(found),
            Err(stop) => return Err(stop.clone()),
        }
    }
    Ok(ords)
}

/// The terms that may pass: of a range of numbers, only what begins as a number does.
fn possible(column: &StrColumn, test: &Test) -> Result<Range<u64>, Stop> {
    let terms = column.num_terms() as u64;
    let is_number = |bound: &Bound| match bound {
        Bound::Open => false,
        Bound::Including(term) | Bound::Excluding(term) => term.number().is_some(),
    };
    match test {
        Test::Range { low, high } if is_number(low) || is_number(high) => {
            // From the signs to behind the digits.
            let (low, high) = (ops::Bound::Included("+"), ops::Bound::Excluded(":"));
            let (low, high) = column.dictionary().term_bounds_to_ord(low, high)?;
            let ord = |bound| match bound {
                ops::Bound::Included(ord) | ops::Bound::Excluded(ord) => terms.min(ord),
                ops::Bound::Unbounded => terms,
            };
            Ok(ord(low)..ord(high))
        }
        _ => Ok(0..terms),
    }
}

fn among(
    segment: &Segment<'_>,
    column: &StrColumn,
    test: &Test,
    wanted: Range<u64>,
) -> Result<Vec<u64>, Stop> {
    let dictionary = column.dictionary();
    let (mut first, mut end) = (Vec::new(), Vec::new());
    let mut range = dictionary.range();
    if wanted.start > 0 && dictionary.ord_to_term(wanted.start, &mut first)? {
        range = range.ge(&first);
    }
    if dictionary.ord_to_term(wanted.end, &mut end)? {
        range = range.lt(&end);
    }
    let mut stream = range.into_stream()?;
    let (mut ords, mut folded) = (Vec::new(), String::new());
    for ord in wanted {
        if ord.is_multiple_of(CLOCK_EVERY as u64) {
            segment.check_time()?;
        }
        if !stream.advance() {
            break;
        }
        let Ok(text) = std::str::from_utf8(stream.key()) else { continue };
        let passes = match test {
            Test::Like(glob) => {
                query::fold_into(text, &mut folded);
                glob.matches_folded(&folded)
            }
            other => other.accepts(Scalar::Text(text)),
        };
        if passes {
            ords.push(ord);
        }
    }
    Ok(ords)
}
