//! What a shipper sees of `POST /ingest/{dataset}`, over a bus in memory.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode};
use bus::{Batch, Bus, BusError, MemoryBus, OnDone, PollLimits, Records, Topic};
use ingest::http::{HttpLimits, router};
use ingest::{Intake, IntakeLimits};
use serde_json::{Value, json};
use tower::ServiceExt;

struct Answer {
    status: StatusCode,
    retry_after: Option<String>,
    body: Value,
}

fn limits() -> HttpLimits {
    HttpLimits {
        body_bytes_max: 200_000,
        line_bytes_max: 1000,
        body_wait_max: Duration::from_millis(200),
        full_wait_max: Duration::from_millis(20),
        refused_listed_max: 2,
        ..HttpLimits::default()
    }
}

async fn post_to(bus: Arc<dyn Bus>, path: &str, headers: &[(&str, &str)], body: Body) -> Answer {
    let mut request = Request::post(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let peer: SocketAddr = "[::ffff:192.0.2.7]:4711".parse().unwrap();
    let request = request.extension(ConnectInfo(peer)).body(body).unwrap();
    let intake = Intake::new(bus, IntakeLimits::default());
    let response = router(intake, limits()).oneshot(request).await.unwrap();
    let status = response.status();
    let retry_after =
        response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    Answer { status, retry_after, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) }
}

/// The records of `raw`: headers and payload.
fn stored(bus: &dyn Bus) -> Vec<(Vec<String>, Vec<u8>)> {
    let mut consumer = bus.consumer("test", &[Topic::Raw]).unwrap();
    let (mut batch, mut found) = (Batch::new(), Vec::new());
    let limits = PollLimits { wait: Duration::ZERO, ..PollLimits::default() };
    for _ in 0..3 {
        consumer.poll(&limits, &mut batch).unwrap();
        found.extend(batch.iter().map(|record| {
            let headers = record
                .headers
                .iter()
                .filter(|(name, _)| *name != "received")
                .map(|(name, value)| format!("{name}={}", value.escape_ascii()))
                .collect();
            (headers, record.value.to_vec())
        }));
    }
    found
}

fn payloads(bus: &dyn Bus) -> Vec<String> {
    stored(bus).into_iter().map(|(_, payload)| payload.escape_ascii().to_string()).collect()
}

#[tokio::test]
async fn lines_are_stored_with_what_is_known_of_them() {
    let bus = Arc::new(MemoryBus::default());
    let body = "{\"a\":1}\n\nplain \u{1f600}\r\n{\"cut\":\n";
    let answer =
        post_to(bus.clone(), "/ingest/nginx.access?namespace=drill", &[], body.into()).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.body, json!({"accepted": 3, "bytes": 24, "refused_count": 0, "refused": []}));
    let stored = stored(&*bus);
    let common = ["listener=http", "peer=192.0.2.7", "dataset=nginx.access", "namespace=drill"];
    assert_eq!(stored[0].0[..4], common);
    assert_eq!(stored[0].0[4..], ["position=1", "encoding=json"]);
    assert_eq!(stored[1].0[4..], ["position=3"]);
    assert_eq!(stored[1].1, "plain \u{1f600}".as_bytes());
    assert_eq!(stored[2].1, b"{\"cut\":");
}

#[tokio::test]
async fn a_body_of_every_form_is_taken_apart() {
    for (body, expected) in [
        (r#"[{"a": 1.50},{"b":[2]}]"#, vec![r#"{\"a\": 1.50}"#, r#"{\"b\":[2]}"#]),
        ("{\n  \"a\": 1\n}\n", vec![r#"{\n  \"a\": 1\n}"#]),
        (r#"{"Records":[{"a":1},{"b":2}]}"#, vec![r#"{\"a\":1}"#, r#"{\"b\":2}"#]),
        ("one\ntwo", vec!["one", "two"]),
        ("", vec![]),
    ] {
        let bus = Arc::new(MemoryBus::default());
        let answer = post_to(bus.clone(), "/ingest/x", &[], body.to_owned().into()).await;
        assert_eq!(answer.status, StatusCode::OK, "{body}");
        assert_eq!(answer.body["accepted"], expected.len(), "{body}");
        assert_eq!(payloads(&*bus), expected);
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zst(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 3).unwrap()
}

#[tokio::test]
async fn a_packed_body_that_names_no_encoding_is_unpacked() {
    for pack in [gzip as fn(&[u8]) -> Vec<u8>, zst] {
        let bus = Arc::new(MemoryBus::default());
        let answer = post_to(bus.clone(), "/ingest/x", &[], pack(b"one\ntwo\n").into()).await;
        assert_eq!((answer.status, &answer.body["accepted"]), (StatusCode::OK, &json!(2)));
        assert_eq!(payloads(&*bus), ["one", "two"]);
    }
}

#[tokio::test]
async fn compressed_bodies_of_several_parts_are_unpacked() {
    let lines: String = (0..5000).map(|line| format!("line {line} {}\n", line * 7919)).collect();
    let (first, second) = lines.as_bytes().split_at(40_001);
    for (coding, pack) in [("gzip", gzip as fn(&[u8]) -> Vec<u8>), ("zstd", zst), ("GZIP", gzip)] {
        let packed = [pack(first), pack(second)].concat();
        let bus = Arc::new(MemoryBus::default());
        let headers = [("content-encoding", coding)];
        let answer = post_to(bus.clone(), "/ingest/x", &headers, packed.clone().into()).await;
        assert_eq!((answer.status, &answer.body["accepted"]), (StatusCode::OK, &json!(5000)));

        // Cut anywhere but between the parts, nothing of it is stored.
        for cut in [1, 10, 1000, packed.len() - 1] {
            let bus = Arc::new(MemoryBus::default());
            let cut = packed[..cut].to_vec();
            let answer = post_to(bus.clone(), "/ingest/x", &headers, cut.into()).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{coding} {}", answer.body);
            let error = answer.body["error"].as_str().unwrap();
            assert!(error.contains("can't be unpacked"), "{error}");
            assert!(error.contains("bytes as unpacked, on line "), "{error}");
            assert!(payloads(&*bus).is_empty());
        }
        let mut broken = packed;
        let middle = broken.len() / 3;
        broken[middle..middle + 50].fill(0xff);
        let bus = Arc::new(MemoryBus::default());
        let answer = post_to(bus.clone(), "/ingest/x", &headers, broken.into()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{coding} {}", answer.body);
        assert!(payloads(&*bus).is_empty());
    }
}

#[tokio::test]
async fn what_is_too_large_is_refused() {
    let line = "x".repeat(999);
    let body = format!("{line}\n").repeat(201);
    for (coding, body) in [
        ("identity", body.clone().into_bytes()),
        ("gzip", gzip(body.as_bytes())),
        ("zstd", zst(body.as_bytes())),
    ] {
        let bus = Arc::new(MemoryBus::default());
        let headers = [("content-encoding", coding)];
        let answer = post_to(bus.clone(), "/ingest/x", &headers, body.into()).await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{coding}");
        assert!(answer.body["error"].as_str().unwrap().contains("more than 200000 bytes"));
        assert!(payloads(&*bus).is_empty());
    }
}

#[tokio::test]
async fn lines_over_the_limit_are_named_and_the_others_taken() {
    let long = "x".repeat(1001);
    let bus = Arc::new(MemoryBus::default());
    let body = format!("a\n{long}\nb\n{long}\n{long}\nc");
    let answer = post_to(bus.clone(), "/ingest/x", &[], body.into()).await;
    assert_eq!(answer.status, StatusCode::OK);
    let reason = "it has 1001 bytes, a record may have 1000";
    assert_eq!(
        answer.body,
        json!({"accepted": 3, "bytes": 3, "refused_count": 3, "refused": [
            {"line": 2, "reason": reason}, {"line": 4, "reason": reason},
        ]})
    );
    assert_eq!(payloads(&*bus), ["a", "b", "c"]);
    let answer = post_to(bus, "/ingest/x", &[], long.into()).await;
    assert_eq!(
        (answer.status, &answer.body["refused_count"]),
        (StatusCode::PAYLOAD_TOO_LARGE, &json!(1))
    );
}

#[tokio::test]
async fn wrong_requests_say_what_is_right() {
    let bus = Arc::new(MemoryBus::default());
    for (path, headers, status, message) in [
        ("/ingest/no%2Fsuch..name", vec![], 400, "lower case letters"),
        ("/ingest/%ff", vec![], 400, "UTF-8"),
        ("/ingest/x?namespace=A-B", vec![], 400, "is no namespace"),
        ("/ingest/x?namspace=a", vec![], 400, "namespace"),
        ("/ingest/x", vec![("content-encoding", "br")], 415, "`gzip`, `zstd`"),
        ("/ingest/x", vec![("content-encoding", "gzip, zstd")], 415, "twice"),
        ("/ingest/x", vec![("content-type", "multipart/form-data; boundary=x")], 415, "curl"),
        ("/ingest/x", vec![("content-encoding", "gzip")], 400, "can't be unpacked"),
        ("/ingest/x", vec![("content-encoding", "zstd")], 400, "can't be unpacked"),
    ] {
        let answer = post_to(bus.clone(), path, &headers, "a line".into()).await;
        assert_eq!(answer.status.as_u16(), status, "{path} {}", answer.body);
        let error = answer.body["error"].as_str().unwrap();
        assert!(error.contains(message), "{path}: {error}");
    }
    assert!(payloads(&*bus).is_empty());

    let router = router(Intake::new(bus, IntakeLimits::default()), limits());
    let request = Request::get("/ingest/x").body(Body::empty()).unwrap();
    let answer = router.oneshot(request).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["allow"]),
        (405, &"POST".parse().unwrap())
    );
}

/// A bus that refuses the first appends, or all.
struct Refusing {
    inner: MemoryBus,
    left: Mutex<u32>,
    error: BusError,
}

impl Bus for Refusing {
    fn append_async(&self, topic: Topic, records: Records, done: OnDone) {
        let mut left = self.left.lock().unwrap();
        if *left == 0 {
            return self.inner.append_async(topic, records, done);
        }
        *left -= 1;
        done(records, Err(self.error.clone()));
    }

    fn append(&self, topic: Topic, records: &mut Records) -> Result<(), BusError> {
        self.inner.append(topic, records)
    }

    fn consumer(&self, group: &str, topics: &[Topic]) -> Result<Box<dyn bus::Consumer>, BusError> {
        self.inner.consumer(group, topics)
    }

    fn partitions(&self, topic: Topic) -> u32 {
        self.inner.partitions(topic)
    }

    fn extents(&self, topic: Topic) -> Result<Vec<bus::Extent>, BusError> {
        self.inner.extents(topic)
    }

    fn committed(&self, group: &str, topic: Topic) -> Result<Vec<Option<bus::Offset>>, BusError> {
        self.inner.committed(group, topic)
    }

    fn state_of(&self, group: &str, each: &mut bus::StateVisitor<'_>) -> Result<(), BusError> {
        self.inner.state_of(group, each)
    }

    fn set_retention(&self, topic: Topic, retention: bus::Retention) -> Result<(), BusError> {
        self.inner.set_retention(topic, retention)
    }

    fn enforce_retention(&self) -> Result<u64, BusError> {
        self.inner.enforce_retention()
    }

    fn health(&self) -> Result<(), BusError> {
        self.inner.health()
    }

    fn close(&self) {
        self.inner.close();
    }
}

fn refusing(error: BusError, times: u32) -> Arc<Refusing> {
    Arc::new(Refusing { inner: MemoryBus::default(), left: Mutex::new(times), error })
}

const FULL: BusError = BusError::Full { pending_bytes: 10, pending_bytes_max: 10 };

#[tokio::test]
async fn a_full_bus_is_waited_for_and_then_told() {
    let bus = refusing(FULL, 2);
    let answer = post_to(bus.clone(), "/ingest/x", &[], "a".into()).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(payloads(&*bus), ["a"]);

    let answer = post_to(refusing(FULL, u32::MAX), "/ingest/x", &[], "a".into()).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.retry_after.as_deref(), Some("1"));
    assert!(answer.body["error"].as_str().unwrap().contains("full"));
}

#[tokio::test]
async fn a_full_disk_and_a_closed_bus_are_told_at_once() {
    let low = BusError::DiskLow { path: "/data".into(), free_bytes: 1, reserve_bytes: 2 };
    for (error, message) in [(low, "free for /data"), (BusError::Closed, "closed")] {
        let answer = post_to(refusing(error, 1), "/ingest/x", &[], "a".into()).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.retry_after.as_deref(), Some("30"));
        assert!(answer.body["error"].as_str().unwrap().contains(message));
    }
}

/// A body that sends this, and then nothing for ever, or fails.
struct Stalling {
    first: Option<&'static str>,
    fails: bool,
}

impl axum::body::HttpBody for Stalling {
    type Data = axum::body::Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        match self.first.take() {
            Some(first) => std::task::Poll::Ready(Some(Ok(http_body::Frame::data(first.into())))),
            None if self.fails => {
                std::task::Poll::Ready(Some(Err(std::io::Error::other("connection reset"))))
            }
            None => std::task::Poll::Pending,
        }
    }
}

#[tokio::test]
async fn a_body_that_does_not_end_stores_nothing() {
    for (fails, status, message) in
        [(false, 408, "did not arrive"), (true, 400, "ended early, after 9 bytes")]
    {
        let bus = Arc::new(MemoryBus::default());
        let body = Body::new(Stalling { first: Some("a line\nb\n"), fails });
        let answer = post_to(bus.clone(), "/ingest/x", &[], body).await;
        assert_eq!(answer.status.as_u16(), status);
        assert!(answer.body["error"].as_str().unwrap().contains(message), "{}", answer.body);
        assert!(payloads(&*bus).is_empty());
    }
}

#[tokio::test]
async fn the_intake_bounds_what_is_being_received() {
    let bus: Arc<dyn Bus> = Arc::new(MemoryBus::default());
    let intake = Intake::new(bus, IntakeLimits { in_flight_bytes_max: 64 * 1024 });
    let mut other = ingest::Batch::new();
    intake.reserve(&mut other, 1).unwrap();
    let send = || {
        let request = Request::post("/ingest/x").body(Body::from("a")).unwrap();
        router(intake.clone(), limits()).oneshot(request)
    };
    assert_eq!(send().await.unwrap().status(), StatusCode::TOO_MANY_REQUESTS);
    drop(other);
    assert_eq!(send().await.unwrap().status(), StatusCode::OK);
    // What is larger than all the room enters alone.
    let request = Request::post("/ingest/x").body(Body::from("a\n".repeat(90_000))).unwrap();
    let response = router(intake.clone(), limits()).oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}
