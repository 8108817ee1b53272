//! Any datagrams as GELF over UDP, cut where they name their length: they are taken or refused.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use ingest::datagrams::DatagramProtocol;
use ingest::gelf::GelfDatagram;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let source = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);
    let (mut gelf, now, mut rest) = (GelfDatagram::default(), Instant::now(), bytes);
    while let Some((&length, after)) = rest.split_first() {
        let (datagram, after) = after.split_at(usize::from(length).min(after.len()));
        // A refusal is an answer too.
        gelf.take(datagram, source, now, &mut |_| {}).ok();
        rest = after;
    }
    gelf.give_up(now, true);
});
