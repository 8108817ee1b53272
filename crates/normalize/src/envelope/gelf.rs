//! Messages of Graylog's Extended Log Format.
//!
//! Additional fields that ECS has no name for are kept under `gelf.`, not under `labels.`: they are
//! the data of the event, with numbers among them, while labels are texts that say where it is from.
//! <https://go2docs.graylog.org/current/getting_in_log_data/gelf.html>

use event::Event;
use serde_json::{Map, Value};

use super::{Hint, Opened, Record, add, fill, text_of_value, time};
use crate::syslog;

/// Additional fields, without their underscore, under the names that shippers and libraries give
/// them (Docker, syslog-ng, Graylog, logback-gelf, log4j, NLog).
const NAMES: [(&str, &str); 26] = [
    ("command", "process.command_line"),
    ("container_id", "container.id"),
    ("container_name", "container.name"),
    ("image_name", "container.image.name"),
    ("logger", "log.logger"),
    ("logger_name", "log.logger"),
    ("loggerName", "log.logger"),
    ("LoggerName", "log.logger"),
    ("thread", "process.thread.name"),
    ("thread_name", "process.thread.name"),
    ("threadName", "process.thread.name"),
    ("file", "log.origin.file.name"),
    ("line", "log.origin.file.line"),
    ("function", "log.origin.function"),
    ("exception", "error.stack_trace"),
    ("stack_trace", "error.stack_trace"),
    ("stacktrace", "error.stack_trace"),
    ("StackTrace", "error.stack_trace"),
    ("trace_id", "trace.id"),
    ("traceId", "trace.id"),
    ("span_id", "span.id"),
    ("spanId", "span.id"),
    ("app_name", "service.name"),
    ("app", "service.name"),
    ("service", "service.name"),
    ("environment", "service.environment"),
];

/// Additional fields with the program of a syslog message. Others of such a meaning (`_app_name`)
/// come from applications that never saw syslog.
const PROGRAMS: [&str; 3] = ["_application_name", "_program", "_SYSLOG_IDENTIFIER"];

pub(super) fn open<'a>(payload: &'a str, around: &mut Event) -> Result<Opened<'a>, String> {
    let mut fields: Map<String, Value> = serde_json::from_str(payload)
        .map_err(|error| format!("this is no GELF message: {error}"))?;
    let mut take = |name: &str| match fields.get_mut(name).map(Value::take) {
        Some(Value::String(text)) => Some(text),
        other => other.as_ref().and_then(text_of_value).map(|text| text.into_owned()),
    };
    let (short, full) = (take("short_message"), take("full_message"));
    let Some(short) = short.or_else(|| full.clone()) else {
        return Err("this is no GELF message: `short_message` is missing".into());
    };
    let time = take("timestamp").and_then(|text| time(&text));
    let host = take("host");
    let program = PROGRAMS.iter().find_map(|name| take(name)).filter(|name| !name.is_empty());
    let pid = take("_process_id").or_else(|| take("_pid"));

    if let Some(time) = time {
        around.set_time("@timestamp", time);
    }
    fill(around, "host.name", host.as_deref());
    match pid.as_deref().map(str::parse::<u32>) {
        Some(Ok(pid)) => around.set("process.pid", pid),
        Some(Err(_)) => fill(around, "gelf.pid", pid.as_deref()),
        None => {}
    }
    if let Some(program) = &program {
        fill(around, "log.syslog.appname", Some(program));
        fill(around, "log.syslog.procid", pid.as_deref());
    }
    let level = fields.get("level").and_then(text_of_value).and_then(|text| text.parse().ok());
    if let Some(level) = level.filter(|level| *level < 8) {
        syslog::write_priority(None, Some(level), around);
        fields.remove("level");
    }
    for (name, value) in &fields {
        if value.is_null() || name == "version" {
            continue;
        }
        let name = name.strip_prefix('_').filter(|name| !name.is_empty()).unwrap_or(name);
        let path = NAMES.iter().find(|(own, _)| *own == name).map(|(_, path)| *path);
        if !path.is_some_and(|path| add(around, path, value)) {
            add(around, &format!("gelf.{name}"), value);
        }
    }
    let hint = around.str("service.name").map(Hint::of).unwrap_or_default();
    let record = match (program, full) {
        // What forwards syslog or JSON keeps the line as it was.
        (_, Some(full)) if full.trim_start().starts_with(['<', '{']) => {
            Record::Message(full.into())
        }
        (program, full) => {
            if let Some(full) = full.filter(|full| *full != short) {
                fill(around, "gelf.full_message", Some(&full));
            }
            match program {
                Some(program) => Record::Program(program, short.into()),
                None => Record::Message(short.into()),
            }
        }
    };
    Ok(Opened { record, hint })
}

#[cfg(test)]
mod tests {
    use event::raw::Encoding;
    use insta::assert_snapshot;

    use crate::envelope::tests::{event_of, opened, same_inside};

    fn gelf(payload: &str) -> String {
        opened(Encoding::Gelf, payload)
    }

    #[test]
    fn messages_are_mapped() {
        // logback-gelf
        assert_snapshot!(gelf(r#"{"version":"1.1","host":"web1","short_message":"Payment failed","full_message":"Payment failed\njava.io.IOException: x","timestamp":1795518000.123456,"level":3,"_app_name":"shop","_logger_name":"com.example.Pay","_thread_name":"main","_order":17,"_amount":1.5}"#), @r#"{"@timestamp":"2026-11-24T11:00:00.123456Z","event":{"dataset":"shop","module":"shop"},"gelf":{"amount":1.5,"full_message":"Payment failed\njava.io.IOException: x","order":17},"host":{"name":"web1"},"log":{"level":"error","logger":"com.example.Pay","syslog":{"severity":{"code":3,"name":"error"}}},"message":"Payment failed","process":{"thread":{"name":"main"}},"related":{"hosts":["web1"]},"service":{"name":"shop"},"watchpost":{"logsource":{"product":"shop"}}}"#);
        // Docker's driver
        assert_snapshot!(gelf(r#"{"version":"1.1","host":"node1","short_message":"203.0.113.5 - - [24/Nov/2026:11:00:00 +0000] \"GET / HTTP/1.1\" 200 5","timestamp":1795518001.1,"level":6,"_command":"nginx -g daemon off;","_container_id":"0af7651916cd","_container_name":"web","_image_name":"nginx","_tag":"0af765"}"#), @r#"{"@timestamp":"2026-11-24T11:00:00Z","container":{"id":"0af7651916cd","image":{"name":"nginx"},"name":"web"},"event":{"category":["web"],"dataset":"web.access","module":"web","outcome":"success","type":["access"]},"gelf":{"tag":"0af765"},"host":{"name":"node1"},"http":{"request":{"method":"GET"},"response":{"body":{"bytes":5},"status_code":200},"version":"1.1"},"log":{"level":"informational","syslog":{"severity":{"code":6,"name":"informational"}}},"message":"203.0.113.5 - - [24/Nov/2026:11:00:00 +0000] \"GET / HTTP/1.1\" 200 5","process":{"command_line":"nginx -g daemon off;"},"related":{"hosts":["node1"],"ip":["203.0.113.5"]},"source":{"address":"203.0.113.5","ip":"203.0.113.5"},"url":{"original":"/","path":"/"},"watchpost":{"logsource":{"category":"webserver"}}}"#);
    }

    #[test]
    fn messages_of_syslog_are_read_as_if_sent_directly() {
        let line = "<38>Nov 24 11:00:00 gate sshd[7]: Failed password for root from 203.0.113.5 port 9 ssh2";
        let envelope = serde_json::json!({"version": "1.1", "host": "gate", "level": 6,
            "short_message": "Failed password for root", "full_message": line});
        same_inside(line, Encoding::Gelf, &envelope.to_string());
        // syslog-ng
        assert_snapshot!(gelf(r#"{"version":"1.1","host":"gate","short_message":"Failed password for root from 203.0.113.5 port 9 ssh2","timestamp":1795518000,"level":6,"_program":"sshd","_pid":"7","_facility":"auth"}"#), @r#"{"@timestamp":"2026-11-24T11:00:00Z","event":{"action":"ssh_login","category":["authentication"],"dataset":"linux.sshd","module":"linux","outcome":"failure","type":["start"]},"gelf":{"facility":"auth"},"host":{"name":"gate","os":{"type":"linux"}},"linux":{"ssh":{"method":"password"}},"log":{"level":"informational","syslog":{"appname":"sshd","procid":"7","severity":{"code":6,"name":"informational"}}},"message":"Failed password for root from 203.0.113.5 port 9 ssh2","process":{"name":"sshd","pid":7},"related":{"hosts":["gate"],"ip":["203.0.113.5"],"user":["root"]},"source":{"address":"203.0.113.5","ip":"203.0.113.5","port":9},"user":{"name":"root"},"watchpost":{"logsource":{"product":"linux","service":"sshd"}}}"#);
    }

    #[test]
    fn odd_parts_do_no_harm() {
        assert_snapshot!(gelf(r#"{"short_message":7,"level":"50","timestamp":"soon","host":null,"_pid":"x","_a":{"b":[1,{"c":2}]},"_":1,"other":true}"#), @r#"{"@timestamp":"2026-11-24T12:00:00Z","event":{"dataset":"unknown","module":"unknown"},"gelf":{"_":1,"a":{"b":[1,{"c":2}]},"level":"50","other":true,"pid":"x"},"message":"7","tags":["missing_time"]}"#);
        assert_eq!(
            event_of(Encoding::Gelf, r#"{"host":"h"}"#, "").str("error.message"),
            Some("this is no GELF message: `short_message` is missing")
        );
    }
}
