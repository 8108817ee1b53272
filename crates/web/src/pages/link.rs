//! Addresses of our pages: their whole state is in the query string, so every view is a link.

use std::fmt::Write;

use event::{Threat, Timestamp};
use query::{Filter, Query};

/// Percent-encodes a text for a query string or a path segment.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            _ => write!(out, "%{byte:02X}").expect("a text takes all"),
        }
    }
    out
}

/// A path with a query string; what is empty is left out.
pub(crate) fn with(path: &str, pairs: &[(&str, &str)]) -> String {
    let mut link = path.to_owned();
    let mut before = '?';
    for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
        link.push(before);
        link.push_str(name);
        link.push('=');
        link.push_str(&encode(value));
        before = '&';
    }
    link
}

/// A page with a query and a time range.
pub(crate) fn query(page: &str, query: &str, since: &str, until: &str) -> String {
    with(page, &[("q", query), ("since", since), ("until", until)])
}

/// The page of an event.
pub(crate) fn event(id: &str) -> String {
    format!("/events/{}", encode(id))
}

/// The page of an alert.
pub(crate) fn alert(id: &str) -> String {
    format!("/alerts/{}", encode(id))
}

/// The page of a rule.
pub(crate) fn rule(id: &str) -> String {
    format!("/rules/{}", encode(id))
}

/// ATT&CK's own page of a tactic or technique, if it is the id of one. Tactics have none by their
/// names.
pub(crate) fn attack(threat: &Threat) -> Option<String> {
    let Threat::Technique(id) = threat else { return None };
    let known = id.starts_with('T') && id.bytes().skip(1).all(|b| b.is_ascii_digit() || b == b'.');
    known.then(|| format!("https://attack.mitre.org/techniques/{}/", id.replace('.', "/")))
}

/// A query for a field that has this value.
pub(crate) fn term(field: &str, value: &str) -> String {
    Filter::term(field, value).to_string()
}

/// A query that asks for this as well; its pipes stay.
pub(crate) fn narrow(query: &Query, more: Filter) -> String {
    let filter = match &query.filter {
        Filter::All => more,
        Filter::And(all) if all.contains(&more) => query.filter.clone(),
        same if *same == more => more,
        other => Filter::and(vec![other.clone(), more]),
    };
    Query { filter, pipes: query.pipes.clone() }.to_string()
}

/// A range around a time, for "what else happened then".
pub(crate) fn around(time: Timestamp, minutes: i64) -> (String, String) {
    let nanos = minutes * 60 * 1_000_000_000;
    (time.plus_nanos(-nanos).to_string(), time.plus_nanos(nanos).to_string())
}

#[cfg(test)]
mod tests {
    use event::Threat;
    use insta::assert_snapshot;
    use query::Filter;

    use super::{attack, narrow, query, term};

    #[test]
    fn hostile_values_stay_values() {
        assert_snapshot!(term("user.name", r#"a" or *:* \"#), @r#"user.name:"a\" or *:* \\""#);
        assert_snapshot!(query("/search", "a&b=c#d", "24h", ""), @"/search?q=a%26b%3Dc%23d&since=24h");
        assert_eq!(attack(&Threat::Technique("T1059.001/../x".into())), None);
    }

    #[test]
    fn a_query_is_narrowed_before_its_pipes() {
        let narrowed = |text: &str, more| narrow(&query::parse(text).unwrap(), more);
        let term = || Filter::term("a", "1");
        assert_snapshot!(narrowed("*", term()), @"a:1");
        assert_snapshot!(narrowed("b:2 or c:3 | head 3", term()), @"(b:2 or c:3) and a:1 | head 3");
        assert_snapshot!(narrowed("b:2", term().negated()), @"b:2 and not a:1");
        assert_snapshot!(narrowed("b:/x|y/", term()), @"b:/x|y/ and a:1");
        assert_snapshot!(narrowed("a:1 and b:2", term()), @"a:1 and b:2");
    }
}
