//! The events of each group that may still meet a partner, by period.
//!
//! This is memory only; `state` is its durable twin, and `stage` decides when what is asked.

use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;

use bus::Partition;
use event::alert::EVIDENCE_MAX;
use event::{Alert, Timestamp};
use serde::{Deserialize, Serialize};

use crate::alert::{Member, Whole, of_window};
use crate::definition::{Definition, Periods};
use crate::windows::{Full, Point, members, sliding, whole};

/// What a group is of, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Name {
    /// The correlation's id.
    pub(crate) correlation: String,
    /// Its shape: events of a correlation whose fields or timespan were changed are not mixed.
    pub(crate) shape: String,
    /// Its timespan, so that the group ends even when the correlation is gone.
    pub(crate) timespan_s: u64,
    pub(crate) namespace: String,
    /// The values of its group-by fields.
    pub(crate) values: Vec<String>,
}

/// One event in a window; the order is that of time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Key {
    pub(crate) time: Timestamp,
    pub(crate) id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<String>,
}

/// What is known of it beside its key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) received: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) whole: Option<Box<Whole>>,
}

/// What was last written of a period's alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Written {
    pub(crate) version: u32,
    pub(crate) created: Timestamp,
    pub(crate) time: Timestamp,
    pub(crate) event_count: u64,
    /// A hash of all that it said.
    pub(crate) digest: String,
}

/// The events of one group in one period.
#[derive(Debug, Default)]
pub(crate) struct Period {
    pub(crate) events: BTreeMap<Key, Seen>,
    /// When nothing that belongs together with these events can come any more, in running time.
    pub(crate) quiet_at: i64,
    pub(crate) written: Option<Written>,
    /// Whether its last version is written.
    pub(crate) settled: bool,
}

/// One group.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) name: Name,
    /// The partition whose records feed it, and whose state it is.
    pub(crate) partition: Partition,
    pub(crate) periods: BTreeMap<i64, Period>,
    /// The number of the match that came last, over all groups; zero after a restart.
    pub(crate) turn: u64,
}

/// What became of a match.
#[derive(Debug, PartialEq)]
pub(crate) enum Inserted {
    /// It is new; `shrunk` is an older one that is no longer kept whole, and the bytes that this
    /// gave back.
    New { shrunk: Option<(Key, usize)> },
    /// It was there, and is now kept as another rule found it.
    Replaced,
    /// It was there.
    Known,
    /// There are too many in its period.
    Full,
}

/// About what an entry takes beside its texts: keys, tree nodes, allocations.
const ENTRY_BYTES: usize = 160;

/// About what a group takes beside its entries.
const GROUP_BYTES: usize = 512;

impl Group {
    pub(crate) fn new(name: Name, partition: Partition) -> Self {
        Group { name, partition, periods: BTreeMap::new(), turn: 0 }
    }

    /// About what it takes without its events.
    pub(crate) fn bytes(&self) -> usize {
        let name: usize = self.name.values.iter().map(String::len).sum();
        GROUP_BYTES + name
    }

    /// About what it takes with all its events.
    pub(crate) fn all_bytes(&self) -> usize {
        let events = self.periods.values().flat_map(|period| &period.events);
        self.bytes() + events.map(|(key, seen)| key.bytes() + seen.bytes()).sum::<usize>()
    }

    /// About what is kept of an event beside its key.
    pub(crate) fn whole_bytes(&self, key: &Key) -> usize {
        let period = self.periods.get(&self.cut().of(key.time));
        period.and_then(|period| period.events.get(key)).map_or(0, Seen::bytes)
    }

    /// How its correlation cuts the time line.
    pub(crate) fn cut(&self) -> Periods {
        Periods::new(self.name.timespan_s)
    }

    /// Puts an event in. Only the newest of a period are kept whole, so that the memory of a busy
    /// group is that of its keys; which they are does not depend on the order of arrival.
    pub(crate) fn insert(&mut self, key: Key, seen: Seen, events_max: usize) -> Inserted {
        let period = self.cut().of(key.time);
        let events = &mut self.periods.entry(period).or_default().events;
        if let Some(known) = events.get_mut(&key) {
            let smaller = match (&known.whole, &seen.whole) {
                (Some(known), Some(new)) => new.rule < known.rule,
                _ => false,
            };
            if !smaller {
                return Inserted::Known;
            }
            known.whole = seen.whole;
            return Inserted::Replaced;
        }
        if events.len() >= events_max {
            return Inserted::Full;
        }
        let mut seen = seen;
        let from = Bound::Excluded(&key);
        if events.range((from, Bound::Unbounded)).nth(EVIDENCE_MAX - 1).is_some() {
            seen.whole = None;
        }
        events.insert(key, seen);
        // One was added, so at most one is whole that is no longer among the newest.
        let oldest_whole = events.iter_mut().rev().nth(EVIDENCE_MAX);
        let shrunk = oldest_whole.filter(|(_, seen)| seen.whole.is_some()).map(|(key, seen)| {
            let bytes = seen.bytes();
            seen.whole = None;
            (key.clone(), bytes)
        });
        Inserted::New { shrunk }
    }

    /// The alert of a period, if it has one now.
    pub(crate) fn found(&self, period: i64, definition: &Definition) -> Option<Found<'_>> {
        let own = self.periods.get(&period)?;
        let grows = definition.grows();
        let before = self.periods.get(&(period - 1)).filter(|_| grows);
        let events: Vec<(&Key, &Seen)> =
            before.into_iter().flat_map(|before| &before.events).chain(&own.events).collect();
        let points: Vec<Point<'_>> = events.iter().map(|(key, _)| key.point()).collect();
        let full = if grows {
            sliding(&points, definition).into_iter().find(|full| full.period == period)
        } else {
            whole(&points, period, definition)
        }?;
        Some(Found::new(full, &events, &points, definition))
    }

    /// When nothing of a period and the one before can change any more, in running time: its alert
    /// is then what it will be.
    pub(crate) fn settles_at(&self, period: i64) -> i64 {
        self.quiet_at(period).max(self.quiet_at(period - 1))
    }

    /// When the events of a period are of no use any more: the next one looks back at them.
    pub(crate) fn ends_at(&self, period: i64) -> i64 {
        self.settles_at(period).max(self.quiet_at(period + 1))
    }

    fn quiet_at(&self, period: i64) -> i64 {
        self.periods.get(&period).map_or(i64::MIN, |period| period.quiet_at)
    }
}

impl Key {
    pub(crate) fn point(&self) -> Point<'_> {
        Point { time: self.time, id: &self.id, value: self.value.as_deref() }
    }

    pub(crate) fn bytes(&self) -> usize {
        ENTRY_BYTES + self.id.len() + self.value.as_ref().map_or(0, String::len)
    }
}

impl Seen {
    pub(crate) fn bytes(&self) -> usize {
        self.whole.as_ref().map_or(0, |whole| {
            let matched = whole.matched.iter();
            let matched: usize = matched
                .map(|field| field.field.len() + field.value.len() + field.pattern.len() + 72)
                .sum();
            whole.event.len() + whole.rule.len() + matched + 72
        })
    }
}

/// The full times of a period and the events of their windows: all that an alert is made of.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    pub(crate) full: Full,
    members: Vec<Member<'a>>,
}

impl<'a> Found<'a> {
    /// `points` are the events one by one, sorted.
    pub(crate) fn new(
        full: Full,
        events: &[(&'a Key, &'a Seen)],
        points: &[Point<'a>],
        definition: &Definition,
    ) -> Self {
        let chosen = members(points, full, definition);
        let members = events
            .get(chosen)
            .unwrap_or_default()
            .iter()
            .map(|(key, seen)| Member {
                point: key.point(),
                received: seen.received,
                whole: seen.whole.as_deref(),
            })
            .collect();
        Found { full, members }
    }

    /// How many events it rests on.
    pub(crate) fn event_count(&self) -> u64 {
        let ids: HashSet<&str> = self.members.iter().map(|member| member.point.id).collect();
        ids.len() as u64
    }

    pub(crate) fn alert(&self, name: &Name, definition: &Definition, created: Timestamp) -> Alert {
        of_window(definition, &name.namespace, &name.values, self.full, &self.members, created)
    }
}
