//! Answers from the cluster.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use event::{Event, Timestamp};
use indexing::{
    Answer, Facet, FacetValue, FieldInfo, Histogram, Hit, IndexError, Kinds, Limits, Partial,
    Results, Search, SearchRequest,
};
use query::{Cell, Filter, Pipe, Rows, Stats, Table};
use serde_json::{Map, Value, json};

use crate::client::{Client, ClusterError};
use crate::fields::{Fields, Kind};
use crate::groups::{self, DISTINCT_EXACT_MAX, Grouping};
use crate::settings::{Settings, fault_of};
use crate::template::template;
use crate::translate::{Condition, translate};

/// How many events are read at once; clusters refuse more than 10,000.
const PAGE: usize = 1000;

/// How long what the cluster said of its fields is believed: a pattern of names does not see newer ones.
const FIELDS_KEPT: Duration = Duration::from_secs(30);

/// The same, if a search names a field that is not among them, or they are what is asked for.
const FIELDS_KEPT_IF_ASKED: Duration = Duration::from_secs(1);

/// How long a call may take that is no search.
const CALL_MAX: Duration = Duration::from_secs(30);

/// How much longer than a search may take its answer is waited for: the cluster ends it by itself.
const GRACE: Duration = Duration::from_secs(2);

/// A cluster that has events and alerts. Clones share its connections.
#[derive(Clone)]
pub struct Cluster {
    pub(crate) client: Client,
    pub(crate) settings: Settings,
    fields: Arc<Mutex<Known>>,
}

/// What the cluster said of the fields of some indices, and when.
type Known = std::collections::HashMap<String, (Instant, Fields)>;

impl Cluster {
    /// A cluster; it is not asked anything yet.
    ///
    /// # Errors
    /// When a setting is wrong, or a file that it names cannot be read.
    pub fn new(settings: Settings) -> Result<Cluster, ClusterError> {
        for (setting, pattern) in [("events", &settings.events), ("alerts", &settings.alerts)] {
            if let Some(problem) = fault_of(pattern) {
                return Err(ClusterError::Setting { setting, problem: problem.to_owned() });
            }
        }
        Ok(Cluster { client: Client::new(&settings)?, settings, fields: Arc::default() })
    }

    /// Tells the cluster how our indices are to be mapped. Those that are there already stay as they are.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    pub fn put_template(&self) -> Result<(), ClusterError> {
        let template = template(&[&self.settings.events, &self.settings.alerts]);
        // Named as the indices are: other installations may write into the same cluster.
        let name: String = self.settings.events.split('*').collect();
        let name = name.trim_end_matches(['-', '.']);
        self.client.put(&format!("_index_template/{name}"), &template, CALL_MAX)?;
        Ok(())
    }

    fn indices(&self, kinds: Kinds) -> String {
        let Settings { events, alerts, .. } = &self.settings;
        match kinds {
            Kinds::Events => events.clone(),
            Kinds::Alerts => alerts.clone(),
            Kinds::Both => format!("{events},{alerts}"),
        }
    }

    /// The fields of indices as they were not longer ago than this.
    fn known_fields(&self, indices: &str, kept: Duration) -> Result<Fields, ClusterError> {
        let known = || self.fields.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((asked, fields)) = known().get(indices)
            && asked.elapsed() < kept
        {
            return Ok(fields.anew());
        }
        let path =
            format!("{indices}/_field_caps?fields=*&ignore_unavailable=true&allow_no_indices=true");
        let fields = Fields::read(&self.client.get(&path, CALL_MAX)?);
        known().insert(indices.to_owned(), (Instant::now(), fields.anew()));
        Ok(fields)
    }

    /// Searches that begin after this see fields that the cluster has got since.
    pub fn forget_fields(&self) {
        self.fields.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Search for Cluster {
    fn search(&self, request: &SearchRequest<'_>) -> Results {
        let started = Instant::now();
        let mut asking = Asking::new(self, request, started);
        let answer = asking.answer();
        let mut partial = std::mem::take(&mut asking.partial);
        let found = answer.unwrap_or_else(|error| {
            partial.push(Partial::Cluster(error.to_string()));
            Found::default()
        });
        partial.dedup();
        let mut answer = found.answer;
        if let Answer::Table(table) = &mut answer
            && table.rows.len() > request.limits.rows
        {
            table.rows.truncate(request.limits.rows);
            partial.push(Partial::Rows(request.limits.rows));
        }
        Results {
            answer,
            total: found.total,
            took: started.elapsed(),
            partial,
            histogram: found.histogram.filter(|histogram| !histogram.counts.is_empty()),
            facets: found.facets,
        }
    }

    fn get(&self, id: &str) -> Result<Option<Hit>, IndexError> {
        let body = json!({"query": {"term": {"event.id": id}}, "size": 1});
        let path = search_path(&self.indices(Kinds::Both));
        let answer = self.client.post(&path, &body, CALL_MAX);
        let answer = answer.map_err(|error| IndexError::Cluster(error.to_string()))?;
        Ok(hits_of(&answer).first().map(hit))
    }

    fn fields(&self) -> Result<Vec<FieldInfo>, IndexError> {
        let fields = self.known_fields(&self.indices(Kinds::Both), FIELDS_KEPT_IF_ASKED);
        Ok(fields.map_err(|error| IndexError::Cluster(error.to_string()))?.infos())
    }
}

fn search_path(indices: &str) -> String {
    format!("{indices}/_search?ignore_unavailable=true&allow_no_indices=true")
}

/// A field's numbers, out of an answer.
fn facet(field: &str, kind: Option<Kind>, n: usize, counts: &Value) -> Facet {
    let count = |pointer: &str| counts.pointer(pointer).and_then(Value::as_u64);
    // What no event has is not asked for.
    let distinct = match kind {
        None => Some(0),
        Some(_) => count(&format!("/aggregations/distinct{n}/value")),
    };
    let kind = kind.unwrap_or(Kind::Other);
    let buckets = counts.pointer(&format!("/aggregations/facet{n}/buckets"));
    let value = |bucket: &Value| FacetValue {
        value: bucket.get("key").map_or(Cell::Null, |key| groups::cell(key, kind)),
        count: bucket.get("doc_count").and_then(Value::as_u64).unwrap_or_default(),
    };
    Facet {
        field: field.to_owned(),
        events: count(&format!("/aggregations/has{n}/doc_count")).unwrap_or_default(),
        distinct,
        whole: distinct.is_none_or(|distinct| distinct <= DISTINCT_EXACT_MAX),
        values: buckets.and_then(Value::as_array).into_iter().flatten().map(value).collect(),
    }
}

/// What was found so far.
struct Found {
    answer: Answer,
    total: u64,
    histogram: Option<Histogram>,
    facets: Vec<Facet>,
}

impl Default for Found {
    fn default() -> Self {
        Found { answer: Answer::Hits(Vec::new()), total: 0, histogram: None, facets: Vec::new() }
    }
}

/// One request on its way.
struct Asking<'r> {
    cluster: &'r Cluster,
    request: &'r SearchRequest<'r>,
    limits: &'r Limits,
    filter: Filter,
    /// The pipes after conditions that are a part of the filter.
    pipes: &'r [Pipe],
    indices: String,
    deadline: Instant,
    partial: Vec<Partial>,
}

impl<'r> Asking<'r> {
    fn new(cluster: &'r Cluster, request: &'r SearchRequest<'r>, started: Instant) -> Self {
        let mut filters = vec![request.query.filter.clone()];
        filters.extend(request.only.cloned());
        let mut pipes = request.query.pipes.as_slice();
        while let Some((Pipe::Where(filter), rest)) = pipes.split_first() {
            filters.push(filter.clone());
            pipes = rest;
        }
        if let Some(Pipe::Sequence(sequence)) = pipes.first() {
            filters.push(sequence.candidates());
        }
        Asking {
            cluster,
            request,
            limits: &request.limits,
            filter: Filter::and(filters),
            pipes,
            indices: cluster.indices(request.kinds),
            deadline: started + request.limits.time,
            partial: Vec::new(),
        }
    }

    fn answer(&mut self) -> Result<Found, ClusterError> {
        let fields = self.cluster.known_fields(&self.indices, FIELDS_KEPT)?;
        let found = self.answer_by(&fields)?;
        if !fields.missed() {
            return Ok(found);
        }
        // Events may have got it since.
        let newer = self.cluster.known_fields(&self.indices, FIELDS_KEPT_IF_ASKED)?;
        if newer.is_as_old(&fields) {
            return Ok(found);
        }
        self.partial.clear();
        self.answer_by(&newer)
    }

    fn answer_by(&mut self, fields: &Fields) -> Result<Found, ClusterError> {
        let condition = translate(&self.filter, fields);
        match condition.is_exact {
            true => self.counted_there(&condition, fields),
            false => self.counted_here(&condition),
        }
    }

    /// The cluster's own counts are right.
    fn counted_there(
        &mut self,
        condition: &Condition,
        fields: &Fields,
    ) -> Result<Found, ClusterError> {
        let query = self.query(condition);
        let mut aggregations = Map::new();
        let histogram = self.histogram(&query)?;
        if let Some(histogram) = &histogram {
            let step = histogram.step_nanos / 1_000_000;
            aggregations.insert("histogram".to_owned(), json!({"date_histogram": {
                "field": "@timestamp", "fixed_interval": format!("{step}ms"), "min_doc_count": 1,
            }}));
        }
        for (n, field) in self.request.facets.iter().enumerate() {
            aggregations.insert(format!("has{n}"), json!({"filter": {"exists": {"field": field}}}));
            let counts = Stats { aggregates: Vec::new(), by: vec![(*field).to_owned()] };
            if Grouping::new(&Pipe::Head(0), &counts, fields).is_some() {
                aggregations.insert(
                    format!("facet{n}"),
                    json!({"terms": {
                        "field": field, "size": self.request.facet_values.max(1),
                    }}),
                );
                aggregations.insert(
                    format!("distinct{n}"),
                    json!({"cardinality": {
                        "field": field, "precision_threshold": DISTINCT_EXACT_MAX,
                    }}),
                );
            }
        }
        let mut body = json!({"query": query, "size": 0, "track_total_hits": true});
        if !aggregations.is_empty() {
            body["aggs"] = aggregations.into();
        }
        let counts = self.ask(&body)?;
        let mut found = Found { total: total(&counts), ..Found::default() };
        found.histogram = histogram.map(|histogram| filled(histogram, &counts));
        for (n, field) in self.request.facets.iter().enumerate() {
            found.facets.push(facet(field, fields.kind(field), n, &counts));
        }
        let grouped =
            self.pipes.split_first().and_then(|(pipe, rest)| Some((pipe, pipe.grouping()?, rest)));
        if let Some((pipe, stats, rest)) = &grouped
            && let Some(grouping) = Grouping::new(pipe, stats, fields)
        {
            let table = pipe.finish(self.groups(&query, &grouping)?);
            let mut exceeded = Vec::new();
            found.answer = Answer::Table(query::run_table(rest, table, &mut exceeded));
            self.partial.extend(exceeded.into_iter().map(Partial::Pipes));
            return Ok(found);
        }
        let wanted = self.wanted();
        let mut hits = Vec::new();
        if wanted > 0 {
            self.walk(&query, wanted, &mut |hit| hits.push(hit))?;
        }
        if found.total > hits.len() as u64 && self.needs_all(hits.len()) {
            self.partial.push(Partial::Documents(self.limits.documents));
        }
        found.answer = self.piped(hits);
        Ok(found)
    }

    /// The cluster found what may pass: whole events are read, and everything is counted here.
    fn counted_here(&mut self, condition: &Condition) -> Result<Found, ClusterError> {
        let query = self.query(condition);
        let (filter, mut hits, mut read) = (self.filter.clone(), Vec::new(), 0);
        let most = self.limits.documents;
        let is_all = self.walk(&query, most, &mut |hit| {
            read += 1;
            if query::matches(&filter, &hit.event()) {
                hits.push(hit);
            }
        })?;
        if !is_all {
            self.partial.push(Partial::Documents(most));
        }
        let mut found = Found { total: hits.len() as u64, ..Found::default() };
        let times = || hits.iter().map(|hit| hit.time);
        if let (Some(buckets), Some(first), Some(last)) =
            (self.request.histogram, times().min(), times().max())
        {
            let mut histogram = Histogram::between(self.request.range, first, last, buckets);
            times().for_each(|time| histogram.add(time, 1));
            found.histogram = Some(histogram);
        }
        let events: Vec<Event> = match self.request.facets.is_empty() {
            true => Vec::new(),
            false => hits.iter().map(Hit::event).collect(),
        };
        for field in self.request.facets {
            let top = Pipe::Top {
                count: usize::MAX,
                fields: vec![(*field).to_owned()],
                by: Vec::new(),
                rare: false,
            };
            let has = Filter::exists(field);
            let having = events.iter().filter(|event| query::matches(&has, event)).count();
            let mut facet = Facet {
                field: (*field).to_owned(),
                events: having as u64,
                distinct: None,
                whole: true,
                values: Vec::new(),
            };
            // As the index does: of a text, values are not counted.
            if !query::is_text(field)
                && let Rows::Table(table) = query::run(&[top], events.clone(), &mut Vec::new())
            {
                facet.distinct = Some(table.rows.len() as u64);
                let rows = table.rows.into_iter().take(self.request.facet_values);
                facet.values = rows
                    .filter_map(|row| match row.as_slice() {
                        [value, Cell::Int(count)] => Some(FacetValue {
                            value: value.clone(),
                            count: u64::try_from(*count).ok()?,
                        }),
                        _ => None,
                    })
                    .collect();
            }
            found.facets.push(facet);
        }
        if self.pipes.is_empty() {
            hits.truncate(self.limits.hits);
        }
        found.answer = self.piped(hits);
        Ok(found)
    }

    /// The pipes over hits that stand in the order in which they are shown.
    fn piped(&mut self, hits: Vec<Hit>) -> Answer {
        if self.pipes.is_empty() {
            return Answer::Hits(hits);
        }
        let events = hits.iter().map(Hit::event).collect();
        let mut exceeded = Vec::new();
        let rows = query::run(self.pipes, events, &mut exceeded);
        self.partial.extend(exceeded.into_iter().map(Partial::Pipes));
        match rows {
            Rows::Table(table) => Answer::Table(table),
            Rows::Events(mut events) => {
                events.truncate(self.limits.hits);
                let hit = |event: Event| Hit {
                    time: event.timestamp().unwrap_or(Timestamp::EPOCH),
                    json: event.to_json(),
                };
                Answer::Hits(events.into_iter().map(hit).collect())
            }
        }
    }

    /// How many of the newest events are read whole.
    fn wanted(&self) -> usize {
        for pipe in self.pipes {
            match pipe {
                Pipe::Fields(_) => {}
                Pipe::Head(count) => return (*count).min(self.limits.documents),
                _ => return self.limits.documents,
            }
        }
        let most = if self.pipes.is_empty() { self.limits.hits } else { self.limits.rows };
        most.min(self.limits.documents)
    }

    /// Whether pipes would need more events than were read.
    fn needs_all(&self, read: usize) -> bool {
        let pipe = self.pipes.iter().find(|pipe| !matches!(pipe, Pipe::Fields(_)));
        match pipe {
            None => false,
            Some(Pipe::Head(count)) => *count > read,
            Some(_) => true,
        }
    }

    /// The condition, and the range of time.
    fn query(&self, condition: &Condition) -> Value {
        let mut filters = vec![condition.query.clone()];
        let range = self.request.range;
        let mut ends = Map::new();
        if let Some(since) = range.since {
            ends.insert("gte".to_owned(), since.to_string().into());
        }
        if let Some(until) = range.until {
            ends.insert("lt".to_owned(), until.to_string().into());
        }
        if !ends.is_empty() {
            ends.insert("format".to_owned(), "strict_date_optional_time_nanos".into());
            filters.push(json!({"range": {"@timestamp": ends}}));
        }
        json!({"bool": {"filter": filters}})
    }

    /// The buckets of the histogram, still empty.
    fn histogram(&mut self, query: &Value) -> Result<Option<Histogram>, ClusterError> {
        let Some(buckets) = self.request.histogram else { return Ok(None) };
        let ends = self.ask(&json!({"query": query, "size": 0, "aggs": {
            "first": {"min": {"field": "@timestamp"}}, "last": {"max": {"field": "@timestamp"}},
        }}))?;
        let at = |name: &str| {
            let value = ends.pointer(&format!("/aggregations/{name}/value"))?.as_f64()?;
            Some(Timestamp::from_millis(value as i64))
        };
        let (Some(first), Some(last)) = (at("first"), at("last")) else { return Ok(None) };
        // The cluster rounds to the millisecond before.
        let last = last.plus_nanos(999_999);
        Ok(Some(Histogram::between(self.request.range, first, last, buckets)))
    }

    fn groups(&mut self, query: &Value, grouping: &Grouping<'_>) -> Result<Table, ClusterError> {
        let mut rows = Vec::new();
        let mut after = None;
        loop {
            let body = json!({
                "query": query, "size": 0, "track_total_hits": true,
                "aggs": grouping.request(after.as_ref()),
            });
            let answer = self.ask(&body)?;
            after = grouping.rows(&answer, &mut rows);
            if after.is_none() {
                break;
            }
            if rows.len() >= self.limits.groups {
                rows.truncate(self.limits.groups);
                self.partial.push(Partial::Groups(self.limits.groups));
                break;
            }
        }
        if grouping.is_approximate(&rows) {
            let most = groups::DISTINCT_EXACT_MAX;
            self.partial
                .push(Partial::Cluster(format!("distinct counts above {most} are approximate")));
        }
        Ok(grouping.table(rows))
    }

    /// Reads events, the newest first, up to so many. Whether these were all.
    fn walk(
        &mut self,
        query: &Value,
        most: usize,
        each: &mut dyn FnMut(Hit),
    ) -> Result<bool, ClusterError> {
        let mut left = most;
        let mut after: Option<Value> = None;
        loop {
            let size = left.min(PAGE);
            if size == 0 {
                return Ok(false);
            }
            let mut body = json!({
                "query": query,
                "size": size,
                "track_total_hits": false,
                "sort": [
                    {"@timestamp": {
                        "order": "desc",
                        "numeric_type": "date_nanos",
                        "unmapped_type": "date_nanos",
                    }},
                    {"event.id": {"order": "desc", "unmapped_type": "keyword"}},
                ],
            });
            if let Some(after) = &after {
                body["search_after"] = after.clone();
            }
            let answer = self.ask(&body)?;
            let hits = hits_of(&answer);
            hits.iter().for_each(|found| each(hit(found)));
            left -= hits.len().min(left);
            if hits.len() < size {
                return Ok(true);
            }
            after = hits.last().and_then(|hit| hit.get("sort")).cloned();
        }
    }

    /// Asks within the time that is left, and notes what the cluster left out.
    fn ask(&mut self, body: &Value) -> Result<Value, ClusterError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let timeout = Partial::Timeout(self.limits.time);
        if left.is_zero() || self.limits.cancel.is_cancelled() {
            self.partial.push(timeout);
            return Ok(Value::Null);
        }
        let mut body = body.clone();
        body["timeout"] = format!("{}ms", left.as_millis().max(1)).into();
        let path = search_path(&self.indices);
        let answer = self.cluster.client.post(&path, &body, left + GRACE)?;
        if answer.get("timed_out") == Some(&Value::Bool(true)) {
            self.partial.push(timeout);
        }
        let failed = answer.pointer("/_shards/failed").and_then(Value::as_u64).unwrap_or_default();
        if failed > 0 {
            let why = answer.pointer("/_shards/failures/0/reason/reason").and_then(Value::as_str);
            let why = why.unwrap_or("it did not say why");
            self.partial.push(Partial::Cluster(format!("{failed} shards failed: {why}")));
        }
        Ok(answer)
    }
}

fn total(answer: &Value) -> u64 {
    answer.pointer("/hits/total/value").and_then(Value::as_u64).unwrap_or_default()
}

fn hits_of(answer: &Value) -> &[Value] {
    answer.pointer("/hits/hits").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn hit(found: &Value) -> Hit {
    let json = found.get("_source").map(Value::to_string).unwrap_or_default();
    let mut hit = Hit { time: Timestamp::EPOCH, json };
    hit.time = hit.event().timestamp().unwrap_or(Timestamp::EPOCH);
    hit
}

fn filled(mut histogram: Histogram, answer: &Value) -> Histogram {
    let buckets = answer.pointer("/aggregations/histogram/buckets").and_then(Value::as_array);
    for bucket in buckets.into_iter().flatten() {
        let start = bucket.get("key").and_then(Value::as_i64);
        let count = bucket.get("doc_count").and_then(Value::as_u64);
        if let (Some(start), Some(count)) = (start, count) {
            histogram.add(Timestamp::from_millis(start), count);
        }
    }
    histogram
}
