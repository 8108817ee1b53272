//! Which windows of a scheduled search are over, and how far it has come.

use std::collections::BTreeMap;

use event::Timestamp;
use serde::{Deserialize, Serialize};

use crate::search::Schedule;

/// The most windows that are caught up after a time without runs: a day of one every five minutes. Older
/// ones are left out, and counted.
pub const CATCH_UP_MAX: usize = 288;

/// What a run looks at: events that arrived from `from` on and before `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The first moment.
    pub from: Timestamp,
    /// The first moment that is out again.
    pub to: Timestamp,
}

/// What is to be run now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The oldest first.
    pub windows: Vec<Window>,
    /// How many older ones are left out.
    pub skipped: u64,
}

/// How far a search has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// All windows that end here or before are done.
    pub until: Timestamp,
    /// Alerts that were raised, and until when they are not raised again.
    #[serde(default)]
    pub told: BTreeMap<String, Timestamp>,
}

/// The windows that are over at `now`, of a search that is done until there.
pub fn due(schedule: &Schedule, until: Timestamp, now: Timestamp) -> Due {
    let every = schedule.every_nanos.max(1);
    let first = until.as_nanos().div_euclid(every).saturating_add(1);
    let last = now.as_nanos().div_euclid(every);
    let count = u64::try_from(last.saturating_sub(first).saturating_add(1)).unwrap_or(0);
    let skipped = count.saturating_sub(CATCH_UP_MAX as u64);
    let windows = (first..=last).skip(usize::try_from(skipped).unwrap_or(usize::MAX)).map(|n| {
        let to = n.saturating_mul(every);
        let from = to.saturating_sub(schedule.over_nanos);
        Window { from: Timestamp::from_nanos(from), to: Timestamp::from_nanos(to) }
    });
    Due { windows: windows.collect(), skipped }
}

impl Standing {
    /// A search that is new: its first window is the one that `now` lies in.
    pub fn new(schedule: &Schedule, now: Timestamp) -> Standing {
        let every = schedule.every_nanos.max(1);
        let until = now.as_nanos().div_euclid(every).saturating_mul(every);
        Standing { until: Timestamp::from_nanos(until), told: BTreeMap::new() }
    }

    /// Whether an alert that a window gave is to be raised, which is noted then.
    pub fn is_new(&mut self, schedule: &Schedule, alert: &str, to: Timestamp) -> bool {
        let Some(suppress) = schedule.raise.suppress_nanos else { return true };
        self.told.retain(|_, until| *until > to);
        if self.told.contains_key(alert) {
            return false;
        }
        self.told.insert(alert.to_owned(), to.plus_nanos(suppress));
        true
    }
}

#[cfg(test)]
mod tests {
    use event::Level;

    use super::*;
    use crate::search::{Comparison, Raise, When};

    const S: i64 = 1_000_000_000;

    fn schedule(every: i64, over: i64) -> Schedule {
        let raise = Raise {
            title: String::new(),
            level: Level::Low,
            when: When::Count(Comparison::Above, 0),
            group: Vec::new(),
            suppress_nanos: Some(100 * S),
        };
        Schedule { every_nanos: every * S, over_nanos: over * S, raise }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_nanos(seconds * S)
    }

    fn windows(due: &Due) -> Vec<(i64, i64)> {
        due.windows.iter().map(|w| (w.from.as_nanos() / S, w.to.as_nanos() / S)).collect()
    }

    /// Whenever it is looked, and however often: each window comes once.
    #[test]
    fn windows_leave_no_gap_and_come_once() {
        let schedule = schedule(10, 10);
        let mut until = Standing::new(&schedule, at(1003)).until;
        let mut seen = Vec::new();
        for now in [1003, 1009, 1010, 1011, 1019, 1035, 1035, 1036, 1081, 1090] {
            let due = due(&schedule, until, at(now));
            seen.extend(windows(&due));
            until = due.windows.last().map_or(until, |window| window.to);
        }
        let wanted: Vec<(i64, i64)> = (100..109).map(|n| (n * 10, n * 10 + 10)).collect();
        assert_eq!(seen, wanted);
    }

    #[test]
    fn windows_may_overlap() {
        let found = due(&schedule(10, 25), at(1000), at(1020));
        assert_eq!(windows(&found), [(985, 1010), (995, 1020)]);
    }

    /// A schedule that was changed covers what the former had not.
    #[test]
    fn a_changed_schedule_leaves_no_gap() {
        assert_eq!(windows(&due(&schedule(3600, 3600), at(300), at(3600))), [(0, 3600)]);
        assert_eq!(windows(&due(&schedule(300, 300), at(3600), at(3950))), [(3600, 3900)]);
    }

    #[test]
    fn what_is_too_old_to_be_caught_up_is_counted() {
        let found = due(&schedule(10, 10), at(0), at(10_000));
        assert_eq!((found.windows.len(), found.skipped), (CATCH_UP_MAX, 1000 - 288));
        assert_eq!(found.windows.last().map(|window| window.to), Some(at(10_000)));
        // A clock that goes back makes nothing due.
        assert_eq!(due(&schedule(10, 10), at(1000), at(500)).windows, []);
    }

    #[test]
    fn an_alert_is_not_raised_again_for_a_while() {
        let schedule = schedule(10, 10);
        let mut standing = Standing::new(&schedule, at(0));
        let raised = |standing: &mut Standing, to| standing.is_new(&schedule, "a", at(to));
        assert!(raised(&mut standing, 10));
        assert!(!raised(&mut standing, 20));
        assert!(!raised(&mut standing, 100));
        assert!(raised(&mut standing, 110));
        assert!(standing.is_new(&schedule, "b", at(120)));
        assert_eq!(standing.told.len(), 2);
    }
}
