//! What correlation counts about itself. The names are documented for operators and stay.

use std::sync::LazyLock;

use prometheus::{
    Histogram, IntCounter, IntCounterVec, IntGauge, histogram_opts, register_histogram,
    register_int_counter, register_int_counter_vec, register_int_gauge,
};

pub(crate) static ALERTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "watchpost_correlation_alerts_total",
        "Alerts made, each counted once, by level",
        &["level"]
    )
    .expect("the metric's name is used once")
});

pub(crate) static UPDATES: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "watchpost_correlation_updates_total",
        "Alerts written again because more events belong to them"
    )
    .expect("the metric's name is used once")
});

pub(crate) static LATE: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "watchpost_correlation_late_total",
        "Matches whose event was received later after it happened than the lateness allows; they \
         still count, with what is still there"
    )
    .expect("the metric's name is used once")
});

pub(crate) static UNKNOWN: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "watchpost_correlation_unknown_total",
        "Matches left out because their correlation is not loaded (any more)"
    )
    .expect("the metric's name is used once")
});

pub(crate) static LIMITED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "watchpost_correlation_limited_total",
        "What hit a limit: matches left out of a full period, groups evicted before their time",
        &["limit"]
    )
    .expect("the metric's name is used once")
});

pub(crate) static GROUPS: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!("watchpost_correlation_groups", "Groups that have events in a window")
        .expect("the metric's name is used once")
});

pub(crate) static BYTES: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!("watchpost_correlation_bytes", "About the memory that windows take")
        .expect("the metric's name is used once")
});

pub(crate) static DELAY_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    // 5 ms to 10 minutes.
    let buckets = vec![
        0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0,
    ];
    register_histogram!(histogram_opts!(
        "watchpost_correlation_delay_seconds",
        "From the receipt of the last event of an alert to the alert",
        buckets
    ))
    .expect("the metric's name is used once")
});
