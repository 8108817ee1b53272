//! The counters of ingestion, in prometheus's default registry.
//!
//! The names are documented for operators and stay. Labels are listeners and reasons, small closed
//! sets; the one that names sources is bounded where it is used.

use std::sync::LazyLock;

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
};

pub(crate) static RECORDS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters("watchpost_ingest_records_total", "Records taken in and made durable.", &["listener"])
});
pub(crate) static BYTES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters(
        "watchpost_ingest_bytes_total",
        "Payload bytes taken in and made durable.",
        &["listener"],
    )
});
pub(crate) static REFUSED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters(
        "watchpost_ingest_refused_records_total",
        "Records refused and told so to their sender, by reason (full, behind, unavailable, too_large, denied, malformed).",
        &["listener", "reason"],
    )
});
pub(crate) static DROPPED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters(
        "watchpost_ingest_dropped_records_total",
        "Records lost because their sender can't be told, by reason (full, unavailable, kernel, denied, malformed, too_large, incomplete).",
        &["listener", "reason"],
    )
});
pub(crate) static DROPPED_BY_SOURCE: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters(
        "watchpost_ingest_dropped_datagrams_total",
        "Datagrams dropped because the intake was full, by sender; the first 256 by name, then as others.",
        &["source"],
    )
});
pub(crate) static SPLIT: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters(
        "watchpost_ingest_split_records_total",
        "Records made of what a message has beyond the limit.",
        &["listener"],
    )
});
pub(crate) static REQUESTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters(
        "watchpost_ingest_requests_total",
        "Requests answered, by status.",
        &["listener", "status"],
    )
});
pub(crate) static CONNECTIONS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register(
        IntGaugeVec::new(
            Opts::new("watchpost_ingest_connections", "Connections that are open."),
            &["listener"],
        )
        .expect("the name is valid"),
    )
});
pub(crate) static CONNECTIONS_CLOSED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters(
        "watchpost_ingest_closed_connections_total",
        "Connections closed by us, by reason (limit, idle, slow, tls, denied, malformed, too_large, unavailable).",
        &["listener", "reason"],
    )
});
pub(crate) static HELD_BACK: LazyLock<IntGauge> = LazyLock::new(|| {
    register(
        IntGauge::new(
            "watchpost_ingest_held_back",
            "1 while nothing is taken because a stage is too far behind.",
        )
        .expect("the name is valid"),
    )
});
pub(crate) static DENIED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters(
        "watchpost_ingest_denied_total",
        "Requests and connections refused for who sent them, by reason (credentials, address).",
        &["reason"],
    )
});
pub(crate) static IN_FLIGHT_BYTES: LazyLock<IntGauge> = LazyLock::new(|| {
    register(
        IntGauge::new(
            "watchpost_ingest_in_flight_bytes",
            "Bytes being received or waiting to be durable, in steps of 64 KiB.",
        )
        .expect("the name is valid"),
    )
});
pub(crate) static FILES_FOLLOWED: LazyLock<IntGauge> =
    LazyLock::new(|| gauge("watchpost_files_followed", "Files that are followed."));

pub(crate) static FILES_OPEN: LazyLock<IntGauge> =
    LazyLock::new(|| gauge("watchpost_files_open", "Followed files that are held open."));

pub(crate) static FILES_LAG_BYTES: LazyLock<IntGauge> = LazyLock::new(|| {
    gauge("watchpost_files_lag_bytes", "Bytes of followed files that are not durable yet.")
});

pub(crate) static FILES_TRUNCATED: LazyLock<IntCounter> = LazyLock::new(|| {
    counter("watchpost_files_truncated_total", "Followed files that were emptied or overwritten.")
});

pub(crate) static FILES_TRUNCATED_UNREAD_BYTES: LazyLock<IntCounter> = LazyLock::new(|| {
    counter(
        "watchpost_files_truncated_unread_bytes_total",
        "Bytes known to be unread when a followed file was emptied or overwritten; lost unless a copy of it is followed.",
    )
});

pub(crate) static FILES_RECOVERED: LazyLock<IntCounter> = LazyLock::new(|| {
    counter(
        "watchpost_files_recovered_records_total",
        "Records found on the bus after a crash and not appended again.",
    )
});

pub(crate) static FILES_ERRORS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters(
        "watchpost_files_errors_total",
        "What went wrong with followed files, by reason (open, read, lookup, limit, damaged, checkpoint).",
        &["reason"],
    )
});

pub(crate) static APPEND_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    // 0.2 ms to 13 s: from a sync on a fast disk to one that is in trouble.
    let buckets = vec![
        0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0,
    ];
    let options = HistogramOpts::new(
        "watchpost_ingest_append_seconds",
        "Time from a batch being complete to it being durable.",
    );
    register(Histogram::with_opts(options.buckets(buckets)).expect("the name is valid"))
});

fn gauge(name: &str, help: &str) -> IntGauge {
    register(IntGauge::new(name, help).expect("the name is valid"))
}

fn counter(name: &str, help: &str) -> IntCounter {
    register(IntCounter::new(name, help).expect("the name is valid"))
}

pub(crate) fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register(IntCounterVec::new(Opts::new(name, help), labels).expect("the name is valid"))
}

fn register<C: Collector + Clone + 'static>(collector: C) -> C {
    // A name that is taken already is a mistake in this file; the metric still counts, unseen.
    prometheus::register(Box::new(collector.clone())).ok();
    collector
}
