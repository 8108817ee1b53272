//! What detection tells correlation, and what correlation tells people.
//!
//! Both are documents on the bus, so both are plain data with a JSON form. A [`Match`] carries the
//! event that matched, whole, because correlation must be able to make an alert without looking
//! anything up. An [`Alert`] is written as an ECS document (`event.kind: alert`, `rule.*`,
//! `threat.*`); what ECS has no field for stands under `watchpost.alert.*`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Event, ParseError, Timestamp};

/// The most events that an alert carries whole; of the others it keeps the ids (as many again as
/// [`EVIDENCE_IDS_MAX`]) and the count.
pub const EVIDENCE_MAX: usize = 10;

/// The most event ids that an alert lists.
pub const EVIDENCE_IDS_MAX: usize = 200;

/// A rule's severity, in Sigma's words.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Enriches other events; no alert by itself.
    Informational,
    /// Notable, rarely an incident.
    Low,
    /// Relevant; needs review in time. Sigma's meaning of a missing level.
    #[default]
    Medium,
    /// Important; needs prompt review.
    High,
    /// Very likely an incident.
    Critical,
}

impl Level {
    /// All levels, mildest first.
    pub const ALL: [Level; 5] =
        [Level::Informational, Level::Low, Level::Medium, Level::High, Level::Critical];

    /// Sigma's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Level::Informational => "informational",
            Level::Low => "low",
            Level::Medium => "medium",
            Level::High => "high",
            Level::Critical => "critical",
        }
    }

    /// ECS `event.severity`, on the scale that Elastic Security uses (0 to 100).
    pub const fn severity(self) -> i64 {
        match self {
            Level::Informational => 5,
            Level::Low => 21,
            Level::Medium => 47,
            Level::High => 73,
            Level::Critical => 99,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Level::ALL.into_iter().find(|level| level.as_str() == text).ok_or_else(|| {
            format!("`{text}` is no level; it is one of informational, low, medium, high, critical")
        })
    }
}

/// The rule that a match or an alert comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RuleRef {
    /// The rule's id, or its title's hash if it has none; never empty.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Its severity.
    pub level: Level,
    /// Its tags as written (`attack.t1059.001`, ...).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// What it looks for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What benign things also match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub falsepositives: Vec<String>,
    /// Further reading.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<String>,
    /// The file it was read from, as given.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub file: String,
}

/// One part of an event that made a rule match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatchedField {
    /// The event's field; `*` for a keyword.
    pub field: String,
    /// The value that was looked at.
    pub value: String,
    /// What the rule asked of it, as a person would write it.
    pub pattern: String,
}

/// What a match is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum MatchKind {
    /// The rule alone makes an alert.
    Alert,
    /// The match feeds one group of a correlation.
    Correlation {
        /// The correlation's id.
        correlation: String,
        /// The values of its group-by fields, in their order; the group's identity.
        group: Vec<String>,
        /// The value that `value_count` and its kin look at, if the correlation names a field.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<String>,
    },
}

/// A record of the topic `matches`: a rule held for an event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Match {
    /// What it is for.
    #[serde(flatten)]
    pub kind: MatchKind,
    /// The rule that held.
    pub rule: RuleRef,
    /// The event's id.
    pub event_id: String,
    /// The event's own time.
    pub event_time: Timestamp,
    /// When the event was received, for latency.
    pub received: Timestamp,
    /// The namespace of the event, its state and its alerts.
    pub namespace: String,
    /// What made the rule hold.
    pub matched: Vec<MatchedField>,
    /// The event, whole.
    pub event: serde_json::Value,
}

/// An ATT&CK tactic or technique named by a rule's tags.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Threat {
    /// A tactic's short name, as in tags: `credential_access`.
    Tactic(String),
    /// A technique's id: `T1059.001`.
    Technique(String),
}

impl Threat {
    /// Reads a Sigma tag of the namespace `attack`; `None` for any other tag, groups (`g0007`)
    /// and software (`s0002`).
    pub fn from_tag(tag: &str) -> Option<Threat> {
        let name = tag.strip_prefix("attack.")?;
        let mut bytes = name.bytes();
        match (bytes.next(), bytes.next()) {
            (Some(b't' | b'T'), Some(b'0'..=b'9')) => {
                Some(Threat::Technique(name.to_ascii_uppercase()))
            }
            (Some(b'g' | b's' | b'G' | b'S'), Some(b'0'..=b'9')) => None,
            _ => Some(Threat::Tactic(name.replace('-', "_"))),
        }
    }
}

/// ATT&CK's tactics for enterprises: the short name that tags have, the id, the name that ECS has.
/// A tactic of a newer version keeps its short name. <https://attack.mitre.org/tactics/enterprise/>
const TACTICS: [(&str, &str, &str); 14] = [
    ("reconnaissance", "TA0043", "Reconnaissance"),
    ("resource_development", "TA0042", "Resource Development"),
    ("initial_access", "TA0001", "Initial Access"),
    ("execution", "TA0002", "Execution"),
    ("persistence", "TA0003", "Persistence"),
    ("privilege_escalation", "TA0004", "Privilege Escalation"),
    ("defense_evasion", "TA0005", "Defense Evasion"),
    ("credential_access", "TA0006", "Credential Access"),
    ("discovery", "TA0007", "Discovery"),
    ("lateral_movement", "TA0008", "Lateral Movement"),
    ("collection", "TA0009", "Collection"),
    ("command_and_control", "TA0011", "Command and Control"),
    ("exfiltration", "TA0010", "Exfiltration"),
    ("impact", "TA0040", "Impact"),
];

/// An event that an alert rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The event's id.
    pub id: String,
    /// The event, whole, as ECS JSON.
    pub event: serde_json::Value,
}

/// A record of the topic `alerts`, before it takes its ECS form ([`Alert::to_event`]).
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    /// The same on every replay: derived from the rule and the events ([`Alert::make_id`]).
    pub id: String,
    /// The time of the event that completed it.
    pub time: Timestamp,
    /// When it was made.
    pub created: Timestamp,
    /// When the last of its events was received.
    pub received: Timestamp,
    /// The rule, or the correlation.
    pub rule: RuleRef,
    /// One line that a person understands.
    pub reason: String,
    /// The namespace.
    pub namespace: String,
    /// What matched, of the last event.
    pub matched: Vec<MatchedField>,
    /// For a correlation: its group-by fields and their values.
    pub group: Vec<(String, String)>,
    /// How many events it rests on.
    pub event_count: u64,
    /// Ids of the events, oldest first, at most [`EVIDENCE_IDS_MAX`].
    pub event_ids: Vec<String>,
    /// The events themselves, newest first, at most [`EVIDENCE_MAX`].
    pub evidence: Vec<Evidence>,
}

/// Fields that an alert takes over from its newest event, so that it can be searched and grouped
/// like one.
const TAKEN_OVER: [&str; 22] = [
    "host.name",
    "host.ip",
    "user.name",
    "user.domain",
    "user.id",
    "source.ip",
    "source.address",
    "source.port",
    "destination.ip",
    "destination.domain",
    "destination.port",
    "process.name",
    "process.executable",
    "process.command_line",
    "process.parent.name",
    "process.parent.executable",
    "process.parent.command_line",
    "process.pid",
    "file.path",
    "registry.path",
    "cloud.account.id",
    "cloud.region",
];

impl Alert {
    /// An id from what identifies an alert: the rule, the namespace and, say, the event's id or
    /// the group and its window. 32 hexadecimal digits.
    pub fn make_id(parts: &[&str]) -> String {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            // The length keeps ("ab","c") and ("a","bc") apart.
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.finalize().to_hex().chars().take(32).collect()
    }

    /// The ATT&CK techniques that the rule's tags name.
    pub fn techniques(&self) -> impl Iterator<Item = String> {
        self.rule.tags.iter().filter_map(|tag| match Threat::from_tag(tag) {
            Some(Threat::Technique(id)) => Some(id),
            _ => None,
        })
    }

    /// The alert as an ECS document.
    ///
    /// # Errors
    /// When the newest event's JSON can't be read back.
    pub fn to_event(&self) -> Result<Event, ParseError> {
        let mut event = Event::new();
        event.set_time("@timestamp", self.time);
        event.set("event.id", self.id.as_str());
        event.set("event.kind", "alert");
        event.set_time("event.created", self.created);
        event.set("event.severity", self.rule.level.severity());
        event.set("event.dataset", "watchpost.alert");
        event.set("event.module", "watchpost");
        event.set("event.reason", self.reason.as_str());
        event.set("message", self.reason.as_str());
        event.set("data_stream.namespace", self.namespace.as_str());
        event.set("rule.id", self.rule.id.as_str());
        event.set("rule.name", self.rule.title.as_str());
        if !self.rule.description.is_empty() {
            event.set("rule.description", self.rule.description.as_str());
        }
        for reference in &self.rule.references {
            event.append("rule.reference", reference);
        }
        event.set("watchpost.alert.level", self.rule.level.as_str());
        for tag in &self.rule.tags {
            event.append("tags", tag);
        }
        self.write_threat(&mut event);
        if let Some(newest) = self.evidence.first() {
            let mut source = Event::new();
            source.parse_json(newest.event.to_string().as_bytes())?;
            for path in TAKEN_OVER {
                if let Some(value) = source.get(path) {
                    event.set(path, value);
                }
            }
        }
        event.set_time("watchpost.alert.received", self.received);
        event.set("watchpost.alert.event_count", self.event_count);
        for id in &self.event_ids {
            event.append("watchpost.alert.event_ids", id);
        }
        for (field, value) in &self.group {
            event.append("watchpost.alert.group", format!("{field}={value}").as_str());
        }
        let faulty = |error: serde_json::Error| ParseError::Json(error.to_string());
        let matched = serde_json::to_value(&self.matched).map_err(faulty)?;
        event.add_value("watchpost.alert.matched", &matched);
        event.add_value("watchpost.alert.rule_file", &self.rule.file.as_str().into());
        // The events are kept as one text: they are shown with the alert, not searched through it.
        let evidence = serde_json::to_string(&self.evidence).map_err(faulty)?;
        event.set("watchpost.alert.evidence", evidence.as_str());
        Ok(event)
    }

    fn write_threat(&self, event: &mut Event) {
        for threat in self.rule.tags.iter().filter_map(|tag| Threat::from_tag(tag)) {
            match threat {
                Threat::Tactic(tactic) => {
                    let known = TACTICS.iter().find(|(short, _, _)| *short == tactic);
                    event.append("threat.tactic.name", known.map_or(&*tactic, |known| known.2));
                    if let Some((_, id, _)) = known {
                        event.append("threat.tactic.id", *id);
                    }
                }
                Threat::Technique(id) => match id.split_once('.') {
                    Some((technique, _)) => {
                        event.append("threat.technique.id", technique);
                        event.append("threat.technique.subtechnique.id", &id);
                    }
                    None => event.append("threat.technique.id", &id),
                },
            }
        }
        if event.get("threat.technique.id").is_some() || event.get("threat.tactic.name").is_some() {
            event.set("threat.framework", "MITRE ATT&CK");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Alert, Evidence, Level, RuleRef, Threat};
    use crate::Timestamp;

    #[test]
    fn tags_name_tactics_and_techniques() {
        assert_eq!(
            Threat::from_tag("attack.t1059.001"),
            Some(Threat::Technique("T1059.001".into()))
        );
        assert_eq!(
            Threat::from_tag("attack.defense-evasion"),
            Some(Threat::Tactic("defense_evasion".into()))
        );
        assert_eq!(Threat::from_tag("attack.g0007"), None);
        assert_eq!(Threat::from_tag("cve.2021.44228"), None);
    }

    #[test]
    fn ids_tell_their_parts_apart() {
        assert_ne!(Alert::make_id(&["ab", "c"]), Alert::make_id(&["a", "bc"]));
        assert_eq!(Alert::make_id(&["x"]).len(), 32);
    }

    #[test]
    fn an_alert_is_an_ecs_document() {
        let alert = Alert {
            id: "abc".into(),
            time: Timestamp::from_millis(1_000),
            created: Timestamp::from_millis(2_000),
            received: Timestamp::from_millis(1_500),
            rule: RuleRef {
                id: "r1".into(),
                title: "Test rule".into(),
                level: Level::High,
                tags: vec!["attack.execution".into(), "attack.t1059.001".into()],
                ..RuleRef::default()
            },
            reason: "something happened".into(),
            namespace: "default".into(),
            matched: vec![],
            group: vec![("user.name".into(), "anna".into())],
            event_count: 1,
            event_ids: vec!["e1".into()],
            evidence: vec![Evidence {
                id: "e1".into(),
                event: serde_json::json!({"host": {"name": "ws1"}}),
            }],
        };
        insta::assert_snapshot!(alert.to_event().unwrap().to_json(), @r#"{"@timestamp":"1970-01-01T00:00:01Z","data_stream":{"namespace":"default"},"event":{"created":"1970-01-01T00:00:02Z","dataset":"watchpost.alert","id":"abc","kind":"alert","module":"watchpost","reason":"something happened","severity":73},"host":{"name":"ws1"},"message":"something happened","rule":{"id":"r1","name":"Test rule"},"tags":["attack.execution","attack.t1059.001"],"threat":{"framework":"MITRE ATT&CK","tactic":{"id":["TA0002"],"name":["Execution"]},"technique":{"id":["T1059"],"subtechnique":{"id":["T1059.001"]}}},"watchpost":{"alert":{"event_count":1,"event_ids":["e1"],"evidence":"[{\"id\":\"e1\",\"event\":{\"host\":{\"name\":\"ws1\"}}}]","group":["user.name=anna"],"level":"high","matched":[],"received":"1970-01-01T00:00:01.5Z","rule_file":""}}}"#);
    }
}
