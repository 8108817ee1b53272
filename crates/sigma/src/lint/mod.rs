//! Advice about rules that load: what is probably not meant, what costs, what is missing.
//!
//! Each lint is a small function over one document, in one of four files: what the attributes say
//! (`metadata`), how the detection is written (`writing`), what it means once resolved (`meaning`),
//! and what it expects of its logs (`sources`). Lints about several documents at once are here. Errors mean that the set should
//! not go into production as it is; warnings, that a rule may not do what its author thinks; notes
//! are worth knowing.

mod meaning;
mod metadata;
mod sources;
mod writing;

use std::collections::{BTreeSet, HashMap};

use crate::correlation::check_references;
use crate::diagnostic::{Code, Diagnostic};
use crate::documents::Document;
use crate::rule::Logsource;
use crate::taxonomy::KnownFields;

/// What is asked of [`lint`].
#[derive(Debug, Clone, Default)]
pub struct LintOptions {
    /// Codes that are not reported.
    pub silenced: BTreeSet<Code>,
    /// The native fields that logsources are known to have, as [`crate::taxonomy::fields`] lists
    /// them. A rule whose logsource covers none of these is not checked for unknown fields.
    pub fields: Vec<KnownFields>,
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
                sources::all(rule, options, &mut found);
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
