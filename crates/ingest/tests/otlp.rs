//! What OpenTelemetry's clients see over HTTP and gRPC, over a bus in memory.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod shippers;

use std::future::poll_fn;
use std::pin::Pin;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, Request, Version};
use bus::BusError;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use shippers::{BODY_BYTES_MAX, FULL, LINE_BYTES_MAX, Server, TOKEN, gzip};

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json");
const EXPORT: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

/// A field of protobuf with bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut message = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        message.push(length as u8 | 0x80);
        length >>= 7;
    }
    message.push(length as u8);
    message.extend_from_slice(bytes);
    message
}

/// A request with records that have these bodies.
fn request(bodies: &[&str]) -> Vec<u8> {
    let records: Vec<u8> =
        bodies.iter().flat_map(|body| field(2, &field(5, &field(1, body.as_bytes())))).collect();
    let attribute = [field(1, b"service.name"), field(2, &field(1, b"shop"))].concat();
    let resource = field(1, &field(1, &attribute));
    field(1, &[resource, field(2, &records)].concat())
}

fn stored(body: &str) -> String {
    format!(
        r#"otlp sender=web encoding=otlp {{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"shop"}}}}]}},"scope":{{}},"logRecord":{{"body":{{"stringValue":"{body}"}}}}}}"#
    )
}

#[tokio::test]
async fn records_are_stored_and_answered_in_their_form() {
    let server = Server::new();
    let answer = server.send("POST", "/v1/logs", &[PROTOBUF], request(&["a", "b"])).await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, ""));
    assert_eq!(answer.header("content-type"), PROTOBUF.1);
    let packed = gzip(&request(&["c"]));
    let headers = [PROTOBUF, ("content-encoding", "gzip")];
    let answer = server.send("POST", "/v1/logs", &headers, packed).await;
    assert_eq!(answer.status.as_u16(), 200);
    assert_eq!(server.stored(), [stored("a"), stored("b"), stored("c")]);

    let server = Server::new();
    let body =
        r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"a"}}]}]}]}"#;
    let json = ("content-type", "application/json; charset=utf-8");
    let answer = server.send("POST", "/v1/logs", &[json], body).await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, "{}"));
    assert_eq!(answer.header("content-type"), JSON.1);
    let record = r#"{"resource":{},"scope":{},"logRecord":{"body":{"stringValue":"a"}}}"#;
    assert_eq!(server.stored(), [format!("otlp sender=web encoding=otlp {record}")]);
}

#[tokio::test]
async fn refused_records_are_told_and_the_others_stored() {
    let server = Server::new();
    let long = "x".repeat(LINE_BYTES_MAX);
    let answer = server.send("POST", "/v1/logs", &[PROTOBUF], request(&["a", &long, "b"])).await;
    assert_eq!(answer.status.as_u16(), 200);
    // partial_success with rejected_log_records = 1.
    let partial = answer.text.as_bytes();
    assert_eq!((partial[0], &partial[2..4]), (0x0a, &[0x08, 1][..]));
    assert!(answer.text.contains("1 of 3 records were refused"), "{}", answer.text);
    assert_eq!(server.stored(), [stored("a"), stored("b")]);

    let body = json!({"resourceLogs": [{"scopeLogs": [{"logRecords": [{"a": long}]}]}]});
    let answer = server.send("POST", "/v1/logs", &[JSON], body.to_string()).await;
    assert_eq!(answer.status.as_u16(), 200);
    assert_eq!(answer.json()["partialSuccess"]["rejectedLogRecords"], "1");
    assert_eq!(server.stored().len(), 2);
}

#[tokio::test]
async fn errors_are_statuses() {
    let server = Server::new();
    let large = vec![0; BODY_BYTES_MAX + 1];
    let text = ("content-type", "text/plain");
    let wrong = ("authorization", "Bearer fedcba9876543210");
    let brotli = ("content-encoding", "br");
    for (headers, body, status, code, message) in [
        (&[JSON][..], b"{".to_vec(), 400, 3, "no request of OTLP"),
        (&[JSON, ("authorization", "")], b"{}".to_vec(), 401, 16, "a token is needed"),
        (&[JSON, wrong], b"{}".to_vec(), 401, 16, "of no sender"),
        (&[JSON], large.clone(), 413, 8, "more than 200000 bytes"),
        (&[JSON, brotli], b"{}".to_vec(), 415, 12, "`gzip`"),
        (&[text], b"{}".to_vec(), 415, 12, "`application/x-protobuf` or `application/json`"),
        (&[], b"{}".to_vec(), 415, 12, "`application/x-protobuf` or `application/json`"),
    ] {
        let answer = server.send("POST", "/v1/logs", headers, body).await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
        assert_eq!(answer.header("content-type"), JSON.1);
        assert_eq!(answer.json()["code"], code);
        let told = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(told.contains(message), "{told}");
    }
    let answer = server.send("POST", "/v1/logs", &[PROTOBUF], "\n\u{7f}").await;
    assert_eq!((answer.status.as_u16(), &answer.text.as_bytes()[..2]), (400, &[0x08, 3][..]));
    assert!(answer.text.contains("the protobuf message is broken"), "{}", answer.text);
    assert_eq!(answer.header("content-type"), PROTOBUF.1);
    assert_eq!(server.send("GET", "/v1/logs", &[], "").await.status.as_u16(), 405);
    assert!(server.stored().is_empty());

    let low = BusError::DiskLow { path: "/data".into(), free_bytes: 1, reserve_bytes: 2 };
    for (error, status, retry_after) in [(FULL, 429, "1"), (low, 503, "30")] {
        let server = Server::closed(error);
        let answer = server.send("POST", "/v1/logs", &[PROTOBUF], request(&["a"])).await;
        assert_eq!(answer.status.as_u16(), status);
        assert_eq!(answer.header("retry-after"), retry_after);
        assert_eq!(&answer.text.as_bytes()[..2], &[0x08, 14]);
    }
}

/// What a call over HTTP/2 gives: its headers, its body, its trailers.
async fn call(
    server: &Server,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> (u16, HeaderMap, Vec<u8>, HeaderMap) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let service = TowerToHyperService::new(server.router());
    tokio::spawn(async move {
        let http = auto::Builder::new(TokioExecutor::new());
        http.serve_connection(TokioIo::new(far), service).await.ok();
    });
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(near))
            .await
            .unwrap();
    tokio::spawn(connection);
    let mut request = Request::post(format!("http://server{EXPORT}"))
        .version(Version::HTTP_2)
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = sender.send_request(request.body(Body::from(body)).unwrap()).await.unwrap();
    let (head, mut body) = response.into_parts();
    let (mut data, mut trailers) = (Vec::new(), HeaderMap::new());
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        match frame.unwrap().into_data() {
            Ok(bytes) => data.extend_from_slice(&bytes),
            Err(frame) => trailers = frame.into_trailers().unwrap(),
        }
    }
    (head.status.as_u16(), head.headers, data, trailers)
}

fn message(flag: u8, bytes: &[u8]) -> Vec<u8> {
    [&[flag][..], &(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

fn grpc() -> Vec<(&'static str, &'static str)> {
    vec![("content-type", "application/grpc"), ("authorization", "Bearer 0123456789abcdef")]
}

#[tokio::test]
async fn grpc_stores_and_answers_in_trailers() {
    assert_eq!(TOKEN, "0123456789abcdef");
    let server = Server::new();
    let (status, headers, data, trailers) =
        call(&server, &grpc(), message(0, &request(&["a"]))).await;
    assert_eq!((status, data), (200, message(0, b"")));
    assert_eq!(headers["content-type"], "application/grpc+proto");
    assert_eq!(trailers["grpc-status"], "0");

    let packed = message(1, &gzip(&request(&["b"])));
    let headers = [grpc(), vec![("grpc-encoding", "gzip")]].concat();
    let (.., trailers) = call(&server, &headers, packed).await;
    assert_eq!(trailers["grpc-status"], "0");
    let long = "x".repeat(LINE_BYTES_MAX);
    let (_, _, data, trailers) = call(&server, &grpc(), message(0, &request(&[&long, "c"]))).await;
    assert_eq!(trailers["grpc-status"], "0");
    assert!(String::from_utf8_lossy(&data).contains("1 of 2 records were refused"));
    assert_eq!(server.stored(), [stored("a"), stored("b"), stored("c")]);
}

#[tokio::test]
async fn grpc_errors_are_statuses() {
    let server = Server::new();
    let whole = message(0, &request(&["a"]));
    let deflate = [grpc(), vec![("grpc-encoding", "deflate")]].concat();
    let gzip = [grpc(), vec![("grpc-encoding", "gzip")]].concat();
    let two = [whole.clone(), whole.clone()].concat();
    for (headers, body, code, text) in [
        (grpc(), whole[..3].to_vec(), "3", "no message"),
        (grpc(), whole[..whole.len() - 1].to_vec(), "3", "not one whole message"),
        (grpc(), two, "3", "not one whole message"),
        (grpc(), message(2, b""), "3", "a flag"),
        (grpc(), message(0, b"\x0a\x7f"), "3", "is broken"),
        (gzip, message(1, b"no gzip"), "3", "can't be unpacked"),
        (deflate, message(1, b""), "12", "`grpc-encoding: deflate`"),
        (grpc(), message(0, &vec![0; BODY_BYTES_MAX]), "8", "more than 200000 bytes"),
        (
            vec![("content-type", "application/grpc+proto")],
            whole.clone(),
            "16",
            "a token is needed",
        ),
    ] {
        let (status, headers, data, _) = call(&server, &headers, body).await;
        assert_eq!((status, data.len()), (200, 0));
        assert_eq!(headers["grpc-status"], code, "{headers:?}");
        assert!(headers["grpc-message"].to_str().unwrap().contains(text), "{headers:?}");
        assert!(!headers.contains_key("grpc-status-details-bin"));
    }
    let (status, ..) = call(&server, &[JSON], whole.clone()).await;
    assert_eq!(status, 415);
    assert!(server.stored().is_empty());

    let server = Server::closed(FULL);
    let (_, headers, _, _) = call(&server, &grpc(), whole).await;
    assert_eq!(headers["grpc-status"], "14");
    let details = headers["grpc-status-details-bin"].to_str().unwrap();
    use base64::Engine;
    let details = base64::engine::general_purpose::STANDARD_NO_PAD.decode(details).unwrap();
    // A RetryInfo whose delay is one second.
    assert!(details.ends_with(&field(2, &field(1, &[0x08, 1]))), "{details:?}");
}
