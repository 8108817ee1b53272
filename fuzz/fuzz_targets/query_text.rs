//! Any text as a query: what is read is printed, read again, and means the same; its pipes run over
//! an event, and what may come at any place of it can be told.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match query::parse(text) {
        Ok(parsed) => {
            let printed = parsed.to_string();
            let again = query::parse(&printed).expect("what is printed can be read");
            assert_eq!(printed, again.to_string());
            query::matches(&parsed.filter, &event::Event::new());
            query::run(&parsed.pipes, vec![event::Event::new()], &mut Vec::new());
            query::hints(&parsed, text, &["@timestamp", "host.name"]);
        }
        Err(error) => assert!(!error.render().is_empty()),
    }
    let found = query::suggest(text, text.chars().count() / 2);
    assert!(found.from <= text.chars().count());
});
