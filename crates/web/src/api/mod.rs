//! The HTTP API: JSON under `/api/v1`.
//!
//! [`ROUTES`] is the one list of its calls: the router is built from it, and so are the OpenAPI
//! document and the page that lists them.

pub(crate) mod alerts;
pub(crate) mod datasets;
pub(crate) mod fields;
pub(crate) mod ledger;
pub(crate) mod openapi;
pub(crate) mod rejected;
pub(crate) mod rules;
pub(crate) mod search;
pub(crate) mod status;

use std::sync::Arc;

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use bus::BusError;
use serde_json::{Value, json};

use crate::AppState;
use crate::search::{SearchError, blocking};
use crate::server::Context;

/// A call of the API.
pub(crate) struct Route {
    /// The path, with `{names}` of what varies.
    pub(crate) path: &'static str,
    /// What it does, in a line.
    pub(crate) summary: &'static str,
    /// What can be asked for in the query string.
    pub(crate) parameters: &'static [Parameter],
    /// The schema of its answer, by its name in the OpenAPI document.
    pub(crate) answer: &'static str,
    /// The schema of its body, if it takes one; it is posted then, and changes something.
    pub(crate) takes: Option<&'static str>,
    /// Of what only so many run at a time; one too many answers 429.
    pub(crate) bound: Option<Bound>,
    handler: fn() -> MethodRouter<Context>,
}

impl Route {
    /// The method that it is called with.
    pub(crate) fn method(&self) -> &'static str {
        if self.takes.is_some() { "POST" } else { "GET" }
    }

    /// The methods that are allowed.
    fn allow(&self) -> &'static str {
        if self.takes.is_some() { "POST" } else { "GET, HEAD" }
    }
}

/// What is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    /// Searches of the index.
    Searches,
    /// Readers of the bus.
    Rejected,
}

/// A parameter in the query string.
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// JSON schema's `string` or `integer`.
    pub(crate) kind: &'static str,
}

const fn text(name: &'static str, about: &'static str) -> Parameter {
    Parameter { name, about, kind: "string" }
}

const fn number(name: &'static str, about: &'static str) -> Parameter {
    Parameter { name, about, kind: "integer" }
}

const Q: Parameter = text("q", "The query; every event if it is left out.");
const SINCE: Parameter = text(
    "since",
    "From when: an age (15m, 24h, 7d), a day, RFC 3339, or all; 24h if it is left out.",
);
const UNTIL: Parameter = text("until", "Until when, not included; now and later if left out.");
const KIND: Parameter = text("kind", "What is searched: events (if left out), alerts or both.");
const CURSOR: Parameter =
    text("cursor", "Where to go on; the address in the answer before, under next, has it.");
const STAGE: Parameter = text("stage", "Only those that this stage refused.");
const TOPIC: Parameter =
    text("topic", "Only those that came from this topic: raw, events, matches or alerts.");
const REASON: Parameter = text("reason", "Only those whose reason has this text.");

/// Every call, in the order in which they are shown.
pub(crate) const ROUTES: &[Route] = &[
    Route {
        path: "/api/v1/search",
        summary: "Searches events, alerts or both, newest first, or makes the table that the query's pipes ask for.",
        parameters: &[
            Q,
            SINCE,
            UNTIL,
            number(
                "limit",
                "The most hits or rows, up to 10000; 100 hits if it is left out. 0 only counts.",
            ),
            CURSOR,
            KIND,
            number(
                "histogram",
                "About how many buckets of counts by time, up to 2000; none if left out.",
            ),
            text(
                "facets",
                "Fields whose most frequent values are wanted, with commas between, up to 20.",
            ),
        ],
        answer: "SearchAnswer",
        takes: None,
        bound: Some(Bound::Searches),
        handler: || get(search::search),
    },
    Route {
        path: "/api/v1/events/{id}",
        summary: "An event, by its id, as it is stored.",
        parameters: &[],
        answer: "Event",
        takes: None,
        bound: Some(Bound::Searches),
        handler: || get(search::event),
    },
    Route {
        path: "/api/v1/alerts",
        summary: "Alerts, newest first, in short.",
        parameters: &[
            Q,
            SINCE,
            UNTIL,
            number("limit", "The most alerts, up to 10000; 100 if it is left out."),
            CURSOR,
        ],
        answer: "AlertList",
        takes: None,
        bound: Some(Bound::Searches),
        handler: || get(alerts::list),
    },
    Route {
        path: "/api/v1/alerts/{id}",
        summary: "An alert, by its id, with what matched, its events and its rule.",
        parameters: &[],
        answer: "AlertDetail",
        takes: None,
        bound: Some(Bound::Searches),
        handler: || get(alerts::one),
    },
    Route {
        path: "/api/v1/rules",
        summary: "The rules and correlations in force, and what was refused and why.",
        parameters: &[text(
            "q",
            "Only those that have this text in title, id, tags, file or logsource.",
        )],
        answer: "RuleList",
        takes: None,
        bound: None,
        handler: || get(rules::list),
    },
    Route {
        path: "/api/v1/rules/{id}",
        summary: "A rule or correlation, by its id, with its text.",
        parameters: &[],
        answer: "RuleDetail",
        takes: None,
        bound: None,
        handler: || get(rules::one),
    },
    Route {
        path: "/api/v1/fields",
        summary: "Every field that some event or alert has, with the types of its values; if values are asked for, also how many events of a range of time have it, how many different values, and the most frequent.",
        parameters: &[
            text("q", "Only fields whose names have this text."),
            number(
                "values",
                "How many of the most frequent values of each field, up to 100; 0, or left out, counts nothing.",
            ),
            number("limit", "The most fields that are counted, up to 200; 50 if it is left out."),
            SINCE,
            UNTIL,
            KIND,
        ],
        answer: "FieldList",
        takes: None,
        bound: Some(Bound::Searches),
        handler: || get(fields::fields),
    },
    Route {
        path: "/api/v1/suggest",
        summary: "What may come at the cursor of a query that is being written: fields, values, operators, pipes, functions.",
        parameters: &[
            text("q", "The query so far."),
            number("cursor", "How many characters stand before the cursor; all if it is left out."),
            number("limit", "The most suggestions, up to 100; 20 if it is left out."),
            SINCE,
            UNTIL,
            KIND,
        ],
        answer: "SuggestAnswer",
        takes: None,
        bound: Some(Bound::Searches),
        handler: || get(fields::suggest),
    },
    Route {
        path: "/api/v1/status",
        summary: "How the engine does: problems, how far each stage is behind, what is stored.",
        parameters: &[],
        answer: "Status",
        takes: None,
        bound: None,
        handler: || get(status::status),
    },
    Route {
        path: "/api/v1/ledger",
        summary: "The ledger of conservation: by source, what was received and what is stored, dropped, rejected or on its way, and whether that balances.",
        parameters: &[],
        answer: "Ledger",
        takes: None,
        bound: Some(Bound::Rejected),
        handler: || get(ledger::ledger),
    },
    Route {
        path: "/api/v1/datasets",
        summary: "Data health: how well the records of each dataset become events, and what is wrong with them.",
        parameters: &[],
        answer: "DatasetList",
        takes: None,
        bound: Some(Bound::Rejected),
        handler: || get(datasets::datasets),
    },
    Route {
        path: "/api/v1/files",
        summary: "The log files that this process follows: how far each is read, when last, and why one can't be.",
        parameters: &[],
        answer: "FileList",
        takes: None,
        bound: None,
        handler: || get(status::files),
    },
    Route {
        path: "/api/v1/rejected",
        summary: "Records that a stage could not process: the newest, the very newest last, and how many for which reason.",
        parameters: &[
            STAGE,
            TOPIC,
            REASON,
            text(
                "since",
                "From when: an age (15m, 24h, 7d), a day or RFC 3339; all if it is left out.",
            ),
            number("limit", "The most records, up to 10000; 100 if it is left out. 0 only counts."),
        ],
        answer: "RejectedList",
        takes: None,
        bound: Some(Bound::Rejected),
        handler: || get(rejected::list),
    },
    Route {
        path: "/api/v1/rejected/{partition}/{offset}",
        summary: "A rejected record, by its place, with its headers and its value.",
        parameters: &[],
        answer: "RejectedDetail",
        takes: None,
        bound: Some(Bound::Rejected),
        handler: || get(rejected::one),
    },
    Route {
        path: "/api/v1/rejected/replay",
        summary: "Puts rejected records back into the topics that they came from, for the stage that refused them: some by their places, or all that match. Each is put back once, unless `again` is true.",
        parameters: &[],
        answer: "ReplayAnswer",
        takes: Some("ReplayRequest"),
        bound: Some(Bound::Rejected),
        handler: || post(rejected::replay),
    },
    Route {
        path: "/api/v1/openapi.json",
        summary: "This description (OpenAPI 3.1).",
        parameters: &[],
        answer: "Document",
        takes: None,
        bound: None,
        handler: || get(openapi::document),
    },
];

/// The calls as routes; anything else under `/api/` is an error in JSON.
pub(crate) fn router() -> Router<Context> {
    ROUTES.iter().fold(Router::new(), |router, route| {
        router.route(
            route.path,
            // A wrong method is told in JSON as well.
            (route.handler)().fallback(|| async {
                let text = match route.takes {
                    None => "this can only be read",
                    Some(_) => "this can only be posted",
                };
                let error = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, text);
                let mut response = error.into_response();
                let allow = HeaderValue::from_static(route.allow());
                response.headers_mut().insert(header::ALLOW, allow);
                response
            }),
        )
    })
}

/// An answer that is none: `{"error": ..}`, and what helps to mend the request.
pub(crate) struct ApiError {
    status: StatusCode,
    body: Value,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        ApiError { status, body: json!({ "error": message.into() }) }
    }

    pub(crate) fn not_found(what: &str) -> Self {
        ApiError::new(StatusCode::NOT_FOUND, what)
    }
}

/// Reads from the bus what takes a while, for one at a time.
pub(crate) async fn read_bus<T: Send + 'static>(
    context: &Context,
    read: impl FnOnce(&AppState) -> Result<T, BusError> + Send + 'static,
) -> Result<T, ApiError> {
    let Ok(turn) = Arc::clone(&context.rejected).try_acquire_owned() else {
        let text = "the bus is being read for somebody else; try again in a moment";
        return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, text));
    };
    let app = context.app.clone();
    let read = blocking(move || {
        // Held until the work is done, even if whoever asked is gone before.
        let _turn = turn;
        read(&app)
    });
    read.await?.map_err(|error| {
        let status = match error.is_transient() {
            true => StatusCode::SERVICE_UNAVAILABLE,
            false => StatusCode::INTERNAL_SERVER_ERROR,
        };
        ApiError::new(status, error.to_string())
    })
}

impl From<QueryRejection> for ApiError {
    fn from(error: QueryRejection) -> Self {
        ApiError::new(StatusCode::BAD_REQUEST, error.body_text())
    }
}

impl From<SearchError> for ApiError {
    fn from(error: SearchError) -> Self {
        let status = status_of(&error);
        if status.is_server_error() {
            tracing::error!(%error, "a search failed");
        }
        match error {
            SearchError::Query(error) => ApiError {
                status,
                body: json!({
                    "error": error.message,
                    "column": error.column,
                    "length": error.length,
                    "suggestion": error.suggestion,
                    "help": error.help,
                    "rendering": error.render(),
                }),
            },
            other => ApiError::new(status, other.to_string()),
        }
    }
}

/// The status that tells of a search's failure.
pub(crate) fn status_of(error: &SearchError) -> StatusCode {
    match error {
        SearchError::Query(_) | SearchError::Time(_) | SearchError::Request(_) => {
            StatusCode::BAD_REQUEST
        }
        SearchError::Busy => StatusCode::TOO_MANY_REQUESTS,
        SearchError::Index(_) | SearchError::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Tells who was refused for lack of room when to come again.
pub(crate) fn with_retry(mut response: Response) -> Response {
    if response.status() == StatusCode::TOO_MANY_REQUESTS {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
    }
    response
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        with_retry((self.status, Json(self.body)).into_response())
    }
}

/// The query string of a call, or why it is wrong.
pub(crate) type Params<T> = Result<Query<T>, QueryRejection>;
