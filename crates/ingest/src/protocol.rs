//! What a protocol over a TCP connection is: bytes in, records and answers out.
//!
//! A [`Protocol`] knows nothing of sockets, time or the bus, so that each can be tested and fuzzed
//! as the plain function that it is. The connection ([`crate::stream`]) reads, makes what was found
//! durable, and only then writes the answers that came after it. So "acknowledged is durable" is
//! true of all protocols at once, and none of them can forget it.

use std::net::IpAddr;
use std::sync::Arc;

use bus::MemoryBus;
use event::Timestamp;
use event::raw::{Encoding, RawRecord};

use crate::intake::Relay;
use crate::sender::Sender;
use crate::{Intake, IntakeLimits, Senders, metrics};

/// A protocol's side of one connection.
pub trait Protocol: Send + 'static {
    /// The connection is open. For protocols in which the server speaks first.
    fn open(&mut self, turn: &mut Turn<'_>) {
        let _ = turn;
    }

    /// Takes bytes as they came, cut anywhere, and tells what was in them. What belongs to a message
    /// that is not complete it keeps, up to its own limit.
    ///
    /// # Errors
    /// When the sender breaks the protocol or a limit: the connection is closed, after what was
    /// found before is durable and answered.
    fn push(&mut self, bytes: &[u8], turn: &mut Turn<'_>) -> Result<(), Violation>;

    /// The sender has ended the stream, or we end it: hands out what has no end of its own. Nothing
    /// by default, for protocols whose senders send again what was not acknowledged.
    fn close(&mut self, turn: &mut Turn<'_>) {
        let _ = turn;
    }

    /// Whether it asks for proof itself, so that a peer whose address says nothing may begin.
    const ASKS: bool = false;

    /// What a peer is told every few seconds while what it sent is not yet durable, so that it goes
    /// on waiting instead of sending it all again. Nothing by default.
    fn patience(&self) -> &'static [u8] {
        &[]
    }

    /// Whether a message has begun and not ended. Such a state must not last long.
    fn is_within(&self) -> bool;
}

/// Why a connection is closed for what came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Violation {
    /// A word for metrics: `malformed`, `too_large`, `denied`.
    pub kind: &'static str,
    /// What is wrong and what to do.
    pub text: String,
}

impl Violation {
    /// What came is not this protocol.
    pub fn malformed(text: impl Into<String>) -> Self {
        Violation { kind: "malformed", text: text.into() }
    }

    /// What came is larger than the limit.
    pub fn too_large(text: impl Into<String>) -> Self {
        Violation { kind: "too_large", text: text.into() }
    }

    /// The sender did not prove who it is, or may not do what it does.
    pub fn denied(text: impl Into<String>) -> Self {
        Violation { kind: "denied", text: text.into() }
    }
}

/// The other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its address; IPv4 within IPv6 is unwrapped.
    pub address: IpAddr,
    /// The same as text.
    pub text: String,
    /// The names in the certificate that it proved; empty if it was not asked for one.
    pub certificate: Vec<String>,
}

impl Peer {
    /// A peer that is known by its address alone.
    pub fn new(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Peer { address, text: address.to_string(), certificate: Vec::new() }
    }

    /// Who it is, where a protocol itself asks for no proof: by certificate, else by address.
    /// `None` refuses.
    pub fn sender(&self, senders: &Senders) -> Option<Arc<Sender>> {
        senders
            .by_certificate(&self.certificate, self.address)
            .or_else(|| senders.by_address(self.address))
    }
}

/// A record that a protocol found.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// Its bytes, without framing.
    pub payload: &'a [u8],
    /// How they are written.
    pub encoding: Encoding,
    /// The dataset that is named for it; empty if none.
    pub dataset: &'a str,
}

/// What a protocol may do with what came: hand out records, answer, say who is there.
pub struct Turn<'a> {
    pub(crate) relay: &'a mut Relay,
    pub(crate) peer: &'a Peer,
    pub(crate) senders: &'a Senders,
    pub(crate) sender: &'a mut Arc<Sender>,
    pub(crate) listener: &'static str,
    pub(crate) received: Timestamp,
    pub(crate) has_warned: &'a mut bool,
}

impl Turn<'_> {
    /// Hands out a record.
    ///
    /// # Errors
    /// When the sender may not send to that dataset.
    pub fn record(&mut self, found: Found<'_>) -> Result<(), Violation> {
        let Found { payload, encoding, dataset } = found;
        if !self.sender.may_send(dataset) {
            let name = self.sender.name();
            return Err(Violation::denied(format!(
                "sender `{name}` may not send to the dataset `{dataset}`; see `datasets` in its table `[[senders]]`"
            )));
        }
        self.relay.push(&RawRecord {
            payload,
            received: self.received,
            listener: self.listener,
            peer: &self.peer.text,
            sender: self.sender.name(),
            dataset: if dataset.is_empty() { self.sender.dataset() } else { dataset },
            namespace: self.sender.namespace().as_str(),
            position: None,
            encoding,
        });
        Ok(())
    }

    /// Sends bytes to the peer, once every record that was handed out before is durable.
    pub fn answer(&mut self, bytes: &[u8]) {
        self.relay.answer(bytes);
    }

    /// Counts a message that was larger than the limit and became several records.
    pub fn split(&mut self, limit_bytes: usize) {
        metrics::SPLIT.with_label_values(&[self.listener]).inc();
        // Once for each connection: who sends one sends many.
        if !std::mem::replace(self.has_warned, true) {
            let (listener, peer) = (self.listener, &self.peer.text);
            tracing::warn!(listener, %peer, limit_bytes, "a message over the limit became several records");
        }
    }

    /// Counts a message that was no record and is left out, and logs the first of a connection.
    pub fn left_out(&mut self, reason: &str) {
        self.dropped("malformed", reason);
    }

    /// Counts a message that is larger than a record may be and is left out, and logs the first of
    /// a connection. For protocols that cannot refuse one message: a sender that is cut off for it
    /// sends it again for ever.
    pub fn too_large(&mut self, limit_bytes: usize) {
        self.dropped("too_large", &format!("it has more than {limit_bytes} bytes"));
    }

    fn dropped(&mut self, kind: &str, reason: &str) {
        metrics::DROPPED.with_label_values(&[self.listener, kind]).inc();
        if !std::mem::replace(self.has_warned, true) {
            let (listener, peer) = (self.listener, &self.peer.text);
            tracing::warn!(listener, %peer, reason, "a message was left out");
        }
    }

    /// The other end.
    pub fn peer(&self) -> &Peer {
        self.peer
    }

    /// Who may send.
    pub fn senders(&self) -> &Senders {
        self.senders
    }

    /// Who sends, as far as it is known; without a name if nobody was asked.
    pub fn sender(&self) -> &Sender {
        self.sender
    }

    /// Says who sends what is handed out from now on, once it was proved.
    pub fn identify(&mut self, sender: Arc<Sender>) {
        *self.sender = sender;
    }
}

/// A connection without a socket, for tests and fuzzing: a protocol runs as in a real one, and what
/// it hands out is kept here instead of made durable.
pub struct Rehearsal<P> {
    /// The protocol.
    pub protocol: P,
    /// The records so far: listener, sender and encoding, and the payload.
    pub records: Vec<(String, Vec<u8>)>,
    /// The answers so far.
    pub answers: Vec<u8>,
    peer: Peer,
    senders: Senders,
    sender: Arc<Sender>,
    relay: Relay,
    listener: &'static str,
    has_warned: bool,
}

impl<P: Protocol> Rehearsal<P> {
    /// Opens it, from this address.
    pub fn open(listener: &'static str, protocol: P, senders: Senders, address: IpAddr) -> Self {
        let peer = Peer::new(address);
        let sender = peer.sender(&senders).unwrap_or_else(|| Arc::new(Sender::unnamed()));
        let intake = Intake::new(Arc::new(MemoryBus::default()), IntakeLimits::default());
        let mut rehearsal = Rehearsal {
            protocol,
            records: Vec::new(),
            answers: Vec::new(),
            peer,
            senders,
            sender,
            relay: Relay::new(intake, listener, usize::MAX),
            listener,
            has_warned: false,
        };
        rehearsal.turn(|protocol, turn| protocol.open(turn));
        rehearsal
    }

    /// Bytes arrive.
    ///
    /// # Errors
    /// As [`Protocol::push`].
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        self.turn(|protocol, turn| protocol.push(bytes, turn))
    }

    /// The peer ends the stream.
    pub fn close(&mut self) {
        self.turn(|protocol, turn| protocol.close(turn));
    }

    fn turn<T>(&mut self, run: impl FnOnce(&mut P, &mut Turn<'_>) -> T) -> T {
        let Rehearsal { protocol, peer, senders, sender, relay, listener, has_warned, .. } = self;
        let (listener, received) = (*listener, Timestamp::EPOCH);
        let done = run(
            protocol,
            &mut Turn { relay, peer, senders, sender, listener, received, has_warned },
        );
        relay.take(&mut self.answers, &mut |record| {
            let header = |name| record.headers.get_str(name).unwrap_or_default();
            let about =
                [event::raw::LISTENER, event::raw::SENDER, event::raw::ENCODING].map(header);
            self.records.push((about.join(" "), record.value.to_vec()));
        });
        done
    }
}
