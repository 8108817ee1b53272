//! The examples of `docs/search.md` have the same answers from the index as from the plain evaluator,
//! which the document itself is held to in `query`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use event::Event;
use indexing::{Answer, Document, Index, Kind, Options, SearchRequest};
use query::{Rows, Table};

/// What stands between each line with this fence and the next fence.
fn blocks<'t>(text: &'t str, fence: &str) -> Vec<&'t str> {
    let opening = format!("```{fence}\n");
    let parts = text.split(opening.as_str()).skip(1);
    parts.map(|part| part.split("```").next().unwrap()).collect::<Vec<&str>>()
}

fn event(json: &str) -> Event {
    let mut event = Event::new();
    event.parse_json(json.as_bytes()).unwrap();
    event
}

fn ids(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| event.str("event.id").unwrap().to_owned()).collect()
}

#[test]
fn the_documents_examples_are_answered_by_the_index_as_well() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/search.md");
    let text = std::fs::read_to_string(path).unwrap();
    let events: Vec<Event> = blocks(&text, "json")[0].lines().map(event).collect();
    let folder = tempfile::tempdir().unwrap();
    let options = Options { threads: 1, ..Options::default() };
    let index = Index::open(folder.path(), options).unwrap();
    let mut writer = index.writer("log").unwrap();
    for (n, event) in events.iter().enumerate() {
        writer.add(Document {
            kind: Kind::Events,
            time: event.timestamp().unwrap(),
            event: event.clone(),
            json: event.to_json().into_bytes(),
            position: None,
        });
        // Several segments.
        if n % 5 == 4 {
            writer.commit().unwrap();
        }
    }
    writer.commit().unwrap();
    let mut run = 0;
    for text in blocks(&text, "watchpost") {
        // What is wrong on purpose is not for the index.
        let Ok(query) = query::parse(text.trim_end()) else { continue };
        let found = events.iter().rev().filter(|event| query::matches(&query.filter, event));
        let plain = query::run(&query.pipes, found.cloned().collect(), &mut Vec::new());
        let results = index.searcher().search(&SearchRequest::new(&query));
        assert_eq!(results.partial, [], "{text}");
        match (results.answer, plain) {
            (Answer::Hits(hits), Rows::Events(plain)) => {
                let hits: Vec<Event> = hits.iter().map(|hit| hit.event()).collect();
                assert_eq!(ids(&hits), ids(&plain), "{text}");
            }
            (Answer::Table(table), Rows::Table(plain)) => {
                let Table { columns, rows } = table;
                assert_eq!((columns, rows), (plain.columns, plain.rows), "{text}");
            }
            _ => panic!("not both a table: {text}"),
        }
        run += 1;
    }
    assert!(run > 30, "{run} examples were run");
}
