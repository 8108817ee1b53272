//! GELF over real sockets.

mod common;

use common::{ANY, Running, dropped};
use ingest::Senders;
use ingest::gelf::{GelfDatagram, GelfStream, TCP_LISTENER, UDP_LISTENER};
use ingest::stream::StreamLimits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

#[tokio::test]
async fn tcp_takes_messages_and_what_a_connection_leaves() {
    let running =
        Running::stream::<GelfStream>(TCP_LISTENER, Senders::anybody(), StreamLimits::default())
            .await;
    let mut client = TcpStream::connect(running.address).await.unwrap();
    client.write_all(b"{\"a\":1}\0{\"b\"").await.unwrap();
    client.write_all(b":2}\0{\"c\":3}").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    let mut packed = TcpStream::connect(running.address).await.unwrap();
    packed.write_all(b"\x1f\x8b\x08\0\0").await.unwrap();
    assert_eq!(packed.read(&mut [0]).await.unwrap_or(0), 0);
    let expected =
        ["{\"a\":1}", "{\"b\":2}", "{\"c\":3}"].map(|json| format!("gelf-tcp - gelf {json}"));
    assert_eq!(running.stop().await, expected);
}

#[tokio::test]
async fn udp_takes_chunks_and_counts_what_never_became_whole() {
    let running = Running::datagrams::<GelfDatagram>(UDP_LISTENER).await;
    let socket = UdpSocket::bind(ANY).await.unwrap();
    for datagram in [
        &b"{\"a\":1}"[..],
        b"\x1e\x0fidididid\x01\x022}",
        b"\x1e\x0fANOTHER!\x00\x02{\"lost\":",
        b"\x1e\x0fidididid\x01\x022}",
        b"\x1e\x0fidididid\x00\x02{\"b\":",
        b"\x1f\x8bbroken",
    ] {
        socket.send_to(datagram, running.address).await.unwrap();
    }
    running.wait_for(2).await;
    let expected = ["{\"a\":1}", "{\"b\":2}"].map(|json| format!("gelf-udp - gelf {json}"));
    assert_eq!(running.stop().await, expected);
    assert_eq!(dropped(UDP_LISTENER, "incomplete"), 1);
    assert_eq!(dropped(UDP_LISTENER, "malformed"), 1);
}
