//! `/events/{id}`: an event whole, the alerts that rest on it, and ways on from it.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use event::Timestamp;
use indexing::{Answer, Kinds};
use query::{Query, TimeRange};

use super::view::{self, AlertRow, Section, around};
use super::{Link, failed, link, not_found, render};
use crate::search::{Ask, term};
use crate::server::Context;

/// The most alerts that are shown beside an event.
const ALERTS_SHOWN: usize = 20;

/// An alert's time is that of its last event; clocks and order of arrival allow for some less.
const ALERT_EARLIER_NANOS: i64 = 3_600 * 1_000_000_000;

/// The most characters of the heading.
const TITLE_CHARS_MAX: usize = 160;

#[derive(Template)]
#[template(path = "event.html")]
struct Page {
    title: String,
    time: String,
    time_short: String,
    around: Vec<Link>,
    alerts: Vec<AlertRow>,
    sections: Vec<Section>,
    original: Option<String>,
}

impl Page {
    fn page(&self) -> &'static str {
        "search"
    }
}

/// The page.
pub(super) async fn page(State(context): State<Context>, Path(id): Path<String>) -> Response {
    let hit = match context.searches.get(id.clone()).await {
        Ok(Some(hit)) => hit,
        Ok(None) => {
            return not_found(
                "There is no event with this id; it may have been removed by its age.",
            );
        }
        Err(error) => return failed(&error),
    };
    let event = hit.event();
    if event.str("event.kind") == Some("alert") && event.str("rule.id").is_some() {
        return Redirect::to(&link::alert(&id)).into_response();
    }
    let alerts =
        match context.searches.ask(alerts_on(&id, hit.time)).await.map(|f| f.results.answer) {
            Ok(Answer::Hits(hits)) => hits.iter().map(|hit| AlertRow::new(&hit.event())).collect(),
            Ok(Answer::Table(_)) => Vec::new(),
            Err(error) => return failed(&error),
        };
    render(&Page {
        title: view::clip(&event.summary(), TITLE_CHARS_MAX),
        time: hit.time.to_string(),
        time_short: super::histogram::short(hit.time),
        around: around(&event),
        alerts,
        sections: view::sections(&event),
        original: view::original(&event),
    })
}

/// Asks for the alerts that rest on an event.
fn alerts_on(id: &str, time: Timestamp) -> Ask {
    let query = Query { filter: term("watchpost.alert.event_ids", id), pipes: Vec::new() };
    let since = Some(time.plus_nanos(-ALERT_EARLIER_NANOS));
    let mut ask = Ask::new(query, TimeRange { since, until: None });
    ask.kinds = Kinds::Alerts;
    ask.hits = ALERTS_SHOWN;
    ask
}
