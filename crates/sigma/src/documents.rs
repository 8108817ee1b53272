//! From text to rules, correlations and filters.
//!
//! A file holds one document or several. The old collection form (`action: global`, `repeat`,
//! `reset`) is unfolded here, so nobody else knows of it. A document with a fault is left out and
//! its diagnostics say why; the documents beside it are not touched.

use std::sync::Arc;

use crate::correlation::Correlation;
use crate::diagnostic::{Code, Diagnostic, Faults, Span};
use crate::filter::Filter;
use crate::reader::{self, Reader};
use crate::rule::Rule;
use crate::suggest;
use crate::yaml::{self, Kind, Node, Size};

/// A document of a rule file.
#[derive(Debug, Clone, PartialEq)]
pub enum Document {
    /// A detection rule.
    Rule(Rule),
    /// A correlation over other rules.
    Correlation(Correlation),
    /// A filter for other rules.
    Filter(Filter),
}

impl Document {
    /// The file it is from.
    pub fn file(&self) -> &str {
        match self {
            Document::Rule(rule) => &rule.file,
            Document::Correlation(correlation) => &correlation.file,
            Document::Filter(filter) => &filter.file,
        }
    }

    /// Where it begins.
    pub fn span(&self) -> Span {
        match self {
            Document::Rule(rule) => rule.span,
            Document::Correlation(correlation) => correlation.span,
            Document::Filter(filter) => filter.span,
        }
    }

    /// Its id.
    pub fn id(&self) -> Option<&str> {
        match self {
            Document::Rule(rule) => rule.id.as_deref(),
            Document::Correlation(correlation) => correlation.id.as_deref(),
            Document::Filter(filter) => filter.id.as_deref(),
        }
    }

    /// Its title.
    pub fn title(&self) -> &str {
        match self {
            Document::Rule(rule) => &rule.title,
            Document::Correlation(correlation) => &correlation.title,
            Document::Filter(filter) => &filter.title,
        }
    }

    /// The rule, when it is one.
    pub fn as_rule(&self) -> Option<&Rule> {
        match self {
            Document::Rule(rule) => Some(rule),
            Document::Correlation(_) | Document::Filter(_) => None,
        }
    }
}

/// Parses the text of a rule file; `file` is its name in diagnostics.
pub fn parse_documents(text: &str, file: &str) -> (Vec<Document>, Vec<Diagnostic>) {
    let mut diagnostics = Vec::new();
    let mut documents = Vec::new();
    let shared_file: Arc<str> = file.into();
    let mut collection = Collection::default();
    for node in yaml::parse(text) {
        let mut faults = Faults::new(file);
        let unfolded = match node {
            Ok(node) => collection.unfold(node, &mut faults),
            Err(fault) => {
                faults.push(fault);
                None
            }
        };
        let document = unfolded.and_then(|node| document(&node, &shared_file, &mut faults));
        if faults.errors() == 0 {
            documents.extend(document);
        }
        let list = faults.into_list();
        let kept = if diagnostics.len() < DIAGNOSTICS_MAX { list.len() } else { 1 };
        diagnostics.extend(list.into_iter().take(kept));
    }
    (documents, diagnostics)
}

/// From so many diagnostics of one file on, only the first of each document is kept.
const DIAGNOSTICS_MAX: usize = 1_000;

/// What earlier documents of a collection give to later ones.
#[derive(Default)]
struct Collection {
    global: Option<Node>,
    previous: Option<Node>,
    /// What was given so far.
    given: Size,
}

/// The most values that one file's documents may get from `global` and `repeat` together, so that
/// a large one before many small ones does not fill the memory.
const GIVEN_NODES_MAX: usize = 2_000_000;
/// The most bytes of text of the same.
const GIVEN_BYTES_MAX: usize = 64 << 20;

impl Collection {
    /// The document as it is meant, or nothing when it is only meant for those that follow.
    fn unfold(&mut self, mut node: Node, faults: &mut Faults) -> Option<Node> {
        let Kind::Map(entries) = &mut node.kind else { return Some(node) };
        let action = entries.iter().position(|(key, _)| key.text == "action");
        let Some((key, action)) = action.map(|index| entries.remove(index)) else {
            return self.laid_over(self.global.clone(), node, faults);
        };
        match action.to_text().as_deref() {
            Some("global") => {
                self.global = Some(merged(self.global.as_ref(), node));
                None
            }
            Some("reset") => {
                self.global = None;
                let is_document = node.as_map().is_some_and(|entries| !entries.is_empty());
                is_document.then_some(node)
            }
            Some("repeat") => self.laid_over(self.previous.clone(), node, faults),
            other => {
                let other = other.unwrap_or("this");
                let known = ["global", "repeat", "reset"].into_iter();
                let message = format!("`{other}` is not an action of a rule collection");
                faults.push(
                    Diagnostic::error(Code::UnknownValue, key.span, message)
                        .with_help(suggest::help(other, known)),
                );
                None
            }
        }
    }

    fn laid_over(&mut self, base: Option<Node>, node: Node, faults: &mut Faults) -> Option<Node> {
        if let Some(base) = &base {
            self.given.add(base.size());
        }
        if self.given.nodes > GIVEN_NODES_MAX || self.given.bytes > GIVEN_BYTES_MAX {
            let message = "the documents of this collection repeat too much";
            faults.error(Code::TooLarge, node.span, message);
            return None;
        }
        let whole = merged(base.as_ref(), node);
        self.previous = Some(whole.clone());
        Some(whole)
    }
}

/// One node laid over another: maps are merged key by key, anything else is replaced.
fn merged(base: Option<&Node>, over: Node) -> Node {
    let Some(base) = base else { return over };
    let (Kind::Map(base_entries), Kind::Map(_)) = (&base.kind, &over.kind) else { return over };
    let Kind::Map(over_entries) = over.kind else { return base.clone() };
    let mut entries = base_entries.clone();
    for (key, value) in over_entries {
        match entries.iter_mut().find(|(known, _)| known.text == key.text) {
            Some((_, known)) => *known = merged(Some(&*known), value),
            None => entries.push((key, value)),
        }
    }
    Node { span: over.span, kind: Kind::Map(entries) }
}

fn document(node: &Node, file: &Arc<str>, faults: &mut Faults) -> Option<Document> {
    let Some(entries) = node.as_map() else {
        let message = format!("a rule is a map, but this document is {}", node.describe());
        faults.error(Code::NotSigma, node.span, message);
        return None;
    };
    let mut reader = Reader::new(entries, node.span, file, faults);
    let has = |key| node.get(key).is_some();
    if has("correlation") {
        reader::correlation(&mut reader).map(Document::Correlation)
    } else if has("filter") {
        reader::filter(&mut reader).map(Document::Filter)
    } else if has("detection") {
        reader::rule(&mut reader).map(Document::Rule)
    } else {
        let message = "this document is no Sigma rule: it has none of `detection`, `correlation` \
                       and `filter`";
        faults.error(Code::NotSigma, node.span, message);
        None
    }
}
