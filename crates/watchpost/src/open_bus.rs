//! Which bus the engine runs on: the embedded log in the data folder, or a Kafka cluster.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, BusError, EmbeddedBus, Retention, Topic};
use bus_kafka::{KafkaBus, Sasl, SaslMechanism, Secret, Settings, Tls, UrlError};

use crate::config::{BusSettings, Config, KafkaSettings};
use crate::engine::{EngineError, io, make_folder};
use crate::secret::{INSTANCE_BYTES, LOG_ID_BYTES, random, secret};

/// The name of the embedded log where an address of a bus is expected.
pub(crate) const EMBEDDED: &str = "embedded";

/// The consumer group of the index of an embedded log.
pub(crate) const EMBEDDED_INDEX_GROUP: &str = "indexing";

/// An open bus, and what belongs to it.
pub(crate) struct OpenBus {
    pub(crate) bus: Arc<dyn Bus>,
    /// The identity of the log, which begins the id of every event.
    pub(crate) log_id: String,
    /// The consumer group of this data folder's index. On a cluster each index has its own, because
    /// each holds everything.
    pub(crate) index_group: String,
}

/// Why a bus is not opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BusFault {
    /// The address.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// A setting of the cluster.
    #[error("kafka.{setting}: {problem}")]
    Setting {
        /// Which.
        setting: &'static str,
        /// What is wrong with it, and what to do.
        problem: String,
    },
}

/// Opens the bus that the configuration names.
pub(crate) fn open(config: &Config) -> Result<OpenBus, EngineError> {
    if config.bus.url == EMBEDDED { open_embedded(config) } else { open_kafka(config) }
}

fn open_embedded(config: &Config) -> Result<OpenBus, EngineError> {
    let folder = &config.data.folder;
    make_folder(folder)?;
    let bus = EmbeddedBus::open(folder.join("bus"), embedded_settings(&config.bus))?;
    for (topic, retention) in retention(&config.bus) {
        bus.set_retention(topic, retention)?;
    }
    let log_id = secret(&folder.join("log-id"), LOG_ID_BYTES)?;
    Ok(OpenBus { bus: Arc::new(bus), log_id, index_group: EMBEDDED_INDEX_GROUP.to_owned() })
}

fn open_kafka(config: &Config) -> Result<OpenBus, EngineError> {
    make_folder(&config.data.folder)?;
    let settings = kafka_settings(config, &config.bus.url)?;
    let instance = settings.instance.clone();
    let bus = KafkaBus::connect(settings)?;
    if config.kafka.create_topics {
        for (topic, retention) in retention(&config.bus) {
            bus.set_retention(topic, retention)?;
        }
    }
    let proposal =
        random(LOG_ID_BYTES).map_err(io("make an identity for", Path::new("the log")))?;
    let log_id = bus.identity(&proposal)?;
    Ok(OpenBus { bus: Arc::new(bus), log_id, index_group: format!("indexing.{instance}") })
}

/// The settings of the cluster at this address; the configuration says all else.
pub(crate) fn kafka_settings(config: &Config, url: &str) -> Result<Settings, EngineError> {
    let table = &config.kafka;
    let mut settings = Settings::from_url(url).map_err(BusFault::from)?;
    settings.prefix.clone_from(&table.topic_prefix);
    settings.instance = match table.instance.as_str() {
        "" => format!("i{}", secret(&config.data.folder.join("instance"), INSTANCE_BYTES)?),
        named => named.to_owned(),
    };
    settings.create_topics = table.create_topics;
    settings.partitions = table.partitions;
    settings.replication = (table.replication > 0).then_some(table.replication);
    settings.compression.clone_from(&table.compression);
    settings.session_timeout = Duration::from_secs(table.session_seconds.max(1));
    settings.client.clone_from(&table.client);
    for (topic, keep) in retention(&config.bus) {
        settings.retention[topic.index()] = keep;
    }
    settings.tls = tls(table)?;
    settings.sasl = sasl(table)?;
    Ok(settings)
}

fn tls(table: &KafkaSettings) -> Result<Option<Tls>, BusFault> {
    let is_named = |path: &Path| !path.as_os_str().is_empty();
    let identity = match (is_named(&table.tls_certificate), is_named(&table.tls_key)) {
        (true, true) => Some((table.tls_certificate.clone(), table.tls_key.clone())),
        (false, false) => None,
        (_, has_key) => {
            let setting = if has_key { "tls_certificate" } else { "tls_key" };
            let problem = "a certificate and its key belong together; name both".to_owned();
            return Err(BusFault::Setting { setting, problem });
        }
    };
    let ca = is_named(&table.tls_ca).then(|| table.tls_ca.clone());
    let is_wanted = table.tls || ca.is_some() || identity.is_some();
    Ok(is_wanted.then_some(Tls { ca, identity }))
}

fn sasl(table: &KafkaSettings) -> Result<Option<Sasl>, EngineError> {
    if table.sasl_mechanism.is_empty() {
        return Ok(None);
    }
    let mechanism = SaslMechanism::ALL
        .into_iter()
        .find(|mechanism| mechanism.as_str().eq_ignore_ascii_case(&table.sasl_mechanism))
        .ok_or_else(|| BusFault::Setting {
            setting: "sasl_mechanism",
            problem: format!(
                "{:?} is none of PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512",
                table.sasl_mechanism
            ),
        })?;
    let missing = |setting| BusFault::Setting {
        setting,
        problem: format!("is needed for {}", mechanism.as_str()),
    };
    if table.sasl_username.is_empty() {
        return Err(missing("sasl_username").into());
    }
    let file = &table.sasl_password_file;
    if file.as_os_str().is_empty() {
        return Err(missing("sasl_password_file").into());
    }
    let password = std::fs::read_to_string(file).map_err(io("read the password in", file))?;
    let username = table.sasl_username.clone();
    let password = Secret::new(password.trim_end_matches(['\r', '\n']));
    Ok(Some(Sasl { mechanism, username, password }))
}

fn embedded_settings(table: &BusSettings) -> bus::Settings {
    let mut settings = bus::Settings::default();
    for topic in [Topic::Raw, Topic::Events, Topic::Matches] {
        settings.topic_mut(topic).partitions = table.partitions.max(1);
    }
    for (topic, retention) in retention(table) {
        settings.topic_mut(topic).retention = retention;
    }
    settings
}

/// How long each topic that the configuration speaks of is kept.
fn retention(table: &BusSettings) -> [(Topic, Retention); 4] {
    let days = |days: u64| Retention {
        age: Some(Duration::from_secs(days.saturating_mul(86_400))),
        bytes: Some(table.topic_bytes_max),
    };
    [
        (Topic::Raw, days(table.raw_days)),
        (Topic::Events, days(table.events_days)),
        (Topic::Matches, days(table.events_days)),
        (Topic::Rejected, days(table.events_days)),
    ]
}

impl From<BusFault> for EngineError {
    fn from(fault: BusFault) -> Self {
        EngineError::Bus(BusError::Misconfigured { reason: fault.to_string() })
    }
}
