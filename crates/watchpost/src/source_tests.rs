//! The tests of source files: `NAME.test.json` beside `NAME.yml`.
//!
//! A list of cases, each with an `input` (a line as text, or a JSON document) and the `event` that it
//! must become, whole, but for what every event gets (`ecs.version`, the original and the like).
//! `dataset` is what the sender calls its records, if it calls them something.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use event::{Event, RawRecord, Timestamp};
use normalize::{Normalizer, Options};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::commands::{Outcome, checked};
use crate::{mappings, style};

/// The arrival of every input, so that a time without a year is always the same one.
const RECEIVED: &str = "2026-11-24T12:00:00Z";

/// Fields that are the same on every event, or change with every version of a file.
const LEFT_OUT: [&str; 5] =
    ["ecs.version", "data_stream.namespace", "event.ingested", "event.original", mapping::MAPPING];

/// The most differences that are shown of one case.
const DIFFERENCES_MAX: usize = 30;

/// A case.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// What it shows.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    title: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    dataset: String,
    /// A line, or a document.
    input: Value,
    /// The event; several if the input is several records.
    #[serde(default)]
    event: Value,
}

/// Runs the tests of these files and folders.
pub(crate) fn run(paths: &[PathBuf], update: bool) -> Outcome {
    let own: Vec<PathBuf> = paths.iter().filter(|path| !is_test(path)).cloned().collect();
    let (mappings, faults) = mappings::load(&own);
    let mut out = std::io::stdout().lock();
    for fault in &faults {
        let text = std::fs::read_to_string(&fault.file).ok();
        write!(out, "{}", fault.render(text.as_deref()))?;
    }
    let mappings = Arc::new(mappings);
    let options =
        Options { keep_original: false, mappings: Arc::clone(&mappings), ..Options::default() };
    let mut normalizer = Normalizer::new(options);
    let (mut cases_run, mut failed) = (0, 0);
    let mut per_source: BTreeMap<String, usize> = BTreeMap::new();
    for path in tests(paths)? {
        let text = std::fs::read_to_string(&path)?;
        let mut cases: Vec<Case> =
            serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        for (number, case) in cases.iter_mut().enumerate() {
            cases_run += 1;
            let made = event_of(&mut normalizer, case)?;
            for event in made.as_array().into_iter().flatten().chain([&made]) {
                if let Some(name) = event.pointer("/event/dataset").and_then(Value::as_str) {
                    *per_source.entry(name.to_owned()).or_default() += 1;
                }
            }
            if update {
                case.event = made;
                continue;
            }
            let differences = differences(&case.event, &made);
            if !differences.is_empty() {
                failed += 1;
                let title = if case.title.is_empty() {
                    String::new()
                } else {
                    format!(" ({})", case.title)
                };
                writeln!(
                    out,
                    "{} {}, case {}{title}",
                    style::error("differs:"),
                    path.display(),
                    number + 1
                )?;
                for line in differences.iter().take(DIFFERENCES_MAX) {
                    writeln!(out, "  {}", style::plain(line))?;
                }
            }
        }
        if update {
            let text = serde_json::to_string_pretty(&cases)? + "\n";
            std::fs::write(&path, text)?;
        }
    }
    let covered =
        mappings.sources().iter().filter(|source| per_source.contains_key(&source.name)).count();
    eprintln!(
        "{cases_run} cases of {covered} sources: {failed} differ; {} faults in files",
        faults.len()
    );
    if cases_run == 0 {
        return Err("there is no test to run".into());
    }
    if update {
        return Ok(ExitCode::SUCCESS);
    }
    Ok(checked(failed == 0 && faults.is_empty()))
}

fn is_test(path: &Path) -> bool {
    path.to_str().is_some_and(|path| path.ends_with(".test.json"))
}

/// The test files among these, and beside the source files that are named.
fn tests(paths: &[PathBuf]) -> Result<Vec<PathBuf>, std::io::Error> {
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            let inside: Result<Vec<PathBuf>, _> =
                std::fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect();
            let inside: Vec<PathBuf> =
                inside?.into_iter().filter(|path| path.is_dir() || is_test(path)).collect();
            found.extend(tests(&inside)?);
        } else if is_test(path) {
            found.push(path.clone());
        } else {
            let beside = path.with_extension("test.json");
            found.extend(beside.exists().then_some(beside));
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

fn event_of(normalizer: &mut Normalizer, case: &Case) -> Result<Value, Box<dyn std::error::Error>> {
    let text = match &case.input {
        Value::String(text) => text.clone(),
        document => document.to_string(),
    };
    let received = Timestamp::parse_rfc3339(RECEIVED).ok_or("the time of arrival is none")?;
    let raw = RawRecord { dataset: &case.dataset, ..RawRecord::new(text.as_bytes(), received) };
    let mut events = Vec::new();
    normalizer.normalize(&raw, None, &mut |event: &Event| {
        let mut event = event.clone();
        LEFT_OUT.iter().for_each(|path| event.remove(path));
        events.push(event.to_json());
    })?;
    let events: Result<Vec<Value>, _> =
        events.iter().map(|json| serde_json::from_str(json)).collect();
    let mut events = events?;
    Ok(if events.len() == 1 { events.remove(0) } else { Value::Array(events) })
}

/// What differs, field by field: `-` is expected, `+` came out.
fn differences(expected: &Value, made: &Value) -> Vec<String> {
    let (mut ours, mut theirs) = (BTreeMap::new(), BTreeMap::new());
    flatten(made, String::new(), &mut ours);
    flatten(expected, String::new(), &mut theirs);
    let mut lines = Vec::new();
    for (path, value) in &theirs {
        match ours.get(path) {
            Some(made) if made == value => {}
            Some(made) => lines.extend([format!("- {path}: {value}"), format!("+ {path}: {made}")]),
            None => lines.push(format!("- {path}: {value}")),
        }
    }
    let more = ours.iter().filter(|(path, _)| !theirs.contains_key(*path));
    lines.extend(more.map(|(path, made)| format!("+ {path}: {made}")));
    lines
}

fn flatten(value: &Value, path: String, into: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(value, path, into);
            }
        }
        Value::Null if path.is_empty() => {}
        _ => {
            into.insert(path, value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    #[test]
    fn differences_are_told_by_field() {
        let expected = json!({"a": {"b": 1, "c": [1]}, "d": "x"});
        let made = json!({"a": {"b": 2, "c": [1]}, "e": null});
        assert_eq!(
            differences(&expected, &made),
            ["- a.b: 1", "+ a.b: 2", "- d: \"x\"", "+ e: null"]
        );
    }

    /// Every source that comes with Watchpost has five cases or more, and all of them hold.
    #[test]
    fn the_sources_are_as_their_tests_say() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../detections/sources");
        let (mappings, faults) = mappings::load(&[]);
        assert!(faults.is_empty(), "{faults:?}");
        let mappings = Arc::new(mappings);
        let options =
            Options { keep_original: false, mappings: Arc::clone(&mappings), ..Options::default() };
        let mut normalizer = Normalizer::new(options);
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for path in tests(&[folder]).unwrap() {
            let cases: Vec<Case> =
                serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
            for (number, case) in cases.iter().enumerate() {
                let made = event_of(&mut normalizer, case).unwrap();
                let differences = differences(&case.event, &made);
                let place = format!("{}, case {}", path.display(), number + 1);
                assert!(differences.is_empty(), "{place}:\n{}", differences.join("\n"));
                if let Some(name) = made.pointer("/event/dataset").and_then(Value::as_str) {
                    *counts.entry(name.to_owned()).or_default() += 1;
                }
            }
        }
        for source in mappings.sources() {
            let count = counts.get(&source.name).copied().unwrap_or(0);
            assert!(count >= 5, "{} has {count} cases", source.name);
        }
    }
}
