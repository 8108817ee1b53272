//! What detection counts about itself. The names are documented for operators and stay.

use std::sync::LazyLock;

use prometheus::{
    IntCounter, IntCounterVec, IntGaugeVec, register_int_counter, register_int_counter_vec,
    register_int_gauge_vec,
};

use crate::book::RuleBook;

/// The most rules that have a counter of their own, so that a set that is reloaded with ever new
/// ids does not fill the registry. The others share one, named `other`.
pub(crate) const RULES_COUNTED_MAX: usize = 10_000;

pub(crate) static EVENTS: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "watchpost_detection_events_total",
        "Events that were matched against all rules"
    )
    .expect("the metric's name is used once")
});

pub(crate) static MATCHES: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!("watchpost_detection_matches_total", "Rules that held for an event")
        .expect("the metric's name is used once")
});

pub(crate) static RULE_MATCHES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "watchpost_detection_rule_matches_total",
        "Events for which a rule held, by the rule's id",
        &["rule"]
    )
    .expect("the metric's name is used once")
});

pub(crate) static UNGROUPED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "watchpost_detection_ungrouped_total",
        "Matches that no correlation counts, because the event lacks a field that it groups by or \
         counts"
    )
    .expect("the metric's name is used once")
});

pub(crate) static LIMITED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "watchpost_detection_limited_total",
        "Matches of which only some groups are counted, because the event has too many values"
    )
    .expect("the metric's name is used once")
});

static RULES: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "watchpost_detection_rules",
        "Rules and correlations, by what became of them (loaded, refused)",
        &["state"]
    )
    .expect("the metric's name is used once")
});

/// Tells how many rules are in use.
pub(crate) fn count_rules(book: &RuleBook) {
    let set = |state: &str, count: usize| {
        RULES.with_label_values(&[state]).set(i64::try_from(count).unwrap_or(i64::MAX));
    };
    set("loaded", book.rules().len() + book.correlations().len());
    set("refused", book.refused());
}
