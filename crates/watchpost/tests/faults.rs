//! Faults from outside: a disk that is full, files that are damaged, a clock that jumps, clients
//! that stall, a stage that stands still, a broker that crashes and a network that is cut.
//!
//! After each of them the same must hold: nothing that was acknowledged is missing, no event is
//! there twice, and the ledger of conservation balances. And the engine says what is wrong with it,
//! and goes on by itself once it can.
//!
//! Some faults need what not every machine has: a file system of our own to fill up (root), a faked
//! clock (Debian's `faketime`), a Kafka broker to kill (`WATCHPOST_TEST_KAFKA` allows it).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Answer, Server, TestBus, free_port, log_file, needed_in_ci};
use serde_json::json;

/// How long the stages may take to catch up. Debug builds on a busy machine are slow.
const CATCH_UP_MAX: Duration = Duration::from_secs(60);

/// How long a recovery by itself may take.
const RECOVERY_MAX: Duration = Duration::from_secs(30);

/// What must stay free on the disk of the embedded log.
const RESERVE_BYTES: u64 = 512 * 1024 * 1024;

/// A data folder, its log, and what is known of the events that were sent to it.
struct Bench {
    folder: tempfile::TempDir,
    data: PathBuf,
    log: PathBuf,
    next: u64,
    acknowledged: BTreeSet<u64>,
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let (data, log) = (folder.path().join("data"), folder.path().join("log"));
        Bench { folder, data, log, next: 0, acknowledged: BTreeSet::new() }
    }

    fn start(&self, args: &[&str], environment: &[(&str, &str)]) -> Server {
        Server::of(Server::spawn(&self.data, args, environment, log_file(&self.log)))
    }

    /// Posts so many new events of about this size.
    fn post(&mut self, server: &Server, count: u64, bytes: usize) -> Answer {
        let numbers = self.next..self.next + count;
        self.next = numbers.end;
        let answer = server.post_told("/ingest/test.faults", &events(numbers.clone(), bytes));
        if answer.status == 200 {
            self.acknowledged.extend(numbers);
        }
        answer
    }

    #[track_caller]
    fn post_well(&mut self, server: &Server, count: u64, bytes: usize) {
        let answer = self.post(server, count, bytes);
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Holds what is indexed against what was acknowledged; what was refused is not there.
    #[track_caller]
    fn check(&self, server: &Server) {
        let found = self.check_all_but(server, &BTreeSet::new());
        assert!(found == self.acknowledged, "something is there that was refused");
    }

    /// The same, but for some events that are lost or were not answered for. Returns all numbers.
    #[track_caller]
    fn check_all_but(&self, server: &Server, lost: &BTreeSet<u64>) -> BTreeSet<u64> {
        let status = server.catch_up(CATCH_UP_MAX);
        if lost.is_empty() {
            assert_eq!(status["problems"], json!([]));
            let ledger = server.json("/api/v1/ledger");
            assert_eq!(ledger["imbalance"], 0, "{ledger:#}");
        }
        let (mut found, mut ids) = (BTreeSet::new(), BTreeSet::new());
        for event in server.documents("events") {
            assert!(ids.insert(event["event"]["id"].as_str().unwrap().to_owned()), "{event}");
            let number = event["labels"]["number"].as_str().and_then(|number| number.parse().ok());
            if let Some(number) = number {
                assert!(found.insert(number), "event {number} is there twice");
            }
        }
        let missing: Vec<&u64> =
            self.acknowledged.difference(&found).filter(|number| !lost.contains(number)).collect();
        assert!(missing.is_empty(), "acknowledged and not there: {missing:?}");
        let said = self.said();
        assert!(!said.contains("panicked at"), "{said}");
        found
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}

/// Events with these numbers. What fills them up cannot be compressed, and each number stands behind
/// `fault=` too, to be found in a file.
fn events(numbers: Range<u64>, bytes: usize) -> Vec<u8> {
    let mut body = String::new();
    for number in numbers {
        body.push_str(&format!(
            r#"{{"@timestamp":"2026-08-05T12:00:{:02}Z","labels":{{"number":"{number}"}},"message":"fault={number}. "#,
            number % 60
        ));
        // SplitMix64, as letters.
        let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let end = body.len() + bytes;
        while body.len() < end {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            mixed ^= mixed >> 27;
            for shift in (0..60).step_by(6) {
                let sixth = ((mixed >> shift) & 63) as u8;
                body.push(char::from(if sixth < 26 { b'a' + sixth } else { b'0' + sixth % 10 }));
            }
        }
        body.push_str("\"}\n");
    }
    body.into_bytes()
}

/// Waits until it is so.
#[track_caller]
fn wait_until(what: &str, within: Duration, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + within;
    while !is_so() {
        assert!(Instant::now() < until, "not within {within:?}: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A program that only root may run, if we are root or may become so without a password.
fn as_root(program: &str) -> Command {
    let id = Command::new("id").arg("-u").output();
    if id.is_ok_and(|id| id.stdout == b"0\n") {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["-n", program]);
    command
}

/// A file system in memory, of its own size.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: &Path, bytes: u64) -> Option<SmallDisk> {
        std::fs::create_dir_all(path).unwrap();
        let size = format!("size={bytes}");
        let mut mount = as_root("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "watchpost-test"]).arg(path);
        match mount.output() {
            Ok(done) if done.status.success() => Some(SmallDisk(path.to_owned())),
            other => {
                needed_in_ci(&format!("a small file system cannot be mounted: {other:?}"));
                None
            }
        }
    }

    /// Writes a file until it has so many bytes, or the disk is full.
    fn fill(&self, name: &str, bytes: u64) {
        let mut file = File::create(self.0.join(name)).unwrap();
        let block = vec![0; 4096];
        for _ in 0..bytes.div_ceil(4096) {
            match file.write_all(&block) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn free(&self, name: &str) {
        std::fs::remove_file(self.0.join(name)).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The process that used it may not be gone to the last.
        as_root("umount").arg("-l").arg(&self.0).status().ok();
    }
}

#[test]
fn a_full_disk_refuses_and_recovers_by_itself() {
    const SPARE_BYTES: u64 = 160 * 1024 * 1024;
    let mut bench = Bench::new();
    bench.data = bench.folder.path().join("disk/data");
    let root = bench.folder.path().join("disk");
    let Some(disk) = SmallDisk::mount(&root, RESERVE_BYTES + SPARE_BYTES) else { return };
    let server = bench.start(&[], &[]);
    disk.fill("ballast", SPARE_BYTES - 24 * 1024 * 1024);
    let mut posts = 0;
    let refused = loop {
        let answer = bench.post(&server, 20, 50_000);
        if answer.status != 200 {
            break answer;
        }
        posts += 1;
        assert!(posts < 200, "the disk does not fill up");
    };
    println!("refused after {posts} MB");
    assert!(posts > 0);
    let check_refused = |answer: &Answer| {
        assert_eq!((answer.status, answer.retry_after), (503, Some(30)), "{answer:?}");
        let named = root.to_str().unwrap();
        assert!(answer.body.contains(named) && answer.body.contains("are free"), "{answer:?}");
    };
    check_refused(&refused);
    let ready = server.get("/readyz");
    assert!(ready.0 == 503 && ready.1.contains("are free"), "{ready:?}");
    // It can be looked at meanwhile.
    server.json("/api/v1/search?since=all&limit=10&q=");

    disk.free("ballast");
    wait_until("appends are taken again", RECOVERY_MAX, || {
        bench.post(&server, 5, 100).status == 200
    });
    bench.check(&server);

    // Others fill it up to the last byte, reserve and all, and it stays so for longer than memory
    // is kept; then the process is killed in this state.
    bench.post_well(&server, 60, 50_000);
    disk.fill("ballast", u64::MAX);
    wait_until("appends are refused", RECOVERY_MAX, || bench.post(&server, 5, 100).status == 503);
    std::thread::sleep(Duration::from_secs(22));
    check_refused(&bench.post(&server, 5, 100));
    disk.free("ballast");
    wait_until("appends are taken again", RECOVERY_MAX, || {
        bench.post(&server, 5, 100).status == 200
    });
    disk.fill("ballast", u64::MAX);
    wait_until("appends are refused", RECOVERY_MAX, || bench.post(&server, 5, 100).status == 503);
    server.kill();
    let server = bench.start(&[], &[]);
    check_refused(&bench.post(&server, 5, 100));
    disk.free("ballast");
    wait_until("appends are taken again", RECOVERY_MAX, || {
        bench.post(&server, 5, 100).status == 200
    });
    bench.check(&server);
}

/// The newest journal of the embedded log, and where what was written to it ends.
fn journal(data: &Path) -> (PathBuf, Vec<u8>) {
    let files = std::fs::read_dir(data.join("bus")).unwrap().map(|file| file.unwrap().path());
    let number = |path: &PathBuf| path.file_stem()?.to_str()?.parse::<u64>().ok();
    let journals = files.filter(|path| path.extension().is_some_and(|is| is == "jnl"));
    let newest = journals.max_by_key(number).unwrap();
    let mut bytes = std::fs::read(&newest).unwrap();
    bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1);
    (newest, bytes)
}

/// What a loss of power leaves of the write that was under way: the journal has a last batch that
/// is cut off, or that is there but for some of its pages.
#[test]
fn a_torn_write_at_the_end_of_the_journal_is_told_and_costs_nothing() {
    const TRAILER: &[u8] = b"FJL\x03";
    let mut bench = Bench::new();
    let mut server = bench.start(&[], &[]);
    for torn in ["cut", "holed"] {
        bench.post_well(&server, 40, 2000);
        server.catch_up(CATCH_UP_MAX);
        bench.post_well(&server, 40, 2000);
        server.kill();
        let (path, bytes) = journal(&bench.data);
        let ends: Vec<usize> =
            (TRAILER.len()..=bytes.len()).filter(|end| bytes[..*end].ends_with(TRAILER)).collect();
        // A batch like those before it, as far as it came.
        let batches = ends.windows(2).map(|ends| &bytes[ends[0]..ends[1]]);
        let mut batch = batches.max_by_key(|batch| batch.len()).unwrap().to_vec();
        match torn {
            "cut" => batch.truncate(batch.len() * 2 / 3),
            _ => batch[200..700].fill(0),
        }
        let mut file = File::options().write(true).open(&path).unwrap();
        file.seek(SeekFrom::Start(bytes.len() as u64)).unwrap();
        file.write_all(&batch).unwrap();
        drop(file);
        server = bench.start(&[], &[]);
        bench.check(&server);
    }
    assert!(bench.said().contains("cut off a batch"), "{}", bench.said());
    bench.post_well(&server, 10, 100);
    bench.check(&server);
}

/// Every file below a folder.
fn files_below(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files_below(&path, all) } else { all.push(path) }
    }
}

/// Where a file of the embedded log, beside its journal, has the event of this number.
fn on_the_disk(data: &Path, number: u64) -> Option<(PathBuf, u64)> {
    let needle = format!("fault={number}. ");
    let mut files = Vec::new();
    files_below(&data.join("bus/keyspaces"), &mut files);
    files_below(&data.join("bus/entries"), &mut files);
    files.into_iter().find_map(|path| {
        // One that is being moved is found the next time.
        let bytes = std::fs::read(&path).ok()?;
        let at = bytes.windows(needle.len()).position(|window| window == needle.as_bytes())?;
        Some((path, at as u64))
    })
}

#[test]
fn a_damaged_entry_is_told_and_counted_and_the_rest_is_served() {
    const DAMAGED: u64 = 12;
    let mut bench = Bench::new();
    // Nothing reads the records yet.
    let server = bench.start(&["--stages", "ingest,web"], &[]);
    for _ in 0..40 {
        bench.post_well(&server, 1, 300_000);
    }
    let mut place = None;
    wait_until("the record is in a file", RECOVERY_MAX, || {
        place = on_the_disk(&bench.data, DAMAGED);
        place.is_some()
    });
    server.kill();
    let (file, at) = place.unwrap();
    let mut file = File::options().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(at + 1000)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(at + 1000)).unwrap();
    file.write_all(&[byte[0] ^ 1]).unwrap();
    drop(file);

    let server = bench.start(&[], &[]);
    let lost = BTreeSet::from([DAMAGED]);
    let found = bench.check_all_but(&server, &lost);
    assert_eq!(found.len(), 39, "no more than the damaged record is missing");
    let missing = "watchpost_bus_missing_records_total{group=\"normalize\",reason=\"corrupt\"";
    assert_eq!(server.metric(missing), 1.0);
    assert!(bench.said().contains("stored records are damaged and were skipped"));
    let ledger = server.json("/api/v1/ledger");
    assert_eq!(ledger["imbalance"], 1, "the ledger says so too: {ledger:#}");
    bench.post_well(&server, 10, 100);
    assert_eq!(bench.check_all_but(&server, &lost).len(), 49);
}

/// Where Debian keeps the library that fakes the time.
fn faketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten();
    let found = folders
        .map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"))
        .find(|library| library.exists());
    if found.is_none() {
        needed_in_ci("there is no libfaketime: apt-get install faketime");
    }
    found
}

/// A clock that is a year ahead, and one that is a year behind: nothing is removed for its age, also
/// not by a process that starts with the wrong clock, and what comes in meanwhile is kept.
#[test]
fn a_clock_that_jumps_removes_nothing() {
    const RETIRED: &str = "watchpost_bus_retired_records_total";
    let Some(library) = faketime() else { return };
    let mut bench = Bench::new();
    let clock = bench.folder.path().join("clock");
    let set = |offset: &str| std::fs::write(&clock, offset).unwrap();
    set("+0");
    let environment = [
        ("LD_PRELOAD", library.to_str().unwrap()),
        ("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap()),
        ("FAKETIME_NO_CACHE", "1"),
        // A clock that is set changes neither how long the machine has run, nor the times of files.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
        ("NO_FAKE_STAT", "1"),
        ("WATCHPOST_INDEX_DAYS", "30"),
    ];
    let started = Instant::now();
    let server = bench.start(&[], &environment);
    bench.post_well(&server, 30, 100);
    bench.check(&server);
    set("+400d");
    // Retention by age is applied every half minute.
    std::thread::sleep(Duration::from_secs(32).saturating_sub(started.elapsed()));
    bench.post_well(&server, 30, 100);
    bench.check(&server);
    assert_eq!(server.metric(RETIRED), 0.0);
    server.kill();
    for offset in ["+400d", "-400d", "+0"] {
        set(offset);
        let server = bench.start(&[], &environment);
        // The index looks for old partitions when nothing else is to be done.
        std::thread::sleep(Duration::from_secs(1));
        bench.post_well(&server, 30, 100);
        bench.check(&server);
        server.kill();
    }
    let said = bench.said();
    assert!(said.contains("the clock is far from where it was"), "is the time faked? {said}");
    assert!(!said.contains("dropped an index partition"), "{said}");
}

/// So many connections that send half of something and no more.
const STALLED: usize = 200;

#[test]
fn clients_that_stall_hold_up_nobody() {
    let mut bench = Bench::new();
    let syslog = format!("127.0.0.1:{}", free_port());
    let server = bench.start(&[], &[("WATCHPOST_SYSLOG_TCP", &syslog)]);
    let address = server.url.strip_prefix("http://").unwrap();
    let authorized = format!(
        "POST /ingest/test.faults HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n",
        server.token
    );
    let halves = [
        "POST /ingest/test.faults HTTP/1.1\r\nHost:".to_owned(),
        format!("{authorized}Content-Length: 1000\r\n\r\n{{\"message\":\"half of"),
        format!("{authorized}Transfer-Encoding: chunked\r\n\r\n100\r\n{{\"message\":\"half of"),
        String::new(),
    ];
    let started = Instant::now();
    let mut stalled = Vec::new();
    for client in 0..STALLED {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(halves[client % halves.len()].as_bytes()).unwrap();
        stalled.push(stream);
    }
    let mut silent = Vec::new();
    for client in 0..STALLED {
        let mut stream = TcpStream::connect(&syslog).unwrap();
        let half = if client % 2 == 0 { "500 <86>half of a message" } else { "<86>half of a" };
        stream.write_all(half.as_bytes()).unwrap();
        silent.push(stream);
    }
    for _ in 0..20 {
        let posted = Instant::now();
        bench.post_well(&server, 10, 100);
        // A debug build on a busy machine; it is milliseconds else.
        assert!(posted.elapsed() < Duration::from_secs(5), "{:?}", posted.elapsed());
    }
    let mut good = TcpStream::connect(&syslog).unwrap();
    writeln!(good, "<86>Aug  5 12:00:00 host-1 sshd[1]: the good one").unwrap();
    assert_eq!(server.search_total("\"the good one\"", 1), 1);
    bench.check(&server);

    // The limit is a minute. Syslog's is a day, because a closed connection costs it a message.
    if std::env::var_os("WATCHPOST_TEST_NEEDS_ALL").is_some() {
        let is_closed = |stream: &mut TcpStream| {
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let mut answer = Vec::new();
            match stream.read_to_end(&mut answer) {
                Ok(_) => true,
                Err(error) => error.kind() == ErrorKind::ConnectionReset,
            }
        };
        std::thread::sleep(Duration::from_secs(60).saturating_sub(started.elapsed()));
        assert!(stalled.iter_mut().all(is_closed), "a stalled client is still there");
        println!("all closed after {:?}", started.elapsed());
    }
    // What ends without its end is a message too.
    drop(silent);
    assert_eq!(server.search_total("\"half of a\"", STALLED as u64), STALLED as u64);
    bench.check(&server);
}

/// How much memory a process has.
fn resident_bytes(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

/// An index that stands still: the stages before it go on, in a process without it, until it is too
/// far behind. Then senders are told, or held back, and memory does not grow; and once it runs
/// again, everything goes through.
#[test]
fn an_index_that_stands_still_holds_senders_back() {
    const UNREAD_MAX: u64 = 1000;
    /// What the process may grow by while senders push: the buffers of two connections, requests in
    /// flight, and what stages keep, in a debug build.
    const GROWTH_BYTES_MAX: u64 = 64 * 1024 * 1024;
    let mut bench = Bench::new();
    // So that the index has a group, which can be behind.
    let server = bench.start(&[], &[]);
    bench.post_well(&server, 20, 100);
    bench.check(&server);
    server.kill();

    let syslog = format!("127.0.0.1:{}", free_port());
    let unread = UNREAD_MAX.to_string();
    let environment =
        [("WATCHPOST_SYSLOG_TCP", syslog.as_str()), ("WATCHPOST_BUS_UNREAD_RECORDS_MAX", &unread)];
    let before_it = ["--stages", "ingest,normalize,detection,correlation,web"];
    let server = bench.start(&before_it, &environment);
    let until = Instant::now() + RECOVERY_MAX;
    let refused = loop {
        let answer = bench.post(&server, 100, 200);
        if answer.status != 200 {
            break answer;
        }
        assert!(Instant::now() < until, "nobody is held back");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!((refused.status, refused.retry_after), (429, Some(10)), "{refused:?}");
    assert!(refused.body.contains("the stage indexing has"), "{refused:?}");
    println!("refused after {} events", bench.acknowledged.len());
    // It is looked at twice a second, so it is some more.
    assert!(bench.acknowledged.len() as u64 > UNREAD_MAX);

    let before = resident_bytes(&server);
    let mut pushed = 0_u64;
    let mut senders = Vec::new();
    for sender in 0..2 {
        let mut stream = TcpStream::connect(&syslog).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
        let line = format!("<86>Aug  5 12:00:00 host-{sender} app: {}\n", "held back ".repeat(90));
        let lines = line.repeat(64);
        let stalled = loop {
            match stream.write_all(lines.as_bytes()) {
                Ok(()) => pushed += lines.len() as u64,
                Err(error) => break error,
            }
            assert!(pushed < 64 * 1024 * 1024, "the sender is not held back");
        };
        assert!(matches!(stalled.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{stalled}");
        senders.push(stream);
    }
    for _ in 0..2 {
        assert_eq!(bench.post(&server, 1000, 1000).status, 429);
    }
    let after = resident_bytes(&server);
    println!("{pushed} bytes of syslog were taken, memory {before} -> {after}");
    assert!(after < before + GROWTH_BYTES_MAX, "{before} -> {after}");
    server.kill();
    drop(senders);

    let server = bench.start(&[], &environment);
    wait_until("senders go on", RECOVERY_MAX, || bench.post(&server, 10, 100).status == 200);
    let mut stream = TcpStream::connect(&syslog).unwrap();
    writeln!(stream, "<86>Aug  5 12:00:00 host-1 sshd[1]: the one after").unwrap();
    assert_eq!(server.search_total("\"the one after\"", 1), 1);
    bench.check(&server);
}

/// A Kafka broker of our own, removed with its data at the end.
struct Broker {
    name: &'static str,
    port: u16,
    proxied: u16,
}

impl Broker {
    /// One that tells its clients that it is at `proxied`.
    fn start(name: &'static str, port: u16, proxied: u16) -> Option<Broker> {
        // Whether brokers may be started here is asked of the same variable as everywhere.
        TestBus::kafka()?;
        let broker = Broker { name, port, proxied };
        // What an earlier run may have left.
        if let Err(error) = broker.run(&["kill"]).and_then(|()| broker.run(&["clean"])) {
            needed_in_ci(&format!("deploy/dev/kafka/kafka does not run: {error}"));
            return None;
        }
        broker.restart();
        Some(broker)
    }

    fn restart(&self) {
        let (port, proxied) = (self.port.to_string(), self.proxied.to_string());
        self.run(&["start", "--port", &port, "--proxied", &proxied]).unwrap();
    }

    fn kill(&self) {
        self.run(&["kill"]).unwrap();
    }

    fn run(&self, args: &[&str]) -> Result<(), String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/dev/kafka/kafka");
        let mut command = Command::new(script);
        command.args(args).args(["--name", self.name]);
        let done = command.output().map_err(|error| error.to_string())?;
        match done.status.success() {
            true => Ok(()),
            false => Err(format!("{args:?}: {}", common::stderr(&done))),
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.run(&["kill"]).and_then(|()| self.run(&["clean"])).ok();
    }
}

/// A network between the engine and its broker, which can be cut: then no byte comes through in
/// either direction, and nobody is told.
struct Network {
    is_cut: Arc<AtomicBool>,
}

impl Network {
    fn between(port: u16, broker: u16) -> Network {
        let is_cut = Arc::new(AtomicBool::new(false));
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let cut = Arc::clone(&is_cut);
        // It ends with the test's process.
        std::thread::spawn(move || {
            for inner in listener.incoming() {
                let Ok(inner) = inner else { return };
                wait_while(&cut);
                let Ok(outer) = TcpStream::connect(("127.0.0.1", broker)) else { continue };
                for (from, to) in
                    [(inner.try_clone().unwrap(), outer.try_clone().unwrap()), (outer, inner)]
                {
                    let cut = Arc::clone(&cut);
                    std::thread::spawn(move || pass_on(from, to, &cut));
                }
            }
        });
        Network { is_cut }
    }

    fn cut(&self, is_cut: bool) {
        self.is_cut.store(is_cut, Ordering::Relaxed);
    }
}

fn wait_while(cut: &AtomicBool) {
    while cut.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, cut: &AtomicBool) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        wait_while(cut);
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    wait_while(cut);
    // The other direction may still go on.
    from.shutdown(std::net::Shutdown::Read).ok();
    to.shutdown(std::net::Shutdown::Write).ok();
}

/// Writers that go on through a fault, each with new events after every answer, and what they were
/// answered.
fn write_through(
    bench: &mut Bench,
    server: &Server,
    mut fault: impl FnMut(),
) -> BTreeMap<u16, u64> {
    let next = AtomicU64::new(bench.next);
    let (stop, acknowledged) = (AtomicBool::new(false), Mutex::new(BTreeSet::new()));
    let answers = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let first = next.fetch_add(10, Ordering::Relaxed);
                    let numbers = first..first + 10;
                    let body = events(numbers.clone(), 100);
                    let answer = server.post_told("/ingest/test.faults", &body);
                    let is_refused = matches!(answer.status, 429 | 503);
                    assert!(is_refused || answer.status == 200, "{answer:?}");
                    assert_eq!(is_refused, answer.retry_after.is_some(), "{answer:?}");
                    *answers.lock().unwrap().entry(answer.status).or_default() += 1;
                    if answer.status == 200 {
                        acknowledged.lock().unwrap().extend(numbers);
                    }
                    std::thread::sleep(Duration::from_millis(100));
                }
            });
        }
        let count = || acknowledged.lock().unwrap().len();
        let wait_for_more = |what| {
            let before = count();
            wait_until(what, CATCH_UP_MAX, || count() > before + 100);
        };
        wait_for_more("events are taken");
        fault();
        wait_for_more("events are taken again");
        stop.store(true, Ordering::Relaxed);
    });
    bench.next = next.into_inner();
    bench.acknowledged.extend(acknowledged.into_inner().unwrap());
    answers.into_inner().unwrap()
}

/// The settings for a broker at a port of loopback.
fn on_kafka(port: u16) -> TestBus {
    TestBus::Kafka { url: format!("kafka://127.0.0.1:{port}"), prefix: "faults.".to_owned() }
}

#[test]
fn a_kafka_broker_that_crashes_costs_nothing() {
    let Some(broker) = Broker::start("faults-bin", 21092, 21500) else { return };
    let mut bench = Bench::new();
    let bus = on_kafka(broker.port);
    let server = bench.start(&[], &bus.environment());
    let answers = write_through(&mut bench, &server, || {
        broker.kill();
        std::thread::sleep(Duration::from_secs(2));
        broker.restart();
    });
    println!("answers: {answers:?}");
    // What was refused because no answer came in time may be there.
    bench.check_all_but(&server, &BTreeSet::new());
}

#[test]
fn a_network_that_is_cut_costs_nothing() {
    const CUT: Duration = Duration::from_secs(20);
    let Some(broker) = Broker::start("faults-net", 21102, 21600) else { return };
    let network = Network::between(broker.proxied, broker.port + 400);
    let mut bench = Bench::new();
    let bus = on_kafka(broker.proxied);
    let server = bench.start(&[], &bus.environment());
    let answers = write_through(&mut bench, &server, || {
        network.cut(true);
        std::thread::sleep(CUT);
        network.cut(false);
    });
    println!("answers: {answers:?}");
    bench.check_all_but(&server, &BTreeSet::new());
}
