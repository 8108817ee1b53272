//! The OpenAPI document, made from the table of routes and the schemas below.
//!
//! Written by hand rather than derived: the table is what the router is built from, so paths and
//! parameters cannot be wrong, and a test holds every call's answer against its schema, which a
//! derived one would not prove either.

use std::sync::LazyLock;

use axum::Json;
use serde_json::{Map, Value, json};

use super::{Bound, ROUTES, Route};

static DOCUMENT: LazyLock<Value> = LazyLock::new(make);

/// The document.
pub(crate) async fn document() -> Json<&'static Value> {
    Json(&DOCUMENT)
}

fn make() -> Value {
    let paths: Map<String, Value> =
        ROUTES.iter().map(|route| (route.path.to_owned(), item(route))).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Watchpost",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Searches events and alerts, and tells of rules and of the engine itself. \
                Send the access token as `Authorization: Bearer TOKEN`. Nothing but the replay of \
                rejected records changes anything; events are sent to `POST /ingest/{dataset}`. \
                Under `/es` is the part of Elasticsearch's API that searches.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": schemas(),
        },
    })
}

fn item(route: &Route) -> Value {
    let method = route.method().to_ascii_lowercase();
    Value::Object(Map::from_iter([(method, call(route))]))
}

fn call(route: &Route) -> Value {
    let in_path = route.path.split('/').filter_map(|part| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        Some(json!({
            "name": name, "in": "path", "required": true, "schema": {"type": "string"},
        }))
    });
    let has_id = route.path.contains('{');
    let in_query = route.parameters.iter().map(|parameter| {
        let mut schema = json!({"type": parameter.kind});
        if parameter.kind == "integer"
            && let Some(schema) = schema.as_object_mut()
        {
            schema.insert("minimum".into(), 0.into());
        }
        json!({
            "name": parameter.name, "in": "query", "required": false,
            "description": parameter.about, "schema": schema,
        })
    });
    let parameters: Vec<Value> = in_path.chain(in_query).collect();
    let mut responses = json!({
        "200": {"description": "The answer.", "content": content(route.answer)},
        "401": problem("The access token is missing or wrong."),
        "500": problem("The server is at fault."),
    });
    if let Some(responses) = responses.as_object_mut() {
        if !route.parameters.is_empty() || route.takes.is_some() {
            responses.insert("400".into(), problem("The request is wrong; `error` says how."));
        }
        if has_id {
            responses.insert("404".into(), problem("There is none with this id."));
        }
        if route.takes.is_some() {
            responses.insert("415".into(), problem("The body is not `application/json`."));
        }
        let busy = match route.bound {
            None => None,
            Some(Bound::Searches) => Some("Too many searches are running"),
            Some(Bound::Rejected) => {
                let slow = problem("The bus cannot answer now; `error` says why.");
                responses.insert("503".into(), slow);
                Some("Another list or replay is running")
            }
        };
        if let Some(busy) = busy {
            let busy = problem(&format!("{busy}; `Retry-After` says when to come again."));
            responses.insert("429".into(), busy);
        }
    }
    let mut call = json!({
        "operationId": operation(route.path),
        "summary": route.summary,
        "parameters": parameters,
        "responses": responses,
    });
    if let (Some(taken), Some(call)) = (route.takes, call.as_object_mut()) {
        call.insert("requestBody".into(), json!({"required": true, "content": content(taken)}));
    }
    call
}

/// A name for programs that are generated from the document: `alerts`, `alerts_id`.
fn operation(path: &str) -> String {
    path.trim_start_matches("/api/v1/").replace(['{', '}'], "").replace(['/', '.'], "_")
}

fn content(schema: &str) -> Value {
    json!({"application/json": {"schema": reference(schema)}})
}

fn problem(description: &str) -> Value {
    json!({"description": description, "content": content("Error")})
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

/// An object with these properties and no others; those named with a `?` may be missing.
fn object(properties: &[(&str, Value)]) -> Value {
    let required: Vec<&str> =
        properties.iter().map(|(name, _)| *name).filter(|name| !name.ends_with('?')).collect();
    let properties: Map<String, Value> = properties
        .iter()
        .map(|(name, schema)| (name.trim_end_matches('?').to_owned(), schema.clone()))
        .collect();
    json!({
        "type": "object", "properties": properties, "required": required,
        "additionalProperties": false,
    })
}

fn list(items: Value) -> Value {
    json!({"type": "array", "items": items})
}

fn schemas() -> Value {
    let text = || json!({"type": "string"});
    let text_or_null = || json!({"type": ["string", "null"]});
    let time = || json!({"type": "string", "format": "date-time"});
    let time_or_null = || json!({"type": ["string", "null"], "format": "date-time"});
    let count = || json!({"type": "integer", "minimum": 0});
    let any = || json!({});
    let took = json!({"type": "integer", "minimum": 0, "description": "Milliseconds."});
    let partial = json!({
        "type": "array", "items": text(),
        "description": "Why the answer is not whole; empty if it is.",
    });
    let next = json!({
        "type": ["string", "null"],
        "description": "The path of the next page; null if this is the last.",
    });
    let level = json!({
        "type": "string", "enum": ["informational", "low", "medium", "high", "critical"],
    });
    let rule: Vec<(&str, Value)> = vec![
        ("id", text()),
        ("title", text()),
        ("level", level.clone()),
        ("status", text_or_null()),
        ("kind", json!({"type": "string", "enum": ["rule", "correlation"]})),
        ("reads", text()),
        ("tactics", list(text())),
        ("techniques", list(text())),
        ("makes_alerts", json!({"type": "boolean"})),
        ("file", text()),
    ];
    let mut rule_detail = rule.clone();
    rule_detail.extend([
        ("description", text()),
        ("author", text_or_null()),
        ("date", text_or_null()),
        ("tags", list(text())),
        ("references", list(text())),
        ("falsepositives", list(text())),
        ("parts", list(text())),
        ("source", text_or_null()),
    ]);
    let rejected: Vec<(&str, Value)> = vec![
        ("place", text()),
        ("time", time()),
        ("stage", text()),
        ("topic", text_or_null()),
        ("partition", json!({"type": ["integer", "null"], "minimum": 0})),
        ("offset", json!({"type": ["integer", "null"], "minimum": 0})),
        ("reason", text()),
        ("bytes", count()),
        ("replays", count()),
        ("replayed", time_or_null()),
        ("replay_of", text_or_null()),
    ];
    let mut rejected_detail = rejected.clone();
    rejected_detail.extend([
        ("key", reference("Content")),
        ("headers", list(object(&[("name", text()), ("value", reference("Content"))]))),
        ("value", reference("Content")),
    ]);
    json!({
        "Error": object(&[
            ("error", text()),
            ("help?", text_or_null()),
            ("column?", count()),
            ("length?", count()),
            ("suggestion?", text_or_null()),
            ("rendering?", text()),
        ]),
        "Event": {
            "type": "object",
            "description": "A document of the Elastic Common Schema.",
        },
        "Document": {"type": "object"},
        "Table": object(&[("columns", list(text())), ("rows", list(list(any())))]),
        "SearchAnswer": object(&[
            ("query", text()),
            ("since", time_or_null()),
            ("until", time_or_null()),
            ("total", count()),
            ("took_ms", took.clone()),
            ("partial", partial.clone()),
            ("hints?", list(object(&[
                ("message", text()),
                ("column", count()),
                ("length", count()),
                ("suggestion", text_or_null()),
            ]))),
            ("hits?", list(reference("Event"))),
            ("table?", reference("Table")),
            ("histogram?", object(&[
                ("start", time()),
                ("step_ms", count()),
                ("counts", list(count())),
            ])),
            ("facets", json!({
                "type": "object",
                "additionalProperties": list(object(&[("value", any()), ("count", count())])),
            })),
            ("next", next.clone()),
        ]),
        "AlertSummary": object(&[
            ("id", text()),
            ("time", time_or_null()),
            ("level", text()),
            ("rule_id", text()),
            ("rule_name", text()),
            ("reason", text()),
            ("techniques", list(text())),
            ("host", text_or_null()),
            ("user", text_or_null()),
            ("event_count", count()),
        ]),
        "AlertList": object(&[
            ("total", count()),
            ("took_ms", took),
            ("partial", partial.clone()),
            ("alerts", list(reference("AlertSummary"))),
            ("next", next),
        ]),
        "AlertDetail": object(&[
            ("alert", reference("Event")),
            ("matched", list(object(&[("field", text()), ("value", text()), ("pattern", text())]))),
            ("events", list(object(&[("id", text()), ("event", reference("Event"))]))),
            ("event_ids", list(text())),
            ("rule", json!({"anyOf": [reference("RuleDetail"), {"type": "null"}]})),
        ]),
        "RuleSummary": object(&rule),
        "RuleDetail": object(&rule_detail),
        "Diagnostic": object(&[
            ("severity", json!({"type": "string", "enum": ["note", "warning", "error"]})),
            ("code", text()),
            ("message", text()),
            ("file", text()),
            ("line", count()),
            ("column", count()),
            ("length", count()),
            ("help?", text()),
        ]),
        "RuleList": object(&[
            ("total", count()),
            ("rules", list(reference("RuleSummary"))),
            ("refused", list(reference("Diagnostic"))),
        ]),
        "FieldList": object(&[
            ("fields", list(object(&[
                ("name", text()),
                ("types", list(text())),
                ("events?", count()),
                ("distinct?", count()),
                ("values?", list(object(&[("value", any()), ("count", count())]))),
            ]))),
            ("partial", partial.clone()),
        ]),
        "SuggestAnswer": object(&[
            ("from", count()),
            ("to", count()),
            ("suggestions", list(object(&[
                ("text", text()),
                ("kind", json!({
                    "type": "string",
                    "enum": ["field", "value", "operator", "keyword", "pipe", "function", "duration"],
                })),
                ("about", text()),
                ("count?", count()),
            ]))),
            ("partial", partial.clone()),
        ]),
        "Content": json!({
            "description": "Bytes: `text` when they are UTF-8, else `hex`.",
            "type": "object",
            "properties": {"text": text(), "hex": text()},
            "additionalProperties": false,
        }),
        "Ledger": object(&[
            ("imbalance", count()),
            ("raw_in_flight", count()),
            ("events_in_flight", count()),
            ("uncounted", json!({"type": "integer"})),
            ("partial", json!({"type": "boolean"})),
            ("sources", list(object(&[
                ("source", text()),
                ("received", count()),
                ("joined", count()),
                ("dropped", count()),
                ("rejected", count()),
                ("events", count()),
                ("stored", count()),
                ("in_flight", count()),
                ("error", json!({"type": "integer"})),
                ("bytes", count()),
                ("first", text()),
                ("last", text()),
                ("listener", text()),
                ("sender", text()),
            ]))),
        ]),
        "DatasetList": object(&[
            ("datasets", list(object(&[
                ("dataset", text()),
                ("events", count()),
                ("events_last_hour", count()),
                ("events_usual_hour", count()),
                ("unparsed", count()),
                ("missing_time", count()),
                ("late", count()),
                ("ahead", count()),
                ("delay_ms", json!({"type": "integer"})),
                ("fields", count()),
                ("fields_outside_ecs", count()),
                ("last", text()),
                ("problems", list(object(&[
                    ("kind", text()),
                    ("field", text()),
                    ("text", text()),
                    ("since", text()),
                ]))),
            ]))),
        ]),
        "FileList": object(&[
            ("files", list(object(&[
                ("path", text()),
                ("name", text()),
                ("position", count()),
                ("size", count()),
                ("last_read", text()),
                ("gone", json!({"type": "boolean"})),
                ("problem", text()),
            ]))),
        ]),
        "RejectedSummary": object(&rejected),
        "RejectedDetail": object(&rejected_detail),
        "RejectedList": object(&[
            ("total", count()),
            ("replayed", count()),
            ("counts", list(object(&[
                ("stage", text()),
                ("reason", text()),
                ("records", count()),
            ]))),
            ("uncounted", count()),
            ("records", list(reference("RejectedSummary"))),
        ]),
        "ReplayRequest": object(&[
            ("places?", list(text())),
            ("all?", json!({"type": "boolean"})),
            ("stage?", text()),
            ("topic?", text()),
            ("reason?", text()),
            ("since?", text()),
            ("again?", json!({"type": "boolean"})),
            ("dry_run?", json!({"type": "boolean"})),
        ]),
        "ReplayAnswer": object(&[
            ("dry_run", json!({"type": "boolean"})),
            ("put_back", count()),
            ("before", count()),
            ("refused", count()),
            ("records", list(object(&[
                ("place", text()),
                ("origin", text_or_null()),
                ("done", json!({
                    "type": "string",
                    "enum": ["put_back", "before", "missing", "no_origin", "too_large"],
                })),
                ("replayed", time_or_null()),
            ]))),
        ]),
        "Status": object(&[
            ("ready", json!({"type": "boolean"})),
            ("problems", list(text())),
            ("version", text()),
            ("lag", list(object(&[("stage", text()), ("records", count())]))),
            ("topics", list(object(&[
                ("topic", text()),
                ("partitions", count()),
                ("appended", count()),
                ("kept", count()),
                ("bytes", json!({"type": ["integer", "null"], "minimum": 0})),
            ]))),
            ("partitions", list(object(&[
                ("name", text()),
                ("documents", count()),
                ("bytes", count()),
            ]))),
            ("rules", object(&[
                ("rules", count()),
                ("correlations", count()),
                ("refused", count()),
            ])),
        ]),
    })
}
