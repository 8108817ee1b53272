//! Reads what makes a rule a rule: the logsource, the selections, the condition.
//!
//! Filters have the same parts under another name, so they are read here too. Modifiers are only
//! recognised; what they do to values, and which go together, is decided when a rule is resolved,
//! after pipelines may have changed both.

use std::sync::Arc;

use super::{Metadata, Reader};
use crate::condition::Condition;
use crate::correlation::Reference;
use crate::diagnostic::{Code, Diagnostic, Faults, Span};
use crate::filter::{Filter, FilteredRules};
use crate::modifier::Modifier;
use crate::rule::{Body, Item, Logsource, Rule, Selection, Value, ValueKind};
use crate::suggest;
use crate::yaml::{Key, Kind, Node};

/// Reads a detection rule.
pub(crate) fn rule(reader: &mut Reader<'_>) -> Option<Rule> {
    let metadata = reader.metadata();
    let logsource = logsource(reader);
    let node = reader.need("detection", "a rule")?;
    let Some(entries) = node.as_map() else {
        reader.wrong(node, "detection", "a map of selections and a condition");
        return None;
    };
    if let Some((key, _)) = node.entry("timeframe") {
        let message = "`timeframe` belonged to aggregations in the condition and does nothing";
        reader.faults.push(
            Diagnostic::warning(Code::Aggregation, key.span, message)
                .with_help("write a correlation rule, with `timespan`"),
        );
    }
    let keys = ["condition", "timeframe"];
    let selections = selections(entries, &keys, reader.faults);
    let conditions = conditions(node, reader.key_span("detection"), &selections, reader.faults);
    let (license, taxonomy) = (reader.text("license"), reader.text("taxonomy"));
    let scope = reader.texts("scope").into_iter().map(|(text, _)| text).collect();
    let Metadata {
        id,
        name,
        title,
        status,
        level,
        description,
        author,
        date,
        modified,
        references,
        tags,
        falsepositives,
        fields,
        related,
    } = metadata;
    Some(Rule {
        id,
        name,
        title,
        status,
        level,
        description,
        author,
        date,
        modified,
        references,
        tags,
        falsepositives,
        fields,
        related,
        license,
        taxonomy,
        scope,
        logsource: logsource?,
        selections,
        conditions,
        custom: reader.rest(),
        file: Arc::clone(reader.file),
        span: reader.span,
    })
}

/// Reads a filter.
pub(crate) fn filter(reader: &mut Reader<'_>) -> Option<Filter> {
    let Metadata { id, name, title, description, .. } = reader.metadata();
    let logsource = logsource(reader);
    let node = reader.need("filter", "a filter")?;
    let Some(entries) = node.as_map() else {
        reader.wrong(node, "filter", "a map of `rules`, selections and a condition");
        return None;
    };
    let span = reader.key_span("filter");
    let rules = filtered_rules(node, span, reader.faults);
    let selections = selections(entries, &["condition", "rules"], reader.faults);
    let mut conditions = conditions(node, span, &selections, reader.faults);
    let condition = match conditions.len() {
        0 => return None,
        1 => conditions.remove(0),
        _ => Condition::Or(conditions),
    };
    let custom = reader.rest();
    let file = Arc::clone(reader.file);
    let (logsource, rules) = (logsource?, rules?);
    let span = reader.span;
    Some(Filter {
        id,
        name,
        title,
        description,
        logsource,
        rules,
        selections,
        condition,
        custom,
        file,
        span,
    })
}

fn filtered_rules(node: &Node, span: Span, faults: &mut Faults) -> Option<FilteredRules> {
    let Some(rules) = node.get("rules") else {
        faults.push(
            Diagnostic::error(Code::Missing, span, "`rules` is missing")
                .with_help("name the rules by id or name, or write `rules: any`"),
        );
        return None;
    };
    if matches!(&rules.kind, Kind::Text(word) if word == "any") {
        return Some(FilteredRules::Any);
    }
    let references = references(rules, faults);
    if references.is_empty() {
        faults.error(Code::Missing, rules.span, "`rules` names no rule");
        return None;
    }
    Some(FilteredRules::Named(references))
}

/// Reads a list of ids or names of rules.
pub(super) fn references(node: &Node, faults: &mut Faults) -> Vec<Reference> {
    let mut references = Vec::new();
    for item in node.one_or_more() {
        match item.to_text() {
            Some(rule) => references.push(Reference { rule, span: item.span }),
            None => {
                let message =
                    format!("a rule's id or name should stand here, not {}", item.describe());
                faults.error(Code::WrongType, item.span, message);
            }
        }
    }
    references
}

fn logsource(reader: &mut Reader<'_>) -> Option<Logsource> {
    let node = reader.need("logsource", "a rule")?;
    if node.as_map().is_none() {
        reader.wrong(node, "logsource", "a map of `category`, `product` and `service`");
        return None;
    }
    let mut part = |key: &str| {
        let value = node.get(key).filter(|value| value.kind != Kind::Null)?;
        let text = value.to_text();
        if text.is_none() {
            reader.wrong(value, key, "a text");
        }
        text
    };
    Some(Logsource {
        product: part("product"),
        category: part("category"),
        service: part("service"),
        definition: part("definition"),
    })
}

/// The most selections of one rule; a condition may mean all of them many times. Public rules have
/// up to 34.
const SELECTIONS_MAX: usize = 500;

fn selections(entries: &[(Key, Node)], others: &[&str], faults: &mut Faults) -> Vec<Selection> {
    let mut selections = Vec::new();
    for (key, node) in entries {
        if others.contains(&key.text.as_str()) {
            continue;
        }
        if selections.len() == SELECTIONS_MAX {
            let message = format!("there are more than {SELECTIONS_MAX} selections");
            faults.error(Code::TooLarge, key.span, message);
            break;
        }
        if let Some(body) = selection_body(node, key.span, faults) {
            selections.push(Selection { name: key.text.as_str().into(), body, span: key.span });
        }
    }
    if selections.is_empty() && faults.errors() == 0 {
        let span = entries.first().map_or(Span::default(), |(key, _)| key.span);
        faults.error(Code::Missing, span, "there is no selection");
    }
    selections
}

/// Reads the body of a selection: a map, a list of maps or keywords, or one keyword.
pub(crate) fn selection_body(node: &Node, key: Span, faults: &mut Faults) -> Option<Body> {
    match &node.kind {
        Kind::Map(entries) => map_body(entries, node.span, faults),
        Kind::List(items) => {
            let mut parts = Vec::new();
            let mut keywords = Vec::new();
            for item in items {
                match &item.kind {
                    Kind::Map(entries) => parts.extend(map_body(entries, item.span, faults)),
                    Kind::List(_) => {
                        let message = "a list in a list means nothing in a selection";
                        faults.error(Code::WrongType, item.span, message);
                    }
                    _ => keywords.extend(keyword(item, faults)),
                }
            }
            if !keywords.is_empty() {
                parts.push(keyword_body(keywords, key));
            }
            if items.is_empty() {
                faults.error(Code::Missing, key, "this selection is an empty list");
            }
            match parts.len() {
                0 => None,
                1 => parts.pop(),
                _ => Some(Body::Any(parts)),
            }
        }
        Kind::Null => {
            faults.push(
                Diagnostic::error(Code::Missing, key, "this selection is empty")
                    .with_help("give it a field and a value, or a list of keywords"),
            );
            None
        }
        _ => Some(keyword_body(vec![keyword(node, faults)?], key)),
    }
}

fn map_body(entries: &[(Key, Node)], span: Span, faults: &mut Faults) -> Option<Body> {
    if entries.is_empty() {
        faults.error(Code::Missing, span, "this map has no field");
        return None;
    }
    let parts: Vec<Body> =
        entries.iter().filter_map(|(key, node)| item(key, node, faults)).map(Body::Item).collect();
    Some(Body::All(parts))
}

fn keyword_body(values: Vec<Value>, span: Span) -> Body {
    Body::Item(Item { field: None, modifiers: Vec::new(), values, span, applied: Vec::new() })
}

fn keyword(node: &Node, faults: &mut Faults) -> Option<Value> {
    if node.kind == Kind::Null {
        faults.error(Code::WrongType, node.span, "a keyword can't be null");
        return None;
    }
    value(node, faults)
}

/// Reads `field|modifier|modifier: values`.
fn item(key: &Key, node: &Node, faults: &mut Faults) -> Option<Item> {
    let mut words = key.text.split('|');
    let field = words.next().map(str::trim).unwrap_or_default();
    let mut modifiers = Vec::new();
    let mut known = true;
    for word in words {
        match Modifier::from_word(word.trim()) {
            Some(modifier) => modifiers.push(modifier),
            None => {
                known = false;
                let message = format!("there is no modifier `{word}`");
                faults.push(
                    Diagnostic::error(Code::UnknownModifier, word_span(key, word), message)
                        .with_help(suggest::help(word, Modifier::words())),
                );
            }
        }
    }
    let values: Vec<Value> = match &node.kind {
        Kind::List(items) if items.is_empty() => {
            faults.error(Code::Missing, key.span, "an empty list of values can never match");
            return None;
        }
        Kind::List(items) => items.iter().filter_map(|node| value(node, faults)).collect(),
        _ => value(node, faults).into_iter().collect(),
    };
    if values.is_empty() || !known {
        return None;
    }
    let field = (!field.is_empty()).then(|| field.to_owned());
    Some(Item { field, modifiers, values, span: key.span, applied: Vec::new() })
}

/// Where a word stands within a key; the whole key when the key is quoted in some odd way.
fn word_span(key: &Key, word: &str) -> Span {
    let Some((before, _)) = key.text.split_once(&format!("|{word}")) else { return key.span };
    let characters = |text: &str| u32::try_from(text.chars().count()).unwrap_or(0);
    let quote = key.span.length.saturating_sub(characters(&key.text)) / 2;
    Span {
        line: key.span.line,
        column: key.span.column + quote + characters(before) + 1,
        length: characters(word).max(1),
    }
}

fn value(node: &Node, faults: &mut Faults) -> Option<Value> {
    let kind = match &node.kind {
        Kind::Null => ValueKind::Null,
        Kind::Bool(value) => ValueKind::Bool(*value),
        Kind::Number(raw) => ValueKind::Number(raw.clone()),
        Kind::Text(text) => ValueKind::Text(text.clone()),
        Kind::List(_) | Kind::Map(_) => {
            let message = format!("a value can't be {}", node.describe());
            faults.error(Code::WrongType, node.span, message);
            return None;
        }
    };
    Some(Value { kind, span: node.span })
}

fn conditions(
    node: &Node,
    of: Span,
    selections: &[Selection],
    faults: &mut Faults,
) -> Vec<Condition> {
    let Some((key, node)) = node.entry("condition") else {
        faults.push(
            Diagnostic::error(Code::Missing, of, "`condition` is missing")
                .with_help("say which selections must hold, such as `condition: selection`"),
        );
        return Vec::new();
    };
    if node.one_or_more().is_empty() {
        faults.error(Code::Missing, key.span, "`condition` is empty");
    }
    let mut conditions = Vec::new();
    for item in node.one_or_more() {
        let Kind::Text(text) = &item.kind else {
            let message = format!("a condition is a text, but this is {}", item.describe());
            faults.error(Code::WrongType, item.span, message);
            continue;
        };
        // With another fault in the selections, a name may be missing only because of it.
        let parsed = condition_at(text, item.span).and_then(|condition| match faults.errors() {
            0 => condition.check(selections).map(|()| condition),
            _ => Ok(condition),
        });
        match parsed {
            Ok(condition) => conditions.push(condition),
            Err(fault) => faults.push(fault),
        }
    }
    conditions
}

/// Parses a condition that stands at `span`, with columns when it stands there as it is.
pub(super) fn condition_at(text: &str, span: Span) -> Result<Condition, Diagnostic> {
    let characters = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
    match span.length.checked_sub(characters) {
        Some(0) => Condition::parse(text, span),
        Some(2) => Condition::parse(text, Span { column: span.column + 1, ..span }),
        _ => Condition::parse_displaced(text, span),
    }
}
