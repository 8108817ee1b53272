//! Tests of rules as code: `NAME.test.yml` beside `NAME.yml`, run by `watchpost rules test`.
//!
//! A case is one payload as a shipper sends it, or an ECS event, or (for a correlation) several of
//! them. Payloads go through normalisation, so a test also fails when a mapping breaks the rule. A
//! failed case shows what became of each part of the rule.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use correlation::Correlations;
use detection::{Found, Otherwise, RuleBook, RuleEntry};
use event::{Event, Match, RawRecord, Timestamp};
use normalize::{Normalizer, Options};
use sigma::yaml::{self, Node};
use sigma::{Code, Diagnostic, Span};

use crate::commands::{Outcome, checked, rules};
use crate::rules::definitions;
use crate::{mappings, style};

/// The ending of a file of tests.
const TEST_ENDING: &str = ".test.yml";

/// The most nested folders that are looked through for tests.
const FOLDER_DEPTH_MAX: usize = 32;

/// A file of tests, read.
struct TestFile {
    name: String,
    /// The rule's file or id.
    rule: String,
    cases: Vec<Case>,
}

struct Case {
    title: String,
    line: u32,
    /// Whether the rule must hold.
    matches: bool,
    events: Vec<Given>,
}

/// An event of a case.
enum Given {
    /// A payload as it is shipped.
    Raw { text: String, dataset: String },
    /// An ECS document.
    Event(serde_json::Value),
}

/// What became of a case.
struct Done {
    file: String,
    rule: String,
    title: String,
    line: u32,
    took: Duration,
    /// Why it failed; `None` when it passed.
    failure: Option<String>,
}

pub(crate) fn run(junit: Option<&Path>, pipelines: &[PathBuf], paths: &[PathBuf]) -> Outcome {
    let book = rules::sources(&with_rules(paths), pipelines).load();
    let mut faults: Vec<Diagnostic> = Vec::new();
    let mut done: Vec<Done> = Vec::new();
    let mut tested: Vec<String> = Vec::new();
    let texts = match paths {
        [] => builtin(),
        paths => on_disk(paths)?,
    };
    for (name, text) in &texts {
        match parse(text, name) {
            Err(fault) => faults.push(fault),
            Ok(file) => {
                let before = done.len();
                run_file(&book, &file, &mut done);
                tested.extend(done.iter().skip(before).map(|done| done.rule.clone()));
            }
        }
    }
    for diagnostic in book.diagnostics() {
        eprint!("{}", diagnostic.render(book.source(&diagnostic.file)));
    }
    for fault in &faults {
        let text =
            texts.iter().find(|(name, _)| *name == fault.file).map(|(_, text)| text.as_str());
        eprintln!("{}", fault.render(text));
    }
    let failed: Vec<&Done> = done.iter().filter(|done| done.failure.is_some()).collect();
    for failure in &failed {
        println!(
            "{} {}: {} ({}:{})\n{}",
            style::error("FAILED"),
            failure.rule,
            failure.title,
            failure.file,
            failure.line,
            failure.failure.as_deref().unwrap_or_default()
        );
    }
    let untested: Vec<&str> = book
        .rules()
        .iter()
        .map(|entry| entry.reference.title.as_str())
        .chain(book.correlations().iter().map(|entry| entry.reference.title.as_str()))
        .filter(|title| !tested.iter().any(|tested| tested == title))
        .collect();
    for title in untested.iter().take(20) {
        eprintln!("{} {title}", style::dim("no test:"));
    }
    println!(
        "{} cases of {} files: {} passed, {} failed; {} rules have no test",
        done.len(),
        texts.len(),
        done.len() - failed.len(),
        failed.len(),
        untested.len()
    );
    if let Some(path) = junit {
        std::fs::write(path, xml(&done))
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    if texts.is_empty() && book.rules().is_empty() && book.refused() == 0 {
        return Err("there is no rule to test".into());
    }
    Ok(checked(failed.is_empty() && faults.is_empty() && book.refused() == 0))
}

/// A file of tests that is named stands for the rule beside it.
fn with_rules(paths: &[PathBuf]) -> Vec<PathBuf> {
    let rule = |path: &PathBuf| {
        let text = path.to_string_lossy();
        let beside =
            text.strip_suffix(TEST_ENDING).map(|stem| PathBuf::from(format!("{stem}.yml")));
        beside.filter(|rule| rule.exists()).unwrap_or_else(|| path.clone())
    };
    paths.iter().map(rule).collect()
}

fn builtin() -> Vec<(String, String)> {
    detections::rule_tests()
        .map(|file| (format!("detections/{}", file.path), file.text.to_owned()))
        .collect()
}

/// The test files of these paths: those in folders, and those beside files that are named.
fn on_disk(paths: &[PathBuf]) -> Result<Vec<(String, String)>, String> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            list(path, 0, &mut files)?;
        } else if path.to_string_lossy().ends_with(TEST_ENDING) {
            files.push(path.clone());
        } else {
            let beside = path.with_extension("test.yml");
            if beside.exists() {
                files.push(beside);
            }
        }
    }
    files.sort();
    files
        .into_iter()
        .map(|path| match std::fs::read_to_string(&path) {
            Ok(text) => Ok((path.to_string_lossy().into_owned(), text)),
            Err(error) => Err(format!("cannot read {}: {error}", path.display())),
        })
        .collect()
}

fn list(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let wrong = |error| format!("cannot read {}: {error}", folder.display());
    if depth > FOLDER_DEPTH_MAX {
        return Err(format!(
            "folders are nested deeper than {FOLDER_DEPTH_MAX}: {}",
            folder.display()
        ));
    }
    for entry in std::fs::read_dir(folder).map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        let path = entry.path();
        if entry.file_type().map_err(wrong)?.is_dir() {
            list(&path, depth + 1, files)?;
        } else if path.to_string_lossy().ends_with(TEST_ENDING) {
            files.push(path);
        }
    }
    Ok(())
}

fn parse(text: &str, name: &str) -> Result<TestFile, Diagnostic> {
    let fault = |span: Span, message: String| {
        Diagnostic::error(Code::NotSigma, span, message)
            .with_help("detections/README.md has the form of a test file")
            .in_file(name)
    };
    let documents = yaml::parse(text);
    let [document] = documents.as_slice() else {
        return Err(fault(Span::default(), "a test file has one document".into()));
    };
    let root = document.as_ref().map_err(|fault| fault.clone().in_file(name))?;
    let Some(entries) = root.as_map() else {
        return Err(fault(root.span, format!("a test file is a map, not {}", root.describe())));
    };
    let mut file = TestFile { name: name.to_owned(), rule: String::new(), cases: Vec::new() };
    for (key, value) in entries {
        let matches = match key.text.as_str() {
            "rule" => {
                file.rule = value
                    .to_text()
                    .ok_or_else(|| fault(value.span, "`rule` is a file's name or an id".into()))?;
                continue;
            }
            "match" => true,
            "no_match" => false,
            other => {
                let message = format!("`{other}` is none of `rule`, `match` and `no_match`");
                return Err(fault(key.span, message));
            }
        };
        for node in value.one_or_more() {
            file.cases.push(case(node, matches).map_err(|(span, message)| fault(span, message))?);
        }
    }
    if file.rule.is_empty() {
        return Err(fault(root.span, "`rule` is missing: the file or id of the rule".into()));
    }
    Ok(file)
}

type Wrong = (Span, String);

fn case(node: &Node, matches: bool) -> Result<Case, Wrong> {
    let mut events = Vec::new();
    if let Some(list) = node.get("events") {
        for given in list.one_or_more() {
            events.push(one(given)?);
        }
        if events.is_empty() {
            return Err((list.span, "`events` has no event".into()));
        }
    } else {
        events.push(one(node)?);
    }
    let title = node.get("title").and_then(Node::to_text).unwrap_or_else(|| "untitled".into());
    Ok(Case { title, line: node.span.line, matches, events })
}

fn one(node: &Node) -> Result<Given, Wrong> {
    if let Some(raw) = node.get("raw") {
        let text = raw.to_text().ok_or((raw.span, "`raw` is a text".to_owned()))?;
        let dataset = node.get("dataset").and_then(Node::to_text).unwrap_or_default();
        return Ok(Given::Raw { text, dataset });
    }
    match node.get("event") {
        Some(event) if event.as_map().is_some() => Ok(Given::Event(event.to_json())),
        Some(event) => Err((event.span, format!("`event` is a map, not {}", event.describe()))),
        None => Err((node.span, "a case has `raw`, `event` or `events`".into())),
    }
}

/// What a test file is about.
enum Target<'b> {
    Rules(Vec<&'b RuleEntry>),
    /// A correlation, by its id.
    Correlation(&'b str, &'b str),
}

/// The rule that a test file names: an id, or the file beside it. Of a file with a correlation and
/// the rules that it reads, the correlation is meant.
fn target<'b>(book: &'b RuleBook, file: &TestFile) -> Option<Target<'b>> {
    match book.find(&file.rule) {
        Some(Found::Rule(entry)) => return Some(Target::Rules(vec![entry])),
        Some(Found::Correlation(entry)) => {
            return Some(Target::Correlation(&entry.reference.id, &entry.reference.title));
        }
        None => {}
    }
    let folder = file.name.rsplit_once('/').map_or("", |(folder, _)| folder);
    let path =
        if folder.is_empty() { file.rule.clone() } else { format!("{folder}/{}", file.rule) };
    let correlation = book.correlations().iter().find(|entry| *entry.correlation.file == *path);
    if let Some(entry) = correlation {
        return Some(Target::Correlation(&entry.reference.id, &entry.reference.title));
    }
    let of_file: Vec<_> = book.rules().iter().filter(|entry| *entry.rule.file == *path).collect();
    (!of_file.is_empty()).then_some(Target::Rules(of_file))
}

fn run_file(book: &RuleBook, file: &TestFile, done: &mut Vec<Done>) {
    let Some(target) = target(book, file) else {
        done.push(Done {
            file: file.name.clone(),
            rule: file.rule.clone(),
            title: "the rule".into(),
            line: 1,
            took: Duration::ZERO,
            failure: Some(format!("  there is no rule `{}`, or it was refused", file.rule)),
        });
        return;
    };
    let title = match &target {
        Target::Rules(entries) => entries.first().map_or("", |entry| &entry.reference.title),
        Target::Correlation(_, title) => title,
    };
    for case in &file.cases {
        let started = Instant::now();
        let failure = run_case(book, &target, case);
        done.push(Done {
            file: file.name.clone(),
            rule: title.to_owned(),
            title: case.title.clone(),
            line: case.line,
            took: started.elapsed(),
            failure,
        });
    }
}

/// Why the case fails, if it does.
fn run_case(book: &RuleBook, target: &Target<'_>, case: &Case) -> Option<String> {
    let events = match events(book, target, case) {
        Ok(events) => events,
        Err(reason) => return Some(format!("  {reason}")),
    };
    let mut scratch = book.scratch();
    match target {
        Target::Rules(entries) => {
            let mut held = false;
            for event in &events {
                book.for_each_match(event, &mut scratch, |entry| {
                    held |= entries.iter().any(|wanted| std::ptr::eq(*wanted, entry));
                });
            }
            (held != case.matches).then(|| explain(book, entries, &events, case.matches))
        }
        Target::Correlation(id, _) => {
            let mut matches: Vec<Match> = Vec::new();
            for (number, event) in events.iter().enumerate() {
                let otherwise =
                    Otherwise { event_id: &format!("test-{number}"), received: Timestamp::EPOCH };
                book.for_each_record(event, &otherwise, &mut scratch, |_, found| {
                    matches.push(found);
                });
            }
            let correlations = Correlations::new(definitions(book));
            let fed = matches.len();
            let alerts = correlation::batch::alerts(&correlations, matches, Timestamp::now());
            let alerted = alerts.iter().any(|alert| alert.rule.id == *id);
            (alerted != case.matches).then(|| {
                let expected = if case.matches { "an alert" } else { "no alert" };
                format!(
                    "  expected {expected}; of {} events, {fed} matches of its rules came to it",
                    events.len()
                )
            })
        }
    }
}

/// The events of a case, normalised, in the order written.
fn events(book: &RuleBook, target: &Target<'_>, case: &Case) -> Result<Vec<Event>, String> {
    let mut normalizer =
        Normalizer::new(Options { mappings: mappings::builtin(), ..Options::default() });
    let mut events = Vec::new();
    for given in &case.events {
        match given {
            Given::Raw { text, dataset } => {
                let raw =
                    RawRecord { dataset, ..RawRecord::new(text.as_bytes(), Timestamp::now()) };
                normalizer
                    .normalize(&raw, None, &mut |event| events.push(event.clone()))
                    .map_err(|rejected| rejected.to_string())?;
            }
            Given::Event(json) => {
                let mut event = Event::new();
                event.parse_json(json.to_string().as_bytes()).map_err(|error| error.to_string())?;
                if event::Logsource::of(&event) == event::Logsource::default() {
                    stamp(book, target, &mut event);
                }
                events.push(event);
            }
        }
    }
    Ok(events)
}

/// An ECS event that does not say its class is of the class that the rule reads.
fn stamp(book: &RuleBook, target: &Target<'_>, event: &mut Event) {
    let entry = match target {
        Target::Rules(entries) => entries.first().copied(),
        Target::Correlation(id, _) => {
            book.rules().iter().find(|entry| entry.feeds.iter().any(|feed| feed.correlation == *id))
        }
    };
    if let Some(entry) = entry {
        let logsource = &entry.rule.logsource;
        event::Logsource {
            product: logsource.product.as_deref(),
            category: logsource.category.as_deref(),
            service: logsource.service.as_deref(),
        }
        .stamp(event);
    }
}

/// What was expected, and what became of each part of the rule.
fn explain(book: &RuleBook, entries: &[&RuleEntry], events: &[Event], expected: bool) -> String {
    let mut text = String::from(if expected {
        "  expected a match, the rule does not hold:\n"
    } else {
        "  expected no match, the rule holds:\n"
    });
    for entry in entries {
        for event in events {
            if let Some(note) = rules::other_class(entry, event) {
                // Writing to a String can't fail.
                _ = writeln!(text, "    {note}");
            }
            if let Some(explanation) = book.explain(entry, event) {
                for line in explanation.to_string().lines() {
                    _ = writeln!(text, "    {line}");
                }
            }
        }
    }
    text
}

/// The results in the form that build servers read.
fn xml(done: &[Done]) -> String {
    let failures = done.iter().filter(|done| done.failure.is_some()).count();
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n<testsuite name=\"rules\" tests=\"{}\" failures=\"{failures}\">\n",
        done.len()
    );
    for case in done {
        _ = write!(
            out,
            "<testcase classname=\"{}\" name=\"{}\" file=\"{}\" line=\"{}\" time=\"{:.6}\"",
            escaped(&case.rule),
            escaped(&case.title),
            escaped(&case.file),
            case.line,
            case.took.as_secs_f64()
        );
        match &case.failure {
            None => out.push_str("/>\n"),
            Some(reason) => {
                _ = writeln!(out, "><failure>{}</failure></testcase>", escaped(reason));
            }
        }
    }
    out.push_str("</testsuite>\n</testsuites>\n");
    out
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // XML 1.0 has no other control characters, not even escaped.
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{escaped, parse};

    #[test]
    fn a_test_file_says_what_is_wrong_with_it() {
        let check = |text: &str, expected: &str| {
            let fault = parse(text, "x.test.yml").err().map(|fault| fault.to_string());
            assert!(fault.as_deref().unwrap_or("").contains(expected), "{fault:?}");
        };
        check("rule: x.yml\nmatches: []\n", "x.test.yml:2:1: error[not-sigma]: `matches` is none");
        check("match: []\n", "`rule` is missing");
        check("rule: x\nmatch:\n  - title: t\n", "a case has `raw`, `event` or `events`");
        check("rule: x\nmatch:\n  - event: [1]\n", "`event` is a map, not a list");
        check("- 1\n", "a test file is a map, not a list");
    }

    #[test]
    fn xml_has_no_control_characters() {
        assert_eq!(escaped("a<b>&\"c\"\x1b"), "a&lt;b&gt;&amp;&quot;c&quot;\u{fffd}");
    }
}
