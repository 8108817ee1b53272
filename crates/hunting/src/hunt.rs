//! What a hunt file says, read and checked.

use query::{Query, TimeRange};
use sigma::{Span, Tag};

use crate::expression::Expression;
use crate::template::Template;

/// A hypothesis that can be run.
#[derive(Debug, Clone)]
pub struct Hunt {
    /// The file, as the caller named it.
    pub file: String,
    /// Its id: as written, or else the name of its file without the ending.
    pub id: String,
    /// Its title.
    pub title: String,
    /// What is supposed to have happened, in a sentence or two.
    pub hypothesis: String,
    /// More about it.
    pub description: Option<String>,
    /// Who wrote it.
    pub author: Option<String>,
    /// When.
    pub date: Option<String>,
    /// Where to read more.
    pub references: Vec<String>,
    /// Sigma's tags, `attack.t1110.003` among them.
    pub tags: Vec<Tag>,
    /// How far back it looks unless it is told a range, in nanoseconds.
    pub since_nanos: Option<i64>,
    /// The data without which a search that finds nothing says nothing.
    pub needs: Vec<Need>,
    /// What is searched, in this order.
    pub steps: Vec<Step>,
    /// When the hypothesis is supported.
    pub supported_when: Expression,
    /// When it is refuted; `None` for when it is not supported.
    pub refuted_when: Option<Expression>,
    /// What to do about a hypothesis that is supported.
    pub next: Vec<String>,
    /// Where the document begins.
    pub span: Span,
}

/// Data that must be there.
#[derive(Debug, Clone)]
pub struct Need {
    /// What it is.
    pub title: String,
    /// The filter as written.
    pub text: String,
    /// The filter; it has no pipes.
    pub query: Query,
    /// The least number of events; at least 1.
    pub min_events: u64,
    /// Fields, and the share of the events that must have them, above 0 and up to 1.
    pub fields: Vec<(String, f64)>,
    /// Fields, and how many different values they must have at least.
    pub distinct: Vec<(String, u64)>,
    /// The share of the searched time, cut into some twenty parts, that must have events.
    pub covers: Option<f64>,
}

/// One search of a hunt.
#[derive(Debug, Clone)]
pub struct Step {
    /// The name by which expressions and later steps know it.
    pub id: String,
    /// What it looks for.
    pub title: String,
    /// The query, with places for what former steps found.
    pub query: Template,
    /// How many events, or rows of a table, make a find; at least 1.
    pub min_rows: u64,
    /// Whether the step holds when it finds something or when it does not.
    pub expect: Expect,
    /// Where its id stands.
    pub span: Span,
}

/// When a step holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expect {
    /// When it finds something.
    #[default]
    Some,
    /// When it finds nothing.
    None,
}

impl Hunt {
    /// The ATT&CK techniques of its tags: `T1110.003`.
    pub fn techniques(&self) -> Vec<String> {
        self.tags.iter().filter_map(Tag::technique).collect()
    }

    /// The ATT&CK tactics of its tags: `credential-access`.
    pub fn tactics(&self) -> Vec<String> {
        self.tags.iter().filter_map(Tag::tactic).collect()
    }

    /// The range of time that the file asks for with `since`; all of time if it does not.
    pub fn range(&self, now: event::Timestamp) -> TimeRange {
        TimeRange {
            since: self.since_nanos.map(|nanos| now.plus_nanos(nanos.saturating_neg())),
            until: None,
        }
    }
}
