//! The ledger of conservation: whatever happens to a pipeline, every record is accounted for, and a
//! record that really is lost or doubled is told.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bus::ledger::{Account, Ledger, SOURCE, Seen};
use bus::rejected::{self, Filter, Replay, What};
use bus::{
    Bus, MemoryBus, MemorySettings, Offset, Output, Partition, PollLimits, Record, Records, Reject,
    Shutdown, Stage, StageError, StageOptions, Start, StateReader, Topic, run_stage,
};
use event::Timestamp;

/// As `normalize`: one event of most records, two of some, none of others.
struct Maker;

impl Stage for Maker {
    fn name(&self) -> &'static str {
        "normalize"
    }

    fn inputs(&self) -> &[Topic] {
        &[Topic::Raw]
    }

    fn ledger(&self) -> Option<Topic> {
        Some(Topic::Raw)
    }

    fn process(
        &mut self,
        record: &Record<'_>,
        _now: Timestamp,
        output: &mut Output,
    ) -> Result<(), Reject> {
        let events = match record.value {
            b"bad" => return Err(Reject::new("it is bad")),
            b"panic" => panic!("it says panic"),
            b"empty" => 0,
            b"two" => 2,
            _ => 1,
        };
        for _ in 0..events {
            output.to(Topic::Events).push(record.value, &[(SOURCE, record.key)], record.value);
        }
        Ok(())
    }
}

/// As the index: it keeps what it has and its offsets in a place of its own.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Places>>);

#[derive(Default)]
struct Places {
    next: Vec<(Topic, Partition, Offset)>,
    stored: BTreeSet<(Partition, Offset)>,
    refuses: bool,
}

struct Sink {
    kept: Kept,
    waiting: Vec<(Partition, Offset)>,
    batches: u32,
    /// Fails at this batch, once.
    fails_at: u32,
}

impl Sink {
    fn new(kept: &Kept, fails_at: u32) -> Box<Sink> {
        Box::new(Sink { kept: kept.clone(), waiting: Vec::new(), batches: 0, fails_at })
    }
}

impl Stage for Sink {
    fn name(&self) -> &'static str {
        "indexing"
    }

    fn inputs(&self) -> &[Topic] {
        &[Topic::Events, Topic::Alerts]
    }

    fn ledger(&self) -> Option<Topic> {
        Some(Topic::Events)
    }

    fn restore(
        &mut self,
        _assigned: &[(Topic, Partition)],
        _state: &dyn StateReader,
    ) -> Result<Start, StageError> {
        self.waiting.clear();
        Ok(Start::Own(self.kept.0.lock().unwrap().next.clone()))
    }

    fn process(
        &mut self,
        record: &Record<'_>,
        _now: Timestamp,
        _output: &mut Output,
    ) -> Result<(), Reject> {
        if record.value == b"unfit" && self.kept.0.lock().unwrap().refuses {
            return Err(Reject::new("it does not fit"));
        }
        self.waiting.push((record.partition, record.offset));
        Ok(())
    }

    fn end_batch(&mut self, _now: Timestamp, _output: &mut Output) -> Result<(), StageError> {
        self.batches += 1;
        if self.batches == self.fails_at {
            return Err(StageError::new("the disk is full for a moment"));
        }
        // Every third batch, as an index that gathers before it commits.
        if self.batches.is_multiple_of(3) {
            self.keep();
        }
        Ok(())
    }

    fn finish(&mut self, _now: Timestamp, _output: &mut Output) -> Result<(), StageError> {
        self.keep();
        Ok(())
    }

    fn is_settled(&self) -> bool {
        self.waiting.is_empty()
    }
}

impl Sink {
    fn keep(&mut self) {
        let mut kept = self.kept.0.lock().unwrap();
        for (partition, offset) in self.waiting.drain(..) {
            kept.stored.insert((partition, offset));
            let next = Offset(offset.0 + 1);
            match kept.next.iter_mut().find(|(_, of, _)| *of == partition) {
                Some((_, _, at)) => *at = next.max(*at),
                None => kept.next.push((Topic::Events, partition, next)),
            }
        }
    }
}

fn options() -> StageOptions {
    StageOptions {
        limits: PollLimits {
            records_max: 7,
            wait: Duration::from_millis(5),
            ..PollLimits::default()
        },
        backoff_min: Duration::from_millis(1),
        backoff_max: Duration::from_millis(10),
        ..StageOptions::default()
    }
}

fn append(bus: &MemoryBus, source: &str, values: &[&str]) {
    let mut records = Records::new();
    for value in values {
        records.push(source.as_bytes(), &[], value.as_bytes());
    }
    bus.append(Topic::Raw, &mut records).unwrap();
}

/// Runs both stages until they have nothing left.
fn run(bus: &MemoryBus, kept: &Kept, fails_at: u32) {
    let shutdown = Shutdown::new();
    let start =
        |stage| run_stage(Arc::new(bus.clone()), stage, options(), shutdown.clone()).unwrap();
    let workers = [start(Box::new(Maker)), start(Sink::new(kept, fails_at))];
    let until = Instant::now() + Duration::from_secs(30);
    while bus.lag("normalize", &[Topic::Raw]).unwrap() > 0
        || bus.lag("indexing", &[Topic::Events]).unwrap() > 0
    {
        assert!(Instant::now() < until, "the stages do not come to their end");
        std::thread::sleep(Duration::from_millis(5));
    }
    shutdown.trigger();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
}

fn read(bus: &MemoryBus) -> Ledger {
    Ledger::read(bus, "normalize", "indexing").unwrap()
}

fn bus(partitions: u32) -> MemoryBus {
    MemoryBus::new(MemorySettings { partitions, ..MemorySettings::default() })
}

#[test]
fn every_record_of_every_source_is_accounted_for() {
    let (bus, kept) = (bus(2), Kept::default());
    kept.0.lock().unwrap().refuses = true;
    for _ in 0..20 {
        append(&bus, "10.0.0.1", &["a", "two", "empty", "b", "bad"]);
        append(&bus, "10.0.0.2", &["c", "unfit", "panic"]);
        append(&bus, "", &["d"]);
    }
    let before = read(&bus);
    assert_eq!((before.raw_in_flight, before.imbalance()), (180, 0));
    run(&bus, &kept, 5);
    let ledger = read(&bus);
    let account = |source: &str| Account { source: source.to_owned(), ..Account::default() };
    // What is known of a source beside its counts is all that it sent, once.
    for of in &ledger.accounts {
        assert!(of.seen.bytes >= of.received, "{of:?}");
        assert!(of.seen.first.is_some() && of.seen.first <= of.seen.last, "{of:?}");
    }
    let without_seen = |mut ledger: Ledger| {
        ledger.accounts.iter_mut().for_each(|of| of.seen = Seen::default());
        ledger
    };
    assert_eq!(
        without_seen(ledger),
        Ledger {
            accounts: vec![
                Account { received: 20, events: 20, stored: 20, ..account("(unnamed)") },
                Account {
                    received: 100,
                    dropped: 20,
                    rejected: 20,
                    events: 80,
                    stored: 80,
                    ..account("10.0.0.1")
                },
                Account {
                    received: 60,
                    rejected: 40,
                    events: 40,
                    stored: 20,
                    ..account("10.0.0.2")
                },
            ],
            ..Ledger::default()
        }
    );
    assert_eq!(kept.0.lock().unwrap().stored.len(), 120);

    // What was refused is put back when it fits, and is stored then.
    kept.0.lock().unwrap().refuses = false;
    let unfit = Filter { reason: Some("does not fit".to_owned()), ..Filter::default() };
    let replay = Replay { what: What::All(unfit), again: false, dry_run: false };
    let mut put_back = 0;
    rejected::replay(&bus, &replay, Timestamp::now(), &mut |_| put_back += 1).unwrap();
    assert_eq!(put_back, 20);
    run(&bus, &kept, 0);
    let ledger = read(&bus);
    assert_eq!(ledger.imbalance(), 0, "{ledger:?}");
    let second = &ledger.accounts[2];
    assert_eq!((second.received, second.rejected, second.stored), (60, 20, 40));
}

#[test]
fn what_is_on_its_way_is_told_and_what_is_lost_or_doubled_too() {
    let (bus, kept) = (bus(1), Kept::default());
    append(&bus, "here", &["a", "b", "c"]);
    run(&bus, &kept, 0);
    // Only the first stage runs.
    append(&bus, "here", &["d", "two"]);
    let shutdown = Shutdown::new();
    let stage = Box::new(Maker);
    let worker = run_stage(Arc::new(bus.clone()), stage, options(), shutdown.clone()).unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    while bus.lag("normalize", &[Topic::Raw]).unwrap() > 0 {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(5));
    }
    shutdown.trigger();
    worker.join().unwrap();
    let ledger = read(&bus);
    let account = &ledger.accounts[0];
    assert_eq!((account.events, account.stored, account.in_flight), (6, 3, 3));
    assert_eq!(ledger.imbalance(), 0);

    // An event that no raw record made.
    let mut records = Records::new();
    records.push(b"a", &[(SOURCE, b"here")], b"x");
    bus.append(Topic::Events, &mut records).unwrap();
    assert_eq!(read(&bus).accounts[0].error, 1);

    // A sink that skips records: its group is put further than it read.
    let mut consumer = bus.consumer("indexing", &[Topic::Events]).unwrap();
    let mut batch = bus::Batch::new();
    while consumer.poll(&PollLimits::default(), &mut batch).unwrap() != bus::Polled::Nothing {}
    consumer.commit(&mut Output::new()).unwrap();
    let ledger = read(&bus);
    assert_eq!(ledger.accounts[0].error, -3);
    assert_eq!(ledger.uncounted, 4);
    assert_eq!(ledger.imbalance(), 7);
}
