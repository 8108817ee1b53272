//! One event: a flat list of dotted fields.
//!
//! Normalisation fills it, the matcher and the indexer walk it, and the bus carries it as nested
//! ECS JSON. Rules ask for `process.command_line` by its dotted name, never for a tree, so the
//! flat form is the one kept in memory; the tree exists only in the JSON text. Names, texts
//! and hashes of names lie in lists that are reused from event to event, so a warmed-up event
//! allocates nothing, and that are apart, so that a search through all texts or all hashes reads
//! nothing else. The cost: a field is found by walking a list (of 64-bit hashes; tens of them),
//! which for the sizes real events have is cheaper than any table.
//!
//! Arrays. An array of scalars is several fields of the same name. An array that holds objects or
//! arrays is kept verbatim as JSON, and beside it what is inside is listed as fields marked
//! `Inside`, so that rules and searches see `a.b` of `{"a":[{"b":1}]}`; only the former is written
//! back.

use std::ops::Range;

use crate::Timestamp;
use crate::names::Names;

/// The most fields that one event may have. Elasticsearch refuses an index with over 1,000; the
/// widest events that we have met (Microsoft 365 audit) have some 300.
pub const FIELDS_MAX: usize = 4096;

/// A value of a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// JSON `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number above `i64::MAX`.
    Uint(u64),
    /// Any other number; always finite.
    Float(f64),
    /// A text.
    Text(&'a str),
    /// JSON that stands as it is: an array that holds more than scalars, `[]` or `{}`.
    Json(&'a str),
}

impl<'a> Value<'a> {
    /// The text, if it is one.
    pub fn as_str(self) -> Option<&'a str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if it is a whole one in range.
    pub fn as_int(self) -> Option<i64> {
        match self {
            Value::Int(number) => Some(number),
            _ => None,
        }
    }

    /// The value as text: a text itself, a number or a boolean in its JSON form (written into
    /// `buffer`, which is overwritten), `None` for `null` and for kept JSON.
    pub fn text<'b>(self, buffer: &'b mut String) -> Option<&'b str>
    where
        'a: 'b,
    {
        use std::fmt::Write;
        buffer.clear();
        let written = match self {
            Value::Text(text) => return Some(text),
            Value::Bool(true) => return Some("true"),
            Value::Bool(false) => return Some("false"),
            Value::Int(number) => write!(buffer, "{number}"),
            Value::Uint(number) => write!(buffer, "{number}"),
            // Debug, unlike Display, keeps `1.0` and `1e300` as JSON has them.
            Value::Float(number) => write!(buffer, "{number:?}"),
            Value::Null | Value::Json(_) => return None,
        };
        written.is_ok().then_some(buffer)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Value::Text(text)
    }
}
impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Value::Text(text)
    }
}
impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}
impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Value::Int(number)
    }
}
impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Value::Int(i64::from(number))
    }
}
impl From<u64> for Value<'_> {
    fn from(number: u64) -> Self {
        i64::try_from(number).map_or(Value::Uint(number), Value::Int)
    }
}
impl From<f64> for Value<'_> {
    /// A number that JSON cannot write (NaN, infinite) becomes `null`.
    fn from(number: f64) -> Self {
        if number.is_finite() { Value::Float(number) } else { Value::Null }
    }
}

/// A range of bytes of the texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    start: u32,
    end: u32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Stored {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    Text(Span),
    Json(Span),
}

/// How a field takes part in its event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A field of its own.
    Single,
    /// One element of an array of scalars.
    Element,
    /// Seen inside kept JSON; not written back.
    Inside,
}

#[derive(Debug, Clone, Copy)]
struct Field {
    value: Stored,
    role: Role,
}

/// One event; see the head of this file.
#[derive(Debug, Clone, Default)]
pub struct Event {
    names: Names,
    /// The texts and what is kept as JSON, one after the other.
    texts: String,
    /// By name.
    fields: Vec<Field>,
}

impl Event {
    /// An event without fields.
    pub fn new() -> Self {
        Event::default()
    }

    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        self.names.clear();
        self.texts.clear();
        self.fields.clear();
    }

    /// Whether it has no field.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// How many fields it has, array elements counted one by one.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// The first value of a field.
    pub fn get(&self, path: &str) -> Option<Value<'_>> {
        self.names.places(path).next().and_then(|at| self.value_at(at))
    }

    /// The text of a field, if it is a text.
    pub fn str(&self, path: &str) -> Option<&str> {
        self.get(path).and_then(Value::as_str)
    }

    /// All values of a field, in their order.
    pub fn values<'a>(&'a self, path: &'a str) -> impl Iterator<Item = Value<'a>> {
        self.names.places(path).filter_map(|at| self.value_at(at))
    }

    /// Every field: its name's hash ([`path_hash`](crate::path_hash)), its name, its value. Array elements and what
    /// stands inside kept JSON come one by one.
    pub fn fields(&self) -> impl Iterator<Item = (u64, &str, Value<'_>)> {
        self.names
            .hashes()
            .iter()
            .zip(self.names.iter().zip(&self.fields))
            .map(|(hash, (name, field))| (*hash, name, self.value(field)))
    }

    /// The fields' names, in the order of [`Event::fields`].
    #[inline]
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The value at a place in [`Event::fields`].
    #[inline]
    pub fn value_at(&self, at: usize) -> Option<Value<'_>> {
        self.fields.get(at).map(|field| self.value(field))
    }

    /// All texts one after the other, with what is kept as JSON and what is left of replaced ones:
    /// what is not in there is in no text. [`Event::holder`] tells whose a part of it is.
    #[inline]
    pub fn texts(&self) -> &str {
        &self.texts
    }

    /// The place in [`Event::fields`] of the value within whose text this part of
    /// [`Event::texts`] lies, if it is one text's.
    pub fn holder(&self, part: Range<usize>) -> Option<usize> {
        self.fields.iter().position(|field| match field.value {
            Stored::Text(span) => {
                span.start as usize <= part.start && part.end <= span.end as usize
            }
            _ => false,
        })
    }

    /// The name and value at a place in [`Event::fields`].
    #[inline]
    pub fn field(&self, at: usize) -> Option<(&str, Value<'_>)> {
        self.names.get(at).zip(self.value_at(at))
    }

    /// Gives a field this one value, whatever it had before.
    pub fn set<'v>(&mut self, path: &str, value: impl Into<Value<'v>>) {
        let Some(at) = self.names.places(path).next() else {
            self.push(path, value.into(), Role::Single);
            return;
        };
        if matches!(self.fields[at].value, Stored::Json(_)) || self.fields[at].role != Role::Single
        {
            self.remove(path);
            self.push(path, value.into(), Role::Single);
            return;
        }
        let stored = self.store(value.into());
        self.fields[at].value = stored;
    }

    /// Adds a value to an array field, unless it is there already.
    pub fn append<'v>(&mut self, path: &str, value: impl Into<Value<'v>>) {
        let value = value.into();
        let mut known = false;
        for at in self.names.places(path) {
            let field = self.fields[at];
            known |= self.value(&field) == value;
            if field.role == Role::Single {
                self.fields[at].role = Role::Element;
            }
        }
        if !known {
            self.push(path, value, Role::Element);
        }
    }

    /// Adds a value to a field: one value is the field's, more are an array, also if they are equal.
    pub fn add<'v>(&mut self, path: &str, value: impl Into<Value<'v>>) {
        let mut role = Role::Single;
        for at in self.names.places(path) {
            self.fields[at].role = Role::Element;
            role = Role::Element;
        }
        self.push(path, value.into(), role);
    }

    /// Drops all fields but the first so many.
    pub fn keep_first(&mut self, len: usize) {
        if len < self.len() {
            self.truncate(len);
        }
    }

    /// Takes a field away, with all that stands inside it if it is kept JSON.
    pub fn remove(&mut self, path: &str) {
        let mut kept = 0;
        for at in 0..self.fields.len() {
            let field = self.fields[at];
            let gone =
                self.names.get(at).and_then(|name| name.strip_prefix(path)).is_some_and(|rest| {
                    rest.is_empty() || field.role == Role::Inside && rest.starts_with('.')
                });
            if !gone {
                self.fields[kept] = field;
                self.names.copy(at, kept);
                kept += 1;
            }
        }
        self.truncate(kept);
    }

    /// Takes over all fields of another event under a prefix that ends in a dot.
    pub fn clone_with_prefix(&mut self, other: &Event, prefix: &str) {
        let mut path = String::with_capacity(64);
        for (name, field) in other.names.iter().zip(&other.fields) {
            path.clear();
            path.push_str(prefix);
            path.push_str(name);
            self.push(&path, other.value(field), field.role);
        }
    }

    /// Takes over fields of another event under other names. `rename` is given each field's name and
    /// an empty text to write the new name into; a field whose new name stays empty is left out.
    pub fn clone_renamed(&mut self, other: &Event, rename: &mut dyn FnMut(&str, &mut String)) {
        let mut path = String::with_capacity(64);
        for (name, field) in other.names.iter().zip(&other.fields) {
            path.clear();
            rename(name, &mut path);
            if !path.is_empty() {
                self.push(&path, other.value(field), field.role);
            }
        }
    }

    /// Takes over the field at a place of another event, without looking whether it is there.
    pub fn clone_field(&mut self, other: &Event, at: usize) {
        let Some(field) = other.fields.get(at) else { return };
        self.names.push_from(&other.names, at);
        let value = self.store(other.value(field));
        self.fields.push(Field { value, role: field.role });
    }

    /// The same under another name.
    pub fn clone_field_as(&mut self, other: &Event, at: usize, path: &str) {
        if let Some(field) = other.fields.get(at) {
            self.push(path, other.value(field), field.role);
        }
    }

    /// Takes over those fields of another event whose names this one does not have. Arrays are taken
    /// whole or not at all.
    pub fn clone_missing(&mut self, other: &Event) {
        let own = self.len();
        let mut taken = false;
        for (field, name) in other.fields.iter().zip(other.names.iter()) {
            // What stands inside kept JSON comes after it, and goes where it goes.
            if field.role != Role::Inside {
                taken = !self.names.places(name).any(|at| at < own);
            }
            if taken {
                self.push(name, other.value(field), field.role);
            }
        }
    }

    /// Writes a time as RFC 3339.
    pub fn set_time(&mut self, path: &str, time: Timestamp) {
        self.set(path, time.to_string().as_str());
    }

    /// A field's time, if it holds one.
    pub fn time(&self, path: &str) -> Option<Timestamp> {
        self.str(path).and_then(Timestamp::parse_rfc3339)
    }

    /// `@timestamp`.
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.time("@timestamp")
    }

    /// Keeps a JSON text as it stands (it must be valid), without listing what is inside.
    pub(crate) fn push_json(&mut self, path: &str, json: &str) {
        self.push(path, Value::Json(json), Role::Single);
    }

    /// Adds a field without looking whether it is there. Fields beyond 4 GiB of names or texts are left
    /// out; callers bound their input far below.
    pub(crate) fn push(&mut self, path: &str, value: Value<'_>, role: Role) {
        self.names.push(path);
        let value = self.store(value);
        self.fields.push(Field { value, role });
    }

    /// Drops all fields from this index on.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.names.truncate(len);
        self.fields.truncate(len);
    }

    /// Turns all fields from this index on into such as stand inside kept JSON.
    pub(crate) fn mark_inside(&mut self, from: usize) {
        for field in self.fields.iter_mut().skip(from) {
            field.role = Role::Inside;
        }
    }

    /// The fields that are written: index by index, sorted by name, elements in their order.
    pub(crate) fn sorted(&self, order: &mut Vec<u32>) {
        order.clear();
        order.extend(
            (0..self.fields.len()).filter(|&at| self.fields[at].role != Role::Inside).map(to_u32),
        );
        let name = |at: &u32| self.names.get(*at as usize);
        order.sort_by(|a, b| name(a).cmp(&name(b)));
    }

    /// The name, value and role at an index.
    pub(crate) fn at(&self, at: u32) -> (&str, Value<'_>, Role) {
        let field = &self.fields[at as usize];
        (self.names.get(at as usize).unwrap_or_default(), self.value(field), field.role)
    }

    fn store(&mut self, value: Value<'_>) -> Stored {
        match value {
            Value::Null => Stored::Null,
            Value::Bool(value) => Stored::Bool(value),
            Value::Int(number) => Stored::Int(number),
            Value::Uint(number) => Stored::Uint(number),
            Value::Float(number) => Stored::Float(number),
            Value::Text(text) => Stored::Text(append(&mut self.texts, text)),
            Value::Json(json) => Stored::Json(append(&mut self.texts, json)),
        }
    }

    #[inline]
    fn value(&self, field: &Field) -> Value<'_> {
        // First by itself, since most are texts: a branch that is mostly guessed, before a jump to
        // one of many places that is not.
        if let Stored::Text(span) = field.value {
            return Value::Text(slice(&self.texts, span));
        }
        match field.value {
            Stored::Null => Value::Null,
            Stored::Bool(value) => Value::Bool(value),
            Stored::Int(number) => Value::Int(number),
            Stored::Uint(number) => Value::Uint(number),
            Stored::Float(number) => Value::Float(number),
            Stored::Text(span) => Value::Text(slice(&self.texts, span)),
            Stored::Json(span) => Value::Json(slice(&self.texts, span)),
        }
    }
}

fn append(list: &mut String, text: &str) -> Span {
    let start = to_u32(list.len());
    list.push_str(text);
    Span { start, end: to_u32(list.len()) }
}

#[inline]
fn slice(text: &str, span: Span) -> &str {
    text.get(span.start as usize..span.end as usize).unwrap_or_default()
}

fn to_u32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Event, Value};

    #[test]
    fn fields_are_set_appended_and_removed() {
        let mut event = Event::new();
        event.set("user.name", "anna");
        event.set("user.name", "bert");
        event.set("process.pid", 7u32);
        event.append("related.user", "bert");
        event.append("related.user", "carl");
        event.append("related.user", "bert");
        assert_eq!(event.str("user.name"), Some("bert"));
        assert_eq!(event.get("process.pid"), Some(Value::Int(7)));
        let related: Vec<_> = event.values("related.user").filter_map(Value::as_str).collect();
        assert_eq!(related, ["bert", "carl"]);
        event.set("related.user", "dora");
        assert_eq!(event.values("related.user").count(), 1);
        event.remove("related.user");
        assert_eq!(event.get("related.user"), None);
        assert_eq!(event.len(), 2);
    }

    #[test]
    fn what_is_missing_is_taken_over() {
        let mut event = Event::new();
        event.parse_json(br#"{"a":1,"list":[1,2],"kept":"x"}"#).unwrap();
        let mut other = Event::new();
        other
            .parse_json(
                br#"{"a":2,"b":3,"list":[3],"more":[4,5],"kept":[{"c":1}],"new":[{"d":1}]}"#,
            )
            .unwrap();
        event.clone_missing(&other);
        let mut again = Event::new();
        again.parse_json(event.to_json().as_bytes()).unwrap();
        assert_eq!(
            event.to_json(),
            r#"{"a":1,"b":3,"kept":"x","list":[1,2],"more":[4,5],"new":[{"d":1}]}"#
        );
        assert_eq!(event.get("kept.c"), None);
        assert_eq!(event.get("new.d"), Some(Value::Int(1)));
        assert_eq!(event.len(), again.len());
    }

    #[test]
    fn a_part_of_the_texts_has_a_holder() {
        let mut event = Event::new();
        event.set("user.name", "anna");
        event.set("process.pid", 7u32);
        event.set("host.name", "nab");
        event.push_json("a", "[[1]]");
        event.set("user.name", "bert");
        assert_eq!(event.texts(), "annanab[[1]]bert");
        assert_eq!(event.holder(12..16), Some(0));
        assert_eq!(event.holder(5..7), Some(2));
        // Of a replaced text, of two texts, and within what is kept as JSON.
        assert_eq!(event.holder(0..4), None);
        assert_eq!(event.holder(3..5), None);
        assert_eq!(event.holder(8..9), None);
    }

    #[test]
    fn numbers_have_their_json_text() {
        let mut buffer = String::new();
        for (value, text) in [
            (Value::Int(-5), Some("-5")),
            (Value::Uint(u64::MAX), Some("18446744073709551615")),
            (Value::Float(1.0), Some("1.0")),
            (Value::Bool(true), Some("true")),
            (Value::from(f64::NAN), None),
            (Value::Text("x"), Some("x")),
        ] {
            assert_eq!(value.text(&mut buffer), text);
        }
    }
}
