//! Our witnesses and near misses, asked of another engine.
//!
//! Crate `witness` solves each rule for an event that matches, and changes it so that the rule must
//! not match any more. It believes nothing before our plain evaluator has confirmed it, but the two
//! could share a misunderstanding of Sigma. So `rsigma-eval`, which shares no code with us, reads
//! the same rule files and is asked about the same events, in the rules' native names, without
//! pipelines and whatever the logsource. It is asked as it runs: one engine with all rules, so that
//! its choice of candidates is part of the answer.
//!
//! ```sh
//! cargo run --release -p benches --features peers --bin witnesses
//! ```
//!
//! It fails when fewer than [`SHARE_MIN`] of the rules have a witness that both engines match, or
//! when the engines differ in a way that [`EXPLAINED`] does not tell; a near miss that matches is a
//! difference. With `SHOW` set, rsigma's own explanation is printed for each.

#![expect(clippy::print_stdout, reason = "a comparison's output is its purpose")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use benches::corpus;
use rsigma_eval::{CompiledRule, Engine, JsonEvent, compile_rule, explain_rule};
use rsigma_parser::parse_sigma_yaml;
use serde_json::Value;
use witness::{Arrays, NoWitness};

/// What is asked of the share of rules whose witness both engines match.
const SHARE_MIN: f64 = 0.95;

/// How many witnesses of each rule rsigma is asked about: the plainest, which counts for the share,
/// and others with other alternatives chosen and other text around what is looked for.
const WITNESSES: u32 = 4;

/// Rules about which the engines differ, and why.
const EXPLAINED: &[(&str, &str)] = &[(
    "dd7876d8-0f09-11eb-adc1-0242ac120002",
    "rsigma takes `%DC-MACHINE-NAME%` for a placeholder and fills it from a field of that name; the \
     name of a placeholder has no hyphen (pySigma: `\\w+`), so for us it is text",
)];

fn main() -> ExitCode {
    let Some((_, folder)) = corpus::rule_folders() else {
        println!("skipped: no rules at ../shared/data/sigma/rules");
        let needed = std::env::var_os("WATCHPOST_TEST_NEEDS_ALL").is_some();
        return if needed { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    };
    let loaded = sigma::load(&[&folder]);
    let files = loaded.rules().map(|rule| rule.file.to_string());
    let peer = Peer::new(files.collect());
    let mut tally = Tally::default();
    for rule in loaded.rules() {
        tally.rules += 1;
        if let Err(reason) = ask(rule, &peer, &mut tally) {
            tally.without.push(format!("{}: {reason}", rule.label()));
        }
    }
    tally.told()
}

/// What came out.
#[derive(Default)]
struct Tally {
    rules: usize,
    /// Rules whose plainest witness rsigma matches too.
    agreed: usize,
    /// Of these and the other witnesses: how many there are.
    witnesses: usize,
    near_misses: usize,
    /// Rules that nothing could be asked about, with the reason.
    without: Vec<String>,
    /// What the engines answer differently.
    differences: Vec<Difference>,
}

struct Difference {
    /// The rule's id, or its title.
    id: String,
    rule: String,
    what: String,
    event: String,
    /// How rsigma explains its answer.
    theirs: String,
}

/// Solves a rule and asks rsigma about everything that was found.
fn ask(rule: &sigma::Rule, peer: &Peer, tally: &mut Tally) -> Result<(), String> {
    let expr = sigma::resolve(rule).map_err(|fault| fault.message)?;
    let plainest = witness::solve(&expr, &rule.logsource).map_err(|reason| told(&reason))?;
    let id = rule.id.as_ref().unwrap_or(&rule.title);
    if !peer.rules.contains_key(id) {
        return Err("rsigma does not take the rule".into());
    }
    let mut differs = |what: String, event: &Value| {
        tally.differences.push(Difference {
            id: id.clone(),
            rule: rule.label(),
            what,
            event: event.to_string(),
            theirs: peer.explained(id, event),
        });
    };
    let arrays = Arrays::of(&rule.logsource);
    let others = (1..WITNESSES).filter_map(|seed| {
        let options = witness::Options { arrays, seed, ..witness::Options::default() };
        witness::solve_with(&expr, &options).ok()
    });
    let mut witnesses = vec![plainest];
    for other in others {
        if !witnesses.contains(&other) {
            witnesses.push(other);
        }
    }
    for (number, witness) in witnesses.iter().enumerate() {
        let event = Value::Object(witness.flat_json());
        let found = peer.matches(id, &event);
        tally.witnesses += 1;
        tally.agreed += usize::from(found && number == 0);
        if !found {
            differs(format!("only we match witness {number}"), &event);
        }
        for miss in witness::near_misses(&expr, witness, &rule.logsource).misses {
            tally.near_misses += 1;
            let event = Value::Object(miss.witness.flat_json());
            if peer.matches(id, &event) {
                differs(format!("only rsigma matches the near miss of {}", miss.part), &event);
            }
        }
    }
    Ok(())
}

/// rsigma with all rules.
struct Peer {
    engine: Engine,
    /// By id, or title: to explain.
    rules: BTreeMap<String, CompiledRule>,
}

impl Peer {
    fn new(files: BTreeSet<String>) -> Peer {
        let mut written = Vec::new();
        for file in files {
            let Ok(text) = std::fs::read_to_string(&file) else { continue };
            let Ok(collection) = parse_sigma_yaml(&text) else { continue };
            written.extend(collection.rules);
        }
        let mut engine = Engine::new();
        // All at once: each call makes the engine's index anew.
        engine.add_rules(&written);
        let compiled = written.iter().filter_map(|rule| {
            let id = rule.id.clone().unwrap_or_else(|| rule.title.clone());
            Some((id, compile_rule(rule).ok()?))
        });
        Peer { engine, rules: compiled.collect() }
    }

    fn matches(&self, id: &str, event: &Value) -> bool {
        let hits = self.engine.evaluate(&JsonEvent::borrow(event));
        hits.iter().any(|hit| hit.header.rule_id.as_ref().unwrap_or(&hit.header.rule_title) == id)
    }

    fn explained(&self, id: &str, event: &Value) -> String {
        let Some(rule) = self.rules.get(id) else { return String::new() };
        let explained = explain_rule(rule, &JsonEvent::borrow(event));
        serde_json::to_string(&explained).unwrap_or_default()
    }
}

fn told(reason: &NoWitness) -> String {
    match reason {
        NoWitness::Contradiction(conflicts) => {
            let all: Vec<String> =
                conflicts.iter().map(|conflict| conflict.tests.join(" / ")).collect();
            format!("can never match: {}", all.join("; "))
        }
        NoWitness::GaveUp(limit) => format!("gave up: {limit:?}"),
    }
}

impl Tally {
    fn told(&self) -> ExitCode {
        for reason in &self.without {
            println!("no witness: {reason}");
        }
        let mut unexplained = 0;
        for difference in &self.differences {
            println!("differs: {}: {}", difference.rule, difference.what);
            println!("  event {}", difference.event);
            match EXPLAINED.iter().find(|(id, _)| *id == difference.id) {
                Some((_, why)) => println!("  why   {why}"),
                None => unexplained += 1,
            }
            if std::env::var_os("SHOW").is_some() {
                println!("  theirs {}", difference.theirs);
            }
        }
        let share = self.agreed as f64 / self.rules.max(1) as f64;
        println!(
            "{} of {} rules ({:.2} %) have a witness that rsigma matches too",
            self.agreed,
            self.rules,
            100.0 * share
        );
        println!(
            "{} different witnesses, {} near misses; {} answers differ, {unexplained} of them \
             unexplained",
            self.witnesses,
            self.near_misses,
            self.differences.len()
        );
        if share >= SHARE_MIN && unexplained == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
