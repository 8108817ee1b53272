//! One source: what its file says, ready to be applied.
//!
//! A file is a tree of blocks: the file itself, its cases, the rows of its lookups, and what these
//! hold. Mapping a record chooses the blocks that hold for it, and then applies their statements
//! kind by kind. The rules for fields of all blocks lie in one list, and a table leads from the name
//! of a field to its rules, so that a record costs one pass over its fields, however many rules the
//! file has.

use std::collections::HashMap;

use event::ecs::field_type;
use event::logsource::{CATEGORY, PRODUCT, SERVICE};
use event::{Event, Logsource, Value, path_hash};
use foldhash::fast::{FixedState, RandomState};
use matcher::Prepared;

use crate::convert::{Destination, Target, TimeForm};
use crate::decode::{Decoder, PROGRAM, TEXT};
use crate::derive::derive;
use crate::pattern::Captures;

/// Field with the source and the version of its file that made an event.
pub const MAPPING: &str = "watchpost.mapping";

/// Fields that every event of a source has.
const DATASET: &str = "event.dataset";
const MODULE: &str = "event.module";

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
    /// Before native names, with its dot; empty if they stay as they are.
    pub(crate) native: String,
    pub(crate) empty: Vec<String>,
    pub(crate) times: Vec<TimeRule>,
    /// The file's own block is the first.
    pub(crate) blocks: Vec<Block>,
    pub(crate) fields: Vec<FieldRule>,
    /// Native fields that are left out.
    pub(crate) dropped: Vec<String>,
    /// What is known of a native field, by the hash of its name.
    names: HashMap<u64, Named, FixedState>,
}

/// Statements that hold together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Block {
    /// How many blocks it lies in.
    pub(crate) depth: usize,
    pub(crate) sets: Vec<Setting>,
    /// For fields that nothing else filled.
    pub(crate) defaults: Vec<Setting>,
    /// Conditions, and the blocks (by their place) that hold under them.
    pub(crate) cases: Vec<(Prepared, usize)>,
    pub(crate) lookups: Vec<Lookup>,
}

/// A native field and what becomes of it.
#[derive(Debug, Clone)]
pub(crate) struct FieldRule {
    /// The block that it is of.
    pub(crate) block: usize,
    pub(crate) native: String,
    pub(crate) destination: Destination,
    pub(crate) kind: RuleKind,
}

/// What a rule does with its field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RuleKind {
    /// Values that say something go elsewhere.
    Map,
    /// The same, and the field keeps its own name too.
    Copy,
    /// The field has another name, whatever it says.
    Rename,
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
    Template(Vec<Piece>),
}

/// A part of a text that is made for each record.
#[derive(Debug, Clone)]
pub(crate) enum Piece {
    Text(String),
    /// The value of the first of these native fields that says something.
    Field(Vec<String>),
    /// Left out if one of its fields says nothing.
    Optional(Vec<Piece>),
}

/// A choice by the value of a field.
#[derive(Debug, Clone)]
pub(crate) struct Lookup {
    /// The first of these that is there.
    pub(crate) fields: Vec<String>,
    /// Blocks by value in lower case.
    pub(crate) rows: HashMap<String, usize, FixedState>,
    pub(crate) otherwise: Option<usize>,
}

/// Where a record has its time.
#[derive(Debug, Clone)]
pub(crate) struct TimeRule {
    pub(crate) template: Constant,
    pub(crate) form: TimeForm,
}

/// What a file says of a native field.
#[derive(Debug, Clone, Default)]
struct Named {
    /// Rules, by their place.
    rules: Vec<u32>,
    is_dropped: bool,
    /// A gap or column that is named after an ECS field. Only the file may name one: the keys of
    /// `key=value` are whatever the sender writes.
    ecs: Option<Target>,
    /// With the prefix it would be a field that the file fills.
    is_filled: bool,
}

/// What becomes of a native field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    /// Kept unless a field of this name was filled.
    KeptIfMissing,
    /// It went somewhere, or is not wanted.
    Gone,
}

/// Memory that mapping works with, kept from record to record, all of one [`Mappings`](crate::Mappings).
#[derive(Debug, Default)]
pub struct Work {
    /// The places of the blocks that hold, in order, and for each block whether it does.
    chosen: Vec<usize>,
    holds: Vec<bool>,
    /// Rules that apply, by their place, each with the place of its native field.
    found: Vec<(u32, usize)>,
    /// By native field.
    fates: Vec<Fate>,
    lower: String,
    pub(crate) captures: Captures,
    pub(crate) scratch: Vec<u8>,
    pub(crate) key: String,
    /// The sources of lines that a program's name leaves open, in the order in which they are asked.
    pub(crate) of_program: HashMap<Box<str>, Vec<Candidate>>,
    /// The same of Windows records, by channel and provider.
    pub(crate) of_channel: HashMap<Box<str>, Vec<Candidate>, RandomState>,
}

/// A source that may be a record's, by its place; `is_sure` if what it was looked up by says so.
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
            blocks: vec![Block::default()],
            fields: Vec::new(),
            dropped: Vec::new(),
            names: HashMap::default(),
        }
    }

    /// Once all is read.
    pub(crate) fn finish(&mut self) {
        // What holds for few records is nearer to the matter than what holds for more.
        let depth = |at: usize| self.blocks.get(at).map_or(0, |block| block.depth);
        self.fields.sort_by_key(|rule| std::cmp::Reverse(depth(rule.block)));
        let mut names: HashMap<u64, Named, FixedState> = HashMap::default();
        for (place, rule) in self.fields.iter().enumerate() {
            let place = u32::try_from(place).unwrap_or(u32::MAX);
            names.entry(path_hash(&rule.native)).or_default().rules.push(place);
        }
        for path in self.decoders.iter().flat_map(|decoder| decoder.form.names()) {
            if field_type(path).is_some() {
                let named = names.entry(path_hash(path)).or_default();
                named.ecs = named.rules.is_empty().then(|| Target::new(path));
            }
        }
        for name in &self.dropped {
            names.entry(path_hash(name)).or_default().is_dropped = true;
        }
        let mut filled: Vec<&str> = vec![DATASET, MODULE, MAPPING];
        filled.extend(self.blocks.iter().flat_map(|block| &block.sets).map(|set| &*set.path));
        for rule in &self.fields {
            rule.destination.for_each_target(&mut |target| filled.push(target));
        }
        for name in filled.iter().filter_map(|path| path.strip_prefix(self.native.as_str())) {
            names.entry(path_hash(name)).or_default().is_filled = true;
        }
        self.names = names;
    }

    /// Whether its records may be JSON documents.
    pub(crate) fn takes_json(&self) -> bool {
        self.decoders.is_empty() || self.decoders.iter().any(|decoder| decoder.form.is_json())
    }

    /// Whether its records may be lines.
    pub(crate) fn takes_lines(&self) -> bool {
        self.decoders.iter().any(|decoder| !decoder.form.is_json() && !decoder.form.is_windows())
    }

    /// Whether its records may be those of Windows event logs.
    pub(crate) fn takes_windows(&self) -> bool {
        self.decoders.iter().any(|decoder| decoder.form.is_windows())
    }

    /// The Sigma classes that its events may have.
    pub(crate) fn classes(&self) -> Vec<Logsource<'_>> {
        let of = |path: &str| {
            // An event may have none where only those of some blocks have one.
            let mut texts = vec![None];
            for block in &self.blocks {
                let settings = block.sets.iter().chain(&block.defaults);
                for value in settings.filter(|set| set.path == path).flat_map(|set| &set.values) {
                    let Constant::Text(text) = value else { continue };
                    if block.depth == 0 {
                        texts.retain(Option::is_some);
                    }
                    texts.push(Some(text.as_str()));
                }
            }
            texts.sort_unstable();
            texts.dedup();
            texts
        };
        let (products, services, categories) = (of(PRODUCT), of(SERVICE), of(CATEGORY));
        let mut classes = Vec::new();
        for product in &products {
            for service in &services {
                for category in &categories {
                    classes.push(Logsource {
                        product: *product,
                        category: *category,
                        service: *service,
                    });
                }
            }
        }
        classes.retain(|class| *class != Logsource::default());
        classes
    }

    pub(crate) fn recognises(&self, native: &Event, scratch: &mut Vec<u8>) -> bool {
        let has_required =
            || self.required.is_none_or(|hash| native.names().hashes().contains(&hash));
        self.recognise
            .as_ref()
            .is_some_and(|recognise| has_required() && recognise.holds(native, scratch))
    }

    /// Maps a record whose native fields were read into `out`, which is empty before. `is_line`: they
    /// were read from one.
    pub fn map(&self, native: &Event, is_line: bool, out: &mut Event, work: &mut Work) {
        work.chosen.clear();
        work.holds.clear();
        work.holds.resize(self.blocks.len(), false);
        self.choose(0, native, work);
        self.map_fields(native, out, work);
        for time in &self.times {
            let mut text = String::new();
            if out.get("@timestamp").is_none()
                && time.template.text(native, &self.empty, &mut text)
                && let Some(time) = time.form.read(&text)
            {
                out.set_time("@timestamp", time);
            }
        }
        if is_line {
            self.map_ecs_names(native, out, &mut work.fates);
        }
        let chosen = || work.chosen.iter().filter_map(|at| self.blocks.get(*at));
        for setting in chosen().flat_map(|block| &block.sets) {
            setting.apply(native, &self.empty, out);
        }
        let module = |dataset: &str| dataset.split('.').next().map(str::to_owned);
        match out.str(DATASET).map(module) {
            // The file sets the dataset of some events itself.
            Some(of_dataset) => out.set(MODULE, of_dataset.as_deref().unwrap_or_default()),
            None => {
                out.set(DATASET, self.name.as_str());
                out.set(MODULE, self.name.split('.').next().unwrap_or_default());
            }
        }
        out.set(MAPPING, self.stamp.as_str());
        self.keep_native(native, is_line, out, &work.fates);
        for setting in chosen().rev().flat_map(|block| &block.defaults) {
            if out.get(&setting.path).is_none() {
                setting.apply(native, &self.empty, out);
            }
        }
        derive(out);
    }

    /// Chooses a block, and those in it that hold.
    fn choose(&self, at: usize, native: &Event, work: &mut Work) {
        let Some((block, holds)) = self.blocks.get(at).zip(work.holds.get_mut(at)) else { return };
        *holds = true;
        work.chosen.push(at);
        for (when, inner) in &block.cases {
            if when.holds(native, &mut work.scratch) {
                self.choose(*inner, native, work);
            }
        }
        for lookup in &block.lookups {
            if let Some(inner) = lookup.find(native, &mut work.lower) {
                self.choose(inner, native, work);
            }
        }
    }

    /// Applies the rules of the blocks that hold, and notes what becomes of each native field.
    fn map_fields(&self, native: &Event, out: &mut Event, work: &mut Work) {
        let Work { holds, found, fates, captures, .. } = work;
        found.clear();
        fates.clear();
        let mut names_filled = false;
        for (at, hash) in native.names().hashes().iter().enumerate() {
            let Some(named) = self.names.get(hash) else {
                fates.push(Fate::Kept);
                continue;
            };
            names_filled |= named.is_filled;
            fates.push(match (named.is_dropped, named.is_filled) {
                (true, _) => Fate::Gone,
                (false, true) => Fate::KeptIfMissing,
                (false, false) => Fate::Kept,
            });
            for place in &named.rules {
                let rule = self.fields.get(*place as usize);
                if rule.is_some_and(|rule| holds.get(rule.block).copied().unwrap_or(false)) {
                    found.push((*place, at));
                }
            }
        }
        // Rules in their order, the values of a field in theirs.
        found.sort_unstable();
        for found in found.chunk_by(|(rule, _), (other, _)| rule == other) {
            let Some(rule) = found.first().and_then(|(at, _)| self.fields.get(*at as usize)) else {
                continue;
            };
            let is_rename = rule.kind == RuleKind::Rename;
            let is_gone = || {
                let fate = found.first().and_then(|(_, at)| fates.get(*at));
                fate == Some(&Fate::Gone) || names_filled && rule.destination.is_native(native)
            };
            // A field has one name: that of a row rather than that of the file, its own if the
            // record has a field of the other.
            if is_rename && is_gone() {
                continue;
            }
            let (mut all, mut is_more) = (true, false);
            for (_, at) in found {
                let Some((name, value)) = native.field(*at) else { continue };
                if name != rule.native
                    || !is_rename && value.as_str().is_some_and(|text| is_one_of(text, &self.empty))
                {
                    continue;
                }
                all &= rule.destination.write(value, is_more, out, captures);
                is_more = true;
            }
            if all && is_more && rule.kind != RuleKind::Copy {
                for (_, at) in found {
                    if let Some(fate) = fates.get_mut(*at) {
                        *fate = Fate::Gone;
                    }
                }
            }
        }
    }

    /// A gap of a pattern may have the name of an ECS field; then that is where it goes.
    fn map_ecs_names(&self, native: &Event, out: &mut Event, fates: &mut [Fate]) {
        for ((hash, _, value), fate) in native.fields().zip(fates) {
            let target = self.names.get(&hash).and_then(|named| named.ecs.as_ref());
            if target.is_some_and(|target| target.put(out, value, false)) {
                *fate = Fate::Gone;
            }
        }
    }

    /// Keeps what no rule moved, under the source's own prefix.
    fn keep_native(&self, native: &Event, is_line: bool, out: &mut Event, fates: &[Fate]) {
        let own = out.len();
        let mut path = String::new();
        for (at, fate) in fates.iter().enumerate() {
            let Some(name) = native.names().get(at) else { continue };
            if *fate == Fate::Gone || is_line && (name == TEXT || name == PROGRAM) {
                continue;
            }
            let is_prefixed = is_line && name.starts_with(self.native.as_str());
            let own_name = match self.native.is_empty() || is_prefixed {
                true => name,
                false => {
                    path.clear();
                    path.extend([self.native.as_str(), name]);
                    path.as_str()
                }
            };
            let is_filled = || out.names().places(own_name).any(|at| at < own);
            if *fate == Fate::KeptIfMissing && is_filled() {
                continue;
            }
            match own_name.len() == name.len() {
                true => out.clone_field(native, at),
                false => out.clone_field_as(native, at, own_name),
            }
        }
    }
}

/// Whether a text is among these; blanks around it do not count.
pub(crate) fn is_one_of(text: &str, texts: &[String]) -> bool {
    let text = text.trim();
    texts.iter().any(|one| one == text)
}

impl Setting {
    fn apply(&self, native: &Event, empty: &[String], out: &mut Event) {
        let mut text = String::new();
        for (index, constant) in self.values.iter().enumerate() {
            let value = match constant {
                Constant::Text(text) => Value::Text(text),
                Constant::Int(number) => Value::Int(*number),
                Constant::Bool(truth) => Value::Bool(*truth),
                Constant::Template(_) => match constant.text(native, empty, &mut text) {
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
    /// Writes the text. `false` if a field that it names says nothing.
    fn text(&self, native: &Event, empty: &[String], text: &mut String) -> bool {
        text.clear();
        let Constant::Template(pieces) = self else { return false };
        write_pieces(pieces, native, empty, text)
    }
}

fn write_pieces(pieces: &[Piece], native: &Event, empty: &[String], text: &mut String) -> bool {
    let mut number = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(piece) => text.push_str(piece),
            Piece::Field(names) => {
                let value = names.iter().find_map(|name| native.get(name));
                match value.and_then(|value| value.text(&mut number)) {
                    Some(value) if !is_one_of(value, empty) => text.push_str(value),
                    _ => return false,
                }
            }
            Piece::Optional(pieces) => {
                let before = text.len();
                if !write_pieces(pieces, native, empty, text) {
                    text.truncate(before);
                }
            }
        }
    }
    true
}

impl Lookup {
    /// The block of the value that the record has. `lower` is memory to work with.
    fn find(&self, native: &Event, lower: &mut String) -> Option<usize> {
        let mut number = String::new();
        let value = self.fields.iter().find_map(|field| native.get(field))?;
        let value = value.text(&mut number)?;
        let row = match self.rows.get(value) {
            Some(row) => Some(row),
            None => self.rows.get(to_lower(value, lower)),
        };
        row.copied().or(self.otherwise)
    }
}

/// The text in lower case, in memory that is kept.
pub(crate) fn to_lower<'t>(text: &'t str, lower: &'t mut String) -> &'t str {
    lower.clear();
    match text.is_ascii() {
        true => {
            lower.push_str(text);
            lower.make_ascii_lowercase();
        }
        false => lower.extend(text.chars().flat_map(char::to_lowercase)),
    }
    lower
}
