//! Events of Splunk's HTTP Event Collector.
//! <https://docs.splunk.com/Documentation/Splunk/latest/Data/FormateventsforHTTPEventCollector>

use event::Event;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{Hint, Opened, Record, add, dataset_name, fill, otlp, text_of, time};

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    #[serde(borrow)]
    time: Option<&'a RawValue>,
    #[serde(borrow)]
    host: Option<&'a RawValue>,
    #[serde(borrow)]
    source: Option<&'a RawValue>,
    #[serde(borrow)]
    sourcetype: Option<&'a RawValue>,
    #[serde(borrow)]
    index: Option<&'a RawValue>,
    #[serde(borrow)]
    fields: Option<&'a RawValue>,
}

/// Sourcetypes, in lower case, that say something else than they spell; those that tell of no source
/// have no dataset.
const SOURCETYPES: [(&str, &str); 24] = [
    ("_json", ""),
    ("_raw", ""),
    ("access_combined", "apache.access"),
    ("access_combined_wcookie", "apache.access"),
    ("access_common", "apache.access"),
    ("apache:access", "apache.access"),
    ("apache:error", "apache.error"),
    ("apache_error", "apache.error"),
    ("fgt_event", "fortinet.firewall"),
    ("fgt_traffic", "fortinet.firewall"),
    ("fgt_utm", "fortinet.firewall"),
    ("generic_single_line", ""),
    ("httpevent", ""),
    ("json", ""),
    ("json_no_timestamp", ""),
    ("linux_audit", ""),
    ("linux_messages_syslog", ""),
    ("linux_secure", ""),
    ("nginx:plus:access", "nginx.access"),
    ("nginx:plus:error", "nginx.error"),
    ("syslog", ""),
    ("too_small", ""),
    ("wineventlog", ""),
    ("xmlwineventlog", ""),
];

pub(super) fn open<'a>(payload: &'a str, around: &mut Event) -> Result<Opened<'a>, String> {
    let envelope: Envelope<'a> = serde_json::from_str(payload)
        .map_err(|error| format!("this is no event of Splunk's collector: {error}"))?;
    let Some(event) = envelope.event else {
        return Err("this is no event of Splunk's collector: `event` is missing".into());
    };
    let text = |part: Option<&'a RawValue>| part.and_then(text_of);
    if let Some(time) = text(envelope.time).and_then(|text| time(&text)) {
        around.set_time("@timestamp", time);
    }
    fill(around, "host.name", text(envelope.host).as_deref());
    if let Some(source) = text(envelope.source) {
        let is_path = source.starts_with('/') || source.get(1..3) == Some(":\\");
        fill(around, if is_path { "log.file.path" } else { "labels.source" }, Some(&source));
    }
    fill(around, "labels.index", text(envelope.index).as_deref());
    let sourcetype = text(envelope.sourcetype).unwrap_or_default();
    fill(around, "labels.sourcetype", Some(&sourcetype));
    let fields =
        envelope.fields.map(|fields| serde_json::from_str::<Map<String, Value>>(fields.get()));
    for (name, value) in fields.into_iter().flatten().flatten() {
        // The OpenTelemetry Collector sends attributes in here.
        if !otlp::add_named(around, &name, &value) {
            add(around, &format!("labels.{name}"), &value);
        }
    }
    let record = text_of(event).unwrap_or_else(|| event.get().into());
    Ok(Opened { record: Record::Carried(record), hint: hint(&sourcetype) })
}

/// Splunk's own add-ons, and Splunk Connect for Syslog, write `vendor:product`.
fn hint(sourcetype: &str) -> Hint {
    let lower = sourcetype.to_ascii_lowercase();
    let known = SOURCETYPES.iter().find(|(name, _)| *name == lower);
    if let Some((_, dataset)) = known {
        return Hint { name: (*dataset).to_owned(), certain: true };
    }
    if let Some(channel) = lower.strip_prefix("wineventlog:") {
        let name = dataset_name(channel).map(|channel| format!("windows.{channel}"));
        return Hint { name: name.unwrap_or_default(), certain: true };
    }
    let name = dataset_name(&lower.replace(':', ".")).unwrap_or_default();
    Hint { name, certain: lower.contains(':') }
}

#[cfg(test)]
mod tests {
    use event::raw::Encoding;
    use insta::assert_snapshot;

    use crate::envelope::tests::{event_of, opened, same_inside};

    fn hec(payload: &str) -> String {
        opened(Encoding::Hec, payload)
    }

    #[test]
    fn lines_are_read_as_if_sent_directly() {
        let line = r#"203.0.113.5 - anna [24/Nov/2026:11:00:00 +0100] "GET /a HTTP/1.1" 404 512 "-" "curl/8""#;
        let envelope = |event: serde_json::Value| {
            serde_json::json!({"time": 1795514400.25, "host": "web1", "source": "/var/log/x.log",
                "sourcetype": "weblog", "index": "main", "event": event})
            .to_string()
        };
        same_inside(line, Encoding::Hec, &envelope(line.into()));
        assert_snapshot!(hec(&envelope(line.into())), @r#"{"@timestamp":"2026-11-24T10:00:00Z","event":{"category":["web"],"dataset":"web.access","module":"web","outcome":"failure","type":["access"]},"host":{"name":"web1"},"http":{"request":{"method":"GET"},"response":{"body":{"bytes":512},"status_code":404},"version":"1.1"},"labels":{"index":"main","sourcetype":"weblog"},"log":{"file":{"path":"/var/log/x.log"}},"message":"203.0.113.5 - anna [24/Nov/2026:11:00:00 +0100] \"GET /a HTTP/1.1\" 404 512 \"-\" \"curl/8\"","related":{"hosts":["web1"],"ip":["203.0.113.5"],"user":["anna"]},"source":{"address":"203.0.113.5","ip":"203.0.113.5"},"url":{"original":"/a","path":"/a"},"user":{"name":"anna"},"user_agent":{"original":"curl/8"},"watchpost":{"logsource":{"category":"webserver"}}}"#);
        let line = "<38>Nov 24 11:00:00 gate sshd[7]: Failed password for root from 203.0.113.5 port 9 ssh2";
        same_inside(line, Encoding::Hec, &envelope(line.into()));
        let winlogbeat = r#"{"@timestamp":"2026-11-24T10:00:00.123Z","agent":{"type":"winlogbeat"},"ecs":{"version":"8.0.0"},"event":{"code":"4625","kind":"event","outcome":"failure"},"host":{"name":"dc1"},"message":"An account failed to log on.","winlog":{"channel":"Security","event_id":"4625","provider_name":"Microsoft-Windows-Security-Auditing","event_data":{"TargetUserName":"anna","IpAddress":"203.0.113.5","LogonType":"3"}}}"#;
        let event: serde_json::Value = serde_json::from_str(winlogbeat).unwrap();
        same_inside(winlogbeat, Encoding::Hec, &envelope(event));
        // As text, which some forwarders make of it.
        same_inside(winlogbeat, Encoding::Hec, &envelope(winlogbeat.into()));
    }

    #[test]
    fn the_envelope_fills_gaps() {
        // Fluent Bit with the Kubernetes filter.
        assert_snapshot!(hec(r#"{"time":"1795514400.123456789","host":"node1","sourcetype":"_json","event":{"log":"hello\n","stream":"stdout","kubernetes":{"pod_name":"shop-1","namespace_name":"default","container_name":"shop"}}}"#), @r#"{"@timestamp":"2026-11-24T10:00:00.123456789Z","container":{"name":"shop"},"error":{"message":"JSON of a source that is not known; its fields keep their names"},"event":{"dataset":"unknown","module":"unknown"},"host":{"name":"node1"},"kubernetes":{"container_name":"shop","namespace_name":"default","pod":{"name":"shop-1"},"pod_name":"shop-1"},"labels":{"sourcetype":"_json"},"log":"hello\n","message":"hello","orchestrator":{"namespace":"default"},"related":{"hosts":["node1"]},"stream":"stdout","tags":["unparsed"]}"#);
        // The OpenTelemetry Collector.
        assert_snapshot!(hec(r#"{"time":1795514400,"host":"h","sourcetype":"otel","fields":{"k8s.pod.name":"p","host.arch":"amd64","team":"red","tags":["a","b"]},"event":"started"}"#), @r#"{"@timestamp":"2026-11-24T10:00:00Z","error":{"message":"the text is in no form that is known"},"event":{"dataset":"otel","module":"otel"},"host":{"architecture":"amd64","name":"h"},"kubernetes":{"pod":{"name":"p"}},"labels":{"sourcetype":"otel","tags":["a","b"],"team":"red"},"message":"started","related":{"hosts":["h"]},"tags":["unparsed"],"watchpost":{"logsource":{"product":"otel"}}}"#);
        // Splunk Connect for Syslog, which takes the header off.
        assert_snapshot!(hec(r#"{"time":1795514400,"host":"asa1","sourcetype":"cisco:asa","source":"sc4s","fields":{"sc4s_vendor":"cisco"},"event":"%ASA-6-302013: Built outbound TCP connection"}"#), @r#"{"@timestamp":"2026-11-24T10:00:00Z","cisco":{"asa":{"facility":"ASA"}},"event":{"action":"connection_built","category":["network"],"code":"302013","dataset":"cisco.asa","module":"cisco","outcome":"success","severity":6,"type":["connection","start","allowed"]},"host":{"name":"asa1"},"labels":{"sc4s_vendor":"cisco","source":"sc4s","sourcetype":"cisco:asa"},"log":{"level":"informational"},"message":"%ASA-6-302013: Built outbound TCP connection","observer":{"product":"ASA","type":"firewall","vendor":"Cisco"},"related":{"hosts":["asa1"]},"watchpost":{"logsource":{"category":"firewall","product":"cisco","service":"asa"}}}"#);
    }

    #[test]
    fn sourcetypes_are_datasets_where_they_fit() {
        let dataset = |sourcetype: &str, event: &str| {
            let json = serde_json::json!({"event": event, "sourcetype": sourcetype}).to_string();
            event_of(Encoding::Hec, &json, "").str("event.dataset").unwrap().to_owned()
        };
        assert_eq!(dataset("cisco:asa", "x"), "cisco.asa");
        assert_eq!(dataset("access_combined", "x"), "apache.access");
        assert_eq!(dataset("WinEventLog:Security", "x"), "windows.security");
        assert_eq!(dataset("_json", "x"), "unknown");
        assert_eq!(dataset("my type", "x"), "unknown");
        // A name that only somebody gave does not overrule what the line is.
        let line =
            "Nov 24 11:00:00 gate sshd[7]: Failed password for root from 203.0.113.5 port 9 ssh2";
        assert_eq!(dataset("oursyslog", line), "linux.sshd");
        // The listener's own word wins.
        let json = r#"{"event":"x","sourcetype":"cisco:asa"}"#;
        assert_eq!(event_of(Encoding::Hec, json, "my.app").str("event.dataset"), Some("my.app"));
    }

    #[test]
    fn odd_parts_do_no_harm() {
        assert_snapshot!(hec(r#"{"event":7,"time":{"a":1},"host":["x"],"fields":3,"source":true}"#), @r#"{"@timestamp":"2026-11-24T12:00:00Z","error":{"message":"the text is in no form that is known"},"event":{"dataset":"unknown","module":"unknown"},"labels":{"source":"true"},"message":"7","tags":["unparsed","missing_time"]}"#);
        assert_snapshot!(hec(r#"{"event":"{broken","host":"h","time":1795514400}"#), @r#"{"@timestamp":"2026-11-24T10:00:00Z","error":{"message":"not a JSON event: key must be a string at line 1 column 2"},"event":{"dataset":"unknown","module":"unknown"},"host":{"name":"h"},"message":"{broken","related":{"hosts":["h"]},"tags":["unparsed"]}"#);
        assert_snapshot!(hec(r#"{"time":1,"host":"h"}"#), @r#"{"@timestamp":"2026-11-24T12:00:00Z","error":{"message":"this is no event of Splunk's collector: `event` is missing"},"event":{"dataset":"unknown","module":"unknown"},"message":"{\"time\":1,\"host\":\"h\"}","tags":["unparsed","missing_time"]}"#);
    }
}
