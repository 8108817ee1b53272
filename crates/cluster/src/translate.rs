//! From a filter to the query DSL.
//!
//! Every part gives a condition that holds wherever the part does, and says whether it holds nowhere
//! else. What is not exact can be widened further (an `and` needs only one good part) but not turned
//! around: the negation of something too wide is everything.

use event::Timestamp;
use query::{Bound, FieldName, FieldTest, Filter, Glob, Piece, Term, Test, Words};
use serde_json::{Value, json};

use crate::fields::{Fields, Kind, WORDS};
use crate::regexp;

/// The most fields that a pattern of names stands for in one query; beyond it everything is looked at.
const NAMES_MAX: usize = 200;

/// A condition of the query DSL.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Condition {
    pub(crate) query: Value,
    /// Whether it holds only where the filter does.
    pub(crate) is_exact: bool,
}

impl Condition {
    fn exact(query: Value) -> Condition {
        Condition { query, is_exact: true }
    }

    fn wider(query: Value) -> Condition {
        Condition { query, is_exact: false }
    }

    fn all() -> Condition {
        Condition::exact(json!({"match_all": {}}))
    }

    fn none() -> Condition {
        Condition::exact(json!({"match_none": {}}))
    }
}

/// The condition of a filter, over fields that are indexed like this.
pub(crate) fn translate(filter: &Filter, fields: &Fields) -> Condition {
    match filter {
        Filter::All => Condition::all(),
        Filter::Words(test) => words(&test.words, fields),
        Filter::Field(test) => field(test, fields),
        Filter::Not(inner) => {
            let inner = translate(inner, fields);
            match inner.is_exact {
                true => Condition::exact(json!({"bool": {"must_not": [inner.query]}})),
                false => Condition::wider(json!({"match_all": {}})),
            }
        }
        Filter::And(all) => joined(all.iter().map(|filter| translate(filter, fields)), "filter"),
        Filter::Or(all) => any(all.iter().map(|filter| translate(filter, fields))),
    }
}

fn joined(conditions: impl Iterator<Item = Condition>, how: &str) -> Condition {
    let (mut queries, mut is_exact) = (Vec::new(), true);
    for condition in conditions {
        queries.push(condition.query);
        is_exact &= condition.is_exact;
    }
    Condition { query: json!({"bool": {how: queries}}), is_exact }
}

fn any(conditions: impl Iterator<Item = Condition>) -> Condition {
    let mut conditions: Vec<Condition> = conditions.collect();
    conditions.retain(|condition| *condition != Condition::none());
    match conditions.len() {
        0 => Condition::none(),
        1 => conditions.swap_remove(0),
        _ => joined(conditions.into_iter(), "should"),
    }
}

fn words(words: &Words, fields: &Fields) -> Condition {
    match fields.kind(WORDS) {
        Some(Kind::Text) => text(WORDS, words),
        // Indexed without our template: there is nothing to look in.
        _ => Condition::wider(json!({"match_all": {}})),
    }
}

/// Words one after the other in a field of text.
fn text(path: &str, words: &Words) -> Condition {
    match words {
        Words::Plain(words) if words.is_empty() => Condition::none(),
        Words::Plain(words) => {
            let is_exact = words.iter().all(|word| word.chars().count() < query::WORD_CHARS_MAX);
            let query = json!({"match_phrase": {path: words.join(" ")}});
            Condition { query, is_exact }
        }
        Words::Globs(globs) if globs.is_empty() => Condition::none(),
        Words::Globs(globs) => {
            let each = globs.iter().map(|glob| wildcard(path, glob));
            let all = joined(each, "filter");
            // Lucene knows no phrase of patterns that is not cut off at some number of words.
            Condition { is_exact: all.is_exact && globs.len() == 1, ..all }
        }
    }
}

fn field(test: &FieldTest, fields: &Fields) -> Condition {
    if !test.field.is_pattern() {
        return named(test.field.as_str(), &test.test, fields);
    }
    let names: Vec<&str> = matching(&test.field, fields);
    if names.len() > NAMES_MAX {
        return Condition::wider(json!({"match_all": {}}));
    }
    any(names.into_iter().map(|name| named(name, &test.test, fields)))
}

fn matching<'f>(name: &FieldName, fields: &'f Fields) -> Vec<&'f str> {
    fields.names().filter(|field| name.names(field)).collect()
}

/// A test of the field of this name.
fn named(path: &str, test: &Test, fields: &Fields) -> Condition {
    let Some(kind) = fields.kind(path) else { return Condition::none() };
    let there = || json!({"exists": {"field": path}});
    if matches!(test, Test::Exists) {
        return Condition::exact(there());
    }
    if query::is_unsearched(path) || query::is_text(path) != (kind == Kind::Text) {
        // A field of text has to be indexed as one, and no other may be.
        return match kind {
            Kind::Object => Condition::none(),
            _ => Condition::wider(there()),
        };
    }
    match kind {
        Kind::Object => Condition::none(),
        Kind::Other => Condition::wider(there()),
        Kind::Text => match test.words() {
            Some(words) => text(path, &words),
            None => Condition::wider(there()),
        },
        Kind::Keyword => keyword(path, test).unwrap_or_else(|| Condition::wider(there())),
        Kind::Ip => ip(path, test).unwrap_or_else(|| Condition::wider(there())),
        Kind::Long | Kind::Double => {
            number(path, test).unwrap_or_else(|| Condition::wider(there()))
        }
        Kind::Date => date(path, test).unwrap_or_else(|| Condition::wider(there())),
        Kind::Boolean => match test {
            Test::Equal(term) => match term.folded() {
                "true" | "false" => {
                    Condition::exact(json!({"term": {path: term.folded() == "true"}}))
                }
                _ => Condition::none(),
            },
            Test::Range { low: Bound::Open, high: Bound::Open } => Condition::exact(there()),
            Test::Range { .. } => Condition::none(),
            _ => Condition::wider(there()),
        },
    }
}

fn keyword(path: &str, test: &Test) -> Option<Condition> {
    match test {
        // An address can be written in several ways, and a network stands for many.
        Test::Equal(term) if term.network().is_some() => None,
        Test::Equal(term) => Some(whole(path, term.folded())),
        Test::Like(glob) => Some(wildcard(path, glob)),
        Test::Regex(regex) => {
            let expression = regexp::translate(regex.as_str())?;
            Some(Condition::exact(
                json!({"regexp": {path: {"value": expression, "flags": "NONE"}}}),
            ))
        }
        Test::Range { .. } | Test::Exists => None,
    }
}

/// A value in any case. Clusters fold ASCII only.
fn whole(path: &str, folded: &str) -> Condition {
    if folded.is_ascii() {
        return Condition::exact(
            json!({"term": {path: {"value": folded, "case_insensitive": true}}}),
        );
    }
    like(path, &[Piece::Literal(folded.to_owned())])
}

fn wildcard(path: &str, glob: &Glob) -> Condition {
    like(path, glob.pieces())
}

fn like(path: &str, pieces: &[Piece]) -> Condition {
    let (mut pattern, mut is_exact) = (String::new(), true);
    for piece in pieces {
        match piece {
            Piece::Any => pattern.push('*'),
            Piece::One => pattern.push('?'),
            Piece::Literal(text) => {
                for c in query::fold(text).chars() {
                    match c {
                        '*' | '?' | '\\' => pattern.extend(['\\', c]),
                        c if c.is_ascii() => pattern.push(c),
                        // Whatever its other case is, it is one character, or several.
                        _ => {
                            pattern.push('*');
                            is_exact = false;
                        }
                    }
                }
            }
        }
    }
    let query = json!({"wildcard": {path: {"value": pattern, "case_insensitive": true}}});
    Condition { query, is_exact }
}

fn ip(path: &str, test: &Test) -> Option<Condition> {
    match test {
        Test::Equal(term) => Some(match term.network() {
            Some(_) => Condition::exact(json!({"term": {path: term.raw()}})),
            None => Condition::none(),
        }),
        _ => None,
    }
}

fn number(path: &str, test: &Test) -> Option<Condition> {
    let written = |term: &Term| -> Option<Value> { serde_json::from_str(term.raw()).ok() };
    match test {
        Test::Equal(term) => Some(match term.number() {
            Some(_) => Condition::exact(json!({"term": {path: written(term)?}})),
            None => Condition::none(),
        }),
        Test::Range { low, high } => range(path, low, high, &|term| match term.number() {
            Some(_) => written(term).map_or(End::Unsaid, End::At),
            None => End::Never,
        }),
        _ => None,
    }
}

fn date(path: &str, test: &Test) -> Option<Condition> {
    let at = |time: Timestamp| Value::from(time.to_string());
    match test {
        Test::Equal(term) => Some(match term.moments() {
            Some((first, last)) => Condition::exact(json!({"range": {path: {
                "gte": at(first), "lte": at(last), "format": "strict_date_optional_time_nanos",
            }}})),
            None => Condition::none(),
        }),
        Test::Range { low, high } => range(path, low, high, &|term| match term.time() {
            Some(time) => End::At(at(time)),
            None => End::Never,
        }),
        _ => None,
    }
}

/// An end of a range as the cluster is told.
enum End {
    At(Value),
    /// No value of the field can be compared with it.
    Never,
    /// The cluster cannot be told.
    Unsaid,
}

fn range(path: &str, low: &Bound, high: &Bound, end: &dyn Fn(&Term) -> End) -> Option<Condition> {
    let mut ends = serde_json::Map::new();
    let names = [(low, "gte", "gt"), (high, "lte", "lt")];
    for (bound, including, excluding) in names {
        let (name, term) = match bound {
            Bound::Open => continue,
            Bound::Including(term) => (including, term),
            Bound::Excluding(term) => (excluding, term),
        };
        match end(term) {
            End::At(value) => ends.insert(name.to_owned(), value),
            End::Never => return Some(Condition::none()),
            End::Unsaid => return None,
        };
    }
    if ends.is_empty() {
        return Some(Condition::exact(json!({"exists": {"field": path}})));
    }
    Some(Condition::exact(json!({"range": {path: ends}})))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::translate;
    use crate::fields::Fields;

    fn fields() -> Fields {
        let caps = [
            ("user.name", "keyword"),
            ("host.name", "keyword"),
            ("user", "object"),
            ("message", "text"),
            ("process.pid", "long"),
            ("source.ip", "ip"),
            ("@timestamp", "date_nanos"),
            ("watchpost_words", "text"),
        ];
        let all: serde_json::Map<String, serde_json::Value> = caps
            .iter()
            .map(|(name, kind)| ((*name).to_owned(), json!({*kind: {"type": kind}})))
            .collect();
        Fields::read(&json!({"fields": all}))
    }

    /// The keys of objects sorted, whatever order they have in this build.
    fn sorted(value: &Value) -> String {
        match value {
            Value::Object(all) => {
                let all: BTreeMap<&String, String> =
                    all.iter().map(|(name, value)| (name, sorted(value))).collect();
                let all: Vec<String> =
                    all.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
                format!("{{{}}}", all.join(","))
            }
            Value::Array(all) => {
                format!("[{}]", all.iter().map(sorted).collect::<Vec<_>>().join(","))
            }
            other => other.to_string(),
        }
    }

    #[test]
    fn filters_become_conditions() {
        let told: Vec<String> = [
            "*",
            "anna",
            "\"access denied\"",
            "user.name:Anna and not host.name:ws-1",
            "user.name:(a or b)",
            "*.name:an*a",
            "message:\"logon failed\"",
            "message:*ogon fail*",
            "process.pid>=1000",
            "process.pid>x",
            "source.ip:10.0.0.0/8",
            "user.name:10.0.0.0/8",
            "@timestamp:2026-08-05",
            r"user.name:/^svc-\d$/",
            "user.name:/\\bsvc/",
            "user:*",
            "nothing:*",
            "not user.name>a",
            "user.name:Ärger",
        ]
        .iter()
        .map(|text| {
            let query = query::parse(text).unwrap();
            let condition = translate(&query.filter, &fields());
            let exact = if condition.is_exact { "" } else { " (wider)" };
            format!("{text}\n  {}{exact}", sorted(&condition.query))
        })
        .collect();
        insta::assert_snapshot!(told.join("\n"));
    }
}
