//! Files with several documents, and files with faults: what is refused, where, and why.

use sigma::{Code, CorrelationCondition, CorrelationKind, Document, Operator, Severity};

/// Everything said about a file, as it is shown.
fn complaints(text: &str) -> String {
    let (_, diagnostics) = sigma::parse_documents(text, "rule.yml");
    diagnostics.iter().map(|diagnostic| diagnostic.render(Some(text))).collect()
}

const RULE: &str = "title: t\nlogsource: {product: windows}\n";

#[test]
fn faults_are_shown_where_they_are() {
    insta::assert_snapshot!(complaints(&format!("{RULE}level: hihg\ndetection:\n  sel:\n    Image|endwith: x\n  condition: sel and filter\n")), @r"
    error[unknown-value]: `hihg` is not a level
     --> rule.yml:3:8
      |
    3 | level: hihg
      |        ^^^^
      = help: did you mean `high`?
    error[unknown-modifier]: there is no modifier `endwith`
     --> rule.yml:6:11
      |
    6 |     Image|endwith: x
      |           ^^^^^^^
      = help: did you mean `endswith`?
    ");
    insta::assert_snapshot!(complaints(&format!("{RULE}detection:\n  selection:\n    a: 1\n  condition: 'selecton'\n")), @r"
    error[unknown-selection]: there is no selection `selecton`
     --> rule.yml:6:15
      |
    6 |   condition: 'selecton'
      |               ^^^^^^^^
      = help: did you mean `selection`?
    ");
    insta::assert_snapshot!(complaints(&format!("{RULE}detection:\n  s: {{a: 1}}\n  condition: s | count() by User > 5\n")), @r"
    error[aggregation]: aggregations in the condition (`| count() ...`) are not supported: Sigma replaced them by correlation rules
     --> rule.yml:5:16
      |
    5 |   condition: s | count() by User > 5
      |                ^
      = help: keep the part before `|` as the rule's condition, and add a document with `correlation: {type: event_count, rules: [...], group-by: [...], timespan: ..., condition: {gte: N}}`
    ");
    insta::assert_snapshot!(complaints("title: t\ndetection:\n  s: {a: [1, [2]]}\n  condition: s\n"), @r"
    error[missing]: `logsource` is missing
     --> rule.yml:1:1
      |
    1 | title: t
      | ^
      = help: a rule needs `logsource`
    error[wrong-type]: a value can't be a list
     --> rule.yml:3:14
      |
    3 |   s: {a: [1, [2]]}
      |              ^
    ");
    insta::assert_snapshot!(complaints("a: [\n"), @r"
    error[yaml]: not valid YAML: while parsing a node, did not find expected node content
     --> rule.yml:2:1
      = help: look at the indentation and the quotes here and on the line before
    ");
    insta::assert_snapshot!(complaints("just text\n"), @r"
    error[not-sigma]: a rule is a map, but this document is a text
     --> rule.yml:1:1
      |
    1 | just text
      | ^^^^^^^^^
    ");
    insta::assert_snapshot!(complaints("title: t\nfoo: bar\n"), @r"
    error[not-sigma]: this document is no Sigma rule: it has none of `detection`, `correlation` and `filter`
     --> rule.yml:1:1
      |
    1 | title: t
      | ^
    ");
}

#[test]
fn a_faulty_document_leaves_the_others() {
    let good = format!("{RULE}detection:\n  s: {{a: 1}}\n  condition: s\n");
    let text = format!("{good}---\ntitle: [\n---\n{RULE}level: bad\ndetection: 5\n---\n{good}");
    let (documents, diagnostics) = sigma::parse_documents(&text, "rule.yml");
    assert_eq!(documents.len(), 2);
    let codes: Vec<Code> = diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
    assert_eq!(codes, [Code::Yaml, Code::UnknownValue, Code::WrongType]);
    assert_eq!(documents[1].span().line, 14);
}

#[test]
fn collections_are_unfolded() {
    let text = "
action: global
title: shared
logsource: {product: windows}
detection: {condition: sel}
---
id: a
detection: {sel: {x: 1}}
---
action: repeat
id: b
logsource: {service: security}
---
action: reset
---
id: c
title: own
logsource: {product: linux}
detection: {sel: {y: 1}, condition: sel}
";
    let (documents, diagnostics) = sigma::parse_documents(text, "c.yml");
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    let shown: Vec<String> = documents
        .iter()
        .filter_map(Document::as_rule)
        .map(|rule| {
            let expr = sigma::resolve(rule).expect("resolves");
            let id = rule.id.as_deref().unwrap_or_default();
            format!("{id} {} {} {expr}", rule.title, rule.logsource)
        })
        .collect();
    insta::assert_snapshot!(shown.join("\n"), @"
    a shared windows/*/* sel{x = '1'}
    b shared windows/*/security sel{x = '1'}
    c own linux/*/* sel{y = '1'}
    ");
}

#[test]
fn attributes_are_kept() {
    let text = "
title: t
id: 9
status: test
level: critical
author: [a, b]
date: 2026-01-02
references: https://example.org
tags: [attack.t1059]
related: [{id: x, type: derived}]
logsource: {category: process_creation, definition: turn it on}
detection: {s: {a: 1}, condition: s}
runbook: {steps: [1, two]}
";
    let (documents, _) = sigma::parse_documents(text, "t.yml");
    let rule = documents[0].as_rule().expect("a rule");
    assert_eq!(rule.author.as_deref(), Some("a, b"));
    assert_eq!(rule.level, sigma::Level::Critical);
    assert_eq!(rule.references, ["https://example.org"]);
    assert_eq!(rule.logsource.definition.as_deref(), Some("turn it on"));
    assert_eq!(rule.id.as_deref(), Some("9"));
    let custom = serde_json::Value::Object(rule.custom.clone());
    assert_eq!(custom, serde_json::json!({"runbook": {"steps": [1, "two"]}}));
}

fn correlation(section: &str) -> String {
    let text = format!("title: c\ncorrelation:\n{section}");
    let (documents, diagnostics) = sigma::parse_documents(&text, "c.yml");
    match documents.first() {
        Some(Document::Correlation(correlation)) => {
            let condition = match &correlation.condition {
                CorrelationCondition::Threshold(threshold) => format!("{threshold:?}"),
                CorrelationCondition::Rules(_) => "rules".to_owned(),
            };
            let kind = correlation.kind.as_str();
            format!("{kind} {}s by {:?}: {condition}", correlation.timespan_s, correlation.group_by)
        }
        _ => diagnostics.iter().map(|diagnostic| diagnostic.render(Some(&text))).collect(),
    }
}

#[test]
fn correlations() {
    insta::assert_snapshot!(correlation("  type: event_count\n  rules: [a]\n  group-by: [User, Host]\n  timespan: 5m\n  condition: {gt: 10, lte: 20}\n"), @r#"event_count 300s by ["User", "Host"]: Threshold { tests: [(Gt, 10.0), (Lte, 20.0)], fields: [], percentile: None }"#);
    insta::assert_snapshot!(correlation("  type: temporal\n  rules: [a, b]\n  timespan: 1h\n"), @"temporal 3600s by []: Threshold { tests: [(Gte, 2.0)], fields: [], percentile: None }");
    insta::assert_snapshot!(correlation("  type: temporal_ordered\n  rules: [a, b, c]\n  timespan: 1h\n  condition: a and (b or not c)\n"), @"temporal_ordered 3600s by []: rules");
    insta::assert_snapshot!(correlation("  type: value_count\n  rules: [a]\n  timespan: 5 m\n  condition: {gte: 3}\n"), @r"
    error[value]: `5 m` is not a timespan
     --> c.yml:5:13
      |
    5 |   timespan: 5 m
      |             ^^^
      = help: write a whole number and s, m, h, d or w, such as `90m`
    ");
    insta::assert_snapshot!(correlation("  type: value_count\n  rules: [a]\n  timespan: 5m\n  condition: {gte: 3}\n"), @r"
    error[missing]: the condition of `value_count` needs `field`
     --> c.yml:6:14
      |
    6 |   condition: {gte: 3}
      |              ^
    ");
    insta::assert_snapshot!(correlation("  type: event_cont\n  rules: [a]\n  timespan: 5m\n"), @r"
    error[unknown-value]: `event_cont` is not a type of correlation
     --> c.yml:3:9
      |
    3 |   type: event_cont
      |         ^^^^^^^^^^
      = help: did you mean `event_count`?
    ");
}

#[test]
fn a_correlation_with_aliases() {
    let text = "
title: c
level: high
generate: true
correlation:
  type: value_count
  rules: [one, two]
  group-by: [address]
  timespan: 10s
  aliases:
    address: {one: src_ip, two: dst_ip}
  condition: {field: User, eq: 3}
";
    let (documents, diagnostics) = sigma::parse_documents(text, "c.yml");
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    let Some(Document::Correlation(correlation)) = documents.first() else { panic!("none") };
    assert!(correlation.generate);
    assert_eq!(correlation.kind, CorrelationKind::ValueCount);
    assert_eq!(correlation.field_of("address", None, Some("two")), "dst_ip");
    assert_eq!(correlation.field_of("User", None, Some("two")), "User");
    let CorrelationCondition::Threshold(threshold) = &correlation.condition else {
        panic!("no threshold")
    };
    assert_eq!(threshold.tests, [(Operator::Eq, 3.0)]);
    assert!(threshold.holds(3.0) && !threshold.holds(4.0));
}

#[test]
fn references_between_documents_are_checked() {
    let rule =
        |name: &str| format!("name: {name}\n{RULE}detection: {{s: {{a: 1}}, condition: s}}\n");
    let correlation = |name: &str, rules: &str| {
        format!(
            "title: t\nname: {name}\ncorrelation: {{type: temporal, rules: [{rules}], timespan: 1m}}\n"
        )
    };
    let documents = [
        rule("one"),
        correlation("chain", "one, other"),
        correlation("other", "chain"),
        correlation("lost", "onne"),
    ];
    let (documents, diagnostics) = sigma::parse_documents(&documents.join("---\n"), "c.yml");
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    let found: Vec<_> = sigma::check_references(&documents)
        .into_iter()
        .map(|(index, fault)| (index, fault.code))
        .collect();
    let expected = [(1, Code::Correlation), (2, Code::Correlation), (3, Code::UnknownRule)];
    assert_eq!(found, expected);
}

#[test]
fn lints() {
    let text = "
title: t
id: not-a-uuid
status: deprecated
date: 2026/01/02
tags: [attack.t12, foo.bar]
logsource: {product: windows}
detection:
  sel:
    Image|endswith|all: '*\\cmd.exe'
    Port: 0x10
    Name: [a, b, A]
  never: {Image: x}
  unused: {Image: y}
  condition: sel and never and not never
---
title: t
logsource: {product: windows}
level: low
tags: [attack.execution]
detection:
  sel: {Image: y}
  condition: not sel
---
title: t
logsource: {category: x}
filter:
  rules: any
  selection: {a: 1}
  condition: selection
";
    let (documents, diagnostics) = sigma::parse_documents(text, "l.yml");
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    let found = sigma::lint(&documents, &sigma::LintOptions::default());
    let lines: Vec<String> = found
        .iter()
        .map(|d| {
            format!("{}:{} {} {}: {}", d.line, d.column, d.severity.as_str(), d.code, d.message)
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    2:1 note bad-id: the id `not-a-uuid` is not a UUID
    2:1 warning deprecated: the rule is deprecated
    6:8 warning bad-tag: `t12` is no ATT&CK tactic, technique, group or software
    6:20 warning bad-tag: `foo` is not a namespace of tags
    2:1 note bad-date: `date: 2026/01/02` is not a date
    14:3 warning unused-selection: no condition uses the selection `unused`
    10:5 warning single-all: `all` does nothing with one value
    10:25 note redundant-wildcard: the modifier puts a wildcard there already
    11:11 warning number-form: `0x10` is read as the number 16
    12:18 warning duplicate-value: this value stands in the list already
    2:1 warning never-matches: the condition can never hold: it asks for something and its opposite
    17:1 warning always-matches: the condition holds for almost every event: it only says what must not be
    25:1 warning filter-keeps: this filter keeps only the events that it names, and drops all others
    "#);

    let silenced = found.iter().map(|diagnostic| diagnostic.code).collect();
    let options = sigma::LintOptions { silenced, ..Default::default() };
    assert!(sigma::lint(&documents, &options).is_empty());
}

#[test]
fn folders_are_loaded_in_order_and_faults_do_not_stop_them() {
    let folder = std::env::temp_dir().join(format!("sigma-load-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("b")).expect("a folder");
    let rule = |title: &str| {
        format!(
            "title: {title}\nlogsource: {{product: x}}\ndetection: {{s: {{a: 1}}, condition: s}}\n"
        )
    };
    std::fs::write(folder.join("b/z.yaml"), rule("z")).expect("written");
    std::fs::write(folder.join("c.yml"), rule("c")).expect("written");
    std::fs::write(folder.join("a.yml"), rule("a")).expect("written");
    std::fs::write(folder.join("latin1.yml"), b"title: \xe9\n").expect("written");
    std::fs::write(folder.join("notes.txt"), "not a rule").expect("written");
    let missing = folder.join("missing.yml");
    let loaded = sigma::load(&[folder.as_path(), missing.as_path()]);
    std::fs::remove_dir_all(&folder).expect("removed");

    let titles: Vec<&str> = loaded.documents.iter().map(Document::title).collect();
    assert_eq!(titles, ["a", "z", "c"]);
    let codes: Vec<Code> = loaded.diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
    assert_eq!(codes, [Code::Unreadable, Code::Unreadable]);
    assert!(loaded.diagnostics.iter().all(|d| d.severity == Severity::Error));
}

#[test]
fn hostile_files_are_refused_quickly() {
    let keys: String = (0..100_000).map(|n| format!("k{n}: 1\n")).collect();
    let selections: String = (0..1_500).map(|n| format!("  s{n}: {{a: {n}}}\n")).collect();
    let repeated = "action: global\ntitle: t\nnote: ".to_owned()
        + &"x".repeat(1 << 20)
        + &"\n---\nid: a\n".repeat(2_000);
    let cases = [
        (keys, Code::TooLarge),
        (format!("{RULE}detection:\n{selections}  condition: 1 of them\n"), Code::TooLarge),
        (
            format!("{RULE}detection:\n  s: {{a: 1}}\n  condition: {}s\n", "not ".repeat(5_000)),
            Code::Condition,
        ),
        ("a: 1\n".repeat(1 << 20), Code::TooLarge),
        (repeated, Code::NotSigma),
    ];
    for (text, code) in cases {
        let (documents, diagnostics) = sigma::parse_documents(&text, "x.yml");
        assert!(documents.is_empty());
        assert_eq!(diagnostics[0].code, code);
    }
}
