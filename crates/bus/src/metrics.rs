//! The counters of the bus and of stages, in prometheus's default registry.
//!
//! The names are documented for operators and stay. They are registered at the first use; labels
//! are topics, groups and stages, all small closed sets.

use std::sync::LazyLock;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts,
};

pub(crate) static BUS_APPENDED_RECORDS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters("watchpost_bus_appended_records_total", "Records made durable.", &["topic"])
});
pub(crate) static BUS_APPENDED_BYTES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters(
        "watchpost_bus_appended_bytes_total",
        "Bytes of records made durable, before compression.",
        &["topic"],
    )
});
pub(crate) static BUS_REFUSED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters(
        "watchpost_bus_refused_appends_total",
        "Appends and commits refused, by reason (full, disk_low, too_large, storage, fenced, closed, unavailable, denied).",
        &["reason"],
    )
});
pub(crate) static BUS_MISSING: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters(
        "watchpost_bus_missing_records_total",
        "Records that a group could not read, by reason (retention, corrupt).",
        &["group", "topic", "reason"],
    )
});
pub(crate) static BUS_RETIRED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters("watchpost_bus_retired_records_total", "Records removed by retention.", &["topic"])
});
pub(crate) static BUS_REPLAYED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters(
        "watchpost_bus_replayed_records_total",
        "Rejected records put back into the topic that they came from.",
        &["topic"],
    )
});
pub(crate) static BUS_SYNC_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    histogram(
        "watchpost_bus_sync_seconds",
        "Time to make one group of appends and commits durable.",
    )
});
pub(crate) static BUS_PENDING_BYTES: LazyLock<IntGauge> = LazyLock::new(|| {
    register(
        IntGauge::new("watchpost_bus_pending_bytes", "Bytes accepted and not yet durable.")
            .expect("the name is valid"),
    )
});
pub(crate) static BUS_TOPIC_BYTES: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register(
        IntGaugeVec::new(
            Opts::new("watchpost_bus_topic_bytes", "Bytes that a topic takes on disk."),
            &["topic"],
        )
        .expect("the name is valid"),
    )
});
pub(crate) static BUS_LAG: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register(
        IntGaugeVec::new(
            Opts::new("watchpost_bus_lag_records", "Records that a group has still to read."),
            &["group", "topic"],
        )
        .expect("the name is valid"),
    )
});

pub(crate) static STAGE_RECORDS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters("watchpost_stage_records_total", "Records processed and committed.", &["stage"])
});
pub(crate) static STAGE_BYTES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters("watchpost_stage_bytes_total", "Bytes of records processed and committed.", &["stage"])
});
pub(crate) static STAGE_REJECTED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters("watchpost_stage_rejected_total", "Records put onto the topic rejected.", &["stage"])
});
pub(crate) static STAGE_PANICS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters("watchpost_stage_panics_total", "Panics of a stage that were caught.", &["stage"])
});
pub(crate) static STAGE_RETRIES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters("watchpost_stage_retries_total", "Batches undone and tried again.", &["stage"])
});
pub(crate) static STAGE_PROCESS_SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    histograms("watchpost_stage_process_seconds", "Time a stage worked on one batch.", &["stage"])
});
pub(crate) static STAGE_COMMIT_SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    histograms("watchpost_stage_commit_seconds", "Time the commit of one batch took.", &["stage"])
});
pub(crate) static STAGE_DELAY_MS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register(
        IntGaugeVec::new(
            Opts::new(
                "watchpost_stage_delay_milliseconds",
                "How long ago the last processed record was appended.",
            ),
            &["stage"],
        )
        .expect("the name is valid"),
    )
});

fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register(IntCounterVec::new(Opts::new(name, help), labels).expect("the name is valid"))
}

fn histogram(name: &str, help: &str) -> Histogram {
    register(Histogram::with_opts(options(name, help)).expect("the name is valid"))
}

fn histograms(name: &str, help: &str, labels: &[&str]) -> HistogramVec {
    register(HistogramVec::new(options(name, help), labels).expect("the name is valid"))
}

fn options(name: &str, help: &str) -> HistogramOpts {
    // 0.2 ms to 13 s: from a sync on a fast disk to one that is in trouble.
    let buckets = vec![
        0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0,
    ];
    HistogramOpts::new(name, help).buckets(buckets)
}

fn register<C: prometheus::core::Collector + Clone + 'static>(collector: C) -> C {
    // A name that is taken already is a mistake in this file; the metric still counts, unseen.
    prometheus::register(Box::new(collector.clone())).ok();
    collector
}
