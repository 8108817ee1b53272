//! Segments: what retention counts in.
//!
//! To know how old and how large the oldest records are without reading them, a partition keeps a
//! short list: where each megabyte or minute of it ends, when, and how many bytes it took. The ends
//! are written in the same batch as the entries, so the list is right after a crash.

use std::collections::VecDeque;
use std::time::Duration;

use event::Timestamp;

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
}

/// The segments of one partition, oldest first.
#[derive(Debug, Default)]
pub(super) struct Segments {
    closed: VecDeque<Segment>,
    open: Option<Segment>,
    bytes: u64,
}

impl Segments {
    /// Adds an entry, and returns the segment that it closes, which must be stored with it.
    pub(super) fn add(&mut self, last: Offset, time: Timestamp, bytes: u64) -> Option<Segment> {
        self.bytes += bytes;
        let segment =
            self.open.get_or_insert(Segment { last, opened: time, newest: time, bytes: 0 });
        segment.last = last;
        // Damaged entries have no time.
        segment.newest = segment.newest.max(time);
        segment.bytes += bytes;
        let age_ms = segment.newest.as_millis() - segment.opened.as_millis();
        if segment.bytes >= SEGMENT_BYTES || age_ms >= SEGMENT_AGE_MS {
            self.close_open()
        } else {
            None
        }
    }

    /// Closes the open segment, if there is one.
    pub(super) fn close_open(&mut self) -> Option<Segment> {
        let segment = self.open.take()?;
        self.closed.push_back(segment);
        Some(segment)
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
    const BYTES: usize = 24;

    pub(super) fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.opened.as_millis().to_le_bytes());
        bytes[8..16].copy_from_slice(&self.newest.as_millis().to_le_bytes());
        bytes[16..].copy_from_slice(&self.bytes.to_le_bytes());
        bytes
    }

    pub(super) fn decode(last: Offset, bytes: &[u8]) -> Option<Self> {
        let (opened, rest) = bytes.split_first_chunk::<8>()?;
        let (newest, rest) = rest.split_first_chunk::<8>()?;
        Some(Segment {
            last,
            opened: Timestamp::from_millis(i64::from_le_bytes(*opened)),
            newest: Timestamp::from_millis(i64::from_le_bytes(*newest)),
            bytes: u64::from_le_bytes(rest.try_into().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn segments_close_by_size_and_by_age() {
        let mut segments = Segments::default();
        assert_eq!(segments.add(Offset(0), at(0), 10), None);
        assert_eq!(segments.add(Offset(5), at(59_999), 10), None);
        let closed = segments.add(Offset(9), at(60_000), 10).unwrap();
        assert_eq!((closed.last, closed.bytes), (Offset(9), 30));
        let closed = segments.add(Offset(10), at(60_001), SEGMENT_BYTES).unwrap();
        assert_eq!(Segment::decode(Offset(10), &closed.encode()), Some(closed));
        assert_eq!(segments.bytes(), 30 + SEGMENT_BYTES);
    }

    #[test]
    fn a_segment_expires_with_its_newest_record() {
        let mut segments = Segments::default();
        segments.add(Offset(0), at(0), 10);
        segments.add(Offset(1), at(1000), 10);
        let age = Duration::from_millis(500);
        assert_eq!(segments.expired(at(1500), age), None);
        assert!(segments.expired(at(1501), age).is_some());
        assert_eq!(segments.expired(at(-5), Duration::MAX), None);
        let (removed, stored) = segments.remove_oldest().unwrap();
        assert_eq!((removed.last, stored), (Offset(1), false));
        assert_eq!(segments.bytes(), 0);
    }
}
