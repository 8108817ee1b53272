//! What is found out about rules, one by one: the whole way from text to report.

use std::collections::BTreeSet;

use witness::{
    Arrays, Contained, NoWitness, Options, Proof, Report, Roles, Value, contained, near_misses,
    solve, solve_with,
};

/// The rule of a detection section, as text and resolved.
#[expect(clippy::unwrap_used, reason = "the rules are written here")]
fn rule(detection: &str) -> (sigma::Rule, sigma::expr::Expr) {
    let text = format!(
        "title: t\nlogsource: {{product: windows, category: process_creation}}\ndetection:\n{}",
        indented(detection)
    );
    let (documents, faults) = sigma::parse_documents(&text, "t.yml");
    assert!(faults.is_empty(), "{faults:?}");
    let rule = documents[0].as_rule().unwrap().clone();
    let expr = sigma::resolve(&rule).unwrap();
    (rule, expr)
}

fn indented(text: &str) -> String {
    text.trim()
        .lines()
        .map(|line| format!("  {}\n", line.strip_prefix("        ").unwrap_or(line)))
        .collect()
}

/// The witness of a rule as one line of JSON, or why there is none.
fn witness(detection: &str) -> String {
    let (rule, expr) = rule(detection);
    match solve(&expr, &rule.logsource) {
        Ok(witness) => {
            assert!(matcher::plain::matches(&expr, &witness.event_of(&rule.logsource)));
            serde_json::Value::Object(witness.flat_json()).to_string()
        }
        Err(reason) => reason.to_string(),
    }
}

#[test]
fn texts_are_put_together() {
    let check = |detection: &str, expected: &str| assert_eq!(witness(detection), expected);
    check("s: {Image|endswith: '\\cmd.exe'}\ncondition: s", r#"{"Image":"C:\\cmd.exe"}"#);
    check(
        "s: {Image|endswith: '\\cmd.exe', Image|startswith: 'C:\\'}\nt: {Image|contains: '\\System32\\'}\ncondition: s and t",
        r#"{"Image":"C:\\System32\\cmd.exe"}"#,
    );
    check(
        "s: {CommandLine|contains|all: [' -enc ', 'power', 'powershell']}\nf: {CommandLine|startswith: 'x '}\ncondition: s and not f",
        r#"{"CommandLine":" -enc powershell"}"#,
    );
    check(
        "s: {CommandLine|contains: ab}\nf: {CommandLine: [ab, '*x', 'x*', ' *']}\ncondition: s and not f",
        r#"{"CommandLine":"C:\\xab"}"#,
    );
    check("s: {EventID: 4688, Level: '0x10'}\ncondition: s", r#"{"EventID":4688,"Level":"0x10"}"#);
}

#[test]
fn other_tests_have_values() {
    let check = |detection: &str, expected: &str| assert_eq!(witness(detection), expected);
    check("s: {a|re: '^x[0-9]{2}(b|c)$'}\ncondition: s", r#"{"a":"x00b"}"#);
    check(
        "s: {a|cidr: 10.0.0.0/8}\nf: {a|cidr: ['10.0.0.0/9', '10.128.0.0/10']}\ncondition: s and not f",
        r#"{"a":"10.192.0.1"}"#,
    );
    check("s: {a|gt: 5, b|lte: -2}\nt: {a|lt: 7}\ncondition: s and t", r#"{"a":6,"b":-2}"#);
    check("s: {a: null, b|exists: true}\nf: {b: [x, 1]}\ncondition: s and not f", r#"{"b":"-"}"#);
    check("s: {a|month: 2, a|day: 29}\ncondition: s", r#"{"a":"2020-02-29T00:00:00Z"}"#);
    check("s: {a|fieldref: b, b|startswith: q}\ncondition: s", r#"{"a":"q","b":"q"}"#);
    check(
        "s: {a|fieldref|endswith: b, a|startswith: 'C:\\', b|contains: zz}\ncondition: s",
        r#"{"a":"C:\\zz","b":"zz"}"#,
    );
    check("s: {a: x*, b: x*}\nf: {a|fieldref: b}\ncondition: s and not f", r#"{"a":"xx","b":"x"}"#);
    check("s: [alpha, beta]\nt: [gamma]\ncondition: s and t", r#"{"message":"gamma alpha"}"#);
    check("s: {a|cased: Ab, a: AB}\ncondition: s", r#"{"a":"Ab"}"#);
}

#[test]
fn contradictions_are_proven_and_shown() {
    let check = |detection: &str, expected: &str| assert_eq!(witness(detection), expected);
    check(
        "s: {a: x, b: y}\nt: {a: z}\ncondition: s and t",
        "can never match\n    a = 'x'\n      against a = 'z'",
    );
    check(
        "s: {a|contains: abc}\nf: {a|contains: b}\ncondition: s and not f",
        "can never match\n    a = '*abc*'\n      against not a = '*b*'",
    );
    check(
        "s: {a|contains: [abc, bcd], c|exists: true}\nf: {a|contains: [b, x]}\ncondition: s and not f",
        "can never match\n    not a = '*b*'\n      against a = '*abc*'\n    not a = '*b*'\n      against a = '*bcd*'",
    );
    check(
        "s: {a|re: '^[a-c]$'}\nf: {a: ['a', 'B', 'c']}\ncondition: s and not f",
        "can never match\n    a ~ /^[a-c]$/\n      against not a = 'a'\n      against not a = 'B'\n      against not a = 'c'",
    );
    check(
        "s: {a|cidr: 10.1.0.0/16}\nf: {a|cidr: 10.0.0.0/8}\ncondition: s and not f",
        "can never match\n    a in 10.1.0.0/16\n      against not a in 10.0.0.0/8",
    );
    check(
        "s: {a|gt: 5}\nt: {a|lt: 5}\ncondition: s and t",
        "can never match\n    a > 5\n      against a < 5",
    );
    check(
        "s: {a|month: 2, a|day: 30}\ncondition: s",
        "can never match\n    month of a = 2\n      against day of a = 30",
    );
    check(
        "s: {a: null, a|startswith: x}\ncondition: s",
        "can never match\n    a is null\n      against a = 'x*'",
    );
}

#[test]
fn arrays_only_where_the_logsource_has_them() {
    let (rule, expr) = rule("s: {a: x}\nt: {a: z}\ncondition: s and t");
    assert!(matches!(solve(&expr, &rule.logsource), Err(NoWitness::Contradiction(_))));
    let options = Options { arrays: Arrays::Everywhere, ..Options::default() };
    let witness = solve_with(&expr, &options).unwrap();
    assert_eq!(witness.values("a"), [Value::Text("x".into()), Value::Text("z".into())]);
    assert_eq!(witness.arrays().collect::<Vec<_>>(), ["a"]);
}

#[test]
fn fields_that_no_source_produces_may_not_be_used() {
    let (_, expr) = rule("s: {a: x}\nt: {b: y}\nu: {c: z}\ncondition: s and (t or u)");
    let absent = BTreeSet::from(["b".to_owned()]);
    let options = Options { absent: Some(&absent), ..Options::default() };
    let witness = solve_with(&expr, &options).unwrap();
    assert!(witness.values("b").is_empty() && !witness.values("c").is_empty());
    let absent = BTreeSet::from(["a".to_owned()]);
    let options = Options { absent: Some(&absent), ..Options::default() };
    assert!(matches!(solve_with(&expr, &options), Err(NoWitness::Contradiction(_))));
}

#[test]
fn a_report_shows_all_of_it() {
    let (rule, expr) = rule(
        "sel: {Image|endswith: '\\whoami.exe', CommandLine|contains|all: ['/priv', '/all']}\n\
         filter_admin: {ParentImage: 'C:\\ok.exe', User: root}\n\
         filter_dead: {Image: 'C:\\other.exe'}\n\
         condition: sel and not 1 of filter_*",
    );
    let report = Report::new("Whoami".into(), &expr, &rule.logsource, &Roles::default());
    insta::assert_snapshot!(report.to_string(), @r#"
    Whoami
      matches
        CommandLine  /priv /all
        Image        C:\whoami.exe
      must not match
        sel: Image = '*\whoami.exe'
          Image is C:\whoami.exex
        sel: CommandLine = '*/priv*'
          CommandLine is /priw /all
        sel: CommandLine = '*/all*'
          CommandLine is /priv /alm
        not filter_admin: (ParentImage = 'C:\ok.exe' and User = 'root')
          ParentImage is C:\ok.exe
          User is root
        not filter_dead: Image = 'C:\other.exe'
          never applies
      catches 18 of 21 variations (85 %)
        cost 1, quotes within words
          CommandLine is C:\whoami.exe /pr""iv /al""l
        cost 1, dashes for slashes
          CommandLine is C:\whoami.exe -priv -all
        cost 2, the program copied under another name
          Image is C:\Users\Public\svc7.exe
    "#);
}

#[test]
fn near_misses_keep_the_rest() {
    let (rule, expr) = rule(
        "s: {EventID: [5, 6], a|cidr: 10.0.0.0/8, b|gte: 3, c|re: 'x[0-9]+y', d: null}\ncondition: s",
    );
    let witness = solve(&expr, &rule.logsource).unwrap();
    let nearby = near_misses(&expr, &witness, &rule.logsource);
    let shown: Vec<String> = nearby
        .misses
        .iter()
        .map(|miss| {
            assert!(miss.alone && miss.changes.len() == 1, "{miss:?}");
            format!("{}: {}", miss.part, miss.changes[0])
        })
        .collect();
    assert_eq!(
        shown,
        [
            "s: EventID = '5': EventID is 4",
            "s: a in 10.0.0.0/8: a is 11.0.0.0",
            "s: b >= 3: b is 2",
            "s: c ~ /x[0-9]+y/: c is x0z",
            "s: d is null: d is x",
        ]
    );
    assert!(nearby.without.is_empty());
}

#[test]
fn rules_within_rules() {
    let rule = |label: &str, detection: &str| {
        let (rule, expr) = rule(detection);
        matcher::Rule { label: label.to_owned(), logsource: rule.logsource, expr }
    };
    let mut elsewhere = rule("elsewhere", "s: {Image|endswith: '\\cmd.exe'}\ncondition: s");
    elsewhere.logsource = sigma::Logsource::new(Some("linux"), None, None);
    let rules = vec![
        rule("wide", "s: {Image|endswith: '\\cmd.exe'}\ncondition: s"),
        rule("narrow", "s: {Image|endswith: '\\cmd.exe', CommandLine|contains: x}\ncondition: s"),
        rule("other", "s: {Image|endswith: '\\powershell.exe'}\ncondition: s"),
        rule("regex", "s: {Image|re: '(?i)cmd.exe$'}\ncondition: s"),
        elsewhere,
    ];
    let (matcher, refused) = matcher::Matcher::new(rules.clone());
    assert!(refused.is_empty());
    let found = contained(&rules, &matcher);
    assert!(found.contains(&Contained { inner: 1, outer: 0, proof: Proof::Structure }));
    assert!(found.contains(&Contained { inner: 0, outer: 3, proof: Proof::Solved }), "{found:?}");
    assert!(!found.iter().any(|pair| pair.outer == 1 || pair.inner == 2 || pair.outer == 2));
    assert!(!found.iter().any(|pair| pair.inner == 4 || pair.outer == 4));
}
