//! What shippers of Elasticsearch's world see, over a bus in memory.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod shippers;

use axum::http::StatusCode;
use bus::BusError;
use serde_json::{Value, json};
use shippers::{BODY_BYTES_MAX, LINE_BYTES_MAX, Server, TOKEN, basic};

#[tokio::test]
async fn documents_are_stored_as_sent_and_answered_one_by_one() {
    let server = Server::new();
    let body = concat!(
        "{\"create\":{\"_index\":\"logs-nginx.access-default\",\"_id\":\"a\\\"b\"}}\n",
        "{ \"message\" : 1.50, \"é\":null }\r\n",
        "\n",
        "{\"index\":{\"_index\":\"filebeat-8.15.0-2026.11.26\",\"_type\":\"_doc\",\"pipeline\":\"p\",\"_id\":7}}\r\n",
        "{\"b\":[{}]}\r\n",
        "{\"create\":{\"_index\":\"logs-app-drill\"}}\n",
        "{}",
    );
    let answer = server.post("/_bulk?pipeline=x&refresh=false&timeout=60s", body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert!(answer.text.contains("\"errors\":false,\"items\":["), "{}", answer.text);
    assert_eq!(answer.header("x-elastic-product"), "Elasticsearch");
    assert_eq!(answer.header("content-type"), "application/json");
    let items = answer.json()["items"].clone();
    assert_eq!(
        items[0],
        json!({"create": {
            "_index": "logs-nginx.access-default", "_id": "a\"b", "_version": 1,
            "result": "created", "_shards": {"total": 1, "successful": 1, "failed": 0},
            "_seq_no": 0, "_primary_term": 1, "status": 201,
        }})
    );
    assert_eq!(items[1]["index"]["_id"], "7");
    let made_up = items[2]["create"]["_id"].as_str().unwrap();
    assert_eq!(made_up.len(), 20);
    assert_eq!(
        server.stored(),
        [
            "elasticsearch sender=web dataset=nginx.access encoding=json { \"message\" : 1.50, \"é\":null }",
            "elasticsearch sender=web encoding=json {\"b\":[{}]}",
            "elasticsearch sender=web dataset=app namespace=drill encoding=json {}",
        ]
    );
}

#[tokio::test]
async fn a_broken_document_is_refused_alone() {
    let server = Server::new();
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(LINE_BYTES_MAX));
    let body = [
        r#"{"index":{}}"#,
        r#"{"a":1}"#,
        r#"{"index":{"_id":"1"}}"#,
        r#"{"a":"#,
        r#"{"create":{}}"#,
        r#"[1]"#,
        r#"{"create":{}}"#,
        &long,
        r#"{"create":{"_index":"logs-secret-default"}}"#,
        r#"{}"#,
        r#"{"update":{"_id":"1"}}"#,
        r#"{"doc":{}}"#,
        r#"{"delete":{"_id":"1"}}"#,
        r#"{"create":{"_index":"logs-app-default"}}"#,
        r#"{"z":1}"#,
        "",
    ]
    .join("\n");
    let answer = server.post("/some-index/_bulk", body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let json = answer.json();
    assert_eq!(json["errors"], true);
    let items: Vec<(String, u64, String)> = json["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| {
            let (verb, item) = item.as_object().unwrap().iter().next().unwrap();
            let kind = item["error"]["type"].as_str().unwrap_or_default();
            let reason = item["error"]["reason"].as_str().unwrap_or_default();
            (verb.clone(), item["status"].as_u64().unwrap(), format!("{kind}: {reason}"))
        })
        .collect();
    for (item, (verb, status, message)) in items.iter().zip([
        ("index", 201, ""),
        ("index", 400, "document_parsing_exception: the document on line 4 is no JSON object"),
        ("create", 400, "document_parsing_exception: the document on line 6 is no JSON object"),
        ("create", 400, "illegal_argument_exception: the document has 1008 bytes"),
        ("create", 403, "security_exception: sender `web` may not send to the dataset `secret`"),
        ("update", 400, "illegal_argument_exception: `update` is not done"),
        ("delete", 400, "illegal_argument_exception: `delete` is not done"),
        ("create", 201, ""),
    ]) {
        assert_eq!((item.0.as_str(), item.1), (verb, status), "{item:?}");
        assert!(item.2.contains(message), "{item:?}");
    }
    assert_eq!(items.len(), 8);
    assert_eq!(server.payloads(), [r#"{"a":1}"#, r#"{"z":1}"#]);
}

#[tokio::test]
async fn a_broken_action_refuses_the_request() {
    let server = Server::new();
    let long = format!("{{\"index\":{{\"_id\":\"{}\"}}}}", "x".repeat(20_000));
    for (body, message) in [
        ("{\"index\":{}}\n{\"a\":1}\n[]\n{}\n", "line [3], expected START_OBJECT"),
        ("{\"index\":{}}\n{\"a\":1}\n\"x\n{}\n", "line [3], expected START_OBJECT"),
        ("{\"upsert\":{}}\n{}\n", "unknown field `upsert`"),
        ("{}\n{}\n", "expected one of `create`"),
        ("{\"index\":{},\"create\":{}}\n{}\n", "expected one of `create`"),
        ("{\"index\":{\"_id\":[]}}\n{}\n", "`_id` must be a text or a number"),
        ("{\"index\":{}}\n{\"a\":1}\n{\"index\":{}}\n", "without the document"),
        ("{\"index\":{}}", "without the document"),
        (&long, "may have 16384"),
        ("", "no operation"),
        ("\n\n", "no operation"),
    ] {
        let answer = server.post("/x/_bulk", body.to_owned()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        let json = answer.json();
        assert_eq!(json["status"], 400);
        assert_eq!(json["error"]["type"], "illegal_argument_exception");
        assert_eq!(json["error"]["root_cause"][0]["type"], "illegal_argument_exception");
        let reason = json["error"]["reason"].as_str().unwrap();
        assert!(reason.contains(message), "{body}: {reason}");
    }
    let answer = server.post("/_bulk", "{\"index\":{}}\n{}\n").await;
    assert!(answer.text.contains("the index is missing"), "{}", answer.text);
    assert!(server.payloads().is_empty());
}

#[tokio::test]
async fn what_is_too_much_is_told() {
    let server = Server::new();
    let body = "{\"index\":{}}\n{}\n".repeat(BODY_BYTES_MAX / 16 + 1);
    let answer = server.post("/x/_bulk", body).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(answer.json()["error"]["type"], "content_too_long_exception");
    assert!(server.payloads().is_empty());
}

#[tokio::test]
async fn a_small_answer_is_given_to_whom_asks_for_it() {
    let server = Server::new();
    let good = "{\"index\":{}}\n{}\n";
    let mixed = "{\"index\":{}}\n{}\n{\"create\":{}}\nx\n";
    let error = r#""error":{"type":"document_parsing_exception","reason":"the document on line 4 is no JSON object: it does not begin with `{`"}"#;
    for (filter, body, expected) in [
        (
            "errors,items.*.error,items.*.status",
            good,
            r#"{"errors":false,"items":[{"index":{"status":201}}]}"#.to_owned(),
        ),
        ("errors,items.*.error", good, r#"{"errors":false}"#.to_owned()),
        (
            "items.*.error,errors",
            mixed,
            format!(r#"{{"errors":true,"items":[{{"create":{{{error}}}}}]}}"#),
        ),
        (
            "errors,items.*.status",
            mixed,
            r#"{"errors":true,"items":[{"index":{"status":201}},{"create":{"status":400}}]}"#
                .to_owned(),
        ),
        ("err*", mixed, r#"{"errors":true}"#.to_owned()),
    ] {
        let answer = server.post(&format!("/x/_bulk?filter_path={filter}"), body).await;
        assert_eq!((answer.status, answer.text), (StatusCode::OK, expected), "{filter}");
    }
    let answer = server.post("/x/_bulk?filter_path=-took", good).await;
    assert_eq!(answer.json()["items"][0]["index"]["result"], "created");
}

#[tokio::test]
async fn one_document_is_stored_too() {
    let server = Server::new();
    for (method, path, id) in [
        ("POST", "/logs-app-default/_doc", None),
        ("PUT", "/logs-app-default/_doc/a%22b", Some("a\"b")),
        ("POST", "/logs-app-default/_create/1", Some("1")),
    ] {
        let answer = server.send(method, path, &[], "{\n \"a\": 1\n}\n").await;
        assert_eq!(answer.status, StatusCode::CREATED, "{path} {}", answer.text);
        let json = answer.json();
        assert_eq!(
            (&json["_index"], &json["result"]),
            (&json!("logs-app-default"), &json!("created"))
        );
        if let Some(id) = id {
            assert_eq!(json["_id"], id);
        }
    }
    assert_eq!(server.stored().len(), 3);
    assert!(server.stored()[0].ends_with("dataset=app encoding=json {\n \"a\": 1\n}\n"));
    for (path, body, status) in [
        ("/x/_doc", "[]".to_owned(), 400),
        ("/x/_doc", format!("{{\"a\":\"{}\"}}", "x".repeat(LINE_BYTES_MAX)), 413),
        ("/logs-secret-default/_doc", "{}".to_owned(), 403),
        ("/%ff/_doc", "{}".to_owned(), 400),
        ("/%zz/_doc", "{}".to_owned(), 400),
    ] {
        assert_eq!(server.post(path, body).await.json()["status"], status, "{path}");
    }
    assert_eq!(server.stored().len(), 3);
}

#[tokio::test]
async fn who_has_no_secret_is_told_so() {
    let server = Server::new();
    let basic_wrong = basic("elastic", "wrong");
    for header in ["", "Bearer wrong", &basic_wrong, "Digest x"] {
        for path in ["/_bulk", "/_cluster/health", "/"] {
            let answer = server.send("POST", path, &[("authorization", header)], "x").await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{header} {path}");
            assert_eq!(answer.header("x-elastic-product"), "Elasticsearch");
            assert!(answer.header("www-authenticate").contains("Bearer"));
            let json = answer.json();
            assert_eq!(
                (&json["error"]["type"], &json["status"]),
                (&json!("security_exception"), &json!(401))
            );
        }
    }
    // As Beats and the clients send it: name and key, packed.
    let basic_right = basic("elastic", TOKEN);
    let key = basic_right.replace("Basic", "ApiKey");
    for header in
        [basic_right.as_str(), &key, &format!("ApiKey {TOKEN}"), &format!("Bearer {TOKEN}")]
    {
        let answer = server.send("GET", "/", &[("authorization", header)], "").await;
        assert_eq!(answer.status, StatusCode::OK, "{header}");
    }
}

#[tokio::test]
async fn what_shippers_ask_at_start_lets_them_go_on() {
    let server = Server::new();
    for (method, path, status) in [
        ("GET", "/", 200),
        ("HEAD", "/", 200),
        ("GET", "/_license?human=false", 200),
        ("GET", "/_xpack", 200),
        ("GET", "/_cluster/health", 200),
        ("GET", "/_nodes/_all/http", 200),
        ("GET", "/_nodes/ingest", 200),
        ("GET", "/_cat/health", 200),
        ("GET", "/_ilm/policy/filebeat", 404),
        ("PUT", "/_ilm/policy/filebeat", 200),
        ("HEAD", "/_index_template/filebeat-9.2.0", 404),
        ("PUT", "/_index_template/filebeat-9.2.0", 200),
        ("GET", "/_template/logstash", 404),
        ("PUT", "/_template/logstash", 200),
        ("PUT", "/_component_template/ecs", 200),
        ("GET", "/_data_stream/filebeat-9.2.0", 404),
        ("PUT", "/_data_stream/filebeat-9.2.0", 200),
        ("GET", "/_ingest/pipeline/winlogbeat-9.2.0-routing", 404),
        ("PUT", "/_ingest/pipeline/winlogbeat-9.2.0-routing", 200),
        ("HEAD", "/_alias/filebeat", 404),
        ("HEAD", "/filebeat-9.2.0", 200),
        ("PUT", "/%3Cfilebeat-%7Bnow%2Fd%7D%3E", 200),
        ("GET", "/_security/_authenticate", 200),
        ("POST", "/_security/user/_has_privileges", 200),
        ("GET", "/_search", 404),
        ("POST", "/x/_search", 400),
        ("DELETE", "/x", 400),
        ("GET", "/no/such/path/at/all", 404),
    ] {
        let answer = server.send(method, path, &[], "{}").await;
        assert_eq!(answer.status.as_u16(), status, "{method} {path} {}", answer.text);
        assert_eq!(answer.header("x-elastic-product"), "Elasticsearch", "{path}");
    }
    let about = server.send("GET", "/", &[], "").await.json();
    assert_eq!(about["tagline"], "You Know, for Search");
    assert_eq!(about["version"]["build_flavor"], "default");
    let nodes = server.send("GET", "/_nodes/http", &[("host", "logs.example:8481")], "").await;
    assert_eq!(nodes.json()["nodes"]["watchpost"]["http"]["publish_address"], "logs.example:8481");
    assert!(server.payloads().is_empty());
}

#[tokio::test]
async fn the_type_that_a_client_wants_is_the_type_of_the_answer() {
    let server = Server::new();
    for (accept, expected) in [
        ("*/*", "application/json"),
        (
            "application/vnd.elasticsearch+json; compatible-with=8",
            "application/vnd.elasticsearch+json;compatible-with=8",
        ),
        (
            "application/vnd.elasticsearch+json; compatible-with=9",
            "application/vnd.elasticsearch+json;compatible-with=9",
        ),
        (
            "application/vnd.elasticsearch+json",
            "application/vnd.elasticsearch+json;compatible-with=8",
        ),
    ] {
        let ndjson = "application/vnd.elasticsearch+x-ndjson; compatible-with=8";
        let headers = [("accept", accept), ("content-type", ndjson)];
        let answer = server.send("PUT", "/x/_bulk", &headers, "{\"index\":{}}\n{}\n").await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.header("content-type"), expected);
    }
}

#[tokio::test]
async fn what_is_full_or_closed_is_told_to_the_request() {
    let low = BusError::DiskLow { path: "/data".into(), free_bytes: 1, reserve_bytes: 2 };
    for (error, status, kind, seconds) in [
        (shippers::FULL, 429, "es_rejected_execution_exception", "1"),
        (low, 503, "unavailable_shards_exception", "30"),
    ] {
        let server = Server::closed(error);
        for path in ["/x/_bulk", "/x/_doc"] {
            let body = if path == "/x/_bulk" { "{\"index\":{}}\n{}\n" } else { "{}" };
            let answer = server.post(path, body).await;
            assert_eq!(answer.status.as_u16(), status);
            assert_eq!(answer.header("retry-after"), seconds);
            let json: Value = answer.json();
            assert_eq!((&json["error"]["type"], &json["status"]), (&json!(kind), &json!(status)));
        }
        assert_eq!(server.send("GET", "/_cluster/health", &[], "").await.json()["status"], "red");
    }
}

#[tokio::test]
async fn packed_bodies_are_unpacked() {
    let server = Server::new();
    let body = "{\"index\":{}}\n{\"a\":1}\n".repeat(1000);
    let packed = shippers::gzip(body.as_bytes());
    let answer =
        server.send("POST", "/x/_bulk", &[("content-encoding", "gzip")], packed.clone()).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.json()["items"].as_array().unwrap().len(), 1000);
    assert_eq!(server.payloads().len(), 1000);
    let cut = packed[..packed.len() - 5].to_vec();
    let answer = server.send("POST", "/x/_bulk", &[("content-encoding", "gzip")], cut).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(server.payloads().len(), 1000);
}
