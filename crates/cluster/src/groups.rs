//! Statistics as composite aggregations.
//!
//! A composite aggregation gives all groups, page by page, and its counts are exact. What the cluster
//! cannot count as we do (the least of texts, sums of numbers that are kept as texts) is not asked of
//! it; whoever called counts over the events themselves then.

use event::Timestamp;
use query::{Cell, Function, Pipe, Stats, Table};
use serde_json::{Map, Value, json};

use crate::fields::{Fields, Kind};

/// How many groups a page has; clusters refuse more than 65,535 buckets.
pub(crate) const PAGE: usize = 10_000;

/// Up to so many different values the cluster counts them exactly.
pub(crate) const DISTINCT_EXACT_MAX: u64 = 40_000;

/// The name of the aggregation in requests and answers.
pub(crate) const NAME: &str = "groups";

/// A statistic that the cluster can count.
pub(crate) struct Grouping<'s> {
    stats: &'s Stats,
    by: Vec<Kind>,
    values: Vec<Option<Kind>>,
    /// The length of a step of time, in milliseconds, if the first field is cut by one.
    step_millis: Option<i64>,
}

impl<'s> Grouping<'s> {
    /// Reads a pipe's statistic; `None` if the cluster cannot count it exactly as we do.
    pub(crate) fn new(pipe: &Pipe, stats: &'s Stats, fields: &Fields) -> Option<Grouping<'s>> {
        const MILLI_NANOS: i64 = 1_000_000;
        let step_millis = match pipe {
            Pipe::Timechart { span_nanos, .. } if span_nanos % MILLI_NANOS == 0 => {
                Some(span_nanos / MILLI_NANOS)
            }
            Pipe::Timechart { .. } => return None,
            _ => None,
        };
        let mut by = Vec::new();
        for (n, field) in stats.by.iter().enumerate() {
            // A field that no event has makes no group; the cluster would refuse it.
            let kind = fields.kind(field)?;
            let is_cut = n == 0 && step_millis.is_some();
            match kind {
                Kind::Keyword | Kind::Long | Kind::Double | Kind::Boolean | Kind::Ip => {}
                Kind::Date if is_cut => {}
                // Times are grouped to the nanosecond here and to the millisecond there.
                Kind::Date | Kind::Text | Kind::Object | Kind::Other => return None,
            }
            by.push(kind);
        }
        let mut values = Vec::new();
        for aggregate in &stats.aggregates {
            let Some(field) = &aggregate.field else {
                values.push(None);
                continue;
            };
            let kind = fields.kind(field)?;
            let is_number = matches!(kind, Kind::Long | Kind::Double);
            let is_counted = is_number || matches!(kind, Kind::Keyword | Kind::Boolean | Kind::Ip);
            let is_same = match aggregate.function {
                Function::Count => is_counted || kind == Kind::Date,
                Function::Distinct => is_counted,
                Function::Sum | Function::Avg => is_number,
                Function::Min | Function::Max => is_number || kind == Kind::Date,
                // Percentiles are estimates there, and the first and the last are no metrics.
                Function::First | Function::Last | Function::Percentile(_) => false,
            };
            if !is_same {
                return None;
            }
            values.push(Some(kind));
        }
        Some(Grouping { stats, by, values, step_millis })
    }

    /// The aggregation; `after` is the key of the last group of the page before.
    pub(crate) fn request(&self, after: Option<&Value>) -> Value {
        let mut metrics = Map::new();
        for (n, aggregate) in self.stats.aggregates.iter().enumerate() {
            let Some(field) = &aggregate.field else { continue };
            let metric = match aggregate.function {
                Function::Count => json!({"value_count": {"field": field}}),
                Function::Distinct => json!({"cardinality": {
                    "field": field, "precision_threshold": DISTINCT_EXACT_MAX,
                }}),
                Function::Sum => json!({"stats": {"field": field}}),
                Function::Avg => json!({"avg": {"field": field}}),
                Function::Min => json!({"min": {"field": field}}),
                Function::Max => json!({"max": {"field": field}}),
                // Not asked of it, see `new`.
                Function::First | Function::Last | Function::Percentile(_) => continue,
            };
            metrics.insert(n.to_string(), metric);
        }
        if self.by.is_empty() {
            return Value::Object(metrics);
        }
        let sources: Vec<Value> = self
            .stats
            .by
            .iter()
            .enumerate()
            .map(|(n, field)| {
                let source = match self.step_millis.filter(|_| n == 0) {
                    Some(step) => json!({"date_histogram": {
                        "field": field, "fixed_interval": format!("{step}ms"),
                    }}),
                    None => json!({"terms": {"field": field}}),
                };
                json!({n.to_string(): source})
            })
            .collect();
        let mut composite = json!({"size": PAGE, "sources": sources});
        if let Some(after) = after {
            composite["after"] = after.clone();
        }
        json!({NAME: {"composite": composite, "aggs": metrics}})
    }

    /// Takes the rows out of an answer; gives the key after which the next page begins, if there may
    /// be one.
    pub(crate) fn rows(&self, answer: &Value, rows: &mut Vec<Vec<Cell>>) -> Option<Value> {
        if self.by.is_empty() {
            let total = answer.pointer("/hits/total/value").and_then(Value::as_u64);
            let metrics = answer.get("aggregations").unwrap_or(&Value::Null);
            rows.push(self.values(metrics, total.unwrap_or_default()).collect());
            return None;
        }
        let groups = answer.pointer(&format!("/aggregations/{NAME}"))?;
        let buckets = groups.get("buckets").and_then(Value::as_array)?;
        for bucket in buckets {
            let count = bucket.get("doc_count").and_then(Value::as_u64).unwrap_or_default();
            let keys = self.by.iter().enumerate().map(|(n, kind)| {
                bucket.pointer(&format!("/key/{n}")).map_or(Cell::Null, |key| cell(key, *kind))
            });
            rows.push(keys.chain(self.values(bucket, count)).collect());
        }
        (buckets.len() == PAGE).then(|| groups.get("after_key").cloned()).flatten()
    }

    fn values<'a>(&'a self, metrics: &'a Value, count: u64) -> impl Iterator<Item = Cell> + 'a {
        let aggregates = self.stats.aggregates.iter().zip(&self.values).enumerate();
        aggregates.map(move |(n, (aggregate, kind))| {
            let Some(kind) = kind else {
                return Cell::Int(i64::try_from(count).unwrap_or(i64::MAX));
            };
            let metric = metrics.get(n.to_string()).unwrap_or(&Value::Null);
            // The sum of nothing is nothing here, and 0 there.
            if aggregate.function == Function::Sum {
                let is_empty = metric.get("count").and_then(Value::as_u64) == Some(0);
                return metric
                    .get("sum")
                    .filter(|_| !is_empty)
                    .map_or(Cell::Null, |sum| cell(sum, *kind));
            }
            let kind = match aggregate.function {
                Function::Count | Function::Distinct => Kind::Long,
                _ => *kind,
            };
            metric.get("value").map_or(Cell::Null, |value| cell(value, kind))
        })
    }

    /// The finished table.
    pub(crate) fn table(&self, mut rows: Vec<Vec<Cell>>) -> Table {
        rows.sort_unstable();
        let names = self.stats.aggregates.iter().map(|aggregate| aggregate.name.clone());
        Table { columns: self.stats.by.iter().cloned().chain(names).collect(), rows }
    }

    /// Whether a distinct count of these rows may be off.
    pub(crate) fn is_approximate(&self, rows: &[Vec<Cell>]) -> bool {
        self.stats.aggregates.iter().enumerate().any(|(n, aggregate)| {
            let at = self.by.len() + n;
            let above = |row: &Vec<Cell>| {
                matches!(row.get(at), Some(Cell::Int(count)) if *count > DISTINCT_EXACT_MAX as i64)
            };
            aggregate.function == Function::Distinct && rows.iter().any(above)
        })
    }
}

/// A value of an answer, by how its field is indexed.
pub(crate) fn cell(value: &Value, kind: Kind) -> Cell {
    match (value, kind) {
        (Value::Number(number), Kind::Date) => {
            let millis = number.as_i64().or_else(|| number.as_f64().map(|millis| millis as i64));
            millis.map_or(Cell::Null, |millis| Cell::Time(Timestamp::from_millis(millis)))
        }
        (Value::Number(number), Kind::Boolean) => Cell::Bool(number.as_f64() != Some(0.0)),
        (Value::Number(number), _) => number
            .as_i64()
            .map_or_else(|| Cell::number(number.as_f64().unwrap_or(f64::NAN)), Cell::Int),
        (Value::Bool(value), _) => Cell::Bool(*value),
        (Value::String(text), _) => Cell::Text(text.clone()),
        _ => Cell::Null,
    }
}
