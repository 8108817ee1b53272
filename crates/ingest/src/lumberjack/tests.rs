use std::io::Write;
use std::net::IpAddr;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use proptest::prelude::*;

use super::*;
use crate::Senders;
use crate::protocol::Rehearsal;

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// What comes of these bytes, and the answers to them.
fn run(bytes: &[u8]) -> (Vec<String>, String, Result<(), &'static str>) {
    run_in_steps(bytes, bytes.len().max(1))
}

fn run_in_steps(bytes: &[u8], step: usize) -> (Vec<String>, String, Result<(), &'static str>) {
    let mut lumberjack = Rehearsal::open(LISTENER, Lumberjack::new(1000), Senders::anybody(), HERE);
    let result = bytes.chunks(step).try_for_each(|part| lumberjack.push(part));
    let records = lumberjack.records.iter().map(|(about, payload)| {
        assert_eq!(about, "lumberjack  json");
        payload.escape_ascii().to_string().replace("\\\"", "\"")
    });
    let answers = lumberjack.answers.escape_ascii().to_string();
    (records.collect(), answers, result.map_err(|violation| violation.kind))
}

fn window(events: u32) -> Vec<u8> {
    [b"2W", &events.to_be_bytes()[..]].concat()
}

fn json(sequence: u32, json: &str) -> Vec<u8> {
    let length = (json.len() as u32).to_be_bytes();
    [b"2J", &sequence.to_be_bytes()[..], &length, json.as_bytes()].concat()
}

fn pairs(version: u8, sequence: u32, pairs: &[(&str, &str)]) -> Vec<u8> {
    let count = (pairs.len() as u32).to_be_bytes();
    let mut out = [&[version, b'D'], &sequence.to_be_bytes()[..], &count].concat();
    for text in pairs.iter().flat_map(|(key, value)| [key, value]) {
        out.extend((text.len() as u32).to_be_bytes());
        out.extend(text.bytes());
    }
    out
}

fn packed(frames: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(frames).unwrap();
    frame(b"2C", &encoder.finish().unwrap())
}

fn frame(kind: &[u8], payload: &[u8]) -> Vec<u8> {
    [kind, &(payload.len() as u32).to_be_bytes()[..], payload].concat()
}

#[test]
fn a_window_is_acknowledged_when_it_is_whole() {
    let frames = [json(1, "{\"a\":1}"), json(2, "{}")].concat();
    for stream in [
        [window(2), frames.clone()].concat(),
        [window(2), packed(&frames)].concat(),
        [window(2), packed(&json(1, "{\"a\":1}")), json(2, "{}")].concat(),
        packed(&[window(2), frames.clone()].concat()),
    ] {
        let records = vec!["{\"a\":1}".to_owned(), "{}".to_owned()];
        assert_eq!(run(&stream), (records, r"2A\x00\x00\x00\x02".into(), Ok(())));
        let (_, answers, _) = run(&stream[..stream.len() - 1]);
        assert_eq!(answers, "");
    }
    // A new window before the last is full, and one without events.
    let stream = [window(5), json(1, "1"), window(0), window(1), json(1, "2")].concat();
    let (records, answers, result) = run(&stream);
    assert_eq!((records.len(), result), (2, Ok(())));
    assert_eq!(answers, r"2A\x00\x00\x00\x012A\x00\x00\x00\x01");
}

#[test]
fn version_1_announces_a_window_once_and_has_keys_and_values() {
    let stream = [
        [b"1W", &2_u32.to_be_bytes()[..]].concat(),
        pairs(b'1', 7, &[("line", "a \"b\""), ("", "")]),
        frame(b"1C", &packed(&pairs(b'1', 8, &[]))[6..]),
        pairs(b'1', 9, &[("a", "1"), ("b", "2")]),
        pairs(b'1', 10, &[("c", "3")]),
    ]
    .concat();
    let (records, answers, result) = run(&stream);
    assert_eq!(result, Ok(()));
    let first = r#"{"line":"a \\"b\\"","":""}"#;
    assert_eq!(records, [first, "{}", r#"{"a":"1","b":"2"}"#, r#"{"c":"3"}"#]);
    assert_eq!(answers, r"1A\x00\x00\x00\x081A\x00\x00\x00\n");
}

#[test]
fn events_over_the_limit_are_left_out_and_acknowledged() {
    let long = json(2, &"x".repeat(1001));
    let frames = [json(1, "1"), long, json(3, ""), json(4, "4")].concat();
    for stream in [[window(4), frames.clone()].concat(), [window(4), packed(&frames)].concat()] {
        let (records, answers, result) = run(&stream);
        assert_eq!((records, result), (vec!["1".to_owned(), "4".to_owned()], Ok(())));
        assert_eq!(answers, r"2A\x00\x00\x00\x04");
    }
}

#[test]
fn what_is_no_frame_ends_the_connection() {
    let zlib = packed(&[json(1, "1")].concat());
    let mut broken = zlib.clone();
    *broken.last_mut().unwrap() ^= 1;
    for (bad, kind) in [
        (b"GET / HTTP/1.1".to_vec(), "malformed"),
        (b"3J".to_vec(), "malformed"),
        (b"2X".to_vec(), "malformed"),
        (window(WINDOW_EVENTS_MAX + 1), "too_large"),
        (b"2C\xff\xff\xff\xff".to_vec(), "too_large"),
        (frame(b"2C", b"nonsense"), "malformed"),
        (frame(b"2C", &zlib[6..zlib.len() - 1]), "malformed"),
        (broken, "malformed"),
        (packed(&json(1, "12345")[..12]), "malformed"),
        (packed(&zlib), "malformed"),
        (pairs(b'2', 1, &[("a", &"x".repeat(1001))]), "too_large"),
        (pairs(b'2', 1, &[("a", &"x".repeat(600)), ("b", &"x".repeat(600))]), "too_large"),
    ] {
        let stream = [window(1), json(9, "9"), window(9), bad.clone()].concat();
        let (_, answers, result) = run(&stream);
        assert_eq!(
            (answers.as_str(), result),
            (r"2A\x00\x00\x00\t", Err(kind)),
            "{}",
            bad.escape_ascii()
        );
        assert_eq!(run_in_steps(&stream, 1).2, Err(kind));
    }
    assert_eq!(run(&json(1, "1")).2, Err("malformed"));
}

#[test]
fn a_bomb_is_not_unpacked() {
    let skipped = [b"2J\0\0\0\x01\x7f\xff\xff\xff".to_vec(), vec![0; 32 * 1024 * 1024]].concat();
    let (_, _, result) = run(&[window(1), packed(&skipped)].concat());
    assert_eq!(result, Err("too_large"));
}

/// Logstash's own output: version 1, its numbers go on, and JSON if it is told to.
#[test]
fn logstash_hears_nothing_but_the_acknowledgement_of_all() {
    let mut logstash = Rehearsal::open(LISTENER, Lumberjack::default(), Senders::anybody(), HERE);
    let as_1 = |mut frame: Vec<u8>| {
        frame[0] = b'1';
        frame
    };
    for first in [1, 3] {
        let frames = [as_1(json(first, "{}")), as_1(json(first + 1, "{}"))].concat();
        logstash.push(&[as_1(window(2)), as_1(packed(&frames))].concat()).unwrap();
    }
    assert_eq!(logstash.answers, b"1A\0\0\0\x021A\0\0\0\x04");
    logstash.push(&[as_1(window(2)), as_1(json(5, "{}"))].concat()).unwrap();
    assert!(logstash.protocol.patience().is_empty());
    logstash.close();
    assert_eq!((logstash.records.len(), logstash.answers.len()), (5, 12));
}

#[test]
fn what_came_of_a_window_is_acknowledged_at_the_end() {
    let mut beat = Rehearsal::open(LISTENER, Lumberjack::default(), Senders::anybody(), HERE);
    beat.push(&[window(3), json(1, "1")].concat()).unwrap();
    assert!(beat.protocol.is_within() && !beat.protocol.patience().is_empty());
    beat.close();
    assert_eq!(beat.answers, b"2A\0\0\0\x01");
}

/// A window, and how many events are in it.
fn any_window() -> impl Strategy<Value = (Vec<u8>, usize)> {
    let events = prop::collection::vec(("[a-z\"{}]{1,30}", any::<bool>()), 1..9);
    (events, any::<bool>()).prop_map(|(events, is_packed)| {
        let mut frames = Vec::new();
        for (number, (text, is_json)) in (1..).zip(&events) {
            match is_json {
                true => frames.extend(json(number, text)),
                false => frames.extend(pairs(b'2', number, &[("k", text)])),
            }
        }
        let frames = if is_packed { packed(&frames) } else { frames };
        ([window(events.len() as u32), frames].concat(), events.len())
    })
}

proptest! {
    #[test]
    fn where_a_stream_is_cut_changes_nothing(
        windows in prop::collection::vec(any_window(), 1..6),
        step in 1..80_usize,
    ) {
        let stream: Vec<u8> = windows.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        let whole = run(&stream);
        prop_assert_eq!(&whole.2, &Ok(()));
        prop_assert_eq!(whole.0.len(), windows.iter().map(|(_, count)| count).sum::<usize>());
        let acks: String = windows.iter().map(|(_, count)| {
            [b"2A", &(*count as u32).to_be_bytes()[..]].concat().escape_ascii().to_string()
        }).collect();
        prop_assert_eq!(&whole.1, &acks);
        prop_assert_eq!(run_in_steps(&stream, step), whole);
    }

    #[test]
    fn any_bytes_are_taken(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            (any_window(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|((mut bytes, _), at, byte)| {
                let at = at.index(bytes.len());
                bytes[at] = byte;
                bytes
            }),
        ],
        step in 1..80_usize,
    ) {
        let (whole, cut) = (run(&bytes), run_in_steps(&bytes, step));
        // Of two things that are wrong, either may be met first.
        prop_assert_eq!(cut.2.is_ok(), whole.2.is_ok());
        if whole.2.is_ok() {
            prop_assert_eq!(cut, whole);
        }
    }
}
