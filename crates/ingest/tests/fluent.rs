//! The forward protocol over real sockets: what is acknowledged is stored, and only then.

mod common;

use std::time::Duration;

use common::{Running, one_sender};
use ingest::fluent::{Fluent, LISTENER};
use ingest::stream::StreamLimits;
use ingest::{Batch, Senders};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// `["t", [[1, {"m": 1}], [2, {"m": 2}]], {"chunk": "c"}]`
const CHUNK: &[u8] = b"\x93\xa1t\x92\x92\x01\x81\xa1m\x01\x92\x02\x81\xa1m\x02\x81\xa5chunk\xa1c";
const ACK: &[u8] = b"\x81\xa3ack\xa1c";

#[tokio::test]
async fn chunks_are_acknowledged_once_they_are_stored() {
    let running =
        Running::stream::<Fluent>(LISTENER, Senders::anybody(), StreamLimits::default()).await;
    let mut hold = Batch::new();
    running.intake.reserve(&mut hold, 128 * 1024 * 1024).unwrap();
    let mut client = TcpStream::connect(running.address).await.unwrap();
    client.write_all(CHUNK).await.unwrap();
    let mut answer = [0; ACK.len()];
    let early = client.read(&mut answer);
    assert!(tokio::time::timeout(Duration::from_millis(100), early).await.is_err());
    assert_eq!(running.count(), 0);
    drop(hold);
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!((running.count(), answer.as_slice()), (2, ACK));
    // One after the other, cut anywhere.
    for _ in 0..3 {
        for byte in CHUNK {
            client.write_all(&[*byte]).await.unwrap();
        }
        client.read_exact(&mut answer).await.unwrap();
    }
    let stored = running.stop().await;
    assert_eq!(stored.len(), 8);
    assert_eq!(stored[1], r#"fluent - forward {"tag":"t","time":2,"record":{"m":2}}"#);
}

#[tokio::test]
async fn who_does_not_know_the_key_sends_nothing() {
    let limits =
        StreamLimits { message_wait_max: Duration::from_millis(200), ..StreamLimits::default() };
    let running =
        Running::stream::<Fluent>(LISTENER, one_sender("web", "0123456789abcdef"), limits).await;
    for sent in [CHUNK, b"", b"\x96\xa4PING\xa1a\xa1b\xa1c\xa0\xa0"] {
        let mut client = TcpStream::connect(running.address).await.unwrap();
        let mut helo = [0; 6];
        client.read_exact(&mut helo).await.unwrap();
        assert_eq!(&helo, b"\x92\xa4HELO");
        client.write_all(sent).await.unwrap();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.ok();
        let is_told = rest.windows(6).any(|part| part == b"\xa4PONG\xc2");
        assert_eq!(is_told, sent.contains(&b'P'));
    }
    assert!(running.stop().await.is_empty());
}

#[tokio::test]
async fn a_chunk_that_is_cut_off_stores_nothing() {
    let running =
        Running::stream::<Fluent>(LISTENER, Senders::anybody(), StreamLimits::default()).await;
    let mut client = TcpStream::connect(running.address).await.unwrap();
    client.write_all(&CHUNK[..CHUNK.len() - 1]).await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    assert!(running.stop().await.is_empty());
}
