//! Enrichment from outside: tables of the configuration are told of events, and again when they change.

mod common;

use std::time::{Duration, Instant};

use common::{Server, stderr, watchpost};
use serde_json::json;

fn configuration(folder: &std::path::Path) -> String {
    format!(
        r#"[enrichment]
reload_seconds = 1
[[enrichment.watchlists]]
name = "assets"
file = "{0}/assets.csv"
key = "host"
match = ["host.name"]
"#,
        folder.display()
    )
}

#[test]
fn events_have_what_tables_say_when_they_come() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let table = at.join("assets.csv");
    std::fs::write(&table, "host,criticality\nDC01,high\n").unwrap();
    let settings = at.join("watchpost.toml");
    std::fs::write(&settings, configuration(at)).unwrap();
    let data = at.join("data");
    let server = Server::start_with(&data, &["--config", settings.to_str().unwrap()], &[]);
    let send = |number: u32| {
        let event = json!({
            "@timestamp": "2026-11-24T12:00:00Z", "ecs": {"version": "9.0.0"},
            "event": {"dataset": "test.web", "sequence": number}, "host": {"name": "dc01"},
            "url": {"domain": "www.shop.example.co.uk"},
            "user_agent": {"original": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"},
            "source": {"ip": "192.0.2.7", "port": 40000}, "destination": {"ip": "192.0.2.8", "port": 443},
            "network": {"transport": "tcp"},
        });
        let (status, answer) = server.post("/ingest/test.web", event.to_string().as_bytes());
        assert_eq!(status, 200, "{answer}");
    };
    send(0);
    let enriched = "watchlist.assets.criticality:high and url.registered_domain:example.co.uk \
        and user_agent.name:Firefox and user_agent.os.name:Linux and network.community_id:1*";
    assert_eq!(server.search_total(enriched, 1), 1);
    std::fs::write(at.join("new.csv"), "host,criticality\nDC01,extreme\n").unwrap();
    std::fs::rename(at.join("new.csv"), &table).unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    let mut number = 1;
    loop {
        send(number);
        let sent = u64::from(number) + 1;
        assert_eq!(server.search_total("event.dataset:test.web", sent), sent);
        number += 1;
        let path = "/api/v1/search?since=all&q=watchlist.assets.criticality%3Aextreme";
        let found = server.json(path);
        if found["total"].as_u64().unwrap() > 0 {
            break;
        }
        assert!(Instant::now() < until, "the table was not read again");
    }
    let found =
        server.metric("watchpost_enrichment_lookups_total{result=\"hit\",table=\"assets\"}");
    assert!(found >= 2.0, "{found}");
}

#[test]
fn a_table_with_a_fault_stops_the_start_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::fs::write(at.join("assets.csv"), "name,criticality\na,high\n").unwrap();
    let settings = at.join("watchpost.toml");
    std::fs::write(&settings, configuration(at)).unwrap();
    let data = at.join("data");
    let args = ["run", "--config", settings.to_str().unwrap(), "--data", data.to_str().unwrap()];
    let output = watchpost(&args).output().unwrap();
    let told = stderr(&output);
    assert!(!output.status.success());
    assert!(told.contains("assets.csv:1: there is no column `host`"), "{told}");
}
