//! What systemd-journal-upload sees, over a bus in memory.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod shippers;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use bus::BusError;
use http_body::Frame;
use shippers::{LINE_BYTES_MAX, Server};
use tokio::sync::mpsc;

const EXPORT: (&str, &str) = ("content-type", "application/vnd.fdo.journal");

/// A body that is sent bit by bit.
struct Stream(mpsc::UnboundedReceiver<io::Result<Bytes>>);

impl HttpBody for Stream {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| bytes.map(Frame::data)))
    }
}

fn stream() -> (mpsc::UnboundedSender<io::Result<Bytes>>, Body) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, Body::new(Stream(receiver)))
}

fn record(json: &str) -> String {
    format!("journal sender=web encoding=journal {json}")
}

#[tokio::test]
async fn entries_are_stored() {
    let server = Server::new();
    let body = "__CURSOR=1\nMESSAGE=a\n\nMESSAGE\n\x03\0\0\0\0\0\0\0b\nc\nMESSAGE=d\n\n";
    let answer = server.send("POST", "/upload", &[EXPORT], body).await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (202, "OK.\n"));
    assert_eq!(answer.header("accept-encoding"), "zstd");
    let records =
        [record(r#"{"MESSAGE":"a","__CURSOR":"1"}"#), record(r#"{"MESSAGE":["b\nc","d"]}"#)];
    assert_eq!(server.stored(), records);
    let answer = server.send("POST", "/upload", &[EXPORT], "").await;
    assert_eq!(answer.status.as_u16(), 202);
}

#[tokio::test]
async fn entries_of_a_stream_are_stored_as_they_come() {
    let entry = |number: usize| format!("N={number}\n\n").into_bytes();
    for is_packed in [false, true] {
        let server = Server::new();
        let (sender, body) = stream();
        let headers = [EXPORT, ("content-encoding", if is_packed { "zstd" } else { "" })];
        let serving = server.send("POST", "/upload", &headers, body);
        let sending = async {
            for number in 1..=4 {
                let entry = entry(number);
                let bytes = match is_packed {
                    true => zstd::stream::encode_all(&*entry, 3).unwrap(),
                    false => entry,
                };
                // Cut within an entry, too.
                let (first, second) = bytes.split_at(bytes.len() / 2);
                for part in [first, second] {
                    sender.send(Ok(part.to_vec().into())).unwrap();
                }
                let mut turns = 0;
                while server.payloads().len() < number {
                    turns += 1;
                    assert!(turns < 10_000, "entry {number} is not stored when it has come");
                    tokio::task::yield_now().await;
                }
            }
            drop(sender);
        };
        let (answer, ()) = tokio::join!(serving, sending);
        assert_eq!(answer.status.as_u16(), 202, "{}", answer.text);
        assert_eq!(server.payloads().len(), 4);
    }
}

#[tokio::test]
async fn what_came_before_an_end_of_any_kind_is_stored() {
    let entry = "A=1\n\n";
    let broken = || Err(io::Error::other("connection reset"));
    let packed = zstd::stream::encode_all(&b"A=1\n\n"[..], 3).unwrap();
    let cut = packed[..packed.len() - 1].to_vec();
    for (parts, coding, status, message) in [
        (vec![Ok("B=2\n".into())], "", 400, "ends within an entry"),
        (vec![Ok("no field\n".into())], "", 400, "`no field` is no name"),
        (vec![Ok("B=2".into()), broken()], "", 400, "without its end: connection reset"),
        (vec![Ok(cut.into())], "zstd", 400, "can't be unpacked"),
        (vec![Ok("\0\0".into())], "zstd", 400, "can't be unpacked"),
    ] {
        let server = Server::new();
        let (sender, body) = stream();
        let first = if coding.is_empty() { entry.as_bytes().to_vec() } else { packed.clone() };
        sender.send(Ok(first.into())).unwrap();
        parts.into_iter().for_each(|part| sender.send(part).unwrap());
        drop(sender);
        let headers = [EXPORT, ("content-encoding", coding)];
        let answer = server.send("POST", "/upload", &headers, body).await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
        assert!(answer.text.contains(message), "{}", answer.text);
        assert!(answer.text.contains("entries before it are stored"), "{}", answer.text);
        assert_eq!(server.payloads()[0], r#"{"A":"1"}"#);
    }
    // Silence.
    let server = Server::new();
    let (sender, body) = stream();
    sender.send(Ok(entry.into())).unwrap();
    let answer = server.send("POST", "/upload", &[EXPORT], body).await;
    assert_eq!(answer.status.as_u16(), 408);
    assert!(answer.text.contains("The 1 entries before it are stored"), "{}", answer.text);
    assert_eq!(server.payloads(), [r#"{"A":"1"}"#]);
    drop(sender);
}

#[tokio::test]
async fn an_entry_over_the_limit_does_not_stop_the_others() {
    let server = Server::new();
    let long = "x".repeat(LINE_BYTES_MAX);
    let body = format!("A=1\n\nA={long}\n\nA=3\n\n");
    let answer = server.send("POST", "/upload", &[EXPORT], body).await;
    assert_eq!(answer.status.as_u16(), 202);
    assert_eq!(server.payloads(), [r#"{"A":"1"}"#, r#"{"A":"3"}"#]);
}

#[tokio::test]
async fn errors_are_texts() {
    let server = Server::new();
    for (headers, status, message) in [
        (&[][..], 415, "application/vnd.fdo.journal"),
        (&[("content-type", "application/json")], 415, "application/vnd.fdo.journal"),
        (&[EXPORT, ("content-encoding", "gzip")], 415, "`zstd`"),
        (&[EXPORT, ("content-encoding", "lz4")], 415, "`zstd`"),
        (&[EXPORT, ("authorization", "")], 401, "a token is needed"),
    ] {
        let answer = server.send("POST", "/upload", headers, "A=1\n\n").await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
        assert!(answer.text.contains(message), "{}", answer.text);
    }
    assert!(server.stored().is_empty());
    let low = BusError::DiskLow { path: "/data".into(), free_bytes: 1, reserve_bytes: 2 };
    let answer = Server::closed(low).send("POST", "/upload", &[EXPORT], "A=1\n\n").await;
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "30"));
}
