//! Privacy from outside: what rules hide is in nothing that is stored.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;

use common::{Server, stderr, watchpost};

const RULES: &str = r#"
[[privacy]]
datasets = ["hr.*"]
fields = ["salary", "person.mail"]
action = "hash"
[[privacy]]
patterns = ['card (\d+)']
"#;

fn start(folder: &Path) -> Server {
    let settings = folder.join("watchpost.toml");
    std::fs::write(&settings, RULES).unwrap();
    Server::start_with(&folder.join("data"), &["--config", settings.to_str().unwrap()], &[])
}

#[test]
fn what_is_hidden_is_stored_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    let body = concat!(
        r#"{"@timestamp":"2026-11-24T12:00:00Z","salary":87123,"person":{"mail":"ann.q@example.org"},"unit":"hr"}"#,
        "\n",
        r#"{"@timestamp":"2026-11-24T12:00:01Z","person":{"mail":"ann.q@example.org"},"note":"card 4000123412341234 used"}"#,
        "\n",
        r#"{"salary": 4711"#,
    );
    let (status, answer) = server.post("/ingest/hr.portal", body.as_bytes());
    assert_eq!(status, 200, "{answer}");
    assert_eq!(server.search_total("event.dataset:hr.portal", 3), 3);
    let documents = server.documents("events");
    let all = documents.iter().map(ToString::to_string).collect::<String>();
    for secret in ["87123", "ann.q@", "4000123412341234", "4711"] {
        assert!(!all.contains(secret), "{secret}: {all}");
    }
    assert!(all.contains("card [masked] used") && all.contains("[withheld"), "{all}");
    // The same value is the same hash, also after a restart.
    let mail = |all: &str| {
        let parts = all.split("\\\"mail\\\":\\\"hash:").skip(1);
        let hashes: Vec<&str> = parts.filter_map(|part| part.split('\\').next()).collect();
        assert!(hashes.len() >= 2 && hashes.windows(2).all(|pair| pair[0] == pair[1]), "{all}");
        hashes.len()
    };
    let before = mail(&all);
    server.kill();
    let server = start(folder.path());
    let (status, answer) = server.post("/ingest/hr.portal", body.as_bytes());
    assert_eq!(status, 200, "{answer}");
    assert_eq!(server.search_total("event.dataset:hr.portal", 6), 6);
    let documents = server.documents("events");
    let all = documents.iter().map(ToString::to_string).collect::<String>();
    assert_eq!(mail(&all), before * 2);
    assert!(server.metric("watchpost_privacy_hidden_total{action=\"withheld\"}") >= 1.0);
    // The key is its owner's alone.
    let key = std::fs::metadata(folder.path().join("data/privacy.key")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&key.permissions()) & 0o077, 0);
}

#[test]
fn a_rule_with_a_fault_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("watchpost.toml");
    std::fs::write(&settings, "[[privacy]]\npatterns = ['(']\n").unwrap();
    let data = folder.path().join("data");
    let args = ["run", "--config", settings.to_str().unwrap(), "--data", data.to_str().unwrap()];
    let output = watchpost(&args).output().unwrap();
    assert!(!output.status.success());
    let told = stderr(&output);
    assert!(told.contains("privacy rule 1, pattern `(`"), "{told}");
}
