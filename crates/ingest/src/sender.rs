//! Who may send, and what: by address, by a secret, or by a certificate.
//!
//! A sender is a name with rights. Protocols that can prove who is there (a token, a password, a
//! client's certificate) demand it; the others (plain syslog, GELF) know an address only. Each
//! record carries the name, so that a query can ask what a stolen token sent.
//!
//! Secrets are compared in a time that does not depend on what is offered, all of them each time.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use subtle::{Choice, ConstantTimeEq};

use crate::{DatasetName, NameError, Namespace};

/// The most senders. A request compares its secret with that of each.
pub const SENDERS_MAX: usize = 1000;

/// The fewest bytes of a secret.
pub const SECRET_BYTES_MIN: usize = 16;

/// A sender, as the configuration tells.
#[derive(Debug, Clone, Default)]
pub struct SenderSettings {
    /// Its name: on every record, in the log, in metrics.
    pub name: String,
    /// The secret that proves it: a token, a password, a shared key. Empty: it has none.
    pub secret: String,
    /// A name in the certificate that proves it (subject's common name, or a DNS name).
    pub certificate: String,
    /// Networks that it may send from; anywhere if empty. A sender that has neither secret nor
    /// certificate is known by them alone.
    pub addresses: Vec<String>,
    /// The dataset of what names none.
    pub dataset: String,
    /// The datasets that it may name, `nginx.*` for all that begin so; any if empty.
    pub datasets: Vec<String>,
    /// The namespace of all that it sends.
    pub namespace: String,
}

/// Why the settings of a sender are wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SenderError {
    /// No name, or one that could not be told apart from others.
    #[error(
        "a sender's name must be 1 to 100 letters, digits, `.`, `_` or `-`, and its own; `{0}` is not"
    )]
    Name(String),
    /// A secret that can be guessed.
    #[error(
        "the secret of sender `{0}` has fewer than {SECRET_BYTES_MIN} bytes, which can be guessed; make one with `openssl rand -hex 32`"
    )]
    ShortSecret(String),
    /// Two senders that cannot be told apart.
    #[error(
        "the senders `{0}` and `{1}` have the same secret, so nobody could tell who sent; give each its own"
    )]
    SameSecret(String, String),
    /// A text that is no network.
    #[error("`{1}` of sender `{0}` is no network; write it as 10.0.0.0/8, or as one address")]
    Network(String, String),
    /// Neither secret nor certificate nor address.
    #[error("sender `{0}` can be known by nothing: give it a secret, a certificate or addresses")]
    Unknowable(String),
    /// A dataset or namespace that is none.
    #[error("sender `{0}`: {1}")]
    Value(String, NameError),
    /// Over [`SENDERS_MAX`].
    #[error("there are more than {SENDERS_MAX} senders; let some share a name")]
    TooMany,
}

/// One who may send.
pub struct Sender {
    name: String,
    secret: Option<Box<[u8]>>,
    certificate: Option<String>,
    networks: Vec<IpNet>,
    dataset: String,
    datasets: Vec<Pattern>,
    namespace: Namespace,
}

impl fmt::Debug for Sender {
    /// Never shows the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A dataset, or all that begin so.
#[derive(Debug)]
struct Pattern {
    text: String,
    is_prefix: bool,
}

impl Sender {
    /// Whoever sends where nobody is asked: no name, no bounds.
    pub fn unnamed() -> Self {
        Sender {
            name: String::new(),
            secret: None,
            certificate: None,
            networks: Vec::new(),
            dataset: String::new(),
            datasets: Vec::new(),
            namespace: Namespace::default(),
        }
    }

    fn new(settings: &SenderSettings) -> Result<Sender, SenderError> {
        let SenderSettings { name, secret, certificate, addresses, dataset, datasets, namespace } =
            settings;
        let is_name = (1..=100).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b));
        if !is_name {
            return Err(SenderError::Name(name.clone()));
        }
        if (1..SECRET_BYTES_MIN).contains(&secret.len()) {
            return Err(SenderError::ShortSecret(name.clone()));
        }
        if secret.is_empty() && certificate.is_empty() && addresses.is_empty() {
            return Err(SenderError::Unknowable(name.clone()));
        }
        let value = |error| SenderError::Value(name.clone(), error);
        let networks = addresses.iter().map(|text| {
            let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            network.map_err(|_| SenderError::Network(name.clone(), text.clone()))
        });
        let patterns = datasets.iter().map(|text| {
            let stem = text.strip_suffix('*');
            let whole = stem.map_or(text.as_str(), |stem| stem.trim_end_matches('.'));
            whole.parse::<DatasetName>().map_err(value)?;
            let text = stem.unwrap_or(text).to_owned();
            Ok(Pattern { text, is_prefix: stem.is_some() })
        });
        if !dataset.is_empty() {
            dataset.parse::<DatasetName>().map_err(value)?;
        }
        let namespace = match namespace.as_str() {
            "" => Namespace::default(),
            text => text.parse().map_err(value)?,
        };
        Ok(Sender {
            name: name.clone(),
            secret: (!secret.is_empty()).then(|| secret.as_bytes().into()),
            certificate: (!certificate.is_empty()).then(|| certificate.clone()),
            networks: networks.collect::<Result<_, _>>()?,
            dataset: dataset.clone(),
            datasets: patterns.collect::<Result<_, _>>()?,
            namespace,
        })
    }

    /// Its name; empty for whoever was not asked.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its secret, for protocols in which we prove that we know it too.
    pub(crate) fn secret(&self) -> Option<&[u8]> {
        self.secret.as_deref()
    }

    /// The namespace of what it sends.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The dataset of what it sends without naming one; empty when normalisation finds it out.
    pub fn dataset(&self) -> &str {
        &self.dataset
    }

    /// Whether it may send to this dataset. None named is what normalisation finds out.
    pub fn may_send(&self, dataset: &str) -> bool {
        dataset.is_empty()
            || self.datasets.is_empty()
            || dataset == self.dataset
            || self.datasets.iter().any(|pattern| match pattern.is_prefix {
                true => dataset.starts_with(&pattern.text),
                false => dataset == pattern.text,
            })
    }

    fn may_come_from(&self, address: IpAddr) -> bool {
        self.networks.is_empty() || self.networks.iter().any(|net| net.contains(&address))
    }

    /// Whether the address alone says who it is.
    fn is_known_by_address(&self) -> bool {
        self.secret.is_none() && self.certificate.is_none()
    }
}

/// All who may send. Clones share them.
#[derive(Debug, Clone)]
pub struct Senders(Arc<All>);

#[derive(Debug)]
struct All {
    senders: Vec<Arc<Sender>>,
    /// Who is nobody of them, where a protocol asks nobody; none if such are refused.
    unknown: Option<Arc<Sender>>,
}

impl Senders {
    /// Everybody, unasked: for tests, and behind a server that has asked already.
    pub fn anybody() -> Self {
        Senders(Arc::new(All { senders: Vec::new(), unknown: Some(Arc::new(Sender::unnamed())) }))
    }

    /// These senders; `takes_unknown` lets in others too, where a protocol asks for no proof.
    ///
    /// # Errors
    /// What is wrong with which sender.
    pub fn new(settings: &[SenderSettings], takes_unknown: bool) -> Result<Senders, SenderError> {
        if settings.len() > SENDERS_MAX {
            return Err(SenderError::TooMany);
        }
        let mut senders: Vec<Arc<Sender>> = Vec::with_capacity(settings.len());
        for one in settings {
            let sender = Sender::new(one)?;
            if senders.iter().any(|other| other.name == sender.name) {
                return Err(SenderError::Name(sender.name));
            }
            let twin = senders
                .iter()
                .find(|other| sender.secret.is_some() && other.secret == sender.secret);
            if let Some(twin) = twin {
                return Err(SenderError::SameSecret(twin.name.clone(), sender.name));
            }
            senders.push(Arc::new(sender));
        }
        let unknown = takes_unknown.then(|| Arc::new(Sender::unnamed()));
        Ok(Senders(Arc::new(All { senders, unknown })))
    }

    /// Whose secret this is, if it may come from that address.
    pub fn by_secret(&self, offered: &[u8], address: IpAddr) -> Option<Arc<Sender>> {
        self.by_proof(address, |secret| secret.ct_eq(offered))
    }

    /// Whose secret fulfils a proof that is made of it (a digest), if it may come from that
    /// address. The proof is asked for every secret, whatever it says, and must itself take a time
    /// that does not depend on what was offered.
    pub fn by_proof(
        &self,
        address: IpAddr,
        proof: impl Fn(&[u8]) -> Choice,
    ) -> Option<Arc<Sender>> {
        let mut found = None;
        for sender in &self.0.senders {
            let Some(secret) = &sender.secret else { continue };
            if bool::from(proof(secret)) {
                found = Some(sender);
            }
        }
        found.filter(|sender| sender.may_come_from(address)).map(Arc::clone)
    }

    /// Whose certificate has one of these names, if it may come from that address.
    pub fn by_certificate(&self, names: &[String], address: IpAddr) -> Option<Arc<Sender>> {
        let named = |sender: &&Arc<Sender>| {
            sender.certificate.as_ref().is_some_and(|name| names.contains(name))
        };
        let found = self.0.senders.iter().find(named)?;
        found.may_come_from(address).then(|| Arc::clone(found))
    }

    /// Who sends from this address, where a protocol asks for no proof; `None` refuses.
    pub fn by_address(&self, address: IpAddr) -> Option<Arc<Sender>> {
        let known =
            |sender: &&Arc<Sender>| sender.is_known_by_address() && sender.may_come_from(address);
        self.0.senders.iter().find(known).or(self.0.unknown.as_ref()).map(Arc::clone)
    }

    /// Whether any of them has a secret, so that a protocol that can ask for one must.
    pub fn have_secrets(&self) -> bool {
        self.0.senders.iter().any(|sender| sender.secret.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(name: &str, secret: &str) -> SenderSettings {
        SenderSettings { name: name.into(), secret: secret.into(), ..SenderSettings::default() }
    }

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn a_secret_tells_who_sends() {
        let web = SenderSettings {
            datasets: vec!["nginx.*".into(), "app".into()],
            dataset: "nginx.access".into(),
            ..settings("web", "0123456789abcdef")
        };
        let far = SenderSettings {
            addresses: vec!["10.0.0.0/8".into()],
            ..settings("far", "fedcba9876543210")
        };
        let senders = Senders::new(&[web, far], false).unwrap();
        let web = senders.by_secret(b"0123456789abcdef", HERE).unwrap();
        assert_eq!((web.name(), web.dataset()), ("web", "nginx.access"));
        assert!(web.may_send("nginx.error") && web.may_send("app") && web.may_send(""));
        assert!(!web.may_send("nginxx") && !web.may_send("app.x"));
        assert!(senders.by_secret(b"0123456789abcdeF", HERE).is_none());
        assert!(senders.by_secret(b"", HERE).is_none());
        assert!(senders.by_secret(b"fedcba9876543210", HERE).is_none());
        assert!(senders.by_secret(b"fedcba9876543210", [10, 1, 2, 3].into()).is_some());
        // Nobody is known by address alone, and others are not let in.
        assert!(senders.by_address(HERE).is_none());
        assert_eq!(format!("{web:?}"), "Sender { name: \"web\", .. }");
    }

    #[test]
    fn addresses_and_certificates_tell_too() {
        let lan =
            SenderSettings { addresses: vec!["192.168.0.0/16".into()], ..settings("lan", "") };
        let edge = SenderSettings { certificate: "edge.example".into(), ..settings("edge", "") };
        let senders = Senders::new(&[lan, edge], true).unwrap();
        let name = |sender: Option<Arc<Sender>>| sender.map(|sender| sender.name().to_owned());
        assert_eq!(name(senders.by_address([192, 168, 1, 1].into())).unwrap(), "lan");
        assert_eq!(name(senders.by_address(HERE)).unwrap(), "");
        let names = ["x".to_owned(), "edge.example".to_owned()];
        assert_eq!(name(senders.by_certificate(&names, HERE)).unwrap(), "edge");
        assert_eq!(name(senders.by_certificate(&[], HERE)), None);
    }

    #[test]
    fn faults_are_told() {
        let fault = |settings: &[SenderSettings]| Senders::new(settings, true).unwrap_err();
        assert_eq!(fault(&[settings("", "")]), SenderError::Name(String::new()));
        assert_eq!(fault(&[settings("a", "")]), SenderError::Unknowable("a".into()));
        assert_eq!(fault(&[settings("a", "short")]), SenderError::ShortSecret("a".into()));
        let same = [settings("a", "0123456789abcdef"), settings("b", "0123456789abcdef")];
        assert_eq!(fault(&same), SenderError::SameSecret("a".into(), "b".into()));
        let network = SenderSettings { addresses: vec!["10.0.0".into()], ..settings("a", "") };
        assert_eq!(fault(&[network]), SenderError::Network("a".into(), "10.0.0".into()));
    }
}
