//! Following files: real files in a folder, a bus in memory, and a clock that the tests move.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bus::{Batch, Bus, BusError, MemoryBus, MemorySettings, PollLimits, Topic};
use event::Timestamp;
use ingest::tail::{FileSettings, From, Moment, Tail, TailError};
use ingest::{Intake, IntakeLimits};
use proptest::prelude::*;
use tempfile::TempDir;

/// A tail over a folder, which can be ended and started again.
struct Rig {
    folder: TempDir,
    bus: MemoryBus,
    settings: FileSettings,
    intake: Intake,
    elapsed: Duration,
    tail: Option<Tail>,
    stop: AtomicBool,
}

impl Rig {
    fn new(paths: &[&str], change: impl FnOnce(&mut FileSettings)) -> Rig {
        Rig::with_bus(paths, MemorySettings { partitions: 1, ..MemorySettings::default() }, change)
    }

    fn with_bus(
        paths: &[&str],
        settings: MemorySettings,
        change: impl FnOnce(&mut FileSettings),
    ) -> Rig {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("logs")).unwrap();
        let path = |path: &&str| format!("{}/logs/{path}", folder.path().display());
        let paths = paths.iter().map(path).collect();
        let mut files = FileSettings { paths, ..FileSettings::default() };
        change(&mut files);
        let bus = MemoryBus::new(settings);
        let intake = Intake::new(Arc::new(bus.clone()), IntakeLimits::default());
        let mut rig = Rig {
            folder,
            bus,
            settings: files,
            intake,
            elapsed: Duration::ZERO,
            tail: None,
            stop: AtomicBool::new(false),
        };
        rig.start();
        rig
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("logs").join(name)
    }

    fn checkpoint(&self) -> PathBuf {
        self.folder.path().join("files.json")
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.path(name)).unwrap();
        file.write_all(text.as_ref()).unwrap();
    }

    fn start(&mut self) {
        let settings = std::slice::from_ref(&self.settings);
        self.tail = Some(Tail::open(settings, self.checkpoint(), self.intake.clone()).unwrap());
        self.elapsed = Duration::ZERO;
    }

    /// Ends as a stop does.
    fn end(&mut self) {
        self.tail.take().unwrap().close().unwrap();
    }

    /// Ends as a crash does: without a word.
    fn crash(&mut self) {
        self.tail = None;
    }

    /// Lets a poll be due, and reads until nothing is left.
    fn read(&mut self) {
        self.wait_ms(100);
    }

    fn wait_ms(&mut self, ms: u64) {
        let until = self.elapsed + Duration::from_millis(ms);
        while self.elapsed < until {
            self.elapsed = (self.elapsed + Duration::from_secs(1)).min(until);
            let moment = Moment { elapsed: self.elapsed, time: Timestamp::now() };
            while self.tail.as_mut().unwrap().pass(moment, &self.stop).unwrap().is_busy {}
        }
    }

    /// Lets new files be found.
    fn look_up(&mut self) {
        self.wait_ms(6_000);
    }

    /// What is on the bus: `file:position:text`.
    fn records(&self) -> Vec<String> {
        let mut consumer = self.bus.consumer("test", &[Topic::Raw]).unwrap();
        let (mut batch, mut found) = (Batch::new(), Vec::new());
        let limits = PollLimits { wait: Duration::ZERO, ..PollLimits::default() };
        loop {
            let polled = consumer.poll(&limits, &mut batch).unwrap();
            if polled == bus::Polled::Nothing {
                return found;
            }
            for record in batch.iter() {
                let header = |name| record.headers.get_str(name).unwrap_or("");
                assert_eq!(header("listener"), "file");
                let peer = Path::new(header("peer")).file_name().unwrap().to_string_lossy();
                let text = String::from_utf8_lossy(record.value);
                found.push(format!("{peer}:{}:{text}", header("position")));
            }
        }
    }

    /// Only the texts.
    fn texts(&self) -> Vec<String> {
        let text = |record: String| record.splitn(3, ':').nth(2).unwrap().to_owned();
        self.records().into_iter().map(text).collect()
    }

    #[track_caller]
    fn check(&self, expected: &[&str]) {
        assert_eq!(self.texts(), expected);
    }
}

/// Lines that are all different.
fn numbered(from: usize, to: usize) -> String {
    (from..to).map(|line| format!("line {line} {}\n", line * 7919)).collect()
}

#[track_caller]
fn check_numbered(rig: &Rig, to: usize) {
    assert_eq!(rig.texts().join("\n") + "\n", numbered(0, to));
}

#[test]
fn lines_come_as_they_are_written() {
    let mut rig = Rig::new(&["*.log"], |files| {
        files.exclude = vec!["not*.log".to_owned()];
        files.dataset = "test.tail".to_owned();
    });
    rig.write("a.log", "one\r\ntw");
    rig.write("not-this.log", "x\n");
    rig.write("other.txt", "x\n");
    rig.read();
    rig.write("a.log", "o\n\nthree\n");
    rig.read();
    rig.write("b.log", "\u{feff}first\n");
    rig.look_up();
    rig.write("a.log", "four\n");
    rig.read();
    assert_eq!(
        rig.records(),
        ["a.log:0:one", "a.log:5:two", "a.log:10:three", "b.log:3:first", "a.log:16:four"]
    );
    let statuses = rig.tail.as_ref().unwrap().statuses();
    rig.wait_ms(2_000);
    let statuses = statuses.get();
    assert_eq!((statuses.len(), statuses[0].position, statuses[0].size), (2, 21, 21));
    // A clean end and a start: nothing twice, nothing lost.
    rig.end();
    rig.write("a.log", "five\n");
    rig.start();
    rig.read();
    assert_eq!(rig.texts().len(), 6);
}

#[test]
fn from_end_holds_once() {
    let mut rig = Rig::new(&["*.log"], |files| files.from = From::End);
    rig.write("a.log", "old\nhalf");
    rig.read();
    rig.write("a.log", " done\nnew\n");
    rig.write("b.log", "appeared\n");
    rig.look_up();
    rig.end();
    // While we were away, the file was rotated: the new one is not old.
    fs::rename(rig.path("a.log"), rig.path("a.log.1")).unwrap();
    rig.write("a.log", "while away\n");
    rig.start();
    rig.read();
    rig.check(&["new", "appeared", "while away"]);
}

#[test]
fn a_renamed_file_is_read_to_its_end() {
    for paths in [&["app.log"][..], &["app.log*"]] {
        let mut rig = Rig::new(paths, |_| {});
        rig.write("app.log", numbered(0, 10));
        rig.read();
        rig.write("app.log", numbered(10, 20));
        fs::rename(rig.path("app.log"), rig.path("app.log.1")).unwrap();
        rig.write("app.log.1", numbered(20, 30));
        rig.read();
        rig.write("app.log", numbered(31, 40));
        // The writer goes on in the old file for a while, and never ends its last line.
        rig.write("app.log.1", numbered(30, 31).trim_end());
        rig.look_up();
        rig.wait_ms(6_000);
        let mut texts = rig.texts();
        texts.sort_by_key(|text| text.split(' ').nth(1).unwrap().parse::<u32>().unwrap());
        assert_eq!(texts.join("\n") + "\n", numbered(0, 40), "{paths:?}");
        assert!(rig.records().iter().all(|record| record.starts_with("app.log:")));
    }
}

#[test]
fn the_last_line_of_a_rotated_file_needs_no_end() {
    for to in ["app.log.1", "elsewhere"] {
        let mut rig = Rig::new(&["app.log*"], |_| {});
        rig.write("app.log", "one\nhalf");
        rig.wait_ms(20_000);
        rig.check(&["one"]);
        rig.end();
        rig.start();
        rig.read();
        fs::rename(rig.path("app.log"), rig.path(to)).unwrap();
        rig.wait_ms(12_000);
        rig.check(&["one", "half"]);
    }
}

#[test]
fn a_removed_file_is_read_to_its_end_and_let_go() {
    let mut rig = Rig::new(&["*.log"], |_| {});
    rig.write("a.log", "one\n");
    rig.read();
    let mut writer = OpenOptions::new().append(true).open(rig.path("a.log")).unwrap();
    fs::remove_file(rig.path("a.log")).unwrap();
    writer.write_all(b"two\n").unwrap();
    rig.read();
    writer.write_all(b"three\nfour").unwrap();
    rig.wait_ms(8_000);
    rig.check(&["one", "two", "three", "four"]);
    rig.wait_ms(12_000);
    assert_eq!(rig.tail.as_ref().unwrap().statuses().get(), []);
}

#[test]
fn a_file_that_is_emptied_begins_again() {
    let mut rig = Rig::new(&["*.log"], |_| {});
    rig.write("a.log", numbered(0, 5));
    rig.read();
    // Emptied, and longer than before when we look.
    fs::write(rig.path("a.log"), numbered(5, 300)).unwrap();
    rig.read();
    // Emptied, and shorter.
    fs::write(rig.path("a.log"), numbered(300, 301)).unwrap();
    rig.read();
    // Of the same size, by a writer that kept its place: it leaves a hole.
    let size = fs::metadata(rig.path("a.log")).unwrap().len();
    let file = OpenOptions::new().write(true).open(rig.path("a.log")).unwrap();
    file.set_len(0).unwrap();
    rig.read();
    file.set_len(size + 100_000).unwrap();
    rig.read();
    rig.write("a.log", numbered(301, 302));
    rig.read();
    check_numbered(&rig, 302);
}

#[test]
fn the_copy_of_an_emptied_file_is_not_read_twice() {
    // Whether the copy is seen before the file is emptied, or after.
    for is_seen in [false, true] {
        let mut rig = Rig::new(&["app.log*"], |_| {});
        rig.write("app.log", numbered(0, 100));
        rig.read();
        // What was not read yet is read from the copy.
        let unread = numbered(100, 110);
        if is_seen {
            fs::copy(rig.path("app.log"), rig.path("app.log.1")).unwrap();
            rig.look_up();
        }
        rig.write("app.log", &unread);
        fs::copy(rig.path("app.log"), rig.path("app.log.1")).unwrap();
        fs::write(rig.path("app.log"), numbered(110, 120)).unwrap();
        rig.look_up();
        rig.wait_ms(3_000);
        let mut texts = rig.texts();
        texts.sort_by_key(|text| text.split(' ').nth(1).unwrap().parse::<u32>().unwrap());
        assert_eq!(texts.join("\n") + "\n", numbered(0, 120), "seen before: {is_seen}");
    }
}

#[test]
fn what_was_read_after_the_copy_was_made_does_not_hide_it() {
    for is_seen in [false, true] {
        let mut rig = Rig::new(&["app.log*"], |_| {});
        rig.write("app.log", numbered(0, 100));
        rig.read();
        rig.write("app.log", numbered(100, 110));
        rig.read();
        fs::copy(rig.path("app.log"), rig.path("app.log.1")).unwrap();
        if is_seen {
            rig.look_up();
        }
        rig.write("app.log", numbered(110, 115));
        rig.read();
        fs::write(rig.path("app.log"), numbered(115, 120)).unwrap();
        rig.read();
        rig.crash();
        rig.start();
        rig.wait_ms(3_000);
        check_numbered(&rig, 120);
    }
}

#[test]
fn a_file_that_begins_like_another_is_not_taken_for_it() {
    let banner = "Starting work\n".repeat(200);
    let mut rig = Rig::new(&["*.log"], |_| {});
    rig.write("job-1.log", &banner);
    rig.look_up();
    rig.write("job-2.log", &banner);
    rig.write("job-1-again.log", &banner);
    rig.look_up();
    rig.look_up();
    assert_eq!(rig.texts().len(), 600);
}

#[test]
fn an_inode_that_is_used_again_is_another_file() {
    let mut rig = Rig::new(&["*.log"], |_| {});
    rig.write("a.log", numbered(0, 50));
    rig.read();
    rig.end();
    let inode = fs::metadata(rig.path("a.log")).unwrap().ino();
    fs::remove_file(rig.path("a.log")).unwrap();
    // Not every file system gives it again at once; the same file with another text is the same.
    rig.write("b.log", numbered(50, 150));
    if fs::metadata(rig.path("b.log")).unwrap().ino() != inode {
        println!("the inode was not used again; the place is given to the new one");
        let found = fs::metadata(rig.path("b.log")).unwrap().ino();
        let text = fs::read_to_string(rig.checkpoint()).unwrap();
        let text = text.replace(&format!("\"inode\":{inode}"), &format!("\"inode\":{found}"));
        fs::write(rig.checkpoint(), text).unwrap();
    }
    rig.start();
    rig.read();
    check_numbered(&rig, 150);
    assert!(rig.records()[50].starts_with("b.log:0:"));
}

#[test]
fn a_device_of_another_number_is_the_same() {
    let mut rig = Rig::new(&["*.log"], |_| {});
    rig.write("a.log", numbered(0, 300));
    rig.read();
    rig.end();
    let device = fs::metadata(rig.path("a.log")).unwrap().dev();
    let text = fs::read_to_string(rig.checkpoint()).unwrap();
    let text = text.replace(&format!("\"device\":{device}"), "\"device\":12345");
    fs::write(rig.checkpoint(), text).unwrap();
    rig.write("a.log", numbered(300, 310));
    rig.start();
    rig.read();
    check_numbered(&rig, 310);
}

#[test]
fn a_crash_after_an_append_doubles_nothing() {
    let mut rig = Rig::new(&["*.log"], |_| {});
    rig.write("a.log", numbered(0, 100));
    rig.write("b.log", "same\nsame\n");
    rig.wait_ms(2_000);
    let old = fs::read(rig.checkpoint()).unwrap();
    rig.write("a.log", numbered(100, 200));
    rig.write("b.log", "same\n");
    rig.wait_ms(2_000);
    rig.crash();
    // The append was done, the checkpoint was not.
    fs::write(rig.checkpoint(), old).unwrap();
    rig.write("a.log", numbered(200, 300));
    rig.write("b.log", "same\n");
    rig.start();
    rig.wait_ms(2_000);
    let (same, lines): (Vec<_>, Vec<_>) = rig.texts().into_iter().partition(|text| text == "same");
    assert_eq!(same.len(), 4);
    assert_eq!(lines.join("\n") + "\n", numbered(0, 300));
}

#[test]
fn several_lines_are_one_record() {
    let mut rig = Rig::new(&["*.log"], |files| {
        files.multiline_start = r"^\d{4}-".to_owned();
        files.multiline_lines_max = 4;
    });
    rig.write("a.log", "2026-01 a\n at x\n at y\n2026-02 b\n");
    rig.read();
    rig.check(&["2026-01 a\n at x\n at y"]);
    rig.write("a.log", " at z\n");
    rig.wait_ms(1_000);
    assert_eq!(rig.texts().len(), 1);
    // It was quiet for long enough.
    rig.wait_ms(2_000);
    rig.check(&["2026-01 a\n at x\n at y", "2026-02 b\n at z"]);
    rig.write("a.log", "2026-03\n1\n2\n3\n4\n5\n2026-04\n");
    rig.read();
    assert_eq!(rig.texts()[2..], ["2026-03\n1\n2\n3", "4\n5"]);
}

#[test]
fn long_lines_are_left_out_and_the_next_is_read() {
    let mut rig = Rig::new(&["*.log"], |files| files.line_bytes_max = 2_000_000);
    rig.write("a.log", format!("a\n{}\nb\n", "x".repeat(1_999_999)));
    rig.write("a.log", format!("{}\nc\n", "y".repeat(2_000_001)));
    rig.read();
    // Longer than we ever hold, and in pieces, over a restart.
    for _ in 0..5 {
        rig.write("a.log", "z".repeat(1_000_000));
        rig.read();
    }
    rig.end();
    rig.start();
    rig.write("a.log", "zz\nd\n");
    rig.read();
    let lengths: Vec<_> = rig.texts().iter().map(String::len).collect();
    assert_eq!(lengths, [1, 1_999_999, 1, 1, 1]);
}

#[test]
fn a_line_without_its_end_waits() {
    let mut rig = Rig::new(&["*.log"], |files| files.line_wait_ms = 60_000);
    rig.write("a.log", "one\ntwo");
    rig.wait_ms(50_000);
    rig.check(&["one"]);
    rig.wait_ms(12_000);
    rig.check(&["one", "two"]);
    rig.write("a.log", "\nthree\n");
    rig.read();
    rig.check(&["one", "two", "three"]);
}

#[test]
fn wide_text_becomes_utf_8() {
    for big in [false, true] {
        let wide = |text: &str| -> Vec<u8> {
            let units = text.encode_utf16();
            units
                .flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() })
                .collect()
        };
        let mut rig = Rig::new(&["*.log"], |_| {});
        let text = wide("\u{feff}J\u{f6}rg\r\nzwei \u{1f600}\n\u{a0a}drei\n");
        let (first, second) = text.split_at(13);
        rig.write("a.log", &first[..1]);
        rig.read();
        rig.write("a.log", &first[1..]);
        rig.read();
        rig.write("a.log", second);
        rig.read();
        rig.end();
        rig.start();
        rig.write("a.log", wide("vier\n"));
        rig.read();
        rig.check(&["J\u{f6}rg", "zwei \u{1f600}", "\u{a0a}drei", "vier"]);
    }
}

#[test]
fn what_cannot_be_read_keeps_nobody() {
    let mut rig = Rig::new(&["*.log", "deep/**/*.log"], |_| {});
    rig.write("a.log", "one\n");
    rig.write("b.log", "secret\n");
    fs::set_permissions(rig.path("b.log"), fs::Permissions::from_mode(0o0)).unwrap();
    fs::create_dir_all(rig.path("deep/er")).unwrap();
    rig.write("deep/er/c.log", "deep\n");
    std::os::unix::fs::symlink("nowhere", rig.path("dangling.log")).unwrap();
    std::os::unix::fs::symlink("a.log", rig.path("z-again.log")).unwrap();
    std::os::unix::fs::symlink(rig.path("deep"), rig.path("deep/er/circle")).unwrap();
    fs::create_dir(rig.path("folder.log")).unwrap();
    rig.look_up();
    let may_all = fs::read(rig.path("b.log")).is_ok();
    let mut texts = rig.texts();
    texts.sort();
    if may_all {
        println!("skipped in part: this user may read everything");
        assert_eq!(texts, ["deep", "one", "secret"]);
        return;
    }
    assert_eq!(texts, ["deep", "one"]);
    let statuses = rig.tail.as_ref().unwrap().statuses().get();
    assert!(
        statuses
            .iter()
            .any(|file| file.problem.as_ref().is_some_and(|problem| problem.contains("denied")))
    );
    fs::set_permissions(rig.path("b.log"), fs::Permissions::from_mode(0o600)).unwrap();
    rig.look_up();
    assert_eq!(rig.texts().len(), 3);
}

#[test]
fn two_thousand_files() {
    let mut rig = Rig::new(&["**/*.log"], |_| {});
    for file in 0..2_000 {
        fs::create_dir_all(rig.path(&format!("{}", file % 50))).unwrap();
        rig.write(&format!("{}/{file}.log", file % 50), format!("first of {file}\n"));
    }
    rig.read();
    for file in 0..2_000 {
        rig.write(&format!("{}/{file}.log", file % 50), format!("second of {file}\n"));
    }
    rig.read();
    rig.end();
    rig.start();
    rig.look_up();
    let mut texts = rig.texts();
    texts.sort();
    let mut expected: Vec<_> = (0..2_000)
        .flat_map(|file| [format!("first of {file}"), format!("second of {file}")])
        .collect();
    expected.sort();
    assert!(texts == expected, "{}", texts.len());
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// Files that are read as a whole are read by another thread: that is waited for.
fn wait_for(rig: &mut Rig, records: usize) {
    let started = Instant::now();
    while rig.texts().len() < records && started.elapsed() < Duration::from_secs(20) {
        rig.wait_ms(1_000);
    }
}

#[test]
fn archives_are_read_once() {
    let mut rig = Rig::new(&["*.log*"], |_| {});
    rig.write("old.log.2.gz", gzip(&numbered(0, 20_000)));
    rig.write("old.log.3.zst", zstd::stream::encode_all(&b"packed\n"[..], 3).unwrap());
    rig.read();
    rig.check(&[]);
    wait_for(&mut rig, 20_001);
    rig.look_up();
    assert_eq!(rig.texts().len(), 20_001);
    rig.end();
    rig.start();
    rig.wait_ms(12_000);
    assert_eq!(rig.texts().len(), 20_001);
    // The rotation of a file that was followed is known by its text.
    rig.write("app.log", numbered(0, 5_000));
    rig.look_up();
    fs::write(rig.path("app.log.1.gz"), gzip(&numbered(0, 5_000))).unwrap();
    fs::remove_file(rig.path("app.log")).unwrap();
    rig.wait_ms(20_000);
    assert_eq!(rig.texts().len(), 25_001);
    fs::write(rig.path("app.log.2.gz"), gzip(&numbered(0, 5_001))).unwrap();
    wait_for(&mut rig, 30_002);
    assert_eq!(rig.texts().len(), 30_002);
}

#[test]
fn event_logs_are_read_by_record() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/evtx/files");
    let Ok(entries) = fs::read_dir(folder) else {
        println!("skipped: ../shared/data/evtx/files is not there");
        return;
    };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut rig = Rig::new(&["*.evtx"], |_| {});
    fs::copy(&files[0], rig.path("a.evtx")).unwrap();
    rig.look_up();
    wait_for(&mut rig, 1);
    rig.look_up();
    let count = rig.texts().len();
    assert!(count > 0);
    // It changes, and nothing of it is new.
    fs::copy(&files[0], rig.path("a.evtx")).unwrap();
    rig.wait_ms(15_000);
    rig.end();
    rig.start();
    rig.wait_ms(15_000);
    assert_eq!(rig.texts().len(), count);
}

#[test]
fn a_full_bus_holds_back_and_a_stop_ends_it() {
    let mut rig = Rig::new(&["*.log"], |_| {});
    rig.write("a.log", numbered(0, 1000));
    let gate = rig.intake.gate();
    gate.close(BusError::Full { pending_bytes: 1, pending_bytes_max: 1 });
    let stop = Arc::new(AtomicBool::new(false));
    let thread = rig.tail.take().unwrap().start(Arc::clone(&stop)).unwrap();
    while !rig.checkpoint().exists() {
        std::thread::yield_now();
    }
    stop.store(true, Ordering::Relaxed);
    let stopped = Instant::now();
    thread.join().unwrap().unwrap();
    assert!(stopped.elapsed() < Duration::from_secs(1));
    rig.check(&[]);
    gate.open();
    rig.start();
    rig.read();
    check_numbered(&rig, 1000);
}

#[test]
fn a_record_that_the_bus_refuses_is_left_out() {
    let settings =
        MemorySettings { partitions: 1, record_bytes_max: 1000, ..MemorySettings::default() };
    let mut rig = Rig::with_bus(&["*.log"], settings, |_| {});
    rig.write("a.log", format!("a\n{}\nb\n", "x".repeat(1000)));
    rig.read();
    rig.check(&["a", "b"]);
}

#[test]
fn wrong_settings_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let intake = Intake::new(Arc::new(MemoryBus::default()), IntakeLimits::default());
    let error = |change: &dyn Fn(&mut FileSettings)| {
        let mut files = FileSettings { paths: vec!["/a/*.log".into()], ..Default::default() };
        change(&mut files);
        let opened = Tail::open(&[files], folder.path().join("files.json"), intake.clone());
        opened.err().unwrap().to_string()
    };
    for (change, expected) in [
        (
            &(|files: &mut FileSettings| files.paths.clear()) as &dyn Fn(&mut FileSettings),
            "`paths` name at least one",
        ),
        (&|files| files.paths = vec!["a/*".into()], "`paths` \"a/*\" must be absolute"),
        (&|files| files.paths = vec!["/a/***".into()], "is no pattern"),
        (&|files| files.exclude = vec!["*.{gz,tmp}".into()], "one pattern for each choice"),
        (&|files| files.dataset = "A".into(), "`dataset` `A` is no dataset name"),
        (&|files| files.namespace = "a b".into(), "`namespace`"),
        (&|files| files.multiline_start = "(".into(), "`multiline_start` regex parse error"),
        (&|files| files.multiline_start = r"\w{9999}".into(), "`multiline_start`"),
        (&|files| files.line_bytes_max = 1 << 30, "`line_bytes_max` is 1073741824"),
        (&|files| files.multiline_lines_max = 0, "`multiline_lines_max` is 0"),
    ] {
        let error = error(change);
        assert!(error.starts_with("[[files]] number 1: ") && error.contains(expected), "{error}");
    }
    fs::write(folder.path().join("files.json"), "{").unwrap();
    let opened = Tail::open(&[], folder.path().join("files.json"), intake);
    assert!(matches!(opened, Err(TailError::Checkpoint { .. })));
}

#[test]
fn logrotate_loses_nothing() {
    if Command::new("logrotate").arg("--version").output().is_err() {
        println!("skipped: there is no logrotate");
        return;
    }
    for how in ["create", "copytruncate", "create\n compress", "copytruncate\n compress"] {
        let mut rig = Rig::new(&["app.log*"], |_| {});
        let (configuration, state) =
            (rig.folder.path().join("rotate.conf"), rig.folder.path().join("rotate.state"));
        let log = rig.path("app.log");
        fs::write(&configuration, format!("{} {{\n rotate 20\n {how}\n}}\n", log.display()))
            .unwrap();
        fs::set_permissions(rig.path(""), fs::Permissions::from_mode(0o755)).unwrap();
        for round in 0..5 {
            rig.write("app.log", numbered(round * 100, round * 100 + 90));
            rig.look_up();
            // Not compressed, the last lines are still found in what it became.
            let late = if how.contains("compress") { 0 } else { 10 };
            rig.write("app.log", numbered(round * 100 + 90, round * 100 + 90 + late));
            let rotated = Command::new("logrotate")
                .args(["--force", "--state"])
                .args([&state, &configuration])
                .output()
                .unwrap();
            assert!(rotated.status.success(), "{}", String::from_utf8_lossy(&rotated.stderr));
            rig.wait_ms(12_000);
        }
        let mut texts = rig.texts();
        texts.sort_by_key(|text| text.split(' ').nth(1).unwrap().parse::<u32>().unwrap());
        let rounds = (0..5).map(|round| {
            numbered(round * 100, round * 100 + if how.contains("compress") { 90 } else { 100 })
        });
        assert_eq!(texts.join("\n") + "\n", rounds.collect::<String>(), "{how}");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Write(usize),
    /// Without its line end.
    WriteHalf,
    Rename,
    CopyTruncate,
    Truncate,
    Read,
    LookUp,
    Restart,
    Crash,
    /// To the checkpoint of before.
    CrashBack,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..60_usize).prop_map(Step::Write),
        2 => Just(Step::WriteHalf),
        2 => Just(Step::Rename),
        1 => Just(Step::CopyTruncate),
        1 => Just(Step::Truncate),
        5 => Just(Step::Read),
        3 => Just(Step::LookUp),
        1 => Just(Step::Restart),
        1 => Just(Step::Crash),
        1 => Just(Step::CrashBack),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn every_line_comes_once_and_in_order(steps in prop::collection::vec(step(), 1..40)) {
        let mut rig = Rig::new(&["app.log*"], |_| {});
        let (mut written, mut half, mut rotations) = (0, None, 0);
        let mut old = None;
        let (mut may_double, mut is_behind) = (false, false);
        for step in steps {
            match step {
                Step::Write(lines) => {
                    let mut text = numbered(written, written + lines);
                    if let Some(at) = half.take() {
                        text.drain(..at);
                    }
                    rig.write("app.log", text);
                    written += lines;
                }
                Step::WriteHalf => if half.is_none() {
                    rig.write("app.log", &numbered(written, written + 1).as_bytes()[..4]);
                    half = Some(4);
                }
                // Whoever rotates has ended the line; and our test's names must be free.
                Step::Rename | Step::CopyTruncate | Step::Truncate
                    if half.is_some() || !rig.path("app.log").exists() => {}
                Step::Rename => {
                    rotations += 1;
                    fs::rename(rig.path("app.log"), rig.path(&format!("app.log.{rotations}"))).unwrap();
                }
                Step::CopyTruncate => {
                    // What was appended just before a crash is known by its file's name.
                    may_double |= is_behind;
                    rotations += 1;
                    fs::copy(rig.path("app.log"), rig.path(&format!("app.log.{rotations}"))).unwrap();
                    fs::write(rig.path("app.log"), "").unwrap();
                    rig.look_up();
                }
                Step::Truncate => {
                    rig.look_up();
                    fs::write(rig.path("app.log"), "").unwrap();
                    rig.read();
                }
                Step::Read | Step::LookUp => {
                    if matches!(step, Step::Read) { rig.read() } else { rig.look_up() }
                    is_behind = false;
                }
                Step::Restart => {
                    rig.end();
                    old = fs::read(rig.checkpoint()).ok();
                    rig.start();
                }
                Step::Crash => {
                    rig.crash();
                    rig.start();
                    is_behind = true;
                }
                Step::CrashBack => {
                    rig.crash();
                    is_behind = true;
                    if let Some(old) = &old {
                        fs::write(rig.checkpoint(), old).unwrap();
                        // What was renamed or emptied since is met as new.
                        may_double = true;
                    }
                    rig.start();
                }
            }
        }
        if let Some(at) = half {
            rig.write("app.log", &numbered(written, written + 1).as_bytes()[at..]);
            written += 1;
        }
        rig.look_up();
        rig.look_up();
        rig.look_up();
        let number = |text: &String| text.split(' ').nth(1).unwrap().parse::<usize>().unwrap();
        let mut texts = rig.texts();
        if !may_double {
            // Of one name, which is one key on the bus.
            let mut last = std::collections::HashMap::new();
            for (record, text) in rig.records().iter().zip(&texts) {
                let name = record.split(':').next().unwrap().to_owned();
                let before = last.insert(name, number(text));
                prop_assert!(before.is_none_or(|before| before < number(text)), "{record}");
            }
        }
        texts.sort_by_key(number);
        let count = texts.len();
        texts.dedup();
        let expected = numbered(0, written);
        prop_assert_eq!(texts.iter().map(|text| format!("{text}\n")).collect::<String>(), expected);
        if !may_double {
            prop_assert_eq!(count, written);
        }
    }
}
