//! Syslog over UDP and TCP.
//!
//! Neither acknowledges, so what these listeners owe their senders is to hold them back before
//! anything is lost: over TCP reading stops while the intake is full; over UDP that is not possible,
//! and every datagram dropped is counted, those that the kernel dropped as well.
//!
//! A message is handed on as it came, without its framing; what it says is for normalisation.

mod drops;
mod framing;
mod tcp;
mod udp;

use std::time::Duration;

pub use tcp::Tcp;
pub use udp::Udp;

/// The name of the UDP listener in records and metrics.
pub const UDP_LISTENER: &str = "syslog-udp";

/// The name of the TCP listener in records and metrics.
pub const TCP_LISTENER: &str = "syslog-tcp";

/// How long it is waited at shutdown for what the kernel has received. It has it already, so this is
/// only the time to be told so.
const LAST_READ_WAIT: Duration = Duration::from_millis(20);

/// The bounds of a syslog listener, and what it says of its records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyslogLimits {
    /// The longest message, in bytes. A longer one over TCP becomes several records, so that none
    /// of it is lost; that is counted and logged.
    pub message_bytes_max: usize,
    /// The most TCP connections at once; more are closed as they come.
    pub connections_max: usize,
    /// A TCP connection that is silent for so long is closed.
    pub idle_max: Duration,
    /// How long connections may take to end at shutdown.
    pub shutdown_wait_max: Duration,
    /// What one connection, or the UDP listener, gathers while an append is under way, in bytes.
    pub gathered_bytes_max: usize,
    /// The dataset of all messages; empty when normalisation shall find it out.
    pub dataset: String,
    /// The namespace of all messages.
    pub namespace: String,
}

impl Default for SyslogLimits {
    fn default() -> Self {
        SyslogLimits {
            // Far above what RFC 5424 asks for (2 KiB); Windows events as JSON over syslog reach
            // 64 KiB.
            message_bytes_max: 256 * 1024,
            connections_max: 1000,
            // Closing costs plain TCP syslog a message: its sender learns of it only by the second
            // write. So this is for connections whose other end is gone, and no shorter.
            idle_max: Duration::from_secs(24 * 60 * 60),
            shutdown_wait_max: Duration::from_secs(10),
            gathered_bytes_max: 1024 * 1024,
            dataset: String::new(),
            namespace: event::raw::NAMESPACE_DEFAULT.to_owned(),
        }
    }
}
