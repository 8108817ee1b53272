//! Records that are numbered, a stage that copies and counts them, and the check that each was
//! copied and counted exactly once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bus::{
    Batch, Bus, Output, Partition, PollLimits, Polled, Record, Records, Reject, Shutdown, Stage,
    StageError, StageHandle, StageOptions, Start, StateReader, Topic, run_stage,
};
use bus_kafka::KafkaBus;
use event::Timestamp;

/// The stage's name and group.
pub(crate) const COPIER: &str = "copier";

/// How many keys there are; each has an order of its own.
const KEYS: u64 = 5;

/// A record: whose it is, and its number.
type Numbered = (Vec<u8>, u64);

/// Appends numbered records until it is stopped.
pub(crate) struct Writer {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    thread: std::thread::JoinHandle<BTreeSet<Numbered>>,
}

impl Writer {
    pub(crate) fn start(bus: &KafkaBus) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let (bus, stopped, counted) = (bus.clone(), Arc::clone(&stop), Arc::clone(&acknowledged));
        let thread = std::thread::spawn(move || {
            let mut acknowledged = BTreeSet::new();
            let mut next = 0;
            while !stopped.load(Ordering::Relaxed) {
                let mut records = Records::new();
                let mut numbers = Vec::new();
                for _ in 0..fastrand::usize(1..20) {
                    let key = format!("key-{}", next % KEYS).into_bytes();
                    records.push(&key, &[], next.to_string().as_bytes());
                    numbers.push((key, next));
                    next += 1;
                }
                match bus.append(Topic::Raw, &mut records) {
                    Ok(()) => {
                        counted.fetch_add(numbers.len(), Ordering::Relaxed);
                        acknowledged.extend(numbers);
                    }
                    // Perhaps they are stored all the same, so the numbers are not used again.
                    Err(error) => eprintln!("not acknowledged: {error}"),
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            acknowledged
        });
        Writer { stop, acknowledged, thread }
    }

    /// Waits until so many more records are acknowledged.
    pub(crate) fn wait_for(&self, records: usize) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let enough = self.acknowledged.load(Ordering::Relaxed) + records;
        while self.acknowledged.load(Ordering::Relaxed) < enough {
            assert!(Instant::now() < deadline, "nothing is acknowledged any more");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Stops, and tells what was acknowledged.
    pub(crate) fn stop(self) -> BTreeSet<Numbered> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the writer does not panic")
    }
}

/// Copies `raw` to `events`, and counts the records of each key in its state. A copy has the count
/// in its header, so that it shows which state it was made with.
#[derive(Default)]
pub(crate) struct Copier {
    counts: BTreeMap<(Partition, Vec<u8>), u64>,
    changed: BTreeSet<(Partition, Vec<u8>)>,
    nap: Option<(Arc<AtomicBool>, Duration)>,
}

impl Copier {
    /// One whose next record takes so long once the switch is set.
    pub(crate) fn napping(is_due: &Arc<AtomicBool>, nap: Duration) -> Self {
        Copier { nap: Some((Arc::clone(is_due), nap)), ..Copier::default() }
    }
}

impl Stage for Copier {
    fn name(&self) -> &'static str {
        COPIER
    }

    fn inputs(&self) -> &[Topic] {
        &[Topic::Raw]
    }

    fn restore(
        &mut self,
        _: &[(Topic, Partition)],
        state: &dyn StateReader,
    ) -> Result<Start, StageError> {
        self.changed.clear();
        self.counts = counts(state);
        Ok(Start::Committed)
    }

    fn process(
        &mut self,
        record: &Record<'_>,
        _: Timestamp,
        output: &mut Output,
    ) -> Result<(), Reject> {
        if let Some((is_due, nap)) = &self.nap
            && is_due.swap(false, Ordering::Relaxed)
        {
            std::thread::sleep(*nap);
        }
        let place = (record.partition, record.key.to_vec());
        let count = self.counts.entry(place.clone()).or_default();
        *count += 1;
        self.changed.insert(place);
        let header = count.to_string();
        output.to(Topic::Events).push(record.key, &[("count", header.as_bytes())], record.value);
        Ok(())
    }

    fn end_batch(&mut self, _: Timestamp, output: &mut Output) -> Result<(), StageError> {
        for place in std::mem::take(&mut self.changed) {
            let count = self.counts.get(&place).copied().unwrap_or_default();
            output.put_state(place.0, place.1, count.to_string());
        }
        Ok(())
    }
}

/// Starts a worker of the stage, with batches so small that there are many commits.
pub(crate) fn start(bus: &KafkaBus, copier: Copier, shutdown: &Shutdown) -> StageHandle {
    let options = StageOptions {
        limits: PollLimits { records_max: 20, ..PollLimits::default() },
        backoff_max: Duration::from_millis(500),
        ..StageOptions::default()
    };
    run_stage(Arc::new(bus.clone()), Box::new(copier), options, shutdown.clone())
        .expect("the stage starts")
}

/// Waits until all is copied, stops the workers, and checks the copies and the state against what
/// is in `raw`, and that against what was acknowledged. Returns how many records there were.
pub(crate) fn finish(
    bus: &KafkaBus,
    shutdown: &Shutdown,
    workers: Vec<StageHandle>,
    acknowledged: &BTreeSet<Numbered>,
) -> usize {
    let deadline = Instant::now() + Duration::from_secs(150);
    while bus.lag(COPIER, &[Topic::Raw]).map_or(true, |lag| lag > 0) {
        if Instant::now() > deadline {
            let lag = bus.lag(COPIER, &[Topic::Raw]);
            let committed = bus.committed(COPIER, Topic::Raw);
            panic!("the copier does not catch up: {lag:?}, {committed:?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    shutdown.trigger();
    workers.into_iter().for_each(|worker| worker.join().expect("the worker ends in order"));
    check(bus, acknowledged)
}

fn check(bus: &KafkaBus, acknowledged: &BTreeSet<Numbered>) -> usize {
    let raw = read_all(bus, Topic::Raw);
    let events = read_all(bus, Topic::Events);
    let mut total = 0;
    for (key, numbers) in &raw {
        let numbers: Vec<u64> = numbers.iter().map(|(number, _)| *number).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "raw has each number once, in order");
        let copies = &events[key];
        let copied: Vec<u64> = copies.iter().map(|(number, _)| *number).collect();
        assert_eq!(copied, numbers, "each record is copied once, in order");
        let counted: Vec<u64> = copies.iter().map(|(_, count)| *count).collect();
        assert!(counted.into_iter().eq(1..=numbers.len() as u64), "each is counted once");
        total += numbers.len();
    }
    assert_eq!(raw.len(), events.len());
    for (key, number) in acknowledged {
        let found = raw.get(key).is_some_and(|all| all.binary_search(&(*number, 0)).is_ok());
        assert!(found, "record {number} was acknowledged and is not there");
    }
    let plain: BTreeMap<Vec<u8>, u64> =
        raw.into_iter().map(|(key, numbers)| (key, numbers.len() as u64)).collect();
    assert_eq!(state(bus), plain, "the state is the plain count");
    total
}

/// The numbers of each key in the order of the topic, with the count that a copy has.
fn read_all(bus: &KafkaBus, topic: Topic) -> BTreeMap<Vec<u8>, Vec<(u64, u64)>> {
    let group = format!("check-{}", fastrand::u64(..));
    let mut consumer = bus.consumer(&group, &[topic]).expect("joins");
    let mut all = BTreeMap::<_, Vec<_>>::new();
    let mut batch = Batch::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        assert!(Instant::now() < deadline, "{topic} does not end");
        match consumer.poll(&PollLimits::default(), &mut batch).expect("polls") {
            Polled::Reassigned => all.clear(),
            Polled::Records => {
                assert_eq!(batch.gaps(), []);
                for record in batch.iter() {
                    let value = std::str::from_utf8(record.value).expect("it is text");
                    let number = value.parse().expect("it is a number");
                    let count = record
                        .headers
                        .get_str("count")
                        .map_or(0, |text| text.parse().expect("it is a number"));
                    all.entry(record.key.to_vec()).or_default().push((number, count));
                }
            }
            Polled::Nothing => {
                consumer.commit(&mut Output::new()).expect("commits");
                if bus.lag(&group, &[topic]).expect("tells") == 0 {
                    return all;
                }
            }
        }
    }
}

/// The counts as somebody reads them who comes new.
fn state(bus: &KafkaBus) -> BTreeMap<Vec<u8>, u64> {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut consumer = bus.consumer(COPIER, &[Topic::Raw]).expect("joins");
    let mut batch = Batch::new();
    while consumer.assignment().len() < bus.partitions(Topic::Raw) as usize {
        assert!(Instant::now() < deadline, "others keep their partitions");
        consumer.poll(&PollLimits::default(), &mut batch).expect("polls");
    }
    counts(consumer.state()).into_iter().map(|((_, key), count)| (key, count)).collect()
}

fn counts(state: &dyn StateReader) -> BTreeMap<(Partition, Vec<u8>), u64> {
    let mut counts = BTreeMap::new();
    let mut each = |partition: Partition, key: &[u8], value: &[u8]| {
        let count = std::str::from_utf8(value).expect("it is text").parse().expect("a number");
        counts.insert((partition, key.to_vec()), count);
    };
    state.scan(b"", &mut each).expect("scans");
    counts
}
