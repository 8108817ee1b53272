//! The configuration: one TOML file, every setting with a default, the environment on top.
//!
//! A setting `listen` of table `[server]` is overridden by `WATCHPOST_SERVER_LISTEN`. A name that
//! does not exist is an error, in the file (with its line) and in the environment: a misspelt
//! setting that is silently ignored is how a listener stays open.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::{Path, PathBuf};

use cluster::{Cluster, ClusterError};
use ingest::SenderSettings;
use ingest::privacy::PrivacyRule;
use ingest::tail::FileSettings;
use serde::Deserialize;

use crate::address::{Address, Addresses};
use crate::open_bus::EMBEDDED;

/// What the environment's overrides begin with.
const PREFIX: &str = "WATCHPOST_";

/// Variables of that prefix that are not settings.
const NOT_SETTINGS: [&str; 5] = [
    "WATCHPOST_BACKUP_KEY_FILE",
    "WATCHPOST_CONFIG",
    "WATCHPOST_DATA",
    "WATCHPOST_LOG",
    "WATCHPOST_TOKEN",
];

/// What the variables of tests begin with; they are no settings either.
const TEST_PREFIX: &str = "WATCHPOST_TEST_";

/// All settings.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Where everything is kept.
    pub(crate) data: Data,
    /// The HTTP server: pages, API, `POST /ingest/...`.
    pub(crate) server: Server,
    /// The identity of all listeners that speak TLS.
    pub(crate) tls: TlsSettings,
    /// Who may send.
    pub(crate) ingest: IngestSettings,
    /// What is told of sources that change.
    pub(crate) sources: SourceSettings,
    /// Senders with a name and rights.
    pub(crate) senders: Vec<SenderTable>,
    /// What of records must not be stored.
    pub(crate) privacy: Vec<PrivacyRule>,
    /// What shippers speak over HTTP.
    pub(crate) shippers: Shippers,
    /// Syslog listeners.
    pub(crate) syslog: Syslog,
    /// Fluentd's forward protocol.
    pub(crate) fluent: Fluent,
    /// Beats' and Logstash's protocol.
    pub(crate) lumberjack: Lumberjack,
    /// Graylog's format.
    pub(crate) gelf: Gelf,
    /// Log files of this machine, as many tables as there are kinds.
    pub(crate) files: Vec<FileSettings>,
    /// What tables know of events.
    pub(crate) enrichment: enrichment::Settings,
    /// Rules and pipelines.
    pub(crate) rules: Rules,
    /// Saved and scheduled searches.
    pub(crate) searches: SavedSearchSettings,
    /// The bus.
    pub(crate) bus: BusSettings,
    /// The Kafka cluster, if it is the bus.
    pub(crate) kafka: KafkaSettings,
    /// The index.
    pub(crate) index: IndexSettings,
    /// How long events of some datasets are kept in it, where that is not for `index.days`.
    pub(crate) retention: Vec<RetentionTable>,
    /// What answers searches.
    pub(crate) search: SearchSettings,
}

/// `[data]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Data {
    /// The folder that holds the bus, the index and the token.
    pub(crate) folder: PathBuf,
}

impl Default for Data {
    fn default() -> Self {
        Data { folder: PathBuf::from("watchpost-data") }
    }
}

/// `[server]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Server {
    /// The address; loopback unless it speaks TLS, or `insecure`.
    pub(crate) listen: Address,
    /// Allows listening beyond loopback without TLS.
    pub(crate) insecure: bool,
    /// The most bytes of one `POST /ingest/...` body, after decompression.
    pub(crate) body_bytes_max: usize,
}

impl Default for Server {
    fn default() -> Self {
        Server { listen: local(8480), insecure: false, body_bytes_max: 64 * 1024 * 1024 }
    }
}

/// A port of this machine.
fn local(port: u16) -> Address {
    Address::local(([127, 0, 0, 1], port).into())
}

/// `[tls]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TlsSettings {
    /// Our certificate and those between it and the root, in PEM. Empty: no TLS.
    pub(crate) certificate: PathBuf,
    /// Its key, in PEM.
    pub(crate) key: PathBuf,
    /// Certificates that sign those of clients, in PEM.
    pub(crate) client_ca: PathBuf,
}

/// `[ingest]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct IngestSettings {
    /// Whether a protocol that asks for no proof takes logs from addresses of no sender.
    pub(crate) unknown_senders: bool,
    /// The key of the hashes that privacy rules make, 64 hexadecimal digits; empty: `privacy.key` in
    /// the data folder, made when it is needed.
    pub(crate) privacy_key: PathBuf,
}

impl Default for IngestSettings {
    fn default() -> Self {
        IngestSettings { unknown_senders: true, privacy_key: PathBuf::new() }
    }
}

/// `[sources]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SourceSettings {
    /// Files and folders of sources of your own, beside the built-in ones.
    pub(crate) paths: Vec<PathBuf>,
    /// How long a source that sends steadily may send nothing; 0 to watch none.
    pub(crate) silent_after_seconds: u64,
    /// How many times more or less than usual a source may send; 0 for any.
    pub(crate) volume_factor: u64,
}

impl Default for SourceSettings {
    fn default() -> Self {
        SourceSettings { paths: Vec::new(), silent_after_seconds: 3600, volume_factor: 10 }
    }
}

/// `[[senders]]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SenderTable {
    /// Its name: on every record, in the log, in metrics.
    pub(crate) name: String,
    /// The file with its secret: a token, a password, a shared key.
    pub(crate) secret_file: PathBuf,
    /// A name in its certificate.
    pub(crate) certificate: String,
    /// Networks that it may send from.
    pub(crate) addresses: Vec<String>,
    /// The dataset of what names none.
    pub(crate) dataset: String,
    /// The datasets that it may name; any if empty.
    pub(crate) datasets: Vec<String>,
    /// The namespace of all that it sends.
    pub(crate) namespace: String,
}

/// `[shippers]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Shippers {
    /// Addresses for all that is spoken over HTTP; empty for none.
    pub(crate) listen: Addresses,
}

impl Default for Shippers {
    fn default() -> Self {
        Shippers { listen: Addresses(vec![local(8481)]) }
    }
}

/// `[syslog]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Syslog {
    /// Addresses for datagrams; empty for none.
    pub(crate) udp: Addresses,
    /// Addresses for connections, plain or TLS; empty for none.
    pub(crate) tcp: Addresses,
}

impl Default for Syslog {
    fn default() -> Self {
        Syslog { udp: Addresses(vec![local(5514)]), tcp: Addresses(vec![local(5514)]) }
    }
}

/// `[fluent]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Fluent {
    /// Addresses for Fluentd's forward protocol; empty for none.
    pub(crate) listen: Addresses,
}

/// `[lumberjack]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Lumberjack {
    /// Addresses for `output.logstash` of Beats; empty for none.
    pub(crate) listen: Addresses,
}

/// `[gelf]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Gelf {
    /// Addresses for connections; empty for none.
    pub(crate) tcp: Addresses,
    /// Addresses for datagrams; empty for none.
    pub(crate) udp: Addresses,
}

/// `[rules]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Rules {
    /// Files and folders of Sigma rules, beside the built-in ones.
    pub(crate) paths: Vec<PathBuf>,
    /// Files of processing pipelines, applied after the built-in ones.
    pub(crate) pipelines: Vec<PathBuf>,
    /// Whether the rules that come with Watchpost are loaded.
    pub(crate) builtin: bool,
    /// How often changed files are looked for, in seconds; 0 for never.
    pub(crate) reload_seconds: u64,
}

impl Default for Rules {
    fn default() -> Self {
        Rules { paths: Vec::new(), pipelines: Vec::new(), builtin: true, reload_seconds: 5 }
    }
}

/// `[searches]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SavedSearchSettings {
    /// Files and folders of saved searches, beside the built-in ones.
    pub(crate) paths: Vec<PathBuf>,
    /// Whether the searches that come with Watchpost are loaded.
    pub(crate) builtin: bool,
}

impl Default for SavedSearchSettings {
    fn default() -> Self {
        SavedSearchSettings { paths: Vec::new(), builtin: true }
    }
}

/// `[bus]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct BusSettings {
    /// `embedded`, or `kafka://host:port,host:port`.
    pub(crate) url: String,
    /// Partitions of each topic of the embedded log; fixed when the data folder is made.
    pub(crate) partitions: u32,
    /// Days that raw records are kept.
    pub(crate) raw_days: u64,
    /// Days that events, matches and rejected records are kept on the bus (not in the index).
    pub(crate) events_days: u64,
    /// The most bytes of each topic.
    pub(crate) topic_bytes_max: u64,
    /// With more records than this still to be read by a stage, nothing is taken in.
    pub(crate) unread_records_max: u64,
    /// With more bytes than this on disk still to be read by a stage, nothing is taken in; at most
    /// half of `topic_bytes_max` counts, so that nothing unread is removed for its size.
    pub(crate) unread_bytes_max: u64,
}

impl Default for BusSettings {
    fn default() -> Self {
        BusSettings {
            url: EMBEDDED.to_owned(),
            partitions: 2,
            raw_days: 7,
            events_days: 3,
            topic_bytes_max: 20 * 1024 * 1024 * 1024,
            unread_records_max: 20_000_000,
            unread_bytes_max: 8 * 1024 * 1024 * 1024,
        }
    }
}

/// `[kafka]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct KafkaSettings {
    /// What the names of topics and groups begin with.
    pub(crate) topic_prefix: String,
    /// The name of this process among its copies; made once per data folder if empty.
    pub(crate) instance: String,
    /// Whether missing topics are made.
    pub(crate) create_topics: bool,
    /// Partitions of topics that are made: at most so many copies of a stage have work.
    pub(crate) partitions: u32,
    /// On how many brokers a record is kept; 0 for three, or all if there are fewer.
    pub(crate) replication: u16,
    /// none, lz4, zstd, gzip or snappy.
    pub(crate) compression: String,
    /// How long a copy may be silent before its partitions go to others.
    pub(crate) session_seconds: u64,
    /// Whether to speak TLS; naming a file below implies it.
    pub(crate) tls: bool,
    /// Certificates that sign the brokers', in PEM; the system's if empty.
    pub(crate) tls_ca: PathBuf,
    /// Our certificate, in PEM.
    pub(crate) tls_certificate: PathBuf,
    /// The key of our certificate, in PEM.
    pub(crate) tls_key: PathBuf,
    /// PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; empty for none.
    pub(crate) sasl_mechanism: String,
    /// The user's name.
    pub(crate) sasl_username: String,
    /// The file with the user's password.
    pub(crate) sasl_password_file: PathBuf,
    /// Topics that others write, read into `raw`.
    pub(crate) input_topics: Vec<String>,
    /// The cluster that has them, `kafka://host:port`; that of the bus if empty.
    pub(crate) input_url: String,
    /// The consumer group that reads them.
    pub(crate) input_group: String,
    /// Their dataset; found out if empty.
    pub(crate) input_dataset: String,
    /// Settings of librdkafka by their own names, above all others.
    pub(crate) client: BTreeMap<String, String>,
}

impl Default for KafkaSettings {
    fn default() -> Self {
        KafkaSettings {
            topic_prefix: "watchpost.".to_owned(),
            instance: String::new(),
            create_topics: true,
            partitions: 6,
            replication: 0,
            compression: "lz4".to_owned(),
            session_seconds: 20,
            tls: false,
            tls_ca: PathBuf::new(),
            tls_certificate: PathBuf::new(),
            tls_key: PathBuf::new(),
            sasl_mechanism: String::new(),
            sasl_username: String::new(),
            sasl_password_file: PathBuf::new(),
            input_topics: Vec::new(),
            input_url: String::new(),
            input_group: "watchpost".to_owned(),
            input_dataset: String::new(),
            client: BTreeMap::new(),
        }
    }
}

/// `[index]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct IndexSettings {
    /// Days that events stay searchable whose dataset no table `[[retention]]` names; and alerts.
    pub(crate) days: u32,
    /// The most bytes of files that these events may take; 0 for any.
    pub(crate) bytes_max: u64,
    /// The most memory of the indexer, in megabytes.
    pub(crate) memory_mb_max: usize,
}

impl Default for IndexSettings {
    fn default() -> Self {
        IndexSettings { days: 90, bytes_max: 0, memory_mb_max: 256 }
    }
}

/// `[[retention]]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetentionTable {
    /// The datasets: a name, or a pattern with `*`.
    pub(crate) dataset: String,
    /// Days that their events stay searchable; `index.days` if left out.
    pub(crate) days: Option<NonZeroU32>,
    /// The most bytes of files that their events may take together; any if left out.
    pub(crate) bytes_max: Option<NonZeroU64>,
}

/// `[search]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SearchSettings {
    /// Who answers.
    pub(crate) backend: Backend,
    /// Where the cluster is.
    pub(crate) url: String,
    /// The cluster's indices of events; a day is put for the star where they are written.
    pub(crate) events: String,
    /// The cluster's indices of alerts.
    pub(crate) alerts: String,
    /// Whether we write events and alerts there, rather than somebody else from the topics.
    pub(crate) feed: bool,
    /// Who we are to it.
    pub(crate) user: String,
    /// The file with the user's password.
    pub(crate) password_file: PathBuf,
    /// The file with an API key, instead of user and password.
    pub(crate) api_key_file: PathBuf,
    /// Certificates that sign the cluster's, in PEM; the system's if empty.
    pub(crate) ca: PathBuf,
}

/// What answers searches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Backend {
    /// The index of this machine.
    Index,
    /// A cluster of OpenSearch or Elasticsearch.
    Elasticsearch,
}

impl Default for SearchSettings {
    fn default() -> Self {
        let settings = cluster::Settings::default();
        SearchSettings {
            backend: Backend::Index,
            url: settings.url,
            events: settings.events,
            alerts: settings.alerts,
            feed: true,
            user: settings.user,
            password_file: settings.password_file,
            api_key_file: settings.api_key_file,
            ca: settings.ca,
        }
    }
}

impl SearchSettings {
    /// The cluster, if one answers.
    ///
    /// # Errors
    /// When a setting is wrong. The cluster is not asked anything yet.
    pub(crate) fn cluster(&self) -> Result<Option<Cluster>, ClusterError> {
        if self.backend == Backend::Index {
            return Ok(None);
        }
        Cluster::new(cluster::Settings {
            url: self.url.clone(),
            events: self.events.clone(),
            alerts: self.alerts.clone(),
            user: self.user.clone(),
            password_file: self.password_file.clone(),
            api_key_file: self.api_key_file.clone(),
            ca: self.ca.clone(),
        })
        .map(Some)
    }
}

impl SenderTable {
    fn read(&self) -> Result<SenderSettings, ConfigError> {
        let path = &self.secret_file;
        let secret = match path.as_os_str().is_empty() {
            true => String::new(),
            false => std::fs::read_to_string(path)
                .map_err(|error| ConfigError::Secret { path: path.clone(), error })?,
        };
        Ok(SenderSettings {
            name: self.name.clone(),
            secret: secret.trim().to_owned(),
            certificate: self.certificate.clone(),
            addresses: self.addresses.clone(),
            dataset: self.dataset.clone(),
            datasets: self.datasets.clone(),
            namespace: self.namespace.clone(),
        })
    }
}

/// A fault in the configuration; the text names the place and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file can't be read.
    #[error("cannot read the configuration {}: {error}", path.display())]
    Read { path: PathBuf, error: std::io::Error },
    /// The file of a sender's secret can't be read.
    #[error("cannot read the secret of a sender, {}: {error}", path.display())]
    Secret { path: PathBuf, error: std::io::Error },
    /// The text is wrong; TOML's message has line and column.
    #[error("{place}: {message}")]
    Wrong { place: String, message: String },
}

impl Config {
    /// Reads the file, if one is named, and the environment's overrides.
    pub(crate) fn load(path: Option<&Path>) -> Result<Config, ConfigError> {
        let text = match path {
            None => String::new(),
            Some(path) => std::fs::read_to_string(path)
                .map_err(|error| ConfigError::Read { path: path.to_owned(), error })?,
        };
        let place = path.map_or("configuration".into(), |path| path.display().to_string());
        Config::from_text(&text, &place, std::env::vars())
    }

    /// The senders, with their secrets.
    ///
    /// # Errors
    /// When the file of a secret can't be read.
    pub(crate) fn senders(&self) -> Result<Vec<SenderSettings>, ConfigError> {
        self.senders.iter().map(SenderTable::read).collect()
    }

    fn from_text(
        text: &str,
        place: &str,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Config, ConfigError> {
        // The file alone first: its errors then have their own line and column.
        let config: Config = toml::from_str(text).map_err(|error| ConfigError::Wrong {
            place: place.to_owned(),
            message: error.to_string(),
        })?;
        let mut table: toml::Table = toml::from_str(text).unwrap_or_default();
        let mut overridden = false;
        for (name, value) in environment {
            let Some(rest) = name.strip_prefix(PREFIX) else { continue };
            if NOT_SETTINGS.contains(&name.as_str()) || name.starts_with(TEST_PREFIX) {
                continue;
            }
            let wrong = |message: String| ConfigError::Wrong {
                place: format!("environment variable {name}"),
                message,
            };
            let rest = rest.to_ascii_lowercase();
            let Some((section_name, key)) = rest.split_once('_') else {
                return Err(wrong("settings are named WATCHPOST_TABLE_KEY".into()));
            };
            let section = table
                .entry(section_name)
                .or_insert_with(|| toml::Table::new().into())
                .as_table_mut()
                .ok_or_else(|| wrong("is no table of settings".into()))?;
            let value = read_value(&value);
            section.insert(key.to_owned(), value.clone());
            if value.is_str() && parsed(&table).is_err() {
                // One path is a list of one: WATCHPOST_RULES_PATHS=/etc/rules.
                let mut list = table.clone();
                if let Some(section) =
                    list.get_mut(section_name).and_then(toml::Value::as_table_mut)
                {
                    section.insert(key.to_owned(), toml::Value::Array(vec![value]));
                }
                if parsed(&list).is_ok() {
                    table = list;
                }
            }
            overridden = true;
            // Told one by one, so that the message can name the variable.
            parsed(&table).map_err(|error| wrong(error.message().to_owned()))?;
        }
        if !overridden {
            return Ok(config);
        }
        table.try_into().map_err(|error: toml::de::Error| ConfigError::Wrong {
            place: place.to_owned(),
            message: error.to_string(),
        })
    }
}

fn parsed(table: &toml::Table) -> Result<Config, toml::de::Error> {
    table.clone().try_into()
}

/// A variable's text as TOML would read it; a text that is no TOML value stands for itself.
fn read_value(text: &str) -> toml::Value {
    toml::from_str::<toml::Table>(&format!("value = {text}"))
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| toml::Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use indexing::Keep;
    use insta::assert_snapshot;

    use super::Config;

    fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
        let environment = environment.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
        Config::from_text(text, "watchpost.toml", environment).map_err(|error| error.to_string())
    }

    #[test]
    fn everything_has_a_default() {
        assert_eq!(load("", &[]).unwrap(), Config::default());
    }

    #[test]
    fn the_file_to_start_from_says_the_defaults() {
        let text = include_str!("../../../deploy/watchpost.toml");
        assert_eq!(load(text, &[]).unwrap(), Config::default());
        // What is commented out is right too.
        let files: String = text
            .lines()
            .skip_while(|line| *line != "# [[files]]")
            .map_while(|line| line.strip_prefix("# "))
            .map(|line| format!("{line}\n"))
            .collect();
        let config = load(&files, &[]).unwrap();
        let paths = config.files[0].paths.clone();
        assert_eq!(config.files, [super::FileSettings { paths, ..super::FileSettings::default() }]);
    }

    #[test]
    fn the_environment_is_on_top() {
        let config = load(
            "[server]\nlisten = \"127.0.0.1:1\"\n[rules]\nbuiltin = true\n",
            &[
                ("WATCHPOST_SERVER_LISTEN", "127.0.0.1:2"),
                ("WATCHPOST_RULES_BUILTIN", "false"),
                ("WATCHPOST_RULES_PATHS", "[\"a\", \"b\"]"),
                ("WATCHPOST_RULES_PIPELINES", "/etc/one.yml"),
                ("WATCHPOST_BUS_RAW_DAYS", "1"),
                ("PATH", "/bin"),
            ],
        )
        .unwrap();
        assert_eq!(config.server.listen.socket.port(), 2);
        assert!(!config.rules.builtin);
        assert_eq!(config.rules.paths.len(), 2);
        assert_eq!(config.rules.pipelines, [std::path::PathBuf::from("/etc/one.yml")]);
        assert_eq!(config.bus.raw_days, 1);
    }

    #[test]
    fn retention_is_by_dataset() {
        let config = load(
            "[index]\ndays = 60\nbytes_max = 100\n[[retention]]\ndataset = \"linux.*\"\ndays = 30\n\
             [[retention]]\ndataset = \"dns\"\nbytes_max = 10737418240\n",
            &[],
        )
        .unwrap();
        let retention = config.index_options().retention;
        assert_eq!(retention.default, Keep { days: Some(60), bytes_max: Some(100) });
        let keeps: Vec<Keep> = retention.datasets.iter().map(|(_, keep)| *keep).collect();
        let large = Keep { days: Some(60), bytes_max: Some(10 << 30) };
        assert_eq!(keeps, [Keep { days: Some(30), bytes_max: None }, large]);
        let nothing = load("[[retention]]\ndataset = \"dns\"\ndays = 0\n", &[]).unwrap_err();
        assert!(nothing.contains("line 3") && nothing.contains("nonzero"), "{nothing}");
        let nameless = load("[[retention]]\ndays = 7\n", &[]).unwrap_err();
        assert!(nameless.contains("missing field `dataset`"), "{nameless}");
    }

    #[test]
    fn a_fault_names_its_place() {
        assert_snapshot!(load("[server]\nlisen = \"x\"\n", &[]).unwrap_err(), @r#"
        watchpost.toml: TOML parse error at line 2, column 1
          |
        2 | lisen = "x"
          | ^^^^^
        unknown field `lisen`, expected one of `listen`, `insecure`, `body_bytes_max`
        "#);
        assert_snapshot!(load("", &[("WATCHPOST_SERVER_PORT", "1")]).unwrap_err(), @"environment variable WATCHPOST_SERVER_PORT: unknown field `port`, expected one of `listen`, `insecure`, `body_bytes_max`");
        assert_snapshot!(load("", &[("WATCHPOST_BUS_PARTITIONS", "many")]).unwrap_err(), @r#"environment variable WATCHPOST_BUS_PARTITIONS: invalid type: string "many", expected u32"#);
    }
}
