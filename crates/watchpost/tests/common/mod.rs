//! What the tests from outside share: the binary, a running server, and asking it.

#![expect(dead_code, reason = "each test file uses a part of it")]
#![expect(clippy::print_stdout, reason = "a test that is skipped says so")]

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

/// How long a server may take to say that it is ready. Debug builds on a busy machine are slow.
const START_MAX: Duration = Duration::from_secs(60);

/// The binary with these arguments, and nothing of the caller's settings. Long runs name a binary
/// of their own in `WATCHPOST_TEST_BINARY`, which no build replaces meanwhile.
pub(crate) fn watchpost(args: &[&str]) -> Command {
    let binary = std::env::var_os("WATCHPOST_TEST_BINARY");
    let mut command =
        Command::new(binary.unwrap_or_else(|| env!("CARGO_BIN_EXE_watchpost").into()));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("WATCHPOST_")) {
        command.env_remove(name);
    }
    command.args(args);
    command
}

/// Runs the binary to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    watchpost(args).stdin(Stdio::null()).output().expect("the binary starts")
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A folder of the conformance data, or `None` with a word about it. CI must have it.
pub(crate) fn shared_data(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(name);
    if path.exists() {
        return Some(path);
    }
    needed_in_ci(&format!("../shared/data/{name} is not there"));
    None
}

/// Says that a test was skipped; in CI nothing may be.
pub(crate) fn needed_in_ci(why: &str) {
    assert!(std::env::var_os("WATCHPOST_TEST_NEEDS_ALL").is_none(), "must not be skipped: {why}");
    println!("skipped: {why}");
}

/// A Python that has these modules, if there is one. CI makes it and names it.
pub(crate) fn python(modules: &str) -> Option<PathBuf> {
    let named = std::env::var_os("WATCHPOST_TEST_PYTHON").map(PathBuf::from);
    let python = named.unwrap_or_else(|| PathBuf::from("python3"));
    let found = Command::new(&python)
        .args(["-c", &format!("import {modules}")])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !found {
        needed_in_ci(&format!("there is no Python with the modules {modules}"));
    }
    found.then_some(python)
}

/// A program of a client, beside these tests.
pub(crate) fn client_script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// What a server under test runs on.
pub(crate) enum TestBus {
    Embedded,
    Kafka { url: String, prefix: String },
}

impl TestBus {
    /// The cluster that `WATCHPOST_TEST_KAFKA` names, under a prefix that nobody else has.
    pub(crate) fn kafka() -> Option<TestBus> {
        let Ok(brokers) = std::env::var("WATCHPOST_TEST_KAFKA") else {
            needed_in_ci("WATCHPOST_TEST_KAFKA names no broker; deploy/dev/kafka starts one");
            return None;
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let prefix = format!("t{}.{}.", now.as_nanos(), std::process::id());
        Some(TestBus::Kafka { url: format!("kafka://{brokers}"), prefix })
    }

    /// The settings for it.
    pub(crate) fn environment(&self) -> Vec<(&str, &str)> {
        match self {
            TestBus::Embedded => Vec::new(),
            TestBus::Kafka { url, prefix } => {
                vec![("WATCHPOST_BUS_URL", url), ("WATCHPOST_KAFKA_TOPIC_PREFIX", prefix)]
            }
        }
    }

    /// Whether every offset is a record; on Kafka the marks of transactions take some.
    pub(crate) fn has_dense_offsets(&self) -> bool {
        matches!(self, TestBus::Embedded)
    }
}

/// A running `watchpost run`, killed when dropped.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) url: String,
    pub(crate) token: String,
}

impl Server {
    /// Starts on free ports of loopback, without syslog listeners.
    pub(crate) fn start(data: &Path) -> Server {
        Server::start_with(data, &[], &[])
    }

    pub(crate) fn start_with(data: &Path, args: &[&str], environment: &[(&str, &str)]) -> Server {
        Server::of(Server::spawn(data, args, environment, Stdio::inherit()))
    }

    /// The process alone, which may not be ready yet. What it logs goes to `log`.
    pub(crate) fn spawn(
        data: &Path,
        args: &[&str],
        environment: &[(&str, &str)],
        log: Stdio,
    ) -> Child {
        let data = data.to_str().expect("test folders have plain names");
        let mut command = watchpost(&["run", "--data", data]);
        command
            .args(args)
            .env("WATCHPOST_SERVER_LISTEN", "127.0.0.1:0")
            .env("WATCHPOST_SYSLOG_UDP", "")
            .env("WATCHPOST_SYSLOG_TCP", "")
            .env("WATCHPOST_SHIPPERS_LISTEN", "");
        for (name, value) in environment {
            command.env(name, value);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the binary starts")
    }

    /// Waits until a process is ready.
    pub(crate) fn of(child: Child) -> Server {
        Server::ready(child).unwrap_or_else(|status| {
            panic!("the server stopped before it was ready: {status:?}");
        })
    }

    /// Waits until a process is ready, or has ended.
    pub(crate) fn ready(mut child: Child) -> Result<Server, ExitStatus> {
        let Some(link) = ready_link(&mut child) else {
            return Err(child.wait().expect("our own process can be waited for"));
        };
        let (url, token) = link.split_once("/login?token=").expect("the link carries the token");
        Ok(Server { url: url.to_owned(), token: token.to_owned(), child })
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("our own process can be killed");
        self.child.wait().expect("our own process can be waited for");
    }

    pub(crate) fn post(&self, path: &str, body: &[u8]) -> (u16, String) {
        let response = agent()
            .post(format!("{}{path}", self.url))
            .header("authorization", format!("Bearer {}", self.token))
            .send(body)
            .expect("the server answers");
        read(response)
    }

    /// Posts, and also tells after how many seconds it may be tried again, if the answer says so.
    pub(crate) fn post_told(&self, path: &str, body: &[u8]) -> Answer {
        let response = agent()
            .post(format!("{}{path}", self.url))
            .header("authorization", format!("Bearer {}", self.token))
            .send(body)
            .expect("the server answers");
        let retry_after = response.headers().get("retry-after");
        let retry_after =
            retry_after.map(|value| value.to_str().expect("text").parse().expect("seconds"));
        let (status, body) = read(response);
        Answer { status, retry_after, body }
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        self.get_as(path, &format!("Bearer {}", self.token))
    }

    pub(crate) fn get_as(&self, path: &str, authorization: &str) -> (u16, String) {
        let response = agent()
            .get(format!("{}{path}", self.url))
            .header("authorization", authorization)
            .call()
            .expect("the server answers");
        read(response)
    }

    /// Gets JSON.
    pub(crate) fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).expect("JSON")
    }

    /// Waits until no stage has anything left to do, and returns the last status.
    pub(crate) fn catch_up(&self, within: Duration) -> Value {
        let until = Instant::now() + within;
        let mut quiet = 0;
        loop {
            let answer = self.json("/api/v1/status");
            let lags = answer["lag"].as_array().expect("a list");
            // Twice, since a stage may have written between two of the numbers.
            quiet = if lags.iter().all(|lag| lag["records"] == 0) { quiet + 1 } else { 0 };
            if quiet == 2 {
                return answer;
            }
            assert!(Instant::now() < until, "the stages do not catch up: {answer:#}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// All documents of a kind, page by page.
    pub(crate) fn documents(&self, kind: &str) -> Vec<Value> {
        let mut all = Vec::new();
        let mut path = format!("/api/v1/search?since=all&limit=5000&kind={kind}&q=");
        loop {
            let mut answer = self.json(&path);
            assert_eq!(answer["partial"], serde_json::json!([]));
            let Value::Array(hits) = answer["hits"].take() else { panic!("no hits: {answer}") };
            all.extend(hits);
            match answer["next"].as_str() {
                Some(next) => path = next.to_owned(),
                None => {
                    assert_eq!(answer["total"].as_u64(), Some(all.len() as u64), "all pages");
                    return all;
                }
            }
        }
    }

    /// The sum of all metrics whose lines begin with this.
    pub(crate) fn metric(&self, start: &str) -> f64 {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200, "{text}");
        let lines = text.lines().filter(|line| line.starts_with(start));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Searches until the total is at least `wanted`, or time is up; returns the last total.
    pub(crate) fn search_total(&self, query: &str, wanted: u64) -> u64 {
        self.search_total_of("events", query, wanted)
    }

    /// The same, of events or alerts.
    pub(crate) fn search_total_of(&self, kind: &str, query: &str, wanted: u64) -> u64 {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let path = format!("/api/v1/search?since=all&limit=0&kind={kind}&q={}", encode(query));
            let (status, body) = self.get(&path);
            assert_eq!(status, 200, "{body}");
            let answer: serde_json::Value = serde_json::from_str(&body).expect("JSON");
            let total = answer["total"].as_u64().expect("a total");
            if total >= wanted || Instant::now() > until {
                return total;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// An answer to a post.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<u64>,
    pub(crate) body: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Reads the server's output until the line with the link.
fn ready_link(child: &mut Child) -> Option<String> {
    let started = Instant::now();
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    while let Some(Ok(line)) = lines.next() {
        if let Some(at) = line.find("http://") {
            // The rest is read and dropped, so that the server never waits for us.
            std::thread::spawn(move || lines.for_each(drop));
            return Some(line.split_at(at).1.trim().to_owned());
        }
        assert!(started.elapsed() < START_MAX, "the server did not get ready");
    }
    None
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_global(Some(Duration::from_secs(60)))
        .build()
        .into()
}

fn read(mut response: ureq::http::Response<ureq::Body>) -> (u16, String) {
    let mut body = String::new();
    response.body_mut().as_reader().read_to_string(&mut body).expect("a whole body");
    (response.status().as_u16(), body)
}

/// A port of loopback that nobody listens on now.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("it is bound").port()
}

/// A file that logs are added to.
pub(crate) fn log_file(path: &Path) -> Stdio {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    Stdio::from(file.expect("a log can be written"))
}

/// Percent-encodes all but letters and digits.
pub(crate) fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
