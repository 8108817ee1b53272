use std::io::Write;
use std::net::IpAddr;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use rmp::encode::{
    write_array_len, write_bin, write_bin_len, write_bool, write_map_len, write_str, write_uint,
};

use super::*;
use crate::protocol::Rehearsal;
use crate::{SenderSettings, Senders};

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn rehearsal(senders: Senders) -> Rehearsal<Fluent> {
    Rehearsal::open(LISTENER, Fluent::new(200_000), senders, HERE)
}

/// What comes of these bytes, and the answers to them.
fn run(bytes: &[u8]) -> (Vec<String>, String, Result<(), &'static str>) {
    run_in_steps(bytes, bytes.len().max(1))
}

fn run_in_steps(bytes: &[u8], step: usize) -> (Vec<String>, String, Result<(), &'static str>) {
    let mut fluent = rehearsal(Senders::anybody());
    let result = bytes.chunks(step).try_for_each(|part| fluent.push(part));
    fluent.close();
    let records = fluent.records.iter().map(|(about, payload)| {
        assert_eq!(about, "fluent  forward");
        String::from_utf8(payload.clone()).unwrap()
    });
    let answers = fluent.answers.escape_ascii().to_string();
    (records.collect(), answers, result.map_err(|violation| violation.kind))
}

fn encoded(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

fn array(parts: &[Vec<u8>]) -> Vec<u8> {
    encoded(|out| {
        write_array_len(out, parts.len() as u32).unwrap();
        out.extend(parts.concat());
    })
}

fn map(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    encoded(|out| {
        write_map_len(out, pairs.len() as u32).unwrap();
        pairs.iter().for_each(|(key, value)| out.extend([&key[..], value].concat()));
    })
}

fn text(text: &str) -> Vec<u8> {
    encoded(|out| write_str(out, text).unwrap())
}

fn bin(bytes: &[u8]) -> Vec<u8> {
    encoded(|out| write_bin(out, bytes).unwrap())
}

fn uint(value: u64) -> Vec<u8> {
    encoded(|out| {
        write_uint(out, value).unwrap();
    })
}

fn record(message: &str) -> Vec<u8> {
    map(&[(text("m"), text(message))])
}

fn entry(time: u64, message: &str) -> Vec<u8> {
    array(&[uint(time), record(message)])
}

fn chunk(name: &str) -> Vec<u8> {
    map(&[(text("chunk"), text(name)), (text("size"), uint(1))])
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn every_form_of_message_is_read_and_acknowledged() {
    let event = |time: u64, message: &str| {
        format!(r#"{{"tag":"a.b","time":{time},"record":{{"m":"{message}"}}}}"#)
    };
    let two = [event(1, "x"), event(2, "y")];
    let entries = [entry(1, "x"), entry(2, "y")];
    let packed = entries.concat();
    let compressed =
        |how: &str| map(&[(text("compressed"), text(how)), (text("chunk"), text("c"))]);
    let members = [gzip(&entries[0]), gzip(&entries[1])].concat();
    let zstd = zstd::encode_all(packed.as_slice(), 1).unwrap();
    let ack = r"\x81\xa3ack\xa1c";

    let one = array(&[text("a.b"), uint(1), record("x"), chunk("c")]);
    assert_eq!(run(&one), (vec![event(1, "x")], ack.into(), Ok(())));
    let one = array(&[text("a.b"), uint(1), record("x")]);
    assert_eq!(run(&one), (vec![event(1, "x")], String::new(), Ok(())));
    for message in [
        array(&[text("a.b"), array(&entries), chunk("c")]),
        array(&[text("a.b"), bin(&packed), chunk("c")]),
        // Clients older than MessagePack's `bin`.
        array(&[
            bin(b"a.b"),
            [vec![0xda, 0, packed.len() as u8], packed.clone()].concat(),
            chunk("c"),
        ]),
        array(&[text("a.b"), bin(&gzip(&packed)), compressed("gzip")]),
        array(&[text("a.b"), bin(&members), compressed("gzip")]),
        array(&[text("a.b"), bin(&zstd), compressed("zstd")]),
        array(&[text("a.b"), bin(&packed), compressed("text")]),
    ] {
        assert_eq!(run(&message), (two.to_vec(), ack.into(), Ok(())));
    }
    assert_eq!(run(&array(&[text("a"), bin(b""), chunk("c")])), (vec![], ack.into(), Ok(())));
    // Heartbeats.
    assert_eq!(run(b"\xc0\xc0"), (vec![], String::new(), Ok(())));
}

#[test]
fn times_are_numbers_and_text_where_they_have_nanoseconds() {
    let times = |time: &[u8]| {
        let (records, _, result) = run(&array(&[text("t"), time.to_vec(), record("x")]));
        result.unwrap();
        let start = r#"{"tag":"t","time":"#;
        records
            .iter()
            .map(|record| {
                record.strip_prefix(start).unwrap().split(",\"").next().unwrap().to_owned()
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(times(b"\xd7\x00\x00\x00\x00\x01\x00\x00\x00\x00"), ["1"]);
    assert_eq!(
        times(b"\xd7\x00\x00\x00\x00\x01\x00\x00\x00\x02"),
        [r#""1970-01-01T00:00:01.000000002Z""#]
    );
    assert_eq!(
        times(b"\xc7\x08\x00\x00\x00\x00\x01\x1d\xcd\x65\x00"),
        [r#""1970-01-01T00:00:01.5Z""#]
    );
    assert_eq!(times(b"\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00"), ["1.5"]);
    assert_eq!(times(b"\xc0"), ["null"]);
}

#[test]
fn fluent_bit_may_keep_metadata() {
    let with = |metadata: Vec<u8>| array(&[array(&[uint(1), metadata]), record("x")]);
    let entries = [with(map(&[])), with(record("y"))];
    let (records, _, result) = run(&array(&[text("t"), array(&entries)]));
    result.unwrap();
    assert_eq!(
        records,
        [
            r#"{"tag":"t","time":1,"record":{"m":"x"}}"#,
            r#"{"tag":"t","time":1,"metadata":{"m":"y"},"record":{"m":"x"}}"#,
        ]
    );
}

#[test]
fn what_is_no_event_is_left_out_and_acknowledged() {
    let good = entry(1, "x");
    let no_record = array(&[uint(1), text("x")]);
    let nested = array(&[array(&[array(&[]), map(&[])]), record("x")]);
    let mut deep = uint(1);
    for _ in 0..msgpack::NESTING_MAX {
        deep = array(&[deep]);
    }
    let deep = array(&[uint(1), map(&[(text("a"), deep)])]);
    let entries = [uint(5), no_record, good, nested, array(&[]), deep].concat();
    let (records, answers, result) = run(&array(&[text("t"), bin(&entries), chunk("c")]));
    assert_eq!((records.len(), answers.as_str(), result), (1, r"\x81\xa3ack\xa1c", Ok(())));

    let metrics = map(&[(text("fluent_signal"), uint(1)), (text("chunk"), text("c"))]);
    let (records, answers, result) = run(&array(&[text("t"), bin(b"\xc1"), metrics]));
    assert_eq!((records.len(), answers.as_str(), result), (0, r"\x81\xa3ack\xa1c", Ok(())));
    for message in [array(&[]), array(&[text("t")]), array(&[uint(1), array(&[entry(1, "x")])])] {
        assert_eq!(run(&message), (vec![], String::new(), Ok(())));
    }
    let long = "x".repeat(LINE_BYTES_MAX);
    let mut fluent = Rehearsal::open(LISTENER, Fluent::default(), Senders::anybody(), HERE);
    fluent
        .push(&array(&[text("t"), array(&[entry(1, &long), entry(2, "y")]), chunk("c")]))
        .unwrap();
    assert_eq!((fluent.records.len(), fluent.answers.len()), (1, 7));
}

#[test]
fn what_is_no_message_ends_the_connection_and_nothing_of_it_is_stored() {
    let good = array(&[text("t"), array(&[entry(1, "x")]), chunk("a")]);
    let cut = [entry(1, "x"), vec![0x92, 0x01]].concat();
    let odd = map(&[(text("compressed"), text("lz4"))]);
    let gzipped = map(&[(text("compressed"), text("gzip"))]);
    for (bad, kind) in [
        (b"{\"a\":1}".to_vec(), "malformed"),
        (b"\xc1".to_vec(), "malformed"),
        (text("hello"), "malformed"),
        (array(&[text("t"), bin(&cut), chunk("c")]), "malformed"),
        (array(&[text("t"), bin(b"abc"), odd]), "malformed"),
        (array(&[text("t"), bin(b"\x1f\x8bxx"), gzipped]), "malformed"),
        (b"\xdd\xff\xff\xff\xff".to_vec(), "too_large"),
        (b"\x93\xa1t\xc6\x7f\xff\xff\xff".to_vec(), "too_large"),
    ] {
        let (records, answers, result) = run(&[good.clone(), bad].concat());
        assert_eq!(records.len(), 1);
        assert_eq!((answers.as_str(), result), (r"\x81\xa3ack\xa1a", Err(kind)));
    }
}

#[test]
fn a_bomb_is_not_unpacked() {
    let zeros = gzip(&vec![0x90; RATIO_FREE_BYTES + UNPACK_BYTES]);
    let ratio = RATIO_FREE_BYTES / zeros.len();
    assert!(ratio > RATIO_MAX, "{ratio}");
    let unpacked = read_within(MultiGzDecoder::new(zeros.as_slice()), zeros.len());
    assert_eq!(unpacked.unwrap_err().kind, "too_large");
    let honest = gzip(&vec![0x90; 1024 * 1024]);
    assert!(read_within(MultiGzDecoder::new(honest.as_slice()), honest.len()).is_ok());
}

fn senders(takes_unknown: bool) -> Senders {
    let sender = |name: &str, secret: &str, address: &str| SenderSettings {
        name: name.into(),
        secret: secret.into(),
        addresses: if address.is_empty() { vec![] } else { vec![address.into()] },
        ..SenderSettings::default()
    };
    let all = [
        sender("far", "fedcba9876543210", "10.0.0.0/8"),
        sender("web", "0123456789abcdef", ""),
        sender("lan", "", "192.168.0.0/16"),
    ];
    Senders::new(&all, takes_unknown).unwrap()
}

/// A client's PING, and the digest that PONG has to have.
fn ping(helo: &[u8], secret: &[u8]) -> (Vec<u8>, String) {
    let start = encoded(|out| {
        write_array_len(out, 2).unwrap();
        write_str(out, "HELO").unwrap();
        write_map_len(out, 3).unwrap();
        write_str(out, "nonce").unwrap();
        write_bin_len(out, 16).unwrap();
    });
    let nonce = &helo.strip_prefix(start.as_slice()).unwrap()[..16];
    // Fluent Bit's salt is a string that is no UTF-8.
    let salt = b"\xff\xfe0123456789abcd";
    let digest = handshake::digest(&[salt, b"client", nonce, secret]);
    let salt_as_text = [&[0xb0], &salt[..]].concat();
    let ping = [text("PING"), text("client"), salt_as_text, text(&digest), text(""), text("")];
    (array(&ping), handshake::digest(&[salt, b"watchpost", nonce, secret]))
}

#[test]
fn a_shared_key_tells_who_sends() {
    for takes_unknown in [false, true] {
        let mut fluent = rehearsal(senders(takes_unknown));
        assert!(fluent.protocol.is_within());
        let (ping, proof) = ping(&fluent.answers, b"0123456789abcdef");
        fluent.answers.clear();
        let event = array(&[text("t"), uint(1), record("x"), chunk("c")]);
        for byte in [ping, event].concat() {
            fluent.push(&[byte]).unwrap();
        }
        let pong = encoded(|out| {
            write_array_len(out, 5).unwrap();
            write_str(out, "PONG").unwrap();
            write_bool(out, true).unwrap();
            write_str(out, "").unwrap();
            write_str(out, "watchpost").unwrap();
            write_str(out, &proof).unwrap();
        });
        assert_eq!(fluent.answers, [&pong[..], b"\x81\xa3ack\xa1c"].concat());
        assert_eq!(fluent.records[0].0, "fluent web forward");
        assert!(!fluent.protocol.is_within());
    }
}

#[test]
fn who_proves_nothing_is_refused() {
    for secret in [&b"0123456789abcdeF"[..], b"", b"fedcba9876543210"] {
        let mut fluent = rehearsal(senders(true));
        let (ping, _) = ping(&fluent.answers, secret);
        fluent.answers.clear();
        let event = array(&[text("t"), uint(1), record("x")]);
        assert_eq!(fluent.push(&[ping, event].concat()).unwrap_err().kind, "denied");
        assert!(fluent.answers.starts_with(b"\x95\xa4PONG\xc2"));
        assert!(fluent.records.is_empty());
    }
    let mut fluent = rehearsal(senders(true));
    let event = array(&[text("t"), uint(1), record("x"), chunk("c")]);
    assert_eq!(fluent.push(&event).unwrap_err().kind, "denied");
    // Nothing large is held, or hashed with every secret, for who may be anybody.
    let mut fluent = rehearsal(senders(true));
    let long = array(&[text("PING"), text("client"), bin(&[0; 5000]), text(""), text("")]);
    assert_eq!(fluent.push(&long[..20]).unwrap_err().kind, "too_large");
}

#[test]
fn who_is_known_by_address_is_not_asked() {
    let address = IpAddr::from([192, 168, 1, 1]);
    let mut fluent = Rehearsal::open(LISTENER, Fluent::default(), senders(false), address);
    assert!(fluent.answers.is_empty());
    fluent.push(&array(&[text("t"), uint(1), record("x")])).unwrap();
    assert_eq!(fluent.records[0].0, "fluent lan forward");
}

/// Any message, and the records in it.
fn message() -> impl Strategy<Value = (Vec<u8>, usize)> {
    let form = prop::sample::select(vec!["message", "forward", "packed", "gzip", "heartbeat"]);
    let texts = prop::collection::vec("\\PC{0,30}", 1..8);
    (form, texts, "[a-z.]{1,9}").prop_map(|(form, texts, tag)| {
        let entries: Vec<_> = texts.iter().map(|message| entry(7, message)).collect();
        let compressed = map(&[(text("compressed"), text("gzip")), (text("chunk"), text(&tag))]);
        let count = texts.len();
        match form {
            "message" => (array(&[text(&tag), uint(7), record(&texts[0]), chunk("c")]), 1),
            "forward" => (array(&[text(&tag), array(&entries), chunk("c")]), count),
            "packed" => (array(&[text(&tag), bin(&entries.concat()), chunk("c")]), count),
            "gzip" => (array(&[text(&tag), bin(&gzip(&entries.concat())), compressed]), count),
            _ => (vec![0xc0], 0),
        }
    })
}

proptest! {
    #[test]
    fn where_a_stream_is_cut_changes_nothing(
        messages in prop::collection::vec(message(), 1..6),
        step in 1..80_usize,
    ) {
        let stream: Vec<u8> = messages.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        let count: usize = messages.iter().map(|(_, count)| count).sum();
        let whole = run(&stream);
        prop_assert_eq!(&whole.2, &Ok(()));
        prop_assert_eq!(whole.0.len(), count);
        for record in &whole.0 {
            let value: serde_json::Value = serde_json::from_str(record).unwrap();
            prop_assert_eq!(value["time"].as_u64(), Some(7));
        }
        prop_assert_eq!(run_in_steps(&stream, step), whole);
    }

    #[test]
    fn any_bytes_are_taken(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            (message(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|((mut bytes, _), at, byte)| {
                let at = at.index(bytes.len());
                bytes[at] = byte;
                bytes
            }),
        ],
        step in 1..80_usize,
    ) {
        prop_assert_eq!(run_in_steps(&bytes, step), run(&bytes));
    }
}
