//! `watchpost backtest` from outside: over what a server indexed, beside it while it runs.

mod common;

use std::time::Duration;

use common::{Server, stderr, stdout, watchpost};
use serde_json::{Value, json};

fn rule(id: &str, pattern: &str) -> String {
    format!(
        "title: Door at night\nid: {id}\nlogsource: {{product: acme}}\ndetection:\n  selection:\n    acme.who|startswith: {pattern}\n  condition: selection\nlevel: low\n"
    )
}

#[test]
fn rules_are_tried_on_the_past_and_compared_with_those_in_use() {
    const ID: &str = "0b5e8f0e-6f0f-4e0a-9d0e-0a3a4c5d6e7f";
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).to_str().expect("a path").to_owned();
    std::fs::create_dir(at("used")).expect("a folder");
    std::fs::write(at("used/door.yml"), rule(ID, "a")).expect("a file");
    std::fs::write(at("door.yml"), rule(ID, "ab")).expect("a file");
    std::fs::write(at("watchpost.toml"), format!("[rules]\npaths = [\"{}\"]\n", at("used")))
        .expect("a file");
    let server =
        Server::start_with(&folder.path().join("data"), &["--config", &at("watchpost.toml")], &[]);
    let body: String = (0..100)
        .map(|number| {
            let who = ["abel", "anna", "zoe", "abba"][number % 4];
            format!("{}\n", json!({"acme.who": who, "host": {"name": format!("h{}", number % 3)}, "@timestamp": "2026-11-20T08:00:00Z", "ecs": {"version": "9"}, "watchpost": {"logsource": {"product": "acme"}}}))
        })
        .collect();
    assert_eq!(server.post("/ingest/acme.door", body.as_bytes()).0, 200);
    assert_eq!(server.search_total("event.dataset:acme.door", 100), 100);
    server.catch_up(Duration::from_secs(30));
    let (config, data, door) = (at("watchpost.toml"), at("data"), at("door.yml"));
    let args = ["backtest", "--config", &config, "--data", &data, "--since", "all", &door];
    let output = watchpost(&args).output().expect("it runs");
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(
        text.contains("50 hits") && text.contains("the former version has 75: 0 new, 25 gone"),
        "{text}"
    );
    assert!(text.contains("h0 18, h1 16, h2 16"), "{text}");

    let output =
        watchpost(&[&args[..], &["--format", "jsonl", "--since", "2026-11-21T00:00:00Z"]].concat())
            .output()
            .expect("it runs");
    assert!(!output.status.success(), "two times --since: {}", stdout(&output));
    let args = [
        "backtest",
        "--config",
        &config,
        "--data",
        &data,
        "--since",
        "2026-11-21T00:00:00Z",
        "--format",
        "jsonl",
        &door,
    ];
    let found: Value =
        serde_json::from_str(&stdout(&watchpost(&args).output().expect("it runs"))).expect("JSON");
    assert_eq!((&found["hits"], &found["id"]), (&json!(0), &json!(ID)));

    let args = ["backtest", "--data", &data, &at("none.yml")];
    let output = watchpost(&args).output().expect("it runs");
    assert!(
        !output.status.success() && stderr(&output).contains("none.yml"),
        "{}",
        stderr(&output)
    );
    server.kill();
}
