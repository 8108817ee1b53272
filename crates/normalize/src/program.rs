//! Messages of programs that no source knows: their class, and nothing of what they say.

use event::{Event, Logsource};

use crate::base_name;

/// Programs under the name that Sigma has for their service.
const SERVICES: &[(&str, &str)] = &[
    ("anacron", "cron"),
    ("clamd", "clamav"),
    ("clamscan", "clamav"),
    ("crond", "cron"),
    ("crontab", "cron"),
    ("freshclam", "clamav"),
    ("guacd", "guacamole"),
];

/// Services of [`SERVICES`], and others that rules are written for.
const KNOWN: &[&str] = &["clamav", "cron", "guacamole"];

/// The service of a message that names no program.
const NO_PROGRAM: &str = "syslog";

/// The classes of the programs that are known; any other has one of its own name.
pub(crate) fn classes() -> impl Iterator<Item = Logsource<'static>> {
    KNOWN.iter().copied().chain([NO_PROGRAM]).map(class)
}

fn class(service: &str) -> Logsource<'_> {
    Logsource { product: Some("linux"), category: None, service: Some(service) }
}

/// Says of which program a message is. `out` has the header and the text already.
pub(crate) fn decode(program: &str, out: &mut Event) {
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
    out.append("event.category", "host");
    out.append("event.type", "info");
    // Any program's name may be a rule's service, but only known ones make a dataset: senders choose
    // the names, and datasets are listed and counted.
    class(if service.is_empty() { NO_PROGRAM } else { service }).stamp(out);
    let dataset = if KNOWN.contains(&service) { service } else { "syslog" };
    out.set("event.dataset", format!("linux.{dataset}").as_str());
    out.set("event.module", "linux");
}
