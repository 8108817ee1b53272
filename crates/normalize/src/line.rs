//! Lines of text that lie in JSON documents.
//!
//! Shippers wrap: Filebeat, Fluentd and many others put the line that they read into a document, as
//! `message` or `log`, and say beside it where it is from. Elastic's own pipelines would take such a
//! line apart on arrival; here it is done by the decoders that read it when it comes by itself. What
//! the document says wins over what the line says, but for three things that the line knows better:
//! the text of its message, its class, and its time, where the document has only that of its reading.

use event::logsource::{CATEGORY, PRODUCT, SERVICE};
use event::{Event, RawRecord};

use crate::mapped::Mapper;
use crate::{Decoded, default, json, syslog, windows};

/// Where a document may have a line, most telling first.
const LINES: [&str; 2] = ["message", "log"];

/// Where a document has the program of a message whose syslog header its shipper took off.
const PROGRAMS: [&str; 4] = ["log.syslog.appname", "syslog.identifier", "process.program", "ident"];

/// Parts of paths, and the dataset of what lies there.
const PATHS: [(&str, &str); 3] =
    [("/nginx/", "nginx.access"), ("/apache2/", "apache.access"), ("/httpd/", "apache.access")];

/// What an agent that reads files says of itself. The time of its document is then that of reading.
const AGENTS: [&str; 3] = ["agent.type", "input.type", "log.offset"];

/// Reads the line in a document into `line`, if there is one that nobody took apart before.
pub(crate) fn decode(
    source: &Event,
    raw: &RawRecord<'_>,
    named: &str,
    mapper: &mut Mapper,
    line: &mut Event,
) -> Decoded {
    if ["event.action", "event.category"].iter().any(|path| source.get(path).is_some()) {
        return Decoded::No;
    }
    line.clear();
    // A program's message is only overruled by what the sender or the document itself says.
    let stated = source.str("event.dataset").filter(|name| !matches!(*name, "" | "generic"));
    let stated = stated.unwrap_or(raw.dataset);
    let dataset = [stated, named].into_iter().find(|name| !name.is_empty());
    let dataset = dataset.unwrap_or_else(|| dataset_of_path(source));
    let Some(text) = LINES.iter().find_map(|path| source.str(path)) else {
        return Decoded::No;
    };
    let text = text.trim();
    if text.starts_with('{') {
        return document(text, dataset, mapper, line);
    }
    let raw = RawRecord { dataset: stated, ..*raw };
    if read(text, dataset, &raw, mapper, line) == Decoded::Yes {
        time_of_line(source, text, line);
        if !dataset.is_empty() {
            default(line, "event.dataset", dataset);
        }
        return Decoded::Yes;
    }
    if let Some(program) = PROGRAMS.iter().find_map(|path| source.str(path)) {
        line.set("log.syslog.appname", program);
        if let Some(pid) = source.str("pid") {
            line.set("log.syslog.procid", pid);
            if let Ok(pid) = pid.parse::<u32>() {
                line.set("process.pid", pid);
            }
        }
        syslog::decode_body(program, text, stated, mapper, line);
        return Decoded::Yes;
    }
    Decoded::No
}

/// Reads a line of text. `named` is what its source is called.
pub(crate) fn read(
    text: &str,
    named: &str,
    raw: &RawRecord<'_>,
    mapper: &mut Mapper,
    out: &mut Event,
) -> Decoded {
    if windows::decode_xml(text, mapper, out) == Decoded::Yes {
        return Decoded::Yes;
    }
    // What begins like a message is looked at without its header.
    if !syslog::begins_message(text) && mapper.line(named, "", text, out) == Decoded::Yes {
        return Decoded::Yes;
    }
    syslog::decode(text, raw, mapper, out)
}

/// A document that an application wrote as its line. Only one that is known is taken out.
fn document(text: &str, dataset: &str, mapper: &mut Mapper, line: &mut Event) -> Decoded {
    let mut source = Event::new();
    if source.parse_json(text.as_bytes()).is_err() {
        return Decoded::No;
    }
    if windows::decode(&source, mapper, line) == Decoded::Yes
        || mapper.document(dataset, &source, line) == Decoded::Yes
    {
        return Decoded::Yes;
    }
    if !json::is_ecs(&source) {
        return Decoded::No;
    }
    json::decode(&source, true, dataset, line);
    Decoded::Yes
}

/// What lies where the text was read.
pub(crate) fn dataset_of_path(source: &Event) -> &'static str {
    let path = source.str("log.file.path").unwrap_or_default();
    PATHS.iter().find(|(part, _)| path.contains(part)).map_or("", |(_, dataset)| *dataset)
}

/// Corrects a line's time, or takes it away where the document's is better.
///
/// A line without a zone is read as if it were UTC. Alone that is the best there is, but a document
/// may tell the zone (`event.timezone`, which Filebeat adds), and if it does not, the moment when the
/// line was read is nearer than a guess that may be off by hours.
fn time_of_line(source: &Event, text: &str, line: &mut Event) {
    let Some(time) = line.timestamp() else { return };
    let error_log = line.str("event.dataset").is_some_and(|name| name.ends_with(".error"));
    let web_access = line.get("http.response.status_code").is_some();
    let audit = line.get("auditd.sequence").is_some();
    if !error_log && (web_access || audit || !syslog::is_local(text)) {
        return;
    }
    match source.str("event.timezone").and_then(offset_nanos) {
        Some(offset) => line.set_time("@timestamp", time.plus_nanos(-offset)),
        None if json::own_time(source).is_some() => line.remove("@timestamp"),
        None => {}
    }
}

/// `+02:00`, `-0530`
fn offset_nanos(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+')?),
    };
    let hours = digits.get(..2)?.parse::<u8>().ok()?;
    let minutes = digits.get(2..)?.trim_start_matches(':').parse::<u8>().ok()?;
    Some(sign * (i64::from(hours) * 60 + i64::from(minutes)) * 60 * 1_000_000_000)
}

/// Joins a document, which `out` holds already, with its line.
pub(crate) fn merge(source: &Event, line: &mut Event, out: &mut Event) {
    // The class is one or the other, not a mixture.
    let weaker = if json::states_class(source) { &mut *line } else { &mut *out };
    for path in [PRODUCT, CATEGORY, SERVICE] {
        weaker.remove(path);
    }
    if source.str("log").is_some() {
        // Fluentd's name for the line is ECS' name for what is said of it.
        let text = source.str("log").unwrap_or_default();
        out.remove("log");
        default(out, "message", text.trim_end());
    }
    if let Some(message) = line.str("message") {
        out.set("message", message);
    }
    let read_by_agent = AGENTS.iter().any(|path| source.get(path).is_some());
    if read_by_agent && let (Some(own), Some(read)) = (line.timestamp(), out.timestamp()) {
        out.set_time("@timestamp", own);
        if out.get("event.created").is_none() {
            out.set_time("event.created", read);
        }
    }
    if out.get("event.dataset").is_some() {
        // The module goes with the dataset.
        line.remove("event.module");
    }
    out.clone_missing(line);
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::offset_nanos;
    use crate::tests::normalized;

    /// A document of Filebeat with this line.
    fn filebeat(path: &str, dataset: &str, line: &str) -> String {
        let mut document = serde_json::json!({
            "@timestamp": "2026-11-24T11:30:00.500Z",
            "@metadata": {"beat": "filebeat", "type": "_doc", "version": "8.15.0"},
            "agent": {"name": "web1", "type": "filebeat", "version": "8.15.0"},
            "ecs": {"version": "8.0.0"},
            "host": {"name": "web1.example.com"},
            "input": {"type": "filestream"},
            "log": {"file": {"path": path}, "offset": 4711},
            "message": line,
        });
        if !dataset.is_empty() {
            let module = dataset.split('.').next();
            document["event"] =
                serde_json::json!({"dataset": dataset, "module": module, "timezone": "+01:00"});
            document["service"] = serde_json::json!({"type": module});
        }
        document.to_string()
    }

    const SSHD: &str =
        "Nov 24 11:00:00 gate sshd[7]: Failed password for root from 203.0.113.5 port 9 ssh2";
    const ACCESS: &str = r#"203.0.113.5 - anna [24/Nov/2026:11:00:00 +0100] "GET /a?b=1 HTTP/1.1" 404 512 "-" "curl/8""#;

    #[test]
    fn lines_of_filebeat_are_taken_apart() {
        assert_snapshot!(normalized(&filebeat("/var/log/auth.log", "system.auth", SSHD), ""), @r#"{"@metadata":{"beat":"filebeat","type":"_doc","version":"8.15.0"},"@timestamp":"2026-11-24T10:00:00Z","agent":{"name":"web1","type":"filebeat","version":"8.15.0"},"event":{"action":"ssh_login","category":["authentication"],"created":"2026-11-24T11:30:00.5Z","dataset":"system.auth","module":"system","outcome":"failure","timezone":"+01:00","type":["start"]},"host":{"name":"web1.example.com","os":{"type":"linux"}},"input":{"type":"filestream"},"linux":{"ssh":{"method":"password"}},"log":{"file":{"path":"/var/log/auth.log"},"offset":4711,"syslog":{"appname":"sshd","hostname":"gate","procid":"7"}},"message":"Failed password for root from 203.0.113.5 port 9 ssh2","process":{"name":"sshd","pid":7},"related":{"hosts":["web1.example.com"],"ip":["203.0.113.5"],"user":["root"]},"service":{"type":"system"},"source":{"address":"203.0.113.5","ip":"203.0.113.5","port":9},"user":{"name":"root"},"watchpost":{"logsource":{"product":"linux","service":"sshd"}}}"#);
        assert_snapshot!(normalized(&filebeat("/var/log/nginx/access.log", "nginx.access", ACCESS), ""), @r#"{"@metadata":{"beat":"filebeat","type":"_doc","version":"8.15.0"},"@timestamp":"2026-11-24T10:00:00Z","agent":{"name":"web1","type":"filebeat","version":"8.15.0"},"event":{"category":["web"],"created":"2026-11-24T11:30:00.5Z","dataset":"nginx.access","module":"nginx","outcome":"failure","timezone":"+01:00","type":["access"]},"host":{"name":"web1.example.com"},"http":{"request":{"method":"GET"},"response":{"body":{"bytes":512},"status_code":404},"version":"1.1"},"input":{"type":"filestream"},"log":{"file":{"path":"/var/log/nginx/access.log"},"offset":4711},"message":"203.0.113.5 - anna [24/Nov/2026:11:00:00 +0100] \"GET /a?b=1 HTTP/1.1\" 404 512 \"-\" \"curl/8\"","related":{"hosts":["web1.example.com"],"ip":["203.0.113.5"],"user":["anna"]},"service":{"type":"nginx"},"source":{"address":"203.0.113.5","ip":"203.0.113.5"},"url":{"original":"/a?b=1","path":"/a","query":"b=1"},"user":{"name":"anna"},"user_agent":{"original":"curl/8"},"watchpost":{"logsource":{"category":"webserver","product":"nginx"}}}"#);
        // Without a module: what it is tells its path, when it was is told by when it was read.
        assert_snapshot!(normalized(&filebeat("/var/log/auth.log", "", SSHD), ""), @r#"{"@metadata":{"beat":"filebeat","type":"_doc","version":"8.15.0"},"@timestamp":"2026-11-24T11:30:00.5Z","agent":{"name":"web1","type":"filebeat","version":"8.15.0"},"event":{"action":"ssh_login","category":["authentication"],"dataset":"linux.sshd","module":"linux","outcome":"failure","type":["start"]},"host":{"name":"web1.example.com","os":{"type":"linux"}},"input":{"type":"filestream"},"linux":{"ssh":{"method":"password"}},"log":{"file":{"path":"/var/log/auth.log"},"offset":4711,"syslog":{"appname":"sshd","hostname":"gate","procid":"7"}},"message":"Failed password for root from 203.0.113.5 port 9 ssh2","process":{"name":"sshd","pid":7},"related":{"hosts":["web1.example.com"],"ip":["203.0.113.5"],"user":["root"]},"source":{"address":"203.0.113.5","ip":"203.0.113.5","port":9},"user":{"name":"root"},"watchpost":{"logsource":{"product":"linux","service":"sshd"}}}"#);
        assert_snapshot!(normalized(&filebeat("/var/log/nginx/access.log", "", ACCESS), ""), @r#"{"@metadata":{"beat":"filebeat","type":"_doc","version":"8.15.0"},"@timestamp":"2026-11-24T10:00:00Z","agent":{"name":"web1","type":"filebeat","version":"8.15.0"},"event":{"category":["web"],"created":"2026-11-24T11:30:00.5Z","dataset":"nginx.access","module":"nginx","outcome":"failure","type":["access"]},"host":{"name":"web1.example.com"},"http":{"request":{"method":"GET"},"response":{"body":{"bytes":512},"status_code":404},"version":"1.1"},"input":{"type":"filestream"},"log":{"file":{"path":"/var/log/nginx/access.log"},"offset":4711},"message":"203.0.113.5 - anna [24/Nov/2026:11:00:00 +0100] \"GET /a?b=1 HTTP/1.1\" 404 512 \"-\" \"curl/8\"","related":{"hosts":["web1.example.com"],"ip":["203.0.113.5"],"user":["anna"]},"source":{"address":"203.0.113.5","ip":"203.0.113.5"},"url":{"original":"/a?b=1","path":"/a","query":"b=1"},"user":{"name":"anna"},"user_agent":{"original":"curl/8"},"watchpost":{"logsource":{"category":"webserver","product":"nginx"}}}"#);
        let error = "2026/11/24 10:00:00 [error] 7#8: *9 open() failed, client: 203.0.113.5";
        assert_snapshot!(normalized(&filebeat("/var/log/nginx/error.log", "nginx.error", error), ""), @r#"{"@metadata":{"beat":"filebeat","type":"_doc","version":"8.15.0"},"@timestamp":"2026-11-24T09:00:00Z","agent":{"name":"web1","type":"filebeat","version":"8.15.0"},"event":{"category":["web"],"created":"2026-11-24T11:30:00.5Z","dataset":"nginx.error","module":"nginx","timezone":"+01:00","type":["error"]},"host":{"name":"web1.example.com"},"input":{"type":"filestream"},"log":{"file":{"path":"/var/log/nginx/error.log"},"level":"error","offset":4711},"message":"*9 open() failed, client: 203.0.113.5","process":{"pid":7,"thread":{"id":8}},"related":{"hosts":["web1.example.com"],"ip":["203.0.113.5"]},"service":{"type":"nginx"},"source":{"address":"203.0.113.5","ip":"203.0.113.5"},"watchpost":{"logsource":{"product":"nginx","service":"nginx"}}}"#);
        // An application that writes ECS.
        let line = r#"{"@timestamp":"2026-11-24T11:29:59.1Z","log.level":"ERROR","message":"failed","ecs.version":"1.2.0","service.name":"shop","event.dataset":"shop"}"#;
        assert_snapshot!(normalized(&filebeat("/var/log/shop.json", "", line), ""), @r#"{"@metadata":{"beat":"filebeat","type":"_doc","version":"8.15.0"},"@timestamp":"2026-11-24T11:29:59.1Z","agent":{"name":"web1","type":"filebeat","version":"8.15.0"},"event":{"created":"2026-11-24T11:30:00.5Z","dataset":"shop","module":"shop"},"host":{"name":"web1.example.com"},"input":{"type":"filestream"},"log":{"file":{"path":"/var/log/shop.json"},"level":"ERROR","offset":4711},"message":"failed","related":{"hosts":["web1.example.com"]},"service":{"name":"shop"},"watchpost":{"logsource":{"product":"shop"}}}"#);
        // No line that anyone knows.
        assert_snapshot!(normalized(&filebeat("/var/log/shop.log", "", "hello"), ""), @r#"{"@metadata":{"beat":"filebeat","type":"_doc","version":"8.15.0"},"@timestamp":"2026-11-24T11:30:00.5Z","agent":{"name":"web1","type":"filebeat","version":"8.15.0"},"event":{"dataset":"unknown","module":"unknown"},"host":{"name":"web1.example.com"},"input":{"type":"filestream"},"log":{"file":{"path":"/var/log/shop.log"},"offset":4711},"message":"hello","related":{"hosts":["web1.example.com"]}}"#);
    }

    #[test]
    fn messages_without_their_header_are_read_with_their_program() {
        // Filebeat's input of the journal.
        assert_snapshot!(normalized(r#"{"@timestamp":"2026-11-24T11:00:00.5Z","agent":{"type":"filebeat"},"ecs":{"version":"8.0.0"},"event":{"dataset":"system.auth","module":"system"},"host":{"name":"gate"},"input":{"type":"journald"},"log":{"syslog":{"appname":"sudo"}},"process":{"pid":7},"message":"anna : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/id"}"#, ""), @r#"{"@timestamp":"2026-11-24T11:00:00.5Z","agent":{"type":"filebeat"},"event":{"action":"sudo","category":["process"],"dataset":"system.auth","module":"system","outcome":"success","type":["start"]},"host":{"name":"gate","os":{"type":"linux"}},"input":{"type":"journald"},"linux":{"tty":"pts/0"},"log":{"syslog":{"appname":"sudo"}},"message":"anna : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/id","process":{"command_line":"/bin/id","executable":"/bin/id","name":"id","pid":7,"working_directory":"/"},"related":{"hosts":["gate"],"user":["anna","root"]},"user":{"effective":{"name":"root"},"name":"anna"},"watchpost":{"logsource":{"product":"linux","service":"sudo"}}}"#);
    }

    #[test]
    fn what_was_taken_apart_is_left_alone() {
        let document = r#"{"@timestamp":"2026-11-24T11:00:00Z","ecs":{"version":"8.0.0"},"event":{"action":"x","dataset":"a.b"},"message":"MESSAGE"}"#;
        let event = normalized(&document.replace("MESSAGE", SSHD), "");
        assert!(event.contains("gate sshd") && !event.contains("203.0.113.5\","), "{event}");
        // A document may state its class.
        let document = r#"{"@timestamp":"2026-11-24T11:00:00Z","ecs":{"version":"8.0.0"},"watchpost":{"logsource":{"product":"mine"}},"message":"MESSAGE"}"#;
        let event = normalized(&document.replace("MESSAGE", SSHD), "");
        assert!(event.contains(r#""watchpost":{"logsource":{"product":"mine"}}"#), "{event}");
    }

    #[test]
    fn zones_are_read() {
        for (text, hours) in
            [("+02:00", Some(2.0)), ("-0530", Some(-5.5)), ("CET", None), ("+2", None), ("", None)]
        {
            let nanos = hours.map(|hours: f64| (hours * 3600.0) as i64 * 1_000_000_000);
            assert_eq!(offset_nanos(text), nanos, "{text}");
        }
    }
}
