//! From the text of a file to a [`SavedSearch`], or to all that is wrong with it.
//!
//! Reading goes on after a fault, so that one `searches check` shows all of them. A search with a fault
//! does not run.

use std::path::{Path, PathBuf};

use event::Level;
use query::{Query, parse_duration};
use sigma::yaml::{self, Key, Kind, Node};
use sigma::{Code, Diagnostic, Span, place, suggest};

use crate::search::{Comparison, Raise, SavedSearch, Schedule, When};

/// The most bytes of a file. A long one has two thousand.
pub const SEARCH_BYTES_MAX: usize = 64 << 10;

/// The most searches of one load; each that is scheduled runs again and again.
const SEARCHES_MAX: usize = 500;

/// The shortest time between two runs: a run waits some seconds for what is on its way.
const EVERY_MIN_NANOS: i64 = 10 * 1_000_000_000;

/// The longest time between two runs, and the longest window.
const OVER_MAX_NANOS: i64 = 7 * 86_400 * 1_000_000_000;

/// The longest time for which a second alert is kept back.
const SUPPRESS_MAX_NANOS: i64 = 30 * 86_400 * 1_000_000_000;

/// The most fields of a group.
const GROUP_MAX: usize = 4;

const KEYS: [&str; 7] = ["title", "id", "description", "tags", "query", "schedule", "alert"];
const SCHEDULE_KEYS: [&str; 2] = ["every", "over"];
const ALERT_KEYS: [&str; 5] = ["title", "level", "when", "group", "suppress"];

/// Searches, and what is wrong with those that are missing among them.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Those without a fault, each id once, in the order of their files.
    pub searches: Vec<SavedSearch>,
    /// The faults of the others.
    pub diagnostics: Vec<Diagnostic>,
}

/// Loads files, and folders recursively (`.yml` and `.yaml`), behind texts that are there already, each
/// with its name.
pub fn load<'t>(texts: impl Iterator<Item = (String, &'t str)>, paths: &[PathBuf]) -> Loaded {
    let mut loaded = Loaded::default();
    for (file, text) in texts {
        loaded.add(text, &file);
    }
    let (files, faults) = sigma::list_files(paths);
    loaded.diagnostics.extend(faults);
    for file in files {
        match sigma::read_file(&file) {
            Ok(text) => loaded.add(&text, &file.to_string_lossy()),
            Err(fault) => loaded.diagnostics.push(fault),
        }
    }
    loaded
}

impl Loaded {
    /// The search with this id.
    pub fn find(&self, id: &str) -> Option<&SavedSearch> {
        self.searches.iter().find(|search| search.id == id)
    }

    fn add(&mut self, text: &str, file: &str) {
        let search = match SavedSearch::parse(text, file) {
            Ok(search) => search,
            Err(faults) => return self.diagnostics.extend(faults),
        };
        let refused = |code, message| Diagnostic::error(code, Span::default(), message);
        if let Some(first) = self.find(&search.id) {
            let message = format!("there is a search with the id `{}` already", search.id);
            let help = format!("it is in {}; give this one an `id`", first.file);
            let fault = refused(Code::DuplicateId, message).with_help(help).in_file(file);
            return self.diagnostics.push(fault);
        }
        if self.searches.len() == SEARCHES_MAX {
            let message = format!("there are more than {SEARCHES_MAX} searches");
            return self.diagnostics.push(refused(Code::TooLarge, message).in_file(file));
        }
        self.searches.push(search);
    }
}

impl SavedSearch {
    /// Reads a search; `file` is its name in diagnostics.
    ///
    /// # Errors
    /// All faults, in the order in which they were met, at least one of them.
    pub fn parse(text: &str, file: &str) -> Result<SavedSearch, Vec<Diagnostic>> {
        let mut reader = Reader { text, faults: Vec::new() };
        let search = if text.len() > SEARCH_BYTES_MAX {
            let message = format!("the file has more than {SEARCH_BYTES_MAX} bytes");
            reader.error(Code::TooLarge, Span::default(), message, "");
            None
        } else {
            reader.document(file)
        };
        match search {
            Some(search) if reader.faults.is_empty() => Ok(search),
            _ => Err(reader.faults.into_iter().map(|fault| fault.in_file(file)).collect()),
        }
    }
}

struct Reader<'t> {
    text: &'t str,
    faults: Vec<Diagnostic>,
}

/// A map of which only certain keys are known.
#[derive(Clone, Copy)]
struct Map<'n> {
    entries: &'n [(Key, Node)],
    span: Span,
    /// What it describes: `a search`.
    of: &'static str,
}

impl<'n> Map<'n> {
    fn get(&self, key: &str) -> Option<&'n Node> {
        let (_, value) = self.entries.iter().find(|(known, _)| known.text == key)?;
        (value.kind != Kind::Null).then_some(value)
    }
}

impl Reader<'_> {
    fn document(&mut self, file: &str) -> Option<SavedSearch> {
        let mut nodes = Vec::new();
        for document in yaml::parse(self.text) {
            match document {
                Ok(node) => nodes.push(node),
                Err(fault) => self.faults.push(fault),
            }
        }
        let Some(node) = nodes.first() else {
            if self.faults.is_empty() {
                self.error(Code::Missing, Span::default(), "the file is empty", "");
            }
            return None;
        };
        if let Some(second) = nodes.get(1) {
            let message = "a file holds one search, and here is a second";
            self.error(Code::TooLarge, second.span, message, "");
        }
        let map = self.map(node, "a search", &KEYS)?;
        let title = self.need(map, "title");
        let id = self.id(map, file);
        let description = self.text(map, "description").unwrap_or_default();
        let tags = self.texts(map, "tags");
        let query = self.query(map);
        let columns = query.as_ref().and_then(|(_, query)| query::columns(&query.pipes));
        let schedule = match (map.get("schedule"), map.get("alert")) {
            (None, None) => None,
            (None, Some(alert)) => {
                let help = "add `schedule: {every: 5m}`";
                self.error(Code::Missing, alert.span, "an alert needs a `schedule`", help);
                None
            }
            (Some(schedule), None) => {
                let help = "add `alert: {level: medium, when: count > 0}`";
                let message = "a search that is scheduled and raises nothing does nothing";
                self.error(Code::Missing, schedule.span, message, help);
                None
            }
            (Some(schedule), Some(alert)) => {
                let times = self.schedule(schedule);
                let has_query = query.is_some();
                let title = title.clone().unwrap_or_default();
                let raise = self.raise(alert, title, columns.as_deref(), has_query);
                match (times, raise) {
                    (Some((every_nanos, over_nanos)), Some(raise)) => {
                        Some(Schedule { every_nanos, over_nanos, raise })
                    }
                    _ => None,
                }
            }
        };
        let (text, query) = query?;
        let (file, id, title) = (file.to_owned(), id?, title?);
        Some(SavedSearch { file, id, title, description, tags, text, query, schedule })
    }

    fn id(&mut self, map: Map<'_>, file: &str) -> Option<String> {
        let Some(node) = map.get("id") else {
            let stem = Path::new(file).file_stem();
            return Some(stem.map_or_else(String::new, |stem| stem.to_string_lossy().into_owned()));
        };
        let id = self.text(map, "id")?;
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if id.is_empty() || !id.chars().all(fine) {
            let message = format!("`{id}` can't be an id");
            self.error(Code::BadId, node.span, message, "use letters, digits, `-`, `_` and `.`");
            return None;
        }
        Some(id)
    }

    fn query(&mut self, map: Map<'_>) -> Option<(String, Query)> {
        let text = self.need(map, "query")?;
        let node = map.get("query")?;
        match query::parse(&text) {
            Ok(query) => Some((text, query)),
            Err(error) => {
                let at = error.column.saturating_sub(1);
                let span = place(self.text, node.span, &text, at, error.length);
                let help = error.help.unwrap_or_default();
                self.error(Code::Query, span, error.message, &help);
                None
            }
        }
    }

    /// `every` and `over`.
    fn schedule(&mut self, node: &Node) -> Option<(i64, i64)> {
        let map = self.map(node, "a schedule", &SCHEDULE_KEYS)?;
        self.need(map, "every")?;
        let every = self.duration(map, "every", EVERY_MIN_NANOS, OVER_MAX_NANOS)?;
        let Some(over) = map.get("over") else { return Some((every, every)) };
        let nanos = self.duration(map, "over", EVERY_MIN_NANOS, OVER_MAX_NANOS)?;
        if nanos < every {
            let message = "`over` is shorter than `every`, so some events would never be looked at";
            self.error(Code::Value, over.span, message, "leave `over` out, or make it longer");
            return None;
        }
        Some((every, nanos))
    }

    /// What is raised. `columns` are those of the query's table, if it makes one.
    fn raise(
        &mut self,
        node: &Node,
        title: String,
        columns: Option<&[String]>,
        has_query: bool,
    ) -> Option<Raise> {
        let map = self.map(node, "an alert", &ALERT_KEYS)?;
        let title = self.text(map, "title").unwrap_or(title);
        let level = self.need(map, "level").and_then(|text| match text.parse::<Level>() {
            Ok(level) => Some(level),
            Err(message) => {
                let span = map.get("level").map_or(map.span, |node| node.span);
                self.error(Code::UnknownValue, span, message, "");
                None
            }
        });
        let when = self.when(map);
        let group = self.texts(map, "group");
        let group_span = map.get("group").map_or(map.span, |node| node.span);
        if group.len() > GROUP_MAX {
            let message = format!("a group has at most {GROUP_MAX} fields");
            self.error(Code::TooLarge, group_span, message, "");
        }
        let suppress_nanos = match map.get("suppress") {
            None => None,
            Some(_) => Some(self.duration(map, "suppress", EVERY_MIN_NANOS, SUPPRESS_MAX_NANOS)?),
        };
        let when = when?;
        let when_span = map.get("when").map_or(map.span, |node| node.span);
        match (when, columns) {
            // The query's own fault is told already.
            _ if !has_query => {}
            (When::Rows, None) => {
                let help = "let it count something: `| stats count by user.name | where count > 5`";
                let message = "`when: rows` needs a query that makes a table";
                self.error(Code::Value, when_span, message, help);
            }
            (When::Rows, Some(_)) if group.is_empty() => {
                let help = "name the columns that tell one row from another";
                self.error(Code::Missing, when_span, "`when: rows` needs a `group`", help);
            }
            (When::Rows, Some(columns)) => {
                for name in group.iter().filter(|name| !columns.contains(name)) {
                    let message = format!("the query's table has no column `{name}`");
                    let help = suggest::help(name, columns.iter().map(String::as_str));
                    self.error(Code::UnknownValue, group_span, message, &help);
                }
            }
            (When::Count(..), Some(_)) if !group.is_empty() => {
                let message = "a count of rows has no groups";
                let help = "use `when: rows` for an alert for each row";
                self.error(Code::Value, group_span, message, help);
            }
            (When::Count(comparison, bound), None)
                if !group.is_empty() && (comparison.needs_all() || comparison.holds(0, bound)) =>
            {
                let message = "a group without events is unknown, so it can't have few of them";
                let help = "compare with `>` or `>=`, or leave `group` out";
                self.error(Code::Value, when_span, message, help);
            }
            _ => {}
        }
        Some(Raise { title, level: level?, when, group, suppress_nanos })
    }

    fn when(&mut self, map: Map<'_>) -> Option<When> {
        let text = self.need(map, "when")?;
        let node = map.get("when")?;
        if text.trim() == "rows" {
            return Some(When::Rows);
        }
        let compared = text.trim().strip_prefix("count").and_then(|rest| {
            let rest = rest.trim();
            Comparison::ALL.into_iter().find_map(|comparison| {
                let bound = rest.strip_prefix(comparison.sign())?.trim().parse().ok()?;
                Some(When::Count(comparison, bound))
            })
        });
        if compared.is_none() {
            let message = format!("`{text}` is nothing that an alert can wait for");
            let help = "use `rows`, or compare: `count > 0`, `count >= 10`, `count = 0`";
            self.error(Code::Value, node.span, message, help);
        }
        compared
    }

    fn duration(&mut self, map: Map<'_>, key: &str, min: i64, max: i64) -> Option<i64> {
        let node = map.get(key)?;
        let text = self.text(map, key)?;
        let Some(nanos) = parse_duration(&text) else {
            let message = format!("`{text}` is no length of time");
            self.error(Code::Value, node.span, message, "use 5m, 1h or 1d");
            return None;
        };
        if !(min..=max).contains(&nanos) {
            let seconds = |nanos: i64| nanos / 1_000_000_000;
            let message = format!("`{key}` is {} s to {} d", seconds(min), seconds(max) / 86_400);
            self.error(Code::Value, node.span, message, "");
            return None;
        }
        Some(nanos)
    }

    /// A map, whose keys must be known.
    fn map<'n>(&mut self, node: &'n Node, of: &'static str, known: &[&str]) -> Option<Map<'n>> {
        let Some(entries) = node.as_map() else {
            let message = format!("{of} is a map, but this is {}", node.describe());
            self.error(Code::WrongType, node.span, message, "");
            return None;
        };
        for (key, _) in entries {
            if !known.contains(&key.text.as_str()) {
                let message = format!("{of} has no key `{}`", key.text);
                let help = suggest::help(&key.text, known.iter().copied());
                self.error(Code::UnknownKey, key.span, message, &help);
            }
        }
        Some(Map { entries, span: node.span, of })
    }

    /// A text that must be there.
    fn need(&mut self, map: Map<'_>, key: &str) -> Option<String> {
        let Some(node) = map.get(key) else {
            let message = format!("`{key}` is missing");
            self.error(Code::Missing, map.span, message, &format!("{} needs `{key}`", map.of));
            return None;
        };
        let text = self.text(map, key)?;
        if text.trim().is_empty() {
            self.error(Code::Missing, node.span, format!("`{key}` is empty"), "");
            return None;
        }
        Some(text)
    }

    fn text(&mut self, map: Map<'_>, key: &str) -> Option<String> {
        let node = map.get(key)?;
        let text = node.to_text();
        if text.is_none() {
            let message = format!("`{key}` should be a text, but is {}", node.describe());
            self.error(Code::WrongType, node.span, message, "");
        }
        text.map(|text| text.trim_end_matches('\n').to_owned())
    }

    fn texts(&mut self, map: Map<'_>, key: &str) -> Vec<String> {
        let Some(node) = map.get(key) else { return Vec::new() };
        let mut texts = Vec::new();
        for item in node.one_or_more() {
            match item.to_text() {
                Some(text) => texts.push(text),
                None => {
                    let message =
                        format!("`{key}` should be a list of texts, but has {}", item.describe());
                    self.error(Code::WrongType, item.span, message, "");
                }
            }
        }
        texts
    }

    fn error(&mut self, code: Code, span: Span, message: impl Into<String>, help: &str) {
        let mut fault = Diagnostic::error(code, span, message);
        if !help.is_empty() {
            fault = fault.with_help(help);
        }
        self.faults.push(fault);
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    const WHOLE: &str = r"title: One password on many accounts
description: |
  Somebody tries few passwords on many accounts.
tags: [attack.t1110.003]
query: >-
  event.action:logon-failed
  | stats dc(user.name) as users by source.ip
  | where users >= 8
schedule:
  every: 5m
  over: 15m
alert:
  level: high
  when: rows
  group: [source.ip]
  suppress: 1h
";

    fn faults(text: &str) -> String {
        let faults = SavedSearch::parse(text, "searches/x.yml").expect_err("wrong");
        faults.iter().map(|fault| fault.render(Some(text))).collect()
    }

    #[test]
    fn a_whole_search_is_read() {
        let search = SavedSearch::parse(WHOLE, "searches/spray.yml").expect("valid");
        assert_eq!(search.id, "spray");
        let schedule = search.schedule.expect("it is scheduled");
        let minutes = [schedule.every_nanos, schedule.over_nanos].map(|n| n / 60_000_000_000);
        assert_eq!(minutes, [5, 15]);
        let Raise { title, level, when, group, suppress_nanos } = schedule.raise;
        assert_eq!((title.as_str(), level), ("One password on many accounts", Level::High));
        assert_eq!((when, group), (When::Rows, vec!["source.ip".to_owned()]));
        assert_eq!(suppress_nanos, Some(3600 * 1_000_000_000));
        let short = SavedSearch::parse("title: x\nquery: '*'\n", "x.yml").expect("valid");
        assert!(short.schedule.is_none());
    }

    #[test]
    fn faults_have_a_place_and_a_way_out() {
        assert_snapshot!(faults(&WHOLE.replace("over:", "ovr:").replace("level: high", "level: hihg")), @r#"
        error[unknown-key]: a schedule has no key `ovr`
          --> searches/x.yml:11:3
           |
        11 |   ovr: 15m
           |   ^^^
           = help: did you mean `over`?
        error[unknown-value]: `hihg` is no level; it is one of informational, low, medium, high, critical
          --> searches/x.yml:13:10
           |
        13 |   level: hihg
           |          ^^^^
        "#);
        assert_snapshot!(faults(&WHOLE.replace("| where", "| wehre")), @r#"
        error[query]: there is no pipe `wehre`
         --> searches/x.yml:8:5
          |
        8 |   | wehre users >= 8
          |     ^^^^^
          = help: did you mean `where`?
        "#);
        assert_snapshot!(faults(&WHOLE.replace("over: 15m", "over: 1m").replace("suppress: 1h", "suppress: soon")), @r#"
        error[value]: `over` is shorter than `every`, so some events would never be looked at
          --> searches/x.yml:11:9
           |
        11 |   over: 1m
           |         ^^
           = help: leave `over` out, or make it longer
        error[value]: `soon` is no length of time
          --> searches/x.yml:16:13
           |
        16 |   suppress: soon
           |             ^^^^
           = help: use 5m, 1h or 1d
        "#);
        assert_snapshot!(faults(&WHOLE.replace("every: 5m", "every: 1s").replace("[source.ip]", "[source.pi]")), @r#"
        error[value]: `every` is 10 s to 7 d
          --> searches/x.yml:10:10
           |
        10 |   every: 1s
           |          ^^
        error[unknown-value]: the query's table has no column `source.pi`
          --> searches/x.yml:15:10
           |
        15 |   group: [source.pi]
           |          ^
           = help: did you mean `source.ip`?
        "#);
        assert_snapshot!(faults(&WHOLE.replace("when: rows", "when: many")), @r#"
        error[value]: `many` is nothing that an alert can wait for
          --> searches/x.yml:14:9
           |
        14 |   when: many
           |         ^^^^
           = help: use `rows`, or compare: `count > 0`, `count >= 10`, `count = 0`
        "#);
        assert_snapshot!(faults(&WHOLE.replace("when: rows", "when: count > 3")), @r#"
        error[value]: a count of rows has no groups
          --> searches/x.yml:15:10
           |
        15 |   group: [source.ip]
           |          ^
           = help: use `when: rows` for an alert for each row
        "#);
        assert_snapshot!(faults("title: x\nquery: '*'\nschedule: {every: 1m}\nalert: {level: low, when: count = 0, group: host.name}\n"), @r#"
        error[value]: a group without events is unknown, so it can't have few of them
         --> searches/x.yml:4:27
          |
        4 | alert: {level: low, when: count = 0, group: host.name}
          |                           ^^^^^^^^^
          = help: compare with `>` or `>=`, or leave `group` out
        "#);
        assert_snapshot!(faults("title: x\nquery: '*'\nschedule: {every: 1m}\nalert: {level: low, when: rows}\n"), @r#"
        error[value]: `when: rows` needs a query that makes a table
         --> searches/x.yml:4:27
          |
        4 | alert: {level: low, when: rows}
          |                           ^^^^
          = help: let it count something: `| stats count by user.name | where count > 5`
        "#);
        assert_snapshot!(faults("title: x\nquery: '*'\nschedule: {every: 1m}\n"), @r#"
        error[missing]: a search that is scheduled and raises nothing does nothing
         --> searches/x.yml:3:11
          |
        3 | schedule: {every: 1m}
          |           ^
          = help: add `alert: {level: medium, when: count > 0}`
        "#);
        assert_snapshot!(faults("query: '*'\nalert: {}\nid: a b\n"), @r#"
        error[missing]: `title` is missing
         --> searches/x.yml:1:1
          |
        1 | query: '*'
          | ^
          = help: a search needs `title`
        error[bad-id]: `a b` can't be an id
         --> searches/x.yml:3:5
          |
        3 | id: a b
          |     ^^^
          = help: use letters, digits, `-`, `_` and `.`
        error[missing]: an alert needs a `schedule`
         --> searches/x.yml:2:8
          |
        2 | alert: {}
          |        ^
          = help: add `schedule: {every: 5m}`
        "#);
        assert_snapshot!(faults(""), @r#"
        error[missing]: the file is empty
         --> searches/x.yml
        "#);
        assert!(faults(&"a".repeat(SEARCH_BYTES_MAX + 1)).contains("more than 65536 bytes"));
    }

    proptest::proptest! {
        /// What is read holds what its schedule promises; what is not is told with its place.
        #[test]
        fn damaged_files_are_refused_or_read(
            cuts in proptest::collection::vec((0..400usize, 0..20usize, "[-:{}'\"|>* \\n(a.0-9]{0,4}"), 1..5),
        ) {
            let mut text: Vec<char> = WHOLE.chars().collect();
            for (at, length, put) in cuts {
                let at = at.min(text.len());
                let end = (at + length).min(text.len());
                text.splice(at..end, put.chars());
            }
            let text: String = text.into_iter().collect();
            match SavedSearch::parse(&text, "x.yml") {
                Ok(search) => {
                    let times = search.schedule.map(|times| (times.every_nanos, times.over_nanos));
                    assert!(times.is_none_or(|(every, over)| EVERY_MIN_NANOS <= every && every <= over));
                }
                Err(faults) => {
                    assert!(!faults.is_empty());
                    for fault in faults {
                        fault.render(Some(&text));
                    }
                }
            }
        }
    }

    #[test]
    fn an_id_is_there_once() {
        let text = "title: x\nquery: '*'\n";
        let texts = ["a/x.yml", "b/x.yml", "c/y.yml"].map(|file| (file.to_owned(), text));
        let loaded = load(texts.into_iter(), &[]);
        assert_eq!(loaded.searches.len(), 2);
        assert_snapshot!(loaded.diagnostics[0].render(None), @r#"
        error[duplicate-id]: there is a search with the id `x` already
         --> b/x.yml
          = help: it is in a/x.yml; give this one an `id`
        "#);
    }
}
