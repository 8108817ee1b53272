//! What becomes of every public rule: a witness, near misses, or a reason.
//!
//! The rules are not part of the project; without them this says so and passes. What it prints
//! (`cargo test -p witness --test public_rules -- --nocapture`) is the answer to "how many of
//! SigmaHQ's rules can be solved, and what is the matter with the others". With `WITNESS_SHOW` set
//! it prints each witness, each part without a near miss, and each rule within another.

#![expect(clippy::print_stdout, reason = "the figures are the point")]

use std::path::Path;
use std::time::{Duration, Instant};

use matcher::plain;
use sigma::expr::Expr;
use witness::{Contained, NoWitness, Proof, Roles, contained, near_misses, score, solve};

const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/sigma/rules");

/// What is asked of the share of rules with a witness.
const SHARE_MIN: f64 = 0.95;

#[test]
fn nearly_every_rule_has_a_witness_and_near_misses() {
    if !Path::new(RULES).is_dir() {
        assert!(std::env::var_os("WATCHPOST_TEST_NEEDS_ALL").is_none(), "no rules at {RULES}");
        println!("skipped: no rules at ../shared/data/sigma/rules");
        return;
    }
    let loaded = sigma::load(&[RULES]);
    let pipelines = sigma::pipeline::builtin();
    for mapped in [false, true] {
        let mut rules: Vec<(sigma::Rule, Expr)> = Vec::new();
        for rule in loaded.rules() {
            let mut rule = rule.clone();
            if mapped && sigma::pipeline::apply(&mut rule, &pipelines).is_err() {
                continue;
            }
            if let Ok(expr) = sigma::resolve(&rule) {
                rules.push((rule, expr));
            }
        }
        check(if mapped { "event model" } else { "native names" }, &rules, mapped);
    }
}

/// Near misses are looked for in one of the two forms only; they take longer than all the rest.
fn check(names: &str, rules: &[(sigma::Rule, Expr)], near: bool) {
    let (mut solved, mut misses, mut alone, mut without, mut dead) = (0, 0, 0, 0, 0);
    let (mut solving, mut nearing) = (Duration::ZERO, Duration::ZERO);
    let mut slowest = (Duration::ZERO, String::new());
    let mut unsolved = Vec::new();
    let mut arrays = Vec::new();
    for (rule, expr) in rules {
        let start = Instant::now();
        let outcome = solve(expr, &rule.logsource);
        let took = start.elapsed();
        solving += took;
        if took > slowest.0 {
            slowest = (took, rule.label());
        }
        let witness = match outcome {
            Ok(witness) => witness,
            Err(reason) => {
                unsolved.push(format!("{}: {}", rule.label(), told(&reason)));
                continue;
            }
        };
        solved += 1;
        let event = witness.event_of(&rule.logsource);
        assert!(plain::matches(expr, &event), "{}: {}", rule.label(), event.to_json());
        arrays.extend(witness.arrays().map(|name| format!("{}: {name}", rule.label())));

        if std::env::var_os("WITNESS_SHOW").is_some() {
            println!("  witness of {}: {}", rule.label(), event.to_json());
        }
        if !near {
            continue;
        }
        let start = Instant::now();
        let nearby = near_misses(expr, &witness, &rule.logsource);
        nearing += start.elapsed();
        for miss in &nearby.misses {
            let event = miss.witness.event_of(&rule.logsource);
            assert!(!plain::matches(expr, &event), "{}: {}", rule.label(), miss.part);
            misses += 1;
            alone += usize::from(miss.alone);
        }
        for part in &nearby.without {
            without += 1;
            dead += usize::from(part.never_applies);
            if std::env::var_os("WITNESS_SHOW").is_some() {
                println!("  no near miss ({}) {}: {}", part.never_applies, rule.label(), part.part);
            }
        }
    }
    println!("{names}: {solved} of {} rules have a witness, {solving:?}", rules.len());
    println!("  slowest {:?} {}", slowest.0, slowest.1);
    println!("  {} fields need an array: {arrays:?}", arrays.len());
    for reason in &unsolved {
        println!("  {reason}");
    }
    if !near {
        return assert_share(solved, rules.len());
    }
    println!("  {misses} near misses ({alone} by one part alone), {nearing:?}");
    println!("  {without} parts without, {dead} of them filters that never apply");
    assert_share(solved, rules.len());
}

fn assert_share(solved: usize, rules: usize) {
    let share = solved as f64 / rules as f64;
    assert!(share >= SHARE_MIN, "only {share:.3} of the rules have a witness");
}

/// The fast matcher, asked about each witness as an event of its logsource, finds the rule; and of
/// all rules together it tells which are within others.
#[test]
fn the_fast_matcher_finds_each_rule_by_its_witness() {
    if !Path::new(RULES).is_dir() {
        assert!(std::env::var_os("WATCHPOST_TEST_NEEDS_ALL").is_none(), "no rules at {RULES}");
        println!("skipped: no rules at ../shared/data/sigma/rules");
        return;
    }
    let pipelines = sigma::pipeline::builtin();
    let mut rules = Vec::new();
    for rule in sigma::load(&[RULES]).rules() {
        let mut rule = rule.clone();
        if sigma::pipeline::apply(&mut rule, &pipelines).is_err() {
            continue;
        }
        if let Ok(expr) = sigma::resolve(&rule) {
            rules.push(matcher::Rule { label: rule.label(), logsource: rule.logsource, expr });
        }
    }
    let (matcher, refused) = matcher::Matcher::new(rules.clone());
    assert!(refused.is_empty(), "{refused:?}");
    let mut scratch = matcher.scratch();
    let (mut tried, mut caught, mut whole) = (0, 0, 0);
    let mut scoring = Duration::ZERO;
    for (index, rule) in rules.iter().enumerate() {
        let Ok(witness) = solve(&rule.expr, &rule.logsource) else { continue };
        let event = witness.event_of(&rule.logsource);
        let hits = matcher.matches(&event, &mut scratch);
        assert!(hits.contains(&(index as u32)), "{}: {}", rule.label, event.to_json());
        let start = Instant::now();
        let score = score(&rule.expr, &event, &Roles::default());
        scoring += start.elapsed();
        tried += score.tried;
        caught += score.caught;
        whole += usize::from(score.tried > 0 && score.evasions.is_empty());
    }
    println!("{caught} of {tried} variations caught, all of them by {whole} rules, {scoring:?}");
    let start = Instant::now();
    let pairs = contained(&rules, &matcher);
    let took = start.elapsed();
    let unproven = |pair: &&Contained| matches!(pair.proof, Proof::Witnesses(_));
    let unproven = pairs.iter().filter(unproven).count();
    println!("{} rules within others, {unproven} of them not proven, {took:?}", pairs.len());
    if std::env::var_os("WITNESS_SHOW").is_some() {
        for pair in &pairs {
            let label = |index: usize| rules.get(index).map_or("", |rule| rule.label.as_str());
            println!("  {} within {}: {:?}", label(pair.inner), label(pair.outer), pair.proof);
        }
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
