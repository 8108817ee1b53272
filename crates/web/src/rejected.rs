//! Rejected records as JSON: what the API answers, and what `watchpost rejected` prints, whether it
//! asks a server or reads a bus itself.
//!
//! The forms are plain data that is written and read back, so that there is one of each. What they
//! are made from is [`bus::rejected`].

use std::collections::BTreeSet;

use bus::rejected::{self, Done, Filter, Place, RejectedError, Replay, Summary, What};
use bus::{Bus, Topic};
use event::Timestamp;
use serde::{Deserialize, Serialize};

/// Records listed, if nothing is said.
pub const LIMIT_DEFAULT: usize = 100;

/// The most records that are listed.
pub const LIMIT_MAX: usize = rejected::LIST_MAX;

/// The most places that one replay may name; `all` with a filter has no bound.
pub const PLACES_MAX: usize = 1000;

/// The most records of which a replay tells one by one what became of them; the others are counted.
pub const OUTCOMES_MAX: usize = 1000;

/// Which records are to be listed. What is empty does not bind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListRequest {
    /// The stage that refused them.
    pub stage: String,
    /// The topic that they came from.
    pub topic: String,
    /// A text in the reason.
    pub reason: String,
    /// From when: an age, a day, RFC 3339, or `all`.
    pub since: String,
    /// The most records; [`LIMIT_DEFAULT`] if it is left out.
    pub limit: Option<usize>,
}

/// The newest records that match, the very newest last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedList {
    /// How many match.
    pub total: u64,
    /// How many of them were put back.
    pub replayed: u64,
    /// How many by stage and reason, most first.
    pub counts: Vec<RejectedCount>,
    /// How many are in none of the counts, because there are too many different reasons.
    pub uncounted: u64,
    /// The newest of them.
    pub records: Vec<RejectedSummary>,
}

/// How many records a stage rejected for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedCount {
    /// The stage.
    pub stage: String,
    /// The reason.
    pub reason: String,
    /// How many.
    pub records: u64,
}

/// A rejected record, without its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedSummary {
    /// Where it is on `rejected`: `PARTITION/OFFSET`.
    pub place: String,
    /// When it was rejected.
    pub time: Timestamp,
    /// The stage that refused it; empty if its headers do not say.
    pub stage: String,
    /// The topic that it came from; null if its headers do not say.
    pub topic: Option<String>,
    /// The partition of that topic.
    pub partition: Option<u32>,
    /// The offset in that partition.
    pub offset: Option<u64>,
    /// Why it was rejected.
    pub reason: String,
    /// The size of its value.
    pub bytes: usize,
    /// How often it was put back.
    pub replays: u32,
    /// When it was put back for the last time.
    pub replayed: Option<Timestamp>,
    /// The place of the rejected record that this one was before it was put back, if it was.
    pub replay_of: Option<String>,
}

/// A rejected record, whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedDetail {
    /// All but the content.
    #[serde(flatten)]
    pub summary: RejectedSummary,
    /// The key, empty when there is none.
    pub key: Content,
    /// All headers, those of the rejection too.
    pub headers: Vec<Header>,
    /// The value.
    pub value: Content,
}

/// A header of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Content,
}

/// Bytes: as text when they are UTF-8, else in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// They are UTF-8.
    Text(String),
    /// They are not.
    Hex(String),
}

/// Which records are to be put back: some by their place, or all that match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReplayRequest {
    /// These places.
    pub places: Vec<String>,
    /// All that match what follows; all there are if nothing follows.
    pub all: bool,
    /// The stage that refused them.
    pub stage: String,
    /// The topic that they came from.
    pub topic: String,
    /// A text in the reason.
    pub reason: String,
    /// From when: an age, a day, RFC 3339, or `all`.
    pub since: String,
    /// Also those that were put back before.
    pub again: bool,
    /// Only tell what would be done.
    pub dry_run: bool,
}

/// What a replay did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayAnswer {
    /// Whether nothing was done, and this is what would be.
    pub dry_run: bool,
    /// How many records were put back.
    pub put_back: u64,
    /// How many had been put back before, and were left alone.
    pub before: u64,
    /// How many could not be put back.
    pub refused: u64,
    /// What became of each, up to [`OUTCOMES_MAX`].
    pub records: Vec<ReplayOutcome>,
}

/// What became of one record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayOutcome {
    /// Where it is on `rejected`.
    pub place: String,
    /// Where it came from: `TOPIC/PARTITION/OFFSET`.
    pub origin: Option<String>,
    /// What was done.
    pub done: ReplayDone,
    /// When it had been put back for the last time, if that is why it was left alone.
    pub replayed: Option<Timestamp>,
}

/// What was done with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayDone {
    /// It was put back, or would be.
    PutBack,
    /// It had been put back before, and was left alone.
    Before,
    /// Nothing is at this place, or not any more.
    Missing,
    /// Its headers do not say where it came from.
    NoOrigin,
    /// With the headers of a replay it is larger than a record may be.
    TooLarge,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum RejectedFault {
    /// The request is wrong.
    #[error("{0}")]
    Request(String),
    /// The bus, or another list or replay that is running.
    #[error(transparent)]
    Read(#[from] RejectedError),
    /// A replay did not come to its end.
    #[error(
        "{source}; {put_back} records were put back before that. They are marked, so the same replay goes on with the others"
    )]
    CutOff {
        /// Why.
        source: RejectedError,
        /// How many records were put back until then.
        put_back: u64,
    },
}

/// Lists rejected records. `now` is what ages are counted from.
///
/// # Errors
/// When the request is wrong, or the bus does not answer.
pub fn list(
    bus: &dyn Bus,
    request: &ListRequest,
    now: Timestamp,
) -> Result<RejectedList, RejectedFault> {
    let ListRequest { stage, topic, reason, since, limit } = request;
    let limit = limit.unwrap_or(LIMIT_DEFAULT);
    if limit > LIMIT_MAX {
        return Err(RejectedFault::Request(format!("the limit is at most {LIMIT_MAX}")));
    }
    let list = rejected::list(bus, &filter([stage, topic, reason, since], now)?, limit)?;
    let counts = list.counts.into_iter().map(|count| RejectedCount {
        stage: count.stage,
        reason: count.reason,
        records: count.records,
    });
    Ok(RejectedList {
        total: list.total,
        replayed: list.replayed,
        counts: counts.collect(),
        uncounted: list.uncounted,
        records: list.records.into_iter().map(RejectedSummary::from).collect(),
    })
}

/// Shows a rejected record whole; `None` if there is none at this place.
///
/// # Errors
/// When the bus does not answer.
pub fn show(bus: &dyn Bus, place: Place) -> Result<Option<RejectedDetail>, RejectedFault> {
    let found = rejected::find(bus, place, |record| RejectedDetail {
        summary: Summary::of(record).into(),
        key: Content::of(record.key),
        headers: record
            .headers
            .iter()
            .map(|(name, value)| Header { name: name.to_owned(), value: Content::of(value) })
            .collect(),
        value: Content::of(record.value),
    })?;
    Ok(found)
}

/// Puts rejected records back. `now` is the time of the marks, and what ages are counted from.
///
/// # Errors
/// When the request is wrong, or the bus does not answer.
pub fn replay(
    bus: &dyn Bus,
    request: &ReplayRequest,
    now: Timestamp,
) -> Result<ReplayAnswer, RejectedFault> {
    let replay =
        Replay { what: what(request, now)?, again: request.again, dry_run: request.dry_run };
    let mut answer = ReplayAnswer { dry_run: request.dry_run, ..ReplayAnswer::default() };
    let replayed = rejected::replay(bus, &replay, now, &mut |outcome| {
        let (done, count) = match outcome.done {
            Done::PutBack => (ReplayDone::PutBack, &mut answer.put_back),
            Done::Before(_) => (ReplayDone::Before, &mut answer.before),
            Done::Missing => (ReplayDone::Missing, &mut answer.refused),
            Done::NoOrigin => (ReplayDone::NoOrigin, &mut answer.refused),
            Done::TooLarge => (ReplayDone::TooLarge, &mut answer.refused),
        };
        *count += 1;
        if answer.records.len() < OUTCOMES_MAX {
            answer.records.push(ReplayOutcome {
                place: outcome.place.to_string(),
                origin: outcome.origin.map(|origin| origin.to_string()),
                done,
                replayed: match outcome.done {
                    Done::Before(replays) => Some(replays.last),
                    _ => None,
                },
            });
        }
    });
    match replayed {
        Ok(()) => Ok(answer),
        Err(source) if answer.put_back > 0 && !request.dry_run => {
            Err(RejectedFault::CutOff { source, put_back: answer.put_back })
        }
        Err(source) => Err(source.into()),
    }
}

fn what(request: &ReplayRequest, now: Timestamp) -> Result<What, RejectedFault> {
    let ReplayRequest { places, all, stage, topic, reason, since, .. } = request;
    let filters = [stage, topic, reason, since];
    let wrong = |text: String| Err(RejectedFault::Request(text));
    match (places.is_empty(), *all) {
        (true, true) => Ok(What::All(filter(filters, now)?)),
        (false, false) if filters.iter().any(|filter| !filter.is_empty()) => wrong(
            "places are named, so nothing else can choose; leave out what goes with `all`".into(),
        ),
        (false, false) if places.len() > PLACES_MAX => {
            wrong(format!("at most {PLACES_MAX} places can be named; use `all` with a filter"))
        }
        (false, false) => {
            let read: Result<BTreeSet<Place>, _> = places.iter().map(|at| at.parse()).collect();
            read.map(What::Places).or_else(|no: rejected::NoPlace| wrong(no.to_string()))
        }
        _ => wrong("say which records: either places, or all".into()),
    }
}

fn filter(
    [stage, topic, reason, since]: [&String; 4],
    now: Timestamp,
) -> Result<Filter, RejectedFault> {
    let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let topic = some(topic).map(|topic| topic.parse::<Topic>()).transpose();
    let wrong = |error: &dyn std::error::Error| RejectedFault::Request(error.to_string());
    Ok(Filter {
        stage: some(stage),
        topic: topic.map_err(|error| wrong(&error))?,
        reason: some(reason),
        since: query::parse_time(since, now).map_err(|error| wrong(&error))?,
    })
}

impl From<Summary> for RejectedSummary {
    fn from(summary: Summary) -> Self {
        let origin = summary.origin;
        RejectedSummary {
            place: summary.place.to_string(),
            time: summary.time,
            stage: summary.stage,
            topic: origin.map(|origin| origin.topic.to_string()),
            partition: origin.map(|origin| origin.partition.0),
            offset: origin.map(|origin| origin.offset.0),
            reason: summary.reason,
            bytes: summary.bytes,
            replays: summary.replays.map_or(0, |replays| replays.times),
            replayed: summary.replays.map(|replays| replays.last),
            replay_of: summary.replay_of.map(|place| place.to_string()),
        }
    }
}

impl Content {
    /// From bytes.
    pub fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Content::Text(text.to_owned()),
            Err(_) => {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
                let digits = bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
                Content::Hex(digits.collect())
            }
        }
    }

    /// The bytes again; `None` if the digits are none.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        match self {
            Content::Text(text) => Some(text.clone().into_bytes()),
            Content::Hex(digits) => {
                let nibble = |digit: u8| char::from(digit).to_digit(16);
                let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
                let byte =
                    |[high, low]: &[u8; 2]| u8::try_from(nibble(*high)? * 16 + nibble(*low)?).ok();
                pairs.iter().map(byte).collect::<Option<Vec<u8>>>().filter(|_| rest.is_empty())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_read_back() {
        for bytes in [b"".as_slice(), b"text", "\u{e4}\n".as_bytes(), b"\xff\x00\x7f\xa9"] {
            let content = Content::of(bytes);
            let json = serde_json::to_string(&content).unwrap();
            let read: Content = serde_json::from_str(&json).unwrap();
            assert_eq!(read, content);
            assert_eq!(read.bytes().as_deref(), Some(bytes), "{json}");
        }
        assert_eq!(Content::of(b"\xff\x0a"), Content::Hex("ff0a".into()));
        for wrong in ["f", "fg", "\u{e4}", "+1"] {
            assert_eq!(Content::Hex(wrong.into()).bytes(), None, "{wrong}");
        }
    }
}
