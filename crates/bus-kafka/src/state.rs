//! A stage's state on the cluster: a compacted topic per group, and a copy of it in memory.
//!
//! A commit writes the changes into the topic within its transaction, and into the copy once the
//! transaction is done. A consumer that gets a partition reads that partition of the topic from its
//! beginning: up to the end as it was after the group's offsets were known, including what a
//! transaction that is just ending has written, as Kafka Streams does (KAFKA-10167).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Instant;

use bus::{BusError, Partition, StateReader, StateVisitor};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use crate::Settings;
use crate::client::Events;
use crate::error::bus_error;

const DOING: &str = "reading a stage's state";

/// What is known of a group's state.
#[derive(Debug, Default)]
pub(crate) struct State {
    partitions: BTreeMap<Partition, BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl State {
    /// Forgets the partitions that are not among these.
    pub(crate) fn retain(&mut self, assigned: &BTreeSet<Partition>) {
        self.partitions.retain(|partition, _| assigned.contains(partition));
    }

    /// Forgets all, because it may not be what the cluster has.
    pub(crate) fn forget(&mut self) {
        self.partitions.clear();
    }

    /// Those of these partitions that are not known yet.
    pub(crate) fn missing(&self, assigned: &BTreeSet<Partition>) -> Vec<Partition> {
        assigned
            .iter()
            .filter(|partition| !self.partitions.contains_key(partition))
            .copied()
            .collect()
    }

    /// Takes over partitions that have no state.
    pub(crate) fn add_empty(&mut self, partitions: &[Partition]) {
        for partition in partitions {
            self.partitions.entry(*partition).or_default();
        }
    }

    /// Changes one value.
    pub(crate) fn apply(&mut self, partition: Partition, key: &[u8], value: Option<&[u8]>) {
        let entries = self.partitions.entry(partition).or_default();
        match value {
            Some(value) => entries.insert(key.to_vec(), value.to_vec()),
            None => entries.remove(key),
        };
    }

    /// Reads partitions from the topic, as far as it was written when this was called.
    pub(crate) fn load(
        &mut self,
        settings: &Settings,
        topic: &str,
        partitions: &[Partition],
    ) -> Result<(), BusError> {
        let started = Instant::now();
        let uncommitted: BaseConsumer<Events> = settings
            .reader("state-end", &format!("{}state-reader", settings.prefix))
            .set("isolation.level", "read_uncommitted")
            .create_with_context(Events::default())
            .map_err(|error| bus_error(DOING, &error))?;
        let mut config = settings.reader("state", &format!("{}state-reader", settings.prefix));
        config.set("enable.partition.eof", "true").set("fetch.wait.max.ms", "10");
        let reader: BaseConsumer<Events> = config
            .create_with_context(Events::default())
            .map_err(|error| bus_error(DOING, &error))?;
        for &partition in partitions {
            let mut loaded = BTreeMap::new();
            self.partitions.remove(&partition);
            let number = partition.0 as i32;
            let timeout = settings.request_timeout;
            let watermarks = uncommitted.fetch_watermarks(topic, number, timeout);
            let (_, written) = watermarks.map_err(|error| bus_error(DOING, &error))?;
            // What is written and not yet committed is decided soon: its transaction is over, or
            // the cluster ends it.
            let deadline = Instant::now() + settings.transaction_timeout * 2 + timeout;
            loop {
                let watermarks = reader.fetch_watermarks(topic, number, timeout);
                let (_, stable) = watermarks.map_err(|error| bus_error(DOING, &error))?;
                if stable >= written {
                    break;
                }
                if Instant::now() >= deadline {
                    let reason = format!(
                        "{topic}/{partition} has an open transaction at {stable}, written to {written}; if it stays, the cluster has forgotten it, see kafka.md on hanging transactions"
                    );
                    return Err(BusError::Unavailable { doing: DOING, reason });
                }
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            read_all(&reader, topic, number, settings, &mut loaded)?;
            self.partitions.insert(partition, loaded);
        }
        let entries: usize =
            partitions.iter().filter_map(|p| self.partitions.get(p)).map(BTreeMap::len).sum();
        tracing::info!(topic, ?partitions, entries, elapsed = ?started.elapsed(), "state is read");
        Ok(())
    }
}

/// Reads one partition from its beginning to its end.
fn read_all(
    reader: &BaseConsumer<Events>,
    topic: &str,
    partition: i32,
    settings: &Settings,
    loaded: &mut BTreeMap<Vec<u8>, Vec<u8>>,
) -> Result<(), BusError> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Beginning)
        .and_then(|()| reader.assign(&list))
        .map_err(|error| bus_error(DOING, &error))?;
    // As long as something comes, it goes on.
    let mut deadline = Instant::now() + settings.request_timeout;
    loop {
        match reader.poll(std::time::Duration::from_millis(100)) {
            Some(Ok(message)) => {
                deadline = Instant::now() + settings.request_timeout;
                let Some(key) = message.key() else { continue };
                match message.payload() {
                    Some(value) => loaded.insert(key.to_vec(), value.to_vec()),
                    None => loaded.remove(key),
                };
            }
            Some(Err(KafkaError::PartitionEOF(_))) => break,
            Some(Err(error)) => tracing::debug!(%error, topic, partition, "reading state"),
            None => {}
        }
        if Instant::now() >= deadline {
            let reason = format!("{topic}/{partition} stopped in the middle");
            return Err(BusError::Unavailable { doing: DOING, reason });
        }
    }
    reader.unassign().map_err(|error| bus_error(DOING, &error))
}

impl StateReader for State {
    fn get(&self, partition: Partition, key: &[u8]) -> Result<Option<Vec<u8>>, BusError> {
        Ok(self.partitions.get(&partition).and_then(|entries| entries.get(key)).cloned())
    }

    fn scan(&self, prefix: &[u8], each: &mut StateVisitor<'_>) -> Result<(), BusError> {
        for (partition, entries) in &self.partitions {
            let range = (Bound::Included(prefix), Bound::Unbounded);
            for (key, value) in entries.range::<[u8], _>(range) {
                if !key.starts_with(prefix) {
                    break;
                }
                each(*partition, key, value);
            }
        }
        Ok(())
    }
}
