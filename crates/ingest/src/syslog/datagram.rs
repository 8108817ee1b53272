//! Syslog over UDP (RFC 5426): a message in each datagram.

use std::net::SocketAddr;
use std::time::Instant;

use event::raw::Encoding;

use super::framing::trim_message;
use crate::datagrams::DatagramProtocol;
use crate::protocol::Violation;

/// Syslog in datagrams.
#[derive(Debug, Clone, Copy, Default)]
pub struct SyslogDatagram;

impl DatagramProtocol for SyslogDatagram {
    const ENCODING: Encoding = Encoding::Syslog;

    fn take(
        &mut self,
        datagram: &[u8],
        _source: SocketAddr,
        _now: Instant,
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Violation> {
        let message = trim_message(datagram);
        if !message.is_empty() {
            each(message);
        }
        Ok(())
    }
}
