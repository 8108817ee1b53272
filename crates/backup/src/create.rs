//! Making a backup: what the place lacks is copied, and the manifest is written last.
//!
//! Files are handed over one by one and open, so that whoever owns them may remove them meanwhile.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, Metadata};
use std::io::{Read, Seek};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use event::Timestamp;
use fail::fail_point;

use crate::key::SEAL_BYTES;
use crate::manifest::{About, FORMAT, FileRecord, Manifest, list, read};
use crate::remove::wait_for_removal;
use crate::{BackupError, Key, KeyError, PIECE_BYTES, Place, io};

/// The folder of pieces.
const OBJECTS: &str = "objects";

/// A backup that is being made. It is none until [`Backup::finish`].
pub struct Backup<'a> {
    place: &'a Place,
    key: Option<&'a Key>,
    created: Timestamp,
    /// The pieces that the place has, with their sizes.
    there: HashMap<String, u64>,
    /// What the last backup knew of files, by their paths.
    known: HashMap<String, FileRecord>,
    /// The files that it has, by their paths.
    files: BTreeMap<String, FileRecord>,
    copied_bytes: u64,
}

/// A backup that was made.
#[derive(Debug, Clone)]
pub struct Created {
    /// Its manifest.
    pub manifest: Manifest,
    /// The bytes that were copied; the place had the others.
    pub copied_bytes: u64,
}

impl<'a> Backup<'a> {
    /// Begins a backup, which is encrypted if there is a key.
    ///
    /// # Errors
    /// When the place does not answer.
    pub fn begin(place: &'a Place, key: Option<&'a Key>) -> Result<Backup<'a>, BackupError> {
        Ok(Backup {
            place,
            key,
            created: Timestamp::now(),
            there: pieces(place)?,
            known: known_files(place, key),
            files: BTreeMap::new(),
            copied_bytes: 0,
        })
    }

    /// Adds a file as it is now: what the place lacks of it is copied. What is written to its end
    /// meanwhile is left out, and so is a path that it has already.
    ///
    /// # Errors
    /// When it cannot be read, or the place cannot be written.
    pub fn add(&mut self, path: &str, mut file: &File) -> Result<(), BackupError> {
        if self.files.contains_key(path) {
            return Ok(());
        }
        let failed = || io("read", Path::new(path));
        let about = file.metadata().map_err(failed())?;
        let record = FileRecord {
            path: path.to_owned(),
            bytes: about.len(),
            modified_ns: modified_ns(&about),
            secret: about.permissions().mode() & 0o077 == 0,
            pieces: Vec::new(),
        };
        let known = self.known.get(path).filter(|known| known.is_unchanged(&record));
        if let Some(known) = known.filter(|known| missing(&self.there, self.key, known) == 0) {
            let pieces = known.pieces.clone();
            self.files.insert(path.to_owned(), FileRecord { pieces, ..record });
            return Ok(());
        }
        // Somebody may have read it before.
        file.rewind().map_err(failed())?;
        self.copy(record, file)
    }

    /// Adds a file of this content.
    ///
    /// # Errors
    /// When the place cannot be written.
    pub fn add_bytes(&mut self, path: &str, content: &[u8]) -> Result<(), BackupError> {
        let record = FileRecord {
            path: path.to_owned(),
            bytes: content.len() as u64,
            modified_ns: 0,
            secret: false,
            pieces: Vec::new(),
        };
        self.copy(record, content)
    }

    /// Makes it a backup. `about` says what is known of the files.
    ///
    /// # Errors
    /// When the place cannot be written, or what is needed was removed meanwhile. There is no backup
    /// then; what was copied is not copied again by the next one.
    pub fn finish(self, about: About) -> Result<Created, BackupError> {
        let Backup { place, key, created, files, copied_bytes, .. } = self;
        let name = name(created)?;
        let encrypted = key.is_some();
        let files = files.into_values().collect();
        let manifest = Manifest { format: FORMAT, name, created, encrypted, about, files };
        fail_point!("backup-before-manifest", |_| std::process::abort());
        manifest.write(place, key)?;
        // A removal that began before it could see this manifest may have taken a piece that is also
        // of a backup that is gone.
        wait_for_removal(place)?;
        let there = pieces(place)?;
        let objects: usize = manifest.files.iter().map(|file| missing(&there, key, file)).sum();
        if objects > 0 {
            place.delete(&manifest.found().object())?;
            return Err(BackupError::Removed { place: place.name().to_owned(), objects });
        }
        Ok(Created { manifest, copied_bytes })
    }

    fn copy(&mut self, mut record: FileRecord, content: impl Read) -> Result<(), BackupError> {
        let mut content = content.take(record.bytes);
        let mut found = 0;
        loop {
            let mut piece = Vec::new();
            let mut part = content.by_ref().take(PIECE_BYTES as u64);
            part.read_to_end(&mut piece).map_err(io("read", Path::new(&record.path)))?;
            if piece.is_empty() {
                break;
            }
            found += piece.len() as u64;
            record.pieces.push(self.piece(piece)?);
        }
        if found != record.bytes {
            return Err(BackupError::Cut { path: record.path, found, wanted: record.bytes });
        }
        self.files.insert(record.path.clone(), record);
        fail_point!("backup-between-files", |_| std::process::abort());
        Ok(())
    }

    /// Copies a piece if the place lacks it, and returns its name.
    fn piece(&mut self, piece: Vec<u8>) -> Result<String, BackupError> {
        let name = name_of(self.key, &piece);
        let stored = stored_bytes(self.key, piece.len() as u64);
        if self.there.get(&name) == Some(&stored) {
            return Ok(name);
        }
        let object = object(&name);
        let bytes = match self.key {
            Some(key) => key.seal(&object, &piece)?,
            None => piece,
        };
        self.place.put(&object, bytes)?;
        self.copied_bytes += stored;
        self.there.insert(name.clone(), stored);
        Ok(name)
    }
}

/// What the last backup under this key knew of files. If it cannot be read, every file is read.
fn known_files(place: &Place, key: Option<&Key>) -> HashMap<String, FileRecord> {
    let all = list(place).unwrap_or_default();
    let last = all.iter().rev().find(|found| found.sealed == key.is_some());
    let manifest = last.and_then(|found| read(place, key, found).ok());
    let files = manifest.map(|manifest| manifest.files).unwrap_or_default();
    files.into_iter().map(|file| (file.path.clone(), file)).collect()
}

/// `20261127T013000.250Z-5e2a`: names sort by time.
fn name(created: Timestamp) -> Result<String, BackupError> {
    let mut random = [0; 2];
    getrandom::fill(&mut random).map_err(|error| KeyError::Random(error.to_string()))?;
    let time = created.to_string();
    let time: String =
        time.chars().take("2026-11-27T01:30:00".len()).filter(|c| !"-:".contains(*c)).collect();
    let millis = created.as_millis().rem_euclid(1000);
    Ok(format!("{time}.{millis:03}Z-{:04x}", u16::from_be_bytes(random)))
}

/// The pieces that a place has, with their sizes as stored.
pub(crate) fn pieces(place: &Place) -> Result<HashMap<String, u64>, BackupError> {
    let objects = place.list(OBJECTS)?.into_iter();
    Ok(objects
        .filter_map(|(below, bytes)| Some((below.rsplit_once('/')?.1.to_owned(), bytes)))
        .collect())
}

/// Where a piece lies: in a folder of those that begin alike, because folders of many files are slow.
pub(crate) fn object(piece: &str) -> String {
    format!("{OBJECTS}/{}/{piece}", piece.get(..2).unwrap_or_default())
}

/// The name of a piece.
pub(crate) fn name_of(key: Option<&Key>, piece: &[u8]) -> String {
    match key {
        Some(key) => key.name_of(piece),
        None => blake3::hash(piece).to_hex().to_string(),
    }
}

/// How many pieces of a file are not there, whole.
fn missing(there: &HashMap<String, u64>, key: Option<&Key>, file: &FileRecord) -> usize {
    let mut left = file.bytes;
    let mut is_there = |name: &String| {
        let bytes = left.min(PIECE_BYTES as u64);
        left -= bytes;
        there.get(name) == Some(&stored_bytes(key, bytes))
    };
    file.pieces.iter().filter(|name| !is_there(name)).count()
}

fn stored_bytes(key: Option<&Key>, bytes: u64) -> u64 {
    bytes + if key.is_some() { SEAL_BYTES as u64 } else { 0 }
}

fn modified_ns(about: &Metadata) -> u64 {
    let since = about.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.and_then(|since| u64::try_from(since.as_nanos()).ok()).unwrap_or(0)
}
