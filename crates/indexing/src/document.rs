//! From an event to what tantivy indexes of it.

use event::ecs::{Type, field_type};
use event::{Event, Timestamp, Value};
use tantivy::schema::document::{ReferenceValue, ReferenceValueLeaf};
use tantivy::{DateTime, TantivyDocument};

use crate::schema::Fields;

/// The field that has a column of its own.
pub(crate) const TIME: &str = "@timestamp";

/// Makes documents, and keeps the memory it needs for that.
#[derive(Debug, Default)]
pub(crate) struct DocumentMaker {
    text: String,
}

impl DocumentMaker {
    /// The document of an event. `json` is stored; `time` is `@timestamp`, or what stands for it.
    pub(crate) fn make(
        &mut self,
        fields: &Fields,
        event: &Event,
        json: &[u8],
        time: Timestamp,
    ) -> TantivyDocument {
        let mut document = TantivyDocument::with_capacity(json.len() * 3);
        let mut columns: Vec<(&str, Cell<'_>)> = Vec::with_capacity(event.len());
        let mut kept: Vec<(&str, Cell<'_>)> = Vec::new();
        document.add_i64(fields.time, time.as_nanos());
        if let Some(id) = event.str("event.id") {
            document.add_text(fields.id, id);
        }
        document.add_bytes(fields.source, json);
        if let Some(bytes) = fields.bytes {
            document.add_u64(bytes, json.len() as u64);
        }
        for (_, path, value) in event.fields() {
            if path == TIME && event.timestamp().is_some() {
                continue;
            }
            if let Some(field) = fields.text(path) {
                if let Some(value) = query::scalar(path, value) {
                    document.add_text(field, value.text(&mut self.text));
                    kept.push((path, Cell::Bool(true)));
                }
                continue;
            }
            if query::is_unsearched(path) {
                if query::scalar(path, value).is_some() {
                    kept.push((path, Cell::Bool(true)));
                }
                continue;
            }
            let date = field_type(path) == Some(Type::Date);
            let cell = match value {
                Value::Null | Value::Json(_) => continue,
                Value::Bool(value) => Cell::Bool(value),
                Value::Int(number) => {
                    document.add_text(fields.words, number.to_string());
                    Cell::Int(number)
                }
                Value::Uint(number) => {
                    document.add_text(fields.words, number.to_string());
                    Cell::Uint(number)
                }
                Value::Float(number) => Cell::Float(number),
                Value::Text(text) => match Timestamp::parse_rfc3339(text).filter(|_| date) {
                    Some(time) => Cell::Time(time),
                    None => {
                        if !date {
                            document.add_text(fields.words, text);
                        }
                        Cell::Text(text)
                    }
                },
            };
            columns.push((path, cell));
        }
        if !columns.is_empty() {
            document.add_field_value(fields.data, Cell::Object(&columns));
        }
        if !kept.is_empty() {
            document.add_field_value(fields.kept, Cell::Object(&kept));
        }
        document
    }
}

/// A value on its way into a column.
#[derive(Debug, Clone, Copy)]
enum Cell<'a> {
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    Time(Timestamp),
    Text(&'a str),
    /// Names and values; a name may come several times.
    Object(&'a [(&'a str, Cell<'a>)]),
}

impl<'a> tantivy::schema::Value<'a> for Cell<'a> {
    type ArrayIter = std::iter::Empty<Self>;
    type ObjectIter = std::iter::Copied<std::slice::Iter<'a, (&'a str, Cell<'a>)>>;

    fn as_value(&self) -> ReferenceValue<'a, Self> {
        ReferenceValue::Leaf(match *self {
            Cell::Bool(value) => ReferenceValueLeaf::Bool(value),
            Cell::Int(number) => ReferenceValueLeaf::I64(number),
            Cell::Uint(number) => ReferenceValueLeaf::U64(number),
            Cell::Float(number) => ReferenceValueLeaf::F64(number),
            Cell::Time(time) => {
                ReferenceValueLeaf::Date(DateTime::from_timestamp_nanos(time.as_nanos()))
            }
            Cell::Text(text) => ReferenceValueLeaf::Str(text),
            Cell::Object(cells) => return ReferenceValue::Object(cells.iter().copied()),
        })
    }
}
