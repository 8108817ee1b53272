//! An arena of records on their way into a topic.
//!
//! A record here is already in the form in which the embedded log stores it, one after the other in
//! one buffer, so that pushing allocates nothing once the buffer has grown, and appending copies
//! whole runs of bytes. The form of a record, all numbers little endian:
//!
//! ```text
//! u32 key length | u32 headers length | u32 value length | key | headers | value
//! header: u16 name length | u32 value length | name | value
//! ```
//!
//! The time of a record is not here: it is the time of its append, and the bus sets it.

/// The most bytes that all headers of one record may take: they are for facts about the record, and
/// whoever reads one walks over all of them.
pub const HEADERS_MAX: usize = 64 * 1024;

/// The largest record unless set otherwise: a log line of 10 MB, and room for its headers. Larger
/// ones would make a batch, which must fit in memory several times, a danger.
pub const RECORD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How many bytes stand before the key: three lengths.
const PREFIX_BYTES: usize = 12;

/// How many bytes stand before a header's name: two lengths.
const HEADER_PREFIX_BYTES: usize = 6;

/// Records to append to one topic, reused by [`Records::clear`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records {
    bytes: Vec<u8>,
    /// Where each record ends in `bytes`.
    ends: Vec<usize>,
}

impl Records {
    /// An empty arena.
    pub const fn new() -> Self {
        Records { bytes: Vec::new(), ends: Vec::new() }
    }

    /// Adds a record. A key keeps records in one order; an empty key lets the bus choose.
    ///
    /// # Panics
    ///
    /// If a part is 4 GiB or more, or a header's name 64 KiB or more. The limit that callers meet
    /// is far below (the bus refuses such records with an error).
    pub fn push(&mut self, key: &[u8], headers: &[(&str, &[u8])], value: &[u8]) {
        let headers_bytes: usize = headers
            .iter()
            .map(|(name, value)| HEADER_PREFIX_BYTES + name.len() + value.len())
            .sum();
        self.bytes.reserve(PREFIX_BYTES + key.len() + headers_bytes + value.len());
        for length in [key.len(), headers_bytes, value.len()] {
            self.bytes.extend_from_slice(&length_u32(length).to_le_bytes());
        }
        self.bytes.extend_from_slice(key);
        for (name, value) in headers {
            let name_length = u16::try_from(name.len()).expect("a header's name is below 64 KiB");
            self.bytes.extend_from_slice(&name_length.to_le_bytes());
            self.bytes.extend_from_slice(&length_u32(value.len()).to_le_bytes());
            self.bytes.extend_from_slice(name.as_bytes());
            self.bytes.extend_from_slice(value);
        }
        self.bytes.extend_from_slice(value);
        self.ends.push(self.bytes.len());
    }

    /// How many records.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of all records, as stored before compression.
    pub fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// Copies a record, headers and all.
    pub fn push_record(&mut self, record: RecordRef<'_>) {
        record.encode_into(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// Forgets all records, and keeps the memory.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Forgets the records after the first `len`.
    pub fn truncate(&mut self, len: usize) {
        self.ends.truncate(len);
        self.bytes.truncate(self.ends.last().copied().unwrap_or(0));
    }

    /// The records, in the order they were pushed.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = RecordRef<'_>> + '_ {
        self.encoded().map(|bytes| {
            let (record, _rest) = RecordRef::decode(bytes).expect("only push writes records");
            record
        })
    }

    /// The records in their stored form.
    pub(crate) fn encoded(&self) -> impl ExactSizeIterator<Item = &[u8]> + '_ {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let record = self.bytes.get(start..end).expect("ends grow and lie within the bytes");
            start = end;
            record
        })
    }
}

/// A record within an arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// The key, empty when there is none.
    pub key: &'a [u8],
    /// The headers.
    pub headers: Headers<'a>,
    /// The value.
    pub value: &'a [u8],
}

impl<'a> RecordRef<'a> {
    /// Appends the stored form.
    pub(crate) fn encode_into(&self, bytes: &mut Vec<u8>) {
        let Headers(headers) = self.headers;
        bytes.reserve(PREFIX_BYTES + self.key.len() + headers.len() + self.value.len());
        for part in [self.key, headers, self.value] {
            bytes.extend_from_slice(&length_u32(part.len()).to_le_bytes());
        }
        for part in [self.key, headers, self.value] {
            bytes.extend_from_slice(part);
        }
    }

    /// Reads the first record of `bytes`, and returns what follows it. `None` if `bytes` is no
    /// stored record.
    pub(crate) fn decode(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (key_bytes, rest) = take_u32(bytes)?;
        let (headers_bytes, rest) = take_u32(rest)?;
        let (value_bytes, rest) = take_u32(rest)?;
        let (key, rest) = rest.split_at_checked(key_bytes)?;
        let (headers, rest) = rest.split_at_checked(headers_bytes)?;
        let (value, rest) = rest.split_at_checked(value_bytes)?;
        Some((RecordRef { key, headers: Headers(headers), value }, rest))
    }
}

/// The headers of a record: names and values in the order they were given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Headers<'a>(&'a [u8]);

impl<'a> Headers<'a> {
    /// The value of the first header with this name.
    pub fn get(self, name: &str) -> Option<&'a [u8]> {
        self.iter().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// Like [`Headers::get`], when it is text.
    pub fn get_str(self, name: &str) -> Option<&'a str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// All headers.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        let mut rest = self.0;
        // Headers that do not decode end the list: a foreign producer may have written them.
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first_chunk::<2>()?;
            let name_bytes = usize::from(u16::from_le_bytes(*length));
            let (value_bytes, after) = take_u32(after)?;
            let (name, after) = after.split_at_checked(name_bytes)?;
            let (value, after) = after.split_at_checked(value_bytes)?;
            rest = after;
            Some((std::str::from_utf8(name).ok()?, value))
        })
    }

    /// How many bytes all headers take.
    pub fn bytes_len(self) -> usize {
        self.0.len()
    }
}

fn length_u32(length: usize) -> u32 {
    u32::try_from(length).expect("a part of a record is below 4 GiB")
}

fn take_u32(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*number) as usize, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn clearing_keeps_the_memory() {
        let mut records = Records::new();
        records.push(b"key", &[("source", b"10.0.0.1")], &[7; 1000]);
        let before = records.bytes.as_ptr();
        records.clear();
        assert!(records.is_empty());
        records.push(b"other", &[], &[8; 900]);
        assert_eq!(records.bytes.as_ptr(), before);
        assert_eq!(records.len(), 1);
    }

    #[test]
    fn truncating_drops_the_newest() {
        let mut records = Records::new();
        for value in 0..5u8 {
            records.push(&[], &[], &[value]);
        }
        records.truncate(2);
        let values: Vec<u8> = records.iter().map(|record| record.value[0]).collect();
        assert_eq!(values, [0, 1]);
        records.truncate(9);
        assert_eq!(records.len(), 2);
    }

    #[test]
    fn headers_are_found_by_name() {
        let mut records = Records::new();
        records.push(b"", &[("a", b"1"), ("b", b"\xff"), ("a", b"2")], b"v");
        let record = records.iter().next().unwrap();
        assert_eq!(record.headers.get("a"), Some(b"1".as_slice()));
        assert_eq!(record.headers.get_str("b"), None);
        assert_eq!(record.headers.get("c"), None);
        assert_eq!(record.headers.iter().count(), 3);
    }

    proptest! {
        #[test]
        fn what_is_pushed_is_read(
            key in prop::collection::vec(any::<u8>(), 0..20),
            headers in prop::collection::vec(("[a-z.]{0,9}", prop::collection::vec(any::<u8>(), 0..20)), 0..4),
            value in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let borrowed: Vec<(&str, &[u8])> =
                headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
            let mut records = Records::new();
            records.push(b"before", &[], b"");
            records.push(&key, &borrowed, &value);
            let record = records.iter().nth(1).unwrap();
            prop_assert_eq!(record.key, key);
            prop_assert_eq!(record.value, value);
            prop_assert_eq!(record.headers.iter().collect::<Vec<_>>(), borrowed);
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Some((record, _)) = RecordRef::decode(&bytes) {
                prop_assert!(record.headers.iter().count() <= bytes.len());
            }
        }
    }
}
