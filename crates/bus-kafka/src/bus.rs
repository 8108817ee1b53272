//! The bus itself: connecting, asking the cluster, handing out consumers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bus::{
    Bus, BusError, Consumer, Extent, Offset, OnDone, Partition, Records, Retention, Topic, backend,
};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::util::Timeout;

use crate::Settings;
use crate::append::Appends;
use crate::client::{Events, lock};
use crate::consumer::KafkaConsumer;
use crate::error::bus_error;
use crate::positions::{bus_offset, client_offset, list};
use crate::topics::{self, Names};

/// Up to so many offsets behind, records are counted one by one instead of guessed.
const LAG_COUNTED_MAX: u64 = 2000;

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
    pub(crate) asking: BaseConsumer<Events>,
    /// One client per group whose offsets were asked for.
    committed: Mutex<BTreeMap<String, BaseConsumer<Events>>>,
    /// Counts the records between two offsets.
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
    pub fn connect(settings: Settings) -> Result<Self, BusError> {
        let asking: BaseConsumer<Events> = settings
            .client("ask")
            .create_with_context(Events::default())
            .map_err(|error| bus_error("making a client", &error))?;
        let names = Names::new(&settings.prefix);
        let existing = reach(&settings, &asking)?;
        let partitions = topics::prepare(&settings, &names, &existing)?;
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
            asking,
            committed: Mutex::default(),
            counting: Mutex::default(),
            places: Mutex::default(),
        })))
    }
}

/// Waits until a broker answers, and tells the topics there are.
fn reach(
    settings: &Settings,
    asking: &BaseConsumer<Events>,
) -> Result<BTreeMap<String, u32>, BusError> {
    let deadline = Instant::now() + settings.connect_timeout;
    let mut why: Option<String> = None;
    loop {
        let slice = Duration::from_secs(1).min(settings.connect_timeout);
        let error = match asking.fetch_metadata(None, slice) {
            Ok(metadata) => return Ok(topics::existing(&metadata)),
            Err(error) => error,
        };
        // Serves what the client has to tell.
        if let Some(Err(error)) = asking.poll(Timeout::After(Duration::ZERO)) {
            tracing::debug!(%error, "connecting to Kafka");
        }
        let brokers = settings.brokers.join(",");
        match asking.context().take_trouble() {
            Some((true, reason)) => {
                let reason = format!(
                    "{reason}; check the user, the password and the mechanism in [kafka], and whether {brokers} speaks TLS"
                );
                return Err(BusError::Denied { doing: "our connection", reason });
            }
            Some((false, reason)) => why = Some(reason),
            None => {}
        }
        if Instant::now() >= deadline {
            let why = why.unwrap_or_else(|| error.to_string());
            return Err(BusError::Unavailable {
                doing: "connecting",
                reason: format!("{why}; is Kafka running at {brokers}?"),
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

    fn extents(&self, topic: Topic) -> Result<Vec<Extent>, BusError> {
        let extents = self.0.partitions_of(topic).map(|partition| {
            let (begin, end) = self.0.watermarks(topic, partition)?;
            Ok(Extent { partition, begin, end, bytes: None })
        });
        extents.collect()
    }

    fn committed(&self, group: &str, topic: Topic) -> Result<Vec<Option<Offset>>, BusError> {
        const DOING: &str = "reading a group's offsets";
        let mut clients = lock(&self.0.committed);
        if !clients.contains_key(group) {
            let config = self.0.settings.reader("offsets", &self.0.group_name(group));
            let client = config
                .create_with_context(Events::default())
                .map_err(|error| bus_error(DOING, &error))?;
            clients.insert(group.to_owned(), client);
        }
        let client = clients.get(group).expect("it was just made");
        let all = self.0.partitions_of(topic).map(|p| ((topic, p), rdkafka::Offset::Invalid));
        let asked = list(&self.0.names, all)?;
        let told = client
            .committed_offsets(asked, self.0.settings.request_timeout)
            .map_err(|error| bus_error(DOING, &error))?;
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
                    offsets @ 1..=LAG_COUNTED_MAX => {
                        self.0.count_records(topic, extent.partition, at)?.min(offsets)
                    }
                    offsets => offsets,
                };
            }
        }
        Ok(records)
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
        let metadata = self.0.asking.fetch_metadata(Some(self.0.names.of(Topic::Raw)), timeout);
        metadata.map(|_| ()).map_err(|error| bus_error("asking for its health", &error))
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

    /// The first and the next offset of what is committed in a partition.
    pub(crate) fn watermarks(
        &self,
        topic: Topic,
        partition: Partition,
    ) -> Result<(Offset, Offset), BusError> {
        let timeout = self.settings.request_timeout;
        let (begin, end) = self
            .asking
            .fetch_watermarks(self.names.of(topic), partition.0 as i32, timeout)
            .map_err(|error| bus_error("asking where a partition ends", &error))?;
        Ok((bus_offset(begin), bus_offset(end)))
    }

    /// How many records follow an offset.
    fn count_records(
        &self,
        topic: Topic,
        partition: Partition,
        from: Offset,
    ) -> Result<u64, BusError> {
        const DOING: &str = "counting records";
        let failed = |error: KafkaError| bus_error(DOING, &error);
        let mut counting = lock(&self.counting);
        if counting.is_none() {
            let mut config = self.settings.reader("count", &self.group_name("count"));
            config.set("enable.partition.eof", "true").set("fetch.wait.max.ms", "5");
            *counting = Some(config.create_with_context(Events::default()).map_err(failed)?);
        }
        let reader = counting.as_ref().expect("it was just made");
        let list = list(&self.names, [((topic, partition), client_offset(from))])?;
        reader.assign(&list).map_err(failed)?;
        let deadline = Instant::now() + self.settings.request_timeout;
        let mut records = 0;
        let counted = loop {
            match reader.poll(Duration::from_millis(50)) {
                Some(Ok(_)) => records += 1,
                Some(Err(KafkaError::PartitionEOF(_))) => break Ok(records),
                Some(Err(error)) => tracing::debug!(%error, %topic, %partition, DOING),
                None => {}
            }
            if Instant::now() >= deadline {
                let reason = format!("{topic}/{partition} does not end");
                break Err(BusError::Unavailable { doing: DOING, reason });
            }
        };
        reader.unassign().map_err(failed)?;
        counted
    }
}
