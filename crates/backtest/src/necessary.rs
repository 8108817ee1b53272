//! From a rule to a filter that everything it matches passes.

use query::{At, Bound, FieldName, FieldTest, Filter, Glob, Term, Test};
use sigma::expr::{Atom, Expr, Pattern, Piece, Regex, Test as SigmaTest};
use sigma::{Logsource, logsource};

use event::ecs::{Type, field_type};
use event::logsource::{CATEGORY, PRODUCT};

/// What every event that the rule matches passes. Others may pass it too.
pub fn necessary(class: &Logsource, expr: &Expr) -> Filter {
    let mut all = Vec::new();
    if let Some(product) = &class.product {
        all.push(Filter::term(PRODUCT, product));
    }
    if let Some(category) = &class.category {
        let covered = logsource::categories(category);
        all.push(Filter::or(covered.map(|category| Filter::term(CATEGORY, category)).collect()));
    }
    all.push(of(expr));
    Filter::and(all.into_iter().filter(|filter| *filter != Filter::All).collect())
}

fn of(expr: &Expr) -> Filter {
    match expr {
        Expr::And(parts) => {
            Filter::and(parts.iter().map(of).filter(|filter| *filter != Filter::All).collect())
        }
        Expr::Or(parts) => {
            let parts: Vec<Filter> = parts.iter().map(of).collect();
            if parts.contains(&Filter::All) { Filter::All } else { Filter::or(parts) }
        }
        // What does not pass a wider filter of the part does not match it, but not the other way.
        Expr::Not(_) => Filter::All,
        Expr::Selection(_, part) => of(part),
        Expr::Atom(atom) => of_atom(atom),
    }
}

fn of_atom(atom: &Atom) -> Filter {
    // A keyword is looked for in parts of words and across them, which the index of words is not.
    let Some(field) = atom.field.as_deref() else { return Filter::All };
    // A star in a name would be a pattern of names.
    if field.contains('*') {
        return Filter::All;
    }
    let on_field =
        |test| Filter::Field(FieldTest { field: FieldName::new(field), test, at: At(0) });
    let test = match &atom.test {
        SigmaTest::Text(pattern) if query::is_text(field) => {
            return of_words(pattern, on_field);
        }
        SigmaTest::Text(pattern) => match of_pattern(field, pattern) {
            Some(test) => test,
            None => return Filter::All,
        },
        SigmaTest::Regex(regex) => of_regex(field, regex).map_or(Test::Exists, Test::Regex),
        SigmaTest::Cidr(_)
        | SigmaTest::Compare(..)
        | SigmaTest::FieldRef { .. }
        | SigmaTest::TimePart(..) => Test::Exists,
        // `null` and an empty list are there for a rule, and are nothing to the index.
        SigmaTest::Exists(_) | SigmaTest::Null => return Filter::All,
    };
    // The two write numbers differently: 7.0 is `7` to the index.
    let may_be_number = match (&test, &atom.test) {
        (Test::Regex(_), _) => true,
        (Test::Like(_), SigmaTest::Text(pattern)) => {
            literals(pattern).all(|(_, text, _)| is_in_numbers(text))
        }
        _ => false,
    };
    if may_be_number {
        return Filter::or(vec![on_field(test), on_field(any_number())]);
    }
    on_field(test)
}

/// The texts of a pattern, and whether a wildcard may go on with them before and behind.
fn literals(pattern: &Pattern) -> impl Iterator<Item = (bool, &str, bool)> {
    let last = pattern.pieces.len().saturating_sub(1);
    pattern.pieces.iter().enumerate().filter_map(move |(n, piece)| match piece {
        Piece::Literal(text) => Some((n > 0, text.as_str(), n < last)),
        Piece::One | Piece::Any => None,
    })
}

/// Whether a text may be a part of a number's.
fn is_in_numbers(text: &str) -> bool {
    text.bytes().all(|b| b"0123456789+-.eE".contains(&b))
        && text.bytes().filter(|b| *b == b'.').count() <= 1
}

fn any_number() -> Test {
    let bound = |number: f64| Bound::Including(Term::new(format!("{number:?}")));
    Test::Range { low: bound(f64::MIN), high: bound(f64::MAX) }
}

/// What a field that is compared by words must have for a pattern of the whole: each word of the pattern,
/// and parts of such as stand beside a wildcard.
fn of_words(pattern: &Pattern, on_field: impl Fn(Test) -> Filter) -> Filter {
    if pattern.pieces.iter().all(|piece| *piece == Piece::Any) {
        return Filter::All;
    }
    // Letters beyond ASCII are folded differently, and 7.0 is `7` to the index.
    let is_other = |text: &str| !text.is_ascii() || text.contains('.') && is_in_numbers(text);
    if literals(pattern).any(|(_, text, _)| is_other(text)) {
        return on_field(Test::Exists);
    }
    let (mut all, mut has_parts) = (Vec::new(), false);
    for (goes_on_before, text, goes_on_behind) in literals(pattern) {
        let words = query::words(text);
        let is_letter = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
        let starts = goes_on_before && is_letter(text.bytes().next());
        let ends = goes_on_behind && is_letter(text.bytes().last());
        let last = words.len().saturating_sub(1);
        for (n, word) in words.into_iter().enumerate() {
            let (before, behind) = (starts && n == 0, ends && n == last);
            if !before && !behind {
                all.push(on_field(Test::Equal(Term::new(word.as_str()))));
                continue;
            }
            has_parts = true;
            let star = |is_there: bool| is_there.then_some(query::Piece::Any);
            let pieces = star(before).into_iter().chain([query::Piece::Literal(word)]);
            all.push(on_field(Test::Like(Glob::new(pieces.chain(star(behind))))));
        }
    }
    match all.is_empty() {
        true => on_field(Test::Exists),
        false if has_parts => {
            // A part of a word may stand where the index cut a long one.
            let ones = std::iter::repeat_n(query::Piece::One, query::WORD_CHARS_MAX);
            let is_cut = Test::Like(Glob::new(ones.chain([query::Piece::Any])));
            Filter::or(vec![Filter::and(all), on_field(is_cut)])
        }
        false => Filter::and(all),
    }
}

/// A test that holds for every value that has the pattern; none if even an empty value may.
fn of_pattern(field: &str, pattern: &Pattern) -> Option<Test> {
    // The two fold letters differently beyond ASCII, and compare times as such.
    let is_plain = pattern.pieces.iter().all(|piece| match piece {
        Piece::Literal(text) => text.is_ascii(),
        Piece::One | Piece::Any => true,
    });
    let has_text = pattern.pieces.iter().any(|piece| *piece != Piece::Any);
    if !has_text {
        // Nothing, or anything, even an empty text.
        return None;
    }
    if !is_plain || field_type(field) == Some(Type::Date) {
        return Some(Test::Exists);
    }
    Some(match pattern.pieces.as_slice() {
        [Piece::Literal(text)] => Test::Equal(Term::new(text.as_str())),
        pieces => Test::Like(Glob::new(pieces.iter().map(|piece| match piece {
            Piece::Literal(text) => query::Piece::Literal(text.clone()),
            Piece::One => query::Piece::One,
            Piece::Any => query::Piece::Any,
        }))),
    })
}

/// The expression as the index takes it, where it is asked of a dictionary and not of documents; none if
/// even an empty value may match.
fn of_regex(field: &str, regex: &Regex) -> Option<regex::Regex> {
    if query::is_text(field) || query::is_unsearched(field) || field_type(field) == Some(Type::Date)
    {
        return None;
    }
    // Flags are written out: the language itself ignores case.
    let mut source = String::from("(?");
    let flags = [("i", regex.ignore_case), ("m", regex.multi_line), ("s", regex.dot_all)];
    source.extend(flags.iter().filter(|(_, is_set)| *is_set).map(|(flag, _)| *flag));
    source.push_str(if regex.ignore_case { ")" } else { "-i)" });
    source.push_str(&regex.source);
    let built = regex::RegexBuilder::new(&source).size_limit(sigma::REGEX_BYTES_MAX).build();
    built.ok().filter(|built| !built.is_match(""))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use event::Event;
    use proptest::prelude::*;
    use sigma::Logsource;
    use sigma::expr::{Atom, Comparison, Expr, Pattern, Regex, Test};

    use super::necessary;

    fn test() -> impl Strategy<Value = Test> {
        let word = prop_oneof!["[aAb1.*?äİ /-]{0,4}", "[*]?[ab1]{1,2}[ */?.][ab1]{1,2}[*]?"];
        prop_oneof![
            6 => (word, any::<bool>()).prop_map(|(text, cased)| Test::Text(Pattern::parse(&text, cased))),
            2 => ("[ab1.^$]{0,3}", any::<bool>()).prop_map(|(source, ignore_case)| Test::Regex(Regex {
                source, ignore_case, multi_line: false, dot_all: false,
            })),
            1 => (-2..3i32).prop_map(|number| Test::Compare(Comparison::GreaterOrEqual, number.into())),
            1 => any::<bool>().prop_map(Test::Exists),
            1 => Just(Test::Null),
        ]
    }

    fn field() -> impl Strategy<Value = String> {
        // A keyword's, a text's, a number's, an address', a time's; and one that ECS does not know.
        prop::sample::select(
            ["process.name", "message", "source.port", "source.ip", "event.created", "x.y"]
                .as_slice(),
        )
        .prop_map(str::to_owned)
    }

    fn expr() -> impl Strategy<Value = Expr> {
        let atom = (prop::option::weighted(0.95, field()), test())
            .prop_map(|(field, test)| Expr::Atom(Atom { field: field.map(Arc::from), test }));
        atom.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 1..4).prop_map(Expr::And),
                prop::collection::vec(inner.clone(), 1..4).prop_map(Expr::Or),
                inner.prop_map(|part| Expr::Not(Box::new(part))),
            ]
        })
    }

    fn value() -> impl Strategy<Value = serde_json::Value> {
        prop_oneof![
            "[aAb1.äİ /-]{0,5}".prop_map(serde_json::Value::from),
            // Longer than a word of the index.
            "[ab]{60,70}[ .][ab1]{0,3}".prop_map(serde_json::Value::from),
            (-2..12i64).prop_map(serde_json::Value::from),
            prop_oneof![Just(1.5), Just(1.0), Just(1e16), Just(-1e300)]
                .prop_map(|n| serde_json::json!(n)),
            any::<bool>().prop_map(serde_json::Value::from),
            Just(serde_json::Value::Null),
            Just(serde_json::json!([])),
            Just(serde_json::json!(["a", "b 1"])),
            Just(serde_json::json!("10.0.0.1")),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

        #[test]
        fn what_matches_passes(
            expr in expr(),
            fields in prop::collection::btree_map(field(), value(), 0..5),
        ) {
            let mut event = Event::new();
            let mut json = serde_json::Map::new();
            for (path, value) in fields {
                let (parent, name) = path.split_once('.').unwrap_or(("", &path));
                if parent.is_empty() {
                    json.insert(name.to_owned(), value);
                } else {
                    json.entry(parent).or_insert_with(|| serde_json::json!({}))[name] = value;
                }
            }
            event.parse_json(serde_json::Value::Object(json).to_string().as_bytes()).unwrap();
            let filter = necessary(&Logsource::default(), &expr);
            if matcher::plain::matches(&expr, &event) {
                prop_assert!(query::matches(&filter, &event), "{} for {}", expr, event.to_json());
            }
        }
    }

    #[test]
    fn what_spares_work_is_kept() {
        let text = |field: &str, pattern: &str| {
            let test = Test::Text(Pattern::parse(pattern, false));
            Expr::Atom(Atom { field: Some(field.into()), test })
        };
        let class = Logsource {
            product: Some("windows".into()),
            category: Some("file_delete".into()),
            ..Logsource::default()
        };
        let expr = Expr::And(vec![
            text("process.name", "cmd.exe"),
            Expr::Or(vec![text("process.command_line", "*whoami*"), text("user.name", "x*")]),
            Expr::Atom(Atom {
                field: Some("process.command_line".into()),
                test: Test::Regex(Regex {
                    source: "a{3}".to_owned(),
                    ignore_case: false,
                    multi_line: false,
                    dot_all: false,
                }),
            }),
            Expr::Not(Box::new(text("user.name", "SYSTEM"))),
        ]);
        insta::assert_snapshot!(necessary(&class, &expr), @r#"watchpost.logsource.product:windows and (watchpost.logsource.category:file_delete or watchpost.logsource.category:file_delete_detected) and process.name:cmd.exe and (process.command_line:*whoami* or user.name:x*) and (process.command_line:/(?-i)a{3}/ or process.command_line:["-1.7976931348623157e308" TO 1.7976931348623157e308])"#);
    }
}
