//! Every public rule loads and resolves, or is refused with a reason that is not our weakness.
//!
//! The rules are not part of the project; without them this says so and passes. The table that it
//! prints (`cargo test -p sigma --test public_rules -- --nocapture`) is the answer to "how many of
//! SigmaHQ's rules does this engine take".

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use sigma::expr::{Atom, Expr};
use sigma::{Code, Diagnostic, Severity};

const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/sigma/rules");

/// The only justified reason: the rule waits for values that each organisation has of its own.
const JUSTIFIED: &[Code] = &[Code::Placeholder];

#[test]
fn all_load_and_resolve() {
    if !Path::new(RULES).is_dir() {
        println!("skipped: no rules at ../shared/data/sigma/rules");
        return;
    }
    let pipelines = sigma::pipeline::builtin();
    let start = Instant::now();
    let loaded = sigma::load(&[RULES]);
    let parsed = start.elapsed();
    let mut refused: Vec<Diagnostic> =
        loaded.diagnostics.iter().filter(|d| d.severity == Severity::Error).cloned().collect();
    let (mut resolved, mut atoms) = (0, 0);
    for rule in loaded.rules() {
        let mut rule = rule.clone();
        let outcome =
            sigma::pipeline::apply(&mut rule, &pipelines).and_then(|()| sigma::resolve(&rule));
        match outcome {
            Ok(expr) => {
                resolved += 1;
                expr.for_each_atom(&mut |_: &Atom| atoms += 1);
                assert_well_formed(&expr);
            }
            Err(fault) => refused.push(fault),
        }
    }
    let whole = start.elapsed();

    let mut reasons: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for fault in &refused {
        *reasons.entry((fault.code.as_str(), &fault.message)).or_default() += 1;
    }
    println!("{} files: {resolved} rules resolved, {} refused", loaded.files, refused.len());
    println!("{atoms} atoms; parsing {parsed:?}, all {whole:?}");
    for ((code, message), count) in &reasons {
        println!("{count:5} {code:20} {message}");
    }
    let unjustified: Vec<String> = refused
        .iter()
        .filter(|fault| !JUSTIFIED.contains(&fault.code))
        .map(|fault| fault.to_string())
        .collect();
    assert!(unjustified.is_empty(), "{}", unjustified.join("\n"));
    assert!(resolved > 3_700);
}

/// A warning about a field is a mistake in the rule or a gap in the catalogue; the catalogue's are
/// closed when they are seen, so that the number stays one that somebody can look at.
#[test]
fn few_fields_are_unknown() {
    if !Path::new(RULES).is_dir() {
        println!("skipped: no rules at ../shared/data/sigma/rules");
        return;
    }
    let documents = sigma::load(&[RULES]).documents;
    let fields = sigma::taxonomy::fields();
    let options = sigma::LintOptions { fields, ..Default::default() };
    let found: Vec<Diagnostic> = sigma::lint(&documents, &options)
        .into_iter()
        .filter(|found| found.code == Code::UnknownField)
        .collect();
    let warnings = found.iter().filter(|found| found.severity == Severity::Warning).count();
    println!("{warnings} unknown fields; {} are added by agents", found.len() - warnings);
    found.iter().for_each(|found| println!("{found}"));
    assert!((1..20).contains(&warnings) && found.len() < 60);
}

/// What `expr` promises to the matcher.
fn assert_well_formed(expr: &Expr) {
    match expr {
        Expr::And(parts) | Expr::Or(parts) => {
            assert!(!parts.is_empty());
            parts.iter().for_each(assert_well_formed);
        }
        Expr::Not(part) | Expr::Selection(_, part) => assert_well_formed(part),
        Expr::Atom(_) => {}
    }
}
