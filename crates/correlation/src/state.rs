//! The durable twin of `groups`: what is stored under which key.
//!
//! Every event of a window is an entry of its own, so that a batch writes what it changed and no
//! more, however large the group. Keys sort by kind, group, period:
//!
//! | key | value |
//! | --- | --- |
//! | `g` group | its name |
//! | `m` group, period, hash of the event's key | an event in a window |
//! | `w` group, period | what was last written of the period's alert |
//!
//! Values are JSON. An entry that cannot be read back is left out with a log line: the others
//! still count.

use std::collections::HashMap;

use bus::{BusError, Output, Partition, StateReader};
use event::Alert;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::groups::{Group, Key, Name, Seen, Written};

/// A group's identity: 32 hexadecimal digits.
pub(crate) type GroupId = String;

/// How many bytes of a key a group's id takes.
const GROUP_ID_BYTES: usize = 32;

/// All groups by their id.
pub(crate) type Groups = HashMap<GroupId, Group, foldhash::fast::RandomState>;

#[derive(Serialize, Deserialize)]
struct Entry<K, S> {
    #[serde(flatten)]
    key: K,
    #[serde(flatten)]
    seen: S,
}

/// The id of a group.
pub(crate) fn group_id(name: &Name) -> GroupId {
    let mut parts = vec![name.correlation.as_str(), &name.shape, &name.namespace];
    parts.extend(name.values.iter().map(String::as_str));
    Alert::make_id(&parts)
}

pub(crate) fn put_name(output: &mut Output, id: &GroupId, group: &Group) {
    output.put_state(group.partition, group_key(id), json(&group.name));
}

pub(crate) fn delete_name(output: &mut Output, id: &GroupId, partition: Partition) {
    output.delete_state(partition, group_key(id));
}

pub(crate) fn put_event(
    output: &mut Output,
    id: &GroupId,
    partition: Partition,
    period: i64,
    key: &Key,
    seen: &Seen,
) {
    output.put_state(partition, event_key(id, period, key), json(&Entry { key, seen }));
}

pub(crate) fn delete_event(
    output: &mut Output,
    id: &GroupId,
    partition: Partition,
    period: i64,
    key: &Key,
) {
    output.delete_state(partition, event_key(id, period, key));
}

pub(crate) fn put_written(
    output: &mut Output,
    id: &GroupId,
    partition: Partition,
    period: i64,
    written: &Written,
) {
    output.put_state(partition, period_key(b'w', id, period), json(written));
}

pub(crate) fn delete_written(output: &mut Output, id: &GroupId, partition: Partition, period: i64) {
    output.delete_state(partition, period_key(b'w', id, period));
}

/// All groups as they were committed.
pub(crate) fn restore(state: &dyn StateReader) -> Result<Groups, BusError> {
    let mut groups = Groups::default();
    let mut unreadable = 0u64;
    state.scan(b"g", &mut |partition, key, value| match (
        id_of(key),
        serde_json::from_slice::<Name>(value),
    ) {
        (Some(id), Ok(name)) => {
            groups.insert(id, Group::new(name, partition));
        }
        _ => unreadable += 1,
    })?;
    state.scan(b"m", &mut |_, key, value| {
        let group = id_of(key).and_then(|id| groups.get_mut(&id));
        match (group, read::<Entry<Key, Seen>>(value)) {
            (Some(group), Some(Entry { key, seen })) => {
                let period = group.cut().of(key.time);
                group.periods.entry(period).or_default().events.insert(key, seen);
            }
            _ => unreadable += 1,
        }
    })?;
    state.scan(b"w", &mut |_, key, value| {
        let group = id_of(key).and_then(|id| groups.get_mut(&id));
        let period = group
            .zip(period_of(key))
            .and_then(|(group, period)| group.periods.get_mut(&period))
            .zip(read::<Written>(value));
        match period {
            Some((period, written)) => period.written = Some(written),
            None => unreadable += 1,
        }
    })?;
    if unreadable > 0 {
        tracing::error!(unreadable, "stored windows could not be read back and are left out");
    }
    Ok(groups)
}

fn read<T: DeserializeOwned>(value: &[u8]) -> Option<T> {
    serde_json::from_slice(value).ok()
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // Maps with text keys, texts and numbers: nothing that JSON could refuse.
    serde_json::to_vec(value).expect("plain data has a JSON form")
}

fn group_key(id: &GroupId) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + GROUP_ID_BYTES);
    key.push(b'g');
    key.extend_from_slice(id.as_bytes());
    key
}

fn period_key(kind: u8, id: &GroupId, period: i64) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + GROUP_ID_BYTES + 8 + GROUP_ID_BYTES);
    key.push(kind);
    key.extend_from_slice(id.as_bytes());
    // Flipping the sign makes the order of bytes that of numbers.
    key.extend_from_slice(&(period ^ i64::MIN).to_be_bytes());
    key
}

fn event_key(id: &GroupId, period: i64, event: &Key) -> Vec<u8> {
    let time = event.time.as_nanos().to_string();
    let mut parts = vec![time.as_str(), &event.id];
    parts.extend(event.value.as_deref());
    let mut key = period_key(b'm', id, period);
    key.extend_from_slice(Alert::make_id(&parts).as_bytes());
    key
}

fn id_of(key: &[u8]) -> Option<GroupId> {
    let id = key.get(1..1 + GROUP_ID_BYTES)?;
    std::str::from_utf8(id).ok().map(str::to_owned)
}

fn period_of(key: &[u8]) -> Option<i64> {
    let bytes = key.get(1 + GROUP_ID_BYTES..)?.first_chunk::<8>()?;
    Some(i64::from_be_bytes(*bytes) ^ i64::MIN)
}
