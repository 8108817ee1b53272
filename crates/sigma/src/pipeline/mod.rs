//! Processing pipelines in pySigma's form: they turn a rule's native names into an event's.
//!
//! A pipeline is a list of items, each a transformation with conditions: on the rule, on the
//! detection item, on the field's name. They are applied in order of priority, item by item, to a
//! rule in its written form. The built-in ones map the fields of each logsource to the event model
//! and are this project's own (`detections/pipelines`); users add theirs.

mod conditions;
mod read;
mod read_conditions;
mod transform;

use std::collections::HashMap;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Span};
use crate::rule::{Body, Item, Rule, Selection, Value, ValueKind};

use conditions::{Conditions, FieldTest, ItemTest, RuleTest};
use transform::Transformation;

/// A processing pipeline.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// Its name.
    pub name: String,
    /// Lower ones are applied first.
    pub priority: i64,
    /// Values for placeholders.
    pub vars: HashMap<String, Vec<Value>>,
    /// The file it is from, as the caller named it.
    pub file: Arc<str>,
    items: Vec<ProcessingItem>,
}

/// One step of a pipeline.
#[derive(Debug, Clone)]
struct ProcessingItem {
    id: Option<Arc<str>>,
    span: Span,
    transformation: Transformation,
    rule_conditions: Conditions<RuleTest>,
    item_conditions: Conditions<ItemTest>,
    field_conditions: Conditions<FieldTest>,
}

impl Pipeline {
    /// Parses a pipeline's YAML; `file` is its name in diagnostics.
    pub fn parse(text: &str, file: &str) -> Result<Pipeline, Vec<Diagnostic>> {
        read::pipeline(text, file)
    }

    /// How many items it has.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether it does nothing.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

/// Applies pipelines to a rule, in the order of their priorities, and among equals in the order
/// given. The rule's conditions are spelled out first, so that what a pipeline adds is not meant
/// by the rule's patterns.
pub fn apply(rule: &mut Rule, pipelines: &[Pipeline]) -> Result<(), Diagnostic> {
    for condition in &mut rule.conditions {
        *condition = condition.spelled_out(&rule.selections);
    }
    let mut ordered: Vec<&Pipeline> = pipelines.iter().collect();
    ordered.sort_by_key(|pipeline| pipeline.priority);
    let mut state = transform::State::default();
    for pipeline in ordered {
        for item in &pipeline.items {
            transform::run(item, pipeline, rule, &mut state)?;
        }
    }
    Ok(())
}

/// The names that a native field of a rule has after its pipelines: for the fields of a
/// correlation, or those a rule wants shown. More than one when a mapping has several.
pub fn map_field(
    rule: &Rule,
    field: &str,
    pipelines: &[Pipeline],
) -> Result<Vec<String>, Diagnostic> {
    let item = Item {
        field: Some(field.to_owned()),
        modifiers: Vec::new(),
        values: vec![Value { kind: ValueKind::Null, span: rule.span }],
        span: rule.span,
        applied: Vec::new(),
    };
    let name: Arc<str> = "field".into();
    let mut probe = rule.clone();
    probe.selections.push(Selection { name, body: Body::Item(item), span: rule.span });
    let place = probe.selections.len() - 1;
    apply(&mut probe, pipelines)?;
    let mut names = Vec::new();
    if let Some(selection) = probe.selections.get(place) {
        selection.body.for_each_item(&mut |item| names.extend(item.field.clone()));
    }
    Ok(names)
}

/// The built-in pipelines, which map every logsource's native fields to the event model.
pub fn builtin() -> Vec<Pipeline> {
    BUILTIN
        .iter()
        .map(|(file, text)| match Pipeline::parse(text, file) {
            Ok(pipeline) => pipeline,
            Err(faults) => {
                let faults: Vec<String> = faults.iter().map(|fault| fault.to_string()).collect();
                panic!("a built-in pipeline is wrong: {}", faults.join("; "))
            }
        })
        .collect()
}

macro_rules! builtin_files {
    ($($name:literal),* $(,)?) => {
        &[$((
            concat!("detections/pipelines/", $name),
            include_str!(concat!("../../../../detections/pipelines/", $name)),
        )),*]
    };
}

const BUILTIN: &[(&str, &str)] =
    builtin_files!["windows.yml", "unix.yml", "cloud.yml", "network.yml",];
