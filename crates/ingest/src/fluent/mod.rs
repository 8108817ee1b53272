//! Fluentd's forward protocol, version 1, with which Fluentd, Fluent Bit, Docker's `fluentd` driver
//! and many loggers send: MessagePack over TCP or TLS.
//!
//! A message carries one event or many, in four forms (Message, Forward, PackedForward and
//! CompressedPackedForward), and is taken whole or not at all: what a sender was not acknowledged
//! it sends again, and a part that had been stored would be there twice. So a message is held until
//! it is complete, up to a limit, and looked through before its first event is handed out.
//!
//! What is one message but no event (no record, metrics of Fluent Bit) is counted, left out and
//! acknowledged; its sender has nothing better to send. What is no MessagePack ends the connection.
//!
//! It refuses to read JSON, which Fluentd reads on the same port for `telnet`, and to answer
//! heartbeats over UDP, which Fluentd has long replaced by connecting.

mod handshake;
mod msgpack;

use std::io::{self, Read};
use std::mem;

use event::raw::Encoding;
use flate2::read::MultiGzDecoder;

use crate::LINE_BYTES_MAX;
use crate::protocol::{Found, Protocol, Turn, Violation};

use handshake::Handshake;
use msgpack::{Fault, Reader, Scan, Value, write_text};

/// The name of the listener in records and metrics.
pub const LISTENER: &str = "fluent";

/// The largest message as it is sent, in bytes. A chunk of Fluentd has 8 MB unless set otherwise in
/// a memory buffer, and 256 MB in a file buffer, which is more than one batch may be: our guide says
/// to set `chunk_limit_size 8m`. Fluent Bit's have 2 MB.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The most bytes that a compressed message unpacks to. Fluentd counts 8 MB of what is compressed
/// already, and logs compress to a tenth.
pub const UNPACKED_BYTES_MAX: usize = 128 * 1024 * 1024;

/// How many times its size a message may unpack to, beyond `RATIO_FREE_BYTES`.
pub const RATIO_MAX: usize = 1000;

/// Below so many bytes the ratio does not matter: there is no harm in it.
pub const RATIO_FREE_BYTES: usize = 16 * 1024 * 1024;

/// The longest name of a chunk that is acknowledged. They have 24 or 32 bytes.
const CHUNK_NAME_BYTES_MAX: usize = 1024;

/// The largest window of a zstd frame, as a power of two: 8 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// How many bytes are unpacked at once.
const UNPACK_BYTES: usize = 64 * 1024;

/// How much memory a connection keeps for its next message.
const KEPT_BYTES_MAX: usize = 1024 * 1024;

/// The forward protocol on one connection.
#[derive(Debug)]
pub struct Fluent {
    message_bytes_max: usize,
    /// What came of a message that is not complete, and how far it is known.
    held: Vec<u8>,
    scan: Scan,
    /// Until the sender proved who it is.
    handshake: Option<Handshake>,
    /// The record that is being written; its memory stays.
    json: Vec<u8>,
}

impl Default for Fluent {
    fn default() -> Self {
        Fluent::new(MESSAGE_BYTES_MAX)
    }
}

impl Fluent {
    /// For one connection; a larger message ends it.
    pub fn new(message_bytes_max: usize) -> Self {
        Fluent {
            message_bytes_max,
            held: Vec::new(),
            scan: Scan::default(),
            handshake: None,
            json: Vec::new(),
        }
    }

    /// Takes the messages that are complete, and returns how many of the last bytes are left.
    fn run(&mut self, bytes: &[u8], turn: &mut Turn<'_>) -> Result<usize, Violation> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let bytes_max = match self.handshake {
                Some(_) => handshake::MESSAGE_BYTES_MAX,
                None => self.message_bytes_max,
            };
            let end = match self.scan.end(rest, bytes_max) {
                Ok(Some(end)) => end,
                Ok(None) => break,
                Err(Fault::TooLarge) => return Err(too_large(bytes_max)),
                Err(fault) => return Err(malformed(fault)),
            };
            self.scan = Scan::default();
            let (message, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            match &self.handshake {
                Some(handshake) => {
                    handshake.ping(message, turn)?;
                    self.handshake = None;
                }
                None => self.message(message, turn)?,
            }
            rest = after;
        }
        Ok(rest.len())
    }

    /// Takes one message.
    fn message(&mut self, message: &[u8], turn: &mut Turn<'_>) -> Result<(), Violation> {
        let mut reader = Reader::new(message);
        let count = match reader.read().map_err(malformed)? {
            Value::Array(count) => count,
            // A heartbeat.
            Value::Nil => return Ok(()),
            Value::Uint(first) if first == u64::from(b'[') || first == u64::from(b'{') => {
                return Err(Violation::malformed(
                    "it begins like JSON; the forward protocol is MessagePack, send JSON over HTTP",
                ));
            }
            _ => return Err(Violation::malformed("a message is no array of MessagePack")),
        };
        let mut parts = [&[][..]; 4];
        for part in parts.iter_mut().take(count as usize) {
            *part = reader.whole().map_err(malformed)?;
        }
        let [tag, second, third, fourth] = parts;
        let mut entries = Reader::new(second);
        let kind =
            if second.is_empty() { Value::Nil } else { entries.read().map_err(malformed)? };
        let has_many = matches!(kind, Value::Array(_) | Value::Str(_) | Value::Bin(_));
        let options = Options::read(if has_many { third } else { fourth }).map_err(malformed)?;
        if options.is_no_log {
            turn.left_out("it holds metrics or traces, which are no logs; forward logs only");
        } else {
            match kind {
                Value::Array(count) => {
                    for _ in 0..count {
                        self.entry(tag, entries.whole().map_err(malformed)?, turn)?;
                    }
                }
                Value::Str(packed) | Value::Bin(packed) => {
                    let unpacked = options.unpack(packed)?;
                    self.entries(tag, unpacked.as_deref().unwrap_or(packed), turn)?;
                }
                _ => self.event(tag, second, third, turn)?,
            }
        }
        if let Some(chunk) = options.chunk {
            let mut ack = vec![0x81, 0xa3, b'a', b'c', b'k'];
            ack.extend_from_slice(chunk);
            turn.answer(&ack);
        }
        Ok(())
    }

    /// Takes entries that follow each other, all of them or none.
    fn entries(&mut self, tag: &[u8], packed: &[u8], turn: &mut Turn<'_>) -> Result<(), Violation> {
        let mut looked = Reader::new(packed);
        while !looked.is_empty() {
            looked.whole().map_err(malformed)?;
        }
        let mut entries = Reader::new(packed);
        while !entries.is_empty() {
            self.entry(tag, entries.whole().map_err(malformed)?, turn)?;
        }
        Ok(())
    }

    /// Takes `[time, record]`.
    fn entry(&mut self, tag: &[u8], entry: &[u8], turn: &mut Turn<'_>) -> Result<(), Violation> {
        let mut reader = Reader::new(entry);
        match reader.read() {
            Ok(Value::Array(2..)) => {}
            _ => {
                turn.left_out("an entry is not `[time, record]`");
                return Ok(());
            }
        }
        let time = reader.whole().map_err(malformed)?;
        let record = reader.whole().map_err(malformed)?;
        self.event(tag, time, record, turn)
    }

    /// Takes an event.
    fn event(
        &mut self,
        tag: &[u8],
        time: &[u8],
        record: &[u8],
        turn: &mut Turn<'_>,
    ) -> Result<(), Violation> {
        self.json.clear();
        match write_event(tag, time, record, &mut self.json) {
            Ok(true) => {
                turn.record(Found { payload: &self.json, encoding: Encoding::Forward, dataset: "" })
            }
            Ok(false) => {
                turn.left_out("an event has no tag, no time or no record");
                Ok(())
            }
            Err(Fault::TooLarge) => {
                turn.too_large(LINE_BYTES_MAX);
                Ok(())
            }
            Err(fault) => {
                turn.left_out(fault.text());
                Ok(())
            }
        }
    }
}

impl Protocol for Fluent {
    const ASKS: bool = true;

    fn open(&mut self, turn: &mut Turn<'_>) {
        // Who is known by certificate or address is not asked again.
        if turn.senders().have_secrets() && turn.sender().name().is_empty() {
            self.handshake = Some(Handshake::begin(turn));
        }
    }

    fn push(&mut self, bytes: &[u8], turn: &mut Turn<'_>) -> Result<(), Violation> {
        if self.held.is_empty() {
            let left = self.run(bytes, turn)?;
            self.held.extend_from_slice(bytes.get(bytes.len() - left..).unwrap_or_default());
        } else {
            let mut held = mem::take(&mut self.held);
            held.extend_from_slice(bytes);
            let left = self.run(&held, turn)?;
            held.drain(..held.len() - left);
            if left < KEPT_BYTES_MAX {
                held.shrink_to(KEPT_BYTES_MAX);
            }
            self.held = held;
        }
        Ok(())
    }

    fn is_within(&self) -> bool {
        !self.held.is_empty() || self.handshake.is_some()
    }
}

/// Writes an event as JSON. `false` if it is none.
fn write_event(tag: &[u8], time: &[u8], record: &[u8], out: &mut Vec<u8>) -> Result<bool, Fault> {
    let Ok(Some(tag)) = Reader::new(tag).read().map(Value::bytes) else { return Ok(false) };
    if !matches!(Reader::new(record).read(), Ok(Value::Map(_))) {
        return Ok(false);
    }
    out.extend_from_slice(b"{\"tag\":");
    write_text(out, tag);
    out.extend_from_slice(b",\"time\":");
    let mut time = Reader::new(time);
    // Fluent Bit's own form, if it is told to keep metadata: `[[time, metadata], record]`.
    let has_metadata = matches!(time.peek()?, Value::Array(2..));
    if has_metadata {
        time.read()?;
    }
    if matches!(time.peek()?, Value::Array(_) | Value::Map(_)) {
        return Ok(false);
    }
    write_time(&mut time, out)?;
    if has_metadata && !matches!(time.peek()?, Value::Map(0)) {
        out.extend_from_slice(b",\"metadata\":");
        time.write_json(out, LINE_BYTES_MAX)?;
    }
    out.extend_from_slice(b",\"record\":");
    // The brace at the end.
    Reader::new(record).write_json(out, LINE_BYTES_MAX - 1)?;
    out.push(b'}');
    Ok(true)
}

/// Writes seconds as a number, and as text what has nanoseconds.
fn write_time(time: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), Fault> {
    match time.peek()? {
        Value::Ext(0, &[a, b, c, d, 0, 0, 0, 0]) => {
            time.read()?;
            out.extend_from_slice(u32::from_be_bytes([a, b, c, d]).to_string().as_bytes());
            Ok(())
        }
        _ => time.write_json(out, LINE_BYTES_MAX),
    }
}

/// What a message says of itself.
#[derive(Debug, Default)]
struct Options<'a> {
    /// The name that is to be acknowledged, as MessagePack.
    chunk: Option<&'a [u8]>,
    compressed: Option<&'a [u8]>,
    /// Whether it holds metrics or traces of Fluent Bit.
    is_no_log: bool,
}

impl<'a> Options<'a> {
    fn read(bytes: &'a [u8]) -> Result<Options<'a>, Fault> {
        let mut options = Options::default();
        let mut reader = Reader::new(bytes);
        if bytes.is_empty() {
            return Ok(options);
        }
        let Value::Map(count) = reader.read()? else { return Ok(options) };
        for _ in 0..count {
            let key = reader.whole()?;
            let whole = reader.whole()?;
            let value = Reader::new(whole).read()?;
            match Reader::new(key).read()?.bytes() {
                Some(b"chunk")
                    if value.bytes().is_some() && whole.len() <= CHUNK_NAME_BYTES_MAX =>
                {
                    options.chunk = Some(whole);
                }
                Some(b"compressed") => options.compressed = value.bytes(),
                Some(b"fluent_signal") => options.is_no_log = value != Value::Uint(0),
                // `size` is how many events there are; we count them.
                _ => {}
            }
        }
        Ok(options)
    }

    /// Unpacks what is compressed.
    fn unpack(&self, packed: &[u8]) -> Result<Option<Vec<u8>>, Violation> {
        match self.compressed {
            None | Some(b"text") => Ok(None),
            Some(b"gzip") => read_within(MultiGzDecoder::new(packed), packed.len()).map(Some),
            Some(b"zstd") => {
                let decoder = zstd::stream::read::Decoder::with_buffer(packed);
                let mut decoder = decoder.map_err(|error| unpackable(&error))?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|error| unpackable(&error))?;
                read_within(decoder, packed.len()).map(Some)
            }
            Some(other) => Err(Violation::malformed(format!(
                "`compressed` is `{}`, which is not read; send `gzip`, `zstd` or none",
                other.escape_ascii()
            ))),
        }
    }
}

/// Reads all of it, within the limits.
fn read_within(mut unpacked: impl Read, packed_bytes: usize) -> Result<Vec<u8>, Violation> {
    let ratio_bytes_max = packed_bytes.saturating_mul(RATIO_MAX).max(RATIO_FREE_BYTES);
    let bytes_max = UNPACKED_BYTES_MAX.min(ratio_bytes_max);
    let mut out = Vec::new();
    let mut buffer = vec![0; UNPACK_BYTES];
    loop {
        let length = unpacked.read(&mut buffer).map_err(|error| unpackable(&error))?;
        if length == 0 {
            return Ok(out);
        }
        if out.len() + length > bytes_max {
            return Err(Violation::too_large(format!(
                "a compressed message unpacks to more than {bytes_max} bytes; make its sender's chunks smaller"
            )));
        }
        out.extend_from_slice(buffer.get(..length).unwrap_or_default());
    }
}

fn unpackable(error: &io::Error) -> Violation {
    Violation::malformed(format!("a compressed message can't be unpacked: {error}"))
}

fn malformed(fault: Fault) -> Violation {
    Violation::malformed(format!("a message is no MessagePack that is read: {}", fault.text()))
}

fn too_large(bytes_max: usize) -> Violation {
    Violation::too_large(format!(
        "a message has more than {bytes_max} bytes; make its sender's chunks smaller (`chunk_limit_size 8m`)"
    ))
}

#[cfg(test)]
mod tests;
