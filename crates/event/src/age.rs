//! The time that ages are told by, which no jump of the machine's clock can make run away.
//!
//! What is kept for some days is removed for good once it is older, so a clock that is a year ahead
//! for a minute (a battery that died, a wrong time server, a typing mistake) must not remove a year
//! of logs. Ages are therefore told by a time of their own. It follows the clock, but passes at most
//! twice and at least half as fast as the machine runs, and is kept over a stop. So whatever the
//! clock says, nothing is removed for its age before it was there for half of that age, and nothing
//! stays longer than twice; and a clock that was set right finds everything still there.
//!
//! The cost: after a longer stop than [`AgeClock::STOP_MAX`] it takes some days until ages are right again, and
//! old data stays so much longer. A bound of size, where there is one, holds all the same.

use std::time::Duration;

use crate::Timestamp;

/// The time that ages are told by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgeClock {
    now: Timestamp,
    /// What the clock said then, to see how long a stop was.
    clock: Timestamp,
}

impl AgeClock {
    /// How long a stop may be to be believed. A machine that is off at night or for a day loses
    /// nothing by it; a clock that came back wrong is caught up with slowly.
    pub const STOP_MAX: Duration = Duration::from_secs(24 * 60 * 60);

    /// Begins with what the clock says, when there is nothing yet that could be removed.
    pub const fn new(clock: Timestamp) -> Self {
        AgeClock { now: clock, clock }
    }

    /// The time at the last step.
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// Goes on: the machine has run for `elapsed` since the last step, however the clock was set
    /// meanwhile. Returns the time now.
    pub fn step(&mut self, clock: Timestamp, elapsed: Duration) -> Timestamp {
        let elapsed = i64::try_from(elapsed.as_nanos()).unwrap_or(i64::MAX);
        let (slowest, fastest) = (elapsed / 2, elapsed.saturating_mul(2));
        let followed = clock.clamp(self.now.plus_nanos(slowest), self.now.plus_nanos(fastest));
        *self = AgeClock { now: followed, clock };
        followed
    }

    /// Goes on after a stop, for as long as the clock says that it was, up to [`AgeClock::STOP_MAX`].
    pub fn resume(&mut self, clock: Timestamp) -> Timestamp {
        let stopped = clock.as_nanos().saturating_sub(self.clock.as_nanos());
        self.step(clock, Duration::from_nanos(stopped.try_into().unwrap_or(0)).min(Self::STOP_MAX))
    }

    /// Its text form, to be kept over a stop.
    pub fn to_text(&self) -> String {
        format!("{} {}", self.now.as_nanos(), self.clock.as_nanos())
    }

    /// Reads the text form.
    pub fn from_text(text: &str) -> Option<Self> {
        let (now, clock) = text.split_once(' ')?;
        let time = |text: &str| text.parse().ok().map(Timestamp::from_nanos);
        Some(AgeClock { now: time(now)?, clock: time(clock)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3600;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn it_follows_a_clock_that_is_right_and_is_not_carried_off_by_one_that_jumps() {
        let mut age = AgeClock::new(at(0));
        // By hours that the machine runs: what the clock is wrong by, and what is made of it.
        let mut told = Vec::new();
        for (hour, wrong) in
            [0, 0, YEAR, YEAR, 0, 0, 0, 0, -YEAR, -YEAR, 0, 0, 0].iter().enumerate()
        {
            let clock = at((hour as i64 + 1) * HOUR + wrong);
            let now = age.step(clock, Duration::from_secs(HOUR as u64));
            told.push(now.as_seconds() * 10 / HOUR);
        }
        // Two hours of a wrong clock are worth two hours too many, which the next four take back.
        assert_eq!(told, [10, 20, 40, 60, 65, 70, 75, 80, 85, 90, 110, 120, 130]);
    }

    #[test]
    fn a_stop_is_believed_up_to_a_day() {
        for (stopped, clock, expected) in [
            (HOUR, HOUR, HOUR),
            (DAY, DAY, DAY),
            // As fast as it may.
            (3 * DAY, 3 * DAY, 2 * DAY),
            (HOUR, YEAR, 2 * DAY),
            (HOUR, -YEAR, 0),
        ] {
            let kept = AgeClock::new(at(0)).to_text();
            let mut age = AgeClock::from_text(&kept).unwrap();
            assert_eq!(age.resume(at(clock)), at(expected), "{stopped} s, the clock says {clock}");
            // A second start believes no more than the first.
            let mut again = AgeClock::from_text(&age.to_text()).unwrap();
            assert_eq!(again.resume(at(clock)), at(expected));
        }
        assert_eq!(AgeClock::from_text("12"), None);
        assert_eq!(AgeClock::from_text("12 x"), None);
    }
}
