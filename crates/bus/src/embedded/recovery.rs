//! What must be put right in a data folder before its store is opened.
//!
//! The store recovers by itself from a journal that just ends early. Two things it does not forgive,
//! and a loss of power can leave both behind:
//!
//! - The last batch of the journal reaches its full length, but some of its pages never reached the
//!   disk. Its checksum is wrong, and the store refuses to open. Such a batch was never
//!   acknowledged, since a sync had not returned: it is cut off, and its bytes are kept in a file
//!   beside the journal. A wrong batch *before* a right one is another matter: that was acknowledged
//!   and is damaged, and a person must decide.
//! - The folder is made, but the marker that ends its making is not. Nothing was ever stored, so the
//!   making starts again.
//!
//! The form of the journal is fjall's (`journal/entry.rs` of version 3): a start with a count, items,
//! an end with their XXH3 and a trailer.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use crate::BusError;

const VERSION_FILE: &str = "version";
const LOCK_FILE: &str = "lock";
const TRAILER: &[u8; 4] = b"FJL\x03";
const END_BYTES: usize = 1 + 8 + TRAILER.len();

/// Prepares a folder, which may not exist yet.
pub(super) fn prepare(path: &Path) -> Result<(), BusError> {
    let open =
        |reason: io::Error| BusError::Open { path: path.to_owned(), reason: reason.to_string() };
    std::fs::create_dir_all(path).map_err(open)?;
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path.join(LOCK_FILE))
        .map_err(open)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(BusError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => return Err(open(error)),
    }
    let version = path.join(VERSION_FILE);
    let is_made = version.metadata().is_ok_and(|metadata| metadata.len() > 0);
    if is_made {
        if let Some(journal) = newest_journal(path).map_err(open)? {
            cut_torn_tail(&journal)?;
        }
    } else {
        restart_making(path).map_err(open)?;
    }
    // The lock ends here with its file; the store takes it again for as long as it is open.
    Ok(())
}

fn restart_making(path: &Path) -> io::Result<()> {
    for file in [path.join(VERSION_FILE), path.join("0.jnl")] {
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn newest_journal(path: &Path) -> io::Result<Option<PathBuf>> {
    let mut newest = None;
    for file in std::fs::read_dir(path)? {
        let path = file?.path();
        let is_journal = path.extension().is_some_and(|extension| extension == "jnl");
        let number = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .and_then(|stem| stem.parse::<u64>().ok());
        if let (true, Some(number)) = (is_journal, number) {
            newest = newest.max(Some((number, path)));
        }
    }
    Ok(newest.map(|(_, path)| path))
}

/// Cuts off a last batch whose bytes are not what was written.
fn cut_torn_tail(journal: &Path) -> Result<(), BusError> {
    let failed = |source: io::Error| BusError::storage("checking the journal", source);
    let bytes = std::fs::read(journal).map_err(failed)?;
    let whole = whole_batches(&bytes);
    let tail = without_reserve(bytes.get(whole..).unwrap_or_default());
    // A batch that just ends early has no trailer; the store itself forgets it.
    let trailer = tail.windows(TRAILER.len()).rposition(|window| window == TRAILER);
    let Some(trailer) = trailer else { return Ok(()) };
    let tail = tail.get(..trailer + TRAILER.len()).unwrap_or_default();
    if has_whole_batch(tail) {
        return Err(BusError::Open {
            path: journal.to_owned(),
            reason: format!(
                "the journal is damaged at byte {whole}, before records that were acknowledged; \
                 restore a backup, or cut the file there and lose what follows"
            ),
        });
    }
    let kept = journal.with_extension(format!("torn-{whole}"));
    File::create(&kept)
        .and_then(|mut file| file.write_all(tail).and_then(|()| file.sync_all()))
        .map_err(failed)?;
    let file = OpenOptions::new().write(true).open(journal).map_err(failed)?;
    file.set_len(whole as u64).and_then(|()| file.sync_all()).map_err(failed)?;
    tracing::warn!(journal = %journal.display(), at = whole, bytes = tail.len(), kept = %kept.display(),
        "cut off a batch that was being written when the machine stopped; it was not acknowledged");
    Ok(())
}

/// The bytes without the zeros behind them: fjall reserves 64 MiB for a journal.
fn without_reserve(mut bytes: &[u8]) -> &[u8] {
    const ZEROS: [u8; 4096] = [0; 4096];
    while let Some((rest, ZEROS)) = bytes.split_last_chunk::<4096>().map(|(r, c)| (r, *c)) {
        bytes = rest;
    }
    bytes
}

/// The end of the last batch such that it and all before it are whole.
fn whole_batches(bytes: &[u8]) -> usize {
    let mut end = 0;
    while let Some(batch) = bytes.get(end..).and_then(batch_len) {
        end += batch;
    }
    end
}

/// Whether a whole batch lies anywhere in the bytes. Looks at each trailer, so it takes long only on
/// a journal full of them, which is one that must not be cut.
fn has_whole_batch(bytes: &[u8]) -> bool {
    (1..bytes.len()).any(|start| {
        let rest = bytes.get(start..).unwrap_or_default();
        rest.first() == Some(&1) && batch_len(rest).is_some()
    })
}

/// The length of the batch at the start of the bytes, if it is whole.
fn batch_len(bytes: &[u8]) -> Option<usize> {
    let (&tag, rest) = bytes.split_first()?;
    let (count, rest) = rest.split_first_chunk::<4>()?;
    let (_sequence, mut rest) = rest.split_first_chunk::<8>()?;
    if tag != 1 {
        return None;
    }
    let mut hasher = Xxh3::new();
    for _ in 0..u32::from_le_bytes(*count) {
        let item = item_len(rest)?;
        let (item, after) = rest.split_at_checked(item)?;
        hasher.update(item);
        rest = after;
    }
    let (end, after) = rest.split_first_chunk::<END_BYTES>()?;
    let [tag, sum @ .., _, _, _, _] = end;
    let is_end = *tag == 3 && sum == &hasher.digest().to_le_bytes() && end.ends_with(TRAILER);
    is_end.then(|| bytes.len() - after.len())
}

/// The length of the item at the start of the bytes, if its lengths can be read.
fn item_len(bytes: &[u8]) -> Option<usize> {
    // tag, kind, compression, keyspace, length of key, of value, of stored value
    const CLEAR_BYTES: usize = 1 + 8;
    match bytes.first()? {
        2 => {
            // The tag of the compression is one byte; fjall gives LZ4 and none no parameters.
            let (_, lengths) = bytes.split_at_checked(3 + 8)?;
            let (key, lengths) = lengths.split_first_chunk::<2>()?;
            let (_value, lengths) = lengths.split_first_chunk::<4>()?;
            let (stored, _) = lengths.split_first_chunk::<4>()?;
            let key = usize::from(u16::from_le_bytes(*key));
            (3 + 8 + 10 + key).checked_add(u32::from_le_bytes(*stored) as usize)
        }
        4 => Some(CLEAR_BYTES),
        _ => None,
    }
}
