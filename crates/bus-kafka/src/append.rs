//! Appends: idempotent produce, answered when the last record of an append is on the brokers.
//!
//! One producer for the whole process, with a thread that takes delivery reports. What is accepted
//! and not yet acknowledged is bounded by bytes; beyond that an append waits, or is told
//! [`BusError::Full`].

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use bus::{BusError, OnDone, RecordRef, Records, Topic, backend, partition_of_key};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::statistics::Statistics;

use crate::Settings;
use crate::client::{Events, lock};
use crate::error::{bus_error, is_too_large, too_large};
use crate::topics::Names;

const DOING: &str = "appending";

/// How long a close waits for what was accepted.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// The producer of appends.
pub(crate) struct Appends {
    settings: Settings,
    producer: Mutex<Arc<ThreadedProducer<Reports>>>,
    /// Producers that were replaced and still have records on their way.
    replaced: Mutex<Vec<Arc<ThreadedProducer<Reports>>>>,
    names: Names,
    partitions: [u32; Topic::ALL.len()],
    pending: Arc<Pending>,
    is_closed: AtomicBool,
    /// Where the next append without keys goes.
    turn: AtomicU32,
}

/// How many bytes are accepted and not yet acknowledged.
struct Pending {
    bytes: Mutex<usize>,
    bytes_max: usize,
    less: Condvar,
}

/// One append on its way.
struct Job {
    topic: Topic,
    bytes: usize,
    /// Records without an answer yet.
    left: AtomicUsize,
    failed: Mutex<Option<BusError>>,
    end: Mutex<Option<(Records, OnDone)>>,
    pending: Arc<Pending>,
}

impl Appends {
    pub(crate) fn new(
        settings: &Settings,
        names: Names,
        partitions: [u32; Topic::ALL.len()],
    ) -> Result<Self, BusError> {
        Ok(Appends {
            settings: settings.clone(),
            producer: Mutex::new(Arc::new(make(settings)?)),
            replaced: Mutex::default(),
            names,
            partitions,
            pending: Arc::new(Pending {
                bytes: Mutex::new(0),
                bytes_max: settings.pending_bytes_max.max(settings.record_bytes_max),
                less: Condvar::new(),
            }),
            is_closed: AtomicBool::new(false),
            turn: AtomicU32::new(0),
        })
    }

    /// Appends and waits.
    pub(crate) fn append(&self, topic: Topic, records: &mut Records) -> Result<(), BusError> {
        self.check(topic, records).inspect_err(backend::count_refused)?;
        if records.is_empty() {
            return Ok(());
        }
        self.pending.wait_for(records.bytes_len(), &self.is_closed)?;
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let done = move |records, result| drop(sender.send((records, result)));
        self.send(topic, std::mem::take(records), Box::new(done));
        let (returned, result) = loop {
            match receiver.recv_timeout(self.settings.request_timeout) {
                Ok(end) => break end,
                // One that is cut off is replaced for those who come after; what it has is answered
                // when its time is over.
                Err(RecvTimeoutError::Timeout) => drop(self.producer()?),
                Err(RecvTimeoutError::Disconnected) => return Err(BusError::Closed),
            }
        };
        *records = returned;
        result.inspect_err(backend::count_refused)
    }

    /// Appends without waiting.
    pub(crate) fn append_async(&self, topic: Topic, records: Records, done: OnDone) {
        let accepted = self.check(topic, &records).and_then(|()| {
            if records.is_empty() { Ok(()) } else { self.pending.take(records.bytes_len()) }
        });
        match accepted {
            Ok(()) if records.is_empty() => done(records, Ok(())),
            Ok(()) => self.send(topic, records, done),
            Err(error) => {
                backend::count_refused(&error);
                done(records, Err(error));
            }
        }
    }

    /// Accepts nothing more, and waits for what was accepted.
    pub(crate) fn close(&self) {
        if !self.is_closed.swap(true, Ordering::AcqRel) {
            self.pending.less.notify_all();
            let producer = Arc::clone(&lock(&self.producer));
            if let Err(error) = producer.flush(CLOSE_TIMEOUT) {
                tracing::warn!(%error, "some appends had no answer when the bus was closed");
            }
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    fn check(&self, topic: Topic, records: &Records) -> Result<(), BusError> {
        if self.is_closed() {
            return Err(BusError::Closed);
        }
        backend::too_large(topic, records, self.settings.record_bytes_max)
    }

    /// The producer. One that is of no use any more is replaced: the cluster may have refused it for
    /// good, for a reason that is gone, or it has lost its brokers.
    fn producer(&self) -> Result<Arc<ThreadedProducer<Reports>>, BusError> {
        let mut producer = lock(&self.producer);
        let fatal = producer.client().fatal_error();
        if fatal.is_some() || producer.context().0.is_cut_off() {
            tracing::warn!(?fatal, "the producer of appends is of no use any more and made anew");
            let old = std::mem::replace(&mut *producer, Arc::new(make(&self.settings)?));
            let mut replaced = lock(&self.replaced);
            replaced.retain(|producer| producer.in_flight_count() > 0);
            replaced.push(old);
        }
        Ok(Arc::clone(&producer))
    }

    fn send(&self, topic: Topic, records: Records, done: OnDone) {
        let count = records.len();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let job = Arc::new(Job {
            topic,
            bytes: records.bytes_len(),
            // One for us, so that it cannot end while records are still handed over.
            left: AtomicUsize::new(count + 1),
            failed: Mutex::new(None),
            end: Mutex::new(None),
            pending: Arc::clone(&self.pending),
        });
        let partitions = self.partitions[topic.index()];
        let mut sent = 0;
        let mut send_all = || {
            let producer = self.producer()?;
            for record in records.iter() {
                let partition = partition(record.key, partitions, turn);
                let (name, headers) = (self.names.of(topic), headers(record));
                let to = base_record(name, partition, &record, headers, job.clone());
                producer.send(to).map_err(|(error, _)| bus_error(DOING, &error))?;
                sent += 1;
            }
            Ok(())
        };
        if let Err(error) = send_all() {
            job.fail(error);
        }
        *lock(&job.end) = Some((records, done));
        job.answered(count - sent + 1);
    }
}

impl Drop for Appends {
    fn drop(&mut self) {
        self.close();
    }
}

fn make(settings: &Settings) -> Result<ThreadedProducer<Reports>, BusError> {
    settings
        .producer("append")
        .create_with_context(Reports(Events::default()))
        .map_err(|error| bus_error("making a client", &error))
}

/// The partition of a record: by its key, else whichever's turn it is.
pub(crate) fn partition(key: &[u8], partitions: u32, turn: u32) -> i32 {
    let chosen = partition_of_key(key, partitions).map(|partition| partition.0);
    chosen.unwrap_or(turn % partitions.max(1)) as i32
}

/// The headers as the client wants them.
pub(crate) fn headers(record: RecordRef<'_>) -> Option<OwnedHeaders> {
    if record.headers.bytes_len() == 0 {
        return None;
    }
    // A name with a zero byte cannot be told to the client; none of ours has one.
    let headers = record.headers.iter().filter(|(name, _)| !name.contains('\0'));
    let mut owned = OwnedHeaders::new_with_capacity(8);
    for (key, value) in headers {
        owned = owned.insert(Header { key, value: Some(value) });
    }
    Some(owned)
}

/// A record for the client. An empty key is none.
pub(crate) fn base_record<'a, D: rdkafka::util::IntoOpaque>(
    topic: &'a str,
    partition: i32,
    record: &RecordRef<'a>,
    headers: Option<OwnedHeaders>,
    opaque: D,
) -> BaseRecord<'a, [u8], [u8], D> {
    let key = (!record.key.is_empty()).then_some(record.key);
    let mut to = BaseRecord::with_opaque_to(topic, opaque).partition(partition);
    to.key = key;
    to.payload = Some(record.value);
    to.headers = headers;
    to
}

impl Pending {
    /// Takes room, or says that there is none.
    fn take(&self, bytes: usize) -> Result<(), BusError> {
        let mut taken = lock(&self.bytes);
        if *taken > 0 && *taken + bytes > self.bytes_max {
            let pending_bytes = *taken;
            return Err(BusError::Full { pending_bytes, pending_bytes_max: self.bytes_max });
        }
        *taken += bytes;
        Ok(())
    }

    /// Takes room, and waits until there is some.
    fn wait_for(&self, bytes: usize, is_closed: &AtomicBool) -> Result<(), BusError> {
        let mut taken = lock(&self.bytes);
        loop {
            if is_closed.load(Ordering::Acquire) {
                return Err(BusError::Closed);
            }
            if *taken == 0 || *taken + bytes <= self.bytes_max {
                *taken += bytes;
                return Ok(());
            }
            taken = self.less.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn give_back(&self, bytes: usize) {
        *lock(&self.bytes) -= bytes;
        self.less.notify_all();
    }
}

impl Job {
    fn fail(&self, error: BusError) {
        lock(&self.failed).get_or_insert(error);
    }

    /// So many of its records have their answer. The last one ends it.
    fn answered(&self, records: usize) {
        if self.left.fetch_sub(records, Ordering::AcqRel) != records {
            return;
        }
        self.pending.give_back(self.bytes);
        let Some((mut records, done)) = lock(&self.end).take() else { return };
        match lock(&self.failed).take() {
            None => {
                backend::count_appended(self.topic, &records);
                records.clear();
                done(records, Ok(()));
            }
            Some(error) => done(records, Err(error)),
        }
    }
}

/// Takes delivery reports.
struct Reports(Events);

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn stats(&self, statistics: Statistics) {
        self.0.stats(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Arc<Job>;

    fn delivery(&self, result: &DeliveryResult<'_>, job: Arc<Job>) {
        if let Err((error, message)) = result {
            job.fail(match error.rdkafka_error_code() {
                _ if is_too_large(error) => too_large(message.topic()),
                // The library knows no more than that it took too long; the trouble before says why.
                Some(RDKafkaErrorCode::MessageTimedOut) => BusError::Unavailable {
                    doing: DOING,
                    reason: self.0.take_trouble().map_or_else(
                        || format!("no broker took a record of {}; is the topic there, and its brokers?", message.topic()),
                        |(_, why)| why,
                    ),
                },
                _ => bus_error(DOING, error),
            });
        }
        job.answered(1);
    }
}
