//! The meaning of pipes, over rows in memory.

use std::cmp::Ordering;
use std::collections::HashSet;

use event::{Event, Timestamp};

use crate::cell::{Cell, Table, TableRow};
use crate::eval::{matches, matches_fields, scalar};
use crate::stats::Groups;
use crate::tree::{Aggregate, Function, Pipe, SortKey, Stats};

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

/// Runs pipes over events, which stand in the order in which they are shown.
pub fn run(pipes: &[Pipe], events: Vec<Event>) -> Rows {
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
        Pipe::Dedup(fields) => {
            let mut seen = HashSet::new();
            let mut events = events;
            events.retain(|event| {
                seen.insert(fields.iter().map(|field| cells(event, field)).collect::<Vec<_>>())
            });
            events
        }
        Pipe::Fields(fields) => {
            let rows = events
                .iter()
                .map(|event| fields.iter().map(|field| one(cells(event, field))).collect())
                .collect();
            return Rows::Table(run_table(rest, Table { columns: fields.clone(), rows }));
        }
        Pipe::Stats(_) | Pipe::Top { .. } | Pipe::Timechart { .. } => {
            let rows = events.len();
            let table = grouped(pipe, rows, |row, field| {
                events.get(row).map_or(vec![], |e| cells(e, field))
            });
            return Rows::Table(run_table(rest, table));
        }
    };
    run(rest, next)
}

/// Runs pipes over a table.
pub fn run_table(pipes: &[Pipe], mut table: Table) -> Table {
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
            Pipe::Dedup(fields) => {
                let at: Vec<Option<usize>> = fields.iter().map(|f| table.column(f)).collect();
                let mut seen = HashSet::new();
                table.rows.retain(|row| {
                    seen.insert(at.iter().map(|at| cell(row, *at).clone()).collect::<Vec<_>>())
                });
            }
            Pipe::Fields(fields) => {
                let at: Vec<Option<usize>> = fields.iter().map(|f| table.column(f)).collect();
                for row in &mut table.rows {
                    *row = at.iter().map(|at| cell(row, *at).clone()).collect();
                }
                table.columns.clone_from(fields);
            }
            Pipe::Stats(_) | Pipe::Top { .. } | Pipe::Timechart { .. } => {
                table = grouped(pipe, table.rows.len(), |row, field| {
                    let at = table.column(field);
                    table.rows.get(row).map_or(vec![], |row| several(cell(row, at)))
                });
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
        Pipe::Top { field, .. } => Some(Stats {
            aggregates: vec![Aggregate {
                function: Function::Count,
                field: None,
                name: "count".to_owned(),
            }],
            by: vec![field.clone()],
        }),
        _ => None,
    }
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
        if let Pipe::Top { count, rare, .. } = self {
            // The table is sorted by value already, and the sort is stable.
            table.rows.sort_by(|a, b| {
                let order = a.get(1).cmp(&b.get(1));
                if *rare { order } else { order.reverse() }
            });
            table.rows.truncate(*count);
        }
        table
    }
}

fn grouped(pipe: &Pipe, rows: usize, cells: impl Fn(usize, &str) -> Vec<Cell>) -> Table {
    let Some(stats) = grouping(pipe) else { return Table::default() };
    let timechart = matches!(pipe, Pipe::Timechart { .. });
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
        let values: Vec<Option<Vec<Cell>>> = stats
            .aggregates
            .iter()
            .map(|aggregate| aggregate.field.as_deref().map(|field| cells(row, field)))
            .collect();
        groups.add(&keys, &values);
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
        match run(&parse(query).unwrap().pipes, events) {
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
        assert_snapshot!(shown("* | dedup host.name | where n>3"), @r#"{"@timestamp":"2026-08-05T13:00:01Z","n":4}"#);
    }
}
