//! `docs/search.md` says what is true: each of its examples is run over its events, and gives the
//! answer that stands there.
//!
//! With `WATCHPOST_TEST_WRITES_DOCS=1` the answers are written into the document instead; read the
//! difference before you commit it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use event::Event;
use query::{Rows, Table, matches, parse, run};

/// What stands between a line with this fence and the next fence, from `at` on, and where it ends.
fn block<'t>(text: &'t str, fence: &str, at: usize) -> Option<(&'t str, usize, usize)> {
    let opening = format!("```{fence}\n");
    let begin = at + text.get(at..)?.find(&opening)? + opening.len();
    let end = begin + text.get(begin..)?.find("```\n")?;
    Some((text.get(begin..end)?, begin, end))
}

fn event(json: &str) -> Event {
    let mut event = Event::new();
    event.parse_json(json.as_bytes()).unwrap();
    event
}

/// The answer as the document shows it.
fn answer(query: &str, events: &[Event]) -> String {
    let query = match parse(query.trim_end()) {
        Ok(query) => query,
        Err(error) => return error.render() + "\n",
    };
    let found: Vec<Event> =
        events.iter().rev().filter(|event| matches(&query.filter, event)).cloned().collect();
    match run(&query.pipes, found, &mut Vec::new()) {
        Rows::Events(events) => {
            let ids: Vec<&str> = events.iter().filter_map(|event| event.str("event.id")).collect();
            ids.join(" ") + "\n"
        }
        Rows::Table(table) => shown(&table),
    }
}

/// Columns one below the other.
fn shown(table: &Table) -> String {
    let rows = table.rows.iter().map(|row| row.iter().map(ToString::to_string).collect());
    let lines: Vec<Vec<String>> = std::iter::once(table.columns.clone()).chain(rows).collect();
    let width = |n: usize| lines.iter().map(|line| line[n].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..table.columns.len()).map(width).collect();
    lines
        .iter()
        .map(|line| {
            let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
        })
        .collect()
}

#[test]
fn every_example_of_the_document_gives_the_answer_that_stands_there() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/search.md");
    let mut text = std::fs::read_to_string(&path).unwrap();
    let (lines, ..) = block(&text, "json", 0).expect("the document has events");
    let events: Vec<Event> = lines.lines().map(event).collect();
    assert!(events.windows(2).all(|pair| pair[0].timestamp() < pair[1].timestamp()));
    let write = std::env::var_os("WATCHPOST_TEST_WRITES_DOCS").is_some();
    let (mut at, mut examples) = (0, 0);
    while let Some((query, _, end)) = block(&text, "watchpost", at) {
        let given = answer(query, &events);
        let (stands, begin, end) = block(&text, "text", end).expect("an example has an answer");
        if write {
            text.replace_range(begin..end, &given);
            at = begin + given.len();
        } else {
            assert_eq!(stands, given, "{query}");
            at = end;
        }
        examples += 1;
    }
    assert!(examples > 35, "{examples} examples were found");
    if write {
        std::fs::write(&path, text).unwrap();
    }
}
