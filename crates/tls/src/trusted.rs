//! Whom a client trusts when nobody says: what the system trusts.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Where systems keep the certificates that they trust, if `SSL_CERT_FILE` names no other file.
const SYSTEM_CERTIFICATES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// The certificates that the system trusts; none if it has none, and then no server is trusted.
pub fn system_certificates() -> Vec<CertificateDer<'static>> {
    match std::env::var_os("SSL_CERT_FILE") {
        Some(named) => certificates_of(Path::new(&named)).unwrap_or_default(),
        None => {
            let found =
                SYSTEM_CERTIFICATES.iter().find_map(|path| certificates_of(path.as_ref()).ok());
            found.unwrap_or_default()
        }
    }
}

/// The certificates of a file, in PEM.
///
/// # Errors
/// When it cannot be read, or has none.
pub fn certificates_of(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let certificates: Vec<CertificateDer<'static>> =
        read.map_err(|error| format!("cannot be read: {error}"))?;
    match certificates.is_empty() {
        true => Err("has no certificate".to_owned()),
        false => Ok(certificates),
    }
}

#[cfg(test)]
mod tests {
    use super::certificates_of;

    #[test]
    fn a_file_without_certificates_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        assert!(certificates_of(&path).unwrap_err().starts_with("cannot be read"));
        std::fs::write(&path, "none").unwrap();
        assert_eq!(certificates_of(&path).unwrap_err(), "has no certificate");
        let key = rcgen::KeyPair::generate().unwrap();
        let made =
            rcgen::CertificateParams::new(vec!["a.example".into()]).unwrap().self_signed(&key);
        std::fs::write(&path, made.unwrap().pem()).unwrap();
        assert_eq!(certificates_of(&path).unwrap().len(), 1);
    }
}
