//! What the index counts about itself.

use std::sync::LazyLock;

use prometheus::{Histogram, IntCounterVec, register_histogram, register_int_counter_vec};

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
