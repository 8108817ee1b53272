//! What is done for the events of one logsource class.
//!
//! Rules, atoms and literals are compiled once for all classes; a plan only lists which of them
//! the class needs, so it is made in well under a millisecond, when the first event of a class
//! comes, and literals of Linux rules cost Windows events nothing.

use std::collections::HashMap;

use crate::Compiled;
use crate::atoms::{ANY, FieldId, Kind};
use crate::needles::{Entry, Keywords, Search, Span, Table};
use crate::witness::{Trigger, TriggerId};

/// Which rules a class has, and how they are found.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The class's rules by number, ascending, each with the start of its program.
    pub(crate) rules: Vec<(u32, u32)>,
    /// Bits of the rules, twice: what is seen without looking of what they wait for, and the same
    /// for the second thing that they wait for.
    pub(crate) seen: Vec<u64>,
    /// Bits of the hashes of the fields' names, so that most other fields are known at once.
    known: [u64; 16],
    /// Open addressing by the hash of the field's name; a power of two, at most half full.
    fields: Vec<PlanField>,
    /// Pieces of `rules`, by place, that wait for one thing.
    pub(crate) waiting: Vec<u32>,
    /// By [`PlanField::long`].
    searches: Vec<Search>,
    /// The literals of a single byte, those of a field side by side.
    pub(crate) singles: Vec<(u8, Entry)>,
    /// The literals of two or three bytes.
    pub(crate) short: Table<2>,
    /// The literals that are sought in any field, the short ones excepted.
    pub(crate) keywords: Keywords,
    /// Short literals are sought in any field.
    pub(crate) any_short: bool,
    /// Some literal is sought in any field, so all fields are of interest.
    pub(crate) any: bool,
}

/// A field that a class's rules ask for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlanField {
    hash: u64,
    /// [`ANY`] for a free slot.
    pub(crate) field: FieldId,
    /// The rules that wait for the field itself.
    pub(crate) waiting: Span,
    /// Which search finds the longer literals that are sought in it, or [`NONE`].
    long: u32,
    /// Single bytes that are sought in it.
    pub(crate) singles: Span,
    /// Short ones are sought in it.
    pub(crate) short: bool,
}

const NONE: u32 = u32::MAX;

const FREE: PlanField = PlanField {
    hash: 0,
    field: ANY,
    waiting: Span { start: 0, end: 0 },
    long: NONE,
    singles: Span { start: 0, end: 0 },
    short: false,
};

impl Plan {
    /// The plan of these rules (their numbers, ascending).
    pub(crate) fn new(compiled: &Compiled, numbers: Vec<u32>) -> Plan {
        let mut rules = Vec::with_capacity(numbers.len());
        let words = numbers.len().div_ceil(64);
        let mut seen = vec![0u64; 2 * words];
        let mut by_trigger: HashMap<TriggerId, [Vec<u32>; 2], foldhash::fast::FixedState> =
            HashMap::default();
        let mut needs = Needs::new(compiled);
        for number in numbers {
            let Some(rule) = compiled.rules.get(number as usize) else { continue };
            let place = rules.len() as u32;
            rules.push((number, rule.program));
            needs.follow(compiled, rule.program);
            let (word, bit) = (place as usize / 64, 1 << (place % 64));
            let (first, second) = match &rule.witness {
                Ok(witness) => (&*witness.first, &*witness.second),
                Err(_) => {
                    seen[word] |= bit;
                    (&[][..], &[][..])
                }
            };
            if second.is_empty() {
                seen[words + word] |= bit;
            }
            for trigger in first {
                by_trigger.entry(*trigger).or_default()[0].push(place);
            }
            for trigger in second {
                by_trigger.entry(*trigger).or_default()[1].push(place);
            }
        }
        for atom in &needs.atoms {
            let decider = compiled.deciders.get(*atom as usize).copied().flatten();
            if let Some(trigger) = decider {
                by_trigger.entry(trigger).or_default();
            }
        }
        let mut ordered: Vec<(TriggerId, [Vec<u32>; 2])> = by_trigger.into_iter().collect();
        ordered.sort_by_key(|(trigger, _)| *trigger);

        let mut waiting = Vec::new();
        let mut entries = Vec::with_capacity(ordered.len());
        let mut fields: HashMap<FieldId, PlanField, foldhash::fast::FixedState> =
            needs.fields.iter().map(|field| (*field, FREE)).collect();
        for (trigger, places) in ordered {
            let [span, second] = places.map(|places| {
                let start = waiting.len() as u32;
                waiting.extend(places);
                Span { start, end: waiting.len() as u32 }
            });
            match compiled.triggers.get(trigger as usize) {
                Some(Trigger::Present(field)) => {
                    fields.entry(*field).or_insert(FREE).waiting = span;
                }
                _ => {
                    let needle = compiled.needles.all.get(trigger as usize).copied().flatten();
                    entries.extend(needle.map(|needle| Entry { needle, waiting: span, second }));
                }
            }
        }
        let of_a_field = |entry: &&Entry| entry.needle.is_long() && entry.needle.field != ANY;
        let mut long: Vec<Entry> = entries.iter().filter(of_a_field).copied().collect();
        long.sort_by_key(|entry| entry.needle.field);
        let mut searches = Vec::new();
        for same in long.chunk_by(|a, b| a.needle.field == b.needle.field) {
            fields.entry(same[0].needle.field).or_insert(FREE).long = searches.len() as u32;
            searches.push(Search::new(same, &compiled.needles));
        }
        let mut singles: Vec<(u8, Entry)> =
            entries.iter().filter_map(|entry| Some((entry.needle.single()?, *entry))).collect();
        singles.sort_by_key(|(_, entry)| entry.needle.field);
        for (at, (_, entry)) in (0..).zip(&singles) {
            let span = &mut fields.entry(entry.needle.field).or_insert(FREE).singles;
            let start = if span.end == 0 { at } else { span.start };
            *span = Span { start, end: at + 1 };
        }
        let is_short = |entry: &&Entry| !entry.needle.is_long() && entry.needle.single().is_none();
        let short: Vec<Entry> = entries.iter().filter(is_short).copied().collect();
        let short = Table::<2>::new(&short, &compiled.needles);
        let keywords = Keywords::new(&entries, &compiled.needles);
        let any_short = short.entries().iter().any(|entry| entry.needle.field == ANY);
        for entry in short.entries().iter().filter(|entry| entry.needle.field != ANY) {
            fields.entry(entry.needle.field).or_insert(FREE).short = true;
        }
        let mut table = vec![FREE; (fields.len() * 2 + 1).next_power_of_two()];
        let mask = table.len() - 1;
        let mut known_bits = [0; 16];
        for (id, field) in fields {
            let Some(known) = compiled.atoms.fields.get(id as usize) else { continue };
            let (word, bit) = known_bit(known.hash);
            known_bits[word] |= bit;
            let mut at = home(known.hash, mask);
            while table[at].field != ANY {
                at = (at + 1) & mask;
            }
            table[at] = PlanField { hash: known.hash, field: id, ..field };
        }
        Plan {
            rules,
            seen,
            known: known_bits,
            fields: table,
            waiting,
            searches,
            singles,
            short,
            any: any_short || !keywords.is_empty(),
            any_short,
            keywords,
        }
    }

    /// The field with this hash of its name, if a rule of the class asks for it.
    pub(crate) fn field(&self, hash: u64) -> Option<&PlanField> {
        let (word, bit) = known_bit(hash);
        if self.known[word] & bit == 0 {
            return None;
        }
        let mask = self.fields.len() - 1;
        let mut at = home(hash, mask);
        loop {
            let field = &self.fields[at];
            if field.field == ANY {
                return None;
            }
            if field.hash == hash {
                return Some(field);
            }
            at = (at + 1) & mask;
        }
    }

    /// What finds the longer literals that are sought in a field.
    pub(crate) fn search(&self, field: &PlanField) -> Option<&Search> {
        self.searches.get(field.long as usize)
    }

    /// How much memory it takes, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.rules.len() * 8
            + self.seen.len() * 8
            + self.fields.len() * size_of::<PlanField>()
            + self.waiting.len() * 4
            + self.searches.iter().map(Search::memory).sum::<usize>()
            + self.singles.len() * size_of::<(u8, Entry)>()
            + self.short.memory()
            + self.keywords.memory()
    }
}

/// A word of 16 and a bit of 64, by other bits of the hash than [`home`] looks at first.
fn known_bit(hash: u64) -> (usize, u64) {
    ((hash >> 20) as usize % 16, 1 << (hash >> 24 & 63))
}

fn home(hash: u64, mask: usize) -> usize {
    (hash ^ (hash >> 32)) as usize & mask
}

/// The atoms and fields that programs ask for.
struct Needs {
    atoms: Vec<u32>,
    fields: Vec<FieldId>,
    seen_step: Vec<bool>,
    seen_atom: Vec<bool>,
}

impl Needs {
    fn new(compiled: &Compiled) -> Needs {
        Needs {
            atoms: Vec::new(),
            fields: Vec::new(),
            seen_step: vec![false; compiled.steps.len()],
            seen_atom: vec![false; compiled.atoms.prepared.len()],
        }
    }

    /// Adds what the program that begins at this step asks for.
    fn follow(&mut self, compiled: &Compiled, program: u32) {
        let mut todo = vec![program];
        while let Some(at) = todo.pop() {
            let Some(step) = compiled.steps.get(at as usize) else { continue };
            if std::mem::replace(&mut self.seen_step[at as usize], true) {
                continue;
            }
            todo.extend([step.if_held, step.if_not]);
            let atom = step.atom as usize;
            if std::mem::replace(&mut self.seen_atom[atom], true) {
                continue;
            }
            self.atoms.push(step.atom);
            let Some(prepared) = compiled.atoms.prepared.get(atom) else { continue };
            match prepared.kind {
                Kind::Shared(program) => {
                    todo.push(program);
                    continue;
                }
                Kind::FieldRef { other, .. } => self.fields.push(other),
                _ => {}
            }
            if prepared.field != ANY {
                self.fields.push(prepared.field);
            }
        }
    }
}
