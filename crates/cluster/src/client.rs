//! Calls to the cluster: JSON over HTTP, bounded in time and size.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::settings::{self, Settings};

/// The largest answer that is read: a page of the largest events that are taken.
const ANSWER_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// How long a connection may take to be made. A cluster is near; one that is not there is told soon.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// The longest part of a cluster's own words that is passed on.
const REASON_CHARS_MAX: usize = 500;

/// Why the cluster did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A setting.
    #[error("search.{setting} {problem}")]
    Setting {
        /// Which.
        setting: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// It cannot be reached, or gave no answer in time.
    #[error("{url}: {problem}")]
    Unreachable {
        /// Where it should be.
        url: String,
        /// What happened instead.
        problem: String,
    },
    /// It answered that it would not.
    #[error("{url} answered {status}: {reason}")]
    Refused {
        /// Where it is.
        url: String,
        /// The status of HTTP.
        status: u16,
        /// Its words.
        reason: String,
    },
    /// It answered something that is no answer to what was asked.
    #[error("{url} answered something else: {problem}")]
    Answer {
        /// Where it is.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// A way to the cluster; clones share its connections.
#[derive(Clone)]
pub(crate) struct Client {
    agent: ureq::Agent,
    url: String,
    authorization: Option<String>,
}

impl Client {
    pub(crate) fn new(settings: &Settings) -> Result<Client, ClusterError> {
        let wrong = |setting, problem: String| ClusterError::Setting { setting, problem };
        if !settings.url.starts_with("http://") && !settings.url.starts_with("https://") {
            return Err(wrong("url", "has to begin with http:// or https://".to_owned()));
        }
        let file = |setting, path| {
            settings::secret(path)
                .map_err(|error| wrong(setting, format!("cannot be read: {error}")))
        };
        let authorization = if !settings.api_key_file.as_os_str().is_empty() {
            Some(format!("ApiKey {}", file("api_key_file", &settings.api_key_file)?))
        } else if !settings.user.is_empty() {
            let password = file("password_file", &settings.password_file)?;
            let plain = format!("{}:{password}", settings.user);
            Some(format!("Basic {}", STANDARD.encode(plain)))
        } else {
            None
        };
        let trusted = match settings.ca.as_os_str().is_empty() {
            true => tls::system_certificates(),
            false => tls::certificates_of(&settings.ca).map_err(|problem| wrong("ca", problem))?,
        };
        let trusted: Vec<Certificate<'_>> =
            trusted.iter().map(|certificate| Certificate::from_der(certificate)).collect();
        let trusted: Vec<Certificate<'static>> =
            trusted.iter().map(Certificate::to_owned).collect();
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&trusted))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_MAX))
            // An answer from elsewhere would be given our credentials.
            .max_redirects(0)
            .tls_config(tls.build())
            .build();
        Ok(Client {
            agent: agent.into(),
            url: settings.url.trim_end_matches('/').to_owned(),
            authorization,
        })
    }

    /// Where the cluster is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn get(&self, path: &str, time_max: Duration) -> Result<Value, ClusterError> {
        let request = self.agent.get(format!("{}/{path}", self.url));
        let request = request.config().timeout_global(Some(time_max)).build();
        self.read(self.known(request).call())
    }

    pub(crate) fn post(
        &self,
        path: &str,
        body: &Value,
        time_max: Duration,
    ) -> Result<Value, ClusterError> {
        self.send(self.agent.post(format!("{}/{path}", self.url)), body.to_string(), time_max)
    }

    pub(crate) fn put(
        &self,
        path: &str,
        body: &Value,
        time_max: Duration,
    ) -> Result<Value, ClusterError> {
        self.send(self.agent.put(format!("{}/{path}", self.url)), body.to_string(), time_max)
    }

    /// Posts lines of JSON.
    pub(crate) fn bulk(&self, lines: String, time_max: Duration) -> Result<Value, ClusterError> {
        self.send(self.agent.post(format!("{}/_bulk", self.url)), lines, time_max)
    }

    fn send(
        &self,
        request: ureq::RequestBuilder<ureq::typestate::WithBody>,
        body: String,
        time_max: Duration,
    ) -> Result<Value, ClusterError> {
        let request = request.config().timeout_global(Some(time_max)).build();
        self.read(self.known(request).header("content-type", "application/json").send(body))
    }

    fn known<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.authorization {
            Some(authorization) => request.header("authorization", authorization),
            None => request,
        }
    }

    fn read(
        &self,
        sent: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Value, ClusterError> {
        let unreachable = |error: ureq::Error| ClusterError::Unreachable {
            url: self.url.clone(),
            problem: error.to_string(),
        };
        let mut response = sent.map_err(unreachable)?;
        let status = response.status();
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX);
        let text = body.read_to_string().map_err(unreachable)?;
        let answer = serde_json::from_str(&text);
        if !status.is_success() {
            let reason = answer.ok().and_then(|answer| reason(&answer)).unwrap_or(text);
            return Err(ClusterError::Refused {
                url: self.url.clone(),
                status: status.as_u16(),
                reason: reason.chars().take(REASON_CHARS_MAX).collect(),
            });
        }
        answer.map_err(|error| self.strange(error.to_string()))
    }

    /// The error of an answer that is none.
    pub(crate) fn strange(&self, problem: impl Into<String>) -> ClusterError {
        ClusterError::Answer { url: self.url.clone(), problem: problem.into() }
    }
}

/// The cluster's words for what is wrong: the deepest, which is the telling one.
pub(crate) fn reason(answer: &Value) -> Option<String> {
    let error = answer.get("error")?;
    let root =
        error.pointer("/root_cause/0/reason").or_else(|| error.get("reason")).unwrap_or(error);
    let cause = error.pointer("/caused_by/reason");
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Some(match cause {
        Some(cause) if cause != root => format!("{}: {}", text(root), text(cause)),
        _ => text(root),
    })
}
