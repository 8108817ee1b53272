//! Reading backups: fetching their files, and verifying them. Nothing is taken without its checksum.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use fail::fail_point;

use crate::create::{name_of, object};
use crate::manifest::{FileRecord, Manifest};
use crate::{BackupError, Key, Place, io};

/// What is wrong with a file of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A piece is not there.
    #[error("an object is missing")]
    Missing,
    /// A piece is not what was stored, or sealed under another key.
    #[error("an object is damaged")]
    Damaged,
    /// All pieces are right, and they are not the whole file.
    #[error("its objects are not as long as it is")]
    Short,
}

/// What a backup turned out to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Files looked at.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What is wrong: the file, the object if it is one, and why.
    pub faults: Vec<(String, Option<String>, Fault)>,
}

/// Fetches all files of a backup into an empty folder, each piece checked, each file synced.
///
/// # Errors
/// With the first file that has a missing or damaged piece, and when something cannot be read or
/// written. What is in the folder then must not be used.
pub fn fetch(
    place: &Place,
    key: Option<&Key>,
    manifest: &Manifest,
    folder: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<(), BackupError> {
    let key = key_of(manifest, key);
    let mut folders: BTreeSet<&Path> = BTreeSet::new();
    let mut done = 0;
    for file in &manifest.files {
        let path = folder.join(&file.path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(io("make", parent))?;
        }
        write(place, key, manifest, file, &path)?;
        folders.extend(Path::new(&file.path).ancestors().skip(1));
        fail_point!("restore-between-files", |_| std::process::abort());
        done += file.bytes;
        progress(done);
    }
    for below in folders {
        let path = folder.join(below);
        File::open(&path).and_then(|folder| folder.sync_all()).map_err(io("sync", &path))?;
    }
    Ok(())
}

fn write(
    place: &Place,
    key: Option<&Key>,
    manifest: &Manifest,
    file: &FileRecord,
    path: &Path,
) -> Result<(), BackupError> {
    let damaged = |fault| BackupError::Damaged {
        file: file.path.clone(),
        backup: manifest.name.clone(),
        fault,
    };
    let failed = || io("write", path);
    let mode = if file.secret { 0o600 } else { 0o644 };
    let mut options = OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(mode).open(path);
    let mut out = opened.map_err(failed())?;
    let mut bytes = 0;
    for name in &file.pieces {
        let piece = piece(place, key, name)?.map_err(damaged)?;
        out.write_all(&piece).map_err(failed())?;
        bytes += piece.len() as u64;
    }
    if bytes != file.bytes {
        return Err(damaged(Fault::Short));
    }
    out.sync_all().map_err(failed())
}

/// Reads every object of a backup, and says which are missing or damaged.
///
/// # Errors
/// When the place does not answer.
pub fn verify(
    place: &Place,
    key: Option<&Key>,
    manifest: &Manifest,
    progress: &mut dyn FnMut(u64),
) -> Result<Verified, BackupError> {
    let key = key_of(manifest, key);
    let mut verified = Verified::default();
    // Files may share pieces: equal ones do.
    let mut seen: BTreeMap<&str, Result<u64, Fault>> = BTreeMap::new();
    for file in &manifest.files {
        let mut bytes = 0;
        let mut is_whole = true;
        for name in &file.pieces {
            let found = match seen.get(name.as_str()) {
                Some(found) => *found,
                None => {
                    let found = piece(place, key, name)?.map(|piece| piece.len() as u64);
                    seen.insert(name, found);
                    found
                }
            };
            match found {
                Ok(found) => bytes += found,
                Err(fault) => {
                    is_whole = false;
                    verified.faults.push((file.path.clone(), Some(object(name)), fault));
                }
            }
        }
        if is_whole && bytes != file.bytes {
            verified.faults.push((file.path.clone(), None, Fault::Short));
        }
        verified.files += 1;
        verified.bytes += file.bytes;
        progress(verified.bytes);
    }
    Ok(verified)
}

/// Reads a piece, and checks that it is what its name says.
fn piece(
    place: &Place,
    key: Option<&Key>,
    name: &str,
) -> Result<Result<Vec<u8>, Fault>, BackupError> {
    let object = object(name);
    let Some(bytes) = place.get(&object)? else { return Ok(Err(Fault::Missing)) };
    let bytes = match key {
        Some(key) => key.open(&object, &bytes),
        None => Some(bytes),
    };
    Ok(bytes.filter(|bytes| name_of(key, bytes) == name).ok_or(Fault::Damaged))
}

/// The key that a backup's pieces are sealed with.
fn key_of<'k>(manifest: &Manifest, key: Option<&'k Key>) -> Option<&'k Key> {
    key.filter(|_| manifest.encrypted)
}
