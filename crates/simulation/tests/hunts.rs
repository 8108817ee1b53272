//! The project's own hunts over the simulated fleet: supported with the attacks, refuted without
//! them, and inconclusive where the source that they need sends nothing.

#![expect(clippy::unwrap_used, reason = "a test may stop at what it did not expect")]

use event::{EventId, RawRecord, Timestamp};
use hunting::{Hunt, Limits, Verdict};
use indexing::{Document, Index, Kind};
use mapping::Mappings;
use normalize::{Normalizer, Options};
use query::TimeRange;
use simulation::{Settings, Simulation, Source};

/// One that knows the sources that come with Watchpost.
fn normalizer(keep_original: bool) -> Normalizer {
    let files = detections::sources().map(|file| (file.path, file.text));
    let (mappings, faults) = Mappings::load(files);
    assert!(faults.is_empty(), "{faults:?}");
    Normalizer::new(Options { keep_original, mappings: mappings.into(), ..Options::default() })
}

fn start() -> Timestamp {
    Timestamp::parse_rfc3339("2026-11-25T08:00:00Z").unwrap()
}

/// The report and the verdict of each hunt over half a minute of the demo.
fn verdicts(settings: Settings) -> Vec<(String, Verdict)> {
    let end = start().plus_nanos(30_000_000_000);
    let folder = tempfile::tempdir().unwrap();
    let index =
        Index::open(folder.path(), indexing::Options { threads: 1, ..Default::default() }).unwrap();
    let mut writer = index.writer("log").unwrap();
    let mut normalizer = normalizer(true);
    let simulation = Simulation::new(Settings { start: start(), ..settings });
    for (offset, event) in (0..).zip(simulation.take_while(|event| event.time < end)) {
        let raw = RawRecord {
            dataset: event.dataset,
            listener: event.listener(),
            ..RawRecord::new(&event.payload, event.time)
        };
        let id = EventId { log: "sim", partition: 0, offset, index: 0 };
        let add = &mut |normal: &event::Event| {
            writer.add(Document {
                kind: Kind::Events,
                time: normal.timestamp().unwrap(),
                json: normal.to_json().into_bytes(),
                event: normal.clone(),
                position: None,
            });
        };
        normalizer.normalize(&raw, Some(id), add).unwrap();
    }
    writer.commit().unwrap();
    let range = TimeRange { since: Some(start()), until: Some(end) };
    detections::hunts()
        .map(|file| {
            let hunt = Hunt::parse(file.text, file.path).unwrap_or_else(|faults| {
                panic!(
                    "{}",
                    faults.iter().map(|one| one.render(Some(file.text))).collect::<String>()
                )
            });
            let advice: Vec<String> =
                hunting::check(&hunt).iter().map(ToString::to_string).collect();
            assert_eq!(advice, Vec::<String>::new());
            let report = hunting::run(&hunt, &index.searcher(), range, end, &Limits::default());
            (report.text(), report.verdict)
        })
        .collect()
}

#[test]
fn attacks_support_them() {
    for (hunt, verdict) in verdicts(Settings::default()) {
        assert_eq!(verdict, Verdict::Supported, "{hunt}");
    }
}

#[test]
fn the_benign_half_refutes_them() {
    for seed in [1, 2] {
        for (hunt, verdict) in verdicts(Settings { seed, attacks: false, ..Settings::default() }) {
            assert_eq!(verdict, Verdict::Refuted, "{hunt}");
        }
    }
}

#[test]
fn nothing_can_be_said_without_windows() {
    let settings = Settings { without: vec![Source::Windows], ..Settings::default() };
    for (hunt, verdict) in verdicts(settings) {
        assert!(matches!(verdict, Verdict::Inconclusive { .. }), "{hunt}: {verdict:?}");
    }
}
