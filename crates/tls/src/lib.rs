//! The TLS identity of a process, exchanged while everything runs, and who its clients are.
//!
//! rustls, TLS 1.2 and 1.3. The files are looked at every few seconds: a renewed certificate is used
//! by the next connection, and one that can't be read leaves the old one in use and is told.

mod trusted;

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use prometheus::IntCounter;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};
use tokio_rustls::TlsAcceptor;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

pub use trusted::{certificates_of, system_certificates};

/// How long a peer may take to agree on TLS.
pub const HANDSHAKE_WAIT_MAX: Duration = Duration::from_secs(10);

/// How often the files are looked at.
pub const RELOAD_EVERY: Duration = Duration::from_secs(10);

static RELOAD_FAILURES: LazyLock<IntCounter> = LazyLock::new(|| {
    let counter = IntCounter::new(
        "watchpost_tls_reload_failures_total",
        "Changes of the TLS certificate that could not be used; the old one stays in use.",
    )
    .expect("the name is valid");
    // A name that is taken already is a mistake in this file; the metric still counts, unseen.
    prometheus::register(Box::new(counter.clone())).ok();
    counter
});

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
                    RELOAD_FAILURES.inc();
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
            // A client of a protocol without answers never reads. If tickets wait for it when it
            // closes its end, its system resets the connection, and what it sent last is lost.
            config.send_tls13_tickets = 0;
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

/// The names in the certificate that the client of a connection proved, as a server of HTTP gives
/// them to its requests.
#[derive(Debug, Clone, Default)]
pub struct ClientNames(pub Arc<[String]>);

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

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, RootCertStore};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::TlsConnector;

    use super::*;

    type Issuer = CertifiedIssuer<'static, KeyPair>;

    fn authority() -> Issuer {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn signed(by: &Issuer, name: &str) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, by).unwrap(), key)
    }

    fn write(folder: &Path, by: &Issuer, name: &str) -> TlsFiles {
        let (certificate, key) = signed(by, name);
        let files = TlsFiles {
            certificate: folder.join("certificate.pem"),
            key: folder.join("key.pem"),
            client_ca: folder.join("ca.pem"),
        };
        std::fs::write(&files.certificate, certificate.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        std::fs::write(&files.client_ca, by.pem()).unwrap();
        files
    }

    /// The common name that the server shows, and what names it saw; an error if TLS fails.
    async fn meet(
        security: &Security,
        by: &Issuer,
        client: Option<(rcgen::Certificate, KeyPair)>,
    ) -> std::io::Result<(String, Vec<String>)> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = security.acceptor().unwrap();
        let server = tokio::spawn(async move {
            let stream = acceptor.accept(listener.accept().await?.0).await?;
            Ok::<_, std::io::Error>(certificate_names(stream.get_ref().1))
        });
        let mut roots = RootCertStore::empty();
        roots.add(by.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match client {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
                builder.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap()
            }
        };
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
        let (_, shown) = X509Certificate::from_der(&shown).unwrap();
        let name = shown.subject().iter_common_name().next().unwrap().as_str().unwrap();
        let names = server.await.unwrap()?;
        Ok((name.to_owned(), names))
    }

    #[tokio::test]
    async fn a_renewed_certificate_is_used_and_a_broken_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let ca = authority();
        let files = write(folder.path(), &ca, "first");
        let tls = Tls::open(files.clone()).unwrap();
        let security = Security::Tls(tls.clone());
        assert_eq!(meet(&security, &ca, None).await.unwrap().0, "first");
        assert!(!tls.reload().unwrap());
        // File systems tell times apart that are this far from each other.
        std::thread::sleep(Duration::from_millis(20));
        write(folder.path(), &ca, "second");
        assert!(tls.reload().unwrap());
        assert_eq!(meet(&security, &ca, None).await.unwrap().0, "second");
        std::thread::sleep(Duration::from_millis(20));
        std::fs::write(&files.key, "no key").unwrap();
        let error = tls.reload().unwrap_err().to_string();
        assert!(error.starts_with("tls.key = "), "{error}");
        // Told once.
        assert!(!tls.reload().unwrap());
        assert_eq!(meet(&security, &ca, None).await.unwrap().0, "second");
    }

    #[tokio::test]
    async fn clients_are_known_by_their_certificate_or_not_let_in() {
        let folder = tempfile::tempdir().unwrap();
        let ca = authority();
        let tls = Tls::open(write(folder.path(), &ca, "server")).unwrap();
        let security = Security::Mutual(tls);
        let (_, names) = meet(&security, &ca, Some(signed(&ca, "edge"))).await.unwrap();
        assert_eq!(names, ["edge", "localhost"]);
        assert!(meet(&security, &ca, None).await.is_err());
        let stranger = authority();
        assert!(meet(&security, &ca, Some(signed(&stranger, "edge"))).await.is_err());
    }

    #[test]
    fn files_that_are_wrong_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let files = write(folder.path(), &authority(), "server");
        let wrong = |files: TlsFiles| Tls::open(files).unwrap_err().to_string();
        let missing = folder.path().join("missing.pem");
        let error = wrong(TlsFiles { certificate: missing, ..files.clone() });
        assert!(
            error.starts_with("tls.certificate = ") && error.contains("missing.pem"),
            "{error}"
        );
        let error = wrong(TlsFiles { client_ca: files.key.clone(), ..files });
        assert!(error.contains("tls.client_ca = ") && error.contains("no certificate"), "{error}");
    }
}
