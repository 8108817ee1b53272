//! The topics on the cluster: their names, their making, whether they fit.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bus::{BusError, Retention, Topic};
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;

use crate::Settings;
use crate::client::Events;
use crate::error::bus_error;

/// What the brokers must accept beyond the largest record: its headers and its batch.
const MESSAGE_OVERHEAD_BYTES: usize = 64 * 1024;

/// A state change that is deleted stays visible so long for a copy that is just reading it.
const TOMBSTONES_MS: &str = "3600000";

/// The names of the topics.
#[derive(Debug, Clone)]
pub(crate) struct Names([String; Topic::ALL.len()]);

impl Names {
    pub(crate) fn new(prefix: &str) -> Self {
        Names(Topic::ALL.map(|topic| format!("{prefix}{topic}")))
    }

    pub(crate) fn of(&self, topic: Topic) -> &str {
        &self.0[topic.index()]
    }

    /// The topic with this name.
    pub(crate) fn topic(&self, name: &str) -> Option<Topic> {
        Topic::ALL.into_iter().find(|topic| self.of(*topic) == name)
    }
}

/// The name of the topic that holds a group's state.
pub(crate) fn state_name(prefix: &str, group: &str) -> String {
    format!("{prefix}state.{group}")
}

/// How many partitions each topic of the cluster has.
pub(crate) fn existing(metadata: &Metadata) -> BTreeMap<String, u32> {
    let topics = metadata.topics().iter().filter(|topic| topic.error().is_none());
    topics.map(|topic| (topic.name().to_owned(), topic.partitions().len() as u32)).collect()
}

/// How many partitions the one topic has that was asked for.
pub(crate) fn found(metadata: &Metadata) -> Result<u32, KafkaError> {
    let unknown = RDKafkaErrorCode::UnknownTopicOrPartition;
    let topic = metadata.topics().first().ok_or(KafkaError::MetadataFetch(unknown))?;
    match topic.error() {
        Some(code) => Err(KafkaError::MetadataFetch(code.into())),
        None if topic.partitions().is_empty() => Err(KafkaError::MetadataFetch(unknown)),
        None => Ok(topic.partitions().len() as u32),
    }
}

/// Makes the topics that are missing, and tells how many partitions each has.
pub(crate) fn prepare(
    settings: &Settings,
    asking: &BaseConsumer<Events>,
    names: &Names,
    existing: &BTreeMap<String, u32>,
) -> Result<[u32; Topic::ALL.len()], BusError> {
    let missing: Vec<Topic> =
        Topic::ALL.into_iter().filter(|topic| !existing.contains_key(names.of(*topic))).collect();
    if !missing.is_empty() && !settings.create_topics {
        let list: Vec<&str> = missing.iter().map(|topic| names.of(*topic)).collect();
        return Err(BusError::Misconfigured {
            reason: format!(
                "the cluster has no topic {}; make it, or set kafka.create_topics = true",
                list.join(", ")
            ),
        });
    }
    let mut partitions = [0; Topic::ALL.len()];
    for topic in Topic::ALL {
        partitions[topic.index()] = match existing.get(names.of(topic)) {
            Some(count) => *count,
            None => {
                let count = settings.partitions_of(topic);
                match create_of(settings, names, topic, count)? {
                    Created::ByUs => count,
                    // Another copy was faster, with settings of its own, or the topic was hidden.
                    Created::Before => partitions_of(settings, asking, names.of(topic))?,
                }
            }
        };
    }
    Ok(partitions)
}

/// How many partitions a topic has that was made just now.
fn partitions_of(
    settings: &Settings,
    asking: &BaseConsumer<Events>,
    name: &str,
) -> Result<u32, BusError> {
    let deadline = Instant::now() + settings.request_timeout;
    loop {
        let metadata = asking.fetch_metadata(Some(name), settings.request_timeout);
        match metadata.and_then(|metadata| found(&metadata)) {
            Ok(count) => return Ok(count),
            Err(error) if Instant::now() >= deadline => {
                return Err(bus_error("reading metadata", &error));
            }
            // Not every broker has heard of it yet.
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Who made a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Created {
    ByUs,
    Before,
}

fn create_of(
    settings: &Settings,
    names: &Names,
    topic: Topic,
    partitions: u32,
) -> Result<Created, BusError> {
    let mut with = BTreeMap::from([
        ("cleanup.policy", "delete".to_owned()),
        // Arrival decides how long a record is kept, whatever a foreign sender writes.
        ("message.timestamp.type", "LogAppendTime".to_owned()),
    ]);
    with.extend(settings.segment_bytes.map(|bytes| ("segment.bytes", bytes.to_string())));
    with.extend(retention(settings.retention[topic.index()], partitions));
    create(settings, names.of(topic), partitions, with)
}

/// Makes the topic of a group's state.
pub(crate) fn create_state(
    settings: &Settings,
    name: &str,
    partitions: u32,
) -> Result<(), BusError> {
    let with = BTreeMap::from([
        ("cleanup.policy", "compact".to_owned()),
        ("delete.retention.ms", TOMBSTONES_MS.to_owned()),
        // Small segments, because only closed ones are compacted.
        ("segment.bytes", (64 * 1024 * 1024).to_string()),
        ("min.cleanable.dirty.ratio", "0.3".to_owned()),
    ]);
    create(settings, name, partitions, with).map(|_| ())
}

/// Whether the controller knows a topic. The other brokers hear of a new one a little later, and
/// whoever believes them may miss it.
pub(crate) fn exists(settings: &Settings, name: &str) -> Result<bool, BusError> {
    let admin = admin(settings)?;
    let topic = NewTopic::new(name, 1, TopicReplication::Fixed(1));
    let options = options(settings).validate_only(true);
    let results = pollster::block_on(admin.create_topics([&topic], &options))
        .map_err(|error| bus_error("reading metadata", &error))?;
    Ok(matches!(results.first(), Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists)))))
}

/// Makes a topic of one partition whose records stay.
pub(crate) fn create_kept(settings: &Settings, name: &str) -> Result<(), BusError> {
    let mut with = BTreeMap::from([("cleanup.policy", "delete".to_owned())]);
    with.extend(retention(Retention::default(), 1));
    create(settings, name, 1, with).map(|_| ())
}

fn create(
    settings: &Settings,
    name: &str,
    partitions: u32,
    mut with: BTreeMap<&'static str, String>,
) -> Result<Created, BusError> {
    const DOING: &str = "making a topic";
    let bytes_max = settings.record_bytes_max + bus::HEADERS_MAX + MESSAGE_OVERHEAD_BYTES;
    with.insert("max.message.bytes", bytes_max.to_string());
    let brokers = settings.replication.unwrap_or(1).max(1);
    // All but one: a single broker may be away without anything standing still.
    with.insert("min.insync.replicas", (brokers - 1).max(1).to_string());
    // What the producer chose.
    with.insert("compression.type", "producer".to_owned());
    let replication = TopicReplication::Fixed(i32::from(brokers));
    let mut topic = NewTopic::new(name, partitions as i32, replication);
    for (key, value) in &with {
        topic = topic.set(key, value);
    }
    let admin = admin(settings)?;
    let options = options(settings);
    let results = pollster::block_on(admin.create_topics([&topic], &options))
        .map_err(|error| bus_error(DOING, &error))?;
    match results.into_iter().next() {
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(Created::Before),
        None | Some(Ok(_)) => Ok(Created::ByUs),
        Some(Err((_, RDKafkaErrorCode::InvalidReplicationFactor))) => {
            Err(BusError::Misconfigured {
                reason: format!(
                    "the topic {name} cannot be on {brokers} brokers, the cluster has fewer; set kafka.replication"
                ),
            })
        }
        Some(Err((_, code))) => Err(bus_error(DOING, &rdkafka::error::KafkaError::AdminOp(code))),
    }
}

/// Changes how long a topic is kept.
pub(crate) fn set_retention(
    settings: &Settings,
    name: &str,
    partitions: u32,
    keep: Retention,
) -> Result<(), BusError> {
    const DOING: &str = "setting a topic's retention";
    let admin = admin(settings)?;
    let values = retention(keep, partitions);
    let mut change = AlterConfig::new(ResourceSpecifier::Topic(name));
    // AlterConfigs replaces all that is set, so all that we set is set again.
    let kept = pollster::block_on(
        admin.describe_configs([&ResourceSpecifier::Topic(name)], &options(settings)),
    )
    .map_err(|error| bus_error(DOING, &error))?;
    let described = kept.into_iter().next();
    let resource = match &described {
        Some(Ok(resource)) => resource,
        Some(Err(code)) => {
            return Err(bus_error(DOING, &rdkafka::error::KafkaError::AdminOp(*code)));
        }
        None => return Ok(()),
    };
    let is_ours = |name: &str| values.contains_key(name);
    for entry in &resource.entries {
        let is_set = matches!(entry.source, rdkafka::admin::ConfigSource::DynamicTopic);
        if let (true, false, Some(value)) = (is_set, is_ours(&entry.name), &entry.value) {
            change = change.set(&entry.name, value);
        }
    }
    for (key, value) in &values {
        change = change.set(key, value);
    }
    let results = pollster::block_on(admin.alter_configs([&change], &options(settings)))
        .map_err(|error| bus_error(DOING, &error))?;
    match results.into_iter().next() {
        Some(Err((_, code))) => Err(bus_error(DOING, &rdkafka::error::KafkaError::AdminOp(code))),
        _ => Ok(()),
    }
}

/// Kafka bounds each partition, the bus a topic.
fn retention(keep: Retention, partitions: u32) -> BTreeMap<&'static str, String> {
    let age = keep.age.map_or(-1, |age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
    let bytes = keep.bytes.map(|bytes| bytes / u64::from(partitions.max(1)));
    let bytes = bytes.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    BTreeMap::from([("retention.ms", age.to_string()), ("retention.bytes", bytes.to_string())])
}

fn admin(settings: &Settings) -> Result<AdminClient<DefaultClientContext>, BusError> {
    let config = settings.client("admin");
    config.create().map_err(|error| bus_error("making a client", &error))
}

fn options(settings: &Settings) -> AdminOptions {
    let timeout: Duration = settings.request_timeout;
    AdminOptions::new().request_timeout(Some(timeout)).operation_timeout(Some(timeout))
}
