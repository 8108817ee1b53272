//! Takes out of a partition what passes a filter: exactly what a search for it would find.
//!
//! Tantivy is given the filter as a query of its own kind, which it asks of every segment when the
//! removal is committed, also of those that were written in between. So what retention and purges
//! remove is decided by the same function as what analysts find, and no list of documents has to be
//! kept anywhere. Removed documents are not found from the commit on; their bytes go when the segment
//! is merged.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use query::Filter;
use tantivy::query::{
    BitSetDocSet, ConstScorer, EnableScoring, Explanation, Query, Scorer, Weight,
};
use tantivy::{BitSet, DocId, SegmentReader, TantivyError};

use crate::bits::Bits;
use crate::error::IndexError;
use crate::filter::passing;
use crate::index::guarded;
use crate::partition::Partition;
use crate::request::Deadline;
use crate::segment::{Segment, Stop};

/// How long the filter may take over one segment. Nobody waits for an answer, so it is only there to
/// tell a segment that never ends.
const SEGMENT_TIME_MAX: Duration = Duration::from_secs(3600);

/// What is to be removed from a partition.
#[derive(Clone)]
pub(crate) struct Removal {
    pub(crate) partition: Arc<Partition>,
    pub(crate) filter: Filter,
}

impl Removal {
    /// How many committed documents it would remove.
    pub(crate) fn count(&self) -> Result<u64, IndexError> {
        let partition = &self.partition;
        guarded(partition, || {
            let mut count = 0;
            for reader in partition.searcher().segment_readers() {
                let bits = self
                    .bits(reader)
                    .map_err(IndexError::partition(partition.id, "counting what is removed"))?;
                count += u64::from(bits.count());
            }
            Ok(count)
        })
    }

    /// The documents of a segment that are there and pass.
    fn bits(&self, reader: &SegmentReader) -> tantivy::Result<Bits> {
        let failed = |error: String| TantivyError::InternalError(error);
        let deadline = Deadline::within(SEGMENT_TIME_MAX);
        let segment = Segment::new(&self.partition, reader, deadline)
            .map_err(|error| failed(error.to_string()))?;
        passing(&segment, &self.filter, &segment.alive()).map_err(|stop| match stop {
            Stop::Failed(error) => error,
            Stop::Timeout | Stop::OverBudget => {
                failed(format!("the filter took more than {SEGMENT_TIME_MAX:?}"))
            }
        })
    }
}

impl fmt::Debug for Removal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Removal({}, {:?})", self.partition.id, self.filter)
    }
}

impl Query for Removal {
    fn weight(&self, _scoring: EnableScoring<'_>) -> tantivy::Result<Box<dyn Weight>> {
        Ok(Box::new(self.clone()))
    }
}

impl Weight for Removal {
    fn scorer(&self, reader: &SegmentReader, boost: f32) -> tantivy::Result<Box<dyn Scorer>> {
        let mut docs = BitSet::with_max_value(reader.max_doc());
        for doc in self.bits(reader)?.iter() {
            docs.insert(doc);
        }
        Ok(Box::new(ConstScorer::new(BitSetDocSet::from(docs), boost)))
    }

    fn explain(&self, _reader: &SegmentReader, _doc: DocId) -> tantivy::Result<Explanation> {
        Ok(Explanation::new("a filter of the search language", 1.0))
    }
}
