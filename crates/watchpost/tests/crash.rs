//! Exactly once, from outside: senders go on while the engine is killed at random moments.
//!
//! Writers send numbered events, in batches over HTTP and as messages over syslog, and send a batch
//! again under the same numbers until it is acknowledged. Meanwhile the process gets `kill -9`, also
//! while it starts, and is started again on what it left. In the end everything in the index is
//! read, and counted against what the senders know and against what a plain evaluation of the same
//! events says must have alerted:
//!
//! - a batch is there whole, at least once if it was acknowledged and at most once per attempt;
//! - a message over syslog, which nobody acknowledges, is there at most once;
//! - every record of the bus is one document, and no two documents have the same id;
//! - every event that a rule fires for has one alert, and no alert has no such event;
//! - a correlation has one alert per group and period, at the time when it came true.
//!
//! All of it on the embedded log, and on a Kafka cluster if `WATCHPOST_TEST_KAFKA` names one.
//! `WATCHPOST_TEST_KILLS` says how often, `WATCHPOST_TEST_SEED` in which way.
//!
//! What `kill -9` does not show is a loss of power: what was written and not synced survives it. The
//! bus's own tests look at torn files.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and tells"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::{Server, TestBus, encode, free_port, log_file};
use serde_json::Value;

/// Writers over HTTP.
const HTTP_WRITERS: u64 = 4;

/// The most events of a batch.
const BATCH_MAX: u64 = 20;

/// How many batches a writer sends to one life of the engine. Debug builds would not catch up with
/// more; and an engine that has caught up is a state to be killed in, too.
const LIFE_BATCHES_MAX: usize = 15;

/// How many messages over syslog.
const LIFE_MESSAGES_MAX: usize = 150;

/// The rules that the events are made for, all built in.
const PATH_TRAVERSAL: &str = "42831a40-f66f-499c-86f6-f81ecdedae55";
const ROOT_PASSWORD: &str = "848f0f00-69a0-48f2-98b2-68e5d0ddedf3";
const BRUTE_FORCE: &str = "dee94571-e5bc-47cc-977c-63c2e77f9106";

/// What [`BRUTE_FORCE`] says: so many of one address within so many seconds.
const BRUTE_FORCE_COUNT: usize = 10;
const BRUTE_FORCE_SECONDS: i64 = 120;

/// The first time of the events: the start of a period of [`BRUTE_FORCE`], so that the periods of a
/// reader and of the engine are easy to compare.
const EPOCH: i64 = 1_785_931_200;

/// How far the times of events reach.
const SPAN_SECONDS: u64 = 1_800;

/// How long the stages may take to catch up in the end.
const CATCH_UP_MAX: Duration = Duration::from_secs(120);

/// How long a process may take to end after SIGTERM. Ten seconds are for connections, and debug
/// builds on a busy machine are slow.
const STOP_MAX: Duration = Duration::from_secs(20);

/// Numbers that look random, the same for the same seed (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// The seed: of the clock, or what `WATCHPOST_TEST_SEED` says.
fn seed() -> u64 {
    let given = std::env::var("WATCHPOST_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        now.as_millis() as u64
    });
    println!("WATCHPOST_TEST_SEED={seed}");
    seed
}

/// Where the engine is now; nowhere while it is down.
#[derive(Debug, Clone)]
struct Place {
    url: String,
    token: String,
    syslog: u16,
}

type Now = Arc<Mutex<Option<Place>>>;

/// Counts what was sent to one life of the engine.
#[derive(Debug, Default)]
struct Ration {
    url: String,
    sent: usize,
}

impl Ration {
    /// The engine, if it is up and may be sent something; waits a little if not.
    fn place(&mut self, now: &Now, max: usize) -> Option<Place> {
        let place = now.lock().unwrap().clone();
        if let Some(place) = &place
            && place.url != self.url
        {
            *self = Ration { url: place.url.clone(), sent: 0 };
        }
        let place = place.filter(|_| self.sent < max);
        if place.is_none() {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.sent += usize::from(place.is_some());
        place
    }
}

/// What a writer knows of a batch.
#[derive(Debug, Clone)]
struct Sent {
    numbers: Vec<String>,
    attempts: usize,
    acknowledged: bool,
}

/// A line of a log, with its number at the end, where nothing reads it.
fn line(numbers: &mut Numbers, writer: u64, number: &str, near: u64) -> String {
    let within = near + numbers.below(90);
    let time = time_text(EPOCH + within.min(SPAN_SECONDS) as i64);
    let host = numbers.below(5);
    let address = format!("203.0.113.{}", writer * 8 + numbers.below(3));
    let head = format!("<86>{time} host-{host} sshd[{}]:", 1000 + numbers.below(9000));
    match numbers.below(10) {
        0 => format!("{head} Accepted password for root from {address} port 4242 ssh2 no={number}"),
        1..=6 => {
            format!("{head} Failed password for alice from {address} port 4242 ssh2 no={number}")
        }
        _ => format!("{head} Connection closed by {address} port 4242 no={number}"),
    }
}

/// An event as a web server's shipper sends it.
fn web_event(numbers: &mut Numbers, number: &str, near: u64) -> String {
    let time = time_text(EPOCH + near as i64);
    let path = if numbers.below(4) == 0 { "/img/../../etc/passwd" } else { "/index" };
    format!(
        r#"{{"@timestamp":"{time}","ecs":{{"version":"9.0"}},"event":{{"kind":"event","category":["web"]}},"host":{{"name":"web-{}"}},"url":{{"original":"{path}"}},"labels":{{"number":"no={number}"}}}}"#,
        numbers.below(3)
    )
}

fn time_text(seconds: i64) -> String {
    event::Timestamp::from_millis(seconds * 1000).to_string()
}

/// Sends batches until it is told to stop, each until it is acknowledged.
fn write_http(writer: u64, seed: u64, now: &Now, stop: &AtomicBool) -> Vec<Sent> {
    let mut numbers = Numbers(seed ^ (writer << 32));
    let mut ration = Ration::default();
    let mut all = Vec::new();
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(20)))
        .build()
        .into();
    while !stop.load(Ordering::Relaxed) {
        let batch = all.len();
        let is_web = numbers.below(3) == 0;
        let near = numbers.below(SPAN_SECONDS - 90);
        let mut body = String::new();
        let mut sent = Sent { numbers: Vec::new(), attempts: 0, acknowledged: false };
        for event in 0..=numbers.below(BATCH_MAX) {
            let number = format!("w{writer}b{batch}e{event}.");
            body.push_str(&if is_web {
                web_event(&mut numbers, &number, near)
            } else {
                line(&mut numbers, writer, &number, near)
            });
            body.push('\n');
            sent.numbers.push(number);
        }
        let dataset = if is_web { "shop.access" } else { "system.auth" };
        // What was begun is brought to its end, but for a server that is gone for good.
        while !sent.acknowledged && !stop.load(Ordering::Relaxed) {
            let Some(place) = ration.place(now, LIFE_BATCHES_MAX) else { continue };
            sent.attempts += 1;
            let answer = agent
                .post(format!("{}/ingest/{dataset}", place.url))
                .header("authorization", format!("Bearer {}", place.token))
                .send(&body);
            match answer {
                Ok(answer) => {
                    let status = answer.status().as_u16();
                    assert!(matches!(status, 200 | 429 | 503), "status {status}");
                    sent.acknowledged = status == 200;
                }
                // It was killed: whether it stored the batch, nobody knows.
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        all.push(sent);
    }
    all
}

/// Sends messages over TCP, each once, counted or ended by a newline; returns their numbers.
fn write_syslog(seed: u64, now: &Now, stop: &AtomicBool) -> Vec<String> {
    let mut numbers = Numbers(seed ^ 0x5151_0000);
    let mut ration = Ration::default();
    let mut all: Vec<String> = Vec::new();
    let mut connection: Option<(u16, TcpStream)> = None;
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(2));
        let Some(place) = ration.place(now, LIFE_MESSAGES_MAX) else { continue };
        let port = place.syslog;
        if connection.as_ref().is_none_or(|(to, _)| *to != port) {
            connection = TcpStream::connect(("127.0.0.1", port)).ok().map(|stream| (port, stream));
        }
        let Some((_, stream)) = &mut connection else { continue };
        let number = format!("sys{}.", all.len());
        let near = numbers.below(SPAN_SECONDS - 90);
        let line = line(&mut numbers, HTTP_WRITERS, &number, near);
        let framed = if numbers.below(2) == 0 {
            format!("{} {line}", line.len())
        } else {
            format!("{line}\n")
        };
        all.push(number);
        if stream.write_all(framed.as_bytes()).is_err() {
            connection = None;
        }
    }
    all
}

/// A server with syslog on a port of its own.
struct Engine {
    server: Server,
    syslog: u16,
}

fn spawn(data: &Path, log: &Path, bus: &TestBus) -> (Child, u16) {
    spawn_with(data, log, bus, "")
}

/// A process that ends at an instant.
fn spawn_with(data: &Path, log: &Path, bus: &TestBus, failpoints: &str) -> (Child, u16) {
    let syslog = free_port();
    let address = format!("127.0.0.1:{syslog}");
    let mut environment = bus.environment();
    environment.push(("WATCHPOST_SYSLOG_TCP", &address));
    environment.push(("FAILPOINTS", failpoints));
    (Server::spawn(data, &[], &environment, log_file(log)), syslog)
}

fn start(data: &Path, log: &Path, bus: &TestBus, now: &Now) -> Engine {
    start_with(data, log, bus, now, "").expect("it gets ready")
}

/// A process that ends at an instant; none if it ended before it was ready.
fn start_with(
    data: &Path,
    log: &Path,
    bus: &TestBus,
    now: &Now,
    failpoints: &str,
) -> Option<Engine> {
    let (child, syslog) = spawn_with(data, log, bus, failpoints);
    let server = Server::ready(child).ok()?;
    let place = Place { url: server.url.clone(), token: server.token.clone(), syslog };
    *now.lock().unwrap() = Some(place);
    Some(Engine { server, syslog })
}

/// Writers that run until they are joined.
struct Writers {
    now: Now,
    stop: Arc<AtomicBool>,
    http: Vec<std::thread::JoinHandle<Vec<Sent>>>,
    syslog: std::thread::JoinHandle<Vec<String>>,
}

impl Writers {
    fn start(seed: u64) -> Writers {
        let now = Now::default();
        let stop = Arc::new(AtomicBool::new(false));
        let http = (0..HTTP_WRITERS).map(|writer| {
            let (now, stop) = (Arc::clone(&now), Arc::clone(&stop));
            std::thread::spawn(move || write_http(writer, seed, &now, &stop))
        });
        let http = http.collect();
        let (place, stopped) = (Arc::clone(&now), Arc::clone(&stop));
        let syslog = std::thread::spawn(move || write_syslog(seed, &place, &stopped));
        Writers { now, stop, http, syslog }
    }

    fn join(self) -> (Vec<Sent>, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let http = self.http.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
        (http, self.syslog.join().unwrap())
    }
}

fn text<'a>(document: &'a Value, pointer: &str) -> &'a str {
    document.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn number(document: &Value) -> &str {
    let original = text(document, "/event/original");
    let rest = original.split_once("no=").map_or("", |(_, rest)| rest);
    rest.split_inclusive('.').next().unwrap_or_default()
}

fn seconds(document: &Value) -> i64 {
    let time = text(document, "/@timestamp");
    let time = event::Timestamp::parse_rfc3339(time).unwrap_or_else(|| panic!("{document}"));
    time.as_nanos() / 1_000_000_000
}

/// Holds what is indexed against what was sent, and the alerts against what is indexed.
fn check(server: &Server, bus: &TestBus, batches: &[Sent], messages: &[String]) {
    let status = server.catch_up(CATCH_UP_MAX);
    assert_eq!(status["problems"], serde_json::json!([]));
    let events = server.documents("events");
    let alerts = server.documents("alerts");
    let topic = |name: &str| {
        let topics = status["topics"].as_array().unwrap();
        let topic = topics.iter().find(|topic| topic["topic"] == name).unwrap();
        topic["appended"].as_u64().unwrap()
    };
    assert_eq!(topic("rejected"), 0);
    if bus.has_dense_offsets() {
        assert_eq!(topic("events"), topic("raw"), "normalisation lost or doubled records");
    }
    assert_eq!(topic("raw"), events.len() as u64, "indexing lost or doubled records");

    let (status, ledger) = server.get("/api/v1/ledger");
    assert_eq!(status, 200, "{ledger}");
    let ledger: Value = serde_json::from_str(&ledger).unwrap();
    let sum = |name: &str| {
        let sources = ledger["sources"].as_array().unwrap().iter();
        sources.map(|of| of[name].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!(ledger["imbalance"], 0, "{ledger:#}");
    let sums = [sum("received"), sum("events"), sum("stored")];
    assert_eq!(sums, [topic("raw"); 3], "{ledger:#}");

    let mut ids = BTreeSet::new();
    for document in events.iter().chain(&alerts) {
        let id = text(document, "/event/id");
        assert!(!id.is_empty() && ids.insert(id), "no id, or a second time: {document}");
    }

    let mut found: HashMap<&str, usize> = HashMap::new();
    for event in &events {
        *found.entry(number(event)).or_default() += 1;
    }
    let count = |number: &String| found.get(number.as_str()).copied().unwrap_or(0);
    for batch in batches {
        let counts: BTreeSet<usize> = batch.numbers.iter().map(count).collect();
        assert_eq!(counts.len(), 1, "a part of a batch: {batch:?} {counts:?}");
        let times = counts.first().copied().unwrap();
        assert!(times >= usize::from(batch.acknowledged), "acknowledged and lost: {batch:?}");
        assert!(times <= batch.attempts, "{times} times: {batch:?}");
    }
    for message in messages {
        assert!(count(message) <= 1, "{message} is there {} times", count(message));
    }
    let known: usize =
        batches.iter().map(|batch| count(&batch.numbers[0]) * batch.numbers.len()).sum();
    let over_syslog: usize = messages.iter().map(count).sum();
    assert_eq!(known + over_syslog, events.len(), "there are events that nobody sent");

    check_alerts(&events, &alerts);
    check_correlation(&events, &alerts);
    find_by_number(server, batches);
    println!(
        "{} batches, {} of {} messages, {} events, {} alerts",
        batches.len(),
        over_syslog,
        messages.len(),
        events.len(),
        alerts.len()
    );
}

/// Rules that alert by themselves: one alert for each event, and none besides.
fn check_alerts(events: &[Value], alerts: &[Value]) {
    let mut expected = BTreeSet::new();
    for event in events {
        let original = text(event, "/event/original");
        let id = text(event, "/event/id").to_owned();
        if original.contains("../../etc/passwd") {
            expected.insert((PATH_TRAVERSAL, id));
        } else if original.contains("Accepted password for root") {
            expected.insert((ROOT_PASSWORD, id));
        }
    }
    let mut found = BTreeSet::new();
    for alert in alerts.iter().filter(|alert| text(alert, "/rule/id") != BRUTE_FORCE) {
        let ids = alert.pointer("/watchpost/alert/event_ids").unwrap();
        // One value of a field may stand without its array.
        let id = ids.as_str().or_else(|| ids.get(0)?.as_str()).unwrap().to_owned();
        assert!(found.insert((text(alert, "/rule/id"), id)), "a second alert: {alert}");
    }
    let missing: Vec<_> = expected.difference(&found).collect();
    let besides: Vec<_> = found.difference(&expected).collect();
    assert!(missing.is_empty() && besides.is_empty(), "missing {missing:?}, besides {besides:?}");
}

/// The correlation, evaluated plainly: a time is full when enough of a group happened in the window
/// that ends there; each period with a full time has an alert, at the first of them.
fn check_correlation(events: &[Value], alerts: &[Value]) {
    let mut groups: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for event in events {
        if text(event, "/event/original").contains("Failed password for") {
            groups.entry(text(event, "/source/ip")).or_default().push(seconds(event));
        }
    }
    let mut expected: BTreeMap<(&str, i64), i64> = BTreeMap::new();
    for (address, times) in &mut groups {
        times.sort_unstable();
        for time in times.iter() {
            let window = times
                .iter()
                .filter(|other| (*time - BRUTE_FORCE_SECONDS + 1..=*time).contains(*other));
            if window.count() >= BRUTE_FORCE_COUNT {
                expected.entry((address, time.div_euclid(BRUTE_FORCE_SECONDS))).or_insert(*time);
            }
        }
    }
    let mut found: BTreeMap<(&str, i64), i64> = BTreeMap::new();
    for alert in alerts.iter().filter(|alert| text(alert, "/rule/id") == BRUTE_FORCE) {
        let time = seconds(alert);
        let place = (text(alert, "/source/ip"), time.div_euclid(BRUTE_FORCE_SECONDS));
        assert_eq!(found.insert(place, time), None, "a second alert: {alert}");
    }
    assert!(!expected.is_empty(), "the test sends too little");
    assert_eq!(found, expected);
}

/// Some acknowledged events, each by its number, as a person would look for it.
fn find_by_number(server: &Server, batches: &[Sent]) {
    let acknowledged: Vec<&Sent> = batches.iter().filter(|batch| batch.acknowledged).collect();
    assert!(!acknowledged.is_empty(), "nothing was acknowledged");
    for batch in acknowledged.iter().step_by(acknowledged.len().div_ceil(40)) {
        let number = batch.numbers.last().unwrap();
        let path = format!(
            "/api/v1/search?since=all&limit=100&q={}",
            encode(&format!("event.original:*no={number}*"))
        );
        let (status, body) = server.get(&path);
        assert_eq!(status, 200, "{body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        let total = answer["total"].as_u64().unwrap() as usize;
        assert!((1..=batch.attempts).contains(&total), "{number}: {body}");
    }
}

#[track_caller]
fn no_panic(log: &Path) {
    let text = std::fs::read_to_string(log).unwrap();
    assert!(!text.contains("panicked at"), "{text}");
}

/// How often the engine is killed.
fn kills() -> u64 {
    let given = std::env::var("WATCHPOST_TEST_KILLS").ok().and_then(|text| text.parse().ok());
    let needs_all = std::env::var_os("WATCHPOST_TEST_NEEDS_ALL").is_some();
    given.unwrap_or(if needs_all { 50 } else { 6 })
}

#[test]
fn kills_at_any_moment_lose_nothing_and_double_nothing() {
    kill(&TestBus::Embedded, kills());
}

#[test]
fn kills_lose_and_double_nothing_on_kafka() {
    // Each life is longer there: a process must first get back its place in its groups.
    if let Some(bus) = TestBus::kafka() {
        kill(&bus, kills().div_ceil(2));
    }
}

fn kill(bus: &TestBus, kills: u64) {
    let life_ms = if bus.has_dense_offsets() { 1500 } else { 5000 };
    let seed = seed();
    let mut numbers = Numbers(seed);
    let folder = tempfile::tempdir().unwrap();
    let (data, log) = (folder.path().join("data"), folder.path().join("log"));
    let writers = Writers::start(seed);
    for _ in 0..kills {
        if numbers.below(4) == 0 {
            // Killed while it reads what the last one left.
            let (mut child, _) = spawn(&data, &log, bus);
            std::thread::sleep(Duration::from_millis(numbers.below(life_ms / 2)));
            child.kill().unwrap();
            child.wait().unwrap();
            continue;
        }
        let engine = start(&data, &log, bus, &writers.now);
        std::thread::sleep(Duration::from_millis(numbers.below(life_ms)));
        engine.server.kill();
        *writers.now.lock().unwrap() = None;
    }
    let engine = start(&data, &log, bus, &writers.now);
    let now = Arc::clone(&writers.now);
    // Everybody gets to send what was begun.
    std::thread::sleep(Duration::from_millis(500));
    let (batches, messages) = writers.join();
    check(&engine.server, bus, &batches, &messages);
    println!("{kills} kills, {} batches, {} messages", batches.len(), messages.len());
    // What was sent while nothing was killed is not lost even without an answer.
    let mut stream = TcpStream::connect(("127.0.0.1", engine.syslog)).unwrap();
    writeln!(stream, "<86>{} host-9 sshd[1]: the last one", time_text(EPOCH)).unwrap();
    assert_eq!(engine.server.search_total("\"the last one\"", 1), 1);
    drop(stream);
    *now.lock().unwrap() = None;
    engine.server.kill();
    no_panic(&log);
}

/// Ends at the instants that matter most, each of them a few times: the process aborts when it
/// comes there for the so many-th time.
#[test]
fn ends_at_named_instants_lose_nothing_and_double_nothing() {
    end_at(
        &TestBus::Embedded,
        &[
            "bus-before-sync",
            "bus-after-sync",
            "stage-before-commit",
            "stage-after-commit",
            "index-between-partitions",
            "index-before-checkpoint",
            "index-after-checkpoint",
        ],
    );
}

#[test]
fn ends_at_named_instants_lose_nothing_and_double_nothing_on_kafka() {
    if let Some(bus) = TestBus::kafka() {
        let instants = [
            "kafka-before-offsets",
            "kafka-before-commit",
            "stage-after-commit",
            "index-before-checkpoint",
        ];
        end_at(&bus, &instants);
    }
}

/// How long it may take until the instant comes.
const INSTANT_MAX: Duration = Duration::from_secs(60);

fn end_at(bus: &TestBus, instants: &[&str]) {
    let seed = seed();
    let mut numbers = Numbers(seed);
    let folder = tempfile::tempdir().unwrap();
    let (data, log) = (folder.path().join("data"), folder.path().join("log"));
    let writers = Writers::start(seed);
    for instant in instants {
        // The index may gather all that is sent to one life into a single commit.
        let passed = if instant.starts_with("index") { 0 } else { 1 + numbers.below(3) };
        for passed in [0, passed] {
            let skipped = if passed > 0 { format!("{passed}*off->") } else { String::new() };
            let failpoints = format!("{instant}={skipped}return");
            // It may come before the process is ready: there is work from the life before.
            let Some(mut engine) = start_with(&data, &log, bus, &writers.now, &failpoints) else {
                continue;
            };
            let until = Instant::now() + INSTANT_MAX;
            while engine.server.child.try_wait().unwrap().is_none() {
                assert!(Instant::now() < until, "{failpoints} did not come");
                std::thread::sleep(Duration::from_millis(10));
            }
            *writers.now.lock().unwrap() = None;
        }
    }
    let engine = start(&data, &log, bus, &writers.now);
    std::thread::sleep(Duration::from_millis(500));
    let (batches, messages) = writers.join();
    check(&engine.server, bus, &batches, &messages);
    engine.server.kill();
    no_panic(&log);
}

/// SIGTERM in the middle of it: the process ends soon, and what it acknowledged is there.
#[test]
fn sigterm_under_load_ends_soon_and_keeps_what_was_acknowledged() {
    let seed = seed();
    let folder = tempfile::tempdir().unwrap();
    let (data, log) = (folder.path().join("data"), folder.path().join("log"));
    let writers = Writers::start(seed);
    for _ in 0..2 {
        let mut engine = start(&data, &log, &TestBus::Embedded, &writers.now);
        std::thread::sleep(Duration::from_millis(1000));
        let started = Instant::now();
        let pid = engine.server.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        *writers.now.lock().unwrap() = None;
        loop {
            if let Some(status) = engine.server.child.try_wait().unwrap() {
                let said = std::fs::read_to_string(&log).unwrap();
                assert!(status.success(), "{status:?}: {said}");
                break;
            }
            assert!(started.elapsed() < STOP_MAX, "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
        println!("ended {} ms after SIGTERM", started.elapsed().as_millis());
    }
    let engine = start(&data, &log, &TestBus::Embedded, &writers.now);
    std::thread::sleep(Duration::from_millis(300));
    let (batches, messages) = writers.join();
    check(&engine.server, &TestBus::Embedded, &batches, &messages);
    engine.server.kill();
    no_panic(&log);
}

/// A log on a disk that is full, with or without the data: what cannot be written is not written.
#[test]
fn a_log_that_cannot_be_written_stops_nothing() {
    let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") else {
        common::needed_in_ci("there is no /dev/full");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let environment = [("WATCHPOST_LOG", "debug")];
    let child = Server::spawn(folder.path(), &[], &environment, Stdio::from(full));
    let mut server = Server::of(child);
    let (status, answer) = server.post("/ingest/test.full", br#"{"message":"written nowhere"}"#);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(server.search_total("\"written nowhere\"", 1), 1);
    let pid = server.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let status = server.child.wait().unwrap();
    assert!(status.success(), "{status:?}");
}
