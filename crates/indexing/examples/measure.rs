//! Measures indexing and search: `cargo run --release -p indexing --example measure -- N [FILE.jsonl.zst|FOLDER]...`
//!
//! Without files, N events are made up: Windows process creations and logons, sshd lines and
//! firewall records of a fleet of 500 hosts over one day, with the variety of command lines, ids
//! and addresses that real ones have. With files, their lines (flattened by this program into
//! `winlog`-like fields as they are) are repeated until N.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use event::{Event, Timestamp};
use indexing::{Document, Index, Kind, Options, SearchRequest};

/// How many events are handed over at once.
const BATCH: usize = 5_000;
const START_MILLIS: i64 = 1_785_888_000_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let count: usize = args.next().as_deref().unwrap_or("200000").parse()?;
    let files: Vec<PathBuf> = args.map(PathBuf::from).collect();
    let dir = std::env::temp_dir().join(format!("watchpost-measure-{}", std::process::id()));
    let index = Index::open(&dir, Options::default())?;
    let mut writer = index.writer("log")?;
    let mut source = Source::open(files)?;
    let now = Timestamp::now();
    let mut raw_bytes = 0u64;
    let mut making = Duration::ZERO;
    let mut done = 0;
    let mut last = Instant::now();
    let started = Instant::now();
    while done < count {
        let begun = Instant::now();
        let lines: Vec<Vec<u8>> =
            (done..(done + BATCH).min(count)).map(|n| source.next(n, count)).collect();
        making += begun.elapsed();
        for json in lines {
            raw_bytes += json.len() as u64;
            let mut event = Event::new();
            event.parse_json(&json)?;
            let time = event.timestamp().unwrap_or(now);
            writer.add(Document { kind: Kind::Events, time, event, json, position: None });
            done += 1;
        }
        writer.flush()?;
        if last.elapsed() >= Duration::from_millis(800) {
            writer.commit()?;
            last = Instant::now();
        }
    }
    writer.commit()?;
    let took = started.elapsed() - making;
    let bytes = |index: &Index| index.partitions().iter().map(|p| p.bytes).sum::<u64>();
    eprintln!(
        "indexed {count} events, {} MB in {:.1} s: {:.0} events/s, {:.1} MB/s",
        raw_bytes / 1_000_000,
        took.as_secs_f64(),
        count as f64 / took.as_secs_f64(),
        raw_bytes as f64 / 1e6 / took.as_secs_f64(),
    );
    let merging = Instant::now();
    writer.compact()?;
    eprintln!(
        "merged in {:.1} s; index {} MB, {:.3} of the raw JSON, {} partitions",
        merging.elapsed().as_secs_f64(),
        bytes(&index) / 1_000_000,
        bytes(&index) as f64 / raw_bytes as f64,
        index.partitions().len(),
    );
    for entry in std::fs::read_dir(dir.join("index"))?.take(3) {
        let mut sizes: std::collections::BTreeMap<String, u64> = Default::default();
        for file in std::fs::read_dir(entry?.path())?.flatten() {
            let extension = file.path().extension().map(|e| e.to_string_lossy().into_owned());
            *sizes.entry(extension.unwrap_or_default()).or_default() += file.metadata()?.len();
        }
        eprintln!("{sizes:?}");
    }
    measure_queries(&index);
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

fn measure_queries(index: &Index) {
    let searcher = index.searcher();
    for text in [
        "*",
        "process.name:powershell.exe",
        "host.name:ws-0042 and user.name:user17",
        "event.code:4624 and source.ip:10.1.0.0/16",
        "mimikatz",
        "\"failed password\"",
        "\"invalid user\"",
        "process.pid>60000",
        "process.command_line:*-enc*",
        "process.command_line:*\\ abc1*",
        "CommandLine:*powershell*",
        "not process.name:svchost.exe",
        "event.id:ev-1234567",
        "file.path:/\\.ps1$/",
        "* | stats count by host.name",
        "* | stats count by host.name, user.name, event.code",
        "* | stats dc(source.ip), max(process.pid) by user.name",
        "* | timechart span=1h count by event.dataset",
        "* | top process.command_line",
        "* | stats count by Hostname, Channel, EventID",
    ] {
        let query = query::parse(text).unwrap_or_else(|error| panic!("{}", error.render()));
        let mut request = SearchRequest::new(&query);
        request.histogram = Some(50);
        let mut times = Vec::new();
        let mut total = 0;
        let mut partial = Vec::new();
        for _ in 0..10 {
            let results = searcher.search(&request);
            times.push(results.took);
            total = results.total;
            partial = results.partial;
        }
        let first = times[0];
        times.sort();
        eprintln!(
            "{:>8.1} ms first, {:>7.1} ms median  {total:>8} hits  {text} {}",
            first.as_secs_f64() * 1e3,
            times[times.len() / 2].as_secs_f64() * 1e3,
            partial.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        );
    }
}

enum Source {
    MadeUp,
    Files { lines: Vec<Vec<u8>> },
}

impl Source {
    fn open(paths: Vec<PathBuf>) -> Result<Source, Box<dyn std::error::Error>> {
        if paths.is_empty() {
            return Ok(Source::MadeUp);
        }
        let mut files = Vec::new();
        for path in paths {
            if path.is_dir() {
                for entry in std::fs::read_dir(&path)? {
                    files.push(entry?.path());
                }
            } else {
                files.push(path);
            }
        }
        files.retain(|path| path.to_string_lossy().ends_with(".jsonl.zst"));
        files.sort();
        let mut lines = Vec::new();
        let mut bytes = 0;
        for path in files {
            let mut text = Vec::new();
            zstd::Decoder::new(std::fs::File::open(&path)?)?.read_to_end(&mut text)?;
            for line in BufReader::new(text.as_slice()).split(b'\n') {
                let line = line?;
                bytes += line.len();
                lines.push(line);
            }
            if bytes > 1_500_000_000 {
                break;
            }
        }
        Ok(Source::Files { lines })
    }

    fn next(&mut self, n: usize, count: usize) -> Vec<u8> {
        let millis = START_MILLIS + (n as i64 * 86_399_000) / count as i64;
        let time = Timestamp::from_millis(millis).to_string();
        match self {
            Source::Files { lines } => {
                let line = &lines[n % lines.len()];
                let mut event = Event::new();
                if event.parse_json(line).is_err() {
                    event.set("message", String::from_utf8_lossy(line).as_ref());
                }
                event.set("@timestamp", time.as_str());
                event.set("event.id", format!("ev-0-{n}").as_str());
                event.to_json().into_bytes()
            }
            Source::MadeUp => made_up(n, &time),
        }
    }
}

/// One made-up event; the number decides all of it.
fn made_up(n: usize, time: &str) -> Vec<u8> {
    let mut seed = n as u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    // The smaller, the likelier, as names are.
    let host = random(500).min(random(500));
    let user = random(2_000).min(random(2_000));
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
