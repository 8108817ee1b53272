//! One segment as a search sees it.

use std::cell::OnceCell;
use std::sync::Arc;

use tantivy::schema::Value;
use tantivy::store::StoreReader;
use tantivy::{SegmentReader, TantivyDocument};

use crate::bits::Bits;
use crate::columns::Columns;
use crate::dictionary::Shared;
use crate::error::IndexError;
use crate::partition::Partition;
use crate::request::Deadline;

/// Blocks of documents that a search keeps decompressed. It reads in order, so it needs one.
const STORE_BLOCKS_KEPT: usize = 2;

/// Why a search of a segment ended early.
#[derive(Debug, Clone)]
pub(crate) enum Stop {
    /// Its time was up.
    Timeout,
    /// It would have kept more than the request may.
    OverBudget,
    /// It cannot be read.
    Failed(tantivy::TantivyError),
}

impl From<tantivy::TantivyError> for Stop {
    fn from(error: tantivy::TantivyError) -> Self {
        Stop::Failed(error)
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Stop::Failed(error.into())
    }
}

/// A segment, and what a search needs to read it.
pub(crate) struct Segment<'a> {
    pub(crate) partition: &'a Partition,
    pub(crate) reader: &'a SegmentReader,
    pub(crate) columns: Arc<Columns>,
    /// What threads find out for all slices of it, if there are several.
    pub(crate) shared: Option<&'a Shared>,
    deadline: Deadline,
    store: OnceCell<StoreReader>,
}

impl<'a> Segment<'a> {
    pub(crate) fn new(
        partition: &'a Partition,
        reader: &'a SegmentReader,
        deadline: Deadline,
    ) -> Result<Self, IndexError> {
        let columns = partition.columns(reader)?;
        Ok(Segment { partition, reader, columns, shared: None, deadline, store: OnceCell::new() })
    }

    /// The same, for one of several slices.
    pub(crate) fn sharing(self, shared: Option<&'a Shared>) -> Self {
        Segment { shared, ..self }
    }

    /// How many slices of it are searched.
    pub(crate) fn slices(&self) -> usize {
        self.shared.map_or(1, Shared::slices)
    }

    /// All documents but the replaced ones.
    pub(crate) fn alive(&self) -> Bits {
        let mut bits = Bits::full(self.reader.max_doc());
        if let Some(alive) = self.reader.alive_bitset() {
            for doc in 0..self.reader.max_doc() {
                if alive.is_deleted(doc) {
                    bits.remove(doc);
                }
            }
        }
        bits
    }

    /// Called now and then by whatever may take long.
    pub(crate) fn check_time(&self) -> Result<(), Stop> {
        if self.deadline.is_over() { Err(Stop::Timeout) } else { Ok(()) }
    }

    /// The JSON of a document.
    pub(crate) fn source(&self, doc: u32) -> Result<Vec<u8>, Stop> {
        let store = match self.store.get() {
            Some(store) => store,
            None => {
                let opened = self.reader.get_store_reader(STORE_BLOCKS_KEPT)?;
                self.store.get_or_init(|| opened)
            }
        };
        let document: TantivyDocument = store.get(doc)?;
        let bytes = document
            .get_first(self.partition.fields.source)
            .and_then(|value| value.as_leaf().and_then(|leaf| leaf.as_bytes()))
            .unwrap_or_default();
        Ok(bytes.to_vec())
    }
}
