//! Backups: files copied once each, named by what is in them, and a manifest that says which belong
//! together.
//!
//! # What lies where
//!
//! ```text
//! PLACE/objects/3f/3f9a...        a piece of a file, named by its checksum (BLAKE3)
//! PLACE/backups/NAME.json         a manifest: paths, sizes, the pieces of each file
//! PLACE/backups/NAME.sealed       the same, encrypted
//! ```
//!
//! A file is cut into pieces of [`PIECE_BYTES`]; a piece that the place has is not copied again. So a
//! backup is incremental without a chain: each manifest names everything, and any of them can be
//! restored or removed without the others. The manifest is written last; without it there is no
//! backup, whatever was copied before.
//!
//! # Encryption
//!
//! With a [`Key`] each piece is sealed by ChaCha20-Poly1305 under a key of its own, derived from the
//! given one and a random salt, and bound to its name. Names are then checksums under the key too, so
//! that they tell nobody which files these are. A piece that was changed, exchanged or cut is refused.
//!
//! # What it refuses to do
//!
//! Know what the files mean: what is a consistent set of files, and how they become a data folder
//! again, is for those who wrote them. And it never takes a part for the whole: every piece is checked
//! against its name when it is read, and a missing or damaged one is named.

mod create;
mod http;
mod key;
mod manifest;
mod place;
mod read;
mod remove;

pub use create::{Backup, Created};
pub use key::{Key, KeyError};
pub use manifest::{About, FileRecord, Found, Manifest, Partition, find, list, read};
pub use place::{Place, PlaceError};
pub use read::{Fault, Verified, fetch, verify};
pub use remove::{Removed, remove};

/// The largest piece of a file. It is held in memory whole, sent in one request, and the least that is
/// copied again of a file that grew.
pub const PIECE_BYTES: usize = 16 * 1024 * 1024;

/// A failure of a backup or of reading one.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The place where backups are.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A file or folder of this machine.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// With what.
        path: std::path::PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file was cut while it was copied, which files of a snapshot are not.
    #[error(
        "{path} has {found} bytes where {wanted} were expected: it was cut while it was copied"
    )]
    Cut {
        /// Its path in the backup.
        path: String,
        /// How many bytes it has.
        found: u64,
        /// How many it had.
        wanted: u64,
    },
    /// Backups were removed while this one was made, and with them objects that it needs.
    #[error(
        "backups were removed from {place} while this one was made, and {objects} objects that it needs with them; make it again"
    )]
    Removed {
        /// Where.
        place: String,
        /// How many are missing.
        objects: usize,
    },
    /// There is no such backup.
    #[error("there is no backup {name} in {place}; `watchpost backup list` tells which there are")]
    NoSuchBackup {
        /// Its name.
        name: String,
        /// Where.
        place: String,
    },
    /// There is none at all.
    #[error("there is no backup in {0}")]
    Empty(String),
    /// A manifest that cannot be used.
    #[error("the manifest of the backup {name} {problem}")]
    Manifest {
        /// The backup.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// A piece of a file is not there, or not what was stored.
    #[error(
        "{file} cannot be restored from the backup {backup}: {fault}; nothing was put in place. `watchpost backup verify` names all that is damaged; another backup may be whole"
    )]
    Damaged {
        /// The file.
        file: String,
        /// The backup.
        backup: String,
        /// What is wrong.
        fault: Fault,
    },
}

pub(crate) fn io(
    doing: &'static str,
    path: &std::path::Path,
) -> impl FnOnce(std::io::Error) -> BackupError {
    move |source| BackupError::Io { doing, path: path.to_owned(), source }
}
