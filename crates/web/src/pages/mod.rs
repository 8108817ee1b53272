//! The pages: rendered on the server from templates that are checked at compile time.

mod alerts;
mod datasets;
mod events;
mod histogram;
pub(crate) mod link;
mod listing;
mod rules;
mod search;
mod view;

pub(crate) use histogram::span;

use askama::Template;
use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;

use crate::api::{self, ApiError, ROUTES, Route};
use crate::search::SearchError;
use crate::server::{Context, is_for_programs};

/// Every page.
pub(crate) fn router() -> Router<Context> {
    Router::new()
        .route("/", get(|| async { Redirect::to("/alerts") }))
        .route("/search", get(search::page))
        .route("/events/{id}", get(events::page))
        .route("/alerts", get(alerts::list))
        .route("/alerts/{id}", get(alerts::one))
        .route("/rules", get(rules::list))
        .route("/rules/{id}", get(rules::one))
        .route("/datasets", get(datasets::list))
        .route("/api", get(calls))
}

/// The files that pages need; they hold nothing that is secret.
pub(crate) fn assets() -> Router<Context> {
    let css = include_str!("../../static/style.css");
    let script = include_str!("../../static/page.js");
    let icon = include_str!("../../static/icon.svg");
    Router::new()
        .route("/static/style.css", get(move || async { asset("text/css", css) }))
        .route("/static/page.js", get(move || async { asset("text/javascript", script) }))
        .route("/static/icon.svg", get(move || async { asset("image/svg+xml", icon) }))
        .route("/favicon.ico", get(|| async { Redirect::permanent("/static/icon.svg") }))
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "max-age=3600")], text).into_response()
}

/// A link with its text.
pub(crate) struct Link {
    pub(crate) label: String,
    pub(crate) href: String,
}

impl Link {
    fn new(label: impl Into<String>, href: String) -> Link {
        Link { label: label.into(), href }
    }
}

/// A page that says one thing.
#[derive(Template)]
#[template(path = "message.html")]
struct Message<'a> {
    title: &'a str,
    text: &'a str,
}

impl Message<'_> {
    fn page(&self) -> &'static str {
        ""
    }
}

/// The list of the API's calls.
#[derive(Template)]
#[template(path = "api.html")]
struct Calls {
    routes: &'static [Route],
}

impl Calls {
    fn page(&self) -> &'static str {
        "api"
    }
}

async fn calls() -> Response {
    render(&Calls { routes: ROUTES })
}

/// A page that says one thing.
pub(crate) fn message(status: StatusCode, title: &str, text: &str) -> Response {
    let mut response = render(&Message { title, text });
    if response.status().is_success() {
        *response.status_mut() = status;
    }
    response
}

/// For what is not there.
fn not_found(what: &str) -> Response {
    message(StatusCode::NOT_FOUND, "Not found", what)
}

/// Answers for every path that is none of ours.
pub(crate) async fn nowhere(request: Request) -> Response {
    if is_for_programs(request.uri()) {
        return ApiError::not_found("there is no such call; /api/v1/openapi.json lists all")
            .into_response();
    }
    not_found("There is no page at this address.")
}

/// For a search that gave no answer, where the page has no form to say so.
fn failed(error: &SearchError) -> Response {
    let status = api::status_of(error);
    if status.is_server_error() {
        tracing::error!(%error, "a page failed");
    }
    let title = match error {
        SearchError::Busy => "Busy",
        _ => "This did not work",
    };
    api::with_retry(message(status, title, &error.to_string()))
}

/// Renders a template as a page.
fn render(template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => Html(html).into_response(),
        Err(error) => {
            tracing::error!(%error, "a template failed");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
