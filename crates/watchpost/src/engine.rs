//! A running engine: bus, index, stages, listeners, and their orderly end.
//!
//! `run`, `demo` and `import` are the same engine with other parts switched on. Everything that
//! can be refused (settings, ports, folders) is refused before the first stage starts, with the
//! name of what is wrong.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bus::{Bus, BusError, EmbeddedBus, Retention, Shutdown, Stage, StageHandle, Topic};
use correlation::{CorrelationStage, Correlations, Definition};
use detection::{DetectionStage, RuleBook, RuleSources, Rules, Watcher};
use indexing::{Index, IndexError, IndexStage};
use ingest::Intake;
use normalize::NormalizeStage;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sigma::Severity;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::config::Config;

/// How long connections may take to end at a stop, before they are cut.
const GRACE: Duration = Duration::from_secs(5);

/// How often a waiting caller looks whether the stages have caught up.
const IDLE_CHECK: Duration = Duration::from_millis(25);

/// How many files are enough: a thousand connections of each listener, and as many for the store.
const FILES_WANTED: u64 = 4096;

/// How many faults of changed rule files are logged one by one.
const FAULTS_LOGGED_MAX: usize = 20;

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
        "{setting} = {address} is reachable from other machines without TLS; use a loopback address, or set server.insecure = true if something in front does TLS and access control"
    )]
    Exposed {
        /// The setting.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// A text that is no address.
    #[error(
        "{setting} = {text:?} is no address; write it as 127.0.0.1:5514, or leave it empty for none"
    )]
    Address {
        /// The setting.
        setting: &'static str,
        /// What it says.
        text: String,
    },
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
    /// The bus.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The index.
    #[error(transparent)]
    Index(#[from] IndexError),
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
    pub(crate) rules: Rules,
    token: web::Token,
    workers: Arc<Mutex<Vec<Worker>>>,
    shutdown: Shutdown,
    edges: Option<Edges>,
    _watcher: Option<RuleWatcher>,
}

/// One thread of a stage.
struct Worker {
    stage: &'static str,
    handle: StageHandle,
}

/// The asynchronous rim: HTTP and syslog.
struct Edges {
    runtime: tokio::runtime::Runtime,
    stop: watch::Sender<bool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    address: SocketAddr,
    has_pages: bool,
    syslog: Vec<(&'static str, SocketAddr)>,
}

impl Engine {
    /// Opens the data folder and starts these parts.
    ///
    /// # Errors
    /// When a setting, a port or a folder is refused. Nothing runs then.
    pub(crate) fn start(config: &Config, parts: &[Part]) -> Result<Engine, EngineError> {
        let parts: BTreeSet<Part> = parts.iter().copied().collect();
        let has = |part| parts.contains(&part);
        let sockets = Sockets::bind(config, &parts)?;
        let folder = &config.data.folder;
        make_folder(folder)?;
        let bus: Arc<dyn Bus> =
            Arc::new(EmbeddedBus::open(folder.join("bus"), config.bus.settings())?);
        for (topic, retention) in config.bus.retention() {
            bus.set_retention(topic, retention)?;
        }
        let index = Index::open(folder, config.index.options())?;
        let token = web::Token::new(&secret(&folder.join("token"))?);
        let log = secret_of_length(&folder.join("log-id"), LOG_ID_BYTES)?;

        let (watcher, rules) = Watcher::start(rule_sources(config));
        let correlations = Correlations::new(definitions(&rules.current()));
        let mut engine = Engine {
            bus,
            index,
            rules,
            token,
            workers: Arc::default(),
            shutdown: Shutdown::new(),
            edges: None,
            _watcher: None,
        };
        if let Some(sockets) = sockets {
            engine.edges = Some(engine.open_edges(config, sockets, &parts)?);
        }
        // Two workers of the stages that cost most, where there are cores and partitions for them.
        let wide = std::thread::available_parallelism()
            .map_or(1, |n| n.get())
            .min(config.bus.partitions as usize);
        if has(Part::Indexing) {
            engine.spawn(Box::new(IndexStage::new(&engine.index)?))?;
        }
        if has(Part::Correlation) {
            engine.spawn(Box::new(CorrelationStage::new(
                correlations.clone(),
                correlation::Settings::default(),
            )))?;
        }
        for _ in 0..wide {
            if has(Part::Detection) {
                engine.spawn(Box::new(DetectionStage::new(engine.rules.clone())))?;
            }
            if has(Part::Normalize) {
                let options = normalize::Options::default();
                engine.spawn(Box::new(NormalizeStage::new(options, log.clone())))?;
            }
        }
        if has(Part::Detection) && config.rules.reload_seconds > 0 {
            let every = Duration::from_secs(config.rules.reload_seconds);
            engine._watcher = Some(RuleWatcher::start(watcher, correlations, every));
        }
        Ok(engine)
    }

    /// Runs one more stage on this engine's bus.
    pub(crate) fn spawn(&self, stage: Box<dyn Stage>) -> Result<(), EngineError> {
        let name = stage.name();
        let handle = bus::run_stage(
            Arc::clone(&self.bus),
            stage,
            bus::StageOptions::default(),
            self.shutdown.clone(),
        )?;
        lock(&self.workers).push(Worker { stage: name, handle });
        Ok(())
    }

    /// The address of the pages, with the token; without pages, where events are posted.
    pub(crate) fn link(&self) -> Option<String> {
        let Edges { address, has_pages, .. } = self.edges.as_ref()?;
        Some(match has_pages {
            true => format!("http://{address}/login?token={}", self.token.reveal()),
            false => format!("http://{address}/ingest/"),
        })
    }

    /// Where syslog is taken.
    pub(crate) fn syslog(&self) -> &[(&'static str, SocketAddr)] {
        self.edges.as_ref().map_or(&[], |edges| edges.syslog.as_slice())
    }

    /// Waits until every stage has handled what is on the bus, or a stage has stopped.
    ///
    /// # Errors
    /// When the bus cannot be asked.
    pub(crate) fn wait_until_idle(&self) -> Result<(), EngineError> {
        // In the order of the pipeline: once a stage has nothing left, nothing new comes to the
        // next one but what it already wrote.
        const CHAIN: [(&str, &[Topic]); 4] = [
            ("normalize", &[Topic::Raw]),
            ("detection", &[Topic::Events]),
            ("correlation", &[Topic::Matches]),
            ("indexing", &[Topic::Events, Topic::Alerts]),
        ];
        for (group, topics) in CHAIN {
            while bus::lag(self.bus.as_ref(), group, topics)? > 0 {
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

    /// Ends everything in order: listeners first, then the stages, which commit what they have.
    ///
    /// # Errors
    /// When a stage had stopped before, or its last commit failed.
    pub(crate) fn stop(mut self) -> Result<(), EngineError> {
        if let Some(edges) = self.edges.take() {
            edges.close();
        }
        self.shutdown.trigger();
        let workers = std::mem::take(&mut *lock(&self.workers));
        let mut failed = None;
        for worker in workers {
            if let Err(source) = worker.handle.join() {
                failed.get_or_insert(EngineError::Stage { stage: worker.stage, source });
            }
        }
        self.bus.close();
        failed.map_or(Ok(()), Err)
    }

    fn open_edges(
        &self,
        config: &Config,
        sockets: Sockets,
        parts: &BTreeSet<Part>,
    ) -> Result<Edges, EngineError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("edge")
            .enable_all()
            .build()
            .map_err(io("start the threads for", Path::new("listeners")))?;
        // A quarter of the files for each listener; the rest is for bus and index, which must write
        // whoever connects.
        let connections_max = raise_files_max() / 4;
        let (stop, stopped) = watch::channel(false);
        let intake = Intake::new(Arc::clone(&self.bus), ingest::IntakeLimits::default());
        let mut tasks = Vec::new();
        let mut syslog = Vec::new();
        runtime.block_on(async {
            let limits = ingest::syslog::SyslogLimits::default();
            let limits = ingest::syslog::SyslogLimits {
                connections_max: limits.connections_max.min(connections_max),
                ..limits
            };
            if let Some(address) = sockets.syslog_udp {
                let listener = ingest::syslog::Udp::bind(address, intake.clone(), limits.clone())
                    .await
                    .map_err(listen(SYSLOG_UDP, address))?;
                syslog.push(("UDP", listener.local_addr()));
                tasks.push(tokio::spawn(listener.run(until_true(stopped.clone()))));
            }
            if let Some(address) = sockets.syslog_tcp {
                let listener = ingest::syslog::Tcp::bind(address, intake.clone(), limits.clone())
                    .await
                    .map_err(listen(SYSLOG_TCP, address))?;
                syslog.push(("TCP", listener.local_addr()));
                tasks.push(tokio::spawn(listener.run(until_true(stopped.clone()))));
            }
            let limits = ingest::http::HttpLimits {
                body_bytes_max: config.server.body_bytes_max,
                ..ingest::http::HttpLimits::default()
            };
            let ingest = ingest::http::router(intake, limits);
            let router = if !parts.contains(&Part::Web) {
                web::ingest_router(self.state(), ingest)
            } else {
                let ingest = parts.contains(&Part::Ingest).then_some(ingest);
                web::router(self.state(), ingest)
            };
            let listener =
                TcpListener::from_std(sockets.http).map_err(listen(HTTP, sockets.http_address))?;
            let limits = web::ServeLimits::default();
            let connections_max = limits.connections_max.min(connections_max);
            let limits = web::ServeLimits { connections_max, ..limits };
            tasks.push(tokio::spawn(web::serve(listener, router, limits, until_true(stopped))));
            Ok::<(), EngineError>(())
        })?;
        let has_pages = parts.contains(&Part::Web);
        Ok(Edges { runtime, stop, tasks, address: sockets.http_address, has_pages, syslog })
    }

    fn state(&self) -> web::AppState {
        let bus = Arc::clone(&self.bus);
        let index = self.index.clone();
        let workers = Arc::clone(&self.workers);
        let problems = move || {
            let mut problems = Vec::new();
            if let Err(error) = bus.health() {
                problems.push(error.to_string());
            }
            problems.extend(stopped(&workers).map(|stage| format!("the stage {stage} stopped")));
            problems.extend(index.problems().into_iter().map(|problem| {
                format!("index partition {}: {}", problem.partition, problem.reason)
            }));
            problems
        };
        web::AppState {
            index: self.index.clone(),
            rules: self.rules.clone(),
            token: self.token.clone(),
            bus: Arc::clone(&self.bus),
            problems: Arc::new(problems),
        }
    }
}

/// The built-in rules and the configured ones.
pub(crate) fn rule_sources(config: &Config) -> RuleSources {
    RuleSources {
        builtin: if config.rules.builtin { builtin_rules() } else { Vec::new() },
        paths: config.rules.paths.clone(),
        pipelines: config.rules.pipelines.clone(),
    }
}

/// The correlations of a book that run.
pub(crate) fn definitions(book: &RuleBook) -> Vec<Definition> {
    book.correlations()
        .iter()
        .filter(|entry| entry.runs)
        .filter_map(|entry| Definition::new(&entry.correlation, entry.reference.clone()).ok())
        .collect()
}

/// The rules that come with Watchpost: (file name, text).
pub(crate) fn builtin_rules() -> Vec<(String, String)> {
    detections::rules()
        .map(|file| (format!("detections/{}", file.path), file.text.to_owned()))
        .collect()
}

impl Edges {
    /// Takes nothing new, lets what runs end within [`GRACE`], then cuts it.
    fn close(self) {
        self.stop.send_replace(true);
        self.runtime.block_on(async {
            let all = async {
                for task in self.tasks {
                    if let Err(error) = task.await {
                        tracing::error!(%error, "a listener failed");
                    }
                }
            };
            if tokio::time::timeout(GRACE, all).await.is_err() {
                tracing::warn!("connections that did not end in time were cut");
            }
        });
        self.runtime.shutdown_timeout(Duration::from_millis(200));
    }
}

async fn until_true(mut stopped: watch::Receiver<bool>) {
    // An error means that the engine is gone, which is a stop too.
    stopped.wait_for(|stop| *stop).await.ok();
}

fn stopped(workers: &Mutex<Vec<Worker>>) -> Option<&'static str> {
    lock(workers).iter().find(|worker| worker.handle.is_finished()).map(|worker| worker.stage)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Raises how many files may be open as far as the system lets us, and returns how many that are.
/// The usual 1024 are from the days of `select`; each connection takes one, the store and the
/// index some hundreds.
fn raise_files_max() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(FILES_WANTED, |maximum| maximum.min(FILES_WANTED));
    let mut files = current.unwrap_or(u64::MAX);
    if files < wanted
        && setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).is_ok()
    {
        files = wanted;
    }
    if files < FILES_WANTED {
        tracing::warn!(
            files,
            "few files may be open, so fewer connections are taken; see `ulimit -n`"
        );
    }
    usize::try_from(files).unwrap_or(usize::MAX)
}

/// Where to listen: addresses that are allowed, and the HTTP port, bound before anything is opened,
/// so that a second start on the same machine touches nothing.
struct Sockets {
    http: std::net::TcpListener,
    http_address: SocketAddr,
    syslog_udp: Option<SocketAddr>,
    syslog_tcp: Option<SocketAddr>,
}

/// Where these parts would listen, by setting.
///
/// # Errors
/// When an address is refused.
pub(crate) fn addresses(
    config: &Config,
    parts: &[Part],
) -> Result<Vec<(&'static str, SocketAddr)>, EngineError> {
    let parts = parts.iter().copied().collect();
    let Some(allowed) = Allowed::of(config, &parts)? else { return Ok(Vec::new()) };
    let udp = allowed.syslog_udp.map(|address| (SYSLOG_UDP, address));
    let tcp = allowed.syslog_tcp.map(|address| (SYSLOG_TCP, address));
    Ok([Some((HTTP, allowed.http)), udp, tcp].into_iter().flatten().collect())
}

/// Addresses that nobody needs to be asked about.
struct Allowed {
    http: SocketAddr,
    syslog_udp: Option<SocketAddr>,
    syslog_tcp: Option<SocketAddr>,
}

impl Allowed {
    fn of(config: &Config, parts: &BTreeSet<Part>) -> Result<Option<Allowed>, EngineError> {
        let takes_logs = parts.contains(&Part::Ingest);
        if !takes_logs && !parts.contains(&Part::Web) {
            return Ok(None);
        }
        let insecure = config.server.insecure;
        let allowed = |setting, address: SocketAddr| {
            if address.ip().is_loopback() || insecure {
                Ok(address)
            } else {
                Err(EngineError::Exposed { setting, address })
            }
        };
        let wanted = |setting, text: &str| match text.trim() {
            _ if !takes_logs => Ok(None),
            "" => Ok(None),
            text => match text.parse() {
                Ok(address) => allowed(setting, address).map(Some),
                Err(_) => Err(EngineError::Address { setting, text: text.to_owned() }),
            },
        };
        let syslog_udp = wanted(SYSLOG_UDP, &config.syslog.udp)?;
        let syslog_tcp = wanted(SYSLOG_TCP, &config.syslog.tcp)?;
        let http = allowed(HTTP, config.server.listen)?;
        Ok(Some(Allowed { http, syslog_udp, syslog_tcp }))
    }
}

impl Sockets {
    fn bind(config: &Config, parts: &BTreeSet<Part>) -> Result<Option<Sockets>, EngineError> {
        let Some(allowed) = Allowed::of(config, parts)? else { return Ok(None) };
        let Allowed { http: address, syslog_udp, syslog_tcp } = allowed;
        let bound = std::net::TcpListener::bind(address).and_then(|socket| {
            socket.set_nonblocking(true)?;
            let address = socket.local_addr()?;
            Ok((socket, address))
        });
        let (http, http_address) = bound.map_err(listen(HTTP, address))?;
        Ok(Some(Sockets { http, http_address, syslog_udp, syslog_tcp }))
    }
}

/// The settings of the addresses.
const HTTP: &str = "server.listen";
const SYSLOG_UDP: &str = "syslog.udp";
const SYSLOG_TCP: &str = "syslog.tcp";

fn listen(
    setting: &'static str,
    address: SocketAddr,
) -> impl FnOnce(std::io::Error) -> EngineError {
    move |source| EngineError::Listen { setting, address, source }
}

/// The bytes of the access token.
const TOKEN_BYTES: usize = 32;

/// The bytes of the log's identity, which is a part of every event's id.
const LOG_ID_BYTES: usize = 4;

fn secret(path: &Path) -> Result<String, EngineError> {
    secret_of_length(path, TOKEN_BYTES)
}

/// Reads a file of hexadecimal digits, or makes it from the system's random source, readable by
/// its owner only.
fn secret_of_length(path: &Path, bytes: usize) -> Result<String, EngineError> {
    match std::fs::read_to_string(path) {
        Ok(text) if text.trim().len() >= bytes * 2 => return Ok(text.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(source) => return Err(io("read", path)(source)),
    }
    let mut random = vec![0u8; bytes];
    getrandom::fill(&mut random)
        .map_err(|error| io("make", path)(std::io::Error::other(error.to_string())))?;
    let text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    // Written beside and renamed, so that a crash leaves no half of it.
    let new = path.with_extension("new");
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| std::fs::rename(&new, path))
        .map_err(io("write", path))?;
    Ok(text)
}

fn make_folder(path: &Path) -> Result<(), EngineError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(io("make the data folder", path))
}

fn io<'p>(doing: &'static str, path: &'p Path) -> impl FnOnce(std::io::Error) -> EngineError + 'p {
    move |source| EngineError::Io { doing, path: path.to_owned(), source }
}

/// Looks for changed rule files now and then, and swaps the rules without losing an event.
struct RuleWatcher {
    stop: Arc<(Mutex<bool>, std::sync::Condvar)>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl RuleWatcher {
    fn start(mut watcher: Watcher, correlations: Correlations, every: Duration) -> RuleWatcher {
        let stop = Arc::new((Mutex::new(false), std::sync::Condvar::new()));
        let waiting = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("rules".into()).spawn(move || {
            let (stopped, changed) = &*waiting;
            loop {
                let guard = lock(stopped);
                let (guard, _) = changed
                    .wait_timeout_while(guard, every, |stopped| !*stopped)
                    .unwrap_or_else(PoisonError::into_inner);
                if *guard {
                    return;
                }
                drop(guard);
                // The stage that counts must know a correlation before its first match comes.
                watcher.poll(|book| {
                    correlations.replace(definitions(book));
                    let faults = book.diagnostics().iter();
                    let errors = faults.filter(|fault| fault.severity == Severity::Error);
                    for fault in errors.take(FAULTS_LOGGED_MAX) {
                        tracing::error!(%fault, "a rule is refused, the others run");
                    }
                });
            }
        });
        // Without the thread the rules stay as they are, which is no reason not to run.
        let thread = thread.inspect_err(|error| tracing::error!(%error, "rules are not watched"));
        RuleWatcher { stop, thread: thread.ok() }
    }
}

impl Drop for RuleWatcher {
    fn drop(&mut self) {
        let (stopped, changed) = &*self.stop;
        *lock(stopped) = true;
        changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic there was logged by its thread.
            thread.join().ok();
        }
    }
}

impl crate::config::BusSettings {
    fn settings(&self) -> bus::Settings {
        let mut settings = bus::Settings::default();
        for topic in [Topic::Raw, Topic::Events, Topic::Matches] {
            settings.topic_mut(topic).partitions = self.partitions.max(1);
        }
        for (topic, retention) in self.retention() {
            settings.topic_mut(topic).retention = retention;
        }
        settings
    }

    /// How long each topic that the configuration speaks of is kept.
    fn retention(&self) -> [(Topic, Retention); 4] {
        let days = |days: u64| Retention {
            age: Some(Duration::from_secs(days.saturating_mul(86_400))),
            bytes: Some(self.topic_bytes_max),
        };
        [
            (Topic::Raw, days(self.raw_days)),
            (Topic::Events, days(self.events_days)),
            (Topic::Matches, days(self.events_days)),
            (Topic::Rejected, days(self.events_days)),
        ]
    }
}

impl crate::config::IndexSettings {
    fn options(&self) -> indexing::Options {
        indexing::Options {
            memory_bytes_max: self.memory_mb_max.max(32) * 1024 * 1024,
            retention_days: Some(self.days.max(1)),
            ..indexing::Options::default()
        }
    }
}
