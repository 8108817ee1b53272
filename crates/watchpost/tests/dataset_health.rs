//! Data health from outside: what could not be read is told, by the command, the API and a page.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::{Duration, Instant};

use common::{Server, stderr, stdout, watchpost};
use serde_json::Value;

#[test]
fn what_cannot_be_read_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap().to_owned();
    let server = Server::start(folder.path());
    let line = |number: usize| match number % 4 {
        0 => "no form that anybody knows\n".to_owned(),
        _ => format!(
            "{{\"@timestamp\":\"2020-01-01T00:00:00Z\",\"ecs\":{{\"version\":\"9.0.0\"}},\"own_field\":{number}}}\n"
        ),
    };
    let body: String = (0..200).map(line).collect();
    let (status, answer) = server.post("/ingest/acme.audit", body.as_bytes());
    assert_eq!(status, 200, "{answer}");
    assert_eq!(server.search_total("event.dataset:acme.audit", 200), 200);
    // What was counted is written when nothing comes any more.
    let until = Instant::now() + Duration::from_secs(30);
    while events_of(&server) < 200 {
        assert!(Instant::now() < until, "{}", server.get("/api/v1/datasets").1);
        std::thread::sleep(Duration::from_millis(100));
    }
    let (status, page) = server.get("/datasets");
    assert_eq!(status, 200);
    assert!(page.contains("acme.audit") && page.contains("could not be read"), "{page}");
    server.kill();

    let health = |format: &str| {
        watchpost(&["sources", "health", "--data", &data, "--format", format]).output().unwrap()
    };
    let told = health("jsonl");
    assert_eq!(told.status.code(), Some(1), "{} {}", stdout(&told), stderr(&told));
    let found: Vec<Value> =
        stdout(&told).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = found.iter().find(|of| of["dataset"] == "acme.audit").unwrap();
    assert_eq!((&of["events"], &of["unparsed"]), (&200.into(), &50.into()), "{of}");
    assert_eq!((&of["missing_time"], &of["late"]), (&50.into(), &150.into()), "{of}");
    let kinds: Vec<&Value> =
        of["problems"].as_array().unwrap().iter().map(|problem| &problem["kind"]).collect();
    assert_eq!(kinds, ["unparsed", "missing_time", "late"], "{of}");
    let table = stdout(&health("table"));
    assert!(table.contains("acme.audit") && table.contains("25.0 %"), "{table}");

    // It goes on with what it had counted.
    let server = Server::start(folder.path());
    assert_eq!(events_of(&server), 200);
}

fn events_of(server: &Server) -> u64 {
    let list = server.json("/api/v1/datasets");
    let datasets = list["datasets"].as_array().unwrap();
    let of = datasets.iter().find(|of| of["dataset"] == "acme.audit");
    of.map_or(0, |of| of["events"].as_u64().unwrap())
}
