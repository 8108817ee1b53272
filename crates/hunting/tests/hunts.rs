//! Hunts over a real index: each verdict, and what must never be made of what.

#![expect(clippy::unwrap_used, reason = "a test may stop at what it did not expect")]

use std::path::Path;
use std::time::Duration;

use event::{Event, Timestamp};
use hunting::{Hunt, Limits, Report, Verdict, load, run};
use indexing::{Document, Index, Kind, Options, Searcher};
use insta::assert_snapshot;
use query::TimeRange;

const HUNT: &str = r"
title: A stolen password after a spray
hypothesis: Somebody tried one password on many accounts, and one of them worked.
tags: [attack.credential-access, attack.t1110.003]
needs:
  - title: logon events
    query: 'event.code:(4624 or 4625)'
    min_events: 10
    fields: {source.ip: 90%}
    distinct: {host.name: 2}
    covers: 40%
steps:
  - id: spray
    title: sources that failed on many accounts
    query: 'event.code:4625 | stats count, dc(user.name) as users by source.ip | where users >= 4'
  - id: success
    title: one of these sources then succeeded
    query: 'event.code:4624 and source.ip:{{spray.source.ip}}'
  - id: after
    title: what the accounts did next
    query: 'event.code:4688 and user.name:{{success.user.name}}'
supported_when: success
next: reset the password, and look at what the account did since
";

fn start() -> Timestamp {
    Timestamp::parse_rfc3339("2026-08-05T12:00:00Z").unwrap()
}

fn now() -> Timestamp {
    start().plus_nanos(3_600_000_000_000)
}

fn event(minute: i64, code: &str, user: &str, source: &str) -> serde_json::Value {
    serde_json::json!({
        "@timestamp": start().plus_nanos(minute * 60_000_000_000).to_string(),
        "event": { "id": format!("{code}-{minute}"), "code": code },
        "host": { "name": format!("host{}", minute / 3 % 3) },
        "user": { "name": user },
        "source": { "ip": source },
    })
}

/// An hour of people who mostly know their passwords.
fn benign() -> Vec<serde_json::Value> {
    (0..20)
        .map(|n| {
            let code = if n % 5 == 0 { "4625" } else { "4624" };
            event(n * 3, code, &format!("user{}", n % 6), &format!("10.0.0.{}", n % 6))
        })
        .collect()
}

/// A spray, a success, and a process with a name that tries to be a query.
fn attack() -> Vec<serde_json::Value> {
    let mut events: Vec<_> =
        (0..6).map(|n| event(20 + n, "4625", &format!("account{n}"), "203.0.113.9")).collect();
    events.push(event(30, "4624", "mallory\" or user.name:*", "203.0.113.9"));
    events.push(event(31, "4688", "mallory\" or user.name:*", "10.0.0.1"));
    events.push(event(32, "4688", "innocent", "10.0.0.1"));
    events
}

fn indexed(dir: &Path, events: &[serde_json::Value]) -> Searcher {
    let index = Index::open(dir, Options { threads: 1, ..Options::default() }).unwrap();
    let mut writer = index.writer("log").unwrap();
    for json in events {
        let mut event = Event::new();
        event.parse_json(json.to_string().as_bytes()).unwrap();
        writer.add(Document {
            kind: Kind::Events,
            time: event.timestamp().unwrap(),
            json: event.to_json().into_bytes(),
            event,
            position: None,
        });
    }
    writer.commit().unwrap();
    index.searcher()
}

fn range() -> TimeRange {
    TimeRange { since: Some(start()), until: Some(now()) }
}

fn parsed(text: &str) -> Hunt {
    Hunt::parse(text, "hunts/spray.yml").unwrap_or_else(|faults| {
        panic!("{}", faults.iter().map(|f| f.render(Some(text))).collect::<String>())
    })
}

fn ran(text: &str, events: &[serde_json::Value], limits: &Limits) -> Report {
    let dir = tempfile::tempdir().unwrap();
    let searcher = indexed(dir.path(), events);
    let mut report = run(&parsed(text), &searcher, range(), now(), limits);
    report.took_ms = 0;
    report.steps.iter_mut().for_each(|step| step.took_ms = 0);
    report
}

fn both() -> Vec<serde_json::Value> {
    let mut events = benign();
    events.extend(attack());
    events
}

#[test]
fn what_was_found_supports() {
    let report = ran(HUNT, &both(), &Limits::default());
    assert_eq!(report.verdict, Verdict::Supported);
    assert_snapshot!(report.text(), @r#"
    A stolen password after a spray
      supported, because `success` found 1 event

      Somebody tried one password on many accounts, and one of them worked.
      ATT&CK    T1110.003, credential-access
      searched  2026-08-05T12:00:00Z to 2026-08-05T13:00:00Z, 29 events

    What it needs to see
      ok      logon events
              events: 27, wanted 10
              events with source.ip: 100%, wanted 90%
              different host.name: 3, wanted 2
              time with events: 100%, wanted 40%

    What was looked for
      yes     spray: sources that failed on many accounts: found 1 row
              event.code:4625 | stats count, dc(user.name) as users by source.ip | where users >= 4
              source.ip    count  users  event.id
              203.0.113.9  6      6      4625-25 4625-24 4625-23
      yes     success: one of these sources then succeeded: found 1 event
              event.code:4624 and source.ip:("203.0.113.9")
              spray.source.ip: 1 of 1 values
              2026-08-05T12:30:00Z  4624-30  host.name=host1 user.name=mallory" or user.name:* source.ip=203.0.113.9 event.code=4624
      yes     after: what the accounts did next: found 1 event
              event.code:4688 and user.name:("mallory\" or user.name:*")
              success.user.name: 1 of 1 values
              2026-08-05T12:31:00Z  4688-31  host.name=host1 user.name=mallory" or user.name:* source.ip=10.0.0.1 event.code=4688

    Next, if it is supported
      - reset the password, and look at what the account did since

    took 0 ms
    "#);
    assert_snapshot!(report.markdown(), @r#"
    # A stolen password after a spray

    **supported**: \`success\` found 1 event

    > Somebody tried one password on many accounts, and one of them worked.

    - ATT&CK: T1110.003, credential-access
    - searched: 2026-08-05T12:00:00Z to 2026-08-05T13:00:00Z, 29 events
    - run at 2026-08-05T13:00:00Z in 0 ms
    - hunt: spray (hunts/spray.yml)

    ## What it needs to see

    | data | looked at | wanted | found |  |
    | --- | --- | --- | --- | --- |
    | logon events | events | 10 | 27 | ok |
    | logon events | events with source.ip | 90% | 100% | ok |
    | logon events | different host.name | 2 | 3 | ok |
    | logon events | time with events | 40% | 100% | ok |

    ## What was looked for

    ### spray: sources that failed on many accounts

    Found 1 row; the step holds.

    ```
    event.code:4625 | stats count, dc(user.name) as users by source.ip | where users >= 4
    ```

    | source.ip | count | users | event.id |
    | --- | --- | --- | --- |
    | 203.0.113.9 | 6 | 6 | 4625-25 4625-24 4625-23 |

    ### success: one of these sources then succeeded

    Found 1 event; the step holds.

    ```
    event.code:4624 and source.ip:("203.0.113.9")
    ```
    - spray.source.ip: 1 of 1 values

    | time | event.id |  |
    | --- | --- | --- |
    | 2026-08-05T12:30:00Z | 4624-30 | host.name=host1, user.name=mallory" or user.name:\*, source.ip=203.0.113.9, event.code=4624 |

    ### after: what the accounts did next

    Found 1 event; the step holds.

    ```
    event.code:4688 and user.name:("mallory\" or user.name:*")
    ```
    - success.user.name: 1 of 1 values

    | time | event.id |  |
    | --- | --- | --- |
    | 2026-08-05T12:31:00Z | 4688-31 | host.name=host1, user.name=mallory" or user.name:\*, source.ip=10.0.0.1, event.code=4688 |

    ## Next, if it is supported

    - reset the password, and look at what the account did since
    "#);
}

#[test]
fn the_json_has_stable_names() {
    let report = ran(HUNT, &both(), &Limits::default());
    assert_snapshot!(serde_json::to_string_pretty(&report).unwrap(), @r#"
    {
      "id": "spray",
      "title": "A stolen password after a spray",
      "file": "hunts/spray.yml",
      "hypothesis": "Somebody tried one password on many accounts, and one of them worked.",
      "tags": [
        "attack.credential-access",
        "attack.t1110.003"
      ],
      "techniques": [
        "T1110.003"
      ],
      "tactics": [
        "credential-access"
      ],
      "run_at": "2026-08-05T13:00:00Z",
      "range": {
        "since": "2026-08-05T12:00:00Z",
        "until": "2026-08-05T13:00:00Z"
      },
      "events": 29,
      "verdict": {
        "answer": "supported"
      },
      "reason": "`success` found 1 event",
      "needs": [
        {
          "title": "logon events",
          "query": "event.code:(4624 or 4625)",
          "ok": true,
          "checks": [
            {
              "kind": "events",
              "field": null,
              "wanted": 10,
              "found": 27,
              "ok": true
            },
            {
              "kind": "filled",
              "field": "source.ip",
              "wanted": 0.9,
              "found": 1,
              "ok": true
            },
            {
              "kind": "distinct",
              "field": "host.name",
              "wanted": 2,
              "found": 3,
              "ok": true
            },
            {
              "kind": "covered",
              "field": null,
              "wanted": 0.4,
              "found": 1,
              "ok": true
            }
          ],
          "incomplete": []
        }
      ],
      "steps": [
        {
          "id": "spray",
          "title": "sources that failed on many accounts",
          "query": "event.code:4625 | stats count, dc(user.name) as users by source.ip | where users >= 4",
          "holds": true,
          "found": 1,
          "min_rows": 1,
          "expect": "some",
          "events": 10,
          "substituted": [],
          "columns": [
            "source.ip",
            "count",
            "users"
          ],
          "rows": [
            [
              "203.0.113.9",
              6,
              6
            ]
          ],
          "row_events": [
            [
              "4625-25",
              "4625-24",
              "4625-23"
            ]
          ],
          "evidence": [],
          "incomplete": [],
          "notes": [],
          "took_ms": 0
        },
        {
          "id": "success",
          "title": "one of these sources then succeeded",
          "query": "event.code:4624 and source.ip:(\"203.0.113.9\")",
          "holds": true,
          "found": 1,
          "min_rows": 1,
          "expect": "some",
          "events": 1,
          "substituted": [
            {
              "reference": "spray.source.ip",
              "used": 1,
              "of": 1
            }
          ],
          "columns": [],
          "rows": [],
          "row_events": [],
          "evidence": [
            {
              "id": "4624-30",
              "time": "2026-08-05T12:30:00Z",
              "fields": [
                [
                  "host.name",
                  "host1"
                ],
                [
                  "user.name",
                  "mallory\" or user.name:*"
                ],
                [
                  "source.ip",
                  "203.0.113.9"
                ],
                [
                  "event.code",
                  "4624"
                ]
              ]
            }
          ],
          "incomplete": [],
          "notes": [],
          "took_ms": 0
        },
        {
          "id": "after",
          "title": "what the accounts did next",
          "query": "event.code:4688 and user.name:(\"mallory\\\" or user.name:*\")",
          "holds": true,
          "found": 1,
          "min_rows": 1,
          "expect": "some",
          "events": 1,
          "substituted": [
            {
              "reference": "success.user.name",
              "used": 1,
              "of": 1
            }
          ],
          "columns": [],
          "rows": [],
          "row_events": [],
          "evidence": [
            {
              "id": "4688-31",
              "time": "2026-08-05T12:31:00Z",
              "fields": [
                [
                  "host.name",
                  "host1"
                ],
                [
                  "user.name",
                  "mallory\" or user.name:*"
                ],
                [
                  "source.ip",
                  "10.0.0.1"
                ],
                [
                  "event.code",
                  "4688"
                ]
              ]
            }
          ],
          "incomplete": [],
          "notes": [],
          "took_ms": 0
        }
      ],
      "next": [
        "reset the password, and look at what the account did since"
      ],
      "took_ms": 0
    }
    "#);
}

#[test]
fn where_the_data_was_there_and_nothing_was_found_it_is_refuted() {
    let report = ran(HUNT, &benign(), &Limits::default());
    assert_eq!(report.verdict, Verdict::Refuted);
    assert_snapshot!(report.text(), @r"
    A stolen password after a spray
      refuted, because the data was there, and `success` found nothing

      Somebody tried one password on many accounts, and one of them worked.
      ATT&CK    T1110.003, credential-access
      searched  2026-08-05T12:00:00Z to 2026-08-05T13:00:00Z, 20 events

    What it needs to see
      ok      logon events
              events: 20, wanted 10
              events with source.ip: 100%, wanted 90%
              different host.name: 3, wanted 2
              time with events: 100%, wanted 40%

    What was looked for
      no      spray: sources that failed on many accounts: found nothing
              event.code:4625 | stats count, dc(user.name) as users by source.ip | where users >= 4
      no      success: one of these sources then succeeded: found nothing
              event.code:4624 and source.ip:{{spray.source.ip}}
              spray.source.ip: 0 of 0 values
              not run: there is no `spray.source.ip` to look for
      no      after: what the accounts did next: found nothing
              event.code:4688 and user.name:{{success.user.name}}
              success.user.name: 0 of 0 values
              not run: there is no `success.user.name` to look for

    Next, if it is supported
      - reset the password, and look at what the account did since

    took 0 ms
    ");
}

fn because(report: Report) -> String {
    match report.verdict {
        Verdict::Inconclusive { because } => because,
        other => format!("{other:?}: {}", report.reason),
    }
}

#[test]
fn missing_data_is_inconclusive() {
    let few: Vec<_> = benign().into_iter().take(4).collect();
    assert_snapshot!(because(ran(HUNT, &few, &Limits::default())), @r"the data it needs was not there: logon events: events 4 of at least 10, time with events 16.6% of at least 40%");
    let mut unnamed = benign();
    for event in &mut unnamed {
        event.as_object_mut().unwrap().remove("source");
    }
    assert_snapshot!(because(ran(HUNT, &unnamed, &Limits::default())), @r"the data it needs was not there: logon events: events with source.ip 0% of at least 90%");
    assert_snapshot!(because(ran(HUNT, &[], &Limits::default())), @r"there is no event at all in the searched time");
    let (before, needs_on) = HUNT.split_once("needs:").unwrap();
    let (_, steps) = needs_on.split_once("steps:").unwrap();
    let no_needs = format!("{before}steps:{steps}");
    assert_snapshot!(because(ran(&no_needs, &[], &Limits::default())), @r"there is no event at all in the searched time");
}

#[test]
fn evidence_counts_although_a_need_is_missing() {
    let report =
        ran(&HUNT.replace("min_events: 10", "min_events: 1000"), &both(), &Limits::default());
    assert_eq!(report.verdict, Verdict::Supported);
    assert_snapshot!(report.reason, @r"`success` found 1 event, although the data it needs was not there: logon events: events 27 of at least 1000");
    // But not where more data could take it away.
    let text = HUNT
        .replace("min_events: 10", "min_events: 1000")
        .replace("| where users >= 4", "| where users < 4");
    assert_snapshot!(because(ran(&text, &both(), &Limits::default())), @r"the data it needs was not there: logon events: events 27 of at least 1000");
}

#[test]
fn a_search_that_broke_off_never_refutes() {
    let mut limits = Limits::default();
    limits.search.time = Duration::ZERO;
    let text = HUNT.replace("min_events: 10", "min_events: 1");
    assert_snapshot!(because(ran(&text, &benign(), &limits)), @r"no event was seen: the search was stopped after 0ns; narrow the time range or the filter");
    let mut limits = Limits::default();
    limits.search.groups = 2;
    assert_snapshot!(because(ran(HUNT, &benign(), &limits)), @r"`success` is not complete: in `spray`: more groups than the limit of 2; those first met were counted");
    assert_eq!(
        ran(HUNT, &benign(), &Limits { time: Duration::ZERO, ..Limits::default() })
            .verdict
            .as_str(),
        "inconclusive"
    );
}

#[test]
fn values_that_were_cut_never_refute() {
    let text = r"
title: t
hypothesis: h
steps:
  - {id: users, title: all users, query: 'event.code:4625'}
  - {id: ran, title: they ran something, query: 'event.code:4688 and user.name:{{users.user.name}}'}
  - {id: others, title: others ran something, query: 'event.code:4688 and not user.name:{{users.user.name}}'}
supported_when: ran
";
    let whole = ran(text, &both(), &Limits::default());
    assert_eq!(whole.verdict, Verdict::Refuted, "{}", whole.reason);
    assert_eq!(whole.steps[2].holds, Some(true));
    let limits = Limits { values: 2, ..Limits::default() };
    let cut = ran(text, &both(), &limits);
    // More is found than there is, because less was left out.
    assert_eq!((cut.steps[2].found, cut.steps[2].holds), (2, None));
    assert_snapshot!(because(cut), @r"`ran` is not complete: only 2 of the 10 values of `users.user.name` were used");
}

#[test]
fn a_reference_under_not_without_values_leaves_all() {
    let text = r"
title: t
hypothesis: h
steps:
  - {id: known, title: known, query: 'event.code:1', expect: none}
  - {id: new, title: new, query: 'event.code:4688 and not user.name:{{known.user.name}}', min_rows: 2}
supported_when: known and new
refuted_when: not known
";
    let report = ran(text, &both(), &Limits::default());
    assert_eq!((report.verdict.as_str(), report.steps[1].found), ("supported", 2));
    let report =
        ran(&text.replace("event.code:1'", "event.code:4624'"), &both(), &Limits::default());
    assert_eq!(report.verdict, Verdict::Refuted);
    let report = ran(&text.replace("min_rows: 2", "min_rows: 3"), &both(), &Limits::default());
    assert_snapshot!(because(report), @r"neither `supported_when` nor `refuted_when` holds: `known` found nothing, `new` found 2 events");
}

#[test]
fn a_damaged_partition_never_refutes() {
    let dir = tempfile::tempdir().unwrap();
    drop(indexed(dir.path(), &benign()));
    let folder = dir.path().join("index/events-2026-08-06");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("meta.json"), "not an index").unwrap();
    let index = Index::open_read_only(dir.path()).unwrap();
    assert_eq!(index.problems().len(), 1);
    let ask =
        |range| because(run(&parsed(HUNT), &index.searcher(), range, now(), &Limits::default()));
    assert!(!ask(range()).contains("did not answer"), "the day was not asked for");
    let because = ask(TimeRange { until: Some(start().plus_nanos(86_400_000_000_000)), ..range() });
    let (before, _) = because.split_once(": the index partition").unwrap();
    assert_snapshot!(before, @"`success` is not complete: in `spray`: the partition events-2026-08-06 did not answer");
}

#[test]
fn what_events_hold_cannot_act_in_a_report() {
    let name = "a\u{1b}[2J|<b>`\u{202e}\n# x http://evil.example";
    let text = r"
title: t
hypothesis: h
steps:
  - {id: rows, title: rows, query: 'event.code:1 | stats count by user.name'}
  - {id: events, title: events, query: 'user.name:{{rows.user.name}}'}
supported_when: events
";
    let report = ran(text, &[event(1, "1", name, "10.0.0.1")], &Limits::default());
    assert_eq!(report.verdict, Verdict::Supported);
    let (text, markdown) = (report.text(), report.markdown());
    for shown in [&text, &markdown] {
        assert!(shown.chars().all(|c| c == '\n' || (!c.is_control() && c != '\u{202e}')));
    }
    let rows: Vec<&str> = markdown.lines().filter(|line| line.contains("evil")).collect();
    assert_snapshot!(rows.join("\n"), @r#"
    | a\\u{1b}\[2J\|&lt;b&gt;\`\\u{202e}\\n\# x http&#58;//evil.example | 1 | 1-1 |
    # x http://evil.example")
    | 2026-08-05T12:01:00Z | 1-1 | host.name=host0, user.name=a\\u{1b}\[2J\|&lt;b&gt;\`\\u{202e}\\n\# x http&#58;//evil.example, source.ip=10.0.0.1, event.code=1 |
    "#);
    // The exact value is in the JSON.
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["steps"][0]["rows"][0][0], name);
}

/// A chain of ten steps, each with a search for values, over more events than a screen shows.
#[test]
fn the_time_of_all_searches_is_bounded() {
    let mut text = String::from(
        "title: t\nhypothesis: h\nsteps:\n  - {id: s0, title: t, query: 'event.code:*'}\n",
    );
    for n in 1..10 {
        let before = n - 1;
        text.push_str(&format!(
            "  - {{id: s{n}, title: t, query: 'user.name:{{{{s{before}.user.name}}}}'}}\n"
        ));
    }
    text.push_str("supported_when: s9\n");
    let report = ran(&text, &both(), &Limits::default());
    assert_eq!((report.verdict.as_str(), report.steps[9].found), ("supported", 29));
    let limits = Limits { time: Duration::ZERO, ..Limits::default() };
    let report = ran(&text, &both(), &limits);
    assert_eq!(report.verdict.as_str(), "inconclusive");
    assert!(report.steps.iter().all(|step| step.holds.is_none() && !step.incomplete.is_empty()));
}

#[test]
fn files_and_folders_are_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    write("b.yml", HUNT.as_bytes());
    write("sub/a.yaml", HUNT.as_bytes());
    write("sub/b.yml", HUNT.as_bytes());
    write("broken.yml", b"title: [");
    write("latin.yml", b"title: \xff");
    write("notes.txt", b"not a hunt");
    let loaded = load(&[dir.path().to_owned(), dir.path().join("missing.yml")]);
    let ids: Vec<&str> = loaded.hunts.iter().map(|hunt| hunt.id.as_str()).collect();
    assert_eq!(ids, ["b", "a"]);
    let mut codes: Vec<&str> = loaded.diagnostics.iter().map(|d| d.code.as_str()).collect();
    codes.sort_unstable();
    assert_eq!(codes, ["duplicate-id", "unreadable", "unreadable", "yaml"]);
    assert!(loaded.find("a").is_some() && loaded.find("notes").is_none());
}

/// The example is what people copy.
#[test]
fn the_example_of_the_handbook_is_a_hunt() {
    let handbook = include_str!("../../../detections/README.md");
    let (_, hunts) = handbook.split_once("## Hunts").unwrap();
    let (_, example) = hunts.split_once("```yaml\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    assert_eq!(hunting::check(&parsed(example)), []);
}

#[test]
fn the_hunts_of_the_project_are_without_fault() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../detections/hunts");
    let loaded = load(&[folder]);
    let told: Vec<String> = loaded.diagnostics.iter().map(ToString::to_string).collect();
    assert_eq!(told, Vec::<String>::new());
    assert!(!loaded.hunts.is_empty());
    for hunt in &loaded.hunts {
        let mut advice = hunting::check(hunt);
        advice.retain(|advice| advice.severity > sigma::Severity::Note);
        assert_eq!(advice, [], "{}", hunt.file);
    }
}
