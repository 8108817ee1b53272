//! `/search`: events, newest first, or the table that the query's pipes make.

use askama::Template;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use indexing::{Answer, Kinds};
use query::{Cell, Pipe, Table};

use super::histogram::Chart;
use super::listing::{Facet, Form, Params, Place, plural};
use super::view::Hit;
use super::{failed, link, render};
use crate::search::{Found, SearchError, term};
use crate::server::Context;

const PATH: &str = "/search";
const PLACEHOLDER: &str = "process.name:powershell.exe and not user.name:SYSTEM | top host.name";

/// Fields that narrow well and that most events have.
const FACETS: [&str; 10] = [
    "event.dataset",
    "host.name",
    "user.name",
    "event.code",
    "event.action",
    "event.outcome",
    "process.name",
    "source.ip",
    "destination.ip",
    "cloud.account.id",
];

#[derive(Template)]
#[template(path = "search.html")]
struct Search {
    form: Form,
    notes: Vec<String>,
    chart: Option<Chart>,
    facets: Vec<Facet>,
    summary: String,
    hits: Vec<Hit>,
    table: Option<Grid>,
    first: Option<String>,
    more: Option<String>,
}

impl Search {
    fn page(&self) -> &'static str {
        "search"
    }
}

/// A table of which some cells lead to the events that they count.
struct Grid {
    columns: Vec<Column>,
    rows: Vec<Vec<GridCell>>,
}

struct Column {
    name: String,
    /// Its cells are numbers, which stand at the right.
    number: bool,
}

struct GridCell {
    text: String,
    href: Option<String>,
    number: bool,
}

/// The page.
pub(super) async fn page(State(context): State<Context>, Query(params): Query<Params>) -> Response {
    let place = match Place::read(PATH, &params) {
        Ok(place) => place,
        Err(error) => return wrong(&params, &error),
    };
    let ask = match place.ask(Kinds::Events, &FACETS) {
        Ok(ask) => ask,
        Err(error) => return wrong(&params, &error),
    };
    match context.searches.ask(ask).await {
        Ok(found) => render(&Search::new(&place, found)),
        Err(error) => failed(&error),
    }
}

fn wrong(params: &Params, error: &SearchError) -> Response {
    let page = Search {
        form: Form::new(PATH, PLACEHOLDER, params, Some(error)),
        notes: Vec::new(),
        chart: None,
        facets: Vec::new(),
        summary: String::new(),
        hits: Vec::new(),
        table: None,
        first: None,
        more: None,
    };
    (StatusCode::BAD_REQUEST, render(&page)).into_response()
}

impl Search {
    fn new(place: &Place<'_>, found: Found) -> Search {
        let results = found.results;
        let events = plural(results.total, "event", "events");
        let took = results.took.as_millis();
        let (hits, table) = match results.answer {
            Answer::Hits(hits) => (hits.iter().map(|hit| Hit::new(&hit.event())).collect(), None),
            Answer::Table(table) => (Vec::new(), Some(Grid::new(place, table))),
        };
        let summary = match &table {
            Some(grid) => {
                let rows = plural(grid.rows.len() as u64, "row", "rows");
                format!("{rows} from {events} · {took} ms")
            }
            None => format!("{events} · {took} ms"),
        };
        Search {
            form: Form::new(PATH, PLACEHOLDER, place.params, None),
            notes: super::listing::notes(found.notes, &found.hints),
            chart: place.chart(results.histogram.as_ref()),
            facets: place.facets(&results.facets),
            summary,
            hits,
            table,
            first: place.first(),
            more: place.next(found.next),
        }
    }
}

impl Grid {
    fn new(place: &Place<'_>, table: Table) -> Grid {
        let fields = group_fields(&place.query.pipes);
        let events = query::Query { filter: place.query.filter.clone(), pipes: Vec::new() };
        let span = place.query.pipes.iter().find_map(|pipe| match pipe {
            Pipe::Timechart { span_nanos, .. } => Some(*span_nanos),
            _ => None,
        });
        let cell = |column: &str, cell: &Cell| {
            let text = cell.to_string();
            let one = !matches!(cell, Cell::Null | Cell::List(_));
            let href = match (cell, span) {
                (Cell::Time(from), Some(span)) if column == "@timestamp" => {
                    let until = from.plus_nanos(span).to_string();
                    Some(link::query(PATH, &events.to_string(), &from.to_string(), &until))
                }
                _ => (one && fields.contains(&column)).then(|| {
                    let query = link::narrow(&events, term(column, &text));
                    link::query(PATH, &query, &place.params.since, &place.params.until)
                }),
            };
            GridCell { number: matches!(cell, Cell::Int(_) | Cell::Float(_)), text, href }
        };
        let rows = table.rows.iter().map(|row| {
            table.columns.iter().zip(row).map(|(column, value)| cell(column, value)).collect()
        });
        let rows: Vec<Vec<GridCell>> = rows.collect();
        let columns = table.columns.iter().enumerate().map(|(at, name)| Column {
            name: name.clone(),
            number: rows.iter().any(|row| row.get(at).is_some_and(|cell| cell.number)),
        });
        Grid { columns: columns.collect(), rows }
    }
}

/// The columns of a table that hold values of the events' own fields: those that the first pipe
/// that makes a table groups by or picks.
fn group_fields(pipes: &[Pipe]) -> Vec<&str> {
    for pipe in pipes {
        match pipe {
            Pipe::Stats(stats) | Pipe::Timechart { stats, .. } => {
                return stats.by.iter().map(String::as_str).collect();
            }
            Pipe::Top { fields, by, .. } => {
                return by.iter().chain(fields).map(String::as_str).collect();
            }
            Pipe::Fields(columns) => {
                let same = columns.iter().filter(|column| column.field == column.name);
                return same.map(|column| column.name.as_str()).collect();
            }
            Pipe::Sequence(sequence) => return sequence.by.iter().map(String::as_str).collect(),
            Pipe::Head(_) | Pipe::Sort(_) | Pipe::Where(_) | Pipe::Dedup { .. } => {}
        }
    }
    Vec::new()
}
