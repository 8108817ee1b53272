//! Advice about a hunt that could be run as it is.

use sigma::{Code, Diagnostic, Severity};

use crate::hunt::Hunt;

/// What is probably not meant, or worth knowing.
pub fn check(hunt: &Hunt) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    if hunt.needs.is_empty() {
        let message = "the hunt has no `needs`, so it is refuted, too, where its data is missing";
        found.push(
            Diagnostic::warning(Code::NoNeeds, hunt.span, message)
                .with_help("name the events that the steps look at, and how many there must be"),
        );
    }
    let mut used = hunt.supported_when.steps();
    used.extend(hunt.refuted_when.iter().flat_map(|expression| expression.steps()));
    // A step may use only former ones, so one walk from the end finds all that are used in turn.
    for (n, step) in hunt.steps.iter().enumerate().rev() {
        if used.contains(&n) {
            used.extend(step.query.references.iter().map(|reference| reference.step));
        }
    }
    for (n, step) in hunt.steps.iter().enumerate() {
        if !used.contains(&n) {
            let message = format!("the verdict does not rest on the step `{}`", step.id);
            found.push(
                Diagnostic::new(Severity::Note, Code::UnusedStep, step.span, message)
                    .with_help("name it in `supported_when`, or keep it as evidence"),
            );
        }
    }
    if hunt.techniques().is_empty() {
        let message = "the hunt has no ATT&CK technique among its tags";
        found.push(
            Diagnostic::new(Severity::Note, Code::NoAttackTag, hunt.span, message)
                .with_help("add a tag such as `attack.t1110.003`"),
        );
    }
    found.into_iter().map(|diagnostic| diagnostic.in_file(&hunt.file)).collect()
}
