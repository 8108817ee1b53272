//! Near misses: the witness changed a little, so that one part of the condition fails.
//!
//! A witness rests on parts: tests that must hold, alternatives of which one does, and filters that
//! do not. For each of them the event is changed so that just this part gives way: a letter of the
//! text that is looked for, the character after a text that must be the last, the address after a
//! network, the whole filter made to apply. The rule must not match what results; if it does, it
//! does not mean what it says. A filter that can't be made to apply to anything that the rule
//! selects is dead, which is worth knowing too.

use std::sync::Arc;

use event::Event;
use matcher::plain;
use sigma::Logsource;
use sigma::expr::{Atom, Comparison, Expr, Pattern, Piece, Relation, Test};

use crate::search::solve_untold;
use crate::{Arrays, NoWitness, Options, Value, Witness, number, sample};

/// The most near misses of one rule.
pub const NEAR_MISSES_MAX: usize = 64;

/// The most tests that are made to fail for one near miss.
const SPOILED_MAX: usize = 32;

/// The most letters of a text that are changed, one at a time, to make its test fail.
const LETTERS_MAX: usize = 6;

/// The most choices that are tried for a filter to apply.
const FILTER_DECISIONS_MAX: u32 = 2_000;

/// The witness changed so that a part of the condition fails.
#[derive(Debug, Clone, PartialEq)]
pub struct NearMiss {
    /// The part that fails: its selection, and the test or the filter.
    pub part: String,
    /// What differs from the witness.
    pub changes: Vec<Change>,
    /// Whether it is only this part that keeps the rule from matching.
    pub alone: bool,
    /// The changed event.
    pub witness: Witness,
}

/// A field that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Its name.
    pub field: Arc<str>,
    /// Its values in the witness; none when it is not there.
    pub before: Vec<Value>,
    /// Its values now; none when it is taken away.
    pub after: Vec<Value>,
}

/// The near misses of a rule.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Nearby {
    /// One for each part, where there is one.
    pub misses: Vec<NearMiss>,
    /// The other parts.
    pub without: Vec<Without>,
}

/// A part of the condition without a near miss.
#[derive(Debug, Clone, PartialEq)]
pub struct Without {
    /// The part.
    pub part: String,
    /// Whether it was proven that nothing which the rule selects has it: a filter that never
    /// applies.
    pub never_applies: bool,
}

/// Near misses of a witness of the expression, one for each part that it rests on.
pub fn near_misses(expr: &Expr, witness: &Witness, logsource: &Logsource) -> Nearby {
    let mut nearby = Nearby::default();
    let event = witness.event();
    let mut parts = Vec::new();
    gather(expr, "", &event, &mut parts);
    parts.truncate(NEAR_MISSES_MAX);
    for part in parts {
        let (changed, never_applies) = match part.filter {
            Some(filter) => apply_filter(expr, &part, filter, logsource),
            None => (spoil_part(expr, &part, witness), false),
        };
        let miss = changed.filter(|changed| !plain::matches(expr, &changed.event()));
        match miss {
            Some(changed) => nearby.misses.push(NearMiss {
                part: part.name,
                changes: changes(witness, &changed),
                alone: holds_given(expr, &changed.event(), part.expr),
                witness: changed,
            }),
            None => nearby.without.push(Without { part: part.name, never_applies }),
        }
    }
    nearby
}

/// A part of the condition that the witness rests on.
struct Part<'e> {
    name: String,
    /// What holds for the witness and must fail.
    expr: &'e Expr,
    /// When that is a `not`: what must hold for it to fail.
    filter: Option<&'e Expr>,
}

/// Adds the parts of an expression that holds.
fn gather<'e>(expr: &'e Expr, selection: &str, event: &Event, parts: &mut Vec<Part<'e>>) {
    let named = |text: String| match selection {
        "" => text,
        selection => format!("{selection}: {text}"),
    };
    match expr {
        Expr::And(each) => each.iter().for_each(|part| gather(part, selection, event, parts)),
        Expr::Selection(name, part) => gather(part, name, event, parts),
        Expr::Or(each) => {
            let mut held = each.iter().filter(|part| plain::matches(part, event));
            match (held.next(), held.next()) {
                (Some(one), None) => gather(one, selection, event, parts),
                _ => parts.push(Part { name: named(clipped(expr)), expr, filter: None }),
            }
        }
        Expr::Not(denied) => {
            let mut filters = Vec::new();
            alternatives(denied, selection, &mut filters);
            for (name, filter) in filters {
                parts.push(Part { name, expr, filter: Some(filter) });
            }
        }
        Expr::Atom(_) => parts.push(Part { name: named(expr.to_string()), expr, filter: None }),
    }
}

/// The filters of `not (a or b)`: each selection, or each test where there is none.
fn alternatives<'e>(expr: &'e Expr, selection: &str, into: &mut Vec<(String, &'e Expr)>) {
    match expr {
        Expr::Selection(name, part) => {
            let is_list = matches!(&**part, Expr::Or(parts)
                if parts.iter().any(|part| !matches!(part, Expr::Atom(_))));
            if is_list {
                alternatives(part, name, into);
            } else {
                into.push((format!("not {name}: {}", clipped(part)), expr));
            }
        }
        Expr::Or(parts) if parts.iter().any(|part| !matches!(part, Expr::Atom(_))) => {
            parts.iter().for_each(|part| alternatives(part, selection, into));
        }
        other => {
            let selection = if selection.is_empty() { "" } else { &format!("{selection}: ") };
            into.push((format!("not {selection}{}", clipped(other)), other));
        }
    }
}

/// The most characters that are shown of a part.
const PART_CHARS_MAX: usize = 160;

fn clipped(expr: &Expr) -> String {
    let text = expr.to_string();
    match text.char_indices().nth(PART_CHARS_MAX) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text,
    }
}

/// An event that the rule selects and this filter takes out.
fn apply_filter(
    expr: &Expr,
    part: &Part<'_>,
    filter: &Expr,
    logsource: &Logsource,
) -> (Option<Witness>, bool) {
    let filtered = replaced(expr, part.expr, filter);
    // Also where the rule matches without this part, it must not match then.
    let options = Options {
        arrays: Arrays::of(logsource),
        decisions_max: FILTER_DECISIONS_MAX,
        ..Options::default()
    };
    let both = Expr::And(vec![filtered, filter.clone()]);
    match solve_untold(&both, &options) {
        Ok(witness) => (Some(witness), false),
        Err(NoWitness::Contradiction(_)) => (None, true),
        Err(NoWitness::GaveUp(_)) => (None, false),
    }
}

/// The expression with one node replaced.
fn replaced(expr: &Expr, node: &Expr, by: &Expr) -> Expr {
    if std::ptr::eq(expr, node) {
        return by.clone();
    }
    let list = |parts: &[Expr]| parts.iter().map(|part| replaced(part, node, by)).collect();
    match expr {
        Expr::And(parts) => Expr::And(list(parts)),
        Expr::Or(parts) => Expr::Or(list(parts)),
        Expr::Not(part) => Expr::Not(Box::new(replaced(part, node, by))),
        Expr::Selection(name, part) => {
            Expr::Selection(name.clone(), Box::new(replaced(part, node, by)))
        }
        Expr::Atom(_) => expr.clone(),
    }
}

/// Whether the expression holds when this node is taken to hold.
fn holds_given(expr: &Expr, event: &Event, node: &Expr) -> bool {
    if std::ptr::eq(expr, node) {
        return true;
    }
    match expr {
        Expr::And(parts) => parts.iter().all(|part| holds_given(part, event, node)),
        Expr::Or(parts) => parts.iter().any(|part| holds_given(part, event, node)),
        Expr::Not(part) => !holds_given(part, event, node),
        Expr::Selection(_, part) => holds_given(part, event, node),
        Expr::Atom(_) => plain::matches(expr, event),
    }
}

/// Changes the witness until the part fails.
fn spoil_part(expr: &Expr, part: &Part<'_>, witness: &Witness) -> Option<Witness> {
    let mut changed = witness.clone();
    for _ in 0..SPOILED_MAX {
        let event = changed.event();
        if !plain::matches(part.expr, &event) {
            return Some(changed);
        }
        let atom = responsible(part.expr, true, &event)?;
        changed = spoil(expr, part, atom, &changed)?;
    }
    None
}

/// A test that holds (or fails, below a `not`) and is why the expression does.
fn responsible<'e>(expr: &'e Expr, positive: bool, event: &Event) -> Option<&'e Expr> {
    match expr {
        Expr::And(parts) | Expr::Or(parts) => parts
            .iter()
            .filter(|part| plain::matches(part, event) == positive)
            .find_map(|part| responsible(part, positive, event)),
        Expr::Not(part) => responsible(part, !positive, event),
        Expr::Selection(_, part) => responsible(part, positive, event),
        // To make a test hold is the solver's work; parts of `not` go there.
        Expr::Atom(_) => positive.then_some(expr),
    }
}

/// The event with this test failing; by the smallest change after which the rest of the rule still
/// holds, or else by any.
fn spoil(expr: &Expr, part: &Part<'_>, test: &Expr, witness: &Witness) -> Option<Witness> {
    let Expr::Atom(atom) = test else { return None };
    let mut any = None;
    let names: Vec<Arc<str>> = match &atom.field {
        Some(name) => vec![name.clone()],
        // A keyword is looked for everywhere, so it must go wherever it is.
        None => witness
            .fields
            .iter()
            .filter(|field| {
                plain::matches(test, &crate::search::event_with(&field.name, &field.values))
            })
            .map(|field| field.name.clone())
            .collect(),
    };
    let name = match names.as_slice() {
        [] => return None,
        [name] => name,
        _ => {
            let mut without = witness.clone();
            names.iter().for_each(|name| without.set(name, Vec::new()));
            return Some(without);
        }
    };
    let current = witness.values(name);
    for values in spoiled(atom, current, witness) {
        if values == current {
            continue;
        }
        let mut changed = witness.clone();
        changed.set(name, values);
        let event = changed.event();
        if plain::matches(test, &event) {
            continue;
        }
        // The changed value may pass another alternative instead.
        let fails = !plain::matches(expr, &event);
        if fails && holds_given(expr, &event, part.expr) {
            return Some(changed);
        }
        match &any {
            Some((_, true)) => {}
            Some(_) if !fails => {}
            _ => any = Some((changed, fails)),
        }
    }
    any.map(|(changed, _)| changed)
}

/// Values with which a test may fail, those that differ least first.
fn spoiled(atom: &Atom, values: &[Value], witness: &Witness) -> Vec<Vec<Value>> {
    let mut candidates = Vec::new();
    let text = match values {
        [value] => value.text().unwrap_or_default(),
        _ => String::new(),
    };
    let one = |text: String| vec![Value::of(text)];
    match &atom.test {
        Test::Text(pattern) => {
            if let Some(Value::Int(number)) = values.first() {
                let steps = [1, -1, 2, 7, 100, 10_000];
                candidates.extend(steps.map(|step| vec![Value::Int(number.wrapping_add(step))]));
            }
            candidates.extend(off_by_a_letter(pattern, atom.field.is_none(), &text).map(one));
        }
        Test::Regex(regex) => {
            for sample in sample::samples(regex) {
                let pattern = Pattern { pieces: vec![Piece::Literal(sample.text)], cased: true };
                candidates.extend(off_by_a_letter(&pattern, true, &text).map(one));
            }
            // Where the sample is not in the text: each letter in turn, from the end.
            let letters: Vec<char> = text.chars().take(256).collect();
            for at in (0..letters.len()).rev() {
                let mut changed = letters.clone();
                if let Some(letter) = changed.get_mut(at) {
                    *letter = other_letter(*letter);
                }
                candidates.push(one(changed.into_iter().collect()));
            }
            for at in (1..letters.len()).rev() {
                candidates.push(one(letters.iter().take(at).collect()));
            }
            candidates.push(one(String::new()));
        }
        Test::Cidr(network) => candidates.extend(number::neighbour(network).map(one)),
        Test::Compare(comparison, number) => {
            let step = match comparison {
                Comparison::Less => 0.0,
                Comparison::LessOrEqual => 1.0,
                Comparison::Greater => 0.0,
                Comparison::GreaterOrEqual => -1.0,
            };
            let number = number + step;
            if number.fract() == 0.0 && number.abs() < 9e15 {
                candidates.push(vec![Value::Int(number as i64)]);
            }
            candidates.push(vec![Value::Float(number)]);
        }
        Test::Exists(true) => {}
        Test::Exists(false) | Test::Null => candidates.push(one("x".to_owned())),
        Test::FieldRef { field, relation, .. } => {
            let other = witness.values(field).first().and_then(Value::text).unwrap_or_default();
            candidates.push(one(match relation {
                Relation::StartsWith => format!("x{text}"),
                Relation::EndsWith => format!("{text}x"),
                Relation::Equals => format!("{text}x"),
                Relation::Contains => text.replacen(&other, "", 1),
            }));
            candidates.push(one("other".to_owned()));
        }
        Test::TimePart(part, number) => {
            for next in [number + 1, number - 1] {
                let wanted = [Test::TimePart(*part, next)];
                if let number::Found::Candidates(times) = number::times(&wanted, &[]) {
                    candidates.push(times);
                }
            }
        }
    }
    candidates.push(Vec::new());
    candidates
}

/// The text with one letter changed, added or left out, where the pattern sees it.
fn off_by_a_letter(
    pattern: &Pattern,
    anywhere: bool,
    text: &str,
) -> impl Iterator<Item = String> + use<> {
    let starts = !anywhere && pattern.pieces.first() != Some(&Piece::Any);
    let ends = !anywhere && pattern.pieces.last() != Some(&Piece::Any);
    let mut candidates = Vec::new();
    if ends {
        candidates.push(format!("{text}x"));
    }
    if starts {
        candidates.push(format!("x{text}"));
    }
    let lower = |text: &str| text.to_ascii_lowercase();
    let mut literals: Vec<&str> = pattern
        .pieces
        .iter()
        .filter_map(|piece| match piece {
            Piece::Literal(literal) => Some(literal.as_str()),
            Piece::One | Piece::Any => None,
        })
        .collect();
    literals.sort_by_key(|literal| std::cmp::Reverse(literal.len()));
    let whole = lower(text);
    for literal in literals {
        let needle = lower(literal);
        let letters = literal.char_indices().rev();
        let (words, signs): (Vec<_>, Vec<_>) = letters.partition(|(_, c)| c.is_alphanumeric());
        for (place, letter) in words.into_iter().chain(signs).take(LETTERS_MAX) {
            for other in [other_letter(letter), 'q'] {
                let mut changed = text.to_owned();
                // Of the same length in bytes, so that the places stay.
                let fits = other.len_utf8() == letter.len_utf8();
                for (at, _) in whole.match_indices(&needle).filter(|_| fits) {
                    let (from, to) = (at + place, at + place + letter.len_utf8());
                    if changed.is_char_boundary(from) && changed.is_char_boundary(to) {
                        changed.replace_range(from..to, other.encode_utf8(&mut [0; 4]));
                    }
                }
                candidates.push(changed);
            }
        }
        candidates.push(whole.replace(&needle, ""));
    }
    candidates.push(String::new());
    candidates.into_iter()
}

/// A letter of the same kind.
fn other_letter(c: char) -> char {
    match c {
        'z' => 'y',
        'Z' => 'Y',
        '9' => '8',
        'a'..='y' | 'A'..='Y' | '0'..='8' => char::from_u32(u32::from(c) + 1).unwrap_or('x'),
        'x'.. => 'x',
        _ => '_',
    }
}

fn changes(before: &Witness, after: &Witness) -> Vec<Change> {
    let mut names: Vec<&Arc<str>> =
        before.fields.iter().chain(&after.fields).map(|field| &field.name).collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .map(|name| Change {
            field: name.clone(),
            before: before.values(name).to_vec(),
            after: after.values(name).to_vec(),
        })
        .filter(|change| change.before != change.after)
        .collect()
}
