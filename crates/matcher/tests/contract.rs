//! What users of the matcher rely on: routing, refusal, the report, use from many threads.

use std::sync::Arc;

use event::{Event, Logsource};
use matcher::{DEPTH_MAX, Matcher, Rule, Scratch};
use sigma::expr::{Atom, Expr, Pattern, Regex, Test};

fn text(field: Option<&str>, pattern: &str) -> Expr {
    let test = Test::Text(Pattern::parse(pattern, false));
    Expr::Atom(Atom { field: field.map(Arc::from), test })
}

fn regex(field: &str, source: &str) -> Expr {
    let source = source.to_owned();
    let regex = Regex { source, ignore_case: false, multi_line: false, dot_all: false };
    Expr::Atom(Atom { field: Some(field.into()), test: Test::Regex(regex) })
}

fn not(expr: Expr) -> Expr {
    Expr::Not(Box::new(expr))
}

fn rule(label: &str, product: Option<&str>, expr: Expr) -> Rule {
    let logsource = sigma::Logsource::new(product, None, None);
    Rule { label: label.to_owned(), logsource, expr }
}

fn event(product: &str, json: &str) -> Event {
    let mut event = Event::new();
    event.parse_json(json.as_bytes()).expect("JSON");
    Logsource { product: Some(product), category: None, service: None }.stamp(&mut event);
    event
}

#[test]
fn rules_see_the_events_of_their_logsource() {
    let (matcher, refused) = Matcher::new(vec![
        rule("windows", Some("windows"), text(Some("a"), "x")),
        rule("linux", Some("linux"), text(Some("a"), "x")),
        rule("all", None, text(Some("a"), "x")),
    ]);
    assert_eq!(refused, []);
    let mut scratch = matcher.scratch();
    for _ in 0..2 {
        assert_eq!(matcher.matches(&event("windows", r#"{"a":"X"}"#), &mut scratch), [0, 2]);
        assert_eq!(matcher.matches(&event("linux", r#"{"a":"X"}"#), &mut scratch), [1, 2]);
        assert_eq!(matcher.matches(&event("aws", r#"{"a":"X"}"#), &mut scratch), [2]);
        assert_eq!(matcher.matches(&event("windows", r#"{"a":"y"}"#), &mut scratch), [0u32; 0]);
        assert_eq!(matcher.matches(&Event::new(), &mut scratch), [0u32; 0]);
    }
}

#[test]
fn what_cannot_be_matched_is_refused_and_the_rest_matched() {
    let deep = (0..=DEPTH_MAX).fold(text(Some("a"), "x"), |inner, _| not(inner));
    let (matcher, refused) = Matcher::new(vec![
        rule("too deep", None, deep),
        rule("explodes", None, regex("a", r"(?:\w{200}){200}")),
        rule("broken", None, regex("a", "(")),
        rule("good", None, text(Some("a"), "x")),
    ]);
    let reasons: Vec<String> = refused.iter().map(|refused| refused.to_string()).collect();
    assert!(reasons[0].starts_with("too deep: the condition nests deeper"), "{}", reasons[0]);
    assert!(reasons[1].starts_with("explodes: the regular expression /(?:"), "{}", reasons[1]);
    assert!(reasons[1].ends_with("takes more than 10485760 bytes"), "{}", reasons[1]);
    assert!(reasons[2].starts_with("broken: the regular expression /(/ is not"), "{}", reasons[2]);
    assert_eq!(refused.iter().map(|refused| refused.rule).collect::<Vec<_>>(), [0, 1, 2]);
    let event = event("windows", r#"{"a":"x"}"#);
    assert_eq!(matcher.matches(&event, &mut matcher.scratch()), [3]);
    assert_eq!(matcher.report().rules, 1);
    assert!(matcher.explain(3, &event).is_some());
    assert!(matcher.explain(4, &event).is_none());
    assert_eq!(matcher.matched(3, &event)[0].field, "a");
}

#[test]
fn the_report_names_the_rules_without_a_witness() {
    let (matcher, _) = Matcher::new(vec![
        rule("literal", None, Expr::And(vec![text(Some("a"), "*mimikatz*"), text(Some("b"), "?")])),
        rule("negated", None, not(text(Some("a"), "x"))),
        rule("either", None, Expr::Or(vec![text(Some("b"), "x"), not(text(Some("c"), "x"))])),
        rule("null", None, Expr::Atom(Atom { field: Some("a".into()), test: Test::Null })),
        rule("keyword", None, text(None, "*")),
        rule("any value", None, text(Some("a"), "?*")),
    ]);
    let report = matcher.report();
    let shown: Vec<String> = report
        .always
        .iter()
        .chain(&report.by_field)
        .map(|costly| format!("{}: {}", costly.label, costly.reason))
        .collect();
    insta::assert_snapshot!(shown.join("\n"), @r"
    negated: it can hold by what a is not
    either: it can hold by what c is not
    null: it can hold where a is absent
    keyword: a keyword of it has no literal to search for
    any value: nothing it asks of a can be searched for as a literal
    ");
    assert_eq!((report.rules, report.always.len(), report.by_field.len()), (6, 4, 1));
}

#[test]
fn a_scratch_fits_itself_to_another_matcher() {
    let (one, _) = Matcher::new(vec![rule("x", None, text(Some("a"), "x"))]);
    let (other, _) = Matcher::new(vec![
        rule("y", None, text(Some("b"), "y")),
        rule("regex", None, regex("a", "^[x-z]")),
    ]);
    let event = event("windows", r#"{"a":"x","b":"y"}"#);
    let mut scratch = Scratch::default();
    for _ in 0..2 {
        assert_eq!(one.matches(&event, &mut scratch), [0]);
        assert_eq!(other.matches(&event, &mut scratch), [0, 1]);
    }
}

#[test]
fn workers_share_a_matcher() {
    let rules = (0..50).map(|n| rule("r", None, text(Some("a"), &format!("*word{n}x*")))).collect();
    let (matcher, _) = Matcher::new(rules);
    std::thread::scope(|scope| {
        for worker in 0..4u32 {
            let matcher = &matcher;
            scope.spawn(move || {
                let mut scratch = matcher.scratch();
                for n in 0..200 {
                    let n = (n + worker) % 50;
                    let event = event("windows", &format!(r#"{{"a":"a Word{n}X"}}"#));
                    assert_eq!(matcher.matches(&event, &mut scratch), [n]);
                }
            });
        }
    });
}

#[test]
fn an_event_of_a_megabyte_is_searched() {
    let (matcher, _) = Matcher::new(vec![
        rule("end", None, text(Some("a"), "*needle")),
        rule("anywhere", None, text(None, "needle")),
        rule("regex", None, regex("a", "[Nn]eedle$")),
        rule("wildcards", None, text(Some("a"), "*n?edl?")),
    ]);
    let long = "nee".repeat(700_000);
    let event = event("windows", &format!(r#"{{"a":"{long}Needle"}}"#));
    let mut scratch = matcher.scratch();
    assert_eq!(matcher.matches(&event, &mut scratch), [0, 1, 2, 3]);
}
