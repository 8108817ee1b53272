//! Saved searches: questions as files, some of which are asked again and again and raise alerts.
//!
//! A rule looks at one event, and a correlation counts matches of rules. Some things are easier said as
//! a search: *which users failed on five hosts within a quarter of an hour*. A scheduled search is such
//! a question with a time to ask it and what to do about the answer.
//!
//! # Windows
//!
//! Time is cut by `every`, aligned to the Unix epoch. At each cut the search is asked of the events that
//! *arrived* in the `over` before it: by `event.ingested`, not by their own time, so that an event that
//! comes late is seen by the next run instead of by none. `over` is at least `every`, so the windows
//! leave no gap. A run is a function of its window and what is indexed of it; the ids of its alerts are
//! hashes of the search, the group and the window. So a run that is done again changes nothing.
//!
//! [`due`] says which windows are over; whoever calls it keeps how far each search has come, and first
//! makes sure that what arrived until then is indexed.
//!
//! What the crate refuses to do: read the clock, wait, or write anything.

mod read;
mod run;
mod schedule;
mod search;

pub use read::{Loaded, SEARCH_BYTES_MAX, load};
pub use run::{ALERTS_MAX, LATE_MAX_NANOS, Outcome, run};
pub use schedule::{CATCH_UP_MAX, Due, Standing, Window, due};
pub use search::{Comparison, Raise, SavedSearch, Schedule, When};
