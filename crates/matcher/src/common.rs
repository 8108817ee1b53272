//! How common a text is in logs: a guess, made once when rules are compiled.
//!
//! A rule waits for the rarest thing that it needs. Nothing but speed depends on the guess, so it
//! is a small table of what every Windows host and every Linux server writes all day, and for the
//! rest the length: a long literal is rare.

/// Texts that stand in so large a part of the values that one would search them in. A literal
/// that is a part of one of these is as common.
const COMMON: &[(&str, f64)] = &[
    (r"c:\windows\system32\", 0.5),
    (r"c:\windows\syswow64\", 0.15),
    (r"c:\windows\explorer.exe", 0.1),
    (r"c:\program files\", 0.2),
    (r"c:\program files (x86)\", 0.15),
    (r"c:\programdata\", 0.1),
    (r"c:\users\administrator\", 0.1),
    (r"\appdata\local\temp\", 0.1),
    (r"\appdata\local\microsoft\", 0.1),
    (r"\appdata\roaming\microsoft\windows\", 0.1),
    (r"\device\harddiskvolume", 0.1),
    (r"\windowspowershell\v1.0\powershell.exe", 0.1),
    (r"windows powershell", 0.1),
    (r"powershell.exe", 0.12),
    (r"\system32\cmd.exe", 0.12),
    (r"\cmd.exe /c ", 0.12),
    (r"cmd.exe", 0.12),
    (r"\system32\svchost.exe -k ", 0.2),
    (r"\system32\rundll32.exe", 0.05),
    (r"\system32\services.exe", 0.1),
    (r"\system32\lsass.exe", 0.1),
    (r"\system32\conhost.exe", 0.05),
    (r"\system32\wbem\wmiprvse.exe", 0.05),
    (r"\system32\ntdll.dll", 0.1),
    (r"\system32\kernelbase.dll", 0.1),
    (r"\system32\kernel32.dll", 0.1),
    (r"\temp\", 0.1),
    (".exe", 0.6),
    (".dll", 0.4),
    (".ps1", 0.05),
    (".sys", 0.05),
    ("microsoft windows", 0.3),
    ("microsoft corporation", 0.3),
    ("microsoft-windows-security-auditing", 0.3),
    ("microsoft-windows-sysmon/operational", 0.4),
    ("microsoft-windows-powershell/operational", 0.1),
    (r"hklm\system\currentcontrolset\services\", 0.2),
    (r"hklm\software\microsoft\windows\currentversion\", 0.2),
    (r"hklm\software\microsoft\windows nt\currentversion\", 0.1),
    (r"hku\s-1-5-21-", 0.1),
    (r"s-1-5-18", 0.3),
    (r"nt authority\system", 0.3),
    (r"nt authority\network service", 0.1),
    (r"registry\machine\", 0.1),
    ("system", 0.3),
    ("https://www.", 0.1),
    ("http://", 0.1),
    (".com/", 0.1),
    ("0x00000000", 0.2),
    ("127.0.0.1", 0.1),
    ("/usr/bin/", 0.2),
    ("/usr/sbin/", 0.1),
    ("/bin/bash", 0.2),
    ("/bin/sh -c ", 0.2),
    ("/usr/lib/", 0.1),
    ("/home/", 0.1),
    ("/etc/", 0.1),
    ("/var/log/", 0.1),
    ("/tmp/", 0.05),
    (" --", 0.2),
    ("sudo", 0.05),
    ("sshd", 0.1),
    ("root", 0.2),
    ("user", 0.3),
    ("session", 0.1),
    ("error", 0.1),
    ("amazonaws.com", 0.5),
    ("mozilla/5.0", 0.3),
    ("true", 0.3),
    ("false", 0.3),
    ("success", 0.3),
    ("failure", 0.1),
    ("name", 0.1),
    ("new-object", 0.02),
];

/// Fields of which a few values make up nearly all.
const FEW_VALUES: &[&str] = &[
    "event.code",
    "event.provider",
    "event.action",
    "event.category",
    "event.kind",
    "event.module",
    "event.dataset",
    "event.outcome",
    "event.type",
    "network.direction",
    "network.transport",
    "network.type",
    "winlog.channel",
    "winlog.provider_name",
    "winlog.event_data.LogonType",
    "winlog.event_data.TargetObject",
    "winlog.logon.type",
    "http.request.method",
    "http.response.status_code",
    "destination.port",
];

/// Characters that few texts have, so that already one of them says something.
const RARE: &[u8] = b"`^~";

/// How large a part of the texts that it is searched in contains this literal.
pub(crate) fn contained(literal: &[u8]) -> f64 {
    let by_length = match literal.len() {
        0 => 1.0,
        1 if tells_enough(literal) => 0.05,
        1 => 0.8,
        2 => 0.4,
        3 => 0.15,
        4 => 0.06,
        5 => 0.03,
        6 => 0.015,
        7 => 0.01,
        8..12 => 0.006,
        _ => 0.003,
    };
    COMMON
        .iter()
        .filter(|(text, _)| memchr::memmem::find(text.as_bytes(), literal).is_some())
        .fold(by_length, |most, (_, part)| f64::max(most, *part))
}

/// Whether a literal is worth being searched for: not if nearly every text has it.
pub(crate) fn tells_enough(literal: &[u8]) -> bool {
    literal.len() >= 2 || literal.iter().any(|byte| RARE.contains(byte))
}

/// How large a part of the events has a value of this field with the literal at its start, its
/// end, both or anywhere. No field: any value of the event.
pub(crate) fn holds(field: Option<&str>, literal: &[u8], start: bool, end: bool) -> f64 {
    let Some(field) = field else { return (contained(literal) * 2.0).min(1.0) };
    match (start, end) {
        (true, true) if FEW_VALUES.contains(&field) => 0.2,
        (true, true) if literal.len() <= 2 => 0.2,
        (true, true) => (contained(literal) * 0.3).max(0.002),
        (false, false) => contained(literal),
        // `C:\` begins every path and `.exe` ends it; otherwise the place makes it rarer.
        _ if literal.len() <= 4 => contained(literal),
        _ => contained(literal) * 0.7,
    }
}

/// How large a part of the events has this field.
pub(crate) fn present(field: &str) -> f64 {
    if FEW_VALUES.contains(&field) { 0.9 } else { 0.5 }
}

/// The common texts, for whoever must avoid their parts.
pub(crate) fn texts() -> impl Iterator<Item = &'static str> {
    COMMON.iter().map(|(text, _)| *text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_things_are_told_from_common_ones() {
        assert!(contained(br"\windows\sys") > 0.4);
        assert!(contained(b"sekurlsa::") < 0.01);
        assert!(holds(Some("event.code"), b"4688", true, true) > 0.1);
        assert!(holds(Some("a"), br"\mimikatz.exe", false, true) < 0.01);
        assert!(contained(b"-") > contained(b"-en") && contained(b"-en") > contained(b"-enc c"));
    }
}
