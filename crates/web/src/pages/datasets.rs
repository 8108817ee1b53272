//! `/datasets`: how well the records of each dataset become events.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use event::Timestamp;
use normalize::health::{DatasetHealth, Problem};

use super::listing::{grouped, plural};
use super::view::times;
use super::{link, message, render};
use crate::api::read_bus;
use crate::datasets::{self, DatasetList};
use crate::server::Context;

#[derive(Template)]
#[template(path = "datasets.html")]
struct Datasets {
    summary: String,
    rows: Vec<Row>,
}

impl Datasets {
    fn page(&self) -> &'static str {
        "datasets"
    }
}

struct Row {
    href: String,
    name: String,
    events: String,
    last_hour: String,
    usual: String,
    unparsed: String,
    missing_time: String,
    late: String,
    delay: String,
    fields: String,
    outside: String,
    last: String,
    last_short: String,
    problems: Vec<Problem>,
}

/// The list.
pub(super) async fn list(State(context): State<Context>) -> Response {
    let now = Timestamp::now();
    let read = read_bus(&context, move |app| datasets::read(app.bus.as_ref(), now)).await;
    let Ok(DatasetList { datasets: list }) = read else {
        let text =
            "The bus is being read for somebody else, or does not answer. Try again in a moment.";
        return message(StatusCode::SERVICE_UNAVAILABLE, "Busy", text);
    };
    let problems: usize = list.iter().map(|dataset| dataset.problems.len()).sum();
    let summary = format!(
        "{}, {}",
        plural(list.len() as u64, "dataset", "datasets"),
        plural(problems as u64, "problem", "problems")
    );
    render(&Datasets { summary, rows: list.into_iter().map(Row::new).collect() })
}

impl Row {
    fn new(of: DatasetHealth) -> Row {
        let share = |count: u64| match count {
            0 => String::new(),
            count => of.share(count),
        };
        let (last, last_short) = times(Timestamp::parse_rfc3339(&of.last));
        Row {
            href: link::query("/search", &link::term("event.dataset", &of.dataset), "24h", ""),
            events: grouped(of.events),
            last_hour: grouped(of.events_last_hour),
            usual: grouped(of.events_usual_hour),
            unparsed: share(of.unparsed),
            missing_time: share(of.missing_time),
            late: share(of.late),
            delay: format!("{:.1} s", of.delay_ms as f64 / 1000.0),
            fields: grouped(of.fields),
            outside: grouped(of.fields_outside_ecs),
            last,
            last_short,
            problems: of.problems,
            name: of.dataset,
        }
    }
}
