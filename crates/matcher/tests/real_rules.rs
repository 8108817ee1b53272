//! All public rules over real Windows events: the fast matcher finds what the plain evaluator does.
//!
//! The rules and events are not part of the project; without them this says so and passes.

use std::fs;
use std::path::Path;

use event::{Event, Logsource};
use matcher::{Matcher, Rule, plain};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/sigma");

/// Every so manieth rule is also evaluated plainly for every event; all of them for every so
/// manieth event. In a debug build, all of both would take minutes.
const STEP: usize = 13;

#[test]
fn fast_and_plain_agree_on_real_rules_and_events() {
    if !Path::new(DATA).is_dir() {
        assert!(
            std::env::var_os("WATCHPOST_TEST_NEEDS_ALL").is_none(),
            "there is nothing at ../shared/data/sigma"
        );
        println!("skipped: no rules at ../shared/data/sigma");
        return;
    }
    // Native names on both sides: what is tested is matching, not the mappings.
    let loaded = sigma::load(&[format!("{DATA}/rules")]);
    let (mut rules, mut ids) = (Vec::new(), Vec::new());
    for rule in loaded.rules() {
        let Ok(expr) = sigma::resolve(rule) else { continue };
        rules.push(Rule { label: rule.label(), logsource: rule.logsource.clone(), expr });
        ids.push(rule.id.clone().unwrap_or_default());
    }
    assert!(rules.len() > 3_600);
    let (matcher, refused) = Matcher::new(rules.clone());
    assert_eq!(refused, []);
    let mut scratch = matcher.scratch();
    let (mut hits, mut compared) = (0, 0);
    for (number, (id, event)) in events().iter_mut().enumerate() {
        let own = ids.iter().position(|rule| rule == id).unwrap();
        let sigma::Logsource { product, category, service, .. } = &rules[own].logsource;
        let class = (product.as_deref(), category.as_deref(), service.as_deref());
        Logsource { product: class.0, category: class.1, service: class.2 }.stamp(event);
        let found = matcher.matches(event, &mut scratch);
        hits += found.len();
        for (at, rule) in rules.iter().enumerate() {
            if (at + number) % STEP != 0 && number % STEP != 0 {
                continue;
            }
            let expected = sigma::logsource::feeds(&rule.logsource, class)
                && plain::matches(&rule.expr, event);
            compared += 1;
            let found = found.contains(&(at as u32));
            assert_eq!(found, expected, "{}: {}\n{}", rule.label, rule.expr, event.to_json());
        }
    }
    println!("{hits} hits; {compared} pairs of rule and event compared");
    assert!(hits > 100);
}

/// The sample events of the public rules, flat by native names, each with its rule's id.
fn events() -> Vec<(String, Event)> {
    let mut folders: Vec<_> = fs::read_dir(format!("{DATA}/regression"))
        .expect("readable")
        .map(|entry| entry.expect("readable").path())
        .collect();
    folders.sort();
    let mut events = Vec::new();
    for folder in folders {
        let Ok(text) = fs::read_to_string(folder.join("events.jsonl")) else { continue };
        let id = folder.file_name().expect("readable").to_string_lossy().into_owned();
        for line in text.lines() {
            let record: serde_json::Value = serde_json::from_str(line).expect("readable");
            let mut event = Event::new();
            let system = &record["Event"]["System"];
            let code = &system["EventID"];
            event.add_value("EventID", code.get("#text").unwrap_or(code));
            event.add_value("Channel", &system["Channel"]);
            event.add_value("Provider_Name", &system["Provider"]["#attributes"]["Name"]);
            for part in ["EventData", "UserData"] {
                for (name, value) in record["Event"][part].as_object().into_iter().flatten() {
                    event.add_value(name, value);
                }
            }
            events.push((id.clone(), event));
        }
    }
    events
}
