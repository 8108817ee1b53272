//! What goes on on Windows machines all day: logons and typos, programs, connections, names looked
//! up, the antivirus, administrators, and a management agent that likes encoded PowerShell.

use event::Timestamp;
use serde_json::json;

use crate::fleet::{self, DC, FILES, GATEWAY, Host, NETBIOS, Person, SERVERS};
use crate::windows::{
    self, AGENT, CMD, DEFENDER, EDGE, EXCEL, EXPLORER, LSASS, OUTLOOK, POWERSHELL_EXE, ProcessId,
    Program, SCHTASKS, SERVICES_EXE, SVCHOST, Start, WHOAMI, WINWORD,
};
use crate::world::{Habit, MS, SECOND, World};

/// Weights out of all sources' together, about 10,000.
pub(crate) const HABITS: &[(u32, Habit)] = &[
    (900, network_logon),
    (60, interactive_logon),
    (12, typo),
    (900, start_program),
    (500, machine_works),
    (900, connection),
    (1000, lookup),
    (500, image_load),
    (250, process_access),
    (500, file_create),
    (400, registry_set),
    (12, administration),
    (60, management_agent),
    (150, service_state),
    (2, software_update),
    (1, shortcut),
];

/// How an account logged on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Logon {
    pub(crate) kind: u8,
    pub(crate) workstation: &'static str,
    pub(crate) address: &'static str,
}

/// Security 4624.
pub(crate) fn logged_on(
    world: &mut World,
    at: Timestamp,
    host: Host,
    person: Person,
    logon: Logon,
) {
    let network = logon.kind == 3;
    let (subject, name) =
        if network { ("S-1-0-0", "-".to_owned()) } else { ("S-1-5-18", format!("{}$", host.name)) };
    let port = world.port();
    let data = json!({
        "SubjectUserSid": subject,
        "SubjectUserName": name,
        "SubjectDomainName": if network { "-" } else { NETBIOS },
        "SubjectLogonId": if network { "0x0" } else { "0x3e7" },
        "TargetUserSid": windows::sid(person),
        "TargetUserName": person.login,
        "TargetDomainName": NETBIOS,
        "TargetLogonId": format!("{:#x}", world.rng.u32(0x10_000..0xff_ffff)),
        "LogonType": logon.kind.to_string(),
        "LogonProcessName": if network { "Kerberos" } else { "User32 " },
        "AuthenticationPackageName": if network { "Kerberos" } else { "Negotiate" },
        "WorkstationName": logon.workstation,
        "LogonGuid": format!("{{{}}}", world.uuid()),
        "TransmittedServices": "-",
        "LmPackageName": "-",
        "KeyLength": "0",
        "ProcessId": if network { "0x0" } else { "0x3c8" },
        "ProcessName": if network { "-" } else { r"C:\Windows\System32\svchost.exe" },
        "IpAddress": logon.address,
        "IpPort": port.to_string(),
        "ImpersonationLevel": "%%1833",
        "RestrictedAdminMode": "-",
        "TargetOutboundUserName": "-",
        "TargetOutboundDomainName": "-",
        "VirtualAccount": "%%1843",
        "TargetLinkedLogonId": "0x0",
        "ElevatedToken": "%%1842",
    });
    windows::security(world, at, host, 4624, data);
}

/// Security 4625: the name is right and the password is wrong, or there is no such name.
pub(crate) fn logon_failed(
    world: &mut World,
    at: Timestamp,
    host: Host,
    login: &str,
    known: bool,
    logon: Logon,
) {
    let port = world.port();
    let network = logon.kind == 3;
    let data = json!({
        "SubjectUserSid": if network { "S-1-0-0" } else { "S-1-5-18" },
        "SubjectUserName": if network { "-".to_owned() } else { format!("{}$", host.name) },
        "SubjectDomainName": if network { "-" } else { NETBIOS },
        "SubjectLogonId": if network { "0x0" } else { "0x3e7" },
        "TargetUserSid": "S-1-0-0",
        "TargetUserName": login,
        "TargetDomainName": NETBIOS,
        "Status": "0xc000006d",
        "FailureReason": "%%2313",
        "SubStatus": if known { "0xc000006a" } else { "0xc0000064" },
        "LogonType": logon.kind.to_string(),
        "LogonProcessName": if network { "NtLmSsp " } else { "User32 " },
        "AuthenticationPackageName": if network { "NTLM" } else { "Negotiate" },
        "WorkstationName": logon.workstation,
        "TransmittedServices": "-",
        "LmPackageName": "-",
        "KeyLength": "0",
        "ProcessId": if network { "0x0" } else { "0x3c8" },
        "ProcessName": if network { "-" } else { r"C:\Windows\System32\svchost.exe" },
        "IpAddress": logon.address,
        "IpPort": port.to_string(),
    });
    windows::security(world, at, host, 4625, data);
}

/// Security 4672.
pub(crate) fn special_privileges(world: &mut World, at: Timestamp, host: Host, person: Person) {
    let data = json!({
        "SubjectUserSid": windows::sid(person),
        "SubjectUserName": person.login,
        "SubjectDomainName": NETBIOS,
        "SubjectLogonId": format!("{:#x}", world.rng.u32(0x10_000..0xff_ffff)),
        "PrivilegeList": "SeSecurityPrivilege\r\n\t\t\tSeBackupPrivilege\r\n\t\t\tSeRestorePrivilege\r\n\t\t\tSeTakeOwnershipPrivilege\r\n\t\t\tSeDebugPrivilege\r\n\t\t\tSeImpersonatePrivilege",
    });
    windows::security(world, at, host, 4672, data);
}

fn logged_off(world: &mut World, at: Timestamp, host: Host, person: Person, kind: u8) {
    let data = json!({
        "TargetUserSid": windows::sid(person),
        "TargetUserName": person.login,
        "TargetDomainName": NETBIOS,
        "TargetLogonId": format!("{:#x}", world.rng.u32(0x10_000..0xff_ffff)),
        "LogonType": kind.to_string(),
    });
    windows::security(world, at, host, 4634, data);
}

/// A workstation opens a share or asks the domain controller, as they do every minute.
fn network_logon(world: &mut World, at: Timestamp) {
    let (person, seat) = world.seat();
    let host = world.one_of(&[DC, DC, FILES, FILES, FILES]);
    let logon = Logon { kind: 3, workstation: "-", address: seat.ip };
    if host == FILES && world.once_in(4) {
        let data = json!({
            "TargetUserName": format!("{}@{}", person.login, fleet::DOMAIN.to_uppercase()),
            "TargetDomainName": fleet::DOMAIN.to_uppercase(),
            "ServiceName": format!("{}$", host.name),
            "ServiceSid": format!("{}-1021", fleet::DOMAIN_SID),
            "TicketOptions": "0x40810000",
            "TicketEncryptionType": "0x12",
            "IpAddress": format!("::ffff:{}", seat.ip),
            "IpPort": world.port().to_string(),
            "Status": "0x0",
            "LogonGuid": format!("{{{}}}", world.uuid()),
            "TransmittedServices": "-",
        });
        windows::security(world, at, DC, 4769, data);
    }
    logged_on(world, at.plus_nanos(8 * MS), host, person, logon);
    let off = world.later(at.plus_nanos(SECOND), 9_000);
    logged_off(world, off, host, person, 3);
}

/// Somebody unlocks or starts a workstation, or comes in through the gateway from home.
fn interactive_logon(world: &mut World, at: Timestamp) {
    let (person, seat) = world.seat();
    if world.once_in(4) {
        let logon = Logon { kind: 10, workstation: GATEWAY.name, address: home(world) };
        logged_on(world, at, GATEWAY, person, logon);
        return;
    }
    let kind = world.one_of(&[2, 7, 7, 7, 11]);
    let logon = Logon { kind, workstation: seat.name, address: "127.0.0.1" };
    let ticket = json!({
        "TargetUserName": person.login,
        "TargetDomainName": NETBIOS,
        "TargetSid": windows::sid(person),
        "ServiceName": "krbtgt",
        "ServiceSid": format!("{}-502", fleet::DOMAIN_SID),
        "TicketOptions": "0x40810010",
        "Status": "0x0",
        "TicketEncryptionType": "0x12",
        "PreAuthType": "2",
        "IpAddress": format!("::ffff:{}", seat.ip),
        "IpPort": world.port().to_string(),
    });
    windows::security(world, at, DC, 4768, ticket);
    logged_on(world, at.plus_nanos(30 * MS), seat, person, logon);
}

/// A wrong password once or twice, and then the right one.
fn typo(world: &mut World, at: Timestamp) {
    let (person, seat) = world.seat();
    let remote = world.once_in(4);
    let (host, logon) = if remote {
        let address = home(world);
        (GATEWAY, Logon { kind: 10, workstation: GATEWAY.name, address })
    } else {
        (seat, Logon { kind: 2, workstation: seat.name, address: "127.0.0.1" })
    };
    let mut at = at;
    for _ in 0..world.rng.u32(1..=2) {
        logon_failed(world, at, host, person.login, true, logon);
        at = world.later(at.plus_nanos(2 * SECOND), 4_000);
    }
    logged_on(world, at, host, person, logon);
}

/// Where people live. Two of them share a provider's address.
fn home(world: &mut World) -> &'static str {
    const HOMES: [&str; 6] = [
        "203.0.113.150",
        "203.0.113.151",
        "203.0.113.160",
        "203.0.113.171",
        "203.0.113.188",
        "203.0.113.199",
    ];
    world.one_of(&HOMES)
}

const fn app(image: &'static str, description: &'static str, company: &'static str) -> Program {
    Program { image, description, company }
}

const MICROSOFT: &str = "Microsoft Corporation";
const OFFICE_SPOOLER: Program =
    app(r"C:\Windows\splwow64.exe", "Print driver host for applications", MICROSOFT);
const NOTEPAD: Program = app(r"C:\Windows\System32\notepad.exe", "Notepad", MICROSOFT);
const ACROBAT: Program =
    app(r"C:\Program Files\Paperview\paperview.exe", "Paperview document reader", "Paperview");
const MEET: Program = app(r"C:\Program Files\Meetly\meetly.exe", "Meetly desktop client", "Meetly");
const CODE: Program = app(r"C:\Program Files\Slate\slate.exe", "Slate code editor", "Slate Tools");
const GIT: Program = app(r"C:\Program Files\Git\cmd\git.exe", "Git for Windows", "The Git Project");
const NET: Program = app(r"C:\Windows\System32\net.exe", "Net Command", MICROSOFT);
const IPCONFIG: Program =
    app(r"C:\Windows\System32\ipconfig.exe", "IP Configuration Utility", MICROSOFT);
const CERTUTIL: Program = app(r"C:\Windows\System32\certutil.exe", "CertUtil.exe", MICROSOFT);
const WEVTUTIL_EXE: Program = windows::WEVTUTIL;
const SC: Program =
    app(r"C:\Windows\System32\sc.exe", "Service Control Manager Configuration Tool", MICROSOFT);
const VSSADMIN: Program = app(
    r"C:\Windows\System32\vssadmin.exe",
    "Command Line Interface for Microsoft Volume Shadow Copy Service",
    MICROSOFT,
);
const TASKHOST: Program =
    app(r"C:\Windows\System32\taskhostw.exe", "Host Process for Windows Tasks", MICROSOFT);
const BACKGROUND_TASK: Program =
    app(r"C:\Windows\System32\backgroundTaskHost.exe", "Background Task Host", MICROSOFT);
const WMIPRVSE: Program =
    app(r"C:\Windows\System32\wbem\WmiPrvSE.exe", "WMI Provider Host", MICROSOFT);
const SEARCH_FILTER: Program = app(
    r"C:\Windows\System32\SearchFilterHost.exe",
    "Microsoft Windows Search Filter Host",
    MICROSOFT,
);
const SEARCH: Program =
    app(r"C:\Windows\System32\SearchIndexer.exe", "Microsoft Windows Search Indexer", MICROSOFT);
const CONHOST: Program = app(r"C:\Windows\System32\conhost.exe", "Console Window Host", MICROSOFT);
const RUNDLL: Program = windows::RUNDLL32;
const SYNC: Program =
    app(r"C:\Program Files\Microsoft OneDrive\OneDrive.exe", "Microsoft OneDrive", MICROSOFT);

/// Program, command line, parent. What people start.
const STARTS: [(Program, &str, Program); 22] = [
    (
        EDGE,
        r#""C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe" --profile-directory=Default"#,
        EXPLORER,
    ),
    (
        EDGE,
        r#""C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe" --type=renderer --lang=en-GB --renderer-client-id=31"#,
        EDGE,
    ),
    (
        EDGE,
        r#""C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe" --type=utility --utility-sub-type=network.mojom.NetworkService"#,
        EDGE,
    ),
    (
        EDGE,
        r#""C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe" --type=renderer --lang=en-GB --renderer-client-id=58"#,
        EDGE,
    ),
    (OUTLOOK, r#""C:\Program Files\Microsoft Office\root\Office16\OUTLOOK.EXE""#, EXPLORER),
    (
        WINWORD,
        r#""C:\Program Files\Microsoft Office\root\Office16\WINWORD.EXE" /n "C:\Users\Public\Documents\Offer.docx""#,
        EXPLORER,
    ),
    (
        WINWORD,
        r#""C:\Program Files\Microsoft Office\root\Office16\WINWORD.EXE" /n "\\fs-01\shared\Contracts\Draft 4.docx""#,
        OUTLOOK,
    ),
    (
        EXCEL,
        r#""C:\Program Files\Microsoft Office\root\Office16\EXCEL.EXE" "\\fs-01\shared\Finance\Forecast.xlsx""#,
        EXPLORER,
    ),
    (OFFICE_SPOOLER, r"C:\Windows\splwow64.exe 8192", WINWORD),
    (
        EDGE,
        r#""C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe" --single-argument https://www.news.example/"#,
        OUTLOOK,
    ),
    (ACROBAT, r#""C:\Program Files\Paperview\paperview.exe" "Invoice 2291.pdf""#, OUTLOOK),
    (MEET, r#""C:\Program Files\Meetly\meetly.exe" --join"#, EXPLORER),
    (NOTEPAD, r#""C:\Windows\System32\notepad.exe" notes.txt"#, EXPLORER),
    (CODE, r#""C:\Program Files\Slate\slate.exe" ."#, EXPLORER),
    (GIT, "git.exe fetch --all --prune", CODE),
    (GIT, "git.exe status --porcelain", CODE),
    (CMD, r#"C:\Windows\System32\cmd.exe /d /s /c "npm run build""#, CODE),
    (POWERSHELL_EXE, r"powershell.exe -NoLogo", CODE),
    (CONHOST, r"\??\C:\Windows\System32\conhost.exe 0xffffffff -ForceV1", CMD),
    (IPCONFIG, "ipconfig /all", CMD),
    (NET, r"net use S: \\fs-01\shared /persistent:yes", CMD),
    (WHOAMI, "whoami /upn", CMD),
];

fn start_program(world: &mut World, at: Timestamp) {
    let (person, host) = world.seat();
    let (program, command_line, parent) = world.one_of(&STARTS);
    let parent_command_line = format!("\"{}\"", parent.image);
    let start = Start {
        program,
        command_line,
        parent,
        parent_command_line: if parent == EXPLORER {
            r"C:\Windows\Explorer.EXE"
        } else {
            &parent_command_line
        },
        person: Some(person),
        integrity: if command_line.contains("--type=renderer") { "Low" } else { "Medium" },
    };
    windows::process(world, at, host, start);
}

/// Program, command line, parent. What machines do by themselves.
const WORK: [(Program, &str, Program); 12] = [
    (SVCHOST, r"C:\Windows\System32\svchost.exe -k netsvcs -p -s wuauserv", SERVICES_EXE),
    (SVCHOST, r"C:\Windows\System32\svchost.exe -k LocalService -p -s BthAvctpSvc", SERVICES_EXE),
    (SVCHOST, r"C:\Windows\System32\svchost.exe -k wsappx -p -s ClipSVC", SERVICES_EXE),
    (TASKHOST, "taskhostw.exe KEYROAMING", SVCHOST),
    (TASKHOST, "taskhostw.exe Install $(Arg0)", SVCHOST),
    (
        BACKGROUND_TASK,
        r#""C:\Windows\System32\backgroundTaskHost.exe" -ServerName:App.AppX.mca"#,
        SVCHOST,
    ),
    (WMIPRVSE, r"C:\Windows\System32\wbem\wmiprvse.exe -secured -Embedding", SVCHOST),
    (
        SEARCH_FILTER,
        r#""C:\Windows\System32\SearchFilterHost.exe" 812 2108 2116 8192 2112 816"#,
        SEARCH,
    ),
    (
        RUNDLL,
        r"C:\Windows\System32\rundll32.exe C:\Windows\System32\PcaSvc.dll,PcaPatchSdbTask",
        SVCHOST,
    ),
    (
        RUNDLL,
        r"rundll32.exe C:\Windows\System32\AppXDeploymentExtensions.OneCore.dll,ShellRefresh",
        SVCHOST,
    ),
    (CERTUTIL, "certutil.exe -pulse", SVCHOST),
    (SC, "sc.exe query Spooler", AGENT),
];

fn machine_works(world: &mut World, at: Timestamp) {
    let host = any_host(world);
    let (program, command_line, parent) = world.one_of(&WORK);
    let parent_command_line = match parent {
        SVCHOST => r"C:\Windows\system32\svchost.exe -k netsvcs -p -s Schedule",
        other => other.image,
    };
    let start = Start {
        program,
        command_line,
        parent,
        parent_command_line,
        person: None,
        integrity: "System",
    };
    windows::process(world, at, host, start);
}

fn any_host(world: &mut World) -> Host {
    if world.once_in(4) { world.one_of(&SERVERS) } else { world.seat().1 }
}

/// Sysmon 3.
pub(crate) fn connected(
    world: &mut World,
    at: Timestamp,
    host: Host,
    process: (&ProcessId, &str, &str),
    to: (&str, &str, u16),
) {
    let (id, image, user) = process;
    let (name, address, port) = to;
    let from = world.port();
    let data = json!({
        "ProcessGuid": id.guid,
        "ProcessId": id.pid.to_string(),
        "Image": image,
        "User": user,
        "Protocol": "tcp",
        "Initiated": "true",
        "SourceIsIpv6": "false",
        "SourceIp": host.ip,
        "SourceHostname": windows::computer(host),
        "SourcePort": from.to_string(),
        "SourcePortName": "-",
        "DestinationIsIpv6": "false",
        "DestinationIp": address,
        "DestinationHostname": name,
        "DestinationPort": port.to_string(),
        "DestinationPortName": if port == 443 { "https" } else if port == 80 { "http" } else { "-" },
    });
    windows::sysmon(world, at, host, 3, data);
}

fn connection(world: &mut World, at: Timestamp) {
    let (person, host) = world.seat();
    let id = ProcessId::new(world);
    let user = windows::account(person);
    if world.once_in(4) {
        let (server, port) = world.one_of(&[(DC, 389), (DC, 88), (FILES, 445), (DC, 53)]);
        let (image, user) = if port == 445 {
            ("System", r"NT AUTHORITY\SYSTEM")
        } else {
            (if port == 53 { SVCHOST.image } else { LSASS.image }, r"NT AUTHORITY\SYSTEM")
        };
        let name = windows::computer(server);
        connected(world, at, host, (&id, image, user), (&name, server.ip, port));
        return;
    }
    let (site, address) = world.one_of(&fleet::SITES);
    let program = world.one_of(&[EDGE, EDGE, EDGE, OUTLOOK, MEET, SYNC, EXCEL, CODE]);
    connected(world, at, host, (&id, program.image, &user), (site, address, 443));
}

/// Sysmon 22.
pub(crate) fn looked_up(
    world: &mut World,
    at: Timestamp,
    host: Host,
    process: (&ProcessId, &str, &str),
    (name, address): (&str, &str),
) {
    let (id, image, user) = process;
    let data = json!({
        "ProcessGuid": id.guid,
        "ProcessId": id.pid.to_string(),
        "QueryName": name,
        "QueryStatus": if address.is_empty() { "9003" } else { "0" },
        "QueryResults": if address.is_empty() { "-".to_owned() } else { format!("::ffff:{address};") },
        "Image": image,
        "User": user,
    });
    windows::sysmon(world, at, host, 22, data);
}

fn lookup(world: &mut World, at: Timestamp) {
    let (person, host) = world.seat();
    let id = ProcessId::new(world);
    let user = windows::account(person);
    if world.once_in(12) {
        let name =
            world.one_of(&["wpad.corp.example", "isatap.corp.example", "printer-3.corp.example"]);
        looked_up(world, at, host, (&id, SVCHOST.image, r"NT AUTHORITY\SYSTEM"), (name, ""));
        return;
    }
    let site = world.one_of(&fleet::SITES);
    let program = world.one_of(&[EDGE, EDGE, EDGE, OUTLOOK, MEET, SYNC]);
    looked_up(world, at, host, (&id, program.image, &user), site);
}

fn image_load(world: &mut World, at: Timestamp) {
    let (person, host) = world.seat();
    let id = ProcessId::new(world);
    let program = world.one_of(&[EDGE, WINWORD, EXCEL, OUTLOOK, EXPLORER, SVCHOST, MEET, CODE]);
    let (library, description) = world.one_of(&[
        (r"C:\Windows\System32\wintrust.dll", "Microsoft Trust Verification APIs"),
        (r"C:\Windows\System32\crypt32.dll", "Crypto API32"),
        (r"C:\Windows\System32\winhttp.dll", "Windows HTTP Services"),
        (r"C:\Windows\System32\taskschd.dll", "Task Scheduler COM API"),
        (r"C:\Windows\System32\vaultcli.dll", "Credential Vault Client Library"),
        (r"C:\Windows\System32\dbghelp.dll", "Windows Image Helper"),
        (r"C:\Windows\System32\samlib.dll", "SAM Library DLL"),
        (r"C:\Windows\System32\wbem\wbemprox.dll", "WMI"),
    ]);
    let data = json!({
        "ProcessGuid": id.guid,
        "ProcessId": id.pid.to_string(),
        "Image": program.image,
        "ImageLoaded": library,
        "FileVersion": "10.0.22621.1",
        "Description": description,
        "Product": "Microsoft® Windows® Operating System",
        "Company": MICROSOFT,
        "OriginalFileName": library.rsplit('\\').next(),
        "Hashes": format!("SHA256={}", world.hex(64).to_uppercase()),
        "Signed": "true",
        "Signature": "Microsoft Windows",
        "SignatureStatus": "Valid",
        "User": windows::account(person),
    });
    windows::sysmon(world, at, host, 7, data);
}

/// Sysmon 10.
pub(crate) fn accessed(
    world: &mut World,
    at: Timestamp,
    host: Host,
    source: (&ProcessId, &str, &str),
    target: (&str, &str),
    (access, trace): (&str, &str),
) {
    let target_id = ProcessId::new(world);
    let (id, image, user) = source;
    let data = json!({
        "SourceProcessGUID": id.guid,
        "SourceProcessId": id.pid.to_string(),
        "SourceThreadId": (world.rng.u32(200..4_000) * 4).to_string(),
        "SourceImage": image,
        "TargetProcessGUID": target_id.guid,
        "TargetProcessId": target_id.pid.to_string(),
        "TargetImage": target.0,
        "GrantedAccess": access,
        "CallTrace": trace,
        "SourceUser": user,
        "TargetUser": target.1,
    });
    windows::sysmon(world, at, host, 10, data);
}

fn process_access(world: &mut World, at: Timestamp) {
    const TRACE: &str = r"C:\Windows\SYSTEM32\ntdll.dll+9d604|C:\Windows\System32\KERNELBASE.dll+3261e|C:\Windows\System32\lsm.dll+11bb7|C:\Windows\System32\RPCRT4.dll+77f43";
    const SCAN: &str = r"C:\Windows\SYSTEM32\ntdll.dll+9d604|C:\Windows\System32\KERNELBASE.dll+3261e|C:\ProgramData\Microsoft\Windows Defender\Platform\4.18.24090.11-0\MpSvc.dll+19c3a";
    let system = r"NT AUTHORITY\SYSTEM";
    let host = any_host(world);
    let id = ProcessId::new(world);
    let person = world.person_at(host);
    let user = windows::account(person);
    let taskmgr = r"C:\Windows\System32\Taskmgr.exe";
    let wmi = WMIPRVSE.image;
    let (source, by, target, access, trace): (&str, &str, (&str, &str), &str, &str) =
        match world.rng.u32(0..12) {
            // Asking lsass.exe for its name and rights is what many services do all day.
            0..=2 => (SVCHOST.image, system, (LSASS.image, system), "0x1000", TRACE),
            3 | 4 => (DEFENDER.image, system, (LSASS.image, system), "0x1410", SCAN),
            5 => (wmi, system, (LSASS.image, system), "0x1400", TRACE),
            6 => (AGENT.image, system, (LSASS.image, system), "0x1000", TRACE),
            7 => (taskmgr, &user, (EDGE.image, &user), "0x1410", TRACE),
            8 | 9 => (EXPLORER.image, &user, (EDGE.image, &user), "0x1400", TRACE),
            _ => (SVCHOST.image, system, (EXPLORER.image, &user), "0x1478", TRACE),
        };
    accessed(world, at, host, (&id, source, by), target, (access, trace));
}

/// Sysmon 11.
pub(crate) fn created(
    world: &mut World,
    at: Timestamp,
    host: Host,
    process: (&ProcessId, &str, &str),
    path: &str,
) {
    let (id, image, user) = process;
    let data = json!({
        "ProcessGuid": id.guid,
        "ProcessId": id.pid.to_string(),
        "Image": image,
        "TargetFilename": path,
        "CreationUtcTime": at.to_jiff().strftime("%Y-%m-%d %H:%M:%S%.3f").to_string(),
        "User": user,
    });
    windows::sysmon(world, at, host, 11, data);
}

fn file_create(world: &mut World, at: Timestamp) {
    let (person, host) = world.seat();
    let id = ProcessId::new(world);
    let user = windows::account(person);
    let home = format!(r"C:\Users\{}", person.login);
    let part = world.hex(8).to_uppercase();
    let (image, path) = match world.rng.u32(0..8) {
        0 => (WINWORD.image, format!(r"{home}\Documents\~$Offer {part}.docx")),
        1 => (EXCEL.image, format!(r"{home}\AppData\Local\Temp\{part}.tmp")),
        2 => (EDGE.image, format!(r"{home}\Downloads\statement-{part}.pdf")),
        3 => (
            EDGE.image,
            format!(r"{home}\AppData\Local\Microsoft\Edge\User Data\Default\Cache\f_{part}"),
        ),
        4 => (
            OUTLOOK.image,
            format!(
                r"{home}\AppData\Local\Microsoft\Windows\INetCache\Content.Outlook\{part}\Invoice.pdf"
            ),
        ),
        5 => (CODE.image, format!(r"{home}\src\shop\target\{part}.o")),
        6 => (SYNC.image, format!(r"{home}\OneDrive\Plans\{part}.xlsx")),
        _ => (EDGE.image, format!(r"{home}\Downloads\meetly-setup-{part}.exe")),
    };
    created(world, at, host, (&id, image, &user), &path);
}

/// Sysmon 13.
pub(crate) fn value_set(
    world: &mut World,
    at: Timestamp,
    host: Host,
    process: (&ProcessId, &str, &str),
    (key, details): (&str, &str),
) {
    let (id, image, user) = process;
    let data = json!({
        "EventType": "SetValue",
        "ProcessGuid": id.guid,
        "ProcessId": id.pid.to_string(),
        "Image": image,
        "TargetObject": key,
        "Details": details,
        "User": user,
    });
    windows::sysmon(world, at, host, 13, data);
}

fn registry_set(world: &mut World, at: Timestamp) {
    let (person, host) = world.seat();
    let id = ProcessId::new(world);
    let hive = format!("HKU\\{}", windows::sid(person));
    let user = windows::account(person);
    let system = r"NT AUTHORITY\SYSTEM";
    let (image, key, details) = match world.rng.u32(0..60) {
        // A program that starts with the session: the usual, honest use of the key.
        0 => (
            SYNC.image,
            format!(r"{hive}\Software\Microsoft\Windows\CurrentVersion\Run\OneDrive"),
            r#""C:\Program Files\Microsoft OneDrive\OneDrive.exe" /background"#,
        ),
        1..=19 => (
            EXPLORER.image,
            format!(
                r"{hive}\Software\Microsoft\Windows\CurrentVersion\Explorer\RecentDocs\MRUListEx"
            ),
            "Binary Data",
        ),
        20..=34 => (
            SVCHOST.image,
            r"HKLM\System\CurrentControlSet\Services\W32Time\SecureTimeLimits\SecureTimeHigh"
                .into(),
            "QWORD (0x01db2f10-0x6e1f2c00)",
        ),
        35..=47 => (
            WINWORD.image,
            format!(
                r"{hive}\Software\Microsoft\Office\16.0\Word\Reading Locations\Document 7\Position"
            ),
            "4 112",
        ),
        48..=50 => (
            DEFENDER.image,
            r"HKLM\SOFTWARE\Microsoft\Windows Defender\Signature Updates\SignaturesLastUpdated"
                .into(),
            "Binary Data",
        ),
        _ => (
            EDGE.image,
            format!(r"{hive}\Software\Microsoft\Edge\BLBeacon\failed_count"),
            "DWORD (0x00000000)",
        ),
    };
    let by = if image == SVCHOST.image || image == DEFENDER.image { system } else { &user };
    value_set(world, at, host, (&id, image, by), (&key, details));
}

/// An administrator looks after a server.
fn administration(world: &mut World, at: Timestamp) {
    let admin = world.one_of(&fleet::ADMINS);
    let host = world.one_of(&SERVERS);
    let logon = Logon { kind: 10, workstation: "WS-ENG-01", address: "10.20.5.11" };
    logged_on(world, at, host, admin, logon);
    special_privileges(world, at, host, admin);
    let at = at.plus_nanos(400 * MS);
    let by = |program: Program, command_line| Start {
        program,
        command_line,
        parent: EXPLORER,
        parent_command_line: r"C:\Windows\Explorer.EXE",
        person: Some(admin),
        integrity: "High",
    };
    let shell = by(POWERSHELL_EXE, "powershell.exe -NoExit");
    windows::process(world, at, host, shell);
    // Each of these is near to what an intruder does, and none of them is it.
    let scripts = [
        "Get-ADUser -Filter {PasswordExpired -eq $true} -Properties PasswordLastSet | Select-Object SamAccountName, PasswordLastSet",
        "Get-WinEvent -FilterHashtable @{LogName='Security'; Id=4625; StartTime=(Get-Date).AddHours(-4)} | Group-Object {$_.Properties[5].Value}",
        "Invoke-WebRequest -Uri https://repo.corp.example/tools/fleetkeeper-7.2.msi -OutFile C:\\Install\\fleetkeeper-7.2.msi",
        "Get-MpPreference | Select-Object DisableRealtimeMonitoring, ExclusionPath",
        "Test-NetConnection fs-01 -Port 445; Get-SmbOpenFile | Measure-Object",
        "Get-Service | Where-Object {$_.Status -ne 'Running' -and $_.StartType -eq 'Automatic'} | Restart-Service",
    ];
    for step in 0..world.rng.i64(1..=3) {
        let script = world.one_of(&scripts);
        windows::script_block(world, at.plus_nanos(step * 3 * SECOND), host, script, "");
    }
    let id = ProcessId::new(world);
    let user = windows::account(admin);
    let process = (&id, POWERSHELL_EXE.image, user.as_str());
    let repository = ("repo.corp.example", "10.20.1.40", 443);
    connected(world, at.plus_nanos(7 * SECOND), host, process, repository);
    let tools: [(Program, &str); 6] = [
        (VSSADMIN, "vssadmin list shadows"),
        (WEVTUTIL_EXE, r"wevtutil epl Application C:\Install\app.evtx"),
        (CERTUTIL, r"certutil -verify -urlfetch C:\Install\gateway.cer"),
        (NET, "net user svc-backup /domain"),
        (SCHTASKS, r"schtasks /query /tn \Fleetkeeper\Inventory"),
        (SC, r"sc.exe qc Fleetkeeper"),
    ];
    let (program, command_line) = world.one_of(&tools);
    windows::process(world, at.plus_nanos(9 * SECOND), host, by(program, command_line));
}

/// An administrator takes a shortcut that no rule can tell from an intruder's way: PsExec, or a
/// download from outside by hand. A fleet without any would make every rule look perfect.
fn shortcut(world: &mut World, at: Timestamp) {
    let admin = world.one_of(&fleet::ADMINS);
    let host = world.one_of(&[FILES, GATEWAY]);
    let id = ProcessId::new(world);
    let system = r"NT AUTHORITY\SYSTEM";
    if world.once_in(2) {
        let to = ("update.software.example", "192.0.2.91", 443);
        let user = windows::account(admin);
        connected(world, at, host, (&id, POWERSHELL_EXE.image, &user), to);
        return;
    }
    let logon = Logon { kind: 3, workstation: "WS-ENG-01", address: "10.20.5.11" };
    logged_on(world, at, host, admin, logon);
    special_privileges(world, at, host, admin);
    let at = at.plus_nanos(200 * MS);
    created(world, at, host, (&id, "System", system), r"C:\Windows\PSEXESVC.exe");
    let data = json!({
        "ServiceName": "PSEXESVC",
        "ImagePath": r"%SystemRoot%\PSEXESVC.exe",
        "ServiceType": "user mode service",
        "StartType": "demand start",
        "AccountName": "LocalSystem",
    });
    windows::service_manager(world, at.plus_nanos(300 * MS), host, 7045, data);
    let start = Start {
        program: app(
            r"C:\Windows\PSEXESVC.exe",
            "PsExec Service",
            "Sysinternals - www.sysinternals.com",
        ),
        command_line: r"C:\Windows\PSEXESVC.exe",
        parent: SERVICES_EXE,
        parent_command_line: r"C:\Windows\system32\services.exe",
        person: None,
        integrity: "System",
    };
    windows::process(world, at.plus_nanos(500 * MS), host, start);
}

/// The agent runs an inventory script, encoded so that no quoting can break it.
fn management_agent(world: &mut World, at: Timestamp) {
    const SCRIPTS: [&str; 3] = [
        "Get-CimInstance Win32_LogicalDisk | Select-Object DeviceID, FreeSpace | ConvertTo-Json",
        "Get-HotFix | Sort-Object InstalledOn -Descending | Select-Object -First 5 | ConvertTo-Json",
        "(Get-ItemProperty HKLM:\\Software\\Microsoft\\Windows\\CurrentVersion\\Uninstall\\*).DisplayName",
    ];
    let host = any_host(world);
    let script = world.one_of(&SCRIPTS);
    let command_line = format!(
        "powershell.exe -NoProfile -NonInteractive -ExecutionPolicy RemoteSigned -EncodedCommand {}",
        encoded(script)
    );
    let start = Start {
        program: POWERSHELL_EXE,
        command_line: &command_line,
        parent: AGENT,
        parent_command_line: r#""C:\Program Files\Fleetkeeper\agent.exe" --service"#,
        person: None,
        integrity: "System",
    };
    windows::process(world, at, host, start);
    windows::script_block(world, at.plus_nanos(300 * MS), host, script, "");
}

/// A script as `-EncodedCommand` takes it: base64 of its UTF-16.
pub(crate) fn encoded(script: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes: Vec<u8> = script.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

fn service_state(world: &mut World, at: Timestamp) {
    let host = any_host(world);
    let name = world.one_of(&[
        "Windows Update",
        "Windows Modules Installer",
        "Background Intelligent Transfer Service",
        "Fleetkeeper",
        "Print Spooler",
        "Microsoft Defender Antivirus Network Inspection Service",
    ]);
    let data = json!({ "param1": name, "param2": world.one_of(&["running", "stopped"]) });
    windows::service_manager(world, at, host, 7036, data);
}

/// The agent brings a new version of a program: a service, a task, files.
fn software_update(world: &mut World, at: Timestamp) {
    let host = any_host(world);
    let system = r"NT AUTHORITY\SYSTEM";
    let id = ProcessId::new(world);
    let path = r"C:\Program Files\Meetly\updater.exe";
    created(world, at, host, (&id, AGENT.image, system), path);
    let data = json!({
        "ServiceName": "Meetly Updater",
        "ImagePath": r#""C:\Program Files\Meetly\updater.exe" --service"#,
        "ServiceType": "user mode service",
        "StartType": "auto start",
        "AccountName": "LocalSystem",
    });
    windows::service_manager(world, at.plus_nanos(700 * MS), host, 7045, data);
    let task = Start {
        program: SCHTASKS,
        command_line: r#"schtasks.exe /create /f /tn "\Meetly\Update" /sc daily /st 11:30 /ru SYSTEM /tr "\"C:\Program Files\Meetly\updater.exe\" --check""#,
        parent: AGENT,
        parent_command_line: r#""C:\Program Files\Fleetkeeper\agent.exe" --service"#,
        person: None,
        integrity: "System",
    };
    windows::process(world, at.plus_nanos(900 * MS), host, task);
}

#[cfg(test)]
mod tests {
    #[test]
    fn base64_of_utf_16() {
        for (script, expected) in [("", ""), ("a", "YQA="), ("ab", "YQBiAA=="), ("abc", "YQBiAGMA")]
        {
            assert_eq!(super::encoded(script), expected);
        }
    }
}
