//! `watchpost search --output` from outside: everything, in each format, whole or not at all.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use common::{Server, client_script, python, stderr, stdout, watchpost};
use serde_json::{Value, json};

/// More than one answer of a search may have.
const EVENTS: usize = 12_345;

fn export(server: &Server, query: &str, format: &str, output: &Path, more: &[&str]) -> Output {
    let args = ["search", query, "--format", format, "--since", "all", "--output"];
    watchpost(&args).arg(output).args(more).env("WATCHPOST_TOKEN", &server.token).output().unwrap()
}

#[test]
fn everything_is_exported_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Server::start(&data);
    let lines: String = (0..EVENTS)
        .map(|n| {
            let time = event::Timestamp::from_millis(1_785_900_000_000 + n as i64 / 7);
            let event = json!({
                "@timestamp": time.to_string(), "ecs": {"version": "9"},
                "process": {"pid": n}, "user": {"name": format!("u{}", n % 5)},
                "message": "=1+1, \"quoted\"",
            });
            format!("{event}\n")
        })
        .collect();
    assert_eq!(server.post("/ingest/test.ecs", lines.as_bytes()).0, 200);
    assert_eq!(server.search_total("*", EVENTS as u64), EVENTS as u64);
    let pids = |text: &str| -> BTreeSet<u64> {
        let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        events.map(|event| event["process"]["pid"].as_u64().unwrap()).collect()
    };

    let at = folder.path().join("all.ndjson");
    for place in [["--server", server.url.as_str()], ["--data", data.to_str().unwrap()]] {
        let output = export(&server, "*", "ndjson", &at, &place);
        assert!(output.status.success(), "{}", stderr(&output));
        let text = std::fs::read_to_string(&at).unwrap();
        assert_eq!((text.lines().count(), pids(&text).len()), (EVENTS, EVENTS));
        std::fs::remove_file(&at).unwrap();
    }

    let at = folder.path().join("some.csv");
    let query = "process.pid < 20 | fields @timestamp, process.pid, message";
    let output = export(&server, query, "csv", &at, &["--server", &server.url]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = std::fs::read_to_string(&at).unwrap();
    assert_eq!(text.lines().next(), Some("@timestamp,process.pid,message"));
    assert_eq!(text.matches(r#","'=1+1, ""quoted""""#).count(), 20, "{text}");

    // What is refused leaves what is there as it was.
    let many = format!("* | fields {}", vec!["a"; 201].join(", "));
    for (query, reason) in [("(", "ends too early"), (many.as_str(), "at most 200 fields")] {
        let output = export(&server, query, "csv", &at, &["--server", &server.url]);
        assert!(!output.status.success() && stderr(&output).contains(reason), "{output:?}");
        assert_eq!(std::fs::read_to_string(&at).unwrap(), text);
    }
    let output = watchpost(&["search", "*", "--format", "csv"]).output().unwrap();
    assert!(stderr(&output).contains("--output"), "{}", stderr(&output));
    let output = export(&server, "*", "table", &at, &[]);
    assert!(!output.status.success() && stderr(&output).contains("a table is for people"));
    let names: BTreeSet<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(names, BTreeSet::from(["data".to_owned(), "some.csv".to_owned()]), "nothing else");

    let Some(python) = python("pyarrow.parquet") else { return };
    let at = folder.path().join("all.parquet");
    let query = "* | fields @timestamp, process.pid, user.name";
    let output = export(&server, query, "parquet", &at, &["--server", &server.url]);
    assert!(output.status.success(), "{}", stderr(&output));
    let output =
        Command::new(&python).arg(client_script("parquet_rows.py")).arg(&at).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let schema = json!({
        "@timestamp": "timestamp[ns, tz=UTC]", "process.pid": "int64", "user.name": "string",
    });
    assert_eq!(lines.next(), Some(schema));
    let rows: Vec<Value> = lines.collect();
    let pids: BTreeSet<u64> = rows.iter().filter_map(|row| row["process.pid"].as_u64()).collect();
    assert_eq!((rows.len(), pids.len()), (EVENTS, EVENTS));
    let newest = &rows[0];
    assert!(newest["@timestamp"].as_str().unwrap().starts_with("2026-08-05 03:20:01.763"));
    let table = folder.path().join("table.parquet");
    let query = "* | stats count by user.name | sort user.name";
    let output = export(&server, query, "parquet", &table, &["--server", &server.url]);
    assert!(output.status.success(), "{}", stderr(&output));
    let output =
        Command::new(&python).arg(client_script("parquet_rows.py")).arg(&table).output().unwrap();
    assert_eq!(stdout(&output).lines().nth(1), Some(r#"{"user.name": "u0", "count": 2469}"#));
}
