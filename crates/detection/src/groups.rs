//! The group of a correlation that an event belongs to.
//!
//! A field with several values puts the event into several groups, one for each combination. An
//! event that lacks one of the fields belongs to none: it is counted, and not a group of "nothing",
//! which would throw together what has no relation.

use event::{Event, Value};

use crate::book::Feed;
use crate::metrics;

/// The most groups, and the most counted values in each, that one event may belong to. An event
/// that says more of itself is counted as limited, and the rest left out.
pub const COMBINATIONS_MAX: usize = 64;

/// Shows each group of an event, with each of its counted values.
pub(crate) fn for_each_group(
    feed: &Feed,
    event: &Event,
    mut each: impl FnMut(&[String], Option<&str>),
) {
    let (Some(groups), Some(values)) =
        (combinations(&feed.group, event), combinations(&feed.values, event))
    else {
        metrics::UNGROUPED.inc();
        return;
    };
    for group in &groups {
        if feed.values.is_empty() {
            each(group, None);
            continue;
        }
        for value in &values {
            match value.as_slice() {
                [single] => each(group, Some(single)),
                // JSON tells ("a","b,c") and ("a,b","c") apart.
                several => each(group, Some(&serde_json::Value::from(several).to_string())),
            }
        }
    }
}

/// All combinations of the fields' values, or `None` if a field is missing. No field has one
/// combination, the empty one.
fn combinations(fields: &[Vec<String>], event: &Event) -> Option<Vec<Vec<String>>> {
    let mut combinations: Vec<Vec<String>> = vec![Vec::new()];
    for names in fields {
        let values =
            names.iter().map(|name| texts(event, name)).find(|values| !values.is_empty())?;
        let all = combinations.iter().flat_map(|begun| {
            values.iter().map(|value| [begun.as_slice(), std::slice::from_ref(value)].concat())
        });
        let mut extended: Vec<Vec<String>> = all.take(COMBINATIONS_MAX + 1).collect();
        if extended.len() > COMBINATIONS_MAX {
            metrics::LIMITED.inc();
            extended.truncate(COMBINATIONS_MAX);
        }
        combinations = extended;
    }
    Some(combinations)
}

/// The texts of a field, each once. An empty text is no value.
fn texts(event: &Event, name: &str) -> Vec<String> {
    let mut buffer = String::new();
    let mut texts: Vec<String> = Vec::new();
    for value in event.values(name) {
        let text = Value::text(value, &mut buffer).unwrap_or_default();
        if !text.is_empty() && !texts.iter().any(|known| known == text) {
            texts.push(text.to_owned());
        }
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(feed: &Feed, json: &str, expected: &[(&[&str], Option<&str>)]) {
        let mut event = Event::new();
        event.parse_json(json.as_bytes()).unwrap();
        let mut found: Vec<(Vec<String>, Option<String>)> = Vec::new();
        for_each_group(feed, &event, |group, value| {
            found.push((group.to_vec(), value.map(str::to_owned)));
        });
        let found: Vec<(Vec<&str>, Option<&str>)> = found
            .iter()
            .map(|(group, value)| (group.iter().map(String::as_str).collect(), value.as_deref()))
            .collect();
        let expected: Vec<(Vec<&str>, Option<&str>)> =
            expected.iter().map(|(group, value)| (group.to_vec(), *value)).collect();
        assert_eq!(found, expected, "{json}");
    }

    fn feed(group: &[&[&str]], values: &[&[&str]]) -> Feed {
        let owned = |fields: &[&[&str]]| -> Vec<Vec<String>> {
            fields
                .iter()
                .map(|names| names.iter().map(|name| (*name).to_owned()).collect())
                .collect()
        };
        Feed { correlation: "c".into(), group: owned(group), values: owned(values) }
    }

    #[test]
    fn an_event_belongs_to_each_combination_of_its_values() {
        let by_user = feed(&[&["user.name", "user.id"]], &[]);
        check(&by_user, r#"{"user":{"name":"anna","id":"7"}}"#, &[(&["anna"], None)]);
        check(&by_user, r#"{"user":{"id":7}}"#, &[(&["7"], None)]);
        check(&by_user, r#"{"user":{"name":""}}"#, &[]);
        check(&by_user, r#"{"host":{"name":"a"}}"#, &[]);
        check(&by_user, r#"{"user":{"name":["a","b","a"]}}"#, &[(&["a"], None), (&["b"], None)]);
        check(&feed(&[], &[]), "{}", &[(&[], None)]);
        let counted = feed(&[&["a"]], &[&["b"], &["c"]]);
        check(
            &counted,
            r#"{"a":[1,2],"b":"x","c":["y","z"]}"#,
            &[
                (&["1"], Some(r#"["x","y"]"#)),
                (&["1"], Some(r#"["x","z"]"#)),
                (&["2"], Some(r#"["x","y"]"#)),
                (&["2"], Some(r#"["x","z"]"#)),
            ],
        );
        check(&counted, r#"{"a":1,"b":"x"}"#, &[]);
    }

    #[test]
    fn combinations_are_bounded() {
        let numbers: Vec<u32> = (0..100).collect();
        let json = serde_json::json!({"a": numbers, "b": numbers}).to_string();
        let mut event = Event::new();
        event.parse_json(json.as_bytes()).unwrap();
        let mut groups = 0;
        for_each_group(&feed(&[&["a"], &["b"]], &[]), &event, |_, _| groups += 1);
        assert_eq!(groups, COMBINATIONS_MAX);
    }
}
