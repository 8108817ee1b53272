//! Rules and events to measure with.

use std::fs;
use std::path::{Path, PathBuf};

use event::{Event, RawRecord, Timestamp};
use matcher::Rule;
use serde_json::{Map, Value, json};

/// Where the real material lies.
pub const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data");

/// One event in the forms that the engines want.
#[derive(Debug)]
pub struct Sample {
    /// As it was recorded.
    pub raw: String,
    /// By Sigma's native field names, flat: what the peers' own tests give them.
    pub native: String,
    /// Normalised, as our engine matches it.
    pub event: Event,
    /// The same as JSON, as it stands on the bus.
    pub normalized: String,
}

/// The sets of events to measure with, by name: real ones, or made-up ones where those are missing.
pub fn sets() -> Vec<(&'static str, Vec<Sample>)> {
    let windows = fs::read(format!("{DATA}/evtx/evtx-attack.jsonl.zst")).ok();
    let windows = windows.and_then(|bytes| zstd::decode_all(&*bytes).ok());
    let windows = match &windows {
        Some(text) => (
            "Windows events (EVTX-ATTACK-SAMPLES)",
            samples(String::from_utf8_lossy(text).lines(), windows_native),
        ),
        None => (
            "made-up Windows events (skipped: the real ones, and Linux)",
            samples(made_up_events(4000).iter().map(String::as_str), windows_native),
        ),
    };
    let linux: String = ["Linux_2k.log", "OpenSSH_2k.log"]
        .iter()
        .filter_map(|name| fs::read(format!("{DATA}/loghub/{name}")).ok())
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned() + "\n")
        .collect();
    let linux = ("Linux events (loghub: Linux, OpenSSH)", samples(linux.lines(), linux_native));
    [windows, linux].into_iter().filter(|(_, samples)| !samples.is_empty()).collect()
}

fn samples<'l>(
    lines: impl Iterator<Item = &'l str>,
    native: fn(&str, &Event) -> Option<Map<String, Value>>,
) -> Vec<Sample> {
    let files = detections::sources().map(|file| (file.path, file.text));
    let (mappings, faults) = mapping::Mappings::load(files);
    assert!(faults.is_empty(), "{faults:?}");
    let options = normalize::Options {
        keep_original: false,
        mappings: mappings.into(),
        ..normalize::Options::default()
    };
    let mut normalizer = normalize::Normalizer::new(options);
    let mut sample = |raw: &str| {
        let mut event = None;
        let record = RawRecord::new(raw.as_bytes(), Timestamp::EPOCH);
        normalizer.normalize(&record, None, &mut |made| event = Some(made.clone())).ok()?;
        let event = event?;
        let native = Value::Object(native(raw, &event)?).to_string();
        Some(Sample { raw: raw.to_owned(), native, normalized: event.to_json(), event })
    };
    lines.filter_map(&mut sample).collect()
}

/// A syslog message as shippers send it flat: Sigma's rules for Linux text logs are keywords.
fn linux_native(_: &str, event: &Event) -> Option<Map<String, Value>> {
    let mut native = Map::new();
    for name in ["host.name", "process.name", "message"] {
        if let Some(text) = event.str(name) {
            native.insert(name.into(), text.into());
        }
    }
    Some(native)
}

/// An event by Sigma's native names, which have no spaces.
fn windows_native(raw: &str, _: &Event) -> Option<Map<String, Value>> {
    let record: Value = serde_json::from_str(raw).ok()?;
    let mut event = Map::new();
    let system = &record["Event"]["System"];
    let code = &system["EventID"];
    event.insert("EventID".into(), code.get("#text").unwrap_or(code).clone());
    for name in ["Channel", "Computer", "Level"] {
        event.insert(name.into(), system[name].clone());
    }
    event.insert("Provider_Name".into(), system["Provider"]["#attributes"]["Name"].clone());
    for part in ["EventData", "UserData"] {
        collect(&record["Event"][part], &mut event);
    }
    Some(event)
}

fn collect(value: &Value, event: &mut Map<String, Value>) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let name = name.replace(' ', "");
        match value {
            Value::Object(inner) if inner.contains_key("#text") => {
                event.insert(name, inner["#text"].clone());
            }
            Value::Object(_) => collect(value, event),
            _ => _ = event.insert(name, value.clone()),
        }
    }
}

/// The folders of rules: SigmaHQ's main set, and all sets.
pub fn rule_folders() -> Option<(PathBuf, PathBuf)> {
    let all = Path::new(DATA).join("sigma/rules");
    all.is_dir().then(|| (all.join("rules"), all))
}

/// A rule with what the peers need of it.
#[derive(Debug)]
pub struct Loaded {
    /// For our matcher.
    pub rules: Vec<Rule>,
    /// The id of each, or its title.
    pub ids: Vec<String>,
    /// The files that they came from, once each.
    pub files: Vec<PathBuf>,
}

/// Loads, maps and resolves the rules of a folder: all that stands before compiling.
pub fn load(folder: &Path) -> Loaded {
    let pipelines = sigma::pipeline::builtin();
    let documents = sigma::load(&[folder]);
    let mut loaded = Loaded { rules: Vec::new(), ids: Vec::new(), files: Vec::new() };
    for written in documents.rules() {
        let mut rule = written.clone();
        let resolved =
            sigma::pipeline::apply(&mut rule, &pipelines).and_then(|()| sigma::resolve(&rule));
        let Ok(expr) = resolved else { continue };
        loaded.ids.push(written.id.clone().unwrap_or_else(|| written.title.clone()));
        loaded.rules.push(Rule {
            label: written.label(),
            logsource: written.logsource.clone(),
            expr,
        });
        let file = PathBuf::from(&*written.file);
        if loaded.files.last() != Some(&file) {
            loaded.files.push(file);
        }
    }
    loaded
}

/// Made-up process creations, for machines without the real ones.
fn made_up_events(count: u64) -> Vec<String> {
    let tools =
        ["powershell.exe -nop -w hidden -enc", "cmd.exe /c", "net.exe user", "whoami.exe /all"];
    let mut state = 7u64;
    let mut next = move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    (0..count)
        .map(|n| {
            let tool = tools[(next() % 4) as usize];
            let image = tool.split(' ').next().unwrap_or_default();
            json!({"Event": {
                "System": {
                    "Provider": {"#attributes": {"Name": "Microsoft-Windows-Sysmon"}},
                    "EventID": 1, "EventRecordID": n, "Level": 4, "Computer": "HOST",
                    "Channel": "Microsoft-Windows-Sysmon/Operational",
                    "TimeCreated": {"#attributes": {"SystemTime": "2026-01-01T00:00:00Z"}},
                },
                "EventData": {
                    "UtcTime": "2026-01-01 00:00:00.000", "ProcessId": next() % 9000,
                    "Image": format!("C:\\Windows\\System32\\{image}"),
                    "CommandLine": format!("{tool} {:x} --item {:x}", next(), next()),
                    "ParentImage": "C:\\Windows\\explorer.exe", "ParentCommandLine": "explorer.exe",
                    "User": "HOST\\anna", "IntegrityLevel": "High", "CurrentDirectory": "C:\\",
                },
            }})
            .to_string()
        })
        .collect()
}

/// Made-up rules for the made-up events, in the form of files.
pub fn made_up_rules(count: usize) -> String {
    let mut text = String::new();
    for n in 0..count {
        let number = n.wrapping_mul(2_654_435_761) % 0xFF_FFFF;
        text.push_str(&format!(
            "---\ntitle: made up {n}\nid: {n:08}-0000-4000-8000-000000000000\nlogsource:\n  \
             product: windows\n  category: process_creation\ndetection:\n  image:\n    \
             Image|endswith: ['\\cmd.exe', '\\powershell.exe']\n  line:\n    \
             CommandLine|contains: ['{number:06x}', 'never-{n}']\n  condition: image and line\n"
        ));
    }
    text
}
