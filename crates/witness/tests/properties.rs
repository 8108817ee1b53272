//! Random rules: what the solver says is true.
//!
//! A witness is evaluated; "can never match" is held against an oracle that tries every event of a
//! small world. The rules are over few fields and few letters, so that contradictions are frequent.

use std::sync::Arc;

use event::Event;
use matcher::plain;
use proptest::prelude::*;
use sigma::Logsource;
use sigma::expr::{Atom, Comparison, Expr, Pattern, Regex, Relation, Test};
use witness::{Arrays, GaveUp, NoWitness, Options, implies, near_misses, solve_with};

const FIELDS: [&str; 3] = ["a", "b", "c"];

fn test() -> impl Strategy<Value = Test> {
    let pattern =
        prop::collection::vec(prop::sample::select(vec!["a", "b", "B", "ab", "*", "?", "1"]), 0..4);
    let regex =
        prop::sample::select(vec!["^a", "b$", "a+b?", "^[ab]{2}$", "(?i)B", "^$", "a|1", "^b.?"]);
    prop_oneof![
        6 => (pattern, prop::bool::weighted(0.2))
            .prop_map(|(text, cased)| Test::Text(Pattern::parse(&text.concat(), cased))),
        2 => regex.prop_map(|source| Test::Regex(Regex {
            source: source.to_owned(),
            ignore_case: false,
            multi_line: false,
            dot_all: false,
        })),
        1 => any::<bool>().prop_map(Test::Exists),
        1 => Just(Test::Null),
        1 => (0..3, prop::sample::select(vec![
            Comparison::Less,
            Comparison::LessOrEqual,
            Comparison::Greater,
            Comparison::GreaterOrEqual,
        ])).prop_map(|(number, comparison)| Test::Compare(comparison, f64::from(number))),
        1 => (0..FIELDS.len(), any::<bool>(), prop::sample::select(vec![
            Relation::Equals,
            Relation::StartsWith,
            Relation::EndsWith,
            Relation::Contains,
        ])).prop_map(|(field, cased, relation)| {
            Test::FieldRef { field: FIELDS[field].into(), relation, cased }
        }),
    ]
}

fn atom() -> impl Strategy<Value = Expr> {
    (0..FIELDS.len(), test())
        .prop_map(|(field, test)| Expr::Atom(Atom { field: Some(Arc::from(FIELDS[field])), test }))
}

fn expr() -> impl Strategy<Value = Expr> {
    atom().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(Expr::And),
            prop::collection::vec(inner.clone(), 1..4).prop_map(Expr::Or),
            inner.clone().prop_map(|part| Expr::Not(Box::new(part))),
            inner.prop_map(|part| Expr::Selection("s".into(), Box::new(part))),
        ]
    })
}

/// Every value of the small world; `None` is an absent field.
fn world() -> Vec<Option<event::Value<'static>>> {
    let mut values = vec![None, Some(event::Value::Null), Some(event::Value::Text(""))];
    let texts = [
        "a", "b", "A", "B", "1", "0", "2", "x", "aa", "ab", "ba", "bb", "aB", "Ab", "a1", "b1",
        "bx", "xa", "aab", "abb", "bab", "aba", "ab1", "axb", "3",
    ];
    values.extend(texts.map(|text| Some(event::Value::Text(text))));
    values
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_can_never_match_does_not(expr in expr(), seed in 0..3u32) {
        let options = Options { arrays: Arrays::Nowhere, seed, ..Options::default() };
        match solve_with(&expr, &options) {
            Ok(witness) => {
                prop_assert!(plain::matches(&expr, &witness.event()), "{expr}\n{witness}");
                prop_assert_eq!(witness.arrays().count(), 0);
                let nearby = near_misses(&expr, &witness, &Logsource::default());
                for miss in nearby.misses {
                    prop_assert!(!plain::matches(&expr, &miss.witness.event()), "{expr}\n{miss:?}");
                }
            }
            Err(NoWitness::Contradiction(conflicts)) => {
                let world = world();
                let mut event = Event::new();
                for a in &world {
                    for b in &world {
                        for c in &world {
                            event.clear();
                            for (name, value) in FIELDS.into_iter().zip([a, b, c]) {
                                if let Some(value) = value {
                                    event.set(name, *value);
                                }
                            }
                            // Numbers are texts here; both read the same.
                            if uses_one_field_less(&expr, "c") && c.is_some() {
                                continue;
                            }
                            prop_assert!(
                                !plain::matches(&expr, &event),
                                "{expr}\n{conflicts:?}\n{}", event.to_json()
                            );
                        }
                    }
                }
            }
            // Only fields that refer to one another, or odd mixes of tests, may be too hard.
            Err(NoWitness::GaveUp(reason)) => {
                let mut refers = false;
                expr.for_each_atom(&mut |atom| {
                    refers |= matches!(atom.test, Test::FieldRef { .. });
                });
                let is_allowed = match reason {
                    GaveUp::Values(_) => true,
                    GaveUp::Unverified => refers,
                    GaveUp::Decisions | GaveUp::Depth => false,
                };
                prop_assert!(is_allowed, "{expr}\n{reason}");
            }
        }
    }

    #[test]
    fn what_is_implied_holds(inner in expr(), outer in expr()) {
        if implies(&inner, &outer) {
            for seed in 0..3 {
                for arrays in [Arrays::Nowhere, Arrays::Everywhere] {
                    let options = Options { arrays, seed, ..Options::default() };
                    if let Ok(witness) = solve_with(&inner, &options) {
                        prop_assert!(plain::matches(&outer, &witness.event()), "{inner}\n{outer}\n{witness}");
                    }
                }
            }
        }
    }
}

fn uses_one_field_less(expr: &Expr, name: &str) -> bool {
    let mut used = false;
    expr.for_each_atom(&mut |atom| {
        used |= atom.field.as_deref() == Some(name);
        used |= matches!(&atom.test, Test::FieldRef { field, .. } if &**field == name);
    });
    !used
}
