//! Followed files as the API and the command line show them.

use serde::{Deserialize, Serialize};

/// A file that is followed as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FollowedFile {
    /// Where it is now.
    pub path: String,
    /// The source of its records: where it was when it was met.
    pub name: String,
    /// Bytes of it that are durable on the bus, or left out.
    pub position: u64,
    /// Bytes that it has.
    pub size: u64,
    /// When something of it was read last, RFC 3339; empty if nothing was since the start.
    pub last_read: String,
    /// Whether no path leads to it any more.
    pub gone: bool,
    /// Why it can't be read; empty if it can.
    pub problem: String,
}

/// All of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FileList {
    /// In the order in which they were met.
    pub files: Vec<FollowedFile>,
}
