//! Filters: the same tuning for many rules, written once.
//!
//! A filter is a selection part and a condition that is put beside the rule's own: a rule then
//! matches when its condition holds *and* the filter's does, as pySigma has it. So a filter that
//! takes events out says `condition: not selection`. The specification's own example leaves out
//! the `not`; a lint points at filters that do so.

use std::sync::Arc;

use crate::condition::Condition;
use crate::correlation::Reference;
use crate::diagnostic::Span;
use crate::rule::{Logsource, Rule, Selection};

/// A filter for other rules.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    /// Its globally unique id, usually a UUID.
    pub id: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// What it takes out, in a line.
    pub title: String,
    /// What it takes out, at length.
    pub description: Option<String>,
    /// Which rules it applies to, beside those that it names: only rules of this logsource.
    pub logsource: Logsource,
    /// Which rules it applies to.
    pub rules: FilteredRules,
    /// Its selections.
    pub selections: Vec<Selection>,
    /// What must hold for a match to stay.
    pub condition: Condition,
    /// Attributes that Sigma does not know, kept as they are.
    pub custom: serde_json::Map<String, serde_json::Value>,
    /// The file it is from, as the caller named it.
    pub file: Arc<str>,
    /// Where its document begins.
    pub span: Span,
}

/// Which rules a filter applies to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilteredRules {
    /// Every rule of the filter's logsource.
    Any,
    /// These rules, by id or name.
    Named(Vec<Reference>),
}

impl Filter {
    /// Whether it applies to a rule: the rule is named, and its logsource is within the filter's.
    pub fn applies_to(&self, rule: &Rule) -> bool {
        let named = match &self.rules {
            FilteredRules::Any => true,
            FilteredRules::Named(references) => {
                references.iter().any(|reference| rule.is_called(&reference.rule))
            }
        };
        let within =
            |own: &Option<String>, of_rule: &Option<String>| own.is_none() || own == of_rule;
        named
            && within(&self.logsource.product, &rule.logsource.product)
            && within(&self.logsource.category, &rule.logsource.category)
            && within(&self.logsource.service, &rule.logsource.service)
    }
}

/// Puts every filter into the rules that it applies to. Apply filters before pipelines, so that
/// the filter's fields are mapped as the rule's own. Gives how many times a filter was put in.
pub fn apply_filters(rules: &mut [Rule], filters: &[Filter]) -> usize {
    let mut applied = 0;
    for rule in rules {
        for (number, filter) in filters.iter().enumerate() {
            if filter.applies_to(rule) {
                put_in(rule, filter, number);
                applied += 1;
            }
        }
    }
    applied
}

/// The filter's selections get names of their own, with a character that names can't hold. The
/// conditions of both are spelled out first, so that no pattern means the other's selections.
fn put_in(rule: &mut Rule, filter: &Filter, number: usize) {
    let own_name = |name: &str| -> Arc<str> { format!("filter({number}).{name}").into() };
    let mut keeps = filter.condition.spelled_out(&filter.selections);
    keeps.rename(&own_name);
    for condition in &mut rule.conditions {
        *condition = condition.spelled_out(&rule.selections).and(keeps.clone());
    }
    for selection in &filter.selections {
        rule.selections.push(Selection { name: own_name(&selection.name), ..selection.clone() });
    }
}
