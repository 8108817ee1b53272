//! What a rule means: a boolean expression over atoms.
//!
//! Parsing, pipelines and modifiers all end here, so everything behind this file (the plain
//! evaluator, the fast matcher, witnesses, lints) knows one small language and none of Sigma's
//! surface. An atom is one test of one field; all that Sigma expresses by lists, maps, `all`,
//! `windash`, `base64offset` and `1 of them` is already spelled out as `And`, `Or` and `Not`.

use std::net::IpAddr;
use std::sync::Arc;

/// A condition over one event.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// Every part holds. Never empty.
    And(Vec<Expr>),
    /// At least one part holds. Never empty.
    Or(Vec<Expr>),
    /// The part does not hold.
    Not(Box<Expr>),
    /// A named selection of the rule; it holds when its body does. Kept for explanations.
    Selection(Arc<str>, Box<Expr>),
    /// One test of one field.
    Atom(Atom),
}

/// One test of one field. With several values in the field (an array), one that passes is enough.
#[derive(Debug, Clone, PartialEq)]
pub struct Atom {
    /// The event's field, dotted, after all mappings; `None` is a keyword: any text of the event.
    pub field: Option<Arc<str>>,
    /// The test.
    pub test: Test,
}

/// What is asked of a field's value.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// The value's text matches the pattern. Numbers and booleans are compared in their JSON text
    /// form, so `EventID: 4688` holds for `4688` and for `"4688"`. For a keyword the pattern may
    /// match anywhere inside a text.
    Text(Pattern),
    /// The value's text contains a match of the regular expression (unanchored, as Sigma says).
    Regex(Regex),
    /// The value is an address within the network.
    Cidr(Network),
    /// The value is a number that compares so with this one. A text that is a number counts as one.
    Compare(Comparison, f64),
    /// The field is there, whatever its value, `null` included (`true`), or is not (`false`).
    Exists(bool),
    /// The field is absent or `null`.
    Null,
    /// The value's text relates so to the text of another field of the same event.
    FieldRef {
        /// The other field, dotted, after all mappings.
        field: Arc<str>,
        /// How the two relate: this field's value equals, starts with, ... the other's.
        relation: Relation,
        /// Letter case counts.
        cased: bool,
    },
    /// The value is a time whose part (in UTC) is this number.
    TimePart(TimePart, i64),
}

/// A text with wildcards.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    /// The pieces in order; two `Literal`s never stand side by side, nor two `Any`s, and no
    /// literal is empty. No pieces at all is the empty text.
    pub pieces: Vec<Piece>,
    /// Letter case counts. Otherwise both sides are compared after Unicode simple lower-casing.
    pub cased: bool,
}

/// A piece of a [`Pattern`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Piece {
    /// These characters.
    Literal(String),
    /// `?`: exactly one character.
    One,
    /// `*`: any number of characters, none included.
    Any,
}

/// A regular expression with its flags.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Regex {
    /// The expression in the `regex` crate's syntax, accepted by it within our size limit.
    pub source: String,
    /// `|re|i`: letter case does not count.
    pub ignore_case: bool,
    /// `|re|m`: `^` and `$` also match at line ends.
    pub multi_line: bool,
    /// `|re|s`: `.` also matches a line end.
    pub dot_all: bool,
}

/// An address block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    /// Its first address; host bits are zero.
    pub address: IpAddr,
    /// Its length in bits: 0 to 32, or 0 to 128.
    pub prefix: u8,
}

/// How two numbers compare; the event's value is on the left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// How two texts relate; the atom's own field is on the left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Relation {
    /// Equal.
    Equals,
    /// The left starts with the right.
    StartsWith,
    /// The left ends with the right.
    EndsWith,
    /// The left contains the right.
    Contains,
}

/// A part of a time, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimePart {
    /// 0 to 59.
    Minute,
    /// 0 to 23.
    Hour,
    /// Day of the month, 1 to 31.
    Day,
    /// ISO 8601 week, 1 to 53.
    Week,
    /// 1 to 12.
    Month,
    /// Four digits.
    Year,
}

impl Expr {
    /// How many nodes it has.
    pub fn size(&self) -> usize {
        match self {
            Expr::And(parts) | Expr::Or(parts) => 1 + parts.iter().map(Expr::size).sum::<usize>(),
            Expr::Not(part) | Expr::Selection(_, part) => 1 + part.size(),
            Expr::Atom(_) => 1,
        }
    }

    /// Calls `each` for every atom, in order.
    pub fn for_each_atom<'a>(&'a self, each: &mut impl FnMut(&'a Atom)) {
        match self {
            Expr::And(parts) | Expr::Or(parts) => {
                for part in parts {
                    part.for_each_atom(each);
                }
            }
            Expr::Not(part) | Expr::Selection(_, part) => part.for_each_atom(each),
            Expr::Atom(atom) => each(atom),
        }
    }
}
