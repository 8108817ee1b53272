//! Writing what was found in the form that clients of Elasticsearch read.

use event::{Event, Timestamp, Value as EventValue};
use indexing::{Aggregation, AggregationKind, Bucket, FoundHit, Measure, Numbers, Outcome};
use jiff::tz::TimeZone;
use query::Cell;
use serde_json::{Map, Value, json};

use crate::aggs::{RangeShown, Shown, ShownKind};
use crate::body::{FieldWanted, SortShown, SourceFilter};
use crate::dates;
use crate::dsl::is_date;
use crate::error::Refusal;

/// A hit.
pub(crate) fn hit(
    found: &FoundHit,
    source: &SourceFilter,
    fields: &[FieldWanted],
    sort: &[SortShown],
) -> Value {
    let event = found.hit.event();
    let mut out = Map::new();
    out.insert("_index".into(), found.partition.to_string().into());
    out.insert("_id".into(), event.str("event.id").unwrap_or_default().into());
    out.insert("_score".into(), if sort.is_empty() { json!(1.0) } else { Value::Null });
    if !source.hidden {
        let whole = serde_json::from_str(&found.hit.json).unwrap_or(Value::Null);
        out.insert("_source".into(), source.of(whole));
    }
    if !fields.is_empty() {
        out.insert("fields".into(), fields_of(&event, fields));
    }
    if !sort.is_empty() {
        out.insert("sort".into(), sort_of(found, sort));
    }
    Value::Object(out)
}

/// The values by which a hit was sorted.
pub(crate) fn sort_of(found: &FoundHit, sort: &[SortShown]) -> Value {
    let values = found.sort.iter().zip(sort).map(|(cell, key)| match (cell, &key.format) {
        (Cell::Time(time), Some(format)) => {
            dates::write(*time, Some(format), &TimeZone::UTC).map_or(Value::Null, Value::from)
        }
        (cell, _) => value_of(cell),
    });
    values.collect()
}

/// A value; times are milliseconds.
fn value_of(cell: &Cell) -> Value {
    match cell {
        Cell::Null | Cell::List(_) => Value::Null,
        Cell::Bool(value) => Value::from(*value),
        Cell::Int(number) => Value::from(*number),
        Cell::Float(number) => Value::from(*number),
        Cell::Time(time) => Value::from(time.as_millis()),
        Cell::Text(text) => Value::from(text.as_str()),
    }
}

fn fields_of(event: &Event, wanted: &[FieldWanted]) -> Value {
    let mut out: Map<String, Value> = Map::new();
    for (_, path, value) in event.fields() {
        let folded = query::fold(path);
        let Some(field) = wanted.iter().find(|field| field.name.matches_folded(&folded)) else {
            continue;
        };
        let value = match value {
            EventValue::Null | EventValue::Json(_) => continue,
            EventValue::Bool(value) => Value::from(value),
            EventValue::Int(number) => Value::from(number),
            EventValue::Uint(number) => Value::from(number),
            EventValue::Float(number) => Value::from(number),
            EventValue::Text(text) => {
                let time = Timestamp::parse_rfc3339(text).filter(|_| is_date(path));
                let written = time
                    .and_then(|time| dates::write(time, field.format.as_deref(), &TimeZone::UTC));
                Value::from(written.unwrap_or_else(|| text.to_owned()))
            }
        };
        if let Value::Array(values) = out.entry(path).or_insert_with(|| json!([])) {
            values.push(value);
        }
    }
    Value::Object(out)
}

impl SourceFilter {
    /// What is shown of a source.
    fn of(&self, source: Value) -> Value {
        if self.includes.is_empty() && self.excludes.is_empty() {
            return source;
        }
        self.part("", source, self.includes.is_empty()).unwrap_or_else(|| json!({}))
    }

    fn part(&self, path: &str, value: Value, included: bool) -> Option<Value> {
        let Value::Object(map) = value else { return included.then_some(value) };
        let mut kept = Map::new();
        for (name, value) in map {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let folded = query::fold(&path);
            if self.excludes.iter().any(|glob| glob.matches_folded(&folded)) {
                continue;
            }
            let included = included || self.includes.iter().any(|g| g.matches_folded(&folded));
            if let Some(value) = self.part(&path, value, included) {
                kept.insert(name, value);
            }
        }
        (included || !kept.is_empty()).then_some(Value::Object(kept))
    }
}

/// Writes aggregations, and counts their buckets.
pub(crate) struct Writer {
    /// How many more there may be.
    pub(crate) buckets_left: usize,
    pub(crate) buckets_max: usize,
}

impl Writer {
    pub(crate) fn all(
        &mut self,
        aggregations: &[Aggregation],
        shown: &[Shown],
        outcomes: &[Outcome],
    ) -> Result<Map<String, Value>, Refusal> {
        let mut out = Map::new();
        for ((aggregation, shown), outcome) in aggregations.iter().zip(shown).zip(outcomes) {
            let mut value = self.one(aggregation, shown, outcome)?;
            if let (Some(meta), Value::Object(map)) = (&shown.meta, &mut value) {
                map.insert("meta".into(), meta.clone());
            }
            out.insert(shown.name.clone(), value);
        }
        Ok(out)
    }

    fn take(&mut self, count: usize) -> Result<(), Refusal> {
        self.buckets_left = self.buckets_left.checked_sub(count).ok_or_else(|| Refusal {
            status: 400,
            kind: "too_many_buckets_exception",
            reason: format!(
                "Trying to create too many buckets. Must be less than or equal to: [{}]; choose a longer interval or a smaller size",
                self.buckets_max
            ),
        })?;
        Ok(())
    }

    /// A bucket with what was asked of it.
    fn bucket(
        &mut self,
        head: Vec<(&str, Value)>,
        aggregation: &Aggregation,
        shown: &Shown,
        bucket: &Bucket,
    ) -> Result<Value, Refusal> {
        let mut out: Map<String, Value> =
            head.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        out.insert("doc_count".into(), bucket.count.into());
        out.extend(self.all(&aggregation.inner, &shown.inner, &bucket.inner)?);
        Ok(Value::Object(out))
    }

    fn one(
        &mut self,
        aggregation: &Aggregation,
        shown: &Shown,
        outcome: &Outcome,
    ) -> Result<Value, Refusal> {
        match (&shown.kind, outcome) {
            (ShownKind::Terms, Outcome::Buckets { buckets, other }) => {
                self.take(buckets.len())?;
                let mut out = Vec::with_capacity(buckets.len());
                for bucket in buckets {
                    let mut head = vec![("key", value_of(&bucket.key))];
                    match &bucket.key {
                        Cell::Bool(value) => {
                            head = vec![
                                ("key", u8::from(*value).into()),
                                ("key_as_string", value.to_string().into()),
                            ];
                        }
                        Cell::Time(time) => {
                            let text = dates::write(*time, None, &TimeZone::UTC);
                            head.push(("key_as_string", text.into()));
                        }
                        _ => {}
                    }
                    out.push(self.bucket(head, aggregation, shown, bucket)?);
                }
                Ok(json!({
                    "doc_count_error_upper_bound": 0,
                    "sum_other_doc_count": other,
                    "buckets": out,
                }))
            }
            (
                ShownKind::Dates { step, count_min, bounds, format, zone, keyed },
                Outcome::Buckets { buckets, .. },
            ) => {
                let filled = self.filled(
                    buckets,
                    *count_min,
                    bounds.map(|(min, max)| (Cell::Time(step.around(min).0), Cell::Time(max))),
                    |key| match key {
                        Cell::Time(time) => Cell::Time(step.around(*time).1),
                        _ => Cell::Null,
                    },
                )?;
                let mut out = Vec::with_capacity(filled.len());
                for bucket in &filled {
                    let Cell::Time(time) = bucket.key else { continue };
                    let text = dates::write(time, format.as_deref(), zone).unwrap_or_default();
                    let head = vec![
                        ("key_as_string", Value::from(text.as_str())),
                        ("key", time.as_millis().into()),
                    ];
                    out.push((text, self.bucket(head, aggregation, shown, bucket)?));
                }
                Ok(json!({ "buckets": listed(out, *keyed) }))
            }
            (
                ShownKind::Steps { interval, count_min, bounds, keyed },
                Outcome::Buckets { buckets, .. },
            ) => {
                let offset = match &aggregation.kind {
                    AggregationKind::Steps { offset, .. } => *offset,
                    _ => 0.0,
                };
                let filled = self.filled(
                    buckets,
                    *count_min,
                    bounds.and_then(|(min, max)| {
                        Some((indexing::step_of(min, *interval, offset)?, Cell::number(max)))
                    }),
                    |key| {
                        let number = indexing::as_number(key).unwrap_or(f64::INFINITY);
                        // From the middle of the next step, so that rounding does not stay in this one.
                        indexing::step_of(number + interval * 1.5, *interval, offset)
                            .unwrap_or(Cell::Null)
                    },
                )?;
                let mut out = Vec::with_capacity(filled.len());
                for bucket in &filled {
                    let key = indexing::as_number(&bucket.key).unwrap_or_default();
                    let head = vec![("key", Value::from(key))];
                    out.push((format!("{key:?}"), self.bucket(head, aggregation, shown, bucket)?));
                }
                Ok(json!({ "buckets": listed(out, *keyed) }))
            }
            (ShownKind::One, Outcome::Buckets { buckets, .. }) => match buckets.first() {
                Some(bucket) => self.bucket(Vec::new(), aggregation, shown, bucket),
                None => Ok(json!({ "doc_count": 0 })),
            },
            (ShownKind::Filters(names), Outcome::Buckets { buckets, .. }) => {
                self.take(buckets.len())?;
                let mut out = Vec::with_capacity(buckets.len());
                for (n, bucket) in buckets.iter().enumerate() {
                    let name = names.as_ref().and_then(|names| names.get(n)).cloned();
                    let bucket = self.bucket(Vec::new(), aggregation, shown, bucket)?;
                    out.push((name.unwrap_or_default(), bucket));
                }
                Ok(json!({ "buckets": listed(out, names.is_some()) }))
            }
            (ShownKind::Ranges { ranges, keyed }, Outcome::Buckets { buckets, .. }) => {
                self.take(buckets.len())?;
                let mut out = Vec::with_capacity(buckets.len());
                for (range, bucket) in ranges.iter().zip(buckets) {
                    let mut head = if *keyed {
                        Vec::new()
                    } else {
                        vec![("key", Value::from(range.key.as_str()))]
                    };
                    head.extend(ends(range));
                    out.push((range.key.clone(), self.bucket(head, aggregation, shown, bucket)?));
                }
                Ok(json!({ "buckets": listed(out, *keyed) }))
            }
            (ShownKind::Number(measure), Outcome::Numbers(numbers)) => {
                Ok(number(measured(numbers, *measure), &aggregation.kind, *measure))
            }
            (ShownKind::Stats { extended, sigma }, Outcome::Numbers(numbers)) => {
                Ok(stats(numbers, *extended, *sigma))
            }
            (ShownKind::Value, Outcome::Count(count)) => Ok(json!({ "value": count })),
            (ShownKind::Percentiles { percents, keyed }, Outcome::Values(values)) => {
                let found = percents.iter().map(|percent| (*percent, percentile(values, *percent)));
                let values: Value = if *keyed {
                    Value::Object(
                        found
                            .map(|(percent, value)| (format!("{percent:?}"), value.into()))
                            .collect(),
                    )
                } else {
                    found
                        .map(|(percent, value)| json!({ "key": percent, "value": value }))
                        .collect()
                };
                Ok(json!({ "values": values }))
            }
            (ShownKind::Top(source), Outcome::Top { total, hits }) => {
                let hits: Vec<Value> =
                    hits.iter().map(|found| hit(found, source, &[], &[])).collect();
                Ok(json!({ "hits": {
                    "total": { "value": total, "relation": "eq" },
                    "max_score": null,
                    "hits": hits,
                } }))
            }
            // The index answers in the form that it was asked in.
            _ => Ok(Value::Null),
        }
    }

    /// Buckets with enough documents; if none are enough, the empty ones between too.
    fn filled(
        &mut self,
        buckets: &[Bucket],
        count_min: u64,
        bounds: Option<(Cell, Cell)>,
        next: impl Fn(&Cell) -> Cell,
    ) -> Result<Vec<Bucket>, Refusal> {
        if count_min > 0 {
            let enough: Vec<Bucket> =
                buckets.iter().filter(|bucket| bucket.count >= count_min).cloned().collect();
            self.take(enough.len())?;
            return Ok(enough);
        }
        let mut first = buckets.first().map(|bucket| bucket.key.clone());
        let mut last = buckets.last().map(|bucket| bucket.key.clone());
        if let Some((min, max)) = bounds {
            first = Some(first.map_or(min.clone(), |first| first.min(min)));
            last = Some(last.map_or(max.clone(), |last| last.max(max)));
        }
        let (Some(mut key), Some(last)) = (first, last) else { return Ok(Vec::new()) };
        let mut out = Vec::new();
        let mut rest = buckets.iter().peekable();
        while key <= last && key != Cell::Null {
            self.take(1)?;
            match rest.next_if(|bucket| bucket.key <= key) {
                Some(bucket) => out.push(bucket.clone()),
                None => out.push(Bucket { key: key.clone(), count: 0, inner: Vec::new() }),
            }
            let after = next(&key);
            if after <= key {
                break;
            }
            key = after;
        }
        Ok(out)
    }
}

fn listed(buckets: Vec<(String, Value)>, keyed: bool) -> Value {
    if keyed {
        Value::Object(buckets.into_iter().collect())
    } else {
        buckets.into_iter().map(|(_, bucket)| bucket).collect()
    }
}

fn ends(range: &RangeShown) -> Vec<(&'static str, Value)> {
    let mut ends = Vec::new();
    let texts = range.texts.clone().unwrap_or_default();
    if let Some(from) = range.from {
        ends.push(("from", from.into()));
        ends.extend(texts.0.map(|text| ("from_as_string", text.into())));
    }
    if let Some(to) = range.to {
        ends.push(("to", to.into()));
        ends.extend(texts.1.map(|text| ("to_as_string", text.into())));
    }
    ends
}

fn measured(numbers: &Numbers, measure: Measure) -> Option<f64> {
    match measure {
        Measure::Count => Some(numbers.count as f64),
        Measure::Sum => Some(numbers.sum),
        Measure::Avg => numbers.avg(),
        Measure::Min => Some(numbers.min).filter(|_| numbers.count > 0),
        Measure::Max => Some(numbers.max).filter(|_| numbers.count > 0),
    }
}

fn number(value: Option<f64>, kind: &AggregationKind, measure: Measure) -> Value {
    let time = match kind {
        AggregationKind::Numbers(field) if is_date(field) && measure != Measure::Sum => value,
        _ => None,
    };
    match time {
        Some(millis) => {
            let text = dates::write(Timestamp::from_millis(millis as i64), None, &TimeZone::UTC);
            json!({ "value": value, "value_as_string": text })
        }
        None => json!({ "value": value }),
    }
}

fn stats(numbers: &Numbers, extended: bool, sigma: f64) -> Value {
    let some = numbers.count > 0;
    let mut out = json!({
        "count": numbers.count,
        "min": some.then_some(numbers.min),
        "max": some.then_some(numbers.max),
        "avg": numbers.avg(),
        "sum": numbers.sum,
    });
    if !extended {
        return out;
    }
    let count = numbers.count as f64;
    let mean = numbers.avg();
    let spread = numbers.squares - numbers.sum * mean.unwrap_or_default();
    // Rounding must not make it negative.
    let spread = spread.max(0.0);
    let population = some.then(|| spread / count);
    let sampling = (numbers.count > 1).then(|| spread / (count - 1.0));
    let bound = |side: f64, variance: Option<f64>| Some(mean? + side * sigma * variance?.sqrt());
    if let Value::Object(map) = &mut out {
        map.extend([
            ("sum_of_squares".to_owned(), some.then_some(numbers.squares).into()),
            ("variance".to_owned(), population.into()),
            ("variance_population".to_owned(), population.into()),
            ("variance_sampling".to_owned(), sampling.into()),
            ("std_deviation".to_owned(), population.map(f64::sqrt).into()),
            ("std_deviation_population".to_owned(), population.map(f64::sqrt).into()),
            ("std_deviation_sampling".to_owned(), sampling.map(f64::sqrt).into()),
            (
                "std_deviation_bounds".to_owned(),
                json!({
                    "upper": bound(1.0, population),
                    "lower": bound(-1.0, population),
                    "upper_population": bound(1.0, population),
                    "lower_population": bound(-1.0, population),
                    "upper_sampling": bound(1.0, sampling),
                    "lower_sampling": bound(-1.0, sampling),
                }),
            ),
        ]);
    }
    out
}

/// The value below which so many percent lie, between the two nearest where it is none of them.
fn percentile(values: &[f64], percent: f64) -> Option<f64> {
    let place = percent / 100.0 * values.len().checked_sub(1)? as f64;
    let below = values.get(place.floor() as usize)?;
    let above = values.get(place.ceil() as usize)?;
    Some(below + (above - below) * place.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_between_values() {
        assert_eq!(percentile(&[], 50.0), None);
        assert_eq!(percentile(&[7.0], 99.0), Some(7.0));
        assert_eq!(percentile(&[1.0, 2.0, 3.0, 4.0], 50.0), Some(2.5));
        assert_eq!(percentile(&[1.0, 2.0, 3.0, 4.0], 100.0), Some(4.0));
    }

    #[test]
    fn sources_are_cut_by_paths() {
        let source =
            json!({"user": {"name": "anna", "id": 7}, "event.id": "e1", "a": {"b": {"c": 1}}});
        let cut = |filter: Value| {
            SourceFilter::read("_source", Some(&filter)).unwrap().of(source.clone())
        };
        assert_eq!(
            cut(json!(["user.name", "event.id"])),
            json!({"event.id": "e1", "user": {"name": "anna"}})
        );
        assert_eq!(cut(json!("a")), json!({"a": {"b": {"c": 1}}}));
        assert_eq!(cut(json!({"excludes": ["a*", "*.id"]})), json!({"user": {"name": "anna"}}));
        assert_eq!(cut(json!(["nothing"])), json!({}));
    }
}
