//! Advice about rules that load: what is probably not meant, what costs, what is missing.
//!
//! Each lint is a small function over one document, in one of three files: what the attributes say
//! (`metadata`), how the detection is written (`writing`), and what it means once resolved
//! (`meaning`). Lints about several documents at once are here. Errors mean that the set should
//! not go into production as it is; warnings, that a rule may not do what its author thinks; notes
//! are worth knowing.

mod meaning;
mod metadata;
mod writing;

use std::collections::{BTreeSet, HashMap};

use crate::correlation::check_references;
use crate::diagnostic::{Code, Diagnostic, Severity};
use crate::documents::Document;
use crate::logsource::feeds;
use crate::rule::{Logsource, Rule};
use crate::suggest;

/// What is asked of [`lint`].
#[derive(Debug, Clone, Default)]
pub struct LintOptions {
    /// Codes that are not reported.
    pub silenced: BTreeSet<Code>,
    /// The native fields that logsources are known to have. A rule whose logsource none of these
    /// covers is not checked for unknown fields.
    pub fields: Vec<(Logsource, BTreeSet<String>)>,
    /// The logsources that something configured can feed; nothing means not to check.
    pub sources: Option<Vec<Logsource>>,
}

/// Looks at documents as they were loaded, before pipelines. A rule that can't be resolved is
/// among the errors.
pub fn lint(documents: &[Document], options: &LintOptions) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for document in documents {
        let start = found.len();
        metadata::all(document, &mut found);
        match document {
            Document::Rule(rule) => {
                writing::all(rule, &mut found);
                meaning::all(rule, &mut found);
                unknown_fields(rule, options, &mut found);
                never_fed(rule, options, &mut found);
            }
            Document::Filter(filter) => metadata::filter_keeps(filter, &mut found),
            Document::Correlation(_) => {}
        }
        for diagnostic in found.iter_mut().skip(start) {
            document.file().clone_into(&mut diagnostic.file);
        }
    }
    duplicate_ids(documents, &mut found);
    found.extend(check_references(documents).into_iter().map(|(_, fault)| fault));
    found.retain(|diagnostic| !options.silenced.contains(&diagnostic.code));
    found
}

fn duplicate_ids(documents: &[Document], found: &mut Vec<Diagnostic>) {
    let mut first: HashMap<&str, &Document> = HashMap::new();
    for document in documents {
        let name = match document {
            Document::Rule(rule) => rule.name.as_deref(),
            Document::Correlation(correlation) => correlation.name.as_deref(),
            Document::Filter(_) => None,
        };
        for reference in document.id().into_iter().chain(name) {
            let Some(other) = first.get(reference) else {
                first.insert(reference, document);
                continue;
            };
            let message = format!("`{reference}` is already the id or name of another document");
            let place = format!("{}:{}", other.file(), other.span().line);
            let diagnostic = Diagnostic::error(Code::DuplicateId, document.span(), message)
                .with_help(format!("the other is \"{}\" at {place}", other.title()))
                .in_file(document.file());
            found.push(diagnostic);
        }
    }
}

fn unknown_fields(rule: &Rule, options: &LintOptions, found: &mut Vec<Diagnostic>) {
    let event = triple(&rule.logsource);
    let known: Vec<&BTreeSet<String>> = options
        .fields
        .iter()
        .filter(|(logsource, _)| feeds(logsource, event))
        .map(|(_, fields)| fields)
        .collect();
    if known.is_empty() {
        return;
    }
    rule.for_each_item(|item| {
        let Some(field) = &item.field else { return };
        if known.iter().any(|fields| fields.contains(field)) {
            return;
        }
        let message = format!("`{}` has no field `{field}` that is known", rule.logsource);
        let mut diagnostic =
            Diagnostic::new(Severity::Warning, Code::UnknownField, item.span, message);
        let names = known.iter().flat_map(|fields| fields.iter().map(String::as_str));
        if let Some(near) = suggest::nearest(field, names) {
            diagnostic = diagnostic.with_help(format!("did you mean `{near}`?"));
        }
        found.push(diagnostic);
    });
}

fn never_fed(rule: &Rule, options: &LintOptions, found: &mut Vec<Diagnostic>) {
    let Some(sources) = &options.sources else { return };
    if sources.iter().any(|source| feeds(&rule.logsource, triple(source))) {
        return;
    }
    let message = format!("no configured source feeds `{}`", rule.logsource);
    found.push(Diagnostic::warning(Code::NeverFed, rule.span, message));
}

fn triple(logsource: &Logsource) -> (Option<&str>, Option<&str>, Option<&str>) {
    (logsource.product.as_deref(), logsource.category.as_deref(), logsource.service.as_deref())
}
