//! The demo, as a newcomer meets it: it finds what it stages, and hunts answer over its data.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;

use common::{run, stderr, stdout, watchpost};

/// Runs a demo that keeps its data, and returns its summary.
fn demo(data: &Path, options: &[&str]) -> String {
    let mut args =
        vec!["demo", "--listen", "127.0.0.1:0", "--for", "25s", "--data", data.to_str().unwrap()];
    args.extend(options);
    let output = watchpost(&args).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    stdout(&output)
}

fn hunt(data: &Path) -> String {
    let output = run(&["hunt", "run", "--data", data.to_str().unwrap(), "--since", "all"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    stdout(&output)
}

#[test]
fn every_staged_attack_is_found_and_the_hunt_is_supported() {
    let folder = tempfile::tempdir().unwrap();
    let out = demo(folder.path(), &[]);
    assert!(out.contains("every staged attack was found"), "{out}");
    assert!(hunt(folder.path()).contains("supported"), "{}", hunt(folder.path()));
    let output = run(&[
        "search",
        "--data",
        folder.path().to_str().unwrap(),
        "--since",
        "all",
        "event.dataset:* | stats count by event.module | head 20",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for module in ["windows", "aws"] {
        assert!(stdout(&output).contains(module), "{}", stdout(&output));
    }
}

#[test]
fn on_benign_data_the_hunt_is_refuted() {
    let folder = tempfile::tempdir().unwrap();
    demo(folder.path(), &["--benign"]);
    let answer = hunt(folder.path());
    assert!(answer.contains("refuted"), "{answer}");
}

#[test]
fn without_its_source_the_hunt_is_inconclusive() {
    let folder = tempfile::tempdir().unwrap();
    demo(folder.path(), &["--without", "windows"]);
    let answer = hunt(folder.path());
    assert!(answer.contains("inconclusive, because"), "{answer}");
}
