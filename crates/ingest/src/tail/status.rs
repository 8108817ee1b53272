//! How each followed file is, for whoever shows it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use event::Timestamp;

/// A followed file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Where it is now.
    pub path: PathBuf,
    /// The name that its records have: where it was when it was met.
    pub name: String,
    /// How many of its bytes are done with.
    pub position: u64,
    /// How many it has.
    pub size: u64,
    /// When something of it was read last; `None` if nothing was since the start.
    pub last_read: Option<Timestamp>,
    /// Whether no path leads to it any more; it is read to its end.
    pub is_gone: bool,
    /// Why it can't be read.
    pub problem: Option<String>,
}

/// The files as they were at most about a second ago. Clones show the same.
#[derive(Debug, Clone, Default)]
pub struct Statuses(Arc<Mutex<Vec<Status>>>);

impl Statuses {
    /// All files, in the order in which they were met.
    pub fn get(&self) -> Vec<Status> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set(&self, files: Vec<Status>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = files;
    }
}
