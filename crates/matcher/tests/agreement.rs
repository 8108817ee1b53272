//! The fast matcher and the plain evaluator agree: random rules over random events.
//!
//! What is drawn is small and close together (few fields, few letters, both cases of letters whose
//! lower-casing is odd), so that rules nearly match all the time. `WATCHPOST_MATCHER_CASES` sets
//! how many sets of rules are tried; each is six rules over six events.

use std::sync::Arc;

use event::{Event, Logsource};
use matcher::{Matcher, Rule, plain};
use proptest::prelude::*;
use sigma::expr::{Atom, Comparison, Expr, Network, Pattern, Regex, Relation, Test, TimePart};

const RULES: usize = 6;
const EVENTS: usize = 6;

const FIELDS: &[&str] = &["a", "b", "c.d", "event.code", "event.original", "watchpost.x"];

const PIECES: &[&str] = &[
    "a",
    "B",
    "ab",
    "abC",
    "bca",
    "x",
    "\\",
    "\\cmd.exe",
    "power",
    "Shell",
    "K",
    "\u{212A}",
    "k",
    "ſ",
    "S",
    "İ",
    "i",
    "é",
    "É",
    "ß",
    "10",
    "4688",
    " ",
    "-",
    "/",
    "\n",
    "€",
    "🦀",
    "",
];

const WHOLE: &[&str] = &[
    "10.1.2.3",
    "10.9.9.9",
    "192.168.0.1",
    "::1",
    "fe80::1%eth0",
    "::ffff:10.1.2.3",
    "10",
    "10.0",
    "-3",
    "1e3",
    "true",
    "2026-01-01T03:04:05Z",
    "2026-02-03 03:04:05.1",
    "powershell",
    "ABABAB",
];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::collection::vec(prop::sample::select(PIECES), 0..5).prop_map(|p| p.concat()),
        1 => prop::sample::select(WHOLE).prop_map(str::to_owned),
    ]
}

fn pattern() -> impl Strategy<Value = Pattern> {
    let pieces = prop::collection::vec(
        prop_oneof![
            3 => prop::sample::select(PIECES).prop_map(|piece| piece.replace('\\', "\\\\")),
            1 => Just("*".to_owned()),
            1 => Just("?".to_owned()),
        ],
        0..5,
    );
    let wrapped = (pieces, 0..5, prop::bool::weighted(0.15)).prop_map(|(pieces, wrap, cased)| {
        let inner = pieces.concat();
        let text = match wrap {
            0 => inner,
            1 => format!("*{inner}"),
            2 => format!("{inner}*"),
            _ => format!("*{inner}*"),
        };
        Pattern::parse(&text, cased)
    });
    prop_oneof![6 => wrapped, 1 => prop::sample::select(WHOLE).prop_map(|t| Pattern::parse(t, false))]
}

fn regex() -> impl Strategy<Value = Regex> {
    let sources = &[
        "a",
        "^ab",
        "b$",
        "(?:ab|bc)a",
        "po.er",
        "[0-9]+",
        "^$",
        "x?",
        "shell",
        "Power",
        "kk",
        "(a|B)\\s",
        ".",
        "a{2,}",
        "\\bcmd\\.exe",
        "É",
        "[a-c]x",
        "abc?",
        "(ab.*|x)c",
        "^\\n?a",
        "(?-u:\\w)4688",
    ];
    (prop::sample::select(&sources[..]), any::<[bool; 3]>()).prop_map(|(source, flags)| Regex {
        source: source.to_owned(),
        ignore_case: flags[0],
        multi_line: flags[1],
        dot_all: flags[2],
    })
}

fn network() -> impl Strategy<Value = Network> {
    prop::sample::select(
        &["10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0", "::/0", "::1", "fe80::/10", "192.168.0.1"][..],
    )
    .prop_map(|text| Network::parse(text).expect("a network"))
}

fn test() -> impl Strategy<Value = Test> {
    use Comparison::{Greater, GreaterOrEqual, Less, LessOrEqual};
    use Relation::{Contains, EndsWith, Equals, StartsWith};
    use TimePart::{Day, Hour, Minute, Month, Week, Year};
    let number = prop::sample::select(&[-3.0, 0.0, 10.0, 10.5, 4688.0][..]);
    prop_oneof![
        12 => pattern().prop_map(Test::Text),
        3 => regex().prop_map(Test::Regex),
        2 => network().prop_map(Test::Cidr),
        1 => (prop::sample::select(&[Less, LessOrEqual, Greater, GreaterOrEqual][..]), number)
            .prop_map(|(comparison, number)| Test::Compare(comparison, number)),
        1 => any::<bool>().prop_map(Test::Exists),
        1 => Just(Test::Null),
        1 => (field(), prop::sample::select(&[Equals, StartsWith, EndsWith, Contains][..]), any::<bool>())
            .prop_map(|(field, relation, cased)| Test::FieldRef { field, relation, cased }),
        1 => (prop::sample::select(&[Minute, Hour, Day, Week, Month, Year][..]), 1..5i64)
            .prop_map(|(part, number)| Test::TimePart(part, number)),
    ]
}

fn field() -> impl Strategy<Value = Arc<str>> {
    prop::sample::select(FIELDS).prop_map(Arc::from)
}

fn atom() -> impl Strategy<Value = Expr> {
    (prop::option::weighted(0.8, field()), test())
        .prop_map(|(field, test)| Expr::Atom(Atom { field, test }))
}

/// An `or` of many values of one field, as rules have it.
fn list() -> impl Strategy<Value = Expr> {
    let texts = prop::collection::vec(pattern().prop_map(Test::Text), 2..14);
    let networks = prop::collection::vec(network().prop_map(Test::Cidr), 2..7);
    (prop::option::weighted(0.9, field()), prop_oneof![texts, networks]).prop_map(
        |(field, tests)| {
            let atom = |test| Expr::Atom(Atom { field: field.clone(), test });
            Expr::Or(tests.into_iter().map(atom).collect())
        },
    )
}

fn expr() -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![4 => atom(), 1 => list()];
    leaf.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            3 => prop::collection::vec(inner.clone(), 1..4).prop_map(Expr::And),
            3 => prop::collection::vec(inner.clone(), 1..4).prop_map(Expr::Or),
            1 => inner.clone().prop_map(|part| Expr::Not(Box::new(part))),
            1 => inner.prop_map(|part| Expr::Selection("s".into(), Box::new(part))),
        ]
    })
}

fn logsource() -> impl Strategy<Value = [Option<&'static str>; 3]> {
    (
        prop::option::weighted(0.7, prop::sample::select(&["windows", "linux"][..])),
        prop::option::weighted(0.3, prop::sample::select(&["registry_event", "registry_set"][..])),
        prop::option::weighted(0.3, prop::sample::select(&["sysmon", "auth", "sshd"][..])),
    )
        .prop_map(|(product, category, service)| [product, category, service])
}

fn rule() -> impl Strategy<Value = Rule> {
    (logsource(), expr()).prop_map(|([product, category, service], expr)| Rule {
        label: "random".to_owned(),
        logsource: sigma::Logsource::new(product, category, service),
        expr,
    })
}

fn scalar() -> impl Strategy<Value = serde_json::Value> {
    prop_oneof![
        8 => text().prop_map(Into::into),
        1 => prop::sample::select(&[-3i64, 0, 1, 10, 4688][..]).prop_map(Into::into),
        1 => prop::sample::select(&[10.5f64, 1e300, -0.5][..]).prop_map(Into::into),
        1 => any::<bool>().prop_map(Into::into),
        1 => Just(serde_json::Value::Null),
        1 => Just(serde_json::json!({})),
        1 => Just(serde_json::json!(u64::MAX)),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let values = prop_oneof![
        4 => scalar(),
        1 => prop::collection::vec(scalar(), 0..4).prop_map(Into::into),
        1 => scalar().prop_map(|inner| serde_json::json!([{ "d": inner }])),
    ];
    let names = prop_oneof![
        9 => prop::sample::select(FIELDS),
        1 => Just("c"),
        1 => Just("other"),
    ];
    (prop::collection::vec((names, values), 0..6), logsource()).prop_map(
        |(fields, [product, category, service])| {
            let mut event = Event::new();
            for (name, value) in fields {
                event.add_value(name, &value);
            }
            Logsource { product, category, service }.stamp(&mut event);
            event
        },
    )
}

fn cases() -> ProptestConfig {
    let cases = std::env::var("WATCHPOST_MATCHER_CASES").ok().and_then(|text| text.parse().ok());
    ProptestConfig {
        cases: cases.unwrap_or(300),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn fast_and_plain_agree(
        rules in prop::collection::vec(rule(), RULES),
        events in prop::collection::vec(event(), EVENTS),
    ) {
        let (matcher, refused) = Matcher::new(rules.clone());
        prop_assert_eq!(refused, []);
        let mut scratch = matcher.scratch();
        for event in &events {
            let class = Logsource::of(event);
            let class = (class.product, class.category, class.service);
            let expected: Vec<u32> = (0..)
                .zip(&rules)
                .filter(|(_, rule)| sigma::logsource::feeds(&rule.logsource, class))
                .filter(|(_, rule)| plain::matches(&rule.expr, event))
                .map(|(number, _)| number)
                .collect();
            let found = matcher.matches(event, &mut scratch);
            let shown = || -> String {
                rules.iter().enumerate().map(|(n, rule)| format!("{n}: {}\n", rule.expr)).collect()
            };
            prop_assert_eq!(found, &expected[..], "{}\n{}", event.to_json(), shown());
            for rule in 0..RULES as u32 {
                let held = plain::matches(&rules[rule as usize].expr, event);
                prop_assert_eq!(matcher.explain(rule, event).unwrap().held, held);
                prop_assert!(held || matcher.matched(rule, event).is_empty());
            }
        }
    }
}
