//! The body of a search: what is wanted of which events.

use std::time::Duration;

use event::Timestamp;
use indexing::{Aggregation, Order, SORT_KEYS_MAX, TIE_BREAKER};
use jiff::tz::TimeZone;
use query::{Cell, Filter, Glob};
use serde_json::{Map, Value};

use crate::aggs::{self, Shown};
use crate::dsl::{self, field_name, is_date};
use crate::error::Refusal;
use crate::json::{count, known, list, object, only, scalar, text, texts, truth};
use crate::{dates, lucene};

/// The most hits up to the last one that is shown; Elasticsearch's `max_result_window`.
pub(crate) const WINDOW_MAX: usize = 10_000;

/// How many hits are counted exactly if nothing is said; Elasticsearch's own number.
const TOTAL_DEFAULT: u64 = 10_000;

/// What is wanted.
#[derive(Debug, Clone)]
pub(crate) struct Search {
    pub(crate) filter: Filter,
    pub(crate) from: usize,
    pub(crate) size: usize,
    pub(crate) sort: Vec<SortShown>,
    pub(crate) after: Option<Vec<Cell>>,
    pub(crate) source: SourceFilter,
    pub(crate) fields: Vec<FieldWanted>,
    /// How many hits are counted; `None` for all of them.
    pub(crate) total: Total,
    pub(crate) aggregations: Vec<Aggregation>,
    pub(crate) shown: Vec<Shown>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) pit: Option<String>,
}

/// How the number of hits is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Total {
    /// All.
    Exact,
    /// Up to so many, then "at least".
    UpTo(u64),
    /// Not at all.
    Untold,
}

/// A key of the order, and how its values are written.
#[derive(Debug, Clone)]
pub(crate) struct SortShown {
    pub(crate) order: Order,
    pub(crate) format: Option<String>,
}

/// A field that is wanted beside the source.
#[derive(Debug, Clone)]
pub(crate) struct FieldWanted {
    pub(crate) name: Glob,
    pub(crate) format: Option<String>,
}

/// What of the source is shown.
#[derive(Debug, Clone, Default)]
pub(crate) struct SourceFilter {
    /// Nothing.
    pub(crate) hidden: bool,
    /// Only these; everything if there are none.
    pub(crate) includes: Vec<Glob>,
    /// Not these.
    pub(crate) excludes: Vec<Glob>,
}

const READ: &[&str] = &[
    "query",
    "from",
    "size",
    "sort",
    "search_after",
    "_source",
    "fields",
    "docvalue_fields",
    "track_total_hits",
    "timeout",
    "aggs",
    "aggregations",
    "pit",
];

/// What cannot change which hits there are, or how they are counted.
const HARMLESS: &[&str] = &[
    "track_scores",
    "version",
    "seq_no_primary_term",
    "highlight",
    "preference",
    "stats",
    "profile",
    "explain",
    "indices_boost",
    "ext",
];

/// What may be there if it wants nothing.
const EMPTY: &[&str] =
    &["script_fields", "runtime_mappings", "stored_fields", "terminate_after", "slice"];

impl Search {
    pub(crate) fn read(body: &Value, now: Timestamp) -> Result<Search, Refusal> {
        let none = Map::new();
        let map = match body {
            Value::Null => &none,
            body => object("body", body)?,
        };
        let harmless: Vec<&str> = HARMLESS.iter().chain(EMPTY).copied().collect();
        known("body", map, READ, &harmless)?;
        for name in EMPTY {
            let wants = match map.get(*name) {
                None | Some(Value::Null) => false,
                Some(Value::Object(object)) => !object.is_empty(),
                Some(Value::Number(number)) => number.as_u64() != Some(0),
                // All stored fields are none here; the source has everything.
                Some(other) => *name != "stored_fields" || other.as_str() == Some("_none_"),
            };
            if wants {
                return Err(Refusal::parsing("body", format!("[{name}] is not supported")));
            }
        }
        let filter = match map.get("query") {
            None | Some(Value::Null) => Filter::All,
            Some(query) => dsl::filter(query, now)?,
        };
        let number =
            |name: &str, usual| map.get(name).map_or(Ok(usual), |value| count(name, value));
        let (from, size) = (number("from", 0)?, number("size", 10)?);
        if from.saturating_add(size) > WINDOW_MAX {
            return Err(Refusal::illegal(format!(
                "Result window is too large, from + size must be less than or equal to: [{WINDOW_MAX}] but was [{}]; go on with search_after or a scroll",
                from.saturating_add(size)
            )));
        }
        let pit = match map.get("pit") {
            None => None,
            Some(pit) => {
                let pit = object("pit", pit)?;
                known("pit", pit, &["id"], &["keep_alive"])?;
                let id = pit.get("id").ok_or_else(|| Refusal::parsing("pit", "[id] is missing"))?;
                Some(text("pit.id", id)?.to_owned())
            }
        };
        let mut sort = sort("sort", map.get("sort"))?;
        if pit.is_some() && !sort.iter().any(|key| key.order.field == TIE_BREAKER) {
            sort.push(SortShown::tie_breaker());
        }
        let after = match map.get("search_after") {
            None | Some(Value::Null) => None,
            Some(value) => Some(after(value, &sort, from, now)?),
        };
        let total = match map.get("track_total_hits") {
            None | Some(Value::Null) => Total::UpTo(TOTAL_DEFAULT),
            Some(Value::Bool(true)) => Total::Exact,
            Some(Value::Bool(false)) => Total::Untold,
            Some(value) => Total::UpTo(count("track_total_hits", value)? as u64),
        };
        let (aggregations, shown) = match (map.get("aggs"), map.get("aggregations")) {
            (Some(value), None) | (None, Some(value)) => aggs::read("aggs", value, now)?,
            (Some(_), Some(_)) => {
                return Err(Refusal::parsing("body", "there is both [aggs] and [aggregations]"));
            }
            (None, None) => (Vec::new(), Vec::new()),
        };
        let timeout = match map.get("timeout") {
            None | Some(Value::Null) => None,
            Some(value) => {
                let text = scalar("timeout", value)?;
                let nanos =
                    query::parse_duration(&text).and_then(|nanos| u64::try_from(nanos).ok());
                let nanos = nanos.ok_or_else(|| {
                    Refusal::parsing(
                        "timeout",
                        format!("[{text}] is no length of time (500ms, 30s)"),
                    )
                })?;
                Some(Duration::from_nanos(nanos))
            }
        };
        let mut fields = wanted("fields", map.get("fields"))?;
        fields.extend(wanted("docvalue_fields", map.get("docvalue_fields"))?);
        Ok(Search {
            filter,
            from,
            size,
            sort,
            after,
            source: SourceFilter::read("_source", map.get("_source"))?,
            fields,
            total,
            aggregations,
            shown,
            timeout,
            pit,
        })
    }
}

impl SortShown {
    /// The order that is always whole.
    pub(crate) fn tie_breaker() -> SortShown {
        let order =
            Order { field: TIE_BREAKER.to_owned(), descending: false, missing_first: false };
        SortShown { order, format: None }
    }
}

/// Reads an order: texts, objects, or a list of them. A score is the same for all, and no order.
pub(crate) fn sort(path: &str, value: Option<&Value>) -> Result<Vec<SortShown>, Refusal> {
    let mut keys: Vec<SortShown> = Vec::new();
    for value in value.map(list).unwrap_or_default() {
        let (field, options) = match value {
            Value::String(field) => match field.split_once(':') {
                Some((field, order)) => (field.to_owned(), Value::from(order)),
                None => (field.clone(), Value::Null),
            },
            other => {
                only(path, other).map(|(field, options)| (field.to_owned(), options.clone()))?
            }
        };
        if field == "_score" {
            continue;
        }
        let path = format!("{path}.{field}");
        let (mut descending, mut missing_first, mut format) = (false, false, None);
        let order_of = |value: &Value| match text(&path, value)?.to_ascii_lowercase().as_str() {
            "asc" => Ok(false),
            "desc" => Ok(true),
            other => Err(Refusal::parsing(&path, format!("[{other}] is no order"))),
        };
        match &options {
            Value::Null => {}
            Value::Object(map) => {
                known(
                    &path,
                    map,
                    &["order", "missing", "format"],
                    &["unmapped_type", "numeric_type", "ignore_unmapped"],
                )?;
                if let Some(order) = map.get("order") {
                    descending = order_of(order)?;
                }
                if let Some(missing) = map.get("missing") {
                    missing_first = match text(&path, missing)? {
                        "_first" => true,
                        "_last" => false,
                        _ => return Err(Refusal::parsing(&path, "[missing] is _first or _last")),
                    };
                }
                format = map.get("format").map(|f| text(&path, f)).transpose()?.map(str::to_owned);
            }
            order => descending = order_of(order)?,
        }
        let field = match field.as_str() {
            "_doc" | "_shard_doc" => TIE_BREAKER,
            field => field_name(field),
        };
        if query::is_text(field) || query::is_unsearched(field) {
            let reason = format!("[{path}] [{field}] is text and can't be sorted by");
            return Err(Refusal::illegal(reason));
        }
        if keys.iter().any(|key| key.order.field == field) {
            continue;
        }
        let order = Order { field: field.to_owned(), descending, missing_first };
        keys.push(SortShown { order, format });
    }
    let others = keys.iter().filter(|key| key.order.field != TIE_BREAKER).count();
    if others > SORT_KEYS_MAX - 1 {
        let reason = format!("more than {} keys to sort by", SORT_KEYS_MAX - 1);
        return Err(Refusal::parsing(path, reason));
    }
    Ok(keys)
}

fn after(
    value: &Value,
    sort: &[SortShown],
    from: usize,
    now: Timestamp,
) -> Result<Vec<Cell>, Refusal> {
    let values = list(value);
    if from > 0 {
        return Err(Refusal::parsing("search_after", "[from] must be 0 with it"));
    }
    if values.len() != sort.len() || sort.is_empty() {
        let reason = format!(
            "there are {} values, but {} keys to sort by; send the `sort` of the last hit",
            values.len(),
            sort.len()
        );
        return Err(Refusal::parsing("search_after", reason));
    }
    let cell = |(value, key): (&Value, &SortShown)| match value {
        Value::Null => Ok(Cell::Null),
        Value::Bool(value) => Ok(Cell::Bool(*value)),
        value if is_date(&key.order.field) => {
            let text = scalar("search_after", value)?;
            let read = dates::read(&text, now, key.format.as_deref(), &TimeZone::UTC);
            read.map(|(time, _)| Cell::Time(time))
                .ok_or_else(|| Refusal::parsing("search_after", format!("[{text}] is no time")))
        }
        Value::Number(number) => Ok(match number.as_i64() {
            Some(number) => Cell::Int(number),
            None => Cell::number(number.as_f64().unwrap_or_default()),
        }),
        other => Ok(Cell::Text(scalar("search_after", other)?)),
    };
    values.iter().zip(sort).map(cell).collect()
}

fn wanted(path: &str, value: Option<&Value>) -> Result<Vec<FieldWanted>, Refusal> {
    let mut fields = Vec::new();
    for value in value.map(list).unwrap_or_default() {
        let (name, format) = match value {
            Value::String(name) => (name.as_str(), None),
            other => {
                let map = object(path, other)?;
                known(path, map, &["field", "format"], &["include_unmapped"])?;
                let field =
                    map.get("field").ok_or_else(|| Refusal::parsing(path, "[field] is missing"))?;
                let format = map.get("format").map(|f| text(path, f)).transpose()?;
                (text(path, field)?, format)
            }
        };
        // Kibana's word for "as the mapping says".
        let format = format.filter(|format| *format != "use_field_mapping").map(str::to_owned);
        if dates::write(Timestamp::EPOCH, format.as_deref(), &TimeZone::UTC).is_none() {
            let reason = format!("[format] [{}] is not supported", format.unwrap_or_default());
            return Err(Refusal::parsing(path, reason));
        }
        fields.push(FieldWanted { name: lucene::glob(field_name(name)), format });
    }
    Ok(fields)
}

impl SourceFilter {
    pub(crate) fn read(path: &str, value: Option<&Value>) -> Result<SourceFilter, Refusal> {
        let globs = |value: Option<&Value>| match value {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(value) => Ok(texts(path, value)?.iter().map(|name| lucene::glob(name)).collect()),
        };
        match value {
            None | Some(Value::Null) => Ok(SourceFilter::default()),
            Some(Value::Object(map)) => {
                let read = &["includes", "include", "excludes", "exclude"];
                known(path, map, read, &[])?;
                let either = |a: &str, b: &str| globs(map.get(a).or_else(|| map.get(b)));
                Ok(SourceFilter {
                    hidden: false,
                    includes: either("includes", "include")?,
                    excludes: either("excludes", "exclude")?,
                })
            }
            Some(Value::Bool(shown)) => {
                Ok(SourceFilter { hidden: !shown, ..SourceFilter::default() })
            }
            Some(Value::String(word)) if word == "true" || word == "false" => {
                let hidden = !truth(path, &Value::from(word.as_str()))?;
                Ok(SourceFilter { hidden, ..SourceFilter::default() })
            }
            value => Ok(SourceFilter { includes: globs(value)?, ..SourceFilter::default() }),
        }
    }
}
