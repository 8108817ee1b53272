//! SigmaHQ's own regression events match their rules, by native names and without any pipeline.
//!
//! A small evaluator in this file, written for being right and nothing else, stands in for the
//! matcher: what fails here is the fault of parsing or resolving. The events are not part of the
//! project; without them this says so and passes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use sigma::expr::{Atom, Comparison, Expr, Pattern, Piece, Relation, Test};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/sigma");

type Event = BTreeMap<String, serde_json::Value>;

#[test]
fn every_case_matches() {
    if !Path::new(DATA).is_dir() {
        println!("skipped: no cases at ../shared/data/sigma/regression");
        return;
    }
    let loaded = sigma::load(&[format!("{DATA}/rules")]);
    let manifest =
        fs::read_to_string(format!("{DATA}/regression/manifest.jsonl")).expect("readable");
    let (mut cases, mut failed) = (0, Vec::new());
    for line in manifest.lines() {
        let case: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let id = case["rule_id"].as_str().expect("an id");
        if case["type"] != "evtx" {
            continue;
        }
        let rule = loaded.rules().find(|rule| rule.id.as_deref() == Some(id)).expect(id);
        let expr = sigma::resolve(rule).expect("resolves");
        let events = fs::read_to_string(format!("{DATA}/regression/{id}/events.jsonl"));
        let events = events.expect("readable");
        let matches = events
            .lines()
            .filter(|line| holds(&expr, &flat(&serde_json::from_str(line).expect("JSON"))))
            .count() as u64;
        cases += 1;
        // The manifest's count is the least: some samples hold the same act twice.
        let expected = case["match_count"].as_u64().unwrap_or(1);
        if matches < expected {
            failed.push(format!("{id} {}: {matches} of {expected}", rule.title));
        }
    }
    println!("{cases} cases, {} failed", failed.len());
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// An event by Sigma's native names, which have no spaces.
fn flat(record: &serde_json::Value) -> Event {
    let mut event = Event::new();
    let system = &record["Event"]["System"];
    let code = &system["EventID"];
    event.insert("EventID".into(), code.get("#text").unwrap_or(code).clone());
    for name in ["Channel", "Computer", "Level"] {
        event.insert(name.into(), system[name].clone());
    }
    event.insert("Provider_Name".into(), system["Provider"]["#attributes"]["Name"].clone());
    for part in ["EventData", "UserData"] {
        collect(&record["Event"][part], &mut event);
    }
    event
}

fn collect(value: &serde_json::Value, event: &mut Event) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let name = name.replace(' ', "");
        match value {
            serde_json::Value::Object(inner) if inner.contains_key("#text") => {
                event.insert(name, inner["#text"].clone());
            }
            serde_json::Value::Object(_) => collect(value, event),
            _ => _ = event.insert(name, value.clone()),
        }
    }
}

fn texts(value: &serde_json::Value) -> Vec<String> {
    match value {
        serde_json::Value::Null => Vec::new(),
        serde_json::Value::String(text) => vec![text.clone()],
        serde_json::Value::Array(values) => values.iter().flat_map(texts).collect(),
        other => vec![other.to_string()],
    }
}

fn holds(expr: &Expr, event: &Event) -> bool {
    match expr {
        Expr::And(parts) => parts.iter().all(|part| holds(part, event)),
        Expr::Or(parts) => parts.iter().any(|part| holds(part, event)),
        Expr::Not(part) => !holds(part, event),
        Expr::Selection(_, part) => holds(part, event),
        Expr::Atom(atom) => atom_holds(atom, event),
    }
}

fn atom_holds(atom: &Atom, event: &Event) -> bool {
    let Some(field) = &atom.field else {
        return event.values().flat_map(texts).any(|text| text_holds(&atom.test, &text, true));
    };
    let value = event.get(&**field);
    let of_value = value.map(texts).unwrap_or_default();
    match &atom.test {
        Test::Exists(expected) => value.is_some() == *expected,
        Test::Null => value.is_none_or(serde_json::Value::is_null),
        Test::FieldRef { field, relation, cased } => {
            let others = event.get(&**field).map(texts).unwrap_or_default();
            let fold = |text: &String| if *cased { text.clone() } else { text.to_lowercase() };
            of_value.iter().map(fold).any(|own| {
                others.iter().map(fold).any(|other| match relation {
                    Relation::Equals => own == other,
                    Relation::StartsWith => own.starts_with(&other),
                    Relation::EndsWith => own.ends_with(&other),
                    Relation::Contains => own.contains(&other),
                })
            })
        }
        test => of_value.iter().any(|text| text_holds(test, text, false)),
    }
}

fn text_holds(test: &Test, text: &str, anywhere: bool) -> bool {
    match test {
        Test::Text(pattern) => pattern_regex(pattern, anywhere).is_match(text),
        Test::Regex(regex) => regex::RegexBuilder::new(&regex.source)
            .case_insensitive(regex.ignore_case)
            .multi_line(regex.multi_line)
            .dot_matches_new_line(regex.dot_all)
            .build()
            .expect("checked")
            .is_match(text),
        Test::Compare(comparison, number) => {
            text.parse::<f64>().is_ok_and(|own| match comparison {
                Comparison::Less => own < *number,
                Comparison::LessOrEqual => own <= *number,
                Comparison::Greater => own > *number,
                Comparison::GreaterOrEqual => own >= *number,
            })
        }
        Test::Cidr(network) => text.parse().is_ok_and(|address: std::net::IpAddr| {
            sigma::expr::Network::parse(&format!("{address}/{}", network.prefix)) == Some(*network)
        }),
        other => panic!("{other:?} is not in these rules"),
    }
}

fn pattern_regex(pattern: &Pattern, anywhere: bool) -> regex::Regex {
    let pieces = pattern.pieces.iter().map(|piece| match piece {
        Piece::Literal(text) => regex::escape(text),
        Piece::One => ".".to_owned(),
        Piece::Any => ".*".to_owned(),
    });
    let source = pieces.collect::<String>();
    let source = if anywhere { source } else { format!(r"\A{source}\z") };
    regex::RegexBuilder::new(&source)
        .case_insensitive(!pattern.cased)
        .dot_matches_new_line(true)
        .build()
        .expect("escaped")
}
