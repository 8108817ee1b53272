//! The body of `_bulk`, taken apart as it arrives, and the answer to it.
//!
//! A body is lines in pairs: what to do, and the document to do it with. Each document goes byte
//! for byte into the batch, and its item into the answer, so that neither the body nor a tree of it
//! is ever in memory. Where the body is cut into pieces changes nothing (a property test holds
//! that).
//!
//! A broken document is refused alone, with its place in the answer. A broken line that says what
//! to do refuses the whole request, as Elasticsearch does: nobody could tell what comes after it.

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use event::Timestamp;
use event::raw::{Encoding, NAMESPACE_DEFAULT, RawRecord};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::super::body::Sink;
use super::super::{Caller, Refusal};
use super::LISTENER;
use crate::{Batch, DatasetName, Intake, Namespace, metrics};

/// The most operations of a request. The answer to a small one is ten times its size, so this also
/// bounds the answer; shippers send some thousands at most.
pub(super) const OPERATIONS_MAX: usize = 100_000;

/// The longest line that says what to do. Elasticsearch allows 255 bytes for an index and 512 for
/// an id.
const ACTION_BYTES_MAX: usize = 16 * 1024;

/// Takes the body of a request.
pub(super) struct Bulk {
    intake: Intake,
    caller: Caller,
    received: Timestamp,
    document_bytes_max: usize,
    /// The index that the path names; empty if none.
    index: String,
    batch: Batch,
    answer: Answer,
    /// What was refused, by reason.
    refused: Refused,
    /// The beginning of a line whose end has not come.
    held: Vec<u8>,
    /// How many bytes of it were let go because it is over the limit; 0 while it is not.
    let_go: u64,
    /// Whether the last of them was a carriage return, which is no part of a line.
    let_go_ends_in_return: bool,
    /// The operation whose document comes next.
    awaited: Option<Operation>,
    operations: usize,
    /// The line we are on, from 1.
    line: u64,
    /// Where the last document went. Most shippers name one index for all.
    target: Option<Target>,
}

/// A body that was read to its end.
pub(super) struct Done {
    pub(super) batch: Batch,
    pub(super) answer: Answer,
    pub(super) refused: Refused,
}

/// How many documents were refused, by reason.
#[derive(Debug, Default)]
pub(super) struct Refused {
    malformed: u64,
    too_large: u64,
    denied: u64,
}

impl Refused {
    /// Counts them, once the others are durable.
    pub(super) fn count(&self) {
        for (reason, count) in
            [("malformed", self.malformed), ("too_large", self.too_large), ("denied", self.denied)]
        {
            metrics::REFUSED.with_label_values(&[LISTENER, reason]).inc_by(count);
        }
    }
}

/// What to do with the next document.
#[derive(Debug)]
struct Operation {
    verb: &'static str,
    index: String,
    /// The id as JSON text; made up if none was given.
    id: Option<String>,
}

/// What an index name says.
#[derive(Debug)]
pub(super) struct Target {
    index: String,
    pub(super) dataset: String,
    pub(super) namespace: Namespace,
}

impl Target {
    /// Where documents of this index go. A data stream's name, `logs-nginx.access-default`, has
    /// dataset and namespace in it; others (`filebeat-8.15.0-2026.11.26`) name none.
    pub(super) fn of(index: &str, caller: &Caller) -> Result<Target, Refusal> {
        let (dataset, namespace) = data_stream(index).unzip();
        // `default` is what shippers say that were told no namespace, so it is the sender's own.
        let namespace = namespace.filter(|named| named.as_str() != NAMESPACE_DEFAULT);
        let namespace = caller.namespace(namespace)?;
        let dataset = dataset.map(|name| name.as_str().to_owned()).unwrap_or_default();
        caller.check(&dataset)?;
        Ok(Target { index: index.to_owned(), dataset, namespace })
    }
}

/// Dataset and namespace in a data stream's name.
fn data_stream(index: &str) -> Option<(DatasetName, Namespace)> {
    let (kind, rest) = index.split_once('-')?;
    let (dataset, namespace) = rest.rsplit_once('-')?;
    if !matches!(kind, "logs" | "metrics" | "traces" | "synthetics" | "profiling") {
        return None;
    }
    Some((dataset.parse().ok()?, namespace.parse().ok()?))
}

impl Bulk {
    pub(super) fn new(
        intake: Intake,
        caller: Caller,
        document_bytes_max: usize,
        index: String,
        wanted: Wanted,
    ) -> Self {
        Bulk {
            intake,
            caller,
            received: Timestamp::now(),
            document_bytes_max,
            index,
            batch: Batch::new(),
            answer: Answer::new(wanted),
            refused: Refused::default(),
            held: Vec::new(),
            let_go: 0,
            let_go_ends_in_return: false,
            awaited: None,
            operations: 0,
            line: 1,
            target: None,
        }
    }

    /// Takes what is left after the last newline, and hands out all.
    pub(super) fn finish(mut self) -> Result<Done, Refusal> {
        if !self.held.is_empty() || self.let_go > 0 {
            self.end_of_line(b"")?;
        }
        if let Some(Operation { verb, .. }) = &self.awaited {
            return Err(Refusal::Wrong(format!(
                "the body ends after a line that says `{verb}`, without the document for it; nothing of it is stored"
            )));
        }
        if self.operations == 0 {
            return Err(Refusal::Wrong(
                "the body has no operation: send a line {\"create\":{}} and a line with the document, for each".into(),
            ));
        }
        Ok(Done { batch: self.batch, answer: self.answer, refused: self.refused })
    }

    /// The most bytes of the line that we are on.
    fn line_bytes_max(&self) -> usize {
        if self.awaited.is_some() { self.document_bytes_max } else { ACTION_BYTES_MAX }
    }

    /// Keeps the beginning of a line, as far as it may be long.
    fn hold(&mut self, bytes: &[u8]) {
        // One more than the limit: the last byte may be the carriage return before the newline.
        if self.let_go > 0 || self.held.len() + bytes.len() > self.line_bytes_max() + 1 {
            self.let_go += (self.held.len() + bytes.len()) as u64;
            if let Some(last) = bytes.last().or(self.held.last()) {
                self.let_go_ends_in_return = *last == b'\r';
            }
            self.held.clear();
        } else {
            self.held.extend_from_slice(bytes);
        }
    }

    /// Takes the end of a line, whose beginning may be held.
    fn end_of_line(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        if self.held.is_empty() && self.let_go == 0 {
            return self.whole_line(bytes);
        }
        self.hold(bytes);
        if self.let_go > 0 {
            let length = std::mem::take(&mut self.let_go);
            return self.long_line(length - u64::from(self.let_go_ends_in_return));
        }
        let mut held = std::mem::take(&mut self.held);
        let result = self.whole_line(&held);
        held.clear();
        self.held = held;
        result
    }

    fn whole_line(&mut self, line: &[u8]) -> Result<(), Refusal> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > self.line_bytes_max() {
            return self.long_line(line.len() as u64);
        }
        match self.awaited.take() {
            Some(operation) => self.document(&operation, line),
            None => self.action(line)?,
        }
        self.line += 1;
        Ok(())
    }

    fn long_line(&mut self, bytes: u64) -> Result<(), Refusal> {
        let Some(operation) = self.awaited.take() else {
            return Err(malformed(
                self.line,
                &format!(
                    "it has {bytes} bytes, and a line that says what to do may have {ACTION_BYTES_MAX}"
                ),
            ));
        };
        let max = self.document_bytes_max;
        self.refused.too_large += 1;
        let reason = format!("the document has {bytes} bytes, a record may have {max}");
        // 400 rather than 413: Logstash sends what has another status again without end.
        self.answer.error(&operation, 400, "illegal_argument_exception", &reason);
        self.line += 1;
        Ok(())
    }

    fn action(&mut self, line: &[u8]) -> Result<(), Refusal> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        let wrong = |why: &dyn std::fmt::Display| malformed(self.line, &why.to_string());
        if line.trim_ascii_start().first() != Some(&b'{') {
            return Err(wrong(&"expected START_OBJECT"));
        }
        let Action { create, index, update, delete } =
            serde_json::from_slice(line).map_err(|error| wrong(&error))?;
        let named = [("create", create), ("index", index), ("update", update), ("delete", delete)];
        let mut named = named.into_iter().filter_map(|(verb, meta)| Some((verb, meta?)));
        let (Some((verb, meta)), None) = (named.next(), named.next()) else {
            return Err(wrong(&"expected one of `create`, `index`, `update` and `delete`"));
        };
        let index = meta.index.unwrap_or(Cow::Borrowed(&self.index));
        if index.is_empty() {
            return Err(wrong(&"the index is missing: name it with `_index`, or in the path"));
        }
        let id = match meta.id.map(RawValue::get) {
            None => None,
            Some(text) if text.starts_with('"') => Some(text.to_owned()),
            Some(text) if text.starts_with(|c: char| c.is_ascii_digit() || c == '-') => {
                Some(format!("\"{text}\""))
            }
            Some(_) => return Err(wrong(&"`_id` must be a text or a number")),
        };
        self.operations += 1;
        if self.operations > OPERATIONS_MAX {
            return Err(Refusal::TooLarge(format!(
                "the request has more than {OPERATIONS_MAX} operations; send it in smaller parts. Nothing of it is stored"
            )));
        }
        let operation = Operation { verb, index: index.into_owned(), id };
        if verb == "delete" {
            // It has no document.
            self.unsupported(&operation);
        } else {
            self.awaited = Some(operation);
        }
        Ok(())
    }

    fn unsupported(&mut self, operation: &Operation) {
        self.refused.malformed += 1;
        let reason = format!(
            "`{}` is not done: events are stored as they come and never changed; send `create` or `index`",
            operation.verb
        );
        self.answer.error(operation, 400, "illegal_argument_exception", &reason);
    }

    fn document(&mut self, operation: &Operation, line: &[u8]) {
        if operation.verb == "update" {
            return self.unsupported(operation);
        }
        if let Err(error) = is_object(line) {
            self.refused.malformed += 1;
            let reason = format!("the document on line {} is no JSON object: {error}", self.line);
            return self.answer.error(operation, 400, "document_parsing_exception", &reason);
        }
        let target = match self.target.take().filter(|target| target.index == operation.index) {
            Some(target) => target,
            None => match Target::of(&operation.index, &self.caller) {
                Ok(target) => target,
                Err(refusal) => {
                    self.refused.denied += 1;
                    let reason = refusal.text();
                    return self.answer.error(operation, 403, "security_exception", &reason);
                }
            },
        };
        self.batch.push(&RawRecord {
            namespace: target.namespace.as_str(),
            ..self.caller.record(LISTENER, self.received, line, Encoding::Json, &target.dataset)
        });
        self.target = Some(target);
        self.answer.created(operation);
    }
}

impl Sink for Bulk {
    fn take(&mut self, mut bytes: &[u8]) -> Result<(), Refusal> {
        while let Some(at) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(at);
            self.end_of_line(line)?;
            bytes = rest.get(1..).unwrap_or_default();
        }
        self.hold(bytes);
        let in_memory = self.batch.bytes_len() + self.held.len() + self.answer.items.len();
        self.intake.reserve(&mut self.batch, in_memory).map_err(Refusal::Bus)
    }

    fn place(&self) -> String {
        format!(", on line {}", self.line)
    }
}

fn malformed(line: u64, why: &str) -> Refusal {
    Refusal::Wrong(format!(
        "Malformed action/metadata line [{line}], {why}. Nothing of the body is stored"
    ))
}

/// Whether these bytes are one JSON object.
pub(super) fn is_object(bytes: &[u8]) -> Result<(), String> {
    // Looked at first, because the parser's words for what else is JSON would help nobody.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err("it does not begin with `{`".to_owned());
    }
    serde_json::from_slice::<IgnoredAny>(bytes).map(drop).map_err(|error| error.to_string())
}

/// A line that says what to do. What else it names (`pipeline`, `routing`, `_type` of old shippers)
/// does no harm.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Action<'a> {
    #[serde(borrow)]
    create: Option<Meta<'a>>,
    #[serde(borrow)]
    index: Option<Meta<'a>>,
    #[serde(borrow)]
    update: Option<Meta<'a>>,
    #[serde(borrow)]
    delete: Option<Meta<'a>>,
}

#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(borrow, rename = "_index")]
    index: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "_id")]
    id: Option<&'a RawValue>,
}

/// The fields of an item that can be asked for alone, in the order they are written.
const ITEM_FIELDS: [&str; 9] = [
    "_index",
    "_id",
    "_version",
    "result",
    "_shards",
    "_seq_no",
    "_primary_term",
    "status",
    "error",
];

/// What of an answer is asked for with `filter_path`. Beats and Logstash ask for
/// `errors,items.*.error,items.*.status`, which is a tenth of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    took: bool,
    errors: bool,
    /// A bit for each of [`ITEM_FIELDS`].
    fields: u16,
}

impl Wanted {
    const ALL: Wanted = Wanted { took: true, errors: true, fields: u16::MAX };

    /// What a `filter_path` asks for. What it asks for that is deeper than a field of an item gives
    /// the whole field, and one that only says what to leave out gives all.
    pub(super) fn of(filter_path: Option<&str>) -> Wanted {
        let Some(filter) = filter_path.filter(|text| !text.is_empty()) else { return Wanted::ALL };
        let mut wanted = Wanted { took: false, errors: false, fields: 0 };
        for path in filter.split(',').map(str::trim) {
            let mut steps = path.split('.');
            let first = steps.next().unwrap_or_default();
            if first.starts_with('-') || first == "**" {
                return Wanted::ALL;
            }
            wanted.took |= matches(first, "took");
            wanted.errors |= matches(first, "errors");
            if !matches(first, "items") {
                continue;
            }
            let field = match steps.next() {
                None | Some("**") => "*",
                Some(_verb) => steps.next().unwrap_or("*"),
            };
            for (bit, name) in ITEM_FIELDS.iter().enumerate() {
                wanted.fields |= u16::from(matches(field, name)) << bit;
            }
        }
        wanted
    }

    fn has(self, field: Field) -> bool {
        self.fields & (1 << field as u16) != 0
    }
}

/// Indices of [`ITEM_FIELDS`].
#[derive(Clone, Copy)]
enum Field {
    Index,
    Id,
    Version,
    Result,
    Shards,
    SeqNo,
    PrimaryTerm,
    Status,
    Error,
}

/// Whether a pattern with stars matches a name.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    true
}

/// The answer, written while the body is read.
pub(super) struct Answer {
    wanted: Wanted,
    items: Vec<u8>,
    has_errors: bool,
}

impl Answer {
    fn new(wanted: Wanted) -> Self {
        Answer { wanted, items: Vec::new(), has_errors: false }
    }

    /// The answer as a whole.
    pub(super) fn finish(self, took_ms: u128) -> Vec<u8> {
        let Answer { wanted, items, has_errors } = self;
        let mut text = Vec::with_capacity(items.len() + 64);
        text.push(b'{');
        if wanted.took {
            put(&mut text, format_args!("\"took\":{took_ms},"));
        }
        // Fluent Bit and Vector look for `"errors":` and what follows as bytes.
        if wanted.errors {
            put(&mut text, format_args!("\"errors\":{has_errors},"));
        }
        if !items.is_empty() {
            text.extend_from_slice(b"\"items\":[");
            text.extend_from_slice(items.strip_suffix(b",").unwrap_or(&items));
            text.extend_from_slice(b"],");
        }
        if text.last() == Some(&b',') {
            text.pop();
        }
        text.push(b'}');
        text
    }

    fn created(&mut self, operation: &Operation) {
        let Some(item) = self.begin(operation) else { return };
        result_fields(&mut self.items, self.wanted);
        self.end(item);
    }

    fn error(&mut self, operation: &Operation, status: u16, kind: &str, reason: &str) {
        self.has_errors = true;
        let Some(item) = self.begin(operation) else { return };
        let Answer { wanted, items, .. } = self;
        if wanted.has(Field::Status) {
            put(items, format_args!("\"status\":{status},"));
        }
        if wanted.has(Field::Error) {
            put(items, format_args!("\"error\":{{\"type\":\"{kind}\",\"reason\":"));
            put_text(items, reason);
            items.extend_from_slice(b"},");
        }
        self.end(item);
    }

    /// Begins an item, with what all of them have.
    fn begin(&mut self, operation: &Operation) -> Option<Item> {
        let Answer { wanted, items, .. } = self;
        if wanted.fields == 0 {
            return None;
        }
        let start = items.len();
        put(items, format_args!("{{\"{}\":{{", operation.verb));
        let fields = items.len();
        identity_fields(items, *wanted, &operation.index, operation.id.as_deref());
        Some(Item { start, fields })
    }

    /// Ends an item. One that has nothing of what is asked for is left out, as Elasticsearch does.
    fn end(&mut self, item: Item) {
        if self.items.len() == item.fields {
            return self.items.truncate(item.start);
        }
        self.items.pop();
        self.items.extend_from_slice(b"}},");
    }
}

/// Where an item begins in the answer, and its fields.
struct Item {
    start: usize,
    fields: usize,
}

/// What an answer says of a document that is stored, as fields of an object.
pub(super) fn created(index: &str, id: Option<&str>) -> Vec<u8> {
    let wanted =
        Wanted { fields: Wanted::ALL.fields & !(1 << Field::Status as u16), ..Wanted::ALL };
    let mut text = vec![b'{'];
    identity_fields(&mut text, wanted, index, id);
    result_fields(&mut text, wanted);
    text.pop();
    text.push(b'}');
    text
}

fn identity_fields(text: &mut Vec<u8>, wanted: Wanted, index: &str, id: Option<&str>) {
    if wanted.has(Field::Index) {
        text.extend_from_slice(b"\"_index\":");
        put_text(text, index);
        text.push(b',');
    }
    if wanted.has(Field::Id) {
        text.extend_from_slice(b"\"_id\":");
        match id {
            Some(id) => text.extend_from_slice(id.as_bytes()),
            None => put(text, format_args!("\"{}\"", made_up_id())),
        }
        text.push(b',');
    }
}

fn result_fields(text: &mut Vec<u8>, wanted: Wanted) {
    let fields: [(Field, &[u8]); 5] = [
        (Field::Version, b"\"_version\":1,"),
        (Field::Result, b"\"result\":\"created\","),
        (Field::Shards, b"\"_shards\":{\"total\":1,\"successful\":1,\"failed\":0},"),
        // Nobody can update a document by it.
        (Field::SeqNo, b"\"_seq_no\":0,"),
        (Field::PrimaryTerm, b"\"_primary_term\":1,"),
    ];
    for (field, bytes) in fields {
        if wanted.has(field) {
            text.extend_from_slice(bytes);
        }
    }
    if wanted.has(Field::Status) {
        text.extend_from_slice(b"\"status\":201,");
    }
}

fn put(text: &mut Vec<u8>, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a vector takes what it is given");
}

fn put_text(text: &mut Vec<u8>, value: &str) {
    serde_json::to_writer(text, value).expect("a vector takes what it is given");
}

/// An id for a document that came with none: unlike others of this process, and with next to
/// certainty of others.
fn made_up_id() -> String {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(0));
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let [_, process @ ..] = PROCESS.to_be_bytes();
    let mut bytes = [0; 15];
    let (start, end) = bytes.split_at_mut(process.len());
    start.copy_from_slice(&process);
    end.copy_from_slice(&COUNT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Arc;

    use bus::MemoryBus;
    use proptest::prelude::*;

    use super::*;
    use crate::IntakeLimits;
    use crate::protocol::Peer;
    use crate::sender::Sender;

    const DOCUMENT_BYTES_MAX: usize = 64;

    fn caller() -> Caller {
        let peer = Peer::new(IpAddr::V4(Ipv4Addr::LOCALHOST));
        Caller { peer, sender: Arc::new(Sender::unnamed()) }
    }

    /// What becomes of a body that comes in pieces: the documents and the answer, or a refusal.
    fn read<'a>(
        pieces: impl Iterator<Item = &'a [u8]>,
        wanted: &str,
    ) -> Result<(Vec<Vec<u8>>, String), String> {
        let intake = Intake::new(Arc::new(MemoryBus::default()), IntakeLimits::default());
        let wanted = Wanted::of(Some(wanted));
        let mut bulk = Bulk::new(intake, caller(), DOCUMENT_BYTES_MAX, "x".into(), wanted);
        let read = || {
            for piece in pieces {
                bulk.take(piece)?;
            }
            let Done { mut batch, answer, .. } = bulk.finish()?;
            let documents = batch.records_mut().iter().map(|record| record.value.to_vec());
            Ok((documents.collect(), String::from_utf8(answer.finish(0)).unwrap()))
        };
        read().map_err(|refusal: Refusal| refusal.text())
    }

    #[test]
    fn names_of_data_streams() {
        for (index, expected) in [
            ("logs-nginx.access-default", Some(("nginx.access", "default"))),
            ("logs-generic-drill_1", Some(("generic", "drill_1"))),
            ("metrics-a.b-c-default", Some(("a.b-c", "default"))),
            ("filebeat-8.15.0-2026.11.26", None),
            (".ds-logs-nginx.access-default-2026.11.26-000001", None),
            ("logs-app-2026.11.26", None),
            ("logs-2026.11.26", None),
            ("logs-App-default", None),
            ("logs--default", None),
            ("logs", None),
            ("", None),
        ] {
            let found = data_stream(index);
            let found = found.as_ref().map(|(name, space)| (name.as_str(), space.as_str()));
            assert_eq!(found, expected, "{index}");
        }
    }

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("error", "error", true),
            ("err", "error", false),
            ("error", "err", false),
            ("err*", "error", true),
            ("*or", "error", true),
            ("*", "error", true),
            ("e*r*r", "error", true),
            ("e*x*r", "error", false),
            ("", "error", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn there_are_not_too_many_operations() {
        let line = b"{\"delete\":{}}\n".as_slice();
        let of = |count| read(std::iter::repeat_n(line, count), "errors");
        assert_eq!(of(OPERATIONS_MAX), Ok((vec![], "{\"errors\":true}".to_owned())));
        let error = of(OPERATIONS_MAX + 1).unwrap_err();
        assert!(error.contains("more than 100000 operations"), "{error}");
    }

    /// The carriage return was once counted where a document came in pieces, and not otherwise.
    #[test]
    fn the_end_of_a_line_is_no_part_of_a_document() {
        for (length, expected) in [(DOCUMENT_BYTES_MAX, 1), (DOCUMENT_BYTES_MAX + 1, 0)] {
            let document = format!("{{\"a\":\"{}\"}}", "x".repeat(length - 8));
            for end in ["", "\n", "\r\n"] {
                let body = format!("{{\"index\":{{}}}}\n{document}{end}");
                for size in 1..=body.len() {
                    let (stored, _) = read(body.as_bytes().chunks(size), "errors").unwrap();
                    assert_eq!(stored.len(), expected, "{length} {end:?} {size}");
                }
            }
        }
    }

    #[test]
    fn made_up_ids_differ() {
        let (one, other) = (made_up_id(), made_up_id());
        assert_ne!(one, other);
        assert_eq!(one.len(), 20);
    }

    /// Parts of bodies, good and bad.
    fn parts() -> impl Strategy<Value = Vec<u8>> {
        let known = prop::sample::select(vec![
            "{\"index\":{}}\n",
            "{\"create\":{\"_index\":\"logs-a-b\",\"_id\":\"1\"}}\r\n",
            "{\"update\":{\"_id\":1}}\n",
            "{\"delete\":{}}\n",
            "{\"a\":1}\n",
            "{\"message\":\"\\n \u{e9}\"}\r\n",
            "{\"long\":\"0123456789012345678901234567890123456789012345678901234567890\"}\n",
            "{}",
            "{\"",
            "\n",
            "\r",
        ]);
        let part = prop_oneof![
            8 => known.prop_map(|text| text.as_bytes().to_vec()),
            1 => prop::collection::vec(any::<u8>(), 0..100),
        ];
        prop::collection::vec(part, 0..20).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn where_a_body_is_cut_changes_nothing(body in parts(), size in 1_usize..40) {
            let filter = "errors,items.*.error,items.*.status";
            let whole = read(std::iter::once(body.as_slice()), filter);
            prop_assert_eq!(&read(body.chunks(size), filter), &whole);
            if let Ok((documents, answer)) = whole {
                let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
                let items = answer["items"].as_array().unwrap();
                let stored = items.iter().filter(|item| {
                    item.as_object().unwrap().values().all(|item| item["status"] == 201)
                });
                prop_assert_eq!(stored.count(), documents.len());
                prop_assert!(documents.iter().all(|document| is_object(document).is_ok()));
            }
        }

        #[test]
        fn every_document_is_stored_as_sent(
            values in prop::collection::vec("[ -~]{0,20}", 1..20),
            ends_with_newline: bool,
        ) {
            let documents: Vec<String> =
                values.iter().map(|value| serde_json::json!({ "a": value }).to_string()).collect();
            let mut body = String::new();
            for document in &documents {
                body.push_str(&format!("{{\"create\":{{}}}}\n{document}\n"));
            }
            let body = if ends_with_newline { body.as_str() } else { body.trim_end() };
            let (stored, answer) = read(std::iter::once(body.as_bytes()), "errors").unwrap();
            let fitting = documents.iter().filter(|text| text.len() <= DOCUMENT_BYTES_MAX);
            let fitting: Vec<Vec<u8>> = fitting.map(|text| text.as_bytes().to_vec()).collect();
            prop_assert_eq!(answer, format!("{{\"errors\":{}}}", fitting.len() < documents.len()));
            prop_assert_eq!(stored, fitting);
        }
    }
}
