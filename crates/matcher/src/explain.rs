//! Why a rule held or did not: the expression again, with an answer and the values at each part.
//!
//! Made by the plain evaluator, part by part without stopping early, since a person who asks why
//! wants to see all of it. Texts are clipped, because an event may hold a script of a megabyte.

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

use event::{Event, MatchedField, Value};
use sigma::expr::{Atom, Expr, Test};

use crate::plain::{self, holds_for, keywords_read};
use crate::text::lower;

/// The most characters of a value that an explanation shows; what was looked for stays in view.
pub const VALUE_CHARS_MAX: usize = 400;

/// The most values of one field that an explanation shows.
pub const VALUES_MAX: usize = 16;

/// The most matched fields that are named for one rule and event.
pub const MATCHED_MAX: usize = 64;

/// What became of a part of a condition.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// Whether the part held.
    pub held: bool,
    /// The part.
    pub part: Part,
}

/// A part of a condition.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// Holds when every part does.
    All(Vec<Explanation>),
    /// Holds when any part does.
    Any(Vec<Explanation>),
    /// Holds when the part does not.
    Not(Box<Explanation>),
    /// A selection of the rule by its name.
    Selection(Arc<str>, Box<Explanation>),
    /// A test of one field.
    Test {
        /// The event's field; `*` for a keyword.
        field: String,
        /// What is asked of it, in Sigma's text form.
        pattern: String,
        /// The whole test as one line.
        text: String,
        /// The values that were looked at, at most [`VALUES_MAX`]. For a keyword only those that
        /// have it.
        seen: Vec<Seen>,
    },
}

/// One value that a test looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The value as text, clipped to [`VALUE_CHARS_MAX`].
    pub value: String,
    /// Whether it passed.
    pub passed: bool,
}

/// Explains what became of each part of an expression.
pub fn explain(expr: &Expr, event: &Event) -> Explanation {
    let list = |parts: &[Expr]| parts.iter().map(|part| explain(part, event)).collect::<Vec<_>>();
    match expr {
        Expr::And(parts) => {
            let parts = list(parts);
            Explanation { held: parts.iter().all(|part| part.held), part: Part::All(parts) }
        }
        Expr::Or(parts) => {
            let parts = list(parts);
            Explanation { held: parts.iter().any(|part| part.held), part: Part::Any(parts) }
        }
        Expr::Not(part) => {
            let part = explain(part, event);
            Explanation { held: !part.held, part: Part::Not(Box::new(part)) }
        }
        Expr::Selection(name, part) => {
            let part = explain(part, event);
            Explanation { held: part.held, part: Part::Selection(name.clone(), Box::new(part)) }
        }
        Expr::Atom(atom) => Explanation {
            held: plain::atom_holds(atom, event),
            part: Part::Test {
                field: field_name(atom),
                pattern: pattern_text(&atom.test),
                text: atom.to_string(),
                seen: seen(atom, event),
            },
        },
    }
}

/// The fields that made an expression hold: the tests that held, below every part that held and
/// outside of every `not`. Empty when the expression does not hold.
pub fn matched(expr: &Expr, event: &Event) -> Vec<MatchedField> {
    let mut found = Vec::new();
    if plain::matches(expr, event) {
        gather(expr, event, &mut found);
    }
    found
}

/// Adds what made this part, which holds, hold.
fn gather(expr: &Expr, event: &Event, found: &mut Vec<MatchedField>) {
    match expr {
        Expr::And(parts) => {
            for part in parts {
                gather(part, event, found);
            }
        }
        Expr::Or(parts) => {
            for part in parts.iter().filter(|part| plain::matches(part, event)) {
                gather(part, event, found);
            }
        }
        Expr::Selection(_, part) => gather(part, event, found),
        Expr::Not(_) => {}
        Expr::Atom(atom) => {
            let value = seen(atom, event)
                .into_iter()
                .find(|seen| seen.passed)
                .map_or_else(String::new, |seen| seen.value);
            let new =
                MatchedField { field: field_name(atom), value, pattern: pattern_text(&atom.test) };
            if found.len() < MATCHED_MAX && !found.contains(&new) {
                found.push(new);
            }
        }
    }
}

fn field_name(atom: &Atom) -> String {
    atom.field.as_deref().unwrap_or("*").to_owned()
}

/// What a test asks, without the field's name.
fn pattern_text(test: &Test) -> String {
    match test {
        Test::Text(pattern) => pattern.to_string(),
        Test::Regex(regex) => regex.to_string(),
        Test::Cidr(network) => network.to_string(),
        Test::Compare(comparison, number) => format!("{comparison} {number}"),
        Test::Exists(true) => "exists".to_owned(),
        Test::Exists(false) => "does not exist".to_owned(),
        Test::Null => "null".to_owned(),
        Test::FieldRef { field, relation, .. } => format!("{relation} the value of {field}"),
        Test::TimePart(part, number) => format!("{part} = {number}"),
    }
}

/// The values that an atom looked at. Those that passed come first if there are too many.
fn seen(atom: &Atom, event: &Event) -> Vec<Seen> {
    let holds = holds_for(atom, event);
    let mut all: Vec<Seen> = event
        .fields()
        .filter(|(_, path, _)| match atom.field.as_deref() {
            Some(field) => *path == field,
            None => keywords_read(path),
        })
        .map(|(_, _, value)| (value, holds(value)))
        .filter(|(_, passed)| *passed || atom.field.is_some())
        .map(|(value, passed)| {
            let place = if passed { place_in(&atom.test, value) } else { 0 };
            Seen { value: clip(&value_text(value), place), passed }
        })
        .collect();
    if all.len() > VALUES_MAX {
        all.sort_by_key(|seen| !seen.passed);
        all.truncate(VALUES_MAX);
    }
    all
}

fn value_text(value: Value<'_>) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Json(json) => json.to_owned(),
        other => other.text(&mut String::new()).unwrap_or_default().to_owned(),
    }
}

/// At which character of the value the thing that was looked for begins, as far as that is known.
fn place_in(test: &Test, value: Value<'_>) -> usize {
    let Some(text) = value.as_str() else { return 0 };
    let chars_before = |bytes: usize| text.get(..bytes).map_or(0, |before| before.chars().count());
    match test {
        Test::Text(pattern) => {
            let longest = pattern.pieces.iter().filter_map(|piece| match piece {
                sigma::expr::Piece::Literal(literal) => Some(literal),
                _ => None,
            });
            let Some(longest) = longest.max_by_key(|literal| literal.len()) else { return 0 };
            // Lower-casing keeps the number of characters, not that of bytes.
            let (text, literal) = (lower(text), lower(longest));
            let at = text.find(&literal).unwrap_or(0);
            text.get(..at).map_or(0, |before| before.chars().count())
        }
        Test::Regex(regex) => crate::regex::compile(regex)
            .ok()
            .and_then(|regex| regex.find(text))
            .map_or(0, |found| chars_before(found.start())),
        _ => 0,
    }
}

/// At most [`VALUE_CHARS_MAX`] characters of a text, around a place; what is cut is marked.
fn clip(text: &str, place: usize) -> String {
    if text.len() <= VALUE_CHARS_MAX {
        return text.to_owned();
    }
    let count = text.chars().count();
    if count <= VALUE_CHARS_MAX {
        return text.to_owned();
    }
    let start = place.saturating_sub(VALUE_CHARS_MAX / 4).min(count - VALUE_CHARS_MAX);
    let middle: String = text.chars().skip(start).take(VALUE_CHARS_MAX).collect();
    let before = if start > 0 { "..." } else { "" };
    let after = if start + VALUE_CHARS_MAX < count { "..." } else { "" };
    format!("{before}{middle}{after}")
}

impl Display for Explanation {
    /// A tree, one line for each part; control characters in values are escaped.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

impl Explanation {
    fn write(&self, f: &mut Formatter<'_>, depth: usize) -> fmt::Result {
        write!(f, "{:indent$}{} ", "", if self.held { "✓" } else { "✗" }, indent = depth * 2)?;
        match &self.part {
            Part::All(parts) => {
                writeln!(f, "all of")?;
                parts.iter().try_for_each(|part| part.write(f, depth + 1))
            }
            Part::Any(parts) => {
                writeln!(f, "any of")?;
                parts.iter().try_for_each(|part| part.write(f, depth + 1))
            }
            Part::Not(part) => {
                writeln!(f, "not")?;
                part.write(f, depth + 1)
            }
            Part::Selection(name, part) => {
                writeln!(f, "{name}")?;
                part.write(f, depth + 1)
            }
            Part::Test { field, text, seen, .. } => {
                let shown: Vec<String> = seen.iter().map(|seen| printable(&seen.value)).collect();
                match (shown.as_slice(), field == "*") {
                    ([], true) => writeln!(f, "{text}   found nowhere"),
                    ([], false) => writeln!(f, "{text}   the event has no {field}"),
                    (values, _) => writeln!(f, "{text}   seen: {}", values.join(" | ")),
                }
            }
        }
    }
}

fn printable(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if c.is_control() {
            out.extend(c.escape_default())
        } else {
            out.push(c)
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use sigma::expr::Pattern;

    use super::*;

    fn event(json: &str) -> Event {
        let mut event = Event::new();
        event.parse_json(json.as_bytes()).unwrap();
        event
    }

    fn atom(field: &str, pattern: &str) -> Expr {
        let field = (!field.is_empty()).then(|| Arc::from(field));
        Expr::Atom(Atom { field, test: Test::Text(Pattern::parse(pattern, false)) })
    }

    fn rule() -> Expr {
        Expr::And(vec![
            Expr::Selection(
                "selection".into(),
                Box::new(Expr::Or(vec![
                    atom("process.executable", r"*\cmd.exe"),
                    atom("process.executable", r"*\powershell.exe"),
                    atom("", "whoami"),
                ])),
            ),
            Expr::Not(Box::new(Expr::Selection("filter".into(), Box::new(atom("user", "admin"))))),
        ])
    }

    #[test]
    fn every_part_is_shown_with_its_values() {
        let event = event(
            r#"{"process":{"executable":"C:\\Windows\\CMD.exe","args":["/c","who\nami","x & whoami"]}}"#,
        );
        let shown = explain(&rule(), &event).to_string();
        insta::assert_snapshot!(shown, @r"
        ✓ all of
          ✓ selection
            ✓ any of
              ✓ process.executable = '*\cmd.exe'   seen: C:\Windows\CMD.exe
              ✗ process.executable = '*\powershell.exe'   seen: C:\Windows\CMD.exe
              ✓ any text has 'whoami'   seen: x & whoami
          ✓ not
            ✗ filter
              ✗ user = 'admin'   the event has no user
        ");
        let matched: Vec<String> = matched(&rule(), &event)
            .iter()
            .map(|one| format!("{} | {} | {}", one.field, one.value, one.pattern))
            .collect();
        insta::assert_snapshot!(matched.join("\n"), @r"
        process.executable | C:\Windows\CMD.exe | *\cmd.exe
        * | x & whoami | whoami
        ");
    }

    #[test]
    fn nothing_matched_where_the_rule_does_not_hold() {
        let event = event(r#"{"process":{"executable":"cmd.exe"},"user":"admin"}"#);
        assert_eq!(matched(&rule(), &event), []);
        assert!(!explain(&rule(), &event).held);
    }

    #[test]
    fn long_values_are_clipped_around_what_was_found() {
        let long = format!("{}Needle{}", "é".repeat(5000), "x".repeat(5000));
        let event = event(&format!(r#"{{"a":"{long}"}}"#));
        let matched = matched(&atom("a", "*needle*"), &event);
        let value = &matched[0].value;
        assert!(value.contains("Needle"), "{value}");
        assert!(value.starts_with("...é") && value.ends_with("x..."), "{value}");
        assert_eq!(value.chars().count(), VALUE_CHARS_MAX + 6);
    }
}
