//! Rules and correlations as pages and calls show them: one form for both.

use std::fmt::Write;

use detection::{CorrelationEntry, Found, RuleBook, RuleEntry};
use event::{RuleRef, Threat};
use sigma::{Correlation, CorrelationCondition, Operator};

use crate::pages::span;

/// A rule or a correlation.
pub(crate) struct Entry<'b> {
    pub(crate) reference: &'b RuleRef,
    pub(crate) kind: Kind<'b>,
}

pub(crate) enum Kind<'b> {
    Rule(&'b RuleEntry),
    Correlation(&'b CorrelationEntry),
}

/// All of them, rules first.
pub(crate) fn entries(book: &RuleBook) -> Vec<Entry<'_>> {
    let rules = book.rules().iter().map(Entry::of_rule);
    rules.chain(book.correlations().iter().map(Entry::of_correlation)).collect()
}

/// The one with this id or name.
pub(crate) fn find<'b>(book: &'b RuleBook, id: &str) -> Option<Entry<'b>> {
    Some(match book.find(id)? {
        Found::Rule(entry) => Entry::of_rule(entry),
        Found::Correlation(entry) => Entry::of_correlation(entry),
    })
}

impl<'b> Entry<'b> {
    fn of_rule(entry: &'b RuleEntry) -> Self {
        Entry { reference: &entry.reference, kind: Kind::Rule(entry) }
    }

    fn of_correlation(entry: &'b CorrelationEntry) -> Self {
        Entry { reference: &entry.reference, kind: Kind::Correlation(entry) }
    }

    /// Whether it can make alerts: a rule that only feeds correlations does not, and neither does
    /// a correlation that cannot run.
    pub(crate) fn makes_alerts(&self) -> bool {
        match self.kind {
            Kind::Rule(entry) => entry.alerts,
            Kind::Correlation(entry) => entry.runs,
        }
    }

    /// The ids of the correlations that read it.
    pub(crate) fn read_by(&self) -> Vec<&'b str> {
        match self.kind {
            Kind::Rule(entry) => entry.feeds.iter().map(|feed| feed.correlation.as_str()).collect(),
            Kind::Correlation(_) => Vec::new(),
        }
    }

    /// `rule` or `correlation`.
    pub(crate) fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::Rule(_) => "rule",
            Kind::Correlation(_) => "correlation",
        }
    }

    pub(crate) fn status(&self) -> Option<&'static str> {
        match self.kind {
            Kind::Rule(entry) => entry.rule.status,
            Kind::Correlation(entry) => entry.correlation.status,
        }
        .map(sigma::Status::as_str)
    }

    pub(crate) fn author(&self) -> Option<&'b str> {
        match self.kind {
            Kind::Rule(entry) => entry.rule.author.as_deref(),
            Kind::Correlation(entry) => entry.correlation.author.as_deref(),
        }
    }

    /// When it was last changed, or made.
    pub(crate) fn date(&self) -> Option<&'b str> {
        let (modified, date) = match self.kind {
            Kind::Rule(entry) => (&entry.rule.modified, &entry.rule.date),
            Kind::Correlation(entry) => (&entry.correlation.modified, &entry.correlation.date),
        };
        modified.as_deref().or(date.as_deref())
    }

    /// What it reads: a logsource, or what a correlation counts.
    pub(crate) fn reads(&self) -> String {
        match self.kind {
            Kind::Rule(entry) => {
                let source = &entry.rule.logsource;
                let parts = [&source.product, &source.category, &source.service];
                parts.into_iter().flatten().cloned().collect::<Vec<_>>().join(" / ")
            }
            Kind::Correlation(entry) => counts(&entry.correlation),
        }
    }

    /// The rules that a correlation reads, by id or name, as written.
    pub(crate) fn parts(&self) -> Vec<&'b str> {
        match self.kind {
            Kind::Rule(_) => Vec::new(),
            Kind::Correlation(entry) => {
                entry.correlation.rules.iter().map(|part| part.rule.as_str()).collect()
            }
        }
    }

    pub(crate) fn threats(&self) -> Vec<Threat> {
        self.reference.tags.iter().filter_map(|tag| Threat::from_tag(tag)).collect()
    }

    /// The techniques' ids.
    pub(crate) fn techniques(&self) -> Vec<String> {
        self.threats()
            .into_iter()
            .filter_map(|threat| match threat {
                Threat::Technique(id) => Some(id),
                Threat::Tactic(_) => None,
            })
            .collect()
    }

    /// Its document in its file.
    pub(crate) fn source(&self, book: &RuleBook) -> Option<String> {
        let line = match self.kind {
            Kind::Rule(entry) => entry.rule.span.line,
            Kind::Correlation(entry) => entry.correlation.span.line,
        };
        book.source(&self.reference.file).map(|text| document(text, line))
    }

    /// Whether a text that a person typed is in its title, id, tags, file or what it reads.
    pub(crate) fn mentions(&self, lower: &str) -> bool {
        let reference = self.reference;
        let reads = self.reads();
        [&reference.title, &reference.id, &reference.file, &reads]
            .into_iter()
            .chain(&reference.tags)
            .any(|text| text.to_lowercase().contains(lower))
    }
}

/// What a correlation counts, in words.
fn counts(correlation: &Correlation) -> String {
    let mut text = correlation.kind.as_str().replace('_', " ");
    if let CorrelationCondition::Threshold(threshold) = &correlation.condition {
        if !threshold.fields.is_empty() {
            write_into(&mut text, format_args!(" of {}", threshold.fields.join(", ")));
        }
        for (operator, number) in &threshold.tests {
            write_into(&mut text, format_args!(" {} {number}", sign(*operator)));
        }
    }
    if !correlation.group_by.is_empty() {
        write_into(&mut text, format_args!(" by {}", correlation.group_by.join(", ")));
    }
    let nanos = i64::try_from(correlation.timespan_s).unwrap_or(i64::MAX);
    let within = span(nanos.saturating_mul(1_000_000_000));
    write_into(&mut text, format_args!(" within {within}"));
    text
}

fn sign(operator: Operator) -> &'static str {
    match operator {
        Operator::Lt => "<",
        Operator::Lte => "≤",
        Operator::Gt => ">",
        Operator::Gte => "≥",
        Operator::Eq => "=",
        Operator::Neq => "≠",
    }
}

fn write_into(text: &mut String, more: std::fmt::Arguments<'_>) {
    text.write_fmt(more).expect("a text takes all");
}

/// The YAML document of a file that has this line, without the separators; the whole file if it
/// has one document.
fn document(text: &str, line: u32) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let is_separator = |line: &&str| line.starts_with("---");
    let at = usize::try_from(line).unwrap_or(usize::MAX).clamp(1, lines.len().max(1)) - 1;
    let (before, after) = lines.split_at(at.min(lines.len()));
    // The line itself may be the separator.
    let (own, after) = match after.split_first() {
        Some((first, rest)) if is_separator(first) => (None, rest),
        Some((first, rest)) => (Some(*first), rest),
        None => (None, after),
    };
    let start = before.iter().rposition(is_separator).map_or(0, |place| place + 1);
    let head = if own.is_some() { before.get(start..).unwrap_or_default() } else { &[] };
    let tail = after.iter().take_while(|line| !is_separator(line));
    let all: Vec<&str> = head.iter().copied().chain(own).chain(tail.copied()).collect();
    all.join("\n").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::document;

    #[test]
    fn a_document_is_cut_from_its_file() {
        let text = "# head\ntitle: a\nx: 1\n---\ntitle: b\n---\ntitle: c\n";
        assert_eq!(document(text, 2), "# head\ntitle: a\nx: 1");
        assert_eq!(document(text, 5), "title: b");
        assert_eq!(document(text, 4), "title: b");
        assert_eq!(document(text, 7), "title: c");
        assert_eq!(document("title: a", 1), "title: a");
        for line in [0, 1, 9] {
            assert_eq!(document("", line), "");
        }
    }
}
