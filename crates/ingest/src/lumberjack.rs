//! Lumberjack, with which Beats, Elastic Agent (version 2) and Logstash itself (version 1, which
//! differs in a byte) send to Logstash.
//!
//! A sender announces a window of so many events, sends them as frames (JSON, or keys and values),
//! usually within a compressed frame, and waits until their last number is acknowledged. What was
//! not acknowledged it sends again.
//!
//! Frames are read as they arrive, those within a compressed one too, so what is held is never more
//! than one event. An event over the limit is counted, left out and acknowledged, since its sender
//! would send it for ever. What is no frame ends the connection.
//!
//! The protocol has no secrets: a certificate or an address says who sends.

use std::mem;

use event::raw::Encoding;
use flate2::{Decompress, FlushDecompress, Status};

use crate::LINE_BYTES_MAX;
use crate::protocol::{Found, Protocol, Turn, Violation};

/// The name of the listener in records and metrics.
pub const LISTENER: &str = "lumberjack";

/// The largest event, in bytes: what a record may have.
pub const EVENT_BYTES_MAX: usize = LINE_BYTES_MAX;

/// The most events in a window. Beats send 2048, or what `bulk_max_size` says.
pub const WINDOW_EVENTS_MAX: u32 = 1_000_000;

/// The largest compressed frame, in bytes as sent. A whole window is in one.
pub const PACKED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The most bytes that a compressed frame unpacks to.
pub const UNPACKED_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// How many times its size a compressed frame may unpack to, beyond `RATIO_FREE_BYTES`.
pub const RATIO_MAX: u64 = 1000;

/// Below so many bytes the ratio does not matter: there is no harm in it.
pub const RATIO_FREE_BYTES: u64 = 16 * 1024 * 1024;

/// How many bytes are unpacked at once.
const UNPACK_BYTES: usize = 64 * 1024;

/// How much memory a connection keeps for its next event.
const KEPT_BYTES_MAX: usize = 1024 * 1024;

/// Lumberjack on one connection.
#[derive(Debug)]
pub struct Lumberjack {
    outer: Frames,
    /// What is within compressed frames.
    inner: Frames,
    inflate: Decompress,
    /// Whether the compressed bytes of a frame have come to their end.
    has_unpacked: bool,
    /// Where unpacked bytes go on their way.
    unpacked: Vec<u8>,
    window: Window,
}

/// What is to be acknowledged.
#[derive(Debug, Default)]
struct Window {
    /// The version in which the window was announced: `1` or `2`.
    version: u8,
    /// How many events it has, and how many are to come.
    events: u32,
    left: u32,
    /// The number of the last event, whether it is not yet acknowledged, and whether it is time to.
    last: u32,
    is_owed: bool,
    is_due: bool,
}

impl Default for Lumberjack {
    fn default() -> Self {
        Lumberjack::new(EVENT_BYTES_MAX)
    }
}

impl Lumberjack {
    /// For one connection. A larger event is left out.
    pub fn new(event_bytes_max: usize) -> Self {
        let event_bytes_max = event_bytes_max.min(EVENT_BYTES_MAX);
        Lumberjack {
            outer: Frames::new(event_bytes_max),
            inner: Frames::new(event_bytes_max),
            inflate: Decompress::new(true),
            has_unpacked: false,
            unpacked: Vec::new(),
            window: Window::default(),
        }
    }

    /// Unpacks the next bytes of a compressed frame, and takes the frames in them.
    fn unpack(&mut self, mut packed: &[u8], turn: &mut Turn<'_>) -> Result<(), Violation> {
        let Lumberjack { inner, inflate, has_unpacked, unpacked, window, .. } = self;
        unpacked.resize(UNPACK_BYTES, 0);
        loop {
            let (read, written) = (inflate.total_in(), inflate.total_out());
            let status =
                inflate.decompress(packed, unpacked, FlushDecompress::None).map_err(|error| {
                    Violation::malformed(format!("a compressed frame can't be unpacked: {error}"))
                })?;
            let (read, written) = (inflate.total_in() - read, inflate.total_out() - written);
            packed = packed.get(read as usize..).unwrap_or_default();
            let bytes_max =
                (inflate.total_in() * RATIO_MAX).clamp(RATIO_FREE_BYTES, UNPACKED_BYTES_MAX);
            if inflate.total_out() > bytes_max {
                return Err(Violation::too_large(format!(
                    "a compressed frame unpacks to more than {bytes_max} bytes; set a smaller `bulk_max_size`"
                )));
            }
            let mut bytes = unpacked.get(..written as usize).unwrap_or_default();
            while let Some(frame) = inner.next(&mut bytes)? {
                match frame {
                    Frame::Packed { .. } => {
                        return Err(Violation::malformed("a compressed frame is in another one"));
                    }
                    frame => window.take(frame, turn)?,
                }
            }
            *has_unpacked |= status == Status::StreamEnd;
            // What follows the end of the compressed bytes is nothing.
            if *has_unpacked || read == 0 && written == 0 {
                return Ok(());
            }
        }
    }
}

impl Protocol for Lumberjack {
    fn push(&mut self, mut bytes: &[u8], turn: &mut Turn<'_>) -> Result<(), Violation> {
        loop {
            let Some(frame) = self.outer.next(&mut bytes)? else { return Ok(()) };
            let Frame::Packed { part, left } = frame else {
                self.window.take(frame, turn)?;
                self.window.acknowledge_if_due(turn);
                continue;
            };
            self.unpack(part, turn)?;
            if left == 0 {
                if !mem::take(&mut self.has_unpacked) || self.inner.is_within() {
                    return Err(Violation::malformed("a compressed frame ends too early"));
                }
                self.inflate.reset(true);
                // Only now the checksum was right.
                self.window.acknowledge_if_due(turn);
            }
        }
    }

    fn patience(&self) -> &'static [u8] {
        match self.window.version {
            // An acknowledgement of nothing, as Logstash sends it.
            b'2' => b"2A\0\0\0\0",
            // Logstash's own output takes any frame for the acknowledgement of all.
            _ => &[],
        }
    }

    fn close(&mut self, turn: &mut Turn<'_>) {
        // A part of a window is acknowledged too, where that is understood: its sender repeats less.
        if self.window.version == b'2' {
            self.window.acknowledge(turn);
        }
    }

    fn is_within(&self) -> bool {
        self.outer.is_within() || (self.window.left > 0 && self.window.is_owed)
    }
}

impl Window {
    /// Takes an event, or the announcement of more.
    fn take(&mut self, frame: Frame<'_, '_>, turn: &mut Turn<'_>) -> Result<(), Violation> {
        let sequence = match frame {
            Frame::Window { version, events } => {
                // What came of a window that was not filled is complete with it.
                self.acknowledge(turn);
                *self = Window { version, events, left: events, ..Window::default() };
                return Ok(());
            }
            // The caller unpacks it.
            Frame::Packed { .. } => return Ok(()),
            Frame::Event { sequence, json: [] } => {
                turn.left_out("an event is empty");
                sequence
            }
            Frame::Event { sequence, json } => {
                turn.record(Found { payload: json, encoding: Encoding::Json, dataset: "" })?;
                sequence
            }
            Frame::TooLarge { sequence, bytes_max } => {
                turn.too_large(bytes_max);
                sequence
            }
        };
        if self.events == 0 {
            return Err(Violation::malformed("an event comes before a window was announced"));
        }
        if self.left == 0 {
            // Version 1 announces a window once, for all that follow.
            self.left = self.events;
        }
        self.left -= 1;
        (self.last, self.is_owed) = (sequence, true);
        self.is_due |= self.left == 0;
        Ok(())
    }

    fn acknowledge_if_due(&mut self, turn: &mut Turn<'_>) {
        if self.is_due {
            self.acknowledge(turn);
        }
    }

    fn acknowledge(&mut self, turn: &mut Turn<'_>) {
        self.is_due = false;
        if mem::take(&mut self.is_owed) {
            let [a, b, c, d] = self.last.to_be_bytes();
            turn.answer(&[self.version, b'A', a, b, c, d]);
        }
    }
}

/// Takes frames out of a stream, a part of a compressed one at a time.
#[derive(Debug)]
struct Frames {
    event_bytes_max: usize,
    state: State,
    /// What came of a frame's first bytes, of an event, of a key or of a value.
    held: Vec<u8>,
    /// The event that is made of keys and values.
    object: Vec<u8>,
}

/// Where in a frame the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before it or in its first bytes.
    Head,
    Json {
        sequence: u32,
        length: usize,
    },
    /// In an event that is over the limit.
    Skipped {
        sequence: u32,
        left: usize,
    },
    /// In keys and values, of which so many are to come; in the length of the next, or in it.
    Pairs {
        sequence: u32,
        texts_left: u64,
        length: Option<usize>,
    },
    Packed {
        left: usize,
    },
}

/// What was found.
enum Frame<'f, 'b> {
    Window {
        version: u8,
        events: u32,
    },
    Event {
        sequence: u32,
        json: &'f [u8],
    },
    TooLarge {
        sequence: u32,
        bytes_max: usize,
    },
    /// A part of a compressed frame, of which so many bytes are to come.
    Packed {
        part: &'b [u8],
        left: usize,
    },
}

impl Frames {
    fn new(event_bytes_max: usize) -> Self {
        Frames { event_bytes_max, state: State::Head, held: Vec::new(), object: Vec::new() }
    }

    fn is_within(&self) -> bool {
        self.state != State::Head || !self.held.is_empty()
    }

    /// Takes the next frame off `bytes`; none if they end before.
    fn next<'f, 'b: 'f>(
        &'f mut self,
        bytes: &mut &'b [u8],
    ) -> Result<Option<Frame<'f, 'b>>, Violation> {
        loop {
            match self.state {
                State::Head => match self.head(bytes)? {
                    Begun::Cut => return Ok(None),
                    Begun::Window { version, events } => {
                        return Ok(Some(Frame::Window { version, events }));
                    }
                    Begun::Body(state) => self.state = state,
                },
                State::Json { sequence, length } => {
                    if self.held.is_empty()
                        && let Some((json, rest)) = bytes.split_at_checked(length)
                    {
                        *bytes = rest;
                        self.state = State::Head;
                        return Ok(Some(Frame::Event { sequence, json }));
                    }
                    if !self.hold(bytes, length) {
                        return Ok(None);
                    }
                    self.state = State::Head;
                    // So that the event can be borrowed while the next bytes find the place empty.
                    mem::swap(&mut self.held, &mut self.object);
                    self.held.clear();
                    self.held.shrink_to(KEPT_BYTES_MAX);
                    return Ok(Some(Frame::Event { sequence, json: &self.object }));
                }
                State::Skipped { sequence, left } => {
                    let left = left - take(bytes, left).len();
                    if left > 0 {
                        self.state = State::Skipped { sequence, left };
                        return Ok(None);
                    }
                    self.state = State::Head;
                    let bytes_max = self.event_bytes_max;
                    return Ok(Some(Frame::TooLarge { sequence, bytes_max }));
                }
                State::Pairs { sequence, texts_left: 0, .. } => {
                    self.object.push(b'}');
                    self.state = State::Head;
                    return Ok(Some(Frame::Event { sequence, json: &self.object }));
                }
                State::Pairs { sequence, texts_left, length: None } => {
                    if !self.hold(bytes, 4) {
                        return Ok(None);
                    }
                    let length = number(&self.held, 0) as usize;
                    self.held.clear();
                    self.check_pairs(length)?;
                    self.state = State::Pairs { sequence, texts_left, length: Some(length) };
                }
                State::Pairs { sequence, texts_left, length: Some(length) } => {
                    if !self.hold(bytes, length) {
                        return Ok(None);
                    }
                    let is_key = texts_left.is_multiple_of(2);
                    if is_key && self.object.len() > 1 {
                        self.object.push(b',');
                    }
                    let text = String::from_utf8_lossy(&self.held);
                    serde_json::to_writer(&mut self.object, &text)
                        .expect("text is JSON, and memory takes it");
                    if is_key {
                        self.object.push(b':');
                    }
                    self.held.clear();
                    self.check_pairs(0)?;
                    let texts_left = texts_left - 1;
                    self.state = State::Pairs { sequence, texts_left, length: None };
                }
                State::Packed { left: 0 } => self.state = State::Head,
                State::Packed { left } => {
                    let part = take(bytes, left);
                    if part.is_empty() {
                        return Ok(None);
                    }
                    let left = left - part.len();
                    self.state = if left == 0 { State::Head } else { State::Packed { left } };
                    return Ok(Some(Frame::Packed { part, left }));
                }
            }
        }
    }

    /// Reads a frame's first bytes.
    fn head(&mut self, bytes: &mut &[u8]) -> Result<Begun, Violation> {
        if !self.hold(bytes, 2) {
            return Ok(Begun::Cut);
        }
        let (version, kind) = (byte(&self.held, 0), byte(&self.held, 1));
        let head_bytes = match (version, kind) {
            (b'1' | b'2', b'W' | b'C') => 6,
            (b'1' | b'2', b'D' | b'J') => 10,
            _ => {
                return Err(Violation::malformed(format!(
                    "`{}` begins no frame of Lumberjack; send with `output.logstash` of Beats",
                    [version, kind].escape_ascii()
                )));
            }
        };
        if !self.hold(bytes, head_bytes) {
            return Ok(Begun::Cut);
        }
        let (first, second) = (number(&self.held, 2), number(&self.held, 6));
        self.held.clear();
        self.object.clear();
        self.object.shrink_to(KEPT_BYTES_MAX);
        Ok(match kind {
            b'W' if first > WINDOW_EVENTS_MAX => {
                return Err(Violation::too_large(format!(
                    "a window has {first} events, more than {WINDOW_EVENTS_MAX}; set a smaller `bulk_max_size`"
                )));
            }
            b'W' => Begun::Window { version, events: first },
            b'C' if first as usize > PACKED_BYTES_MAX => {
                return Err(Violation::too_large(format!(
                    "a compressed frame has {first} bytes, more than {PACKED_BYTES_MAX}; set a smaller `bulk_max_size`"
                )));
            }
            b'C' => Begun::Body(State::Packed { left: first as usize }),
            b'J' if second as usize > self.event_bytes_max => {
                Begun::Body(State::Skipped { sequence: first, left: second as usize })
            }
            b'J' => Begun::Body(State::Json { sequence: first, length: second as usize }),
            _ => {
                self.object.push(b'{');
                let texts_left = 2 * u64::from(second);
                Begun::Body(State::Pairs { sequence: first, texts_left, length: None })
            }
        })
    }

    /// Whether an event of keys and values is within the limit, with so many bytes more.
    fn check_pairs(&self, more: usize) -> Result<(), Violation> {
        if self.object.len() + more > self.event_bytes_max {
            return Err(Violation::too_large(format!(
                "an event of keys and values has more than {} bytes",
                self.event_bytes_max
            )));
        }
        Ok(())
    }

    /// Moves bytes into `held` until it has so many, and tells whether it has.
    fn hold(&mut self, bytes: &mut &[u8], length: usize) -> bool {
        let part = take(bytes, length.saturating_sub(self.held.len()));
        self.held.extend_from_slice(part);
        self.held.len() >= length
    }
}

/// What a frame's first bytes say.
enum Begun {
    Cut,
    Window { version: u8, events: u32 },
    Body(State),
}

/// Takes so many bytes off the front, or all that are there.
fn take<'a>(bytes: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at_checked(length).unwrap_or((bytes, &[]));
    *bytes = rest;
    taken
}

fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or_default()
}

/// The number in four bytes there; 0 if there are none.
fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes)
}

#[cfg(test)]
mod tests;
