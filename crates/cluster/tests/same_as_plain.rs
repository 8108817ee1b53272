//! A cluster answers as the plain evaluator does: a real one, named by `WATCHPOST_TEST_OPENSEARCH`
//! (`deploy/dev/opensearch`).

#![expect(clippy::unwrap_used, reason = "a test may stop at what it did not expect")]
#![expect(clippy::print_stderr, reason = "a test says that it was skipped")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::{Bus, MemoryBus, Records, Shutdown, StageOptions, Topic};
use cluster::{Cluster, FeedStage, Settings};
use event::{Event, Timestamp};
use indexing::{Answer, Kinds, Limits, Partial, Search, SearchRequest};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use query::{Cell, Query, Rows, Table, TimeRange};
use serde_json::{Value, json};

/// The moment of the first event.
const START_MILLIS: i64 = 1_785_900_000_000;

/// How many events there are.
const EVENTS: usize = 300;

fn cluster(name: &str) -> Option<Cluster> {
    let Ok(url) = std::env::var("WATCHPOST_TEST_OPENSEARCH") else {
        assert!(
            std::env::var_os("WATCHPOST_TEST_NEEDS_ALL").is_none(),
            "WATCHPOST_TEST_OPENSEARCH names no cluster"
        );
        eprintln!("skipped: WATCHPOST_TEST_OPENSEARCH names no cluster (deploy/dev/opensearch)");
        return None;
    };
    let run = Timestamp::now().as_millis();
    Some(
        Cluster::new(Settings {
            url,
            events: format!("watchpost-test-{name}-{run}-events-*"),
            alerts: format!("watchpost-test-{name}-{run}-alerts-*"),
            ..Settings::default()
        })
        .unwrap(),
    )
}

/// Values that are easily taken for something else.
const ODD: [&str; 26] = [
    "anna",
    "Anna",
    "Bert",
    "BERT",
    "power",
    "PowerShell.EXE",
    "cmd.exe /c dir",
    "C:\\Windows\\cmd.exe",
    "10.1.2.3",
    "10.200.0.1",
    "fe80::1",
    "2026-08-05",
    "4624",
    "4625",
    "1.5",
    "logon failed",
    "Logon Failed for anna",
    "failed logon",
    "Ärger",
    "ärger-2",
    "-",
    "true",
    "a.b.c",
    "aa",
    "2026-08-05T12:00:00Z",
    "a*b?c",
];

/// Events whose number decides all of them.
fn events() -> Vec<Value> {
    (0..EVENTS)
        .map(|n| {
            let mut seed = n as u64;
            let mut random = |below: usize| {
                seed = seed
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (seed >> 33) as usize % below
            };
            let time =
                Timestamp::from_millis(START_MILLIS + 577_000 * n as i64 + random(1000) as i64);
            let mut event =
                json!({"@timestamp": time.to_string(), "event": {"id": format!("id-{n:03}")}});
            let mut set = |path: &str, value: Value| event[path] = value;
            for path in
                ["user.name", "host.name", "process.command_line", "message", "event.original"]
            {
                match random(4) {
                    0 => {}
                    1 if path == "user.name" => {
                        set(path, json!([ODD[random(26)], ODD[random(26)]]))
                    }
                    _ => set(path, ODD[random(26)].into()),
                }
            }
            match random(3) {
                0 => set("process.pid", (random(6) as i64 - 3).into()),
                1 => set("process.pid", 4624.into()),
                _ => {}
            }
            match random(3) {
                0 => set("source.ip", format!("10.{}.0.{}", random(3) * 100, random(5)).into()),
                1 => set("source.ip", "fe80::1".into()),
                _ => {}
            }
            set("own.ratio", (random(4) as f64 / 2.0 + 0.25).into());
            set("own.ok", (random(2) == 0).into());
            if random(2) == 0 {
                set("event.created", Timestamp::from_millis(START_MILLIS).to_string().into());
            }
            event
        })
        .collect()
}

/// Puts events onto a bus and runs the stage that feeds the cluster until it has all.
fn fed(cluster: &Cluster, events: &[Value]) -> u64 {
    let bus: Arc<dyn Bus> = Arc::new(MemoryBus::default());
    let mut records = Records::new();
    for event in events {
        records.push(b"", &[], event.to_string().as_bytes());
    }
    bus.append(Topic::Events, &mut records).unwrap();
    let shutdown = Shutdown::new();
    let stage = Box::new(FeedStage::new(cluster.clone()));
    let handle =
        bus::run_stage(Arc::clone(&bus), stage, StageOptions::default(), shutdown.clone()).unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    while bus.lag("indexing", &[Topic::Events, Topic::Alerts]).unwrap() > 0 {
        assert!(Instant::now() < until, "the cluster is not fed");
        std::thread::sleep(Duration::from_millis(50));
    }
    shutdown.trigger();
    handle.join().unwrap();
    // It shows what it has a second later.
    let everything = query::parse("*").unwrap();
    loop {
        cluster.forget_fields();
        let results = cluster.search(&SearchRequest::new(&everything));
        if results.total >= events.len() as u64 {
            return results.total;
        }
        assert!(Instant::now() < until, "{} events, {:?}", results.total, results.partial);
        std::thread::sleep(Duration::from_millis(200));
    }
}

const CLAUSES: [&str; 66] = [
    "*",
    "anna",
    "ann*",
    "\"logon failed\"",
    "\"failed logon\"",
    "4624",
    "10.1.2.3",
    "ärger",
    "*ower*",
    "user.name:anna",
    "user.name:ANNA",
    "user.name:ann?",
    "user.name:*a*",
    "user.name:\"\"",
    "user.name:\"a*b?c\"",
    "user.name:a\\*b*",
    "user.name:Ärger",
    "user.name:är*",
    "user.name:4624",
    "user.name:10.0.0.0/8",
    "user.name:10.1.2.3",
    "user.name:>1",
    "user.name>=bert",
    "user.name:[2 TO 4624]",
    "user.name:/^a/",
    "user.name:/exe$/",
    "user.name:/[0-9]{2}/",
    "user.name:/^$/",
    "user.name:/\\blogon\\b/",
    "user.name:(anna or bert)",
    "host.name:true",
    "host.name:2026-08-05",
    "host.name:\"c:\\\\windows\\\\cmd.exe\"",
    "process.command_line:*-2",
    "process.command_line:*cmd.exe*",
    "process.command_line:cmd.exe\\ *",
    "message:logon",
    "message:\"logon failed\"",
    "message:*ogon\\ fail*",
    "message:*ogon*",
    "message:/logon.*anna/",
    "message:-",
    "message>a",
    "event.original:anna",
    "event.original:*ogon*",
    "event.original:*",
    "process.pid:4624",
    "process.pid:-3",
    "process.pid:4*",
    "process.pid>1",
    "process.pid>=1.5",
    "process.pid:[-3 TO 1}",
    "process.pid>x",
    "source.ip:10.0.0.0/8",
    "source.ip:fe80::/10",
    "source.ip:10.100.0.1",
    "source.ip:[10.0.0.0 TO 10.150.0.0]",
    "source.ip:anna",
    "own.ratio:0.25",
    "own.ratio<1",
    "own.ok:TRUE",
    "event.created:2026-08-05",
    "@timestamp>=2026-08-06",
    "user.*:anna",
    "*.name:bert",
    "user:*",
];

const PIPES: [&str; 18] = [
    "| stats count",
    "| stats count by user.name",
    "| stats count, dc(host.name), min(process.pid), max(process.pid) by user.name, host.name",
    "| stats count(user.name), sum(process.pid), avg(own.ratio) by source.ip",
    "| stats sum(own.ratio), sum(user.name)",
    "| stats min(event.created), dc(message) by own.ok",
    "| stats count by message",
    "| stats count by nothing",
    "| timechart span=6h count, dc(user.name) by host.name",
    "| top 3 user.name",
    "| rare 2 process.command_line | where count < 30",
    "| where user.name:* | stats count by host.name | sort -count, host.name | head 4",
    "| sort event.id | fields event.id, user.name, process.pid | head 7",
    "| dedup user.name | stats count",
    "| stats first(user.name), last(process.pid), p90(process.pid) by host.name",
    "| top 2 user.name, host.name",
    "| rare 1 user.name by host.name",
    "| sequence by user.name within 20h [host.name:*a*] [*] [process.pid>0]",
];

fn filter() -> impl Strategy<Value = String> {
    let clause = prop::sample::select(CLAUSES.to_vec()).prop_map(str::to_owned);
    clause.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|a| format!("not ({a})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) and ({b})")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("({a}) or ({b})")),
        ]
    })
}

fn rounded(table: &Table) -> Vec<Vec<Cell>> {
    let round = |cell: &Cell| match cell {
        Cell::Float(number) => Cell::number((number * 1e6).round() / 1e6),
        other => other.clone(),
    };
    table.rows.iter().map(|row| row.iter().map(round).collect()).collect()
}

struct Checked<'c> {
    cluster: &'c Cluster,
    events: Vec<Event>,
}

impl Checked<'_> {
    /// Compares one query over a range of time.
    fn check(&self, text: &str, range: TimeRange) {
        let query: Query = query::parse(text).unwrap_or_else(|error| panic!("{}", error.render()));
        let mut wanted: Vec<Event> = self
            .events
            .iter()
            .filter(|event| range.contains(event.timestamp().unwrap()))
            .filter(|event| query::matches(&query.filter, event))
            .cloned()
            .collect();
        wanted.sort_by_key(|event| std::cmp::Reverse(event.timestamp()));
        let mut request = SearchRequest::new(&query);
        request.range = range;
        request.histogram = query.pipes.is_empty().then_some(10);
        request.limits = Limits { hits: 1000, ..Limits::default() };
        let results = self.cluster.search(&request);
        assert_eq!(results.partial, Vec::<Partial>::new(), "{text}");
        if query.pipes.is_empty() {
            assert_eq!(results.total, wanted.len() as u64, "{text}");
            let counted = results.histogram.map_or(0, |histogram| histogram.counts.iter().sum());
            assert_eq!(counted, results.total, "{text}");
        }
        match (results.answer, query::run(&query.pipes, wanted, &mut Vec::new())) {
            (Answer::Hits(hits), Rows::Events(events)) => {
                let id = |event: &Event| event.str("event.id").unwrap().to_owned();
                let hits: Vec<String> = hits.iter().map(|hit| id(&hit.event())).collect();
                assert_eq!(hits, events.iter().map(id).collect::<Vec<_>>(), "{text}");
            }
            (Answer::Table(table), Rows::Table(plain)) => {
                assert_eq!(table.columns, plain.columns, "{text}");
                assert_eq!(rounded(&table), rounded(&plain), "{text}");
            }
            _ => panic!("not both events, or both a table: {text}"),
        }
    }
}

impl Checked<'_> {
    /// Compares what fields hold.
    fn check_facets(&self, text: &str) {
        let query: Query = query::parse(text).unwrap();
        let fields = ["user.name", "process.pid", "message", "nothing"];
        let mut request = SearchRequest::new(&query);
        request.facets = &fields;
        request.facet_values = 1000;
        let found = self.cluster.search(&request).facets;
        assert_eq!(found.len(), fields.len(), "{text}");
        for (field, facet) in fields.iter().zip(found) {
            let passing = self.events.iter().filter(|event| query::matches(&query.filter, event));
            let values = passing.map(|event| query::cells(event, field));
            let values: Vec<Vec<Cell>> = values.filter(|cells| !cells.is_empty()).collect();
            assert_eq!(facet.events, values.len() as u64, "{text} {field}");
            if query::is_text(field) {
                assert_eq!((facet.distinct, facet.values.len()), (None, 0), "{text} {field}");
                continue;
            }
            let mut counts = std::collections::BTreeMap::new();
            values.into_iter().flatten().for_each(|cell| *counts.entry(cell).or_default() += 1);
            assert_eq!(facet.distinct, Some(counts.len() as u64), "{text} {field}");
            let found: std::collections::BTreeMap<Cell, u64> =
                facet.values.into_iter().map(|counted| (counted.value, counted.count)).collect();
            assert_eq!(found, counts, "{text} {field}");
        }
    }
}

#[test]
fn a_cluster_finds_what_the_plain_evaluator_finds() {
    let Some(cluster) = cluster("same") else { return };
    let events = events();
    assert_eq!(fed(&cluster, &events), EVENTS as u64);
    let read = |json: &Value| {
        let mut event = Event::new();
        event.parse_json(json.to_string().as_bytes()).unwrap();
        event
    };
    let checked = Checked { cluster: &cluster, events: events.iter().map(read).collect() };
    for clause in CLAUSES {
        checked.check(clause, TimeRange::ALL);
        checked.check(&format!("not ({clause})"), TimeRange::ALL);
    }
    for pipes in PIPES {
        checked.check(&format!("* {pipes}"), TimeRange::ALL);
    }
    // Counted there, and here.
    checked.check_facets("process.pid:4624");
    checked.check_facets("event.original:*ogon*");
    let fields = Search::fields(&cluster).unwrap();
    let types = |name: &str| fields.iter().find(|f| f.name == name).map(|f| f.types.clone());
    assert_eq!(types("user.name"), Some(vec!["keyword"]));
    assert_eq!(types("process.pid"), Some(vec!["long"]));
    assert!(types("process").is_none() && types("watchpost_words").is_none());
    let cases =
        ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() };
    let pipes = prop::option::of(prop::sample::select(PIPES.to_vec()));
    let range = prop::option::of((0..200_000i64, 0..200_000i64));
    TestRunner::new(cases)
        .run(&(filter(), pipes, range), |(filter, pipes, range)| {
            let moment = |seconds: i64| Some(Timestamp::from_millis(START_MILLIS + seconds * 1000));
            let range = range.map_or(TimeRange::ALL, |(a, b)| TimeRange {
                since: moment(a.min(b)),
                until: moment(a.max(b)),
            });
            checked.check(&format!("{filter} {}", pipes.unwrap_or_default()), range);
            Ok(())
        })
        .unwrap();
    let hit = cluster.get("id-007").unwrap().unwrap();
    assert_eq!(hit.event().str("event.id"), Some("id-007"));
    assert!(cluster.get("id-999").unwrap().is_none());
}

#[test]
fn what_is_left_out_is_told() {
    let Some(cluster) = cluster("bounds") else { return };
    assert_eq!(fed(&cluster, &events()), EVENTS as u64);
    let partial = |text: &str, limits: Limits| {
        let query = query::parse(text).unwrap();
        let request = SearchRequest { limits, ..SearchRequest::new(&query) };
        let told: Vec<String> =
            cluster.search(&request).partial.iter().map(ToString::to_string).collect();
        told.join("; ")
    };
    let limits = Limits::default();
    insta::assert_snapshot!(partial("*", Limits { hits: 3, ..limits.clone() }), @"");
    insta::assert_snapshot!(partial("* | stats count by event.id", Limits { rows: 7, ..limits.clone() }), @"more rows than the limit of 7; the first are shown");
    insta::assert_snapshot!(partial("* | sort user.name", Limits { documents: 10, ..limits.clone() }), @"this pipe reads whole events, and only the newest 10 were read");
    insta::assert_snapshot!(partial("event.original:*ogon*", Limits { documents: 10, ..limits.clone() }), @"this pipe reads whole events, and only the newest 10 were read");
    insta::assert_snapshot!(partial("*", Limits { time: Duration::ZERO, ..limits }), @"the search was stopped after 0ns; narrow the time range or the filter");
}

#[test]
fn a_cluster_that_is_not_there_is_told() {
    let cluster =
        Cluster::new(Settings { url: "http://127.0.0.1:1".into(), ..Settings::default() }).unwrap();
    let query = query::parse("*").unwrap();
    let request = SearchRequest { kinds: Kinds::Both, ..SearchRequest::new(&query) };
    let results = cluster.search(&request);
    assert_eq!(results.total, 0);
    let told = results.partial.first().unwrap().to_string();
    assert!(told.starts_with("the cluster: http://127.0.0.1:1: "), "{told}");
    assert!(cluster.get("x").is_err());
}
