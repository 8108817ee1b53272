//! From matches to the alert that people see.

use event::alert::{EVIDENCE_IDS_MAX, EVIDENCE_MAX};
use event::{Alert, Evidence, Match, MatchedField, Timestamp};
use serde_json::Value;

use crate::definition::{Definition, Measure};
use crate::reason;
use crate::windows::{Full, Point, measured};

/// The most bytes of one event that an alert carries. Larger ones are shortened: an alert with ten
/// of them must still be a record of the bus, and a page.
pub const EVIDENCE_BYTES_MAX: usize = 64 * 1024;

/// The most bytes of one text in a shortened event.
const SHORT_TEXT_BYTES_MAX: usize = 2 * 1024;

/// The alert of a rule that makes one by itself.
pub fn of_match(found: Match, now: Timestamp) -> Alert {
    let reason = reason::of_event(&found.rule.title, &found.event);
    Alert {
        id: Alert::make_id(&[&found.rule.id, &found.namespace, &found.event_id]),
        time: found.event_time,
        created: now,
        received: found.received,
        rule: found.rule,
        reason,
        namespace: found.namespace,
        matched: found.matched,
        group: Vec::new(),
        event_count: 1,
        event_ids: vec![found.event_id.clone()],
        evidence: vec![Evidence { id: found.event_id, event: shortened(found.event) }],
    }
}

/// What of an event is kept whole for evidence.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Whole {
    /// The rule that matched. Of two rules that match the same event the smaller id is kept, so
    /// that it does not depend on which came first.
    pub(crate) rule: String,
    /// The event as JSON text, shortened if it had to be.
    pub(crate) event: String,
    /// What made the rule hold.
    pub(crate) matched: Vec<MatchedField>,
}

impl Whole {
    pub(crate) fn new(found: &mut Match) -> Self {
        Whole {
            rule: found.rule.id.clone(),
            event: shortened(found.event.take()).to_string(),
            matched: std::mem::take(&mut found.matched),
        }
    }
}

/// An event of a window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member<'a> {
    pub(crate) point: Point<'a>,
    pub(crate) received: Timestamp,
    pub(crate) whole: Option<&'a Whole>,
}

/// The alert of a period. `members` are its events, oldest first, never empty.
pub(crate) fn of_window(
    definition: &Definition,
    namespace: &str,
    group: &[String],
    full: Full,
    members: &[Member<'_>],
    created: Timestamp,
) -> Alert {
    let points: Vec<Point<'_>> = members.iter().map(|member| member.point).collect();
    let mut ids: Vec<&str> = Vec::new();
    let mut distinct = std::collections::HashSet::new();
    for point in &points {
        if distinct.insert(point.id) && ids.len() < EVIDENCE_IDS_MAX {
            ids.push(point.id);
        }
    }
    let event_count = distinct.len() as u64;
    let mut evidence: Vec<Evidence> = Vec::new();
    let mut matched = Vec::new();
    for member in members.iter().rev() {
        let Some(whole) = member.whole else { continue };
        let id = member.point.id;
        if evidence.len() == EVIDENCE_MAX || evidence.iter().any(|other| other.id == id) {
            continue;
        }
        if evidence.is_empty() {
            matched.clone_from(&whole.matched);
        }
        // It was JSON when it was kept.
        let event = serde_json::from_str(&whole.event).unwrap_or_default();
        evidence.push(Evidence { id: id.to_owned(), event });
    }
    let pairs: Vec<(String, String)> =
        definition.group_by.iter().cloned().zip(group.iter().cloned()).collect();
    let values = match &definition.measure {
        Measure::Events => None,
        Measure::Values(fields) => Some((fields.as_slice(), measured(&points, definition))),
    };
    let title = &definition.rule.title;
    let reason = reason::of_group(title, event_count, values, &pairs, definition.timespan_s);
    let period_start = definition.periods().start(full.period).to_string();
    let mut parts: Vec<&str> = vec![&definition.rule.id, namespace, &period_start];
    parts.extend(group.iter().map(String::as_str));
    Alert {
        id: Alert::make_id(&parts),
        time: full.time(definition),
        created,
        received: members.iter().map(|member| member.received).max().unwrap_or(created),
        rule: definition.rule.clone(),
        reason,
        namespace: namespace.to_owned(),
        matched,
        group: pairs,
        event_count,
        event_ids: ids.into_iter().map(str::to_owned).collect(),
        evidence,
    }
}

/// The event, or if it is too large, what fits of it: long texts are cut, and if that is not
/// enough, the largest members are left out one by one.
fn shortened(mut event: Value) -> Value {
    if size(&event) <= EVIDENCE_BYTES_MAX {
        return event;
    }
    cut_texts(&mut event);
    if let Value::Object(members) = &mut event {
        let mut sizes: Vec<(usize, String)> =
            members.iter().map(|(name, value)| (size(value) + name.len(), name.clone())).collect();
        sizes.sort_unstable();
        let mut bytes: usize = sizes.iter().map(|(bytes, _)| bytes).sum();
        while bytes > EVIDENCE_BYTES_MAX
            && let Some((largest, name)) = sizes.pop()
        {
            members.remove(&name);
            bytes -= largest;
        }
    }
    event
}

fn cut_texts(value: &mut Value) {
    match value {
        Value::String(text) if text.len() > SHORT_TEXT_BYTES_MAX => {
            let bytes = text.len();
            let end = text.floor_char_boundary(SHORT_TEXT_BYTES_MAX);
            text.truncate(end);
            text.push_str(&format!("… (cut, {bytes} bytes)"));
        }
        Value::Array(elements) => elements.iter_mut().for_each(cut_texts),
        Value::Object(members) => members.values_mut().for_each(cut_texts),
        _ => {}
    }
}

/// About how many bytes a value takes as JSON.
fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(elements) => 2 + elements.iter().map(|value| size(value) + 1).sum::<usize>(),
        Value::Object(members) => {
            2 + members.iter().map(|(name, value)| name.len() + 4 + size(value)).sum::<usize>()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_that_is_too_large_is_shortened_and_says_so() {
        let small = json!({"message": "x", "host": {"name": "a"}});
        assert_eq!(shortened(small.clone()), small);
        let long = json!({"message": "é".repeat(100_000), "host": {"name": "a"}});
        let cut = shortened(long);
        assert_eq!(cut["host"]["name"], "a");
        assert!(cut["message"].as_str().unwrap().ends_with("… (cut, 200000 bytes)"));
        let wide: Vec<u32> = (0..100_000).collect();
        let cut = shortened(json!({"wide": wide, "host": {"name": "a"}}));
        assert_eq!(cut, json!({"host": {"name": "a"}}));
    }
}
