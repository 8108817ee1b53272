//! One value as it is written in a query, with all that it could mean.
//!
//! A query does not say whether `4624` is a number or a text, nor `10.0.0.0/8` a network: the
//! event decides. So a term is read once in every way in which it can be, and compared in the way
//! that fits the value.

use std::cmp::Ordering;
use std::net::{IpAddr, Ipv6Addr};

use event::Timestamp;

use crate::fold;
use crate::time::{parse_absolute, parse_day};

/// A value in a query.
#[derive(Debug, Clone)]
pub struct Term(Box<Readings>);

/// Boxed, because trees have many places where a term may stand and few where one does.
#[derive(Debug, Clone)]
struct Readings {
    raw: String,
    folded: String,
    number: Option<Number>,
    network: Option<Network>,
    time: Option<Timestamp>,
    day: bool,
}

impl PartialEq for Term {
    fn eq(&self, other: &Self) -> bool {
        self.0.raw == other.0.raw
    }
}

impl Term {
    /// Reads a value.
    pub fn new(raw: impl Into<String>) -> Self {
        let raw = raw.into();
        let day = parse_day(&raw);
        Term(Box::new(Readings {
            folded: fold(&raw),
            number: Number::parse(&raw),
            network: Network::parse(&raw),
            time: day.or_else(|| parse_absolute(&raw)),
            day: day.is_some(),
            raw,
        }))
    }

    /// As written.
    pub fn raw(&self) -> &str {
        &self.0.raw
    }

    /// With its case folded.
    pub fn folded(&self) -> &str {
        &self.0.folded
    }

    /// As a number.
    pub fn number(&self) -> Option<Number> {
        self.0.number
    }

    /// As a network; an address is a network of one.
    pub fn network(&self) -> Option<&Network> {
        self.0.network.as_ref()
    }

    /// As a time.
    pub fn time(&self) -> Option<Timestamp> {
        self.0.time
    }

    /// The first and the last moment that are this term: of the day if it is a day, else the same.
    pub fn moments(&self) -> Option<(Timestamp, Timestamp)> {
        const DAY_NANOS: i64 = 86_400 * 1_000_000_000;
        let start = self.0.time?;
        Some((start, if self.0.day { start.plus_nanos(DAY_NANOS - 1) } else { start }))
    }

    /// Whether a time is this term.
    pub fn is_time(&self, time: Timestamp) -> bool {
        self.moments().is_some_and(|(first, last)| first <= time && time <= last)
    }
}

/// A number that is compared by value, whole or not.
#[derive(Debug, Clone, Copy)]
pub enum Number {
    /// A whole number.
    Int(i128),
    /// Any other finite number.
    Float(f64),
}

impl Number {
    /// Reads a decimal number.
    pub fn parse(text: &str) -> Option<Number> {
        if !text.bytes().any(|byte| byte.is_ascii_digit())
            || !text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b))
        {
            return None;
        }
        if let Ok(whole) = text.parse::<i64>() {
            return Some(Number::Int(i128::from(whole)));
        }
        if let Ok(whole) = text.parse::<u64>() {
            return Some(Number::Int(i128::from(whole)));
        }
        text.parse::<f64>().ok().filter(|number| number.is_finite()).map(Number::Float)
    }

    /// As a floating-point number.
    pub fn as_f64(self) -> f64 {
        match self {
            Number::Int(whole) => whole as f64,
            Number::Float(number) => number,
        }
    }

    /// Which is greater.
    pub fn compare(self, other: Number) -> Ordering {
        match (self, other) {
            (Number::Int(a), Number::Int(b)) => a.cmp(&b),
            (a, b) => a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(Ordering::Equal),
        }
    }
}

/// A range of addresses that share their first bits; IPv4 stands within IPv6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    first: u128,
    last: u128,
}

impl Network {
    /// Reads `10.0.0.0/8`, `fe80::/10`, or an address.
    pub fn parse(text: &str) -> Option<Network> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u32>().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(width);
        if bits > width {
            return None;
        }
        let free = width - bits;
        let mask = if free == 128 { u128::MAX } else { (1u128 << free) - 1 };
        let first = number_of(address) & !mask;
        Some(Network { first, last: first | mask })
    }

    /// Whether a text is meant as a network, and is none.
    pub(crate) fn is_wrong(text: &str) -> bool {
        let Some((address, _)) = text.split_once('/') else { return false };
        address.parse::<IpAddr>().is_ok() && Network::parse(text).is_none()
    }

    /// Whether it is one address.
    pub fn is_single(&self) -> bool {
        self.first == self.last
    }

    /// Whether a text is an address within.
    pub fn contains(&self, text: &str) -> bool {
        parse_address(text).is_some_and(|at| self.first <= at && at <= self.last)
    }

    /// The first address, as a number to compare by.
    pub(crate) fn first(&self) -> u128 {
        self.first
    }
}

/// An address as a number to compare by.
pub(crate) fn parse_address(text: &str) -> Option<u128> {
    text.parse().ok().map(number_of)
}

fn number_of(address: IpAddr) -> u128 {
    let wide: Ipv6Addr = match address {
        IpAddr::V4(four) => four.to_ipv6_mapped(),
        IpAddr::V6(six) => six,
    };
    u128::from(wide)
}

#[cfg(test)]
mod tests {
    use super::{Network, Number, Term};

    #[test]
    fn terms_are_read_in_every_way() {
        let term = Term::new("10.0.0.0/8");
        assert!(term.network().unwrap().contains("10.255.0.1"));
        assert!(!term.network().unwrap().contains("11.0.0.1"));
        assert!(Network::parse("::/0").unwrap().contains("1.2.3.4"));
        assert!(Network::parse("10.0.0.0/33").is_none());
        assert!(Network::parse("fe80::/10").unwrap().contains("FE80::1"));
        assert!(matches!(Number::parse("18446744073709551615"), Some(Number::Int(_))));
        assert!(matches!(Number::parse("1e3"), Some(Number::Float(_))));
        assert!(Number::parse("1-2").is_none());
        assert!(Number::parse("inf").is_none());
        assert!(Term::new("2026-08-05").time().is_some());
    }
}
