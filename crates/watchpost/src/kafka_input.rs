//! Kafka topics that others write, read into `raw`.

use std::time::Duration;

use bus::BusError;
use bus_kafka::{InputLimits, TopicInput};
use event::{RawRecord, Timestamp};
use ingest::{Batch, Intake, LINE_BYTES_MAX, WhenFull};
use tokio::sync::watch;

use crate::config::Config;
use crate::engine::EngineError;
use crate::open_bus::kafka_settings;

/// The name of this reader in records and metrics.
const LISTENER: &str = "kafka";

/// How long to wait after an error before the cluster is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// A reader of the topics that the configuration names.
pub(crate) struct KafkaInput {
    input: TopicInput,
    dataset: String,
}

impl KafkaInput {
    /// Opens the topics, if any are named.
    ///
    /// # Errors
    /// When there is no cluster for them, or its settings are refused.
    pub(crate) fn open(config: &Config) -> Result<Option<KafkaInput>, EngineError> {
        let table = &config.kafka;
        if table.input_topics.is_empty() {
            return Ok(None);
        }
        let url = match table.input_url.as_str() {
            "" => &config.bus.url,
            url => url,
        };
        let mut settings = kafka_settings(config, url)?;
        // A copy has one place among those that read these topics, beside its place on the bus.
        settings.instance = format!("{}-{LISTENER}", settings.instance);
        let input = TopicInput::open(&settings, &table.input_topics, &table.input_group)?;
        Ok(Some(KafkaInput { input, dataset: table.input_dataset.clone() }))
    }

    /// Reads until it is told to stop. `on` is where the intake's appends run.
    pub(crate) fn run(
        mut self,
        intake: &Intake,
        mut stopped: watch::Receiver<bool>,
        on: &tokio::runtime::Handle,
    ) {
        let mut batch = Batch::new();
        let mut is_failing = false;
        while !*stopped.borrow() {
            let received = Timestamp::now();
            let dataset = &self.dataset;
            let polled = self.input.poll(&InputLimits::default(), &mut |record| {
                let Some(payload) = record.value.filter(|value| !value.is_empty()) else { return };
                if payload.len() > LINE_BYTES_MAX {
                    let (topic, offset, bytes) = (record.topic, record.offset, payload.len());
                    ingest::count_too_large(LISTENER);
                    tracing::warn!(topic, offset, bytes, "a record over the limit was left out");
                    return;
                }
                batch.push(&RawRecord {
                    listener: LISTENER,
                    peer: record.topic,
                    dataset,
                    position: Some(record.offset),
                    ..RawRecord::new(payload, received)
                });
            });
            let done = match polled {
                Ok(0) => Ok(()),
                Ok(_) => {
                    let appended = on.block_on(async {
                        tokio::select! {
                            done = intake.append(&mut batch, LISTENER, WhenFull::Wait) => done,
                            _ = stopped.wait_for(|stop| *stop) => Err(BusError::Closed),
                        }
                    });
                    // It waits for a bus that will take it. One that never will ends this too: what
                    // is not committed is read again after the next start.
                    if let Err(error) = appended {
                        if !matches!(error, BusError::Closed) {
                            tracing::error!(%error, "topics of others are not read any more");
                        }
                        return;
                    }
                    self.input.commit()
                }
                Err(error) => Err(error),
            };
            // Told once for each time that it begins.
            if let Err(error) = &done
                && !is_failing
            {
                tracing::error!(%error, "topics of others are not read; trying again");
            }
            is_failing = done.is_err();
            if is_failing {
                std::thread::sleep(PAUSE);
            }
        }
    }
}
