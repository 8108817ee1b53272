//! Events from and to JSON.
//!
//! Reading flattens: `{"a":{"b":1}}` and `{"a.b":1}` are the same event, as they are to
//! Elasticsearch. Writing nests again, with sorted names, so that equal events are equal bytes.
//! `serde_json` does the parsing; this file only says where each value goes.

use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::event::{Event, FIELDS_MAX, Role, Value};

/// How deep objects may nest within one event. `serde_json` itself stops at 128; the deepest
/// event that we have met (Kubernetes audit) has 14 levels.
pub(crate) const DEPTH_MAX: usize = 64;

/// Why bytes are no event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not JSON, too deep, or too many fields; with the place, as `serde_json` tells it.
    #[error("not a JSON event: {0}")]
    Json(String),
    /// JSON, but no object.
    #[error("a JSON object is needed, this is {0}")]
    NotAnObject(&'static str),
}

impl Event {
    /// Replaces the event's fields with those of one JSON object.
    ///
    /// # Errors
    /// When the bytes are not one JSON object, nest deeper than 64 levels or hold more than
    /// [`FIELDS_MAX`] fields. The event is empty then.
    pub fn parse_json(&mut self, json: &[u8]) -> Result<(), ParseError> {
        self.clear();
        let read = self.add_json("", json);
        if read.is_err() {
            self.clear();
        }
        read
    }

    /// Adds the fields of one JSON object under a prefix (`"winlog.event_data."`, or empty), beside
    /// those that are there. Names that are there already become arrays.
    ///
    /// # Errors
    /// As [`Event::parse_json`]; some fields may have been added then.
    pub fn add_json(&mut self, prefix: &str, json: &[u8]) -> Result<(), ParseError> {
        match json.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{') => {}
            Some(b'[') => return Err(ParseError::NotAnObject("an array")),
            Some(b'"') => return Err(ParseError::NotAnObject("a text")),
            Some(_) => {}
            None => return Err(ParseError::NotAnObject("empty")),
        }
        let mut reader = serde_json::Deserializer::from_slice(json);
        let mut path = prefix.to_owned();
        let place = Place { event: self, path: &mut path, depth: 0, in_array: false };
        let read = place.deserialize(&mut reader).and_then(|kind| {
            reader.end()?;
            Ok(kind)
        });
        match read {
            Ok(Kind::Object) => Ok(()),
            Ok(Kind::Other) => Err(ParseError::NotAnObject("a bare value")),
            Err(error) => Err(ParseError::Json(error.to_string())),
        }
    }

    /// Adds any JSON value (a `serde_json` tree) at a path.
    pub fn add_value(&mut self, path: &str, value: &serde_json::Value) {
        let mut buffer = path.to_owned();
        add_tree(self, &mut buffer, value, Role::Single, 0);
    }

    /// Appends the event to `out` as one nested JSON object, names sorted.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        // The order is the one thing that needs room of its own; small, and freed at once.
        let mut order = Vec::with_capacity(self.len());
        self.sorted(&mut order);
        write_object(self, &order, out);
    }

    /// The event as nested JSON text, names sorted.
    pub fn to_json(&self) -> String {
        let mut out = Vec::new();
        self.write_json(&mut out);
        String::from_utf8(out).unwrap_or_default()
    }
}

#[derive(PartialEq, Clone, Copy)]
enum Kind {
    Object,
    Other,
}

/// Where the value that is read next goes.
struct Place<'e> {
    event: &'e mut Event,
    /// Dotted name; a prefix ending in `.` (or empty) while at the top.
    path: &'e mut String,
    depth: usize,
    in_array: bool,
}

impl Place<'_> {
    fn leaf<E: serde::de::Error>(self, value: Value<'_>) -> Result<Kind, E> {
        if self.event.len() >= FIELDS_MAX {
            return Err(E::custom(format_args!("more than {FIELDS_MAX} fields")));
        }
        let role = if self.in_array { Role::Element } else { Role::Single };
        self.event.push(self.path, value, role);
        Ok(Kind::Other)
    }
}

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = Kind;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Kind, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place<'_> {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Kind, E> {
        self.leaf(Value::Null)
    }
    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Kind, E> {
        self.leaf(Value::Bool(value))
    }
    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Kind, E> {
        self.leaf(Value::Int(number))
    }
    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Kind, E> {
        self.leaf(Value::from(number))
    }
    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Kind, E> {
        self.leaf(Value::from(number))
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Kind, E> {
        self.leaf(Value::Text(text))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kind, A::Error> {
        if self.depth >= DEPTH_MAX {
            return Err(A::Error::custom(format_args!("nested deeper than {DEPTH_MAX} levels")));
        }
        let top = self.depth == 0;
        let parent = self.path.len();
        let mut empty = true;
        while map.next_key_seed(Key { path: self.path, dot: !top })?.is_some() {
            empty = false;
            map.next_value_seed(Place {
                event: self.event,
                path: self.path,
                depth: self.depth + 1,
                in_array: false,
            })?;
            self.path.truncate(parent);
        }
        if empty && !top {
            self.event.push_json(self.path, "{}");
        }
        Ok(Kind::Object)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Kind, A::Error> {
        // Scalars become elements as they come. At the first object or array among them the whole
        // array must be kept as text, so from there on it is gathered as a tree instead.
        let first = self.event.len();
        let mut tree: Option<Vec<serde_json::Value>> = None;
        let mut empty = true;
        while let Some(element) = seq.next_element::<&'de RawValue>()? {
            empty = false;
            let text = element.get();
            let complex = text.starts_with(['{', '[']);
            if !complex && tree.is_none() {
                let mut reader = serde_json::Deserializer::from_str(text);
                Place { event: self.event, path: self.path, depth: self.depth, in_array: true }
                    .deserialize(&mut reader)
                    .map_err(A::Error::custom)?;
                continue;
            }
            let value: serde_json::Value = serde_json::from_str(text).map_err(A::Error::custom)?;
            let event = &*self.event;
            tree.get_or_insert_with(|| {
                (first..event.len()).map(|at| to_tree(event.at(at as u32).1)).collect()
            })
            .push(value);
        }
        if empty {
            self.event.push_json(self.path, "[]");
        }
        if let Some(tree) = tree {
            self.event.truncate(first);
            let value = serde_json::Value::Array(tree);
            add_tree(self.event, self.path, &value, Role::Single, self.depth);
            if self.event.len() > FIELDS_MAX {
                return Err(A::Error::custom(format_args!("more than {FIELDS_MAX} fields")));
            }
        }
        Ok(Kind::Other)
    }
}

/// Reads a key onto the end of the path.
struct Key<'e> {
    path: &'e mut String,
    dot: bool,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<(), E> {
        if self.dot {
            self.path.push('.');
        }
        self.path.push_str(key);
        Ok(())
    }
}

fn to_tree(value: Value<'_>) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => value.into(),
        Value::Int(number) => number.into(),
        Value::Uint(number) => number.into(),
        Value::Float(number) => number.into(),
        Value::Text(text) => text.into(),
        Value::Json(json) => serde_json::from_str(json).unwrap_or_default(),
    }
}

fn add_tree(
    event: &mut Event,
    path: &mut String,
    value: &serde_json::Value,
    role: Role,
    depth: usize,
) {
    use serde_json::Value as Tree;
    if event.len() > FIELDS_MAX || depth > DEPTH_MAX {
        return;
    }
    match value {
        Tree::Null => event.push(path, Value::Null, role),
        Tree::Bool(value) => event.push(path, Value::Bool(*value), role),
        Tree::String(text) => event.push(path, Value::Text(text), role),
        Tree::Number(number) => event.push(path, to_number(number), role),
        Tree::Object(map) if map.is_empty() => event.push(path, Value::Json("{}"), role),
        Tree::Array(list) if list.is_empty() => event.push(path, Value::Json("[]"), role),
        Tree::Object(map) => {
            let parent = path.len();
            for (key, value) in map {
                path.push('.');
                path.push_str(key);
                add_tree(event, path, value, role, depth + 1);
                path.truncate(parent);
            }
        }
        Tree::Array(list) if list.iter().any(|item| item.is_object() || item.is_array()) => {
            if role != Role::Inside {
                event.push(path, Value::Json(&value.to_string()), role);
            }
            let first = event.len();
            for item in list {
                add_tree(event, path, item, Role::Inside, depth + 1);
            }
            event.mark_inside(first);
        }
        Tree::Array(list) => {
            let role = if role == Role::Inside { role } else { Role::Element };
            for item in list {
                add_tree(event, path, item, role, depth + 1);
            }
        }
    }
}

fn to_number(number: &serde_json::Number) -> Value<'static> {
    if let Some(whole) = number.as_i64() {
        Value::Int(whole)
    } else if let Some(whole) = number.as_u64() {
        Value::Uint(whole)
    } else {
        number.as_f64().map_or(Value::Null, Value::from)
    }
}

/// Writes sorted leaves as nested objects. Names are compared piece by piece with the open
/// objects; what they share stays open.
fn write_object(event: &Event, order: &[u32], out: &mut Vec<u8>) {
    out.push(b'{');
    let mut open = ""; // The dotted prefix of the objects that are open, with its last dot.
    let mut comma = false;
    let mut at = 0;
    while let Some(&index) = order.get(at) {
        let (path, value, role) = event.at(index);
        let same = order[at..].iter().take_while(|&&other| event.at(other).0 == path).count();
        let shared = shared_prefix(open, path);
        for _ in 0..open.get(shared..).map_or(0, |rest| rest.matches('.').count()) {
            out.push(b'}');
            comma = true;
        }
        open = path.get(..shared).unwrap_or_default();
        let mut rest = path.get(shared..).unwrap_or_default();
        while let Some((piece, deeper)) = rest.split_once('.') {
            let prefix_len = path.len() - deeper.len();
            let prefix = path.get(..prefix_len - 1).unwrap_or_default();
            let levels = prefix.matches('.').count() + 1;
            // A name that is both a value and a parent can't be nested, nor can endless depth:
            // the remainder stays dotted, which reads back as the same fields.
            if levels >= DEPTH_MAX - 1 || event.get(prefix).is_some() {
                break;
            }
            separate(out, &mut comma);
            write_text(piece, out);
            out.extend_from_slice(b":{");
            comma = false;
            open = path.get(..prefix_len).unwrap_or_default();
            rest = deeper;
        }
        separate(out, &mut comma);
        write_text(rest, out);
        out.push(b':');
        if same > 1 || role == Role::Element {
            out.push(b'[');
            for (place, &other) in order[at..at + same].iter().enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                write_value(event.at(other).1, out);
            }
            out.push(b']');
        } else {
            write_value(value, out);
        }
        comma = true;
        at += same;
    }
    for _ in 0..=open.matches('.').count() {
        out.push(b'}');
    }
}

/// How many bytes of `open` (whole pieces, each with its dot) the path also begins with.
fn shared_prefix(open: &str, path: &str) -> usize {
    let mut shared = 0;
    for piece in open.split_inclusive('.') {
        let end = shared + piece.len();
        if path.get(shared..end) != Some(piece) {
            break;
        }
        shared = end;
    }
    shared
}

fn separate(out: &mut Vec<u8>, comma: &mut bool) {
    if *comma {
        out.push(b',');
    }
    *comma = true;
}

fn write_value(value: Value<'_>, out: &mut Vec<u8>) {
    let written = match value {
        Value::Null => {
            out.extend_from_slice(b"null");
            Ok(())
        }
        Value::Bool(value) => serde_json::to_writer(&mut *out, &value),
        Value::Int(number) => serde_json::to_writer(&mut *out, &number),
        Value::Uint(number) => serde_json::to_writer(&mut *out, &number),
        Value::Float(number) => serde_json::to_writer(&mut *out, &number),
        Value::Text(text) => serde_json::to_writer(&mut *out, text),
        Value::Json(json) => {
            out.extend_from_slice(json.as_bytes());
            Ok(())
        }
    };
    written.expect("scalars and texts can always be written to memory");
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    write_value(Value::Text(text), out);
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use proptest::prelude::*;

    use super::{DEPTH_MAX, ParseError};
    use crate::event::FIELDS_MAX;
    use crate::{Event, Value};

    fn round_trip(json: &str) -> String {
        let mut event = Event::new();
        match event.parse_json(json.as_bytes()) {
            Ok(()) => event.to_json(),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn trees_survive_the_flat_form() {
        assert_snapshot!(round_trip(r#"{"b":{"c":1,"a":[1,"x",null]},"a.z":true}"#), @r#"{"a":{"z":true},"b":{"a":[1,"x",null],"c":1}}"#);
        assert_snapshot!(round_trip(r#"{"a":[{"b":1},{"b":[2,{"c":3}]},4]}"#), @r#"{"a":[{"b":1},{"b":[2,{"c":3}]},4]}"#);
        assert_snapshot!(round_trip(r#"{"a":{},"b":[],"c":[[]]}"#), @r#"{"a":{},"b":[],"c":[[]]}"#);
        assert_snapshot!(round_trip(r#"{"a":1,"a.b":2,"a-b":3,"aa":4}"#), @r#"{"a":1,"a-b":3,"a.b":2,"aa":4}"#);
        assert_snapshot!(round_trip("{}"), @"{}");
        assert_snapshot!(round_trip("[1]"), @"error: a JSON object is needed, this is an array");
        assert_snapshot!(round_trip("17"), @"error: a JSON object is needed, this is a bare value");
        assert_snapshot!(round_trip(r#"{"a":1"#), @"error: not a JSON event: EOF while parsing an object at line 1 column 6");
        assert_snapshot!(round_trip(r#"{"a":1} x"#), @"error: not a JSON event: trailing characters at line 1 column 9");
    }

    #[test]
    fn rules_see_into_arrays_of_objects() {
        let mut event = Event::new();
        event.parse_json(br#"{"a":[{"b":1},{"b":[2,{"c":"x"}]}]}"#).unwrap();
        let values: Vec<_> = event.values("a.b").filter_map(Value::as_int).collect();
        assert_eq!(values, [1, 2]);
        assert_eq!(event.str("a.b.c"), Some("x"));
        event.remove("a");
        assert!(event.is_empty());
    }

    #[test]
    fn depth_and_width_are_bounded() {
        let mut event = Event::new();
        let deep = format!("{}1{}", r#"{"a":"#.repeat(DEPTH_MAX + 1), "}".repeat(DEPTH_MAX + 1));
        assert!(matches!(event.parse_json(deep.as_bytes()), Err(ParseError::Json(_))));
        let very_deep = format!(r#"{{"a":{}}}"#, "[".repeat(200_000));
        assert!(matches!(event.parse_json(very_deep.as_bytes()), Err(ParseError::Json(_))));
        let wide: Vec<_> = (0..=FIELDS_MAX).map(|n| format!(r#""f{n}":1"#)).collect();
        let wide = format!("{{{}}}", wide.join(","));
        assert!(matches!(event.parse_json(wide.as_bytes()), Err(ParseError::Json(_))));
        assert!(event.is_empty());
        let dotted = format!(r#"{{"{}x":1}}"#, "a.".repeat(500));
        event.parse_json(dotted.as_bytes()).unwrap();
        let json = event.to_json();
        event.parse_json(json.as_bytes()).unwrap();
        assert_eq!(event.to_json(), json);
    }

    fn tree() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<u64>().prop_map(Into::into),
            (-1e9..1e9f64).prop_map(Into::into),
            ".{0,8}".prop_map(Into::into),
        ];
        leaf.prop_recursive(5, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                prop::collection::hash_map("[a-c.\\-]{0,4}", inner, 0..5)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// Writing and reading again changes nothing, and what is written is JSON.
        #[test]
        fn written_events_read_back_the_same(
            map in prop::collection::hash_map("[a-c.\\-]{0,4}", tree(), 0..6)
        ) {
            let json = serde_json::Value::Object(map.into_iter().collect()).to_string();
            let mut event = Event::new();
            event.parse_json(json.as_bytes()).unwrap();
            let once = event.to_json();
            let mut again = Event::new();
            again.parse_json(once.as_bytes()).unwrap();
            prop_assert_eq!(&again.to_json(), &once);
            // Two spellings of one name (`a.b` and `a: {b}`) are gathered into one array, which
            // may then have to be kept as JSON; the scalars are the same all the same.
            let scalars = |event: &Event| {
                let mut all: Vec<_> = event
                    .fields()
                    .filter(|(_, _, value)| !matches!(value, Value::Json(_)))
                    .map(|(_, path, value)| format!("{path}={value:?}"))
                    .collect();
                all.sort();
                all
            };
            prop_assert_eq!(scalars(&event), scalars(&again));
        }

        #[test]
        fn any_bytes_are_an_event_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut event = Event::new();
            event.parse_json(&bytes).ok();
            event.to_json();
        }
    }
}
