//! What clients of Grafana Loki see, over a bus in memory.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod shippers;

use bus::BusError;
use shippers::{BODY_BYTES_MAX, FULL, LINE_BYTES_MAX, Server, gzip};

const PUSH: &str = "/loki/api/v1/push";
const JSON: (&str, &str) = ("content-type", "application/json");
const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");

fn snappy(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).unwrap()
}

/// `{job="a"}`, and a line at one nanosecond after a second.
const PUSHED: &[u8] = b"\x0a\x18\x0a\x09{job=\"a\"}\x12\x0b\x0a\x04\x08\x01\x10\x01\x12\x03one";

#[tokio::test]
async fn lines_are_stored_with_their_labels() {
    let server = Server::new();
    let body = r#"{"streams":[{"stream":{"job":"a"},"values":[["1000000001","one"],["2","two",{"m":"n"}]]}]}"#;
    let one = r#"loki sender=web encoding=loki {"labels":{"job":"a"},"timestamp":"1000000001","line":"one"}"#;
    let two = r#"loki sender=web encoding=loki {"labels":{"job":"a"},"timestamp":"2","line":"two","metadata":{"m":"n"}}"#;
    for (headers, body, count) in [
        (&[JSON][..], body.as_bytes().to_vec(), 2),
        (&[JSON, ("content-encoding", "gzip")], gzip(body.as_bytes()), 2),
        (&[PROTOBUF], snappy(PUSHED), 1),
        (&[PROTOBUF, ("content-encoding", "snappy")], snappy(PUSHED), 1),
        (&[], snappy(PUSHED), 1),
    ] {
        for path in [PUSH, "/api/prom/push"] {
            let server = Server::new();
            let answer = server.send("POST", path, headers, body.clone()).await;
            assert_eq!((answer.status.as_u16(), answer.text.as_str()), (204, ""));
            assert_eq!(server.stored(), [one, two][..count]);
        }
    }
    let answer = server.send("POST", PUSH, &[JSON], r#"{"streams":[]}"#).await;
    assert_eq!(answer.status.as_u16(), 204);
    let answer = server.send("GET", "/ready", &[("authorization", "")], "").await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, "ready\n"));
}

#[tokio::test]
async fn refused_lines_are_told_and_the_others_stored() {
    let server = Server::new();
    let long = "x".repeat(LINE_BYTES_MAX);
    let body = format!(r#"{{"streams":[{{"values":[["1","a"],["2","{long}"],["3","b"]]}}]}}"#);
    let answer = server.send("POST", PUSH, &[JSON], body).await;
    assert_eq!(answer.status.as_u16(), 400);
    assert!(answer.text.contains("1 of 3 records were refused, the others are stored"));
    assert_eq!(server.stored().len(), 2);
}

#[tokio::test]
async fn errors_are_texts() {
    let server = Server::new();
    let ones = vec![b'1'; BODY_BYTES_MAX + 1];
    for (headers, body, status, message) in [
        (&[JSON][..], b"{".to_vec(), 400, "no push of Loki in JSON"),
        (&[PROTOBUF], b"\x03\x08abc".to_vec(), 400, "is broken"),
        (&[PROTOBUF], br#"{"streams":[]}"#.to_vec(), 400, "packed with snappy"),
        (&[PROTOBUF, ("authorization", "")], snappy(PUSHED), 401, "a token is needed"),
        (&[JSON], ones.clone(), 413, "more than 200000 bytes"),
        (&[PROTOBUF], snappy(&ones), 413, "unpacks to 200001 bytes"),
        (&[PROTOBUF, ("content-encoding", "br")], snappy(PUSHED), 415, "`Content-Encoding: br`"),
    ] {
        let answer = server.send("POST", PUSH, headers, body).await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
        assert!(answer.text.contains(message), "{}", answer.text);
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    }
    assert_eq!(server.send("GET", PUSH, &[], "").await.status.as_u16(), 405);
    assert!(server.stored().is_empty());

    let low = BusError::DiskLow { path: "/data".into(), free_bytes: 1, reserve_bytes: 2 };
    for (error, status, retry_after) in [(FULL, 429, "1"), (low, 503, "30")] {
        let server = Server::closed(error);
        let answer = server.send("POST", PUSH, &[], snappy(PUSHED)).await;
        assert_eq!(answer.status.as_u16(), status);
        assert_eq!(answer.header("retry-after"), retry_after);
        assert_eq!(server.send("GET", "/ready", &[], "").await.status.as_u16(), status);
    }
}
