//! Any text as the condition of a rule with a few selections.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|condition: &str| {
    let quoted = double_quoted(condition);
    let text = format!(
        "title: t\nlogsource: {{product: windows}}\ndetection:\n  a: {{x: 1}}\n  a_b: {{y: 2}}\n  filter: {{z: 3}}\n  keywords: [k]\n  condition: {quoted}\n"
    );
    let (documents, _) = sigma::parse_documents(&text, "fuzz.yml");
    for document in &documents {
        if let Some(rule) = document.as_rule() {
            // A rule that loaded has selections for all it names, or says which it lacks.
            drop(sigma::resolve(rule));
        }
    }
});

/// The text as a double-quoted YAML scalar.
fn double_quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(c);
            }
            c if c.is_control() => quoted.push_str(&format!("\\U{:08X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
