//! Entries of systemd's journal.
//!
//! A message in the journal is one of syslog whose header stands beside it in fields, so that it is
//! read like one. Fields are texts; a value that is no text is an array of bytes, a field with
//! several values an array of those, and one that was too large `null`. Shippers that read the
//! journal (Fluent Bit, Vector, the OpenTelemetry Collector) keep its names, some without their
//! leading underscores, so that their documents are read here too.
//! <https://systemd.io/JOURNAL_EXPORT_FORMATS/#journal-json-format>,
//! <https://www.freedesktop.org/software/systemd/man/latest/systemd.journal-fields.html>

use std::borrow::Cow;
use std::collections::BTreeMap;

use event::{Event, Timestamp, Value};
use serde_json::value::RawValue;

use super::FIELDS_TOGETHER_MAX;
use crate::mapped::Mapper;
use crate::{Decoded, default, json, syslog};

/// Fields and where they go; to nowhere those that are about the place of the entry in its journal,
/// and those that [`decode`] reads itself. Names with an underscore are the journal's own word.
const FIELDS: [(&str, &str); 44] = [
    ("CODE_FILE", "log.origin.file.name"),
    ("CODE_FUNC", "log.origin.function"),
    ("CODE_LINE", "log.origin.file.line"),
    ("CONTAINER_ID", ""),
    ("CONTAINER_ID_FULL", "container.id"),
    ("CONTAINER_NAME", "container.name"),
    ("IMAGE_NAME", "container.image.name"),
    ("MESSAGE", ""),
    ("MESSAGE_ID", "event.code"),
    ("PRIORITY", ""),
    ("SYSLOG_FACILITY", ""),
    ("SYSLOG_IDENTIFIER", "log.syslog.appname"),
    ("SYSLOG_PID", "log.syslog.procid"),
    ("SYSLOG_RAW", ""),
    ("SYSLOG_TIMESTAMP", ""),
    ("_AUDIT_ID", "auditd.sequence"),
    ("_AUDIT_TYPE", ""),
    ("_AUDIT_TYPE_NAME", ""),
    ("_BOOT_ID", "host.boot.id"),
    ("_CMDLINE", "process.command_line"),
    ("_COMM", "process.name"),
    ("_EXE", "process.executable"),
    ("_GID", "process.group.id"),
    ("_HOSTNAME", "host.name"),
    ("_MACHINE_ID", "host.id"),
    ("_PID", "process.pid"),
    ("_SOURCE_BOOTTIME_TIMESTAMP", ""),
    ("_SOURCE_MONOTONIC_TIMESTAMP", ""),
    ("_SOURCE_REALTIME_TIMESTAMP", ""),
    // As Filebeat calls them.
    ("_SYSTEMD_CGROUP", "systemd.cgroup"),
    ("_SYSTEMD_INVOCATION_ID", "systemd.invocation_id"),
    ("_SYSTEMD_OWNER_UID", "systemd.owner_uid"),
    ("_SYSTEMD_SESSION", "systemd.session"),
    ("_SYSTEMD_SLICE", "systemd.slice"),
    ("_SYSTEMD_UNIT", "systemd.unit"),
    ("_SYSTEMD_USER_SLICE", "systemd.user_slice"),
    ("_SYSTEMD_USER_UNIT", "systemd.user_unit"),
    ("_TRANSPORT", "systemd.transport"),
    // Of who logged, who is not who logs in.
    ("_UID", "process.user.id"),
    ("__CURSOR", ""),
    ("__MONOTONIC_TIMESTAMP", ""),
    ("__REALTIME_TIMESTAMP", ""),
    ("__SEQNUM", ""),
    ("__SEQNUM_ID", ""),
];

/// Fields that only the journal has, in one of which each of its entries can be known.
const MARKS: [&str; 3] = ["__REALTIME_TIMESTAMP", "_BOOT_ID", "SYSLOG_IDENTIFIER"];

/// Reads the JSON of an entry, with its binary values as texts.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read(payload: &str, source: &mut Event) -> Result<(), String> {
    source.clear();
    let fields: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(payload)
        .map_err(|error| format!("this is no entry of the journal: {error}"))?;
    for (name, value) in &fields {
        let json = value.get();
        if let Ok(bytes) = serde_json::from_str::<Vec<u8>>(json) {
            source.set(name, &*String::from_utf8_lossy(&bytes));
        } else if let Ok(values) = serde_json::from_str::<Vec<&RawValue>>(json) {
            for value in values {
                match serde_json::from_str::<Vec<u8>>(value.get()) {
                    Ok(bytes) => source.append(name, &*String::from_utf8_lossy(&bytes)),
                    Err(_) => {
                        let text = super::text_of(value);
                        source.append(name, text.as_deref().unwrap_or(value.get()));
                    }
                }
                check_width(source)?;
            }
        } else if json == "null" {
            source.set(name, Value::Null);
        } else {
            let text = super::text_of(value);
            source.set(name, text.as_deref().unwrap_or(json));
        }
        check_width(source)?;
    }
    Ok(())
}

fn check_width(source: &Event) -> Result<(), String> {
    if source.len() > FIELDS_TOGETHER_MAX {
        return Err(format!("the entry has more than {FIELDS_TOGETHER_MAX} fields"));
    }
    Ok(())
}

/// Reads a document that a shipper made of an entry, if it is one.
pub(crate) fn decode_document(
    source: &Event,
    dataset: &str,
    mapper: &mut Mapper,
    out: &mut Event,
) -> Decoded {
    if !MARKS.iter().any(|name| source.get(name).is_some()) {
        return Decoded::No;
    }
    decode(source, dataset, mapper, out);
    Decoded::Yes
}

/// Maps an entry.
pub(crate) fn decode(source: &Event, dataset: &str, mapper: &mut Mapper, out: &mut Event) {
    // Any program may write a field `UID`; only the journal writes `_UID`. So the one is taken for the
    // other only where a shipper left all underscores out.
    let stripped = !source.fields().any(|(_, name, _)| name.starts_with('_'));
    out.clone_renamed(source, &mut |name, path| {
        if name.contains(|c: char| c.is_ascii_lowercase()) {
            // A shipper's own.
            path.push_str(if name == "message" { "" } else { name });
            return;
        }
        let known = FIELDS.iter().find(|(field, _)| {
            *field == name || (stripped && field.trim_start_matches('_') == name)
        });
        match known {
            Some((_, ecs)) => path.push_str(ecs),
            None => {
                path.push_str("journal.");
                path.extend(name.trim_start_matches('_').chars().map(|c| c.to_ascii_lowercase()));
            }
        }
    });
    let text = |name: &str| {
        let name = if stripped { name.trim_start_matches('_') } else { name };
        source.str(name)
    };
    let code = |name: &str| text(name).and_then(|text| text.parse::<u8>().ok());
    // When it was written, or else when the journal took it.
    let time = ["_SOURCE_REALTIME_TIMESTAMP", "__REALTIME_TIMESTAMP"]
        .into_iter()
        .find_map(|name| text(name).and_then(time_of_micros))
        .or_else(|| json::own_time(source));
    match time {
        Some(time) => out.set_time("@timestamp", time),
        None => out.remove("@timestamp"),
    }
    for path in ["process.pid", "log.origin.file.line"] {
        if let Some(number) = out.str(path).and_then(|text| text.parse::<u32>().ok()) {
            out.set(path, number);
        }
    }
    if let Some(host) = text("_HOSTNAME").or_else(|| source.str("host")) {
        default(out, "host.name", host);
        default(out, "log.syslog.hostname", host);
    }
    if let Some(pid) = text("_PID") {
        default(out, "log.syslog.procid", pid);
    }
    if let Some(id) = text("CONTAINER_ID") {
        default(out, "container.id", id);
    }
    let facility = code("SYSLOG_FACILITY").filter(|code| *code < 24);
    syslog::write_priority(facility, code("PRIORITY").filter(|code| *code < 8), out);

    let program = text("SYSLOG_IDENTIFIER").or_else(|| text("_COMM")).unwrap_or_default();
    let (executable, command) = (text("_EXE"), text("_CMDLINE"));
    match message(source) {
        Some(message) => {
            out.set("message", &*message);
            let audit = audit_record(source, &message, time);
            if audit.is_none_or(|record| mapper.line("", "", &record, out) == Decoded::No) {
                syslog::decode_body(program, &message, dataset, mapper, out);
            }
        }
        None => {
            out.set("error.message", "the entry has no message, or the journal left it out");
            syslog::decode_body(program, "", dataset, mapper, out);
            out.remove("message");
        }
    }
    default(out, "host.os.type", "linux");
    // The message tells of another process than the one that wrote it (`sudo`, `cron`).
    if out.str("process.command_line") != command && out.str("process.executable") == executable {
        out.remove("process.executable");
    }
}

fn message(source: &Event) -> Option<Cow<'_, str>> {
    let path = ["MESSAGE", "message"].into_iter().find(|path| source.get(path).is_some())?;
    let mut values = source.values(path);
    match values.next()? {
        Value::Text(text) => Some(text.into()),
        // Bytes, in a document that a shipper made.
        Value::Int(_) => {
            let bytes: Vec<u8> = source
                .values(path)
                .filter_map(|value| u8::try_from(value.as_int()?).ok())
                .collect();
            Some(String::from_utf8_lossy(&bytes).into_owned().into())
        }
        _ => None,
    }
}

/// An entry of the audit transport as the record that the audit daemon would have written. Of it the
/// journal has `USER_AUTH pid=7 ...` as message and the rest in fields.
fn audit_record(source: &Event, message: &str, time: Option<Timestamp>) -> Option<String> {
    if source.str("_TRANSPORT") != Some("audit") {
        return None;
    }
    let (kind, fields) = message.split_once(' ')?;
    let millis = time?.as_millis();
    let (seconds, millis) = (millis.div_euclid(1_000), millis.rem_euclid(1_000));
    let id = source.str("_AUDIT_ID")?;
    Some(format!("type={kind} msg=audit({seconds}.{millis:03}:{id}): {fields}"))
}

fn time_of_micros(text: &str) -> Option<Timestamp> {
    let micros = text.parse::<i64>().ok().filter(|micros| *micros > 0)?;
    micros.checked_mul(1_000).map(Timestamp::from_nanos)
}

#[cfg(test)]
mod tests {
    use event::raw::Encoding;
    use insta::assert_snapshot;

    use crate::envelope::tests::{event_of, opened, same_inside};

    fn journal(payload: &str) -> String {
        opened(Encoding::Journal, payload)
    }

    #[test]
    fn messages_are_read_as_those_of_syslog() {
        let entry = |program: &str, message: &str| {
            serde_json::json!({
                "__CURSOR": "s=1;i=2", "__REALTIME_TIMESTAMP": "1795518000000000",
                "_BOOT_ID": "9e3a", "_MACHINE_ID": "4f5b", "_HOSTNAME": "gate",
                "_TRANSPORT": "syslog", "PRIORITY": "6", "SYSLOG_FACILITY": "4",
                "SYSLOG_IDENTIFIER": program, "SYSLOG_PID": "7", "_PID": "7", "_UID": "0",
                "_GID": "0", "_COMM": program, "_EXE": format!("/usr/sbin/{program}"),
                "_CMDLINE": format!("{program}: x"), "_SYSTEMD_UNIT": "x.service",
                "MESSAGE": message,
            })
            .to_string()
        };
        for (program, message) in [
            ("sshd", "Failed password for invalid user bob from 203.0.113.5 port 9 ssh2"),
            ("sshd", "pam_unix(sshd:session): session opened for user anna(uid=1000) by (uid=0)"),
            (
                "sudo",
                "anna : TTY=pts/0 ; PWD=/home/anna ; USER=root ; COMMAND=/bin/cat /etc/shadow",
            ),
            ("CRON", "(root) CMD (run-parts /etc/cron.hourly)"),
            ("nginx", r#"203.0.113.5 - - [24/Nov/2026:11:00:00 +0000] "GET / HTTP/1.1" 200 5"#),
            ("dockerd", "level=info"),
        ] {
            let line = format!("<38>Nov 24 11:00:00 gate {program}[7]: {message}");
            same_inside(&line, Encoding::Journal, &entry(program, message));
        }
        assert_snapshot!(journal(&entry("sshd", "Accepted publickey for anna from 203.0.113.5 port 9 ssh2: ED25519 SHA256:abc")), @r#"{"@timestamp":"2026-11-24T11:00:00Z","event":{"action":"ssh_login","category":["authentication","session"],"dataset":"linux.sshd","module":"linux","outcome":"success","type":["start"]},"host":{"boot":{"id":"9e3a"},"id":"4f5b","name":"gate","os":{"type":"linux"}},"linux":{"ssh":{"key":"ED25519 SHA256:abc","method":"publickey"}},"log":{"level":"informational","syslog":{"appname":"sshd","facility":{"code":4,"name":"auth"},"hostname":"gate","priority":38,"procid":"7","severity":{"code":6,"name":"informational"}}},"message":"Accepted publickey for anna from 203.0.113.5 port 9 ssh2: ED25519 SHA256:abc","process":{"command_line":"sshd: x","executable":"/usr/sbin/sshd","group":{"id":"0"},"name":"sshd","pid":7,"user":{"id":"0"}},"related":{"hosts":["gate"],"ip":["203.0.113.5"],"user":["anna"]},"source":{"address":"203.0.113.5","ip":"203.0.113.5","port":9},"systemd":{"transport":"syslog","unit":"x.service"},"user":{"name":"anna"},"watchpost":{"logsource":{"product":"linux","service":"sshd"}}}"#);
        // What was run is not told together with who ran it.
        assert_snapshot!(journal(&entry("CRON", "(root) CMD (/bin/x)")), @r#"{"@timestamp":"2026-11-24T11:00:00Z","event":{"action":"cron_command","category":["process"],"dataset":"linux.cron","module":"linux","type":["start"]},"host":{"boot":{"id":"9e3a"},"id":"4f5b","name":"gate","os":{"type":"linux"}},"log":{"level":"informational","syslog":{"appname":"CRON","facility":{"code":4,"name":"auth"},"hostname":"gate","priority":38,"procid":"7","severity":{"code":6,"name":"informational"}}},"message":"(root) CMD (/bin/x)","process":{"command_line":"/bin/x","group":{"id":"0"},"name":"CRON","pid":7,"user":{"id":"0"}},"related":{"hosts":["gate"],"user":["root"]},"systemd":{"transport":"syslog","unit":"x.service"},"user":{"name":"root"},"watchpost":{"logsource":{"product":"linux","service":"cron"}}}"#);
    }

    #[test]
    fn values_are_texts_bytes_or_lists() {
        // Terminal colours, which the journal takes for binary.
        assert_snapshot!(journal(r#"{"__REALTIME_TIMESTAMP":"1795518000000001","_SOURCE_REALTIME_TIMESTAMP":"1795517999999999","MESSAGE":[27,91,49,109,104,105,255],"_COMM":"app","DOCUMENTATION":["man:a(1)",[98,200]],"N":5,"O":{"a":1}}"#), @r#"{"@timestamp":"2026-11-24T10:59:59.999999Z","event":{"category":["host"],"dataset":"linux.syslog","module":"linux","type":["info"]},"host":{"os":{"type":"linux"}},"journal":{"documentation":["man:a(1)","b�"],"n":"5","o":"{\"a\":1}"},"message":"\u001b[1mhi�","process":{"name":"app"},"watchpost":{"logsource":{"product":"linux","service":"app"}}}"#);
        assert_snapshot!(journal(r#"{"__REALTIME_TIMESTAMP":"1795518000000001","MESSAGE":null,"SYSLOG_IDENTIFIER":"systemd-coredump","MESSAGE_ID":"fc2e22bc6ee647b6b90729ab34a250b1","COREDUMP":null,"PRIORITY":"2"}"#), @r#"{"@timestamp":"2026-11-24T11:00:00.000001Z","error":{"message":"the entry has no message, or the journal left it out"},"event":{"category":["host"],"code":"fc2e22bc6ee647b6b90729ab34a250b1","dataset":"linux.syslog","module":"linux","type":["info"]},"host":{"os":{"type":"linux"}},"journal":{"coredump":null},"log":{"level":"critical","syslog":{"appname":"systemd-coredump","severity":{"code":2,"name":"critical"}}},"process":{"name":"systemd-coredump"},"watchpost":{"logsource":{"product":"linux","service":"systemd-coredump"}}}"#);
        let long = serde_json::json!({"MESSAGE": vec![97; 10_000], "_COMM": "a"}).to_string();
        let event = event_of(Encoding::Journal, &long, "");
        assert_eq!(event.str("message").map(str::len), Some(10_000));
    }

    #[test]
    fn no_program_can_write_what_is_the_journals_own() {
        let entry = r#"{"MESSAGE":"x","UID":"0","HOSTNAME":"other","EXE":"/bin/other","_UID":"1000","_HOSTNAME":"gate","_EXE":"/bin/own","_COMM":"own","_BOOT_ID":"1"}"#;
        let event = event_of(Encoding::Journal, entry, "");
        assert_eq!(event.str("journal.uid"), Some("0"));
        for (path, own) in
            [("process.user.id", "1000"), ("host.name", "gate"), ("process.executable", "/bin/own")]
        {
            let values: Vec<_> = event.values(path).collect();
            assert_eq!(values, [event::Value::Text(own)]);
        }
        // Fluent Bit with `Strip_Underscores`.
        let stripped =
            r#"{"MESSAGE":"x","SYSLOG_IDENTIFIER":"own","UID":"1000","HOSTNAME":"gate"}"#;
        let event = event_of(Encoding::Unknown, stripped, "");
        assert_eq!(event.str("process.user.id"), Some("1000"));
        assert_eq!(event.str("host.name"), Some("gate"));
    }

    #[test]
    fn records_of_the_audit_log_are_read() {
        let line = r#"type=USER_LOGIN msg=audit(1795518000.123:42): pid=7 uid=0 auid=1000 ses=3 msg='op=login acct="anna" exe="/usr/sbin/sshd" hostname=? addr=203.0.113.5 terminal=ssh res=failed'"#;
        let entry = serde_json::json!({
            "_TRANSPORT": "audit", "SYSLOG_IDENTIFIER": "audit", "_HOSTNAME": "gate",
            "_SOURCE_REALTIME_TIMESTAMP": "1795518000123000", "__REALTIME_TIMESTAMP": "1795518000125000",
            "_AUDIT_TYPE": "1112", "_AUDIT_TYPE_NAME": "USER_LOGIN", "_AUDIT_ID": "42",
            "MESSAGE": line.replace("type=USER_LOGIN msg=audit(1795518000.123:42):", "USER_LOGIN"),
        });
        let mut event = event_of(Encoding::Journal, &entry.to_string(), "");
        event.set("message", line);
        let direct = event_of(Encoding::Unknown, line, "");
        for (_, path, value) in direct.fields() {
            assert!(event.values(path).any(|other| other == value), "{path} {value:?}");
        }
    }
}
