//! The router with all that stands around it, and serving it until it is told to stop.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, FromRef};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use axum::{Router, http};
use tokio::net::TcpListener;

use crate::search::Searches;
use crate::{AppState, access, api, auth, health, pages};

/// The largest body of a request to our own routes. None of them reads one; the listener for events
/// has its own, larger bound.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// How long requests that run may go on once the server is told to stop.
const GRACE: Duration = Duration::from_secs(5);

/// What handlers are given.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) app: AppState,
    pub(crate) searches: Searches,
}

impl FromRef<Context> for AppState {
    fn from_ref(context: &Context) -> AppState {
        context.app.clone()
    }
}

/// All pages and calls. `ingest` is the listener for events; it is put behind the same token.
pub fn router(state: AppState, ingest: Option<Router>) -> Router {
    let searches = Searches::new(state.index.searcher());
    with_context(Context { app: state, searches }, ingest)
}

pub(crate) fn with_context(context: Context, ingest: Option<Router>) -> Router {
    let locked = pages::router()
        .merge(api::router())
        .route("/metrics", get(health::metrics))
        .fallback(pages::nowhere)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(context.clone());
    let locked = match ingest {
        Some(ingest) => locked.merge(ingest),
        None => locked,
    };
    let open = Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/login", get(auth::login))
        .merge(pages::assets())
        .with_state(context.clone());
    locked
        .layer(from_fn_with_state(context.app, auth::require_token))
        .merge(open)
        .layer(from_fn(access::survive))
        .layer(from_fn(auth::protect))
        .layer(from_fn(access::record))
}

/// Serves a router until `shutdown` resolves; requests that run then have a few seconds to end.
///
/// Handlers can ask for the peer's address (`ConnectInfo<SocketAddr>`).
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let (tell, told) = tokio::sync::oneshot::channel();
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let serving = axum::serve(listener, service).with_graceful_shutdown(async move {
        shutdown.await;
        // Nobody listens if serving ended by itself.
        tell.send(()).ok();
    });
    let late = async {
        if told.await.is_err() {
            // It ended by itself; the other branch tells how.
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        ended = async { serving.await } => ended,
        () = late => {
            tracing::warn!(grace = ?GRACE, "requests were cut off at shutdown");
            Ok(())
        }
    }
}

/// A path for what is not a page, so that programs get JSON and people a page.
pub(crate) fn is_for_programs(uri: &http::Uri) -> bool {
    let path = uri.path();
    path.starts_with("/api/") || path.starts_with("/ingest/") || path == "/metrics"
}
