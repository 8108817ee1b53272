//! What goes on on Linux hosts all day: operators, deployments, cron, units that start and stop,
//! and the Internet that tries names at the SSH entrance.

use event::Timestamp;

use crate::fleet::{self, BASTION, BUILD, DATABASE, WEB};
use crate::linux::{self, AUTHPRIV, CRON, DAEMON, INFO, KERN, WARNING};
use crate::world::{Habit, MS, SECOND, World};

/// Weights out of all sources' together, about 10,000.
pub(crate) const HABITS: &[(u32, Habit)] = &[
    (120, operator),
    (100, deployment),
    (12, typo),
    (60, knock),
    (160, cron),
    (400, unit),
    (30, become_postgres),
    (200, firewall),
    (2, package_user),
];

/// The lines of a key logon, from the first to the session. Gives the daemon's process.
fn key_logon(world: &mut World, at: Timestamp, host: fleet::Host, user: &str, from: &str) -> u32 {
    let pid = world.rng.u32(1_000..60_000);
    let (port, key) = (world.port(), world.hex(43));
    let uid = linux::uid(user);
    let message =
        format!("Accepted publickey for {user} from {from} port {port} ssh2: ED25519 SHA256:{key}");
    linux::sshd(world, at, host, pid, &message);
    let message = format!(
        "pam_unix(sshd:session): session opened for user {user}(uid={uid}) by {user}(uid=0)"
    );
    linux::sshd(world, at.plus_nanos(20 * MS), host, pid, &message);
    let session = world.rng.u32(100..9_000);
    let message = format!("New session {session} of user {user}.");
    let at = at.plus_nanos(25 * MS);
    linux::line(world, at, host, (AUTHPRIV, INFO), ("systemd-logind", Some(612)), &message);
    pid
}

fn logoff(world: &mut World, at: Timestamp, host: fleet::Host, user: &str, pid: u32) {
    let message = format!("pam_unix(sshd:session): session closed for user {user}");
    linux::sshd(world, at, host, pid, &message);
}

/// An operator logs on and does a thing or two as root.
fn operator(world: &mut World, at: Timestamp) {
    const COMMANDS: [&str; 8] = [
        "/usr/bin/systemctl restart nginx",
        "/usr/bin/journalctl -u nginx --since today",
        "/usr/bin/apt-get update",
        "/usr/bin/tail -n 200 /var/log/nginx/error.log",
        "/usr/bin/less /etc/ssh/sshd_config",
        "/usr/bin/find /var/log -name *.gz -mtime +90 -delete",
        "/usr/bin/vim /etc/nginx/sites-available/shop",
        "/usr/bin/du -sh /var/lib/postgresql",
    ];
    let user = world.one_of(&fleet::OPERATORS[..3]);
    let host = world.one_of(&fleet::LINUX);
    let from = world.one_of(&["10.20.5.11", "10.20.5.12", "10.20.2.40"]);
    let pid = key_logon(world, at, host, user, from);
    let mut at = at.plus_nanos(2 * SECOND);
    for _ in 0..world.rng.u32(1..=2) {
        let command = world.one_of(&COMMANDS);
        linux::sudo(world, at, host, user, &format!("/home/{user}"), command);
        at = world.later(at.plus_nanos(3 * SECOND), 6_000);
    }
    logoff(world, at, host, user, pid);
}

/// The build host brings a new version to the web server.
fn deployment(world: &mut World, at: Timestamp) {
    let pid = key_logon(world, at, WEB, "deploy", BUILD.ip);
    let command = "/usr/bin/systemctl reload shop.service";
    linux::sudo(world, at.plus_nanos(SECOND), WEB, "deploy", "/srv/shop", command);
    logoff(world, at.plus_nanos(4 * SECOND), WEB, "deploy", pid);
}

/// A mistyped password on the inside.
fn typo(world: &mut World, at: Timestamp) {
    let user = world.one_of(&fleet::OPERATORS[..3]);
    let from = world.one_of(&["10.20.5.11", "10.20.5.12", "10.20.5.13"]);
    let (pid, port) = (world.rng.u32(1_000..60_000), world.port());
    let mut at = at;
    for _ in 0..world.rng.u32(1..=2) {
        let message = format!("Failed password for {user} from {from} port {port} ssh2");
        linux::sshd(world, at, BASTION, pid, &message);
        at = world.later(at.plus_nanos(2 * SECOND), 3_000);
    }
    let message = format!("Accepted password for {user} from {from} port {port} ssh2");
    linux::sshd(world, at, BASTION, pid, &message);
}

/// Somebody on the Internet tries a name or two and goes away: the noise that every open SSH port
/// has, and below any threshold that makes sense.
fn knock(world: &mut World, at: Timestamp) {
    const NAMES: [&str; 10] =
        ["admin", "test", "oracle", "ubuntu", "git", "postgres", "pi", "ftpuser", "root", "user"];
    let from = format!("198.51.100.{}", world.rng.u8(60..=250));
    let mut at = at;
    for _ in 0..world.rng.u32(1..=2) {
        let (name, pid, port) = (world.one_of(&NAMES), world.rng.u32(1_000..60_000), world.port());
        let known = name == "root" || name == "postgres";
        if !known {
            let message = format!("Invalid user {name} from {from} port {port}");
            linux::sshd(world, at, BASTION, pid, &message);
        }
        let invalid = if known { "" } else { "invalid user " };
        let message = format!("Failed password for {invalid}{name} from {from} port {port} ssh2");
        linux::sshd(world, at.plus_nanos(300 * MS), BASTION, pid, &message);
        let kind = if known { "authenticating user" } else { "invalid user" };
        let message = format!("Connection closed by {kind} {name} {from} port {port} [preauth]");
        linux::sshd(world, at.plus_nanos(500 * MS), BASTION, pid, &message);
        at = world.later(at.plus_nanos(SECOND), 5_000);
    }
}

fn cron(world: &mut World, at: Timestamp) {
    const JOBS: [(fleet::Host, &str, &str); 6] = [
        (
            WEB,
            "root",
            "test -x /usr/sbin/anacron || { cd / && run-parts --report /etc/cron.hourly; }",
        ),
        (WEB, "www-data", "/usr/bin/php /srv/shop/bin/console mail:send --quiet"),
        (WEB, "root", "curl -fsS -o /dev/null https://status.corp.example/ping/web-01"),
        (DATABASE, "postgres", "/usr/bin/pg_dump -Fc shop -f /backup/shop.dump"),
        (BUILD, "deploy", "/usr/local/bin/clean-workspaces --older-than 7d"),
        (BASTION, "root", "/usr/lib/sysstat/sa1 1 1"),
    ];
    let (host, user, command) = world.one_of(&JOBS);
    let pid = Some(world.rng.u32(1_000..60_000));
    let uid = linux::uid(user);
    let log = (AUTHPRIV, INFO);
    let message =
        format!("pam_unix(cron:session): session opened for user {user}(uid={uid}) by (uid=0)");
    linux::line(world, at, host, log, ("CRON", pid), &message);
    let message = format!("({user}) CMD ({command})");
    linux::line(world, at.plus_nanos(2 * MS), host, (CRON, INFO), ("CRON", pid), &message);
    let end = world.later(at.plus_nanos(SECOND), 5_000);
    let message = format!("pam_unix(cron:session): session closed for user {user}");
    linux::line(world, end, host, log, ("CRON", pid), &message);
}

fn unit(world: &mut World, at: Timestamp) {
    let (name, what) = world.one_of(&[
        ("logrotate.service", "Rotate log files"),
        ("apt-daily.service", "Daily apt download activities"),
        ("fstrim.service", "Discard unused blocks on filesystems"),
        ("systemd-tmpfiles-clean.service", "Cleanup of Temporary Directories"),
        ("man-db.service", "Daily man-db regeneration"),
    ]);
    let host = world.one_of(&fleet::LINUX);
    let log = (DAEMON, INFO);
    linux::line(
        world,
        at,
        host,
        log,
        ("systemd", Some(1)),
        &format!("Starting {name} - {what}..."),
    );
    let at = at.plus_nanos(600 * MS);
    linux::line(
        world,
        at,
        host,
        log,
        ("systemd", Some(1)),
        &format!("{name}: Deactivated successfully."),
    );
    linux::line(world, at, host, log, ("systemd", Some(1)), &format!("Finished {name} - {what}."));
}

fn become_postgres(world: &mut World, at: Timestamp) {
    let user = world.one_of(&fleet::OPERATORS[..2]);
    let pid = Some(world.rng.u32(1_000..60_000));
    let log = (AUTHPRIV, INFO);
    let message = format!("(to postgres) {user} on pts/1");
    linux::line(world, at, DATABASE, log, ("su", pid), &message);
    let uid = linux::uid(user);
    let message = format!(
        "pam_unix(su-l:session): session opened for user postgres(uid=115) by {user}(uid={uid})"
    );
    linux::line(world, at.plus_nanos(5 * MS), DATABASE, log, ("su", pid), &message);
}

fn firewall(world: &mut World, at: Timestamp) {
    let (from, port) = (world.rng.u8(1..=250), world.one_of(&[23, 445, 3389, 5900, 8080, 6379]));
    let (source_port, id) = (world.port(), world.rng.u16(..));
    let host = world.one_of(&[WEB, BASTION]);
    let message = format!(
        "[UFW BLOCK] IN=eth0 OUT= MAC=02:42:ac:11:00:02:02:42:ac:11:00:01:08:00 SRC=203.0.113.{from} DST={} LEN=40 TOS=0x00 PREC=0x00 TTL=241 ID={id} PROTO=TCP SPT={source_port} DPT={port} WINDOW=1024 RES=0x00 SYN URGP=0",
        host.ip
    );
    linux::line(world, at, host, (KERN, WARNING), ("kernel", None), &message);
}

/// A package brings an account of its own, which nobody can log on to.
fn package_user(world: &mut World, at: Timestamp) {
    let pid = Some(world.rng.u32(1_000..60_000));
    let message = "new user: name=_chrony, UID=118, GID=124, home=/var/lib/chrony, shell=/usr/sbin/nologin, from=none";
    let host = world.one_of(&fleet::LINUX);
    linux::line(world, at, host, (AUTHPRIV, INFO), ("useradd", pid), message);
}
