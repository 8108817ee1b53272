//! The stage runtime: what a stage may rely on, whatever its records do to it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bus::{
    Batch, Bus, BusError, MemoryBus, MemorySettings, Offset, Output, Partition, PollLimits, Polled,
    Record, Records, Reject, Shutdown, Stage, StageError, StageOptions, Start, StateReader, Topic,
    rejected_header, run_stage,
};
use event::Timestamp;

#[test]
fn a_record_that_fails_is_rejected_whole_and_the_others_pass() {
    let bus = bus(2);
    append(&bus, ["a", "refuse", "b", "panic", "c", "refuse late", "d"]);
    let seen = run_until_done(&bus, Doubler::default());
    assert_eq!(values(&bus, Topic::Events), ["a", "a", "b", "b", "c", "c", "d", "d"]);
    // State is that of the records that passed, though the stage lost its memory in between.
    assert_eq!(seen, 4);

    let mut rejected = BTreeMap::new();
    each(&bus, Topic::Rejected, |record| {
        let header = |name| record.headers.get_str(name).unwrap().to_owned();
        assert_eq!(header(rejected_header::STAGE), "doubler");
        assert_eq!(header(rejected_header::TOPIC), "raw");
        assert_eq!(header("source"), "test", "its own headers are kept");
        let place = (header(rejected_header::PARTITION), header(rejected_header::OFFSET));
        let value = String::from_utf8(record.value.to_vec()).unwrap();
        assert_eq!(record.key, value.as_bytes());
        rejected.insert(value, (header(rejected_header::REASON), place));
    });
    assert_eq!(rejected.len(), 3);
    assert_eq!(rejected["refuse"].0, "it says refuse");
    assert_eq!(rejected["refuse late"].0, "it says refuse late");
    assert_eq!(rejected["panic"].0, "a panic in the stage: it says panic");
    let (partition, offset) = &rejected["panic"].1;
    let mut original = None;
    each(&bus, Topic::Raw, |record| {
        if (record.partition.to_string(), record.offset.to_string())
            == (partition.clone(), offset.clone())
        {
            original = Some(record.value.to_vec());
        }
    });
    assert_eq!(original.as_deref(), Some(b"panic".as_slice()), "it tells where it was");
}

#[test]
fn a_record_that_breaks_its_whole_batch_is_found() {
    let bus = bus(1);
    let many: Vec<String> = (0..50).map(|number| number.to_string()).collect();
    append(&bus, many.iter().map(String::as_str));
    append(&bus, ["break the end", "too large to store", "of a foreign partition", "last"]);
    let passed = run_until_done(&bus, Doubler::default());
    assert_eq!(passed, 51);
    let mut rejected = Vec::new();
    each(&bus, Topic::Rejected, |record| {
        let reason = record.headers.get_str(rejected_header::REASON).unwrap();
        rejected.push((String::from_utf8(record.value.to_vec()).unwrap(), reason.to_owned()));
    });
    let names: Vec<&str> = rejected.iter().map(|(value, _)| value.as_str()).collect();
    assert_eq!(names, ["break the end", "too large to store", "of a foreign partition"]);
    assert_eq!(rejected[0].1, "end_batch in the stage: the end is broken");
    assert!(rejected[1].1.contains("a record may have"), "{}", rejected[1].1);
    assert!(rejected[2].1.contains("which this consumer does not have"), "{}", rejected[2].1);
    let mut expected: Vec<String> = many.iter().chain(&["last".to_owned()]).cloned().collect();
    expected.extend(expected.clone());
    expected.sort();
    assert_eq!(values(&bus, Topic::Events), expected);
}

#[test]
fn workers_share_the_partitions_and_each_record_is_done_once() {
    let bus = bus(4);
    let shutdown = Shutdown::new();
    let start = || {
        run_stage(Arc::new(bus.clone()), Box::new(Doubler::default()), options(), shutdown.clone())
            .unwrap()
    };
    let mut workers = vec![start()];
    let mut expected = Vec::new();
    for round in 0..20 {
        let round: Vec<String> = (0..50).map(|number| format!("{round}-{number}")).collect();
        append(&bus, round.iter().map(String::as_str));
        expected.extend(round.iter().chain(&round).cloned());
        if workers.len() < 3 {
            workers.push(start());
        }
    }
    wait_until(|| bus.lag("doubler", &[Topic::Raw]).unwrap() == 0);
    shutdown.trigger();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    expected.sort();
    assert_eq!(values(&bus, Topic::Events), expected);
    assert_eq!(passed_by_state(&bus), 1000);
}

/// Workers stop one after the other, and each that leaves has the partitions dealt anew, under the
/// last batch of the others. That is no failure, and the batch is done by the next who comes.
#[test]
fn a_worker_that_stops_in_a_batch_is_not_failed_by_the_others_leaving() {
    let bus = bus(2);
    let shutdown = Shutdown::new();
    let gate = Arc::new(Gate::default());
    let start = || {
        let stage = Gated { gate: Arc::clone(&gate) };
        run_stage(Arc::new(bus.clone()), Box::new(stage), options(), shutdown.clone()).unwrap()
    };
    let workers = [start(), start()];
    append(&bus, ["a"]);
    wait_until(|| gate.is_in.load(Ordering::Relaxed));
    shutdown.trigger();
    wait_until(|| workers.iter().any(|worker| worker.is_finished()));
    gate.is_open.store(true, Ordering::Relaxed);
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    assert_eq!(bus.lag("gated", &[Topic::Raw]).unwrap(), 1);

    let shutdown = Shutdown::new();
    let stage = Box::new(Gated { gate: Arc::clone(&gate) });
    let worker = run_stage(Arc::new(bus.clone()), stage, options(), shutdown.clone()).unwrap();
    wait_until(|| bus.lag("gated", &[Topic::Raw]).unwrap() == 0);
    shutdown.trigger();
    worker.join().unwrap();
    assert_eq!(values(&bus, Topic::Events), ["a"]);
}

#[derive(Default)]
struct Gate {
    is_in: AtomicBool,
    is_open: AtomicBool,
}

/// Passes a record on once its gate is open.
struct Gated {
    gate: Arc<Gate>,
}

impl Stage for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }

    fn inputs(&self) -> &[Topic] {
        &[Topic::Raw]
    }

    fn process(
        &mut self,
        record: &Record<'_>,
        _now: Timestamp,
        output: &mut Output,
    ) -> Result<(), Reject> {
        self.gate.is_in.store(true, Ordering::Relaxed);
        wait_until(|| self.gate.is_open.load(Ordering::Relaxed));
        output.to(Topic::Events).push(record.key, &[], record.value);
        Ok(())
    }
}

#[test]
fn a_failing_stage_is_tried_again_until_it_works() {
    let bus = bus(1);
    append(&bus, ["a", "b"]);
    let broken = Arc::new(AtomicUsize::new(3));
    let stage = Doubler { failures_left: Arc::clone(&broken), ..Doubler::default() };
    run_until_done(&bus, stage);
    assert_eq!(broken.load(Ordering::Relaxed), 0);
    assert_eq!(values(&bus, Topic::Events), ["a", "a", "b", "b"]);
    assert_eq!(values(&bus, Topic::Rejected), [""; 0]);
}

#[test]
fn an_idle_stage_is_ticked_and_a_stopping_one_finishes() {
    let bus = bus(1);
    let ticks = Arc::new(AtomicUsize::new(0));
    let shutdown = Shutdown::new();
    let stage = Timer { ticks: Arc::clone(&ticks) };
    let worker =
        run_stage(Arc::new(bus.clone()), Box::new(stage), options(), shutdown.clone()).unwrap();
    wait_until(|| ticks.load(Ordering::Relaxed) >= 3);
    wait_until(|| values(&bus, Topic::Alerts).contains(&"tick 2".to_owned()));
    shutdown.trigger();
    worker.join().unwrap();
    assert!(values(&bus, Topic::Alerts).contains(&"finished".to_owned()));
}

#[test]
fn a_sink_goes_on_from_its_own_offsets() {
    let bus = bus(1);
    let index = Arc::new(Mutex::new(Index::default()));
    let numbers: Vec<String> = (0..100).map(|number| format!("{number:03}")).collect();
    for part in numbers.chunks(10) {
        append(&bus, part.iter().map(String::as_str));
        let shutdown = Shutdown::new();
        let sink = Sink { index: Arc::clone(&index), waiting: Vec::new(), next: Offset(0) };
        let worker =
            run_stage(Arc::new(bus.clone()), Box::new(sink), options(), shutdown.clone()).unwrap();
        let all = bus.extents(Topic::Raw).unwrap()[0].end;
        wait_until(|| index.lock().unwrap().seen >= all);
        shutdown.trigger();
        worker.join().unwrap();
    }
    let index = index.lock().unwrap();
    // Sixteen are committed at a time; what was not is read again by the next sink, and is there
    // once.
    assert_eq!(index.committed.as_slice(), &numbers[..index.committed.len()]);
    assert_eq!(index.committed.len(), 96);
    // The bus is never told of more than that: nobody believes it complete too early.
    assert!((4..=20).contains(&bus.lag("sink", &[Topic::Raw]).unwrap()));
}

#[test]
fn stopping_a_closed_bus_is_told() {
    let bus = bus(1);
    let worker =
        run_stage(Arc::new(bus.clone()), Box::new(Doubler::default()), options(), Shutdown::new())
            .unwrap();
    bus.close();
    assert!(matches!(worker.join(), Err(BusError::Closed)));
}

/// Writes each record twice, counts them in its state, and does what a record tells it to.
#[derive(Default)]
struct Doubler {
    passed: BTreeMap<Partition, u64>,
    is_broken: bool,
    /// How often the end of a batch still fails.
    failures_left: Arc<AtomicUsize>,
}

impl Stage for Doubler {
    fn name(&self) -> &'static str {
        "doubler"
    }

    fn inputs(&self) -> &[Topic] {
        &[Topic::Raw]
    }

    fn restore(
        &mut self,
        _: &[(Topic, Partition)],
        state: &dyn StateReader,
    ) -> Result<Start, StageError> {
        self.is_broken = false;
        self.passed.clear();
        let mut each = |partition: Partition, _: &[u8], value: &[u8]| {
            self.passed.insert(partition, u64::from_le_bytes(value.try_into().unwrap()));
        };
        state.scan(b"passed", &mut each)?;
        Ok(Start::Committed)
    }

    fn process(
        &mut self,
        record: &Record<'_>,
        _: Timestamp,
        output: &mut Output,
    ) -> Result<(), Reject> {
        output.to(Topic::Events).push(record.key, &[], record.value);
        match record.value {
            b"refuse" => return Err(Reject::new("it says refuse")),
            b"panic" => {
                *self.passed.entry(record.partition).or_default() += 1000;
                panic!("it says panic");
            }
            b"break the end" => self.is_broken = true,
            b"too large to store" => output.to(Topic::Matches).push(b"", &[], &[0; 100_000]),
            b"of a foreign partition" => {
                output.put_state(Partition(77), b"k".as_slice(), b"v".as_slice())
            }
            _ => {}
        }
        output.to(Topic::Events).push(record.key, &[], record.value);
        if record.value == b"refuse late" {
            return Err(Reject::new("it says refuse late"));
        }
        *self.passed.entry(record.partition).or_default() += 1;
        Ok(())
    }

    fn end_batch(&mut self, _: Timestamp, output: &mut Output) -> Result<(), StageError> {
        assert!(!self.is_broken, "the end is broken");
        if self.failures_left.load(Ordering::Relaxed) > 0 && !output.is_empty() {
            self.failures_left.fetch_sub(1, Ordering::Relaxed);
            return Err(StageError::new("not yet"));
        }
        if !output.is_empty() {
            for (partition, passed) in &self.passed {
                output.put_state(*partition, b"passed".as_slice(), passed.to_le_bytes());
            }
        }
        Ok(())
    }
}

/// Writes an alert at each tick.
struct Timer {
    ticks: Arc<AtomicUsize>,
}

impl Stage for Timer {
    fn name(&self) -> &'static str {
        "timer"
    }

    fn inputs(&self) -> &[Topic] {
        &[Topic::Matches]
    }

    fn process(&mut self, _: &Record<'_>, _: Timestamp, _: &mut Output) -> Result<(), Reject> {
        Ok(())
    }

    fn end_batch(&mut self, now: Timestamp, output: &mut Output) -> Result<(), StageError> {
        assert!(now > Timestamp::EPOCH);
        let ticks = self.ticks.fetch_add(1, Ordering::Relaxed);
        output.to(Topic::Alerts).push(b"", &[], format!("tick {ticks}").as_bytes());
        Ok(())
    }

    fn finish(&mut self, _: Timestamp, output: &mut Output) -> Result<(), StageError> {
        output.to(Topic::Alerts).push(b"", &[], b"finished");
        Ok(())
    }
}

/// What a search index would have on disk.
#[derive(Default)]
struct Index {
    committed: Vec<String>,
    next: Offset,
    /// How far any sink has read.
    seen: Offset,
}

/// Commits to its index sixteen records at a time, with the offset.
struct Sink {
    index: Arc<Mutex<Index>>,
    waiting: Vec<String>,
    next: Offset,
}

impl Stage for Sink {
    fn name(&self) -> &'static str {
        "sink"
    }

    fn inputs(&self) -> &[Topic] {
        &[Topic::Raw]
    }

    fn restore(
        &mut self,
        assigned: &[(Topic, Partition)],
        _: &dyn StateReader,
    ) -> Result<Start, StageError> {
        self.waiting.clear();
        self.next = self.index.lock().unwrap().next;
        let start = |&(topic, partition): &(Topic, Partition)| (topic, partition, self.next);
        Ok(Start::Own(assigned.iter().map(start).collect()))
    }

    fn process(&mut self, record: &Record<'_>, _: Timestamp, _: &mut Output) -> Result<(), Reject> {
        assert_eq!(record.offset, self.next, "records come from the sink's own offset on");
        self.next = Offset(record.offset.0 + 1);
        self.waiting.push(String::from_utf8(record.value.to_vec()).unwrap());
        let mut index = self.index.lock().unwrap();
        index.seen = index.seen.max(self.next);
        if self.waiting.len() == 16 {
            index.committed.append(&mut self.waiting);
            index.next = self.next;
        }
        Ok(())
    }

    fn is_settled(&self) -> bool {
        self.waiting.is_empty()
    }

    fn finish(&mut self, _: Timestamp, _: &mut Output) -> Result<(), StageError> {
        // As if it had been killed: what waits is not committed.
        Ok(())
    }
}

fn bus(partitions: u32) -> MemoryBus {
    MemoryBus::new(MemorySettings { partitions, record_bytes_max: 50_000, ..Default::default() })
}

fn options() -> StageOptions {
    StageOptions {
        limits: PollLimits { wait: Duration::from_millis(2), ..PollLimits::default() },
        backoff_min: Duration::from_millis(1),
        backoff_max: Duration::from_millis(10),
        ..StageOptions::default()
    }
}

fn append<'a>(bus: &MemoryBus, values: impl IntoIterator<Item = &'a str>) {
    let mut records = Records::new();
    for value in values {
        records.push(value.as_bytes(), &[("source", b"test")], value.as_bytes());
    }
    bus.append(Topic::Raw, &mut records).unwrap();
}

/// Runs one worker until it has read everything, and returns how many records passed by its state.
fn run_until_done(bus: &MemoryBus, stage: Doubler) -> u64 {
    let shutdown = Shutdown::new();
    let worker =
        run_stage(Arc::new(bus.clone()), Box::new(stage), options(), shutdown.clone()).unwrap();
    wait_until(|| bus.lag("doubler", &[Topic::Raw]).unwrap() == 0);
    shutdown.trigger();
    worker.join().unwrap();
    passed_by_state(bus)
}

fn passed_by_state(bus: &MemoryBus) -> u64 {
    let mut consumer = bus.consumer("doubler", &[Topic::Raw]).unwrap();
    let polled = consumer.poll(&PollLimits::default(), &mut Batch::new()).unwrap();
    assert_eq!(polled, Polled::Reassigned);
    let mut total = 0;
    let mut each = |_: Partition, _: &[u8], value: &[u8]| {
        total += u64::from_le_bytes(value.try_into().unwrap());
    };
    consumer.state().scan(b"passed", &mut each).unwrap();
    total
}

/// The values of a topic, sorted.
fn values(bus: &MemoryBus, topic: Topic) -> Vec<String> {
    let mut values = Vec::new();
    each(bus, topic, |record| values.push(String::from_utf8(record.value.to_vec()).unwrap()));
    values.sort();
    values
}

fn each(bus: &MemoryBus, topic: Topic, mut each: impl FnMut(Record<'_>)) {
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

fn wait_until(mut is_done: impl FnMut() -> bool) {
    static QUIET: AtomicBool = AtomicBool::new(false);
    // Panics that a test provokes are not worth a backtrace each.
    if !QUIET.swap(true, Ordering::Relaxed) {
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let is_stage =
                std::thread::current().name().is_some_and(|name| name.starts_with("stage-"));
            if !is_stage {
                default(info);
            }
        }));
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_done() {
        assert!(Instant::now() < deadline, "it does not come to an end");
        std::thread::sleep(Duration::from_millis(1));
    }
}
