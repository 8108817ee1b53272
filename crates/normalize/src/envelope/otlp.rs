//! Log records of OpenTelemetry's protocol.
//!
//! Attributes follow OpenTelemetry's semantic conventions, which share many names with ECS. Those are
//! taken by ECS' own list of fields; [`NAMES`] has the ones that are called otherwise, after the
//! alignment that both projects keep.
//! <https://www.elastic.co/docs/reference/ecs/ecs-otel-alignment-details>,
//! <https://opentelemetry.io/docs/specs/otel/logs/data-model/>

use event::Event;
use event::ecs::field_type;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Hint, Opened, Record, add, fill, text_of_value, time_of_nanos};
use crate::set_ip;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    resource: Option<Resource>,
    scope: Option<Scope>,
    log_record: Option<LogRecord>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    attributes: Option<Vec<KeyValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Scope {
    name: Option<String>,
    version: Option<String>,
    attributes: Option<Vec<KeyValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogRecord {
    time_unix_nano: Option<Value>,
    observed_time_unix_nano: Option<Value>,
    severity_number: Option<Value>,
    severity_text: Option<String>,
    event_name: Option<String>,
    body: Option<Value>,
    attributes: Option<Vec<KeyValue>>,
    dropped_attributes_count: Option<Value>,
    flags: Option<Value>,
    trace_id: Option<String>,
    span_id: Option<String>,
}

#[derive(Deserialize)]
struct KeyValue {
    key: String,
    value: Option<Value>,
}

/// Attributes whose ECS field is called otherwise, or is not in our list of fields; sorted. Those that
/// OpenTelemetry has renamed since are here under both names.
const NAMES: &[(&str, &str)] = &[
    ("cloud.platform", "cloud.service.name"),
    ("code.file.path", "log.origin.file.name"),
    ("code.filepath", "log.origin.file.name"),
    ("code.function", "log.origin.function"),
    ("code.function.name", "log.origin.function"),
    ("code.line.number", "log.origin.file.line"),
    ("code.lineno", "log.origin.file.line"),
    ("container.image.tags", "container.image.tag"),
    ("container.runtime.name", "container.runtime"),
    ("deployment.environment", "service.environment"),
    ("deployment.environment.name", "service.environment"),
    ("enduser.id", "user.id"),
    ("enduser.role", "user.roles"),
    ("exception.message", "error.message"),
    ("exception.stacktrace", "error.stack_trace"),
    ("exception.type", "error.type"),
    ("file.group.id", "file.gid"),
    ("file.group.name", "file.group"),
    ("file.modified", "file.mtime"),
    ("file.owner.id", "file.uid"),
    ("file.owner.name", "file.owner"),
    ("file.symbolic_link.target_path", "file.target_path"),
    ("host.arch", "host.architecture"),
    ("http.flavor", "http.version"),
    ("http.method", "http.request.method"),
    ("http.request.body.size", "http.request.body.bytes"),
    ("http.request.size", "http.request.bytes"),
    ("http.response.body.size", "http.response.body.bytes"),
    ("http.response.size", "http.response.bytes"),
    ("http.status_code", "http.response.status_code"),
    ("http.target", "url.original"),
    ("http.url", "url.full"),
    ("http.user_agent", "user_agent.original"),
    ("k8s.cluster.name", "orchestrator.cluster.name"),
    ("k8s.cluster.uid", "orchestrator.cluster.id"),
    ("k8s.namespace.name", "orchestrator.namespace"),
    ("network.protocol.name", "network.protocol"),
    ("os.description", "host.os.full"),
    ("os.name", "host.os.name"),
    ("os.version", "host.os.version"),
    ("otel.log.severity.text", "log.level"),
    ("process.command_args", "process.args"),
    ("process.creation.time", "process.start"),
    ("process.executable.name", "process.name"),
    ("process.executable.path", "process.executable"),
    ("process.exit.code", "process.exit_code"),
    ("process.owner", "process.user.name"),
    ("process.parent_pid", "process.parent.pid"),
    ("service.instance.id", "service.node.name"),
    ("thread.id", "process.thread.id"),
    ("thread.name", "process.thread.name"),
];

/// Attributes that hold a name or an address, and the ECS objects whose address it is. Where a server
/// logs a request its client is also the source, which is what rules ask for.
const ADDRESSES: [(&str, &[&str]); 9] = [
    ("client.address", &["client", "source"]),
    ("destination.address", &["destination"]),
    ("http.client_ip", &["client", "source"]),
    ("net.peer.ip", &["source"]),
    ("net.sock.peer.addr", &["source"]),
    ("network.peer.address", &["source"]),
    ("server.address", &["server"]),
    ("net.host.name", &["server"]),
    ("source.address", &["source"]),
];

/// ECS fields of these groups are made here or by the record; senders' attributes of such a name are
/// kept as attributes.
const OURS: [&str; 7] = ["@timestamp", "data_stream", "ecs", "event", "message", "related", "tags"];

/// What severity numbers are called, four at a time from 1.
const SEVERITIES: [&str; 6] = ["trace", "debug", "info", "warn", "error", "fatal"];

pub(super) fn open<'a>(payload: &'a str, around: &mut Event) -> Result<Opened<'a>, String> {
    let envelope: Envelope = serde_json::from_str(payload)
        .map_err(|error| format!("this is no log record of OTLP: {error}"))?;
    let Some(log) = envelope.log_record else {
        return Err("this is no log record of OTLP: `logRecord` is missing".into());
    };
    let nanos = |value: &Option<Value>| {
        value.as_ref().and_then(text_of_value).and_then(|text| time_of_nanos(&text))
    };
    let (time, observed) = (nanos(&log.time_unix_nano), nanos(&log.observed_time_unix_nano));
    if let Some(time) = time.or(observed) {
        around.set_time("@timestamp", time);
    }
    if let (Some(_), Some(observed)) = (time, observed) {
        around.set_time("event.created", observed);
    }
    severity(&log, around);
    fill(around, "trace.id", log.trace_id.as_deref());
    fill(around, "span.id", log.span_id.as_deref());
    fill(around, "event.action", log.event_name.as_deref());
    // The attributes of the record come first, because they are nearer to it.
    attributes(log.attributes, "otel.attributes.", around);
    attributes(
        envelope.resource.and_then(|resource| resource.attributes),
        "otel.resource.",
        around,
    );
    if let Some(scope) = envelope.scope {
        fill(around, "log.logger", scope.name.as_deref());
        fill(around, "otel.scope.version", scope.version.as_deref());
        attributes(scope.attributes, "otel.scope.attributes.", around);
    }
    for (path, count) in [
        ("otel.dropped_attributes_count", &log.dropped_attributes_count),
        ("otel.flags", &log.flags),
    ] {
        if let Some(count) = count.as_ref().filter(|count| count.as_u64() != Some(0)) {
            add(around, path, count);
        }
    }
    let hint = around
        .str("service.name")
        .filter(|name| !name.starts_with("unknown_service"))
        .map(Hint::of)
        .unwrap_or_default();
    let record = match log.body.map(plain) {
        None | Some(Value::Null) => Record::Nothing,
        Some(Value::String(text)) => Record::Message(text.into()),
        Some(other) => Record::Message(other.to_string().into()),
    };
    Ok(Opened { record, hint })
}

fn severity(log: &LogRecord, around: &mut Event) {
    let number = log.severity_number.as_ref().and_then(severity_number).filter(|n| *n > 0);
    if let Some(number) = number {
        around.set("event.severity", i64::from(number));
    }
    let name = number.and_then(|number| SEVERITIES.get(usize::from((number - 1) / 4)));
    let text = log.severity_text.as_deref().map(str::to_ascii_lowercase);
    fill(around, "log.level", text.as_deref());
    fill(around, "log.level", name.copied());
}

/// A number, or its name in the protocol (`SEVERITY_NUMBER_WARN2`), which its JSON may have instead.
fn severity_number(value: &Value) -> Option<u8> {
    if let Some(number) = value.as_u64() {
        return u8::try_from(number).ok().filter(|number| *number <= 24);
    }
    let name = value.as_str()?.strip_prefix("SEVERITY_NUMBER_")?.to_ascii_lowercase();
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let at = SEVERITIES.iter().position(|severity| *severity == stem)?;
    let step = name.get(stem.len()..).filter(|digits| !digits.is_empty()).unwrap_or("1");
    let step = step.parse::<u8>().ok().filter(|step| (1..=4).contains(step))?;
    Some(u8::try_from(at).ok()? * 4 + step)
}

fn attributes(list: Option<Vec<KeyValue>>, prefix: &str, around: &mut Event) {
    for KeyValue { key, value } in list.into_iter().flatten() {
        let value = value.map(plain).unwrap_or_default();
        if value.is_null() || key.is_empty() {
            continue;
        }
        if around.len() > event::FIELDS_MAX {
            // More than an event can hold; closing the envelope says so.
            return;
        }
        if !add_named(around, &key, &value) {
            add(around, &format!("{prefix}{key}"), &value);
        }
    }
}

/// Adds an attribute under its ECS name. Returns whether it has one that can hold the value, and that
/// is not taken.
pub(super) fn add_named(around: &mut Event, key: &str, value: &Value) -> bool {
    if let Some((_, objects)) = ADDRESSES.iter().find(|(name, _)| *name == key)
        && let Some(text) = value.as_str().filter(|text| !text.is_empty())
    {
        return objects.iter().fold(false, |added, object| added | address(around, object, text));
    }
    if key == "os.type" {
        // The one value that the two call otherwise.
        let kind = value.as_str().map(|kind| if kind == "darwin" { "macos" } else { kind });
        fill(around, "host.os.type", kind);
        return kind.is_some();
    }
    if let Ok(at) = NAMES.binary_search_by(|(name, _)| (*name).cmp(key)) {
        return NAMES.get(at).is_some_and(|(_, path)| add(around, path, value));
    }
    if let Some(rest) = key.strip_prefix("k8s.") {
        // Not in ECS, but what all of Elastic's agents write.
        return add(around, &format!("kubernetes.{rest}"), value);
    }
    let group = key.split('.').next().unwrap_or(key);
    field_type(key).is_some() && !OURS.contains(&group) && add(around, key, value)
}

/// Sets the address of an object, unless it has one.
fn address(around: &mut Event, object: &str, text: &str) -> bool {
    let path = format!("{object}.address");
    if around.get(&path).is_some() {
        return false;
    }
    around.set(&path, text);
    if !set_ip(around, &format!("{object}.ip"), text) {
        around.set(&format!("{object}.domain"), text);
    }
    true
}

/// A value of OTLP's JSON (`{"stringValue":"a"}`) as plain JSON. What is none is kept as it is.
fn plain(value: Value) -> Value {
    let Value::Object(mut object) = value else { return value };
    let values = |value: &mut Value| match value.get_mut("values").map(Value::take) {
        Some(Value::Array(values)) => values,
        _ => Vec::new(),
    };
    let Some((kind, inner)) = object.iter_mut().find(|(kind, _)| kind.ends_with("Value")) else {
        return if object.is_empty() { Value::Null } else { Value::Object(object) };
    };
    match kind.as_str() {
        "arrayValue" => Value::Array(values(inner).into_iter().map(plain).collect()),
        "kvlistValue" => {
            let mut map = Map::new();
            for mut pair in values(inner) {
                let value = pair.get_mut("value").map(Value::take).unwrap_or_default();
                if let Some(key) = pair.get("key").and_then(Value::as_str) {
                    map.insert(key.to_owned(), plain(value));
                }
            }
            Value::Object(map)
        }
        // 64-bit numbers are texts in the JSON of protocol buffers.
        "intValue" => match inner.as_str().and_then(|text| text.parse::<i64>().ok()) {
            Some(number) => number.into(),
            None => inner.take(),
        },
        // Bytes stay in base64; what they are is not known.
        _ => inner.take(),
    }
}

#[cfg(test)]
mod tests {
    use event::raw::Encoding;
    use insta::assert_snapshot;

    use super::NAMES;
    use crate::envelope::tests::{event_of, opened, same_inside};

    fn otlp(payload: &str) -> String {
        opened(Encoding::Otlp, payload)
    }

    #[test]
    fn names_are_sorted() {
        assert!(NAMES.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn records_are_mapped() {
        // An SDK.
        assert_snapshot!(otlp(r#"{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"check-out"}},{"key":"service.instance.id","value":{"stringValue":"i1"}},{"key":"host.name","value":{"stringValue":"web1"}},{"key":"host.arch","value":{"stringValue":"amd64"}},{"key":"os.type","value":{"stringValue":"darwin"}},{"key":"process.pid","value":{"intValue":"4711"}},{"key":"process.command_args","value":{"arrayValue":{"values":[{"stringValue":"java"},{"stringValue":"-jar"}]}}},{"key":"k8s.pod.name","value":{"stringValue":"p1"}},{"key":"k8s.namespace.name","value":{"stringValue":"shop"}},{"key":"cloud.region","value":{"stringValue":"eu-1"}},{"key":"telemetry.sdk.language","value":{"stringValue":"java"}}]},"scope":{"name":"com.example.Pay","version":"1.2"},"logRecord":{"timeUnixNano":"1795518000123456789","observedTimeUnixNano":"1795518000200000000","severityNumber":17,"severityText":"ERROR","body":{"stringValue":"payment failed"},"attributes":[{"key":"exception.type","value":{"stringValue":"IOException"}},{"key":"exception.message","value":{"stringValue":"x"}},{"key":"http.request.method","value":{"stringValue":"POST"}},{"key":"http.response.status_code","value":{"intValue":502}},{"key":"client.address","value":{"stringValue":"203.0.113.5"}},{"key":"user.id","value":{"stringValue":"u1"}},{"key":"order","value":{"kvlistValue":{"values":[{"key":"id","value":{"intValue":"7"}},{"key":"paid","value":{"boolValue":false}}]}}}],"flags":1,"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","droppedAttributesCount":0}}"#), @r#"{"@timestamp":"2026-11-24T11:00:00.123456789Z","client":{"address":"203.0.113.5","ip":"203.0.113.5"},"cloud":{"region":"eu-1"},"error":{"message":"x","type":"IOException"},"event":{"created":"2026-11-24T11:00:00.2Z","dataset":"check_out","module":"check_out","severity":17},"host":{"architecture":"amd64","name":"web1","os":{"type":"macos"}},"http":{"request":{"method":"POST"},"response":{"status_code":502}},"kubernetes":{"pod":{"name":"p1"}},"log":{"level":"error","logger":"com.example.Pay"},"message":"payment failed","orchestrator":{"namespace":"shop"},"otel":{"attributes":{"order":{"id":7,"paid":false}},"flags":1,"resource":{"telemetry":{"sdk":{"language":"java"}}},"scope":{"version":"1.2"}},"process":{"args":["java","-jar"],"pid":4711},"related":{"hosts":["web1"],"ip":["203.0.113.5"]},"service":{"name":"check-out","node":{"name":"i1"}},"source":{"address":"203.0.113.5","ip":"203.0.113.5"},"span":{"id":"eee19b7ec3c1b174"},"trace":{"id":"5b8efff798038103d269b633813fc60c"},"user":{"id":"u1"},"watchpost":{"logsource":{"product":"check_out"}}}"#);
        // The Collector, reading a file.
        assert_snapshot!(otlp(r#"{"resource":{},"scope":{},"logRecord":{"observedTimeUnixNano":1795518000123456789,"body":{"stringValue":"Nov 24 11:00:00 gate sshd[7]: Failed password for root from 203.0.113.5 port 9 ssh2"},"attributes":[{"key":"log.file.path","value":{"stringValue":"/var/log/auth.log"}},{"key":"log.file.name","value":{"stringValue":"auth.log"}}]}}"#), @r#"{"@timestamp":"2026-11-24T11:00:00Z","event":{"action":"ssh_login","category":["authentication"],"dataset":"linux.sshd","module":"linux","outcome":"failure","type":["start"]},"host":{"name":"gate","os":{"type":"linux"}},"linux":{"ssh":{"method":"password"}},"log":{"file":{"path":"/var/log/auth.log"},"syslog":{"appname":"sshd","hostname":"gate","procid":"7"}},"message":"Failed password for root from 203.0.113.5 port 9 ssh2","otel":{"attributes":{"log":{"file":{"name":"auth.log"}}}},"process":{"name":"sshd","pid":7},"related":{"hosts":["gate"],"ip":["203.0.113.5"],"user":["root"]},"source":{"address":"203.0.113.5","ip":"203.0.113.5","port":9},"user":{"name":"root"},"watchpost":{"logsource":{"product":"linux","service":"sshd"}}}"#);
    }

    #[test]
    fn bodies_are_read_as_if_sent_directly() {
        let of =
            |body: serde_json::Value| serde_json::json!({"logRecord": {"body": body}}).to_string();
        let line = r#"203.0.113.5 - - [24/Nov/2026:11:00:00 +0000] "GET / HTTP/1.1" 200 5"#;
        same_inside(line, Encoding::Otlp, &of(serde_json::json!({"stringValue": line})));
        // The Collector's receiver of the journal.
        let entry = r#"{"MESSAGE":"Invalid user bob from 203.0.113.5 port 22","SYSLOG_IDENTIFIER":"sshd","_HOSTNAME":"gate","_PID":"7","PRIORITY":"6","__REALTIME_TIMESTAMP":"1795518000000000"}"#;
        let fields: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(entry).unwrap();
        let pairs: Vec<_> = fields
            .into_iter()
            .map(|(key, value)| serde_json::json!({"key": key, "value": {"stringValue": value}}))
            .collect();
        let body = of(serde_json::json!({"kvlistValue": {"values": pairs}}));
        same_inside(entry, Encoding::Otlp, &body);
        assert_eq!(event_of(Encoding::Otlp, &body, "").str("event.dataset"), Some("linux.sshd"));
    }

    #[test]
    fn severities_have_names() {
        let of = |number: serde_json::Value| {
            let json = serde_json::json!({"logRecord": {"severityNumber": number}}).to_string();
            let event = event_of(Encoding::Otlp, &json, "");
            (
                event.get("event.severity").and_then(event::Value::as_int),
                event.str("log.level").map(str::to_owned),
            )
        };
        let named = |number, name: &str| (Some(number), Some(name.to_owned()));
        assert_eq!(of(1.into()), named(1, "trace"));
        assert_eq!(of(12.into()), named(12, "info"));
        assert_eq!(of(24.into()), named(24, "fatal"));
        assert_eq!(of("SEVERITY_NUMBER_WARN2".into()), named(14, "warn"));
        for none in [serde_json::json!(0), 25.into(), (-1).into(), "SEVERITY_NUMBER_WARN7".into()] {
            assert_eq!(of(none), (None, None));
        }
    }

    #[test]
    fn odd_parts_do_no_harm() {
        assert_snapshot!(otlp(r#"{"resource":{"attributes":[{"key":"process.pid","value":{"stringValue":"x"}},{"key":"host.ip","value":{"stringValue":"none"}},{"key":"event.id","value":{"stringValue":"mine"}},{"key":"","value":{"intValue":1}},{"key":"a"},{"key":"b","value":{"bytesValue":"AAE="}}]},"logRecord":{"body":{"doubleValue":1.5},"timeUnixNano":"0"}}"#), @r#"{"@timestamp":"2026-11-24T12:00:00Z","event":{"dataset":"unknown","module":"unknown"},"message":"1.5","otel":{"resource":{"b":"AAE=","event":{"id":"mine"},"host":{"ip":"none"},"process":{"pid":"x"}}},"tags":["missing_time"]}"#);
        assert_snapshot!(otlp(r#"{"logRecord":{"attributes":{"a":1}}}"#), @r#"{"@timestamp":"2026-11-24T12:00:00Z","error":{"message":"this is no log record of OTLP: invalid type: map, expected a sequence at line 1 column 27"},"event":{"dataset":"unknown","module":"unknown"},"message":"{\"logRecord\":{\"attributes\":{\"a\":1}}}","tags":["unparsed","missing_time"]}"#);
    }
}
