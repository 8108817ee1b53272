//! The events that are searched: a fleet of 500 hosts over one day, and recorded attacks among it.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;

use event::{Event, RawRecord, Timestamp};
use normalize::{Normalizer, Options};

use crate::Fault;

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data");

/// When the first event is; the last is a day later.
const START_MILLIS: i64 = 1_785_888_000_000;

/// How long all of them take, in milliseconds: not quite a day, so that it is one partition.
const LENGTH_MILLIS: i64 = 86_399_000;

/// Of how many events one is a recorded one.
const RECORDED_EVERY: usize = 10;

/// The most recorded events that are kept in memory; they come again with other times.
const RECORDED_MAX: usize = 50_000;

/// Writes so many events, a line of JSON each. Returns their bytes, and how many different recorded
/// ones are among them.
pub(crate) fn write(path: &Path, count: usize) -> Result<(u64, usize), Fault> {
    let recorded = recorded()?;
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut bytes = 0;
    for n in 0..count {
        let passed = i64::try_from(n)? * LENGTH_MILLIS / i64::try_from(count)?;
        let time = Timestamp::from_millis(START_MILLIS + passed).to_string();
        let line = match recorded.get((n / RECORDED_EVERY) % recorded.len().max(1)) {
            Some(event) if n % RECORDED_EVERY == 0 => {
                let mut event = event.clone();
                event.set("@timestamp", time.as_str());
                event.set("event.id", format!("ev-{n}").as_str());
                event.to_json().into_bytes()
            }
            _ => made_up(n, &time),
        };
        bytes += line.len() as u64;
        out.write_all(&line)?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok((bytes, recorded.len()))
}

/// Recorded attacks as they are indexed; none without the data.
fn recorded() -> Result<Vec<Event>, Fault> {
    let mut events = Vec::new();
    let Ok(folder) = std::fs::read_dir(Path::new(DATA).join("mordor")) else {
        println!("without recorded events: {DATA} is not there");
        return Ok(events);
    };
    let files = detections::sources().map(|file| (file.path, file.text));
    let (mappings, _) = mapping::Mappings::load(files);
    let mut normalizer = Normalizer::new(Options {
        keep_original: false,
        mappings: mappings.into(),
        ..Options::default()
    });
    let mut paths: Vec<_> = folder.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "zst"));
    paths.sort();
    for path in paths {
        let mut text = String::new();
        zstd::Decoder::new(File::open(path)?)?.read_to_string(&mut text)?;
        for line in text.lines() {
            let raw = RawRecord::new(line.as_bytes(), Timestamp::from_millis(START_MILLIS));
            normalizer.normalize(&raw, None, &mut |event| events.push(event.clone()))?;
            if events.len() >= RECORDED_MAX {
                return Ok(events);
            }
        }
    }
    Ok(events)
}

/// One made-up event; the number decides all of it.
fn made_up(n: usize, time: &str) -> Vec<u8> {
    let mut seed = n as u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    // The smaller, the likelier, as names are; people work on their own machines, and now and then on
    // one of the twenty that all share.
    let user = random(2_000).min(random(2_000));
    let host = if random(20) == 0 { 480 + random(20) } else { user % 480 };
    let guid =
        format!("{{{:08x}-{:04x}-{:04x}}}", random(1 << 32), random(1 << 16), random(1 << 16));
    let names = [
        "svchost.exe",
        "chrome.exe",
        "cmd.exe",
        "conhost.exe",
        "powershell.exe",
        "msiexec.exe",
        "teams.exe",
        "git.exe",
    ];
    let name = names[random(8).min(random(8)) as usize];
    let argument = random(20_000);
    let id = format!("ev-{n}");
    let event = match random(10) {
        0..=3 => serde_json::json!({
            "@timestamp": time,
            "event": {"id": id, "code": "1", "dataset": "windows.sysmon", "kind": "event", "category": ["process"], "type": ["start"], "ingested": time},
            "host": {"name": format!("ws-{host:04}"), "os": {"type": "windows"}},
            "user": {"name": format!("user{user}"), "domain": "CORP"},
            "process": {
                "name": name, "pid": random(65_536), "entity_id": guid,
                "executable": format!("C:\\Windows\\System32\\{name}"),
                "command_line": format!("\"C:\\Windows\\System32\\{name}\" --type=renderer --field-trial-handle={argument},abc{} /prefetch:{}", random(1000), random(8)),
                "parent": {"name": "explorer.exe", "pid": random(65_536), "executable": "C:\\Windows\\explorer.exe", "command_line": "C:\\Windows\\Explorer.EXE"},
                "hash": {"sha256": format!("{:016x}{:016x}{:016x}{:016x}", argument % 3000, argument % 3000, argument % 3000, argument % 3000)},
            },
            "winlog": {"channel": "Microsoft-Windows-Sysmon/Operational", "provider_name": "Microsoft-Windows-Sysmon", "record_id": n, "event_data": {"IntegrityLevel": "Medium", "LogonId": format!("0x{:x}", random(100_000)), "TerminalSessionId": "1", "CurrentDirectory": "C:\\Windows\\system32\\", "RuleName": "-"}},
            "watchpost": {"logsource": {"product": "windows", "category": "process_creation", "service": "sysmon"}},
        }),
        4..=6 => serde_json::json!({
            "@timestamp": time,
            "event": {"id": id, "code": if random(20) == 0 { "4625" } else { "4624" }, "dataset": "windows.security", "kind": "event", "category": ["authentication"], "ingested": time},
            "host": {"name": format!("ws-{host:04}"), "os": {"type": "windows"}},
            "user": {"name": format!("user{user}"), "domain": "CORP", "id": format!("S-1-5-21-3623811015-3361044348-30300820-{user}")},
            "source": {"ip": format!("10.{}.{}.{}", random(4), random(256), random(256)), "port": random(65_536)},
            "message": format!("An account was successfully logged on. Subject: user{user} Logon Type: 3 Workstation: WS-{host:04}"),
            "winlog": {"channel": "Security", "provider_name": "Microsoft-Windows-Security-Auditing", "record_id": n, "event_data": {"LogonType": "3", "AuthenticationPackageName": "Kerberos", "LogonProcessName": "Kerberos", "TargetLogonId": format!("0x{:x}", random(10_000_000)), "LogonGuid": guid, "KeyLength": "0", "ImpersonationLevel": "%%1833"}},
            "watchpost": {"logsource": {"product": "windows", "service": "security"}},
        }),
        7..=8 => serde_json::json!({
            "@timestamp": time,
            "event": {"id": id, "dataset": "linux.sshd", "kind": "event", "category": ["authentication"], "outcome": "failure", "ingested": time,
                "original": format!("Aug  5 12:00:00 srv-{host:03} sshd[{}]: Failed password for invalid user user{user} from 203.0.{}.{} port {} ssh2", random(32_768), random(256), random(256), random(65_536))},
            "host": {"name": format!("srv-{host:03}"), "os": {"type": "linux"}},
            "user": {"name": format!("user{user}")},
            "process": {"name": "sshd", "pid": random(32_768)},
            "source": {"ip": format!("203.0.{}.{}", random(256), random(256)), "port": random(65_536)},
            "message": format!("Failed password for invalid user user{user} from 203.0.113.{} port {} ssh2", random(256), random(65_536)),
            "watchpost": {"logsource": {"product": "linux", "service": "sshd"}},
        }),
        _ => serde_json::json!({
            "@timestamp": time,
            "event": {"id": id, "dataset": "firewall.traffic", "kind": "event", "category": ["network"], "action": if random(5) == 0 { "deny" } else { "allow" }, "ingested": time},
            "host": {"name": "fw-1"},
            "source": {"ip": format!("10.{}.{}.{}", random(4), random(256), random(256)), "port": random(65_536), "bytes": random(1_000_000)},
            "destination": {"ip": format!("198.51.{}.{}", random(256), random(256)), "port": ([443, 80, 53, 22][random(4) as usize]), "bytes": random(10_000_000)},
            "network": {"transport": "tcp", "protocol": "https"},
            "observer": {"vendor": "Example", "type": "firewall", "ingress": {"interface": {"name": "eth0"}}},
            "watchpost": {"logsource": {"category": "firewall"}},
        }),
    };
    event.to_string().into_bytes()
}
