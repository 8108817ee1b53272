//! A server of all protocols over HTTP, with one sender, for their tests.

#![allow(dead_code, clippy::allow_attributes, reason = "each test uses a part of it")]

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bus::{Batch, Bus, BusError, MemoryBus, PollLimits, Topic};
use ingest::http::{HttpLimits, shippers};
use ingest::{Intake, IntakeLimits, SenderSettings, Senders};
use serde_json::Value;
use tower::ServiceExt;

pub(crate) const TOKEN: &str = "0123456789abcdef";
pub(crate) const BODY_BYTES_MAX: usize = 200_000;
pub(crate) const LINE_BYTES_MAX: usize = 1000;
pub(crate) const FULL: BusError = BusError::Full { pending_bytes: 10, pending_bytes_max: 10 };

pub(crate) struct Server {
    bus: Arc<MemoryBus>,
    router: Router,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Server {
    /// Its one sender, `web`, may send to every dataset whose name begins with these.
    pub(crate) fn new() -> Self {
        Server::start(None)
    }

    /// One that takes nothing, and says this.
    pub(crate) fn closed(error: BusError) -> Self {
        Server::start(Some(error))
    }

    fn start(closed: Option<BusError>) -> Self {
        let bus = Arc::new(MemoryBus::default());
        let sender = SenderSettings {
            name: "web".into(),
            secret: TOKEN.into(),
            datasets: ["nginx.*", "app", "access_combined"].map(str::to_owned).to_vec(),
            ..SenderSettings::default()
        };
        let intake = Intake::new(bus.clone(), IntakeLimits::default());
        if let Some(error) = closed {
            intake.gate().close(error);
        }
        let limits = HttpLimits {
            body_bytes_max: BODY_BYTES_MAX,
            line_bytes_max: LINE_BYTES_MAX,
            body_wait_max: Duration::from_millis(200),
            idle_wait_max: Duration::from_millis(200),
            full_wait_max: Duration::from_millis(20),
            ..HttpLimits::default()
        };
        let router = shippers(intake, Senders::new(&[sender], false).unwrap(), limits);
        Server { bus, router }
    }

    /// What serves a connection.
    pub(crate) fn router(&self) -> Router {
        self.router.clone()
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.send("POST", path, &[], body).await
    }

    /// Sends with the sender's token, unless there is another or an empty one.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "authorization") {
            request = request.header("authorization", basic("x", TOKEN));
        }
        for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(*name, *value);
        }
        let peer: SocketAddr = "192.0.2.7:4711".parse().unwrap();
        let request = request.extension(ConnectInfo(peer)).body(body.into()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let text = to_bytes(body, 1 << 24).await.unwrap();
        Answer {
            status: head.status,
            headers: head.headers,
            text: String::from_utf8(text.to_vec()).unwrap(),
        }
    }

    /// What is stored: listener, headers that are not the same for all, payload.
    pub(crate) fn stored(&self) -> Vec<String> {
        self.records(|headers, payload| format!("{headers} {payload}"))
    }

    pub(crate) fn payloads(&self) -> Vec<String> {
        self.records(|_, payload| payload.to_owned())
    }

    fn records(&self, tell: impl Fn(&str, &str) -> String) -> Vec<String> {
        // A group of its own, so that it begins at the beginning.
        static GROUP: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let group = GROUP.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut consumer = self.bus.consumer(&format!("test-{group}"), &[Topic::Raw]).unwrap();
        let (mut batch, mut found) = (Batch::new(), Vec::new());
        let limits = PollLimits { wait: Duration::ZERO, ..PollLimits::default() };
        // The first poll only learns what there is to read.
        let mut empty_polls = 0;
        while empty_polls < 3 {
            consumer.poll(&limits, &mut batch).unwrap();
            empty_polls += usize::from(batch.is_empty());
            found.extend(batch.iter().map(|record| {
                let headers: Vec<String> = record
                    .headers
                    .iter()
                    .filter(|(name, _)| !["received", "peer"].contains(name))
                    .map(|(name, value)| match name {
                        "listener" => value.escape_ascii().to_string(),
                        _ => format!("{name}={}", value.escape_ascii()),
                    })
                    .collect();
                tell(&headers.join(" "), &String::from_utf8_lossy(record.value))
            }));
        }
        found
    }
}

pub(crate) fn basic(name: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{secret}")))
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
