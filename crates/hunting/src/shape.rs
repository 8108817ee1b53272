//! What can be said of a query's answer before it is run.
//!
//! Which columns it has, so that a reference to one that it lacks is a fault of the file. Which
//! fields its rows are groups of, so that the events behind a row can be shown. And whether more
//! data could only add to it: then what was found in half of the data is found, too.

use query::{Bound, Filter, Function, Pipe, Query, Stats, Test};

/// The columns of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Columns {
    /// Whole events: whatever fields they have.
    Any,
    /// A table with these.
    These(Vec<String>),
}

/// The columns that a query's answer has.
pub(crate) fn columns(query: &Query) -> Columns {
    query::columns(&query.pipes).map_or(Columns::Any, Columns::These)
}

/// How the rows of a table come from events.
pub(crate) struct Grouped {
    /// Which events.
    pub(crate) filter: Filter,
    /// By which fields. Not empty.
    pub(crate) by: Vec<String>,
}

/// The events and fields that a query's rows are groups of; `None` if that cannot be told, or the
/// answer has no groups.
pub(crate) fn grouped(query: &Query) -> Option<Grouped> {
    let (filters, rest) = on_events(query);
    let (first, rest) = rest.split_first()?;
    let by = match first {
        Pipe::Stats(Stats { by, .. }) => by.clone(),
        Pipe::Top { fields, by, .. } => by.iter().chain(fields).cloned().collect(),
        _ => return None,
    };
    let keeps = |pipe: &Pipe| match pipe {
        Pipe::Where(_) | Pipe::Sort(_) | Pipe::Head(_) | Pipe::Dedup { .. } => true,
        Pipe::Fields(columns) => by.iter().all(|field| {
            columns.iter().any(|column| column.field == *field && column.name == *field)
        }),
        _ => false,
    };
    let usable =
        !by.is_empty() && by.iter().all(|field| !field.contains('*')) && rest.iter().all(keeps);
    usable.then_some(Grouped { filter: Filter::and(filters), by })
}

/// The conditions on events, and the pipes after them.
pub(crate) fn on_events(query: &Query) -> (Vec<Filter>, &[Pipe]) {
    let mut filters = vec![query.filter.clone()];
    let mut rest = query.pipes.as_slice();
    while let Some((Pipe::Where(filter), after)) = rest.split_first() {
        filters.push(filter.clone());
        rest = after;
    }
    (filters, rest)
}

/// Whether more events could only add rows to the answer. Careful: `false` when in doubt.
pub(crate) fn only_grows(query: &Query) -> bool {
    let (_, rest) = on_events(query);
    let mut groups: Option<(&Stats, Vec<&str>)> = None;
    for pipe in rest {
        match (pipe, &groups) {
            // Under another name a column could be taken for one that grows.
            (Pipe::Fields(columns), _) if columns.iter().all(|c| c.field == c.name) => {}
            (Pipe::Sort(_), _) => {}
            (Pipe::Where(_), None) => {}
            (Pipe::Where(filter), Some((stats, growing))) => {
                if !keeps_growing(filter, stats, growing) {
                    return false;
                }
            }
            // Without `by` there is one row, whatever was found.
            (Pipe::Stats(stats), None) if !stats.by.is_empty() => {
                let growing = stats
                    .aggregates
                    .iter()
                    .filter(|aggregate| {
                        let function = aggregate.function;
                        matches!(function, Function::Count | Function::Distinct | Function::Max)
                    })
                    .map(|aggregate| aggregate.name.as_str())
                    .collect();
                groups = Some((stats, growing));
            }
            _ => return false,
        }
    }
    true
}

/// Whether a row that passes still passes when its counts grow.
fn keeps_growing(filter: &Filter, stats: &Stats, growing: &[&str]) -> bool {
    match filter {
        Filter::All => true,
        Filter::And(parts) | Filter::Or(parts) => {
            parts.iter().all(|part| keeps_growing(part, stats, growing))
        }
        Filter::Field(test) => {
            let name = test.field.as_str();
            let lower = matches!(
                &test.test,
                Test::Range { low: Bound::Including(_) | Bound::Excluding(_), high: Bound::Open }
            );
            is_key(name, stats) || (growing.contains(&name) && lower)
        }
        Filter::Not(inner) => of_keys(inner, stats),
        Filter::Words(_) => false,
    }
}

/// Whether a filter looks at nothing but the fields that make the groups, which do not change.
fn of_keys(filter: &Filter, stats: &Stats) -> bool {
    match filter {
        Filter::All => true,
        Filter::And(parts) | Filter::Or(parts) => parts.iter().all(|part| of_keys(part, stats)),
        Filter::Field(test) => is_key(test.field.as_str(), stats),
        Filter::Not(inner) => of_keys(inner, stats),
        Filter::Words(_) => false,
    }
}

fn is_key(name: &str, stats: &Stats) -> bool {
    let is_counted = stats.aggregates.iter().any(|aggregate| aggregate.name == name);
    !is_counted && stats.by.iter().any(|field| field == name)
}

#[cfg(test)]
mod tests {
    use super::{Columns, columns, grouped, only_grows};

    #[test]
    fn columns_are_known() {
        let of = |text: &str| match columns(&query::parse(text).expect("valid")) {
            Columns::Any => "any".to_owned(),
            Columns::These(names) => names.join(" "),
        };
        assert_eq!(of("a"), "any");
        assert_eq!(of("a | sort x | head 3"), "any");
        assert_eq!(of("a | stats count, dc(b) as n by c | where n > 3"), "c count n");
        assert_eq!(of("a | timechart span=1h by c"), "@timestamp c count");
        assert_eq!(of("a | top 3 user.name"), "user.name count");
        assert_eq!(of("a | stats count by c | fields c"), "c");
    }

    #[test]
    fn what_only_grows() {
        for (text, wanted) in [
            ("a", true),
            ("not a", true),
            ("a | where b:c | sort x", true),
            ("a | stats count by b", true),
            ("a | stats count, dc(x) as n by b | where n >= 8 and b:y", true),
            ("a | stats count by b | where not b:y", true),
            ("a | stats count by b | where count < 8", false),
            ("a | stats count by b | where not count < 8", false),
            ("a | stats count by b | where count:[1 TO 8]", false),
            ("a | stats count", false),
            ("a | stats avg(x) as mean by b | where mean > 8", false),
            ("a | stats count as b by b | where not b:3", false),
            ("a | top 3 b", false),
            ("a | head 3", false),
            ("a | stats count by b | head 3", false),
        ] {
            assert_eq!(only_grows(&query::parse(text).expect("valid")), wanted, "{text}");
        }
    }

    #[test]
    fn groups_are_found() {
        let of = |text: &str| grouped(&query::parse(text).expect("valid")).map(|g| g.by.join(" "));
        assert_eq!(of("a | where b:c | stats count by d, e | where count > 3"), Some("d e".into()));
        assert_eq!(of("a | top 3 d"), Some("d".into()));
        assert_eq!(of("a | stats count by d | stats count"), None);
        assert_eq!(of("a | stats count by d | fields count"), None);
        assert_eq!(of("a | head 3 | stats count by d"), None);
        assert_eq!(of("a | stats count"), None);
    }
}
