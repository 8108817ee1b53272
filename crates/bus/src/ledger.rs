//! The ledger of conservation: of each source, what came in is what is stored, dropped, rejected or
//! on its way.
//!
//! The runtime counts, for the stages at both ends of the pipeline, what a source's records became,
//! and commits the counts as state in the same step as the offsets that they are of. So they are
//! exact: a record is counted when, and only when, its offset is committed, whatever was killed and
//! done again in between. [`Ledger::read`] then holds the two ends against each other, with what is
//! still to be read between them. What is missing was lost, what is too much was doubled, and both
//! are faults of ours.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use event::Timestamp;
use event::raw::{LISTENER, SENDER};

use crate::output::Mark;
use crate::{
    Batch, Bus, BusError, Offset, Output, Partition, PollLimits, Polled, Record, StateReader, Topic,
};

/// The header by which a record of `events` says from which source its raw record was.
pub const SOURCE: &str = "source";

/// The name of whatever has no name.
const UNNAMED: &str = "(unnamed)";

/// The name of all that come after [`SOURCES_MAX`] others.
const OTHERS: &str = "(others)";

/// The most sources of a partition that are counted apart: senders choose their addresses.
const SOURCES_MAX: usize = 10_000;

/// The longest name of a listener or sender that is kept of a source, in letters.
const NAME_LETTERS_MAX: usize = 100;

/// The longest name of a source.
const SOURCE_BYTES_MAX: usize = 255;

/// What the keys of the ledger begin with, in a stage's state. It is an account of one bus: when
/// all moves to another, the ledger begins anew there.
pub(crate) const KEYS: &[u8] = b"\0ledger/";

/// What the keys of counts begin with.
const COUNTS: &[u8] = b"\0ledger/counts/";

/// What the keys of what is known of a source begin with.
const SEEN: &[u8] = b"\0ledger/seen/";

/// What the keys of first offsets begin with.
const FIRST: &[u8] = b"\0ledger/first/";

/// With more records than this on their way, they are not told apart by source.
const IN_FLIGHT_READ_MAX: u64 = 200_000;

/// How often a state is read again that changed while it was read.
const READ_TRIES: usize = 20;

/// How long reading what is on its way may take.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// The group under which it is read.
const GROUP: &str = "ledger";

/// What the records of a source became in one stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Records read, without those that were put back from `rejected`.
    pub consumed: u64,
    /// Records made of them for other topics.
    pub produced: u64,
    /// Records of which nothing was made, on purpose.
    pub dropped: u64,
    /// Records that are on `rejected` and were not handled since.
    pub rejected: u64,
    /// Records that were read again because they were put back.
    pub replayed: u64,
    /// Records that are a part of what was made of several.
    pub joined: u64,
}

impl Counts {
    fn add(&mut self, other: &Counts) {
        self.consumed += other.consumed;
        self.produced += other.produced;
        self.dropped += other.dropped;
        // Two's complement: a record that was put back and handled takes one away.
        self.rejected = self.rejected.wrapping_add(other.rejected);
        self.replayed += other.replayed;
        self.joined += other.joined;
    }

    fn encode(&self) -> Vec<u8> {
        [self.consumed, self.produced, self.dropped, self.rejected, self.replayed, self.joined]
            .iter()
            .flat_map(|count| count.to_le_bytes())
            .collect()
    }

    fn decode(bytes: &[u8]) -> Option<Counts> {
        let mut rest = bytes;
        let mut next = || {
            let (count, after) = rest.split_first_chunk::<8>()?;
            rest = after;
            Some(u64::from_le_bytes(*count))
        };
        Some(Counts {
            consumed: next()?,
            produced: next()?,
            dropped: next()?,
            rejected: next()?,
            replayed: next()?,
            // What was counted before there was such a thing.
            joined: next().unwrap_or_default(),
        })
    }
}

/// What is known of a source beside its counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// The bytes of its records, without keys and headers.
    pub bytes: u64,
    /// When its first record was appended; none if it was counted before this was kept.
    pub first: Option<Timestamp>,
    /// When its last record was appended.
    pub last: Option<Timestamp>,
    /// The listener of its last record.
    pub listener: String,
    /// The name that it proved with its last record; empty if it was not asked.
    pub sender: String,
}

impl Seen {
    fn see(&mut self, record: &Record<'_>) {
        self.bytes += record.value.len() as u64;
        self.first.get_or_insert(record.timestamp);
        if self.last.is_some_and(|last| last > record.timestamp) {
            return;
        }
        self.last = Some(record.timestamp);
        let known = [(LISTENER, &mut self.listener), (SENDER, &mut self.sender)];
        for (header, kept) in known {
            let now = record.headers.get_str(header).unwrap_or_default();
            if kept != now {
                kept.clear();
                kept.extend(now.chars().take(NAME_LETTERS_MAX));
            }
        }
    }

    /// Adds what another partition, or a later time, knows of the same source.
    fn add(&mut self, other: &Seen) {
        self.bytes += other.bytes;
        self.first = [self.first, other.first].into_iter().flatten().min();
        if other.last >= self.last {
            self.last = other.last;
            self.listener.clone_from(&other.listener);
            self.sender.clone_from(&other.sender);
        }
    }

    fn encode(&self) -> Vec<u8> {
        let time = |time: Option<Timestamp>| time.map_or(i64::MIN, Timestamp::as_nanos);
        let mut bytes = self.bytes.to_le_bytes().to_vec();
        bytes.extend(time(self.first).to_le_bytes());
        bytes.extend(time(self.last).to_le_bytes());
        bytes.extend(self.listener.as_bytes());
        bytes.push(0);
        bytes.extend(self.sender.as_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Seen> {
        let mut rest = bytes;
        let mut next = || {
            let (number, after) = rest.split_first_chunk::<8>()?;
            rest = after;
            Some(*number)
        };
        let count = u64::from_le_bytes(next()?);
        let mut time = || {
            let nanoseconds = i64::from_le_bytes(next()?);
            Some((nanoseconds != i64::MIN).then(|| Timestamp::from_nanos(nanoseconds)))
        };
        let (first, last) = (time()?, time()?);
        let (listener, sender) = std::str::from_utf8(rest).ok()?.split_once('\0')?;
        let (listener, sender) = (listener.to_owned(), sender.to_owned());
        Some(Seen { bytes: count, first, last, listener, sender })
    }
}

/// What became of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// So many records were made of it; where a stage keeps its data elsewhere, none.
    Handled { produced: u64 },
    /// The stage keeps it, for what it makes of several; so many records were made meanwhile.
    Held { produced: u64 },
    /// Nothing was made of it although something could have been.
    Dropped,
    /// It is on `rejected`.
    Rejected,
    /// It was put back for another stage.
    NotOurs,
}

/// Counts of records whose offsets are not committed yet.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// The topic that is counted; none where nothing is.
    topic: Option<Topic>,
    partitions: BTreeMap<Partition, PartitionCounts>,
}

#[derive(Debug, Default)]
struct PartitionCounts {
    /// From which offset on records are not counted yet.
    floor: Offset,
    counts: HashMap<String, (Counts, Seen)>,
    /// The sources that have counts of their own.
    known: HashSet<String>,
}

impl Pending {
    /// Counts this topic, or nothing.
    pub(crate) fn of(topic: Option<Topic>) -> Self {
        Pending { topic, ..Pending::default() }
    }

    /// Begins again where the group committed.
    pub(crate) fn restart(
        &mut self,
        floors: impl Iterator<Item = (Topic, Partition, Offset)>,
        state: &dyn StateReader,
    ) -> Result<(), BusError> {
        self.partitions.clear();
        let Some(topic) = self.topic else { return Ok(()) };
        for (_, partition, floor) in floors.filter(|(of, _, _)| *of == topic) {
            self.partitions.insert(partition, PartitionCounts { floor, ..Default::default() });
        }
        let prefix = counts_prefix(topic);
        let partitions = &mut self.partitions;
        state.scan(&prefix, &mut |partition, key, _| {
            if let (Some(counts), Some(name)) =
                (partitions.get_mut(&partition), key.strip_prefix(prefix.as_slice()))
            {
                counts.known.insert(String::from_utf8_lossy(name).into_owned());
            }
        })
    }

    /// Whether what became of a record was committed already.
    pub(crate) fn is_counted(&self, record: &Record<'_>) -> bool {
        self.topic == Some(record.topic)
            && self
                .partitions
                .get(&record.partition)
                .is_some_and(|counts| record.offset < counts.floor)
    }

    /// Counts what became of a record.
    pub(crate) fn count(&mut self, record: &Record<'_>, is_replay: bool, outcome: Outcome) {
        if self.topic != Some(record.topic) || self.is_counted(record) {
            return;
        }
        let Some(of) = self.partitions.get_mut(&record.partition) else { return };
        let (counts, seen) = of.of_source(&source(record));
        if !is_replay && record.topic == Topic::Raw && outcome != Outcome::NotOurs {
            seen.see(record);
        }
        match (is_replay, outcome) {
            (_, Outcome::NotOurs) | (true, Outcome::Rejected) => counts.replayed += 1,
            (true, Outcome::Handled { produced }) => {
                counts.replayed += 1;
                counts.produced += produced;
                counts.rejected = counts.rejected.wrapping_sub(1);
            }
            (true, Outcome::Held { produced }) => {
                counts.replayed += 1;
                counts.produced += produced;
                counts.joined += 1;
                counts.rejected = counts.rejected.wrapping_sub(1);
            }
            (true, Outcome::Dropped) => {
                counts.replayed += 1;
                counts.dropped += 1;
                counts.rejected = counts.rejected.wrapping_sub(1);
            }
            (false, outcome) => {
                counts.consumed += 1;
                match outcome {
                    Outcome::Handled { produced } => counts.produced += produced,
                    Outcome::Held { produced } => {
                        counts.produced += produced;
                        counts.joined += 1;
                    }
                    Outcome::Dropped => counts.dropped += 1,
                    Outcome::Rejected => counts.rejected += 1,
                    Outcome::NotOurs => {}
                }
            }
        }
    }

    /// Counts what a stage made behind the mark of records that it had kept. It is counted under one
    /// of the partitions: accounts are sums over all.
    pub(crate) fn count_made_late(&mut self, output: &Output, mark: Mark) {
        let Some(of) = self.partitions.values_mut().next() else { return };
        for record in output.made_since(Topic::Events, mark) {
            of.of_source(&source_named(record.headers.get(SOURCE))).0.produced += 1;
        }
    }

    /// Puts the new totals into the output, as state.
    pub(crate) fn write(
        &self,
        state: &dyn StateReader,
        output: &mut Output,
    ) -> Result<(), BusError> {
        let Some(topic) = self.topic else { return Ok(()) };
        for (partition, of) in &self.partitions {
            for (name, (more, seen)) in &of.counts {
                if *seen != Seen::default() {
                    let key = [&seen_prefix(topic), name.as_bytes()].concat();
                    let stored = state.get(*partition, &key)?;
                    let mut all = stored.as_deref().and_then(Seen::decode).unwrap_or_default();
                    all.add(seen);
                    output.put_state(*partition, key, all.encode());
                }
                let key = [&counts_prefix(topic), name.as_bytes()].concat();
                let stored = state.get(*partition, &key)?;
                let mut counts = stored.as_deref().and_then(Counts::decode).unwrap_or_default();
                counts.add(more);
                output.put_state(*partition, key, counts.encode());
            }
            let key = first_key(topic);
            if !of.counts.is_empty() && state.get(*partition, &key)?.is_none() {
                output.put_state(*partition, key, of.floor.0.to_le_bytes());
            }
        }
        Ok(())
    }

    /// What was written is committed.
    pub(crate) fn committed(&mut self) {
        for of in self.partitions.values_mut() {
            for (name, _) in of.counts.drain() {
                of.known.insert(name);
            }
        }
    }
}

impl PartitionCounts {
    /// The counts of a source; the name is copied once per commit.
    fn of_source(&mut self, name: &str) -> &mut (Counts, Seen) {
        if !self.counts.contains_key(name) {
            let is_too_many = self.known.len() + self.counts.len() >= SOURCES_MAX;
            let name = if is_too_many && !self.known.contains(name) { OTHERS } else { name };
            return self.counts.entry(name.to_owned()).or_default();
        }
        self.counts.get_mut(name).expect("it was just found")
    }
}

fn counts_prefix(topic: Topic) -> Vec<u8> {
    [COUNTS, topic.as_str().as_bytes(), b"/"].concat()
}

fn seen_prefix(topic: Topic) -> Vec<u8> {
    [SEEN, topic.as_str().as_bytes(), b"/"].concat()
}

fn first_key(topic: Topic) -> Vec<u8> {
    [FIRST, topic.as_str().as_bytes()].concat()
}

/// From which source a record is.
fn source<'a>(record: &Record<'a>) -> std::borrow::Cow<'a, str> {
    source_named(match record.topic {
        Topic::Raw => Some(record.key),
        _ => record.headers.get(SOURCE),
    })
}

fn source_named(name: Option<&[u8]>) -> std::borrow::Cow<'_, str> {
    let name = name.unwrap_or_default();
    let name = name.get(..name.len().min(SOURCE_BYTES_MAX)).unwrap_or_default();
    if name.is_empty() { UNNAMED.into() } else { String::from_utf8_lossy(name) }
}

/// The account of one source.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Account {
    /// The source.
    pub source: String,
    /// Raw records that were normalised, dropped or rejected.
    pub received: u64,
    /// Raw records that are a part of an event made of several.
    pub joined: u64,
    /// Raw records dropped on purpose.
    pub dropped: u64,
    /// Records on `rejected`, of both stages.
    pub rejected: u64,
    /// Events made of the raw records.
    pub events: u64,
    /// Events that are indexed.
    pub stored: u64,
    /// Events on their way to the index.
    pub in_flight: u64,
    /// Events missing (negative) or too many (positive). Zero, or something is wrong.
    pub error: i64,
    /// What is known of it beside.
    pub seen: Seen,
}

/// The accounts of all sources.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ledger {
    /// By the name of the source.
    pub accounts: Vec<Account>,
    /// Raw records that are not normalised yet.
    pub raw_in_flight: u64,
    /// Events on their way to the index.
    pub events_in_flight: u64,
    /// Offsets that are committed and were counted under no source, or counted twice; only where
    /// every offset is a record.
    pub uncounted: i64,
    /// Whether events on their way were too many to be told apart by source; errors are not known
    /// then.
    pub is_partial: bool,
}

impl Ledger {
    /// The sum of all errors, without their signs.
    pub fn imbalance(&self) -> u64 {
        let errors: u64 = self.accounts.iter().map(|account| account.error.unsigned_abs()).sum();
        errors + self.uncounted.unsigned_abs()
    }

    /// Reads the ledger between the group that normalises and the group that indexes. It can be read
    /// while they run: what moves meanwhile is no error.
    ///
    /// # Errors
    /// When the bus does not answer, or nothing stands still for long enough.
    pub fn read(bus: &dyn Bus, normalize: &str, index: &str) -> Result<Ledger, BusError> {
        for _ in 0..READ_TRIES {
            let made_before = End::read(bus, normalize, Topic::Raw)?;
            let indexed = End::read(bus, index, Topic::Events)?;
            let unread = bus.lag(index, &[Topic::Events])?;
            let is_partial = unread > IN_FLIGHT_READ_MAX;
            let on_the_way = match is_partial {
                true => BTreeMap::new(),
                false => in_flight(bus, &indexed.committed)?,
            };
            if End::read(bus, index, Topic::Events)? != indexed {
                std::thread::sleep(Duration::from_millis(50));
                continue;
            }
            let made_after = End::read(bus, normalize, Topic::Raw)?;
            let mut ledger = Ledger {
                raw_in_flight: bus.lag(normalize, &[Topic::Raw])?,
                events_in_flight: unread,
                is_partial,
                uncounted: if bus.has_dense_offsets() {
                    made_before.uncounted() + indexed.uncounted()
                } else {
                    0
                },
                ..Ledger::default()
            };
            let mut names: Vec<&String> = made_after.counts.keys().collect();
            names.extend(indexed.counts.keys());
            names.extend(on_the_way.keys());
            names.sort_unstable();
            names.dedup();
            // Which sources are among the others may differ at both ends.
            let has_others = names.iter().any(|name| *name == OTHERS);
            for name in names {
                let made = made_after.counts.get(name).copied().unwrap_or_default();
                let made_at_least =
                    made_before.counts.get(name).map_or(0, |counts| counts.produced);
                let end = indexed.counts.get(name).copied().unwrap_or_default();
                let in_flight = on_the_way.get(name).copied().unwrap_or_default();
                let there = end.consumed + in_flight;
                let error = if is_partial || has_others {
                    0
                } else if there < made_at_least {
                    -difference(made_at_least, there)
                } else {
                    difference(there.max(made.produced), made.produced)
                };
                ledger.accounts.push(Account {
                    source: name.clone(),
                    received: made.consumed,
                    joined: made.joined,
                    dropped: made.dropped,
                    rejected: made.rejected + end.rejected,
                    events: made.produced,
                    stored: end.consumed.wrapping_sub(end.rejected),
                    in_flight,
                    error,
                    seen: made_after.seen.get(name).cloned().unwrap_or_default(),
                });
            }
            return Ok(ledger);
        }
        Err(BusError::Unavailable {
            doing: "reading the ledger",
            reason: "the counts change too fast".to_owned(),
        })
    }
}

/// How many records there were of each source, by its name, and what is known of it.
pub type Sources = BTreeMap<String, (Counts, Seen)>;

/// The sources of the records that a group has normalised. Cheaper than the whole ledger.
///
/// # Errors
/// When the bus does not answer.
pub fn sources(bus: &dyn Bus, normalize: &str) -> Result<Sources, BusError> {
    let End { counts, mut seen, .. } = End::read(bus, normalize, Topic::Raw)?;
    let with_seen = counts.into_iter().map(|(name, counts)| {
        let seen = seen.remove(&name).unwrap_or_default();
        (name, (counts, seen))
    });
    Ok(with_seen.collect())
}

fn difference(larger: u64, smaller: u64) -> i64 {
    i64::try_from(larger - smaller).unwrap_or(i64::MAX)
}

/// One stage's counts, and the offsets that they are of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct End {
    counts: BTreeMap<String, Counts>,
    seen: BTreeMap<String, Seen>,
    first: BTreeMap<Partition, u64>,
    committed: Vec<Option<Offset>>,
}

impl End {
    fn read(bus: &dyn Bus, group: &str, topic: Topic) -> Result<End, BusError> {
        let mut end = End { committed: bus.committed(group, topic)?, ..End::default() };
        let counts_of = counts_prefix(topic);
        let seen_of = seen_prefix(topic);
        let first_of = first_key(topic);
        bus.state_of(group, &mut |partition, key, value| {
            if let Some(name) = key.strip_prefix(counts_of.as_slice()) {
                let name = String::from_utf8_lossy(name).into_owned();
                let counts = Counts::decode(value).unwrap_or_default();
                end.counts.entry(name).or_default().add(&counts);
            } else if let Some(name) = key.strip_prefix(seen_of.as_slice()) {
                let name = String::from_utf8_lossy(name).into_owned();
                let seen = Seen::decode(value).unwrap_or_default();
                end.seen.entry(name).or_default().add(&seen);
            } else if key == first_of.as_slice()
                && let Ok(first) = value.try_into()
            {
                end.first.insert(partition, u64::from_le_bytes(first));
            }
        })?;
        // Committed between the two questions? Then it is not of one moment.
        if bus.committed(group, topic)? == end.committed {
            Ok(end)
        } else {
            End::again(bus, group, topic)
        }
    }

    fn again(bus: &dyn Bus, group: &str, topic: Topic) -> Result<End, BusError> {
        std::thread::sleep(Duration::from_millis(10));
        End::read(bus, group, topic)
    }

    /// Committed offsets without a count, or counts without an offset.
    fn uncounted(&self) -> i64 {
        let offsets: u64 = (0..)
            .zip(&self.committed)
            .filter_map(|(partition, at)| {
                let first = self.first.get(&Partition(partition))?;
                Some(at.unwrap_or_default().0.saturating_sub(*first))
            })
            .sum();
        let counted: u64 =
            self.counts.values().map(|counts| counts.consumed + counts.replayed).sum();
        i64::try_from(offsets).unwrap_or(i64::MAX) - i64::try_from(counted).unwrap_or(i64::MAX)
    }
}

/// Events that a group has still to read, by source, without those that were put back.
fn in_flight(
    bus: &dyn Bus,
    committed: &[Option<Offset>],
) -> Result<BTreeMap<String, u64>, BusError> {
    let mut found = BTreeMap::new();
    let extents = bus.extents(Topic::Events)?;
    let mut left: BTreeMap<Partition, Offset> = BTreeMap::new();
    for (extent, at) in extents.iter().zip(committed) {
        if at.unwrap_or(extent.begin).max(extent.begin) < extent.end {
            left.insert(extent.partition, extent.end);
        }
    }
    if left.is_empty() {
        return Ok(found);
    }
    let mut consumer = bus.consumer(GROUP, &[Topic::Events])?;
    let mut batch = Batch::new();
    let deadline = Instant::now() + READ_TIMEOUT;
    let mut quiet = 0;
    while !left.is_empty() && quiet < QUIET_POLLS {
        if Instant::now() >= deadline {
            let reason = "what is on its way cannot be read".to_owned();
            return Err(BusError::Unavailable { doing: "reading the ledger", reason });
        }
        match consumer.poll(&PollLimits::default(), &mut batch)? {
            Polled::Reassigned => {
                found.clear();
                for (extent, at) in extents.iter().zip(committed) {
                    let at = at.unwrap_or(extent.begin).max(extent.begin);
                    let is_ours =
                        consumer.assignment().contains(&(Topic::Events, extent.partition));
                    if is_ours {
                        consumer.seek(Topic::Events, extent.partition, at)?;
                    }
                }
                continue;
            }
            Polled::Records => quiet = 0,
            // The last offset may be the mark of a transaction, which is never read.
            Polled::Nothing => quiet += u32::from(!consumer.assignment().is_empty()),
        }
        for record in batch.iter() {
            let Some(end) = left.get(&record.partition) else { continue };
            if record.offset < *end && record.headers.get(crate::replayed_header::FROM).is_none() {
                *found.entry(source(&record).into_owned()).or_default() += 1;
            }
            if Offset(record.offset.0 + 1) >= *end {
                left.remove(&record.partition);
            }
        }
    }
    Ok(found)
}

/// So many polls without a record are the end.
const QUIET_POLLS: u32 = 5;
