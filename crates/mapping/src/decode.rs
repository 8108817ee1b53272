//! From a line to named fields: how a source's text is taken apart.

use std::borrow::Cow;

use event::Event;
use matcher::Prepared;

use crate::audit::{self, Again};
use crate::pattern::{Captures, Pattern};

/// The most fields that are read of one line.
pub(crate) const FIELDS_MAX: usize = 1000;

/// Field with the program that a message's header named.
pub const PROGRAM: &str = "program";

/// Field with the text that is decoded.
pub const TEXT: &str = "text";

/// One way to read a text.
#[derive(Debug, Clone)]
pub(crate) struct Decoder {
    /// Asked of the text and its program.
    pub(crate) when: Option<Prepared>,
    pub(crate) form: Form,
}

/// How a text is written.
#[derive(Debug, Clone)]
pub(crate) enum Form {
    /// Nothing to take apart: a JSON document, whose fields are there already.
    Json,
    /// Nothing either: a record of a Windows event log, whose header was read.
    Windows,
    /// Lines of several patterns; the first that matches. `optional`: a line that none matches is
    /// the source's all the same.
    Patterns { patterns: Vec<Pattern>, optional: bool },
    /// `key=value key="quoted value"`, anywhere in the text.
    KeyValue { pair: char, equals: char },
    /// Values in a fixed order.
    Columns { separator: char, names: Vec<String> },
    /// ArcSight's Common Event Format.
    Cef,
    /// QRadar's Log Event Extended Format.
    Leef,
    /// Records of the Linux audit log, one or all of an event's.
    Audit,
}

impl Form {
    pub(crate) fn is_json(&self) -> bool {
        matches!(self, Form::Json)
    }

    pub(crate) fn is_windows(&self) -> bool {
        matches!(self, Form::Windows)
    }

    /// Whether what it reads can hardly be another source's.
    pub(crate) fn tells(&self) -> bool {
        !matches!(
            self,
            Form::Patterns { optional: true, .. } | Form::KeyValue { .. } | Form::Columns { .. }
        )
    }

    /// The names that the source's file gives to parts of a line.
    pub(crate) fn names(&self) -> Vec<&String> {
        match self {
            Form::Patterns { patterns, .. } => patterns.iter().flat_map(Pattern::names).collect(),
            Form::Columns { names, .. } => names.iter().collect(),
            Form::Json
            | Form::Windows
            | Form::KeyValue { .. }
            | Form::Cef
            | Form::Leef
            | Form::Audit => Vec::new(),
        }
    }
}

impl Decoder {
    /// Reads a text into `native`. `false`: it is not in this form.
    pub(crate) fn read(
        &self,
        text: &str,
        empty: &[String],
        native: &mut Event,
        captures: &mut Captures,
        scratch: &mut Vec<u8>,
    ) -> bool {
        if self.when.as_ref().is_some_and(|when| !when.holds(native, scratch)) {
            return false;
        }
        let mut fields = 0;
        let mut put = |name: &str, value: &str| {
            fields += 1;
            if fields <= FIELDS_MAX && !name.is_empty() && !is_empty(value, empty) {
                native.add(name, value);
            }
        };
        match &self.form {
            Form::Json | Form::Windows => false,
            Form::Patterns { patterns, optional } => {
                for pattern in patterns {
                    if text.starts_with(pattern.prefix()) && pattern.matches(text, captures) {
                        for (name, start, end) in captures.iter() {
                            let name = pattern.names().get(*name).map_or("", String::as_str);
                            put(name, text.get(*start..*end).unwrap_or_default());
                        }
                        return true;
                    }
                }
                *optional
            }
            Form::KeyValue { pair, equals } => {
                key_values(text, *pair, *equals, &mut put);
                fields > 1
            }
            Form::Columns { separator, names } => {
                let mut names = names.iter();
                let mut values = 0;
                columns(text, *separator, &mut |value| {
                    values += 1;
                    if let Some(name) = names.next() {
                        put(name, value);
                    }
                });
                values > 1
            }
            Form::Cef => cef(text, &mut put).is_some(),
            Form::Leef => leef(text, &mut put).is_some(),
            // Values that mean none are kept: rules ask for them (`auid: 4294967295`).
            Form::Audit => audit::read(text, &mut |name, value, again| {
                let is_known = || native.values(name).any(|known| known.as_str() == Some(value));
                if again == Again::Counts || !is_known() {
                    native.add(name, value);
                }
            })
            .is_some(),
        }
    }
}

fn is_empty(value: &str, empty: &[String]) -> bool {
    empty.iter().any(|one| one == value)
}

/// `key=value key="a value" key='another'`. What is no pair is passed over; a value without quotes
/// goes on until the next separator.
pub(crate) fn key_values(text: &str, pair: char, equals: char, put: &mut dyn FnMut(&str, &str)) {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([pair, ' ', '\t']);
        let Some(at) = rest.find([equals, pair]) else { return };
        let Some((key, after)) = rest.split_at_checked(at) else { return };
        let Some(after) = after.strip_prefix(equals) else {
            // A word that is no key.
            rest = after;
            continue;
        };
        let key = key.trim();
        let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''));
        if let Some(quote) = quote {
            let inside = after.get(1..).unwrap_or_default();
            if let Some((value, behind)) = quoted(inside, quote) {
                put(key, &value);
                rest = behind;
                continue;
            }
        }
        let end = after.find(pair).unwrap_or(after.len());
        let (value, behind) = after.split_at_checked(end).unwrap_or((after, ""));
        put(key, value.trim());
        rest = behind;
    }
}

/// The text up to the closing quote, unescaped where it has escapes, and what follows the quote.
fn quoted(text: &str, quote: char) -> Option<(Cow<'_, str>, &str)> {
    let mut escaped = false;
    let mut has_escapes = false;
    let end = text.char_indices().find_map(|(at, c)| {
        let ends = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        has_escapes |= escaped;
        ends.then_some(at)
    })?;
    let (inside, behind) = (text.get(..end)?, text.get(end + 1..)?);
    if !has_escapes {
        return Some((inside.into(), behind));
    }
    let mut unescaped = String::with_capacity(inside.len());
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(next) if next == quote || next == '\\' => unescaped.push(next),
                Some(next) => unescaped.extend(['\\', next]),
                None => unescaped.push('\\'),
            },
            _ => unescaped.push(c),
        }
    }
    Some((unescaped.into(), behind))
}

/// Values between separators; in quotes a separator is text, and a quote is written twice (RFC 4180).
fn columns(text: &str, separator: char, each: &mut dyn FnMut(&str)) {
    let mut rest = text;
    let mut value = String::new();
    loop {
        let Some(mut inside) = rest.strip_prefix('"') else {
            let end = rest.find(separator);
            each(rest.get(..end.unwrap_or(rest.len())).unwrap_or_default());
            match end.and_then(|end| rest.get(end + separator.len_utf8()..)) {
                Some(after) => rest = after,
                None => return,
            }
            continue;
        };
        value.clear();
        loop {
            let Some((part, after)) = inside.split_once('"') else {
                // The closing quote is missing.
                value.push_str(inside);
                inside = "";
                break;
            };
            value.push_str(part);
            inside = after;
            match inside.strip_prefix('"') {
                Some(after) => {
                    value.push('"');
                    inside = after;
                }
                None => break,
            }
        }
        each(&value);
        match inside.find(separator).and_then(|at| inside.get(at + separator.len_utf8()..)) {
            Some(after) => rest = after,
            None => return,
        }
    }
}

const CEF: [&str; 7] = [
    "cef.version",
    "cef.device.vendor",
    "cef.device.product",
    "cef.device.version",
    "cef.device.event_class_id",
    "cef.name",
    "cef.severity",
];

/// `CEF:0|Vendor|Product|Version|Class|Name|Severity|key=value key=value`, wherever it begins. In the
/// header `\|` and `\\` are escaped; in values `\=`, `\\` and line ends. A value has blanks: it ends
/// where the next `key=` begins.
fn cef(text: &str, put: &mut dyn FnMut(&str, &str)) -> Option<()> {
    let rest = text.get(text.find("CEF:")? + 4..)?;
    let extension = header(rest, &CEF, put)?;
    extension_of(extension, &mut |key, value| put(&format!("cef.extensions.{key}"), value));
    Some(())
}

/// Parts between `|`, and what follows the last one.
fn header<'a>(text: &'a str, names: &[&str], put: &mut dyn FnMut(&str, &str)) -> Option<&'a str> {
    let mut rest = text;
    for name in names {
        let mut escaped = false;
        let end = rest.char_indices().find_map(|(at, c)| {
            let ends = c == '|' && !escaped;
            escaped = c == '\\' && !escaped;
            ends.then_some(at)
        });
        // The last part may end the text.
        let end = match end {
            Some(end) => end,
            None if name == names.last()? => rest.len(),
            None => return None,
        };
        let value = rest.get(..end)?.trim();
        put(name, &value.replace("\\|", "|").replace("\\\\", "\\"));
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    Some(rest)
}

fn extension_of(text: &str, put: &mut dyn FnMut(&str, &str)) {
    // Where each `key=` is: a word at the start or after a blank, before `=` that is not escaped.
    let mut keys: Vec<(usize, usize)> = Vec::new();
    let is_key = |key: &str| {
        !key.is_empty()
            && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-[]".contains(&byte))
    };
    let mut start = 0;
    for (at, byte) in text.bytes().enumerate() {
        // One pass, whatever stands there: the word's start is kept, not sought.
        match byte {
            b' ' | b'\t' | b'\n' => start = at + 1,
            _ => {}
        }
        if byte != b'=' {
            continue;
        }
        let overlaps = keys.last().is_some_and(|(_, equals)| start <= *equals);
        if !overlaps && is_key(text.get(start..at).unwrap_or_default()) && keys.len() < FIELDS_MAX {
            keys.push((start, at));
        }
    }
    for (index, (start, equals)) in keys.iter().enumerate() {
        let end = keys.get(index + 1).map_or(text.len(), |(next, _)| *next);
        let (Some(key), Some(value)) = (text.get(*start..*equals), text.get(equals + 1..end))
        else {
            continue;
        };
        let value = value.trim();
        match value.contains('\\') {
            true => put(
                key,
                &value
                    .replace("\\=", "=")
                    .replace("\\n", "\n")
                    .replace("\\r", "\r")
                    .replace("\\\\", "\\"),
            ),
            false => put(key, value),
        }
    }
}

const LEEF: [&str; 5] =
    ["leef.version", "leef.vendor", "leef.product", "leef.product_version", "leef.event_id"];

/// `LEEF:1.0|Vendor|Product|Version|EventID|key=value<tab>key=value`; 2.0 names the separator after
/// the event id, as a character or `x09`.
fn leef(text: &str, put: &mut dyn FnMut(&str, &str)) -> Option<()> {
    let rest = text.get(text.find("LEEF:")? + 5..)?;
    let is_second = rest.starts_with('2');
    let mut attributes = header(rest, &LEEF, put)?;
    let mut separator = '\t';
    if is_second && let Some((named, after)) = attributes.split_once('|') {
        let digits = named.strip_prefix("0x").or_else(|| named.strip_prefix('x'));
        let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        match (code.and_then(char::from_u32), named.chars().next()) {
            (Some(c), _) => (separator, attributes) = (c, after),
            (None, Some(c)) if named.chars().count() == 1 => (separator, attributes) = (c, after),
            (None, None) => attributes = after,
            // It is the first attribute, and has a bar in it.
            _ => {}
        }
    }
    for attribute in attributes.split(separator) {
        if let Some((key, value)) = attribute.split_once('=') {
            put(&format!("leef.attributes.{}", key.trim()), value.trim());
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gathered(read: impl Fn(&mut dyn FnMut(&str, &str))) -> String {
        let mut text = String::new();
        read(&mut |name, value| text += &format!("{name}=<{value}> "));
        text.trim_end().to_owned()
    }

    #[test]
    fn pairs_are_read() {
        let pairs = |text: &str| gathered(|put| key_values(text, ' ', '=', put));
        assert_eq!(
            pairs(r#"date=2026-11-24 msg="a \"b\" c" user='x y' n=5"#),
            r#"date=<2026-11-24> msg=<a "b" c> user=<x y> n=<5>"#
        );
        assert_eq!(pairs("word other=1 =2 x= y=3"), "other=<1> =<2> x=<> y=<3>");
        assert_eq!(pairs(r#"open="never closed here x=1"#), r#"open=<"never> x=<1>"#);
        assert_eq!(gathered(|put| key_values("a: 1; b:\"x;y\"", ';', ':', put)), "a=<1> b=<x;y>");
    }

    #[test]
    fn columns_are_read() {
        let read = |text: &str| {
            let mut all = Vec::new();
            columns(text, ',', &mut |value| all.push(value.to_owned()));
            all.join("|")
        };
        assert_eq!(read(r#"1,,"a,b ""c""",x"#), r#"1||a,b "c"|x"#);
        assert_eq!(read(r#"1,"open"#), "1|open");
        assert_eq!(read("a,"), "a|");
    }

    #[test]
    fn cef_is_read() {
        let text = r"<134>Nov 24 host CEF:0|Acme|Wall \| Gate|1.0|100|worm stopped|10|src=10.0.0.1 msg=a b\=c d=e request=http://x/?a=b cs1Label=Rule";
        assert_eq!(
            gathered(|put| assert!(cef(text, put).is_some())),
            "cef.version=<0> cef.device.vendor=<Acme> cef.device.product=<Wall | Gate> cef.device.version=<1.0> cef.device.event_class_id=<100> cef.name=<worm stopped> cef.severity=<10> cef.extensions.src=<10.0.0.1> cef.extensions.msg=<a b=c> cef.extensions.d=<e> cef.extensions.request=<http://x/?a=b> cef.extensions.cs1Label=<Rule>"
        );
        assert!(cef("CEF:0|x", &mut |_, _| {}).is_none());
    }

    #[test]
    fn a_megabyte_of_signs_takes_no_time() {
        let text = format!("CEF:0|a|b|c|d|e|f|{}", "=".repeat(1 << 20));
        let started = std::time::Instant::now();
        assert!(cef(&text, &mut |_, _| {}).is_some());
        assert!(started.elapsed().as_secs() < 2);
    }

    #[test]
    fn leef_is_read() {
        let one = "LEEF:1.0|Acme|Gate|1|42|src=10.0.0.1\tusrName=a b";
        assert_eq!(
            gathered(|put| assert!(leef(one, put).is_some())),
            "leef.version=<1.0> leef.vendor=<Acme> leef.product=<Gate> leef.product_version=<1> leef.event_id=<42> leef.attributes.src=<10.0.0.1> leef.attributes.usrName=<a b>"
        );
        let two = "LEEF:2.0|Acme|Gate|1|42|^|src=10.0.0.1^dst=10.0.0.2";
        assert!(
            gathered(|put| assert!(leef(two, put).is_some()))
                .ends_with("leef.attributes.dst=<10.0.0.2>")
        );
        let two = "LEEF:2.0|Acme|Gate|1|42|x5e|src=10.0.0.1^dst=10.0.0.2";
        assert!(
            gathered(|put| assert!(leef(two, put).is_some()))
                .ends_with("leef.attributes.dst=<10.0.0.2>")
        );
    }
}
