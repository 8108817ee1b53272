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
    source.map(&native, false, &mut out, &mut work);
    out.remove(super::MAPPING);
    out.to_json()
}

fn line(mappings: &Mappings, program: &str, text: &str) -> String {
    let (mut native, mut out, mut work) = (Event::new(), Event::new(), Work::default());
    let Some(source) = mappings.of_line("", program, text, &mut native, &mut work) else {
        return "none".into();
    };
    source.map(&native, true, &mut out, &mut work);
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

/// Blocks in blocks, and all that is done to values.
const CHANGES: &str = r#"
source: acme.changes
recognise: {id|exists: true, by|exists: true}
empty: ['', '-']
set: {event.category: [configuration], event.reason: 'by {?{domain}/}{by}'}
default: {event.type: info, event.outcome: unknown}
rename: {image: process.executable, name: process.name}
copy:
  by: {pattern: '{?{user.domain}\}{user.name}'}
  sums: {split: ',', pairs: {MD5: {to: file.hash.md5, lower: true}, SHA1: file.hash.sha1}}
  told: {split: "\n", equals: ' = ', pairs: {User: user.full_name, Command: [process.command_line, acme.command]}}
  from: {to: source.port, empty: ['0']}
  path: [file.path, {to: file.directory, part: directory}]
  found: {to: dns.resolved_ip, split: ';'}
  state: {to: event.outcome, table: {ok: success}, otherwise: ''}
lookup:
  field: id
  rows:
    1 | 2:
      event: {action: changed, type: [change]}
      rename: {name: registry.value}
      copy: {key: {pattern: ['{registry.hive}/{registry.key:last}/{registry.value}', '{registry.hive}/{registry.key}']}}
      default: {event.outcome: success}
      lookup:
        field: what
        rows: {Delete: {event.action: deleted}}
      cases:
        - when: {what: create}
          set: {event.action: created}
          cases:
            - when: {by: root}
              set: {event.category: [iam]}
"#;

#[test]
fn blocks_lie_in_blocks() {
    let mappings = mappings(&[CHANGES]);
    let read = |json: &str| document(&mappings, json);
    assert_snapshot!(read(r#"{"id":1,"by":"root","what":"create","name":"x"}"#), @r#"{"acme":{"by":"root","id":1,"what":"create"},"event":{"action":"created","category":["configuration","iam"],"dataset":"acme.changes","module":"acme","outcome":"success","reason":"by root","type":["change"]},"registry":{"value":"x"},"user":{"name":"root"}}"#);
    assert_snapshot!(read(r#"{"id":"2","by":"A\\b","what":"delete","domain":"-"}"#), @r#"{"acme":{"by":"A\\b","domain":"-","id":"2","what":"delete"},"event":{"action":"deleted","category":["configuration"],"dataset":"acme.changes","module":"acme","outcome":"success","reason":"by A\\b","type":["change"]},"user":{"domain":"A","name":"b"}}"#);
    // Neither a row of the inner lookup nor of the outer one.
    assert_snapshot!(read(r#"{"id":2,"by":"b","what":"move","domain":"A"}"#), @r#"{"acme":{"by":"b","domain":"A","id":2,"what":"move"},"event":{"action":"changed","category":["configuration"],"dataset":"acme.changes","module":"acme","outcome":"success","reason":"by A/b","type":["change"]},"user":{"name":"b"}}"#);
    assert_snapshot!(read(r#"{"id":3,"by":"root","what":"create"}"#), @r#"{"acme":{"by":"root","id":3,"what":"create"},"event":{"category":["configuration"],"dataset":"acme.changes","module":"acme","outcome":"unknown","reason":"by root","type":["info"]},"user":{"name":"root"}}"#);
}

#[test]
fn values_are_made_fit() {
    let mappings = mappings(&[CHANGES]);
    let read = |json: &str| document(&mappings, json);
    assert_snapshot!(read(r#"{"id":1,"by":"-","key":"HKLM/a/b/c","sums":"MD5=AA,SHA1=BB,X=1, MD5 = CC","told":" User = Anna A \r\n Command = a = b\r\n Other = x\nUser","from":"0","path":"/a/b","found":"type: 5 x;::ffff:192.0.2.1; 192.0.2.1;","state":"odd"}"#), @r#"{"acme":{"by":"-","command":"a = b","found":"type: 5 x;::ffff:192.0.2.1; 192.0.2.1;","from":"0","id":1,"key":"HKLM/a/b/c","path":"/a/b","state":"odd","sums":"MD5=AA,SHA1=BB,X=1, MD5 = CC","told":" User = Anna A \r\n Command = a = b\r\n Other = x\nUser"},"dns":{"resolved_ip":["192.0.2.1"]},"event":{"action":"changed","category":["configuration"],"dataset":"acme.changes","module":"acme","outcome":"success","type":["change"]},"file":{"directory":"/a","hash":{"md5":"aa","sha1":"BB"},"name":"b","path":"/a/b"},"process":{"command_line":"a = b"},"registry":{"hive":"HKLM","key":"a/b","value":"c"},"user":{"full_name":"Anna A"}}"#);
    assert_snapshot!(read(r#"{"id":1,"by":" - ","key":"HKLM/a","from":7,"state":"OK"}"#), @r#"{"acme":{"by":" - ","from":7,"id":1,"key":"HKLM/a","state":"OK"},"event":{"action":"changed","category":["configuration"],"dataset":"acme.changes","module":"acme","outcome":"success","type":["change"]},"registry":{"hive":"HKLM","key":"a"},"source":{"port":7}}"#);
    // What is renamed is so whatever it says, unless it can't be of the other's type.
    assert_snapshot!(read(r#"{"id":9,"by":"","image":"-","name":["a","b"]}"#), @r#"{"acme":{"by":"","id":9},"event":{"category":["configuration"],"dataset":"acme.changes","module":"acme","outcome":"unknown","type":["info"]},"process":{"executable":"-","name":["a","b"]}}"#);
}

const WINDOWS: [&str; 4] = [
    "source: windows.any\ngeneric: true\ndecode: windows\nrecognise: {event.code|exists: true}\n",
    "source: windows.app\ndecode: windows\nrecognise: {winlog.channel: App}\ncopy: {Who: user.name}\n",
    "source: windows.zeta\ndecode: windows\nrecognise: [{winlog.channel: App, winlog.provider_name: Zeta}, {winlog.channel|exists: false, winlog.provider_name: Zeta}]\n",
    "source: windows.zeta_seven\ndecode: windows\nrecognise: {winlog.provider_name: Zeta, event.code: 7, Data|exists: false}\n",
];

fn windows(mappings: &Mappings, work: &mut Work, json: &str) -> (String, String) {
    let (mut native, mut out) = (Event::new(), Event::new());
    native.parse_json(json.as_bytes()).unwrap();
    let header = |path: &str| native.str(path).unwrap_or_default().to_owned();
    let (channel, provider) = (header("winlog.channel"), header("winlog.provider_name"));
    let Some(source) = mappings.of_windows(&channel, &provider, &native, work) else {
        return Default::default();
    };
    source.map(&native, false, &mut out, work);
    out.remove(super::MAPPING);
    (source.name.clone(), out.to_json())
}

#[test]
fn windows_records_are_of_the_source_that_asks_for_most() {
    let mappings = mappings(&WINDOWS);
    let mut work = Work::default();
    let record = |channel: &str, provider: &str, code: u32, data: &str| {
        let winlog = serde(channel, provider, data);
        format!(r#"{{"event":{{"code":"{code}"}},"winlog":{{{winlog}}}}}"#)
    };
    // Twice, since it remembers.
    for _ in 0..2 {
        for (channel, provider, code, data, name) in [
            ("App", "Zeta", 1, "", "windows.zeta"),
            ("App", "Zeta", 7, "", "windows.zeta_seven"),
            ("App", "Zeta", 7, "x", "windows.zeta"),
            ("App", "Other", 7, "", "windows.app"),
            ("app", "Other", 1, "", "windows.app"),
            ("", "zeta", 1, "", "windows.zeta"),
            ("System", "Zeta", 1, "", "windows.any"),
            ("", "Other", 1, "", "windows.any"),
        ] {
            let record = record(channel, provider, code, data);
            assert_eq!(windows(&mappings, &mut work, &record).0, name, "{record}");
        }
    }
    assert_eq!(windows(&mappings, &mut work, r#"{"winlog":{"channel":"x"}}"#).0, "");
}

/// The header and the data of a record, as members of an object.
fn serde(channel: &str, provider: &str, data: &str) -> String {
    [("channel", channel), ("provider_name", provider), ("event_data.Data", data)]
        .iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(name, text)| format!(r#""{name}":"{text}""#))
        .collect::<Vec<_>>()
        .join(",")
}

#[test]
fn windows_data_is_named_without_its_prefix() {
    let mappings = mappings(&WINDOWS);
    let mut work = Work::default();
    let mut read = |json: &str| windows(&mappings, &mut work, json).1;
    assert_snapshot!(read(r#"{"winlog":{"channel":"App","event_data":{"Who":"a","X":1}}}"#), @r#"{"event":{"dataset":"windows.app","module":"windows"},"user":{"name":"a"},"winlog":{"channel":"App","event_data":{"Who":"a","X":1}}}"#);
    assert_snapshot!(read(r#"{"winlog":{"channel":"App","user_data":{"Who":"a"}},"user":{"name":"b"}}"#), @r#"{"event":{"dataset":"windows.app","module":"windows"},"user":{"name":"a"},"winlog":{"channel":"App","user_data":{"Who":"a"}}}"#);
}

#[test]
fn programs_and_channels_are_not_remembered_without_end() {
    let mappings = mappings(&WINDOWS);
    let mut work = Work::default();
    let native = Event::new();
    for number in 0..3 * super::CHANNELS_MAX {
        mappings.of_windows(&number.to_string(), "", &native, &mut work);
        mappings.of_windows(&"x".repeat(super::CHANNEL_BYTES_MAX + number), "", &native, &mut work);
        assert!(work.of_channel.len() <= super::CHANNELS_MAX);
    }
}

#[test]
fn classes_are_those_of_all_blocks() {
    let mappings = mappings(&[
        "source: acme\nrecognise: {a: 1}\nlogsource: {product: acme}\nlookup: {field: a, rows: {1: {logsource.service: x}, 2: {logsource.service: y, logsource.category: z}}}\n",
    ]);
    let text = |part: Option<&str>| part.unwrap_or("-").to_owned();
    let classes: Vec<String> = mappings
        .classes()
        .iter()
        .map(|class| [class.product, class.category, class.service].map(text).join("/"))
        .collect();
    assert_snapshot!(classes.join(" "), @r#"acme/-/- acme/-/x acme/-/y acme/z/- acme/z/x acme/z/y"#);
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
    assert_snapshot!(faults("source: acme\nrecognise: {a: 1}\nset: {b: '{a', c: '{?{?x}'}\nlookup:\n  field: a\n  rows:\n    1 | 2: {event.type: none, cases: [{then: 1}], copy: {x: {pairs: {A: {part: nose}}}}}\n    2: {}\n"), @"
    3:10: a `{` without its `}`
    3:19: a `{` without its `}`
    7:25: `none` is no event.type of ECS; those are access, admin, allowed, change, connection, creation, deletion, denied, device, end, error, group, indicator, info, installation, protocol, start, user
    7:80: no part is called `nose`; there are base-name, directory, extension, before-at, after-at, before-backslash, after-backslash
    7:70: `to` is missing: the field that it becomes
    7:40: there is no `then` here
    7:39: `when` is missing
    8:5: `2` has two rows
    ");
    assert_snapshot!(faults("source: acme\ndecode: windows\n"), @r#"1:9: `recognise` is missing: what tells its records from others"#);
    assert_snapshot!(faults("a: [\n"), @"2:1: not valid YAML: while parsing a node, did not find expected node content");
}
