//! The identity of the log on a cluster: a topic of one partition whose first record is it.
//!
//! Every copy that finds the topic empty appends a proposal, and all read the first one: whoever
//! was first decides, and nothing needs a lock.

use std::time::{Duration, Instant};

use bus::BusError;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use crate::Settings;
use crate::client::Events;
use crate::error::bus_error;
use crate::topics::create_kept;

const DOING: &str = "agreeing on the log's identity";

/// The name of the topic.
pub(crate) fn topic_name(prefix: &str) -> String {
    format!("{prefix}identity")
}

/// The log's identity; `proposal` becomes it if there is none.
pub(crate) fn identity(
    settings: &Settings,
    exists: bool,
    proposal: &str,
) -> Result<String, BusError> {
    let topic = topic_name(&settings.prefix);
    if !exists {
        if !settings.create_topics {
            return Err(BusError::Misconfigured {
                reason: format!(
                    "the cluster has no topic {topic}; make it with one partition and no retention, or set kafka.create_topics = true"
                ),
            });
        }
        create_kept(settings, &topic)?;
    }
    if let Some(first) = first_record(settings, &topic)? {
        return Ok(first);
    }
    let failed = |error: KafkaError| bus_error(DOING, &error);
    let producer: BaseProducer<Events> =
        settings.producer("identity").create_with_context(Events::default()).map_err(failed)?;
    let record = BaseRecord::<[u8], str>::to(&topic).partition(0).payload(proposal);
    producer.send(record).map_err(|(error, _)| failed(error))?;
    producer.flush(settings.delivery_timeout).map_err(failed)?;
    first_record(settings, &topic)?.ok_or_else(|| BusError::Unavailable {
        doing: DOING,
        reason: format!("{topic} stayed empty"),
    })
}

/// The text of the first record, if there is one.
fn first_record(settings: &Settings, topic: &str) -> Result<Option<String>, BusError> {
    let failed = |error: KafkaError| bus_error(DOING, &error);
    let mut config = settings.reader("identity", &format!("{}identity", settings.prefix));
    config.set("enable.partition.eof", "true").set("fetch.wait.max.ms", "10");
    let reader: BaseConsumer<Events> =
        config.create_with_context(Events::default()).map_err(failed)?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning).map_err(failed)?;
    reader.assign(&list).map_err(failed)?;
    let deadline = Instant::now() + settings.request_timeout;
    while Instant::now() < deadline {
        match reader.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let text = message.payload().map(String::from_utf8_lossy).unwrap_or_default();
                return Ok(Some(text.into_owned()));
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(None),
            Some(Err(error)) => tracing::debug!(%error, topic, DOING),
            None => {}
        }
    }
    Err(BusError::Unavailable { doing: DOING, reason: format!("{topic} cannot be read") })
}
