//! Real shippers, unchanged: what people already run delivers to a running engine.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Server, needed_in_ci};

/// A port of loopback that nobody has, for TCP and UDP.
fn free_port() -> u16 {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn server_with_syslog(data: &Path) -> (Server, u16) {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let server = Server::start_with(
        data,
        &[],
        &[("WATCHPOST_SYSLOG_UDP", &address), ("WATCHPOST_SYSLOG_TCP", &address)],
    );
    (server, port)
}

fn is_there(program: &str) -> bool {
    let found = ["/usr/bin", "/usr/sbin", "/usr/local/bin"]
        .iter()
        .any(|folder| Path::new(folder).join(program).exists());
    if !found {
        needed_in_ci(&format!("{program} is not installed"));
    }
    found
}

/// util-linux' `logger`: UDP, TCP by newline and by count, RFC 3164 and RFC 5424.
#[test]
fn logger_delivers_in_every_way_it_has() {
    if !is_there("logger") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (server, port) = server_with_syslog(folder.path());
    let port = port.to_string();
    let ways: [&[&str]; 4] = [
        &["--udp", "--rfc3164"],
        &["--udp", "--rfc5424"],
        &["--tcp", "--rfc5424"],
        &["--tcp", "--rfc5424", "--octet-count"],
    ];
    for (index, way) in ways.iter().enumerate() {
        let status = Command::new("logger")
            .args(["--server", "127.0.0.1", "--port", &port, "--tag", "sshd", "--priority"])
            .arg("auth.info")
            .args(*way)
            .arg(format!("Failed password for root from 203.0.113.{index} port 4242 ssh2"))
            .status()
            .unwrap();
        assert!(status.success());
    }
    for (index, way) in ways.iter().enumerate() {
        let query =
            format!("source.ip:203.0.113.{index} and user.name:root and event.outcome:failure");
        assert_eq!(server.search_total(&query, 1), 1, "{way:?}");
    }
}

/// rsyslog reads a file and forwards its lines over TCP, as RFC 5424.
#[test]
fn rsyslog_forwards_over_tcp() {
    const LINES: u64 = 2_000;
    if !is_there("rsyslogd") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (server, port) = server_with_syslog(&folder.path().join("data"));
    let log = folder.path().join("app.log");
    let config = folder.path().join("rsyslog.conf");
    let work = folder.path().join("work");
    std::fs::create_dir(&work).unwrap();
    std::fs::write(
        &config,
        format!(
            r#"global(workDirectory="{work}")
module(load="imfile" mode="polling" pollingInterval="1")
input(type="imfile" file="{log}" tag="useradd:" facility="authpriv" severity="info")
action(type="omfwd" target="127.0.0.1" port="{port}" protocol="tcp" template="RSYSLOG_SyslogProtocol23Format"
       action.resumeRetryCount="-1" queue.type="LinkedList")
"#,
            work = work.display(),
            log = log.display(),
        ),
    )
    .unwrap();
    let mut file = std::fs::File::create(&log).unwrap();
    for number in 0..LINES {
        writeln!(
            file,
            "new user: name=u{number}, UID={number}, GID=100, home=/home/u, shell=/bin/sh"
        )
        .unwrap();
    }
    file.sync_all().unwrap();
    let pid = folder.path().join("rsyslog.pid");
    let mut rsyslog = Command::new("/usr/sbin/rsyslogd")
        .arg("-n")
        .arg("-f")
        .arg(&config)
        .arg("-i")
        .arg(&pid)
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let total = server.search_total("event.original:* and process.name:useradd", LINES);
    // Our own process.
    rsyslog.kill().unwrap();
    rsyslog.wait().unwrap();
    assert_eq!(total, LINES);
    assert_eq!(server.search_total("user.target.name:u1999", 1), 1);
}

/// curl posts what it is given, compressed too.
#[test]
fn curl_posts_compressed_lines() {
    if !is_there("curl") || !is_there("gzip") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    let lines = folder.path().join("lines.json");
    let event = r#"{"@timestamp":"2026-08-05T12:00:00Z","ecs":{"version":"9.0"},"event":{"kind":"event"},"host":{"name":"curled"}}"#;
    std::fs::write(&lines, format!("{event}\n").repeat(100)).unwrap();
    let status = Command::new("gzip").arg(&lines).status().unwrap();
    assert!(status.success());
    let started = Instant::now();
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--fail-with-body", "--max-time", "30"])
        .args(["-H", &format!("Authorization: Bearer {}", server.token)])
        .args(["-H", "Content-Encoding: gzip"])
        .args(["--data-binary", &format!("@{}.gz", lines.display())])
        .arg(format!("{}/ingest/test.curl", server.url))
        .output()
        .unwrap();
    let answer = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{answer}");
    assert!(answer.contains("100"), "{answer}");
    assert!(started.elapsed() < Duration::from_secs(30));
    assert_eq!(server.search_total("host.name:curled", 100), 100);
}
