//! Any bytes as the forward protocol, in one or cut: records come out, or a reason, and the same ones.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use ingest::Senders;
use ingest::fluent::{LISTENER, Fluent};
use ingest::protocol::Rehearsal;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((&step, bytes)) = bytes.split_first() else { return };
    let run = |step: usize| {
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let mut rehearsal = Rehearsal::open(LISTENER, Fluent::default(), Senders::anybody(), here);
        let result = bytes.chunks(step).try_for_each(|part| rehearsal.push(part));
        rehearsal.close();
        (result.is_ok(), rehearsal.records, rehearsal.answers)
    };
    let (whole, cut) = (run(bytes.len().max(1)), run(usize::from(step).max(1)));
    assert_eq!(whole.0, cut.0);
    if whole.0 {
        assert_eq!(whole, cut);
    }
});
