//! The tests of all rules, each once, prepared for matching.
//!
//! Rules share most of what they ask: `Image|endswith: '\powershell.exe'` stands in some hundred
//! of them. Equal atoms become one, numbered, so that an answer found for one rule is there for
//! all others.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use memchr::memmem::Finder;
use regex_automata::meta;
use sigma::expr::{Atom, Comparison, Network, Pattern, Piece, Relation, Test, TimePart};

use crate::plain::keywords_read;
use crate::text::{Glob, lower};

/// Number of a field name.
pub(crate) type FieldId = u32;
/// Number of an atom.
pub(crate) type AtomId = u32;

/// Stands for "any text of the event" where a field is expected, and for "none of ours" where a
/// value's field is told.
pub(crate) const ANY: FieldId = FieldId::MAX;

/// A field that rules ask for.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: Arc<str>,
    pub(crate) hash: u64,
    /// Whether keywords look into it.
    pub(crate) keywords_read: bool,
}

/// A test, prepared.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The field, or [`ANY`] for a keyword.
    pub(crate) field: FieldId,
    /// The search for literals alone tells whether it holds.
    pub(crate) searched: bool,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    /// Literals and wildcards of a value's text.
    Text {
        cased: bool,
        shape: Shape,
    },
    /// The expression at this place of [`Atoms::regexes`].
    Regex(u32),
    Cidr(Network),
    /// Any of several networks.
    Networks(Box<Networks>),
    Compare(Comparison, f64),
    Exists(bool),
    Null,
    FieldRef {
        other: FieldId,
        relation: Relation,
        cased: bool,
    },
    TimePart(TimePart, i64),
    /// A part of several rules, evaluated once: where its program begins.
    Shared(u32),
}

/// What a pattern comes down to.
#[derive(Debug)]
pub(crate) enum Shape {
    Equals(Box<[u8]>),
    StartsWith(Box<[u8]>),
    EndsWith(Box<[u8]>),
    Contains(Box<Finder<'static>>),
    Other(Glob),
}

/// The literal of a pattern that is one literal with or without `*` around it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Literal {
    pub(crate) bytes: Box<[u8]>,
    /// The value begins with it.
    pub(crate) start: bool,
    /// The value ends with it.
    pub(crate) end: bool,
}

/// A pattern as one literal, in the letter case that is compared; `None` if it is more than that.
pub(crate) fn single_literal(pattern: &Pattern, keyword: bool) -> Option<Literal> {
    let (text, start, end) = match pattern.pieces.as_slice() {
        [Piece::Literal(text)] => (text, true, true),
        [Piece::Literal(text), Piece::Any] => (text, true, false),
        [Piece::Any, Piece::Literal(text)] => (text, false, true),
        [Piece::Any, Piece::Literal(text), Piece::Any] => (text, false, false),
        _ => return None,
    };
    let bytes = if pattern.cased { text.clone() } else { lower(text) };
    let bytes = bytes.into_bytes().into_boxed_slice();
    Some(Literal { bytes, start: start && !keyword, end: end && !keyword })
}

/// Many networks, asked at once: for each prefix length that occurs one look into a sorted list.
#[derive(Debug)]
pub(crate) struct Networks {
    v4: Vec<(u8, Vec<u128>)>,
    v6: Vec<(u8, Vec<u128>)>,
}

impl Networks {
    fn new(networks: &[Network]) -> Networks {
        let mut all = Networks { v4: Vec::new(), v6: Vec::new() };
        for network in networks {
            let (lists, bits) = match network.address {
                IpAddr::V4(address) => (&mut all.v4, u128::from(address.to_bits())),
                IpAddr::V6(address) => (&mut all.v6, address.to_bits()),
            };
            match lists.iter_mut().find(|(prefix, _)| *prefix == network.prefix) {
                Some((_, list)) => list.push(bits),
                None => lists.push((network.prefix, vec![bits])),
            }
        }
        for (_, list) in all.v4.iter_mut().chain(&mut all.v6) {
            list.sort_unstable();
            list.dedup();
        }
        all
    }

    /// As [`crate::value::in_network`] for each of them.
    pub(crate) fn contain(&self, text: &str) -> bool {
        let bare = text.split_once('%').map_or(text, |(address, _)| address);
        let Ok(address) = bare.parse::<IpAddr>() else { return false };
        self.has(address) || (address.is_ipv6() && self.has(address.to_canonical()))
    }

    fn has(&self, address: IpAddr) -> bool {
        let (lists, bits, width) = match address {
            IpAddr::V4(address) => (&self.v4, u128::from(address.to_bits()), 32),
            IpAddr::V6(address) => (&self.v6, address.to_bits(), 128),
        };
        lists.iter().any(|(prefix, list)| {
            let host = u32::saturating_sub(width, u32::from(*prefix));
            let masked = bits.checked_shr(host).and_then(|b| b.checked_shl(host)).unwrap_or(0);
            list.binary_search(&masked).is_ok()
        })
    }

    fn bytes(&self) -> usize {
        self.v4.iter().chain(&self.v6).map(|(_, list)| list.len() * 16 + 32).sum()
    }
}

/// All fields, tests and regular expressions of the rules.
#[derive(Debug, Default)]
pub(crate) struct Atoms {
    pub(crate) fields: Vec<Field>,
    pub(crate) prepared: Vec<Prepared>,
    pub(crate) regexes: Vec<meta::Regex>,
}

/// Numbers atoms and fields while rules are compiled.
#[derive(Debug, Default)]
pub(crate) struct Interner<'r> {
    pub(crate) atoms: Atoms,
    fields: HashMap<Arc<str>, FieldId, foldhash::fast::FixedState>,
    known: HashMap<ByMeaning<'r>, Result<AtomId, String>, foldhash::fast::FixedState>,
    networks: HashMap<(FieldId, Vec<Network>), AtomId, foldhash::fast::FixedState>,
    /// Letter case apart, `\CMD.exe` and `\cmd.exe` are one.
    literals: HashMap<(FieldId, Literal), AtomId, foldhash::fast::FixedState>,
    /// The atom as written, by number; none for those of our own making.
    pub(crate) written: Vec<Option<&'r Atom>>,
}

impl<'r> Interner<'r> {
    pub(crate) fn field(&mut self, name: &Arc<str>) -> FieldId {
        if let Some(id) = self.fields.get(name) {
            return *id;
        }
        let id = self.atoms.fields.len() as FieldId;
        self.atoms.fields.push(Field {
            name: name.clone(),
            hash: event::path_hash(name),
            keywords_read: keywords_read(name),
        });
        self.fields.insert(name.clone(), id);
        id
    }

    /// The number of an atom, or why it can't be matched.
    pub(crate) fn atom(&mut self, atom: &'r Atom) -> Result<AtomId, String> {
        if let Some(known) = self.known.get(&ByMeaning(atom)) {
            return known.clone();
        }
        let field = atom.field.as_ref().map_or(ANY, |name| self.field(name));
        let literal = match &atom.test {
            Test::Text(pattern) if !pattern.cased => single_literal(pattern, field == ANY),
            _ => None,
        };
        let literal = literal.map(|literal| (field, literal));
        let made = match literal.as_ref().and_then(|literal| self.literals.get(literal)) {
            Some(same) => Ok(*same),
            None => self.prepare(atom).map(|kind| {
                self.written.push(Some(atom));
                self.push(Prepared { field, searched: false, kind })
            }),
        };
        if let (Some(literal), Ok(id)) = (literal, &made) {
            self.literals.insert(literal, *id);
        }
        self.known.insert(ByMeaning(atom), made.clone());
        made
    }

    /// The atom that asks for any of these networks.
    pub(crate) fn networks(&mut self, field: FieldId, mut networks: Vec<Network>) -> AtomId {
        networks.sort_by_key(|network| (network.address, network.prefix));
        networks.dedup();
        if let Some(id) = self.networks.get(&(field, networks.clone())) {
            return *id;
        }
        let kind = Kind::Networks(Box::new(Networks::new(&networks)));
        self.written.push(None);
        let id = self.push(Prepared { field, searched: false, kind });
        self.networks.insert((field, networks), id);
        id
    }

    /// The atom that stands for a shared part, whose program is not known yet.
    pub(crate) fn shared(&mut self) -> AtomId {
        self.written.push(None);
        self.push(Prepared { field: ANY, searched: false, kind: Kind::Shared(u32::MAX) })
    }

    fn push(&mut self, prepared: Prepared) -> AtomId {
        self.atoms.prepared.push(prepared);
        (self.atoms.prepared.len() - 1) as AtomId
    }

    fn prepare(&mut self, atom: &Atom) -> Result<Kind, String> {
        Ok(match &atom.test {
            Test::Text(pattern) => {
                let keyword = atom.field.is_none();
                let shape = match single_literal(pattern, keyword) {
                    Some(Literal { bytes, start: true, end: true }) => Shape::Equals(bytes),
                    Some(Literal { bytes, start: true, end: false }) => Shape::StartsWith(bytes),
                    Some(Literal { bytes, start: false, end: true }) => Shape::EndsWith(bytes),
                    Some(Literal { bytes, start: false, end: false }) => {
                        Shape::Contains(Box::new(Finder::new(&*bytes).into_owned()))
                    }
                    None => Shape::Other(Glob::new(pattern, keyword)),
                };
                Kind::Text { cased: pattern.cased, shape }
            }
            Test::Regex(regex) => {
                self.atoms.regexes.push(crate::regex::compile(regex)?);
                Kind::Regex((self.atoms.regexes.len() - 1) as u32)
            }
            Test::Cidr(network) => Kind::Cidr(*network),
            Test::Compare(comparison, number) => Kind::Compare(*comparison, *number),
            Test::Exists(expected) => Kind::Exists(*expected),
            Test::Null => Kind::Null,
            Test::FieldRef { field, relation, cased } => {
                Kind::FieldRef { other: self.field(field), relation: *relation, cased: *cased }
            }
            Test::TimePart(part, number) => Kind::TimePart(*part, *number),
        })
    }
}

impl Atoms {
    /// How much memory they take, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let fields: usize =
            self.fields.iter().map(|field| field.name.len() + size_of::<Field>()).sum();
        let inner = |prepared: &Prepared| match &prepared.kind {
            Kind::Text { shape, .. } => match shape {
                Shape::Equals(bytes) | Shape::StartsWith(bytes) | Shape::EndsWith(bytes) => {
                    bytes.len()
                }
                Shape::Contains(finder) => size_of::<Finder<'_>>() + finder.needle().len(),
                Shape::Other(glob) => glob.bytes(),
            },
            Kind::Networks(networks) => networks.bytes(),
            _ => 0,
        };
        let prepared: usize =
            self.prepared.iter().map(|one| size_of::<Prepared>() + inner(one)).sum();
        let regexes: usize = self.regexes.iter().map(meta::Regex::memory_usage).sum();
        fields + prepared + regexes
    }
}

/// An atom that equals another when both ask the same.
#[derive(Debug, Clone, Copy)]
struct ByMeaning<'r>(&'r Atom);

impl PartialEq for ByMeaning<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0.field == other.0.field
            && match (&self.0.test, &other.0.test) {
                // By bits, so that equality agrees with the hash for every number there is.
                (Test::Compare(one, a), Test::Compare(two, b)) => {
                    one == two && a.to_bits() == b.to_bits()
                }
                (one, two) => one == two,
            }
    }
}

impl Eq for ByMeaning<'_> {}

impl Hash for ByMeaning<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.field.hash(state);
        std::mem::discriminant(&self.0.test).hash(state);
        match &self.0.test {
            Test::Text(pattern) => pattern.hash(state),
            Test::Regex(regex) => regex.hash(state),
            Test::Cidr(network) => network.hash(state),
            Test::Compare(comparison, number) => (comparison, number.to_bits()).hash(state),
            Test::Exists(expected) => expected.hash(state),
            Test::Null => {}
            Test::FieldRef { field, relation, cased } => (field, relation, cased).hash(state),
            Test::TimePart(part, number) => (part, number).hash(state),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::in_network;

    #[test]
    fn networks_together_are_as_each() {
        let texts = [
            "10.0.0.0/8",
            "10.1.0.0/16",
            "192.168.1.7/32",
            "fe80::/10",
            "::/0",
            "0.0.0.0/0",
            "::ffff:1.2.3.0/120",
        ];
        let addresses = [
            "10.1.2.3",
            "11.0.0.1",
            "192.168.1.7",
            "192.168.1.8",
            "::1",
            "fe80::1%eth0",
            "::ffff:10.0.0.1",
            "::ffff:1.2.3.4",
            "nothing",
            "",
        ];
        for first in 0..texts.len() {
            for last in first..texts.len() {
                let list: Vec<Network> =
                    texts[first..=last].iter().map(|text| Network::parse(text).unwrap()).collect();
                let together = Networks::new(&list);
                for address in addresses {
                    let each = list.iter().any(|network| in_network(network, address));
                    assert_eq!(together.contain(address), each, "{address} in {list:?}");
                }
            }
        }
    }
}
