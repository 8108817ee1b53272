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
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};

/// How long one request may take: a piece over a line of 1 Mbit/s.
const TIME_MAX: Duration = Duration::from_secs(180);

/// How long a connection may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(20);

/// The largest answer that is read: the manifest of some hundred thousand files.
const ANSWER_BYTES_MAX: u64 = 4 * crate::PIECE_BYTES as u64;

/// Where systems keep the certificates that they trust, if `SSL_CERT_FILE` names no other file.
const SYSTEM_CERTIFICATES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

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

/// The certificates that sign those of stores; none if the system has none, and then no store with
/// TLS is trusted.
fn certificates() -> Vec<Certificate<'static>> {
    let named = std::env::var("SSL_CERT_FILE").ok();
    let pem = match named {
        Some(named) => std::fs::read(named).ok(),
        None => SYSTEM_CERTIFICATES.iter().find_map(|path| std::fs::read(path).ok()),
    };
    let pem = pem.unwrap_or_default();
    ureq::tls::parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect()
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
