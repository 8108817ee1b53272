//! `/api/v1/tail`: events as they come, over server-sent events.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use query::{Filter, Pipe};
use serde::Deserialize;

use super::{ApiError, Params};
use crate::search::{SearchError, parse};
use crate::server::Context;
use crate::stream;
use crate::tail::{Follow, RATE_DEFAULT, RATE_MAX, TAILS_MAX};

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TailParams {
    q: String,
    rate: Option<usize>,
}

/// Follows what comes.
pub(crate) async fn tail(
    State(context): State<Context>,
    headers: HeaderMap,
    params: Params<TailParams>,
) -> Result<Response, ApiError> {
    let Query(params) = params?;
    let wrong = |text: String| ApiError::new(StatusCode::BAD_REQUEST, text);
    let rate = params.rate.unwrap_or(RATE_DEFAULT);
    if !(1..=RATE_MAX).contains(&rate) {
        return Err(wrong(format!("the rate is 1 to {RATE_MAX} events per second")));
    }
    let from = match headers.get("last-event-id") {
        None => None,
        Some(place) => Some(place.to_str().unwrap_or_default().parse().map_err(wrong)?),
    };
    let follow = Follow { filter: filter(&params.q)?, from, rate };
    let tails = context.app.tails.clone();
    let Ok(turn) = Arc::clone(&tails.turns).try_acquire_owned() else {
        let text = format!("{TAILS_MAX} tails are running already; try again when one has ended");
        return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, text));
    };
    let (out, body) = stream::body(None);
    let run = move || {
        let _turn = turn;
        tails.follow(follow, out);
    };
    if let Err(error) = std::thread::Builder::new().name("tail".to_owned()).spawn(run) {
        let text = format!("no thread could be started: {error}");
        return Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, text));
    }
    // Some proxies gather what they pass on, unless they are told.
    let headers =
        [(header::CONTENT_TYPE.as_str(), "text/event-stream"), ("x-accel-buffering", "no")];
    Ok((headers, body).into_response())
}

/// What can be said of one event alone.
fn filter(text: &str) -> Result<Filter, ApiError> {
    let query = parse(text).map_err(SearchError::from)?;
    let mut filters = vec![query.filter];
    for pipe in query.pipes {
        let Pipe::Where(filter) = pipe else {
            let text = "a tail shows events as they come, so its query has no pipe but `where`";
            return Err(ApiError::new(StatusCode::BAD_REQUEST, text));
        };
        filters.push(filter);
    }
    Ok(Filter::and(filters))
}
