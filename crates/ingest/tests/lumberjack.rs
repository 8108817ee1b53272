//! Lumberjack over real sockets: a window is acknowledged once it is stored, and a sender that has
//! to wait is told to.

mod common;

use std::time::Duration;

use common::Running;
use ingest::lumberjack::{LISTENER, Lumberjack};
use ingest::stream::StreamLimits;
use ingest::{Batch, Senders};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const WINDOW: &[u8] = b"2W\0\0\0\x022J\0\0\0\x01\0\0\0\x07{\"a\":1}2J\0\0\0\x02\0\0\0\x02{}";

#[tokio::test]
async fn windows_are_acknowledged_once_they_are_stored() {
    let running =
        Running::stream::<Lumberjack>(LISTENER, Senders::anybody(), StreamLimits::default()).await;
    let mut hold = Batch::new();
    running.intake.reserve(&mut hold, 128 * 1024 * 1024).unwrap();
    let mut client = TcpStream::connect(running.address).await.unwrap();
    client.write_all(WINDOW).await.unwrap();
    let mut answer = [0; 6];
    // It is told to be patient, and nothing is acknowledged.
    let waiting = client.read_exact(&mut answer);
    tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap().unwrap();
    assert_eq!((running.count(), &answer), (0, b"2A\0\0\0\0"));
    drop(hold);
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!((running.count(), &answer), (2, b"2A\0\0\0\x02"));
    for byte in WINDOW {
        client.write_all(&[*byte]).await.unwrap();
    }
    client.read_exact(&mut answer).await.unwrap();
    let stored = running.stop().await;
    assert_eq!(stored[..2], ["lumberjack - json {\"a\":1}", "lumberjack - json {}"]);
    assert_eq!(stored.len(), 4);
}

#[tokio::test]
async fn a_part_of_a_window_is_stored_and_acknowledged_at_the_end() {
    let running =
        Running::stream::<Lumberjack>(LISTENER, Senders::anybody(), StreamLimits::default()).await;
    let mut client = TcpStream::connect(running.address).await.unwrap();
    client.write_all(&WINDOW[..WINDOW.len() - 1]).await.unwrap();
    running.wait_for(1).await;
    let stored = running.stop().await;
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert_eq!((stored.len(), answer.as_slice()), (1, &b"2A\0\0\0\x01"[..]));
}

#[tokio::test]
async fn what_is_no_lumberjack_is_cut_off() {
    let running =
        Running::stream::<Lumberjack>(LISTENER, Senders::anybody(), StreamLimits::default()).await;
    let mut client = TcpStream::connect(running.address).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(client.read(&mut [0]).await.unwrap_or(0), 0);
    let mut client = TcpStream::connect(running.address).await.unwrap();
    client.write_all(WINDOW).await.unwrap();
    running.wait_for(2).await;
    assert_eq!(running.stop().await.len(), 2);
}
