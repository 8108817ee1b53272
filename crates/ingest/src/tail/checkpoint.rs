//! How far every file was read, on disk.
//!
//! One small JSON file, written beside and renamed. It is written at most about once a second, and
//! never before what it says is durable on the bus; what came after it is found on the bus itself
//! ([`super::appended`]), from the offsets that it holds.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::TailError;
use super::place::{Id, Passed, Place};

/// The form of the file; another one is refused.
const VERSION: u32 = 1;

/// The largest file that is read: more than all entries with the longest paths.
const BYTES_MAX: u64 = 512 * 1024 * 1024;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    version: u32,
    /// The patterns that were followed, so that what appears under them later is new.
    pub(super) patterns: Vec<String>,
    /// Where each partition of `raw` ended. Nothing that is not in here was appended before.
    pub(super) raw_ends: Vec<u64>,
    pub(super) files: Vec<Entry>,
}

/// A file that is or was followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) id: Id,
    /// Where it was seen last.
    pub(super) path: PathBuf,
    /// The name that its records have.
    pub(super) name: String,
    pub(super) place: Place,
    /// Places that were passed last, in their order.
    #[serde(default)]
    pub(super) passed: Vec<Passed>,
    /// Since when it is gone, in milliseconds since 1970.
    #[serde(default)]
    pub(super) gone_since_ms: Option<i64>,
    /// The file has another text by now, and this one may be in a copy.
    #[serde(default)]
    pub(super) is_overwritten: bool,
}

impl Default for Checkpoint {
    fn default() -> Self {
        let (patterns, raw_ends, files) = Default::default();
        Checkpoint { version: VERSION, patterns, raw_ends, files }
    }
}

impl Checkpoint {
    /// Reads it; `None` if there is none.
    ///
    /// # Errors
    /// One that is there and can't be read is not taken for none: everything would be read again.
    pub(super) fn read(path: &Path) -> Result<Option<Checkpoint>, TailError> {
        let failed = |reason: String| {
            let path = path.to_path_buf();
            TailError::Checkpoint { path, reason }
        };
        let bytes = match fs::metadata(path) {
            Ok(found) if found.len() > BYTES_MAX => {
                return Err(failed(format!("has more than {BYTES_MAX} bytes")));
            }
            Ok(_) => fs::read(path).map_err(|error| failed(error.to_string()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error.to_string())),
        };
        let read: Checkpoint =
            serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))?;
        if read.version != VERSION {
            return Err(failed(format!("has version {}, we read {VERSION}", read.version)));
        }
        Ok(Some(read))
    }

    /// Writes it: whole, or not at all.
    pub(super) fn write(&self, path: &Path) -> std::io::Result<()> {
        let new = path.with_extension("new");
        let mut file = BufWriter::new(File::create(&new)?);
        serde_json::to_writer(&mut file, self)?;
        file.flush()?;
        file.get_ref().sync_all()?;
        fs::rename(&new, path)?;
        match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }
}
