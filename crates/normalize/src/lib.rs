//! Raw records to ECS events.
//!
//! [`Normalizer`] is a plain function with scratch memory: a record in, one or more events out. It
//! finds out what a payload is (the listener's hint is only a hint), decodes it, maps native fields
//! to the Elastic Common Schema, and decides the Sigma logsource class. Native fields that ECS has no
//! name for stay under their product's name; what is mapped is stored once, under its ECS name.
//!
//! Nothing is refused for being unknown: a payload that no decoder reads is still an event, with its
//! text as `message`, tagged `unparsed` and counted. Only what can't be an event at all (wider or
//! longer than the limits) is [`Rejected`].
//!
//! One file per family of sources; what they map is in tables, not in code. Records lie in other
//! records: in the envelopes of protocols, and as lines in documents.

mod classes;
mod envelope;
pub mod health;
mod joining;
mod json;
mod line;
mod mapped;
mod program;
mod stage;
mod syslog;
mod windows;

pub use classes::classes;
pub use joining::{Arrival, Joined, Joiner, Place};
pub use stage::{NormalizeStage, arrival, event_json, raw_record};

use std::sync::Arc;

use event::raw::Encoding;
use event::{Event, EventId, ParseError, RawRecord, Timestamp};

use enrichment::{Enricher, Enrichment};
use mapping::Mappings;

use crate::envelope::Record;
use crate::mapped::Mapper;

/// The ECS version that we write.
pub const ECS_VERSION: &str = "9.0.0";

/// The most bytes of one payload; the listeners' limits are below it.
pub const PAYLOAD_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The most records in one `{"Records": [...]}` document.
pub const RECORDS_MAX: usize = 100_000;

/// The tag of an event whose payload no decoder could read.
pub const UNPARSED: &str = "unparsed";

/// The tag of an event that had no usable time and got its arrival time.
pub const MISSING_TIME: &str = "missing_time";

/// The field with the name that the sender of an event proved. Nothing else ever sets it.
pub const SENDER: &str = "watchpost.sender";

/// What can be chosen.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether `event.original` keeps the payload. Without it, a field that a mapping misreads is
    /// lost.
    pub keep_original: bool,
    /// The sources that files describe. None by default.
    pub mappings: Arc<Mappings>,
    /// What tables know of the events' values. Nothing by default.
    pub enrichment: Enrichment,
}

impl Default for Options {
    fn default() -> Self {
        Options { keep_original: true, mappings: Arc::default(), enrichment: Enrichment::default() }
    }
}

/// Why a record can't be an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// Over [`PAYLOAD_BYTES_MAX`].
    #[error("the payload has {0} bytes; at most {PAYLOAD_BYTES_MAX} are taken")]
    TooLong(usize),
    /// More records in one document than [`RECORDS_MAX`].
    #[error("more than {RECORDS_MAX} records in one document; send them in smaller files")]
    TooManyRecords,
}

/// Turns raw records into events. Not shared: each worker has its own.
#[derive(Debug, Default)]
pub struct Normalizer {
    options: Options,
    mapper: Mapper,
    enricher: Enricher,
    /// The payload as it came, flattened.
    source: Event,
    /// What stands around the payload in its envelope.
    around: Event,
    /// What the line in the payload says.
    line: Event,
    /// The event that is made.
    out: Event,
}

/// What a decoder says of a payload it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decoded {
    /// The event is made.
    Yes,
    /// It is not this decoder's.
    No,
}

impl Normalizer {
    /// A normalizer with these options.
    pub fn new(options: Options) -> Self {
        let mapper = Mapper::new(Arc::clone(&options.mappings));
        let enricher = Enricher::new(options.enrichment.clone());
        Normalizer { options, mapper, enricher, ..Normalizer::default() }
    }

    /// Makes the events of one record, in their order, and hands each to `sink`. `id` is the place
    /// of the record on the bus; without it the events have no `event.id`, as in a scan of files.
    ///
    /// # Errors
    /// [`Rejected`] when the record can't be an event; nothing was handed on then, or only the
    /// records before the limit.
    pub fn normalize(
        &mut self,
        raw: &RawRecord<'_>,
        id: Option<EventId<'_>>,
        sink: &mut dyn FnMut(&Event),
    ) -> Result<(), Rejected> {
        if raw.payload.len() > PAYLOAD_BYTES_MAX {
            return Err(Rejected::TooLong(raw.payload.len()));
        }
        let payload = raw.payload.trim_ascii();
        let mut index = 0;
        let mut one = |this: &mut Self, payload: &[u8]| {
            let id = id.map(|id| EventId { index, ..id });
            this.one(raw, payload, id);
            index += 1;
            sink(&this.out);
        };
        let records = if is_envelope(raw.encoding) { None } else { json::records(payload) };
        match records {
            None => one(self, payload),
            Some(records) if records.len() > RECORDS_MAX => return Err(Rejected::TooManyRecords),
            Some(records) => {
                for record in records {
                    one(self, record.get().as_bytes());
                }
            }
        }
        Ok(())
    }

    fn one(&mut self, raw: &RawRecord<'_>, payload: &[u8], id: Option<EventId<'_>>) {
        self.out.clear();
        // Bytes that are no text lose nothing that matters: the topic `raw` has them as they came.
        let text = String::from_utf8_lossy(payload);
        let problem = match raw.encoding {
            Encoding::Unknown | Encoding::Json | Encoding::Syslog | Encoding::Text => {
                self.decode(raw, raw.dataset, payload, &text)
            }
            Encoding::Journal => self.decode_journal(raw, &text),
            Encoding::Hec
            | Encoding::Otlp
            | Encoding::Gelf
            | Encoding::Loki
            | Encoding::Forward => self.open(raw, &text),
        };
        if let Some(problem) = problem {
            self.unparsed(&text, &problem, raw.dataset);
        }
        self.complete(raw, &text, id);
        self.enricher.enrich(&mut self.out);
    }

    /// Makes the event of what could not be read.
    fn unparsed(&mut self, text: &str, problem: &str, dataset: &str) {
        self.out.clear();
        self.out.set("message", text);
        self.out.append("tags", UNPARSED);
        self.out.set("error.message", problem);
        // As for JSON that nobody knows: rules for the sender's own logs can name it.
        json::dataset_class(dataset).stamp(&mut self.out);
    }

    /// Opens an envelope and reads what is in it. What it returns is why it can't be opened.
    fn open(&mut self, raw: &RawRecord<'_>, payload: &str) -> Option<String> {
        self.source.clear();
        self.around.clear();
        let opened = match envelope::open(raw.encoding, payload, &mut self.around) {
            Ok(opened) => opened,
            Err(problem) => return Some(problem),
        };
        let hint = opened.hint;
        let of_path = || line::dataset_of_path(&self.around);
        let named = match (raw.dataset, hint.name.as_str()) {
            ("", "") => of_path(),
            ("", name) => name,
            (dataset, _) => dataset,
        };
        let dataset = if hint.certain { named } else { raw.dataset };
        let inner = RawRecord { dataset, encoding: Encoding::Unknown, ..*raw };
        match opened.record {
            Record::Carried(text) => {
                let text = text.trim_ascii();
                if let Some(problem) = self.decode(&inner, named, text.as_bytes(), text) {
                    self.unparsed(text, &problem, named);
                }
            }
            Record::Message(text) => {
                let text = text.trim_ascii();
                if self.decode(&inner, named, text.as_bytes(), text).is_some() {
                    self.out.clear();
                    self.out.set("message", text);
                    json::dataset_class(named).stamp(&mut self.out);
                }
            }
            Record::Program(program, text) => {
                let text = text.trim_end();
                syslog::decode_body(&program, text, dataset, &mut self.mapper, &mut self.out);
            }
            Record::Nothing => json::dataset_class(named).stamp(&mut self.out),
        }
        envelope::take_names(&self.source, &mut self.around);
        if let Err(problem) = envelope::close(&mut self.around, &mut self.out) {
            return Some(problem);
        }
        if raw.dataset.is_empty() && !named.is_empty() {
            default(&mut self.out, "event.dataset", named);
        }
        None
    }

    fn decode_journal(&mut self, raw: &RawRecord<'_>, payload: &str) -> Option<String> {
        match envelope::journal::read(payload, &mut self.source) {
            Ok(()) => {
                let Normalizer { source, mapper, out, .. } = self;
                envelope::journal::decode(source, raw.dataset, mapper, out);
                None
            }
            Err(problem) => Some(problem),
        }
    }

    /// Tries the decoders. `named` is what the source is called, by the sender or by an envelope; `text`
    /// is the payload as text. What it returns is why none could read it.
    fn decode(
        &mut self,
        raw: &RawRecord<'_>,
        named: &str,
        payload: &[u8],
        text: &str,
    ) -> Option<String> {
        if payload.first() == Some(&b'{') {
            return match self.source.parse_json(payload) {
                Ok(()) => {
                    self.decode_json(raw, named);
                    None
                }
                Err(ParseError::Json(error)) if raw.encoding == Encoding::Json => Some(error),
                Err(error) => Some(error.to_string()),
            };
        }
        if line::read(text, named, raw, &mut self.mapper, &mut self.out) == Decoded::Yes {
            return None;
        }
        Some("the text is in no form that is known".into())
    }

    fn decode_json(&mut self, raw: &RawRecord<'_>, named: &str) {
        let Normalizer { source, line, mapper, out, .. } = self;
        if windows::decode(source, mapper, out) == Decoded::Yes
            || mapper.document(named, source, out) == Decoded::Yes
        {
            return;
        }
        let ecs = json::is_ecs(source);
        if !ecs
            && envelope::journal::decode_document(source, raw.dataset, mapper, out) == Decoded::Yes
        {
            return;
        }
        let has_line = line::decode(source, raw, named, mapper, line) == Decoded::Yes;
        json::decode(source, ecs || has_line, named, out);
        if has_line {
            line::merge(source, line, out);
        }
    }

    /// What every event has, whatever it was made from.
    fn complete(&mut self, raw: &RawRecord<'_>, text: &str, id: Option<EventId<'_>>) {
        let out = &mut self.out;
        match out.timestamp() {
            // Written anew, so that every event has one form of it.
            Some(time) => out.set_time("@timestamp", time),
            None => {
                out.set_time("@timestamp", raw.received);
                out.append("tags", MISSING_TIME);
            }
        }
        if let Some(id) = id {
            out.set("event.id", id.to_string().as_str());
        }
        out.set_time("event.ingested", raw.received);
        default(out, "event.kind", "event");
        if !raw.dataset.is_empty() {
            default(out, "event.dataset", raw.dataset);
        }
        default(out, "event.dataset", "unknown");
        if out.get("event.module").is_none() {
            let dataset = out.str("event.dataset").unwrap_or_default();
            let module = dataset.split('.').next().unwrap_or_default().to_owned();
            out.set("event.module", &module);
        }
        out.set("ecs.version", ECS_VERSION);
        out.set("data_stream.namespace", raw.namespace);
        if self.options.keep_original {
            out.set("event.original", text);
        } else {
            out.remove("event.original");
        }
        if !raw.peer.is_empty() {
            let is_path = raw.listener == event::raw::LISTENER_FILE;
            let field = if is_path { "log.file.path" } else { "log.source.address" };
            default(out, field, raw.peer);
        }
        if !raw.sender.is_empty() {
            out.set(SENDER, raw.sender);
        } else if out.get(SENDER).is_some() {
            out.remove(SENDER);
        }
        relate(out);
    }
}

/// Whether a payload is a protocol's envelope of one record.
fn is_envelope(encoding: Encoding) -> bool {
    match encoding {
        Encoding::Unknown | Encoding::Json | Encoding::Syslog | Encoding::Text => false,
        Encoding::Hec
        | Encoding::Otlp
        | Encoding::Gelf
        | Encoding::Loki
        | Encoding::Journal
        | Encoding::Forward => true,
    }
}

/// Gathers names and addresses where an analyst can ask for them at once (ECS `related.*`).
fn relate(out: &mut Event) {
    const RELATED: [(&str, &[&str]); 3] = [
        ("related.user", &["user.name", "user.target.name", "user.effective.name"]),
        ("related.ip", &["source.ip", "destination.ip", "host.ip"]),
        ("related.hosts", &["host.name", "source.domain", "destination.domain"]),
    ];
    for (related, paths) in RELATED {
        for path in paths {
            let value = out.str(path).filter(|value| !matches!(*value, "" | "-"));
            if let Some(value) = value.map(str::to_owned) {
                out.append(related, &value);
            }
        }
    }
    for path in ["process.hash.sha256", "process.hash.md5", "file.hash.sha256", "file.hash.md5"] {
        if let Some(value) = out.str(path).map(str::to_owned) {
            out.append("related.hash", &value);
        }
    }
}

fn default(out: &mut Event, path: &str, value: &str) {
    if out.get(path).is_none() {
        out.set(path, value);
    }
}

/// Sets a field to an address if the text is one. IPv4 within IPv6 is unwrapped, a zone is dropped.
fn set_ip(out: &mut Event, path: &str, text: &str) -> bool {
    let text = text.trim().trim_matches(['[', ']']);
    let text = text.split('%').next().unwrap_or_default();
    let Ok(ip) = text.parse::<std::net::IpAddr>() else { return false };
    out.set(path, ip.to_canonical().to_string().as_str());
    true
}

/// The last part of a Windows or Unix path.
fn base_name(path: &str) -> &str {
    path.rsplit(['\\', '/']).next().unwrap_or(path)
}

/// Sets a time if the text is RFC 3339, with or without its zone (then UTC), `T` or space.
fn set_time(out: &mut Event, path: &str, text: &str) -> bool {
    let time = Timestamp::parse_rfc3339(text)
        .or_else(|| Timestamp::parse_rfc3339(&format!("{}Z", text.trim())));
    match time {
        Some(time) => {
            out.set_time(path, time);
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, LazyLock};

    use event::raw::Encoding;
    use event::{Event, RawRecord, Timestamp};
    use mapping::Mappings;
    use proptest::prelude::*;

    use super::{Normalizer, Options, SENDER};

    /// What every event has, or what changes with each version of a file.
    pub(crate) const SAME: [&str; 5] =
        ["ecs.version", "data_stream.namespace", "event.ingested", "event.kind", mapping::MAPPING];

    /// The sources that come with Watchpost.
    pub(crate) fn mappings() -> Arc<Mappings> {
        static BUILTIN: LazyLock<Arc<Mappings>> = LazyLock::new(|| {
            let files = detections::sources().map(|file| (file.path, file.text));
            let (mappings, faults) = Mappings::load(files);
            assert!(faults.is_empty(), "{faults:?}");
            Arc::new(mappings)
        });
        Arc::clone(&BUILTIN)
    }

    /// One that knows them, and leaves the original out.
    pub(crate) fn normalizer() -> Normalizer {
        Normalizer::new(Options {
            keep_original: false,
            mappings: mappings(),
            ..Options::default()
        })
    }

    /// The events of a payload that arrived on 2026-11-24, as JSON lines without the original.
    pub(crate) fn normalized(payload: &str, dataset: &str) -> String {
        let received = Timestamp::parse_rfc3339("2026-11-24T12:00:00Z").unwrap();
        let raw = RawRecord { dataset, ..RawRecord::new(payload.as_bytes(), received) };
        let mut lines = Vec::new();
        normalizer()
            .normalize(&raw, None, &mut |event| {
                let mut event = event.clone();
                for same in SAME {
                    event.remove(same);
                }
                lines.push(event.to_json());
            })
            .unwrap();
        lines.join("\n")
    }

    #[test]
    fn what_nobody_knows_is_kept_and_said() {
        insta::assert_snapshot!(normalized("hello", ""), @r#"{"@timestamp":"2026-11-24T12:00:00Z","error":{"message":"the text is in no form that is known"},"event":{"dataset":"unknown","module":"unknown"},"message":"hello","tags":["unparsed","missing_time"]}"#);
        // Rules for the sender's own logs can name their dataset.
        insta::assert_snapshot!(normalized("hello", "my.app"), @r#"{"@timestamp":"2026-11-24T12:00:00Z","error":{"message":"the text is in no form that is known"},"event":{"dataset":"my.app","module":"my"},"message":"hello","tags":["unparsed","missing_time"],"watchpost":{"logsource":{"product":"my","service":"app"}}}"#);
        let deep = format!("{}1{}", r#"{"a":"#.repeat(90), "}".repeat(90));
        assert!(normalized(&deep, "x").contains("nested deeper"));
        assert!(normalized(r#"{"a":"#, "x").contains("EOF"));
    }

    #[test]
    fn the_sender_is_who_proved_it() {
        let sender_of = |sender: &str, payload: &str| {
            let raw = RawRecord { sender, ..RawRecord::new(payload.as_bytes(), Timestamp::EPOCH) };
            let mut seen = Event::new();
            Normalizer::default().normalize(&raw, None, &mut |event| seen = event.clone()).unwrap();
            seen.str(SENDER).map(str::to_owned)
        };
        let claim = r#"{"@timestamp":"2026-11-24T11:00:00Z","ecs":{"version":"8"},"watchpost":{"sender":"root"}}"#;
        assert_eq!(sender_of("", "hello"), None);
        assert_eq!(sender_of("", claim), None);
        assert_eq!(sender_of("web1", claim).as_deref(), Some("web1"));
    }

    #[test]
    fn the_original_of_an_envelope_is_the_envelope() {
        let payload = r#"{"line":"hello","labels":{}}"#;
        let raw = RawRecord {
            encoding: Encoding::Loki,
            ..RawRecord::new(payload.as_bytes(), Timestamp::EPOCH)
        };
        let mut seen = Event::new();
        Normalizer::default().normalize(&raw, None, &mut |event| seen = event.clone()).unwrap();
        assert_eq!(seen.str("event.original"), Some(payload));
        assert_eq!(seen.str("message"), Some("hello"));
    }

    #[test]
    fn the_original_is_kept() {
        let raw = RawRecord::new(b"\xffabc ", Timestamp::EPOCH);
        let mut seen = Event::new();
        Normalizer::default().normalize(&raw, None, &mut |event| seen = event.clone()).unwrap();
        assert_eq!(seen.str("event.original"), Some("\u{fffd}abc"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_events(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut count = 0;
            let raw = RawRecord::new(&bytes, Timestamp::EPOCH);
            Normalizer::default().normalize(&raw, None, &mut |_| count += 1).unwrap();
            prop_assert_eq!(count, 1);
        }

        #[test]
        fn any_syslog_like_text_is_an_event(
            text in "(<[0-9]{0,4}>)?(1 )?(Nov 2[0-9] 12:00:0[0-9]|2026-11-2[0-9]T1[0-9]:00:00Z|-)? ?[a-z]{0,5} (sshd|sudo|su|CRON|useradd)(\\[[0-9]{0,7}\\])?: .{0,80}"
        ) {
            let raw = RawRecord::new(text.as_bytes(), Timestamp::EPOCH);
            let mut count = 0;
            Normalizer::default().normalize(&raw, None, &mut |_| count += 1).unwrap();
            prop_assert_eq!(count, 1);
        }

        #[test]
        fn any_windows_like_json_is_an_event(
            name in "[A-Za-z#.]{0,12}", value in any::<i64>(), text in ".{0,30}",
            shape in 0..4usize,
        ) {
            let (name, text) = (serde_json::json!(name), serde_json::json!(text));
            let json = match shape {
                0 => format!(r#"{{"Event":{{"System":{{"EventID":{value},"Channel":{text}}},"EventData":{{{name}:{text}}}}}}}"#),
                1 => format!(r#"{{"winlog":{{"channel":"Security","event_id":{value},"event_data":{{{name}:{text}}}}}}}"#),
                2 => format!(r#"{{"EventID":{value},"Channel":{text},{name}:{value},"Hashes":{text},"User":{text}}}"#),
                _ => format!("<Event><System><EventID>{value}</EventID><Channel>Security</Channel></System><EventData><Data Name={name}>{value}</Data></EventData></Event>"),
            };
            let raw = RawRecord::new(json.as_bytes(), Timestamp::EPOCH);
            let mut count = 0;
            normalizer()
                .normalize(&raw, None, &mut |event| {
                    count += i32::from(event.str("event.dataset").is_some_and(|name| {
                        name.starts_with("windows.") || name == "unknown"
                    }));
                })
                .unwrap();
            prop_assert_eq!(count, 1);
        }
    }
}
