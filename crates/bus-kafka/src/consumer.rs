//! A member of a consumer group whose commits are transactions.
//!
//! What a commit is fenced by is the generation of the group under which its partitions were given
//! to us. It is taken when the assignment is told, and never afterwards: the client joins again in
//! the background, and a newer generation may belong to partitions that are no longer ours.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bus::{
    Batch, BusError, Consumer, Gap, GapReason, Offset, Output, Partition, PollLimits, Polled,
    Records, StateReader, Topic, backend,
};
use event::Timestamp;
use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{
    BaseConsumer, CommitMode, Consumer as _, ConsumerContext, ConsumerGroupMetadata,
    RebalanceProtocol,
};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message};
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;

use crate::append::{base_record, headers, partition};
use crate::bus::Shared;
use crate::client::{Events, lock, milliseconds};
use crate::error::bus_error;
use crate::positions::{Position, Positions, bus_offset, client_offset, list};
use crate::state::State;
use crate::topics::{create_state, existing, state_name};

const COMMITTING: &str = "committing";
const POLLING: &str = "polling";

/// How long a wait for the client is cut into, so that a closed bus is noticed.
const SLICE: Duration = Duration::from_millis(100);

/// How long to wait before a question that came too early is asked again.
const AGAIN: Duration = Duration::from_millis(10);

/// A member of a group.
pub(crate) struct KafkaConsumer {
    shared: Arc<Shared>,
    group: String,
    /// Our place among the members of this process.
    place: usize,
    /// `None` only while it is dropped.
    client: Option<BaseConsumer<Membership>>,
    producer: Option<BaseProducer<Events>>,
    assignment: Vec<(Topic, Partition)>,
    positions: Positions,
    gaps: Vec<Gap>,
    /// Taken when the assignment was told.
    generation: Option<ConsumerGroupMetadata>,
    state: State,
    has_state_topic: bool,
    /// The form in which a record goes into a batch.
    scratch: Records,
    turn: u32,
}

impl KafkaConsumer {
    pub(crate) fn join(
        shared: Arc<Shared>,
        group: &str,
        topics: &[Topic],
    ) -> Result<Self, BusError> {
        let place = shared.take_place(group);
        let joined = Self::client(&shared, group, place, topics);
        let client = joined.inspect_err(|_| shared.give_place_back(group, place))?;
        Ok(KafkaConsumer {
            group: group.to_owned(),
            place,
            client: Some(client),
            producer: None,
            assignment: Vec::new(),
            positions: Positions::new(),
            gaps: Vec::new(),
            generation: None,
            state: State::default(),
            has_state_topic: false,
            scratch: Records::new(),
            turn: 0,
            shared,
        })
    }

    fn client(
        shared: &Shared,
        group: &str,
        place: usize,
        topics: &[Topic],
    ) -> Result<BaseConsumer<Membership>, BusError> {
        let settings = &shared.settings;
        let member = format!("{}-{group}-{place}", settings.instance);
        let mut config = settings.reader(&format!("{group}-{place}"), &shared.group_name(group));
        let mut set = |name: &str, value: &str| {
            if !settings.client.contains_key(name) {
                config.set(name, value);
            }
        };
        set("group.instance.id", &member);
        set("partition.assignment.strategy", "cooperative-sticky");
        set("session.timeout.ms", &milliseconds(settings.session_timeout));
        set("heartbeat.interval.ms", &milliseconds(settings.session_timeout / 6));
        let batch_timeout = settings.batch_timeout.max(settings.session_timeout);
        set("max.poll.interval.ms", &milliseconds(batch_timeout));
        let client: BaseConsumer<Membership> = config
            .create_with_context(Membership::default())
            .map_err(|error| bus_error("making a client", &error))?;
        let names: Vec<&str> = topics.iter().map(|topic| shared.names.of(*topic)).collect();
        client.subscribe(&names).map_err(|error| bus_error("joining a group", &error))?;
        Ok(client)
    }

    fn membership(&self) -> &BaseConsumer<Membership> {
        self.client.as_ref().expect("it is there until the drop")
    }

    /// Takes over what the group dealt us, if it dealt anew. True if it did.
    fn take_over(&mut self) -> Result<bool, BusError> {
        if !lock(&self.membership().context().dealt).is_new {
            return Ok(false);
        }
        let assigned = self
            .membership()
            .assignment()
            .map_err(|error| bus_error("asking for our partitions", &error))?;
        let names = &self.shared.names;
        let mut assignment: Vec<(Topic, Partition)> = assigned
            .elements()
            .iter()
            .filter_map(|element| {
                Some((names.topic(element.topic())?, Partition(element.partition() as u32)))
            })
            .collect();
        assignment.sort_unstable();
        self.assignment = assignment;
        self.positions.clear();
        self.gaps.clear();
        self.go_to_committed()?;
        self.load_state()?;
        let mut dealt =
            lock(&self.client.as_ref().expect("it is there until the drop").context().dealt);
        self.generation = dealt.generation.take().or(self.generation.take());
        dealt.is_new = false;
        Ok(true)
    }

    /// Goes on reading where the group committed.
    fn go_to_committed(&mut self) -> Result<(), BusError> {
        const DOING: &str = "reading our offsets";
        if self.assignment.is_empty() {
            return Ok(());
        }
        let all = self.assignment.iter().map(|place| (*place, rdkafka::Offset::Invalid));
        let asked = list(&self.shared.names, all)?;
        let timeout = self.shared.settings.request_timeout;
        let told = self
            .membership()
            .committed_offsets(asked, timeout)
            .map_err(|error| bus_error(DOING, &error))?;
        let mut positions = Positions::new();
        for element in told.elements() {
            element.error().map_err(|error| bus_error(DOING, &error))?;
            let Some(topic) = self.shared.names.topic(element.topic()) else { continue };
            let next = match element.offset() {
                rdkafka::Offset::Offset(offset) => bus_offset(offset),
                _ => Offset(0),
            };
            let place = (topic, Partition(element.partition() as u32));
            positions.insert(place, Position { next, is_moved: false });
        }
        self.positions = positions;
        self.skip_what_is_gone()?;
        self.seek_all()
    }

    /// Moves positions that do not exist any more to the first that does, and remembers the gap.
    fn skip_what_is_gone(&mut self) -> Result<(), BusError> {
        for (&(topic, partition), position) in &mut self.positions {
            let (begin, end) = self.shared.watermarks(topic, partition)?;
            let first = position.next;
            if first < begin {
                *position = Position { next: begin, is_moved: true };
                let reason = GapReason::Retention;
                let gap = Gap { topic, partition, first, next: begin, reason };
                backend::report_gap(&self.group, &gap);
                self.gaps.push(gap);
            } else if first > end {
                tracing::error!(group = self.group, %topic, %partition, %first, %end,
                    "the partition ends before what was read of it; it was made anew or the cluster lost records. Reading it from its beginning");
                *position = Position { next: begin, is_moved: true };
            }
        }
        Ok(())
    }

    /// Makes the client read from our positions.
    fn seek_all(&self) -> Result<(), BusError> {
        let offsets = self.positions.iter().map(|(place, at)| (*place, client_offset(at.next)));
        self.seek_to(&list(&self.shared.names, offsets)?)
    }

    /// Makes the client read from these offsets.
    fn seek_to(&self, to: &TopicPartitionList) -> Result<(), BusError> {
        const DOING: &str = "going to an offset";
        let timeout = self.shared.settings.request_timeout;
        let deadline = Instant::now() + timeout;
        loop {
            let sought = self.membership().seek_partitions(to.clone(), timeout);
            let failed = match sought {
                Ok(told) => told.elements().iter().find_map(|element| element.error().err()),
                Err(error) => Some(error),
            };
            let Some(error) = failed else { break };
            if Instant::now() >= deadline {
                return Err(bus_error(DOING, &error));
            }
            // The client has not begun with the partition yet.
            std::thread::sleep(AGAIN);
        }
        self.membership().resume(to).map_err(|error| bus_error(DOING, &error))
    }

    fn load_state(&mut self) -> Result<(), BusError> {
        let assigned: BTreeSet<Partition> = self.assignment.iter().map(|(_, p)| *p).collect();
        self.state.retain(&assigned);
        let missing = self.state.missing(&assigned);
        if missing.is_empty() {
            return Ok(());
        }
        let settings = &self.shared.settings;
        let name = state_name(&settings.prefix, &self.group);
        if !self.has_state_topic {
            let metadata = self.shared.asking.fetch_metadata(None, settings.request_timeout);
            let metadata = metadata.map_err(|error| bus_error("reading metadata", &error))?;
            self.has_state_topic = existing(&metadata).contains_key(&name);
        }
        if self.has_state_topic {
            self.state.load(settings, &name, &missing)
        } else {
            self.state.add_empty(&missing);
            Ok(())
        }
    }

    /// Puts a message into the batch. False if it is none of ours.
    fn place_in(&mut self, message: &BorrowedMessage<'_>, batch: &mut Batch) -> bool {
        let Some(topic) = self.shared.names.topic(message.topic()) else { return false };
        let partition = Partition(message.partition() as u32);
        let offset = bus_offset(message.offset());
        let Some(position) = self.positions.get_mut(&(topic, partition)) else { return false };
        if offset < position.next {
            return false;
        }
        *position = Position { next: Offset(offset.0 + 1), is_moved: true };
        self.scratch.clear();
        let headers = readable_headers(message);
        let key = message.key().unwrap_or_default();
        self.scratch.push(key, &headers, message.payload().unwrap_or_default());
        let millis = message.timestamp().to_millis().unwrap_or_default();
        let timestamp = Timestamp::from_millis(millis);
        if let Some(record) = self.scratch.iter().next() {
            batch.push(topic, partition, offset, timestamp, record);
        }
        true
    }

    /// The transactional producer, made at the first commit that needs it. Making it ends what an
    /// earlier process under our name left unfinished.
    fn producer(&mut self) -> Result<&BaseProducer<Events>, BusError> {
        const DOING: &str = "beginning transactions";
        if self.producer.is_none() {
            let settings = &self.shared.settings;
            let (group, place) = (&self.group, self.place);
            let mut config = settings.producer(&format!("{group}-{place}-commit"));
            let id = format!("{}{}-{group}-{place}", settings.prefix, settings.instance);
            config.set("transactional.id", &id);
            let timeout = milliseconds(settings.transaction_timeout);
            config.set("transaction.timeout.ms", &timeout);
            // A delivery must not outlive its transaction.
            config.set("delivery.timeout.ms", &timeout);
            let producer: BaseProducer<Events> = config
                .create_with_context(Events::default())
                .map_err(|error| bus_error("making a client", &error))?;
            producer
                .init_transactions(settings.connect_timeout)
                .map_err(|error| bus_error(DOING, &error))?;
            self.producer = Some(producer);
        }
        Ok(self.producer.as_ref().expect("it was just made"))
    }

    /// One transaction, from its begin to its end.
    fn transact(&mut self, output: &Output, offsets: &TopicPartitionList) -> Result<(), Aborted> {
        let turn = self.turn;
        let shared = Arc::clone(&self.shared);
        let state_topic = state_name(&shared.settings.prefix, &self.group);
        self.producer().map_err(Aborted::Bus)?;
        let producer = self.producer.as_ref().expect("it was just made");
        let generation = self.generation.as_ref().ok_or(Aborted::Fenced)?;
        producer.begin_transaction().map_err(Aborted::Client)?;
        for topic in Topic::ALL {
            let partitions = shared.partitions[topic.index()];
            for record in output.records(topic).iter() {
                let partition = partition(record.key, partitions, turn);
                let to =
                    base_record(shared.names.of(topic), partition, &record, headers(record), ());
                producer.send(to).map_err(|(error, _)| Aborted::Client(error))?;
            }
        }
        for change in output.state() {
            let mut to = rdkafka::producer::BaseRecord::<[u8], [u8]>::to(&state_topic)
                .partition(change.partition.0 as i32)
                .key(change.key.as_slice());
            to.payload = change.value.as_deref();
            producer.send(to).map_err(|(error, _)| Aborted::Client(error))?;
        }
        if offsets.count() > 0 {
            let timeout = shared.settings.request_timeout;
            let deadline = Instant::now() + shared.settings.transaction_timeout;
            retried(deadline, || {
                producer.send_offsets_to_transaction(offsets, generation, timeout)
            })?;
        }
        // It may be done although its answer is lost; the client asks again until it knows.
        let deadline = Instant::now() + shared.settings.transaction_timeout * 2;
        retried(deadline, || producer.commit_transaction(shared.settings.transaction_timeout))
    }

    /// Clears up after a transaction that did not end well. What became of it is settled before the
    /// group's offsets are read again: by the abort, or by the next producer under our name.
    fn aborted(&mut self, aborted: Aborted) -> BusError {
        let error = match aborted {
            Aborted::Bus(error) => return error,
            Aborted::Fenced => return BusError::Fenced { group: self.group.clone() },
            Aborted::Client(error) => error,
        };
        // Whatever the copy in memory says, the cluster may know better now.
        self.state.forget();
        let timeout = self.shared.settings.request_timeout;
        let is_fatal = matches!(&error, KafkaError::Transaction(error) if error.is_fatal());
        let is_clean = !is_fatal
            && self.producer.as_ref().is_some_and(|producer| {
                let aborted = producer.abort_transaction(timeout);
                aborted.inspect_err(|error| tracing::debug!(%error, "aborting")).is_ok()
            });
        if !is_clean {
            self.producer = None;
        }
        match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::IllegalGeneration
                | RDKafkaErrorCode::UnknownMemberId
                | RDKafkaErrorCode::RebalanceInProgress
                | RDKafkaErrorCode::FencedInstanceId,
            ) => {
                // Ours again only once the group says so.
                lock(&self.membership().context().dealt).is_new = true;
                BusError::Fenced { group: self.group.clone() }
            }
            _ => bus_error(COMMITTING, &error),
        }
    }

    fn try_commit(&mut self, output: &mut Output) -> Result<(), BusError> {
        let foreign = output
            .state()
            .iter()
            .find(|change| !self.assignment.iter().any(|(_, p)| *p == change.partition));
        if let Some(change) = foreign {
            let partition = change.partition;
            return Err(BusError::ForeignState { group: self.group.clone(), partition });
        }
        for topic in Topic::ALL {
            backend::too_large(
                topic,
                output.records(topic),
                self.shared.settings.record_bytes_max,
            )?;
        }
        self.shared.check_open()?;
        let moved = self.positions.iter().filter(|(_, position)| position.is_moved);
        let offsets = moved.map(|(place, position)| (*place, client_offset(position.next)));
        let offsets = list(&self.shared.names, offsets)?;
        if offsets.count() == 0 && output.is_empty() {
            return Ok(());
        }
        if self.membership().assignment_lost() {
            return Err(BusError::Fenced { group: self.group.clone() });
        }
        if output.is_empty() {
            self.commit_offsets(&offsets)?;
        } else {
            if !output.state().is_empty() && !self.has_state_topic {
                let settings = &self.shared.settings;
                let partitions = self.shared.partitions.iter().copied().max().unwrap_or(1);
                if settings.create_topics {
                    create_state(settings, &state_name(&settings.prefix, &self.group), partitions)?;
                }
                self.has_state_topic = true;
            }
            self.transact(output, &offsets).map_err(|aborted| self.aborted(aborted))?;
            self.turn = self.turn.wrapping_add(1);
        }
        for change in output.state() {
            self.state.apply(change.partition, &change.key, change.value.as_deref());
        }
        for topic in Topic::ALL {
            backend::count_appended(topic, output.records(topic));
        }
        output.clear();
        self.positions.values_mut().for_each(|position| position.is_moved = false);
        Ok(())
    }

    /// Commits offsets that nothing else belongs to: the group's own fencing is enough.
    fn commit_offsets(&self, offsets: &TopicPartitionList) -> Result<(), BusError> {
        self.membership().commit(offsets, CommitMode::Sync).map_err(|error| {
            match error.rdkafka_error_code() {
                Some(
                    RDKafkaErrorCode::IllegalGeneration
                    | RDKafkaErrorCode::UnknownMemberId
                    | RDKafkaErrorCode::RebalanceInProgress,
                ) => BusError::Fenced { group: self.group.clone() },
                _ => bus_error(COMMITTING, &error),
            }
        })
    }
}

impl Consumer for KafkaConsumer {
    fn poll(&mut self, limits: &PollLimits, batch: &mut Batch) -> Result<Polled, BusError> {
        batch.clear();
        let deadline = Instant::now() + limits.wait;
        loop {
            self.shared.check_open()?;
            if self.take_over()? {
                batch.clear();
                return Ok(Polled::Reassigned);
            }
            for gap in self.gaps.drain(..) {
                batch.push_gap(gap);
            }
            let has_some = !batch.is_empty() || !batch.gaps().is_empty();
            let is_enough = !batch.is_empty()
                && (batch.len() >= limits.records_max || batch.bytes_len() >= limits.bytes_max);
            if is_enough {
                return Ok(Polled::Records);
            }
            // What is there already is taken; for the first record it waits.
            let left = deadline.saturating_duration_since(Instant::now());
            let wait = if has_some { Duration::ZERO } else { left.min(SLICE) };
            let client = self.client.take().expect("it is there until the drop");
            let polled = match client.poll(wait) {
                Some(Ok(message)) => {
                    self.place_in(&message, batch);
                    Ok(true)
                }
                Some(Err(error)) => Err(error),
                None => Ok(false),
            };
            self.client = Some(client);
            match polled {
                Ok(true) => {}
                Ok(false) if lock(&self.membership().context().dealt).is_new => {}
                Ok(false) if has_some => return Ok(Polled::Records),
                Ok(false) if left.is_zero() => return Ok(Polled::Nothing),
                Ok(false) => {}
                Err(error) => match error.rdkafka_error_code() {
                    Some(
                        RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange,
                    ) => {
                        self.skip_what_is_gone()?;
                        self.seek_all()?;
                    }
                    Some(RDKafkaErrorCode::FencedInstanceId) => {
                        return Err(bus_error(POLLING, &error));
                    }
                    Some(
                        RDKafkaErrorCode::UnknownTopicOrPartition
                        | RDKafkaErrorCode::TopicAuthorizationFailed
                        | RDKafkaErrorCode::GroupAuthorizationFailed,
                    ) => return Err(bus_error(POLLING, &error)),
                    // A broker that is gone comes back, and the client goes on by itself.
                    _ => tracing::debug!(group = self.group, %error, POLLING),
                },
            }
        }
    }

    fn commit(&mut self, output: &mut Output) -> Result<(), BusError> {
        self.try_commit(output).inspect_err(backend::count_refused)
    }

    fn assignment(&self) -> &[(Topic, Partition)] {
        &self.assignment
    }

    fn seek(&mut self, topic: Topic, partition: Partition, offset: Offset) -> Result<(), BusError> {
        let position = self
            .positions
            .get_mut(&(topic, partition))
            .ok_or(BusError::NoPartition { topic, partition })?;
        *position = Position { next: offset, is_moved: true };
        self.skip_what_is_gone()?;
        let next = self.positions.get(&(topic, partition)).map_or(offset, |at| at.next);
        self.seek_to(&list(&self.shared.names, [((topic, partition), client_offset(next))])?)
    }

    fn rewind(&mut self) -> Result<(), BusError> {
        self.shared.check_open()?;
        self.gaps.clear();
        // An unfinished transaction would keep our offsets from being told.
        if self.producer.is_none() && self.generation.is_some() {
            self.producer()?;
        }
        self.go_to_committed()?;
        self.load_state()
    }

    fn state(&self) -> &dyn StateReader {
        &self.state
    }
}

impl Drop for KafkaConsumer {
    fn drop(&mut self) {
        // Before the place is given back: two clients under one name would fence each other.
        self.producer = None;
        self.client = None;
        self.shared.give_place_back(&self.group, self.place);
    }
}

/// Why a transaction did not come to its end.
enum Aborted {
    /// Before it began.
    Bus(BusError),
    /// There is no generation to commit under.
    Fenced,
    /// On the way.
    Client(KafkaError),
}

/// Calls until the client says that calling again is of no use.
fn retried(
    deadline: Instant,
    mut call: impl FnMut() -> Result<(), KafkaError>,
) -> Result<(), Aborted> {
    loop {
        match call() {
            Ok(()) => return Ok(()),
            Err(KafkaError::Transaction(error))
                if error.is_retriable() && Instant::now() < deadline =>
            {
                std::thread::sleep(AGAIN);
            }
            Err(error) => return Err(Aborted::Client(error)),
        }
    }
}

/// The headers that can be read. The client library panics at a name that is not UTF-8, which only a
/// foreign sender writes; such a header is left out.
fn readable_headers<'m>(message: &'m BorrowedMessage<'_>) -> Vec<(&'m str, &'m [u8])> {
    let Some(headers) = message.headers() else { return Vec::new() };
    let mut readable = Vec::with_capacity(headers.count());
    let mut bytes = 0;
    for index in 0..headers.count() {
        let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| headers.get(index)));
        let Ok(header) = read else {
            tracing::warn!(
                topic = message.topic(),
                offset = message.offset(),
                "a header's name is not UTF-8; the header is left out"
            );
            continue;
        };
        let value = header.value.unwrap_or_default();
        bytes += header.key.len() + value.len();
        if bytes > bus::HEADERS_MAX {
            tracing::warn!(
                topic = message.topic(),
                offset = message.offset(),
                "the headers of a record are over the limit; those beyond it are left out"
            );
            break;
        }
        readable.push((header.key, value));
    }
    readable
}

/// What the group tells its member.
#[derive(Default)]
struct Membership {
    events: Events,
    dealt: Mutex<Dealt>,
}

#[derive(Default)]
struct Dealt {
    /// Whether the assignment changed since it was taken over.
    is_new: bool,
    was_told: bool,
    generation: Option<ConsumerGroupMetadata>,
}

impl ClientContext for Membership {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.events.log(level, facility, message);
    }

    fn stats(&self, statistics: Statistics) {
        self.events.stats(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.events.error(error, reason);
    }
}

impl ConsumerContext for Membership {
    fn rebalance(
        &self,
        client: &BaseConsumer<Self>,
        kind: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let is_assign = kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        let is_eager = matches!(client.rebalance_protocol(), RebalanceProtocol::Eager);
        let changed = if is_assign {
            // Paused, and from the beginning: where to read is decided when it is taken over.
            let from_beginning = partitions.set_all_offsets(rdkafka::Offset::Beginning);
            let assigned = from_beginning.and_then(|()| match is_eager {
                true => client.assign(partitions),
                false => client.incremental_assign(partitions),
            });
            assigned.and_then(|()| client.pause(partitions))
        } else if is_eager {
            client.unassign()
        } else {
            client.incremental_unassign(partitions)
        };
        if let Err(error) = changed {
            tracing::error!(%error, "the group's new assignment was not accepted");
        }
        let mut dealt = lock(&self.dealt);
        if is_assign {
            dealt.generation = client.group_metadata().filter(|_| !client.assignment_lost());
        }
        // An assignment without change has a new generation and nothing else.
        dealt.is_new |= partitions.count() > 0 || !dealt.was_told;
        dealt.was_told = true;
    }
}
