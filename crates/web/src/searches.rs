//! Saved searches, as the API tells them.

use event::Timestamp;
use searches::SavedSearch;
use serde::Serialize;

/// The saved searches of a process.
#[derive(Debug, Clone, Default)]
pub struct List {
    /// Those without a fault.
    pub searches: Vec<Saved>,
    /// What is wrong with the others, a line each.
    pub faults: Vec<String>,
}

/// A saved search, and how far it has come if it is scheduled.
#[derive(Debug, Clone)]
pub struct Saved {
    /// The search.
    pub search: SavedSearch,
    /// All windows that end here or before are done.
    pub until: Option<Timestamp>,
    /// Its last run in this process.
    pub last_run: Option<LastRun>,
}

/// How a run of a scheduled search went.
#[derive(Debug, Clone, Serialize)]
pub struct LastRun {
    /// What arrived from here on was looked at.
    pub from: Timestamp,
    /// And before here.
    pub to: Timestamp,
    /// How long it took.
    pub took_ms: u64,
    /// How many events passed the filter.
    pub total: u64,
    /// How many alerts it raised.
    pub alerts: u64,
    /// How many more it had than may be raised.
    pub left_out: u64,
    /// Why it did not see all of its window.
    pub partial: Vec<String>,
    /// Why its alerts could not be stored; it is run again.
    pub failed: Option<String>,
}

impl LastRun {
    /// A run that found nothing.
    pub fn of(from: Timestamp, to: Timestamp) -> LastRun {
        LastRun {
            from,
            to,
            took_ms: 0,
            total: 0,
            alerts: 0,
            left_out: 0,
            partial: Vec::new(),
            failed: None,
        }
    }
}
