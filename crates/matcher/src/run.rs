//! Matches one event.
//!
//! First the event's fields are walked once: those that rules ask for are noted, and the texts in
//! which literals are sought are lower-cased and searched. That leaves a few candidate rules. Their
//! programs are run; a test that the search did not answer is made when a program first asks, and
//! its answer is kept for all other programs.

use std::ops::Range;

use event::{Event, Value};
use regex_automata::Input;
use regex_automata::meta::Cache;
use sigma::expr::Relation;

use crate::Compiled;
use crate::atoms::{ANY, AtomId, FieldId, Kind, Shape};
use crate::needles::{Entry, NO_ATOM, Needle};
use crate::plain::keywords_read;
use crate::plan::Plan;
use crate::program::{FAILS, HOLDS};
use crate::shapes::{Asked, Shapes};
use crate::text::{push_lower, push_number};
use crate::value::{compares, has_time_part, in_network};
use crate::witness::EDGE;

/// The most memory for lower-cased texts that a worker keeps from one event to the next, in bytes.
const TEXT_BYTES_KEPT_MAX: usize = 4 << 20;

/// The end of a list of slots.
const NONE: u32 = u32::MAX;

/// Where the text of a value that has none (`null`, kept JSON) lies.
const TEXTLESS: u32 = u32::MAX - 1;

/// What one worker needs to match events; reused from event to event. It may be used with any
/// matcher, but fits itself anew to another than the one that it was last used with.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The matcher that it fits; 0 is none.
    matcher: u64,
    shapes: Shapes,
    /// By atom: the number of the event for which it was answered, and in the last bit the answer.
    answers: Vec<u32>,
    /// The number of the event, counted so that all answers of earlier ones are void.
    number: u32,
    /// By field: its first slot.
    first: Vec<u32>,
    slots: Vec<Slot>,
    /// Lower-cased texts, each between two [`EDGE`]s.
    text: Vec<u8>,
    /// Bits of the class's rules, twice, as [`Plan::seen`]: those with both bits are evaluated.
    seen: Vec<u64>,
    /// By regular expression. Boxed, since each is taken out while it is used.
    caches: Vec<Option<Box<Cache>>>,
    hits: Vec<u32>,
    evaluated: u64,
}

/// A value of the event that rules may look at.
#[derive(Debug, Clone, Copy)]
struct Slot {
    /// Our number of its field, or [`ANY`] if only keywords look at it.
    field: FieldId,
    /// Its place in the event.
    at: u32,
    /// Where its lower-cased text lies, or `start` is [`NONE`]: not written yet, or [`TEXTLESS`].
    start: u32,
    end: u32,
    /// The next value of the same field.
    next: u32,
    /// Whether keywords look at it.
    keywords: bool,
}

impl Scratch {
    pub(crate) fn new(compiled: &Compiled) -> Scratch {
        let mut scratch = Scratch::default();
        scratch.fit(compiled);
        scratch
    }

    /// How many rules were evaluated so far. What an event costs beyond being read grows with it.
    pub fn evaluated(&self) -> u64 {
        self.evaluated
    }

    fn fit(&mut self, compiled: &Compiled) {
        if self.matcher == compiled.id {
            return;
        }
        *self = Scratch {
            matcher: compiled.id,
            answers: vec![0; compiled.atoms.prepared.len()],
            first: vec![NONE; compiled.atoms.fields.len()],
            caches: compiled.atoms.regexes.iter().map(|_| None).collect(),
            ..Scratch::default()
        };
    }
}

/// The rules that hold for the event, ascending.
pub(crate) fn matches<'s>(
    compiled: &Compiled,
    event: &Event,
    scratch: &'s mut Scratch,
) -> &'s [u32] {
    scratch.fit(compiled);
    scratch.hits.clear();
    if scratch.number >= u32::MAX >> 1 {
        scratch.answers.fill(0);
        scratch.number = 0;
    }
    scratch.number += 1;
    let reading = scratch.shapes.reading(compiled, event);
    let plan = reading.plan();
    if plan.rules.is_empty() {
        return &scratch.hits;
    }
    scratch.seen.clear();
    scratch.seen.extend_from_slice(&reading.seen);
    scratch.text.clear();
    scratch.text.shrink_to(TEXT_BYTES_KEPT_MAX);
    scratch.text.push(EDGE);
    let mut run = Run {
        compiled,
        plan,
        event,
        answers: &mut scratch.answers,
        number: scratch.number,
        first: &mut scratch.first,
        slots: &mut scratch.slots,
        text: &mut scratch.text,
        caches: &mut scratch.caches,
        noted_all: false,
    };
    let (first, second) = scratch.seen.split_at_mut(plan.seen.len() / 2);
    run.read(&reading.asked, first, second);
    for (word, (first, second)) in first.iter().zip(second.iter()).enumerate() {
        let mut bits = first & second;
        while bits != 0 {
            let place = word * 64 + bits.trailing_zeros() as usize;
            bits &= bits - 1;
            let Some((rule, program)) = plan.rules.get(place) else { continue };
            scratch.evaluated += 1;
            if run.holds(*program) {
                scratch.hits.push(*rule);
            }
        }
    }
    for slot in run.slots.drain(..) {
        if let Some(first) = run.first.get_mut(slot.field as usize) {
            *first = NONE;
        }
    }
    &scratch.hits
}

/// The matching of one event.
struct Run<'r> {
    compiled: &'r Compiled,
    plan: &'r Plan,
    event: &'r Event,
    answers: &'r mut [u32],
    number: u32,
    first: &'r mut [u32],
    slots: &'r mut Vec<Slot>,
    text: &'r mut Vec<u8>,
    caches: &'r mut [Option<Box<Cache>>],
    /// The values that only keywords look at are among the slots.
    noted_all: bool,
}

/// Where it is noted that a literal was found.
struct Found<'f> {
    plan: &'f Plan,
    answers: &'f mut [u32],
    number: u32,
    first: &'f mut [u64],
    second: &'f mut [u64],
}

impl Found<'_> {
    /// Whether its atom, if it decides one, is answered already, and so its rules are marked.
    fn is_noted(&self, entry: &Entry) -> bool {
        let answer = self.answers.get(entry.needle.atom as usize);
        answer.is_some_and(|answer| *answer == self.number << 1 | 1)
    }

    fn note(&mut self, entry: &Entry) {
        if entry.needle.atom != NO_ATOM {
            self.answers[entry.needle.atom as usize] = self.number << 1 | 1;
        }
        mark(self.first, entry.waiting.of(&self.plan.waiting));
        mark(self.second, entry.second.of(&self.plan.waiting));
    }
}

impl<'r> Run<'r> {
    /// Notes the values that rules of the class may look at, and searches them for literals.
    fn read(&mut self, asked: &[Asked], first: &mut [u64], second: &mut [u64]) {
        let (compiled, plan, event) = (self.compiled, self.plan, self.event);
        if plan.any {
            self.read_for_keywords(first, second);
        }
        for Asked { at, known, keywords } in asked {
            let next = match self.first.get_mut(known.field as usize) {
                Some(at) => std::mem::replace(at, self.slots.len() as u32),
                None => NONE,
            };
            let (mut start, mut end) = (NONE, NONE);
            let long = plan.search(known);
            let singles = known.singles.of(&plan.singles);
            if long.is_some() || known.short || !singles.is_empty() {
                let value = event.value_at(*at as usize).unwrap_or(Value::Null);
                (start, end) = write_lower(self.text, value);
                let text = framed(self.text, start, end);
                let mut found =
                    Found { plan, answers: self.answers, number: self.number, first, second };
                if let Some(long) = long {
                    long.search(&compiled.needles, text, |entry| found.note(entry));
                }
                for (byte, entry) in singles {
                    if memchr::memchr(*byte, text).is_some() {
                        found.note(entry);
                    }
                }
                if known.short {
                    let counts = |needle: &Needle| needle.field == known.field;
                    plan.short.search(&compiled.needles, text, counts, |entry| found.note(entry));
                }
            }
            let (field, at, keywords) = (known.field, *at, *keywords);
            self.slots.push(Slot { field, at, start, end, next, keywords });
        }
    }

    /// Searches all values for what is sought in any field.
    fn read_for_keywords(&mut self, first: &mut [u64], second: &mut [u64]) {
        let (compiled, plan, event) = (self.compiled, self.plan, self.event);
        let one_by_one = plan.any_short || !plan.keywords.compare_as_bytes(event.texts());
        if one_by_one || plan.keywords.in_scalars {
            for at in 0..event.len() {
                let text = matches!(event.value_at(at), Some(Value::Text(_)));
                if one_by_one || !text {
                    self.search_anywhere(at, first, second);
                }
            }
        }
        if one_by_one {
            return;
        }
        let mut found = Found { plan, answers: self.answers, number: self.number, first, second };
        plan.keywords.search(&compiled.needles, event.texts().as_bytes(), |entry, place| {
            // Once is enough, and whose text it is takes a while to find.
            if found.is_noted(entry) {
                return;
            }
            let path = event.holder(place).and_then(|at| event.field(at)).map(|(path, _)| path);
            if path.is_some_and(keywords_read) {
                found.note(entry);
            }
        });
    }

    /// Searches a value for what is sought in any field. Most have nothing of it, so whether
    /// keywords look at the field is asked only where something was found.
    fn search_anywhere(&mut self, at: usize, first: &mut [u64], second: &mut [u64]) {
        let (compiled, plan, event) = (self.compiled, self.plan, self.event);
        let Some(value) = event.value_at(at) else { return };
        let looked_at = || event.field(at).is_some_and(|(path, _)| keywords_read(path));
        let keywords = &plan.keywords;
        let long = match value {
            Value::Text(text) => text.len() >= keywords.len_min,
            Value::Null | Value::Json(_) => return,
            _ => keywords.in_scalars,
        };
        let long = long && !keywords.is_empty();
        if !long && !plan.any_short {
            return;
        }
        let mut found = Found { plan, answers: self.answers, number: self.number, first, second };
        let mut note = |entry: &Entry| {
            if looked_at() {
                found.note(entry);
            }
        };
        let before = self.text.len();
        let (start, end) = write_lower(self.text, value);
        let text = framed(self.text, start, end);
        if long {
            keywords.search(&compiled.needles, text, |entry, _| note(entry));
        }
        if plan.any_short {
            let counts = |needle: &Needle| needle.field == ANY;
            plan.short.search(&compiled.needles, text, counts, note);
        }
        self.text.truncate(before);
    }

    /// Notes the values that only keywords look at, which are not noted as long as the search
    /// alone answers for them.
    fn note_the_rest(&mut self) {
        if std::mem::replace(&mut self.noted_all, true) {
            return;
        }
        let ours = self.slots.len();
        for (at, name) in (0..).zip(self.event.names().iter()) {
            let noted = self.slots[..ours].binary_search_by_key(&at, |slot| slot.at).is_ok();
            if !noted && keywords_read(name) {
                self.slots.push(Slot {
                    field: ANY,
                    at,
                    start: NONE,
                    end: NONE,
                    next: NONE,
                    keywords: true,
                });
            }
        }
    }

    /// Runs a program. It ends, since steps lead only to earlier ones.
    fn holds(&mut self, program: u32) -> bool {
        let compiled = self.compiled;
        let mut at = program;
        while at < FAILS {
            let step = &compiled.steps[at as usize];
            at = if self.answer(step.atom) { step.if_held } else { step.if_not };
        }
        at == HOLDS
    }

    fn answer(&mut self, atom: AtomId) -> bool {
        let known = self.answers[atom as usize];
        if known >> 1 == self.number {
            return known & 1 == 1;
        }
        let compiled = self.compiled;
        let prepared = &compiled.atoms.prepared[atom as usize];
        if prepared.searched {
            return false;
        }
        let held = match &prepared.kind {
            Kind::Shared(program) => self.holds(*program),
            kind if prepared.field == ANY => self.test_any(kind),
            kind => self.test_field(prepared.field, kind),
        };
        self.answers[atom as usize] = self.number << 1 | u32::from(held);
        held
    }

    fn test_field(&mut self, field: FieldId, kind: &Kind) -> bool {
        let mut at = self.first.get(field as usize).copied().unwrap_or(NONE);
        match kind {
            Kind::Exists(expected) => return (at != NONE) == *expected,
            Kind::Null if at == NONE => return true,
            _ => {}
        }
        while let Some(slot) = self.slots.get(at as usize) {
            let next = slot.next;
            if self.test(at, kind) {
                return true;
            }
            at = next;
        }
        false
    }

    fn test_any(&mut self, kind: &Kind) -> bool {
        self.note_the_rest();
        let mut there = false;
        for at in 0..self.slots.len() {
            if self.slots[at].keywords {
                there = true;
                if !matches!(kind, Kind::Exists(_)) && self.test(at as u32, kind) {
                    return true;
                }
            }
        }
        match kind {
            Kind::Exists(expected) => there == *expected,
            Kind::Null => !there,
            _ => false,
        }
    }

    /// The test of one value.
    fn test(&mut self, at: u32, kind: &Kind) -> bool {
        match kind {
            Kind::Text { cased, shape } => {
                let text = if *cased { self.original(at) } else { self.lowered(at) };
                text.is_some_and(|text| has_shape(shape, text))
            }
            Kind::Regex(regex) => {
                let number = *regex as usize;
                let compiled = self.compiled;
                let Some(regex) = compiled.atoms.regexes.get(number) else { return false };
                let Some(cache) = self.caches.get_mut(number) else { return false };
                let mut cache = cache.take().unwrap_or_else(|| Box::new(regex.create_cache()));
                let held = self.original(at).is_some_and(|text| {
                    let input = Input::new(text).earliest(true);
                    regex.search_half_with(&mut cache, &input).is_some()
                });
                self.caches[number] = Some(cache);
                held
            }
            Kind::Cidr(network) => self.with_text(at, |text| in_network(network, text)),
            Kind::Networks(networks) => self.with_text(at, |text| networks.contain(text)),
            Kind::Compare(comparison, number) => compares(*comparison, self.value(at), *number),
            Kind::Null => self.value(at) == Value::Null,
            Kind::TimePart(part, number) => {
                self.with_text(at, |text| has_time_part(*part, text, *number))
            }
            Kind::FieldRef { other, relation, cased } => {
                let mut next = self.first.get(*other as usize).copied().unwrap_or(NONE);
                while let Some(slot) = self.slots.get(next as usize).copied() {
                    if self.relates(*relation, *cased, at, next) {
                        return true;
                    }
                    next = slot.next;
                }
                false
            }
            // Answered before, for the field as a whole.
            Kind::Exists(_) | Kind::Shared(_) => false,
        }
    }

    fn relates(&mut self, relation: Relation, cased: bool, own: u32, other: u32) -> bool {
        if !cased {
            // Written first, since both are borrowed at once below.
            self.lowered(own);
            self.lowered(other);
        } else {
            self.original(own);
            self.original(other);
        }
        let text = |at| if cased { self.written_original(at) } else { self.written_lower(at) };
        let (Some(own), Some(other)) = (text(own), text(other)) else { return false };
        match relation {
            Relation::Equals => own == other,
            Relation::StartsWith => own.starts_with(other),
            Relation::EndsWith => own.ends_with(other),
            Relation::Contains => memchr::memmem::find(own, other).is_some(),
        }
    }

    fn value(&self, at: u32) -> Value<'r> {
        let slot = self.slots.get(at as usize);
        slot.and_then(|slot| self.event.value_at(slot.at as usize)).unwrap_or(Value::Null)
    }

    /// The value's text lower-cased; `None` for `null` and kept JSON.
    fn lowered(&mut self, at: u32) -> Option<&[u8]> {
        let slot = *self.slots.get(at as usize)?;
        if slot.start == NONE {
            let value = self.event.value_at(slot.at as usize).unwrap_or(Value::Null);
            let (start, end) = write_lower(self.text, value);
            let slot = &mut self.slots[at as usize];
            (slot.start, slot.end) = (start, end);
        }
        self.written_lower(at)
    }

    /// The value's text as it is. That of a number or a boolean is the same in lower case.
    fn original(&mut self, at: u32) -> Option<&[u8]> {
        match self.value(at) {
            Value::Text(text) => Some(text.as_bytes()),
            _ => self.lowered(at),
        }
    }

    fn written_lower(&self, at: u32) -> Option<&[u8]> {
        let slot = self.slots.get(at as usize)?;
        self.text.get(range(slot.start, slot.end))
    }

    fn written_original(&self, at: u32) -> Option<&[u8]> {
        match self.value(at) {
            Value::Text(text) => Some(text.as_bytes()),
            _ => self.written_lower(at),
        }
    }

    fn with_text(&mut self, at: u32, test: impl Fn(&str) -> bool) -> bool {
        // What was written is a copy of a text or a number in decimal, so always UTF-8.
        self.original(at).and_then(|text| std::str::from_utf8(text).ok()).is_some_and(test)
    }
}

fn has_shape(shape: &Shape, text: &[u8]) -> bool {
    match shape {
        Shape::Equals(literal) => text == &**literal,
        Shape::StartsWith(literal) => text.starts_with(literal),
        Shape::EndsWith(literal) => text.ends_with(literal),
        Shape::Contains(finder) => finder.find(text).is_some(),
        Shape::Other(glob) => glob.matches(text),
    }
}

pub(crate) fn mark(bits: &mut [u64], places: &[u32]) {
    for place in places {
        if let Some(word) = bits.get_mut(*place as usize / 64) {
            *word |= 1 << (place % 64);
        }
    }
}

fn range(start: u32, end: u32) -> Range<usize> {
    start as usize..end as usize
}

/// The text with the edges around it.
fn framed(text: &[u8], start: u32, end: u32) -> &[u8] {
    text.get(start as usize - 1..end as usize + 1).unwrap_or_default()
}

/// Appends a value's lower-cased text and an edge, and tells where it lies. The buffer ends with an
/// edge already.
fn write_lower(out: &mut Vec<u8>, value: Value<'_>) -> (u32, u32) {
    let start = out.len();
    match value {
        Value::Text(text) => push_lower(text, out),
        Value::Int(number) => push_number(number < 0, number.unsigned_abs(), out),
        Value::Uint(number) => push_number(false, number, out),
        Value::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
        Value::Float(number) => {
            use std::io::Write;
            // Writing to memory does not fail.
            write!(out, "{number:?}").ok();
        }
        Value::Null | Value::Json(_) => return (TEXTLESS, TEXTLESS),
    }
    let end = out.len();
    out.push(EDGE);
    (start as u32, end as u32)
}
