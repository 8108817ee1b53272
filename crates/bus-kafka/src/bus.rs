//! The bus itself: connecting, asking the cluster, handing out consumers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bus::{
    Bus, BusError, Consumer, Extent, Offset, OnDone, Partition, Records, Retention, StateReader,
    StateVisitor, Topic, backend,
};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::metadata::Metadata;

use crate::Settings;
use crate::append::Appends;
use crate::client::{Events, lock, serve};
use crate::consumer::KafkaConsumer;
use crate::error::{bus_error, is_denied, with_advice};
use crate::identity;
use crate::positions::{bus_offset, client_offset, list};
use crate::state::State;
use crate::topics::{self, Names};

/// Up to so many offsets behind, records are counted one by one instead of guessed.
const LAG_COUNTED_MAX: u64 = 2000;

/// How long records are counted before their number is guessed.
const LAG_COUNTED_FOR: Duration = Duration::from_secs(2);

/// So many clients that ask for groups' offsets are kept for the next question.
const CLIENTS_KEPT: usize = 16;

/// On how many brokers a record is kept, if nobody says otherwise and there are so many.
const REPLICATION: u16 = 3;

/// A cluster as a bus.
#[derive(Clone)]
pub struct KafkaBus(Arc<Shared>);

/// What the bus and its consumers share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) names: Names,
    pub(crate) partitions: [u32; Topic::ALL.len()],
    pub(crate) appends: Appends,
    /// Asks for metadata and for the ends of partitions.
    asking: Mutex<Arc<BaseConsumer<Events>>>,
    /// Clients that ask for a group's offsets, while they are not asking.
    committed: Mutex<BTreeMap<String, BaseConsumer<Events>>>,
    /// Counts the records between two offsets, while it is not counting.
    counting: Mutex<Option<BaseConsumer<Events>>>,
    /// Which places of which groups this process has: a place has a name that lasts.
    places: Mutex<BTreeMap<String, Vec<bool>>>,
}

impl KafkaBus {
    /// Connects, and makes the topics that are missing.
    ///
    /// # Errors
    /// [`BusError::Unavailable`] when no broker answers in time, [`BusError::Denied`] when they
    /// refuse us, [`BusError::Misconfigured`] when a topic is missing or a setting is impossible.
    pub fn connect(mut settings: Settings) -> Result<Self, BusError> {
        settings.check()?;
        let asking = make_asking(&settings)?;
        let names = Names::new(&settings.prefix);
        let (existing, brokers) = reach(&settings, &asking)?;
        settings.replication.get_or_insert(brokers.clamp(1, REPLICATION));
        let partitions = topics::prepare(&settings, &asking, &names, &existing)?;
        let appends = Appends::new(&settings, names.clone(), partitions)?;
        tracing::info!(
            brokers = settings.brokers.join(","),
            prefix = settings.prefix,
            instance = settings.instance,
            ?partitions,
            "connected to Kafka"
        );
        Ok(KafkaBus(Arc::new(Shared {
            settings,
            names,
            partitions,
            appends,
            asking: Mutex::new(Arc::new(asking)),
            committed: Mutex::default(),
            counting: Mutex::default(),
            places: Mutex::default(),
        })))
    }

    /// The identity of the log: the same for all copies, for as long as its topics exist. It is
    /// what the first copy that asked proposed, which should be random.
    ///
    /// # Errors
    /// When the cluster does not answer, or its topic is missing and may not be made.
    pub fn identity(&self, proposal: &str) -> Result<String, BusError> {
        let settings = &self.0.settings;
        let metadata = self.0.metadata()?;
        let name = identity::topic_name(&settings.prefix);
        let exists = topics::existing(&metadata).contains_key(&name);
        identity::identity(settings, exists, proposal)
    }
}

fn make_asking(settings: &Settings) -> Result<BaseConsumer<Events>, BusError> {
    settings
        .client("ask")
        .create_with_context(Events::default())
        .map_err(|error| bus_error("making a client", &error))
}

/// Waits until a broker answers, and tells the topics and how many brokers there are.
fn reach(
    settings: &Settings,
    asking: &BaseConsumer<Events>,
) -> Result<(BTreeMap<String, u32>, u16), BusError> {
    let deadline = Instant::now() + settings.connect_timeout;
    let mut why: Option<String> = None;
    loop {
        let slice = Duration::from_secs(1).min(settings.connect_timeout);
        let error = match asking.fetch_metadata(None, slice) {
            Ok(metadata) => {
                let brokers = u16::try_from(metadata.brokers().len()).unwrap_or(u16::MAX);
                return Ok((topics::existing(&metadata), brokers));
            }
            Err(error) => error,
        };
        serve(asking);
        let brokers = settings.brokers.join(",");
        match asking.context().take_trouble() {
            Some((code, said)) if is_denied(code) => {
                let reason = with_advice(code, said);
                return Err(BusError::Denied { doing: "our connection", reason });
            }
            // That all brokers are down says less than what came before it.
            Some((RDKafkaErrorCode::AllBrokersDown, _)) if why.is_some() => {}
            Some((_, said)) => why = Some(said),
            None => {}
        }
        if Instant::now() >= deadline {
            let why = why.unwrap_or_else(|| error.to_string());
            return Err(BusError::Unavailable {
                doing: "connecting",
                reason: format!(
                    "{why}; is Kafka running at {brokers}, and are TLS and SASL in [kafka] right for it?"
                ),
            });
        }
    }
}

impl Bus for KafkaBus {
    fn append(&self, topic: Topic, records: &mut Records) -> Result<(), BusError> {
        self.0.appends.append(topic, records)
    }

    fn append_async(&self, topic: Topic, records: Records, done: OnDone) {
        self.0.appends.append_async(topic, records, done);
    }

    fn consumer(&self, group: &str, topics: &[Topic]) -> Result<Box<dyn Consumer>, BusError> {
        backend::check_name(group)?;
        self.0.check_open()?;
        Ok(Box::new(KafkaConsumer::join(Arc::clone(&self.0), group, topics)?))
    }

    fn partitions(&self, topic: Topic) -> u32 {
        self.0.partitions[topic.index()]
    }

    fn has_dense_offsets(&self) -> bool {
        false
    }

    fn extents(&self, topic: Topic) -> Result<Vec<Extent>, BusError> {
        let extents = self.0.partitions_of(topic).map(|partition| {
            let (begin, end) = self.0.watermarks(topic, partition)?;
            Ok(Extent { partition, begin, end, bytes: None })
        });
        extents.collect()
    }

    fn committed(&self, group: &str, topic: Topic) -> Result<Vec<Option<Offset>>, BusError> {
        const DOING: &str = "reading a group's offsets";
        // It is taken out: nobody waits for another's question.
        let kept = lock(&self.0.committed).remove(group);
        let client = match kept {
            Some(client) => client,
            None => self
                .0
                .settings
                .reader("offsets", &self.0.group_name(group))
                .create_with_context(Events::default())
                .map_err(|error| bus_error(DOING, &error))?,
        };
        let all = self.0.partitions_of(topic).map(|p| ((topic, p), rdkafka::Offset::Invalid));
        let asked = list(&self.0.names, all)?;
        let told = client
            .committed_offsets(asked, self.0.settings.request_timeout)
            .map_err(|error| bus_error(DOING, &error))?;
        serve(&client);
        let mut clients = lock(&self.0.committed);
        if clients.len() < CLIENTS_KEPT {
            clients.insert(group.to_owned(), client);
        }
        drop(clients);
        let mut offsets = vec![None; self.0.partitions[topic.index()] as usize];
        for element in told.elements() {
            element.error().map_err(|error| bus_error(DOING, &error))?;
            if let (rdkafka::Offset::Offset(offset), Some(place)) =
                (element.offset(), offsets.get_mut(element.partition() as usize))
            {
                *place = Some(bus_offset(offset));
            }
        }
        Ok(offsets)
    }

    fn lag(&self, group: &str, topics: &[Topic]) -> Result<u64, BusError> {
        let mut records = 0;
        for &topic in topics {
            let committed = self.committed(group, topic)?;
            for (extent, at) in self.extents(topic)?.iter().zip(committed) {
                let at = at.unwrap_or(extent.begin).max(extent.begin);
                records += match extent.end.0.saturating_sub(at.0) {
                    // The marks of transactions take offsets too, so a gap may be of nothing.
                    1..=LAG_COUNTED_MAX => self.0.count_records(topic, extent, at)?,
                    offsets => offsets,
                };
            }
        }
        Ok(records)
    }

    fn state_of(&self, group: &str, each: &mut StateVisitor<'_>) -> Result<(), BusError> {
        let settings = &self.0.settings;
        let metadata = self.0.metadata()?;
        let name = topics::state_name(&settings.prefix, group);
        let Some(count) = topics::existing(&metadata).get(&name).copied() else { return Ok(()) };
        let partitions: Vec<Partition> = (0..count).map(Partition).collect();
        let mut state = State::default();
        state.load(settings, &name, &partitions)?;
        state.scan(b"", each)
    }

    fn set_retention(&self, topic: Topic, retention: Retention) -> Result<(), BusError> {
        let name = self.0.names.of(topic);
        topics::set_retention(&self.0.settings, name, self.partitions(topic), retention)
    }

    fn enforce_retention(&self) -> Result<u64, BusError> {
        Ok(0)
    }

    fn health(&self) -> Result<(), BusError> {
        self.0.check_open()?;
        let timeout = self.0.settings.request_timeout.min(Duration::from_secs(2));
        self.0.ask("asking for its health", |client| {
            let metadata = client.fetch_metadata(Some(self.0.names.of(Topic::Raw)), timeout)?;
            topics::found(&metadata).map(|_| ())
        })
    }

    fn close(&self) {
        self.0.appends.close();
    }
}

impl Shared {
    pub(crate) fn check_open(&self) -> Result<(), BusError> {
        if self.appends.is_closed() { Err(BusError::Closed) } else { Ok(()) }
    }

    /// The group's name on the cluster.
    pub(crate) fn group_name(&self, group: &str) -> String {
        format!("{}{group}", self.settings.prefix)
    }

    /// Takes the first free place in a group; the place's number is part of names that last.
    pub(crate) fn take_place(&self, group: &str) -> usize {
        let mut places = lock(&self.places);
        let taken = places.entry(group.to_owned()).or_default();
        let free = taken.iter().position(|is_taken| !is_taken).unwrap_or(taken.len());
        match taken.get_mut(free) {
            Some(place) => *place = true,
            None => taken.push(true),
        }
        free
    }

    pub(crate) fn give_place_back(&self, group: &str, place: usize) {
        if let Some(taken) = lock(&self.places).get_mut(group).and_then(|it| it.get_mut(place)) {
            *taken = false;
        }
    }

    fn partitions_of(&self, topic: Topic) -> impl Iterator<Item = Partition> + use<> {
        (0..self.partitions[topic.index()]).map(Partition)
    }

    /// Asks the cluster something. After a failure the next question is asked by a new client: the
    /// old one may believe for minutes that a partition has no broker, or have lost all brokers for
    /// good, which happens when the only one of a cluster comes back from an absence.
    pub(crate) fn ask<T>(
        &self,
        doing: &'static str,
        question: impl FnOnce(&BaseConsumer<Events>) -> Result<T, KafkaError>,
    ) -> Result<T, BusError> {
        let client = Arc::clone(&lock(&self.asking));
        let answer = question(&client);
        if answer.is_err() {
            *lock(&self.asking) = Arc::new(make_asking(&self.settings)?);
        } else {
            serve(&client);
        }
        answer.map_err(|error| bus_error(doing, &error))
    }

    /// What topics there are.
    pub(crate) fn metadata(&self) -> Result<Metadata, BusError> {
        let timeout = self.settings.request_timeout;
        self.ask("reading metadata", |client| client.fetch_metadata(None, timeout))
    }

    /// The first and the next offset of what is committed in a partition.
    pub(crate) fn watermarks(
        &self,
        topic: Topic,
        partition: Partition,
    ) -> Result<(Offset, Offset), BusError> {
        let (name, timeout) = (self.names.of(topic), self.settings.request_timeout);
        let (begin, end) = self.ask("asking where a partition ends", |client| {
            client.fetch_watermarks(name, partition.0 as i32, timeout)
        })?;
        Ok((bus_offset(begin), bus_offset(end)))
    }

    /// How many records there are from an offset on, or how many offsets if that takes too long.
    fn count_records(&self, topic: Topic, extent: &Extent, from: Offset) -> Result<u64, BusError> {
        const DOING: &str = "counting records";
        let failed = |error: KafkaError| bus_error(DOING, &error);
        let kept = lock(&self.counting).take();
        let reader = match kept {
            Some(reader) => reader,
            None => {
                let mut config = self.settings.reader("count", &self.group_name("count"));
                config.set("enable.partition.eof", "true").set("fetch.wait.max.ms", "5");
                config.create_with_context(Events::default()).map_err(failed)?
            }
        };
        let list = list(&self.names, [((topic, extent.partition), client_offset(from))])?;
        reader.assign(&list).map_err(failed)?;
        let deadline = Instant::now() + LAG_COUNTED_FOR.min(self.settings.request_timeout);
        let mut records = 0;
        loop {
            match reader.poll(Duration::from_millis(50)) {
                // What was appended since is of the next count.
                Some(Ok(message)) if bus_offset(message.offset()) >= extent.end => break,
                Some(Ok(_)) => records += 1,
                Some(Err(KafkaError::PartitionEOF(_))) => break,
                Some(Err(error)) => tracing::debug!(%error, %topic, DOING),
                None => {}
            }
            if Instant::now() >= deadline {
                records = extent.end.0 - from.0;
                break;
            }
        }
        reader.unassign().map_err(failed)?;
        serve(&reader);
        *lock(&self.counting) = Some(reader);
        Ok(records)
    }
}
