//! The engine's own audit log: who removed what, or saw to it that it is not removed.
//!
//! `DATA/audit.jsonl`, a line of ECS for each act, appended and synced. It is a file and no topic,
//! because it must outlive what the bus keeps, and be written where no bus is open. Nothing here ever
//! removes a line.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use event::Timestamp;
use serde_json::{Value, json};

use crate::error::IndexError;

/// The name of its file in the data folder.
pub const AUDIT_FILE: &str = "audit.jsonl";

/// An act that is recorded.
#[derive(Debug, Clone)]
pub(crate) struct Act<'a> {
    /// What was done: `purge`, `hold-add`, `hold-remove`.
    pub(crate) action: &'a str,
    /// Whether it was done: `success`, or `failure`.
    pub(crate) outcome: &'a str,
    /// Who did it, as they called themselves.
    pub(crate) who: &'a str,
    /// Why, in their words.
    pub(crate) reason: &'a str,
    /// What else is known.
    pub(crate) details: Value,
}

/// Records an act in a data folder.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn record(data_dir: &Path, act: &Act<'_>) -> Result<(), IndexError> {
    let line = json!({
        "@timestamp": Timestamp::now().to_string(),
        "event": {
            "kind": "event",
            "category": ["configuration"],
            "dataset": "watchpost.audit",
            "action": act.action,
            "outcome": act.outcome,
            "reason": act.reason,
        },
        "user": { "name": act.who },
        "watchpost": { "audit": act.details },
    });
    let path = data_dir.join(AUDIT_FILE);
    let write = || -> std::io::Result<()> {
        // Its queries name persons.
        let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
        file.write_all(format!("{line}\n").as_bytes())?;
        file.sync_all()
    };
    write().map_err(IndexError::io("write the audit log", &path))
}
