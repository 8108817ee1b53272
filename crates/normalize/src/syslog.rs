//! Syslog messages: RFC 5424, and the many forms that RFC 3164 describes.
//!
//! A parser of our own. It has to take what devices really send: a message without priority as it
//! lies in a file, times in RFC 3339 as rsyslog writes them, a tag without a host. What follows the
//! header goes to the sources that files describe.
//! <https://www.rfc-editor.org/rfc/rfc5424>, <https://www.rfc-editor.org/rfc/rfc3164>

use event::raw::Encoding;
use event::{Event, Logsource, RawRecord, Timestamp};
use jiff::civil;

use crate::mapped::Mapper;
use crate::{Decoded, program, windows};

/// The longest name of a program. RFC 5424 allows 48 bytes; what is longer is message text.
const PROGRAM_BYTES_MAX: usize = 64;

/// The programs that send records of the audit log.
const AUDIT_PROGRAMS: [&str; 5] = ["audispd", "audisp-syslog", "auditd", "audit", "kernel"];

/// A message's parts; what is missing or `-` is `None`.
#[derive(Debug, Default, PartialEq)]
struct Message<'a> {
    priority: Option<u8>,
    /// 1 for RFC 5424.
    version: Option<u32>,
    time: Option<Timestamp>,
    host: Option<&'a str>,
    program: Option<&'a str>,
    pid: Option<&'a str>,
    id: Option<&'a str>,
    /// As it stands, brackets and all.
    structured: &'a str,
    text: &'a str,
}

/// Reads a message.
pub(crate) fn decode(
    text: &str,
    raw: &RawRecord<'_>,
    mapper: &mut Mapper,
    out: &mut Event,
) -> Decoded {
    // Some senders end a message with NUL, or put a byte-order mark before it.
    let text = text.trim_start_matches('\u{feff}').trim_end_matches(['\0', '\n', '\r']);
    let Some(message) = parse(text, raw.received) else { return Decoded::No };
    let certain = message.priority.is_some() || message.time.is_some();
    if !certain && raw.encoding != Encoding::Syslog {
        return Decoded::No;
    }
    write(&message, out);
    decode_body(message.program.unwrap_or_default(), message.text, raw.dataset, mapper, out);
    Decoded::Yes
}

/// What a program's message says: all that is left of one when its header was taken off. `out` has
/// the header already.
pub(crate) fn decode_body(
    program: &str,
    text: &str,
    dataset: &str,
    mapper: &mut Mapper,
    out: &mut Event,
) {
    out.set("message", text);
    let read = match program.strip_prefix('%') {
        // A Cisco mnemonic (`%ASA-6-302013`) is part of what is said.
        Some(_) => mapper.line(dataset, "", &format!("{program}: {text}"), out),
        None => mapper.line(dataset, program, text.trim_start_matches([':', ' ']), out),
    };
    if read == Decoded::Yes || read_document(text, dataset, mapper, out) == Decoded::Yes {
        return;
    }
    classify(program, dataset, out);
}

/// The host of a message that a program of the audit log sent, and where its text begins.
pub(crate) fn audit_body(text: &str, received: Timestamp) -> Option<(&str, usize)> {
    let message = parse(text, received)?;
    let is_audit = message.program.is_some_and(|program| AUDIT_PROGRAMS.contains(&program));
    is_audit.then(|| (message.host.unwrap_or_default(), text.len() - message.text.len()))
}

/// Reads a document that a program wrote as its message, if it is of a source that is known: JSON,
/// or a Windows event's XML.
fn read_document(text: &str, dataset: &str, mapper: &mut Mapper, out: &mut Event) -> Decoded {
    let text = text.trim();
    if windows::decode_xml(text, mapper, out) == Decoded::Yes {
        return Decoded::Yes;
    }
    // Some collectors mark what follows as JSON.
    let text = text.strip_prefix("@cee:").map_or(text, str::trim_start);
    let mut document = Event::new();
    if !text.starts_with('{') || document.parse_json(text.as_bytes()).is_err() {
        return Decoded::No;
    }
    match windows::decode(&document, mapper, out) {
        Decoded::Yes => Decoded::Yes,
        Decoded::No => mapper.document(dataset, &document, out),
    }
}

/// Whether a text begins as messages do, with a priority or a time.
pub(crate) fn begins_message(text: &str) -> bool {
    let word = text.split(' ').next().unwrap_or(text);
    word.starts_with('<') || month(word).is_some() || Timestamp::parse_rfc3339(word).is_some()
}

/// Whether the time that a message begins with is a local one, of a zone that it does not tell.
pub(crate) fn is_local(text: &str) -> bool {
    let (_, rest) = priority(text.trim_start_matches('\u{feff}'));
    !rest.starts_with(|c: char| c.is_ascii_digit())
}

/// What the priority's facility is called.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp", "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4",
    "local5", "local6", "local7",
];

/// What the priority's severity is called.
const SEVERITIES: [&str; 8] =
    ["emergency", "alert", "critical", "error", "warning", "notice", "informational", "debug"];

/// Writes a facility and a severity, either of which may be known alone.
pub(crate) fn write_priority(facility: Option<u8>, severity: Option<u8>, out: &mut Event) {
    let facility = facility.and_then(|code| Some((code, *FACILITIES.get(usize::from(code))?)));
    let severity = severity.and_then(|code| Some((code, *SEVERITIES.get(usize::from(code))?)));
    if let (Some((facility, _)), Some((severity, _))) = (facility, severity) {
        out.set("log.syslog.priority", u32::from(facility) * 8 + u32::from(severity));
    }
    if let Some((code, name)) = facility {
        out.set("log.syslog.facility.code", u32::from(code));
        out.set("log.syslog.facility.name", name);
    }
    if let Some((code, name)) = severity {
        out.set("log.syslog.severity.code", u32::from(code));
        out.set("log.syslog.severity.name", name);
        out.set("log.level", name);
    }
}

fn write(message: &Message<'_>, out: &mut Event) {
    if let Some(priority) = message.priority {
        write_priority(Some(priority / 8), Some(priority % 8), out);
    }
    if let Some(version) = message.version {
        out.set("log.syslog.version", version.to_string().as_str());
    }
    if let Some(time) = message.time {
        out.set_time("@timestamp", time);
    }
    for (path, text) in [
        ("log.syslog.hostname", message.host),
        ("host.name", message.host),
        ("log.syslog.appname", message.program),
        ("process.name", message.program),
        ("log.syslog.procid", message.pid),
        ("log.syslog.msgid", message.id),
    ] {
        if let Some(text) = text {
            out.set(path, text);
        }
    }
    if let Some(pid) = message.pid.and_then(|pid| pid.parse::<u32>().ok()) {
        out.set("process.pid", pid);
    }
    structured(message.structured, &mut |id, name, value| {
        out.append(&format!("log.syslog.structured_data.{id}.{name}"), value);
    });
}

/// The class of a network device's message.
pub(crate) const CISCO: Logsource<'static> =
    Logsource { product: Some("cisco"), category: None, service: None };

/// The class of a message of which no source knows what it says.
fn classify(program: &str, dataset: &str, out: &mut Event) {
    let (module, name) = dataset.split_once('.').unwrap_or((dataset, ""));
    if !matches!(module, "" | "linux" | "system" | "syslog" | "unix" | "auth") {
        // The sender knows better than the form, which many devices share.
        let service = (!name.is_empty()).then_some(name);
        let product = if module == "darwin" { "macos" } else { module };
        Logsource { product: Some(product), category: None, service }.stamp(out);
        out.set("event.dataset", dataset);
        return;
    }
    if program.starts_with('%') {
        // A Cisco mnemonic (`%ASA-6-302013`): a device, and not known which rules mean.
        out.set("event.dataset", "cisco.syslog");
        CISCO.stamp(out);
        return;
    }
    program::decode(program, out);
}

fn parse(text: &str, received: Timestamp) -> Option<Message<'_>> {
    let (priority, rest) = priority(text);
    if let Some(rest) = rest.strip_prefix("1 ")
        && let Some(message) = rfc_5424(rest)
    {
        return Some(Message { priority, version: Some(1), ..message });
    }
    let message = rfc_3164(rest, received);
    Some(Message { priority, ..message })
}

/// `<34>`
fn priority(text: &str) -> (Option<u8>, &str) {
    let parsed = text.strip_prefix('<').and_then(|rest| {
        let (digits, rest) = rest.split_once('>')?;
        let number = digits.parse::<u8>().ok().filter(|number| *number < 192)?;
        Some((number, rest))
    });
    parsed.map_or((None, text), |(number, rest)| (Some(number), rest))
}

/// What follows the version.
fn rfc_5424(text: &str) -> Option<Message<'_>> {
    let mut words = text.splitn(6, ' ');
    let time = words.next()?;
    let time = match time {
        "-" => None,
        _ => Some(Timestamp::parse_rfc3339(time)?),
    };
    let mut part = || words.next().map(|word| (word != "-").then_some(word));
    let (host, program, pid, id) = (part()?, part()?, part()?, part()?);
    let rest = words.next().unwrap_or("-");
    let (structured, text) = match rest.strip_prefix('-') {
        Some(rest) => ("", rest),
        None => rest.split_at_checked(structured(rest, &mut |_, _, _| {}))?,
    };
    let text = text.strip_prefix(' ').unwrap_or(text);
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    Some(Message { time, host, program, pid, id, structured, text, ..Message::default() })
}

/// Calls `each` with the id, name and value of every parameter of `[id name="value"]...`, and
/// returns how many bytes that is: up to the first that does not belong to it.
fn structured(text: &str, each: &mut dyn FnMut(&str, &str, &str)) -> usize {
    let mut rest = text;
    let mut value = String::new();
    while let Some(element) = rest.strip_prefix('[') {
        let Some(end) = element.find([' ', ']']) else { break };
        let (id, mut inside) = element.split_at(end);
        loop {
            inside = inside.trim_start_matches(' ');
            if let Some(after) = inside.strip_prefix(']') {
                rest = after;
                break;
            }
            let Some((name, quoted)) = inside.split_once("=\"") else {
                return text.len() - rest.len();
            };
            value.clear();
            let mut escaped = false;
            let mut close = None;
            for (at, c) in quoted.char_indices() {
                match c {
                    '\\' if !escaped => escaped = true,
                    '"' if !escaped => {
                        close = Some(at);
                        break;
                    }
                    _ => {
                        if escaped && !matches!(c, '"' | '\\' | ']') {
                            value.push('\\');
                        }
                        value.push(c);
                        escaped = false;
                    }
                }
            }
            let Some(after) = close.and_then(|at| quoted.get(at + 1..)) else {
                return text.len() - rest.len();
            };
            if !id.is_empty() && !name.is_empty() {
                each(id, name, &value);
            }
            inside = after;
        }
    }
    text.len() - rest.len()
}

/// What follows the priority: `[time] [host] [tag[pid]:] text`.
fn rfc_3164(text: &str, received: Timestamp) -> Message<'_> {
    if let Some(message) = numbered(text, received) {
        return message;
    }
    let Some((time, rest)) = time(text, received) else {
        // Without a time no host is to be expected: `<13>program: text` of a local socket.
        let (program, pid, text) = tag(text);
        return Message { program, pid, text, ..Message::default() };
    };
    let rest = rest.trim_start_matches(' ');
    if let Some((host, offset, text)) = before_mnemonic(rest) {
        let (program, pid, text) = tag(text);
        let time = Some(time.plus_nanos(-offset));
        return Message { time, host, program, pid, text, ..Message::default() };
    }
    // The first word is the host, unless it is the tag already.
    let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
    if word.ends_with(':') || (word.contains('[') && word.ends_with(']')) {
        let (program, pid, text) = tag(rest);
        return Message { time: Some(time), program, pid, text, ..Message::default() };
    }
    let (program, pid, text) = tag(after.trim_start_matches(' '));
    let host = (!word.is_empty() && word != "-").then_some(word);
    Message { time: Some(time), host, program, pid, text, ..Message::default() }
}

/// What Cisco's devices put before the time where they number their messages: `29: ` or
/// `29: host: `.
fn numbered(text: &str, received: Timestamp) -> Option<Message<'_>> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let rest = text.get(digits..).filter(|_| (1..=10).contains(&digits))?.strip_prefix(": ")?;
    let (named, rest) = match rest.split_once(": ") {
        Some((host, after)) if !host.contains(' ') && time(after, received).is_some() => {
            (Some(host), after)
        }
        _ => (None, rest),
    };
    let (time, rest) = time(rest, received)?;
    let (host, offset, text) = before_mnemonic(rest.trim_start_matches(' '))?;
    let (program, pid, text) = tag(text);
    let time = Some(time.plus_nanos(-offset));
    Some(Message { time, host: named.or(host), program, pid, text, ..Message::default() })
}

/// What Cisco's devices put between the time and a mnemonic (`%ASA-6-302013: `): nothing, `host: `,
/// `host : ` or `UTC: `. The host, how many nanoseconds the zone is ahead, and the rest.
fn before_mnemonic(text: &str) -> Option<(Option<&str>, i64, &str)> {
    let at = text.find('%')?;
    let (before, rest) = text.split_at_checked(at)?;
    let name = rest.get(1..)?.split_once('-')?.0;
    let is_mnemonic = name.starts_with(|c: char| c.is_ascii_uppercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    let before = before.trim_end_matches(' ');
    if !is_mnemonic || before.is_empty() {
        return is_mnemonic.then_some((None, 0, rest));
    }
    let word = before.strip_suffix(':')?.trim_end_matches(' ');
    if word.is_empty() || word.contains(' ') {
        return None;
    }
    let hours = ZONES.iter().find(|(name, _)| *name == word).map(|(_, hours)| *hours);
    Some(match hours {
        Some(hours) => (None, hours * 3_600 * 1_000_000_000, rest),
        None => (Some(word), 0, rest),
    })
}

/// Zones that devices name, and how many hours they are ahead.
const ZONES: [(&str, i64); 22] = [
    ("UTC", 0),
    ("GMT", 0),
    ("Z", 0),
    ("WET", 0),
    ("WEST", 1),
    ("BST", 1),
    ("CET", 1),
    ("CEST", 2),
    ("EET", 2),
    ("EEST", 3),
    ("MSK", 3),
    ("JST", 9),
    ("AEST", 10),
    ("AEDT", 11),
    ("EST", -5),
    ("EDT", -4),
    ("CST", -6),
    ("CDT", -5),
    ("MST", -7),
    ("MDT", -6),
    ("PST", -8),
    ("PDT", -7),
];

/// `program[pid]: text`, `program(detail)[pid]: text`, `program: text`.
fn tag(text: &str) -> (Option<&str>, Option<&str>, &str) {
    let none = (None, None, text);
    let Some(end) = text.find([' ', ':', '[']) else { return none };
    let Some((program, rest)) = text.split_at_checked(end) else { return none };
    if program.is_empty() || program.len() > PROGRAM_BYTES_MAX || program.starts_with(['<', '{']) {
        return none;
    }
    if matches!(program, "CEF" | "LEEF") {
        // `CEF:0|...` is the text; no program has that name.
        return none;
    }
    let (pid, rest) = match rest.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((pid, rest))) if !pid.contains(' ') => (Some(pid), rest),
        Some(_) => return none,
        None => (None, rest),
    };
    match rest.strip_prefix(':') {
        Some(rest) => (Some(program), pid, rest.strip_prefix(' ').unwrap_or(rest)),
        None if pid.is_some() => (Some(program), pid, rest.trim_start_matches(' ')),
        None => none,
    }
}

/// The time at the start, and what follows it.
fn time(text: &str, received: Timestamp) -> Option<(Timestamp, &str)> {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    if word.starts_with(|c: char| c.is_ascii_digit()) {
        return Timestamp::parse_rfc3339(word).map(|time| (time, rest));
    }
    // Cisco marks a clock that is not set with `*`, one that lost its source with `.`.
    let mut rest = text.trim_start_matches(['*', '.']);
    let month = month(take_word(&mut rest)?)?;
    let day = take_word(&mut rest)?.parse::<i8>().ok()?;
    let mut word = take_word(&mut rest)?;
    let mut year = None;
    if word.len() == 4 && !word.contains(':') {
        year = Some(word.parse::<i16>().ok()?);
        word = take_word(&mut rest)?;
    }
    let word = word.strip_suffix(':').unwrap_or(word);
    let (clock, fraction) = word.split_once('.').unwrap_or((word, ""));
    let mut parts = clock.split(':').map(|part| part.parse::<i8>().ok());
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() {
        return None;
    }
    let nanos = match fraction.len() {
        0 => 0,
        digits @ 1..=9 => fraction.parse::<i32>().ok()? * 10_i32.pow(9 - digits as u32),
        _ => return None,
    };
    if year.is_none() && rest.len() >= 5 {
        // `Nov 24 12:00:00 2026 host`, as some devices write it.
        let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
        if word.len() == 4
            && word.starts_with("20")
            && let Ok(number) = word.parse::<i16>()
        {
            year = Some(number);
            rest = after;
        }
    }
    let of_year = |year: i16| -> Option<Timestamp> {
        // A leap second is the second before it.
        let time = civil::Time::new(hour, minute, second.min(59), nanos).ok()?;
        let time = civil::Date::new(year, month, day).ok()?.to_datetime(time);
        Timestamp::from_jiff(jiff::tz::TimeZone::UTC.to_timestamp(time).ok()?)
    };
    let time = match year {
        Some(year) => of_year(year)?,
        None => without_year(received, of_year)?,
    };
    Some((time, rest))
}

/// How far a sender's clock may be ahead: any zone's local time taken for UTC, and then some.
const AHEAD_NANOS_MAX: i64 = 24 * 60 * 60 * 1_000_000_000;

/// The latest year that does not make the time one in the future. Around New Year this gives the
/// old year to what arrives late, and the new one to what a fast clock wrote; the 29th of February
/// falls in the last leap year.
fn without_year(
    received: Timestamp,
    of_year: impl Fn(i16) -> Option<Timestamp>,
) -> Option<Timestamp> {
    let year = jiff::tz::TimeZone::UTC.to_datetime(received.to_jiff()).year();
    let latest = received.plus_nanos(AHEAD_NANOS_MAX);
    (year.saturating_sub(8)..=year.saturating_add(1))
        .rev()
        .filter_map(of_year)
        .find(|time| *time <= latest)
}

fn take_word<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let text = rest.trim_start_matches(' ');
    let (word, after) = text.split_once(' ').unwrap_or((text, ""));
    *rest = after;
    (!word.is_empty()).then_some(word)
}

fn month(word: &str) -> Option<i8> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let at = MONTHS.iter().position(|name| *name == word)?;
    i8::try_from(at + 1).ok()
}

#[cfg(test)]
mod tests {
    use event::Timestamp;
    use insta::{assert_debug_snapshot, assert_snapshot};
    use proptest::prelude::*;

    use super::{parse, structured};
    use crate::tests::normalized;

    fn received() -> Timestamp {
        Timestamp::parse_rfc3339("2026-11-24T12:00:00Z").unwrap()
    }

    /// The parts in one line, `|` between them.
    fn parts(text: &str) -> String {
        let Some(m) = parse(text, received()) else { return "none".into() };
        let time = m.time.map(|time| time.to_string());
        format!(
            "{:?} {} | {} | {} | {} | {} | {} | {}",
            m.priority,
            time.as_deref().unwrap_or("-"),
            m.host.unwrap_or("-"),
            m.program.unwrap_or("-"),
            m.pid.unwrap_or("-"),
            m.id.unwrap_or("-"),
            m.structured,
            m.text
        )
    }

    #[test]
    fn both_forms_are_taken_apart() {
        let lines = [
            "<165>1 2026-11-24T10:00:00.5+01:00 h app 7 ID1 [a@1 k=\"v \\\"q\\]\"][b] \u{feff}text",
            "<34>1 - - - - - -",
            "<34>1 2026-11-24T10:00:00Z h app - - - text with [brackets]",
            "<34>Nov 24 10:00:00 h sshd[7]: text: more",
            "Nov  4 10:00:00 h sshd(pam_unix)[7]: text",
            "<34>Nov 24 10:00:00 su: no host",
            "2026-11-24T10:00:00.123456+00:00 h CRON[1]: rsyslog's file form",
            "<189>*Mar  1 18:46:11.123: %SYS-5-CONFIG_I: Configured",
            "<13>Nov 24 2026 10:00:00 asa1 %ASA-6-302013: Built",
            "<189>29: *Nov 24 10:00:00.123: %SYS-5-CONFIG_I: Configured",
            "<189>000031: rtr1: Nov 24 10:00:00 CET: %LINK-3-UPDOWN: Interface",
            "Nov 24 10:00:00 fw1: %ASA-6-302013: Built",
            "<166>Nov 24 2026 10:00:00 fw1 : %ASA-6-302013: Built",
            "<166>Nov 24 2026 10:00:00: %ASA-6-302013: Built",
            "Nov 24 10:00:00 app: %s is no mnemonic",
            "<13>29: no time follows",
            "<13>Nov 24 10:00:00 h syslogd 1.4.1: restart.",
            "<13>logger: without a time",
            "<13>only text",
            "<999>Nov 24 10:00:00 h a: too high a priority",
            "<34>1 not-a-time h app - - - x",
            "Nov 24 10:00:00 h",
            "Nov 31 10:00:00 h a: no such day",
        ];
        let all: Vec<_> = lines.iter().map(|line| parts(line)).collect();
        assert_snapshot!(all.join("\n"), @r#"
        Some(165) 2026-11-24T09:00:00.5Z | h | app | 7 | ID1 | [a@1 k="v \"q\]"][b] | text
        Some(34) - | - | - | - | - |  | 
        Some(34) 2026-11-24T10:00:00Z | h | app | - | - |  | text with [brackets]
        Some(34) 2026-11-24T10:00:00Z | h | sshd | 7 | - |  | text: more
        None 2026-11-04T10:00:00Z | h | sshd(pam_unix) | 7 | - |  | text
        Some(34) 2026-11-24T10:00:00Z | - | su | - | - |  | no host
        None 2026-11-24T10:00:00.123456Z | h | CRON | 1 | - |  | rsyslog's file form
        Some(189) 2026-03-01T18:46:11.123Z | - | %SYS-5-CONFIG_I | - | - |  | Configured
        Some(13) 2026-11-24T10:00:00Z | asa1 | %ASA-6-302013 | - | - |  | Built
        Some(189) 2026-11-24T10:00:00.123Z | - | %SYS-5-CONFIG_I | - | - |  | Configured
        Some(189) 2026-11-24T09:00:00Z | rtr1 | %LINK-3-UPDOWN | - | - |  | Interface
        None 2026-11-24T10:00:00Z | fw1 | %ASA-6-302013 | - | - |  | Built
        Some(166) 2026-11-24T10:00:00Z | fw1 | %ASA-6-302013 | - | - |  | Built
        Some(166) 2026-11-24T10:00:00Z | - | %ASA-6-302013 | - | - |  | Built
        None 2026-11-24T10:00:00Z | - | app | - | - |  | %s is no mnemonic
        Some(13) - | - | 29 | - | - |  | no time follows
        Some(13) 2026-11-24T10:00:00Z | h | - | - | - |  | syslogd 1.4.1: restart.
        Some(13) - | - | logger | - | - |  | without a time
        Some(13) - | - | - | - | - |  | only text
        None - | - | - | - | - |  | <999>Nov 24 10:00:00 h a: too high a priority
        Some(34) - | - | - | - | - |  | 1 not-a-time h app - - - x
        None 2026-11-24T10:00:00Z | h | - | - | - |  | 
        None - | - | - | - | - |  | Nov 31 10:00:00 h a: no such day
        "#);
    }

    #[test]
    fn a_time_without_year_gets_the_right_one() {
        let year = |received: &str, line: &str| {
            let received = Timestamp::parse_rfc3339(received).unwrap();
            parse(line, received).and_then(|m| m.time).map(|time| time.to_string())
        };
        for (received, line, time) in [
            ("2026-11-24T12:00:00Z", "Nov 24 11:59:59 h a: x", "2026-11-24T11:59:59Z"),
            // Late at New Year, and a fast clock before it.
            ("2027-01-01T00:00:05Z", "Dec 31 23:59:59 h a: x", "2026-12-31T23:59:59Z"),
            ("2026-12-31T23:59:55Z", "Jan  1 00:00:03 h a: x", "2027-01-01T00:00:03Z"),
            // A zone ahead of UTC, and an old file.
            ("2026-11-24T12:00:00Z", "Nov 24 23:00:00 h a: x", "2026-11-24T23:00:00Z"),
            ("2026-11-24T12:00:00Z", "Nov 26 12:00:00 h a: x", "2025-11-26T12:00:00Z"),
            ("2026-11-24T12:00:00Z", "Feb 29 12:00:00 h a: x", "2024-02-29T12:00:00Z"),
        ] {
            assert_eq!(year(received, line).as_deref(), Some(time), "{received} {line}");
        }
    }

    #[test]
    fn structured_data_is_kept() {
        assert_snapshot!(normalized("<165>1 2026-11-24T10:00:00Z h app 7 ID1 [x@32473 k=\"v\" k=\"w\"] text", ""), @r#"{"@timestamp":"2026-11-24T10:00:00Z","event":{"category":["host"],"dataset":"linux.syslog","module":"linux","type":["info"]},"host":{"name":"h","os":{"type":"linux"}},"log":{"level":"notice","syslog":{"appname":"app","facility":{"code":20,"name":"local4"},"hostname":"h","msgid":"ID1","priority":165,"procid":"7","severity":{"code":5,"name":"notice"},"structured_data":{"x@32473":{"k":["v","w"]}},"version":"1"}},"message":"text","process":{"name":"app","pid":7},"related":{"hosts":["h"]},"watchpost":{"logsource":{"product":"linux","service":"app"}}}"#);
    }

    #[test]
    fn the_senders_dataset_tells_the_product() {
        let event = normalized("<13>Nov 24 10:00:00 fw1 filter: text", "fortinet.firewall");
        assert!(
            event.contains(r#""logsource":{"product":"fortinet","service":"firewall"}"#),
            "{event}"
        );
        assert!(event.contains(r#""dataset":"fortinet.firewall""#), "{event}");
    }

    #[test]
    fn unfinished_structured_data_ends_where_it_breaks() {
        for (text, taken) in
            [("[a", 0), ("[a b", 0), ("[a b=\"c", 0), ("[a b=\"c\"", 0), ("[a]x", 3), ("[a][b", 3)]
        {
            assert_eq!(structured(text, &mut |_, _, _| {}), taken, "{text}");
        }
        assert_debug_snapshot!(parts("<34>1 - h a - - [broken x"), @r#""Some(34) - | h | a | - | - |  | [broken x""#);
    }

    proptest! {
        #[test]
        fn any_text_is_taken_apart(text in "(<[0-9]{1,3}>)?(1 )?\\PC{0,80}") {
            parse(&text, received());
        }

        #[test]
        fn what_is_written_is_read(host in "[a-z0-9.-]{1,9}[a-z]", app in "[a-z]{1,9}", pid in 1..99999u32, text in "[a-z0-9:\\[\\]][ -~]{0,30}") {
            let line = format!("<13>Nov 24 10:00:00 {host} {app}[{pid}]: {text}");
            let message = parse(&line, received()).unwrap();
            prop_assert_eq!(message.host, Some(&*host));
            prop_assert_eq!(message.program, Some(&*app));
            prop_assert_eq!(message.pid, Some(&*pid.to_string()));
            prop_assert_eq!(message.text, &*text);
            let line = format!("<13>1 2026-11-24T10:00:00Z {host} {app} {pid} - - {text}");
            let message = parse(&line, received()).unwrap();
            prop_assert_eq!(message.text, &*text);
        }
    }
}
