//! The syntax tree: what a query says, apart from how it was written.

use std::fmt;

use crate::glob::Glob;
use crate::term::Term;

/// Where something stood in the text: the number of characters before it. It is not part of the
/// meaning, so all places are equal.
#[derive(Debug, Clone, Copy, Default)]
pub struct At(pub usize);

impl PartialEq for At {
    fn eq(&self, _: &At) -> bool {
        true
    }
}
impl Eq for At {}

/// A whole query: which events, and what to do with them.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// Which events.
    pub filter: Filter,
    /// What is done with them, in this order.
    pub pipes: Vec<Pipe>,
}

/// Which events.
#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    /// Every event.
    All,
    /// Words in any field.
    Words(WordTest),
    /// A test of a field.
    Field(FieldTest),
    /// Where this does not hold.
    Not(Box<Filter>),
    /// Where all hold; two or more, none itself an `And`.
    And(Vec<Filter>),
    /// Where one holds; two or more, none itself an `Or`.
    Or(Vec<Filter>),
}

impl Filter {
    /// Where all of these hold.
    pub fn and(filters: Vec<Filter>) -> Filter {
        let mut flat = Vec::with_capacity(filters.len());
        for filter in filters {
            match filter {
                Filter::And(inner) => flat.extend(inner),
                other => flat.push(other),
            }
        }
        match flat.len() {
            0 => Filter::All,
            1 => flat.remove(0),
            _ => Filter::And(flat),
        }
    }

    /// Where one of these holds. There must be at least one.
    pub fn or(filters: Vec<Filter>) -> Filter {
        let mut flat = Vec::with_capacity(filters.len());
        for filter in filters {
            match filter {
                Filter::Or(inner) => flat.extend(inner),
                other => flat.push(other),
            }
        }
        match flat.len() {
            0 => Filter::Not(Box::new(Filter::All)),
            1 => flat.remove(0),
            _ => Filter::Or(flat),
        }
    }

    /// Where this does not hold.
    #[must_use]
    pub fn negated(self) -> Filter {
        Filter::Not(Box::new(self))
    }

    /// A field that is there.
    pub fn exists(field: &str) -> Filter {
        Filter::Field(FieldTest { field: FieldName::new(field), test: Test::Exists, at: At(0) })
    }

    /// A field that has this value.
    pub fn term(field: &str, value: &str) -> Filter {
        Filter::Field(FieldTest {
            field: FieldName::new(field),
            test: Test::Equal(Term::new(value)),
            at: At(0),
        })
    }
}

/// Words that stand one after the other in one value of any field.
#[derive(Debug, Clone, PartialEq)]
pub struct WordTest {
    /// What was written.
    pub pattern: Pattern,
    /// What is looked for.
    pub words: Words,
    /// Where it stood.
    pub at: At,
}

/// What was written where a value is wanted: a text, or a pattern.
#[derive(Debug, Clone, PartialEq)]
pub enum Pattern {
    /// A text without wildcards.
    Text(String),
    /// A text with wildcards.
    Glob(Glob),
}

impl Pattern {
    /// Cut into words.
    pub fn words(&self) -> Words {
        match self {
            Pattern::Text(text) => Words::Plain(crate::words(text)),
            Pattern::Glob(glob) => Words::Globs(glob.by_words()),
        }
    }
}

/// Words to look for, in their order.
#[derive(Debug, Clone, PartialEq)]
pub enum Words {
    /// These words.
    Plain(Vec<String>),
    /// Words like these.
    Globs(Vec<Glob>),
}

impl Words {
    /// Whether there is none to look for.
    pub fn is_empty(&self) -> bool {
        match self {
            Words::Plain(words) => words.is_empty(),
            Words::Globs(globs) => globs.is_empty(),
        }
    }
}

/// A test of a field.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldTest {
    /// The field, or several.
    pub field: FieldName,
    /// What must hold for one of its values.
    pub test: Test,
    /// Where it stood.
    pub at: At,
}

/// The name of a field, or a pattern of names.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldName {
    name: String,
    glob: Option<NameGlob>,
}

#[derive(Debug, Clone, PartialEq)]
struct NameGlob(Vec<String>);

impl FieldName {
    /// A name; a `*` in it stands for any run of characters.
    pub fn new(name: impl Into<String>) -> Self {
        let mut name = name.into();
        // Two in a row say no more than one.
        while name.contains("**") {
            name = name.replace("**", "*");
        }
        let glob =
            name.contains('*').then(|| NameGlob(name.split('*').map(str::to_owned).collect()));
        FieldName { name, glob }
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// Whether it is a pattern.
    pub fn is_pattern(&self) -> bool {
        self.glob.is_some()
    }

    /// Whether a field is meant. Case matters.
    pub fn names(&self, field: &str) -> bool {
        let Some(NameGlob(parts)) = &self.glob else { return self.name == field };
        let [first, middle @ .., last] = parts.as_slice() else { return false };
        let Some(mut rest) = field.strip_prefix(first.as_str()) else { return false };
        for part in middle {
            match rest.split_once(part.as_str()) {
                Some((_, after)) => rest = after,
                None => return false,
            }
        }
        rest.ends_with(last.as_str())
    }
}

/// What must hold for a value.
#[derive(Debug, Clone)]
pub enum Test {
    /// The field is there.
    Exists,
    /// It is this value; for text, it has these words.
    Equal(Term),
    /// It looks like this; for text, it has words like these.
    Like(Glob),
    /// The regular expression is found in it.
    Regex(regex::Regex),
    /// It lies between.
    Range {
        /// The lower end.
        low: Bound,
        /// The upper end.
        high: Bound,
    },
}

impl PartialEq for Test {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Test::Exists, Test::Exists) => true,
            (Test::Equal(a), Test::Equal(b)) => a == b,
            (Test::Like(a), Test::Like(b)) => a == b,
            (Test::Regex(a), Test::Regex(b)) => a.as_str() == b.as_str(),
            (Test::Range { low: a, high: b }, Test::Range { low: c, high: d }) => a == c && b == d,
            _ => false,
        }
    }
}

/// An end of a range.
#[derive(Debug, Clone, PartialEq)]
pub enum Bound {
    /// No end.
    Open,
    /// Up to and with.
    Including(Term),
    /// Up to and without.
    Excluding(Term),
}

/// One step after the filter.
#[derive(Debug, Clone, PartialEq)]
pub enum Pipe {
    /// `stats`: one row for each group.
    Stats(Stats),
    /// `timechart`: one row for each step of time and group.
    Timechart {
        /// The length of a step, in nanoseconds.
        span_nanos: i64,
        /// What is counted.
        stats: Stats,
    },
    /// `top` and `rare`: the most or the least frequent values.
    Top {
        /// How many; with `by`, for each group.
        count: usize,
        /// Of which fields; of several, their combinations. At least one.
        fields: Vec<String>,
        /// The fields that make a group.
        by: Vec<String>,
        /// The least frequent instead.
        rare: bool,
    },
    /// `head`: the first rows.
    Head(usize),
    /// `sort`: by these, the first matters most.
    Sort(Vec<SortKey>),
    /// `fields`: only these columns.
    Fields(Vec<Column>),
    /// `where`: only rows where this holds.
    Where(Filter),
    /// `dedup`: the first rows for each combination of values.
    Dedup {
        /// How many for each.
        count: usize,
        /// The values of which fields.
        fields: Vec<String>,
    },
    /// `sequence`: events that follow each other.
    Sequence(Sequence),
}

/// A column of `fields`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Whose values it has.
    pub field: String,
    /// Its name.
    pub name: String,
}

/// Events of one entity that pass these steps one after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Sequence {
    /// The fields whose values make an entity; without any, all events are of one.
    pub by: Vec<String>,
    /// The longest time from the first to the last event, in nanoseconds.
    pub within_nanos: i64,
    /// What each event must pass; two to [`Sequence::STEPS_MAX`].
    pub steps: Vec<Filter>,
}

impl Sequence {
    /// The most steps. What people look for has two to five.
    pub const STEPS_MAX: usize = 16;
}

/// What is counted, by which fields.
#[derive(Debug, Clone, PartialEq)]
pub struct Stats {
    /// At least one.
    pub aggregates: Vec<Aggregate>,
    /// The fields that make a group.
    pub by: Vec<String>,
}

/// One counted column.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregate {
    /// How it is counted.
    pub function: Function,
    /// Of which field; only `count` may have none.
    pub field: Option<String>,
    /// The column's name.
    pub name: String,
}

/// How a group's values become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// How many rows, or how many values of a field.
    Count,
    /// How many different values.
    Distinct,
    /// The sum of its numbers.
    Sum,
    /// Their average.
    Avg,
    /// The least.
    Min,
    /// The greatest.
    Max,
    /// The value of the earliest event, by `@timestamp`.
    First,
    /// The value of the latest event.
    Last,
    /// The least number that so many percent of the numbers do not exceed.
    Percentile(Percent),
}

impl Function {
    /// All that are written as a name alone.
    pub const NAMED: [Function; 8] = [
        Function::Count,
        Function::Distinct,
        Function::Sum,
        Function::Avg,
        Function::Min,
        Function::Max,
        Function::First,
        Function::Last,
    ];

    /// Whether it asks when a value came.
    pub fn is_by_time(self) -> bool {
        matches!(self, Function::First | Function::Last)
    }
}

impl fmt::Display for Function {
    /// As it is written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Function::Count => "count",
            Function::Distinct => "dc",
            Function::Sum => "sum",
            Function::Avg => "avg",
            Function::Min => "min",
            Function::Max => "max",
            Function::First => "first",
            Function::Last => "last",
            Function::Percentile(percent) => return write!(f, "p{percent}"),
        })
    }
}

/// A number of percent from 0 to 100, to thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percent(u32);

impl Percent {
    /// 50, the median's.
    pub const HALF: Percent = Percent(50_000);

    /// Reads `95` or `99.9`.
    pub fn parse(text: &str) -> Option<Percent> {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(part) || part.len() > 3 {
            return None;
        }
        let whole = whole.parse::<u32>().ok()?.checked_mul(1000)?;
        let part = format!("{part:0<3}").parse::<u32>().ok()?;
        Percent::from_thousandths(whole.checked_add(part)?)
    }

    /// So many thousandths of a percent.
    pub fn from_thousandths(thousandths: u32) -> Option<Percent> {
        (thousandths <= 100_000).then_some(Percent(thousandths))
    }

    /// Which of so many values in their order, from 0: the first that so many percent of them do
    /// not exceed.
    pub(crate) fn rank(self, count: u64) -> u64 {
        let rank = (u128::from(count) * u128::from(self.0)).div_ceil(100_000);
        u64::try_from(rank).unwrap_or(u64::MAX).saturating_sub(1)
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 1000, self.0 % 1000);
        if part == 0 {
            return write!(f, "{whole}");
        }
        write!(f, "{whole}.{}", format!("{part:03}").trim_end_matches('0'))
    }
}

/// A column to sort by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortKey {
    /// The column.
    pub field: String,
    /// The greatest first.
    pub descending: bool,
}
