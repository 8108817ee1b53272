//! What a rule expects of its logs: the fields they have, and that something sends them.
//!
//! Names are compared exactly, as pipelines and events do. A logsource whose list of fields is
//! open, and every dotted name (a path of the record, or a field of the event model), is only
//! compared for near misses: `ComandLine` is a mistake whatever else the source may have.

use std::collections::BTreeSet;

use super::LintOptions;
use crate::diagnostic::{Code, Diagnostic, Severity};
use crate::logsource::feeds;
use crate::rule::{Logsource, Rule};
use crate::suggest;
use crate::taxonomy::KnownFields;

/// Every lint about a rule's logs.
pub(super) fn all(rule: &Rule, options: &LintOptions, found: &mut Vec<Diagnostic>) {
    unknown_fields(rule, &options.fields, found);
    never_fed(rule, options.sources.as_deref(), found);
}

/// Each unknown field once, where the rule names it first.
fn unknown_fields(rule: &Rule, catalogue: &[KnownFields], found: &mut Vec<Diagnostic>) {
    let known: Vec<&KnownFields> =
        catalogue.iter().filter(|known| feeds(&rule.logsource, triple(&known.logsource))).collect();
    if known.is_empty() {
        return;
    }
    let open = known.iter().any(|known| known.open);
    let names = || known.iter().flat_map(|known| known.names.iter().map(String::as_str));
    let mut looked_at: BTreeSet<&str> = BTreeSet::new();
    rule.for_each_item(|item| {
        let Some(field) = item.field.as_deref() else { return };
        if known.iter().any(|known| known.names.contains(field)) || !looked_at.insert(field) {
            return;
        }
        if known.iter().any(|known| known.added.contains(field)) {
            let message = format!("`{}` has `{field}` only where an agent adds it", rule.logsource);
            let note = Diagnostic::new(Severity::Note, Code::UnknownField, item.span, message);
            found.push(note.with_help("without such an agent, this condition never holds"));
            return;
        }
        let near = suggest::near_miss(field, names());
        if near.is_none() && (open || field.contains('.')) {
            return;
        }
        let message = format!("`{}` has no field `{field}` that is known", rule.logsource);
        let help = match near.or_else(|| suggest::nearest(field, names())) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "unless something adds it to the events, this condition never holds".to_owned(),
        };
        found.push(Diagnostic::warning(Code::UnknownField, item.span, message).with_help(help));
    });
}

/// A note, not a warning: rules are often there before the source is.
fn never_fed(rule: &Rule, sources: Option<&[Logsource]>, found: &mut Vec<Diagnostic>) {
    let Some(sources) = sources else { return };
    if sources.iter().any(|source| feeds(&rule.logsource, triple(source))) {
        return;
    }
    let message = format!("no configured source feeds `{}`", rule.logsource);
    let diagnostic = Diagnostic::new(Severity::Note, Code::NeverFed, rule.span, message);
    found.push(diagnostic.with_help("the rule loads, and waits for events of this class"));
}

fn triple(logsource: &Logsource) -> (Option<&str>, Option<&str>, Option<&str>) {
    (logsource.product.as_deref(), logsource.category.as_deref(), logsource.service.as_deref())
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::{Code, LintOptions, Logsource, lint, parse_documents, taxonomy};

    /// What these two lints say of a rule, rendered.
    fn check(logsource: &str, detection: &str) -> String {
        let text = format!("title: t\nlogsource: {logsource}\ndetection: {detection}\n");
        let (documents, faults) = parse_documents(&text, "t.yml");
        assert!(faults.is_empty(), "{faults:?}");
        let sources = vec![
            Logsource {
                product: Some("windows".into()),
                category: Some("process_creation".into()),
                service: Some("sysmon".into()),
                definition: None,
            },
            Logsource {
                product: Some("windows".into()),
                service: Some("security".into()),
                ..Logsource::default()
            },
        ];
        let options = LintOptions {
            fields: taxonomy::fields(),
            sources: Some(sources),
            ..LintOptions::default()
        };
        lint(&documents, &options)
            .iter()
            .filter(|found| matches!(found.code, Code::UnknownField | Code::NeverFed))
            .map(|found| found.render(Some(&text)))
            .collect()
    }

    const WINDOWS: &str = "{product: windows, category: process_creation}";
    const SECURITY: &str = "{product: windows, service: security}";

    #[test]
    fn a_closed_list_knows_every_name() {
        let detection = "{a: {CommandLine: x, Commandline|contains: y}, condition: a}";
        assert_snapshot!(check(WINDOWS, detection), @r"
        warning[unknown-field]: `windows/process_creation/*` has no field `Commandline` that is known
         --> t.yml:3:33
          |
        3 | detection: {a: {CommandLine: x, Commandline|contains: y}, condition: a}
          |                                 ^^^^^^^^^^^^^^^^^^^^
          = help: did you mean `CommandLine`?
        ");
        let detection = "{a: {Banana: x}, b: {Banana: y}, condition: a or b}";
        assert_snapshot!(check(WINDOWS, detection), @r"
        warning[unknown-field]: `windows/process_creation/*` has no field `Banana` that is known
         --> t.yml:3:17
          |
        3 | detection: {a: {Banana: x}, b: {Banana: y}, condition: a or b}
          |                 ^^^^^^
          = help: unless something adds it to the events, this condition never holds
        ");
        let detection = "{a: {CommandLine: x, TargetFilename: y}, condition: a}";
        assert_snapshot!(check("{product: windows, category: file_event}", detection), @r"
        note[unknown-field]: `windows/file_event/*` has `CommandLine` only where an agent adds it
         --> t.yml:3:17
          |
        3 | detection: {a: {CommandLine: x, TargetFilename: y}, condition: a}
          |                 ^^^^^^^^^^^
          = help: without such an agent, this condition never holds
        note[never-fed]: no configured source feeds `windows/file_event/*`
         --> t.yml:1:1
          |
        1 | title: t
          | ^
          = help: the rule loads, and waits for events of this class
        ");
        // Fields of the event model, and the parts of `Hashes`.
        let detection = "{a: {process.name: x, host.name: y, Imphash: z, md5: z}, condition: a}";
        assert_eq!(check(WINDOWS, detection), "");
    }

    #[test]
    fn an_open_list_knows_near_misses() {
        let detection = "{a: {EventID: 1, TargetUsername: x, SomeRareField: y}, condition: a}";
        assert_snapshot!(check(SECURITY, detection), @r"
        warning[unknown-field]: `windows/*/security` has no field `TargetUsername` that is known
         --> t.yml:3:29
          |
        3 | detection: {a: {EventID: 1, TargetUsername: x, SomeRareField: y}, condition: a}
          |                             ^^^^^^^^^^^^^^
          = help: did you mean `TargetUserName`?
        ");
    }

    #[test]
    fn a_rule_that_nothing_feeds_is_noted() {
        let detection = "{a: {x: y}, condition: a}";
        assert_snapshot!(check("{product: plan9, service: console}", detection), @r"
        note[never-fed]: no configured source feeds `plan9/*/console`
         --> t.yml:1:1
          |
        1 | title: t
          | ^
          = help: the rule loads, and waits for events of this class
        ");
        let detection = "{a: {EventID: 1}, condition: a}";
        assert_eq!(check("{product: windows}", detection), "");
        assert_eq!(check(SECURITY, detection), "");
    }
}
