//! Moving from one bus to another: every record, the places of all groups, and their state.
//!
//! For the day on which one machine is not enough: from the embedded log to a cluster, or back. The
//! stages must have read everything first, because offsets of one bus mean nothing on another: a
//! group that had nothing left to read has nothing left to read on the new bus either, and that can
//! be said without translating offsets. What was copied is read back and compared. Rejected records
//! that were put back stay behind: what became of them is copied.

use std::time::Duration;

use crate::rejected::Place;
use crate::{
    Batch, Bus, BusError, Consumer, Offset, Output, Partition, PollLimits, Polled, Record, Records,
    StateChange, Topic,
};

/// The group under which both buses are read.
const GROUP: &str = "bus-copy";

/// How much is appended at once.
const APPEND_BYTES: usize = 4 * 1024 * 1024;

/// How much state is committed at once.
const STATE_BYTES: usize = 4 * 1024 * 1024;

/// How long a bus may take to give us its partitions, and to bring a record that must be there.
const PATIENCE: Duration = Duration::from_secs(90);

/// A consumer group that moves along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved<'a> {
    /// Its name on the bus that is copied from.
    pub from: &'a str,
    /// Its name on the bus that is copied to.
    pub to: &'a str,
    /// What it reads.
    pub topics: &'a [Topic],
}

/// What was copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copied {
    /// Records of each topic, in the order of [`Topic::ALL`].
    pub records: [u64; Topic::ALL.len()],
    /// Their bytes.
    pub bytes: u64,
    /// Entries of the groups' state.
    pub state: u64,
}

/// Why a bus is not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A group is not at the end.
    #[error(
        "the stage {group} has still {records} records to read; let it finish before the bus is copied (run it without listeners: --stages normalize,detection,correlation,indexing)"
    )]
    Behind {
        /// The group.
        group: String,
        /// How many.
        records: u64,
    },
    /// The other bus has records already.
    #[error(
        "the topic {topic} of the bus that is copied to has records already; copy to an empty one"
    )]
    NotEmpty {
        /// The topic.
        topic: Topic,
    },
    /// State belongs to a partition, and keys have other partitions where their number is another.
    #[error(
        "the group {group} has state, and {topic} has {from} partitions here and {to} there; make the topics there with {from} partitions, or drop the state, whose windows then begin anew"
    )]
    Partitions {
        /// The group.
        group: String,
        /// The topic.
        topic: Topic,
        /// Partitions here.
        from: u32,
        /// Partitions there.
        to: u32,
    },
    /// What was read back is not what was copied.
    #[error(
        "{topic}: {read} records were read back of {copied} copied, or they differ; the copy is not good"
    )]
    Differs {
        /// The topic.
        topic: Topic,
        /// How many were copied.
        copied: u64,
        /// How many were read back.
        read: u64,
    },
    /// One of the buses.
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// Copies everything from one bus to an empty other one. Nothing else may use either bus meanwhile.
/// `progress` is told the topic and how many of its records are copied. With `drop_state` the groups
/// begin without state.
///
/// # Errors
/// When the buses do not fit, before anything is written; or when one of them fails, and then the
/// other is left half full.
pub fn copy(
    from: &dyn Bus,
    to: &dyn Bus,
    groups: &[Moved<'_>],
    drop_state: bool,
    progress: &mut dyn FnMut(Topic, u64),
) -> Result<Copied, CopyError> {
    check(from, to, groups, drop_state)?;
    let mut copied = Copied::default();
    let put_back = crate::rejected::replayed_places(from)?;
    for topic in Topic::ALL {
        let mut digest = Digest::default();
        let mut records = Records::new();
        read_all(from, topic, &mut |record| {
            let place = Place { partition: record.partition, offset: record.offset };
            if topic == Topic::Rejected && put_back.contains(&place) {
                return Ok(());
            }
            digest.add(&record);
            copied.bytes += record.value.len() as u64;
            records.push_record(crate::RecordRef {
                key: record.key,
                headers: record.headers,
                value: record.value,
            });
            if records.bytes_len() >= APPEND_BYTES {
                to.append(topic, &mut records)?;
                progress(topic, digest.records);
            }
            Ok(())
        })?;
        if !records.is_empty() {
            to.append(topic, &mut records)?;
        }
        let mut there = Digest::default();
        read_all(to, topic, &mut |record| {
            there.add(&record);
            Ok(())
        })?;
        if there != digest {
            let (copied, read) = (digest.records, there.records);
            return Err(CopyError::Differs { topic, copied, read });
        }
        copied.records[topic.index()] = digest.records;
        progress(topic, digest.records);
    }
    for group in groups {
        copied.state += move_group(from, to, group, drop_state)?;
    }
    Ok(copied)
}

/// Whether the buses fit.
fn check(
    from: &dyn Bus,
    to: &dyn Bus,
    groups: &[Moved<'_>],
    drop_state: bool,
) -> Result<(), CopyError> {
    for topic in Topic::ALL {
        if to.extents(topic)?.iter().any(|extent| extent.end > extent.begin) {
            return Err(CopyError::NotEmpty { topic });
        }
    }
    for group in groups {
        if !has_run(from, group)? {
            continue;
        }
        let records = from.lag(group.from, group.topics)?;
        if records > 0 {
            return Err(CopyError::Behind { group: group.from.to_owned(), records });
        }
        if drop_state || state_of(from, group)?.is_empty() {
            continue;
        }
        for &topic in group.topics {
            let (here, there) = (from.partitions(topic), to.partitions(topic));
            if here != there {
                let group = group.from.to_owned();
                return Err(CopyError::Partitions { group, topic, from: here, to: there });
            }
        }
    }
    Ok(())
}

/// Whether a group has ever committed anything.
fn has_run(bus: &dyn Bus, group: &Moved<'_>) -> Result<bool, BusError> {
    for &topic in group.topics {
        if bus.committed(group.from, topic)?.iter().any(Option::is_some) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn state_of(bus: &dyn Bus, group: &Moved<'_>) -> Result<Vec<StateChange>, BusError> {
    let mut state = Vec::new();
    bus.state_of(group.from, &mut |partition, key, value| {
        if !key.starts_with(crate::ledger::KEYS) {
            let (key, value) = (key.to_vec(), Some(value.to_vec()));
            state.push(StateChange { partition, key, value });
        }
    })?;
    Ok(state)
}

/// Puts a group at the end of its topics, with its state. Returns how many entries that has.
fn move_group(
    from: &dyn Bus,
    to: &dyn Bus,
    group: &Moved<'_>,
    drop_state: bool,
) -> Result<u64, BusError> {
    if !has_run(from, group)? {
        return Ok(0);
    }
    let state = if drop_state { Vec::new() } else { state_of(from, group)? };
    let mut consumer = join(to, group.to, group.topics)?;
    let mut output = Output::new();
    let entries = state.len() as u64;
    for change in state {
        output.put_state(change.partition, change.key, change.value.unwrap_or_default());
        if output.bytes_len() >= STATE_BYTES {
            consumer.commit(&mut output)?;
        }
    }
    for (topic, partition) in consumer.assignment().to_vec() {
        let extents = to.extents(topic)?;
        let end = extents.iter().find(|extent| extent.partition == partition);
        consumer.seek(topic, partition, end.map_or(Offset(0), |extent| extent.end))?;
    }
    consumer.commit(&mut output)?;
    Ok(entries)
}

/// A consumer that has all partitions.
fn join(bus: &dyn Bus, group: &str, topics: &[Topic]) -> Result<Box<dyn Consumer>, BusError> {
    let wanted: Vec<(Topic, Partition)> = topics
        .iter()
        .flat_map(|topic| (0..bus.partitions(*topic)).map(|at| (*topic, Partition(at))))
        .collect();
    let deadline = std::time::Instant::now() + PATIENCE;
    let mut consumer = bus.consumer(group, topics)?;
    let mut batch = Batch::new();
    let limits = PollLimits { records_max: 1, wait: PATIENCE, ..PollLimits::default() };
    while !wanted.iter().all(|place| consumer.assignment().contains(place)) {
        consumer.poll(&limits, &mut batch)?;
        if std::time::Instant::now() > deadline {
            return Err(BusError::Misconfigured {
                reason: format!(
                    "the group {group} has other members; stop everything that uses the bus"
                ),
            });
        }
    }
    consumer.rewind()?;
    Ok(consumer)
}

/// Reads a topic from its beginning to the end that it has now, and commits nothing. Nobody else may
/// do so at the same time.
///
/// # Errors
/// When the bus does not answer, somebody else reads, or `each` says so.
pub fn read_all(
    bus: &dyn Bus,
    topic: Topic,
    each: &mut dyn FnMut(Record<'_>) -> Result<(), BusError>,
) -> Result<(), BusError> {
    let extents = bus.extents(topic)?;
    if extents.iter().all(|extent| extent.begin == extent.end) {
        return Ok(());
    }
    // A group of its own for each topic: a member that comes back under its name with other topics
    // is first given what it had.
    let mut consumer = join(bus, &format!("{GROUP}.{topic}"), &[topic])?;
    for extent in &extents {
        consumer.seek(topic, extent.partition, extent.begin)?;
    }
    let mut batch = Batch::new();
    let mut quiet = 0;
    let mut reached: Vec<Offset> = extents.iter().map(|extent| extent.begin).collect();
    loop {
        match consumer.poll(&PollLimits::default(), &mut batch)? {
            Polled::Reassigned => {
                return Err(BusError::Misconfigured {
                    reason: "somebody else copies this bus".to_owned(),
                });
            }
            Polled::Records => quiet = 0,
            Polled::Nothing => quiet += 1,
        }
        for record in batch.iter() {
            note(&mut reached, record.partition, record.offset);
            each(record)?;
        }
        for gap in batch.gaps() {
            note(&mut reached, gap.partition, Offset(gap.next.0.saturating_sub(1)));
        }
        let is_done = extents.iter().zip(&reached).all(|(extent, at)| *at >= extent.end);
        // On a cluster the last offset of a partition may be the mark of a transaction, which is
        // never read. That nothing follows shows after a while; the digest shows that it is true.
        if is_done || quiet >= QUIET_POLLS {
            return Ok(());
        }
    }
}

/// So many polls without a record are the end.
const QUIET_POLLS: u32 = 30;

fn note(reached: &mut [Offset], partition: Partition, offset: Offset) {
    if let Some(at) = reached.get_mut(partition.0 as usize) {
        *at = (*at).max(Offset(offset.0 + 1));
    }
}

/// What a set of records has, in whichever order: how many they are, and the sum of their hashes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Digest {
    records: u64,
    sum: u128,
}

impl Digest {
    fn add(&mut self, record: &Record<'_>) {
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        let mut part = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        part(record.key);
        for (name, value) in record.headers.iter() {
            part(name.as_bytes());
            part(value);
        }
        part(record.value);
        self.records += 1;
        self.sum = self.sum.wrapping_add(hasher.digest128());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryBus, MemorySettings};

    const GROUPS: [Moved<'static>; 2] = [
        Moved { from: "copier", to: "copier.there", topics: &[Topic::Raw] },
        Moved { from: "never-ran", to: "never-ran", topics: &[Topic::Events] },
    ];

    fn bus(partitions: u32) -> MemoryBus {
        MemoryBus::new(MemorySettings { partitions, ..MemorySettings::default() })
    }

    fn filled() -> MemoryBus {
        let bus = bus(3);
        for number in 0..500_u32 {
            let text = number.to_string();
            let mut records = Records::new();
            records.push(text.as_bytes(), &[("n", text.as_bytes())], text.as_bytes());
            records.push(b"", &[], text.as_bytes());
            bus.append(Topic::Raw, &mut records).unwrap();
        }
        bus
    }

    fn read_up(bus: &MemoryBus) {
        let mut consumer = join(bus, "copier", &[Topic::Raw]).unwrap();
        let mut batch = Batch::new();
        while consumer.poll(&PollLimits::default(), &mut batch).unwrap() == Polled::Records {}
        let mut output = Output::new();
        output.put_state(Partition(2), b"k", b"v");
        consumer.commit(&mut output).unwrap();
    }

    #[test]
    fn records_places_and_state_move() {
        let (from, to) = (filled(), bus(3));
        read_up(&from);
        let copied = copy(&from, &to, &GROUPS, false, &mut |_, _| ()).unwrap();
        assert_eq!((copied.records, copied.state), ([1000, 0, 0, 0, 0], 1));
        assert_eq!(to.lag("copier.there", &[Topic::Raw]).unwrap(), 0);
        let heir = join(&to, "copier.there", &[Topic::Raw]).unwrap();
        assert_eq!(heir.state().get(Partition(2), b"k").unwrap(), Some(b"v".to_vec()));
        // Order within a key is kept, because partitions are read in order.
        assert!(to.committed("never-ran", Topic::Events).unwrap().iter().all(Option::is_none));
    }

    #[test]
    fn what_does_not_fit_is_refused_before_anything_is_written() {
        let from = filled();
        let to = bus(3);
        let mut consumer = join(&from, "copier", &[Topic::Raw]).unwrap();
        let limits = PollLimits { records_max: 10, ..PollLimits::default() };
        consumer.poll(&limits, &mut Batch::new()).unwrap();
        consumer.commit(&mut Output::new()).unwrap();
        drop(consumer);
        let refused = copy(&from, &to, &GROUPS, false, &mut |_, _| ()).unwrap_err();
        assert!(matches!(&refused, CopyError::Behind { records: 990, .. }), "{refused}");

        read_up(&from);
        let refused = copy(&from, &bus(4), &GROUPS, false, &mut |_, _| ()).unwrap_err();
        assert!(matches!(&refused, CopyError::Partitions { from: 3, to: 4, .. }), "{refused}");
        let copied = copy(&from, &bus(4), &GROUPS, true, &mut |_, _| ()).unwrap();
        assert_eq!((copied.records[0], copied.state), (1000, 0));

        copy(&from, &to, &GROUPS, false, &mut |_, _| ()).unwrap();
        let refused = copy(&from, &to, &GROUPS, false, &mut |_, _| ()).unwrap_err();
        assert!(matches!(refused, CopyError::NotEmpty { topic: Topic::Raw }), "{refused}");
    }
}
