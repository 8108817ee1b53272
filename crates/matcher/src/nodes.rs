//! The conditions of all rules as one graph: equal parts are one node.
//!
//! Selections vanish, nested `and` and `or` become flat, and what several rules share (the
//! "PowerShell" selection of a hundred rules) is found by numbering nodes by their content.

use std::collections::HashMap;
use std::rc::Rc;

use sigma::expr::{Expr, Network, Test};

use crate::atoms::{AtomId, FieldId, Interner};

/// Number of a node.
pub(crate) type NodeId = u32;

/// How deep a condition may nest. A person writes three levels, `N of` makes a few more; compiling
/// and evaluating go down as deep as the condition does.
pub const DEPTH_MAX: usize = 256;

/// So many networks in one `or` are asked together.
const NETWORKS_TOGETHER_MIN: usize = 4;

/// A part of a condition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Node {
    Atom(AtomId),
    Not(NodeId),
    /// Sorted, without repetition, at least two.
    And(Rc<[NodeId]>),
    /// Sorted, without repetition, at least two.
    Or(Rc<[NodeId]>),
}

/// All nodes, children before parents.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    pub(crate) all: Vec<Node>,
    known: HashMap<Node, NodeId, foldhash::fast::FixedState>,
}

impl Nodes {
    /// The node of an expression, or why it can't be matched.
    pub(crate) fn add<'r>(
        &mut self,
        expr: &'r Expr,
        interner: &mut Interner<'r>,
        depth: usize,
    ) -> Result<NodeId, String> {
        if depth > DEPTH_MAX {
            return Err(format!("the condition nests deeper than {DEPTH_MAX} levels"));
        }
        match expr {
            Expr::Atom(atom) => {
                let atom = interner.atom(atom)?;
                Ok(self.intern(Node::Atom(atom)))
            }
            Expr::Selection(_, part) => self.add(part, interner, depth + 1),
            Expr::Not(part) => {
                let part = self.add(part, interner, depth + 1)?;
                Ok(match self.all[part as usize] {
                    Node::Not(inner) => inner,
                    _ => self.intern(Node::Not(part)),
                })
            }
            Expr::And(parts) => {
                let mut children = Vec::with_capacity(parts.len());
                for part in parts {
                    let child = self.add(part, interner, depth + 1)?;
                    match &self.all[child as usize] {
                        Node::And(inner) => children.extend_from_slice(inner),
                        _ => children.push(child),
                    }
                }
                Ok(self.join(children, Node::And))
            }
            Expr::Or(parts) => {
                let mut children = Vec::with_capacity(parts.len());
                let mut networks: Vec<(FieldId, Vec<Network>)> = Vec::new();
                let together = parts.iter().filter(|part| is_network(part)).count();
                for part in parts {
                    if let Expr::Atom(atom) = part
                        && let (Some(field), Test::Cidr(network)) = (&atom.field, &atom.test)
                        && together >= NETWORKS_TOGETHER_MIN
                    {
                        let field = interner.field(field);
                        match networks.iter_mut().find(|(known, _)| *known == field) {
                            Some((_, list)) => list.push(*network),
                            None => networks.push((field, vec![*network])),
                        }
                        continue;
                    }
                    let child = self.add(part, interner, depth + 1)?;
                    match &self.all[child as usize] {
                        Node::Or(inner) => children.extend_from_slice(inner),
                        _ => children.push(child),
                    }
                }
                for (field, list) in networks {
                    let atom = interner.networks(field, list);
                    children.push(self.intern(Node::Atom(atom)));
                }
                Ok(self.join(children, Node::Or))
            }
        }
    }

    fn join(&mut self, mut children: Vec<NodeId>, make: fn(Rc<[NodeId]>) -> Node) -> NodeId {
        children.sort_unstable();
        children.dedup();
        match children.as_slice() {
            [only] => *only,
            _ => self.intern(make(children.into())),
        }
    }

    fn intern(&mut self, node: Node) -> NodeId {
        if let Some(id) = self.known.get(&node) {
            return *id;
        }
        let id = self.all.len() as NodeId;
        self.all.push(node.clone());
        self.known.insert(node, id);
        id
    }
}

fn is_network(expr: &Expr) -> bool {
    matches!(expr, Expr::Atom(atom) if atom.field.is_some() && matches!(atom.test, Test::Cidr(_)))
}
