//! Where the cluster is, who we are to it, and how topics are made.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bus::{BusError, Retention, Topic};

/// How long a prefix and an instance name may be: the cluster's own names, which are made of them,
/// may have 249 bytes.
const NAME_BYTES_MAX: usize = 128;

/// How a [`KafkaBus`](crate::KafkaBus) connects.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `host:port` of some brokers, enough to find the others.
    pub brokers: Vec<String>,
    /// What the names of all topics, groups and transactions begin with.
    pub prefix: String,
    /// The name of this process among its copies: the same after a restart, another for each copy.
    /// A restarted process takes its own place in its groups, and ends what it left unfinished.
    pub instance: String,
    /// TLS to the brokers, if any.
    pub tls: Option<Tls>,
    /// Who we are to the brokers, if they ask.
    pub sasl: Option<Sasl>,
    /// Whether missing topics are made; otherwise a missing one is an error.
    pub create_topics: bool,
    /// Partitions of `raw`, `events` and `matches` when they are made. At most so many copies of a
    /// stage have work.
    pub partitions: u32,
    /// On how many brokers a record is kept; three, or all if there are fewer, if `None`. All but
    /// one of them must have a record before it is acknowledged.
    pub replication: Option<u16>,
    /// How long each topic is kept, when it is made.
    pub retention: [Retention; Topic::ALL.len()],
    /// How large the files of a topic become on the brokers before retention can remove one; the
    /// brokers' own setting if `None`.
    pub segment_bytes: Option<u64>,
    /// `none`, `lz4`, `zstd`, `gzip` or `snappy`.
    pub compression: String,
    /// The largest record.
    pub record_bytes_max: usize,
    /// The most bytes that are accepted and not yet acknowledged by the cluster.
    pub pending_bytes_max: usize,
    /// How long the cluster may be silent before a start gives up.
    pub connect_timeout: Duration,
    /// How long an answer to a single question may take.
    pub request_timeout: Duration,
    /// How long an append is tried.
    pub delivery_timeout: Duration,
    /// How long a copy may be silent before its partitions go to others.
    pub session_timeout: Duration,
    /// How long a stage may work on one batch before its partitions go to others.
    pub batch_timeout: Duration,
    /// How long a transaction may stay open before the cluster ends it. Until then, a copy that died
    /// in a commit hides what was written behind it.
    pub transaction_timeout: Duration,
    /// Settings of `librdkafka` by their own names, above all others.
    pub client: BTreeMap<String, String>,
}

/// TLS to the brokers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificates that sign the brokers', in PEM; the system's if `None`.
    pub ca: Option<PathBuf>,
    /// Our certificate and its key, in PEM, for brokers that ask for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Who we are to the brokers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sasl {
    /// How it is proven.
    pub mechanism: SaslMechanism,
    /// The name.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// How a client proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaslMechanism {
    /// The password itself; only sensible over TLS.
    Plain,
    /// SCRAM with SHA-256.
    ScramSha256,
    /// SCRAM with SHA-512.
    ScramSha512,
}

impl SaslMechanism {
    /// The name in Kafka's protocol.
    pub const fn as_str(self) -> &'static str {
        match self {
            SaslMechanism::Plain => "PLAIN",
            SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
            SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }

    /// Every one of them.
    pub const ALL: [SaslMechanism; 3] =
        [SaslMechanism::Plain, SaslMechanism::ScramSha256, SaslMechanism::ScramSha512];
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// A bus address that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{url:?} is no address of a bus: {reason}; write kafka://host:port,host:port")]
pub struct UrlError {
    /// The address.
    pub url: String,
    /// What is wrong.
    pub reason: &'static str,
}

impl Settings {
    /// Settings for the cluster at these brokers, all else at its default.
    pub fn new(brokers: Vec<String>) -> Self {
        Settings {
            brokers,
            prefix: "watchpost.".to_owned(),
            instance: "watchpost".to_owned(),
            tls: None,
            sasl: None,
            create_topics: true,
            partitions: 6,
            replication: None,
            retention: [Retention::default(); Topic::ALL.len()],
            segment_bytes: None,
            compression: "lz4".to_owned(),
            record_bytes_max: bus::RECORD_BYTES_MAX,
            pending_bytes_max: 64 * 1024 * 1024,
            connect_timeout: Duration::from_secs(15),
            request_timeout: Duration::from_secs(10),
            delivery_timeout: Duration::from_secs(60),
            session_timeout: Duration::from_secs(20),
            batch_timeout: Duration::from_secs(300),
            transaction_timeout: Duration::from_secs(15),
            client: BTreeMap::new(),
        }
    }

    /// Settings from an address like `kafka://host:port,host:port`.
    ///
    /// # Errors
    /// When the text is something else, or has a password in it.
    pub fn from_url(url: &str) -> Result<Self, UrlError> {
        let wrong = |reason| UrlError { url: url.to_owned(), reason };
        let list = url.strip_prefix("kafka://").ok_or_else(|| wrong("it has another scheme"))?;
        if list.contains('@') {
            return Err(UrlError {
                // Not repeated: there is a password in it.
                url: "kafka://...@...".to_owned(),
                reason: "names and passwords belong into the configuration's [kafka] table",
            });
        }
        let list = list.strip_suffix('/').unwrap_or(list);
        let mut brokers = Vec::new();
        for broker in list.split(',') {
            let Some((host, port)) = broker.rsplit_once(':') else {
                return Err(wrong("a broker has no port"));
            };
            if host.is_empty() || port.parse::<u16>().is_err() {
                return Err(wrong("a broker is not host:port"));
            }
            brokers.push(broker.to_owned());
        }
        Ok(Settings::new(brokers))
    }

    /// Refuses names that the cluster would refuse, each in its own way and much later, and files
    /// that cannot be read, which the client library does not name.
    pub(crate) fn check(&self) -> Result<(), BusError> {
        let is_name = |name: &str| {
            name.len() <= NAME_BYTES_MAX
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        for (what, name) in [("prefix", &self.prefix), ("instance", &self.instance)] {
            if !is_name(name) || (what == "instance" && name.is_empty()) {
                return Err(BusError::Misconfigured {
                    reason: format!(
                        "kafka.{what} cannot be {name:?}; use up to {NAME_BYTES_MAX} letters, digits, '-', '_' or '.'"
                    ),
                });
            }
        }
        let files = self.tls.iter().flat_map(|tls| {
            let identity = tls.identity.iter().flat_map(|(certificate, key)| [certificate, key]);
            tls.ca.iter().chain(identity)
        });
        for file in files {
            std::fs::File::open(file).map_err(|error| BusError::Misconfigured {
                reason: format!("cannot read {}, which [kafka] names: {error}", file.display()),
            })?;
        }
        Ok(())
    }

    /// How many partitions a topic has when it is made.
    pub(crate) fn partitions_of(&self, topic: Topic) -> u32 {
        match topic {
            Topic::Raw | Topic::Events | Topic::Matches => self.partitions.max(1),
            // Few records, and an order that people like to see.
            Topic::Alerts | Topic::Rejected => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let settings = Settings::from_url("kafka://a:9092,[::1]:9093/").unwrap();
        assert_eq!(settings.brokers, ["a:9092", "[::1]:9093"]);
        for wrong in ["", "kafka://", "kafka://a", "kafka://:1", "kafka://a:x", "http://a:1"] {
            let error = Settings::from_url(wrong).unwrap_err();
            assert!(error.to_string().contains("kafka://host:port"), "{error}");
        }
    }

    #[test]
    fn a_password_in_an_address_is_refused_and_not_repeated() {
        let error = Settings::from_url("kafka://me:hunter2@a:9092").unwrap_err().to_string();
        assert!(!error.contains("hunter2") && error.contains("[kafka]"), "{error}");
        let secret = Secret::new("hunter2");
        assert!(!format!("{secret:?}").contains("hunter2"));
    }
}
