//! Tests of what the public interface cannot reach: damage on the disk, a disk without space, and
//! the memory and the files that are given back.

use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Instant;

use fjall::AbstractTree;
use tempfile::TempDir;

use super::files::FileNumber;
use super::*;
use crate::{Batch, Gap, GapReason, Output, Partition, PollLimits, Polled};

const ONE: Partition = Partition(0);

#[test]
fn a_torn_batch_at_the_end_of_the_journal_is_cut_off() {
    for damage in [Damage::Truncate, Damage::Zero, Damage::Flip] {
        let folder = tempfile::tempdir().unwrap();
        let bus = open(&folder);
        append(&bus, 0..10);
        let end = journal_end(&folder);
        append(&bus, 10..20);
        let torn_end = journal_end(&folder);
        bus.close();
        drop(bus);
        damage.apply(&journal(&folder), end, torn_end);

        let bus = open(&folder);
        assert_eq!(read(&bus), (numbers(0..10), vec![]), "{damage:?}");
        append(&bus, 20..30);
        drop(bus);
        let expected: Vec<u64> = (0..10).chain(20..30).collect();
        assert_eq!(read(&open(&folder)), (expected, vec![]), "{damage:?}");
    }
}

#[test]
fn damage_before_acknowledged_records_is_not_cut_off_but_told() {
    let folder = tempfile::tempdir().unwrap();
    let bus = open(&folder);
    append(&bus, 0..10);
    let end = journal_end(&folder);
    append(&bus, 10..20);
    let damaged_end = journal_end(&folder);
    append(&bus, 20..30);
    drop(bus);
    Damage::Flip.apply(&journal(&folder), end, damaged_end);
    let refused = EmbeddedBus::open(folder.path(), settings()).map(|_| ());
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("damaged at byte"), "{message}");
}

#[test]
fn making_that_was_interrupted_starts_again() {
    for marker in [None, Some("")] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("keyspaces")).unwrap();
        std::fs::write(folder.path().join("0.jnl"), [0; 100]).unwrap();
        if let Some(marker) = marker {
            std::fs::write(folder.path().join("version"), marker).unwrap();
        }
        let bus = open(&folder);
        append(&bus, 0..3);
        assert_eq!(read(&bus), (numbers(0..3), vec![]));
    }
}

#[test]
fn damaged_records_are_skipped_named_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let bus = open(&folder);
    for start in (0..100).step_by(10) {
        append(&bus, start..start + 10);
    }
    let log = &bus.0.shared.logs(Topic::Raw)[0];
    log.entries.rotate_memtable_and_wait().unwrap();
    append(&bus, 100..110);
    drop(bus);
    // The entries of ten are not compressed, so their text is in the table; and each has a block of
    // its own.
    for needle in [b"number 55 ", b"number 75 "] {
        let table = files_under(folder.path().join("keyspaces"))
            .into_iter()
            .find(|path| find(&std::fs::read(path).unwrap(), needle).is_some())
            .expect("a table has the text");
        let place = find(&std::fs::read(&table).unwrap(), needle).unwrap() as u64;
        Damage::Flip.apply(&table, place, place + 4);
    }

    let (read, gaps) = read(&open(&folder));
    let missing: Vec<(u64, u64)> = gaps.iter().map(|gap| (gap.first.0, gap.next.0)).collect();
    assert_eq!(missing, [(50, 60), (70, 80)], "{gaps:?}");
    assert!(gaps.iter().all(|gap| matches!(gap.reason, GapReason::Corrupt(_))), "{gaps:?}");
    let is_missing = |number: &u64| (50..60).contains(number) || (70..80).contains(number);
    let expected: Vec<u64> = (0..110).filter(|number| !is_missing(number)).collect();
    assert_eq!(read, expected);
}

#[test]
fn a_full_disk_is_refused_and_recovers_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let free = Arc::new(AtomicU64::new(1000));
    let settings = Settings { disk_reserve_bytes: 1000, ..settings() };
    let told = Arc::clone(&free);
    let free_bytes = Box::new(move || Ok(told.load(Ordering::Relaxed)));
    let bus = EmbeddedBus::open_with(folder.path(), settings, free_bytes).unwrap();
    append(&bus, 0..1);
    free.store(999, Ordering::Relaxed);
    // Enough space is believed in for a moment.
    std::thread::sleep(Duration::from_millis(300));
    let mut records = Records::new();
    records.push(b"k", &[], b"number 1 ");
    let refused = bus.append(Topic::Raw, &mut records).unwrap_err();
    assert!(matches!(refused, BusError::DiskLow { free_bytes: 999, .. }), "{refused}");
    assert!(refused.is_transient());
    assert!(bus.health().is_err());
    assert_eq!(records.len(), 1, "they are left to be sent again");
    free.store(1000, Ordering::Relaxed);
    bus.append(Topic::Raw, &mut records).unwrap();
    assert!(bus.health().is_ok());
    assert_eq!(read(&bus), (numbers(0..2), vec![]));
}

#[test]
fn a_folder_in_use_or_unusable_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let bus = open(&folder);
    let second = EmbeddedBus::open(folder.path(), settings()).map(|_| ());
    assert!(matches!(second, Err(BusError::InUse { .. })), "{second:?}");
    append(&bus, 0..1);
    drop(bus);
    drop(open(&folder));

    let file = folder.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let below_a_file = EmbeddedBus::open(file.join("data"), settings()).map(|_| ());
    let message = below_a_file.unwrap_err().to_string();
    assert!(message.starts_with("cannot open the data folder"), "{message}");
}

#[test]
fn retention_by_age_keeps_what_is_young_and_survives_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let now_ms = Arc::new(AtomicI64::new(1_000_000_000_000));
    let settings = clocked(&now_ms, &now_ms);
    let reopen = || EmbeddedBus::open(folder.path(), settings.clone()).unwrap();
    let age = |seconds| Retention { age: Some(Duration::from_secs(seconds)), bytes: None };
    let mut bus = reopen();
    bus.set_retention(Topic::Raw, age(3600)).unwrap();
    for minute in 0..10 {
        append(&bus, minute * 10..minute * 10 + 10);
        now_ms.fetch_add(60_000, Ordering::Relaxed);
        if minute == 4 {
            drop(bus);
            bus = reopen();
        }
    }
    // The first were appended 10 minutes ago.
    assert_eq!(bus.enforce_retention().unwrap(), 0);
    bus.set_retention(Topic::Raw, age(6 * 60 + 30)).unwrap();
    let removed = bus.enforce_retention().unwrap();
    assert!((20..=40).contains(&removed), "{removed}");
    drop(bus);

    let bus = reopen();
    let extent = bus.extents(Topic::Raw).unwrap()[0];
    assert_eq!((extent.begin.0, extent.end.0), (removed, 100));
    let (read_numbers, gaps) = read(&bus);
    assert_eq!(read_numbers, numbers(removed..100));
    assert_eq!(gaps[0].reason, GapReason::Retention);

    // A partition where everything is too old still knows how far it came.
    now_ms.fetch_add(86_400_000, Ordering::Relaxed);
    bus.set_retention(Topic::Raw, age(3600)).unwrap();
    assert_eq!(bus.enforce_retention().unwrap(), 100 - removed);
    drop(bus);
    let bus = reopen();
    let extent = bus.extents(Topic::Raw).unwrap()[0];
    assert_eq!((extent.begin.0, extent.end.0, extent.bytes), (100, 100, Some(0)));
    append(&bus, 100..101);
    assert_eq!(read(&bus).0, [100]);
}

/// A clock that is a year ahead for some hours, also over a restart, removes nothing that is young;
/// and what was appended meanwhile does not stay for a year.
#[test]
fn a_clock_that_jumps_removes_nothing_by_its_age() {
    const HOUR_MS: i64 = 3_600_000;
    const DAY_MS: i64 = 24 * HOUR_MS;
    const YEAR_MS: i64 = 365 * DAY_MS;
    let folder = tempfile::tempdir().unwrap();
    let clock_ms = Arc::new(AtomicI64::new(1_000_000_000_000));
    let running_ms = Arc::new(AtomicI64::new(0));
    let settings = clocked(&clock_ms, &running_ms);
    let pass = |ms: i64| {
        clock_ms.fetch_add(ms, Ordering::Relaxed);
        running_ms.fetch_add(ms, Ordering::Relaxed);
    };
    let days =
        |days: u64| Retention { age: Some(Duration::from_secs(days * 24 * 3600)), bytes: None };
    let reopen = || {
        let bus = EmbeddedBus::open(folder.path(), settings.clone()).unwrap();
        bus.set_retention(Topic::Raw, days(7)).unwrap();
        bus
    };
    let extent = |bus: &EmbeddedBus| {
        let extent = bus.extents(Topic::Raw).unwrap()[0];
        (extent.begin.0, extent.end.0)
    };
    let mut bus = reopen();
    for day in 0..4 {
        append(&bus, day * 10..day * 10 + 10);
        pass(DAY_MS);
        assert_eq!(bus.enforce_retention().unwrap(), 0);
    }
    bus.0.shared.keep_age().unwrap();

    clock_ms.fetch_add(YEAR_MS, Ordering::Relaxed);
    assert_eq!(bus.enforce_retention().unwrap(), 0);
    append(&bus, 40..50);
    for _ in 0..3 {
        pass(HOUR_MS);
        bus.0.shared.keep_age().unwrap();
        drop(bus);
        bus = reopen();
        assert_eq!(bus.enforce_retention().unwrap(), 0);
    }
    clock_ms.fetch_sub(YEAR_MS, Ordering::Relaxed);
    assert_eq!(bus.enforce_retention().unwrap(), 0);
    append(&bus, 50..60);
    assert_eq!(extent(&bus), (0, 60));
    assert_eq!(read(&bus), (numbers(0..60), vec![]));

    // The clock is right again, and so are the ages before long.
    for _ in 0..8 {
        pass(12 * HOUR_MS);
        bus.enforce_retention().unwrap();
    }
    assert_eq!(extent(&bus), (20, 60), "seven days are over for the first segment");
    for _ in 0..4 {
        pass(DAY_MS);
        bus.enforce_retention().unwrap();
    }
    assert_eq!(extent(&bus), (60, 60), "and for what came while the clock was wrong");

    // The other way round.
    append(&bus, 60..70);
    clock_ms.fetch_sub(YEAR_MS, Ordering::Relaxed);
    append(&bus, 70..80);
    for _ in 0..14 {
        assert_eq!(extent(&bus), (60, 80));
        pass(DAY_MS);
        bus.enforce_retention().unwrap();
    }
    pass(DAY_MS);
    bus.enforce_retention().unwrap();
    assert_eq!(extent(&bus), (80, 80), "nothing stays longer than twice its time");
}

/// On a disk that others filled up to the last byte nothing is written, because the store does not
/// survive a write that fails; once there is room, it goes on.
#[test]
fn nothing_is_moved_or_removed_while_the_disk_has_no_room_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let free = Arc::new(AtomicU64::new(u64::MAX));
    let told = Arc::clone(&free);
    let settings = Settings {
        disk_reserve_bytes: 1000,
        memtables_bytes_max: 1_000_000,
        retention_interval: Duration::ZERO,
        ..settings()
    };
    let free_bytes = Box::new(move || Ok(told.load(Ordering::Relaxed)));
    let bus = EmbeddedBus::open_with(folder.path(), settings, free_bytes).unwrap();
    let shared = &bus.0.shared;
    append_small_entries(&bus, 150);
    free.store(0, Ordering::Relaxed);
    // Enough space is believed in for a moment.
    let mut records = Records::new();
    records.push(b"k", &[], b"");
    while bus.append(Topic::Raw, &mut records).is_ok() {
        records.push(b"k", &[], b"");
    }
    let entries = &shared.logs(Topic::Raw)[0].entries;
    let journal = || std::fs::read(journal(&folder)).unwrap();
    let (before, in_memory) = (journal(), entries.tree.active_memtable().size());
    bus.set_retention(Topic::Raw, Retention { age: None, bytes: Some(0) }).unwrap();
    Maintenance::new(shared).tick(shared);
    assert_eq!(entries.tree.active_memtable().size(), in_memory);
    assert!(journal() == before, "nothing is written");
    free.store(u64::MAX, Ordering::Relaxed);
    Maintenance::new(shared).tick(shared);
    assert!(journal() != before, "retention is due");
}

#[test]
fn retention_gives_the_disk_back() {
    let folder = tempfile::tempdir().unwrap();
    let bus =
        EmbeddedBus::open(folder.path(), Settings { memtable_bytes_max: 100_000, ..settings() })
            .unwrap();
    append_small_entries(&bus, 400);
    let entries = &bus.0.shared.logs(Topic::Raw)[0].entries;
    entries.rotate_memtable_and_wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while entries.disk_space() < 4_000_000 {
        assert!(Instant::now() < deadline, "{} bytes are in tables", entries.disk_space());
        std::thread::sleep(Duration::from_millis(5));
    }
    bus.set_retention(Topic::Raw, Retention { age: None, bytes: Some(1_500_000) }).unwrap();
    let removed = bus.enforce_retention().unwrap();
    // By whole segments, of a megabyte.
    assert!((150..=250).contains(&removed), "{removed}");
    assert!(entries.disk_space() < 3_000_000, "{}", entries.disk_space());
    // Everything goes but the table with the newest entry.
    bus.set_retention(Topic::Raw, Retention { age: None, bytes: Some(0) }).unwrap();
    bus.enforce_retention().unwrap();
    assert!(entries.tree.table_count() >= 1);
    assert!(entries.disk_space() < 1_500_000, "{}", entries.disk_space());
}

#[test]
fn an_idle_partition_gives_its_memory_back() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { memtables_bytes_max: 1_000_000, ..settings() };
    let bus = EmbeddedBus::open(folder.path(), settings).unwrap();
    append_small_entries(&bus, 150);
    let entries = &bus.0.shared.logs(Topic::Raw)[0].entries;
    assert!(entries.tree.active_memtable().size() > 1_500_000);
    Maintenance::new(&bus.0.shared).tick(&bus.0.shared);
    assert!(entries.tree.active_memtable().size() < 1_000_000);
}

#[test]
fn the_partitions_of_a_folder_stay() {
    let folder = tempfile::tempdir().unwrap();
    append(&open(&folder), 0..3);
    let mut settings = settings();
    settings.topic_mut(Topic::Raw).partitions = 8;
    let bus = EmbeddedBus::open(folder.path(), settings).unwrap();
    assert_eq!(bus.partitions(Topic::Raw), 1);
    assert_eq!(read(&bus), (numbers(0..3), vec![]));
}

#[test]
fn more_than_a_journal_survives_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let bus = open(&folder);
    let mut consumer = bus.consumer("filler", &[Topic::Raw]).unwrap();
    consumer.poll(&PollLimits::default(), &mut Batch::new()).unwrap();
    let mut output = Output::new();
    for number in 0..100 {
        append(&bus, number..number + 1);
        output.put_state(ONE, b"k".as_slice(), vec![number as u8; 1_000_000]);
        consumer.commit(&mut output).unwrap();
    }
    assert!(bus.0.shared.database.journal_count() < 4);
    drop(consumer);
    drop(bus);
    let bus = open(&folder);
    assert_eq!(read(&bus), (numbers(0..100), vec![]));
    let mut state = Vec::new();
    bus.state_of("filler", &mut |_, _, value| state.push(value.to_vec())).unwrap();
    assert_eq!(state, [vec![99; 1_000_000]]);
}

#[test]
fn large_entries_are_written_once_and_survive_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let bus = open(&folder);
    for number in 0..10 {
        append_large(&bus, number);
        append(&bus, number + 100..number + 101);
    }
    assert!(journal_end(&folder) < LARGE_BYTES as u64, "the journal has only pointers");
    assert_eq!(entry_files(&folder), [("raw-00000000000000000001".to_owned(), 10)]);
    let bytes = bus.extents(Topic::Raw).unwrap()[0].bytes;
    assert!(bytes.unwrap() > 10 * LARGE_BYTES as u64);
    let expected: Vec<u64> = (0..10).flat_map(|number| [number, number + 100]).collect();
    assert_eq!(read(&bus), (expected.clone(), vec![]));
    drop(bus);

    let bus = open(&folder);
    assert_eq!(read(&bus), (expected.clone(), vec![]));
    assert_eq!(bus.extents(Topic::Raw).unwrap()[0].bytes, bytes);
    append_large(&bus, 10);
    bus.0.shared.logs(Topic::Raw)[0].entries.rotate_memtable_and_wait().unwrap();
    drop(bus);
    let names = ["raw-00000000000000000001", "raw-00000000000000000002"];
    assert_eq!(entry_files(&folder), [(names[0].to_owned(), 10), (names[1].to_owned(), 1)]);
    assert_eq!(read(&open(&folder)), ([&expected[..], &[10]].concat(), vec![]));
}

#[test]
fn large_entries_within_the_store_are_read_as_ever() {
    let folder = tempfile::tempdir().unwrap();
    let bus = open(&folder);
    append(&bus, 0..1);
    let mut record = Records::new();
    record.push(b"k", &[], &large_value(1));
    let body: Vec<u8> = record.encoded().flatten().copied().collect();
    let mut entry = Vec::new();
    entry::encode(&mut entry, Compression::None, 1, Offset(1), Timestamp::EPOCH, &body);
    let log = &bus.0.shared.logs(Topic::Raw)[0];
    log.entries.insert(keys::entry(Offset(1)), entry).unwrap();
    drop(bus);
    let bus = open(&folder);
    append_large(&bus, 2);
    assert_eq!(read(&bus), (numbers(0..3), vec![]));
    drop(bus);
    assert_eq!(read(&open(&folder)), (numbers(0..3), vec![]));
}

/// What a crash between the two syncs leaves: an entry in a file that no batch points to.
#[test]
fn what_no_batch_points_to_was_never_written() {
    for first_file in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let bus = open(&folder);
        let expected = if first_file { 0..0 } else { 0..2 };
        expected.clone().for_each(|number| append_large(&bus, number));
        let files = bus.0.shared.files(Topic::Raw);
        files.append(&[7; LARGE_BYTES]).unwrap();
        files.sync().unwrap();
        drop(bus);
        assert_eq!(entry_files(&folder)[0].1, expected.end + 1);

        let bus = open(&folder);
        assert_eq!(entry_files(&folder).is_empty(), first_file);
        assert_eq!(read(&bus), (numbers(expected.clone()), vec![]));
        append_large(&bus, expected.end);
        drop(bus);
        assert_eq!(read(&open(&folder)), (numbers(0..expected.end + 1), vec![]));
    }
}

#[test]
fn damaged_and_missing_entry_files_are_told_and_the_rest_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let bus = open(&folder);
    for file in 0..4 {
        for number in file * 3..file * 3 + 3 {
            append_large(&bus, number);
        }
        bus.0.shared.files(Topic::Raw).roll();
    }
    append(&bus, 12..20);
    drop(bus);
    let paths = files_under(folder.path().join(files::FOLDER));
    let path = |file: u64| paths.iter().find(|path| number_at_end(path) == file).unwrap();
    let entry_bytes = std::fs::metadata(path(1)).unwrap().len() / 3;
    Damage::Flip.apply(path(1), entry_bytes, 2 * entry_bytes);
    Damage::Truncate.apply(path(2), 2 * entry_bytes, 3 * entry_bytes);
    std::fs::remove_file(path(3)).unwrap();

    let bus = open(&folder);
    let (read_numbers, gaps) = read(&bus);
    assert_eq!(read_numbers, [&[0, 2, 3, 4, 9, 10, 11][..], &numbers(12..20)].concat());
    let missing: Vec<(u64, u64)> = gaps.iter().map(|gap| (gap.first.0, gap.next.0)).collect();
    assert_eq!(missing, [(1, 2), (5, 6), (6, 7), (7, 8), (8, 9)], "{gaps:?}");
    assert!(gaps.iter().all(|gap| matches!(gap.reason, GapReason::Corrupt(_))), "{gaps:?}");
    append_large(&bus, 20);
    drop(bus);

    // All of them, also those whose times are read again when the log is opened.
    std::fs::remove_dir_all(folder.path().join(files::FOLDER)).unwrap();
    let (read_numbers, gaps) = read(&open(&folder));
    assert_eq!(read_numbers, numbers(12..20));
    assert_eq!(gaps.len(), 13, "{gaps:?}");
}

#[test]
fn retention_removes_the_files_that_nothing_points_into() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings();
    settings.topic_mut(Topic::Raw).partitions = 2;
    let bus = EmbeddedBus::open(folder.path(), settings.clone()).unwrap();
    let files = bus.0.shared.files(Topic::Raw);
    let file_numbers = || -> Vec<u64> {
        let files = files_under(folder.path().join(files::FOLDER));
        let mut numbers: Vec<u64> = files.iter().map(|path| number_at_end(path)).collect();
        numbers.sort_unstable();
        numbers
    };
    let keys = ["a", "b", "c", "d", "e"];
    let key_of = |partition: u32| {
        let of =
            |key: &&&str| crate::partition_of_key(key.as_bytes(), 2) == Some(Partition(partition));
        *keys.iter().find(of).unwrap()
    };
    let append_to = |partition, bytes| {
        let mut records = Records::new();
        records.push(key_of(partition).as_bytes(), &[], &vec![b'x'; bytes]);
        bus.append(Topic::Raw, &mut records).unwrap();
    };
    // The second partition gets little: one segment over all of it would keep all files.
    for file in 0..6 {
        append_to(0, 2_000_000);
        if file % 2 == 0 {
            append_to(1, LARGE_BYTES);
        }
        files.roll();
    }
    assert_eq!(file_numbers(), [1, 2, 3, 4, 5, 6]);
    let keep = |bytes| {
        bus.set_retention(Topic::Raw, Retention { age: None, bytes: Some(bytes) }).unwrap();
        bus.enforce_retention().unwrap();
    };
    keep(8_000_000);
    assert_eq!(file_numbers(), [3, 4, 5, 6]);
    // The newest file is given back, too.
    append_to(0, 2_000_000);
    assert_eq!(file_numbers().last(), Some(&7));
    keep(0);
    assert_eq!(file_numbers(), [0; 0]);
    append_to(0, 2_000_000);
    assert_eq!(file_numbers(), [8]);
    drop(bus);
    let bus = EmbeddedBus::open(folder.path(), settings).unwrap();
    let extent = bus.extents(Topic::Raw).unwrap()[0];
    assert_eq!((extent.begin.0, extent.end.0), (7, 8));
}

/// Retention takes a file away between a reader's look at the beginning and its look into the file.
#[test]
fn a_file_that_retention_just_took_is_no_damage() {
    let folder = tempfile::tempdir().unwrap();
    let bus = open(&folder);
    append_large(&bus, 0);
    append_large(&bus, 1);
    append(&bus, 2..3);
    let log = &bus.0.shared.logs(Topic::Raw)[0];
    for file in files_under(folder.path().join(files::FOLDER)) {
        log.files.remove(&[FileNumber(number_at_end(&file).try_into().unwrap())]).unwrap();
    }
    log.set_begin(Offset(2));
    let mut batch = Batch::new();
    let next = log.read(Offset(0), Offset(3), &PollLimits::default(), &mut batch).unwrap();
    let told: Vec<_> = batch.gaps().iter().map(|gap| (gap.first.0, gap.next.0)).collect();
    assert_eq!((next, told), (Offset(2), vec![(0, 2)]));
    assert_eq!(batch.gaps()[0].reason, GapReason::Retention);
}

#[test]
fn after_a_large_entry_that_cannot_be_written_nothing_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let bus = open(&folder);
    append_large(&bus, 0);
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    bus.0.shared.files(Topic::Raw).write_to(full);
    let mut records = Records::new();
    records.push(b"k", &[], &large_value(1));
    let refused = bus.append(Topic::Raw, &mut records).unwrap_err();
    assert!(matches!(refused, BusError::Storage { .. }), "{refused}");
    assert!(!refused.is_transient());
    assert_eq!(records.len(), 1, "they are left to be sent again");
    let mut small = Records::new();
    small.push(b"k", &[], b"number 1 ");
    assert!(bus.append(Topic::Raw, &mut small).is_err());
    assert!(bus.health().is_err());
    // It would count what was not written.
    bus.set_retention(Topic::Raw, Retention { age: None, bytes: Some(0) }).unwrap();
    assert!(bus.enforce_retention().is_err());
    assert_eq!(read(&bus), (vec![0], vec![]));
    drop(bus);
    let bus = open(&folder);
    append_large(&bus, 1);
    assert_eq!(read(&bus), (numbers(0..2), vec![]));
}

/// One partition, no compression, no reserve.
fn settings() -> Settings {
    let mut settings =
        Settings { compression: Compression::None, disk_reserve_bytes: 0, ..Settings::default() };
    settings.topic_mut(Topic::Raw).partitions = 1;
    settings
}

/// The same, by this clock and for as long as the machine has run.
fn clocked(clock_ms: &Arc<AtomicI64>, running_ms: &Arc<AtomicI64>) -> Settings {
    let (clock, running) = (Arc::clone(clock_ms), Arc::clone(running_ms));
    Settings {
        clock: Arc::new(move || Timestamp::from_millis(clock.load(Ordering::Relaxed))),
        running: Arc::new(move || {
            Duration::from_millis(running.load(Ordering::Relaxed).try_into().unwrap())
        }),
        ..settings()
    }
}

fn open(folder: &TempDir) -> EmbeddedBus {
    EmbeddedBus::open(folder.path(), settings()).unwrap()
}

fn append(bus: &EmbeddedBus, numbers: std::ops::Range<u64>) {
    let mut records = Records::new();
    for number in numbers {
        let value = format!("number {number} {}", "of a record. ".repeat(40));
        records.push(b"k", &[], value.as_bytes());
    }
    bus.append(Topic::Raw, &mut records).unwrap();
}

/// More than an entry in the store may have.
const LARGE_BYTES: usize = 2 * files::SEPARATE_BYTES_MIN;

fn large_value(number: u64) -> Vec<u8> {
    let mut value = format!("number {number} ").into_bytes();
    value.resize(LARGE_BYTES, b'x');
    value
}

fn append_large(bus: &EmbeddedBus, number: u64) {
    let mut records = Records::new();
    records.push(b"k", &[], &large_value(number));
    bus.append(Topic::Raw, &mut records).unwrap();
}

/// So many entries of ten kilobytes, which lie in the store.
fn append_small_entries(bus: &EmbeddedBus, count: usize) {
    let mut records = Records::new();
    for _ in 0..count {
        let value: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(10_500).collect();
        records.push(b"k", &[], &value);
        bus.append(Topic::Raw, &mut records).unwrap();
    }
}

/// The files of large entries, and how many entries of `append_large` each has.
fn entry_files(folder: &TempDir) -> Vec<(String, u64)> {
    let mut files: Vec<(String, u64)> = files_under(folder.path().join(files::FOLDER))
        .iter()
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::metadata(path).unwrap().len() / LARGE_BYTES as u64)
        })
        .collect();
    files.sort_unstable();
    files
}

fn number_at_end(path: &Path) -> u64 {
    path.to_str().unwrap().rsplit('-').next().unwrap().parse().unwrap()
}

fn numbers(range: std::ops::Range<u64>) -> Vec<u64> {
    range.collect()
}

/// All numbers in `raw`, and what is missing.
fn read(bus: &EmbeddedBus) -> (Vec<u64>, Vec<Gap>) {
    let mut consumer = bus.consumer("reader", &[Topic::Raw]).unwrap();
    let limits = PollLimits { wait: Duration::ZERO, ..PollLimits::default() };
    let (mut batch, mut numbers, mut gaps) = (Batch::new(), Vec::new(), Vec::new());
    loop {
        match consumer.poll(&limits, &mut batch).unwrap() {
            Polled::Reassigned => continue,
            Polled::Nothing => return (numbers, gaps),
            Polled::Records => {}
        }
        gaps.extend_from_slice(batch.gaps());
        for record in batch.iter() {
            assert_eq!(record.partition, ONE);
            let number = record.value.split(|byte| *byte == b' ').nth(1).unwrap();
            numbers.push(std::str::from_utf8(number).unwrap().parse().unwrap());
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Damage {
    /// The file ends within the range.
    Truncate,
    /// Half of the range never reached the disk.
    Zero,
    /// One bit of the range is another.
    Flip,
}

impl Damage {
    fn apply(self, file: &Path, start: u64, end: u64) {
        let middle = start + (end - start) / 2;
        let mut file = OpenOptions::new().read(true).write(true).open(file).unwrap();
        match self {
            Damage::Truncate => file.set_len(middle).unwrap(),
            Damage::Zero => {
                file.seek(SeekFrom::Start(middle)).unwrap();
                let zeros = vec![0; (end - middle) as usize / 2];
                file.write_all(&zeros).unwrap();
            }
            Damage::Flip => {
                let mut byte = [0];
                file.seek(SeekFrom::Start(middle)).unwrap();
                file.read_exact(&mut byte).unwrap();
                file.seek(SeekFrom::Start(middle)).unwrap();
                file.write_all(&[byte[0] ^ 4]).unwrap();
            }
        }
    }
}

fn journal(folder: &TempDir) -> PathBuf {
    folder.path().join("0.jnl")
}

/// Where the journal's batches end and its reserved zeros begin.
fn journal_end(folder: &TempDir) -> u64 {
    let bytes = std::fs::read(journal(folder)).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
}

fn files_under(folder: PathBuf) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}
