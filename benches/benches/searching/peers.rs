//! Engines that are other programs: DuckDB from Python, VictoriaLogs over HTTP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::questions::Question;
use crate::{Answered, Fault, Loaded, bytes_below};

/// How long a peer may take for anything.
const PATIENCE: Duration = Duration::from_secs(1800);

/// How much is posted at once.
const POST_BYTES: usize = 8 * 1024 * 1024;

/// DuckDB in a Python process of its own.
pub(crate) struct DuckDb {
    child: Child,
    calls: ChildStdin,
    answers: BufReader<ChildStdout>,
    folder: PathBuf,
}

impl DuckDb {
    /// `python` has the package `duckdb`.
    pub(crate) fn start(python: &str, folder: &Path) -> Result<DuckDb, Fault> {
        std::fs::create_dir_all(folder)?;
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/searching/duckdb_peer.py");
        let mut child = Command::new(python)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let calls = child.stdin.take().ok_or("no standard input")?;
        let answers = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        Ok(DuckDb { child, calls, answers, folder: folder.to_owned() })
    }

    fn call(&mut self, call: &Value) -> Result<Value, Fault> {
        writeln!(self.calls, "{call}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        serde_json::from_str(&line).map_err(|error| format!("DuckDB: {error}: {line}").into())
    }

    pub(crate) fn load(&mut self, lines: &Path) -> Result<Loaded, Fault> {
        let answer = self.call(&json!({"load": lines, "folder": self.folder}))?;
        let took = Duration::from_secs_f64(answer["seconds"].as_f64().unwrap_or(0.0));
        let bytes = answer["bytes"].as_u64().unwrap_or(0);
        Ok(Loaded { took, merged: Duration::ZERO, bytes })
    }

    pub(crate) fn ask(&mut self, question: &Question, rounds: usize) -> Result<Answered, Fault> {
        let is_filter = !question.sql.starts_with("select");
        let call = json!({"ask": question.sql, "filter": is_filter, "rounds": rounds});
        let answer = self.call(&call)?;
        let mut answered =
            Answered { hits: answer["hits"].as_u64().unwrap_or(0), ..Answered::default() };
        for seconds in answer["seconds"].as_array().into_iter().flatten() {
            answered.took(Duration::from_secs_f64(seconds.as_f64().unwrap_or(0.0)));
        }
        Ok(answered)
    }
}

impl Drop for DuckDb {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// VictoriaLogs as a server on a port of its own.
pub(crate) struct VictoriaLogs {
    child: Child,
    url: String,
    folder: PathBuf,
    agent: ureq::Agent,
}

impl VictoriaLogs {
    pub(crate) fn start(binary: &str, folder: &Path) -> Result<VictoriaLogs, Fault> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = format!("127.0.0.1:{port}");
        let child = Command::new(binary)
            .arg(format!("-storageDataPath={}", folder.display()))
            .arg(format!("-httpListenAddr={address}"))
            .args(["-retentionPeriod=100y", "-search.maxQueryDuration=10m"])
            .args(["-insert.maxLineSizeBytes=33554432", "-loggerLevel=ERROR"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let agent = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).build().into();
        let peer = VictoriaLogs {
            child,
            url: format!("http://{address}"),
            folder: folder.to_owned(),
            agent,
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        while peer.agent.get(format!("{}/health", peer.url)).call().is_err() {
            if Instant::now() > deadline {
                return Err("VictoriaLogs does not start".into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(peer)
    }

    pub(crate) fn load(&self, lines: &Path) -> Result<Loaded, Fault> {
        let insert = format!(
            "{}/insert/jsonline?_stream_fields=host.name&_time_field=@timestamp&_msg_field=message",
            self.url
        );
        let started = Instant::now();
        let mut file = std::fs::File::open(lines)?;
        let mut rest = Vec::new();
        loop {
            let mut block = std::mem::take(&mut rest);
            let taken = Read::by_ref(&mut file).take(POST_BYTES as u64).read_to_end(&mut block)?;
            if block.is_empty() {
                break;
            }
            if taken > 0 {
                let end = block.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                rest = block.split_off(end);
            }
            self.agent.post(&insert).send(&block)?;
        }
        // Until all of it can be searched.
        self.agent.get(format!("{}/internal/force_flush", self.url)).call()?;
        let took = started.elapsed();
        let merging = Instant::now();
        self.agent.get(format!("{}/internal/force_merge", self.url)).call()?;
        Ok(Loaded { took, merged: merging.elapsed(), bytes: bytes_below(&self.folder)? })
    }

    fn get(&self, path: &str, query: &str) -> Result<String, Fault> {
        let call = self
            .agent
            .get(format!("{}{path}", self.url))
            .query("query", query)
            .query("start", "2026-08-01T00:00:00Z")
            .query("end", "2026-08-31T00:00:00Z");
        let call = if path.ends_with("/hits") { call.query("step", "1728s") } else { call };
        Ok(call.call()?.body_mut().with_config().limit(1 << 30).read_to_string()?)
    }

    pub(crate) fn ask(&self, question: &Question, rounds: usize) -> Result<Answered, Fault> {
        let is_filter = !question.logsql.starts_with('*');
        let mut answered = Answered::default();
        for _ in 0..=rounds {
            let started = Instant::now();
            if is_filter {
                let hits = self.get("/select/logsql/hits", question.logsql)?;
                let hits: Value = serde_json::from_str(&hits)?;
                let totals = hits["hits"].as_array().into_iter().flatten();
                answered.hits = totals.filter_map(|one| one["total"].as_u64()).sum();
                let newest = format!("{} | sort by (_time) desc limit 100", question.logsql);
                self.get("/select/logsql/query", &newest)?;
            } else {
                self.get("/select/logsql/query", question.logsql)?;
            }
            answered.took(started.elapsed());
        }
        Ok(answered)
    }
}

impl Drop for VictoriaLogs {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
