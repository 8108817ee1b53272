//! Sequences are what a search through all combinations of events finds.

use event::{Event, Timestamp};
use proptest::prelude::*;
use query::{Cell, Pipe, Rows, Sequence, cells, matches, parse, run};

/// The definition, word by word, however long it takes: for the entity, ids of the events of each
/// sequence with the times of the first and the last.
fn plain(wanted: &Sequence, events: &[&Event]) -> Vec<(Timestamp, Timestamp, Vec<String>)> {
    let time = |n: usize| events[n].timestamp().expect("the test's events have a time");
    let mut found = Vec::new();
    let mut begin = 0;
    for end in 0..events.len() {
        // All ways to choose an event for each step, in their order, that end here.
        let mut ways: Vec<Vec<usize>> = vec![vec![]];
        for step in &wanted.steps {
            ways = ways
                .iter()
                .flat_map(|way| {
                    let from = way.last().map_or(begin, |last| last + 1);
                    (from..=end).filter(move |n| matches(step, events[*n])).map(move |n| {
                        let mut way = way.clone();
                        way.push(n);
                        way
                    })
                })
                .collect();
        }
        ways.retain(|way| {
            way.last() == Some(&end)
                && time(end).as_nanos() - time(way[0]).as_nanos() <= wanted.within_nanos
        });
        // The one whose other events are the latest.
        if let Some(way) =
            ways.into_iter().max_by_key(|way| way.iter().rev().copied().collect::<Vec<_>>())
        {
            let ids = way.iter().map(|n| events[*n].str("event.id").unwrap_or_default().to_owned());
            found.push((time(way[0]), time(end), ids.collect()));
            begin = end + 1;
        }
    }
    found
}

fn event(n: usize, seconds: i64, hosts: &[&str], kind: &str) -> Event {
    let mut event = Event::new();
    let time = Timestamp::from_millis(1_785_900_000_000 + seconds * 1000);
    let json = serde_json::json!({
        "@timestamp": time.to_string(), "event.id": format!("log-0-{n}"), "host.name": hosts, "kind": kind,
    });
    event.parse_json(json.to_string().as_bytes()).expect("it is an event");
    event
}

proptest! {
    #[test]
    fn sequences_are_what_a_search_through_all_combinations_finds(
        // Few seconds, so that many events have the same time.
        events in prop::collection::vec(
            (0..25i64, prop::sample::subsequence(vec!["x", "y"], 0..=2), "[abc]{1,2}"), 0..14),
        steps in prop::collection::vec(prop::sample::select(vec![
            "[kind:*a*]", "[kind:*b*]", "[kind:*c*]", "[kind:a]", "[*]",
        ]), 2..4),
        within in 1..15i64,
    ) {
        let events: Vec<Event> = events
            .iter()
            .enumerate()
            .map(|(n, (seconds, hosts, kind))| event(n, *seconds, hosts, kind))
            .collect();
        let text = format!("* | sequence by host.name within {within}s {}", steps.join(" "));
        let query = parse(&text).map_err(|error| TestCaseError::fail(error.render()))?;
        let [Pipe::Sequence(wanted)] = query.pipes.as_slice() else { panic!("a sequence") };
        let mut expected: Vec<Vec<Cell>> = Vec::new();
        for host in ["x", "y"].map(|host| Cell::Text(host.to_owned())) {
            let mut own: Vec<&Event> =
                events.iter().filter(|event| cells(event, "host.name").contains(&host)).collect();
            // Stable: those of one time stay in the order of their numbers, which is that of ids.
            own.sort_by_key(|event| event.timestamp());
            for (first, last, ids) in plain(wanted, &own) {
                let ids = Cell::List(ids.into_iter().map(Cell::Text).collect());
                expected.push(vec![host.clone(), Cell::Time(first), Cell::Time(last), ids]);
            }
        }
        // As searches give events: the newest first.
        let mut newest = events;
        newest.sort_by_key(|event| std::cmp::Reverse(event.timestamp()));
        let mut exceeded = Vec::new();
        let Rows::Table(mut table) = run(&query.pipes, newest, &mut exceeded) else {
            panic!("no table")
        };
        prop_assert!(table.rows.windows(2).all(|pair| pair[0][2] >= pair[1][2]), "the last first");
        table.rows.sort();
        expected.sort();
        prop_assert_eq!(table.rows, expected, "{}", text);
        prop_assert!(exceeded.is_empty());
    }
}
