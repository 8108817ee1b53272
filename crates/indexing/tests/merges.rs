//! A process that is killed while it merges days that are over.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use event::{Event, Timestamp};
use indexing::{Document, Index, Kind, Options, SearchRequest};

const FIRST_DAY: i64 = 1_785_888_000_000;
const DAY_MILLIS: i64 = 86_400_000;
const DAYS: i64 = 2;
const EVENTS: i64 = 4_000;

/// Names the folder to the process that merges.
const FOLDER: &str = "WATCHPOST_TEST_MERGES";

/// Days that are over, in several segments each.
fn fill(dir: &Path) {
    let index = Index::open(dir, Options { threads: 1, ..Options::default() }).unwrap();
    let mut writer = index.writer("log").unwrap();
    for n in 0..EVENTS {
        let time = Timestamp::from_millis(FIRST_DAY + n % DAYS * DAY_MILLIS + n);
        let json = serde_json::json!({
            "@timestamp": time.to_string(),
            "event": {"id": n.to_string(), "ingested": time.to_string()},
            "process": {"command_line": format!("run --number {n} --of {}", n * 7919 % 1000)},
        });
        let json = json.to_string().into_bytes();
        let mut event = Event::new();
        event.parse_json(&json).unwrap();
        writer.add(Document { kind: Kind::Events, time, event, json, position: None });
        if n % (EVENTS / 6) == 0 {
            writer.commit().unwrap();
        }
    }
    writer.commit().unwrap();
}

/// Merges what is to be merged, as the stage does; until all days are one segment.
fn merge(dir: &Path) {
    let index = Index::open(dir, Options { threads: 1, ..Options::default() }).unwrap();
    let mut writer = index.writer("log").unwrap();
    // As if an hour had passed since.
    let later = Timestamp::now().plus_nanos(2 * 3_600_000_000_000);
    writer.enforce_retention(later).unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    while stores(dir) > DAYS as usize {
        assert!(Instant::now() < end, "nothing is merged any more");
        writer.merge_beside().unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// How many segments there are, also such as are being written or removed.
fn stores(dir: &Path) -> usize {
    let days = std::fs::read_dir(dir.join("index")).unwrap().flatten();
    let files = days.filter_map(|day| std::fs::read_dir(day.path()).ok()).flatten().flatten();
    files.filter(|file| file.path().extension().is_some_and(|end| end == "store")).count()
}

/// Everything is there, once, and no file is damaged.
fn check(dir: &Path) {
    let index = Index::open_read_only(dir).unwrap();
    assert_eq!(index.problems(), []);
    for partition in index.partitions() {
        let checked = index.check(partition.id).unwrap().unwrap();
        assert_eq!(checked.damage, Vec::<String>::new());
    }
    let query = query::parse("* | stats count, dc(event.id) as ids").unwrap();
    let results = index.searcher().search(&SearchRequest::new(&query));
    assert_eq!((results.total, results.partial), (EVENTS as u64, vec![]));
    let indexing::Answer::Table(table) = results.answer else { panic!("no table") };
    assert_eq!(table.rows, [[query::Cell::Int(EVENTS), query::Cell::Int(EVENTS)]]);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let into = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &into);
        } else {
            std::fs::copy(entry.path(), into).unwrap();
        }
    }
}

#[test]
fn a_kill_while_merging_leaves_a_whole_index() {
    if let Some(dir) = std::env::var_os(FOLDER) {
        return merge(Path::new(&dir));
    }
    let filled = tempfile::tempdir().unwrap();
    fill(filled.path());
    assert!(stores(filled.path()) > 2 * DAYS as usize);
    let start = |dir: &Path| {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_kill_while_merging_leaves_a_whole_index"])
            .env(FOLDER, dir)
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    // How long it takes if nobody kills it.
    let whole = tempfile::tempdir().unwrap();
    copy(filled.path(), whole.path());
    let started = Instant::now();
    assert!(start(whole.path()).wait().unwrap().success());
    let mut took = started.elapsed();
    check(whole.path());

    // As after a kill between the end of a merge and the removal of what it merged.
    let day = whole.path().join("index/events-2026-08-05");
    let left_over = day.join("0123456789abcdef0123456789abcdef.store");
    std::fs::write(&left_over, "of a segment that was merged").unwrap();
    let known = std::fs::read_to_string(day.join(".managed.json")).unwrap();
    let mut known: Vec<String> = serde_json::from_str(&known).unwrap();
    known.push("0123456789abcdef0123456789abcdef.store".to_owned());
    std::fs::write(day.join(".managed.json"), serde_json::to_string(&known).unwrap()).unwrap();
    merge(whole.path());
    assert!(!left_over.exists());
    check(whole.path());

    const ROUNDS: u32 = 25;
    let mut cut_off = 0;
    for round in 0..ROUNDS {
        let dir = tempfile::tempdir().unwrap();
        copy(filled.path(), dir.path());
        let mut merging = start(dir.path());
        std::thread::sleep(took * round / ROUNDS);
        merging.kill().unwrap();
        if merging.wait().unwrap().success() {
            // It was slower before than it is now.
            took = took * 2 / 3;
        } else {
            cut_off += 1;
        }
        check(dir.path());
        // What was cut off is done by the next process.
        merge(dir.path());
        check(dir.path());
    }
    assert!(cut_off > ROUNDS / 3, "only {cut_off} of {ROUNDS} were killed before their end");
}
