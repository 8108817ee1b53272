//! Reads the conditions of a pipeline's items.
//!
//! One function reads any of the three kinds, as a list or as a map of names for an expression;
//! what each `type` takes is in the three small functions after it.

use super::conditions::{
    AttributeOperator, Conditions, FieldTest, ItemTest, Link, Names, RuleTest,
};
use super::read::{compiled, flag, needed, refuse_unknown, regex, scalar};
use crate::condition::Condition;
use crate::diagnostic::{Code, Diagnostic, Faults, Severity};
use crate::reader::Reader;
use crate::rule::Logsource;
use crate::suggest;
use crate::yaml::{Kind, Node};

/// Reads conditions of one kind: a list, or a map from names to conditions.
pub(super) fn conditions<T>(
    reader: &mut Reader<'_>,
    [key, operator, negated, expression]: [&'static str; 4],
    test: fn(&mut Reader<'_>, &str) -> Option<T>,
) -> Conditions<T> {
    let mut tests = Vec::new();
    let named: Vec<(Option<String>, &Node)> = match reader.get(key) {
        None => Vec::new(),
        Some(node) => match &node.kind {
            Kind::Map(entries) => {
                entries.iter().map(|(key, node)| (Some(key.text.clone()), node)).collect()
            }
            _ => node.one_or_more().iter().map(|node| (None, node)).collect(),
        },
    };
    for (name, node) in named {
        let Some(entries) = node.as_map() else {
            reader.faults.error(Code::Pipeline, node.span, "a condition is a map with a `type`");
            continue;
        };
        let mut own = Reader::new(entries, node.span, reader.file, reader.faults);
        let Some(word) = needed_type(&mut own) else { continue };
        if let Some(test) = test(&mut own, &word) {
            refuse_unknown(&mut own, "this condition");
            tests.push((name, test));
        }
    }
    let span = reader.key_span(expression);
    let link = match (reader.text(expression), reader.text(operator).as_deref()) {
        (Some(text), _) => match Condition::parse_displaced(&text, span) {
            Ok(condition) => {
                check_names(&condition, &tests, reader.faults);
                Link::Expression(condition)
            }
            Err(fault) => {
                reader.faults.push(fault);
                Link::All
            }
        },
        (None, Some("or")) => Link::Any,
        (None, Some("and") | None) => Link::All,
        (None, Some(other)) => {
            let message = format!("`{other}` is not an operator; use `and` or `or`");
            let span = reader.key_span(operator);
            reader.faults.error(Code::Pipeline, span, message);
            Link::All
        }
    };
    Conditions { tests, link, negated: flag(reader, negated) }
}

fn check_names<T>(condition: &Condition, tests: &[(Option<String>, T)], faults: &mut Faults) {
    match condition {
        Condition::And(parts) | Condition::Or(parts) | Condition::AtLeast(_, parts) => {
            for part in parts {
                check_names(part, tests, faults);
            }
        }
        Condition::Not(part) => check_names(part, tests, faults),
        Condition::Selection(name, span) => {
            if !tests.iter().any(|(known, _)| known.as_deref() == Some(&**name)) {
                let message = format!("there is no condition `{name}` here");
                let known = tests.iter().filter_map(|(known, _)| known.as_deref());
                faults.push(
                    Diagnostic::error(Code::Pipeline, *span, message)
                        .with_help(suggest::help(name, known)),
                );
            }
        }
        Condition::Of(_, _, span) => {
            faults.error(Code::Pipeline, *span, "an expression names its conditions one by one");
        }
    }
}

fn needed_type(reader: &mut Reader<'_>) -> Option<String> {
    let node = reader.need("type", "a condition")?;
    let text = node.to_text();
    if text.is_none() {
        reader.wrong(node, "type", "a text");
    }
    text
}

fn unknown_condition<T>(reader: &mut Reader<'_>, word: &str, known: &[&str]) -> Option<T> {
    let message = format!("there is no such condition `{word}` here");
    let span = reader.key_span("type");
    let help = suggest::help(word, known.iter().copied());
    reader.faults.push(Diagnostic::error(Code::Pipeline, span, message).with_help(help));
    None
}

pub(super) fn rule_test(reader: &mut Reader<'_>, word: &str) -> Option<RuleTest> {
    Some(match word {
        "logsource" => {
            let mut part = |key| reader.text(key);
            let (product, category, service) = (part("product"), part("category"), part("service"));
            RuleTest::Logsource(Logsource { product, category, service, definition: None })
        }
        "contains_detection_item" => {
            let field = reader.text("field");
            let value = reader.get_any("value").and_then(scalar).map(|value| value.kind);
            RuleTest::ContainsItem { field, value }
        }
        "contains_field" => RuleTest::ContainsField(needed(reader, "field")?),
        "processing_item_applied" => RuleTest::Applied(needed(reader, "processing_item_id")?),
        "processing_state" => {
            let key = needed(reader, "key")?;
            RuleTest::State { key, value: needed(reader, "val")? }
        }
        "is_sigma_rule" => RuleTest::IsRule(true),
        "is_sigma_correlation_rule" => RuleTest::IsRule(false),
        "rule_attribute" => {
            let attribute = needed(reader, "attribute")?;
            let value = needed(reader, "value")?;
            let word = reader.text("op").unwrap_or_else(|| "eq".to_owned());
            let Some(operator) = AttributeOperator::from_word(&word) else {
                let known = ["eq", "ne", "gt", "gte", "lt", "lte", "in", "not_in"];
                return unknown_condition(reader, &word, &known);
            };
            RuleTest::Attribute { attribute, operator, value }
        }
        "tag" => RuleTest::Tag(needed(reader, "tag")?),
        _ => {
            let known = [
                "logsource",
                "contains_detection_item",
                "contains_field",
                "processing_item_applied",
                "processing_state",
                "is_sigma_rule",
                "is_sigma_correlation_rule",
                "rule_attribute",
                "tag",
            ];
            return unknown_condition(reader, word, &known);
        }
    })
}

pub(super) fn item_test(reader: &mut Reader<'_>, word: &str) -> Option<ItemTest> {
    Some(match word {
        "match_string" => {
            let all = match reader.text("cond").as_deref() {
                None | Some("any") => false,
                Some("all") => true,
                Some(other) => return unknown_condition(reader, other, &["any", "all"]),
            };
            let pattern = regex(reader, "pattern")?;
            ItemTest::MatchString { pattern, all, negated: flag(reader, "negate") }
        }
        "match_value" => {
            _ = reader.text("cond");
            let node = reader.get_any("value").or_else(|| reader.need("value", "match_value"))?;
            let Some(value) = scalar(node) else {
                reader.wrong(node, "value", "a text, a number, a boolean or null");
                return None;
            };
            ItemTest::MatchValue(value.kind)
        }
        "is_null" => {
            _ = reader.text("cond");
            ItemTest::IsNull
        }
        "contains_wildcard" => {
            _ = reader.text("cond");
            ItemTest::ContainsWildcard
        }
        "processing_item_applied" => ItemTest::Applied(needed(reader, "processing_item_id")?),
        "processing_state" => {
            let key = needed(reader, "key")?;
            ItemTest::State { key, value: needed(reader, "val")? }
        }
        _ => {
            let known = [
                "match_string",
                "match_value",
                "is_null",
                "contains_wildcard",
                "processing_item_applied",
                "processing_state",
            ];
            return unknown_condition(reader, word, &known);
        }
    })
}

pub(super) fn field_test(reader: &mut Reader<'_>, word: &str) -> Option<FieldTest> {
    Some(match word {
        "include_fields" => FieldTest::Include(names(reader)?),
        "exclude_fields" => FieldTest::Exclude(names(reader)?),
        "processing_item_applied" => FieldTest::Applied(needed(reader, "processing_item_id")?),
        "processing_state" => {
            let key = needed(reader, "key")?;
            FieldTest::State { key, value: needed(reader, "val")? }
        }
        _ => {
            let known =
                ["include_fields", "exclude_fields", "processing_item_applied", "processing_state"];
            return unknown_condition(reader, word, &known);
        }
    })
}

fn names(reader: &mut Reader<'_>) -> Option<Names> {
    reader.need("fields", "this condition")?;
    let fields = reader.texts("fields");
    match reader.text("mode").as_deref() {
        None | Some("plain") => {
            Some(Names::Plain(fields.into_iter().map(|(text, _)| text).collect()))
        }
        Some("re") => {
            let mut patterns = Vec::new();
            for (source, span) in fields {
                patterns.push(compiled(&source, span, reader.faults)?);
            }
            Some(Names::Regex(patterns))
        }
        Some(other) => {
            let message = format!("`{other}` is not a mode; use `plain` or `re`");
            let fault = Diagnostic::new(Severity::Error, Code::Pipeline, reader.span, message);
            reader.faults.push(fault);
            None
        }
    }
}
