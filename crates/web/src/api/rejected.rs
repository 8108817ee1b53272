//! `/api/v1/rejected`: dead letters, and putting them back.
//!
//! The replay is the one call that changes something. It takes JSON and nothing else: for a request
//! with that type to come from a page of another site, the browser first asks us for permission,
//! which nobody gets. So a page that someone is tricked into opening cannot put anything back, even
//! from this host and another port, where the cookie would be sent.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use bus::Bus;
use bus::rejected::{Place, RejectedError};
use event::Timestamp;

use super::{ApiError, Params};
use crate::rejected::{
    self, ListRequest, RejectedDetail, RejectedFault, RejectedList, ReplayAnswer, ReplayRequest,
};
use crate::search::blocking;
use crate::server::Context;

/// How long a call waits for its turn before it is sent away.
const TURN_MAX: Duration = Duration::from_secs(2);

/// Rejected records in short.
pub(crate) async fn list(
    State(context): State<Context>,
    params: Params<ListRequest>,
) -> Result<Json<RejectedList>, ApiError> {
    let Query(request) = params?;
    let list = run(context, move |bus| rejected::list(bus, &request, Timestamp::now())).await?;
    Ok(Json(list))
}

/// One rejected record.
pub(crate) async fn one(
    State(context): State<Context>,
    Path((partition, offset)): Path<(String, String)>,
) -> Result<Json<RejectedDetail>, ApiError> {
    let none = || ApiError::not_found("there is no rejected record at this place, or not any more");
    let place: Place = format!("{partition}/{offset}").parse().map_err(|_| none())?;
    let found = run(context, move |bus| rejected::show(bus, place)).await?;
    found.map(Json).ok_or_else(none)
}

/// Puts records back.
pub(crate) async fn replay(
    State(context): State<Context>,
    body: Result<Json<ReplayRequest>, JsonRejection>,
) -> Result<Json<ReplayAnswer>, ApiError> {
    let Json(request) = body?;
    let answer = run(context, move |bus| {
        let answer = rejected::replay(bus, &request, Timestamp::now())?;
        if !answer.dry_run {
            let ReplayAnswer { put_back, before, refused, .. } = answer;
            tracing::info!(put_back, before, refused, "rejected records were replayed");
        }
        Ok(answer)
    });
    Ok(Json(answer.await?))
}

/// Runs something on a blocking thread when it is its turn. One at a time, because only one member
/// of the group can have all partitions.
async fn run<T: Send + 'static>(
    context: Context,
    run: impl FnOnce(&dyn Bus) -> Result<T, RejectedFault> + Send + 'static,
) -> Result<T, ApiError> {
    let turn = tokio::time::timeout(TURN_MAX, Arc::clone(&context.rejected).acquire_owned()).await;
    let Ok(Ok(turn)) = turn else {
        let text = "another list or replay of rejected records is running; try again in a moment";
        return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, text));
    };
    let done = blocking(move || {
        // Held until the work is done, even if whoever asked is gone before.
        let _turn = turn;
        run(context.app.bus.as_ref())
    });
    Ok(done.await??)
}

impl From<JsonRejection> for ApiError {
    fn from(error: JsonRejection) -> Self {
        ApiError::new(error.status(), error.body_text())
    }
}

impl From<RejectedFault> for ApiError {
    fn from(fault: RejectedFault) -> Self {
        let status = match &fault {
            RejectedFault::Request(_) => StatusCode::BAD_REQUEST,
            RejectedFault::Read(source) | RejectedFault::CutOff { source, .. } => match source {
                RejectedError::NotInTime => StatusCode::SERVICE_UNAVAILABLE,
                RejectedError::Bus(error) if error.is_transient() => {
                    StatusCode::SERVICE_UNAVAILABLE
                }
                RejectedError::Bus(_) => StatusCode::INTERNAL_SERVER_ERROR,
            },
        };
        if status.is_server_error() {
            tracing::error!(error = %fault, "rejected records could not be read or replayed");
        }
        ApiError::new(status, fault.to_string())
    }
}
