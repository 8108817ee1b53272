//! A mapping that changes: what was stored with the former one becomes what the new one makes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;

use common::{Server, stderr, stdout, watchpost};
use serde_json::{Value, json};

const FORMER: &str =
    "source: acme.door\nrecognise: {acme_door|exists: true}\ntime: when\nmap:\n  who: user.id\n";
const NEWER: &str = "source: acme.door\nrecognise: {acme_door|exists: true}\ntime: opened\nmap:\n  who: user.name\nset:\n  event.category: [iam]\n";

fn start(folder: &Path, data: &str) -> Server {
    let settings = folder.join("watchpost.toml");
    Server::start_with(&folder.join(data), &["--config", settings.to_str().unwrap()], &[])
}

fn write(folder: &Path, mapping: &str) {
    std::fs::write(folder.join("acme.yml"), mapping).unwrap();
    let settings = format!("[sources]\npaths = [\"{}/acme.yml\"]\n", folder.display());
    std::fs::write(folder.join("watchpost.toml"), settings).unwrap();
}

/// 300 records; the newer mapping moves a third of them to another day.
fn body() -> String {
    let line = |number: u32| {
        let opened =
            if number.is_multiple_of(3) { "2026-11-20T08:00:00Z" } else { "2026-11-24T08:00:00Z" };
        let record = json!({"acme_door": number, "who": format!("u{number}"), "opened": opened, "when": "2026-11-24T12:00:00Z"});
        format!("{record}\n")
    };
    (0..300).map(line).collect()
}

fn stored(server: &Server) -> Vec<Value> {
    assert_eq!(server.search_total("event.dataset:acme.door", 300), 300);
    let mut documents = server.documents("events");
    for document in &mut documents {
        // What tells one ingest from another.
        let event = document["event"].as_object_mut().unwrap();
        event.remove("id");
        event.remove("ingested");
    }
    documents.sort_by_key(|document| document["acme"]["acme_door"].as_i64());
    documents
}

#[test]
fn the_result_equals_a_fresh_ingest() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(at, FORMER);
    let server = start(at, "data");
    assert_eq!(server.post("/ingest/acme.door", body().as_bytes()).0, 200);
    assert_eq!(server.post("/ingest/other", b"{\"a\":1}").0, 200);
    assert_eq!(server.search_total("event.dataset:acme.door and user.id:u7", 1), 1);
    server.catch_up(std::time::Duration::from_secs(30));
    server.kill();

    write(at, NEWER);
    let settings = at.join("watchpost.toml").to_str().unwrap().to_owned();
    let data = at.join("data").to_str().unwrap().to_owned();
    let renormalize = |more: &[&str]| {
        let args = ["renormalize", "--config", &settings, "--data", &data];
        let output = watchpost(&[&args, more].concat()).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output)
    };
    let changed = "acme.door: 300 changed, 0 new, 0 gone, 0 the same\n";
    let dry = renormalize(&["--dry-run"]);
    assert!(
        dry.contains(changed) && dry.contains("other: 0 changed, 0 new, 0 gone, 1 the same"),
        "{dry}"
    );
    assert!(dry.contains("+ user.name") && dry.contains("- user.id"), "{dry}");
    assert_eq!(renormalize(&["--dataset", "nothing"]), "");
    assert!(renormalize(&["--dataset", "acme.*"]).contains(changed));
    let again = renormalize(&[]);
    assert!(again.contains("acme.door: 0 changed, 0 new, 0 gone, 300 the same"), "{again}");

    let server = start(at, "data");
    assert_eq!(server.search_total("user.id:*", 0), 0);
    let renormalized: Vec<Value> = stored(&server)
        .into_iter()
        .filter(|document| document["event"]["dataset"] == "acme.door")
        .collect();
    server.kill();
    let fresh = start(at, "fresh");
    assert_eq!(fresh.post("/ingest/acme.door", body().as_bytes()).0, 200);
    let fresh = stored(&fresh);
    assert_eq!(renormalized.len(), 300);
    for (is, wanted) in renormalized.iter().zip(&fresh) {
        assert_eq!(is, wanted);
    }
}
