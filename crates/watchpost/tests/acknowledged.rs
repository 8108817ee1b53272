//! What is acknowledged is there after `kill -9`, once.

mod common;

use common::Server;

/// A `POST` is answered, the process is killed at once, and after a restart the event is found,
/// exactly once. Ten rounds here; a hundred in CI.
#[test]
fn a_post_survives_kill_9_sent_right_after_the_answer() {
    let rounds = if std::env::var_os("WATCHPOST_TEST_NEEDS_ALL").is_some() { 100 } else { 10 };
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path());
    for round in 0..rounds {
        let event = format!(
            r#"{{"@timestamp":"2026-08-05T12:00:00Z","ecs":{{"version":"9.0"}},"event":{{"kind":"event"}},"labels":{{"round":"r{round}"}}}}"#
        );
        let (status, answer) = server.post("/ingest/test.kill", event.as_bytes());
        assert_eq!(status, 200, "{answer}");
        server.kill();
        server = Server::start(folder.path());
        assert_eq!(server.search_total(&format!("labels.round:r{round}"), 1), 1, "round {round}");
    }
    assert_eq!(server.search_total("event.dataset:test.kill", rounds), rounds);
}
