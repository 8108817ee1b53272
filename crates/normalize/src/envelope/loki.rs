//! Lines of Grafana Loki's push protocol, as Promtail and Alloy send them.
//! <https://grafana.com/docs/loki/latest/reference/loki-http-api/#ingest-logs>

use event::Event;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{Hint, Opened, Record, add, fill, text_of, text_of_value, time_of_nanos};

#[derive(Deserialize)]
struct Envelope<'a> {
    labels: Option<Map<String, Value>>,
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow)]
    line: Option<&'a RawValue>,
    metadata: Option<Map<String, Value>>,
}

/// Labels that are called so by convention, the most telling first where several mean the same.
const LABELS: [(&str, &str); 23] = [
    ("host", "host.name"),
    ("hostname", "host.name"),
    ("nodename", "host.name"),
    ("node_name", "host.name"),
    ("instance", "host.name"),
    ("filename", "log.file.path"),
    ("service_name", "service.name"),
    ("service", "service.name"),
    ("app", "service.name"),
    ("level", "log.level"),
    ("detected_level", "log.level"),
    ("severity", "log.level"),
    ("environment", "service.environment"),
    ("env", "service.environment"),
    ("cluster", "orchestrator.cluster.name"),
    ("namespace", "orchestrator.namespace"),
    ("pod", "kubernetes.pod.name"),
    ("container", "container.name"),
    ("unit", "systemd.unit"),
    ("systemd_unit", "systemd.unit"),
    ("trace_id", "trace.id"),
    ("span_id", "span.id"),
    ("traceID", "trace.id"),
];

/// Labels with the program of a message of the journal.
const PROGRAMS: [&str; 2] = ["syslog_identifier", "identifier"];

/// Labels that name the source, most telling first.
const SOURCES: [&str; 4] = ["service_name", "job", "app", "service"];

/// Units whose program is called otherwise.
const UNITS: [(&str, &str); 1] = [("ssh", "sshd")];

pub(super) fn open<'a>(payload: &'a str, around: &mut Event) -> Result<Opened<'a>, String> {
    let envelope: Envelope<'a> = serde_json::from_str(payload)
        .map_err(|error| format!("this is no line of Loki: {error}"))?;
    let Some(line) = envelope.line.and_then(text_of) else {
        return Err("this is no line of Loki: `line` is missing".into());
    };
    if let Some(time) = envelope.timestamp.and_then(text_of).and_then(|text| time_of_nanos(&text)) {
        around.set_time("@timestamp", time);
    }
    let labels = envelope.labels.unwrap_or_default();
    let label = |name: &str| labels.get(name).and_then(Value::as_str);
    let hint = SOURCES.iter().find_map(|name| label(name)).map(Hint::of).unwrap_or_default();
    let program = PROGRAMS
        .iter()
        .find_map(|name| label(name))
        .or_else(|| ["unit", "systemd_unit"].iter().find_map(|name| label(name)).and_then(program))
        .map(str::to_owned);
    if let Some(program) = &program {
        fill(around, "log.syslog.appname", Some(program));
    }
    // What is said of the line is nearer to it than what is said of its stream.
    let mut said = envelope.metadata.unwrap_or_default();
    for (name, value) in labels {
        said.entry(name).or_insert(value);
    }
    for (name, path) in LABELS {
        let Some(text) = said.get(name).and_then(text_of_value) else { continue };
        let text = if name == "instance" { without_port(&text) } else { &text };
        if around.get(path).is_none() && !text.is_empty() {
            around.set(path, text);
            said.remove(name);
        }
    }
    for (name, value) in said {
        add(around, &format!("labels.{name}"), &value);
    }
    let record = match program {
        // With `json: true` Promtail sends the whole entry of the journal.
        Some(program) if !line.trim_start().starts_with('{') => Record::Program(program, line),
        _ => Record::Carried(line),
    };
    Ok(Opened { record, hint })
}

/// The program of a unit, as far as its name tells.
fn program(unit: &str) -> Option<&str> {
    let stem = unit.strip_suffix(".service").filter(|stem| !stem.contains('@'))?;
    Some(UNITS.iter().find(|(unit, _)| *unit == stem).map_or(stem, |(_, program)| *program))
}

/// `web1:9080`, as Prometheus names an instance.
fn without_port(text: &str) -> &str {
    match text.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use event::raw::Encoding;
    use insta::assert_snapshot;

    use crate::envelope::tests::{event_of, opened, same_inside};

    fn loki(payload: &str) -> String {
        opened(Encoding::Loki, payload)
    }

    #[test]
    fn lines_are_read_as_if_sent_directly() {
        let line = r#"203.0.113.5 - - [24/Nov/2026:11:00:00 +0000] "GET /a?b=1 HTTP/1.1" 200 5 "-" "curl/8""#;
        let envelope = serde_json::json!({"timestamp": "1795518000000000001", "line": line,
            "labels": {"job": "edge", "host": "web1", "filename": "/var/log/nginx/access.log"}});
        same_inside(line, Encoding::Loki, &envelope.to_string());
        let envelope = serde_json::json!({"timestamp": "1795518000000000001", "line": line,
            "labels": {"job": "nginx", "instance": "web1:9080"}});
        assert_snapshot!(loki(&envelope.to_string()), @r#"{"@timestamp":"2026-11-24T11:00:00Z","event":{"category":["web"],"dataset":"nginx.access","module":"nginx","outcome":"success","type":["access"]},"host":{"name":"web1"},"http":{"request":{"method":"GET"},"response":{"body":{"bytes":5},"status_code":200},"version":"1.1"},"labels":{"job":"nginx"},"message":"203.0.113.5 - - [24/Nov/2026:11:00:00 +0000] \"GET /a?b=1 HTTP/1.1\" 200 5 \"-\" \"curl/8\"","related":{"hosts":["web1"],"ip":["203.0.113.5"]},"source":{"address":"203.0.113.5","ip":"203.0.113.5"},"url":{"original":"/a?b=1","path":"/a","query":"b=1"},"user_agent":{"original":"curl/8"},"watchpost":{"logsource":{"category":"webserver","product":"nginx"}}}"#);
        let line = "<38>Nov 24 11:00:00 gate sshd[7]: Accepted publickey for anna from 203.0.113.5 port 9 ssh2";
        let envelope = serde_json::json!({"labels": {"job": "varlogs"}, "line": line});
        same_inside(line, Encoding::Loki, &envelope.to_string());
    }

    #[test]
    fn labels_are_mapped_or_kept() {
        assert_snapshot!(loki(r#"{"labels":{"job":"shop/checkout","namespace":"shop","pod":"checkout-1","container":"app","level":"warn","team":"red"},"timestamp":"1795518000123456789","line":"payment was slow","metadata":{"trace_id":"0af7651916cd43dd8448eb211c80319c","took_ms":"1200"}}"#), @r#"{"@timestamp":"2026-11-24T11:00:00.123456789Z","container":{"name":"app"},"error":{"message":"the text is in no form that is known"},"event":{"dataset":"checkout","module":"checkout"},"kubernetes":{"pod":{"name":"checkout-1"}},"labels":{"job":"shop/checkout","team":"red","took_ms":"1200"},"log":{"level":"warn"},"message":"payment was slow","orchestrator":{"namespace":"shop"},"tags":["unparsed"],"trace":{"id":"0af7651916cd43dd8448eb211c80319c"},"watchpost":{"logsource":{"product":"checkout"}}}"#);
    }

    #[test]
    fn lines_of_the_journal_have_their_program() {
        assert_snapshot!(loki(r#"{"labels":{"job":"systemd-journal","hostname":"gate","unit":"ssh.service"},"timestamp":"1795518000000000000","line":"Invalid user bob from 203.0.113.5 port 22"}"#), @r#"{"@timestamp":"2026-11-24T11:00:00Z","event":{"action":"ssh_invalid_user","category":["authentication"],"dataset":"linux.sshd","module":"linux","outcome":"failure","type":["info"]},"host":{"name":"gate","os":{"type":"linux"}},"labels":{"job":"systemd-journal"},"linux":{"ssh":{"invalid_user":true}},"log":{"syslog":{"appname":"sshd"}},"message":"Invalid user bob from 203.0.113.5 port 22","process":{"name":"sshd"},"related":{"hosts":["gate"],"ip":["203.0.113.5"],"user":["bob"]},"source":{"address":"203.0.113.5","ip":"203.0.113.5","port":22},"systemd":{"unit":"ssh.service"},"user":{"name":"bob"},"watchpost":{"logsource":{"product":"linux","service":"sshd"}}}"#);
        // Promtail with `json: true`.
        assert_snapshot!(loki(r#"{"labels":{"job":"systemd-journal","unit":"sshd.service"},"timestamp":"1795518000000000000","line":"{\"MESSAGE\":\"Invalid user bob from 203.0.113.5 port 22\",\"SYSLOG_IDENTIFIER\":\"sshd\",\"_HOSTNAME\":\"gate\",\"_PID\":\"7\",\"PRIORITY\":\"6\"}"}"#), @r#"{"@timestamp":"2026-11-24T11:00:00Z","event":{"action":"ssh_invalid_user","category":["authentication"],"dataset":"linux.sshd","module":"linux","outcome":"failure","type":["info"]},"host":{"name":"gate","os":{"type":"linux"}},"labels":{"job":"systemd-journal"},"linux":{"ssh":{"invalid_user":true}},"log":{"level":"informational","syslog":{"appname":"sshd","hostname":"gate","procid":"7","severity":{"code":6,"name":"informational"}}},"message":"Invalid user bob from 203.0.113.5 port 22","process":{"name":"sshd","pid":7},"related":{"hosts":["gate"],"ip":["203.0.113.5"],"user":["bob"]},"source":{"address":"203.0.113.5","ip":"203.0.113.5","port":22},"systemd":{"unit":"sshd.service"},"user":{"name":"bob"},"watchpost":{"logsource":{"product":"linux","service":"sshd"}}}"#);
    }

    #[test]
    fn odd_parts_do_no_harm() {
        assert_snapshot!(loki(r#"{"labels":{"host":7,"a":{"b":1},"c":null},"timestamp":5,"line":3}"#), @r#"{"@timestamp":"1970-01-01T00:00:00.000000005Z","error":{"message":"the text is in no form that is known"},"event":{"dataset":"unknown","module":"unknown"},"host":{"name":"7"},"labels":{"a":{"b":1},"c":null},"message":"3","related":{"hosts":["7"]},"tags":["unparsed"]}"#);
        assert_snapshot!(loki(r#"{"labels":["x"],"line":"x"}"#), @r#"{"@timestamp":"2026-11-24T12:00:00Z","error":{"message":"this is no line of Loki: invalid type: sequence, expected a map at line 1 column 10"},"event":{"dataset":"unknown","module":"unknown"},"message":"{\"labels\":[\"x\"],\"line\":\"x\"}","tags":["unparsed","missing_time"]}"#);
        assert_eq!(event_of(Encoding::Loki, r#"{"line":"x"}"#, "").str("message"), Some("x"));
    }
}
