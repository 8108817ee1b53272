//! What a backup may copy of an index, while another process writes it.
//!
//! A commit never changes a file: it adds segments and replaces `meta.json`, and a segment that no
//! `meta.json` names any more is removed. So the files that it names, opened while removal is locked
//! out (tantivy has a lock for readers of other processes), are a partition as of one commit, however
//! long they are read and whatever is removed meanwhile.
//!
//! Partitions are taken one after the other, and need not be of the same moment. The checkpoint is
//! taken before all of them, so each has what lies below it, and its own offsets say what it has beyond:
//! it is the state that a crash might have left (see `checkpoint`), and is gone on from like that.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use tantivy::Directory;
use tantivy::directory::{META_LOCK, MmapDirectory};
use tantivy::index::SegmentComponent;

use crate::checkpoint::{self, Offsets};
use crate::error::IndexError;

/// What every segment has.
const COMPONENTS: [SegmentComponent; 6] = [
    SegmentComponent::Postings,
    SegmentComponent::Positions,
    SegmentComponent::Terms,
    SegmentComponent::Store,
    SegmentComponent::FastFields,
    SegmentComponent::FieldNorms,
];

/// The list of a partition and that of the files which it may remove.
const META: &str = "meta.json";
const MANAGED: &str = ".managed.json";

/// The folder of partitions that could not be used.
const SET_ASIDE: &str = "set-aside";

/// An index as it was at some moment, or a little later.
pub struct Snapshot {
    /// The index folder.
    dir: PathBuf,
    /// The identity of the log that it was made from; empty if it was made from none.
    pub log: String,
    /// What lies beside the partitions: the checkpoint and other small files, by their names.
    pub files: Vec<(String, File)>,
    /// The names of the partitions.
    pub partitions: Vec<String>,
}

/// A partition as it was after some commit.
pub struct PartitionSnapshot {
    /// How many events or alerts it has.
    pub documents: u64,
    /// The files of its segments, by their names. They stay as they are.
    pub files: Vec<(String, File)>,
    /// The files that say which segments it has, as they must be.
    pub lists: Vec<(&'static str, Vec<u8>)>,
}

impl Snapshot {
    /// Begins a snapshot of the index of a data folder.
    ///
    /// # Errors
    /// When there is no index, or it cannot be read.
    pub fn of(data_dir: &Path) -> Result<Snapshot, IndexError> {
        let dir = data_dir.join("index");
        if !dir.is_dir() {
            return Err(IndexError::Missing(data_dir.to_owned()));
        }
        let mut files = Vec::new();
        let mut log = String::new();
        // Before anything else: what is below it is in the partitions already.
        let path = dir.join(checkpoint::FILE);
        if let Some(mut file) =
            if_there(File::open(&path)).map_err(IndexError::io("read", &path))?
        {
            let mut json = Vec::new();
            file.read_to_end(&mut json).map_err(IndexError::io("read", &path))?;
            let offsets = str::from_utf8(&json).ok().and_then(Offsets::parse);
            log = offsets.map(|offsets| offsets.log().to_owned()).unwrap_or_default();
            files.push((checkpoint::FILE.to_owned(), file));
        }
        let mut partitions = Vec::new();
        let failed = || IndexError::io("list", &dir);
        for entry in std::fs::read_dir(&dir).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = entry.path();
            if path.is_dir() {
                if name != SET_ASIDE && path.join(META).exists() {
                    partitions.push(name);
                }
            } else if name != checkpoint::FILE && !is_temporary(&name) {
                let opened = if_there(File::open(&path)).map_err(IndexError::io("read", &path))?;
                files.extend(opened.map(|file| (name, file)));
            }
        }
        partitions.sort();
        Ok(Snapshot { dir, log, files, partitions })
    }

    /// Takes a partition; `None` if it was dropped meanwhile.
    ///
    /// # Errors
    /// When it cannot be read, or a file of it is missing.
    pub fn partition(&self, name: &str) -> Result<Option<PartitionSnapshot>, IndexError> {
        let dir = self.dir.join(name);
        match take(&dir, name) {
            Err(_) if !dir.join(META).exists() => Ok(None),
            taken => taken.map(Some),
        }
    }
}

fn take(dir: &Path, name: &str) -> Result<PartitionSnapshot, IndexError> {
    let wrong = || IndexError::partition(name, "taking a snapshot of it");
    let index = MmapDirectory::open(dir)
        .map_err(tantivy::TantivyError::from)
        .and_then(tantivy::Index::open)
        .map_err(wrong())?;
    let lock = index.directory().acquire_lock(&META_LOCK);
    let _no_removal = lock.map_err(|error| wrong()(error.into()))?;
    let metas = index.load_metas().map_err(wrong())?;
    let mut files = Vec::new();
    for segment in &metas.segments {
        let deletes = segment.has_deletes().then_some(SegmentComponent::Delete);
        for component in COMPONENTS.into_iter().chain(deletes) {
            let file = segment.relative_path(component);
            let path = dir.join(&file);
            let opened = File::open(&path).map_err(IndexError::io("read", &path))?;
            files.push((file.to_string_lossy().into_owned(), opened));
        }
    }
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).chain([META]).collect();
    let json = |made: serde_json::Result<Vec<u8>>| {
        made.map_err(|error| IndexError::Damaged {
            partition: name.to_owned(),
            reason: error.to_string(),
        })
    };
    Ok(PartitionSnapshot {
        documents: metas.segments.iter().map(|segment| u64::from(segment.num_docs())).sum(),
        lists: vec![
            (META, json(serde_json::to_vec(&metas))?),
            (MANAGED, json(serde_json::to_vec(&names))?),
        ],
        files,
    })
}

/// What is being written to be renamed, and locks.
fn is_temporary(name: &str) -> bool {
    name.ends_with(".new") || name.ends_with(".lock") || name.ends_with(".tmp")
}

fn if_there(opened: std::io::Result<File>) -> std::io::Result<Option<File>> {
    match opened {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
