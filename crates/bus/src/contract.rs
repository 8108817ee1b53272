//! The contract of a bus, as tests that any backend must pass.
//!
//! Each function is one promise; [`PROMISES`] has them all, and [`all`] runs them, each on a fresh
//! bus. They use topics and groups of their own choosing and the public interface only, so that the
//! same suite runs on the in-memory bus, the embedded log and a Kafka cluster. They panic where the
//! promise is broken, because they are tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::{
    Batch, Bus, BusError, Consumer, GapReason, Offset, Output, Partition, PollLimits, Polled,
    Records, Retention, Topic,
};

/// How long a step may take before the test gives up: a backend may need to form a group first.
const PATIENCE: Duration = Duration::from_secs(60);

/// A promise: its name, and the test of it.
pub type Promise = (&'static str, fn(&dyn Bus));

/// The whole suite.
pub const PROMISES: [Promise; 16] = [
    ("order_within_a_partition", order_within_a_partition),
    ("headers_and_bytes_are_kept", headers_and_bytes_are_kept),
    ("large_records", large_records),
    ("resuming", resuming),
    ("consume_and_produce_is_atomic", consume_and_produce_is_atomic),
    ("state_is_committed_with_offsets", state_is_committed_with_offsets),
    ("the_last_change_of_state_wins", the_last_change_of_state_wins),
    ("rewinding_reads_again", rewinding_reads_again),
    ("seeking", seeking),
    ("rebalancing_loses_and_doubles_nothing", rebalancing_loses_and_doubles_nothing),
    ("a_zombie_is_fenced", a_zombie_is_fenced),
    ("retention_by_size", retention_by_size),
    ("back_pressure", back_pressure),
    ("limits_of_a_poll", limits_of_a_poll),
    ("names_of_groups", names_of_groups),
    ("closing", closing),
];

/// Runs the whole suite. `fresh` makes an empty bus of at least two partitions in `raw` and `events`,
/// that accepts records of 10 MB.
pub fn all<B: Bus>(mut fresh: impl FnMut() -> B) {
    for (_, promise) in PROMISES {
        promise(&fresh());
    }
}

/// Records of one key come in the order they were appended, with offsets that grow by one.
pub fn order_within_a_partition(bus: &dyn Bus) {
    for round in 0..20 {
        let mut records = Records::new();
        for number in 0..50 {
            let sequence = round * 50 + number;
            let key = format!("key-{}", sequence % 7);
            records.push(key.as_bytes(), &[], sequence.to_string().as_bytes());
        }
        bus.append(Topic::Raw, &mut records).expect("appends");
        assert!(records.is_empty(), "a successful append takes the records");
    }
    let mut consumer = bus.consumer("order", &[Topic::Raw]).expect("joins");
    let mut seen = BTreeMap::<Vec<u8>, (Partition, Vec<u64>)>::new();
    let mut offsets = BTreeMap::<Partition, u64>::new();
    read(consumer.as_mut(), 1000, |record| {
        let expected = offsets.entry(record.partition).or_default();
        assert_eq!(record.offset, Offset(*expected));
        *expected += 1;
        let (partition, sequences) =
            seen.entry(record.key.to_vec()).or_insert((record.partition, Vec::new()));
        assert_eq!(*partition, record.partition, "a key stays in its partition");
        sequences.push(number(record.value));
    });
    assert_eq!(seen.len(), 7);
    for (_, sequences) in seen.values() {
        assert!(sequences.is_sorted(), "{sequences:?}");
    }
    let read: u64 = offsets.values().sum();
    let stored: u64 = bus.extents(Topic::Raw).expect("tells").iter().map(|e| e.end.0).sum();
    assert_eq!((read, stored), (1000, 1000));
}

/// Keys, headers and values are bytes that come back as they were, empty ones too.
pub fn headers_and_bytes_are_kept(bus: &dyn Bus) {
    let every_byte: Vec<u8> = (0..=255).collect();
    let mut records = Records::new();
    records.push(&every_byte, &[("a", b""), ("b", &every_byte), ("a", b"again")], &every_byte);
    records.push(b"", &[], b"");
    bus.append(Topic::Raw, &mut records).expect("appends");
    let mut consumer = bus.consumer("headers", &[Topic::Raw]).expect("joins");
    let mut full = 0;
    read(consumer.as_mut(), 2, |record| {
        assert!(record.timestamp.as_millis() > 0, "the bus stamps records");
        if record.key.is_empty() {
            assert_eq!((record.value, record.headers.iter().count()), (b"".as_slice(), 0));
            return;
        }
        full += 1;
        assert_eq!((record.key, record.value), (every_byte.as_slice(), every_byte.as_slice()));
        let headers: Vec<_> = record.headers.iter().collect();
        let expected: [(&str, &[u8]); 3] = [("a", b""), ("b", &every_byte), ("a", b"again")];
        assert_eq!(headers, expected);
    });
    assert_eq!(full, 1);
}

/// 10 MB pass; what is over the limit is refused whole, by name, and what is beside it still passes.
pub fn large_records(bus: &dyn Bus) {
    let large: Vec<u8> =
        (0..10_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut records = Records::new();
    records.push(b"k", &[], &large);
    bus.append(Topic::Raw, &mut records).expect("10 MB are accepted");

    let mut records = Records::new();
    records.push(b"k", &[], b"small");
    records.push(b"k", &[], &vec![0; 1 << 28]);
    match bus.append(Topic::Raw, &mut records) {
        Err(BusError::RecordTooLarge { topic, index, bytes, bytes_max }) => {
            assert_eq!((topic, index), (Topic::Raw, 1));
            assert!(bytes > bytes_max);
        }
        other => panic!("a record of 256 MiB gave {other:?}"),
    }
    assert_eq!(records.len(), 2, "a refused append leaves the records");
    records.truncate(1);
    bus.append(Topic::Raw, &mut records).expect("the small one is accepted");

    let mut consumer = bus.consumer("large", &[Topic::Raw]).expect("joins");
    let mut values = Vec::new();
    read(consumer.as_mut(), 2, |record| values.push(record.value.to_vec()));
    assert!(values == [large, b"small".to_vec()], "both are read back");
}

/// A group goes on where it committed, and not where it polled.
pub fn resuming(bus: &dyn Bus) {
    append_numbers(bus, Topic::Raw, 0..300);
    let limits = PollLimits { records_max: 50, ..PollLimits::default() };
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let mut consumer = bus.consumer("resuming", &[Topic::Raw]).expect("joins");
        let mut batch = Batch::new();
        poll_records(consumer.as_mut(), &limits, &mut batch);
        for record in batch.iter() {
            assert!(seen.insert(number(record.value)), "read again after its commit");
        }
        consumer.commit(&mut Output::new()).expect("commits");
        poll_records(consumer.as_mut(), &limits, &mut batch);
        // Left without a commit.
    }
    let left = bus.lag("resuming", &[Topic::Raw]).expect("tells");
    assert_eq!(left, 300 - seen.len() as u64);
    let mut consumer = bus.consumer("resuming", &[Topic::Raw]).expect("joins");
    read(consumer.as_mut(), left as usize, |record| {
        assert!(seen.insert(number(record.value)));
    });
    assert_eq!(seen.len(), 300);
}

/// What a commit produces is there if and only if its input is consumed.
pub fn consume_and_produce_is_atomic(bus: &dyn Bus) {
    append_numbers(bus, Topic::Raw, 0..100);
    let mut reader = joined(bus, "reader", &[Topic::Events]);
    let mut numbers = Vec::new();
    let mut consumer = bus.consumer("copy", &[Topic::Raw]).expect("joins");
    let limits = PollLimits { records_max: 10, ..PollLimits::default() };
    let (mut batch, mut output) = (Batch::new(), Output::new());
    let mut copied = 0;
    for round in 0.. {
        if copied == 100 {
            break;
        }
        poll_records(consumer.as_mut(), &limits, &mut batch);
        for record in batch.iter() {
            output.to(Topic::Events).push(record.key, &[], record.value);
        }
        if round % 2 == 0 {
            // As if the process had died before the commit.
            output.clear();
            drop(consumer);
            consumer = bus.consumer("copy", &[Topic::Raw]).expect("joins");
            continue;
        }
        consumer.commit(&mut output).expect("commits");
        assert!(output.is_empty(), "a successful commit takes the output");
        read(reader.as_mut(), batch.len(), |record| numbers.push(number(record.value)));
        copied += batch.len();
        assert_eq!(bus.lag("copy", &[Topic::Raw]).expect("tells"), 100 - copied as u64);
    }
    // A commit that is refused stores none of its parts.
    append_numbers(bus, Topic::Raw, 100..101);
    poll_records(consumer.as_mut(), &limits, &mut batch);
    output.to(Topic::Events).push(b"", &[], b"101");
    output.to(Topic::Matches).push(b"", &[], &vec![0; 1 << 28]);
    let refused = consumer.commit(&mut output);
    assert!(matches!(refused, Err(BusError::RecordTooLarge { .. })), "{refused:?}");
    assert_eq!(output.records(Topic::Events).len(), 1, "a refused commit leaves the output");
    assert_eq!(bus.lag("copy", &[Topic::Raw]).expect("tells"), 1);
    assert_nothing(reader.as_mut());
    numbers.sort_unstable();
    assert!(numbers.iter().copied().eq(0..100), "{numbers:?}");
}

/// State changes are durable with the offsets, private to the group, and read back by prefix.
pub fn state_is_committed_with_offsets(bus: &dyn Bus) {
    append_numbers(bus, Topic::Raw, 0..10);
    let mut consumer = joined(bus, "state", &[Topic::Raw]);
    let (mut batch, mut output) = (Batch::new(), Output::new());
    poll_records(consumer.as_mut(), &PollLimits::default(), &mut batch);
    output.put_state(Partition(0), b"count/a".as_slice(), b"1".as_slice());
    output.put_state(Partition(0), b"count/b".as_slice(), b"2".as_slice());
    output.put_state(Partition(1), b"count/c".as_slice(), b"3".as_slice());
    output.put_state(Partition(0), b"other".as_slice(), b"4".as_slice());
    let before = consumer.state().get(Partition(0), b"other").expect("reads");
    assert_eq!(before, None, "what is not committed is not there");
    consumer.commit(&mut output).expect("commits");
    output.delete_state(Partition(0), b"count/b".as_slice());
    consumer.commit(&mut output).expect("commits state alone");
    output.put_state(Partition(9999), b"x".as_slice(), b"y".as_slice());
    let foreign = consumer.commit(&mut output);
    assert!(matches!(foreign, Err(BusError::ForeignState { .. })), "{foreign:?}");
    drop(consumer);

    let consumer = joined(bus, "state", &[Topic::Raw]);
    let state = consumer.state();
    assert_eq!(state.get(Partition(0), b"other").expect("reads"), Some(b"4".to_vec()));
    assert_eq!(state.get(Partition(1), b"other").expect("reads"), None);
    let mut found = Vec::new();
    let mut each = |partition: Partition, key: &[u8], value: &[u8]| {
        found.push((partition.0, String::from_utf8_lossy(key).into_owned(), value.to_vec()));
    };
    state.scan(b"count/", &mut each).expect("scans");
    let expected =
        [(0, "count/a".to_owned(), b"1".to_vec()), (1, "count/c".to_owned(), b"3".to_vec())];
    assert_eq!(found, expected);

    let other = joined(bus, "state-2", &[Topic::Raw]);
    assert_eq!(other.state().get(Partition(0), b"other").expect("reads"), None);
}

/// Of several changes of one key in one commit, the last holds.
pub fn the_last_change_of_state_wins(bus: &dyn Bus) {
    let mut consumer = joined(bus, "last", &[Topic::Raw]);
    let mut output = Output::new();
    for value in ["1", "2", "3"] {
        output.put_state(Partition(0), b"kept".as_slice(), value);
        output.put_state(Partition(0), b"gone".as_slice(), value);
    }
    output.delete_state(Partition(0), b"gone".as_slice());
    output.delete_state(Partition(0), b"back".as_slice());
    output.put_state(Partition(0), b"back".as_slice(), b"4".as_slice());
    consumer.commit(&mut output).expect("commits");
    let state = consumer.state();
    assert_eq!(state.get(Partition(0), b"kept").expect("reads"), Some(b"3".to_vec()));
    assert_eq!(state.get(Partition(0), b"gone").expect("reads"), None);
    assert_eq!(state.get(Partition(0), b"back").expect("reads"), Some(b"4".to_vec()));
}

/// `rewind` forgets what was polled since the last commit.
pub fn rewinding_reads_again(bus: &dyn Bus) {
    append_numbers(bus, Topic::Raw, 0..40);
    let mut consumer = bus.consumer("rewind", &[Topic::Raw]).expect("joins");
    let mut first = Vec::new();
    read(consumer.as_mut(), 40, |record| first.push(number(record.value)));
    consumer.rewind().expect("rewinds");
    let mut second = Vec::new();
    read(consumer.as_mut(), 40, |record| second.push(number(record.value)));
    first.sort_unstable();
    second.sort_unstable();
    assert_eq!(first, second);
    consumer.commit(&mut Output::new()).expect("commits");
    consumer.rewind().expect("rewinds");
    let mut batch = Batch::new();
    let limits = PollLimits { wait: Duration::from_millis(20), ..PollLimits::default() };
    assert_eq!(consumer.poll(&limits, &mut batch).expect("polls"), Polled::Nothing);
}

/// A consumer that keeps its own offsets begins where it says.
pub fn seeking(bus: &dyn Bus) {
    let mut records = Records::new();
    for number in 0..30 {
        records.push(b"one key", &[], number.to_string().as_bytes());
    }
    bus.append(Topic::Raw, &mut records).expect("appends");
    let mut consumer = joined(bus, "seek", &[Topic::Raw]);
    let extents = bus.extents(Topic::Raw).expect("tells");
    let extent = extents.iter().find(|extent| extent.end.0 == 30).expect("one partition has all");
    consumer.seek(Topic::Raw, extent.partition, Offset(25)).expect("seeks");
    let mut numbers = Vec::new();
    read(consumer.as_mut(), 5, |record| numbers.push(number(record.value)));
    assert_eq!(numbers, [25, 26, 27, 28, 29]);
    let nowhere = consumer.seek(Topic::Raw, Partition(9999), Offset(0));
    assert!(matches!(nowhere, Err(BusError::NoPartition { .. })), "{nowhere:?}");
}

/// Consumers come and go while records flow; each record is committed by exactly one of them.
pub fn rebalancing_loses_and_doubles_nothing(bus: &dyn Bus) {
    const RECORDS: u64 = 2000;
    let copied = &AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for start in (0..RECORDS).step_by(100) {
                append_numbers(bus, Topic::Raw, start..start + 100);
            }
        });
        for worker in 0..3_u64 {
            scope.spawn(move || {
                // Each worker leaves and joins again a few times, at moments of its own.
                let mut commits_left = 3 + worker;
                let mut consumer = bus.consumer("rebalance", &[Topic::Raw]).expect("joins");
                let limits = PollLimits {
                    records_max: 37,
                    wait: Duration::from_millis(20),
                    ..PollLimits::default()
                };
                let (mut batch, mut output) = (Batch::new(), Output::new());
                let deadline = Instant::now() + PATIENCE;
                while copied.load(Ordering::Relaxed) < RECORDS {
                    assert!(Instant::now() < deadline, "only {copied:?} were copied");
                    let polled = consumer.poll(&limits, &mut batch).expect("polls");
                    if polled != Polled::Records {
                        continue;
                    }
                    for record in batch.iter() {
                        output.to(Topic::Events).push(record.key, &[], record.value);
                    }
                    match consumer.commit(&mut output) {
                        Ok(()) => {
                            copied.fetch_add(batch.len() as u64, Ordering::Relaxed);
                            commits_left -= 1;
                        }
                        Err(BusError::Fenced { .. }) => output.clear(),
                        Err(error) => panic!("{error}"),
                    }
                    if commits_left == 0 {
                        commits_left = 5;
                        drop(consumer);
                        consumer = bus.consumer("rebalance", &[Topic::Raw]).expect("joins");
                    }
                }
            });
        }
    });
    let mut numbers = Vec::new();
    let mut reader = bus.consumer("check", &[Topic::Events]).expect("joins");
    read(reader.as_mut(), RECORDS as usize, |record| numbers.push(number(record.value)));
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..RECORDS), "each once");
}

/// A consumer whose partitions were given away while it worked cannot commit.
pub fn a_zombie_is_fenced(bus: &dyn Bus) {
    append_numbers(bus, Topic::Raw, 0..10);
    let mut zombie = bus.consumer("zombie", &[Topic::Raw]).expect("joins");
    let (mut batch, mut output) = (Batch::new(), Output::new());
    poll_records(zombie.as_mut(), &PollLimits::default(), &mut batch);
    output.to(Topic::Events).push(b"", &[], b"0");
    output.put_state(Partition(0), b"k".as_slice(), b"v".as_slice());

    let mut heir = joined(bus, "zombie", &[Topic::Raw]);
    let refused = zombie.commit(&mut output);
    assert!(matches!(refused, Err(BusError::Fenced { .. })), "{refused:?}");
    assert_eq!(heir.state().get(Partition(0), b"k").expect("reads"), None);

    drop(zombie);
    let mut numbers = BTreeSet::new();
    read(heir.as_mut(), 10, |record| {
        numbers.insert(number(record.value));
    });
    assert_eq!(numbers.len(), 10, "the heir reads what the zombie had not committed");
    heir.commit(&mut Output::new()).expect("the heir commits");
    assert_nothing(joined(bus, "reader", &[Topic::Events]).as_mut());
}

/// Retention by size removes the oldest records, never below the bound; a late consumer is told.
pub fn retention_by_size(bus: &dyn Bus) {
    let mut random = 1_u64;
    let mut records = Records::new();
    // 8 MB that do not compress, of one key.
    for sequence in 0..800_u64 {
        let mut value = format!("{sequence} ").into_bytes();
        value.extend(
            std::iter::repeat_with(|| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (random >> 56) as u8
            })
            .take(10_000),
        );
        records.push(b"one key", &[], &value);
        if records.len() == 50 {
            bus.append(Topic::Raw, &mut records).expect("appends");
        }
    }
    let mut early = bus.consumer("early", &[Topic::Raw]).expect("joins");
    read(early.as_mut(), 10, |_| ());
    early.commit(&mut Output::new()).expect("commits");
    drop(early);

    const KEEP: u64 = 3_000_000;
    assert_eq!(bus.enforce_retention().expect("runs"), 0, "nothing was asked to go");
    bus.set_retention(Topic::Raw, Retention { age: None, bytes: Some(KEEP) }).expect("sets");
    let told = bus.enforce_retention().expect("runs");
    // A cluster does it when it next looks, a segment at a time.
    let deadline = Instant::now() + PATIENCE;
    let extent = loop {
        let extents = bus.extents(Topic::Raw).expect("tells");
        let extent =
            *extents.iter().find(|extent| extent.end.0 > 0).expect("one partition has all");
        if extent.begin.0 >= 350 {
            break extent;
        }
        assert!(Instant::now() < deadline, "retention left {extent:?}");
        std::thread::sleep(Duration::from_millis(200));
    };
    let removed = extent.begin.0;
    assert!(told == removed || extent.bytes.is_none(), "{told} and {removed} were removed");
    assert_eq!(extent.end.0, 800);
    assert!((350..=505).contains(&removed), "{removed} of 800 records were removed");
    assert!(extent.bytes.is_none_or(|bytes| bytes >= KEEP), "{extent:?} is less than was asked");

    for group in ["early", "late"] {
        let committed = bus.committed(group, Topic::Raw).expect("tells");
        let first = committed[extent.partition.0 as usize].unwrap_or_default();
        let mut consumer = bus.consumer(group, &[Topic::Raw]).expect("joins");
        let mut expected = removed;
        let mut batch = Batch::new();
        let mut gaps = Vec::new();
        while expected < 800 {
            poll_records(consumer.as_mut(), &PollLimits::default(), &mut batch);
            gaps.extend_from_slice(batch.gaps());
            for record in batch.iter() {
                assert_eq!(record.offset, Offset(expected));
                let text = record.value.split(|byte| *byte == b' ').next().unwrap_or_default();
                assert_eq!(number(text), expected);
                expected += 1;
            }
        }
        assert_eq!(gaps.len(), 1, "{gaps:?}");
        assert_eq!((gaps[0].first, gaps[0].next), (first, extent.begin));
        assert_eq!(gaps[0].reason, GapReason::Retention);
    }
}

/// However much is thrown at it, each append is answered, and what was not refused is stored.
pub fn back_pressure(bus: &dyn Bus) {
    const APPENDS: usize = 400;
    let (sender, receiver) = mpsc::channel();
    for _ in 0..APPENDS {
        let mut records = Records::new();
        records.push(b"", &[], &vec![b'x'; 500_000]);
        let sender = sender.clone();
        bus.append_async(
            Topic::Raw,
            records,
            Box::new(move |records, result| drop(sender.send((records.len(), result)))),
        );
    }
    let mut accepted = 0;
    for _ in 0..APPENDS {
        match receiver.recv_timeout(PATIENCE).expect("every append is answered") {
            (0, Ok(())) => accepted += 1,
            (1, Err(BusError::Full { pending_bytes, pending_bytes_max })) => {
                assert!(pending_bytes <= pending_bytes_max, "the bound holds");
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(accepted > 0);
    let stored: u64 = bus.extents(Topic::Raw).expect("tells").iter().map(|e| e.end.0).sum();
    assert_eq!(stored, accepted);
    // The waiting form waits for room instead.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let mut records = Records::new();
                    records.push(b"", &[], &vec![b'y'; 500_000]);
                    bus.append(Topic::Raw, &mut records).expect("waits for room");
                }
            });
        }
    });
}

/// A poll brings at most what it was asked for, and always at least one record.
pub fn limits_of_a_poll(bus: &dyn Bus) {
    append_numbers(bus, Topic::Raw, 0..500);
    let mut consumer = bus.consumer("limits", &[Topic::Raw]).expect("joins");
    let mut batch = Batch::new();
    let mut left = 500;
    for records_max in [1, 7, 100] {
        let limits = PollLimits { records_max, ..PollLimits::default() };
        poll_records(consumer.as_mut(), &limits, &mut batch);
        assert!(batch.len() <= records_max);
        left -= batch.len();
    }
    let limits = PollLimits { bytes_max: 1, ..PollLimits::default() };
    poll_records(consumer.as_mut(), &limits, &mut batch);
    assert_eq!(batch.len(), 1);
    read(consumer.as_mut(), left - 1, |_| ());
}

/// A group's name must be usable as a part of keys and labels.
pub fn names_of_groups(bus: &dyn Bus) {
    for bad in ["", "a/b", "a b"] {
        let refused = bus.consumer(bad, &[Topic::Raw]).map(|_| ());
        assert!(matches!(refused, Err(BusError::GroupName { .. })), "{bad:?} gave {refused:?}");
    }
}

/// A closed bus accepts nothing and says so; what was accepted before is answered.
pub fn closing(bus: &dyn Bus) {
    let mut consumer = joined(bus, "closing", &[Topic::Raw]);
    let (sender, receiver) = mpsc::channel();
    let mut records = Records::new();
    records.push(b"", &[], b"last");
    let done = move |_, result| drop(sender.send(result));
    bus.append_async(Topic::Raw, records, Box::new(done));
    assert!(bus.health().is_ok());
    bus.close();
    let accepted = receiver.recv_timeout(PATIENCE).expect("it is answered");
    assert!(accepted.is_ok(), "{accepted:?}");
    let mut records = Records::new();
    records.push(b"", &[], b"too late");
    assert!(matches!(bus.append(Topic::Raw, &mut records), Err(BusError::Closed)));
    assert_eq!(records.len(), 1);
    assert!(matches!(bus.health(), Err(BusError::Closed)));
    assert!(matches!(bus.consumer("g", &[Topic::Raw]).map(|_| ()), Err(BusError::Closed)));
    let polled = consumer.poll(&PollLimits::default(), &mut Batch::new());
    assert!(matches!(polled, Err(BusError::Closed)), "{polled:?}");
}

/// Appends numbers as text, each its own key.
fn append_numbers(bus: &dyn Bus, topic: Topic, numbers: std::ops::Range<u64>) {
    let mut records = Records::new();
    for number in numbers {
        let text = number.to_string();
        records.push(text.as_bytes(), &[], text.as_bytes());
    }
    bus.append(topic, &mut records).expect("appends");
}

fn number(text: &[u8]) -> u64 {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).expect("it is a number")
}

/// There is nothing to read, and nothing comes.
fn assert_nothing(consumer: &mut dyn Consumer) {
    let mut batch = Batch::new();
    let limits = PollLimits { wait: Duration::from_millis(200), ..PollLimits::default() };
    while consumer.poll(&limits, &mut batch).expect("polls") == Polled::Reassigned {}
    assert_eq!(batch.len(), 0);
}

/// A consumer that has its partitions.
fn joined(bus: &dyn Bus, group: &str, topics: &[Topic]) -> Box<dyn Consumer> {
    let mut consumer = bus.consumer(group, topics).expect("joins");
    let limits = PollLimits { wait: PATIENCE, ..PollLimits::default() };
    let polled = consumer.poll(&limits, &mut Batch::new()).expect("polls");
    assert_eq!(polled, Polled::Reassigned, "the first poll tells the partitions");
    consumer
}

/// Polls until there are records.
fn poll_records(consumer: &mut dyn Consumer, limits: &PollLimits, batch: &mut Batch) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "no records came");
        if consumer.poll(limits, batch).expect("polls") == Polled::Records {
            return;
        }
    }
}

/// Reads exactly so many records, and makes sure that no more follow at once.
fn read(consumer: &mut dyn Consumer, records: usize, mut each: impl FnMut(crate::Record<'_>)) {
    let mut batch = Batch::new();
    let mut count = 0;
    while count < records {
        let limits = PollLimits { records_max: records - count, ..PollLimits::default() };
        poll_records(consumer, &limits, &mut batch);
        count += batch.len();
        batch.iter().for_each(&mut each);
    }
    assert_eq!(count, records);
}
