//! Bad input has a clear message, and nothing valid beside it is lost.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::net::TcpListener;
use std::path::Path;

use common::{Server, run, stderr, stdout, watchpost};

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let output = watchpost(&["run", "--data", folder.path().to_str().unwrap()])
        .env("WATCHPOST_SERVER_LISTEN", &address)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = stderr(&output);
    assert!(message.contains(&address), "{message}");
    assert!(message.contains("in use"), "{message}");
}

#[test]
fn a_data_folder_that_cannot_be_written_is_named() {
    // A file where the folder should be is refused to everyone, root too.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let data = file.join("data");
    let output = run(&["run", "--data", data.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("file/data"), "{}", stderr(&output));
}

#[test]
fn a_data_folder_in_use_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let _server = Server::start(folder.path());
    let output = watchpost(&["run", "--data", folder.path().to_str().unwrap()])
        .env("WATCHPOST_SERVER_LISTEN", "127.0.0.1:0")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("another"), "{}", stderr(&output));
}

#[test]
fn listening_beyond_loopback_must_be_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let output = watchpost(&["run", "--data", folder.path().to_str().unwrap()])
        .env("WATCHPOST_SERVER_LISTEN", "0.0.0.0:0")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("insecure"), "{}", stderr(&output));
}

#[test]
fn a_wrong_call_exits_with_2() {
    assert_eq!(run(&["scan"]).status.code(), Some(2));
    assert_eq!(run(&["frobnicate"]).status.code(), Some(2));
    assert_eq!(run(&["demo", "--for", "soon"]).status.code(), Some(2));
}

const RULE: &str = "title: Curl run\nid: 7e6a1a3e-8d5b-4a5e-9e0e-000000000001\nstatus: test\n\
    logsource:\n    product: linux\n    category: process_creation\ndetection:\n    \
    selection:\n        Image|endswith: '/curl'\n    condition: selection\nlevel: low\n";

const EVENT: &str = r#"{"@timestamp":"2026-08-05T12:00:00Z","ecs":{"version":"9.0"},"process":{"executable":"/usr/bin/curl"},"watchpost":{"logsource":{"product":"linux","category":"process_creation"}}}"#;

/// Whoever mistypes a path is told, by its exit code too: no rules are no good news.
#[test]
fn rules_that_are_not_there_fail_every_command() {
    for command in ["check", "test", "witness", "coverage"] {
        let output = watchpost(&["rules", command, "/not/there"]).output().unwrap();
        // Findings are what `check` is asked for, so it writes them to standard output.
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(1), "{command}: {said}");
        assert!(said.contains("/not/there"), "{command}: {said}");
    }
}

fn scan(rules: &Path, events: &Path) -> (Option<i32>, String, String) {
    let output = run(&[
        "scan",
        "--rules",
        rules.to_str().unwrap(),
        "--format",
        "jsonl",
        events.to_str().unwrap(),
    ]);
    (output.status.code(), stdout(&output), stderr(&output))
}

#[test]
fn a_broken_rule_is_shown_and_the_others_work() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules");
    std::fs::create_dir(&rules).unwrap();
    std::fs::write(rules.join("good.yml"), RULE).unwrap();
    std::fs::write(rules.join("broken.yml"), RULE.replace("|endswith", "|endwith")).unwrap();
    std::fs::write(rules.join("worse.yml"), "title: [").unwrap();
    let events = folder.path().join("events.jsonl");
    std::fs::write(&events, EVENT).unwrap();
    let (code, out, err) = scan(&rules, &events);
    assert_eq!(code, Some(0));
    assert_eq!(out.lines().count(), 1, "{out}");
    assert!(err.contains("broken.yml:9:"), "{err}");
    assert!(err.contains("endswith"), "{err}");
    assert!(err.contains("worse.yml"), "{err}");

    let check = run(&["rules", "check", rules.to_str().unwrap()]);
    assert_eq!(check.status.code(), Some(1));
}

#[test]
fn bad_lines_are_counted_and_good_ones_beside_them_match() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rule.yml");
    std::fs::write(&rules, RULE).unwrap();
    let events = folder.path().join("events.jsonl");
    let mut bytes = Vec::new();
    let deep = format!("{}1{}", r#"{"a":"#.repeat(5_000), "}".repeat(5_000));
    let long = format!(r#"{{"message":"{}"}}"#, "x".repeat(10 * 1024 * 1024));
    for line in [
        EVENT.as_bytes(),
        b"\xff\xfe not text \xc3\x28",
        EVENT.as_bytes(),
        deep.as_bytes(),
        EVENT.as_bytes(),
        long.as_bytes(),
        EVENT.as_bytes(),
        br#"{"cut":"#,
    ] {
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
    }
    std::fs::write(&events, bytes).unwrap();
    let (code, out, err) = scan(&rules, &events);
    assert_eq!(code, Some(0), "{err}");
    let lines: Vec<serde_json::Value> =
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let records: Vec<_> = lines.iter().map(|line| line["record"].as_u64().unwrap()).collect();
    assert_eq!(records, [1, 3, 5, 7], "{out}");
}

#[test]
fn over_http_a_bad_line_leaves_the_good_ones() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let long = format!(r#"{{"labels":{{"t":"long"}},"message":"{}"}}"#, "x".repeat(10 << 20));
    let body = format!("{EVENT}\n{long}\n\u{1}nonsense {{\n{EVENT}\n");
    let (status, answer) = server.post("/ingest/test.bad", body.as_bytes());
    assert!(status == 200, "{status} {answer}");
    assert_eq!(server.search_total("process.executable:\"/usr/bin/curl\"", 2), 2);
    let (status, answer) = server.post("/ingest/no%2Fsuch..name", EVENT.as_bytes());
    assert_eq!(status, 400, "{answer}");
    let (status, _) = server.get_as("/api/v1/search?q=*", "Bearer wrong");
    assert_eq!(status, 401);
    let (status, _) = server.get_as("/healthz", "");
    assert_eq!(status, 200);
}

#[test]
fn a_truncated_evtx_is_reported_and_the_rest_is_read() {
    let Some(files) = common::shared_data("evtx/files") else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut sources: Vec<_> =
        std::fs::read_dir(files).unwrap().map(|entry| entry.unwrap().path()).collect();
    sources.sort();
    let whole = std::fs::read(&sources[0]).unwrap();
    std::fs::write(folder.path().join("whole.evtx"), &whole).unwrap();
    std::fs::write(folder.path().join("cut.evtx"), &whole[..whole.len() / 2 + 100]).unwrap();
    std::fs::write(folder.path().join("stub.evtx"), &whole[..100]).unwrap();
    std::fs::write(folder.path().join("events.jsonl"), EVENT).unwrap();
    let rule = folder.path().join("rule.yml");
    std::fs::write(&rule, RULE).unwrap();
    let (code, out, err) = scan(&rule, folder.path());
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(out.lines().count(), 1, "{out}");
    assert!(err.contains("stub.evtx"), "{err}");
}
