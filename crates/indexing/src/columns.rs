//! Which columns a segment has, by the names of fields.

use std::collections::BTreeMap;

use tantivy::SegmentReader;
use tantivy::columnar::{Column, ColumnarReader, DynamicColumn, DynamicColumnHandle};
use tantivy::index::SegmentComponent;

/// What separates the name of a JSON field from the path within, in the names of columns.
const PATH_SEPARATOR: char = '\u{1}';

/// The columns of a segment.
pub(crate) struct Columns {
    /// Of every field with values in columns; several if its values are of several types.
    pub(crate) data: BTreeMap<String, Vec<DynamicColumnHandle>>,
    /// Of every field that has none, but is there.
    pub(crate) kept: BTreeMap<String, DynamicColumnHandle>,
    /// `@timestamp`.
    pub(crate) time: Column<i64>,
}

impl Columns {
    pub(crate) fn read(segment: &SegmentReader) -> tantivy::Result<Columns> {
        let file = segment.open_read(SegmentComponent::FastFields)?;
        let mut data: BTreeMap<String, Vec<DynamicColumnHandle>> = BTreeMap::new();
        let mut kept = BTreeMap::new();
        for (name, handle) in ColumnarReader::open(file)?.list_columns()? {
            match name.split_once(PATH_SEPARATOR) {
                Some(("data", path)) => data.entry(path.to_owned()).or_default().push(handle),
                Some(("kept", path)) => {
                    kept.insert(path.to_owned(), handle);
                }
                _ => {}
            }
        }
        Ok(Columns { data, kept, time: segment.fast_fields().i64("time")? })
    }

    /// The columns of a field, opened.
    pub(crate) fn open(&self, path: &str) -> std::io::Result<Vec<DynamicColumn>> {
        let handles = self.data.get(path).map_or([].as_slice(), Vec::as_slice);
        handles.iter().map(DynamicColumnHandle::open).collect()
    }
}
