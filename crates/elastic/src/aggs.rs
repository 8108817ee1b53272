//! Aggregations: from JSON to what the index counts, and how its answer is written.

use event::Timestamp;
use indexing::{
    Aggregation, AggregationKind, BucketOrder, CalendarUnit, DateStep, Measure, OrderBy,
};
use jiff::tz::TimeZone;
use query::{Cell, Filter};
use serde_json::{Map, Value};

use crate::body::SourceFilter;
use crate::dsl::{self, field_name, is_date};
use crate::error::Refusal;
use crate::json::{count, known, list, number, object, only, scalar, text, truth};
use crate::{dates, json};

/// The most aggregations of one request.
const AGGREGATIONS_MAX: usize = 100;

/// How deep they may nest.
const DEPTH_MAX: usize = 8;

/// The most documents of `top_hits`; Elasticsearch's own bound.
const TOP_HITS_MAX: usize = 100;

/// The most buckets of one `terms`.
const TERMS_MAX: usize = 10_000;

/// One aggregation as it is written in the answer.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) name: String,
    pub(crate) kind: ShownKind,
    pub(crate) inner: Vec<Shown>,
    pub(crate) meta: Option<Value>,
}

/// The form of an answer.
#[derive(Debug, Clone)]
pub(crate) enum ShownKind {
    Terms,
    Dates {
        step: DateStep,
        count_min: u64,
        /// Between these, empty buckets are shown too.
        bounds: Option<(Timestamp, Timestamp)>,
        format: Option<String>,
        zone: TimeZone,
        keyed: bool,
    },
    Steps {
        interval: f64,
        count_min: u64,
        bounds: Option<(f64, f64)>,
        keyed: bool,
    },
    /// One bucket without a key.
    One,
    /// By name, or in their order.
    Filters(Option<Vec<String>>),
    Ranges {
        ranges: Vec<RangeShown>,
        keyed: bool,
    },
    Number(Measure),
    Stats {
        extended: bool,
        sigma: f64,
    },
    Value,
    Percentiles {
        percents: Vec<f64>,
        keyed: bool,
    },
    Top(SourceFilter),
}

/// A bucket of `range` and `date_range`.
#[derive(Debug, Clone)]
pub(crate) struct RangeShown {
    pub(crate) key: String,
    pub(crate) from: Option<f64>,
    pub(crate) to: Option<f64>,
    pub(crate) texts: Option<(Option<String>, Option<String>)>,
}

/// Reads the aggregations of a body.
pub(crate) fn read(
    path: &str,
    value: &Value,
    now: Timestamp,
) -> Result<(Vec<Aggregation>, Vec<Shown>), Refusal> {
    Reader { now, left: AGGREGATIONS_MAX }.all(path, value, 0)
}

struct Reader {
    now: Timestamp,
    left: usize,
}

/// The names of an aggregation's parts beside its type.
const PARTS: [&str; 3] = ["aggs", "aggregations", "meta"];

impl Reader {
    fn all(
        &mut self,
        path: &str,
        value: &Value,
        depth: usize,
    ) -> Result<(Vec<Aggregation>, Vec<Shown>), Refusal> {
        if depth > DEPTH_MAX {
            return Err(Refusal::parsing(path, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        let mut aggregations = Vec::new();
        let mut shown = Vec::new();
        for (name, body) in object(path, value)? {
            self.left = self.left.checked_sub(1).ok_or_else(|| {
                Refusal::parsing(path, format!("more than {AGGREGATIONS_MAX} aggregations"))
            })?;
            let path = format!("{path}.{name}");
            let map = object(&path, body)?;
            let types: Vec<&String> =
                map.keys().filter(|key| !PARTS.contains(&key.as_str())).collect();
            let [kind] = types.as_slice() else {
                return Err(Refusal::parsing(&path, "one type of aggregation is expected here"));
            };
            let inner = match (map.get("aggs"), map.get("aggregations")) {
                (Some(inner), _) | (None, Some(inner)) => {
                    self.all(&format!("{path}.aggs"), inner, depth + 1)?
                }
                (None, None) => (Vec::new(), Vec::new()),
            };
            let body = map.get(kind.as_str()).unwrap_or(&Value::Null);
            let (own, shown_kind) = self.one(&format!("{path}.{kind}"), kind, body, &inner.1)?;
            let is_measure = !matches!(
                own,
                AggregationKind::Terms { .. }
                    | AggregationKind::Dates { .. }
                    | AggregationKind::Steps { .. }
                    | AggregationKind::Filters(_)
            );
            if is_measure && !inner.0.is_empty() {
                let reason = format!("[{kind}] makes no buckets, so nothing can be asked of them");
                return Err(Refusal::parsing(&path, reason));
            }
            aggregations.push(Aggregation { name: name.clone(), kind: own, inner: inner.0 });
            let meta = map.get("meta").cloned();
            shown.push(Shown { name: name.clone(), kind: shown_kind, inner: inner.1, meta });
        }
        Ok((aggregations, shown))
    }

    fn one(
        &self,
        path: &str,
        kind: &str,
        body: &Value,
        inner: &[Shown],
    ) -> Result<(AggregationKind, ShownKind), Refusal> {
        match kind {
            "terms" => self.terms(path, body, inner),
            "date_histogram" => self.dates(path, body),
            "histogram" => self.steps(path, body),
            "filter" => {
                let filter = dsl::filter(body, self.now)?;
                Ok((AggregationKind::Filters(vec![filter]), ShownKind::One))
            }
            "missing" => {
                let map = object(path, body)?;
                known(path, map, &["field"], &[])?;
                let field = self.field(path, map)?;
                let filter = dsl::test(&field, query::Test::Exists).negated();
                Ok((AggregationKind::Filters(vec![filter]), ShownKind::One))
            }
            "filters" => self.filters(path, body),
            "range" | "date_range" => self.ranges(path, body, kind == "date_range"),
            "avg" => self.number(path, body, Measure::Avg),
            "sum" => self.number(path, body, Measure::Sum),
            "min" => self.number(path, body, Measure::Min),
            "max" => self.number(path, body, Measure::Max),
            "stats" | "extended_stats" => {
                let map = object(path, body)?;
                known(path, map, &["field", "sigma"], &["format"])?;
                let sigma = map.get("sigma").map_or(Ok(2.0), |value| number(path, value))?;
                let extended = kind == "extended_stats";
                Ok((
                    AggregationKind::Numbers(self.column(path, map)?),
                    ShownKind::Stats { extended, sigma },
                ))
            }
            "value_count" => {
                let map = object(path, body)?;
                known(path, map, &["field"], &["format"])?;
                Ok((AggregationKind::Count(self.column(path, map)?), ShownKind::Value))
            }
            "cardinality" => {
                let map = object(path, body)?;
                // It is counted exactly, so that no precision need be chosen.
                known(path, map, &["field"], &["precision_threshold", "rehash", "execution_hint"])?;
                Ok((AggregationKind::Distinct(self.column(path, map)?), ShownKind::Value))
            }
            "percentiles" => {
                let map = object(path, body)?;
                known(path, map, &["field", "percents", "keyed"], &["tdigest", "hdr", "format"])?;
                let percents = match map.get("percents") {
                    None => vec![1.0, 5.0, 25.0, 50.0, 75.0, 95.0, 99.0],
                    Some(value) => list(value)
                        .iter()
                        .map(|value| number(path, value))
                        .collect::<Result<_, _>>()?,
                };
                if percents.iter().any(|percent| !(0.0..=100.0).contains(percent)) {
                    return Err(Refusal::parsing(path, "percents are between 0 and 100"));
                }
                let keyed = map.get("keyed").map_or(Ok(true), |value| truth(path, value))?;
                Ok((
                    AggregationKind::Values(self.column(path, map)?),
                    ShownKind::Percentiles { percents, keyed },
                ))
            }
            "top_hits" => self.top(path, body),
            "nested" | "reverse_nested" => Err(Refusal::parsing(
                path,
                "objects in lists are flattened here, so that they have no members to count one by one",
            )),
            other => Err(Refusal::parsing(
                path,
                format!(
                    "[{other}] is not supported; there are terms, date_histogram, histogram, filter, filters, range, date_range, missing, avg, sum, min, max, stats, extended_stats, value_count, cardinality, percentiles and top_hits"
                ),
            )),
        }
    }

    fn field(&self, path: &str, map: &Map<String, Value>) -> Result<String, Refusal> {
        let field = map.get("field").ok_or_else(|| Refusal::parsing(path, "[field] is missing"))?;
        Ok(field_name(text(path, field)?).to_owned())
    }

    /// A field whose values are in columns.
    fn column(&self, path: &str, map: &Map<String, Value>) -> Result<String, Refusal> {
        let field = self.field(path, map)?;
        if query::is_text(&field) || query::is_unsearched(&field) {
            let reason = format!(
                "[{field}] is text, which is indexed by its words and can't be counted by its values"
            );
            return Err(Refusal::illegal(format!("[{path}] {reason}")));
        }
        Ok(field)
    }

    fn terms(
        &self,
        path: &str,
        body: &Value,
        inner: &[Shown],
    ) -> Result<(AggregationKind, ShownKind), Refusal> {
        let map = object(path, body)?;
        let read = &["field", "size", "order", "missing", "min_doc_count"];
        let harmless = &[
            "shard_size",
            "execution_hint",
            "collect_mode",
            "show_term_doc_count_error",
            "value_type",
            "shard_min_doc_count",
        ];
        known(path, map, read, harmless)?;
        let field = self.column(path, map)?;
        let missing = map.get("missing").map(|value| self.cell(path, &field, value)).transpose()?;
        let size = map.get("size").map_or(Ok(10), |value| count(path, value))?;
        if size == 0 || size > TERMS_MAX {
            let reason = format!("[size] is between 1 and {TERMS_MAX}");
            return Err(Refusal::parsing(path, reason));
        }
        // Zero would want the values of events that do not match, which Grafana asks for by habit
        // and shows as gaps; they are not in the answer here.
        let count_min = map.get("min_doc_count").map_or(Ok(1), |value| count(path, value))?;
        let mut order = Vec::new();
        for value in map.get("order").map(list).unwrap_or_default() {
            let (by, direction) = only(path, value)?;
            let descending = match text(path, direction)? {
                "asc" => false,
                "desc" => true,
                other => return Err(Refusal::parsing(path, format!("[{other}] is no order"))),
            };
            order.push(BucketOrder { by: order_by(path, by, inner)?, descending });
        }
        if order.is_empty() {
            order.push(BucketOrder { by: OrderBy::Count, descending: true });
        }
        let count_min = (count_min as u64).max(1);
        Ok((AggregationKind::Terms { field, missing, order, size, count_min }, ShownKind::Terms))
    }

    /// A value as the index has it.
    fn cell(&self, path: &str, field: &str, value: &Value) -> Result<Cell, Refusal> {
        if is_date(field)
            && let Some((time, _)) =
                dates::read(&scalar(path, value)?, self.now, None, &TimeZone::UTC)
        {
            return Ok(Cell::Time(time));
        }
        Ok(match value {
            Value::Number(number) => Cell::number(number.as_f64().unwrap_or_default()),
            Value::Bool(value) => Cell::Bool(*value),
            other => Cell::Text(scalar(path, other)?),
        })
    }

    fn dates(&self, path: &str, body: &Value) -> Result<(AggregationKind, ShownKind), Refusal> {
        let map = object(path, body)?;
        let read = &[
            "field",
            "fixed_interval",
            "calendar_interval",
            "interval",
            "time_zone",
            "offset",
            "min_doc_count",
            "extended_bounds",
            "format",
            "keyed",
            "order",
        ];
        known(path, map, read, &[])?;
        if let Some(order) = map.get("order")
            && *order != serde_json::json!({ "_key": "asc" })
        {
            return Err(Refusal::parsing(path, "[order] is {\"_key\": \"asc\"} here"));
        }
        let field = self.column(path, map)?;
        if !is_date(&field) {
            return Err(Refusal::illegal(format!("[{path}] [{field}] has no times")));
        }
        let zone = zone_of(path, map)?;
        let offset = match map.get("offset") {
            None => 0,
            Some(value) => {
                let text = scalar(path, value)?;
                let (sign, length) = match text.strip_prefix('-') {
                    Some(rest) => (-1, rest),
                    None => (1, text.strip_prefix('+').unwrap_or(&text)),
                };
                let zero = length.starts_with('0');
                let nanos = if zero { Some(0) } else { query::parse_duration(length) };
                sign * nanos.ok_or_else(|| bad_interval(path, &text))?
            }
        };
        let given = ["fixed_interval", "calendar_interval", "interval"]
            .into_iter()
            .find_map(|name| map.get(name).map(|value| (name, value)));
        let Some((name, value)) = given else {
            return Err(Refusal::parsing(
                path,
                "[fixed_interval] or [calendar_interval] is missing",
            ));
        };
        let interval = scalar(path, value)?;
        let calendar = if name == "fixed_interval" { None } else { calendar(&interval) };
        let step = match calendar {
            Some(unit) if offset == 0 => DateStep::Calendar(unit, zone.clone()),
            Some(_) => {
                return Err(Refusal::parsing(path, "[offset] goes with [fixed_interval] only"));
            }
            None => {
                let named = match interval.as_str() {
                    "second" => "1s",
                    "minute" => "1m",
                    "hour" => "1h",
                    other => other,
                };
                if name == "calendar_interval" && !matches!(named, "1s" | "1m" | "1h") {
                    return Err(bad_interval(path, &interval));
                }
                let nanos =
                    query::parse_duration(named).ok_or_else(|| bad_interval(path, &interval))?;
                DateStep::Fixed { nanos, offset_nanos: offset, zone: zone.clone() }
            }
        };
        let format = map.get("format").map(|value| text(path, value)).transpose()?;
        if dates::write(self.now, format, &zone).is_none() {
            let reason = format!("[format] [{}] is not supported", format.unwrap_or_default());
            return Err(Refusal::parsing(path, reason));
        }
        let bounds = match map.get("extended_bounds") {
            None => None,
            Some(value) => {
                let path = format!("{path}.extended_bounds");
                let bounds = object(&path, value)?;
                known(&path, bounds, &["min", "max"], &[])?;
                let end = |name: &str| -> Result<Option<Timestamp>, Refusal> {
                    let Some(value) = bounds.get(name) else { return Ok(None) };
                    let text = scalar(&path, value)?;
                    let (time, _) = dates::read(&text, self.now, format, &zone)
                        .ok_or_else(|| Refusal::parsing(&path, format!("[{text}] is no time")))?;
                    Ok(Some(time))
                };
                end("min")?.zip(end("max")?)
            }
        };
        let count_min = map.get("min_doc_count").map_or(Ok(0), |value| count(path, value))?;
        let keyed = map.get("keyed").map_or(Ok(false), |value| truth(path, value))?;
        let shown = ShownKind::Dates {
            step: step.clone(),
            count_min: count_min as u64,
            bounds,
            format: format.map(str::to_owned),
            zone,
            keyed,
        };
        Ok((AggregationKind::Dates { field, step }, shown))
    }

    fn steps(&self, path: &str, body: &Value) -> Result<(AggregationKind, ShownKind), Refusal> {
        let map = object(path, body)?;
        let read = &["field", "interval", "offset", "min_doc_count", "extended_bounds", "keyed"];
        known(path, map, read, &[])?;
        let field = self.column(path, map)?;
        let value =
            map.get("interval").ok_or_else(|| Refusal::parsing(path, "[interval] is missing"))?;
        let interval = number(path, value)?;
        if interval <= 0.0 {
            return Err(Refusal::parsing(path, "[interval] is more than zero"));
        }
        let offset = map.get("offset").map_or(Ok(0.0), |value| number(path, value))?;
        let bounds = match map.get("extended_bounds") {
            None => None,
            Some(value) => {
                let bounds = object(path, value)?;
                match (bounds.get("min"), bounds.get("max")) {
                    (Some(min), Some(max)) => Some((number(path, min)?, number(path, max)?)),
                    _ => None,
                }
            }
        };
        let count_min = map.get("min_doc_count").map_or(Ok(0), |value| count(path, value))? as u64;
        let keyed = map.get("keyed").map_or(Ok(false), |value| truth(path, value))?;
        Ok((
            AggregationKind::Steps { field, interval, offset },
            ShownKind::Steps { interval, count_min, bounds, keyed },
        ))
    }

    fn filters(&self, path: &str, body: &Value) -> Result<(AggregationKind, ShownKind), Refusal> {
        let map = object(path, body)?;
        known(path, map, &["filters"], &[])?;
        let filters =
            map.get("filters").ok_or_else(|| Refusal::parsing(path, "[filters] is missing"))?;
        let mut names = Vec::new();
        let read: Vec<Filter> = match filters {
            Value::Object(map) => map
                .iter()
                .map(|(name, filter)| {
                    names.push(name.clone());
                    dsl::filter(filter, self.now)
                })
                .collect::<Result<_, _>>()?,
            other => list(other)
                .iter()
                .map(|filter| dsl::filter(filter, self.now))
                .collect::<Result<_, _>>()?,
        };
        let names = filters.is_object().then_some(names);
        Ok((AggregationKind::Filters(read), ShownKind::Filters(names)))
    }

    fn ranges(
        &self,
        path: &str,
        body: &Value,
        dates: bool,
    ) -> Result<(AggregationKind, ShownKind), Refusal> {
        let map = object(path, body)?;
        known(path, map, &["field", "ranges", "keyed", "format", "time_zone"], &[])?;
        let field = self.column(path, map)?;
        let zone = zone_of(path, map)?;
        let format = map.get("format").map(|value| text(path, value)).transpose()?;
        let ranges =
            map.get("ranges").ok_or_else(|| Refusal::parsing(path, "[ranges] is missing"))?;
        let (mut filters, mut shown) = (Vec::new(), Vec::new());
        for (n, range) in list(ranges).iter().enumerate() {
            let path = format!("{path}.ranges[{n}]");
            let range = object(&path, range)?;
            known(&path, range, &["from", "to", "key"], &[])?;
            let end = |name: &str| range.get(name).map(|value| scalar(&path, value)).transpose();
            let ends =
                dsl::Ends { gte: end("from")?, lt: end("to")?, format, ..Default::default() };
            filters.push(dsl::range(&path, &field, &ends, self.now)?);
            let shown_end =
                |text: &Option<String>| -> Result<(Option<f64>, Option<String>), Refusal> {
                    let Some(text) = text else { return Ok((None, None)) };
                    if !dates {
                        let number = json::number(&path, &Value::from(text.as_str()))?;
                        return Ok((Some(number), None));
                    }
                    let time = dates::read(text, self.now, format, &zone).map(|(time, _)| time);
                    let time = time
                        .ok_or_else(|| Refusal::parsing(&path, format!("[{text}] is no time")))?;
                    let text = dates::write(time, format, &zone)
                        .ok_or_else(|| Refusal::parsing(&path, "[format] is not supported"))?;
                    Ok((Some(time.as_millis() as f64), Some(text)))
                };
            let (from, from_text) = shown_end(&ends.gte)?;
            let (to, to_text) = shown_end(&ends.lt)?;
            let name = |number: Option<f64>, text: &Option<String>| match (number, text) {
                (_, Some(text)) => text.clone(),
                (Some(number), None) => format!("{number:?}"),
                (None, None) => "*".to_owned(),
            };
            let key = match range.get("key") {
                Some(key) => text(&path, key)?.to_owned(),
                None => format!("{}-{}", name(from, &from_text), name(to, &to_text)),
            };
            let texts = dates.then_some((from_text, to_text));
            shown.push(RangeShown { key, from, to, texts });
        }
        let keyed = map.get("keyed").map_or(Ok(false), |value| truth(path, value))?;
        Ok((AggregationKind::Filters(filters), ShownKind::Ranges { ranges: shown, keyed }))
    }

    fn number(
        &self,
        path: &str,
        body: &Value,
        measure: Measure,
    ) -> Result<(AggregationKind, ShownKind), Refusal> {
        let map = object(path, body)?;
        known(path, map, &["field"], &["format"])?;
        Ok((AggregationKind::Numbers(self.column(path, map)?), ShownKind::Number(measure)))
    }

    fn top(&self, path: &str, body: &Value) -> Result<(AggregationKind, ShownKind), Refusal> {
        let map = object(path, body)?;
        known(path, map, &["size", "sort", "_source"], &["from", "version", "highlight"])?;
        let size = map.get("size").map_or(Ok(3), |value| count(path, value))?;
        if size > TOP_HITS_MAX {
            return Err(Refusal::parsing(path, format!("[size] is at most {TOP_HITS_MAX}")));
        }
        let orders = crate::body::sort(path, map.get("sort"))?;
        let oldest = match orders.as_slice() {
            [] => false,
            [first, ..] if first.order.field == "@timestamp" => !first.order.descending,
            _ => return Err(Refusal::parsing(path, "[sort] is by @timestamp here")),
        };
        let source = SourceFilter::read(&format!("{path}._source"), map.get("_source"))?;
        Ok((AggregationKind::Top { size, oldest }, ShownKind::Top(source)))
    }
}

fn zone_of(path: &str, map: &Map<String, Value>) -> Result<TimeZone, Refusal> {
    let Some(value) = map.get("time_zone") else { return Ok(TimeZone::UTC) };
    let name = text(path, value)?;
    dates::zone(name)
        .ok_or_else(|| Refusal::parsing(path, format!("there is no time zone [{name}]")))
}

fn bad_interval(path: &str, text: &str) -> Refusal {
    Refusal::parsing(
        path,
        format!(
            "[{text}] is no interval; fixed ones are like 30s, 5m, 1h, 1d, calendar ones minute, hour, day, week, month, quarter, year"
        ),
    )
}

fn calendar(text: &str) -> Option<CalendarUnit> {
    Some(match text {
        "1d" | "day" => CalendarUnit::Day,
        "1w" | "week" => CalendarUnit::Week,
        "1M" | "month" => CalendarUnit::Month,
        "1q" | "quarter" => CalendarUnit::Quarter,
        "1y" | "year" => CalendarUnit::Year,
        _ => return None,
    })
}

/// By what buckets are ordered: `_count`, `_key`, `inner`, `inner.max`.
fn order_by(path: &str, by: &str, inner: &[Shown]) -> Result<OrderBy, Refusal> {
    match by {
        "_count" => return Ok(OrderBy::Count),
        "_key" | "_term" => return Ok(OrderBy::Key),
        _ => {}
    }
    let (name, part) = match inner.iter().any(|shown| shown.name == by) {
        true => (by, "value"),
        false => by.rsplit_once('.').unwrap_or((by, "value")),
    };
    let found = inner.iter().enumerate().find(|(_, shown)| shown.name == name);
    let Some((at, shown)) = found else {
        let reason = format!("there is no aggregation [{by}] within to order by");
        return Err(Refusal::parsing(path, reason));
    };
    let measure = match (&shown.kind, part) {
        (ShownKind::Number(measure), "value") => *measure,
        (ShownKind::Value, "value") | (ShownKind::Stats { .. }, "count") => Measure::Count,
        (ShownKind::Stats { .. }, "sum") => Measure::Sum,
        (ShownKind::Stats { .. }, "min") => Measure::Min,
        (ShownKind::Stats { .. }, "max") => Measure::Max,
        (ShownKind::Stats { .. }, "avg") => Measure::Avg,
        _ => return Err(Refusal::parsing(path, format!("buckets can't be ordered by [{by}]"))),
    };
    Ok(OrderBy::Measure(at, measure))
}
