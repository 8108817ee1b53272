//! `/api/v1/status` and `/api/v1/files`: what there is, and how it goes.

use axum::Json;
use axum::extract::State;
use bus::{Bus, BusError, Topic};
use serde::Serialize;
use sigma::Severity;

use super::ApiError;
use crate::files::FileList;
use crate::search::blocking;
use crate::server::Context;

/// The stages and what they read. A stage's name is its consumer group, except that on a cluster
/// each index has one of its own.
const STAGES: [(&str, &[Topic]); 4] = [
    ("normalize", &[Topic::Raw]),
    ("detection", &[Topic::Events]),
    ("correlation", &[Topic::Matches]),
    (INDEXING, &[Topic::Events, Topic::Alerts]),
];

const INDEXING: &str = "indexing";

#[derive(Serialize)]
pub(crate) struct Status {
    ready: bool,
    problems: Vec<String>,
    version: String,
    lag: Vec<Lag>,
    topics: Vec<TopicStatus>,
    partitions: Vec<PartitionStatus>,
    rules: RuleCounts,
}

#[derive(Serialize)]
struct Lag {
    stage: String,
    records: u64,
}

#[derive(Serialize)]
struct TopicStatus {
    topic: String,
    partitions: usize,
    /// How many were ever appended.
    appended: u64,
    /// How many can still be read.
    kept: u64,
    bytes: Option<u64>,
}

#[derive(Serialize)]
struct PartitionStatus {
    name: String,
    documents: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct RuleCounts {
    rules: usize,
    correlations: usize,
    refused: usize,
}

/// The followed files of this process.
pub(crate) async fn files(State(context): State<Context>) -> Json<FileList> {
    Json(FileList { files: (context.app.files)() })
}

/// How the engine does.
pub(crate) async fn status(State(context): State<Context>) -> Result<Json<Status>, ApiError> {
    let app = context.app;
    // The sizes of the index's files are asked from the file system, so this blocks. It takes no
    // turn: when searches pile up is when an operator asks.
    let status = blocking(move || {
        let mut problems = (app.problems)();
        let (lag, topics) =
            bus_status(app.bus.as_ref(), &app.index_group).unwrap_or_else(|error| {
                problems.push(error.to_string());
                Default::default()
            });
        let partitions = app.index.partitions().into_iter().map(|info| PartitionStatus {
            name: info.id.to_string(),
            documents: info.documents,
            bytes: info.bytes,
        });
        let book = app.rules.current();
        let refused = book.diagnostics().iter().filter(|d| d.severity == Severity::Error);
        Status {
            ready: problems.is_empty(),
            problems,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            lag,
            topics,
            partitions: partitions.collect(),
            rules: RuleCounts {
                rules: book.rules().len(),
                correlations: book.correlations().len(),
                refused: refused.count(),
            },
        }
    })
    .await?;
    Ok(Json(status))
}

fn bus_status(bus: &dyn Bus, index_group: &str) -> Result<(Vec<Lag>, Vec<TopicStatus>), BusError> {
    let mut lags = Vec::new();
    for (stage, topics) in STAGES {
        let group = if stage == INDEXING { index_group } else { stage };
        lags.push(Lag { stage: stage.to_owned(), records: bus.lag(group, topics)? });
    }
    let mut all = Vec::new();
    for topic in Topic::ALL {
        let extents = bus.extents(topic)?;
        all.push(TopicStatus {
            topic: topic.to_string(),
            partitions: extents.len(),
            appended: extents.iter().map(|extent| extent.end.0).sum(),
            kept: extents.iter().map(|e| e.end.0.saturating_sub(e.begin.0)).sum(),
            bytes: extents.iter().map(|extent| extent.bytes).sum(),
        });
    }
    Ok((lags, all))
}
