//! What a listener hands on: the shipper's payload, byte for byte, and what the listener knew.
//!
//! On the bus the payload is the record's value and the rest travels in headers, so a shipper may
//! also write to the topic itself with no headers at all; every one of them is optional and has a
//! meaning when it is missing.

use std::fmt;
use std::str::FromStr;

use crate::Timestamp;

/// Header: when the listener received the record, RFC 3339. Missing: the bus's append time.
pub const RECEIVED: &str = "received";
/// Header: the listener or reader that took it (`http`, `syslog-udp`, `file`, ...).
pub const LISTENER: &str = "listener";
/// The listener of what was read from files: its peer is a path, not an address.
pub const LISTENER_FILE: &str = "file";
/// Header: the sender's address, or the path of the file it was read from.
pub const PEER: &str = "peer";
/// Header: the dataset that the sender named. Missing or empty: normalisation finds it out.
pub const DATASET: &str = "dataset";
/// Header: the namespace. Missing: `default`.
pub const NAMESPACE: &str = "namespace";
/// Header: where in the peer the record stood: a line number, a record id, or, in a file that is
/// followed, the byte it begins at. A decimal number.
pub const POSITION: &str = "position";
/// Header: the name of the sender, where it proved who it is. Missing: nobody was asked.
pub const SENDER: &str = "sender";
/// Header: how the payload is written ([`Encoding`]). Missing: found out from the bytes.
pub const ENCODING: &str = "encoding";

/// The namespace of a record that names none (ECS `data_stream.namespace`).
pub const NAMESPACE_DEFAULT: &str = "default";

/// How a payload is written, where a reader knows it.
///
/// The last six are envelopes of protocols: JSON objects in which a record and what its shipper
/// says of it stand side by side. Normalisation opens them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Encoding {
    /// Not known; found out from the first bytes.
    #[default]
    Unknown,
    /// One JSON value.
    Json,
    /// One syslog message without its framing.
    Syslog,
    /// One line of text in no known form.
    Text,
    /// An event of Splunk's HTTP Event Collector as it was sent:
    /// `{"time":1.5,"host":"a","source":"b","sourcetype":"c","fields":{},"event":...}`.
    Hec,
    /// One log record of OTLP with where it is from, in OTLP's JSON:
    /// `{"resource":{"attributes":[...]},"scope":{...},"logRecord":{...}}`.
    Otlp,
    /// A GELF message as it was sent, unpacked.
    Gelf,
    /// A line of Grafana Loki:
    /// `{"labels":{"job":"a"},"timestamp":"<ns since 1970>","line":"...","metadata":{}}`.
    Loki,
    /// An entry of systemd's journal in the form of `journalctl -o json`.
    Journal,
    /// An event of Fluentd's forward protocol: `{"tag":"a.b","time":1.5,"record":{...}}`; the time
    /// in seconds, or as RFC 3339 text where it has nanoseconds.
    Forward,
}

impl Encoding {
    /// All of them.
    pub const ALL: [Encoding; 10] = [
        Encoding::Unknown,
        Encoding::Json,
        Encoding::Syslog,
        Encoding::Text,
        Encoding::Hec,
        Encoding::Otlp,
        Encoding::Gelf,
        Encoding::Loki,
        Encoding::Journal,
        Encoding::Forward,
    ];

    /// The header's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Encoding::Unknown => "unknown",
            Encoding::Json => "json",
            Encoding::Syslog => "syslog",
            Encoding::Text => "text",
            Encoding::Hec => "hec",
            Encoding::Otlp => "otlp",
            Encoding::Gelf => "gelf",
            Encoding::Loki => "loki",
            Encoding::Journal => "journal",
            Encoding::Forward => "forward",
        }
    }
}

impl FromStr for Encoding {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Encoding::ALL.into_iter().find(|encoding| encoding.as_str() == text).ok_or(())
    }
}

/// One payload as a shipper sent it, with what the listener knows. Borrows everything.
#[derive(Debug, Clone, Copy)]
pub struct RawRecord<'a> {
    /// The bytes as they came, without transport framing.
    pub payload: &'a [u8],
    /// When it arrived.
    pub received: Timestamp,
    /// Which listener or reader took it.
    pub listener: &'a str,
    /// The sender's address or file path; empty if not known.
    pub peer: &'a str,
    /// Who sent it, by the name that it proved; empty if nobody was asked.
    pub sender: &'a str,
    /// The dataset that the sender named; empty if none.
    pub dataset: &'a str,
    /// The namespace, never empty.
    pub namespace: &'a str,
    /// Line number, record id or byte within the peer, where there is one.
    pub position: Option<u64>,
    /// How the payload is written.
    pub encoding: Encoding,
}

impl<'a> RawRecord<'a> {
    /// A record of which nothing but the payload and the time is known.
    pub fn new(payload: &'a [u8], received: Timestamp) -> Self {
        RawRecord {
            payload,
            received,
            listener: "",
            peer: "",
            sender: "",
            dataset: "",
            namespace: NAMESPACE_DEFAULT,
            position: None,
            encoding: Encoding::Unknown,
        }
    }

    /// Takes what it knows from a header of the bus; unknown names and unreadable values are left.
    pub fn read_header(&mut self, name: &str, value: &'a [u8]) {
        let Ok(text) = std::str::from_utf8(value) else { return };
        match name {
            RECEIVED => self.received = Timestamp::parse_rfc3339(text).unwrap_or(self.received),
            LISTENER => self.listener = text,
            PEER => self.peer = text,
            SENDER => self.sender = text,
            DATASET => self.dataset = text,
            NAMESPACE if !text.is_empty() => self.namespace = text,
            POSITION => self.position = text.parse().ok(),
            ENCODING => self.encoding = text.parse().unwrap_or_default(),
            _ => {}
        }
    }
}

/// The id of an event, and with it the place of its original: log, partition and offset of the
/// raw record, and which event of that record it is. A replay of the log gives the same ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventId<'a> {
    /// Identity of the log (bus or cluster) that holds the raw record.
    pub log: &'a str,
    /// Partition of the topic `raw`.
    pub partition: u32,
    /// Offset in that partition.
    pub offset: u64,
    /// Which event of that record, from 0; a record may hold several (CloudTrail's `Records`).
    pub index: u32,
}

impl fmt::Display for EventId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.log, self.partition, self.offset)?;
        if self.index > 0 { write!(f, "-{}", self.index) } else { Ok(()) }
    }
}
