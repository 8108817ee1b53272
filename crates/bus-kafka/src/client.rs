//! What all clients of `librdkafka` have in common: configuration, log, errors, statistics.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;
use rdkafka::statistics::Statistics;

use crate::error::is_denied;
use crate::{Settings, metrics};

/// How often a client tells its figures.
const STATISTICS_EVERY: Duration = Duration::from_secs(5);

/// Room for what a batch adds to its records.
const BATCH_OVERHEAD_BYTES: usize = 64 * 1024;

impl Settings {
    /// The configuration of a client called `role`.
    pub(crate) fn client(&self, role: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        let mut set = |name: &str, value: &str| {
            config.set(name, value);
        };
        set("bootstrap.servers", &self.brokers.join(","));
        set("client.id", &format!("{}-{role}", self.instance));
        set("statistics.interval.ms", &milliseconds(STATISTICS_EVERY));
        set("socket.keepalive.enable", "true");
        set("topic.metadata.refresh.interval.ms", "60000");
        set("reconnect.backoff.ms", "50");
        set("reconnect.backoff.max.ms", "2000");
        let record_bytes = self.record_bytes_max + bus::HEADERS_MAX + BATCH_OVERHEAD_BYTES;
        set("message.max.bytes", &record_bytes.to_string());
        set("fetch.message.max.bytes", "4194304");
        set("receive.message.max.bytes", &(record_bytes * 4).max(100_000_000).to_string());
        let protocol = match (&self.tls, &self.sasl) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        set("security.protocol", protocol);
        if let Some(tls) = &self.tls {
            if let Some(ca) = &tls.ca {
                set("ssl.ca.location", &ca.to_string_lossy());
            }
            if let Some((certificate, key)) = &tls.identity {
                set("ssl.certificate.location", &certificate.to_string_lossy());
                set("ssl.key.location", &key.to_string_lossy());
            }
        }
        if let Some(sasl) = &self.sasl {
            set("sasl.mechanism", sasl.mechanism.as_str());
            set("sasl.username", &sasl.username);
            set("sasl.password", sasl.password.reveal());
        }
        for (name, value) in &self.client {
            set(name, value);
        }
        config.set_log_level(RDKafkaLogLevel::Warning);
        config
    }

    /// The configuration of a producer. What it sends is on all brokers that must have it, once.
    pub(crate) fn producer(&self, role: &str) -> ClientConfig {
        let mut config = self.client(role);
        let mut set = |name: &str, value: &str| {
            if !self.client.contains_key(name) {
                config.set(name, value);
            }
        };
        set("enable.idempotence", "true");
        set("acks", "all");
        set("compression.type", &self.compression);
        // Long enough to gather what comes at the same time, short against a sync.
        set("linger.ms", "2");
        set("batch.size", "1000000");
        // Our own bound is [`Settings::pending_bytes_max`], and a commit is never cut in two.
        set("queue.buffering.max.messages", "0");
        set("queue.buffering.max.kbytes", "2097151");
        set("delivery.timeout.ms", &milliseconds(self.delivery_timeout));
        config
    }

    /// The configuration of a consumer that sees committed records only and stores no offsets by
    /// itself.
    pub(crate) fn reader(&self, role: &str, group: &str) -> ClientConfig {
        let mut config = self.client(role);
        let mut set = |name: &str, value: &str| {
            if !self.client.contains_key(name) {
                config.set(name, value);
            }
        };
        set("group.id", group);
        set("isolation.level", "read_committed");
        set("enable.auto.commit", "false");
        set("enable.auto.offset.store", "false");
        // A position that does not exist is a gap to report, never a silent jump.
        set("auto.offset.reset", "error");
        set("allow.auto.create.topics", "false");
        set("fetch.wait.max.ms", "100");
        set("fetch.queue.backoff.ms", "20");
        set("queued.max.messages.kbytes", "16384");
        set("check.crcs", "true");
        config
    }
}

pub(crate) fn milliseconds(duration: Duration) -> String {
    duration.as_millis().to_string()
}

/// Locks a mutex whose contents are whole after every step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a client tells beside its answers.
#[derive(Debug, Default)]
pub(crate) struct Events {
    /// The last error that concerns the whole client, and whether it is a refusal.
    trouble: Mutex<Option<(bool, String)>>,
}

impl Events {
    /// The last trouble, if there was any since the last call.
    pub(crate) fn take_trouble(&self) -> Option<(bool, String)> {
        lock(&self.trouble).take()
    }
}

impl ClientContext for Events {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn stats(&self, statistics: Statistics) {
        metrics::export(&statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        tracing::debug!(%error, reason, "Kafka client");
        let is_refusal = code.is_some_and(is_denied);
        // That all brokers are down says less than the reason that came before it.
        if code != Some(RDKafkaErrorCode::AllBrokersDown) || lock(&self.trouble).is_none() {
            *lock(&self.trouble) = Some((is_refusal, reason.to_owned()));
        }
    }
}

impl ConsumerContext for Events {}

/// Nobody waits for single deliveries: a transaction fails as a whole.
impl ProducerContext for Events {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

/// Passes on a line of `librdkafka`'s log.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    use RDKafkaLogLevel as Level;
    match level {
        Level::Emerg | Level::Alert | Level::Critical => {
            tracing::error!(target: "kafka", facility, message);
        }
        // Connections that fail come as errors here; they are tried again by themselves.
        Level::Error | Level::Warning => tracing::warn!(target: "kafka", facility, message),
        Level::Notice | Level::Info => tracing::info!(target: "kafka", facility, message),
        Level::Debug => tracing::debug!(target: "kafka", facility, message),
    }
}
