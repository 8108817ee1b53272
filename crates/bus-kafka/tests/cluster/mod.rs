//! The clusters that tests run on.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bus_kafka::Settings;

/// The brokers of a real cluster, or `None`, said aloud, when there is none.
pub(crate) fn real() -> Option<Vec<String>> {
    if let Ok(brokers) = std::env::var("WATCHPOST_TEST_KAFKA") {
        return Some(brokers.split(',').map(str::to_owned).collect());
    }
    assert!(
        std::env::var_os("WATCHPOST_TEST_NEEDS_ALL").is_none(),
        "WATCHPOST_TEST_KAFKA is not set: start a broker with deploy/dev/kafka/kafka"
    );
    eprintln!("skipped: WATCHPOST_TEST_KAFKA names no broker; deploy/dev/kafka starts one");
    None
}

/// A prefix that no other test has, not even an earlier run on the same cluster.
pub(crate) fn fresh_prefix() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    format!("t{started}.{}.", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Settings under which what takes long takes seconds.
pub(crate) fn quick(brokers: Vec<String>) -> Settings {
    Settings {
        prefix: fresh_prefix(),
        session_timeout: Duration::from_secs(3),
        batch_timeout: Duration::from_secs(4),
        transaction_timeout: Duration::from_secs(5),
        ..Settings::new(brokers)
    }
}
