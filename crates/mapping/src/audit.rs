//! Records of the Linux audit log, one or all of an event's, taken apart.
//!
//! The kernel writes an event as several records with one serial number: what was called, with which
//! arguments, in which folder, on which files. A text may hold them all, a line each; their fields
//! then stand side by side (`data.type` has every record's). What only makes sense together is put
//! together here, because no table of fields could say it: the arguments of a command, the names of
//! files with what became of them, the address in a socket's bytes.
//!
//! <https://github.com/linux-audit/audit-documentation/wiki>, `auditd.conf(5)`, `audit.h` of Linux.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The most arguments that are put together to a command line; what follows is in its fields alone.
const ARGUMENTS_MAX: usize = 4096;

/// The longest name of a field, in bytes. What is longer is no field of the audit log.
const KEY_BYTES_MAX: usize = 64;

/// Fields that the kernel writes in hexadecimal when they hold a space, a quote or a control
/// character.
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

/// What types are called that the kernel's own log writes as numbers.
const TYPES: [(&str, &str); 24] = [
    ("1100", "USER_AUTH"),
    ("1101", "USER_ACCT"),
    ("1103", "CRED_ACQ"),
    ("1104", "CRED_DISP"),
    ("1105", "USER_START"),
    ("1106", "USER_END"),
    ("1112", "USER_LOGIN"),
    ("1123", "USER_CMD"),
    ("1130", "SERVICE_START"),
    ("1131", "SERVICE_STOP"),
    ("1300", "SYSCALL"),
    ("1302", "PATH"),
    ("1305", "CONFIG_CHANGE"),
    ("1306", "SOCKADDR"),
    ("1307", "CWD"),
    ("1309", "EXECVE"),
    ("1320", "EOE"),
    ("1325", "NETFILTER_CFG"),
    ("1326", "SECCOMP"),
    ("1327", "PROCTITLE"),
    ("1334", "BPF"),
    ("1400", "AVC"),
    ("1700", "ANOM_PROMISCUOUS"),
    ("1701", "ANOM_ABEND"),
];

/// A record's parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'t> {
    /// The host, where the daemon was told to name it.
    pub node: Option<&'t str>,
    /// Its type: `SYSCALL`.
    pub kind: &'t str,
    /// When the event was, in seconds since 1970: `1795514400.123`.
    pub time: &'t str,
    /// The event's number, which all of its records have.
    pub serial: &'t str,
    /// `key=value key=value`.
    fields: &'t str,
}

impl<'t> Record<'t> {
    /// Reads `node=h type=SYSCALL msg=audit(1795514400.123:456): arch=...`, as the daemon writes it, and
    /// `audit: type=1300 audit(1795514400.123:456): arch=...`, as the kernel does without one.
    pub fn read(line: &'t str) -> Option<Record<'t>> {
        let line = line.trim_start();
        let line = line.strip_prefix("audit: ").unwrap_or(line);
        let (node, rest) = match line.strip_prefix("node=").and_then(|rest| rest.split_once(' ')) {
            Some((node, rest)) => (Some(node), rest),
            None => (None, line),
        };
        let (kind, rest) = rest.strip_prefix("type=")?.split_once(' ')?;
        let rest = rest.strip_prefix("msg=").unwrap_or(rest);
        let (stamp, fields) = rest.strip_prefix("audit(")?.split_once(')')?;
        let (time, serial) = stamp.rsplit_once(':')?;
        let is_number = |text: &str| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        };
        if !is_number(time) || !is_number(serial) {
            return None;
        }
        let kind = TYPES.iter().find(|(code, _)| *code == kind).map_or(kind, |(_, name)| *name);
        let fields = fields.strip_prefix(':').unwrap_or(fields);
        Some(Record { node, kind, time, serial, fields })
    }

    /// Whether other records of the same event may follow. This is what the daemon's own library goes
    /// by: user space writes events of one record, and the kernel's end with the command's title or
    /// with a record that says so.
    pub fn has_more(&self) -> bool {
        const ALONE: [&str; 24] = [
            "ADD_GROUP",
            "ADD_USER",
            "CHGRP_ID",
            "CHUSER_ID",
            "CRED_ACQ",
            "CRED_DISP",
            "CRED_REFR",
            "DEL_GROUP",
            "DEL_USER",
            "GRP_AUTH",
            "GRP_CHAUTHTOK",
            "GRP_MGMT",
            "LABEL_LEVEL_CHANGE",
            "LABEL_OVERRIDE",
            "LOGIN",
            "ROLE_ASSIGN",
            "ROLE_REMOVE",
            "SERVICE_START",
            "SERVICE_STOP",
            "SYSTEM_BOOT",
            "SYSTEM_RUNLEVEL",
            "SYSTEM_SHUTDOWN",
            "TEST",
            "TRUSTED_APP",
        ];
        const ALONE_STARTS: [&str; 7] =
            ["ACCT_", "CRYPTO_", "DAEMON_", "RESP_", "SOFTWARE_", "USER", "VIRT_"];
        !(self.is_last()
            || ALONE.contains(&self.kind)
            || ALONE_STARTS.iter().any(|start| self.kind.starts_with(start)))
    }

    /// Whether it is the last record of an event of several.
    pub fn is_last(&self) -> bool {
        matches!(self.kind, "EOE" | "PROCTITLE")
    }
}

/// Whether a value that a field has already is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// As of several files or arguments.
    Counts,
    /// It is what another record of the event said too.
    Same,
}

/// Reads the records of one event, a line each. `None`: the text is something else. Fields of the
/// records are `data.KEY`; beside them `time`, `sequence`, `node`, `execve.args`,
/// `execve.command_line`, `paths.NAMETYPE`, `socket.family`, `socket.address`, `socket.port`,
/// `socket.path`.
pub(crate) fn read(text: &str, put: &mut dyn FnMut(&str, &str, Again)) -> Option<()> {
    let first = Record::read(text.lines().next()?)?;
    put("time", first.time, Again::Same);
    put("sequence", first.serial, Again::Same);
    if let Some(node) = first.node {
        put("node", node, Again::Same);
    }
    let records = || text.lines().filter_map(Record::read);
    together(records(), &mut |name, value| put(name, value, Again::Counts));
    let mut path = String::with_capacity(32);
    for record in records().filter(|record| record.kind != "EOE") {
        let again = if record.kind == "PATH" { Again::Counts } else { Again::Same };
        put("data.type", record.kind, Again::Same);
        if let Some((result, permissions)) = decision(record.fields) {
            put("data.seresult", result, Again::Same);
            put("data.seperms", permissions, Again::Same);
        }
        let is_execve = record.kind == "EXECVE";
        pairs(record.fields, &mut |key, value, is_quoted| {
            path.clear();
            path.push_str("data.");
            path.push_str(key);
            let may_be_hex = ENCODED.contains(&key) || (is_execve && argument(key).is_some());
            put(&path, &decoded(value, is_quoted || !may_be_hex), again);
        });
    }
    Some(())
}

/// What only all records of the event tell together.
fn together<'t>(records: impl Iterator<Item = Record<'t>>, put: &mut dyn FnMut(&str, &str)) {
    let mut arguments: Vec<(usize, String)> = Vec::new();
    let mut folder = String::new();
    for record in records {
        match record.kind {
            "EXECVE" => pairs(record.fields, &mut |key, value, is_quoted| {
                let Some(index) = argument(key) else { return };
                let value = decoded(value, is_quoted);
                // A long argument comes in parts, `a1[0]`, `a1[1]`, and of each argument a length.
                let is_room = arguments.len() < ARGUMENTS_MAX;
                match arguments.last_mut() {
                    Some((last, text)) if *last == index => text.push_str(&value),
                    _ if is_room => arguments.push((index, value.into_owned())),
                    _ => {}
                }
            }),
            "CWD" => pairs(record.fields, &mut |key, value, is_quoted| {
                if key == "cwd" {
                    folder = decoded(value, is_quoted).into_owned();
                }
            }),
            "PATH" => {
                let (mut name, mut kind) = (String::new(), "normal".to_owned());
                pairs(record.fields, &mut |key, value, is_quoted| match key {
                    "name" => name = decoded(value, is_quoted).into_owned(),
                    "nametype" => kind = value.to_ascii_lowercase(),
                    _ => {}
                });
                if matches!(name.as_str(), "" | "(null)" | "?") {
                    continue;
                }
                if !name.starts_with('/') && folder.starts_with('/') {
                    let name_below = name.strip_prefix("./").unwrap_or(&name);
                    name = format!("{}/{name_below}", folder.trim_end_matches('/'));
                }
                put(&format!("paths.{kind}"), &name);
            }
            "SOCKADDR" => pairs(record.fields, &mut |key, value, _| {
                if key == "saddr" {
                    socket(value, put);
                }
            }),
            _ => {}
        }
    }
    if !arguments.is_empty() {
        for (_, argument) in &arguments {
            put("execve.args", argument);
        }
        let words: Vec<&str> = arguments.iter().map(|(_, word)| word.as_str()).collect();
        put("execve.command_line", &words.join(" "));
    }
}

/// The place of an argument: `a1`, or `a1[0]` where it comes in parts.
fn argument(key: &str) -> Option<usize> {
    let digits = key.strip_prefix('a')?;
    let digits = match digits.split_once('[') {
        Some((digits, part)) if part.ends_with(']') => digits,
        Some(_) => return None,
        None => digits,
    };
    digits.parse().ok()
}

/// What SELINUX decided: `avc:  denied  { read write } for  pid=7`.
fn decision(fields: &str) -> Option<(&str, &str)> {
    let rest = fields.trim_start().strip_prefix("avc:")?.trim_start();
    let (result, rest) = rest.split_once(' ')?;
    let (permissions, _) = rest.trim_start().strip_prefix('{')?.split_once('}')?;
    Some((result, permissions.trim()))
}

/// The address in the bytes of a `struct sockaddr`, in hexadecimal: `02000016CB007105...`. The family
/// is in the machine's order; the port and the address are in the network's.
fn socket(hex: &str, put: &mut dyn FnMut(&str, &str)) {
    let Some(bytes) = bytes_of_hex(hex) else { return };
    let family = match bytes.get(..2) {
        // The family is below 256 in either order of bytes.
        Some([low, 0]) => *low,
        Some([0, high]) => *high,
        _ => return,
    };
    let port = || bytes.get(2..4).and_then(|port| Some(u16::from_be_bytes(port.try_into().ok()?)));
    match family {
        1 => {
            put("socket.family", "unix");
            let path = bytes.get(2..).unwrap_or_default();
            // An abstract name begins with NUL.
            let path = path.strip_prefix(&[0]).unwrap_or(path);
            let path = path.split(|byte| *byte == 0).next().unwrap_or_default();
            if let Ok(path) = std::str::from_utf8(path) {
                put("socket.path", path);
            }
        }
        2 => {
            put("socket.family", "ipv4");
            let address = bytes.get(4..8).and_then(|octets| <[u8; 4]>::try_from(octets).ok());
            if let (Some(port), Some(address)) = (port(), address) {
                put("socket.address", &Ipv4Addr::from(address).to_string());
                put("socket.port", &port.to_string());
            }
        }
        10 => {
            put("socket.family", "ipv6");
            let address = bytes.get(8..24).and_then(|octets| <[u8; 16]>::try_from(octets).ok());
            if let (Some(port), Some(address)) = (port(), address) {
                put("socket.address", &Ipv6Addr::from(address).to_canonical().to_string());
                put("socket.port", &port.to_string());
            }
        }
        16 => put("socket.family", "netlink"),
        17 => put("socket.family", "packet"),
        _ => {}
    }
}

/// Calls `each` with the key and value of every `key=value`, and whether the value was quoted. What
/// user space adds stands in quotes of its own (`msg='op=login res=success'`) and is read the same.
fn pairs(text: &str, each: &mut dyn FnMut(&str, &str, bool)) {
    let mut rest = text;
    while let Some((key, after)) = rest.split_once('=') {
        // Names that the daemon resolved are set off by a group separator.
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
        let (value, is_quoted, after) = match after.strip_prefix('"') {
            Some(inner) => {
                let (value, after) = inner.split_once('"').unwrap_or((inner, ""));
                (value, true, after)
            }
            // What `ausearch` resolved: `SADDR={ saddr_fam=inet laddr=203.0.113.5 lport=22 }`.
            None if after.starts_with("{ ") => {
                rest = after.get(2..).unwrap_or_default();
                continue;
            }
            None => {
                let end = after.find([' ', '\u{1d}']).unwrap_or(after.len());
                let (value, after) = after.split_at_checked(end).unwrap_or((after, ""));
                (value, false, after)
            }
        };
        if !key.is_empty() && key.len() <= KEY_BYTES_MAX {
            each(key, value, is_quoted);
        }
        rest = after;
    }
}

/// A value, read from hexadecimal if the kernel wrote it so.
fn decoded(value: &str, is_plain: bool) -> Cow<'_, str> {
    match (!is_plain).then(|| from_hex(value)).flatten() {
        Some(text) => text.into(),
        None => value.into(),
    }
}

fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}

/// Text that was written in hexadecimal; arguments in it are set off by NUL.
fn from_hex(text: &str) -> Option<String> {
    let mut bytes = bytes_of_hex(text).filter(|bytes| !bytes.is_empty())?;
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    for byte in &mut bytes {
        if *byte == 0 {
            *byte = b' ';
        }
    }
    // The kernel encodes because of such a character. Other control characters are in no name or
    // command, so that what holds them is a number that happens to have an even count of digits.
    let needed = bytes.iter().any(|byte| matches!(byte, b' ' | b'"' | b'\t' | b'\n' | 127..));
    let is_binary = bytes.iter().any(|byte| matches!(byte, 1..=8 | 11..=31));
    let text = String::from_utf8(bytes).ok()?;
    (needed && !is_binary).then_some(text)
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use proptest::prelude::*;

    use super::{Record, from_hex, read};

    fn fields(text: &str) -> String {
        let mut all = Vec::new();
        read(text, &mut |name, value, _| all.push(format!("{name}={value}"))).unwrap();
        all.join("\n")
    }

    #[test]
    fn the_records_of_an_event_are_one() {
        let text = "node=h1 type=SYSCALL msg=audit(1795514400.123:456): arch=c000003e syscall=59 success=yes a0=55d0 ppid=1 pid=7 comm=\"sh\" exe=\"/bin/sh\" key=(null)\x1dARCH=x86_64 SYSCALL=execve AUID=\"anna\"
node=h1 type=EXECVE msg=audit(1795514400.123:456): argc=4 a0=\"sh\" a1=\"-c\" a2_len=12 a2[0]=6563686F2061 a2[1]=\"bcd\" a3=\"x\"
node=h1 type=CWD msg=audit(1795514400.123:456): cwd=\"/home/anna\"
node=h1 type=PATH msg=audit(1795514400.123:456): item=0 name=\"./run.sh\" inode=5 nametype=NORMAL
node=h1 type=PATH msg=audit(1795514400.123:456): item=1 name=\"/lib64/ld-linux-x86-64.so.2\" nametype=NORMAL
node=h1 type=PROCTITLE msg=audit(1795514400.123:456): proctitle=7368002D6300
node=h1 type=EOE msg=audit(1795514400.123:456): ";
        assert_snapshot!(fields(text), @"
        time=1795514400.123
        sequence=456
        node=h1
        paths.normal=/home/anna/run.sh
        paths.normal=/lib64/ld-linux-x86-64.so.2
        execve.args=sh
        execve.args=-c
        execve.args=echo abcd
        execve.args=x
        execve.command_line=sh -c echo abcd x
        data.type=SYSCALL
        data.arch=c000003e
        data.syscall=59
        data.success=yes
        data.a0=55d0
        data.ppid=1
        data.pid=7
        data.comm=sh
        data.exe=/bin/sh
        data.key=(null)
        data.ARCH=x86_64
        data.SYSCALL=execve
        data.AUID=anna
        data.type=EXECVE
        data.argc=4
        data.a0=sh
        data.a1=-c
        data.a2_len=12
        data.a2[0]=echo a
        data.a2[1]=bcd
        data.a3=x
        data.type=CWD
        data.cwd=/home/anna
        data.type=PATH
        data.item=0
        data.name=./run.sh
        data.inode=5
        data.nametype=NORMAL
        data.type=PATH
        data.item=1
        data.name=/lib64/ld-linux-x86-64.so.2
        data.nametype=NORMAL
        data.type=PROCTITLE
        data.proctitle=sh -c
        ");
    }

    #[test]
    fn addresses_of_sockets_are_read() {
        let of = |hex: &str| {
            let text = format!("type=SOCKADDR msg=audit(1795514400.123:456): saddr={hex}");
            fields(&text)
                .lines()
                .filter(|line| line.starts_with("socket"))
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(
            of("02000016CB0071050000000000000000"),
            "socket.family=ipv4 socket.address=203.0.113.5 socket.port=22"
        );
        assert_eq!(
            of("0A0001BB0000000020010DB800000000000000000000000500000000"),
            "socket.family=ipv6 socket.address=2001:db8::5 socket.port=443"
        );
        assert_eq!(
            of("01002F7661722F72756E2F6E7363642F736F636B657400"),
            "socket.family=unix socket.path=/var/run/nscd/socket"
        );
        for hex in ["", "02", "0200", "zz", "0500", "02000016CB"] {
            of(hex);
        }
    }

    #[test]
    fn what_selinux_decided_is_read() {
        let text = "type=AVC msg=audit(1795514400.123:456): avc:  denied  { read write } for  pid=7 comm=\"httpd\" scontext=system_u:system_r:httpd_t:s0 tclass=file permissive=0";
        assert!(fields(text).contains("data.seresult=denied\ndata.seperms=read write\ndata.pid=7"));
    }

    #[test]
    fn who_may_have_company_is_known() {
        let has_more = |kind: &str| {
            let text = format!("type={kind} msg=audit(1.1:1): ");
            Record::read(&text).unwrap().has_more()
        };
        for kind in ["SYSCALL", "EXECVE", "AVC", "1300", "CONFIG_CHANGE", "UNKNOWN[1340]"] {
            assert!(has_more(kind), "{kind}");
        }
        for kind in ["USER_LOGIN", "CRED_ACQ", "PROCTITLE", "EOE", "1320", "DAEMON_START"] {
            assert!(!has_more(kind), "{kind}");
        }
    }

    #[test]
    fn only_what_the_kernel_encoded_is_decoded() {
        assert_eq!(from_hex("6563686F2061").as_deref(), Some("echo a"));
        assert_eq!(from_hex("7368002D6300").as_deref(), Some("sh -c"));
        assert_eq!(from_hex("0100"), None);
        assert_eq!(from_hex("face"), None);
        assert_eq!(from_hex("abc"), None);
    }

    proptest! {
        #[test]
        fn any_record_is_read(
            kind in "(EXECVE|PATH|CWD|SOCKADDR|AVC|X)",
            fields in "([a-z0-9]{0,3}=|saddr=|[a-f0-9]{1,9}|a1\\[0\\]=|name=)?[a-z0-9=\"' {\\x1d]{0,60}\\PC{0,10}",
        ) {
            let text = format!("type={kind} msg=audit(1795514400.123:456): {fields}");
            let mut first = None;
            read(&text, &mut |name, value, _| {
                if name == "data.type" {
                    first.get_or_insert(value.to_owned());
                }
            })
            .unwrap();
            prop_assert_eq!(first, Some(kind));
        }
    }
}
