//! Which events a rule reads.
//!
//! Every event carries a product, a category and a service, decided when it was normalised, and a
//! rule names some of these. A part that the rule names must be the event's, or one that the
//! rule's word generalises: the tables below, which are all there is to know about it.

use crate::rule::Logsource;

/// A rule's category, and the events' categories that it covers too.
const CATEGORIES: &[(&str, &[&str])] = &[
    // Sysmon tells of a deletion that it archived (23) and of one that it only saw (26).
    ("file_delete", &["file_delete_detected"]),
    // Sysmon's registry events: added or deleted key, value set, key or value renamed.
    ("registry_event", &["registry_add", "registry_delete", "registry_rename", "registry_set"]),
];

/// On Linux, a rule's service, and the events' services that it covers too. `auth.log` (or
/// `secure`) is one file with the messages of many programs.
const LINUX_SERVICES: &[(&str, &[&str])] = &[(
    "auth",
    &[
        "chage",
        "chfn",
        "chpasswd",
        "chsh",
        "cron",
        "gpasswd",
        "groupadd",
        "groupdel",
        "groupmod",
        "login",
        "newgrp",
        "passwd",
        "pam",
        "pkexec",
        "polkitd",
        "sshd",
        "su",
        "sudo",
        "systemd-logind",
        "useradd",
        "userdel",
        "usermod",
    ],
)];

/// On Linux, services that are not part of the system log, which otherwise covers everything.
const LINUX_NOT_SYSLOG: &[&str] = &["auditd", "sysmon"];

/// The categories of events that a rule of this category reads: its own first.
pub fn categories(rule: &str) -> impl Iterator<Item = &str> {
    let covered = CATEGORIES.iter().filter(move |(general, _)| *general == rule);
    std::iter::once(rule).chain(covered.flat_map(|(_, special)| special.iter().copied()))
}

/// Whether an event of this product, category and service is one that the rule reads.
pub fn feeds(rule: &Logsource, event: (Option<&str>, Option<&str>, Option<&str>)) -> bool {
    let (product, category, service) = event;
    part_feeds(&rule.product, product, |_, _| false)
        && part_feeds(&rule.category, category, |own, event| listed(CATEGORIES, own, event))
        && part_feeds(&rule.service, service, |own, event| {
            product == Some("linux")
                && (listed(LINUX_SERVICES, own, event)
                    || (own == "syslog" && !LINUX_NOT_SYSLOG.contains(&event)))
        })
}

/// Whether the part that the rule names, if it does, is the event's or covers it.
fn part_feeds(
    rule: &Option<String>,
    event: Option<&str>,
    covers: impl Fn(&str, &str) -> bool,
) -> bool {
    match (rule, event) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(own), Some(event)) => own == event || covers(own, event),
    }
}

fn listed(table: &[(&str, &[&str])], own: &str, event: &str) -> bool {
    table.iter().any(|(general, special)| *general == own && special.contains(&event))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_part_must_fit() {
        let check = |rule: [&str; 3], event: [&str; 3], expected: bool| {
            let part = |text: &'static str| (!text.is_empty()).then_some(text);
            let own = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            let logsource = Logsource {
                product: own(rule[0]),
                category: own(rule[1]),
                service: own(rule[2]),
                definition: None,
            };
            let event: [&'static str; 3] = event.map(|text| &*text.to_owned().leak());
            let event = (part(event[0]), part(event[1]), part(event[2]));
            assert_eq!(feeds(&logsource, event), expected, "{rule:?} {event:?}");
        };
        let sysmon_1 = ["windows", "process_creation", "sysmon"];
        check(["windows", "process_creation", ""], sysmon_1, true);
        check(["windows", "", "sysmon"], sysmon_1, true);
        check(["windows", "", "security"], sysmon_1, false);
        check(["linux", "process_creation", ""], sysmon_1, false);
        check(["", "", ""], sysmon_1, true);
        check(["windows", "registry_event", ""], ["windows", "registry_set", "sysmon"], true);
        check(["windows", "registry_set", ""], ["windows", "registry_add", "sysmon"], false);
        check(["linux", "", "auth"], ["linux", "", "sshd"], true);
        check(["linux", "", "sshd"], ["linux", "", "auth"], false);
        check(["linux", "", "syslog"], ["linux", "", "cron"], true);
        check(["linux", "", "syslog"], ["linux", "", "auditd"], false);
        check(["windows", "", "auth"], ["windows", "", "sshd"], false);
        check(["linux", "", "auth"], ["linux", "", ""], false);
    }
}
