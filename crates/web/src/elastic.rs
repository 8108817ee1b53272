//! `/es`: the part of Elasticsearch's HTTP API that reads, for Grafana, Python's client and the like.
//!
//! It lies under a path of its own, since its own paths begin with names of indices and would take those
//! of pages; clients take `http://host:port/es` as their URL. What requests mean is the crate
//! `elastic`'s business; here are paths, parameters and headers. The token is asked for as everywhere.
//!
//! What it refuses to do: write. Events are sent to the listener for shippers, which speaks `_bulk`.

use std::collections::BTreeMap;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use elastic::{IndexNames, Limits, Pit, Refusal, Scroll};
use event::Timestamp;
use indexing::Index;
use serde_json::{Map, Value, json};

use crate::api::with_retry;
use crate::search::SearchError;
use crate::server::Context;

/// Where it lies.
pub(crate) const PREFIX: &str = "/es";

/// The version that clients are told: of the form of answers that is spoken here.
const VERSION: &str = "8.17.0";

/// The largest body. Lists of 65,536 values of a hash fit.
const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The most searches of one `_msearch`: a dashboard of Grafana has a few for each panel.
const SEARCHES_MAX: usize = 100;

type Params = Query<BTreeMap<String, String>>;

/// Parameters that may stand with every request and change nothing here: all shards are asked, and
/// patterns may mean nothing.
const HARMLESS: &[&str] = &[
    "pretty",
    "human",
    "error_trace",
    "allow_no_indices",
    "expand_wildcards",
    "preference",
    "request_cache",
    "batched_reduce_size",
    "max_concurrent_shard_requests",
    "max_concurrent_searches",
    "pre_filter_shard_size",
    "ccs_minimize_roundtrips",
    "search_type",
    "allow_partial_search_results",
    "include_unmapped",
    "include_defaults",
    "local",
    "master_timeout",
    "keep_alive",
    "include_type_name",
    "flat_settings",
];

/// All routes.
pub(crate) fn router() -> Router<Context> {
    let router = Router::new()
        .route("/", get(version))
        .route("/_search", get(search_all).post(search_all))
        .route("/{index}/_search", get(search_in).post(search_in))
        .route("/_search/scroll", get(scroll_on).post(scroll_on).delete(closed))
        .route("/_search/scroll/{id}", get(scroll_on).post(scroll_on).delete(closed))
        .route("/{index}/_pit", post(open_pit))
        .route("/_pit", delete(closed))
        .route("/_msearch", get(msearch_all).post(msearch_all))
        .route("/{index}/_msearch", get(msearch_in).post(msearch_in))
        .route("/_count", get(count_all).post(count_all))
        .route("/{index}/_count", get(count_in).post(count_in))
        .route("/_field_caps", get(field_caps_all).post(field_caps_all))
        .route("/{index}/_field_caps", get(field_caps_in).post(field_caps_in))
        .route("/_mapping", get(mapping_all))
        .route("/{index}/_mapping", get(mapping_in))
        .route("/{index}", get(index_info))
        .route("/_cat/indices", get(cat_all))
        .route("/_cat/indices/{index}", get(cat_in))
        .route("/_resolve/index/{index}", get(resolve).post(resolve))
        .route("/_cluster/health", get(health_all))
        .route("/_cluster/health/{index}", get(health_in))
        .route("/_license", get(license))
        .fallback(nowhere)
        .method_not_allowed_fallback(nowhere)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
    // What is nested has no path for the slash alone, with which clients ask.
    Router::new().nest(PREFIX, router).route("/es/", get(version))
}

/// What a request brings.
struct Asked {
    headers: HeaderMap,
    index: String,
    params: BTreeMap<String, String>,
    body: Bytes,
}

impl Asked {
    /// Refuses parameters that would change the answer, but are not known.
    fn only(&self, known: &[&str]) -> Result<(), Refusal> {
        let is_known = |name: &str| known.contains(&name) || HARMLESS.contains(&name);
        match self.params.keys().find(|name| !is_known(name) && *name != "ignore_unavailable") {
            None => Ok(()),
            Some(name) => Err(Refusal::illegal(format!("the parameter [{name}] is not supported"))),
        }
    }

    fn is_set(&self, name: &str) -> bool {
        self.params.get(name).is_some_and(|value| value.is_empty() || value == "true")
    }

    fn names(&self) -> IndexNames<'_> {
        IndexNames { text: &self.index, ignore_unavailable: self.is_set("ignore_unavailable") }
    }

    /// The body as JSON; nothing is `null`.
    fn json(&self) -> Result<Value, Refusal> {
        if self.body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&self.body).map_err(|error| not_json(&error))
    }

    /// The body of a search, with what parameters say of it.
    fn search_body(&self) -> Result<Value, Refusal> {
        let mut body = self.json()?;
        if body.is_null() {
            body = json!({});
        }
        let Some(map) = body.as_object_mut() else {
            return Err(Refusal::parsing("body", "an object is expected here"));
        };
        for (name, value) in &self.params {
            let value = match name.as_str() {
                "size" | "from" | "timeout" => Value::from(value.as_str()),
                "track_total_hits" => match value.as_str() {
                    "true" => Value::from(true),
                    "false" => Value::from(false),
                    number => Value::from(number),
                },
                "sort" | "_source" | "docvalue_fields" => {
                    value.split(',').map(Value::from).collect()
                }
                "_source_includes" | "_source_excludes" => {
                    let part = name.trim_start_matches("_source_");
                    let names: Value = value.split(',').map(Value::from).collect();
                    let source = map.entry("_source").or_insert_with(|| json!({}));
                    if let Some(source) = source.as_object_mut() {
                        source.insert(part.to_owned(), names);
                    }
                    continue;
                }
                "q" => {
                    let operator = self.params.get("default_operator").map_or("or", String::as_str);
                    let mut query = json!({ "query": value, "default_operator": operator });
                    if let (Some(field), Some(query)) =
                        (self.params.get("df"), query.as_object_mut())
                    {
                        query.insert("default_field".into(), field.as_str().into());
                    }
                    map.insert("query".into(), json!({ "query_string": query }));
                    continue;
                }
                _ => continue,
            };
            let value = match (name.as_str(), value) {
                ("_source", Value::Array(names)) if names.len() == 1 => {
                    names.into_iter().next().unwrap_or(Value::Null)
                }
                (_, value) => value,
            };
            map.insert(name.clone(), value);
        }
        Ok(body)
    }
}

/// Parameters of a search.
const SEARCH: &[&str] = &[
    "size",
    "from",
    "timeout",
    "track_total_hits",
    "sort",
    "_source",
    "_source_includes",
    "_source_excludes",
    "docvalue_fields",
    "q",
    "df",
    "default_operator",
    "analyze_wildcard",
    "lenient",
    "scroll",
    "rest_total_hits_as_int",
];

fn not_json(error: &serde_json::Error) -> Refusal {
    let (line, column) = (error.line(), error.column());
    Refusal {
        status: 400,
        kind: "parsing_exception",
        reason: format!("the body is no JSON at [{line}:{column}]: {error}"),
    }
}

/// An answer with the headers that clients look for.
fn respond(headers: &HeaderMap, answer: Result<Value, Refusal>) -> Response {
    let (status, body) = match answer {
        Ok(body) => (StatusCode::OK, body),
        Err(refusal) => {
            let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
            (status, refusal.to_json())
        }
    };
    let mut response = (status, body.to_string()).into_response();
    let kind = HeaderValue::from_static(content_type(headers));
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    with_retry(with_product(response))
}

/// Without it, clients take us for something that is none of Elastic's and go away.
fn with_product(mut response: Response) -> Response {
    let product = HeaderValue::from_static("Elasticsearch");
    response.headers_mut().insert("x-elastic-product", product);
    response
}

/// The type of an answer: as it is asked for, since clients of 8 and later do not read another.
fn content_type(asked: &HeaderMap) -> &'static str {
    let accepted =
        asked.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !accepted.contains("application/vnd.elasticsearch+json") {
        return "application/json";
    }
    match accepted.split("compatible-with=").nth(1).and_then(|version| version.chars().next()) {
        Some('7') => "application/vnd.elasticsearch+json;compatible-with=7",
        Some('9') => "application/vnd.elasticsearch+json;compatible-with=9",
        _ => "application/vnd.elasticsearch+json;compatible-with=8",
    }
}

/// Answers from the index, in turn with all other searches.
async fn answer(
    context: Context,
    asked: Asked,
    run: impl FnOnce(&Index, &Asked) -> Result<Value, Refusal> + Send + 'static,
) -> Response {
    let headers = asked.headers.clone();
    let index = context.app.index.clone();
    let answer = context.searches.run(move || run(&index, &asked)).await;
    let answer = answer.unwrap_or_else(|error| {
        let (status, kind) = match error {
            SearchError::Busy => (429, "es_rejected_execution_exception"),
            _ => (500, "exception"),
        };
        Err(Refusal { status, kind, reason: error.to_string() })
    });
    respond(&headers, answer)
}

/// Handlers for a path with names of indices, and for the same without.
macro_rules! with_and_without_index {
    ($($in_index:ident, $in_all:ident => $run:ident;)*) => {$(
        async fn $in_index(
            State(context): State<Context>,
            Path(index): Path<String>,
            Query(params): Params,
            headers: HeaderMap,
            body: Bytes,
        ) -> Response {
            answer(context, Asked { headers, index, params, body }, $run).await
        }

        async fn $in_all(
            State(context): State<Context>,
            Query(params): Params,
            headers: HeaderMap,
            body: Bytes,
        ) -> Response {
            answer(context, Asked { headers, index: String::new(), params, body }, $run).await
        }
    )*};
}

with_and_without_index! {
    search_in, search_all => search;
    msearch_in, msearch_all => msearch;
    count_in, count_all => count;
    field_caps_in, field_caps_all => field_caps;
    mapping_in, mapping_all => mapping;
    health_in, health_all => cluster_health;
}

fn search(index: &Index, asked: &Asked) -> Result<Value, Refusal> {
    asked.only(SEARCH)?;
    let body = asked.search_body()?;
    let (now, limits) = (Timestamp::now(), Limits::default());
    let mut answer = if asked.params.contains_key("scroll") {
        let scroll = Scroll { index: asked.index.clone(), body, after: Vec::new() };
        elastic::scroll(index, scroll, now, &limits)?
    } else {
        elastic::search(index, &asked.names(), &body, now, &limits)?
    };
    if asked.is_set("rest_total_hits_as_int") {
        total_as_number(&mut answer);
    }
    Ok(answer)
}

/// The form of the total before version 7.
fn total_as_number(answer: &mut Value) {
    if let Some(total) = answer.pointer_mut("/hits/total") {
        *total = total.get("value").cloned().unwrap_or(Value::Null);
    }
}

async fn scroll_on(
    State(context): State<Context>,
    Query(mut params): Params,
    path: Option<Path<String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Some(Path(id)) = path {
        params.insert("scroll_id".into(), id);
    }
    let asked = Asked { headers, index: String::new(), params, body };
    answer(context, asked, |index, asked| {
        asked.only(&["scroll", "scroll_id", "rest_total_hits_as_int"])?;
        let body = asked.json()?;
        let id = body.get("scroll_id").and_then(Value::as_str);
        let id = id.or_else(|| asked.params.get("scroll_id").map(String::as_str));
        let id = id.ok_or_else(|| Refusal::parsing("scroll_id", "it is missing"))?;
        let mut answer =
            elastic::scroll(index, Scroll::read(id)?, Timestamp::now(), &Limits::default())?;
        if asked.is_set("rest_total_hits_as_int") {
            total_as_number(&mut answer);
        }
        Ok(answer)
    })
    .await
}

/// Scrolls and points in time are not kept here, so that closing them is done at once.
async fn closed(headers: HeaderMap) -> Response {
    respond(&headers, Ok(json!({ "succeeded": true, "num_freed": 1 })))
}

async fn open_pit(
    State(context): State<Context>,
    Path(index): Path<String>,
    Query(params): Params,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    answer(context, Asked { headers, index, params, body }, |index, asked| {
        asked.only(&[])?;
        let found = elastic::partitions(&asked.names(), index)?.len();
        let id = Pit { index: asked.index.clone() }.id();
        let shards = json!({ "total": found, "successful": found, "skipped": 0, "failed": 0 });
        Ok(json!({ "id": id, "_shards": shards }))
    })
    .await
}

fn msearch(index: &Index, asked: &Asked) -> Result<Value, Refusal> {
    asked.only(&["rest_total_hits_as_int"])?;
    let started = std::time::Instant::now();
    let lines: Vec<&[u8]> = asked.body.split(|byte| *byte == b'\n').collect();
    // An empty head is one; only what comes after the last line feed is nothing.
    let lines = match lines.split_last() {
        Some((last, rest)) if last.iter().all(u8::is_ascii_whitespace) => rest,
        _ => &lines,
    };
    if lines.len() % 2 != 0 {
        let reason = "each search has two lines, a head and a body; the last body is missing";
        return Err(Refusal::parsing("body", reason));
    }
    if lines.len() / 2 > SEARCHES_MAX {
        return Err(Refusal::illegal(format!("more than {SEARCHES_MAX} searches at once")));
    }
    let mut responses = Vec::with_capacity(lines.len() / 2);
    for pair in lines.chunks_exact(2) {
        let [head, body] = pair else { continue };
        let response = one_of_many(index, asked, head, body).map(|mut answer| {
            if asked.is_set("rest_total_hits_as_int") {
                total_as_number(&mut answer);
            }
            if let Some(map) = answer.as_object_mut() {
                map.insert("status".into(), 200.into());
            }
            answer
        });
        responses.push(response.unwrap_or_else(|refusal| refusal.to_json()));
    }
    let took = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(json!({ "took": took, "responses": responses }))
}

fn one_of_many(index: &Index, asked: &Asked, head: &[u8], body: &[u8]) -> Result<Value, Refusal> {
    let read = |line: &[u8]| match line.iter().all(u8::is_ascii_whitespace) {
        true => Ok(json!({})),
        false => serde_json::from_slice::<Value>(line).map_err(|error| not_json(&error)),
    };
    let (head, body) = (read(head)?, read(body)?);
    let Some(map) = head.as_object() else {
        return Err(Refusal::parsing("head", "an object is expected here"));
    };
    let known = ["index", "ignore_unavailable"];
    let other =
        |name: &&String| !known.contains(&name.as_str()) && !HARMLESS.contains(&name.as_str());
    if let Some(name) = map.keys().find(other) {
        return Err(Refusal::parsing("head", format!("[{name}] is not supported here")));
    }
    let names = match map.get("index") {
        None => asked.index.clone(),
        Some(Value::String(name)) => name.clone(),
        Some(Value::Array(names)) => {
            names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
        }
        Some(_) => return Err(Refusal::parsing("head.index", "a name or a list is expected here")),
    };
    let ignore_unavailable = map.get("ignore_unavailable").and_then(Value::as_bool);
    let names = IndexNames {
        text: &names,
        ignore_unavailable: ignore_unavailable
            .unwrap_or_else(|| asked.is_set("ignore_unavailable")),
    };
    elastic::search(index, &names, &body, Timestamp::now(), &Limits::default())
}

fn count(index: &Index, asked: &Asked) -> Result<Value, Refusal> {
    asked.only(&["q", "df", "default_operator", "analyze_wildcard", "lenient"])?;
    let body = asked.search_body()?;
    elastic::count(index, &asked.names(), &body, Timestamp::now(), &Limits::default())
}

fn field_caps(index: &Index, asked: &Asked) -> Result<Value, Refusal> {
    asked.only(&["fields"])?;
    let body = asked.json()?;
    let fields: Vec<String> = match (body.get("fields"), asked.params.get("fields")) {
        (Some(Value::Array(names)), _) => {
            names.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        (Some(Value::String(names)), _) => names.split(',').map(str::to_owned).collect(),
        (_, Some(names)) => names.split(',').map(str::to_owned).collect(),
        (_, None) => Vec::new(),
    };
    if let Some(map) = body.as_object()
        && let Some(name) = map.keys().find(|name| *name != "fields")
    {
        return Err(Refusal::parsing("body", format!("[{name}] is not supported here")));
    }
    elastic::field_caps(index, &asked.names(), &fields)
}

fn mapping(index: &Index, asked: &Asked) -> Result<Value, Refusal> {
    asked.only(&[])?;
    elastic::mapping(index, &asked.names())
}

/// Whether there is an index, and its fields.
async fn index_info(
    State(context): State<Context>,
    Path(index): Path<String>,
    Query(params): Params,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let asked = Asked { headers, index, params, body };
    answer(context, asked, |index, asked| {
        if asked.index.starts_with('_') && asked.index != "_all" {
            return Err(no_handler(&asked.index));
        }
        mapping(index, asked)
    })
    .await
}

async fn cat_all(
    State(context): State<Context>,
    Query(params): Params,
    headers: HeaderMap,
) -> Response {
    cat(context, String::new(), params, headers).await
}

async fn cat_in(
    State(context): State<Context>,
    Path(index): Path<String>,
    Query(params): Params,
    headers: HeaderMap,
) -> Response {
    cat(context, index, params, headers).await
}

async fn cat(
    context: Context,
    index: String,
    params: BTreeMap<String, String>,
    headers: HeaderMap,
) -> Response {
    let wants_json = params.get("format").map_or_else(
        || content_type(&headers) != "application/json" || accepts_json(&headers),
        |format| format == "json",
    );
    let verbose = params.get("v").is_some_and(|value| value.is_empty() || value == "true");
    let asked = Asked { headers: headers.clone(), index, params, body: Bytes::new() };
    let rows = answer(context, asked, |index, asked| {
        asked.only(&["format", "v", "h", "s", "bytes", "time"])?;
        cat_rows(index, asked)
    })
    .await;
    if wants_json || !rows.status().is_success() {
        return rows;
    }
    let Ok(bytes) = axum::body::to_bytes(rows.into_body(), usize::MAX).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let rows: Vec<Map<String, Value>> = serde_json::from_slice(&bytes).unwrap_or_default();
    with_product(cat_text(&rows, verbose).into_response())
}

fn accepts_json(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accepted.is_some_and(|accepted| accepted.contains("json"))
}

/// One row for each partition.
fn cat_rows(index: &Index, asked: &Asked) -> Result<Value, Refusal> {
    let wanted = elastic::partitions(&asked.names(), index)?;
    let columns: Option<Vec<&str>> = asked.params.get("h").map(|names| names.split(',').collect());
    let rows =
        index.partitions().into_iter().filter(|info| wanted.contains(&info.id)).map(|info| {
            let all = [
                ("health", "green".to_owned()),
                ("status", "open".to_owned()),
                ("index", info.id.to_string()),
                ("uuid", info.id.to_string()),
                ("pri", "1".to_owned()),
                ("rep", "0".to_owned()),
                ("docs.count", info.documents.to_string()),
                ("docs.deleted", "0".to_owned()),
                ("store.size", format!("{}b", info.bytes)),
                ("pri.store.size", format!("{}b", info.bytes)),
            ];
            let is_wanted =
                |name: &str| columns.as_ref().is_none_or(|columns| columns.contains(&name));
            let kept = all.into_iter().filter(|(name, _)| is_wanted(name));
            Value::Object(kept.map(|(name, value)| (name.to_owned(), value.into())).collect())
        });
    Ok(rows.collect())
}

/// The rows as a table for people.
fn cat_text(rows: &[Map<String, Value>], verbose: bool) -> String {
    let Some(first) = rows.first() else { return String::new() };
    let names: Vec<&String> = first.keys().collect();
    let mut lines: Vec<Vec<&str>> = Vec::new();
    if verbose {
        lines.push(names.iter().map(|name| name.as_str()).collect());
    }
    for row in rows {
        let cell = |name: &&String| row.get(*name).and_then(Value::as_str).unwrap_or_default();
        lines.push(names.iter().map(cell).collect());
    }
    let width = |n: usize| {
        lines.iter().filter_map(|line| line.get(n)).map(|cell| cell.len()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..names.len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join(" ").trim_end());
        text.push('\n');
    }
    text
}

async fn resolve(
    State(context): State<Context>,
    Path(index): Path<String>,
    Query(params): Params,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    answer(context, Asked { headers, index, params, body }, |index, asked| {
        asked.only(&[])?;
        let found = elastic::partitions(&asked.names(), index)?;
        let found =
            found.iter().map(|id| json!({ "name": id.to_string(), "attributes": ["open"] }));
        let found: Value = found.collect();
        Ok(json!({ "indices": found, "aliases": [], "data_streams": [] }))
    })
    .await
}

fn cluster_health(index: &Index, asked: &Asked) -> Result<Value, Refusal> {
    asked.only(&["wait_for_status", "timeout", "level"])?;
    let shards = elastic::partitions(&asked.names(), index)?.len();
    let broken = index.problems().len();
    Ok(json!({
        "cluster_name": "watchpost",
        "status": if broken == 0 { "green" } else { "red" },
        "timed_out": false,
        "number_of_nodes": 1,
        "number_of_data_nodes": 1,
        "active_primary_shards": shards,
        "active_shards": shards,
        "relocating_shards": 0,
        "initializing_shards": 0,
        "unassigned_shards": broken,
    }))
}

/// The document by which clients tell what they talk to.
async fn version(headers: HeaderMap) -> Response {
    respond(
        &headers,
        Ok(json!({
            "name": "watchpost",
            "cluster_name": "watchpost",
            "cluster_uuid": "watchpost",
            "version": {
                "number": VERSION,
                "build_flavor": "default",
                "build_type": "watchpost",
                "build_hash": env!("CARGO_PKG_VERSION"),
                "build_date": "1970-01-01T00:00:00Z",
                "build_snapshot": false,
                "lucene_version": "9.12.0",
                "minimum_wire_compatibility_version": "7.17.0",
                "minimum_index_compatibility_version": "7.0.0",
            },
            "tagline": "You Know, for Search",
        })),
    )
}

async fn license(headers: HeaderMap) -> Response {
    let license = json!({ "status": "active", "type": "basic", "mode": "basic" });
    respond(&headers, Ok(json!({ "license": license })))
}

async fn nowhere(uri: Uri, headers: HeaderMap) -> Response {
    respond(&headers, Err(no_handler(uri.path())))
}

fn no_handler(path: &str) -> Refusal {
    Refusal::illegal(format!(
        "no handler found for [{path}]; searching is all that is done here, events are sent to the listener for shippers"
    ))
}
