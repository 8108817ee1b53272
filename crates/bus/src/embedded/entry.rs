//! Entries: how records lie in the store.
//!
//! The store holds one entry for many records, as a Kafka log holds record batches: a group commit
//! of a thousand small records of one partition is one insert, one checksum and one compression. The
//! entry's key is the offset of its last record, so that the entry holding an offset is the first
//! one whose key is not below it.
//!
//! ```text
//! u8 version | u8 compression | u16 zero | u32 count | u64 first offset | i64 time in ms
//! | u32 length of the records | u64 XXH3 of all before and of the body | body
//! ```
//!
//! All records of an entry have one time, that of their append. The store below has checksums of its
//! own; this one goes from the committer to the consumer, whatever lies between.

use event::Timestamp;
use xxhash_rust::xxh3::Xxh3;

use crate::batch::Run;
use crate::{Batch, Offset, Partition, PollLimits, Topic};

/// How an entry's records are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all.
    None,
    /// LZ4: logs become three to six times smaller, at a cost far below that of writing them.
    #[default]
    Lz4,
}

const VERSION: u8 = 1;

/// What stands before the checksum.
const PLAIN_HEADER_BYTES: usize = 28;

/// What stands before the body.
const HEADER_BYTES: usize = PLAIN_HEADER_BYTES + 8;

/// The largest body that is believed. One record is bounded by the settings, whose bound is an u32.
const BODY_BYTES_MAX: usize = u32::MAX as usize;

/// Bodies below this are stored as they are: LZ4 gains nothing on them.
const COMPRESS_BYTES_MIN: usize = 256;

/// What is known of an entry before its records are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    compression: Compression,
    pub(super) count: u32,
    pub(super) first: Offset,
    pub(super) timestamp: Timestamp,
    body_bytes: usize,
}

/// Writes an entry into `entry`, which is cleared first. Returns how it was compressed: not at all
/// where that would gain little.
pub(super) fn encode(
    entry: &mut Vec<u8>,
    compression: Compression,
    count: u32,
    first: Offset,
    timestamp: Timestamp,
    records: &[u8],
) -> Compression {
    entry.clear();
    entry.resize(HEADER_BYTES, 0);
    let mut used = Compression::None;
    if compression == Compression::Lz4 && records.len() >= COMPRESS_BYTES_MIN {
        entry.resize(HEADER_BYTES + lz4_flex::block::get_maximum_output_size(records.len()), 0);
        let (_, body) = entry.split_at_mut(HEADER_BYTES);
        match lz4_flex::block::compress_into(records, body) {
            Ok(bytes) if bytes < records.len() / 8 * 7 => {
                used = Compression::Lz4;
                entry.truncate(HEADER_BYTES + bytes);
            }
            // It hardly shrank.
            _ => entry.truncate(HEADER_BYTES),
        }
    }
    if used == Compression::None {
        entry.extend_from_slice(records);
    }
    let records_bytes = u32::try_from(records.len()).expect("an entry is bounded below 4 GiB");
    let mut header = [0; PLAIN_HEADER_BYTES];
    header[0] = VERSION;
    header[1] = used as u8;
    header[4..8].copy_from_slice(&count.to_le_bytes());
    header[8..16].copy_from_slice(&first.0.to_le_bytes());
    header[16..24].copy_from_slice(&timestamp.as_millis().to_le_bytes());
    header[24..28].copy_from_slice(&records_bytes.to_le_bytes());
    entry[..PLAIN_HEADER_BYTES].copy_from_slice(&header);
    let sum = checksum(&header, &entry[HEADER_BYTES..]);
    entry[PLAIN_HEADER_BYTES..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
    used
}

/// Reads and checks an entry. The error says what is wrong with its bytes.
pub(super) fn decode(entry: &[u8], last: Offset) -> Result<(Header, &[u8]), String> {
    let (header, rest) = entry
        .split_first_chunk::<PLAIN_HEADER_BYTES>()
        .ok_or_else(|| format!("an entry of {} bytes has no header", entry.len()))?;
    let (sum, body) = rest
        .split_first_chunk::<8>()
        .ok_or_else(|| format!("an entry of {} bytes has no checksum", entry.len()))?;
    if checksum(header, body) != u64::from_le_bytes(*sum) {
        return Err("the checksum of an entry is wrong".to_owned());
    }
    let [version, compression, _, _, count @ .., _, _, _, _] = header;
    let (count, rest) = count.split_first_chunk::<4>().expect("24 bytes are left");
    let (first, time) = rest.split_first_chunk::<8>().expect("16 bytes are left");
    let time: &[u8; 8] = time.try_into().expect("8 bytes are left");
    let (_, body_bytes) = header.split_last_chunk::<4>().expect("28 bytes have a last 4");
    let header = Header {
        compression: match (version, compression) {
            (&VERSION, 0) => Compression::None,
            (&VERSION, 1) => Compression::Lz4,
            _ => return Err(format!("form {version}.{compression} of an entry is not known")),
        },
        count: u32::from_le_bytes(*count),
        first: Offset(u64::from_le_bytes(*first)),
        timestamp: Timestamp::from_millis(i64::from_le_bytes(*time)),
        body_bytes: u32::from_le_bytes(*body_bytes) as usize,
    };
    if header.count == 0 || header.first.0.checked_add(u64::from(header.count) - 1) != Some(last.0)
    {
        return Err(format!("the entry claims {} records from {}", header.count, header.first));
    }
    Ok((header, body))
}

impl Header {
    /// Adds the entry's records, from the offset `from` on, to a batch. Returns where to go on.
    pub(super) fn read_into(
        &self,
        body: &[u8],
        (topic, partition): (Topic, Partition),
        from: Offset,
        limits: &PollLimits,
        batch: &mut Batch,
    ) -> Result<Offset, String> {
        let Header { count, first, timestamp, body_bytes, .. } = *self;
        let run = Run { topic, partition, first, count, timestamp };
        batch.extend_encoded(run, from, limits, |bytes| match self.compression {
            Compression::None if body.len() == body_bytes => {
                bytes.extend_from_slice(body);
                Ok(())
            }
            Compression::Lz4 if body_bytes <= BODY_BYTES_MAX => {
                let start = bytes.len();
                bytes.resize(start + body_bytes, 0);
                let (_, room) = bytes.split_at_mut(start);
                match lz4_flex::block::decompress_into(body, room) {
                    Ok(written) if written == body_bytes => Ok(()),
                    Ok(written) => Err(format!("{written} bytes instead of {body_bytes}")),
                    Err(error) => Err(format!("the records cannot be decompressed: {error}")),
                }
            }
            _ => Err(format!("{} bytes of records instead of {body_bytes}", body.len())),
        })
    }
}

fn checksum(header: &[u8], body: &[u8]) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(header);
    hasher.update(body);
    hasher.digest()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Records;

    const PLACE: (Topic, Partition) = (Topic::Events, Partition(3));

    fn entry_of(values: &[Vec<u8>], compression: Compression) -> Vec<u8> {
        let mut records = Records::new();
        for value in values {
            records.push(b"key", &[("h", b"1")], value);
        }
        let body: Vec<u8> = records.encoded().flatten().copied().collect();
        let mut entry = Vec::new();
        let count = values.len() as u32;
        encode(&mut entry, compression, count, Offset(100), Timestamp::from_millis(7), &body);
        entry
    }

    #[test]
    fn a_damaged_bit_is_found_wherever_it_is() {
        for compression in [Compression::None, Compression::Lz4] {
            let entry = entry_of(&[vec![b'a'; 500], vec![b'b'; 500]], compression);
            assert!(decode(&entry, Offset(101)).is_ok());
            for index in 0..entry.len() {
                let mut damaged = entry.clone();
                damaged[index] ^= 0x10;
                assert!(decode(&damaged, Offset(101)).is_err(), "byte {index}");
            }
            assert!(decode(&entry, Offset(102)).is_err());
        }
    }

    proptest! {
        #[test]
        fn entries_are_read_back(
            values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..20),
            from in 0usize..20,
            lz4 in any::<bool>(),
        ) {
            let compression = if lz4 { Compression::Lz4 } else { Compression::None };
            let entry = entry_of(&values, compression);
            let last = Offset(99 + values.len() as u64);
            let (header, body) = decode(&entry, last).unwrap();
            let mut batch = Batch::new();
            let from = from.min(values.len());
            let next = header
                .read_into(body, PLACE, Offset(100 + from as u64), &PollLimits::default(), &mut batch)
                .unwrap();
            prop_assert_eq!(next, Offset(100 + values.len() as u64));
            let read: Vec<Vec<u8>> = batch.iter().map(|record| record.value.to_vec()).collect();
            prop_assert_eq!(&read, &values[from..]);
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(decode(&bytes, Offset(0)).is_err());
        }
    }
}
