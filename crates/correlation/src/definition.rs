//! The correlations that run, and the handle by which they are exchanged while they do.
//!
//! Of Sigma's correlations this holds what counting needs. Kinds that cannot be counted yet are
//! refused with a reason, so that nobody believes they run.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use event::{RuleRef, Timestamp};
use sigma::{Correlation, CorrelationCondition, CorrelationKind, Operator};

/// A correlation that counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    /// How alerts name it; its id is that of the matches which feed it.
    pub rule: RuleRef,
    /// The names of the group-by fields, as written.
    pub group_by: Vec<String>,
    /// The timespan, in seconds, at least 1.
    pub timespan_s: u64,
    /// What is counted.
    pub measure: Measure,
    /// The tests that the number must pass, never empty.
    pub tests: Vec<(Operator, f64)>,
}

/// What a correlation counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Measure {
    /// Events.
    Events,
    /// Distinct values of these fields.
    Values(Vec<String>),
}

/// Why a correlation cannot run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported(pub String);

impl std::fmt::Display for Unsupported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unsupported {}

impl Definition {
    /// What of a Sigma correlation is needed to run it.
    ///
    /// # Errors
    /// When it is of a kind that does not run.
    pub fn new(correlation: &Correlation, rule: RuleRef) -> Result<Definition, Unsupported> {
        let kind = correlation.kind;
        let refused = || {
            let kind = kind.as_str();
            Unsupported(format!("correlations of type `{kind}` are parsed but not run yet"))
        };
        let CorrelationCondition::Threshold(threshold) = &correlation.condition else {
            return Err(refused());
        };
        let measure = match kind {
            CorrelationKind::EventCount => Measure::Events,
            CorrelationKind::ValueCount => Measure::Values(threshold.fields.clone()),
            _ => return Err(refused()),
        };
        Ok(Definition {
            rule,
            group_by: correlation.group_by.clone(),
            timespan_s: correlation.timespan_s.max(1),
            measure,
            tests: threshold.tests.clone(),
        })
    }

    /// Whether more events can only make the condition true, never false again.
    pub fn grows(&self) -> bool {
        self.tests.iter().all(|(operator, _)| matches!(operator, Operator::Gt | Operator::Gte))
    }

    /// Whether a count passes.
    pub(crate) fn passes(&self, count: u64) -> bool {
        // Counts are far below 2^53, where a float would no longer hold them.
        self.tests.iter().all(|(operator, number)| operator.holds(count as f64, *number))
    }

    /// What must stay the same for windows to go on when the rule is loaded anew: what its groups
    /// and values are, and how long they live. The condition itself may change.
    pub(crate) fn shape(&self) -> String {
        let timespan = self.timespan_s.to_string();
        let mut parts = vec![timespan.as_str(), "group"];
        parts.extend(self.group_by.iter().map(String::as_str));
        if let Measure::Values(fields) = &self.measure {
            parts.push("values");
            parts.extend(fields.iter().map(String::as_str));
        }
        event::Alert::make_id(&parts)
    }

    /// The timespan and the way it cuts the time line.
    pub(crate) fn periods(&self) -> Periods {
        Periods::new(self.timespan_s)
    }
}

/// A timespan, and the periods of that length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Periods {
    pub(crate) span_nanos: i64,
}

impl Periods {
    pub(crate) fn new(timespan_s: u64) -> Self {
        // A timespan longer than the range of times is as good as endless; a quarter keeps sums of
        // two in range.
        let nanos = i64::try_from(timespan_s).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
        Periods { span_nanos: nanos.clamp(1, i64::MAX / 4) }
    }

    /// The period that a time lies in.
    pub(crate) fn of(self, time: Timestamp) -> i64 {
        time.as_nanos().div_euclid(self.span_nanos)
    }

    /// Its first moment.
    pub(crate) fn start(self, period: i64) -> Timestamp {
        Timestamp::from_nanos(period.saturating_mul(self.span_nanos))
    }
}

/// The running correlations. All clones are one, and the set can be exchanged at any time.
#[derive(Debug, Clone, Default)]
pub struct Correlations(Arc<ArcSwap<Set>>);

/// One set of correlations, by id.
pub(crate) type Set = HashMap<String, Arc<Definition>>;

impl Correlations {
    /// A handle of these; of two with the same id the later counts.
    pub fn new(definitions: impl IntoIterator<Item = Definition>) -> Self {
        let correlations = Correlations::default();
        correlations.replace(definitions);
        correlations
    }

    /// Exchanges the set. The windows of correlations that stay as they were go on.
    pub fn replace(&self, definitions: impl IntoIterator<Item = Definition>) {
        let set: Set = definitions
            .into_iter()
            .map(|definition| (definition.rule.id.clone(), Arc::new(definition)))
            .collect();
        self.0.store(Arc::new(set));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.load().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn current(&self) -> Arc<Set> {
        self.0.load_full()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(text: &str) -> Result<Definition, Unsupported> {
        let (documents, faults) = sigma::parse_documents(text, "test.yml");
        assert!(faults.is_empty(), "{faults:?}");
        let Some(sigma::Document::Correlation(correlation)) = documents.first() else {
            panic!("no correlation in {documents:?}")
        };
        Definition::new(correlation, RuleRef { id: "c".into(), ..RuleRef::default() })
    }

    #[test]
    fn counting_kinds_run_and_others_say_why_not() {
        let check = |kind: &str, condition: &str| {
            first(&format!(
                "title: t\ncorrelation:\n  type: {kind}\n  rules: [a, b]\n  group-by: [user]\n  \
                 timespan: 5m\n  condition: {condition}\n"
            ))
        };
        let count = check("event_count", "{gte: 5}").unwrap();
        assert!(count.grows() && count.passes(5) && !count.passes(4));
        assert_eq!(count.timespan_s, 300);
        assert!(!check("event_count", "{gte: 5, lt: 9}").unwrap().grows());
        let values = check("value_count", "{gt: 5, field: user}").unwrap();
        assert_eq!(values.measure, Measure::Values(vec!["user".into()]));
        let refused = check("temporal", "a and b").unwrap_err();
        assert_eq!(
            refused.to_string(),
            "correlations of type `temporal` are parsed but not run yet"
        );
    }

    #[test]
    fn periods_tile_the_time_line() {
        let periods = Periods::new(60);
        let time = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        for (seconds, period) in [(0, 0), (59, 0), (60, 1), (-1, -1), (-60, -1), (-61, -2)] {
            assert_eq!(periods.of(time(seconds)), period, "{seconds}");
        }
        assert_eq!(periods.start(-1), time(-60));
        let endless = Periods::new(u64::MAX);
        assert_eq!(endless.of(time(1)), 0);
    }
}
