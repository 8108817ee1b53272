//! Grafana Loki's push, as Promtail, Alloy, Vector, Fluent Bit and Docker's driver speak it.
//!
//! `POST /loki/api/v1/push` takes protobuf packed with snappy, or JSON. Each line becomes a raw
//! record together with the labels of its stream and its own metadata; of JSON these are kept as
//! they were written.
//!
//! | status | means |
//! | --- | --- |
//! | 204 | durable |
//! | 400 | the request cannot be read and nothing is stored, or lines were refused and the others are |
//! | 401, 403 | who sends is unknown, or may not |
//! | 408, 413, 415 | too slow, too large, an encoding that is not read; nothing is stored |
//! | 429, 503 | nothing is stored; send it again after `Retry-After` seconds |
//!
//! Errors are plain text. Clients send again after 429 and 5xx and give up otherwise, which is why
//! a request with refused lines is answered 400, as Loki does: its client must not repeat the others.
//! The header `X-Scope-OrgID`, Loki's tenant, means nothing here: senders have a namespace.
//!
//! <https://grafana.com/docs/loki/latest/reference/loki-http-api/#ingest-logs>

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use event::raw::Encoding;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::envelope::{Envelopes, Fault, Json, each_element, is_object};
use super::protobuf::{Value, fields};
use super::{Refusal, Shippers, count};

/// The name of this listener in records and metrics.
const LISTENER: &str = "loki";

const NANOS: i128 = 1_000_000_000;

/// The routes of this listener. The second path is that of clients from before Loki 1.0, which send
/// the same protobuf; clients ask the third whether to begin.
pub(super) fn router() -> Router<Shippers> {
    let push = || post(receive).fallback(|| async { Refusal::Method });
    Router::new()
        .route("/loki/api/v1/push", push())
        .route("/api/prom/push", push())
        .route("/ready", get(ready))
}

async fn ready(State(shippers): State<Shippers>) -> Response {
    match shippers.intake().health() {
        Ok(()) => "ready\n".into_response(),
        Err(error) => Refusal::Bus(error.clone()).with_body(format!("{error}\n")),
    }
}

async fn receive(State(shippers): State<Shippers>, request: Request) -> Response {
    let response = match take(&shippers, request).await {
        Ok(None) => StatusCode::NO_CONTENT.into_response(),
        Ok(Some(refused)) => (StatusCode::BAD_REQUEST, refused + "\n").into_response(),
        Err(refusal) => refusal.with_body(refusal.text() + "\n"),
    };
    count(LISTENER, &response);
    response
}

/// Makes the lines of a request durable, and tells of those that were refused.
async fn take(shippers: &Shippers, request: Request) -> Result<Option<String>, Refusal> {
    let (head, body) = request.into_parts();
    let caller = shippers.caller(&head.headers, &head.extensions)?;
    let (mut body, mut batch) = shippers.whole(body, &head.headers).await?;
    let is_json = is_json(&head.headers);
    if !is_json {
        let unpacked_bytes = unpacked_bytes(&body, shippers.limits().body_bytes_max)?;
        let in_memory = body.len() + unpacked_bytes;
        shippers.intake().reserve(&mut batch, in_memory).map_err(Refusal::Bus)?;
        body = unpack(&body)?;
    }
    let mut envelopes =
        Envelopes::new(shippers, &caller, LISTENER, Encoding::Loki, batch, body.len());
    match is_json {
        true => take_json(&String::from_utf8_lossy(&body), &mut envelopes)?,
        false => take_protobuf(&body, &mut envelopes)?,
    }
    drop(body);
    envelopes.append().await?;
    Ok(envelopes.refused_text())
}

/// Whatever is not named JSON is protobuf, for Loki as well.
fn is_json(headers: &HeaderMap) -> bool {
    let named = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    named.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

/// How large a body becomes, which it says itself.
fn unpacked_bytes(body: &[u8], bytes_max: usize) -> Result<usize, Refusal> {
    match snap::raw::decompress_len(body) {
        Ok(bytes) if bytes <= bytes_max => Ok(bytes),
        Ok(bytes) => Err(Refusal::TooLarge(format!(
            "the body unpacks to {bytes} bytes, it may have {bytes_max}; send it in smaller parts. Nothing of it is stored"
        ))),
        Err(error) => Err(not_snappy(error)),
    }
}

fn unpack(body: &[u8]) -> Result<Vec<u8>, Refusal> {
    snap::raw::Decoder::new().decompress_vec(body).map_err(not_snappy)
}

fn not_snappy(error: snap::Error) -> Refusal {
    Refusal::Wrong(format!(
        "the body is not protobuf that is packed with snappy: {error}. For JSON send `Content-Type: application/json`. Nothing of it is stored"
    ))
}

fn write_line(
    labels: &Result<Vec<u8>, Fault>,
    json: &mut Json,
    rest: impl FnOnce(&mut Json) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let labels = labels.as_ref().map_err(Clone::clone)?;
    json.open(b'{')?;
    json.key("labels")?;
    json.raw(labels)?;
    rest(json)?;
    json.close(b'}')
}

// ---- protobuf ----

/// Takes a `PushRequest` apart.
fn take_protobuf(request: &[u8], envelopes: &mut Envelopes<'_>) -> Result<(), Refusal> {
    let wrong = |error| Refusal::Wrong(format!("{error}. Nothing of it is stored"));
    for stream in fields(request) {
        let (1, Value::Bytes(stream)) = stream.map_err(wrong)? else { continue };
        let mut labels = &b""[..];
        for field in fields(stream) {
            if let (1, Value::Bytes(text)) = field.map_err(wrong)? {
                labels = text;
            }
        }
        let mut part = envelopes.part();
        let labels = write_labels(labels, &mut part).map(|()| part.bytes().to_vec());
        for entry in fields(stream) {
            let (2, Value::Bytes(entry)) = entry.map_err(wrong)? else { continue };
            envelopes.push(|json| write_line(&labels, json, |json| write_entry(entry, json)))?;
        }
    }
    Ok(())
}

fn write_entry(entry: &[u8], json: &mut Json) -> Result<(), Fault> {
    let (mut timestamp, mut line, mut has_metadata) = (&[][..], &[][..], false);
    for field in fields(entry) {
        match field? {
            (1, Value::Bytes(message)) => timestamp = message,
            (2, Value::Bytes(text)) => line = text,
            (3, Value::Bytes(_)) => has_metadata = true,
            _ => {}
        }
    }
    let mut nanos = 0;
    for field in fields(timestamp) {
        match field? {
            (1, Value::Varint(seconds)) => nanos += i128::from(seconds as i64) * NANOS,
            (2, Value::Varint(rest)) => nanos += i128::from(rest as i32),
            _ => {}
        }
    }
    json.key("timestamp")?;
    json.shown(format_args!("\"{nanos}\""))?;
    json.key("line")?;
    json.text(line)?;
    if !has_metadata {
        return Ok(());
    }
    json.key("metadata")?;
    json.open(b'{')?;
    for pair in fields(entry) {
        let (3, Value::Bytes(pair)) = pair? else { continue };
        let (mut name, mut value) = (&[][..], &[][..]);
        for field in fields(pair) {
            match field? {
                (1, Value::Bytes(text)) => name = text,
                (2, Value::Bytes(text)) => value = text,
                _ => {}
            }
        }
        json.named(name)?;
        json.text(value)?;
    }
    json.close(b'}')
}

/// Writes labels as an object: `{job="web", host="a\"b"}`, with texts as Go quotes them.
fn write_labels(labels: &[u8], json: &mut Json) -> Result<(), Fault> {
    let mut text = Labels { text: labels };
    let mut value = Vec::new();
    json.open(b'{')?;
    text.expect(b'{')?;
    while !text.skip(b'}') {
        let name = text.name(&mut value)?;
        json.named(name.unwrap_or(&value))?;
        text.expect(b'=')?;
        text.quoted(&mut value)?;
        json.text(&value)?;
        if !text.skip(b',') {
            text.expect(b'}')?;
            break;
        }
    }
    text.end()?;
    json.close(b'}')
}

/// What is left of a text of labels.
struct Labels<'a> {
    text: &'a [u8],
}

impl<'a> Labels<'a> {
    /// Whether that byte is next, behind blanks; passes it.
    fn skip(&mut self, byte: u8) -> bool {
        self.text = self.text.trim_ascii_start();
        let rest = self.text.strip_prefix(&[byte]);
        self.text = rest.unwrap_or(self.text);
        rest.is_some()
    }

    fn expect(&mut self, byte: u8) -> Result<(), Fault> {
        if self.skip(byte) { Ok(()) } else { Err(self.fault(&format!("`{}`", char::from(byte)))) }
    }

    fn end(&self) -> Result<(), Fault> {
        if self.text.trim_ascii().is_empty() { Ok(()) } else { Err(self.fault("nothing")) }
    }

    fn fault(&self, expected: &str) -> Fault {
        let rest = self.text.get(..self.text.len().min(20)).unwrap_or_default();
        Fault::Malformed(format!(
            "the labels of its stream are wrong: {expected} is expected before `{}`",
            rest.escape_ascii()
        ))
    }

    /// A name as it stands, or a quoted one, which is then in `value`.
    fn name(&mut self, value: &mut Vec<u8>) -> Result<Option<&'a [u8]>, Fault> {
        self.text = self.text.trim_ascii_start();
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(byte);
        let length = self.text.iter().take_while(|byte| is_name(byte)).count();
        if length == 0 {
            return self.quoted(value).map(|()| None);
        }
        let (name, rest) = self.text.split_at(length);
        self.text = rest;
        Ok(Some(name))
    }

    /// A text in quotes, or in backquotes, within which nothing is escaped.
    fn quoted(&mut self, value: &mut Vec<u8>) -> Result<(), Fault> {
        value.clear();
        if self.skip(b'`') {
            let end =
                memchr::memchr(b'`', self.text).ok_or_else(|| self.fault("a closing quote"))?;
            value.extend_from_slice(self.text.get(..end).unwrap_or_default());
            self.text = self.text.get(end + 1..).unwrap_or_default();
            return Ok(());
        }
        if !self.skip(b'"') {
            return Err(self.fault("a name or a text in quotes"));
        }
        loop {
            let next = memchr::memchr2(b'"', b'\\', self.text);
            let next = next.ok_or_else(|| self.fault("a closing quote"))?;
            let (plain, rest) = self.text.split_at(next);
            value.extend_from_slice(plain);
            self.text = rest.get(1..).unwrap_or_default();
            if rest.first() == Some(&b'"') {
                return Ok(());
            }
            self.escaped(value)?;
        }
    }

    /// What stands behind a backslash.
    fn escaped(&mut self, value: &mut Vec<u8>) -> Result<(), Fault> {
        let fault = self.fault("what can be escaped");
        let (&kind, rest) = self.text.split_first().ok_or_else(|| fault.clone())?;
        let digits = match kind {
            b'x' => 2,
            b'u' => 4,
            b'U' => 8,
            b'0'..=b'7' => 3,
            _ => {
                value.push(match kind {
                    b'a' => 0x07,
                    b'b' => 0x08,
                    b't' => b'\t',
                    b'n' => b'\n',
                    b'v' => 0x0b,
                    b'f' => 0x0c,
                    b'r' => b'\r',
                    b'\\' | b'\'' | b'"' => kind,
                    _ => return Err(fault),
                });
                self.text = rest;
                return Ok(());
            }
        };
        let (number, radix) = if digits == 3 { (self.text, 8) } else { (rest, 16) };
        let (number, rest) = number.split_at_checked(digits).ok_or_else(|| fault.clone())?;
        let number = number
            .iter()
            .try_fold(0, |sum: u32, digit| Some(sum * radix + char::from(*digit).to_digit(radix)?));
        let number = number.ok_or_else(|| fault.clone())?;
        match u8::try_from(number) {
            // A byte, whether or not it makes UTF-8 with those around it.
            Ok(byte) if digits < 4 => value.push(byte),
            _ if digits < 4 => return Err(fault),
            _ => {
                let character = char::from_u32(number).ok_or(fault)?;
                value.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        self.text = rest;
        Ok(())
    }
}

// ---- JSON ----

#[derive(Deserialize)]
struct Push<'a> {
    #[serde(borrow)]
    streams: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Stream<'a> {
    #[serde(borrow)]
    stream: Option<&'a RawValue>,
    #[serde(borrow)]
    values: Option<&'a RawValue>,
}

/// Takes `{"streams":[{"stream":{..},"values":[["<ns>","line",{..}]]}]}` apart.
fn take_json(request: &str, envelopes: &mut Envelopes<'_>) -> Result<(), Refusal> {
    let Push { streams: Some(all) } = parse(request)? else {
        return Err(wrong(&"`streams` is missing"));
    };
    each_element(all, &mut |stream| {
        let Stream { stream, values: Some(all) } = parse(stream.get())? else {
            return Err(wrong(&"a stream has no `values`"));
        };
        // Once for all lines: a copy, but seen to be shallow.
        let mut part = envelopes.part();
        let labels = match stream {
            None => part.raw(b"{}"),
            Some(labels) if is_object(labels) => part.sent(labels),
            Some(_) => Err(Fault::malformed("the `stream` of its labels is no object")),
        };
        let labels = labels.map(|()| part.bytes().to_vec());
        each_element(all, &mut |value| {
            envelopes.push(|json| write_line(&labels, json, |json| write_value(value, json)))
        })
    })
}

/// Writes what stands in `["<ns>","line",{..}]`.
fn write_value(value: &RawValue, json: &mut Json) -> Result<(), Fault> {
    let wrong = || Fault::malformed("it is not `[\"<nanoseconds>\", \"<line>\", {<metadata>}]`");
    let parts: Parts<'_> = serde_json::from_str(value.get()).map_err(|_| wrong())?;
    let Parts(time, line, metadata) = parts;
    let digits = time.get().trim_matches('"');
    let is_number = digits.strip_prefix('-').unwrap_or(digits).bytes().all(|b| b.is_ascii_digit());
    if digits.is_empty() || !is_number || !line.get().starts_with('"') {
        return Err(wrong());
    }
    json.key("timestamp")?;
    json.shown(format_args!("\"{digits}\""))?;
    json.key("line")?;
    json.sent(line)?;
    match metadata {
        None => Ok(()),
        Some(metadata) if is_object(metadata) => {
            json.key("metadata")?;
            json.sent(metadata)
        }
        Some(_) => Err(wrong()),
    }
}

/// The two or three elements of a value.
struct Parts<'a>(&'a RawValue, &'a RawValue, Option<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Parts<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements;
        impl<'de> serde::de::Visitor<'de> for Elements {
            type Value = Parts<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an array of two or three")
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut elements: A,
            ) -> Result<Parts<'de>, A::Error> {
                let missing = || serde::de::Error::custom("too few");
                let time = elements.next_element()?.ok_or_else(missing)?;
                let line = elements.next_element()?.ok_or_else(missing)?;
                Ok(Parts(time, line, elements.next_element()?))
            }
        }
        deserializer.deserialize_seq(Elements)
    }
}

fn parse<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, Refusal> {
    serde_json::from_str(json).map_err(|error| wrong(&error))
}

fn wrong(what: &dyn std::fmt::Display) -> Refusal {
    Refusal::Wrong(format!("this is no push of Loki in JSON: {what}. Nothing of it is stored"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;
    use serde_json::{Value as JsonValue, json};

    use super::*;
    use crate::http::HttpLimits;
    use crate::http::envelope::tests::with_envelopes;

    #[derive(Clone, PartialEq, Message)]
    struct PushRequest {
        #[prost(message, repeated, tag = "1")]
        streams: Vec<StreamAdapter>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct StreamAdapter {
        #[prost(string, tag = "1")]
        labels: String,
        #[prost(message, repeated, tag = "2")]
        entries: Vec<EntryAdapter>,
        #[prost(uint64, tag = "3")]
        hash: u64,
    }

    #[derive(Clone, PartialEq, Message)]
    struct EntryAdapter {
        #[prost(message, optional, tag = "1")]
        timestamp: Option<Timestamp>,
        #[prost(string, tag = "2")]
        line: String,
        #[prost(message, repeated, tag = "3")]
        metadata: Vec<LabelPair>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Timestamp {
        #[prost(int64, tag = "1")]
        seconds: i64,
        #[prost(int32, tag = "2")]
        nanos: i32,
    }

    #[derive(Clone, PartialEq, Message)]
    struct LabelPair {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(string, tag = "2")]
        value: String,
    }

    fn taken(is_json: bool, request: &[u8]) -> Result<(Vec<String>, Option<String>), Refusal> {
        let limits = HttpLimits { line_bytes_max: 2000, ..HttpLimits::default() };
        with_envelopes(Encoding::Loki, limits, |envelopes| {
            match is_json {
                true => take_json(&String::from_utf8_lossy(request), envelopes)?,
                false => take_protobuf(request, envelopes)?,
            }
            Ok((envelopes.taken(), envelopes.refused_text()))
        })
    }

    fn labels(text: &str) -> Result<String, String> {
        let mut json = Json::new(1000);
        match write_labels(text.as_bytes(), &mut json) {
            Ok(()) => Ok(String::from_utf8(json.bytes().to_vec()).unwrap()),
            Err(Fault::Malformed(why)) => Err(why),
            Err(Fault::TooLarge) => Err("too large".into()),
        }
    }

    #[test]
    fn labels_are_read_as_go_writes_them() {
        for (text, expected) in [
            ("{}", "{}"),
            (" { } ", "{}"),
            (r#"{job="varlogs"}"#, r#"{"job":"varlogs"}"#),
            (r#"{ job = "a" , host="b", }"#, r#"{"job":"a","host":"b"}"#),
            (r#"{"service.name"="a","b c"="d"}"#, r#"{"service.name":"a","b c":"d"}"#),
            (
                r#"{a="\"\\\n\t\a\x41\xc3\xa9\u00e9\U0001f600\101'é}"}"#,
                "{\"a\":\"\\\"\\\\\\n\\t\\u0007Aéé\u{1f600}A'é}\"}",
            ),
            ("{a=`\\n\"{`}", r#"{"a":"\\n\"{"}"#),
        ] {
            assert_eq!(labels(text).as_deref(), Ok(expected), "{text}");
        }
        for (text, expected) in [
            ("", "`{` is expected before ``"),
            ("{", "a name or a text in quotes"),
            (r#"{a}"#, "`=` is expected before `}`"),
            (r#"{a=b}"#, "in quotes is expected before `b}`"),
            (r#"{a="b}"#, "a closing quote"),
            (r#"{a="b" c="d"}"#, r#"`}` is expected before `c=\"d\"}`"#),
            (r#"{a="b"} x"#, "nothing is expected before ` x`"),
            (r#"{a="\q"}"#, "what can be escaped"),
            (r#"{a="\xf"}"#, "what can be escaped"),
            (r#"{a="\777"}"#, "what can be escaped"),
            (r#"{a="\ud800"}"#, "what can be escaped"),
            ("{a=`b", "a closing quote"),
        ] {
            let error = labels(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn json_is_kept_as_it_is_written() {
        let request = r#"{"streams": [
            {"stream": {"job" :"a"}, "values": [
                ["1795518000123456789", "line \u00e9 \"x\""],
                ["1","", {"trace": "t"} ],
                [2, "number"]
            ]},
            {"values": [["-3","no labels"]]},
            {"stream": {}, "values": []}
        ]}"#;
        let (records, refused) = taken(true, request.as_bytes()).unwrap();
        assert_eq!(refused, None);
        assert_eq!(
            records,
            [
                r#"{"labels":{"job" :"a"},"timestamp":"1795518000123456789","line":"line \u00e9 \"x\""}"#,
                r#"{"labels":{"job" :"a"},"timestamp":"1","line":"","metadata":{"trace": "t"}}"#,
                r#"{"labels":{"job" :"a"},"timestamp":"2","line":"number"}"#,
                r#"{"labels":{},"timestamp":"-3","line":"no labels"}"#,
            ]
        );
    }

    #[test]
    fn bad_lines_leave_the_others_and_bad_requests_nothing() {
        let long = "x".repeat(2000);
        for bad in [
            "5",
            "[]",
            r#"["1"]"#,
            r#"["1",2]"#,
            r#"["x","line"]"#,
            r#"["","line"]"#,
            r#"["1","line",5]"#,
            r#"["1","line",{},1]"#,
            r#"[{},"line"]"#,
            &format!(r#"["1","{long}"]"#),
        ] {
            let request = format!(r#"{{"streams":[{{"values":[["1","a"],{bad},["2","b"]]}}]}}"#);
            let (records, refused) = taken(true, request.as_bytes()).unwrap();
            assert_eq!(records.len(), 2, "{bad}");
            let refused = refused.unwrap();
            assert!(refused.starts_with("1 of 3 records were refused"), "{bad}: {refused}");
        }
        let streams = r#"{"streams":[{"stream":[],"values":[["1","a"]]},{"values":[["1","a"]]}]}"#;
        let (records, refused) = taken(true, streams.as_bytes()).unwrap();
        assert_eq!((records.len(), refused.is_some()), (1, true));
        for wrong in [
            "",
            "[]",
            "{}",
            r#"{"streams":5}"#,
            r#"{"streams":[5]}"#,
            r#"{"streams":[{"stream":{}}]}"#,
            r#"{"streams":[{"labels":"{}","entries":[]}]}"#,
            r#"{"streams":[{"values":[["1","a"]"#,
        ] {
            assert!(matches!(taken(true, wrong.as_bytes()), Err(Refusal::Wrong(_))), "{wrong}");
        }
    }

    #[test]
    fn what_a_body_becomes_is_known_before() {
        let packed = snap::raw::Encoder::new().compress_vec(&[0; 1000]).unwrap();
        assert_eq!(unpacked_bytes(&packed, 1000).unwrap(), 1000);
        assert!(matches!(unpacked_bytes(&packed, 999), Err(Refusal::TooLarge(_))));
        // Three bytes that promise four gigabytes.
        let promise = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
        assert!(matches!(unpacked_bytes(&promise, 1000), Err(Refusal::TooLarge(_))));
        assert!(matches!(unpacked_bytes(b"", 1000), Ok(0) | Err(Refusal::Wrong(_))));
        assert!(matches!(unpack(&packed[..packed.len() - 1]), Err(Refusal::Wrong(_))));
        assert!(matches!(unpack(br#"{"streams":[]}"#), Err(Refusal::Wrong(_))));
    }

    /// As Go quotes it, in one of the ways.
    fn quoted(text: &str) -> String {
        let escaped: String = text
            .chars()
            .map(|char| match char {
                '"' => "\\\"".to_owned(),
                '\\' => "\\\\".to_owned(),
                '\n' => "\\n".to_owned(),
                char if char < ' ' => format!("\\x{:02x}", u32::from(char)),
                char if char > '\u{ff}' => format!("\\U{:08x}", u32::from(char)),
                char => char.to_string(),
            })
            .collect();
        format!("\"{escaped}\"")
    }

    type Entry = (i64, u32, String, Vec<(String, String)>);
    type Streams = Vec<(Vec<(String, String)>, Vec<Entry>)>;

    fn streams() -> impl Strategy<Value = Streams> {
        let metadata = prop::collection::vec(("[a-z]{1,4}", any::<String>()), 0..3);
        let entry = (any::<i64>(), 0..1_000_000_000_u32, any::<String>(), metadata);
        let labels = prop::collection::vec(("[a-z_][a-z0-9_]{0,4}", any::<String>()), 0..3);
        prop::collection::vec((labels, prop::collection::vec(entry, 0..4)), 0..4)
    }

    fn object(pairs: &[(String, String)]) -> JsonValue {
        JsonValue::Object(pairs.iter().map(|(k, v)| (k.clone(), v.clone().into())).collect())
    }

    fn pushed(streams: &Streams) -> PushRequest {
        let entry = |(seconds, nanos, line, metadata): &Entry| EntryAdapter {
            timestamp: Some(Timestamp { seconds: *seconds, nanos: *nanos as i32 }),
            line: line.clone(),
            metadata: metadata
                .iter()
                .map(|(name, value)| LabelPair { name: name.clone(), value: value.clone() })
                .collect(),
        };
        let stream = |(labels, entries): &(Vec<(String, String)>, Vec<Entry>)| {
            let labels: Vec<String> =
                labels.iter().map(|(name, value)| format!("{name}={}", quoted(value))).collect();
            StreamAdapter {
                labels: format!("{{{}}}", labels.join(", ")),
                entries: entries.iter().map(entry).collect(),
                hash: 7,
            }
        };
        PushRequest { streams: streams.iter().map(stream).collect() }
    }

    proptest! {
        #[test]
        fn both_forms_become_the_same(streams in streams()) {
            let nanos = |seconds: i64, nanos: u32| {
                (i128::from(seconds) * NANOS + i128::from(nanos)).to_string()
            };
            let mut expected = Vec::new();
            let mut json_streams = Vec::new();
            for (labels, entries) in &streams {
                let mut values = Vec::new();
                for (seconds, rest, line, metadata) in entries {
                    let time = nanos(*seconds, *rest);
                    let mut record =
                        json!({"labels": object(labels), "timestamp": time, "line": line});
                    let mut value = json!([time, line]);
                    if !metadata.is_empty() {
                        record["metadata"] = object(metadata);
                        value.as_array_mut().unwrap().push(object(metadata));
                    }
                    expected.push(record);
                    values.push(value);
                }
                json_streams.push(json!({"stream": object(labels), "values": values}));
            }
            let read = |is_json, request: &[u8]| {
                with_envelopes(Encoding::Loki, HttpLimits::default(), |envelopes| {
                    match is_json {
                        true => take_json(std::str::from_utf8(request).unwrap(), envelopes),
                        false => take_protobuf(request, envelopes),
                    }
                    .unwrap();
                    assert_eq!(envelopes.refused_text(), None);
                    let records = envelopes.taken();
                    records.iter().map(|json| serde_json::from_str(json).unwrap()).collect()
                })
            };
            let found: Vec<JsonValue> = read(false, &pushed(&streams).encode_to_vec());
            prop_assert_eq!(&found, &expected);
            let json = json!({"streams": json_streams}).to_string();
            let found: Vec<JsonValue> = read(true, json.as_bytes());
            prop_assert_eq!(&found, &expected);
        }

        #[test]
        fn any_bytes_are_answered(
            streams in streams(),
            cut in any::<prop::sample::Index>(),
            changed in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            noise in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut bytes = pushed(&streams).encode_to_vec();
            bytes.push(0);
            bytes.truncate(cut.index(bytes.len()) + 1);
            for (at, byte) in changed {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            for bytes in [&bytes, &noise] {
                unpacked_bytes(bytes, 1000).and_then(|_| unpack(bytes)).ok();
                for is_json in [false, true] {
                    if let Ok((records, _)) = taken(is_json, bytes) {
                        for record in records {
                            serde_json::from_str::<JsonValue>(&record).unwrap();
                        }
                    }
                }
            }
        }

        #[test]
        fn any_labels_end(text: String) {
            if let Ok(json) = labels(&text) {
                serde_json::from_str::<JsonValue>(&json).unwrap();
            }
        }
    }
}
