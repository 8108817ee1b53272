//! Envelopes: what shipping protocols put around a record.
//!
//! A listener for one of them hands on the record with what its shipper said beside it, in one JSON
//! object ([`Encoding`] says how each looks). Opening one finds the record, which the decoders then
//! read as if it had come by itself, and the rest, under ECS' names. The rest only fills gaps: where
//! the record itself tells its time, host or severity, it is nearer to the matter than the shipper.
//!
//! What neither ECS nor a table has a name for stays under its own: labels under `labels.`, fields of
//! GELF under `gelf.`, attributes of OTLP under `otel.`, fields of the journal under `journal.`.
//!
//! One file per protocol. Nothing in an envelope is worth refusing it, but for a part that must be
//! there and is not; then it is an event with the tag `unparsed`, whose message is the envelope.

mod forward;
mod gelf;
mod hec;
pub(crate) mod journal;
mod loki;
mod otlp;

use std::borrow::Cow;

use event::ecs::{Type, field_type};
use event::raw::Encoding;
use event::{Event, FIELDS_MAX, Timestamp};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::json;

/// The most fields that an envelope and its record may have together. What is left of the limit of
/// events is for what every event gets, so that it can still be read behind the bus.
const FIELDS_TOGETHER_MAX: usize = FIELDS_MAX - 64;

/// The longest name that is taken for that of a dataset.
const DATASET_BYTES_MAX: usize = 64;

/// An opened envelope.
#[derive(Debug)]
pub(crate) struct Opened<'a> {
    pub(crate) record: Record<'a>,
    pub(crate) hint: Hint,
}

/// The record in an envelope.
#[derive(Debug)]
pub(crate) enum Record<'a> {
    /// What would have been sent without the envelope: text or a JSON document.
    Carried(Cow<'a, str>),
    /// The same, but where no decoder knows it, it is no fault: the protocol is one of log messages,
    /// and this is the text of one.
    Message(Cow<'a, str>),
    /// A message of this program, without the syslog header, which the envelope has in its fields.
    Program(String, Cow<'a, str>),
    /// None; the envelope says all.
    Nothing,
}

/// A name for the source.
#[derive(Debug, Default)]
pub(crate) struct Hint {
    /// Fit to be a dataset's; empty if there is none.
    pub(crate) name: String,
    /// Whether it says which kind of source it is (`cisco.asa`), as a listener's dataset does.
    /// Otherwise it is only what somebody called it (`varlogs`), and does not overrule the form of
    /// the record.
    pub(crate) certain: bool,
}

impl Hint {
    /// Of a service, job or tag.
    fn of(name: &str) -> Hint {
        Hint { name: dataset_name(name).unwrap_or_default(), certain: false }
    }
}

/// Opens an envelope; what stands beside the record goes into `around`, under ECS' names.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn open<'a>(
    encoding: Encoding,
    payload: &'a str,
    around: &mut Event,
) -> Result<Opened<'a>, String> {
    let opened = match encoding {
        Encoding::Hec => hec::open(payload, around),
        Encoding::Otlp => otlp::open(payload, around),
        Encoding::Gelf => gelf::open(payload, around),
        Encoding::Loki => loki::open(payload, around),
        Encoding::Forward => forward::open(payload, around),
        Encoding::Journal
        | Encoding::Unknown
        | Encoding::Json
        | Encoding::Syslog
        | Encoding::Text => {
            Ok(Opened { record: Record::Carried(payload.into()), hint: Hint::default() })
        }
    }?;
    Ok(opened)
}

/// Adds what an envelope says to the event of its record.
///
/// # Errors
/// When there is more than an event can hold.
pub(crate) fn close(around: &mut Event, out: &mut Event) -> Result<(), String> {
    if around.len() + out.len() > FIELDS_TOGETHER_MAX {
        return Err(format!(
            "the envelope and its record have more than {FIELDS_TOGETHER_MAX} fields"
        ));
    }
    if out.get("process.command_line").is_some() {
        // The record tells of a process that its writer started or saw (`sudo`, `cron`).
        around.remove("process.command_line");
        around.remove("process.executable");
    }
    out.clone_missing(around);
    Ok(())
}

/// Names that shippers use beside the text of a record, and those of ECS. They are copied, because
/// rules for that JSON ask for its own names.
const NAMES: [(&str, &str); 16] = [
    ("log", "message"),
    ("msg", "message"),
    ("host", "host.name"),
    ("hostname", "host.name"),
    ("level", "log.level"),
    ("severity", "log.level"),
    ("log_level", "log.level"),
    ("container_id", "container.id"),
    ("container_name", "container.name"),
    // Of the Kubernetes filters of Fluentd and Fluent Bit.
    ("kubernetes.host", "kubernetes.node.name"),
    ("kubernetes.pod_name", "kubernetes.pod.name"),
    ("kubernetes.pod_id", "kubernetes.pod.uid"),
    ("kubernetes.namespace_name", "orchestrator.namespace"),
    ("kubernetes.container_name", "container.name"),
    ("kubernetes.container_image", "container.image.name"),
    ("kubernetes.docker_id", "container.id"),
];

/// Takes what a JSON record says under a shipper's names.
pub(crate) fn take_names(source: &Event, around: &mut Event) {
    // Where an access line was taken apart, `host` is the client's.
    let access = source.get("method").is_some() && source.get("code").is_some();
    for (name, path) in NAMES {
        let text = source.str(name).map(str::trim_end);
        let text = text.filter(|text| !matches!(*text, "" | "-"));
        if let Some(text) = text
            && !(access && name == "host")
            && around.get(path).is_none()
        {
            around.set(path, text);
        }
    }
}

/// A name of a service, job, tag or the like as one of a dataset, if it is fit: short, and not one of
/// many that differ by an id. Datasets are listed and counted.
fn dataset_name(name: &str) -> Option<String> {
    // Loki's jobs are `namespace/app`.
    let name = name.rsplit('/').next().unwrap_or(name);
    let name = name.to_ascii_lowercase().replace('-', "_");
    let is_id = |part: &str| part.len() >= 12 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let fits = name.len() <= DATASET_BYTES_MAX
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'))
        && name.split('.').count() <= 3
        && name.split('.').all(|part| !part.is_empty() && !is_id(part));
    fits.then_some(name)
}

/// A JSON text, number or boolean as text.
fn text_of(json: &RawValue) -> Option<Cow<'_, str>> {
    let json = json.get();
    if json.starts_with('"') {
        return serde_json::from_str::<String>(json).ok().map(Cow::Owned);
    }
    let other = json == "null" || json.starts_with(['{', '[']);
    (!other).then_some(Cow::Borrowed(json))
}

/// A JSON text, number or boolean as text.
fn text_of_value(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(text.into()),
        Value::Number(number) => Some(number.to_string().into()),
        Value::Bool(flag) => Some(flag.to_string().into()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Sets a text, unless it is empty or the field is there.
fn fill(around: &mut Event, path: &str, text: Option<&str>) {
    if let Some(text) = text.filter(|text| !text.is_empty())
        && around.get(path).is_none()
    {
        around.set(path, text);
    }
}

/// Adds any value, unless the field is there. Returns whether it was added.
fn add(around: &mut Event, path: &str, value: &Value) -> bool {
    if around.get(path).is_some() || !fits(path, value) {
        return false;
    }
    around.add_value(path, value);
    true
}

/// Whether ECS' type of a field, if it is known, can hold a value.
fn fits(path: &str, value: &Value) -> bool {
    let one = |value: &Value| match field_type(path) {
        None => true,
        Some(Type::Long) => value.is_i64() || value.is_u64(),
        Some(Type::Float) => value.is_number(),
        Some(Type::Boolean) => value.is_boolean(),
        Some(Type::Ip) => {
            value.as_str().is_some_and(|text| text.parse::<std::net::IpAddr>().is_ok())
        }
        Some(Type::Date) => value.as_str().and_then(Timestamp::parse_rfc3339).is_some(),
        Some(Type::Keyword | Type::Text | Type::Wildcard) => {
            !value.is_object() && !value.is_array() && !value.is_null()
        }
    };
    match (field_type(path), value) {
        (Some(_), Value::Array(values)) => !values.is_empty() && values.iter().all(one),
        _ => one(value),
    }
}

/// A time as RFC 3339, or as a decimal number since 1970: of seconds, as the protocols say, or of a
/// finer unit, which some senders write all the same and its size gives away.
fn time(text: &str) -> Option<Timestamp> {
    /// Seconds until the year 5138.
    const SECONDS_MAX: i64 = 100_000_000_000;
    let text = text.trim();
    // `1.764e9`
    let with_exponent = || {
        let seconds = text.parse::<f64>().ok().filter(|seconds| seconds.is_finite())?;
        json::time_of_seconds(seconds)
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let Ok(number) = whole.parse::<i64>() else {
        return Timestamp::parse_rfc3339(text).or_else(with_exponent);
    };
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return with_exponent();
    }
    let unit: i64 = match number.checked_abs()? {
        n if n < SECONDS_MAX => 1_000_000_000,
        n if n < SECONDS_MAX * 1_000 => 1_000_000,
        n if n < SECONDS_MAX * 1_000_000 => 1_000,
        _ => 1,
    };
    // Digit by digit, because a float of seconds has no nanoseconds.
    let mut nanos = number.checked_mul(unit)?;
    let mut digit_nanos = if text.starts_with('-') { -unit } else { unit };
    for digit in fraction.bytes().take(9) {
        digit_nanos /= 10;
        nanos = nanos.checked_add(digit_nanos * i64::from(digit - b'0'))?;
    }
    Some(Timestamp::from_nanos(nanos))
}

/// A count of nanoseconds since 1970 as decimal text; 0 is what protocols write for none.
fn time_of_nanos(text: &str) -> Option<Timestamp> {
    text.trim().parse::<i64>().ok().filter(|nanos| *nanos != 0).map(Timestamp::from_nanos)
}

#[cfg(test)]
pub(crate) mod tests {
    use event::raw::Encoding;
    use event::{Event, RawRecord, Timestamp};
    use proptest::prelude::*;

    use super::{dataset_name, time};
    use crate::UNPARSED;
    use crate::tests::{SAME, normalizer};

    const ENVELOPES: [Encoding; 6] = [
        Encoding::Hec,
        Encoding::Otlp,
        Encoding::Gelf,
        Encoding::Loki,
        Encoding::Journal,
        Encoding::Forward,
    ];

    /// The event of an envelope that arrived on 2026-11-24, without its original.
    pub(crate) fn event_of(encoding: Encoding, payload: &str, dataset: &str) -> Event {
        let received = Timestamp::parse_rfc3339("2026-11-24T12:00:00Z").unwrap();
        let raw = RawRecord { encoding, dataset, ..RawRecord::new(payload.as_bytes(), received) };
        let mut events = Vec::new();
        normalizer().normalize(&raw, None, &mut |event| events.push(event.clone())).unwrap();
        assert_eq!(events.len(), 1);
        let mut event = events.remove(0);
        for same in SAME {
            event.remove(same);
        }
        event
    }

    /// The same as JSON.
    pub(crate) fn opened(encoding: Encoding, payload: &str) -> String {
        event_of(encoding, payload, "").to_json()
    }

    /// Checks that all fields of a record that was sent by itself are in the event of its envelope.
    pub(crate) fn same_inside(direct: &str, encoding: Encoding, envelope: &str) {
        let direct = event_of(Encoding::Unknown, direct, "");
        let inside = event_of(encoding, envelope, "");
        for (_, path, value) in direct.fields() {
            assert!(
                inside.values(path).any(|other| other == value),
                "{path} is {value:?} when sent directly, not in {}",
                inside.to_json()
            );
        }
    }

    #[test]
    fn times_are_read_exactly() {
        for (text, expected) in [
            ("1764000000", "2025-11-24T16:00:00Z"),
            ("1764000000.123456789", "2025-11-24T16:00:00.123456789Z"),
            ("1764000000.5", "2025-11-24T16:00:00.5Z"),
            ("1764000000123", "2025-11-24T16:00:00.123Z"),
            ("1764000000123.5", "2025-11-24T16:00:00.1235Z"),
            ("1764000000123456789", "2025-11-24T16:00:00.123456789Z"),
            ("1.764e9", "2025-11-24T16:00:00Z"),
            ("-1.5", "1969-12-31T23:59:58.5Z"),
            ("2026-11-24T10:00:00.000000001Z", "2026-11-24T10:00:00.000000001Z"),
        ] {
            assert_eq!(
                time(text).map(|time| time.to_string()).as_deref(),
                Some(expected),
                "{text}"
            );
        }
        for text in ["", "x", "1.x", "1e300", "NaN", "-9223372036854775808", "99999999999.5e0"] {
            assert_eq!(time(text), None, "{text}");
        }
    }

    #[test]
    fn only_fitting_names_are_datasets() {
        for (name, expected) in [
            ("nginx.access", Some("nginx.access")),
            ("default/Check-Out", Some("check_out")),
            ("kube.var.log.containers.a_b_c-0123456789ab.log", None),
            ("docker.0123456789abcdef", None),
            ("a b", None),
            ("7", None),
            ("a..b", None),
            ("", None),
        ] {
            assert_eq!(dataset_name(name).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn broken_envelopes_are_events() {
        for encoding in ENVELOPES {
            for payload in ["", "hello", "{", "[]", "7", "null", "{}", r#"{"Records":[]}"#] {
                let event = event_of(encoding, payload, "my.app");
                // An entry of the journal has no field that it must have.
                if encoding != Encoding::Journal || !payload.starts_with('{') || payload == "{" {
                    let tagged = event.values("tags").any(|tag| tag.as_str() == Some(UNPARSED));
                    assert!(tagged, "{encoding:?} {payload}");
                    assert_eq!(event.str("message"), Some(payload), "{encoding:?}");
                    assert!(event.get("error.message").is_some(), "{encoding:?} {payload}");
                }
                assert_eq!(event.str("event.dataset"), Some("my.app"), "{encoding:?}");
            }
        }
    }

    #[test]
    fn wide_envelopes_are_bounded() {
        let many: Vec<String> = (0..5000).map(|n| format!(r#""_f{n}":{n}"#)).collect();
        let gelf = format!(r#"{{"short_message":"x",{}}}"#, many.join(","));
        assert!(opened(Encoding::Gelf, &gelf).contains("more than 4032 fields"));
        let many: Vec<String> =
            (0..5000).map(|n| format!(r#"{{"key":"f{n}","value":{{"intValue":{n}}}}}"#)).collect();
        let otlp = format!(r#"{{"logRecord":{{"attributes":[{}]}}}}"#, many.join(","));
        assert!(opened(Encoding::Otlp, &otlp).contains("more than 4032 fields"));
        let deep = format!(r#"{{"event":{}1{}}}"#, r#"{"a":"#.repeat(100), "}".repeat(100));
        assert!(opened(Encoding::Hec, &deep).contains("nested deeper"));
        let deeper = format!(
            r#"{{"logRecord":{{"body":{}{{}}{}}}}}"#,
            r#"{"arrayValue":{"values":["#.repeat(500),
            "]}}".repeat(500)
        );
        assert!(opened(Encoding::Otlp, &deeper).contains("unparsed"));
    }

    fn tree() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            (-1e12..1e12f64).prop_map(Into::into),
            (0..256i64).prop_map(Into::into),
            ".{0,12}".prop_map(Into::into),
            "(<34>)?Nov 24 10:00:00 h sshd\\[7\\]: [a-zA-Z ]{0,30}".prop_map(Into::into),
            Just("{\"@timestamp\":\"2026-11-24T10:00:00Z\",\"event\":{\"kind\":\"event\"}}".into()),
            Just("2026-11-24T10:00:00Z".into()),
            Just("web-1.example.com".into()),
        ];
        // The names that mean something, so that each meets each kind of value.
        let name = prop::sample::select(vec![
            "event",
            "time",
            "host",
            "source",
            "sourcetype",
            "fields",
            "index",
            "resource",
            "scope",
            "logRecord",
            "attributes",
            "body",
            "key",
            "value",
            "stringValue",
            "intValue",
            "kvlistValue",
            "arrayValue",
            "values",
            "bytesValue",
            "severityText",
            "severityNumber",
            "timeUnixNano",
            "traceId",
            "short_message",
            "full_message",
            "level",
            "timestamp",
            "facility",
            "_pid",
            "_x",
            "labels",
            "line",
            "metadata",
            "job",
            "unit",
            "MESSAGE",
            "PRIORITY",
            "_PID",
            "_TRANSPORT",
            "SYSLOG_IDENTIFIER",
            "_AUDIT_ID",
            "__REALTIME_TIMESTAMP",
            "tag",
            "record",
            "log",
            "message",
            "ident",
            "method",
            "code",
            "path",
            "@timestamp",
            "a.b",
        ]);
        leaf.prop_recursive(5, 40, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                prop::collection::hash_map(name.clone(), inner, 0..6).prop_map(|map| {
                    let map = map.into_iter().map(|(name, value)| (name.to_owned(), value));
                    serde_json::Value::Object(map.collect())
                }),
            ]
        })
    }

    proptest! {
        /// In any envelope any JSON is one event, which reads back as it was written.
        #[test]
        fn any_json_is_an_event(
            encoding in prop::sample::select(ENVELOPES.to_vec()),
            parts in prop::collection::vec(tree(), 5),
            whole in any::<bool>(),
        ) {
            let mut parts = parts.into_iter();
            let mut part = || parts.next().unwrap();
            let json = if whole {
                part()
            } else {
                match encoding {
                    Encoding::Hec => serde_json::json!({
                        "event": part(), "time": part(), "host": part(), "sourcetype": part(),
                        "fields": part(),
                    }),
                    Encoding::Otlp => serde_json::json!({
                        "resource": {"attributes": [{"key": "host.name", "value": part()}]},
                        "logRecord": {
                            "body": part(), "severityNumber": part(), "timeUnixNano": part(),
                            "attributes": [{"key": "process.pid", "value": part()}],
                        },
                    }),
                    Encoding::Gelf => serde_json::json!({
                        "short_message": part(), "full_message": part(), "level": part(),
                        "timestamp": part(), "_x": part(),
                    }),
                    Encoding::Loki => serde_json::json!({
                        "labels": part(), "line": part(), "timestamp": part(), "metadata": part(),
                    }),
                    Encoding::Journal => serde_json::json!({
                        "MESSAGE": part(), "PRIORITY": part(), "_PID": part(),
                        "SYSLOG_IDENTIFIER": part(), "_TRANSPORT": "audit", "X": part(),
                    }),
                    _ => serde_json::json!({"tag": part(), "time": part(), "record": part()}),
                }
            };
            let event = event_of(encoding, &json.to_string(), "");
            let once = event.to_json();
            let mut again = Event::new();
            again.parse_json(once.as_bytes()).unwrap();
            prop_assert_eq!(again.to_json(), once);
        }
    }
}
