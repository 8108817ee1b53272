//! The manifest: which files a backup has, of which pieces, and what is known of it.
//!
//! It is JSON, below a line with its checksum; or sealed, which checks it too.

use std::path::{Component, Path};

use event::Timestamp;
use serde::{Deserialize, Serialize};

use crate::key::KeyError;
use crate::{BackupError, Key, Place};

/// The form of manifests; another one is not read.
pub(crate) const FORMAT: u32 = 1;

/// The folder of manifests.
pub(crate) const FOLDER: &str = "backups";

const PLAIN: &str = ".json";
const SEALED: &str = ".sealed";

/// A backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The form of this manifest.
    pub format: u32,
    /// The name: its time, and some random digits.
    pub name: String,
    /// When it was begun. What came later may be missing.
    pub created: Timestamp,
    /// Whether its pieces are sealed.
    pub encrypted: bool,
    /// What is known of the files.
    pub about: About,
    /// The files.
    pub files: Vec<FileRecord>,
}

/// What those who make a backup know of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The version of Watchpost that made it.
    pub version: String,
    /// The identity of the log that the index was made from.
    pub log: String,
    /// The partitions of the index.
    pub partitions: Vec<Partition>,
    /// What should be in it and is not, and why.
    pub left_out: Vec<String>,
}

/// A partition of the index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// Its name.
    pub name: String,
    /// How many events or alerts it has.
    pub documents: u64,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Its path in the data folder.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// When it was last changed, in nanoseconds since 1970. With the same size it is the same file
    /// the next time, and is not read again.
    pub modified_ns: u64,
    /// Whether only its owner may read it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secret: bool,
    /// The names of its pieces, in order.
    pub pieces: Vec<String>,
}

/// A backup that a place has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// Its name; names sort by time.
    pub name: String,
    /// Whether it is encrypted.
    pub sealed: bool,
}

impl FileRecord {
    /// Whether a file is the one that was copied, as far as the system tells. What has no time is not
    /// known to be.
    pub(crate) fn is_unchanged(&self, now: &FileRecord) -> bool {
        self.bytes == now.bytes && self.modified_ns == now.modified_ns && self.modified_ns > 0
    }
}

impl Manifest {
    /// The bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    pub(crate) fn write(&self, place: &Place, key: Option<&Key>) -> Result<(), BackupError> {
        let wrong = |problem: String| BackupError::Manifest { name: self.name.clone(), problem };
        let json = serde_json::to_vec(self).map_err(|error| wrong(error.to_string()))?;
        let object = self.found().object();
        let bytes = match key {
            Some(key) => key.seal(&object, &json)?,
            None => {
                let mut bytes = blake3::hash(&json).to_hex().as_bytes().to_vec();
                bytes.push(b'\n');
                bytes.extend_from_slice(&json);
                bytes
            }
        };
        Ok(place.put(&object, bytes)?)
    }

    pub(crate) fn found(&self) -> Found {
        Found { name: self.name.clone(), sealed: self.encrypted }
    }
}

impl Found {
    pub(crate) fn object(&self) -> String {
        format!("{FOLDER}/{}{}", self.name, if self.sealed { SEALED } else { PLAIN })
    }
}

/// The backups of a place, oldest first.
///
/// # Errors
/// When the place does not answer.
pub fn list(place: &Place) -> Result<Vec<Found>, BackupError> {
    let objects = place.list(FOLDER)?;
    let mut found: Vec<Found> = objects
        .keys()
        .filter_map(|object| {
            let plain = object.strip_suffix(PLAIN).map(|name| (name, false));
            let (name, sealed) = plain.or(object.strip_suffix(SEALED).map(|name| (name, true)))?;
            Some(Found { name: name.to_owned(), sealed })
        })
        .collect();
    found.sort();
    Ok(found)
}

/// The backup of this name, or the newest.
///
/// # Errors
/// When there is none.
pub fn find(place: &Place, name: Option<&str>) -> Result<Found, BackupError> {
    let all = list(place)?;
    match name {
        None => all.into_iter().next_back().ok_or_else(|| BackupError::Empty(place.name().into())),
        Some(name) => all.into_iter().find(|found| found.name == name).ok_or_else(|| {
            BackupError::NoSuchBackup { name: name.to_owned(), place: place.name().to_owned() }
        }),
    }
}

/// Reads a manifest.
///
/// # Errors
/// When it is not there, is damaged, or is sealed under another key.
pub fn read(place: &Place, key: Option<&Key>, found: &Found) -> Result<Manifest, BackupError> {
    let name = found.name.as_str();
    let wrong = |problem: &str| BackupError::Manifest {
        name: name.to_owned(),
        problem: problem.to_owned(),
    };
    let object = found.object();
    let bytes = place.get(&object)?.ok_or_else(|| wrong("is gone"))?;
    let json = match (found.sealed, key) {
        (true, None) => return Err(KeyError::Missing(name.to_owned()).into()),
        (true, Some(key)) => key
            .open(&object, &bytes)
            .ok_or_else(|| KeyError::DoesNotOpen(format!("the manifest of the backup {name}")))?,
        (false, _) => {
            let at = bytes.iter().position(|byte| *byte == b'\n');
            let (sum, json) = at.and_then(|at| bytes.split_at_checked(at)).unwrap_or_default();
            let json = json.strip_prefix(b"\n").unwrap_or_default();
            if blake3::hash(json).to_hex().as_bytes() != sum {
                return Err(wrong("is damaged: its checksum is another"));
            }
            json.to_vec()
        }
    };
    let manifest: Manifest = serde_json::from_slice(&json)
        .map_err(|error| wrong(&format!("cannot be read: {error}")))?;
    if manifest.format != FORMAT {
        return Err(wrong("has a form that this version of Watchpost does not know"));
    }
    if manifest.name != name {
        return Err(wrong("is that of another backup"));
    }
    if !manifest.files.iter().all(|file| is_below(&file.path)) {
        return Err(wrong("names files outside of the data folder"));
    }
    Ok(manifest)
}

/// Whether a path stays in the folder that it is put behind.
fn is_below(path: &str) -> bool {
    !path.is_empty()
        && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::is_below;

    #[test]
    fn a_manifest_cannot_name_what_is_elsewhere() {
        for path in ["index/a", "token", "a/.b"] {
            assert!(is_below(path), "{path}");
        }
        for path in ["", "/etc/passwd", "../a", "a/../../b", "./a"] {
            assert!(!is_below(path), "{path}");
        }
    }
}
