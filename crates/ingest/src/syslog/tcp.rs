//! Syslog over TCP (RFC 6587): a task for each connection.
//!
//! A connection reads while its last batch becomes durable, and stops reading when the next one is
//! full: the window closes, and the sender waits or queues. When a connection ends, what it left
//! without an end of its own is a message too; when we shut down, what the kernel had received is
//! read and appended first, because its sender believes it delivered.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use event::Timestamp;
use event::raw::{Encoding, RawRecord};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::framing::{Frame, Framer};
use super::{LAST_READ_WAIT, SyslogLimits, TCP_LISTENER};
use crate::intake::Relay;
use crate::{Intake, LINE_BYTES_MAX, metrics};

/// How many bytes are read at once.
const READ_BYTES: usize = 64 * 1024;

/// How many bytes are still read from a connection at shutdown: more than a kernel's buffer holds.
const LAST_READ_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How long a connection is silent before the kernel asks whether its peer is still there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(120);

/// How long to wait when no connection can be accepted, usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listener for syslog over TCP.
pub struct Tcp {
    listener: TcpListener,
    address: SocketAddr,
    intake: Intake,
    limits: SyslogLimits,
}

impl Tcp {
    /// Listens on an address.
    ///
    /// # Errors
    /// What the system says, with the address.
    pub async fn bind(
        address: SocketAddr,
        intake: Intake,
        limits: SyslogLimits,
    ) -> io::Result<Tcp> {
        let listener = TcpListener::bind(address).await.map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("cannot listen for syslog on TCP {address}: {error}"),
            )
        })?;
        let address = listener.local_addr()?;
        Ok(Tcp { listener, address, intake, limits })
    }

    /// The address that it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Takes connections until `shutdown` resolves; then ends them, and returns when what they had
    /// received is appended.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Tcp { listener, address, intake, limits } = self;
        let limits = Arc::new(limits);
        let (stop, stopped) = watch::channel(false);
        let mut connections = JoinSet::new();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(_) = connections.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((_, peer)) if connections.len() >= limits.connections_max => {
                    closed("limit");
                    tracing::warn!(%peer, connections = connections.len(), "connection refused, there are too many");
                }
                Ok((stream, peer)) => {
                    // Finds out the peers that went away without a word. It works without.
                    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE_AFTER);
                    socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive).ok();
                    let relay = Relay::new(intake.clone(), TCP_LISTENER, limits.gathered_bytes_max);
                    let connection = Connection::new(stream, peer, relay, Arc::clone(&limits));
                    connections.spawn(connection.run(stopped.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, %address, "no connection can be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        stop.send_replace(true);
        let all = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(limits.shutdown_wait_max, all).await.is_err() {
            tracing::error!(connections = connections.len(), "connections cut off at shutdown");
        }
    }
}

fn closed(reason: &str) {
    metrics::CONNECTIONS_CLOSED.with_label_values(&[TCP_LISTENER, reason]).inc();
}

struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    peer_text: String,
    framer: Framer,
    relay: Relay,
    limits: Arc<SyslogLimits>,
    has_warned: bool,
}

impl Connection {
    fn new(stream: TcpStream, peer: SocketAddr, relay: Relay, limits: Arc<SyslogLimits>) -> Self {
        let peer_text = peer.ip().to_canonical().to_string();
        let framer = Framer::new(limits.message_bytes_max.min(LINE_BYTES_MAX));
        Connection { stream, peer, peer_text, framer, relay, limits, has_warned: false }
    }

    async fn run(mut self, stopped: watch::Receiver<bool>) {
        let open = metrics::CONNECTIONS.with_label_values(&[TCP_LISTENER]);
        open.inc();
        if self.receive(stopped).await {
            self.frames(|framer, each| framer.finish(each));
            // What is lost is counted and logged there.
            self.relay.flush().await.ok();
        }
        open.dec();
    }

    /// Reads until the connection ends; false if the bus failed.
    async fn receive(&mut self, mut stopped: watch::Receiver<bool>) -> bool {
        let mut buffer = Vec::with_capacity(READ_BYTES);
        let mut idle_at = Instant::now() + self.limits.idle_max;
        loop {
            self.relay.start();
            let read = tokio::select! {
                biased;
                landed = self.relay.landed(), if self.relay.is_flying() => match landed {
                    Ok(()) => continue,
                    Err(_) => {
                        closed("unavailable");
                        return false;
                    }
                },
                // Nothing but the stop is ever sent.
                _ = stopped.changed() => break,
                read = self.stream.read_buf(&mut buffer), if !self.relay.is_full() => read,
                () = tokio::time::sleep_until(idle_at) => {
                    closed("idle");
                    tracing::info!(peer = %self.peer, "connection closed, it was silent");
                    return true;
                }
            };
            match read {
                Ok(0) => return true,
                Ok(_) => {
                    idle_at = Instant::now() + self.limits.idle_max;
                    self.take(&buffer);
                    buffer.clear();
                }
                Err(error) => {
                    tracing::debug!(%error, peer = %self.peer, "connection lost");
                    return true;
                }
            }
        }
        self.read_last(&mut buffer).await;
        true
    }

    /// Reads what the kernel has received, and no more.
    async fn read_last(&mut self, buffer: &mut Vec<u8>) {
        let mut bytes = 0;
        while bytes < LAST_READ_BYTES_MAX {
            buffer.clear();
            // Whether there is more is known only after the system was asked again.
            match tokio::time::timeout(LAST_READ_WAIT, self.stream.read_buf(buffer)).await {
                Ok(Ok(read)) if read > 0 => bytes += read,
                _ => return,
            }
            self.take(buffer);
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.frames(|framer, each| framer.push(bytes, each));
    }

    /// Gathers the messages that the framer gives.
    fn frames(&mut self, run: impl FnOnce(&mut Framer, &mut dyn FnMut(Frame<'_>))) {
        let Connection { framer, relay, limits, peer, peer_text, has_warned, .. } = self;
        let received = Timestamp::now();
        run(framer, &mut |frame| {
            if frame.is_continuation {
                metrics::SPLIT.with_label_values(&[TCP_LISTENER]).inc();
                // Once for each connection: who sends one sends many.
                if !std::mem::replace(has_warned, true) {
                    let limit_bytes = limits.message_bytes_max;
                    tracing::warn!(%peer, limit_bytes, "a message over the limit became several records");
                }
            }
            relay.push(&RawRecord {
                payload: frame.bytes,
                received,
                listener: TCP_LISTENER,
                peer: peer_text,
                sender: "",
                dataset: &limits.dataset,
                namespace: &limits.namespace,
                position: None,
                encoding: Encoding::Syslog,
            });
        });
    }
}
