//! The asynchronous rim of an engine: what listens, where, how it is secured, and its end.
//!
//! Addresses are checked and the HTTP ports are bound before anything is opened, so that a second
//! start on the same machine touches nothing.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use ingest::datagrams::{DatagramProtocol, Datagrams, GATHERED_BYTES_MAX};
use ingest::fluent::{self, Fluent};
use ingest::gelf::{self, GelfDatagram, GelfStream};
use ingest::lumberjack::{self, Lumberjack};
use ingest::protocol::Protocol;
use ingest::stream::{Setting, Stream, StreamLimits};
use ingest::syslog::{self, Syslog, SyslogDatagram};
use ingest::{Intake, LINE_BYTES_MAX, SenderSettings, Senders};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tls::{Security, Tls, TlsFiles};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::address::{Address, Addresses, Scheme};
use crate::config::Config;
use crate::engine::{EngineError, Part, io};
use crate::kafka_input::KafkaInput;

/// How long connections may take to end at a stop, before they are cut.
const GRACE: Duration = Duration::from_secs(5);

/// How many files are enough: a thousand connections of each listener, and as many for the store.
const FILES_WANTED: u64 = 4096;

/// The name of the sender that has the access token of this process.
const TOKEN_SENDER: &str = "access-token";

/// The asynchronous rim.
pub(crate) struct Listeners {
    runtime: Runtime,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    pub(crate) address: Address,
    pub(crate) has_pages: bool,
    /// What is taken where, by protocol.
    pub(crate) taking: Vec<(&'static str, Address)>,
}

impl Listeners {
    /// Takes connections from now on.
    pub(crate) fn open(
        config: &Config,
        doors: Doors,
        parts: &BTreeSet<Part>,
        intake: Intake,
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
        let takes_logs = parts.contains(&Part::Ingest);
        let input = if takes_logs { KafkaInput::open(config)? } else { None };
        let Doors { web: door, tls, senders, doors } = doors;
        let address = door.address;
        let mut rim = Rim { intake, senders, tls, connections_max, stopped, tasks: Vec::new() };
        let mut taking = Vec::new();
        runtime.block_on(async {
            if let Some(tls) = rim.tls.clone() {
                // It goes on for ever; nobody waits for it.
                tokio::spawn(tls.watch());
            }
            let limits = ingest::http::HttpLimits {
                body_bytes_max: config.server.body_bytes_max,
                ..ingest::http::HttpLimits::default()
            };
            let mut senders = config.senders()?;
            senders.push(SenderSettings {
                name: TOKEN_SENDER.to_owned(),
                secret: state.token.reveal().to_owned(),
                ..SenderSettings::default()
            });
            let with_token = Senders::new(&senders, false)?;
            let ingest = ingest::http::router(rim.intake.clone(), limits);
            let router = if !parts.contains(&Part::Web) {
                web::ingest_router(state, ingest)
            } else {
                let ingest = parts.contains(&Part::Ingest).then_some(ingest);
                web::router(state, ingest)
            };
            rim.serve(door, router)?;
            for door in doors {
                let (kind, address) = (door.kind, door.address);
                match kind {
                    // It was opened above.
                    Kind::Web => continue,
                    Kind::Shippers => {
                        let intake = rim.intake.clone();
                        rim.serve(
                            door,
                            ingest::http::shippers(intake, with_token.clone(), limits),
                        )?;
                    }
                    Kind::SyslogUdp => {
                        rim.datagrams(&door, syslog::UDP_LISTENER, SyslogDatagram).await?;
                    }
                    Kind::Fluent => {
                        let make = || Fluent::new(fluent::MESSAGE_BYTES_MAX);
                        rim.stream(&door, fluent::LISTENER, make).await?;
                    }
                    Kind::Lumberjack => {
                        let make = || Lumberjack::new(LINE_BYTES_MAX);
                        rim.stream(&door, lumberjack::LISTENER, make).await?;
                    }
                    Kind::GelfTcp => {
                        let make = || GelfStream::new(LINE_BYTES_MAX);
                        rim.stream(&door, gelf::TCP_LISTENER, make).await?;
                    }
                    Kind::GelfUdp => {
                        rim.datagrams(&door, gelf::UDP_LISTENER, GelfDatagram::default()).await?;
                    }
                    Kind::SyslogTcp => {
                        let name = match address.is_tls() {
                            true => syslog::TLS_LISTENER,
                            false => syslog::TCP_LISTENER,
                        };
                        let make = || Syslog::new(syslog::MESSAGE_BYTES_MAX);
                        rim.stream(&door, name, make).await?;
                    }
                }
                taking.push((kind.says(), address));
            }
            Ok::<(), EngineError>(())
        })?;
        if let Some(input) = input {
            let (intake, stopped) = (rim.intake.clone(), rim.stopped.clone());
            let handle = runtime.handle().clone();
            rim.tasks.push(runtime.spawn_blocking(move || input.run(&intake, stopped, &handle)));
        }
        let has_pages = parts.contains(&Part::Web);
        Ok(Listeners { runtime, stop, tasks: rim.tasks, address, has_pages, taking })
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

/// What all listeners are opened with.
struct Rim {
    intake: Intake,
    senders: Senders,
    tls: Option<Tls>,
    connections_max: usize,
    stopped: watch::Receiver<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Rim {
    /// A door was checked, so a scheme of TLS has something to do it with.
    fn security(&self, address: Address) -> Security {
        match (address.scheme, &self.tls) {
            (Scheme::Tls, Some(tls)) => Security::Tls(tls.clone()),
            (Scheme::Mutual, Some(tls)) => Security::Mutual(tls.clone()),
            _ => Security::Plain,
        }
    }

    fn serve(&mut self, door: Door, router: axum::Router) -> Result<(), EngineError> {
        let Some(socket) = door.socket else { return Ok(()) };
        let listener = TcpListener::from_std(socket)
            .map_err(listen(door.kind.setting(), door.address.socket))?;
        let limits = web::ServeLimits::default();
        let connections_max = limits.connections_max.min(self.connections_max);
        let limits = web::ServeLimits { connections_max, ..limits };
        let security = self.security(door.address);
        let stopped = until_true(self.stopped.clone());
        self.tasks.push(tokio::spawn(web::serve(listener, security, router, limits, stopped)));
        Ok(())
    }

    async fn stream<P: Protocol>(
        &mut self,
        door: &Door,
        listener: &'static str,
        make: impl Fn() -> P + Send + 'static,
    ) -> Result<(), EngineError> {
        let limits = StreamLimits::default();
        let setting = Setting {
            intake: self.intake.clone(),
            senders: self.senders.clone(),
            security: self.security(door.address),
            limits: StreamLimits {
                connections_max: limits.connections_max.min(self.connections_max),
                ..limits
            },
        };
        let socket = door.address.socket;
        let stream = Stream::bind(listener, socket, setting, make)
            .await
            .map_err(listen(door.kind.setting(), socket))?;
        self.tasks.push(tokio::spawn(stream.run(until_true(self.stopped.clone()))));
        Ok(())
    }

    async fn datagrams(
        &mut self,
        door: &Door,
        listener: &'static str,
        protocol: impl DatagramProtocol,
    ) -> Result<(), EngineError> {
        let (intake, senders) = (self.intake.clone(), self.senders.clone());
        let socket = door.address.socket;
        let datagrams =
            Datagrams::bind(listener, socket, intake, senders, GATHERED_BYTES_MAX, protocol)
                .await
                .map_err(listen(door.kind.setting(), socket))?;
        self.tasks.push(tokio::spawn(datagrams.run(until_true(self.stopped.clone()))));
        Ok(())
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

/// What listens at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Web,
    Shippers,
    SyslogUdp,
    SyslogTcp,
    Fluent,
    Lumberjack,
    GelfTcp,
    GelfUdp,
}

impl Kind {
    /// The setting of its addresses.
    const fn setting(self) -> &'static str {
        match self {
            Kind::Web => "server.listen",
            Kind::Shippers => "shippers.listen",
            Kind::SyslogUdp => "syslog.udp",
            Kind::SyslogTcp => "syslog.tcp",
            Kind::Fluent => "fluent.listen",
            Kind::Lumberjack => "lumberjack.listen",
            Kind::GelfTcp => "gelf.tcp",
            Kind::GelfUdp => "gelf.udp",
        }
    }

    /// What it takes, for people.
    const fn says(self) -> &'static str {
        match self {
            Kind::Web => "pages and API",
            Kind::Shippers => "shippers over HTTP",
            Kind::SyslogUdp => "syslog over UDP",
            Kind::SyslogTcp => "syslog over TCP",
            Kind::Fluent => "Fluentd's forward protocol",
            Kind::Lumberjack => "Lumberjack (Beats)",
            Kind::GelfTcp => "GELF over TCP",
            Kind::GelfUdp => "GELF over UDP",
        }
    }

    /// Whether its port is bound before anything is opened.
    const fn is_http(self) -> bool {
        matches!(self, Kind::Web | Kind::Shippers)
    }

    const fn is_datagrams(self) -> bool {
        matches!(self, Kind::SyslogUdp | Kind::GelfUdp)
    }
}

/// An address that nobody needs to be asked about, and its socket where it is bound already.
struct Door {
    kind: Kind,
    address: Address,
    socket: Option<std::net::TcpListener>,
}

/// All that listens, checked: with it a second start on the same machine touches nothing.
pub(crate) struct Doors {
    web: Door,
    tls: Option<Tls>,
    senders: Senders,
    doors: Vec<Door>,
}

/// Where these parts would listen, by setting.
///
/// # Errors
/// When an address, the TLS identity or a sender is refused.
pub(crate) fn addresses(
    config: &Config,
    parts: &[Part],
) -> Result<Vec<(&'static str, Address)>, EngineError> {
    let parts = parts.iter().copied().collect();
    let wanted = wanted(config, &parts);
    if !wanted.is_empty() {
        check(config, &wanted)?;
        Senders::new(&config.senders()?, config.ingest.unknown_senders)?;
    }
    Ok(wanted.into_iter().map(|(kind, address)| (kind.setting(), address)).collect())
}

/// What listens for these parts.
fn wanted(config: &Config, parts: &BTreeSet<Part>) -> Vec<(Kind, Address)> {
    let takes_logs = parts.contains(&Part::Ingest);
    if !takes_logs && !parts.contains(&Part::Web) {
        return Vec::new();
    }
    let none = Addresses::default();
    let if_taken = |addresses| if takes_logs { addresses } else { &none };
    let of = |kind, addresses: &Addresses| {
        addresses.0.iter().map(|&address| (kind, address)).collect::<Vec<_>>()
    };
    let mut all = vec![(Kind::Web, config.server.listen)];
    all.extend(of(Kind::Shippers, if_taken(&config.shippers.listen)));
    all.extend(of(Kind::SyslogUdp, if_taken(&config.syslog.udp)));
    all.extend(of(Kind::SyslogTcp, if_taken(&config.syslog.tcp)));
    all.extend(of(Kind::Fluent, if_taken(&config.fluent.listen)));
    all.extend(of(Kind::Lumberjack, if_taken(&config.lumberjack.listen)));
    all.extend(of(Kind::GelfTcp, if_taken(&config.gelf.tcp)));
    all.extend(of(Kind::GelfUdp, if_taken(&config.gelf.udp)));
    all
}

/// Opens the TLS identity, if there is one, and refuses what nobody should do without saying so.
fn check(config: &Config, wanted: &[(Kind, Address)]) -> Result<Option<Tls>, EngineError> {
    let files = TlsFiles {
        certificate: config.tls.certificate.clone(),
        key: config.tls.key.clone(),
        client_ca: config.tls.client_ca.clone(),
    };
    let tls = match files.certificate.as_os_str().is_empty() {
        true => None,
        false => Some(Tls::open(files)?),
    };
    for &(kind, address) in wanted {
        let setting = kind.setting();
        let is_local = address.socket.ip().is_loopback() || config.server.insecure;
        let lacks = |what| Err(EngineError::NoTls { setting, address, what });
        match address.scheme {
            Scheme::Local if !is_local => {
                return Err(EngineError::Exposed { setting, address: address.socket });
            }
            Scheme::Local | Scheme::Plain => {}
            Scheme::Tls | Scheme::Mutual if kind.is_datagrams() => {
                return lacks("TLS, and datagrams have none; use TCP, or plain:// if you mean it");
            }
            Scheme::Tls if tls.is_none() => {
                return lacks("TLS, and table [tls] names no certificate and key");
            }
            Scheme::Mutual if !tls.as_ref().is_some_and(Tls::is_mutual) => {
                return lacks(
                    "certificates of clients, and table [tls] names no certificate, key and client_ca",
                );
            }
            Scheme::Tls | Scheme::Mutual => {}
        }
    }
    Ok(tls)
}

impl Doors {
    /// Checks all addresses, and binds those of HTTP. `None` if these parts listen to nothing.
    pub(crate) fn bind(
        config: &Config,
        parts: &BTreeSet<Part>,
    ) -> Result<Option<Doors>, EngineError> {
        let wanted = wanted(config, parts);
        let tls = check(config, &wanted)?;
        let senders = Senders::new(&config.senders()?, config.ingest.unknown_senders)?;
        let mut doors = Vec::new();
        for (kind, address) in wanted {
            doors.push(Door::open(kind, address)?);
        }
        if doors.is_empty() {
            return Ok(None);
        }
        let web = doors.remove(0);
        Ok(Some(Doors { web, tls, senders, doors }))
    }
}

impl Door {
    fn open(kind: Kind, address: Address) -> Result<Door, EngineError> {
        if !kind.is_http() {
            return Ok(Door { kind, address, socket: None });
        }
        let bound = std::net::TcpListener::bind(address.socket).and_then(|socket| {
            socket.set_nonblocking(true)?;
            let address = socket.local_addr()?;
            Ok((socket, address))
        });
        let (socket, at) = bound.map_err(listen(kind.setting(), address.socket))?;
        let address = Address { socket: at, ..address };
        Ok(Door { kind, address, socket: Some(socket) })
    }
}

fn listen(
    setting: &'static str,
    address: SocketAddr,
) -> impl FnOnce(std::io::Error) -> EngineError {
    move |source| EngineError::Listen { setting, address, source }
}
