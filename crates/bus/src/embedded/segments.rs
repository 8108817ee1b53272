//! Segments: what retention counts in.
//!
//! To know how old and how large the oldest records are without reading them, a partition keeps a
//! short list: where each megabyte or minute of it ends, when, how many bytes it took, and which entry
//! file they are in. The ends are written in the same batch as the entries, so the list is right after
//! a crash.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::time::Duration;

use event::Timestamp;

use super::files::FileNumber;
use crate::Offset;

/// A segment is closed at this size: retention by size is this exact.
const SEGMENT_BYTES: u64 = 1024 * 1024;

/// A segment is closed at this age: retention by age is this exact.
const SEGMENT_AGE_MS: i64 = 60_000;

/// A run of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    /// Its last offset.
    pub(super) last: Offset,
    /// When its first record was appended, as ages are told ([`AgeClock`](event::AgeClock)).
    pub(super) opened: Timestamp,
    /// When its last record was appended.
    pub(super) newest: Timestamp,
    /// The bytes of its entries.
    pub(super) bytes: u64,
    /// The file that its large entries are in, if it has any. All are in one: a segment that went on
    /// for days would keep every file of those days on the disk.
    pub(super) file: Option<FileNumber>,
}

/// An entry, for the list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Added {
    /// Its last offset.
    pub(super) last: Offset,
    /// When it was appended.
    pub(super) time: Timestamp,
    pub(super) bytes: u64,
    /// The file it is in, if it is in one.
    pub(super) file: Option<FileNumber>,
}

/// The segments of one partition, oldest first.
#[derive(Debug, Default)]
pub(super) struct Segments {
    closed: VecDeque<Segment>,
    open: Option<Segment>,
    bytes: u64,
}

impl Segments {
    /// Adds an entry, and returns the segments that are closed before it and with it, which must be
    /// stored with it.
    pub(super) fn add(&mut self, entry: Added) -> [Option<Segment>; 2] {
        let Added { last, time, bytes, file } = entry;
        self.bytes += bytes;
        let other_file =
            |open: &Segment| open.file.is_some() && file.is_some() && open.file != file;
        let before =
            if self.open.as_ref().is_some_and(other_file) { self.close_open() } else { None };
        let segment =
            self.open.get_or_insert(Segment { last, opened: time, newest: time, bytes: 0, file });
        segment.last = last;
        // Damaged entries have no time.
        segment.newest = segment.newest.max(time);
        segment.bytes += bytes;
        segment.file = segment.file.or(file);
        let age_ms = segment.newest.as_millis() - segment.opened.as_millis();
        let is_full = segment.bytes >= SEGMENT_BYTES || age_ms >= SEGMENT_AGE_MS;
        [before, if is_full { self.close_open() } else { None }]
    }

    /// Closes the open segment, if there is one.
    pub(super) fn close_open(&mut self) -> Option<Segment> {
        let segment = self.open.take()?;
        self.closed.push_back(segment);
        Some(segment)
    }

    /// The files that entries are in, some of them several times.
    pub(super) fn files(&self) -> impl Iterator<Item = FileNumber> {
        self.closed.iter().chain(&self.open).filter_map(|segment| segment.file)
    }

    /// Puts back a stored segment, in order.
    pub(super) fn restore(&mut self, segment: Segment) {
        self.bytes += segment.bytes;
        self.closed.push_back(segment);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn last_closed(&self) -> Option<Offset> {
        self.closed.back().map(|segment| segment.last)
    }

    /// The oldest segment, if all of it is older than the age.
    pub(super) fn expired(&self, now: Timestamp, age: Duration) -> Option<Segment> {
        let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let oldest_ms = now.as_millis().saturating_sub(age_ms);
        let segment = self.oldest()?;
        (segment.newest.as_millis() < oldest_ms).then_some(segment)
    }

    /// The oldest segment, open or closed.
    pub(super) fn oldest(&self) -> Option<Segment> {
        self.closed.front().copied().or(self.open)
    }

    /// Removes the oldest segment; the flag tells whether it was stored.
    pub(super) fn remove_oldest(&mut self) -> Option<(Segment, bool)> {
        let removed = match self.closed.pop_front() {
            Some(segment) => (segment, true),
            None => (self.open.take()?, false),
        };
        self.bytes -= removed.0.bytes;
        Some(removed)
    }
}

impl Segment {
    /// The number of the file ends it, if it has one; there was none before there were files.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(32);
        bytes.extend_from_slice(&self.opened.as_millis().to_le_bytes());
        bytes.extend_from_slice(&self.newest.as_millis().to_le_bytes());
        bytes.extend_from_slice(&self.bytes.to_le_bytes());
        if let Some(FileNumber(number)) = self.file {
            bytes.extend_from_slice(&number.get().to_le_bytes());
        }
        bytes
    }

    pub(super) fn decode(last: Offset, bytes: &[u8]) -> Option<Self> {
        let (opened, rest) = bytes.split_first_chunk::<8>()?;
        let (newest, rest) = rest.split_first_chunk::<8>()?;
        let (bytes, rest) = rest.split_first_chunk::<8>()?;
        let file = match rest {
            [] => None,
            number => {
                Some(FileNumber(NonZeroU64::new(u64::from_le_bytes(number.try_into().ok()?))?))
            }
        };
        Some(Segment {
            last,
            opened: Timestamp::from_millis(i64::from_le_bytes(*opened)),
            newest: Timestamp::from_millis(i64::from_le_bytes(*newest)),
            bytes: u64::from_le_bytes(*bytes),
            file,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn entry(last: u64, ms: i64, bytes: u64, file: u64) -> Added {
        let file = NonZeroU64::new(file).map(FileNumber);
        Added { last: Offset(last), time: at(ms), bytes, file }
    }

    #[test]
    fn segments_close_by_size_and_by_age() {
        let mut segments = Segments::default();
        assert_eq!(segments.add(entry(0, 0, 10, 0)), [None; 2]);
        assert_eq!(segments.add(entry(5, 59_999, 10, 0)), [None; 2]);
        let closed = segments.add(entry(9, 60_000, 10, 0))[1].unwrap();
        assert_eq!((closed.last, closed.bytes), (Offset(9), 30));
        let closed = segments.add(entry(10, 60_001, SEGMENT_BYTES, 0))[1].unwrap();
        assert_eq!(closed.encode().len(), 24, "as before there were files");
        assert_eq!(Segment::decode(Offset(10), &closed.encode()), Some(closed));
        assert_eq!(segments.bytes(), 30 + SEGMENT_BYTES);
    }

    #[test]
    fn a_segment_is_in_one_file() {
        let mut segments = Segments::default();
        for (last, file) in [(0, 0), (1, 7), (2, 0), (3, 7)] {
            assert_eq!(segments.add(entry(last, 0, 10, file)), [None; 2]);
        }
        let [before, with] = segments.add(entry(4, 0, SEGMENT_BYTES, 8));
        let (before, with) = (before.unwrap(), with.unwrap());
        assert_eq!((before.last, before.bytes), (Offset(3), 40));
        assert_eq!((with.last, with.bytes), (Offset(4), SEGMENT_BYTES));
        let numbers: Vec<u64> = segments.files().map(|FileNumber(number)| number.get()).collect();
        assert_eq!(numbers, [7, 8]);
        assert_eq!(Segment::decode(Offset(3), &before.encode()), Some(before));
        assert_eq!(Segment::decode(Offset(3), &before.encode()[..31]), None);
    }

    #[test]
    fn a_segment_expires_with_its_newest_record() {
        let mut segments = Segments::default();
        segments.add(entry(0, 0, 10, 0));
        segments.add(entry(1, 1000, 10, 0));
        let age = Duration::from_millis(500);
        assert_eq!(segments.expired(at(1500), age), None);
        assert!(segments.expired(at(1501), age).is_some());
        assert_eq!(segments.expired(at(-5), Duration::MAX), None);
        let (removed, stored) = segments.remove_oldest().unwrap();
        assert_eq!((removed.last, stored), (Offset(1), false));
        assert_eq!(segments.bytes(), 0);
    }
}
