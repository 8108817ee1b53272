//! What was looked up last.
//!
//! Logs ask for the same few addresses, names and agents again and again; what a table says of them
//! is remembered per worker, within a bound. A full memory is emptied, which costs a miss each and
//! needs no order of age.

use std::collections::HashMap;

use event::{Event, Value};
use foldhash::fast::RandomState;
use prometheus::IntCounter;

/// The most values that are remembered of one table.
const ENTRIES_MAX: usize = 16 * 1024;

/// The longest value that is looked up. What is longer is no address, and no name that exists.
const KEY_BYTES_MAX: usize = 1024;

/// What a table knows of a value: fields, below the value's own prefix.
pub(crate) type Facts = Vec<(&'static str, Fact)>;

/// One of them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fact {
    Text(Box<str>),
    Int(i64),
    Float(f64),
    Bool(bool),
}

impl Fact {
    pub(crate) fn value(&self) -> Value<'_> {
        match self {
            Fact::Text(text) => Value::Text(text),
            Fact::Int(number) => Value::Int(*number),
            Fact::Float(number) => Value::Float(*number),
            Fact::Bool(is_so) => Value::Bool(*is_so),
        }
    }

    pub(crate) fn to_text(&self) -> String {
        let mut buffer = String::new();
        self.value().text(&mut buffer).unwrap_or_default().to_owned()
    }
}

impl From<&str> for Fact {
    fn from(text: &str) -> Fact {
        Fact::Text(text.into())
    }
}

#[derive(Debug, Default)]
pub(crate) struct Cache {
    known: HashMap<Box<str>, Facts, RandomState>,
    counters: Option<(IntCounter, IntCounter)>,
}

impl Cache {
    pub(crate) fn clear(&mut self) {
        self.known.clear();
    }

    /// Looks up the first value of `field` and sets what is known of it below `prefix`, where the
    /// event has nothing.
    pub(crate) fn look_up(
        &mut self,
        table: &str,
        event: &mut Event,
        field: &str,
        prefix: &str,
        text: &mut String,
        find: impl Fn(&str, &mut Facts),
    ) {
        let Some(key) = event.str(field) else { return };
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return;
        }
        if !self.known.contains_key(key) {
            let mut facts = Facts::new();
            find(key, &mut facts);
            if self.known.len() >= ENTRIES_MAX {
                self.known.clear();
            }
            self.known.insert(key.into(), facts);
        }
        let Some(facts) = self.known.get(key) else { return };
        let (hits, misses) = self.counters.get_or_insert_with(|| {
            let of = |result| crate::LOOKUPS.with_label_values(&[table, result]);
            (of("hit"), of("miss"))
        });
        if facts.is_empty() {
            misses.inc()
        } else {
            hits.inc()
        }
        for (name, fact) in facts {
            text.clear();
            text.push_str(prefix);
            text.push('.');
            text.push_str(name);
            if event.get(text).is_none() {
                event.set(text, fact.value());
            }
        }
    }
}
