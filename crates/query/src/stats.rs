//! Groups and what is counted in them.
//!
//! The plain executor and the index both fill [`Groups`]; the index with what its columns gave for
//! many events at once, and groups of several segments are merged. So a state must not depend on
//! the order in which it was filled.

use std::collections::{BTreeSet, HashMap};

use crate::cell::{Cell, Table};
use crate::term::Number;
use crate::tree::{Aggregate, Function};

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
        }
    }

    /// Takes in a value that occurred so many times.
    pub fn add(&mut self, function: Function, cell: &Cell, times: u64) {
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
            (this @ State::Extreme(_), State::Extreme(Some(cell))) => this.add(function, &cell, 1),
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
        }
    }
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
            std::collections::hash_map::Entry::Occupied(entry) => Some(entry.into_mut()),
            std::collections::hash_map::Entry::Vacant(entry) if room => {
                Some(entry.insert(self.aggregates.iter().map(|a| State::new(a.function)).collect()))
            }
            std::collections::hash_map::Entry::Vacant(_) => {
                self.overflowed = true;
                None
            }
        }
    }

    /// Takes in the states of a group that were filled elsewhere.
    pub fn merge(&mut self, key: Vec<Cell>, states: Vec<State>) {
        let functions: Vec<Function> = self.aggregates.iter().map(|a| a.function).collect();
        if let Some(into) = self.group(key) {
            for ((into, more), function) in into.iter_mut().zip(states).zip(functions) {
                into.merge(function, more);
            }
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
    pub fn add(&mut self, keys: &[Vec<Cell>], values: &[Option<Vec<Cell>>]) {
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
                    None => state.add(*function, &Cell::Null, 1),
                    Some(cells) => cells.iter().for_each(|cell| state.add(*function, cell, 1)),
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
