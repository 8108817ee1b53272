//! What an event does not say itself and tables know: where an address is and whose, which domain a
//! name belongs to, what a user agent is, which flow a connection is (community id), and what the
//! operator's own tables (watchlists) hold of hosts, users and addresses.
//!
//! [`Tables`] are read from files and never change; [`Enrichment`] exchanges them while stages run.
//! [`Enricher`] is one worker's: the tables, and memory of what it looked up last. A field that the
//! event has already is never replaced: its sender knew better.

mod agent;
mod cache;
mod community;
mod domain;
mod geo;
mod watchlist;

use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use event::Event;
use prometheus::{IntCounterVec, Opts};
use serde::Deserialize;

use crate::cache::Cache;
pub use crate::geo::Geo;
pub use crate::watchlist::{KeyKind, ROW_BYTES_MAX, ROWS_MAX, Watchlist, WatchlistSettings};

/// The most bytes of one file of tables.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// What is looked up.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Databases in MaxMind's format (`.mmdb`): places, autonomous systems. Later ones add what
    /// earlier ones do not know.
    pub geo: Vec<PathBuf>,
    /// Whether names of hosts get the domain that somebody registered, by the public suffix list.
    pub registered_domain: bool,
    /// Whether user agents are read.
    pub user_agent: bool,
    /// Whether connections get their community id.
    pub community_id: bool,
    /// How often files are looked at for changes; 0 for never.
    pub reload_seconds: u64,
    /// Tables of the operator's own.
    pub watchlists: Vec<WatchlistSettings>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            geo: Vec::new(),
            registered_domain: true,
            user_agent: true,
            community_id: true,
            reload_seconds: 10,
            watchlists: Vec::new(),
        }
    }
}

/// Why tables can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file that can't be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file over [`FILE_BYTES_MAX`].
    #[error("{}: {bytes} bytes; at most {FILE_BYTES_MAX} are taken", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
    },
    /// A database in another format than MaxMind's, or a damaged one.
    #[error("{}: not a database in MaxMind's format: {source}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// Why.
        source: maxminddb::MaxMindDbError,
    },
    /// A watchlist with a fault.
    #[error("{}:{line}: {problem}", path.display())]
    Watchlist {
        /// The file.
        path: PathBuf,
        /// The line, from 1; 0 if the fault is in no line.
        line: u64,
        /// What is wrong, and what was meant.
        problem: String,
    },
}

/// All tables as they were in the files.
#[derive(Debug, Default)]
pub struct Tables {
    registered_domain: bool,
    user_agent: bool,
    community_id: bool,
    geo: Geo,
    watchlists: Vec<Watchlist>,
}

impl Tables {
    /// Reads the files that the settings name.
    ///
    /// # Errors
    /// [`Error`], for the first file that can't be used.
    pub fn load(settings: &Settings) -> Result<Tables, Error> {
        Ok(Tables {
            registered_domain: settings.registered_domain,
            user_agent: settings.user_agent,
            community_id: settings.community_id,
            geo: Geo::load(&settings.geo)?,
            watchlists: settings
                .watchlists
                .iter()
                .map(Watchlist::load)
                .collect::<Result<_, _>>()?,
        })
    }
}

/// Reads a file of tables within its limit.
fn read_file(path: &std::path::Path) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(Error::TooLarge { path: path.to_owned(), bytes });
    }
    std::fs::read(path).map_err(failed)
}

/// Tables that are exchanged when their files change. Cheap to clone; all clones see the same.
#[derive(Debug, Clone, Default)]
pub struct Enrichment {
    settings: Arc<Settings>,
    current: Arc<ArcSwap<Tables>>,
    /// The files as they were before they were read last.
    seen: Arc<Mutex<Vec<Stamp>>>,
}

/// When a file was last written, and how long it is; none if it is not there.
type Stamp = Option<(SystemTime, u64)>;

impl Enrichment {
    /// Reads the tables.
    ///
    /// # Errors
    /// [`Error`], for the first file that can't be used.
    pub fn open(settings: Settings) -> Result<Enrichment, Error> {
        let seen = stamps(&settings);
        let current = Arc::new(ArcSwap::from_pointee(Tables::load(&settings)?));
        Ok(Enrichment { settings: Arc::new(settings), current, seen: Arc::new(Mutex::new(seen)) })
    }

    /// How often [`Enrichment::refresh`] is wanted; none if never.
    pub fn reload_every(&self) -> Option<std::time::Duration> {
        let has_files = !self.settings.geo.is_empty() || !self.settings.watchlists.is_empty();
        let seconds = self.settings.reload_seconds;
        (has_files && seconds > 0).then(|| std::time::Duration::from_secs(seconds))
    }

    /// Reads the files again if one changed since they were read last. True if they were exchanged.
    ///
    /// # Errors
    /// [`Error`]; the tables stay as they are then, and are read again after the next change.
    pub fn refresh(&self) -> Result<bool, Error> {
        let now = stamps(&self.settings);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if now == *seen {
            return Ok(false);
        }
        *seen = now;
        self.current.store(Arc::new(Tables::load(&self.settings)?));
        Ok(true)
    }
}

fn stamps(settings: &Settings) -> Vec<Stamp> {
    let watchlists = settings.watchlists.iter().map(|list| &list.file);
    let files = settings.geo.iter().chain(watchlists);
    let stamp = |path: &PathBuf| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.modified().ok()?, found.len()))
    };
    files.map(stamp).collect()
}

/// Enriches the events of one worker.
#[derive(Debug, Default)]
pub struct Enricher {
    enrichment: Enrichment,
    /// Those that the caches were filled from.
    tables: Arc<Tables>,
    places: Cache,
    domains: Cache,
    agents: Cache,
    text: String,
}

/// What an address field's place is told under.
const ADDRESSES: [(&str, &str); 5] = [
    ("source.ip", "source"),
    ("destination.ip", "destination"),
    ("client.ip", "client"),
    ("server.ip", "server"),
    ("host.ip", "host"),
];

/// What a name's registered domain is told under.
const DOMAINS: [(&str, &str); 6] = [
    ("dns.question.name", "dns.question"),
    ("url.domain", "url"),
    ("source.domain", "source"),
    ("destination.domain", "destination"),
    ("client.domain", "client"),
    ("server.domain", "server"),
];

impl Enricher {
    /// One for these tables.
    pub fn new(enrichment: Enrichment) -> Enricher {
        Enricher { enrichment, ..Enricher::default() }
    }

    /// Adds to the event what the tables know of it.
    pub fn enrich(&mut self, event: &mut Event) {
        let current = self.enrichment.current.load();
        if !Arc::ptr_eq(&current, &self.tables) {
            self.tables = Arc::clone(&current);
            self.places.clear();
            self.domains.clear();
            self.agents.clear();
        }
        drop(current);
        let tables = &*self.tables;
        if !tables.geo.is_empty() {
            for (field, prefix) in ADDRESSES {
                let find = |key: &str, facts: &mut _| tables.geo.find(key, facts);
                self.places.look_up("geo", event, field, prefix, &mut self.text, find);
            }
        }
        if tables.registered_domain {
            for (field, prefix) in DOMAINS {
                self.domains.look_up("domain", event, field, prefix, &mut self.text, domain::find);
            }
        }
        if tables.user_agent {
            let (field, prefix) = ("user_agent.original", "user_agent");
            self.agents.look_up("user_agent", event, field, prefix, &mut self.text, agent::find);
        }
        if tables.community_id {
            community::add(event);
        }
        for list in &tables.watchlists {
            list.apply(event, &mut self.text);
        }
    }
}

/// Counts a look-up.
fn count(table: &str, found: bool) {
    LOOKUPS.with_label_values(&[table, if found { "hit" } else { "miss" }]).inc();
}

static LOOKUPS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let name = "watchpost_enrichment_lookups_total";
    let help = "Values that were looked up in tables, by table and by whether it knew them.";
    let labels = ["table", "result"];
    #[expect(clippy::expect_used, reason = "the name is ours, and registered once")]
    prometheus::register_int_counter_vec!(Opts::new(name, help), &labels).expect("a name of ours")
});

#[cfg(test)]
mod tests;
