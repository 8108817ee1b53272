//! TLS of all listeners: one identity, exchanged while everything runs.
//!
//! rustls, TLS 1.2 and 1.3. The files are looked at every few seconds: a renewed certificate is used
//! by the next connection, and one that can't be read leaves the old one in use and is told.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};
use tokio_rustls::TlsAcceptor;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::metrics;

/// How long a peer may take to agree on TLS.
pub const HANDSHAKE_WAIT_MAX: Duration = Duration::from_secs(10);

/// How often the files are looked at.
pub const RELOAD_EVERY: Duration = Duration::from_secs(10);

/// Where the identity is, all in PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those between it and the root.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The certificates that sign those of clients; empty if none is asked for one.
    pub client_ca: PathBuf,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file.
    #[error("tls.{setting} = {}: {reason}", path.display())]
    File {
        /// The setting.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Certificate and key do not belong together, or are of a kind that is not read.
    #[error("the certificate and key in table [tls] can't be used: {0}")]
    Identity(String),
}

/// The TLS identity of this process. Clones share it.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    files: TlsFiles,
    current: RwLock<Current>,
}

struct Current {
    /// Asks no client for a certificate.
    open: Arc<ServerConfig>,
    /// Asks every client for a certificate, if there is something to check it with.
    mutual: Option<Arc<ServerConfig>>,
    seen: Vec<Option<SystemTime>>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tls").field(&self.0.files).finish()
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// What is wrong with which.
    pub fn open(files: TlsFiles) -> Result<Tls, TlsError> {
        let current = Current::read(&files)?;
        Ok(Tls(Arc::new(Inner { files, current: RwLock::new(current) })))
    }

    /// Whether clients can be asked for a certificate.
    pub fn is_mutual(&self) -> bool {
        !self.0.files.client_ca.as_os_str().is_empty()
    }

    /// Reads the files again if they changed; the old identity stays if they can't be read.
    ///
    /// # Errors
    /// What is wrong with which.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let seen = times(&self.0.files);
        if self.0.current.read().unwrap_or_else(PoisonError::into_inner).seen == seen {
            return Ok(false);
        }
        let current = Current::read(&self.0.files);
        let mut kept = self.0.current.write().unwrap_or_else(PoisonError::into_inner);
        // Told once for each change.
        kept.seen = seen;
        *kept = current?;
        Ok(true)
    }

    /// Looks at the files for ever.
    pub async fn watch(self) {
        loop {
            tokio::time::sleep(RELOAD_EVERY).await;
            match self.reload() {
                Ok(false) => {}
                Ok(true) => tracing::info!("the TLS certificate was read again and is in use"),
                Err(error) => {
                    metrics::TLS_RELOAD_FAILURES.inc();
                    tracing::error!(%error, "the TLS certificate changed and can't be used; the old one stays in use");
                }
            }
        }
    }
}

impl Current {
    fn read(files: &TlsFiles) -> Result<Current, TlsError> {
        let seen = times(files);
        let chain = certificates("certificate", &files.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| TlsError::File {
            setting: "key",
            path: files.key.clone(),
            reason: error.to_string(),
        })?;
        let identity = |error: rustls::Error| TlsError::Identity(error.to_string());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = || {
            ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
        };
        let finish = |mut config: ServerConfig| {
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            Arc::new(config)
        };
        let open = builder()
            .map_err(identity)?
            .with_no_client_auth()
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(identity)?;
        let mutual = if files.client_ca.as_os_str().is_empty() {
            None
        } else {
            let wrong = |reason: String| TlsError::File {
                setting: "client_ca",
                path: files.client_ca.clone(),
                reason,
            };
            let mut roots = RootCertStore::empty();
            for certificate in certificates("client_ca", &files.client_ca)? {
                roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            let verifier = verifier.build().map_err(|error| wrong(error.to_string()))?;
            let config = builder()
                .map_err(identity)?
                .with_client_cert_verifier(verifier)
                .with_single_cert(chain, key)
                .map_err(identity)?;
            Some(finish(config))
        };
        Ok(Current { open: finish(open), mutual, seen })
    }
}

fn certificates(
    setting: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |reason: String| TlsError::File { setting, path: path.to_owned(), reason };
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(|found| found.collect::<Result<Vec<_>, _>>())
        .map_err(|error| wrong(error.to_string()))?;
    if chain.is_empty() { Err(wrong("there is no certificate in it".into())) } else { Ok(chain) }
}

fn times(files: &TlsFiles) -> Vec<Option<SystemTime>> {
    [&files.certificate, &files.key, &files.client_ca]
        .map(|path| path.metadata().and_then(|data| data.modified()).ok())
        .into()
}

/// What a listener does about TLS.
#[derive(Debug, Clone)]
pub enum Security {
    /// None.
    Plain,
    /// It speaks TLS.
    Tls(Tls),
    /// It speaks TLS, and its clients must show a certificate.
    Mutual(Tls),
}

impl Security {
    /// What accepts the next connection; `None` if it is plain.
    pub fn acceptor(&self) -> Option<TlsAcceptor> {
        let config = match self {
            Security::Plain => return None,
            Security::Tls(tls) => Arc::clone(&current(tls).open),
            Security::Mutual(tls) => {
                let current = current(tls);
                // Checked when the listener was opened; a reload keeps it.
                Arc::clone(current.mutual.as_ref().unwrap_or(&current.open))
            }
        };
        Some(TlsAcceptor::from(config))
    }
}

fn current(tls: &Tls) -> std::sync::RwLockReadGuard<'_, Current> {
    tls.0.current.read().unwrap_or_else(PoisonError::into_inner)
}

/// The names in the certificate that a client proved: the subject's common names and the DNS names.
pub fn certificate_names(connection: &ServerConnection) -> Vec<String> {
    let Some(certificate) = connection.peer_certificates().and_then(<[_]>::first) else {
        return Vec::new();
    };
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return Vec::new() };
    let common = certificate.subject().iter_common_name();
    let mut names: Vec<String> =
        common.filter_map(|name| name.as_str().ok()).map(str::to_owned).collect();
    if let Ok(Some(alternative)) = certificate.subject_alternative_name() {
        names.extend(alternative.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        }));
    }
    names
}
