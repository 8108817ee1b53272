//! The plain evaluator: what a rule means, one event at a time, with nothing prepared.
//!
//! It is written to be read beside the documentation of [`sigma::expr`] and for nothing else: it
//! walks the expression, looks every field up anew and compiles regular expressions on the spot.
//! The property tests hold the fast matcher equal to it, and explanations are made with it.

use event::{Event, Value};
use sigma::expr::{Atom, Expr, Relation, Test};

use crate::text::{Glob, lower};
use crate::value::{compares, has_time_part, in_network};

/// Whether the expression holds for the event.
///
/// A regular expression that does not compile within the limit of [`crate::regex`] holds for
/// nothing; a [`crate::Matcher`] refuses its rule.
pub fn matches(expr: &Expr, event: &Event) -> bool {
    match expr {
        Expr::And(parts) => parts.iter().all(|part| matches(part, event)),
        Expr::Or(parts) => parts.iter().any(|part| matches(part, event)),
        Expr::Not(part) => !matches(part, event),
        Expr::Selection(_, part) => matches(part, event),
        Expr::Atom(atom) => atom_holds(atom, event),
    }
}

/// Whether the atom holds for the event.
pub(crate) fn atom_holds(atom: &Atom, event: &Event) -> bool {
    let holds = holds_for(atom, event);
    match &atom.test {
        Test::Exists(expected) => values(atom, event).next().is_some() == *expected,
        Test::Null => values(atom, event).next().is_none() || values(atom, event).any(holds),
        _ => values(atom, event).any(holds),
    }
}

/// The values that an atom looks at: those of its field, or for a keyword all of the event.
pub(crate) fn values<'e>(atom: &Atom, event: &'e Event) -> impl Iterator<Item = Value<'e>> {
    event
        .fields()
        .filter(|(_, path, _)| match atom.field.as_deref() {
            Some(field) => *path == field,
            None => keywords_read(path),
        })
        .map(|(_, _, value)| value)
}

/// Whether keywords look into a field. Not into what the engine itself says of the event: a
/// keyword `sshd` asks for the log's words, and every event of the class would have it. Nor into
/// the payload as it came (`event.original`): what it says stands in the other fields, and what it
/// has beside them, the names of its fields, is not meant.
pub(crate) fn keywords_read(path: &str) -> bool {
    !path.starts_with("watchpost.") && path != "event.original"
}

/// The atom's test of one value. What takes time to prepare is prepared once.
pub(crate) fn holds_for<'a>(
    atom: &'a Atom,
    event: &'a Event,
) -> impl Fn(Value<'_>) -> bool + use<'a> {
    let mut glob = None;
    let mut regex = None;
    match &atom.test {
        Test::Text(pattern) => glob = Some(Glob::new(pattern, atom.field.is_none())),
        Test::Regex(source) => regex = crate::regex::compile(source).ok(),
        _ => {}
    }
    move |value| match &atom.test {
        Test::Text(pattern) => has_text(value, |text| {
            let text = if pattern.cased { text.to_owned() } else { lower(text) };
            glob.as_ref().is_some_and(|glob| glob.matches(text.as_bytes()))
        }),
        Test::Regex(_) => has_text(value, |text| {
            regex.as_ref().is_some_and(|regex| regex.is_match(text.as_bytes()))
        }),
        Test::Cidr(network) => has_text(value, |text| in_network(network, text)),
        Test::Compare(comparison, number) => compares(*comparison, value, *number),
        Test::Exists(expected) => *expected,
        Test::Null => value == Value::Null,
        Test::FieldRef { field, relation, cased } => has_text(value, |own| {
            event.values(field).any(|other| {
                has_text(other, |other| {
                    if *cased {
                        relates(*relation, own, other)
                    } else {
                        relates(*relation, &lower(own), &lower(other))
                    }
                })
            })
        }),
        Test::TimePart(part, number) => has_text(value, |text| has_time_part(*part, text, *number)),
    }
}

fn has_text(value: Value<'_>, test: impl Fn(&str) -> bool) -> bool {
    value.text(&mut String::new()).is_some_and(test)
}

fn relates(relation: Relation, own: &str, other: &str) -> bool {
    match relation {
        Relation::Equals => own == other,
        Relation::StartsWith => own.starts_with(other),
        Relation::EndsWith => own.ends_with(other),
        Relation::Contains => own.contains(other),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sigma::expr::{Comparison, Network, Pattern, Regex, TimePart};

    use super::*;

    fn event(json: &str) -> Event {
        let mut event = Event::new();
        event.parse_json(json.as_bytes()).unwrap();
        event
    }

    fn atom(field: &str, test: Test) -> Expr {
        Expr::Atom(Atom { field: (!field.is_empty()).then(|| Arc::from(field)), test })
    }

    fn text(pattern: &str) -> Test {
        Test::Text(Pattern::parse(pattern, false))
    }

    #[track_caller]
    fn check(expr: &Expr, json: &str, expected: bool) {
        assert_eq!(matches(expr, &event(json)), expected, "{expr} for {json}");
    }

    #[test]
    fn texts_are_compared_without_case_and_numbers_as_json() {
        check(&atom("a.b", text("X*z")), r#"{"a":{"b":"xyZ"}}"#, true);
        check(&atom("a", Test::Text(Pattern::parse("X", true))), r#"{"a":"x"}"#, false);
        check(&atom("a", text("4688")), r#"{"a":4688}"#, true);
        check(&atom("a", text("4688")), r#"{"a":"4688"}"#, true);
        check(&atom("a", text("true")), r#"{"a":true}"#, true);
        check(&atom("a", text("1.5")), r#"{"a":1.5}"#, true);
        check(&atom("a", text("*")), r#"{"a":null}"#, false);
        check(&atom("a", text("*")), r#"{"a":{}}"#, false);
        check(&atom("a", text("")), r#"{"a":""}"#, true);
    }

    #[test]
    fn one_value_of_an_array_is_enough() {
        check(&atom("a", text("x")), r#"{"a":["y","X"]}"#, true);
        check(&atom("a.b", text("x")), r#"{"a":[{"b":1},{"b":"x"}]}"#, true);
        check(&Expr::Not(Box::new(atom("a", text("x")))), r#"{"a":["y","x"]}"#, false);
        check(&atom("a", Test::Null), r#"{"a":["y",null]}"#, true);
    }

    #[test]
    fn absent_and_null_are_told_apart() {
        check(&atom("a", Test::Exists(true)), r#"{"a":null}"#, true);
        check(&atom("a", Test::Exists(true)), r#"{"a":[]}"#, true);
        check(&atom("a", Test::Exists(false)), r#"{"b":1}"#, true);
        check(&atom("a", Test::Null), r#"{"a":null}"#, true);
        check(&atom("a", Test::Null), r#"{"b":1}"#, true);
        check(&atom("a", Test::Null), r#"{"a":""}"#, false);
    }

    #[test]
    fn keywords_look_everywhere_but_at_what_the_engine_says() {
        check(&atom("", text("mimi*")), r#"{"a":{"b":["x","the MIMIkatz"]}}"#, true);
        check(&atom("", text("sshd")), r#"{"watchpost":{"logsource":{"service":"sshd"}}}"#, false);
        check(&atom("", text("468")), r#"{"a":4688}"#, true);
    }

    #[test]
    fn the_other_tests() {
        let regex = |source: &str, ignore_case| {
            let source = source.to_owned();
            Test::Regex(Regex { source, ignore_case, multi_line: false, dot_all: false })
        };
        check(&atom("a", regex("b+c", false)), r#"{"a":"abbcd"}"#, true);
        check(&atom("a", regex("B+c", false)), r#"{"a":"abbcd"}"#, false);
        check(&atom("a", regex("B+c", true)), r#"{"a":"abbcd"}"#, true);
        check(&atom("a", regex("^12$", true)), r#"{"a":12}"#, true);
        let network = Network::parse("10.0.0.0/8").unwrap();
        check(&atom("a", Test::Cidr(network)), r#"{"a":["::1","10.2.3.4"]}"#, true);
        check(&atom("a", Test::Compare(Comparison::Less, 5.0)), r#"{"a":"4"}"#, true);
        check(
            &atom("a", Test::TimePart(TimePart::Hour, 3)),
            r#"{"a":"2026-01-01T03:00:00Z"}"#,
            true,
        );
        let other =
            |relation, cased| atom("a", Test::FieldRef { field: "b".into(), relation, cased });
        check(&other(Relation::Equals, false), r#"{"a":"X","b":["y","x"]}"#, true);
        check(&other(Relation::Equals, true), r#"{"a":"X","b":"x"}"#, false);
        check(&other(Relation::StartsWith, false), r#"{"a":"xy","b":"X"}"#, true);
        check(&other(Relation::EndsWith, false), r#"{"a":"xy","b":"Y"}"#, true);
        check(&other(Relation::Contains, false), r#"{"a":"xyz","b":"Y"}"#, true);
        check(&other(Relation::Contains, false), r#"{"a":"xyz"}"#, false);
    }
}
