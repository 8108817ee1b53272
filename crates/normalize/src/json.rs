//! JSON that is ECS already, and JSON that nobody told us about.
//!
//! An ECS document is kept as it is and completed. Any other object keeps its own names; its time is
//! looked for under the usual ones, and it is tagged `unparsed`, because a rule written for a source
//! will not find its fields.

use event::logsource::{CATEGORY, PRODUCT, SERVICE};
use event::{Event, Logsource, Timestamp, Value};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{UNPARSED, set_time};

/// The records of a `{"Records": [...]}` document (CloudTrail's files), or `None` for another one.
pub(crate) fn records(payload: &[u8]) -> Option<Vec<&RawValue>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Document<'a> {
        #[serde(borrow, rename = "Records")]
        records: Vec<&'a RawValue>,
    }
    let start = payload.strip_prefix(b"{")?.trim_ascii_start();
    if !start.starts_with(b"\"Records\"") {
        return None;
    }
    serde_json::from_slice::<Document<'_>>(payload).ok().map(|document| document.records)
}

/// Names under which products keep the time of an event, most telling first.
const TIMES: [&str; 10] = [
    "@timestamp",
    "timestamp",
    "time",
    "eventTime",
    "event_time",
    "created_at",
    "published",
    "date",
    "ts",
    "datetime",
];

/// Whether an object is an ECS document.
pub(crate) fn is_ecs(source: &Event) -> bool {
    source.get("ecs.version").is_some()
        || (source.get("@timestamp").is_some()
            && ["event.category", "event.kind", "event.dataset", "event.action"]
                .iter()
                .any(|path| source.get(path).is_some()))
}

/// Keeps a JSON object. `known`: whether something of it is, so that it is not tagged.
pub(crate) fn decode(source: &Event, known: bool, dataset: &str, out: &mut Event) {
    out.clone_from(source);
    if !known {
        out.append("tags", UNPARSED);
        out.set("error.message", "JSON of a source that is not known; its fields keep their names");
    }
    if let Some(time) = own_time(source) {
        out.set_time("@timestamp", time);
    } else {
        out.remove("@timestamp");
    }
    if source.get("event.original").is_some() {
        out.remove("event.original");
    }
    if !states_class(source) {
        logsource(source, dataset, out);
    }
}

/// The time of an object.
pub(crate) fn own_time(source: &Event) -> Option<Timestamp> {
    TIMES.iter().find_map(|path| source.get(path).and_then(time))
}

/// Whether a document carries a class of its own.
pub(crate) fn states_class(source: &Event) -> bool {
    [PRODUCT, CATEGORY, SERVICE].iter().any(|path| source.get(path).is_some())
}

/// A time as text, or as seconds, milliseconds, microseconds or nanoseconds since the epoch.
fn time(value: Value<'_>) -> Option<Timestamp> {
    /// Seconds until the year 5138; a larger number is a finer unit.
    const SECONDS_MAX: i64 = 100_000_000_000;
    let number = match value {
        Value::Text(text) => {
            let mut scratch = Event::new();
            return if set_time(&mut scratch, "t", text) { scratch.time("t") } else { None };
        }
        Value::Int(number) => number,
        Value::Float(seconds) => return time_of_seconds(seconds),
        _ => return None,
    };
    let nanos = match number.unsigned_abs() as i64 {
        n if n < SECONDS_MAX => number.checked_mul(1_000_000_000),
        n if n < SECONDS_MAX * 1_000 => number.checked_mul(1_000_000),
        n if n < SECONDS_MAX * 1_000_000 => number.checked_mul(1_000),
        _ => Some(number),
    };
    nanos.map(Timestamp::from_nanos)
}

/// A time in seconds since the epoch, as far as it is one that we can hold.
pub(crate) fn time_of_seconds(seconds: f64) -> Option<Timestamp> {
    // Nanoseconds of a float are noise; microseconds are not. The conversion saturates, and what is
    // so large has too many nanoseconds.
    ((seconds * 1e6) as i64).checked_mul(1_000).map(Timestamp::from_nanos)
}

/// Systems that ECS and Sigma call the same.
const SYSTEMS: [&str; 3] = ["windows", "linux", "macos"];

/// ECS category, Sigma's: of processes those that start, of the network what is no name resolution.
const CATEGORIES: [(&str, &str); 4] = [
    ("process", "process_creation"),
    ("file", "file_event"),
    ("network", "network_connection"),
    ("web", "webserver"),
];

const DNS_QUERY: &str = "dns_query";

/// The classes that ECS documents have without carrying one. Their service is the sender's word.
pub(crate) fn classes() -> impl Iterator<Item = Logsource<'static>> {
    let categories = || CATEGORIES.iter().map(|(_, sigma)| *sigma).chain([DNS_QUERY]);
    SYSTEMS.into_iter().flat_map(move |product| {
        categories().map(move |category| Logsource {
            product: Some(product),
            category: Some(category),
            service: None,
        })
    })
}

/// The class of a document that does not carry it: from ECS' own words about it.
fn logsource(source: &Event, dataset: &str, out: &mut Event) {
    let product = source.str("host.os.type").filter(|os| SYSTEMS.contains(os));
    let starts = source.values("event.type").any(|kind| kind == Value::Text("start"));
    let mut categories = source.values("event.category").filter_map(Value::as_str);
    let category = categories.find_map(|category| match category {
        "process" if !starts => None,
        "network" if source.get("dns.question.name").is_some() => Some(DNS_QUERY),
        _ => CATEGORIES.iter().find(|(ecs, _)| *ecs == category).map(|(_, sigma)| *sigma),
    });
    let other = dataset_class(source.str("event.dataset").unwrap_or(dataset));
    Logsource { product: product.or(other.product), category, ..other }.stamp(out);
}

/// The best that is known of a source that no decoder knows: `my.app` is product `my`, service
/// `app`.
pub(crate) fn dataset_class(dataset: &str) -> Logsource<'_> {
    let (module, service) = dataset.split_once('.').unwrap_or((dataset, ""));
    let part = |text| Some(text).filter(|text: &&str| !text.is_empty());
    Logsource { product: part(module), category: None, service: part(service) }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::tests::normalized;

    #[test]
    fn ecs_stays_as_it_is() {
        assert_snapshot!(normalized(r#"{"@timestamp":"2026-11-24T11:00:00+01:00","event":{"category":["process"],"type":["start"],"dataset":"endpoint.process"},"host":{"name":"h","os":{"type":"linux"}},"tags":["a"],"list":[{"a":1}]}"#, "x.y"), @r#"{"@timestamp":"2026-11-24T10:00:00Z","event":{"category":["process"],"dataset":"endpoint.process","module":"endpoint","type":["start"]},"host":{"name":"h","os":{"type":"linux"}},"list":[{"a":1}],"related":{"hosts":["h"]},"tags":["a"],"watchpost":{"logsource":{"category":"process_creation","product":"linux","service":"process"}}}"#);
    }

    #[test]
    fn other_json_keeps_its_names() {
        assert_snapshot!(normalized(r#"{"ts":1764000000.5,"msg":"x"}"#, "my.app"), @r#"{"@timestamp":"2025-11-24T16:00:00.5Z","error":{"message":"JSON of a source that is not known; its fields keep their names"},"event":{"dataset":"my.app","module":"my"},"msg":"x","tags":["unparsed"],"ts":1764000000.5,"watchpost":{"logsource":{"product":"my","service":"app"}}}"#);
        assert_snapshot!(normalized(r#"{"time":1764000000123,"msg":"x"}"#, ""), @r#"{"@timestamp":"2025-11-24T16:00:00.123Z","error":{"message":"JSON of a source that is not known; its fields keep their names"},"event":{"dataset":"unknown","module":"unknown"},"msg":"x","tags":["unparsed"],"time":1764000000123}"#);
    }

    #[test]
    fn times_out_of_range_are_none() {
        for ts in ["99999999999.5", "-99999999999.5", "1e300", "-9223372036854775808"] {
            let event = normalized(&format!(r#"{{"ts":{ts}}}"#), "");
            assert!(event.contains("missing_time"), "{event}");
        }
    }

    #[test]
    fn records_are_taken_apart() {
        let lines = normalized(r#"{"Records":[{"a":1},{"a":2}]}"#, "");
        assert_eq!(lines.lines().count(), 2);
    }
}
