//! Data health: how well the records of each dataset become events.
//!
//! A mapping that silently fits no more blinds every rule behind it. So the stage counts, by dataset
//! and hour of arrival, the events and what was wrong with them, and looks at the fields of a sample:
//! one that nearly every event had and none has any more, or one whose values are of another type.
//! The counts are state of the stage, by partition, written once a minute and when nothing comes; a crash costs
//! at most the last minute of them. [`read`] adds the partitions up and says what is wrong.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bus::{Bus, BusError, Output, Partition, StateReader};
use event::{Event, Timestamp, Value, ecs};
use serde::{Deserialize, Serialize};

use crate::{MISSING_TIME, UNPARSED};

/// What the keys begin with in the stage's state; the dataset's name follows.
const KEYS: &[u8] = b"health/";

/// How often the counts are written under load, and when nothing came just now.
const WRITE_EVERY_NS: i64 = 60 * 1_000_000_000;
const WRITE_IDLE_EVERY_NS: i64 = 2 * 1_000_000_000;

const HOUR_NS: i64 = 3_600 * 1_000_000_000;

/// How many hours are kept: a day, and the one that runs.
const HOURS: usize = 25;

/// The most datasets of a partition that are counted apart; senders choose their names.
const DATASETS_MAX: usize = 256;

/// The most fields of a dataset that are looked at.
const FIELDS_MAX: usize = 1_000;

/// The longest name of a dataset or field that is kept, in bytes.
const NAME_BYTES_MAX: usize = 200;

/// The dataset under which all further ones are counted.
const OTHERS: &str = "(others)";

/// So many events of an hour are all looked at; of the others every sixteenth is.
const LOOKED_AT_ALL: u64 = 256;

/// An event that comes later than this after its own time is late.
const LATE_NS: i64 = HOUR_NS;

/// An event whose time is further than this in the future has a wrong clock.
const AHEAD_NS: i64 = 300 * 1_000_000_000;

/// A field has vanished if of so many events before nine of ten had it,
const VANISHED_PAST_MIN: u32 = 200;
/// and none of so many in this hour has it.
const VANISHED_NOW_MIN: u32 = 50;

/// A type is known after so many events with the field.
const TYPE_PAST_MIN: u32 = 50;

/// The most changes that are remembered of a dataset.
const CHANGES_MAX: usize = 50;

/// With fewer events, shares say nothing.
const SHARE_EVENTS_MIN: u64 = 100;

/// How many times more or less than usual an hour may have.
const VOLUME_FACTOR: u64 = 10;

/// What is counted of an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Hour {
    /// Hours since 1970.
    hour: i64,
    events: u64,
    unparsed: u64,
    missing_time: u64,
    late: u64,
    ahead: u64,
    /// Of the events that are neither late nor without time: how long after their time they came.
    delay_ms: i64,
}

/// What is known of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Field {
    /// Events with it that were looked at: before this hour (older ones count less), and in it.
    past: u32,
    now: u32,
    /// The types that it had before this hour, and has in it; bits of [`kind_bit`].
    types: u8,
    types_now: u8,
}

/// What changed in a dataset's fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The field.
    pub field: String,
    /// `vanished`, or `type`.
    pub kind: String,
    /// What is so now, in a sentence.
    pub text: String,
    /// The hour in which it was found, and the last one in which it was so, since 1970.
    pub first: i64,
    /// See `first`.
    pub last: i64,
}

/// What is counted of a dataset in one partition.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct Dataset {
    /// Oldest first; the last one runs.
    hours: VecDeque<Hour>,
    fields: HashMap<String, Field>,
    /// Events that were looked at before this hour, and in it.
    looked_past: u32,
    looked_now: u32,
    changes: Vec<Change>,
    /// When its last event came, in nanoseconds since 1970.
    last: i64,
    #[serde(skip)]
    is_written: bool,
}

/// The counts of one worker.
#[derive(Debug, Default)]
pub(crate) struct Health {
    datasets: HashMap<Partition, HashMap<String, Dataset>>,
    written: Option<Timestamp>,
    /// Whether something was counted since it was last asked to write.
    is_busy: bool,
}

impl Health {
    /// Forgets all, and goes on with what was written.
    pub(crate) fn restore(&mut self, state: &dyn StateReader) -> Result<(), BusError> {
        self.datasets.clear();
        self.written = None;
        state.scan(KEYS, &mut |partition, key, value| {
            if let Some((name, dataset)) = parse(key, value) {
                self.datasets.entry(partition).or_default().insert(name, dataset);
            }
        })
    }

    pub(crate) fn count(&mut self, partition: Partition, event: &Event, received: Timestamp) {
        self.is_busy = true;
        let name = event.str("event.dataset").unwrap_or_default();
        let datasets = self.datasets.entry(partition).or_default();
        if let Some(dataset) = datasets.get_mut(name) {
            return dataset.count(event, received);
        }
        let is_full = datasets.len() >= DATASETS_MAX || name.len() > NAME_BYTES_MAX;
        let name = if is_full { OTHERS } else { name };
        datasets.entry(name.to_owned()).or_default().count(event, received);
    }

    /// Writes what changed, if it is time or `now` is the last time.
    pub(crate) fn write(&mut self, now: Timestamp, is_last: bool, output: &mut Output) {
        let written = *self.written.get_or_insert(now);
        let is_busy = std::mem::take(&mut self.is_busy);
        let every = if is_busy { WRITE_EVERY_NS } else { WRITE_IDLE_EVERY_NS };
        if !is_last && now.as_nanos() - written.as_nanos() < every {
            return;
        }
        self.written = Some(now);
        for (partition, datasets) in &mut self.datasets {
            for (name, dataset) in datasets.iter_mut().filter(|(_, dataset)| !dataset.is_written) {
                dataset.find_changes();
                let Ok(value) = serde_json::to_vec(dataset) else { continue };
                let key = [KEYS, name.as_bytes()].concat();
                output.put_state(*partition, key, value);
                dataset.is_written = true;
            }
        }
    }
}

fn parse(key: &[u8], value: &[u8]) -> Option<(String, Dataset)> {
    let name = str::from_utf8(key.strip_prefix(KEYS)?).ok()?;
    Some((name.to_owned(), serde_json::from_slice(value).ok()?))
}

impl Dataset {
    fn count(&mut self, event: &Event, received: Timestamp) {
        self.is_written = false;
        let came = received.as_nanos();
        self.last = self.last.max(came);
        self.begin(came.div_euclid(HOUR_NS));
        let Some(hour) = self.hours.back_mut() else { return };
        hour.events += 1;
        let mut has_time = true;
        for tag in event.values("tags") {
            match tag {
                Value::Text(UNPARSED) => hour.unparsed += 1,
                Value::Text(MISSING_TIME) => has_time = false,
                _ => {}
            }
        }
        match event.timestamp().filter(|_| has_time) {
            None => hour.missing_time += 1,
            Some(time) => {
                let delay = came.saturating_sub(time.as_nanos());
                if delay > LATE_NS {
                    hour.late += 1;
                } else if delay < -AHEAD_NS {
                    hour.ahead += 1;
                } else {
                    hour.delay_ms += delay / 1_000_000;
                }
            }
        }
        if hour.events <= LOOKED_AT_ALL || hour.events.is_multiple_of(16) {
            self.look(event);
        }
    }

    /// Looks at the fields of one event.
    fn look(&mut self, event: &Event) {
        self.looked_now += 1;
        let mut before = "";
        for (_, name, value) in event.fields() {
            let bit = kind_bit(value);
            // Elements of a list come one after the other.
            let is_again = name == before;
            before = name;
            if let Some(field) = self.fields.get_mut(name) {
                field.now += u32::from(!is_again);
                field.types_now |= bit;
            } else if self.fields.len() < FIELDS_MAX && name.len() <= NAME_BYTES_MAX {
                let field = Field { now: 1, types_now: bit, ..Field::default() };
                self.fields.insert(name.to_owned(), field);
            }
        }
    }

    /// Ends the hour that runs if this is another. What comes from an earlier one counts to the one
    /// that runs.
    fn begin(&mut self, hour: i64) {
        let Some(running) = self.hours.back().map(|running| running.hour) else {
            self.hours.push_back(Hour { hour, ..Hour::default() });
            return;
        };
        if hour <= running {
            return;
        }
        self.find_changes();
        // Hours in which nothing came are hours too.
        let first = (running + 1).max(hour - HOURS as i64);
        for hour in first..=hour {
            self.hours.push_back(Hour { hour, ..Hour::default() });
        }
        let over = self.hours.len().saturating_sub(HOURS);
        self.hours.drain(..over);
        let fade = |past: u32, now: u32| (past - past / 8).saturating_add(now);
        self.looked_past = fade(self.looked_past, self.looked_now);
        self.looked_now = 0;
        self.fields.retain(|_, field| {
            field.past = fade(field.past, field.now);
            field.now = 0;
            field.types |= std::mem::take(&mut field.types_now);
            // One that fades away makes room.
            field.past >= 8
        });
        self.changes.retain(|change| change.last > hour - HOURS as i64);
    }

    /// Compares the fields of this hour with those before.
    fn find_changes(&mut self) {
        let Some(hour) = self.hours.back().map(|hour| hour.hour) else { return };
        let mut found = Vec::new();
        for (name, field) in &self.fields {
            let had_it = u64::from(field.past) * 10 >= u64::from(self.looked_past) * 9;
            if self.looked_past >= VANISHED_PAST_MIN
                && had_it
                && self.looked_now >= VANISHED_NOW_MIN
                && field.now == 0
            {
                let text = format!(
                    "`{name}` was in nearly every event and is in none of the last {} looked at",
                    self.looked_now
                );
                found.push((name.clone(), "vanished", text));
            }
            let new = field.types_now & !field.types;
            if field.past >= TYPE_PAST_MIN && field.types != 0 && new != 0 {
                let text = format!("`{name}` was {} and is {} now", kinds(field.types), kinds(new));
                found.push((name.clone(), "type", text));
            }
        }
        for (field, kind, text) in found {
            let known = |change: &&mut Change| change.field == field && change.kind == kind;
            if let Some(change) = self.changes.iter_mut().find(known) {
                change.last = hour;
                change.text = text;
            } else if self.changes.len() < CHANGES_MAX {
                let kind = kind.to_owned();
                self.changes.push(Change { field, kind, text, first: hour, last: hour });
            }
        }
    }
}

/// The bit of a value's type; none for `null`, which any field may have.
fn kind_bit(value: Value<'_>) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Int(_) | Value::Uint(_) | Value::Float(_) => 2,
        Value::Text(_) => 4,
        Value::Json(_) => 8,
    }
}

fn kinds(bits: u8) -> String {
    let names = [(1, "true or false"), (2, "a number"), (4, "text"), (8, "an object or a list")];
    let named = names.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name);
    named.collect::<Vec<_>>().join(" or ")
}

/// How the records of a dataset fare.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DatasetHealth {
    /// Its name.
    pub dataset: String,
    /// Events of the last 24 hours.
    pub events: u64,
    /// Events of the last full hour.
    pub events_last_hour: u64,
    /// The median of the full hours before.
    pub events_usual_hour: u64,
    /// Events of the last 24 hours that no decoder could read.
    pub unparsed: u64,
    /// Those without a usable time of their own.
    pub missing_time: u64,
    /// Those that came more than an hour after their time.
    pub late: u64,
    /// Those whose time was more than five minutes in the future.
    pub ahead: u64,
    /// How long after their time the others came, on average, in milliseconds; below zero if clocks
    /// are ahead.
    pub delay_ms: i64,
    /// Fields that were seen lately.
    pub fields: u64,
    /// Those of them that are not ECS's.
    pub fields_outside_ecs: u64,
    /// When its last event came, RFC 3339.
    pub last: String,
    /// What is wrong with it.
    pub problems: Vec<Problem>,
}

/// Something wrong with a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `unparsed`, `missing_time`, `late`, `clock`, `silent`, `volume`, `vanished` or `type`.
    pub kind: String,
    /// The field, if it is one's.
    pub field: String,
    /// It, in a sentence.
    pub text: String,
    /// When it began, as far as is known: RFC 3339, to the hour.
    pub since: String,
}

impl DatasetHealth {
    /// A count as a share of the events: `0.3 %`.
    pub fn share(&self, count: u64) -> String {
        format!("{:.1} %", count as f64 * 100.0 / self.events.max(1) as f64)
    }
}

/// Reads what the workers of `group` counted, by dataset's name.
///
/// # Errors
/// When the bus does not answer.
pub fn read(bus: &dyn Bus, group: &str, now: Timestamp) -> Result<Vec<DatasetHealth>, BusError> {
    let mut all: BTreeMap<String, Vec<Dataset>> = BTreeMap::new();
    bus.state_of(group, &mut |_, key, value| {
        if let Some((name, dataset)) = parse(key, value) {
            all.entry(name).or_default().push(dataset);
        }
    })?;
    let hour = now.as_nanos().div_euclid(HOUR_NS);
    Ok(all.into_iter().map(|(name, parts)| report(name, &parts, hour)).collect())
}

fn report(dataset: String, parts: &[Dataset], now: i64) -> DatasetHealth {
    // All hours of the last day, with those in which nothing came.
    let mut hours: Vec<Hour> =
        (now - HOURS as i64 + 1..=now).map(|hour| Hour { hour, ..Hour::default() }).collect();
    let mut known_since = now;
    for counted in parts.iter().flat_map(|part| &part.hours) {
        known_since = known_since.min(counted.hour);
        if let Some(hour) = hours.iter_mut().find(|hour| hour.hour == counted.hour) {
            hour.events += counted.events;
            hour.unparsed += counted.unparsed;
            hour.missing_time += counted.missing_time;
            hour.late += counted.late;
            hour.ahead += counted.ahead;
            hour.delay_ms += counted.delay_ms;
        }
    }
    let sum = |of: fn(&Hour) -> u64| hours.iter().map(of).sum::<u64>();
    let mut names: Vec<&String> = parts.iter().flat_map(|part| part.fields.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let outside = names.iter().filter(|name| ecs::field_type(name).is_none()).count();
    let mut health = DatasetHealth {
        events: sum(|hour| hour.events),
        unparsed: sum(|hour| hour.unparsed),
        missing_time: sum(|hour| hour.missing_time),
        late: sum(|hour| hour.late),
        ahead: sum(|hour| hour.ahead),
        fields: names.len() as u64,
        fields_outside_ecs: outside as u64,
        dataset,
        ..DatasetHealth::default()
    };
    let timed = health.events - health.missing_time - health.late - health.ahead;
    let delays: i64 = hours.iter().map(|hour| hour.delay_ms).sum();
    health.delay_ms = delays.checked_div(i64::try_from(timed).unwrap_or(i64::MAX)).unwrap_or(0);
    if let Some(last) = parts.iter().map(|part| part.last).max() {
        health.last = Timestamp::from_nanos(last).to_string();
    }
    health.problems = shares(&hours);
    // Full hours since it was first seen, the newest last.
    let full: Vec<Hour> =
        hours.iter().copied().filter(|hour| (known_since..now).contains(&hour.hour)).collect();
    if let Some((last, before)) = full.split_last() {
        health.events_last_hour = last.events;
        health.events_usual_hour = median(before);
        health.problems.extend(volume(last, before));
    }
    for change in parts.iter().flat_map(|part| &part.changes) {
        let Change { field, kind, text, first, .. } = change;
        let is_known = |known: &Problem| known.kind == *kind && known.field == *field;
        if !health.problems.iter().any(is_known) {
            health.problems.push(Problem {
                kind: kind.clone(),
                field: field.clone(),
                text: text.clone(),
                since: hour_text(*first),
            });
        }
    }
    health
}

fn hour_text(hour: i64) -> String {
    Timestamp::from_nanos(hour.saturating_mul(HOUR_NS)).to_string()
}

/// Events that were not read well, of the last two hours together.
fn shares(hours: &[Hour]) -> Vec<Problem> {
    let newest = hours.get(hours.len().saturating_sub(2)..).unwrap_or_default();
    let events: u64 = newest.iter().map(|hour| hour.events).sum();
    if events < SHARE_EVENTS_MIN {
        return Vec::new();
    }
    type Share = (&'static str, u64, fn(&Hour) -> u64, &'static str);
    const SHARES: [Share; 4] = [
        ("unparsed", 5, |hour| hour.unparsed, "could not be read (tags: unparsed)"),
        ("missing_time", 5, |hour| hour.missing_time, "have no time of their own"),
        ("late", 20, |hour| hour.late, "came more than an hour after their time"),
        ("clock", 5, |hour| hour.ahead, "have a time more than five minutes in the future"),
    ];
    let problem = |(kind, percent, of, what): Share| {
        let count: u64 = newest.iter().map(of).sum();
        let since = newest.first().map_or(0, |hour| hour.hour);
        (count * 100 >= events * percent).then(|| Problem {
            kind: kind.to_owned(),
            field: String::new(),
            text: format!("{count} of {events} events since {} {what}", hour_text(since)),
            since: hour_text(since),
        })
    };
    SHARES.into_iter().filter_map(problem).collect()
}

fn median(hours: &[Hour]) -> u64 {
    let mut counts: Vec<u64> = hours.iter().map(|hour| hour.events).collect();
    counts.sort_unstable();
    counts.get(counts.len() / 2).copied().unwrap_or(0)
}

/// A full hour held against those before.
fn volume(last: &Hour, before: &[Hour]) -> Option<Problem> {
    let usual = median(before);
    let busy = before.iter().filter(|hour| hour.events > 0).count();
    if before.len() < 8 || busy * 4 < before.len() * 3 {
        return None;
    }
    let problem = |kind: &str, text: String| Problem {
        kind: kind.to_owned(),
        field: String::new(),
        text,
        since: hour_text(last.hour),
    };
    if last.events == 0 {
        let text = format!("nothing came for an hour or more; {usual} events are usual");
        return Some(problem("silent", text));
    }
    let is_more = last.events >= SHARE_EVENTS_MIN && last.events > usual * VOLUME_FACTOR;
    let is_less = usual >= SHARE_EVENTS_MIN && last.events * VOLUME_FACTOR < usual;
    (is_more || is_less)
        .then(|| problem("volume", format!("{} events in an hour; {usual} are usual", last.events)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 490_000;

    fn at(hour: i64, second: i64) -> Timestamp {
        Timestamp::from_nanos((START + hour) * HOUR_NS + second * 1_000_000_000)
    }

    fn event(time: Timestamp, more: &[(&str, Value<'_>)]) -> Event {
        let mut event = Event::new();
        event.set_time("@timestamp", time);
        for (name, value) in more {
            event.append(name, *value);
        }
        event
    }

    /// Counts so many events in an hour, with these fields.
    fn hour(dataset: &mut Dataset, hour: i64, events: i64, more: &[(&str, Value<'_>)]) {
        for second in 0..events {
            let time = at(hour, second % 3600);
            dataset.count(&event(time, more), time);
        }
        dataset.find_changes();
    }

    fn problems(dataset: &Dataset, now: i64) -> Vec<String> {
        let report = report("a".to_owned(), std::slice::from_ref(dataset), START + now);
        report
            .problems
            .into_iter()
            .map(|problem| format!("{}: {}", problem.kind, problem.text))
            .collect()
    }

    #[test]
    fn a_field_that_vanishes_is_told_for_a_day() {
        let mut dataset = Dataset::default();
        let user = ("user.name", Value::Text("ann"));
        hour(&mut dataset, 0, 300, &[user]);
        hour(&mut dataset, 1, 40, &[]);
        assert!(problems(&dataset, 1).is_empty(), "too few to tell");
        hour(&mut dataset, 1, 20, &[]);
        let told = problems(&dataset, 1);
        assert_eq!(
            told,
            [
                "vanished: `user.name` was in nearly every event and is in none of the last 60 looked at"
            ]
        );
        hour(&mut dataset, 20, 100, &[user]);
        assert_eq!(problems(&dataset, 20).len(), 1, "it is told for a day");
        hour(&mut dataset, 30, 100, &[user]);
        assert!(problems(&dataset, 30).iter().all(|text| !text.starts_with("vanished")));
    }

    #[test]
    fn a_type_that_changes_is_told() {
        let mut dataset = Dataset::default();
        hour(&mut dataset, 0, 100, &[("port", Value::Int(1)), ("maybe", Value::Null)]);
        hour(&mut dataset, 1, 1, &[("port", Value::Text("1")), ("maybe", Value::Int(1))]);
        assert_eq!(problems(&dataset, 1), ["type: `port` was a number and is text now"]);
    }

    #[test]
    fn events_that_were_not_read_well_are_told_by_their_share() {
        let mut dataset = Dataset::default();
        for second in 0..200 {
            let came = at(5, second);
            let time = match second % 4 {
                0 => at(2, 0),
                1 => at(6, 3000),
                _ => came,
            };
            let unparsed = [("tags", Value::Text(UNPARSED)), ("tags", Value::Text(MISSING_TIME))];
            dataset.count(&event(time, if second % 10 == 2 { &unparsed } else { &[] }), came);
        }
        let since = hour_text(START + 4);
        assert_eq!(
            problems(&dataset, 5),
            [
                format!(
                    "unparsed: 20 of 200 events since {since} could not be read (tags: unparsed)"
                ),
                format!("missing_time: 20 of 200 events since {since} have no time of their own"),
                format!(
                    "late: 40 of 200 events since {since} came more than an hour after their time"
                ),
                format!(
                    "clock: 50 of 200 events since {since} have a time more than five minutes in the future"
                ),
            ]
        );
    }

    #[test]
    fn silence_and_volume_are_told() {
        let mut dataset = Dataset::default();
        for number in 0..12 {
            hour(&mut dataset, number, 120, &[]);
        }
        assert!(problems(&dataset, 12).is_empty());
        assert_eq!(
            problems(&dataset, 13),
            ["silent: nothing came for an hour or more; 120 events are usual"]
        );
        hour(&mut dataset, 12, 2000, &[]);
        assert_eq!(problems(&dataset, 13), ["volume: 2000 events in an hour; 120 are usual"]);
    }

    #[test]
    fn what_was_written_is_read_again() {
        let mut dataset = Dataset::default();
        hour(&mut dataset, 0, 300, &[("user.name", Value::Text("ann"))]);
        let value = serde_json::to_vec(&dataset).unwrap();
        let (name, again) = parse(b"health/x.y", &value).unwrap();
        assert_eq!((name.as_str(), again), ("x.y", Dataset { is_written: false, ..dataset }));
        assert!(parse(b"ledger/x", &value).is_none());
        assert!(parse(b"health/x", b"{").is_none());
    }

    #[test]
    fn fields_and_datasets_are_bounded() {
        let mut health = Health::default();
        for number in 0..2_000 {
            let mut event = event(at(0, 0), &[]);
            event.set("event.dataset", format!("d{number}").as_str());
            health.count(Partition(0), &event, at(0, 0));
        }
        let mut wide = event(at(0, 0), &[]);
        for number in 0..=FIELDS_MAX {
            wide.set(&format!("field{number}"), "x");
        }
        wide.set("event.dataset", "d0");
        health.count(Partition(0), &wide, at(0, 0));
        let datasets = &health.datasets[&Partition(0)];
        assert_eq!(datasets.len(), DATASETS_MAX + 1);
        assert_eq!(datasets[OTHERS].hours[0].events, 2_000 - DATASETS_MAX as u64);
        assert_eq!(datasets["d0"].fields.len(), FIELDS_MAX);
    }
}
