//! Events and alerts as the pages show them.

use std::collections::BTreeMap;

use event::{Event, Threat, Timestamp, Value};

use super::histogram::short;
use super::{Link, link};
use crate::api::alerts::techniques;

/// The most characters of a summary; the event's own page has all.
const SUMMARY_CHARS_MAX: usize = 400;

/// The most characters of one value on an event's page.
const VALUE_CHARS_MAX: usize = 20_000;

/// How far from an event "around" reaches, to each side.
const AROUND_MINUTES: i64 = 5;

/// How far from an event its values are looked for, to each side: a day.
const FOUND_MINUTES: i64 = 24 * 60;

/// The longest value that leads to a search; longer ones do not make an address.
const FOUND_BYTES_MAX: usize = 1_000;

/// A row of a list of events.
pub(crate) struct Hit {
    pub(crate) href: String,
    pub(crate) time: String,
    pub(crate) time_short: String,
    pub(crate) host: String,
    pub(crate) dataset: String,
    pub(crate) summary: String,
}

impl Hit {
    pub(crate) fn new(event: &Event) -> Hit {
        let (time, time_short) = times(event.timestamp());
        Hit {
            href: link::event(event.str("event.id").unwrap_or_default()),
            time,
            time_short,
            host: event.str("host.name").unwrap_or_default().to_owned(),
            dataset: event.str("event.dataset").unwrap_or_default().to_owned(),
            summary: clip(&event.summary(), SUMMARY_CHARS_MAX),
        }
    }
}

pub(super) fn times(time: Option<Timestamp>) -> (String, String) {
    time.map(|time| (time.to_string(), short(time))).unwrap_or_default()
}

/// A row of the list of alerts.
pub(crate) struct AlertRow {
    pub(crate) href: String,
    pub(crate) level: String,
    pub(crate) time: String,
    pub(crate) time_short: String,
    pub(crate) rule: String,
    pub(crate) reason: String,
    pub(crate) entity: String,
    pub(crate) techniques: String,
}

impl AlertRow {
    pub(crate) fn new(event: &Event) -> AlertRow {
        let (time, time_short) = times(event.timestamp());
        let text = |path: &str| event.str(path).unwrap_or_default().to_owned();
        // The host and user of a correlation's alert are those of its last event only.
        let mut entity: Vec<_> =
            event.values("watchpost.alert.group").filter_map(Value::as_str).collect();
        if entity.is_empty() {
            entity.extend(["host.name", "user.name"].iter().filter_map(|path| event.str(path)));
        }
        AlertRow {
            href: link::alert(event.str("event.id").unwrap_or_default()),
            level: text("watchpost.alert.level"),
            time,
            time_short,
            rule: text("rule.name"),
            reason: clip(&text("event.reason"), SUMMARY_CHARS_MAX),
            entity: entity.join(" · "),
            techniques: techniques(event).join(", "),
        }
    }
}

/// A line of what is known: a label and one or more values, some of which lead somewhere.
pub(crate) struct Fact {
    pub(crate) label: String,
    /// Those with an empty address are plain text.
    pub(crate) links: Vec<Link>,
}

impl Fact {
    pub(crate) fn text(label: &str, text: String) -> Fact {
        Fact { label: label.into(), links: vec![Link { label: text, href: String::new() }] }
    }
}

/// The tactics and techniques that tags name, if there are any.
pub(crate) fn threat_fact(threats: &[Threat]) -> Option<Fact> {
    let links = threats.iter().map(|threat| Link {
        label: match threat {
            Threat::Tactic(name) => name.replace('_', " "),
            Threat::Technique(id) => id.clone(),
        },
        href: link::attack(threat).unwrap_or_default(),
    });
    let links: Vec<Link> = links.collect();
    (!links.is_empty()).then(|| Fact { label: "ATT&CK".into(), links })
}

/// Searches for what else happened around an event or alert.
pub(crate) fn around(event: &Event) -> Vec<Link> {
    let Some(time) = event.timestamp() else { return Vec::new() };
    let (since, until) = link::around(time, AROUND_MINUTES);
    let mut buffer = String::new();
    let mut links = Vec::new();
    for (path, word) in [
        ("host.name", "on"),
        ("user.name", "by"),
        ("source.ip", "from"),
        ("process.entity_id", "of process"),
        ("cloud.account.id", "in account"),
    ] {
        if let Some(text) = event.get(path).and_then(|value| value.text(&mut buffer)) {
            let href = link::query("/search", &link::term(path, text), &since, &until);
            links.push(Link { label: format!("{word} {}", clip(text, 40)), href });
        }
    }
    links.push(Link {
        label: "everywhere".into(),
        href: link::query("/search", "*", &since, &until),
    });
    links
}

/// Fields of an event that belong together.
pub(crate) struct Section {
    pub(crate) name: String,
    pub(crate) fields: Vec<FieldRow>,
}

/// A field on an event's page.
pub(crate) struct FieldRow {
    pub(crate) path: String,
    pub(crate) value: String,
    pub(crate) href: Option<String>,
}

/// What analysts look at first stands first; other groups follow by name, our own last.
const FIRST: [&str; 12] = [
    "",
    "event",
    "host",
    "user",
    "process",
    "file",
    "registry",
    "source",
    "destination",
    "network",
    "dns",
    "url",
];

/// All fields of an event by the first part of their names, without the original, which has a
/// place of its own.
pub(crate) fn sections(event: &Event) -> Vec<Section> {
    let time = event.timestamp();
    let mut buffer = String::new();
    let mut groups: BTreeMap<(usize, &str), Vec<FieldRow>> = BTreeMap::new();
    for (_, path, value) in event.fields() {
        if path == "event.original" {
            continue;
        }
        let text = match value {
            Value::Null => Some("null"),
            Value::Json(json) => Some(json),
            other => other.text(&mut buffer),
        };
        let text = text.unwrap_or_default();
        let searchable = path != "@timestamp"
            && !matches!(value, Value::Null | Value::Json(_))
            && text.len() <= FOUND_BYTES_MAX;
        let (since, until) = match time {
            Some(time) => link::around(time, FOUND_MINUTES),
            None => ("all".into(), String::new()),
        };
        let name = path.split_once('.').map_or("", |(first, _)| first);
        let place = match name {
            "watchpost" => usize::MAX,
            name => FIRST.iter().position(|first| *first == name).unwrap_or(FIRST.len()),
        };
        groups.entry((place, name)).or_default().push(FieldRow {
            path: path.to_owned(),
            value: clip(text, VALUE_CHARS_MAX),
            href: searchable
                .then(|| link::query("/search", &link::term(path, text), &since, &until)),
        });
    }
    groups
        .into_iter()
        .map(|((_, name), mut fields)| {
            fields.sort_by(|a, b| a.path.cmp(&b.path));
            Section { name: if name.is_empty() { "base".into() } else { name.into() }, fields }
        })
        .collect()
}

/// The original, indented if it is JSON.
pub(crate) fn original(event: &Event) -> Option<String> {
    let text = event.str("event.original")?;
    let pretty = serde_json::from_str::<serde_json::Value>(text)
        .ok()
        .filter(|value| value.is_object() || value.is_array())
        .and_then(|value| serde_json::to_string_pretty(&value).ok());
    Some(clip(pretty.as_deref().unwrap_or(text), VALUE_CHARS_MAX))
}

pub(crate) fn clip(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        None => text.to_owned(),
        Some(_) => text.chars().take(chars_max).chain("…".chars()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use event::Event;

    use super::sections;
    use crate::api::alerts::techniques;

    fn event(json: &str) -> Event {
        let mut event = Event::new();
        event.parse_json(json.as_bytes()).unwrap();
        event
    }

    #[test]
    fn techniques_are_named_once() {
        let event = event(
            r#"{"threat.technique":{"id":["T1059","T1003"],"subtechnique":{"id":["T1059.001"]}}}"#,
        );
        assert_eq!(techniques(&event), ["T1003", "T1059.001"]);
    }

    #[test]
    fn fields_stand_in_the_order_of_interest() {
        let event = event(
            r#"{"zeek":{"uid":"1"},"@timestamp":"2026-08-05T12:00:00Z","watchpost":{"x":1},"user":{"name":"anna","id":7},"event":{"original":"..","code":"1"}}"#,
        );
        let told: Vec<String> = sections(&event)
            .iter()
            .map(|section| {
                let paths: Vec<&str> = section.fields.iter().map(|f| f.path.as_str()).collect();
                format!("{}: {}", section.name, paths.join(" "))
            })
            .collect();
        assert_eq!(
            told,
            [
                "base: @timestamp",
                "event: event.code",
                "user: user.id user.name",
                "zeek: zeek.uid",
                "watchpost: watchpost.x"
            ]
        );
    }
}
