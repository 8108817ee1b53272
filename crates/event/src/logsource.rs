//! The Sigma logsource class of an event, and the fields of the event that carry it.
//!
//! Normalisation decides the class once; detection routes by it. An event has all three parts at
//! once where it can (Sysmon 1 is `windows` / `process_creation` / `sysmon`), because a rule may
//! name any of them.

use crate::Event;

/// Field with the Sigma product of an event.
pub const PRODUCT: &str = "watchpost.logsource.product";
/// Field with the Sigma category of an event.
pub const CATEGORY: &str = "watchpost.logsource.category";
/// Field with the Sigma service of an event.
pub const SERVICE: &str = "watchpost.logsource.service";

/// Which kind of log an event is from, in Sigma's taxonomy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Logsource<'a> {
    /// `windows`, `linux`, `aws`, ...
    pub product: Option<&'a str>,
    /// `process_creation`, `dns_query`, ...
    pub category: Option<&'a str>,
    /// `security`, `sshd`, `cloudtrail`, ...
    pub service: Option<&'a str>,
}

impl<'a> Logsource<'a> {
    /// The class that an event carries.
    pub fn of(event: &'a Event) -> Self {
        let part = |path| event.get(path).and_then(|value| value.as_str());
        Logsource { product: part(PRODUCT), category: part(CATEGORY), service: part(SERVICE) }
    }

    /// Writes the class into an event.
    pub fn stamp(self, event: &mut Event) {
        for (path, part) in
            [(PRODUCT, self.product), (CATEGORY, self.category), (SERVICE, self.service)]
        {
            if let Some(part) = part {
                event.set(path, part);
            }
        }
    }
}
