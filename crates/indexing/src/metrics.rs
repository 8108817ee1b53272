//! What the index counts about itself.

use std::sync::LazyLock;

use prometheus::{
    Histogram, IntCounter, IntCounterVec, IntGaugeVec, register_histogram, register_int_counter,
    register_int_counter_vec, register_int_gauge_vec,
};

pub(crate) static INDEXED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "watchpost_indexed_total",
        "Events and alerts added to the index",
        &["kind"]
    )
    .expect("the metric's name is used once")
});

pub(crate) static COMMIT_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    register_histogram!("watchpost_index_commit_seconds", "How long commits of the index take")
        .expect("the metric's name is used once")
});

pub(crate) static SEARCH_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    register_histogram!("watchpost_search_seconds", "How long searches take")
        .expect("the metric's name is used once")
});

pub(crate) static RETENTION_REMOVED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "watchpost_index_retention_removed_total",
        "Events and alerts that retention removed, by entry and by the bound that was hit",
        &["dataset", "bound"]
    )
    .expect("the metric's name is used once")
});

pub(crate) static RETAINED_BYTES: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "watchpost_index_retained_bytes",
        "Bytes of the index's files that the events of an entry with a size took when it was applied",
        &["dataset"]
    )
    .expect("the metric's name is used once")
});

pub(crate) static SET_ASIDE: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "watchpost_index_set_aside_total",
        "Damaged partitions that were set aside to be made again from the log"
    )
    .expect("the metric's name is used once")
});

pub(crate) static PURGED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!("watchpost_index_purged_total", "Events and alerts that purges removed")
        .expect("the metric's name is used once")
});
