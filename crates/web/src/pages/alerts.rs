//! `/alerts`: the list, and one alert with why it fired, its events and its rule.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use event::{Event, MatchedField, Threat, Value};
use indexing::{Answer, Kinds};

use super::histogram::{Chart, short};
use super::listing::{Facet, Form, Params, Place, plural};
use super::view::{AlertRow, Fact, Hit, around, threat_fact};
use super::{Link, failed, link, not_found, render};
use crate::api::alerts::Alert;
use crate::rulebook;
use crate::search::{Found, SearchError};
use crate::server::Context;

const PATH: &str = "/alerts";
const PLACEHOLDER: &str = "watchpost.alert.level:(high or critical) and host.name:ws-*";

const FACETS: [&str; 7] = [
    "watchpost.alert.level",
    "rule.name",
    "host.name",
    "user.name",
    "source.ip",
    "threat.tactic.name",
    "threat.technique.id",
];

#[derive(Template)]
#[template(path = "alerts.html")]
struct Alerts {
    form: Form,
    notes: Vec<String>,
    chart: Option<Chart>,
    facets: Vec<Facet>,
    summary: String,
    alerts: Vec<AlertRow>,
    first: Option<String>,
    more: Option<String>,
}

impl Alerts {
    fn page(&self) -> &'static str {
        "alerts"
    }
}

#[derive(Template)]
#[template(path = "alert.html")]
struct Detail {
    alert: AlertRow,
    around: Vec<Link>,
    facts: Vec<Fact>,
    matched: Vec<MatchedField>,
    events_summary: String,
    events: Vec<Hit>,
    others: Vec<Link>,
    rule: Option<RuleView>,
}

impl Detail {
    fn page(&self) -> &'static str {
        "alerts"
    }
}

/// What an alert's page shows of its rule, as it is now.
struct RuleView {
    href: String,
    file: String,
    description: String,
    falsepositives: Vec<String>,
    source: Option<String>,
}

/// The list.
pub(super) async fn list(State(context): State<Context>, Query(params): Query<Params>) -> Response {
    let place = match Place::read(PATH, &params) {
        Ok(place) => place,
        Err(error) => return wrong(&params, &error),
    };
    if !place.query.pipes.is_empty() {
        let text = "the list of alerts takes a filter without pipes; the API's search counts alerts with kind=alerts";
        return wrong(&params, &SearchError::Request(text.into()));
    }
    let ask = match place.ask(Kinds::Alerts, &FACETS) {
        Ok(ask) => ask,
        Err(error) => return wrong(&params, &error),
    };
    match context.searches.ask(ask).await {
        Ok(found) => render(&Alerts::new(&place, found)),
        Err(error) => failed(&error),
    }
}

fn wrong(params: &Params, error: &SearchError) -> Response {
    let page = Alerts {
        form: Form::new(PATH, PLACEHOLDER, params, Some(error)),
        notes: Vec::new(),
        chart: None,
        facets: Vec::new(),
        summary: String::new(),
        alerts: Vec::new(),
        first: None,
        more: None,
    };
    (StatusCode::BAD_REQUEST, render(&page)).into_response()
}

impl Alerts {
    fn new(place: &Place<'_>, found: Found) -> Alerts {
        let results = found.results;
        let alerts = match &results.answer {
            Answer::Hits(hits) => hits.iter().map(|hit| AlertRow::new(&hit.event())).collect(),
            // There are no pipes that would make one.
            Answer::Table(_) => Vec::new(),
        };
        let total = plural(results.total, "alert", "alerts");
        Alerts {
            form: Form::new(PATH, PLACEHOLDER, place.params, None),
            notes: super::listing::notes(found.notes, &found.hints),
            chart: place.chart(results.histogram.as_ref()),
            facets: place.facets(&results.facets),
            summary: format!("{total} · {} ms", results.took.as_millis()),
            alerts,
            first: place.first(),
            more: place.next(found.next),
        }
    }
}

/// One alert.
pub(super) async fn one(State(context): State<Context>, Path(id): Path<String>) -> Response {
    let hit = match context.searches.get(id).await {
        Ok(hit) => hit,
        Err(error) => return failed(&error),
    };
    let alert = hit
        .and_then(|hit| serde_json::from_str(&hit.json).ok())
        .and_then(|json: serde_json::Value| Alert::read(&json));
    let Some(alert) = alert else {
        return not_found("There is no alert with this id; it may have been removed by its age.");
    };
    let event = &alert.event;
    let book = context.app.rules.current();
    let rule = rulebook::find(&book, event.str("rule.id").unwrap_or_default());
    let rule = rule.map(|entry| RuleView {
        href: link::rule(&entry.reference.id),
        file: entry.reference.file.clone(),
        description: entry.reference.description.clone(),
        falsepositives: entry.reference.falsepositives.clone(),
        source: entry.source(&book),
    });
    let count = event.get("watchpost.alert.event_count").and_then(Value::as_int);
    let count = count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0);
    let shown = alert.evidence.len();
    let mut events_summary = plural(count, "event", "events");
    if count > shown as u64 {
        events_summary.push_str(&format!("; the newest {shown} are shown"));
    }
    let others = alert.event_ids.iter().rev();
    let others = others.filter(|id| alert.evidence.iter().all(|shown| shown.id != **id));
    render(&Detail {
        around: around(event),
        facts: facts(event),
        events: alert
            .evidence
            .iter()
            .map(|evidence| Hit {
                href: link::event(&evidence.id),
                ..Hit::new(&crate::search::event_of(&evidence.event))
            })
            .collect(),
        others: others.map(|id| Link::new(id, link::event(id))).collect(),
        events_summary,
        rule,
        alert: AlertRow::new(event),
        matched: alert.matched,
    })
}

/// What is known of an alert besides its reason.
fn facts(event: &Event) -> Vec<Fact> {
    let mut facts = Vec::new();
    if let Some(time) = event.timestamp() {
        facts.push(Fact::text("When", format!("{} UTC", short(time))));
    }
    let groups: Vec<Link> = event
        .values("watchpost.alert.group")
        .filter_map(Value::as_str)
        .map(|group| Link::new(group, group_events(event, group).unwrap_or_default()))
        .collect();
    let counted = !groups.is_empty();
    if counted {
        facts.push(Fact { label: "Counted by".into(), links: groups });
    }
    let named = [
        ("Host", "host.name"),
        ("User", "user.name"),
        ("Source", "source.ip"),
        ("Destination", "destination.ip"),
        ("Account", "cloud.account.id"),
    ];
    let mut buffer = String::new();
    for (label, path) in named {
        let links: Vec<Link> = event
            .values(path)
            .filter_map(|value| value.text(&mut buffer).map(str::to_owned))
            .map(|text| {
                let query = link::term(path, &text);
                Link { href: link::query(PATH, &query, "7d", ""), label: text }
            })
            .collect();
        if !links.is_empty() {
            // Of a correlation's events, the alert has these of the last one only.
            let label = if counted { format!("{label}, last") } else { label.to_owned() };
            facts.push(Fact { label, links });
        }
    }
    let threats: Vec<Threat> =
        event.values("tags").filter_map(Value::as_str).filter_map(Threat::from_tag).collect();
    facts.extend(threat_fact(&threats));
    if let Some(created) = event.time("event.created") {
        let mut text = format!("{} UTC", short(created));
        if let Some(received) = event.time("watchpost.alert.received") {
            let nanos = created.as_nanos().saturating_sub(received.as_nanos());
            let ms = nanos.max(0) / 1_000_000;
            text.push_str(&format!(", {ms} ms after its last event arrived"));
        }
        facts.push(Fact::text("Made", text));
    }
    for (label, path) in [("Namespace", "data_stream.namespace"), ("Id", "event.id")] {
        if let Some(text) = event.str(path) {
            facts.push(Fact::text(label, text.to_owned()));
        }
    }
    facts
}

/// The events of a correlation's group (`field=value`), an hour before and after.
fn group_events(event: &Event, group: &str) -> Option<String> {
    let (field, value) = group.split_once('=')?;
    let (since, until) = link::around(event.timestamp()?, 60);
    Some(link::query("/search", &link::term(field, value), &since, &until))
}
