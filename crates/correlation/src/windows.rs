//! Where a condition holds among the events of one group: the arithmetic, on sorted slices.
//!
//! Nothing here knows of arrival, state or alerts. `sliding` serves conditions that grow,
//! `whole` the others; the head of the crate defines both.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use event::Timestamp;

use crate::definition::{Definition, Measure};

/// An event of a group, as far as counting goes. Ordered by time, then id, then value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Point<'a> {
    pub(crate) time: Timestamp,
    pub(crate) id: &'a str,
    pub(crate) value: Option<&'a str>,
}

/// The full times of one period, by the first and the last of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full {
    pub(crate) period: i64,
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
}

impl Full {
    /// The time of its alert: when the condition came true, or what was last seen before it was
    /// decided.
    pub(crate) fn time(self, definition: &Definition) -> Timestamp {
        if definition.grows() { self.first } else { self.last }
    }
}

/// The periods that have a full time, in their order. `points` are sorted.
pub(crate) fn sliding(points: &[Point<'_>], definition: &Definition) -> Vec<Full> {
    let periods = definition.periods();
    let mut found: Vec<Full> = Vec::new();
    let mut window: HashMap<&str, u32> = HashMap::new();
    let (mut oldest, mut next) = (0, 0);
    while let Some(time) = points.get(next).map(|point| point.time) {
        while let Some(point) = points.get(next).filter(|point| point.time == time) {
            if let Some(counted) = counted(point, definition) {
                *window.entry(counted).or_default() += 1;
            }
            next += 1;
        }
        while let Some(point) = points.get(oldest).filter(|point| !within(time, point, definition))
        {
            if let Some(counted) = counted(point, definition)
                && let Some(times) = window.get_mut(counted)
            {
                *times -= 1;
                if *times == 0 {
                    window.remove(counted);
                }
            }
            oldest += 1;
        }
        if !definition.passes(window.len() as u64) {
            continue;
        }
        let period = periods.of(time);
        match found.last_mut().filter(|full| full.period == period) {
            Some(full) => full.last = time,
            None => found.push(Full { period, first: time, last: time }),
        }
    }
    found
}

/// Where the points of an alert stand: those in the windows of all full times, or of the period.
pub(crate) fn members(points: &[Point<'_>], full: Full, definition: &Definition) -> Range<usize> {
    let grows = definition.grows();
    let start = points.partition_point(|point| {
        point.time < full.first && !(grows && within(full.first, point, definition))
    });
    let end = points.partition_point(|point| point.time <= full.last);
    start..end
}

/// Whether the points of one period pass as a whole.
pub(crate) fn whole(points: &[Point<'_>], period: i64, definition: &Definition) -> Option<Full> {
    let (first, last) = (points.first()?.time, points.last()?.time);
    definition.passes(measured(points, definition)).then_some(Full { period, first, last })
}

/// The number that the condition is about.
pub(crate) fn measured(points: &[Point<'_>], definition: &Definition) -> u64 {
    let counted: BTreeSet<&str> =
        points.iter().filter_map(|point| counted(point, definition)).collect();
    counted.len() as u64
}

/// What a point adds to the count: its event, or its value if it has one.
fn counted<'a>(point: &Point<'a>, definition: &Definition) -> Option<&'a str> {
    match definition.measure {
        Measure::Events => Some(point.id),
        Measure::Values(_) => point.value,
    }
}

/// Whether a point at or before `time` is in the window that ends there.
fn within(time: Timestamp, point: &Point<'_>, definition: &Definition) -> bool {
    let age = time.as_nanos().saturating_sub(point.time.as_nanos());
    age < definition.periods().span_nanos
}

#[cfg(test)]
mod tests {
    use event::RuleRef;
    use sigma::Operator;

    use super::*;

    fn definition(measure: Measure, tests: &[(Operator, f64)]) -> Definition {
        Definition {
            rule: RuleRef::default(),
            group_by: vec![],
            timespan_s: 60,
            measure,
            tests: tests.to_vec(),
        }
    }

    fn time(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn windows_slide_and_periods_name_them() {
        let count = definition(Measure::Events, &[(Operator::Gte, 3.0)]);
        let check = |seconds: &[i64], expected: &[(i64, i64, i64)]| {
            let ids: Vec<String> = (0..seconds.len()).map(|at| format!("{at:03}")).collect();
            let points: Vec<Point<'_>> = seconds
                .iter()
                .zip(&ids)
                .map(|(&seconds, id)| Point { time: time(seconds), id, value: None })
                .collect();
            let found: Vec<(i64, i64, i64)> = sliding(&points, &count)
                .iter()
                .map(|full| (full.period, full.first.as_seconds(), full.last.as_seconds()))
                .collect();
            assert_eq!(found, expected, "{seconds:?}");
        };
        check(&[], &[]);
        check(&[1, 2], &[]);
        check(&[1, 2, 3], &[(0, 3, 3)]);
        // Across the border of two periods.
        check(&[58, 59, 61], &[(1, 61, 61)]);
        // The window is open at its older end.
        check(&[1, 2, 61], &[]);
        check(&[2, 3, 61], &[(1, 61, 61)]);
        check(&[1, 1, 1, 2], &[(0, 1, 2)]);
        check(&[50, 51, 52, 61, 200], &[(0, 52, 52), (1, 61, 61)]);
    }

    #[test]
    fn values_count_once_and_events_count_once() {
        let point = |seconds, id, value| Point { time: time(seconds), id, value: Some(value) };
        let points =
            [point(1, "a", "x"), point(2, "b", "x"), point(3, "c", "y"), point(3, "c", "z")];
        let values = definition(Measure::Values(vec![]), &[(Operator::Gte, 3.0)]);
        assert_eq!(sliding(&points, &values).len(), 1);
        let more = definition(Measure::Values(vec![]), &[(Operator::Gt, 3.0)]);
        assert_eq!(sliding(&points, &more).len(), 0);
        let events = definition(Measure::Events, &[(Operator::Gte, 4.0)]);
        assert_eq!(sliding(&points, &events).len(), 0);
        assert_eq!(measured(&points, &events), 3);
        let exactly = definition(Measure::Events, &[(Operator::Eq, 3.0)]);
        let full = whole(&points, 0, &exactly).unwrap();
        assert_eq!((full.first, full.last), (time(1), time(3)));
    }
}
