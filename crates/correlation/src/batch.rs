//! The alerts of a set of matches, all at once.
//!
//! This is what the stage must come to in the end, whatever the order of arrival: the definition
//! at the head of the crate, over matches sorted by time. `scan` uses it, and tests hold the stage
//! to it.

use std::collections::{BTreeMap, HashMap};

use event::alert::EVIDENCE_MAX;
use event::{Alert, Match, MatchKind, Timestamp};

use crate::alert::{Whole, of_match};
use crate::definition::{Correlations, Definition};
use crate::groups::{Found, Key, Name, Seen};
use crate::windows::{Full, Point, sliding, whole};

/// The alerts of all matches: those of rules by themselves and those of correlations, by time and
/// id. Matches of correlations that are not among these are left out.
pub fn alerts(
    correlations: &Correlations,
    matches: impl IntoIterator<Item = Match>,
    now: Timestamp,
) -> Vec<Alert> {
    let set = correlations.current();
    let mut alerts: BTreeMap<String, Alert> = BTreeMap::new();
    let mut groups: HashMap<Group, BTreeMap<Key, Seen>> = HashMap::new();
    for mut found in matches {
        let MatchKind::Correlation { correlation, group, value } = found.kind else {
            let alert = of_match(found, now);
            alerts.entry(alert.id.clone()).or_insert(alert);
            continue;
        };
        if !set.contains_key(&correlation) {
            continue;
        }
        found.kind = MatchKind::Alert;
        let events = groups.entry((correlation, found.namespace.clone(), group)).or_default();
        let key = Key { time: found.event_time, id: found.event_id.clone(), value };
        let received = found.received;
        let new = Whole::new(&mut found);
        let seen = events
            .entry(key)
            .or_insert_with(|| Seen { received, whole: Some(Box::new(new.clone())) });
        if seen.whole.as_ref().is_some_and(|known| new.rule < known.rule) {
            seen.whole = Some(Box::new(new));
        }
    }
    for ((correlation, namespace, values), mut events) in groups {
        let Some(definition) = set.get(&correlation) else { continue };
        keep_the_newest_whole(&mut events, definition);
        let name = Name {
            correlation,
            shape: String::new(),
            timespan_s: definition.timespan_s,
            namespace,
            values,
        };
        for alert in of_group(&name, &events, definition, now) {
            alerts.insert(alert.id.clone(), alert);
        }
    }
    let mut alerts: Vec<Alert> = alerts.into_values().collect();
    alerts.sort_by(|a, b| (a.time, &a.id).cmp(&(b.time, &b.id)));
    alerts
}

/// Correlation, namespace, values of the group-by fields.
type Group = (String, String, Vec<String>);

fn of_group(
    name: &Name,
    events: &BTreeMap<Key, Seen>,
    definition: &Definition,
    now: Timestamp,
) -> Vec<Alert> {
    let events: Vec<(&Key, &Seen)> = events.iter().collect();
    let points: Vec<Point<'_>> = events.iter().map(|(key, _)| key.point()).collect();
    let all: Vec<Full> = if definition.grows() {
        sliding(&points, definition)
    } else {
        let periods = definition.periods();
        points
            .chunk_by(|a, b| periods.of(a.time) == periods.of(b.time))
            .filter_map(|points| whole(points, periods.of(points.first()?.time), definition))
            .collect()
    };
    all.into_iter()
        .map(|full| Found::new(full, &events, &points, definition).alert(name, definition, now))
        .collect()
}

/// An alert's evidence comes from the newest events of each period; the others are known by id.
fn keep_the_newest_whole(events: &mut BTreeMap<Key, Seen>, definition: &Definition) {
    let periods = definition.periods();
    let mut place = (0, 0);
    for (key, seen) in events.iter_mut().rev() {
        let period = periods.of(key.time);
        place = if place.0 == period { (period, place.1 + 1) } else { (period, 1) };
        if place.1 > EVIDENCE_MAX {
            seen.whole = None;
        }
    }
}
