//! Answering: a request's values in, an answer's values out.

use std::time::Duration;

use event::Timestamp;
use indexing::{Cancel, ExploreRequest, Explored, FieldInfo, Index, Order, Partial, PartitionId};
use query::{Filter, Glob};
use serde_json::{Map, Value, json};

use crate::body::{Search, SortShown, Total};
use crate::dsl;
use crate::error::Refusal;
use crate::index_names::{IndexNames, partitions};
use crate::json::{known, object};
use crate::lucene;
use crate::render::{self, Writer};
use crate::scroll::{Pit, Scroll};

/// How much an answer may cost.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The longest time; an answer of what was found until then says `timed_out`.
    pub time: Duration,
    /// The most threads.
    pub threads: usize,
    /// The most buckets of an answer; Elasticsearch's own bound is 65,536.
    pub buckets: usize,
    /// The most buckets, different values and numbers that all aggregations keep on their way.
    pub values: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            time: Duration::from_secs(30),
            threads: std::thread::available_parallelism().map_or(2, |n| n.get()).min(8),
            buckets: 10_000,
            // Of about 32 bytes each.
            values: 5_000_000,
        }
    }
}

/// Answers `_search`. The index of a point in time replaces `names`.
///
/// # Errors
/// When something of the request is wrong, or its answer would be too large.
pub fn search(
    index: &Index,
    names: &IndexNames<'_>,
    body: &Value,
    now: Timestamp,
    limits: &Limits,
) -> Result<Value, Refusal> {
    let search = Search::read(body, now)?;
    let mut answer = match &search.pit {
        Some(id) => {
            let pit = Pit::read(id)?;
            let names = IndexNames { text: &pit.index, ignore_unavailable: true };
            run(index, &partitions(&names, index)?, &search, limits)?.0
        }
        None => run(index, &partitions(names, index)?, &search, limits)?.0,
    };
    if let (Some(id), Value::Object(map)) = (&search.pit, &mut answer) {
        map.insert("pit_id".into(), id.as_str().into());
    }
    Ok(answer)
}

/// Answers the first page of a scroll, or the next.
///
/// # Errors
/// As [`search`].
pub fn scroll(
    index: &Index,
    scroll: Scroll,
    now: Timestamp,
    limits: &Limits,
) -> Result<Value, Refusal> {
    let mut body = scroll.body.clone();
    let first = Search::read(&body, now)?;
    if first.from > 0 || first.after.is_some() || first.pit.is_some() {
        return Err(Refusal::illegal("a scroll has no [from], [search_after] or [pit]"));
    }
    if !scroll.after.is_empty() {
        let Value::Object(map) = &mut body else { return Err(Refusal::illegal("no scroll")) };
        // What is counted was told with the first page.
        map.remove("aggs");
        map.remove("aggregations");
        // The order must be whole, or the page could end among equals.
        let mut sort = match map.remove("sort") {
            Some(Value::Array(keys)) => keys,
            Some(key) => vec![key],
            None => Vec::new(),
        };
        sort.push("_doc".into());
        map.insert("sort".into(), Value::Array(sort));
        map.insert("search_after".into(), scroll.after.clone().into());
    }
    let mut search = Search::read(&body, now)?;
    if !search.sort.iter().any(|key| key.order.field == indexing::TIE_BREAKER) {
        search.sort.push(SortShown::tie_breaker());
    }
    let names = IndexNames { text: &scroll.index, ignore_unavailable: !scroll.after.is_empty() };
    let (mut answer, last) = run(index, &partitions(&names, index)?, &search, limits)?;
    let after = match last {
        Some(Value::Array(values)) => values,
        // At the end, where it stays.
        _ => scroll.after,
    };
    let next = Scroll { index: scroll.index, body: scroll.body, after };
    if let Value::Object(map) = &mut answer {
        map.insert("_scroll_id".into(), next.id().into());
    }
    Ok(answer)
}

/// Answers, and tells the sort values of the last hit.
fn run(
    index: &Index,
    partitions: &[PartitionId],
    search: &Search,
    limits: &Limits,
) -> Result<(Value, Option<Value>), Refusal> {
    let newest_first =
        Order { field: "@timestamp".to_owned(), descending: true, missing_first: false };
    let sort: Vec<Order> = match search.sort.as_slice() {
        [] => vec![newest_first],
        keys => keys.iter().map(|key| key.order.clone()).collect(),
    };
    let hits = search.from + search.size;
    let explored = index.searcher().explore(&ExploreRequest {
        filter: &search.filter,
        partitions,
        range: dsl::time_range(&search.filter),
        hits,
        sort: &sort,
        after: search.after.as_deref(),
        aggregations: &search.aggregations,
        time: search.timeout.map_or(limits.time, |time| time.min(limits.time)),
        threads: limits.threads,
        values: limits.values,
        cancel: Cancel::default(),
    });
    too_large(&explored)?;
    let shown = explored.hits.iter().skip(search.from);
    let hits: Vec<Value> = shown
        .map(|found| render::hit(found, &search.source, &search.fields, &search.sort))
        .collect();
    let last = explored.hits.last().map(|found| render::sort_of(found, &search.sort));
    let mut answer = Map::new();
    answer.insert("took".into(), millis(explored.took).into());
    answer.insert("timed_out".into(), timed_out(&explored).into());
    answer.insert("_shards".into(), shards(&explored));
    let mut section = Map::new();
    match search.total {
        Total::Untold => {}
        Total::UpTo(max) if explored.total > max => {
            section.insert("total".into(), json!({ "value": max, "relation": "gte" }));
        }
        Total::UpTo(_) | Total::Exact => {
            let relation = if timed_out(&explored) { "gte" } else { "eq" };
            let total = json!({ "value": explored.total, "relation": relation });
            section.insert("total".into(), total);
        }
    }
    let scored = search.sort.is_empty() && !hits.is_empty();
    section.insert("max_score".into(), if scored { json!(1.0) } else { Value::Null });
    section.insert("hits".into(), hits.into());
    answer.insert("hits".into(), Value::Object(section));
    if !search.shown.is_empty() {
        let mut writer = Writer { buckets_left: limits.buckets, buckets_max: limits.buckets };
        let all = writer.all(&search.aggregations, &search.shown, &explored.aggregations)?;
        answer.insert("aggregations".into(), Value::Object(all));
    }
    Ok((Value::Object(answer), last))
}

/// Answers `_count`.
///
/// # Errors
/// When something of the request is wrong.
pub fn count(
    index: &Index,
    names: &IndexNames<'_>,
    body: &Value,
    now: Timestamp,
    limits: &Limits,
) -> Result<Value, Refusal> {
    let filter = match body {
        Value::Null => Filter::All,
        body => {
            let map = object("body", body)?;
            known("body", map, &["query"], &[])?;
            map.get("query").map_or(Ok(Filter::All), |query| dsl::filter(query, now))?
        }
    };
    let partitions = partitions(names, index)?;
    let explored = index.searcher().explore(&ExploreRequest {
        filter: &filter,
        partitions: &partitions,
        range: dsl::time_range(&filter),
        hits: 0,
        sort: &[],
        after: None,
        aggregations: &[],
        time: limits.time,
        threads: limits.threads,
        values: limits.values,
        cancel: Cancel::default(),
    });
    if timed_out(&explored) {
        // A count has no place to say that it is a part.
        let reason = format!("counting took longer than {:?}", limits.time);
        return Err(Refusal { status: 503, kind: "timeout_exception", reason });
    }
    Ok(json!({ "count": explored.total, "_shards": shards(&explored) }))
}

/// Answers `_field_caps`: which fields there are, and what can be done with them.
///
/// # Errors
/// When a name is not there.
pub fn field_caps(
    index: &Index,
    names: &IndexNames<'_>,
    wanted: &[String],
) -> Result<Value, Refusal> {
    let indices: Vec<String> = partitions(names, index)?.iter().map(ToString::to_string).collect();
    let globs: Vec<Glob> = wanted.iter().map(|name| lucene::glob(name)).collect();
    let mut fields = Map::new();
    for field in index.fields() {
        let folded = query::fold(&field.name);
        if !globs.is_empty() && !globs.iter().any(|glob| glob.matches_folded(&folded)) {
            continue;
        }
        let mut types = Map::new();
        for kind in &field.types {
            let caps = json!({
                "type": kind,
                "metadata_field": false,
                "searchable": true,
                "aggregatable": *kind != "text",
            });
            types.insert((*kind).to_owned(), caps);
        }
        fields.insert(field.name, Value::Object(types));
    }
    Ok(json!({ "indices": indices, "fields": fields }))
}

/// Answers `_mapping`: the fields as a tree, for each index.
///
/// # Errors
/// When a name is not there.
pub fn mapping(index: &Index, names: &IndexNames<'_>) -> Result<Value, Refusal> {
    let properties = properties(&index.fields());
    let mappings = json!({ "mappings": { "properties": properties } });
    let partitions = partitions(names, index)?;
    Ok(partitions.iter().map(|id| (id.to_string(), mappings.clone())).collect::<Map<_, _>>().into())
}

fn properties(fields: &[FieldInfo]) -> Value {
    let mut root = Map::new();
    for field in fields {
        let mut node = &mut root;
        let mut names = field.name.split('.').peekable();
        while let Some(name) = names.next() {
            let Value::Object(own) = node.entry(name).or_insert_with(|| json!({})) else { break };
            if names.peek().is_none() {
                // A field with several types is told with the first; `_field_caps` has all.
                let kind = field.types.first().copied().unwrap_or("keyword");
                own.insert("type".into(), kind.into());
                break;
            }
            let Value::Object(inner) = own.entry("properties").or_insert_with(|| json!({})) else {
                break;
            };
            node = inner;
        }
    }
    Value::Object(root)
}

fn too_large(explored: &Explored) -> Result<(), Refusal> {
    match explored.partial.iter().find_map(|partial| match partial {
        Partial::Groups(max) => Some(*max),
        _ => None,
    }) {
        Some(max) => Err(Refusal::too_large(format!(
            "the aggregations would keep more than {max} buckets and values; narrow the query, or ask for fewer percentiles, cardinalities and levels"
        ))),
        None => Ok(()),
    }
}

fn timed_out(explored: &Explored) -> bool {
    explored.partial.iter().any(|partial| matches!(partial, Partial::Timeout(_)))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Partitions that could not be read are failed shards.
fn shards(explored: &Explored) -> Value {
    let failures: Vec<Value> = explored
        .partial
        .iter()
        .filter_map(|partial| match partial {
            Partial::Partition { partition, reason } => Some(json!({
                "shard": 0,
                "index": partition,
                "reason": { "type": "corrupt_index_exception", "reason": reason },
            })),
            _ => None,
        })
        .collect();
    let total = explored.segments.max(failures.len());
    let mut out = json!({
        "total": total,
        "successful": total - failures.len(),
        "skipped": 0,
        "failed": failures.len(),
    });
    if !failures.is_empty()
        && let Value::Object(map) = &mut out
    {
        map.insert("failures".into(), failures.into());
    }
    out
}
