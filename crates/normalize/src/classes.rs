//! Which Sigma classes normalisation gives, to say of a rule that nothing feeds it.
//!
//! Each decoder tells its own, from the tables that it decodes with, so that the answer can't fall
//! behind. It is not the whole truth: a sender may state a class of its own on an ECS document, or
//! name it as its dataset, and the name of any Linux program is a service.

use event::Logsource;
use mapping::Mappings;

use crate::{json, program, syslog};

/// The classes, each once.
pub fn classes(mappings: &Mappings) -> Vec<Logsource<'_>> {
    let own = program::classes().chain(json::classes()).chain([syslog::CISCO]);
    let mut classes = mappings.classes();
    for class in own {
        classes.push(class);
    }
    classes.sort_by_key(|class| (class.product, class.category, class.service));
    classes.dedup();
    classes
}

#[cfg(test)]
mod tests {
    use event::{Event, Logsource, RawRecord, Timestamp};

    use super::classes;
    use crate::tests::{mappings, normalizer};

    fn class(
        product: &'static str,
        category: &'static str,
        service: &'static str,
    ) -> Logsource<'static> {
        let part = |text: &'static str| (!text.is_empty()).then_some(text);
        Logsource { product: part(product), category: part(category), service: part(service) }
    }

    #[test]
    fn what_is_decoded_is_among_them() {
        let mappings = mappings();
        let known = classes(&mappings);
        let check = |payload: &str, dataset: &str, expected: Logsource<'_>| {
            let raw = RawRecord { dataset, ..RawRecord::new(payload.as_bytes(), Timestamp::EPOCH) };
            let mut seen = Event::new();
            normalizer().normalize(&raw, None, &mut |event| seen = event.clone()).unwrap();
            assert_eq!(Logsource::of(&seen), expected, "{payload}");
            assert!(known.contains(&expected), "{expected:?}");
        };
        let windows = |provider: &str, channel: &str, code: u32, data: &str| {
            format!(
                r##"{{"Event":{{"System":{{"Provider":{{"#attributes":{{"Name":"{provider}"}}}},"Channel":"{channel}","EventID":{code}}},"EventData":{{{data}}}}}}}"##
            )
        };
        let sysmon = "Microsoft-Windows-Sysmon/Operational";
        let check_windows = |text: String, expected| check(&text, "", expected);
        check_windows(
            windows("Microsoft-Windows-Sysmon", sysmon, 1, ""),
            class("windows", "process_creation", "sysmon"),
        );
        check_windows(
            windows("Microsoft-Windows-Sysmon", sysmon, 12, r#""EventType":"DeleteValue""#),
            class("windows", "registry_delete", "sysmon"),
        );
        check_windows(
            windows("Microsoft-Windows-Sysmon", sysmon, 12, r#""EventType":"Other""#),
            class("windows", "registry_event", "sysmon"),
        );
        check_windows(
            windows("Linux-Sysmon", "Linux-Sysmon/Operational", 11, ""),
            class("linux", "file_event", "sysmon"),
        );
        check_windows(
            windows("Microsoft-Windows-Security-Auditing", "Security", 4688, ""),
            class("windows", "process_creation", "security"),
        );
        check_windows(windows("P", "Some/Channel", 1, ""), class("windows", "", ""));
        check_windows(windows("RPCFW", "RPCFW", 3, ""), class("rpc_firewall", "application", ""));
        let line = "Nov 24 12:00:00 web1 sshd[7]: Connection closed by 203.0.113.5 port 22";
        check(line, "", class("linux", "", "sshd"));
        check("Nov 24 12:00:00 web1 CRON[7]: x", "", class("linux", "", "cron"));
        let line = "type=SYSCALL msg=audit(1732449600.123:7): arch=c000003e exe=\"/bin/sh\"";
        check(line, "", class("linux", "", "auditd"));
        let line = r#"203.0.113.5 - - [24/Nov/2026:12:00:00 +0000] "GET / HTTP/1.1" 200 5"#;
        check(line, "", class("", "webserver", ""));
        check(line, "apache.access", class("apache", "webserver", ""));
        let line =
            r#"{"eventSource":"iam.amazonaws.com","eventName":"CreateUser","awsRegion":"x"}"#;
        check(line, "", class("aws", "", "cloudtrail"));
    }

    #[test]
    fn ecs_documents_have_theirs() {
        let mappings = mappings();
        let known = classes(&mappings);
        assert!(known.contains(&class("macos", "process_creation", "")));
        assert!(known.contains(&class("windows", "dns_query", "")));
        assert!(!known.contains(&class("acme", "", "acme")));
    }
}
