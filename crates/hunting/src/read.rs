//! From the text of a file to a [`Hunt`], or to all that is wrong with it.
//!
//! Reading goes on after a fault, so that one run of `hunt check` shows all of them. A hunt with a
//! fault is not run at all: half a hypothesis would give a wrong answer.

use std::collections::HashMap;

use query::{Query, parse_duration};
use sigma::yaml::{self, Key, Kind, Node};
use sigma::{Code, Diagnostic, Severity, Span, Tag, place, suggest};

use crate::expression::{self, Expression};
use crate::hunt::{Expect, Hunt, Need, Step};
use crate::template::{Known, Template};

/// The most bytes of a hunt file. A long one has five thousand.
pub const HUNT_BYTES_MAX: usize = 256 << 10;
/// The most steps of a hunt; each is a search.
pub const STEPS_MAX: usize = 50;
/// The most needs of a hunt; each is a search, and one more for each of its fields.
pub const NEEDS_MAX: usize = 50;
/// The most fields that one need looks at.
const FIELDS_MAX: usize = 20;
/// The most diagnostics of one file; the rest of a hopeless one helps nobody.
const FAULTS_MAX: usize = 100;
/// The most characters of a step's id, which is written again and again.
const ID_CHARS_MAX: usize = 40;

const HUNT_KEYS: [&str; 14] = [
    "title",
    "id",
    "hypothesis",
    "description",
    "author",
    "date",
    "references",
    "tags",
    "since",
    "needs",
    "steps",
    "supported_when",
    "refuted_when",
    "next",
];
const NEED_KEYS: [&str; 6] = ["title", "query", "min_events", "fields", "distinct", "covers"];
const STEP_KEYS: [&str; 5] = ["id", "title", "query", "min_rows", "expect"];

impl Hunt {
    /// Reads a hunt; `file` is its name in diagnostics.
    ///
    /// # Errors
    /// All faults, in the order in which they were met, at least one of them an error.
    pub fn parse(text: &str, file: &str) -> Result<Hunt, Vec<Diagnostic>> {
        let mut reader = Reader { text, faults: Vec::new() };
        let hunt = if text.len() > HUNT_BYTES_MAX {
            let message = format!("the file has more than {HUNT_BYTES_MAX} bytes");
            reader.error(Code::TooLarge, Span::default(), message);
            None
        } else {
            reader.document(file)
        };
        match hunt {
            Some(hunt) if reader.faults.is_empty() => Ok(hunt),
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
    /// What it describes: `a step`.
    of: &'static str,
}

impl<'n> Map<'n> {
    fn get(&self, key: &str) -> Option<&'n Node> {
        let (_, value) = self.entries.iter().find(|(known, _)| known.text == key)?;
        (value.kind != Kind::Null).then_some(value)
    }

    /// Where a key stands, or else the map.
    fn key_span(&self, key: &str) -> Span {
        let key = self.entries.iter().find(|(known, _)| known.text == key);
        key.map_or(self.span, |(key, _)| key.span)
    }
}

impl<'t> Reader<'t> {
    fn document(&mut self, file: &str) -> Option<Hunt> {
        let mut nodes = Vec::new();
        for document in yaml::parse(self.text) {
            match document {
                Ok(node) => nodes.push(node),
                Err(fault) => self.push(fault),
            }
        }
        let Some(node) = nodes.first() else {
            if self.faults.is_empty() {
                self.error(Code::Missing, Span::default(), "the file is empty");
            }
            return None;
        };
        if let Some(second) = nodes.get(1) {
            self.error(Code::TooLarge, second.span, "a file holds one hunt, and here is a second");
        }
        let map = self.map(node, "a hunt", &HUNT_KEYS)?;
        let title = self.need_text(map, "title");
        let hypothesis = self.need_text(map, "hypothesis");
        let id = self.hunt_id(map, file);
        let needs = self.needs(map);
        let (steps, ids) = self.steps(map);
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        if map.get("supported_when").is_none() {
            self.push(
                Diagnostic::error(Code::Missing, map.span, "`supported_when` is missing")
                    .with_help("it names the step, or steps, whose finds support the hypothesis"),
            );
        }
        let supported_when = self.expression(map, "supported_when", &ids);
        let refuted_when = self.expression(map, "refuted_when", &ids);
        let tags = self.texts(map, "tags").into_iter().map(|(text, span)| Tag { text, span });
        Some(Hunt {
            file: file.to_owned(),
            id: id?,
            title: title?,
            hypothesis: hypothesis?,
            description: self.text(map, "description"),
            author: self.text(map, "author"),
            date: self.text(map, "date"),
            references: plain(self.texts(map, "references")),
            tags: tags.collect(),
            since_nanos: self.since(map),
            needs,
            steps,
            supported_when: supported_when?,
            refuted_when,
            next: plain(self.texts(map, "next")),
            span: node.span,
        })
    }

    fn hunt_id(&mut self, map: Map<'_>, file: &str) -> Option<String> {
        let Some(node) = map.get("id") else {
            let stem = std::path::Path::new(file).file_stem();
            return Some(stem.map_or_else(String::new, |stem| stem.to_string_lossy().into_owned()));
        };
        let id = self.text(map, "id")?;
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if id.is_empty() || !id.chars().all(fine) {
            let message = format!("`{id}` can't be an id");
            self.push(
                Diagnostic::error(Code::BadId, node.span, message)
                    .with_help("use letters, digits, `-`, `_` and `.`"),
            );
            return None;
        }
        Some(id)
    }

    fn since(&mut self, map: Map<'_>) -> Option<i64> {
        let node = map.get("since")?;
        let text = self.text(map, "since")?;
        let nanos = parse_duration(&text);
        if nanos.is_none() {
            let message = format!("`{text}` is no length of time");
            self.push(
                Diagnostic::error(Code::Value, node.span, message).with_help("use 24h, 7d or 4w"),
            );
        }
        nanos
    }

    fn needs(&mut self, map: Map<'_>) -> Vec<Need> {
        let items = self.items(map, "needs", NEEDS_MAX);
        let mut needs = Vec::new();
        for item in items {
            let Some(map) = self.map(item, "a need", &NEED_KEYS) else { continue };
            let title = self.need_text(map, "title");
            let query = self.need_query(map);
            let min_events = self.count(map, "min_events");
            let fields = self.by_field(map, "fields", "the share of events that have it, as 80%");
            let fields = fields
                .into_iter()
                .filter_map(|(field, node)| Some((field, self.share(node, "fields")?)))
                .collect();
            let distinct = self.by_field(map, "distinct", "the least number of different values");
            let distinct = distinct
                .into_iter()
                .filter_map(|(field, node)| Some((field, self.whole(node, "distinct")?)))
                .collect();
            let covers = map.get("covers").and_then(|node| self.share(node, "covers"));
            let (Some(title), Some((text, query))) = (title, query) else { continue };
            needs.push(Need { title, text, query, min_events, fields, distinct, covers });
        }
        needs
    }

    fn need_query(&mut self, map: Map<'_>) -> Option<(String, Query)> {
        let text = self.need_text(map, "query")?;
        let node = map.get("query")?;
        let query = match query::parse(&text) {
            Ok(query) => query,
            Err(error) => {
                let at = error.column.saturating_sub(1);
                self.in_text(Code::Query, node, &text, (at, 1), error.message, error.help);
                return None;
            }
        };
        if !query.pipes.is_empty() {
            let message = "the query of a need has no pipes: its events are counted";
            self.push(
                Diagnostic::error(Code::Query, node.span, message)
                    .with_help("count hosts and the like with `distinct: {host.name: 3}`"),
            );
            return None;
        }
        Some((text, query))
    }

    /// The steps without a fault, and the ids of all of them.
    fn steps(&mut self, map: Map<'_>) -> (Vec<Step>, Vec<String>) {
        if map.get("steps").is_none() {
            self.push(
                Diagnostic::error(Code::Missing, map.span, "`steps` is missing")
                    .with_help("a hunt needs at least one step"),
            );
        }
        if let Some([]) = map.get("steps").and_then(Node::as_list) {
            self.error(Code::Missing, map.key_span("steps"), "a hunt needs at least one step");
        }
        let items = self.items(map, "steps", STEPS_MAX);
        let mut ids = Vec::new();
        let mut first_lines: HashMap<String, u32> = HashMap::new();
        let mut read = Vec::new();
        for item in items {
            let Some(map) = self.map(item, "a step", &STEP_KEYS) else { continue };
            let Some(id) = self.step_id(map, &mut first_lines) else { continue };
            ids.push(id);
            read.push(map);
        }
        let mut known: Vec<Known<'_>> = ids.iter().map(|id| Known { id, columns: None }).collect();
        let mut steps = Vec::new();
        for (own, map) in read.into_iter().enumerate() {
            let title = self.need_text(map, "title");
            let template = self.template(map, &known, own);
            let min_rows = self.count(map, "min_rows");
            let expect = self.expect(map);
            let Some(template) = template else { continue };
            if let Some(known) = known.get_mut(own) {
                known.columns = Some(template.columns());
            }
            let (Some(title), Some(id)) = (title, ids.get(own)) else { continue };
            let span = map.get("id").map_or(map.span, |node| node.span);
            steps.push(Step { id: id.clone(), title, query: template, min_rows, expect, span });
        }
        (steps, ids)
    }

    fn step_id(&mut self, map: Map<'_>, seen: &mut HashMap<String, u32>) -> Option<String> {
        let id = self.need_text(map, "id")?;
        let span = map.get("id").map_or(map.span, |node| node.span);
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let is_word = id.chars().all(fine) && id.chars().count() <= ID_CHARS_MAX;
        if !is_word || expression::is_operator(&id) {
            let help = format!("use letters, digits, `-` and `_`, at most {ID_CHARS_MAX}");
            self.push(
                Diagnostic::error(Code::BadId, span, format!("`{id}` can't be the id of a step"))
                    .with_help(help),
            );
            return None;
        }
        if let Some(line) = seen.insert(id.clone(), span.line) {
            let message = format!("two steps have the id `{id}`");
            self.push(
                Diagnostic::error(Code::DuplicateId, span, message)
                    .with_help(format!("the first is on line {line}")),
            );
            return None;
        }
        Some(id)
    }

    fn template(&mut self, map: Map<'_>, known: &[Known<'_>], own: usize) -> Option<Template> {
        let text = self.need_text(map, "query")?;
        let node = map.get("query")?;
        match Template::parse(&text, known, own) {
            Ok(template) => Some(template),
            Err(fault) => {
                let at = (fault.at, fault.length);
                self.in_text(fault.code, node, &text, at, fault.message, fault.help);
                None
            }
        }
    }

    fn expect(&mut self, map: Map<'_>) -> Expect {
        let Some(node) = map.get("expect") else { return Expect::default() };
        match node.to_text().as_deref() {
            Some("some") => Expect::Some,
            Some("none") => Expect::None,
            other => {
                let other = other.unwrap_or("this");
                let message = format!("`{other}` is nothing that a step can expect");
                self.push(
                    Diagnostic::error(Code::UnknownValue, node.span, message)
                        .with_help("use `some` (the default) or `none`"),
                );
                Expect::default()
            }
        }
    }

    fn expression(&mut self, map: Map<'_>, key: &str, ids: &[&str]) -> Option<Expression> {
        let node = map.get(key)?;
        let text = self.text(map, key)?;
        match Expression::parse(&text, ids) {
            Ok(expression) => Some(expression),
            Err(fault) => {
                let code = if fault.unknown_step { Code::UnknownStep } else { Code::Condition };
                let at = (fault.at, fault.length);
                self.in_text(code, node, &text, at, fault.message, fault.help);
                None
            }
        }
    }

    /// A map, whose keys must be known.
    fn map<'n>(&mut self, node: &'n Node, of: &'static str, known: &[&str]) -> Option<Map<'n>> {
        let Some(entries) = node.as_map() else {
            let message = format!("{of} is a map, but this is {}", node.describe());
            self.error(Code::WrongType, node.span, message);
            return None;
        };
        for (key, _) in entries {
            if !known.contains(&key.text.as_str()) {
                let message = format!("{of} has no key `{}`", key.text);
                let help = suggest::help(&key.text, known.iter().copied());
                self.push(Diagnostic::error(Code::UnknownKey, key.span, message).with_help(help));
            }
        }
        Some(Map { entries, span: node.span, of })
    }

    fn items<'n>(&mut self, map: Map<'n>, key: &str, count_max: usize) -> &'n [Node] {
        let Some(node) = map.get(key) else { return &[] };
        let Some(items) = node.as_list() else {
            let message = format!("`{key}` should be a list, but is {}", node.describe());
            self.error(Code::WrongType, node.span, message);
            return &[];
        };
        if items.len() > count_max {
            let message = format!("{} {key} are more than {count_max}", items.len());
            self.error(Code::TooLarge, map.key_span(key), message);
            return &[];
        }
        items
    }

    /// A map of fields, each with something about it.
    fn by_field<'n>(&mut self, map: Map<'n>, key: &str, what: &str) -> Vec<(String, &'n Node)> {
        let Some(node) = map.get(key) else { return Vec::new() };
        let Some(entries) = node.as_map() else {
            let message = format!("`{key}` should be a map, but is {}", node.describe());
            let help = format!("it gives each field {what}");
            self.push(Diagnostic::error(Code::WrongType, node.span, message).with_help(help));
            return Vec::new();
        };
        if entries.len() > FIELDS_MAX {
            let message = format!("`{key}` has more than {FIELDS_MAX} fields");
            self.error(Code::TooLarge, node.span, message);
            return Vec::new();
        }
        entries.iter().map(|(field, value)| (field.text.clone(), value)).collect()
    }

    fn need_text(&mut self, map: Map<'_>, key: &str) -> Option<String> {
        if map.get(key).is_none() {
            let message = format!("`{key}` is missing");
            let help = format!("{} needs `{key}`", map.of);
            let span = map.key_span(key);
            self.push(Diagnostic::error(Code::Missing, span, message).with_help(help));
        }
        self.text(map, key).filter(|text| {
            let empty = text.trim().is_empty();
            if empty {
                self.error(Code::Missing, map.key_span(key), format!("`{key}` is empty"));
            }
            !empty
        })
    }

    fn text(&mut self, map: Map<'_>, key: &str) -> Option<String> {
        let node = map.get(key)?;
        let text = node.to_text();
        if text.is_none() {
            let message = format!("`{key}` should be a text, but is {}", node.describe());
            self.error(Code::WrongType, node.span, message);
        }
        text.map(|text| text.trim_end_matches('\n').to_owned())
    }

    fn texts(&mut self, map: Map<'_>, key: &str) -> Vec<(String, Span)> {
        let Some(node) = map.get(key) else { return Vec::new() };
        let mut texts = Vec::new();
        for item in node.one_or_more() {
            match item.to_text() {
                Some(text) => texts.push((text.trim_end_matches('\n').to_owned(), item.span)),
                None => {
                    let message =
                        format!("`{key}` should be a list of texts, but has {}", item.describe());
                    self.error(Code::WrongType, item.span, message);
                }
            }
        }
        texts
    }

    /// A number of at least 1, which is the default.
    fn count(&mut self, map: Map<'_>, key: &str) -> u64 {
        map.get(key).and_then(|node| self.whole(node, key)).unwrap_or(1)
    }

    fn whole(&mut self, node: &Node, key: &str) -> Option<u64> {
        let number = match &node.kind {
            Kind::Number(raw) => raw.parse::<u64>().ok().filter(|number| *number > 0),
            _ => None,
        };
        if number.is_none() {
            let message = format!("`{key}` should be a whole number of at least 1");
            self.error(Code::WrongType, node.span, message);
        }
        number
    }

    /// `0.8` or `80%`.
    fn share(&mut self, node: &Node, key: &str) -> Option<f64> {
        let text = node.to_text().unwrap_or_default();
        let share = match text.strip_suffix('%') {
            Some(percent) => percent.trim().parse::<f64>().ok().map(|percent| percent / 100.0),
            None => text.parse::<f64>().ok(),
        };
        let share = share.filter(|share| *share > 0.0 && *share <= 1.0);
        if share.is_none() {
            let message = format!("`{key}` should be a share, above 0% and up to 100%");
            self.push(
                Diagnostic::error(Code::Value, node.span, message)
                    .with_help("write it as `80%` or `0.8`"),
            );
        }
        share
    }

    /// An error within a text of the file, at so many characters and over so many.
    fn in_text(
        &mut self,
        code: Code,
        node: &Node,
        text: &str,
        (at, length): (usize, usize),
        message: String,
        help: Option<String>,
    ) {
        let span = place(self.text, node.span, text, at, length);
        let mut fault = Diagnostic::new(Severity::Error, code, span, message);
        fault.help = help;
        self.push(fault);
    }

    fn error(&mut self, code: Code, span: Span, message: impl Into<String>) {
        self.push(Diagnostic::error(code, span, message));
    }

    fn push(&mut self, fault: Diagnostic) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(fault);
        }
    }
}

fn plain(texts: Vec<(String, Span)>) -> Vec<String> {
    texts.into_iter().map(|(text, _)| text).collect()
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::{Hunt, check};

    fn faults(text: &str) -> String {
        let faults = Hunt::parse(text, "hunts/x.yml").expect_err("wrong");
        faults.iter().map(|fault| fault.render(Some(text))).collect::<Vec<_>>().join("")
    }

    const WHOLE: &str = r"
title: A stolen password after a spray
hypothesis: |
  Somebody tried one password on many accounts,
  and one of them worked.
tags: [attack.credential-access, attack.t1110.003]
since: 7d
needs:
  - title: Windows logon events
    query: 'event.code:(4624 or 4625)'
    min_events: 20
    fields: {source.ip: 50%}
    distinct: {host.name: 3}
    covers: 0.8
steps:
  - id: spray
    title: sources that failed on many accounts
    query: 'event.code:4625 | stats count, dc(user.name) as users by source.ip | where users >= 8'
  - id: success
    title: one of these sources then succeeded
    query: >-
      event.code:4624
      and source.ip:{{spray.source.ip}}
    min_rows: 2
  - id: planned
    title: a test that was announced
    query: event.action:pentest
    expect: none
supported_when: success and planned
next: reset the password
";

    #[test]
    fn a_whole_hunt_is_read() {
        let hunt = Hunt::parse(WHOLE, "hunts/spray.yml").expect("valid");
        assert_eq!((hunt.id.as_str(), hunt.steps.len()), ("spray", 3));
        assert_eq!(hunt.techniques(), ["T1110.003"]);
        assert_eq!(hunt.since_nanos, Some(7 * 86_400 * 1_000_000_000));
        let need = &hunt.needs[0];
        assert_eq!((need.min_events, need.covers), (20, Some(0.8)));
        assert_eq!(need.fields, [("source.ip".to_owned(), 0.5)]);
        assert_eq!(need.distinct, [("host.name".to_owned(), 3)]);
        let success = &hunt.steps[1];
        assert_eq!((success.query.references.len(), success.min_rows), (1, 2));
        assert_eq!(check(&hunt), []);
    }

    #[test]
    fn a_misspelt_key_is_told_what_was_meant() {
        assert_snapshot!(faults(&WHOLE.replace("min_events", "min_event").replace("hypothesis", "hypotesis")), @r"
        error[unknown-key]: a hunt has no key `hypotesis`
         --> hunts/x.yml:3:1
          |
        3 | hypotesis: |
          | ^^^^^^^^^
          = help: did you mean `hypothesis`?
        error[missing]: `hypothesis` is missing
         --> hunts/x.yml:2:1
          |
        2 | title: A stolen password after a spray
          | ^
          = help: a hunt needs `hypothesis`
        error[unknown-key]: a need has no key `min_event`
          --> hunts/x.yml:11:5
           |
        11 |     min_event: 20
           |     ^^^^^^^^^
           = help: did you mean `min_events`?
        ");
    }

    #[test]
    fn a_fault_in_a_query_points_into_its_line() {
        assert_snapshot!(faults(&WHOLE.replace("4624 or 4625", "4624 or")), @r"
        error[query]: a value is missing after `event.code`
          --> hunts/x.yml:10:32
           |
        10 |     query: 'event.code:(4624 or)'
           |                                ^
           = help: `event.code:*` finds events that have the field
        ");
        assert_snapshot!(faults(&WHOLE.replace("| where users", "| wehre users")), @r"
        error[query]: there is no pipe `wehre`
          --> hunts/x.yml:18:82
           |
        18 |     query: 'event.code:4625 | stats count, dc(user.name) as users by source.ip | wehre users >= 8'
           |                                                                                  ^
           = help: did you mean `where`?
        ");
        assert_snapshot!(faults(&WHOLE.replace("{{spray.source.ip}}", "{{spray.soruce.ip}}")), @r"
        error[unknown-step]: what the step `spray` finds has no column `soruce.ip`
          --> hunts/x.yml:23:21
           |
        23 |       and source.ip:{{spray.soruce.ip}}
           |                     ^^^^^^^^^^^^^^^^^^^
           = help: did you mean `source.ip`?
        ");
        assert_snapshot!(faults(&WHOLE.replace("event.code:4624\n", "event.code:4624 and x:{{planned.y}}\n")), @r"
        error[unknown-step]: the step `planned` comes after this one
          --> hunts/x.yml:22:29
           |
        22 |       event.code:4624 and x:{{planned.y}}
           |                             ^^^^^^^^^^^^^
           = help: a step can use what steps before it found
        ");
    }

    #[test]
    fn faults_of_steps_and_expressions() {
        assert_snapshot!(faults(&WHOLE.replace("success and planned", "success and plannned")), @r"
        error[unknown-step]: there is no step `plannned`
          --> hunts/x.yml:29:29
           |
        29 | supported_when: success and plannned
           |                             ^^^^^^^^
           = help: did you mean `planned`?
        ");
        assert_snapshot!(faults(&WHOLE.replace("id: planned", "id: spray").replace("success and planned", "success")), @r"
        error[duplicate-id]: two steps have the id `spray`
          --> hunts/x.yml:25:9
           |
        25 |   - id: spray
           |         ^^^^^
           = help: the first is on line 16
        ");
        assert_snapshot!(faults(&WHOLE.replace("expect: none", "expect: nothing").replace("50%", "half").replace(": 20", ": 0")), @r"
        error[wrong-type]: `min_events` should be a whole number of at least 1
          --> hunts/x.yml:11:17
           |
        11 |     min_events: 0
           |                 ^
        error[value]: `fields` should be a share, above 0% and up to 100%
          --> hunts/x.yml:12:25
           |
        12 |     fields: {source.ip: half}
           |                         ^^^^
           = help: write it as `80%` or `0.8`
        error[unknown-value]: `nothing` is nothing that a step can expect
          --> hunts/x.yml:28:13
           |
        28 |     expect: nothing
           |             ^^^^^^^
           = help: use `some` (the default) or `none`
        ");
        assert_snapshot!(faults("title: x\nhypothesis: y\nsteps: []\n"), @r"
        error[missing]: a hunt needs at least one step
         --> hunts/x.yml:3:1
          |
        3 | steps: []
          | ^^^^^
        error[missing]: `supported_when` is missing
         --> hunts/x.yml:1:1
          |
        1 | title: x
          | ^
          = help: it names the step, or steps, whose finds support the hypothesis
        ");
        assert_snapshot!(faults("title: [\n"), @r"
        error[yaml]: not valid YAML: while parsing a node, did not find expected node content
         --> hunts/x.yml:2:1
          = help: look at the indentation and the quotes here and on the line before
        ");
        assert_snapshot!(faults(""), @r"
        error[missing]: the file is empty
         --> hunts/x.yml
        ");
        assert_snapshot!(faults("- a\n---\nb: c\n"), @r"
        error[too-large]: a file holds one hunt, and here is a second
         --> hunts/x.yml:3:1
          |
        3 | b: c
          | ^
        error[wrong-type]: a hunt is a map, but this is a list
         --> hunts/x.yml:1:1
          |
        1 | - a
          | ^
        ");
    }

    #[test]
    fn limits_are_stated() {
        let step = "  - {id: sN, title: t, query: a}\n";
        let steps: String = (0..51).map(|n| step.replace('N', &n.to_string())).collect();
        let text = format!("title: x\nhypothesis: y\nsteps:\n{steps}supported_when: s0\n");
        assert!(faults(&text).contains("51 steps are more than 50"));
        let text = format!("title: {}\n", "x".repeat(300_000));
        assert!(faults(&text).contains("more than 262144 bytes"));
    }

    proptest::proptest! {
        #[test]
        fn damaged_files_are_refused_or_read(
            cuts in proptest::collection::vec((0..1200usize, 0..30usize, "[-:{}'\"|>* \\n(a.]{0,4}"), 1..6),
        ) {
            let mut text: Vec<char> = WHOLE.chars().collect();
            for (at, length, put) in cuts {
                let at = at.min(text.len());
                let end = (at + length).min(text.len());
                text.splice(at..end, put.chars());
            }
            let text: String = text.into_iter().collect();
            match Hunt::parse(&text, "x.yml") {
                Ok(hunt) => assert!(!hunt.steps.is_empty()),
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
    fn advice() {
        let text = "title: x\nhypothesis: y\nsteps:\n  - {id: a, title: t, query: a}\n  - {id: b, title: t, query: 'x:{{a.x}}'}\n  - {id: c, title: t, query: a}\nsupported_when: b\n";
        let hunt = Hunt::parse(text, "x.yml").expect("valid");
        let advice: String = check(&hunt).iter().map(|advice| advice.render(Some(text))).collect();
        assert_snapshot!(advice, @r"
        warning[no-needs]: the hunt has no `needs`, so it is refuted, too, where its data is missing
         --> x.yml:1:1
          |
        1 | title: x
          | ^
          = help: name the events that the steps look at, and how many there must be
        note[unused-step]: the verdict does not rest on the step `c`
         --> x.yml:6:10
          |
        6 |   - {id: c, title: t, query: a}
          |          ^
          = help: name it in `supported_when`, or keep it as evidence
        note[no-attack-tag]: the hunt has no ATT&CK technique among its tags
         --> x.yml:1:1
          |
        1 | title: x
          | ^
          = help: add a tag such as `attack.t1110.003`
        ");
    }
}
