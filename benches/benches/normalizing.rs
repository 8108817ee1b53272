//! Normalising, beside `vrl` doing the same: raw record in, ECS event as JSON out.
//!
//! `cargo bench -p benches --bench normalizing --features vrl`; `ROUNDS` sets the rounds, `SET=1` takes
//! the second set alone.

#![expect(clippy::print_stdout, reason = "the output is what it is for")]

use std::fs;

use benches::corpus::DATA;
use benches::timing::{Contender, interleaved};
use event::{RawRecord, Timestamp};
use normalize::{Normalizer, Options};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let rounds = std::env::var("ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(9);
    let set: Option<usize> = std::env::var("SET").ok().and_then(|text| text.parse().ok());
    let sets = [
        ("Sysmon events as JSON (EVTX-ATTACK-SAMPLES)", sysmon(), SYSMON),
        ("sshd lines (loghub OpenSSH)", sshd(), SSHD),
    ];
    for (index, (name, records, program)) in sets.into_iter().enumerate() {
        if set.is_some_and(|set| set != index) {
            continue;
        }
        if records.is_empty() {
            println!("skipped: {name}; ../shared/data is not there");
            continue;
        }
        let bytes: usize = records.iter().map(String::len).sum();
        println!("\n{name}: {} records, {} bytes each", records.len(), bytes / records.len());
        let mut contenders = vec![
            ours("ours: event", &records, true, false),
            ours("ours: event, to JSON", &records, true, true),
            ours("ours: event without its original, to JSON", &records, false, true),
        ];
        contenders.extend(peer(&records, program));
        let timings = interleaved(&mut contenders, rounds);
        let base = timings.get(1).map_or(f64::NAN, |timing| timing.min);
        println!("{:<46} {:>8} {:>8} {:>11} {:>7}", "", "min ns", "median", "events/s", "ratio");
        for (contender, timing) in contenders.iter().zip(&timings) {
            println!(
                "{:<46} {:>8.0} {:>8.0} {:>11.0} {:>7.2}",
                contender.name,
                timing.min,
                timing.median,
                1e9 / timing.min,
                timing.min / base
            );
        }
    }
}

fn sysmon() -> Vec<String> {
    let packed = fs::read(format!("{DATA}/evtx/evtx-attack.jsonl.zst")).unwrap_or_default();
    let text = zstd::decode_all(&*packed).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines = text.lines().filter(|line| line.contains("Microsoft-Windows-Sysmon/Operational"));
    lines.map(str::to_owned).collect()
}

fn sshd() -> Vec<String> {
    let text = fs::read_to_string(format!("{DATA}/loghub/OpenSSH_2k.log")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Ours, with all sources that come with it; what comes out is counted in fields, or bytes of JSON.
fn ours<'r>(
    name: &str,
    records: &'r [String],
    keep_original: bool,
    to_json: bool,
) -> Contender<'r> {
    let files = detections::sources().map(|file| (file.path, file.text));
    let (mappings, faults) = mapping::Mappings::load(files);
    assert!(faults.is_empty(), "{faults:?}");
    let options = Options { keep_original, mappings: mappings.into(), ..Options::default() };
    let mut normalizer = Normalizer::new(options);
    let mut json = Vec::new();
    let pass = move || {
        let mut sum = 0;
        for record in records {
            let raw = RawRecord::new(record.as_bytes(), Timestamp::EPOCH);
            let read = normalizer.normalize(&raw, None, &mut |event| {
                if to_json {
                    json.clear();
                    event.write_json(&mut json);
                    sum += json.len() as u64;
                } else {
                    sum += event.len() as u64;
                }
            });
            assert!(read.is_ok(), "{record}");
        }
        sum
    };
    Contender { name: name.to_owned(), events: records.len(), pass: Box::new(pass) }
}

#[cfg(not(feature = "vrl"))]
fn peer<'r>(_: &'r [String], _: &str) -> Option<Contender<'r>> {
    println!("without vrl; --features vrl has it");
    None
}

/// The same by `vrl`, Vector's language: a compiled program, and what it made as JSON.
#[cfg(feature = "vrl")]
fn peer<'r>(records: &'r [String], program: &str) -> Option<Contender<'r>> {
    use vrl::compiler::runtime::Runtime;
    use vrl::compiler::{TargetValue, TimeZone, compile};
    use vrl::value::{KeyString, ObjectMap, Secrets, Value};

    let functions = vrl::stdlib::all();
    let program = match compile(program, &functions) {
        Ok(compiled) => compiled.program,
        Err(faults) => panic!("{faults:#?}"),
    };
    let mut runtime = Runtime::default();
    let zone = TimeZone::default();
    let message = KeyString::from("message");
    let mut json = Vec::new();
    let pass = move || {
        let mut sum = 0;
        for record in records {
            let fields = ObjectMap::from([(message.clone(), Value::from(record.as_str()))]);
            let mut target = TargetValue {
                value: Value::Object(fields),
                metadata: Value::Object(ObjectMap::new()),
                secrets: Secrets::new(),
            };
            runtime.clear();
            let ran = runtime.resolve(&mut target, &program, &zone);
            assert!(ran.is_ok(), "{ran:?}: {record}");
            json.clear();
            serde_json::to_writer(&mut json, &target.value).expect("JSON");
            sum += json.len() as u64;
        }
        sum
    };
    Some(Contender {
        name: "vrl: event, to JSON".to_owned(),
        events: records.len(),
        pass: Box::new(pass),
    })
}

/// What our table of Sysmon does, for the fields that most events have: header, all data under its
/// own names, the ECS fields of processes, files, registry, network and DNS, hashes taken apart, the
/// category by the event's id, the class. It leaves out what is rare.
const SYSMON: &str = r##"
.event.original = .message
doc = object!(parse_json!(string!(del(.message))))
sys = doc.Event.System
data = object(doc.Event.EventData) ?? {}
code = to_int(sys.EventID."#text") ?? (to_int(sys.EventID) ?? 0)
."@timestamp" = sys.TimeCreated."#attributes".SystemTime
.event.code = to_string(code)
.event.provider = sys.Provider."#attributes".Name
.event.module = "windows"
.event.dataset = "windows.sysmon"
.event.kind = "event"
.host.name = sys.Computer
.winlog.channel = sys.Channel
.winlog.record_id = sys.EventRecordID
.winlog.computer_name = sys.Computer
.winlog.event_data = data
.ecs.version = "9.0.0"
.watchpost.logsource.product = "windows"
.watchpost.logsource.service = "sysmon"
if data.Image != null {
  image = string(data.Image) ?? ""
  .process.executable = image
  .process.name = split(image, "\\")[-1]
}
if data.ProcessId != null { .process.pid = to_int(data.ProcessId) ?? null }
if data.ProcessGuid != null { .process.entity_id = data.ProcessGuid }
if data.CommandLine != null { .process.command_line = data.CommandLine }
if data.CurrentDirectory != null { .process.working_directory = data.CurrentDirectory }
if data.ParentImage != null {
  parent = string(data.ParentImage) ?? ""
  .process.parent.executable = parent
  .process.parent.name = split(parent, "\\")[-1]
}
if data.ParentCommandLine != null { .process.parent.command_line = data.ParentCommandLine }
if data.ParentProcessId != null { .process.parent.pid = to_int(data.ParentProcessId) ?? null }
if data.User != null {
  user = split(string(data.User) ?? "", "\\")
  .user.domain = user[0]
  .user.name = user[-1]
  .related.user = [user[-1]]
}
if data.Hashes != null {
  for_each(split(string(data.Hashes) ?? "", ",")) -> |_index, pair| {
    parts = split(string(pair), "=")
    name = downcase(string(parts[0]) ?? "")
    if name == "md5" { .process.hash.md5 = parts[1] }
    if name == "sha1" { .process.hash.sha1 = parts[1] }
    if name == "sha256" { .process.hash.sha256 = parts[1] }
    if name == "imphash" { .process.pe.imphash = parts[1] }
  }
}
if data.TargetFilename != null {
  path = string(data.TargetFilename) ?? ""
  .file.path = path
  .file.name = split(path, "\\")[-1]
}
if data.TargetObject != null {
  key = string(data.TargetObject) ?? ""
  .registry.path = key
  .registry.value = split(key, "\\")[-1]
}
if data.SourceIp != null { .source.ip = data.SourceIp }
if data.SourcePort != null { .source.port = to_int(data.SourcePort) ?? null }
if data.DestinationIp != null { .destination.ip = data.DestinationIp }
if data.DestinationPort != null { .destination.port = to_int(data.DestinationPort) ?? null }
if data.QueryName != null { .dns.question.name = data.QueryName }
if code == 1 {
  .event.category = ["process"]
  .event.type = ["start"]
  .event.action = "process_create"
  .watchpost.logsource.category = "process_creation"
} else if code == 3 {
  .event.category = ["network"]
  .event.type = ["start", "connection"]
  .event.action = "network_connection"
  .watchpost.logsource.category = "network_connection"
} else if code == 7 {
  .event.category = ["process"]
  .event.type = ["change"]
  .event.action = "image_load"
  .watchpost.logsource.category = "image_load"
} else if code == 10 {
  .event.category = ["process"]
  .event.type = ["access"]
  .event.action = "process_access"
  .watchpost.logsource.category = "process_access"
} else if code == 11 {
  .event.category = ["file"]
  .event.type = ["creation"]
  .event.action = "file_create"
  .watchpost.logsource.category = "file_event"
} else if code == 12 || code == 13 || code == 14 {
  .event.category = ["registry"]
  .event.type = ["change"]
  .event.action = "registry_event"
  .watchpost.logsource.category = "registry_event"
} else {
  .event.category = ["process"]
  .event.type = ["info"]
}
"##;

/// What our source of sshd does: header, the forms of its messages, ECS fields, category, class.
const SSHD: &str = r##"
.event.original = .message
text = string!(.message)
head = parse_regex!(text, r'^(?P<time>\w{3} +\d+ [\d:]{8}) (?P<host>\S+) (?P<program>[^\[:]+)\[(?P<pid>\d+)\]: (?P<text>.*)$')
."@timestamp" = parse_timestamp(head.time, "%b %d %H:%M:%S") ?? now()
.host.name = head.host
.process.name = head.program
.process.pid = to_int(head.pid) ?? null
.message = head.text
.event.kind = "event"
.event.dataset = "linux.sshd"
.event.module = "linux"
.ecs.version = "9.0.0"
.watchpost.logsource.product = "linux"
.watchpost.logsource.service = "sshd"
said = string!(head.text)
found, problem = parse_regex(said, r'^(?P<result>Accepted|Failed) (?P<method>\S+) for (?:(?P<invalid>invalid user) )?(?P<user>\S+) from (?P<ip>\S+) port (?P<port>\d+)')
if problem == null {
  .user.name = found.user
  .source.ip = found.ip
  .source.port = to_int(found.port) ?? null
  .event.category = ["authentication", "session"]
  .event.type = ["start"]
  .event.action = "ssh_login"
  .event.outcome = if found.result == "Accepted" { "success" } else { "failure" }
  .related.ip = [found.ip]
  .related.user = [found.user]
} else {
  found, problem = parse_regex(said, r'^Invalid user (?P<user>\S*) from (?P<ip>\S+)')
  if problem == null {
    .user.name = found.user
    .source.ip = found.ip
    .event.category = ["authentication"]
    .event.type = ["info"]
    .event.action = "ssh_invalid_user"
    .event.outcome = "failure"
    .related.ip = [found.ip]
  } else {
    found, problem = parse_regex(said, r'^(?:Received disconnect|Connection closed|Disconnected) (?:from|by) (?P<ip>[^\s:]+)')
    if problem == null {
      .source.ip = found.ip
      .event.category = ["session"]
      .event.type = ["end"]
      .event.action = "ssh_disconnect"
      .related.ip = [found.ip]
    } else {
      found, problem = parse_regex(said, r'authentication failure;.*?rhost=(?P<ip>\S*)(?:\s+user=(?P<user>\S+))?')
      if problem == null {
        .source.ip = found.ip
        .user.name = found.user
        .event.category = ["authentication"]
        .event.type = ["start"]
        .event.action = "login_failed"
        .event.outcome = "failure"
      } else {
        .event.category = ["host"]
        .event.type = ["info"]
      }
    }
  }
}
"##;
