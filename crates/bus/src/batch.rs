//! What a consumer polled: records of several partitions in one buffer that is used again.
//!
//! Within a partition the records are in order. What is missing between two of them, because
//! retention removed it or because its bytes are damaged, is told as a [`Gap`]: the reader goes on,
//! and nobody can say that nothing was lost.

use event::Timestamp;

use crate::records::RecordRef;
use crate::{Headers, Offset, Partition, PollLimits, Topic};

/// Records that a poll brought.
#[derive(Debug, Default)]
pub struct Batch {
    /// Records in their stored form.
    bytes: Vec<u8>,
    places: Vec<Place>,
    gaps: Vec<Gap>,
}

/// A record with its place on the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// The topic it is in.
    pub topic: Topic,
    /// The partition it is in.
    pub partition: Partition,
    /// Its offset in the partition.
    pub offset: Offset,
    /// When it was appended, to the millisecond.
    pub timestamp: Timestamp,
    /// The key, empty when there is none.
    pub key: &'a [u8],
    /// The headers.
    pub headers: Headers<'a>,
    /// The value.
    pub value: &'a [u8],
}

/// Records that a consumer should have had and could not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The topic.
    pub topic: Topic,
    /// The partition.
    pub partition: Partition,
    /// The first missing offset.
    pub first: Offset,
    /// The offset after the last missing one, where reading goes on.
    pub next: Offset,
    /// Why.
    pub reason: GapReason,
}

/// Why records are missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GapReason {
    /// Retention removed them before this consumer came.
    Retention,
    /// Their stored bytes are damaged; the text says what is wrong with them.
    Corrupt(String),
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Batch::default()
    }

    /// How many records.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The bytes of all records.
    pub fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// The record at an index below [`Batch::len`].
    pub fn get(&self, index: usize) -> Option<Record<'_>> {
        self.places.get(index).map(|place| self.record(place))
    }

    /// All records; those of one partition are in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Record<'_>> + '_ {
        self.places.iter().map(|place| self.record(place))
    }

    /// What this consumer could not have.
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// Forgets all, and keeps the memory. Backends call it at the start of a poll.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.places.clear();
        self.gaps.clear();
    }

    /// Adds a record; for backends.
    pub fn push(
        &mut self,
        topic: Topic,
        partition: Partition,
        offset: Offset,
        timestamp: Timestamp,
        record: RecordRef<'_>,
    ) {
        let start = self.bytes.len();
        record.encode_into(&mut self.bytes);
        self.places.push(Place { topic, partition, offset, timestamp, start });
    }

    /// Adds records that are in their stored form, one after the other, beginning with the offset
    /// `first`. `fill` appends their bytes to the buffer. Takes those from the offset `from` on, and
    /// stops at the limits. Returns the offset to go on at, or what is wrong with the bytes.
    pub(crate) fn extend_encoded(
        &mut self,
        run: Run,
        from: Offset,
        limits: &PollLimits,
        fill: impl FnOnce(&mut Vec<u8>) -> Result<(), String>,
    ) -> Result<Offset, String> {
        let (bytes_before, places_before) = (self.bytes.len(), self.places.len());
        let added =
            fill(&mut self.bytes).and_then(|()| self.place(run, from, limits, bytes_before));
        if added.is_err() {
            self.bytes.truncate(bytes_before);
            self.places.truncate(places_before);
        }
        added
    }

    fn place(
        &mut self,
        run: Run,
        from: Offset,
        limits: &PollLimits,
        mut start: usize,
    ) -> Result<Offset, String> {
        let mut offset = run.first;
        for _ in 0..run.count {
            let rest = self.bytes.get(start..).unwrap_or_default();
            let (_, after) = RecordRef::decode(rest)
                .ok_or_else(|| format!("the record at offset {offset} is cut short"))?;
            let after_bytes = after.len();
            if offset >= from {
                if self.is_full(limits, start) {
                    self.bytes.truncate(start);
                    return Ok(offset);
                }
                let Run { topic, partition, timestamp, .. } = run;
                self.places.push(Place { topic, partition, offset, timestamp, start });
            }
            start = self.bytes.len() - after_bytes;
            offset = Offset(offset.0 + 1);
        }
        if start != self.bytes.len() {
            return Err(format!("{} bytes follow the last record", self.bytes.len() - start));
        }
        Ok(offset)
    }

    /// Whether a poll with these limits has enough, with `bytes` in the buffer.
    fn is_full(&self, limits: &PollLimits, bytes: usize) -> bool {
        !self.places.is_empty()
            && (self.places.len() >= limits.records_max || bytes >= limits.bytes_max)
    }

    /// Whether a poll with these limits has enough.
    pub(crate) fn is_enough(&self, limits: &PollLimits) -> bool {
        self.is_full(limits, self.bytes.len())
    }

    /// Adds a gap; for backends.
    pub fn push_gap(&mut self, gap: Gap) {
        self.gaps.push(gap);
    }

    fn record(&self, place: &Place) -> Record<'_> {
        let bytes = self.bytes.get(place.start..).unwrap_or_default();
        let (record, _rest) = RecordRef::decode(bytes).expect("a record was decoded when placed");
        Record {
            topic: place.topic,
            partition: place.partition,
            offset: place.offset,
            timestamp: place.timestamp,
            key: record.key,
            headers: record.headers,
            value: record.value,
        }
    }
}

/// Records that were stored together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) topic: Topic,
    pub(crate) partition: Partition,
    pub(crate) first: Offset,
    pub(crate) count: u32,
    pub(crate) timestamp: Timestamp,
}

#[derive(Debug)]
struct Place {
    topic: Topic,
    partition: Partition,
    offset: Offset,
    timestamp: Timestamp,
    /// Where the record starts in the buffer.
    start: usize,
}
