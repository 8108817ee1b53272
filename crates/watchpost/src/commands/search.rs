//! `watchpost search`: a query over a data folder, or over a running server.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use event::{Event, Timestamp};
use indexing::{Answer, Index, Kinds, SearchRequest};
use query::{Cell, Pipe, Query, Table, TimeRange};

use crate::args::{Format, SearchArgs, Where};
use crate::commands::Outcome;
use crate::commands::server::Server;
use crate::style;

/// The most events that are printed; a pipe `| head N` asks for fewer or more, up to this.
const HITS_MAX: usize = 10_000;

/// How many events are printed when the query does not say.
const HITS_DEFAULT: usize = 100;

/// How long a server may take; it stops searching after half of that.
const TIME_MAX: Duration = Duration::from_secs(60);

/// The widest cell of a printed table.
const CELL_CHARS_MAX: usize = 100;

pub(crate) fn run(args: &SearchArgs) -> Outcome {
    let query = match query::parse(&args.query) {
        Ok(query) => query,
        Err(error) => {
            eprintln!("{}", error.render());
            return Ok(ExitCode::from(2));
        }
    };
    let found = match &args.place.server {
        Some(server) => ask(server, args, wanted(&query))?,
        None => look(args, &query)?,
    };
    let mut out = std::io::stdout().lock();
    let written = match args.format {
        Format::Table => write_table(&mut out, &found),
        Format::Jsonl => write_jsonl(&mut out, &found),
    };
    match written {
        // Whoever reads us has read enough, as `head` does.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        other => other?,
    }
    for reason in &found.partial {
        eprintln!("{} {reason}", style::error("not whole:"));
    }
    for hint in &found.hints {
        eprintln!("{} {hint}", style::error("hint:"));
    }
    eprintln!("{}", style::dim(&format!("{} found in {} ms", found.total, found.took_ms)));
    if found.total == 0 && args.place.since != "all" {
        let since = &args.place.since;
        eprintln!(
            "{}",
            style::dim(&format!("searched since {since}; `--since all` looks further back"))
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// What was found, wherever it was looked for.
struct Found {
    rows: FoundRows,
    total: u64,
    took_ms: u128,
    partial: Vec<String>,
    /// What is odd about the query, if it found nothing.
    hints: Vec<String>,
}

enum FoundRows {
    /// Events as ECS JSON.
    Events(Vec<String>),
    Table(Table),
}

/// The data folder that a command reads when none is named.
pub(crate) fn data_folder(place: &Where) -> PathBuf {
    place.data.clone().unwrap_or_else(|| crate::config::Config::default().data.folder)
}

/// The range of time that a command asks about.
pub(crate) fn time_range(place: &Where) -> Result<TimeRange, query::TimeError> {
    TimeRange::parse(&place.since, place.until.as_deref().unwrap_or_default(), Timestamp::now())
}

/// The index of a data folder; a running server may be writing it.
pub(crate) fn open_index(folder: &Path) -> Result<Index, indexing::IndexError> {
    Index::open_read_only(folder)
}

fn look(args: &SearchArgs, query: &Query) -> Result<Found, Box<dyn std::error::Error>> {
    let index = open_index(&data_folder(&args.place))?;
    let mut request = SearchRequest::new(query);
    request.range = time_range(&args.place)?;
    request.kinds = if args.alerts { Kinds::Alerts } else { Kinds::Events };
    request.limits.hits = wanted(query);
    let results = index.searcher().search(&request);
    let mut hints = Vec::new();
    if results.total == 0 {
        let fields = index.fields();
        let known: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
        hints = query::hints(query, &args.query, &known);
    }
    Ok(Found {
        hints: hints.iter().map(ToString::to_string).collect(),
        total: results.total,
        took_ms: results.took.as_millis(),
        partial: results.partial.iter().map(ToString::to_string).collect(),
        rows: match results.answer {
            Answer::Hits(hits) => FoundRows::Events(hits.into_iter().map(|hit| hit.json).collect()),
            Answer::Table(table) => FoundRows::Table(table),
        },
    })
}

/// How many events the query's own `head` asks for.
fn wanted(query: &Query) -> usize {
    let head = query.pipes.iter().find_map(|pipe| match pipe {
        Pipe::Head(count) => Some(*count),
        _ => None,
    });
    head.unwrap_or(HITS_DEFAULT).min(HITS_MAX)
}

/// Asks a running server for the same.
fn ask(server: &str, args: &SearchArgs, limit: usize) -> Result<Found, Box<dyn std::error::Error>> {
    let limit = limit.to_string();
    let query = [
        ("q", args.query.as_str()),
        ("since", &args.place.since),
        ("until", args.place.until.as_deref().unwrap_or_default()),
        ("kind", if args.alerts { "alerts" } else { "events" }),
        ("limit", &limit),
    ];
    read_answer(&Server::new(server, TIME_MAX)?.get("/api/v1/search", &query)?)
}

/// Reads the answer of `/api/v1/search`.
fn read_answer(text: &str) -> Result<Found, Box<dyn std::error::Error>> {
    use serde_json::Value;
    let answer: Value = serde_json::from_str(text)?;
    let rows = match (answer.get("hits"), answer.get("table")) {
        (_, Some(table @ Value::Object(_))) => {
            let columns = serde_json::from_value(table["columns"].clone())?;
            let rows = table["rows"].as_array().into_iter().flatten();
            let rows =
                rows.map(|row| row.as_array().into_iter().flatten().map(cell).collect()).collect();
            FoundRows::Table(Table { columns, rows })
        }
        (Some(Value::Array(hits)), _) => {
            FoundRows::Events(hits.iter().map(ToString::to_string).collect())
        }
        _ => return Err("the server's answer has neither hits nor a table".into()),
    };
    Ok(Found {
        rows,
        total: answer["total"].as_u64().unwrap_or_default(),
        took_ms: answer["took_ms"].as_f64().unwrap_or_default() as u128,
        partial: texts(&answer["partial"], |reason| reason.as_str().map(str::to_owned)),
        hints: texts(&answer["hints"], |hint| {
            let near = hint["suggestion"].as_str();
            let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            let message = hint["message"].as_str()?;
            Some(format!("column {}: {message}{near}", hint["column"]))
        }),
    })
}

fn texts(
    list: &serde_json::Value,
    text: impl Fn(&serde_json::Value) -> Option<String>,
) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(text).collect()
}

fn cell(value: &serde_json::Value) -> Cell {
    use serde_json::Value;
    match value {
        Value::Null | Value::Object(_) => Cell::Null,
        Value::Bool(value) => Cell::Bool(*value),
        Value::Number(number) => {
            number.as_i64().map_or_else(|| Cell::number(number.as_f64().unwrap_or(0.0)), Cell::Int)
        }
        Value::String(text) => Cell::Text(text.clone()),
        Value::Array(values) => Cell::List(values.iter().map(cell).collect()),
    }
}

fn write_table(out: &mut dyn Write, found: &Found) -> std::io::Result<()> {
    let (columns, rows) = match &found.rows {
        FoundRows::Table(table) => (
            table.columns.clone(),
            table.rows.iter().map(|row| row.iter().map(Cell::to_string).collect()).collect(),
        ),
        FoundRows::Events(events) => {
            let columns = ["time", "host", "dataset", "what"].map(str::to_owned).to_vec();
            (columns, events.iter().map(|json| event_row(json)).collect::<Vec<_>>())
        }
    };
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(out, "{}", style::table(&columns, &rows, CELL_CHARS_MAX))
}

/// What a person recognises an event by.
fn event_row(json: &str) -> Vec<String> {
    let mut event = Event::new();
    // It was parsed before it was stored.
    event.parse_json(json.as_bytes()).unwrap_or_default();
    let text = |path: &str| event.str(path).unwrap_or_default().to_owned();
    let time =
        event.timestamp().map(|time| time.to_jiff().strftime("%Y-%m-%d %H:%M:%S").to_string());
    vec![time.unwrap_or_default(), text("host.name"), text("event.dataset"), event.summary()]
}

fn write_jsonl(out: &mut dyn Write, found: &Found) -> std::io::Result<()> {
    match &found.rows {
        FoundRows::Events(events) => events.iter().try_for_each(|json| writeln!(out, "{json}")),
        FoundRows::Table(table) => table.rows.iter().try_for_each(|row| {
            let object: serde_json::Map<_, _> = table
                .columns
                .iter()
                .zip(row)
                .map(|(name, cell)| (name.clone(), serde_json::to_value(cell).unwrap_or_default()))
                .collect();
            writeln!(out, "{}", serde_json::Value::Object(object))
        }),
    }
}
