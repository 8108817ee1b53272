//! A query with places for what former steps found.
//!
//! When a file is read, each reference is replaced by a stand-in of the same length, in the very
//! form that its values will have (`("…")`), and the query is parsed. The references must come
//! back as values of fields, all of them and nowhere else; so one that stands in quotes, in a
//! regular expression, in a range or where a pipe counts is a fault of the file, found before
//! anything runs. That the length is the same keeps the columns of faults right.

use query::{Filter, Pipe, Query, Test};
use sigma::{Code, suggest};

use crate::shape::{self, Columns};
use crate::values::Values;

/// The most references of one query.
pub const REFERENCES_MAX: usize = 16;

/// A query with places for what former steps found.
#[derive(Debug, Clone)]
pub struct Template {
    /// As written.
    pub text: String,
    /// In the order of the text.
    pub references: Vec<Reference>,
    /// The query, with a stand-in for each reference.
    query: Query,
}

/// A place for the values of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The index of the step that finds them.
    pub step: usize,
    /// The column, or the field of events.
    pub column: String,
    /// Where it stands in the text, in bytes.
    start: usize,
    end: usize,
}

/// What is wrong with a query.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) code: Code,
    /// How many characters stand before the place.
    pub(crate) at: usize,
    pub(crate) length: usize,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

/// A step that a reference may name.
pub(crate) struct Known<'s> {
    pub(crate) id: &'s str,
    /// `None` if its own query is wrong, or it is not read yet.
    pub(crate) columns: Option<Columns>,
}

/// The first of the characters that stand in for references; private use, so that no event is
/// likely to have them, and nothing goes wrong if one does.
const STAND_IN: u32 = 0xE000;

impl Template {
    /// Reads the query of the step at `own` among `steps`.
    pub(crate) fn parse(text: &str, steps: &[Known<'_>], own: usize) -> Result<Template, Fault> {
        let references = references(text, steps, own)?;
        let place = |reference: &Reference| {
            let at = chars(text.get(..reference.start).unwrap_or_default());
            (at, chars(text.get(reference.start..reference.end).unwrap_or_default()))
        };
        let in_places = |make: &dyn Fn(usize, usize) -> String| {
            let mut plain = text.to_owned();
            for (n, reference) in references.iter().enumerate().rev() {
                let (_, length) = place(reference);
                plain.replace_range(reference.start..reference.end, &make(n, length));
            }
            plain
        };
        let values = in_places(&|n, length| {
            format!("(\"{}\")", stand_in(n).to_string().repeat(length.saturating_sub(4)))
        });
        let query = query::parse(&values).map_err(|error| {
            let at = error.column.saturating_sub(1);
            let is_at = |(start, length): &(usize, usize)| (*start..start + length).contains(&at);
            // Where a word could stand but a list of values cannot, the reference is at fault,
            // wherever the parser noticed.
            let words = in_places(&|_, length| "x".repeat(length));
            let first = references.iter().map(&place).next();
            let at_fault = references.iter().map(&place).find(is_at);
            match at_fault.or_else(|| first.filter(|_| query::parse(&words).is_ok())) {
                Some((at, length)) => misplaced(at, length),
                None => Fault {
                    code: Code::Query,
                    at,
                    length: 1,
                    message: error.message,
                    help: error.help,
                },
            }
        })?;
        for (n, reference) in references.iter().enumerate() {
            let mut count = 0;
            for_each_test(&query, &mut |filter| {
                count += usize::from(stands_for(filter) == Some(n))
            });
            if count != 1 {
                let (at, length) = place(reference);
                return Err(misplaced(at, length));
            }
        }
        Ok(Template { text: text.to_owned(), references, query })
    }

    /// The columns of its answer.
    pub(crate) fn columns(&self) -> Columns {
        shape::columns(&self.query)
    }

    /// The query with the values in their places. `values` has one text for each reference, as
    /// [`Values::written`] gives it.
    pub(crate) fn filled(&self, values: &[String]) -> String {
        let mut text = self.text.clone();
        for (reference, value) in self.references.iter().zip(values).rev() {
            text.replace_range(reference.start..reference.end, value);
        }
        text
    }

    /// How many bytes the values of one reference may take, so that the whole stays a query.
    pub(crate) fn bytes_max(&self) -> usize {
        let left = query::QUERY_BYTES_MAX.saturating_sub(self.text.len());
        left / self.references.len().max(1)
    }

    /// Whether no event can pass, when the references for which `is_empty` have no values.
    pub(crate) fn finds_nothing(&self, is_empty: &dyn Fn(usize) -> bool) -> bool {
        let (filters, _) = shape::on_events(&self.query);
        truth(&Filter::and(filters), is_empty) == Some(false)
    }

    /// Whether more values can only add to what passes: no reference stands under a `not`.
    pub(crate) fn only_grows(&self) -> bool {
        let mut under_not = false;
        for filter in filters(&self.query) {
            for_each_not(filter, &mut |inner| {
                for_each(inner, &mut |filter| under_not |= stands_for(filter).is_some());
            });
        }
        // Under two `not`s they would add again; nobody writes that.
        !under_not
    }
}

/// The values of a reference, as they were put in.
pub(crate) struct Written {
    pub(crate) text: String,
    pub(crate) used: usize,
    pub(crate) of: usize,
}

impl Written {
    pub(crate) fn new(values: &Values, count_max: usize, bytes_max: usize) -> Written {
        let (text, used) = values.written(count_max, bytes_max);
        Written { text, used, of: values.len() }
    }
}

fn references(text: &str, steps: &[Known<'_>], own: usize) -> Result<Vec<Reference>, Fault> {
    let mut references = Vec::new();
    let mut from = 0;
    while let Some(start) = text.get(from..).and_then(|rest| rest.find("{{")).map(|at| from + at) {
        let at = chars(text.get(..start).unwrap_or_default());
        let fault = |length: usize, message: String, help: String| {
            let help = Some(help);
            Err(Fault { code: Code::UnknownStep, at, length, message, help })
        };
        let inside = text.get(start + 2..).unwrap_or_default();
        let Some(inside) = inside.find("}}").and_then(|length| inside.get(..length)) else {
            let help = "a reference is written `{{step.column}}`".to_owned();
            return fault(2, "this `{{` is not closed by `}}`".to_owned(), help);
        };
        let end = start + 2 + inside.len() + 2;
        let length = chars(inside) + 4;
        if references.len() == REFERENCES_MAX {
            let message = format!("the query has more than {REFERENCES_MAX} references");
            return fault(length, message, "split the step into several".to_owned());
        }
        let name = inside.trim();
        let Some((id, column)) = name.split_once('.').filter(|(_, column)| !column.is_empty())
        else {
            let message = format!("`{name}` names no column of a step");
            return fault(length, message, "a reference is written `{{step.column}}`".to_owned());
        };
        let former = steps.get(..own).unwrap_or_default();
        let former_ids = || former.iter().map(|step| step.id);
        let Some(step) = steps.iter().position(|step| step.id == id) else {
            let message = format!("there is no step `{id}`");
            let help = match own {
                0 => "the first step can't use what another found".to_owned(),
                _ => suggest::help(id, former_ids()),
            };
            return fault(length, message, help);
        };
        if step >= own {
            let message = match step == own {
                true => format!("the step `{id}` can't use what it finds itself"),
                false => format!("the step `{id}` comes after this one"),
            };
            let help = "a step can use what steps before it found".to_owned();
            return fault(length, message, help);
        }
        if let Some(Columns::These(names)) = &steps.get(step).and_then(|s| s.columns.clone())
            && !names.iter().any(|known| known == column)
        {
            let message = format!("what the step `{id}` finds has no column `{column}`");
            return fault(length, message, suggest::help(column, names.iter().map(String::as_str)));
        }
        if column.contains('*') {
            let message = format!("`{column}` names several columns");
            return fault(length, message, "a reference takes the values of one".to_owned());
        }
        references.push(Reference { step, column: column.to_owned(), start, end });
        from = end;
    }
    Ok(references)
}

fn misplaced(at: usize, length: usize) -> Fault {
    Fault {
        code: Code::Query,
        at,
        length,
        message: "a reference can't stand here".to_owned(),
        help: Some("it stands for the values of a field: `field:{{step.column}}`".to_owned()),
    }
}

fn stand_in(reference: usize) -> char {
    u32::try_from(reference).ok().and_then(|n| char::from_u32(STAND_IN + n)).unwrap_or('\u{f8ff}')
}

/// Which reference a test stands for.
fn stands_for(filter: &Filter) -> Option<usize> {
    let Filter::Field(test) = filter else { return None };
    let Test::Equal(term) = &test.test else { return None };
    let mut chars = term.raw().chars();
    let first = chars.next()?;
    let number = usize::try_from(u32::from(first).checked_sub(STAND_IN)?).ok()?;
    (number < REFERENCES_MAX && chars.all(|c| c == first)).then_some(number)
}

/// Whether a filter holds for every event or for none; `None` if that depends on the event.
fn truth(filter: &Filter, is_empty: &dyn Fn(usize) -> bool) -> Option<bool> {
    match filter {
        Filter::All => Some(true),
        Filter::Field(_) => stands_for(filter).filter(|n| is_empty(*n)).map(|_| false),
        Filter::Words(_) => None,
        Filter::Not(inner) => truth(inner, is_empty).map(|value| !value),
        Filter::And(parts) => {
            let mut values = parts.iter().map(|part| truth(part, is_empty));
            values
                .try_fold(true, |all, value| match value {
                    Some(false) => Err(Some(false)),
                    Some(true) => Ok(all),
                    None => Ok(false),
                })
                .map_or_else(|decided| decided, |all| all.then_some(true))
        }
        Filter::Or(parts) => {
            let mut values = parts.iter().map(|part| truth(part, is_empty));
            values
                .try_fold(true, |all, value| match value {
                    Some(true) => Err(Some(true)),
                    Some(false) => Ok(all),
                    None => Ok(false),
                })
                .map_or_else(|decided| decided, |all| all.then_some(false))
        }
    }
}

/// The filter of a query and those of its pipes.
fn filters(query: &Query) -> impl Iterator<Item = &Filter> {
    let piped = query.pipes.iter().filter_map(|pipe| match pipe {
        Pipe::Where(filter) => Some(filter),
        _ => None,
    });
    std::iter::once(&query.filter).chain(piped)
}

fn for_each_test(query: &Query, each: &mut dyn FnMut(&Filter)) {
    for filter in filters(query) {
        for_each(filter, each);
    }
}

fn for_each(filter: &Filter, each: &mut dyn FnMut(&Filter)) {
    each(filter);
    match filter {
        Filter::Not(inner) => for_each(inner, each),
        Filter::And(parts) | Filter::Or(parts) => {
            parts.iter().for_each(|part| for_each(part, each));
        }
        Filter::All | Filter::Words(_) | Filter::Field(_) => {}
    }
}

fn for_each_not(filter: &Filter, each: &mut dyn FnMut(&Filter)) {
    for_each(filter, &mut |filter| {
        if let Filter::Not(inner) = filter {
            each(inner);
        }
    });
}

fn chars(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::{Columns, Known, Template};

    fn steps() -> Vec<Known<'static>> {
        let table =
            Columns::These(vec!["source.ip".into(), "count".into(), "dc(user.name)".into()]);
        vec![
            Known { id: "spray", columns: Some(table) },
            Known { id: "login", columns: Some(Columns::Any) },
            Known { id: "own", columns: None },
            Known { id: "later", columns: None },
        ]
    }

    fn shown(text: &str) -> String {
        match Template::parse(text, &steps(), 2) {
            Ok(template) => {
                let values: Vec<String> =
                    template.references.iter().map(|r| format!("(\"{}\")", r.column)).collect();
                let filled = template.filled(&values);
                query::parse(&filled).unwrap_or_else(|error| panic!("{}", error.render()));
                filled
            }
            Err(fault) => {
                let mark = format!("{}{}", " ".repeat(fault.at), "^".repeat(fault.length));
                let help = fault.help.map(|help| format!("; {help}")).unwrap_or_default();
                format!("{text}\n{mark} {}{help}", fault.message)
            }
        }
    }

    #[test]
    fn references_stand_for_values() {
        insta::assert_snapshot!(shown("ä x:{{spray.source.ip}} and not y={{ login.user.name }}"), @r#"ä x:("source.ip") and not y=("user.name")"#);
        insta::assert_snapshot!(shown("x:(a or {{spray.count}}) | where n:{{spray.dc(user.name)}}"), @r#"x:(a or ("count")) | where n:("dc(user.name)")"#);
    }

    #[test]
    fn faults_have_a_place() {
        insta::assert_snapshot!(shown("x:{{sprai.source.ip}}"), @r"
        x:{{sprai.source.ip}}
          ^^^^^^^^^^^^^^^^^^^ there is no step `sprai`; did you mean `spray`?
        ");
        insta::assert_snapshot!(shown("x:{{spray.source.pi}}"), @r"
        x:{{spray.source.pi}}
          ^^^^^^^^^^^^^^^^^^^ what the step `spray` finds has no column `source.pi`; did you mean `source.ip`?
        ");
        insta::assert_snapshot!(shown("x:{{later.a}}"), @r"
        x:{{later.a}}
          ^^^^^^^^^^^ the step `later` comes after this one; a step can use what steps before it found
        ");
        insta::assert_snapshot!(shown("x:{{own.a}}"), @r"
        x:{{own.a}}
          ^^^^^^^^^ the step `own` can't use what it finds itself; a step can use what steps before it found
        ");
        insta::assert_snapshot!(shown("x:{{spray}}"), @r"
        x:{{spray}}
          ^^^^^^^^^ `spray` names no column of a step; a reference is written `{{step.column}}`
        ");
        insta::assert_snapshot!(shown("x:{{spray.count"), @r"
        x:{{spray.count
          ^^ this `{{` is not closed by `}}`; a reference is written `{{step.column}}`
        ");
        insta::assert_snapshot!(shown("x:{{login.user.*}}"), @r"
        x:{{login.user.*}}
          ^^^^^^^^^^^^^^^^ `user.*` names several columns; a reference takes the values of one
        ");
        // What follows the reference keeps its column.
        insta::assert_snapshot!(shown("x:{{login.a}} and y:"), @r"
        x:{{login.a}} and y:
                            ^ a value is missing after `y`; `y:*` finds events that have the field
        ");
    }

    #[test]
    fn references_stand_nowhere_else() {
        for text in [
            "{{login.a}}",
            "x:\"{{login.a}}\"",
            "x:/a{{login.a}}b/",
            "x>{{login.a}}",
            "x:[1 TO {{login.a}}]",
            "x:a{{login.a}}",
            "* | head {{login.a}}",
            "* | stats count by {{login.a}}",
            "{{login.a}}:x",
        ] {
            let fault = Template::parse(text, &steps(), 2).expect_err(text);
            assert_eq!(fault.message, "a reference can't stand here", "{text}");
        }
    }

    #[test]
    fn without_values_a_step_may_find_nothing() {
        for (text, wanted) in [
            ("x:{{login.a}}", true),
            ("a and x:{{login.a}} | stats count", true),
            ("a | where x:{{login.a}}", true),
            ("a or x:{{login.a}}", false),
            ("a and not x:{{login.a}}", false),
            ("x:{{login.a}} or x:{{login.b}}", true),
            ("not (x:{{login.a}} or *)", true),
            ("a", false),
        ] {
            let template = Template::parse(text, &steps(), 2).expect("valid");
            assert_eq!(template.finds_nothing(&|_| true), wanted, "{text}");
            assert!(!template.finds_nothing(&|_| false) || text.starts_with("not"), "{text}");
        }
        assert!(Template::parse("a x:{{login.a}}", &steps(), 2).expect("valid").only_grows());
        assert!(!Template::parse("a -x:{{login.a}}", &steps(), 2).expect("valid").only_grows());
    }
}
