//! A member of a consumer group whose commits are transactions.
//!
//! What a commit is fenced by is the generation of the group under which its partitions were given
//! to us. It is taken when the assignment is told, and never afterwards: the client joins again in
//! the background, and a newer generation may belong to partitions that are no longer ours.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::{
    Batch, BusError, Consumer, Gap, GapReason, Offset, Output, Partition, PollLimits, Polled,
    Records, StateReader, Topic, backend,
};
use event::Timestamp;
use fail::fail_point;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message};
use rdkafka::producer::{BaseProducer, Producer};

use crate::append::{base_record, headers, partition};
use crate::bus::Shared;
use crate::client::{Events, STATISTICS_MS, lock, milliseconds};
use crate::error::{bus_error, is_denied, is_fenced, is_too_large, too_large};
use crate::membership::{Member, Membership};
use crate::positions::{Position, Positions, bus_offset, client_offset, list};
use crate::state::State;
use crate::topics::{self, create_state, existing, state_name};

const COMMITTING: &str = "committing";
const POLLING: &str = "polling";
const READING_OFFSETS: &str = "reading our offsets";

/// How long a wait for the client is cut into, so that a closed bus is noticed.
const SLICE: Duration = Duration::from_millis(100);

/// How long it takes at most, as a rule, until a transaction that is just ending has ended.
const DECIDED_SOON: Duration = Duration::from_secs(1);

/// A client that fails so often in a row may have lost its brokers for good.
const FAILURES_MAX: u32 = 5;

/// How long to take delivery reports at once.
const REPORTS: Duration = Duration::from_millis(1);

/// How long an abort waits before it is looked after.
const ABORT_SLICE: Duration = Duration::from_millis(50);

/// How long to wait before a question that came too early is asked again.
const AGAIN: Duration = Duration::from_millis(10);

/// A member of a group.
pub(crate) struct KafkaConsumer {
    shared: Arc<Shared>,
    group: String,
    topics: Vec<Topic>,
    /// Our place among the members of this process.
    place: usize,
    /// `None` while another process has our place, and until `rejoin_at`.
    client: Option<Arc<Member>>,
    rejoin_at: Instant,
    producer: Option<Arc<BaseProducer<Events>>>,
    assignment: Vec<(Topic, Partition)>,
    positions: Positions,
    gaps: Vec<Gap>,
    /// Taken when the assignment was told.
    generation: Option<Arc<ConsumerGroupMetadata>>,
    /// Whether what the caller has, or the client will bring next, may not follow from what is
    /// committed. Nothing is committed until it begins anew.
    is_astray: bool,
    /// How often in a row it could not begin anew.
    failures: u32,
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
        let joined = Self::client(&shared, group, topics, place);
        let client = joined.inspect_err(|_| shared.give_place_back(group, place))?;
        Ok(KafkaConsumer {
            group: group.to_owned(),
            topics: topics.to_vec(),
            place,
            client: Some(Arc::new(client)),
            rejoin_at: Instant::now(),
            producer: None,
            assignment: Vec::new(),
            positions: Positions::new(),
            gaps: Vec::new(),
            generation: None,
            is_astray: false,
            failures: 0,
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
        topics: &[Topic],
        place: usize,
    ) -> Result<Member, BusError> {
        let settings = &shared.settings;
        let instance = format!("{}-{place}", settings.instance);
        let mut config = settings.reader(&format!("{group}-{place}"), &shared.group_name(group));
        let mut set = |name: &str, value: &str| {
            if !settings.client.contains_key(name) {
                config.set(name, value);
            }
        };
        set("statistics.interval.ms", STATISTICS_MS);
        set("group.instance.id", &instance);
        set("partition.assignment.strategy", "cooperative-sticky");
        set("session.timeout.ms", &milliseconds(settings.session_timeout));
        set("heartbeat.interval.ms", &milliseconds(settings.session_timeout / 6));
        let batch_timeout = settings.batch_timeout.max(settings.session_timeout);
        set("max.poll.interval.ms", &milliseconds(batch_timeout));
        let client: BaseConsumer<Membership> = config
            .create_with_context(Membership::default())
            .map_err(|error| bus_error("making a client", &error))?;
        let names: Vec<&str> = topics.iter().map(|topic| shared.names.of(*topic)).collect();
        let member = Member(client);
        member.subscribe(&names).map_err(|error| bus_error("joining a group", &error))?;
        Ok(member)
    }

    /// Our membership in the group, if we have one now.
    fn membership(&self) -> Result<&Member, BusError> {
        self.client.as_deref().ok_or_else(|| BusError::Fenced { group: self.group.clone() })
    }

    /// Whether the group dealt anew and that is not taken over yet.
    fn is_dealt_anew(&self) -> bool {
        self.client.as_ref().is_some_and(|client| lock(&client.context().dealt).is_new)
    }

    /// Gives up a membership that cannot be used any more, and joins anew after a while.
    fn give_up(&mut self, pause: Duration) {
        self.client = None;
        self.producer = None;
        self.rejoin_at = Instant::now() + pause;
        self.failures = 0;
        self.assignment.clear();
        self.positions.clear();
        self.gaps.clear();
        self.generation = None;
        self.state.forget();
    }

    /// Takes over what the group dealt us, if it dealt anew, and begins anew if we went astray. True
    /// if the caller must begin anew too.
    fn take_over(&mut self) -> Result<bool, BusError> {
        let client = self.membership()?;
        let mut dealt = lock(&client.context().dealt);
        if !dealt.is_new && !self.is_astray {
            // The partitions that we had all the time, in a new generation.
            let generation = dealt.generation.take().map(Arc::new);
            drop(dealt);
            self.generation = generation.or(self.generation.take());
            return Ok(false);
        }
        drop(dealt);
        self.begin_anew()?;
        let mut dealt = lock(&self.membership()?.context().dealt);
        let generation = dealt.generation.take().map(Arc::new);
        dealt.is_new = false;
        drop(dealt);
        self.generation = generation.or(self.generation.take());
        Ok(true)
    }

    /// Goes on where the group committed, in the partitions that we have now, with the state as it
    /// was then. If that fails again and again, it is tried with another client.
    fn begin_anew(&mut self) -> Result<(), BusError> {
        let begun = self.try_begin_anew();
        match &begun {
            Ok(()) => self.failures = 0,
            Err(BusError::Closed) => {}
            Err(_) => self.failures += 1,
        }
        if self.failures >= FAILURES_MAX {
            tracing::warn!(group = self.group, "the member cannot begin anew and joins again");
            self.give_up(Duration::ZERO);
        }
        begun
    }

    fn try_begin_anew(&mut self) -> Result<(), BusError> {
        let Some(client) = &self.client else { return Ok(()) };
        self.is_astray = true;
        self.gaps.clear();
        let assigned =
            client.assignment().map_err(|error| bus_error("asking for our partitions", &error))?;
        let names = &self.shared.names;
        let ours = assigned.elements();
        let ours = ours.iter().filter_map(|element| {
            Some((names.topic(element.topic())?, Partition(element.partition() as u32)))
        });
        self.assignment = ours.collect();
        self.assignment.sort_unstable();
        self.go_to_committed()?;
        self.load_state()?;
        self.is_astray = false;
        Ok(())
    }

    /// Goes on reading where the group committed.
    fn go_to_committed(&mut self) -> Result<(), BusError> {
        if self.assignment.is_empty() {
            self.positions.clear();
            return Ok(());
        }
        let told = self.committed()?;
        let mut positions = Positions::new();
        for element in told.elements() {
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

    /// What the group committed. If that is being decided just now, it waits for it: a transaction
    /// of ours is ended, another's is soon over or ended by the cluster.
    fn committed(&mut self) -> Result<TopicPartitionList, BusError> {
        let shared = Arc::clone(&self.shared);
        let timeout = shared.settings.request_timeout;
        let deadline = Instant::now() + shared.settings.transaction_timeout * 2 + timeout;
        let all = self.assignment.iter().map(|place| (*place, rdkafka::Offset::Invalid));
        let asked = list(&shared.names, all)?;
        let mut patience = DECIDED_SOON.min(timeout);
        loop {
            shared.check_open()?;
            let told = self.membership()?.committed_offsets(asked.clone(), patience);
            let told = told.and_then(|told| {
                let failed = told.elements().iter().find_map(|element| element.error().err());
                failed.map_or(Ok(told), Err)
            });
            let error = match told {
                Ok(told) => return Ok(told),
                Err(error) => error,
            };
            // While it is undecided, the client asks again until the time is over.
            let is_undecided = matches!(
                error.rdkafka_error_code(),
                Some(RDKafkaErrorCode::OperationTimedOut | RDKafkaErrorCode::UnstableOffsetCommit)
            );
            if !is_undecided || Instant::now() >= deadline {
                return Err(bus_error(READING_OFFSETS, &error));
            }
            self.settle();
            patience = timeout;
        }
    }

    /// Ends what we, or an earlier process under our name, left unfinished.
    fn settle(&mut self) {
        if let Err(error) = self.producer() {
            tracing::debug!(group = self.group, %error, "an open transaction is left to the cluster");
        }
    }

    /// Moves positions that do not exist any more to the first that does, and remembers the gap.
    fn skip_what_is_gone(&mut self) -> Result<(), BusError> {
        for (place, position) in self.positions.clone() {
            let position = self.existing(place, position)?;
            self.positions.insert(place, position);
        }
        Ok(())
    }

    /// A position, or the first that exists if that one does not any more; then the gap is told.
    fn existing(
        &mut self,
        (topic, partition): (Topic, Partition),
        position: Position,
    ) -> Result<Position, BusError> {
        let (begin, end) = self.shared.watermarks(topic, partition)?;
        let first = position.next;
        if first < begin {
            let reason = GapReason::Retention;
            self.tell_gap(Gap { topic, partition, first, next: begin, reason });
            return Ok(Position { next: begin, is_moved: true });
        }
        if first > end {
            tracing::error!(group = self.group, %topic, %partition, %first, %end,
                "the partition ends before what was read of it; it was made anew or the cluster lost records. Reading it from its beginning");
            return Ok(Position { next: begin, is_moved: true });
        }
        Ok(position)
    }

    fn tell_gap(&mut self, gap: Gap) {
        backend::report_gap(&self.group, &gap);
        self.gaps.push(gap);
    }

    /// Makes the client read from our positions.
    fn seek_all(&self) -> Result<(), BusError> {
        let offsets = self.positions.iter().map(|(place, at)| (*place, client_offset(at.next)));
        self.seek_to(&list(&self.shared.names, offsets)?)
    }

    /// Makes the client read from these offsets.
    fn seek_to(&self, to: &TopicPartitionList) -> Result<(), BusError> {
        const DOING: &str = "going to an offset";
        let client = self.membership()?;
        let timeout = self.shared.settings.request_timeout;
        let deadline = Instant::now() + timeout;
        loop {
            let sought = client.seek_partitions(to.clone(), timeout);
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
        client.resume(to).map_err(|error| bus_error(DOING, &error))
    }

    fn load_state(&mut self) -> Result<(), BusError> {
        let assigned: BTreeSet<Partition> = self.assignment.iter().map(|(_, p)| *p).collect();
        self.state.retain(&assigned);
        let missing = self.state.missing(&assigned);
        let Some(last) = missing.last() else { return Ok(()) };
        let shared = Arc::clone(&self.shared);
        let settings = &shared.settings;
        let name = state_name(&settings.prefix, &self.group);
        let metadata = shared.metadata()?;
        match existing(&metadata).get(&name) {
            Some(partitions) if last.0 >= *partitions => {
                return Err(BusError::Misconfigured {
                    reason: format!(
                        "the topic {name} has {partitions} partitions, and the stage reads partition {last}; give it as many as its inputs have"
                    ),
                });
            }
            Some(_) => self.has_state_topic = true,
            None if self.has_state_topic => {}
            None => {
                self.has_state_topic = settings.create_topics && topics::exists(settings, &name)?;
            }
        }
        if self.has_state_topic {
            // What an earlier process left open would be waited for.
            self.settle();
            self.state.load(settings, &name, &missing)
        } else {
            self.state.add_empty(&missing);
            Ok(())
        }
    }

    /// Puts a message into the batch, if it is the next of one of our partitions.
    fn place_in(&mut self, message: &BorrowedMessage<'_>, batch: &mut Batch) {
        let Some(topic) = self.shared.names.topic(message.topic()) else { return };
        let partition = Partition(message.partition() as u32);
        let offset = bus_offset(message.offset());
        let Some(position) = self.positions.get_mut(&(topic, partition)) else { return };
        if offset < position.next {
            return;
        }
        *position = Position { next: Offset(offset.0 + 1), is_moved: true };
        self.scratch.clear();
        let headers = readable_headers(message);
        let key = message.key().unwrap_or_default();
        self.scratch.push(key, &headers, message.payload().unwrap_or_default());
        let settings = &self.shared.settings;
        if let Err(error) = backend::too_large(topic, &self.scratch, settings.record_bytes_max) {
            // Only a foreign sender can do that. No stage could pass it on, not even to `rejected`.
            let reason = GapReason::Corrupt(error.to_string());
            let next = Offset(offset.0 + 1);
            self.tell_gap(Gap { topic, partition, first: offset, next, reason });
            return;
        }
        let millis = message.timestamp().to_millis().unwrap_or_default();
        let timestamp = Timestamp::from_millis(millis);
        if let Some(record) = self.scratch.iter().next() {
            batch.push(topic, partition, offset, timestamp, record);
        }
    }

    /// The transactional producer, made when it is first needed. Making it ends what an earlier one
    /// under our name left unfinished.
    fn producer(&mut self) -> Result<&Arc<BaseProducer<Events>>, BusError> {
        const DOING: &str = "beginning transactions";
        if self.producer.is_none() {
            let settings = &self.shared.settings;
            let (group, place) = (&self.group, self.place);
            let mut config = settings.producer(&format!("{group}-{place}-commit"));
            let id = format!("{}{}/{group}/{place}", settings.prefix, settings.instance);
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
            self.producer = Some(Arc::new(producer));
        }
        Ok(self.producer.as_ref().expect("it was just made"))
    }

    /// One transaction, from its begin to its end.
    fn transact(&mut self, output: &Output, offsets: &TopicPartitionList) -> Result<(), Aborted> {
        let turn = self.turn;
        let shared = Arc::clone(&self.shared);
        let state_topic = state_name(&shared.settings.prefix, &self.group);
        let producer = Arc::clone(self.producer().map_err(Aborted::Bus)?);
        let generation = self.generation.clone().ok_or(Aborted::Fenced)?;
        producer.context().take_undelivered();
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
        fail_point!("kafka-before-offsets", |_| std::process::abort());
        if offsets.count() > 0 {
            let timeout = shared.settings.request_timeout;
            let deadline = Instant::now() + shared.settings.transaction_timeout;
            let (offsets, patience) = (offsets.clone(), timeout * 2);
            let sending = Arc::clone(&producer);
            let sent = bounded(patience, move || {
                retried(deadline, || {
                    sending.send_offsets_to_transaction(&offsets, &generation, timeout)
                })
            });
            sent.unwrap_or(Err(Aborted::Silent))?;
        }
        fail_point!("kafka-before-commit", |_| std::process::abort());
        // It may be done although its answer is lost; the client asks again until it knows.
        let timeout = shared.settings.transaction_timeout;
        let deadline = Instant::now() + timeout * 2;
        while producer.in_flight_count() > 0 && Instant::now() < deadline {
            producer.poll(REPORTS);
            if let Some((error, topic)) = producer.context().take_undelivered() {
                return Err(Aborted::Undelivered(error, topic));
            }
        }
        retried(deadline, || producer.commit_transaction(timeout))
    }

    /// Clears up after a transaction that did not end well. What became of it is settled before the
    /// group's offsets are read again: by the abort, or by the next producer under our name.
    fn aborted(&mut self, aborted: Aborted) -> BusError {
        let (error, topic) = match aborted {
            Aborted::Bus(error) => return error,
            Aborted::Fenced => return BusError::Fenced { group: self.group.clone() },
            Aborted::Silent => {
                // What became of it is settled by the next producer under our name.
                self.give_up(Duration::ZERO);
                return no_answer();
            }
            Aborted::Client(error) => (error, None),
            Aborted::Undelivered(error, topic) => (error, Some(topic)),
        };
        // It may even be committed, so it must not be tried again before that is known.
        self.is_astray = true;
        let is_fatal = matches!(&error, KafkaError::Transaction(error) if error.is_fatal());
        if is_fatal || !self.is_aborted() {
            self.producer = None;
            self.state.forget();
        }
        match topic {
            _ if is_fenced(&error) => BusError::Fenced { group: self.group.clone() },
            Some(topic) if is_too_large(&error) => too_large(&topic),
            _ => bus_error(COMMITTING, &error),
        }
    }

    /// Aborts the transaction. True if it is certain that nothing of it is stored.
    fn is_aborted(&self) -> bool {
        let Some(producer) = &self.producer else { return false };
        let deadline = Instant::now() + self.shared.settings.request_timeout;
        let aborted = retried(deadline, || {
            // It waits for the reports of all records, which nobody else takes.
            producer.poll(REPORTS);
            producer.abort_transaction(ABORT_SLICE)
        });
        aborted.is_ok()
    }

    fn try_commit(&mut self, output: &mut Output) -> Result<(), BusError> {
        self.shared.check_open()?;
        let is_moved = self.positions.values().any(|position| position.is_moved);
        if !is_moved && output.is_empty() {
            return Ok(());
        }
        let is_lost = self.membership()?.assignment_lost();
        if is_lost || self.is_astray || self.is_dealt_anew() {
            return Err(BusError::Fenced { group: self.group.clone() });
        }
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
        // The group looks at who commits only along with offsets, so what comes without a step
        // forward says again where we are.
        let positions = self.positions.iter().filter(|(_, at)| at.is_moved || !is_moved);
        let offsets = positions.map(|(place, position)| (*place, client_offset(position.next)));
        let offsets = list(&self.shared.names, offsets)?;
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
    fn commit_offsets(&mut self, offsets: &TopicPartitionList) -> Result<(), BusError> {
        let Some(client) = self.client.clone() else {
            return Err(BusError::Fenced { group: self.group.clone() });
        };
        let offsets = offsets.clone();
        let timeout = self.shared.settings.request_timeout * 2;
        let committed = bounded(timeout, move || client.commit(&offsets, CommitMode::Sync));
        let Some(committed) = committed else {
            self.give_up(Duration::ZERO);
            return Err(no_answer());
        };
        let Err(error) = committed else { return Ok(()) };
        if is_fenced(&error) {
            self.is_astray = true;
            return Err(BusError::Fenced { group: self.group.clone() });
        }
        Err(bus_error(COMMITTING, &error))
    }

    fn try_poll(&mut self, limits: &PollLimits, batch: &mut Batch) -> Result<Polled, BusError> {
        let deadline = Instant::now() + limits.wait;
        loop {
            self.shared.check_open()?;
            let left = deadline.saturating_duration_since(Instant::now());
            if self.client.is_none() {
                let absent = self.rejoin_at.saturating_duration_since(Instant::now());
                if !absent.is_zero() {
                    if left.is_zero() {
                        return Ok(Polled::Nothing);
                    }
                    std::thread::sleep(left.min(absent).min(SLICE));
                    continue;
                }
                let joined = Self::client(&self.shared, &self.group, &self.topics, self.place)?;
                self.client = Some(Arc::new(joined));
            }
            self.look_after_clients();
            if self.client.is_none() {
                continue;
            }
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
            let wait = if has_some { Duration::ZERO } else { left.min(SLICE) };
            let Some(client) = self.client.take() else { continue };
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
                Ok(false) if self.is_dealt_anew() => {}
                Ok(false) if has_some => return Ok(Polled::Records),
                Ok(false) if left.is_zero() => return Ok(Polled::Nothing),
                Ok(false) => {}
                Err(error) => self.after_error(&error)?,
            }
        }
    }

    /// Takes what the producer has to tell, which would pile up while nothing is committed, and gives
    /// up clients that have lost all brokers.
    fn look_after_clients(&mut self) {
        if let Some(producer) = &self.producer {
            producer.poll(Duration::ZERO);
            if producer.context().is_cut_off() {
                tracing::warn!(
                    group = self.group,
                    "the producer has lost all brokers and is made anew"
                );
                self.producer = None;
            }
        }
        if self.client.as_ref().is_some_and(|client| client.context().events.is_cut_off()) {
            tracing::warn!(group = self.group, "the member has lost all brokers and joins anew");
            self.give_up(Duration::ZERO);
        }
    }

    /// What the client tells while polling: to be handled here, to be told, or to be waited out.
    fn after_error(&mut self, error: &KafkaError) -> Result<(), BusError> {
        use RDKafkaErrorCode as Code;
        if let Some((code, _)) = self.membership()?.client().fatal_error() {
            // Another process with our name has the place; it is not to be thrown out at once.
            self.give_up(self.shared.settings.session_timeout);
            return Err(bus_error(POLLING, &KafkaError::MessageConsumptionFatal(code)));
        }
        match error.rdkafka_error_code() {
            Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => {
                self.skip_what_is_gone()?;
                self.seek_all()
            }
            Some(Code::BadMessage) => {
                // The client goes on behind them, and does not tell how many they were.
                tracing::error!(group = self.group, %error, "stored records are damaged and were skipped");
                Ok(())
            }
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => {
                // If it is made anew, our position in the old one means nothing.
                self.is_astray = true;
                Err(bus_error(POLLING, error))
            }
            Some(code) if is_denied(code) => Err(bus_error(POLLING, error)),
            // A broker that is gone comes back, and the client goes on by itself.
            _ => {
                tracing::debug!(group = self.group, %error, POLLING);
                Ok(())
            }
        }
    }
}

impl Consumer for KafkaConsumer {
    fn poll(&mut self, limits: &PollLimits, batch: &mut Batch) -> Result<Polled, BusError> {
        batch.clear();
        self.try_poll(limits, batch).inspect_err(|_| {
            // Nobody looks at what came before the error.
            self.is_astray |= !batch.is_empty() || !batch.gaps().is_empty();
        })
    }

    fn commit(&mut self, output: &mut Output) -> Result<(), BusError> {
        self.try_commit(output).inspect_err(backend::count_refused)
    }

    fn assignment(&self) -> &[(Topic, Partition)] {
        &self.assignment
    }

    fn position(&self, topic: Topic, partition: Partition) -> Option<Offset> {
        self.positions.get(&(topic, partition)).map(|position| position.next)
    }

    fn seek(&mut self, topic: Topic, partition: Partition, offset: Offset) -> Result<(), BusError> {
        let place = (topic, partition);
        if !self.positions.contains_key(&place) {
            return Err(BusError::NoPartition { topic, partition });
        }
        let position = self.existing(place, Position { next: offset, is_moved: true })?;
        let was_astray = std::mem::replace(&mut self.is_astray, true);
        self.positions.insert(place, position);
        self.seek_to(&list(&self.shared.names, [(place, client_offset(position.next))])?)?;
        self.is_astray = was_astray;
        Ok(())
    }

    fn rewind(&mut self) -> Result<(), BusError> {
        self.shared.check_open()?;
        self.begin_anew()
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
    /// With a record for this topic.
    Undelivered(KafkaError, String),
    /// No broker answers, and the client does not come back.
    Silent,
}

/// Makes a call that has no limit of time of its own: a client that has lost all brokers would wait
/// for ever. After the time it is left behind, in its thread; the client it has is given up.
fn bounded<T: Send + 'static>(
    timeout: Duration,
    call: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (done, is_done) = std::sync::mpsc::sync_channel(1);
    let spawned = std::thread::Builder::new().name("kafka-call".to_owned()).spawn(move || {
        // Nobody waits any more if it took too long.
        done.send(call()).ok();
    });
    if let Err(error) = spawned {
        tracing::error!(%error, "no thread for a call to Kafka");
        return None;
    }
    is_done.recv_timeout(timeout).ok()
}

fn no_answer() -> BusError {
    let reason = "no broker answers; a new client is made".to_owned();
    BusError::Unavailable { doing: COMMITTING, reason }
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

/// What a header takes beside its name and its value: their lengths.
const HEADER_OVERHEAD_BYTES: usize = 6;

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
        bytes += HEADER_OVERHEAD_BYTES + header.key.len() + value.len();
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
