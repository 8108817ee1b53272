//! `watchpost rules witness`: solves rules for events, and tells what that shows about them.
//!
//! For each rule a small event that it matches, the near misses that it must not match, and what it
//! still catches of an attacker's variations. Over all rules: which can never match, which are
//! contained in others, and, against a data folder, which need a field that nothing there has.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use detection::RuleBook;
use indexing::Index;
use matcher::Matcher;
use serde_json::{Value, json};
use sigma::expr::Expr;
use sigma::{Rule, pipeline};
use witness::{Arrays, NoWitness, Options, Proof, Report, Roles, solve_with};

use crate::args::WitnessFormat;
use crate::commands::{Outcome, checked, rules, search};
use crate::style;

/// How many findings of one kind the summary tells one by one.
const SHOWN_MAX: usize = 40;

/// The number of variations that a rule should have been tried with to be called weak.
const TRIED_MIN: usize = 10;

/// A rule with what it asks, in the names of the event model and in its own.
struct Solved<'b> {
    label: &'b str,
    rule: &'b Rule,
    expr: Expr,
    native: Option<Expr>,
}

pub(crate) fn run(
    format: WitnessFormat,
    data: Option<&Path>,
    pipelines: &[PathBuf],
    paths: &[PathBuf],
) -> Outcome {
    let sources = rules::sources(paths, pipelines);
    let book = sources.load();
    rules::show_faults(&book);
    rules::all_usable(&book, paths)?;
    let mut faults = Vec::new();
    let pipelines = sources.pipelines(&mut faults);
    let solved: Vec<Solved<'_>> = book
        .rules()
        .iter()
        .filter_map(|entry| {
            let mut mapped = entry.rule.clone();
            pipeline::apply(&mut mapped, &pipelines).ok()?;
            Some(Solved {
                label: &entry.reference.title,
                rule: &entry.rule,
                expr: sigma::resolve(&mapped).ok()?,
                native: sigma::resolve(&entry.rule).ok(),
            })
        })
        .collect();
    let seen = match data {
        Some(folder) => Some(fields(&search::open_index(folder)?)),
        None => None,
    };
    let roles = Roles::default();
    let mut summary = Summary::default();
    for solved in &solved {
        let report =
            Report::new(solved.label.to_owned(), &solved.expr, &solved.rule.logsource, &roles);
        match format {
            WitnessFormat::Text => println!("{report}"),
            WitnessFormat::Jsonl => println!("{}", line(solved, &report)),
            WitnessFormat::Summary => {}
        }
        summary.add(solved, &report, seen.as_ref());
    }
    summary.contained(&solved);
    summary.print(&book, seen.is_some());
    Ok(checked(summary.never.is_empty()))
}

/// The fields that events of an index have.
fn fields(index: &Index) -> BTreeSet<String> {
    index.fields().into_iter().map(|field| field.name).collect()
}

/// One rule as a line of JSON: the event in the names of the event model, and in the rule's own
/// names for other engines.
fn line(solved: &Solved<'_>, report: &Report) -> Value {
    let native = solved
        .native
        .as_ref()
        .and_then(|expr| witness::solve(expr, &solved.rule.logsource).ok())
        .map(|witness| Value::Object(witness.flat_json()));
    let (event, reason) = match &report.witness {
        Ok(witness) => {
            let event = witness.event_of(&solved.rule.logsource).to_json();
            (serde_json::from_str(&event).unwrap_or(Value::Null), None)
        }
        Err(reason) => (Value::Null, Some(reason.to_string())),
    };
    let misses: Vec<Value> = report
        .nearby
        .misses
        .iter()
        .map(|miss| {
            let event = miss.witness.event_of(&solved.rule.logsource).to_json();
            json!({
                "part": miss.part,
                "event": serde_json::from_str::<Value>(&event).unwrap_or(Value::Null),
            })
        })
        .collect();
    let score = report.score.as_ref().map(|score| {
        json!({
            "tried": score.tried,
            "caught": score.caught,
            "cheapest_evasion": score.cheapest_evasion().map(|evasion| json!({
                "name": evasion.name,
                "cost": evasion.cost,
                "field": evasion.field,
                "before": evasion.before,
                "after": evasion.after,
            })),
        })
    });
    json!({
        "rule": { "id": solved.rule.id, "title": solved.rule.title, "file": &*solved.rule.file },
        "event": event,
        "native": native,
        "no_witness": reason,
        "near_misses": misses,
        "score": score,
    })
}

/// What all rules together show.
#[derive(Default)]
struct Summary {
    rules: usize,
    witnesses: usize,
    /// Rules that can never match, and why.
    never: Vec<(String, String)>,
    /// Rules for which the search ended without an answer.
    unsolved: Vec<(String, String)>,
    /// Filters that can never apply: rule, part.
    idle: Vec<(String, String)>,
    /// Rules that need a field which nothing in the index has.
    unfed: Vec<(String, String)>,
    contained: Vec<(String, String, Proof)>,
    tried: usize,
    caught: usize,
    /// Rules that few variations are caught of: percent, rule, the cheapest evasion.
    weak: Vec<(u32, String, String)>,
}

impl Summary {
    fn add(&mut self, solved: &Solved<'_>, report: &Report, seen: Option<&BTreeSet<String>>) {
        self.rules += 1;
        let label = || solved.label.to_owned();
        match &report.witness {
            Ok(_) => self.witnesses += 1,
            Err(reason @ NoWitness::Contradiction(_)) => {
                self.never.push((label(), reason.to_string()));
            }
            Err(reason) => self.unsolved.push((label(), reason.to_string())),
        }
        for part in report.nearby.without.iter().filter(|part| part.never_applies) {
            self.idle.push((label(), part.part.clone()));
        }
        if let Some(score) = &report.score {
            self.tried += score.tried;
            self.caught += score.caught;
            if let (Some(percent), Some(evasion)) = (score.percent(), score.cheapest_evasion())
                && score.tried >= TRIED_MIN
            {
                self.weak.push((percent, label(), format!("{}: {}", evasion.name, evasion.after)));
            }
        }
        if let (Some(seen), Ok(_)) = (seen, &report.witness)
            && let Some(missing) = missing(solved, seen)
        {
            self.unfed.push((label(), missing));
        }
    }

    fn contained(&mut self, solved: &[Solved<'_>]) {
        let rules = |solved: &Solved<'_>| matcher::Rule {
            label: solved.label.to_owned(),
            logsource: solved.rule.logsource.clone(),
            expr: solved.expr.clone(),
        };
        let rules: Vec<matcher::Rule> = solved.iter().map(rules).collect();
        let (matcher, _) = Matcher::new(rules.clone());
        for pair in witness::contained(&rules, &matcher) {
            let label =
                |index: usize| solved.get(index).map_or("", |solved| solved.label).to_owned();
            self.contained.push((label(pair.inner), label(pair.outer), pair.proof));
        }
    }

    fn print(&mut self, book: &RuleBook, has_data: bool) {
        self.weak.sort();
        let percent = |part: usize, of: usize| 100.0 * part as f64 / of.max(1) as f64;
        eprintln!(
            "{}",
            style::bold(&format!(
                "{} of {} rules have a witness ({:.1}%); {} of {} attackers' variations are caught ({:.0}%)",
                self.witnesses,
                self.rules,
                percent(self.witnesses, self.rules),
                self.caught,
                self.tried,
                percent(self.caught, self.tried),
            ))
        );
        list("can never match", self.never.iter().map(|(rule, why)| format!("{rule}: {why}")));
        list("not solved", self.unsolved.iter().map(|(rule, why)| format!("{rule}: {why}")));
        list(
            "has a part that never applies",
            self.idle.iter().map(|(rule, part)| format!("{rule}: {part}")),
        );
        list(
            "contained in another rule",
            self.contained.iter().map(|(inner, outer, proof)| {
                let how = match proof {
                    Proof::Structure => "by its condition".to_owned(),
                    Proof::Solved => "no event tells them apart".to_owned(),
                    Proof::Witnesses(count) => format!("{count} events tried"),
                };
                format!("{inner} in {outer} ({how})")
            }),
        );
        if has_data {
            list(
                "needs a field that no event there has",
                self.unfed.iter().map(|(rule, field)| format!("{rule}: {field}")),
            );
        }
        list(
            "easiest to evade",
            self.weak.iter().take(10).map(|(percent, rule, how)| {
                format!("{rule}: {percent}% caught; {}", style::clip(&style::plain(how), 120))
            }),
        );
        if book.refused() > 0 {
            eprintln!("{} files were refused; `watchpost rules check` tells why", book.refused());
        }
    }
}

/// The fields that a rule can't do without and that were never seen.
fn missing(solved: &Solved<'_>, seen: &BTreeSet<String>) -> Option<String> {
    let mut asked = BTreeSet::new();
    solved.expr.for_each_atom(&mut |atom| asked.extend(atom.field.as_deref().map(str::to_owned)));
    let absent: BTreeSet<String> = asked.difference(seen).cloned().collect();
    if absent.is_empty() {
        return None;
    }
    let options = Options {
        arrays: Arrays::of(&solved.rule.logsource),
        absent: Some(&absent),
        ..Options::default()
    };
    match solve_with(&solved.expr, &options) {
        Err(NoWitness::Contradiction(_)) => Some(absent.into_iter().collect::<Vec<_>>().join(", ")),
        _ => None,
    }
}

fn list(what: &str, items: impl ExactSizeIterator<Item = String>) {
    let count = items.len();
    if count == 0 {
        return;
    }
    eprintln!("{}", style::bold(&format!("{what}: {count}")));
    for item in items.take(SHOWN_MAX) {
        eprintln!("  {}", item.replace('\n', "\n  "));
    }
    if count > SHOWN_MAX {
        eprintln!("  and {} more", count - SHOWN_MAX);
    }
}
