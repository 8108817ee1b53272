use event::Event;
use insta::assert_snapshot;

use super::{Mappings, Work};

const SIGN_INS: &str = r#"
source: acme.sign_in
title: Sign-ins of Acme
recognise: {acme_event|exists: true, actor.mail|exists: true}
time: when
logsource: {product: acme, service: sign_in}
set: {event.category: [authentication], cloud.provider: acme}
map:
  actor.mail: user.email
  address: source.address
  took_ms: {to: event.duration, scale: 1000000}
  port: source.port
copy:
  acme_event: event.action
cases:
  - when: {acme_event|startswith: 'login.'}
    set: {event.type: [start]}
lookup:
  field: result
  rows:
    ok | fine: {event.outcome: success}
  otherwise: {event.outcome: failure, event.reason: "said {result}"}
"#;

const SSHD: &str = r#"
source: linux.sshd
native: linux
recognise: {program: [sshd, sshd-session]}
decode:
  patterns:
    - "Accepted {ssh.method} for {user.name} from {source.address:ip} port {source.port:int} ssh2"
    - "Failed {ssh.method} for {?invalid user }{user.name} from {source.address:ip} port {source.port:int} ssh2"
  optional: true
logsource: {product: linux, service: sshd}
cases:
  - when: {text|startswith: 'Accepted '}
    set: {event.outcome: success, event.category: [authentication, session]}
  - when: {text|startswith: 'Failed '}
    set: {event.outcome: failure, event.category: [authentication]}
"#;

fn mappings(files: &[&str]) -> Mappings {
    let (mappings, faults) = Mappings::load(files.iter().map(|text| ("test.yml", *text)));
    assert!(faults.is_empty(), "{faults:?}");
    mappings
}

fn document(mappings: &Mappings, json: &str) -> String {
    let (mut native, mut out, mut work) = (Event::new(), Event::new(), Work::default());
    native.parse_json(json.as_bytes()).unwrap();
    let Some(source) = mappings.of_document("", &native, &mut work) else { return "none".into() };
    source.map(&native, true, &mut out, &mut work);
    out.remove(super::MAPPING);
    out.to_json()
}

fn line(mappings: &Mappings, program: &str, text: &str) -> String {
    let (mut native, mut out, mut work) = (Event::new(), Event::new(), Work::default());
    let Some(source) = mappings.of_line("", program, text, &mut native, &mut work) else {
        return "none".into();
    };
    source.map(&native, false, &mut out, &mut work);
    out.remove(super::MAPPING);
    out.to_json()
}

#[test]
fn documents_are_mapped_and_nothing_is_lost() {
    let mappings = mappings(&[SIGN_INS]);
    assert_snapshot!(document(&mappings, r#"{"acme_event":"login.web","actor":{"mail":"anna@example.com","id":7},"when":"2026-11-24T10:00:00+01:00","address":"203.0.113.5","port":"https","took_ms":1.5,"result":"fine","tags":["a","b"],"deep":[{"x":1}]}"#), @r#"{"@timestamp":"2026-11-24T09:00:00Z","acme":{"acme_event":"login.web","actor":{"id":7},"deep":[{"x":1}],"port":"https","result":"fine","tags":["a","b"],"when":"2026-11-24T10:00:00+01:00"},"cloud":{"provider":"acme"},"event":{"action":"login.web","category":["authentication"],"dataset":"acme.sign_in","duration":1500000,"module":"acme","outcome":"success","type":["start"]},"source":{"address":"203.0.113.5","ip":"203.0.113.5"},"user":{"email":"anna@example.com","name":"anna"},"watchpost":{"logsource":{"product":"acme","service":"sign_in"}}}"#);
    assert_snapshot!(document(&mappings, r#"{"acme_event":"logout","actor":{"mail":"anna"},"result":"denied"}"#), @r#"{"acme":{"acme_event":"logout","result":"denied"},"cloud":{"provider":"acme"},"event":{"action":"logout","category":["authentication"],"dataset":"acme.sign_in","module":"acme","outcome":"failure","reason":"said denied"},"user":{"email":"anna","name":"anna"},"watchpost":{"logsource":{"product":"acme","service":"sign_in"}}}"#);
    assert_eq!(document(&mappings, r#"{"acme_event":"x"}"#), "none");
}

#[test]
fn lines_are_mapped() {
    let mappings = mappings(&[SIGN_INS, SSHD]);
    assert_snapshot!(line(&mappings, "sshd", "Failed password for invalid user a from 203.0.113.5 port 22 ssh2"), @r#"{"event":{"category":["authentication"],"dataset":"linux.sshd","module":"linux","outcome":"failure"},"linux":{"ssh":{"method":"password"}},"source":{"address":"203.0.113.5","ip":"203.0.113.5","port":22},"user":{"name":"a"},"watchpost":{"logsource":{"product":"linux","service":"sshd"}}}"#);
    assert_snapshot!(line(&mappings, "sshd", "Server listening on 0.0.0.0 port 22."), @r#"{"event":{"dataset":"linux.sshd","module":"linux"},"watchpost":{"logsource":{"product":"linux","service":"sshd"}}}"#);
    assert_eq!(
        line(&mappings, "cron", "Accepted password for a from 203.0.113.5 port 22 ssh2"),
        "none"
    );
}

#[test]
fn a_sender_cannot_name_ecs_fields() {
    let mappings = mappings(&[
        "source: acme.gate\nrecognise: {text|startswith: 'gate '}\ndecode: key-value\nmap: {src: source.ip}\n",
    ]);
    assert_snapshot!(line(&mappings, "", "gate src=192.0.2.1 user.name=root event.outcome=success @timestamp=2020-01-01T00:00:00Z"), @r#"{"acme":{"@timestamp":"2020-01-01T00:00:00Z","event":{"outcome":"success"},"user":{"name":"root"}},"event":{"dataset":"acme.gate","module":"acme"},"source":{"address":"192.0.2.1","ip":"192.0.2.1"}}"#);
}

#[test]
fn a_value_of_which_a_part_does_not_fit_is_kept() {
    let mappings = mappings(&[
        "source: acme.gate\nrecognise: {peer|exists: true}\nmap: {peer: {pattern: '{source.ip}:{source.port}'}}\n",
    ]);
    assert_snapshot!(document(&mappings, r#"{"peer":"192.0.2.1:80"}"#), @r#"{"event":{"dataset":"acme.gate","module":"acme"},"source":{"address":"192.0.2.1","ip":"192.0.2.1","port":80}}"#);
    assert_snapshot!(document(&mappings, r#"{"peer":"host.example:80"}"#), @r#"{"acme":{"peer":"host.example:80"},"event":{"dataset":"acme.gate","module":"acme"},"source":{"port":80}}"#);
}

#[test]
fn faults_have_their_place() {
    let faults = |text: &str| {
        let (_, faults) = Mappings::load([("acme.yml", text)]);
        faults
            .iter()
            .map(|fault| format!("{}:{}: {}", fault.line, fault.column, fault.message))
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_snapshot!(faults("source: Acme\nrecognize: {a: 1}\nset: {event.category: login}\n"), @"
    2:1: there is no `recognize` here
    1:9: a source is named with lower-case letters, digits and `._-`, at most 64
    3:23: `login` is no event.category of ECS; those are api, authentication, configuration, database, driver, email, file, host, iam, intrusion_detection, library, malware, network, package, process, registry, session, threat, vulnerability, web
    1:9: `recognise` is missing: what tells its records from others
    ");
    assert_snapshot!(faults("source: acme\ndecode:\n  patterns: ['a {b', 'c']\nmap:\n  a: {too: x}\n  b: {to: y, part: nose}\ncases:\n  - set: {a: b}\nlookup: {rows: {}}\ntime: []\n"), @"
    3:16: a `{` without its `}`
    5:7: there is no `too` here
    5:3: `to` is missing: the field that it becomes
    6:20: no part is called `nose`; there are base-name, directory, extension, before-at, after-at, before-backslash, after-backslash
    8:5: `when` is missing
    9:9: `field` is missing: the field that is looked up
    ");
    assert_snapshot!(faults("source: acme\nrecognise: {a|re: '('}\n"), @"
    2:19: not a valid regular expression: unclosed group
    1:9: `recognise` is missing: what tells its records from others
    ");
    assert_snapshot!(faults("a: [\n"), @"2:1: not valid YAML: while parsing a node, did not find expected node content");
}
