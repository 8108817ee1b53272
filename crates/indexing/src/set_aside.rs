//! Damaged partitions: moved out of the way, told of, and made again from the log.
//!
//! A partition whose files are not what was written is moved to `index/set-aside`, with a note beside
//! it. Its offsets go with it and the checkpoint is removed, so the log is read again from its
//! beginning: what other partitions have they skip by their own offsets, and only this one's day is
//! filled again. Until that is done, and for as long as the note says that the log no longer had all
//! of it, every answer says that it is not whole. When all of it is back, the damaged files go.
//!
//! The order makes a crash harmless at any point: note, then checkpoint, then the move. A note whose
//! partition still stands in its place is of a move that did not happen.

use std::path::{Path, PathBuf};

use event::Timestamp;
use serde::{Deserialize, Serialize};

use crate::checkpoint::Offsets;
use crate::error::IndexError;
use crate::index::Problem;
use crate::partition::PartitionId;

/// The folder of partitions that were moved away, in the index folder.
const FOLDER: &str = "set-aside";

/// What is known of a partition that was set aside; the note beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) partition: String,
    /// What was found.
    pub(crate) reason: String,
    /// The name of its folder now.
    pub(crate) folder: String,
    /// How many events or alerts it had, if that could still be read.
    pub(crate) documents: Option<u64>,
    /// The checkpoint by then: when the log was read again up to it, all that is left was found.
    pub(crate) until: String,
    /// How many events or alerts the log still had; `None` while it is being read.
    pub(crate) rebuilt: Option<u64>,
}

impl Note {
    pub(crate) fn new(
        id: PartitionId,
        reason: String,
        documents: Option<u64>,
        until: String,
    ) -> Note {
        let folder = format!("{id}-{}", Timestamp::now().as_millis());
        Note { partition: id.to_string(), reason, folder, documents, until, rebuilt: None }
    }

    /// Writes it: whole, or not at all.
    pub(crate) fn write(&self, dir: &Path) -> Result<(), IndexError> {
        let folder = dir.join(FOLDER);
        std::fs::create_dir_all(&folder).map_err(IndexError::io("create the folder", &folder))?;
        let path = self.path(dir);
        let json = serde_json::to_string_pretty(self).unwrap_or_default();
        write_whole(&path, json.as_bytes()).map_err(IndexError::io("write", &path))
    }

    /// Removes what was set aside, and then the note: all of it is back.
    pub(crate) fn remove(&self, dir: &Path) -> Result<(), IndexError> {
        let folder = self.moved_to(dir);
        std::fs::remove_dir_all(&folder).map_err(IndexError::io("remove", &folder))?;
        let path = self.path(dir);
        std::fs::remove_file(&path).map_err(IndexError::io("remove", &path))
    }

    /// Where the files are.
    pub(crate) fn moved_to(&self, dir: &Path) -> PathBuf {
        dir.join(FOLDER).join(&self.folder)
    }

    fn path(&self, dir: &Path) -> PathBuf {
        dir.join(FOLDER).join(format!("{}.json", self.folder))
    }

    /// What is told of it; nothing once all of it is back.
    pub(crate) fn problem(&self, dir: &Path) -> Option<Problem> {
        let Note { partition, reason, documents, rebuilt, .. } = self;
        let place = self.moved_to(dir);
        let place = place.display();
        let told = match (rebuilt, documents) {
            (None, _) => "it is being made again from the log".to_owned(),
            (Some(rebuilt), Some(documents)) if rebuilt >= documents => return None,
            (Some(rebuilt), Some(documents)) => format!(
                "the log had only {rebuilt} of its {documents} documents any more; remove that folder and the note {place}.json to be told no longer"
            ),
            (Some(rebuilt), None) => format!(
                "the log still had {rebuilt} of its documents, and how many there were is not known; remove that folder and the note {place}.json to be told no longer"
            ),
        };
        let reason = format!("{reason}; it was set aside in {place}, and {told}");
        Some(Problem { partition: partition.clone(), reason })
    }
}

/// The notes of an index folder. One that cannot be read is told, and passed by.
pub(crate) fn notes(dir: &Path) -> Vec<Note> {
    let Ok(entries) = std::fs::read_dir(dir.join(FOLDER)) else { return Vec::new() };
    let mut notes = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let read = std::fs::read(&path).ok().and_then(|json| serde_json::from_slice(&json).ok());
        match read {
            Some(note) => notes.push(note),
            None => {
                tracing::warn!(path = %path.display(), "the note of a partition that was set aside cannot be read")
            }
        }
    }
    notes.retain(|note: &Note| note.moved_to(dir).is_dir());
    notes.sort_by(|a, b| a.folder.cmp(&b.folder));
    notes
}

/// Writes a file and syncs it, so that after a crash it is there whole or is as it was.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    let new = path.with_extension("new");
    let mut file = std::fs::File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    match path.parent() {
        Some(folder) => std::fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// How many documents a partition has by its `meta.json`, whatever its other files are like, and how
/// far it was.
pub(crate) fn left_of(folder: &Path) -> Option<(u64, Offsets)> {
    let json = std::fs::read(folder.join("meta.json")).ok()?;
    let meta: serde_json::Value = serde_json::from_slice(&json).ok()?;
    let segments = meta.get("segments")?.as_array()?;
    let documents = segments.iter().try_fold(0, |all, segment| {
        let written = segment.get("max_doc")?.as_u64()?;
        let removed = segment.get("deletes").and_then(|deletes| deletes.get("num_deleted_docs"));
        Some(all + written.saturating_sub(removed.and_then(|n| n.as_u64()).unwrap_or(0)))
    })?;
    let payload = meta.get("payload").and_then(|payload| payload.as_str());
    Some((documents, payload.and_then(Offsets::parse).unwrap_or_default()))
}
