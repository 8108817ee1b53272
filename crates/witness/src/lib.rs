//! Rules solved for events: what a rule matches, what it only just does not, and what slips by.
//!
//! Only one public rule in twenty comes with an event to test it on. A rule resolves to a boolean
//! expression over tests of fields ([`sigma::expr`]), and that can be solved: [`solve`] finds a
//! small event for which it holds, or shows that there is none. From there
//!
//! - [`near_misses`] changes the event, part by part of the condition, so that the rule must not
//!   match any more, and finds filters that can never apply;
//! - [`contained`] finds rules whose events another rule matches as well;
//! - [`score`] rewrites the event's command lines and paths as attackers do and counts what the
//!   rule still catches.
//!
//! Nothing here is believed: every event is evaluated by [`matcher::plain`] before it is given out,
//! and a search that ends at a limit says so instead of claiming that there is no event.
//!
//! The solver knows nothing of names, so it solves a rule in its native fields (to ask another
//! engine about the event) as well as in those of the event model. It assumes what holds for the
//! logs in question: a field has one value, unless the logsource has arrays ([`Arrays`]).

mod contain;
mod exact;
mod field;
mod near;
mod number;
mod render;
mod rewrite;
mod sample;
mod search;
mod text;
mod vary;

use std::collections::BTreeSet;
use std::sync::Arc;

use event::Event;
use sigma::Logsource;
use sigma::expr::Expr;

pub use contain::{Contained, Proof, VARIANTS_MAX, contained, covers, implies};
pub use near::{Change, NEAR_MISSES_MAX, NearMiss, Nearby, Without, near_misses};
pub use render::Report;
pub use search::{DECISIONS_MAX, DEPTH_MAX};
pub use vary::{Roles, Score, VARIATIONS_MAX, Variation, mutations, score};

/// An event for which a rule holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Witness {
    /// Its fields by name; none is there that the rule does not need.
    pub fields: Vec<Field>,
}

/// A field of a witness.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Its dotted name, as the expression has it.
    pub name: Arc<str>,
    /// Its values, never none. More than one only where one value can't do.
    pub values: Vec<Value>,
}

/// A value of a witness.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A whole number. Texts that are one in their usual form (`4688`) are given as such.
    Int(i64),
    /// Any other number; finite.
    Float(f64),
    /// `null`.
    Null,
}

/// Why there is no witness.
#[derive(Debug, Clone, PartialEq)]
pub enum NoWitness {
    /// The rule can never match: in every way to satisfy it, some of these tests exclude each other.
    Contradiction(Vec<Conflict>),
    /// The search ended without an answer.
    GaveUp(GaveUp),
}

/// Tests of one field (or of two fields that refer to one another) that exclude each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The field; `any text` for keywords.
    pub field: String,
    /// The tests, as one line each; a test that must not hold begins with `not`. None of them can
    /// be left out.
    pub tests: Vec<String>,
}

/// What the search ended at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GaveUp {
    /// [`Options::decisions_max`] choices between alternatives were tried.
    Decisions,
    /// A way to satisfy the rule has more than [`DEPTH_MAX`] choices.
    Depth,
    /// No value was found for these tests, but it was not shown that there is none.
    Values(Conflict),
    /// The event that was found does not match after all: tests of different fields interfere in a
    /// way that the search does not see.
    Unverified,
}

/// How a rule is solved.
#[derive(Debug, Clone)]
pub struct Options<'a> {
    /// Which fields may have several values.
    pub arrays: Arrays,
    /// Zero gives the plainest witness; other numbers give others, with what they need dressed in
    /// other text and other alternatives chosen first.
    pub seed: u32,
    /// The most choices between alternatives that are tried; [`DECISIONS_MAX`] unless said.
    pub decisions_max: u32,
    /// Fields that must not be in the event, because no source produces them. A contradiction then
    /// means that the rule can't match anything of these sources.
    pub absent: Option<&'a BTreeSet<String>>,
}

/// Which fields may have several values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrays {
    /// None: one value per field.
    Nowhere,
    /// Those that ECS defines as arrays.
    WhereEcsHasThem,
    /// All of them, as in the JSON of cloud services.
    Everywhere,
}

/// Products whose logs are flat: what a record says of a field is one value.
const FLAT_PRODUCTS: &[&str] = &["windows", "linux", "macos", "zeek", "cisco", "fortigate"];

impl Arrays {
    /// What holds for a logsource.
    pub fn of(logsource: &Logsource) -> Arrays {
        match logsource.product.as_deref() {
            Some(product) if FLAT_PRODUCTS.contains(&product) => Arrays::WhereEcsHasThem,
            None if logsource.category.is_some() => Arrays::WhereEcsHasThem,
            _ => Arrays::Everywhere,
        }
    }
}

impl Default for Options<'_> {
    fn default() -> Self {
        Options {
            arrays: Arrays::WhereEcsHasThem,
            seed: 0,
            decisions_max: DECISIONS_MAX,
            absent: None,
        }
    }
}

/// Finds a small event for which the expression holds.
///
/// # Errors
/// When there is none, or none was found within the limits.
pub fn solve(expr: &Expr, logsource: &Logsource) -> Result<Witness, NoWitness> {
    solve_with(expr, &Options { arrays: Arrays::of(logsource), ..Options::default() })
}

/// [`solve`] with everything said.
///
/// # Errors
/// As [`solve`].
pub fn solve_with(expr: &Expr, options: &Options<'_>) -> Result<Witness, NoWitness> {
    search::solve(expr, options)
}

impl Witness {
    /// The values of a field; none when it is not there.
    pub fn values(&self, name: &str) -> &[Value] {
        self.fields
            .iter()
            .find(|field| &*field.name == name)
            .map_or(&[], |field| field.values.as_slice())
    }

    /// The witness as an event.
    pub fn event(&self) -> Event {
        let mut event = Event::new();
        for field in &self.fields {
            put(&mut event, &field.name, &field.values);
        }
        event
    }

    /// The witness as an event of a rule's logsource, so that a matcher hands it to the rule.
    pub fn event_of(&self, logsource: &Logsource) -> Event {
        let mut event = self.event();
        stamp(&mut event, logsource);
        event
    }

    /// The witness as one flat JSON object: dotted names are not nested. For other engines, in the
    /// rule's native names.
    pub fn flat_json(&self) -> serde_json::Map<String, serde_json::Value> {
        self.fields
            .iter()
            .map(|field| {
                let mut values: Vec<_> = field.values.iter().map(Value::json).collect();
                let value = match values.len() {
                    1 => values.remove(0),
                    _ => serde_json::Value::Array(values),
                };
                (field.name.to_string(), value)
            })
            .collect()
    }

    /// The fields that have more than one value: the rule can't match without.
    pub fn arrays(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().filter(|field| field.values.len() > 1).map(|field| &*field.name)
    }

    /// Gives a field these values, or takes it away when there are none.
    pub(crate) fn set(&mut self, name: &str, values: Vec<Value>) {
        match self.fields.iter().position(|field| &*field.name == name) {
            Some(at) if values.is_empty() => drop(self.fields.remove(at)),
            Some(at) => self.fields[at].values = values,
            None if values.is_empty() => {}
            None => self.fields.push(Field { name: name.into(), values }),
        }
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.text() {
            Some(text) => f.write_str(&text),
            None => f.write_str("null"),
        }
    }
}

/// Writes the class of a rule's events into an event.
pub fn stamp(event: &mut Event, logsource: &Logsource) {
    event::Logsource {
        product: logsource.product.as_deref(),
        category: logsource.category.as_deref(),
        service: logsource.service.as_deref(),
    }
    .stamp(event);
}

impl Value {
    /// A text as a value: the number, if it is a whole one in its usual form.
    pub(crate) fn of(text: impl Into<String>) -> Value {
        let text = text.into();
        match text.parse::<i64>() {
            Ok(number) if number.to_string() == text => Value::Int(number),
            _ => Value::Text(text),
        }
    }

    /// Its text, as rules compare it; `None` for `null`.
    pub fn text(&self) -> Option<String> {
        let mut buffer = String::new();
        self.borrowed().text(&mut buffer).map(str::to_owned)
    }

    /// As events hold it.
    pub fn borrowed(&self) -> event::Value<'_> {
        match self {
            Value::Text(text) => event::Value::Text(text),
            Value::Int(number) => event::Value::Int(*number),
            Value::Float(number) => event::Value::from(*number),
            Value::Null => event::Value::Null,
        }
    }

    fn json(&self) -> serde_json::Value {
        match self {
            Value::Text(text) => text.clone().into(),
            Value::Int(number) => (*number).into(),
            Value::Float(number) => (*number).into(),
            Value::Null => serde_json::Value::Null,
        }
    }
}

/// Gives an event's field these values.
pub(crate) fn put(event: &mut Event, name: &str, values: &[Value]) {
    match values {
        [] => event.remove(name),
        [value] => event.set(name, value.borrowed()),
        several => {
            event.remove(name);
            several.iter().for_each(|value| event.append(name, value.borrowed()));
        }
    }
}
