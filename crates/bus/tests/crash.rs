//! What survives `kill -9`: everything that was acknowledged, in order, once.
//!
//! The test runs itself again as a child process, which appends numbered records from several
//! threads, prints each acknowledgement, and copies the records on through a stage with state. The
//! parent kills it at a random instant, opens the log, and checks that each producer's numbers are
//! all there, in order and once, up to at least the last one acknowledged, and that the copies and
//! the state are exactly those of the records consumed.
//!
//! `WATCHPOST_CRASH_ROUNDS` and `WATCHPOST_CRASH_SEED` make it longer, or the same again.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::{
    Batch, Bus, EmbeddedBus, Output, Partition, PollLimits, Polled, Record, Records, Reject,
    Settings, Shutdown, Stage, StageError, StageOptions, Start, StateReader, Topic, run_stage,
};
use event::Timestamp;

const PRODUCERS: usize = 3;
const CHILD: &str = "WATCHPOST_CRASH_CHILD";

#[test]
fn nothing_acknowledged_is_lost_or_doubled_by_kill_9() {
    let rounds = from_env("WATCHPOST_CRASH_ROUNDS").unwrap_or(20);
    let seed = from_env("WATCHPOST_CRASH_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().unwrap();
    let mut raw = Numbers::default();
    let mut copies = Numbers::default();
    let mut acknowledged = [0; PRODUCERS];
    for round in 0..rounds {
        let value_bytes = if round % 4 == 3 { 50_000 } else { 200 };
        let runs_for = Duration::from_millis(random.u64(1..150));
        run_and_kill(folder.path(), &raw, value_bytes, runs_for, &mut acknowledged);

        let bus = EmbeddedBus::open(folder.path(), settings()).unwrap();
        raw.check(&bus, Topic::Raw);
        for (producer, acknowledged) in acknowledged.iter().enumerate() {
            let stored = raw.next(producer);
            assert!(
                stored >= *acknowledged,
                "round {round}: {acknowledged} were acknowledged to producer {producer}, {stored} are there"
            );
        }
        // The copier may be behind; what it has is right, and it catches up to all.
        copies.check(&bus, Topic::Events);
        let copier = Copier::default();
        let (shutdown, bus) = (Shutdown::new(), Arc::new(bus));
        let handle =
            run_stage(bus.clone(), Box::new(copier), StageOptions::default(), shutdown.clone())
                .unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while bus.lag("copier", &[Topic::Raw]).unwrap() > 0 {
            assert!(Instant::now() < deadline, "the copier does not catch up");
            std::thread::sleep(Duration::from_millis(5));
        }
        shutdown.trigger();
        handle.join().unwrap();
        copies.check(bus.as_ref(), Topic::Events);
        assert_eq!(raw.0, copies.0, "round {round}: each record is copied once");
        assert_eq!(copied_by_state(bus.as_ref()), copies.total());
    }
    let total = raw.total();
    println!("{total} records survived {rounds} kills");
    assert!(total > 0);
}

/// Not a test of its own: the process that is killed.
#[test]
fn child() {
    let Ok(arguments) = std::env::var(CHILD) else { return };
    let mut arguments = arguments.split('|');
    let folder = arguments.next().unwrap();
    let value_bytes = arguments.next().unwrap().parse().unwrap();
    let next: Vec<u64> = arguments.map(|text| text.parse().unwrap()).collect();
    let bus = Arc::new(EmbeddedBus::open(folder, settings()).unwrap());
    let copier = Box::new(Copier::default());
    let _copier = run_stage(bus.clone(), copier, StageOptions::default(), Shutdown::new()).unwrap();
    std::thread::scope(|scope| {
        for (producer, next) in next.into_iter().enumerate() {
            let bus = bus.as_ref();
            scope.spawn(move || produce(bus, producer, next, value_bytes));
        }
    });
}

fn produce(bus: &dyn Bus, producer: usize, mut next: u64, value_bytes: usize) {
    let mut records = Records::new();
    let key = format!("producer-{producer}");
    let mut value = vec![0; value_bytes];
    loop {
        for _ in 0..fastrand::usize(1..40) {
            fastrand::fill(&mut value);
            let number = format!("{producer} {next} ");
            value[..number.len()].copy_from_slice(number.as_bytes());
            records.push(key.as_bytes(), &[("producer", b"test")], &value);
            next += 1;
        }
        bus.append(Topic::Raw, &mut records).unwrap();
        // One write of a short line into a pipe is whole or not there.
        std::io::stdout()
            .write_all(format!("acknowledged {producer} {next}\n").as_bytes())
            .unwrap();
    }
}

fn run_and_kill(
    folder: &Path,
    raw: &Numbers,
    value_bytes: usize,
    runs_for: Duration,
    acknowledged: &mut [u64; PRODUCERS],
) {
    let mut arguments = format!("{}|{value_bytes}", folder.display());
    for producer in 0..PRODUCERS {
        arguments += &format!("|{}", raw.next(producer));
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(CHILD, arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        let mut last = [0; PRODUCERS];
        for line in output.lines().map_while(Result::ok) {
            // The test harness may print before the first line.
            let Some((_, line)) = line.split_once("acknowledged ") else { continue };
            let Some((producer, next)) = line.split_once(' ') else { continue };
            last[producer.parse::<usize>().unwrap()] = next.parse::<u64>().unwrap();
        }
        last
    });
    std::thread::sleep(runs_for);
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert!(!status.success() && status.code().is_none(), "the child ended by itself: {status}");
    for (acknowledged, last) in acknowledged.iter_mut().zip(reader.join().unwrap()) {
        *acknowledged = last.max(*acknowledged);
    }
}

fn settings() -> Settings {
    // Small tables, so that the test sees many of them; and every disk is good enough for a test.
    Settings { memtable_bytes_max: 512 * 1024, disk_reserve_bytes: 0, ..Settings::default() }
}

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The next number of each producer.
#[derive(Debug, Default, PartialEq, Eq)]
struct Numbers(BTreeMap<usize, u64>);

impl Numbers {
    fn next(&self, producer: usize) -> u64 {
        self.0.get(&producer).copied().unwrap_or(0)
    }

    fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Reads what is new in a topic: each producer's numbers must go on without a hole.
    fn check(&mut self, bus: &dyn Bus, topic: Topic) {
        let mut consumer = bus.consumer(&format!("check-{topic}"), &[topic]).unwrap();
        let mut batch = Batch::new();
        let limits = PollLimits { wait: Duration::ZERO, ..PollLimits::default() };
        loop {
            match consumer.poll(&limits, &mut batch).unwrap() {
                Polled::Reassigned => {}
                Polled::Nothing => break,
                Polled::Records => {
                    assert_eq!(batch.gaps(), []);
                    batch.iter().for_each(|record| self.take(&record));
                }
            }
        }
        consumer.commit(&mut Output::new()).unwrap();
    }

    fn take(&mut self, record: &Record<'_>) {
        let mut parts = record.value.split(|byte| *byte == b' ');
        let mut number =
            || std::str::from_utf8(parts.next().unwrap()).unwrap().parse::<u64>().unwrap();
        let (producer, sequence) = (number() as usize, number());
        assert_eq!(record.key, format!("producer-{producer}").as_bytes());
        assert_eq!(record.headers.get_str("producer"), Some("test"));
        let next = self.0.entry(producer).or_default();
        assert_eq!(sequence, *next, "of producer {producer} at {} {}", record.topic, record.offset);
        *next += 1;
    }
}

/// Copies `raw` to `events`, and counts in its state how many records it copied.
#[derive(Default)]
struct Copier {
    counts: BTreeMap<Partition, u64>,
    changed: bool,
}

impl Stage for Copier {
    fn name(&self) -> &'static str {
        "copier"
    }

    fn inputs(&self) -> &[Topic] {
        &[Topic::Raw]
    }

    fn restore(
        &mut self,
        _: &[(Topic, Partition)],
        state: &dyn StateReader,
    ) -> Result<Start, StageError> {
        self.counts = counts(state);
        Ok(Start::Committed)
    }

    fn process(
        &mut self,
        record: &Record<'_>,
        _: Timestamp,
        output: &mut Output,
    ) -> Result<(), Reject> {
        let headers: Vec<_> = record.headers.iter().collect();
        output.to(Topic::Events).push(record.key, &headers, record.value);
        *self.counts.entry(record.partition).or_default() += 1;
        self.changed = true;
        Ok(())
    }

    fn end_batch(&mut self, _: Timestamp, output: &mut Output) -> Result<(), StageError> {
        if std::mem::take(&mut self.changed) {
            for (partition, count) in &self.counts {
                output.put_state(*partition, b"copied".as_slice(), count.to_le_bytes());
            }
        }
        Ok(())
    }
}

fn counts(state: &dyn StateReader) -> BTreeMap<Partition, u64> {
    let mut counts = BTreeMap::new();
    let mut each = |partition: Partition, _: &[u8], value: &[u8]| {
        counts.insert(partition, u64::from_le_bytes(value.try_into().unwrap()));
    };
    state.scan(b"copied", &mut each).unwrap();
    counts
}

fn copied_by_state(bus: &dyn Bus) -> u64 {
    let mut consumer = bus.consumer("copier", &[Topic::Raw]).unwrap();
    let limits = PollLimits { wait: Duration::ZERO, ..PollLimits::default() };
    assert_eq!(consumer.poll(&limits, &mut Batch::new()).unwrap(), Polled::Reassigned);
    counts(consumer.state()).values().sum()
}
