//! Raw records that are one event: those of the Linux audit log, put together.
//!
//! The audit daemon writes an event as several lines with one serial number, and every shipper sends
//! each line as a record of its own. Who only sees the lines can't say which command opened which
//! file. So the lines of one event are put behind one another in the payload of the first, whatever
//! envelope that is in, and the result is normalised as one record; the event has the first one's id
//! and all lines as its original.
//!
//! An event is whole with the record that ends it (`PROCTITLE`, `EOE`), with a record of the same
//! sender that is two seconds younger, or two seconds after it began to arrive. All of that is told
//! by the records and their order, so a replay puts the same ones together. What is not whole yet is
//! state of the stage.
//!
//! What it refuses to do: take a text for an audit record because it looks like one. Clients choose
//! parts of many logs' lines, and what is put together loses its envelope. So the record must be the
//! whole of a message, or of a document that is from the audit log's file.

use std::sync::LazyLock;

use event::raw::{Encoding, NAMESPACE_DEFAULT};
use event::{RawRecord, Timestamp};
use mapping::audit::Record;
use memchr::memmem::Finder;
use prometheus::IntCounter;

use crate::syslog;

/// How long an event's records may take to arrive, and how much younger a record is of which the
/// event is whole before it: what the daemon's own library waits, in nanoseconds.
const PATIENCE_NANOS: i64 = 2_000_000_000;

/// The most events that wait for their records; more of them are not put together.
const OPEN_MAX: usize = 1_000;

/// The most bytes of an event's records; further ones are an event of their own. Well below what the
/// bus takes as one record, because fields and original are both on the event.
const BYTES_MAX: usize = 1024 * 1024;

/// The bytes of a joined payload's line end, within JSON and without.
const LINE_END: [&[u8]; 2] = [b"\n", b"\\n"];

/// Where a record is: on the bus its partition and offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// The partition of the topic `raw`.
    pub partition: u32,
    /// The offset in it.
    pub offset: u64,
}

/// A record as it came from the bus or from a file.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// The record.
    pub raw: &'a RawRecord<'a>,
    /// Where it is.
    pub place: Place,
    /// The key of whoever sent it; only records of one sender are put together.
    pub source: &'a [u8],
    /// When it was appended.
    pub at: Timestamp,
}

/// Records put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// Where the first of them is; the event has its id.
    pub place: Place,
    /// Who sent them.
    pub source: Vec<u8>,
    arrived: Timestamp,
    received: Timestamp,
    listener: String,
    peer: String,
    sender: String,
    dataset: String,
    namespace: String,
    position: Option<u64>,
    encoding: Encoding,
    payload: Vec<u8>,
    /// Where the next line goes in the payload.
    end: usize,
    is_json: bool,
    key: Key,
    /// Whether the stage's state has it, and as it is now.
    is_stored: bool,
    is_changed: bool,
}

/// What all records of an event have in common.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Key {
    host: String,
    time: String,
    serial: String,
}

impl<'a> Arrival<'a> {
    /// A record of a file, all of which there is at once: no time passes between two.
    pub fn of_file(raw: &'a RawRecord<'a>) -> Arrival<'a> {
        Arrival { raw, place: Place::default(), source: b"", at: raw.received }
    }
}

impl Joined {
    /// The record that they are together.
    pub fn raw(&self) -> RawRecord<'_> {
        RawRecord {
            payload: &self.payload,
            received: self.received,
            listener: &self.listener,
            peer: &self.peer,
            sender: &self.sender,
            dataset: &self.dataset,
            namespace: &self.namespace,
            position: self.position,
            encoding: self.encoding,
        }
    }
}

/// A change of what waits, for the stage's state.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Put(Place, Vec<u8>),
    Delete(Place),
}

/// Puts records together.
#[derive(Debug, Default)]
pub struct Joiner {
    /// In the order in which they began.
    open: Vec<Joined>,
    /// Those that the state has and that are whole now.
    closed: Vec<Place>,
}

impl Joiner {
    /// Takes a record that is part of an event of several. False: it is none, or there is no room,
    /// and it stands for itself. What is whole before it or with it is put into `whole`, and is of the
    /// same sender.
    pub fn push(&mut self, arrival: &Arrival<'_>, whole: &mut Vec<Joined>) -> bool {
        let raw = arrival.raw;
        let Some(found) = find(raw) else { return false };
        let record = &found.record;
        let time = seconds(record.time);
        let is_over = |open: &Joined| {
            let waited = arrival.at.as_nanos().saturating_sub(open.arrived.as_nanos());
            open.source == arrival.source
                && (waited >= PATIENCE_NANOS
                    || time - seconds(&open.key.time) >= PATIENCE_NANOS as f64 / 1e9)
        };
        self.close(is_over, whole);
        let key = Key {
            host: found.host.to_owned(),
            time: record.time.to_owned(),
            serial: record.serial.to_owned(),
        };
        let line = raw.payload.get(found.start..found.end).unwrap_or_default();
        let at = self.open.iter().position(|open| {
            open.source == arrival.source && open.key == key && open.is_json == found.is_json
        });
        let Some(at) = at else {
            if !record.has_more() {
                // The end of what is whole already has nothing to say.
                return record.kind == "EOE";
            }
            if self.open.len() >= OPEN_MAX || raw.payload.len() > BYTES_MAX {
                CUT.inc();
                return false;
            }
            self.open.push(Joined {
                place: arrival.place,
                source: arrival.source.to_owned(),
                arrived: arrival.at,
                received: raw.received,
                listener: raw.listener.to_owned(),
                peer: raw.peer.to_owned(),
                sender: raw.sender.to_owned(),
                dataset: raw.dataset.to_owned(),
                namespace: raw.namespace.to_owned(),
                position: raw.position,
                encoding: raw.encoding,
                payload: raw.payload.to_owned(),
                end: found.end,
                is_json: found.is_json,
                key,
                is_stored: false,
                is_changed: true,
            });
            return true;
        };
        let is_last = record.is_last();
        let Some(open) = self.open.get_mut(at) else { return false };
        if open.payload.len() + line.len() > BYTES_MAX {
            CUT.inc();
            whole.push(self.take(at));
            return false;
        }
        let between = LINE_END[usize::from(open.is_json)];
        open.payload.splice(open.end..open.end, between.iter().chain(line).copied());
        open.end += between.len() + line.len();
        open.is_changed = true;
        if is_last {
            whole.push(self.take(at));
        }
        true
    }

    /// What is whole because nothing more came in time. `clock` tells the time of a partition: of its
    /// last record, or now if all of it was read.
    pub fn overdue(&mut self, clock: &dyn Fn(u32) -> Timestamp, whole: &mut Vec<Joined>) {
        self.close(
            |open| {
                let now = clock(open.place.partition);
                now.as_nanos().saturating_sub(open.arrived.as_nanos()) >= PATIENCE_NANOS
            },
            whole,
        );
    }

    /// All that is left, where nothing more will come.
    pub fn finish(&mut self, whole: &mut Vec<Joined>) {
        whole.append(&mut self.open);
    }

    /// Whether the record at this place is the first of some that wait.
    pub fn began_at(&self, place: Place) -> bool {
        self.open.iter().any(|open| open.place == place)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    fn close(&mut self, is_over: impl Fn(&Joined) -> bool, whole: &mut Vec<Joined>) {
        let mut at = 0;
        while let Some(open) = self.open.get(at) {
            if is_over(open) {
                whole.push(self.take(at));
            } else {
                at += 1;
            }
        }
    }

    /// `at` is one of them.
    fn take(&mut self, at: usize) -> Joined {
        let joined = self.open.remove(at);
        if joined.is_stored {
            self.closed.push(joined.place);
        }
        joined
    }

    /// What changed since the last call.
    pub(crate) fn changes(&mut self, each: &mut dyn FnMut(Change)) {
        for place in self.closed.drain(..) {
            each(Change::Delete(place));
        }
        for open in self.open.iter_mut().filter(|open| open.is_changed) {
            (open.is_changed, open.is_stored) = (false, true);
            each(Change::Put(open.place, encode(open)));
        }
    }

    /// Forgets all, before it is given what the state has.
    pub(crate) fn clear(&mut self) {
        self.open.clear();
        self.closed.clear();
    }

    /// Takes back what [`Joiner::changes`] gave. What can't be read is left out.
    pub(crate) fn restore(&mut self, place: Place, bytes: &[u8]) {
        self.open.extend(decode(place, bytes));
        self.open.sort_by_key(|open| (open.arrived, open.place.partition, open.place.offset));
    }
}

/// An audit record in a payload.
struct Found<'a> {
    record: Record<'a>,
    /// The host that the record or its header names.
    host: &'a str,
    /// Where its text is in the payload.
    start: usize,
    end: usize,
    is_json: bool,
}

/// What every audit record has.
static STAMP: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"audit("));

/// What a document from the audit log's file, or of a sender that calls it so, has. In a text within
/// the document a quote would be escaped.
static ORIGINS: LazyLock<[Finder<'static>; 4]> = LazyLock::new(|| {
    [b":\"/var/log/audit/".as_slice(), b":\"auditd", b":\"linux_audit\"", b":\"linux:audit\""]
        .map(Finder::new)
});

fn find<'a>(raw: &RawRecord<'a>) -> Option<Found<'a>> {
    let stamp = STAMP.find(raw.payload)?;
    let payload = raw.payload;
    let is_json = payload.trim_ascii_start().first() == Some(&b'{');
    if is_json {
        let is_from_there = raw.dataset.contains("audit")
            || ORIGINS.iter().any(|origin| origin.find(payload).is_some());
        if !is_from_there {
            return None;
        }
        // The record is the whole of a text.
        let start = payload.get(..stamp)?.iter().rposition(|byte| *byte == b'"')? + 1;
        let end = start + end_of_text(payload.get(start..)?)?;
        let text = std::str::from_utf8(payload.get(start..end)?).ok()?;
        let record = Record::read(text)?;
        return Some(Found { host: record.node.unwrap_or_default(), record, start, end, is_json });
    }
    let text = std::str::from_utf8(payload).ok()?;
    let text = text.trim_end_matches(['\0', '\n', '\r']);
    if text.contains('\n') {
        return None;
    }
    let (host, start) = match Record::read(text) {
        Some(_) => ("", 0),
        None => syslog::audit_body(text, raw.received)?,
    };
    let record = Record::read(text.get(start..)?)?;
    let host = record.node.unwrap_or(host);
    Some(Found { record, host, start, end: text.len(), is_json })
}

/// Where a JSON text ends.
fn end_of_text(text: &[u8]) -> Option<usize> {
    let mut is_escaped = false;
    text.iter().position(|byte| {
        let ends = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        ends
    })
}

fn seconds(time: &str) -> f64 {
    time.parse().unwrap_or(0.0)
}

/// The texts of a joined record in the order in which they are written, each behind its length.
fn encode(joined: &Joined) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(joined.payload.len() + 256);
    bytes.extend(joined.arrived.as_nanos().to_le_bytes());
    bytes.extend(joined.received.as_nanos().to_le_bytes());
    bytes.extend(joined.position.unwrap_or(u64::MAX).to_le_bytes());
    bytes.extend((joined.end as u64).to_le_bytes());
    let texts: [&[u8]; 11] = [
        &joined.source,
        joined.listener.as_bytes(),
        joined.peer.as_bytes(),
        joined.sender.as_bytes(),
        joined.dataset.as_bytes(),
        joined.namespace.as_bytes(),
        joined.encoding.as_str().as_bytes(),
        joined.key.host.as_bytes(),
        joined.key.time.as_bytes(),
        joined.key.serial.as_bytes(),
        &joined.payload,
    ];
    for text in texts {
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text);
    }
    bytes
}

fn decode(place: Place, bytes: &[u8]) -> Option<Joined> {
    let mut rest = bytes;
    let mut number = || {
        let (number, after) = rest.split_first_chunk::<8>()?;
        rest = after;
        Some(u64::from_le_bytes(*number))
    };
    let (arrived, received, position) = (number()?, number()?, number()?);
    let end = usize::try_from(number()?).ok()?;
    let mut text = || {
        let (length, after) = rest.split_first_chunk::<8>()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let (text, after) = after.split_at_checked(length)?;
        rest = after;
        Some(text.to_owned())
    };
    let source = text()?;
    let mut words = || String::from_utf8(text()?).ok();
    let (listener, peer, sender) = (words()?, words()?, words()?);
    let (dataset, namespace, encoding) = (words()?, words()?, words()?);
    let key = Key { host: words()?, time: words()?, serial: words()? };
    let payload = text()?;
    if end > payload.len() {
        return None;
    }
    let time = |nanos: u64| Timestamp::from_nanos(i64::from_le_bytes(nanos.to_le_bytes()));
    Some(Joined {
        place,
        source,
        arrived: time(arrived),
        received: time(received),
        listener,
        peer,
        sender,
        dataset,
        namespace: if namespace.is_empty() { NAMESPACE_DEFAULT.to_owned() } else { namespace },
        position: (position != u64::MAX).then_some(position),
        encoding: encoding.parse().unwrap_or_default(),
        is_json: payload.trim_ascii_start().first() == Some(&b'{'),
        end,
        payload,
        key,
        is_stored: true,
        is_changed: false,
    })
}

static CUT: LazyLock<IntCounter> = LazyLock::new(|| {
    let counter = IntCounter::new(
        "watchpost_normalize_joins_cut_total",
        "Records of the audit log that were not put together with others, because too many waited or they were too large.",
    )
    .expect("the name is valid");
    // A name that is taken already is a mistake in this file; the metric still counts, unseen.
    prometheus::register(Box::new(counter.clone())).ok();
    counter
});

#[cfg(test)]
mod tests {
    use event::{RawRecord, Timestamp};
    use proptest::prelude::*;

    use super::{Arrival, BYTES_MAX, Change, Joined, Joiner, OPEN_MAX, Place};

    struct Lines {
        joiner: Joiner,
        offset: u64,
        at: Timestamp,
    }

    impl Lines {
        fn new() -> Lines {
            Lines { joiner: Joiner::default(), offset: 0, at: Timestamp::from_millis(1_000_000) }
        }

        /// What is whole with this payload, and whether the payload is part of something.
        fn push_both(&mut self, payload: &str) -> (bool, Vec<Joined>) {
            let raw = RawRecord::new(payload.as_bytes(), self.at);
            let place = Place { partition: 0, offset: self.offset };
            self.offset += 1;
            let mut whole = Vec::new();
            let arrival = Arrival { raw: &raw, place, source: b"s", at: self.at };
            (self.joiner.push(&arrival, &mut whole), whole)
        }

        /// What is whole with this payload; none if the payload stands for itself.
        fn push(&mut self, payload: &str) -> Option<Vec<Joined>> {
            let (is_part, whole) = self.push_both(payload);
            is_part.then_some(whole)
        }

        fn rest(&mut self) -> Vec<String> {
            let mut whole = Vec::new();
            self.joiner.finish(&mut whole);
            whole.iter().map(payload).collect()
        }
    }

    fn payload(joined: &Joined) -> String {
        String::from_utf8(joined.raw().payload.to_owned()).unwrap()
    }

    fn line(kind: &str, stamp: &str, text: &str) -> String {
        format!("type={kind} msg=audit({stamp}): {text}")
    }

    #[test]
    fn lines_of_one_event_are_one_record() {
        let mut lines = Lines::new();
        assert_eq!(lines.push(&line("SYSCALL", "100.1:7", "syscall=59")), Some(vec![]));
        // Events of a machine with several processors stand between each other.
        assert_eq!(lines.push(&line("SYSCALL", "100.1:8", "syscall=2")), Some(vec![]));
        assert_eq!(lines.push(&line("EXECVE", "100.1:7", "a0=\"id\"")), Some(vec![]));
        assert_eq!(lines.push(&line("USER_LOGIN", "100.2:9", "res=failed")), None);
        let whole = lines.push(&line("PROCTITLE", "100.1:7", "proctitle=\"id\"")).unwrap();
        assert_eq!(
            whole.iter().map(payload).collect::<Vec<_>>(),
            [
                "type=SYSCALL msg=audit(100.1:7): syscall=59\ntype=EXECVE msg=audit(100.1:7): a0=\"id\"\ntype=PROCTITLE msg=audit(100.1:7): proctitle=\"id\""
            ]
        );
        assert_eq!(whole[0].place.offset, 0);
        assert_eq!(lines.rest(), ["type=SYSCALL msg=audit(100.1:8): syscall=2"]);
    }

    #[test]
    fn an_event_is_whole_before_one_that_is_much_younger() {
        let mut lines = Lines::new();
        lines.push(&line("SYSCALL", "100.1:7", ""));
        assert_eq!(lines.push(&line("SYSCALL", "101.9:8", "")).unwrap().len(), 0);
        assert_eq!(lines.push(&line("SYSCALL", "102.1:9", "")).unwrap().len(), 1);
        lines.at = lines.at.plus_nanos(2_000_000_000);
        assert_eq!(lines.push(&line("PATH", "102.1:9", "")).unwrap().len(), 2);
        let mut whole = Vec::new();
        let then = lines.at;
        lines.joiner.overdue(&|_| then.plus_nanos(1_999_999_999), &mut whole);
        assert!(whole.is_empty());
        lines.joiner.overdue(&|_| then.plus_nanos(2_000_000_000), &mut whole);
        assert_eq!(whole.len(), 1);
        assert!(lines.joiner.is_empty());
    }

    #[test]
    fn headers_and_documents_around_lines_stay_whole() {
        let mut lines = Lines::new();
        let header = "<13>Nov 24 10:00:00 h1 audispd: ";
        lines.push(&format!("{header}{}", line("SYSCALL", "100.1:7", "pid=7")));
        // Another host that sends through the same relay.
        lines.push(&format!("<13>Nov 24 10:00:00 h2 audispd: {}", line("CWD", "100.1:7", "")));
        let whole =
            lines.push(&format!("{header}{}", line("PROCTITLE", "100.1:7", "x=1"))).unwrap();
        assert_eq!(
            payload(&whole[0]),
            "<13>Nov 24 10:00:00 h1 audispd: type=SYSCALL msg=audit(100.1:7): pid=7\ntype=PROCTITLE msg=audit(100.1:7): x=1"
        );
        let document = |line: &str| {
            serde_json::json!({"log": {"file": {"path": "/var/log/audit/audit.log"}}, "message": line})
                .to_string()
        };
        lines.push(&document(&line("SYSCALL", "100.1:7", r#"exe="/bin/a \ b""#)));
        let whole = lines.push(&document(&line("EOE", "100.1:7", ""))).unwrap();
        let joined: serde_json::Value = serde_json::from_str(&payload(&whole[0])).unwrap();
        assert_eq!(
            joined["message"],
            "type=SYSCALL msg=audit(100.1:7): exe=\"/bin/a \\ b\"\ntype=EOE msg=audit(100.1:7): "
        );
    }

    #[test]
    fn what_only_looks_like_an_audit_record_is_left_alone() {
        let mut lines = Lines::new();
        let fake = line("SYSCALL", "100.1:7", "x=1");
        for payload in [
            format!(
                "203.0.113.5 - - [24/Nov/2026:12:00:00 +0000] \"GET / HTTP/1.1\" 200 5 \"-\" \"{fake}\""
            ),
            serde_json::json!({"user_agent": fake, "ip": "203.0.113.5"}).to_string(),
            serde_json::json!({"message": format!("{fake} \":\"/var/log/audit/"), "ip": "1"})
                .to_string(),
            format!("Nov 24 10:00:00 h nginx: GET {fake}"),
            format!("{fake}\n{fake}"),
        ] {
            assert_eq!(lines.push(&payload), None, "{payload}");
        }
    }

    #[test]
    fn limits_leave_records_apart() {
        let mut lines = Lines::new();
        for serial in 0..OPEN_MAX {
            assert!(lines.push(&line("SYSCALL", &format!("100.1:{serial}"), "")).is_some());
        }
        assert_eq!(lines.push(&line("SYSCALL", "100.1:999999", "")), None);
        let long = "x".repeat(BYTES_MAX / 2);
        let mut lines = Lines::new();
        lines.push(&line("SYSCALL", "100.1:7", &long));
        assert_eq!(lines.push(&line("PATH", "100.1:7", &long)), None);
        assert!(lines.joiner.is_empty());
    }

    #[test]
    fn what_waits_can_be_stored_and_taken_back() {
        let mut lines = Lines::new();
        lines.push(&line("SYSCALL", "100.1:7", "a=1"));
        let mut stored = Vec::new();
        lines.joiner.changes(&mut |change| stored.push(change));
        lines.joiner.changes(&mut |change| panic!("nothing changed: {change:?}"));
        let [Change::Put(place, bytes)] = stored.as_slice() else { panic!("{stored:?}") };
        let mut again = Lines { joiner: Joiner::default(), ..lines };
        again.joiner.restore(*place, bytes);
        let whole = again.push(&line("EOE", "100.1:7", "")).unwrap();
        assert_eq!(whole.len(), 1);
        assert_eq!(whole[0].place.offset, 0);
        let mut stored = Vec::new();
        again.joiner.changes(&mut |change| stored.push(change));
        assert_eq!(stored, [Change::Delete(*place)]);
        for length in 0..bytes.len() {
            again.joiner.restore(*place, &bytes[..length]);
        }
        assert!(again.joiner.is_empty());
    }

    proptest! {
        /// Whatever comes in whatever order, each line is in exactly one record.
        #[test]
        fn nothing_is_lost_or_doubled(
            records in prop::collection::vec((0..4usize, 0..4u32, 0..3i64), 0..60),
        ) {
            let mut lines = Lines::new();
            let mut seen = Vec::new();
            for (number, (kind, serial, pause)) in records.iter().enumerate() {
                lines.at = lines.at.plus_nanos(pause * 700_000_000);
                let kind = ["SYSCALL", "PATH", "PROCTITLE", "USER_LOGIN"][*kind];
                let text = line(kind, &format!("10{serial}.1:{serial}"), &format!("n={number}"));
                let (is_part, whole) = lines.push_both(&text);
                seen.extend(whole.iter().map(payload));
                if !is_part {
                    seen.push(text);
                }
            }
            seen.extend(lines.rest());
            let mut numbers: Vec<usize> = seen
                .iter()
                .flat_map(|payload| payload.lines())
                .map(|line| line.rsplit_once("n=").unwrap().1.parse().unwrap())
                .collect();
            numbers.sort_unstable();
            prop_assert_eq!(numbers, (0..records.len()).collect::<Vec<_>>());
        }
    }
}
