//! Events to alerts through both stages, over a bus that is closed and opened again in between.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::{
    Bus, EmbeddedBus, MemoryBus, MemorySettings, PollLimits, Records, Shutdown, StageOptions,
    Topic, run_stage,
};
use correlation::{CorrelationStage, Correlations, Definition};
use detection::{DetectionStage, RuleBook, RuleSources, Rules};
use serde_json::{Value, json};

const RULES: &str = "\
title: Failed SSH login
id: 6f9f1f80-8f3c-4b6e-9d3a-000000000011
name: ssh_failed
logsource: {product: linux, service: sshd}
detection:
  selection: {event.outcome: failure}
  condition: selection
---
title: SSH brute force
id: 6f9f1f80-8f3c-4b6e-9d3a-000000000012
level: high
correlation:
  type: event_count
  rules: [ssh_failed]
  group-by: [source.ip]
  timespan: 5m
  condition: {gte: 5}
---
title: Root logs in
id: 6f9f1f80-8f3c-4b6e-9d3a-000000000013
level: medium
logsource: {product: linux, service: sshd}
detection:
  selection: {event.outcome: success, user.name: root}
  condition: selection
";

fn book() -> RuleBook {
    let builtin = vec![("ssh.yml".to_owned(), RULES.to_owned())];
    RuleSources { builtin, ..RuleSources::default() }.load()
}

fn login(number: u32, outcome: &str, address: &str) -> Value {
    json!({
        "@timestamp": format!("2026-08-05T12:00:{number:02}Z"),
        "event": {"id": format!("log-0-{number}"), "outcome": outcome, "ingested": "2026-08-05T12:01:00Z"},
        "data_stream": {"namespace": "default"},
        "host": {"name": "web-1"},
        "user": {"name": "root"},
        "source": {"ip": address},
        "watchpost": {"logsource": {"product": "linux", "service": "sshd"}},
    })
}

/// Appends events, runs both stages until all is done, and stops them in order.
fn work(bus: &Arc<dyn Bus>, events: &[Value]) {
    let mut records = Records::new();
    for event in events {
        records.push(b"web-1", &[], event.to_string().as_bytes());
    }
    records.push(b"", &[], b"this is no event");
    bus.append(Topic::Events, &mut records).unwrap();
    let book = book();
    let definitions: Vec<Definition> = book
        .correlations()
        .iter()
        .filter(|entry| entry.runs)
        .map(|entry| Definition::new(&entry.correlation, entry.reference.clone()).unwrap())
        .collect();
    let correlations = Correlations::new(definitions);
    assert_eq!(correlations.len(), 1);
    let shutdown = Shutdown::new();
    let limits = PollLimits { wait: Duration::from_millis(5), ..PollLimits::default() };
    let options = StageOptions { limits, ..StageOptions::default() };
    let detection = DetectionStage::new(Rules::new(book));
    let correlation = CorrelationStage::new(correlations, correlation::Settings::default());
    let workers = [
        run_stage(Arc::clone(bus), Box::new(detection), options.clone(), shutdown.clone()),
        run_stage(Arc::clone(bus), Box::new(correlation), options, shutdown.clone()),
    ];
    let deadline = Instant::now() + Duration::from_secs(60);
    while bus.lag("detection", &[Topic::Events]).unwrap() > 0
        || bus.lag("correlation", &[Topic::Matches]).unwrap() > 0
    {
        assert!(Instant::now() < deadline, "the stages do not get done");
        std::thread::sleep(Duration::from_millis(5));
    }
    shutdown.trigger();
    workers.into_iter().for_each(|worker| worker.unwrap().join().unwrap());
}

fn all(bus: &Arc<dyn Bus>, topic: Topic) -> Vec<Value> {
    let mut consumer = bus.consumer("test", &[topic]).unwrap();
    let mut batch = bus::Batch::new();
    let mut values = Vec::new();
    loop {
        let limits = PollLimits { wait: Duration::ZERO, ..PollLimits::default() };
        match consumer.poll(&limits, &mut batch).unwrap() {
            bus::Polled::Nothing => return values,
            _ => values.extend(
                batch
                    .iter()
                    .map(|record| serde_json::from_slice(record.value).unwrap_or(Value::Null)),
            ),
        }
    }
}

fn check(alerts: &[Value]) {
    let mut reasons: Vec<&str> =
        alerts.iter().map(|alert| alert["event"]["reason"].as_str().unwrap()).collect();
    reasons.sort_unstable();
    assert_eq!(
        reasons,
        [
            "Root logs in on web-1 by root from 203.0.113.9",
            "SSH brute force: 5 events from 203.0.113.9 within 5m"
        ]
    );
    let brute = alerts.iter().find(|alert| alert["rule"]["name"] == "SSH brute force").unwrap();
    assert_eq!(brute["@timestamp"], "2026-08-05T12:00:20Z");
    assert_eq!(brute["event"]["severity"], 73);
    assert_eq!(brute["host"]["name"], "web-1");
    assert_eq!(brute["source"]["ip"], "203.0.113.9");
    assert_eq!(
        brute["watchpost"]["alert"]["event_ids"],
        json!(["log-0-1", "log-0-2", "log-0-3", "log-0-4", "log-0-20"])
    );
}

/// Four failed logins, then a restart, then the fifth and a success.
fn parts() -> [Vec<Value>; 2] {
    let failed = |number| login(number, "failure", "203.0.113.9");
    let mut first: Vec<Value> = [3, 1, 4, 2].map(failed).to_vec();
    first.extend((5..9).map(|number| login(number, "failure", "198.51.100.7")));
    [first, vec![failed(20), login(21, "success", "203.0.113.9")]]
}

#[test]
fn events_become_alerts_across_a_restart_of_the_stages() {
    let settings = MemorySettings { partitions: 2, ..MemorySettings::default() };
    let bus: Arc<dyn Bus> = Arc::new(MemoryBus::new(settings));
    for events in parts() {
        work(&bus, &events);
    }
    check(&all(&bus, Topic::Alerts));
    assert_eq!(all(&bus, Topic::Rejected).len(), 2, "what is no event, once per part");
}

#[test]
fn events_become_alerts_across_a_restart_of_the_bus() {
    let folder = tempfile::tempdir().unwrap();
    for (number, events) in parts().iter().enumerate() {
        let bus: Arc<dyn Bus> =
            Arc::new(EmbeddedBus::open(folder.path(), bus::Settings::default()).unwrap());
        if number == 1 {
            assert!(all(&bus, Topic::Alerts).is_empty(), "four are not enough");
        }
        work(&bus, events);
        if number == 1 {
            check(&all(&bus, Topic::Alerts));
        }
        bus.close();
    }
}
