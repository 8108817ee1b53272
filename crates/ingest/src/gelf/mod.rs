//! GELF, Graylog's format, over TCP and UDP: Docker's `gelf` driver, and loggers of every language.
//!
//! Neither way acknowledges. Over TCP a sender is held back while the intake is full; over UDP that
//! is not possible, and what is dropped is counted, messages that never became whole as well.
//!
//! A message is handed on as the JSON that was sent, unpacked; what it says is for normalisation.

mod datagram;
mod stream;

pub use datagram::GelfDatagram;
pub use stream::GelfStream;

/// The name of the TCP listener in records and metrics.
pub const TCP_LISTENER: &str = "gelf-tcp";

/// The name of the UDP listener in records and metrics.
pub const UDP_LISTENER: &str = "gelf-udp";

/// The largest message, unpacked, in bytes: what a record may have.
pub const MESSAGE_BYTES_MAX: usize = crate::LINE_BYTES_MAX;

/// The two bytes with which gzip begins.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Whether these two bytes begin a zlib stream, of any level. No JSON does.
fn is_zlib(first: u8, second: u8) -> bool {
    first == 0x78 && matches!(second, 0x01 | 0x5e | 0x9c | 0xda)
}

/// A message without the NULs and line ends around it.
fn trim(mut message: &[u8]) -> &[u8] {
    let is_end = |byte: &u8| matches!(byte, 0 | b'\n' | b'\r');
    while let Some((_, rest)) = message.split_first().filter(|(first, _)| is_end(first)) {
        message = rest;
    }
    while let Some((_, rest)) = message.split_last().filter(|(last, _)| is_end(last)) {
        message = rest;
    }
    message
}
