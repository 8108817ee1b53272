//! Runs rules over the index and says what came of each.

use std::collections::{BTreeMap, HashMap};

use correlation::{Correlations, Definition};
use detection::{Otherwise, RuleBook, Scratch};
use event::{Alert, Event, Match, MatchKind, RuleRef, Timestamp};
use indexing::{Limits, Partial, SearchRequest, Searcher};
use query::{Filter, Query, TimeRange};
use serde::Serialize;

use crate::necessary;

/// The fields of whom and what a hit is about.
pub const ENTITIES: [&str; 4] = ["host.name", "user.name", "source.ip", "process.executable"];

/// The most hits of a rule whose ids are kept, to tell what changed and to correlate; all are counted.
pub const HITS_MAX: usize = 1_000_000;

/// The most different values of an entity that are counted.
const VALUES_MAX: usize = 100_000;

/// How many values of each entity are told.
const VALUES_TOLD: usize = 5;

/// From how many rules on every event is read: so many filters cost more than they spare.
const FILTERS_MAX: usize = 50;

const HOUR_NANOS: i64 = 3_600 * 1_000_000_000;
const DAY_NANOS: i64 = 24 * HOUR_NANOS;

/// About how many parts of the range of time are told.
const BUCKETS: i64 = 30;

/// What rules found.
#[derive(Debug, Clone, Serialize)]
pub struct Backtest {
    /// Of each rule and correlation, in the book's order.
    pub rules: Vec<RuleHits>,
    /// Events in the range of time.
    pub events: u64,
    /// Those that had to be read.
    pub read: u64,
    /// The days that the range has: from its beginning, or the first hit, to its end.
    pub days: f64,
    /// Why it is not whole, if it is not.
    pub partial: Vec<String>,
}

/// What one rule found.
#[derive(Debug, Clone, Serialize)]
pub struct RuleHits {
    /// The rule.
    #[serde(flatten)]
    pub rule: RuleRef,
    /// Events that it matched; for a correlation the alerts that it made.
    pub hits: u64,
    /// Whether a hit is an alert: not for rules that only feed a correlation.
    pub alerts: bool,
    /// Alerts a day.
    pub per_day: f64,
    /// The first and the last hit.
    pub first: Option<Timestamp>,
    /// The last.
    pub last: Option<Timestamp>,
    /// Hits by time.
    pub over_time: Vec<Bucket>,
    /// Whom and what they are about, the most frequent first.
    pub entities: Vec<Entity>,
    /// How it differs from its former version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
    #[serde(skip)]
    ids: HashMap<String, Timestamp>,
}

/// A part of the range of time.
#[derive(Debug, Clone, Serialize)]
pub struct Bucket {
    /// Its beginning.
    pub start: Timestamp,
    /// Hits in it.
    pub hits: u64,
}

/// A field of whom or what, and its values.
#[derive(Debug, Clone, Serialize)]
pub struct Entity {
    /// The field.
    pub field: &'static str,
    /// How many different values there are.
    pub distinct: usize,
    /// The most frequent, with their hits.
    pub top: Vec<(String, u64)>,
}

/// What another version of a rule finds.
#[derive(Debug, Clone, Serialize)]
pub struct Change {
    /// Hits of the former version.
    pub former: u64,
    /// Events that only this one matches.
    pub added: u64,
    /// Events that only the former one matched.
    pub removed: u64,
    /// Ids of some that were added.
    pub added_examples: Vec<String>,
    /// Ids of some that were removed.
    pub removed_examples: Vec<String>,
}

/// Ids that are told of a change.
const EXAMPLES: usize = 5;

/// What one thread counts of a rule.
#[derive(Debug, Default)]
struct Counts {
    hits: u64,
    times: Vec<Timestamp>,
    ids: HashMap<String, Timestamp>,
    entities: [HashMap<String, u64>; ENTITIES.len()],
}

impl Counts {
    fn hit(&mut self, event: &Event, time: Timestamp) {
        self.hits += 1;
        if self.ids.len() < HITS_MAX {
            let id = event.str("event.id").unwrap_or_default();
            self.ids.insert(id.to_owned(), time);
        }
        self.times.push(time);
        for (field, values) in ENTITIES.iter().zip(&mut self.entities) {
            let Some(value) = event.str(field) else { continue };
            let is_room = values.len() < VALUES_MAX;
            match values.get_mut(value) {
                Some(count) => *count += 1,
                None if is_room => {
                    values.insert(value.to_owned(), 1);
                }
                None => {}
            }
        }
    }

    fn add(&mut self, other: Counts) {
        self.hits += other.hits;
        self.times.extend(other.times);
        let room = HITS_MAX.saturating_sub(self.ids.len());
        self.ids.extend(other.ids.into_iter().take(room));
        for (values, more) in self.entities.iter_mut().zip(other.entities) {
            for (value, count) in more {
                *values.entry(value).or_default() += count;
            }
        }
    }
}

/// What one thread has.
struct Worker {
    scratch: Scratch,
    event: Event,
    /// By the rule's place in the book.
    counts: Vec<Counts>,
    /// What correlations read.
    matches: Vec<Match>,
    is_cut: bool,
}

/// Runs the rules of a book over the events of a range of time, each as if it were used alone.
/// `limits` says for how long and with how many threads.
pub fn run(book: &RuleBook, searcher: &Searcher, range: TimeRange, limits: &Limits) -> Backtest {
    let query = Query { filter: filter(book), pipes: Vec::new() };
    let mut request = SearchRequest::new(&query);
    request.range = range;
    request.limits = limits.clone();
    let places: HashMap<&str, usize> = book
        .rules()
        .iter()
        .zip(0..)
        .map(|(entry, place)| (entry.reference.id.as_str(), place))
        .collect();
    let begin = || Worker {
        scratch: book.scratch(),
        event: Event::new(),
        counts: book.rules().iter().map(|_| Counts::default()).collect(),
        matches: Vec::new(),
        is_cut: false,
    };
    let scan = searcher.scan(&request, begin, |worker, json| {
        let Worker { scratch, event, counts, matches, is_cut } = worker;
        // It was parsed before it was stored.
        if event.parse_json(json).is_err() {
            return;
        }
        let time = event.timestamp().unwrap_or(Timestamp::EPOCH);
        let mut feeds = false;
        book.for_each_match(event, scratch, |entry| {
            feeds |= !entry.feeds.is_empty();
            let place = places.get(entry.reference.id.as_str());
            if let Some(counts) = place.and_then(|place| counts.get_mut(*place)) {
                counts.hit(event, time);
            }
        });
        if feeds {
            let otherwise = Otherwise { event_id: "", received: time };
            book.for_each_record(event, &otherwise, scratch, |_, found| {
                if matches!(found.kind, MatchKind::Alert) {
                    return;
                }
                if matches.len() >= HITS_MAX {
                    *is_cut = true;
                    return;
                }
                // Only who and when matters to a count; the whole event would fill the memory.
                matches.push(Match {
                    matched: Vec::new(),
                    event: serde_json::Value::Null,
                    ..found
                });
            });
        }
    });
    let mut partial: Vec<String> = scan.partial.iter().map(Partial::to_string).collect();
    let mut counts: Vec<Counts> = book.rules().iter().map(|_| Counts::default()).collect();
    let mut matches = Vec::new();
    for worker in scan.states {
        for (all, more) in counts.iter_mut().zip(worker.counts) {
            all.add(more);
        }
        matches.extend(worker.matches);
        if worker.is_cut {
            partial.push(format!("correlations read the first {HITS_MAX} of the matches"));
        }
    }
    partial.dedup();
    let alerts = correlated(book, matches);
    let until = range.until.unwrap_or_else(Timestamp::now);
    let first = counts.iter().flat_map(|counts| &counts.times).min().copied();
    let since = range.since.or(first).unwrap_or(until);
    let days =
        (until.as_nanos().saturating_sub(since.as_nanos()) as f64 / DAY_NANOS as f64).max(0.0);
    let told = |rule: &RuleRef, alerts: bool, counts: Counts| {
        told(rule, alerts, counts, (since, until), days)
    };
    let of_rules = book.rules().iter().zip(counts);
    let mut rules: Vec<RuleHits> =
        of_rules.map(|(entry, counts)| told(&entry.reference, entry.alerts, counts)).collect();
    for entry in book.correlations().iter().filter(|entry| entry.runs) {
        let mut counts = Counts::default();
        for alert in alerts.iter().filter(|alert| alert.rule.id == entry.reference.id) {
            counts.hits += 1;
            counts.times.push(alert.time);
            counts.ids.insert(alert.id.clone(), alert.time);
        }
        rules.push(told(&entry.reference, true, counts));
    }
    Backtest { rules, events: scan.in_range, read: scan.shown, days, partial }
}

/// What any of the rules could match.
fn filter(book: &RuleBook) -> Filter {
    if book.rules().len() > FILTERS_MAX {
        return Filter::All;
    }
    let resolved = book.rules().iter().filter_map(|entry| book.resolved(entry));
    let filters: Vec<Filter> =
        resolved.map(|rule| necessary(&rule.logsource, &rule.expr)).collect();
    if filters.contains(&Filter::All) { Filter::All } else { Filter::or(filters) }
}

fn correlated(book: &RuleBook, matches: Vec<Match>) -> Vec<Alert> {
    let definitions = book.correlations().iter().filter(|entry| entry.runs);
    let definitions = definitions
        .filter_map(|entry| Definition::new(&entry.correlation, entry.reference.clone()).ok());
    correlation::batch::alerts(&Correlations::new(definitions), matches, Timestamp::EPOCH)
}

fn told(
    rule: &RuleRef,
    alerts: bool,
    counts: Counts,
    (since, until): (Timestamp, Timestamp),
    days: f64,
) -> RuleHits {
    let step = (until.as_nanos().saturating_sub(since.as_nanos()) / BUCKETS).max(1);
    // Days and hours are what people count in.
    let step = [HOUR_NANOS, 6 * HOUR_NANOS, DAY_NANOS, 7 * DAY_NANOS, 30 * DAY_NANOS]
        .into_iter()
        .find(|unit| *unit >= step)
        .unwrap_or(step);
    let mut buckets: BTreeMap<i64, u64> = BTreeMap::new();
    for time in &counts.times {
        *buckets.entry(time.as_nanos().div_euclid(step)).or_default() += 1;
    }
    let bucket = |(at, hits): (i64, u64)| Bucket {
        start: Timestamp::from_nanos(at.saturating_mul(step)),
        hits,
    };
    let entities =
        ENTITIES.into_iter().zip(counts.entities).filter(|(_, values)| !values.is_empty());
    let entities = entities.map(|(field, values)| {
        let distinct = values.len();
        let mut top: Vec<(String, u64)> = values.into_iter().collect();
        top.sort_by(|(a, hits_a), (b, hits_b)| hits_b.cmp(hits_a).then(a.cmp(b)));
        top.truncate(VALUES_TOLD);
        Entity { field, distinct, top }
    });
    RuleHits {
        rule: rule.clone(),
        hits: counts.hits,
        alerts,
        per_day: if alerts { counts.hits as f64 / days.max(1.0 / 24.0) } else { 0.0 },
        first: counts.times.iter().min().copied(),
        last: counts.times.iter().max().copied(),
        over_time: buckets.into_iter().map(bucket).collect(),
        entities: entities.collect(),
        change: None,
        ids: counts.ids,
    }
}

/// Says of each rule how it differs from the one with its id in the former backtest.
pub fn compare(now: &mut Backtest, former: &Backtest) {
    for rule in &mut now.rules {
        let Some(before) = former.rules.iter().find(|other| other.rule.id == rule.rule.id) else {
            continue;
        };
        let only_in = |these: &RuleHits, those: &RuleHits| {
            let mut ids: Vec<(Timestamp, &String)> = these
                .ids
                .iter()
                .filter(|(id, _)| !those.ids.contains_key(*id))
                .map(|(id, time)| (*time, id))
                .collect();
            ids.sort_unstable();
            let examples = ids.iter().rev().take(EXAMPLES).map(|(_, id)| (*id).clone()).collect();
            (ids.len() as u64, examples)
        };
        let (added, added_examples) = only_in(rule, before);
        let (removed, removed_examples) = only_in(before, rule);
        let former = before.hits;
        rule.change = Some(Change { former, added, removed, added_examples, removed_examples });
    }
}

impl RuleHits {
    /// The ids of the events that were hit, up to [`HITS_MAX`].
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.ids.keys().map(String::as_str)
    }
}
