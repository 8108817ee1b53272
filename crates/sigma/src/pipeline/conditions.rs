//! When a pipeline's item applies: to which rules, which detection items, which field names.
//!
//! The three kinds of conditions are linked in the same way, so [`Conditions`] is generic over
//! what is tested; the tests themselves are plain functions of their enum.

use std::sync::Arc;

use regex::Regex;

use crate::condition::Condition;
use crate::pipeline::transform::State;
use crate::rule::{Item, Logsource, Rule, Value, ValueKind};

/// Tests and how they are linked.
#[derive(Debug, Clone)]
pub(super) struct Conditions<T> {
    pub(super) tests: Vec<(Option<String>, T)>,
    pub(super) link: Link,
    pub(super) negated: bool,
}

/// How tests are linked.
#[derive(Debug, Clone)]
pub(super) enum Link {
    All,
    Any,
    /// A condition over the tests' names.
    Expression(Condition),
}

/// What can be asked of a rule.
#[derive(Debug, Clone)]
pub(super) enum RuleTest {
    Logsource(Logsource),
    ContainsItem { field: Option<String>, value: Option<ValueKind> },
    ContainsField(String),
    Applied(String),
    State { key: String, value: String },
    IsRule(bool),
    Attribute { attribute: String, operator: AttributeOperator, value: String },
    Tag(String),
}

/// How a rule's attribute is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AttributeOperator {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    In,
    NotIn,
}

/// What can be asked of a detection item.
#[derive(Debug, Clone)]
pub(super) enum ItemTest {
    MatchString { pattern: Regex, all: bool, negated: bool },
    MatchValue(ValueKind),
    IsNull,
    ContainsWildcard,
    Applied(String),
    State { key: String, value: String },
}

/// What can be asked of a field's name.
#[derive(Debug, Clone)]
pub(super) enum FieldTest {
    Include(Names),
    Exclude(Names),
    Applied(String),
    State { key: String, value: String },
}

/// Names, as they are or as expressions that match at the beginning.
#[derive(Debug, Clone)]
pub(super) enum Names {
    Plain(Vec<String>),
    Regex(Vec<Regex>),
}

impl<T> Conditions<T> {
    /// Whether the tests hold together; no tests always do.
    pub(super) fn hold(&self, mut holds: impl FnMut(&T) -> bool) -> bool {
        if self.tests.is_empty() {
            return true;
        }
        let linked = match &self.link {
            Link::All => self.tests.iter().all(|(_, test)| holds(test)),
            Link::Any => self.tests.iter().any(|(_, test)| holds(test)),
            Link::Expression(condition) => {
                let outcomes: Vec<(Option<&str>, bool)> =
                    self.tests.iter().map(|(name, test)| (name.as_deref(), holds(test))).collect();
                evaluate(condition, &outcomes)
            }
        };
        linked != self.negated
    }
}

fn evaluate(condition: &Condition, outcomes: &[(Option<&str>, bool)]) -> bool {
    match condition {
        Condition::And(parts) => parts.iter().all(|part| evaluate(part, outcomes)),
        Condition::Or(parts) => parts.iter().any(|part| evaluate(part, outcomes)),
        Condition::Not(part) => !evaluate(part, outcomes),
        Condition::Selection(name, _) => {
            outcomes.iter().any(|(known, outcome)| *known == Some(&**name) && *outcome)
        }
        // The reader refuses these in expressions.
        Condition::Of(..) | Condition::AtLeast(..) => false,
    }
}

impl RuleTest {
    pub(super) fn holds(&self, rule: &Rule, state: &State) -> bool {
        match self {
            RuleTest::Logsource(asked) => {
                let is =
                    |asked: &Option<String>, own: &Option<String>| asked.is_none() || asked == own;
                is(&asked.product, &rule.logsource.product)
                    && is(&asked.category, &rule.logsource.category)
                    && is(&asked.service, &rule.logsource.service)
            }
            RuleTest::ContainsItem { field, value } => any_item(rule, |item| {
                item.field == *field
                    && value
                        .as_ref()
                        .is_none_or(|value| item.values.iter().any(|own| same(own, value)))
            }),
            RuleTest::ContainsField(field) => {
                any_item(rule, |item| item.field.as_ref() == Some(field))
            }
            RuleTest::Applied(id) => state.was_applied(id),
            RuleTest::State { key, value } => state.is(key, value),
            RuleTest::IsRule(expected) => *expected,
            RuleTest::Attribute { attribute, operator, value } => {
                attribute_of(rule, attribute).is_some_and(|own| operator.holds(&own, value))
            }
            RuleTest::Tag(tag) => rule.tags.iter().any(|own| own.text == *tag),
        }
    }
}

fn any_item(rule: &Rule, test: impl Fn(&Item) -> bool) -> bool {
    let mut found = false;
    rule.for_each_item(|item| found |= test(item));
    found
}

fn same(own: &Value, asked: &ValueKind) -> bool {
    match (&own.kind, asked) {
        (
            ValueKind::Text(own) | ValueKind::Number(own),
            ValueKind::Text(asked) | ValueKind::Number(asked),
        ) => own == asked,
        (own, asked) => own == asked,
    }
}

/// A rule's attribute as text.
fn attribute_of(rule: &Rule, attribute: &str) -> Option<String> {
    match attribute {
        "id" => rule.id.clone(),
        "name" => rule.name.clone(),
        "title" => Some(rule.title.clone()),
        "level" => Some(rule.level.as_str().to_owned()),
        "status" => rule.status.map(|status| status.as_str().to_owned()),
        "author" => rule.author.clone(),
        "date" => rule.date.clone(),
        "modified" => rule.modified.clone(),
        "description" => rule.description.clone(),
        "taxonomy" => rule.taxonomy.clone(),
        "license" => rule.license.clone(),
        custom => match rule.custom.get(custom)? {
            serde_json::Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        },
    }
}

impl AttributeOperator {
    pub(super) fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "eq" => Self::Equal,
            "ne" => Self::NotEqual,
            "gt" => Self::Greater,
            "gte" => Self::GreaterOrEqual,
            "lt" => Self::Less,
            "lte" => Self::LessOrEqual,
            "in" => Self::In,
            "not_in" => Self::NotIn,
            _ => return None,
        })
    }

    fn holds(self, own: &str, asked: &str) -> bool {
        let order = || match (level_rank(own), level_rank(asked)) {
            (Some(own), Some(asked)) => own.partial_cmp(&asked),
            _ => match (own.parse::<f64>(), asked.parse::<f64>()) {
                (Ok(own), Ok(asked)) => own.partial_cmp(&asked),
                // Dates in ISO form sort as texts.
                _ => Some(own.cmp(asked)),
            },
        };
        match self {
            Self::Equal => own == asked,
            Self::NotEqual => own != asked,
            Self::Greater => order().is_some_and(|order| order.is_gt()),
            Self::GreaterOrEqual => order().is_some_and(|order| order.is_ge()),
            Self::Less => order().is_some_and(|order| order.is_lt()),
            Self::LessOrEqual => order().is_some_and(|order| order.is_le()),
            Self::In => own.contains(asked),
            Self::NotIn => !own.contains(asked),
        }
    }
}

fn level_rank(word: &str) -> Option<crate::rule::Level> {
    crate::rule::Level::from_word(word)
}

impl ItemTest {
    pub(super) fn holds(&self, item: &Item, state: &State) -> bool {
        let text_of = |value: &Value| match &value.kind {
            ValueKind::Text(text) => Some(text.clone()),
            _ => None,
        };
        match self {
            ItemTest::MatchString { pattern, all, negated } => {
                let test = |value: &Value| {
                    text_of(value).is_some_and(|text| pattern.is_match(&text)) != *negated
                };
                match all {
                    true => item.values.iter().all(test),
                    false => item.values.iter().any(test),
                }
            }
            ItemTest::MatchValue(asked) => item.values.iter().any(|value| same(value, asked)),
            ItemTest::IsNull => item.values.iter().all(|value| value.kind == ValueKind::Null),
            ItemTest::ContainsWildcard => item.values.iter().any(|value| {
                text_of(value).is_some_and(|text| {
                    crate::pattern::plain(&crate::pattern::pieces(&text)).is_none()
                })
            }),
            ItemTest::Applied(id) => item.applied.iter().any(|own| **own == **id),
            ItemTest::State { key, value } => state.is(key, value),
        }
    }
}

impl FieldTest {
    /// `applied` are the ids of the items that changed this field's name.
    pub(super) fn holds(&self, field: Option<&str>, applied: &[Arc<str>], state: &State) -> bool {
        match self {
            FieldTest::Include(names) => field.is_some_and(|field| names.contain(field)),
            FieldTest::Exclude(names) => !field.is_some_and(|field| names.contain(field)),
            FieldTest::Applied(id) => {
                applied.iter().any(|own| **own == **id)
                    || field.is_some_and(|field| state.made(id, field))
            }
            FieldTest::State { key, value } => state.is(key, value),
        }
    }
}

impl Names {
    fn contain(&self, name: &str) -> bool {
        match self {
            Names::Plain(names) => names.iter().any(|own| own == name),
            Names::Regex(patterns) => patterns
                .iter()
                .any(|pattern| pattern.find(name).is_some_and(|found| found.start() == 0)),
        }
    }
}
