//! The pages over made-up events and alerts, without the rest of the engine: for whoever works on
//! how they look.
//!
//! `cargo run -p web --example pages [PORT]` prints the link.

#![expect(clippy::print_stdout, reason = "an example says where it is")]

use std::error::Error;
use std::sync::Arc;

use bus::{MemoryBus, MemorySettings};
use detection::{RuleSources, Rules};
use event::{Alert, Event, Evidence, Level, MatchedField, RuleRef, Timestamp};
use indexing::{Document, Index, IndexWriter, Kind, Options};
use serde_json::{Value, json};

const ENCODED: &str = "title: Encoded PowerShell Command
id: 3a1f5c2e-0d4b-4e51-9b7a-0c7d1f7b9a01
status: test
description: An office program starts PowerShell with an encoded command, as documents with macros do.
author: Watchpost
date: 2026-08-01
references:
    - https://attack.mitre.org/techniques/T1059/001/
tags:
    - attack.execution
    - attack.t1059.001
logsource:
    product: windows
    category: process_creation
detection:
    selection:
        Image|endswith: '\\powershell.exe'
        CommandLine|contains: ' -enc'
    condition: selection
falsepositives:
    - Management tools that send scripts in this form
level: high
";

const FAILED: &str = "title: Failed Logon
id: 3a1f5c2e-0d4b-4e51-9b7a-0c7d1f7b9a02
name: failed_logon
status: test
tags:
    - attack.credential-access
    - attack.t1110
logsource:
    product: windows
    service: security
detection:
    selection:
        EventID: 4625
    condition: selection
level: informational
---
title: Password Spraying
id: 3a1f5c2e-0d4b-4e51-9b7a-0c7d1f7b9a03
status: test
description: One source fails to log on as many users in a short time.
tags:
    - attack.credential-access
    - attack.t1110.003
correlation:
    type: value_count
    rules:
        - failed_logon
    group-by:
        - IpAddress
    timespan: 10m
    condition:
        field: TargetUserName
        gte: 10
level: critical
";

const HOUR_NANOS: i64 = 3_600_000_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let port: u16 = std::env::args().nth(1).map_or(Ok(0), |text| text.parse())?;
    let folder = tempfile::tempdir()?;
    let index = Index::open(folder.path(), Options::default())?;
    let builtin = [("encoded.yml", ENCODED), ("logon.yml", FAILED), ("broken.yml", "title: [\n")];
    let sources = RuleSources {
        builtin: builtin.map(|(name, text)| (name.to_owned(), text.to_owned())).to_vec(),
        paths: Vec::new(),
        pipelines: Vec::new(),
    };
    let rules = sources.load();
    let mut writer = index.writer("log")?;
    let now = Timestamp::now();
    let events = events(now);
    for event in &events {
        add(&mut writer, Kind::Events, event)?;
    }
    for alert in alerts(&events, now) {
        let json: Value = serde_json::from_str(&alert.to_event()?.to_json())?;
        add(&mut writer, Kind::Alerts, &json)?;
    }
    writer.flush()?;
    writer.commit()?;
    let state = web::AppState {
        index_group: "indexing".to_owned(),
        search: Arc::new(index.searcher()),
        is_indexed: true,
        index,
        rules: Rules::new(rules),
        token: web::Token::new("example"),
        bus: Arc::new(MemoryBus::new(MemorySettings::default())),
        problems: Arc::new(Vec::new),
        files: Arc::new(Vec::new),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
        println!("http://{}/login?token=example", listener.local_addr()?);
        let stop = async {
            tokio::signal::ctrl_c().await.ok();
        };
        let limits = web::ServeLimits::default();
        web::serve(listener, tls::Security::Plain, web::router(state, None), limits, stop).await;
        Ok::<(), std::io::Error>(())
    })?;
    Ok(())
}

fn add(writer: &mut IndexWriter, kind: Kind, json: &Value) -> Result<(), Box<dyn Error>> {
    let json = json.to_string().into_bytes();
    let mut event = Event::new();
    event.parse_json(&json)?;
    let time = event.timestamp().ok_or("every event has a time")?;
    writer.add(Document { kind, time, event, json, position: None });
    Ok(())
}

/// A day of a small fleet, busier by day than by night.
fn events(now: Timestamp) -> Vec<Value> {
    let hosts = ["ws-07", "ws-12", "dc-01", "web-01", "db-02"];
    let users = ["anna", "bert", "carl", "dora", "SYSTEM"];
    let mut events = Vec::new();
    for n in 0..3_000_i64 {
        // Squares crowd towards now.
        let age = n * n % 24_000 * HOUR_NANOS / 1_000;
        let time = now.plus_nanos(-age);
        let pick =
            |list: &[&str], by: i64| list[usize::try_from(by).unwrap_or(0) % list.len()].to_owned();
        let (host, user) = (pick(&hosts, n * 7), pick(&users, n * 3 + n / 11));
        let mut event = match n % 4 {
            0 => json!({
                "event": {"dataset": "windows.security", "code": "4625", "action": "logon-failed", "outcome": "failure"},
                "source": {"ip": format!("198.51.100.{}", n % 7)},
            }),
            1 => json!({
                "event": {"dataset": "linux.auth", "action": "ssh_login", "outcome": "success"},
                "message": format!("Accepted publickey for {user} from 10.0.0.{} port {} ssh2", n % 200, 40_000 + n),
                "source": {"ip": format!("10.0.0.{}", n % 200)},
            }),
            _ => json!({
                "event": {"dataset": "windows.sysmon", "code": "1", "action": "process-created"},
                "process": {
                    "executable": r"C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe",
                    "name": "powershell.exe",
                    "pid": 1_000 + n,
                    "command_line": if n % 90 == 2 {
                        "powershell.exe -NoP -W Hidden -enc SQBFAFgAIAAoAE4AZQB3AC0ATwBiAGoAZQBjAHQAIABOAGUAdAAuAFcAZQBiAEMAbABpAGUAbgB0ACkA <script>alert(1)</script>"
                    } else {
                        r"powershell.exe -File C:\Scripts\inventory.ps1 -Quiet"
                    },
                    "parent": {"name": "WINWORD.EXE", "executable": r"C:\Program Files\Microsoft Office\root\Office16\WINWORD.EXE"},
                },
            }),
        };
        event["@timestamp"] = time.to_string().into();
        event["event"]["id"] = format!("example-0-{n}").into();
        event["event"]["kind"] = "event".into();
        event["event"]["original"] = json!({"EventID": n, "Computer": host}).to_string().into();
        event["host"] = json!({"name": host, "os": {"type": "windows"}});
        event["user"] = json!({"name": user, "id": format!("S-1-5-21-{n}")});
        event["watchpost"] = json!({"logsource": {"product": "windows"}});
        events.push(event);
    }
    events
}

fn alerts(events: &[Value], now: Timestamp) -> Vec<Alert> {
    let time_of = |event: &Value| {
        event["@timestamp"].as_str().and_then(Timestamp::parse_rfc3339).unwrap_or(now)
    };
    let evidence = |event: &Value| Evidence {
        id: event["event"]["id"].as_str().unwrap_or_default().to_owned(),
        event: event.clone(),
    };
    let mut alerts = Vec::new();
    let is_encoded = |event: &&Value| event.to_string().contains("-enc");
    for event in events.iter().filter(is_encoded) {
        let evidence = evidence(event);
        let text = |pointer: &str| {
            event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let matched = |field: &str, value: String, pattern: &str| MatchedField {
            field: field.into(),
            value,
            pattern: pattern.into(),
        };
        alerts.push(Alert {
            id: Alert::make_id(&["encoded", &evidence.id]),
            time: time_of(event),
            created: now,
            received: now.plus_nanos(-42_000_000),
            rule: RuleRef {
                id: "3a1f5c2e-0d4b-4e51-9b7a-0c7d1f7b9a01".into(),
                title: "Encoded PowerShell Command".into(),
                level: Level::High,
                tags: vec!["attack.execution".into(), "attack.t1059.001".into()],
                ..RuleRef::default()
            },
            reason: format!(
                "WINWORD.EXE started powershell.exe with an encoded command as {} on {}",
                text("/user/name"),
                text("/host/name")
            ),
            namespace: "default".into(),
            matched: vec![
                matched(
                    "process.executable",
                    text("/process/executable"),
                    r"ends with \powershell.exe",
                ),
                matched("process.command_line", text("/process/command_line"), "contains  -enc"),
            ],
            group: Vec::new(),
            event_count: 1,
            event_ids: vec![evidence.id.clone()],
            evidence: vec![evidence],
        });
    }
    let failed: Vec<&Value> =
        events.iter().filter(|event| event["event"]["code"] == "4625").take(24).collect();
    let newest = failed.iter().map(|event| time_of(event)).max().unwrap_or(now);
    alerts.push(Alert {
        id: Alert::make_id(&["spraying"]),
        time: newest,
        created: now,
        received: now,
        rule: RuleRef {
            id: "3a1f5c2e-0d4b-4e51-9b7a-0c7d1f7b9a03".into(),
            title: "Password Spraying".into(),
            level: Level::Critical,
            tags: vec!["attack.credential-access".into(), "attack.t1110.003".into()],
            ..RuleRef::default()
        },
        reason: "198.51.100.4 failed to log on as 24 users within 10 minutes".into(),
        namespace: "default".into(),
        matched: Vec::new(),
        group: vec![("source.ip".into(), "198.51.100.4".into())],
        event_count: 24,
        event_ids: failed.iter().map(|event| evidence(event).id).collect(),
        evidence: failed.iter().take(10).map(|event| evidence(event)).collect(),
    });
    alerts
}
