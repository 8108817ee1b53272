//! `/api/v1/ledger`: what came in and what became of it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::ApiError;
use crate::ledger::{self, LedgerAnswer};
use crate::search::blocking;
use crate::server::Context;

/// The ledger of conservation, by source.
pub(crate) async fn ledger(State(context): State<Context>) -> Result<Json<LedgerAnswer>, ApiError> {
    let Ok(turn) = Arc::clone(&context.rejected).try_acquire_owned() else {
        let text = "the bus is being read for somebody else; try again in a moment";
        return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, text));
    };
    let read = blocking(move || {
        // Held until the work is done, even if whoever asked is gone before.
        let _turn = turn;
        ledger::read(context.app.bus.as_ref(), &context.app.index_group)
    });
    let answer = read.await?.map_err(|error| {
        let status = match error.is_transient() {
            true => StatusCode::SERVICE_UNAVAILABLE,
            false => StatusCode::INTERNAL_SERVER_ERROR,
        };
        ApiError::new(status, error.to_string())
    })?;
    Ok(Json(answer))
}
