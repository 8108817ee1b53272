//! Windows event log records as Winlogbeat sends them: one JSON object each, with the record's
//! header under `winlog`, its fields under `winlog.event_data`, and the rendered text in `message`.
//! <https://www.elastic.co/docs/reference/beats/winlogbeat/exported-fields-winlog>

use event::Timestamp;
use serde_json::{Map, Value, json};

use crate::fleet::{DOMAIN, DOMAIN_SID, Host, NETBIOS, Person, SERVERS};
use crate::world::World;
use crate::{SimEvent, Source};

/// A log, and who writes it.
struct Channel {
    name: &'static str,
    provider: &'static str,
    dataset: &'static str,
}

const SECURITY: Channel = Channel {
    name: "Security",
    provider: "Microsoft-Windows-Security-Auditing",
    dataset: "windows.security",
};
const SYSMON: Channel = Channel {
    name: "Microsoft-Windows-Sysmon/Operational",
    provider: "Microsoft-Windows-Sysmon",
    dataset: "windows.sysmon",
};
const POWERSHELL: Channel = Channel {
    name: "Microsoft-Windows-PowerShell/Operational",
    provider: "Microsoft-Windows-PowerShell",
    dataset: "windows.powershell",
};
const SYSTEM: Channel =
    Channel { name: "System", provider: "Service Control Manager", dataset: "windows.system" };

/// A program and what its file says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) image: &'static str,
    pub(crate) description: &'static str,
    pub(crate) company: &'static str,
}

impl Program {
    /// The file's own name, which stays when somebody renames the file.
    pub(crate) fn file(&self) -> &'static str {
        self.image.rsplit('\\').next().unwrap_or(self.image)
    }
}

const fn program(image: &'static str, description: &'static str, company: &'static str) -> Program {
    Program { image, description, company }
}

const MS: &str = "Microsoft Corporation";
/// The company of the made-up management agent, which runs scripts on every machine.
const FLEETKEEPER: &str = "Fleetkeeper";

pub(crate) const EXPLORER: Program = program(r"C:\Windows\explorer.exe", "Windows Explorer", MS);
pub(crate) const SERVICES_EXE: Program =
    program(r"C:\Windows\System32\services.exe", "Services and Controller app", MS);
pub(crate) const SVCHOST: Program =
    program(r"C:\Windows\System32\svchost.exe", "Host Process for Windows Services", MS);
pub(crate) const LSASS: Program =
    program(r"C:\Windows\System32\lsass.exe", "Local Security Authority Process", MS);
pub(crate) const CMD: Program =
    program(r"C:\Windows\System32\cmd.exe", "Windows Command Processor", MS);
pub(crate) const POWERSHELL_EXE: Program =
    program(r"C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe", "Windows PowerShell", MS);
pub(crate) const RUNDLL32: Program =
    program(r"C:\Windows\System32\rundll32.exe", "Windows host process (Rundll32)", MS);
pub(crate) const SCHTASKS: Program =
    program(r"C:\Windows\System32\schtasks.exe", "Task Scheduler Configuration Tool", MS);
pub(crate) const WEVTUTIL: Program =
    program(r"C:\Windows\System32\wevtutil.exe", "Eventing Command Line Utility", MS);
pub(crate) const WHOAMI: Program =
    program(r"C:\Windows\System32\whoami.exe", "whoami - displays logged on user information", MS);
pub(crate) const WINWORD: Program =
    program(r"C:\Program Files\Microsoft Office\root\Office16\WINWORD.EXE", "Microsoft Word", MS);
pub(crate) const EXCEL: Program =
    program(r"C:\Program Files\Microsoft Office\root\Office16\EXCEL.EXE", "Microsoft Excel", MS);
pub(crate) const OUTLOOK: Program = program(
    r"C:\Program Files\Microsoft Office\root\Office16\OUTLOOK.EXE",
    "Microsoft Outlook",
    MS,
);
pub(crate) const EDGE: Program =
    program(r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe", "Microsoft Edge", MS);
pub(crate) const DEFENDER: Program = program(
    r"C:\ProgramData\Microsoft\Windows Defender\Platform\4.18.24090.11-0\MsMpEng.exe",
    "Antimalware Service Executable",
    MS,
);
pub(crate) const AGENT: Program =
    program(r"C:\Program Files\Fleetkeeper\agent.exe", "Fleetkeeper agent", FLEETKEEPER);

/// `CORP\mira.k`
pub(crate) fn account(person: Person) -> String {
    format!("{NETBIOS}\\{}", person.login)
}

/// The security identifier of a person.
pub(crate) fn sid(person: Person) -> String {
    format!("{DOMAIN_SID}-{}", person.rid)
}

/// The machine's name as its records have it.
pub(crate) fn computer(host: Host) -> String {
    format!("{}.{DOMAIN}", host.name)
}

/// A Security record.
pub(crate) fn security(world: &mut World, at: Timestamp, host: Host, code: u32, data: Value) {
    let (action, title) = match code {
        1102 => ("Log clear", "The audit log was cleared."),
        4624 => ("Logon", "An account was successfully logged on."),
        4625 => ("Logon", "An account failed to log on."),
        4634 => ("Logoff", "An account was logged off."),
        4672 => ("Special Logon", "Special privileges assigned to new logon."),
        4688 => ("Process Creation", "A new process has been created."),
        4740 => ("User Account Management", "A user account was locked out."),
        4768 => (
            "Kerberos Authentication Service",
            "A Kerberos authentication ticket (TGT) was requested.",
        ),
        4769 => ("Kerberos Service Ticket Operations", "A Kerberos service ticket was requested."),
        _ => ("Other Events", "A security event."),
    };
    let failed = code == 4625;
    record(world, at, host, &SECURITY, code, [action, title], failed, data);
}

/// A Sysmon record. `UtcTime` and `RuleName`, which all of them have, are added.
pub(crate) fn sysmon(world: &mut World, at: Timestamp, host: Host, code: u32, mut data: Value) {
    let (action, title) = match code {
        1 => ("Process Create (rule: ProcessCreate)", "Process Create:"),
        3 => ("Network connection detected (rule: NetworkConnect)", "Network connection detected:"),
        7 => ("Image loaded (rule: ImageLoad)", "Image loaded:"),
        10 => ("Process accessed (rule: ProcessAccess)", "Process accessed:"),
        11 => ("File created (rule: FileCreate)", "File created:"),
        13 => ("Registry value set (rule: RegistryEvent)", "Registry value set:"),
        22 => ("Dns query (rule: DnsQuery)", "Dns query:"),
        _ => ("Sysmon", "Sysmon:"),
    };
    data["UtcTime"] = json!(at.to_jiff().strftime("%Y-%m-%d %H:%M:%S%.3f").to_string());
    if data["RuleName"].is_null() {
        data["RuleName"] = json!("-");
    }
    record(world, at, host, &SYSMON, code, [action, title], false, data);
}

/// PowerShell 4104: a script block, as it is run after all decoding.
pub(crate) fn script_block(world: &mut World, at: Timestamp, host: Host, text: &str, path: &str) {
    let data = json!({
        "MessageNumber": "1",
        "MessageTotal": "1",
        "ScriptBlockText": text,
        "ScriptBlockId": world.uuid(),
        "Path": path,
    });
    let what = ["Execute a Remote Command", "Creating Scriptblock text (1 of 1):"];
    record(world, at, host, &POWERSHELL, 4104, what, false, data);
}

/// A System record of the service control manager.
pub(crate) fn service_manager(
    world: &mut World,
    at: Timestamp,
    host: Host,
    code: u32,
    data: Value,
) {
    let title = match code {
        7045 => "A service was installed in the system.",
        _ => "The service entered a new state.",
    };
    record(world, at, host, &SYSTEM, code, ["None", title], false, data);
}

/// A process that somebody starts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start<'a> {
    pub(crate) program: Program,
    pub(crate) command_line: &'a str,
    pub(crate) parent: Program,
    pub(crate) parent_command_line: &'a str,
    /// `None`: the machine itself.
    pub(crate) person: Option<Person>,
    pub(crate) integrity: &'static str,
}

/// Sysmon 1, which every machine has, and Security 4688 beside it on servers, whose policy audits
/// it. Gives the identifier of the process.
pub(crate) fn process(world: &mut World, at: Timestamp, host: Host, start: Start<'_>) -> ProcessId {
    let Start { program, command_line, parent, parent_command_line, person, integrity } = start;
    let id = ProcessId::new(world);
    let parent_id = ProcessId::new(world);
    let user = person.map_or_else(|| r"NT AUTHORITY\SYSTEM".to_owned(), account);
    let logon = logon_id(world, person);
    let directory = match person {
        Some(person) => format!(r"C:\Users\{}\", person.login),
        None => r"C:\Windows\System32\".to_owned(),
    };
    sysmon(
        world,
        at,
        host,
        1,
        json!({
            "ProcessGuid": id.guid,
            "ProcessId": id.pid.to_string(),
            "Image": program.image,
            "FileVersion": "10.0.22621.1",
            "Description": program.description,
            "Product": if program.company == MS { "Microsoft® Windows® Operating System" } else { program.company },
            "Company": program.company,
            "OriginalFileName": program.file(),
            "CommandLine": command_line,
            "CurrentDirectory": directory,
            "User": user,
            "LogonGuid": "{7f1e2a4c-0000-0000-0000-000000000000}",
            "LogonId": logon,
            "TerminalSessionId": if person.is_some() { "1" } else { "0" },
            "IntegrityLevel": integrity,
            "Hashes": hashes(program.image),
            "ParentProcessGuid": parent_id.guid,
            "ParentProcessId": parent_id.pid.to_string(),
            "ParentImage": parent.image,
            "ParentCommandLine": parent_command_line,
            "ParentUser": user,
        }),
    );
    if SERVERS.contains(&host) {
        let (subject_sid, subject, domain) = subject(host, person);
        let data = json!({
            "SubjectUserSid": subject_sid,
            "SubjectUserName": subject,
            "SubjectDomainName": domain,
            "SubjectLogonId": logon,
            "NewProcessId": format!("{:#x}", id.pid),
            "NewProcessName": program.image,
            "TokenElevationType": if integrity == "Medium" { "%%1938" } else { "%%1936" },
            "ProcessId": format!("{:#x}", parent_id.pid),
            "CommandLine": command_line,
            "TargetUserSid": "S-1-0-0",
            "TargetUserName": "-",
            "TargetDomainName": "-",
            "TargetLogonId": "0x0",
            "ParentProcessName": parent.image,
            "MandatoryLabel": mandatory_label(integrity),
        });
        security(world, at, host, 4688, data);
    }
    id
}

/// How Sysmon and Windows tell processes apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProcessId {
    pub(crate) guid: String,
    pub(crate) pid: u32,
}

impl ProcessId {
    pub(crate) fn new(world: &mut World) -> Self {
        let (a, b, c) = (world.hex(8), world.hex(4), world.hex(12));
        // Windows gives multiples of four.
        ProcessId { guid: format!("{{{a}-{b}-66f1-0000-{c}}}"), pid: world.rng.u32(250..6_000) * 4 }
    }
}

/// Security identifier, name and domain of who does something on a host.
pub(crate) fn subject(host: Host, person: Option<Person>) -> (String, String, &'static str) {
    match person {
        Some(person) => (sid(person), person.login.to_owned(), NETBIOS),
        None => ("S-1-5-18".to_owned(), format!("{}$", host.name), NETBIOS),
    }
}

fn logon_id(world: &mut World, person: Option<Person>) -> String {
    match person {
        Some(_) => format!("{:#x}", world.rng.u32(0x10_000..0xff_ffff)),
        None => "0x3e7".to_owned(),
    }
}

fn mandatory_label(integrity: &str) -> &'static str {
    match integrity {
        "System" => "S-1-16-16384",
        "High" => "S-1-16-12288",
        "Low" => "S-1-16-4096",
        _ => "S-1-16-8192",
    }
}

/// Digests of a file that does not exist: random, but the same for the same path.
fn hashes(image: &str) -> String {
    let mut seed = 0xcbf2_9ce4_8422_2325_u64;
    for byte in image.bytes() {
        seed = (seed ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0000_01b3);
    }
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut hex =
        |bytes: usize| (0..bytes).map(|_| format!("{:02X}", rng.u8(..))).collect::<String>();
    format!("SHA1={},MD5={},SHA256={},IMPHASH={}", hex(20), hex(16), hex(32), hex(16))
}

#[expect(clippy::too_many_arguments, reason = "the parts of a record's header, all needed")]
fn record(
    world: &mut World,
    at: Timestamp,
    host: Host,
    channel: &Channel,
    code: u32,
    [action, title]: [&str; 2],
    failed: bool,
    data: Value,
) {
    let mut message = title.to_owned();
    if let Value::Object(fields) = &data {
        for (name, value) in fields {
            message.push_str("\r\n");
            message.push_str(name);
            message.push_str(": ");
            message.push_str(value.as_str().unwrap_or_default());
        }
    }
    let mut winlog = json!({
        "api": "wineventlog",
        "channel": channel.name,
        "computer_name": computer(host),
        "event_data": data,
        "event_id": code.to_string(),
        "opcode": "Info",
        "process": { "pid": world.rng.u32(150..1_200) * 4, "thread": { "id": world.rng.u32(150..3_000) * 4 } },
        "provider_name": channel.provider,
        "record_id": world.record_id(host, channel.name),
    });
    let mut event = json!({
        "code": code.to_string(),
        "created": at.plus_nanos(crate::world::SECOND).to_jiff().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        "kind": "event",
        "provider": channel.provider,
    });
    if action != "None" {
        winlog["task"] = json!(action);
        event["action"] = json!(action);
    }
    if channel.name == SECURITY.name {
        let outcome = if failed { "failure" } else { "success" };
        event["outcome"] = json!(outcome);
        winlog["keywords"] = json!([if failed { "Audit Failure" } else { "Audit Success" }]);
    }
    if code == 1102 {
        // This one keeps its fields in UserData, and another provider writes it.
        let data = winlog["event_data"].take();
        winlog["user_data"] = data;
        winlog["provider_name"] = json!("Microsoft-Windows-Eventlog");
        event["provider"] = json!("Microsoft-Windows-Eventlog");
        if let Value::Object(fields) = &mut winlog {
            fields.remove("event_data");
        }
    }
    let mut document = Map::new();
    document.insert(
        "@timestamp".into(),
        json!(at.to_jiff().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()),
    );
    document.insert(
        "agent".into(),
        json!({ "name": host.name, "type": "winlogbeat", "version": "8.15.3" }),
    );
    document.insert("ecs".into(), json!({ "version": "8.0.0" }));
    document.insert("event".into(), event);
    document.insert("host".into(), json!({ "name": computer(host).to_lowercase() }));
    document.insert("log".into(), json!({ "level": "information" }));
    document.insert("message".into(), json!(message));
    document.insert("winlog".into(), winlog);
    world.emit(SimEvent {
        time: at,
        source: Source::Windows,
        dataset: channel.dataset,
        host: host.name.to_owned(),
        payload: Value::Object(document).to_string().into_bytes(),
    });
}
