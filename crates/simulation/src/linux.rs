//! Lines of the Linux system log as rsyslog forwards them. Two hosts still send the old form
//! (RFC 3164: no year, no zone, whole seconds), two the new one (RFC 5424); both are usual.

use event::Timestamp;

use crate::fleet::{BUILD, DATABASE, Host};
use crate::world::World;
use crate::{SimEvent, Source};

/// syslog facilities.
pub(crate) const KERN: u8 = 0;
pub(crate) const DAEMON: u8 = 3;
pub(crate) const CRON: u8 = 9;
pub(crate) const AUTHPRIV: u8 = 10;
/// syslog severities.
pub(crate) const WARNING: u8 = 4;
pub(crate) const NOTICE: u8 = 5;
pub(crate) const INFO: u8 = 6;

/// A line of a program.
pub(crate) fn line(
    world: &mut World,
    at: Timestamp,
    host: Host,
    (facility, severity): (u8, u8),
    (program, pid): (&str, Option<u32>),
    message: &str,
) {
    let priority = facility * 8 + severity;
    let time = at.to_jiff();
    let name = host.name;
    let text = if host == BUILD || host == DATABASE {
        let pid = pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        let time = time.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00");
        format!("<{priority}>1 {time} {name} {program} {pid} - - {message}")
    } else {
        let pid = pid.map_or_else(String::new, |pid| format!("[{pid}]"));
        let time = time.strftime("%b %e %H:%M:%S");
        format!("<{priority}>{time} {name} {program}{pid}: {message}")
    };
    world.emit(SimEvent {
        time: at,
        source: Source::Linux,
        dataset: "",
        host: name.to_owned(),
        payload: text.into_bytes(),
    });
}

/// A line of `sshd`.
pub(crate) fn sshd(world: &mut World, at: Timestamp, host: Host, pid: u32, message: &str) {
    line(world, at, host, (AUTHPRIV, INFO), ("sshd", Some(pid)), message);
}

/// A command through `sudo`, with the lines of PAM around it.
pub(crate) fn sudo(
    world: &mut World,
    at: Timestamp,
    host: Host,
    user: &str,
    directory: &str,
    command: &str,
) {
    let from = (AUTHPRIV, INFO);
    let uid = uid(user);
    let message =
        format!("{user:>8} : TTY=pts/0 ; PWD={directory} ; USER=root ; COMMAND={command}");
    line(world, at, host, (AUTHPRIV, NOTICE), ("sudo", None), &message);
    let message =
        format!("pam_unix(sudo:session): session opened for user root(uid=0) by {user}(uid={uid})");
    line(world, at, host, from, ("sudo", None), &message);
    let end = world.later(at.plus_nanos(crate::world::SECOND), 2_000);
    line(
        world,
        end,
        host,
        from,
        ("sudo", None),
        "pam_unix(sudo:session): session closed for user root",
    );
}

/// The number of a user.
pub(crate) fn uid(user: &str) -> u32 {
    match user {
        "root" => 0,
        "petra" => 1001,
        "sven" => 1002,
        "samir" => 1003,
        "deploy" => 1010,
        "backup" => 1011,
        _ => 1099,
    }
}
