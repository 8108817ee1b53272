//! Writes a tree as text that reads back as the same tree.

use std::fmt::{self, Display, Formatter, Write};

use crate::glob::{Glob, Piece};
use crate::tree::{
    Aggregate, Bound, Column, FieldTest, Filter, Pattern, Pipe, Query, Sequence, SortKey, Stats,
    Test,
};

impl Display for Query {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.filter.fmt(f)?;
        self.pipes.iter().try_for_each(|pipe| write!(f, " | {pipe}"))
    }
}

impl Display for Filter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Filter::All => f.write_char('*'),
            Filter::Words(test) => match &test.pattern {
                Pattern::Text(text) => value(f, text),
                Pattern::Glob(glob) => pattern(f, glob),
            },
            Filter::Field(test) => test.fmt(f),
            Filter::Not(inner) => {
                f.write_str("not ")?;
                grouped(f, inner)
            }
            Filter::And(all) => joined(f, all, " and "),
            Filter::Or(all) => joined(f, all, " or "),
        }
    }
}

fn joined(f: &mut Formatter<'_>, all: &[Filter], between: &str) -> fmt::Result {
    for (n, filter) in all.iter().enumerate() {
        if n > 0 {
            f.write_str(between)?;
        }
        grouped(f, filter)?;
    }
    Ok(())
}

fn grouped(f: &mut Formatter<'_>, filter: &Filter) -> fmt::Result {
    match filter {
        Filter::And(_) | Filter::Or(_) => write!(f, "({filter})"),
        other => other.fmt(f),
    }
}

impl Display for FieldTest {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let name = self.field.as_str();
        if name.chars().all(|c| plain(c) || c == '*') && !name.starts_with('-') && !keyword(name) {
            f.write_str(name)?;
        } else {
            quoted(f, name)?;
        }
        match &self.test {
            Test::Exists => f.write_str(":*"),
            Test::Equal(term) => {
                f.write_char(':')?;
                value(f, term.raw())
            }
            Test::Like(glob) => {
                f.write_char(':')?;
                pattern(f, glob)
            }
            Test::Regex(regex) => write!(f, ":/{}/", regex.as_str().replace('/', "\\/")),
            Test::Range { low: Bound::Open, high: Bound::Including(end) } => {
                one_sided(f, "<=", end.raw())
            }
            Test::Range { low: Bound::Open, high: Bound::Excluding(end) } => {
                one_sided(f, "<", end.raw())
            }
            Test::Range { low: Bound::Including(end), high: Bound::Open } => {
                one_sided(f, ">=", end.raw())
            }
            Test::Range { low: Bound::Excluding(end), high: Bound::Open } => {
                one_sided(f, ">", end.raw())
            }
            Test::Range { low, high } => {
                f.write_str(if matches!(low, Bound::Excluding(_)) { ":{" } else { ":[" })?;
                end(f, low)?;
                f.write_str(" TO ")?;
                end(f, high)?;
                f.write_char(if matches!(high, Bound::Excluding(_)) { '}' } else { ']' })
            }
        }
    }
}

fn one_sided(f: &mut Formatter<'_>, sign: &str, text: &str) -> fmt::Result {
    f.write_str(sign)?;
    value(f, text)
}

fn end(f: &mut Formatter<'_>, bound: &Bound) -> fmt::Result {
    match bound {
        Bound::Open => f.write_char('*'),
        Bound::Including(term) | Bound::Excluding(term) => value(f, term.raw()),
    }
}

fn plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '@' | '-')
}

fn keyword(text: &str) -> bool {
    ["and", "or", "not", "to", "by", "as", "asc", "desc", "within"]
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word))
}

/// A value as it is written in a query.
pub(crate) fn value_text(text: &str) -> String {
    struct Value<'t>(&'t str);
    impl Display for Value<'_> {
        fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
            value(f, self.0)
        }
    }
    Value(text).to_string()
}

fn value(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    let bare = !text.is_empty() && text.chars().all(plain) && !text.starts_with('-');
    if bare && !keyword(text) { f.write_str(text) } else { quoted(f, text) }
}

fn quoted(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            f.write_char('\\')?;
        }
        f.write_char(c)?;
    }
    f.write_char('"')
}

fn pattern(f: &mut Formatter<'_>, glob: &Glob) -> fmt::Result {
    for piece in glob.pieces() {
        match piece {
            Piece::Any => f.write_char('*')?,
            Piece::One => f.write_char('?')?,
            Piece::Literal(text) => {
                for c in text.chars() {
                    if !c.is_alphanumeric() && !matches!(c, '_' | '.' | '@') {
                        f.write_char('\\')?;
                    }
                    f.write_char(c)?;
                }
            }
        }
    }
    Ok(())
}

impl Display for Pipe {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Pipe::Stats(stats) => write!(f, "stats {stats}"),
            Pipe::Timechart { span_nanos, stats } => {
                write!(f, "timechart span={} {stats}", duration(*span_nanos))
            }
            Pipe::Top { count, fields, by, rare } => {
                write!(f, "{} {count} ", if *rare { "rare" } else { "top" })?;
                names(f, fields)?;
                grouped_by(f, by)
            }
            Pipe::Head(count) => write!(f, "head {count}"),
            Pipe::Sort(keys) => {
                f.write_str("sort ")?;
                list(f, keys, |f, SortKey { field, descending }| {
                    f.write_str(if *descending { "-" } else { "" })?;
                    value(f, field)
                })
            }
            Pipe::Fields(columns) => {
                f.write_str("fields ")?;
                list(f, columns, |f, Column { field, name }| {
                    value(f, field)?;
                    renamed(f, field, name)
                })
            }
            Pipe::Where(filter) => write!(f, "where {filter}"),
            Pipe::Dedup { count, fields } => {
                f.write_str("dedup ")?;
                // A field that looks like a number must not be taken for one.
                if *count != 1 || fields.first().is_some_and(|f| f.starts_with(is_digit)) {
                    write!(f, "{count} ")?;
                }
                names(f, fields)
            }
            Pipe::Sequence(Sequence { by, within_nanos, steps }) => {
                f.write_str("sequence")?;
                grouped_by(f, by)?;
                write!(f, " within {}", duration(*within_nanos))?;
                steps.iter().try_for_each(|step| write!(f, " [{step}]"))
            }
        }
    }
}

fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
}

fn names(f: &mut Formatter<'_>, fields: &[String]) -> fmt::Result {
    list(f, fields, |f, field| value(f, field))
}

fn grouped_by(f: &mut Formatter<'_>, fields: &[String]) -> fmt::Result {
    if fields.is_empty() {
        return Ok(());
    }
    f.write_str(" by ")?;
    names(f, fields)
}

fn renamed(f: &mut Formatter<'_>, default: &str, name: &str) -> fmt::Result {
    if name == default {
        return Ok(());
    }
    f.write_str(" as ")?;
    value(f, name)
}

impl Display for Stats {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        list(f, &self.aggregates, |f, Aggregate { function, field, name }| {
            let mut default = function.to_string();
            f.write_str(&default)?;
            if let Some(field) = field {
                f.write_char('(')?;
                value(f, field)?;
                f.write_char(')')?;
                default = format!("{default}({field})");
            }
            renamed(f, &default, name)
        })?;
        grouped_by(f, &self.by)
    }
}

fn list<T>(
    f: &mut Formatter<'_>,
    items: &[T],
    mut each: impl FnMut(&mut Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    for (n, item) in items.iter().enumerate() {
        if n > 0 {
            f.write_str(", ")?;
        }
        each(f, item)?;
    }
    Ok(())
}

/// A length of time in the largest unit that fits it whole. Those that were read fit milliseconds.
fn duration(nanos: i64) -> String {
    let millis = nanos / 1_000_000;
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if millis % size == 0 {
            return format!("{}{unit}", millis / size);
        }
    }
    format!("{millis}ms")
}
