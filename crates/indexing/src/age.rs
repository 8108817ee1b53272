//! The time by which partitions are too old, kept beside them: a clock that is a year ahead for a
//! minute must not drop a year of partitions (see [`AgeClock`]).

use std::path::{Path, PathBuf};
use std::time::Duration;

use event::{AgeClock, Timestamp};

/// The name of its file in the index folder.
const FILE: &str = "age";

pub(crate) struct Age {
    path: PathBuf,
    /// None before the first step.
    clock: Option<AgeClock>,
}

impl Age {
    pub(crate) fn of(dir: &Path) -> Age {
        Age { path: dir.join(FILE), clock: None }
    }

    /// Goes on: the machine has run for `elapsed` since the last step. Returns the time now, and
    /// keeps it for the next start.
    pub(crate) fn step(&mut self, clock: Timestamp, elapsed: Duration) -> Timestamp {
        let age = match self.clock {
            Some(mut age) => {
                age.step(clock, elapsed);
                age
            }
            None => self.resumed(clock).unwrap_or(AgeClock::new(clock)),
        };
        self.clock = Some(age);
        // Whole, or not at all; and not synced, because it matters little how old it is.
        let new = self.path.with_extension("new");
        let kept =
            std::fs::write(&new, age.to_text()).and_then(|()| std::fs::rename(&new, &self.path));
        if let Err(error) = kept {
            tracing::warn!(%error, path = %self.path.display(), "cannot keep the time that ages are told by");
        }
        age.now()
    }

    fn resumed(&self, clock: Timestamp) -> Option<AgeClock> {
        let mut age = AgeClock::from_text(&std::fs::read_to_string(&self.path).ok()?)?;
        age.resume(clock);
        Some(age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_makes_nothing_old_also_over_restarts() {
        const DAY: i64 = 24 * 60 * 60;
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        let folder = tempfile::tempdir().unwrap();
        let mut age = Age::of(folder.path());
        let ten_minutes = Duration::from_secs(600);
        assert_eq!(age.step(at(0), Duration::ZERO), at(0));
        assert_eq!(age.step(at(600), ten_minutes), at(600));
        assert_eq!(age.step(at(365 * DAY), ten_minutes), at(1800));
        for _ in 0..5 {
            let mut age = Age::of(folder.path());
            assert_eq!(age.step(at(365 * DAY), Duration::ZERO), at(1800));
        }
        // A stop of a day and a jump look the same; of more than a day only two are believed.
        let mut age = Age::of(folder.path());
        assert_eq!(age.step(at(999 * DAY), Duration::ZERO), at(1800 + 2 * DAY));
        std::fs::write(folder.path().join(FILE), "damaged").unwrap();
        assert_eq!(Age::of(folder.path()).step(at(7), Duration::ZERO), at(7));
    }
}
