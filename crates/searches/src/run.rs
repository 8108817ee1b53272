//! One run of a scheduled search: from a window to alerts.

use std::time::Duration;

use event::alert::EVIDENCE_MAX;
use event::{Alert, Evidence, Timestamp};
use indexing::{Answer, Hit, SearchRequest, Searcher};
use query::{Aggregate, At, Bound, Cell, FieldName, FieldTest, Filter, Function, Pipe, Query};
use query::{Stats, Table, Term, Test, TimeRange};

use crate::schedule::Window;
use crate::search::{SavedSearch, Schedule, When};

/// The most alerts of one run: nobody reads more of one question. The rest is counted.
pub const ALERTS_MAX: usize = 100;

/// How much older than its arrival an event may be to be looked at: it bounds the days that are read.
pub const LATE_MAX_NANOS: i64 = 7 * DAY_NANOS;

/// How far in the future the time of an event may be.
const EARLY_MAX_NANOS: i64 = DAY_NANOS;

const DAY_NANOS: i64 = 86_400 * 1_000_000_000;

/// The longest time of one search; it must not hold up the others.
const TIME_MAX: Duration = Duration::from_secs(30);

/// The field with the time of arrival.
const ARRIVAL: &str = "event.ingested";

/// What a run came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// What is to be raised.
    pub alerts: Vec<Alert>,
    /// How many alerts there would be beyond [`ALERTS_MAX`].
    pub left_out: u64,
    /// How many events passed the filter.
    pub total: u64,
    /// Why the answer is not whole; empty if it is.
    pub partial: Vec<String>,
}

/// Asks a search of a window. The ids of its alerts are those of the group and, with `suppress`, the
/// span of time that the window ends in.
pub fn run(
    search: &SavedSearch,
    schedule: &Schedule,
    searcher: &Searcher,
    window: Window,
    now: Timestamp,
) -> Outcome {
    let raise = &schedule.raise;
    let mut query = search.query.clone();
    let counts_groups = raise.when != When::Rows && !raise.group.is_empty();
    if counts_groups {
        let count = Aggregate { function: Function::Count, field: None, name: COUNT.to_owned() };
        let stats = Stats { aggregates: vec![count], by: raise.group.clone() };
        query.pipes.push(Pipe::Stats(stats));
    }
    let asking = Asking { searcher, window };
    let results = asking.ask(&query, EVIDENCE_MAX);
    let mut outcome = Outcome {
        alerts: Vec::new(),
        left_out: 0,
        total: results.total,
        partial: results.partial.iter().map(ToString::to_string).collect(),
    };
    let maker = Maker { search, schedule, window, now };
    let is_part = !outcome.partial.is_empty();
    match (raise.when, results.answer) {
        (When::Count(comparison, bound), Answer::Table(table)) if counts_groups => {
            let Some(at) = table.columns.iter().position(|column| column == COUNT) else {
                return outcome;
            };
            let mut rows: Vec<(u64, &Vec<Cell>)> =
                table.rows.iter().map(|row| (count(row.get(at)), row)).collect();
            rows.retain(|(count, _)| comparison.holds(*count, bound));
            outcome.left_out = rows.len().saturating_sub(ALERTS_MAX) as u64;
            for (count, row) in rows.into_iter().take(ALERTS_MAX) {
                let group = named(&table, row, &raise.group);
                let (events, _) = asking.evidence(&query, &group, &raise.group);
                let of = told(&group);
                let reason = format!("{count} events for {of} ({})", raise.when);
                outcome.alerts.push(maker.alert(group, reason, count, events));
            }
        }
        (When::Count(comparison, _), _) if is_part && comparison.needs_all() => {}
        (When::Count(comparison, bound), answer) => {
            let (found, what, events) = match answer {
                Answer::Table(table) => (table.rows.len() as u64, "rows", Vec::new()),
                Answer::Hits(hits) => {
                    // Pipes such as `dedup` leave fewer than the filter.
                    let all = query.pipes.iter().all(|pipe| matches!(pipe, Pipe::Where(_)));
                    let found = if all { results.total } else { hits.len() as u64 };
                    (found, "events", hits)
                }
            };
            if comparison.holds(found, bound) {
                let reason = format!("{found} {what} ({})", raise.when);
                outcome.alerts.push(maker.alert(Vec::new(), reason, found, events));
            }
        }
        (When::Rows, Answer::Table(table)) => {
            outcome.left_out = table.rows.len().saturating_sub(ALERTS_MAX) as u64;
            let by = grouped_by(&query.pipes);
            for row in table.rows.iter().take(ALERTS_MAX) {
                let group = named(&table, row, &raise.group);
                let (events, count) = asking.evidence(&query, &group, &by);
                let reason = told(&named(&table, row, &table.columns));
                outcome.alerts.push(maker.alert(group, reason, count, events));
            }
        }
        // A query whose answer is no table is refused when it is read.
        (When::Rows, Answer::Hits(_)) => {}
    }
    outcome
}

/// The column of a count by group. No field of an event has this name.
const COUNT: &str = "watchpost.count";

struct Asking<'a> {
    searcher: &'a Searcher,
    window: Window,
}

impl Asking<'_> {
    fn ask(&self, query: &Query, hits: usize) -> indexing::Results {
        let Window { from, to } = self.window;
        let arrived = Filter::Field(FieldTest {
            field: FieldName::new(ARRIVAL),
            test: Test::Range {
                low: Bound::Including(Term::new(from.to_string())),
                high: Bound::Excluding(Term::new(to.to_string())),
            },
            at: At(0),
        });
        let mut request = SearchRequest::new(query);
        request.only = Some(&arrived);
        request.range = TimeRange {
            since: Some(from.plus_nanos(-LATE_MAX_NANOS)),
            until: Some(to.plus_nanos(EARLY_MAX_NANOS)),
        };
        request.limits.hits = hits;
        request.limits.time = TIME_MAX;
        self.searcher.search(&request)
    }

    /// The newest events of a group, and how many it has; none where the query does not group by these
    /// fields of events.
    fn evidence(
        &self,
        query: &Query,
        group: &[(String, String)],
        by: &[String],
    ) -> (Vec<Hit>, u64) {
        let is_field = |name: &String| name != "@timestamp" && by.contains(name);
        if group.is_empty() || !group.iter().all(|(name, _)| is_field(name)) {
            return (Vec::new(), 0);
        }
        let mut filters = vec![query.filter.clone()];
        filters.extend(query.pipes.iter().map_while(|pipe| match pipe {
            Pipe::Where(filter) => Some(filter.clone()),
            Pipe::Sequence(sequence) => Some(sequence.candidates()),
            _ => None,
        }));
        filters.extend(group.iter().map(|(name, value)| Filter::term(name, value)));
        let results =
            self.ask(&Query { filter: Filter::and(filters), pipes: Vec::new() }, EVIDENCE_MAX);
        match results.answer {
            Answer::Hits(hits) => (hits, results.total),
            Answer::Table(_) => (Vec::new(), results.total),
        }
    }
}

struct Maker<'a> {
    search: &'a SavedSearch,
    schedule: &'a Schedule,
    window: Window,
    now: Timestamp,
}

impl Maker<'_> {
    fn alert(
        &self,
        group: Vec<(String, String)>,
        reason: String,
        event_count: u64,
        events: Vec<Hit>,
    ) -> Alert {
        let to = self.window.to;
        let raise = &self.schedule.raise;
        // With `suppress` the next windows give the same id, which is how they are known.
        let span = raise.suppress_nanos.unwrap_or(self.schedule.every_nanos).max(1);
        let span = (to.as_nanos().saturating_sub(1)).div_euclid(span).to_string();
        let mut parts = vec![self.search.id.as_str(), span.as_str()];
        parts.extend(group.iter().map(|(_, value)| value.as_str()));
        let evidence: Vec<Evidence> = events.iter().filter_map(evidence).collect();
        Alert {
            id: Alert::make_id(&parts),
            time: to,
            created: self.now,
            received: to,
            rule: self.search.rule(raise),
            reason,
            namespace: event::raw::NAMESPACE_DEFAULT.to_owned(),
            matched: Vec::new(),
            group,
            event_count,
            event_ids: evidence.iter().rev().map(|event| event.id.clone()).collect(),
            evidence,
        }
    }
}

fn evidence(hit: &Hit) -> Option<Evidence> {
    let id = hit.event().str("event.id")?.to_owned();
    Some(Evidence { id, event: serde_json::from_str(&hit.json).ok()? })
}

fn count(cell: Option<&Cell>) -> u64 {
    match cell {
        Some(Cell::Int(count)) => u64::try_from(*count).unwrap_or(0),
        _ => 0,
    }
}

/// The columns of a row with these names, and their values.
fn named(table: &Table, row: &[Cell], names: &[String]) -> Vec<(String, String)> {
    let value = |name: &String| {
        let at = table.columns.iter().position(|column| column == name)?;
        Some((name.clone(), row.get(at)?.to_string()))
    };
    names.iter().filter_map(value).collect()
}

fn told(named: &[(String, String)]) -> String {
    let each: Vec<String> = named.iter().map(|(name, value)| format!("{name}={value}")).collect();
    each.join(", ")
}

/// The fields of events that a query groups by.
fn grouped_by(pipes: &[Pipe]) -> Vec<String> {
    let by = |pipe: &Pipe| match pipe {
        Pipe::Sequence(sequence) => Some(sequence.by.clone()),
        other => other.grouping().map(|stats| stats.by),
    };
    pipes.iter().find_map(by).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use event::Event;
    use indexing::{Document, Index, Kind, Options};

    use super::*;

    const MINUTE: i64 = 60 * 1_000_000_000;

    /// Failed logons that arrived at these minutes, by user, host and how late.
    fn index(dir: &std::path::Path, events: &[(i64, &str, &str, i64)]) -> Index {
        let index = Index::open(dir, Options { threads: 1, ..Options::default() }).unwrap();
        let mut writer = index.writer("log").unwrap();
        for (n, (minute, user, host, late)) in events.iter().enumerate() {
            let arrived = Timestamp::from_nanos(START + minute * MINUTE);
            let time = arrived.plus_nanos(-late * MINUTE);
            let json = serde_json::json!({
                "@timestamp": time.to_string(),
                "event": {"id": format!("e{n}"), "action": "logon-failed", "ingested": arrived.to_string()},
                "user": {"name": user}, "host": {"name": host},
            });
            let mut event = Event::new();
            event.parse_json(json.to_string().as_bytes()).unwrap();
            let json = event.to_json().into_bytes();
            writer.add(Document { kind: Kind::Events, time, event, json, position: None });
        }
        writer.commit().unwrap();
        index
    }

    /// A whole hour.
    const START: i64 = 1_785_900_000_000_000_000 / (60 * MINUTE) * (60 * MINUTE);

    fn search(more: &str) -> SavedSearch {
        let text = format!("title: Failed logons\n{more}");
        SavedSearch::parse(&text, "failed.yml")
            .unwrap_or_else(|faults| panic!("{}", faults[0].render(Some(&text))))
    }

    fn outcome(search: &SavedSearch, index: &Index, from: i64, to: i64) -> Outcome {
        let at = |minute: i64| Timestamp::from_nanos(START + minute * MINUTE);
        let window = Window { from: at(from), to: at(to) };
        run(search, search.schedule.as_ref().unwrap(), &index.searcher(), window, at(to))
    }

    fn shown(outcome: &Outcome) -> String {
        let alert = |alert: &Alert| {
            let ids = alert.event_ids.join(",");
            format!("{} | {} | {ids} | {:?}", alert.reason, alert.event_count, alert.group)
        };
        outcome.alerts.iter().map(alert).collect::<Vec<_>>().join("\n")
    }

    const EVENTS: &[(i64, &str, &str, i64)] = &[
        (0, "anna", "h1", 0),
        (1, "anna", "h2", 90),
        (4, "anna", "h3", 0),
        (4, "bert", "h1", 0),
        (5, "anna", "h4", 0),
        (7, "bert", "h1", 4),
    ];

    #[test]
    fn a_count_is_of_what_arrived_in_the_window() {
        let dir = tempfile::tempdir().unwrap();
        let index = index(dir.path(), EVENTS);
        let count = search(
            "query: event.action:logon-failed\nschedule: {every: 5m}\nalert: {level: high, when: count > 3}\n",
        );
        let first = outcome(&count, &index, 0, 5);
        assert_eq!(shown(&first), "4 events (count > 3) | 4 | e1,e0,e2,e3 | []");
        assert_eq!((first.total, first.left_out, &first.partial), (4, 0, &vec![]));
        assert_eq!(first, outcome(&count, &index, 0, 5), "again the same, its id too");
        assert_eq!(outcome(&count, &index, 5, 10).alerts, []);
        let none = search(
            "query: event.action:logon\nschedule: {every: 5m}\nalert: {level: low, when: count = 0}\n",
        );
        assert_eq!(outcome(&none, &index, 0, 5).alerts.len(), 1);
    }

    #[test]
    fn groups_and_rows_have_alerts_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let index = index(dir.path(), EVENTS);
        let groups = search(
            "query: event.action:logon-failed\nschedule: {every: 5m}\nalert: {level: high, when: count >= 1, group: user.name}\n",
        );
        insta::assert_snapshot!(shown(&outcome(&groups, &index, 0, 5)), @r#"
        3 events for user.name=anna (count >= 1) | 3 | e1,e0,e2 | [("user.name", "anna")]
        1 events for user.name=bert (count >= 1) | 1 | e3 | [("user.name", "bert")]
        "#);
        let rows = search(
            "query: '* | stats dc(host.name) as hosts by user.name | where hosts >= 2'\nschedule: {every: 5m, over: 10m}\nalert: {level: high, when: rows, group: user.name}\n",
        );
        insta::assert_snapshot!(shown(&outcome(&rows, &index, 0, 10)), @r#"user.name=anna, hosts=4 | 4 | e1,e0,e2,e4 | [("user.name", "anna")]"#);
        let ids = |outcome: Outcome| -> Vec<String> {
            outcome.alerts.into_iter().map(|alert| alert.id).collect()
        };
        assert_ne!(ids(outcome(&rows, &index, 0, 5)), ids(outcome(&rows, &index, 0, 10)));
        let suppressed = search(
            "query: '* | stats dc(host.name) as hosts by user.name | where hosts >= 2'\nschedule: {every: 5m, over: 10m}\nalert: {level: high, when: rows, group: user.name, suppress: 1h}\n",
        );
        assert_eq!(
            ids(outcome(&suppressed, &index, 0, 5)),
            ids(outcome(&suppressed, &index, 0, 10))
        );
    }

    /// The evidence of a sequence are the events of its entity that pass one of its steps.
    #[test]
    fn a_sequence_raises_an_alert_for_each_entity() {
        let dir = tempfile::tempdir().unwrap();
        let index = index(dir.path(), EVENTS);
        let sequence = search(
            "query: '* | sequence by user.name within 10m [host.name:h1] [host.name:h3]'\nschedule: {every: 5m}\nalert: {level: high, when: rows, group: user.name}\n",
        );
        let found = outcome(&sequence, &index, 0, 5);
        let [alert] = found.alerts.as_slice() else { panic!("{}", shown(&found)) };
        assert_eq!(alert.group, [("user.name".to_owned(), "anna".to_owned())]);
        assert_eq!((alert.event_count, alert.event_ids.join(",")), (2, "e0,e2".to_owned()));
    }

    #[test]
    fn a_run_has_a_bounded_number_of_alerts() {
        let dir = tempfile::tempdir().unwrap();
        let users: Vec<String> = (0..ALERTS_MAX + 7).map(|n| format!("u{n}")).collect();
        let events: Vec<_> = users.iter().map(|user| (1, user.as_str(), "h", 0)).collect();
        let index = index(dir.path(), &events);
        let groups = search(
            "query: '*'\nschedule: {every: 5m}\nalert: {level: low, when: count > 0, group: user.name}\n",
        );
        let found = outcome(&groups, &index, 0, 5);
        assert_eq!((found.alerts.len(), found.left_out), (ALERTS_MAX, 7));
    }
}
