//! Dead letters from outside: a record that no stage can process is found, shown and put back.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use common::{Server, stderr, stdout, watchpost};
use serde_json::Value;

/// One document with more records in it than normalisation takes.
fn too_many() -> Vec<u8> {
    let mut body = br#"{"Records":[{}"#.to_vec();
    for _ in 0..100_000 {
        body.extend_from_slice(b",{}");
    }
    body.extend_from_slice(b"]}");
    body
}

/// How `watchpost rejected` gets at the records.
enum On<'a> {
    Server(&'a Server),
    Data(&'a str),
}

impl On<'_> {
    fn run(&self, args: &[&str]) -> Output {
        let (name, place) = match self {
            On::Server(server) => ("--server", server.url.as_str()),
            On::Data(folder) => ("--data", *folder),
        };
        let (command, rest) = args.split_first().unwrap();
        let mut watchpost = watchpost(&["rejected", command, name, place]);
        if let On::Server(server) = self {
            watchpost.env("WATCHPOST_TOKEN", &server.token);
        }
        watchpost.args(rest).stdin(Stdio::null()).output().unwrap()
    }

    fn list(&self) -> Vec<Value> {
        let output = self.run(&["list", "--format", "jsonl"]);
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Lists until there are so many.
    fn wait_for(&self, count: usize) -> Vec<Value> {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let listed = self.list();
            if listed.len() >= count {
                return listed;
            }
            assert!(Instant::now() < until, "only {} are rejected", listed.len());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn a_rejected_record_is_found_shown_and_put_back_once() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let server = Server::start(folder.path());
    let body = too_many();
    // On a line behind another, it is not taken apart when it comes in.
    let lines = [b"{\"message\":\"fine\"}\n".as_slice(), &body].concat();
    let (status, answer) = server.post("/ingest/aws.cloudtrail", &lines);
    assert_eq!(status, 200, "{answer}");
    let online = On::Server(&server);
    let first = online.wait_for(1).remove(0);
    assert_eq!((&first["place"], &first["stage"]), (&"0/0".into(), &"normalize".into()));
    assert_eq!((&first["topic"], &first["replays"]), (&"raw".into(), &0.into()));
    let listed = online.run(&["list", "--stage", "normalize", "--topic", "raw", "--since", "1h"]);
    assert_eq!(stdout(&listed).lines().count(), 2, "{}", stdout(&listed));
    let told = stderr(&listed);
    assert!(told.contains("more than 100000 records in one document"), "{told}");
    assert!(told.contains("1 rejected, none of them put back"), "{told}");
    let cut = online.run(&["list", "--limit", "0"]);
    assert!(stderr(&cut).contains("--limit shows more"), "{}", stderr(&cut));

    let shown = online.run(&["show", "0/0"]);
    for wanted in ["  rejected.stage: normalize", "  dataset: aws.cloudtrail", "[{},{},"] {
        assert!(stdout(&shown).contains(wanted), "{wanted} is shown");
    }
    let value = online.run(&["show", "0/0", "--raw"]).stdout;
    assert!(value == body, "the value comes byte for byte");
    let nothing = online.run(&["show", "0/99"]);
    assert_eq!(nothing.status.code(), Some(1));
    assert!(stderr(&nothing).contains("no rejected record at 0/99"), "{}", stderr(&nothing));

    let dry = online.run(&["replay", "--all", "--dry-run"]);
    assert!(stdout(&dry).starts_with("0/0  would go back into raw"), "{}", stdout(&dry));
    // Nothing was mended, so it is rejected again, and says that it was a replay.
    let replayed = online.run(&["replay", "0/0"]);
    assert_eq!(replayed.status.code(), Some(0), "{}", stderr(&replayed));
    assert!(stdout(&replayed).starts_with("0/0  put back into raw"), "{}", stdout(&replayed));
    let listed = online.wait_for(2);
    assert_eq!((&listed[0]["replays"], &listed[1]["replays"]), (&1.into(), &0.into()));
    assert_eq!((&listed[0]["replay_of"], &listed[1]["replay_of"]), (&Value::Null, &"0/0".into()));
    let shown = online.run(&["show", "0/1"]);
    assert!(stdout(&shown).contains("  replayed.from: 0/0\n"), "the header is shown");

    let again = online.run(&["replay", "0/0"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(stdout(&again).contains("--again"), "{}", stdout(&again));
    assert_eq!(online.list().len(), 2);
    let in_use = On::Data(data).run(&["list"]);
    assert_eq!(in_use.status.code(), Some(1));
    assert!(stderr(&in_use).contains("--server URL"), "{}", stderr(&in_use));
    let metrics = server.get("/metrics").1;
    let counted = r#"watchpost_bus_replayed_records_total{topic="raw"} 1"#;
    assert!(metrics.contains(counted), "{metrics}");

    // The same without a server, on what the killed one left.
    server.kill();
    let offline = On::Data(data);
    assert_eq!(offline.list(), listed);
    assert!(offline.run(&["show", "0/0", "--raw"]).stdout == body);
    let replayed = offline.run(&["replay", "--all", "--reason", "More than"]);
    assert_eq!(replayed.status.code(), Some(0), "{}", stderr(&replayed));
    let put_back = stdout(&replayed);
    assert!(put_back.starts_with("0/1  put back into raw") && put_back.lines().count() == 1);
    assert!(stderr(&replayed).starts_with("1 put back, 1 left alone"), "{}", stderr(&replayed));
    let again = offline.run(&["replay", "0/1"]);
    assert_eq!(again.status.code(), Some(1));
    let replayed = offline.run(&["replay", "0/0", "--again"]);
    assert_eq!(replayed.status.code(), Some(0), "{}", stderr(&replayed));

    let server = Server::start(folder.path());
    let listed = On::Server(&server).wait_for(4);
    let of: Vec<&Value> = listed.iter().map(|record| &record["replay_of"]).collect();
    assert_eq!(of, [&Value::Null, &"0/0".into(), &"0/1".into(), &"0/0".into()]);
    assert_eq!((&listed[0]["replays"], &listed[1]["replays"]), (&2.into(), &1.into()));
}

#[test]
fn wrong_calls_are_told_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let data = On::Data(folder.path().to_str().unwrap());
    let output = data.run(&["list"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("--data"), "{}", stderr(&output));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made");
    for (args, wanted) in [
        (["replay", "--dry-run"].as_slice(), "--all"),
        (&["replay", "0/1", "--all"], "--all"),
        (&["replay", "0/1", "--stage", "normalize"], "--stage"),
        (&["replay", "1"], "0/17"),
        (&["show", "x/y"], "0/17"),
        (&["list", "--limit", "10001"], "10000"),
        (&["list", "--topic", "logs"], "raw, events"),
        (&["list", "--since", "yesterday"], "24h"),
    ] {
        let output = data.run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).contains(wanted), "{args:?}: {}", stderr(&output));
    }
    let output = watchpost(&["rejected", "list", "--server", "127.0.0.1:1"]).output().unwrap();
    assert!(stderr(&output).contains("WATCHPOST_TOKEN"), "{}", stderr(&output));
}
