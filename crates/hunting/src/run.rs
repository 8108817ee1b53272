//! Runs a hunt.
//!
//! Every search tells whether its answer is whole, and that is carried along: a step whose answer
//! is not whole holds only if it found enough and more data could not take that away; a step that
//! uses the values of such a step is not whole either. Data that a need misses makes all steps so.
//! What is then still known goes through the expressions of the hunt, see [`Expression`].

use std::time::{Duration, Instant};

use event::Timestamp;
use indexing::{Answer, Hit, Partial, Results, Search, SearchRequest};
use query::{Aggregate, Cell, Filter, Function, Pipe, Query, SortKey, Stats, TimeRange, cells};

use crate::hunt::{Expect, Hunt, Need, Step};
use crate::report::{
    Check, CheckKind, Evidence, NeedReport, Report, StepReport, Substitution, Verdict,
};
use crate::shape::{grouped, on_events, only_grows};
use crate::template::{Reference, Written};
use crate::values::{Values, has_value};

/// How much a hunt may cost.
#[derive(Debug, Clone)]
pub struct Limits {
    /// What each search may cost.
    pub search: indexing::Limits,
    /// The longest time of all searches together.
    pub time: Duration,
    /// The most values of a column that a later step is given.
    pub values: usize,
    /// The most events or rows of each step that the report shows.
    pub evidence: usize,
    /// The most event ids for each row that the report shows; each row costs a search.
    pub row_events: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            search: indexing::Limits::default(),
            time: Duration::from_secs(300),
            values: 1000,
            evidence: 10,
            row_events: 3,
        }
    }
}

/// Into how many parts the searched time is cut to see whether a source was there all along. A
/// source that was silent for a day shows in a month.
const COVERAGE_PARTS: usize = 24;

/// The fields that tell an analyst most about an event.
const SHOWN_FIELDS: [&str; 10] = [
    "host.name",
    "user.name",
    "source.ip",
    "event.code",
    "event.action",
    "event.outcome",
    "process.name",
    "process.command_line",
    "file.path",
    "message",
];

/// The most fields of an event that the report shows.
const SHOWN_FIELDS_MAX: usize = 6;

/// The most characters of a field's value that the report shows.
const SHOWN_CHARS_MAX: usize = 200;

/// Runs a hunt over the events of a range of time; `now` is written into the report, and time
/// after it is not expected to have events.
pub fn run(
    hunt: &Hunt,
    searcher: &dyn Search,
    range: TimeRange,
    now: Timestamp,
    limits: &Limits,
) -> Report {
    let started = Instant::now();
    let mut run = Run {
        hunt,
        searcher,
        range,
        now,
        limits,
        deadline: started.checked_add(limits.time).unwrap_or(started),
        done: Vec::new(),
    };
    let (events, cut_short) = run.events();
    let needs: Vec<NeedReport> = hunt.needs.iter().map(|need| run.need(need)).collect();
    let data_is_there = events > 0 && needs.iter().all(|need| need.ok);
    for step in &hunt.steps {
        let done = run.step(step, data_is_there);
        run.done.push(done);
    }
    let (verdict, reason) = run.verdict(events, &cut_short, &needs);
    Report {
        id: hunt.id.clone(),
        title: hunt.title.clone(),
        file: hunt.file.clone(),
        hypothesis: hunt.hypothesis.clone(),
        tags: hunt.tags.iter().map(|tag| tag.text.clone()).collect(),
        techniques: hunt.techniques(),
        tactics: hunt.tactics(),
        run_at: now,
        range: range.into(),
        events,
        verdict,
        reason,
        needs,
        steps: run.done.into_iter().map(|done| done.report).collect(),
        next: hunt.next.clone(),
        took_ms: millis(started.elapsed()),
    }
}

struct Run<'r> {
    hunt: &'r Hunt,
    searcher: &'r dyn Search,
    range: TimeRange,
    now: Timestamp,
    limits: &'r Limits,
    deadline: Instant,
    done: Vec<Done>,
}

/// A step that was taken.
struct Done {
    report: StepReport,
    /// The query that was run, and its answer; `None` if it did not run.
    ran: Option<(Query, Answer)>,
    /// Whether more data could only add to what it found.
    grows: bool,
}

impl Run<'_> {
    fn search(&self, query: &Query, tweak: impl FnOnce(&mut SearchRequest<'_>)) -> Results {
        let mut request = SearchRequest::new(query);
        request.range = self.range;
        request.limits = self.limits.search.clone();
        let left = self.deadline.saturating_duration_since(Instant::now());
        request.limits.time = request.limits.time.min(left);
        request.limits.hits = 0;
        tweak(&mut request);
        self.searcher.search(&request)
    }

    /// How many events there are at all, and why there may be more.
    fn events(&self) -> (u64, Vec<String>) {
        let results = self.search(&Query { filter: Filter::All, pipes: Vec::new() }, |_| {});
        let mut incomplete = Vec::new();
        note(&mut incomplete, &results.partial);
        (results.total, incomplete)
    }

    fn need(&self, need: &Need) -> NeedReport {
        let mut checks = Vec::new();
        let mut incomplete = Vec::new();
        let results = self.search(&need.query, |_| {});
        let total = results.total;
        note(&mut incomplete, &results.partial);
        let mut check = |kind, field: Option<&str>, wanted: Cell, found: Cell| {
            let ok = found >= wanted;
            checks.push(Check { kind, field: field.map(str::to_owned), wanted, found, ok });
        };
        check(CheckKind::Events, None, count(need.min_events), count(total));
        for (field, share) in &need.fields {
            let mut query = need.query.clone();
            let exists = query::parse(&format!("\"{}\":*", escaped(field)));
            let Ok(exists) = exists else { continue };
            query.filter = Filter::and(vec![query.filter, exists.filter]);
            let results = self.search(&query, |_| {});
            note(&mut incomplete, &results.partial);
            let found = if total == 0 { 0.0 } else { results.total as f64 / total as f64 };
            check(CheckKind::Filled, Some(field), Cell::number(*share), Cell::number(found));
        }
        for (field, least) in &need.distinct {
            let function = Function::Distinct;
            let name = "values".to_owned();
            let aggregates = vec![Aggregate { function, field: Some(field.clone()), name }];
            let mut query = need.query.clone();
            query.pipes = vec![Pipe::Stats(Stats { aggregates, by: Vec::new() })];
            let results = self.search(&query, |_| {});
            note(&mut incomplete, &results.partial);
            let found = match &results.answer {
                Answer::Table(table) => table.rows.first().and_then(|row| row.first()).cloned(),
                Answer::Hits(_) => None,
            };
            let found = found.unwrap_or(Cell::Int(0));
            check(CheckKind::Distinct, Some(field), count(*least), found);
        }
        if let Some(share) = need.covers {
            let results = self.search(&need.query, |request| {
                // What is still to come cannot have events, and a silence up to now is one.
                let range = &mut request.range;
                let is_past = range.since.is_some_and(|since| since < self.now);
                if is_past && range.until.is_none_or(|until| self.now < until) {
                    range.until = Some(self.now);
                }
                request.histogram = Some(COVERAGE_PARTS);
            });
            note(&mut incomplete, &results.partial);
            let counts = results.histogram.map(|histogram| histogram.counts).unwrap_or_default();
            let covered = counts.iter().filter(|count| **count > 0).count();
            let found = if counts.is_empty() { 0.0 } else { covered as f64 / counts.len() as f64 };
            check(CheckKind::Covered, None, Cell::number(share), Cell::number(found));
        }
        let ok = checks.iter().all(|check| check.ok);
        NeedReport { title: need.title.clone(), query: need.text.clone(), ok, checks, incomplete }
    }

    fn step(&self, step: &Step, data_is_there: bool) -> Done {
        let started = Instant::now();
        let mut done = self.taken(step);
        let report = &mut done.report;
        let enough = report.found >= step.min_rows;
        let is_whole = data_is_there && report.incomplete.is_empty();
        let is_known = is_whole || (enough && done.grows);
        report.holds = is_known.then_some(enough == (step.expect == Expect::Some));
        report.took_ms = millis(started.elapsed());
        done
    }

    /// Takes a step, apart from what that means.
    fn taken(&self, step: &Step) -> Done {
        let template = &step.query;
        let mut done = Done {
            report: StepReport {
                id: step.id.clone(),
                title: step.title.clone(),
                query: template.text.clone(),
                holds: None,
                found: 0,
                min_rows: step.min_rows,
                expect: step.expect,
                events: 0,
                substituted: Vec::new(),
                columns: Vec::new(),
                rows: Vec::new(),
                row_events: Vec::new(),
                evidence: Vec::new(),
                incomplete: Vec::new(),
                notes: Vec::new(),
                took_ms: 0,
            },
            ran: None,
            grows: template.only_grows(),
        };
        let report = &mut done.report;
        let mut texts = Vec::new();
        for reference in &template.references {
            let written = self.written(reference, template.bytes_max(), report);
            done.grows &= self.done.get(reference.step).is_some_and(|former| former.grows);
            texts.push(written.text);
        }
        report.query = template.filled(&texts);
        let empty: Vec<bool> = report.substituted.iter().map(|given| given.used == 0).collect();
        if template.finds_nothing(&|n| empty.get(n) == Some(&true)) {
            let names = report.substituted.iter().filter(|given| given.used == 0);
            let names: Vec<String> = names.map(|given| format!("`{}`", given.reference)).collect();
            report.query.clone_from(&template.text);
            report.notes.push(format!("not run: there is no {} to look for", names.join(", ")));
            return done;
        }
        let query = match query::parse(&report.query) {
            Ok(query) => query,
            Err(error) => {
                report.incomplete.push(format!("the query could not be read: {error}"));
                return done;
            }
        };
        done.grows &= only_grows(&query);
        let results = self.search(&query, |request| request.limits.hits = self.limits.evidence);
        note(&mut report.incomplete, &results.partial);
        report.events = results.total;
        match &results.answer {
            Answer::Hits(hits) => {
                let (_, rest) = on_events(&query);
                report.found = if rest.is_empty() { results.total } else { size(hits.len()) };
                report.evidence = hits.iter().take(self.limits.evidence).map(evidence).collect();
            }
            Answer::Table(table) => {
                // `stats count` has a row even of nothing.
                report.found = if results.total == 0 { 0 } else { size(table.rows.len()) };
                report.columns.clone_from(&table.columns);
                if report.found > 0 {
                    report.rows = table.rows.iter().take(self.limits.evidence).cloned().collect();
                }
                let rows_max = self.limits.search.rows;
                let listed = matches!(on_events(&query).1.first(), Some(Pipe::Fields(_)));
                if listed && table.rows.len() >= rows_max && results.total > size(rows_max) {
                    note(&mut report.incomplete, &[Partial::Rows(rows_max)]);
                }
                report.row_events = self.row_events(&query, report);
            }
        }
        done.ran = Some((query, results.answer));
        done
    }

    /// The values of a reference, and what is to be said of them.
    fn written(&self, reference: &Reference, bytes_max: usize, report: &mut StepReport) -> Written {
        let Some(former) = self.done.get(reference.step) else {
            return Written::new(&Values::default(), 0, 0);
        };
        let id = &former.report.id;
        let name = format!("{id}.{}", reference.column);
        let (values, more) = self.values(former, &reference.column);
        for reason in more {
            push_once(&mut report.incomplete, format!("the values of `{name}`: {reason}"));
        }
        for reason in &former.report.incomplete {
            // What it has from a step before it says so already.
            let reason = match reason.starts_with("in `") {
                true => reason.clone(),
                false => format!("in `{id}`: {reason}"),
            };
            push_once(&mut report.incomplete, reason);
        }
        let written = Written::new(&values, self.limits.values, bytes_max);
        if written.used < written.of {
            let (used, of) = (written.used, written.of);
            push_once(
                &mut report.incomplete,
                format!("only {used} of the {of} values of `{name}` were used"),
            );
        }
        report.substituted.push(Substitution {
            reference: name,
            used: written.used,
            of: written.of,
        });
        written
    }

    /// The different values of a column, the most frequent first where that is known, and why
    /// there may be more.
    fn values(&self, former: &Done, column: &str) -> (Values, Vec<String>) {
        let mut values = Values::default();
        let mut incomplete = Vec::new();
        let Some((query, answer)) = &former.ran else { return (values, incomplete) };
        if former.report.found == 0 {
            return (values, incomplete);
        }
        match answer {
            Answer::Table(table) => {
                if let Some(at) = table.column(column) {
                    table.rows.iter().filter_map(|row| row.get(at)).for_each(|c| values.add(c));
                }
            }
            // Not all events are in the answer, so the index is asked for the values of all.
            Answer::Hits(_) if on_events(query).1.is_empty() => {
                let name = "count".to_owned();
                let sort = SortKey { field: name.clone(), descending: true };
                let count = Aggregate { function: Function::Count, field: None, name };
                let stats = Stats { aggregates: vec![count], by: vec![column.to_owned()] };
                let mut query = query.clone();
                query.pipes.extend([Pipe::Stats(stats), Pipe::Sort(vec![sort])]);
                let results = self.search(&query, |_| {});
                note(&mut incomplete, &results.partial);
                if let Answer::Table(table) = &results.answer {
                    table.rows.iter().filter_map(|row| row.first()).for_each(|c| values.add(c));
                }
            }
            Answer::Hits(hits) => {
                for hit in hits {
                    cells(&hit.event(), column).iter().for_each(|cell| values.add(cell));
                }
            }
        }
        (values, incomplete)
    }

    /// For each row that is shown, the ids of the newest events behind it.
    fn row_events(&self, query: &Query, report: &StepReport) -> Vec<Vec<String>> {
        if self.limits.row_events == 0 {
            return Vec::new();
        }
        let Some(grouped) = grouped(query) else { return Vec::new() };
        let column = |field| report.columns.iter().position(|column| column == field);
        let at: Option<Vec<usize>> = grouped.by.iter().map(column).collect();
        let Some(at) = at else { return Vec::new() };
        let of_row = |row: &Vec<Cell>| -> Option<Vec<String>> {
            let mut filters = vec![grouped.filter.clone()];
            for (field, at) in grouped.by.iter().zip(&at) {
                filters.push(has_value(field, row.get(*at)?)?);
            }
            let query = Query { filter: Filter::and(filters), pipes: Vec::new() };
            let results =
                self.search(&query, |request| request.limits.hits = self.limits.row_events);
            match results.answer {
                Answer::Hits(hits) => Some(hits.iter().map(|hit| evidence(hit).id).collect()),
                Answer::Table(_) => None,
            }
        };
        report.rows.iter().map(|row| of_row(row).unwrap_or_default()).collect()
    }

    fn verdict(
        &self,
        events: u64,
        cut_short: &[String],
        needs: &[NeedReport],
    ) -> (Verdict, String) {
        let holds = |step: usize| self.done.get(step).and_then(|done| done.report.holds);
        let supported = self.hunt.supported_when.evaluate(&holds);
        let refuted = match &self.hunt.refuted_when {
            Some(expression) => expression.evaluate(&holds),
            None => supported.map(|value| !value),
        };
        let mut used = self.hunt.supported_when.steps();
        used.extend(self.hunt.refuted_when.iter().flat_map(|expression| expression.steps()));
        used.sort_unstable();
        used.dedup();
        let used: Vec<&StepReport> =
            used.into_iter().filter_map(|n| self.done.get(n)).map(|done| &done.report).collect();
        let doubts = doubts(events, cut_short, needs, &used);
        let found = used
            .iter()
            .map(|step| format!("`{}` found {}", step.id, step.found_words()))
            .collect::<Vec<_>>()
            .join(", ");
        let because = match (supported, refuted) {
            (Some(true), Some(true)) => "`supported_when` and `refuted_when` both hold".to_owned(),
            (Some(true), _) => {
                let although = match doubts.is_empty() {
                    true => String::new(),
                    false => format!(", although {}", doubts.join("; ")),
                };
                return (Verdict::Supported, format!("{found}{although}"));
            }
            (_, Some(true)) if doubts.is_empty() => {
                return (Verdict::Refuted, format!("the data was there, and {found}"));
            }
            _ if doubts.is_empty() => {
                format!("neither `supported_when` nor `refuted_when` holds: {found}")
            }
            _ => doubts.join("; "),
        };
        (Verdict::Inconclusive { because: because.clone() }, because)
    }
}

/// Why what was not found may be there nevertheless.
fn doubts(
    events: u64,
    cut_short: &[String],
    needs: &[NeedReport],
    used: &[&StepReport],
) -> Vec<String> {
    let mut doubts = Vec::new();
    if events == 0 {
        doubts.push(match cut_short.is_empty() {
            true => "there is no event at all in the searched time".to_owned(),
            false => format!("no event was seen: {}", cut_short.join(", ")),
        });
        return doubts;
    }
    for need in needs.iter().filter(|need| !need.ok) {
        let missed = need.checks.iter().filter(|check| !check.ok).map(|check| {
            let (found, wanted) = (check.shown(&check.found), check.shown(&check.wanted));
            format!("{} {found} of at least {wanted}", check.what())
        });
        let missed = missed.collect::<Vec<_>>().join(", ");
        doubts.push(format!("the data it needs was not there: {}: {missed}", need.title));
    }
    for step in used.iter().filter(|step| !step.incomplete.is_empty()) {
        doubts.push(format!("`{}` is not complete: {}", step.id, step.incomplete.join(", ")));
    }
    doubts
}

fn evidence(hit: &Hit) -> Evidence {
    let event = hit.event();
    let mut fields = Vec::new();
    for name in SHOWN_FIELDS {
        let values = cells(&event, name);
        if values.is_empty() || fields.len() == SHOWN_FIELDS_MAX {
            continue;
        }
        let value = Cell::List(values).to_string();
        fields.push((name.to_owned(), crate::report::cut(&value, SHOWN_CHARS_MAX)));
    }
    Evidence { id: event.str("event.id").unwrap_or_default().to_owned(), time: hit.time, fields }
}

fn note(incomplete: &mut Vec<String>, partial: &[Partial]) {
    for reason in partial {
        push_once(incomplete, reason.to_string());
    }
}

/// The most reasons why an answer is not whole that are told; one is enough to make it so.
const REASONS_MAX: usize = 8;

fn push_once(list: &mut Vec<String>, text: String) {
    if list.len() < REASONS_MAX && !list.contains(&text) {
        list.push(text);
    }
}

/// The inside of quotes.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

fn count(number: u64) -> Cell {
    Cell::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

fn size(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
