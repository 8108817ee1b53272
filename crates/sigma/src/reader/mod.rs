//! Reads the attributes of one document, and complains about those that are wrong.
//!
//! A [`Reader`] remembers which keys were asked for; the rest are the author's own and are kept.
//! Reading goes on after a fault, so that one run of `rules check` shows all of them.

mod correlation;
mod detection;

use std::sync::Arc;

pub(crate) use correlation::correlation;
pub(crate) use detection::{filter, rule, selection_body};

use crate::diagnostic::{Code, Diagnostic, Faults, Severity, Span};
use crate::rule::{Level, Related, Status, Tag};
use crate::suggest;
use crate::yaml::{Key, Kind, Node};

/// Reads one map.
pub(crate) struct Reader<'a> {
    entries: &'a [(Key, Node)],
    asked: Vec<&'static str>,
    pub(crate) span: Span,
    pub(crate) file: &'a Arc<str>,
    pub(crate) faults: &'a mut Faults,
}

/// What every kind of document has.
pub(crate) struct Metadata {
    pub(crate) id: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) title: String,
    pub(crate) status: Option<Status>,
    pub(crate) level: Level,
    pub(crate) description: Option<String>,
    pub(crate) author: Option<String>,
    pub(crate) date: Option<String>,
    pub(crate) modified: Option<String>,
    pub(crate) references: Vec<String>,
    pub(crate) tags: Vec<Tag>,
    pub(crate) falsepositives: Vec<String>,
    pub(crate) fields: Vec<String>,
    pub(crate) related: Vec<Related>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(
        entries: &'a [(Key, Node)],
        span: Span,
        file: &'a Arc<str>,
        faults: &'a mut Faults,
    ) -> Self {
        Reader { entries, asked: Vec::new(), span, file, faults }
    }

    /// The value of a key, unless it is null.
    pub(crate) fn get(&mut self, key: &'static str) -> Option<&'a Node> {
        self.asked.push(key);
        let (_, value) = self.entries.iter().find(|(known, _)| known.text == key)?;
        (value.kind != Kind::Null).then_some(value)
    }

    /// The value of a key, null too.
    pub(crate) fn get_any(&mut self, key: &'static str) -> Option<&'a Node> {
        self.asked.push(key);
        self.entries.iter().find(|(known, _)| known.text == key).map(|(_, value)| value)
    }

    /// The value of a key that must be there.
    pub(crate) fn need(&mut self, key: &'static str, of: &str) -> Option<&'a Node> {
        let value = self.get(key);
        if value.is_none() {
            let span = self.key_span(key);
            self.faults.push(
                Diagnostic::error(Code::Missing, span, format!("`{key}` is missing"))
                    .with_help(format!("{of} needs `{key}`")),
            );
        }
        value
    }

    pub(crate) fn wrong(&mut self, node: &Node, key: &str, expected: &str) {
        let message = format!("`{key}` should be {expected}, but is {}", node.describe());
        self.faults.error(Code::WrongType, node.span, message);
    }

    pub(crate) fn text(&mut self, key: &'static str) -> Option<String> {
        let node = self.get(key)?;
        let text = node.to_text();
        if text.is_none() {
            self.wrong(node, key, "a text");
        }
        text
    }

    /// A list of texts; a single text is a list of one.
    pub(crate) fn texts(&mut self, key: &'static str) -> Vec<(String, Span)> {
        let Some(node) = self.get(key) else { return Vec::new() };
        let mut texts = Vec::new();
        for item in node.one_or_more() {
            match item.to_text() {
                Some(text) => texts.push((text, item.span)),
                None if item.kind == Kind::Null => {}
                None => self.wrong(item, key, "a list of texts"),
            }
        }
        texts
    }

    /// A word out of a closed set. One that is not in it is a fault of this severity.
    fn word<T: Copy>(
        &mut self,
        key: &'static str,
        severity: Severity,
        known: &[T],
        as_str: fn(T) -> &'static str,
    ) -> Option<T> {
        let text = self.text(key)?;
        let found = known.iter().copied().find(|value| as_str(*value) == text);
        if found.is_none() {
            let span = self.get(key).map_or(self.span, |node| node.span);
            let words = known.iter().map(|value| as_str(*value));
            let message = format!("`{text}` is not a {key}");
            self.faults.push(
                Diagnostic::new(severity, Code::UnknownValue, span, message)
                    .with_help(suggest::help(&text, words)),
            );
        }
        found
    }

    pub(crate) fn metadata(&mut self) -> Metadata {
        let plain = |texts: Vec<(String, Span)>| texts.into_iter().map(|(text, _)| text).collect();
        let title = match self.need("title", "every document") {
            Some(node) => node.to_text().unwrap_or_else(|| {
                self.wrong(node, "title", "a text");
                String::new()
            }),
            None => String::new(),
        };
        let authors: Vec<String> = plain(self.texts("author"));
        let tags = self.texts("tags").into_iter().map(|(text, span)| Tag { text, span }).collect();
        Metadata {
            id: self.text("id"),
            name: self.text("name"),
            title,
            status: self.word("status", Severity::Warning, &Status::ALL, Status::as_str),
            level: self
                .word("level", Severity::Error, &Level::ALL, Level::as_str)
                .unwrap_or_default(),
            description: self.text("description"),
            author: (!authors.is_empty()).then(|| authors.join(", ")),
            date: self.text("date"),
            modified: self.text("modified"),
            references: plain(self.texts("references")),
            tags,
            falsepositives: plain(self.texts("falsepositives")),
            fields: plain(self.texts("fields")),
            related: self.related(),
        }
    }

    fn related(&mut self) -> Vec<Related> {
        let Some(node) = self.get("related") else { return Vec::new() };
        let mut related = Vec::new();
        for item in node.one_or_more() {
            let part = |key| item.get(key).and_then(Node::to_text);
            match (part("id"), part("type")) {
                (Some(id), Some(kind)) => related.push(Related { id, kind }),
                _ => self.wrong(item, "related", "a list of maps with `id` and `type`"),
            }
        }
        related
    }

    /// The attributes nobody asked for.
    pub(crate) fn rest(&self) -> serde_json::Map<String, serde_json::Value> {
        self.entries
            .iter()
            .filter(|(key, _)| !self.asked.contains(&key.text.as_str()))
            .map(|(key, value)| (key.text.clone(), value.to_json()))
            .collect()
    }

    /// The keys nobody asked for.
    pub(crate) fn unasked(&self) -> Vec<&'a Key> {
        let keys = self.entries.iter().map(|(key, _)| key);
        keys.filter(|key| !self.asked.contains(&key.text.as_str())).collect()
    }

    /// The keys that were asked for.
    pub(crate) fn asked(&self) -> impl Iterator<Item = &'static str> + Clone + use<> {
        self.asked.clone().into_iter()
    }

    /// Where a key stands, or else where the document begins.
    pub(crate) fn key_span(&self, key: &str) -> Span {
        let key = self.entries.iter().find(|(known, _)| known.text == key);
        key.map_or(self.span, |(key, _)| key.span)
    }
}
