//! Dead letters: what lies on the topic `rejected`, and putting it back where it came from.
//!
//! A replay is a consumer of a group of its own. A record goes back into its topic in the same
//! commit that marks it as put back, so a crash leaves both or neither, and a second replay finds
//! the mark and refuses, unless it is told to do it again. The mark is state of the group, kept by
//! the offset of the rejected record; the rejected record itself stays where it is until retention
//! removes it.
//!
//! What is put back has its own key, headers and value, without the headers of the rejection
//! ([`rejected_header`]) and with headers that say whence it came ([`replayed_header`]). They stay
//! with it, so a record that is rejected once more tells that it was tried before.
//!
//! # Who handles it
//!
//! Only the stage that had refused it: the record names its consumer group, and the
//! [runtime](crate::run_stage) of stages in other groups passes it by. All other readers of the topic
//! had handled the original and would do so twice: an event that only detection refused would be
//! found twice by a search. The cost: another program that reads the topic does see it twice, and
//! tells by [`replayed_header::GROUP`]. An event that two stages refused lies on `rejected` twice, and
//! each of the two records is put back for its own stage. A group that is no more takes nothing: what
//! is put back for it is passed by all.
//!
//! # What changes by it
//!
//! * A record of `raw` gets a new place, and the ids of events are made of the place of their raw
//!   record: its events have ids of the new place. The refused record had made no event, so nothing
//!   is there twice.
//! * A record of `events` or `matches` carries the event's id in its value: matches and alerts that
//!   come of it have the ids that they would have had. (An event that another program wrote without an
//!   id is known by its place, which is a new one.)
//! * A record of `alerts` takes the place of the alert with the same id, as every later version does.
//! * What is decided by the time of arrival is decided by the time of the replay; what carries its
//!   own time (`received` of a raw record) keeps it.
//!
//! What it refuses to do: remove or change what was rejected, or guess where a record belongs whose
//! headers do not say it.
//!
//! Looking is done as a member of the same group, because only its members can read the marks. So
//! one list or replay runs at a time; another one waits for a while and then gives up. The offsets
//! that the group commits mean nothing here: its lag, in the metrics, is about what was rejected since
//! the last replay.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::ControlFlow;
use std::str::FromStr;
use std::time::{Duration, Instant};

use event::Timestamp;

use crate::{
    Batch, Bus, BusError, Consumer, Headers, Offset, Output, Partition, PollLimits, Polled, Record,
    StateReader, Topic, metrics, rejected_header, replayed_header,
};

/// The consumer group whose state has the marks.
pub const GROUP: &str = "replay";

/// The most records that a [`list`] may keep: of a few kilobytes each at the most.
pub const LIST_MAX: usize = 10_000;

/// The most pairs of stage and reason that a [`list`] counts apart; reasons may have numbers in
/// them.
const COUNTS_MAX: usize = 1000;

/// How long all partitions of `rejected` may be waited for, and the next records: joining a group
/// on a cluster takes some seconds, and another list or replay may have to end first.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// One poll, and with it one commit of a replay.
const LIMITS: PollLimits =
    PollLimits { records_max: 1000, bytes_max: 4 * 1024 * 1024, wait: Duration::from_millis(200) };

/// What the key of a mark begins with; the offset of the rejected record follows.
const MARK: &[u8] = b"replayed/";

/// The most marks of records that retention has removed which one replay forgets.
const FORGOTTEN_MAX: usize = 10_000;

/// Where a record is on `rejected`. Written `PARTITION/OFFSET`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The partition.
    pub partition: Partition,
    /// The offset.
    pub offset: Offset,
}

/// Where a record was when a stage refused it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The topic; never `rejected`.
    pub topic: Topic,
    /// The partition.
    pub partition: Partition,
    /// The offset.
    pub offset: Offset,
}

/// The mark of a record that was put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replays {
    /// How often.
    pub times: u32,
    /// When for the last time, to the millisecond.
    pub last: Timestamp,
}

/// A record on `rejected`.
#[derive(Debug, Clone, Copy)]
pub struct Rejected<'a> {
    /// Where it is.
    pub place: Place,
    /// When it was rejected.
    pub time: Timestamp,
    /// The stage that refused it; empty if its headers do not say.
    pub stage: &'a str,
    /// The consumer group of that stage.
    pub group: &'a str,
    /// Why.
    pub reason: &'a str,
    /// Where it came from; `None` if its headers do not say, and then it cannot be put back.
    pub origin: Option<Origin>,
    /// The rejected record that this one was before it was put back, if it was.
    pub replay_of: Option<Place>,
    /// Whether it was put back.
    pub replays: Option<Replays>,
    /// Its key.
    pub key: &'a [u8],
    /// All its headers: its own, and those of the rejection.
    pub headers: Headers<'a>,
    /// Its value.
    pub value: &'a [u8],
}

/// Which records are meant; the default is all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Those that this stage refused.
    pub stage: Option<String>,
    /// Those that came from this topic.
    pub topic: Option<Topic>,
    /// Those whose reason has this text, in capitals or not.
    pub reason: Option<String>,
    /// Those that were rejected at this time or later.
    pub since: Option<Timestamp>,
}

/// What a [`list`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct List {
    /// The newest, the very newest last.
    pub records: Vec<Summary>,
    /// How many there are.
    pub total: u64,
    /// How many of them were put back.
    pub replayed: u64,
    /// How many by stage and reason, most first.
    pub counts: Vec<Count>,
    /// How many of `total` are in none of the counts: there were too many different reasons.
    pub uncounted: u64,
}

/// A record on `rejected`, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Where it is.
    pub place: Place,
    /// When it was rejected.
    pub time: Timestamp,
    /// The stage that refused it.
    pub stage: String,
    /// Why.
    pub reason: String,
    /// Where it came from.
    pub origin: Option<Origin>,
    /// The rejected record that this one was before it was put back, if it was.
    pub replay_of: Option<Place>,
    /// Whether it was put back.
    pub replays: Option<Replays>,
    /// The size of its value.
    pub bytes: usize,
}

/// How many records a stage rejected for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// The stage.
    pub stage: String,
    /// The reason.
    pub reason: String,
    /// How many.
    pub records: u64,
}

/// What is to be put back, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// Which records.
    pub what: What,
    /// Also those that were put back before.
    pub again: bool,
    /// Only tells what would be done.
    pub dry_run: bool,
}

/// Which records are to be put back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// These.
    Places(BTreeSet<Place>),
    /// All that match and are there when the replay begins.
    All(Filter),
}

/// What became of one record of a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Where it is on `rejected`.
    pub place: Place,
    /// Where it came from.
    pub origin: Option<Origin>,
    /// What was done.
    pub done: Done,
}

/// What was done with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// It was put back; in a dry run, it would be.
    PutBack,
    /// It had been put back before, and was left alone.
    Before(Replays),
    /// Nothing is at this place, or not any more.
    Missing,
    /// Its headers do not say where it came from.
    NoOrigin,
    /// With the headers of a replay it is larger than a record may be.
    TooLarge,
}

/// Why a list or a replay did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum RejectedError {
    /// The bus.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// Not all partitions were ours in time, or records did not come.
    #[error(
        "the topic `rejected` could not be read whole within {} s: another list or replay of it is running, or the bus is slow; try again",
        WAIT_MAX.as_secs()
    )]
    NotInTime,
}

/// Shows every record that matches, those of one partition in order, until `each` breaks. What is
/// rejected meanwhile is not shown.
pub fn visit(
    bus: &dyn Bus,
    filter: &Filter,
    each: &mut dyn FnMut(&Rejected<'_>) -> ControlFlow<()>,
) -> Result<(), RejectedError> {
    let filter = filter.prepared();
    let mut reader = Reader::join(bus, None)?;
    while reader.poll()? {
        for record in reader.records() {
            let rejected = Rejected::read(&record);
            if filter.has(&rejected) && each(&rejected.marked(reader.state())?).is_break() {
                return Ok(());
            }
        }
        reader.advance();
    }
    Ok(())
}

/// The newest `limit` records that match, at most [`LIST_MAX`], and how many there are of what kind.
pub fn list(bus: &dyn Bus, filter: &Filter, limit: usize) -> Result<List, RejectedError> {
    let limit = limit.min(LIST_MAX);
    let mut newest: BTreeMap<(Timestamp, Place), Summary> = BTreeMap::new();
    let mut counts: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    let mut kinds = 0;
    let mut list = List::default();
    visit(bus, filter, &mut |rejected| {
        list.total += 1;
        list.replayed += u64::from(rejected.replays.is_some());
        let known = counts.get_mut(rejected.stage).and_then(|of| of.get_mut(rejected.reason));
        if let Some(count) = known {
            *count += 1;
        } else if kinds < COUNTS_MAX {
            kinds += 1;
            let of_stage = counts.entry(rejected.stage.to_owned()).or_default();
            of_stage.insert(rejected.reason.to_owned(), 1);
        } else {
            list.uncounted += 1;
        }
        newest.insert((rejected.time, rejected.place), Summary::of(rejected));
        if newest.len() > limit {
            newest.pop_first();
        }
        ControlFlow::Continue(())
    })?;
    list.records = newest.into_values().collect();
    for (stage, of_stage) in counts {
        list.counts.extend(of_stage.into_iter().map(|(reason, records)| Count {
            stage: stage.clone(),
            reason,
            records,
        }));
    }
    list.counts.sort_by_key(|count| Reverse(count.records));
    Ok(list)
}

/// Shows the record at a place. `None` if nothing is there, or not any more.
pub fn find<T>(
    bus: &dyn Bus,
    place: Place,
    show: impl FnOnce(&Rejected<'_>) -> T,
) -> Result<Option<T>, RejectedError> {
    let mut reader = Reader::join(bus, Some(&BTreeSet::from([place])))?;
    while reader.poll()? {
        if let Some(record) = reader.records().next() {
            return Ok(Some(show(&Rejected::read(&record).marked(reader.state())?)));
        }
        reader.advance();
    }
    Ok(None)
}

/// Puts records back into the topics that they came from, and tells of each what was done once that
/// is durable.
///
/// It goes in batches, each of which is one commit. After an error, what was told was done and the
/// rest was not; calling it again goes on, because of the marks. `now` is the time of the marks.
///
/// # Errors
/// When the bus refuses or fails.
pub fn replay(
    bus: &dyn Bus,
    replay: &Replay,
    now: Timestamp,
    each: &mut dyn FnMut(&Outcome),
) -> Result<(), RejectedError> {
    let (mut missing, filter) = match &replay.what {
        What::Places(places) => (places.clone(), None),
        What::All(filter) => (BTreeSet::new(), Some(filter.prepared())),
    };
    let places = filter.is_none().then_some(&missing);
    let mut reader = Reader::join(bus, places)?;
    let mut output = Output::new();
    let mut too_large = BTreeSet::new();
    let mut forgets = !replay.dry_run;
    while reader.poll()? {
        output.clear();
        let mut outcomes = Vec::new();
        for record in reader.records() {
            let rejected = Rejected::read(&record);
            let is_meant = match &filter {
                Some(filter) => filter.has(&rejected),
                None => missing.contains(&rejected.place),
            };
            if !is_meant {
                continue;
            }
            let rejected = rejected.marked(reader.state())?;
            let Rejected { place, origin, .. } = rejected;
            let done = match (origin, rejected.replays) {
                (None, _) => Done::NoOrigin,
                (_, Some(replays)) if !replay.again => Done::Before(replays),
                _ if too_large.contains(&place) => Done::TooLarge,
                (Some(origin), _) => {
                    put_back(&rejected, origin, now, &mut output);
                    Done::PutBack
                }
            };
            outcomes.push(Outcome { place, origin, done });
        }
        if !replay.dry_run && !output.is_empty() {
            if forgets {
                reader.forget_marks(&mut output)?;
            }
            match reader.consumer.commit(&mut output) {
                Ok(()) => forgets = false,
                // Nothing is stored. A poll will tell who reads what; then it goes on from here.
                Err(BusError::Fenced { .. }) => {
                    reader.is_ready = false;
                    continue;
                }
                Err(error @ BusError::RecordTooLarge { topic, index, .. }) => {
                    let is_to = |outcome: &&Outcome| {
                        outcome.done == Done::PutBack
                            && outcome.origin.is_some_and(|origin| origin.topic == topic)
                    };
                    match outcomes.iter().filter(is_to).nth(index) {
                        Some(outcome) => too_large.insert(outcome.place),
                        None => return Err(error.into()),
                    };
                    // The same batch again, without it.
                    reader.go_back()?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
        }
        reader.advance();
        for outcome in &outcomes {
            if let (Done::PutBack, Some(origin), false) =
                (outcome.done, outcome.origin, replay.dry_run)
            {
                metrics::BUS_REPLAYED.with_label_values(&[origin.topic.as_str()]).inc();
            }
            missing.remove(&outcome.place);
            each(outcome);
        }
    }
    for place in missing {
        each(&Outcome { place, origin: None, done: Done::Missing });
    }
    Ok(())
}

/// Puts a record into the output, for the topic that it came from, and its mark.
fn put_back(rejected: &Rejected<'_>, origin: Origin, now: Timestamp, output: &mut Output) {
    let place = rejected.place;
    let from = place.to_string();
    let tried = rejected.headers.get_str(replayed_header::TIMES);
    let tried = tried.and_then(|times| times.parse::<u32>().ok()).unwrap_or(0);
    let times = tried.saturating_add(1).to_string();
    let mut headers: Vec<(&str, &[u8])> =
        vec![(replayed_header::FROM, from.as_bytes()), (replayed_header::TIMES, times.as_bytes())];
    if !rejected.group.is_empty() {
        headers.push((replayed_header::GROUP, rejected.group.as_bytes()));
    }
    let is_own = |name: &str| !name.starts_with("rejected.") && !name.starts_with("replayed.");
    headers.extend(rejected.headers.iter().filter(|(name, _)| is_own(name)));
    output.to(origin.topic).push(rejected.key, &headers, rejected.value);
    let before = rejected.replays.map_or(0, |replays| replays.times);
    let mark = Replays { times: before.saturating_add(1), last: now };
    output.put_state(place.partition, mark_key(place.offset), mark.encode());
}

impl<'a> Rejected<'a> {
    /// Without its mark.
    fn read(record: &Record<'a>) -> Self {
        let Record { partition, offset, timestamp, key, headers, value, .. } = *record;
        let text = |name| headers.get_str(name).unwrap_or_default();
        let stage = text(rejected_header::STAGE);
        Rejected {
            place: Place { partition, offset },
            time: timestamp,
            stage,
            // Records of older versions do not name it.
            group: headers.get_str(rejected_header::GROUP).unwrap_or(stage),
            reason: text(rejected_header::REASON),
            origin: Origin::read(headers),
            replay_of: text(replayed_header::FROM).parse().ok(),
            replays: None,
            key,
            headers,
            value,
        }
    }

    /// With its mark.
    fn marked(self, state: &dyn StateReader) -> Result<Self, BusError> {
        let mark = state.get(self.place.partition, &mark_key(self.place.offset))?;
        Ok(Rejected { replays: mark.map(|mark| Replays::decode(&mark)), ..self })
    }
}

impl Origin {
    fn read(headers: Headers<'_>) -> Option<Origin> {
        let number = |name| headers.get_str(name)?.parse().ok();
        let topic = headers.get_str(rejected_header::TOPIC)?.parse().ok()?;
        Some(Origin {
            // No stage reads `rejected`; putting a record back there would go round in circles.
            topic: Some(topic).filter(|topic| *topic != Topic::Rejected)?,
            partition: Partition(u32::try_from(number(rejected_header::PARTITION)?).ok()?),
            offset: Offset(number(rejected_header::OFFSET)?),
        })
    }
}

impl Summary {
    /// What there is to say about a record without its content.
    pub fn of(rejected: &Rejected<'_>) -> Self {
        Summary {
            place: rejected.place,
            time: rejected.time,
            stage: rejected.stage.to_owned(),
            reason: rejected.reason.to_owned(),
            origin: rejected.origin,
            replay_of: rejected.replay_of,
            replays: rejected.replays,
            bytes: rejected.value.len(),
        }
    }
}

impl Filter {
    /// With the reason in small letters, as [`Filter::has`] needs it.
    fn prepared(&self) -> Filter {
        let reason = self.reason.as_deref().map(str::to_lowercase);
        Filter { reason, ..self.clone() }
    }

    fn has(&self, rejected: &Rejected<'_>) -> bool {
        self.since.is_none_or(|since| since <= rejected.time)
            && self.stage.as_deref().is_none_or(|stage| stage == rejected.stage)
            && self
                .topic
                .is_none_or(|topic| rejected.origin.is_some_and(|origin| origin.topic == topic))
            && self
                .reason
                .as_deref()
                .is_none_or(|reason| rejected.reason.to_lowercase().contains(reason))
    }
}

impl Replays {
    fn encode(self) -> Vec<u8> {
        format!("{} {}", self.times, self.last.as_millis()).into_bytes()
    }

    /// A mark that cannot be read still says that the record was put back.
    fn decode(mark: &[u8]) -> Self {
        let numbers = std::str::from_utf8(mark).ok().and_then(|text| text.split_once(' '));
        let (times, last) = numbers.unwrap_or_default();
        Replays {
            times: times.parse().unwrap_or(1),
            last: Timestamp::from_millis(last.parse().unwrap_or(0)),
        }
    }
}

/// The places of all records that were put back.
///
/// # Errors
/// When the bus fails.
pub(crate) fn replayed_places(bus: &dyn Bus) -> Result<BTreeSet<Place>, BusError> {
    let mut places = BTreeSet::new();
    bus.state_of(GROUP, &mut |partition, key, _| {
        let offset = key.strip_prefix(MARK).and_then(|bytes| bytes.try_into().ok());
        places.extend(
            offset.map(|bytes| Place { partition, offset: Offset(u64::from_be_bytes(bytes)) }),
        );
    })?;
    Ok(places)
}

fn mark_key(offset: Offset) -> Vec<u8> {
    [MARK, &offset.0.to_be_bytes()].concat()
}

/// Reads `rejected` from its beginning to where it ended when this began, or what lies around some
/// places, as a member of the group that has every partition which is needed.
struct Reader<'b> {
    bus: &'b dyn Bus,
    consumer: Box<dyn Consumer>,
    /// By partition.
    spans: Vec<Span>,
    /// Whether all that is left to be read is ours.
    is_ready: bool,
    batch: Batch,
}

/// What is to be read of a partition.
#[derive(Debug, Clone, Copy)]
struct Span {
    partition: Partition,
    /// Where the partition begins.
    begin: Offset,
    /// Where it ended when this began.
    end: Offset,
    next: Offset,
    until: Offset,
}

impl Span {
    fn is_done(&self) -> bool {
        self.next >= self.until
    }
}

impl<'b> Reader<'b> {
    fn join(bus: &'b dyn Bus, places: Option<&BTreeSet<Place>>) -> Result<Self, BusError> {
        let mut spans = Vec::new();
        for extent in bus.extents(Topic::Rejected)? {
            let crate::Extent { partition, begin, end, .. } = extent;
            let (next, until) = match places {
                None => (begin, end),
                Some(places) => {
                    let mut here = places.iter().filter(|place| place.partition == partition);
                    match here.next() {
                        None => (end, end),
                        Some(first) => {
                            let last = here.next_back().unwrap_or(first).offset.0;
                            let until = Offset(last.saturating_add(1).min(end.0));
                            (first.offset.max(begin), until)
                        }
                    }
                }
            };
            spans.push(Span { partition, begin, end, next, until });
        }
        Ok(Reader {
            bus,
            consumer: bus.consumer(GROUP, &[Topic::Rejected])?,
            spans,
            is_ready: false,
            batch: Batch::new(),
        })
    }

    /// Gets the next records. False if there are no more.
    fn poll(&mut self) -> Result<bool, RejectedError> {
        let deadline = Instant::now() + WAIT_MAX;
        while !self.spans.iter().all(Span::is_done) {
            match self.consumer.poll(&LIMITS, &mut self.batch)? {
                Polled::Reassigned => self.take_over()?,
                Polled::Records if self.is_ready => return Ok(true),
                Polled::Nothing if self.is_ready && self.is_at_end()? => return Ok(false),
                // Somebody else has a part of it: what comes is read again once all is ours.
                Polled::Records | Polled::Nothing => {}
            }
            if Instant::now() >= deadline {
                return Err(RejectedError::NotInTime);
            }
        }
        Ok(false)
    }

    /// Goes to where this reader is, in all partitions that the group gave us.
    fn take_over(&mut self) -> Result<(), BusError> {
        let assigned = self.consumer.assignment().to_vec();
        let is_ours = |span: &Span| assigned.contains(&(Topic::Rejected, span.partition));
        self.is_ready = self.spans.iter().all(|span| span.is_done() || is_ours(span));
        self.go_back()
    }

    /// Goes to where this reader is: forgets what was polled and not passed.
    fn go_back(&mut self) -> Result<(), BusError> {
        let assigned = self.consumer.assignment().to_vec();
        for span in &self.spans {
            if assigned.contains(&(Topic::Rejected, span.partition)) {
                // Of what is done, nothing is wanted.
                let next = if span.is_done() { span.end } else { span.next };
                self.consumer.seek(Topic::Rejected, span.partition, next)?;
            }
        }
        Ok(())
    }

    /// Whether nothing is left although the end was not seen: on a cluster the marks of transactions
    /// take offsets, the last ones too. The bus counts exactly from what is committed, so that is
    /// brought up to here first.
    fn is_at_end(&mut self) -> Result<bool, BusError> {
        match self.consumer.commit(&mut Output::new()) {
            Err(BusError::Fenced { .. }) => {
                self.is_ready = false;
                return Ok(false);
            }
            other => other?,
        }
        Ok(self.bus.lag(GROUP, &[Topic::Rejected])? == 0)
    }

    /// The records that were polled and are meant.
    fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.batch.iter().filter(|record| {
            self.spans.iter().any(|span| {
                span.partition == record.partition
                    && (span.next..span.until).contains(&record.offset)
            })
        })
    }

    /// Passes what was polled.
    fn advance(&mut self) {
        let passed = self.batch.iter().map(|record| (record.partition, record.offset.0 + 1));
        let missing = self.batch.gaps().iter().map(|gap| (gap.partition, gap.next.0));
        for (partition, next) in passed.chain(missing) {
            if let Some(span) = self.spans.iter_mut().find(|span| span.partition == partition) {
                span.next = span.next.max(Offset(next));
            }
        }
    }

    fn state(&self) -> &dyn StateReader {
        self.consumer.state()
    }

    /// Deletes marks of records that retention has removed.
    fn forget_marks(&self, output: &mut Output) -> Result<(), BusError> {
        let mut left = FORGOTTEN_MAX;
        self.state().scan(MARK, &mut |partition, key, _| {
            let offset = key.strip_prefix(MARK).and_then(|bytes| bytes.try_into().ok());
            let offset = offset.map(|bytes| Offset(u64::from_be_bytes(bytes)));
            let span = self.spans.iter().find(|span| span.partition == partition);
            let is_gone = span.zip(offset).is_some_and(|(span, offset)| offset < span.begin);
            if is_gone && left > 0 {
                left -= 1;
                output.delete_state(partition, key);
            }
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.partition, self.offset)
    }
}

/// A text that is no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no place of a rejected record; write PARTITION/OFFSET, such as 0/17")]
pub struct NoPlace(pub String);

impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let read = || {
            let (partition, offset) = text.split_once('/')?;
            let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
            let (partition, offset) =
                Some((partition, offset)).filter(|(p, o)| is_number(p) && is_number(o))?;
            Some(Place {
                partition: Partition(partition.parse().ok()?),
                offset: Offset(offset.parse().ok()?),
            })
        };
        read().ok_or_else(|| NoPlace(text.to_owned()))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_back() {
        let place = Place { partition: Partition(3), offset: Offset(17) };
        assert_eq!(place.to_string().parse(), Ok(place));
        for wrong in
            ["", "/", "0", "0/", "/1", "0/1/2", "-1/2", "+1/2", "a/b", "0/99999999999999999999"]
        {
            assert_eq!(wrong.parse::<Place>(), Err(NoPlace(wrong.to_owned())), "{wrong}");
        }
    }

    #[test]
    fn marks_are_read_back() {
        let mark = Replays { times: 3, last: Timestamp::from_millis(1_790_000_000_123) };
        assert_eq!(Replays::decode(&mark.encode()), mark);
        for damaged in [b"".as_slice(), b"\xff", b"x y"] {
            assert_eq!(Replays::decode(damaged).times, 1);
        }
    }
}
