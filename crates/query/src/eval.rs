//! The meaning of a filter: the plain evaluator.
//!
//! It is what live tail runs, and the oracle that the index is tested against. The index calls the
//! same [`Test::accepts`] for each different value of a column, so the two can differ only in how
//! they find values, not in what they think of them.

use std::cmp::Ordering;

use event::ecs::{Type, field_type};
use event::{Event, Timestamp, Value};

use crate::term::{Number, Term, parse_address};
use crate::tree::{Bound, FieldName, FieldTest, Filter, Test, Words};
use crate::words::{fold_into, for_each_word};

/// Fields that free words do not look into, because what they hold is in other fields too.
pub const UNSEARCHED: [&str; 2] = ["event.original", "watchpost.alert.evidence"];

/// Whether free words leave a field out.
pub fn is_unsearched(path: &str) -> bool {
    UNSEARCHED.contains(&path)
}

/// Whether a field is compared word by word.
pub fn is_text(path: &str) -> bool {
    field_type(path) == Some(Type::Text)
}

/// A value as tests see it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scalar<'a> {
    /// A text.
    Text(&'a str),
    /// A number.
    Number(Number),
    /// True or false.
    Bool(bool),
    /// A time.
    Time(Timestamp),
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.compare(*other) == Ordering::Equal
    }
}

/// The value of a field as tests see it; `None` for `null` and kept JSON. A text in a field that
/// ECS types as a date is a time if it can be read as one.
pub fn scalar<'a>(path: &str, value: Value<'a>) -> Option<Scalar<'a>> {
    Some(match value {
        Value::Null | Value::Json(_) => return None,
        Value::Bool(value) => Scalar::Bool(value),
        Value::Int(number) => Scalar::Number(Number::Int(i128::from(number))),
        Value::Uint(number) => Scalar::Number(Number::Int(i128::from(number))),
        Value::Float(number) => Scalar::Number(whole(number)),
        Value::Text(text) if field_type(path) == Some(Type::Date) => {
            Timestamp::parse_rfc3339(text).map_or(Scalar::Text(text), Scalar::Time)
        }
        Value::Text(text) => Scalar::Text(text),
    })
}

/// Floats that are whole count as whole numbers: a column of numbers cannot tell 1 from 1.0.
pub(crate) fn whole(number: f64) -> Number {
    /// 2^53: up to here every whole number is a float of its own.
    const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= WHOLE_MAX {
        Number::Int(number as i128)
    } else {
        Number::Float(number)
    }
}

impl<'a> Scalar<'a> {
    /// As text; written into the buffer if it is none by itself.
    pub fn text<'b>(self, buffer: &'b mut String) -> &'b str
    where
        'a: 'b,
    {
        use std::fmt::Write;
        buffer.clear();
        // Writing to a string cannot fail.
        match self {
            Scalar::Text(text) => return text,
            Scalar::Bool(value) => buffer.push_str(if value { "true" } else { "false" }),
            Scalar::Number(Number::Int(number)) => write!(buffer, "{number}").unwrap_or_default(),
            Scalar::Number(Number::Float(number)) => {
                write!(buffer, "{number:?}").unwrap_or_default();
            }
            Scalar::Time(time) => write!(buffer, "{time}").unwrap_or_default(),
        }
        buffer
    }
}

/// Something that has fields: an event, or a row of a table.
pub trait Fields {
    /// Whether `test` holds for one of the field's values.
    fn any_value(&self, field: &FieldName, test: &mut dyn FnMut(&str, Scalar<'_>) -> bool) -> bool;

    /// Whether there is a value, or an object, at the field.
    fn has(&self, field: &FieldName) -> bool;

    /// Whether `test` holds for one of the values that free words look into.
    fn any_searched(&self, test: &mut dyn FnMut(Scalar<'_>) -> bool) -> bool;
}

impl Fields for Event {
    fn any_value(&self, field: &FieldName, test: &mut dyn FnMut(&str, Scalar<'_>) -> bool) -> bool {
        let name = field.as_str();
        if field.is_pattern() {
            return self.fields().any(|(_, path, value)| {
                field.names(path) && scalar(path, value).is_some_and(|value| test(path, value))
            });
        }
        self.values(name).any(|value| scalar(name, value).is_some_and(|value| test(name, value)))
    }

    fn has(&self, field: &FieldName) -> bool {
        let name = field.as_str();
        self.fields().any(|(_, path, value)| {
            let there = !matches!(value, Value::Null | Value::Json(_));
            let inside = || path.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
            there && (field.names(path) || inside())
        })
    }

    fn any_searched(&self, test: &mut dyn FnMut(Scalar<'_>) -> bool) -> bool {
        self.fields().any(|(_, path, value)| {
            let searched = match value {
                _ if is_unsearched(path) => false,
                Value::Text(_) => field_type(path) != Some(Type::Date),
                Value::Int(_) | Value::Uint(_) => true,
                // A field of text has the words of whatever is in it.
                _ => is_text(path),
            };
            searched && scalar(path, value).is_some_and(&mut *test)
        })
    }
}

/// Whether an event passes a filter.
pub fn matches(filter: &Filter, event: &Event) -> bool {
    matches_fields(filter, event)
}

/// Whether something with fields passes a filter.
pub fn matches_fields(filter: &Filter, fields: &dyn Fields) -> bool {
    match filter {
        Filter::All => true,
        Filter::Words(test) => {
            let mut buffer = String::new();
            fields.any_searched(&mut |value| test.words.are_in(value.text(&mut buffer)))
        }
        Filter::Field(test) => test.holds(fields),
        Filter::Not(inner) => !matches_fields(inner, fields),
        Filter::And(all) => all.iter().all(|filter| matches_fields(filter, fields)),
        Filter::Or(all) => all.iter().any(|filter| matches_fields(filter, fields)),
    }
}

impl FieldTest {
    /// Whether the test holds.
    pub fn holds(&self, fields: &dyn Fields) -> bool {
        if matches!(self.test, Test::Exists) {
            return fields.has(&self.field);
        }
        let mut buffer = String::new();
        fields.any_value(&self.field, &mut |path, value| {
            if is_text(path) {
                self.test.accepts_text(value.text(&mut buffer))
            } else {
                self.test.accepts(value)
            }
        })
    }
}

impl Test {
    /// Whether a value that is compared whole passes.
    pub fn accepts(&self, value: Scalar<'_>) -> bool {
        let mut buffer = String::new();
        match self {
            Test::Exists => true,
            Test::Equal(term) => equal(term, value),
            Test::Like(glob) => {
                let mut folded = String::new();
                fold_into(value.text(&mut buffer), &mut folded);
                glob.matches_folded(&folded)
            }
            Test::Regex(regex) => regex.is_match(value.text(&mut buffer)),
            Test::Range { low, high } => between(low, high, value),
        }
    }

    /// Whether a value that is compared by words passes.
    pub fn accepts_text(&self, text: &str) -> bool {
        match self.words() {
            Some(words) => words.are_in(text),
            None => self.accepts(Scalar::Text(text)),
        }
    }

    /// The words that a field of text must have for the test; `None` if it looks at the whole.
    pub fn words(&self) -> Option<Words> {
        match self {
            Test::Equal(term) => Some(Words::Plain(crate::words(term.raw()))),
            Test::Like(glob) => Some(Words::Globs(glob.by_words())),
            Test::Exists | Test::Regex(_) | Test::Range { .. } => None,
        }
    }
}

impl Words {
    /// Whether a text has these words one after the other. No words are in no text.
    pub fn are_in(&self, text: &str) -> bool {
        match self {
            Words::Plain(words) => contains_run(text, words.len(), |n, word| words[n] == word),
            Words::Globs(globs) => {
                contains_run(text, globs.len(), |n, word| globs[n].matches_folded(word))
            }
        }
    }
}

/// Whether `len` words in a row are as `is` wants the first, the second, ...
fn contains_run(text: &str, len: usize, is: impl Fn(usize, &str) -> bool) -> bool {
    if len == 0 {
        return false;
    }
    // For each length, whether a run of so many words ends at the last word: the longest last.
    let mut runs = vec![false; len];
    let mut found = false;
    for_each_word(text, &mut String::new(), |word, _, _| {
        if found {
            return;
        }
        for n in (0..len).rev() {
            runs[n] = (n == 0 || runs[n - 1]) && is(n, word);
        }
        found = runs[len - 1];
    });
    found
}

fn equal(term: &Term, value: Scalar<'_>) -> bool {
    match value {
        Scalar::Text(text) => {
            if let Some(network) = term.network()
                && network.contains(text)
            {
                return true;
            }
            same_folded(text, term.folded())
        }
        Scalar::Number(number) => {
            term.number().is_some_and(|wanted| wanted.compare(number) == Ordering::Equal)
        }
        Scalar::Bool(value) => term.folded() == if value { "true" } else { "false" },
        Scalar::Time(time) => term.is_time(time),
    }
}

fn same_folded(text: &str, folded: &str) -> bool {
    if text.is_ascii() {
        return text.len() == folded.len()
            && text.bytes().zip(folded.bytes()).all(|(a, b)| a.to_ascii_lowercase() == b);
    }
    text.chars().flat_map(char::to_lowercase).eq(folded.chars())
}

fn between(low: &Bound, high: &Bound, value: Scalar<'_>) -> bool {
    let above = match low {
        Bound::Open => true,
        Bound::Including(term) => compare(value, term).is_some_and(Ordering::is_ge),
        Bound::Excluding(term) => compare(value, term).is_some_and(Ordering::is_gt),
    };
    above
        && match high {
            Bound::Open => true,
            Bound::Including(term) => compare(value, term).is_some_and(Ordering::is_le),
            Bound::Excluding(term) => compare(value, term).is_some_and(Ordering::is_lt),
        }
}

/// How a value stands to an end of a range; `None` if they cannot be compared.
fn compare(value: Scalar<'_>, end: &Term) -> Option<Ordering> {
    match value {
        Scalar::Number(number) => Some(number.compare(end.number()?)),
        Scalar::Time(time) => Some(time.cmp(&end.time()?)),
        Scalar::Bool(_) => None,
        Scalar::Text(text) => {
            if let Some(number) = end.number() {
                return Some(Number::parse(text)?.compare(number));
            }
            if let Some(network) = end.network() {
                return Some(parse_address(text)?.cmp(&network.first()));
            }
            if let Some(time) = end.time() {
                return Some(Timestamp::parse_rfc3339(text)?.cmp(&time));
            }
            Some(text.chars().flat_map(char::to_lowercase).cmp(end.folded().chars()))
        }
    }
}

#[cfg(test)]
mod tests {
    use event::Event;

    use super::matches;
    use crate::parse;

    const EVENT: &str = r#"{
        "@timestamp": "2026-08-05T12:00:00.5Z",
        "event": {"code": "4688", "original": "secret"},
        "message": "Logon Failed: user Anna (10.1.2.3)",
        "user": {"name": "Anna"},
        "source": {"ip": "10.1.2.3"},
        "process": {"pid": 4242, "name": "PowerShell.exe", "args": ["-enc", "AAA"],
                    "command_line": "powershell.exe -EncodedCommand AAA"},
        "ratio": 2.0, "ok": true, "none": null, "list": [{"a": 1}, {"a": "x"}]
    }"#;

    #[test]
    fn the_language_means_what_its_table_says() {
        let mut event = Event::new();
        event.parse_json(EVENT.as_bytes()).unwrap();
        for (query, holds) in [
            ("*", true),
            ("anna", true),
            ("ann", false),
            ("ann*", true),
            ("\"logon failed\"", true),
            ("\"failed logon\"", false),
            ("\"anna anna\"", false),
            ("4242", true),
            ("10.1.2.3", true),
            ("secret", false),
            ("event.original:secret", true),
            ("user.name:anna", true),
            ("user.name=ANNA", true),
            ("User.name:anna", false),
            ("user.name:ann", false),
            ("user.name:ann?", true),
            ("user.*:anna", true),
            ("*.name:powershell.exe", true),
            ("process.command_line:*-encoded*", true),
            ("process.command_line:*-encoded", false),
            ("message:failed", true),
            ("message:\"logon failed\"", true),
            ("message:*ogon fail*", true),
            ("message:\"logon anna\"", false),
            ("message:/failed: user \\w+ \\(/", true),
            ("event.code:(4624 or 4688)", true),
            ("event.code>=4000", true),
            ("event.code<4000", false),
            ("process.pid:4242", true),
            ("process.pid:42*", true),
            ("process.pid:[4000 TO 4242]", true),
            ("process.pid:[4000 TO 4242}", false),
            ("process.pid>x", false),
            ("source.ip:10.0.0.0/8", true),
            ("source.ip:192.168.0.0/16", false),
            ("source.ip:[10.0.0.0 TO 10.1.2.9]", true),
            ("@timestamp:2026-08-05", true),
            ("@timestamp>=2026-08-05T12:00:00Z", true),
            ("@timestamp<2026-08-05", false),
            ("process.args:aaa", true),
            ("process.args:(\"-enc\" and aaa)", true),
            ("ratio:2", true),
            ("ok:TRUE", true),
            ("none:*", false),
            ("process:*", true),
            ("process.nothing:*", false),
            ("list:*", true),
            ("list.a:x and list.a:1", true),
            ("not user.name:anna", false),
            ("user.name:anna -process.pid:1", true),
            ("user.name:/^an+a$/", true),
            ("user.name:/^nn/", false),
        ] {
            let query_read = parse(query).unwrap_or_else(|error| panic!("{}", error.render()));
            assert_eq!(matches(&query_read.filter, &event), holds, "{query}");
        }
    }
}
