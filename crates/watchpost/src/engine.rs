//! A running engine: bus, index, stages, and their orderly end.
//!
//! `run`, `demo` and `import` are the same engine with other parts switched on. Everything that
//! can be refused (settings, ports, folders) is refused before the first stage starts, with the
//! name of what is wrong.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bus::{Bus, BusError, Shutdown, Stage, StageHandle, StageOptions, Topic};
use cluster::{Cluster, ClusterError, FeedStage};
use correlation::{CorrelationStage, Correlations};
use detection::{DetectionStage, Rules, Watcher};
use enrichment::Enrichment;
use indexing::{DatasetPattern, Index, IndexError, IndexStage, Keep, Retention};
use ingest::privacy::{self, Privacy, PrivacyError};
use ingest::tail::TailError;
use ingest::{Intake, SenderError};
use normalize::NormalizeStage;
use tls::TlsError;

use crate::address::Address;
use crate::config::{Backend, Config, ConfigError};
use crate::followed_files::FollowedFiles;
use crate::hold_back::{self, Bounds, Reader};
use crate::ledger_watch::{self, LedgerProblem};
use crate::listeners::{Doors, Listeners};
use crate::mappings;
use crate::open_bus::{self, OpenBus};
use crate::rules::{RuleWatcher, definitions, rule_sources};
use crate::search_schedule::{Indexed, SavedSearches, Scheduler};
use crate::secret::{TOKEN_BYTES, bytes_of, secret};
use crate::{dataset_watch, index_watch, source_watch, table_watch};

/// The consumer group that feeds a cluster.
const FEED_GROUP: &str = "indexing";

/// How often a waiting caller looks whether the stages have caught up.
const IDLE_CHECK: Duration = Duration::from_millis(25);

/// A part of the engine that can be run alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// Listeners: `POST /ingest/...` and syslog.
    Ingest,
    /// `raw` to `events`.
    Normalize,
    /// `events` to `matches`.
    Detection,
    /// `matches` to `alerts`.
    Correlation,
    /// `events` and `alerts` to the index.
    Indexing,
    /// Pages and API.
    Web,
}

impl Part {
    /// All of them, in the order of the pipeline.
    pub(crate) const ALL: [Part; 6] = [
        Part::Ingest,
        Part::Normalize,
        Part::Detection,
        Part::Correlation,
        Part::Indexing,
        Part::Web,
    ];

    /// The parts between the bus and the index, which need nobody from outside.
    pub(crate) const STAGES: [Part; 4] =
        [Part::Normalize, Part::Detection, Part::Correlation, Part::Indexing];

    /// The word on the command line.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Part::Ingest => "ingest",
            Part::Normalize => "normalize",
            Part::Detection => "detection",
            Part::Correlation => "correlation",
            Part::Indexing => "indexing",
            Part::Web => "web",
        }
    }
}

impl FromStr for Part {
    type Err = EngineError;

    fn from_str(word: &str) -> Result<Self, EngineError> {
        Part::ALL
            .into_iter()
            .find(|part| part.as_str() == word.trim())
            .ok_or_else(|| EngineError::UnknownPart(word.trim().to_owned()))
    }
}

/// Why an engine does not start, or not go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    /// A stage that does not exist was asked for.
    #[error(
        "there is no stage `{0}`; the stages are ingest, normalize, detection, correlation, indexing and web"
    )]
    UnknownPart(String),
    /// An address beyond loopback without anybody having said so.
    #[error(
        "{setting} = {address} is reachable from other machines without TLS; write tls://{address} (see table [tls]), use a loopback address, or say that you mean it with plain://{address}, or for all of them with server.insecure = true"
    )]
    Exposed {
        /// The setting.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// An address that wants TLS without anything to do it with.
    #[error("{setting} = {address} wants {}", what)]
    NoTls {
        /// The setting.
        setting: &'static str,
        /// The address.
        address: Address,
        /// What is missing.
        what: &'static str,
    },
    /// What must not be stored.
    #[error(transparent)]
    Privacy(#[from] PrivacyError),
    /// The tables that events are enriched from.
    #[error("enrichment: {0}")]
    Enrichment(#[from] enrichment::Error),
    /// The files of the TLS identity.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A sender.
    #[error(transparent)]
    Sender(#[from] SenderError),
    /// A port that is taken, or an address that is not ours.
    #[error("cannot listen on {address} ({setting}): {}", why(source))]
    Listen {
        /// The setting.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file or folder.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The files that are followed.
    #[error(transparent)]
    Tail(#[from] TailError),
    /// Source files.
    #[error("source files have faults (`watchpost sources test` tells them too):\n{0}")]
    Sources(String),
    /// The bus.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The index.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The cluster that is searched instead.
    #[error("search: {0}")]
    Cluster(#[from] ClusterError),
    /// A stage that stopped by itself.
    #[error("the stage {stage} stopped: {source}")]
    Stage {
        /// Which.
        stage: &'static str,
        /// Why.
        source: BusError,
    },
}

fn why(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            "the address is in use by another program; stop it or choose another port".into()
        }
        _ => error.to_string(),
    }
}

/// A running engine.
pub(crate) struct Engine {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) index: Index,
    /// What is searched instead of the index.
    cluster: Option<Cluster>,
    /// Whether what is searched is written here, rather than by somebody else.
    is_fed: bool,
    /// The index's consumer group.
    index_group: String,
    pub(crate) rules: Rules,
    token: web::Token,
    workers: Arc<Mutex<Vec<Worker>>>,
    shutdown: Shutdown,
    pub(crate) intake: Intake,
    listeners: Option<Listeners>,
    tails: web::Tails,
    searches: SavedSearches,
    files: FollowedFiles,
    /// The threads that watch it.
    watching: Vec<std::thread::JoinHandle<()>>,
    ledger: LedgerProblem,
    _watcher: Option<RuleWatcher>,
}

/// One thread of a stage.
struct Worker {
    stage: &'static str,
    handle: StageHandle,
}

impl Engine {
    /// Opens the data folder and starts these parts.
    ///
    /// # Errors
    /// When a setting, a port or a folder is refused. Nothing runs then.
    pub(crate) fn start(config: &Config, parts: &[Part]) -> Result<Engine, EngineError> {
        let parts: BTreeSet<Part> = parts.iter().copied().collect();
        let has = |part| parts.contains(&part);
        let doors = Doors::bind(config, &parts)?;
        let folder = &config.data.folder;
        let OpenBus { bus, log_id, index_group } = open_bus::open(config)?;
        let index = Index::open(folder, config.index_options())?;
        let cluster = config.search.cluster()?;
        // Copies of the feed share its work; copies of the index each have all.
        let index_group = if cluster.is_some() { FEED_GROUP.to_owned() } else { index_group };
        let token = web::Token::new(&secret(&folder.join("token"), TOKEN_BYTES)?);
        let (watcher, rules) = Watcher::start(rule_sources(config));
        let correlations = Correlations::new(definitions(&rules.current()));
        let limits = ingest::IntakeLimits::default();
        let intake = Intake::with_privacy(Arc::clone(&bus), limits, privacy(config)?);
        let followed = if has(Part::Ingest) { config.files.as_slice() } else { &[] };
        let files = FollowedFiles::open(followed, &folder.join("files.json"), &intake)?;
        let mut engine = Engine {
            tails: web::Tails::new(Arc::clone(&bus), &index_group),
            searches: SavedSearches::new(&config.searches),
            bus,
            index,
            cluster,
            is_fed: config.search.backend == Backend::Index || config.search.feed,
            index_group,
            rules,
            token,
            workers: Arc::default(),
            shutdown: Shutdown::new(),
            intake,
            listeners: None,
            files,
            watching: Vec::new(),
            ledger: LedgerProblem::default(),
            _watcher: None,
        };
        if let Some(doors) = doors {
            let intake = engine.intake.clone();
            let open = Listeners::open(config, doors, &parts, intake, engine.state())?;
            engine.listeners = Some(open);
        }
        engine.files.start().map_err(io("start a thread for", Path::new("files")))?;
        engine.watch(config, &parts)?;
        // Two workers of the stages that cost most, where there are cores and partitions for them.
        let wide = std::thread::available_parallelism()
            .map_or(1, |n| n.get())
            .min(engine.bus.partitions(Topic::Raw) as usize);
        if has(Part::Indexing) && engine.is_fed {
            let group = Some(engine.index_group.clone());
            let options = StageOptions { group, ..StageOptions::default() };
            match &engine.cluster {
                None => {
                    let stage = IndexStage::new(&engine.index, &log_id)?;
                    engine.spawn_with(Box::new(stage), options)?;
                }
                Some(cluster) => {
                    engine.spawn_with(Box::new(FeedStage::new(cluster.clone())), options)?;
                }
            }
        }
        if has(Part::Correlation) {
            engine.spawn(Box::new(CorrelationStage::new(
                correlations.clone(),
                correlation::Settings::default(),
            )))?;
        }
        let options = match has(Part::Normalize) {
            true => {
                let enrichment = Enrichment::open(config.enrichment.clone())?;
                engine.watching.extend(table_watch::start(&enrichment, &engine.shutdown)?);
                normalize_options(config, enrichment)?
            }
            false => normalize::Options::default(),
        };
        for _ in 0..wide {
            if has(Part::Detection) {
                engine.spawn(Box::new(DetectionStage::new(engine.rules.clone())))?;
            }
            if has(Part::Normalize) {
                engine.spawn(Box::new(NormalizeStage::new(options.clone(), log_id.clone())))?;
            }
        }
        if has(Part::Detection) && config.rules.reload_seconds > 0 {
            let every = Duration::from_secs(config.rules.reload_seconds);
            engine._watcher = Some(RuleWatcher::start(watcher, correlations, every));
        }
        Ok(engine)
    }

    /// Begins to watch how far the stages are, if something listens, and the ledger, if something
    /// is indexed.
    fn watch(&mut self, config: &Config, parts: &BTreeSet<Part>) -> Result<(), EngineError> {
        let beside = |error| io("start a thread beside", Path::new("the stages"))(error);
        if parts.contains(&Part::Indexing) && self.is_fed {
            let (bus, group) = (Arc::clone(&self.bus), self.index_group.clone());
            let (problem, shutdown) = (self.ledger.clone(), self.shutdown.clone());
            let watching = ledger_watch::start(bus, group, problem, shutdown).map_err(beside)?;
            self.watching.push(watching);
        }
        if parts.contains(&Part::Indexing) {
            let (bus, shutdown) = (Arc::clone(&self.bus), self.shutdown.clone());
            let (settings, folder) = (config.sources.clone(), &config.data.folder);
            let watching = source_watch::start(bus, "normalize", settings, folder, shutdown);
            self.watching.extend(watching.map_err(beside)?);
            let (bus, shutdown) = (Arc::clone(&self.bus), self.shutdown.clone());
            let watching = dataset_watch::start(bus, "normalize", shutdown).map_err(beside)?;
            self.watching.push(watching);
        }
        if parts.contains(&Part::Indexing) || parts.contains(&Part::Web) {
            // Where nothing is indexed, nobody knows what of a window is there.
            let is_indexing = parts.contains(&Part::Indexing) && self.cluster.is_none();
            let indexed = is_indexing.then(|| Indexed {
                searcher: self.index.searcher(),
                group: self.index_group.clone(),
            });
            let scheduler = Scheduler::new(
                self.searches.clone(),
                config.searches.clone(),
                Arc::clone(&self.bus),
                indexed,
                &config.data.folder,
                self.shutdown.clone(),
            );
            self.watching.push(scheduler.start().map_err(beside)?);
        }
        if parts.contains(&Part::Indexing) && self.cluster.is_none() {
            let (index, shutdown) = (self.index.clone(), self.shutdown.clone());
            self.watching.push(index_watch::start(index, shutdown).map_err(beside)?);
        }
        let takes_logs = parts.contains(&Part::Ingest);
        // Who takes logs in watches all stages, also those of other processes.
        let readers: Vec<Reader> = self
            .chain()
            .into_iter()
            .zip(Part::STAGES)
            .filter(|(_, part)| takes_logs || parts.contains(part))
            .map(|((group, topics), _)| Reader { group: group.to_owned(), topics: topics.to_vec() })
            .collect();
        if readers.is_empty() {
            return Ok(());
        }
        let gate = takes_logs.then(|| self.intake.gate());
        let bounds = Bounds {
            records_max: config.bus.unread_records_max,
            bytes_max: config.bus.unread_bytes_max.min(config.bus.topic_bytes_max / 2),
        };
        let (bus, shutdown) = (Arc::clone(&self.bus), self.shutdown.clone());
        let watching = hold_back::start(bus, gate, readers, bounds, shutdown);
        self.watching.push(watching.map_err(beside)?);
        Ok(())
    }

    /// The consumer groups of the stages in the order of the pipeline, and what they read.
    fn chain(&self) -> Vec<(&str, &'static [Topic])> {
        let mut chain: Vec<(&str, &'static [Topic])> = vec![
            ("normalize", &[Topic::Raw]),
            ("detection", &[Topic::Events]),
            ("correlation", &[Topic::Matches]),
        ];
        if self.is_fed {
            chain.push((&self.index_group, &[Topic::Events, Topic::Alerts]));
        }
        chain
    }

    /// Runs one more stage on this engine's bus.
    pub(crate) fn spawn(&self, stage: Box<dyn Stage>) -> Result<(), EngineError> {
        self.spawn_with(stage, StageOptions::default())
    }

    fn spawn_with(&self, stage: Box<dyn Stage>, options: StageOptions) -> Result<(), EngineError> {
        let name = stage.name();
        let handle = bus::run_stage(Arc::clone(&self.bus), stage, options, self.shutdown.clone())?;
        lock(&self.workers).push(Worker { stage: name, handle });
        Ok(())
    }

    /// The address of the pages, with the token; without pages, where events are posted.
    pub(crate) fn link(&self) -> Option<String> {
        let Listeners { address, has_pages, .. } = self.listeners.as_ref()?;
        let scheme = if address.is_tls() { "https" } else { "http" };
        let socket = address.socket;
        Some(match has_pages {
            true => format!("{scheme}://{socket}/login?token={}", self.token.reveal()),
            false => format!("{scheme}://{socket}/ingest/"),
        })
    }

    /// Where logs are taken, by protocol.
    pub(crate) fn taking(&self) -> &[(&'static str, Address)] {
        self.listeners.as_ref().map_or(&[], |open| open.taking.as_slice())
    }

    /// Waits until every stage has handled what is on the bus, or a stage has stopped.
    ///
    /// # Errors
    /// When the bus cannot be asked.
    pub(crate) fn wait_until_idle(&self) -> Result<(), EngineError> {
        // In the order of the pipeline: once a stage has nothing left, nothing new comes to the
        // next one but what it already wrote.
        for (group, topics) in self.chain() {
            while self.bus.lag(group, topics)? > 0 {
                if self.stopped().is_some() {
                    return Ok(());
                }
                std::thread::sleep(IDLE_CHECK);
            }
        }
        Ok(())
    }

    /// The first stage that stopped by itself, if one did.
    pub(crate) fn stopped(&self) -> Option<&'static str> {
        stopped(&self.workers)
    }

    /// Ends everything in order: what takes logs first, then the stages, which commit what they have.
    ///
    /// # Errors
    /// When a stage had stopped before, or its last commit failed.
    pub(crate) fn stop(mut self) -> Result<(), EngineError> {
        self.tails.close();
        if let Some(listeners) = self.listeners.take() {
            listeners.close();
        }
        self.files.close();
        self.shutdown.trigger();
        let workers = std::mem::take(&mut *lock(&self.workers));
        let mut failed = None;
        for worker in workers {
            if let Err(source) = worker.handle.join() {
                failed.get_or_insert(EngineError::Stage { stage: worker.stage, source });
            }
        }
        for watching in std::mem::take(&mut self.watching) {
            if watching.join().is_err() {
                tracing::error!("a thread beside the stages had panicked");
            }
        }
        self.bus.close();
        failed.map_or(Ok(()), Err)
    }

    fn state(&self) -> web::AppState {
        let bus = Arc::clone(&self.bus);
        let index = self.index.clone();
        let workers = Arc::clone(&self.workers);
        let ledger = self.ledger.clone();
        let files = self.files.clone();
        let problems = move || {
            let mut problems: Vec<String> = ledger.get().into_iter().collect();
            if let Err(error) = bus.health() {
                problems.push(error.to_string());
            }
            problems.extend(files.problem());
            problems.extend(stopped(&workers).map(|stage| format!("the stage {stage} stopped")));
            problems.extend(index.problems().into_iter().map(|problem| {
                format!("index partition {}: {}", problem.partition, problem.reason)
            }));
            problems
        };
        web::AppState {
            index: self.index.clone(),
            search: match &self.cluster {
                Some(cluster) => Arc::new(cluster.clone()),
                None => Arc::new(self.index.searcher()),
            },
            is_indexed: self.cluster.is_none(),
            rules: self.rules.clone(),
            token: self.token.clone(),
            bus: Arc::clone(&self.bus),
            index_group: self.index_group.clone(),
            tails: self.tails.clone(),
            searches: {
                let searches = self.searches.clone();
                Arc::new(move || searches.list())
            },
            problems: Arc::new(problems),
            files: {
                let files = self.files.clone();
                Arc::new(move || files.list())
            },
        }
    }
}

/// How records become events. A source file with a fault stops the start: events that are mapped
/// wrongly are not found by any rule.
pub(crate) fn normalize_options(
    config: &Config,
    enrichment: Enrichment,
) -> Result<normalize::Options, EngineError> {
    let (mappings, faults) = mappings::load(&config.sources.paths);
    if !faults.is_empty() {
        let told: Vec<String> = faults.iter().map(|fault| fault.render(None)).collect();
        return Err(EngineError::Sources(told.concat()));
    }
    Ok(normalize::Options {
        mappings: Arc::new(mappings),
        enrichment,
        ..normalize::Options::default()
    })
}

/// What records must not be stored with. The key is made only where something is hashed.
fn privacy(config: &Config) -> Result<Privacy, EngineError> {
    let mut key = [0; 32];
    if privacy::wants_key(&config.privacy) {
        let path = match config.ingest.privacy_key.as_os_str().is_empty() {
            true => config.data.folder.join("privacy.key"),
            false => config.ingest.privacy_key.clone(),
        };
        let text = secret(&path, key.len())?;
        key = bytes_of(&text).ok_or_else(|| PrivacyError::Key {
            path,
            problem: "64 hexadecimal digits are wanted".to_owned(),
        })?;
    }
    Ok(Privacy::new(&config.privacy, key)?)
}

fn stopped(workers: &Mutex<Vec<Worker>>) -> Option<&'static str> {
    lock(workers).iter().find(|worker| worker.handle.is_finished()).map(|worker| worker.stage)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn make_folder(path: &Path) -> Result<(), EngineError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(io("make the data folder", path))
}

pub(crate) fn io<'p>(
    doing: &'static str,
    path: &'p Path,
) -> impl FnOnce(std::io::Error) -> EngineError + 'p {
    move |source| EngineError::Io { doing, path: path.to_owned(), source }
}

impl Config {
    /// How the index is kept.
    pub(crate) fn index_options(&self) -> indexing::Options {
        let default = Keep {
            days: Some(self.index.days.max(1)),
            bytes_max: Some(self.index.bytes_max).filter(|bytes| *bytes > 0),
        };
        let datasets = self.retention.iter().map(|table| {
            let days = table.days.map(NonZeroU32::get).or(default.days);
            let bytes_max = table.bytes_max.map(NonZeroU64::get);
            (DatasetPattern::new(&table.dataset), Keep { days, bytes_max })
        });
        indexing::Options {
            memory_bytes_max: self.index.memory_mb_max.max(32) * 1024 * 1024,
            retention: Retention { default, datasets: datasets.collect() },
            ..indexing::Options::default()
        }
    }
}
