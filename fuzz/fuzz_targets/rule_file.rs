//! Any text as a rule file: documents or diagnostics, and what loads resolves or says why not.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (documents, diagnostics) = sigma::parse_documents(text, "fuzz.yml");
    for diagnostic in &diagnostics {
        let shown = diagnostic.render(Some(text));
        assert!(!shown.is_empty());
    }
    let pipelines = sigma::pipeline::builtin();
    for document in &documents {
        let sigma::Document::Rule(rule) = document else { continue };
        let mut mapped = rule.clone();
        if sigma::pipeline::apply(&mut mapped, &pipelines).is_err() {
            continue;
        }
        let Ok(expr) = sigma::resolve(&mapped) else { continue };
        matcher::plain::matches(&expr, &event::Event::new());
    }
    sigma::lint(&documents, &sigma::LintOptions::default());
});
