//! What an operator removes, keeps and gets back: retention by dataset, purges that are cut off,
//! legal holds, and damaged files, with the real process.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use common::{Server, log_file, run, stderr, stdout};

const WITHIN: Duration = Duration::from_secs(60);

/// 180 events over the last three days, of three users, in two datasets.
fn fill(server: &Server) {
    for dataset in ["shop.access", "shop.debug"] {
        let body: String = (0..90).map(line).collect();
        let (status, answer) = server.post(&format!("/ingest/{dataset}"), body.as_bytes());
        assert_eq!(status, 200, "{answer}");
    }
    assert_eq!(server.search_total("*", 180), 180);
    server.catch_up(WITHIN);
}

fn line(n: i64) -> String {
    let now = event::Timestamp::now().as_millis();
    let time = event::Timestamp::from_millis(now - (1 + n % 3) * 86_400_000 + n);
    let user = ["alice", "bob", "carol"][n as usize / 3 % 3];
    let event = serde_json::json!({
        "@timestamp": time.to_string(),
        "ecs": {"version": "9.0"},
        "event": {"kind": "event"},
        "user": {"name": user},
        "message": format!("{user} did thing {n}"),
    });
    format!("{event}\n")
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn purge(data: &Path, more: &[&str]) -> Output {
    run(&[&["purge", "user.name:alice", "--data", text(data)], more].concat())
}

const YES: [&str; 5] = ["--yes", "--who", "dpo", "--reason", "ticket 7"];

fn hold(data: &Path, args: &[&str]) -> Output {
    run(&[&["hold", "--data", text(data)], args].concat())
}

fn audit(data: &Path) -> String {
    std::fs::read_to_string(data.join("audit.jsonl")).unwrap_or_default()
}

#[test]
fn a_purge_is_refused_by_a_hold_then_done_by_the_running_server_and_stays_done() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    fill(&server);
    let preview = purge(data.path(), &[]);
    assert!(stdout(&preview).starts_with("60 events and 0 alerts match"), "{}", stderr(&preview));
    assert_eq!(server.search_total("user.name:alice", 60), 60);
    assert_eq!(purge(data.path(), &["--yes"]).status.code(), Some(2), "a reason is needed");

    let reason = ["--who", "counsel", "--reason", "case 12"];
    let held =
        hold(data.path(), &[&["add", "case-12", "message:\"thing 0\""][..], &reason].concat());
    assert!(held.status.success(), "{}", stderr(&held));
    let refused = purge(data.path(), &YES);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("case-12 (2 of them)"), "{}", stderr(&refused));
    assert!(stdout(&hold(data.path(), &["list"])).contains("case 12"));
    assert_eq!(server.search_total("user.name:alice", 60), 60);
    assert!(hold(data.path(), &[&["remove", "case-12"][..], &reason].concat()).status.success());

    let done = purge(data.path(), &YES);
    assert!(done.status.success(), "{}", stderr(&done));
    assert!(
        stdout(&done).contains("purged 60 events and 0 alerts; searched again, 60 ids"),
        "{}",
        stdout(&done)
    );
    assert!(stderr(&done).contains("bus.raw_days"), "the truth about the bus is told");
    assert_eq!(server.search_total("user.name:alice", 0), 0);
    assert_eq!(server.search_total("*", 120), 120);
    assert!(server.metric("watchpost_index_purged_total") >= 60.0);
    let audit = audit(data.path());
    assert!(audit.contains("\"action\":\"purge\"") && audit.contains("ticket 7"), "{audit}");

    // Read again from the beginning, and mapped anew: it stays gone.
    server.catch_up(WITHIN);
    server.kill();
    std::fs::remove_file(data.path().join("index/checkpoint.json")).unwrap();
    let server = Server::start(data.path());
    server.catch_up(WITHIN);
    assert_eq!(server.search_total("*", 120), 120);
    assert_eq!(server.search_total("user.name:alice", 0), 0);
    server.kill();
    let renormalized = run(&["renormalize", "--data", text(data.path())]);
    assert!(renormalized.status.success(), "{}", stderr(&renormalized));
    // Without a server the command does it.
    let again = purge(data.path(), &YES);
    assert!(stdout(&again).contains("purged 0 events"), "{}{}", stdout(&again), stderr(&again));
}

/// Killed at each step, the index is whole and the next start ends what was begun.
#[test]
fn a_purge_that_is_killed_is_ended_by_the_next_start() {
    let instants = [
        "purge-before-merge=1*off->return",
        "purge-after-merge=1*off->return",
        "purge-before-record=return",
    ];
    for instant in instants {
        let data = tempfile::tempdir().unwrap();
        let server = Server::start(data.path());
        fill(&server);
        server.kill();
        let log = data.path().join("log");
        let environment = [("FAILPOINTS", instant)];
        let killed = Server::spawn(data.path(), &[], &environment, log_file(&log));
        let mut killed = Server::of(killed);
        let asked = purge(data.path(), &[&YES[..], &["--timeout", "3s"]].concat());
        assert!(!asked.status.success(), "{instant}: {}", stdout(&asked));
        killed.child.wait().unwrap();
        let text = std::fs::read_to_string(&log).unwrap();
        assert!(!text.contains("panicked"), "{instant}: {text}");

        let server = Server::start(data.path());
        let until = Instant::now() + WITHIN;
        while !audit(data.path()).contains("\"outcome\":\"success\"") {
            assert!(Instant::now() < until, "{instant}: the purge was not ended");
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(server.search_total("user.name:alice", 0), 0, "{instant}");
        assert_eq!(server.search_total("*", 120), 120, "{instant}");
        assert_eq!(server.json("/api/v1/status")["problems"], serde_json::json!([]), "{instant}");
        server.kill();
        let checked = run(&["index", "check", "--data", data.path().to_str().unwrap()]);
        assert!(checked.status.success(), "{instant}: {}", stdout(&checked));
    }
}

/// Flips a byte in the middle of the columns of a partition of events.
fn flip(data: &Path) -> String {
    let partitions = std::fs::read_dir(data.join("index")).unwrap();
    let partition = partitions
        .map(|entry| entry.unwrap().path())
        .find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("events-"))
        .unwrap();
    let file: PathBuf = std::fs::read_dir(&partition)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "fast"))
        .unwrap();
    let middle = std::fs::metadata(&file).unwrap().len() / 2;
    let file = std::fs::File::options().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, middle).unwrap();
    file.write_all_at(&[byte[0] ^ 0x40], middle).unwrap();
    partition.file_name().unwrap().to_str().unwrap().to_owned()
}

fn until_rebuilt(server: &Server) {
    let until = Instant::now() + WITHIN;
    let is_moved = || server.get("/metrics").1.contains("watchpost_index_set_aside_total 1");
    while !is_moved() || server.json("/api/v1/status")["problems"] != serde_json::json!([]) {
        assert!(Instant::now() < until, "{}", server.json("/api/v1/status"));
        std::thread::sleep(Duration::from_millis(50));
    }
    let answer = server.json("/api/v1/search?since=all&q=");
    assert_eq!((answer["total"].as_u64(), &answer["partial"]), (Some(180), &serde_json::json!([])));
}

#[test]
fn damaged_files_are_found_set_aside_and_made_again() {
    let data = tempfile::tempdir().unwrap();
    let check = || run(&["index", "check", "--data", data.path().to_str().unwrap()]);
    let server = Server::start(data.path());
    fill(&server);
    assert!(check().status.success());
    server.kill();

    // While it is stopped: the check in the background finds it.
    let partition = flip(data.path());
    let damaged = check();
    assert_eq!(damaged.status.code(), Some(1));
    assert!(stdout(&damaged).contains(&format!("{partition}: damaged")), "{}", stdout(&damaged));
    let server = Server::start(data.path());
    until_rebuilt(&server);
    server.kill();
    let set_aside = std::fs::read_dir(data.path().join("index/set-aside")).unwrap();
    assert_eq!(set_aside.count(), 0, "all of it is back, so nothing of it stays there");

    // What opening finds: the others answer, and say that they are not all.
    let meta = data.path().join("index").join(&partition).join("meta.json");
    std::fs::write(meta, "{").unwrap();
    // Nothing is put into the day before what the bus has of it.
    let renormalized = run(&["renormalize", "--data", text(data.path())]);
    assert!(stderr(&renormalized).contains("made again from the bus first"));
    let server = Server::start(data.path());
    until_rebuilt_unknown(&server, data.path());
    // Nobody knows how many there were, so it is told until somebody has looked.
    let answer = server.json("/api/v1/search?since=all&q=");
    assert!(answer["partial"][0].as_str().unwrap().contains("the log still had 60"), "{answer}");
    assert_eq!(server.get("/readyz").0, 503);
}

fn until_rebuilt_unknown(server: &Server, data: &Path) {
    assert!(data.join("index/set-aside").is_dir());
    let until = Instant::now() + WITHIN;
    while !server.get("/readyz").1.contains("the log still had") {
        assert!(Instant::now() < until, "{}", server.get("/readyz").1);
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(server.search_total("*", 180), 180);
}

#[test]
fn a_dataset_is_bounded_by_its_own_entry() {
    let data = tempfile::tempdir().unwrap();
    let settings = data.path().join("watchpost.toml");
    let server = Server::start(data.path());
    fill(&server);
    server.kill();
    std::fs::write(&settings, "[[retention]]\ndataset = \"shop.debug\"\nbytes_max = 1\n").unwrap();
    let server = Server::start_with(data.path(), &["--config", text(&settings)], &[]);
    let until = Instant::now() + WITHIN;
    while server.search_total("event.dataset:shop.debug", 0) > 0 {
        assert!(Instant::now() < until, "nothing was removed");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(server.search_total("event.dataset:shop.access", 90), 90);
    let removed = "watchpost_index_retention_removed_total{bound=\"size\",dataset=\"shop.debug\"}";
    assert_eq!(server.metric(removed), 90.0);
    assert!(server.metric("watchpost_index_retained_bytes{dataset=\"shop.debug\"}") > 0.0);
}

#[test]
fn a_backup_of_before_a_purge_does_not_bring_it_back() {
    let data = tempfile::tempdir().unwrap();
    let place = tempfile::tempdir().unwrap();
    let backup = |command: &str, more: &[&str]| {
        let args = ["backup", command, text(place.path()), "--data", text(data.path())];
        let done = run(&[&args[..], more].concat());
        assert!(done.status.success(), "{}", stderr(&done));
    };
    let server = Server::start(data.path());
    fill(&server);
    backup("create", &[]);
    let done = purge(data.path(), &YES);
    assert!(done.status.success(), "{}", stderr(&done));
    let by = ["--who", "counsel", "--reason", "case 12"];
    assert!(
        hold(data.path(), &[&["add", "case-12", "user.name:bob"], &by[..]].concat())
            .status
            .success()
    );
    server.kill();
    backup("restore", &["--replace-index"]);
    let restored =
        run(&["search", "--data", text(data.path()), "--since", "all", "user.name:alice"]);
    assert!(stdout(&restored).contains("alice"), "the backup has what was purged later");

    let server = Server::start(data.path());
    let until = Instant::now() + WITHIN;
    while server.search_total("user.name:alice", 0) > 0 {
        assert!(Instant::now() < until, "what was purged came back");
        std::thread::sleep(Duration::from_millis(50));
    }
    server.catch_up(WITHIN);
    assert_eq!(
        (server.search_total("user.name:alice", 0), server.search_total("*", 120)),
        (0, 120)
    );
    assert!(stdout(&hold(data.path(), &["list"])).contains("case-12"), "a hold stays");
}
