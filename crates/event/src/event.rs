//! One event: a flat list of dotted fields in one arena.
//!
//! Normalisation fills it, the matcher and the indexer walk it, and the bus carries it as nested
//! ECS JSON. Rules ask for `process.command_line` by its dotted name, never for a tree, so the
//! flat form is the one kept in memory; the tree exists only in the JSON text. All names and
//! texts lie in one string that is reused from event to event, so a warmed-up event allocates
//! nothing. The cost: a field is found by walking a list (of 64-bit hashes; tens of them), which
//! for the sizes real events have is cheaper than any table.
//!
//! Arrays. An array of scalars is several fields of the same name. An array that holds objects or
//! arrays is kept verbatim as JSON, and beside it what is inside is listed as fields marked
//! `Inside`, so that rules and searches see `a.b` of `{"a":[{"b":1}]}`; only the former is written
//! back.

use std::hash::BuildHasher;

use crate::Timestamp;

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

/// The hash of a field's dotted name by which events find it; fixed for the life of the process.
pub fn path_hash(path: &str) -> u64 {
    foldhash::fast::FixedState::with_seed(0x7761_7463).hash_one(path)
}

/// A range of bytes of the arena.
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
    hash: u64,
    path: Span,
    value: Stored,
    role: Role,
}

/// One event; see the head of this file.
#[derive(Debug, Clone, Default)]
pub struct Event {
    text: String,
    fields: Vec<Field>,
}

impl Event {
    /// An event without fields.
    pub fn new() -> Self {
        Event::default()
    }

    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        self.text.clear();
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
        let hash = path_hash(path);
        self.fields.iter().find(|field| self.is_at(field, hash, path)).map(|f| self.value(f))
    }

    /// The text of a field, if it is a text.
    pub fn str(&self, path: &str) -> Option<&str> {
        self.get(path).and_then(Value::as_str)
    }

    /// All values of a field, in their order.
    pub fn values<'a>(&'a self, path: &'a str) -> impl Iterator<Item = Value<'a>> {
        let hash = path_hash(path);
        self.fields
            .iter()
            .filter(move |field| self.is_at(field, hash, path))
            .map(|field| self.value(field))
    }

    /// Every field: its name's hash ([`path_hash`]), its name, its value. Array elements and what
    /// stands inside kept JSON come one by one.
    pub fn fields(&self) -> impl Iterator<Item = (u64, &str, Value<'_>)> {
        self.fields.iter().map(|field| (field.hash, self.slice(field.path), self.value(field)))
    }

    /// The hashes of the fields' names, in the order of [`Event::fields`].
    #[inline]
    pub fn hashes(&self) -> impl DoubleEndedIterator<Item = u64> + ExactSizeIterator {
        self.fields.iter().map(|field| field.hash)
    }

    /// The value at a place in [`Event::fields`].
    #[inline]
    pub fn value_at(&self, at: usize) -> Option<Value<'_>> {
        self.fields.get(at).map(|field| self.value(field))
    }

    /// The bytes of each value that is a text (`None` for others), in the order of
    /// [`Event::fields`]: for a search through all of them.
    #[inline]
    pub fn texts(&self) -> impl ExactSizeIterator<Item = Option<&[u8]>> {
        let text = self.text.as_bytes();
        self.fields.iter().map(move |field| match field.value {
            Stored::Text(span) => text.get(span.start as usize..span.end as usize),
            _ => None,
        })
    }

    /// All names and texts in one, and what is left of replaced ones: what is not in there is in
    /// no value.
    #[inline]
    pub fn whole_text(&self) -> &str {
        &self.text
    }

    /// The name and value at a place in [`Event::fields`].
    #[inline]
    pub fn field(&self, at: usize) -> Option<(&str, Value<'_>)> {
        self.fields.get(at).map(|field| (self.slice(field.path), self.value(field)))
    }

    /// Gives a field this one value, whatever it had before.
    pub fn set<'v>(&mut self, path: &str, value: impl Into<Value<'v>>) {
        let hash = path_hash(path);
        let found = self.fields.iter().position(|field| self.is_at(field, hash, path));
        let Some(at) = found else {
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
        let hash = path_hash(path);
        let mut known = false;
        for at in 0..self.fields.len() {
            let field = self.fields[at];
            if self.is_at(&field, hash, path) {
                known |= self.value(&field) == value;
                if field.role == Role::Single {
                    self.fields[at].role = Role::Element;
                }
            }
        }
        if !known {
            self.push(path, value, Role::Element);
        }
    }

    /// Takes a field away, with all that stands inside it if it is kept JSON.
    pub fn remove(&mut self, path: &str) {
        let text = &self.text;
        self.fields.retain(|field| {
            let name = slice(text, field.path);
            let inside = field.role == Role::Inside
                && name.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'));
            name != path && !inside
        });
    }

    /// Takes over all fields of another event under a prefix that ends in a dot.
    pub fn clone_with_prefix(&mut self, other: &Event, prefix: &str) {
        let mut path = String::with_capacity(64);
        for field in &other.fields {
            path.clear();
            path.push_str(prefix);
            path.push_str(other.slice(field.path));
            self.push(&path, other.value(field), field.role);
        }
    }

    /// Takes over fields of another event under other names. `rename` is given each field's name and
    /// an empty text to write the new name into; a field whose new name stays empty is left out.
    pub fn clone_renamed(&mut self, other: &Event, rename: &mut dyn FnMut(&str, &mut String)) {
        let mut path = String::with_capacity(64);
        for field in &other.fields {
            path.clear();
            rename(other.slice(field.path), &mut path);
            if !path.is_empty() {
                self.push(&path, other.value(field), field.role);
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

    /// Adds a field without looking whether it is there. Fields beyond the arena's 4 GiB are left
    /// out; callers bound their input far below.
    pub(crate) fn push(&mut self, path: &str, value: Value<'_>, role: Role) {
        let hash = path_hash(path);
        let path = self.intern(path);
        let value = self.store(value);
        self.fields.push(Field { hash, path, value, role });
    }

    /// Drops all fields from this index on.
    pub(crate) fn truncate(&mut self, len: usize) {
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
        let name = |at: &u32| slice(&self.text, self.fields[*at as usize].path);
        order.sort_by(|a, b| name(a).cmp(name(b)));
    }

    /// The name, value and role at an index.
    pub(crate) fn at(&self, at: u32) -> (&str, Value<'_>, Role) {
        let field = &self.fields[at as usize];
        (self.slice(field.path), self.value(field), field.role)
    }

    fn is_at(&self, field: &Field, hash: u64, path: &str) -> bool {
        field.hash == hash && self.slice(field.path) == path
    }

    fn intern(&mut self, text: &str) -> Span {
        let start = to_u32(self.text.len());
        self.text.push_str(text);
        Span { start, end: to_u32(self.text.len()) }
    }

    fn store(&mut self, value: Value<'_>) -> Stored {
        match value {
            Value::Null => Stored::Null,
            Value::Bool(value) => Stored::Bool(value),
            Value::Int(number) => Stored::Int(number),
            Value::Uint(number) => Stored::Uint(number),
            Value::Float(number) => Stored::Float(number),
            Value::Text(text) => Stored::Text(self.intern(text)),
            Value::Json(json) => Stored::Json(self.intern(json)),
        }
    }

    #[inline]
    fn value(&self, field: &Field) -> Value<'_> {
        match field.value {
            Stored::Null => Value::Null,
            Stored::Bool(value) => Value::Bool(value),
            Stored::Int(number) => Value::Int(number),
            Stored::Uint(number) => Value::Uint(number),
            Stored::Float(number) => Value::Float(number),
            Stored::Text(span) => Value::Text(self.slice(span)),
            Stored::Json(span) => Value::Json(self.slice(span)),
        }
    }

    #[inline]
    fn slice(&self, span: Span) -> &str {
        slice(&self.text, span)
    }
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
