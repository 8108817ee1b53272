//! GELF over UDP: a message in a datagram, or in up to 128 chunks; plain, gzip or zlib.
//!
//! A chunk begins with `1e 0f`, eight bytes that name its message, its number and how many there
//! are. They come in any order, some twice, some never. A message that is not whole after 5 s is
//! given up, as Graylog does, and counted. What waits is bounded in number and bytes, in all and for
//! each source, so that nobody can push out what others send; at a bound the oldest goes.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use event::raw::Encoding;
use flate2::read::{MultiGzDecoder, ZlibDecoder};

use super::{GZIP, MESSAGE_BYTES_MAX, is_zlib, trim};
use crate::datagrams::DatagramProtocol;
use crate::protocol::Violation;

/// The most chunks of a message, by GELF.
const CHUNKS_MAX: u8 = 128;

/// How long the chunks of a message may take, by GELF.
const CHUNKS_WAIT_MAX: Duration = Duration::from_secs(5);

/// The most messages that wait for chunks, of all sources. They are searched one by one.
const WAITING_MAX: usize = 1024;

/// The most messages of one source that wait for chunks.
const WAITING_PER_SOURCE_MAX: usize = 256;

/// The most bytes that wait for chunks, of all sources.
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The most bytes of one source that wait for chunks: two of the largest messages.
const WAITING_BYTES_PER_SOURCE_MAX: usize = 16 * 1024 * 1024;

/// The two bytes with which a chunk begins.
const CHUNK: [u8; 2] = [0x1e, 0x0f];

/// How many bytes stand before a chunk's part of the message.
const CHUNK_HEAD_BYTES: usize = 12;

/// What a message that waits costs besides its bytes.
const WAITING_COST_BYTES: usize = 64;

/// GELF in datagrams.
#[derive(Debug, Default)]
pub struct GelfDatagram {
    /// Messages that wait for chunks, in the order in which they began.
    waiting: VecDeque<Waiting>,
    /// What is held for them.
    bytes: usize,
    given_up: u64,
    /// Where chunks are put together and messages are unpacked; their memory stays.
    whole: Vec<u8>,
    unpacked: Vec<u8>,
}

/// A message of which chunks are missing.
#[derive(Debug)]
struct Waiting {
    source: IpAddr,
    id: [u8; 8],
    since: Instant,
    /// Its chunks in order; none where one is missing.
    chunks: Vec<Option<Box<[u8]>>>,
    missing: usize,
    bytes: usize,
}

impl GelfDatagram {
    /// Takes a chunk, and puts its message into `whole` if it is complete now.
    fn chunk(&mut self, datagram: &[u8], source: IpAddr, now: Instant) -> Result<bool, Violation> {
        let Some((&[_, _, a, b, c, d, e, f, g, h, number, count], part)) =
            datagram.split_first_chunk::<CHUNK_HEAD_BYTES>()
        else {
            return Err(Violation::malformed("a chunk has fewer than 12 bytes"));
        };
        let id = [a, b, c, d, e, f, g, h];
        if count == 0 || count > CHUNKS_MAX || number >= count {
            return Err(Violation::malformed(format!(
                "a chunk says that it is number {number} of {count}; there may be {CHUNKS_MAX}"
            )));
        }
        self.expire(now);
        let is_it = |waiting: &Waiting| waiting.id == id && waiting.source == source;
        // The newest are at the end.
        let place = match self.waiting.iter().rposition(is_it) {
            Some(place) => place,
            None => {
                let bytes =
                    WAITING_COST_BYTES + usize::from(count) * size_of::<Option<Box<[u8]>>>();
                self.make_room(source, bytes, 1);
                let missing = usize::from(count);
                let chunks = vec![None; missing];
                self.waiting.push_back(Waiting { source, id, since: now, chunks, missing, bytes });
                self.bytes += bytes;
                self.waiting.len() - 1
            }
        };
        let Some(waiting) = self.waiting.get_mut(place) else { return Ok(false) };
        if waiting.chunks.len() != usize::from(count) {
            return Err(Violation::malformed(
                "chunks of one message say different counts, or two messages have one id",
            ));
        }
        let Some(chunk) = waiting.chunks.get_mut(usize::from(number)) else { return Ok(false) };
        if chunk.is_some() {
            // It came twice.
            return Ok(false);
        }
        *chunk = Some(part.into());
        waiting.missing -= 1;
        waiting.bytes += part.len();
        self.bytes += part.len();
        if waiting.missing > 0 {
            self.make_room(source, 0, 0);
            return Ok(false);
        }
        let Some(complete) = self.waiting.remove(place) else { return Ok(false) };
        self.bytes -= complete.bytes;
        self.whole.clear();
        for chunk in complete.chunks.into_iter().flatten() {
            self.whole.extend_from_slice(&chunk);
        }
        Ok(true)
    }

    /// Gives up the oldest messages until so many more, with so many bytes, are within the bounds.
    fn make_room(&mut self, source: IpAddr, bytes: usize, messages: usize) {
        let (mut own, mut own_bytes) = (messages, bytes);
        for waiting in self.waiting.iter().filter(|waiting| waiting.source == source) {
            own += 1;
            own_bytes += waiting.bytes;
        }
        while own > WAITING_PER_SOURCE_MAX || own_bytes > WAITING_BYTES_PER_SOURCE_MAX {
            let is_own = |waiting: &Waiting| waiting.source == source;
            let Some(place) = self.waiting.iter().position(is_own) else { break };
            own -= 1;
            own_bytes -= self.drop_at(place);
        }
        while self.waiting.len() + messages > WAITING_MAX || self.bytes + bytes > WAITING_BYTES_MAX
        {
            if self.drop_at(0) == 0 {
                break;
            }
        }
    }

    fn expire(&mut self, now: Instant) {
        while self
            .waiting
            .front()
            .is_some_and(|oldest| now.saturating_duration_since(oldest.since) > CHUNKS_WAIT_MAX)
        {
            self.drop_at(0);
        }
    }

    /// Gives a message up, and tells how many bytes it held; 0 if there is none.
    fn drop_at(&mut self, place: usize) -> usize {
        let Some(waiting) = self.waiting.remove(place) else { return 0 };
        self.bytes -= waiting.bytes;
        self.given_up += 1;
        waiting.bytes
    }
}

impl DatagramProtocol for GelfDatagram {
    const ENCODING: Encoding = Encoding::Gelf;

    fn take(
        &mut self,
        datagram: &[u8],
        source: SocketAddr,
        now: Instant,
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Violation> {
        let message = if datagram.starts_with(&CHUNK) {
            if !self.chunk(datagram, source.ip().to_canonical(), now)? {
                return Ok(());
            }
            self.whole.as_slice()
        } else {
            datagram
        };
        let message = match message.first_chunk() {
            Some(&start) if start == GZIP => {
                unpack(MultiGzDecoder::new(message), &mut self.unpacked)?
            }
            Some(&[first, second]) if is_zlib(first, second) => {
                unpack(ZlibDecoder::new(message), &mut self.unpacked)?
            }
            _ => message,
        };
        let message = trim(message);
        if !message.is_empty() {
            each(message);
        }
        Ok(())
    }

    fn give_up(&mut self, now: Instant, is_end: bool) -> u64 {
        self.expire(now);
        while is_end && self.drop_at(0) > 0 {}
        std::mem::take(&mut self.given_up)
    }
}

/// Unpacks a message, within the limit.
fn unpack(from: impl Read, out: &mut Vec<u8>) -> Result<&[u8], Violation> {
    out.clear();
    let wrong = |error: io::Error| {
        Violation::malformed(format!("a compressed message can't be unpacked: {error}"))
    };
    from.take(MESSAGE_BYTES_MAX as u64 + 1).read_to_end(out).map_err(wrong)?;
    if out.len() > MESSAGE_BYTES_MAX {
        return Err(Violation::too_large(format!(
            "a compressed message unpacks to more than {MESSAGE_BYTES_MAX} bytes"
        )));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};
    use proptest::prelude::*;

    use super::*;

    const HERE: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

    fn take(gelf: &mut GelfDatagram, datagram: &[u8], at: Instant) -> Vec<String> {
        take_from(gelf, HERE, datagram, at)
    }

    fn take_from(
        gelf: &mut GelfDatagram,
        source: SocketAddr,
        datagram: &[u8],
        at: Instant,
    ) -> Vec<String> {
        let mut found = Vec::new();
        gelf.take(datagram, source, at, &mut |message| {
            found.push(String::from_utf8_lossy(message).into_owned());
        })
        .unwrap();
        found
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn chunk(id: u64, number: u8, count: u8, part: &[u8]) -> Vec<u8> {
        [&CHUNK[..], &id.to_be_bytes(), &[number, count], part].concat()
    }

    #[test]
    fn a_datagram_is_a_message_packed_or_not() {
        let (mut gelf, now) = (GelfDatagram::default(), Instant::now());
        for datagram in [b"{\"a\":1}\0".to_vec(), gzip(b"{\"a\":1}"), zlib(b"{\"a\":1}\n")] {
            assert_eq!(take(&mut gelf, &datagram, now), ["{\"a\":1}"]);
        }
        assert!(take(&mut gelf, b"\0\n", now).is_empty());
    }

    #[test]
    fn what_can_be_no_message_is_told() {
        let (mut gelf, now) = (GelfDatagram::default(), Instant::now());
        let mut kind = |datagram: &[u8]| {
            gelf.take(datagram, HERE, now, &mut |_| {}).map_err(|violation| violation.kind)
        };
        assert_eq!(kind(b"\x1f\x8bnonsense"), Err("malformed"));
        assert_eq!(kind(b"\x78\x9cnonsense"), Err("malformed"));
        assert_eq!(kind(b"\x1e\x0fshort"), Err("malformed"));
        assert_eq!(kind(&chunk(1, 0, 0, b"")), Err("malformed"));
        assert_eq!(kind(&chunk(1, 2, 2, b"")), Err("malformed"));
        assert_eq!(kind(&chunk(1, 0, 129, b"")), Err("malformed"));
        assert_eq!(kind(&chunk(1, 0, 2, b"a")), Ok(()));
        assert_eq!(kind(&chunk(1, 1, 3, b"a")), Err("malformed"));
        let bomb = gzip(&vec![b'x'; MESSAGE_BYTES_MAX + 1]);
        assert!(bomb.len() < 60_000);
        assert_eq!(kind(&bomb), Err("too_large"));
    }

    #[test]
    fn chunks_come_in_any_order_and_twice() {
        let (mut gelf, now) = (GelfDatagram::default(), Instant::now());
        let elsewhere = "10.0.0.1:1".parse().unwrap();
        assert!(take(&mut gelf, &chunk(7, 2, 3, b"c"), now).is_empty());
        assert!(take(&mut gelf, &chunk(7, 2, 3, b"x"), now).is_empty());
        assert!(take(&mut gelf, &chunk(7, 0, 3, b"a"), now).is_empty());
        // The same id, from elsewhere.
        assert!(take_from(&mut gelf, elsewhere, &chunk(7, 1, 3, b"X"), now).is_empty());
        assert_eq!(take(&mut gelf, &chunk(7, 1, 3, b"b"), now), ["abc"]);
        assert_eq!(gelf.waiting.len(), 1);
        assert_eq!(gelf.give_up(now, true), 1);
        assert_eq!((gelf.waiting.len(), gelf.bytes), (0, 0));
    }

    #[test]
    fn what_does_not_become_whole_is_given_up_and_counted() {
        let (mut gelf, start) = (GelfDatagram::default(), Instant::now());
        take(&mut gelf, &chunk(1, 0, 2, b"a"), start);
        take(&mut gelf, &chunk(2, 0, 2, b"b"), start + Duration::from_secs(3));
        let late = start + Duration::from_millis(5001);
        assert!(take(&mut gelf, &chunk(1, 1, 2, b"a"), late).is_empty());
        assert_eq!(take(&mut gelf, &chunk(2, 1, 2, b"b"), late), ["bb"]);
        assert_eq!(gelf.give_up(late, false), 1);
        assert_eq!(gelf.give_up(late + Duration::from_secs(6), false), 1);
        assert_eq!(gelf.give_up(late + Duration::from_secs(6), true), 0);
    }

    #[test]
    fn what_waits_is_bounded_for_each_source_and_in_all() {
        let (mut gelf, now) = (GelfDatagram::default(), Instant::now());
        let source = |n: u8| SocketAddr::new(IpAddr::from([10, 0, 0, n]), 1);
        take(&mut gelf, &chunk(0, 0, 2, b"a"), now);
        for id in 0..1000 {
            take_from(&mut gelf, source(1), &chunk(id, 0, 2, b"a"), now);
        }
        assert_eq!(gelf.waiting.len(), 1 + WAITING_PER_SOURCE_MAX);
        assert_eq!(take(&mut gelf, &chunk(0, 1, 2, b"b"), now), ["ab"]);
        let large = vec![b'x'; 60_000];
        for n in 0..20 {
            for id in 0..300 {
                take_from(&mut gelf, source(n), &chunk(id, 0, 2, &large), now);
                let own = gelf.waiting.iter().filter(|waiting| waiting.source == source(n).ip());
                assert!(own.map(|own| own.bytes).sum::<usize>() <= WAITING_BYTES_PER_SOURCE_MAX);
            }
            assert!(gelf.waiting.len() <= WAITING_MAX && gelf.bytes <= WAITING_BYTES_MAX);
        }
        let held: usize = gelf.waiting.iter().map(|waiting| waiting.bytes).sum();
        assert_eq!(held, gelf.bytes);
    }

    proptest! {
        #[test]
        fn any_datagrams_are_taken(
            datagrams in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..60),
                    (0..3_u64, 0..6_u8, 0..6_u8, prop::collection::vec(any::<u8>(), 0..9))
                        .prop_map(|(id, number, count, part)| chunk(id, number, count, &part)),
                    prop::collection::vec(any::<u8>(), 0..60).prop_map(|bytes| [&GZIP, &bytes[..]].concat()),
                ],
                0..60,
            ),
        ) {
            let (mut gelf, now) = (GelfDatagram::default(), Instant::now());
            for datagram in &datagrams {
                // What is wrong with it is its sender's.
                gelf.take(datagram, HERE, now, &mut |_| {}).ok();
            }
            let held: usize = gelf.waiting.iter().map(|waiting| waiting.bytes).sum();
            prop_assert_eq!(held, gelf.bytes);
        }

        #[test]
        fn chunks_are_put_together(
            message in "[a-z{}]{1,400}",
            size in 4..60_usize,
            is_packed in any::<bool>(),
            order in any::<u64>(),
        ) {
            let bytes = if is_packed { gzip(message.as_bytes()) } else { message.clone().into() };
            let parts: Vec<&[u8]> = bytes.chunks(size).collect();
            let mut chunks: Vec<Vec<u8>> = parts
                .iter()
                .enumerate()
                .map(|(number, part)| chunk(order, number as u8, parts.len() as u8, part))
                .collect();
            let half = order as usize % chunks.len();
            chunks.rotate_left(half);
            let (mut gelf, now) = (GelfDatagram::default(), Instant::now());
            let mut found = Vec::new();
            for chunk in &chunks {
                found.extend(take(&mut gelf, chunk, now));
            }
            prop_assert_eq!(found, [message]);
        }
    }
}
