//! The engine against real data: public rules, their own sample events, recorded attacks.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::{Path, PathBuf};

use common::{run, shared_data, stderr, stdout};

/// One sample of a public rule.
struct Case {
    rule: PathBuf,
    folder: PathBuf,
    title: String,
    /// How many events must match at least: some samples hold the same act more often than their
    /// manifest says.
    count: u64,
}

/// The cases, with their rules by id: some manifests name a file that was moved since.
fn cases(sigma: &Path) -> Vec<Case> {
    let loaded = sigma::load(&[sigma.join("rules")]);
    let manifest = std::fs::read_to_string(sigma.join("regression/manifest.jsonl")).unwrap();
    manifest
        .lines()
        .map(|line| {
            let entry: serde_json::Value = serde_json::from_str(line).unwrap();
            let id = entry["rule_id"].as_str().unwrap();
            let rule = loaded.rules().find(|rule| rule.id.as_deref() == Some(id)).expect(id);
            Case {
                rule: PathBuf::from(&*rule.file),
                folder: sigma.join("regression").join(id),
                title: rule.title.clone(),
                count: entry["match_count"].as_u64().unwrap_or(1),
            }
        })
        .collect()
}

/// How many matches the rule has in a file.
fn matches(rule: &Path, events: &Path) -> u64 {
    let output = run(&[
        "scan",
        "--format",
        "jsonl",
        "--rules",
        rule.to_str().unwrap(),
        events.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    stdout(&output).lines().count() as u64
}

/// Every public rule that comes with sample events finds them, in each form that they have.
#[test]
fn public_rules_match_their_samples() {
    let Some(sigma) = shared_data("sigma") else { return };
    let mut wrong = Vec::new();
    let cases = cases(&sigma);
    for case in &cases {
        for name in ["events.evtx", "events.jsonl", "events.log"] {
            let events = case.folder.join(name);
            if !events.exists() {
                continue;
            }
            let found = matches(&case.rule, &events);
            if found < case.count {
                wrong.push(format!(
                    "{} ({}): {found} in {name}, not {}",
                    case.title,
                    case.folder.file_name().unwrap().to_string_lossy(),
                    case.count
                ));
            }
        }
    }
    println!("{} cases, {} wrong", cases.len(), wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A folder of recorded attacks gives hundreds of matches, each in the form of the contract.
#[test]
fn scan_finds_attacks_in_recorded_logs() {
    let (Some(rules), Some(files)) = (shared_data("sigma/rules"), shared_data("evtx/files")) else {
        return;
    };
    let output = run(&[
        "scan",
        "--format",
        "jsonl",
        "--rules",
        rules.to_str().unwrap(),
        files.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let out = stdout(&output);
    assert!(out.lines().count() >= 100, "only {} matches", out.lines().count());
    for line in out.lines() {
        let found: serde_json::Value = serde_json::from_str(line).unwrap();
        for name in ["id", "title", "level"] {
            assert!(found["rule"][name].is_string(), "{line}");
        }
        assert!(found["file"].as_str().unwrap().ends_with(".evtx"), "{line}");
        assert!(found["record"].is_u64(), "{line}");
        assert!(found["@timestamp"].is_string(), "{line}");
        for field in found["matched"].as_array().unwrap() {
            for name in ["field", "value", "pattern"] {
                assert!(field[name].is_string(), "{line}");
            }
        }
    }
}

/// One thread and several find the same.
#[test]
fn threads_do_not_change_what_is_found() {
    let (Some(rules), Some(files)) =
        (shared_data("sigma/rules/rules/windows/process_creation"), shared_data("evtx/files"))
    else {
        return;
    };
    let found = |threads: &str| {
        let output = run(&[
            "scan",
            "--format",
            "jsonl",
            "--threads",
            threads,
            "--rules",
            rules.to_str().unwrap(),
            files.to_str().unwrap(),
        ]);
        let mut lines: Vec<String> = stdout(&output).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let one = found("1");
    assert!(!one.is_empty());
    assert_eq!(one, found("3"));
}
