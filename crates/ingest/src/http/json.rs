//! `POST /ingest/{dataset}`: records in a request, acknowledged once they are durable.
//!
//! A body is lines (JSON or text), a JSON array, or a JSON object over several lines; the
//! splitter finds out which. It may be packed with gzip or zstd, of several members or frames,
//! whether or not `Content-Encoding` says so. The body is unpacked and taken apart as it arrives,
//! straight into the batch that goes to the bus, so a request is in memory once. Its records are
//! stored all or none.
//!
//! | status | means |
//! | --- | --- |
//! | 200 | durable: `{"accepted":2,"bytes":95,"refused_count":0,"refused":[]}` |
//! | 400 | a name is wrong, the body cannot be unpacked, or it ended early; nothing is stored |
//! | 408 | the body took too long to arrive; nothing is stored |
//! | 413 | the body is over the limit, or every record in it is; nothing is stored |
//! | 415 | the encoding is none that we read |
//! | 429 | too much is in flight; send it again after `Retry-After` seconds |
//! | 503 | the disk is full or the bus is closed; send it again after `Retry-After` seconds |
//!
//! A record over the limit is refused with its place, while the others are taken. A line that is
//! broken is taken: normalisation says what is wrong with it. Errors are JSON,
//! `{"error":"what is wrong and what to do"}`. Who may send is decided in front of this router.

use std::fmt::Display;
use std::ops::ControlFlow;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use event::Timestamp;
use event::raw::RawRecord;
use serde::{Deserialize, Serialize};

use super::body::Sink;
use super::{Caller, HttpLimits, LISTENER, Refusal, Shippers, count};
use crate::split::{Piece, Position, Splitter};
use crate::{Batch, DatasetName, Intake, Namespace, metrics};

/// The routes of this listener.
pub(super) fn router() -> Router<Shippers> {
    let post = post(receive).fallback(|| async { Refusal::Method });
    Router::new().route("/ingest/{dataset}", post)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    namespace: Option<String>,
}

#[derive(Debug, Serialize)]
struct Accepted {
    accepted: usize,
    bytes: u64,
    refused_count: u64,
    refused: Vec<Refused>,
}

/// A record that was not taken.
#[derive(Debug, Serialize)]
struct Refused {
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    element: Option<u64>,
    reason: String,
}

async fn receive(
    State(shippers): State<Shippers>,
    dataset: Result<Path<String>, PathRejection>,
    parameters: Result<Query<Parameters>, QueryRejection>,
    request: Request,
) -> Response {
    let response = match take(&shippers, dataset, parameters, request).await {
        Ok(accepted) if accepted.accepted == 0 && accepted.refused_count > 0 => {
            (StatusCode::PAYLOAD_TOO_LARGE, Json(accepted)).into_response()
        }
        Ok(accepted) => Json(accepted).into_response(),
        Err(refusal) => refusal.into_response(),
    };
    count(LISTENER, &response);
    response
}

async fn take(
    shippers: &Shippers,
    dataset: Result<Path<String>, PathRejection>,
    parameters: Result<Query<Parameters>, QueryRejection>,
    request: Request,
) -> Result<Accepted, Refusal> {
    let wrong = |error: &dyn Display| Refusal::Wrong(error.to_string());
    let (head, body) = request.into_parts();
    let caller = shippers.caller(&head.headers, &head.extensions)?;
    let Path(dataset) = dataset.map_err(|error| wrong(&error.body_text()))?;
    let dataset: DatasetName = dataset.parse().map_err(|error| wrong(&error))?;
    caller.check(dataset.as_str())?;
    let Query(parameters) = parameters.map_err(|error| wrong(&error.body_text()))?;
    let named = parameters.namespace.map(|name| name.parse()).transpose();
    let namespace = caller.namespace(named.map_err(|error| wrong(&error))?)?;
    check_type(&head.headers)?;
    let limits = *shippers.limits();
    let receiver = Receiver {
        intake: shippers.intake().clone(),
        splitter: Splitter::new(limits.line_bytes_max),
        gathered: Gathered {
            batch: Batch::new(),
            received: Timestamp::now(),
            caller,
            dataset,
            namespace,
            refused: Vec::new(),
            refused_count: 0,
            limits,
        },
    };
    let receiver = super::body::receive(body, &head.headers, &limits, receiver).await?;
    let Gathered { mut batch, refused, refused_count, .. } = receiver.finish();
    let (accepted, bytes) = (batch.len(), batch.payload_bytes());
    shippers.append(&mut batch, LISTENER).await?;
    metrics::REFUSED.with_label_values(&[LISTENER, "too_large"]).inc_by(refused_count);
    Ok(Accepted { accepted, bytes, refused_count, refused })
}

/// Whatever type is named, the bytes decide; only what can't be records is refused. `curl -d`
/// names a form, and means lines.
fn check_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let named = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if named.trim_start().to_ascii_lowercase().starts_with("multipart/") {
        return Err(Refusal::Encoding(
            "a body of several parts is not read: send the lines or the JSON alone, for example with `curl --data-binary @FILE`".into(),
        ));
    }
    Ok(())
}

/// Takes unpacked bytes, and gathers the records in them.
struct Receiver {
    intake: Intake,
    splitter: Splitter,
    gathered: Gathered,
}

/// What was found in a body.
struct Gathered {
    batch: Batch,
    received: Timestamp,
    caller: Caller,
    dataset: DatasetName,
    namespace: Namespace,
    refused: Vec<Refused>,
    refused_count: u64,
    limits: HttpLimits,
}

impl Sink for Receiver {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let gathered = &mut self.gathered;
        match self.splitter.push(bytes, &mut |piece| gathered.take(piece)) {
            ControlFlow::Continue(()) | ControlFlow::Break(()) => {}
        }
        // What is held back for the end of its line counts as well.
        let in_memory = gathered.batch.bytes_len() + self.splitter.held_bytes();
        self.intake.reserve(&mut gathered.batch, in_memory).map_err(Refusal::Bus)
    }

    fn place(&self) -> String {
        format!(", on line {}", self.splitter.line())
    }
}

impl Receiver {
    fn finish(mut self) -> Gathered {
        let gathered = &mut self.gathered;
        match self.splitter.finish(&mut |piece| gathered.take(piece)) {
            ControlFlow::Continue(()) | ControlFlow::Break(()) => self.gathered,
        }
    }
}

impl Gathered {
    fn take(&mut self, piece: Piece<'_>) -> ControlFlow<()> {
        match piece {
            Piece::Record { payload, position, encoding } => {
                let Gathered { batch, caller, dataset, namespace, received, .. } = self;
                batch.push(&RawRecord {
                    namespace: namespace.as_str(),
                    position: Some(position.number()),
                    ..caller.record(LISTENER, *received, payload, encoding, dataset.as_str())
                });
            }
            Piece::TooLong { position, bytes } => {
                let max = self.limits.line_bytes_max;
                self.refuse(position, format!("it has {bytes} bytes, a record may have {max}"));
            }
            // What there was of the last element is a record like a broken line is one.
            Piece::Unclosed { .. } => {}
        }
        ControlFlow::Continue(())
    }

    fn refuse(&mut self, position: Position, reason: String) {
        self.refused_count += 1;
        if self.refused.len() < self.limits.refused_listed_max {
            let (line, element) = match position {
                Position::Line(number) => (Some(number), None),
                Position::Element(number) => (None, Some(number)),
            };
            self.refused.push(Refused { line, element, reason });
        }
    }
}
