//! Once a worker's scratch is warm, matching allocates nothing.
//!
//! This file has one test, since the counter counts for the whole process.

#![expect(unsafe_code, reason = "a global allocator can't be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use event::{Event, Logsource};
use matcher::{Matcher, Rule};
use sigma::expr::{Atom, Comparison, Expr, Network, Pattern, Regex, Relation, Test, TimePart};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is handed to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn rule(field: Option<&str>, test: Test) -> Rule {
    let atom = Expr::Atom(Atom { field: field.map(Arc::from), test });
    let other = Expr::Not(Box::new(Expr::Atom(Atom {
        field: Some("process.command_line".into()),
        test: Test::Text(Pattern::parse("*never*seen*", false)),
    })));
    Rule {
        label: "a rule".to_owned(),
        logsource: sigma::Logsource::new(Some("windows"), None, None),
        expr: Expr::And(vec![atom, other]),
    }
}

#[test]
fn warm_matching_allocates_nothing() {
    let text = |pattern: &str| Test::Text(Pattern::parse(pattern, false));
    let rules = vec![
        rule(Some("process.command_line"), text("*-Enc*")),
        rule(Some("process.command_line"), text("*a?b*c")),
        rule(Some("process.executable"), text(r"*\CMD.exe")),
        rule(Some("process.pid"), text("4711")),
        rule(Some("process.pid"), Test::Compare(Comparison::Greater, 5.0)),
        rule(Some("source.ip"), Test::Cidr(Network::parse("10.0.0.0/8").unwrap())),
        rule(Some("@timestamp"), Test::TimePart(TimePart::Hour, 3)),
        rule(None, text("mimikatz")),
        rule(Some("absent"), Test::Null),
        rule(
            Some("process.command_line"),
            Test::Regex(Regex {
                source: r"(?:-e|/e)nc\s+[A-Za-z0-9+/]{4}".to_owned(),
                ignore_case: true,
                multi_line: false,
                dot_all: false,
            }),
        ),
        rule(
            Some("user.name"),
            Test::FieldRef {
                field: "host.name".into(),
                relation: Relation::EndsWith,
                cased: false,
            },
        ),
    ];
    let expected = rules.len() - 1;
    let (matcher, refused) = Matcher::new(rules);
    assert_eq!(refused, []);
    let json = r#"{
        "@timestamp": "2026-01-01T03:04:05Z", "message": "Mimikatz é", "tags": ["x", "y", 1.5, null],
        "process": {"command_line": "powershell -ENC QUJDRA==", "executable": "C:\\cmd.exe", "pid": 4711},
        "source": {"ip": "10.1.2.3"}, "user": {"name": "HOST-X"}, "host": {"name": "x"}
    }"#;
    let mut event = Event::new();
    event.parse_json(json.as_bytes()).unwrap();
    Logsource { product: Some("windows"), category: None, service: None }.stamp(&mut event);
    let mut scratch = matcher.scratch();
    assert_eq!(matcher.matches(&event, &mut scratch).len(), expected);
    for _ in 0..100 {
        matcher.matches(&event, &mut scratch);
    }
    let before = ALLOCATIONS.with(Cell::get);
    for _ in 0..100 {
        assert_eq!(matcher.matches(&event, &mut scratch).len(), expected);
    }
    assert_eq!(ALLOCATIONS.with(Cell::get) - before, 0);
}
