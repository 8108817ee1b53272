//! Which file it is, and how far it was read.
//!
//! A device and an inode name a file only while it exists: the next one may get the same inode, and
//! a file that is emptied keeps it. So a [`Place`] also knows what stands at the file's beginning
//! and just before the place itself, as hashes. A file continues where that is still so; otherwise
//! it is another text, and begins at its beginning. Both grow with what was read, so a file of one
//! line has an identity as well as a large one.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use serde::{Deserialize, Serialize};

/// How much of a file is hashed, at its beginning and before the place.
pub(super) const STAMP_BYTES: usize = 1024;

/// The device and the inode of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Id {
    device: u64,
    inode: u64,
}

/// How many bytes, and their hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Stamp {
    pub(super) bytes: u64,
    hash: u64,
}

/// How far a file was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Place {
    /// All before it is done with.
    pub(super) position: u64,
    /// Whether it is within a line that is left out.
    #[serde(default)]
    pub(super) is_skipping: bool,
    /// What the file begins with.
    pub(super) head: Stamp,
    /// What stands just before the position.
    pub(super) before: Stamp,
    /// Of a file that is read as a whole: how many of its records are done.
    #[serde(default)]
    pub(super) records: u64,
    /// Of a Windows event log: the highest record id of what was read to its end.
    #[serde(default)]
    pub(super) record_id: u64,
}

/// A place that was passed: enough to know a text by, together with its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Passed {
    position: u64,
    before: Stamp,
}

/// How many passed places are kept of a file: about the last second of one that is written to.
pub(super) const PASSED_MAX: usize = 8;

impl Id {
    pub(super) fn of(found: &Metadata) -> Id {
        Id { device: found.dev(), inode: found.ino() }
    }
}

impl Stamp {
    pub(super) fn of(bytes: &[u8]) -> Stamp {
        // Nothing has the hash that a place has by default.
        if bytes.is_empty() {
            return Stamp::default();
        }
        Stamp { bytes: bytes.len() as u64, hash: xxhash_rust::xxh3::xxh3_64(bytes) }
    }

    fn of_file(file: &File, from: u64, bytes: u64) -> io::Result<Stamp> {
        let mut buffer = [0; STAMP_BYTES];
        let wanted = buffer.get_mut(..bytes as usize).unwrap_or_default();
        let read = read_at(file, wanted, from)?;
        Ok(Stamp::of(wanted.get(..read).unwrap_or_default()))
    }

    /// Whether it is full, so that it says much.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= STAMP_BYTES as u64
    }
}

impl Place {
    /// The place at a position of a file that was not read.
    pub(super) fn at(file: &File, position: u64) -> io::Result<Place> {
        let bytes = position.min(STAMP_BYTES as u64);
        let head = Stamp::of_file(file, 0, bytes)?;
        let before = Stamp::of_file(file, position - bytes, bytes)?;
        Ok(Place { position, head, before, ..Place::default() })
    }

    /// Whether this is the text that was read up to here.
    pub(super) fn is_in(&self, file: &File) -> io::Result<bool> {
        if file.metadata()?.len() < self.position {
            return Ok(false);
        }
        let before = self.position - self.before.bytes.min(self.position);
        Ok(Stamp::of_file(file, 0, self.head.bytes)? == self.head
            && Stamp::of_file(file, before, self.before.bytes)? == self.before)
    }

    /// Where to go on in a copy of the text that was read up to here; `None` if it is none.
    ///
    /// What was written after the copy was made and before the file was emptied is not in the copy.
    /// We may have read it: the copy then ends before the place. It is known by an earlier one.
    pub(super) fn in_copy(&self, passed: &[Passed], copy: &File) -> io::Result<Option<Place>> {
        let size = copy.metadata()?.len();
        if size >= self.position {
            return Ok(self.is_in(copy)?.then_some(*self));
        }
        let earlier = passed.iter().rev().find(|passed| passed.position <= size);
        let Some(&Passed { position, before }) = earlier else { return Ok(None) };
        // What follows the earlier place was read as well if this is the copy, and is doubled. But
        // it would be lost if it is not.
        let place = Place { position, before, is_skipping: false, ..*self };
        Ok(place.is_in(copy)?.then_some(place))
    }

    /// This place, as one that was passed.
    pub(super) fn passed(&self) -> Passed {
        Passed { position: self.position, before: self.before }
    }

    /// Goes on by `taken` bytes. `bytes` is what stands from [`Place::stamp_from`] on.
    pub(super) fn advance(&mut self, bytes: &[u8], taken: usize) {
        let known = self.before.bytes as usize;
        let read = bytes.get(..known + taken).unwrap_or(bytes);
        if !self.head.is_full() && self.stamp_from() == 0 {
            self.head = Stamp::of(read.get(..STAMP_BYTES).unwrap_or(read));
        }
        self.before = Stamp::of(read.get(read.len().saturating_sub(STAMP_BYTES)..).unwrap_or(read));
        self.position += taken as u64;
    }

    /// Where the bytes begin that stand just before the place.
    pub(super) fn stamp_from(&self) -> u64 {
        self.position - self.before.bytes.min(self.position)
    }
}

/// Fills the buffer from a position of the file, as far as the file goes.
pub(super) fn read_at(file: &File, buffer: &mut [u8], from: u64) -> io::Result<usize> {
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, from + length as u64) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}
