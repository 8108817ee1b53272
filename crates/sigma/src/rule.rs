//! A rule as it is written: its metadata, its selections, its conditions.
//!
//! This is Sigma's surface with nothing decided yet: fields have their native names, values their
//! written form, modifiers are a list. Pipelines change rules in this form, and `resolve` turns
//! the result into an expression. Values keep Sigma's text with its escapes, because that is the
//! form which pipelines replace text in.

use std::sync::Arc;

use serde::Serialize;

use crate::condition::Condition;
use crate::diagnostic::Span;
use crate::modifier::Modifier;

/// A detection rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Its globally unique id, usually a UUID.
    pub id: Option<String>,
    /// Its name, by which correlations may refer to it.
    pub name: Option<String>,
    /// What it detects, in a line.
    pub title: String,
    /// How mature it is.
    pub status: Option<Status>,
    /// How bad a match is; informational when the rule doesn't say.
    pub level: Level,
    /// What it detects, at length.
    pub description: Option<String>,
    /// Who wrote it.
    pub author: Option<String>,
    /// When it was made, as written.
    pub date: Option<String>,
    /// When it was last changed, as written.
    pub modified: Option<String>,
    /// Where its knowledge comes from.
    pub references: Vec<String>,
    /// Its tags, such as `attack.t1059.001`.
    pub tags: Vec<Tag>,
    /// What harmless things may match.
    pub falsepositives: Vec<String>,
    /// The fields an analyst will want to see, by their native names.
    pub fields: Vec<String>,
    /// Other rules and how it relates to them.
    pub related: Vec<Related>,
    /// Its licence, as an SPDX expression.
    pub license: Option<String>,
    /// The taxonomy of its names; `sigma` when absent.
    pub taxonomy: Option<String>,
    /// For which machines it is meant.
    pub scope: Vec<String>,
    /// Which logs it reads.
    pub logsource: Logsource,
    /// Its selections, in the order of the file.
    pub selections: Vec<Selection>,
    /// Its conditions; one that holds is enough. Never empty.
    pub conditions: Vec<Condition>,
    /// Attributes that Sigma does not know, kept as they are.
    pub custom: serde_json::Map<String, serde_json::Value>,
    /// The file it is from, as the caller named it.
    pub file: Arc<str>,
    /// Where its document begins.
    pub span: Span,
}

/// A tag and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// The tag, as written.
    pub text: String,
    /// Where it stands.
    pub span: Span,
}

/// A relation to another rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Related {
    /// The other rule's id.
    pub id: String,
    /// `derived`, `obsolete`, `merged`, `renamed`, `similar`, or what the author wrote.
    pub kind: String,
}

/// Which logs a rule reads. What it does not name may be anything.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize)]
pub struct Logsource {
    /// `windows`, `linux`, `aws`, ...
    pub product: Option<String>,
    /// `process_creation`, `dns_query`, ...
    pub category: Option<String>,
    /// `security`, `sshd`, `cloudtrail`, ...
    pub service: Option<String>,
    /// What must be configured for these logs to be there.
    pub definition: Option<String>,
}

/// How bad a match is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Enriches events; nobody is called.
    #[default]
    Informational,
    /// Rarely an incident.
    Low,
    /// To be reviewed.
    Medium,
    /// To be reviewed promptly.
    High,
    /// Almost certainly an incident.
    Critical,
}

/// How mature a rule is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Fit for production.
    Stable,
    /// Mostly stable.
    Test,
    /// May be noisy.
    Experimental,
    /// Replaced by another.
    Deprecated,
    /// Can't be used as it is.
    Unsupported,
}

/// A named part of a rule's detection.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    /// Its name, which conditions use.
    pub name: Arc<str>,
    /// What it asks.
    pub body: Body,
    /// Where its name stands.
    pub span: Span,
}

/// What a selection asks.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// A map: every part holds. Empty only after a pipeline dropped everything.
    All(Vec<Body>),
    /// A list: one part is enough.
    Any(Vec<Body>),
    /// One field and its values.
    Item(Item),
}

/// One field and its values.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// The field's native name; `None` is a keyword search over the whole event.
    pub field: Option<String>,
    /// The modifiers in the order written.
    pub modifiers: Vec<Modifier>,
    /// The values; one is enough unless `all` is among the modifiers. Never empty.
    pub values: Vec<Value>,
    /// Where the field and its modifiers stand.
    pub span: Span,
    /// Ids of the pipeline items that changed it.
    pub applied: Vec<Arc<str>>,
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// What it is.
    pub kind: ValueKind,
    /// Where it stands.
    pub span: Span,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub enum ValueKind {
    /// A text in Sigma's form: `*` and `?` are wildcards, a backslash escapes them.
    Text(String),
    /// A number, as written.
    Number(String),
    /// A boolean.
    Bool(bool),
    /// `null`: the field is absent or null.
    Null,
}

impl Rule {
    /// How to call it in a message: its title, and its id when it has one.
    pub fn label(&self) -> String {
        match &self.id {
            Some(id) => format!("{} ({id})", self.title),
            None => self.title.clone(),
        }
    }

    /// Whether `reference` is its id or its name.
    pub fn is_called(&self, reference: &str) -> bool {
        let is = |own: &Option<String>| own.as_deref() == Some(reference);
        is(&self.id) || is(&self.name)
    }

    /// The selection of this name.
    pub fn selection(&self, name: &str) -> Option<&Selection> {
        self.selections.iter().find(|selection| &*selection.name == name)
    }

    /// Calls `each` for every item of the detection.
    pub fn for_each_item<'a>(&'a self, mut each: impl FnMut(&'a Item)) {
        for selection in &self.selections {
            selection.body.for_each_item(&mut each);
        }
    }
}

impl Tag {
    /// The ATT&CK technique it names, as ATT&CK writes it: `T1059.001`.
    pub fn technique(&self) -> Option<String> {
        let name = self.text.strip_prefix("attack.")?;
        let number = name.strip_prefix(['t', 'T'])?;
        let digits = |c: char| c.is_ascii_digit() || c == '.';
        let is_number = number.len() >= 4 && number.chars().all(digits);
        is_number.then(|| format!("T{number}"))
    }

    /// The ATT&CK tactic it names, with hyphens: `credential-access`.
    pub fn tactic(&self) -> Option<String> {
        let name = self.text.strip_prefix("attack.")?;
        let is_word = !name.contains(|c: char| c.is_ascii_digit() || c == '.');
        is_word.then(|| name.replace('_', "-"))
    }
}

impl Body {
    /// Calls `each` for every item.
    pub fn for_each_item<'a>(&'a self, each: &mut impl FnMut(&'a Item)) {
        match self {
            Body::All(parts) | Body::Any(parts) => {
                for part in parts {
                    part.for_each_item(each);
                }
            }
            Body::Item(item) => each(item),
        }
    }

    /// Whether nothing is left in it.
    pub fn is_empty(&self) -> bool {
        match self {
            Body::All(parts) | Body::Any(parts) => parts.iter().all(Body::is_empty),
            Body::Item(_) => false,
        }
    }
}

impl Item {
    /// Whether it has this modifier.
    pub fn has(&self, modifier: Modifier) -> bool {
        self.modifiers.contains(&modifier)
    }
}

impl Logsource {
    /// One with these parts.
    pub fn new(product: Option<&str>, category: Option<&str>, service: Option<&str>) -> Self {
        Logsource {
            product: product.map(str::to_owned),
            category: category.map(str::to_owned),
            service: service.map(str::to_owned),
            definition: None,
        }
    }
}

impl Level {
    /// Every level, from the lowest.
    pub const ALL: [Level; 5] =
        [Level::Informational, Level::Low, Level::Medium, Level::High, Level::Critical];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Informational => "informational",
            Level::Low => "low",
            Level::Medium => "medium",
            Level::High => "high",
            Level::Critical => "critical",
        }
    }

    /// The level of a word.
    pub fn from_word(word: &str) -> Option<Level> {
        Level::ALL.into_iter().find(|level| level.as_str() == word)
    }
}

impl Status {
    /// Every status.
    pub const ALL: [Status; 5] = [
        Status::Stable,
        Status::Test,
        Status::Experimental,
        Status::Deprecated,
        Status::Unsupported,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Stable => "stable",
            Status::Test => "test",
            Status::Experimental => "experimental",
            Status::Deprecated => "deprecated",
            Status::Unsupported => "unsupported",
        }
    }

    /// The status of a word.
    pub fn from_word(word: &str) -> Option<Status> {
        Status::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::fmt::Display for Logsource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let part = |part: &Option<String>| part.clone().unwrap_or_else(|| "*".to_owned());
        write!(f, "{}/{}/{}", part(&self.product), part(&self.category), part(&self.service))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attack_tags() {
        let tag = |text: &str| Tag { text: text.to_owned(), span: Span::default() };
        assert_eq!(tag("attack.t1059.001").technique().as_deref(), Some("T1059.001"));
        assert_eq!(tag("attack.t1059.001").tactic(), None);
        assert_eq!(tag("attack.credential_access").tactic().as_deref(), Some("credential-access"));
        assert_eq!(tag("attack.credential-access").technique(), None);
        assert_eq!(tag("attack.s0002").tactic(), None);
        assert_eq!(tag("cve.2021-44228").technique(), None);
    }
}
