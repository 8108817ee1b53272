//! What holds for every query: reading never panics, and what is printed reads back the same.

use proptest::prelude::*;
use query::{
    Aggregate, At, Bound, Column, FieldName, FieldTest, Filter, Function, Pattern, Percent, Pipe,
    Query, Sequence, SortKey, Stats, Term, Test, WordTest, parse, suggest,
};

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-zA-Z0-9_.@-]{1,8}",
        2 => "\\PC{1,8}",
        1 => Just("or".to_owned()),
        1 => Just("not".to_owned()),
        1 => "[\"\\\\*?:()|/<>={}\\[\\] -]{1,5}",
    ]
}

/// Through the parser, which is the only maker of patterns.
fn pattern() -> impl Strategy<Value = Test> {
    "[a-z*?]{1,6}".prop_filter_map("a pattern", |text| match parse(&format!("f:{text}*x")) {
        Ok(Query { filter: Filter::Field(FieldTest { test, .. }), .. }) => Some(test),
        _ => None,
    })
}

fn bound() -> impl Strategy<Value = Bound> {
    prop_oneof![
        text().prop_map(|text| Bound::Including(Term::new(text))),
        text().prop_map(|text| Bound::Excluding(Term::new(text))),
    ]
}

fn test() -> impl Strategy<Value = Test> {
    prop_oneof![
        Just(Test::Exists),
        text().prop_map(|text| Test::Equal(Term::new(text))),
        pattern(),
        (bound(), bound()).prop_map(|(low, high)| Test::Range { low, high }),
        bound().prop_map(|low| Test::Range { low, high: Bound::Open }),
        bound().prop_map(|high| Test::Range { low: Bound::Open, high }),
    ]
}

fn filter() -> impl Strategy<Value = Filter> {
    let words = text().prop_filter_map("has words", |text| {
        let pattern = Pattern::Text(text);
        let words = pattern.words();
        (!words.is_empty()).then_some(Filter::Words(WordTest { pattern, words, at: At(0) }))
    });
    let field = (text(), test()).prop_map(|(field, test)| {
        Filter::Field(FieldTest { field: FieldName::new(field), test, at: At(0) })
    });
    let leaf = prop_oneof![1 => Just(Filter::All), 3 => words, 6 => field];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(Filter::negated),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Filter::and),
            prop::collection::vec(inner, 2..4).prop_map(Filter::or),
        ]
    })
}

fn function() -> impl Strategy<Value = Function> {
    let percent = (0..=100_000u32).prop_filter_map("a percent", Percent::from_thousandths);
    prop_oneof![
        3 => prop::sample::select(Function::NAMED.to_vec()),
        1 => percent.prop_map(Function::Percentile),
    ]
}

fn pipe() -> impl Strategy<Value = Pipe> {
    let aggregate =
        (function(), text(), prop::option::of(text())).prop_map(|(function, field, name)| {
            let name = name.unwrap_or_else(|| format!("{function}({field})"));
            Aggregate { function, field: Some(field), name }
        });
    let names = |fewest: usize| prop::collection::vec(text(), fewest..3);
    let stats = (prop::collection::vec(aggregate, 1..3), names(0))
        .prop_map(|(aggregates, by)| Stats { aggregates, by })
        .boxed();
    let column = (text(), prop::option::of(text()))
        .prop_map(|(field, name)| Column { name: name.unwrap_or_else(|| field.clone()), field });
    prop_oneof![
        stats.clone().prop_map(Pipe::Stats),
        (1..100_000i64, stats)
            .prop_map(|(millis, stats)| Pipe::Timechart { span_nanos: millis * 1_000_000, stats }),
        (0..100usize, names(1), names(0), any::<bool>())
            .prop_map(|(count, fields, by, rare)| Pipe::Top { count, fields, by, rare }),
        (0..100usize).prop_map(Pipe::Head),
        prop::collection::vec((text(), any::<bool>()), 1..3).prop_map(|keys| Pipe::Sort(
            keys.into_iter().map(|(field, descending)| SortKey { field, descending }).collect()
        )),
        prop::collection::vec(column, 1..3).prop_map(Pipe::Fields),
        (0..4usize, names(1)).prop_map(|(count, fields)| Pipe::Dedup { count, fields }),
        filter().prop_map(Pipe::Where),
    ]
}

/// Pipes, with a sequence before them or not: it needs events, which the others may not leave.
fn pipes() -> impl Strategy<Value = Vec<Pipe>> {
    let sequence =
        (prop::collection::vec(text(), 0..3), 1..100_000i64, prop::collection::vec(filter(), 2..4))
            .prop_map(|(by, millis, steps)| {
                Pipe::Sequence(Sequence { by, within_nanos: millis * 1_000_000, steps })
            });
    (prop::option::of(sequence), prop::collection::vec(pipe(), 0..3))
        .prop_map(|(sequence, pipes)| sequence.into_iter().chain(pipes).collect())
}

proptest! {
    #[test]
    fn at_any_place_of_any_text_can_be_told_what_may_come(text in "\\PC{0,60}", cursor in 0..70usize) {
        let found = suggest(&text, cursor);
        prop_assert!(found.from <= cursor.min(text.chars().count()));
    }

    /// Each word that may come can stand there: written in place of what was typed, the text up to
    /// there is a query or the beginning of one.
    #[test]
    fn what_is_suggested_can_stand_there(
        query in prop::sample::select(vec![
            "a:b and not c:(d or e) | stats count, p95(x) as y by a, b | where y > 5 | sort -y | head 3",
            "x | timechart span=1h dc(a) by b | top 3 b by y",
            "x | sequence by a within 5m [b:c or d>1] [e:/f/] | fields a as b, first | dedup 2 b",
        ]),
        cursor in 0..90usize,
    ) {
        let found = suggest(query, cursor);
        let before: String = query.chars().take(found.from).collect();
        for word in found.words {
            let text = format!("{before}{}", word.text);
            let length = text.chars().count();
            if let Err(error) = parse(&text) {
                // What is missing is at the end, or was opened and is not yet closed.
                let unfinished = error.column > length - word.text.len()
                    || error.message.contains("not closed");
                prop_assert!(unfinished && !error.message.contains("there is no"), "{}", error.render());
            }
        }
    }

    #[test]
    fn any_text_is_a_query_or_an_error(text in "\\PC{0,60}") {
        if let Err(error) = parse(&text) {
            prop_assert!(error.column <= text.chars().count() + 1);
            error.render();
        }
    }

    #[test]
    fn queries_of_its_own_signs_do_not_break_it(
        parts in prop::collection::vec(prop::sample::select(vec![
            "a", "b:", "\"", "(", ")", "|", "and", "or", "not", "-", "!", "[", "]", "{", "}", "TO",
            "*", "?", "/", "\\", ">", "<", "=", ",", " ", "stats", "count", "by", "head", "5", ":",
            "sort", "where", "timechart", "span=", "1h", "&&", "||", "10.0.0.0/8", "ä", "sequence",
            "within", "dedup", "top", "fields", "as", "desc", "p95", "percentile", "99.9",
        ]), 0..20)
    ) {
        let text = parts.concat();
        if let Ok(query) = parse(&text) {
            let printed = query.to_string();
            let again = parse(&printed)
                .map_err(|error| TestCaseError::fail(format!("{text}\n{}", error.render())))?;
            prop_assert_eq!(query, again, "{}", printed);
        }
    }

    #[test]
    fn what_is_printed_reads_back_the_same(
        filter in filter(), pipes in pipes()
    ) {
        let query = Query { filter, pipes };
        let printed = query.to_string();
        let again = parse(&printed)
            .map_err(|error| TestCaseError::fail(error.render()))?;
        prop_assert_eq!(query, again, "{}", printed);
    }
}
