//! Values made fit for the fields they go to: ECS says the type of each.

use std::collections::HashMap;
use std::net::IpAddr;

use event::ecs::{Type, field_type};
use event::{Event, Timestamp, Value};

use crate::ecs_words;
use crate::pattern::{Captures, Pattern};
use crate::source::is_one_of;

/// Where a value goes, and as what.
#[derive(Debug, Clone, Default)]
pub(crate) struct Destination {
    pub(crate) targets: Vec<Target>,
    pub(crate) convert: Convert,
}

/// A field that values go to, and what ECS says of it.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    path: String,
    kind: Option<Type>,
    is_list: bool,
}

/// What is done to a value on its way.
#[derive(Debug, Clone, Default)]
pub(crate) struct Convert {
    pub(crate) lower: bool,
    pub(crate) upper: bool,
    /// Values, in lower case, and what they become.
    pub(crate) table: Option<HashMap<String, String>>,
    /// What others become, nothing if it is empty; they stay as they are without it.
    pub(crate) otherwise: Option<String>,
    pub(crate) scale: Option<f64>,
    pub(crate) part: Option<Part>,
    /// Values that mean none here.
    pub(crate) empty: Vec<String>,
    /// What stands between the values of a list.
    pub(crate) split: Option<String>,
    /// The value is a text of one of these forms, whose gaps are fields.
    pub(crate) patterns: Vec<Gaps>,
    /// The values are pairs.
    pub(crate) pairs: Option<Pairs>,
}

/// A pattern and where its gaps go.
#[derive(Debug, Clone)]
pub(crate) struct Gaps {
    pattern: Pattern,
    targets: Vec<Target>,
}

/// `NAME=value`: where the values go, by name.
#[derive(Debug, Clone)]
pub(crate) struct Pairs {
    pub(crate) equals: String,
    pub(crate) destinations: Vec<(String, Destination)>,
}

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    BaseName,
    Directory,
    Extension,
    BeforeAt,
    AfterAt,
    BeforeBackslash,
    AfterBackslash,
}

impl Part {
    pub(crate) const ALL: [(&'static str, Part); 7] = [
        ("base-name", Part::BaseName),
        ("directory", Part::Directory),
        ("extension", Part::Extension),
        ("before-at", Part::BeforeAt),
        ("after-at", Part::AfterAt),
        ("before-backslash", Part::BeforeBackslash),
        ("after-backslash", Part::AfterBackslash),
    ];

    fn of(self, text: &str) -> Option<&str> {
        match self {
            Part::BaseName => Some(base_name(text)),
            Part::Directory => text.rfind(['/', '\\']).and_then(|at| text.get(..at.max(1))),
            Part::Extension => base_name(text).rsplit_once('.').map(|(_, extension)| extension),
            Part::BeforeAt => Some(text.split_once('@').map_or(text, |(before, _)| before)),
            Part::AfterAt => text.split_once('@').map(|(_, after)| after),
            Part::BeforeBackslash => text.split_once('\\').map(|(before, _)| before),
            Part::AfterBackslash => Some(text.split_once('\\').map_or(text, |(_, after)| after)),
        }
        .filter(|part| !part.is_empty())
    }
}

/// The last part of a Windows or Unix path.
pub(crate) fn base_name(path: &str) -> &str {
    path.rsplit(['\\', '/']).next().unwrap_or(path)
}

impl Target {
    pub(crate) fn new(path: &str) -> Target {
        Target { path: path.to_owned(), kind: field_type(path), is_list: ecs_words::is_list(path) }
    }

    /// Gives the field a value of its type. `is_more`: one of several values, of which the first was
    /// written just before. Whether the field has the value now.
    pub(crate) fn put(&self, out: &mut Event, value: Value<'_>, is_more: bool) -> bool {
        put_typed(out, &self.path, (self.kind, self.is_list), value, is_more)
    }
}

impl Gaps {
    pub(crate) fn new(pattern: Pattern) -> Gaps {
        let targets = pattern.names().iter().map(|name| Target::new(name)).collect();
        Gaps { pattern, targets }
    }
}

impl Destination {
    /// Calls `each` with every field that values may go to.
    pub(crate) fn for_each_target<'a>(&'a self, each: &mut dyn FnMut(&'a str)) {
        let gaps = self.convert.patterns.iter().flat_map(|gaps| &gaps.targets);
        for target in self.targets.iter().chain(gaps) {
            each(&target.path);
        }
        for (_, destination) in self.convert.pairs.iter().flat_map(|pairs| &pairs.destinations) {
            destination.for_each_target(each);
        }
    }

    /// Whether a record has a field of the name of one of these.
    pub(crate) fn is_native(&self, native: &Event) -> bool {
        self.targets.iter().any(|target| native.get(&target.path).is_some())
    }

    /// Writes a value. Whether all of it went somewhere, so that it need not be kept under its own
    /// name.
    pub(crate) fn write(
        &self,
        value: Value<'_>,
        is_more: bool,
        out: &mut Event,
        captures: &mut Captures,
    ) -> bool {
        let convert = &self.convert;
        let mut number = String::new();
        if convert.is_plain() {
            return self.put(value, is_more, out);
        }
        if let Some(scale) = convert.scale {
            let scaled = value.text(&mut number).and_then(|text| text.trim().parse::<f64>().ok());
            return scaled.is_some_and(|scaled| {
                let scaled = scaled * scale;
                // Whole numbers are most often what is meant: nanoseconds, bytes.
                let value = match scaled.fract().abs() < 1e-6 && scaled.abs() < 9e15 {
                    true => Value::Int(scaled as i64),
                    false => Value::from(scaled),
                };
                self.put(value, is_more, out)
            });
        }
        let Some(text) = value.text(&mut number) else { return false };
        let Some(between) = &convert.split else {
            return self.write_text(text, is_more, out, captures);
        };
        let mut all = true;
        let parts = text.split(between.as_str()).map(str::trim).filter(|part| !part.is_empty());
        for (index, part) in parts.enumerate() {
            all &= self.write_text(part, is_more || index > 0, out, captures);
        }
        all
    }

    fn write_text(
        &self,
        text: &str,
        is_more: bool,
        out: &mut Event,
        captures: &mut Captures,
    ) -> bool {
        let Convert { part, table, otherwise, empty, patterns, pairs, .. } = &self.convert;
        if is_one_of(text, empty) {
            return false;
        }
        if let Some(pairs) = pairs {
            return pairs.write(text, out, captures);
        }
        if !patterns.is_empty() {
            let put = self.put(Value::Text(text), is_more, out);
            let Some(gaps) = patterns.iter().find(|gaps| gaps.pattern.matches(text, captures))
            else {
                return put;
            };
            let mut all = self.targets.is_empty() || put;
            for (name, start, end) in captures.iter() {
                let part = text.get(*start..*end).unwrap_or_default();
                let target = gaps.targets.get(*name);
                all &= target.is_some_and(|target| target.put(out, Value::Text(part), false));
            }
            return all;
        }
        let Some(text) = part.map_or(Some(text), |part| part.of(text)) else { return false };
        if let Some(table) = table {
            let found = table.get(text).or_else(|| table.get(&text.to_lowercase()));
            return match found.or(otherwise.as_ref()) {
                Some(none) if none.is_empty() => false,
                Some(other) => self.put(Value::Text(other), is_more, out),
                None => self.put(Value::Text(text), is_more, out),
            };
        }
        let text = match (self.convert.lower, self.convert.upper) {
            (true, _) => text.to_lowercase(),
            (_, true) => text.to_uppercase(),
            _ => return self.put(Value::Text(text), is_more, out) && part.is_none(),
        };
        self.put(Value::Text(&text), is_more, out)
    }

    fn put(&self, value: Value<'_>, is_more: bool, out: &mut Event) -> bool {
        let mut all = !self.targets.is_empty();
        for target in &self.targets {
            all &= target.put(out, value, is_more);
        }
        all
    }
}

impl Pairs {
    /// Writes the value of a pair where its name says.
    fn write(&self, text: &str, out: &mut Event, captures: &mut Captures) -> bool {
        let Some((name, value)) = text.split_once(self.equals.as_str()) else { return false };
        let (name, value) = (name.trim(), value.trim());
        let mut destinations =
            self.destinations.iter().filter(|(known, _)| known == name).peekable();
        !value.is_empty()
            && destinations.peek().is_some()
            && destinations.fold(true, |all, (_, destination)| {
                destination.write(Value::Text(value), false, out, captures) && all
            })
    }
}

impl Convert {
    fn is_plain(&self) -> bool {
        !self.lower
            && !self.upper
            && self.table.is_none()
            && self.scale.is_none()
            && self.part.is_none()
            && self.empty.is_empty()
            && self.split.is_none()
            && self.patterns.is_empty()
            && self.pairs.is_none()
    }
}

/// Gives a field a value of its type, unless it has one. Whether the field has the value now.
pub(crate) fn put(out: &mut Event, path: &str, value: Value<'_>) -> bool {
    put_typed(out, path, (field_type(path), ecs_words::is_list(path)), value, false)
}

fn put_typed(
    out: &mut Event,
    path: &str,
    (kind, is_list): (Option<Type>, bool),
    value: Value<'_>,
    is_more: bool,
) -> bool {
    let mut write = |value: Value<'_>| write(out, path, is_list, value, is_more);
    let mut number = String::new();
    match kind {
        Some(Type::Ip) => value.as_str().and_then(address).is_some_and(|ip| {
            let mut text = [0; 64];
            write(Value::Text(display(ip, &mut text)))
        }),
        Some(Type::Long) => whole(value).is_some_and(|number| write(Value::Int(number))),
        Some(Type::Float) => {
            let float = value.text(&mut number).and_then(|text| text.trim().parse::<f64>().ok());
            let float = float.filter(|number| number.is_finite());
            float.is_some_and(|number| write(Value::Float(number)))
        }
        Some(Type::Boolean) => {
            let text = value.text(&mut number).unwrap_or_default();
            let truth = match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "1" => true,
                "false" | "no" | "0" => false,
                _ => return false,
            };
            write(Value::Bool(truth))
        }
        Some(Type::Date) => {
            let time = value.text(&mut number).and_then(|text| TimeForm::Any.read(text));
            time.is_some_and(|time| write(Value::Text(&time.to_string())))
        }
        Some(Type::Keyword | Type::Text | Type::Wildcard) => {
            value.text(&mut number).is_some_and(|text| write(Value::Text(text)))
        }
        None => !matches!(value, Value::Null | Value::Json(_)) && write(value),
    }
}

/// Fields that ECS has as arrays gather values; others have the first that was found.
fn write(out: &mut Event, path: &str, is_list: bool, value: Value<'_>, is_more: bool) -> bool {
    if is_list {
        out.append(path, value);
        return true;
    }
    match out.get(path) {
        None => out.set(path, value),
        Some(_) if is_more => out.add(path, value),
        Some(known) => return known == value,
    }
    true
}

/// An address, perhaps in brackets or with a zone; IPv4 within IPv6 is unwrapped.
pub(crate) fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches(['[', ']']);
    let text = text.split('%').next().unwrap_or_default();
    text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

fn display(ip: IpAddr, buffer: &mut [u8; 64]) -> &str {
    use std::io::Write;
    let mut rest = buffer.as_mut_slice();
    // An address has 45 characters at most.
    let written = write!(rest, "{ip}");
    let left = rest.len();
    let length = if written.is_ok() { 64 - left } else { 0 };
    buffer.get(..length).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default()
}

fn whole(value: Value<'_>) -> Option<i64> {
    match value {
        Value::Int(number) => Some(number),
        Value::Float(number) if number.fract() == 0.0 && number.abs() < 9e15 => Some(number as i64),
        Value::Text(text) => {
            let text = text.trim();
            match text.strip_prefix("0x") {
                Some(digits) => i64::from_str_radix(digits, 16).ok(),
                None => text.parse().ok(),
            }
        }
        _ => None,
    }
}

/// How a time is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TimeForm {
    /// RFC 3339 with or without its zone, or a number since 1970 whose unit is told by its size.
    Any,
    /// A number of so many nanoseconds since 1970.
    Unit(i64),
    /// `strftime`'s words; without a zone it is UTC.
    Format(String),
}

impl TimeForm {
    pub(crate) fn read(&self, text: &str) -> Option<Timestamp> {
        /// Seconds until the year 5138; a larger number is a finer unit.
        const SECONDS_MAX: u64 = 100_000_000_000;
        let text = text.trim();
        match self {
            TimeForm::Format(format) => {
                let parsed = jiff::fmt::strtime::parse(format, text).ok()?;
                let time = match parsed.to_timestamp() {
                    Ok(time) => time,
                    Err(_) => {
                        jiff::tz::TimeZone::UTC.to_timestamp(parsed.to_datetime().ok()?).ok()?
                    }
                };
                Timestamp::from_jiff(time)
            }
            TimeForm::Unit(nanos) => number(text, *nanos),
            TimeForm::Any => {
                if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
                    let whole = text.split('.').next()?.parse::<u64>().ok()?;
                    return number(
                        text,
                        match whole {
                            n if n < SECONDS_MAX => 1_000_000_000,
                            n if n < SECONDS_MAX * 1_000 => 1_000_000,
                            n if n < SECONDS_MAX * 1_000_000 => 1_000,
                            _ => 1,
                        },
                    );
                }
                Timestamp::parse_rfc3339(text)
                    .or_else(|| Timestamp::parse_rfc3339(&format!("{text}Z")))
                    // `+0000` without a colon.
                    .or_else(|| {
                        TimeForm::Format("%Y-%m-%dT%H:%M:%S%.f%z".into()).read_exactly(text)
                    })
            }
        }
    }

    fn read_exactly(&self, text: &str) -> Option<Timestamp> {
        match self {
            TimeForm::Format(_) => self.read(text),
            _ => None,
        }
    }
}

/// A decimal number of units; what is behind the point is kept to the nanosecond.
fn number(text: &str, nanos: i64) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole = whole.parse::<i64>().ok()?.checked_mul(nanos)?;
    let mut rest = 0;
    let mut unit = nanos;
    for digit in fraction.bytes() {
        unit /= 10;
        rest += i64::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?) * unit;
    }
    whole.checked_add(rest).map(Timestamp::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        let read = |form: TimeForm, text: &str| form.read(text).map(|time| time.to_string());
        let expected = Some("2026-11-24T12:00:00Z".to_owned());
        for text in [
            "2026-11-24T12:00:00Z",
            "2026-11-24T13:00:00+01:00",
            "2026-11-24T12:00:00+0000",
            "2026-11-24 12:00:00",
            "1795521600",
            "1795521600.000",
            "1795521600000",
            "1795521600000000",
        ] {
            assert_eq!(read(TimeForm::Any, text), expected, "{text}");
        }
        let web = TimeForm::Format("%d/%b/%Y:%H:%M:%S %z".into());
        assert_eq!(read(web, "24/Nov/2026:13:00:00 +0100"), expected);
        let local = TimeForm::Format("%b %d %Y %H:%M:%S".into());
        assert_eq!(read(local, "Nov 24 2026 12:00:00"), expected);
        assert_eq!(
            read(TimeForm::Unit(1_000_000_000), "1795521600.25").as_deref(),
            Some("2026-11-24T12:00:00.25Z")
        );
        for text in ["", "x", "99999999999999999999", "1.x"] {
            assert_eq!(read(TimeForm::Any, text), None, "{text}");
        }
    }

    #[test]
    fn fields_have_values_of_their_type() {
        let mut out = Event::new();
        assert!(put(&mut out, "source.ip", Value::Text("::ffff:10.0.0.1")));
        assert!(!put(&mut out, "destination.ip", Value::Text("host")));
        assert!(put(&mut out, "source.port", Value::Text("80")));
        assert!(!put(&mut out, "destination.port", Value::Text("http")));
        assert!(put(&mut out, "event.code", Value::Int(4624)));
        assert!(put(&mut out, "event.category", Value::Text("web")));
        assert!(put(&mut out, "event.created", Value::Int(1_795_521_600)));
        assert!(!put(&mut out, "event.code", Value::Int(1)), "the first one wins");
        assert_eq!(
            out.to_json(),
            r#"{"event":{"category":["web"],"code":"4624","created":"2026-11-24T12:00:00Z"},"source":{"ip":"10.0.0.1","port":80}}"#
        );
    }
}
