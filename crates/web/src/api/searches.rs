//! `/api/v1/searches`: saved searches, and asking one of them.

use axum::Json;
use axum::extract::{Path, Query, State};
use event::Timestamp;
use serde::{Deserialize, Serialize};

use super::search::{SearchAnswer, SearchParams, ask};
use super::{ApiError, Params};
use crate::searches::{LastRun, Saved};
use crate::server::Context;

#[derive(Serialize)]
pub(crate) struct SearchList {
    searches: Vec<SavedInShort>,
    /// What is wrong with the files of others.
    faults: Vec<String>,
}

#[derive(Serialize)]
struct SavedInShort {
    id: String,
    title: String,
    description: String,
    query: String,
    file: String,
    schedule: Option<ScheduleInShort>,
}

#[derive(Serialize)]
struct ScheduleInShort {
    every_s: i64,
    over_s: i64,
    level: &'static str,
    when: String,
    group: Vec<String>,
    suppress_s: Option<i64>,
    /// All windows that end here or before are done.
    until: Option<Timestamp>,
    last_run: Option<LastRun>,
}

/// All of them.
pub(crate) async fn list(State(context): State<Context>) -> Json<SearchList> {
    let list = (context.app.searches)();
    let searches = list.searches.into_iter().map(in_short).collect();
    Json(SearchList { searches, faults: list.faults })
}

fn in_short(saved: Saved) -> SavedInShort {
    const SECOND: i64 = 1_000_000_000;
    let Saved { search, until, last_run } = saved;
    let schedule = search.schedule.map(|schedule| ScheduleInShort {
        every_s: schedule.every_nanos / SECOND,
        over_s: schedule.over_nanos / SECOND,
        level: schedule.raise.level.as_str(),
        when: schedule.raise.when.to_string(),
        group: schedule.raise.group,
        suppress_s: schedule.raise.suppress_nanos.map(|nanos| nanos / SECOND),
        until,
        last_run,
    });
    SavedInShort {
        id: search.id,
        title: search.title,
        description: search.description,
        query: search.text,
        file: search.file,
        schedule,
    }
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RunParams {
    since: Option<String>,
    until: String,
    limit: Option<usize>,
}

/// Asks one, as `/api/v1/search` would.
pub(crate) async fn run(
    State(context): State<Context>,
    Path(id): Path<String>,
    params: Params<RunParams>,
) -> Result<Json<SearchAnswer>, ApiError> {
    let Query(params) = params?;
    let list = (context.app.searches)();
    let found = list.searches.into_iter().find(|saved| saved.search.id == id);
    let saved = found.ok_or_else(|| ApiError::not_found("there is no search with this id"))?;
    let asked = SearchParams::of(saved.search.text, params.since, params.until, params.limit);
    ask(&context, asked).await
}
