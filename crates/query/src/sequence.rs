//! Sequences: events of one entity that pass steps one after the other, within a time.
//!
//! # Which sequences there are
//!
//! An entity's events stand in the order of their times; those of one time in the order of their
//! ids, numbers in them by value, which is the order of arrival within a source. A sequence is one
//! event for each step, each after the one before, the last at most `within` after the first. The
//! first sequence of an entity is the one that ends first; of several with that end it is the one
//! whose other events are the latest, so the shortest. The next is looked for behind its end: no
//! event is in two sequences of an entity. An event with several values of a field of `by` is an
//! event of each of these entities.
//!
//! # How they are found
//!
//! For each entity and each step the latest chain of events that ends with it is kept. An event that
//! passes a step makes the chain of the step before longer, and takes the place of the older chain of
//! its own step: that one started no later, so whatever could follow it can follow the new one, and
//! in less time. So an entity costs at most as many chains as there are steps, whatever comes. Tests
//! hold this equal to a search through all combinations.
//!
//! What it refuses to do: know where events come from. It takes them in order, as the steps that
//! they pass.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use event::Timestamp;

use crate::cell::{Cell, Table};
use crate::pipes::Exceeded;
use crate::tree::{Filter, Sequence};

/// The most entities that are in the middle of a sequence at one time: about 50 MB.
pub(crate) const ENTITIES_MAX: usize = 100_000;

/// The most sequences that are found.
pub(crate) const FOUND_MAX: usize = 100_000;

/// The most entities that one event is of.
const ENTITIES_PER_EVENT_MAX: usize = 1000;

/// An event, as far as sequences go.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its time.
    pub at: Timestamp,
    /// Its id.
    pub id: Arc<str>,
    /// The steps that it passes, a bit for each.
    pub passes: u32,
    /// Its values of each field of `by`.
    pub keys: Vec<Vec<Cell>>,
}

impl Step {
    /// The order in which events follow each other.
    pub fn order(&self, other: &Step) -> Ordering {
        self.at.cmp(&other.at).then_with(|| by_number(&self.id, &other.id))
    }
}

/// Compares texts with the numbers in them by value.
fn by_number(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    loop {
        let (Some(x), Some(y)) = (left.chars().next(), right.chars().next()) else {
            return left.len().cmp(&right.len()).then_with(|| a.cmp(b));
        };
        let order = if x.is_ascii_digit() && y.is_ascii_digit() {
            let (m, n) = (take_number(&mut left), take_number(&mut right));
            m.len().cmp(&n.len()).then_with(|| m.cmp(n))
        } else {
            left = left.get(x.len_utf8()..).unwrap_or_default();
            right = right.get(y.len_utf8()..).unwrap_or_default();
            x.cmp(&y)
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// Takes the digits at the beginning, and gives them without leading zeros.
fn take_number<'t>(text: &mut &'t str) -> &'t str {
    let whole = *text;
    let end = whole.find(|c: char| !c.is_ascii_digit()).unwrap_or(whole.len());
    let (number, rest) = whole.split_at(end);
    *text = rest;
    number.trim_start_matches('0')
}

impl Sequence {
    /// The columns of its table.
    pub fn columns(&self) -> Vec<String> {
        let own = ["first", "last", "events"].map(str::to_owned);
        self.by.iter().cloned().chain(own).collect()
    }

    /// Which events matter: those that pass one of its steps, and are of an entity.
    pub fn candidates(&self) -> Filter {
        let mut all = vec![Filter::or(self.steps.clone())];
        all.extend(self.by.iter().map(|field| Filter::exists(field)));
        Filter::and(all)
    }

    /// The steps that something passes, a bit for each.
    pub fn passed(&self, mut passes: impl FnMut(&Filter) -> bool) -> u32 {
        (0..).zip(&self.steps).fold(0, |all, (n, step)| all | u32::from(passes(step)) << n)
    }
}

/// Events that follow each other: one for each of the first steps.
type Chain = Vec<(Timestamp, Arc<str>)>;

/// Finds sequences among events that come in their order.
pub struct Sequencer<'s> {
    wanted: &'s Sequence,
    /// For each entity, the latest chain that ends with each step but the last; empty if none.
    open: HashMap<Vec<Cell>, Vec<Chain>, foldhash::fast::RandomState>,
    entities_max: usize,
    /// When entities were last looked through for those whose time is over.
    purged: Timestamp,
    found: Vec<(Vec<Cell>, Chain)>,
    exceeded: Vec<Exceeded>,
}

impl<'s> Sequencer<'s> {
    /// Nothing found yet.
    pub fn new(wanted: &'s Sequence) -> Self {
        Sequencer::with(wanted, ENTITIES_MAX)
    }

    fn with(wanted: &'s Sequence, entities_max: usize) -> Self {
        Sequencer {
            wanted,
            open: HashMap::default(),
            entities_max,
            purged: Timestamp::from_nanos(i64::MIN),
            found: Vec::new(),
            exceeded: Vec::new(),
        }
    }

    /// Takes in the next event.
    pub fn take(&mut self, step: Step) {
        let combinations = step.keys.iter().map(Vec::len).fold(1, usize::saturating_mul);
        if combinations > ENTITIES_PER_EVENT_MAX {
            self.exceed(Exceeded::Entities);
        }
        for mut index in 0..combinations.min(ENTITIES_PER_EVENT_MAX) {
            let mut entity = Vec::with_capacity(step.keys.len());
            for cells in &step.keys {
                entity.extend(cells.get(index % cells.len()).cloned());
                index /= cells.len();
            }
            self.take_for(entity, &step);
        }
    }

    fn take_for(&mut self, entity: Vec<Cell>, step: &Step) {
        let last = self.wanted.steps.len().saturating_sub(1);
        if !self.open.contains_key(&entity) {
            if step.passes & 1 == 0 {
                return;
            }
            if self.open.len() >= self.entities_max && !self.make_room(step.at) {
                return self.exceed(Exceeded::Entities);
            }
        }
        let chains = self.open.entry(entity.clone()).or_insert_with(|| vec![Chain::new(); last]);
        // From the last step to the first, so that an event stands in a chain only once.
        for n in (0..=last).rev() {
            if step.passes >> n & 1 == 0 {
                continue;
            }
            let before = match n.checked_sub(1) {
                None => Chain::new(),
                Some(before) => match chains.get(before) {
                    Some(chain) if !chain.is_empty() => chain.clone(),
                    _ => continue,
                },
            };
            let mut chain = before;
            chain.push((step.at, Arc::clone(&step.id)));
            if let Some(place) = chains.get_mut(n) {
                *place = chain;
            } else if is_within(&chain, self.wanted.within_nanos) {
                self.open.remove(&entity);
                if self.found.len() < FOUND_MAX {
                    self.found.push((entity, chain));
                } else {
                    self.exceed(Exceeded::Sequences);
                }
                return;
            }
        }
    }

    /// Forgets entities whose chains are all too old to be finished; not more often than one can
    /// have become so.
    fn make_room(&mut self, now: Timestamp) -> bool {
        let within = self.wanted.within_nanos;
        if now <= self.purged.plus_nanos(within) {
            return false;
        }
        self.purged = now;
        self.open.retain(|_, chains| {
            chains
                .iter()
                .filter_map(|chain| chain.first())
                .any(|(from, _)| now.as_nanos().saturating_sub(from.as_nanos()) <= within)
        });
        self.open.len() < self.entities_max
    }

    fn exceed(&mut self, bound: Exceeded) {
        if !self.exceeded.contains(&bound) {
            self.exceeded.push(bound);
        }
    }

    /// What was found, the last first: the entity, the first and the last time, the events' ids.
    pub fn finish(mut self, exceeded: &mut Vec<Exceeded>) -> Table {
        exceeded.append(&mut self.exceeded);
        let end =
            |chain: &Chain| (chain.last().map(|(at, _)| *at), chain.first().map(|(at, _)| *at));
        self.found.sort_by(|(a_key, a), (b_key, b)| {
            end(b).cmp(&end(a)).then_with(|| a_key.cmp(b_key)).then_with(|| a.cmp(b))
        });
        let time =
            |at: Option<&(Timestamp, Arc<str>)>| at.map_or(Cell::Null, |at| Cell::Time(at.0));
        let rows = self.found.into_iter().map(|(mut row, chain)| {
            row.extend([time(chain.first()), time(chain.last())]);
            row.push(Cell::List(chain.iter().map(|(_, id)| Cell::Text(id.to_string())).collect()));
            row
        });
        Table { columns: self.wanted.columns(), rows: rows.collect() }
    }
}

fn is_within(chain: &Chain, within_nanos: i64) -> bool {
    match (chain.first(), chain.last()) {
        (Some((from, _)), Some((to, _))) => {
            to.as_nanos().saturating_sub(from.as_nanos()) <= within_nanos
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use event::Timestamp;

    use super::{Sequencer, Step, by_number};
    use crate::cell::Cell;
    use crate::pipes::Exceeded;
    use crate::tree::Pipe;

    #[test]
    fn ids_stand_in_the_order_of_their_numbers() {
        assert_eq!(by_number("log-3-9", "log-3-10"), Ordering::Less);
        assert_eq!(by_number("log-3-10", "log-3-10"), Ordering::Equal);
        assert_eq!(by_number("a", "b"), Ordering::Less);
        assert_eq!(by_number("a1", "a"), Ordering::Greater);
        assert_eq!(by_number("a01", "a1"), Ordering::Less);
    }

    #[test]
    fn entities_beyond_the_bound_are_left_out_and_told() {
        let query = crate::parse("* | sequence by a within 10s [b:1] [b:2]").unwrap();
        let [Pipe::Sequence(wanted)] = query.pipes.as_slice() else { panic!("a sequence") };
        let step = |seconds: i64, entity: &str, passes| Step {
            at: Timestamp::from_nanos(seconds * 1_000_000_000),
            id: format!("{seconds}-{entity}").into(),
            passes,
            keys: vec![vec![Cell::Text(entity.to_owned())]],
        };
        let found = |steps: Vec<Step>| {
            let mut sequencer = Sequencer::with(wanted, 2);
            steps.into_iter().for_each(|step| sequencer.take(step));
            let mut exceeded = Vec::new();
            (sequencer.finish(&mut exceeded).rows.len(), exceeded)
        };
        // Three begin at once, and there is room for two.
        let crowd =
            vec![step(100, "x", 1), step(101, "y", 1), step(102, "z", 1), step(103, "z", 2)];
        assert_eq!(found(crowd), (0, vec![Exceeded::Entities]));
        // The time of two is over when the third begins.
        let later =
            vec![step(100, "x", 1), step(101, "y", 1), step(120, "z", 1), step(121, "z", 2)];
        assert_eq!(found(later), (1, vec![]));
    }
}
