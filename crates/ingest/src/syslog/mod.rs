//! Syslog over UDP, TCP and TLS.
//!
//! None acknowledges, so what these listeners owe their senders is to hold them back before
//! anything is lost: over TCP reading stops while the intake is full; over UDP that is not possible,
//! and every datagram dropped is counted, those that the kernel dropped as well.
//!
//! A message is handed on as it came, without its framing; what it says is for normalisation.

mod datagram;
mod framing;
mod stream;

pub use datagram::SyslogDatagram;
pub use stream::Syslog;

/// The name of the UDP listener in records and metrics.
pub const UDP_LISTENER: &str = "syslog-udp";

/// The name of the TCP listener in records and metrics.
pub const TCP_LISTENER: &str = "syslog-tcp";

/// The name of the TLS listener in records and metrics.
pub const TLS_LISTENER: &str = "syslog-tls";

/// The longest message, in bytes; a longer one becomes several records. Far above what RFC 5424 asks
/// for (2 KiB); Windows events as JSON over syslog reach 64 KiB.
pub const MESSAGE_BYTES_MAX: usize = 256 * 1024;
