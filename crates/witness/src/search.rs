//! The search: which alternatives of a rule to satisfy, so that every field has a value.
//!
//! A rule is a tree of *all of* and *one of* over literals (a test that must or must not hold).
//! Literals that are not below an alternative are asked of their fields at once; every alternative
//! waits until the event found so far does not satisfy it, and only then is one of its branches
//! chosen. Most filters of a rule are satisfied by an event that does not even have their field, so
//! most choices are never made. It is complete all the same: an event that the alternative does not
//! hold for must change, and each branch is a way to change it.
//!
//! When the literals of a field exclude each other, the choices that put them there are known by
//! their level, and the search goes back to the last of those rather than to the last of all. When
//! no choice is left, the rule can't match, provided that each conflict was proven.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use event::Event;
use matcher::plain;
use sigma::expr::{Atom, Expr, Pattern, Piece, Relation, Test};

use crate::exact;
use crate::field::{self, Asked, Literal, Outcome};
use crate::{Arrays, Conflict, Field, GaveUp, NoWitness, Options, Value, Witness, put};

/// The most choices between alternatives that are tried for one rule. The hardest public rule takes
/// some hundred.
pub const DECISIONS_MAX: u32 = 20_000;

/// The most choices that one way to satisfy a rule may have: each is a level of recursion.
pub const DEPTH_MAX: u32 = 1_000;

/// The most conflicts that are told for one rule.
const CONFLICTS_MAX: usize = 8;

/// The most tests of a conflict for which it is tried to leave some out.
const SHRINK_TESTS_MAX: usize = 64;

/// Where the text of keywords is put: the first of these names that the rule does not use itself.
const KEYWORD_FIELDS: [&str; 3] = ["message", "event.reason", "text"];

/// The key of keywords among the fields.
const KEYWORDS: &str = "";

/// Fields that ECS defines as arrays, by name or by what they begin with.
const ECS_ARRAYS: &[&str] = &[
    "dns.answers",
    "dns.header_flags",
    "dns.resolved_ip",
    "event.category",
    "event.type",
    "host.ip",
    "host.mac",
    "process.args",
    "process.parent.args",
    "related.",
    "tags",
    "threat.",
    "user.roles",
];

pub(crate) fn solve(expr: &Expr, options: &Options<'_>) -> Result<Witness, NoWitness> {
    solve_telling(expr, options, true)
}

/// [`solve`] without telling what excludes each other, which takes longer than the search: a
/// conflict is made small by solving it again and again.
pub(crate) fn solve_untold(expr: &Expr, options: &Options<'_>) -> Result<Witness, NoWitness> {
    solve_telling(expr, options, false)
}

fn solve_telling(expr: &Expr, options: &Options<'_>, telling: bool) -> Result<Witness, NoWitness> {
    let mut search = Search {
        options,
        telling,
        decisions: 0,
        walks: exact::Walks::default(),
        known: HashMap::new(),
        gave_up: None,
        conflicts: Vec::new(),
    };
    let mut state = State { keywords_as: keyword_field(expr), ..State::default() };
    let mut touched = BTreeSet::new();
    state.require(expr, true, 0, &mut touched);
    if let Some(absent) = options.absent {
        expr.for_each_atom(&mut |atom| {
            if let Some(name) = atom.field.as_ref().filter(|name| absent.contains(&***name)) {
                let test = Test::Exists(false);
                let atom = Atom { field: Some(name.clone()), test };
                state.add(Literal::new(atom, true, 0), &mut touched);
            }
        });
    }
    let found = search.settle(&mut state, touched).and_then(|()| search.decide(state, 1));
    match found {
        Ok(state) => {
            let witness = minimal(expr, state.witness());
            if plain::matches(expr, &witness.event()) {
                return Ok(witness);
            }
            Err(NoWitness::GaveUp(GaveUp::Unverified))
        }
        Err(_) => Err(match search.gave_up {
            Some(reason) => NoWitness::GaveUp(reason),
            None => NoWitness::Contradiction(search.conflicts),
        }),
    }
}

/// Leaves out what the rule holds without: a choice may have made an earlier one superfluous.
fn minimal(expr: &Expr, mut witness: Witness) -> Witness {
    for at in (0..witness.fields.len()).rev() {
        let mut without = witness.clone();
        without.fields.remove(at);
        if plain::matches(expr, &without.event()) {
            witness = without;
        }
    }
    witness
}

fn keyword_field(expr: &Expr) -> &'static str {
    let mut used = BTreeSet::new();
    expr.for_each_atom(&mut |atom| {
        used.extend(atom.field.as_deref());
        if let Test::FieldRef { field, .. } = &atom.test {
            used.insert(field);
        }
    });
    KEYWORD_FIELDS.into_iter().find(|name| !used.contains(name)).unwrap_or("watched.text")
}

/// A field and its tests: where each stands in memory, and whether it must hold.
type FieldTests = (Arc<str>, Vec<(usize, bool)>);

/// The levels of the choices that a conflict rests on.
type Levels = BTreeSet<u32>;

struct Search<'a> {
    options: &'a Options<'a>,
    /// Conflicts are wanted for people to read.
    telling: bool,
    decisions: u32,
    /// What exact searches share.
    walks: exact::Walks,
    /// What was found for a field and its tests, by where these stand in the rule.
    known: HashMap<FieldTests, Outcome>,
    /// The first reason not to trust that there is no witness.
    gave_up: Option<GaveUp>,
    conflicts: Vec<Conflict>,
}

/// What is asked so far, and the event found for it.
#[derive(Clone, Default)]
struct State<'e> {
    fields: BTreeMap<Arc<str>, Wanted>,
    /// Keywords that no field may have.
    denied: Vec<Literal>,
    /// Alternatives, one branch of which must hold.
    pending: Vec<Goal<'e>>,
    keywords_as: &'static str,
}

#[derive(Clone, Default)]
struct Wanted {
    literals: Vec<Literal>,
    values: Vec<Value>,
}

#[derive(Clone, Copy)]
struct Goal<'e> {
    expr: &'e Expr,
    positive: bool,
    level: u32,
}

impl<'e> State<'e> {
    /// Asks for an expression to hold, or not to. The fields it touches have no values for it yet.
    fn require(
        &mut self,
        expr: &'e Expr,
        positive: bool,
        level: u32,
        touched: &mut BTreeSet<Arc<str>>,
    ) {
        match (expr, positive) {
            (Expr::And(parts), true) | (Expr::Or(parts), false) => {
                for part in parts {
                    self.require(part, positive, level, touched);
                }
            }
            (Expr::And(_), false) | (Expr::Or(_), true) => {
                self.pending.push(Goal { expr, positive, level });
            }
            (Expr::Not(part), _) => self.require(part, !positive, level, touched),
            (Expr::Selection(_, part), _) => self.require(part, positive, level, touched),
            (Expr::Atom(atom), _) => {
                let mut literal = Literal::new(atom.clone(), positive, level);
                literal.origin = std::ptr::from_ref(atom).addr();
                self.add(literal, touched);
            }
        }
    }

    fn add(&mut self, literal: Literal, touched: &mut BTreeSet<Arc<str>>) {
        let name: Arc<str> = match &literal.atom().field {
            None if !literal.positive => {
                self.denied.push(literal);
                touched.extend(self.fields.keys().cloned());
                return;
            }
            None => KEYWORDS.into(),
            Some(name) => name.clone(),
        };
        if let Test::FieldRef { field, .. } = &literal.atom().test {
            self.fields.entry(field.clone()).or_default();
            touched.insert(field.clone());
        }
        let wanted = self.fields.entry(name.clone()).or_default();
        if !wanted.literals.iter().any(|known| known.asks_the_same(&literal)) {
            wanted.literals.push(literal);
            touched.insert(name);
        }
    }

    fn witness(&self) -> Witness {
        let mut fields = Vec::new();
        for (name, wanted) in &self.fields {
            if !wanted.values.is_empty() {
                let name = if &**name == KEYWORDS { self.keywords_as.into() } else { name.clone() };
                fields.push(Field { name, values: wanted.values.clone() });
            }
        }
        Witness { fields }
    }

    fn event(&self) -> Event {
        self.witness().event()
    }

    /// Fields that must have values together: linked by references that must hold.
    fn linked(&self, name: &Arc<str>) -> BTreeSet<Arc<str>> {
        let mut group = BTreeSet::from([name.clone()]);
        loop {
            let before = group.len();
            for (own, wanted) in &self.fields {
                for other in wanted.literals.iter().filter_map(Literal::refers_to) {
                    if group.contains(own) || group.contains(other) {
                        group.insert(own.clone());
                        group.insert(other.clone());
                    }
                }
            }
            if group.len() == before {
                return group;
            }
        }
    }
}

impl Search<'_> {
    /// Finds values for the touched fields.
    fn settle(&mut self, state: &mut State<'_>, touched: BTreeSet<Arc<str>>) -> Result<(), Levels> {
        let mut done: BTreeSet<Arc<str>> = BTreeSet::new();
        for name in touched {
            if done.contains(&name) {
                continue;
            }
            let group = state.linked(&name);
            let refers = |name| {
                let wanted: Option<&Wanted> = state.fields.get(name);
                wanted.is_some_and(|wanted| wanted.literals.iter().any(|l| l.refers_to().is_some()))
            };
            if group.len() == 1 && !refers(&name) {
                self.settle_field(state, &name)?;
            } else {
                self.settle_group(state, &group)?;
            }
            done.extend(group);
        }
        self.keep_references_apart(state)
    }

    fn settle_field(&mut self, state: &mut State<'_>, name: &Arc<str>) -> Result<(), Levels> {
        let Some(wanted) = state.fields.get(name) else { return Ok(()) };
        let literals: Vec<&Literal> = wanted
            .literals
            .iter()
            .filter(|literal| !literal.is_reference())
            .chain(&state.denied)
            .collect();
        let asked = self.asked(state, name, literals);
        if asked.holds(&wanted.values) {
            return Ok(());
        }
        // The same tests come together again and again in different branches.
        let mut key: Vec<(usize, bool)> =
            asked.literals.iter().map(|literal| (literal.origin, literal.positive)).collect();
        key.sort_unstable();
        let key = (name.clone(), key);
        let outcome = match self.known.get(&key) {
            Some(outcome) => outcome.clone(),
            None => {
                let outcome = field::solve(&asked, &mut self.walks);
                self.known.insert(key, outcome.clone());
                outcome
            }
        };
        match outcome {
            Outcome::Values(values) => {
                if let Some(wanted) = state.fields.get_mut(name) {
                    wanted.values = values;
                }
                Ok(())
            }
            outcome => {
                let proven = matches!(outcome, Outcome::Impossible);
                Err(self.conflict(state, name, &asked.literals, proven))
            }
        }
    }

    /// Values for fields that refer to each other. Equal ones are one field with the tests of both.
    /// Of the others, those are found first that are referred to, and what refers to them must then
    /// have their text.
    fn settle_group(
        &mut self,
        state: &mut State<'_>,
        group: &BTreeSet<Arc<str>>,
    ) -> Result<(), Levels> {
        let mut references = Vec::new();
        let mut literals: BTreeMap<Arc<str>, Vec<Literal>> = BTreeMap::new();
        for name in group {
            let own = literals.entry(name.clone()).or_default();
            let Some(wanted) = state.fields.get(name) else { continue };
            for literal in &wanted.literals {
                match &literal.atom().test {
                    Test::FieldRef { field, relation, cased } if literal.positive => {
                        references.push((name.clone(), field.clone(), *relation, *cased, literal));
                    }
                    Test::FieldRef { .. } => {}
                    _ => own.push(literal.clone()),
                }
            }
        }
        // Which name stands for which after joining the equal ones.
        let mut stands_for: BTreeMap<Arc<str>, Arc<str>> =
            group.iter().map(|name| (name.clone(), name.clone())).collect();
        for (own, other, relation, ..) in &references {
            if *relation != Relation::Equals {
                continue;
            }
            let (from, into) = (stands_for[own].clone(), stands_for[other].clone());
            if from != into {
                for name in stands_for.values_mut().filter(|name| **name == from) {
                    *name = into.clone();
                }
                let moved = literals.remove(&from).unwrap_or_default();
                literals.entry(into.clone()).or_default().extend(moved);
            }
        }
        let mut needs: Vec<(Arc<str>, Arc<str>, Relation, bool)> = references
            .iter()
            .filter(|(_, _, relation, ..)| *relation != Relation::Equals)
            .map(|(own, other, relation, cased, _)| {
                (stands_for[own].clone(), stands_for[other].clone(), *relation, *cased)
            })
            .collect();
        needs.retain(|(own, other, ..)| own != other);

        let mut found: BTreeMap<Arc<str>, Vec<Value>> = BTreeMap::new();
        let mut open: Vec<Arc<str>> = literals.keys().cloned().collect();
        while !open.is_empty() {
            // With a circle, the first of it is found as if it referred to nothing.
            let next = open
                .iter()
                .position(|name| {
                    !needs.iter().any(|(own, other, ..)| own == name && open.contains(other))
                })
                .unwrap_or(0);
            let name = open.remove(next);
            let mut own = literals.get(&name).cloned().unwrap_or_default();
            for (_, other, relation, cased) in needs.iter().filter(|(own, ..)| *own == name) {
                let Some(text) = found.get(other).and_then(|values| values.first()?.text()) else {
                    continue;
                };
                let mut pieces = vec![Piece::Literal(text)];
                if matches!(relation, Relation::StartsWith | Relation::Contains) {
                    pieces.push(Piece::Any);
                }
                if matches!(relation, Relation::EndsWith | Relation::Contains) {
                    pieces.insert(0, Piece::Any);
                }
                own.push(text_literal(&name, pieces, *cased));
            }
            // Only texts relate, so there must be one; not an empty one if nothing else is asked.
            let asks = |literal: &Literal| {
                let there = matches!(literal.atom().test, Test::Exists(_) | Test::Null);
                literal.positive && !there
            };
            let any = if own.iter().any(asks) { vec![] } else { vec![Piece::One] };
            own.push(text_literal(&name, [any, vec![Piece::Any]].concat(), false));
            // The tests of joined fields name other fields; here they are all this one's.
            let own: Vec<Literal> = own.into_iter().map(|literal| literal.of(&name)).collect();
            let asked = self.asked(state, &name, own.iter().chain(&state.denied).collect());
            match field::solve(&asked, &mut self.walks) {
                Outcome::Values(values) => {
                    found.insert(name, values);
                }
                outcome => {
                    // Without references to texts found before, the conflict is of the tests.
                    let proven = matches!(outcome, Outcome::Impossible)
                        && needs.iter().all(|(own, ..)| *own != name)
                        && asked.literals.iter().all(|literal| literal.ignores_case());
                    let mut all = asked.literals.clone();
                    all.retain(|literal| !literal.is_synthetic());
                    all.extend(references.iter().map(|reference| reference.4));
                    let levels = self.conflict(state, &name, &all, proven);
                    return Err(levels);
                }
            }
        }
        for name in group {
            let values = found.get(&stands_for[name]).cloned().unwrap_or_default();
            if let Some(wanted) = state.fields.get_mut(name) {
                wanted.values = values;
            }
        }
        Ok(())
    }

    /// Where a field must not relate to another and does, it gets another value.
    fn keep_references_apart(&mut self, state: &mut State<'_>) -> Result<(), Levels> {
        let denied: Vec<(Arc<str>, Literal)> = state
            .fields
            .iter()
            .flat_map(|(name, wanted)| wanted.literals.iter().map(|l| (name.clone(), l.clone())))
            .filter(|(_, literal)| literal.is_reference() && !literal.positive)
            .collect();
        for (name, literal) in denied {
            if literal.holds(&state.event()) {
                continue;
            }
            let Test::FieldRef { field: other, relation, cased } = &literal.atom().test else {
                continue;
            };
            let apart = state.fields.get(other).and_then(|wanted| wanted.values.first()?.text());
            let mut literals: Vec<Literal> =
                state.fields.get(&name).map(|wanted| wanted.literals.clone()).unwrap_or_default();
            literals.retain(|literal| !literal.is_reference());
            let mut pieces: Vec<Piece> =
                apart.into_iter().filter(|text| !text.is_empty()).map(Piece::Literal).collect();
            if matches!(relation, Relation::StartsWith | Relation::Contains) {
                pieces.push(Piece::Any);
            }
            if matches!(relation, Relation::EndsWith | Relation::Contains) {
                pieces.insert(0, Piece::Any);
            }
            let mut differs = text_literal(&name, pieces, *cased);
            differs.positive = false;
            literals.push(differs);
            let asked = self.asked(state, &name, literals.iter().chain(&state.denied).collect());
            let outcome = field::solve(&asked, &mut self.walks);
            let kept = asked.literals.iter().filter(|l| !l.is_synthetic()).copied();
            let all: Vec<&Literal> = kept.chain([&literal]).collect();
            match outcome {
                Outcome::Values(values) if state.linked(&name).len() == 1 => {
                    if let Some(wanted) = state.fields.get_mut(&name) {
                        wanted.values = values;
                    }
                    // A field always relates to itself.
                    if !literal.holds(&state.event()) {
                        return Err(self.conflict(state, &name, &all, false));
                    }
                }
                _ => return Err(self.conflict(state, &name, &all, false)),
            }
        }
        Ok(())
    }

    fn asked<'l>(
        &self,
        state: &State<'_>,
        name: &Arc<str>,
        literals: Vec<&'l Literal>,
    ) -> Asked<'l> {
        let keywords = &**name == KEYWORDS;
        let name: &str = if keywords { state.keywords_as } else { name };
        let arrays = keywords
            || match self.options.arrays {
                Arrays::Nowhere => false,
                Arrays::Everywhere => true,
                Arrays::WhereEcsHasThem => ECS_ARRAYS.iter().any(|known| {
                    name == *known || (known.ends_with('.') && name.starts_with(known))
                }),
            };
        Asked { name: name.into(), literals, arrays, seed: self.options.seed }
    }

    /// Notes that tests exclude each other, or seem to; gives the choices they come from.
    fn conflict(
        &mut self,
        state: &State<'_>,
        name: &Arc<str>,
        literals: &[&Literal],
        proven: bool,
    ) -> Levels {
        let levels: Levels = literals.iter().map(|literal| literal.level).collect();
        if proven && (!self.telling || self.conflicts.len() >= CONFLICTS_MAX) {
            return levels;
        }
        let mut kept = literals.to_vec();
        if proven && kept.len() <= SHRINK_TESTS_MAX && !kept.iter().any(|l| l.is_reference()) {
            let mut at = 0;
            while at < kept.len() {
                let mut fewer = kept.clone();
                fewer.remove(at);
                let asked = self.asked(state, name, fewer);
                if matches!(field::solve(&asked, &mut self.walks), Outcome::Impossible) {
                    kept = asked.literals;
                } else {
                    at += 1;
                }
            }
        }
        let field = if &**name == KEYWORDS { "any text".to_owned() } else { name.to_string() };
        let mut tests: Vec<String> = kept.iter().map(|literal| literal.to_string()).collect();
        tests.dedup();
        let conflict = Conflict { field, tests };
        if !proven {
            self.gave_up.get_or_insert(GaveUp::Values(conflict));
        } else if !self.conflicts.contains(&conflict) {
            self.conflicts.push(conflict);
        }
        levels
    }

    /// Satisfies what is pending; gives the state in which all is.
    fn decide<'e>(&mut self, state: State<'e>, level: u32) -> Result<State<'e>, Levels> {
        let event = state.event();
        let unsatisfied = state
            .pending
            .iter()
            .enumerate()
            .filter(|(_, goal)| plain::matches(goal.expr, &event) != goal.positive)
            .min_by_key(|(_, goal)| branches(goal.expr).len());
        let Some((at, goal)) = unsatisfied.map(|(at, goal)| (at, *goal)) else {
            return Ok(state);
        };
        if level > DEPTH_MAX {
            self.gave_up.get_or_insert(GaveUp::Depth);
            return Err(Levels::new());
        }
        let mut order: Vec<(u32, &Expr)> = branches(goal.expr)
            .iter()
            .map(|branch| (cost(branch, goal.positive, &event, &state), branch))
            .collect();
        order.sort_by_key(|(cost, _)| *cost);
        if self.options.seed > 0 {
            // Another witness begins with another of the alternatives.
            let turn = self.options.seed as usize % order.len().max(1);
            order.rotate_left(turn);
        }
        let mut blame: Levels = BTreeSet::from([goal.level]);
        for (_, branch) in order {
            self.decisions += 1;
            if self.decisions > self.options.decisions_max {
                self.gave_up.get_or_insert(GaveUp::Decisions);
                return Err(Levels::new());
            }
            let mut next = state.clone();
            next.pending.swap_remove(at);
            let mut touched = BTreeSet::new();
            next.require(branch, goal.positive, level, &mut touched);
            let found = self.settle(&mut next, touched).and_then(|()| self.decide(next, level + 1));
            match found {
                Ok(state) => return Ok(state),
                // The choice made here had no part in it: no other branch would help.
                Err(levels) if !levels.contains(&level) => return Err(levels),
                Err(levels) => blame.extend(levels.into_iter().filter(|own| *own != level)),
            }
        }
        Err(blame)
    }
}

/// The alternatives of a goal; its polarity says whether they must hold or must not.
fn branches(expr: &Expr) -> &[Expr] {
    match expr {
        Expr::And(parts) | Expr::Or(parts) => parts,
        _ => &[],
    }
}

/// How much a branch asks for beyond what the event has already.
fn cost(expr: &Expr, positive: bool, event: &Event, state: &State<'_>) -> u32 {
    match expr {
        Expr::And(parts) | Expr::Or(parts) => {
            let costs = parts.iter().map(|part| cost(part, positive, event, state));
            if matches!(expr, Expr::And(_)) == positive {
                costs.fold(0, u32::saturating_add)
            } else {
                costs.min().unwrap_or(0)
            }
        }
        Expr::Not(part) => cost(part, !positive, event, state),
        Expr::Selection(_, part) => cost(part, positive, event, state),
        Expr::Atom(atom) => {
            if plain::matches(expr, event) == positive {
                return 0;
            }
            let asked = atom.field.as_ref().is_some_and(|name| state.fields.contains_key(name));
            let test = match atom.test {
                Test::Text(_) => 0,
                Test::Exists(_) | Test::Null | Test::Cidr(_) | Test::Compare(..) => 1,
                Test::TimePart(..) => 2,
                Test::Regex(_) => 4,
                Test::FieldRef { .. } => 6,
            };
            2 + test + u32::from(asked)
        }
    }
}

/// A test that the search adds itself.
fn text_literal(name: &Arc<str>, pieces: Vec<Piece>, cased: bool) -> Literal {
    let test = Test::Text(Pattern { pieces: joined(pieces), cased });
    let mut literal = Literal::new(Atom { field: Some(name.clone()), test }, true, 0);
    literal.synthetic = true;
    literal
}

/// Without empty literals and doubled `*`, as patterns promise.
fn joined(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut kept: Vec<Piece> = Vec::new();
    for piece in pieces {
        let empty = matches!(&piece, Piece::Literal(text) if text.is_empty());
        let again = piece == Piece::Any && kept.last() == Some(&Piece::Any);
        if !empty && !again {
            kept.push(piece);
        }
    }
    kept
}

impl Literal {
    pub(crate) fn new(atom: Atom, positive: bool, level: u32) -> Literal {
        Literal { test: Rc::new(Expr::Atom(atom)), positive, level, synthetic: false, origin: 0 }
    }
}

/// Writes values into an event, for one field at a time.
pub(crate) fn event_with(name: &str, values: &[Value]) -> Event {
    let mut event = Event::new();
    put(&mut event, name, values);
    event
}
