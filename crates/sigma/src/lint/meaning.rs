//! What a detection means once it is resolved: never, always, at what cost.
//!
//! These look at the expression, so they see through lists, modifiers and patterns. They say
//! nothing unless they are sure: a rule that can't match is found by its plain contradictions, not
//! by solving it.

use std::collections::HashMap;

use crate::diagnostic::{Code, Diagnostic, Severity};
use crate::expr::{Atom, Expr, Pattern, Piece, Regex, Test};
use crate::resolve::resolve;
use crate::rule::Rule;

/// The fewest characters of a text that narrow down which rules an event may match.
const LITERAL_CHARS_MIN: usize = 3;

/// Every lint about what a rule means; the reason, when it means nothing.
pub(super) fn all(rule: &Rule, found: &mut Vec<Diagnostic>) {
    let expr = match resolve(rule) {
        Ok(expr) => expr,
        Err(fault) => return found.push(fault),
    };
    if never_holds(&expr) {
        let message = "the condition can never hold: it asks for something and its opposite";
        found.push(Diagnostic::warning(Code::NeverMatches, rule.span, message));
    } else if always_holds(&expr) {
        let message = "the condition always holds";
        found.push(Diagnostic::warning(Code::AlwaysMatches, rule.span, message));
    } else if !asks_for_something(&expr) {
        let message = "the condition holds for almost every event: it only says what must not be";
        found.push(
            Diagnostic::warning(Code::AlwaysMatches, rule.span, message)
                .with_help("add a selection that must hold"),
        );
    } else if !has_witness(&expr) {
        let message = "every event of the logsource must be evaluated: no text, number or network \
                       is necessary for a match";
        found.push(
            Diagnostic::new(Severity::Note, Code::CostlyPattern, rule.span, message)
                .with_help("a required text of three characters or more makes the rule cheap"),
        );
    }
}

/// The expression without the names of selections, to compare what is meant.
fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::Selection(_, part) => bare(part),
        other => other,
    }
}

/// The parts of an `And`, through nested ones and selections.
fn conjuncts<'a>(expr: &'a Expr, into: &mut Vec<&'a Expr>) {
    match bare(expr) {
        Expr::And(parts) => parts.iter().for_each(|part| conjuncts(part, into)),
        other => into.push(other),
    }
}

fn never_holds(expr: &Expr) -> bool {
    match bare(expr) {
        Expr::Or(parts) => parts.iter().all(never_holds),
        Expr::Not(part) => always_holds(part),
        Expr::Selection(..) => false,
        Expr::Atom(_) => false,
        Expr::And(parts) => {
            if parts.iter().any(never_holds) {
                return true;
            }
            let mut all = Vec::new();
            conjuncts(expr, &mut all);
            let denied = |part: &&Expr| match part {
                Expr::Not(denied) => {
                    let mut asked = Vec::new();
                    conjuncts(denied, &mut asked);
                    asked.iter().all(|asked| all.contains(asked))
                        || disjuncts(denied).iter().any(|part| all.contains(part))
                }
                _ => false,
            };
            all.iter().any(denied) || two_values_of_one_field(&all)
        }
    }
}

fn disjuncts(expr: &Expr) -> Vec<&Expr> {
    match bare(expr) {
        Expr::Or(parts) => parts.iter().map(bare).collect(),
        other => vec![other],
    }
}

/// Whether one field must equal two texts. A field with several values could, but no rule means
/// that without `all`.
fn two_values_of_one_field(all: &[&Expr]) -> bool {
    let mut values: HashMap<&str, &str> = HashMap::new();
    for part in all {
        let Expr::Atom(Atom { field: Some(field), test: Test::Text(pattern) }) = part else {
            continue;
        };
        let [Piece::Literal(text)] = pattern.pieces.as_slice() else { continue };
        match values.get(&**field) {
            Some(other) if other.to_lowercase() != text.to_lowercase() => return true,
            _ => _ = values.insert(field, text),
        }
    }
    false
}

fn always_holds(expr: &Expr) -> bool {
    match bare(expr) {
        Expr::And(parts) => parts.iter().all(always_holds),
        Expr::Not(part) => never_holds(part),
        Expr::Selection(..) | Expr::Atom(_) => false,
        Expr::Or(parts) => {
            parts.iter().any(always_holds)
                || parts.iter().any(|part| match bare(part) {
                    Expr::Not(denied) => parts.iter().any(|other| bare(other) == bare(denied)),
                    _ => false,
                })
        }
    }
}

/// Whether a match needs anything to be there, rather than only to be absent.
fn asks_for_something(expr: &Expr) -> bool {
    match expr {
        Expr::And(parts) => parts.iter().any(asks_for_something),
        Expr::Or(parts) => parts.iter().all(asks_for_something),
        Expr::Selection(_, part) => asks_for_something(part),
        Expr::Not(part) => only_absence(part),
        Expr::Atom(atom) => !matches!(atom.test, Test::Null | Test::Exists(false)),
    }
}

/// Whether denying the expression asks for something: `not (field is null)`.
fn only_absence(expr: &Expr) -> bool {
    match expr {
        Expr::And(parts) => parts.iter().all(only_absence),
        Expr::Or(parts) => parts.iter().any(only_absence),
        Expr::Selection(_, part) => only_absence(part),
        Expr::Not(part) => asks_for_something(part),
        Expr::Atom(atom) => matches!(atom.test, Test::Null | Test::Exists(false)),
    }
}

/// Whether something that can be looked up is necessary for a match.
fn has_witness(expr: &Expr) -> bool {
    match expr {
        Expr::And(parts) => parts.iter().any(has_witness),
        Expr::Or(parts) => parts.iter().all(has_witness),
        Expr::Selection(_, part) => has_witness(part),
        Expr::Not(_) => false,
        Expr::Atom(atom) => match &atom.test {
            Test::Text(pattern) => text_witness(pattern, atom.field.is_some()),
            Test::Regex(regex) => regex_witness(regex),
            Test::Cidr(_) | Test::Compare(..) | Test::TimePart(..) => true,
            Test::Exists(_) | Test::Null | Test::FieldRef { .. } => false,
        },
    }
}

fn text_witness(pattern: &Pattern, whole: bool) -> bool {
    let exact = whole && matches!(pattern.pieces.as_slice(), [] | [Piece::Literal(_)]);
    exact
        || pattern.pieces.iter().any(|piece| match piece {
            Piece::Literal(text) => text.chars().count() >= LITERAL_CHARS_MIN,
            Piece::One | Piece::Any => false,
        })
}

/// Whether a run of plain characters stands outside of groups and classes, where nothing makes it
/// optional. An alternative at the top makes everything optional.
fn regex_witness(regex: &Regex) -> bool {
    let (mut depth, mut run, mut longest) = (0usize, 0usize, 0usize);
    let mut rest = regex.source.chars().peekable();
    let mut in_class = false;
    while let Some(c) = rest.next() {
        let literal = match c {
            '\\' => rest.next().is_some_and(|escaped| !escaped.is_ascii_alphanumeric()),
            ']' if in_class => {
                in_class = false;
                false
            }
            _ if in_class => false,
            '[' => {
                in_class = true;
                false
            }
            '(' => {
                depth += 1;
                false
            }
            ')' => {
                depth = depth.saturating_sub(1);
                false
            }
            '|' if depth == 0 => return false,
            '.' | '^' | '$' | '|' | '*' | '+' | '?' | '{' | '}' => false,
            _ => true,
        };
        let optional = matches!(rest.peek(), Some('?' | '*' | '{'));
        run = if literal && !in_class && depth == 0 && !optional { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    longest >= LITERAL_CHARS_MIN
}
