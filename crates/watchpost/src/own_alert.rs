//! Alerts that the engine raises itself, not a rule about events.

use bus::{Bus, BusError, Records, Topic};
use event::{Alert, Level, RuleRef, Timestamp};

/// An alert about the engine or what feeds it.
pub(crate) struct OwnAlert<'a> {
    /// What stands for a rule: `watchpost.ledger`.
    pub(crate) rule: &'static str,
    /// What it is about, in a line.
    pub(crate) title: &'static str,
    pub(crate) level: Level,
    /// What is wrong, with figures.
    pub(crate) reason: String,
    /// What makes it this alert and no other, so that copies of the engine raise one.
    pub(crate) identity: &'a str,
    /// Fields that tell what it is about, with their values.
    pub(crate) group: Vec<(String, String)>,
}

/// Stores it among the alerts.
///
/// # Errors
/// When the bus does not take it.
pub(crate) fn raise(bus: &dyn Bus, alert: OwnAlert<'_>, now: Timestamp) -> Result<(), BusError> {
    let OwnAlert { rule, title, level, reason, identity, group } = alert;
    let rule =
        RuleRef { id: rule.to_owned(), title: title.to_owned(), level, ..RuleRef::default() };
    let alert = Alert {
        id: Alert::make_id(&[&rule.id, identity]),
        time: now,
        created: now,
        received: now,
        rule,
        reason,
        namespace: event::raw::NAMESPACE_DEFAULT.to_owned(),
        matched: Vec::new(),
        group,
        event_count: 0,
        event_ids: Vec::new(),
        evidence: Vec::new(),
    };
    store(bus, &alert)
}

/// Puts an alert where those of rules are. One with the same id takes the place of the former.
///
/// # Errors
/// When the bus does not take it.
pub(crate) fn store(bus: &dyn Bus, alert: &Alert) -> Result<(), BusError> {
    let Ok(document) = alert.to_event() else { return Ok(()) };
    let mut records = Records::new();
    records.push(alert.id.as_bytes(), &[], document.to_json().as_bytes());
    bus.append(Topic::Alerts, &mut records)
}
