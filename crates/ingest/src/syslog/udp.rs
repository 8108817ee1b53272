//! Syslog over UDP (RFC 5426): a message in each datagram.
//!
//! Nobody can hold a sender of datagrams back, so this listener reads as fast as it can: it goes on
//! while an append is under way, and many datagrams share one. Only when what it gathered meets its
//! bound does it drop, and says whose.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use event::Timestamp;
use event::raw::{Encoding, RawRecord};
use tokio::net::UdpSocket;

use super::drops::Drops;
use super::framing::trim_message;
use super::{LAST_READ_WAIT, SyslogLimits, UDP_LISTENER};
use crate::Intake;
use crate::intake::Relay;

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

/// A listener for syslog datagrams.
pub struct Udp {
    socket: UdpSocket,
    address: SocketAddr,
    relay: Relay,
    limits: SyslogLimits,
}

impl Udp {
    /// Listens on an address.
    ///
    /// # Errors
    /// What the system says, with the address.
    pub async fn bind(
        address: SocketAddr,
        intake: Intake,
        limits: SyslogLimits,
    ) -> io::Result<Udp> {
        let named = |error: io::Error| {
            io::Error::new(
                error.kind(),
                format!("cannot listen for syslog on UDP {address}: {error}"),
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
        let gathered_bytes_max = limits.gathered_bytes_max.saturating_mul(GATHERED_FACTOR);
        let relay = Relay::new(intake, UDP_LISTENER, gathered_bytes_max);
        Ok(Udp { socket, address, relay, limits })
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
        let mut drops = Drops::default();
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
                _ = report.tick() => drops.report(self.address),
                readable = self.socket.readable() => match readable {
                    Ok(()) => self.read(&mut buffer, &mut drops),
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
                Ok(Ok(())) => self.read(&mut buffer, &mut drops),
                _ => break,
            }
        }
        // What is lost is counted and logged there.
        self.relay.flush().await.ok();
        drops.report(self.address);
    }

    /// Reads what has arrived.
    fn read(&mut self, buffer: &mut [u8], drops: &mut Drops) {
        let received = Timestamp::now();
        let mut peer = (None, String::new());
        for _ in 0..READ_AT_ONCE_MAX {
            let (length, source) = match self.socket.try_recv_from(buffer) {
                Ok(datagram) => datagram,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // Linux tells here of answers that could not be delivered; it means nothing to us.
                Err(error) => {
                    tracing::debug!(%error, "a datagram could not be read");
                    return;
                }
            };
            let payload = trim_message(buffer.get(..length).unwrap_or_default());
            if payload.is_empty() {
                continue;
            }
            let source = source.ip().to_canonical();
            if self.relay.is_full() {
                drops.add(source);
                continue;
            }
            if peer.0 != Some(source) {
                peer = (Some(source), source.to_string());
            }
            self.relay.push(&RawRecord {
                payload,
                received,
                listener: UDP_LISTENER,
                peer: &peer.1,
                sender: "",
                dataset: &self.limits.dataset,
                namespace: &self.limits.namespace,
                position: None,
                encoding: Encoding::Syslog,
            });
        }
    }
}
