//! Messages of Linux programs: logins, `sudo`, `su`, cron, accounts, the audit log.
//!
//! A message is matched from its first words; nothing is searched for anywhere, because users choose
//! parts of these messages (`Invalid user Accepted password for root from ...`). What is not known
//! keeps its `message` and its class.

use event::{Event, Logsource, Timestamp};

use crate::{Decoded, base_name, default, set_ip};

/// Programs under the name that Sigma has for their service.
const SERVICES: &[(&str, &str)] = &[
    ("anacron", "cron"),
    ("clamd", "clamav"),
    ("clamscan", "clamav"),
    ("crond", "cron"),
    ("crontab", "cron"),
    ("freshclam", "clamav"),
    ("guacd", "guacamole"),
    ("sshd-auth", "sshd"),
    ("sshd-session", "sshd"),
];

/// Services with a dataset of their own; all others are `linux.syslog`.
const KNOWN: &[&str] = &[
    "auditd",
    "chage",
    "chpasswd",
    "clamav",
    "cron",
    "gpasswd",
    "groupadd",
    "groupdel",
    "groupmod",
    "guacamole",
    "login",
    "passwd",
    "sshd",
    "su",
    "sudo",
    "systemd-logind",
    "useradd",
    "userdel",
    "usermod",
    "vsftpd",
];

/// The class of a line of the audit log.
const AUDITD: Logsource<'static> =
    Logsource { product: Some("linux"), category: None, service: Some("auditd") };

/// The service of a line that names no program.
const NO_PROGRAM: &str = "syslog";

/// The classes of the programs that are known; any other has one of its own name.
pub(crate) fn classes() -> impl Iterator<Item = Logsource<'static>> {
    let services = SERVICES.iter().map(|(_, service)| service).chain(KNOWN).chain([&NO_PROGRAM]);
    services
        .map(|service| Logsource { product: Some("linux"), category: None, service: Some(service) })
        .chain([AUDITD])
}

/// Maps what a program says in a message of the system log. `out` has the header already.
pub(crate) fn decode(program: &str, text: &str, out: &mut Event) {
    // `sshd(pam_unix)` of old systems, `/usr/sbin/cron` of some.
    let name = base_name(program.split('(').next().unwrap_or(program));
    let service = name.to_ascii_lowercase();
    let service = SERVICES
        .iter()
        .find(|(program, _)| *program == service)
        .map_or(service.as_str(), |(_, service)| *service);
    if !name.is_empty() {
        out.set("process.name", name);
    }
    out.set("host.os.type", "linux");
    let pam = text.starts_with("pam_") || program.ends_with("(pam_unix)");
    if !(pam && pluggable(text, out)) {
        match service {
            "sshd" => ssh(text, out),
            "sudo" => sudo(text, out),
            "su" => su(text, out),
            "cron" => cron(text, out),
            "useradd" | "userdel" | "usermod" | "groupadd" | "groupdel" | "groupmod"
            | "gpasswd" | "passwd" | "chpasswd" | "chage" => account(service, text, out),
            "systemd-logind" => logind(text, out),
            _ => {}
        }
    }
    if out.get("event.category").is_none() {
        out.append("event.category", "host");
        out.append("event.type", "info");
    }
    // Any program's name may be a rule's service, but only known ones make a dataset: senders choose
    // the names, and datasets are listed and counted.
    let class = if service.is_empty() { NO_PROGRAM } else { service };
    Logsource { product: Some("linux"), category: None, service: Some(class) }.stamp(out);
    let dataset = if KNOWN.contains(&service) { service } else { "syslog" };
    out.set("event.dataset", format!("linux.{dataset}").as_str());
    out.set("event.module", "linux");
}

fn says(out: &mut Event, action: &str, category: &str, kinds: &[&str], outcome: &str) {
    out.set("event.action", action);
    out.append("event.category", category);
    for kind in kinds {
        out.append("event.type", *kind);
    }
    if !outcome.is_empty() {
        out.set("event.outcome", outcome);
    }
}

/// Sets a user's name, unless there is none.
fn user(out: &mut Event, path: &str, name: &str) {
    let name = name.trim();
    if !name.is_empty() {
        out.set(path, name);
    }
}

/// `203.0.113.5 port 22 ssh2`: sets the source and returns whether there was an address.
fn source(out: &mut Event, text: &str) -> bool {
    let mut words = text.split([' ', ',', ':']).filter(|word| !word.is_empty());
    // An IPv6 address holds colons, so the whole word is tried first.
    let whole = text.split([' ', ',']).next().unwrap_or_default().trim_end_matches(':');
    let Some(first) = words.next() else { return false };
    let address = if set_ip(out, "source.ip", whole) { whole } else { first };
    if address == first && address != whole && !set_ip(out, "source.ip", first) {
        out.set("source.domain", first);
    } else if out.get("source.ip").is_none() {
        out.set("source.domain", address);
    }
    out.set("source.address", address);
    let mut words = text.split([' ', ':']).skip_while(|word| *word != "port");
    if let Some(port) = words.nth(1).and_then(|port| port.parse::<u16>().ok()) {
        out.set("source.port", u32::from(port));
    }
    true
}

/// Splits at the last ` from `: a user's name may hold the word, an address never.
fn from(text: &str) -> Option<(&str, &str)> {
    text.rsplit_once(" from ")
}

fn ssh(text: &str, out: &mut Event) {
    // rsyslog's own: `message repeated 3 times: [ Failed password for root from ... ]`
    let text = text
        .strip_prefix("message repeated ")
        .and_then(|rest| rest.split_once(": [ "))
        .map_or(text, |(_, inner)| inner.strip_suffix(']').unwrap_or(inner));
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let text = text.strip_suffix(" [preauth]").unwrap_or(text);
    if let Some(rest) = text.strip_prefix("Accepted ") {
        let Some((method, rest)) = rest.split_once(" for ") else { return };
        let Some((name, rest)) = from(rest) else { return };
        says(out, "ssh_login", "authentication", &["start"], "success");
        out.append("event.category", "session");
        out.set("linux.ssh.method", method);
        user(out, "user.name", name);
        source(out, rest);
        if let Some((_, key)) = rest.split_once(": ") {
            out.set("linux.ssh.key", key);
        }
    } else if let Some(rest) = text.strip_prefix("Failed ") {
        let Some((method, rest)) = rest.split_once(" for ") else { return };
        let Some((name, rest)) = from(rest) else { return };
        says(out, "ssh_login", "authentication", &["start"], "failure");
        out.set("linux.ssh.method", method);
        let name = match name.strip_prefix("invalid user ") {
            Some(name) => {
                out.set("linux.ssh.invalid_user", true);
                name
            }
            None => name,
        };
        user(out, "user.name", name);
        source(out, rest);
    } else if let Some(rest) =
        text.strip_prefix("Invalid user ").or_else(|| text.strip_prefix("Illegal user "))
    {
        // The name may be empty: `Invalid user  from 203.0.113.5 port 22`.
        let Some((name, rest)) = from(rest) else { return };
        says(out, "ssh_invalid_user", "authentication", &["info"], "failure");
        out.set("linux.ssh.invalid_user", true);
        user(out, "user.name", name);
        source(out, rest);
    } else if let Some(rest) = text.strip_prefix("maximum authentication attempts exceeded for ") {
        let Some((name, rest)) = from(rest) else { return };
        says(out, "ssh_too_many_attempts", "authentication", &["start"], "failure");
        user(out, "user.name", name.strip_prefix("invalid user ").unwrap_or(name));
        source(out, rest);
    } else if let Some(rest) = text
        .strip_prefix("Connection closed by ")
        .or_else(|| text.strip_prefix("Connection reset by "))
        .or_else(|| text.strip_prefix("Disconnected from "))
        .or_else(|| text.strip_prefix("Received disconnect from "))
    {
        says(out, "ssh_disconnect", "session", &["end"], "");
        let mut rest = rest;
        for before in ["authenticating user ", "invalid user ", "user "] {
            if let Some(named) = rest.strip_prefix(before) {
                let (name, after) = match named.rsplit_once(" port ") {
                    Some((head, _)) => {
                        let (name, _) = head.rsplit_once(' ').unwrap_or(("", head));
                        (name, named.get(name.len()..).unwrap_or_default())
                    }
                    None => named.rsplit_once(' ').unwrap_or(("", named)),
                };
                user(out, "user.name", name);
                rest = after.trim_start();
                break;
            }
        }
        source(out, rest);
        if let Some((_, reason)) = rest.rsplit_once(": ") {
            out.set("event.reason", reason.trim());
        }
    } else if let Some(rest) = text.strip_prefix("reverse mapping checking getaddrinfo for ") {
        let Some((name, rest)) = rest.split_once(" [") else { return };
        says(out, "ssh_reverse_mapping", "network", &["info"], "failure");
        out.set("source.domain", name);
        if let Some((address, _)) = rest.split_once(']')
            && set_ip(out, "source.ip", address)
        {
            out.set("source.address", address);
        }
    } else if let Some(rest) = text.strip_prefix("Did not receive identification string from ") {
        says(out, "ssh_no_identification", "network", &["connection"], "failure");
        source(out, rest);
    } else if let Some(rest) = text.strip_prefix("Connection from ") {
        says(out, "ssh_connection", "network", &["connection", "start"], "");
        source(out, rest);
    } else if let Some(rest) = text.strip_prefix("User ") {
        // `User anna from 203.0.113.5 not allowed because not listed in AllowUsers`
        let Some((head, reason)) = rest.split_once(" not allowed because ") else { return };
        let Some((name, rest)) = from(head) else { return };
        says(out, "ssh_login", "authentication", &["start", "denied"], "failure");
        user(out, "user.name", name);
        source(out, rest);
        out.set("event.reason", reason);
    } else if let Some(name) = text.strip_prefix("input_userauth_request: invalid user ") {
        says(out, "ssh_invalid_user", "authentication", &["info"], "failure");
        user(out, "user.name", name);
    } else if let Some(rest) = text.strip_prefix("PAM ")
        && rest.contains("authentication failure")
    {
        login_failure(rest, out);
    } else {
        pluggable(text, out);
    }
}

/// What PAM modules write: `pam_unix(sshd:auth): authentication failure; ... user=root`.
fn pluggable(text: &str, out: &mut Event) -> bool {
    let text = match text.strip_prefix("pam_") {
        Some(rest) => rest.split_once("): ").map_or(rest, |(_, text)| text),
        None => text,
    };
    if let Some(rest) = text.strip_prefix("session opened for user ") {
        says(out, "session_opened", "session", &["start"], "success");
        let (name, by) = rest.split_once(" by ").unwrap_or((rest, ""));
        let ((name, id), (by, by_id)) = (with_id(name), with_id(by));
        // Who acts is the user; as whom, if it is another (`sudo`, `su`), the effective one. `LOGIN`
        // is what `login` itself calls itself.
        let (path, acts) = match by {
            "" | "LOGIN" => ("user", false),
            _ => ("user.effective", true),
        };
        user(out, &format!("{path}.name"), name);
        if let Some(id) = id {
            out.set(&format!("{path}.id"), id);
        }
        if acts {
            user(out, "user.name", by);
            if let Some(id) = by_id {
                out.set("user.id", id);
            }
        }
    } else if let Some(rest) = text.strip_prefix("session closed for user ") {
        says(out, "session_closed", "session", &["end"], "success");
        user(out, "user.name", rest);
    } else if text.starts_with("authentication failure") {
        login_failure(text, out);
    } else if text.starts_with("check pass; user unknown") {
        says(out, "unknown_user", "authentication", &["info"], "failure");
    } else if let Some(rest) = text.strip_prefix("password changed for ") {
        says(out, "changed-password", "iam", &["user", "change"], "success");
        user(out, "user.target.name", rest);
    } else {
        return false;
    }
    true
}

/// `root(uid=0)`, or `(uid=0)` alone.
fn with_id(text: &str) -> (&str, Option<&str>) {
    match text.split_once("(uid=") {
        Some((name, id)) => (name, id.strip_suffix(')')),
        None => (text, None),
    }
}

/// `...; logname= uid=0 euid=0 tty=ssh ruser= rhost=203.0.113.5  user=root`
fn login_failure(text: &str, out: &mut Event) {
    says(out, "login_failed", "authentication", &["start"], "failure");
    for (key, value) in text.split([' ', ';']).filter_map(|word| word.split_once('=')) {
        match key {
            "user" => user(out, "user.name", value),
            "ruser" if !value.is_empty() => user(out, "source.user.name", value),
            "tty" if !value.is_empty() => out.set("linux.tty", value),
            "rhost" if !value.is_empty() => {
                source(out, value);
            }
            _ => {}
        }
    }
}

/// `anna : 3 incorrect password attempts ; TTY=pts/0 ; PWD=/home/anna ; USER=root ; COMMAND=/bin/sh`
fn sudo(text: &str, out: &mut Event) {
    let Some((name, rest)) = text.split_once(" : ") else { return };
    user(out, "user.name", name);
    let mut reason = None;
    let mut rest = rest;
    loop {
        if let Some(command) = rest.strip_prefix("COMMAND=") {
            // The command is last, and may hold anything.
            out.set("process.command_line", command);
            let executable = command.split(' ').next().unwrap_or(command);
            out.set("process.executable", executable);
            out.set("process.name", base_name(executable));
            break;
        }
        let (part, after) = rest.split_once(" ; ").unwrap_or((rest, ""));
        match part.split_once('=') {
            Some(("TTY", value)) => out.set("linux.tty", value),
            Some(("PWD", value)) => out.set("process.working_directory", value),
            Some(("USER", value)) => user(out, "user.effective.name", value),
            Some(("GROUP", value)) => out.set("group.name", value),
            Some((_, _)) => {}
            None if reason.is_none() => reason = Some(part.trim()),
            None => {}
        }
        if after.is_empty() {
            break;
        }
        rest = after;
    }
    match reason.filter(|reason| !reason.is_empty()) {
        Some(reason) => {
            out.set("event.reason", reason);
            says(out, "sudo", "process", &["start", "denied"], "failure");
        }
        None => says(out, "sudo", "process", &["start"], "success"),
    }
}

/// `(to root) anna on pts/0`, `FAILED SU (to root) anna on pts/0`, `Successful su for root by anna`,
/// `+ /dev/pts/0 anna:root`
fn su(text: &str, out: &mut Event) {
    let (text, outcome) = match text.strip_prefix("FAILED SU ") {
        Some(rest) => (rest, "failure"),
        None => (text, "success"),
    };
    let (name, target, outcome) = if let Some(rest) = text.strip_prefix("(to ") {
        let Some((target, rest)) = rest.split_once(") ") else { return };
        (rest.split_once(" on ").map_or(rest, |(name, _)| name), target, outcome)
    } else if let Some(rest) = text.strip_prefix("Successful su for ") {
        let Some((target, name)) = rest.split_once(" by ") else { return };
        (name, target, "success")
    } else if let Some(rest) = text.strip_prefix("FAILED su for ") {
        let Some((target, name)) = rest.split_once(" by ") else { return };
        (name, target, "failure")
    } else if let Some(rest) = text.strip_prefix("+ ").or_else(|| text.strip_prefix("- ")) {
        let Some((name, target)) = rest.split_once(' ').and_then(|(_, who)| who.split_once(':'))
        else {
            return;
        };
        (name, target, if text.starts_with('+') { "success" } else { "failure" })
    } else {
        pluggable(text, out);
        return;
    };
    says(out, "su", "authentication", &["start"], outcome);
    user(out, "user.name", name);
    user(out, "user.effective.name", target);
}

/// `(root) CMD (run-parts /etc/cron.hourly)`
fn cron(text: &str, out: &mut Event) {
    let Some((name, rest)) = text.strip_prefix('(').and_then(|rest| rest.split_once(") ")) else {
        return;
    };
    user(out, "user.name", name);
    let (word, rest) = rest.split_once(" (").unwrap_or((rest, ""));
    let inside = rest.strip_suffix(')').unwrap_or(rest).trim();
    match word {
        "CMD" => {
            says(out, "cron_command", "process", &["start"], "");
            out.set("process.command_line", inside);
        }
        "REPLACE" | "BEGIN EDIT" | "END EDIT" | "LIST" | "DELETE" => {
            says(out, "cron_table", "configuration", &["change"], "");
            user(out, "user.target.name", inside);
        }
        _ => {}
    }
}

/// The tools that change accounts and groups.
fn account(service: &str, text: &str, out: &mut Event) {
    // `failed adding user 'bob', ...`, `failed to ...`
    let outcome = if text.starts_with("failed ") { "failure" } else { "success" };
    let listed = |key: &str| {
        text.split([' ', ',']).find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    };
    if text.starts_with("new user: ") {
        says(out, "added-user-account", "iam", &["user", "creation"], outcome);
        user(out, "user.target.name", listed("name").unwrap_or_default());
        if let Some(id) = listed("UID") {
            out.set("user.target.id", id);
        }
        for (key, path) in [("GID", "group.id"), ("home", "linux.home"), ("shell", "linux.shell")] {
            if let Some(value) = listed(key) {
                out.set(path, value);
            }
        }
    } else if text.starts_with("new group: ") || text.starts_with("group added to ") {
        says(out, "added-group-account", "iam", &["group", "creation"], outcome);
        user(out, "group.name", listed("name").unwrap_or_default());
        if let Some(id) = listed("GID") {
            out.set("group.id", id);
        }
    } else {
        let names: Vec<&str> = text.split('\'').skip(1).step_by(2).collect();
        let (first, second) = (names.first().copied(), names.get(1).copied());
        let starts = |words: &str| text.starts_with(words);
        if starts("add '") || (service == "gpasswd" && starts("user ")) {
            says(out, "added-member-to-group", "iam", &["group", "change"], outcome);
        } else if starts("delete '") || starts("remove '") {
            says(out, "removed-member-from-group", "iam", &["group", "change"], outcome);
        } else if starts("delete user '") || starts("removed user '") {
            says(out, "deleted-user-account", "iam", &["user", "deletion"], outcome);
        } else if starts("removed group '")
            || starts("removed shadow group '")
            || (service == "groupdel" && starts("group '"))
        {
            says(out, "deleted-group-account", "iam", &["group", "deletion"], outcome);
            user(out, "group.name", first.unwrap_or_default());
            return;
        } else if starts("lock user '") {
            says(out, "disabled-user-account", "iam", &["user", "change"], outcome);
        } else if starts("unlock user '") {
            says(out, "enabled-user-account", "iam", &["user", "change"], outcome);
        } else if starts("change user '") || starts("changed user '") {
            says(out, "modified-user-account", "iam", &["user", "change"], outcome);
        } else if starts("failed adding user '") {
            says(out, "added-user-account", "iam", &["user", "creation"], outcome);
        } else if starts("password for '") {
            says(out, "changed-password", "iam", &["user", "change"], outcome);
        } else {
            pluggable(text, out);
            return;
        }
        user(out, "user.target.name", first.unwrap_or_default());
        if text.contains(" group '") {
            user(out, "group.name", second.unwrap_or_default());
        }
    }
}

/// `New session 5 of user anna.`
fn logind(text: &str, out: &mut Event) {
    if let Some(rest) = text.strip_prefix("New session ") {
        says(out, "session_opened", "session", &["start"], "success");
        if let Some((id, name)) = rest.split_once(" of user ") {
            out.set("linux.session", id.trim_matches('\''));
            user(out, "user.name", name.trim_end_matches('.').trim_matches('\''));
        }
    } else if let Some(rest) = text.strip_prefix("Removed session ") {
        says(out, "session_closed", "session", &["end"], "success");
        out.set("linux.session", rest.trim_end_matches('.'));
    }
}

/// Fields of the audit log that the kernel writes in hexadecimal when they hold a space, a quote or
/// a control character.
const ENCODED: [&str; 12] = [
    "acct",
    "cmd",
    "comm",
    "cwd",
    "data",
    "dir",
    "exe",
    "exe_path",
    "key",
    "name",
    "path",
    "proctitle",
];

/// A record of the audit log: `type=SYSCALL msg=audit(1732449600.123:456): arch=... exe="/bin/ls"`.
/// Each record is an event; records of one serial number are not joined.
pub(crate) fn audit(text: &str, out: &mut Event) -> Decoded {
    let (node, rest) = match text.strip_prefix("node=").and_then(|rest| rest.split_once(' ')) {
        Some((node, rest)) => (Some(node), rest),
        None => (None, text),
    };
    let Some((kind, rest)) = rest.strip_prefix("type=").and_then(|rest| rest.split_once(' '))
    else {
        return Decoded::No;
    };
    let rest = rest.strip_prefix("msg=").unwrap_or(rest);
    let Some((stamp, fields)) = rest.strip_prefix("audit(").and_then(|rest| rest.split_once(')'))
    else {
        return Decoded::No;
    };
    let Some((time, serial)) = stamp.rsplit_once(':') else { return Decoded::No };
    let Some(time) = epoch(time) else { return Decoded::No };
    out.set_time("@timestamp", time);
    out.set("auditd.data.type", kind);
    out.set("auditd.sequence", serial);
    if let Some(node) = node {
        out.set("host.name", node);
    }
    let fields = fields.strip_prefix(':').unwrap_or(fields);
    pairs(fields, &mut |key, value, quoted| {
        let path = format!("auditd.data.{key}");
        let argument = kind == "EXECVE"
            && key.strip_prefix('a').is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
        let decoded =
            (!quoted && (argument || ENCODED.contains(&key))).then(|| from_hex(value)).flatten();
        let value = decoded.as_deref().unwrap_or(value);
        if out.get(&path).is_none() {
            out.set(&path, value);
        } else {
            // What user space says twice: the record's own and its `msg='...'`.
            out.append(&path, value);
        }
    });
    audit_ecs(kind, out);
    default(out, "message", text);
    out.set("host.os.type", "linux");
    out.set("event.dataset", "linux.auditd");
    out.set("event.module", "linux");
    AUDITD.stamp(out);
    Decoded::Yes
}

/// `1732449600.123`
fn epoch(text: &str) -> Option<Timestamp> {
    let (seconds, millis) = text.split_once('.').unwrap_or((text, "0"));
    let (seconds, millis) = (seconds.parse::<i64>().ok()?, millis.parse::<i64>().ok()?);
    Some(Timestamp::from_millis(seconds.checked_mul(1_000)?.checked_add(millis)?))
}

/// Calls `each` with the key and value of every `key=value`, and whether the value was quoted. What
/// user space adds stands in quotes of its own (`msg='op=login res=success'`) and is read the same.
fn pairs(text: &str, each: &mut dyn FnMut(&str, &str, bool)) {
    // Names that the daemon resolved are set off by a group separator.
    let mut rest = text;
    while let Some((key, after)) = rest.split_once('=') {
        let key = key.rsplit([' ', '\u{1d}', ',']).next().unwrap_or(key).trim();
        if let Some(inner) = after.strip_prefix('\'') {
            let (inside, outside) = inner.rsplit_once('\'').unwrap_or((inner, ""));
            // The quoted part holds no such part itself, so this goes one level deep.
            if key == "msg" && !inside.contains('\'') {
                pairs(inside, each);
            } else if !key.is_empty() {
                each(key, inside, true);
            }
            rest = outside;
            continue;
        }
        let (value, quoted, after) = match after.strip_prefix('"') {
            Some(inner) => {
                let (value, after) = inner.split_once('"').unwrap_or((inner, ""));
                (value, true, after)
            }
            None => {
                let end = after.find([' ', '\u{1d}']).unwrap_or(after.len());
                let (value, after) = after.split_at_checked(end).unwrap_or((after, ""));
                (value, false, after)
            }
        };
        if !key.is_empty() && key.len() <= 64 {
            each(key, value, quoted);
        }
        rest = after;
    }
}

/// Text that was written in hexadecimal; arguments in it are set off by NUL.
fn from_hex(text: &str) -> Option<String> {
    if text.is_empty()
        || !text.len().is_multiple_of(2)
        || !text.bytes().all(|b| b.is_ascii_hexdigit())
    {
        return None;
    }
    let bytes: Vec<u8> = text
        .as_bytes()
        .chunks(2)
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .map(|byte| if byte == 0 { b' ' } else { byte })
        .collect();
    // The kernel encodes because of such a character. Other control characters are in no name or
    // command, so that what holds them is a number that happens to have an even count of digits.
    let needed = bytes.iter().any(|b| matches!(b, b' ' | b'"' | b'\t' | b'\n' | 127..));
    let binary = bytes.iter().any(|b| matches!(b, 1..=8 | 11..=31));
    let text = String::from_utf8(bytes).ok()?;
    (needed && !binary).then_some(text)
}

fn audit_ecs(kind: &str, out: &mut Event) {
    let get = |out: &Event, key: &str| {
        out.str(&format!("auditd.data.{key}"))
            .filter(|text| !matches!(*text, "" | "?" | "(null)" | "unset" | "4294967295"))
            .map(str::to_owned)
    };
    for (key, path) in [
        ("exe", "process.executable"),
        ("comm", "process.name"),
        ("cwd", "process.working_directory"),
        ("proctitle", "process.command_line"),
        ("auid", "user.id"),
        ("acct", "user.name"),
        ("uid", "user.effective.id"),
        ("hostname", "source.domain"),
        ("tty", "linux.tty"),
    ] {
        if let Some(text) = get(out, key) {
            out.set(path, text.as_str());
        }
    }
    for (key, path) in [("pid", "process.pid"), ("ppid", "process.parent.pid")] {
        if let Some(number) = get(out, key).and_then(|text| text.parse::<i64>().ok()) {
            out.set(path, number);
        }
    }
    if kind == "PATH"
        && let Some(name) = get(out, "name")
    {
        out.set("file.path", name.as_str());
        out.set("file.name", base_name(&name));
    }
    if let Some(address) = get(out, "addr") {
        set_ip(out, "source.ip", &address);
    }
    if let Some(command) = get(out, "cmd") {
        out.set("process.command_line", command.as_str());
    }
    if kind == "EXECVE" {
        let arguments: Vec<String> = (0..ARGUMENTS_MAX)
            .map_while(|n| out.str(&format!("auditd.data.a{n}")).map(str::to_owned))
            .collect();
        if !arguments.is_empty() {
            out.set("process.command_line", arguments.join(" ").as_str());
        }
    }
    match get(out, "success").or_else(|| get(out, "res")).as_deref() {
        Some("yes" | "success" | "1") => out.set("event.outcome", "success"),
        Some("no" | "failed" | "0") => out.set("event.outcome", "failure"),
        _ => {}
    }
    let (category, kinds): (&str, &[&str]) = match kind {
        "SYSCALL" | "PROCTITLE" | "CWD" => ("process", &["info"]),
        "EXECVE" | "USER_CMD" => ("process", &["start"]),
        "PATH" => ("file", &["access"]),
        "USER_LOGIN" | "USER_AUTH" | "LOGIN" => ("authentication", &["start"]),
        "USER_START" | "CRED_ACQ" => ("session", &["start"]),
        "USER_END" | "USER_LOGOUT" | "CRED_DISP" => ("session", &["end"]),
        "ADD_USER" => ("iam", &["user", "creation"]),
        "DEL_USER" => ("iam", &["user", "deletion"]),
        "USER_CHAUTHTOK" | "USER_MGMT" => ("iam", &["user", "change"]),
        "ADD_GROUP" => ("iam", &["group", "creation"]),
        "DEL_GROUP" => ("iam", &["group", "deletion"]),
        "CONFIG_CHANGE" | "DAEMON_CONFIG" => ("configuration", &["change"]),
        "SERVICE_START" => ("process", &["start"]),
        "SERVICE_STOP" => ("process", &["end"]),
        _ => return,
    };
    out.set("event.action", kind.to_ascii_lowercase().as_str());
    out.append("event.category", category);
    for kind in kinds {
        out.append("event.type", *kind);
    }
}

/// The most arguments that are joined to a command line; the kernel writes them into further records
/// long before.
const ARGUMENTS_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use event::Event;
    use insta::assert_snapshot;
    use proptest::prelude::*;

    use super::{audit, from_hex};
    use crate::tests::normalized;

    /// The fields that a program's message gives, beyond the header's, a line each message.
    fn said(program: &str, messages: &[&str]) -> String {
        let mut lines = Vec::new();
        for message in messages {
            let json = normalized(&format!("Nov 24 10:00:00 h {program}: {message}"), "");
            let mut event = Event::new();
            event.parse_json(json.as_bytes()).unwrap();
            let fields: Vec<String> = event
                .fields()
                .filter(|(_, path, _)| {
                    ![
                        "@timestamp",
                        "message",
                        "host.",
                        "log.",
                        "related.",
                        "watchpost.",
                        "event.dataset",
                        "event.module",
                        "process.pid",
                    ]
                    .iter()
                    .any(|start| path.starts_with(start))
                })
                .map(|(_, path, value)| {
                    let mut buffer = String::new();
                    format!("{path}={}", value.text(&mut buffer).unwrap_or("?"))
                })
                .collect();
            lines.push(fields.join(" "));
        }
        lines.join("\n")
    }

    #[test]
    fn logins_over_ssh_are_mapped() {
        assert_snapshot!(said("sshd[7]", &[
            "Accepted publickey for anna from 203.0.113.5 port 50000 ssh2: ED25519 SHA256:abc",
            "Accepted password for anna from 2001:db8::5 port 50000 ssh2",
            "Failed password for root from 203.0.113.5 port 50001 ssh2",
            "Failed password for invalid user Accepted password for root from 1.2.3.4 from 203.0.113.5 port 9 ssh2",
            "Invalid user  from 203.0.113.5 port 9",
            "Connection closed by authenticating user root 203.0.113.5 port 9 [preauth]",
            "Connection closed by 203.0.113.5 [preauth]",
            "Disconnected from user anna 203.0.113.5 port 9",
            "Received disconnect from 203.0.113.5 port 9:11: Bye Bye [preauth]",
            "error: maximum authentication attempts exceeded for invalid user x from 203.0.113.5 port 9 ssh2 [preauth]",
            "message repeated 2 times: [ Failed password for root from 203.0.113.5 port 9 ssh2]",
            "reverse mapping checking getaddrinfo for a.example [203.0.113.5] failed - POSSIBLE BREAK-IN ATTEMPT!",
            "User anna from 203.0.113.5 not allowed because not listed in AllowUsers",
            "pam_unix(sshd:session): session opened for user anna(uid=1000) by (uid=0)",
            "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=203.0.113.5  user=root",
            "Server listening on 0.0.0.0 port 22.",
        ]), @"
        event.action=ssh_login event.category=authentication event.category=session event.outcome=success event.type=start linux.ssh.key=ED25519 SHA256:abc linux.ssh.method=publickey process.name=sshd source.address=203.0.113.5 source.ip=203.0.113.5 source.port=50000 user.name=anna
        event.action=ssh_login event.category=authentication event.category=session event.outcome=success event.type=start linux.ssh.method=password process.name=sshd source.address=2001:db8::5 source.ip=2001:db8::5 source.port=50000 user.name=anna
        event.action=ssh_login event.category=authentication event.outcome=failure event.type=start linux.ssh.method=password process.name=sshd source.address=203.0.113.5 source.ip=203.0.113.5 source.port=50001 user.name=root
        event.action=ssh_login event.category=authentication event.outcome=failure event.type=start linux.ssh.invalid_user=true linux.ssh.method=password process.name=sshd source.address=203.0.113.5 source.ip=203.0.113.5 source.port=9 user.name=Accepted password for root from 1.2.3.4
        event.action=ssh_invalid_user event.category=authentication event.outcome=failure event.type=info linux.ssh.invalid_user=true process.name=sshd source.address=203.0.113.5 source.ip=203.0.113.5 source.port=9
        event.action=ssh_disconnect event.category=session event.type=end process.name=sshd source.address=203.0.113.5 source.ip=203.0.113.5 source.port=9 user.name=root
        event.action=ssh_disconnect event.category=session event.type=end process.name=sshd source.address=203.0.113.5 source.ip=203.0.113.5
        event.action=ssh_disconnect event.category=session event.type=end process.name=sshd source.address=203.0.113.5 source.ip=203.0.113.5 source.port=9 user.name=anna
        event.action=ssh_disconnect event.category=session event.reason=Bye Bye event.type=end process.name=sshd source.address=203.0.113.5 source.ip=203.0.113.5 source.port=9
        event.action=ssh_too_many_attempts event.category=authentication event.outcome=failure event.type=start process.name=sshd source.address=203.0.113.5 source.ip=203.0.113.5 source.port=9 user.name=x
        event.action=ssh_login event.category=authentication event.outcome=failure event.type=start linux.ssh.method=password process.name=sshd source.address=203.0.113.5 source.ip=203.0.113.5 source.port=9 user.name=root
        event.action=ssh_reverse_mapping event.category=network event.outcome=failure event.type=info process.name=sshd source.address=203.0.113.5 source.domain=a.example source.ip=203.0.113.5
        event.action=ssh_login event.category=authentication event.outcome=failure event.reason=not listed in AllowUsers event.type=start event.type=denied process.name=sshd source.address=203.0.113.5 source.ip=203.0.113.5 user.name=anna
        event.action=session_opened event.category=session event.outcome=success event.type=start process.name=sshd user.id=1000 user.name=anna
        event.action=login_failed event.category=authentication event.outcome=failure event.type=start linux.tty=ssh process.name=sshd source.address=203.0.113.5 source.ip=203.0.113.5 user.name=root
        event.category=host event.type=info process.name=sshd
        ");
    }

    #[test]
    fn other_users_commands_are_mapped() {
        assert_snapshot!(said("sudo", &[
            "    anna : TTY=pts/0 ; PWD=/home/anna ; USER=root ; COMMAND=/usr/bin/id -u ; USER=x",
            "anna : 3 incorrect password attempts ; TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/sh",
            "bert : user NOT in sudoers ; TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/sh",
            "pam_unix(sudo:session): session opened for user root by anna(uid=1000)",
        ]), @r#"
        event.action=sudo event.category=process event.outcome=success event.type=start linux.tty=pts/0 process.command_line=/usr/bin/id -u ; USER=x process.executable=/usr/bin/id process.name=id process.working_directory=/home/anna user.effective.name=root user.name=anna
        event.action=sudo event.category=process event.outcome=failure event.reason=3 incorrect password attempts event.type=start event.type=denied linux.tty=pts/0 process.command_line=/bin/sh process.executable=/bin/sh process.name=sh process.working_directory=/ user.effective.name=root user.name=anna
        event.action=sudo event.category=process event.outcome=failure event.reason=user NOT in sudoers event.type=start event.type=denied linux.tty=pts/0 process.command_line=/bin/sh process.executable=/bin/sh process.name=sh process.working_directory=/ user.effective.name=root user.name=bert
        event.action=session_opened event.category=session event.outcome=success event.type=start process.name=sudo user.effective.name=root user.id=1000 user.name=anna
        "#);
        assert_snapshot!(said("su[9]", &[
            "(to root) anna on pts/0",
            "FAILED SU (to root) anna on pts/0",
            "Successful su for root by anna",
            "+ /dev/pts/0 anna:root",
        ]), @r#"
        event.action=su event.category=authentication event.outcome=success event.type=start process.name=su user.effective.name=root user.name=anna
        event.action=su event.category=authentication event.outcome=failure event.type=start process.name=su user.effective.name=root user.name=anna
        event.action=su event.category=authentication event.outcome=success event.type=start process.name=su user.effective.name=root user.name=anna
        event.action=su event.category=authentication event.outcome=success event.type=start process.name=su user.effective.name=root user.name=anna
        "#);
        assert_snapshot!(said("CRON[9]", &["(root) CMD (  run-parts /etc/cron.hourly)", "(anna) REPLACE (anna)"]), @r#"
        event.action=cron_command event.category=process event.type=start process.command_line=run-parts /etc/cron.hourly process.name=CRON user.name=root
        event.action=cron_table event.category=configuration event.type=change process.name=CRON user.name=anna user.target.name=anna
        "#);
    }

    #[test]
    fn changes_of_accounts_are_mapped() {
        assert_snapshot!(said("useradd[9]", &[
            "new user: name=eva, UID=1001, GID=1002, home=/home/eva, shell=/bin/bash, from=/dev/pts/0",
            "new group: name=eva, GID=1002",
            "add 'eva' to group 'sudo'",
            "failed adding user 'eva', data deleted",
        ]), @r#"
        event.action=added-user-account event.category=iam event.outcome=success event.type=user event.type=creation group.id=1002 linux.home=/home/eva linux.shell=/bin/bash process.name=useradd user.target.id=1001 user.target.name=eva
        event.action=added-group-account event.category=iam event.outcome=success event.type=group event.type=creation group.id=1002 group.name=eva process.name=useradd
        event.action=added-member-to-group event.category=iam event.outcome=success event.type=group event.type=change group.name=sudo process.name=useradd user.target.name=eva
        event.action=added-user-account event.category=iam event.outcome=failure event.type=user event.type=creation process.name=useradd user.target.name=eva
        "#);
        assert_snapshot!(said("userdel[9]", &["delete user 'eva'", "removed group 'eva' owned by 'eva'", "delete 'eva' from group 'sudo'"]), @r#"
        event.action=deleted-user-account event.category=iam event.outcome=success event.type=user event.type=deletion process.name=userdel user.target.name=eva
        event.action=deleted-group-account event.category=iam event.outcome=success event.type=group event.type=deletion group.name=eva process.name=userdel
        event.action=removed-member-from-group event.category=iam event.outcome=success event.type=group event.type=change group.name=sudo process.name=userdel user.target.name=eva
        "#);
        assert_snapshot!(said("usermod[9]", &["add 'eva' to shadow group 'sudo'", "lock user 'eva' password"]), @r#"
        event.action=added-member-to-group event.category=iam event.outcome=success event.type=group event.type=change group.name=sudo process.name=usermod user.target.name=eva
        event.action=disabled-user-account event.category=iam event.outcome=success event.type=user event.type=change process.name=usermod user.target.name=eva
        "#);
        assert_snapshot!(said("passwd[9]", &["pam_unix(passwd:chauthtok): password changed for eva"]), @r#"event.action=changed-password event.category=iam event.outcome=success event.type=user event.type=change process.name=passwd user.target.name=eva"#);
        assert_snapshot!(said("systemd-logind[9]", &["New session 5 of user eva.", "Removed session 5."]), @r#"
        event.action=session_opened event.category=session event.outcome=success event.type=start linux.session=5 process.name=systemd-logind user.name=eva
        event.action=session_closed event.category=session event.outcome=success event.type=end linux.session=5 process.name=systemd-logind
        "#);
    }

    #[test]
    fn audit_records_are_mapped() {
        assert_snapshot!(normalized(r#"type=SYSCALL msg=audit(1795514400.123:456): arch=c000003e syscall=59 success=yes exit=0 a0=55d0 ppid=1 pid=7 auid=1000 uid=0 tty=pts0 comm="ls" exe="/bin/ls" key="exec""#, ""), @r#"{"@timestamp":"2026-11-24T10:00:00.123Z","auditd":{"data":{"a0":"55d0","arch":"c000003e","auid":"1000","comm":"ls","exe":"/bin/ls","exit":"0","key":"exec","pid":"7","ppid":"1","success":"yes","syscall":"59","tty":"pts0","type":"SYSCALL","uid":"0"},"sequence":"456"},"event":{"action":"syscall","category":["process"],"dataset":"linux.auditd","module":"linux","outcome":"success","type":["info"]},"host":{"os":{"type":"linux"}},"linux":{"tty":"pts0"},"message":"type=SYSCALL msg=audit(1795514400.123:456): arch=c000003e syscall=59 success=yes exit=0 a0=55d0 ppid=1 pid=7 auid=1000 uid=0 tty=pts0 comm=\"ls\" exe=\"/bin/ls\" key=\"exec\"","process":{"executable":"/bin/ls","name":"ls","parent":{"pid":1},"pid":7},"user":{"effective":{"id":"0"},"id":"1000"},"watchpost":{"logsource":{"product":"linux","service":"auditd"}}}"#);
        assert_snapshot!(normalized("node=h1 type=EXECVE msg=audit(1795514400.123:456): argc=3 a0=\"sh\" a1=\"-c\" a2=6563686F2061", ""), @r#"{"@timestamp":"2026-11-24T10:00:00.123Z","auditd":{"data":{"a0":"sh","a1":"-c","a2":"echo a","argc":"3","type":"EXECVE"},"sequence":"456"},"event":{"action":"execve","category":["process"],"dataset":"linux.auditd","module":"linux","type":["start"]},"host":{"name":"h1","os":{"type":"linux"}},"message":"node=h1 type=EXECVE msg=audit(1795514400.123:456): argc=3 a0=\"sh\" a1=\"-c\" a2=6563686F2061","process":{"command_line":"sh -c echo a"},"related":{"hosts":["h1"]},"watchpost":{"logsource":{"product":"linux","service":"auditd"}}}"#);
        assert_snapshot!(normalized(r#"type=USER_LOGIN msg=audit(1795514400.123:457): pid=7 uid=0 auid=4294967295 msg='op=login acct="anna" exe="/usr/sbin/sshd" hostname=? addr=203.0.113.5 terminal=ssh res=failed'"#, ""), @r#"{"@timestamp":"2026-11-24T10:00:00.123Z","auditd":{"data":{"acct":"anna","addr":"203.0.113.5","auid":"4294967295","exe":"/usr/sbin/sshd","hostname":"?","op":"login","pid":"7","res":"failed","terminal":"ssh","type":"USER_LOGIN","uid":"0"},"sequence":"457"},"event":{"action":"user_login","category":["authentication"],"dataset":"linux.auditd","module":"linux","outcome":"failure","type":["start"]},"host":{"os":{"type":"linux"}},"message":"type=USER_LOGIN msg=audit(1795514400.123:457): pid=7 uid=0 auid=4294967295 msg='op=login acct=\"anna\" exe=\"/usr/sbin/sshd\" hostname=? addr=203.0.113.5 terminal=ssh res=failed'","process":{"executable":"/usr/sbin/sshd","pid":7},"related":{"ip":["203.0.113.5"],"user":["anna"]},"source":{"ip":"203.0.113.5"},"user":{"effective":{"id":"0"},"name":"anna"},"watchpost":{"logsource":{"product":"linux","service":"auditd"}}}"#);
    }

    #[test]
    fn only_what_the_kernel_encoded_is_decoded() {
        assert_eq!(from_hex("6563686F2061").as_deref(), Some("echo a"));
        assert_eq!(from_hex("0100"), None);
        assert_eq!(from_hex("face"), None);
        assert_eq!(from_hex("abc"), None);
    }

    proptest! {
        #[test]
        fn any_audit_record_is_read(fields in "[a-z0-9=\"' \\x1d]{0,60}\\PC{0,10}") {
            let text = format!("type=X msg=audit(1795514400.123:456): {fields}");
            let mut out = Event::new();
            audit(&text, &mut out);
            prop_assert_eq!(out.str("auditd.data.type"), Some("X"));
        }
    }
}
