//! A listener over a real socket on loopback, into a bus in memory.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]
#![allow(dead_code, clippy::allow_attributes, reason = "not every test asks everything")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bus::{Batch, Bus, MemoryBus, PollLimits, Topic};
use ingest::datagrams::{DatagramProtocol, Datagrams, GATHERED_BYTES_MAX};
use ingest::protocol::Protocol;
use ingest::stream::{Setting, Stream, StreamLimits};
use ingest::tls::Security;
use ingest::{Intake, IntakeLimits, SenderSettings, Senders};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) const ANY: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// A listener that runs.
pub(crate) struct Running {
    pub(crate) bus: Arc<MemoryBus>,
    pub(crate) intake: Intake,
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    /// For connections.
    pub(crate) async fn stream<P: Protocol + Default>(
        listener: &'static str,
        senders: Senders,
        limits: StreamLimits,
    ) -> Running {
        let bus = Arc::new(MemoryBus::default());
        let intake = Intake::new(bus.clone(), IntakeLimits::default());
        let security = Security::Plain;
        let setting = Setting { intake: intake.clone(), senders, security, limits };
        let listening = Stream::bind(listener, ANY, setting, P::default).await.unwrap();
        let address = listening.local_addr();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(listening.run(async { stopped.await.unwrap() }));
        Running { bus, intake, address, stop, task }
    }

    /// For datagrams.
    pub(crate) async fn datagrams<P: DatagramProtocol + Default>(
        listener: &'static str,
    ) -> Running {
        let bus = Arc::new(MemoryBus::default());
        let intake = Intake::new(bus.clone(), IntakeLimits::default());
        let senders = Senders::anybody();
        let (room, protocol) = (GATHERED_BYTES_MAX, P::default());
        let listening =
            Datagrams::bind(listener, ANY, intake.clone(), senders, room, protocol).await.unwrap();
        let address = listening.local_addr();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(listening.run(async { stopped.await.unwrap() }));
        Running { bus, intake, address, stop, task }
    }

    /// How many records are stored now.
    pub(crate) fn count(&self) -> u64 {
        self.bus.extents(Topic::Raw).unwrap().iter().map(|extent| extent.end.0).sum()
    }

    pub(crate) async fn wait_for(&self, count: u64) {
        let waiting = async {
            while self.count() < count {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("the records arrive");
    }

    /// Shuts down, and returns what is stored: the listener, the sender, the encoding, the payload.
    pub(crate) async fn stop(self) -> Vec<String> {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
        let mut consumer = self.bus.consumer("test", &[Topic::Raw]).unwrap();
        let (mut batch, mut found) = (Batch::new(), Vec::new());
        let limits = PollLimits { wait: Duration::ZERO, ..PollLimits::default() };
        for _ in 0..50 {
            consumer.poll(&limits, &mut batch).unwrap();
            for record in batch.iter() {
                let header = |name| record.headers.get_str(name).unwrap_or("-");
                let about = ["listener", "sender", "encoding"].map(header).join(" ");
                found.push(format!("{about} {}", String::from_utf8_lossy(record.value)));
            }
        }
        found
    }
}

/// One sender who is known by a secret, and nobody else.
pub(crate) fn one_sender(name: &str, secret: &str) -> Senders {
    let sender =
        SenderSettings { name: name.into(), secret: secret.into(), ..SenderSettings::default() };
    Senders::new(&[sender], false).unwrap()
}

/// What a counter of dropped records says.
pub(crate) fn dropped(listener: &str, reason: &str) -> u64 {
    let families = prometheus::gather();
    let name = "watchpost_ingest_dropped_records_total";
    let metrics = families.iter().filter(|family| family.name() == name);
    metrics
        .flat_map(|family| family.get_metric())
        .filter(|metric| {
            let labels: Vec<&str> = metric.get_label().iter().map(|label| label.value()).collect();
            labels == [listener, reason]
        })
        .map(|metric| metric.get_counter().get_value() as u64)
        .sum()
}
