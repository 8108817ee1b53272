//! One expression that is asked of many events, one at a time.
//!
//! Between the two others: [`crate::plain`] prepares nothing, a [`crate::Matcher`] pays off with
//! hundreds of rules. Here texts and regular expressions are compiled once, and fields are found by
//! their hash.

use std::sync::Arc;

use event::{Event, Value, path_hash};
use regex_automata::meta;
use sigma::expr::{Atom, Expr, Test};

use crate::plain;
use crate::text::{Glob, push_lower};

/// A prepared expression.
#[derive(Debug, Clone)]
pub struct Prepared(Node);

#[derive(Debug, Clone)]
enum Node {
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    Text {
        field: Field,
        glob: Glob,
        cased: bool,
    },
    Regex {
        field: Field,
        regex: meta::Regex,
    },
    Exists {
        field: Field,
        expected: bool,
    },
    /// What is asked as the plain evaluator does.
    Other(Atom),
}

#[derive(Debug, Clone)]
struct Field {
    hash: u64,
    name: Arc<str>,
}

impl Field {
    fn new(name: &Arc<str>) -> Field {
        Field { hash: path_hash(name), name: Arc::clone(name) }
    }

    fn values<'e>(&self, event: &'e Event) -> impl Iterator<Item = Value<'e>> {
        let fields =
            event.fields().filter(|(hash, name, _)| *hash == self.hash && **name == *self.name);
        fields.map(|(_, _, value)| value)
    }
}

impl Prepared {
    /// Prepares an expression.
    ///
    /// # Errors
    /// Why a regular expression can't be compiled within the limit of [`crate::regex`].
    pub fn new(expr: &Expr) -> Result<Prepared, String> {
        Node::new(expr).map(Prepared)
    }

    /// Whether it holds for the event. `scratch` is memory to work with.
    pub fn holds(&self, event: &Event, scratch: &mut Vec<u8>) -> bool {
        self.0.holds(event, scratch)
    }

    /// Whether it holds for every event that has these fields so, or for none; not known if that
    /// depends on other fields. Each is the hash of a name and its only value, or `None` if the event
    /// does not have it.
    pub fn decided_by(&self, known: &[(u64, Option<&str>)]) -> Option<bool> {
        self.0.decided_by(known)
    }

    /// A field that every event has for which it holds, if there is one, as its hash.
    pub fn required_field(&self) -> Option<u64> {
        self.0.required_field()
    }
}

impl Node {
    fn new(expr: &Expr) -> Result<Node, String> {
        let all = |parts: &[Expr]| parts.iter().map(Node::new).collect::<Result<Vec<_>, _>>();
        Ok(match expr {
            Expr::And(parts) => Node::And(all(parts)?),
            Expr::Or(parts) => Node::Or(all(parts)?),
            Expr::Not(part) => Node::Not(Box::new(Node::new(part)?)),
            Expr::Selection(_, part) => Node::new(part)?,
            Expr::Atom(atom) => match (&atom.field, &atom.test) {
                (Some(field), Test::Text(pattern)) => Node::Text {
                    field: Field::new(field),
                    glob: Glob::new(pattern, false),
                    cased: pattern.cased,
                },
                (Some(field), Test::Regex(source)) => {
                    Node::Regex { field: Field::new(field), regex: crate::regex::compile(source)? }
                }
                (Some(field), Test::Exists(expected)) => {
                    Node::Exists { field: Field::new(field), expected: *expected }
                }
                _ => Node::Other(atom.clone()),
            },
        })
    }

    fn holds(&self, event: &Event, scratch: &mut Vec<u8>) -> bool {
        match self {
            Node::And(parts) => parts.iter().all(|part| part.holds(event, scratch)),
            Node::Or(parts) => parts.iter().any(|part| part.holds(event, scratch)),
            Node::Not(part) => !part.holds(event, scratch),
            Node::Text { field, glob, cased } => field.values(event).any(|value| {
                let mut number = String::new();
                let Some(text) = value.text(&mut number) else { return false };
                if *cased {
                    return glob.matches(text.as_bytes());
                }
                scratch.clear();
                push_lower(text, scratch);
                glob.matches(scratch)
            }),
            Node::Regex { field, regex } => field.values(event).any(|value| {
                let mut number = String::new();
                value.text(&mut number).is_some_and(|text| regex.is_match(text.as_bytes()))
            }),
            Node::Exists { field, expected } => field.values(event).next().is_some() == *expected,
            Node::Other(atom) => plain::atom_holds(atom, event),
        }
    }

    fn decided_by(&self, known: &[(u64, Option<&str>)]) -> Option<bool> {
        let decided = |part: &Node| part.decided_by(known);
        let text_of = |field: &Field| {
            known.iter().find(|(hash, _)| *hash == field.hash).map(|(_, text)| *text)
        };
        match self {
            Node::And(parts) if parts.iter().any(|part| decided(part) == Some(false)) => {
                Some(false)
            }
            Node::And(parts) => {
                parts.iter().all(|part| decided(part) == Some(true)).then_some(true)
            }
            Node::Or(parts) if parts.iter().any(|part| decided(part) == Some(true)) => Some(true),
            Node::Or(parts) => {
                parts.iter().all(|part| decided(part) == Some(false)).then_some(false)
            }
            Node::Not(part) => decided(part).map(|holds| !holds),
            Node::Text { field, glob, cased } => text_of(field).map(|text| {
                let Some(text) = text else { return false };
                let mut lower = Vec::new();
                push_lower(text, &mut lower);
                glob.matches(if *cased { text.as_bytes() } else { &lower })
            }),
            Node::Regex { field, regex } => {
                text_of(field).map(|text| text.is_some_and(|text| regex.is_match(text.as_bytes())))
            }
            Node::Exists { field, expected } => {
                text_of(field).map(|text| text.is_some() == *expected)
            }
            Node::Other(_) => None,
        }
    }

    fn required_field(&self) -> Option<u64> {
        match self {
            Node::And(parts) => parts.iter().find_map(Node::required_field),
            Node::Text { field, .. }
            | Node::Regex { field, .. }
            | Node::Exists { field, expected: true } => Some(field.hash),
            Node::Or(_) | Node::Not(_) | Node::Exists { .. } | Node::Other(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use event::{Event, path_hash};
    use sigma::yaml::parse;
    use sigma::{Span, selection};

    use super::Prepared;
    use crate::plain;

    #[test]
    fn one_field_may_decide() {
        let decided = |text: &str, program: &str| {
            let node = parse(text).remove(0).unwrap();
            let expr = selection(&node, Span::default(), "test").unwrap();
            Prepared::new(&expr).unwrap().decided_by(&[(path_hash("program"), Some(program))])
        };
        let named = "program: [sshd, '*/sshd']";
        assert_eq!(decided(named, "/usr/sbin/SSHD"), Some(true));
        assert_eq!(decided(named, "su"), Some(false));
        let both = "{program: su, text|contains: x}";
        assert_eq!((decided(both, "su"), decided(both, "sshd")), (None, Some(false)));
        assert_eq!(decided("[{program: su}, {text: x}]", "su"), Some(true));
        assert_eq!(decided("[{program: su}, {text: x}]", "sshd"), None);
        assert_eq!(decided("{text|startswith: 'pam_', program|exists: true}", "su"), None);
        assert_eq!(decided("program|exists: true", "su"), Some(true));
    }

    #[test]
    fn several_fields_may_decide() {
        let decided = |text: &str, channel: Option<&str>, provider: &str| {
            let node = parse(text).remove(0).unwrap();
            let expr = selection(&node, Span::default(), "test").unwrap();
            let known = [(path_hash("channel"), channel), (path_hash("by"), Some(provider))];
            Prepared::new(&expr).unwrap().decided_by(&known)
        };
        let either = "[{channel: A}, {channel|exists: false, by: B}]";
        assert_eq!(decided(either, Some("a"), "x"), Some(true));
        assert_eq!(decided(either, Some("c"), "b"), Some(false));
        assert_eq!(decided(either, None, "b"), Some(true));
        assert_eq!(decided(either, None, "x"), Some(false));
        assert_eq!(decided("{channel: A, by|re: '^B', code: 1}", Some("a"), "B"), None);
    }

    #[test]
    fn it_says_what_the_plain_evaluator_says() {
        let event = |json: &str| {
            let mut event = Event::new();
            event.parse_json(json.as_bytes()).unwrap();
            event
        };
        let events = [
            event(r#"{"a":"Hello","n":7,"list":["x","y"]}"#),
            event(r#"{"a":"hell","n":"8","ip":"10.0.0.7"}"#),
            event(r#"{"b":null}"#),
        ];
        for text in [
            "a: hello",
            "a|startswith: HEL",
            "a|cased|startswith: hel",
            "a|re: '^[Hh]ello$'",
            "list: y",
            "n|gte: 8",
            "ip|cidr: 10.0.0.0/8",
            "b: null",
            "a|exists: true",
            "a|exists: false",
            "{a|contains: ell, n: [7, 8]}",
            "[{a: hello}, {n: 8}]",
        ] {
            let node = parse(text).remove(0).unwrap();
            let expr = selection(&node, Span::default(), "test").unwrap();
            let prepared = Prepared::new(&expr).unwrap();
            for event in &events {
                let plain = plain::matches(&expr, event);
                assert_eq!(prepared.holds(event, &mut Vec::new()), plain, "{text}: {event:?}");
            }
        }
    }
}
