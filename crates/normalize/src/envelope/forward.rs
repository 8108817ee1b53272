//! Events of Fluentd's forward protocol, which Fluent Bit speaks too.
//! <https://github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1>

use event::Event;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Hint, Opened, Record, fill, text_of, time};

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    tag: Option<&'a RawValue>,
    #[serde(borrow)]
    time: Option<&'a RawValue>,
    #[serde(borrow)]
    record: Option<&'a RawValue>,
}

pub(super) fn open<'a>(payload: &'a str, around: &mut Event) -> Result<Opened<'a>, String> {
    let envelope: Envelope<'a> = serde_json::from_str(payload)
        .map_err(|error| format!("this is no event of Fluentd: {error}"))?;
    let record = envelope.record.filter(|record| record.get().starts_with('{'));
    let Some(record) = record else {
        return Err("this is no event of Fluentd: `record` is missing or no object".into());
    };
    if let Some(time) = envelope.time.and_then(text_of).and_then(|text| time(&text)) {
        around.set_time("@timestamp", time);
    }
    let tag = envelope.tag.and_then(text_of).unwrap_or_default();
    fill(around, "labels.tag", Some(&tag));
    Ok(Opened { record: Record::Carried(record.get().into()), hint: Hint::of(&tag) })
}

#[cfg(test)]
mod tests {
    use event::raw::Encoding;
    use insta::assert_snapshot;

    use crate::envelope::tests::{event_of, opened, same_inside};

    fn forward(payload: &str) -> String {
        opened(Encoding::Forward, payload)
    }

    fn record(record: serde_json::Value) -> String {
        serde_json::json!({"tag": "app.web", "time": "2026-11-24T11:00:00.000000001Z", "record": record})
            .to_string()
    }

    #[test]
    fn records_are_read_as_if_sent_directly() {
        let ecs = r#"{"@timestamp":"2026-11-24T10:00:00Z","event":{"category":["process"],"type":["start"],"dataset":"endpoint.process"},"host":{"name":"h","os":{"type":"linux"}},"process":{"command_line":"/bin/id"}}"#;
        same_inside(ecs, Encoding::Forward, &record(serde_json::from_str(ecs).unwrap()));
        for name in ["message", "log"] {
            let line = r#"203.0.113.5 - - [24/Nov/2026:11:00:00 +0000] "GET / HTTP/1.1" 200 5"#;
            // The record's own time is that of Fluentd's, and has nanoseconds.
            same_inside(
                line,
                Encoding::Forward,
                &record(serde_json::json!({name: line, "stream": "stdout"})),
            );
            let line = "<38>Nov 24 11:00:00 gate sshd[7]: Accepted publickey for anna from 203.0.113.5 port 9 ssh2";
            same_inside(line, Encoding::Forward, &record(serde_json::json!({name: line})));
        }
    }

    #[test]
    fn containers_are_named() {
        assert_snapshot!(forward(r#"{"tag":"kube.var.log.containers.shop-1_default_shop-0af7651916cd.log","time":1795518000.123456789,"record":{"log":"10.0.0.1 - - [24/Nov/2026:11:00:00 +0000] \"GET / HTTP/1.1\" 200 5\n","stream":"stdout","kubernetes":{"host":"node1","pod_name":"shop-1","namespace_name":"default","container_name":"shop","docker_id":"0af7651916cd","labels":{"app":"shop"}}}}"#), @r#"{"@timestamp":"2026-11-24T11:00:00Z","container":{"id":"0af7651916cd","name":"shop"},"event":{"category":["web"],"dataset":"web.access","module":"web","outcome":"success","type":["access"]},"http":{"request":{"method":"GET"},"response":{"body":{"bytes":5},"status_code":200},"version":"1.1"},"kubernetes":{"container_name":"shop","docker_id":"0af7651916cd","host":"node1","labels":{"app":"shop"},"namespace_name":"default","node":{"name":"node1"},"pod":{"name":"shop-1"},"pod_name":"shop-1"},"labels":{"tag":"kube.var.log.containers.shop-1_default_shop-0af7651916cd.log"},"message":"10.0.0.1 - - [24/Nov/2026:11:00:00 +0000] \"GET / HTTP/1.1\" 200 5","orchestrator":{"namespace":"default"},"related":{"ip":["10.0.0.1"]},"source":{"address":"10.0.0.1","ip":"10.0.0.1"},"stream":"stdout","url":{"original":"/","path":"/"},"watchpost":{"logsource":{"category":"webserver"}}}"#);
    }

    #[test]
    fn what_fluentd_took_apart_is_read() {
        // Its parser for syslog.
        assert_snapshot!(forward(r#"{"tag":"system.auth","time":1795518000,"record":{"host":"gate","ident":"sshd","pid":"7","message":"Failed password for root from 203.0.113.5 port 9 ssh2"}}"#), @r#"{"@timestamp":"2026-11-24T11:00:00Z","event":{"action":"ssh_login","category":["authentication"],"dataset":"linux.sshd","module":"linux","outcome":"failure","type":["start"]},"host":"gate","host.name":"gate","host.os.type":"linux","ident":"sshd","labels":{"tag":"system.auth"},"linux":{"ssh":{"method":"password"}},"log":{"syslog":{"appname":"sshd","procid":"7"}},"message":"Failed password for root from 203.0.113.5 port 9 ssh2","pid":"7","process":{"name":"sshd","pid":7},"related":{"hosts":["gate"],"ip":["203.0.113.5"],"user":["root"]},"source":{"address":"203.0.113.5","ip":"203.0.113.5","port":9},"user":{"name":"root"},"watchpost":{"logsource":{"product":"linux","service":"sshd"}}}"#);
        // Its parsers for web servers.
        assert_snapshot!(forward(r#"{"tag":"nginx.access","time":1795518000,"record":{"remote":"203.0.113.5","host":"-","user":"-","method":"GET","path":"/a?b=1","code":"404","size":"5","referer":"-","agent":"curl/8"}}"#), @r#"{"@timestamp":"2026-11-24T11:00:00Z","event":{"category":["web"],"dataset":"nginx.access","module":"nginx","outcome":"failure","type":["access"]},"http":{"request":{"method":"GET"},"response":{"body":{"bytes":5},"status_code":404}},"labels":{"tag":"nginx.access"},"nginx":{"host":"-","referer":"-","user":"-"},"related":{"ip":["203.0.113.5"]},"source":{"address":"203.0.113.5","ip":"203.0.113.5"},"url":{"original":"/a?b=1","path":"/a","query":"b=1"},"user_agent":{"original":"curl/8"},"watchpost":{"logsource":{"category":"webserver","product":"nginx"}}}"#);
        assert_snapshot!(forward(r#"{"tag":"apache.access","time":1795518000,"record":{"host":"203.0.113.5","user":null,"method":"POST","path":"/a","code":200,"size":5,"referer":null,"agent":"x"}}"#), @r#"{"@timestamp":"2026-11-24T11:00:00Z","apache":{"referer":null,"user":null},"event":{"category":["web"],"dataset":"apache.access","module":"apache","outcome":"success","type":["access"]},"http":{"request":{"method":"POST"},"response":{"body":{"bytes":5},"status_code":200}},"labels":{"tag":"apache.access"},"related":{"ip":["203.0.113.5"]},"source":{"address":"203.0.113.5","ip":"203.0.113.5"},"url":{"original":"/a","path":"/a"},"user_agent":{"original":"x"},"watchpost":{"logsource":{"category":"webserver","product":"apache"}}}"#);
        // Fluent Bit's input of the journal.
        assert_snapshot!(forward(r#"{"tag":"host.ssh.service","time":1795518000.5,"record":{"MESSAGE":"Accepted password for anna from 203.0.113.5 port 9 ssh2","PRIORITY":"6","SYSLOG_FACILITY":"4","SYSLOG_IDENTIFIER":"sshd","_HOSTNAME":"gate","_PID":"7","_UID":"0","_SYSTEMD_UNIT":"ssh.service"}}"#), @r#"{"@timestamp":"2026-11-24T11:00:00.5Z","event":{"action":"ssh_login","category":["authentication","session"],"dataset":"linux.sshd","module":"linux","outcome":"success","type":["start"]},"host":{"name":"gate","os":{"type":"linux"}},"labels":{"tag":"host.ssh.service"},"linux":{"ssh":{"method":"password"}},"log":{"level":"informational","syslog":{"appname":"sshd","facility":{"code":4,"name":"auth"},"hostname":"gate","priority":38,"procid":"7","severity":{"code":6,"name":"informational"}}},"message":"Accepted password for anna from 203.0.113.5 port 9 ssh2","process":{"name":"sshd","pid":7,"user":{"id":"0"}},"related":{"hosts":["gate"],"ip":["203.0.113.5"],"user":["anna"]},"source":{"address":"203.0.113.5","ip":"203.0.113.5","port":9},"systemd":{"unit":"ssh.service"},"user":{"name":"anna"},"watchpost":{"logsource":{"product":"linux","service":"sshd"}}}"#);
    }

    #[test]
    fn other_records_keep_their_names() {
        assert_snapshot!(forward(r#"{"tag":"shop.checkout","time":1795518000.5,"record":{"hostname":"web1","level":"warn","msg":"slow","took":1.5}}"#), @r#"{"@timestamp":"2026-11-24T11:00:00.5Z","error":{"message":"JSON of a source that is not known; its fields keep their names"},"event":{"dataset":"shop.checkout","module":"shop"},"host":{"name":"web1"},"hostname":"web1","labels":{"tag":"shop.checkout"},"level":"warn","log":{"level":"warn"},"message":"slow","msg":"slow","related":{"hosts":["web1"]},"tags":["unparsed"],"took":1.5,"watchpost":{"logsource":{"product":"shop","service":"checkout"}}}"#);
        let event = event_of(Encoding::Forward, r#"{"tag":"a","time":1,"record":"x"}"#, "");
        assert_eq!(
            event.str("error.message"),
            Some("this is no event of Fluentd: `record` is missing or no object")
        );
    }
}
