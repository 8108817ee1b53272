//! `/api/v1/export`: everything that a query finds, as a stream.

use std::io::Write;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use event::Timestamp;
use export::{Export, ExportError, Format, Request};
use indexing::Cancel;
use query::TimeRange;
use serde::Deserialize;

use super::search::{SINCE_DEFAULT, kinds};
use super::{ApiError, Params};
use crate::search::{CancelOnDrop, SearchError, blocking, parse};
use crate::server::Context;
use crate::stream;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ExportParams {
    q: String,
    since: String,
    until: String,
    kind: String,
    format: String,
}

impl Default for ExportParams {
    fn default() -> Self {
        ExportParams {
            q: String::new(),
            since: SINCE_DEFAULT.into(),
            until: String::new(),
            kind: "events".into(),
            format: "ndjson".into(),
        }
    }
}

/// Streams it.
pub(crate) async fn export(
    State(context): State<Context>,
    params: Params<ExportParams>,
) -> Result<Response, ApiError> {
    let Query(params) = params?;
    if !context.app.is_indexed {
        let text = "this server searches in a cluster, and exports come from its own index only; ask the cluster, or page through /api/v1/search";
        return Err(ApiError::new(StatusCode::NOT_IMPLEMENTED, text));
    }
    let cancel = Cancel::default();
    let format: Format = params.format.parse()?;
    let request = Request {
        query: parse(&params.q).map_err(SearchError::from)?,
        kinds: kinds(&params.kind)?,
        range: TimeRange::parse(&params.since, &params.until, Timestamp::now())
            .map_err(SearchError::from)?,
        format,
        cancel: cancel.clone(),
    };
    let Ok(turn) = Arc::clone(&context.exports).try_acquire_owned() else {
        let text = "as many exports as may are running already; try again in a moment";
        return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, text));
    };
    let index = context.app.index.clone();
    let gone = CancelOnDrop(cancel);
    // The turn is held until the last byte is written, or nobody reads any more.
    let begun = blocking(move || (Export::begin(&index, request), turn));
    let (export, turn) = begun.await?;
    let export = export?;
    let (mut out, body) = stream::body(Some(gone));
    tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let written = export.write(&mut out).and_then(|rows| {
            out.flush()?;
            Ok(rows)
        });
        match written {
            Ok(rows) => tracing::debug!(rows, "an export ended"),
            Err(error) => {
                tracing::warn!(%error, "an export broke off");
                out.fail(&error);
            }
        }
    });
    let name = format!("attachment; filename=\"watchpost.{}\"", format.extension());
    let headers = [
        (header::CONTENT_TYPE, format.content_type().to_owned()),
        (header::CONTENT_DISPOSITION, name),
    ];
    Ok((headers, body).into_response())
}

impl From<ExportError> for ApiError {
    fn from(error: ExportError) -> Self {
        let status = match &error {
            ExportError::Request(_) | ExportError::TooMany { .. } => StatusCode::BAD_REQUEST,
            ExportError::Partial(_) => StatusCode::UNPROCESSABLE_ENTITY,
            ExportError::Write(_) | ExportError::Parquet(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        ApiError::new(status, error.to_string())
    }
}
