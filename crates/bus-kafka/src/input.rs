//! Topics that others write, read for what is in their values: rsyslog's omkafka, Vector, Fluent Bit,
//! applications.
//!
//! Not the bus: these topics have other names, other owners and any number of partitions. Records are
//! read as a member of a consumer group, and their offsets are committed once the caller has made
//! them durable elsewhere. So each is read at least once; after a crash, those since the last commit
//! are read again.

use std::time::{Duration, Instant};

use bus::BusError;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;

use crate::Settings;

/// How much one [`TopicInput::poll`] takes.
#[derive(Debug, Clone, Copy)]
pub struct InputLimits {
    /// How long it waits for a first record.
    pub wait: Duration,
    /// The most records.
    pub records_max: usize,
    /// The most bytes, but for the last record.
    pub bytes_max: usize,
}

impl Default for InputLimits {
    fn default() -> Self {
        InputLimits {
            wait: Duration::from_millis(500),
            records_max: 20_000,
            bytes_max: 4 * 1024 * 1024,
        }
    }
}

/// A record of a topic that somebody else writes.
#[derive(Debug, Clone, Copy)]
pub struct InputRecord<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// Its offset.
    pub offset: u64,
    /// What it says; `None` is Kafka's mark that a key is removed.
    pub value: Option<&'a [u8]>,
}

/// A reader of topics that others write.
pub struct TopicInput {
    consumer: BaseConsumer,
}

impl TopicInput {
    /// Joins a group that reads topics. A name that begins with `^` is a regular expression.
    ///
    /// # Errors
    /// [`BusError::Misconfigured`] when the settings are refused. Brokers that are down are waited
    /// for, and told by [`poll`](Self::poll).
    pub fn open(settings: &Settings, topics: &[String], group: &str) -> Result<Self, BusError> {
        settings.check()?;
        let wrong = |error: KafkaError| BusError::Misconfigured {
            reason: format!("the topics {} can't be read: {error}", topics.join(", ")),
        };
        let mut config = settings.reader("input", group);
        // The first time, what is kept is read from its beginning.
        config.set("auto.offset.reset", "earliest");
        config.set("group.instance.id", format!("{}-input", settings.instance));
        config.set("session.timeout.ms", settings.session_timeout.as_millis().to_string());
        config.set("partition.assignment.strategy", "cooperative-sticky");
        let consumer: BaseConsumer = config.create().map_err(wrong)?;
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics).map_err(wrong)?;
        Ok(TopicInput { consumer })
    }

    /// Hands out what has arrived, and returns how many records.
    ///
    /// # Errors
    /// [`BusError::Unavailable`] with what the cluster or the client says; it can be called again.
    pub fn poll(
        &mut self,
        limits: &InputLimits,
        each: &mut dyn FnMut(InputRecord<'_>),
    ) -> Result<usize, BusError> {
        let until = Instant::now() + limits.wait;
        let (mut records, mut bytes) = (0, 0);
        while records < limits.records_max && bytes < limits.bytes_max {
            let wait = match records {
                0 => until.saturating_duration_since(Instant::now()),
                _ => Duration::ZERO,
            };
            let message = match self.consumer.poll(wait) {
                None => break,
                Some(Ok(message)) => message,
                // What was handed out is good; the next call tells, if it is still so.
                Some(Err(_)) if records > 0 => break,
                Some(Err(error)) => return Err(unavailable("reading topics of others", &error)),
            };
            let offset = u64::try_from(message.offset()).unwrap_or_default();
            each(InputRecord { topic: message.topic(), offset, value: message.payload() });
            records += 1;
            bytes += message.payload_len();
            // It fails only for a partition that is another's by now, who reads the record too.
            self.consumer.store_offset(message.topic(), message.partition(), message.offset()).ok();
        }
        Ok(records)
    }

    /// Commits the offsets of all that was handed out.
    ///
    /// # Errors
    /// [`BusError::Unavailable`]: what was handed out is read again, unless a later commit works.
    pub fn commit(&mut self) -> Result<(), BusError> {
        match self.consumer.commit_consumer_state(CommitMode::Sync) {
            Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => Ok(()),
            Err(error) => Err(unavailable("committing offsets of topics", &error)),
        }
    }
}

fn unavailable(doing: &'static str, error: &KafkaError) -> BusError {
    BusError::Unavailable { doing, reason: error.to_string() }
}
