//! Reading JSON with the path to what is wrong.

use serde_json::{Map, Value};

use crate::error::Refusal;

/// The name of a value's type.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn wrong(path: &str, wanted: &str, value: &Value) -> Refusal {
    Refusal::parsing(path, format!("{wanted} is expected here, but this is {}", kind(value)))
}

/// An object.
pub(crate) fn object<'v>(path: &str, value: &'v Value) -> Result<&'v Map<String, Value>, Refusal> {
    value.as_object().ok_or_else(|| wrong(path, "an object", value))
}

/// An object with exactly one entry.
pub(crate) fn only<'v>(path: &str, value: &'v Value) -> Result<(&'v str, &'v Value), Refusal> {
    let map = object(path, value)?;
    let mut entries = map.iter();
    match (entries.next(), entries.next()) {
        (Some((name, value)), None) => Ok((name, value)),
        (None, _) => Err(Refusal::parsing(path, "an entry is missing in this object")),
        (Some((first, _)), Some((second, _))) => Err(Refusal::parsing(
            path,
            format!("one entry is expected here, but there are [{first}] and [{second}]"),
        )),
    }
}

/// A text.
pub(crate) fn text<'v>(path: &str, value: &'v Value) -> Result<&'v str, Refusal> {
    value.as_str().ok_or_else(|| wrong(path, "a text", value))
}

/// A text, a number or a truth value, as it is written.
pub(crate) fn scalar(path: &str, value: &Value) -> Result<String, Refusal> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(value) => Ok(value.to_string()),
        _ => Err(wrong(path, "a value", value)),
    }
}

/// A truth value, also as text.
pub(crate) fn truth(path: &str, value: &Value) -> Result<bool, Refusal> {
    match value {
        Value::Bool(value) => Ok(*value),
        Value::String(text) if text == "true" => Ok(true),
        Value::String(text) if text == "false" => Ok(false),
        _ => Err(wrong(path, "true or false", value)),
    }
}

/// A number, also as text.
pub(crate) fn number(path: &str, value: &Value) -> Result<f64, Refusal> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number: &f64| number.is_finite()).ok_or_else(|| wrong(path, "a number", value))
}

/// A count, also as text.
pub(crate) fn count(path: &str, value: &Value) -> Result<usize, Refusal> {
    let count = match value {
        Value::Number(number) => number.as_u64().and_then(|number| usize::try_from(number).ok()),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    count.ok_or_else(|| wrong(path, "a whole number, not below zero,", value))
}

/// A list, or one value that stands for a list of one.
pub(crate) fn list(value: &Value) -> &[Value] {
    match value {
        Value::Array(values) => values,
        one => std::slice::from_ref(one),
    }
}

/// Texts: a list, or one.
pub(crate) fn texts(path: &str, value: &Value) -> Result<Vec<String>, Refusal> {
    list(value).iter().map(|value| text(path, value).map(str::to_owned)).collect()
}

/// Refuses options that are not known; `read` and `harmless` are.
pub(crate) fn known(
    path: &str,
    map: &Map<String, Value>,
    read: &[&str],
    harmless: &[&str],
) -> Result<(), Refusal> {
    match map.keys().find(|key| !read.contains(&key.as_str()) && !harmless.contains(&key.as_str()))
    {
        None => Ok(()),
        Some(key) => Err(Refusal::parsing(
            path,
            format!("[{key}] is not supported here; there are {}", read.join(", ")),
        )),
    }
}
