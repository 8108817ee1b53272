//! Where a listener listens, and how it is secured: `127.0.0.1:5514`, `tls://0.0.0.0:6514`.
//!
//! | written | means |
//! | --- | --- |
//! | `127.0.0.1:5514` | plain; for addresses of this machine only |
//! | `tls://0.0.0.0:6514` | TLS with the certificate of table `[tls]` |
//! | `mtls://0.0.0.0:6514` | TLS, and clients must show a certificate that `tls.client_ca` signed |
//! | `plain://0.0.0.0:514` | plain, although other machines reach it |

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::Deserialize;

/// How a listener is secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// Plain, on this machine.
    Local,
    /// Plain, wherever it is.
    Plain,
    /// TLS.
    Tls,
    /// TLS with a certificate of the client.
    Mutual,
}

/// Where a listener listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Address {
    pub(crate) scheme: Scheme,
    pub(crate) socket: SocketAddr,
}

/// Some addresses with commas between, or none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Addresses(pub(crate) Vec<Address>);

/// A text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no address; write it as 127.0.0.1:5514, tls://0.0.0.0:6514, mtls://0.0.0.0:6514 or plain://0.0.0.0:514"
)]
pub(crate) struct NoAddress(String);

impl Address {
    /// Plain, on this machine.
    pub(crate) const fn local(socket: SocketAddr) -> Self {
        Address { scheme: Scheme::Local, socket }
    }

    /// Whether it speaks TLS.
    pub(crate) const fn is_tls(&self) -> bool {
        matches!(self.scheme, Scheme::Tls | Scheme::Mutual)
    }
}

impl FromStr for Address {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        let (scheme, socket) = match text.split_once("://") {
            None => (Scheme::Local, text),
            Some(("plain", socket)) => (Scheme::Plain, socket),
            Some(("tls", socket)) => (Scheme::Tls, socket),
            Some(("mtls", socket)) => (Scheme::Mutual, socket),
            Some(_) => return Err(NoAddress(text.to_owned())),
        };
        let socket = socket.parse().map_err(|_| NoAddress(text.to_owned()))?;
        Ok(Address { scheme, socket })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Local => "",
            Scheme::Plain => "plain://",
            Scheme::Tls => "tls://",
            Scheme::Mutual => "mtls://",
        };
        write!(f, "{scheme}{}", self.socket)
    }
}

impl TryFrom<String> for Address {
    type Error = NoAddress;

    fn try_from(text: String) -> Result<Self, NoAddress> {
        text.trim().parse()
    }
}

impl TryFrom<String> for Addresses {
    type Error = NoAddress;

    fn try_from(text: String) -> Result<Self, NoAddress> {
        let addresses = text.split(',').map(str::trim).filter(|text| !text.is_empty());
        Ok(Addresses(addresses.map(str::parse).collect::<Result<_, _>>()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_say_how_they_are_secured() {
        let read = |text: &str| Addresses::try_from(text.to_owned());
        let all = "127.0.0.1:1, tls://0.0.0.0:2,mtls://[::]:3, plain://10.0.0.1:4";
        let found = read(all).unwrap();
        let shown: Vec<String> = found.0.iter().map(Address::to_string).collect();
        assert_eq!(
            shown,
            ["127.0.0.1:1", "tls://0.0.0.0:2", "mtls://[::]:3", "plain://10.0.0.1:4"]
        );
        assert_eq!(read(" ").unwrap(), Addresses::default());
        assert!(read("localhost").unwrap_err().to_string().contains("`localhost` is no address"));
        assert!(read("http://127.0.0.1:1").is_err());
    }
}
