//! `watchpost rules coverage`: which ATT&CK techniques the rules look for, and which of the rules
//! can fire on what was really seen.
//!
//! A technique with ten rules is not covered if no source feeds any of them. So each rule is held
//! against the logsource classes of the events in the index, and the table counts both.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use detection::RuleBook;
use event::{Level, Threat};
use indexing::{Answer, SearchRequest, Searcher};
use query::{Cell, TimeRange};
use serde_json::json;

use crate::args::CoverageFormat;
use crate::commands::{Outcome, rules, search};
use crate::style;

/// The version of the layer format that ATT&CK Navigator reads.
const LAYER_VERSION: &str = "4.5";

/// A class of events that was seen: product, category, service.
type Class = (Option<String>, Option<String>, Option<String>);

/// The rules of one technique.
#[derive(Default)]
struct Technique {
    rules: usize,
    /// Of these, how many read a class of events that was seen.
    fed: usize,
    level_max: Level,
    titles: Vec<String>,
    tactics: BTreeSet<String>,
}

pub(crate) fn run(
    format: CoverageFormat,
    data: Option<&Path>,
    pipelines: &[PathBuf],
    paths: &[PathBuf],
) -> Outcome {
    let book = rules::sources(paths, pipelines).load();
    rules::show_faults(&book);
    rules::all_usable(&book, paths)?;
    let seen = match data {
        Some(folder) => Some(classes(&search::open_index(folder)?.searcher())),
        None => None,
    };
    let covered = cover(&book, seen.as_ref());
    match format {
        CoverageFormat::Table => print_table(&book, &covered, seen.as_ref()),
        CoverageFormat::Navigator => {
            println!("{}", serde_json::to_string_pretty(&layer(&covered, seen.is_some()))?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The classes of all events in an index.
fn classes(searcher: &Searcher) -> BTreeSet<Class> {
    const PARTS: [&str; 3] =
        [event::logsource::PRODUCT, event::logsource::CATEGORY, event::logsource::SERVICE];
    let mut seen = BTreeSet::new();
    // Statistics leave out events that lack one of the fields, so each set of fields that an event
    // may have is asked for by itself.
    for set in 1..1usize << PARTS.len() {
        let has = |part: usize| set & (1 << part) != 0;
        let filter: Vec<String> = PARTS
            .iter()
            .enumerate()
            .map(|(part, path)| format!("{}{path}:*", if has(part) { "" } else { "not " }))
            .collect();
        let by: Vec<&str> = PARTS
            .iter()
            .enumerate()
            .filter(|(part, _)| has(*part))
            .map(|(_, path)| *path)
            .collect();
        let text = format!("{} | stats count by {}", filter.join(" and "), by.join(", "));
        let Ok(query) = query::parse(&text) else { continue };
        let mut request = SearchRequest::new(&query);
        request.range = TimeRange::ALL;
        let Answer::Table(table) = searcher.search(&request).answer else { continue };
        for row in &table.rows {
            let part = |part: usize| {
                let column = table.column(PARTS[part])?;
                match row.get(column)? {
                    Cell::Text(text) => Some(text.clone()),
                    _ => None,
                }
            };
            seen.insert((part(0), part(1), part(2)));
        }
    }
    seen
}

fn is_fed(rule: &sigma::Rule, seen: &BTreeSet<Class>) -> bool {
    seen.iter().any(|(product, category, service)| {
        let class = (product.as_deref(), category.as_deref(), service.as_deref());
        sigma::logsource::feeds(&rule.logsource, class)
    })
}

fn cover(book: &RuleBook, seen: Option<&BTreeSet<Class>>) -> BTreeMap<String, Technique> {
    let mut covered: BTreeMap<String, Technique> = BTreeMap::new();
    for entry in book.rules() {
        let threats: Vec<Threat> =
            entry.reference.tags.iter().filter_map(|tag| Threat::from_tag(tag)).collect();
        let tactics = threats.iter().filter_map(|threat| match threat {
            Threat::Tactic(name) => Some(name.clone()),
            Threat::Technique(_) => None,
        });
        let tactics: BTreeSet<String> = tactics.collect();
        let fed = seen.is_none_or(|seen| is_fed(&entry.rule, seen));
        for threat in &threats {
            let Threat::Technique(id) = threat else { continue };
            let technique = covered.entry(id.clone()).or_default();
            technique.rules += 1;
            technique.fed += usize::from(fed);
            technique.level_max = technique.level_max.max(entry.reference.level);
            technique.titles.push(entry.reference.title.clone());
            technique.tactics.extend(tactics.iter().cloned());
        }
    }
    covered
}

fn print_table(
    book: &RuleBook,
    covered: &BTreeMap<String, Technique>,
    seen: Option<&BTreeSet<Class>>,
) {
    let mut columns = vec!["technique", "rules"];
    if seen.is_some() {
        columns.push("can fire");
    }
    columns.extend(["highest", "tactics", "a rule"]);
    let columns: Vec<String> = columns.into_iter().map(str::to_owned).collect();
    let rows: Vec<Vec<String>> = covered
        .iter()
        .map(|(id, technique)| {
            let mut row = vec![id.clone(), technique.rules.to_string()];
            if seen.is_some() {
                row.push(technique.fed.to_string());
            }
            row.push(technique.level_max.to_string());
            row.push(technique.tactics.iter().cloned().collect::<Vec<_>>().join(", "));
            row.push(technique.titles.first().cloned().unwrap_or_default());
            row
        })
        .collect();
    println!("{}", style::table(&columns, &rows, 60));
    let tagged = book
        .rules()
        .iter()
        .filter(|entry| entry.reference.tags.iter().any(|tag| Threat::from_tag(tag).is_some()))
        .count();
    eprintln!(
        "{} techniques; {} of {} rules carry an ATT&CK tag",
        covered.len(),
        tagged,
        book.rules().len()
    );
    let Some(seen) = seen else {
        eprintln!("name a data folder with --data to see which rules the sources there can feed");
        return;
    };
    let fed = book.rules().iter().filter(|entry| is_fed(&entry.rule, seen)).count();
    let blind = covered.values().filter(|technique| technique.fed == 0).count();
    eprintln!(
        "{fed} of {} rules read one of the {} classes of events that were seen; {blind} techniques have no rule that can fire",
        book.rules().len(),
        seen.len()
    );
}

/// A layer for ATT&CK Navigator: the score of a technique is the number of its rules that can fire.
fn layer(covered: &BTreeMap<String, Technique>, known: bool) -> serde_json::Value {
    let highest = covered.values().map(|technique| technique.fed).max().unwrap_or(1);
    let techniques: Vec<_> = covered
        .iter()
        .map(|(id, technique)| {
            json!({
                "techniqueID": id,
                "score": technique.fed,
                "comment": technique.titles.join("\n"),
                "metadata": [
                    { "name": "rules", "value": technique.rules.to_string() },
                    { "name": "highest level", "value": technique.level_max.as_str() },
                ],
                "enabled": true,
                "showSubtechniques": id.contains('.'),
            })
        })
        .collect();
    let description = if known {
        "Rules by technique; the score counts those that the sources seen so far can feed"
    } else {
        "Rules by technique"
    };
    json!({
        "name": "Watchpost coverage",
        "description": description,
        "domain": "enterprise-attack",
        "versions": { "layer": LAYER_VERSION, "navigator": "5.1.0" },
        "techniques": techniques,
        "gradient": {
            "colors": ["#f7fbff", "#6baed6", "#08306b"],
            "minValue": 0,
            "maxValue": highest,
        },
    })
}
