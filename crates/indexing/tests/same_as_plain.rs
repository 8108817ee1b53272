//! The index answers as the plain evaluator does, whatever the events and the query.

#![expect(clippy::unwrap_used, reason = "a test may stop at what it did not expect")]

use event::{Event, Timestamp};
use indexing::{Answer, Document, Hit, Index, Kind, Limits, Options, SearchRequest, Searcher};
use proptest::prelude::*;
use query::{Cell, Query, Rows, Table, TimeRange};

/// A small vocabulary, so that queries hit.
fn word() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "anna",
        "Bert",
        "BERT",
        "power",
        "powershell.exe",
        "PowerShell.EXE",
        "cmd.exe /c dir",
        "C:\\Windows\\cmd.exe",
        "10.1.2.3",
        "10.200.0.1",
        "fe80::1",
        "2026-08-05",
        "4624",
        "4625",
        "1.5",
        "",
        "logon failed",
        "Logon Failed for anna",
        "failed logon",
        "Ärger",
        "ärger-2",
        "-",
        "true",
        "x y z",
        "a.b.c",
        "aaa",
        "aa",
        "2026-08-05T12:00:00Z",
    ])
    .prop_map(str::to_owned)
}

fn scalar() -> impl Strategy<Value = serde_json::Value> {
    prop_oneof![
        5 => word().prop_map(Into::into),
        2 => (-3..6i64).prop_map(Into::into),
        1 => prop::sample::select(vec![4624i64, 1_000_000, 1 << 53, -(1 << 53)]).prop_map(Into::into),
        1 => any::<bool>().prop_map(Into::into),
        1 => Just(serde_json::Value::Null),
        1 => prop::sample::select(vec![0.5, 1.5, 2.0, -7.25]).prop_map(Into::into),
    ]
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    prop_oneof![
        8 => scalar(),
        1 => prop::collection::vec(scalar(), 0..4).prop_map(Into::into),
        1 => (scalar(), scalar()).prop_map(|(a, b)| serde_json::json!([{"in": a}, {"in": b}])),
        1 => Just(serde_json::json!({})),
    ]
}

const FIELDS: [&str; 9] = [
    "user.name",
    "host.name",
    "message",
    "process.pid",
    "process.command_line",
    "source.ip",
    "event.original",
    "event.created",
    "odd name.x",
];

fn events() -> impl Strategy<Value = Vec<serde_json::Value>> {
    let fields = prop::collection::btree_map(prop::sample::select(FIELDS.to_vec()), value(), 0..7);
    prop::collection::vec((fields, 0..200_000i64), 1..25).prop_map(|all| {
        all.into_iter()
            .enumerate()
            .map(|(n, (fields, seconds))| {
                let mut event = serde_json::Map::new();
                let time = Timestamp::from_millis(1_785_900_000_000 + seconds * 1000);
                event.insert("@timestamp".into(), time.to_string().into());
                event.insert("event.id".into(), format!("id-{n}").into());
                event.extend(fields.into_iter().map(|(name, value)| (name.to_owned(), value)));
                serde_json::Value::Object(event)
            })
            .collect()
    })
}

fn clause() -> impl Strategy<Value = String> {
    let field = prop::sample::select(vec![
        "user.name",
        "host.name",
        "message",
        "process.pid",
        "process.command_line",
        "source.ip",
        "event.original",
        "event.created",
        "\"odd name.x\"",
        "user.*",
        "*.name",
        "process",
        "a.in",
        "user.name.in",
        "event",
        "@timestamp",
        "nothing",
    ]);
    let quoted = word().prop_map(|word| format!("\"{}\"", word.replace('\\', "\\\\"))).boxed();
    let pattern = prop::sample::select(vec![
        "*a*",
        "an?a",
        "power*",
        "*exe",
        "*logon fail*",
        "*o*n*",
        "?",
        "10.*",
        "*failed",
        "4*",
        "*-*",
        "t*",
        "2026*",
        "*.5",
    ])
    .prop_map(|pattern| pattern.replace(' ', "\\ "))
    .boxed();
    let range = prop::sample::select(vec![
        ">1",
        ">=1.5",
        "<3",
        ":[2 TO 4624]",
        ":{-3 TO 1.5}",
        ">a",
        "<=bert",
        ":[10.0.0.0 TO 10.128.0.0]",
        ">=2026-08-05",
        "<2026-08-05T10:00:00Z",
        ":[* TO *]",
        ">9007199254740991",
        "<-9e15",
    ]);
    prop_oneof![
        Just("*".to_owned()),
        quoted.clone().prop_filter("has words", |q| !query::words(q).is_empty()),
        pattern.clone().prop_filter("has words", |p| !matches!(p.as_str(), "?" | "*-*")),
        (field.clone(), quoted.clone()).prop_map(|(field, value)| format!("{field}:{value}")),
        (field.clone(), quoted).prop_map(|(field, value)| format!("{field}:{value}")),
        (field.clone(), pattern).prop_map(|(field, pattern)| format!("{field}:{pattern}")),
        (field.clone(), range).prop_map(|(field, range)| format!("{field}{range}")),
        field.clone().prop_map(|field| format!("{field}:*")),
        (field.clone(), prop::sample::select(vec!["10.0.0.0/8", "fe80::/10", "0.0.0.0/0"]))
            .prop_map(|(field, network)| format!("{field}:\"{network}\"")),
        (
            field,
            prop::sample::select(vec!["/^a/", "/logon.*anna/", "/[0-9]{2}/", "/exe$/", "/^$/"])
        )
            .prop_map(|(field, regex)| format!("{field}:{regex}")),
    ]
}

fn filter() -> impl Strategy<Value = String> {
    clause().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|a| format!("not ({a})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) and ({b})")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("({a}) or ({b})")),
        ]
    })
}

fn pipes() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "| stats count",
        "| stats count by user.name",
        "| stats count, dc(host.name), min(process.pid), max(process.pid) by user.name, host.name",
        "| stats count(user.name), sum(process.pid) by source.ip, event.created, \"odd name.x\"",
        "| stats min(@timestamp), max(event.created), dc(message) by host.name",
        "| stats count by message",
        "| stats dc(process.pid) by user.name.in",
        "| timechart span=6h count, dc(user.name) by host.name",
        "| top 3 user.name",
        "| rare 2 process.command_line | where count < 3",
        "| where user.name:* | stats count by @timestamp | sort -count, @timestamp | head 4",
        "| sort event.id | fields event.id, user.name, process.pid",
        "| dedup user.name | stats count",
        "| stats count by a, b, c, d, e",
        "| stats first(user.name), last(process.pid), first(source.ip) as ip by host.name",
        "| stats last(event.created), first(message) by user.name",
        "| stats p50(process.pid), p95(process.pid), percentile(user.name, 12.5) by host.name",
        "| stats p0(process.pid), p100(source.ip), median(process.pid)",
        "| timechart span=6h first(host.name), p90(process.pid) by user.name",
        "| top 2 user.name, host.name",
        "| rare 1 user.name by host.name",
        "| fields user.name as who, process.pid | sort -who, process.pid desc | head 3",
        "| dedup 2 user.name | stats count by user.name",
        "| sequence by user.name within 20h [host.name:*a*] [*] [process.pid>0]",
        "| sequence within 30h [user.name:*] [host.name:*] | where events:id-1*",
        "| where process.pid:* | sequence by user.name, host.name within 9h [*] [*]",
    ])
}

fn parse_event(json: &serde_json::Value) -> Event {
    let mut event = Event::new();
    event.parse_json(json.to_string().as_bytes()).unwrap();
    event
}

/// Indexes the events; in several commits, so that there are several segments.
fn indexed(dir: &std::path::Path, events: &[Event], per_commit: usize) -> Searcher {
    let options = Options { threads: 1, writers_max: 2, ..Options::default() };
    let index = Index::open(dir, options).unwrap();
    let mut writer = index.writer("log").unwrap();
    for chunk in events.chunks(per_commit) {
        for event in chunk {
            writer.add(Document {
                kind: Kind::Events,
                time: event.timestamp().unwrap(),
                event: event.clone(),
                json: event.to_json().into_bytes(),
                position: None,
            });
        }
        writer.commit().unwrap();
    }
    index.searcher()
}

fn ids(hits: &[Hit]) -> Vec<String> {
    let mut ids: Vec<String> =
        hits.iter().map(|hit| hit.event().str("event.id").unwrap().to_owned()).collect();
    ids.sort();
    ids
}

fn sums_rounded(table: &Table) -> Vec<Vec<Cell>> {
    let round = |cell: &Cell| match cell {
        Cell::Float(number) => Cell::number((number * 1e6).round() / 1e6),
        other => other.clone(),
    };
    table.rows.iter().map(|row| row.iter().map(round).collect()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_index_finds_what_the_plain_evaluator_finds(
        events in events(),
        filters in prop::collection::vec(filter(), 12),
        piped in prop::collection::vec((filter(), pipes()), 6),
        range in prop::option::of((0..200_000i64, 0..200_000i64)),
        per_commit in 1..30usize,
        // Threads, and documents of a slice.
        sliced in prop_oneof![Just((2, 250_000)), (1..9usize, 1..10u32)],
    ) {
        let events: Vec<Event> = events.iter().map(parse_event).collect();
        let dir = tempfile::tempdir().unwrap();
        let searcher = indexed(dir.path(), &events, per_commit);
        let moment = |seconds: i64| Some(Timestamp::from_millis(1_785_900_000_000 + seconds * 1000));
        let range = range.map_or(TimeRange::ALL, |(a, b)| TimeRange {
            since: moment(a.min(b)),
            until: moment(a.max(b)),
        });
        let in_range: Vec<Event> = events
            .iter()
            .filter(|event| range.contains(event.timestamp().unwrap()))
            .cloned()
            .collect();
        for text in filters {
            let query: Query = query::parse(&text).unwrap_or_else(|e| panic!("{}", e.render()));
            let wanted: Vec<Event> =
                in_range.iter().filter(|event| query::matches(&query.filter, event)).cloned().collect();
            let mut request = SearchRequest::new(&query);
            request.range = range;
            (request.limits.threads, request.limits.slice_documents) = sliced;
            request.histogram = Some(10);
            let results = searcher.search(&request);
            prop_assert_eq!(&results.partial, &vec![], "{}", &text);
            let Answer::Hits(hits) = &results.answer else { panic!("no hits") };
            let mut wanted_ids: Vec<String> =
                wanted.iter().map(|event| event.str("event.id").unwrap().to_owned()).collect();
            wanted_ids.sort();
            prop_assert_eq!(ids(hits), wanted_ids, "{}", &text);
            prop_assert_eq!(results.total, wanted.len() as u64);
            prop_assert!(hits.windows(2).all(|pair| pair[0].time >= pair[1].time));
            if let Some(histogram) = &results.histogram {
                prop_assert_eq!(histogram.counts.iter().sum::<u64>(), wanted.len() as u64);
            }
        }
        for (text, pipes) in piped {
            let text = format!("{text} {pipes}");
            let query: Query = query::parse(&text).unwrap_or_else(|e| panic!("{}", e.render()));
            let mut wanted: Vec<Event> =
                in_range.iter().filter(|event| query::matches(&query.filter, event)).cloned().collect();
            wanted.sort_by_key(|event| std::cmp::Reverse(event.timestamp()));
            // Where order decides, equal times must not.
            if pipes.contains("dedup") || pipes.contains("head") {
                let mut times: Vec<_> = wanted.iter().map(Event::timestamp).collect();
                times.dedup();
                prop_assume!(times.len() == wanted.len());
            }
            let mut request = SearchRequest::new(&query);
            request.range = range;
            (request.limits.threads, request.limits.slice_documents) = sliced;
            let results = searcher.search(&request);
            prop_assert_eq!(&results.partial, &vec![], "{}", &text);
            match (results.answer, query::run(&query.pipes, wanted, &mut Vec::new())) {
                (Answer::Table(table), Rows::Table(plain)) => {
                    prop_assert_eq!(&table.columns, &plain.columns);
                    prop_assert_eq!(sums_rounded(&table), sums_rounded(&plain), "{}", &text);
                }
                _ => prop_assert!(false, "not both a table: {}", text),
            }
        }
    }
}

#[test]
fn answers_are_bounded_and_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let events: Vec<Event> = (0..500)
        .map(|n| {
            parse_event(&serde_json::json!({
                "@timestamp": Timestamp::from_millis(1_785_900_000_000 + n).to_string(),
                "event.id": format!("id-{n}"),
                "user.name": format!("user{n}"),
                "message": format!("text {n}"),
            }))
        })
        .collect();
    let searcher = indexed(dir.path(), &events, 100);
    let partial = |text: &str, limits: Limits| {
        let query = query::parse(text).unwrap();
        let mut request = SearchRequest::new(&query);
        request.limits = limits;
        let results = searcher.search(&request);
        assert_eq!(results.total, 500, "{text}");
        results.partial.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    let limits = Limits::default();
    insta::assert_snapshot!(partial("*", Limits { hits: 3, ..limits.clone() }), @"");
    insta::assert_snapshot!(partial("* | stats count by user.name", Limits { groups: 7, ..limits.clone() }), @"more groups than the limit of 7; those first met were counted");
    insta::assert_snapshot!(partial("* | stats count by user.name", Limits { rows: 7, ..limits.clone() }), @"more rows than the limit of 7; the first are shown");
    insta::assert_snapshot!(partial("* | stats count by message", Limits { documents: 10, ..limits.clone() }), @"this pipe reads whole events, and only the newest 10 were read");
    insta::assert_snapshot!(partial("* | sequence within 1m [*] [user.name:user499]", Limits { sequence_events: 10, ..limits.clone() }), @"more than 10 events pass a step of the sequence, and the oldest were left out; narrow the time range or the steps");
    insta::assert_snapshot!(partial("* | head 20 | sort user.name", Limits { documents: 100, ..limits.clone() }), @"");
    let query = query::parse("anna").unwrap();
    let mut request = SearchRequest::new(&query);
    request.limits.time = std::time::Duration::ZERO;
    let results = searcher.search(&request);
    insta::assert_snapshot!(results.partial[0], @"the search was stopped after 0ns; narrow the time range or the filter");
}

/// A page that ends among hits of one time goes on from how many of them were shown, so the first
/// hits must be the same however many are asked for.
#[test]
fn fewer_hits_are_the_first_of_more_also_at_one_time() {
    let dir = tempfile::tempdir().unwrap();
    let events: Vec<Event> = (0..300)
        .map(|n| {
            parse_event(&serde_json::json!({
                // Three times only, one after the other in each segment.
                "@timestamp": Timestamp::from_millis(1_785_900_000_000 + n % 3).to_string(),
                "event.id": format!("id-{n}"),
            }))
        })
        .collect();
    for per_commit in [7, 100, 300] {
        let dir = dir.path().join(per_commit.to_string());
        let searcher = indexed(&dir, &events, per_commit);
        let hits = |hits: usize| {
            let query = query::parse("*").unwrap();
            let limits = Limits { hits, ..Limits::default() };
            let request = SearchRequest { limits, ..SearchRequest::new(&query) };
            let Answer::Hits(hits) = searcher.search(&request).answer else { panic!("no hits") };
            let id = |hit: &Hit| hit.event().str("event.id").unwrap().to_owned();
            hits.iter().map(id).collect::<Vec<String>>()
        };
        let all = hits(1000);
        assert_eq!(all.len(), 300);
        for wanted in [1, 2, 50, 99, 100, 101, 150, 299] {
            assert_eq!(hits(wanted), all[..wanted], "{wanted} of {per_commit} in a commit");
        }
    }
}

/// The dictionary of so many names has two parts, and threads share them.
#[test]
fn a_large_dictionary_is_looked_through_whole() {
    const NAMES: usize = 17_000;
    let events: Vec<Event> = (0..NAMES)
        .map(|n| {
            parse_event(&serde_json::json!({
                "@timestamp": "2026-08-05T12:00:00Z",
                "event": {"id": n.to_string()},
                "process": {"name": format!("p{n}.exe")},
            }))
        })
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let searcher = indexed(dir.path(), &events, NAMES);
    let wanted = (0..NAMES).filter(|n| format!("p{n}.exe").contains("77")).count() as u64;
    let query = query::parse("process.name:*77* | stats count by process.name").unwrap();
    for threads in [1, 2, 5] {
        let mut request = SearchRequest::new(&query);
        (request.limits.threads, request.limits.slice_documents) = (threads, 1000);
        let results = searcher.search(&request);
        assert_eq!((results.total, results.partial), (wanted, vec![]));
        let Answer::Table(table) = results.answer else { panic!("no table") };
        assert_eq!(table.rows.len() as u64, wanted);
    }
}
