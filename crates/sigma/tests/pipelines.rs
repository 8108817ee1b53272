//! Pipelines: what each transformation does to a rule, and where the built-in ones lead.

use sigma::pipeline::{Pipeline, apply, builtin, map_field};
use sigma::{Document, Rule};

fn rule(logsource: &str, detection: &str) -> Rule {
    let text = format!(
        "title: t\nid: r\nlevel: high\ntags: [attack.t1059]\nfields: [Image]\nlogsource: {logsource}\ndetection: {detection}\n"
    );
    let (mut documents, diagnostics) = sigma::parse_documents(&text, "rule.yml");
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    match documents.pop() {
        Some(Document::Rule(rule)) => rule,
        other => panic!("not a rule: {other:?}"),
    }
}

/// The rule's meaning after one transformation of a pipeline.
fn after(transformation: &str, logsource: &str, detection: &str) -> String {
    let indented: String = transformation.lines().map(|line| format!("    {line}\n")).collect();
    let yaml = format!(
        "name: test\nvars: {{admins: [root, 'adm_*'], odd: '50%'}}\ntransformations:\n  -\n{indented}"
    );
    let pipeline = Pipeline::parse(&yaml, "p.yml").unwrap_or_else(|faults| panic!("{faults:?}"));
    let mut rule = rule(logsource, detection);
    match apply(&mut rule, &[pipeline]).and_then(|()| sigma::resolve(&rule)) {
        Ok(expr) => expr.to_string(),
        Err(fault) => fault.to_string(),
    }
}

const WINDOWS: &str = "{product: windows, category: process_creation}";
const TWO: &str = "{sel: {Image: x, User: y}, condition: sel}";

#[test]
fn field_names() {
    insta::assert_snapshot!(after("type: field_name_mapping\nmapping: {Image: process.executable, User: [a, b]}", WINDOWS, TWO), @"sel{(process.executable = 'x' and (a = 'y' or b = 'y'))}");
    insta::assert_snapshot!(after("type: field_name_prefix\nprefix: win.", WINDOWS, TWO), @"sel{(win.Image = 'x' and win.User = 'y')}");
    insta::assert_snapshot!(after("type: field_name_suffix\nsuffix: .keyword\nfield_name_conditions: [{type: include_fields, fields: [User]}]", WINDOWS, TWO), @"sel{(Image = 'x' and User.keyword = 'y')}");
    insta::assert_snapshot!(after("type: field_name_prefix_mapping\nmapping: {Im: [p., q.]}", WINDOWS, TWO), @"sel{((p.age = 'x' or q.age = 'x') and User = 'y')}");
    insta::assert_snapshot!(after("type: field_name_transform\ntransform_func: snake_case\nmapping: {User: U}", WINDOWS, "{sel: {ParentImage: x, User: y}, condition: sel}"), @"sel{(parent_image = 'x' and U = 'y')}");
    insta::assert_snapshot!(after("type: field_name_mapping\nmapping: {Image: p, ParentImage: q}", WINDOWS, "{sel: {Image|fieldref: ParentImage}, condition: sel}"), @"sel{p equals the value of q}");
    insta::assert_snapshot!(after("type: field_name_prefix\nprefix: p.", WINDOWS, "{sel: [keyword], condition: sel}"), @"sel{any text has 'keyword'}");
}

#[test]
fn conditions_decide() {
    let prefix = |conditions: &str| {
        after(&format!("type: field_name_prefix\nprefix: p.\n{conditions}"), WINDOWS, TWO)
    };
    let yes = "sel{(p.Image = 'x' and p.User = 'y')}";
    let no = "sel{(Image = 'x' and User = 'y')}";
    let check =
        |conditions: &str, expected: &str| assert_eq!(prefix(conditions), expected, "{conditions}");
    check("rule_conditions: [{type: logsource, product: windows}]", yes);
    check("rule_conditions: [{type: logsource, product: linux}]", no);
    check("rule_conditions: [{type: logsource, product: linux}]\nrule_cond_not: true", yes);
    check(
        "rule_conditions: [{type: logsource, product: linux}, {type: is_sigma_rule}]\nrule_cond_op: or",
        yes,
    );
    check(
        "rule_conditions: {a: {type: logsource, product: linux}, b: {type: is_sigma_rule}}\nrule_cond_expr: b and not a",
        yes,
    );
    check("rule_conditions: [{type: contains_detection_item, field: User, value: y}]", yes);
    check("rule_conditions: [{type: contains_detection_item, field: User, value: z}]", no);
    check("rule_conditions: [{type: contains_field, field: Nothing}]", no);
    check(
        "rule_conditions: [{type: rule_attribute, attribute: level, op: gte, value: medium}]",
        yes,
    );
    check("rule_conditions: [{type: rule_attribute, attribute: level, op: gt, value: high}]", no);
    check("rule_conditions: [{type: tag, tag: attack.t1059}]", yes);
    check("rule_conditions: [{type: is_sigma_correlation_rule}]", no);
    check("rule_conditions: [{type: processing_item_applied, processing_item_id: nope}]", no);
    check("field_name_conditions: [{type: exclude_fields, mode: re, fields: ['Im|Us']}]", no);
    let only_user = "sel{(Image = 'x' and p.User = 'y')}";
    check(
        "detection_item_conditions: [{type: match_string, cond: any, pattern: '^y$'}]",
        only_user,
    );
    check("detection_item_conditions: [{type: match_value, value: y}]", only_user);
    check("detection_item_conditions: [{type: is_null}]", no);
    check(
        "detection_item_conditions: [{type: contains_wildcard}]\ndetection_item_cond_not: true",
        yes,
    );
}

#[test]
fn detections() {
    insta::assert_snapshot!(after("type: add_condition\nname: added\nconditions: {index: '$product', source: [a, b]}\ntemplate: true", WINDOWS, "{sel_a: {a: 1}, sel_b: {b: 1}, condition: all of them}"), @"(sel_a{a = '1'} and sel_b{b = '1'} and added{(index = 'windows' and (source = 'a' or source = 'b'))})");
    insta::assert_snapshot!(after("type: add_condition\nconditions: {a: 1}\nnegated: true", WINDOWS, TWO), @"(sel{(Image = 'x' and User = 'y')} and not _added{a = '1'})");
    insta::assert_snapshot!(after("type: drop_detection_item\nfield_name_conditions: [{type: include_fields, fields: [User]}]", WINDOWS, TWO), @"sel{Image = 'x'}");
    insta::assert_snapshot!(after("type: drop_detection_item\nfield_name_conditions: [{type: include_fields, fields: [User]}]", WINDOWS, "{sel: {a: 1}, filter: {User: y}, condition: sel and not filter}"), @"sel{a = '1'}");
    insta::assert_snapshot!(after("type: drop_detection_item", WINDOWS, TWO), @"rule.yml:1:1: error[never-matches]: nothing is left of this rule to match with (pipelines dropped all of its fields)");
    insta::assert_snapshot!(after(r"type: replace_string
regex: '^\*?(.):\\'
replacement: '\1|/'", WINDOWS, r"{sel: {Image: 'C:\x'}, condition: sel}"), @"sel{Image = 'C|/x'}");
    insta::assert_snapshot!(after("type: map_string\nmapping: {x: [p, q]}", WINDOWS, TWO), @"sel{((Image = 'p' or Image = 'q') and User = 'y')}");
    insta::assert_snapshot!(after("type: case\nmethod: upper", WINDOWS, TWO), @"sel{(Image = 'X' and User = 'Y')}");
    insta::assert_snapshot!(after("type: set_value\nvalue: null", WINDOWS, TWO), @"sel{(Image is null and User is null)}");
    insta::assert_snapshot!(after("type: rule_failure\nmessage: not here", WINDOWS, TWO), @"rule.yml:1:1: error[refused-by-pipeline]: not here (the pipeline `test` says so (p.yml:5))");
    insta::assert_snapshot!(after("type: detection_item_failure\nmessage: no users\nfield_name_conditions: [{type: include_fields, fields: [User]}]", WINDOWS, TWO), @"rule.yml:7:29: error[refused-by-pipeline]: no users (the pipeline `test` says so (p.yml:5))");
    insta::assert_snapshot!(after("type: nest\nitems:\n  - {type: set_state, key: k, val: v}\n  - {type: field_name_prefix, prefix: p., rule_conditions: [{type: processing_state, key: k, val: v}]}", WINDOWS, TWO), @"sel{(p.Image = 'x' and p.User = 'y')}");
}

#[test]
fn placeholders() {
    let detection = "{sel: {User|expand: ['%admins%-x', plain]}, condition: sel}";
    insta::assert_snapshot!(after("type: value_placeholders", WINDOWS, detection), @"sel{(User = 'root-x' or User = 'adm_*-x' or User = 'plain')}");
    insta::assert_snapshot!(after("type: wildcard_placeholders", WINDOWS, detection), @"sel{(User = '*-x' or User = 'plain')}");
    insta::assert_snapshot!(after("type: value_placeholders\nexclude: [admins]", WINDOWS, detection), @"rule.yml:7:33: error[placeholder]: no pipeline gives a value for the placeholder `%admins%` (add a pipeline with `vars: {admins: [...]}` and a `value_placeholders` transformation)");
    insta::assert_snapshot!(after("type: value_placeholders", WINDOWS, "{sel: {User|expand: '%odd%%admins%'}, condition: sel}"), @"sel{(User = '50%root' or User = '50%adm_*')}");
}

#[test]
fn the_logsource_and_fields_change() {
    let yaml = "
name: p
priority: 5
transformations:
  - {type: change_logsource, product: windows, service: sysmon}
  - {type: add_condition, conditions: {EventID: 1}, rule_conditions: [{type: logsource, service: sysmon}]}
  - {type: field_name_mapping, mapping: {Image: exe}}
  - {type: set_custom_attribute, attribute: team, value: blue}
";
    let pipeline = Pipeline::parse(yaml, "p.yml").expect("valid");
    let mut changed = rule(WINDOWS, TWO);
    apply(&mut changed, std::slice::from_ref(&pipeline)).expect("applies");
    assert_eq!(changed.logsource.to_string(), "windows/*/sysmon");
    assert_eq!(changed.fields, ["exe"]);
    assert_eq!(changed.custom.get("team"), Some(&"blue".into()));
    assert_eq!(map_field(&rule(WINDOWS, TWO), "Image", &[pipeline]).expect("maps"), ["exe"]);
}

#[test]
fn mistakes_are_shown() {
    let check = |yaml: &str| -> String {
        let faults = Pipeline::parse(yaml, "p.yml").expect_err("a mistake");
        faults.iter().map(|fault| fault.render(Some(yaml))).collect()
    };
    insta::assert_snapshot!(check("name: p\ntransformations:\n  - type: field_name_maping\n    mapping: {a: b}\n"), @r"
    error[pipeline]: there is no transformation `field_name_maping`
     --> p.yml:3:11
      |
    3 |   - type: field_name_maping
      |           ^^^^^^^^^^^^^^^^^
      = help: did you mean `field_name_mapping`?
    ");
    insta::assert_snapshot!(check("transformations:\n  - type: field_name_prefix\n    prefix: a\n    rule_condition: []\n"), @r"
    error[pipeline]: this transformation has no parameter `rule_condition`
     --> p.yml:4:5
      |
    4 |     rule_condition: []
      |     ^^^^^^^^^^^^^^
      = help: did you mean `rule_conditions`?
    ");
    insta::assert_snapshot!(check("transformations:\n  - type: drop_detection_item\n    rule_conditions: [{type: logsorce}]\n"), @r"
    error[pipeline]: there is no such condition `logsorce` here
     --> p.yml:3:24
      |
    3 |     rule_conditions: [{type: logsorce}]
      |                        ^^^^
      = help: did you mean `logsource`?
    ");
}

#[test]
fn built_in_pipelines_lead_to_the_event_model() {
    let pipelines = builtin();
    let check = |logsource: &str, detection: &str| {
        let mut rule = rule(logsource, &format!("{{s: {detection}, condition: s}}"));
        apply(&mut rule, &pipelines).expect("applies");
        sigma::resolve(&rule).expect("resolves").to_string()
    };
    insta::assert_snapshot!(check(WINDOWS, "{Image: a, EventID: 1, Hashes: h, imphash: i, User: u, process.name: n}"), @"s{(process.executable = 'a' and event.code = '1' and winlog.event_data.Hashes = 'h' and process.pe.imphash = 'i' and winlog.event_data.User = 'u' and process.name = 'n')}");
    insta::assert_snapshot!(check("{product: windows, category: image_load}", "{ImageLoaded: a, Image: b, md5: c, Signed: 'true'}"), @"s{(file.path = 'a' and process.executable = 'b' and file.hash.md5 = 'c' and winlog.event_data.Signed = 'true')}");
    insta::assert_snapshot!(check("{product: windows, service: security}", "{NewProcessName: a, ProcessName: b, TargetUserName: c, Provider_Name: d}"), @"s{(process.executable = 'a' and winlog.event_data.ProcessName = 'b' and winlog.event_data.TargetUserName = 'c' and winlog.provider_name = 'd')}");
    insta::assert_snapshot!(check("{product: windows, category: file_event}", "{TargetFilename: a}"), @"s{file.path = 'a'}");
    insta::assert_snapshot!(check("{product: windows, category: registry_set}", "{TargetObject: a, Details: b}"), @"s{(registry.path = 'a' and winlog.event_data.Details = 'b')}");
    insta::assert_snapshot!(check("{product: windows, category: ps_script}", "{ScriptBlockText: a}"), @"s{powershell.file.script_block_text = 'a'}");
    insta::assert_snapshot!(check("{product: windows, service: applocker}", "{EventID: 8004, FilePath: a}"), @"s{(event.code = '8004' and (winlog.event_data.FilePath = 'a' or winlog.user_data.FilePath = 'a'))}");
    insta::assert_snapshot!(check("{product: linux, category: process_creation}", "{CommandLine: a, User: b, LogonId: c}"), @"s{(process.command_line = 'a' and user.name = 'b' and winlog.event_data.LogonId = 'c')}");
    insta::assert_snapshot!(check("{product: linux, service: auditd}", "{type: EXECVE, a0: x}"), @"s{(auditd.data.type = 'EXECVE' and auditd.data.a0 = 'x')}");
    insta::assert_snapshot!(check("{product: aws, service: cloudtrail}", "{eventName: a, errorCode: b, userIdentity.type: c}"), @"s{(event.action = 'a' and aws.cloudtrail.error_code = 'b' and aws.cloudtrail.userIdentity.type = 'c')}");
    insta::assert_snapshot!(check("{category: webserver}", "{cs-method: GET, cs-uri-query: x, sc-status: 200}"), @"s{(http.request.method = 'GET' and (url.query = 'x' or url.original = 'x') and http.response.status_code = '200')}");
    insta::assert_snapshot!(check("{product: zeek, service: http}", "{c-uri: a, id.resp_h: b, resp_mime_types: c}"), @"s{(url.original = 'a' and destination.ip = 'b' and zeek.http.resp_mime_types = 'c')}");
}

#[test]
fn placeholders_do_not_explode() {
    let values: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    let yaml = format!(
        "vars: {{n: [{}]}}\ntransformations: [{{type: value_placeholders}}]\n",
        values.join(", ")
    );
    let pipeline = Pipeline::parse(&yaml, "p.yml").expect("valid");
    let mut rule = rule(WINDOWS, "{sel: {User|expand: '%n%%n%%n%%n%%n%'}, condition: sel}");
    let fault = apply(&mut rule, &[pipeline]).expect_err("too many");
    assert_eq!(fault.code, sigma::Code::RuleTooLarge);
}
