//! What a scan and an import read from files of every kind.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::fs;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use bus::{Batch, Bus, BusError, MemoryBus, MemorySettings, PollLimits, Topic};
use event::Timestamp;
use ingest::files::{self, File, FileRead, Place, ReadOptions};
use ingest::privacy::Privacy;
use proptest::prelude::*;

fn options() -> ReadOptions<'static> {
    ReadOptions { line_bytes_max: 200_000, ..ReadOptions::new(Timestamp::EPOCH) }
}

/// Reads bytes as a file of this name: position and payload of each record, and the problems.
fn read(name: &str, bytes: &[u8]) -> (Vec<(u64, Vec<u8>)>, FileRead) {
    let mut records = Vec::new();
    let file = File::new(name, bytes.len() as u64);
    let read = files::read_from(&mut &*bytes, &file, &options(), &mut |record| {
        assert_eq!((record.listener, record.peer), ("file", name));
        records.push((record.position.unwrap(), record.payload.to_vec()));
        ControlFlow::Continue(())
    });
    assert_eq!(read.records, records.len() as u64);
    (records, read)
}

#[track_caller]
fn check(name: &str, bytes: &[u8], expected: &[(u64, &str)], problems: &[&str]) {
    let (records, read) = read(name, bytes);
    let records: Vec<_> = records
        .iter()
        .map(|(position, payload)| (*position, payload.escape_ascii().to_string()))
        .collect();
    let records: Vec<_> =
        records.iter().map(|(position, payload)| (*position, payload.as_str())).collect();
    assert_eq!(records, expected, "{name}");
    let found: Vec<_> = read.problems.iter().map(ToString::to_string).collect();
    assert_eq!(found, problems, "{name}");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zst(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 3).unwrap()
}

#[test]
fn content_decides_what_a_file_is() {
    check("a.json", b"[{\"a\":1},{\"b\":2}]", &[(1, "{\\\"a\\\":1}"), (2, "{\\\"b\\\":2}")], &[]);
    check("a.json", b"{\"a\":1}\n{\"b\":2}\n", &[(1, "{\\\"a\\\":1}"), (2, "{\\\"b\\\":2}")], &[]);
    check("a.log", b"{\n \"a\":1\n}\n", &[(1, "{\\n \\\"a\\\":1\\n}")], &[]);
    check("a.log", b"one\r\n\r\n\xff two\n", &[(1, "one"), (3, "\\xff two")], &[]);
    check("a", b"one\ntwo", &[(1, "one"), (2, "two")], &[]);
    check("empty", b"", &[], &[]);
    check("a.txt", b"nul \0 is read\n", &[(1, "nul \\x00 is read")], &[]);
    check("a.log", b"\xff\xfeh\0i\0\r\0\n\0\xe9\0", &[(1, "hi"), (2, "\\xc3\\xa9")], &[]);
}

#[test]
fn what_is_no_log_is_told() {
    check(
        "a.bin",
        b"\x7fELF\0\0",
        &[],
        &[
            "a.bin: is binary and in no form that is known; not read (if it is text, name it `.log`)",
        ],
    );
    check("a.zip", b"PK\x03\x04....", &[], &["a.zip: is a zip archive: unpack it first; not read"]);
    check(
        "a.gz",
        &gzip(&gzip(b"x")),
        &[],
        &["a.gz: is compressed twice: unpack it once; not read"],
    );
    check("a.evtx", b"text", &[], &["a.evtx: is no EVTX file: it does not begin as one"]);
    check("a.evtx.gz", &gzip(b""), &[], &["a.evtx.gz: is no EVTX file: it is empty"]);
    check(
        "a.evtx",
        b"ElfFile\0...",
        &[],
        &["a.evtx: the EVTX file is cut short: it has 11 bytes, its header alone 4096"],
    );
    let (_, missing) = read_path(Path::new("/none/such"));
    assert!(missing.problems[0].to_string().starts_with("/none/such: cannot be opened: "));
}

fn read_path(path: &Path) -> (u64, FileRead) {
    let mut count = 0;
    let read = files::read(&File::new(path, 0), &options(), &mut |_| {
        count += 1;
        ControlFlow::Continue(())
    });
    (count, read)
}

#[test]
fn compressed_files_are_unpacked_whatever_their_name() {
    let lines: String = (1..=3000).map(|line| format!("line {line} {}\n", line * 7919)).collect();
    let (first, second) = lines.as_bytes().split_at(30_001);
    for pack in [gzip as fn(&[u8]) -> Vec<u8>, zst] {
        let packed = [pack(first), pack(second)].concat();
        for name in ["a.log.gz", "a.zst", "a.log", "-"] {
            let (records, read) = read(name, &packed);
            assert_eq!((records.len(), read.problems.len()), (3000, 0));
            assert_eq!(records[2999], (3000, format!("line 3000 {}", 3000 * 7919).into_bytes()));
        }
        // What comes before the cut is read, the line that was cut too, and the cut is told.
        let (records, read) = read("a.gz", &packed[..packed.len() - 1000]);
        assert!((1000..3000).contains(&records.len()), "{}", records.len());
        assert!(
            records
                .iter()
                .take(records.len() - 1)
                .all(|(at, line)| { line == format!("line {at} {}", at * 7919).as_bytes() })
        );
        assert_eq!(read.problems.len(), 1);
        assert!(matches!(read.problems[0].place, Place::Byte(at) if at > 20_000));
        assert!(read.problems[0].message.starts_with("cannot be read further: "));
    }
}

#[test]
fn long_lines_are_skipped_and_named() {
    let long = "x".repeat(200_001);
    check(
        "a.log",
        format!("a\n{long}\nb\n").as_bytes(),
        &[(1, "a"), (3, "b")],
        &["a.log:2: has 200001 bytes, at most 200000 are read; skipped"],
    );
    check(
        "a.json",
        format!("[{{}},\"{long}\",{{}}").as_bytes(),
        &[(1, "{}"), (3, "{}")],
        &[
            "a.json: element 2: has 200003 bytes, at most 200000 are read; skipped",
            "a.json: element 3: the file ends within the array: it is cut short",
        ],
    );
    let (_, read) = read("a.log", format!("{long}\n").repeat(150).as_bytes());
    assert_eq!((read.problems.len(), read.problems_more), (files::PROBLEMS_MAX, 50));
}

#[test]
fn ten_megabytes_in_a_line_pass() {
    let line = format!("{{\"a\":\"{}\"}}\n", "x".repeat(10 << 20));
    let file = File::new("a.jsonl", 0);
    let mut sizes = Vec::new();
    let options = ReadOptions::new(Timestamp::EPOCH);
    files::read_from(&mut line.repeat(2).as_bytes(), &file, &options, &mut |record| {
        sizes.push(record.payload.len());
        ControlFlow::Continue(())
    });
    assert_eq!(sizes, [line.len() - 1; 2]);
}

#[test]
fn reading_stops_where_it_is_told_to() {
    let mut seen = 0;
    let file = File::new("a", 0);
    let read = files::read_from(&mut &b"a\nb\nc\n"[..], &file, &options(), &mut |_| {
        seen += 1;
        if seen == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!((seen, read.records), (2, 2));
}

/// The EVTX files of the conformance data, or none with a word about it.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn evtx_files() -> Vec<PathBuf> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/evtx/files");
    let Ok(entries) = fs::read_dir(folder) else {
        assert!(std::env::var_os("WATCHPOST_TEST_NEEDS_ALL").is_none(), "{folder} is needed");
        println!("skipped: ../shared/data/evtx/files is not there");
        return Vec::new();
    };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn evtx_files_give_their_records_as_json() {
    for path in evtx_files() {
        let mut ids = Vec::new();
        let read = files::read(&File::new(&path, 0), &options(), &mut |record| {
            let json: serde_json::Value = serde_json::from_slice(record.payload).unwrap();
            let id = json.pointer("/Event/System/EventRecordID").unwrap();
            assert_eq!(id.as_u64(), record.position);
            assert!(json.pointer("/Event/System/Provider/#attributes/Name").is_some());
            ids.push(id.as_u64().unwrap());
            ControlFlow::Continue(())
        });
        assert!(!ids.is_empty() && read.problems.is_empty(), "{path:?} {:?}", read.problems);

        // Compressed, or from a pipe, it is the same.
        let bytes = fs::read(&path).unwrap();
        let (packed, _) = self::read("a.evtx.zst", &zst(&bytes));
        assert_eq!(packed.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ids);
    }
}

#[test]
fn damaged_evtx_costs_what_is_damaged() {
    let files = evtx_files();
    let wholes = files.iter().map(|path| fs::read(path).unwrap());
    let Some(whole) = wholes.max_by_key(|whole| read("a.evtx", whole).0.len()) else { return };
    let (records, _) = read("a.evtx", &whole);
    assert!(records.len() > 20 && whole.len() == 4096 + 65_536);
    // Wrong facts in the header do not matter.
    let mut header = whole.clone();
    header[8..128].fill(0xff);
    assert!(read("a.evtx", &header).0 == records);
    // Cut within the chunk, two thirds into what it uses.
    let used = u32::from_le_bytes(whole[4096 + 48..4096 + 52].try_into().unwrap()) as usize;
    let cut = &whole[..4096 + used * 2 / 3];
    let (some, cut) = read("a.evtx", cut);
    assert!(!some.is_empty() && some.len() < records.len());
    assert!(some == records[..some.len()]);
    assert!(some.len() > records.len() / 2);
    assert_eq!(cut.problems[0].place, Place::Chunk(0));
    assert!(cut.problems[0].message.contains("cut short"), "{:?}", cut.problems);
    // A chunk that is none, before one that is.
    let mut two = whole[..4096].to_vec();
    two.extend_from_slice(&[0x55; 65_536]);
    two.extend_from_slice(&whole[4096..]);
    let (rest, read) = read("a.evtx", &two);
    assert!(rest == records);
    assert_eq!(read.problems.len(), 1);
    assert_eq!(read.problems[0].place, Place::Chunk(0));
    assert!(read.problems[0].message.contains("chunk header magic"), "{:?}", read.problems);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn any_damage_to_an_evtx_is_survived(
        damage in prop::collection::vec((0..300_000_usize, any::<u8>()), 0..200),
        cut in 0..300_000_usize,
        which in 0..100_usize,
    ) {
        let files = evtx_files();
        if !files.is_empty() {
            let mut bytes = fs::read(&files[which % files.len()]).unwrap();
            bytes.truncate(bytes.len().saturating_sub(cut / 8));
            let length = bytes.len().max(1);
            for (at, byte) in damage {
                if let Some(place) = bytes.get_mut(at % length) {
                    *place = byte;
                }
            }
            read("a", &bytes);
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..400), kind in 0..4_usize) {
        let bytes = match kind {
            0 => bytes,
            1 => [&b"\x1f\x8b\x08"[..], &bytes].concat(),
            2 => [&b"\x28\xb5\x2f\xfd"[..], &bytes].concat(),
            _ => [&b"\xff\xfe"[..], &bytes].concat(),
        };
        read("a.log", &bytes);
    }
}

#[test]
fn an_import_appends_everything_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let long = "x".repeat(2 << 20);
    let lines: String = (0..10).map(|line| format!("{line} {long}\n")).collect();
    fs::write(folder.path().join("a.log"), lines).unwrap();
    fs::write(folder.path().join("b.json.gz"), gzip(b"[{\"a\":1}]")).unwrap();
    fs::write(folder.path().join("c.zip"), b"PK\x03\x04").unwrap();
    let listing = files::list(&[folder.path().into()]);
    let bus = MemoryBus::default();
    let mut told = Vec::new();
    let options =
        ReadOptions { dataset: "test.import", ..ReadOptions::new(Timestamp::from_millis(1_000)) };
    let imported =
        ingest::import(&bus, &listing.files, &options, &Privacy::default(), &mut |_, imported| {
            told.push(imported.records);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!((imported.files, imported.records, imported.problems.len()), (3, 11, 1));
    assert!(told.is_sorted() && told.len() >= 6, "{told:?}");
    let stored = stored(&bus);
    let positions: Vec<_> = stored
        .iter()
        .filter(|record| record.contains("a.log"))
        .map(|record| record.rsplit("position=").next().unwrap().to_owned())
        .collect();
    assert_eq!(positions, (1..=10).map(|line| line.to_string()).collect::<Vec<_>>());
    let json = stored.iter().find(|record| record.contains("b.json")).unwrap();
    let peer = folder.path().join("b.json.gz").display().to_string();
    assert_eq!(
        *json,
        format!(
            "{peer} received=1970-01-01T00:00:01Z listener=file peer={peer} dataset=test.import encoding=json position=1"
        )
    );
}

/// Key and headers of each record.
fn stored(bus: &dyn Bus) -> Vec<String> {
    let mut consumer = bus.consumer("test", &[Topic::Raw]).unwrap();
    let (mut batch, mut found) = (Batch::new(), Vec::new());
    let limits = PollLimits { wait: std::time::Duration::ZERO, ..PollLimits::default() };
    for _ in 0..20 {
        consumer.poll(&limits, &mut batch).unwrap();
        for record in batch.iter() {
            let mut text = record.key.escape_ascii().to_string();
            let mut headers: Vec<_> = record.headers.iter().collect();
            headers.sort_by_key(|(name, _)| *name == "position");
            for (name, value) in headers {
                text.push_str(&format!(" {name}={}", value.escape_ascii()));
            }
            found.push(text);
        }
    }
    found
}

#[test]
fn an_import_can_be_stopped_and_tells_what_failed() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.log", "b.log"] {
        fs::write(folder.path().join(name), "x\n".repeat(100)).unwrap();
    }
    let listing = files::list(&[folder.path().into()]);
    let options = options();
    let bus = MemoryBus::default();
    let stop = |_: &File, _: &ingest::Imported| ControlFlow::Break(());
    let imported =
        ingest::import(&bus, &listing.files, &options, &Privacy::default(), &mut { stop }).unwrap();
    assert_eq!((imported.files, imported.records), (1, 100));

    let bus = MemoryBus::new(MemorySettings { record_bytes_max: 10, ..MemorySettings::default() });
    let error = ingest::import(&bus, &listing.files, &options, &Privacy::default(), &mut { stop })
        .unwrap_err();
    let ingest::ImportError::Bus { file, error } = error;
    assert!(file.ends_with("a.log") && matches!(error, BusError::RecordTooLarge { .. }));
}
