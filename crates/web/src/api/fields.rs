//! `/api/v1/fields` and `/api/v1/suggest`: which fields there are, what they hold, and what may come
//! at the cursor of a query that is being written.
//!
//! Names and types come from the index's columns and cost next to nothing. Numbers and values are
//! counted over a range of time, so they are bounded: in the fields that are counted, in the
//! different values that are kept of each, and in time. What is cut off is told in `partial`.

use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use event::Timestamp;
use event::ecs::{Type, field_type};
use indexing::FieldInfo;
use query::{FieldName, FieldTest, Filter, Glob, Piece, Test, TimeRange, Wanted};
use serde::{Deserialize, Serialize};

use super::search::{Counted, SINCE_DEFAULT, counted, kinds};
use super::{ApiError, Params};
use crate::search::{Ask, SearchError};
use crate::server::Context;

/// Fields that are counted, if nothing is said.
const COUNTED_DEFAULT: usize = 50;

/// The most fields that are counted in one call; each costs a pass over its column.
const COUNTED_MAX: usize = 200;

/// The most values of a field.
const VALUES_MAX: usize = 100;

/// The most different values of a field that are counted; about 10 MB.
const DISTINCT_MAX: usize = 100_000;

/// The longest time that counting may take.
const COUNT_TIME_MAX: Duration = Duration::from_secs(10);

/// The most suggestions, and how many if nothing is said.
const SUGGESTIONS_MAX: usize = 100;
const SUGGESTIONS_DEFAULT: usize = 20;

/// The longest time that values are looked for: whoever types does not wait longer.
const SUGGEST_TIME_MAX: Duration = Duration::from_millis(700);

/// The most different values that are looked through for suggestions.
const SUGGEST_DISTINCT_MAX: usize = 20_000;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FieldParams {
    q: String,
    since: String,
    until: String,
    kind: String,
    values: usize,
    limit: Option<usize>,
}

impl Default for FieldParams {
    fn default() -> Self {
        FieldParams {
            q: String::new(),
            since: SINCE_DEFAULT.into(),
            until: String::new(),
            kind: "events".into(),
            values: 0,
            limit: None,
        }
    }
}

#[derive(Serialize)]
pub(crate) struct FieldList {
    fields: Vec<Field>,
    partial: Vec<String>,
}

#[derive(Serialize)]
struct Field {
    name: String,
    types: Vec<&'static str>,
    /// How many events have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<u64>,
    /// How many different values it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    distinct: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<Vec<Counted>>,
}

/// The fields, with what they hold if values are asked for.
pub(crate) async fn fields(
    State(context): State<Context>,
    params: Params<FieldParams>,
) -> Result<Json<FieldList>, ApiError> {
    let Query(params) = params?;
    if params.values > VALUES_MAX {
        return Err(wrong(format!("at most {VALUES_MAX} values of a field are listed")));
    }
    let limit = params.limit.unwrap_or(COUNTED_DEFAULT);
    if limit > COUNTED_MAX {
        return Err(wrong(format!("at most {COUNTED_MAX} fields are counted in one call")));
    }
    let range = TimeRange::parse(&params.since, &params.until, Timestamp::now())
        .map_err(SearchError::Time)?;
    let kinds = kinds(&params.kind)?;
    let mut known = context.searches.fields().await?;
    let part = params.q.to_lowercase();
    known.retain(|field| field.name.to_lowercase().contains(&part));
    let mut list = FieldList { fields: known.iter().map(named).collect(), partial: Vec::new() };
    if params.values == 0 {
        return Ok(Json(list));
    }
    let mut ask = Ask::new(query::Query { filter: Filter::All, pipes: Vec::new() }, range);
    ask.kinds = kinds;
    ask.hits = 0;
    ask.facets = known.iter().take(limit).map(|field| field.name.clone()).collect();
    ask.facet_values = params.values;
    ask.groups = DISTINCT_MAX;
    ask.time = COUNT_TIME_MAX;
    let found = context.searches.ask(ask).await?;
    list.partial = found.notes;
    if list.fields.len() > limit {
        let all = list.fields.len();
        list.partial
            .push(format!("{all} fields were found, and the first {limit} of them counted"));
    }
    for (field, facet) in list.fields.iter_mut().zip(found.results.facets) {
        if !facet.whole {
            let text = format!("{} has more different values than are counted", field.name);
            list.partial.push(text);
        }
        field.events = Some(facet.events);
        field.distinct = facet.distinct;
        field.values = Some(counted(facet.values));
    }
    Ok(Json(list))
}

fn named(field: &FieldInfo) -> Field {
    let (name, types) = (field.name.clone(), field.types.clone());
    Field { name, types, events: None, distinct: None, values: None }
}

fn wrong(text: String) -> ApiError {
    SearchError::Request(text).into()
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SuggestParams {
    q: String,
    cursor: Option<usize>,
    since: String,
    until: String,
    kind: String,
    limit: usize,
}

impl Default for SuggestParams {
    fn default() -> Self {
        SuggestParams {
            q: String::new(),
            cursor: None,
            since: SINCE_DEFAULT.into(),
            until: String::new(),
            kind: "events".into(),
            limit: SUGGESTIONS_DEFAULT,
        }
    }
}

#[derive(Serialize)]
pub(crate) struct SuggestAnswer {
    /// The characters that a choice takes the place of.
    from: usize,
    to: usize,
    suggestions: Vec<Suggestion>,
    partial: Vec<String>,
}

#[derive(Serialize)]
struct Suggestion {
    text: String,
    kind: &'static str,
    about: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
}

/// What may come at the cursor.
pub(crate) async fn suggest(
    State(context): State<Context>,
    params: Params<SuggestParams>,
) -> Result<Json<SuggestAnswer>, ApiError> {
    let Query(params) = params?;
    if params.limit > SUGGESTIONS_MAX {
        return Err(wrong(format!("at most {SUGGESTIONS_MAX} suggestions are given")));
    }
    if params.q.len() > query::QUERY_BYTES_MAX {
        return Err(wrong(format!("the query is longer than {} bytes", query::QUERY_BYTES_MAX)));
    }
    let length = params.q.chars().count();
    let to = params.cursor.unwrap_or(length).min(length);
    let found = query::suggest(&params.q, to);
    let words = found.words.into_iter().map(|word| Suggestion {
        text: word.text,
        kind: word.kind.as_str(),
        about: word.about.to_owned(),
        count: None,
    });
    let mut answer =
        SuggestAnswer { from: found.from, to, suggestions: words.collect(), partial: Vec::new() };
    let typed = query::fold(&found.typed);
    match found.wanted {
        Wanted::Nothing => {}
        Wanted::Columns { names, then } => {
            let fitting = names.iter().filter(|name| query::fold(name).starts_with(&typed));
            answer.suggestions.extend(fitting.map(|name| Suggestion {
                text: format!("{}{then}", query::quoted_if_needed(name)),
                kind: "field",
                about: "column".to_owned(),
                count: None,
            }));
        }
        Wanted::Fields { then } => {
            let known = context.searches.fields().await?;
            answer.suggestions.extend(fitting(&known, &typed).map(|field| Suggestion {
                text: format!("{}{then}", query::quoted_if_needed(&field.name)),
                kind: "field",
                about: about(field),
                count: None,
            }));
        }
        Wanted::Values { field } => {
            let range = TimeRange::parse(&params.since, &params.until, Timestamp::now())
                .map_err(SearchError::Time)?;
            let mut ask = Ask::new(with_prefix(&field, &found.typed), range);
            ask.kinds = kinds(&params.kind)?;
            ask.hits = 0;
            ask.facets = vec![field];
            // An event with several values brings others along, which are left out again.
            ask.facet_values = SUGGESTIONS_MAX;
            ask.groups = SUGGEST_DISTINCT_MAX;
            ask.time = SUGGEST_TIME_MAX;
            let found = context.searches.ask(ask).await?;
            answer.partial = found.notes;
            let values = found.results.facets.into_iter().flat_map(|facet| facet.values);
            answer.suggestions.extend(values.filter_map(|counted| {
                let value = counted.value.to_string();
                query::fold(&value).starts_with(&typed).then(|| Suggestion {
                    text: query::quoted_if_needed(&value),
                    kind: "value",
                    about: String::new(),
                    count: Some(counted.count),
                })
            }));
        }
    }
    answer.suggestions.truncate(params.limit);
    Ok(Json(answer))
}

/// The fields whose names begin with what was typed, then those of which a part does.
fn fitting<'a>(known: &'a [FieldInfo], typed: &'a str) -> impl Iterator<Item = &'a FieldInfo> {
    let begins = move |field: &&FieldInfo| query::fold(&field.name).starts_with(typed);
    let part = format!(".{typed}");
    let has_part = move |field: &&FieldInfo| query::fold(&field.name).contains(&part);
    let others = known.iter().filter(move |field| !begins(field)).filter(has_part);
    known.iter().filter(begins).chain(others)
}

fn about(field: &FieldInfo) -> String {
    match field_type(&field.name) {
        Some(Type::Text) => "text".to_owned(),
        Some(Type::Ip) => "address".to_owned(),
        _ => field.types.join(", "),
    }
}

/// Events of which a value of the field begins like this.
fn with_prefix(field: &str, prefix: &str) -> query::Query {
    let test = Test::Like(Glob::new([Piece::Literal(prefix.to_owned()), Piece::Any]));
    let test = if prefix.is_empty() { Test::Exists } else { test };
    let test = FieldTest { field: FieldName::new(field), test, at: query::At(0) };
    query::Query { filter: Filter::Field(test), pipes: Vec::new() }
}
