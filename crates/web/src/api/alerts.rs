//! `/api/v1/alerts`: alerts in short, and one in full.

use axum::Json;
use axum::extract::{Path, Query, State};
use event::{Event, Evidence, MatchedField, Timestamp, Value};
use indexing::{Answer, Kinds};
use query::TimeRange;
use serde::{Deserialize, Serialize};

use super::rules::RuleDetail;
use super::search::{SINCE_DEFAULT, limit, next_link};
use super::{ApiError, Params};
use crate::rulebook;
use crate::search::{Ask, event_of, parse};
use crate::server::Context;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ListParams {
    q: String,
    since: String,
    until: String,
    limit: Option<usize>,
    cursor: Option<String>,
}

impl Default for ListParams {
    fn default() -> Self {
        ListParams {
            q: String::new(),
            since: SINCE_DEFAULT.into(),
            until: String::new(),
            limit: None,
            cursor: None,
        }
    }
}

#[derive(Serialize)]
pub(crate) struct AlertList {
    total: u64,
    took_ms: u64,
    partial: Vec<String>,
    alerts: Vec<AlertSummary>,
    next: Option<String>,
}

#[derive(Serialize)]
struct AlertSummary {
    id: String,
    time: Option<Timestamp>,
    level: String,
    rule_id: String,
    rule_name: String,
    reason: String,
    techniques: Vec<String>,
    host: Option<String>,
    user: Option<String>,
    event_count: u64,
}

#[derive(Serialize)]
pub(crate) struct AlertDetail {
    alert: serde_json::Value,
    matched: Vec<MatchedField>,
    events: Vec<Evidence>,
    event_ids: Vec<String>,
    rule: Option<RuleDetail>,
}

/// Alerts in short.
pub(crate) async fn list(
    State(context): State<Context>,
    params: Params<ListParams>,
) -> Result<Json<AlertList>, ApiError> {
    let Query(params) = params?;
    let range = TimeRange::parse(&params.since, &params.until, Timestamp::now())
        .map_err(crate::search::SearchError::from)?;
    let query = parse(&params.q).map_err(crate::search::SearchError::from)?;
    if !query.pipes.is_empty() {
        let text = "a list of alerts has no pipes; use /api/v1/search with kind=alerts";
        return Err(ApiError::new(axum::http::StatusCode::BAD_REQUEST, text));
    }
    let mut ask = Ask::new(query, range);
    ask.kinds = Kinds::Alerts;
    ask.hits = limit(params.limit)?;
    ask.cursor = params.cursor.as_deref().map(str::parse).transpose()?;
    let hits = ask.hits;
    let found = context.searches.ask(ask).await?;
    let alerts = match &found.results.answer {
        Answer::Hits(hits) => hits.iter().map(|hit| summary(&hit.event())).collect(),
        // There are no pipes that would make one.
        Answer::Table(_) => Vec::new(),
    };
    Ok(Json(AlertList {
        total: found.results.total,
        took_ms: u64::try_from(found.results.took.as_millis()).unwrap_or(u64::MAX),
        partial: found.notes,
        alerts,
        next: found.next.map(|cursor| {
            next_link("/api/v1/alerts", &params.q, range, &hits.to_string(), cursor, &[])
        }),
    }))
}

fn summary(event: &Event) -> AlertSummary {
    let text = |path: &str| event.str(path).unwrap_or_default().to_owned();
    let count = event.get("watchpost.alert.event_count").and_then(Value::as_int);
    AlertSummary {
        id: text("event.id"),
        time: event.timestamp(),
        level: text("watchpost.alert.level"),
        rule_id: text("rule.id"),
        rule_name: text("rule.name"),
        reason: text("event.reason"),
        techniques: techniques(event),
        host: event.str("host.name").map(str::to_owned),
        user: event.str("user.name").map(str::to_owned),
        event_count: count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0),
    }
}

/// The ATT&CK techniques of an alert; sub-techniques in place of theirs.
pub(crate) fn techniques(event: &Event) -> Vec<String> {
    let subs: Vec<&str> =
        event.values("threat.technique.subtechnique.id").filter_map(Value::as_str).collect();
    let mains = event.values("threat.technique.id").filter_map(Value::as_str).filter(|id| {
        !subs.iter().any(|sub| sub.strip_prefix(id).is_some_and(|rest| rest.starts_with('.')))
    });
    let mut all: Vec<String> = mains.chain(subs.iter().copied()).map(str::to_owned).collect();
    all.sort_unstable();
    all
}

/// An alert's document and what stands in it, read.
pub(crate) struct Alert {
    pub(crate) event: Event,
    pub(crate) matched: Vec<MatchedField>,
    /// The events that it carries, newest first.
    pub(crate) evidence: Vec<Evidence>,
    /// The ids of these and of others, oldest first.
    pub(crate) event_ids: Vec<String>,
}

impl Alert {
    /// Reads an alert; `None` if the event is none.
    pub(crate) fn read(json: &serde_json::Value) -> Option<Alert> {
        let event = event_of(json);
        if event.str("event.kind") != Some("alert") || event.str("rule.id").is_none() {
            return None;
        }
        let own = json.get("watchpost").and_then(|own| own.get("alert"));
        let matched = own.and_then(|alert| alert.get("matched")).cloned().unwrap_or_default();
        let evidence = event.str("watchpost.alert.evidence").unwrap_or_default();
        let ids = event.values("watchpost.alert.event_ids").filter_map(Value::as_str);
        Some(Alert {
            // Another program may write to the topic; what it leaves out is not shown.
            matched: serde_json::from_value(matched).unwrap_or_default(),
            evidence: serde_json::from_str(evidence).unwrap_or_default(),
            event_ids: ids.map(str::to_owned).collect(),
            event,
        })
    }
}

/// An alert in full.
pub(crate) async fn one(
    State(context): State<Context>,
    Path(id): Path<String>,
) -> Result<Json<AlertDetail>, ApiError> {
    let none = || ApiError::not_found("there is no alert with this id");
    let hit = context.searches.get(id).await?.ok_or_else(none)?;
    let mut json: serde_json::Value = serde_json::from_str(&hit.json).map_err(|_| none())?;
    let alert = Alert::read(&json).ok_or_else(none)?;
    // It stands beside the document, readable.
    if let Some(own) = json.pointer_mut("/watchpost/alert").and_then(|own| own.as_object_mut()) {
        own.remove("evidence");
    }
    let book = context.app.rules.current();
    let rule_id = alert.event.str("rule.id").unwrap_or_default();
    let rule = rulebook::find(&book, rule_id).map(|entry| RuleDetail::new(&entry, &book));
    Ok(Json(AlertDetail {
        alert: json,
        matched: alert.matched,
        events: alert.evidence,
        event_ids: alert.event_ids,
        rule,
    }))
}
