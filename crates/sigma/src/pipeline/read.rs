//! Reads a pipeline from YAML.
//!
//! A mistyped parameter would silently change which rules match, so every key must be known, and
//! each mistake is shown at its place with what was probably meant.

use std::collections::HashMap;
use std::sync::Arc;

use regex::Regex;

use super::read_conditions::{conditions, field_test, item_test, rule_test};
use super::transform::{Case, Rename, Transformation};
use super::{Pipeline, ProcessingItem};
use crate::diagnostic::{Code, Diagnostic, Faults, Span};
use crate::pcre::REGEX_BYTES_MAX;
use crate::reader::{self, Reader};
use crate::rule::{Value, ValueKind};
use crate::suggest;
use crate::yaml::{self, Kind, Node};

/// The most nested `nest` transformations.
const NEST_DEPTH_MAX: usize = 8;

/// Parses a pipeline. Query postprocessing and finalizers, which belong to text queries, are read
/// over.
pub(super) fn pipeline(text: &str, file: &str) -> Result<Pipeline, Vec<Diagnostic>> {
    let mut faults = Faults::new(file);
    let mut documents = yaml::parse(text);
    let document = match documents.len() {
        1 => documents.remove(0),
        count => {
            let message = format!("a pipeline file has one document, this has {count}");
            Err(Diagnostic::error(Code::Pipeline, Span { line: 1, column: 1, length: 1 }, message))
        }
    };
    let read = document.map(|node| read(&node, file, &mut faults));
    match read {
        Ok(Some(pipeline)) if faults.errors() == 0 => return Ok(pipeline),
        Ok(_) => {}
        Err(fault) => faults.push(fault),
    }
    Err(faults.into_list())
}

fn read(node: &Node, file: &str, faults: &mut Faults) -> Option<Pipeline> {
    let shared_file: Arc<str> = file.into();
    let Some(entries) = node.as_map() else {
        faults.error(Code::Pipeline, node.span, "a pipeline is a map");
        return None;
    };
    let mut reader = Reader::new(entries, node.span, &shared_file, faults);
    let name = reader.text("name").unwrap_or_else(|| file.to_owned());
    let priority = match reader.get("priority").map(|node| (&node.kind, node)) {
        None => 0,
        Some((Kind::Number(raw), node)) => raw.parse().unwrap_or_else(|_| {
            reader.wrong(node, "priority", "a whole number");
            0
        }),
        Some((_, node)) => {
            reader.wrong(node, "priority", "a whole number");
            0
        }
    };
    let vars = match reader.get("vars") {
        None => HashMap::new(),
        Some(node) => vars(node, reader.faults),
    };
    let items = match reader.get("transformations") {
        None => Vec::new(),
        Some(node) => items(node, &shared_file, reader.faults, 0),
    };
    Some(Pipeline { name, priority, vars, file: shared_file, items })
}

fn vars(node: &Node, faults: &mut Faults) -> HashMap<String, Vec<Value>> {
    let Some(entries) = node.as_map() else {
        faults.error(Code::Pipeline, node.span, "`vars` should be a map of names and values");
        return HashMap::new();
    };
    let values = |node: &Node| node.one_or_more().iter().filter_map(scalar).collect();
    entries.iter().map(|(key, node)| (key.text.clone(), values(node))).collect()
}

pub(super) fn scalar(node: &Node) -> Option<Value> {
    let kind = match &node.kind {
        Kind::Null => ValueKind::Null,
        Kind::Bool(value) => ValueKind::Bool(*value),
        Kind::Number(raw) => ValueKind::Number(raw.clone()),
        Kind::Text(text) => ValueKind::Text(text.clone()),
        Kind::List(_) | Kind::Map(_) => return None,
    };
    Some(Value { kind, span: node.span })
}

fn items(node: &Node, file: &Arc<str>, faults: &mut Faults, depth: usize) -> Vec<ProcessingItem> {
    if depth > NEST_DEPTH_MAX {
        let message = format!("transformations are nested deeper than {NEST_DEPTH_MAX}");
        faults.error(Code::Pipeline, node.span, message);
        return Vec::new();
    }
    let Some(list) = node.as_list() else {
        faults.error(Code::Pipeline, node.span, "a list of transformations should stand here");
        return Vec::new();
    };
    let mut items = Vec::new();
    for node in list {
        let Some(entries) = node.as_map() else {
            faults.error(Code::Pipeline, node.span, "a transformation is a map with a `type`");
            continue;
        };
        let mut reader = Reader::new(entries, node.span, file, faults);
        items.extend(item(&mut reader, depth));
    }
    items
}

fn item(reader: &mut Reader<'_>, depth: usize) -> Option<ProcessingItem> {
    let id = reader.text("id").map(Arc::from);
    let rule_conditions = conditions(
        reader,
        ["rule_conditions", "rule_cond_op", "rule_cond_not", "rule_cond_expr"],
        rule_test,
    );
    let item_conditions = conditions(
        reader,
        [
            "detection_item_conditions",
            "detection_item_cond_op",
            "detection_item_cond_not",
            "detection_item_cond_expr",
        ],
        item_test,
    );
    let field_conditions = conditions(
        reader,
        [
            "field_name_conditions",
            "field_name_cond_op",
            "field_name_cond_not",
            "field_name_cond_expr",
        ],
        field_test,
    );
    let transformation = transformation(reader, depth)?;
    refuse_unknown(reader, "this transformation");
    Some(ProcessingItem {
        id,
        span: reader.span,
        transformation,
        rule_conditions,
        item_conditions,
        field_conditions,
    })
}

/// A parameter that nobody asked for is a mistyped one.
pub(super) fn refuse_unknown(reader: &mut Reader<'_>, of: &str) {
    for key in reader.unasked() {
        let message = format!("{of} has no parameter `{}`", key.text);
        let help = suggest::help(&key.text, reader.asked());
        reader.faults.push(Diagnostic::error(Code::Pipeline, key.span, message).with_help(help));
    }
}

/// Every type of transformation, for the help of a mistyped one.
const TRANSFORMATIONS: &[&str] = &[
    "add_condition",
    "add_field",
    "case",
    "change_logsource",
    "convert_type",
    "detection_item_failure",
    "drop_detection_item",
    "field_name_mapping",
    "field_name_prefix",
    "field_name_prefix_mapping",
    "field_name_suffix",
    "field_name_transform",
    "map_string",
    "nest",
    "remove_field",
    "replace_string",
    "rule_failure",
    "set_custom_attribute",
    "set_field",
    "set_state",
    "set_value",
    "value_placeholders",
    "wildcard_placeholders",
];

fn transformation(reader: &mut Reader<'_>, depth: usize) -> Option<Transformation> {
    let node = reader.need("type", "a transformation")?;
    let word = node.to_text().unwrap_or_default();
    Some(match word.as_str() {
        "field_name_mapping" => {
            Transformation::Rename(Rename::Mapping(mapping(reader)?.into_iter().collect()))
        }
        "field_name_prefix_mapping" => {
            Transformation::Rename(Rename::PrefixMapping(mapping(reader)?))
        }
        "field_name_prefix" => Transformation::Rename(Rename::Prefix(needed(reader, "prefix")?)),
        "field_name_suffix" => Transformation::Rename(Rename::Suffix(needed(reader, "suffix")?)),
        "field_name_transform" => {
            let case = case(reader, "transform_func")?;
            let mapping = match reader.get("mapping") {
                None => HashMap::new(),
                Some(_) => mapping(reader)?
                    .into_iter()
                    .filter_map(|(from, to)| Some((from, to.into_iter().next()?)))
                    .collect(),
            };
            Transformation::Rename(Rename::Function { case, mapping })
        }
        "drop_detection_item" => Transformation::DropItem,
        "add_condition" => {
            let node = reader.need("conditions", "add_condition")?;
            let body = reader::selection_body(node, node.span, reader.faults)?;
            let name = reader.text("name").unwrap_or_else(|| "_added".to_owned()).into();
            let (negated, template) = (flag(reader, "negated"), flag(reader, "template"));
            Transformation::AddCondition { name, body, negated, template }
        }
        "change_logsource" => Transformation::ChangeLogsource {
            product: reader.text("product"),
            category: reader.text("category"),
            service: reader.text("service"),
        },
        "replace_string" => {
            let pattern = regex(reader, "regex")?;
            let replacement = python_replacement(&needed(reader, "replacement")?);
            // Special characters are what they are in Sigma's text form; both flags are accepted.
            _ = (flag(reader, "skip_special"), flag(reader, "interpret_special"));
            Transformation::ReplaceString { pattern, replacement }
        }
        "map_string" => Transformation::MapString(mapping(reader)?.into_iter().collect()),
        "case" => Transformation::Case(case(reader, "method")?),
        "set_value" => {
            let node = reader.get_any("value").or_else(|| reader.need("value", "set_value"))?;
            let Some(value) = scalar(node) else {
                reader.wrong(node, "value", "a text, a number, a boolean or null");
                return None;
            };
            Transformation::SetValue(value.kind)
        }
        "convert_type" => {
            let to_number = match needed(reader, "target_type")?.as_str() {
                "num" => true,
                "str" => false,
                other => {
                    let message = format!("`{other}` is not a target type");
                    reader.faults.push(
                        Diagnostic::error(Code::Pipeline, reader.span, message)
                            .with_help("use `num` or `str`"),
                    );
                    return None;
                }
            };
            Transformation::ConvertType { to_number }
        }
        "value_placeholders" | "wildcard_placeholders" => {
            let plain = |texts: Vec<(String, Span)>| texts.into_iter().map(|(text, _)| text);
            let include = reader.get("include").is_some();
            let names: Vec<String> = plain(reader.texts("include")).collect();
            let exclude = plain(reader.texts("exclude")).collect();
            let from_vars = word == "value_placeholders";
            Transformation::Placeholders { from_vars, include: include.then_some(names), exclude }
        }
        "add_field" => Transformation::AddField(field_list(reader)),
        "remove_field" => Transformation::RemoveField(field_list(reader)),
        "set_field" => Transformation::SetField(field_list(reader)),
        "set_state" => {
            let key = needed(reader, "key")?;
            Transformation::SetState { key, value: needed(reader, "val")? }
        }
        "set_custom_attribute" => {
            let attribute = needed(reader, "attribute")?;
            let value = reader.need("value", "set_custom_attribute")?.to_json();
            Transformation::SetAttribute { attribute, value }
        }
        "rule_failure" => Transformation::RuleFailure(needed(reader, "message")?),
        "detection_item_failure" => Transformation::ItemFailure(needed(reader, "message")?),
        "nest" => {
            let node = reader.need("items", "nest")?;
            Transformation::Nest(items(node, reader.file, reader.faults, depth + 1))
        }
        other => {
            let message = format!("there is no transformation `{other}`");
            reader.faults.push(
                Diagnostic::error(Code::Pipeline, node.span, message)
                    .with_help(suggest::help(other, TRANSFORMATIONS.iter().copied())),
            );
            return None;
        }
    })
}

pub(super) fn needed(reader: &mut Reader<'_>, key: &'static str) -> Option<String> {
    let node = reader.need(key, "this transformation")?;
    let text = node.to_text();
    if text.is_none() {
        reader.wrong(node, key, "a text");
    }
    text
}

pub(super) fn flag(reader: &mut Reader<'_>, key: &'static str) -> bool {
    match reader.get(key).map(|node| (&node.kind, node)) {
        None => false,
        Some((Kind::Bool(value), _)) => *value,
        Some((_, node)) => {
            reader.wrong(node, key, "true or false");
            false
        }
    }
}

fn mapping(reader: &mut Reader<'_>) -> Option<Vec<(String, Vec<String>)>> {
    let node = reader.need("mapping", "this transformation")?;
    let Some(entries) = node.as_map() else {
        reader.wrong(node, "mapping", "a map");
        return None;
    };
    let mut mapping = Vec::new();
    for (key, value) in entries {
        let names: Vec<String> = value.one_or_more().iter().filter_map(Node::to_text).collect();
        if names.is_empty() {
            reader.wrong(value, &key.text, "a text or a list of texts");
        }
        mapping.push((key.text.clone(), names));
    }
    Some(mapping)
}

fn field_list(reader: &mut Reader<'_>) -> Vec<String> {
    let (one, several) = (reader.texts("field"), reader.texts("fields"));
    one.into_iter().chain(several).map(|(text, _)| text).collect()
}

fn case(reader: &mut Reader<'_>, key: &'static str) -> Option<Case> {
    let word = needed(reader, key)?;
    let case = match word.as_str() {
        "lower" => Some(Case::Lower),
        "upper" => Some(Case::Upper),
        "title" => Some(Case::Title),
        "snake_case" => Some(Case::Snake),
        _ => None,
    };
    if case.is_none() {
        let message = format!("`{word}` is not a change of letters");
        let help = suggest::help(&word, ["lower", "upper", "title", "snake_case"].into_iter());
        reader.faults.push(Diagnostic::error(Code::Pipeline, reader.span, message).with_help(help));
    }
    case
}

pub(super) fn regex(reader: &mut Reader<'_>, key: &'static str) -> Option<Regex> {
    let span = reader.key_span(key);
    compiled(&needed(reader, key)?, span, reader.faults)
}

pub(super) fn compiled(source: &str, span: Span, faults: &mut Faults) -> Option<Regex> {
    match regex::RegexBuilder::new(source).size_limit(REGEX_BYTES_MAX).build() {
        Ok(regex) => Some(regex),
        Err(error) => {
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default();
            faults.error(Code::Regex, span, format!("not a valid regular expression: {reason}"));
            None
        }
    }
}

/// Python writes `\1` and `\g<name>` where the `regex` crate has `${1}` and `${name}`.
fn python_replacement(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '$' => out.push_str("$$"),
            '\\' => match rest.next() {
                Some(digit @ '0'..='9') => out.push_str(&format!("${{{digit}}}")),
                Some('g') if rest.next_if_eq(&'<').is_some() => {
                    let name: String = rest.by_ref().take_while(|c| *c != '>').collect();
                    out.push_str(&format!("${{{name}}}"));
                }
                Some('\\') => out.push('\\'),
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some(other) => {
                    out.push('\\');
                    out.push(other);
                }
                None => out.push('\\'),
            },
            _ => out.push(c),
        }
    }
    out
}
