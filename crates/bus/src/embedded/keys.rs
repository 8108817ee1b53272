//! The names and keys under which the embedded log keeps things in its store.
//!
//! Entries lie in one keyspace per partition, so that their keys only ever grow: the store then moves
//! its tables without rewriting them, and drops whole tables when retention asks. All the small
//! things (offsets of groups, marks of segments, the first readable offsets) share the keyspace
//! `meta`; the state of stages has its own. Numbers in keys are big endian, so that they sort.

use crate::{Offset, Partition, Topic};

pub(super) const META: &str = "meta";
pub(super) const STATE: &str = "state";

pub(super) fn keyspace(topic: Topic, partition: Partition) -> String {
    format!("{topic}.{partition}")
}

pub(super) fn entry(last: Offset) -> [u8; 8] {
    last.0.to_be_bytes()
}

pub(super) fn entry_last(key: &[u8]) -> Option<Offset> {
    key.try_into().ok().map(u64::from_be_bytes).map(Offset)
}

/// The time that ages are told by.
pub(super) const AGE: &[u8] = b"age";

/// How many partitions a topic was made with.
pub(super) fn partitions(topic: Topic) -> Vec<u8> {
    format!("partitions/{topic}").into_bytes()
}

/// The first offset of a partition that may be read.
pub(super) fn begin(topic: Topic, partition: Partition) -> Vec<u8> {
    format!("begin/{topic}/{partition}").into_bytes()
}

/// Where a group goes on.
pub(super) fn committed(group: &str, topic: Topic, partition: Partition) -> Vec<u8> {
    format!("committed/{group}/{topic}/{partition}").into_bytes()
}

/// All offsets of groups.
pub(super) const COMMITTED: &[u8] = b"committed/";

/// The group and topic of a key made by [`committed`].
pub(super) fn committed_parts(key: &[u8]) -> Option<(String, Topic)> {
    let mut parts = std::str::from_utf8(key).ok()?.split('/').skip(1);
    Some((parts.next()?.to_owned(), parts.next()?.parse().ok()?))
}

/// The end of a segment of a partition, by its last offset.
pub(super) fn segment(topic: Topic, partition: Partition, last: Offset) -> Vec<u8> {
    let mut key = segments(topic, partition);
    key.extend_from_slice(&last.0.to_be_bytes());
    key
}

/// What all segments of a partition begin with.
pub(super) fn segments(topic: Topic, partition: Partition) -> Vec<u8> {
    format!("segment/{topic}/{partition}/").into_bytes()
}

/// A value of a stage's state. A group's name has no slash, so no two groups share keys.
pub(super) fn state(group: &str, partition: Partition, key: &[u8]) -> Vec<u8> {
    let mut full = Vec::with_capacity(group.len() + 5 + key.len());
    full.extend_from_slice(group.as_bytes());
    full.push(b'/');
    full.extend_from_slice(&partition.0.to_be_bytes());
    full.extend_from_slice(key);
    full
}
