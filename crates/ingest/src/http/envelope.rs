//! Records that stand in an envelope: a JSON object with what their shipper says of them.
//!
//! A protocol that names its source once for many records has that repeated on each of them here.
//! So a request grows, and its sender must not choose by how much: [`Envelopes`] bounds how many
//! records a request makes and how large all of them may become together.

use std::fmt::{self, Display};
use std::io::{self, Write};

use event::Timestamp;
use event::raw::Encoding;
use serde::Deserializer as _;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Caller, Refusal, Shippers, protobuf};
use crate::{Batch, metrics};

/// The most records of a request: the largest batch that shippers make by default is Vector's, with
/// as many.
pub(super) const RECORDS_MAX: usize = 100_000;

/// How many times the largest body all envelopes of a request may have. Twice is what the intake has
/// room for by default.
const EXPANSION_MAX: usize = 2;

/// The deepest nesting of an envelope. Readers of JSON give up at 128.
pub(super) const NESTING_MAX: usize = 100;

/// Why a record is refused while the others of its request are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// Its envelope is longer than a record may be.
    TooLarge,
    /// It is not what the protocol says.
    Malformed(String),
}

impl Fault {
    pub(super) fn malformed(text: impl Into<String>) -> Self {
        Fault::Malformed(text.into())
    }
}

impl From<protobuf::Malformed> for Fault {
    fn from(malformed: protobuf::Malformed) -> Self {
        Fault::Malformed(malformed.to_string())
    }
}

/// An envelope that is being written, up to a length.
#[derive(Debug)]
pub(super) struct Json {
    bytes: Vec<u8>,
    bytes_max: usize,
    nesting: usize,
}

impl Json {
    pub(super) fn new(bytes_max: usize) -> Self {
        Json { bytes: Vec::new(), bytes_max, nesting: 0 }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.nesting = 0;
    }

    /// Writes JSON that is known to be good.
    pub(super) fn raw(&mut self, json: &[u8]) -> Result<(), Fault> {
        self.write_all(json).map_err(|_| Fault::TooLarge)
    }

    /// Writes a value as it was sent, unless it is nested too deeply.
    pub(super) fn sent(&mut self, value: &RawValue) -> Result<(), Fault> {
        let json = value.get().as_bytes();
        if self.nesting + nesting(json) > NESTING_MAX {
            return Err(too_deep());
        }
        self.raw(json)
    }

    /// Writes a text. What is not UTF-8 becomes U+FFFD.
    pub(super) fn text(&mut self, text: &[u8]) -> Result<(), Fault> {
        let text = String::from_utf8_lossy(text);
        serde_json::to_writer(self, &*text).map_err(|_| Fault::TooLarge)
    }

    /// Writes a number, or what else is JSON as it is shown.
    pub(super) fn shown(&mut self, value: impl Display) -> Result<(), Fault> {
        write!(self, "{value}").map_err(|_| Fault::TooLarge)
    }

    /// Opens an object or array.
    pub(super) fn open(&mut self, bracket: u8) -> Result<(), Fault> {
        self.nesting += 1;
        if self.nesting > NESTING_MAX {
            return Err(too_deep());
        }
        self.raw(&[bracket])
    }

    /// Closes it.
    pub(super) fn close(&mut self, bracket: u8) -> Result<(), Fault> {
        self.nesting = self.nesting.saturating_sub(1);
        self.raw(&[bracket])
    }

    /// Begins the next member of an object.
    pub(super) fn key(&mut self, name: &str) -> Result<(), Fault> {
        self.named(name.as_bytes())
    }

    /// Begins the next member of an object, whose name is text of a sender.
    pub(super) fn named(&mut self, name: &[u8]) -> Result<(), Fault> {
        self.comma(b'{')?;
        self.text(name)?;
        self.raw(b":")
    }

    /// Begins the next element of an array.
    pub(super) fn element(&mut self) -> Result<(), Fault> {
        self.comma(b'[')
    }

    fn comma(&mut self, first_after: u8) -> Result<(), Fault> {
        if self.bytes.last() == Some(&first_after) { Ok(()) } else { self.raw(b",") }
    }
}

impl Write for Json {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.bytes_max {
            return Err(io::Error::other("too large"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn too_deep() -> Fault {
    Fault::Malformed(format!("it is nested more than {NESTING_MAX} deep"))
}

/// How deep JSON is nested.
pub(super) fn nesting(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Whether a value is an object.
pub(super) fn is_object(value: &RawValue) -> bool {
    value.get().starts_with('{')
}

/// Gives the elements of a JSON array one after another, so that none of them takes memory before
/// it is counted.
pub(super) fn each_element<'a>(
    array: &'a RawValue,
    each: &mut dyn FnMut(&'a RawValue) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    struct Elements<'e, 'a> {
        each: &'e mut dyn FnMut(&'a RawValue) -> Result<(), Refusal>,
        refusal: &'e mut Option<Refusal>,
    }
    impl<'a> Visitor<'a> for Elements<'_, 'a> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'a>>(self, mut elements: A) -> Result<(), A::Error> {
            while let Some(element) = elements.next_element()? {
                if let Err(refusal) = (self.each)(element) {
                    *self.refusal = Some(refusal);
                    return Err(A::Error::custom("refused"));
                }
            }
            Ok(())
        }
    }
    let mut refusal = None;
    let elements = Elements { each, refusal: &mut refusal };
    let done = serde_json::Deserializer::from_str(array.get()).deserialize_seq(elements);
    done.map_err(|error| {
        refusal
            .unwrap_or_else(|| Refusal::Wrong(format!("the JSON is not as it should be: {error}")))
    })
}

/// The records of a request, each of them in its envelope.
pub(super) struct Envelopes<'a> {
    shippers: &'a Shippers,
    caller: &'a Caller,
    listener: &'static str,
    encoding: Encoding,
    received: Timestamp,
    batch: Batch,
    json: Json,
    /// What the request itself takes in memory.
    body_bytes: usize,
    /// Bytes of all envelopes, with those that were refused: they were work too.
    written_bytes: usize,
    /// Records of the request.
    seen: usize,
    too_large: u64,
    malformed: u64,
    /// Why the first of them was refused.
    reason: Option<String>,
}

impl<'a> Envelopes<'a> {
    /// None yet. The batch is the one that has room for the body.
    pub(super) fn new(
        shippers: &'a Shippers,
        caller: &'a Caller,
        listener: &'static str,
        encoding: Encoding,
        batch: Batch,
        body_bytes: usize,
    ) -> Self {
        Envelopes {
            shippers,
            caller,
            listener,
            encoding,
            received: Timestamp::now(),
            batch,
            json: Json::new(shippers.limits().line_bytes_max),
            body_bytes,
            written_bytes: 0,
            seen: 0,
            too_large: 0,
            malformed: 0,
            reason: None,
        }
    }

    /// What several envelopes have in common is written into this first, as deep as it will stand.
    pub(super) fn part(&self) -> Json {
        Json { nesting: 1, ..Json::new(self.json.bytes_max) }
    }

    /// Adds a record, unless what writes its envelope finds a fault in it.
    pub(super) fn push(
        &mut self,
        write: impl FnOnce(&mut Json) -> Result<(), Fault>,
    ) -> Result<(), Refusal> {
        self.seen += 1;
        if self.seen > RECORDS_MAX {
            return Err(Refusal::TooLarge(format!(
                "the request has more than {RECORDS_MAX} records; send it in smaller parts. Nothing of it is stored"
            )));
        }
        self.json.clear();
        let written = write(&mut self.json);
        self.written_bytes += self.json.bytes.len();
        let bytes_max = self.shippers.limits().body_bytes_max.saturating_mul(EXPANSION_MAX);
        if self.written_bytes > bytes_max {
            return Err(Refusal::TooLarge(format!(
                "the records of the request, each with the attributes or labels of its source, have more than {bytes_max} bytes; send it in smaller parts. Nothing of it is stored"
            )));
        }
        match written {
            Ok(()) => {
                let Envelopes { caller, listener, received, encoding, .. } = self;
                let record = caller.record(listener, *received, &self.json.bytes, *encoding, "");
                self.batch.push(&record);
                let in_memory = self.body_bytes + self.batch.bytes_len();
                self.shippers.intake().reserve(&mut self.batch, in_memory).map_err(Refusal::Bus)?;
            }
            Err(fault) => self.refuse(fault),
        }
        Ok(())
    }

    fn refuse(&mut self, fault: Fault) {
        let reason = match fault {
            Fault::TooLarge => {
                self.too_large += 1;
                let max = self.json.bytes_max;
                format!("with what is said of its source it has more than {max} bytes")
            }
            Fault::Malformed(reason) => {
                self.malformed += 1;
                reason
            }
        };
        let seen = self.seen;
        self.reason.get_or_insert_with(|| format!("record {seen}: {reason}"));
    }

    /// How many records are refused.
    pub(super) fn refused(&self) -> u64 {
        self.too_large + self.malformed
    }

    /// How many were refused and why the first, if any were.
    pub(super) fn refused_text(&self) -> Option<String> {
        let reason = self.reason.as_ref()?;
        let (refused, seen) = (self.refused(), self.seen);
        Some(format!("{refused} of {seen} records were refused, the others are stored; {reason}"))
    }

    /// Makes what was taken durable, and counts what was refused.
    pub(super) async fn append(&mut self) -> Result<(), Refusal> {
        self.shippers.append(&mut self.batch, self.listener).await?;
        for (reason, count) in [("too_large", self.too_large), ("malformed", self.malformed)] {
            if count > 0 {
                metrics::REFUSED.with_label_values(&[self.listener, reason]).inc_by(count);
            }
        }
        Ok(())
    }

    /// The records that were taken, for tests.
    #[cfg(test)]
    pub(super) fn taken(&mut self) -> Vec<String> {
        let records = self.batch.records_mut().iter();
        records.map(|record| String::from_utf8(record.value.to_vec()).unwrap()).collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use axum::http::{Extensions, HeaderMap};
    use bus::MemoryBus;

    use super::*;
    use crate::http::HttpLimits;
    use crate::{Intake, IntakeLimits};

    /// What a test takes a request apart with.
    pub(in crate::http) fn with_envelopes<R>(
        encoding: Encoding,
        limits: HttpLimits,
        test: impl FnOnce(&mut Envelopes<'_>) -> R,
    ) -> R {
        let intake = Intake::new(Arc::new(MemoryBus::default()), IntakeLimits::default());
        let shippers = Shippers::new(intake, None, limits);
        let caller = shippers.caller(&HeaderMap::new(), &Extensions::new()).unwrap();
        test(&mut Envelopes::new(&shippers, &caller, "test", encoding, Batch::new(), 0))
    }

    #[test]
    fn commas_and_nesting_are_minded() {
        let mut json = Json::new(100);
        json.open(b'{').unwrap();
        json.key("a{").unwrap();
        json.open(b'[').unwrap();
        json.element().unwrap();
        json.text(b"x\"\xff[").unwrap();
        json.element().unwrap();
        json.shown(1).unwrap();
        json.close(b']').unwrap();
        json.named(b"b").unwrap();
        json.sent(&serde_json::from_str::<Box<RawValue>>(" [ 1] ").unwrap()).unwrap();
        json.close(b'}').unwrap();
        let written = std::str::from_utf8(json.bytes()).unwrap();
        assert_eq!(written, "{\"a{\":[\"x\\\"\u{fffd}[\",1],\"b\":[ 1]}");

        json.clear();
        let deep = "[".repeat(NESTING_MAX - 1) + &"]".repeat(NESTING_MAX - 1);
        let deep: Box<RawValue> = serde_json::from_str(&deep).unwrap();
        assert_eq!(json.sent(&deep), Err(Fault::TooLarge));
        json.open(b'[').unwrap();
        json.open(b'[').unwrap();
        assert_eq!(json.sent(&deep), Err(too_deep()));
        assert_eq!(nesting(br#"{"a":["]\"]{",{}],"b":[]}"#), 3);
    }

    #[test]
    fn a_request_has_bounds() {
        let limits = HttpLimits { body_bytes_max: 1000, ..HttpLimits::default() };
        with_envelopes(Encoding::Otlp, limits, |envelopes| {
            for _ in 0..20 {
                envelopes.push(|json| json.raw(&[b'1'; 100])).unwrap();
            }
            let refusal = envelopes.push(|json| json.raw(b"1")).unwrap_err();
            assert!(matches!(refusal, Refusal::TooLarge(text) if text.contains("2000 bytes")));
        });
        with_envelopes(Encoding::Otlp, HttpLimits::default(), |envelopes| {
            for _ in 0..RECORDS_MAX {
                envelopes.push(|_| Err(Fault::malformed("it is bad"))).unwrap();
            }
            assert!(envelopes.push(|_| Ok(())).is_err());
            let text = envelopes.refused_text().unwrap();
            assert!(text.starts_with("100000 of 100001"), "{text}");
            assert!(text.ends_with("record 1: it is bad"), "{text}");
        });
    }

    #[test]
    fn elements_are_given_until_one_is_refused() {
        let array: Box<RawValue> = serde_json::from_str(r#"[1, {"a":[2]} ,"x"]"#).unwrap();
        let mut found = Vec::new();
        each_element(&array, &mut |element| {
            found.push(element.get());
            if found.len() == 2 { Err(Refusal::Method) } else { Ok(()) }
        })
        .unwrap_err();
        assert_eq!(found, ["1", r#"{"a":[2]}"#]);
        let none: Box<RawValue> = serde_json::from_str("{}").unwrap();
        assert!(each_element(&none, &mut |_| Ok(())).is_err());
    }
}
