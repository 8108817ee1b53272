//! The normaliser held against real logs of public projects, which lie beside the repository.
//!
//! Each check is skipped, and says so, when its data is not there; with `WATCHPOST_TEST_NEEDS_ALL`
//! set it fails instead. The figures are printed (`--nocapture`).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use event::{Event, Logsource, RawRecord, Timestamp};
use mapping::Mappings;
use normalize::{MISSING_TIME, Normalizer, Options, UNPARSED};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");

/// The path within the data, if it is there.
fn data(path: &str) -> Option<PathBuf> {
    let path = Path::new(DATA).join(path);
    if path.exists() {
        return Some(path);
    }
    assert!(
        std::env::var_os("WATCHPOST_TEST_NEEDS_ALL").is_none(),
        "{} is missing",
        path.display()
    );
    eprintln!("skipped: {} is not there", path.display());
    None
}

fn received() -> Timestamp {
    Timestamp::parse_rfc3339("2026-11-24T12:00:00Z").unwrap()
}

/// One that knows the sources that come with Watchpost.
fn normalizer(keep_original: bool) -> Normalizer {
    let files = detections::sources().map(|file| (file.path, file.text));
    let (mappings, faults) = Mappings::load(files);
    assert!(faults.is_empty(), "{faults:?}");
    Normalizer::new(Options { keep_original, mappings: mappings.into(), ..Options::default() })
}

/// Calls `each` with the lines of a text file, unpacked if need be.
fn for_each_line(path: &Path, lines_max: usize, each: &mut dyn FnMut(&[u8])) {
    let file = std::fs::File::open(path).unwrap();
    let reader: Box<dyn BufRead> = if path.extension().is_some_and(|e| e == "zst") {
        Box::new(BufReader::new(zstd::Decoder::new(file).unwrap()))
    } else {
        Box::new(BufReader::new(file))
    };
    for line in reader.split(b'\n').take(lines_max) {
        let line = line.unwrap();
        if !line.trim_ascii().is_empty() {
            each(&line);
        }
    }
}

/// What came of a log.
#[derive(Debug, Default)]
struct Figures {
    lines: u32,
    unparsed: u32,
    missing_time: u32,
    /// With a known meaning: `event.action` is there.
    with_action: u32,
    classes: BTreeMap<String, u32>,
}

impl Figures {
    fn of(path: &Path, dataset: &str, lines_max: usize) -> Figures {
        let mut figures = Figures::default();
        let mut normalizer = normalizer(false);
        for_each_line(path, lines_max, &mut |line| {
            let raw = RawRecord { dataset, ..RawRecord::new(line, received()) };
            normalizer
                .normalize(&raw, None, &mut |event| figures.count(event))
                .expect("no line of these logs is too long");
        });
        figures
    }

    fn count(&mut self, event: &Event) {
        let tagged = |tag: &str| event.values("tags").any(|value| value.as_str() == Some(tag));
        self.lines += 1;
        self.unparsed += u32::from(tagged(UNPARSED));
        self.missing_time += u32::from(tagged(MISSING_TIME));
        self.with_action += u32::from(event.get("event.action").is_some());
        let class = Logsource::of(event);
        let part = |part: Option<&str>| part.unwrap_or("-").to_owned();
        let class =
            format!("{}/{}/{}", part(class.product), part(class.category), part(class.service));
        *self.classes.entry(class).or_default() += 1;
        // What is written must read back as the same event.
        let json = event.to_json();
        let mut again = Event::new();
        again.parse_json(json.as_bytes()).unwrap();
        assert_eq!(again.to_json(), json);
    }

    /// The share of lines that were read.
    fn share_parsed(&self) -> f64 {
        1.0 - f64::from(self.unparsed) / f64::from(self.lines.max(1))
    }
}

#[test]
fn evtx_records_are_all_read() {
    let Some(path) = data("evtx/evtx-attack.jsonl.zst") else { return };
    let figures = Figures::of(&path, "", usize::MAX);
    eprintln!("evtx-attack: {figures:#?}");
    assert_eq!(figures.unparsed, 0);
    assert_eq!(figures.missing_time, 0);
    assert!(figures.classes["windows/process_creation/sysmon"] > 100);
}

#[test]
fn flat_windows_events_are_all_read() {
    let Some(folder) = data("mordor") else { return };
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let mut classes = BTreeMap::<String, u32>::new();
    let (mut lines, mut with_action) = (0, 0);
    for path in files.iter().filter(|path| path.extension().is_some_and(|e| e == "zst")) {
        let figures = Figures::of(path, "", 400);
        assert_eq!(figures.unparsed, 0, "{}: {figures:#?}", path.display());
        assert_eq!(figures.missing_time, 0, "{}: {figures:#?}", path.display());
        lines += figures.lines;
        with_action += figures.with_action;
        for (class, count) in figures.classes {
            *classes.entry(class).or_default() += count;
        }
    }
    eprintln!("mordor: {lines} lines, {with_action} with an action, {classes:#?}");
    assert!(f64::from(with_action) > 0.8 * f64::from(lines));
}

#[test]
fn text_logs_are_read() {
    for (name, dataset, parsed_min, action_min) in [
        ("Linux", "", 1.0, 0.4),
        ("OpenSSH", "", 1.0, 0.95),
        ("Mac", "macos", 1.0, 0.0),
        ("Apache", "apache.error", 1.0, 0.0),
    ] {
        let Some(path) = data(&format!("loghub/{name}_2k.log")) else { return };
        let figures = Figures::of(&path, dataset, usize::MAX);
        let actions = f64::from(figures.with_action) / f64::from(figures.lines);
        eprintln!("{name}: parsed {:.4}, with action {actions:.4}", figures.share_parsed());
        assert!(figures.share_parsed() >= parsed_min, "{name}: {figures:#?}");
        assert!(actions >= action_min, "{name}: {figures:#?}");
        assert_eq!(figures.missing_time, 0, "{name}");
    }
}

#[test]
fn cloudtrail_records_are_all_read() {
    for path in ["cloudtrail/invictus-cloudtrail.jsonl.zst", "mordor/SDAWS-200914011940.jsonl.zst"]
    {
        let Some(path) = data(path) else { return };
        let figures = Figures::of(&path, "", usize::MAX);
        eprintln!("{}: {figures:#?}", path.display());
        assert_eq!(figures.unparsed, 0);
        assert_eq!(figures.missing_time, 0);
        assert_eq!(figures.classes["aws/-/cloudtrail"], figures.lines);
    }
}

/// Each case's rule, through the built-in pipelines, must match the case's events at least as often
/// as the case says. This holds names, values and classes of the events against rules that others wrote.
#[test]
fn rules_find_their_events() {
    let Some(manifest) = data("sigma/regression/manifest.jsonl") else { return };
    let pipelines = sigma::pipeline::builtin();
    let mut normalizer = normalizer(true);
    let (mut cases, mut faults) = (0, Vec::new());
    for_each_line(&manifest, usize::MAX, &mut |line| {
        let case: serde_json::Value = serde_json::from_slice(line).unwrap();
        let text = |key: &str| case[key].as_str().unwrap().to_owned();
        let id = text("rule_id");
        let events = Path::new(DATA).join("sigma/regression").join(&id).join("events.jsonl");
        if !events.exists() {
            return;
        }
        cases += 1;
        let rules = Path::new(DATA).join("sigma/rules");
        let mut loaded = sigma::load(&[rules.join(text("rule_path"))]);
        if loaded.documents.is_empty() {
            // Some have moved since; their ids stay.
            let (files, _) = sigma::list_files(&[rules]);
            let moved = files.into_iter().find(|file| {
                std::fs::read_to_string(file).unwrap_or_default().contains(&format!("id: {id}"))
            });
            loaded = sigma::load(&moved.into_iter().collect::<Vec<_>>());
        }
        let Some(mut rule) = loaded.rules().find(|r| r.id.as_deref() == Some(&*id)).cloned() else {
            faults.push(format!("{id}: its rule can't be read: {:?}", loaded.diagnostics));
            return;
        };
        sigma::pipeline::apply(&mut rule, &pipelines).unwrap();
        let expr = sigma::resolve(&rule).unwrap();
        let mut hits = 0;
        let mut last = String::new();
        for_each_line(&events, usize::MAX, &mut |line| {
            let raw = RawRecord::new(line, received());
            normalizer
                .normalize(&raw, None, &mut |event| {
                    let class = Logsource::of(event);
                    let class = (class.product, class.category, class.service);
                    let fed = sigma::logsource::feeds(&rule.logsource, class);
                    hits += u64::from(fed && matcher::plain::matches(&expr, event));
                    last = event.to_json();
                })
                .unwrap();
        });
        // Some cases count fewer events than their rule, read by eye, matches: a lower bound.
        let least = case["match_count"].as_u64().unwrap_or(1);
        if hits < least {
            let title = text("title");
            faults.push(format!("{id} {title}: {hits} hits, {}\n{last}", case["match_count"]));
        }
    });
    eprintln!("regression: {} of {cases} cases", cases - faults.len());
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}
