//! What clients of Splunk's HTTP Event Collector see, over a bus in memory.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod shippers;

use axum::http::StatusCode;
use bus::BusError;
use serde_json::{Value, json};
use shippers::{LINE_BYTES_MAX, Server, TOKEN, basic};

const CHANNEL: (&str, &str) = ("x-splunk-request-channel", "FE0ECFAD-13D5-401B-847D-77833BD77131");

#[tokio::test]
async fn events_are_stored_as_sent() {
    for (path, between) in [
        ("/services/collector", ""),
        ("/services/collector/event", "\n"),
        ("/services/collector/event/1.0", " \r\n\t"),
    ] {
        let server = Server::new();
        let events = [
            r#"{"event":"a line","host":"h","time":1.50,"sourcetype":"access_combined"}"#,
            r#"{"event": {"b": [1]}, "sourcetype": "aws:cloudtrail", "index": "app"}"#,
            r#"{"event":0,"index":"main","sourcetype":"_json"}"#,
        ];
        let answer = server.post(path, events.join(between)).await;
        assert_eq!(
            (answer.status, answer.text.as_str()),
            (StatusCode::OK, r#"{"text":"Success","code":0}"#)
        );
        assert_eq!(
            server.stored(),
            [
                format!("hec sender=web dataset=access_combined encoding=hec {}", events[0]),
                format!("hec sender=web dataset=app encoding=hec {}", events[1]),
                format!("hec sender=web encoding=hec {}", events[2]),
            ]
        );
    }
}

#[tokio::test]
async fn events_before_a_broken_one_are_stored_and_it_is_named() {
    let long = format!("{{\"event\":\"{}\"}}", "x".repeat(LINE_BYTES_MAX));
    for (broken, status, code, text) in [
        ("{\"event\":", 400, 6, "Invalid data format"),
        ("[{\"event\":1}]", 400, 6, "Invalid data format"),
        ("plain", 400, 6, "Invalid data format"),
        ("{\"event\":1,\"index\":5}", 400, 6, "Invalid data format"),
        ("{\"host\":\"a\"}", 400, 12, "Event field is required"),
        ("{\"event\":null}", 400, 12, "Event field is required"),
        ("{\"event\":\" \"}", 400, 13, "Event field cannot be blank"),
        ("{\"event\":1,\"index\":\"secret\"}", 400, 7, "Incorrect index"),
        (&long, 413, 27, "Request entity too large"),
    ] {
        let server = Server::new();
        let body = format!("{{\"event\":1}}{{\"event\":2}}{broken}{{\"event\":3}}");
        let answer = server.post("/services/collector/event", body).await;
        assert_eq!(answer.status.as_u16(), status, "{broken}");
        let json = answer.json();
        assert_eq!((&json["code"], &json["text"]), (&json!(code), &json!(text)), "{broken}");
        assert_eq!(json["invalid-event-number"], 2, "{broken}");
        assert_eq!(server.payloads(), [r#"{"event":1}"#, r#"{"event":2}"#]);
    }
    let server = Server::new();
    for path in ["/services/collector", "/services/collector/raw"] {
        let answer = server.post(path, "").await;
        assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (400, &json!(5)));
    }
}

#[tokio::test]
async fn raw_lines_are_wrapped_in_what_the_path_says() {
    let server = Server::new();
    let answer = server.post("/services/collector/raw", "one\n{\"a\":1}\r\n\ntwo").await;
    assert_eq!(answer.text, r#"{"text":"Success","code":0}"#);
    let path = "/services/collector/raw/1.0?host=h%22&source=s&sourcetype=nginx.access&index=main&time=1.5&auto_extract_timestamp=true";
    let answer = server.post(path, b"a \"b\"\n\xff\n".to_vec()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    server.post("/services/collector/raw?time=yesterday", "x").await;
    assert_eq!(
        server.stored(),
        [
            "hec sender=web one",
            "hec sender=web encoding=json {\"a\":1}",
            "hec sender=web two",
            "hec sender=web dataset=nginx.access encoding=hec {\"time\":1.5,\"host\":\"h\\\"\",\"source\":\"s\",\"sourcetype\":\"nginx.access\",\"index\":\"main\",\"event\":\"a \\\"b\\\"\"}",
            "hec sender=web dataset=nginx.access \u{fffd}",
            "hec sender=web encoding=hec {\"time\":\"yesterday\",\"event\":\"x\"}",
        ]
    );
    let answer = server.post("/services/collector/raw?index=secret", "x").await;
    assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (400, &json!(7)));
    let long = format!("a\n{}\nb", "x".repeat(LINE_BYTES_MAX + 1));
    let answer = server.post("/services/collector/raw", long).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (413, &json!(27)));
    assert_eq!(server.payloads()[6..], ["a", "b"]);
}

#[tokio::test]
async fn tokens_are_asked_for() {
    let server = Server::new();
    let splunk = format!("Splunk {TOKEN}");
    let (right, wrong) = (basic("x", TOKEN), basic("x", "wrong"));
    for (header, status, code) in [
        ("", 401, 2),
        ("Digest x", 401, 3),
        ("Splunk", 401, 3),
        ("Splunk wrong", 403, 4),
        (&wrong, 403, 4),
        (&splunk, 200, 0),
        (&right, 200, 0),
    ] {
        for path in ["/services/collector", "/services/collector/raw"] {
            let path = format!("{path}?token={TOKEN}");
            let answer =
                server.send("POST", &path, &[("authorization", header)], "{\"event\":1}").await;
            assert_eq!(
                (answer.status.as_u16(), &answer.json()["code"]),
                (status, &json!(code)),
                "{header}"
            );
        }
    }
    let answer = server.send("GET", "/services/collector/event", &[], "").await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
}

async fn acks(server: &Server, channel: (&str, &str), body: &str) -> (u16, Value) {
    let answer = server.send("POST", "/services/collector/ack", &[channel], body.to_owned()).await;
    (answer.status.as_u16(), answer.json())
}

#[tokio::test]
async fn what_was_given_is_acknowledged_and_nothing_else() {
    let server = Server::new();
    for expected in 0..3 {
        let answer = server.send("POST", "/services/collector", &[CHANNEL], "{\"event\":1}").await;
        assert_eq!(answer.json(), json!({"text": "Success", "code": 0, "ackId": expected}));
    }
    let question = r#"{"acks":[0,2,3,18446744073709551615]}"#;
    let expected =
        json!({"acks": {"0": true, "2": true, "3": false, "18446744073709551615": false}});
    assert_eq!(acks(&server, CHANNEL, question).await, (200, expected.clone()));
    // It stays true, and the name is the same in the path and in small letters.
    let lower = CHANNEL.1.to_ascii_lowercase();
    let path = format!("/services/collector/ack?channel={lower}");
    assert_eq!(server.post(&path, question).await.json(), expected);
    // Another channel was given nothing, as is the same one after a restart.
    let other = (CHANNEL.0, "00000000-0000-0000-0000-000000000000");
    assert_eq!(acks(&server, other, "{\"acks\":[0]}").await.1, json!({"acks": {"0": false}}));
    assert_eq!(
        acks(&Server::new(), CHANNEL, "{\"acks\":[0]}").await.1,
        json!({"acks": {"0": false}})
    );
    // What is refused is given no id.
    let answer = server.send("POST", "/services/collector", &[CHANNEL], "{\"event\":1}{").await;
    assert_eq!(answer.json()["ackId"], Value::Null);
    assert_eq!(acks(&server, CHANNEL, "{\"acks\":[3]}").await.1, json!({"acks": {"3": false}}));

    assert_eq!(acks(&server, ("x-none", ""), "{\"acks\":[0]}").await.1["code"], 10);
    assert_eq!(acks(&server, (CHANNEL.0, "one"), "{\"acks\":[0]}").await.1["code"], 11);
    for wrong in ["", "{}", "{\"acks\":[-1]}", "{\"acks\":[\"0\"]}", "[]"] {
        let (status, json) = acks(&server, CHANNEL, wrong).await;
        assert_eq!((status, &json["code"]), (400, &json!(6)), "{wrong}");
    }
}

#[tokio::test]
async fn the_channel_that_was_not_used_for_longest_is_forgotten() {
    let server = Server::new();
    let path =
        |number: usize| format!("/services/collector?channel=00000000-0000-0000-0000-{number:012}");
    for number in 0..=1000 {
        server.post(&path(number), "{\"event\":1}").await;
        // The first is in use, so the second goes.
        server.post(&path(0).replace("?", "/ack?"), "{\"acks\":[0]}").await;
    }
    for (number, is_known) in [(0, true), (1, false), (2, true), (1000, true)] {
        let answer = server.post(&path(number).replace("?", "/ack?"), "{\"acks\":[0]}").await;
        assert_eq!(answer.json(), json!({"acks": {"0": is_known}}), "{number}");
    }
}

#[tokio::test]
async fn what_is_full_is_busy_and_not_healthy() {
    let low = BusError::DiskLow { path: "/data".into(), free_bytes: 1, reserve_bytes: 2 };
    for (error, seconds) in [(shippers::FULL, "1"), (low, "30")] {
        let server = Server::closed(error);
        for path in ["/services/collector", "/services/collector/raw"] {
            let answer = server.send("POST", path, &[CHANNEL], "{\"event\":1}").await;
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(answer.header("retry-after"), seconds);
            assert_eq!(
                (&answer.json()["code"], &answer.json()["ackId"]),
                (&json!(9), &Value::Null)
            );
        }
        let none = [("authorization", "")];
        let answer = server.send("GET", "/services/collector/health/1.0", &none, "").await;
        assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (503, &json!(18)));
    }
    let answer =
        Server::new().send("GET", "/services/collector/health", &[("authorization", "")], "").await;
    assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (200, &json!(17)));
}

#[tokio::test]
async fn packed_bodies_are_unpacked() {
    let server = Server::new();
    let packed = shippers::gzip("{\"event\":1}".repeat(5000).as_bytes());
    let answer =
        server.send("POST", "/services/collector", &[("content-encoding", "gzip")], packed).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(server.payloads().len(), 5000);
    let answer = server.post("/services/collector", "{\"event\":1}".repeat(20_000)).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (413, &json!(27)));
}
