//! What shippers of Elasticsearch's world speak: Beats, Logstash, Vector, Fluent Bit, rsyslog, the
//! clients for each language. They deliver as they are, to another address.
//!
//! | path | does |
//! | --- | --- |
//! | `POST`, `PUT` `/_bulk`, `/{index}/_bulk` | stores documents, answered once they are durable |
//! | `POST` `/{index}/_doc`, `PUT`, `POST` `/{index}/_doc/{id}`, `/{index}/_create/{id}` | one document |
//! | what they ask at start | an answer with which they go on |
//!
//! A document is stored byte for byte as it was sent. Its index is a name for where it is to go:
//! `logs-nginx.access-default` has a dataset and a namespace in it, others name none. An `_id` is
//! echoed and does no more: what is sent twice is stored twice. Templates, policies and pipelines
//! are acknowledged and do nothing, since shippers send nothing before they were.
//!
//! Too much in flight is said to the request as a whole, with 429 and `Retry-After`: Beats, Logstash,
//! Vector and Python's helpers all send it again. Said of each document instead, as Elasticsearch
//! may, Vector would give them up unless it is told otherwise.

mod bulk;

use std::borrow::Cow;
use std::time::Instant;

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE, HOST};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use event::Timestamp;
use event::raw::{Encoding, RawRecord};
use serde::Deserialize;
use serde_json::{Value, json};

use self::bulk::{Bulk, Done, Target, Wanted, is_object};
use super::body::{Sink, receive};
use super::{Caller, Refusal, Shippers, count};

/// The name of this listener in records and metrics.
const LISTENER: &str = "elasticsearch";

/// What we call ourselves. Beats refuse a server whose version is below their own, and nobody
/// refuses one that is above.
const VERSION: &str = "9.99.0";

/// The routes of this listener, and as their fallback what is asked besides.
pub(super) fn router() -> Router<Shippers> {
    Router::new()
        .route("/_bulk", post(bulk).put(bulk).fallback(other))
        .route("/{index}/_bulk", post(bulk).put(bulk).fallback(other))
        .route("/{index}/_doc", post(document).fallback(other))
        .route("/{index}/_doc/{id}", post(document).put(document).fallback(other))
        .route("/{index}/_create/{id}", post(document).put(document).fallback(other))
        .route("/", any(other))
        .fallback(other)
}

/// An answer that is not an error: status and JSON.
type Answered = (StatusCode, Cow<'static, str>);

#[derive(Debug, Deserialize)]
struct Parameters {
    filter_path: Option<String>,
}

async fn bulk(State(shippers): State<Shippers>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let started = Instant::now();
    let take = async {
        let caller = shippers.caller(&head.headers, &head.extensions)?;
        let index = match segments(&head)?.as_slice() {
            [index, _bulk] => index.clone(),
            _ => String::new(),
        };
        let parameters = Query::<Parameters>::try_from_uri(&head.uri)
            .map_err(|error| Refusal::Wrong(error.body_text()))?;
        let wanted = Wanted::of(parameters.filter_path.as_deref());
        let limits = shippers.limits();
        let sink =
            Bulk::new(shippers.intake().clone(), caller, limits.line_bytes_max, index, wanted);
        let sink = receive(body, &head.headers, limits, sink).await?;
        let Done { mut batch, answer, refused } = sink.finish()?;
        shippers.append(&mut batch, LISTENER).await?;
        refused.count();
        Ok(answer.finish(started.elapsed().as_millis()))
    };
    match take.await {
        Ok(answer) => {
            respond(content_type(&head.headers), (StatusCode::OK, answer).into_response())
        }
        Err(refusal) => refuse(&head.headers, &refusal),
    }
}

async fn document(State(shippers): State<Shippers>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let take = async {
        let caller = shippers.caller(&head.headers, &head.extensions)?;
        let path = segments(&head)?;
        let (index, id) = match path.as_slice() {
            [index, _what, id] => (index, Some(Value::from(id.as_str()).to_string())),
            [index, ..] => (index, None),
            [] => return Err(Refusal::Wrong("the path names no index".to_owned())),
        };
        let Target { dataset, namespace, .. } = Target::of(index, &caller)?;
        let (document, mut batch) = shippers.whole(body, &head.headers).await?;
        let max = shippers.limits().line_bytes_max;
        if document.len() > max {
            let bytes = document.len();
            return Err(Refusal::TooLarge(format!(
                "the document has {bytes} bytes, a record may have {max}"
            )));
        }
        is_object(&document)
            .map_err(|error| Refusal::Wrong(format!("the document is no JSON object: {error}")))?;
        batch.push(&RawRecord {
            namespace: namespace.as_str(),
            ..caller.record(LISTENER, Timestamp::now(), &document, Encoding::Json, &dataset)
        });
        shippers.append(&mut batch, LISTENER).await?;
        Ok(bulk::created(index, id.as_deref()))
    };
    match take.await {
        Ok(answer) => {
            respond(content_type(&head.headers), (StatusCode::CREATED, answer).into_response())
        }
        Err(refusal) => refuse(&head.headers, &refusal),
    }
}

/// Whatever else is asked.
async fn other(State(shippers): State<Shippers>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let answer = async {
        let caller = shippers.caller(&head.headers, &head.extensions)?;
        let path = segments(&head)?;
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        // Filebeat's template has a megabyte; whoever is cut off while sending reads no answer.
        receive(body, &head.headers, shippers.limits(), Forgotten).await?;
        Ok(known(&shippers, &caller, &head, &path).unwrap_or_else(|| unknown(&head)))
    };
    let is_text = head.uri.path().starts_with("/_cat/");
    let kind = if is_text { "text/plain; charset=UTF-8" } else { content_type(&head.headers) };
    match answer.await {
        Ok(answered) => respond(kind, answered.into_response()),
        Err(refusal) => refuse(&head.headers, &refusal),
    }
}

/// Takes what is not kept.
struct Forgotten;

impl Sink for Forgotten {
    fn take(&mut self, _bytes: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }
}

/// What shippers ask before they send, and the answer with which they go on.
fn known(shippers: &Shippers, caller: &Caller, head: &Parts, path: &[&str]) -> Option<Answered> {
    let method = if head.method == Method::HEAD { &Method::GET } else { &head.method };
    let name = match caller.sender.name() {
        "" => "watchpost",
        name => name,
    };
    let answer = match (method.as_str(), path) {
        ("GET", []) => about(),
        ("GET", ["_license"]) => json!({ "license": {
            "status": "active", "uid": "watchpost", "type": "basic", "mode": "basic",
            "issued_to": "watchpost", "issuer": "watchpost", "start_date_in_millis": -1,
        }}),
        ("GET", ["_xpack"]) => json!({
            "license": { "uid": "watchpost", "type": "basic", "mode": "basic", "status": "active" },
            "features": {
                "ilm": { "available": true, "enabled": true },
                "security": { "available": true, "enabled": true },
            },
            "tagline": TAGLINE,
        }),
        ("GET", ["_cluster", "health", ..]) => {
            let status = if shippers.intake().health().is_ok() { "green" } else { "red" };
            json!({
                "cluster_name": "watchpost", "status": status, "timed_out": false,
                "number_of_nodes": 1, "number_of_data_nodes": 1, "active_primary_shards": 1,
                "active_shards": 1, "relocating_shards": 0, "initializing_shards": 0,
                "unassigned_shards": 0, "number_of_pending_tasks": 0,
                "active_shards_percent_as_number": 100.0,
            })
        }
        ("GET", ["_nodes", ..]) => nodes(head),
        // Text, one line for each thing; there are none.
        ("GET", ["_cat", ..]) => return Some((StatusCode::OK, Cow::Borrowed(""))),
        ("GET", ["_security", "_authenticate"]) => json!({
            "username": name, "roles": [], "full_name": null, "email": null, "metadata": {},
            "enabled": true, "authentication_type": "api_key",
        }),
        ("GET" | "POST", ["_security", "user", "_has_privileges"]) => json!({
            "username": name, "has_all_requested": true, "cluster": {}, "index": {},
            "application": {},
        }),
        // That there is none makes a shipper bring its own.
        ("GET", [what, ..]) if is_kept_nowhere(what) => return Some(unknown(head)),
        ("PUT" | "POST" | "DELETE", [what, _, ..]) if is_kept_nowhere(what) => {
            json!({ "acknowledged": true })
        }
        ("POST", ["_aliases"]) => json!({ "acknowledged": true }),
        // Any name will do, so each is there.
        ("GET", [index]) if !index.starts_with('_') => json!({ *index: {} }),
        ("PUT", [index]) if !index.starts_with('_') => json!({
            "acknowledged": true, "shards_acknowledged": true, "index": index,
        }),
        _ => return None,
    };
    Some((StatusCode::OK, Cow::Owned(answer.to_string())))
}

/// What is acknowledged and forgotten.
fn is_kept_nowhere(what: &str) -> bool {
    matches!(
        what,
        "_alias"
            | "_component_template"
            | "_data_stream"
            | "_ilm"
            | "_index_template"
            | "_ingest"
            | "_template"
    )
}

/// Logstash knows an Elasticsearch by it.
const TAGLINE: &str = "You Know, for Search";

fn about() -> Value {
    json!({
        "name": "watchpost",
        "cluster_name": "watchpost",
        "cluster_uuid": "watchpost",
        "version": {
            "number": VERSION,
            "build_flavor": "default",
            "build_type": "docker",
            "build_hash": "watchpost",
            "build_date": "2026-01-01T00:00:00.000Z",
            "build_snapshot": false,
            "lucene_version": "10.0.0",
            "minimum_wire_compatibility_version": "8.0.0",
            "minimum_index_compatibility_version": "8.0.0",
        },
        "tagline": TAGLINE,
    })
}

/// The one node there is, at the address that the client itself has for it: who looks for others
/// stays where it is.
fn nodes(head: &Parts) -> Value {
    let host = head.headers.get(HOST).and_then(|host| host.to_str().ok());
    // Of HTTP/2 the address is in the request's own line.
    let host = host.or(head.uri.authority().map(|authority| authority.as_str()));
    let host = host.unwrap_or("127.0.0.1:8481");
    json!({
        "_nodes": { "total": 1, "successful": 1, "failed": 0 },
        "cluster_name": "watchpost",
        "nodes": { "watchpost": {
            "name": "watchpost", "version": VERSION, "host": host, "ip": host,
            "roles": ["data", "ingest", "master"],
            "http": { "bound_address": [host], "publish_address": host },
            // Filebeat's modules ask for these, before they bring pipelines that are not run.
            "ingest": { "processors": [{ "type": "geoip" }, { "type": "user_agent" }] },
        }},
    })
}

/// The answer to what is not known. To a question it is that there is no such thing.
fn unknown(head: &Parts) -> Answered {
    let Parts { method, uri, .. } = head;
    let status = match *method {
        Method::GET | Method::HEAD => StatusCode::NOT_FOUND,
        _ => StatusCode::BAD_REQUEST,
    };
    let reason = format!(
        "no handler found for uri [{}] and method [{method}]: events are stored here, with `_bulk` and `_doc`, and looked for with Watchpost's own search",
        uri.path()
    );
    (status, Cow::Owned(error(status, "resource_not_found_exception", &reason).to_string()))
}

/// The segments of the path, decoded.
fn segments(head: &Parts) -> Result<Vec<String>, Refusal> {
    let segments = head.uri.path().split('/').filter(|segment| !segment.is_empty());
    segments
        .map(|segment| {
            decoded(segment).ok_or_else(|| {
                Refusal::Wrong(format!("`{segment}` in the path is not UTF-8, percent-encoded"))
            })
        })
        .collect()
}

/// What percent signs stand for.
fn decoded(segment: &str) -> Option<String> {
    let mut parts = segment.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

/// A refusal of a request as a whole, in Elasticsearch's form.
fn refuse(headers: &HeaderMap, refusal: &Refusal) -> Response {
    let status = refusal.status();
    let kind = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "security_exception",
        StatusCode::PAYLOAD_TOO_LARGE => "content_too_long_exception",
        StatusCode::TOO_MANY_REQUESTS => "es_rejected_execution_exception",
        StatusCode::SERVICE_UNAVAILABLE => "unavailable_shards_exception",
        StatusCode::REQUEST_TIMEOUT => "timeout_exception",
        _ => "illegal_argument_exception",
    };
    let body = error(status, kind, &refusal.text()).to_string();
    respond(content_type(headers), refusal.with_body(body))
}

fn error(status: StatusCode, kind: &str, reason: &str) -> Value {
    json!({
        "error": {
            "root_cause": [{ "type": kind, "reason": reason }],
            "type": kind,
            "reason": reason,
        },
        "status": status.as_u16(),
    })
}

/// Adds the headers that clients look for, and counts.
fn respond(content_type: &'static str, mut response: Response) -> Response {
    let headers = response.headers_mut();
    // Without it, clients take us for something that is none of Elastic's and go away.
    headers.insert("x-elastic-product", HeaderValue::from_static("Elasticsearch"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    count(LISTENER, &response);
    response
}

/// The type of an answer: as it is asked for, since clients of 8 and later do not read another.
fn content_type(asked: &HeaderMap) -> &'static str {
    let accepted = asked.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let Some(at) = accepted.find("application/vnd.elasticsearch+json") else {
        return "application/json";
    };
    match accepted.get(at..).and_then(|text| text.split("compatible-with=").nth(1)) {
        Some(version) if version.starts_with('7') => {
            "application/vnd.elasticsearch+json;compatible-with=7"
        }
        Some(version) if version.starts_with('9') => {
            "application/vnd.elasticsearch+json;compatible-with=9"
        }
        _ => "application/vnd.elasticsearch+json;compatible-with=8",
    }
}
