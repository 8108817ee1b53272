//! Correlation rules: what must be seen of other rules' matches, together, in how much time.
//!
//! Parsed and checked here as far as one document shows it; that the rules it names are there, and
//! that no correlation rests on itself, only the whole set shows: [`check_references`]. Field
//! names are native ones; the pipeline of the rule that an event matched maps them.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use crate::condition::Condition;
use crate::diagnostic::{Code, Diagnostic, Span};
use crate::documents::Document;
use crate::rule::{Level, Related, Status, Tag};
use crate::suggest;

/// A correlation rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Correlation {
    /// Its globally unique id, usually a UUID.
    pub id: Option<String>,
    /// Its name, by which other correlations may refer to it.
    pub name: Option<String>,
    /// What it detects, in a line.
    pub title: String,
    /// How mature it is.
    pub status: Option<Status>,
    /// How bad it is when it fires; informational when it doesn't say.
    pub level: Level,
    /// What it detects, at length.
    pub description: Option<String>,
    /// Who wrote it.
    pub author: Option<String>,
    /// When it was made, as written.
    pub date: Option<String>,
    /// When it was last changed, as written.
    pub modified: Option<String>,
    /// Where its knowledge comes from.
    pub references: Vec<String>,
    /// Its tags, such as `attack.t1110`.
    pub tags: Vec<Tag>,
    /// What harmless things may fire it.
    pub falsepositives: Vec<String>,
    /// The fields an analyst will want to see.
    pub fields: Vec<String>,
    /// Other rules and how it relates to them.
    pub related: Vec<Related>,
    /// What it counts or looks for.
    pub kind: CorrelationKind,
    /// The rules whose matches it reads, in the order written. Never empty.
    pub rules: Vec<Reference>,
    /// Fields (or aliases) whose values together make a group.
    pub group_by: Vec<String>,
    /// How much time all that belongs together may take, in seconds. At least 1.
    pub timespan_s: u64,
    /// When it fires.
    pub condition: CorrelationCondition,
    /// Names for fields that are called differently by each rule.
    pub aliases: Vec<Alias>,
    /// The rules it reads also make alerts of their own.
    pub generate: bool,
    /// Attributes that Sigma does not know, kept as they are.
    pub custom: serde_json::Map<String, serde_json::Value>,
    /// The file it is from, as the caller named it.
    pub file: Arc<str>,
    /// Where its document begins.
    pub span: Span,
}

/// What a correlation counts or looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CorrelationKind {
    /// The number of events.
    EventCount,
    /// The number of distinct values of a field.
    ValueCount,
    /// The sum of a field's numbers.
    ValueSum,
    /// The mean of a field's numbers.
    ValueAvg,
    /// A percentile of a field's numbers.
    ValuePercentile,
    /// The median of a field's numbers.
    ValueMedian,
    /// Several rules in any order.
    Temporal,
    /// Several rules in the order written.
    TemporalOrdered,
}

/// Another rule, by id or name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The id or name, as written.
    pub rule: String,
    /// Where it stands.
    pub span: Span,
}

/// When a correlation fires.
#[derive(Debug, Clone, PartialEq)]
pub enum CorrelationCondition {
    /// The measured number passes every test.
    Threshold(Threshold),
    /// The rules that matched make a condition over their names true (temporal kinds only).
    Rules(Condition),
}

/// Tests of a measured number.
#[derive(Debug, Clone, PartialEq)]
pub struct Threshold {
    /// The tests. Never empty.
    pub tests: Vec<(Operator, f64)>,
    /// The fields whose values are counted or measured (empty for event counts and temporal
    /// kinds). With several, a value is the tuple of all of them.
    pub fields: Vec<String>,
    /// Which percentile, above 0 up to 100, for [`CorrelationKind::ValuePercentile`].
    pub percentile: Option<f64>,
}

/// How a measured number compares; the number is on the left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Operator {
    /// Less than.
    Lt,
    /// Less than or equal.
    Lte,
    /// Greater than.
    Gt,
    /// Greater than or equal.
    Gte,
    /// Equal.
    Eq,
    /// Not equal.
    Neq,
}

/// A name for a field that is called differently by each rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// The name, used in `group_by`.
    pub name: String,
    /// For each rule, by id or name, the field.
    pub fields: Vec<(Reference, String)>,
}

impl Correlation {
    /// How to call it in a message: its title, and its id when it has one.
    pub fn label(&self) -> String {
        match &self.id {
            Some(id) => format!("{} ({id})", self.title),
            None => self.title.clone(),
        }
    }

    /// Whether `reference` is its id or its name.
    pub fn is_called(&self, reference: &str) -> bool {
        let is = |own: &Option<String>| own.as_deref() == Some(reference);
        is(&self.id) || is(&self.name)
    }

    /// The field of a rule's events that a `group_by` entry means: the alias's field for that
    /// rule, given by its id and name, or else the entry itself.
    pub fn field_of<'a>(
        &'a self,
        entry: &'a str,
        rule_id: Option<&str>,
        rule_name: Option<&str>,
    ) -> &'a str {
        let alias = self.aliases.iter().find(|alias| alias.name == entry);
        let own = alias.and_then(|alias| {
            alias.fields.iter().find(|(reference, _)| {
                let rule = Some(reference.rule.as_str());
                rule == rule_id || rule == rule_name
            })
        });
        own.map_or(entry, |(_, field)| field.as_str())
    }
}

impl Threshold {
    /// Whether a measured number passes every test.
    pub fn holds(&self, measured: f64) -> bool {
        self.tests.iter().all(|(operator, value)| operator.holds(measured, *value))
    }
}

impl CorrelationKind {
    /// Every kind.
    pub const ALL: [CorrelationKind; 8] = [
        CorrelationKind::EventCount,
        CorrelationKind::ValueCount,
        CorrelationKind::ValueSum,
        CorrelationKind::ValueAvg,
        CorrelationKind::ValuePercentile,
        CorrelationKind::ValueMedian,
        CorrelationKind::Temporal,
        CorrelationKind::TemporalOrdered,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            CorrelationKind::EventCount => "event_count",
            CorrelationKind::ValueCount => "value_count",
            CorrelationKind::ValueSum => "value_sum",
            CorrelationKind::ValueAvg => "value_avg",
            CorrelationKind::ValuePercentile => "value_percentile",
            CorrelationKind::ValueMedian => "value_median",
            CorrelationKind::Temporal => "temporal",
            CorrelationKind::TemporalOrdered => "temporal_ordered",
        }
    }

    /// The kind of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// Whether it looks for several rules rather than measuring a number.
    pub fn is_temporal(self) -> bool {
        matches!(self, CorrelationKind::Temporal | CorrelationKind::TemporalOrdered)
    }

    /// Whether it measures values of a field, which its condition must name.
    pub fn needs_field(self) -> bool {
        !self.is_temporal() && self != CorrelationKind::EventCount
    }
}

impl Operator {
    /// Every operator.
    pub const ALL: [Operator; 6] =
        [Operator::Lt, Operator::Lte, Operator::Gt, Operator::Gte, Operator::Eq, Operator::Neq];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Operator::Lt => "lt",
            Operator::Lte => "lte",
            Operator::Gt => "gt",
            Operator::Gte => "gte",
            Operator::Eq => "eq",
            Operator::Neq => "neq",
        }
    }

    /// The operator of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operator| operator.as_str() == word)
    }

    /// Whether it holds between two numbers.
    pub fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Operator::Lt => left < right,
            Operator::Lte => left <= right,
            Operator::Gt => left > right,
            Operator::Gte => left >= right,
            Operator::Eq => left == right,
            Operator::Neq => left != right,
        }
    }
}

/// Reads a timespan: a number and `s`, `m`, `h`, `d` or `w`.
pub fn parse_timespan_s(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let seconds_each = match text.strip_prefix(digits)? {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(seconds_each).filter(|seconds| *seconds > 0)
}

/// Checks what only the whole set shows: that every rule a correlation or filter names is there,
/// and that no correlation rests on itself. Documents with a fault should be left out by the
/// caller, by their position in the list, which is the first part of each pair.
pub fn check_references(documents: &[Document]) -> Vec<(usize, Diagnostic)> {
    let mut by_reference: HashMap<&str, usize> = HashMap::new();
    for (index, document) in documents.iter().enumerate() {
        let (id, name) = match document {
            Document::Rule(rule) => (&rule.id, &rule.name),
            Document::Correlation(rule) => (&rule.id, &rule.name),
            Document::Filter(_) => continue,
        };
        for reference in [id, name].into_iter().flatten() {
            by_reference.entry(reference).or_insert(index);
        }
    }
    let mut faults = Vec::new();
    for (index, document) in documents.iter().enumerate() {
        let references = match document {
            Document::Rule(_) => continue,
            Document::Correlation(correlation) => &correlation.rules,
            Document::Filter(filter) => match &filter.rules {
                crate::filter::FilteredRules::Any => continue,
                crate::filter::FilteredRules::Named(references) => references,
            },
        };
        let unknown =
            references.iter().find(|reference| !by_reference.contains_key(&*reference.rule));
        if let Some(Reference { rule, span }) = unknown {
            let message = format!("there is no rule with the id or name `{rule}`");
            let known = by_reference.keys().copied();
            let mut fault = Diagnostic::error(Code::UnknownRule, *span, message);
            if matches!(document, Document::Filter(_)) {
                // A filter may name rules of a set that is not loaded; the others still work.
                fault.severity = crate::Severity::Warning;
            }
            if let Some(near) = suggest::nearest(rule, known) {
                fault = fault.with_help(format!("did you mean `{near}`?"));
            }
            faults.push((index, fault.in_file(document.file())));
            continue;
        }
        if let Document::Correlation(correlation) = document
            && rests_on_itself(index, documents, &by_reference)
        {
            let message = "this correlation rests on itself, by the rules that it names";
            let span = correlation.rules.first().map_or(correlation.span, |rule| rule.span);
            let fault = Diagnostic::error(Code::Correlation, span, message);
            faults.push((index, fault.in_file(&correlation.file)));
        }
    }
    faults
}

fn rests_on_itself(
    start: usize,
    documents: &[Document],
    by_reference: &HashMap<&str, usize>,
) -> bool {
    let mut seen = vec![false; documents.len()];
    let mut open = vec![start];
    while let Some(index) = open.pop() {
        let Some(Document::Correlation(correlation)) = documents.get(index) else { continue };
        for reference in &correlation.rules {
            let Some(&next) = by_reference.get(&*reference.rule) else { continue };
            if next == start {
                return true;
            }
            if !std::mem::replace(&mut seen[next], true) {
                open.push(next);
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timespans() {
        for (text, seconds) in [("30s", Some(30)), ("90m", Some(5400)), ("1d", Some(86_400))] {
            assert_eq!(parse_timespan_s(text), seconds);
        }
        for text in ["", "5", "m", "0s", "1.5h", "-1h", "1M", "99999999999999999999s", "5 m"] {
            assert_eq!(parse_timespan_s(text), None, "{text}");
        }
    }

    #[test]
    fn thresholds() {
        let tests = vec![(Operator::Gt, 100.0), (Operator::Lte, 200.0)];
        let range = Threshold { tests, fields: Vec::new(), percentile: None };
        assert!(!range.holds(100.0) && range.holds(101.0) && range.holds(200.0));
        assert!(Operator::Neq.holds(1.0, 2.0) && !Operator::Eq.holds(1.0, 2.0));
    }
}
