//! What a pipeline's item does to a rule.
//!
//! Some transformations work on the rule as a whole, the others on one detection item at a time;
//! an item may become none (dropped) or several (a field with several names), which are then
//! linked by `or`. Field names also stand in the values of `fieldref` and in the rule's `fields`,
//! and are changed there by the same conditions.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use regex::Regex;

use super::{Pipeline, ProcessingItem};
use crate::condition::Condition;
use crate::diagnostic::{Code, Diagnostic, Span};
use crate::modifier::Modifier;
use crate::rule::{Body, Item, Rule, Selection, Value, ValueKind};
use crate::values::split_placeholder;

/// The most values that placeholders may expand one item to.
pub(super) const EXPANDED_VALUES_MAX: usize = 10_000;

/// A transformation and its parameters.
#[derive(Debug, Clone)]
pub(super) enum Transformation {
    Rename(Rename),
    DropItem,
    AddCondition { name: Arc<str>, body: Body, negated: bool, template: bool },
    ChangeLogsource { product: Option<String>, category: Option<String>, service: Option<String> },
    ReplaceString { pattern: Regex, replacement: String },
    MapString(HashMap<String, Vec<String>>),
    Case(Case),
    SetValue(ValueKind),
    ConvertType { to_number: bool },
    Placeholders { from_vars: bool, include: Option<Vec<String>>, exclude: Vec<String> },
    AddField(Vec<String>),
    RemoveField(Vec<String>),
    SetField(Vec<String>),
    SetState { key: String, value: String },
    SetAttribute { attribute: String, value: serde_json::Value },
    RuleFailure(String),
    ItemFailure(String),
    Nest(Vec<ProcessingItem>),
}

/// A change of field names.
#[derive(Debug, Clone)]
pub(super) enum Rename {
    Mapping(HashMap<String, Vec<String>>),
    PrefixMapping(Vec<(String, Vec<String>)>),
    Prefix(String),
    Suffix(String),
    Function { case: Case, mapping: HashMap<String, String> },
}

/// A change of letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    Lower,
    Upper,
    Title,
    Snake,
}

/// What happened to a rule so far.
#[derive(Debug, Default)]
pub(super) struct State {
    values: HashMap<String, String>,
    applied: HashSet<Arc<str>>,
    /// For each item's id, the field names that it made.
    made: HashMap<Arc<str>, HashSet<String>>,
}

impl State {
    pub(super) fn was_applied(&self, id: &str) -> bool {
        self.applied.contains(id)
    }

    pub(super) fn is(&self, key: &str, value: &str) -> bool {
        self.values.get(key).is_some_and(|own| own == value)
    }

    pub(super) fn made(&self, id: &str, field: &str) -> bool {
        self.made.get(id).is_some_and(|fields| fields.contains(field))
    }

    fn note(&mut self, item: &ProcessingItem, field: &str) {
        if let Some(id) = &item.id {
            self.made.entry(id.clone()).or_default().insert(field.to_owned());
        }
    }
}

/// Applies one item to a rule, if its conditions hold.
pub(super) fn run(
    item: &ProcessingItem,
    pipeline: &Pipeline,
    rule: &mut Rule,
    state: &mut State,
) -> Result<(), Diagnostic> {
    if !item.rule_conditions.hold(|test| test.holds(rule, state)) {
        return Ok(());
    }
    match &item.transformation {
        Transformation::AddCondition { name, body, negated, template } => {
            add_condition(rule, name, body, *negated, *template);
        }
        Transformation::ChangeLogsource { product, category, service } => {
            rule.logsource.product.clone_from(product);
            rule.logsource.category.clone_from(category);
            rule.logsource.service.clone_from(service);
        }
        Transformation::SetState { key, value } => {
            state.values.insert(key.clone(), value.clone());
        }
        Transformation::SetAttribute { attribute, value } => {
            rule.custom.insert(attribute.clone(), value.clone());
        }
        Transformation::AddField(fields) => rule.fields.extend(fields.iter().cloned()),
        Transformation::RemoveField(fields) => rule.fields.retain(|own| !fields.contains(own)),
        Transformation::SetField(fields) => rule.fields.clone_from(fields),
        Transformation::RuleFailure(message) => {
            return Err(refusal(item, pipeline, rule, rule.span, message));
        }
        Transformation::Nest(items) => {
            for nested in items {
                run(nested, pipeline, rule, state)?;
            }
        }
        Transformation::Rename(rename) => {
            rename_fields(rule, item, rename, state);
            on_items(item, pipeline, rule, state)?;
        }
        _ => on_items(item, pipeline, rule, state)?,
    }
    state.applied.extend(item.id.clone());
    Ok(())
}

/// Applies what works on single detection items.
fn on_items(
    item: &ProcessingItem,
    pipeline: &Pipeline,
    rule: &mut Rule,
    state: &mut State,
) -> Result<(), Diagnostic> {
    let mut selections = std::mem::take(&mut rule.selections);
    let mut outcome = Ok(());
    for selection in &mut selections {
        let body = std::mem::replace(&mut selection.body, Body::All(Vec::new()));
        match rewrite(body, &mut |detection| one_item(item, pipeline, rule, state, detection)) {
            Ok(body) => selection.body = body,
            Err(fault) => {
                outcome = Err(fault);
                break;
            }
        }
    }
    rule.selections = selections;
    outcome
}

/// Rebuilds a body with every item replaced by none, one or several.
fn rewrite(
    body: Body,
    change: &mut impl FnMut(Item) -> Result<Vec<Item>, Diagnostic>,
) -> Result<Body, Diagnostic> {
    let mut each = |parts: Vec<Body>| -> Result<Vec<Body>, Diagnostic> {
        parts.into_iter().map(|part| rewrite(part, change)).collect()
    };
    Ok(match body {
        Body::All(parts) => Body::All(each(parts)?),
        Body::Any(parts) => Body::Any(each(parts)?),
        Body::Item(item) => {
            let mut items = change(item)?;
            match items.len() {
                1 => Body::Item(items.remove(0)),
                _ => Body::Any(items.into_iter().map(Body::Item).collect()),
            }
        }
    })
}

fn one_item(
    item: &ProcessingItem,
    pipeline: &Pipeline,
    rule: &Rule,
    state: &mut State,
    mut detection: Item,
) -> Result<Vec<Item>, Diagnostic> {
    if !item.item_conditions.hold(|test| test.holds(&detection, state)) {
        return Ok(vec![detection]);
    }
    if let Transformation::Rename(rename) = &item.transformation {
        if detection.modifiers.contains(&Modifier::FieldRef) {
            rename_references(&mut detection, item, rename, state);
        }
        return Ok(rename_item(detection, item, rename, state));
    }
    let field = detection.field.as_deref();
    if !item.field_conditions.hold(|test| test.holds(field, &detection.applied, state)) {
        return Ok(vec![detection]);
    }
    match &item.transformation {
        Transformation::DropItem => return Ok(Vec::new()),
        Transformation::ItemFailure(message) => {
            return Err(refusal(item, pipeline, rule, detection.span, message));
        }
        Transformation::ReplaceString { pattern, replacement } => {
            for_each_text(&mut detection, |text| {
                pattern.replace_all(text, replacement.as_str()).into_owned()
            });
        }
        Transformation::MapString(mapping) => {
            let values = std::mem::take(&mut detection.values);
            for value in values {
                let mapped = match &value.kind {
                    ValueKind::Text(text) => mapping.get(text),
                    _ => None,
                };
                match mapped {
                    None => detection.values.push(value),
                    Some(texts) => detection.values.extend(texts.iter().map(|text| Value {
                        kind: ValueKind::Text(text.clone()),
                        span: value.span,
                    })),
                }
            }
        }
        Transformation::Case(case) => for_each_text(&mut detection, |text| case.apply(text)),
        Transformation::SetValue(kind) => {
            for value in &mut detection.values {
                value.kind = kind.clone();
            }
            detection.values.truncate(1);
        }
        Transformation::ConvertType { to_number } => {
            for value in &mut detection.values {
                value.kind = converted(&value.kind, *to_number);
            }
        }
        Transformation::Placeholders { from_vars, include, exclude } => {
            if detection.modifiers.contains(&Modifier::Expand) {
                let vars = from_vars.then_some(&pipeline.vars);
                let fills = |name: &str| {
                    include.as_ref().is_none_or(|names| names.iter().any(|own| own == name))
                        && !exclude.iter().any(|own| own == name)
                };
                fill_placeholders(&mut detection, vars, fills)
                    .map_err(|fault| fault.in_file(&rule.file))?;
            }
        }
        _ => return Ok(vec![detection]),
    }
    detection.applied.extend(item.id.clone());
    Ok(vec![detection])
}

fn rename_item(
    detection: Item,
    item: &ProcessingItem,
    rename: &Rename,
    state: &mut State,
) -> Vec<Item> {
    let field = detection.field.as_deref();
    if !item.field_conditions.hold(|test| test.holds(field, &detection.applied, state)) {
        return vec![detection];
    }
    let Some(names) = field.and_then(|field| rename.apply(field)) else { return vec![detection] };
    names
        .into_iter()
        .map(|name| {
            state.note(item, &name);
            let mut copy = Item { field: Some(name), ..detection.clone() };
            copy.applied.extend(item.id.clone());
            copy
        })
        .collect()
}

/// The values of `fieldref` are names of fields, too.
fn rename_references(
    detection: &mut Item,
    item: &ProcessingItem,
    rename: &Rename,
    state: &mut State,
) {
    let values = std::mem::take(&mut detection.values);
    for value in values {
        let names = match &value.kind {
            ValueKind::Text(name) => renamed(name, item, rename, state),
            _ => None,
        };
        match names {
            None => detection.values.push(value),
            Some(names) => detection.values.extend(
                names
                    .into_iter()
                    .map(|name| Value { kind: ValueKind::Text(name), span: value.span }),
            ),
        }
    }
}

/// The fields that the rule wants shown.
fn rename_fields(rule: &mut Rule, item: &ProcessingItem, rename: &Rename, state: &mut State) {
    let fields = std::mem::take(&mut rule.fields);
    for field in fields {
        match renamed(&field, item, rename, state) {
            None => rule.fields.push(field),
            Some(names) => rule.fields.extend(names),
        }
    }
}

fn renamed(
    name: &str,
    item: &ProcessingItem,
    rename: &Rename,
    state: &mut State,
) -> Option<Vec<String>> {
    if !item.field_conditions.hold(|test| test.holds(Some(name), &[], state)) {
        return None;
    }
    let names = rename.apply(name)?;
    for name in &names {
        state.note(item, name);
    }
    Some(names)
}

impl Rename {
    fn apply(&self, field: &str) -> Option<Vec<String>> {
        match self {
            Rename::Mapping(mapping) => mapping.get(field).cloned(),
            Rename::PrefixMapping(mapping) => mapping.iter().find_map(|(prefix, names)| {
                let rest = field.strip_prefix(prefix.as_str())?;
                Some(names.iter().map(|name| format!("{name}{rest}")).collect())
            }),
            Rename::Prefix(prefix) => Some(vec![format!("{prefix}{field}")]),
            Rename::Suffix(suffix) => Some(vec![format!("{field}{suffix}")]),
            Rename::Function { case, mapping } => Some(vec![match mapping.get(field) {
                Some(name) => name.clone(),
                None => case.apply(field),
            }]),
        }
    }
}

impl Case {
    pub(super) fn apply(self, text: &str) -> String {
        match self {
            Case::Lower => text.to_lowercase(),
            Case::Upper => text.to_uppercase(),
            Case::Title => {
                let mut out = String::with_capacity(text.len());
                let mut begins = true;
                for c in text.chars() {
                    match begins {
                        true => out.extend(c.to_uppercase()),
                        false => out.extend(c.to_lowercase()),
                    }
                    begins = !c.is_alphanumeric();
                }
                out
            }
            Case::Snake => {
                let mut out = String::with_capacity(text.len() + 4);
                let mut after_lower = false;
                for c in text.chars() {
                    if c.is_uppercase() && after_lower {
                        out.push('_');
                    }
                    after_lower = c.is_lowercase() || c.is_numeric();
                    match c {
                        '-' | ' ' => out.push('_'),
                        _ => out.extend(c.to_lowercase()),
                    }
                }
                out
            }
        }
    }
}

fn for_each_text(item: &mut Item, change: impl Fn(&str) -> String) {
    for value in &mut item.values {
        if let ValueKind::Text(text) = &mut value.kind {
            *text = change(text);
        }
    }
}

fn converted(kind: &ValueKind, to_number: bool) -> ValueKind {
    match (kind, to_number) {
        (ValueKind::Number(raw), false) => ValueKind::Text(raw.clone()),
        (ValueKind::Bool(value), false) => ValueKind::Text(value.to_string()),
        (ValueKind::Text(text), true) if text.parse::<f64>().is_ok_and(f64::is_finite) => {
            ValueKind::Number(text.clone())
        }
        (kind, _) => kind.clone(),
    }
}

/// Fills placeholders with the values of variables, or with wildcards when there are no `vars`.
/// A placeholder without a value stays, and the rule is refused when it is resolved.
fn fill_placeholders(
    item: &mut Item,
    vars: Option<&HashMap<String, Vec<Value>>>,
    fills: impl Fn(&str) -> bool,
) -> Result<(), Diagnostic> {
    let wildcard = if item.modifiers.contains(&Modifier::Re) { ".*" } else { "*" };
    let mut filled: Vec<Value> = Vec::new();
    // Each value is done up to a byte; what is before it has no placeholder to fill any more.
    let mut open: Vec<(String, String, &ValueKind, Span)> = Vec::new();
    let values = std::mem::take(&mut item.values);
    for value in values.iter().rev() {
        let text = match &value.kind {
            ValueKind::Text(text) => text.clone(),
            _ => String::new(),
        };
        open.push((String::new(), text, &value.kind, value.span));
    }
    while let Some((done, rest, kind, span)) = open.pop() {
        if filled.len() + open.len() > EXPANDED_VALUES_MAX {
            let message =
                format!("its placeholders expand to more than {EXPANDED_VALUES_MAX} values");
            return Err(Diagnostic::error(Code::RuleTooLarge, span, message));
        }
        let Some((before, name, after)) = split_placeholder(&rest) else {
            let kind = match kind {
                ValueKind::Text(_) => ValueKind::Text(done + &rest),
                other => other.clone(),
            };
            filled.push(Value { kind, span });
            continue;
        };
        let texts: Vec<String> = match vars {
            _ if !fills(name) => vec![format!("%{name}%")],
            None => vec![wildcard.to_owned()],
            Some(vars) => match vars.get(name) {
                None => vec![format!("%{name}%")],
                Some(values) => values.iter().filter_map(|value| value.kind.as_fill()).collect(),
            },
        };
        for text in texts.iter().rev() {
            open.push((format!("{done}{before}{text}"), after.to_owned(), kind, span));
        }
    }
    item.values = filled;
    Ok(())
}

impl ValueKind {
    /// The text that fills a placeholder; its own percent signs are plain.
    fn as_fill(&self) -> Option<String> {
        match self {
            ValueKind::Text(text) | ValueKind::Number(text) => Some(text.replace('%', "\\%")),
            ValueKind::Bool(value) => Some(value.to_string()),
            ValueKind::Null => None,
        }
    }
}

fn add_condition(rule: &mut Rule, name: &str, body: &Body, negated: bool, template: bool) {
    let mut unique: Arc<str> = name.into();
    let mut number = 1;
    while rule.selection(&unique).is_some() {
        number += 1;
        unique = format!("{name}.{number}").into();
    }
    let mut body = body.clone();
    if template {
        fill_template(&mut body, rule);
    }
    rule.selections.push(Selection { name: unique.clone(), body, span: rule.span });
    for condition in &mut rule.conditions {
        let added = Condition::Selection(unique.clone(), rule.span);
        let added = if negated { Condition::Not(Box::new(added)) } else { added };
        let own = std::mem::replace(condition, Condition::And(Vec::new()));
        *condition = own.and(added);
    }
}

fn fill_template(body: &mut Body, rule: &Rule) {
    match body {
        Body::All(parts) | Body::Any(parts) => {
            for part in parts {
                fill_template(part, rule);
            }
        }
        Body::Item(item) => {
            let part = |part: &Option<String>| part.clone().unwrap_or_default();
            for_each_text(item, |text| {
                ["category", "product", "service"]
                    .iter()
                    .zip([
                        &rule.logsource.category,
                        &rule.logsource.product,
                        &rule.logsource.service,
                    ])
                    .fold(text.to_owned(), |text, (name, value)| {
                        text.replace(&format!("${{{name}}}"), &part(value))
                            .replace(&format!("${name}"), &part(value))
                    })
            });
        }
    }
}

fn refusal(
    item: &ProcessingItem,
    pipeline: &Pipeline,
    rule: &Rule,
    span: Span,
    message: &str,
) -> Diagnostic {
    let line = item.span.line;
    Diagnostic::error(Code::RefusedByPipeline, span, message)
        .with_help(format!("the pipeline `{}` says so ({}:{line})", pipeline.name, pipeline.file))
        .in_file(&rule.file)
}
