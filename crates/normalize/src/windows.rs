//! Windows event logs, in the three shapes in which they travel as JSON.
//!
//! EVTX as the `evtx` crate renders it (`{"Event":{"System":...}}`), Winlogbeat's
//! (`winlog.event_data.*`) and flat objects as NXLog writes them (`EventID` and `Channel` beside the
//! data). All three end as the same event: the header under `event.*`, `winlog.*` and `host.*`, each
//! EventData field X as `winlog.event_data.X`, each UserData field as `winlog.user_data.X`.
//!
//! Fields that many rules use are *moved* to an ECS name and stored once ([`stored_once`], which
//! `detections/pipelines/windows.yml` mirrors for the rules). What else ECS can say is *copied*
//! beside the native field, because rules of that log ask for the native one.

use event::{Event, Logsource, Value};

use crate::windows_tables::{Accounts, Log, Meaning, REGISTRY_KEYS, log, meaning};
use crate::{Decoded, base_name, default, set_ip, set_time, windows_tables};

/// Where the header stands in one of the shapes; the first path that is there counts.
struct Shape {
    code: &'static [&'static str],
    channel: &'static [&'static str],
    provider: &'static [&'static str],
    computer: &'static [&'static str],
    keywords: &'static [&'static str],
    level: &'static [&'static str],
    times: &'static [&'static str],
    /// Before the names of EventData.
    data: &'static str,
}

const EVTX: Shape = Shape {
    code: &["Event.System.EventID", "Event.System.EventID.#text"],
    channel: &["Event.System.Channel"],
    provider: &[
        "Event.System.Provider.#attributes.Name",
        "Event.System.Provider_attributes.Name",
        "Event.System.Provider.#attributes.EventSourceName",
    ],
    computer: &["Event.System.Computer"],
    keywords: &["Event.System.Keywords"],
    level: &["Event.System.Level"],
    times: &[
        "Event.System.TimeCreated.#attributes.SystemTime",
        "Event.System.TimeCreated_attributes.SystemTime",
    ],
    data: "Event.EventData.",
};

const WINLOGBEAT: Shape = Shape {
    code: &["winlog.event_id", "event.code"],
    channel: &["winlog.channel"],
    provider: &["winlog.provider_name", "event.provider"],
    computer: &["winlog.computer_name", "host.name"],
    keywords: &["winlog.keywords"],
    level: &["winlog.level"],
    times: &["@timestamp", "winlog.time_created"],
    data: "winlog.event_data.",
};

const FLAT: Shape = Shape {
    code: &["EventID", "EventId"],
    channel: &["Channel"],
    provider: &["Provider_Name", "ProviderName", "SourceName"],
    computer: &["Hostname", "Computer", "ComputerName"],
    keywords: &["Keywords"],
    level: &["Level"],
    // NXLog's EventTime is local time without its zone, so it comes last.
    times: &["TimeCreated", "UtcTime", "@timestamp", "EventTime", "EventReceivedTime"],
    data: "",
};

/// What is known of a record before its data is looked at.
struct Header<'a> {
    code: u32,
    channel: &'a str,
    provider: &'a str,
    log: Log,
    service: Option<&'static str>,
    meaning: Option<&'static Meaning>,
}

/// Reads a record in any of the three shapes.
pub(crate) fn decode(source: &Event, out: &mut Event) -> Decoded {
    let Some(shape) = shape(source) else { return Decoded::No };
    let Some(code) = first(source, shape.code).and_then(to_number) else { return Decoded::No };
    let text = |paths| first(source, paths).and_then(Value::as_str).unwrap_or_default();
    let (channel, provider) = (text(shape.channel), text(shape.provider));
    let Ok(code) = u32::try_from(code) else { return Decoded::No };
    let (log, service) = log(channel, provider);
    let header = Header { code, channel, provider, log, service, meaning: meaning(log, code) };

    if shape.data == EVTX.data {
        copy_evtx(source, &header, out);
    } else if shape.data == WINLOGBEAT.data {
        copy_winlogbeat(source, &header, out);
    } else {
        copy_flat(source, &header, out);
    }
    write_header(source, shape, &header, out);

    let mut native = Native::new(source, shape);
    match log {
        Log::Sysmon => sysmon(&mut native, code, out),
        Log::Security => security(&mut native, &header, out),
        Log::PowerShell | Log::PowerShellClassic => powershell(&mut native, &header, out),
        Log::System => system(&mut native, out),
        Log::Application | Log::Other => {}
    }
    finish(out);
    classify(&header, out);
    Decoded::Yes
}

fn shape(source: &Event) -> Option<&'static Shape> {
    if first(source, EVTX.code).is_some() {
        return Some(&EVTX);
    }
    if first(source, WINLOGBEAT.channel).is_some() || source.get("winlog.provider_name").is_some() {
        return Some(&WINLOGBEAT);
    }
    let flat = first(source, FLAT.code).is_some()
        && (first(source, FLAT.channel).is_some() || first(source, FLAT.provider).is_some());
    flat.then_some(&FLAT)
}

/// The first of these fields that is there and not `null`.
fn first<'a>(source: &'a Event, paths: &[&str]) -> Option<Value<'a>> {
    paths.iter().find_map(|path| source.get(path)).filter(|value| *value != Value::Null)
}

/// The ECS name of a field of data that is stored once, under that name.
fn stored_once(log: Log, code: u32, name: &str) -> Option<&'static str> {
    if name == "ScriptBlockText" {
        return Some("powershell.file.script_block_text");
    }
    match log {
        Log::Security => match name {
            "NewProcessName" => Some("process.executable"),
            "ParentProcessName" => Some("process.parent.executable"),
            "CommandLine" => Some("process.command_line"),
            _ => None,
        },
        // These logs use some of the words below for something else.
        Log::System | Log::Application => None,
        _ => match name {
            "Image" => Some("process.executable"),
            "CommandLine" => Some("process.command_line"),
            "ParentImage" => Some("process.parent.executable"),
            "ParentCommandLine" => Some("process.parent.command_line"),
            "CurrentDirectory" => Some("process.working_directory"),
            "OriginalFileName" if log == Log::Sysmon && is_load(code) => {
                Some("file.pe.original_file_name")
            }
            "OriginalFileName" => Some("process.pe.original_file_name"),
            "ProcessId" => Some("process.pid"),
            "ParentProcessId" => Some("process.parent.pid"),
            "QueryName" => Some("dns.question.name"),
            "SourceIp" => Some("source.ip"),
            "SourcePort" => Some("source.port"),
            "DestinationIp" => Some("destination.ip"),
            "DestinationPort" => Some("destination.port"),
            "DestinationHostname" => Some("destination.domain"),
            "TargetObject" => Some("registry.path"),
            "TargetFilename" | "ImageLoaded" if log == Log::Sysmon => Some("file.path"),
            _ => None,
        },
    }
}

/// Whether a Sysmon event is about an image that is loaded.
fn is_load(code: u32) -> bool {
    matches!(code, 6 | 7)
}

/// Writes the event's name for a field of data.
fn name_data(header: &Header<'_>, prefix: &str, name: &str, path: &mut String) {
    match stored_once(header.log, header.code, name) {
        Some(ecs) => path.push_str(ecs),
        None => {
            path.push_str(prefix);
            path.push_str(name);
        }
    }
}

const EVENT_DATA: &str = "winlog.event_data.";
const USER_DATA: &str = "winlog.user_data.";

fn copy_evtx(source: &Event, header: &Header<'_>, out: &mut Event) {
    out.clone_renamed(source, &mut |native, path| {
        let Some(rest) = native.strip_prefix("Event.") else {
            // What a reader put beside the record.
            if native != "Event" {
                path.push_str(native);
            }
            return;
        };
        // Attributes of data elements repeat what the name says; text is the element's value.
        let plain = rest.strip_suffix(".#text").unwrap_or(rest);
        if let Some(name) = plain.strip_prefix("EventData.") {
            if !name.contains("#attributes") {
                name_data(header, EVENT_DATA, name, path);
            }
        } else if plain == "EventData" {
            path.push_str("winlog.event_data.Data");
        } else if let Some(name) = plain.strip_prefix("UserData.") {
            if let Some((_root, name)) = name.split_once('.')
                && !name.contains("#attributes")
            {
                name_data(header, USER_DATA, name, path);
            }
        } else if let Some(name) = plain.strip_prefix("ProcessingErrorData.") {
            path.push_str("winlog.processing_error.");
            path.push_str(name);
        } else {
            path.push_str(match rest {
                "RenderingInfo.Message" => "message",
                "System.Provider.#attributes.Guid" | "System.Provider_attributes.Guid" => {
                    "winlog.provider_guid"
                }
                "System.EventRecordID" => "winlog.record_id",
                "System.Version" => "winlog.version",
                "System.Task" => "winlog.task",
                "System.Opcode" => "winlog.opcode",
                "System.Correlation.#attributes.ActivityID" => "winlog.activity_id",
                "System.Correlation.#attributes.RelatedActivityID" => "winlog.related_activity_id",
                "System.Execution.#attributes.ProcessID" => "winlog.process.pid",
                "System.Execution.#attributes.ThreadID" => "winlog.process.thread.id",
                "System.Security.#attributes.UserID" => "winlog.user.identifier",
                // The rest of the header is written by `write_header`.
                _ => "",
            });
        }
    });
}

fn copy_winlogbeat(source: &Event, header: &Header<'_>, out: &mut Event) {
    out.clone_renamed(source, &mut |native, path| match native.strip_prefix(EVENT_DATA) {
        Some(name) => {
            name_data(header, EVENT_DATA, name, path);
            // A shipper that maps to ECS itself has the field already.
            if path != native && source.get(path).is_some() {
                path.clear();
                path.push_str(native);
            }
        }
        None => path.push_str(native),
    });
}

fn copy_flat(source: &Event, header: &Header<'_>, out: &mut Event) {
    // NXLog has its own `EventType`, unless the data has a field of that name.
    let own_type = source.str("EventType").is_some_and(|kind| {
        ["INFO", "WARNING", "ERROR", "CRITICAL", "DEBUG", "VERBOSE", "AUDIT_SUCCESS"]
            .contains(&kind)
            || kind == "AUDIT_FAILURE"
    });
    out.clone_renamed(source, &mut |native, path| {
        let name = match native {
            "EventID" | "EventId" | "Channel" | "Provider_Name" | "ProviderName" | "SourceName"
            | "Hostname" | "Computer" | "ComputerName" | "Keywords" | "Level" | "TimeCreated" => {
                return;
            }
            "ProviderGuid" => "winlog.provider_guid",
            "RecordNumber" | "EventRecordID" | "RecordID" => "winlog.record_id",
            "Version" => "winlog.version",
            "Task" => "winlog.task",
            "OpcodeValue" => "winlog.opcode",
            "ActivityID" => "winlog.activity_id",
            "RelatedActivityID" => "winlog.related_activity_id",
            "ExecutionProcessID" => "winlog.process.pid",
            "ThreadID" => "winlog.process.thread.id",
            "UserID" => "winlog.user.identifier",
            // The System log's `AccountName` is the account of a service.
            "AccountName" if header.log != Log::System => "winlog.user.name",
            "AccountType" => "winlog.user.type",
            "Domain" => "winlog.user.domain",
            "Message" => "message",
            // When it was taken in by a collector.
            "@timestamp" => "event.created",
            "tags" | "message" => native,
            "EventTime" | "EventReceivedTime" | "EventTypeOrignal" | "Severity"
            | "SeverityValue" | "SourceModuleName" | "SourceModuleType" | "Opcode" | "Category"
            | "host" | "port" | "@version" => {
                path.push_str("nxlog.");
                native
            }
            "EventType" if own_type => "nxlog.EventType",
            // A shipper's own objects (`agent.name`).
            _ if native.contains('.') => native,
            _ => return name_data(header, EVENT_DATA, native, path),
        };
        path.push_str(name);
    });
    // Where NXLog's name won, what Sysmon said is only in the rendered message.
    if own_type
        && header.log == Log::Sysmon
        && let Some(kind) = out.str("message").and_then(|message| {
            message.lines().find_map(|line| line.strip_prefix("EventType: ")).map(str::to_owned)
        })
    {
        out.set("winlog.event_data.EventType", kind.trim());
    }
}

fn write_header(source: &Event, shape: &Shape, header: &Header<'_>, out: &mut Event) {
    use std::fmt::Write;
    let mut code = String::with_capacity(8);
    // Writing to a String cannot fail.
    write!(code, "{}", header.code).ok();
    out.set("event.code", code.as_str());
    for (path, text) in [
        ("event.provider", header.provider),
        ("winlog.provider_name", header.provider),
        ("winlog.channel", header.channel),
    ] {
        if !text.is_empty() {
            out.set(path, text);
        }
    }
    if let Some(computer) = first(source, shape.computer).and_then(Value::as_str) {
        out.set("winlog.computer_name", computer);
        default(out, "host.name", computer);
    }
    let linux = header.provider == "Linux-Sysmon";
    out.set("host.os.type", if linux { "linux" } else { "windows" });

    let timed = shape
        .times
        .iter()
        .any(|path| source.str(path).is_some_and(|text| set_time(out, "@timestamp", text)));
    if !timed {
        out.remove("@timestamp");
    }
    if out.str("event.created").is_some_and(|created| Some(created) == source.str("@timestamp"))
        && out.time("event.created") == out.timestamp()
    {
        out.remove("event.created");
    }

    if let Some(level) = first(source, shape.level).and_then(to_number) {
        out.set("winlog.level", level);
        // Level 0 is "log always", which Windows shows as information.
        let name = match level {
            1 => "critical",
            2 => "error",
            3 => "warning",
            5 => "verbose",
            _ => "information",
        };
        default(out, "log.level", name);
    }
    let keywords = first(source, shape.keywords);
    if let Some(bits) = keywords.and_then(keyword_bits) {
        out.set("winlog.keywords", format!("{bits:#x}").as_str());
        // Bits 53 and 52: audit success, audit failure.
        if bits & (1 << 53) != 0 {
            out.set("event.outcome", "success");
        } else if bits & (1 << 52) != 0 {
            out.set("event.outcome", "failure");
        }
    } else if header.log == Log::Security {
        let says = |text: &str| {
            shape.keywords.iter().any(|path| source.values(path).any(|v| v == Value::Text(text)))
        };
        if says("Audit Success") {
            out.set("event.outcome", "success");
        } else if says("Audit Failure") {
            out.set("event.outcome", "failure");
        }
    }
}

/// The bits of a record's keywords, written in hexadecimal (EVTX) or as a signed number (NXLog).
fn keyword_bits(value: Value<'_>) -> Option<u64> {
    match value {
        Value::Int(number) => Some(number as u64),
        Value::Uint(number) => Some(number),
        Value::Text(text) => match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => text.parse::<i64>().ok().map(|number| number as u64),
        },
        _ => None,
    }
}

/// A whole number, written in any way.
fn to_number(value: Value<'_>) -> Option<i64> {
    match value {
        Value::Int(number) => Some(number),
        Value::Text(text) => match text.strip_prefix("0x") {
            Some(digits) => i64::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        },
        _ => None,
    }
}

/// The record's data under its native names.
struct Native<'a> {
    source: &'a Event,
    path: String,
    prefix: usize,
}

impl<'a> Native<'a> {
    fn new(source: &'a Event, shape: &Shape) -> Native<'a> {
        let mut path = String::with_capacity(64);
        path.push_str(shape.data);
        if shape.data == EVTX.data
            && let Some(root) = source.fields().find_map(|(_, path, _)| {
                path.strip_prefix("Event.UserData.").and_then(|rest| rest.split('.').next())
            })
        {
            path.clear();
            path.push_str("Event.UserData.");
            path.push_str(root);
            path.push('.');
        }
        let prefix = path.len();
        Native { source, path, prefix }
    }

    fn get(&mut self, name: &str) -> Option<Value<'a>> {
        self.path.truncate(self.prefix);
        self.path.push_str(name);
        self.source.get(&self.path)
    }

    /// A text that says something: Windows writes `-` where there is nothing to say.
    fn text(&mut self, name: &str) -> Option<&'a str> {
        self.get(name).and_then(Value::as_str).map(str::trim).filter(|text| is_said(text))
    }

    fn number(&mut self, name: &str) -> Option<i64> {
        self.get(name).and_then(to_number)
    }

    /// Copies a text.
    fn copy(&mut self, name: &str, out: &mut Event, path: &str) {
        if let Some(text) = self.text(name) {
            out.set(path, text);
        }
    }

    /// Copies a number.
    fn copy_number(&mut self, name: &str, out: &mut Event, path: &str) {
        if let Some(number) = self.number(name) {
            out.set(path, number);
        }
    }
}

fn is_said(text: &str) -> bool {
    !matches!(text, "" | "-" | "%%1793")
}

fn sysmon(native: &mut Native<'_>, code: u32, out: &mut Event) {
    if matches!(code, 8 | 10) {
        native.copy("SourceImage", out, "process.executable");
        native.copy_number("SourceProcessId", out, "process.pid");
        for name in ["SourceProcessGuid", "SourceProcessGUID"] {
            native.copy(name, out, "process.entity_id");
        }
        if let Some(user) = native.text("SourceUser") {
            set_user(out, "user", user);
        }
    } else {
        native.copy("ProcessGuid", out, "process.entity_id");
        native.copy("ParentProcessGuid", out, "process.parent.entity_id");
        if let Some(user) = native.text("User") {
            set_user(out, "user", user);
        }
    }
    if let Some(hashes) = native.text("Hashes").or_else(|| native.text("Hash"))
        && code != 24
    {
        // Sysmon 1 and 25 are about the process, all others with hashes about a file.
        split_hashes(hashes, if matches!(code, 1 | 25) { "process." } else { "file." }, out);
    }
    match code {
        3 => {
            native.copy("SourceHostname", out, "source.domain");
            if let Some(protocol) = native.text("Protocol") {
                out.set("network.transport", protocol.to_ascii_lowercase().as_str());
            }
            if let Some(initiated) = native.text("Initiated") {
                let egress = initiated.eq_ignore_ascii_case("true");
                out.set("network.direction", if egress { "egress" } else { "ingress" });
            }
        }
        6 | 7 => {
            native.copy("Signature", out, "file.code_signature.subject_name");
            native.copy("SignatureStatus", out, "file.code_signature.status");
            if let Some(signed) = native.text("Signed") {
                out.set("file.code_signature.exists", signed.eq_ignore_ascii_case("true"));
            }
        }
        12..=14 => registry(native.text("Details"), code == 13, out),
        22 => {
            if let Some(results) = native.text("QueryResults") {
                resolved(results, out);
            }
        }
        _ => {}
    }
}

/// `SHA1=...,MD5=...,IMPHASH=...`
fn split_hashes(hashes: &str, owner: &str, out: &mut Event) {
    let mut path = String::with_capacity(24);
    for (kind, value) in hashes.split(',').filter_map(|part| part.split_once('=')) {
        path.clear();
        path.push_str(owner);
        path.push_str(match kind.trim() {
            "MD5" => "hash.md5",
            "SHA1" => "hash.sha1",
            "SHA256" => "hash.sha256",
            "IMPHASH" => "pe.imphash",
            _ => continue,
        });
        out.set(&path, value.trim().to_ascii_lowercase().as_str());
    }
}

/// The parts of `registry.path`, which is set already, and the data of a value.
fn registry(details: Option<&str>, is_value: bool, out: &mut Event) {
    let Some(path) = out.str("registry.path").map(str::to_owned) else { return };
    if let Some((hive, key)) = path.split_once('\\').filter(|(hive, _)| !hive.is_empty()) {
        out.set("registry.hive", hive);
        match key.rsplit_once('\\').filter(|_| is_value) {
            Some((key, value)) => {
                out.set("registry.key", key);
                out.set("registry.value", value);
            }
            None => out.set("registry.key", key),
        }
    }
    if let Some(details) = details {
        out.append("registry.data.strings", details);
        let kind = match details {
            "Binary Data" => Some("REG_BINARY"),
            _ if details.starts_with("DWORD (") => Some("REG_DWORD"),
            _ if details.starts_with("QWORD (") => Some("REG_QWORD"),
            _ => None,
        };
        if let Some(kind) = kind {
            out.set("registry.data.type", kind);
        }
    }
}

/// The addresses among a query's results: `type:  5 other.example;::ffff:203.0.113.5;`
fn resolved(results: &str, out: &mut Event) {
    for result in results.split(';') {
        if let Ok(ip) = result.trim().parse::<std::net::IpAddr>() {
            out.append("dns.resolved_ip", ip.to_canonical().to_string().as_str());
        }
    }
}

fn security(native: &mut Native<'_>, header: &Header<'_>, out: &mut Event) {
    let accounts = header.meaning.map_or(Accounts::Subject, |meaning| meaning.accounts);
    match accounts {
        Accounts::Subject => account(native, "Subject", "user", out),
        Accounts::Target => account(native, "Target", "user", out),
        Accounts::SubjectOnTarget => {
            account(native, "Subject", "user", out);
            account(native, "Target", "user.target", out);
        }
        Accounts::SubjectAsTarget => {
            account(native, "Subject", "user", out);
            account(native, "Target", "user.effective", out);
        }
        Accounts::SubjectOnGroup | Accounts::MemberOfGroup => {
            account(native, "Subject", "user", out);
            native.copy("TargetUserName", out, "group.name");
            native.copy("TargetDomainName", out, "group.domain");
            native.copy("TargetSid", out, "group.id");
            if accounts == Accounts::MemberOfGroup {
                native.copy("MemberSid", out, "user.target.id");
                // `CN=Anna,OU=Staff,DC=example,DC=com`; local members have no name here.
                if let Some(name) = native.text("MemberName") {
                    let name = name.strip_prefix("CN=").unwrap_or(name);
                    out.set("user.target.name", name.split(',').next().unwrap_or(name));
                }
            }
        }
    }
    if header.code == 4778 || header.code == 4779 {
        native.copy("AccountName", out, "user.name");
        native.copy("AccountDomain", out, "user.domain");
        native.copy("ClientName", out, "source.domain");
    }
    for name in ["IpAddress", "ClientAddress"] {
        if let Some(address) = native.text(name) {
            set_ip(out, "source.ip", address);
        }
    }
    if let Some(port) = native.number("IpPort").filter(|port| *port > 0) {
        out.set("source.port", port);
    }
    for name in ["WorkstationName", "Workstation"] {
        if let Some(name) = native.text(name) {
            out.set("source.domain", name.trim_start_matches('\\'));
        }
    }
    if let Some(kind) = native.number("LogonType") {
        out.set("winlog.logon.type", logon_type(kind));
    }
    let subject = if accounts == Accounts::Target { "TargetLogonId" } else { "SubjectLogonId" };
    native.copy(subject, out, "winlog.logon.id");

    match header.code {
        4688 => {
            native.copy_number("NewProcessId", out, "process.pid");
            native.copy_number("ProcessId", out, "process.parent.pid");
            in_sysmon_words(native, out);
        }
        4697 => native.copy("ServiceName", out, "service.name"),
        5152 | 5154 | 5156 | 5157 | 5158 => {
            native.copy("Application", out, "process.executable");
            native.copy_number("ProcessID", out, "process.pid");
            native.copy_number("SourcePort", out, "source.port");
            native.copy_number("DestPort", out, "destination.port");
            for (name, path) in [("SourceAddress", "source.ip"), ("DestAddress", "destination.ip")]
            {
                if let Some(address) = native.text(name) {
                    set_ip(out, path, address);
                }
            }
            if let Some(number) = native.number("Protocol") {
                let transport = match number {
                    1 => "icmp",
                    6 => "tcp",
                    17 => "udp",
                    58 => "ipv6-icmp",
                    _ => "",
                };
                if !transport.is_empty() {
                    out.set("network.transport", transport);
                }
            }
            // Messages of the provider: %%14592 inbound, %%14593 outbound.
            match native.text("Direction") {
                Some("%%14592" | "Inbound") => out.set("network.direction", "ingress"),
                Some("%%14593" | "Outbound") => out.set("network.direction", "egress"),
                _ => {}
            }
        }
        _ => {
            for name in ["ProcessName", "CallerProcessName"] {
                native.copy(name, out, "process.executable");
            }
            for name in ["ProcessId", "CallerProcessId"] {
                // Zero stands for none.
                if let Some(pid) = native.number(name).filter(|pid| *pid > 0) {
                    out.set("process.pid", pid);
                }
            }
            match native.text("ObjectType") {
                Some("File") => native.copy("ObjectName", out, "file.path"),
                Some("Key") => native.copy("ObjectName", out, "registry.path"),
                _ => {}
            }
        }
    }
}

/// What Sysmon 1 tells of a new process under names of its own, made from Security 4688: rules for
/// a process' creation are written in Sysmon's words.
fn in_sysmon_words(native: &mut Native<'_>, out: &mut Event) {
    // The target account is the new process' if it differs from the creator's.
    let of = if native.text("TargetUserName").is_some() { "Target" } else { "Subject" };
    let name = native.text(if of == "Target" { "TargetUserName" } else { "SubjectUserName" });
    let domain = native.text(if of == "Target" { "TargetDomainName" } else { "SubjectDomainName" });
    if let Some(name) = name {
        let user = domain.map_or_else(|| name.to_owned(), |domain| format!("{domain}\\{name}"));
        out.set("winlog.event_data.User", user.as_str());
    }
    if of == "Target" {
        account(native, "Target", "user", out);
    }
    let level = match native.text("MandatoryLabel") {
        Some("S-1-16-0") => "Untrusted",
        Some("S-1-16-4096") => "Low",
        Some("S-1-16-8192" | "S-1-16-8448") => "Medium",
        Some("S-1-16-12288") => "High",
        Some("S-1-16-16384") => "System",
        _ => return,
    };
    out.set("winlog.event_data.IntegrityLevel", level);
}

/// Copies an account of a Security event: `Subject` or `Target`.
fn account(native: &mut Native<'_>, whose: &str, path: &str, out: &mut Event) {
    for (suffix, field) in [("UserName", "name"), ("DomainName", "domain"), ("UserSid", "id")] {
        if let Some(text) = native.text(&format!("{whose}{suffix}")) {
            out.set(&format!("{path}.{field}"), text);
        }
    }
    if whose == "Target" && native.text("TargetUserSid").is_none() {
        native.copy("TargetSid", out, &format!("{path}.id"));
    }
}

fn logon_type(kind: i64) -> &'static str {
    match kind {
        0 => "System",
        2 => "Interactive",
        3 => "Network",
        4 => "Batch",
        5 => "Service",
        7 => "Unlock",
        8 => "NetworkCleartext",
        9 => "NewCredentials",
        10 => "RemoteInteractive",
        11 => "CachedInteractive",
        12 => "CachedRemoteInteractive",
        13 => "CachedUnlock",
        _ => "Unknown",
    }
}

fn powershell(native: &mut Native<'_>, header: &Header<'_>, out: &mut Event) {
    native.copy("ScriptBlockId", out, "powershell.file.script_block_id");
    native.copy_number("MessageNumber", out, "powershell.sequence");
    native.copy_number("MessageTotal", out, "powershell.total");
    if header.code == 4104 {
        native.copy("Path", out, "file.path");
    }
    if let Some(context) = native.text("ContextInfo") {
        told(context, " = ", out);
    }
    if header.log == Log::PowerShellClassic {
        // The third part of the data, or the whole of the rendered message.
        let data: Vec<String> = [EVENT_DATA_DATA, "message", "winlog.event_data.param3"]
            .iter()
            .flat_map(|path| out.values(path).filter_map(Value::as_str).map(str::to_owned))
            .collect();
        for text in data {
            told(&text, "=", out);
        }
    }
    if let Some(sid) = out.str("winlog.user.identifier").map(str::to_owned) {
        default(out, "user.id", &sid);
    }
}

const EVENT_DATA_DATA: &str = "winlog.event_data.Data";

/// What PowerShell tells of itself, a line each.
fn told(context: &str, separator: &str, out: &mut Event) {
    for (name, value) in context.lines().filter_map(|line| line.split_once(separator)) {
        let value = value.trim();
        if value.is_empty() {
            continue;
        }
        match name.trim() {
            "Host Application" | "HostApplication" => default(out, "process.command_line", value),
            "User" | "UserId" if out.get("user.name").is_none() => set_user(out, "user", value),
            "Command Name" | "CommandName" => default(out, "powershell.command.name", value),
            "Host Version" | "HostVersion" => {
                default(out, "powershell.process.executable_version", value);
            }
            _ => {}
        }
    }
}

fn system(native: &mut Native<'_>, out: &mut Event) {
    native.copy("ServiceName", out, "service.name");
    native.copy("SubjectUserName", out, "user.name");
    native.copy("SubjectDomainName", out, "user.domain");
    if let Some(sid) = out.str("winlog.user.identifier").map(str::to_owned) {
        default(out, "user.id", &sid);
    }
}

/// Splits `DOMAIN\name`.
fn set_user(out: &mut Event, path: &str, user: &str) {
    let (domain, name) = user.split_once('\\').map_or((None, user), |(d, n)| (Some(d), n));
    out.set(&format!("{path}.name"), name);
    if let Some(domain) = domain.filter(|domain| !domain.is_empty()) {
        out.set(&format!("{path}.domain"), domain);
    }
}

/// What follows from fields that were set, whatever the log: types, names from paths.
fn finish(out: &mut Event) {
    for path in ["process.pid", "process.parent.pid", "source.port", "destination.port"] {
        if let Some(text) = out.str(path) {
            match to_number(Value::Text(text.trim())) {
                Some(number) => out.set(path, number),
                None => out.remove(path),
            }
        }
    }
    for path in ["source.ip", "destination.ip"] {
        if let Some(text) = out.str(path).map(str::to_owned)
            && !set_ip(out, path, &text)
        {
            out.remove(path);
        }
    }
    for (path, name) in [
        ("process.executable", "process.name"),
        ("process.parent.executable", "process.parent.name"),
        ("file.path", "file.name"),
    ] {
        if out.get(name).is_some() {
            continue;
        }
        if let Some(text) = out.str(path).map(|text| base_name(text).to_owned())
            && is_said(&text)
        {
            out.set(name, text.as_str());
        }
    }
    if let Some(path) = out.str("file.path").map(str::to_owned) {
        if let Some((directory, _)) = path.rsplit_once(['\\', '/']) {
            out.set("file.directory", directory);
        }
        if let Some((_, extension)) = base_name(&path).rsplit_once('.') {
            out.set("file.extension", extension.to_ascii_lowercase().as_str());
        }
    }
}

const RPC_FIREWALL: Logsource<'static> =
    Logsource { product: Some("rpc_firewall"), category: Some("application"), service: None };

/// The provider of Sysmon for Linux, whose records have the form of Windows' own.
const LINUX_SYSMON: &str = "Linux-Sysmon";

/// The classes of Windows' records, and of those that have their form. Sysmon for Linux knows fewer
/// events than Sysmon; that nothing sends the others is not told apart here.
pub(crate) fn classes() -> impl Iterator<Item = Logsource<'static>> {
    let linux = windows_tables::log("", LINUX_SYSMON).1;
    let of = |product| {
        move |(category, service)| Logsource {
            product: Some(product),
            category,
            service: Some(service),
        }
    };
    let of_linux = windows_tables::classes().filter(move |(_, service)| Some(*service) == linux);
    // Any other channel is of the product alone.
    let other = Logsource { product: Some("windows"), category: None, service: None };
    windows_tables::classes()
        .map(of("windows"))
        .chain(of_linux.map(of("linux")))
        .chain([other, RPC_FIREWALL])
}

/// Action, category, type and the Sigma class.
fn classify(header: &Header<'_>, out: &mut Event) {
    let mut class = None;
    if let Some(meaning) = header.meaning {
        out.set("event.action", meaning.action);
        out.remove("event.category");
        out.append("event.category", meaning.category);
        out.remove("event.type");
        for kind in meaning.kinds {
            out.append("event.type", *kind);
        }
        class = (!meaning.class.is_empty()).then_some(meaning.class);
    }
    if header.log == Log::Sysmon && header.code == 12 {
        let told = out.str("winlog.event_data.EventType");
        let cut = REGISTRY_KEYS.iter().find(|(kind, ..)| Some(*kind) == told);
        if let Some((_, name, action, kind)) = cut {
            class = Some(*name);
            out.set("event.action", *action);
            out.remove("event.type");
            out.append("event.type", *kind);
        }
    }
    if out.get("event.category").is_none() {
        out.append("event.category", windows_tables::category(header.service));
        out.append("event.type", "info");
    }
    if header.log == Log::Security && header.code == 4625 {
        default(out, "event.outcome", "failure");
    }
    // RPC Firewall has a channel of its own, and in Sigma a product of its own.
    let logsource = if header.channel == "RPCFW" || header.provider == "RPCFW" {
        RPC_FIREWALL
    } else {
        let product = if header.provider == LINUX_SYSMON { "linux" } else { "windows" };
        Logsource { product: Some(product), category: class, service: header.service }
    };
    logsource.stamp(out);
    let dataset = match (logsource.product, header.service) {
        (Some(product @ ("windows" | "linux")), Some(service)) => format!("{product}.{service}"),
        _ => "windows.eventlog".to_owned(),
    };
    out.set("event.dataset", dataset.as_str());
    out.set("event.module", dataset.split('.').next().unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::tests::normalized;

    /// A record as the `evtx` crate renders it.
    fn evtx(channel: &str, provider: &str, code: u32, keywords: &str, data: &str) -> String {
        let record = format!(
            r##"{{"Event":{{"#attributes":{{"xmlns":"x"}},"System":{{"Provider":{{"#attributes":{{"Name":"{provider}","Guid":"{{G}}"}}}},"EventID":{code},"Version":2,"Level":4,"Task":1,"Opcode":0,"Keywords":"{keywords}","TimeCreated":{{"#attributes":{{"SystemTime":"2026-11-24T10:00:00.1234567Z"}}}},"EventRecordID":77,"Correlation":null,"Execution":{{"#attributes":{{"ProcessID":4,"ThreadID":8}}}},"Channel":"{channel}","Computer":"pc1.example","Security":{{"#attributes":{{"UserID":"S-1-5-18"}}}}}},{data}}}}}"##
        );
        normalized(&record, "")
    }

    fn sysmon(code: u32, data: &str) -> String {
        let data = format!(r#""EventData":{data}"#);
        let channel = "Microsoft-Windows-Sysmon/Operational";
        evtx(channel, "Microsoft-Windows-Sysmon", code, "0x8000000000000000", &data)
    }

    fn security(code: u32, keywords: &str, data: &str) -> String {
        let data = format!(r#""EventData":{data}"#);
        evtx("Security", "Microsoft-Windows-Security-Auditing", code, keywords, &data)
    }

    const SUCCESS: &str = "0x8020000000000000";
    const FAILURE: &str = "0x8010000000000000";

    #[test]
    fn sysmon_events_are_mapped() {
        assert_snapshot!(sysmon(1, r#"{"RuleName":"-","ProcessGuid":"{P}","ProcessId":100,"Image":"C:\\Windows\\cmd.exe","OriginalFileName":"Cmd.Exe","CommandLine":"cmd /c dir","CurrentDirectory":"C:\\","User":"EXAMPLE\\anna","Hashes":"MD5=AA,SHA256=BB,IMPHASH=CC","ParentProcessId":99,"ParentImage":"C:\\a\\b.exe","ParentCommandLine":"b"}"#), @r#"{"@timestamp":"2026-11-24T10:00:00.1234567Z","event":{"action":"created-process","category":["process"],"code":"1","dataset":"windows.sysmon","module":"windows","provider":"Microsoft-Windows-Sysmon","type":["start"]},"host":{"name":"pc1.example","os":{"type":"windows"}},"log":{"level":"information"},"process":{"command_line":"cmd /c dir","entity_id":"{P}","executable":"C:\\Windows\\cmd.exe","hash":{"md5":"aa","sha256":"bb"},"name":"cmd.exe","parent":{"command_line":"b","executable":"C:\\a\\b.exe","name":"b.exe","pid":99},"pe":{"imphash":"cc","original_file_name":"Cmd.Exe"},"pid":100,"working_directory":"C:\\"},"related":{"hash":["bb","aa"],"hosts":["pc1.example"],"user":["anna"]},"user":{"domain":"EXAMPLE","name":"anna"},"watchpost":{"logsource":{"category":"process_creation","product":"windows","service":"sysmon"}},"winlog":{"channel":"Microsoft-Windows-Sysmon/Operational","computer_name":"pc1.example","event_data":{"Hashes":"MD5=AA,SHA256=BB,IMPHASH=CC","ProcessGuid":"{P}","RuleName":"-","User":"EXAMPLE\\anna"},"keywords":"0x8000000000000000","level":4,"opcode":0,"process":{"pid":4,"thread":{"id":8}},"provider_guid":"{G}","provider_name":"Microsoft-Windows-Sysmon","record_id":77,"task":1,"user":{"identifier":"S-1-5-18"},"version":2}}"#);
        assert_snapshot!(sysmon(3, r#"{"ProcessId":100,"Image":"C:\\x.exe","User":"NT AUTHORITY\\SYSTEM","Protocol":"tcp","Initiated":"true","SourceIp":"10.0.0.1","SourceHostname":"-","SourcePort":5000,"DestinationIp":"0:0:0:0:0:0:0:1","DestinationHostname":"h.example","DestinationPort":443}"#), @r#"{"@timestamp":"2026-11-24T10:00:00.1234567Z","destination":{"domain":"h.example","ip":"::1","port":443},"event":{"action":"connected","category":["network"],"code":"3","dataset":"windows.sysmon","module":"windows","provider":"Microsoft-Windows-Sysmon","type":["connection","start"]},"host":{"name":"pc1.example","os":{"type":"windows"}},"log":{"level":"information"},"network":{"direction":"egress","transport":"tcp"},"process":{"executable":"C:\\x.exe","name":"x.exe","pid":100},"related":{"hosts":["pc1.example","h.example"],"ip":["10.0.0.1","::1"],"user":["SYSTEM"]},"source":{"ip":"10.0.0.1","port":5000},"user":{"domain":"NT AUTHORITY","name":"SYSTEM"},"watchpost":{"logsource":{"category":"network_connection","product":"windows","service":"sysmon"}},"winlog":{"channel":"Microsoft-Windows-Sysmon/Operational","computer_name":"pc1.example","event_data":{"Initiated":"true","Protocol":"tcp","SourceHostname":"-","User":"NT AUTHORITY\\SYSTEM"},"keywords":"0x8000000000000000","level":4,"opcode":0,"process":{"pid":4,"thread":{"id":8}},"provider_guid":"{G}","provider_name":"Microsoft-Windows-Sysmon","record_id":77,"task":1,"user":{"identifier":"S-1-5-18"},"version":2}}"#);
        assert_snapshot!(sysmon(13, r#"{"EventType":"SetValue","ProcessId":100,"Image":"C:\\x.exe","TargetObject":"HKLM\\Software\\Key\\Value","Details":"DWORD (0x00000001)"}"#), @r#"{"@timestamp":"2026-11-24T10:00:00.1234567Z","event":{"action":"set-registry-value","category":["registry"],"code":"13","dataset":"windows.sysmon","module":"windows","provider":"Microsoft-Windows-Sysmon","type":["change"]},"host":{"name":"pc1.example","os":{"type":"windows"}},"log":{"level":"information"},"process":{"executable":"C:\\x.exe","name":"x.exe","pid":100},"registry":{"data":{"strings":["DWORD (0x00000001)"],"type":"REG_DWORD"},"hive":"HKLM","key":"Software\\Key","path":"HKLM\\Software\\Key\\Value","value":"Value"},"related":{"hosts":["pc1.example"]},"watchpost":{"logsource":{"category":"registry_set","product":"windows","service":"sysmon"}},"winlog":{"channel":"Microsoft-Windows-Sysmon/Operational","computer_name":"pc1.example","event_data":{"Details":"DWORD (0x00000001)","EventType":"SetValue"},"keywords":"0x8000000000000000","level":4,"opcode":0,"process":{"pid":4,"thread":{"id":8}},"provider_guid":"{G}","provider_name":"Microsoft-Windows-Sysmon","record_id":77,"task":1,"user":{"identifier":"S-1-5-18"},"version":2}}"#);
        assert_snapshot!(sysmon(7, r#"{"ProcessId":100,"Image":"C:\\x.exe","ImageLoaded":"C:\\l.dll","OriginalFileName":"L.DLL","Hashes":"SHA256=BB","Signed":"false","SignatureStatus":"Unavailable"}"#), @r#"{"@timestamp":"2026-11-24T10:00:00.1234567Z","event":{"action":"loaded-image","category":["library"],"code":"7","dataset":"windows.sysmon","module":"windows","provider":"Microsoft-Windows-Sysmon","type":["start"]},"file":{"code_signature":{"exists":false,"status":"Unavailable"},"directory":"C:","extension":"dll","hash":{"sha256":"bb"},"name":"l.dll","path":"C:\\l.dll","pe":{"original_file_name":"L.DLL"}},"host":{"name":"pc1.example","os":{"type":"windows"}},"log":{"level":"information"},"process":{"executable":"C:\\x.exe","name":"x.exe","pid":100},"related":{"hash":["bb"],"hosts":["pc1.example"]},"watchpost":{"logsource":{"category":"image_load","product":"windows","service":"sysmon"}},"winlog":{"channel":"Microsoft-Windows-Sysmon/Operational","computer_name":"pc1.example","event_data":{"Hashes":"SHA256=BB","SignatureStatus":"Unavailable","Signed":"false"},"keywords":"0x8000000000000000","level":4,"opcode":0,"process":{"pid":4,"thread":{"id":8}},"provider_guid":"{G}","provider_name":"Microsoft-Windows-Sysmon","record_id":77,"task":1,"user":{"identifier":"S-1-5-18"},"version":2}}"#);
        assert_snapshot!(sysmon(22, r#"{"ProcessId":100,"QueryName":"h.example","QueryStatus":"0","QueryResults":"type:  5 o.example;::ffff:203.0.113.5;2001:db8::1;","Image":"C:\\x.exe"}"#), @r#"{"@timestamp":"2026-11-24T10:00:00.1234567Z","dns":{"question":{"name":"h.example"},"resolved_ip":["203.0.113.5","2001:db8::1"]},"event":{"action":"dns-query","category":["network"],"code":"22","dataset":"windows.sysmon","module":"windows","provider":"Microsoft-Windows-Sysmon","type":["connection","protocol","info"]},"host":{"name":"pc1.example","os":{"type":"windows"}},"log":{"level":"information"},"process":{"executable":"C:\\x.exe","name":"x.exe","pid":100},"related":{"hosts":["pc1.example"]},"watchpost":{"logsource":{"category":"dns_query","product":"windows","service":"sysmon"}},"winlog":{"channel":"Microsoft-Windows-Sysmon/Operational","computer_name":"pc1.example","event_data":{"QueryResults":"type:  5 o.example;::ffff:203.0.113.5;2001:db8::1;","QueryStatus":"0"},"keywords":"0x8000000000000000","level":4,"opcode":0,"process":{"pid":4,"thread":{"id":8}},"provider_guid":"{G}","provider_name":"Microsoft-Windows-Sysmon","record_id":77,"task":1,"user":{"identifier":"S-1-5-18"},"version":2}}"#);
    }

    #[test]
    fn registry_keys_are_told_apart() {
        for (kind, class) in [
            ("CreateKey", "registry_add"),
            ("DeleteKey", "registry_delete"),
            ("DeleteValue", "registry_delete"),
            ("?", "registry_event"),
        ] {
            let event = sysmon(12, &format!(r#"{{"EventType":"{kind}","TargetObject":"HKU\\x"}}"#));
            assert!(event.contains(&format!(r#""category":"{class}""#)), "{event}");
        }
    }

    #[test]
    fn logons_are_mapped() {
        assert_snapshot!(security(4625, FAILURE, r#"{"SubjectUserName":"-","TargetUserSid":"S-1-0-0","TargetUserName":"anna","TargetDomainName":"EXAMPLE","Status":"0xc000006d","LogonType":3,"WorkstationName":"PC9","ProcessId":"0x0","ProcessName":"-","IpAddress":"::ffff:203.0.113.7","IpPort":"50123"}"#), @r#"{"@timestamp":"2026-11-24T10:00:00.1234567Z","event":{"action":"logon-failed","category":["authentication"],"code":"4625","dataset":"windows.security","module":"windows","outcome":"failure","provider":"Microsoft-Windows-Security-Auditing","type":["start"]},"host":{"name":"pc1.example","os":{"type":"windows"}},"log":{"level":"information"},"related":{"hosts":["pc1.example","PC9"],"ip":["203.0.113.7"],"user":["anna"]},"source":{"domain":"PC9","ip":"203.0.113.7","port":50123},"user":{"domain":"EXAMPLE","id":"S-1-0-0","name":"anna"},"watchpost":{"logsource":{"product":"windows","service":"security"}},"winlog":{"channel":"Security","computer_name":"pc1.example","event_data":{"IpAddress":"::ffff:203.0.113.7","IpPort":"50123","LogonType":3,"ProcessId":"0x0","ProcessName":"-","Status":"0xc000006d","SubjectUserName":"-","TargetDomainName":"EXAMPLE","TargetUserName":"anna","TargetUserSid":"S-1-0-0","WorkstationName":"PC9"},"keywords":"0x8010000000000000","level":4,"logon":{"type":"Network"},"opcode":0,"process":{"pid":4,"thread":{"id":8}},"provider_guid":"{G}","provider_name":"Microsoft-Windows-Security-Auditing","record_id":77,"task":1,"user":{"identifier":"S-1-5-18"},"version":2}}"#);
        assert_snapshot!(security(4648, SUCCESS, r#"{"SubjectUserName":"anna","SubjectDomainName":"EXAMPLE","TargetUserName":"admin","TargetServerName":"srv","ProcessId":"0x1f4","ProcessName":"C:\\Windows\\runas.exe","IpAddress":"-","IpPort":"-"}"#), @r#"{"@timestamp":"2026-11-24T10:00:00.1234567Z","event":{"action":"logged-in-explicit","category":["authentication"],"code":"4648","dataset":"windows.security","module":"windows","outcome":"success","provider":"Microsoft-Windows-Security-Auditing","type":["start"]},"host":{"name":"pc1.example","os":{"type":"windows"}},"log":{"level":"information"},"process":{"executable":"C:\\Windows\\runas.exe","name":"runas.exe","pid":500},"related":{"hosts":["pc1.example"],"user":["anna","admin"]},"user":{"domain":"EXAMPLE","effective":{"name":"admin"},"name":"anna"},"watchpost":{"logsource":{"product":"windows","service":"security"}},"winlog":{"channel":"Security","computer_name":"pc1.example","event_data":{"IpAddress":"-","IpPort":"-","ProcessId":"0x1f4","ProcessName":"C:\\Windows\\runas.exe","SubjectDomainName":"EXAMPLE","SubjectUserName":"anna","TargetServerName":"srv","TargetUserName":"admin"},"keywords":"0x8020000000000000","level":4,"opcode":0,"process":{"pid":4,"thread":{"id":8}},"provider_guid":"{G}","provider_name":"Microsoft-Windows-Security-Auditing","record_id":77,"task":1,"user":{"identifier":"S-1-5-18"},"version":2}}"#);
        assert_snapshot!(security(4732, SUCCESS, r#"{"MemberName":"CN=Anna,OU=Staff,DC=example","MemberSid":"S-1-5-21-1","TargetUserName":"Administrators","TargetSid":"S-1-5-32-544","SubjectUserName":"admin"}"#), @r#"{"@timestamp":"2026-11-24T10:00:00.1234567Z","event":{"action":"added-member-to-group","category":["iam"],"code":"4732","dataset":"windows.security","module":"windows","outcome":"success","provider":"Microsoft-Windows-Security-Auditing","type":["group","change"]},"group":{"id":"S-1-5-32-544","name":"Administrators"},"host":{"name":"pc1.example","os":{"type":"windows"}},"log":{"level":"information"},"related":{"hosts":["pc1.example"],"user":["admin","Anna"]},"user":{"name":"admin","target":{"id":"S-1-5-21-1","name":"Anna"}},"watchpost":{"logsource":{"product":"windows","service":"security"}},"winlog":{"channel":"Security","computer_name":"pc1.example","event_data":{"MemberName":"CN=Anna,OU=Staff,DC=example","MemberSid":"S-1-5-21-1","SubjectUserName":"admin","TargetSid":"S-1-5-32-544","TargetUserName":"Administrators"},"keywords":"0x8020000000000000","level":4,"opcode":0,"process":{"pid":4,"thread":{"id":8}},"provider_guid":"{G}","provider_name":"Microsoft-Windows-Security-Auditing","record_id":77,"task":1,"user":{"identifier":"S-1-5-18"},"version":2}}"#);
    }

    #[test]
    fn a_process_of_the_security_log_is_told_in_sysmons_words_too() {
        assert_snapshot!(security(4688, SUCCESS, r#"{"SubjectUserName":"anna","SubjectDomainName":"EXAMPLE","NewProcessId":"0x3e8","NewProcessName":"C:\\Windows\\cmd.exe","TokenElevationType":"%%1938","ProcessId":"0x1f4","CommandLine":"cmd /c dir","TargetUserName":"-","ParentProcessName":"C:\\a\\b.exe","MandatoryLabel":"S-1-16-12288"}"#), @r#"{"@timestamp":"2026-11-24T10:00:00.1234567Z","event":{"action":"created-process","category":["process"],"code":"4688","dataset":"windows.security","module":"windows","outcome":"success","provider":"Microsoft-Windows-Security-Auditing","type":["start"]},"host":{"name":"pc1.example","os":{"type":"windows"}},"log":{"level":"information"},"process":{"command_line":"cmd /c dir","executable":"C:\\Windows\\cmd.exe","name":"cmd.exe","parent":{"executable":"C:\\a\\b.exe","name":"b.exe","pid":500},"pid":1000},"related":{"hosts":["pc1.example"],"user":["anna"]},"user":{"domain":"EXAMPLE","name":"anna"},"watchpost":{"logsource":{"category":"process_creation","product":"windows","service":"security"}},"winlog":{"channel":"Security","computer_name":"pc1.example","event_data":{"IntegrityLevel":"High","MandatoryLabel":"S-1-16-12288","NewProcessId":"0x3e8","ProcessId":"0x1f4","SubjectDomainName":"EXAMPLE","SubjectUserName":"anna","TargetUserName":"-","TokenElevationType":"%%1938","User":"EXAMPLE\\anna"},"keywords":"0x8020000000000000","level":4,"opcode":0,"process":{"pid":4,"thread":{"id":8}},"provider_guid":"{G}","provider_name":"Microsoft-Windows-Security-Auditing","record_id":77,"task":1,"user":{"identifier":"S-1-5-18"},"version":2}}"#);
    }

    #[test]
    fn user_data_and_unnamed_data_are_kept() {
        assert_snapshot!(evtx("Security", "Microsoft-Windows-Eventlog", 1102, "0x4020000000000000", r##""UserData":{"LogFileCleared":{"#attributes":{"xmlns":"x"},"SubjectUserName":"anna","SubjectDomainName":"EXAMPLE"}}"##), @r#"{"@timestamp":"2026-11-24T10:00:00.1234567Z","event":{"action":"audit-log-cleared","category":["iam"],"code":"1102","dataset":"windows.security","module":"windows","outcome":"success","provider":"Microsoft-Windows-Eventlog","type":["admin","change"]},"host":{"name":"pc1.example","os":{"type":"windows"}},"log":{"level":"information"},"related":{"hosts":["pc1.example"],"user":["anna"]},"user":{"domain":"EXAMPLE","name":"anna"},"watchpost":{"logsource":{"product":"windows","service":"security"}},"winlog":{"channel":"Security","computer_name":"pc1.example","keywords":"0x4020000000000000","level":4,"opcode":0,"process":{"pid":4,"thread":{"id":8}},"provider_guid":"{G}","provider_name":"Microsoft-Windows-Eventlog","record_id":77,"task":1,"user":{"identifier":"S-1-5-18"},"user_data":{"SubjectDomainName":"EXAMPLE","SubjectUserName":"anna"},"version":2}}"#);
        assert_snapshot!(evtx("Windows PowerShell", "PowerShell", 400, "0x80000000000000", r##""EventData":{"Data":{"#text":["Available","None","\tNewEngineState=Available\r\n\r\n\tHostApplication=powershell -enc AA\r\n\tHostVersion=5.1\r\n"]},"Binary":null}"##), @r#"{"@timestamp":"2026-11-24T10:00:00.1234567Z","event":{"action":"started-engine","category":["process"],"code":"400","dataset":"windows.powershell-classic","module":"windows","provider":"PowerShell","type":["start"]},"host":{"name":"pc1.example","os":{"type":"windows"}},"log":{"level":"information"},"powershell":{"process":{"executable_version":"5.1"}},"process":{"command_line":"powershell -enc AA"},"related":{"hosts":["pc1.example"]},"user":{"id":"S-1-5-18"},"watchpost":{"logsource":{"category":"ps_classic_start","product":"windows","service":"powershell-classic"}},"winlog":{"channel":"Windows PowerShell","computer_name":"pc1.example","event_data":{"Binary":null,"Data":["Available","None","\tNewEngineState=Available\r\n\r\n\tHostApplication=powershell -enc AA\r\n\tHostVersion=5.1\r\n"]},"keywords":"0x80000000000000","level":4,"opcode":0,"process":{"pid":4,"thread":{"id":8}},"provider_guid":"{G}","provider_name":"PowerShell","record_id":77,"task":1,"user":{"identifier":"S-1-5-18"},"version":2}}"#);
    }

    #[test]
    fn script_blocks_are_stored_once() {
        let event = evtx(
            "Microsoft-Windows-PowerShell/Operational",
            "Microsoft-Windows-PowerShell",
            4104,
            "0x0",
            r#""EventData":{"MessageNumber":1,"MessageTotal":1,"ScriptBlockText":"Get-Date","ScriptBlockId":"id","Path":""}"#,
        );
        assert_snapshot!(event, @r#"{"@timestamp":"2026-11-24T10:00:00.1234567Z","event":{"action":"executed-script-block","category":["process"],"code":"4104","dataset":"windows.powershell","module":"windows","provider":"Microsoft-Windows-PowerShell","type":["info"]},"host":{"name":"pc1.example","os":{"type":"windows"}},"log":{"level":"information"},"powershell":{"file":{"script_block_id":"id","script_block_text":"Get-Date"},"sequence":1,"total":1},"related":{"hosts":["pc1.example"]},"user":{"id":"S-1-5-18"},"watchpost":{"logsource":{"category":"ps_script","product":"windows","service":"powershell"}},"winlog":{"channel":"Microsoft-Windows-PowerShell/Operational","computer_name":"pc1.example","event_data":{"MessageNumber":1,"MessageTotal":1,"Path":"","ScriptBlockId":"id"},"keywords":"0x0","level":4,"opcode":0,"process":{"pid":4,"thread":{"id":8}},"provider_guid":"{G}","provider_name":"Microsoft-Windows-PowerShell","record_id":77,"task":1,"user":{"identifier":"S-1-5-18"},"version":2}}"#);
    }

    #[test]
    fn winlogbeats_events_are_mapped() {
        assert_snapshot!(normalized(r#"{"@timestamp":"2026-11-24T10:00:00.000Z","agent":{"type":"winlogbeat"},"event":{"code":"4624","kind":"event","provider":"Microsoft-Windows-Security-Auditing","action":"Logon"},"host":{"name":"pc1"},"message":"An account","winlog":{"channel":"Security","computer_name":"pc1.example","event_id":"4624","keywords":["Audit Success"],"event_data":{"TargetUserName":"anna","LogonType":"10","IpAddress":"203.0.113.7"}}}"#, ""), @r#"{"@timestamp":"2026-11-24T10:00:00Z","agent":{"type":"winlogbeat"},"event":{"action":"logged-in","category":["authentication"],"code":"4624","dataset":"windows.security","module":"windows","outcome":"success","provider":"Microsoft-Windows-Security-Auditing","type":["start"]},"host":{"name":"pc1","os":{"type":"windows"}},"message":"An account","related":{"hosts":["pc1"],"ip":["203.0.113.7"],"user":["anna"]},"source":{"ip":"203.0.113.7"},"user":{"name":"anna"},"watchpost":{"logsource":{"product":"windows","service":"security"}},"winlog":{"channel":"Security","computer_name":"pc1.example","event_data":{"IpAddress":"203.0.113.7","LogonType":"10","TargetUserName":"anna"},"event_id":"4624","keywords":["Audit Success"],"logon":{"type":"RemoteInteractive"},"provider_name":"Microsoft-Windows-Security-Auditing"}}"#);
    }

    #[test]
    fn flat_events_are_mapped() {
        assert_snapshot!(normalized(r#"{"EventTime":"2026-11-24 12:00:00","Hostname":"pc1.example","Keywords":-9214364837600034816,"EventType":"AUDIT_SUCCESS","SeverityValue":2,"EventID":4688,"SourceName":"Microsoft-Windows-Security-Auditing","Channel":"Security","RecordNumber":5,"Message":"A new process","NewProcessName":"C:\\Windows\\cmd.exe","NewProcessId":"0x10","CommandLine":"cmd","SubjectUserName":"anna","@timestamp":"2026-11-24T10:00:01.000Z","tags":["x"],"host":"collector"}"#, ""), @r#"{"@timestamp":"2026-11-24T10:00:01Z","event":{"action":"created-process","category":["process"],"code":"4688","dataset":"windows.security","module":"windows","outcome":"success","provider":"Microsoft-Windows-Security-Auditing","type":["start"]},"host":{"name":"pc1.example","os":{"type":"windows"}},"message":"A new process","nxlog":{"EventTime":"2026-11-24 12:00:00","EventType":"AUDIT_SUCCESS","SeverityValue":2,"host":"collector"},"process":{"command_line":"cmd","executable":"C:\\Windows\\cmd.exe","name":"cmd.exe","pid":16},"related":{"hosts":["pc1.example"],"user":["anna"]},"tags":["x"],"user":{"name":"anna"},"watchpost":{"logsource":{"category":"process_creation","product":"windows","service":"security"}},"winlog":{"channel":"Security","computer_name":"pc1.example","event_data":{"NewProcessId":"0x10","SubjectUserName":"anna","User":"anna"},"keywords":"0x8020000000000000","provider_name":"Microsoft-Windows-Security-Auditing","record_id":5}}"#);
        // The shipper's `EventType` took the place of Sysmon's.
        let event = normalized(
            r#"{"EventID":12,"SourceName":"Microsoft-Windows-Sysmon","Channel":"Microsoft-Windows-Sysmon/Operational","Hostname":"pc1","EventType":"INFO","UtcTime":"2026-11-24 10:00:00.123","ProcessId":"77","TargetObject":"HKLM\\x","Message":"Registry object added or deleted:\r\nRuleName: -\r\nEventType: DeleteKey\r\n"}"#,
            "",
        );
        assert!(event.contains(r#""category":"registry_delete""#), "{event}");
        assert!(
            event.contains(r#""pid":77"#) && event.contains(r#""EventType":"DeleteKey""#),
            "{event}"
        );
    }

    #[test]
    fn other_channels_keep_their_data() {
        assert_snapshot!(evtx("Some-Vendor/Operational", "Some-Vendor", 9, "0x0", r#""EventData":{"A":"x","B":[1,2],"C":null}"#), @r#"{"@timestamp":"2026-11-24T10:00:00.1234567Z","event":{"category":["host"],"code":"9","dataset":"windows.eventlog","module":"windows","provider":"Some-Vendor","type":["info"]},"host":{"name":"pc1.example","os":{"type":"windows"}},"log":{"level":"information"},"related":{"hosts":["pc1.example"]},"watchpost":{"logsource":{"product":"windows"}},"winlog":{"channel":"Some-Vendor/Operational","computer_name":"pc1.example","event_data":{"A":"x","B":[1,2],"C":null},"keywords":"0x0","level":4,"opcode":0,"process":{"pid":4,"thread":{"id":8}},"provider_guid":"{G}","provider_name":"Some-Vendor","record_id":77,"task":1,"user":{"identifier":"S-1-5-18"},"version":2}}"#);
    }

    #[test]
    fn rpc_firewall_is_a_product_of_its_own() {
        let event = evtx("RPCFW", "RPCFW", 3, "0x0", r#""EventData":{"OpNum":1}"#);
        assert!(
            event.contains(r#""logsource":{"category":"application","product":"rpc_firewall"}"#),
            "{event}"
        );
    }

    #[test]
    fn sysmon_for_linux_is_of_linux() {
        let data = r#""EventData":{"Image":"/usr/bin/id","CommandLine":"id -u","User":"root","LogonId":0}"#;
        let event = evtx("Linux-Sysmon/Operational", "Linux-Sysmon", 1, "0x0", data);
        for part in [
            r#""logsource":{"category":"process_creation","product":"linux","service":"sysmon"}"#,
            r#""executable":"/usr/bin/id","name":"id""#,
            r#""user":{"name":"root"}"#,
            r#""LogonId":0"#,
        ] {
            assert!(event.contains(part), "{part} in {event}");
        }
    }

    #[test]
    fn what_is_no_windows_event_is_left() {
        for json in [
            r#"{"EventID":1}"#,
            r#"{"EventID":"x","Channel":"Security"}"#,
            r#"{"Channel":"Security"}"#,
        ] {
            assert!(!normalized(json, "").contains("winlog"), "{json}");
        }
    }
}
