//! A set of rules that is in use: what was loaded, and the matcher made of it.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use event::raw::NAMESPACE_DEFAULT;
use event::{Event, Match, MatchKind, MatchedField, RuleRef, Timestamp};
use matcher::{Explanation, Matcher, Scratch};
use sigma::{Correlation, Diagnostic, Rule};

use crate::groups;

/// Rules and correlations, ready for use. Never changes; see [`Rules`] for how it is exchanged.
#[derive(Debug)]
pub struct RuleBook {
    pub(crate) rules: Vec<RuleEntry>,
    pub(crate) correlations: Vec<CorrelationEntry>,
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// The text of each file, by its name in rules and diagnostics.
    pub(crate) sources: HashMap<String, Arc<str>>,
    pub(crate) matcher: Matcher,
    /// By the matcher's numbers: the place in `rules`.
    pub(crate) places: Vec<u32>,
    pub(crate) by_name: HashMap<String, Place>,
    /// How many files hold something that was refused.
    pub(crate) refused: usize,
}

/// Where something with an id stands.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    Rule(usize),
    Correlation(usize),
}

/// A rule that is in use.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleEntry {
    /// The rule as written.
    pub rule: Rule,
    /// How matches and alerts name it.
    pub reference: RuleRef,
    /// Whether a match is an alert by itself.
    pub alerts: bool,
    /// The correlations that read it.
    pub feeds: Vec<Feed>,
    /// Its number in the matcher.
    pub(crate) number: u32,
}

/// What a correlation wants to know of a rule's events. Fields have the event's names; where a
/// native name has several, the first that an event has counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feed {
    /// The correlation's id.
    pub correlation: String,
    /// For each group-by field, its names in the event.
    pub group: Vec<Vec<String>>,
    /// For each field whose values are counted, its names in the event.
    pub values: Vec<Vec<String>>,
}

/// A correlation that was loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct CorrelationEntry {
    /// The correlation as written.
    pub correlation: Correlation,
    /// How matches and alerts name it.
    pub reference: RuleRef,
    /// Whether it runs. If not, a diagnostic says why.
    pub runs: bool,
}

/// What an id or a name stands for.
#[derive(Debug, Clone, Copy)]
pub enum Found<'a> {
    /// A rule.
    Rule(&'a RuleEntry),
    /// A correlation.
    Correlation(&'a CorrelationEntry),
}

impl RuleBook {
    /// The rules in use, in the order of their files.
    pub fn rules(&self) -> &[RuleEntry] {
        &self.rules
    }

    /// The correlations, in the order of their files.
    pub fn correlations(&self) -> &[CorrelationEntry] {
        &self.correlations
    }

    /// What is to be said about the files: why rules were refused, and warnings.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// How many files hold something that was refused; most hold one rule.
    pub fn refused(&self) -> usize {
        self.refused
    }

    /// The rule or correlation with this id or name.
    pub fn find(&self, id: &str) -> Option<Found<'_>> {
        match *self.by_name.get(id)? {
            Place::Rule(place) => self.rules.get(place).map(Found::Rule),
            Place::Correlation(place) => self.correlations.get(place).map(Found::Correlation),
        }
    }

    /// The text of a file, as it was when it was loaded; the name is that of rules and
    /// diagnostics.
    pub fn source(&self, file: &str) -> Option<&str> {
        self.sources.get(file).map(|text| &**text)
    }

    /// Room for one worker.
    pub fn scratch(&self) -> Scratch {
        self.matcher.scratch()
    }

    /// Shows each rule that holds for an event.
    pub fn for_each_match(
        &self,
        event: &Event,
        scratch: &mut Scratch,
        mut each: impl FnMut(&RuleEntry),
    ) {
        for number in self.matcher.matches(event, scratch) {
            let place = self.places.get(*number as usize);
            if let Some(entry) = place.and_then(|place| self.rules.get(*place as usize)) {
                each(entry);
            }
        }
    }

    /// What a rule asks of events, in their names.
    pub fn resolved(&self, entry: &RuleEntry) -> Option<&matcher::Rule> {
        self.matcher.rule(entry.number)
    }

    /// The fields that make a rule of this book hold for an event.
    pub fn matched(&self, entry: &RuleEntry, event: &Event) -> Vec<MatchedField> {
        self.matcher.matched(entry.number, event)
    }

    /// What becomes of each part of a rule's condition for an event.
    pub fn explain(&self, entry: &RuleEntry, event: &Event) -> Option<Explanation> {
        self.matcher.explain(entry.number, event)
    }

    /// Shows the records of `matches` that an event makes, each with its rule; those of one rule
    /// follow each other. Returns how many rules held.
    pub fn for_each_record(
        &self,
        event: &Event,
        otherwise: &Otherwise<'_>,
        scratch: &mut Scratch,
        mut each: impl FnMut(&RuleEntry, Match),
    ) -> usize {
        let mut held = 0;
        let mut whole: Option<serde_json::Value> = None;
        self.for_each_match(event, scratch, |entry| {
            held += 1;
            let whole = whole.get_or_insert_with(|| {
                // An event always writes valid JSON.
                serde_json::from_str(&event.to_json()).unwrap_or_default()
            });
            let mut record = Match {
                kind: MatchKind::Alert,
                rule: entry.reference.clone(),
                event_id: event.str("event.id").unwrap_or(otherwise.event_id).to_owned(),
                event_time: event.timestamp().unwrap_or(otherwise.received),
                received: event.time("event.ingested").unwrap_or(otherwise.received),
                namespace: event
                    .str("data_stream.namespace")
                    .unwrap_or(NAMESPACE_DEFAULT)
                    .to_owned(),
                matched: self.matched(entry, event),
                event: serde_json::Value::Null,
            };
            for feed in &entry.feeds {
                groups::for_each_group(feed, event, |group, value| {
                    record.kind = MatchKind::Correlation {
                        correlation: feed.correlation.clone(),
                        group: group.to_vec(),
                        value: value.map(str::to_owned),
                    };
                    each(entry, Match { event: whole.clone(), ..record.clone() });
                });
            }
            if entry.alerts {
                record.kind = MatchKind::Alert;
                each(entry, Match { event: whole.clone(), ..record });
            }
        });
        held
    }
}

/// What a match says where its event is silent.
#[derive(Debug, Clone, Copy)]
pub struct Otherwise<'a> {
    /// The id of an event without `event.id`.
    pub event_id: &'a str,
    /// When it was received, if it has no `event.ingested`; its time, if it has no `@timestamp`.
    pub received: Timestamp,
}

/// The rules in use. All clones are one; a new book is seen by stages at their next batch.
#[derive(Debug, Clone)]
pub struct Rules(Arc<ArcSwap<RuleBook>>);

impl Rules {
    /// A handle of this book.
    pub fn new(book: RuleBook) -> Self {
        crate::metrics::count_rules(&book);
        Rules(Arc::new(ArcSwap::from_pointee(book)))
    }

    /// The book that is in use now.
    pub fn current(&self) -> Arc<RuleBook> {
        self.0.load_full()
    }

    /// Puts a book into use.
    pub fn replace(&self, book: RuleBook) {
        crate::metrics::count_rules(&book);
        self.0.store(Arc::new(book));
    }
}
