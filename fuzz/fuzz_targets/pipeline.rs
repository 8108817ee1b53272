//! Any text as a processing pipeline, applied to a rule that uses most of what rules have.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

static RULE: LazyLock<sigma::Rule> = LazyLock::new(|| {
    let text = "title: t\nlogsource: {product: windows, category: process_creation}\ndetection:\n  a:\n    Image|endswith: ['\\a.exe', 'b?']\n    CommandLine|contains|all: [x, '%p%']\n  f: {User: null, n|gt: 3}\n  keywords: [k]\n  condition: (a or keywords) and not f\n";
    let (documents, _) = sigma::parse_documents(text, "rule.yml");
    documents.iter().find_map(|document| document.as_rule().cloned()).expect("the rule is sound")
});

fuzz_target!(|text: &str| {
    let Ok(pipeline) = sigma::pipeline::Pipeline::parse(text, "fuzz.yml") else { return };
    let mut rule = RULE.clone();
    if sigma::pipeline::apply(&mut rule, &[pipeline]).is_ok() {
        drop(sigma::resolve(&rule));
    }
});
