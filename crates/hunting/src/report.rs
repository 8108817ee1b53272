//! What a hunt found, as plain data. The names of the fields are a contract: scripts read the JSON.

use event::Timestamp;
use query::{Cell, TimeRange};
use serde::Serialize;

use crate::hunt::Expect;

/// What a hunt found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The hunt's id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Its file.
    pub file: String,
    /// What was supposed.
    pub hypothesis: String,
    /// The tags.
    pub tags: Vec<String>,
    /// The ATT&CK techniques of the tags.
    pub techniques: Vec<String>,
    /// The ATT&CK tactics of the tags.
    pub tactics: Vec<String>,
    /// When it ran.
    pub run_at: Timestamp,
    /// The time that was searched.
    pub range: Range,
    /// How many events there are in that time.
    pub events: u64,
    /// The answer.
    pub verdict: Verdict,
    /// Why that is the answer, in a sentence without a full stop.
    pub reason: String,
    /// What data was needed, and what was there.
    pub needs: Vec<NeedReport>,
    /// What was searched and found.
    pub steps: Vec<StepReport>,
    /// What to do about a hypothesis that is supported.
    pub next: Vec<String>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// The answer to a hypothesis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "answer", rename_all = "lowercase")]
pub enum Verdict {
    /// What it predicts was found.
    Supported,
    /// The data was there, was searched whole, and has nothing of what it predicts.
    Refuted,
    /// Neither can be said.
    Inconclusive {
        /// Why not.
        because: String,
    },
}

/// A range of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Range {
    /// The first moment; `null` for the beginning of time.
    pub since: Option<Timestamp>,
    /// The first moment that is out again; `null` for the end of time.
    pub until: Option<Timestamp>,
}

/// Data that was needed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NeedReport {
    /// What it is.
    pub title: String,
    /// The filter.
    pub query: String,
    /// Whether all of it was there.
    pub ok: bool,
    /// What was looked at.
    pub checks: Vec<Check>,
    /// Why it may not be known exactly; empty if it is.
    pub incomplete: Vec<String>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// What was counted.
    pub kind: CheckKind,
    /// Of which field.
    pub field: Option<String>,
    /// The least that was wanted.
    pub wanted: Cell,
    /// What was there.
    pub found: Cell,
    /// Whether that is enough.
    pub ok: bool,
}

/// What was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckKind {
    /// Events.
    Events,
    /// The share of events that have a field.
    Filled,
    /// The different values of a field.
    Distinct,
    /// The share of the time that has events.
    Covered,
}

/// A step that was taken.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepReport {
    /// Its id.
    pub id: String,
    /// What it looked for.
    pub title: String,
    /// The query that was run, with what former steps found in its places.
    pub query: String,
    /// Whether it holds; `null` if that cannot be told.
    pub holds: Option<bool>,
    /// How many events, or rows of a table, it found.
    pub found: u64,
    /// How many of them make a find.
    pub min_rows: u64,
    /// Whether it was to find something.
    pub expect: Expect,
    /// How many events passed the filter.
    pub events: u64,
    /// What was put into the places of the query.
    pub substituted: Vec<Substitution>,
    /// The columns of the rows; empty if it found events.
    pub columns: Vec<String>,
    /// The first rows; empty if it found events.
    pub rows: Vec<Vec<Cell>>,
    /// For each of the rows, the ids of the newest events behind it, where that can be told.
    pub row_events: Vec<Vec<String>>,
    /// The newest of the events that it found; empty if it found rows.
    pub evidence: Vec<Evidence>,
    /// Why more may be there than was found; empty if all was searched.
    pub incomplete: Vec<String>,
    /// What else is worth knowing, such as that it did not have to run.
    pub notes: Vec<String>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// What a reference became.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Substitution {
    /// The reference: `spray.source.ip`.
    pub reference: String,
    /// How many different values were put in.
    pub used: usize,
    /// How many there are.
    pub of: usize,
}

/// An event that was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evidence {
    /// Its id.
    pub id: String,
    /// Its time.
    pub time: Timestamp,
    /// What is most telling about it, in this order.
    pub fields: Vec<(String, String)>,
}

impl From<TimeRange> for Range {
    fn from(range: TimeRange) -> Self {
        Range { since: range.since, until: range.until }
    }
}

impl Serialize for Expect {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Expect::Some => "some",
            Expect::None => "none",
        })
    }
}

impl Verdict {
    /// The word for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Verdict::Supported => "supported",
            Verdict::Refuted => "refuted",
            Verdict::Inconclusive { .. } => "inconclusive",
        }
    }
}

impl Report {
    /// For a terminal. What came from events cannot move the cursor or hide itself.
    pub fn text(&self) -> String {
        crate::text::text(self)
    }

    /// For a ticket or a wiki.
    pub fn markdown(&self) -> String {
        crate::markdown::markdown(self)
    }
}

impl Range {
    pub(crate) fn words(&self) -> String {
        match (self.since, self.until) {
            (None, None) => "all of time".to_owned(),
            (Some(since), None) => format!("since {since}"),
            (None, Some(until)) => format!("until {until}"),
            (Some(since), Some(until)) => format!("{since} to {until}"),
        }
    }
}

impl Check {
    /// What was counted, in words.
    pub(crate) fn what(&self) -> String {
        let field = self.field.as_deref().unwrap_or_default();
        match self.kind {
            CheckKind::Events => "events".to_owned(),
            CheckKind::Filled => format!("events with {field}"),
            CheckKind::Distinct => format!("different {field}"),
            CheckKind::Covered => "time with events".to_owned(),
        }
    }

    pub(crate) fn shown(&self, cell: &Cell) -> String {
        let number = match cell {
            Cell::Int(number) => *number as f64,
            Cell::Float(number) => *number,
            other => return other.to_string(),
        };
        match self.kind {
            CheckKind::Events | CheckKind::Distinct => cell.to_string(),
            // Rounded down: what was not enough must not look as if it were.
            CheckKind::Filled | CheckKind::Covered => {
                format!("{}%", (number * 1000.0 + 1e-6).floor() / 10.0)
            }
        }
    }
}

impl StepReport {
    /// What it found, in words: `2 rows`.
    pub(crate) fn found_words(&self) -> String {
        let noun = if self.columns.is_empty() { "event" } else { "row" };
        match self.found {
            0 => "nothing".to_owned(),
            1 => format!("1 {noun}"),
            n => format!("{n} {noun}s"),
        }
    }
}

/// A text without anything that a terminal would obey or that would hide or turn around what
/// follows; what it stands for is shown as an escape.
pub(crate) fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let turns = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        if c.is_control() || turns {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// The beginning of a text that is too long.
pub(crate) fn cut(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    let mut out: String = text.chars().take(chars_max.saturating_sub(1)).collect();
    out.push('…');
    out
}
