//! All that shippers speak over HTTP, on a port of loopback and over a bus in memory: to try a
//! shipper by hand, or to measure.
//!
//! ```console
//! $ cargo run --release -p ingest --example listen -- 8481 0123456789abcdef [records|full]
//! ```
//!
//! Prints how many records there are whenever no more come, and with `records` what they are.
//! With `full` the intake is full, and every request is told so.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::ConnectInfo;
use bus::{Batch, Bus, BusError, MemoryBus, PollLimits, Topic};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use ingest::http::{HttpLimits, shippers};
use ingest::{Intake, IntakeLimits, SenderSettings, Senders};

#[tokio::main]
#[expect(clippy::print_stdout, reason = "it is what this program is for")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "say PORT SECRET, and `records` to see them or `full` to refuse them";
    let port: u16 = arguments.next().ok_or(usage)?.parse()?;
    let secret = arguments.next().ok_or(usage)?;
    let how = arguments.next().unwrap_or_default();

    let bus = Arc::new(MemoryBus::default());
    let sender = SenderSettings { name: "example".to_owned(), secret, ..SenderSettings::default() };
    let intake = Intake::new(bus.clone(), IntakeLimits::default());
    if how == "full" {
        intake.gate().close(BusError::Full { pending_bytes: 1, pending_bytes_max: 1 });
    }
    let router = shippers(intake, Senders::new(&[sender], false)?, HttpLimits::default());

    let shows = how == "records";
    std::thread::spawn(move || print(&*bus, shows).expect("the bus is in memory"));

    let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).await?;
    println!("listening on {}", listener.local_addr()?);
    // HTTP/1 and, for gRPC, HTTP/2.
    let http = auto::Builder::new(TokioExecutor::new());
    loop {
        let (connection, peer) = listener.accept().await?;
        let router = router.clone().layer(Extension(ConnectInfo(peer)));
        let http = http.clone();
        tokio::spawn(async move {
            let service = TowerToHyperService::new(router);
            if let Err(error) = http.serve_connection(TokioIo::new(connection), service).await {
                println!("{peer}: {error}");
            }
        });
    }
}

/// Prints what comes, for ever.
#[expect(clippy::print_stdout, reason = "it is what this program is for")]
fn print(bus: &dyn Bus, shows: bool) -> Result<(), BusError> {
    let mut consumer = bus.consumer("example", &[Topic::Raw])?;
    let (mut batch, mut count, mut told) = (Batch::new(), 0, 0);
    let limits = PollLimits { wait: Duration::from_secs(1), ..PollLimits::default() };
    loop {
        consumer.poll(&limits, &mut batch)?;
        for record in batch.iter().filter(|_| shows) {
            for (name, value) in record.headers.iter() {
                print!("{name}={} ", value.escape_ascii());
            }
            println!("{}", record.value.escape_ascii());
        }
        count += batch.len();
        if batch.is_empty() && count > told {
            println!("{count} records");
            told = count;
        }
    }
}
