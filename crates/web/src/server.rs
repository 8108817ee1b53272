//! The router with all that stands around it, and serving it until it is told to stop.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRef};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use axum::{Router, http};
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tls::{ClientNames, HANDSHAKE_WAIT_MAX, Security, certificate_names};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::search::Searches;
use crate::{AppState, access, api, auth, elastic, health, pages};

/// The largest body of a request to our own routes: a thousand places of rejected records take less.
/// The listener for events has its own, larger bound.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// How long requests that run may go on once the server is told to stop.
const GRACE: Duration = Duration::from_secs(5);

/// How long to wait when no connection can be accepted, usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What handlers are given.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) app: AppState,
    pub(crate) searches: Searches,
    /// The turn to read the topic `rejected`.
    pub(crate) rejected: Arc<Semaphore>,
}

impl Context {
    pub(crate) fn new(app: AppState) -> Self {
        let searches = Searches::new(Arc::clone(&app.search));
        Context { app, searches, rejected: Arc::new(Semaphore::new(1)) }
    }
}

impl FromRef<Context> for AppState {
    fn from_ref(context: &Context) -> AppState {
        context.app.clone()
    }
}

/// All pages and calls. `ingest` is the listener for events; it is put behind the same token.
pub fn router(state: AppState, ingest: Option<Router>) -> Router {
    with_context(Context::new(state), ingest)
}

pub(crate) fn with_context(context: Context, ingest: Option<Router>) -> Router {
    let mut locked = pages::router().merge(api::router());
    if context.app.is_indexed {
        locked = locked.merge(elastic::router());
    }
    let open = pages::assets().route("/login", get(auth::login));
    guarded(context, locked, open, ingest)
}

/// The listener for events alone, with what operators ask of a process, for one that has no pages.
pub fn ingest_router(state: AppState, ingest: Router) -> Router {
    guarded(Context::new(state), Router::new(), Router::new(), Some(ingest))
}

/// Routes behind the token and open ones, with what stands around all of them.
fn guarded(
    context: Context,
    locked: Router<Context>,
    open: Router<Context>,
    ingest: Option<Router>,
) -> Router {
    let locked = locked
        .route("/metrics", get(health::metrics))
        .fallback(pages::nowhere)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(context.clone());
    let locked = match ingest {
        Some(ingest) => locked.merge(ingest),
        None => locked,
    };
    let open = open
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .with_state(context.clone());
    locked
        .layer(from_fn_with_state(context.app, auth::require_token))
        .merge(open)
        .layer(from_fn(access::survive))
        .layer(from_fn(auth::protect))
        .layer(from_fn(access::record))
}

/// The bounds of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServeLimits {
    /// The most connections at once. More wait in the queue of the system: each takes a file, and
    /// when there are none left, bus and index cannot write.
    pub connections_max: usize,
    /// How long the head of a request may take to arrive, and a new connection may be without one.
    pub head_wait_max: Duration,
    /// How long a connection may be without a request after one; over HTTP/1 `head_wait_max` holds.
    pub idle_max: Duration,
}

impl Default for ServeLimits {
    fn default() -> Self {
        ServeLimits {
            connections_max: 1000,
            // Longer than proxies and shippers keep an idle connection at hand costs nothing but
            // a file; shorter would cost them a connection each time.
            head_wait_max: Duration::from_secs(60),
            // Senders by gRPC keep one connection for all that they send.
            idle_max: Duration::from_secs(600),
        }
    }
}

/// The most requests of one connection of HTTP/2 at once.
const STREAMS_MAX: u32 = 100;

/// Serves a router until `shutdown` resolves; requests that run then have a few seconds to end.
/// HTTP/1.1 and HTTP/2, which a client of a plain connection begins without asking.
///
/// Handlers can ask for the peer's address (`ConnectInfo<SocketAddr>`) and the names in the
/// certificate that it proved ([`ClientNames`]).
pub async fn serve(
    listener: TcpListener,
    security: Security,
    router: Router,
    limits: ServeLimits,
    shutdown: impl Future<Output = ()>,
) {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(limits.head_wait_max);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(limits.head_wait_max)
        .keep_alive_timeout(limits.head_wait_max);
    let connections = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let mut shutdown = pin!(shutdown);
    loop {
        let accept = async {
            // Nobody closes the semaphore.
            let place = Arc::clone(&places).acquire_owned().await.ok();
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accept => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Answers are small and written at once. It works without.
        stream.set_nodelay(true).ok();
        let (http, router, watcher) = (http.clone(), router.clone(), connections.watcher());
        let acceptor = security.acceptor();
        tokio::spawn(async move {
            let _place = place;
            let names = ClientNames::default();
            let Some(acceptor) = acceptor else {
                let asking = Asking { peer, names, limits };
                return talk(&http, stream, router, asking, watcher).await;
            };
            match timeout(HANDSHAKE_WAIT_MAX, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    let names = ClientNames(certificate_names(stream.get_ref().1).into());
                    talk(&http, stream, router, Asking { peer, names, limits }, watcher).await;
                }
                Ok(Err(error)) => tracing::warn!(%error, %peer, "TLS could not be agreed"),
                Err(_) => tracing::debug!(%peer, "connection closed, TLS was not agreed in time"),
            }
        });
    }
    drop(listener);
    if timeout(GRACE, connections.shutdown()).await.is_err() {
        tracing::warn!(grace = ?GRACE, "requests were cut off at shutdown");
    }
}

/// Serves one connection to its end, or until nobody asks anything.
async fn talk(
    http: &auto::Builder<TokioExecutor>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    asking: Asking,
    watcher: Watcher,
) {
    let Asking { peer, names, limits } = asking;
    let router = TowerToHyperService::new(router);
    // How many requests run, and since when none does.
    let (running, mut changes) = watch::channel((0_usize, Instant::now()));
    let running = Arc::new(running);
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(names.clone());
        let runs = Running::begin(&running);
        let answer = router.call(request);
        async move {
            let _runs = runs;
            answer.await
        }
    });
    let connection = http.serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(watcher.watch(connection.into_owned()));
    // HTTP/1 bounds the head of a request by itself, but not the first byte of a connection, which
    // tells what it speaks; HTTP/2 bounds neither.
    let mut wait_max = limits.head_wait_max;
    loop {
        let (count, since) = *changes.borrow_and_update();
        tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(%error, %peer, "connection lost");
                }
                return;
            }
            // It ends with the connection only.
            _ = changes.changed() => wait_max = limits.idle_max,
            () = sleep_until(since + wait_max), if count == 0 => {
                tracing::debug!(%peer, "connection closed, nothing was asked");
                return;
            }
        }
    }
}

/// Who asks on a connection, and what its bounds are.
struct Asking {
    peer: SocketAddr,
    names: ClientNames,
    limits: ServeLimits,
}

/// A request that runs; also one whose client is gone ends.
struct Running(Arc<watch::Sender<(usize, Instant)>>);

impl Running {
    fn begin(running: &Arc<watch::Sender<(usize, Instant)>>) -> Self {
        running.send_modify(|(count, since)| (*count, *since) = (*count + 1, Instant::now()));
        Running(Arc::clone(running))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|(count, since)| (*count, *since) = (*count - 1, Instant::now()));
    }
}

/// A path for what is not a page, so that programs get JSON and people a page.
pub(crate) fn is_for_programs(uri: &http::Uri) -> bool {
    let path = uri.path();
    let programs = ["/api/", "/ingest/", "/es/"];
    programs.iter().any(|start| path.starts_with(start))
        || path == "/metrics"
        || path == elastic::PREFIX
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

    async fn serving(limits: ServeLimits) -> (SocketAddr, oneshot::Sender<()>, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route(
            "/",
            get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.ip().to_string() }),
        );
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(async move {
            serve(listener, Security::Plain, router, limits, async {
                stopped.await.unwrap_or_default()
            })
            .await;
        });
        (address, stop, server)
    }

    async fn ask(address: SocketAddr, request: &[u8]) -> (TcpStream, String) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        (stream, answer)
    }

    /// Who opens connections and says nothing, or a letter now and then, has them for a while only,
    /// and never more of them than there are places.
    #[tokio::test]
    async fn connections_are_bounded_in_number_and_in_waiting() {
        let head_wait_max = Duration::from_millis(100);
        let limits = ServeLimits { connections_max: 2, head_wait_max, ..ServeLimits::default() };
        let (address, stop, server) = serving(limits).await;
        let mut silent = TcpStream::connect(address).await.unwrap();
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET / HTTP/1.1\r\nX").await.unwrap();
        // It comes third, and is answered once one of them is cut off.
        let (_, answer) = ask(address, REQUEST).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("127.0.0.1"), "{answer}");
        let mut nothing = Vec::new();
        silent.read_to_end(&mut nothing).await.unwrap();
        slow.read_to_end(&mut nothing).await.unwrap();
        assert_eq!(nothing.escape_ascii().to_string(), "");
        stop.send(()).unwrap();
        server.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    /// Over HTTP/2 nothing else would end a connection on which nobody asks anything.
    #[tokio::test]
    async fn a_connection_without_requests_ends_over_http_2_too() {
        let limits = ServeLimits {
            head_wait_max: Duration::from_millis(100),
            idle_max: Duration::from_millis(100),
            ..ServeLimits::default()
        };
        let (address, stop, server) = serving(limits).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The preface, and empty settings.
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        let mut answer = Vec::new();
        let ended = timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
        ended.expect("it is closed").ok();
        assert_eq!(answer.get(3), Some(&4), "settings were answered");
        stop.send(()).unwrap();
        server.await.unwrap();
    }
}
