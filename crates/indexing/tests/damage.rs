//! Bytes that flip on the disk: found, set aside, told, and made again from the log.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::{
    Bus, MemoryBus, MemorySettings, Records, Retention, Shutdown, StageHandle, StageOptions, Topic,
    run_stage,
};
use event::Timestamp;
use indexing::{
    Found, Index, IndexStage, Kinds, Options, PartitionId, Purge, PurgeState, SearchRequest,
};

const DAY_MILLIS: i64 = 86_400_000;
const FIRST_DAY: i64 = 1_785_888_000_000;

fn json(id: usize, day: i64) -> Vec<u8> {
    let time = Timestamp::from_millis(FIRST_DAY + day * DAY_MILLIS + 1);
    let event = serde_json::json!({
        "@timestamp": time.to_string(),
        "event": {"id": format!("{id:03}")},
        "user": {"name": format!("user {}", id % 7)},
        "message": format!("something that happened {id} times"),
    });
    event.to_string().into_bytes()
}

fn append(bus: &dyn Bus, values: impl IntoIterator<Item = Vec<u8>>) {
    let mut records = Records::new();
    for value in values {
        records.push(b"", &[], &value);
    }
    bus.append(Topic::Events, &mut records).unwrap();
}

struct Running(Shutdown, StageHandle);

impl Running {
    fn start(bus: &Arc<dyn Bus>, index: &Index) -> Running {
        let shutdown = Shutdown::new();
        let stage = Box::new(IndexStage::new(index, "log").unwrap());
        let options = StageOptions::default();
        let handle = run_stage(bus.clone(), stage, options, shutdown.clone()).unwrap();
        Running(shutdown, handle)
    }

    fn stop(self) {
        self.0.trigger();
        self.1.join().unwrap();
    }
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(30), "{what} did not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn found(index: &Index) -> (u64, usize) {
    let query = query::parse("*").unwrap();
    let mut request = SearchRequest::new(&query);
    request.kinds = Kinds::Both;
    let results = index.searcher().search(&request);
    (results.total, results.partial.len())
}

fn day(n: usize) -> PartitionId {
    let time = Timestamp::from_millis(FIRST_DAY + n as i64 * DAY_MILLIS);
    PartitionId::of(indexing::Kind::Events, time)
}

/// Flips a byte in the middle of a file of a partition's first segment.
fn flip(data: &Path, day: PartitionId, extension: &str) -> PathBuf {
    let folder = data.join("index").join(day.to_string());
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect();
    files.sort();
    let path = files.into_iter().next().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    // In place: a searcher has the file mapped.
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(&bytes, 0).unwrap();
    path
}

fn options() -> Options {
    Options { threads: 1, writers_max: 2, ..Options::default() }
}

fn filled(dir: &Path) -> (Arc<dyn Bus>, Index) {
    let bus: Arc<dyn Bus> = Arc::new(MemoryBus::new(MemorySettings::default()));
    append(&*bus, (0..300).map(|n| json(n, n as i64 % 3)));
    let index = Index::open(dir, options()).unwrap();
    let running = Running::start(&bus, &index);
    until("indexing", || found(&index) == (300, 0));
    running.stop();
    (bus, index)
}

#[test]
fn a_flipped_byte_in_any_file_is_found_by_its_checksum() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path()));
    let check = || {
        let index = Index::open_read_only(dir.path()).unwrap();
        let damaged = index
            .partitions()
            .into_iter()
            .filter(|partition| !index.check(partition.id).unwrap().unwrap().damage.is_empty());
        damaged.map(|partition| partition.id).collect::<Vec<_>>()
    };
    assert_eq!(check(), []);
    for extension in ["store", "fast", "idx", "pos", "term"] {
        let path = flip(dir.path(), day(1), extension);
        assert_eq!(check(), [day(1)], "{}", path.display());
        flip(dir.path(), day(1), extension);
        assert_eq!(check(), []);
    }
}

#[test]
fn a_partition_that_is_damaged_while_it_is_used_is_made_again_without_doubling_others() {
    let dir = tempfile::tempdir().unwrap();
    let (bus, index) = filled(dir.path());
    let running = Running::start(&bus, &index);
    flip(dir.path(), day(1), "fast");
    assert_eq!(index.check(day(1)).unwrap().unwrap().damage.len(), 1);
    until("making it again", || found(&index) == (300, 0));
    until("setting it aside", || dir.path().join("index/set-aside").is_dir());
    until("making it again", || found(&index) == (300, 0) && index.problems().is_empty());
    // It goes on: new events of that day and of others.
    append(&*bus, (300..330).map(|n| json(n, n as i64 % 3)));
    until("indexing the rest", || found(&index) == (330, 0));
    running.stop();
    let set_aside = std::fs::read_dir(dir.path().join("index/set-aside")).unwrap();
    assert_eq!(set_aside.count(), 0, "all of it is back, so nothing of it stays there");
    let index = Index::open(dir.path(), options()).unwrap();
    assert_eq!((found(&index), index.problems().len()), ((330, 0), 0));
    for partition in index.partitions() {
        assert_eq!(partition.documents, 110);
        assert!(index.check(partition.id).unwrap().unwrap().damage.is_empty());
    }
}

#[test]
fn what_the_log_no_longer_has_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (bus, index) = filled(dir.path());
    drop(index);
    // The stop was in order; later the log lost its older half, and the disk a part of a file.
    let bytes: u64 = bus.extents(Topic::Events).unwrap().iter().filter_map(|e| e.bytes).sum();
    let half = Retention { age: None, bytes: Some(bytes.max(60_000) / 2) };
    bus.set_retention(Topic::Events, half).unwrap();
    let removed = bus.enforce_retention().unwrap();
    assert!((1..300).contains(&removed), "{removed} removed");
    std::fs::write(dir.path().join("index").join(day(1).to_string()).join("meta.json"), "{")
        .unwrap();
    let index = Index::open(dir.path(), options()).unwrap();
    assert!(index.problems()[0].reason.contains("being made again"), "{:?}", index.problems());
    assert_eq!(found(&index), (200, 1));
    let running = Running::start(&bus, &index);
    until("making it again", || index.problems()[0].reason.contains("the log still had"));
    running.stop();
    let (total, partial) = found(&index);
    assert!((201..300).contains(&total), "{total}");
    assert_eq!(partial, 1, "answers say so");
    // As long as nobody has taken the folder away, also after a restart; but not to those who ask for
    // other days.
    drop(index);
    let index = Index::open(dir.path(), options()).unwrap();
    assert_eq!(index.problems().len(), 1);
    let query = query::parse("*").unwrap();
    let mut others = SearchRequest::new(&query);
    others.range.since = Some(day(2).start());
    assert_eq!(index.searcher().search(&others).partial, []);
    others.range.since = Some(day(1).start());
    assert_eq!(index.searcher().search(&others).partial.len(), 1);
    // What is in there nobody knows, so a purge does not say that it is whole.
    let purge = Purge::ask(dir.path(), "event.id:299", Found::default(), "dpo", "why").unwrap();
    index.writer("log").unwrap().run_purges().unwrap();
    let state = purge.look(dir.path()).unwrap().state;
    assert!(matches!(&state, PurgeState::Failed { reason } if reason.contains("set aside")));
    std::fs::remove_dir_all(dir.path().join("index/set-aside")).unwrap();
    let index = Index::open(dir.path(), options()).unwrap();
    index.writer("log").unwrap().run_purges().unwrap();
    let state = purge.look(dir.path()).unwrap().state;
    assert!(matches!(state, PurgeState::Done { .. }), "{state:?}");
    assert_eq!(found(&index), (total - 1, 0));
}
