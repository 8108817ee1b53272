//! The Linux audit log from outside: an event's lines, sent one by one, are one event in the index,
//! whatever is killed between them, and rules see it whole.

mod common;

use std::time::Duration;

use common::{Server, stdout, watchpost};
use serde_json::json;

/// The lines of an event: what was called, with which arguments, where, on what.
fn event(serial: u32, command: &str) -> Vec<String> {
    let line =
        |kind: &str, text: &str| format!("type={kind} msg=audit(1795514400.123:{serial}): {text}");
    vec![
        line(
            "SYSCALL",
            &format!(
                "arch=c000003e syscall=59 success=yes ppid=1 pid={serial} auid=1000 uid=0 comm=\"sh\" exe=\"/bin/dash\" key=\"exec\""
            ),
        ),
        line("EXECVE", &format!("argc=3 a0=\"sh\" a1=\"-c\" a2=\"{command}\"")),
        line("CWD", "cwd=\"/root\""),
        line("PATH", "item=0 name=\"/bin/sh\" nametype=NORMAL"),
        line("PROCTITLE", "proctitle=7368002D63"),
    ]
}

#[test]
fn the_lines_of_an_event_are_one_event_in_spite_of_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Server::start(&data);
    let lines = event(7, "id");
    let (first, rest) = lines.split_at(2);
    assert_eq!(server.post("/ingest/auditd", first.join("\n").as_bytes()).0, 200);
    // Until the stage has them, and has committed that it has.
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while server.json("/api/v1/ledger")["sources"][0]["joined"] != json!(2) {
        assert!(std::time::Instant::now() < deadline, "{}", server.json("/api/v1/ledger"));
        std::thread::sleep(Duration::from_millis(20));
    }
    server.kill();
    let server = Server::start(&data);
    assert_eq!(server.post("/ingest/auditd", rest.join("\n").as_bytes()).0, 200);
    assert_eq!(server.search_total("event.dataset:linux.auditd", 1), 1);
    // One whose end does not come is whole after a while, and so is one that waits when it is stopped.
    assert_eq!(server.post("/ingest/auditd", event(8, "w")[..3].join("\n").as_bytes()).0, 200);
    assert_eq!(server.search_total("event.dataset:linux.auditd", 2), 2);
    server.catch_up(Duration::from_secs(30));
    let ledger = server.json("/api/v1/ledger");
    assert_eq!(ledger["imbalance"], json!(0), "{ledger}");
    let mut documents = server.documents("events");
    documents.retain(|document| document["event"]["dataset"] == "linux.auditd");
    documents.sort_by_key(|document| document["process"]["pid"].as_u64());
    let commands: Vec<_> =
        documents.iter().map(|document| document["process"]["command_line"].clone()).collect();
    assert_eq!(commands, ["sh -c id", "sh -c w"]);
    let whole = &documents[0];
    assert_eq!(whole["process"]["working_directory"], "/root");
    assert_eq!(whole["event"]["original"], json!(lines.join("\n")));
    server.kill();
}

#[test]
fn rules_for_processes_see_what_the_audit_log_tells() {
    let folder = tempfile::tempdir().unwrap();
    let rule = folder.path().join("rule.yml");
    // Parent and arguments are in different records of the event.
    let text = "title: Shell that asks who it is\nid: 6f1f0f0e-2f39-4a6e-8a53-5b9a0a2c7a11\nlogsource:\n  product: linux\n  category: process_creation\ndetection:\n  selection:\n    Image|endswith: /dash\n    CommandLine|contains: whoami\n    CurrentDirectory: /root\n  condition: selection\nlevel: low\n";
    std::fs::write(&rule, text).unwrap();
    let log = folder.path().join("audit.log");
    let lines = [event(1, "id"), event(2, "whoami")].concat();
    std::fs::write(&log, lines.join("\n") + "\n").unwrap();
    let args =
        ["scan", "--format", "jsonl", "--rules", rule.to_str().unwrap(), log.to_str().unwrap()];
    let found = stdout(&watchpost(&args).output().unwrap());
    assert_eq!(found.lines().count(), 1, "{found}");
    assert!(found.contains("whoami") && found.contains("\"record\":6"), "{found}");
}
