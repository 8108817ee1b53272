//! `/api/v1/datasets`: how well records become events.

use axum::Json;
use axum::extract::State;
use event::Timestamp;

use super::{ApiError, read_bus};
use crate::datasets::{self, DatasetList};
use crate::server::Context;

/// Data health, by dataset.
pub(crate) async fn datasets(
    State(context): State<Context>,
) -> Result<Json<DatasetList>, ApiError> {
    read_bus(&context, |app| datasets::read(app.bus.as_ref(), Timestamp::now())).await.map(Json)
}
