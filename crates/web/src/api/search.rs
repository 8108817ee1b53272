//! `/api/v1/search` and `/api/v1/events/{id}`.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Query, State};
use event::Timestamp;
use indexing::{Answer, FacetValue, Hit, Kinds};
use query::{Cell, Table, TimeRange};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{ApiError, Params};
use crate::pages::link;
use crate::search::{Ask, Cursor, Found, HITS_MAX, ROWS_MAX, SearchError, parse};
use crate::server::Context;

/// From when, if nothing is said.
pub(crate) const SINCE_DEFAULT: &str = "24h";

/// Hits, if nothing is said.
const HITS_DEFAULT: usize = 100;

/// The most buckets of a histogram.
const BUCKETS_MAX: usize = 2000;

/// The most fields whose values are counted in one call; each costs a pass over its column.
const FACETS_MAX: usize = 20;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SearchParams {
    q: String,
    since: String,
    until: String,
    limit: Option<usize>,
    cursor: Option<String>,
    kind: String,
    histogram: usize,
    facets: String,
}

impl Default for SearchParams {
    fn default() -> Self {
        SearchParams {
            q: String::new(),
            since: SINCE_DEFAULT.into(),
            until: String::new(),
            limit: None,
            cursor: None,
            kind: "events".into(),
            histogram: 0,
            facets: String::new(),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct SearchAnswer {
    query: String,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    total: u64,
    took_ms: u64,
    partial: Vec<String>,
    /// What is odd about the query, if it found nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hints: Vec<HintShown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hits: Option<Vec<Box<RawValue>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<Table>,
    #[serde(skip_serializing_if = "Option::is_none")]
    histogram: Option<Buckets>,
    facets: BTreeMap<String, Vec<Counted>>,
    next: Option<String>,
}

#[derive(Serialize)]
struct HintShown {
    message: String,
    column: usize,
    length: usize,
    suggestion: Option<String>,
}

#[derive(Serialize)]
struct Buckets {
    start: Timestamp,
    step_ms: i64,
    counts: Vec<u64>,
}

/// A value of a field, and how many events have it.
#[derive(Serialize)]
pub(crate) struct Counted {
    value: Cell,
    count: u64,
}

/// Values of a field as answers have them.
pub(crate) fn counted(values: Vec<FacetValue>) -> Vec<Counted> {
    values.into_iter().map(|v| Counted { value: v.value, count: v.count }).collect()
}

/// Answers a query.
pub(crate) async fn search(
    State(context): State<Context>,
    params: Params<SearchParams>,
) -> Result<Json<SearchAnswer>, ApiError> {
    let Query(params) = params?;
    let ask = read(&params)?;
    let query = ask.query.to_string();
    let range = ask.range;
    let found = context.searches.ask(ask).await?;
    Ok(Json(answer(&params, query, range, found)?))
}

/// An event.
pub(crate) async fn event(
    State(context): State<Context>,
    Path(id): Path<String>,
) -> Result<Json<Box<RawValue>>, ApiError> {
    match context.searches.get(id).await? {
        Some(hit) => Ok(Json(raw(hit)?)),
        None => Err(ApiError::not_found("there is no event with this id")),
    }
}

fn read(params: &SearchParams) -> Result<Ask, SearchError> {
    let range = TimeRange::parse(&params.since, &params.until, Timestamp::now())?;
    let mut ask = Ask::new(parse(&params.q)?, range);
    ask.text.clone_from(&params.q);
    ask.hits = limit(params.limit)?;
    ask.rows = params.limit.unwrap_or(ROWS_MAX);
    ask.cursor = params.cursor.as_deref().map(str::parse).transpose()?;
    ask.kinds = kinds(&params.kind)?;
    if params.histogram > BUCKETS_MAX {
        let text = format!("a histogram has at most {BUCKETS_MAX} buckets");
        return Err(SearchError::Request(text));
    }
    ask.histogram = Some(params.histogram).filter(|buckets| *buckets > 0);
    let facets = params.facets.split(',').map(str::trim).filter(|field| !field.is_empty());
    ask.facets = facets.map(str::to_owned).collect();
    if ask.facets.len() > FACETS_MAX {
        let text = format!("at most {FACETS_MAX} facets are counted in one call");
        return Err(SearchError::Request(text));
    }
    Ok(ask)
}

/// What is searched.
pub(crate) fn kinds(name: &str) -> Result<Kinds, SearchError> {
    match name {
        "events" => Ok(Kinds::Events),
        "alerts" => Ok(Kinds::Alerts),
        "both" => Ok(Kinds::Both),
        other => {
            let text = format!("`{other}` is no kind; it is one of events, alerts, both");
            Err(SearchError::Request(text))
        }
    }
}

/// How many hits are wanted.
pub(crate) fn limit(wanted: Option<usize>) -> Result<usize, SearchError> {
    let hits = wanted.unwrap_or(HITS_DEFAULT);
    if hits > HITS_MAX {
        let text = format!("the limit is at most {HITS_MAX}; `next` of an answer leads on");
        return Err(SearchError::Request(text));
    }
    Ok(hits)
}

fn answer(
    params: &SearchParams,
    query: String,
    range: TimeRange,
    found: Found,
) -> Result<SearchAnswer, ApiError> {
    let Found { results, next, notes, hints } = found;
    let hints = hints.into_iter().map(|hint| HintShown {
        message: hint.message,
        column: hint.column,
        length: hint.length,
        suggestion: hint.suggestion,
    });
    let (hits, table) = match results.answer {
        Answer::Hits(hits) => {
            (Some(hits.into_iter().map(raw).collect::<Result<Vec<_>, _>>()?), None)
        }
        Answer::Table(table) => (None, Some(table)),
    };
    let facets = results.facets.into_iter().map(|facet| (facet.field, counted(facet.values)));
    Ok(SearchAnswer {
        next: next.map(|cursor| {
            let limit = params.limit.unwrap_or(HITS_DEFAULT).to_string();
            let kind = ("kind", params.kind.as_str());
            // The range is written out, so that `24h` does not move between pages.
            next_link("/api/v1/search", &params.q, range, &limit, cursor, &[kind])
        }),
        query,
        since: range.since,
        until: range.until,
        total: results.total,
        took_ms: u64::try_from(results.took.as_millis()).unwrap_or(u64::MAX),
        partial: notes,
        hints: hints.collect(),
        hits,
        table,
        histogram: results.histogram.map(|histogram| Buckets {
            start: histogram.start,
            step_ms: histogram.step_nanos / 1_000_000,
            counts: histogram.counts,
        }),
        facets: facets.collect(),
    })
}

/// The address of the next page of a list.
pub(crate) fn next_link(
    path: &str,
    q: &str,
    range: TimeRange,
    limit: &str,
    cursor: Cursor,
    more: &[(&str, &str)],
) -> String {
    let time = |end: Option<Timestamp>, open: &str| end.map_or(open.into(), |t| t.to_string());
    let (since, until) = (time(range.since, "all"), time(range.until, ""));
    let cursor = cursor.to_string();
    let mut pairs = vec![("q", q), ("since", since.as_str()), ("until", until.as_str())];
    pairs.extend([("limit", limit), ("cursor", cursor.as_str())]);
    pairs.extend(more);
    link::with(path, &pairs)
}

fn raw(hit: Hit) -> Result<Box<RawValue>, ApiError> {
    RawValue::from_string(hit.json).map_err(|error| {
        tracing::error!(%error, time = %hit.time, "a stored event is no JSON");
        let status = axum::http::StatusCode::INTERNAL_SERVER_ERROR;
        ApiError::new(status, "a stored event is damaged")
    })
}
