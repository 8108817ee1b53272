//! `/api/v1/ledger`: what came in and what became of it.

use axum::Json;
use axum::extract::State;

use super::{ApiError, read_bus};
use crate::ledger::{self, LedgerAnswer};
use crate::server::Context;

/// The ledger of conservation, by source.
pub(crate) async fn ledger(State(context): State<Context>) -> Result<Json<LedgerAnswer>, ApiError> {
    read_bus(&context, |app| ledger::read(app.bus.as_ref(), &app.index_group)).await.map(Json)
}
