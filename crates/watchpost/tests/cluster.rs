//! Search in a cluster, from outside: pages, calls and hunts ask a real OpenSearch that the engine feeds.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::{Server, needed_in_ci, stderr, stdout, watchpost};
use serde_json::{Value, json};

const EVENTS: u64 = 1000;

/// The configuration of an engine that searches the cluster, with one rule.
fn configured(folder: &Path, url: &str) -> String {
    let run = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let rules = folder.join("rules");
    std::fs::create_dir_all(&rules).unwrap();
    std::fs::write(
        rules.join("door.yml"),
        "title: Door at night\nid: 0b5e8f0e-6f0f-4e0a-9d0e-0a3a4c5d6e7f\nlogsource: {product: acme}\ndetection:\n  selection:\n    acme.who: zoe\n  condition: selection\nlevel: low\n",
    )
    .unwrap();
    let settings = folder.join("watchpost.toml");
    let text = format!(
        "[rules]\npaths = [\"{}\"]\n[search]\nbackend = \"elasticsearch\"\nurl = \"{url}\"\nevents = \"watchpost-e2e-{run}-events-*\"\nalerts = \"watchpost-e2e-{run}-alerts-*\"\n",
        rules.display()
    );
    std::fs::write(&settings, text).unwrap();
    settings.to_str().unwrap().to_owned()
}

fn post(server: &Server, numbers: std::ops::Range<u64>) {
    let body: String = numbers
        .map(|number| {
            let who = ["abel", "anna", "zoe", "abba"][number as usize % 4];
            let event = json!({
                "acme.who": who,
                "acme.number": number,
                "host": {"name": format!("h{}", number % 3)},
                "@timestamp": format!("2026-11-20T08:{:02}:{:02}Z", number / 60 % 60, number % 60),
                "ecs": {"version": "9"},
                "watchpost": {"logsource": {"product": "acme"}},
            });
            format!("{event}\n")
        })
        .collect();
    assert_eq!(server.post("/ingest/acme.door", body.as_bytes()).0, 200);
}

#[test]
fn events_alerts_and_hunts_are_found_in_a_cluster() {
    let Ok(url) = std::env::var("WATCHPOST_TEST_OPENSEARCH") else {
        return needed_in_ci("WATCHPOST_TEST_OPENSEARCH names no cluster (deploy/dev/opensearch)");
    };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let config = configured(folder.path(), &url);
    let start = || Server::start_with(&data, &["--config", &config], &[]);
    let server = start();
    post(&server, 0..EVENTS / 2);
    // Wherever it is in what it does.
    std::thread::sleep(Duration::from_millis(300));
    server.kill();
    let server = start();
    post(&server, EVENTS / 2..EVENTS);
    assert_eq!(server.search_total("event.dataset:acme.door", EVENTS), EVENTS);
    server.catch_up(Duration::from_secs(30));
    let mut numbers: Vec<u64> = server
        .documents("events")
        .iter()
        .map(|event| {
            event.pointer("/acme/number").or(event.get("acme.number")).unwrap().as_u64().unwrap()
        })
        .collect();
    numbers.sort_unstable();
    assert!(numbers.iter().copied().eq(0..EVENTS), "each event once");
    let until = Instant::now() + Duration::from_secs(20);
    while server.documents("alerts").is_empty() {
        assert!(Instant::now() < until, "no alert");
        std::thread::sleep(Duration::from_millis(200));
    }
    let answer = server.json("/api/v1/search?since=all&q=*%20%7C%20stats%20count%20by%20host.name");
    assert_eq!(answer["table"]["rows"], json!([["h0", 334], ["h1", 333], ["h2", 333]]));
    let answer = server.json("/api/v1/search?since=all&q=acme.who%3Azo%3F&limit=1");
    assert_eq!(answer["total"], EVENTS / 4, "{answer:#}");
    let id = answer["hits"][0]["event"]["id"].as_str().unwrap().to_owned();
    assert_eq!(server.get(&format!("/events/{id}")).0, 200);
    assert_eq!(server.get("/alerts").0, 200);
    let until = Instant::now() + Duration::from_secs(5);
    while !server.get("/api/v1/fields").1.contains("acme.who") {
        assert!(Instant::now() < until, "a new field is not in the catalogue");
        std::thread::sleep(Duration::from_millis(200));
    }
    // What only our own index can answer is not offered.
    assert_eq!(server.get("/es/_search").0, 404);

    let hunts = ["hunt", "run", "--config", &config, "--since", "all", "--format", "json"];
    let output = watchpost(&hunts).output().unwrap();
    let reports: Value = serde_json::from_str(&stdout(&output)).unwrap_or_else(|error| {
        panic!("{error}: {}", stderr(&output));
    });
    assert_eq!(reports[0]["events"], EVENTS, "{reports}");
}

#[test]
fn a_cluster_that_is_down_costs_nothing_but_time() {
    let folder = tempfile::tempdir().unwrap();
    let config = configured(folder.path(), "http://127.0.0.1:1");
    let server = Server::start_with(&folder.path().join("data"), &["--config", &config], &[]);
    post(&server, 0..10);
    let answer = server.json("/api/v1/search?since=all&q=*");
    assert_eq!(answer["total"], 0);
    let told = answer["partial"][0].as_str().unwrap();
    assert!(told.starts_with("the cluster: http://127.0.0.1:1"), "{told}");
    // What goes through the own index is refused, and not answered from an empty one.
    let (status, told) = server.get("/api/v1/export");
    assert!(status == 501 && told.contains("searches in a cluster"), "{status} {told}");
    let unread = || {
        let status = server.json("/api/v1/status");
        let lags = status["lag"].as_array().unwrap().clone();
        let lag = lags.into_iter().find(|lag| lag["stage"] == "indexing").unwrap();
        lag["records"].as_u64().unwrap()
    };
    let until = Instant::now() + Duration::from_secs(20);
    while unread() < 10 {
        assert!(Instant::now() < until, "{} wait for the cluster", unread());
        std::thread::sleep(Duration::from_millis(200));
    }
}
