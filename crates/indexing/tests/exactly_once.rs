//! Whatever happens between bus and index, each event is found once.

#![expect(clippy::unwrap_used, reason = "a test may stop at what it did not expect")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::{Bus, MemoryBus, MemorySettings, Records, Shutdown, StageOptions, Topic, run_stage};
use event::{Event, Timestamp};
use indexing::{
    Answer, Document, Index, IndexError, IndexStage, Kind, Kinds, Options, Position, SearchRequest,
};
use proptest::prelude::*;

const DAY_MILLIS: i64 = 86_400_000;
const FIRST_DAY: i64 = 1_785_888_000_000;

fn json(id: &str, day: i64) -> Vec<u8> {
    let time = Timestamp::from_millis(FIRST_DAY + day * DAY_MILLIS + 1);
    serde_json::json!({"@timestamp": time.to_string(), "event": {"id": id}, "user.name": "anna"})
        .to_string()
        .into_bytes()
}

fn document(kind: Kind, id: &str, day: i64, position: Option<Position>) -> Document {
    let json = json(id, day);
    let mut event = Event::new();
    event.parse_json(&json).unwrap();
    Document { kind, time: event.timestamp().unwrap(), event, json, position }
}

fn ids(index: &Index, kinds: Kinds) -> Vec<String> {
    let query = query::parse("user.name:anna").unwrap();
    let mut request = SearchRequest::new(&query);
    request.kinds = kinds;
    request.limits.hits = 100_000;
    let results = index.searcher().search(&request);
    assert_eq!(results.partial, []);
    let Answer::Hits(hits) = results.answer else { panic!("no hits") };
    let mut ids: Vec<String> =
        hits.iter().map(|hit| hit.event().str("event.id").unwrap().to_owned()).collect();
    ids.sort();
    ids
}

fn options() -> Options {
    Options { threads: 1, writers_max: 2, ..Options::default() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// A log of events over several days is indexed by processes that stop at any moment: before a
    /// commit, after the partitions were committed but not the checkpoint, or after both.
    #[test]
    fn crashes_lose_nothing_and_double_nothing(
        days in prop::collection::vec(0..5i64, 1..40),
        runs in prop::collection::vec((1..12usize, 0..4u8), 1..6),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let at = |n: usize| Position { topic: Topic::Events, partition: 0, offset: n as u64 };
        let checkpoint = dir.path().join("index/checkpoint.json");
        for (steps, end) in runs {
            let index = Index::open(dir.path(), options()).unwrap();
            let mut writer = index.writer("log").unwrap();
            let start = writer.start().first().map_or(0, |(_, _, next)| *next as usize);
            let end_at = (start + steps).min(days.len());
            for (n, day) in days.iter().enumerate().take(end_at).skip(start) {
                let id = format!("{n:03}");
                writer.add(document(Kind::Events, &id, *day, Some(at(n))));
                // Small batches, so that days are closed to make room in between.
                if n % 3 == 0 {
                    writer.flush().unwrap();
                }
            }
            match end {
                0 => {}
                1 => {
                    let before = std::fs::read(&checkpoint).ok();
                    writer.commit().unwrap();
                    match before {
                        Some(bytes) => std::fs::write(&checkpoint, bytes).unwrap(),
                        None => std::fs::remove_file(&checkpoint).unwrap_or(()),
                    }
                }
                2 => writer.commit().unwrap(),
                _ => {
                    writer.commit().unwrap();
                    std::fs::remove_file(&checkpoint).unwrap_or(());
                }
            }
        }
        let index = Index::open(dir.path(), options()).unwrap();
        let mut writer = index.writer("log").unwrap();
        let start = writer.start().first().map_or(0, |(_, _, next)| *next as usize);
        for (n, day) in days.iter().enumerate().skip(start) {
            writer.add(document(Kind::Events, &format!("{n:03}"), *day, Some(at(n))));
        }
        writer.commit().unwrap();
        let all: Vec<String> = (0..days.len()).map(|n| format!("{n:03}")).collect();
        prop_assert_eq!(ids(&index, Kinds::Events), all);
    }
}

fn append(bus: &dyn Bus, topic: Topic, values: impl IntoIterator<Item = Vec<u8>>) {
    let mut records = Records::new();
    for value in values {
        records.push(b"", &[], &value);
    }
    bus.append(topic, &mut records).unwrap();
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what} did not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_stage_indexes_a_bus_and_goes_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let bus: Arc<dyn Bus> = Arc::new(MemoryBus::new(MemorySettings::default()));
    let run = |index: &Index| {
        let shutdown = Shutdown::new();
        let stage = Box::new(IndexStage::new(index, "log").unwrap());
        let handle =
            run_stage(bus.clone(), stage, StageOptions::default(), shutdown.clone()).unwrap();
        (shutdown, handle)
    };

    let index = Index::open(dir.path(), options()).unwrap();
    let (shutdown, handle) = run(&index);
    append(&*bus, Topic::Events, (0..50).map(|n| json(&format!("{n:03}"), n % 3)));
    append(&*bus, Topic::Events, [b"no json".to_vec()]);
    append(&*bus, Topic::Alerts, [json("alert", 1), json("alert", 1)]);
    let appended = Instant::now();
    until("indexing", || {
        ids(&index, Kinds::Events).len() == 50 && ids(&index, Kinds::Alerts) == ["alert"]
    });
    assert!(appended.elapsed() < Duration::from_secs(5), "took {:?}", appended.elapsed());
    shutdown.trigger();
    handle.join().unwrap();
    drop(index);

    append(&*bus, Topic::Events, (50..60).map(|n| json(&format!("{n:03}"), 2)));
    let index = Index::open(dir.path(), options()).unwrap();
    let (shutdown, handle) = run(&index);
    until("indexing the rest", || ids(&index, Kinds::Events).len() == 60);
    shutdown.trigger();
    handle.join().unwrap();

    let rejected = bus.extents(Topic::Rejected).unwrap();
    assert_eq!(rejected.iter().map(|extent| extent.end.0 - extent.begin.0).sum::<u64>(), 1);
    assert_eq!(index.searcher().get("007").unwrap().unwrap().event().str("event.id"), Some("007"));
    assert_eq!(index.searcher().get("nothing").unwrap(), None);
}

fn filled(dir: &Path) -> Index {
    let index = Index::open(dir, options()).unwrap();
    let mut writer = index.writer("log").unwrap();
    for n in 0..30 {
        writer.add(document(Kind::Events, &format!("{n:03}"), n % 3, None));
    }
    writer.commit().unwrap();
    index
}

#[test]
fn a_damaged_partition_is_set_aside_and_the_others_answer() {
    let dir = tempfile::tempdir().unwrap();
    let names: Vec<String> =
        filled(dir.path()).partitions().iter().map(|p| p.id.to_string()).collect();
    let broken = dir.path().join("index").join(&names[1]);
    std::fs::write(broken.join("meta.json"), "{\"segments\": [").unwrap();

    let query = query::parse("user.name:anna").unwrap();
    let reading = Index::open_read_only(dir.path()).unwrap();
    let results = reading.searcher().search(&SearchRequest::new(&query));
    assert_eq!(results.total, 20);
    assert_eq!(results.partial.len(), 1);
    assert!(broken.exists(), "reading changes nothing");

    let index = Index::open(dir.path(), options()).unwrap();
    let problems = index.problems();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].partition, names[1]);
    assert!(problems[0].reason.contains("set-aside"), "{}", problems[0].reason);
    assert!(!broken.exists());
    // The day goes on in a new partition.
    let mut writer = index.writer("log").unwrap();
    writer.add(document(Kind::Events, "new", 1, None));
    writer.commit().unwrap();
    assert_eq!(index.searcher().search(&SearchRequest::new(&query)).total, 21);
}

#[test]
fn a_partition_whose_files_were_cut_is_told_and_the_others_answer() {
    let dir = tempfile::tempdir().unwrap();
    let name = filled(dir.path()).partitions()[0].id.to_string();
    for entry in std::fs::read_dir(dir.path().join("index").join(&name)).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "fast" || e == "store" || e == "idx") {
            let bytes = std::fs::read(&path).unwrap();
            std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        }
    }
    let index = Index::open(dir.path(), options()).unwrap();
    let query = query::parse("user.name:anna").unwrap();
    let results = index.searcher().search(&SearchRequest::new(&query));
    assert_eq!(results.total, 20);
    assert_eq!(results.partial.len(), 1, "{:?}", results.partial);
}

#[test]
fn another_process_reads_while_one_writes() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Index::open_read_only(dir.path()), Err(IndexError::Missing(_))));
    let index = filled(dir.path());
    let reading = Index::open_read_only(dir.path()).unwrap();
    assert!(matches!(reading.writer("log"), Err(IndexError::ReadOnly(_))));
    let mut writer = index.writer("log").unwrap();
    writer.add(document(Kind::Events, "new", 7, None));
    writer.add(document(Kind::Events, "more", 0, None));
    writer.commit().unwrap();
    assert_eq!(ids(&reading, Kinds::Events).len(), 30);
    reading.refresh().unwrap();
    assert_eq!(ids(&reading, Kinds::Events).len(), 32);
}

#[test]
fn fields_and_facets_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let index = filled(dir.path());
    let fields: Vec<String> =
        index.fields().into_iter().map(|f| format!("{}:{}", f.name, f.types.join("+"))).collect();
    assert_eq!(fields, ["@timestamp:date", "event.id:keyword", "user.name:keyword"]);
    let query = query::parse("*").unwrap();
    let mut request = SearchRequest::new(&query);
    request.facets = &["user.name", "host.name"];
    request.histogram = Some(20);
    let results = index.searcher().search(&request);
    let facets = format!("{:?}", results.facets);
    insta::assert_snapshot!(facets, @r#"[Facet { field: "user.name", events: 30, distinct: Some(1), whole: true, values: [FacetValue { value: Text("anna"), count: 30 }] }, Facet { field: "host.name", events: 0, distinct: Some(0), whole: true, values: [] }]"#);
    let histogram = results.histogram.unwrap();
    assert_eq!(histogram.step_nanos, 3 * 3600 * 1_000_000_000);
    assert_eq!(histogram.counts.iter().sum::<u64>(), 30);
    let partitions = index.partitions();
    assert!(partitions.iter().all(|p| p.documents == 10 && p.bytes > 0));
}
