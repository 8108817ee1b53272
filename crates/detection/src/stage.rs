//! The stage: `events` to `matches`.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use bus::{Output, Record, Reject, Stage, StageError, Topic};
use event::{Alert, Event, Match, MatchKind, Timestamp};
use matcher::Scratch;
use prometheus::IntCounter;

use crate::book::{Otherwise, RuleBook, RuleEntry, Rules};
use crate::metrics;

/// Matches events against all rules.
pub struct DetectionStage {
    rules: Rules,
    book: Arc<RuleBook>,
    scratch: Scratch,
    event: Event,
    /// By a rule's number in the matcher.
    counters: Vec<Option<IntCounter>>,
}

impl DetectionStage {
    /// A worker that uses these rules, and those that take their place.
    pub fn new(rules: Rules) -> Self {
        let book = rules.current();
        let scratch = book.scratch();
        DetectionStage { rules, book, scratch, event: Event::new(), counters: Vec::new() }
    }
}

impl Stage for DetectionStage {
    fn name(&self) -> &'static str {
        "detection"
    }

    fn inputs(&self) -> &[Topic] {
        &[Topic::Events]
    }

    fn process(
        &mut self,
        record: &Record<'_>,
        _now: Timestamp,
        output: &mut Output,
    ) -> Result<(), Reject> {
        self.event.clear();
        self.event
            .parse_json(record.value)
            .map_err(|error| Reject::new(format!("it is no event: {error}")))?;
        // An event that normalisation did not make has no id; its place on the bus is one.
        let place = match self.event.str("event.id") {
            Some(_) => String::new(),
            None => format!("{}-{}-{}", record.topic, record.partition, record.offset),
        };
        let otherwise = Otherwise { event_id: &place, received: record.timestamp };
        let matches = output.to(Topic::Matches);
        let counters = &mut self.counters;
        let mut number = None;
        let held = self.book.for_each_record(
            &self.event,
            &otherwise,
            &mut self.scratch,
            |entry, found| {
                // The records of one rule follow each other.
                if number.replace(entry.number) != Some(entry.number) {
                    counter(counters, entry).inc();
                }
                // Texts, times and a JSON tree: nothing that JSON could refuse.
                let json = serde_json::to_vec(&found).expect("a match has a JSON form");
                matches.push(key(&found).as_bytes(), &[], &json);
            },
        );
        metrics::EVENTS.inc();
        metrics::MATCHES.inc_by(held as u64);
        Ok(())
    }

    fn end_batch(&mut self, _now: Timestamp, _output: &mut Output) -> Result<(), StageError> {
        let current = self.rules.current();
        if !Arc::ptr_eq(&current, &self.book) {
            self.scratch = current.scratch();
            self.book = current;
            self.counters.clear();
        }
        Ok(())
    }
}

/// What keeps a group's matches in one partition, and spreads the others.
fn key(found: &Match) -> String {
    match &found.kind {
        MatchKind::Alert => Alert::make_id(&[&found.rule.id, &found.event_id]),
        MatchKind::Correlation { correlation, group, .. } => {
            let mut parts = vec![correlation.as_str(), &found.namespace];
            parts.extend(group.iter().map(String::as_str));
            Alert::make_id(&parts)
        }
    }
}

/// The counter of a rule, which many rules beyond the bound share.
fn counter<'c>(counters: &'c mut Vec<Option<IntCounter>>, entry: &RuleEntry) -> &'c IntCounter {
    static COUNTED: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);
    let number = entry.number as usize;
    if counters.len() <= number {
        counters.resize(number + 1, None);
    }
    counters[number].get_or_insert_with(|| {
        let mut counted = COUNTED.lock().unwrap_or_else(PoisonError::into_inner);
        let id = &entry.reference.id;
        let is_own = counted.contains(id)
            || (counted.len() < metrics::RULES_COUNTED_MAX && counted.insert(id.clone()));
        metrics::RULE_MATCHES.with_label_values(&[if is_own { id } else { "other" }])
    })
}
