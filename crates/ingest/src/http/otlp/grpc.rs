//! gRPC for the one method that we have: `LogsService/Export`, a request and an answer.
//!
//! A message has five bytes before it, the outcome stands in trailers, and that is all that one
//! method without streams needs; a framework for services would be far more code than this.
//!
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>

use std::fmt::Write;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bus::BusError;
use http_body::Frame;

use super::{Form, LISTENER, Refused, store};
use crate::http::protobuf::{put_bytes, put_varint};
use crate::http::{Refusal, Shippers};
use crate::{Batch, metrics};

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc+proto");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const GRPC_ENCODING: &str = "grpc-encoding";
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const ACCEPTED: HeaderValue = HeaderValue::from_static("identity,gzip");

/// The bytes before a message: whether it is packed, and its length.
const PREFIX_BYTES: usize = 5;

const RETRY_INFO: &[u8] = b"type.googleapis.com/google.rpc.RetryInfo";

pub(super) fn router() -> Router<Shippers> {
    let path = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
    Router::new().route(path, post(receive).fallback(|| async { Refusal::Method }))
}

async fn receive(State(shippers): State<Shippers>, request: Request) -> Response {
    let content_type = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let is_grpc = content_type.is_some_and(|named| {
        let rest = named.strip_prefix(b"application/grpc");
        rest.is_some_and(|rest| rest.is_empty() || rest == b"+proto" || rest.starts_with(b";"))
    });
    let (response, status) = if is_grpc {
        let taken = take(&shippers, request).await;
        // Of all answers the status in HTTP is 200, so the other one is counted.
        let status = taken.as_ref().map_or_else(Refusal::status, |_| StatusCode::OK);
        (answer(taken), status)
    } else {
        // The one case in which the protocol asks for a status of HTTP.
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        (
            (status, "send `application/grpc`, or OTLP over HTTP to /v1/logs\n").into_response(),
            status,
        )
    };
    metrics::REQUESTS.with_label_values(&[LISTENER, status.as_str()]).inc();
    response
}

async fn take(shippers: &Shippers, request: Request) -> Result<Refused, Refusal> {
    let (head, body) = request.into_parts();
    let caller = shippers.caller(&head.headers, &head.extensions)?;
    let (sent, room) = shippers.whole(body, &head.headers).await?;
    let (message, batch) = unpacked(shippers, &head.headers, sent, room).await?;
    store(shippers, &caller, Form::Protobuf, message, batch).await
}

/// The message of a request, and room for it.
async fn unpacked(
    shippers: &Shippers,
    headers: &HeaderMap,
    mut sent: Vec<u8>,
    room: Batch,
) -> Result<(Vec<u8>, Batch), Refusal> {
    let Some((&[flag, length @ ..], message)) = sent.split_first_chunk::<PREFIX_BYTES>() else {
        return Err(Refusal::Wrong("the request has no message of gRPC".into()));
    };
    if u32::from_be_bytes(length) as usize != message.len() {
        return Err(Refusal::Wrong("the request has not one whole message of gRPC".into()));
    }
    let encoding = headers.get(GRPC_ENCODING).map_or(&b"identity"[..], HeaderValue::as_bytes);
    match (flag, encoding) {
        (0, _) => {
            sent.drain(..PREFIX_BYTES);
            Ok((sent, room))
        }
        (1, b"gzip") => {
            let mut gzip = HeaderMap::new();
            gzip.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            sent.drain(..PREFIX_BYTES);
            // Until it is unpacked, both are in memory, and both have room.
            let unpacked = shippers.whole(Body::from(sent), &gzip).await;
            drop(room);
            unpacked
        }
        (1, other) => Err(Refusal::Encoding(format!(
            "`grpc-encoding: {}` is not read; send `gzip` or `identity`",
            other.escape_ascii()
        ))),
        _ => Err(Refusal::Wrong("the message of gRPC has a flag that there is not".into())),
    }
}

fn answer(taken: Result<Refused, Refusal>) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, GRPC);
    headers.insert(GRPC_ACCEPT_ENCODING, ACCEPTED);
    match taken {
        Ok(refused) => {
            let message = refused.answer(Form::Protobuf);
            let mut data = vec![0];
            // The message is a number and a short text.
            data.extend_from_slice(&(message.len() as u32).to_be_bytes());
            data.extend_from_slice(&message);
            let mut trailers = HeaderMap::new();
            trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
            (headers, Body::new(Answer { data: Some(data.into()), trailers: Some(trailers) }))
                .into_response()
        }
        // An answer without a message has its trailers in the head.
        Err(refusal) => {
            headers.insert(GRPC_STATUS, HeaderValue::from(code(&refusal)));
            let text = [
                (GRPC_MESSAGE, Some(percent_encoded(&refusal.text()))),
                (GRPC_DETAILS, refusal.retry_seconds().map(|after| details(&refusal, after))),
            ];
            for (name, value) in text {
                if let Some(value) = value.and_then(|text| HeaderValue::try_from(text).ok()) {
                    headers.insert(name, value);
                }
            }
            headers.into_response()
        }
    }
}

/// The code that says it.
/// <https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto>
pub(super) fn code(refusal: &Refusal) -> u64 {
    match refusal {
        Refusal::Wrong(_) => 3,
        Refusal::Slow(_) => 4,
        Refusal::Denied(_) => 7,
        Refusal::TooLarge(_) | Refusal::Bus(BusError::RecordTooLarge { .. }) => 8,
        Refusal::Method | Refusal::Encoding(_) => 12,
        Refusal::Bus(_) => 14,
        Refusal::Unauthorized { .. } => 16,
    }
}

/// A `google.rpc.Status` with a `RetryInfo`, as a header.
fn details(refusal: &Refusal, after_seconds: u64) -> String {
    let mut delay = Vec::new();
    put_varint(&mut delay, 1, after_seconds);
    let mut retry_info = Vec::new();
    put_bytes(&mut retry_info, 1, &delay);
    let mut any = Vec::new();
    put_bytes(&mut any, 1, RETRY_INFO);
    put_bytes(&mut any, 2, &retry_info);
    let mut status = super::status(Form::Protobuf, refusal);
    put_bytes(&mut status, 3, &any);
    STANDARD_NO_PAD.encode(status)
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => write!(encoded, "%{byte:02X}").expect("a string takes what it is given"),
        }
    }
    encoded
}

/// A message and then trailers.
struct Answer {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let data = self.data.take().map(Frame::data);
        Poll::Ready(data.or_else(|| self.trailers.take().map(Frame::trailers)).map(Ok))
    }
}
