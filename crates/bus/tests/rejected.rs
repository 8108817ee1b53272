//! Dead letters: they are found, and put back exactly once, whatever happens meanwhile.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bus::rejected::{self, Done, Filter, Outcome, Place, Replay, What};
use bus::{
    Batch, Bus, BusError, Consumer, EmbeddedBus, Extent, MemoryBus, MemorySettings, Offset, OnDone,
    Output, Partition, PollLimits, Polled, Record, Records, Reject, Retention, Settings, Shutdown,
    Stage, StageOptions, StateReader, StateVisitor, Topic, rejected_header, replayed_header,
    run_stage,
};
use event::Timestamp;

const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

/// Runs a test on both local backends.
fn on_both(test: fn(&dyn Bus)) {
    test(&memory(3));
    let folder = tempfile::tempdir().unwrap();
    test(&EmbeddedBus::open(folder.path(), Settings::default()).unwrap());
}

#[test]
fn records_are_listed_newest_last_and_counted() {
    on_both(|bus| {
        assert_eq!(list(bus, &Filter::default(), 10), rejected::List::default());
        for number in 0..30 {
            let stage = if number % 3 == 0 { "detection" } else { "normalize" };
            reject(bus, number, stage, if number % 2 == 0 { "it is Even" } else { "it is odd" });
        }
        let all = list(bus, &Filter::default(), 10);
        assert_eq!((all.total, all.replayed, all.uncounted), (30, 0, 0));
        assert_eq!(all.records.len(), 10);
        let order: Vec<_> = all.records.iter().map(|record| (record.time, record.place)).collect();
        assert!(order.is_sorted(), "{order:?}");
        let counts: Vec<_> =
            all.counts.iter().map(|c| (c.stage.as_str(), c.reason.as_str(), c.records)).collect();
        assert_eq!(
            counts,
            [
                ("normalize", "it is Even", 10),
                ("normalize", "it is odd", 10),
                ("detection", "it is Even", 5),
                ("detection", "it is odd", 5),
            ]
        );
        assert_eq!(list(bus, &Filter::default(), 0).total, 30);

        let of = |filter: Filter| list(bus, &filter, 100);
        assert_eq!(of(Filter { stage: Some("detection".into()), ..Filter::default() }).total, 10);
        assert_eq!(of(Filter { stage: Some("detect".into()), ..Filter::default() }).total, 0);
        assert_eq!(of(Filter { reason: Some("EVEN".into()), ..Filter::default() }).total, 15);
        assert_eq!(of(Filter { topic: Some(Topic::Events), ..Filter::default() }).total, 10);
        let first = of(Filter::default()).records[0].time;
        let later = Timestamp::from_millis(first.as_millis() + 3_600_000);
        assert_eq!(of(Filter { since: Some(first), ..Filter::default() }).total, 30);
        assert_eq!(of(Filter { since: Some(later), ..Filter::default() }).total, 0);

        let mut seen = 0;
        rejected::visit(bus, &Filter::default(), &mut |_| {
            seen += 1;
            if seen == 7 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
        assert_eq!(seen, 7, "a visit ends when it is told to");
    });
}

#[test]
fn a_record_is_shown_whole() {
    on_both(|bus| {
        reject(bus, 41, "normalize", "it says no");
        let place = list(bus, &Filter::default(), 1).records[0].place;
        let shown = rejected::find(bus, place, |record| {
            assert_eq!(record.headers.get_str("source"), Some("test"));
            assert_eq!(record.origin.unwrap().to_string(), "raw/1/41");
            (record.stage.to_owned(), record.reason.to_owned(), record.value.to_vec())
        });
        let wanted = ("normalize".to_owned(), "it says no".to_owned(), b"value 41".to_vec());
        assert_eq!(shown.unwrap(), Some(wanted));
        let nothing = |partition, offset| {
            let place = Place { partition: Partition(partition), offset: Offset(offset) };
            rejected::find(bus, place, |_| ()).unwrap().is_none()
        };
        assert!(nothing(place.partition.0, place.offset.0 + 1));
        assert!(nothing(place.partition.0, u64::MAX));
        assert!(nothing(99, 0));
    });
}

#[test]
fn a_replay_puts_a_record_back_as_it_was_and_once() {
    on_both(|bus| {
        reject(bus, 0, "normalize", "no");
        reject(bus, 1, "detection", "no");
        let all = |again| Replay { what: What::All(Filter::default()), again, dry_run: false };
        let dry = Replay { dry_run: true, ..all(false) };
        assert_eq!(done(bus, &dry), [Done::PutBack; 2]);
        assert_eq!(values(bus, Topic::Raw), [""; 0], "a dry run does nothing");

        assert_eq!(done(bus, &all(false)), [Done::PutBack; 2]);
        for (topic, value, stage) in
            [(Topic::Raw, "value 1", "detection"), (Topic::Events, "value 0", "normalize")]
        {
            let mut seen = 0;
            each(bus, topic, |record| {
                seen += 1;
                assert_eq!(record.value, value.as_bytes());
                assert_eq!(record.key, value.replace("value", "key").as_bytes());
                let names: Vec<&str> = record.headers.iter().map(|(name, _)| name).collect();
                assert_eq!(names, ["replayed.from", "replayed.times", "replayed.group", "source"]);
                assert_eq!(record.headers.get_str(replayed_header::GROUP), Some(stage));
                assert_eq!(record.headers.get_str(replayed_header::TIMES), Some("1"));
                assert_eq!(record.headers.get_str("source"), Some("test"));
            });
            assert_eq!(seen, 1);
        }

        let listed = list(bus, &Filter::default(), 10);
        assert_eq!(listed.replayed, 2);
        let mark = listed.records[0].replays.unwrap();
        assert_eq!((mark.times, mark.last), (1, NOW));
        assert_eq!(done(bus, &all(false)), [Done::Before(mark); 2]);
        assert_eq!(values(bus, Topic::Raw).len(), 1, "it was not put back twice");
        let places = listed.records.iter().map(|record| record.place).collect();
        let one_by_one = Replay { what: What::Places(places), ..all(false) };
        assert_eq!(done(bus, &one_by_one), [Done::Before(mark); 2]);
        assert_eq!(done(bus, &all(true)), [Done::PutBack; 2]);
        assert_eq!(values(bus, Topic::Raw).len(), 2, "it was, when that was wanted");
        assert_eq!(list(bus, &Filter::default(), 1).records[0].replays.unwrap().times, 2);
    });
}

#[test]
fn what_cannot_be_put_back_is_told_and_keeps_nothing_else_back() {
    let settings = MemorySettings { partitions: 1, record_bytes_max: 1000, ..Default::default() };
    let bus = MemoryBus::new(settings);
    reject(&bus, 1, "normalize", "no");
    let mut records = Records::new();
    // Without a stage's headers, of the topic itself, and as large as the bus takes.
    records.push(b"k", &[], b"somebody else wrote this");
    let circular = headers("normalize", "no", Topic::Rejected, "0");
    records.push(b"k", &borrowed(&circular), b"x");
    let large = headers("normalize", "no", Topic::Raw, "0");
    records.push(b"k", &borrowed(&large), &[b'x'; 980]);
    bus.append(Topic::Rejected, &mut records).unwrap();
    reject(&bus, 2, "normalize", "no");
    let replay = Replay { what: What::All(Filter::default()), again: false, dry_run: false };
    assert_eq!(
        done(&bus, &replay),
        [Done::PutBack, Done::NoOrigin, Done::NoOrigin, Done::TooLarge, Done::PutBack]
    );
    assert_eq!(values(&bus, Topic::Raw), ["value 1", "value 2"]);
    let missing = Place { partition: Partition(0), offset: Offset(77) };
    let replay = Replay { what: What::Places(BTreeSet::from([missing])), ..replay };
    assert_eq!(done(&bus, &replay), [Done::Missing]);
}

/// As if the process had died between making the output and the commit.
#[test]
fn a_replay_that_is_cut_off_leaves_nothing_and_can_be_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let replay = Replay { what: What::All(Filter::default()), again: false, dry_run: false };
    let bus = EmbeddedBus::open(folder.path(), Settings::default()).unwrap();
    reject_all(&bus, (0..2500).map(|number| number * 3 + 1), "normalize", "no");
    let failing = Troubled::new(bus.clone(), Trouble::FailFrom(1));
    let mut told = 0;
    let result = rejected::replay(&failing, &replay, NOW, &mut |_| told += 1);
    assert!(result.is_err());
    // One batch was committed and told, the second was neither.
    assert!(told > 0 && told < 2500, "{told}");
    drop((failing, bus));
    let bus = EmbeddedBus::open(folder.path(), Settings::default()).unwrap();
    assert_eq!(values(&bus, Topic::Raw).len(), told);
    assert_eq!(list(&bus, &Filter::default(), 1).replayed, told as u64);

    let outcomes = done(&bus, &replay);
    assert_eq!(outcomes.iter().filter(|done| **done == Done::PutBack).count(), 2500 - told);
    let all = values(&bus, Topic::Raw);
    assert_eq!(all.len(), 2500);
    assert_eq!(all.into_iter().collect::<BTreeSet<_>>().len(), 2500, "each of them once");
}

#[test]
fn a_replay_that_is_fenced_goes_on_and_doubles_nothing() {
    let bus = memory(3);
    reject_all(&bus, (0..2500).map(|number| number * 3 + 1), "normalize", "no");
    let replay = Replay { what: What::All(Filter::default()), again: false, dry_run: false };
    let outcomes = done(&Troubled::new(bus.clone(), Trouble::FenceEachFirst), &replay);
    assert_eq!(outcomes.len(), 2500);
    let all = values(&bus, Topic::Raw);
    assert_eq!(all.len(), 2500);
    assert_eq!(all.into_iter().collect::<BTreeSet<_>>().len(), 2500, "each of them once");
}

#[test]
fn of_two_replays_at_a_time_one_puts_a_record_back() {
    let bus = memory(1);
    reject_all(&bus, (0..2500).map(|number| number * 3 + 1), "normalize", "no");
    let replay = Replay { what: What::All(Filter::default()), again: false, dry_run: false };
    let put_back: usize = std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| done(&bus, &replay)));
        both.into_iter()
            .map(|one| {
                one.join().unwrap().into_iter().filter(|done| *done == Done::PutBack).count()
            })
            .sum()
    });
    assert_eq!(put_back, 2500);
    assert_eq!(values(&bus, Topic::Raw).len(), 2500);
}

/// On a cluster the marks of transactions take the last offsets of a partition.
#[test]
fn a_partition_that_ends_with_holes_ends() {
    let bus = memory(2);
    reject(&bus, 1, "normalize", "no");
    let holes = Troubled::new(bus.clone(), Trouble::Holes);
    assert_eq!(list(&holes, &Filter::default(), 10).total, 1);
    let beyond = Place { partition: Partition(0), offset: Offset(2) };
    assert!(rejected::find(&holes, beyond, |_| ()).unwrap().is_none());
    let replay = Replay { what: What::All(Filter::default()), again: false, dry_run: false };
    assert_eq!(done(&holes, &replay), [Done::PutBack]);
    assert_eq!(done(&holes, &replay).len(), 1);
    assert_eq!(values(&bus, Topic::Raw).len(), 1);
}

#[test]
fn marks_go_when_their_records_are_gone() {
    let bus = memory(1);
    reject(&bus, 1, "normalize", "no");
    reject(&bus, 4, "normalize", "no");
    let replay = Replay { what: What::All(Filter::default()), again: false, dry_run: false };
    done(&bus, &replay);
    assert_eq!(marks(&bus), 2);
    bus.set_retention(Topic::Rejected, Retention { age: None, bytes: Some(1) }).unwrap();
    bus.enforce_retention().unwrap();
    reject(&bus, 7, "normalize", "no");
    assert_eq!(done(&bus, &replay).last(), Some(&Done::PutBack));
    // The bound leaves the newest record, so one was removed.
    assert_eq!(marks(&bus), 2);
    assert_eq!(values(&bus, Topic::Raw), ["value 1", "value 4", "value 7"]);
}

/// What a stage refused comes back to that stage alone, and says so when it is refused again.
#[test]
fn only_the_stage_that_refused_it_sees_it_again() {
    let bus = memory(1);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let shutdown = Shutdown::new();
    let workers: Vec<_> = ["picky", "other"]
        .into_iter()
        .map(|name| {
            let stage = Picky { name, seen: Arc::clone(&seen) };
            let limits = PollLimits { wait: Duration::from_millis(2), ..PollLimits::default() };
            // A stage is known by its group: two copies of one may each have everything.
            let group = Some(format!("{name}.1"));
            let options = StageOptions { group, limits, ..StageOptions::default() };
            run_stage(Arc::new(bus.clone()), Box::new(stage), options, shutdown.clone()).unwrap()
        })
        .collect();
    let mut records = Records::new();
    records.push(b"k", &[("source", b"test")], b"bad");
    bus.append(Topic::Events, &mut records).unwrap();
    let settle = || {
        while ["picky.1", "other.1"].iter().any(|name| bus.lag(name, &[Topic::Events]).unwrap() > 0)
        {
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    settle();
    let replay = Replay { what: What::All(Filter::default()), again: false, dry_run: false };
    assert_eq!(done(&bus, &replay), [Done::PutBack]);
    settle();
    let listed = list(&bus, &Filter::default(), 10);
    assert_eq!(listed.records.len(), 2);
    assert_eq!(listed.records[1].replay_of, Some(listed.records[0].place));
    assert_eq!(listed.records[1].origin.unwrap().to_string(), "events/0/1");
    // The refusal of the refusal goes back with one set of headers, and a higher number.
    assert_eq!(done(&bus, &replay).last(), Some(&Done::PutBack));
    settle();
    shutdown.trigger();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    let mut times = Vec::new();
    each(&bus, Topic::Rejected, |record| {
        let all = record.headers.iter().filter(|(name, _)| *name == replayed_header::TIMES);
        times.push(all.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect());
    });
    let times: Vec<String> = times.iter().map(|all: &Vec<String>| all.join(",")).collect();
    assert_eq!(times, ["", "1", "2"]);
    let mut seen = seen.lock().unwrap().clone();
    seen.sort_unstable();
    assert_eq!(seen, ["other", "picky", "picky", "picky"]);
}

/// Refuses everything when it is called picky, and takes everything otherwise.
struct Picky {
    name: &'static str,
    seen: Arc<Mutex<Vec<&'static str>>>,
}

impl Stage for Picky {
    fn name(&self) -> &'static str {
        self.name
    }

    fn inputs(&self) -> &[Topic] {
        &[Topic::Events]
    }

    fn process(&mut self, _: &Record<'_>, _: Timestamp, _: &mut Output) -> Result<(), Reject> {
        self.seen.lock().unwrap().push(self.name);
        if self.name == "picky" { Err(Reject::new("no")) } else { Ok(()) }
    }
}

fn memory(partitions: u32) -> MemoryBus {
    MemoryBus::new(MemorySettings { partitions, ..Default::default() })
}

/// Puts a record onto `rejected` as the runtime does: every third is of `events`, the others of `raw`.
fn reject(bus: &dyn Bus, number: u64, stage: &str, reason: &str) {
    reject_all(bus, [number], stage, reason);
}

fn reject_all(bus: &dyn Bus, numbers: impl IntoIterator<Item = u64>, stage: &str, reason: &str) {
    let mut records = Records::new();
    for number in numbers {
        let topic = if number % 3 == 0 { Topic::Events } else { Topic::Raw };
        let headers = headers(stage, reason, topic, &number.to_string());
        let (key, value) = (format!("key {number}"), format!("value {number}"));
        records.push(key.as_bytes(), &borrowed(&headers), value.as_bytes());
    }
    bus.append(Topic::Rejected, &mut records).unwrap();
}

fn headers(stage: &str, reason: &str, topic: Topic, offset: &str) -> [(&'static str, String); 6] {
    [
        (rejected_header::REASON, reason.to_owned()),
        (rejected_header::STAGE, stage.to_owned()),
        (rejected_header::TOPIC, topic.to_string()),
        (rejected_header::PARTITION, "1".to_owned()),
        (rejected_header::OFFSET, offset.to_owned()),
        ("source", "test".to_owned()),
    ]
}

fn borrowed<'a>(headers: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a [u8])> {
    headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect()
}

fn list(bus: &dyn Bus, filter: &Filter, limit: usize) -> rejected::List {
    rejected::list(bus, filter, limit).unwrap()
}

fn done(bus: &dyn Bus, replay: &Replay) -> Vec<Done> {
    let mut outcomes: Vec<Outcome> = Vec::new();
    rejected::replay(bus, replay, NOW, &mut |outcome| outcomes.push(outcome.clone())).unwrap();
    outcomes.into_iter().map(|outcome| outcome.done).collect()
}

/// How many marks the group has.
fn marks(bus: &dyn Bus) -> usize {
    let mut consumer = bus.consumer(rejected::GROUP, &[Topic::Rejected]).unwrap();
    let polled = consumer.poll(&PollLimits::default(), &mut Batch::new()).unwrap();
    assert_eq!(polled, Polled::Reassigned);
    let mut count = 0;
    consumer.state().scan(b"", &mut |_, _, _| count += 1).unwrap();
    count
}

/// The values of a topic, sorted.
fn values(bus: &dyn Bus, topic: Topic) -> Vec<String> {
    let mut values = Vec::new();
    each(bus, topic, |record| values.push(String::from_utf8(record.value.to_vec()).unwrap()));
    values.sort();
    values
}

fn each(bus: &dyn Bus, topic: Topic, mut each: impl FnMut(Record<'_>)) {
    let mut consumer = bus.consumer("reader-of-tests", &[topic]).unwrap();
    let limits = PollLimits { wait: Duration::ZERO, ..PollLimits::default() };
    let mut batch = Batch::new();
    loop {
        match consumer.poll(&limits, &mut batch).unwrap() {
            Polled::Reassigned => {}
            Polled::Nothing => return,
            Polled::Records => batch.iter().for_each(&mut each),
        }
    }
}

/// What happens to a [`Troubled`] bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// Commits fail, from this one on.
    FailFrom(usize),
    /// Before each other commit, somebody joins the group and leaves it.
    FenceEachFirst,
    /// Partitions of `rejected` end two offsets after their last record.
    Holes,
}

/// A bus that does what a crash or a cluster does.
struct Troubled {
    bus: Arc<dyn Bus>,
    trouble: Trouble,
    commits: Arc<AtomicUsize>,
}

impl Troubled {
    fn new(bus: impl Bus + 'static, trouble: Trouble) -> Self {
        Troubled { bus: Arc::new(bus), trouble, commits: Arc::default() }
    }
}

impl Bus for Troubled {
    fn append(&self, topic: Topic, records: &mut Records) -> Result<(), BusError> {
        self.bus.append(topic, records)
    }

    fn append_async(&self, topic: Topic, records: Records, done: OnDone) {
        self.bus.append_async(topic, records, done);
    }

    fn consumer(&self, group: &str, topics: &[Topic]) -> Result<Box<dyn Consumer>, BusError> {
        Ok(Box::new(TroubledConsumer {
            consumer: self.bus.consumer(group, topics)?,
            bus: Arc::clone(&self.bus),
            trouble: self.trouble,
            commits: Arc::clone(&self.commits),
        }))
    }

    fn partitions(&self, topic: Topic) -> u32 {
        self.bus.partitions(topic)
    }

    fn extents(&self, topic: Topic) -> Result<Vec<Extent>, BusError> {
        let mut extents = self.bus.extents(topic)?;
        if self.trouble == Trouble::Holes {
            extents.iter_mut().for_each(|extent| extent.end.0 += 2);
        }
        Ok(extents)
    }

    fn committed(&self, group: &str, topic: Topic) -> Result<Vec<Option<Offset>>, BusError> {
        self.bus.committed(group, topic)
    }

    fn lag(&self, group: &str, topics: &[Topic]) -> Result<u64, BusError> {
        self.bus.lag(group, topics)
    }

    fn state_of(&self, group: &str, each: &mut StateVisitor<'_>) -> Result<(), BusError> {
        self.bus.state_of(group, each)
    }

    fn set_retention(&self, topic: Topic, retention: Retention) -> Result<(), BusError> {
        self.bus.set_retention(topic, retention)
    }

    fn enforce_retention(&self) -> Result<u64, BusError> {
        self.bus.enforce_retention()
    }

    fn health(&self) -> Result<(), BusError> {
        self.bus.health()
    }

    fn close(&self) {
        self.bus.close();
    }
}

struct TroubledConsumer {
    consumer: Box<dyn Consumer>,
    bus: Arc<dyn Bus>,
    trouble: Trouble,
    commits: Arc<AtomicUsize>,
}

impl Consumer for TroubledConsumer {
    fn poll(&mut self, limits: &PollLimits, batch: &mut Batch) -> Result<Polled, BusError> {
        self.consumer.poll(limits, batch)
    }

    fn commit(&mut self, output: &mut Output) -> Result<(), BusError> {
        let number = self.commits.fetch_add(1, Ordering::Relaxed);
        match self.trouble {
            Trouble::FailFrom(first) if number >= first => {
                let reason = "the process died".to_owned();
                Err(BusError::Unavailable { doing: "committing", reason })
            }
            Trouble::FenceEachFirst if number.is_multiple_of(2) => {
                drop(self.bus.consumer(rejected::GROUP, &[Topic::Rejected])?);
                let result = self.consumer.commit(output);
                assert!(matches!(result, Err(BusError::Fenced { .. })), "{result:?}");
                result
            }
            _ => self.consumer.commit(output),
        }
    }

    fn assignment(&self) -> &[(Topic, Partition)] {
        self.consumer.assignment()
    }

    fn position(&self, topic: Topic, partition: Partition) -> Option<Offset> {
        self.consumer.position(topic, partition)
    }

    fn seek(&mut self, topic: Topic, partition: Partition, offset: Offset) -> Result<(), BusError> {
        self.consumer.seek(topic, partition, offset)
    }

    fn rewind(&mut self) -> Result<(), BusError> {
        self.consumer.rewind()
    }

    fn state(&self) -> &dyn StateReader {
        self.consumer.state()
    }
}
