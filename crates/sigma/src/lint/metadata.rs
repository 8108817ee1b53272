//! What a document's attributes say, or don't.
//!
//! Coverage counts ATT&CK tags, alerts refer to ids, people sort by date: attributes that tools
//! can't read are worth a word even though the rule works without them.

use crate::diagnostic::{Code, Diagnostic, Severity, Span};
use crate::documents::Document;
use crate::filter::Filter;
use crate::rule::{Logsource, Status, Tag};
use crate::suggest;

/// Every lint about attributes.
pub(super) fn all(document: &Document, found: &mut Vec<Diagnostic>) {
    let span = document.span();
    found.extend(document.id().and_then(|id| bad_id(id, span)));
    match document {
        Document::Rule(rule) => {
            found.extend(deprecated(rule.status, span));
            found.extend(empty_logsource(&rule.logsource, span));
            found.extend(no_attack_tag(&rule.tags, span));
            found.extend(rule.tags.iter().filter_map(bad_tag));
            found.extend(bad_date(&rule.date, "date", span));
            found.extend(bad_date(&rule.modified, "modified", span));
        }
        Document::Correlation(correlation) => {
            found.extend(deprecated(correlation.status, span));
            found.extend(correlation.tags.iter().filter_map(bad_tag));
            found.extend(bad_date(&correlation.date, "date", span));
            found.extend(bad_date(&correlation.modified, "modified", span));
        }
        Document::Filter(filter) => found.extend(empty_logsource(&filter.logsource, span)),
    }
}

/// A filter without any `not` keeps only the events that it names.
pub(super) fn filter_keeps(filter: &Filter, found: &mut Vec<Diagnostic>) {
    if filter.condition.has_not() {
        return;
    }
    let message = "this filter keeps only the events that it names, and drops all others";
    found.push(
        Diagnostic::warning(Code::FilterKeeps, filter.span, message)
            .with_help("to drop what it names, write `condition: not selection`"),
    );
}

fn bad_id(id: &str, span: Span) -> Option<Diagnostic> {
    let groups: Vec<&str> = id.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    let hex = groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if hex && lengths == [8, 4, 4, 4, 12] {
        return None;
    }
    let message = format!("the id `{id}` is not a UUID");
    Some(Diagnostic::new(Severity::Note, Code::BadId, span, message))
}

fn deprecated(status: Option<Status>, span: Span) -> Option<Diagnostic> {
    let status =
        status.filter(|status| matches!(status, Status::Deprecated | Status::Unsupported))?;
    let message = format!("the rule is {status}");
    Some(Diagnostic::warning(Code::Deprecated, span, message))
}

fn empty_logsource(logsource: &Logsource, span: Span) -> Option<Diagnostic> {
    let Logsource { product, category, service, .. } = logsource;
    if product.is_some() || category.is_some() || service.is_some() {
        return None;
    }
    let message = "the logsource names no product, category or service, so every event is read";
    Some(Diagnostic::warning(Code::EmptyLogsource, span, message))
}

fn no_attack_tag(tags: &[Tag], span: Span) -> Option<Diagnostic> {
    if tags.iter().any(|tag| tag.text.starts_with("attack.")) {
        return None;
    }
    let message = "the rule has no ATT&CK tag, so no coverage counts it";
    Some(
        Diagnostic::new(Severity::Note, Code::NoAttackTag, span, message)
            .with_help("add one such as `attack.execution` or `attack.t1059.001`"),
    )
}

/// The namespaces of the specification's appendix.
const NAMESPACES: &[&str] = &["attack", "car", "cve", "d3fend", "detection", "stp", "tlp"];

/// ATT&CK's tactics (Enterprise, ICS, Mobile), current and former.
const TACTICS: &[&str] = &[
    "collection",
    "command-and-control",
    "credential-access",
    "defense-evasion",
    "defense-impairment",
    "discovery",
    "evasion",
    "execution",
    "exfiltration",
    "impact",
    "impair-process-control",
    "inhibit-response-function",
    "initial-access",
    "lateral-movement",
    "persistence",
    "privilege-escalation",
    "reconnaissance",
    "resource-development",
    "stealth",
];

fn bad_tag(tag: &Tag) -> Option<Diagnostic> {
    let allowed =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
    let (message, help) = match tag.text.split_once('.') {
        _ if !tag.text.chars().all(allowed) => (
            format!("the tag `{}` has characters that tags don't have", tag.text),
            "use lower-case letters, digits, hyphens and dots".to_owned(),
        ),
        None => (
            format!("the tag `{}` has no namespace", tag.text),
            format!("begin it with one of: {}", NAMESPACES.join(", ")),
        ),
        Some((namespace, _)) if !NAMESPACES.contains(&namespace) => (
            format!("`{namespace}` is not a namespace of tags"),
            suggest::help(namespace, NAMESPACES.iter().copied()),
        ),
        Some(("attack", name)) if !is_attack(name) => (
            format!("`{name}` is no ATT&CK tactic, technique, group or software"),
            suggest::help(name, TACTICS.iter().copied()),
        ),
        Some(_) => return None,
    };
    Some(Diagnostic::warning(Code::BadTag, tag.span, message).with_help(help))
}

fn is_attack(name: &str) -> bool {
    let digits =
        |text: &str, count| text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
    let technique = name.strip_prefix('t').is_some_and(|number| match number.split_once('.') {
        None => digits(number, 4),
        Some((technique, sub)) => digits(technique, 4) && digits(sub, 3),
    });
    let other = ["g", "s", "c", "ds", "m"]
        .iter()
        .any(|kind| name.strip_prefix(kind).is_some_and(|number| digits(number, 4)));
    technique || other || TACTICS.contains(&name.replace('_', "-").as_str())
}

fn bad_date(date: &Option<String>, attribute: &str, span: Span) -> Option<Diagnostic> {
    let date = date.as_ref()?;
    let is_date = date.len() == 10 && date.parse::<jiff::civil::Date>().is_ok();
    if is_date {
        return None;
    }
    let message = format!("`{attribute}: {date}` is not a date");
    Some(
        Diagnostic::new(Severity::Note, Code::BadDate, span, message)
            .with_help("write it as YYYY-MM-DD"),
    )
}
