//! A condition as a list of tests with two ways on from each.
//!
//! `a and not (b or c)` is "a: go on or fail; b: fail or go on; c: fail or hold". There is no
//! stack and no bookkeeping of `and` and `or`, and what need not be tested is jumped over. Tests
//! are put in the order that decides soonest for the least work, by the guesses of
//! [`crate::common`]; the outcome does not depend on it.

use sigma::expr::{Piece, Test};

use crate::atoms::{ANY, AtomId, Interner, Kind, Shape};
use crate::common;
use crate::nodes::{Node, NodeId, Nodes};

/// One test, and where to go on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub(crate) atom: AtomId,
    pub(crate) if_held: u32,
    pub(crate) if_not: u32,
}

/// "Go on" at no step: the condition holds.
pub(crate) const HOLDS: u32 = u32::MAX;
/// "Go on" at no step: the condition does not hold.
pub(crate) const FAILS: u32 = u32::MAX - 1;

/// What the order of tests is decided by.
#[derive(Debug, Clone, Copy)]
struct Guess {
    /// In tests of a short literal.
    cost: f64,
    /// How often it holds.
    part: f64,
}

/// The programs of all rules in one list of steps.
#[derive(Debug, Default)]
pub(crate) struct Programs {
    pub(crate) steps: Vec<Step>,
}

/// Writes programs. Steps only ever lead to steps written before them, so every program ends.
pub(crate) struct Compiler<'n> {
    nodes: &'n Nodes,
    guesses: Vec<Guess>,
    /// For each node the atom that stands for it, if it is a shared part.
    shared: Vec<Option<AtomId>>,
    programs: Programs,
}

impl<'n> Compiler<'n> {
    /// `roots` are the nodes of the rules. Parts that are used more than once get an atom of
    /// their own, whose answer is kept like any other's.
    pub(crate) fn new(nodes: &'n Nodes, roots: &[NodeId], interner: &mut Interner<'_>) -> Self {
        let mut uses = vec![0u32; nodes.all.len()];
        for root in roots {
            uses[*root as usize] += 1;
        }
        for node in &nodes.all {
            match node {
                Node::Atom(_) => {}
                Node::Not(part) => uses[*part as usize] += 1,
                Node::And(parts) | Node::Or(parts) => {
                    parts.iter().for_each(|part| uses[*part as usize] += 1);
                }
            }
        }
        let mut compiler = Compiler {
            nodes,
            guesses: Vec::with_capacity(nodes.all.len()),
            shared: vec![None; nodes.all.len()],
            programs: Programs::default(),
        };
        for (id, node) in nodes.all.iter().enumerate() {
            let guess = compiler.guess(node, interner);
            compiler.guesses.push(guess);
            if uses[id] > 1 && matches!(node, Node::And(_) | Node::Or(_)) {
                let begin = compiler.emit_parts(id as NodeId, HOLDS, FAILS);
                let atom = interner.shared();
                interner.atoms.prepared[atom as usize].kind = Kind::Shared(begin);
                compiler.shared[id] = Some(atom);
            }
        }
        compiler
    }

    /// Writes the program of a node and tells where it begins.
    pub(crate) fn program(&mut self, node: NodeId) -> u32 {
        self.emit(node, HOLDS, FAILS)
    }

    pub(crate) fn finish(self) -> Programs {
        self.programs
    }

    fn emit(&mut self, node: NodeId, if_held: u32, if_not: u32) -> u32 {
        match self.shared[node as usize] {
            Some(atom) => self.step(atom, if_held, if_not),
            None => self.emit_parts(node, if_held, if_not),
        }
    }

    fn emit_parts(&mut self, node: NodeId, if_held: u32, if_not: u32) -> u32 {
        let nodes = self.nodes;
        match &nodes.all[node as usize] {
            Node::Atom(atom) => self.step(*atom, if_held, if_not),
            Node::Not(part) => self.emit(*part, if_not, if_held),
            Node::And(parts) => {
                let order = self.order(parts, |guess| guess.cost / (1.0 - guess.part).max(1e-9));
                order.iter().rev().fold(if_held, |next, part| self.emit(*part, next, if_not))
            }
            Node::Or(parts) => {
                let order = self.order(parts, |guess| guess.cost / guess.part.max(1e-9));
                order.iter().rev().fold(if_not, |next, part| self.emit(*part, if_held, next))
            }
        }
    }

    fn step(&mut self, atom: AtomId, if_held: u32, if_not: u32) -> u32 {
        self.programs.steps.push(Step { atom, if_held, if_not });
        (self.programs.steps.len() - 1) as u32
    }

    fn order(&self, parts: &[NodeId], weight: impl Fn(Guess) -> f64) -> Vec<NodeId> {
        let mut order = parts.to_vec();
        let weight = |part: &NodeId| weight(self.guesses[*part as usize]);
        order.sort_by(|a, b| weight(a).total_cmp(&weight(b)));
        order
    }

    fn guess(&self, node: &Node, interner: &Interner<'_>) -> Guess {
        let of = |part: &NodeId| self.guesses[*part as usize];
        match node {
            Node::Atom(atom) => guess_atom(*atom, interner),
            Node::Not(part) => Guess { cost: of(part).cost, part: 1.0 - of(part).part },
            Node::And(parts) => Guess {
                cost: parts.iter().map(|part| of(part).cost).sum::<f64>() * 0.6,
                part: parts.iter().map(|part| of(part).part).product(),
            },
            Node::Or(parts) => Guess {
                cost: parts.iter().map(|part| of(part).cost).sum::<f64>() * 0.8,
                part: parts.iter().map(|part| of(part).part).sum::<f64>().min(0.95),
            },
        }
    }
}

fn guess_atom(atom: AtomId, interner: &Interner<'_>) -> Guess {
    let prepared = &interner.atoms.prepared[atom as usize];
    let written = interner.written[atom as usize];
    let field = written.and_then(|atom| atom.field.as_deref());
    let part = match written.map(|atom| &atom.test) {
        Some(Test::Text(pattern)) => {
            let longest = pattern
                .pieces
                .iter()
                .filter_map(|piece| match piece {
                    Piece::Literal(text) => Some(text.to_lowercase()),
                    Piece::One | Piece::Any => None,
                })
                .max_by_key(String::len)
                .unwrap_or_default();
            let whole = pattern.pieces.len() == 1;
            common::holds(field, longest.as_bytes(), whole, whole)
        }
        Some(Test::Exists(true)) => 0.5,
        Some(Test::Exists(false) | Test::Null) => 0.3,
        Some(Test::Compare(..)) => 0.3,
        _ => 0.05,
    };
    let cost = match &prepared.kind {
        _ if prepared.searched => 0.3,
        // A keyword is sought in every value.
        _ if prepared.field == ANY => 100.0,
        Kind::Exists(_) | Kind::Null => 0.5,
        Kind::Text { shape: Shape::Contains(_), .. } => 3.0,
        Kind::Text { shape: Shape::Other(_), .. } => 5.0,
        Kind::Text { .. } => 1.0,
        Kind::Compare(..) => 3.0,
        Kind::Cidr(_) => 5.0,
        Kind::Networks(_) => 10.0,
        Kind::FieldRef { .. } => 20.0,
        Kind::TimePart(..) => 30.0,
        Kind::Regex(_) => 60.0,
        Kind::Shared(_) => 1.0,
    };
    Guess { cost, part }
}
