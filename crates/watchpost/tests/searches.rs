//! Saved searches from outside: on the command line, by API, and scheduled ones across a `kill -9`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::{Duration, Instant};

use common::{Server, run, stderr, stdout, watchpost};
use event::Timestamp;
use serde_json::{Value, json};

const SCHEDULED: &str = "title: Odd logons
query: event.action:odd-logon
schedule: {every: 10s}
alert:
  title: Somebody logs on oddly
  level: high
  when: count >= 1
  group: [user.name]
";

fn post(server: &Server, user: &str) {
    // Its own time is not what windows go by.
    let yesterday = Timestamp::now().plus_nanos(-24 * 3600 * 1_000_000_000);
    let event = json!({
        "@timestamp": yesterday.to_string(), "ecs": {"version": "9"},
        "event": {"action": "odd-logon"}, "user": {"name": user}, "host": {"name": "ws-1"},
    });
    assert_eq!(server.post("/ingest/test.ecs", event.to_string().as_bytes()).0, 200);
}

/// How many events the alerts of the search rest on, and how many alerts there are.
fn alerted(server: &Server) -> (u64, usize) {
    let answer = server.json("/api/v1/search?since=all&kind=alerts&limit=1000&q=rule.id:odd");
    let alerts = answer["hits"].as_array().unwrap();
    let count = |alert: &Value| alert["watchpost"]["alert"]["event_count"].as_u64().unwrap();
    (alerts.iter().map(count).sum(), alerts.len())
}

fn until(server: &Server, wanted: u64) -> (u64, usize) {
    let end = Instant::now() + Duration::from_secs(90);
    loop {
        let found = alerted(server);
        if found.0 >= wanted {
            return found;
        }
        let state = server.json("/api/v1/searches");
        assert!(Instant::now() < end, "{found:?} of {wanted}: {state:#}");
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[test]
fn a_scheduled_search_sees_each_event_once_also_across_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::create_dir(at("searches")).unwrap();
    std::fs::write(at("searches/odd.yml"), SCHEDULED).unwrap();
    let config = format!("[searches]\npaths = [\"{}\"]\n", at("searches"));
    std::fs::write(at("watchpost.toml"), config).unwrap();
    let data = folder.path().join("data");
    let start = || Server::start_with(&data, &["--config", &at("watchpost.toml")], &[]);
    let server = start();
    let mut posted = 0;
    // Over two ends of windows.
    for n in 0..24 {
        post(&server, ["anna", "bert"][n % 2]);
        posted += 1;
        std::thread::sleep(Duration::from_millis(500));
    }
    let (_, alerts) = until(&server, posted / 2);
    assert!(alerts >= 2, "one for each user at least");
    server.kill();
    let server = start();
    for n in 0..24 {
        post(&server, ["anna", "bert"][n % 2]);
        posted += 1;
        std::thread::sleep(Duration::from_millis(500));
    }
    let (events, alerts) = until(&server, posted);
    assert_eq!(events, posted, "each event once, in {alerts} alerts");
    let answer = server.json("/api/v1/search?since=all&kind=alerts&limit=1&q=rule.id:odd");
    let alert = &answer["hits"][0];
    assert_eq!(alert["rule"]["name"], "Somebody logs on oddly");
    assert_eq!(alert["watchpost"]["alert"]["level"], "high");
    assert_eq!(alert["host"]["name"], "ws-1", "taken over from its newest event");
    let state = server.json("/api/v1/searches");
    let all = state["searches"].as_array().unwrap();
    let odd = all.iter().find(|search| search["id"] == "odd").unwrap();
    assert_eq!(odd["schedule"]["every_s"], 10);
    assert_eq!(odd["schedule"]["last_run"]["partial"], json!([]));
    assert!(server.metric("watchpost_searches_runs_total{result=\"whole\"}") >= 1.0);
    let asked = server.json("/api/v1/searches/odd/run?since=all&limit=0");
    assert_eq!(asked["total"], posted);
    server.kill();

    let data = data.to_str().unwrap();
    let args = ["searches", "run", "odd", "--config", &at("watchpost.toml"), "--data", data];
    let output = run(&[&args[..], &["--since", "all", "--format", "ndjson"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stdout(&output).lines().count() as u64, posted);
}

#[test]
fn saved_searches_are_listed_and_checked() {
    let output = run(&["searches", "check"]);
    assert!(output.status.success(), "the built-in ones are right: {}", stderr(&output));
    let output = run(&["searches", "list"]);
    assert!(stdout(&output).contains("logons-that-failed-by-source"), "{}", stdout(&output));
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("x.yml");
    std::fs::write(&at, SCHEDULED.replace("every: 10s", "evry: 10s")).unwrap();
    let output = watchpost(&["searches", "check"]).arg(&at).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = stderr(&output);
    assert!(told.contains("x.yml:3:12") && told.contains("did you mean `every`?"), "{told}");
    let output = run(&["searches", "run", "logons-that-failed-by-sorce"]);
    assert!(stderr(&output).contains("did you mean"), "{}", stderr(&output));
}
