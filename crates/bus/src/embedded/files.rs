//! Entry files: where large entries lie, written once.
//!
//! The store below writes each byte twice, to its journal and to a table. For small entries that is
//! the price of one write and one sync for everything; for large ones it is half of the disk. So
//! entries from [`SEPARATE_BYTES_MIN`] on are appended to plain files, one at a time for each topic,
//! and the store keeps a pointer under the entry's key. WiscKey and RocksDB's BlobDB do the same.
//!
//! A file is synced *before* the batch that points into it is, and only the batch counts. A crash
//! leaves at most bytes that nothing points to, so there is nothing to recover and no second truth.
//! No file is written to after the log was closed: each opening begins new ones. A file is removed
//! once no segment that is kept points into it, by retention or when the log is opened.
//!
//! What it costs: a second sync for a group that has large entries, a file for each topic being
//! written, and disk that is given back by whole files of [`FILE_BYTES_MAX`].

use std::collections::{BTreeSet, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::consumer::lock;
use crate::{BusError, Topic};

/// Entries of this size, as stored, and above are written to files. Below it a second sync costs more
/// than writing the bytes twice (`benches/README.md`).
pub(super) const SEPARATE_BYTES_MIN: usize = 16 * 1024;

/// No entry is added to a file of this size, so it is the grain in which disk is given back.
pub(super) const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// So many files of a topic are held open for readers, the newest and those read last: one for each
/// partition that two late groups read in different places.
const OPEN_FILES_MAX: usize = 8;

/// The folder of all entry files, within the data folder.
pub(super) const FOLDER: &str = "entries";

/// The number of a file among those of its topic. Numbers grow in the order of writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileNumber(pub(super) NonZeroU64);

/// Where an entry lies; what the store keeps instead of its bytes.
///
/// ```text
/// u8 0x81 | 3 bytes zero | u32 length | u64 position | u64 file number
/// ```
///
/// The first byte of an entry is its version, and no entry's has the highest bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pointer {
    pub(super) file: FileNumber,
    position: u64,
    /// The length of the entry.
    pub(super) bytes: u32,
}

impl Pointer {
    /// The highest bit tells a pointer, the others its version.
    const FORM: u8 = 0x80 | 1;

    const BYTES: usize = 24;

    pub(super) fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[0] = Self::FORM;
        bytes[4..8].copy_from_slice(&self.bytes.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.position.to_le_bytes());
        bytes[16..].copy_from_slice(&self.file.0.get().to_le_bytes());
        bytes
    }

    /// `None` if the value is no pointer; it is an entry then, or damaged.
    pub(super) fn decode(value: &[u8]) -> Option<Pointer> {
        let (form, rest) = value.split_first_chunk::<4>()?;
        let (bytes, rest) = rest.split_first_chunk::<4>()?;
        let (position, number) = rest.split_first_chunk::<8>()?;
        let number = u64::from_le_bytes(number.try_into().ok()?);
        (*form == [Self::FORM, 0, 0, 0]).then_some(Pointer {
            file: FileNumber(NonZeroU64::new(number)?),
            position: u64::from_le_bytes(*position),
            bytes: u32::from_le_bytes(*bytes),
        })
    }
}

/// The entry files of one topic.
pub(super) struct EntryFiles {
    folder: PathBuf,
    topic: Topic,
    /// The file being written, once there is one. The committer's, but for [`Self::unreferenced`].
    current: Mutex<Option<Current>>,
    known: Mutex<Known>,
}

struct Current {
    number: FileNumber,
    file: Arc<File>,
    bytes: u64,
    is_synced: bool,
}

struct Known {
    /// All that are on the disk.
    on_disk: BTreeSet<FileNumber>,
    newest: u64,
    /// Open for reading, the one that was read last in front.
    open: VecDeque<(FileNumber, Arc<File>)>,
}

impl EntryFiles {
    /// Finds the files of a topic, in a folder that there is.
    pub(super) fn open(folder: &Path, topic: Topic) -> io::Result<Self> {
        let mut on_disk = BTreeSet::new();
        for file in std::fs::read_dir(folder)? {
            on_disk.extend(file?.file_name().to_str().and_then(|name| number_of(name, topic)));
        }
        let newest = on_disk.last().map_or(0, |FileNumber(number)| number.get());
        Ok(EntryFiles {
            folder: folder.to_owned(),
            topic,
            current: Mutex::default(),
            known: Mutex::new(Known { on_disk, newest, open: VecDeque::new() }),
        })
    }

    /// Writes an entry to the end of the newest file. It is durable after [`Self::sync`].
    pub(super) fn append(&self, entry: &[u8]) -> io::Result<Pointer> {
        let mut current = lock(&self.current);
        let current = match &mut *current {
            Some(current) if current.bytes < FILE_BYTES_MAX => current,
            current => {
                if let Some(full) = current {
                    full.sync()?;
                }
                current.insert(self.create()?)
            }
        };
        let bytes = u32::try_from(entry.len()).map_err(io::Error::other)?;
        current.file.write_all_at(entry, current.bytes)?;
        let pointer = Pointer { file: current.number, position: current.bytes, bytes };
        current.bytes += u64::from(bytes);
        current.is_synced = false;
        Ok(pointer)
    }

    /// Makes durable what was appended.
    pub(super) fn sync(&self) -> io::Result<()> {
        lock(&self.current).as_mut().map_or(Ok(()), Current::sync)
    }

    fn create(&self) -> io::Result<Current> {
        let mut known = lock(&self.known);
        known.newest += 1;
        let number = FileNumber(NonZeroU64::new(known.newest).expect("it was increased"));
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).open(self.path(number))?;
        sync_folder(&self.folder)?;
        let file = Arc::new(file);
        known.on_disk.insert(number);
        known.keep_open(number, Arc::clone(&file));
        Ok(Current { number, file, bytes: 0, is_synced: true })
    }

    /// Reads an entry into `entry`, whatever is in it. The error's kind is `NotFound` or
    /// `UnexpectedEof` if the file is missing or too short.
    pub(super) fn read(&self, pointer: &Pointer, entry: &mut Vec<u8>) -> io::Result<()> {
        let file = self.file(pointer.file)?;
        let length = file.metadata()?.len();
        // Before memory is taken for it: a length may be damaged, too.
        if pointer.position.checked_add(pointer.bytes.into()).is_none_or(|end| end > length) {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        entry.resize(pointer.bytes as usize, 0);
        file.read_exact_at(entry, pointer.position)
    }

    fn file(&self, number: FileNumber) -> io::Result<Arc<File>> {
        let mut known = lock(&self.known);
        let found = known.open.iter().position(|(open, _)| *open == number);
        let file = match found.and_then(|index| known.open.remove(index)) {
            Some((_, file)) => file,
            None => Arc::new(File::open(self.path(number))?),
        };
        known.keep_open(number, Arc::clone(&file));
        Ok(file)
    }

    /// The files that hold nothing but what nobody points to. Only while nothing is written: the
    /// newest may be among them, and is not written to any more then.
    pub(super) fn unreferenced(&self, referenced: &BTreeSet<FileNumber>) -> Vec<FileNumber> {
        let mut current = lock(&self.current);
        if current.as_ref().is_some_and(|current| !referenced.contains(&current.number)) {
            *current = None;
        }
        lock(&self.known).on_disk.difference(referenced).copied().collect()
    }

    /// Removes files. One that cannot be removed is tried again with the next.
    pub(super) fn remove(&self, numbers: &[FileNumber]) -> Result<(), BusError> {
        let mut removed = Ok(());
        for &number in numbers {
            match std::fs::remove_file(self.path(number)) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    removed = Err(BusError::storage("removing a file of old records", error));
                }
                _ => {
                    let mut known = lock(&self.known);
                    known.on_disk.remove(&number);
                    // A handle would keep the disk from being given back.
                    known.open.retain(|(open, _)| *open != number);
                }
            }
        }
        removed
    }

    /// The next entry begins a new file.
    #[cfg(test)]
    pub(super) fn roll(&self) {
        self.sync().unwrap();
        *lock(&self.current) = None;
    }

    /// Entries are written to this instead.
    #[cfg(test)]
    pub(super) fn write_to(&self, file: File) {
        lock(&self.current).as_mut().unwrap().file = Arc::new(file);
    }

    pub(super) fn path(&self, FileNumber(number): FileNumber) -> PathBuf {
        self.folder.join(format!("{}-{number:020}", self.topic))
    }
}

impl Current {
    fn sync(&mut self) -> io::Result<()> {
        if !self.is_synced {
            // It also syncs the length, without which the data could not be read back.
            self.file.sync_data()?;
            self.is_synced = true;
        }
        Ok(())
    }
}

impl Known {
    fn keep_open(&mut self, number: FileNumber, file: Arc<File>) {
        self.open.push_front((number, file));
        self.open.truncate(OPEN_FILES_MAX);
    }
}

/// Makes the folder of entry files, durably.
pub(super) fn prepare(data: &Path) -> io::Result<PathBuf> {
    let folder = data.join(FOLDER);
    match std::fs::create_dir(&folder) {
        Ok(()) => sync_folder(data)?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    Ok(folder)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn number_of(name: &str, topic: Topic) -> Option<FileNumber> {
    let number = name.strip_prefix(topic.as_str())?.strip_prefix('-')?;
    number.parse().ok().map(FileNumber)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_told_from_an_entry() {
        let file = FileNumber(NonZeroU64::new(7).unwrap());
        let pointer = Pointer { file, position: 1 << 40, bytes: 5 };
        let encoded = pointer.encode();
        assert_eq!(Pointer::decode(&encoded), Some(pointer));
        assert_eq!(Pointer::decode(&encoded[..23]), None);
        assert_eq!(Pointer::decode(&[&encoded[..], &[0]].concat()), None);
        for index in 0..4 {
            let mut other = encoded;
            other[index] ^= 0x80;
            assert_eq!(Pointer::decode(&other), None);
        }
    }

    #[test]
    fn files_are_rolled_and_few_are_held_open() {
        let folder = tempfile::tempdir().unwrap();
        let files = EntryFiles::open(folder.path(), Topic::Raw).unwrap();
        let mut pointers = Vec::new();
        for byte in 0..2 * OPEN_FILES_MAX as u8 {
            // As if so much had been written.
            if let Some(current) = &mut *lock(&files.current) {
                current.bytes = FILE_BYTES_MAX;
            }
            pointers.push(files.append(&[byte; 100]).unwrap());
            files.sync().unwrap();
        }
        let mut entry = Vec::new();
        for (byte, pointer) in pointers.iter().enumerate() {
            assert_eq!((pointer.file.0.get(), pointer.position), (byte as u64 + 1, 0));
            files.read(pointer, &mut entry).unwrap();
            assert_eq!(entry, [byte as u8; 100]);
            assert!(lock(&files.known).open.len() <= OPEN_FILES_MAX);
        }
        // Numbers are not used again, as long as one file is left.
        let kept = pointers.last().unwrap().file;
        files.remove(&files.unreferenced(&BTreeSet::from([kept]))).unwrap();
        let files = EntryFiles::open(folder.path(), Topic::Raw).unwrap();
        assert_eq!(files.unreferenced(&BTreeSet::new()), [kept]);
        assert!(files.append(b"next").unwrap().file > kept);
        let other_topic = EntryFiles::open(folder.path(), Topic::Events).unwrap();
        assert_eq!(other_topic.unreferenced(&BTreeSet::new()), []);
        let gone = files.read(&pointers[0], &mut entry).unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::NotFound);
        let beyond = Pointer { bytes: u32::MAX, ..pointers[15] };
        assert_eq!(files.read(&beyond, &mut entry).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }
}
