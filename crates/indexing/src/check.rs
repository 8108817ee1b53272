//! Whether the files of sealed segments are still what was written: tantivy ends each with a checksum.
//!
//! Opening a partition reads little of it, so a flipped byte would be met by some search one day, or
//! would make it answer wrongly. Checking reads everything, about as fast as the disk gives it.

use std::collections::BTreeSet;
use std::path::Path;

use tantivy::SegmentReader;

use crate::error::IndexError;
use crate::index::Index;
use crate::partition::{Partition, PartitionId};

/// What a check of a partition's files came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Which.
    pub partition: PartitionId,
    /// How many files were read.
    pub files: usize,
    /// How many bytes they have.
    pub bytes: u64,
    /// What is wrong; nothing if all is well.
    pub damage: Vec<String>,
}

impl Index {
    /// Reads the files of a partition's sealed segments and compares their checksums; `None` if there
    /// is no such partition. What is damaged is set aside by whoever writes the index.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn check(&self, id: PartitionId) -> Result<Option<Checked>, IndexError> {
        let Some(partition) = self.inner.partition(id) else { return Ok(None) };
        let checked = check(&partition)?;
        if !checked.damage.is_empty() {
            partition.suspect();
        }
        Ok(Some(checked))
    }
}

/// Checks a partition. Segments that a merge takes away meanwhile are none of it any more.
pub(crate) fn check(partition: &Partition) -> Result<Checked, IndexError> {
    let mut checked = Checked { partition: partition.id, files: 0, bytes: 0, damage: Vec::new() };
    // What a search has open stays readable, whatever is removed from the folder.
    let searcher = partition.searcher();
    let segments: Vec<String> = searcher
        .segment_readers()
        .iter()
        .map(SegmentReader::segment_id)
        .map(|id| id.uuid_string())
        .collect();
    let list = || std::fs::read_dir(&partition.dir).map_err(IndexError::io("list", &partition.dir));
    let mut names: BTreeSet<String> = BTreeSet::new();
    for entry in list()? {
        let name = entry.map_err(IndexError::io("list", &partition.dir))?.file_name();
        names.extend(name.to_str().map(str::to_owned));
    }
    names.retain(|name| segments.iter().any(|segment| name.starts_with(segment)));
    for name in names {
        let path = partition.dir.join(&name);
        let length = std::fs::metadata(&path).map(|meta| meta.len()).unwrap_or_default();
        let holds = partition.index.directory().validate_checksum(Path::new(&name));
        if !path.exists() {
            continue;
        }
        checked.files += 1;
        checked.bytes += length;
        match holds {
            Ok(true) => {}
            Ok(false) => checked.damage.push(format!("the checksum of {name} does not hold")),
            Err(error) => checked.damage.push(format!("{name} cannot be read: {error}")),
        }
    }
    Ok(checked)
}
