//! Requests to a bucket over the HTTP client that the project has, `ureq`, instead of one more.
//!
//! `object_store` signs requests, tries them again and reads the answers; only sending is done here,
//! in a thread, because the client blocks.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::BodyExt;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// How long one request may take: a piece over a line of 1 Mbit/s.
const TIME_MAX: Duration = Duration::from_secs(180);

/// How long a connection may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(20);

/// The largest answer that is read: the manifest of some hundred thousand files.
const ANSWER_BYTES_MAX: u64 = 4 * crate::PIECE_BYTES as u64;

/// Makes the client.
#[derive(Debug)]
pub(crate) struct Ureq;

#[derive(Debug)]
struct Client(ureq::Agent);

impl HttpConnector for Ureq {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&certificates()))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let agent = ureq::Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(CONNECT_MAX))
            .timeout_global(Some(TIME_MAX))
            .build()
            .into();
        Ok(HttpClient::new(Client(agent)))
    }
}

/// The certificates that sign those of stores.
fn certificates() -> Vec<Certificate<'static>> {
    let trusted = tls::system_certificates();
    trusted.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect()
}

#[async_trait]
impl HttpService for Client {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let agent = self.0.clone();
        let sent = tokio::task::spawn_blocking(move || send(&agent, head, &body)).await;
        sent.map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?
    }
}

fn send(
    agent: &ureq::Agent,
    head: ureq::http::request::Parts,
    body: &[u8],
) -> Result<HttpResponse, HttpError> {
    let answer = if body.is_empty() && head.method != ureq::http::Method::PUT {
        agent.run(ureq::http::Request::from_parts(head, ()))
    } else {
        agent.run(ureq::http::Request::from_parts(head, body))
    };
    let (head, mut body) = answer.map_err(failed)?.into_parts();
    let bytes = body.with_config().limit(ANSWER_BYTES_MAX).read_to_vec().map_err(failed)?;
    Ok(HttpResponse::from_parts(head, HttpResponseBody::from(bytes)))
}

fn failed(error: ureq::Error) -> HttpError {
    let kind = match &error {
        ureq::Error::Timeout(_) => HttpErrorKind::Timeout,
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => HttpErrorKind::Connect,
        ureq::Error::Io(_) => HttpErrorKind::Interrupted,
        _ => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, error)
}
