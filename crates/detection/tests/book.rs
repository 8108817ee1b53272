//! From rule files to a rule book: what is loaded, what is refused and why, what is reloaded.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::fs;
use std::path::{Path, PathBuf};

use detection::{Change, Found, Otherwise, RuleBook, RuleSources, Watcher};
use event::{Event, Level, Match, MatchKind, Timestamp};

const FAILED_LOGON: &str = "\
title: Failed logon
id: 6f9f1f80-8f3c-4b6e-9d3a-000000000001
name: failed_logon
level: low
logsource:
  product: windows
  service: security
detection:
  selection:
    EventID: 4625
  condition: selection
";

const SPRAYING: &str = "\
title: Password spraying
id: 6f9f1f80-8f3c-4b6e-9d3a-000000000002
level: high
tags: [attack.t1110.003]
correlation:
  type: value_count
  rules: [failed_logon]
  group-by: [address]
  timespan: 5m
  condition: {gte: 3, field: TargetUserName}
  aliases:
    address:
      failed_logon: IpAddress
";

const WHOAMI: &str = "\
title: Whoami
logsource:
  product: windows
  category: process_creation
detection:
  selection:
    CommandLine|contains: whoami
  condition: selection
";

fn builtin(files: &[(&str, &str)]) -> RuleBook {
    let builtin = files.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect();
    RuleSources { builtin, ..RuleSources::default() }.load()
}

fn said(book: &RuleBook) -> Vec<String> {
    book.diagnostics().iter().map(ToString::to_string).collect()
}

fn event(json: serde_json::Value) -> Event {
    let mut event = Event::new();
    event.parse_json(json.to_string().as_bytes()).unwrap();
    event
}

fn logon(user: &str, address: &str) -> Event {
    event(serde_json::json!({
        "@timestamp": "2026-08-05T12:00:00Z",
        "event": {"id": "e1", "code": "4625", "ingested": "2026-08-05T12:00:01Z"},
        "data_stream": {"namespace": "tenant-a"},
        "user": {"name": user},
        "source": {"ip": address},
        "winlog": {"event_data": {"TargetUserName": user, "IpAddress": address}},
        "watchpost": {"logsource": {"product": "windows", "service": "security"}},
    }))
}

fn records(book: &RuleBook, event: &Event) -> Vec<Match> {
    let mut records = Vec::new();
    let otherwise = Otherwise { event_id: "place", received: Timestamp::EPOCH };
    book.for_each_record(event, &otherwise, &mut book.scratch(), |_, found| records.push(found));
    records
}

#[test]
fn a_rule_that_a_correlation_reads_feeds_it_and_makes_no_alert() {
    let book = builtin(&[("logon.yml", FAILED_LOGON), ("spraying.yml", SPRAYING)]);
    assert!(said(&book).is_empty(), "{:?}", said(&book));
    let found = records(&book, &logon("anna", "10.0.0.9"));
    assert_eq!(found.len(), 1);
    assert_eq!(
        found[0].kind,
        MatchKind::Correlation {
            correlation: "6f9f1f80-8f3c-4b6e-9d3a-000000000002".into(),
            group: vec!["10.0.0.9".into()],
            value: Some("anna".into()),
        }
    );
    assert_eq!(found[0].namespace, "tenant-a");
    assert_eq!(found[0].event_time, Timestamp::parse_rfc3339("2026-08-05T12:00:00Z").unwrap());
    assert_eq!(found[0].received, Timestamp::parse_rfc3339("2026-08-05T12:00:01Z").unwrap());
    assert_eq!(found[0].event["event"]["id"], "e1");
    assert!(!found[0].matched.is_empty());

    let generating = SPRAYING.replace("  timespan", "  generate: true\n  timespan");
    let book = builtin(&[("logon.yml", FAILED_LOGON), ("spraying.yml", &generating)]);
    let kinds: Vec<MatchKind> =
        records(&book, &logon("anna", "10.0.0.9")).into_iter().map(|found| found.kind).collect();
    assert_eq!(kinds.len(), 2);
    assert_eq!(kinds[1], MatchKind::Alert);

    let alone = builtin(&[("logon.yml", FAILED_LOGON)]);
    assert_eq!(records(&alone, &logon("anna", "10.0.0.9"))[0].kind, MatchKind::Alert);
}

#[test]
fn a_faulty_rule_is_refused_with_its_place_and_the_others_load() {
    let book = builtin(&[
        ("a.yml", FAILED_LOGON),
        ("b.yml", "title: no condition\nlogsource: {product: windows}\ndetection:\n  x: {a: 1}\n"),
        ("c.yml", &WHOAMI.replace("contains", "re").replace("whoami", "'(('")),
        ("d.yml", &SPRAYING.replace("[failed_logon]", "[failed_login]")),
        ("e.yml", "title: ["),
        ("f.yml", WHOAMI),
    ]);
    let titles: Vec<&str> = book.rules().iter().map(|entry| &*entry.rule.title).collect();
    assert_eq!(titles, ["Failed logon", "Whoami"]);
    assert!(book.correlations().is_empty());
    assert_eq!(book.refused(), 4);
    for file in ["b.yml", "c.yml", "d.yml", "e.yml"] {
        let diagnostic = book.diagnostics().iter().find(|it| it.file == file).unwrap();
        assert!(diagnostic.line > 0, "{diagnostic}");
        assert!(book.source(file).is_some());
    }
    // A rule that only a refused correlation reads still makes its own alerts.
    assert!(book.rules()[0].alerts);
}

#[test]
fn what_is_not_run_yet_says_so() {
    let temporal = SPRAYING
        .replace("value_count", "temporal")
        .replace("  condition: {gte: 3, field: TargetUserName}\n", "");
    let nested = SPRAYING
        .replace("0002", "0003")
        .replace("[failed_logon]", "[6f9f1f80-8f3c-4b6e-9d3a-000000000002]");
    let nested = nested.split("  aliases").next().unwrap();
    let book = builtin(&[("a.yml", FAILED_LOGON), ("b.yml", &temporal), ("c.yml", nested)]);
    let said = said(&book);
    assert_eq!(book.correlations().len(), 2);
    assert!(book.correlations().iter().all(|entry| !entry.runs));
    assert!(said[0].contains("correlations of type `temporal` are parsed but not run yet"));
    assert!(said[1].contains("correlations that read other correlations are parsed but not run"));
    assert!(records(&book, &logon("anna", "10.0.0.9")).is_empty());
}

#[test]
fn rules_are_found_by_id_and_name_and_have_one_even_without() {
    let book = builtin(&[("a.yml", FAILED_LOGON), ("b.yml", SPRAYING), ("c.yml", WHOAMI)]);
    assert!(matches!(
        book.find("failed_logon"),
        Some(Found::Rule(entry)) if entry.reference.level == Level::Low
    ));
    assert!(matches!(
        book.find("6f9f1f80-8f3c-4b6e-9d3a-000000000002"),
        Some(Found::Correlation(entry)) if entry.reference.tags == ["attack.t1110.003"]
    ));
    let id = &book.rules()[1].reference.id;
    assert_eq!(id.len(), 32);
    assert!(matches!(book.find(id), Some(Found::Rule(entry)) if entry.rule.title == "Whoami"));
    let again = builtin(&[("c.yml", WHOAMI)]);
    assert_eq!(&again.rules()[0].reference.id, id, "the same each time");
}

#[test]
fn a_rule_of_the_users_takes_the_place_of_a_builtin_one() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "own.yml", &FAILED_LOGON.replace("level: low", "level: critical"));
    write(folder.path(), "twin.yml", FAILED_LOGON);
    let builtin = vec![("builtin.yml".to_owned(), FAILED_LOGON.to_owned())];
    let paths = vec![folder.path().to_owned()];
    let book = RuleSources { builtin, paths, ..RuleSources::default() }.load();
    assert_eq!(book.rules().len(), 1);
    assert_eq!(book.rules()[0].reference.level, Level::Critical);
    let said = said(&book);
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("takes the place of the built-in rule"));
    assert!(said[1].contains("has the same id"));
}

#[test]
fn filters_and_pipelines_of_the_users_apply() {
    let folder = tempfile::tempdir().unwrap();
    let filter = "\
title: not this one
logsource: {product: windows, service: security}
filter:
  rules: [failed_logon]
  selection: {TargetUserName: scanner}
  condition: not selection
";
    write(folder.path(), "filter.yml", filter);
    write(folder.path(), "logon.yml", FAILED_LOGON);
    let book = RuleSources { paths: vec![folder.path().into()], ..RuleSources::default() }.load();
    assert!(said(&book).is_empty(), "{:?}", said(&book));
    assert_eq!(records(&book, &logon("anna", "10.0.0.9")).len(), 1);
    assert_eq!(records(&book, &logon("scanner", "10.0.0.9")).len(), 0);

    let missing = RuleSources { pipelines: vec![PathBuf::from("gone.yml")], ..Default::default() };
    assert!(said(&missing.load())[0].contains("can't be read"));
}

#[test]
fn changed_files_are_noticed_and_a_folder_that_is_gone_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules");
    fs::create_dir(&rules).unwrap();
    write(&rules, "logon.yml", FAILED_LOGON);
    write(&rules, "whoami.yml", WHOAMI);
    let sources = RuleSources { paths: vec![rules.clone()], ..RuleSources::default() };
    let (mut watcher, handle) = Watcher::start(sources);
    assert_eq!(handle.current().rules().len(), 2);
    assert_eq!(watcher.poll(|_| panic!("nothing changed")), None);

    write(&rules, "logon.yml", &FAILED_LOGON.replace("level: low", "level: critical"));
    write(&rules, "spraying.yml", SPRAYING);
    fs::remove_file(rules.join("whoami.yml")).unwrap();
    let mut shown = 0;
    let change = watcher.poll(|book| shown = book.correlations().len());
    assert_eq!(change, Some(Change { added: 1, removed: 1, changed: 1 }));
    assert_eq!(shown, 1);
    assert_eq!(handle.current().rules()[0].reference.level, Level::Critical);

    fs::rename(&rules, folder.path().join("elsewhere")).unwrap();
    assert_eq!(watcher.poll(|_| panic!("the old rules stay")), None);
    assert_eq!(handle.current().rules().len(), 1);
    fs::rename(folder.path().join("elsewhere"), &rules).unwrap();
    assert_eq!(watcher.poll(|_| panic!("all is as it was")), None);
}

/// Somebody saves a file with a slip in it: detection goes on with what it said before, and they
/// are told.
#[test]
fn a_file_that_breaks_stays_in_use_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "logon.yml", FAILED_LOGON);
    let sources = RuleSources { paths: vec![folder.path().into()], ..RuleSources::default() };
    let (mut watcher, handle) = Watcher::start(sources);
    let broken = FAILED_LOGON.replace("condition: ", "condition: not_there and ");
    write(folder.path(), "logon.yml", &broken);
    for _ in 0..2 {
        assert_eq!(watcher.poll(|_| ()), Some(Change::default()));
        let book = handle.current();
        assert_eq!((book.rules().len(), book.refused()), (1, 1));
        assert_eq!(records(&book, &logon("anna", "10.0.0.9")).len(), 1);
        let fault = &book.diagnostics()[0];
        assert!(fault.render(book.source(&fault.file)).contains("not_there"));
        // Another file changes; the first one is still broken.
        write(folder.path(), "spraying.yml", "# nothing yet");
    }
    let mended = FAILED_LOGON.replace("level: low", "level: critical");
    write(folder.path(), "logon.yml", &mended);
    assert!(watcher.poll(|_| ()).is_some());
    assert_eq!(handle.current().rules()[0].reference.level, Level::Critical);
    assert_eq!(handle.current().refused(), 0);
}

fn write(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(name), text).unwrap();
}

/// SigmaHQ's rules, where they are at hand.
#[test]
fn the_public_rules_load() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/sigma/rules");
    if !Path::new(folder).is_dir() {
        assert!(std::env::var_os("WATCHPOST_TEST_NEEDS_ALL").is_none(), "{folder} is missing");
        println!("skipped: {folder} is not there");
        return;
    }
    let started = std::time::Instant::now();
    let book = RuleSources { paths: vec![folder.into()], ..RuleSources::default() }.load();
    println!(
        "{} rules and {} correlations in {:?}, {} refused",
        book.rules().len(),
        book.correlations().len(),
        started.elapsed(),
        book.refused()
    );
    for line in said(&book).iter().take(20) {
        println!("{line}");
    }
    assert!(book.rules().len() > 3_000);
    assert!(book.refused() * 100 < book.rules().len(), "under one in a hundred is refused");
}
