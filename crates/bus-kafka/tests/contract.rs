//! The contract of the bus, kept over Kafka: on the cluster that `librdkafka` mocks, as far as that
//! goes, and on a real one.

mod cluster;

use std::time::Instant;

use bus::contract::PROMISES;
use bus::{Bus, Topic};
use bus_kafka::KafkaBus;
use cluster::{quick, real};
use rdkafka::mocking::MockCluster;

/// What the mocked cluster cannot show: it forgets offsets that come with a transaction, fences
/// nobody, and keeps 5 MB of a partition whatever is asked of it.
const NOT_MOCKED: [&str; 6] = [
    "consume_and_produce_is_atomic",
    "rebalancing_loses_and_doubles_nothing",
    "a_zombie_is_fenced",
    "large_records",
    "back_pressure",
    "retention_by_size",
];

/// Whether this promise is looked at; one alone can be named to look at it closely.
fn is_wanted(name: &str) -> bool {
    std::env::var("WATCHPOST_TEST_PROMISE").map_or(true, |only| only == name)
}

#[test]
fn a_mocked_cluster_keeps_the_contract() {
    // Side by side, because most of the time is waiting for groups to form.
    std::thread::scope(|scope| {
        for (name, promise) in PROMISES {
            if !NOT_MOCKED.contains(&name) && is_wanted(name) {
                scope.spawn(move || mocked(name, promise));
            }
        }
    });
}

fn mocked(name: &str, promise: fn(&dyn Bus)) {
    let started = Instant::now();
    let mock = MockCluster::new(1).expect("starts");
    let mut settings = quick(vec![mock.bootstrap_servers()]);
    // It knows no requests of administrators.
    settings.create_topics = false;
    for topic in Topic::ALL {
        let partitions = if topic <= Topic::Matches { 2 } else { 1 };
        mock.create_topic(&format!("{}{topic}", settings.prefix), partitions, 1).expect("makes");
    }
    for group in ["state", "last"] {
        mock.create_topic(&format!("{}state.{group}", settings.prefix), 2, 1).expect("makes");
    }
    promise(&KafkaBus::connect(settings).expect("connects"));
    eprintln!("mocked: {name} in {:?}", started.elapsed());
}

#[test]
fn a_real_cluster_keeps_the_contract() {
    let Some(brokers) = real() else { return };
    std::thread::scope(|scope| {
        for (name, promise) in PROMISES.into_iter().filter(|(name, _)| is_wanted(name)) {
            let mut settings = quick(brokers.clone());
            settings.partitions = 2;
            if name == "retention_by_size" {
                // A cluster bounds each partition.
                settings.partitions = 1;
                settings.segment_bytes = Some(1024 * 1024);
            }
            scope.spawn(move || {
                let started = Instant::now();
                promise(&KafkaBus::connect(settings).expect("connects"));
                eprintln!("real: {name} in {:?}", started.elapsed());
            });
        }
    });
}
