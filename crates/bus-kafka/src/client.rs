//! What all clients of `librdkafka` have in common: configuration, log, errors, statistics.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::ProducerContext;
use rdkafka::statistics::Statistics;

use crate::{Settings, metrics};

/// How often a client tells its figures. Only those are asked that are polled all the time: in the
/// others, what nobody takes would pile up.
pub(crate) const STATISTICS_MS: &str = "5000";

/// A client that tells so often in a row that it knows no broker does not find one by itself.
const ALONE_MAX: u32 = 2;

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
        set("socket.keepalive.enable", "true");
        set("topic.metadata.refresh.interval.ms", "10000");
        set("reconnect.backoff.ms", "50");
        set("reconnect.backoff.max.ms", "2000");
        let record_bytes = self.record_bytes_max + bus::HEADERS_MAX + BATCH_OVERHEAD_BYTES;
        set("message.max.bytes", &record_bytes.to_string());
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
        set("statistics.interval.ms", STATISTICS_MS);
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
        set("fetch.message.max.bytes", "4194304");
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

/// Takes what a client has to tell that is not polled otherwise, or it would keep it for ever.
pub(crate) fn serve(client: &BaseConsumer<Events>) {
    while client.poll(Duration::from_millis(1)).is_some() {}
}

/// What a client tells beside its answers.
#[derive(Debug, Default)]
pub(crate) struct Events {
    /// The last error that concerns the whole client.
    trouble: Mutex<Option<(RDKafkaErrorCode, String)>>,
    /// The first record that could not be delivered, and its topic.
    undelivered: Mutex<Option<(KafkaError, String)>>,
    /// How many statistics in a row have told of no broker.
    alone: AtomicU32,
}

impl Events {
    /// The last trouble, if there was any since the last call.
    pub(crate) fn take_trouble(&self) -> Option<(RDKafkaErrorCode, String)> {
        lock(&self.trouble).take()
    }

    /// Whether the client knows no broker any more, and so will never reach one. It forgets all of
    /// them when a cluster of one broker answers, on its way back from an absence, that it has none,
    /// and then does not always begin again with those of the configuration (librdkafka's issue
    /// 5301). The way out is a new client.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.alone.load(Ordering::Relaxed) >= ALONE_MAX
    }

    /// Why a record could not be delivered since the last call, and to which topic.
    pub(crate) fn take_undelivered(&self) -> Option<(KafkaError, String)> {
        lock(&self.undelivered).take()
    }
}

impl ClientContext for Events {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn stats(&self, statistics: Statistics) {
        metrics::export(&statistics);
        let is_broker = |source: &str| source == "learned" || source == "configured";
        if statistics.brokers.values().any(|broker| is_broker(&broker.source)) {
            self.alone.store(0, Ordering::Relaxed);
        } else {
            self.alone.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "Kafka client");
        let Some(code) = error.rdkafka_error_code() else { return };
        let mut trouble = lock(&self.trouble);
        // That all brokers are down says less than the reason that came before it.
        if code != RDKafkaErrorCode::AllBrokersDown || trouble.is_none() {
            *trouble = Some((code, reason.to_owned()));
        }
    }
}

impl ConsumerContext for Events {}

/// A transaction fails as a whole, so the first record that fails says it all.
impl ProducerContext for Events {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        use RDKafkaErrorCode::{PurgeInflight, PurgeQueue};
        if let Err((error, message)) = result {
            // That is what becomes of the others, and says nothing.
            if matches!(error.rdkafka_error_code(), Some(PurgeInflight | PurgeQueue)) {
                return;
            }
            let mut undelivered = lock(&self.undelivered);
            undelivered.get_or_insert_with(|| (error.clone(), message.topic().to_owned()));
        }
    }
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
