//! Many processes on one Kafka cluster: the stages split, two copies of each, and copies that come
//! and go under load. Nothing is lost, and no alert is doubled or missing.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::{Server, TestBus, log_file, run, stderr, stdout};
use serde_json::Value;

/// A rule of one event, built in: a path that leaves the web server's folder.
const PATH_TRAVERSAL: &str = "42831a40-f66f-499c-86f6-f81ecdedae55";

/// The stages that share partitions among their copies.
const SHARED: [&str; 3] = ["normalize", "detection", "correlation"];

/// How long the stages may take to catch up in the end. The partitions of a copy that was killed go
/// to others only after the session's time.
const CATCH_UP_MAX: Duration = Duration::from_secs(150);

/// A process of one stage, without HTTP.
struct Copy {
    stage: &'static str,
    data: PathBuf,
    child: Child,
}

impl Copy {
    fn start(stage: &'static str, data: PathBuf, bus: &TestBus, log: &Path) -> Copy {
        let mut environment = bus.environment();
        // So that the test is not all waiting.
        environment.push(("WATCHPOST_KAFKA_SESSION_SECONDS", "6"));
        let child = Server::spawn(&data, &["--stages", stage], &environment, log_file(log));
        Copy { stage, data, child }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // It may be gone already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn event(number: u64) -> String {
    let path = if number.is_multiple_of(5) { "/img/../../etc/passwd" } else { "/index" };
    format!(
        r#"{{"@timestamp":"2026-08-05T12:00:{:02}Z","ecs":{{"version":"9.0"}},"event":{{"kind":"event","category":["web"]}},"host":{{"name":"web-{}"}},"url":{{"original":"{path}"}},"labels":{{"number":"n{number}"}}}}"#,
        number % 60,
        number % 7
    )
}

#[test]
fn copies_that_come_and_go_under_load_lose_and_double_nothing() {
    let Some(bus) = TestBus::kafka() else { return };
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let data = |name: &str| folder.path().join(name);
    // Two indexes, each with everything; the first takes the events.
    let edges: Vec<Server> = ["first", "second"]
        .iter()
        .map(|name| {
            let stages = ["--stages", "ingest,indexing,web"];
            Server::start_with(&data(name), &stages, &bus.environment())
        })
        .collect();
    let start =
        |stage, name: &str| Copy::start(stage, data(&format!("{stage}-{name}")), &bus, &log);
    let mut copies: Vec<Copy> =
        SHARED.iter().flat_map(|stage| [start(stage, "a"), start(stage, "b")]).collect();

    let stop = AtomicBool::new(false);
    let sent = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let (server, stop, sent) = (&edges[0], &stop, &sent);
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let first = sent.load(Ordering::Relaxed);
                let body: Vec<String> = (first..first + 20).map(event).collect();
                let (status, answer) =
                    server.post("/ingest/shop.access", body.join("\n").as_bytes());
                assert_eq!(status, 200, "{answer}");
                sent.fetch_add(20, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        for round in 0..6 {
            std::thread::sleep(Duration::from_secs(3));
            // One is killed and comes back under its name; one is killed and does not.
            let victim = round % SHARED.len() * 2;
            let copy = &mut copies[victim];
            copy.kill();
            if round < SHARED.len() {
                let (stage, data) = (copy.stage, copy.data.clone());
                copies[victim] = Copy::start(stage, data, &bus, &log);
            }
            if round == 3 {
                copies.push(start("normalize", "c"));
            }
        }
        std::thread::sleep(Duration::from_secs(2));
        stop.store(true, Ordering::Relaxed);
    });
    let sent = sent.into_inner();
    println!("{sent} events");

    for server in &edges {
        server.catch_up(CATCH_UP_MAX);
        // What stands behind the open transaction of a process that was killed counts as nobody's lag
        // until the brokers end it.
        assert_eq!(server.search_total("labels.number:*", sent), sent);
        let wanted = sent.div_ceil(5);
        let found = server.search_total_of("alerts", &format!("rule.id:{PATH_TRAVERSAL}"), wanted);
        assert_eq!(found, wanted, "one alert for each fifth event");
        let mut numbers: BTreeMap<String, u32> = BTreeMap::new();
        for document in server.documents("events") {
            let number = document["labels"]["number"].as_str().unwrap().to_owned();
            *numbers.entry(number).or_default() += 1;
        }
        assert!(numbers.values().all(|count| *count == 1), "an event is there twice");
        assert_eq!(numbers.len() as u64, sent);
        let alerts = server.documents("alerts");
        let of_rule = alerts.iter().filter(|alert| alert["rule"]["id"] == PATH_TRAVERSAL);
        assert_eq!(of_rule.count() as u64, wanted, "one alert for each fifth event");
        let (code, ledger) = server.get("/api/v1/ledger");
        assert_eq!(code, 200, "{ledger}");
        let ledger: Value = serde_json::from_str(&ledger).unwrap();
        assert_eq!(ledger["imbalance"], 0, "{ledger:#}");
    }
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(!said.contains("panicked at"), "{said}");
}

/// From one machine to a cluster: everything moves, the index goes on, nothing is there twice.
#[test]
fn a_bus_is_copied_and_the_engine_goes_on_with_it() {
    let Some(bus) = TestBus::kafka() else { return };
    let TestBus::Kafka { url, prefix } = &bus else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let before: Vec<String> = (0..200).map(event).collect();
    let server = Server::start(&data);
    let (code, answer) = server.post("/ingest/shop.access", before.join("\n").as_bytes());
    assert_eq!(code, 200, "{answer}");
    server.catch_up(CATCH_UP_MAX);
    server.kill();

    let copy = |to: &str| {
        let data = data.to_str().unwrap();
        let mut command =
            common::watchpost(&["bus", "copy", "--from", "embedded", "--to", to, "--data", data]);
        command.env("WATCHPOST_KAFKA_TOPIC_PREFIX", prefix);
        // As many as the embedded log has, because a group with state must keep their number.
        command.env("WATCHPOST_KAFKA_PARTITIONS", "2");
        command.output().unwrap()
    };
    let copied = copy(url);
    assert!(copied.status.success(), "{}", stderr(&copied));
    let said = stdout(&copied);
    assert!(said.contains("raw") && said.contains("200 records, read back and the same"), "{said}");
    let again = copy(url);
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("has records already"), "{}", stderr(&again));

    let server = Server::start_with(&data, &[], &bus.environment());
    let after: Vec<String> = (200..300).map(event).collect();
    let (code, answer) = server.post("/ingest/shop.access", after.join("\n").as_bytes());
    assert_eq!(code, 200, "{answer}");
    server.catch_up(CATCH_UP_MAX);
    let mut numbers = BTreeMap::new();
    for document in server.documents("events") {
        let number = document["labels"]["number"].as_str().unwrap().to_owned();
        *numbers.entry(number).or_insert(0) += 1;
    }
    assert_eq!(numbers.len(), 300);
    assert!(numbers.values().all(|count| *count == 1), "an event is there twice: {numbers:?}");
    assert_eq!(server.documents("alerts").len(), 60);
    server.kill();
    let nothing = run(&["bus", "copy", "--from", "embedded", "--to", "embedded"]);
    assert!(stderr(&nothing).contains("the same bus"), "{}", stderr(&nothing));
}
