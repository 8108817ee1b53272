//! Web servers' logs (Apache, nginx): access logs in the combined and common formats, error logs.
//! <https://httpd.apache.org/docs/2.4/logs.html>, <https://nginx.org/en/docs/ngx_core_module.html>

use event::{Event, Logsource};

use crate::{Decoded, set_ip, syslog};

/// Reads a line `host ident user [time] "request" status bytes "referrer" "agent"`. The dataset only
/// tells which product it is; the line itself tells that it is one.
pub(crate) fn decode(text: &str, dataset: &str, out: &mut Event) -> Decoded {
    let Some(line) = Line::read(text) else { return Decoded::No };
    let Some(time) = read_time(line.time) else { return Decoded::No };
    if syslog::begins_message(line.client) {
        // The line is the text of a message, and its header no part of a client's name.
        return Decoded::No;
    }
    out.set_time("@timestamp", time);
    write(&line, dataset, out);
    Decoded::Yes
}

/// Reads an access line that a shipper took apart already, with the names that Fluentd and Fluent
/// Bit give its parts: `{"remote":...,"method":...,"path":...,"code":...}`.
pub(crate) fn decode_parts(source: &Event, dataset: &str, out: &mut Event) -> Decoded {
    let text = |name| source.str(name);
    let (Some(method), Some(path)) = (text("method"), text("path")) else { return Decoded::No };
    let (mut status, mut bytes) = (String::new(), String::new());
    let status = source.get("code").and_then(|value| value.text(&mut status)?.parse().ok());
    // The parsers for Apache call the client `host`.
    let client = text("remote").or_else(|| text("host"));
    let (Some(status), Some(client)) = (status, client) else { return Decoded::No };
    let line = Line {
        client,
        user: text("user").unwrap_or("-"),
        time: "",
        request: &format!("{method} {path}"),
        status,
        bytes: source.get("size").and_then(|value| value.text(&mut bytes)).unwrap_or("-"),
        referrer: text("referer"),
        agent: text("agent"),
    };
    write(&line, dataset, out);
    Decoded::Yes
}

fn write(line: &Line<'_>, dataset: &str, out: &mut Event) {
    if !set_ip(out, "source.ip", line.client) {
        out.set("source.domain", line.client);
    }
    out.set("source.address", line.client);
    if line.user != "-" {
        out.set("user.name", line.user);
    }
    let mut words = line.request.splitn(3, ' ');
    match (words.next(), words.next(), words.next()) {
        (Some(method), Some(target), protocol) => {
            out.set("http.request.method", method);
            out.set("url.original", target);
            let (path, query) = match target.split_once('?') {
                Some((path, query)) => (path, Some(query)),
                None => (target, None),
            };
            out.set("url.path", path);
            if let Some(query) = query {
                out.set("url.query", query);
            }
            if let Some(version) = protocol.and_then(|text| text.strip_prefix("HTTP/")) {
                out.set("http.version", version);
            }
        }
        // Scanners send anything; it is kept as the request's text.
        _ => out.set("url.original", line.request),
    }
    out.set("http.response.status_code", i64::from(line.status));
    if let Ok(bytes) = line.bytes.parse::<i64>() {
        out.set("http.response.body.bytes", bytes);
    }
    if let Some(referrer) = line.referrer.filter(|text| *text != "-" && !text.is_empty()) {
        out.set("http.request.referrer", referrer);
    }
    if let Some(agent) = line.agent.filter(|text| *text != "-" && !text.is_empty()) {
        out.set("user_agent.original", agent);
    }
    out.set("event.outcome", if line.status < 400 { "success" } else { "failure" });
    out.append("event.category", "web");
    out.append("event.type", "access");
    let product = PRODUCTS.into_iter().find(|product| dataset.starts_with(product));
    if product.is_none() {
        out.set("event.dataset", "web.access");
    }
    access(product).stamp(out);
}

/// The servers whose logs are read.
const PRODUCTS: [&str; 2] = ["apache", "nginx"];

/// The class of an access log, of a server that may not be known.
fn access(product: Option<&'static str>) -> Logsource<'static> {
    Logsource { product, category: Some("webserver"), service: None }
}

/// The class of an error log.
fn error(product: &'static str) -> Logsource<'static> {
    Logsource { product: Some(product), category: None, service: Some(product) }
}

/// The classes of web logs.
pub(crate) fn classes() -> impl Iterator<Item = Logsource<'static>> {
    let of = |product| [access(Some(product)), error(product)];
    PRODUCTS.into_iter().flat_map(of).chain([access(None)])
}

struct Line<'a> {
    client: &'a str,
    user: &'a str,
    time: &'a str,
    request: &'a str,
    status: u16,
    bytes: &'a str,
    referrer: Option<&'a str>,
    agent: Option<&'a str>,
}

impl<'a> Line<'a> {
    fn read(text: &'a str) -> Option<Line<'a>> {
        let (head, rest) = text.split_once(" [")?;
        let mut words = head.splitn(3, ' ');
        let (client, _ident, user) = (words.next()?, words.next()?, words.next()?);
        let (time, rest) = rest.split_once("] \"")?;
        let (request, rest) = quoted(rest)?;
        let mut words = rest.trim_start().splitn(3, ' ');
        let status = words.next()?.parse().ok()?;
        let bytes = words.next()?;
        let rest = words.next().unwrap_or_default();
        let (referrer, rest) = match rest.trim_start().strip_prefix('"').and_then(quoted) {
            Some((referrer, rest)) => (Some(referrer), rest),
            None => (None, ""),
        };
        let agent = rest.trim_start().strip_prefix('"').and_then(quoted).map(|(agent, _)| agent);
        Some(Line { client, user, time, request, status, bytes, referrer, agent })
    }
}

/// The text up to the closing quote that is not escaped, and what follows it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' if !escaped => return Some((text.get(..at)?, text.get(at + 1..)?)),
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    None
}

/// Reads a line of an error log: Apache's `[Tue Nov 24 12:00:00.123456 2026] [core:error] [pid 7]
/// [client 203.0.113.5:4711] text`, nginx's `2026/11/24 12:00:00 [error] 7#7: *9 text, client: ...`.
pub(crate) fn decode_error(text: &str, out: &mut Event) -> Decoded {
    let decoded = if text.starts_with('[') {
        apache_error(text, out).map(|()| "apache")
    } else {
        nginx_error(text, out).map(|()| "nginx")
    };
    let Some(product) = decoded else { return Decoded::No };
    out.append("event.category", "web");
    let level = out.str("log.level").unwrap_or_default();
    let kind = if matches!(level, "emerg" | "alert" | "crit" | "error") { "error" } else { "info" };
    out.append("event.type", kind);
    out.set("event.dataset", format!("{product}.error").as_str());
    out.set("event.module", product);
    error(product).stamp(out);
    Decoded::Yes
}

fn apache_error(text: &str, out: &mut Event) -> Option<()> {
    let (time, mut rest) = text.strip_prefix('[')?.split_once("] ")?;
    let time = jiff::fmt::strtime::parse("%a %b %d %H:%M:%S%.f %Y", time).ok()?;
    let time = jiff::tz::TimeZone::UTC.to_timestamp(time.to_datetime().ok()?).ok()?;
    let mut level = None;
    while let Some((part, after)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        if let Some(ids) = part.strip_prefix("pid ") {
            let pid = ids.split(':').next().and_then(|pid| pid.parse::<u32>().ok());
            if let Some(pid) = pid {
                out.set("process.pid", pid);
            }
        } else if let Some(client) = part.strip_prefix("client ") {
            set_client(client, out);
        } else if level.is_none() {
            let (module, name) = part.split_once(':').unwrap_or(("", part));
            if !module.is_empty() {
                out.set("apache.error.module", module);
            }
            level = Some(name);
        } else {
            break;
        }
        rest = after.trim_start();
    }
    out.set("log.level", level?);
    out.set_time("@timestamp", event::Timestamp::from_jiff(time)?);
    out.set("message", rest);
    Some(())
}

fn nginx_error(text: &str, out: &mut Event) -> Option<()> {
    let (time, rest) = text.split_once(" [")?;
    let time = jiff::fmt::strtime::parse("%Y/%m/%d %H:%M:%S", time).ok()?;
    let time = jiff::tz::TimeZone::UTC.to_timestamp(time.to_datetime().ok()?).ok()?;
    let (level, rest) = rest.split_once("] ")?;
    let (ids, message) = rest.split_once(": ")?;
    out.set_time("@timestamp", event::Timestamp::from_jiff(time)?);
    out.set("log.level", level);
    if let Some(pid) = ids.split('#').next().and_then(|pid| pid.parse::<u32>().ok()) {
        out.set("process.pid", pid);
    }
    out.set("message", message);
    for part in message.split(", ") {
        match part.split_once(": ") {
            Some(("client", client)) => set_client(client, out),
            Some(("host", host)) => out.set("url.domain", host.trim_matches('"')),
            Some(("request", request)) => {
                let mut words = request.trim_matches('"').splitn(3, ' ');
                if let (Some(method), Some(target)) = (words.next(), words.next()) {
                    out.set("http.request.method", method);
                    out.set("url.original", target);
                }
            }
            _ => {}
        }
    }
    Some(())
}

/// An address, perhaps with its port.
fn set_client(client: &str, out: &mut Event) {
    if set_ip(out, "source.ip", client) {
        out.set("source.address", client);
        return;
    }
    let (address, port) = client.rsplit_once(':').unwrap_or((client, ""));
    out.set("source.address", address);
    if set_ip(out, "source.ip", address)
        && let Ok(port) = port.parse::<u16>()
    {
        out.set("source.port", u32::from(port));
    }
}

/// `24/Nov/2026:12:00:00 +0000`
fn read_time(text: &str) -> Option<event::Timestamp> {
    let time = jiff::fmt::strtime::parse("%d/%b/%Y:%H:%M:%S %z", text).ok()?;
    event::Timestamp::from_jiff(time.to_timestamp().ok()?)
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::tests::normalized;

    #[test]
    fn access_lines_are_mapped() {
        assert_snapshot!(normalized(r#"203.0.113.5 - anna [24/Nov/2026:11:00:00 +0100] "GET /a/b?x=1&y=%27 HTTP/1.1" 404 512 "-" "curl/8 \"quoted\"""#, "nginx.access"), @r#"{"@timestamp":"2026-11-24T10:00:00Z","event":{"category":["web"],"dataset":"nginx.access","module":"nginx","outcome":"failure","type":["access"]},"http":{"request":{"method":"GET"},"response":{"body":{"bytes":512},"status_code":404},"version":"1.1"},"related":{"ip":["203.0.113.5"],"user":["anna"]},"source":{"address":"203.0.113.5","ip":"203.0.113.5"},"url":{"original":"/a/b?x=1&y=%27","path":"/a/b","query":"x=1&y=%27"},"user":{"name":"anna"},"user_agent":{"original":"curl/8 \\\"quoted\\\""},"watchpost":{"logsource":{"category":"webserver","product":"nginx"}}}"#);
        assert_snapshot!(normalized(r#"host.example - - [24/Nov/2026:11:00:00 +0000] "\x16\x03" 400 -"#, ""), @r#"{"@timestamp":"2026-11-24T11:00:00Z","event":{"category":["web"],"dataset":"web.access","module":"web","outcome":"failure","type":["access"]},"http":{"response":{"status_code":400}},"related":{"hosts":["host.example"]},"source":{"address":"host.example","domain":"host.example"},"url":{"original":"\\x16\\x03"},"watchpost":{"logsource":{"category":"webserver"}}}"#);
    }

    #[test]
    fn lines_within_messages_are_mapped() {
        let line = r#"203.0.113.5 - - [24/Nov/2026:11:00:00 +0000] "GET / HTTP/1.1" 200 5"#;
        for header in
            ["<190>Nov 24 11:00:00 web1 ", "Nov 24 11:00:00 web1 ", "2026-11-24T11:00:00Z web1 "]
        {
            let event = normalized(&format!("{header}nginx: {line}"), "");
            assert!(
                event.contains(r#""source":{"address":"203.0.113.5","ip":"203.0.113.5"}"#),
                "{event}"
            );
            assert!(event.contains(r#""dataset":"nginx.access""#), "{event}");
            assert!(event.contains(r#""name":"web1""#), "{event}");
        }
    }

    #[test]
    fn error_lines_are_mapped() {
        assert_snapshot!(normalized("[Tue Nov 24 10:00:00 2026] [error] [client 203.0.113.5] File does not exist: /srv/x", ""), @r#"{"@timestamp":"2026-11-24T10:00:00Z","event":{"category":["web"],"dataset":"apache.error","module":"apache","type":["error"]},"log":{"level":"error"},"message":"File does not exist: /srv/x","related":{"ip":["203.0.113.5"]},"source":{"address":"203.0.113.5","ip":"203.0.113.5"},"watchpost":{"logsource":{"product":"apache","service":"apache"}}}"#);
        assert_snapshot!(normalized("[Tue Nov 24 10:00:00.123456 2026] [core:notice] [pid 7:tid 8] [client 203.0.113.5:4711] AH00094: Command line: '/usr/sbin/apache2'", ""), @r#"{"@timestamp":"2026-11-24T10:00:00.123456Z","apache":{"error":{"module":"core"}},"event":{"category":["web"],"dataset":"apache.error","module":"apache","type":["info"]},"log":{"level":"notice"},"message":"AH00094: Command line: '/usr/sbin/apache2'","process":{"pid":7},"related":{"ip":["203.0.113.5"]},"source":{"address":"203.0.113.5","ip":"203.0.113.5","port":4711},"watchpost":{"logsource":{"product":"apache","service":"apache"}}}"#);
        assert_snapshot!(normalized(r#"2026/11/24 10:00:00 [error] 7#8: *9 open() "/srv/x" failed (2: No such file or directory), client: 203.0.113.5, server: _, request: "GET /x HTTP/1.1", host: "www.example.com""#, ""), @r#"{"@timestamp":"2026-11-24T10:00:00Z","event":{"category":["web"],"dataset":"nginx.error","module":"nginx","type":["error"]},"http":{"request":{"method":"GET"}},"log":{"level":"error"},"message":"*9 open() \"/srv/x\" failed (2: No such file or directory), client: 203.0.113.5, server: _, request: \"GET /x HTTP/1.1\", host: \"www.example.com\"","process":{"pid":7},"related":{"ip":["203.0.113.5"]},"source":{"address":"203.0.113.5","ip":"203.0.113.5"},"url":{"domain":"www.example.com","original":"/x"},"watchpost":{"logsource":{"product":"nginx","service":"nginx"}}}"#);
    }

    #[test]
    fn other_lines_are_not_taken() {
        for line in ["a b c [x] \"y\" 1 2", "[", "a - - [24/Nov/2026:11:00:00 +0000] \"GET"] {
            assert!(normalized(line, "").contains("unparsed"), "{line}");
        }
    }
}
