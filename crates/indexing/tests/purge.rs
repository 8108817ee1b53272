//! Purges and legal holds: what is gone stays gone, and what is held stays.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use bus::Topic;
use event::{Event, Timestamp};
use indexing::{
    Document, Found, Hold, Index, IndexError, IndexWriter, Keep, Kind, Kinds, Options, Position,
    Purge, PurgeState, Retention, SearchRequest,
};

const DAY_MILLIS: i64 = 86_400_000;
const FIRST_DAY: i64 = 1_785_888_000_000;

fn open(dir: &Path) -> Index {
    Index::open(dir, Options { threads: 1, ..Options::default() }).unwrap()
}

/// Events over three days, of three users.
fn event(n: u64) -> Document {
    let time = Timestamp::from_millis(FIRST_DAY + n as i64 % 3 * DAY_MILLIS + n as i64);
    let user = ["alice", "bob", "carol"][(n / 3) as usize % 3];
    let json = serde_json::json!({
        "@timestamp": time.to_string(),
        "event": {"id": format!("log-0-{n}"), "ingested": time.to_string()},
        "user": {"name": user},
        "message": format!("{user} did thing {n}"),
    });
    document(Kind::Events, &json, Some(Position { topic: Topic::Events, partition: 0, offset: n }))
}

fn document(kind: Kind, json: &serde_json::Value, position: Option<Position>) -> Document {
    let json = json.to_string().into_bytes();
    let mut event = Event::new();
    event.parse_json(&json).unwrap();
    Document { kind, time: event.timestamp().unwrap(), event, json, position }
}

/// An alert that carries an event of a user, and says nothing of it itself.
fn alert(id: &str, user: &str) -> Document {
    let time = Timestamp::from_millis(FIRST_DAY).to_string();
    let evidence = serde_json::json!([{
        "id": "log-0-0",
        "event": {"@timestamp": time, "event": {"ingested": time}, "user": {"name": user}},
    }]);
    let json = serde_json::json!({
        "@timestamp": time,
        "event": {"id": id, "kind": "alert", "created": time},
        "watchpost": {"alert": {"evidence": evidence.to_string()}},
    });
    document(Kind::Alerts, &json, None)
}

fn fill(index: &Index) -> IndexWriter {
    let mut writer = index.writer("log").unwrap();
    (0..90).for_each(|n| writer.add(event(n)));
    writer.add(alert("about alice", "alice"));
    writer.add(alert("about bob", "bob"));
    writer.commit().unwrap();
    writer
}

fn count(index: &Index, query: &str) -> u64 {
    let query = query::parse(query).unwrap();
    let mut request = SearchRequest::new(&query);
    request.kinds = Kinds::Both;
    let results = index.searcher().search(&request);
    assert_eq!(results.partial, []);
    results.total
}

fn purge(dir: &Path, writer: &mut IndexWriter, query: &str) -> PurgeState {
    let purge = Purge::ask(dir, query, Found::default(), "dpo", "ticket 7").unwrap();
    writer.run_purges().unwrap();
    purge.look(dir).unwrap().state
}

/// How many files of partitions have a text somewhere in their bytes.
fn files_with(dir: &Path, text: &str) -> usize {
    let index = dir.join("index");
    let partitions = std::fs::read_dir(index).unwrap().map(|entry| entry.unwrap().path());
    let partitions = partitions.filter(|path| path.join("meta.json").exists());
    let files = partitions.flat_map(|path| std::fs::read_dir(path).unwrap());
    let has = |bytes: Vec<u8>| bytes.windows(text.len()).any(|part| part == text.as_bytes());
    files.filter(|entry| has(std::fs::read(entry.as_ref().unwrap().path()).unwrap())).count()
}

fn audited(dir: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(dir.join(indexing::AUDIT_FILE)).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_purge_removes_events_and_the_alerts_that_carry_them_and_proves_it() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path());
    let mut writer = fill(&index);
    let query = "user.name:alice";
    assert!(files_with(dir.path(), "alice") > 0);
    let (found, holds) = index.preview_purge(query).unwrap();
    assert_eq!((found, holds.len()), (Found { events: 30, alerts: 1 }, 0));
    let state = purge(dir.path(), &mut writer, query);
    assert_eq!(state, PurgeState::Done { removed: found, ids_looked_for: 31 });
    assert_eq!((count(&index, query), count(&index, "did")), (0, 60));
    assert_eq!(index.searcher().get("about alice").unwrap(), None);
    assert!(index.searcher().get("about bob").unwrap().is_some());
    let audit = audited(dir.path());
    let [line] = audit.as_slice() else { panic!("{audit:?}") };
    assert_eq!(line["event"]["action"], "purge");
    assert_eq!(line["event"]["outcome"], "success");
    assert_eq!(line["user"]["name"], "dpo");
    assert_eq!(line["watchpost"]["audit"]["purge"]["state"]["removed"]["events"], 30);
    assert_eq!(files_with(dir.path(), "alice"), 0);
    // The files hold no more than those of an index that never had them.
    let fresh = tempfile::tempdir().unwrap();
    let other = open(fresh.path());
    let mut without = other.writer("log").unwrap();
    let is_alice = |document: &Document| document.event.str("user.name") == Some("alice");
    (0..90).map(event).filter(|event| !is_alice(event)).for_each(|event| without.add(event));
    without.add(alert("about bob", "bob"));
    without.commit().unwrap();
    for (ours, theirs) in index.partitions().iter().zip(other.partitions()) {
        assert_eq!((ours.id, ours.documents), (theirs.id, theirs.documents));
        assert!(ours.bytes <= theirs.bytes + 2_000, "{} of {}", ours.bytes, theirs.bytes);
    }
}

#[test]
fn what_was_purged_does_not_come_back_from_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path());
    let mut writer = fill(&index);
    purge(dir.path(), &mut writer, "user.name:alice");
    drop(writer);
    drop(index);
    // As if everything were read again, into an index that has nothing of it any more.
    for entry in std::fs::read_dir(dir.path().join("index")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else if path.ends_with("checkpoint.json") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let index = open(dir.path());
    let mut writer = fill(&index);
    assert_eq!(count(&index, "*"), 61);
    // Somebody of that name who comes later is another matter.
    let mut later = event(90);
    let now = Timestamp::now().plus_nanos(1_000_000_000).to_string();
    later.event.set("event.ingested", now.as_str());
    later.event.set("user.name", "alice");
    writer.add(later);
    writer.commit().unwrap();
    assert_eq!(count(&index, "user.name:alice"), 1);
}

#[test]
fn a_purge_that_meets_a_hold_is_refused_whole() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path());
    let mut writer = fill(&index);
    Hold::add(dir.path(), "case-12", "message:\"thing 9\"", "counsel", "case 12").unwrap();
    let state = purge(dir.path(), &mut writer, "user.name:alice");
    let PurgeState::Held { holds } = state else { panic!("{state:?}") };
    assert_eq!(holds.into_iter().collect::<Vec<_>>(), [("case-12".to_owned(), 1)]);
    assert_eq!(count(&index, "user.name:alice"), 30);
    // Refused is refused: lifting the hold is no reason to purge without being asked again.
    Hold::remove(dir.path(), "case-12", "counsel", "closed").unwrap();
    drop(writer);
    let mut writer = index.writer("log").unwrap();
    writer.run_purges().unwrap();
    assert_eq!(count(&index, "user.name:alice"), 30);
    let done = purge(dir.path(), &mut writer, "user.name:alice");
    assert!(matches!(done, PurgeState::Done { .. }), "{done:?}");
    let acts: Vec<String> =
        audited(dir.path()).iter().map(|line| line["event"]["action"].to_string()).collect();
    assert_eq!(acts, [r#""hold-add""#, r#""purge""#, r#""hold-remove""#, r#""purge""#]);
}

#[test]
fn retention_goes_past_what_is_held() {
    let dir = tempfile::tempdir().unwrap();
    let retention =
        Retention { default: Keep { days: Some(1), bytes_max: None }, datasets: Vec::new() };
    let options = Options { threads: 1, retention, ..Options::default() };
    let index = Index::open(dir.path(), options).unwrap();
    let mut writer = fill(&index);
    Hold::add(dir.path(), "case-12", "user.name:bob", "counsel", "case 12").unwrap();
    let later = Timestamp::from_millis(FIRST_DAY + 30 * DAY_MILLIS);
    assert_eq!(writer.enforce_retention(later).unwrap().documents, 62);
    assert_eq!((count(&index, "*"), count(&index, "user.name:bob")), (30, 30));
    // A hold that cannot be read holds everything.
    std::fs::write(dir.path().join("holds/broken.json"), "{").unwrap();
    Hold::remove(dir.path(), "case-12", "counsel", "closed").unwrap_err();
    let refused = writer.enforce_retention(later).unwrap_err();
    assert!(matches!(refused, IndexError::Hold(_)), "{refused}");
    std::fs::remove_file(dir.path().join("holds/broken.json")).unwrap();
    Hold::remove(dir.path(), "case-12", "counsel", "closed").unwrap();
    assert_eq!(writer.enforce_retention(later).unwrap().documents, 30);
}

#[test]
fn what_cannot_be_held_or_purged_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let missing = Hold::add(dir.path(), "a", "*", "x", "y").unwrap_err();
    assert!(matches!(missing, IndexError::Missing(_)), "{missing}");
    let index = open(dir.path());
    let faults = [
        Hold::add(dir.path(), "../a", "*", "x", "y").unwrap_err(),
        Hold::add(dir.path(), "a", "* | head 3", "x", "y").unwrap_err(),
        Hold::add(dir.path(), "a", "user.name:(", "x", "y").unwrap_err(),
        Purge::ask(dir.path(), "a | stats count", Found::default(), "x", "y").unwrap_err(),
    ];
    for fault in faults {
        assert!(matches!(fault, IndexError::Hold(_) | IndexError::Query(_)), "{fault}");
    }
    Hold::add(dir.path(), "a", "*", "x", "y").unwrap();
    let twice = Hold::add(dir.path(), "a", "*", "x", "y").unwrap_err();
    assert!(twice.to_string().contains("already"), "{twice}");
    assert_eq!(Hold::list(dir.path()).unwrap().len(), 1);
    let claim = index.claim().unwrap();
    assert!(matches!(index.claim(), Err(IndexError::InUse(_))));
    drop(claim);
    index.claim().unwrap();
}
