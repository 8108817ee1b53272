//! Splunk's HTTP Event Collector.
//!
//! | path | does |
//! | --- | --- |
//! | `POST /services/collector`, `/event`, `/event/1.0` | events: JSON objects, one after the other |
//! | `POST /services/collector/raw`, `/raw/1.0` | lines |
//! | `POST /services/collector/ack` | tells which acknowledgements were given |
//! | `GET /services/collector/health`, `/health/1.0` | whether events would be taken |
//!
//! Each event is stored as it was sent, envelope and all. Of raw lines, what the path says of them
//! (`host`, `source`, `sourcetype`, `index`, `time`) is put into such an envelope around each line;
//! without any of it they are lines and no more.
//!
//! An answer of success comes once the events are durable. So with a channel, every id that was
//! given is acknowledged as soon as it is asked for. What is not known, for example after a restart,
//! is not acknowledged, and clients send those events again.
//!
//! Where an event is broken, those before it are stored and it is named, as Splunk does: clients
//! give up such a request as a whole, which would lose the good ones with the broken one. Too much
//! in flight is 503 rather than 429, because Fluent Bit gives up what has 4xx.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Query, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use bus::BusError;
use event::Timestamp;
use event::raw::Encoding;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Caller, Refusal, Shippers, count};
use crate::split::{Piece, Splitter};
use crate::{Batch, DatasetName, metrics};

/// The name of this listener in records and metrics.
const LISTENER: &str = "hec";

/// The most events of a request. Each takes more room on its way than an empty one has bytes.
const EVENTS_MAX: usize = 200_000;

/// The most channels whose ids are remembered; the one that was not used for longest is forgotten.
/// A client has one, new at each of its starts.
const CHANNELS_MAX: usize = 1000;

/// The most ids in one question; Vector asks for all that it waits for, up to this many.
const ACK_IDS_MAX: usize = 1_000_000;

/// The header that names a channel.
const CHANNEL: &str = "x-splunk-request-channel";

/// Names that say nothing of what an event is: forms, and Splunk's defaults.
const NAMES_OF_NOTHING: [&str; 7] = [
    "_json",
    "json_no_timestamp",
    "httpevent",
    "generic_single_line",
    "main",
    "default",
    "unknown",
];

/// The routes of this listener.
pub(super) fn router() -> Router<Shippers> {
    let mut router = Router::new();
    let of_version = |path: &str| [path.to_owned(), format!("{path}/1.0")];
    router = router.route("/services/collector", post(events).fallback(other));
    for path in of_version("/services/collector/event") {
        router = router.route(&path, post(events).fallback(other));
    }
    for path in of_version("/services/collector/raw") {
        router = router.route(&path, post(raw).fallback(other));
    }
    for path in of_version("/services/collector/health") {
        router = router.route(&path, get(health).fallback(other));
    }
    router = router.route("/services/collector/ack", post(acks).fallback(other));
    router.layer(Extension(Arc::new(Channels::default())))
}

/// What a path may say of its lines.
#[derive(Debug, Default, Deserialize)]
struct Parameters {
    channel: Option<String>,
    host: Option<String>,
    source: Option<String>,
    sourcetype: Option<String>,
    index: Option<String>,
    time: Option<String>,
}

async fn events(
    State(shippers): State<Shippers>,
    Extension(channels): Extension<Arc<Channels>>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let take = async {
        let caller = caller(&shippers, &head)?;
        let channel = channel(&head, &parameters(&head)?)?;
        let (bytes, mut batch) = shippers.whole(body, &head.headers).await?;
        let received = Timestamp::now();
        let line_bytes_max = shippers.limits().line_bytes_max;
        let taken = split(&bytes, &mut |event| {
            let Event { payload, number, .. } = event;
            if number >= EVENTS_MAX {
                return Err(Fault::TooMany);
            }
            if payload.len() > line_bytes_max {
                return Err(Fault::TooLong { bytes: payload.len(), bytes_max: line_bytes_max });
            }
            let dataset = dataset(event.sourcetype.as_deref(), event.index.as_deref());
            caller.check(dataset).map_err(|refusal| Fault::Denied(refusal.text()))?;
            batch.push(&caller.record(LISTENER, received, payload, Encoding::Hec, dataset));
            Ok(())
        });
        if let Err(Broken { fault: Fault::TooMany, .. }) = taken {
            return Err(too_many());
        }
        store(&shippers, &mut batch, bytes.len()).await?;
        if let Err(Broken { number, fault }) = taken {
            let reason = fault.reason();
            metrics::REFUSED.with_label_values(&[LISTENER, reason]).inc();
            return Err(Answer { number: Some(number), ..fault.answer() });
        }
        Ok(channels.success(&caller, channel))
    };
    respond(take.await)
}

async fn raw(
    State(shippers): State<Shippers>,
    Extension(channels): Extension<Arc<Channels>>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let take = async {
        let caller = caller(&shippers, &head)?;
        let parameters = parameters(&head)?;
        let channel = channel(&head, &parameters)?;
        let dataset = dataset(parameters.sourcetype.as_deref(), parameters.index.as_deref());
        if let Err(refusal) = caller.check(dataset) {
            return Err(Fault::Denied(refusal.text()).answer());
        }
        let (bytes, mut batch) = shippers.whole(body, &head.headers).await?;
        let line_bytes_max = shippers.limits().line_bytes_max;
        let received = Timestamp::now();
        let mut envelope = Envelope::of(&parameters);
        let (mut too_long, mut lines) = (0_u64, 0_usize);
        let sink = &mut |piece: Piece<'_>| match piece {
            Piece::Record { payload, encoding, .. } => {
                lines += 1;
                let (payload, encoding) = match &mut envelope {
                    Some(envelope) => envelope.around(payload, encoding),
                    None => (payload, encoding),
                };
                batch.push(&caller.record(LISTENER, received, payload, encoding, dataset));
                if lines > EVENTS_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            }
            Piece::TooLong { .. } => {
                too_long += 1;
                ControlFlow::Continue(())
            }
            Piece::Unclosed { .. } => ControlFlow::Continue(()),
        };
        let mut splitter = Splitter::new(line_bytes_max);
        let end = match splitter.push(&bytes, sink) {
            ControlFlow::Continue(()) => splitter.finish(sink),
            full => full,
        };
        if end.is_break() {
            return Err(too_many());
        }
        if lines == 0 && too_long == 0 {
            return Err(Answer::of(StatusCode::BAD_REQUEST, 5, "No data"));
        }
        store(&shippers, &mut batch, bytes.len()).await?;
        if too_long > 0 {
            metrics::REFUSED.with_label_values(&[LISTENER, "too_large"]).inc_by(too_long);
            return Err(Answer {
                reason: Some(format!(
                    "{too_long} lines have more than {line_bytes_max} bytes; the others are stored"
                )),
                ..Answer::of(StatusCode::PAYLOAD_TOO_LARGE, 27, TOO_LARGE)
            });
        }
        Ok(channels.success(&caller, channel))
    };
    respond(take.await)
}

/// Which of the ids were given on this channel.
async fn acks(
    State(shippers): State<Shippers>,
    Extension(channels): Extension<Arc<Channels>>,
    request: Request,
) -> Response {
    #[derive(Deserialize)]
    struct Asked {
        acks: Vec<u64>,
    }
    let (head, body) = request.into_parts();
    let take = async {
        let caller = caller(&shippers, &head)?;
        let Some(channel) = channel(&head, &parameters(&head)?)? else {
            return Err(Answer::of(StatusCode::BAD_REQUEST, 10, "Data channel is missing"));
        };
        let (bytes, _room) = shippers.whole(body, &head.headers).await?;
        let Asked { acks } = serde_json::from_slice(&bytes).map_err(|error| Answer {
            reason: Some(format!("expected {{\"acks\":[0,1]}}: {error}")),
            ..Answer::of(StatusCode::BAD_REQUEST, 6, INVALID)
        })?;
        if acks.len() > ACK_IDS_MAX {
            return Err(Answer {
                reason: Some(format!("ask for at most {ACK_IDS_MAX} ids at once")),
                ..Answer::of(StatusCode::PAYLOAD_TOO_LARGE, 27, TOO_LARGE)
            });
        }
        let given = channels.given(&caller, &channel);
        let mut text = String::from("{\"acks\":{");
        for (at, id) in acks.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            text.push_str(&format!("{comma}\"{id}\":{}", *id < given));
        }
        text.push_str("}}");
        Ok(text)
    };
    match take.await {
        Ok(text) => finish((StatusCode::OK, text).into_response()),
        Err(answer) => respond(Err(answer)),
    }
}

/// Whether events would be taken. Nobody is asked who they are: load balancers are nobody.
async fn health(State(shippers): State<Shippers>) -> Response {
    respond(match shippers.intake().health() {
        Ok(()) => Ok(Answer::of(StatusCode::OK, 17, "HEC is healthy")),
        Err(error) => Err(Answer {
            reason: Some(error.to_string()),
            ..Answer::of(StatusCode::SERVICE_UNAVAILABLE, 18, "HEC is unhealthy, queues are full")
        }),
    })
}

async fn other() -> Response {
    let text = "Method not allowed: events are sent with POST";
    respond(Err(Answer::of(StatusCode::METHOD_NOT_ALLOWED, 405, text)))
}

const INVALID: &str = "Invalid data format";
const TOO_LARGE: &str = "Request entity too large";

/// Who asks, or the code that says why it is nobody.
fn caller(shippers: &Shippers, head: &Parts) -> Result<Caller, Answer> {
    shippers.caller(&head.headers, &head.extensions).map_err(|refusal| match &refusal {
        Refusal::Unauthorized { has_offered: false, .. } => {
            let (code, text) = match head.headers.contains_key(AUTHORIZATION) {
                true => (3, "Invalid authorization"),
                false => (2, "Token is required"),
            };
            Answer {
                refusal: Some(Box::new(refusal)),
                ..Answer::of(StatusCode::UNAUTHORIZED, code, text)
            }
        }
        Refusal::Unauthorized { text, .. } => Answer {
            reason: Some(text.clone()),
            ..Answer::of(StatusCode::FORBIDDEN, 4, "Invalid token")
        },
        _ => Answer::from(refusal),
    })
}

fn parameters(head: &Parts) -> Result<Parameters, Answer> {
    let parameters = Query::try_from_uri(&head.uri).map_err(|error| Answer {
        reason: Some(error.body_text()),
        ..Answer::of(StatusCode::BAD_REQUEST, 6, INVALID)
    })?;
    Ok(parameters.0)
}

/// The channel that is named, in the form in which it is compared.
fn channel(head: &Parts, parameters: &Parameters) -> Result<Option<String>, Answer> {
    let named = match head.headers.get(CHANNEL) {
        Some(value) => value.to_str().unwrap_or("?"),
        None => match &parameters.channel {
            Some(channel) => channel,
            None => return Ok(None),
        },
    };
    let digits: String = named.chars().filter(|&char| char != '-').collect();
    if digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Ok(Some(digits.to_ascii_lowercase()));
    }
    Err(Answer {
        reason: Some("a channel is named with a GUID".to_owned()),
        ..Answer::of(StatusCode::BAD_REQUEST, 11, "Invalid data channel")
    })
}

/// The dataset that these names tell; none if they are no names of datasets. What an event is (the
/// sourcetype) tells more than where it is to be kept (the index).
fn dataset<'a>(sourcetype: Option<&'a str>, index: Option<&'a str>) -> &'a str {
    let is_name =
        |name: &&str| !NAMES_OF_NOTHING.contains(name) && name.parse::<DatasetName>().is_ok();
    [sourcetype, index].into_iter().flatten().find(is_name).unwrap_or_default()
}

/// Makes a batch durable. What is in memory meanwhile is the body besides.
async fn store(shippers: &Shippers, batch: &mut Batch, body_bytes: usize) -> Result<(), Refusal> {
    let in_memory = body_bytes + batch.bytes_len();
    shippers.intake().reserve(batch, in_memory).map_err(Refusal::Bus)?;
    shippers.append(batch, LISTENER).await
}

fn too_many() -> Answer {
    Answer {
        reason: Some(format!(
            "the request has more than {EVENTS_MAX} events; send it in smaller parts. Nothing of it is stored"
        )),
        ..Answer::of(StatusCode::PAYLOAD_TOO_LARGE, 27, TOO_LARGE)
    }
}

/// An event of a request.
#[derive(Debug)]
struct Event<'a> {
    /// Its bytes, envelope and all.
    payload: &'a [u8],
    /// Which it is, from 0.
    number: usize,
    sourcetype: Option<Cow<'a, str>>,
    index: Option<Cow<'a, str>>,
}

/// What is wrong with an event.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    /// There is none at all.
    None,
    /// It is no JSON object, or something in it is not what it should be.
    Invalid(String),
    /// It has no `event`.
    Missing,
    /// Its `event` is empty.
    Blank,
    TooLong {
        bytes: usize,
        bytes_max: usize,
    },
    TooMany,
    Denied(String),
}

/// Which event is broken, and how.
#[derive(Debug, PartialEq, Eq)]
struct Broken {
    number: usize,
    fault: Fault,
}

impl Fault {
    /// The label in metrics.
    fn reason(&self) -> &'static str {
        match self {
            Fault::TooLong { .. } | Fault::TooMany => "too_large",
            Fault::Denied(_) => "denied",
            Fault::None | Fault::Invalid(_) | Fault::Missing | Fault::Blank => "malformed",
        }
    }

    fn answer(self) -> Answer {
        let bad = StatusCode::BAD_REQUEST;
        match self {
            Fault::None => Answer::of(bad, 5, "No data"),
            Fault::Invalid(reason) => {
                Answer { reason: Some(reason), ..Answer::of(bad, 6, INVALID) }
            }
            Fault::Missing => Answer::of(bad, 12, "Event field is required"),
            Fault::Blank => Answer::of(bad, 13, "Event field cannot be blank"),
            Fault::TooLong { bytes, bytes_max } => Answer {
                reason: Some(format!(
                    "the event has {bytes} bytes, a record may have {bytes_max}; those before it are stored"
                )),
                ..Answer::of(StatusCode::PAYLOAD_TOO_LARGE, 27, TOO_LARGE)
            },
            Fault::TooMany => too_many(),
            Fault::Denied(reason) => {
                Answer { reason: Some(reason), ..Answer::of(bad, 7, "Incorrect index") }
            }
        }
    }
}

/// Takes apart events that follow each other with or without white space between, until one is
/// broken or not taken.
fn split<'a>(
    bytes: &'a [u8],
    take: &mut dyn FnMut(Event<'a>) -> Result<(), Fault>,
) -> Result<(), Broken> {
    /// What of an envelope is looked at. The rest is normalisation's.
    #[derive(Deserialize)]
    struct Parts<'a> {
        #[serde(borrow)]
        event: Option<&'a RawValue>,
        #[serde(borrow)]
        sourcetype: Option<Cow<'a, str>>,
        #[serde(borrow)]
        index: Option<Cow<'a, str>>,
    }
    let mut rest = bytes.trim_ascii_start();
    let mut number = 0;
    while let Some(&first) = rest.first() {
        let broken = |fault| Broken { number, fault };
        if first != b'{' {
            let what = "each event must be a JSON object that begins with `{`".to_owned();
            return Err(broken(Fault::Invalid(what)));
        }
        let mut parser = serde_json::Deserializer::from_slice(rest).into_iter::<Parts<'_>>();
        let parts = match parser.next() {
            Some(Ok(parts)) => parts,
            Some(Err(error)) => return Err(broken(Fault::Invalid(error.to_string()))),
            None => break,
        };
        let (payload, after) = rest.split_at(parser.byte_offset());
        let Parts { event, sourcetype, index } = parts;
        let fault = match event.map(RawValue::get) {
            None => Some(Fault::Missing),
            Some(text) if text.trim_matches('"').trim().is_empty() => Some(Fault::Blank),
            Some(_) => None,
        };
        fault
            .map_or_else(|| take(Event { payload, number, sourcetype, index }), Err)
            .map_err(broken)?;
        rest = after.trim_ascii_start();
        number += 1;
    }
    if number == 0 { Err(Broken { number, fault: Fault::None }) } else { Ok(()) }
}

/// Puts what a path says of its lines around each of them.
struct Envelope {
    /// `{"time":1.5,"host":"a","event":`
    head: Vec<u8>,
    whole: Vec<u8>,
}

impl Envelope {
    /// None if the path says nothing.
    fn of(parameters: &Parameters) -> Option<Envelope> {
        let Parameters { host, source, sourcetype, index, time, .. } = parameters;
        let mut head = String::from("{");
        if let Some(time) = time {
            // A number is written as one; another text is for normalisation to read.
            let text = match time.parse::<serde_json::Number>() {
                Ok(_) => time.clone(),
                Err(_) => Value::from(time.as_str()).to_string(),
            };
            head.push_str(&format!("\"time\":{text},"));
        }
        let named =
            [("host", host), ("source", source), ("sourcetype", sourcetype), ("index", index)];
        for (name, value) in named {
            if let Some(value) = value {
                head.push_str(&format!("\"{name}\":{},", Value::from(value.as_str())));
            }
        }
        if head == "{" {
            return None;
        }
        head.push_str("\"event\":");
        Some(Envelope { head: head.into_bytes(), whole: Vec::new() })
    }

    /// A line within it. One that is not UTF-8 can be in no JSON, and stays as it is.
    fn around<'a>(&'a mut self, line: &'a [u8], encoding: Encoding) -> (&'a [u8], Encoding) {
        let Ok(text) = std::str::from_utf8(line) else { return (line, encoding) };
        self.whole.clear();
        self.whole.extend_from_slice(&self.head);
        serde_json::to_writer(&mut self.whole, text).expect("a vector takes what it is given");
        self.whole.push(b'}');
        (&self.whole, Encoding::Hec)
    }
}

/// How many ids each channel was given, so that no id is acknowledged that was not.
///
/// An id is given once its events are durable, so the number alone tells of all of them.
#[derive(Default)]
struct Channels(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// By sender and channel: nobody can ask for what another was given.
    channels: HashMap<(String, String), Channel>,
    uses: u64,
}

#[derive(Default)]
struct Channel {
    given: u64,
    last_use: u64,
}

impl Channels {
    /// The answer to what is durable, with an id if there is a channel for it.
    fn success(&self, caller: &Caller, channel: Option<String>) -> Answer {
        let answer = Answer::of(StatusCode::OK, 0, "Success");
        let Some(channel) = channel else { return answer };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Known { channels, uses } = &mut *known;
        *uses += 1;
        let key = (caller.sender.name().to_owned(), channel);
        if channels.len() >= CHANNELS_MAX && !channels.contains_key(&key) {
            let oldest = channels.iter().min_by_key(|(_, channel)| channel.last_use);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                channels.remove(&oldest);
            }
        }
        let channel = channels.entry(key).or_default();
        channel.last_use = *uses;
        let ack_id = channel.given;
        channel.given += 1;
        Answer { ack_id: Some(ack_id), ..answer }
    }

    /// How many ids this channel was given, from 0; none if it is not known.
    fn given(&self, caller: &Caller, channel: &str) -> u64 {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Known { channels, uses } = &mut *known;
        *uses += 1;
        let key = (caller.sender.name().to_owned(), channel.to_owned());
        let Some(channel) = channels.get_mut(&key) else { return 0 };
        channel.last_use = *uses;
        channel.given
    }
}

/// An answer in Splunk's form.
#[derive(Debug, Serialize)]
struct Answer {
    #[serde(skip)]
    status: StatusCode,
    text: &'static str,
    code: u16,
    #[serde(rename = "ackId", skip_serializing_if = "Option::is_none")]
    ack_id: Option<u64>,
    #[serde(rename = "invalid-event-number", skip_serializing_if = "Option::is_none")]
    number: Option<usize>,
    /// What is wrong and what to do; Splunk has no place for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Whose headers go with it.
    #[serde(skip)]
    refusal: Option<Box<Refusal>>,
}

impl Answer {
    fn of(status: StatusCode, code: u16, text: &'static str) -> Self {
        Answer { status, text, code, ack_id: None, number: None, reason: None, refusal: None }
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let busy = (StatusCode::SERVICE_UNAVAILABLE, 9, "Server is busy");
        let (status, code, text) = match &refusal {
            Refusal::TooLarge(_) | Refusal::Bus(BusError::RecordTooLarge { .. }) => {
                (StatusCode::PAYLOAD_TOO_LARGE, 27, TOO_LARGE)
            }
            // A slow line is nothing that is wrong with the events.
            Refusal::Bus(_) | Refusal::Slow(_) => busy,
            Refusal::Denied(_) => (StatusCode::BAD_REQUEST, 7, "Incorrect index"),
            _ => (refusal.status(), 6, INVALID),
        };
        Answer {
            reason: Some(refusal.text()),
            refusal: Some(Box::new(refusal)),
            ..Answer::of(status, code, text)
        }
    }
}

fn respond(answer: Result<Answer, Answer>) -> Response {
    let (Ok(answer) | Err(answer)) = answer;
    let body = json!(answer).to_string();
    let mut response = match &answer.refusal {
        Some(refusal) => refusal.with_body(body),
        None => body.into_response(),
    };
    *response.status_mut() = answer.status;
    finish(response)
}

fn finish(mut response: Response) -> Response {
    let kind = HeaderValue::from_static("application/json; charset=UTF-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    count(LISTENER, &response);
    response
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The events of a body, and what ends them.
    fn read(body: &[u8]) -> (Vec<&[u8]>, Option<Broken>) {
        let mut found = Vec::new();
        let broken = split(body, &mut |event| {
            assert_eq!(event.number, found.len());
            found.push(event.payload);
            Ok(())
        });
        (found, broken.err())
    }

    #[test]
    fn names_of_datasets() {
        for (sourcetype, index, expected) in [
            (Some("nginx.access"), Some("web"), "nginx.access"),
            (Some("aws:cloudtrail"), Some("aws"), "aws"),
            (Some("_json"), Some("main"), ""),
            (None, Some("web"), "web"),
            (Some("WinEventLog"), None, ""),
            (None, None, ""),
        ] {
            assert_eq!(dataset(sourcetype, index), expected);
        }
    }

    fn event() -> impl Strategy<Value = String> {
        prop_oneof![
            "[ -~]{1,20}".prop_map(|text| json!({ "event": format!("x{text}") }).to_string()),
            any::<i64>()
                .prop_map(|value| format!("{{\"event\" : {{\"a\":[{value}]}},\"time\":1.5 }}")),
        ]
    }

    proptest! {
        #[test]
        fn events_are_told_apart_and_a_cut_gives_those_before_it(
            events in prop::collection::vec((event(), "[ \r\n\t]{0,3}"), 1..20),
            cut in any::<prop::sample::Index>(),
        ) {
            let body: String = events.iter().map(|(event, gap)| format!("{event}{gap}")).collect();
            let (found, broken) = read(body.as_bytes());
            let expected: Vec<&[u8]> = events.iter().map(|(event, _)| event.as_bytes()).collect();
            prop_assert_eq!((&found, broken), (&expected, None));
            let cut = cut.index(body.len());
            let (found, _) = read(&body.as_bytes()[..cut]);
            prop_assert_eq!(&found[..], &expected[..found.len()]);
        }

        #[test]
        fn any_bytes_end_in_events_and_a_fault(
            parts in prop::collection::vec(prop_oneof![
                4 => event().prop_map(String::into_bytes),
                1 => prop::sample::select(vec!["{", "}", "[", "\"", "{}", "{\"event\":", "null", ","])
                    .prop_map(|text| text.as_bytes().to_vec()),
                1 => prop::collection::vec(any::<u8>(), 0..20),
            ], 0..20),
        ) {
            let body = parts.concat();
            let (found, broken) = read(&body);
            let is_object = |event: &&[u8]| event.first() == Some(&b'{') && event.last() == Some(&b'}');
            let are_objects = found.iter().all(is_object);
            prop_assert!(are_objects);
            if let Some(Broken { number, .. }) = broken {
                prop_assert_eq!(number, found.len());
            }
        }

        #[test]
        fn an_envelope_is_json_whatever_is_put_into_it(
            host in ".{0,10}", time in "[0-9.eE+-]{0,6}", line in "[^\n]{0,20}",
        ) {
            let parameters =
                Parameters { host: Some(host.clone()), time: Some(time.clone()), ..Parameters::default() };
            let mut envelope = Envelope::of(&parameters).unwrap();
            let (whole, encoding) = envelope.around(line.as_bytes(), Encoding::Unknown);
            prop_assert_eq!(encoding, Encoding::Hec);
            let value: Value = serde_json::from_slice(whole).unwrap();
            prop_assert_eq!(&value["event"], &line);
            prop_assert_eq!(&value["host"], &host);
            prop_assert!(value["time"].is_number() || value["time"] == time.as_str());
        }
    }
}
