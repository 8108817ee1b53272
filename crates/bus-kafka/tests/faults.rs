//! What survives brokers that crash and freeze, workers that are too slow, and processes that are
//! killed: every acknowledged record is copied exactly once, and the state is the plain count.
//!
//! `WATCHPOST_TEST_KILLS` says how many processes are killed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod broker;
mod cluster;
mod copying;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use broker::Broker;
use bus::Shutdown;
use bus_kafka::{KafkaBus, Settings};
use cluster::{quick, real};
use copying::{Copier, Writer, finish, start};

const CHILD: &str = "WATCHPOST_TEST_KAFKA_CHILD";

/// Settings under which a silence of two seconds is long.
fn impatient(brokers: Vec<String>) -> Settings {
    Settings {
        partitions: 4,
        session_timeout: Duration::from_millis(1500),
        batch_timeout: Duration::from_millis(2000),
        transaction_timeout: Duration::from_secs(2),
        request_timeout: Duration::from_secs(3),
        delivery_timeout: Duration::from_secs(20),
        ..quick(brokers)
    }
}

#[test]
#[ignore = "Kafka 4.4 that is killed several times in a row sometimes forgets to abort a transaction in one of its partitions, which then never ends"]
fn a_broker_that_crashes_loses_and_doubles_nothing() {
    if real().is_none() {
        return;
    }
    let broker = Broker::start("faults-1", 20100);
    under_faults(&broker, || {
        broker.kill();
        std::thread::sleep(Duration::from_millis(300));
        broker.restart();
    });
}

#[test]
fn a_broker_that_freezes_loses_and_doubles_nothing() {
    if real().is_none() {
        return;
    }
    let broker = Broker::start("faults-2", 20200);
    under_faults(&broker, || {
        broker.freeze();
        // Longer than a session and a transaction may be silent.
        std::thread::sleep(Duration::from_millis(4000));
        broker.thaw();
    });
}

fn under_faults(broker: &Broker, mut fault: impl FnMut()) {
    // One broker in trouble at a time: two of them and their clients are more than two cores do in
    // sessions of a second.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let bus = KafkaBus::connect(impatient(broker.addresses())).unwrap();
    let shutdown = Shutdown::new();
    let workers = (0..2).map(|_| start(&bus, Copier::default(), &shutdown)).collect();
    let writer = Writer::start(&bus);
    for _ in 0..3 {
        writer.wait_for(fastrand::usize(200..600));
        fault();
    }
    writer.wait_for(200);
    let records = finish(&bus, &shutdown, workers, &writer.stop());
    eprintln!("{records} records survived");
}

/// A worker that sleeps too long is thrown out of the group, and what it made is refused; the other
/// one goes on.
#[test]
fn a_worker_that_is_too_slow_is_replaced() {
    let Some(brokers) = real() else { return };
    let bus = KafkaBus::connect(impatient(brokers)).unwrap();
    let shutdown = Shutdown::new();
    let is_due = Arc::new(AtomicBool::new(false));
    let slow = start(&bus, Copier::napping(&is_due, Duration::from_secs(6)), &shutdown);
    let other = start(&bus, Copier::default(), &shutdown);
    let writer = Writer::start(&bus);
    for _ in 0..2 {
        std::thread::sleep(Duration::from_secs(2));
        is_due.store(true, Ordering::Relaxed);
        std::thread::sleep(Duration::from_secs(7));
        assert!(!is_due.load(Ordering::Relaxed), "it slept");
    }
    let records = finish(&bus, &shutdown, vec![slow, other], &writer.stop());
    eprintln!("{records} records survived");
}

/// Two processes share the work; one after the other is killed at a random moment and started again
/// under its name.
#[test]
fn processes_that_are_killed_lose_and_double_nothing() {
    let Some(brokers) = real() else { return };
    let kills: u32 = std::env::var("WATCHPOST_TEST_KILLS").map_or(5, |text| text.parse().unwrap());
    let settings = impatient(brokers);
    let bus = KafkaBus::connect(settings.clone()).unwrap();
    let writer = Writer::start(&bus);
    let mut children = [Worker::start(&settings, "a"), Worker::start(&settings, "b")];
    for kill in 0..kills {
        std::thread::sleep(Duration::from_millis(fastrand::u64(100..1500)));
        let one = fastrand::usize(0..children.len());
        children[one].restart(&settings);
        if kill % 10 == 9 {
            eprintln!("{} of {kills} are killed", kill + 1);
        }
    }
    let acknowledged = writer.stop();
    drop(children);
    let shutdown = Shutdown::new();
    // The names of the killed, so that nobody waits for them.
    let heirs: Vec<KafkaBus> = ["a", "b"]
        .map(|name| Settings { instance: name.to_owned(), ..settings.clone() })
        .map(|settings| KafkaBus::connect(settings).unwrap())
        .into();
    let workers = heirs.iter().map(|bus| start(bus, Copier::default(), &shutdown)).collect();
    let records = finish(&bus, &shutdown, workers, &acknowledged);
    eprintln!("{records} records survived {kills} kills");
}

/// A process that runs the stage, killed at the end.
struct Worker {
    name: &'static str,
    process: Child,
}

impl Worker {
    fn start(settings: &Settings, name: &'static str) -> Self {
        Worker { name, process: Worker::spawn(settings, name) }
    }

    fn spawn(settings: &Settings, name: &str) -> Child {
        let arguments = format!("{}|{}|{name}", settings.brokers.join(","), settings.prefix);
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture", "--test-threads=1"])
            .env(CHILD, arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn restart(&mut self, settings: &Settings) {
        self.kill();
        self.process = Worker::spawn(settings, self.name);
    }

    fn kill(&mut self) {
        let early = self.process.try_wait().unwrap();
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        if early.is_some() && !std::thread::panicking() {
            let said = BufReader::new(self.process.stderr.take().unwrap());
            let said: Vec<String> = said.lines().map_while(Result::ok).collect();
            panic!("the process ended by itself: {}", said.join("\n"));
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Not a test of its own: the process that is killed.
#[test]
fn child() {
    let Ok(arguments) = std::env::var(CHILD) else { return };
    let [brokers, prefix, name] = arguments.split('|').collect::<Vec<_>>().try_into().unwrap();
    let settings = Settings {
        prefix: prefix.to_owned(),
        instance: name.to_owned(),
        ..impatient(brokers.split(',').map(str::to_owned).collect())
    };
    let bus = KafkaBus::connect(settings).unwrap();
    let shutdown = Shutdown::new();
    let workers = [(); 2].map(|()| start(&bus, Copier::default(), &shutdown));
    // Long enough to be killed, and not for ever if the parent is.
    let until = Instant::now() + Duration::from_secs(120);
    while Instant::now() < until && !workers.iter().any(|worker| worker.is_finished()) {
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("nobody killed it");
}
