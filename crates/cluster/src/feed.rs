//! The stage that writes events and alerts into the cluster.
//!
//! A batch becomes one bulk request, and the offsets are committed after it was answered. A document's
//! id is the event's, so what is written twice after a crash is one document all the same. What the
//! cluster refuses for good (a mapping that it does not fit) goes to `rejected`: the batch is done again
//! without it.

use std::collections::HashMap;
use std::time::Duration;

use bus::{Output, Record, Reject, Stage, StageError, Start, StateReader, Topic};
use event::{Event, Timestamp};
use serde_json::{Value, json};

use crate::Cluster;
use crate::client::{ClusterError, reason};
use crate::settings::index_of;

/// How long a bulk request may take.
const BULK_MAX: Duration = Duration::from_secs(120);

/// What is put for the star in the name of the index of all alerts.
const ALERTS: &str = "000001";

/// The most refused records that are remembered between a batch and its next try: more than a batch has.
const REFUSED_MAX: usize = 100_000;

/// Where a record is.
type Place = (Topic, u32, u64);

/// Writes the topics `events` and `alerts` into a cluster.
pub struct FeedStage {
    cluster: Cluster,
    /// Lines for the bulk request.
    body: String,
    /// The places of the records in it.
    places: Vec<Place>,
    /// What the cluster refused for good, and why.
    refused: HashMap<Place, String>,
    has_template: bool,
}

impl FeedStage {
    /// The stage that feeds this cluster.
    pub fn new(cluster: Cluster) -> FeedStage {
        FeedStage {
            cluster,
            body: String::new(),
            places: Vec::new(),
            refused: HashMap::new(),
            has_template: false,
        }
    }

    /// Sends what is there.
    fn send(&mut self) -> Result<(), StageError> {
        if self.places.is_empty() {
            return Ok(());
        }
        if !self.has_template {
            self.cluster.put_template().map_err(StageError::new)?;
            self.has_template = true;
        }
        let body = std::mem::take(&mut self.body);
        let answer = self.cluster.client.bulk(body, BULK_MAX).map_err(StageError::new)?;
        let places = std::mem::take(&mut self.places);
        let items = answer.get("items").and_then(Value::as_array);
        let items = items.filter(|items| items.len() == places.len());
        let Some(items) = items else {
            let strange =
                self.cluster.client.strange("a bulk request without an item for each document");
            return Err(StageError::new(strange));
        };
        let mut failed = None;
        for (place, item) in places.iter().zip(items) {
            let item = item.get("index").unwrap_or(&Value::Null);
            let status = item.get("status").and_then(Value::as_u64).unwrap_or_default();
            if (200..300).contains(&status) {
                continue;
            }
            let why = reason(item).unwrap_or_else(|| format!("status {status}"));
            // Too busy, or broken for now: the same again, later.
            if status == 400 && self.refused.len() < REFUSED_MAX {
                self.refused.insert(*place, format!("the cluster refused it: {why}"));
            }
            failed.get_or_insert((status, why));
        }
        match failed {
            None => Ok(()),
            Some((status, reason)) => Err(StageError::new(ClusterError::Refused {
                url: self.cluster.client.url().to_owned(),
                status: u16::try_from(status).unwrap_or_default(),
                reason,
            })),
        }
    }
}

impl Stage for FeedStage {
    fn name(&self) -> &'static str {
        "indexing"
    }

    fn inputs(&self) -> &[Topic] {
        &[Topic::Events, Topic::Alerts]
    }

    fn restore(
        &mut self,
        _assigned: &[(Topic, bus::Partition)],
        _state: &dyn StateReader,
    ) -> Result<Start, StageError> {
        self.body.clear();
        self.places.clear();
        Ok(Start::Committed)
    }

    fn process(
        &mut self,
        record: &Record<'_>,
        _now: Timestamp,
        _output: &mut Output,
    ) -> Result<(), Reject> {
        let place = (record.topic, record.partition.0, record.offset.0);
        if let Some(reason) = self.refused.get(&place) {
            return Err(Reject::new(reason.clone()));
        }
        let mut event = Event::new();
        event.parse_json(record.value).map_err(|error| Reject::new(error.to_string()))?;
        let text =
            std::str::from_utf8(record.value).map_err(|error| Reject::new(error.to_string()))?;
        let settings = &self.cluster.settings;
        let index = match record.topic {
            // A later version of an alert may be of another day, and takes the place of the former.
            Topic::Alerts => settings.alerts.replacen('*', ALERTS, 1),
            _ => index_of(&settings.events, event.timestamp().unwrap_or(record.timestamp)),
        };
        let mut about = json!({"_index": index});
        if let Some(id) = event.str("event.id") {
            about["_id"] = id.into();
        }
        self.body.push_str(&json!({"index": about}).to_string());
        self.body.push('\n');
        // A line must be one; between tokens of JSON a line's end means nothing.
        self.body.extend(text.chars().map(|c| if matches!(c, '\n' | '\r') { ' ' } else { c }));
        self.body.push('\n');
        self.places.push(place);
        Ok(())
    }

    fn end_batch(&mut self, _now: Timestamp, _output: &mut Output) -> Result<(), StageError> {
        self.send()?;
        self.refused.clear();
        Ok(())
    }

    fn ledger(&self) -> Option<Topic> {
        Some(Topic::Events)
    }
}
