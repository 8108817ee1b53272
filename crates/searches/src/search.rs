//! What a file says, read and checked.

use event::{Level, RuleRef};
use query::Query;

/// A search with a name.
#[derive(Debug, Clone)]
pub struct SavedSearch {
    /// The file, as the caller named it.
    pub file: String,
    /// Its id: as written, or else the name of its file without the ending.
    pub id: String,
    /// Its title.
    pub title: String,
    /// What it is for.
    pub description: String,
    /// Sigma's tags, `attack.t1110.003` among them.
    pub tags: Vec<String>,
    /// The query as written.
    pub text: String,
    /// The query.
    pub query: Query,
    /// When it is asked and what it raises; `None` if it is only there to be asked by people.
    pub schedule: Option<Schedule>,
}

/// When a search is asked, of what, and what it raises.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// The time between two runs, in nanoseconds.
    pub every_nanos: i64,
    /// How far back each looks, in nanoseconds; at least `every_nanos`.
    pub over_nanos: i64,
    /// What it raises.
    pub raise: Raise,
}

/// What is raised.
#[derive(Debug, Clone)]
pub struct Raise {
    /// The title of the alerts.
    pub title: String,
    /// Their level.
    pub level: Level,
    /// When there is one.
    pub when: When,
    /// What tells one alert of a run from another; one alert for the run if empty.
    pub group: Vec<String>,
    /// For how long a group has no second alert, in nanoseconds.
    pub suppress_nanos: Option<i64>,
}

/// When there is an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// One for each row of the query's table.
    Rows,
    /// When the number of events, or of rows, compares so.
    Count(Comparison, u64),
}

/// How a number is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `>`
    Above,
    /// `>=`
    AtLeast,
    /// `=`
    Exactly,
    /// `<=`
    AtMost,
    /// `<`
    Below,
}

impl Comparison {
    /// All of them; the longer signs first, so that a text is read right.
    pub(crate) const ALL: [Comparison; 5] = [
        Comparison::AtLeast,
        Comparison::AtMost,
        Comparison::Above,
        Comparison::Below,
        Comparison::Exactly,
    ];

    /// As it is written.
    pub const fn sign(self) -> &'static str {
        match self {
            Comparison::Above => ">",
            Comparison::AtLeast => ">=",
            Comparison::Exactly => "=",
            Comparison::AtMost => "<=",
            Comparison::Below => "<",
        }
    }

    /// Whether it holds.
    pub const fn holds(self, count: u64, bound: u64) -> bool {
        match self {
            Comparison::Above => count > bound,
            Comparison::AtLeast => count >= bound,
            Comparison::Exactly => count == bound,
            Comparison::AtMost => count <= bound,
            Comparison::Below => count < bound,
        }
    }

    /// Whether more events can make it false, so that it says nothing of a part of them.
    pub const fn needs_all(self) -> bool {
        !matches!(self, Comparison::Above | Comparison::AtLeast)
    }
}

impl std::fmt::Display for When {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            When::Rows => f.write_str("rows"),
            When::Count(comparison, bound) => write!(f, "count {} {bound}", comparison.sign()),
        }
    }
}

impl SavedSearch {
    /// What stands for a rule in its alerts.
    pub(crate) fn rule(&self, raise: &Raise) -> RuleRef {
        RuleRef {
            id: self.id.clone(),
            title: raise.title.clone(),
            level: raise.level,
            tags: self.tags.clone(),
            description: self.description.clone(),
            file: self.file.clone(),
            ..RuleRef::default()
        }
    }
}
