//! The order of arrival does not change alerts: the stage, in any order within the lateness, cut
//! into any batches, killed and restarted at any point, comes to what the batch evaluation says,
//! and that to what a few plain loops say.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::{BTreeMap, BTreeSet};

use bus::{
    BusError, Headers, Offset, Output, Partition, Record, Stage, StateReader, StateVisitor, Topic,
};
use correlation::{CorrelationStage, Correlations, Definition, Measure, Settings, VERSION, batch};
use event::{Alert, Match, MatchKind, RuleRef, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};
use sigma::Operator;

/// The timespan of the correlations here, in seconds.
const SPAN: i64 = 60;
const LATENESS: i64 = 120;

#[derive(Debug, Clone)]
struct Happening {
    second: i64,
    /// How long after it happened it comes, below the lateness.
    delay: i64,
    id: u8,
    group: u8,
    value: u8,
    rule: u8,
}

/// What stands between two events: nothing, the end of a batch, or a crash.
#[derive(Debug, Clone, Copy, PartialEq)]
enum After {
    Next,
    Commit,
    /// The process is killed after a commit.
    Restart,
    /// It is killed before the commit, so the batch comes again.
    Crash,
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(second * 1000)
}

fn definitions() -> Vec<Definition> {
    let definition = |id: &str, measure: Measure, tests: &[(Operator, f64)]| Definition {
        rule: RuleRef { id: id.into(), title: id.into(), ..RuleRef::default() },
        group_by: vec!["user.name".into()],
        timespan_s: SPAN as u64,
        measure,
        tests: tests.to_vec(),
    };
    let values = || Measure::Values(vec!["host.name".into()]);
    vec![
        definition("three", Measure::Events, &[(Operator::Gte, 3.0)]),
        definition("many", Measure::Events, &[(Operator::Gt, 12.0)]),
        definition("hosts", values(), &[(Operator::Gte, 3.0)]),
        definition("two exactly", Measure::Events, &[(Operator::Eq, 2.0)]),
        definition("few hosts", values(), &[(Operator::Lt, 3.0)]),
        definition("some", Measure::Events, &[(Operator::Gte, 3.0), (Operator::Lte, 5.0)]),
    ]
}

/// A happening as a match of each correlation.
fn matches(happening: &Happening) -> Vec<Match> {
    let Happening { second, id, group, value, rule, .. } = happening;
    let event_id = format!("e{id:03}-{second}");
    definitions()
        .iter()
        .map(|definition| Match {
            kind: MatchKind::Correlation {
                correlation: definition.rule.id.clone(),
                group: vec![format!("user{group}")],
                value: matches!(definition.measure, Measure::Values(_))
                    .then(|| format!("host{value}")),
            },
            rule: RuleRef { id: format!("rule{rule}"), ..RuleRef::default() },
            event_id: event_id.clone(),
            event_time: at(*second),
            // Once for an event, whichever rule matched it.
            received: at(second + 1),
            namespace: "default".into(),
            matched: vec![event::MatchedField {
                field: "user.name".into(),
                value: format!("by rule{rule}"),
                pattern: String::new(),
            }],
            event: json!({"event": {"id": event_id}, "user": {"name": format!("user{group}")}}),
        })
        .collect()
}

/// The stage with a bus of one partition around it.
struct Bench {
    correlations: Correlations,
    settings: Settings,
    stage: CorrelationStage,
    state: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The last version of each alert.
    alerts: BTreeMap<String, Value>,
    versions: Vec<u32>,
    now: i64,
}

struct Reader<'a>(&'a BTreeMap<Vec<u8>, Vec<u8>>);

impl StateReader for Reader<'_> {
    fn get(&self, _: Partition, key: &[u8]) -> Result<Option<Vec<u8>>, BusError> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, prefix: &[u8], each: &mut StateVisitor<'_>) -> Result<(), BusError> {
        for (key, value) in self.0.iter().filter(|(key, _)| key.starts_with(prefix)) {
            each(Partition(0), key, value);
        }
        Ok(())
    }
}

impl Bench {
    fn new(settings: Settings, now: i64) -> Bench {
        let correlations = Correlations::new(definitions());
        let stage = CorrelationStage::new(correlations.clone(), settings.clone());
        let (state, alerts, versions) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        let mut bench = Bench { correlations, settings, stage, state, alerts, versions, now };
        bench.restart();
        bench
    }

    fn restart(&mut self) {
        self.stage = CorrelationStage::new(self.correlations.clone(), self.settings.clone());
        self.stage.restore(&[], &Reader(&self.state)).unwrap();
    }

    /// Processes matches without committing.
    fn process(&mut self, matches: &[Match]) -> Output {
        let mut output = Output::new();
        for found in matches {
            let record = Record {
                topic: Topic::Matches,
                partition: Partition(0),
                offset: Offset(0),
                timestamp: at(self.now),
                key: b"",
                headers: Headers::default(),
                value: &serde_json::to_vec(found).unwrap(),
            };
            self.stage.process(&record, at(self.now), &mut output).unwrap();
        }
        output
    }

    fn commit(&mut self, mut output: Output) {
        self.stage.end_batch(at(self.now), &mut output).unwrap();
        for change in output.state() {
            match &change.value {
                Some(value) => self.state.insert(change.key.clone(), value.clone()),
                None => self.state.remove(&change.key),
            };
        }
        for record in output.records(Topic::Alerts).iter() {
            let mut alert: Value = serde_json::from_slice(record.value).unwrap();
            let id = alert["event"]["id"].as_str().unwrap().to_owned();
            assert_eq!(record.key, id.as_bytes());
            alert["event"].as_object_mut().unwrap().remove("created");
            let version = record.headers.get_str(VERSION).map_or(1, |text| text.parse().unwrap());
            self.versions.push(version);
            self.alerts.insert(id, alert);
        }
    }

    fn batch(&mut self, matches: &[Match]) {
        let output = self.process(matches);
        self.commit(output);
    }

    /// Lets time pass, as an idle stage sees it.
    fn pass_until(&mut self, now: i64) {
        while self.now < now {
            self.now = (self.now + 5).min(now);
            self.commit(Output::new());
        }
    }

    fn pass(&mut self, seconds: i64) {
        self.pass_until(self.now + seconds);
    }
}

/// What the batch evaluation says, in the same form.
fn expected(all: &[Match]) -> BTreeMap<String, Value> {
    let correlations = Correlations::new(definitions());
    batch::alerts(&correlations, all.to_vec(), Timestamp::EPOCH)
        .into_iter()
        .map(|alert| {
            let mut json: Value =
                serde_json::from_str(&alert.to_event().unwrap().to_json()).unwrap();
            json["event"].as_object_mut().unwrap().remove("created");
            (alert.id, json)
        })
        .collect()
}

/// What identifies an alert and says how large it is: correlation, group, time, event ids.
type Plain = (String, String, i64, Vec<String>);

/// The definition at the head of the crate, word by word, in the slowest way.
fn plainly(all: &[Match]) -> BTreeSet<Plain> {
    let mut alerts = BTreeSet::new();
    for definition in definitions() {
        let of = |found: &Match| match &found.kind {
            MatchKind::Correlation { correlation, group, value }
                if *correlation == definition.rule.id =>
            {
                let second = found.event_time.as_seconds();
                Some((group[0].clone(), second, found.event_id.clone(), value.clone()))
            }
            _ => None,
        };
        let events: BTreeSet<(String, i64, String, Option<String>)> =
            all.iter().filter_map(of).collect();
        let groups: BTreeSet<&String> = events.iter().map(|event| &event.0).collect();
        for group in groups {
            let own: Vec<_> = events.iter().filter(|event| event.0 == *group).collect();
            let passes = |from: i64, to: i64| {
                let counted: BTreeSet<&String> = own
                    .iter()
                    .filter(|event| from < event.1 && event.1 <= to)
                    .map(|event| event.3.as_ref().unwrap_or(&event.2))
                    .collect();
                definition
                    .tests
                    .iter()
                    .all(|(operator, number)| operator.holds(counted.len() as f64, *number))
            };
            let periods: BTreeSet<i64> = own.iter().map(|event| event.1.div_euclid(SPAN)).collect();
            for period in periods {
                let times: BTreeSet<i64> = own
                    .iter()
                    .map(|event| event.1)
                    .filter(|second| second.div_euclid(SPAN) == period)
                    .collect();
                let (time, from, to) = if definition.grows() {
                    let full: Vec<i64> =
                        times.into_iter().filter(|second| passes(second - SPAN, *second)).collect();
                    let (Some(first), Some(last)) = (full.first(), full.last()) else { continue };
                    (*first, first - SPAN, *last)
                } else {
                    let (from, to) = (period * SPAN - 1, (period + 1) * SPAN - 1);
                    if !passes(from, to) {
                        continue;
                    }
                    (*times.last().unwrap(), from, to)
                };
                let mut ids: Vec<String> = Vec::new();
                for event in own.iter().filter(|event| from < event.1 && event.1 <= to) {
                    if !ids.contains(&event.2) {
                        ids.push(event.2.clone());
                    }
                }
                alerts.insert((definition.rule.id.clone(), group.clone(), time, ids));
            }
        }
    }
    alerts
}

fn plain_of(alerts: &BTreeMap<String, Value>) -> BTreeSet<Plain> {
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    alerts
        .values()
        .map(|alert| {
            let time = Timestamp::parse_rfc3339(alert["@timestamp"].as_str().unwrap()).unwrap();
            let own = &alert["watchpost"]["alert"];
            let ids = texts(&own["event_ids"]);
            assert_eq!(own["event_count"].as_u64().unwrap(), ids.len() as u64);
            let group = texts(&own["group"])[0].trim_start_matches("user.name=").to_owned();
            (alert["rule"]["id"].as_str().unwrap().to_owned(), group, time.as_seconds(), ids)
        })
        .collect()
}

fn happenings() -> impl Strategy<Value = Vec<(Happening, After)>> {
    let after = prop_oneof![
        6 => Just(After::Next),
        3 => Just(After::Commit),
        1 => Just(After::Restart),
        1 => Just(After::Crash),
    ];
    let happening = (0..5 * SPAN, 0..LATENESS, 0..40u8, 0..2u8, 0..5u8, 0..2u8);
    let one = (happening, after).prop_map(|((second, delay, id, group, value, rule), after)| {
        (Happening { second, delay, id, group, value, rule }, after)
    });
    prop::collection::vec(one, 0..80)
}

fn settings() -> Settings {
    Settings { lateness_s: LATENESS as u64, ..Settings::default() }
}

/// Feeds everything in the order of arrival and lets it settle.
fn run(bench: &mut Bench, arrivals: &[(i64, Vec<Match>, After)]) {
    let mut waiting: Vec<Match> = Vec::new();
    for (arrival, matches, after) in arrivals {
        if *arrival > bench.now {
            let batch = std::mem::take(&mut waiting);
            bench.batch(&batch);
            bench.pass_until(*arrival);
        }
        waiting.extend(matches.iter().cloned());
        match after {
            After::Next => continue,
            After::Commit => bench.batch(&std::mem::take(&mut waiting)),
            After::Restart => {
                bench.batch(&std::mem::take(&mut waiting));
                bench.restart();
            }
            After::Crash => {
                bench.process(&waiting);
                bench.restart();
            }
        }
    }
    bench.batch(&waiting);
    bench.pass(3 * SPAN + LATENESS + 2);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Live: events come at their time, up to the lateness late.
    #[test]
    fn any_order_within_the_lateness_gives_the_same_alerts(happenings in happenings()) {
        let all: Vec<Match> = happenings.iter().flat_map(|(one, _)| matches(one)).collect();
        let expected = expected(&all);
        prop_assert_eq!(plain_of(&expected), plainly(&all));

        let mut arrivals: Vec<(i64, Vec<Match>, After)> = happenings
            .iter()
            .map(|(one, after)| (one.second + one.delay, matches(one), *after))
            .collect();
        arrivals.sort_by_key(|arrival| arrival.0);
        let mut bench = Bench::new(settings(), 0);
        run(&mut bench, &arrivals);
        prop_assert_eq!(&bench.alerts, &expected);
        prop_assert!(bench.state.is_empty(), "everything is forgotten in the end");
    }

    /// An import: all of it is long ago, and comes in no order at all.
    #[test]
    fn an_import_gives_the_same_alerts(happenings in happenings(), now in 1_000..2_000i64) {
        let all: Vec<Match> = happenings.iter().flat_map(|(one, _)| matches(one)).collect();
        let arrivals: Vec<(i64, Vec<Match>, After)> =
            happenings.iter().map(|(one, after)| (now, matches(one), *after)).collect();
        let mut bench = Bench::new(settings(), now);
        run(&mut bench, &arrivals);
        prop_assert_eq!(bench.alerts, expected(&all));
        prop_assert!(bench.state.is_empty());
    }

    /// No alert that was written is ever without its place in the end, if its condition grows.
    #[test]
    fn what_was_alerted_stays(happenings in happenings()) {
        let all: Vec<Match> = happenings.iter().flat_map(|(one, _)| matches(one)).collect();
        let expected = expected(&all);
        let mut bench = Bench::new(settings(), 0);
        for (one, _) in &happenings {
            bench.batch(&matches(one));
            for id in bench.alerts.keys() {
                prop_assert!(expected.contains_key(id));
            }
        }
    }
}

fn happening(second: i64, id: u8) -> Happening {
    Happening { second, delay: 0, id, group: 0, value: id, rule: 0 }
}

fn three(alerts: &BTreeMap<String, Value>) -> Vec<&Value> {
    alerts.values().filter(|alert| alert["rule"]["id"] == "three").collect()
}

#[test]
fn an_alert_is_there_with_the_batch_that_completes_it() {
    let mut bench = Bench::new(settings(), 0);
    for id in 0..3 {
        assert!(bench.alerts.is_empty());
        bench.batch(&matches(&happening(10, id)));
    }
    let alerts = three(&bench.alerts);
    assert_eq!(alerts.len(), 1);
    assert_eq!(alerts[0]["event"]["reason"], "three: 3 events for user user0 within 1m");
    assert_eq!(alerts[0]["user"]["name"], "user0", "it takes over what its newest event says");
}

#[test]
fn a_long_attack_has_few_versions_and_the_last_is_exact() {
    let mut bench = Bench::new(settings(), 0);
    for id in 0..200 {
        bench.batch(&matches(&happening(10, id)));
    }
    assert_eq!(three(&bench.alerts)[0]["watchpost"]["alert"]["event_count"], 192);
    bench.pass(3 * SPAN + LATENESS + 1);
    assert_eq!(three(&bench.alerts)[0]["watchpost"]["alert"]["event_count"], 200);
    // 3, 6, 12, ... 192, 200.
    assert_eq!(bench.versions.iter().max(), Some(&8));
}

#[test]
fn time_that_the_stage_does_not_run_expires_nothing() {
    let mut bench = Bench::new(settings(), 0);
    bench.batch(&matches(&happening(10, 0)));
    bench.batch(&matches(&happening(10, 1)));
    // A day later, with a backlog from before.
    bench.restart();
    bench.now = 86_400;
    bench.pass(10);
    bench.batch(&matches(&happening(20, 2)));
    assert_eq!(three(&bench.alerts).len(), 1);
}

#[test]
fn an_event_of_the_future_expires_nothing() {
    let mut bench = Bench::new(settings(), 0);
    bench.batch(&matches(&happening(10, 0)));
    bench.batch(&matches(&happening(10, 1)));
    bench.batch(&matches(&happening(5_000_000, 3)));
    bench.pass(20);
    bench.batch(&matches(&happening(20, 2)));
    assert_eq!(three(&bench.alerts).len(), 1);
    bench.pass(3 * SPAN + LATENESS + 1);
    assert!(bench.state.is_empty(), "nor does it stay for ever");
}

#[test]
fn limits_hold_and_cost_no_alert_that_was_due() {
    let limits = Settings { period_events_max: 20, groups_max: 20, ..settings() };
    let mut bench = Bench::new(limits, 0);
    for id in 0..100 {
        bench.batch(&matches(&happening(10, id)));
    }
    bench.pass(3 * SPAN + LATENESS + 1);
    assert_eq!(three(&bench.alerts)[0]["watchpost"]["alert"]["event_count"], 20);

    for group in 0..100 {
        for id in 0..3 {
            bench.batch(&matches(&Happening { group, ..happening(bench.now, id) }));
        }
    }
    assert_eq!(three(&bench.alerts).len(), 101);
    let groups = bench.state.keys().filter(|key| key.starts_with(b"g")).count();
    assert!(groups <= 20, "{groups}");
    bench.pass(3 * SPAN + LATENESS + 1);
    assert!(bench.state.is_empty());
}

#[test]
fn memory_is_bounded_too() {
    let limits = Settings { bytes_max: 100_000, ..settings() };
    let mut bench = Bench::new(limits, 0);
    for group in 0..100 {
        let mut one = matches(&Happening { group, ..happening(10, 0) });
        one.truncate(1);
        one[0].event = json!({"message": "x".repeat(10_000)});
        bench.batch(&one);
        let stored: usize = bench.state.values().map(Vec::len).sum();
        assert!(stored < 120_000, "{stored}");
    }
}

#[test]
fn a_changed_correlation_begins_anew_and_a_changed_threshold_goes_on() {
    let mut bench = Bench::new(settings(), 0);
    bench.batch(&matches(&happening(10, 0)));
    bench.batch(&matches(&happening(10, 1)));
    let change = |bench: &Bench, change: fn(&mut Definition)| {
        let mut changed = definitions();
        changed.iter_mut().for_each(change);
        bench.correlations.replace(changed);
    };
    change(&bench, |definition| definition.timespan_s = 30);
    bench.batch(&matches(&happening(11, 2)));
    assert!(three(&bench.alerts).is_empty());
    change(&bench, |definition| definition.tests = vec![(Operator::Gte, 4.0)]);
    bench.batch(&matches(&happening(11, 3)));
    bench.batch(&matches(&happening(11, 4)));
    assert_eq!(three(&bench.alerts).len(), 1, "four, with the two of before");
    bench.correlations.replace([]);
    bench.batch(&matches(&happening(11, 5)));
    bench.pass(3 * SPAN + LATENESS + 1);
    assert!(bench.state.is_empty());
}

#[test]
fn namespaces_and_groups_do_not_mix() {
    let mut bench = Bench::new(settings(), 0);
    bench.batch(&matches(&happening(10, 0)));
    bench.batch(&matches(&happening(10, 1)));
    let other: Vec<Match> = matches(&happening(10, 2))
        .into_iter()
        .map(|found| Match { namespace: "tenant-b".into(), ..found })
        .collect();
    bench.batch(&other);
    bench.batch(&matches(&Happening { group: 1, ..happening(10, 3) }));
    assert!(three(&bench.alerts).is_empty());
}

#[test]
fn a_rule_by_itself_makes_one_alert_per_event_however_often_it_is_told() {
    let mut bench = Bench::new(settings(), 0);
    let mut found = matches(&happening(10, 0)).remove(0);
    found.kind = MatchKind::Alert;
    bench.batch(&[found.clone(), found.clone()]);
    assert_eq!(bench.alerts.len(), 1);
    let id = Alert::make_id(&[&found.rule.id, &found.namespace, &found.event_id]);
    assert!(bench.alerts.contains_key(&id));
    assert!(bench.state.is_empty());
}

#[test]
fn a_record_that_is_no_match_is_refused() {
    let mut bench = Bench::new(settings(), 0);
    for value in [b"".as_slice(), b"{}", b"[1]", b"\xff", br#"{"kind":"other"}"#] {
        let record = Record {
            topic: Topic::Matches,
            partition: Partition(0),
            offset: Offset(0),
            timestamp: at(0),
            key: b"",
            headers: Headers::default(),
            value,
        };
        let mut output = Output::new();
        assert!(bench.stage.process(&record, at(0), &mut output).is_err());
        assert!(output.is_empty());
    }
}
