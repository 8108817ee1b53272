//! What each rule waits for.
//!
//! A rule can hold only if certain things are in the event: one of a few literals in a field, or
//! the field itself. The rarest such set is the rule's witness, and until one of the set is seen
//! the rule costs nothing. A condition that could hold by what is *not* in the event has no
//! witness; such rules are evaluated for every event of their class, and named in the report.
//!
//! Most rules are an `and` of which two parts are rare (`reg.exe` and a key's name). Then both are
//! witnesses, and the rule is evaluated only where both were seen.

use std::collections::HashMap;

use sigma::expr::{Piece, Test};

use crate::atoms::{ANY, AtomId, FieldId, Interner, single_literal};
use crate::common;
use crate::nodes::{Node, NodeId, Nodes};
use crate::required;
use crate::text::lower;

/// A second witness that is seen more often than this, or that has more literals, spares less
/// than it costs.
const SECOND_WEIGHT_MAX: f64 = 0.25;
const SECOND_LITERALS_MAX: usize = 100;

/// Number of a trigger.
pub(crate) type TriggerId = u32;

/// Marks the ends of a text in the searched buffer; no byte of UTF-8.
pub(crate) const EDGE: u8 = 0xFF;

/// An `or` with so many literals that are no witness is searched for all the same: one search
/// for all of them costs less than a test for each.
const SEARCHED_TOGETHER_MIN: usize = 40;
/// Shorter literals are neither searched for in such a list nor as a second witness: they are
/// found in nearly every text.
const LONG_BYTES_MIN: usize = 4;

/// One thing that may be seen in an event.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Trigger {
    /// This lower-cased literal in a value of the field, or of any field. [`EDGE`] at either end
    /// of it stands for the end of the value. At least two bytes, or one rare one in a certain field.
    Literal(FieldId, Box<[u8]>),
    /// The field.
    Present(FieldId),
}

/// All triggers, and the atoms that they decide.
#[derive(Debug, Default)]
pub(crate) struct Triggers {
    pub(crate) all: Vec<Trigger>,
    /// For each the atom that holds exactly when it is seen, if an atom is searched this way.
    pub(crate) decides: Vec<Option<AtomId>>,
    known: HashMap<Trigger, TriggerId, foldhash::fast::FixedState>,
}

impl Triggers {
    fn add(&mut self, trigger: Trigger, decides: Option<AtomId>) -> TriggerId {
        let id = match self.known.get(&trigger) {
            Some(id) => *id,
            None => {
                let id = self.all.len() as TriggerId;
                self.all.push(trigger.clone());
                self.decides.push(None);
                self.known.insert(trigger, id);
                id
            }
        };
        let decided = &mut self.decides[id as usize];
        *decided = decided.or(decides);
        id
    }
}

/// What a rule waits for.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    /// One of these must be seen.
    pub(crate) first: Box<[TriggerId]>,
    /// And one of these, all literals; empty if that is not asked.
    pub(crate) second: Box<[TriggerId]>,
}

/// Why a condition has no witness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lack {
    /// It may hold because this atom does not.
    Negated(AtomId),
    /// This atom may hold of a field that is not there, or of any text.
    Anything(AtomId),
}

/// The sum of how often each is seen, and what is to be seen.
type Found = Result<(f64, Vec<Seen>), Lack>;

/// A trigger before it is numbered, and whether it decides its atom.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Seen {
    trigger: Trigger,
    decides: Option<AtomId>,
}

/// Chooses witnesses.
pub(crate) struct Chooser<'n> {
    nodes: &'n Nodes,
    /// For each node what is needed for it to hold, once asked.
    held: Vec<Option<Found>>,
    pub(crate) triggers: Triggers,
}

impl<'n> Chooser<'n> {
    pub(crate) fn new(nodes: &'n Nodes) -> Self {
        Chooser { nodes, held: vec![None; nodes.all.len()], triggers: Triggers::default() }
    }

    /// What a rule waits for, or why there is nothing. Marks the atoms that are decided by the
    /// search.
    pub(crate) fn witness(
        &mut self,
        root: NodeId,
        interner: &mut Interner<'_>,
    ) -> Result<Witness, Lack> {
        let (_, first) = self.needed(root, true, interner)?;
        let nodes = self.nodes;
        let mut second: Option<(f64, Vec<Seen>)> = None;
        if let Node::And(parts) = &nodes.all[root as usize] {
            for part in parts.iter() {
                let Ok((weight, seen)) = self.needed(*part, true, interner) else { continue };
                if seen.iter().all(is_long)
                    && seen != first
                    && seen.len() <= SECOND_LITERALS_MAX
                    && weight < second.as_ref().map_or(SECOND_WEIGHT_MAX, |(least, _)| *least)
                {
                    second = Some((weight, seen));
                }
            }
        }
        let first = self.numbers(first, interner);
        let second = second.map(|(_, seen)| self.numbers(seen, interner)).unwrap_or_default();
        Ok(Witness { first, second })
    }

    fn numbers(&mut self, seen: Vec<Seen>, interner: &mut Interner<'_>) -> Box<[TriggerId]> {
        let mut ids: Vec<TriggerId> =
            seen.into_iter().map(|seen| self.number(seen, interner)).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.into()
    }

    /// Has the literals of every large `or` searched too.
    pub(crate) fn search_large_lists(&mut self, interner: &mut Interner<'_>) {
        let nodes = self.nodes;
        for node in &nodes.all {
            let Node::Or(parts) = node else { continue };
            let literals: Vec<Seen> = parts
                .iter()
                .filter_map(|part| match nodes.all[*part as usize] {
                    Node::Atom(atom) => exactly(atom, interner),
                    _ => None,
                })
                .filter(is_long)
                .collect();
            if literals.len() >= SEARCHED_TOGETHER_MIN {
                for seen in literals {
                    self.number(seen, interner);
                }
            }
        }
    }

    fn number(&mut self, seen: Seen, interner: &mut Interner<'_>) -> TriggerId {
        let id = self.triggers.add(seen.trigger, seen.decides);
        // Of two atoms that ask the same in different words (keywords `x` and `*x*`), only the
        // first is answered by the search.
        if let Some(atom) = seen.decides
            && self.triggers.decides[id as usize] == Some(atom)
        {
            interner.atoms.prepared[atom as usize].searched = true;
        }
        id
    }

    /// What must be seen for the node to hold, or (`positive` not) for it not to hold.
    fn needed(&mut self, node: NodeId, positive: bool, interner: &Interner<'_>) -> Found {
        if positive && let Some(found) = &self.held[node as usize] {
            return found.clone();
        }
        let nodes = self.nodes;
        let found = match &nodes.all[node as usize] {
            Node::Atom(atom) => needed_by_atom(*atom, positive, interner),
            Node::Not(part) => self.needed(*part, !positive, interner),
            Node::And(parts) if positive => self.rarest(parts, positive, interner),
            Node::Or(parts) if !positive => self.rarest(parts, positive, interner),
            Node::And(parts) | Node::Or(parts) => {
                // Any of them could be the one that holds.
                let (mut sum, mut all) = (0.0, Vec::new());
                let mut lack = None;
                for part in parts.iter() {
                    match self.needed(*part, positive, interner) {
                        Ok((weight, seen)) => {
                            sum += weight;
                            all.extend(seen);
                        }
                        Err(reason) => {
                            lack = Some(reason);
                            break;
                        }
                    }
                }
                lack.map_or(Ok((sum, all)), Err)
            }
        };
        if positive {
            self.held[node as usize] = Some(found.clone());
        }
        found
    }

    /// All of them are needed, so the best one will do.
    fn rarest(&mut self, parts: &[NodeId], positive: bool, interner: &Interner<'_>) -> Found {
        let mut best: Option<Found> = None;
        for part in parts {
            let found = self.needed(*part, positive, interner);
            let better = match (&best, &found) {
                (None, _) | (Some(Err(_)), Ok(_)) => true,
                (Some(Ok((least, _))), Ok((weight, _))) => weight < least,
                (Some(_), Err(_)) => false,
            };
            if better {
                best = Some(found);
            }
        }
        best.unwrap_or(Ok((0.0, Vec::new())))
    }
}

fn is_long(seen: &Seen) -> bool {
    match &seen.trigger {
        Trigger::Literal(_, bytes) => bytes.len() >= LONG_BYTES_MIN,
        Trigger::Present(_) => false,
    }
}

fn needed_by_atom(atom: AtomId, positive: bool, interner: &Interner<'_>) -> Found {
    let prepared = &interner.atoms.prepared[atom as usize];
    let present = || {
        let Some(field) = interner.atoms.fields.get(prepared.field as usize) else {
            return Err(Lack::Anything(atom));
        };
        let seen = Seen { trigger: Trigger::Present(prepared.field), decides: None };
        Ok((common::present(&field.name), vec![seen]))
    };
    let Some(written) = interner.written[atom as usize] else {
        // Many networks; shared parts come into being after witnesses.
        return if positive { present() } else { Err(Lack::Negated(atom)) };
    };
    match (&written.test, positive) {
        (Test::Exists(false) | Test::Null, true) => Err(Lack::Anything(atom)),
        (Test::Exists(false) | Test::Null, false) => present(),
        (_, false) => Err(Lack::Negated(atom)),
        (Test::Text(pattern), true) => {
            if let Some(seen) = exactly(atom, interner) {
                return Ok((weigh(&seen, interner), vec![seen]));
            }
            let last = pattern.pieces.len().saturating_sub(1);
            let seen = pattern.pieces.iter().enumerate().filter_map(|(index, piece)| {
                let Piece::Literal(text) = piece else { return None };
                let edges = written.field.is_some();
                let trigger = literal_trigger(
                    prepared.field,
                    lower(text).as_bytes(),
                    edges && index == 0,
                    edges && index == last,
                )?;
                let seen = Seen { trigger, decides: None };
                Some((weigh(&seen, interner), vec![seen]))
            });
            seen.min_by(|(a, _), (b, _)| a.total_cmp(b)).map_or_else(present, Ok)
        }
        (Test::Regex(regex), true) => {
            let Some(literals) = required::literals(regex) else { return present() };
            let seen: Option<Vec<Seen>> = literals
                .iter()
                .map(|text| {
                    let trigger = literal_trigger(prepared.field, text.as_bytes(), false, false)?;
                    Some(Seen { trigger, decides: None })
                })
                .collect();
            let Some(seen) = seen else { return present() };
            Ok((seen.iter().map(|seen| weigh(seen, interner)).sum(), seen))
        }
        _ => present(),
    }
}

/// The trigger that is seen exactly when the atom holds, if there is one.
fn exactly(atom: AtomId, interner: &Interner<'_>) -> Option<Seen> {
    let written = interner.written[atom as usize]?;
    let Test::Text(pattern) = &written.test else { return None };
    if pattern.cased {
        return None;
    }
    let literal = single_literal(pattern, written.field.is_none())?;
    let field = interner.atoms.prepared[atom as usize].field;
    let trigger = literal_trigger(field, &literal.bytes, literal.start, literal.end)?;
    Some(Seen { trigger, decides: Some(atom) })
}

fn literal_trigger(field: FieldId, literal: &[u8], start: bool, end: bool) -> Option<Trigger> {
    let mut bytes = Vec::with_capacity(literal.len() + 2);
    if start {
        bytes.push(EDGE);
    }
    bytes.extend_from_slice(literal);
    if end {
        bytes.push(EDGE);
    }
    let enough = bytes.len() >= 2 || (field != ANY && common::tells_enough(&bytes));
    (enough && !literal.is_empty()).then(|| Trigger::Literal(field, bytes.into()))
}

fn weigh(seen: &Seen, interner: &Interner<'_>) -> f64 {
    let name = |field: &FieldId| interner.atoms.fields.get(*field as usize).map(|f| &*f.name);
    match &seen.trigger {
        Trigger::Present(field) => name(field).map_or(1.0, common::present),
        Trigger::Literal(field, bytes) => {
            debug_assert!(*field == ANY || name(field).is_some());
            let start = bytes.first() == Some(&EDGE);
            let end = bytes.last() == Some(&EDGE);
            let inner = &bytes[usize::from(start)..bytes.len() - usize::from(end)];
            common::holds(name(field), inner, start, end)
        }
    }
}
