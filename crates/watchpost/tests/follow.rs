//! `watchpost search --follow` from outside: what comes is shown once, also across a `kill -9` of the
//! server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use common::{Server, free_port, watchpost};
use serde_json::{Value, json};

/// A follower, ended when dropped.
struct Follower {
    child: Child,
    lines: Receiver<String>,
}

impl Follower {
    fn start(server: &Server, query: &str) -> Follower {
        let args = ["search", "--follow", "--format", "ndjson", "--server", &server.url, query];
        let mut child = watchpost(&args)
            .env("WATCHPOST_TOKEN", &server.token)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            out.lines()
                .map_while(Result::ok)
                .for_each(|line| sender.send(line).unwrap_or_default());
        });
        Follower { child, lines }
    }

    fn next(&self) -> u64 {
        let line = self.lines.recv_timeout(Duration::from_secs(60)).expect("an event comes");
        let event: Value = serde_json::from_str(&line).unwrap();
        event["process"]["pid"].as_u64().unwrap()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn post(server: &Server, pids: std::ops::Range<u64>) {
    for pid in pids {
        for user in ["anna", "bert"] {
            let event = json!({
                "@timestamp": event::Timestamp::now().to_string(), "ecs": {"version": "9"},
                "process": {"pid": pid}, "user": {"name": user},
            });
            assert_eq!(server.post("/ingest/test.ecs", event.to_string().as_bytes()).0, 200);
        }
    }
}

#[test]
fn what_comes_is_shown_once_also_across_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let listen = format!("127.0.0.1:{}", free_port());
    let environment = [("WATCHPOST_SERVER_LISTEN", listen.as_str())];
    let server = Server::start_with(folder.path(), &[], &environment);
    let follower = Follower::start(&server, "user.name:anna");
    // The first events may pass before it follows; from the first that it shows on, all are.
    let first = (0..).find_map(|pid| {
        post(&server, pid..pid + 1);
        let line = follower.lines.recv_timeout(Duration::from_millis(500)).ok()?;
        let event: Value = serde_json::from_str(&line).unwrap();
        event["process"]["pid"].as_u64()
    });
    let next = first.unwrap() + 1;
    post(&server, next..next + 5);
    let shown: Vec<u64> = (0..5).map(|_| follower.next()).collect();
    assert_eq!(shown, (next..next + 5).collect::<Vec<_>>());
    server.kill();
    let server = Server::start_with(folder.path(), &[], &environment);
    post(&server, next + 5..next + 10);
    let shown: Vec<u64> = (0..5).map(|_| follower.next()).collect();
    assert_eq!(shown, (next + 5..next + 10).collect::<Vec<_>>());
}
