//! The events that a sequence is looked for among, from columns, without reading documents.
//!
//! Only what passes one of the steps matters, and of that only the time, the id, the entity and
//! which steps it passes. Putting these in order and following them is the query crate's.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use event::Timestamp;
use query::{Cell, Sequence, Step};

use crate::bits::Bits;
use crate::filter::{CLOCK_EVERY, passing};
use crate::group::Coder;
use crate::segment::{Segment, Stop};

/// What a segment has for a sequence.
#[derive(Default)]
pub(crate) struct Steps {
    pub(crate) steps: Vec<Step>,
    /// Whether there was no room for all; the oldest were left out then.
    pub(crate) left_out: bool,
}

/// Whether a sequence's entities can be had from columns alone.
pub(crate) fn is_columnar(sequence: &Sequence) -> bool {
    sequence.by.iter().all(|field| !query::is_text(field) && !query::is_unsearched(field))
}

/// The events among these that pass a step, as long as there is room.
pub(crate) fn steps(
    segment: &Segment<'_>,
    bits: &Bits,
    sequence: &Sequence,
    room: &AtomicUsize,
) -> Result<Steps, Stop> {
    let mut passes = Vec::with_capacity(sequence.steps.len());
    for step in &sequence.steps {
        passes.push(passing(segment, step, bits)?);
    }
    let time = |doc: u32| segment.columns.time.values.get_val(doc);
    let mut docs: Vec<u32> = bits.iter().collect();
    let before = room
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |room| {
            Some(room.saturating_sub(docs.len()))
        })
        .unwrap_or(0);
    let left_out = docs.len() > before;
    if left_out {
        docs.sort_by_key(|doc| std::cmp::Reverse((time(*doc), *doc)));
        docs.truncate(before);
        docs.sort_unstable();
    }
    let ids = values(segment, "event.id", &docs)?;
    let mut keys = Vec::with_capacity(sequence.by.len());
    for field in &sequence.by {
        keys.push(values(segment, field, &docs)?);
    }
    let mut steps = Vec::with_capacity(docs.len());
    for (n, doc) in docs.iter().enumerate() {
        let id = match ids.get(n).and_then(|ids| ids.first()) {
            Some(Cell::Text(id)) => id.as_str().into(),
            _ => Arc::from(""),
        };
        let passed = (0..).zip(&passes).fold(0, |all, (bit, passes): (u32, &Bits)| {
            all | u32::from(passes.contains(*doc)) << bit
        });
        steps.push(Step {
            at: Timestamp::from_nanos(time(*doc)),
            id,
            passes: passed,
            keys: keys.iter().map(|of| of.get(n).cloned().unwrap_or_default()).collect(),
        });
    }
    Ok(Steps { steps, left_out })
}

/// The different values of a field in each of these documents.
fn values(segment: &Segment<'_>, field: &str, docs: &[u32]) -> Result<Vec<Vec<Cell>>, Stop> {
    let mut coder = Coder::new(segment, field, None)?;
    let mut codes = Vec::with_capacity(docs.len());
    for (n, doc) in docs.iter().enumerate() {
        if n % CLOCK_EVERY == 0 {
            segment.check_time()?;
        }
        codes.push(coder.codes(*doc));
    }
    let names: HashMap<u32, Cell, _> = coder.cells(codes.iter().flatten().copied().collect())?;
    let cells =
        |codes: Vec<u32>| codes.iter().filter_map(|code| names.get(code).cloned()).collect();
    Ok(codes.into_iter().map(cells).collect())
}
