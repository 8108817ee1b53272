//! The stage between the topics `raw` and `events`.
//!
//! It only carries: headers into the record, events into JSON, counts into metrics. What an event
//! is gets decided by [`Normalizer`]. A record's events have the key of the entity that they are
//! about, so that all events of one host are in one order behind this stage.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use bus::ledger::SOURCE;
use bus::{Output, Partition, Record, Reject, Stage, StageError, Start, StateReader, Topic};
use event::{Event, EventId, RawRecord, Timestamp, Value};
use prometheus::{IntCounter, IntCounterVec, Opts};

use crate::health::Health;
use crate::joining::{Arrival, Change, Joined, Joiner, Place};
use crate::{MISSING_TIME, Normalizer, Options, UNPARSED};

/// The most datasets that are counted apart, in one process. Senders choose the names of datasets,
/// so that without a limit a sender could fill the memory of whoever reads the metrics.
const DATASETS_COUNTED_MAX: usize = 256;

/// The largest event as JSON. A record as large as the bus takes, with its original beside it, could
/// make an event that the bus refuses, and then the batch could never be committed.
const EVENT_BYTES_MAX: usize = bus::RECORD_BYTES_MAX - 64 * 1024;

/// The tag of an event without its original, which would have made it too large.
const ORIGINAL_DROPPED: &str = "original_dropped";

/// The dataset under which all further ones are counted.
const OTHER_DATASETS: &str = "other";

/// The fields that tell whom an event is about, most telling first.
const ENTITIES: [&str; 8] = [
    "host.name",
    "host.hostname",
    "user.name",
    "user.id",
    "source.ip",
    "source.address",
    "log.source.address",
    "log.file.path",
];

/// What the keys of records that wait for others begin with in the stage's state; the offset of the
/// first follows.
const WAITING: &[u8] = b"joining/";

/// Normalises the topic `raw` into the topic `events`.
pub struct NormalizeStage {
    maker: Maker,
    joiner: Joiner,
    /// The records that are whole, for the moment between that and their event.
    whole: Vec<Joined>,
    /// When the last record of each partition was appended.
    last: HashMap<Partition, Timestamp>,
    /// Whether nothing came since the last batch ended.
    is_idle: bool,
}

/// Makes events of records.
struct Maker {
    normalizer: Normalizer,
    log: String,
    /// Counters by dataset, so that the global table is asked once per dataset.
    counters: HashMap<String, Counters>,
    health: Health,
    json: Vec<u8>,
}

impl NormalizeStage {
    /// The stage. `log_id` is the identity of the bus, and begins the id of every event: two buses
    /// never give two events one id, and a replay of one gives the same ids again.
    pub fn new(options: Options, log_id: String) -> NormalizeStage {
        NormalizeStage {
            maker: Maker {
                normalizer: Normalizer::new(options),
                log: log_id,
                counters: HashMap::new(),
                health: Health::default(),
                json: Vec::new(),
            },
            joiner: Joiner::default(),
            whole: Vec::new(),
            last: HashMap::new(),
            is_idle: true,
        }
    }
}

impl Maker {
    /// The events of a record, each with the key of the entity that it is about.
    fn make(
        &mut self,
        raw: &RawRecord<'_>,
        Place { partition, offset }: Place,
        source: &[u8],
        now: Timestamp,
        output: &mut Output,
    ) -> Result<(), Reject> {
        let id = EventId { log: &self.log, partition, offset, index: 0 };
        let (counters, health, json) = (&mut self.counters, &mut self.health, &mut self.json);
        let events = output.to(Topic::Events);
        let mut too_large = None;
        self.normalizer
            .normalize(raw, Some(id), &mut |event| {
                write(event, json);
                if json.len() > EVENT_BYTES_MAX {
                    too_large = Some(json.len());
                    return;
                }
                count(counters, event);
                // A sender that writes to the topic itself says when it was received.
                health.count(Partition(partition), event, raw.received.min(now));
                events.push(entity(event).as_bytes(), &[(SOURCE, source)], json);
            })
            .map_err(|rejected| Reject::new(rejected.to_string()))?;
        match too_large {
            Some(bytes) => Err(Reject::new(format!(
                "the event has {bytes} bytes as JSON; at most {EVENT_BYTES_MAX} are taken"
            ))),
            None => Ok(()),
        }
    }

    /// The events of records that are whole. Each is far below what an event may have.
    fn make_joined(
        &mut self,
        whole: &mut Vec<Joined>,
        now: Timestamp,
        output: &mut Output,
    ) -> Result<(), Reject> {
        for joined in whole.drain(..) {
            self.make(&joined.raw(), joined.place, &joined.source, now, output)?;
        }
        Ok(())
    }
}

impl Stage for NormalizeStage {
    fn name(&self) -> &'static str {
        "normalize"
    }

    fn inputs(&self) -> &[Topic] {
        &[Topic::Raw]
    }

    fn ledger(&self) -> Option<Topic> {
        Some(Topic::Raw)
    }

    fn restore(
        &mut self,
        _assigned: &[(Topic, Partition)],
        state: &dyn StateReader,
    ) -> Result<Start, StageError> {
        self.maker.health.restore(state)?;
        self.joiner.clear();
        self.whole.clear();
        self.last.clear();
        let joiner = &mut self.joiner;
        state.scan(WAITING, &mut |Partition(partition), key, value| {
            let offset = key.get(WAITING.len()..).and_then(|offset| offset.try_into().ok());
            if let Some(offset) = offset.map(u64::from_be_bytes) {
                joiner.restore(Place { partition, offset }, value);
            }
        })?;
        Ok(Start::Committed)
    }

    fn end_batch(&mut self, now: Timestamp, output: &mut Output) -> Result<(), StageError> {
        let is_idle = std::mem::replace(&mut self.is_idle, true);
        if !self.joiner.is_empty() {
            let last = &self.last;
            let clock = |partition| match is_idle {
                true => now,
                false => last.get(&Partition(partition)).copied().unwrap_or(Timestamp::EPOCH),
            };
            self.joiner.overdue(&clock, &mut self.whole);
            self.maker.make_joined(&mut self.whole, now, output).map_err(StageError::new)?;
        }
        self.joiner.changes(&mut |change| match change {
            Change::Put(place, value) => {
                output.put_state(Partition(place.partition), waiting(place), value);
            }
            Change::Delete(place) => {
                output.delete_state(Partition(place.partition), waiting(place));
            }
        });
        self.maker.health.write(now, false, output);
        Ok(())
    }

    fn finish(&mut self, now: Timestamp, output: &mut Output) -> Result<(), StageError> {
        self.maker.health.write(now, true, output);
        Ok(())
    }

    fn process(
        &mut self,
        record: &Record<'_>,
        now: Timestamp,
        output: &mut Output,
    ) -> Result<(), Reject> {
        self.is_idle = false;
        self.last.insert(record.partition, record.timestamp);
        let raw = raw_record(record);
        let arrival = arrival(record, &raw);
        let is_part = self.joiner.push(&arrival, &mut self.whole);
        self.maker.make_joined(&mut self.whole, now, output)?;
        if is_part {
            output.hold();
            return Ok(());
        }
        self.maker.make(&raw, arrival.place, record.key, now, output)
    }
}

fn waiting(place: Place) -> Vec<u8> {
    [WAITING, &place.offset.to_be_bytes()].concat()
}

/// A record of the topic `raw` as it comes to the [`Joiner`].
pub fn arrival<'r>(record: &Record<'r>, raw: &'r RawRecord<'r>) -> Arrival<'r> {
    let place = Place { partition: record.partition.0, offset: record.offset.0 };
    Arrival { raw, place, source: record.key, at: record.timestamp }
}

/// A record of the topic `raw`, with what its headers say.
pub fn raw_record<'r>(record: &Record<'r>) -> RawRecord<'r> {
    let mut raw = RawRecord::new(record.value, record.timestamp);
    for (name, value) in record.headers.iter() {
        raw.read_header(name, value);
    }
    raw
}

/// An event as it goes onto the topic `events`: if need be without its original. None if it is too
/// large even so, and its record is rejected.
pub fn event_json(event: &Event) -> Option<Vec<u8>> {
    let mut json = Vec::new();
    write(event, &mut json);
    (json.len() <= EVENT_BYTES_MAX).then_some(json)
}

/// Writes the event, if need be without its original: the topic `raw` has that too.
fn write(event: &Event, json: &mut Vec<u8>) {
    json.clear();
    event.write_json(json);
    if json.len() > EVENT_BYTES_MAX && event.get("event.original").is_some() {
        let mut smaller = event.clone();
        smaller.remove("event.original");
        smaller.append("tags", ORIGINAL_DROPPED);
        json.clear();
        smaller.write_json(json);
    }
}

/// Whom the event is about; empty when nothing tells.
fn entity(event: &Event) -> &str {
    ENTITIES.iter().find_map(|path| event.str(path).filter(|name| !name.is_empty())).unwrap_or("")
}

/// What is counted of one dataset.
#[derive(Debug, Clone)]
struct Counters {
    events: IntCounter,
    unparsed: IntCounter,
    missing_time: IntCounter,
}

impl Counters {
    fn of(dataset: &str) -> Counters {
        let mut known = COUNTED.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = known.iter().any(|name| name == dataset);
        let label = if is_known {
            dataset
        } else if known.len() < DATASETS_COUNTED_MAX {
            known.push(dataset.to_owned());
            dataset
        } else {
            OTHER_DATASETS
        };
        Counters {
            events: EVENTS.with_label_values(&[label]),
            unparsed: UNPARSED_EVENTS.with_label_values(&[label]),
            missing_time: MISSING_TIMES.with_label_values(&[label]),
        }
    }
}

fn count(counters: &mut HashMap<String, Counters>, event: &Event) {
    let dataset = event.str("event.dataset").unwrap_or_default();
    let counters = match counters.get(dataset) {
        Some(counters) => counters,
        None => {
            // The names that did not get counters of their own share those of "other", and are not
            // remembered one by one.
            let key = if counters.len() < DATASETS_COUNTED_MAX { dataset } else { OTHER_DATASETS };
            counters.entry(key.to_owned()).or_insert_with(|| Counters::of(key))
        }
    };
    counters.events.inc();
    for tag in event.values("tags") {
        match tag {
            Value::Text(UNPARSED) => counters.unparsed.inc(),
            Value::Text(MISSING_TIME) => counters.missing_time.inc(),
            _ => {}
        }
    }
}

/// The datasets that have counters of their own.
static COUNTED: Mutex<Vec<String>> = Mutex::new(Vec::new());

static EVENTS: LazyLock<IntCounterVec> =
    LazyLock::new(|| counter("watchpost_normalize_events_total", "Events made from raw records."));
static UNPARSED_EVENTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "watchpost_normalize_unparsed_total",
        "Events whose payload no decoder could read, or whose source is not known.",
    )
});
static MISSING_TIMES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "watchpost_normalize_missing_time_total",
        "Events without a usable time of their own, which got that of their arrival.",
    )
});

fn counter(name: &str, help: &str) -> IntCounterVec {
    let counter =
        IntCounterVec::new(Opts::new(name, help), &["dataset"]).expect("the name is valid");
    // A name that is taken already is a mistake in this file; the metric still counts, unseen.
    prometheus::register(Box::new(counter.clone())).ok();
    counter
}

#[cfg(test)]
mod tests {
    use bus::{Output, Partition, Record, Records, Reject, Stage, Topic};
    use event::{Event, Timestamp, raw};

    use super::{Counters, DATASETS_COUNTED_MAX, NormalizeStage};
    use crate::{Options, RECORDS_MAX};

    /// The key and the event of each record that the stage makes of one.
    fn process(headers: &[(&str, &[u8])], value: &[u8]) -> Result<Vec<(String, Event)>, Reject> {
        let mut records = Records::new();
        records.push(b"", headers, value);
        let stored = records.iter().next().unwrap();
        let record = Record {
            topic: Topic::Raw,
            partition: Partition(3),
            offset: bus::Offset(41),
            timestamp: Timestamp::parse_rfc3339("2026-11-24T12:00:00Z").unwrap(),
            key: stored.key,
            headers: stored.headers,
            value: stored.value,
        };
        let mut stage = NormalizeStage::new(Options::default(), "log".to_owned());
        let mut output = Output::new();
        stage.process(&record, Timestamp::EPOCH, &mut output)?;
        let made = output.records(Topic::Events).iter().map(|record| {
            let mut event = Event::new();
            event.parse_json(record.value).unwrap();
            (String::from_utf8(record.key.to_vec()).unwrap(), event)
        });
        Ok(made.collect())
    }

    #[test]
    fn headers_count_and_missing_ones_have_a_meaning() {
        let line = b"<38>Nov 24 11:00:00 gate sshd[7]: Failed password for root from 203.0.113.5 port 9 ssh2";
        let made = process(&[], line).unwrap();
        let (key, event) = &made[0];
        assert_eq!(key, "gate");
        assert_eq!(event.str("event.id"), Some("log-3-41"));
        assert_eq!(event.str("event.ingested"), Some("2026-11-24T12:00:00Z"));
        assert_eq!(event.str("data_stream.namespace"), Some("default"));

        let headers: [(&str, &[u8]); 4] = [
            (raw::RECEIVED, b"2026-11-24T11:59:00Z"),
            (raw::DATASET, b"my.app"),
            (raw::NAMESPACE, b"drill"),
            (raw::PEER, b"192.0.2.9"),
        ];
        let made = process(&headers, b"hello").unwrap();
        let (key, event) = &made[0];
        assert_eq!(key, "192.0.2.9");
        assert_eq!(event.str("event.ingested"), Some("2026-11-24T11:59:00Z"));
        assert_eq!(event.str("event.dataset"), Some("my.app"));
        assert_eq!(event.str("data_stream.namespace"), Some("drill"));
    }

    #[test]
    fn events_of_one_record_have_their_own_ids() {
        let made = process(&[], br#"{"Records":[{"a":1},{"a":2},{"a":3}]}"#).unwrap();
        let ids: Vec<_> = made.iter().filter_map(|(_, event)| event.str("event.id")).collect();
        assert_eq!(ids, ["log-3-41", "log-3-41-1", "log-3-41-2"]);
    }

    #[test]
    fn what_cannot_be_events_is_rejected_with_its_reason() {
        let records = vec!["{}"; RECORDS_MAX + 1].join(",");
        let rejected = process(&[], format!(r#"{{"Records":[{records}]}}"#).as_bytes());
        assert!(rejected.unwrap_err().reason.contains("records in one document"));
        let huge = process(&[], &vec![b'x'; 16 * 1024 * 1024 - 1024]);
        assert!(huge.unwrap_err().reason.contains("bytes as JSON"));
    }

    #[test]
    fn a_line_of_10_mb_becomes_an_event_without_its_original() {
        let made = process(&[], &vec![b'x'; 10 * 1024 * 1024]).unwrap();
        let (_, event) = &made[0];
        assert_eq!(event.str("message").map(str::len), Some(10 * 1024 * 1024));
        assert!(event.get("event.original").is_none());
        assert!(event.values("tags").any(|tag| tag.as_str() == Some("original_dropped")));
    }

    #[test]
    fn datasets_are_counted_apart_up_to_a_limit() {
        for number in 0..DATASETS_COUNTED_MAX + 10 {
            Counters::of(&format!("made.up.{number}")).events.inc();
        }
        assert!(super::COUNTED.lock().unwrap().len() <= DATASETS_COUNTED_MAX);
        assert!(Counters::of("one.more").events.get() >= 10);
    }
}
