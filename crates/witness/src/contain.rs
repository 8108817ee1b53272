//! Rules within rules: when everything that one matches, another matches too.
//!
//! The pairs to look at come from the fast matcher, which is asked about several different witnesses
//! of each rule, so that the cost grows with the number of rules and not with its square. Whether a
//! pair is one can sometimes be read off the two expressions ([`implies`]): one asks for all that
//! the other asks for, and more. Otherwise the solver looks for an event that the one matches and
//! the other does not. Only if it gives up, it is left at "every witness that was tried".

use matcher::Matcher;
use sigma::Logsource;
use sigma::expr::{Atom, Comparison, Expr, Pattern, Piece, Test};

use crate::search::{event_with, solve_untold};
use crate::{Arrays, NoWitness, Options, Value, Witness};

/// The most different witnesses of a rule that are tried on others.
pub const VARIANTS_MAX: u32 = 6;

/// The most choices for each of these witnesses.
const VARIANT_DECISIONS_MAX: u32 = 1_000;

/// The most choices for an event that one rule matches and another does not.
const ESCAPE_DECISIONS_MAX: u32 = 300;

/// The most steps of one comparison of expressions.
const STEPS_MAX: u32 = 50_000;

/// A rule whose events are matched by another one as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contained {
    /// The rule that matches fewer events, by its index.
    pub inner: usize,
    /// The rule that matches them too.
    pub outer: usize,
    /// How sure that is.
    pub proof: Proof,
}

/// How it is known that a rule is contained in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Its condition implies the other's.
    Structure,
    /// There is no event that it matches and the other does not, as far as fields have one value.
    Solved,
    /// This many different witnesses of it are all matched by the other; more is not known.
    Witnesses(u32),
}

/// The pairs of rules of which one is contained in the other. Rules without a witness are in none.
pub fn contained(rules: &[matcher::Rule], matcher: &Matcher) -> Vec<Contained> {
    let mut scratch = matcher.scratch();
    let mut pairs = Vec::new();
    for (inner, rule) in rules.iter().enumerate() {
        let mut candidates: Option<Vec<u32>> = None;
        let mut variants = 0;
        for witness in variants_of(rule) {
            let hits = matcher.matches(&witness.event_of(&rule.logsource), &mut scratch);
            match &mut candidates {
                Some(candidates) => candidates.retain(|hit| hits.contains(hit)),
                None => {
                    let others = hits.iter().copied().filter(|hit| *hit as usize != inner);
                    candidates = Some(others.collect());
                }
            }
            variants += 1;
            if candidates.as_ref().is_some_and(Vec::is_empty) {
                break;
            }
        }
        for outer in candidates.unwrap_or_default() {
            let Some(other) = rules.get(outer as usize) else { continue };
            if !covers(&other.logsource, &rule.logsource) {
                continue;
            }
            let proof = if implies(&rule.expr, &other.expr) {
                Proof::Structure
            } else {
                match escapes(rule, other) {
                    Ok(_) => continue,
                    Err(NoWitness::Contradiction(_)) => Proof::Solved,
                    Err(NoWitness::GaveUp(_)) => Proof::Witnesses(variants),
                }
            };
            pairs.push(Contained { inner, outer: outer as usize, proof });
        }
    }
    pairs
}

/// An event that the inner rule matches and the outer one does not.
fn escapes(inner: &matcher::Rule, outer: &matcher::Rule) -> Result<Witness, NoWitness> {
    let expr = Expr::And(vec![inner.expr.clone(), Expr::Not(Box::new(outer.expr.clone()))]);
    let options = Options {
        arrays: Arrays::of(&inner.logsource),
        decisions_max: ESCAPE_DECISIONS_MAX,
        ..Options::default()
    };
    solve_untold(&expr, &options)
}

/// Different witnesses of a rule, the plainest first.
fn variants_of(rule: &matcher::Rule) -> impl Iterator<Item = Witness> {
    let arrays = Arrays::of(&rule.logsource);
    let mut known: Vec<Witness> = Vec::new();
    (0..VARIANTS_MAX).filter_map(move |seed| {
        let options =
            Options { arrays, seed, decisions_max: VARIANT_DECISIONS_MAX, ..Options::default() };
        let witness = solve_untold(&rule.expr, &options).ok()?;
        if known.contains(&witness) {
            return None;
        }
        known.push(witness.clone());
        Some(witness)
    })
}

/// Whether every event that a rule of the logsource `inner` reads, a rule of `outer` reads too.
pub fn covers(outer: &Logsource, inner: &Logsource) -> bool {
    let parts = (inner.product.as_deref(), inner.category.as_deref(), inner.service.as_deref());
    sigma::logsource::feeds(outer, parts)
}

/// Whether it can be read off the expressions that `outer` holds for every event for which `inner`
/// does. `false` says nothing.
pub fn implies(inner: &Expr, outer: &Expr) -> bool {
    let mut steps = STEPS_MAX;
    prove(inner, outer, &mut steps)
}

fn prove(inner: &Expr, outer: &Expr, steps: &mut u32) -> bool {
    let Some(left) = steps.checked_sub(1) else { return false };
    *steps = left;
    match (inner, outer) {
        (Expr::Selection(_, inner), outer) => prove(inner, outer, steps),
        (inner, Expr::Selection(_, outer)) => prove(inner, outer, steps),
        // Nothing is lost by taking these apart first.
        (Expr::Or(parts), outer) => parts.iter().all(|part| prove(part, outer, steps)),
        (inner, Expr::And(parts)) => parts.iter().all(|part| prove(inner, part, steps)),
        (Expr::Not(inner), outer) if pushed(inner).is_some() => {
            pushed(inner).is_some_and(|inner| prove(&inner, outer, steps))
        }
        (inner, Expr::Not(outer)) if pushed(outer).is_some() => {
            pushed(outer).is_some_and(|outer| prove(inner, &outer, steps))
        }
        // One part of either is enough.
        (Expr::And(inner_parts), Expr::Or(outer_parts)) => {
            inner_parts.iter().any(|part| prove(part, outer, steps))
                || outer_parts.iter().any(|part| prove(inner, part, steps))
        }
        (Expr::And(parts), outer) => parts.iter().any(|part| prove(part, outer, steps)),
        (inner, Expr::Or(parts)) => parts.iter().any(|part| prove(inner, part, steps)),
        (Expr::Not(inner), Expr::Not(outer)) => prove(outer, inner, steps),
        (Expr::Atom(inner), Expr::Atom(outer)) => atom_implies(inner, outer),
        (Expr::Atom(_), Expr::Not(_)) | (Expr::Not(_), Expr::Atom(_)) => false,
    }
}

/// The opposite of an expression, with the `not` one level further down.
fn pushed(denied: &Expr) -> Option<Expr> {
    let not = |part: &Expr| Expr::Not(Box::new(part.clone()));
    match denied {
        Expr::And(parts) => Some(Expr::Or(parts.iter().map(not).collect())),
        Expr::Or(parts) => Some(Expr::And(parts.iter().map(not).collect())),
        Expr::Not(part) => Some((**part).clone()),
        Expr::Selection(_, part) => Some(not(part)),
        Expr::Atom(_) => None,
    }
}

/// Whether every value that passes the one test passes the other.
fn atom_implies(inner: &Atom, outer: &Atom) -> bool {
    if inner == outer {
        return true;
    }
    if inner.field != outer.field {
        return inner.field.is_some() && outer.field.is_none() && text_within(inner, outer);
    }
    match (&inner.test, &outer.test) {
        (Test::Exists(false), Test::Null) => true,
        (Test::Exists(_) | Test::Null, _) => false,
        (_, Test::Exists(true)) => inner.field.is_some(),
        (Test::Cidr(inner), Test::Cidr(outer)) => {
            let family = inner.address.is_ipv4() == outer.address.is_ipv4();
            let atom = Atom { field: Some("a".into()), test: Test::Cidr(*outer) };
            let event = event_with("a", &[Value::Text(inner.address.to_string())]);
            family
                && outer.prefix <= inner.prefix
                && matcher::plain::matches(&Expr::Atom(atom), &event)
        }
        (Test::Compare(inner, low), Test::Compare(outer, high)) => match (inner, outer) {
            (Comparison::Less, Comparison::Less | Comparison::LessOrEqual)
            | (Comparison::LessOrEqual, Comparison::LessOrEqual) => low <= high,
            (Comparison::LessOrEqual, Comparison::Less) => low < high,
            (Comparison::Greater, Comparison::Greater | Comparison::GreaterOrEqual)
            | (Comparison::GreaterOrEqual, Comparison::GreaterOrEqual) => low >= high,
            (Comparison::GreaterOrEqual, Comparison::Greater) => low > high,
            _ => false,
        },
        _ => text_within(inner, outer),
    }
}

/// Whether every text that one pattern matches passes another test.
fn text_within(inner: &Atom, outer: &Atom) -> bool {
    let Test::Text(own) = &inner.test else { return false };
    // A single text can be tried, if its letter case does not matter or is known.
    if let (Some(_), [Piece::Literal(text)]) = (&inner.field, own.pieces.as_slice()) {
        let caseless = text.chars().all(|c| c.to_lowercase().eq([c]) && c.to_uppercase().eq([c]));
        let sensitive = match &outer.test {
            Test::Text(pattern) => pattern.cased,
            Test::Regex(regex) => !regex.ignore_case,
            Test::FieldRef { .. } => return false,
            _ => false,
        };
        if own.cased || caseless || !sensitive {
            let name = inner.field.as_deref().unwrap_or_default();
            let event = event_with(name, &[Value::Text(text.clone())]);
            return matcher::plain::matches(&Expr::Atom(outer.clone()), &event);
        }
        return false;
    }
    match &outer.test {
        Test::Text(other) => {
            (own.cased || !other.cased)
                && within(
                    &symbols(own, inner.field.is_none(), other.cased),
                    &symbols(other, outer.field.is_none(), other.cased),
                )
        }
        _ => false,
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Symbol {
    Letter(char),
    One,
    Any,
}

fn symbols(pattern: &Pattern, anywhere: bool, cased: bool) -> Vec<Symbol> {
    let mut symbols = Vec::new();
    if anywhere {
        symbols.push(Symbol::Any);
    }
    for piece in &pattern.pieces {
        match piece {
            Piece::Any => symbols.push(Symbol::Any),
            Piece::One => symbols.push(Symbol::One),
            Piece::Literal(text) => symbols.extend(text.chars().map(|c| {
                let lower = if cased { c } else { c.to_lowercase().next().unwrap_or(c) };
                Symbol::Letter(lower)
            })),
        }
    }
    if anywhere {
        symbols.push(Symbol::Any);
    }
    symbols.dedup_by(|a, b| *a == Symbol::Any && *b == Symbol::Any);
    symbols
}

/// Whether the outer pattern matches the inner one read as a text in which `*` and `?` are
/// characters that only wildcards match; then it matches whatever stands for them.
fn within(inner: &[Symbol], outer: &[Symbol]) -> bool {
    // reachable[i]: the outer pattern's symbols so far can match the first i of the inner.
    let mut reachable = vec![false; inner.len() + 1];
    reachable[0] = true;
    for symbol in outer {
        let mut next = vec![false; inner.len() + 1];
        match symbol {
            Symbol::Any => {
                let first = reachable.iter().position(|reached| *reached);
                next.iter_mut()
                    .skip(first.unwrap_or(usize::MAX))
                    .for_each(|reached| *reached = true);
            }
            Symbol::One | Symbol::Letter(_) => {
                for (at, own) in inner.iter().enumerate() {
                    let fits = match own {
                        Symbol::Letter(_) => symbol == own || *symbol == Symbol::One,
                        Symbol::One => *symbol == Symbol::One,
                        Symbol::Any => false,
                    };
                    next[at + 1] = reachable[at] && fits;
                }
            }
        }
        reachable = next;
    }
    reachable.last().copied().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(pattern: &str) -> Expr {
        let test = Test::Text(Pattern::parse(pattern, false));
        Expr::Atom(Atom { field: Some("a".into()), test })
    }

    #[test]
    fn patterns_within_patterns() {
        let check = |inner: &str, outer: &str, expected: bool| {
            assert_eq!(implies(&text(inner), &text(outer)), expected, "{inner} {outer}");
        };
        check("*abc*", "*B*", true);
        check("*b*", "*abc*", false);
        check("a*c", "a*", true);
        check("a*", "a*c", false);
        check("a?c*", "a*", true);
        check("a?c", "a?c", true);
        check("a*c", "a?c", false);
        check("abc", "a?c", true);
        check("x", "*", true);
        check("*a*b*", "*b*a*", false);
    }

    #[test]
    fn all_of_more_is_within_one_of_more() {
        let inner = Expr::And(vec![text("*a*"), text("*b*"), Expr::Not(Box::new(text("*cd*")))]);
        let outer = Expr::Or(vec![text("*z*"), Expr::And(vec![text("*b*"), text("*a*")])]);
        assert!(implies(&inner, &outer));
        assert!(!implies(&outer, &inner));
        assert!(implies(&inner, &Expr::Not(Box::new(text("*cde*")))));
        assert!(!implies(&inner, &Expr::Not(Box::new(text("*c*")))));
    }
}
