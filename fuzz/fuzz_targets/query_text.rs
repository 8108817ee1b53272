//! Any text as a query: what is read is printed, read again, and means the same.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match query::parse(text) {
        Ok(parsed) => {
            let printed = parsed.to_string();
            let again = query::parse(&printed).expect("what is printed can be read");
            assert_eq!(printed, again.to_string());
            query::matches(&parsed.filter, &event::Event::new());
        }
        Err(error) => assert!(!error.render().is_empty()),
    }
});
