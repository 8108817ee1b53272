//! What rules mean, construct by construct, as one line of text each.

use sigma::{Code, Diagnostic, Document, Rule};

fn rule(detection: &str) -> Rule {
    let indented: String = detection.lines().map(|line| format!("  {line}\n")).collect();
    let text =
        format!("title: t\nlogsource: {{product: windows}}\ndetection:\n{indented}level: high\n");
    let (mut documents, diagnostics) = sigma::parse_documents(&text, "rule.yml");
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    match documents.pop() {
        Some(Document::Rule(rule)) => rule,
        other => panic!("not a rule: {other:?}"),
    }
}

fn resolve(detection: &str) -> Result<String, Diagnostic> {
    sigma::resolve(&rule(detection)).map(|expr| expr.to_string())
}

/// The meaning of one item: a field with modifiers, and its values in flow form.
fn item(item: &str) -> String {
    let text =
        resolve(&format!("s:\n  {item}\ncondition: s")).unwrap_or_else(|fault| panic!("{fault}"));
    text.strip_prefix("s{").and_then(|text| text.strip_suffix('}')).expect("a selection").to_owned()
}

fn refused(item: &str) -> String {
    let fault = resolve(&format!("s:\n  {item}\ncondition: s")).expect_err(item);
    format!("{}: {}", fault.code, fault.message)
}

#[test]
fn values() {
    insta::assert_snapshot!(item("a: x"), @"a = 'x'");
    insta::assert_snapshot!(item("a: [x, 'y*']"), @"(a = 'x' or a = 'y*')");
    insta::assert_snapshot!(item("a: ''"), @"a = ''");
    insta::assert_snapshot!(item("a: null"), @"a is null");
    insta::assert_snapshot!(item("a:"), @"a is null");
    insta::assert_snapshot!(item("a: [null, '', '-']"), @"(a is null or a = '' or a = '-')");
    insta::assert_snapshot!(item("a: 4688"), @"a = '4688'");
    insta::assert_snapshot!(item("a: [-1, 1.50, 0x1F, '0x1F']"), @"(a = '-1' or a = '1.5' or a = '31' or a = '0x1F')");
    insta::assert_snapshot!(item("a: true"), @"a = 'true'");
    insta::assert_snapshot!(item("a|contains: 007"), @"a = '*007*'");
    insta::assert_snapshot!(item("a.b.c: x"), @"a.b.c = 'x'");
}

#[test]
fn text_modifiers() {
    insta::assert_snapshot!(item(r"a|contains: 'x\y'"), @r"a = '*x\y*'");
    insta::assert_snapshot!(item(r"a|startswith: 'C:\'"), @r"a = 'C:\\*'");
    insta::assert_snapshot!(item(r"a|endswith: '\cmd.exe'"), @r"a = '*\cmd.exe'");
    insta::assert_snapshot!(item("a|contains|all: [x, y]"), @"(a = '*x*' and a = '*y*')");
    insta::assert_snapshot!(item("a|cased: X"), @"a == 'X'");
    insta::assert_snapshot!(item("a|neq: [x, y]"), @"not (a = 'x' or a = 'y')");
    insta::assert_snapshot!(item("a|contains: '*x*'"), @"a = '*x*'");
    insta::assert_snapshot!(item("a|windash|contains: ' -f'"), @"(a = '* -f*' or a = '* /f*' or a = '* –f*' or a = '* —f*' or a = '* ―f*')");
    insta::assert_snapshot!(item("a|contains|windash: 'x -a -b -c -d'"), @r"a ~ /x [-/–—―]a [-/–—―]b [-/–—―]c [-/–—―]d/is");
    insta::assert_snapshot!(item("a|base64: foobar"), @"a = 'Zm9vYmFy'");
    insta::assert_snapshot!(item("a|base64offset|contains: foobar"), @"(a = '*Zm9vYmFy*' or a = '*Zvb2Jhc*' or a = '*mb29iYX*')");
    insta::assert_snapshot!(item("a|wide|base64: cmd"), @"a = 'YwBtAGQA'");
    insta::assert_snapshot!(item("a|utf16|base64: cmd"), @"a = '//5jAG0AZAA='");
    insta::assert_snapshot!(item("a|utf16be|base64offset|contains: ping"), @"(a = '*AHAAaQBuAG*' or a = '*BwAGkAbgBn*' or a = '*AcABpAG4AZ*')");
}

#[test]
fn other_modifiers() {
    insta::assert_snapshot!(item(r"a|re: '^\d+\.exe$'"), @r"a ~ /^\d+\.exe$/");
    insta::assert_snapshot!(item("a|re|i|m|s: x"), @"a ~ /x/ims");
    insta::assert_snapshot!(item("a|re|startswith: x|y"), @"a ~ /^(?:x|y)/");
    insta::assert_snapshot!(item("a|cidr: [10.1.2.3/8, 'fe80::1/10', 192.0.2.1]"), @"(a in 10.0.0.0/8 or a in fe80::/10 or a in 192.0.2.1/32)");
    insta::assert_snapshot!(item("a|gte: 5"), @"a >= 5");
    insta::assert_snapshot!(item("a|lt: '1.5'"), @"a < 1.5");
    insta::assert_snapshot!(item("a|exists: false"), @"a does not exist");
    insta::assert_snapshot!(item("a|fieldref: b"), @"a equals the value of b");
    insta::assert_snapshot!(item("a|fieldref|endswith|cased: b"), @"a ends with exactly the value of b");
    insta::assert_snapshot!(item("a|fieldref|neq: b"), @"not a equals the value of b");
    insta::assert_snapshot!(item("a|hour: [5, 6]"), @"(hour of a = 5 or hour of a = 6)");
    insta::assert_snapshot!(item("a|hour|gt: 21"), @"(hour of a = 22 or hour of a = 23)");
    insta::assert_snapshot!(item(r"a|expand: '\%plain\%x'"), @"a = '%plain%x'");
    insta::assert_snapshot!(item("a: '%name%'"), @"a = '%name%'");
}

#[test]
fn misuse_is_refused() {
    insta::assert_snapshot!(refused("a|expand: 'x%Servers%'"), @"placeholder: no pipeline gives a value for the placeholder `%Servers%`");
    insta::assert_snapshot!(refused("a|re: 'x(?!y)'"), @"regex: the regular expression uses a negative lookahead (`(?!`), which can't be matched in linear time");
    insta::assert_snapshot!(refused("a|re: '('"), @"regex: not a valid regular expression: unclosed group");
    insta::assert_snapshot!(refused("a|i: x"), @"modifier-misuse: `i` belongs to `re`");
    insta::assert_snapshot!(refused("a|re|cidr: x"), @"modifier-misuse: `re` and `cidr` exclude each other");
    insta::assert_snapshot!(refused("a|contains|endswith: x"), @"modifier-misuse: `contains` and `endswith` exclude each other");
    insta::assert_snapshot!(refused("a|wide: x"), @"modifier-misuse: `utf16le` must be followed by `base64` or `base64offset`");
    insta::assert_snapshot!(refused("a|base64: 'x*'"), @"value: a wildcard can't be encoded by `base64`; escape it");
    insta::assert_snapshot!(refused("a|base64offset: x"), @"value: this value is too short for `base64offset`");
    insta::assert_snapshot!(refused("a|gt: x"), @"value: a number should stand here, not a text");
    insta::assert_snapshot!(refused("a|gt|neq: 1"), @"modifier-misuse: `neq` can't be combined with a comparison or `exists`");
    insta::assert_snapshot!(refused("a|exists: maybe"), @"value: true or false should stand here, not a text");
    insta::assert_snapshot!(refused("a|cidr: 10.0.0.0/33"), @"value: `10.0.0.0/33` is not a network");
    insta::assert_snapshot!(refused("a|hour: 24"), @"value: 24 can't be: it is from 0 to 23");
    insta::assert_snapshot!(refused("a|contains: null"), @"value: null has no text that could be looked for");
    insta::assert_snapshot!(refused("'|gt': 1"), @"modifier-misuse: `gt` needs a field");
}

#[test]
fn shapes() {
    let check = |detection: &str| resolve(detection).unwrap_or_else(|fault| panic!("{fault}"));
    insta::assert_snapshot!(check("s: [x, 'y*', 5]\ncondition: s"), @"s{(any text has 'x' or any text has 'y' or any text has '5')}");
    insta::assert_snapshot!(check("s: x\ncondition: s"), @"s{any text has 'x'}");
    insta::assert_snapshot!(check("s:\n  '|all': [x, y]\ncondition: s"), @"s{(any text has 'x' and any text has 'y')}");
    insta::assert_snapshot!(check("s: {a: 1, b: 2}\ncondition: s"), @"s{(a = '1' and b = '2')}");
    insta::assert_snapshot!(check("s:\n  - {a: 1, b: 2}\n  - c: 3\n  - kw\ncondition: s"), @"s{((a = '1' and b = '2') or c = '3' or any text has 'kw')}");
}

#[test]
fn conditions() {
    let check = |condition: &str| {
        let selections = "s1: {a: 1}\ns2: {b: 2}\ns3: {c: 3}\n_hidden: {d: 4}\n";
        resolve(&format!("{selections}condition: {condition}"))
            .unwrap_or_else(|fault| panic!("{fault}"))
    };
    insta::assert_snapshot!(check("s1 and not (s2 or s3)"), @"(s1{a = '1'} and not (s2{b = '2'} or s3{c = '3'}))");
    insta::assert_snapshot!(check("1 of s*"), @"(s1{a = '1'} or s2{b = '2'} or s3{c = '3'})");
    insta::assert_snapshot!(check("all of them"), @"(s1{a = '1'} and s2{b = '2'} and s3{c = '3'})");
    insta::assert_snapshot!(check("any of _hid*"), @"_hidden{d = '4'}");
    insta::assert_snapshot!(check("2 of s*"), @"((s1{a = '1'} and (s2{b = '2'} or s3{c = '3'})) or (s2{b = '2'} and s3{c = '3'}))");
    insta::assert_snapshot!(check("[s1, s2]"), @"(s1{a = '1'} or s2{b = '2'})");
}

#[test]
fn n_of_many_is_bounded() {
    let mut detection: String = (0..64).map(|n| format!("s{n}: {{a: {n}}}\n")).collect();
    detection.push_str("condition: 32 of s*");
    let fault = resolve(&detection).expect_err("it explodes");
    assert_eq!(fault.code, Code::RuleTooLarge);
}

#[test]
fn filters_are_put_beside_the_rule() {
    let text = "
title: rule
id: 11111111-1111-4111-8111-111111111111
logsource: {product: windows, category: process_creation}
detection:
  sel_a: {a: 1}
  sel_b: {b: 2}
  condition: 1 of sel_*
---
title: filter
logsource: {product: windows}
filter:
  rules: [11111111-1111-4111-8111-111111111111]
  sel_user: {User|startswith: adm_}
  sel_host: {Host: x}
  condition: not 1 of sel_*
---
title: another filter
logsource: {product: linux}
filter:
  rules: any
  selection: {c: 3}
  condition: not selection
";
    let (documents, diagnostics) = sigma::parse_documents(text, "f.yml");
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    let (mut rules, mut filters) = (Vec::new(), Vec::new());
    for document in documents {
        match document {
            Document::Rule(rule) => rules.push(rule),
            Document::Filter(filter) => filters.push(filter),
            Document::Correlation(_) => unreachable!("there is none"),
        }
    }
    assert_eq!(sigma::apply_filters(&mut rules, &filters), 1);
    let expr = sigma::resolve(&rules[0]).expect("resolves");
    insta::assert_snapshot!(expr, @"((sel_a{a = '1'} or sel_b{b = '2'}) and not (filter(0).sel_user{User = 'adm_*'} or filter(0).sel_host{Host = 'x'}))");
}
