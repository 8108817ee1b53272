//! A listener for datagrams over UDP: syslog (RFC 5426), GELF.
//!
//! Nobody can hold a sender of datagrams back, so this listener reads as fast as it can: it goes on
//! while an append is under way, and many datagrams share one. Only when what it gathered meets its
//! bound does it drop, and says whose.

mod drops;

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use event::Timestamp;
use event::raw::{Encoding, RawRecord};
use tokio::net::UdpSocket;

use crate::intake::Relay;
use crate::protocol::Violation;
use crate::sender::Sender;
use crate::{Intake, Senders, metrics};

use drops::Drops;

/// How long it is waited at shutdown for what the kernel has received. It has it already, so this is
/// only the time to be told so.
const LAST_READ_WAIT: Duration = Duration::from_millis(20);

/// What one append carries, in bytes.
pub const GATHERED_BYTES_MAX: usize = 1024 * 1024;

/// The kernel's buffer that is asked for: about a second of 20,000 datagrams of 400 bytes. The
/// kernel gives what `net.core.rmem_max` allows.
const KERNEL_BUFFER_BYTES: usize = 8 * 1024 * 1024;

/// The largest datagram.
const DATAGRAM_BYTES_MAX: usize = 65_536;

/// How many datagrams are read at once before anything else gets its turn.
const READ_AT_ONCE_MAX: usize = 1024;

/// How often it is read at shutdown, so that one who goes on sending does not prevent it.
const LAST_READS_MAX: usize = 64;

/// How often drops are logged.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// How many bytes are gathered before datagrams are dropped, as a multiple of what one append
/// carries: a sync may take long now and then, and there is no other way to wait for it.
const GATHERED_FACTOR: usize = 16;

/// How records are found in datagrams.
pub trait DatagramProtocol: Send + 'static {
    /// How they are written.
    const ENCODING: Encoding;

    /// Takes a datagram, and hands out the record that is whole with it, if one is.
    ///
    /// # Errors
    /// When the datagram can be no part of a record. It is counted and left out.
    fn take(
        &mut self,
        datagram: &[u8],
        source: SocketAddr,
        now: Instant,
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Violation>;

    /// Gives up on what is waited for in vain, all of it when the listener ends, and tells how many
    /// records were given up since it was asked last. None by default, for protocols in which each
    /// datagram is whole.
    fn give_up(&mut self, now: Instant, is_end: bool) -> u64 {
        let _ = (now, is_end);
        0
    }
}

/// A listener for datagrams.
pub struct Datagrams<P> {
    socket: UdpSocket,
    address: SocketAddr,
    listener: &'static str,
    relay: Relay,
    senders: Senders,
    protocol: P,
    drops: Drops,
    has_warned: bool,
}

impl<P: DatagramProtocol> Datagrams<P> {
    /// Listens on an address. `listener` is its name in records, the log and metrics; of what one
    /// append carries ([`GATHERED_BYTES_MAX`]) it gathers some before it drops.
    ///
    /// # Errors
    /// What the system says, with the address.
    pub async fn bind(
        listener: &'static str,
        address: SocketAddr,
        intake: Intake,
        senders: Senders,
        gathered_bytes_max: usize,
        protocol: P,
    ) -> io::Result<Self> {
        let named = |error: io::Error| {
            io::Error::new(
                error.kind(),
                format!("cannot listen for {listener} on UDP {address}: {error}"),
            )
        };
        let socket = UdpSocket::bind(address).await.map_err(named)?;
        // It works with less.
        if let Err(error) =
            socket2::SockRef::from(&socket).set_recv_buffer_size(KERNEL_BUFFER_BYTES)
        {
            tracing::warn!(%error, "the receive buffer could not be made larger");
        }
        let address = socket.local_addr()?;
        let gathered_bytes_max = gathered_bytes_max.saturating_mul(GATHERED_FACTOR);
        let relay = Relay::new(intake, listener, gathered_bytes_max);
        let drops = Drops::new(listener);
        let has_warned = false;
        Ok(Datagrams { socket, address, listener, relay, senders, protocol, drops, has_warned })
    }

    /// The address that it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Takes datagrams until `shutdown` resolves, or the bus fails for good. What the kernel had
    /// received by then is appended.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut report = tokio::time::interval(REPORT_EVERY);
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            self.relay.start();
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                landed = self.relay.landed(), if self.relay.is_flying() => if landed.is_err() {
                    // It was logged. Without a bus nothing can be taken any more.
                    return;
                },
                _ = report.tick() => self.report(false),
                readable = self.socket.readable() => match readable {
                    Ok(()) => self.read(&mut buffer),
                    Err(error) => {
                        tracing::error!(%error, address = %self.address, "listener closed");
                        break;
                    }
                },
            }
        }
        for _ in 0..LAST_READS_MAX {
            // Whether there is more is known only after the system was asked again.
            match tokio::time::timeout(LAST_READ_WAIT, self.socket.readable()).await {
                Ok(Ok(())) => self.read(&mut buffer),
                _ => break,
            }
        }
        // What is lost is counted and logged there.
        self.relay.flush().await.ok();
        self.report(true);
    }

    /// Reads what has arrived.
    fn read(&mut self, buffer: &mut [u8]) {
        let (received, now) = (Timestamp::now(), Instant::now());
        let Datagrams { socket, listener, relay, senders, protocol, drops, has_warned, .. } = self;
        let mut known: Option<(IpAddr, String, Option<Arc<Sender>>)> = None;
        for _ in 0..READ_AT_ONCE_MAX {
            let (length, source) = match socket.try_recv_from(buffer) {
                Ok(datagram) => datagram,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // Linux tells here of answers that could not be delivered; it means nothing to us.
                Err(error) => {
                    tracing::debug!(%error, "a datagram could not be read");
                    return;
                }
            };
            let address = source.ip().to_canonical();
            if relay.is_full() {
                drops.add(address, "full");
                continue;
            }
            let (_, peer, sender) = match &known {
                Some(same) if same.0 == address => same,
                _ => known.insert((address, address.to_string(), senders.by_address(address))),
            };
            let Some(sender) = sender else {
                drops.add(address, "denied");
                continue;
            };
            let datagram = buffer.get(..length).unwrap_or_default();
            let taken = protocol.take(datagram, source, now, &mut |payload| {
                relay.push(&RawRecord {
                    payload,
                    received,
                    listener,
                    peer,
                    sender: sender.name(),
                    dataset: sender.dataset(),
                    namespace: sender.namespace().as_str(),
                    position: None,
                    encoding: P::ENCODING,
                });
            });
            if let Err(violation) = taken {
                metrics::DROPPED.with_label_values(&[*listener, violation.kind]).inc();
                if !std::mem::replace(has_warned, true) {
                    tracing::warn!(listener, %source, %violation, "a datagram was left out; further ones are only counted");
                }
            }
        }
    }

    /// Counts what never became whole, and logs what was dropped.
    fn report(&mut self, is_end: bool) {
        let given_up = self.protocol.give_up(Instant::now(), is_end);
        if given_up > 0 {
            metrics::DROPPED.with_label_values(&[self.listener, "incomplete"]).inc_by(given_up);
            tracing::warn!(
                listener = self.listener,
                records = given_up,
                "parts of records are missing, the rest was left out"
            );
        }
        self.drops.report(self.address);
    }
}
