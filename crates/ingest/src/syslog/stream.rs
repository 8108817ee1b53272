//! Syslog over TCP (RFC 6587) and TLS (RFC 5425).
//!
//! It has no acknowledgements, so what a connection left without an end of its own is a message too.

use event::raw::Encoding;

use super::framing::{Frame, Framer};
use crate::LINE_BYTES_MAX;
use crate::protocol::{Found, Protocol, Turn, Violation};

/// Syslog over a stream, with either framing.
#[derive(Debug)]
pub struct Syslog {
    framer: Framer,
    message_bytes_max: usize,
}

impl Syslog {
    /// For one connection. A message of more than `message_bytes_max` becomes several records, so
    /// that none of it is lost.
    pub fn new(message_bytes_max: usize) -> Self {
        let framer = Framer::new(message_bytes_max.min(LINE_BYTES_MAX));
        Syslog { framer, message_bytes_max }
    }

    fn frames(
        &mut self,
        turn: &mut Turn<'_>,
        run: impl FnOnce(&mut Framer, &mut dyn FnMut(Frame<'_>)),
    ) -> Result<(), Violation> {
        let Syslog { framer, message_bytes_max } = self;
        let mut result = Ok(());
        run(framer, &mut |frame| {
            if frame.is_continuation {
                turn.split(*message_bytes_max);
            }
            let found = Found { payload: frame.bytes, encoding: Encoding::Syslog, dataset: "" };
            if let Err(violation) = turn.record(found) {
                result = Err(violation);
            }
        });
        result
    }
}

impl Protocol for Syslog {
    fn push(&mut self, bytes: &[u8], turn: &mut Turn<'_>) -> Result<(), Violation> {
        self.frames(turn, |framer, each| framer.push(bytes, each))
    }

    fn close(&mut self, turn: &mut Turn<'_>) {
        // Messages of syslog name no dataset, so nothing can be refused.
        self.frames(turn, |framer, each| framer.finish(each)).ok();
    }

    fn is_within(&self) -> bool {
        self.framer.is_within()
    }
}
