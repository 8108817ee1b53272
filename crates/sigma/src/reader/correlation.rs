//! Reads a correlation rule.
//!
//! Everything that one document can show is checked here: that the condition has what its type
//! needs, that aliases name the correlation's own rules, that timespans are timespans. Whether the
//! rules exist is for `check_references`, which sees the whole set.

use std::sync::Arc;

use super::detection::{condition_at, references};
use super::{Metadata, Reader};
use crate::condition::Condition;
use crate::correlation::{
    Alias, Correlation, CorrelationCondition, CorrelationKind, Operator, Reference, Threshold,
    parse_timespan_s,
};
use crate::diagnostic::{Code, Diagnostic, Faults, Span};
use crate::suggest;
use crate::yaml::{Kind, Node, json_number};

/// Reads a correlation rule.
pub(crate) fn correlation(reader: &mut Reader<'_>) -> Option<Correlation> {
    let metadata = reader.metadata();
    let node = reader.need("correlation", "a correlation rule")?;
    let Some(entries) = node.as_map() else {
        reader.wrong(node, "correlation", "a map");
        return None;
    };
    // `generate` stands within the section or beside it; both are in use.
    let generate_beside = reader.get("generate");
    let span = reader.key_span("correlation");
    let mut section = Reader::new(entries, span, reader.file, reader.faults);
    let kind = section.need("type", "a correlation").and_then(|node| kind(node, section.faults));
    let rules = match section.need("rules", "a correlation") {
        Some(node) => references(node, section.faults),
        None => Vec::new(),
    };
    let group_by = section.texts("group-by").into_iter().map(|(text, _)| text).collect();
    let timespan_key = if section.get("timeframe").is_some() { "timeframe" } else { "timespan" };
    let timespan_s = section
        .need(timespan_key, "a correlation")
        .and_then(|node| timespan_s(node, section.faults));
    let aliases = match section.get("aliases") {
        Some(node) => aliases(node, &rules, section.faults),
        None => Vec::new(),
    };
    let condition = section.get("condition");
    let generate = section.get("generate").or(generate_beside);
    let (kind, timespan_s) = (kind?, timespan_s?);
    let condition = self::condition(condition, kind, &rules, span, section.faults)?;
    let generate = match generate.map(|node| (&node.kind, node)) {
        None => false,
        Some((Kind::Bool(value), _)) => *value,
        Some((_, node)) => {
            section.wrong(node, "generate", "true or false");
            false
        }
    };
    for (key, _) in entries {
        if !KEYS.contains(&key.text.as_str()) {
            let message = format!("a correlation has no `{}`", key.text);
            section.faults.push(
                Diagnostic::warning(Code::Correlation, key.span, message)
                    .with_help(suggest::help(&key.text, KEYS.iter().copied())),
            );
        }
    }
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
    Some(Correlation {
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
        kind,
        rules,
        group_by,
        timespan_s,
        condition,
        aliases,
        generate,
        custom: reader.rest(),
        file: Arc::clone(reader.file),
        span: reader.span,
    })
}

const KEYS: &[&str] =
    &["type", "rules", "group-by", "timespan", "timeframe", "condition", "aliases", "generate"];

fn kind(node: &Node, faults: &mut Faults) -> Option<CorrelationKind> {
    let word = node.to_text().unwrap_or_default();
    let kind = CorrelationKind::from_word(&word);
    if kind.is_none() {
        let known = CorrelationKind::ALL.iter().map(|kind| kind.as_str());
        faults.push(
            Diagnostic::error(
                Code::UnknownValue,
                node.span,
                format!("`{word}` is not a type of correlation"),
            )
            .with_help(suggest::help(&word, known)),
        );
    }
    kind
}

fn timespan_s(node: &Node, faults: &mut Faults) -> Option<u64> {
    let text = node.to_text().unwrap_or_default();
    let seconds = parse_timespan_s(&text);
    if seconds.is_none() {
        faults.push(
            Diagnostic::error(Code::Value, node.span, format!("`{text}` is not a timespan"))
                .with_help("write a whole number and s, m, h, d or w, such as `90m`"),
        );
    }
    seconds
}

fn aliases(node: &Node, rules: &[Reference], faults: &mut Faults) -> Vec<Alias> {
    let Some(entries) = node.as_map() else {
        faults.error(Code::WrongType, node.span, "`aliases` should be a map of maps");
        return Vec::new();
    };
    let mut aliases = Vec::new();
    for (name, node) in entries {
        let mut fields = Vec::new();
        for (rule, field) in node.as_map().unwrap_or_default() {
            let Some(field) = field.to_text() else {
                faults.error(Code::WrongType, field.span, "a field's name should stand here");
                continue;
            };
            if !rules.iter().any(|known| known.rule == rule.text) {
                let message = format!("`{}` is none of this correlation's rules", rule.text);
                let known = rules.iter().map(|known| known.rule.as_str());
                faults.push(
                    Diagnostic::error(Code::UnknownRule, rule.span, message)
                        .with_help(suggest::help(&rule.text, known)),
                );
            }
            fields.push((Reference { rule: rule.text.clone(), span: rule.span }, field));
        }
        if fields.is_empty() {
            let message = format!("the alias `{}` maps no rule to a field", name.text);
            faults.error(Code::Correlation, name.span, message);
        }
        aliases.push(Alias { name: name.text.clone(), fields });
    }
    aliases
}

fn condition(
    node: Option<&Node>,
    kind: CorrelationKind,
    rules: &[Reference],
    section: Span,
    faults: &mut Faults,
) -> Option<CorrelationCondition> {
    let Some(node) = node else {
        if kind.is_temporal() {
            let tests = vec![(Operator::Gte, rules.len() as f64)];
            return Some(CorrelationCondition::Threshold(Threshold {
                tests,
                fields: Vec::new(),
                percentile: None,
            }));
        }
        faults.push(
            Diagnostic::error(Code::Missing, section, "`condition` is missing")
                .with_help("say how many, such as `condition: {gte: 10}`"),
        );
        return None;
    };
    match &node.kind {
        Kind::Map(_) => threshold(node, kind, faults).map(CorrelationCondition::Threshold),
        Kind::Text(text) if kind.is_temporal() => match condition_at(text, node.span) {
            Ok(condition) => rule_names(&condition, rules, faults)
                .then_some(CorrelationCondition::Rules(condition)),
            Err(fault) => {
                faults.push(fault);
                None
            }
        },
        _ => {
            let message = format!("`condition` should be a map, but is {}", node.describe());
            faults.push(
                Diagnostic::error(Code::WrongType, node.span, message)
                    .with_help("write it as `condition: {gte: 10}`"),
            );
            None
        }
    }
}

/// Whether a condition over rules uses only this correlation's rules.
fn rule_names(condition: &Condition, rules: &[Reference], faults: &mut Faults) -> bool {
    match condition {
        Condition::And(parts) | Condition::Or(parts) | Condition::AtLeast(_, parts) => {
            parts.iter().all(|part| rule_names(part, rules, faults))
        }
        Condition::Not(part) => rule_names(part, rules, faults),
        Condition::Selection(name, span) => {
            let known = rules.iter().any(|rule| rule.rule == **name);
            if !known {
                let message = format!("`{name}` is none of this correlation's rules");
                let names = rules.iter().map(|rule| rule.rule.as_str());
                faults.push(
                    Diagnostic::error(Code::UnknownRule, *span, message)
                        .with_help(suggest::help(name, names)),
                );
            }
            known
        }
        Condition::Of(_, _, span) => {
            let message = "a condition over rules names them one by one";
            faults.error(Code::Condition, *span, message);
            false
        }
    }
}

fn threshold(node: &Node, kind: CorrelationKind, faults: &mut Faults) -> Option<Threshold> {
    let before = faults.errors();
    let mut threshold = Threshold { tests: Vec::new(), fields: Vec::new(), percentile: None };
    for (key, value) in node.as_map().unwrap_or_default() {
        match (key.text.as_str(), number(value)) {
            ("field", _) => {
                threshold.fields.extend(value.one_or_more().iter().filter_map(Node::to_text));
            }
            ("percentile", Some(percentile)) if percentile > 0.0 && percentile <= 100.0 => {
                threshold.percentile = Some(percentile);
            }
            ("percentile", _) => {
                let message = "a percentile is a number above 0 and up to 100";
                faults.error(Code::Value, value.span, message);
            }
            (word, number) => match (Operator::from_word(word), number) {
                (Some(operator), Some(number)) => threshold.tests.push((operator, number)),
                (Some(_), None) => {
                    let message = format!("`{word}` needs a number, not {}", value.describe());
                    faults.error(Code::WrongType, value.span, message);
                }
                (None, _) => {
                    let known = Operator::ALL.iter().map(|operator| operator.as_str());
                    let known = known.chain(["field", "percentile"]);
                    let message = format!("`{word}` is not part of a correlation's condition");
                    faults.push(
                        Diagnostic::error(Code::UnknownValue, key.span, message)
                            .with_help(suggest::help(word, known)),
                    );
                }
            },
        }
    }
    let mut need = |is_missing: bool, what: &str| {
        if is_missing {
            let message = format!("the condition of `{}` needs {what}", kind.as_str());
            faults.error(Code::Missing, node.span, message);
        }
    };
    need(threshold.tests.is_empty(), "one of gt, gte, lt, lte, eq, neq and a number");
    need(kind.needs_field() && threshold.fields.is_empty(), "`field`");
    let percentile = kind == CorrelationKind::ValuePercentile && threshold.percentile.is_none();
    need(percentile, "`percentile`");
    (faults.errors() == before).then_some(threshold)
}

fn number(node: &Node) -> Option<f64> {
    match &node.kind {
        Kind::Number(raw) => json_number(raw)?.as_f64(),
        _ => None,
    }
}
