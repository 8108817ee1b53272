//! systemd-journal-upload: the journal of a host, as a stream of entries in one request.
//!
//! `POST /upload` takes the journal export format, plain or as zstd, for as long as the client has
//! entries to send. So nothing here reads the body as a whole: entries are taken as they come and
//! appended in batches, and a client that is faster than the disk is held back. Each entry becomes
//! a raw record in the form of `journalctl -o json`: a field is a text, or an array of numbers
//! where it is not UTF-8, or an array of these where it is there several times. (`journalctl`
//! writes numbers also for texts with control characters; here they stay texts.)
//!
//! What the client knows: it ends a request when it has no more entries, is answered 202 once all
//! of them are durable, and only then saves its cursor. After anything else it begins again behind
//! the cursor that it saved last, and what was appended of the request before comes twice. So no
//! entry is lost, and no request should be failed without need: an entry that is over a limit is
//! left out and counted, since its client would send it again for ever.
//!
//! | status | means |
//! | --- | --- |
//! | 202 | all entries are durable |
//! | 400 | this is no export format, or it ends within an entry; entries before are stored |
//! | 401, 403 | who sends is unknown, or may not |
//! | 408 | nothing came for too long; entries before are stored |
//! | 413, 415 | it unpacks to far too much; a type or an encoding that is not read |
//! | 429, 503 | the disk did not keep up, or is full; entries before are stored |
//!
//! <https://systemd.io/JOURNAL_EXPORT_FORMATS/>

use std::future::poll_fn;
use std::ops::Range;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use event::Timestamp;
use event::raw::Encoding;

use super::body::{Coding, Measured, Sink, Unpacker};
use super::envelope::{Fault, Json};
use super::{Caller, HttpLimits, Refusal, Shippers, count};
use crate::{Batch, Intake, WhenFull, metrics};

/// The name of this listener in records and metrics.
const LISTENER: &str = "journal";

const EXPORT: &str = "application/vnd.fdo.journal";

/// How many bytes are gathered before they are appended: what a disk syncs without notice.
const BATCH_BYTES: usize = 1024 * 1024;

/// The most bytes that may be gathered at once. Only what is packed far too tightly gets there.
const BATCH_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How much of a packed body is unpacked before it is looked whether there is enough to append.
const PACKED_BYTES: usize = 4 * 1024;

/// How long a client is held back while nothing can be appended. Its own service is killed after
/// three minutes without progress.
const HELD_BACK_MAX: Duration = Duration::from_secs(120);

/// The most fields of an entry, and the longest name of one. Both are those of systemd.
const FIELDS_MAX: usize = 1024;
const NAME_BYTES_MAX: usize = 64;

/// The largest entry that is passed over for being over the limit; the largest that systemd makes.
/// What says that it is larger is no journal.
const PASSED_OVER_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// What a decoder keeps of its memory between entries.
const KEPT_BYTES_MAX: usize = 1024 * 1024;

/// The routes of this listener.
pub(super) fn router() -> Router<Shippers> {
    Router::new().route("/upload", post(receive).fallback(|| async { Refusal::Method }))
}

async fn receive(State(shippers): State<Shippers>, request: Request) -> Response {
    let response = match take(&shippers, request).await {
        // Clients of systemd 258 choose from what we say we read.
        Ok(()) => (StatusCode::ACCEPTED, [(ACCEPT_ENCODING, "zstd")], "OK.\n").into_response(),
        Err(refusal) => refusal.with_body(refusal.text() + "\n"),
    };
    count(LISTENER, &response);
    response
}

async fn take(shippers: &Shippers, request: Request) -> Result<(), Refusal> {
    let (head, mut body) = request.into_parts();
    let caller = shippers.caller(&head.headers, &head.extensions)?;
    let coding = coding(&head.headers)?;
    // How long it is in all nobody knows.
    let limits = HttpLimits { body_bytes_max: usize::MAX, ..*shippers.limits() };
    let upload = Upload {
        decoder: Decoder::new(limits.line_bytes_max),
        batch: Batch::new(),
        caller,
        stored: 0,
        has_warned: false,
    };
    let mut unpacker = coding.unpacker(Measured::new(upload, limits))?;
    let intake = shippers.intake();
    let taken = drain(&mut body, &mut unpacker, intake, limits.idle_wait_max).await;
    // Whatever ended it, what came before is whole. If that cannot be stored, this tells more.
    unpacker.sink().append(intake).await?;
    let told = format!("The {} entries before it are stored", unpacker.sink().stored);
    let ended = taken.and_then(|()| unpacker.finish()).and_then(|upload| {
        match upload.decoder.is_within() {
            true => Err(Refusal::Wrong("the body ends within an entry".into())),
            false => Ok(()),
        }
    });
    ended.map_err(|refusal| refusal.told(&told))
}

fn coding(headers: &HeaderMap) -> Result<Coding, Refusal> {
    let named = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !named.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(EXPORT) {
        return Err(Refusal::Encoding(format!(
            "`Content-Type: {EXPORT}` is needed: send the journal export format"
        )));
    }
    match Coding::of(headers) {
        Ok(coding @ (Coding::Identity | Coding::Zstd)) => Ok(coding),
        // The unpackers of others hold back what has come until more comes.
        Ok(_) | Err(_) => Err(Refusal::Encoding(
            "a journal is read plain or as `zstd`, so that each entry is stored when it comes"
                .into(),
        )),
    }
}

/// Takes a body until its end, and appends what is gathered whenever it is enough or nothing more
/// is there.
async fn drain(
    body: &mut Body,
    unpacker: &mut Unpacker<Upload>,
    intake: &Intake,
    idle_wait_max: Duration,
) -> Result<(), Refusal> {
    let is_packed = !matches!(unpacker, Unpacker::Identity(_));
    loop {
        let now = poll_fn(|context| Poll::Ready(Pin::new(&mut *body).poll_frame(context))).await;
        let frame = match now {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                unpacker.sink().append(intake).await?;
                let next = poll_fn(|context| Pin::new(&mut *body).poll_frame(context));
                tokio::time::timeout(idle_wait_max, next).await.map_err(|_| {
                    let seconds = idle_wait_max.as_secs();
                    Refusal::Slow(format!("nothing came for {seconds} s"))
                })?
            }
        };
        let Some(frame) = frame else { return Ok(()) };
        let frame = frame
            .map_err(|error| Refusal::Wrong(format!("the body ended without its end: {error}")))?;
        let Ok(mut bytes) = frame.into_data() else { continue };
        while !bytes.is_empty() {
            let length = if is_packed { bytes.len().min(PACKED_BYTES) } else { bytes.len() };
            unpacker.write(&bytes.split_to(length))?;
            if is_packed {
                unpacker.flush()?;
            }
            if unpacker.sink().batch.bytes_len() >= BATCH_BYTES {
                unpacker.sink().append(intake).await?;
            }
        }
    }
}

/// A request that is being received.
struct Upload {
    decoder: Decoder,
    batch: Batch,
    caller: Caller,
    stored: u64,
    has_warned: bool,
}

impl Upload {
    async fn append(&mut self, intake: &Intake) -> Result<(), Refusal> {
        let count = self.batch.len() as u64;
        let when_full = WhenFull::WaitAtMost(HELD_BACK_MAX);
        intake.append(&mut self.batch, LISTENER, when_full).await.map_err(Refusal::Bus)?;
        self.stored += count;
        Ok(())
    }
}

impl Sink for Upload {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let Upload { decoder, batch, caller, has_warned, .. } = self;
        let received = Timestamp::now();
        let pushed = decoder.push(bytes, &mut |piece| match piece {
            Piece::Entry(json) => {
                batch.push(&caller.record(LISTENER, received, json, Encoding::Journal, ""));
            }
            Piece::TooLarge { bytes } => {
                metrics::DROPPED.with_label_values(&[LISTENER, "too_large"]).inc();
                if !std::mem::replace(has_warned, true) {
                    let (peer, sender) = (&caller.peer.text, caller.sender.name());
                    tracing::warn!(%peer, sender, bytes, "an entry over the limit was left out");
                }
            }
        });
        pushed.map_err(Refusal::Wrong)?;
        if batch.bytes_len() > BATCH_BYTES_MAX {
            return Err(Refusal::TooLarge(format!(
                "{PACKED_BYTES} bytes unpack to more than {BATCH_BYTES_MAX}, which no journal does"
            )));
        }
        Ok(())
    }
}

/// What is in a journal.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    /// An entry as JSON.
    Entry(&'a [u8]),
    /// An entry that has more bytes than a record may have, or more fields than [`FIELDS_MAX`].
    TooLarge { bytes: u64 },
}

/// Reads the journal export format, cut anywhere.
struct Decoder {
    within: Within,
    /// Names and values of the entry's fields one behind another, and what is being read.
    data: Vec<u8>,
    fields: Vec<Field>,
    /// Where in `data` the field begins that is being read.
    begin: usize,
    /// What the entry has come to, also where it is not kept.
    entry_bytes: u64,
    is_too_large: bool,
    bytes_max: usize,
    json: Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    /// In a line: `NAME=value`, the name of a field with any bytes, or the empty end of an entry.
    Line { bytes: u64, has_equals: bool },
    /// In the eight bytes of a length.
    Length { value: u64, bytes: u32 },
    /// In so many bytes of data.
    Data { left: u64 },
    /// Before the line feed behind data.
    DataEnd,
}

const LINE: Within = Within::Line { bytes: 0, has_equals: false };

struct Field {
    name: Range<usize>,
    value: Range<usize>,
}

impl Decoder {
    fn new(bytes_max: usize) -> Self {
        Decoder {
            within: LINE,
            data: Vec::new(),
            fields: Vec::new(),
            begin: 0,
            entry_bytes: 0,
            is_too_large: false,
            bytes_max,
            json: Json::new(bytes_max),
        }
    }

    /// Whether an entry has begun and not ended.
    fn is_within(&self) -> bool {
        self.entry_bytes > 0
    }

    /// Takes bytes, and hands out the entries that end in them. An error says what is no journal.
    fn push(&mut self, bytes: &[u8], sink: &mut dyn FnMut(Piece<'_>)) -> Result<(), String> {
        let mut rest = bytes;
        while let Some(&first) = rest.first() {
            let taken = match self.within {
                Within::Line { bytes, has_equals } => {
                    let end = memchr::memchr(b'\n', rest);
                    let line = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
                    let bytes = bytes + line.len() as u64;
                    let has_equals = has_equals || memchr::memchr(b'=', line).is_some();
                    self.keep(line)?;
                    match end {
                        None => self.within = Within::Line { bytes, has_equals },
                        Some(_) if bytes == 0 => self.entry(sink),
                        Some(_) => self.line(has_equals)?,
                    }
                    line.len() + usize::from(end.is_some())
                }
                Within::Length { value, bytes } => {
                    let value = value | u64::from(first) << (8 * bytes);
                    self.within = match bytes {
                        7 if value > PASSED_OVER_BYTES_MAX => {
                            return Err(format!("a field says that it has {value} bytes"));
                        }
                        7 => Within::Data { left: value },
                        _ => Within::Length { value, bytes: bytes + 1 },
                    };
                    self.entry_bytes += 1;
                    1
                }
                Within::Data { left: 0 } => {
                    self.within = Within::DataEnd;
                    0
                }
                Within::Data { left } => {
                    let length = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    self.keep(rest.get(..length).unwrap_or_default())?;
                    self.within = Within::Data { left: left - length as u64 };
                    length
                }
                Within::DataEnd if first == b'\n' => {
                    self.data_end();
                    1
                }
                Within::DataEnd => return Err("a field does not end where it says".into()),
            };
            rest = rest.get(taken..).unwrap_or_default();
        }
        Ok(())
    }

    /// Keeps bytes of a field, unless the entry is too large.
    fn keep(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.entry_bytes += bytes.len() as u64;
        if self.entry_bytes > PASSED_OVER_BYTES_MAX {
            return Err(format!("an entry has more than {PASSED_OVER_BYTES_MAX} bytes"));
        }
        if self.data.len() + bytes.len() > self.bytes_max {
            self.pass_over();
        }
        if !self.is_too_large {
            self.data.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn pass_over(&mut self) {
        self.is_too_large = true;
        self.data = Vec::new();
        self.fields.clear();
    }

    /// A line has ended: a field, or the name of one.
    fn line(&mut self, has_equals: bool) -> Result<(), String> {
        self.within = if has_equals { LINE } else { Within::Length { value: 0, bytes: 0 } };
        if self.is_too_large {
            return Ok(());
        }
        let line = self.data.get(self.begin..).unwrap_or_default();
        if let Some(equals) = memchr::memchr(b'=', line) {
            let equals = self.begin + equals;
            self.field(self.begin..equals, equals + 1..self.data.len());
        } else if !is_name(line) {
            // Only here, where it is no matter of taste: what follows would be read as a length.
            let shown = line.get(..line.len().min(NAME_BYTES_MAX)).unwrap_or_default();
            return Err(format!("`{}` is no name of a field", shown.escape_ascii()));
        } else {
            // A name that is kept, and a place for its value.
            let name = self.begin..self.data.len();
            self.field(name, self.data.len()..self.data.len());
        }
        Ok(())
    }

    /// The data of a field have ended.
    fn data_end(&mut self) {
        self.within = LINE;
        self.begin = self.data.len();
        if let Some(field) = self.fields.last_mut() {
            field.value.end = self.data.len();
        }
    }

    fn field(&mut self, name: Range<usize>, value: Range<usize>) {
        self.fields.push(Field { name, value });
        self.begin = self.data.len();
        if self.fields.len() > FIELDS_MAX {
            self.pass_over();
        }
    }

    /// An entry has ended, or there is one empty line more.
    fn entry(&mut self, sink: &mut dyn FnMut(Piece<'_>)) {
        if self.entry_bytes > 0 {
            self.json.clear();
            if self.is_too_large
                || write_entry(&self.data, &mut self.fields, &mut self.json).is_err()
            {
                sink(Piece::TooLarge { bytes: self.entry_bytes });
            } else {
                sink(Piece::Entry(self.json.bytes()));
            }
        }
        self.within = LINE;
        self.data.clear();
        self.data.shrink_to(KEPT_BYTES_MAX);
        self.fields.clear();
        self.begin = 0;
        self.entry_bytes = 0;
        self.is_too_large = false;
    }
}

fn is_name(name: &[u8]) -> bool {
    let is_one = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.iter().all(is_one)
}

fn write_entry(data: &[u8], fields: &mut [Field], json: &mut Json) -> Result<(), Fault> {
    let bytes = |range: &Range<usize>| data.get(range.clone()).unwrap_or_default();
    // Those of one name together, and in their order.
    fields.sort_by(|a, b| bytes(&a.name).cmp(bytes(&b.name)));
    json.open(b'{')?;
    for same in fields.chunk_by(|a, b| bytes(&a.name) == bytes(&b.name)) {
        let Some(first) = same.first() else { continue };
        json.named(bytes(&first.name))?;
        if same.len() == 1 {
            write_value(bytes(&first.value), json)?;
            continue;
        }
        json.open(b'[')?;
        for field in same {
            json.element()?;
            write_value(bytes(&field.value), json)?;
        }
        json.close(b']')?;
    }
    json.close(b'}')
}

fn write_value(value: &[u8], json: &mut Json) -> Result<(), Fault> {
    if std::str::from_utf8(value).is_ok() {
        return json.text(value);
    }
    json.open(b'[')?;
    for byte in value {
        json.element()?;
        json.shown(byte)?;
    }
    json.close(b']')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// What is found in bytes that come in portions of these sizes; why they end early; and whether
    /// they end within an entry.
    fn decoded(
        bytes: &[u8],
        mut sizes: impl Iterator<Item = usize>,
    ) -> (Vec<String>, Result<bool, String>) {
        let mut decoder = Decoder::new(1000);
        let mut found = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let size = sizes.next().unwrap_or(rest.len()).clamp(1, rest.len());
            let (portion, after) = rest.split_at(size);
            let pushed = decoder.push(portion, &mut |piece| {
                found.push(match piece {
                    Piece::Entry(json) => std::str::from_utf8(json).unwrap().to_owned(),
                    Piece::TooLarge { bytes } => format!("too large: {bytes}"),
                });
            });
            if let Err(error) = pushed {
                return (found, Err(error));
            }
            rest = after;
        }
        (found, Ok(decoder.is_within()))
    }

    #[track_caller]
    fn check(bytes: impl AsRef<[u8]>, expected: &[&str], end: Result<bool, &str>) {
        let bytes = bytes.as_ref();
        for size in [usize::MAX, 1, 2, 3, 7] {
            let (found, ended) = decoded(bytes, std::iter::repeat(size));
            assert_eq!(found, expected, "by {size}");
            match (&ended, end) {
                (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
                _ => assert_eq!(ended.as_ref().ok(), end.as_ref().ok(), "by {size}"),
            }
        }
    }

    fn binary(name: &str, value: &[u8]) -> Vec<u8> {
        let length = (value.len() as u64).to_le_bytes();
        [name.as_bytes(), b"\n", &length, value, b"\n"].concat()
    }

    #[test]
    fn entries_are_those_of_journalctl() {
        check("", &[], Ok(false));
        check("\n\n\n", &[], Ok(false));
        check(
            "__CURSOR=s=1;i=2\n_PID=1\nMESSAGE=a \"b\"=c\nEMPTY=\n\nMESSAGE=\u{e9}\n\n\nMESSAGE=cut\n",
            &[
                r#"{"EMPTY":"","MESSAGE":"a \"b\"=c","_PID":"1","__CURSOR":"s=1;i=2"}"#,
                "{\"MESSAGE\":\"\u{e9}\"}",
            ],
            Ok(true),
        );
        let entry = [
            b"TAG=one\n".to_vec(),
            binary("MESSAGE", b"two\nlines=\n\n"),
            binary("TAG", b"\xff\x00\n"),
            binary("NONE", b""),
            b"TAG=three\n\n".to_vec(),
        ];
        check(
            entry.concat(),
            &[r#"{"MESSAGE":"two\nlines=\n\n","NONE":"","TAG":["one",[255,0,10],"three"]}"#],
            Ok(false),
        );
    }

    #[test]
    fn what_is_no_journal_ends_it() {
        check("A=1\n\nno name\n", &[r#"{"A":"1"}"#], Err("`no name` is no name of a field"));
        check("{\"a\":1}\n", &[], Err("is no name of a field"));
        check("NAME\n\x01\0\0\0\0\0\0\0ab", &[], Err("does not end where it says"));
        check(b"NAME\n\xff\x7f\x01\x02\x03\x04\x05\x06", &[], Err("says that it has"));
        check(binary("A", &[b'x'; 500]), &[], Ok(true));
        check("NAME\n\x01\0\0", &[], Ok(true));
    }

    #[test]
    fn what_is_too_large_is_passed_over() {
        let long = "x".repeat(2000);
        let entries = [
            format!("A={long}\nB=1\n\n").into_bytes(),
            b"A=2\n\n".to_vec(),
            [b"B=1\n".to_vec(), binary("A", long.as_bytes()), b"C=\n\n".to_vec()].concat(),
            // As bytes it is within the limit, as JSON it is not.
            [binary("A", &[0xff; 400]), b"\n".to_vec()].concat(),
            "A=\n".repeat(FIELDS_MAX + 1).into_bytes(),
            b"\nA=3\n\n".to_vec(),
        ];
        check(
            entries.concat(),
            &[
                "too large: 2005",
                r#"{"A":"2"}"#,
                "too large: 2014",
                "too large: 409",
                "too large: 2050",
                r#"{"A":"3"}"#,
            ],
            Ok(false),
        );
    }

    type Fields = Vec<(String, Vec<u8>)>;

    fn entries() -> impl Strategy<Value = Vec<Fields>> {
        let value = prop_oneof![
            "[a-z=é\n\u{1b}]{0,8}".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..8),
        ];
        let fields = prop::collection::vec(("[A-Z_]{1,3}", value), 1..6);
        prop::collection::vec(fields, 0..5)
    }

    fn written(entries: &[Fields]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for entry in entries {
            for (name, value) in entry {
                match std::str::from_utf8(value) {
                    Ok(text) if !text.contains('\n') => {
                        bytes.extend(format!("{name}={text}\n").into_bytes());
                    }
                    _ => bytes.extend(binary(name, value)),
                }
            }
            bytes.push(b'\n');
        }
        bytes
    }

    proptest! {
        #[test]
        fn entries_come_back_wherever_they_are_cut(
            entries in entries(),
            sizes in prop::collection::vec(1..9_usize, 1..40),
        ) {
            let expected: Vec<Value> = entries.iter().map(|entry| {
                let of = |value: &[u8]| match std::str::from_utf8(value) {
                    Ok(text) => json!(text),
                    Err(_) => json!(value),
                };
                let mut object = json!({});
                for (name, _) in entry {
                    let same: Vec<Value> = entry
                        .iter()
                        .filter(|(other, _)| other == name)
                        .map(|(_, value)| of(value))
                        .collect();
                    object[name] = if same.len() == 1 { same[0].clone() } else { json!(same) };
                }
                object
            }).collect();
            let (found, ended) = decoded(&written(&entries), sizes.into_iter());
            let found: Vec<Value> =
                found.iter().map(|json| serde_json::from_str(json).unwrap()).collect();
            prop_assert_eq!(found, expected);
            prop_assert_eq!(ended, Ok(false));
        }

        #[test]
        fn any_bytes_end_the_same_wherever_they_are_cut(
            entries in entries(),
            changed in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            noise in prop::collection::vec(any::<u8>(), 0..50),
            sizes in prop::collection::vec(1..9_usize, 1..40),
        ) {
            let mut bytes = [written(&entries), noise].concat();
            bytes.push(b'\n');
            for (at, byte) in changed {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let whole = decoded(&bytes, std::iter::empty());
            for json in whole.0.iter().filter(|json| !json.starts_with("too")) {
                serde_json::from_str::<Value>(json).unwrap();
            }
            prop_assert_eq!(decoded(&bytes, sizes.into_iter()), whole);
        }
    }
}
