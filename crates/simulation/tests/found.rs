//! The project's own rules over the simulated fleet: every staged attack is found by every rule
//! that should, and the background gives few alerts, each of which is known and has its reason.
//!
//! The way is that of `watchpost run` without its bus: normalisation, the rule book, and the batch
//! form of correlation.

#![expect(clippy::unwrap_used, reason = "a test may stop at what it did not expect")]

use std::collections::BTreeMap;

use correlation::{Correlations, Definition};
use detection::{Otherwise, RuleBook, RuleSources};
use event::{Alert, EventId, RawRecord, Timestamp};
use mapping::Mappings;
use normalize::{Normalizer, Options};
use simulation::{Settings, SimEvent, Simulation, Source, Staged};

/// One that knows the sources that come with Watchpost.
fn normalizer(keep_original: bool) -> Normalizer {
    let files = detections::sources().map(|file| (file.path, file.text));
    let (mappings, faults) = Mappings::load(files);
    assert!(faults.is_empty(), "{faults:?}");
    Normalizer::new(Options { keep_original, mappings: mappings.into(), ..Options::default() })
}

fn book() -> RuleBook {
    let builtin =
        detections::rules().map(|file| (file.path.to_owned(), file.text.to_owned())).collect();
    RuleSources { builtin, ..RuleSources::default() }.load()
}

fn start() -> Timestamp {
    Timestamp::parse_rfc3339("2026-11-25T08:00:00Z").unwrap()
}

fn seconds(count: i64) -> i64 {
    count * 1_000_000_000
}

/// What became of a run.
struct Run {
    alerts: Vec<Alert>,
    events: usize,
    /// The first payloads that no decoder knew.
    unparsed: Vec<String>,
}

fn run(book: &RuleBook, events: impl Iterator<Item = SimEvent>) -> Run {
    let definitions = book.correlations().iter().filter(|entry| entry.runs).map(|entry| {
        Definition::new(&entry.correlation, entry.reference.clone()).expect("it runs")
    });
    let correlations = Correlations::new(definitions);
    let mut normalizer = normalizer(false);
    let mut scratch = book.scratch();
    let mut matches = Vec::new();
    let mut run = Run { alerts: Vec::new(), events: 0, unparsed: Vec::new() };
    for (offset, event) in (0..).zip(events) {
        run.events += 1;
        let raw = RawRecord {
            dataset: event.dataset,
            listener: event.listener(),
            ..RawRecord::new(&event.payload, event.time)
        };
        let id = EventId { log: "sim", partition: 0, offset, index: 0 };
        let sink = &mut |normal: &event::Event| {
            if normal.values("tags").any(|tag| tag.as_str() == Some(normalize::UNPARSED)) {
                run.unparsed.push(String::from_utf8_lossy(&event.payload).into_owned());
            }
            let otherwise = Otherwise { event_id: "", received: event.time };
            book.for_each_record(normal, &otherwise, &mut scratch, |_, found| matches.push(found));
        };
        normalizer.normalize(&raw, Some(id), sink).expect("within the limits");
    }
    run.alerts = correlation::batch::alerts(&correlations, matches, start());
    run
}

fn with_attacks(seed: u64) -> (Vec<Staged>, impl Iterator<Item = SimEvent>) {
    let simulation =
        Simulation::new(Settings { seed, rate: 40, start: start(), ..Settings::default() });
    let staged = simulation.staged().to_vec();
    (staged, simulation.take_while(|event| event.time < start().plus_nanos(seconds(30))))
}

#[test]
fn rules_load_without_a_word() {
    let book = book();
    assert_eq!(book.diagnostics(), []);
    assert!(book.rules().len() + book.correlations().len() >= 22);
    let mut documents = Vec::new();
    for file in detections::rules() {
        let (mut read, faults) = sigma::parse_documents(file.text, file.path);
        assert_eq!(faults, []);
        documents.append(&mut read);
    }
    let advice = sigma::lint(&documents, &sigma::LintOptions::default());
    let advice: Vec<String> = advice.iter().map(ToString::to_string).collect();
    assert_eq!(advice, Vec::<String>::new());
}

#[test]
fn every_attack_is_found_by_every_rule_that_should() {
    let book = book();
    for seed in [1, 2, 3] {
        let (staged, events) = with_attacks(seed);
        let run = run(&book, events);
        assert_eq!(run.unparsed, Vec::<String>::new());
        for attack in staged {
            for rule in attack.expected_rules {
                assert!(book.find(rule).is_some(), "there is no rule {rule}");
                let found = run.alerts.iter().any(|alert| {
                    alert.rule.id == *rule
                        && alert.time >= attack.starts_at.plus_nanos(-seconds(1))
                        && alert.time <= attack.ends_at
                });
                let title = book.rules().iter().find(|entry| entry.reference.id == *rule);
                let title = title.map_or("a correlation", |entry| &entry.reference.title);
                assert!(found, "seed {seed}: `{}` is not found by {rule} ({title})", attack.title);
            }
        }
    }
}

#[test]
fn techniques_of_an_attack_are_those_of_its_rules() {
    let book = book();
    let (staged, _) = with_attacks(1);
    for attack in staged {
        let tags: Vec<String> = attack
            .expected_rules
            .iter()
            .flat_map(|id| match book.find(id).expect("the rule") {
                detection::Found::Rule(entry) => entry.reference.tags.clone(),
                detection::Found::Correlation(entry) => entry.reference.tags.clone(),
            })
            .collect();
        let named =
            |technique: &&str| tags.contains(&format!("attack.{}", technique.to_lowercase()));
        assert!(attack.techniques.iter().any(named), "{}", attack.title);
    }
}

#[test]
fn without_a_source_its_attacks_are_not_staged() {
    let book = book();
    let settings = Settings {
        rate: 40,
        start: start(),
        without: vec![Source::Windows],
        ..Settings::default()
    };
    let simulation = Simulation::new(settings);
    let wanted: Vec<&str> =
        simulation.staged().iter().flat_map(|one| one.expected_rules).copied().collect();
    let run = run(&book, simulation.take(1_200));
    for alert in run.alerts {
        assert!(wanted.contains(&alert.rule.id.as_str()), "{}", alert.rule.title);
    }
}

/// An hour of the fleet at 20 events per second: 72,000 events without any attack. What still
/// alerts is what nobody could tell from an attack by the event alone, and at most one alert in
/// 5,000 events.
#[test]
fn an_hour_of_background_gives_few_alerts() {
    const UNAVOIDABLE: [&str; 4] = [
        // An administrator uses PsExec.
        "Program copied into the Windows folder over the network",
        "Service installed from an unusual place",
        // An administrator downloads from outside by hand.
        "Script host connects to the Internet",
        // An administrator makes a key for a service.
        "Access key made for another user",
    ];
    let book = book();
    let settings = Settings { rate: 20, attacks: false, start: start(), ..Settings::default() };
    let events = Simulation::new(settings)
        .take_while(|event| event.time < start().plus_nanos(seconds(3_600)));
    let run = run(&book, events);
    assert!(run.events > 60_000, "{}", run.events);
    assert_eq!(run.unparsed, Vec::<String>::new());
    let mut by_rule: BTreeMap<&str, usize> = BTreeMap::new();
    for alert in &run.alerts {
        *by_rule.entry(&alert.rule.title).or_default() += 1;
    }
    println!("{} events, {} alerts: {by_rule:#?}", run.events, run.alerts.len());
    for rule in by_rule.keys() {
        assert!(UNAVOIDABLE.contains(rule), "{by_rule:#?}");
    }
    assert!(run.alerts.len() <= run.events / 5_000, "{by_rule:#?}");
}
