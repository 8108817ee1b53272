//! Syslog over real sockets on loopback, into a bus in memory.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bus::{Batch, Bus, MemoryBus, PollLimits, Topic};
use ingest::datagrams::{Datagrams, GATHERED_BYTES_MAX};
use ingest::stream::{Setting, Stream, StreamLimits};
use ingest::syslog::{Syslog, SyslogDatagram, TCP_LISTENER, UDP_LISTENER};
use ingest::tls::Security;
use ingest::{Intake, IntakeLimits, Senders, WhenFull};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn syslog() -> Syslog {
    Syslog::new(1000)
}

fn setting(intake: Intake, limits: StreamLimits) -> Setting {
    Setting { intake, senders: Senders::anybody(), security: Security::Plain, limits }
}

async fn tcp(
    address: SocketAddr,
    intake: Intake,
    limits: StreamLimits,
) -> std::io::Result<Stream<fn() -> Syslog>> {
    Stream::bind(TCP_LISTENER, address, setting(intake, limits), syslog as fn() -> Syslog).await
}

async fn udp(
    address: SocketAddr,
    intake: Intake,
    gathered_bytes_max: usize,
) -> std::io::Result<Datagrams<SyslogDatagram>> {
    let senders = Senders::anybody();
    Datagrams::bind(UDP_LISTENER, address, intake, senders, gathered_bytes_max, SyslogDatagram)
        .await
}

struct Running {
    bus: Arc<MemoryBus>,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    async fn tcp(limits: StreamLimits, intake_limits: IntakeLimits) -> (Running, Intake) {
        let bus = Arc::new(MemoryBus::default());
        let intake = Intake::new(bus.clone(), intake_limits);
        let listener = tcp(ANY, intake.clone(), limits).await.unwrap();
        let address = listener.local_addr();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(listener.run(async { stopped.await.unwrap() }));
        (Running { bus, address, stop, task }, intake)
    }

    async fn udp(gathered_bytes_max: usize) -> (Running, Intake) {
        let bus = Arc::new(MemoryBus::default());
        let intake = Intake::new(bus.clone(), IntakeLimits { in_flight_bytes_max: 64 * 1024 });
        let listener = udp(ANY, intake.clone(), gathered_bytes_max).await.unwrap();
        let address = listener.local_addr();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(listener.run(async { stopped.await.unwrap() }));
        (Running { bus, address, stop, task }, intake)
    }

    /// How many records are stored now.
    fn count(&self) -> u64 {
        self.bus.extents(Topic::Raw).unwrap().iter().map(|extent| extent.end.0).sum()
    }

    async fn wait_for(&self, count: u64) {
        let waiting = async {
            while self.count() < count {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("the records arrive");
    }

    /// Shuts down, and returns what is stored.
    async fn stop(self) -> Vec<String> {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
        let mut consumer = self.bus.consumer("test", &[Topic::Raw]).unwrap();
        let (mut batch, mut found) = (Batch::new(), Vec::new());
        let limits = PollLimits { wait: Duration::ZERO, ..PollLimits::default() };
        for _ in 0..50 {
            consumer.poll(&limits, &mut batch).unwrap();
            for record in batch.iter() {
                assert_eq!(record.key, b"127.0.0.1");
                assert_eq!(record.headers.get_str("peer"), Some("127.0.0.1"));
                assert_eq!(record.headers.get_str("encoding"), Some("syslog"));
                assert!(record.headers.get_str("listener").unwrap().starts_with("syslog-"));
                found.push(record.value.escape_ascii().to_string());
            }
        }
        found
    }
}

#[tokio::test]
async fn tcp_takes_both_framings_and_what_a_connection_leaves() {
    let (running, _) = Running::tcp(StreamLimits::default(), IntakeLimits::default()).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(b"<1>a\r\n6 <2>b\n\n<3>c\n<4>un").await.unwrap();
    stream.write_all(b"terminated").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    running.wait_for(4).await;
    assert_eq!(running.stop().await, ["<1>a", "<2>b", "<3>c", "<4>unterminated"]);
}

#[tokio::test]
async fn tcp_appends_at_shutdown_what_it_had_received() {
    let (running, _) = Running::tcp(StreamLimits::default(), IntakeLimits::default()).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(b"<1>first\n").await.unwrap();
    running.wait_for(1).await;
    let many: String = (0..20_000).map(|number| format!("<13>message {number}\n")).collect();
    stream.write_all(many.as_bytes()).await.unwrap();
    let found = running.stop().await;
    assert_eq!(found.len(), 20_001);
    assert_eq!(found[20_000], "<13>message 19999");
}

#[tokio::test]
async fn tcp_messages_over_the_limit_come_whole_in_parts() {
    let (running, _) = Running::tcp(StreamLimits::default(), IntakeLimits::default()).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let long = format!("<1>{}", "x".repeat(2500));
    stream.write_all(format!("{long}\n<2>b\n").as_bytes()).await.unwrap();
    running.wait_for(4).await;
    let found = running.stop().await;
    assert_eq!(found[..3].concat(), long);
    assert_eq!(found[3], "<2>b");
}

#[tokio::test]
async fn tcp_holds_its_sender_back_while_the_intake_is_full() {
    let limits = StreamLimits { gathered_bytes_max: 64 * 1024, ..StreamLimits::default() };
    let room = IntakeLimits { in_flight_bytes_max: 64 * 1024 };
    let (running, intake) = Running::tcp(limits, room).await;
    let mut hold = ingest::Batch::new();
    intake.reserve(&mut hold, 1).unwrap();
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let line = format!("<1>{}\n", "x".repeat(996));
    let sending = tokio::spawn(async move {
        for _ in 0..40_000 {
            stream.write_all(line.as_bytes()).await.unwrap();
        }
    });
    // 40 MB are more than all buffers on the way hold: the sender has to wait.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!sending.is_finished());
    assert_eq!(running.count(), 0);
    drop(hold);
    sending.await.unwrap();
    running.wait_for(40_000).await;
    assert_eq!(running.stop().await.len(), 40_000);
}

#[tokio::test]
async fn tcp_bounds_connections_and_closes_silent_ones() {
    let limits = StreamLimits {
        connections_max: 1,
        idle_max: Duration::from_millis(50),
        message_wait_max: Duration::from_millis(50),
        ..StreamLimits::default()
    };
    let (running, _) = Running::tcp(limits, IntakeLimits::default()).await;
    let mut first = TcpStream::connect(running.address).await.unwrap();
    first.write_all(b"<1>a").await.unwrap();
    let mut second = TcpStream::connect(running.address).await.unwrap();
    assert_eq!(second.read(&mut [0]).await.unwrap_or(0), 0);
    assert_eq!(first.read(&mut [0]).await.unwrap_or(0), 0);
    running.wait_for(1).await;
    let mut third = TcpStream::connect(running.address).await.unwrap();
    third.write_all(b"<2>b\n").await.unwrap();
    running.wait_for(2).await;
    assert_eq!(running.stop().await, ["<1>a", "<2>b"]);
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let (running, intake) = Running::tcp(StreamLimits::default(), IntakeLimits::default()).await;
    let error =
        tcp(running.address, intake, StreamLimits::default()).await.err().unwrap().to_string();
    assert!(error.contains(&format!("TCP {}", running.address)), "{error}");
    assert!(error.contains("in use"), "{error}");
    let (running, intake) = Running::udp(GATHERED_BYTES_MAX).await;
    let error = udp(running.address, intake, GATHERED_BYTES_MAX).await.err().unwrap().to_string();
    assert!(error.contains(&format!("UDP {}", running.address)), "{error}");
}

#[tokio::test]
async fn udp_takes_a_message_in_each_datagram() {
    let (running, _) = Running::udp(GATHERED_BYTES_MAX).await;
    let socket = UdpSocket::bind(ANY).await.unwrap();
    for datagram in [&b"<1>a\n"[..], b"<2>b\0", b"\r\n", b"<3>two\nlines", b"\xff"] {
        socket.send_to(datagram, running.address).await.unwrap();
    }
    running.wait_for(4).await;
    socket.send_to(b"<5>last", running.address).await.unwrap();
    assert_eq!(running.stop().await, ["<1>a", "<2>b", "<3>two\\nlines", "\\xff", "<5>last"]);
}

#[tokio::test]
async fn udp_counts_what_it_drops_by_source() {
    let dropped = || {
        let families = prometheus::gather();
        let family = families
            .iter()
            .find(|family| family.name() == "watchpost_ingest_dropped_datagrams_total");
        family.map_or(0.0, |family| {
            family
                .get_metric()
                .iter()
                .filter(|metric| metric.get_label()[0].value() == "127.0.0.1")
                .map(|metric| metric.get_counter().get_value())
                .sum()
        }) as u64
    };
    let (running, intake) = Running::udp(4096).await;
    let mut hold = ingest::Batch::new();
    intake.reserve(&mut hold, 1).unwrap();
    let socket = UdpSocket::bind(ANY).await.unwrap();
    let datagram = vec![b'x'; 1000];
    let mut sent = 0;
    while dropped() == 0 {
        socket.send_to(&datagram, running.address).await.unwrap();
        sent += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(sent < 5000, "nothing was dropped");
    }
    drop(hold);
    let stored = running.stop().await.len() as u64;
    assert_eq!(stored + dropped(), sent);
}

#[tokio::test]
async fn an_append_waits_as_long_as_it_is_told_to() {
    let bus = Arc::new(MemoryBus::default());
    let intake = Intake::new(bus.clone(), IntakeLimits { in_flight_bytes_max: 1 });
    let mut hold = ingest::Batch::new();
    intake.reserve(&mut hold, 1).unwrap();
    let mut batch = ingest::Batch::new();
    batch.push(&event::RawRecord::new(b"a", event::Timestamp::EPOCH));
    for when in [WhenFull::Refuse, WhenFull::WaitAtMost(Duration::from_millis(5))] {
        let error = intake.append(&mut batch, "test", when).await.unwrap_err();
        assert!(matches!(error, bus::BusError::Full { .. }) && batch.len() == 1);
    }
    let mut waiting = Box::pin(intake.append(&mut batch, "test", WhenFull::Wait));
    assert!(tokio::time::timeout(Duration::from_millis(5), &mut waiting).await.is_err());
    drop(hold);
    waiting.await.unwrap();
    assert!(batch.is_empty());
    bus.close();
    batch.push(&event::RawRecord::new(b"b", event::Timestamp::EPOCH));
    let error = intake.append(&mut batch, "test", WhenFull::Wait).await.unwrap_err();
    assert!(matches!(error, bus::BusError::Closed) && batch.len() == 1);
}
