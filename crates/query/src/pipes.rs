//! The meaning of pipes, over rows in memory.

use std::cmp::Ordering;
use std::collections::HashMap;

use event::{Event, Timestamp};

use crate::cell::{Cell, Table, TableRow};
use crate::eval::{matches, matches_fields, scalar};
use crate::sequence::{self, Sequencer};
use crate::stats::Groups;
use crate::tree::{Aggregate, Column, Function, Pipe, Sequence, SortKey, Stats};

/// What a query gives: events as they are until a pipe makes a table of them.
#[derive(Debug, Clone)]
pub enum Rows {
    /// Whole events.
    Events(Vec<Event>),
    /// A table.
    Table(Table),
}

/// The most groups that pipes over rows make.
const GROUPS_MAX: usize = 1_000_000;

/// A bound that pipes over rows ran into, so that what they gave is not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Exceeded {
    /// Too many groups, or one row in too many.
    #[error("more groups than the limit of {GROUPS_MAX}; those first met were counted")]
    Groups,
    /// Too many entities with the beginning of a sequence at one time.
    #[error(
        "more than {} entities were in the middle of the sequence at one time, and the others were left out; add a step that fewer events pass, or shorten `within`",
        sequence::ENTITIES_MAX
    )]
    Entities,
    /// Too many sequences.
    #[error("more than {} sequences were found; the earliest are shown", sequence::FOUND_MAX)]
    Sequences,
}

/// The different values of an event's field, in their order.
pub fn cells(event: &Event, field: &str) -> Vec<Cell> {
    let mut cells: Vec<Cell> = Vec::new();
    for value in event.values(field).filter_map(|value| scalar(field, value)) {
        let cell = Cell::from_scalar(value);
        if !cells.contains(&cell) {
            cells.push(cell);
        }
    }
    cells
}

/// Runs pipes over events, which stand in the order in which they are shown. Bounds that were hit
/// are added to `exceeded`.
pub fn run(pipes: &[Pipe], events: Vec<Event>, exceeded: &mut Vec<Exceeded>) -> Rows {
    let Some((pipe, rest)) = pipes.split_first() else { return Rows::Events(events) };
    let next = match pipe {
        Pipe::Head(count) => {
            let mut events = events;
            events.truncate(*count);
            events
        }
        Pipe::Where(filter) => events.into_iter().filter(|event| matches(filter, event)).collect(),
        Pipe::Sort(keys) => {
            let mut keyed: Vec<(Vec<Cell>, Event)> = events
                .into_iter()
                .map(|event| {
                    let key = keys.iter().map(|key| first(&cells(&event, &key.field))).collect();
                    (key, event)
                })
                .collect();
            keyed.sort_by(|a, b| compare(&a.0, &b.0, keys));
            keyed.into_iter().map(|(_, event)| event).collect()
        }
        Pipe::Dedup { count, fields } => {
            let mut seen = Seen::default();
            let mut events = events;
            events.retain(|event| {
                let key = fields.iter().map(|field| one(cells(event, field))).collect();
                seen.is_among_first(*count, key)
            });
            events
        }
        Pipe::Fields(columns) => {
            let rows = events
                .iter()
                .map(|event| columns.iter().map(|c| one(cells(event, &c.field))).collect())
                .collect();
            let table = Table { columns: names(columns), rows };
            return Rows::Table(run_table(rest, table, exceeded));
        }
        Pipe::Sequence(wanted) => {
            let table = sequences(wanted, &events, exceeded);
            return Rows::Table(run_table(rest, table, exceeded));
        }
        Pipe::Stats(_) | Pipe::Top { .. } | Pipe::Timechart { .. } => {
            let of = |row: usize, field: &str| events.get(row).map_or(vec![], |e| cells(e, field));
            let table = grouped(pipe, events.len(), of, exceeded);
            return Rows::Table(run_table(rest, table, exceeded));
        }
    };
    run(rest, next, exceeded)
}

/// How often each combination of values came.
#[derive(Default)]
struct Seen(HashMap<Vec<Cell>, usize, foldhash::fast::RandomState>);

impl Seen {
    fn is_among_first(&mut self, count: usize, key: Vec<Cell>) -> bool {
        let times = self.0.entry(key).or_default();
        *times += 1;
        *times <= count
    }
}

fn names(columns: &[Column]) -> Vec<String> {
    columns.iter().map(|column| column.name.clone()).collect()
}

/// Finds sequences among events in any order.
fn sequences(wanted: &Sequence, events: &[Event], exceeded: &mut Vec<Exceeded>) -> Table {
    let mut steps: Vec<sequence::Step> = events
        .iter()
        .filter_map(|event| {
            let keys: Vec<Vec<Cell>> = wanted.by.iter().map(|field| cells(event, field)).collect();
            Some(sequence::Step {
                at: event.timestamp()?,
                id: event.str("event.id").unwrap_or_default().into(),
                passes: wanted.passed(|filter| matches(filter, event)),
                keys,
            })
        })
        .filter(|step| step.passes != 0)
        .collect();
    steps.sort_by(sequence::Step::order);
    let mut sequencer = Sequencer::new(wanted);
    steps.into_iter().for_each(|step| sequencer.take(step));
    sequencer.finish(exceeded)
}

/// Runs pipes over a table. Bounds that were hit are added to `exceeded`.
pub fn run_table(pipes: &[Pipe], mut table: Table, exceeded: &mut Vec<Exceeded>) -> Table {
    for pipe in pipes {
        match pipe {
            Pipe::Head(count) => table.rows.truncate(*count),
            Pipe::Where(filter) => {
                let columns = &table.columns;
                table.rows.retain(|cells| matches_fields(filter, &TableRow { columns, cells }));
            }
            Pipe::Sort(keys) => {
                let at: Vec<Option<usize>> =
                    keys.iter().map(|key| table.column(&key.field)).collect();
                let key = |row: &[Cell]| -> Vec<Cell> {
                    at.iter().map(|at| first(&several(cell(row, *at)))).collect()
                };
                table.rows.sort_by(|a, b| compare(&key(a), &key(b), keys));
            }
            Pipe::Dedup { count, fields } => {
                let at: Vec<Option<usize>> = fields.iter().map(|f| table.column(f)).collect();
                let mut seen = Seen::default();
                table.rows.retain(|row| {
                    let key = at.iter().map(|at| cell(row, *at).clone()).collect();
                    seen.is_among_first(*count, key)
                });
            }
            Pipe::Fields(columns) => {
                let at: Vec<Option<usize>> =
                    columns.iter().map(|column| table.column(&column.field)).collect();
                for row in &mut table.rows {
                    *row = at.iter().map(|at| cell(row, *at).clone()).collect();
                }
                table.columns = names(columns);
            }
            // Rows are no events that could follow each other: see `parse`, which refuses it.
            Pipe::Sequence(wanted) => {
                table = Table { columns: wanted.columns(), rows: Vec::new() };
            }
            Pipe::Stats(_) | Pipe::Top { .. } | Pipe::Timechart { .. } => {
                let of = |row: usize, field: &str| {
                    let at = table.column(field);
                    table.rows.get(row).map_or(vec![], |row| several(cell(row, at)))
                };
                table = grouped(pipe, table.rows.len(), of, exceeded);
            }
        }
    }
    table
}

/// What an aggregating pipe asks for: what is counted, by which fields, and what is done with the
/// table. The same for every engine.
pub(crate) fn grouping(pipe: &Pipe) -> Option<Stats> {
    match pipe {
        Pipe::Stats(stats) => Some(stats.clone()),
        Pipe::Timechart { stats, .. } => {
            let mut stats = stats.clone();
            stats.by.insert(0, "@timestamp".to_owned());
            Some(stats)
        }
        Pipe::Top { fields, by, .. } => Some(Stats {
            aggregates: vec![Aggregate {
                function: Function::Count,
                field: None,
                name: "count".to_owned(),
            }],
            by: by.iter().chain(fields).cloned().collect(),
        }),
        _ => None,
    }
}

/// The columns of the table that pipes make; `None` while they keep whole events.
pub fn columns(pipes: &[Pipe]) -> Option<Vec<String>> {
    let mut columns = None;
    for pipe in pipes {
        if let Some(stats) = pipe.grouping() {
            let counted = stats.aggregates.into_iter().map(|aggregate| aggregate.name);
            columns = Some(stats.by.into_iter().chain(counted).collect());
        } else if let Pipe::Fields(all) = pipe {
            columns = Some(names(all));
        } else if let Pipe::Sequence(sequence) = pipe {
            columns = Some(sequence.columns());
        }
    }
    columns
}

impl Pipe {
    /// What an aggregating pipe counts, by which fields; `None` for every other pipe. For
    /// `timechart` the first field is `@timestamp`, cut by [`Pipe::cut_time`].
    pub fn grouping(&self) -> Option<Stats> {
        grouping(self)
    }

    /// The beginning of the step of a `timechart` that a time lies in.
    pub fn cut_time(&self, time: Timestamp) -> Timestamp {
        match self {
            Pipe::Timechart { span_nanos, .. } => {
                let span = (*span_nanos).max(1);
                Timestamp::from_nanos(time.as_nanos().div_euclid(span).saturating_mul(span))
            }
            _ => time,
        }
    }

    /// What an aggregating pipe does with its finished groups: `top` and `rare` sort and cut.
    pub fn finish(&self, mut table: Table) -> Table {
        if let Pipe::Top { count, fields, by, rare } = self {
            let counted = by.len() + fields.len();
            // The table is sorted by its values already, and the sort is stable.
            table.rows.sort_by(|a, b| {
                let order = a.get(counted).cmp(&b.get(counted));
                let order = if *rare { order } else { order.reverse() };
                a.get(..by.len()).cmp(&b.get(..by.len())).then(order)
            });
            let mut seen = Seen::default();
            table.rows.retain(|row| {
                let group = row.get(..by.len()).unwrap_or_default().to_vec();
                seen.is_among_first(*count, group)
            });
        }
        table
    }
}

fn grouped(
    pipe: &Pipe,
    rows: usize,
    cells: impl Fn(usize, &str) -> Vec<Cell>,
    exceeded: &mut Vec<Exceeded>,
) -> Table {
    let Some(stats) = grouping(pipe) else { return Table::default() };
    let timechart = matches!(pipe, Pipe::Timechart { .. });
    let by_time = stats.aggregates.iter().any(|aggregate| aggregate.function.is_by_time());
    let mut groups = Groups::new(&stats.aggregates, GROUPS_MAX);
    for row in 0..rows {
        let mut keys: Vec<Vec<Cell>> = stats.by.iter().map(|field| cells(row, field)).collect();
        if timechart && let Some(times) = keys.first_mut() {
            times.retain_mut(|cell| match cell {
                Cell::Time(time) => {
                    *time = pipe.cut_time(*time);
                    true
                }
                _ => false,
            });
        }
        let at = || {
            cells(row, "@timestamp").into_iter().find_map(|cell| match cell {
                Cell::Time(time) => Some(time),
                _ => None,
            })
        };
        let values: Vec<Option<Vec<Cell>>> = stats
            .aggregates
            .iter()
            .map(|aggregate| aggregate.field.as_deref().map(|field| cells(row, field)))
            .collect();
        groups.add(&keys, &values, if by_time { at() } else { None });
    }
    if groups.overflowed() {
        exceeded.push(Exceeded::Groups);
    }
    pipe.finish(groups.into_table(&stats.by))
}

fn compare(a: &[Cell], b: &[Cell], keys: &[SortKey]) -> Ordering {
    for ((a, b), key) in a.iter().zip(b).zip(keys) {
        // What has no value comes last, whichever way the sort runs.
        let order = match (a, b) {
            (Cell::Null, Cell::Null) => Ordering::Equal,
            (Cell::Null, _) => Ordering::Greater,
            (_, Cell::Null) => Ordering::Less,
            _ if key.descending => b.cmp(a),
            _ => a.cmp(b),
        };
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

fn first(cells: &[Cell]) -> Cell {
    cells.first().cloned().unwrap_or_default()
}

fn cell(row: &[Cell], at: Option<usize>) -> &Cell {
    at.and_then(|at| row.get(at)).unwrap_or(&Cell::Null)
}

fn one(mut cells: Vec<Cell>) -> Cell {
    match cells.len() {
        0 => Cell::Null,
        1 => cells.swap_remove(0),
        _ => Cell::List(cells),
    }
}

fn several(cell: &Cell) -> Vec<Cell> {
    match cell {
        Cell::Null => Vec::new(),
        Cell::List(cells) => cells.clone(),
        one => vec![one.clone()],
    }
}

#[cfg(test)]
mod tests {
    use event::Event;
    use insta::assert_snapshot;

    use super::{Rows, run};
    use crate::parse;

    fn shown(query: &str) -> String {
        let events: Vec<Event> = [
            r#"{"@timestamp":"2026-08-05T12:00:00Z","host":{"name":"a"},"n":1,"tags":["x","y"]}"#,
            r#"{"@timestamp":"2026-08-05T12:30:00Z","host":{"name":"b"},"n":2.5,"tags":["x"]}"#,
            r#"{"@timestamp":"2026-08-05T13:00:00Z","host":{"name":"a"},"n":"10"}"#,
            r#"{"@timestamp":"2026-08-05T13:00:01Z","n":4}"#,
        ]
        .iter()
        .map(|json| {
            let mut event = Event::new();
            event.parse_json(json.as_bytes()).unwrap();
            event
        })
        .collect();
        match run(&parse(query).unwrap().pipes, events, &mut Vec::new()) {
            Rows::Events(events) => {
                events.iter().map(|e| e.to_json()).collect::<Vec<_>>().join("\n")
            }
            Rows::Table(table) => {
                let mut out = table.columns.join(" | ");
                for row in &table.rows {
                    out.push('\n');
                    let cells: Vec<String> = row.iter().map(|cell| cell.to_string()).collect();
                    out.push_str(&cells.join(" | "));
                }
                out
            }
        }
    }

    #[test]
    fn pipes_do_what_they_say() {
        assert_snapshot!(shown("* | stats count, sum(n), avg(n), min(n), max(n), dc(tags) by host.name"), @r"
        host.name | count | sum(n) | avg(n) | min(n) | max(n) | dc(tags)
        a | 2 | 11 | 5.5 | 1 | 10 | 2
        b | 1 | 2.5 | 2.5 | 2.5 | 2.5 | 1
        ");
        assert_snapshot!(shown("* | stats count"), @r"
        count
        4
        ");
        assert_snapshot!(shown("* | stats count as hits by tags | sort -hits | head 1"), @r"
        tags | hits
        x | 2
        ");
        assert_snapshot!(shown("* | timechart span=1h count by host.name"), @r"
        @timestamp | host.name | count
        2026-08-05T12:00:00Z | a | 1
        2026-08-05T12:00:00Z | b | 1
        2026-08-05T13:00:00Z | a | 1
        ");
        assert_snapshot!(shown("* | top 1 host.name"), @r"
        host.name | count
        a | 2
        ");
        assert_snapshot!(shown("* | rare host.name | where count >= 1 | fields count"), @r"
        count
        1
        2
        ");
        assert_snapshot!(shown("* | sort -host.name | fields host.name, tags"), @r"
        host.name | tags
        b | x
        a | x, y
        a | 
         | 
        ");
        assert_snapshot!(shown("* | stats first(n), last(host.name), p50(n), percentile(n, 75), first(nothing)"), @r"
        first(n) | last(host.name) | p50(n) | p75(n) | first(nothing)
        1 | a | 2.5 | 4 | 
        ");
        assert_snapshot!(shown("* | top 1 tags by host.name"), @r"
        host.name | tags | count
        a | x | 1
        b | x | 1
        ");
        assert_snapshot!(shown("* | dedup 2 host.name | fields host.name as host, n | sort -n"), @r"
        host | n
        a | 10
         | 4
        b | 2.5
        a | 1
        ");
        let found = shown(
            "* | sequence by host.name within 1h [n:1] [n:10] | fields host.name, first, last",
        );
        assert_snapshot!(found, @r"
        host.name | first | last
        a | 2026-08-05T12:00:00Z | 2026-08-05T13:00:00Z
        ");
        assert_snapshot!(shown("* | dedup host.name | where n>3"), @r#"{"@timestamp":"2026-08-05T13:00:01Z","n":4}"#);
    }
}
