//! The client's own figures, from the statistics that `librdkafka` keeps.

use std::sync::LazyLock;

use prometheus::{GaugeVec, IntGaugeVec, Opts};
use rdkafka::Statistics;

static RTT_SECONDS: LazyLock<GaugeVec> = LazyLock::new(|| {
    let options = Opts::new(
        "watchpost_kafka_broker_rtt_seconds",
        "How long a broker takes to answer, 99th percentile of the last interval.",
    );
    register(GaugeVec::new(options, &["client", "broker"]).expect("the name is valid"))
});
static BROKER_ERRORS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauges(
        "watchpost_kafka_broker_errors",
        "Errors since the client was made, by kind (send, receive, timeout, retry).",
        &["client", "broker", "kind"],
    )
});
static WAITING: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauges(
        "watchpost_kafka_waiting_records",
        "Records that the client has accepted and no broker has acknowledged.",
        &["client"],
    )
});
static REBALANCES: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauges(
        "watchpost_kafka_rebalances",
        "How often the group of a consumer dealt its partitions since it joined.",
        &["client"],
    )
});

/// Takes over what a client tells every few seconds.
pub(crate) fn export(statistics: &Statistics) {
    let client = statistics.client_id.as_str();
    WAITING.with_label_values(&[client]).set(gauge(statistics.msg_cnt));
    for broker in statistics.brokers.values().filter(|broker| broker.nodeid >= 0) {
        let name = broker.nodename.as_str();
        if let Some(rtt) = &broker.rtt {
            RTT_SECONDS.with_label_values(&[client, name]).set(rtt.p99 as f64 / 1e6);
        }
        let kinds = [
            ("send", broker.txerrs),
            ("receive", broker.rxerrs),
            ("timeout", broker.req_timeouts),
            ("retry", broker.txretries),
        ];
        for (kind, count) in kinds {
            BROKER_ERRORS.with_label_values(&[client, name, kind]).set(gauge(count));
        }
    }
    if let Some(group) = &statistics.cgrp {
        REBALANCES.with_label_values(&[client]).set(i64::from(group.rebalance_cnt as i32));
    }
}

fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn gauges(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    register(IntGaugeVec::new(Opts::new(name, help), labels).expect("the name is valid"))
}

fn register<C: prometheus::core::Collector + Clone + 'static>(collector: C) -> C {
    // A name that is taken already is a mistake in this file; the metric still counts, unseen.
    prometheus::register(Box::new(collector.clone())).ok();
    collector
}
