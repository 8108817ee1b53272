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
use std::future::poll_fn;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{ConnectInfo, Path, Query, Request, State};
use axum::http::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use bus::BusError;
use event::Timestamp;
use event::raw::RawRecord;
use flate2::write::MultiGzDecoder;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::split::{Piece, Position, Splitter};
use crate::{Batch, DatasetName, Intake, LINE_BYTES_MAX, Namespace, WhenFull, metrics};

/// The name of this listener in records and metrics.
pub const LISTENER: &str = "http";

/// The largest window of a zstd frame, as a power of two: 8 MiB, which RFC 9659 sets for HTTP.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Below so many bytes the ratio of a compressed body does not matter: there is no harm in it.
const RATIO_FREE_BYTES: u64 = 16 * 1024 * 1024;

/// The bounds of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpLimits {
    /// The most bytes of a body, as sent and as unpacked.
    pub body_bytes_max: usize,
    /// How many times larger a body may become by unpacking. Logs reach 100; what goes far beyond
    /// is made to do harm.
    pub ratio_max: u64,
    /// The longest record; at most [`LINE_BYTES_MAX`].
    pub line_bytes_max: usize,
    /// How long a body may take to arrive.
    pub body_wait_max: Duration,
    /// How long a request waits for room before it is answered with 429.
    pub full_wait_max: Duration,
    /// How many refused records an answer lists; the rest is counted.
    pub refused_listed_max: usize,
}

impl Default for HttpLimits {
    fn default() -> Self {
        HttpLimits {
            body_bytes_max: 64 * 1024 * 1024,
            ratio_max: 1000,
            line_bytes_max: LINE_BYTES_MAX,
            // 64 MiB over a line of 10 Mbit/s.
            body_wait_max: Duration::from_secs(60),
            // Some syncs of a slow disk; shippers give up on an answer after 30 s or more.
            full_wait_max: Duration::from_secs(5),
            refused_listed_max: 100,
        }
    }
}

/// The routes of this listener. The sender's address is known if the server was started with
/// `into_make_service_with_connect_info::<SocketAddr>()`.
pub fn router(intake: Intake, limits: HttpLimits) -> Router {
    let limits = HttpLimits { line_bytes_max: limits.line_bytes_max.min(LINE_BYTES_MAX), ..limits };
    let post = post(receive).fallback(|| async { Refusal::Method });
    Router::new().route("/ingest/{dataset}", post).with_state(Arc::new((intake, limits)))
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

/// Why a request is refused as a whole.
#[derive(Debug, Clone)]
enum Refusal {
    Method,
    Wrong(String),
    Slow(String),
    TooLarge(String),
    Encoding(String),
    Bus(BusError),
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, message, retry_seconds) = match self {
            Refusal::Method => {
                let message = "events are sent with POST; look for them with /api/v1/search";
                (StatusCode::METHOD_NOT_ALLOWED, message.to_owned(), None)
            }
            Refusal::Wrong(message) => (StatusCode::BAD_REQUEST, message, None),
            Refusal::Slow(message) => (StatusCode::REQUEST_TIMEOUT, message, None),
            Refusal::TooLarge(message) => (StatusCode::PAYLOAD_TOO_LARGE, message, None),
            Refusal::Encoding(message) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, message, None),
            Refusal::Bus(error @ BusError::Full { .. }) => {
                (StatusCode::TOO_MANY_REQUESTS, error.to_string(), Some("1"))
            }
            Refusal::Bus(error @ BusError::Behind { .. }) => {
                (StatusCode::TOO_MANY_REQUESTS, error.to_string(), Some("10"))
            }
            Refusal::Bus(error @ BusError::RecordTooLarge { .. }) => {
                (StatusCode::PAYLOAD_TOO_LARGE, error.to_string(), None)
            }
            Refusal::Bus(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string(), Some("30")),
        };
        let mut response = (status, Json(json!({ "error": message }))).into_response();
        if status == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        }
        if let Some(seconds) = retry_seconds {
            response.headers_mut().insert(RETRY_AFTER, seconds.parse().expect("a number"));
        }
        response
    }
}

async fn receive(
    State(state): State<Arc<(Intake, HttpLimits)>>,
    dataset: Result<Path<String>, PathRejection>,
    parameters: Result<Query<Parameters>, QueryRejection>,
    request: Request,
) -> Response {
    let (intake, limits) = &*state;
    let response = match take(intake, limits, dataset, parameters, request).await {
        Ok(accepted) if accepted.accepted == 0 && accepted.refused_count > 0 => {
            (StatusCode::PAYLOAD_TOO_LARGE, Json(accepted)).into_response()
        }
        Ok(accepted) => Json(accepted).into_response(),
        Err(refusal) => refusal.into_response(),
    };
    metrics::REQUESTS.with_label_values(&[response.status().as_str()]).inc();
    response
}

async fn take(
    intake: &Intake,
    limits: &HttpLimits,
    dataset: Result<Path<String>, PathRejection>,
    parameters: Result<Query<Parameters>, QueryRejection>,
    request: Request,
) -> Result<Accepted, Refusal> {
    let wrong = |error: &dyn Display| Refusal::Wrong(error.to_string());
    let Path(dataset) = dataset.map_err(|error| wrong(&error.body_text()))?;
    let dataset: DatasetName = dataset.parse().map_err(|error| wrong(&error))?;
    let Query(parameters) = parameters.map_err(|error| wrong(&error.body_text()))?;
    let namespace: Namespace = match parameters.namespace {
        Some(name) => name.parse().map_err(|error| wrong(&error))?,
        None => Namespace::default(),
    };
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let peer = peer.map(|ConnectInfo(peer)| peer.ip().to_canonical().to_string());
    let (head, body) = request.into_parts();
    check_type(&head.headers)?;
    let coding = Coding::of(&head.headers)?;
    let receiver = Receiver {
        intake: intake.clone(),
        limits: *limits,
        splitter: Splitter::new(limits.line_bytes_max),
        gathered: Gathered {
            batch: Batch::new(),
            received: Timestamp::now(),
            peer: peer.unwrap_or_default(),
            dataset,
            namespace,
            refused: Vec::new(),
            refused_count: 0,
            limits: *limits,
        },
        sent_bytes: 0,
        unpacked_bytes: 0,
        refusal: None,
    };
    let receiving = receive_body(body, coding.unpacker(receiver)?);
    let Gathered { mut batch, refused, refused_count, .. } =
        tokio::time::timeout(limits.body_wait_max, receiving).await.map_err(|_| {
            Refusal::Slow(format!(
                "the body did not arrive within {} s; nothing is stored",
                limits.body_wait_max.as_secs()
            ))
        })??;
    let (accepted, bytes) = (batch.len(), batch.payload_bytes());
    let when_full = WhenFull::WaitAtMost(limits.full_wait_max);
    intake.append(&mut batch, LISTENER, when_full).await.map_err(Refusal::Bus)?;
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

async fn receive_body(mut body: Body, mut unpacker: Unpacker) -> Result<Gathered, Refusal> {
    let limit = unpacker.receiver().limits.body_bytes_max;
    let named = body.size_hint().exact();
    if named.is_some_and(|bytes| bytes > limit as u64) {
        return Err(too_large(limit));
    }
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame = frame.map_err(|error| {
            let sent = unpacker.receiver().sent_bytes;
            Refusal::Wrong(format!("the body ended early, after {sent} bytes: {error}"))
        })?;
        if let Ok(bytes) = frame.into_data() {
            unpacker = match unpacker {
                Unpacker::Identity(receiver) if receiver.sent_bytes == 0 => {
                    Coding::seen_in(&bytes).unpacker(receiver)?
                }
                known => known,
            };
            unpacker.write(&bytes)?;
        }
    }
    unpacker.finish()
}

fn too_large(limit: usize) -> Refusal {
    Refusal::TooLarge(format!(
        "the body has more than {limit} bytes; send it in smaller parts. Nothing of it is stored"
    ))
}

/// How a body is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Identity,
    Gzip,
    Zstd,
}

impl Coding {
    fn of(headers: &HeaderMap) -> Result<Coding, Refusal> {
        let mut codings = headers
            .get_all(CONTENT_ENCODING)
            .iter()
            .flat_map(|value| value.to_str().unwrap_or("?").split(','))
            .map(|coding| coding.trim().to_ascii_lowercase())
            .filter(|coding| !coding.is_empty() && coding != "identity");
        let coding = match codings.next().as_deref() {
            None => Coding::Identity,
            Some("gzip" | "x-gzip") => Coding::Gzip,
            Some("zstd") => Coding::Zstd,
            Some(other) => {
                return Err(Refusal::Encoding(format!(
                    "`Content-Encoding: {other}` is not read; send `gzip`, `zstd` or none"
                )));
            }
        };
        if codings.next().is_some() {
            return Err(Refusal::Encoding("a body that is encoded twice is not read".into()));
        }
        Ok(coding)
    }

    /// What a body is that names no encoding: `curl --data-binary @app.ndjson.gz` names none, and
    /// no text begins like this.
    fn seen_in(bytes: &[u8]) -> Coding {
        match bytes {
            [0x1f, 0x8b, 0x08, ..] => Coding::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Coding::Zstd,
            _ => Coding::Identity,
        }
    }

    fn unpacker(self, receiver: Receiver) -> Result<Unpacker, Refusal> {
        Ok(match self {
            Coding::Identity => Unpacker::Identity(receiver),
            Coding::Gzip => Unpacker::Gzip(MultiGzDecoder::new(receiver)),
            Coding::Zstd => {
                let memory = |error| Refusal::Wrong(format!("zstd can't be read now: {error}"));
                let mut decoder = zstd::stream::write::Decoder::new(receiver).map_err(memory)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(memory)?;
                Unpacker::Zstd(decoder)
            }
        })
    }
}

/// Unpacks what is written into it.
enum Unpacker {
    Identity(Receiver),
    Gzip(MultiGzDecoder<Receiver>),
    Zstd(zstd::stream::write::Decoder<'static, Receiver>),
}

impl Unpacker {
    fn receiver(&mut self) -> &mut Receiver {
        match self {
            Unpacker::Identity(receiver) => receiver,
            Unpacker::Gzip(decoder) => decoder.get_mut(),
            Unpacker::Zstd(decoder) => decoder.get_mut(),
        }
    }

    /// Takes a part of the body as it was sent.
    fn write(&mut self, bytes: &Bytes) -> Result<(), Refusal> {
        let receiver = self.receiver();
        receiver.sent_bytes += bytes.len() as u64;
        if receiver.sent_bytes > receiver.limits.body_bytes_max as u64 {
            return Err(too_large(receiver.limits.body_bytes_max));
        }
        let written = match self {
            Unpacker::Identity(receiver) => receiver.write_all(bytes),
            Unpacker::Gzip(decoder) => decoder.write_all(bytes),
            Unpacker::Zstd(decoder) => decoder.write_all(bytes),
        };
        written.map_err(|error| self.refusal(&error))
    }

    fn finish(mut self) -> Result<Gathered, Refusal> {
        let finished = match &mut self {
            Unpacker::Identity(_) => Ok(()),
            Unpacker::Gzip(decoder) => decoder.try_finish(),
            Unpacker::Zstd(decoder) => decoder.do_finish(),
        };
        finished.map_err(|error| self.refusal(&error))?;
        let receiver = match self {
            Unpacker::Identity(receiver) => receiver,
            // It has finished already; this only takes it apart.
            Unpacker::Gzip(decoder) => decoder.finish().map_err(|error| unpackable(&error))?,
            Unpacker::Zstd(decoder) => decoder.into_inner(),
        };
        Ok(receiver.finish())
    }

    /// Why a write failed: what the receiver says, or else the bytes can't be unpacked.
    fn refusal(&mut self, error: &io::Error) -> Refusal {
        let receiver = self.receiver();
        receiver.refusal.take().unwrap_or_else(|| {
            let (sent, unpacked) = (receiver.sent_bytes, receiver.unpacked_bytes);
            let line = receiver.splitter.line();
            unpackable(&format_args!(
                "{error}, within its first {sent} bytes as sent, after {unpacked} bytes as unpacked, on line {line}"
            ))
        })
    }
}

fn unpackable(error: &dyn Display) -> Refusal {
    Refusal::Wrong(format!("the body can't be unpacked: {error}. Nothing of it is stored"))
}

/// Takes unpacked bytes, and gathers the records in them.
struct Receiver {
    intake: Intake,
    limits: HttpLimits,
    splitter: Splitter,
    gathered: Gathered,
    sent_bytes: u64,
    unpacked_bytes: u64,
    /// Why a write failed, when it was not for the bytes.
    refusal: Option<Refusal>,
}

/// What was found in a body.
struct Gathered {
    batch: Batch,
    received: Timestamp,
    peer: String,
    dataset: DatasetName,
    namespace: Namespace,
    refused: Vec<Refused>,
    refused_count: u64,
    limits: HttpLimits,
}

impl Write for Receiver {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.take(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(refusal) => {
                self.refusal = Some(refusal);
                Err(io::Error::other("refused"))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Receiver {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.unpacked_bytes += bytes.len() as u64;
        let HttpLimits { body_bytes_max, ratio_max, .. } = self.limits;
        if self.unpacked_bytes > body_bytes_max as u64 {
            return Err(too_large(body_bytes_max));
        }
        if self.unpacked_bytes > RATIO_FREE_BYTES
            && self.unpacked_bytes > self.sent_bytes.saturating_mul(ratio_max)
        {
            return Err(Refusal::TooLarge(format!(
                "the body unpacks to more than {ratio_max} times its size, which no logs do; send it less compressed. Nothing of it is stored"
            )));
        }
        let gathered = &mut self.gathered;
        match self.splitter.push(bytes, &mut |piece| gathered.take(piece)) {
            ControlFlow::Continue(()) | ControlFlow::Break(()) => {}
        }
        // What is held back for the end of its line counts as well.
        let in_memory = gathered.batch.bytes_len() + self.splitter.held_bytes();
        self.intake.reserve(&mut gathered.batch, in_memory).map_err(Refusal::Bus)
    }

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
            Piece::Record { payload, position, encoding } => self.batch.push(&RawRecord {
                payload,
                received: self.received,
                listener: LISTENER,
                peer: &self.peer,
                sender: "",
                dataset: self.dataset.as_str(),
                namespace: self.namespace.as_str(),
                position: Some(position.number()),
                encoding,
            }),
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
