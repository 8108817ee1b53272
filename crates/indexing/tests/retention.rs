//! What is kept, by dataset: ages, sizes, and what a removal leaves.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use event::{Event, Timestamp};
use indexing::{
    DatasetPattern, Document, Index, IndexWriter, Keep, Kind, Kinds, Options, Removed, Retention,
    SearchRequest,
};

const DAY_MILLIS: i64 = 86_400_000;
const FIRST_DAY: i64 = 1_785_888_000_000;

fn at(day: i64, millis: i64) -> Timestamp {
    Timestamp::from_millis(FIRST_DAY + day * DAY_MILLIS + millis)
}

fn document(
    dataset: &str,
    id: u64,
    time: Timestamp,
    arrived: Timestamp,
    padding: usize,
) -> Document {
    let mut json = serde_json::json!({
        "@timestamp": time.to_string(),
        "event": {"id": format!("{id:06}"), "dataset": dataset, "ingested": arrived.to_string()},
        "message": noise(id, padding),
    });
    // None can be said in two ways.
    if dataset.is_empty() && id.is_multiple_of(2) {
        json["event"].as_object_mut().unwrap().remove("dataset");
    }
    let json = json.to_string().into_bytes();
    let mut event = Event::new();
    event.parse_json(&json).unwrap();
    Document { kind: Kind::Events, time, event, json, position: None }
}

/// Letters that do not compress to nothing.
fn noise(seed: u64, length: usize) -> String {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let letter = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'a' + (state % 26) as u8)
    };
    (0..length).map(letter).collect()
}

fn days(days: u32) -> Keep {
    Keep { days: Some(days), bytes_max: None }
}

fn open(dir: &Path, default: Keep, datasets: &[(&str, Keep)]) -> Index {
    let datasets = datasets.iter().map(|(name, keep)| (DatasetPattern::new(name), *keep)).collect();
    let retention = Retention { default, datasets };
    Index::open(dir, Options { threads: 1, retention, ..Options::default() }).unwrap()
}

fn count(index: &Index, query: &str) -> u64 {
    let query = query::parse(query).unwrap();
    let mut request = SearchRequest::new(&query);
    request.kinds = Kinds::Both;
    let results = index.searcher().search(&request);
    assert_eq!(results.partial, []);
    results.total
}

/// Waits for the merges that run beside.
fn merge(writer: &mut IndexWriter, index: &Index, bytes_before: u64) -> u64 {
    for _ in 0..1000 {
        writer.merge_beside().unwrap();
        let bytes: u64 = index.partitions().iter().map(|partition| partition.bytes).sum();
        if bytes < bytes_before {
            return bytes;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("nothing was merged");
}

#[test]
fn each_dataset_is_kept_as_long_as_its_entry_says() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path(), days(3), &[("linux.audit", days(30)), ("linux.*", days(1))]);
    let mut writer = index.writer("log").unwrap();
    let mut id = 0;
    for day in 0..5 {
        for dataset in ["linux.audit", "linux.auth", "windows", ""] {
            for hour in 0..10 {
                let time = at(day, hour * 3_600_000);
                writer.add(document(dataset, id, time, time, 10));
                id += 1;
            }
        }
    }
    writer.commit().unwrap();
    // At noon of the fifth day: a day's events go once its last moment is too old.
    let removed = writer.enforce_retention(at(4, DAY_MILLIS / 2)).unwrap();
    assert_eq!(count(&index, "event.dataset:linux.audit"), 50);
    assert_eq!(count(&index, "event.dataset:linux.auth"), 20);
    assert_eq!(count(&index, "event.dataset:windows"), 40);
    assert_eq!(count(&index, "*"), 150);
    assert_eq!(removed, Removed { documents: 50, partitions: 0 });
    // Again removes nothing more.
    assert_eq!(writer.enforce_retention(at(4, DAY_MILLIS / 2)).unwrap(), Removed::default());
    // Later all of it goes, and the last days with nothing in them are dropped whole.
    let removed = writer.enforce_retention(at(40, 0)).unwrap();
    assert_eq!(removed, Removed { documents: 150, partitions: 5 });
    assert_eq!((count(&index, "*"), index.partitions().len()), (0, 0));
    // What was removed is not there after a restart either.
    drop(writer);
    assert_eq!(count(&open(dir.path(), days(3), &[]), "*"), 0);
}

#[test]
fn a_day_whose_removal_was_cut_off_is_gone_and_not_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path(), days(1), &[]);
    let mut writer = index.writer("log").unwrap();
    writer.add(document("a", 1, at(0, 1), at(0, 2), 0));
    writer.commit().unwrap();
    let day = dir.path().join("index").join(index.partitions()[0].id.to_string());
    drop((writer, index));
    // What goes first.
    std::fs::remove_file(day.join("meta.json")).unwrap();
    let index = open(dir.path(), days(1), &[]);
    assert_eq!((index.partitions().len(), index.problems()), (0, Vec::new()));
    assert!(!day.exists());
}

#[test]
fn age_counts_from_the_arrival_if_that_is_later() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path(), days(1), &[]);
    let mut writer = index.writer("log").unwrap();
    writer.add(document("a", 1, at(0, 1), at(0, 2), 0));
    writer.add(document("a", 2, at(0, 1), at(9, 0), 0));
    assert_eq!(writer.enforce_retention(at(9, 1)).unwrap().documents, 1);
    assert_eq!(count(&index, "event.id:000002"), 1);
    assert_eq!(writer.enforce_retention(at(10, 1)).unwrap().partitions, 1);
    assert_eq!(count(&index, "*"), 0);
}

#[test]
fn a_clock_that_was_behind_makes_nothing_old() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path(), days(1), &[]);
    let mut writer = index.writer("log").unwrap();
    writer.add(document("a", 1, at(0, 1), at(-400, 0), 0));
    writer.add(document("a", 2, at(0, 1), at(0, 2), 0));
    writer.commit().unwrap();
    assert_eq!(writer.enforce_retention(Timestamp::now()).unwrap().documents, 1);
    assert_eq!(count(&index, "event.id:000001"), 1, "its partition was changed just now");
    let later = Timestamp::now().plus_nanos(2 * DAY_MILLIS * 1_000_000);
    assert_eq!(writer.enforce_retention(later).unwrap().partitions, 1);
}

#[test]
fn a_size_removes_the_oldest_of_an_entry_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let fill = |index: &Index| {
        let mut writer = index.writer("log").unwrap();
        for n in 0..3_000 {
            let time = at(n as i64 / 1_000, n as i64 % 1_000 * 60_000);
            writer.add(document(["big.a", "big.b", "small"][n as usize % 3], n, time, time, 600));
        }
        writer.commit().unwrap();
        writer
    };
    let index = open(dir.path(), Keep::default(), &[]);
    drop(fill(&index));
    let all: u64 = index.partitions().iter().map(|partition| partition.bytes).sum();
    drop(index);
    // Half of what both take.
    let bytes_max = Some(all / 3);
    let index = open(dir.path(), Keep::default(), &[("big.*", Keep { days: None, bytes_max })]);
    let mut writer = index.writer("log").unwrap();
    let removed = writer.enforce_retention(at(3, 0)).unwrap();
    assert_eq!(count(&index, "event.dataset:small"), 1_000);
    let kept = count(&index, "event.dataset:big.*");
    assert_eq!(kept + removed.documents, 2_000);
    assert!((950..=1_020).contains(&kept), "{kept} kept");
    // The oldest went: all that remains is of after all that was removed.
    let from = 3_000 - kept * 3 / 2;
    assert_eq!(count(&index, &format!("event.dataset:big.* event.id > {:06}", from - 5)), kept);
    // It counts at once, and the bytes follow.
    assert_eq!(writer.enforce_retention(at(3, 0)).unwrap(), Removed::default());
    let merged = merge(&mut writer, &index, all);
    assert!(merged < all * 8 / 10, "{merged} of {all}");
    assert_eq!(count(&index, "*"), 1_000 + kept);
    // A merge is no reason to remove more.
    let again = writer.enforce_retention(at(3, 0)).unwrap().documents;
    assert!(again < 60, "{again}");
}

#[test]
fn what_is_removed_stays_so_when_the_log_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path(), days(30), &[("short", days(1))]);
    let position =
        |offset| Some(indexing::Position { topic: bus::Topic::Events, partition: 0, offset });
    let read = |writer: &mut IndexWriter| {
        for n in 0..10 {
            let dataset = if n % 2 == 0 { "short" } else { "long" };
            let mut document = document(dataset, n, at(0, 0), at(0, 0), 0);
            document.position = position(n);
            writer.add(document);
        }
        writer.commit().unwrap();
    };
    let mut writer = index.writer("log").unwrap();
    read(&mut writer);
    assert_eq!(writer.enforce_retention(at(5, 0)).unwrap().documents, 5);
    drop(writer);
    std::fs::remove_file(dir.path().join("index/checkpoint.json")).unwrap();
    // Read from the beginning; a removal in the middle of that must not make the partition forget.
    let mut writer = index.writer("log").unwrap();
    let mut first = document("long", 0, at(0, 0), at(0, 0), 0);
    first.position = position(0);
    writer.add(first);
    writer.enforce_retention(at(5, 0)).unwrap();
    drop(writer);
    read(&mut index.writer("log").unwrap());
    assert_eq!(count(&index, "*"), 5);
}

/// The documents' files of the segments of a day.
fn segments(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir.join("index/events-2026-08-05")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".store")).collect()
}

/// Waits until a day has so many segments.
fn merged_to(writer: &mut IndexWriter, dir: &Path, wanted: usize) -> Vec<String> {
    for _ in 0..1000 {
        writer.merge_beside().unwrap();
        let found = segments(dir);
        if found.len() == wanted {
            return found;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{:?}", segments(dir));
}

#[test]
fn a_day_that_is_over_becomes_one_segment_and_late_events_do_not_write_it_again() {
    const HOUR_NANOS: i64 = 3_600_000_000_000;
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path(), Keep::default(), &[]);
    let mut writer = index.writer("log").unwrap();
    let add = |writer: &mut IndexWriter, ids: std::ops::Range<u64>| {
        for id in ids {
            let time = at(0, i64::try_from(id).unwrap());
            writer.add(document("linux", id, time, time, 10));
        }
        writer.commit().unwrap();
    };
    for commit in 0..5 {
        add(&mut writer, commit * 100..(commit + 1) * 100);
    }
    let now = Timestamp::now();
    // Shippers that were away may still send something.
    writer.enforce_retention(now.plus_nanos(HOUR_NANOS / 2)).unwrap();
    writer.merge_beside().unwrap();
    assert_eq!(segments(dir.path()).len(), 5);
    writer.enforce_retention(now.plus_nanos(2 * HOUR_NANOS)).unwrap();
    let whole = merged_to(&mut writer, dir.path(), 1);
    for late in 1000..1003 {
        add(&mut writer, late..late + 1);
    }
    writer.enforce_retention(now.plus_nanos(2 * HOUR_NANOS)).unwrap();
    let two = merged_to(&mut writer, dir.path(), 2);
    assert!(two.contains(&whole[0]), "{whole:?} {two:?}");
    assert_eq!(count(&index, "*"), 503);
}
