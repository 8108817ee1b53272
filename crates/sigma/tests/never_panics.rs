//! Nothing that anybody writes makes the parser panic, hang or forget where it was.

use std::sync::LazyLock;

use proptest::prelude::*;
use sigma::pipeline::{Pipeline, builtin};
use sigma::{Condition, Span};

static PIPELINES: LazyLock<Vec<Pipeline>> = LazyLock::new(builtin);

/// Pieces of rules and of YAML, so that random text gets past the first line.
fn rule_like() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "title: t\n",
        "id: x\n",
        "logsource:\n",
        "  product: windows\n",
        "detection:\n",
        "  selection:\n",
        "    Image|endswith:\n",
        "      - '*\\cmd.exe'\n",
        "    a|re: '(x'\n",
        "    b|base64offset|contains: abc\n",
        "    c|cidr: 10.0.0.0/8\n",
        "    d: null\n",
        "  condition: selection\n",
        "  condition: 1 of sel* and not (a or b)\n",
        "---\n",
        "action: global\n",
        "correlation:\n",
        "  type: event_count\n",
        "  rules: [a]\n",
        "  timespan: 5m\n",
        "  condition: {gte: 3}\n",
        "filter:\n",
        "  rules: any\n",
        "&a ",
        "*a\n",
        "<<: *a\n",
        "|\n",
        ">-\n",
        "[",
        "]",
        "{",
        "}",
        ": ",
        "- ",
        "'",
        "\"",
        "\t",
        "#",
        "\u{feff}",
        "%YAML 1.2\n",
        "!!str ",
        "é",
        "\0",
        "? ",
        "...\n",
        ",",
        "level: high\n",
        "tags: [a]\n",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn pipeline_like() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "name: p\n",
        "priority: 1\n",
        "vars: {a: [b]}\n",
        "transformations:\n",
        "  - type: nest\n",
        "    items: []\n",
        "  - type: field_name_mapping\n",
        "    mapping: {a: [b, c]}\n",
        "  - type: add_condition\n",
        "    conditions: {a: 1}\n",
        "    rule_conditions:\n",
        "      - {type: logsource, product: x}\n",
        "    rule_cond_expr: a and b\n",
        "  - type: replace_string\n",
        "    regex: '('\n",
        "    replacement: '\\1$'\n",
        "    field_name_conditions: {a: {type: include_fields, fields: [x]}}\n",
        "- ",
        "{",
        "[",
    ]);
    prop::collection::vec(piece, 0..25).prop_map(|pieces| pieces.concat())
}

fn check_rules(text: &str) {
    let (documents, diagnostics) = sigma::parse_documents(text, "x.yml");
    for diagnostic in &diagnostics {
        diagnostic.render(Some(text));
    }
    for diagnostic in sigma::lint(&documents, &sigma::LintOptions::default()) {
        diagnostic.render(Some(text));
    }
    for document in documents {
        if let sigma::Document::Rule(mut rule) = document
            && sigma::pipeline::apply(&mut rule, &PIPELINES).is_ok()
            && let Ok(expr) = sigma::resolve(&rule)
        {
            expr.to_string();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn on_rule_like_text(text in rule_like()) {
        check_rules(&text);
    }

    #[test]
    fn on_any_text(text in "(?s).{0,300}") {
        check_rules(&text);
    }

    #[test]
    fn on_any_condition(text in "[a-c *()|\\-]{0,40}|((and|or|not|1 of|all of|them|sel\\*|\\(|\\)|x) ){0,30}") {
        let at = Span { line: 1, column: 1, length: 1 };
        if let Err(fault) = Condition::parse(&text, at) {
            prop_assert!(fault.column as usize <= text.chars().count() + 1);
        }
    }

    #[test]
    fn on_any_pipeline(text in pipeline_like()) {
        if let Ok(pipeline) = Pipeline::parse(&text, "p.yml") {
            let rule = "title: t\nlogsource: {product: x}\ndetection: {s: {a: b}, condition: s}\n";
            let (documents, _) = sigma::parse_documents(rule, "r.yml");
            let mut rule = documents[0].as_rule().expect("a rule").clone();
            let _outcome = sigma::pipeline::apply(&mut rule, &[pipeline]);
        }
    }

    #[test]
    fn on_any_value(
        modifiers in prop::collection::vec(prop::sample::select(sigma::Modifier::words().collect::<Vec<_>>()), 0..4),
        value in "(?s).{0,40}|[a-z(){}\\[\\]\\\\*?+|^$<>&~:-]{0,30}",
    ) {
        let key = std::iter::once("f").chain(modifiers).collect::<Vec<_>>().join("|");
        let value = serde_json::Value::from(value);
        let text = format!(
            "title: t\nlogsource: {{product: x}}\ndetection:\n  s:\n    {key}: {value}\n  condition: s\n"
        );
        check_rules(&text);
    }
}
