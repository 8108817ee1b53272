//! Processes that are measured from outside, and end with us.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Fault;

const START_MAX: Duration = Duration::from_secs(60);

/// How often the kernel counts a process's time, on every architecture there is.
const TICKS_PER_SECOND: f64 = 100.0;

/// Killed when dropped.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Process {
    /// The seconds that it has had of processors.
    pub(crate) fn cpu_seconds(&self) -> Result<f64, Fault> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        // The name before it may have blanks.
        let (_, fields) = stat.rsplit_once(')').ok_or("no name in stat")?;
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
        Ok(ticks.sum::<Result<f64, _>>()? / TICKS_PER_SECOND)
    }
}

/// An address of loopback that nobody has.
pub(crate) fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// Waits until somebody listens there.
pub(crate) fn wait_for_listener(address: SocketAddr) -> Result<(), Fault> {
    let started = Instant::now();
    while let Err(error) = TcpStream::connect(address) {
        if started.elapsed() > START_MAX {
            return Err(error.into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Asks until the answer is yes.
pub(crate) fn wait_until(
    every: Duration,
    at_most: Duration,
    mut is_so: impl FnMut() -> Result<bool, Fault>,
) -> Result<(), Fault> {
    let started = Instant::now();
    while !is_so()? {
        if started.elapsed() > at_most {
            return Err(format!("nothing came of it within {at_most:?}").into());
        }
        std::thread::sleep(every);
    }
    Ok(())
}

/// A running `watchpost run`.
pub(crate) struct Server {
    pub(crate) process: Process,
    url: String,
    token: String,
    agent: ureq::Agent,
}

impl Server {
    /// Starts and waits until it is ready. What it logs goes to a file beside its data.
    pub(crate) fn start(
        data: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Server, Fault> {
        let binary = binary()?;
        let mut command = Command::new(&binary);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("WATCHPOST_")) {
            command.env_remove(name);
        }
        command
            .args(["run", "--data"])
            .arg(data)
            .args(arguments)
            .env("WATCHPOST_SERVER_LISTEN", "127.0.0.1:0")
            .env("WATCHPOST_SYSLOG_UDP", "")
            .env("WATCHPOST_SYSLOG_TCP", "")
            .env("WATCHPOST_SHIPPERS_LISTEN", "")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(data.with_extension("log"))?);
        let child = command.spawn().map_err(|error| format!("{}: {error}", binary.display()))?;
        let mut process = Process(child);
        let mut lines = BufReader::new(process.0.stdout.take().ok_or("it is piped")?).lines();
        let line = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, link) = line.split_once("http://")?;
            Some(link.split('/').next()?.to_owned())
        });
        let Some(host) = line else {
            let log = std::fs::read_to_string(data.with_extension("log"))?;
            return Err(format!("the server did not start: {log}").into());
        };
        // The rest is read and dropped, so that the server never waits for us.
        std::thread::spawn(move || lines.for_each(drop));
        let token = std::fs::read_to_string(data.join("token"))?.trim().to_owned();
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .build()
            .into();
        Ok(Server { process, url: format!("http://{host}"), token, agent })
    }

    /// Who knows it may send.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    pub(crate) fn get(&self, path: &str) -> Result<String, Fault> {
        let response = self
            .agent
            .get(format!("{}{path}", self.url))
            .header("authorization", format!("Bearer {}", self.token))
            .call()?;
        read(path, response).1
    }

    pub(crate) fn get_json(&self, path: &str) -> Result<Value, Fault> {
        Ok(serde_json::from_str(&self.get(path)?)?)
    }

    /// Posts until it is taken: a server that is full says so, and means later.
    pub(crate) fn post(&self, path: &str, body: &[u8]) -> Result<(), Fault> {
        loop {
            let response = self
                .agent
                .post(format!("{}{path}", self.url))
                .header("authorization", format!("Bearer {}", self.token))
                .send(body)?;
            match read(path, response) {
                (429 | 503, _) => std::thread::sleep(Duration::from_millis(50)),
                (_, answer) => return answer.map(drop),
            }
        }
    }
}

fn read(
    path: &str,
    mut response: ureq::http::Response<ureq::Body>,
) -> (u16, Result<String, Fault>) {
    let status = response.status().as_u16();
    let answer = match response.body_mut().read_to_string() {
        Ok(body) if status == 200 => Ok(body),
        Ok(body) => Err(format!("{path}: {status}: {body}").into()),
        Err(error) => Err(error.into()),
    };
    (status, answer)
}

/// The release binary, or the one that is named.
fn binary() -> Result<PathBuf, Fault> {
    let path = match std::env::var_os("WATCHPOST_TEST_BINARY") {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/watchpost"),
    };
    if !path.exists() {
        let path = path.display();
        return Err(format!("{path} is not there: cargo build --release -p watchpost").into());
    }
    Ok(path)
}
