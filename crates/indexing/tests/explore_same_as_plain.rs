//! Hits in any order and trees of aggregations are those of a plain evaluation over events.

#![expect(clippy::unwrap_used, reason = "a test may stop at what it did not expect")]

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use event::{Event, Timestamp};
use indexing::{
    Aggregation, AggregationKind, BucketOrder, CalendarUnit, Cancel, DateStep, Document,
    ExploreRequest, Index, Kind, Measure, Numbers, Options, Order, OrderBy, Outcome, Partial,
    TIE_BREAKER, as_number, step_of,
};
use proptest::prelude::*;
use query::{Cell, Filter, TimeRange, cells};

const START_MILLIS: i64 = 1_785_900_000_000;

fn value() -> impl Strategy<Value = serde_json::Value> {
    let scalar = || {
        prop_oneof![
            3 => prop::sample::select(vec!["anna", "Bert", "bert", "", "Ärger", "z"]).prop_map(Into::into),
            3 => (-3..6i64).prop_map(Into::into),
            1 => prop::sample::select(vec![0.5, -7.25, 1e300]).prop_map(Into::into),
            1 => any::<bool>().prop_map(Into::into),
        ]
    };
    prop_oneof![
        6 => scalar(),
        1 => prop::collection::vec(scalar(), 0..4).prop_map(serde_json::Value::from),
    ]
}

type Fields = BTreeMap<&'static str, serde_json::Value>;

fn events() -> impl Strategy<Value = Vec<Event>> {
    let fields = vec!["user.name", "process.pid", "host.name", "event.duration"];
    let fields = prop::collection::btree_map(prop::sample::select(fields), value(), 0..5);
    let created = prop::option::of(0..90_000_000i64);
    // Few moments, so that ties must be broken; and parts of a millisecond.
    let time =
        (0..20i64, 0..3i64).prop_map(|(step, micros)| step * 9_000_000_000_000 + micros * 1000);
    prop::collection::vec((fields, created, time), 1..30).prop_map(|all| {
        let event = |(n, (fields, created, nanos)): (usize, (Fields, Option<i64>, i64))| {
            let mut map = serde_json::Map::new();
            let time = Timestamp::from_millis(START_MILLIS).plus_nanos(nanos);
            map.insert("@timestamp".into(), time.to_string().into());
            // In another order than that in which they are indexed.
            map.insert("event.id".into(), format!("id-{}", n * 7 % 31).into());
            if let Some(millis) = created {
                let time = Timestamp::from_millis(START_MILLIS + millis * 50);
                map.insert("event.created".into(), time.to_string().into());
            }
            map.extend(fields.into_iter().map(|(name, value)| (name.to_owned(), value)));
            let mut event = Event::new();
            event.parse_json(serde_json::Value::Object(map).to_string().as_bytes()).unwrap();
            event
        };
        all.into_iter().enumerate().map(event).collect()
    })
}

fn field() -> impl Strategy<Value = String> {
    let fields = vec![
        "user.name",
        "process.pid",
        "host.name",
        "event.duration",
        "@timestamp",
        "event.created",
        "nothing",
    ];
    prop::sample::select(fields).prop_map(str::to_owned)
}

fn orders() -> impl Strategy<Value = Vec<Order>> {
    let order = (field(), any::<bool>(), any::<bool>())
        .prop_map(|(field, descending, missing_first)| Order { field, descending, missing_first });
    prop::collection::vec(order, 0..3)
}

fn filter() -> impl Strategy<Value = Filter> {
    let texts = vec![
        "*",
        "user.name:bert",
        "not process.pid:*",
        "process.pid > 1",
        "host.name:*r* or user.name:2",
    ];
    prop::sample::select(texts).prop_map(|text| query::parse(text).unwrap().filter)
}

fn measure() -> impl Strategy<Value = AggregationKind> {
    prop_oneof![
        field().prop_map(AggregationKind::Numbers),
        field().prop_map(AggregationKind::Count),
        field().prop_map(AggregationKind::Distinct),
        field().prop_map(AggregationKind::Values),
        (0..4usize, any::<bool>()).prop_map(|(size, oldest)| AggregationKind::Top { size, oldest }),
    ]
}

fn split() -> impl Strategy<Value = AggregationKind> {
    let zone = prop::sample::select(vec!["UTC", "Europe/Berlin", "Asia/Kolkata"])
        .prop_map(|name| jiff::tz::TimeZone::get(name).unwrap());
    let step =
        (any::<bool>(), 1..100_000i64, 0..5000i64, zone).prop_map(|(fixed, s, offset, zone)| {
            match fixed {
                true => DateStep::Fixed {
                    nanos: s * 1_000_000_000,
                    offset_nanos: offset * 1_000_000_000,
                    zone,
                },
                false => DateStep::Calendar(
                    [CalendarUnit::Day, CalendarUnit::Week, CalendarUnit::Month][s as usize % 3],
                    zone,
                ),
            }
        });
    let order = prop::sample::select(vec![
        (OrderBy::Count, true),
        (OrderBy::Key, false),
        (OrderBy::Key, true),
        (OrderBy::Measure(0, Measure::Max), true),
        (OrderBy::Measure(0, Measure::Avg), false),
    ]);
    let missing =
        prop::sample::select(vec![None, Some(Cell::Text("bert".into())), Some(Cell::Int(0))]);
    prop_oneof![
        3 => (field(), missing, order, 1..5usize, 1..3u64).prop_map(|(field, missing, (by, descending), size, count_min)| {
            AggregationKind::Terms { field, missing, order: vec![BucketOrder { by, descending }], size, count_min }
        }),
        1 => (prop::sample::select(vec!["@timestamp", "event.created"]), step)
            .prop_map(|(field, step)| AggregationKind::Dates { field: field.to_owned(), step }),
        1 => (field(), 1..7i64, 0..3i64).prop_map(|(field, interval, offset)| {
            AggregationKind::Steps { field, interval: interval as f64 / 2.0, offset: offset as f64 }
        }),
        1 => prop::collection::vec(filter(), 0..3).prop_map(AggregationKind::Filters),
    ]
}

fn aggregations() -> impl Strategy<Value = Vec<Aggregation>> {
    let named = |kind, inner| Aggregation { name: "a".to_owned(), kind, inner };
    let leaf = measure().prop_map(move |kind| named(kind, Vec::new()));
    let tree = leaf.prop_recursive(3, 12, 3, move |inner| {
        (split(), prop::collection::vec(inner, 0..3))
            .prop_map(move |(kind, inner)| named(kind, inner))
    });
    prop::collection::vec(tree, 0..4)
}

/// What a field's value is sorted by.
fn sort_cell(event: &Event, order: &Order) -> Cell {
    let all = cells(event, &order.field).into_iter().map(|cell| match cell {
        Cell::Time(time) => Cell::Time(Timestamp::from_millis(time.as_millis())),
        other => other,
    });
    if order.descending { all.max() } else { all.min() }.unwrap_or(Cell::Null)
}

fn compare(orders: &[Order], a: &[Cell], b: &[Cell]) -> Ordering {
    for ((order, a), b) in orders.iter().zip(a).zip(b) {
        let turn = |found: Ordering, turned: bool| if turned { found.reverse() } else { found };
        let found = match (a, b) {
            (Cell::Null, Cell::Null) => Ordering::Equal,
            (Cell::Null, _) => turn(Ordering::Greater, order.missing_first),
            (_, Cell::Null) => turn(Ordering::Less, order.missing_first),
            (a, b) => turn(a.cmp(b), order.descending),
        };
        if found != Ordering::Equal {
            return found;
        }
    }
    Ordering::Equal
}

fn id(event: &Event) -> &str {
    event.str("event.id").unwrap()
}

/// The plain evaluation: for each aggregation, its answer as text.
fn plain(aggregations: &[Aggregation], events: &[&Event]) -> Vec<String> {
    aggregations.iter().map(|aggregation| plain_one(aggregation, events)).collect()
}

fn plain_one(aggregation: &Aggregation, events: &[&Event]) -> String {
    let numbers = |field: &str| {
        events
            .iter()
            .flat_map(|event| cells(event, field))
            .filter_map(|cell| as_number(&cell))
            .collect::<Vec<f64>>()
    };
    let split = |key: &dyn Fn(&Event) -> Vec<Cell>| {
        let mut buckets: Vec<(Cell, Vec<&Event>)> = Vec::new();
        for event in events {
            let mut keys = key(event);
            keys.sort();
            keys.dedup();
            for key in keys {
                match buckets.iter_mut().find(|(other, _)| *other == key) {
                    Some((_, own)) => own.push(event),
                    None => buckets.push((key, vec![event])),
                }
            }
        }
        buckets.sort_by(|(a, _), (b, _)| a.cmp(b));
        buckets
    };
    let show = |buckets: Vec<(Cell, Vec<&Event>)>, other: usize| {
        let buckets: Vec<String> = buckets
            .iter()
            .map(|(key, own)| format!("{key}={}{:?}", own.len(), plain(&aggregation.inner, own)))
            .collect();
        format!("{buckets:?}+{other}")
    };
    match &aggregation.kind {
        AggregationKind::Terms { field, missing, order, size, count_min } => {
            let mut buckets = split(&|event| {
                let own = cells(event, field);
                if own.is_empty() { missing.iter().cloned().collect() } else { own }
            });
            buckets.retain(|(_, own)| own.len() as u64 >= *count_min);
            let of = |own: &[&Event], at: usize, measure: Measure| {
                let kind = aggregation.inner.get(at).map(|inner| &inner.kind)?;
                let count = |cells: Vec<Cell>| Some(cells.len() as f64);
                match kind {
                    AggregationKind::Numbers(field) => {
                        let all: Vec<f64> = own
                            .iter()
                            .flat_map(|event| cells(event, field))
                            .filter_map(|cell| as_number(&cell))
                            .collect();
                        match measure {
                            Measure::Max => all.iter().copied().reduce(f64::max),
                            _ => (!all.is_empty())
                                .then(|| all.iter().sum::<f64>() / all.len() as f64),
                        }
                    }
                    AggregationKind::Count(field) => {
                        count(own.iter().flat_map(|event| cells(event, field)).collect())
                    }
                    AggregationKind::Distinct(field) => {
                        let mut all: Vec<Cell> =
                            own.iter().flat_map(|event| cells(event, field)).collect();
                        all.sort();
                        all.dedup();
                        count(all)
                    }
                    _ => None,
                }
            };
            buckets.sort_by(|(key_a, a), (key_b, b)| {
                let [BucketOrder { by, descending }] = order.as_slice() else {
                    panic!("one order")
                };
                let turn = |found: Ordering| if *descending { found.reverse() } else { found };
                let found = match *by {
                    OrderBy::Count => turn(a.len().cmp(&b.len())),
                    OrderBy::Key => turn(key_a.cmp(key_b)),
                    OrderBy::Measure(at, measure) => match (of(a, at, measure), of(b, at, measure))
                    {
                        (Some(a), Some(b)) => turn(a.total_cmp(&b)),
                        (a, b) => b.is_some().cmp(&a.is_some()),
                    },
                };
                found.then_with(|| key_a.cmp(key_b))
            });
            let other = buckets.iter().skip(*size).map(|(_, own)| own.len()).sum();
            buckets.truncate(*size);
            show(buckets, other)
        }
        AggregationKind::Dates { field, step } => {
            let times = |event: &Event| {
                let times = cells(event, field).into_iter();
                times
                    .filter_map(|cell| match cell {
                        Cell::Time(time) => Some(Cell::Time(step.around(time).0)),
                        _ => None,
                    })
                    .collect()
            };
            show(split(&times), 0)
        }
        AggregationKind::Steps { field, interval, offset } => {
            let steps = |event: &Event| {
                let numbers = cells(event, field).into_iter().filter_map(|cell| as_number(&cell));
                numbers.filter_map(|number| step_of(number, *interval, *offset)).collect()
            };
            show(split(&steps), 0)
        }
        AggregationKind::Filters(filters) => {
            let own = |filter: &Filter| {
                events.iter().copied().filter(|event| query::matches(filter, event)).collect()
            };
            let buckets =
                filters.iter().enumerate().map(|(n, filter)| (Cell::Int(n as i64), own(filter)));
            show(buckets.collect(), 0)
        }
        AggregationKind::Numbers(field) => {
            let mut all = Numbers::NONE;
            numbers(field).into_iter().for_each(|number| all.add(number));
            shown_numbers(&all)
        }
        AggregationKind::Count(field) => {
            events.iter().map(|event| cells(event, field).len()).sum::<usize>().to_string()
        }
        AggregationKind::Distinct(field) => {
            let mut all: Vec<Cell> = events.iter().flat_map(|event| cells(event, field)).collect();
            all.sort();
            all.dedup();
            all.len().to_string()
        }
        AggregationKind::Values(field) => {
            let mut all = numbers(field);
            all.sort_by(f64::total_cmp);
            format!("{all:?}")
        }
        AggregationKind::Top { size, oldest } => {
            let mut times: Vec<Timestamp> =
                events.iter().map(|event| event.timestamp().unwrap()).collect();
            times.sort();
            if !*oldest {
                times.reverse();
            }
            times.truncate(*size);
            format!("{}{times:?}", events.len())
        }
    }
}

/// Sums depend on their order in the last digits.
fn shown_numbers(numbers: &Numbers) -> String {
    let Numbers { count, sum, min, max, .. } = numbers;
    format!("{count} {sum:.6e} {min} {max}")
}

fn shown(outcomes: &[Outcome]) -> Vec<String> {
    let one = |outcome: &Outcome| match outcome {
        Outcome::Buckets { buckets, other } => {
            let buckets: Vec<String> = buckets
                .iter()
                .map(|bucket| format!("{}={}{:?}", bucket.key, bucket.count, shown(&bucket.inner)))
                .collect();
            format!("{buckets:?}+{other}")
        }
        Outcome::Numbers(numbers) => shown_numbers(numbers),
        Outcome::Count(count) => count.to_string(),
        Outcome::Values(values) => format!("{values:?}"),
        Outcome::Top { total, hits } => {
            let times: Vec<Timestamp> = hits.iter().map(|found| found.hit.time).collect();
            format!("{total}{times:?}")
        }
    };
    outcomes.iter().map(one).collect()
}

/// Indexes the events; in several commits, so that there are several segments.
fn indexed(dir: &std::path::Path, events: &[Event], per_commit: usize) -> Index {
    let options = Options { threads: 1, writers_max: 2, ..Options::default() };
    let index = Index::open(dir, options).unwrap();
    let mut writer = index.writer("log").unwrap();
    for chunk in events.chunks(per_commit) {
        for event in chunk {
            writer.add(Document {
                kind: Kind::Events,
                time: event.timestamp().unwrap(),
                event: event.clone(),
                json: event.to_json().into_bytes(),
                position: None,
            });
        }
        writer.commit().unwrap();
    }
    index
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn exploring_finds_what_the_plain_evaluation_finds(
        events in events(),
        asked in prop::collection::vec((filter(), orders(), aggregations(), 0..12usize), 6),
        per_commit in 1..30usize,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let index = indexed(dir.path(), &events, per_commit);
        let partitions: Vec<_> = index.partitions().iter().map(|partition| partition.id).collect();
        for (filter, sort, aggregations, size) in asked {
            let mut orders = sort.clone();
            orders.push(Order { field: TIE_BREAKER.into(), descending: false, missing_first: false });
            let mut wanted: Vec<&Event> =
                events.iter().filter(|event| query::matches(&filter, event)).collect();
            let keys = |event: &Event| orders.iter().map(|order| sort_cell(event, order)).collect::<Vec<_>>();
            wanted.sort_by(|a, b| compare(&orders, &keys(a), &keys(b)));
            // Page by page to the end, and then once more.
            let mut after: Option<Vec<Cell>> = None;
            let mut found: Vec<String> = Vec::new();
            let page = size + 1;
            for _ in 0..=wanted.len().div_ceil(page) {
                let explored = index.searcher().explore(&ExploreRequest {
                    filter: &filter,
                    partitions: &partitions,
                    range: TimeRange::ALL,
                    hits: page,
                    sort: &sort,
                    after: after.as_deref(),
                    aggregations: &aggregations,
                    time: Duration::from_secs(60),
                    threads: 2,
                    values: 1_000_000,
                    cancel: Cancel::default(),
                });
                prop_assert_eq!(&explored.partial, &vec![]);
                prop_assert_eq!(explored.total, wanted.len() as u64);
                prop_assert_eq!(shown(&explored.aggregations), plain(&aggregations, &wanted));
                for hit in &explored.hits {
                    let event = hit.hit.event();
                    prop_assert_eq!(&hit.sort, &keys(&event));
                    found.push(id(&event).to_owned());
                }
                let Some(last) = explored.hits.last() else { break };
                after = Some(last.sort.clone());
            }
            let wanted: Vec<&str> = wanted.iter().map(|event| id(event)).collect();
            prop_assert_eq!(found, wanted, "{:?}", sort);
        }
    }
}

#[test]
fn what_costs_too_much_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let events: Vec<Event> = (0..100)
        .map(|n| {
            let mut event = Event::new();
            let json = serde_json::json!({
                "@timestamp": Timestamp::from_millis(START_MILLIS + n).to_string(),
                "event.id": format!("id-{n}"),
                "user.name": format!("user{n}"),
            });
            event.parse_json(json.to_string().as_bytes()).unwrap();
            event
        })
        .collect();
    let index = indexed(dir.path(), &events, 30);
    let partitions: Vec<_> = index.partitions().iter().map(|partition| partition.id).collect();
    let kind = AggregationKind::Distinct("user.name".into());
    let aggregations = [Aggregation { name: "users".into(), kind, inner: Vec::new() }];
    let cancel = Cancel::default();
    let explore = |time, values| {
        let request = ExploreRequest {
            filter: &Filter::All,
            partitions: &partitions,
            range: TimeRange::ALL,
            hits: 0,
            sort: &[],
            after: None,
            aggregations: &aggregations,
            time,
            threads: 1,
            values,
            cancel: cancel.clone(),
        };
        index.searcher().explore(&request).partial
    };
    assert_eq!(explore(Duration::from_secs(60), 100), []);
    assert_eq!(explore(Duration::from_secs(60), 99), [Partial::Groups(99)]);
    assert_eq!(explore(Duration::ZERO, 100), [Partial::Timeout(Duration::ZERO)]);
    let minute = Duration::from_secs(60);
    cancel.cancel();
    assert_eq!(explore(minute, 100), [Partial::Timeout(minute)], "nobody waits for it");
}
