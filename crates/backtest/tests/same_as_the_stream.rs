//! A backtest over the index finds exactly what the stream found in the same events: for the
//! project's rules over the simulated fleet, and for all public rules over recorded attacks.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use detection::{RuleBook, RuleSources};
use event::{Event, EventId, RawRecord, Timestamp};
use indexing::{Document, Index, Kind, Limits};
use mapping::Mappings;
use normalize::{Normalizer, Options};
use query::TimeRange;
use simulation::{Settings, Simulation};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");

/// Of each file of recorded attacks.
const RECORDS_MAX: usize = 200;

struct Past {
    _folder: tempfile::TempDir,
    index: Index,
    events: Vec<Event>,
}

fn normalizer() -> Normalizer {
    let files = detections::sources().map(|file| (file.path, file.text));
    let (mappings, faults) = Mappings::load(files);
    assert!(faults.is_empty(), "{faults:?}");
    Normalizer::new(Options {
        keep_original: false,
        mappings: mappings.into(),
        ..Options::default()
    })
}

/// Indexes the events of these payloads: what they are called, when they came, and they.
fn past<'p>(payloads: impl Iterator<Item = (&'p str, Timestamp, Vec<u8>)>) -> Past {
    let folder = tempfile::tempdir().unwrap();
    let options = indexing::Options { threads: 1, ..Default::default() };
    let index = Index::open(folder.path(), options).unwrap();
    let mut writer = index.writer("log").unwrap();
    let mut normalizer = normalizer();
    let mut events = Vec::new();
    for (offset, (dataset, received, payload)) in (0..).zip(payloads) {
        let raw = RawRecord { dataset, ..RawRecord::new(&payload, received) };
        let id = EventId { log: "x", partition: 0, offset, index: 0 };
        let add = &mut |event: &Event| {
            writer.add(Document {
                kind: Kind::Events,
                time: event.timestamp().unwrap(),
                json: event.to_json().into_bytes(),
                event: event.clone(),
                position: None,
            });
            events.push(event.clone());
        };
        normalizer.normalize(&raw, Some(id), add).unwrap();
    }
    writer.commit().unwrap();
    drop(writer);
    Past { _folder: folder, index, events }
}

/// The ids of the events that each rule matches, one event after the other.
fn stream(book: &RuleBook, events: &[Event]) -> BTreeMap<String, BTreeSet<String>> {
    let mut scratch = book.scratch();
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for event in events {
        let id = event.str("event.id").unwrap();
        book.for_each_match(event, &mut scratch, |entry| {
            found.entry(entry.reference.id.clone()).or_default().insert(id.to_owned());
        });
    }
    found
}

fn limits() -> Limits {
    Limits { time: Duration::from_secs(600), threads: 2, slice_documents: 100, ..Limits::default() }
}

#[test]
fn the_projects_rules_over_the_fleet() {
    let start = Timestamp::parse_rfc3339("2026-11-25T08:00:00Z").unwrap();
    let end = start.plus_nanos(30_000_000_000);
    let fleet = Simulation::new(Settings { start, rate: 40, ..Settings::default() });
    let payloads = fleet
        .take_while(|event| event.time < end)
        .map(|event| (event.dataset, event.time, event.payload.clone()));
    let past = past(payloads);
    let builtin =
        detections::rules().map(|file| (file.path.to_owned(), file.text.to_owned())).collect();
    let book = RuleSources { builtin, ..RuleSources::default() }.load();
    let expected = stream(&book, &past.events);
    assert!(expected.len() > 10, "{expected:?}");
    let range = TimeRange { since: Some(start), until: Some(end) };
    let searcher = past.index.searcher();
    let found = backtest::run(&book, &searcher, range, &limits());
    assert!(found.partial.is_empty());
    assert!(found.events as usize >= past.events.len() - 1, "{}", found.events);
    let mut hits = 0;
    for rule in &found.rules {
        let ids: BTreeSet<String> = rule.ids().map(str::to_owned).collect();
        if book.rules().iter().any(|entry| entry.reference.id == rule.rule.id) {
            assert_eq!(
                Some(&ids).filter(|ids| !ids.is_empty()),
                expected.get(&rule.rule.id),
                "{}",
                rule.rule.title
            );
        } else {
            hits += rule.hits;
        }
        assert_eq!(rule.over_time.iter().map(|bucket| bucket.hits).sum::<u64>(), rule.hits);
    }
    assert!(hits > 0, "correlations count too");

    // One version finds what the other does not.
    let text = |pattern: &str| {
        format!(
            "title: T\nid: 11111111-2222-4333-8444-555555555555\nlogsource: {{product: windows, category: process_creation}}\ndetection:\n  s:\n    Image|endswith: '{pattern}'\n  condition: s\nlevel: low\n"
        )
    };
    let one = |pattern: &str| {
        let builtin = vec![("r.yml".to_owned(), text(pattern))];
        RuleSources { builtin, ..RuleSources::default() }.load()
    };
    let (wide, narrow) = (one(".exe"), one("svchost.exe"));
    let mut now = backtest::run(&narrow, &searcher, range, &limits());
    let before = backtest::run(&wide, &searcher, range, &limits());
    backtest::compare(&mut now, &before);
    let change = now.rules[0].change.as_ref().unwrap();
    assert_eq!(change.former, before.rules[0].hits);
    assert_eq!((change.added, change.removed), (0, before.rules[0].hits - now.rules[0].hits));
    assert!(change.removed > 0 && !change.removed_examples.is_empty());
    assert!(before.read < before.events, "the index spares work");
}

#[test]
fn public_rules_over_recorded_attacks() {
    let (rules, recorded) = (Path::new(DATA).join("sigma/rules"), Path::new(DATA).join("mordor"));
    if !rules.exists() || !recorded.exists() {
        assert!(std::env::var_os("WATCHPOST_TEST_NEEDS_ALL").is_none(), "{DATA} is missing");
        eprintln!("skipped: {DATA} is not there");
        return;
    }
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(recorded).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let now = Timestamp::parse_rfc3339("2026-11-24T12:00:00Z").unwrap();
    let lines =
        files.iter().filter(|path| path.extension().is_some_and(|e| e == "zst")).flat_map(|path| {
            let file = std::fs::File::open(path).unwrap();
            let lines = BufReader::new(zstd::Decoder::new(file).unwrap()).split(b'\n');
            lines.take(RECORDS_MAX).map(move |line| ("", now, line.unwrap()))
        });
    let past = past(lines);
    let book = RuleSources { paths: vec![rules], ..RuleSources::default() }.load();
    let expected = stream(&book, &past.events);
    assert!(expected.len() > 50, "{}", expected.len());
    // The filter is the rule's alone where rules are few, so each is asked by itself.
    let searcher = past.index.searcher();
    let (mut asked, mut read) = (0, 0);
    for entry in book.rules() {
        let Some(text) = book.source(&entry.rule.file) else { continue };
        // Rules that nothing matches are asked too, but not all three thousand.
        asked += 1;
        if asked % 8 != 0 && !expected.contains_key(&entry.reference.id) {
            continue;
        }
        let builtin = vec![(entry.rule.file.to_string(), text.to_owned())];
        let one = RuleSources { builtin, ..RuleSources::default() }.load();
        let found = backtest::run(&one, &searcher, TimeRange::ALL, &limits());
        assert!(found.partial.is_empty(), "{:?}", found.partial);
        let this = found.rules.iter().find(|rule| rule.rule.id == entry.reference.id);
        let Some(this) = this else { continue };
        let ids: BTreeSet<String> = this.ids().map(str::to_owned).collect();
        let empty = BTreeSet::new();
        assert_eq!(
            &ids,
            expected.get(&entry.reference.id).unwrap_or(&empty),
            "{}",
            entry.rule.file
        );
        read += found.read;
    }
    let events = past.events.len();
    println!("{asked} rules; on average {} of {events} events read", read / asked.max(1));
}
