//! The one line by which a person decides whether to open an alert.
//!
//! It is made of what the event says, in the order in which an analyst asks: what, where, who,
//! from where. Values come from logs, so control characters are taken out of them and each is
//! clipped.

use std::fmt::Write as _;

use serde_json::Value;

/// The longest value that a line shows, in characters.
pub const VALUE_CHARS_MAX: usize = 120;

/// What an event is about, the most telling first.
const WHAT: [&str; 10] = [
    "process.command_line",
    "powershell.file.script_block_text",
    "process.executable",
    "process.name",
    "service.name",
    "registry.path",
    "file.path",
    "dns.question.name",
    "url.original",
    "event.action",
];

/// The line of an alert that rests on one event.
pub fn of_event(title: &str, event: &Value) -> String {
    let mut line = clipped(title);
    if let Some(what) = WHAT.iter().find_map(|path| text_at(event, path)) {
        push(&mut line, ": ", &what);
    }
    if let Some(host) = text_at(event, "host.name") {
        push(&mut line, " on ", &host);
    }
    if let Some(user) = text_at(event, "user.name") {
        match text_at(event, "user.domain") {
            Some(domain) => push(&mut line, " by ", &format!("{domain}\\{user}")),
            None => push(&mut line, " by ", &user),
        }
    }
    if let Some(source) = text_at(event, "source.ip").or_else(|| text_at(event, "source.address")) {
        push(&mut line, " from ", &source);
    }
    line
}

/// The line of an alert that rests on the events of a group. `values` are the fields whose
/// distinct values were counted, with their number.
pub fn of_group(
    title: &str,
    events: u64,
    values: Option<(&[String], u64)>,
    group: &[(String, String)],
    timespan_s: u64,
) -> String {
    let mut line = clipped(title);
    let plural = if events == 1 { "" } else { "s" };
    let written = match values {
        None => write!(line, ": {events} event{plural}"),
        Some((fields, distinct)) => {
            let fields = fields.join(", ");
            let values = if distinct == 1 { "value" } else { "different values" };
            write!(line, ": {distinct} {values} of {fields} in {events} event{plural}")
        }
    };
    written.expect("a string takes everything");
    for (field, value) in group {
        match role(field) {
            Some(before) => push(&mut line, before, value),
            None => push(&mut line, &format!(" with {field} "), value),
        }
    }
    push(&mut line, " within ", &duration(timespan_s));
    line
}

/// How a sentence goes on with a group's field. Names are native ones or those of ECS.
fn role(field: &str) -> Option<&'static str> {
    let name = field.to_ascii_lowercase();
    Some(match name.as_str() {
        "source.ip" | "source.address" | "client.ip" | "ipaddress" | "sourceip" | "src_ip"
        | "sourceipaddress" | "source_ip" | "c-ip" | "clientip" | "src" => " from ",
        "host.name" | "computer" | "computername" | "hostname" | "host" | "workstationname" => {
            " on "
        }
        "user.name" | "user" | "username" | "targetusername" | "subjectusername"
        | "useridentity.arn" => " for user ",
        _ => return None,
    })
}

fn duration(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "m")];
    match units.into_iter().find(|(each, _)| seconds >= *each && seconds.is_multiple_of(*each)) {
        Some((each, unit)) => format!("{}{unit}", seconds / each),
        None => format!("{seconds}s"),
    }
}

/// The text of a dotted field of nested JSON; of an array, its first element's.
fn text_at(event: &Value, path: &str) -> Option<String> {
    let found = path.split('.').try_fold(event, |value, name| value.get(name))?;
    let first = found.as_array().map_or(Some(found), |array| array.first())?;
    match first {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn push(line: &mut String, before: &str, value: &str) {
    line.push_str(before);
    line.push_str(&clipped(value));
}

/// A value on one line, without what could move a terminal's cursor, and not too long.
fn clipped(value: &str) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    let mut characters = value.chars();
    let mut text: String = characters.by_ref().take(VALUE_CHARS_MAX).map(visible).collect();
    if characters.next().is_some() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_says_what_where_who_and_from_where() {
        let check = |event: Value, expected: &str| assert_eq!(of_event("Rule", &event), expected);
        check(json!({}), "Rule");
        check(
            json!({
                "host": {"name": "ws-7"},
                "user": {"name": "anna", "domain": "CORP"},
                "process": {"command_line": "powershell -enc aQBl\r\nx", "name": "powershell.exe"},
            }),
            "Rule: powershell -enc aQBl  x on ws-7 by CORP\\anna",
        );
        check(
            json!({
                "host": {"name": "web-1"},
                "user": {"name": ["root", "x"]},
                "source": {"ip": "203.0.113.9"},
                "event": {"action": "ssh_login"},
            }),
            "Rule: ssh_login on web-1 by root from 203.0.113.9",
        );
        let long = json!({"process": {"command_line": "é".repeat(500)}});
        assert_eq!(of_event("R", &long).chars().count(), 3 + VALUE_CHARS_MAX + 1);
        // A terminal's escape sequence does not come through.
        check(json!({"host": {"name": "a\u{1b}[2Jb"}}), "Rule on a [2Jb");
    }

    #[test]
    fn a_group_says_how_many_of_what() {
        let pair = |field: &str, value: &str| (field.to_owned(), value.to_owned());
        assert_eq!(
            of_group("SSH brute force", 12, None, &[pair("source.ip", "203.0.113.9")], 300),
            "SSH brute force: 12 events from 203.0.113.9 within 5m"
        );
        assert_eq!(
            of_group(
                "Password spraying",
                23,
                Some((&["TargetUserName".to_owned()], 14)),
                &[pair("IpAddress", "10.0.0.9"), pair("Computer", "dc-1"), pair("Status", "x")],
                90
            ),
            "Password spraying: 14 different values of TargetUserName in 23 events \
             from 10.0.0.9 on dc-1 with Status x within 90s"
        );
    }
}
