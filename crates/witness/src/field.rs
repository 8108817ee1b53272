//! One field: a value that passes some tests and fails others, or the proof that there is none.
//!
//! Candidates are put together from the tests (texts from their pieces, addresses and numbers from
//! the ends of intervals, times from their parts) and each is evaluated; the first that does is
//! taken, so the order of candidates is the order of taste. Only when none does, texts are searched
//! for exactly ([`crate::exact`]), which also proves that there is none.

use std::fmt::{self, Display, Formatter};
use std::rc::Rc;
use std::sync::Arc;

use event::Event;
use matcher::plain;
use sigma::expr::{Atom, Expr, Pattern, Piece, Test};

use crate::exact::Walks;
use crate::search::event_with;
use crate::{Value, exact, number, text};

/// A test that must hold, or must not.
#[derive(Clone)]
pub(crate) struct Literal {
    /// Always an atom; kept as an expression because that is what is evaluated.
    pub(crate) test: Rc<Expr>,
    pub(crate) positive: bool,
    /// The choice that asked for it; zero when none did.
    pub(crate) level: u32,
    /// Not of the rule, but added by the search.
    pub(crate) synthetic: bool,
    /// Where it stands in memory, to know it again; zero when it is not of the rule.
    pub(crate) origin: usize,
}

/// What is asked of one field.
pub(crate) struct Asked<'l> {
    pub(crate) name: Arc<str>,
    pub(crate) literals: Vec<&'l Literal>,
    /// The field may have several values.
    pub(crate) arrays: bool,
    pub(crate) seed: u32,
}

#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// None means that the field is not there.
    Values(Vec<Value>),
    Impossible,
    Unknown,
}

/// A value for a field that only has to be there.
const ANYTHING: [&str; 4] = ["x", "1", "-", "any value"];

/// Finds values.
pub(crate) fn solve(asked: &Asked<'_>, walks: &mut Walks) -> Outcome {
    let wants = |wanted: &Test| {
        asked.literals.iter().any(|literal| literal.positive && literal.atom().test == *wanted)
    };
    let denies = |denied: &Test| {
        asked.literals.iter().any(|literal| !literal.positive && literal.atom().test == *denied)
    };
    let valued: Vec<&Literal> = asked
        .literals
        .iter()
        .copied()
        .filter(|literal| {
            literal.positive && !matches!(literal.atom().test, Test::Exists(_) | Test::Null)
        })
        .collect();
    let absent = wants(&Test::Exists(false)) || denies(&Test::Exists(true));
    let present = wants(&Test::Exists(true))
        || denies(&Test::Exists(false))
        || denies(&Test::Null)
        || !valued.is_empty();
    let null = wants(&Test::Null);
    match (absent, present) {
        (true, true) => return Outcome::Impossible,
        (_, false) => return asked.checked(Vec::new()),
        (false, true) => {}
    }
    if null && denies(&Test::Null) {
        return Outcome::Impossible;
    }
    if valued.is_empty() {
        let mut candidates = vec![];
        if !null {
            candidates.extend(ANYTHING.map(|text| vec![Value::of(text)]));
        }
        if !denies(&Test::Null) {
            candidates.push(vec![Value::Null]);
        }
        let found = candidates.into_iter().find(|values| asked.holds(values));
        return match found {
            Some(values) => Outcome::Values(values),
            None if null => Outcome::Unknown,
            None => one_value(asked, &[&any_text(&asked.name)], walks),
        };
    }
    if null {
        if !asked.arrays {
            return Outcome::Impossible;
        }
        return match several(asked, &valued, walks) {
            Outcome::Values(mut values) => {
                values.push(Value::Null);
                asked.checked(values)
            }
            outcome => outcome,
        };
    }
    match one_value(asked, &valued, walks) {
        Outcome::Values(values) => Outcome::Values(values),
        outcome if !asked.arrays || valued.len() == 1 => outcome,
        _ => several(asked, &valued, walks),
    }
}

/// As few values as will do: each test that must hold joins the first value that can take it.
fn several(asked: &Asked<'_>, valued: &[&Literal], walks: &mut Walks) -> Outcome {
    let mut groups: Vec<(Vec<&Literal>, Value)> = Vec::new();
    for literal in valued {
        let mut placed = false;
        for (group, value) in &mut groups {
            let mut larger = group.clone();
            larger.push(literal);
            if let Outcome::Values(values) = one_value(asked, &larger, walks) {
                *group = larger;
                value.clone_from(&values[0]);
                placed = true;
                break;
            }
        }
        if placed {
            continue;
        }
        match one_value(asked, &[literal], walks) {
            Outcome::Values(mut values) => groups.push((vec![literal], values.remove(0))),
            // Alone with what must not hold, and still not: more values would not help.
            outcome => return outcome,
        }
    }
    asked.checked(groups.into_iter().map(|(_, value)| value).collect())
}

/// One value that passes these tests, and none of those that must not hold.
fn one_value(asked: &Asked<'_>, wanted: &[&Literal], walks: &mut Walks) -> Outcome {
    let denied: Vec<&Literal> = asked
        .literals
        .iter()
        .copied()
        .filter(|literal| !literal.positive && !matches!(literal.atom().test, Test::Exists(_)))
        .collect();
    let holds = |value: &Value| {
        let event = event_with(&asked.name, std::slice::from_ref(value));
        wanted.iter().chain(&denied).all(|literal| literal.holds(&event))
    };
    let tests = |literals: &[&Literal]| {
        literals.iter().map(|literal| literal.atom().test.clone()).collect::<Vec<Test>>()
    };
    let (wanted_tests, denied_tests) = (tests(wanted), tests(&denied));

    let exact_text = wanted.iter().filter_map(|literal| literal.exact()).max_by_key(|(_, c)| *c);
    if let Some((exact_text, _)) = exact_text {
        let casings = text::casings(exact_text, &wanted_tests);
        if let Some(value) = casings.into_iter().map(Value::of).find(|value| holds(value)) {
            return Outcome::Values(vec![value]);
        }
        let event = event_with(&asked.name, &[Value::of(exact_text)]);
        let failed = wanted.iter().chain(&denied).filter(|literal| !literal.holds(&event));
        if failed.into_iter().any(|literal| literal.ignores_case()) {
            return Outcome::Impossible;
        }
    }

    for find in [number::addresses, number::numbers, number::times] {
        match find(&wanted_tests, &denied_tests) {
            number::Found::NotAsked => {}
            number::Found::Impossible => return Outcome::Impossible,
            number::Found::Candidates(values) => {
                if let Some(value) = values.into_iter().find(|value| holds(value)) {
                    return Outcome::Values(vec![value]);
                }
            }
        }
    }
    let taste = text::Taste::of(&asked.name, asked.seed);
    if let Some(value) = text::assemble(wanted, &taste, &mut |text| {
        // A text, whatever it looks like: what has wildcards is asked of texts.
        let value = Value::Text(text);
        holds(&value).then_some(value)
    }) {
        return Outcome::Values(vec![value]);
    }
    match exact::search(wanted, &denied, walks) {
        exact::Answer::Text(text) => {
            let value = Value::Text(text);
            if holds(&value) { Outcome::Values(vec![value]) } else { Outcome::Unknown }
        }
        exact::Answer::Impossible => Outcome::Impossible,
        exact::Answer::Unknown => Outcome::Unknown,
    }
}

fn any_text(name: &Arc<str>) -> Literal {
    let test = Test::Text(Pattern { pieces: vec![Piece::Any], cased: false });
    Literal::new(Atom { field: Some(name.clone()), test }, true, 0)
}

impl Asked<'_> {
    /// Whether all tests come out as asked for these values.
    pub(crate) fn holds(&self, values: &[Value]) -> bool {
        let event = event_with(&self.name, values);
        self.literals.iter().all(|literal| literal.holds(&event))
    }

    fn checked(&self, values: Vec<Value>) -> Outcome {
        if self.holds(&values) { Outcome::Values(values) } else { Outcome::Unknown }
    }
}

impl Literal {
    pub(crate) fn atom(&self) -> &Atom {
        match &*self.test {
            Expr::Atom(atom) => atom,
            _ => unreachable!("a literal is made of an atom"),
        }
    }

    pub(crate) fn holds(&self, event: &Event) -> bool {
        plain::matches(&self.test, event) == self.positive
    }

    pub(crate) fn asks_the_same(&self, other: &Literal) -> bool {
        self.positive == other.positive && self.atom() == other.atom()
    }

    pub(crate) fn is_reference(&self) -> bool {
        matches!(self.atom().test, Test::FieldRef { .. })
    }

    pub(crate) fn is_synthetic(&self) -> bool {
        self.synthetic
    }

    /// The other field, when this one must relate to it.
    pub(crate) fn refers_to(&self) -> Option<&Arc<str>> {
        match &self.atom().test {
            Test::FieldRef { field, .. } if self.positive => Some(field),
            _ => None,
        }
    }

    /// The same test of another field.
    pub(crate) fn of(&self, name: &Arc<str>) -> Literal {
        let field = self.atom().field.is_some().then(|| name.clone());
        let atom = Atom { field, test: self.atom().test.clone() };
        Literal { test: Rc::new(Expr::Atom(atom)), ..self.clone() }
    }

    /// Whether the test's answer is the same in every letter case.
    pub(crate) fn ignores_case(&self) -> bool {
        match &self.atom().test {
            Test::Text(pattern) => !pattern.cased,
            Test::Regex(_) => false,
            Test::FieldRef { cased, .. } => !cased,
            Test::Cidr(_)
            | Test::Compare(..)
            | Test::Exists(_)
            | Test::Null
            | Test::TimePart(..) => true,
        }
    }

    /// The only text that passes, but for its letter case, and whether that counts. A keyword may
    /// stand within a longer text.
    fn exact(&self) -> Option<(&str, bool)> {
        match &self.atom().test {
            Test::Text(pattern) if self.atom().field.is_some() => match pattern.pieces.as_slice() {
                [] => Some(("", pattern.cased)),
                [Piece::Literal(text)] => Some((text, pattern.cased)),
                _ => None,
            },
            _ => None,
        }
    }
}

impl Display for Literal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.positive { "" } else { "not " }, self.atom())
    }
}
