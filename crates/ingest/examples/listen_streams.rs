//! Listens for the forward protocol, Lumberjack and GELF on loopback, and keeps what comes in memory:
//! to try a client without an engine.
//!
//! ```console
//! $ cargo run -p ingest --example listen_streams -- FLUENT LUMBERJACK GELF [SECRET]
//! ```
//!
//! The arguments are ports (GELF: of TCP and UDP), and a sender's secret, if one is to be asked for.
//! Each second the records so far are counted, and the last is shown.

#![expect(clippy::print_stdout, reason = "an example prints what it saw")]

use std::collections::BTreeMap;
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bus::{Batch, Bus, MemoryBus, PollLimits, Topic};
use ingest::datagrams::{Datagrams, GATHERED_BYTES_MAX};
use ingest::fluent::{self, Fluent};
use ingest::gelf::{self, GelfDatagram, GelfStream};
use ingest::lumberjack::{self, Lumberjack};
use ingest::stream::{Setting, Stream, StreamLimits};
use ingest::tls::Security;
use ingest::{Intake, IntakeLimits, SenderSettings, Senders};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let port = |at: usize| -> Result<SocketAddr, Box<dyn Error>> {
        let port = arguments.get(at).ok_or("say three ports")?.parse()?;
        Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    };
    let senders = match arguments.get(3) {
        None => Senders::anybody(),
        Some(secret) => {
            let (name, secret) = ("client".to_owned(), secret.clone());
            Senders::new(&[SenderSettings { name, secret, ..SenderSettings::default() }], true)?
        }
    };
    let bus = Arc::new(MemoryBus::default());
    let intake = Intake::new(bus.clone(), IntakeLimits::default());
    let setting = Setting {
        intake: intake.clone(),
        senders: senders.clone(),
        security: Security::Plain,
        limits: StreamLimits::default(),
    };
    let fluent = Stream::bind(fluent::LISTENER, port(0)?, setting.clone(), Fluent::default).await?;
    let lumberjack =
        Stream::bind(lumberjack::LISTENER, port(1)?, setting.clone(), Lumberjack::default).await?;
    let tcp = Stream::bind(gelf::TCP_LISTENER, port(2)?, setting, GelfStream::default).await?;
    let (room, protocol) = (GATHERED_BYTES_MAX, GelfDatagram::default());
    let udp =
        Datagrams::bind(gelf::UDP_LISTENER, port(2)?, intake, senders, room, protocol).await?;
    tokio::spawn(fluent.run(std::future::pending()));
    tokio::spawn(lumberjack.run(std::future::pending()));
    tokio::spawn(tcp.run(std::future::pending()));
    tokio::spawn(udp.run(std::future::pending()));
    println!("listening");

    let mut consumer = bus.consumer("example", &[Topic::Raw])?;
    let limits = PollLimits { wait: Duration::ZERO, ..PollLimits::default() };
    let (mut batch, mut counts) = (Batch::new(), BTreeMap::<String, (u64, String)>::new());
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before: u64 = counts.values().map(|(count, _)| count).sum();
        loop {
            consumer.poll(&limits, &mut batch)?;
            if batch.iter().next().is_none() {
                break;
            }
            for record in batch.iter() {
                let header = |name| record.headers.get_str(name).unwrap_or("-");
                let (count, last) =
                    counts.entry(["listener", "sender"].map(header).join(" ")).or_default();
                *count += 1;
                *last = String::from_utf8_lossy(record.value).chars().take(300).collect();
            }
        }
        if counts.values().map(|(count, _)| count).sum::<u64>() != before {
            for (who, (count, last)) in &counts {
                println!("{who}: {count} records, the last: {last}");
            }
        }
    }
}
