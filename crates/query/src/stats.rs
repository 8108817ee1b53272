//! Groups and what is counted in them.
//!
//! The plain executor and the index both fill [`Groups`]; the index with what its columns gave for
//! many events at once, and groups of several segments are merged. So a state must not depend on
//! the order in which it was filled.
//!
//! Percentiles are exact up to [`EXACT_VALUES_MAX`] different numbers in a group. With more, every
//! number is rounded to [`KEPT_BITS`] binary places after its first, so that a group keeps a few
//! thousand counts, however many events it has. As rounding does not change which of two numbers is
//! greater, the answer is then the exact one, rounded: off by less than 0.2 percent of itself.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use event::Timestamp;

use crate::cell::{Cell, Table};
use crate::term::Number;
use crate::tree::{Aggregate, Function, Percent};

/// The most different numbers that a percentile keeps as they are: half a megabyte for a group.
pub const EXACT_VALUES_MAX: usize = 10_000;

/// The binary places that a rounded number keeps: 256 steps from one power of two to the next, so
/// that it is off by at most 1/512 of itself. Whole numbers up to 512 stay as they are.
const KEPT_BITS: u32 = 8;

type Counts = HashMap<Cell, u64, foldhash::fast::RandomState>;

/// What one aggregate knows of one group so far.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// How many.
    Count(u64),
    /// Which different values.
    Distinct(BTreeSet<Cell>),
    /// The numbers, for the sum and the average.
    Numbers {
        /// How many numbers.
        count: u64,
        /// The sum of the whole ones.
        whole: i128,
        /// The sum of the others.
        float: f64,
        /// Whether there were others.
        any_float: bool,
    },
    /// The least or the greatest.
    Extreme(Option<Cell>),
    /// The earliest or the latest, and when it came.
    AtTime(Option<(Timestamp, Cell)>),
    /// How often each number came, for percentiles.
    Numbered {
        /// By number.
        counts: Counts,
        /// Whether numbers are rounded.
        rounded: bool,
    },
}

impl State {
    /// The state before the first value.
    pub fn new(function: Function) -> State {
        match function {
            Function::Count => State::Count(0),
            Function::Distinct => State::Distinct(BTreeSet::new()),
            Function::Sum | Function::Avg => {
                State::Numbers { count: 0, whole: 0, float: 0.0, any_float: false }
            }
            Function::Min | Function::Max => State::Extreme(None),
            Function::First | Function::Last => State::AtTime(None),
            Function::Percentile(_) => {
                State::Numbered { counts: HashMap::default(), rounded: false }
            }
        }
    }

    /// Takes in a value that occurred so many times, in a row of this time if it has one.
    pub fn add(&mut self, function: Function, cell: &Cell, times: u64, at: Option<Timestamp>) {
        match self {
            State::Count(count) => *count += times,
            State::Distinct(seen) => {
                if !seen.contains(cell) {
                    seen.insert(cell.clone());
                }
            }
            State::Numbers { count, whole, float, any_float } => match cell.as_number() {
                Some(Number::Int(number)) => {
                    *count += times;
                    *whole = whole.saturating_add(number.saturating_mul(i128::from(times)));
                }
                Some(Number::Float(number)) => {
                    *count += times;
                    *float += number * times as f64;
                    *any_float = true;
                }
                None => {}
            },
            State::Extreme(found) => {
                let cell = comparable(cell);
                let better = found.as_ref().is_none_or(|found| match function {
                    Function::Min => cell < *found,
                    _ => cell > *found,
                });
                if better {
                    *found = Some(cell);
                }
            }
            State::AtTime(found) => {
                let Some(at) = at else { return };
                // Of several values at one time the least is the first, and the greatest the last.
                let new = (at, cell.clone());
                let better = found.as_ref().is_none_or(|found| match function {
                    Function::First => new < *found,
                    _ => new > *found,
                });
                if better {
                    *found = Some(new);
                }
            }
            State::Numbered { counts, rounded } => {
                if let Some(number) = numeric(cell) {
                    count_number(counts, rounded, number, times);
                }
            }
        }
    }

    /// Takes in another state of the same function.
    pub fn merge(&mut self, function: Function, other: State) {
        match (self, other) {
            (State::Count(count), State::Count(more)) => *count += more,
            (State::Distinct(seen), State::Distinct(more)) => seen.extend(more),
            (
                State::Numbers { count, whole, float, any_float },
                State::Numbers {
                    count: count_more,
                    whole: whole_more,
                    float: float_more,
                    any_float: any_more,
                },
            ) => {
                *count += count_more;
                *whole = whole.saturating_add(whole_more);
                *float += float_more;
                *any_float |= any_more;
            }
            (this @ State::Extreme(_), State::Extreme(Some(cell))) => {
                this.add(function, &cell, 1, None);
            }
            (this @ State::AtTime(_), State::AtTime(Some((at, cell)))) => {
                this.add(function, &cell, 1, Some(at));
            }
            (
                State::Numbered { counts, rounded },
                State::Numbered { counts: more, rounded: more_rounded },
            ) => {
                if more_rounded && !*rounded {
                    round_all(counts, rounded);
                }
                for (number, times) in more {
                    count_number(counts, rounded, number, times);
                }
            }
            _ => {}
        }
    }

    fn finish(&self, function: Function) -> Cell {
        match self {
            State::Count(count) => Cell::Int(i64::try_from(*count).unwrap_or(i64::MAX)),
            State::Distinct(seen) => Cell::Int(i64::try_from(seen.len()).unwrap_or(i64::MAX)),
            State::Numbers { count: 0, .. } => Cell::Null,
            State::Numbers { count, whole, float, any_float } => {
                if function == Function::Avg {
                    return Cell::number((*whole as f64 + float) / *count as f64);
                }
                match i64::try_from(*whole) {
                    Ok(whole) if !any_float => Cell::Int(whole),
                    _ => Cell::number(*whole as f64 + float),
                }
            }
            State::Extreme(cell) => cell.clone().unwrap_or_default(),
            State::AtTime(found) => {
                found.as_ref().map(|(_, cell)| cell.clone()).unwrap_or_default()
            }
            State::Numbered { counts, .. } => match function {
                Function::Percentile(percent) => percentile(counts, percent),
                _ => Cell::Null,
            },
        }
    }
}

/// By nearest rank: the least of the numbers that so many percent of them do not exceed.
fn percentile(counts: &Counts, percent: Percent) -> Cell {
    let mut all: Vec<(&Cell, u64)> = counts.iter().map(|(cell, count)| (cell, *count)).collect();
    all.sort_unstable();
    let rank = percent.rank(all.iter().map(|(_, count)| count).sum());
    let mut before = 0;
    for (cell, count) in all {
        before += count;
        if before > rank {
            return cell.clone();
        }
    }
    Cell::Null
}

fn count_number(counts: &mut Counts, rounded: &mut bool, number: Cell, times: u64) {
    let number = if *rounded { round(number) } else { number };
    *counts.entry(number).or_default() += times;
    if !*rounded && counts.len() > EXACT_VALUES_MAX {
        round_all(counts, rounded);
    }
}

fn round_all(counts: &mut Counts, rounded: &mut bool) {
    *rounded = true;
    for (number, times) in std::mem::take(counts) {
        *counts.entry(round(number)).or_default() += times;
    }
}

/// The nearest number of [`KEPT_BITS`] binary places; of one that has no more, itself.
fn round(cell: Cell) -> Cell {
    const DROPPED_BITS: u32 = f64::MANTISSA_DIGITS - 1 - KEPT_BITS;
    const DROPPED: u64 = (1 << DROPPED_BITS) - 1;
    let number = match cell {
        Cell::Int(number) => number as f64,
        Cell::Float(number) => number,
        other => return other,
    };
    let bits = number.to_bits();
    // A carry goes into the exponent, which is what rounding up to a power of two means.
    let nearest = f64::from_bits(bits.wrapping_add(DROPPED / 2 + 1) & !DROPPED);
    Cell::number(if nearest.is_finite() { nearest } else { f64::from_bits(bits & !DROPPED) })
}

/// A cell as a number, if it is one or a text that is one.
fn numeric(cell: &Cell) -> Option<Cell> {
    Some(match cell.as_number()? {
        Number::Int(number) => i64::try_from(number).map_or(Cell::Float(number as f64), Cell::Int),
        Number::Float(number) => Cell::number(number),
    })
}

/// A text that is a number compares as one.
fn comparable(cell: &Cell) -> Cell {
    match (cell, cell.as_number()) {
        (Cell::Text(_), Some(Number::Int(number))) => {
            i64::try_from(number).map_or_else(|_| cell.clone(), Cell::Int)
        }
        (Cell::Text(_), Some(Number::Float(number))) => Cell::number(number),
        _ => cell.clone(),
    }
}

/// Groups by their key, with the states of every aggregate.
#[derive(Debug, Clone)]
pub struct Groups {
    aggregates: Vec<Aggregate>,
    map: HashMap<Vec<Cell>, Vec<State>, foldhash::fast::RandomState>,
    groups_max: usize,
    overflowed: bool,
}

impl Groups {
    /// No groups yet, and never more than so many: what comes after is left out, and said so.
    pub fn new(aggregates: &[Aggregate], groups_max: usize) -> Self {
        Groups {
            aggregates: aggregates.to_vec(),
            map: HashMap::default(),
            groups_max,
            overflowed: false,
        }
    }

    /// The states of a group, one for each aggregate; `None` if there is no room for it.
    pub fn group(&mut self, key: Vec<Cell>) -> Option<&mut Vec<State>> {
        let room = self.map.len() < self.groups_max;
        match self.map.entry(key) {
            Entry::Occupied(entry) => Some(entry.into_mut()),
            Entry::Vacant(entry) if room => {
                Some(entry.insert(self.aggregates.iter().map(|a| State::new(a.function)).collect()))
            }
            Entry::Vacant(_) => {
                self.overflowed = true;
                None
            }
        }
    }

    /// Takes in the states of a group that were filled elsewhere.
    pub fn merge(&mut self, key: Vec<Cell>, states: Vec<State>) {
        let is_room = self.map.len() < self.groups_max;
        match self.map.entry(key) {
            Entry::Occupied(mut entry) => {
                let into = entry.get_mut().iter_mut().zip(states).zip(&self.aggregates);
                into.for_each(|((into, more), aggregate)| into.merge(aggregate.function, more));
            }
            Entry::Vacant(entry) if is_room => {
                entry.insert(states);
            }
            Entry::Vacant(_) => self.overflowed = true,
        }
    }

    /// Takes in all groups of another.
    pub fn merge_all(&mut self, other: Groups) {
        self.overflowed |= other.overflowed;
        if self.map.is_empty() && other.map.len() <= self.groups_max {
            self.map = other.map;
            return;
        }
        for (key, states) in other.map {
            self.merge(key, states);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Notes that groups were left out elsewhere.
    pub fn set_overflowed(&mut self) {
        self.overflowed = true;
    }

    /// Whether groups were left out.
    pub fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// Takes in one row: its values of the group's fields, and of each aggregate's field. A row
    /// with several values of a field is in a group for each.
    pub fn add(&mut self, keys: &[Vec<Cell>], values: &[Option<Vec<Cell>>], at: Option<Timestamp>) {
        /// A row with many values in many fields would be in all combinations of them.
        const GROUPS_PER_ROW_MAX: usize = 1000;
        let combinations: usize = keys.iter().map(Vec::len).fold(1, usize::saturating_mul);
        if combinations > GROUPS_PER_ROW_MAX {
            self.overflowed = true;
        }
        let functions: Vec<Function> = self.aggregates.iter().map(|a| a.function).collect();
        for mut index in 0..combinations.min(GROUPS_PER_ROW_MAX) {
            let mut key = Vec::with_capacity(keys.len());
            for cells in keys {
                key.extend(cells.get(index % cells.len()).cloned());
                index /= cells.len();
            }
            let Some(states) = self.group(key) else { continue };
            for ((state, function), values) in states.iter_mut().zip(&functions).zip(values) {
                match values {
                    None => state.add(*function, &Cell::Null, 1, at),
                    Some(cells) => cells.iter().for_each(|cell| state.add(*function, cell, 1, at)),
                }
            }
        }
    }

    /// The finished table, sorted by key. Without fields to group by it has one row, always.
    pub fn into_table(mut self, by: &[String]) -> Table {
        if by.is_empty() {
            self.group(Vec::new());
        }
        let columns =
            by.iter().cloned().chain(self.aggregates.iter().map(|a| a.name.clone())).collect();
        let mut groups: Vec<_> = self.map.into_iter().collect();
        groups.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let rows = groups
            .into_iter()
            .map(|(mut key, states)| {
                key.extend(states.iter().zip(&self.aggregates).map(|(s, a)| s.finish(a.function)));
                key
            })
            .collect();
        Table { columns, rows }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Cell, EXACT_VALUES_MAX, Function, Percent, State, round};

    /// The definition, on all numbers in their order.
    fn plain(numbers: &[f64], thousandths: usize) -> Cell {
        let mut sorted: Vec<Cell> = numbers.iter().map(|number| Cell::number(*number)).collect();
        sorted.sort();
        let least = |cell: &&Cell| {
            let not_above = sorted.iter().filter(|other| other <= cell).count();
            not_above * 100_000 >= thousandths * sorted.len()
        };
        sorted.iter().find(least).cloned().unwrap_or_default()
    }

    fn of(numbers: &[f64], percent: Percent) -> (State, Function) {
        let function = Function::Percentile(percent);
        let mut state = State::new(function);
        numbers.iter().for_each(|n| state.add(function, &Cell::number(*n), 1, None));
        (state, function)
    }

    #[test]
    fn rounded_numbers_are_near() {
        for number in [0.0, 1.0, -1.0, 511.0, 512.0, 1e-300, 123_456.789, 9e15, f64::MAX, f64::MIN]
        {
            let Some(near) = round(Cell::number(number)).as_number() else { panic!("{number}") };
            assert!((near.as_f64() - number).abs() <= number.abs() / 512.0, "{number} {near:?}");
            let again = round(Cell::number(near.as_f64()));
            assert_eq!(again, Cell::number(near.as_f64()), "rounding twice is rounding once");
        }
    }

    #[test]
    fn of_many_different_numbers_the_percentile_is_the_exact_one_rounded() {
        let numbers: Vec<f64> =
            (0..EXACT_VALUES_MAX * 3).map(|n| ((n * 7919) % 30_011) as f64 * 1.37).collect();
        for thousandths in [0, 1, 50_000, 95_000, 99_900, 100_000] {
            let percent = Percent::from_thousandths(thousandths).unwrap();
            let (whole, function) = of(&numbers, percent);
            let mut sorted = numbers.clone();
            sorted.sort_by(f64::total_cmp);
            let rank = (sorted.len() * thousandths as usize).div_ceil(100_000).max(1);
            assert_eq!(whole.finish(function), round(Cell::number(sorted[rank - 1])));
            // Parts that are each exact give the same together.
            let mut merged = State::new(function);
            for part in numbers.chunks(EXACT_VALUES_MAX / 2) {
                merged.merge(function, of(part, percent).0);
            }
            assert_eq!(merged, whole);
        }
    }

    proptest! {
        #[test]
        fn percentiles_are_what_their_definition_says(
            numbers in prop::collection::vec(-20..20i32, 0..40),
            thousandths in prop_oneof![0..=100_000u32, Just(50_000), Just(95_000), Just(100_000)],
            cut in 0..40usize,
        ) {
            let numbers: Vec<f64> = numbers.into_iter().map(|n| f64::from(n) / 2.0).collect();
            let percent = Percent::from_thousandths(thousandths).unwrap();
            let (front, back) = numbers.split_at(cut.min(numbers.len()));
            let (mut state, function) = of(back, percent);
            state.merge(function, of(front, percent).0);
            prop_assert_eq!(state.finish(function), plain(&numbers, thousandths as usize));
        }
    }
}
