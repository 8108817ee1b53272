//! `/rules`: what is looked for, and one rule with its text and what it found.

use std::collections::HashMap;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use detection::RuleBook;
use event::{Level, Timestamp};
use indexing::{Answer, Kinds};
use query::{Cell, TimeRange};
use serde::Deserialize;
use sigma::Severity;

use super::listing::{grouped, plural};
use super::view::{AlertRow, Fact, threat_fact};
use super::{Link, failed, link, not_found, render};
use crate::rulebook::{self, Entry};
use crate::search::{Ask, Found, term};
use crate::server::Context;

/// Rules on one page.
const RULES_SHOWN: usize = 200;

/// Over how long alerts are counted, as a query's age and in nanoseconds.
const COUNTED: (&str, i64) = ("7d", 7 * 86_400 * 1_000_000_000);

/// Refused rules that are shown whole; the number is told in any case.
const REFUSED_SHOWN: usize = 100;

/// Alerts on a rule's page.
const ALERTS_SHOWN: usize = 20;

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Params {
    q: String,
    level: String,
    from: String,
}

#[derive(Template)]
#[template(path = "rules.html")]
struct Rules {
    q: String,
    levels: Vec<Choice>,
    summary: String,
    rules: Vec<RuleRow>,
    more: Option<String>,
    refused: Vec<String>,
    refused_summary: String,
}

impl Rules {
    fn page(&self) -> &'static str {
        "rules"
    }
}

struct Choice {
    value: &'static str,
    label: &'static str,
    selected: bool,
}

struct RuleRow {
    href: String,
    level: &'static str,
    title: String,
    reads: String,
    techniques: String,
    alerts: Option<Link>,
}

#[derive(Template)]
#[template(path = "rule.html")]
struct Rule {
    level: &'static str,
    title: String,
    description: String,
    facts: Vec<Fact>,
    falsepositives: Vec<String>,
    source: Option<String>,
    advice: Vec<String>,
    alerts: Vec<AlertRow>,
    alerts_summary: String,
    all_alerts: String,
}

impl Rule {
    fn page(&self) -> &'static str {
        "rules"
    }
}

/// The list.
pub(super) async fn list(State(context): State<Context>, Query(params): Query<Params>) -> Response {
    let counts = match context.searches.ask(alerts_by_rule()).await {
        Ok(found) => counted(&found),
        Err(error) => return failed(&error),
    };
    let book = context.app.rules.current();
    let wanted = params.q.trim().to_lowercase();
    let level: Option<Level> = params.level.parse().ok();
    let mut entries = rulebook::entries(&book);
    let all = entries.len() as u64;
    entries.retain(|entry| {
        level.is_none_or(|level| entry.reference.level == level)
            && (wanted.is_empty() || entry.mentions(&wanted))
    });
    entries.sort_by(|a, b| {
        let key = |entry: &Entry<'_>| std::cmp::Reverse(entry.reference.level);
        key(a).cmp(&key(b)).then_with(|| a.reference.title.cmp(&b.reference.title))
    });
    let from: usize = params.from.parse().unwrap_or(0);
    let next = from.saturating_add(RULES_SHOWN);
    let more = (entries.len() > next).then(|| {
        let from = next.to_string();
        let pairs = [("q", params.q.as_str()), ("level", params.level.as_str()), ("from", &from)];
        link::with("/rules", &pairs)
    });
    let refused = book.diagnostics().iter().filter(|d| d.severity == Severity::Error);
    let refused_count = refused.clone().count() as u64;
    let summary = if entries.len() as u64 == all {
        plural(all, "rule", "rules")
    } else {
        format!("{} of {}", grouped(entries.len() as u64), plural(all, "rule", "rules"))
    };
    let rows =
        entries.iter().skip(from).take(RULES_SHOWN).map(|entry| RuleRow::new(entry, &counts));
    let any = Choice { value: "", label: "any level", selected: level.is_none() };
    let levels = Level::ALL.iter().rev().map(|each| Choice {
        value: each.as_str(),
        label: each.as_str(),
        selected: level == Some(*each),
    });
    render(&Rules {
        rules: rows.collect(),
        levels: std::iter::once(any).chain(levels).collect(),
        summary,
        more,
        refused: refused.take(REFUSED_SHOWN).map(|d| d.render(book.source(&d.file))).collect(),
        refused_summary: plural(refused_count, "fault keeps", "faults keep")
            + " rules from being used",
        q: params.q,
    })
}

impl RuleRow {
    fn new(entry: &Entry<'_>, counts: &HashMap<String, u64>) -> RuleRow {
        let reference = entry.reference;
        let alerts = counts
            .get(&reference.id)
            .map(|count| Link::new(grouped(*count), alerts_of(&reference.id)));
        RuleRow {
            href: link::rule(&reference.id),
            level: reference.level.as_str(),
            title: reference.title.clone(),
            reads: entry.reads(),
            techniques: entry.techniques().join(", "),
            alerts,
        }
    }
}

/// The list of a rule's alerts.
fn alerts_of(id: &str) -> String {
    link::query("/alerts", &link::term("rule.id", id), COUNTED.0, "")
}

fn counted_range() -> TimeRange {
    TimeRange { since: Some(Timestamp::now().plus_nanos(-COUNTED.1)), until: None }
}

/// Asks how many alerts each rule made.
fn alerts_by_rule() -> Ask {
    let query = query::parse("* | stats count by rule.id").expect("it is a query");
    let mut ask = Ask::new(query, counted_range());
    ask.kinds = Kinds::Alerts;
    ask
}

fn counted(found: &Found) -> HashMap<String, u64> {
    let Answer::Table(table) = &found.results.answer else { return HashMap::new() };
    let (Some(id), Some(count)) = (table.column("rule.id"), table.column("count")) else {
        return HashMap::new();
    };
    let read = |row: &Vec<Cell>| match (row.get(id)?, row.get(count)?) {
        (id, Cell::Int(count)) => Some((id.to_string(), u64::try_from(*count).ok()?)),
        _ => None,
    };
    table.rows.iter().filter_map(read).collect()
}

/// One rule.
pub(super) async fn one(State(context): State<Context>, Path(id): Path<String>) -> Response {
    let book = context.app.rules.current();
    let Some(entry) = rulebook::find(&book, &id) else {
        return not_found("No rule in force has this id.");
    };
    let query = query::Query { filter: term("rule.id", &entry.reference.id), pipes: Vec::new() };
    let mut ask = Ask::new(query, counted_range());
    ask.kinds = Kinds::Alerts;
    ask.hits = ALERTS_SHOWN;
    let found = match context.searches.ask(ask).await {
        Ok(found) => found,
        Err(error) => return failed(&error),
    };
    let alerts = match &found.results.answer {
        Answer::Hits(hits) => hits.iter().map(|hit| AlertRow::new(&hit.event())).collect(),
        Answer::Table(_) => Vec::new(),
    };
    let reference = entry.reference;
    let advice = book.diagnostics().iter().filter(|d| d.file == reference.file);
    render(&Rule {
        level: reference.level.as_str(),
        title: reference.title.clone(),
        description: reference.description.clone(),
        facts: facts(&entry, &book),
        falsepositives: reference.falsepositives.clone(),
        source: entry.source(&book),
        advice: advice.map(|d| d.render(book.source(&d.file))).collect(),
        alerts,
        alerts_summary: plural(found.results.total, "alert", "alerts") + " in 7 days",
        all_alerts: alerts_of(&reference.id),
    })
}

fn facts(entry: &Entry<'_>, book: &RuleBook) -> Vec<Fact> {
    let reference = entry.reference;
    let label = if entry.parts().is_empty() { "Logsource" } else { "Counts" };
    let mut facts = vec![Fact::text(label, entry.reads())];
    for (label, others) in [("Of the rules", entry.parts()), ("Counted by", entry.read_by())] {
        let links = others.into_iter().map(|other| match rulebook::find(book, other) {
            Some(found) => Link::new(&found.reference.title, link::rule(&found.reference.id)),
            None => Link::new(other, String::new()),
        });
        let links: Vec<Link> = links.collect();
        if !links.is_empty() {
            facts.push(Fact { label: label.into(), links });
        }
    }
    if !entry.makes_alerts() {
        let text = match entry.kind {
            rulebook::Kind::Rule(_) => "none of its own; correlations count its matches",
            rulebook::Kind::Correlation(_) => "none: it does not run, see below",
        };
        facts.push(Fact::text("Alerts", text.to_owned()));
    }
    facts.extend(threat_fact(&entry.threats()));
    let status = entry.status().map(str::to_owned);
    let author = entry.author().map(str::to_owned);
    let date = entry.date().map(str::to_owned);
    for (label, text) in [("Status", status), ("Author", author), ("Changed", date)] {
        facts.extend(text.map(|text| Fact::text(label, text)));
    }
    if !reference.references.is_empty() {
        let links = reference.references.iter().map(|text| {
            // Anything but a web address is shown and not followed.
            let web = text.starts_with("https://") || text.starts_with("http://");
            Link::new(text, if web { text.clone() } else { String::new() })
        });
        facts.push(Fact { label: "References".into(), links: links.collect() });
    }
    if !reference.file.is_empty() {
        facts.push(Fact::text("File", reference.file.clone()));
    }
    facts.push(Fact::text("Id", reference.id.clone()));
    facts
}
