//! What shippers speak over HTTP, on any of its ports.
//!
//! | path | protocol |
//! | --- | --- |
//! | `POST /ingest/{dataset}` | our own: lines or JSON ([`json`]) |
//! | `/_bulk`, `/{index}/_doc` and what goes with them | Elasticsearch's (`elasticsearch`) |
//! | `/services/collector` and below | Splunk's HTTP Event Collector (`hec`) |
//! | `POST /v1/logs`, and over gRPC | OpenTelemetry's OTLP (`otlp`) |
//! | `POST /loki/api/v1/push` | Grafana Loki's push (`loki`) |
//! | `POST /upload` | systemd-journal-upload (`journal`), which is answered at its end only |
//!
//! All of them answer once what they were sent is durable, take bodies that are packed, ask for a
//! secret (`Authorization` with `Bearer`, `Basic`, `ApiKey` or `Splunk`) or a client's certificate,
//! and say 429 with `Retry-After` when too much is in flight.

mod body;
mod elasticsearch;
mod envelope;
mod hec;
mod journal;
mod json;
mod loki;
mod otlp;
mod protobuf;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::header::{ALLOW, AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{Extensions, HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bus::BusError;
use event::Timestamp;
use event::raw::{Encoding, RawRecord};
use serde_json::json;
use tls::ClientNames;

use crate::protocol::Peer;
use crate::sender::Sender;
use crate::{Batch, Intake, LINE_BYTES_MAX, Namespace, Senders, WhenFull, metrics};

use body::Sink;

/// The name of the JSON listener in records and metrics.
pub const LISTENER: &str = "http";

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
    /// How long a request that is a stream may be silent.
    pub idle_wait_max: Duration,
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
            // A journal to which nothing is written; a client that has gone is noticed sooner.
            idle_wait_max: Duration::from_secs(600),
            // Some syncs of a slow disk; shippers give up on an answer after 30 s or more.
            full_wait_max: Duration::from_secs(5),
            refused_listed_max: 100,
        }
    }
}

/// What the handlers share.
#[derive(Clone)]
pub(super) struct Shippers(Arc<Shared>);

struct Shared {
    intake: Intake,
    /// `None` where somebody in front has asked already.
    senders: Option<Senders>,
    limits: HttpLimits,
}

/// The JSON listener alone, for a server that asks for its own credentials in front of it. The
/// sender's address is known if the server puts `ConnectInfo<SocketAddr>` into requests.
pub fn router(intake: Intake, limits: HttpLimits) -> Router {
    json::router().with_state(Shippers::new(intake, None, limits))
}

/// All protocols, each of which asks for a sender's secret or certificate. For a port of its own:
/// what no protocol has a path for is answered as Elasticsearch would.
pub fn shippers(intake: Intake, senders: Senders, limits: HttpLimits) -> Router {
    json::router()
        .merge(elasticsearch::router())
        .merge(hec::router())
        .merge(journal::router())
        .merge(loki::router())
        .merge(otlp::router())
        .with_state(Shippers::new(intake, Some(senders), limits))
}

impl Shippers {
    fn new(intake: Intake, senders: Option<Senders>, limits: HttpLimits) -> Self {
        let line_bytes_max = limits.line_bytes_max.min(LINE_BYTES_MAX);
        Shippers(Arc::new(Shared {
            intake,
            senders,
            limits: HttpLimits { line_bytes_max, ..limits },
        }))
    }

    fn intake(&self) -> &Intake {
        &self.0.intake
    }

    fn limits(&self) -> &HttpLimits {
        &self.0.limits
    }

    /// Who asks, by secret or certificate.
    fn caller(&self, headers: &HeaderMap, extensions: &Extensions) -> Result<Caller, Refusal> {
        let address = extensions.get::<ConnectInfo<SocketAddr>>();
        let mut peer = match address {
            Some(ConnectInfo(address)) => Peer::new(address.ip()),
            None => Peer { text: String::new(), ..Peer::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) },
        };
        let Some(senders) = &self.0.senders else {
            return Ok(Caller { peer, sender: Arc::new(Sender::unnamed()) });
        };
        if let Some(ClientNames(names)) = extensions.get() {
            peer.certificate = names.to_vec();
        }
        let offered = offered(headers);
        let sender = match offered.is_empty() {
            false => offered.iter().find_map(|secret| senders.by_secret(secret, peer.address)),
            true => senders.by_certificate(&peer.certificate, peer.address),
        };
        match sender {
            Some(sender) => Ok(Caller { peer, sender }),
            None if !offered.is_empty() => {
                metrics::DENIED.with_label_values(&["credentials"]).inc();
                tracing::warn!(peer = %peer.text, "credentials refused");
                Err(Refusal::Unauthorized {
                    has_offered: true,
                    text: "the token, key or password is of no sender, or it may not send from this address; see `[[senders]]` in the configuration".into(),
                })
            }
            None => Err(Refusal::Unauthorized {
                has_offered: false,
                text: "a token is needed: send `Authorization: Bearer TOKEN` (or Basic with the token as password, or ApiKey, or Splunk TOKEN)".into(),
            }),
        }
    }

    /// A body as a whole, unpacked, with room in the intake for as much.
    async fn whole(&self, body: Body, headers: &HeaderMap) -> Result<(Vec<u8>, Batch), Refusal> {
        let sink = Whole { intake: self.intake().clone(), bytes: Vec::new(), batch: Batch::new() };
        let Whole { bytes, batch, .. } = body::receive(body, headers, self.limits(), sink).await?;
        Ok((bytes, batch))
    }

    /// Makes a batch durable.
    async fn append(&self, batch: &mut Batch, listener: &'static str) -> Result<(), Refusal> {
        let when_full = WhenFull::WaitAtMost(self.limits().full_wait_max);
        self.intake().append(batch, listener, when_full).await.map_err(Refusal::Bus)
    }
}

/// What a request may mean by its secret, whatever its client calls it.
fn offered(headers: &HeaderMap) -> Vec<Vec<u8>> {
    let Some(text) = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()) else {
        return Vec::new();
    };
    let Some((scheme, value)) = text.trim().split_once(' ') else { return Vec::new() };
    let value = value.trim();
    // Both are a name and a secret; who it is the secret tells.
    let behind_colon = || {
        let bytes = STANDARD.decode(value).ok()?;
        let colon = memchr::memchr(b':', &bytes)?;
        bytes.get(colon + 1..).map(<[u8]>::to_vec)
    };
    let plain = || value.as_bytes().to_vec();
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" | "splunk" => vec![plain()],
        "basic" => behind_colon().into_iter().collect(),
        // Some clients send the key as it is; and what it is may look like the other form.
        "apikey" => behind_colon().into_iter().chain([plain()]).collect(),
        _ => Vec::new(),
    }
}

/// Who asks.
#[derive(Debug, Clone)]
struct Caller {
    peer: Peer,
    sender: Arc<Sender>,
}

impl Caller {
    /// Whether it may send to this dataset.
    fn check(&self, dataset: &str) -> Result<(), Refusal> {
        if self.sender.may_send(dataset) {
            return Ok(());
        }
        let name = self.sender.name();
        Err(Refusal::Denied(format!(
            "sender `{name}` may not send to the dataset `{dataset}`; see `datasets` in its table `[[senders]]`"
        )))
    }

    /// A record of this caller. The dataset was checked, and is the sender's own if empty.
    fn record<'a>(
        &'a self,
        listener: &'static str,
        received: Timestamp,
        payload: &'a [u8],
        encoding: Encoding,
        dataset: &'a str,
    ) -> RawRecord<'a> {
        RawRecord {
            payload,
            received,
            listener,
            peer: &self.peer.text,
            sender: self.sender.name(),
            dataset: if dataset.is_empty() { self.sender.dataset() } else { dataset },
            namespace: self.sender.namespace().as_str(),
            position: None,
            encoding,
        }
    }

    /// The namespace of what it sends: its own, or the one it names if its own is the default.
    fn namespace(&self, named: Option<Namespace>) -> Result<Namespace, Refusal> {
        let own = self.sender.namespace();
        match named {
            Some(named) if *own != Namespace::default() && named != *own => {
                let name = self.sender.name();
                Err(Refusal::Denied(format!(
                    "sender `{name}` may send to the namespace `{}` only",
                    own.as_str()
                )))
            }
            Some(named) => Ok(named),
            None => Ok(own.clone()),
        }
    }
}

/// Keeps a body.
struct Whole {
    intake: Intake,
    bytes: Vec<u8>,
    batch: Batch,
}

impl Sink for Whole {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.bytes.extend_from_slice(bytes);
        self.intake.reserve(&mut self.batch, self.bytes.len()).map_err(Refusal::Bus)
    }
}

/// Why a request is refused as a whole.
#[derive(Debug, Clone)]
enum Refusal {
    Method,
    Unauthorized { has_offered: bool, text: String },
    Denied(String),
    Wrong(String),
    Slow(String),
    TooLarge(String),
    Encoding(String),
    Bus(BusError),
}

impl Refusal {
    /// The status that says so.
    fn status(&self) -> StatusCode {
        match self {
            Refusal::Method => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::Unauthorized { .. } => StatusCode::UNAUTHORIZED,
            Refusal::Denied(_) => StatusCode::FORBIDDEN,
            Refusal::Wrong(_) => StatusCode::BAD_REQUEST,
            Refusal::Slow(_) => StatusCode::REQUEST_TIMEOUT,
            Refusal::TooLarge(_) | Refusal::Bus(BusError::RecordTooLarge { .. }) => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Refusal::Encoding(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Refusal::Bus(BusError::Full { .. } | BusError::Behind { .. }) => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Refusal::Bus(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// What is wrong and what to do.
    fn text(&self) -> String {
        match self {
            Refusal::Method => {
                "events are sent with POST; look for them with /api/v1/search".to_owned()
            }
            Refusal::Unauthorized { text, .. }
            | Refusal::Denied(text)
            | Refusal::Wrong(text)
            | Refusal::Slow(text)
            | Refusal::TooLarge(text)
            | Refusal::Encoding(text) => text.clone(),
            Refusal::Bus(error) => error.to_string(),
        }
    }

    /// The same, with what became of the records.
    fn told(self, what: &str) -> Refusal {
        let told = |text| format!("{text}. {what}");
        match self {
            Refusal::Wrong(text) => Refusal::Wrong(told(text)),
            Refusal::Slow(text) => Refusal::Slow(told(text)),
            Refusal::TooLarge(text) => Refusal::TooLarge(told(text)),
            other => other,
        }
    }

    /// After how many seconds to try again, if that helps.
    fn retry_seconds(&self) -> Option<u64> {
        match self {
            Refusal::Bus(BusError::Full { .. }) => Some(1),
            Refusal::Bus(BusError::Behind { .. }) => Some(10),
            Refusal::Bus(BusError::RecordTooLarge { .. }) => None,
            Refusal::Bus(_) => Some(30),
            _ => None,
        }
    }

    /// An answer in a protocol's own form, with the headers that say what to do.
    fn with_body(&self, body: impl IntoResponse) -> Response {
        let mut response = (self.status(), body).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_seconds() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        match self {
            Refusal::Method => {
                headers.insert(ALLOW, HeaderValue::from_static("POST"));
            }
            Refusal::Unauthorized { .. } => {
                let basic = HeaderValue::from_static("Basic realm=\"watchpost\"");
                headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                headers.append(WWW_AUTHENTICATE, basic);
            }
            _ => {}
        }
        response
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        self.with_body(Json(json!({ "error": self.text() })))
    }
}

/// Counts an answered request.
fn count(listener: &str, response: &Response) {
    metrics::REQUESTS.with_label_values(&[listener, response.status().as_str()]).inc();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_whatever_its_client_calls_it() {
        let offered = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_str(text).unwrap());
            super::offered(&headers)
        };
        let packed = STANDARD.encode("who:the:secret");
        assert_eq!(offered("Bearer abc"), [b"abc"]);
        assert_eq!(offered("Splunk abc"), [b"abc"]);
        assert_eq!(offered(&format!("Basic {packed}")), [b"the:secret"]);
        // A token that is base64 with a colon in it by chance is found as well.
        assert_eq!(offered(&format!("ApiKey {packed}")), [b"the:secret".to_vec(), packed.into()]);
        assert!(offered("Digest abc").is_empty() && offered("Basic ***").is_empty());
        assert!(offered("abc").is_empty());
    }
}
