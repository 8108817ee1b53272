//! The asynchronous rim of an engine: HTTP and syslog, where they listen, and their end.
//!
//! Addresses are checked and the HTTP port is bound before anything is opened, so that a second
//! start on the same machine touches nothing.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bus::Bus;
use ingest::{Gate, Intake};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::config::Config;
use crate::engine::{EngineError, Part, io};

/// How long connections may take to end at a stop, before they are cut.
const GRACE: Duration = Duration::from_secs(5);

/// How many files are enough: a thousand connections of each listener, and as many for the store.
const FILES_WANTED: u64 = 4096;

/// The asynchronous rim: HTTP and syslog.
pub(crate) struct Listeners {
    runtime: tokio::runtime::Runtime,
    stop: watch::Sender<bool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    pub(crate) address: SocketAddr,
    pub(crate) has_pages: bool,
    pub(crate) syslog: Vec<(&'static str, SocketAddr)>,
    /// Before all of them.
    pub(crate) gate: Gate,
}

impl Listeners {
    /// Takes connections from now on.
    pub(crate) fn open(
        config: &Config,
        sockets: Sockets,
        parts: &BTreeSet<Part>,
        bus: &Arc<dyn Bus>,
        state: web::AppState,
    ) -> Result<Listeners, EngineError> {
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
        let intake = Intake::new(Arc::clone(bus), ingest::IntakeLimits::default());
        let gate = intake.gate();
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
                web::ingest_router(state, ingest)
            } else {
                let ingest = parts.contains(&Part::Ingest).then_some(ingest);
                web::router(state, ingest)
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
        let address = sockets.http_address;
        Ok(Listeners { runtime, stop, tasks, address, has_pages, syslog, gate })
    }

    /// Takes nothing new, lets what runs end within [`GRACE`], then cuts it.
    pub(crate) fn close(self) {
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
pub(crate) struct Sockets {
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
    pub(crate) fn bind(
        config: &Config,
        parts: &BTreeSet<Part>,
    ) -> Result<Option<Sockets>, EngineError> {
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
