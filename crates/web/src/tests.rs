//! The router over a small index: who may ask, what calls and pages answer, and that the OpenAPI
//! document says the same as they do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody, to_bytes};
use axum::http::{Request, StatusCode, header};
use axum::routing::{get, post};
use bus::{Bus, MemoryBus, MemorySettings, Records, Topic, rejected_header};
use detection::{RuleSources, Rules};
use event::{Alert, Event, Evidence, Level, MatchedField, RuleRef, Timestamp};
use indexing::{Document, Index, Kind, Options};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::files::FollowedFile;
use crate::search::Searches;
use crate::searches::{LastRun, List, Saved};
use crate::server::{Context, with_context};
use crate::{AppState, Tails, Token};

const RULES: &str = "title: Odd Command
id: 6f0c1f5a-0d4b-4e51-9b7a-000000000001
name: odd_command
description: Somebody runs <b>an odd</b> command.
status: test
tags:
    - attack.execution
    - attack.t1059.001
references:
    - https://example.org/odd
    - javascript:alert(1)
logsource:
    category: process_creation
    product: windows
detection:
    selection:
        CommandLine|contains: 'odd'
    condition: selection
level: high
---
title: Many Odd Commands
id: 6f0c1f5a-0d4b-4e51-9b7a-000000000002
status: test
correlation:
    type: event_count
    rules:
        - odd_command
    group-by:
        - Computer
    timespan: 10m
    generate: true
    condition:
        gte: 5
level: critical
";

const BROKEN: &str = "title: Broken\nlogsource:\n    product: windows\ndetection:\n    selection:\n        Image|endwith: x\n    condition: selection\n";

/// Text that would be a script, an end of an attribute and an entity, if a page let it.
const HOSTILE: &str = r#"odd "><script>alert(1)</script> ' onload=x &amp;"#;

struct Place {
    _folder: tempfile::TempDir,
    context: Context,
    router: Router,
}

/// Events one second apart, `e0` the oldest, two at each moment; the last one is hostile. One alert
/// rests on that one.
fn place(events: usize) -> Place {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(folder.path(), Options { threads: 1, ..Options::default() }).unwrap();
    let mut writer = index.writer("log").unwrap();
    let now = Timestamp::now();
    let mut add = |kind, event: Event| {
        let time = event.timestamp().unwrap();
        let json = event.to_json().into_bytes();
        writer.add(Document { kind, time, event, json, position: None });
    };
    let mut last = Value::Null;
    for n in 0..events {
        let hostile = n + 1 == events;
        let pair = i64::try_from(n / 2).unwrap() * 1_000;
        last = json!({
            "@timestamp": Timestamp::from_millis(now.as_millis() - 600_000 + pair).to_string(),
            "event": {"id": format!("e{n}"), "kind": "event", "dataset": "test", "code": "1"},
            "host": {"name": if n % 3 == 0 { "ws-3" } else { "ws-1" }},
            "user": {"name": if hostile { HOSTILE } else { "anna" }},
            "process": {"pid": n, "command_line": if hostile { HOSTILE } else { "notepad.exe" }},
        });
        let mut event = Event::new();
        event.parse_json(last.to_string().as_bytes()).unwrap();
        add(Kind::Events, event);
    }
    let alert = Alert {
        id: "a1".into(),
        time: now.plus_nanos(-1_000_000_000),
        created: now,
        received: now,
        rule: RuleRef {
            id: "6f0c1f5a-0d4b-4e51-9b7a-000000000001".into(),
            title: "Odd Command".into(),
            level: Level::High,
            tags: vec!["attack.execution".into(), "attack.t1059.001".into()],
            ..RuleRef::default()
        },
        reason: format!("somebody ran {HOSTILE}"),
        namespace: "default".into(),
        matched: vec![MatchedField {
            field: "process.command_line".into(),
            value: HOSTILE.into(),
            pattern: "contains odd".into(),
        }],
        group: vec![("host.name".into(), "ws-1".into())],
        event_count: 2,
        event_ids: vec!["e0".into(), format!("e{}", events - 1)],
        evidence: vec![Evidence { id: format!("e{}", events - 1), event: last }],
    };
    add(Kind::Alerts, alert.to_event().unwrap());
    writer.flush().unwrap();
    writer.commit().unwrap();
    let sources = RuleSources {
        builtin: vec![("odd.yml".into(), RULES.into()), ("broken.yml".into(), BROKEN.into())],
        paths: Vec::new(),
        pipelines: Vec::new(),
    };
    let bus = Arc::new(bus_with_rejected());
    let context = Context::new(AppState {
        tails: Tails::new(bus.clone(), "indexing"),
        index_group: "indexing".to_owned(),
        search: Arc::new(index.searcher()),
        is_indexed: true,
        index,
        rules: Rules::new(sources.load()),
        token: Token::new("secret"),
        bus,
        problems: Arc::new(Vec::new),
        searches: Arc::new(saved_searches),
        files: Arc::new(|| {
            vec![FollowedFile { path: "/var/log/a.log".into(), ..FollowedFile::default() }]
        }),
    });
    let ingest = Router::new()
        .route("/ingest/{dataset}", post(|| async { "taken" }))
        .route("/ingest/panic", get(panics));
    let router = with_context(context.clone(), Some(ingest));
    Place { _folder: folder, context, router }
}

/// Two saved searches, of which one is scheduled and has run.
fn saved_searches() -> crate::searches::List {
    let texts = [
        ("plain.yml", "title: Everything\nquery: '*'\n"),
        (
            "often.yml",
            "title: Often\nquery: '*'\nschedule: {every: 5m, over: 15m}\nalert: {level: low, when: count > 5, suppress: 1h}\n",
        ),
    ];
    let loaded = searches::load(texts.map(|(file, text)| (file.to_owned(), text)).into_iter(), &[]);
    let run = LastRun::of(Timestamp::from_millis(0), Timestamp::from_millis(900_000));
    let saved = |search: searches::SavedSearch| {
        let last_run = search.schedule.is_some().then(|| run.clone());
        Saved { search, until: last_run.as_ref().map(|run| run.to), last_run }
    };
    let faults = vec!["bad.yml:1:1: error: wrong".to_owned()];
    List { searches: loaded.searches.into_iter().map(saved).collect(), faults }
}

/// A bus with two rejected records, which a stage refused at `raw/0/5`: a text, and one that is none.
fn bus_with_rejected() -> MemoryBus {
    let bus = MemoryBus::new(MemorySettings { partitions: 1, ..MemorySettings::default() });
    let headers: [(&str, &[u8]); 6] = [
        (rejected_header::REASON, HOSTILE.as_bytes()),
        (rejected_header::STAGE, b"normalize"),
        (rejected_header::TOPIC, b"raw"),
        (rejected_header::PARTITION, b"0"),
        (rejected_header::OFFSET, b"5"),
        ("dataset", b"app.log"),
    ];
    let mut records = Records::new();
    records.push(b"", &headers, HOSTILE.as_bytes());
    records.push(b"key", &headers, b"\xff\x00");
    bus.append(Topic::Rejected, &mut records).unwrap();
    bus
}

async fn panics() -> &'static str {
    panic!("a handler that breaks")
}

struct Answer {
    status: StatusCode,
    headers: axum::http::HeaderMap,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.body))
    }

    fn header(&self, name: header::HeaderName) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }
}

async fn ask(router: &Router, request: Request<Body>) -> Answer {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, 16 << 20).await.unwrap();
    // An export may be bytes.
    let body = String::from_utf8_lossy(&body).into_owned();
    Answer { status: parts.status, headers: parts.headers, body }
}

async fn get_as(router: &Router, path: &str, token: Option<&str>) -> Answer {
    let mut request = Request::get(path);
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    ask(router, request.body(Body::empty()).unwrap()).await
}

async fn fetch(router: &Router, path: &str) -> Answer {
    get_as(router, path, Some("secret")).await
}

#[tokio::test]
async fn only_who_has_the_token_may_ask() {
    let place = place(2);
    let locked = [
        "/",
        "/search",
        "/alerts",
        "/alerts/a1",
        "/events/e0",
        "/rules",
        "/datasets",
        "/api",
        "/metrics",
        "/nowhere",
        "/api/v1/search",
        "/api/v1/export",
        "/api/v1/tail",
        "/api/v1/searches",
        "/api/v1/searches/plain/run",
        "/api/v1/alerts/a1",
        "/api/v1/status",
        "/api/v1/nowhere",
        "/api/v1/openapi.json",
        "/api/v1/rejected",
        "/api/v1/rejected/0/0",
        "/api/v1/rejected/replay",
        "/es",
        "/es/",
        "/es/_search",
        "/es/events-*/_search",
        "/es/_search/scroll",
        "/es/nowhere",
    ];
    for path in locked {
        for token in [None, Some(""), Some("wrong"), Some("secret ")] {
            let answer = get_as(&place.router, path, token).await;
            assert_eq!(answer.status, 401, "{path} {token:?}");
            assert!(!answer.body.contains("ws-1"), "{path}");
        }
    }
    for path in ["/healthz", "/readyz", "/static/style.css", "/static/page.js"] {
        assert_eq!(get_as(&place.router, path, None).await.status, 200, "{path}");
    }
    let post = Request::post("/ingest/x").body(Body::from("{}")).unwrap();
    let answer = ask(&place.router, post).await;
    assert_eq!(answer.status, 401);
    assert!(answer.json()["error"].is_string(), "senders are programs: {}", answer.body);
}

#[tokio::test]
async fn the_link_signs_in_once() {
    let place = place(2);
    let answer = get_as(&place.router, "/login?token=wrong", None).await;
    assert_eq!(answer.status, 401);
    assert_eq!(answer.header(header::SET_COOKIE), "");

    let answer = get_as(&place.router, "/login?token=secret&next=/rules", None).await;
    assert_eq!((answer.status.as_u16(), answer.header(header::LOCATION)), (303, "/rules"));
    let cookie = answer.header(header::SET_COOKIE);
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite"), "{cookie}");
    let pair = cookie.split(';').next().unwrap();
    let request = Request::get("/rules").header(header::COOKIE, pair).body(Body::empty()).unwrap();
    assert_eq!(ask(&place.router, request).await.status, 200);

    let others = ["//evil.example", "https://evil.example", "/%5Cevil.example", "evil"];
    let controls = ["/%09/evil.example", "/%0d%0aSet-Cookie:a=b", "/%00", "/%7f"];
    for elsewhere in others.iter().chain(&controls) {
        let path = format!("/login?token=secret&next={elsewhere}");
        let answer = get_as(&place.router, &path, None).await;
        assert_eq!(answer.header(header::LOCATION), "/alerts", "{elsewhere}");
    }
}

#[tokio::test]
async fn every_answer_is_guarded() {
    let place = place(2);
    for path in ["/healthz", "/search", "/nowhere", "/api/v1/search", "/login?token=secret"] {
        let answer = fetch(&place.router, path).await;
        let policy = answer.header(header::CONTENT_SECURITY_POLICY);
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{path}");
        assert_eq!(answer.header(header::X_CONTENT_TYPE_OPTIONS), "nosniff", "{path}");
        assert_eq!(answer.header(header::CACHE_CONTROL), "no-store", "{path}");
    }
}

#[tokio::test]
async fn a_panic_costs_one_answer() {
    let place = place(2);
    let answer = fetch(&place.router, "/ingest/panic").await;
    assert_eq!(answer.status, 500);
    assert!(answer.json()["error"].is_string());
    assert_eq!(fetch(&place.router, "/healthz").await.status, 200);
    let metrics = fetch(&place.router, "/metrics").await.body;
    let counted = r#"watchpost_http_requests_total{route="/ingest/panic",status="500"}"#;
    assert!(metrics.contains(counted), "{metrics}");
    assert!(metrics.contains("watchpost_http_request_seconds_bucket"), "{metrics}");
}

#[tokio::test]
async fn serving_ends_when_it_is_told_to() {
    let place = place(2);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let limits = crate::ServeLimits::default();
    crate::serve(
        listener,
        tls::Security::Plain,
        place.router.clone(),
        limits,
        std::future::ready(()),
    )
    .await;
}

#[tokio::test]
async fn readiness_names_what_is_wrong() {
    let place = place(2);
    let mut context = place.context.clone();
    context.app.problems = Arc::new(|| vec!["the stage indexing stopped".into()]);
    let router = with_context(context, None);
    let answer = get_as(&router, "/readyz", None).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.body, "the stage indexing stopped\n");
    assert_eq!(fetch(&router, "/api/v1/status").await.json()["ready"], false);
}

/// A process that only takes events has no page and no call that shows them.
#[tokio::test]
async fn an_ingest_process_shows_nothing() {
    let place = place(2);
    let ingest = Router::new().route("/ingest/{dataset}", post(|| async { "taken" }));
    let router = crate::ingest_router(place.context.app.clone(), ingest);
    let post = Request::post("/ingest/x").header(header::AUTHORIZATION, "Bearer secret");
    assert_eq!(ask(&router, post.body(Body::empty()).unwrap()).await.body, "taken");
    assert_eq!(
        ask(&router, Request::post("/ingest/x").body(Body::empty()).unwrap()).await.status,
        401
    );
    for path in ["/search", "/alerts", "/api/v1/search", "/login?token=secret"] {
        assert_eq!(fetch(&router, path).await.status, 404, "{path}");
    }
    for path in ["/metrics", "/healthz", "/readyz"] {
        assert_eq!(fetch(&router, path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn searches_count_list_and_make_tables() {
    let place = place(10);
    let answer = fetch(&place.router, "/api/v1/search?since=all&limit=0&q=host.name%3Aws-1").await;
    let body = answer.json();
    assert_eq!((&body["total"], &body["hits"]), (&json!(6), &json!([])));
    assert_eq!(body["next"], Value::Null);

    let path = "/api/v1/search?q=process.pid%3C3&histogram=10&facets=host.name,nothing";
    let body = fetch(&place.router, path).await.json();
    let ids: BTreeSet<&str> = body["hits"].as_array().unwrap().iter().map(id).collect();
    assert_eq!(ids, BTreeSet::from(["e0", "e1", "e2"]));
    assert_eq!(body["facets"]["host.name"][0], json!({"value": "ws-1", "count": 2}));
    let counts = body["histogram"]["counts"].as_array().unwrap();
    assert_eq!(counts.iter().map(|count| count.as_u64().unwrap()).sum::<u64>(), 3);

    let path = "/api/v1/search?q=*%20|%20stats%20count%20by%20host.name%20|%20sort%20-count";
    let body = fetch(&place.router, path).await.json();
    assert_eq!(
        body["table"],
        json!({"columns": ["host.name", "count"], "rows": [["ws-1", 6], ["ws-3", 4]]})
    );

    let body = fetch(&place.router, "/api/v1/search?kind=alerts").await.json();
    assert_eq!(body["total"], 1);
    let body = fetch(&place.router, "/api/v1/search?kind=both&limit=1").await.json();
    assert_eq!((&body["total"], &body["hits"][0]["event"]["id"]), (&json!(11), &json!("a1")));
}

fn id(hit: &Value) -> &str {
    hit["event"]["id"].as_str().unwrap()
}

#[tokio::test]
async fn following_next_shows_each_event_once() {
    let place = place(11);
    let filter = "q=event.kind%3Aevent";
    for limit in [1, 2, 3, 4, 10, 11, 12] {
        let mut path = format!("/api/v1/search?{filter}&limit={limit}");
        let mut seen = Vec::new();
        for page in 0.. {
            assert!(page < 20, "the list does not end");
            let body = fetch(&place.router, &path).await.json();
            assert_eq!(body["total"], 11, "the total is that of all pages");
            seen.extend(body["hits"].as_array().unwrap().iter().map(|hit| id(hit).to_owned()));
            let Some(next) = body["next"].as_str() else { break };
            path = next.to_owned();
        }
        assert_eq!(seen.len(), 11, "limit {limit}: {seen:?}");
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 11, "limit {limit}: {seen:?}");
    }
}

#[tokio::test]
async fn wrong_requests_are_told_what_is_wrong() {
    let place = place(2);
    let answer = fetch(&place.router, "/api/v1/search?q=host.name%3A(").await;
    assert_eq!(answer.status, 400);
    let body = answer.json();
    assert_eq!(body["column"], 12);
    assert!(body["rendering"].as_str().unwrap().contains('^'), "{body}");
    for (path, wanted) in [
        ("/api/v1/search?since=yesterday", "yesterday"),
        ("/api/v1/search?limit=10001", "10000"),
        ("/api/v1/search?limit=-1", "limit"),
        ("/api/v1/search?sinse=1h", "sinse"),
        ("/api/v1/search?kind=things", "things"),
        ("/api/v1/search?cursor=x", "cursor"),
        ("/api/v1/search?histogram=99999", "2000"),
        ("/api/v1/alerts?q=*%20|%20head%201", "pipes"),
    ] {
        let answer = fetch(&place.router, path).await;
        assert_eq!(answer.status, 400, "{path}");
        let body = answer.json();
        assert!(body["error"].as_str().unwrap().contains(wanted), "{path}: {body}");
    }
    for path in ["/api/v1/events/none", "/api/v1/alerts/e0", "/api/v1/rules/none", "/api/v1/x"] {
        let answer = fetch(&place.router, path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.json()["error"].is_string(), "{path}");
    }
    let request = Request::post("/api/v1/search")
        .header(header::AUTHORIZATION, "Bearer secret")
        .body(Body::empty())
        .unwrap();
    let answer = ask(&place.router, request).await;
    assert_eq!((answer.status.as_u16(), answer.header(header::ALLOW)), (405, "GET, HEAD"));

    let page = fetch(&place.router, "/search?q=host.name%3A(").await;
    assert_eq!(page.status, 400);
    assert!(page.body.contains("<pre class=\"error\"") && page.body.contains('^'), "{}", page.body);
    assert!(page.body.contains("value=\"host.name:(\""), "what was typed stays: {}", page.body);
}

#[tokio::test]
async fn a_wrong_query_is_told_with_its_place_and_what_was_meant() {
    let place = place(2);
    let body = fetch(&place.router, "/api/v1/search?q=host.name%3Ax%20%7C%20stast%20count").await;
    insta::assert_snapshot!(serde_json::to_string_pretty(&body.json()).unwrap(), @r#"
    {
      "error": "there is no pipe `stast`",
      "column": 15,
      "length": 5,
      "suggestion": "stats",
      "help": "did you mean `stats`?",
      "rendering": "host.name:x | stast count\n              ^^^^^ there is no pipe `stast`\n                    did you mean `stats`?"
    }
    "#);
    // What can be read and finds nothing has hints.
    let body = fetch(&place.router, "/api/v1/search?q=host.nmae%3Aws-1").await.json();
    insta::assert_snapshot!(serde_json::to_string_pretty(&body["hints"]).unwrap(), @r#"
    [
      {
        "message": "no event has a field `host.nmae`",
        "column": 1,
        "length": 9,
        "suggestion": "host.name"
      }
    ]
    "#);
    let body = fetch(&place.router, "/api/v1/search?q=host.name%3Aws-1").await.json();
    assert!(body["hints"].is_null(), "{body}");
    let page = fetch(&place.router, "/search?q=host.nmae%3Aws-1").await.body;
    assert!(page.contains("did you mean `host.name`?"), "{page}");
}

#[tokio::test]
async fn fields_are_counted_over_a_range_of_time() {
    let place = place(7);
    let body = fetch(&place.router, "/api/v1/fields?q=host&values=1").await.json();
    let host = json!({
        "name": "host.name", "types": ["keyword"], "events": 7, "distinct": 2,
        "values": [{"value": "ws-1", "count": 4}],
    });
    assert_eq!(body["fields"], json!([host]), "{body}");
    assert_eq!(body["partial"], json!([]));
    let body = fetch(&place.router, "/api/v1/fields?q=host&values=1&until=1h").await.json();
    assert_eq!(body["fields"][0]["events"], 0, "{body}");
    let body = fetch(&place.router, "/api/v1/fields?values=1&limit=2").await.json();
    assert!(body["fields"][1]["events"].is_u64() && body["fields"][2]["events"].is_null());
    assert!(body["partial"][0].as_str().unwrap().contains("the first 2"), "{body}");
    let body = fetch(&place.router, "/api/v1/fields?q=process.pid").await.json();
    assert_eq!(body["fields"], json!([{"name": "process.pid", "types": ["long"]}]));
    for path in
        ["/api/v1/fields?values=101", "/api/v1/fields?limit=201", "/api/v1/suggest?limit=101"]
    {
        assert_eq!(fetch(&place.router, path).await.status, 400, "{path}");
    }
}

#[tokio::test]
async fn what_may_come_at_the_cursor_is_suggested() {
    let place = place(7);
    let router = place.router.clone();
    let texts = async |asked: &str| -> Vec<String> {
        let body = fetch(&router, &format!("/api/v1/suggest?{asked}")).await.json();
        let all = body["suggestions"].as_array().unwrap_or_else(|| panic!("{body}"));
        all.iter().map(|one| one["text"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(texts("q=process").await, ["process.command_line:", "process.pid:"]);
    // A part of a name will do.
    assert_eq!(texts("q=command").await, ["process.command_line:"]);
    assert_eq!(texts("q=host.name:").await, ["ws-1", "ws-3"], "the most frequent first");
    assert_eq!(texts("q=host.name:WS-3").await, ["ws-3"]);
    assert_eq!(texts("q=host.name:&until=1h").await, [""; 0], "only of the range of time");
    assert_eq!(texts("q=host.name:ws-1%20").await[..3], ["and", "or", "|"]);
    assert_eq!(texts("q=*%20%7C%20st").await, ["stats"]);
    assert_eq!(texts("q=*%20%7C%20stats%20d").await, ["dc("]);
    assert_eq!(texts("q=*%20%7C%20stats%20count%20by%20host").await, ["host.name"]);
    // Values that need quotes come with them.
    let quoted = texts("q=user.name:%22").await;
    assert!(quoted.iter().any(|value| value.starts_with('"')), "{quoted:?}");
    let body = fetch(&place.router, "/api/v1/suggest?q=host.name:ws-3&cursor=2").await.json();
    assert_eq!((&body["from"], &body["to"]), (&json!(0), &json!(2)));
    assert_eq!(body["suggestions"][0]["text"], "host.name:");
}

#[tokio::test]
async fn too_many_searches_are_sent_away() {
    let place = place(2);
    let mut context = place.context.clone();
    context.searches = Searches::with(Arc::clone(&context.app.search), 0, Duration::ZERO);
    let router = with_context(context, None);
    for path in ["/api/v1/search", "/search"] {
        let answer = fetch(&router, path).await;
        assert_eq!(answer.status, 429, "{path}");
        assert_eq!(answer.header(header::RETRY_AFTER), "2", "{path}");
    }
    // Whoever looks why still can.
    assert_eq!(fetch(&router, "/api/v1/status").await.status, 200);
    assert_eq!(fetch(&router, "/readyz").await.status, 200);
}

#[tokio::test]
async fn hostile_text_stays_text() {
    let place = place(10);
    let hostile = crate::pages::link::encode(HOSTILE);
    let wrong = crate::pages::link::encode("\"><script>alert(1)</script> (");
    for path in [
        "/search".to_owned(),
        "/search?q=*%20|%20stats%20count%20by%20user.name".to_owned(),
        format!("/search?since={hostile}"),
        format!("/search?until={hostile}"),
        format!("/search?q={wrong}"),
        format!("/search?cursor={hostile}"),
        "/alerts".to_owned(),
        format!("/alerts?q={hostile}"),
        "/alerts/a1".to_owned(),
        "/events/e9".to_owned(),
        "/rules".to_owned(),
        format!("/rules?q={hostile}&level={hostile}&from={hostile}"),
        "/rules/odd_command".to_owned(),
        format!("/events/{hostile}"),
    ] {
        let answer = fetch(&place.router, &path).await;
        assert!(answer.body.contains("</html>"), "{path}: {}", answer.body);
        let lower = answer.body.to_lowercase();
        assert_eq!(lower.matches("<script").count(), 1, "{path} has only our own script");
        assert!(!lower.contains("<b>an odd"), "{path}");
        assert!(!lower.contains("href=\"javascript:"), "{path}");
        // What it would take to leave an attribute.
        assert!(!answer.body.contains(r#"odd ">"#), "{path}");
    }
}

#[tokio::test]
async fn pages_lead_from_an_alert_to_its_event_and_rule() {
    let place = place(10);
    let list = fetch(&place.router, "/alerts").await.body;
    assert!(list.contains("href=\"/alerts/a1\"") && list.contains("T1059.001"), "{list}");
    let alert = fetch(&place.router, "/alerts/a1").await.body;
    for wanted in [
        "href=\"/events/e9\"",
        "href=\"/events/e0\"",
        "detection:",
        "contains odd",
        "href=\"https://attack.mitre.org/techniques/T1059/001/\"",
        "href=\"/rules/6f0c1f5a-0d4b-4e51-9b7a-000000000001\"",
    ] {
        assert!(alert.contains(wanted), "{wanted}: {alert}");
    }
    let event = fetch(&place.router, "/events/e9").await.body;
    for wanted in ["process.command_line", "href=\"/alerts/a1\"", "on ws-3"] {
        assert!(event.contains(wanted), "{wanted}: {event}");
    }
    let moved = fetch(&place.router, "/events/a1").await;
    assert_eq!((moved.status.as_u16(), moved.header(header::LOCATION)), (303, "/alerts/a1"));

    let rules = fetch(&place.router, "/rules").await.body;
    for wanted in ["Odd Command", "Many Odd Commands", "windows / process_creation", "broken.yml:6"]
    {
        assert!(rules.contains(wanted), "{wanted}: {rules}");
    }
    let rules = fetch(&place.router, "/rules?q=many&level=critical").await.body;
    assert!(rules.contains("1 of 2 rules") && rules.contains("Many Odd"), "{rules}");
    let rule = fetch(&place.router, "/rules/6f0c1f5a-0d4b-4e51-9b7a-000000000001").await.body;
    for wanted in ["CommandLine|contains", "href=\"/alerts/a1\"", "1 alert in 7 days", "Many Odd"] {
        assert!(rule.contains(wanted), "{wanted}: {rule}");
    }
    assert!(!rule.contains("event_count"), "only the rule's own document is shown: {rule}");
}

#[tokio::test]
async fn every_address_on_a_page_leads_somewhere() {
    let place = place(10);
    let start = ["/search", "/search?q=*%20|%20top%20host.name", "/alerts", "/rules", "/api"];
    let mut seen: BTreeSet<String> = start.iter().map(|path| (*path).to_owned()).collect();
    let mut left: Vec<String> = seen.iter().cloned().collect();
    // Two steps from the lists; further pages are of the same kinds.
    for _ in 0..2 {
        let mut next = Vec::new();
        for path in left.drain(..) {
            let answer = fetch(&place.router, &path).await;
            assert!(answer.status == 200 || answer.status == 303, "{path}: {}", answer.status);
            for part in answer.body.split("href=\"").skip(1) {
                let href =
                    part.split('"').next().unwrap().replace("&#38;", "&").replace("&amp;", "&");
                if href.starts_with('/') && seen.len() < 300 && seen.insert(href.clone()) {
                    next.push(href);
                }
            }
        }
        left = next;
    }
    assert!(seen.len() > 30, "{seen:?}");
}

async fn send(router: &Router, path: &str, body: &Value) -> Answer {
    let request = Request::post(path)
        .header(header::AUTHORIZATION, "Bearer secret")
        .header(header::CONTENT_TYPE, "application/json");
    ask(router, request.body(Body::from(body.to_string())).unwrap()).await
}

#[tokio::test]
async fn rejected_records_are_listed_shown_and_put_back_once() {
    let place = place(2);
    let list = fetch(&place.router, "/api/v1/rejected").await.json();
    assert_eq!((&list["total"], &list["replayed"]), (&json!(2), &json!(0)));
    assert_eq!(list["counts"], json!([{"stage": "normalize", "reason": HOSTILE, "records": 2}]));
    assert_eq!(list["records"][1]["place"], "0/1", "the newest is the last");
    let list = fetch(&place.router, "/api/v1/rejected?limit=1").await.json();
    assert_eq!((&list["total"], list["records"].as_array().unwrap().len()), (&json!(2), 1));
    for nothing in ["stage=detection", "topic=events", "reason=other"] {
        let list = fetch(&place.router, &format!("/api/v1/rejected?{nothing}")).await.json();
        assert_eq!(list["total"], 0, "{nothing}");
    }

    let shown = fetch(&place.router, "/api/v1/rejected/0/1").await.json();
    assert_eq!(
        (&shown["value"], &shown["key"]),
        (&json!({"hex": "ff00"}), &json!({"text": "key"}))
    );
    let dataset = json!({"name": "dataset", "value": {"text": "app.log"}});
    assert!(shown["headers"].as_array().unwrap().contains(&dataset), "{shown}");

    let replay = "/api/v1/rejected/replay";
    let answer = send(&place.router, replay, &json!({"all": true, "dry_run": true})).await.json();
    assert_eq!((&answer["put_back"], &answer["dry_run"]), (&json!(2), &json!(true)));
    let answer = send(&place.router, replay, &json!({"places": ["0/0"]})).await.json();
    assert_eq!(
        answer["records"],
        json!([{"place": "0/0", "origin": "raw/0/5", "done": "put_back", "replayed": null}])
    );
    let answer = send(&place.router, replay, &json!({"all": true})).await.json();
    assert_eq!((&answer["put_back"], &answer["before"]), (&json!(1), &json!(1)));
    let raw = place.context.app.bus.extents(Topic::Raw).unwrap();
    assert_eq!(raw[0].end.0, 2, "each was put back once");
    let list = fetch(&place.router, "/api/v1/rejected").await.json();
    assert_eq!((&list["replayed"], &list["records"][0]["replays"]), (&json!(2), &json!(1)));
}

#[tokio::test]
async fn a_replay_takes_only_what_another_site_cannot_send() {
    let place = place(2);
    let path = "/api/v1/rejected/replay";
    let body = json!({"all": true}).to_string();
    // What a form or a script of another site can send without asking: these types, with the cookie.
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""] {
        let request = Request::post(path)
            .header(header::COOKIE, "watchpost_token=secret")
            .header(header::CONTENT_TYPE, kind);
        let answer = ask(&place.router, request.body(Body::from(body.clone())).unwrap()).await;
        assert_eq!(answer.status, 415, "{kind}");
        assert!(answer.json()["error"].is_string(), "{kind}");
    }
    // And what a browser asks before it sends JSON gets no permission.
    let request = Request::builder()
        .method("OPTIONS")
        .uri(path)
        .header(header::ORIGIN, "http://127.0.0.1:3000")
        .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
        .header(header::AUTHORIZATION, "Bearer secret");
    let answer = ask(&place.router, request.body(Body::empty()).unwrap()).await;
    assert_eq!((answer.status.as_u16(), answer.header(header::ALLOW)), (405, "POST"));
    assert!(answer.headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN).is_none());
    assert_eq!(fetch(&place.router, path).await.status, 405);
    let list = fetch(&place.router, "/api/v1/rejected").await.json();
    assert_eq!(list["replayed"], 0);
}

#[tokio::test]
async fn wrong_questions_about_rejected_records_are_told() {
    let place = place(2);
    for (path, status, wanted) in [
        ("/api/v1/rejected?topic=logs", 400, "logs"),
        ("/api/v1/rejected?since=yesterday", 400, "yesterday"),
        ("/api/v1/rejected?limit=10001", 400, "10000"),
        ("/api/v1/rejected?stages=x", 400, "stages"),
        ("/api/v1/rejected/0/2", 404, "place"),
        ("/api/v1/rejected/7/0", 404, "place"),
        ("/api/v1/rejected/a/b", 404, "place"),
    ] {
        let answer = fetch(&place.router, path).await;
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.json()["error"].as_str().unwrap().contains(wanted), "{}", answer.body);
    }
    let many: Vec<String> = (0..1001).map(|offset| format!("0/{offset}")).collect();
    for (body, wanted) in [
        (json!({}), "either"),
        (json!({"all": true, "places": ["0/0"]}), "either"),
        (json!({"places": ["0/0"], "stage": "normalize"}), "leave out"),
        (json!({"places": ["0-0"]}), "0/17"),
        (json!({"places": many}), "1000"),
        (json!({"all": true, "topic": "logs"}), "logs"),
        (json!({"al": true}), "al"),
    ] {
        let answer = send(&place.router, "/api/v1/rejected/replay", &body).await;
        assert!(answer.status.is_client_error(), "{body}: {}", answer.status);
        assert!(answer.json()["error"].as_str().unwrap().contains(wanted), "{}", answer.body);
    }
    let mut context = place.context.clone();
    context.rejected = Arc::new(tokio::sync::Semaphore::new(0));
    context.rejected.close();
    let answer = fetch(&with_context(context, None), "/api/v1/rejected").await;
    assert_eq!((answer.status.as_u16(), answer.header(header::RETRY_AFTER)), (429, "2"));
}

#[tokio::test]
async fn an_export_has_everything_in_the_format_that_is_asked_for() {
    let place = place(10);
    let kinds = [("ndjson", "application/x-ndjson"), ("csv", "text/csv; charset=utf-8")];
    for (format, kind) in kinds {
        let path = format!("/api/v1/export?since=all&format={format}&q=*|fields%20event.id");
        let answer = fetch(&place.router, &path).await;
        assert_eq!((answer.status.as_u16(), answer.header(header::CONTENT_TYPE)), (200, kind));
        let named = format!("attachment; filename=\"watchpost.{format}\"");
        assert_eq!(answer.header(header::CONTENT_DISPOSITION), named);
        let ids = (0..10).filter(|n| answer.body.contains(&format!("e{n}"))).count();
        assert_eq!(ids, 10, "{}", answer.body);
    }
    let refused = [
        ("format=xml", "`xml` is no format"),
        ("q=(", "ends too early"),
        ("kind=logs", "`logs` is no kind"),
        ("since=yesterdy", "yesterdy"),
    ];
    for (query, wanted) in refused {
        let answer = fetch(&place.router, &format!("/api/v1/export?{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.body.contains(wanted), "{}", answer.body);
    }
    let mut context = place.context.clone();
    context.exports = Arc::new(tokio::sync::Semaphore::new(0));
    let answer = fetch(&with_context(context, None), "/api/v1/export").await;
    assert_eq!((answer.status.as_u16(), answer.header(header::RETRY_AFTER)), (429, "2"));
}

#[tokio::test]
async fn a_cluster_has_no_exports_and_that_is_told() {
    let place = place(1);
    assert!(fetch(&place.router, "/search").await.body.contains("/api/v1/export?"));
    let mut context = place.context.clone();
    context.app.is_indexed = false;
    let router = with_context(context, None);
    let answer = fetch(&router, "/api/v1/export").await;
    assert_eq!(answer.status, 501);
    assert!(answer.body.contains("searches in a cluster"), "{}", answer.body);
    assert!(!fetch(&router, "/search").await.body.contains("/api/v1/export?"));
}

/// A tail as its client reads it.
struct Tailing {
    body: Body,
    text: String,
}

impl Tailing {
    async fn begin(router: &Router, query: &str, from: Option<&str>) -> Tailing {
        let mut request = Request::get(format!("/api/v1/tail?{query}"))
            .header(header::AUTHORIZATION, "Bearer secret");
        if let Some(from) = from {
            request = request.header("last-event-id", from);
        }
        let request = request.body(Body::empty()).unwrap();
        let answer = router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/event-stream");
        let mut tailing = Tailing { body: answer.into_body(), text: String::new() };
        tailing.until(": alive\n").await;
        tailing
    }

    /// Reads until this comes.
    async fn until(&mut self, wanted: &str) {
        while !self.text.contains(wanted) {
            let next = std::future::poll_fn(|context| {
                HttpBody::poll_frame(std::pin::Pin::new(&mut self.body), context)
            });
            let next = tokio::time::timeout(Duration::from_secs(20), next).await;
            let Ok(Some(Ok(frame))) = next else { panic!("no {wanted:?} in {}", self.text) };
            self.text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
    }

    /// The place after the last event with this text.
    fn id_of(&self, text: &str) -> &str {
        let message = self.text.split("\n\n").find(|message| message.contains(text)).unwrap();
        message.lines().find_map(|line| line.strip_prefix("id: ")).unwrap()
    }
}

/// Events of the user `anna`, and between them as many of `bert`.
fn pass(bus: &dyn Bus, numbers: std::ops::Range<u64>) {
    let mut records = Records::new();
    for n in numbers {
        for user in ["anna", "bert"] {
            let event = json!({"event.id": format!("{user}-{n}"), "user.name": user});
            records.push(b"", &[], event.to_string().as_bytes());
        }
    }
    bus.append(Topic::Events, &mut records).unwrap();
}

#[tokio::test]
async fn a_tail_shows_what_comes_and_goes_on_where_it_was() {
    let place = place(1);
    let bus = place.context.app.bus.as_ref();
    pass(bus, 0..3);
    let mut tail = Tailing::begin(&place.router, "q=user.name:anna", None).await;
    pass(bus, 3..6);
    tail.until("anna-5").await;
    assert!(!tail.text.contains("anna-2"), "it had passed before: {}", tail.text);
    assert!(!tail.text.contains("bert"), "it does not match: {}", tail.text);
    let from = tail.id_of("anna-4").to_owned();
    drop(tail);
    pass(bus, 6..8);
    let mut tail = Tailing::begin(&place.router, "q=user.name:anna", Some(&from)).await;
    tail.until("anna-7").await;
    let shown: Vec<u64> = (0..8).filter(|n| tail.text.contains(&format!("anna-{n}"))).collect();
    assert_eq!(shown, [5, 6, 7]);
}

#[tokio::test]
async fn what_a_tail_leaves_out_is_told() {
    let place = place(1);
    let bus = place.context.app.bus.as_ref();
    let mut tail = Tailing::begin(&place.router, "q=user.name:anna&rate=5", None).await;
    let from = tail.id_of("alive").to_owned();
    pass(bus, 0..100);
    tail.until("event: left_out").await;
    tail.until("\"over_rate\":95,").await;
    assert_eq!(tail.text.matches("anna-").count(), 5, "{}", tail.text);
    drop(tail);
    // What passed before it came back is shown whole, as fast as the rate allows.
    let mut tail = Tailing::begin(&place.router, "q=user.name:anna&rate=60", Some(&from)).await;
    tail.until("anna-99").await;
    assert_eq!(tail.text.matches("anna-").count(), 100, "{}", tail.text);
}

#[tokio::test]
async fn tails_are_bounded_and_their_places_are_given_back() {
    let place = place(1);
    let mut tails = Vec::new();
    for _ in 0..crate::tail::TAILS_MAX {
        tails.push(Tailing::begin(&place.router, "", None).await);
    }
    let refused = fetch(&place.router, "/api/v1/tail").await;
    assert_eq!(refused.status, 429, "{}", refused.body);
    tails.pop();
    let turns = place.context.app.tails.turns.clone();
    let turn = tokio::time::timeout(Duration::from_secs(20), turns.acquire()).await;
    drop(turn.expect("a place is given back").unwrap());
    for wrong in ["q=*|top%20user.name", "q=(", "rate=0", "rate=1001"] {
        let answer = fetch(&place.router, &format!("/api/v1/tail?{wrong}")).await;
        assert_eq!(answer.status, 400, "{wrong}: {}", answer.body);
    }
    // A server that stops does not wait for them.
    place.context.app.tails.close();
    let last = tails.pop().unwrap();
    let rest = tokio::time::timeout(Duration::from_secs(20), to_bytes(last.body, usize::MAX));
    rest.await.expect("it ends").unwrap();
}

#[tokio::test]
async fn the_document_says_what_the_routes_do() {
    let place = place(10);
    let document = fetch(&place.router, "/api/v1/openapi.json").await.json();
    let paths = document["paths"].as_object().unwrap();
    let listed = fetch(&place.router, "/api").await.body;
    assert_eq!(paths.len(), crate::api::ROUTES.len());
    let rule = "6f0c1f5a-0d4b-4e51-9b7a-000000000001";
    let asked = [
        ("/api/v1/search", "/api/v1/search?histogram=5&facets=host.name,process.pid".to_owned()),
        ("/api/v1/search", "/api/v1/search?limit=1".to_owned()),
        ("/api/v1/search", "/api/v1/search?q=*%20|%20stats%20count,%20max(process.pid)".to_owned()),
        ("/api/v1/events/{id}", "/api/v1/events/e9".to_owned()),
        ("/api/v1/alerts", "/api/v1/alerts".to_owned()),
        ("/api/v1/alerts/{id}", "/api/v1/alerts/a1".to_owned()),
        ("/api/v1/rules", "/api/v1/rules".to_owned()),
        ("/api/v1/rules/{id}", format!("/api/v1/rules/{rule}")),
        ("/api/v1/fields", "/api/v1/fields".to_owned()),
        ("/api/v1/searches", "/api/v1/searches".to_owned()),
        ("/api/v1/searches/{id}/run", "/api/v1/searches/plain/run?since=all&limit=3".to_owned()),
        ("/api/v1/fields", "/api/v1/fields?values=2&q=process&limit=1".to_owned()),
        ("/api/v1/suggest", "/api/v1/suggest?q=process.&cursor=4".to_owned()),
        ("/api/v1/suggest", "/api/v1/suggest?q=host.name:".to_owned()),
        ("/api/v1/search", "/api/v1/search?q=host.nmae:x".to_owned()),
        ("/api/v1/status", "/api/v1/status".to_owned()),
        ("/api/v1/ledger", "/api/v1/ledger".to_owned()),
        ("/api/v1/datasets", "/api/v1/datasets".to_owned()),
        ("/api/v1/files", "/api/v1/files".to_owned()),
        ("/api/v1/rejected", "/api/v1/rejected?stage=normalize&topic=raw&since=1h".to_owned()),
        ("/api/v1/rejected/{partition}/{offset}", "/api/v1/rejected/0/1".to_owned()),
        ("/api/v1/openapi.json", "/api/v1/openapi.json".to_owned()),
    ];
    // What is no JSON has tests of its own; a tail ends at once here.
    let streamed = ["/api/v1/export", "/api/v1/tail"];
    place.context.app.tails.close();
    let posted = [
        ("/api/v1/rejected/replay", json!({"places": ["0/0", "0/7"]})),
        ("/api/v1/rejected/replay", json!({"all": true, "since": "1h", "dry_run": true})),
    ];
    for path in paths.keys() {
        let is_asked = asked.iter().any(|(route, _)| route == path);
        let is_posted = posted.iter().any(|(route, _)| route == path);
        let is_streamed = streamed.contains(&path.as_str());
        assert!(is_asked || is_posted || is_streamed, "{path} is tested");
        assert!(listed.contains(path.as_str()), "{path} is on the page of calls");
    }
    for (route, path) in asked {
        let answer = fetch(&place.router, &path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        let schema =
            &paths[route]["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        fits(&document, schema, &answer.json(), &path);
    }
    for (route, body) in posted {
        let call = &paths[route]["post"];
        fits(
            &document,
            &call["requestBody"]["content"]["application/json"]["schema"],
            &body,
            route,
        );
        let answer = send(&place.router, route, &body).await;
        assert_eq!(answer.status, 200, "{route}: {}", answer.body);
        let schema = &call["responses"]["200"]["content"]["application/json"]["schema"];
        fits(&document, schema, &answer.json(), route);
    }
    let error = fetch(&place.router, "/api/v1/search?q=(").await.json();
    fits(&document, &document["components"]["schemas"]["Error"], &error, "an error");
    // A parameter that is named is known: an unknown one would be refused.
    for (path, call) in paths {
        for parameter in call["get"]["parameters"].as_array().into_iter().flatten() {
            if parameter["in"] == "query" {
                let name = parameter["name"].as_str().unwrap();
                let answer = fetch(&place.router, &format!("{path}?{name}=1")).await;
                assert!(!answer.body.contains("unknown field"), "{path} {name}: {}", answer.body);
            }
        }
    }
}

/// Holds a value against a schema, as far as our document uses the language of schemas.
fn fits(document: &Value, schema: &Value, value: &Value, place: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let schema = document.pointer(reference.trim_start_matches('#'));
        return fits(document, schema.expect(reference), value, place);
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        let choice = usize::from(value.is_null());
        return fits(document, &choices[choice], value, place);
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        _ => return,
    };
    let own = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    assert!(types.contains(&own), "{place}: {value} is no {types:?}");
    if let Some(allowed) = schema["enum"].as_array() {
        assert!(allowed.contains(value), "{place}: {value} is none of {allowed:?}");
    }
    if schema["format"] == "date-time" && value.is_string() {
        assert!(Timestamp::parse_rfc3339(value.as_str().unwrap()).is_some(), "{place}: {value}");
    }
    for (at, item) in value.as_array().into_iter().flatten().enumerate() {
        fits(document, &schema["items"], item, &format!("{place}[{at}]"));
    }
    let Some(object) = value.as_object() else { return };
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        assert!(object.contains_key(name), "{place} lacks {name}");
    }
    for (name, member) in object {
        let place = format!("{place}.{name}");
        match (&schema["properties"][name], &schema["additionalProperties"]) {
            (Value::Null, Value::Bool(false)) => panic!("{place} is not in the document"),
            (Value::Null, other) => fits(document, other, member, &place),
            (known, _) => fits(document, known, member, &place),
        }
    }
}

async fn post_json(router: &Router, path: &str, body: &str) -> Answer {
    let request = Request::post(path)
        .header(header::AUTHORIZATION, "ApiKey secret")
        .header(header::ACCEPT, "application/vnd.elasticsearch+json; compatible-with=9")
        .body(Body::from(body.to_owned()))
        .unwrap();
    ask(router, request).await
}

/// Clients take what does not say that it is Elasticsearch, in the form they ask for, for a stranger.
#[tokio::test]
async fn elasticsearch_is_spoken_under_its_own_path() {
    let place = place(7);
    for path in ["/es", "/es/"] {
        let answer = fetch(&place.router, path).await;
        assert_eq!(answer.json()["version"]["number"], "8.17.0", "{path}");
        assert_eq!(answer.headers["x-elastic-product"], "Elasticsearch");
    }
    let body = r#"{"size": 2, "sort": [{"process.pid": "desc"}], "_source": "process.pid"}"#;
    let answer = post_json(&place.router, "/es/events-*/_search", body).await;
    let kind = "application/vnd.elasticsearch+json;compatible-with=9";
    assert_eq!((answer.status.as_u16(), answer.header(header::CONTENT_TYPE)), (200, kind));
    let found = answer.json();
    assert_eq!(found["hits"]["total"], json!({"value": 7, "relation": "eq"}));
    assert_eq!(found["hits"]["hits"][1]["_source"], json!({"process": {"pid": 5}}));
    let path = "/es/events-*/_search?q=process.pid:%3E4&size=0&rest_total_hits_as_int=true";
    assert_eq!(fetch(&place.router, path).await.json()["hits"]["total"], 2);
    let alerts = fetch(&place.router, "/es/alerts-*/_count").await.json();
    assert_eq!(alerts["count"], 1);
    let rows = fetch(&place.router, "/es/_cat/indices/alerts-*?h=docs.count&v").await;
    assert_eq!(rows.body, "docs.count\n1\n");
}

#[tokio::test]
async fn elasticsearch_refuses_in_its_own_form() {
    let place = place(2);
    let kind = |answer: &Answer| answer.json()["error"]["type"].as_str().unwrap_or("").to_owned();
    for (path, body, status, wanted) in [
        ("/es/_search", "{", 400, "parsing_exception"),
        ("/es/_search", "[]", 400, "parsing_exception"),
        ("/es/_search?filter_path=hits", "{}", 400, "illegal_argument_exception"),
        ("/es/_search", r#"{"query": {"odd": {}}}"#, 400, "parsing_exception"),
        ("/es/winlogbeat-1/_search", "{}", 404, "index_not_found_exception"),
        ("/es/_search/scroll", r#"{"scroll_id": "x"}"#, 404, "search_context_missing_exception"),
        ("/es/_msearch", "{}\n", 400, "parsing_exception"),
        ("/es/events-*/_doc/1", "{}", 400, "illegal_argument_exception"),
        ("/es/_bulk", "{}", 400, "illegal_argument_exception"),
    ] {
        let answer = post_json(&place.router, path, body).await;
        assert_eq!((answer.status.as_u16(), kind(&answer)), (status, wanted.to_owned()), "{path}");
    }
    let many = "{}\n{\"size\": 0}\n{\"index\": \"nothing\"}\n{}\n{}\n{\"sizes\": 0}\n";
    let answers = post_json(&place.router, "/es/_msearch", many).await.json();
    let status = |n: usize| answers["responses"][n]["status"].clone();
    assert_eq!([status(0), status(1), status(2)], [200, 404, 400]);
    let large = format!("{{\"query\": \"{}\"}}", "x".repeat(8 << 20));
    assert_eq!(post_json(&place.router, "/es/_search", &large).await.status, 413);
}
