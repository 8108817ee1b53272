//! What is odd about a query that can be read: a field that no event has, a value that its field can
//! never have.
//!
//! These are no errors, because fields come and go with sources, and an event may hold a text where
//! its schema wants a number. They are for whoever found nothing and wonders why.

use event::ecs::{Type, field_type};

use crate::error::nearest;
use crate::term::Term;
use crate::tree::{Bound, FieldTest, Filter, Pipe, Query, Test};

/// Something odd, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// What is odd.
    pub message: String,
    /// The column, from 1, counted in characters.
    pub column: usize,
    /// How many characters from there are meant.
    pub length: usize,
    /// What to write instead of them, if that can be guessed.
    pub suggestion: Option<String>,
}

impl std::fmt::Display for Hint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "column {}: {}", self.column, self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "; did you mean `{suggestion}`?"),
            None => Ok(()),
        }
    }
}

/// What is odd about a query that was read from this text, if these are all fields that events have.
pub fn hints(query: &Query, text: &str, known: &[&str]) -> Vec<Hint> {
    let mut hints = Hints { text, known, found: Vec::new() };
    hints.filter(&query.filter);
    for (n, pipe) in query.pipes.iter().enumerate() {
        match pipe {
            Pipe::Where(filter) => hints.filter(filter),
            Pipe::Sequence(sequence) => {
                sequence.by.iter().for_each(|field| hints.field(field, None));
                sequence.steps.iter().for_each(|step| hints.filter(step));
            }
            Pipe::Sort(keys) => keys.iter().for_each(|key| hints.field(&key.field, None)),
            Pipe::Dedup { fields, .. } => fields.iter().for_each(|field| hints.field(field, None)),
            Pipe::Fields(columns) => {
                columns.iter().for_each(|column| hints.field(&column.field, None));
            }
            Pipe::Stats(stats) | Pipe::Timechart { stats, .. } => {
                stats.by.iter().for_each(|field| hints.field(field, None));
                let counted = stats.aggregates.iter().filter_map(|a| a.field.as_deref());
                counted.for_each(|field| hints.field(field, None));
            }
            Pipe::Top { fields, by, .. } => {
                by.iter().chain(fields).for_each(|field| hints.field(field, None));
            }
            Pipe::Head(_) => {}
        }
        // After that there are columns instead of fields.
        if crate::columns(query.pipes.get(..=n).unwrap_or_default()).is_some() {
            break;
        }
    }
    hints.found
}

struct Hints<'a> {
    text: &'a str,
    known: &'a [&'a str],
    found: Vec<Hint>,
}

impl Hints<'_> {
    fn filter(&mut self, filter: &Filter) {
        match filter {
            Filter::All | Filter::Words(_) => {}
            Filter::Field(test) => self.test(test),
            Filter::Not(inner) => self.filter(inner),
            Filter::And(all) | Filter::Or(all) => all.iter().for_each(|inner| self.filter(inner)),
        }
    }

    fn test(&mut self, test: &FieldTest) {
        let name = test.field.as_str();
        if test.field.is_pattern() {
            return;
        }
        self.field(name, Some(test.at.0));
        let wanted = match field_type(name) {
            Some(Type::Long | Type::Float) => "a number",
            Some(Type::Ip) => "an address",
            Some(Type::Date) => "a time",
            Some(Type::Boolean) => "true or false",
            _ => return,
        };
        let never = |term: &&Term| match wanted {
            "a number" => term.number().is_none(),
            "an address" => term.network().is_none(),
            "a time" => term.time().is_none(),
            _ => !matches!(term.folded(), "true" | "false"),
        };
        let terms = match &test.test {
            Test::Equal(term) => vec![term],
            Test::Range { low, high } => [low, high].into_iter().filter_map(end).collect(),
            Test::Exists | Test::Like(_) | Test::Regex(_) => vec![],
        };
        if let Some(term) = terms.into_iter().find(never) {
            let message = format!("`{name}` is {wanted}, and `{}` is none", term.raw());
            self.add(message, term.raw(), test.at.0, None);
        }
    }

    /// A field that no event has.
    fn field(&mut self, name: &str, at: Option<usize>) {
        let inside = |known: &&str| {
            known.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        if self.known.iter().any(inside) {
            return;
        }
        let ecs = || event::ecs::FIELDS.iter().map(|(name, _)| *name);
        let near = nearest(name, self.known.iter().copied())
            .or_else(|| nearest(name, ecs()).filter(|near| *near != name))
            .map(str::to_owned);
        let message = format!("no event has a field `{name}`");
        self.add(message, name, at.unwrap_or(0), near);
    }

    /// Where it stands is found in the text again; the tree keeps only where a test begins.
    fn add(&mut self, message: String, part: &str, from: usize, suggestion: Option<String>) {
        let start = self.text.char_indices().nth(from).map_or(0, |(at, _)| at);
        let found = self.text.get(start..).and_then(|rest| rest.find(part));
        let at = found.map_or(start, |found| start + found);
        let column = 1 + self.text.get(..at).unwrap_or_default().chars().count();
        let hint = Hint { message, column, length: part.chars().count().max(1), suggestion };
        if !self.found.contains(&hint) {
            self.found.push(hint);
        }
    }
}

fn end(bound: &Bound) -> Option<&Term> {
    match bound {
        Bound::Open => None,
        Bound::Including(term) | Bound::Excluding(term) => Some(term),
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::hints;

    fn shown(text: &str) -> String {
        let known =
            ["@timestamp", "host.name", "message", "process.name", "source.ip", "user.name"];
        let query = crate::parse(text).unwrap();
        let hints = hints(&query, text, &known);
        hints.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn odd_fields_and_values_are_told() {
        assert_snapshot!(shown("user.name:anna and not host:x and process.*:y"), @"");
        assert_snapshot!(shown("user.nmae:anna or Process.name:cmd.exe"), @r"
        column 1: no event has a field `user.nmae`; did you mean `user.name`?
        column 19: no event has a field `Process.name`; did you mean `process.name`?
        ");
        assert_snapshot!(shown("destination.prot:443"), @"column 1: no event has a field `destination.prot`; did you mean `destination.port`?");
        assert_snapshot!(shown("a:1 | stats count by hostname | where count > 3"), @r"
        column 1: no event has a field `a`
        column 22: no event has a field `hostname`; did you mean `host.name`?
        ");
        assert_snapshot!(shown("source.ip:server or @timestamp>yesterday"), @r"
        column 11: `source.ip` is an address, and `server` is none
        column 32: `@timestamp` is a time, and `yesterday` is none
        ");
        assert_snapshot!(shown("* | sequence by user within 5m [user.name:a] [usr.name:b]"), @"column 47: no event has a field `usr.name`; did you mean `user.name`?");
    }
}
