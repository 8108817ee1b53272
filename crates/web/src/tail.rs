//! Live tail: events as they pass on the bus, through a filter of the search language.
//!
//! Each tail is a thread that reads the topic `events` beside the stages, as a consumer group that
//! never commits, and asks the plain evaluator. So a slow client holds up its own thread and nothing
//! else, and a client that comes back goes on where it was, as long as the bus has it. The cost: each
//! tail parses every event, a few microseconds each, which is why there are few.
//!
//! What it leaves out it counts, and tells in the stream: events beyond the rate, those it was too far
//! behind to read, and those that retention had removed.

use std::fmt;
use std::io::Write;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bus::{Batch, Bus, BusError, Offset, PollLimits, Polled, Record, Topic, replayed_header};
use event::{Event, Timestamp};
use query::Filter;
use tokio::sync::Semaphore;

use crate::stream::Output;

/// The most tails at a time; each parses all that passes.
pub(crate) const TAILS_MAX: usize = 8;

/// The most events that a tail shows in a second; nobody reads faster.
pub(crate) const RATE_MAX: usize = 1_000;

/// What it is if nothing is said.
pub(crate) const RATE_DEFAULT: usize = 100;

/// How many records a tail may be behind before it leaves them out and goes on with the newest: some
/// seconds of a busy bus.
const BEHIND_MAX: u64 = 50_000;

/// How often a quiet tail says that it lives, so that proxies keep the connection and it is noticed
/// when the client is gone.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The span of time that the rate is counted over.
const SECOND: Duration = Duration::from_secs(1);

/// One read of the bus; its wait is how soon the end of a tail is noticed.
const LIMITS: PollLimits =
    PollLimits { records_max: 1000, bytes_max: 1024 * 1024, wait: Duration::from_millis(200) };

/// All tails of a process.
#[derive(Clone)]
pub struct Tails {
    bus: Arc<dyn Bus>,
    /// The group of the index: records put back for another stage are none of ours.
    index_group: Arc<str>,
    pub(crate) turns: Arc<Semaphore>,
    closed: Arc<AtomicBool>,
    /// How many there were, for names.
    begun: Arc<AtomicU64>,
}

/// What is followed.
pub(crate) struct Follow {
    pub(crate) filter: Filter,
    /// Where to go on; with what comes from now on if `None`.
    pub(crate) from: Option<Place>,
    /// The most events in a second.
    pub(crate) rate: usize,
}

/// How far a tail has read: the next offset of each partition. Written with dots between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place(Vec<Offset>);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, offset) in self.0.iter().enumerate() {
            let dot = if n == 0 { "" } else { "." };
            write!(f, "{dot}{offset}")?;
        }
        Ok(())
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let offsets: Option<Vec<Offset>> =
            text.split('.').map(|part| part.parse().ok().map(Offset)).collect();
        offsets.map(Place).ok_or_else(|| {
            format!("`{text}` is no place of a tail; send back the `id` of its last event")
        })
    }
}

impl Place {
    fn next(&mut self, partition: bus::Partition) -> Option<&mut Offset> {
        self.0.get_mut(usize::try_from(partition.0).ok()?)
    }
}

impl Tails {
    /// No tail yet.
    pub fn new(bus: Arc<dyn Bus>, index_group: &str) -> Tails {
        let turns = Arc::new(Semaphore::new(TAILS_MAX));
        Tails {
            bus,
            index_group: index_group.into(),
            turns,
            closed: Arc::default(),
            begun: Arc::default(),
        }
    }

    /// Ends all tails, and every later one at once: a server that stops must not wait for clients that
    /// never go.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Follows until nobody reads any more.
    pub(crate) fn follow(&self, follow: Follow, out: Output) {
        let ended = Tail::begin(self, follow, out).and_then(|mut tail| tail.run());
        match ended {
            Ok(()) => {}
            Err(End::Client(error)) => tracing::debug!(%error, "a tail ended"),
            Err(End::Bus(BusError::Closed)) => {}
            Err(End::Bus(error)) => tracing::warn!(%error, "a tail ended"),
        }
    }
}

/// Why a tail ended.
enum End {
    Client(std::io::Error),
    Bus(BusError),
}

impl From<std::io::Error> for End {
    fn from(error: std::io::Error) -> Self {
        End::Client(error)
    }
}

impl From<BusError> for End {
    fn from(error: BusError) -> Self {
        End::Bus(error)
    }
}

/// How many events were not shown, since it was told.
#[derive(Debug, Default, PartialEq, Eq, serde::Serialize)]
struct LeftOut {
    /// They matched, but there were more than the rate.
    over_rate: u64,
    /// They were not looked at, because the tail was too far behind.
    behind: u64,
    /// The bus had them no more.
    gone: u64,
}

struct Tail<'t> {
    tails: &'t Tails,
    filter: Filter,
    rate: usize,
    out: Output,
    place: Place,
    /// Up to here all is shown, however long it takes: it had passed before the tail came.
    past: Place,
    left_out: LeftOut,
    /// How many were shown in this second, and when it began.
    shown: usize,
    second: Instant,
    told: Instant,
}

impl<'t> Tail<'t> {
    fn begin(tails: &'t Tails, follow: Follow, out: Output) -> Result<Tail<'t>, End> {
        let extents = tails.bus.extents(Topic::Events)?;
        let ends = Place(extents.iter().map(|extent| extent.end).collect());
        let mut left_out = LeftOut::default();
        // A place of a bus with other partitions means nothing here.
        let from = follow.from.filter(|from| from.0.len() == extents.len());
        let mut place = from.unwrap_or_else(|| ends.clone());
        for (offset, extent) in place.0.iter_mut().zip(&extents) {
            left_out.gone += extent.begin.0.saturating_sub(offset.0);
            *offset = Offset(offset.0.max(extent.begin.0).min(extent.end.0));
        }
        let now = Instant::now();
        Ok(Tail {
            tails,
            filter: follow.filter,
            rate: follow.rate,
            out,
            place,
            past: ends,
            left_out,
            shown: 0,
            second: now,
            told: now,
        })
    }

    fn run(&mut self) -> Result<(), End> {
        // A group of its own, so that it reads all partitions; nothing of it stays.
        let number = self.tails.begun.fetch_add(1, Ordering::Relaxed);
        let group = format!("tail-{}-{number}", Timestamp::now().as_nanos());
        let mut consumer = self.tails.bus.consumer(&group, &[Topic::Events])?;
        let mut batch = Batch::new();
        write!(self.out, "retry: 2000\n: following\n")?;
        self.heartbeat()?;
        while !self.tails.closed.load(Ordering::Relaxed) && !self.out.is_closed() {
            match consumer.poll(&LIMITS, &mut batch)? {
                Polled::Reassigned => self.seek(consumer.as_mut())?,
                Polled::Nothing => {}
                Polled::Records => {
                    for gap in batch.gaps() {
                        self.left_out.gone += gap.next.0.saturating_sub(gap.first.0);
                        if let Some(next) = self.place.next(gap.partition) {
                            *next = gap.next;
                        }
                    }
                    let mut event = Event::new();
                    for record in batch.iter() {
                        self.show(&record, &mut event)?;
                    }
                }
            }
            self.out.flush()?;
            if self.second.elapsed() >= SECOND {
                self.begin_second()?;
                if self.skip_what_is_too_far_behind()? {
                    self.seek(consumer.as_mut())?;
                }
            }
            if self.told.elapsed() >= HEARTBEAT {
                self.heartbeat()?;
            }
        }
        Ok(())
    }

    fn seek(&self, consumer: &mut dyn bus::Consumer) -> Result<(), BusError> {
        for (topic, partition) in consumer.assignment().to_vec() {
            let mut place = self.place.clone();
            if let Some(next) = place.next(partition) {
                consumer.seek(topic, partition, *next)?;
            }
        }
        Ok(())
    }

    fn show(&mut self, record: &Record<'_>, event: &mut Event) -> Result<(), End> {
        let is_past = self.past.next(record.partition).is_some_and(|end| record.offset < *end);
        if let Some(next) = self.place.next(record.partition) {
            *next = Offset(record.offset.0 + 1);
        }
        let meant = record.headers.get_str(replayed_header::GROUP);
        if meant.is_some_and(|group| group != &*self.tails.index_group) {
            return Ok(());
        }
        // What is no event was rejected, and is told of there.
        if event.parse_json(record.value).is_err() || !query::matches(&self.filter, event) {
            return Ok(());
        }
        while self.shown >= self.rate {
            if self.second.elapsed() >= SECOND {
                self.begin_second()?;
            } else if is_past && !self.tails.closed.load(Ordering::Relaxed) {
                self.out.flush()?;
                std::thread::sleep(SECOND.saturating_sub(self.second.elapsed()));
            } else {
                self.left_out.over_rate += 1;
                return Ok(());
            }
        }
        self.shown += 1;
        self.told = Instant::now();
        writeln!(self.out, "id: {}\ndata: {}\n", self.place, event.to_json())?;
        Ok(())
    }

    fn begin_second(&mut self) -> Result<(), End> {
        (self.second, self.shown) = (Instant::now(), 0);
        if self.left_out != LeftOut::default() {
            let told = serde_json::to_string(&self.left_out).unwrap_or_default();
            writeln!(self.out, "event: left_out\nid: {}\ndata: {told}\n", self.place)?;
            self.out.flush()?;
            self.left_out = LeftOut::default();
        }
        Ok(())
    }

    fn skip_what_is_too_far_behind(&mut self) -> Result<bool, End> {
        let extents = self.tails.bus.extents(Topic::Events)?;
        let behind = |(next, extent): (&Offset, &bus::Extent)| extent.end.0.saturating_sub(next.0);
        let total: u64 = self.place.0.iter().zip(&extents).map(behind).sum();
        if total <= BEHIND_MAX {
            return Ok(false);
        }
        self.left_out.behind += total;
        self.place = Place(extents.iter().map(|extent| extent.end).collect());
        Ok(true)
    }

    /// Tells the place too, so that who comes back after a quiet time goes on here.
    fn heartbeat(&mut self) -> Result<(), End> {
        self.told = Instant::now();
        writeln!(self.out, ": alive\nid: {}\n", self.place)?;
        self.out.flush()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_written_and_read() {
        let place = Place(vec![Offset(0), Offset(12), Offset(7)]);
        assert_eq!(place.to_string(), "0.12.7");
        assert_eq!("0.12.7".parse(), Ok(place));
        for wrong in ["", "1.", "-1", "a", "1,2"] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }
}
