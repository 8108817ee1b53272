//! `watchpost rules`: check, test and explain Sigma rules.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use detection::{RuleBook, RuleEntry, RuleSources};
use event::Event;
use sigma::{Code, Diagnostic, Document, LintOptions, Logsource, Severity};

use crate::args::{CheckFormat, RulesArgs, RulesCommand};
use crate::commands::{Outcome, checked, coverage, witness};
use crate::{events, rule_tests, rules, style};

pub(crate) fn run(args: &RulesArgs) -> Outcome {
    match &args.command {
        RulesCommand::Check { format, silence, pipelines, paths } => {
            check(*format, silence, pipelines, paths)
        }
        RulesCommand::Test { junit, pipelines, paths } => {
            rule_tests::run(junit.as_deref(), pipelines, paths)
        }
        RulesCommand::Explain { rule, event, pipelines } => explain(rule, event, pipelines),
        RulesCommand::Witness { format, data, pipelines, paths } => {
            witness::run(*format, data.as_deref(), pipelines, paths)
        }
        RulesCommand::Coverage { format, data, pipelines, paths } => {
            coverage::run(*format, data.as_deref(), pipelines, paths)
        }
    }
}

/// The rules of these paths, or the built-in ones if none is named.
pub(crate) fn sources(paths: &[PathBuf], pipelines: &[PathBuf]) -> RuleSources {
    RuleSources {
        builtin: if paths.is_empty() { rules::builtin_rules() } else { Vec::new() },
        paths: paths.to_vec(),
        pipelines: pipelines.to_vec(),
    }
}

/// How many findings about rules are shown by commands that do something else with them.
const FINDINGS_SHOWN_MAX: usize = 3;

/// Shows what is wrong with the rules of a book, the first few whole.
pub(crate) fn show_faults(book: &RuleBook) {
    for diagnostic in book.diagnostics().iter().take(FINDINGS_SHOWN_MAX) {
        eprintln!("{}", diagnostic.render(book.source(&diagnostic.file)));
    }
    let more = book.diagnostics().len().saturating_sub(FINDINGS_SHOWN_MAX);
    if more > 0 {
        eprintln!("{more} more findings about rules; `watchpost rules check` shows all");
    }
}

/// Refuses paths that were named and can't be read, and pipelines with a fault: without them rules
/// that somebody counts on are missing, or mean something else. A fault in one file of a folder
/// leaves out that file only.
pub(crate) fn all_usable(book: &RuleBook, named: &[PathBuf]) -> Result<(), String> {
    let fault = book.diagnostics().iter().find(|fault| match fault.code {
        Code::Pipeline => true,
        Code::Unreadable => named.iter().any(|path| *path == Path::new(&fault.file)),
        _ => false,
    });
    match fault {
        Some(fault) => Err(format!("{} cannot be used: {}", fault.file, fault.message)),
        None => Ok(()),
    }
}

fn check(
    format: CheckFormat,
    silence: &[Code],
    pipelines: &[PathBuf],
    paths: &[PathBuf],
) -> Outcome {
    let book = sources(paths, pipelines).load();
    let mut found: Vec<Diagnostic> = book.diagnostics().to_vec();
    // Advice comes from the rules as they are written, before pipelines.
    let documents = documents(paths);
    let options = LintOptions {
        silenced: silence.iter().copied().collect(),
        fields: sigma::taxonomy::fields(),
        sources: Some(normalized_classes()),
    };
    for advice in sigma::lint(&documents, &options) {
        if !found.contains(&advice) {
            found.push(advice);
        }
    }
    found.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    let count = |severity| found.iter().filter(|finding| finding.severity == severity).count();
    let errors = count(Severity::Error);
    match format {
        CheckFormat::Json => println!("{}", serde_json::to_string_pretty(&found)?),
        CheckFormat::Sarif => println!("{}", serde_json::to_string_pretty(&sigma::sarif(&found))?),
        CheckFormat::Text => {
            let mut texts = HashMap::new();
            for finding in &found {
                let text = texts
                    .entry(finding.file.clone())
                    .or_insert_with(|| source_of(&book, &finding.file));
                println!("{}", finding.render(text.as_deref()));
            }
        }
    }
    for ((Reverse(severity), code), count) in summary(&found) {
        eprintln!("{count:>6} {:<7} {code}", severity.as_str());
    }
    eprintln!(
        "{} rules and {} correlations: {errors} errors, {} warnings, {} notes",
        book.rules().len(),
        book.correlations().len(),
        count(Severity::Warning),
        count(Severity::Note),
    );
    if documents.is_empty() && errors == 0 {
        return Err("there is no rule to check".into());
    }
    Ok(checked(errors == 0))
}

/// The classes that events get here, whoever sends them.
fn normalized_classes() -> Vec<Logsource> {
    let own = |part: Option<&str>| part.map(str::to_owned);
    normalize::classes(&crate::mappings::builtin())
        .into_iter()
        .map(|class| Logsource {
            product: own(class.product),
            category: own(class.category),
            service: own(class.service),
            definition: None,
        })
        .collect()
}

/// How many findings there are of each kind, the worst first.
fn summary(found: &[Diagnostic]) -> BTreeMap<(Reverse<Severity>, &'static str), usize> {
    let mut counts = BTreeMap::new();
    for finding in found {
        let kind = (Reverse(finding.severity), finding.code.as_str());
        *counts.entry(kind).or_default() += 1;
    }
    counts
}

/// What the files hold, as written.
fn documents(paths: &[PathBuf]) -> Vec<Document> {
    if !paths.is_empty() {
        return sigma::load(paths).documents;
    }
    rules::builtin_rules()
        .iter()
        .flat_map(|(file, text)| sigma::parse_documents(text, file).0)
        .collect()
}

/// The text of a rule file, whether or not anything of it was loaded.
fn source_of(book: &detection::RuleBook, file: &str) -> Option<String> {
    book.source(file).map(str::to_owned).or_else(|| sigma::read_file(Path::new(file)).ok())
}

fn explain(rule: &Path, event: &Path, pipelines: &[PathBuf]) -> Outcome {
    let book = sources(&[rule.to_owned()], pipelines).load();
    for diagnostic in book.diagnostics() {
        eprint!("{}", diagnostic.render(source_of(&book, &diagnostic.file).as_deref()));
    }
    if book.rules().is_empty() {
        let shown = rule.display();
        return Err(if documents(&[rule.to_owned()]).is_empty() {
            format!("no rule could be loaded from {shown}").into()
        } else {
            format!("{shown} has no rule that reads events; explain the rules that it counts")
                .into()
        });
    }
    let mut any = false;
    let mut shown = 0;
    let problems = events::read(&[event.to_owned()], "", &mut |found| {
        for entry in book.rules() {
            let Some(explanation) = book.explain(entry, found.event) else { continue };
            let other = other_class(entry, found.event);
            let holds = explanation.held && other.is_none();
            shown += 1;
            any |= holds;
            let word = if holds { style::good("matches") } else { style::error("does not match") };
            println!("{} {word} record {}", style::bold(&entry.reference.title), found.record);
            if let Some(note) = other {
                println!("  {note}");
            }
            println!("{explanation}");
        }
    });
    for problem in problems {
        eprintln!("{} {problem}", style::error("problem:"));
    }
    if shown == 0 {
        return Err(format!("there is no event in {}", event.display()).into());
    }
    Ok(checked(any))
}

/// Why an event is none that the rule reads, if it is none.
pub(crate) fn other_class(entry: &RuleEntry, event: &Event) -> Option<String> {
    let class = event::Logsource::of(event);
    let class = (class.product, class.category, class.service);
    let reads = &entry.rule.logsource;
    if sigma::logsource::feeds(reads, class) {
        return None;
    }
    let wanted =
        words(reads.product.as_deref(), reads.category.as_deref(), reads.service.as_deref());
    let is = words(class.0, class.1, class.2);
    Some(format!("the rule reads events of {wanted}; this one is of {is}"))
}

fn words(product: Option<&str>, category: Option<&str>, service: Option<&str>) -> String {
    let parts: Vec<String> = [("product", product), ("category", category), ("service", service)]
        .iter()
        .filter_map(|(name, part)| part.map(|part| format!("{name} {part}")))
        .collect();
    if parts.is_empty() { "no class".to_owned() } else { parts.join(", ") }
}
