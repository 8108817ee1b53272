//! `/api/v1/rules`: what is looked for.

use axum::Json;
use axum::extract::{Path, Query, State};
use detection::RuleBook;
use event::Threat;
use serde::{Deserialize, Serialize};
use sigma::{Diagnostic, Severity};

use super::{ApiError, Params};
use crate::rulebook::{self, Entry};
use crate::server::Context;

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RuleParams {
    q: String,
}

#[derive(Serialize)]
pub(crate) struct RuleList {
    total: usize,
    rules: Vec<RuleSummary>,
    refused: Vec<Diagnostic>,
}

#[derive(Serialize)]
struct RuleSummary {
    id: String,
    title: String,
    level: String,
    status: Option<String>,
    kind: String,
    reads: String,
    tactics: Vec<String>,
    techniques: Vec<String>,
    makes_alerts: bool,
    file: String,
}

#[derive(Serialize)]
pub(crate) struct RuleDetail {
    #[serde(flatten)]
    summary: RuleSummary,
    description: String,
    author: Option<String>,
    date: Option<String>,
    tags: Vec<String>,
    references: Vec<String>,
    falsepositives: Vec<String>,
    parts: Vec<String>,
    source: Option<String>,
}

impl RuleSummary {
    fn new(entry: &Entry<'_>) -> Self {
        let reference = entry.reference;
        let tactics = entry.threats().into_iter().filter_map(|threat| match threat {
            Threat::Tactic(name) => Some(name),
            Threat::Technique(_) => None,
        });
        RuleSummary {
            id: reference.id.clone(),
            title: reference.title.clone(),
            level: reference.level.to_string(),
            status: entry.status().map(str::to_owned),
            kind: entry.kind_name().to_owned(),
            reads: entry.reads(),
            tactics: tactics.collect(),
            techniques: entry.techniques(),
            makes_alerts: entry.makes_alerts(),
            file: reference.file.clone(),
        }
    }
}

impl RuleDetail {
    pub(crate) fn new(entry: &Entry<'_>, book: &RuleBook) -> Self {
        let reference = entry.reference;
        RuleDetail {
            summary: RuleSummary::new(entry),
            description: reference.description.clone(),
            author: entry.author().map(str::to_owned),
            date: entry.date().map(str::to_owned),
            tags: reference.tags.clone(),
            references: reference.references.clone(),
            falsepositives: reference.falsepositives.clone(),
            parts: entry.parts().into_iter().map(str::to_owned).collect(),
            source: entry.source(book),
        }
    }
}

/// All rules, or those that mention something.
pub(crate) async fn list(
    State(context): State<Context>,
    params: Params<RuleParams>,
) -> Result<Json<RuleList>, ApiError> {
    let Query(params) = params?;
    let wanted = params.q.trim().to_lowercase();
    let book = context.app.rules.current();
    let rules: Vec<RuleSummary> = rulebook::entries(&book)
        .iter()
        .filter(|entry| wanted.is_empty() || entry.mentions(&wanted))
        .map(RuleSummary::new)
        .collect();
    let refused = book.diagnostics().iter().filter(|d| d.severity == Severity::Error).cloned();
    Ok(Json(RuleList { total: rules.len(), rules, refused: refused.collect() }))
}

/// One rule.
pub(crate) async fn one(
    State(context): State<Context>,
    Path(id): Path<String>,
) -> Result<Json<RuleDetail>, ApiError> {
    let book = context.app.rules.current();
    match rulebook::find(&book, &id) {
        Some(entry) => Ok(Json(RuleDetail::new(&entry, &book))),
        None => Err(ApiError::not_found("no rule in force has this id")),
    }
}
