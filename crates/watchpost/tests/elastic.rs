//! Elasticsearch's search API, asked by the clients that people have: the one for Python, and queries as
//! Grafana and pySigma write them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::{Server, client_script, python, run, shared_data, stderr, stdout};
use serde_json::{Value, json};

#[test]
fn the_elasticsearch_client_for_python_searches() {
    const EVENTS: u64 = 450;
    let Some(python) = python("elasticsearch") else { return };
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    let now = event::Timestamp::now().as_millis() / 1000 * 1000;
    let lines: String = (0..EVENTS)
        .map(|n| {
            let back = i64::try_from(EVENTS - n).unwrap() * 1000;
            let event = json!({
                "@timestamp": event::Timestamp::from_millis(now - back).to_string(),
                "host": {"name": format!("ws-{}", n % 3)},
                "process": {"pid": n},
                "user": {"name": if n % 2 == 0 { "anna" } else { "Bert" }},
                "message": format!("logon failed for user {n}"),
            });
            format!("{event}\n")
        })
        .collect();
    let (status, answer) = server.post("/ingest/test.ecs", lines.as_bytes());
    assert_eq!(status, 200, "{answer}");
    assert_eq!(server.search_total("*", EVENTS), EVENTS);
    let output = Command::new(python)
        .arg(client_script("elasticsearch_search.py"))
        .args([&format!("{}/es", server.url), &server.token, &EVENTS.to_string()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
}

/// An event by what both sides tell of it.
type Place = (String, String);

/// What our own matcher finds in the files: rule, and places of events.
fn matched(rules: &Path, files: &Path) -> BTreeMap<String, BTreeSet<Place>> {
    let [rules, files] = [rules, files].map(|path| path.to_str().unwrap());
    let output = run(&["scan", "--format", "jsonl", "--rules", rules, files]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let mut found: BTreeMap<String, BTreeSet<Place>> = BTreeMap::new();
    for line in stdout(&output).lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let rule = line["rule"]["id"].as_str().unwrap().to_owned();
        let place = (line["record"].to_string(), line["@timestamp"].as_str().unwrap().to_owned());
        found.entry(rule).or_default().insert(place);
    }
    found
}

/// Rules whose conversion asks for something else than the rule, whatever answers it, and why.
const DIFFERENT: &[(&str, &str)] = &[
    ("78d5cab4-557e-454f-9fb9-a222bd0d5edc", "`-` for no address is no value of source.ip"),
    ("f88e112a-21aa-44bd-9b01-6ee2a2bbbed1", "`-` for no address is no value of source.ip"),
    ("ed74fe75-7594-4b4b-ae38-e38e3fd2eb23", "Initiated is not `true` in network.direction"),
    ("48a61b29-389f-4032-b317-b30de6b95314", "Description stays in winlog.event_data"),
    ("9637e8a5-7131-4f7f-bdc7-2b05d8670c43", "Description stays in winlog.event_data"),
];

/// Rules of SigmaHQ, converted by pySigma to Lucene's syntax and asked of the index, find the events
/// that our matcher finds.
#[test]
fn converted_rules_find_what_the_matcher_finds() {
    let Some(python) = python("elasticsearch, sigma.backends.elasticsearch") else { return };
    let (Some(rules), Some(files)) = (shared_data("sigma/rules"), shared_data("evtx/files")) else {
        return;
    };
    let rules = rules.join("rules/windows");
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let output = run(&["import", "--data", data.to_str().unwrap(), files.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let server = Server::start(&data);
    server.catch_up(Duration::from_secs(60));
    let output = Command::new(python)
        .arg(client_script("sigma_lucene.py"))
        .args([&format!("{}/es", server.url), &server.token])
        .arg(&rules)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let wanted = matched(&rules, &files);
    let (mut asked, mut hit, mut unconverted, mut operators) = (0, 0, 0, 0);
    let mut wrong = Vec::new();
    for line in stdout(&output).lines() {
        let told: Value = serde_json::from_str(line).unwrap();
        let rule = told["rule"].as_str().unwrap();
        if told["unconverted"].is_string() {
            unconverted += 1;
            continue;
        }
        asked += 1;
        if let Some((_, why)) = DIFFERENT.iter().find(|(id, _)| *id == rule) {
            println!("{rule}: {why}");
            continue;
        }
        // Sigma has these letters in regular expressions, where Lucene has operators; pySigma does not
        // escape them.
        if told["refused"].as_str().is_some_and(|why| why.contains("one of Lucene's operators")) {
            operators += 1;
            continue;
        }
        let Some(hits) = told["hits"].as_array() else {
            wrong.push(format!("{rule} was refused: {} {}", told["refused"], told["query"]));
            continue;
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let found: BTreeSet<Place> =
            hits.iter().map(|place| (text(&place[0]), text(&place[1]))).collect();
        let wanted = wanted.get(rule).cloned().unwrap_or_default();
        hit += usize::from(!wanted.is_empty());
        if found != wanted {
            let counts = format!("{} of {}", found.intersection(&wanted).count(), wanted.len());
            let more = found.difference(&wanted).count();
            wrong.push(format!("{rule}: {counts} found and {more} more: {}", told["query"]));
        }
    }
    println!(
        "{asked} rules asked, {hit} with hits; {operators} refused for operators in regular \
         expressions, {unconverted} not converted by pySigma"
    );
    assert!(operators < 20, "{operators} rules were refused");
    assert!(asked >= 100 && hit >= 20, "too few rules: {asked}, {hit} with hits");
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
