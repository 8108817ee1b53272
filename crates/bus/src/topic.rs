//! The names of places on the bus: topics, partitions, offsets.
//!
//! The set of topics is closed: it is the picture of the engine, and a sixth arrow in that picture
//! is a decision for everyone. A partition is chosen by the hash of the record's key, so all records
//! of one key are in one order; a record without a key goes wherever the load is spread.

use std::fmt;
use std::str::FromStr;

/// One of the engine's topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// What shippers sent, byte for byte.
    Raw,
    /// Normalised events, one ECS document each.
    Events,
    /// Which rule matched which event.
    Matches,
    /// Alerts, as correlation decided them.
    Alerts,
    /// Records that a stage could not process, whole, with the reason.
    Rejected,
}

impl Topic {
    /// Every topic, in the order of the pipeline.
    pub const ALL: [Topic; 5] =
        [Topic::Raw, Topic::Events, Topic::Matches, Topic::Alerts, Topic::Rejected];

    /// The name on the wire, in metrics and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Topic::Raw => "raw",
            Topic::Events => "events",
            Topic::Matches => "matches",
            Topic::Alerts => "alerts",
            Topic::Rejected => "rejected",
        }
    }

    /// The place in [`Topic::ALL`], for tables by topic.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Topic {
    type Err = UnknownTopic;

    fn from_str(name: &str) -> Result<Self, UnknownTopic> {
        Topic::ALL
            .into_iter()
            .find(|topic| topic.as_str() == name)
            .ok_or_else(|| UnknownTopic(name.to_owned()))
    }
}

/// A name that is no topic's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown topic {0:?}; the topics are raw, events, matches, alerts and rejected")]
pub struct UnknownTopic(pub String);

/// The number of a partition within its topic, from zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Partition(pub u32);

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The place of a record within its partition, from zero. It grows; on a Kafka cluster the marks of
/// transactions take places too, so that it may grow by more than one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset(pub u64);

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The partition of a record with this key, or `None` for the empty key, which may go anywhere.
///
/// The hash is XXH3, which never changes: stored data depends on it.
pub fn partition_of_key(key: &[u8], partitions: u32) -> Option<Partition> {
    if key.is_empty() {
        return None;
    }
    let hash = xxhash_rust::xxh3::xxh3_64(key);
    // The remainder is below `partitions`, so it fits.
    Some(Partition((hash % u64::from(partitions.max(1))) as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for topic in Topic::ALL {
            assert_eq!(topic.as_str().parse(), Ok(topic));
            assert_eq!(Topic::ALL[topic.index()], topic);
        }
        assert_eq!("logs".parse::<Topic>(), Err(UnknownTopic("logs".to_owned())));
    }

    #[test]
    fn the_hash_of_keys_is_part_of_the_stored_form() {
        let partitions: Vec<u32> = ["a", "host-1", "host-2", "10.0.0.1"]
            .iter()
            .map(|key| partition_of_key(key.as_bytes(), 1000).unwrap().0)
            .collect();
        assert_eq!(partitions, [719, 42, 713, 510]);
        assert_eq!(partition_of_key(b"", 4), None);
    }
}
