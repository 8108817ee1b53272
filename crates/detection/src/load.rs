//! From files to a rule book.
//!
//! Everything that is wrong with a rule is a diagnostic with its place, and costs that rule only.
//! Files are read and parsed, and rules resolved, on all cores: thousands of rules should be there
//! before anyone has looked up.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use event::{Alert, Level, RuleRef};
use matcher::Matcher;
use sigma::pipeline::{self, Pipeline};
use sigma::{
    Code, Correlation, CorrelationCondition, CorrelationKind, Diagnostic, Document, Filter, Rule,
    Severity, Span, Tag,
};

use crate::book::{CorrelationEntry, Feed, Place, RuleBook, RuleEntry};

/// The most threads that load: more would only wait for the disk.
const THREADS_MAX: usize = 8;

/// Where rules come from. Of two rules with the same id, one from `paths` takes the place of a
/// built-in one; otherwise the first counts.
#[derive(Debug, Clone, Default)]
pub struct RuleSources {
    /// Rule files that are part of the program: name and text.
    pub builtin: Vec<(String, String)>,
    /// Files and folders of rules, correlations and filters.
    pub paths: Vec<PathBuf>,
    /// Files of processing pipelines, beside the built-in ones.
    pub pipelines: Vec<PathBuf>,
}

impl RuleSources {
    /// Loads all there is. Never fails: what is wrong is in [`RuleBook::diagnostics`].
    pub fn load(&self) -> RuleBook {
        self.load_with(&HashMap::new())
    }

    /// As [`RuleSources::load`], with these texts in place of what the files of the names say.
    pub(crate) fn load_with(&self, texts: &HashMap<String, Arc<str>>) -> RuleBook {
        let mut diagnostics = Vec::new();
        let pipelines = self.pipelines(&mut diagnostics);
        let (files, faults) = sigma::list_files(&self.paths);
        diagnostics.extend(faults);
        let mut sources = HashMap::new();
        let mut documents: Vec<Document> = Vec::new();
        for (name, text) in &self.builtin {
            let (parsed, faults) = sigma::parse_documents(text, name);
            documents.extend(parsed);
            diagnostics.extend(faults);
            sources.insert(name.clone(), Arc::from(text.as_str()));
        }
        let builtin = documents.len();
        let parsed = in_parallel(&files, |file| {
            let name = file.to_string_lossy().into_owned();
            let text = match texts.get(&name) {
                Some(text) => Ok(Arc::clone(text)),
                None => sigma::read_file(file).map(Arc::from),
            };
            text.map(|text| {
                let (documents, faults) = sigma::parse_documents(&text, &name);
                (name, text, documents, faults)
            })
        });
        for file in parsed {
            match file {
                Ok((name, text, parsed, faults)) => {
                    sources.insert(name, text);
                    documents.extend(parsed);
                    diagnostics.extend(faults);
                }
                Err(fault) => diagnostics.push(fault),
            }
        }
        leave_out_twins(&mut documents, builtin, &mut diagnostics);
        let (documents, compiled) = prepare(documents, &pipelines, &mut diagnostics);
        book(documents, compiled, &pipelines, sources, diagnostics)
    }

    /// The built-in pipelines and those of the files, as far as they can be read.
    pub fn pipelines(&self, diagnostics: &mut Vec<Diagnostic>) -> Vec<Pipeline> {
        let mut pipelines = pipeline::builtin();
        let (files, faults) = sigma::list_files(&self.pipelines);
        diagnostics.extend(faults);
        for file in files {
            let read = sigma::read_file(&file).map_err(|fault| vec![fault]);
            let name = file.to_string_lossy();
            match read.and_then(|text| Pipeline::parse(&text, &name)) {
                Ok(pipeline) => pipelines.push(pipeline),
                Err(faults) => diagnostics.extend(faults),
            }
        }
        pipelines
    }
}

/// Of documents with the same id, keeps one: the first of `paths` if there is one, or else the
/// first of all.
fn leave_out_twins(documents: &mut Vec<Document>, builtin: usize, faults: &mut Vec<Diagnostic>) {
    let mut first: HashMap<String, usize> = HashMap::new();
    let mut left_out = HashSet::new();
    for (index, document) in documents.iter().enumerate() {
        let Some(id) = document.id() else { continue };
        let Some(&earlier) = first.get(id) else {
            first.insert(id.to_owned(), index);
            continue;
        };
        let other = documents.get(earlier).map_or("", Document::file);
        if earlier < builtin && index >= builtin {
            left_out.insert(earlier);
            first.insert(id.to_owned(), index);
            let message = "takes the place of the built-in rule with the same id";
            let note = Diagnostic::new(Severity::Note, Code::DuplicateId, document.span(), message);
            faults.push(note.in_file(document.file()));
        } else {
            left_out.insert(index);
            let message = format!("left out: `{other}` has the same id, {id}");
            let fault = Diagnostic::error(Code::DuplicateId, document.span(), message);
            faults.push(
                fault.with_help("give one of the two an id of its own").in_file(document.file()),
            );
        }
    }
    let mut index = 0;
    documents.retain(|_| {
        index += 1;
        !left_out.contains(&(index - 1))
    });
}

/// Filters, maps and resolves the rules. Leaves out those that this refuses; of the others the
/// second list has what each rule became, in their order.
fn prepare(
    documents: Vec<Document>,
    pipelines: &[Pipeline],
    diagnostics: &mut Vec<Diagnostic>,
) -> (Vec<Document>, Vec<matcher::Rule>) {
    let filters: Vec<Filter> = documents
        .iter()
        .filter_map(|document| match document {
            Document::Filter(filter) => Some(filter.clone()),
            _ => None,
        })
        .collect();
    let results = in_parallel(&documents, |document| {
        document.as_rule().map(|rule| compiled(rule, &filters, pipelines))
    });
    let mut kept = Vec::with_capacity(documents.len());
    let mut rules = Vec::with_capacity(documents.len());
    for (document, result) in documents.into_iter().zip(results) {
        match result {
            None => kept.push(document),
            Some(Ok(rule)) => {
                kept.push(document);
                rules.push(rule);
            }
            Some(Err(fault)) => diagnostics.push(fault),
        }
    }
    (kept, rules)
}

fn compiled(
    rule: &Rule,
    filters: &[Filter],
    pipelines: &[Pipeline],
) -> Result<matcher::Rule, Diagnostic> {
    let mut mapped = rule.clone();
    sigma::apply_filters(std::slice::from_mut(&mut mapped), filters);
    pipeline::apply(&mut mapped, pipelines)?;
    let expr = sigma::resolve(&mapped)?;
    Ok(matcher::Rule { label: rule.label(), logsource: mapped.logsource, expr })
}

fn book(
    mut documents: Vec<Document>,
    compiled: Vec<matcher::Rule>,
    pipelines: &[Pipeline],
    sources: HashMap<String, Arc<str>>,
    mut diagnostics: Vec<Diagnostic>,
) -> RuleBook {
    let rules = compiled.len();
    let (matcher, refused) = Matcher::new(compiled);
    let refused: HashMap<u32, String> =
        refused.into_iter().map(|refused| (refused.rule, refused.reason)).collect();
    let mut numbers = Vec::with_capacity(rules);
    let mut next = 0u32;
    documents.retain(|document| {
        let Some(rule) = document.as_rule() else { return true };
        let number = next;
        next += 1;
        let Some(reason) = refused.get(&number) else {
            numbers.push(number);
            return true;
        };
        let fault = Diagnostic::error(Code::RuleTooLarge, rule.span, reason.as_str());
        diagnostics.push(fault.in_file(&rule.file));
        false
    });
    // Only correlations are left out here, so the numbers stay those of the rules.
    leave_out_dangling(&mut documents, &mut diagnostics);

    // The number of a refused rule stays at the first place: it never matches.
    let mut places = vec![0; rules];
    let mut entries: Vec<RuleEntry> = Vec::with_capacity(rules);
    let mut correlations: Vec<Correlation> = Vec::new();
    let mut numbers = numbers.into_iter();
    for document in documents {
        match document {
            Document::Rule(rule) => {
                let Some(number) = numbers.next() else { break };
                if let Some(place) = places.get_mut(number as usize) {
                    *place = u32::try_from(entries.len()).unwrap_or(u32::MAX);
                }
                let reference = rule_reference(&rule);
                let feeds = Vec::new();
                entries.push(RuleEntry { rule, reference, alerts: true, feeds, number });
            }
            Document::Correlation(correlation) => correlations.push(correlation),
            Document::Filter(_) => {}
        }
    }
    let correlations = connect(&mut entries, correlations, pipelines, &mut diagnostics);

    let mut by_name = HashMap::new();
    let ids = |reference: &RuleRef, name: &Option<String>| {
        [Some(reference.id.clone()), name.clone()].into_iter().flatten()
    };
    for (place, entry) in entries.iter().enumerate() {
        for name in ids(&entry.reference, &entry.rule.name) {
            by_name.entry(name).or_insert(Place::Rule(place));
        }
    }
    for (place, entry) in correlations.iter().enumerate() {
        for name in ids(&entry.reference, &entry.correlation.name) {
            by_name.entry(name).or_insert(Place::Correlation(place));
        }
    }
    let refused = faulty_files(&diagnostics).len();
    RuleBook {
        rules: entries,
        correlations,
        diagnostics,
        sources,
        matcher,
        places,
        by_name,
        refused,
    }
}

/// Leaves out correlations that name a rule which is not there, until all that is left is whole.
fn leave_out_dangling(documents: &mut Vec<Document>, diagnostics: &mut Vec<Diagnostic>) {
    loop {
        let mut faulty = HashSet::new();
        for (index, fault) in sigma::check_references(documents) {
            if fault.severity == Severity::Error {
                faulty.insert(index);
                diagnostics.push(fault);
            } else if !diagnostics.contains(&fault) {
                diagnostics.push(fault);
            }
        }
        if faulty.is_empty() {
            return;
        }
        let mut index = 0;
        documents.retain(|_| {
            index += 1;
            !faulty.contains(&(index - 1))
        });
    }
}

/// Tells the rules which correlations read them.
fn connect(
    rules: &mut [RuleEntry],
    correlations: Vec<Correlation>,
    pipelines: &[Pipeline],
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<CorrelationEntry> {
    let mut entries = Vec::with_capacity(correlations.len());
    let names: HashSet<String> = correlations
        .iter()
        .flat_map(|correlation| [correlation.id.clone(), correlation.name.clone()])
        .flatten()
        .collect();
    for correlation in correlations {
        let reference = correlation_reference(&correlation);
        let obstacle = obstacle(&correlation, &names);
        if let Some((span, message)) = &obstacle {
            let help = "the rules that it reads make no alerts of their own, unless it says \
                        `generate: true`";
            let warning = Diagnostic::warning(Code::Correlation, *span, message.as_str());
            diagnostics.push(warning.with_help(help).in_file(&correlation.file));
        }
        for entry in rules.iter_mut() {
            let called = |name: &sigma::Reference| entry.rule.is_called(&name.rule);
            if !correlation.rules.iter().any(called) {
                continue;
            }
            entry.alerts &= correlation.generate;
            if obstacle.is_some() {
                continue;
            }
            match feed(&correlation, &reference.id, &entry.rule, pipelines) {
                Ok(feed) => entry.feeds.push(feed),
                Err(fault) => diagnostics.push(fault),
            }
        }
        entries.push(CorrelationEntry { correlation, reference, runs: obstacle.is_none() });
    }
    entries
}

/// Why a correlation does not run, and where that stands.
fn obstacle(correlation: &Correlation, names: &HashSet<String>) -> Option<(Span, String)> {
    let kind = correlation.kind;
    if !matches!(kind, CorrelationKind::EventCount | CorrelationKind::ValueCount) {
        let kind = kind.as_str();
        let message = format!("correlations of type `{kind}` are parsed but not run yet");
        return Some((correlation.span, message));
    }
    let nested = correlation.rules.iter().find(|rule| names.contains(&rule.rule))?;
    let message = "correlations that read other correlations are parsed but not run yet";
    Some((nested.span, message.to_owned()))
}

fn feed(
    correlation: &Correlation,
    id: &str,
    rule: &Rule,
    pipelines: &[Pipeline],
) -> Result<Feed, Diagnostic> {
    let names = |fields: &[String]| -> Result<Vec<Vec<String>>, Diagnostic> {
        let field = |entry: &String| {
            let own = correlation.field_of(entry, rule.id.as_deref(), rule.name.as_deref());
            pipeline::map_field(rule, own, pipelines)
        };
        fields.iter().map(field).collect()
    };
    let counted: &[String] = match &correlation.condition {
        CorrelationCondition::Threshold(threshold) => &threshold.fields,
        CorrelationCondition::Rules(_) => &[],
    };
    let group = names(&correlation.group_by)?;
    Ok(Feed { correlation: id.to_owned(), group, values: names(counted)? })
}

fn rule_reference(rule: &Rule) -> RuleRef {
    RuleRef {
        id: id_of(&rule.id, &rule.file, &rule.title),
        title: rule.title.clone(),
        level: level(rule.level),
        tags: texts(&rule.tags),
        description: rule.description.clone().unwrap_or_default(),
        falsepositives: rule.falsepositives.clone(),
        references: rule.references.clone(),
        file: rule.file.to_string(),
    }
}

fn correlation_reference(rule: &Correlation) -> RuleRef {
    RuleRef {
        id: id_of(&rule.id, &rule.file, &rule.title),
        title: rule.title.clone(),
        level: level(rule.level),
        tags: texts(&rule.tags),
        description: rule.description.clone().unwrap_or_default(),
        falsepositives: rule.falsepositives.clone(),
        references: rule.references.clone(),
        file: rule.file.to_string(),
    }
}

/// Its own id, or one that stays as long as its file and title do.
fn id_of(id: &Option<String>, file: &str, title: &str) -> String {
    id.clone().unwrap_or_else(|| Alert::make_id(&[file, title]))
}

fn texts(tags: &[Tag]) -> Vec<String> {
    tags.iter().map(|tag| tag.text.clone()).collect()
}

/// The same word in the event model. A rule without a level is informational, as the parser has
/// it: it never said that anyone should be called.
fn level(level: sigma::Level) -> Level {
    match level {
        sigma::Level::Informational => Level::Informational,
        sigma::Level::Low => Level::Low,
        sigma::Level::Medium => Level::Medium,
        sigma::Level::High => Level::High,
        sigma::Level::Critical => Level::Critical,
    }
}

/// The files that have an error. A faulty document can have several errors, and most files hold
/// one document, so their number comes nearest to that of the rules that are missing.
pub(crate) fn faulty_files(diagnostics: &[Diagnostic]) -> HashSet<&str> {
    diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.severity == Severity::Error)
        .map(|diagnostic| diagnostic.file.as_str())
        .collect()
}

/// Does the same for each, on all cores; the results are in the order of the items.
fn in_parallel<T: Sync, R: Send>(items: &[T], each: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(THREADS_MAX).min(items.len()).max(1);
    let each = &each;
    std::thread::scope(|scope| {
        let workers: Vec<_> = items
            .chunks(items.len().div_ceil(threads).max(1))
            .map(|chunk| scope.spawn(move || chunk.iter().map(each).collect::<Vec<R>>()))
            .collect();
        let join = |worker: std::thread::ScopedJoinHandle<'_, Vec<R>>| match worker.join() {
            Ok(results) => results,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        workers.into_iter().flat_map(join).collect()
    })
}
