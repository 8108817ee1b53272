//! What holds for every query: reading never panics, and what is printed reads back the same.

use proptest::prelude::*;
use query::{
    Aggregate, At, Bound, FieldName, FieldTest, Filter, Function, Pattern, Pipe, Query, SortKey,
    Stats, Term, Test, WordTest, parse,
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

fn pipe() -> impl Strategy<Value = Pipe> {
    let function = prop::sample::select(Function::ALL.to_vec());
    let aggregate =
        (function, text(), prop::option::of(text())).prop_map(|(function, field, name)| {
            let name = name.unwrap_or_else(|| format!("{}({field})", function.as_str()));
            Aggregate { function, field: Some(field), name }
        });
    let stats = (prop::collection::vec(aggregate, 1..3), prop::collection::vec(text(), 0..3))
        .prop_map(|(aggregates, by)| Stats { aggregates, by })
        .boxed();
    prop_oneof![
        stats.clone().prop_map(Pipe::Stats),
        (1..100_000i64, stats)
            .prop_map(|(millis, stats)| Pipe::Timechart { span_nanos: millis * 1_000_000, stats }),
        (0..100usize, text(), any::<bool>()).prop_map(|(count, field, rare)| Pipe::Top {
            count,
            field,
            rare
        }),
        (0..100usize).prop_map(Pipe::Head),
        prop::collection::vec((text(), any::<bool>()), 1..3).prop_map(|keys| Pipe::Sort(
            keys.into_iter().map(|(field, descending)| SortKey { field, descending }).collect()
        )),
        prop::collection::vec(text(), 1..3).prop_map(Pipe::Fields),
        prop::collection::vec(text(), 1..3).prop_map(Pipe::Dedup),
        filter().prop_map(Pipe::Where),
    ]
}

proptest! {
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
            "sort", "where", "timechart", "span=", "1h", "&&", "||", "10.0.0.0/8", "ä",
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
        filter in filter(), pipes in prop::collection::vec(pipe(), 0..3)
    ) {
        let query = Query { filter, pipes };
        let printed = query.to_string();
        let again = parse(&printed)
            .map_err(|error| TestCaseError::fail(error.render()))?;
        prop_assert_eq!(query, again, "{}", printed);
    }
}
