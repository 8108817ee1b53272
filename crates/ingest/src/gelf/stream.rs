//! GELF over TCP: JSON, and a NUL after each message.
//!
//! There are no acknowledgements, so what a connection left without a NUL is a message too. GELF
//! allows no compression here, since what is compressed holds NULs; whoever does it is told.

use event::raw::Encoding;

use super::{GZIP, MESSAGE_BYTES_MAX, is_zlib, trim};
use crate::protocol::{Found, Protocol, Turn, Violation};

/// How much memory a connection keeps for its next message.
const KEPT_BYTES_MAX: usize = 1024 * 1024;

/// GELF on one connection.
#[derive(Debug)]
pub struct GelfStream {
    message_bytes_max: usize,
    /// What came of a message that has no end yet.
    held: Vec<u8>,
    /// Whether that message is over the limit, and only its end is looked for.
    is_skipping: bool,
}

impl Default for GelfStream {
    fn default() -> Self {
        GelfStream::new(MESSAGE_BYTES_MAX)
    }
}

impl GelfStream {
    /// For one connection. A larger message is counted and left out: half of its JSON is none.
    pub fn new(message_bytes_max: usize) -> Self {
        let message_bytes_max = message_bytes_max.min(MESSAGE_BYTES_MAX);
        GelfStream { message_bytes_max, held: Vec::new(), is_skipping: false }
    }

    /// Takes the last part of a message, or all of it.
    fn end(&mut self, part: &[u8], turn: &mut Turn<'_>) -> Result<(), Violation> {
        self.hold(part, turn)?;
        let is_whole = !std::mem::take(&mut self.is_skipping);
        let message = trim(&self.held);
        let result = if is_whole && !message.is_empty() {
            turn.record(Found { payload: message, encoding: Encoding::Gelf, dataset: "" })
        } else {
            Ok(())
        };
        self.held.clear();
        self.held.shrink_to(KEPT_BYTES_MAX);
        result
    }

    fn hold(&mut self, part: &[u8], turn: &mut Turn<'_>) -> Result<(), Violation> {
        if self.is_skipping {
            return Ok(());
        }
        if self.held.len() + part.len() > self.message_bytes_max {
            turn.too_large(self.message_bytes_max);
            self.is_skipping = true;
            self.held.clear();
            return Ok(());
        }
        self.held.extend_from_slice(part);
        match self.held.first_chunk() {
            Some(&[first, second]) if [first, second] == GZIP || is_zlib(first, second) => {
                Err(Violation::malformed(
                    "a message is compressed, which GELF does not allow over TCP; turn compression off in its sender, or send over UDP",
                ))
            }
            _ => Ok(()),
        }
    }
}

impl Protocol for GelfStream {
    fn push(&mut self, bytes: &[u8], turn: &mut Turn<'_>) -> Result<(), Violation> {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(0, rest) {
            let (part, after) = rest.split_at(end);
            self.end(part, turn)?;
            rest = after.get(1..).unwrap_or_default();
        }
        self.hold(rest, turn)
    }

    fn close(&mut self, turn: &mut Turn<'_>) {
        // Messages of GELF name no dataset, so nothing can be refused.
        self.end(&[], turn).ok();
    }

    fn is_within(&self) -> bool {
        self.is_skipping || !trim(&self.held).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use proptest::prelude::*;

    use super::*;
    use crate::Senders;
    use crate::gelf::TCP_LISTENER;
    use crate::protocol::Rehearsal;

    fn run(bytes: &[u8], step: usize) -> (Vec<String>, Result<(), &'static str>) {
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let mut gelf = Rehearsal::open(TCP_LISTENER, GelfStream::new(20), Senders::anybody(), here);
        let result = bytes.chunks(step).try_for_each(|part| gelf.push(part));
        if result.is_ok() {
            gelf.close();
        }
        assert!(result.is_err() || !gelf.protocol.is_within());
        let records = gelf.records.iter().map(|(about, payload)| {
            assert_eq!(about, "gelf-tcp  gelf");
            payload.escape_ascii().to_string()
        });
        (records.collect(), result.map_err(|violation| violation.kind))
    }

    #[track_caller]
    fn check(stream: &[u8], expected: &[&str]) {
        for step in [1, 2, 3, 1000] {
            let (records, result) = run(stream, step);
            assert_eq!(result, Ok(()));
            assert_eq!(records, expected, "by {step}");
        }
    }

    #[test]
    fn a_nul_ends_a_message() {
        check(b"{a}\0{b}\n\0\0\n\0{c\nc}\0", &["{a}", "{b}", "{c\\nc}"]);
        check(b"{a}\0{left}", &["{a}", "{left}"]);
        check(b"", &[]);
    }

    #[test]
    fn a_message_over_the_limit_is_left_out() {
        let long = "x".repeat(21);
        check(format!("{{a}}\0{long}\0{{b}}\0").as_bytes(), &["{a}", "{b}"]);
        check(format!("{}\0{long}", "x".repeat(20)).as_bytes(), &["xxxxxxxxxxxxxxxxxxxx"]);
    }

    #[test]
    fn what_is_compressed_is_refused() {
        for packed in [&b"{a}\0\x1f\x8b\x08\0\0"[..], b"{a}\0\x78\x9c\x01\x02", b"{a}\0\x1f\x8b\0"]
        {
            for step in [1, 3, 100] {
                assert_eq!(run(packed, step), (vec!["{a}".to_owned()], Err("malformed")));
            }
        }
    }

    proptest! {
        #[test]
        fn where_a_stream_is_cut_changes_nothing(
            stream in prop_oneof![
                "[a-c{}\n\\x00]{0,80}".prop_map(String::into_bytes),
                prop::collection::vec(any::<u8>(), 0..80),
            ],
            step in 1..9_usize,
        ) {
            prop_assert_eq!(run(&stream, step), run(&stream, 1000));
        }
    }
}
