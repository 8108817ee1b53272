//! How a detection is written.
//!
//! These lints look at the rule's own words, before anything is resolved: what does nothing, what
//! stands twice, what YAML reads otherwise than it looks.

use std::collections::HashSet;

use crate::diagnostic::{Code, Diagnostic, Severity};
use crate::modifier::Modifier;
use crate::rule::{Item, Rule, ValueKind};
use crate::yaml::json_number;

/// Every lint about how a detection is written.
pub(super) fn all(rule: &Rule, found: &mut Vec<Diagnostic>) {
    unused_selections(rule, found);
    rule.for_each_item(|item| {
        single_all(item, found);
        duplicate_values(item, found);
        redundant_wildcards(item, found);
        number_forms(item, found);
    });
}

fn unused_selections(rule: &Rule, found: &mut Vec<Diagnostic>) {
    let mut used = HashSet::new();
    for condition in &rule.conditions {
        condition.for_each_used(&rule.selections, &mut |name| _ = used.insert(name));
    }
    for selection in &rule.selections {
        if !used.contains(&*selection.name) {
            let message = format!("no condition uses the selection `{}`", selection.name);
            found.push(Diagnostic::warning(Code::UnusedSelection, selection.span, message));
        }
    }
}

fn single_all(item: &Item, found: &mut Vec<Diagnostic>) {
    if item.has(Modifier::All) && item.values.len() == 1 {
        let message = "`all` does nothing with one value";
        found.push(
            Diagnostic::warning(Code::SingleAll, item.span, message)
                .with_help("leave it out, or give a list of values"),
        );
    }
}

fn duplicate_values(item: &Item, found: &mut Vec<Diagnostic>) {
    let exact = item.has(Modifier::Cased)
        || item.has(Modifier::Re)
        || item.has(Modifier::Base64)
        || item.has(Modifier::Base64Offset);
    let mut seen = HashSet::new();
    for value in &item.values {
        let text = match &value.kind {
            ValueKind::Text(text) if exact => text.clone(),
            ValueKind::Text(text) => text.to_lowercase(),
            ValueKind::Number(raw) => raw.clone(),
            ValueKind::Bool(_) | ValueKind::Null => continue,
        };
        if !seen.insert(text) {
            let message = "this value stands in the list already";
            found.push(Diagnostic::warning(Code::DuplicateValue, value.span, message));
        }
    }
}

fn redundant_wildcards(item: &Item, found: &mut Vec<Diagnostic>) {
    let (start, end) = match () {
        () if item.has(Modifier::Re) || item.has(Modifier::Expand) => return,
        () if item.has(Modifier::Contains) => (true, true),
        () if item.has(Modifier::StartsWith) => (false, true),
        () if item.has(Modifier::EndsWith) => (true, false),
        () => return,
    };
    for value in &item.values {
        let ValueKind::Text(text) = &value.kind else { continue };
        let pieces = crate::pattern::pieces(text);
        let any = Some(&crate::expr::Piece::Any);
        if pieces.len() > 1 && ((start && pieces.first() == any) || (end && pieces.last() == any)) {
            let message = "the modifier puts a wildcard there already";
            found.push(Diagnostic::new(
                Severity::Note,
                Code::RedundantWildcard,
                value.span,
                message,
            ));
        }
    }
}

fn number_forms(item: &Item, found: &mut Vec<Diagnostic>) {
    for value in &item.values {
        let ValueKind::Number(raw) = &value.kind else { continue };
        let read = json_number(raw).map(|number| number.to_string());
        if let Some(read) = read.filter(|read| read != raw) {
            let message = format!("`{raw}` is read as the number {read}");
            found.push(
                Diagnostic::warning(Code::NumberForm, value.span, message)
                    .with_help(format!("to look for the text, write '{raw}'")),
            );
        }
    }
}
