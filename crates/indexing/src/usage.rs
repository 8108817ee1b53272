//! What each dataset takes of a partition, for retention by size.
//!
//! A partition's files hold many datasets together, so a dataset has no bytes of its own. What is
//! told is its share of each segment's files: as much of them as its events' JSON is of all JSON that
//! was written into the segment, that of removed events included. So a removal counts at once, and
//! the share stays honest until the merge that frees the bytes. Partitions of before the column
//! `bytes` are shared out by the number of events.
//!
//! A segment never changes but for removals, so it is looked through once for each number of them.

use std::collections::BTreeMap;
use std::time::Duration;

use tantivy::SegmentReader;
use tantivy::columnar::{Column, DynamicColumn, StrColumn};

use crate::error::IndexError;
use crate::partition::Partition;
use crate::request::Deadline;
use crate::segment::Segment;

/// The field that names a dataset.
pub(crate) const DATASET: &str = "event.dataset";

/// How long looking through one segment may take; it is a walk over two columns.
const SEGMENT_TIME_MAX: Duration = Duration::from_secs(3600);

const MINUTE_NANOS: i64 = 60 * 1_000_000_000;

/// By dataset (empty for events of none), how many events there are and what they take.
pub(crate) type Usage = BTreeMap<String, Share>;

/// What a dataset has of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Share {
    pub(crate) documents: u64,
    /// Its share of the files, in bytes.
    pub(crate) bytes: f64,
}

impl Share {
    pub(crate) fn add(&mut self, other: Share) {
        self.documents += other.documents;
        self.bytes += other.bytes;
    }
}

/// What each dataset takes of a segment.
pub(crate) fn of_segment(
    partition: &Partition,
    reader: &SegmentReader,
) -> Result<Usage, IndexError> {
    let mut usage = Usage::new();
    walk(partition, reader, &mut |dataset, _, bytes| {
        // A name is made once for each dataset, not for each event.
        match usage.get_mut(dataset) {
            Some(share) => share.add(Share { documents: 1, bytes }),
            None => {
                usage.insert(dataset.to_owned(), Share { documents: 1, bytes });
            }
        }
    })?;
    Ok(usage)
}

/// How many bytes some datasets take of a partition, by the minute of the events' time.
pub(crate) fn by_minute(
    partition: &Partition,
    wanted: impl Fn(&str) -> bool,
) -> Result<BTreeMap<i64, f64>, IndexError> {
    let mut minutes = BTreeMap::new();
    for reader in partition.searcher().segment_readers() {
        walk(partition, reader, &mut |dataset, time, bytes| {
            if wanted(dataset) {
                *minutes.entry(time.div_euclid(MINUTE_NANOS)).or_default() += bytes;
            }
        })?;
    }
    Ok(minutes)
}

/// The first moment after a minute.
pub(crate) fn end_of(minute: i64) -> event::Timestamp {
    event::Timestamp::from_nanos(minute.saturating_add(1).saturating_mul(MINUTE_NANOS))
}

/// Shows of every event that is there its dataset, its time and its share of the files.
fn walk(
    partition: &Partition,
    reader: &SegmentReader,
    each: &mut dyn FnMut(&str, i64, f64),
) -> Result<(), IndexError> {
    let wrong = || IndexError::partition(partition.id, "reading what its datasets take");
    let segment = Segment::new(partition, reader, Deadline::within(SEGMENT_TIME_MAX))?;
    let columns = segment.columns.open(DATASET).map_err(|error| wrong()(error.into()))?;
    let names: Option<StrColumn> = columns.into_iter().find_map(|column| match column {
        DynamicColumn::Str(column) => Some(column),
        _ => None,
    });
    let lengths: Option<Column<u64>> = match partition.fields.bytes {
        Some(_) => Some(reader.fast_fields().u64("bytes").map_err(wrong())?),
        None => None,
    };
    let length = |doc: u32| match &lengths {
        Some(column) => column.first(doc).unwrap_or(0) as f64,
        None => 1.0,
    };
    let all: f64 = (0..reader.max_doc()).map(length).sum();
    let files = partition.segment_bytes(reader.segment_id()) as f64;
    let mut known: BTreeMap<u64, String> = BTreeMap::new();
    for doc in segment.alive().iter() {
        let ord = names.as_ref().and_then(|column| column.term_ords(doc).next());
        let name: &str = match (ord, &names) {
            (Some(ord), Some(column)) => match known.entry(ord) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => {
                    let mut name = String::new();
                    column.ord_to_str(ord, &mut name).map_err(|error| wrong()(error.into()))?;
                    entry.insert(name)
                }
            },
            _ => "",
        };
        let share = if all > 0.0 { files * length(doc) / all } else { 0.0 };
        each(name, segment.columns.time.values.get_val(doc), share);
    }
    Ok(())
}
