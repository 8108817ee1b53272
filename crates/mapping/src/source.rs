//! One source: what its file says, ready to be applied.

use std::collections::HashMap;

use event::ecs::field_type;
use event::logsource::{CATEGORY, PRODUCT, SERVICE};
use event::{Event, Logsource, Value, path_hash};
use matcher::Prepared;

use crate::convert::{Convert, TimeForm, put};
use crate::decode::{Decoder, PROGRAM, TEXT};
use crate::derive::derive;
use crate::pattern::Captures;

/// Field with the source and the version of its file that made an event.
pub const MAPPING: &str = "watchpost.mapping";

/// A source: how its records are recognised, read and mapped.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its name, which is the dataset of its events.
    pub name: String,
    /// What it is, for people.
    pub title: String,
    /// A hash of its file.
    pub version: String,
    stamp: String,
    pub(crate) is_generic: bool,
    pub(crate) recognise: Option<Prepared>,
    /// The hash of a field that every record of it has.
    pub(crate) required: Option<u64>,
    pub(crate) decoders: Vec<Decoder>,
    /// Before native names, with its dot.
    pub(crate) native: String,
    pub(crate) empty: Vec<String>,
    pub(crate) times: Vec<TimeRule>,
    pub(crate) conditions: Vec<Prepared>,
    pub(crate) fields: Vec<FieldRule>,
    pub(crate) sets: Vec<(Option<usize>, Setting)>,
    pub(crate) lookups: Vec<Lookup>,
    /// Hashes of native fields that are left out.
    pub(crate) dropped: Vec<u64>,
    /// Hashes of native fields that a rule speaks of.
    mapped: Vec<u64>,
    /// Hashes of gaps and columns that are named after an ECS field. Only the file may name one:
    /// the keys of `key=value` are whatever the sender writes.
    ecs_named: Vec<u64>,
}

/// A native field and what becomes of it.
#[derive(Debug, Clone)]
pub(crate) struct FieldRule {
    /// The condition under which it does.
    pub(crate) when: Option<usize>,
    pub(crate) native: String,
    pub(crate) hash: u64,
    pub(crate) targets: Vec<String>,
    pub(crate) convert: Convert,
    /// Whether it keeps its own name too.
    pub(crate) keep: bool,
}

/// A field that gets these values.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) path: String,
    pub(crate) values: Vec<Constant>,
    pub(crate) is_list: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Constant {
    Text(String),
    Int(i64),
    Bool(bool),
    /// Texts, each before a field's value, and the text behind the last.
    Template {
        pieces: Vec<(String, String)>,
        end: String,
    },
}

/// What is set by the value of a field.
#[derive(Debug, Clone)]
pub(crate) struct Lookup {
    pub(crate) field: String,
    pub(crate) hash: u64,
    /// By value in lower case.
    pub(crate) rows: HashMap<String, Vec<Setting>>,
    pub(crate) otherwise: Vec<Setting>,
}

/// Where a record has its time.
#[derive(Debug, Clone)]
pub(crate) struct TimeRule {
    pub(crate) template: Constant,
    pub(crate) form: TimeForm,
}

/// Memory that mapping works with, kept from record to record, all of one [`Mappings`](crate::Mappings).
#[derive(Debug, Default)]
pub struct Work {
    holds: Vec<bool>,
    /// Hashes of native fields that went somewhere whole.
    moved: Vec<u64>,
    pub(crate) captures: Captures,
    pub(crate) scratch: Vec<u8>,
    /// The sources of lines that a program's name leaves open, in the order in which they are asked.
    pub(crate) of_program: HashMap<Box<str>, Vec<Candidate>>,
}

/// A source that may be a line's, by its place; `is_sure` if the program alone says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) source: usize,
    pub(crate) is_sure: bool,
}

impl Source {
    pub(crate) fn named(name: &str, version: &str) -> Source {
        let module = name.split('.').next().unwrap_or(name);
        Source {
            name: name.to_owned(),
            title: String::new(),
            version: version.to_owned(),
            stamp: format!("{name} {version}"),
            is_generic: false,
            recognise: None,
            required: None,
            decoders: Vec::new(),
            native: format!("{module}."),
            empty: Vec::new(),
            times: Vec::new(),
            conditions: Vec::new(),
            fields: Vec::new(),
            sets: Vec::new(),
            lookups: Vec::new(),
            dropped: Vec::new(),
            mapped: Vec::new(),
            ecs_named: Vec::new(),
        }
    }

    /// Once all is read.
    pub(crate) fn finish(&mut self) {
        // What holds for some records is nearer to the matter than what holds for all.
        self.fields.sort_by_key(|rule| rule.when.is_none());
        self.mapped = self.fields.iter().map(|rule| rule.hash).collect();
        let names = self.decoders.iter().flat_map(|decoder| decoder.form.names());
        let ecs = names.filter(|name| field_type(name).is_some()).map(|name| path_hash(name));
        self.ecs_named = ecs.filter(|hash| !self.mapped.contains(hash)).collect();
    }

    /// Whether its records may be JSON documents.
    pub(crate) fn takes_json(&self) -> bool {
        self.decoders.is_empty() || self.decoders.iter().any(|decoder| decoder.form.is_json())
    }

    /// Whether its records may be lines.
    pub(crate) fn takes_lines(&self) -> bool {
        self.decoders.iter().any(|decoder| !decoder.form.is_json())
    }

    /// The Sigma classes that its events may have.
    pub(crate) fn classes(&self) -> Vec<Logsource<'_>> {
        let settings = self.sets.iter().map(|(_, setting)| setting);
        let rows =
            self.lookups.iter().flat_map(|lookup| lookup.rows.values().chain([&lookup.otherwise]));
        let all: Vec<&Setting> = settings.chain(rows.flatten()).collect();
        let of = |path: &str| {
            let mut texts: Vec<Option<&str>> = all
                .iter()
                .filter(|setting| setting.path == path)
                .flat_map(|setting| &setting.values)
                .filter_map(|value| match value {
                    Constant::Text(text) => Some(Some(text.as_str())),
                    _ => None,
                })
                .collect();
            texts.sort_unstable();
            texts.dedup();
            texts
        };
        let (products, services) = (of(PRODUCT), of(SERVICE));
        // An event may have no category where others of its source have one.
        let categories: Vec<Option<&str>> = [None].into_iter().chain(of(CATEGORY)).collect();
        let mut classes = Vec::new();
        for product in one_or_more(&products) {
            for service in one_or_more(&services) {
                for category in &categories {
                    classes.push(Logsource { product, category: *category, service });
                }
            }
        }
        classes.retain(|class| *class != Logsource::default());
        classes
    }

    pub(crate) fn recognises(&self, native: &Event, work: &mut Work) -> bool {
        let has_required =
            || self.required.is_none_or(|hash| native.names().hashes().contains(&hash));
        self.recognise
            .as_ref()
            .is_some_and(|recognise| has_required() && recognise.holds(native, &mut work.scratch))
    }

    /// Maps a record whose native fields were read into `out`, which is empty before. `is_json`: it
    /// was a document, not a line.
    pub fn map(&self, native: &Event, is_json: bool, out: &mut Event, work: &mut Work) {
        work.moved.clear();
        work.holds.clear();
        for condition in &self.conditions {
            work.holds.push(condition.holds(native, &mut work.scratch));
        }
        for rule in &self.fields {
            if !holds(rule.when, &work.holds) {
                continue;
            }
            let values = native
                .fields()
                .filter(|(hash, name, _)| *hash == rule.hash && *name == rule.native)
                .map(|(_, _, value)| value);
            let (mut all, mut is_more) = (true, false);
            for value in values {
                if value.as_str().is_some_and(|text| self.empty.iter().any(|one| one == text)) {
                    continue;
                }
                all &= rule.convert.write(value, &rule.targets, is_more, out, &mut work.captures);
                is_more = true;
            }
            if all && is_more && !rule.keep {
                work.moved.push(rule.hash);
            }
        }
        for time in &self.times {
            let mut text = String::new();
            if out.get("@timestamp").is_none()
                && time.template.text(native, &mut text)
                && let Some(time) = time.form.read(&text)
            {
                out.set_time("@timestamp", time);
            }
        }
        self.keep_native(native, is_json, out, work);
        for (when, setting) in &self.sets {
            if holds(*when, &work.holds) {
                setting.apply(native, out);
            }
        }
        for lookup in &self.lookups {
            lookup.apply(native, out);
        }
        derive(out);
        out.set("event.dataset", self.name.as_str());
        out.set("event.module", self.name.split('.').next().unwrap_or_default());
        out.set(MAPPING, self.stamp.as_str());
    }

    /// Keeps what no rule moved, under the source's own prefix. A gap of a pattern may have the name
    /// of an ECS field; then that is where it goes.
    fn keep_native(&self, native: &Event, is_json: bool, out: &mut Event, work: &mut Work) {
        if !is_json {
            for (hash, name, value) in native.fields() {
                if self.ecs_named.contains(&hash) && put(out, name, value, false) {
                    work.moved.push(hash);
                }
            }
        }
        let kept_under_own_name = |name: &str| !is_json && name.starts_with(self.native.as_str());
        out.clone_renamed(native, &mut |name, path| {
            let hash = path_hash(name);
            if work.moved.contains(&hash)
                || self.dropped.contains(&hash)
                || (!is_json && (name == TEXT || name == PROGRAM))
            {
                return;
            }
            if !kept_under_own_name(name) {
                path.push_str(&self.native);
            }
            path.push_str(name);
        });
    }
}

/// The texts; no text, if there are none.
fn one_or_more<'a>(texts: &[Option<&'a str>]) -> Vec<Option<&'a str>> {
    if texts.is_empty() { vec![None] } else { texts.to_vec() }
}

fn holds(when: Option<usize>, holds: &[bool]) -> bool {
    when.is_none_or(|when| holds.get(when).copied().unwrap_or(false))
}

impl Setting {
    fn apply(&self, native: &Event, out: &mut Event) {
        let mut text = String::new();
        for (index, constant) in self.values.iter().enumerate() {
            let value = match constant {
                Constant::Text(text) => Value::Text(text),
                Constant::Int(number) => Value::Int(*number),
                Constant::Bool(truth) => Value::Bool(*truth),
                Constant::Template { .. } => match constant.text(native, &mut text) {
                    true => Value::Text(&text),
                    false => continue,
                },
            };
            match (self.is_list, index) {
                (true, _) => out.append(&self.path, value),
                (false, 0) => out.set(&self.path, value),
                (false, _) => out.add(&self.path, value),
            }
        }
    }
}

impl Constant {
    /// Writes the text. `false` if a field that it names is not there.
    fn text(&self, native: &Event, text: &mut String) -> bool {
        text.clear();
        let Constant::Template { pieces, end } = self else { return false };
        let mut number = String::new();
        for (before, field) in pieces {
            text.push_str(before);
            match native.get(field).and_then(|value| value.text(&mut number)) {
                Some(value) => text.push_str(value),
                None => return false,
            }
        }
        text.push_str(end);
        true
    }
}

impl Lookup {
    fn apply(&self, native: &Event, out: &mut Event) {
        let mut number = String::new();
        let value = native
            .fields()
            .find(|(hash, name, _)| *hash == self.hash && *name == self.field)
            .and_then(|(_, _, value)| value.text(&mut number));
        let Some(value) = value else { return };
        let row = match self.rows.get(value) {
            Some(row) => Some(row),
            None => self.rows.get(&value.to_lowercase()),
        };
        for setting in row.unwrap_or(&self.otherwise) {
            setting.apply(native, out);
        }
    }
}
