//! What stands around every request: the log, the counters, and a catch for panics.
//!
//! The log has the path and never the query string: that is where `/login` has its token, and where
//! queries have the names of people who are looked into. Routes in metrics are the patterns
//! (`/events/{id}`), so that the number of series is fixed.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::LazyLock;
use std::task::Poll;
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts};

use crate::pages;
use crate::server::is_for_programs;

static REQUESTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let options = Opts::new("watchpost_http_requests_total", "Requests answered.");
    register(IntCounterVec::new(options, &["route", "status"]).expect("the name is valid"))
});

static SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    // 1 ms to 30 s: from a static file to the longest search.
    let buckets =
        vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
    let options = HistogramOpts::new("watchpost_http_request_seconds", "Time to answer a request.")
        .buckets(buckets);
    register(HistogramVec::new(options, &["route"]).expect("the name is valid"))
});

static PANICS: LazyLock<prometheus::IntCounter> = LazyLock::new(|| {
    register(
        prometheus::IntCounter::new(
            "watchpost_http_panics_total",
            "Panics of request handlers that were caught.",
        )
        .expect("the name is valid"),
    )
});

/// Logs and counts a request.
pub(crate) async fn record(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "other".to_owned(), |route| route.as_str().to_owned());
    let response = next.run(request).await;
    let status = response.status();
    let took = started.elapsed();
    REQUESTS.with_label_values(&[route.as_str(), status.as_str()]).inc();
    SECONDS.with_label_values(&[route.as_str()]).observe(took.as_secs_f64());
    let took_ms = took.as_millis();
    if status.is_server_error() {
        tracing::warn!(%method, %path, status = status.as_u16(), took_ms, "request failed");
    } else {
        tracing::debug!(%method, %path, status = status.as_u16(), took_ms, "request");
    }
    response
}

/// Turns a panic of a handler into an answer. The connection and the process live on.
pub(crate) async fn survive(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let for_programs = is_for_programs(request.uri());
    let mut running = pin!(next.run(request));
    let ended = poll_fn(|context| {
        match catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(response)) => Poll::Ready(Some(response)),
            Err(_) => Poll::Ready(None),
        }
    });
    if let Some(response) = ended.await {
        return response;
    }
    // What it said and where was printed by the panic hook.
    PANICS.inc();
    tracing::error!(%path, "a request handler panicked");
    let text = "this is a fault of the server; its log says more";
    if for_programs {
        let body = axum::Json(serde_json::json!({ "error": text }));
        return (StatusCode::INTERNAL_SERVER_ERROR, body).into_response();
    }
    pages::message(StatusCode::INTERNAL_SERVER_ERROR, "This did not work", text)
}

fn register<C: prometheus::core::Collector + Clone + 'static>(collector: C) -> C {
    // A name that is taken already is a mistake in this file; the metric still counts, unseen.
    prometheus::register(Box::new(collector.clone())).ok();
    collector
}
