//! A listener for any [`Protocol`] over TCP, plain or with TLS: a task for each connection.
//!
//! A connection reads while its last batch becomes durable, and stops reading when the next one is
//! full: the window closes, and the sender waits or queues. Answers are written once what they
//! acknowledge is durable. When a connection ends, what it left without an end of its own is a
//! record too, where the protocol says so; when we shut down, what the kernel had received is read
//! and appended first, because a sender without acknowledgements believes it delivered.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use event::Timestamp;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::intake::Relay;
use crate::protocol::{Peer, Protocol, Turn};
use crate::sender::Sender;
use crate::tls::{HANDSHAKE_WAIT_MAX, Security};
use crate::{Intake, Senders, metrics};

/// How many bytes are read at once.
const READ_BYTES: usize = 64 * 1024;

/// How many bytes are still read from a connection at shutdown: more than a kernel's buffer holds.
const LAST_READ_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How long it is waited at shutdown for what the kernel has received. It has it already, so this is
/// only the time to be told so.
const LAST_READ_WAIT: Duration = Duration::from_millis(20);

/// How long a connection is silent before the kernel asks whether its peer is still there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(120);

/// How long to wait when no connection can be accepted, usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a peer may take to take its answers. They are a few bytes.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(30);

/// How often a peer is told to be patient. Beats give up after 30 s without a word.
const PATIENCE_EVERY: Duration = Duration::from_secs(5);

/// The bounds of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamLimits {
    /// The most connections at once; more are closed as they come.
    pub connections_max: usize,
    /// A connection that is silent for so long between messages is closed.
    pub idle_max: Duration,
    /// A message that has begun has to end within this, however busy its sender looks.
    pub message_wait_max: Duration,
    /// How long connections may take to end at shutdown.
    pub shutdown_wait_max: Duration,
    /// What one connection gathers while an append is under way, in bytes.
    pub gathered_bytes_max: usize,
}

impl Default for StreamLimits {
    fn default() -> Self {
        StreamLimits {
            connections_max: 1000,
            // Closing costs a sender without acknowledgements a message: it learns of it only by
            // the second write. So this is for connections whose other end is gone, and no shorter.
            idle_max: Duration::from_secs(24 * 60 * 60),
            message_wait_max: Duration::from_secs(60),
            shutdown_wait_max: Duration::from_secs(10),
            gathered_bytes_max: 1024 * 1024,
        }
    }
}

/// What stands behind a listener and around it.
#[derive(Clone)]
pub struct Setting {
    /// Where records go.
    pub intake: Intake,
    /// Who may send.
    pub senders: Senders,
    /// TLS, or none.
    pub security: Security,
    /// The bounds.
    pub limits: StreamLimits,
}

/// A listener. `make` gives each connection its protocol.
pub struct Stream<M> {
    socket: TcpListener,
    address: SocketAddr,
    listener: &'static str,
    setting: Setting,
    make: M,
}

impl<P: Protocol, M: Fn() -> P> Stream<M> {
    /// Listens on an address. `listener` is its name in records, the log and metrics.
    ///
    /// # Errors
    /// What the system says, with the address.
    pub async fn bind(
        listener: &'static str,
        address: SocketAddr,
        setting: Setting,
        make: M,
    ) -> io::Result<Self> {
        let socket = TcpListener::bind(address).await.map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("cannot listen for {listener} on TCP {address}: {error}"),
            )
        })?;
        let address = socket.local_addr()?;
        Ok(Stream { socket, address, listener, setting, make })
    }

    /// The address that it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Takes connections until `shutdown` resolves; then ends them, and returns when what they had
    /// received is appended.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Stream { socket, address, listener, setting, make } = self;
        let Setting { intake, senders, security, limits } = setting;
        let (stop, stopped) = watch::channel(false);
        let mut connections = JoinSet::new();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(_) = connections.join_next() => continue,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((_, peer)) if connections.len() >= limits.connections_max => {
                    closed(listener, "limit");
                    tracing::warn!(%peer, listener, connections = connections.len(), "connection refused, there are too many");
                }
                Ok((stream, address)) => {
                    // Finds out the peers that went away without a word. It works without, and so
                    // it does without answers being sent at once.
                    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE_AFTER);
                    socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive).ok();
                    stream.set_nodelay(true).ok();
                    let relay = Relay::new(intake.clone(), listener, limits.gathered_bytes_max);
                    let connection = Connection {
                        protocol: make(),
                        peer: Peer::new(address.ip()),
                        senders: senders.clone(),
                        sender: Arc::new(Sender::unnamed()),
                        relay,
                        limits,
                        listener,
                        has_warned: false,
                    };
                    connections.spawn(connection.run(stream, security.clone(), stopped.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, %address, "no connection can be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(socket);
        stop.send_replace(true);
        let all = async { while connections.join_next().await.is_some() {} };
        if timeout(limits.shutdown_wait_max, all).await.is_err() {
            tracing::error!(
                listener,
                connections = connections.len(),
                "connections cut off at shutdown"
            );
        }
    }
}

fn closed(listener: &str, reason: &str) {
    metrics::CONNECTIONS_CLOSED.with_label_values(&[listener, reason]).inc();
}

struct Connection<P> {
    protocol: P,
    peer: Peer,
    senders: Senders,
    sender: Arc<Sender>,
    relay: Relay,
    limits: StreamLimits,
    listener: &'static str,
    has_warned: bool,
}

/// Why a connection is over.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The peer ended it, or we do: what it left is taken too.
    Orderly,
    /// The peer broke the protocol; what it sent last is nothing.
    Refused,
    /// The bus takes nothing, or the peer takes no answer.
    Lost,
}

impl<P: Protocol> Connection<P> {
    async fn run(mut self, stream: TcpStream, security: Security, stopped: watch::Receiver<bool>) {
        let open = metrics::CONNECTIONS.with_label_values(&[self.listener]);
        open.inc();
        match security.acceptor() {
            None => self.serve(stream, stopped).await,
            Some(acceptor) => match timeout(HANDSHAKE_WAIT_MAX, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    self.peer.certificate = crate::tls::certificate_names(stream.get_ref().1);
                    self.serve(stream, stopped).await;
                }
                Ok(Err(error)) => {
                    closed(self.listener, "tls");
                    tracing::warn!(%error, listener = self.listener, peer = %self.peer.text, "TLS could not be agreed");
                }
                Err(_) => closed(self.listener, "slow"),
            },
        }
        open.dec();
    }

    async fn serve(
        &mut self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        stopped: watch::Receiver<bool>,
    ) {
        match self.peer.sender(&self.senders) {
            Some(sender) => self.sender = sender,
            // A protocol that asks for proof itself says who it is later.
            None if self.senders.have_secrets() && P::ASKS => {}
            None => {
                closed(self.listener, "denied");
                tracing::warn!(listener = self.listener, peer = %self.peer.text, "connection refused, the address is of no sender");
                return;
            }
        }
        self.with_turn(|protocol, turn| protocol.open(turn));
        let end = self.receive(&mut stream, stopped).await;
        if end == End::Orderly {
            self.with_turn(|protocol, turn| protocol.close(turn));
        }
        if end != End::Lost {
            // What is lost is counted and logged there.
            if let Ok(answers) = self.relay.flush().await {
                write(&mut stream, &answers).await.ok();
            }
        }
        // A peer that hears the end sends again what was not acknowledged at once.
        timeout(LAST_READ_WAIT, stream.shutdown()).await.ok();
    }

    fn with_turn<T>(&mut self, run: impl FnOnce(&mut P, &mut Turn<'_>) -> T) -> T {
        let Connection { protocol, peer, senders, sender, relay, listener, has_warned, .. } = self;
        let received = Timestamp::now();
        run(protocol, &mut Turn { relay, peer, senders, sender, listener, received, has_warned })
    }

    /// Reads until the connection ends.
    async fn receive(
        &mut self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        mut stopped: watch::Receiver<bool>,
    ) -> End {
        let mut buffer = Vec::with_capacity(READ_BYTES);
        // Whoever has to prove who it is begins within a message.
        let mut was_within = self.protocol.is_within();
        let StreamLimits { idle_max, message_wait_max, .. } = self.limits;
        let mut close_at = Instant::now() + if was_within { message_wait_max } else { idle_max };
        let mut patience_at = Instant::now() + PATIENCE_EVERY;
        loop {
            self.relay.start();
            if let Some(answers) = self.relay.ready() {
                if let Err(error) = write(stream, &answers).await {
                    return self.lost(&error);
                }
                continue;
            }
            let patience = self.protocol.patience();
            let read = tokio::select! {
                biased;
                landed = self.relay.landed(), if self.relay.is_flying() => match landed {
                    Ok(()) => {
                        if self.relay.is_full() {
                            // We held it back until now; its time begins again.
                            close_at = close_at.max(Instant::now() + message_wait_max);
                        }
                        patience_at = Instant::now() + PATIENCE_EVERY;
                        continue;
                    }
                    Err(_) => {
                        closed(self.listener, "unavailable");
                        return End::Lost;
                    }
                },
                () = tokio::time::sleep_until(patience_at),
                    if self.relay.is_flying() && !patience.is_empty() =>
                {
                    if let Err(error) = write(stream, patience).await {
                        return self.lost(&error);
                    }
                    patience_at = Instant::now() + PATIENCE_EVERY;
                    continue;
                }
                // Nothing but the stop is ever sent.
                _ = stopped.changed() => break,
                read = stream.read_buf(&mut buffer), if !self.relay.is_full() => read,
                // Whoever is held back by us is not slow.
                () = tokio::time::sleep_until(close_at), if !self.relay.is_full() => {
                    let reason = if was_within { "slow" } else { "idle" };
                    closed(self.listener, reason);
                    tracing::info!(listener = self.listener, peer = %self.peer.text, reason, "connection closed");
                    return End::Orderly;
                }
            };
            match read {
                Ok(0) => return End::Orderly,
                Ok(_) => {
                    if !self.relay.is_flying() {
                        patience_at = Instant::now() + PATIENCE_EVERY;
                    }
                    let gathered = self.relay.gathered();
                    let taken = self.with_turn(|protocol, turn| protocol.push(&buffer, turn));
                    buffer.clear();
                    if let Err(violation) = taken {
                        closed(self.listener, violation.kind);
                        tracing::warn!(listener = self.listener, peer = %self.peer.text, %violation, "connection closed");
                        return End::Refused;
                    }
                    let is_within = self.protocol.is_within();
                    let has_ended_one = self.relay.gathered() != gathered;
                    if !is_within {
                        close_at = Instant::now() + idle_max;
                    } else if !was_within || has_ended_one {
                        close_at = Instant::now() + message_wait_max;
                    }
                    was_within = is_within;
                }
                Err(error) => return self.lost(&error),
            }
        }
        self.read_last(stream, &mut buffer).await;
        End::Orderly
    }

    /// The other end is gone; what it sent is taken.
    fn lost(&self, error: &io::Error) -> End {
        tracing::debug!(%error, listener = self.listener, peer = %self.peer.text, "connection lost");
        End::Orderly
    }

    /// Reads what the kernel has received, and no more.
    async fn read_last(&mut self, stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) {
        let mut bytes = 0;
        while bytes < LAST_READ_BYTES_MAX {
            buffer.clear();
            // Whether there is more is known only after the system was asked again.
            match timeout(LAST_READ_WAIT, stream.read_buf(buffer)).await {
                Ok(Ok(read)) if read > 0 => bytes += read,
                _ => return,
            }
            if self.with_turn(|protocol, turn| protocol.push(buffer, turn)).is_err() {
                return;
            }
        }
    }
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let written = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    timeout(ANSWER_WAIT_MAX, written).await.unwrap_or_else(|_| {
        Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes no answer"))
    })
}
