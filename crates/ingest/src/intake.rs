//! The one way of asynchronous listeners into the topic `raw`.
//!
//! A listener gathers records in a [`Batch`] and gives it to [`Intake::append`], which resolves once
//! they are durable; only then may it acknowledge them. The bus shares one sync among all appends
//! that wait, so many small senders cost no more than one large one.
//!
//! What is in flight, from the first byte of a request in memory to the sync, is bounded by one
//! number for all listeners. At the bound the caller chooses ([`WhenFull`]): a protocol that can
//! tell its sender refuses, one that can hold its sender back waits. The bus has its own bound, and
//! refuses for everybody; the choice covers that too.

use std::fmt::Write;
use std::future::pending;
use std::sync::{Arc, PoisonError, RwLock, mpsc};
use std::time::Duration;

use bus::{Bus, BusError, RecordRef, Records, Topic};
use event::raw::{self, Encoding, RawRecord};
use event::{Timestamp, raw::NAMESPACE_DEFAULT};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::metrics;
use crate::privacy::Privacy;

/// The unit of room, in bytes. A request takes several at once, so that counting costs little.
const ROOM_BYTES: usize = 64 * 1024;

/// How long to wait before a full bus is asked again: at first, and at most.
const RETRY_WAIT: Duration = Duration::from_millis(2);
const RETRY_WAIT_MAX: Duration = Duration::from_millis(200);

/// The bounds of an [`Intake`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IntakeLimits {
    /// The most bytes of all listeners in flight. What is larger alone enters when nothing else is
    /// in flight.
    pub in_flight_bytes_max: usize,
}

impl Default for IntakeLimits {
    fn default() -> Self {
        // Two of the largest requests, or what a disk syncs in about a second.
        IntakeLimits { in_flight_bytes_max: 128 * 1024 * 1024 }
    }
}

/// What an append does while there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// It waits, however long it takes, also for a disk that is full. For senders that can be held
    /// back.
    Wait,
    /// It waits so long, and then gives [`BusError::Full`]. For senders that can be told.
    WaitAtMost(Duration),
    /// It gives [`BusError::Full`].
    Refuse,
}

/// The way into the topic `raw`. Clones share their bounds.
#[derive(Clone)]
pub struct Intake(Arc<Shared>);

/// Closes the way into the topic `raw` for a while, for whoever looks after the whole. Clones are
/// one gate.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<RwLock<Option<BusError>>>);

impl Gate {
    /// From now on every append is answered as if the bus were full, with this error.
    pub fn close(&self, why: BusError) {
        metrics::HELD_BACK.set(1);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    /// Appends are taken again.
    pub fn open(&self) {
        metrics::HELD_BACK.set(0);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether it is closed.
    pub fn is_closed(&self) -> bool {
        self.closed().is_some()
    }

    /// Why it is closed.
    pub fn closed(&self) -> Option<BusError> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Shared {
    bus: Arc<dyn Bus>,
    privacy: Privacy,
    gate: Gate,
    limits: IntakeLimits,
    /// Free room, in units.
    room: Arc<Semaphore>,
    units_max: u32,
}

/// Records of one listener on their way to the bus. Reused: its memory stays.
#[derive(Debug, Default)]
pub struct Batch {
    records: Records,
    payload_bytes: u64,
    /// How many of the records privacy rules were applied to, from the first on: only once, whatever
    /// the bus says.
    hidden: usize,
    received: Option<Timestamp>,
    received_text: String,
    position_text: String,
    room: Option<Room>,
}

/// A part of the intake's room.
#[derive(Debug)]
struct Room {
    permit: OwnedSemaphorePermit,
}

impl Room {
    fn new(permit: OwnedSemaphorePermit) -> Self {
        metrics::IN_FLIGHT_BYTES.add((permit.num_permits() * ROOM_BYTES) as i64);
        Room { permit }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        metrics::IN_FLIGHT_BYTES.sub((self.permit.num_permits() * ROOM_BYTES) as i64);
    }
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Batch::default()
    }

    /// Adds a record, with all that is known of it in headers. Its key is the peer, so that what
    /// comes from one source stays in order.
    pub fn push(&mut self, record: &RawRecord<'_>) {
        if self.received != Some(record.received) {
            self.received = Some(record.received);
            self.received_text = record.received.to_string();
        }
        self.position_text.clear();
        if let Some(position) = record.position {
            write!(self.position_text, "{position}").expect("a string takes what it is given");
        }
        let unless = |default: bool, text| if default { "" } else { text };
        let known = [
            (raw::RECEIVED, self.received_text.as_str()),
            (raw::LISTENER, record.listener),
            (raw::PEER, record.peer),
            (raw::SENDER, record.sender),
            (raw::DATASET, record.dataset),
            (raw::NAMESPACE, unless(record.namespace == NAMESPACE_DEFAULT, record.namespace)),
            (raw::POSITION, self.position_text.as_str()),
            (raw::ENCODING, unless(record.encoding == Encoding::Unknown, record.encoding.as_str())),
        ];
        let mut headers = [("", [].as_slice()); 8];
        let mut count = 0;
        for (header, (name, value)) in
            headers.iter_mut().zip(known.iter().filter(|(_, value)| !value.is_empty()))
        {
            *header = (*name, value.as_bytes());
            count += 1;
        }
        let headers = headers.get(..count).unwrap_or_default();
        self.records.push(record.peer.as_bytes(), headers, record.payload);
        self.payload_bytes += record.payload.len() as u64;
    }

    /// How many records.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The bytes of all payloads.
    pub fn payload_bytes(&self) -> u64 {
        self.payload_bytes
    }

    /// The bytes that the records take in memory and on the bus.
    pub fn bytes_len(&self) -> usize {
        self.records.bytes_len()
    }

    /// Forgets the records, and keeps the memory.
    pub fn clear(&mut self) {
        self.records.clear();
        self.payload_bytes = 0;
        self.hidden = 0;
        self.room = None;
    }

    /// Takes one record out, for whoever goes on without it.
    pub(crate) fn remove(&mut self, index: usize) {
        let mut kept = Records::new();
        for (at, record) in self.records.iter().enumerate() {
            if at == index {
                self.payload_bytes -= record.value.len() as u64;
            } else {
                kept.push_record(record);
            }
        }
        self.records = kept;
        self.hidden -= usize::from(index < self.hidden);
    }

    /// Hides what must not be stored, in the records that were pushed since it was done last.
    pub(crate) fn hide(&mut self, privacy: &Privacy) {
        privacy.apply(&mut self.records, self.hidden);
        self.hidden = self.records.len();
    }

    /// The records, for an append by the caller's own hand.
    pub fn records_mut(&mut self) -> &mut Records {
        &mut self.records
    }

    fn units(&self) -> u32 {
        self.room.as_ref().map_or(0, |room| room.permit.num_permits() as u32)
    }

    fn add_room(&mut self, permit: OwnedSemaphorePermit) {
        let room = Room::new(permit);
        self.room = Some(match self.room.take() {
            None => room,
            Some(mut all) => {
                all.merge(room);
                all
            }
        });
    }
}

impl Room {
    fn merge(&mut self, mut other: Room) {
        let units = other.permit.num_permits();
        // What `other` loses here its drop does not count, and what we gain ours will.
        if let Some(permit) = other.permit.split(units) {
            self.permit.merge(permit);
        }
    }
}

impl Intake {
    /// An intake before this bus.
    pub fn new(bus: Arc<dyn Bus>, limits: IntakeLimits) -> Self {
        Intake::with_privacy(bus, limits, Privacy::default())
    }

    /// One that hides what these rules say before the bus has it.
    pub fn with_privacy(bus: Arc<dyn Bus>, limits: IntakeLimits, privacy: Privacy) -> Self {
        let units = limits.in_flight_bytes_max.div_ceil(ROOM_BYTES).max(1);
        let units_max = u32::try_from(units).unwrap_or(u32::MAX);
        let room = Arc::new(Semaphore::new(units_max as usize));
        Intake(Arc::new(Shared { bus, privacy, gate: Gate::default(), limits, room, units_max }))
    }

    /// Whether an append would be taken now, or why not.
    pub fn health(&self) -> Result<(), BusError> {
        self.0.gate.closed().map_or_else(|| self.0.bus.health(), Err)
    }

    /// What it hides.
    pub fn privacy(&self) -> &Privacy {
        &self.0.privacy
    }

    /// The gate before it.
    pub fn gate(&self) -> Gate {
        self.0.gate.clone()
    }

    /// Takes room for a batch that is being filled and will have `bytes`, so that what is being
    /// received counts too. Does not wait.
    ///
    /// # Errors
    /// [`BusError::Full`].
    pub fn reserve(&self, batch: &mut Batch, bytes: usize) -> Result<(), BusError> {
        let more = self.units(bytes).saturating_sub(batch.units());
        if more > 0 {
            let permit = Arc::clone(&self.0.room).try_acquire_many_owned(more);
            batch.add_room(permit.map_err(|_| self.full())?);
        }
        Ok(())
    }

    /// Appends a batch, and resolves once it is durable, all of it or nothing. The batch is then
    /// empty; after an error it is as it was.
    ///
    /// If the future is dropped, the records may or may not be stored.
    pub async fn append(
        &self,
        batch: &mut Batch,
        listener: &str,
        when_full: WhenFull,
    ) -> Result<(), BusError> {
        if batch.is_empty() {
            return Ok(());
        }
        batch.hide(&self.0.privacy);
        let started = Instant::now();
        let deadline = match when_full {
            WhenFull::Wait => None,
            WhenFull::WaitAtMost(wait) => Some(started + wait),
            WhenFull::Refuse => Some(started),
        };
        let count = batch.len() as u64;
        let result = match self.room(batch, deadline).await {
            Ok(()) => self.append_within(batch, listener, deadline).await,
            Err(error) => Err(error),
        };
        match &result {
            Ok(()) => {
                metrics::RECORDS.with_label_values(&[listener]).inc_by(count);
                metrics::BYTES.with_label_values(&[listener]).inc_by(batch.payload_bytes);
                metrics::APPEND_SECONDS.observe(started.elapsed().as_secs_f64());
                batch.clear();
            }
            // A sender that is held back is not told; whoever waited for ever counts what it loses.
            Err(_) if when_full == WhenFull::Wait => {}
            Err(error) => {
                let reason = reason(error);
                metrics::REFUSED.with_label_values(&[listener, reason]).inc_by(count);
            }
        }
        result
    }

    /// As [`Intake::append`] with [`WhenFull::Wait`], for a thread of its own outside of async code.
    /// `is_stopped` is asked while it waits, so that a full bus does not hold up a stop.
    ///
    /// # Errors
    /// What the bus says. After a stop, why it was waiting. The batch is then as it was.
    pub fn append_blocking(
        &self,
        batch: &mut Batch,
        listener: &str,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<(), BusError> {
        if batch.is_empty() {
            return Ok(());
        }
        batch.hide(&self.0.privacy);
        let started = Instant::now();
        let count = batch.len() as u64;
        let mut pause = RETRY_WAIT;
        let mut has_warned = false;
        loop {
            let tried = self
                .reserve(batch, batch.bytes_len())
                .and_then(|()| self.try_append_blocking(batch));
            match tried {
                Ok(()) => break,
                Err(error) if !error.is_transient() || is_stopped() => return Err(error),
                Err(BusError::Full { .. } | BusError::Behind { .. }) => {}
                Err(error) => {
                    if !std::mem::replace(&mut has_warned, true) {
                        tracing::error!(%error, listener, "waiting for the bus, nothing is read");
                    }
                }
            }
            // While it waits others may have the room.
            batch.room = None;
            std::thread::sleep(pause);
            pause = (pause * 2).min(RETRY_WAIT_MAX);
        }
        metrics::RECORDS.with_label_values(&[listener]).inc_by(count);
        metrics::BYTES.with_label_values(&[listener]).inc_by(batch.payload_bytes);
        metrics::APPEND_SECONDS.observe(started.elapsed().as_secs_f64());
        batch.clear();
        Ok(())
    }

    /// The bus behind it, to read what was appended.
    pub(crate) fn bus(&self) -> &dyn Bus {
        &*self.0.bus
    }

    /// Waits for room for the whole batch.
    async fn room(&self, batch: &mut Batch, deadline: Option<Instant>) -> Result<(), BusError> {
        if self.reserve(batch, batch.bytes_len()).is_ok() {
            return Ok(());
        }
        // What it has is given back first: two that each hold a part would wait for each other.
        batch.room = None;
        let wait = Arc::clone(&self.0.room).acquire_many_owned(self.units(batch.bytes_len()));
        let permit = match deadline {
            None => wait.await,
            Some(deadline) => {
                tokio::time::timeout_at(deadline, wait).await.map_err(|_| self.full())?
            }
        };
        // Nobody closes the semaphore.
        batch.add_room(permit.map_err(|_| BusError::Closed)?);
        Ok(())
    }

    async fn append_within(
        &self,
        batch: &mut Batch,
        listener: &str,
        deadline: Option<Instant>,
    ) -> Result<(), BusError> {
        let mut pause = RETRY_WAIT;
        let mut has_warned = false;
        loop {
            let error = match self.try_append(batch).await {
                Ok(()) => return Ok(()),
                Err(error @ (BusError::Full { .. } | BusError::Behind { .. })) => error,
                Err(error) if error.is_transient() && deadline.is_none() => {
                    if !std::mem::replace(&mut has_warned, true) {
                        tracing::error!(%error, listener, "waiting for the bus, senders are held back");
                    }
                    error
                }
                Err(error) => return Err(error),
            };
            let next = Instant::now() + pause;
            if deadline.is_some_and(|deadline| next > deadline) {
                return Err(error);
            }
            tokio::time::sleep_until(next).await;
            pause = (pause * 2).min(RETRY_WAIT_MAX);
        }
    }

    /// One try, whatever it costs.
    async fn try_append(&self, batch: &mut Batch) -> Result<(), BusError> {
        if let Some(why) = self.0.gate.closed() {
            return Err(why);
        }
        let (done, finished) = oneshot::channel();
        let records = std::mem::take(&mut batch.records);
        self.0.bus.append_async(
            Topic::Raw,
            records,
            Box::new(move |records, result| {
                // Nobody waits any more when the client has gone.
                done.send((records, result)).ok();
            }),
        );
        let Ok((records, result)) = finished.await else { return Err(BusError::Closed) };
        batch.records = records;
        result
    }

    fn try_append_blocking(&self, batch: &mut Batch) -> Result<(), BusError> {
        if let Some(why) = self.0.gate.closed() {
            return Err(why);
        }
        let (done, finished) = mpsc::sync_channel(1);
        let records = std::mem::take(&mut batch.records);
        // Not `append`: that waits while the bus is full, and could not be stopped.
        self.0.bus.append_async(
            Topic::Raw,
            records,
            Box::new(move |records, result| {
                done.send((records, result)).ok();
            }),
        );
        let Ok((records, result)) = finished.recv() else { return Err(BusError::Closed) };
        batch.records = records;
        result
    }

    fn units(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(ROOM_BYTES)).unwrap_or(u32::MAX).min(self.0.units_max)
    }

    fn full(&self) -> BusError {
        let used = (self.0.units_max as usize).saturating_sub(self.0.room.available_permits());
        BusError::Full {
            pending_bytes: used.saturating_mul(ROOM_BYTES),
            pending_bytes_max: self.0.limits.in_flight_bytes_max,
        }
    }
}

/// The label of an error in metrics.
pub(crate) fn reason(error: &BusError) -> &'static str {
    match error {
        BusError::Full { .. } => "full",
        BusError::Behind { .. } => "behind",
        BusError::RecordTooLarge { .. } => "too_large",
        _ => "unavailable",
    }
}

/// Two batches of a listener: one fills while the other becomes durable. So under load each sync
/// carries as many records as came since the last. With each goes what its sender is answered once
/// it is durable.
pub(crate) struct Relay {
    intake: Intake,
    listener: &'static str,
    filling: Load,
    filling_bytes_max: usize,
    spare: Load,
    flying: Option<JoinHandle<(Load, Result<(), BusError>)>>,
    /// Answers to what is durable.
    ready: Vec<u8>,
    gathered: u64,
}

#[derive(Default)]
struct Load {
    batch: Batch,
    answers: Vec<u8>,
}

impl Relay {
    pub(crate) fn new(intake: Intake, listener: &'static str, filling_bytes_max: usize) -> Self {
        Relay {
            intake,
            listener,
            filling: Load::default(),
            filling_bytes_max,
            spare: Load::default(),
            flying: None,
            ready: Vec::new(),
            gathered: 0,
        }
    }

    /// Adds a record, also when it is full: a frame that was read must go somewhere.
    pub(crate) fn push(&mut self, record: &RawRecord<'_>) {
        self.filling.batch.push(record);
        self.gathered += 1;
    }

    /// How many records were ever added.
    pub(crate) fn gathered(&self) -> u64 {
        self.gathered
    }

    /// Adds an answer for when all that was added before is durable.
    pub(crate) fn answer(&mut self, bytes: &[u8]) {
        if self.flying.is_none() && self.filling.batch.is_empty() {
            self.ready.extend_from_slice(bytes);
        } else {
            self.filling.answers.extend_from_slice(bytes);
        }
    }

    /// The answers that may be sent now.
    pub(crate) fn ready(&mut self) -> Option<Vec<u8>> {
        (!self.ready.is_empty()).then(|| std::mem::take(&mut self.ready))
    }

    pub(crate) fn is_full(&self) -> bool {
        self.filling.batch.bytes_len() + self.filling.answers.len() >= self.filling_bytes_max
    }

    pub(crate) fn is_flying(&self) -> bool {
        self.flying.is_some()
    }

    /// Sends off what was gathered, if nothing is under way.
    pub(crate) fn start(&mut self) {
        if self.flying.is_some() {
            return;
        }
        if self.filling.batch.is_empty() {
            self.ready.append(&mut self.filling.answers);
            return;
        }
        let mut load = std::mem::replace(&mut self.filling, std::mem::take(&mut self.spare));
        let (intake, listener) = (self.intake.clone(), self.listener);
        self.flying = Some(tokio::spawn(async move {
            let result = intake.append(&mut load.batch, listener, WhenFull::Wait).await;
            (load, result)
        }));
    }

    /// Waits until what is under way is durable; for ever if nothing is. An error means that its
    /// records are lost, which is counted; nothing can be appended any more then. Can be dropped
    /// and called again.
    pub(crate) async fn landed(&mut self) -> Result<(), BusError> {
        let Some(flying) = &mut self.flying else { return pending().await };
        let landed = flying.await;
        self.flying = None;
        let (mut load, result) = landed.map_err(|_| BusError::Closed)?;
        match &result {
            Ok(()) => self.ready.append(&mut load.answers),
            Err(error) => self.dropped(load.batch.len(), error),
        }
        load.batch.clear();
        load.answers.clear();
        self.spare = load;
        result
    }

    /// Takes out what was gathered and answered, for a connection that is only rehearsed.
    pub(crate) fn take(&mut self, answers: &mut Vec<u8>, each: &mut dyn FnMut(RecordRef<'_>)) {
        self.filling.batch.records.iter().for_each(each);
        self.filling.batch.clear();
        answers.append(&mut self.ready);
        answers.append(&mut self.filling.answers);
    }

    /// Makes all of it durable, and returns the answers that are left.
    pub(crate) async fn flush(&mut self) -> Result<Vec<u8>, BusError> {
        let mut result = Ok(());
        while result.is_ok() {
            self.start();
            if self.flying.is_none() {
                return Ok(std::mem::take(&mut self.ready));
            }
            result = self.landed().await;
        }
        if let Err(error) = &result {
            self.dropped(self.filling.batch.len(), error);
            self.filling = Load::default();
        }
        result.map(|()| Vec::new())
    }

    fn dropped(&self, count: usize, error: &BusError) {
        let labels = [self.listener, reason(error)];
        metrics::DROPPED.with_label_values(&labels).inc_by(count as u64);
        if count > 0 {
            tracing::error!(%error, listener = self.listener, records = count, "records lost");
        }
    }
}
