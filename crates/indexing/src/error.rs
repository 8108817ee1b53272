//! What can go wrong with the index, and where.

use std::path::{Path, PathBuf};

/// A failure of the index.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// A file or folder.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A partition.
    #[error("the index partition {partition} failed while {doing}: {source}")]
    Partition {
        /// Which.
        partition: String,
        /// What was being done.
        doing: &'static str,
        /// What tantivy said.
        source: tantivy::TantivyError,
    },
    /// A partition has files that are not what they should be.
    #[error("the index partition {partition} is damaged: {reason}")]
    Damaged {
        /// Which.
        partition: String,
        /// What is wrong.
        reason: String,
    },
    /// Something is to be written to an index that was opened for reading.
    #[error("the index in {} was opened for reading only", .0.display())]
    ReadOnly(PathBuf),
    /// A legal hold.
    #[error("{0}")]
    Hold(String),
    /// A query that says what is held or purged.
    #[error("{0}")]
    Query(String),
    /// A damaged partition must be made again from the log before anything else is done.
    #[error(
        "a damaged day of the index must be made again from the bus first; run the server until it is"
    )]
    Rebuilding,
    /// Another process writes the index.
    #[error("the index in {} is written by another process; stop it first", .0.display())]
    InUse(PathBuf),
    /// A cluster that stands for the index.
    #[error("the cluster: {0}")]
    Cluster(String),
    /// The folder has no index.
    #[error("there is no index in {}; has `watchpost run` or `watchpost import` used this data folder?", .0.display())]
    Missing(PathBuf),
}

impl IndexError {
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| IndexError::Io { doing, path: path.to_owned(), source }
    }

    pub(crate) fn partition(
        partition: impl ToString,
        doing: &'static str,
    ) -> impl FnOnce(tantivy::TantivyError) -> Self {
        move |source| IndexError::Partition { partition: partition.to_string(), doing, source }
    }
}
