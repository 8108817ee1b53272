//! Values from events as text of the query language that means just them.
//!
//! A value can hold anything: an attacker chooses user names and command lines. In quotes, with
//! `"` and `\` escaped, nothing in it is an operator, a wildcard or the end of the value. But a
//! query also *reads* values: `10.0.0.0/8` in quotes still is every address of the network, and
//! `2026-08-05` every moment of the day. A user who calls himself `0.0.0.0/0` must not make a hunt
//! find all there is, so these are written as regular expressions that match them alone.

use std::collections::HashSet;

use query::{Cell, Filter, Term};

/// A value as the query language takes it to mean the value itself, letters in any case.
pub fn quoted_value(value: &str) -> String {
    let term = Term::new(value);
    let is_network = value.contains('/') && term.network().is_some();
    let is_day = term.moments().is_some_and(|(first, last)| first != last);
    if is_network || is_day {
        // Only hexadecimal digits and `.:/-` can be in these.
        return format!("/^{}$/", value.replace('.', "\\.").replace('/', "\\/"));
    }
    quoted(value)
}

/// A text in quotes.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Events whose field has this value.
pub(crate) fn has_value(field: &str, value: &Cell) -> Option<Filter> {
    let text = format!("{}:{}", quoted(field), quoted_value(&value.to_string()));
    query::parse(&text).ok().map(|query| query.filter)
}

/// Different values, the first the most wanted.
#[derive(Debug, Default)]
pub(crate) struct Values {
    list: Vec<String>,
    seen: HashSet<String>,
}

impl Values {
    /// Adds a cell's values, those of a list one by one. Such as differ only in case are one,
    /// since queries do not tell them apart.
    pub(crate) fn add(&mut self, cell: &Cell) {
        match cell {
            Cell::Null => {}
            Cell::List(cells) => cells.iter().for_each(|cell| self.add(cell)),
            one => {
                let text = one.to_string();
                if self.seen.insert(query::fold(&text)) {
                    self.list.push(text);
                }
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// As a list in parentheses of at most so many values and so many bytes, and how many of the
    /// values are in it.
    pub(crate) fn written(&self, count_max: usize, bytes_max: usize) -> (String, usize) {
        let mut out = String::from("(");
        let mut used = 0;
        for value in self.list.iter().take(count_max) {
            let value = quoted_value(value);
            if out.len() + value.len() + " or )".len() > bytes_max {
                // A shorter one may still fit.
                continue;
            }
            if used > 0 {
                out.push_str(" or ");
            }
            out.push_str(&value);
            used += 1;
        }
        if used == 0 {
            // No value can do both: the field is there, and it is not.
            return ("(* and not *)".to_owned(), 0);
        }
        out.push(')');
        (out, used)
    }
}

#[cfg(test)]
mod tests {
    use event::Event;
    use proptest::prelude::*;
    use query::Cell;

    use super::{Values, quoted_value};

    fn event(value: &str) -> Event {
        let mut event = Event::new();
        event.set("user.name", value);
        event.set("other.name", "someone else");
        event
    }

    /// Texts that try to be something else than a value.
    fn hostile() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "\"",
            "\\",
            "*",
            "?",
            "(",
            ")",
            "\n",
            "\r",
            "|",
            " or ",
            " and ",
            "not ",
            ":",
            "{{",
            "}}",
            "[",
            "]",
            "{",
            "}",
            " TO ",
            "/",
            ".",
            "-",
            "<",
            ">",
            "=",
            "!",
            "&&",
            "||",
            "'",
            "`",
            "$",
            "\u{0}",
            "\u{0}*",
            "\u{e000}",
            "a",
            "B",
            "ä",
            "İ",
            "ß",
            "1",
            "0",
            "10.0.0.0/8",
            "::/0",
            "0.0.0.0/0",
            "2026-08-05",
            "T12:00:00Z",
            "1e3",
            "true",
            "\u{202e}",
            ",",
            "#",
            " ",
        ]);
        prop_oneof![
            4 => prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat()),
            1 => any::<String>(),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn hostile_values_match_themselves_alone(
            values in prop::collection::vec(hostile(), 1..5),
            other in hostile(),
        ) {
            let mut list = Values::default();
            values.iter().for_each(|value| list.add(&Cell::Text(value.clone())));
            let (written, used) = list.written(1000, 100_000);
            prop_assert_eq!(used, list.len());
            let text = format!("user.name:{written} | stats count by user.name");
            let query = query::parse(&text).unwrap_or_else(|e| panic!("{}", e.render()));
            prop_assert_eq!(query.pipes.len(), 1);
            for value in &values {
                prop_assert!(query::matches(&query.filter, &event(value)), "{:?} {}", value, &text);
            }
            let same = |value: &String| {
                // Two ways to write one address are one value.
                let address = |text: &str| text.parse::<std::net::IpAddr>().ok();
                query::fold(value) == query::fold(&other)
                    || (address(value).is_some() && address(value) == address(&other))
            };
            prop_assert_eq!(
                query::matches(&query.filter, &event(&other)),
                values.iter().any(same),
                "{:?} {}", &other, &text
            );
            let mut without = Event::new();
            without.set("other.name", "someone else");
            prop_assert!(!query::matches(&query.filter, &without));
        }
    }

    #[test]
    fn networks_and_days_stay_texts() {
        for (value, other) in [
            ("0.0.0.0/0", "10.1.2.3"),
            ("::/0", "fe80::1"),
            ("10.1.2.3/32", "10.1.2.3"),
            ("an*", "anna"),
            ("a\" or user.name:*", "a"),
        ] {
            let query = query::parse(&format!("user.name:{}", quoted_value(value))).expect("valid");
            assert!(query::matches(&query.filter, &event(value)), "{query}");
            assert!(!query::matches(&query.filter, &event(other)), "{query}");
        }
        let query = query::parse(&format!("event.created:{}", quoted_value("2026-08-05")));
        let mut event = Event::new();
        event.set("event.created", "2026-08-05T12:00:00Z");
        assert!(!query::matches(&query.expect("valid").filter, &event));
    }

    #[test]
    fn numbers_and_times_match_their_own_kind() {
        let mut event = Event::new();
        event.parse_json(br#"{"process.pid": 7, "x": 1.5, "event.created": "2026-08-05T12:00:00Z", "b": true}"#).expect("JSON");
        for field in ["process.pid", "x", "event.created", "b"] {
            for cell in query::cells(&event, field) {
                let filter = super::has_value(field, &cell).expect("a filter");
                assert!(query::matches(&filter, &event), "{filter}");
            }
        }
    }

    #[test]
    fn lists_are_bounded_and_never_empty_text() {
        let mut list = Values::default();
        let (nothing, used) = list.written(10, 1000);
        assert_eq!((used, list.len()), (0, 0));
        let query = query::parse(&format!("user.name:{nothing}")).expect("valid");
        assert!(!query::matches(&query.filter, &event("a")));
        for n in 0..10 {
            list.add(&Cell::List(vec![Cell::Int(n), Cell::Null, Cell::Text(format!("A{n}"))]));
            list.add(&Cell::Text(format!("a{n}")));
        }
        assert_eq!(list.len(), 20);
        assert_eq!(list.written(2, 1000), ("(\"0\" or \"A0\")".to_owned(), 2));
        assert_eq!(list.written(20, 16).1, 2);
    }
}
