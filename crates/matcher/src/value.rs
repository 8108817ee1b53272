//! Tests of one value that are no text patterns: networks, numbers, times.
//!
//! Both evaluators use these; each is small enough to be checked by reading.

use std::net::IpAddr;

use event::Value;
use sigma::expr::{Comparison, Network, TimePart};

/// Whether a text is an address within the network. An IPv4 address written as IPv6
/// (`::ffff:10.0.0.1`, as Windows logs have it) also counts as itself, and an interface
/// (`fe80::1%eth0`) is left aside.
pub(crate) fn in_network(network: &Network, text: &str) -> bool {
    let bare = text.split_once('%').map_or(text, |(address, _)| address);
    let Ok(address) = bare.parse::<IpAddr>() else { return false };
    contains(network, address) || contains(network, address.to_canonical())
}

fn contains(network: &Network, address: IpAddr) -> bool {
    match (network.address, address) {
        (IpAddr::V4(own), IpAddr::V4(other)) => {
            let differ = own.to_bits() ^ other.to_bits();
            network.prefix == 0 || differ >> (32 - u32::from(network.prefix.min(32))) == 0
        }
        (IpAddr::V6(own), IpAddr::V6(other)) => {
            let differ = own.to_bits() ^ other.to_bits();
            network.prefix == 0 || differ >> (128 - u32::from(network.prefix.min(128))) == 0
        }
        _ => false,
    }
}

/// Whether a value is a number, or a text that is one, and compares so.
pub(crate) fn compares(comparison: Comparison, value: Value<'_>, number: f64) -> bool {
    let own = match value {
        Value::Int(own) => own as f64,
        Value::Uint(own) => own as f64,
        Value::Float(own) => own,
        Value::Text(text) => match text.trim().parse::<f64>() {
            Ok(own) if own.is_finite() => own,
            _ => return false,
        },
        Value::Null | Value::Bool(_) | Value::Json(_) => return false,
    };
    match comparison {
        Comparison::Less => own < number,
        Comparison::LessOrEqual => own <= number,
        Comparison::Greater => own > number,
        Comparison::GreaterOrEqual => own >= number,
    }
}

/// Whether a text is a time with this part, in UTC. RFC 3339, or the same without an offset, which
/// is then taken for UTC as Sysmon's `UtcTime` is.
pub(crate) fn has_time_part(part: TimePart, text: &str, number: i64) -> bool {
    use jiff::civil::DateTime;
    use jiff::tz::TimeZone;
    let time = match text.parse::<jiff::Timestamp>() {
        Ok(instant) => TimeZone::UTC.to_datetime(instant),
        // A text without a time of day would be read as midnight, which nobody wrote.
        Err(_) => match text.parse::<DateTime>() {
            Ok(time) if text.contains(':') => time,
            _ => return false,
        },
    };
    let own = match part {
        TimePart::Minute => i64::from(time.minute()),
        TimePart::Hour => i64::from(time.hour()),
        TimePart::Day => i64::from(time.day()),
        TimePart::Week => i64::from(time.date().iso_week_date().week()),
        TimePart::Month => i64::from(time.month()),
        TimePart::Year => i64::from(time.year()),
    };
    own == number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_addresses() {
        let check = |network: &str, text: &str, expected: bool| {
            let network = Network::parse(network).unwrap();
            assert_eq!(in_network(&network, text), expected, "{network:?} {text}");
        };
        check("10.0.0.0/8", "10.255.1.2", true);
        check("10.0.0.0/8", "11.0.0.0", false);
        check("10.0.0.0/8", "::ffff:10.1.1.1", true);
        check("0.0.0.0/0", "1.2.3.4", true);
        check("0.0.0.0/0", "::1", false);
        check("::/0", "::1", true);
        check("::1/128", "::1", true);
        check("fe80::/10", "fe80::1%eth0", true);
        check("10.0.0.0/8", "10.0.0", false);
        check("10.0.0.0/8", "", false);
    }

    #[test]
    fn numbers_compare() {
        use Comparison::{Greater, GreaterOrEqual, Less, LessOrEqual};
        assert!(compares(Less, Value::Int(-1), 0.0));
        assert!(compares(LessOrEqual, Value::Text(" 7 "), 7.0));
        assert!(compares(GreaterOrEqual, Value::Float(0.5), 0.5));
        assert!(!compares(Greater, Value::Text("inf"), 0.0));
        assert!(!compares(Greater, Value::Text("0x10"), 0.0));
        assert!(!compares(Greater, Value::Bool(true), 0.0));
        assert!(compares(Greater, Value::Uint(u64::MAX), 1e18));
    }

    #[test]
    fn times_have_parts() {
        use TimePart::{Day, Hour, Minute, Month, Week, Year};
        let check = |part, text: &str, number, expected| {
            assert_eq!(has_time_part(part, text, number), expected, "{part:?} {text}");
        };
        check(Hour, "2026-01-01T01:30:00+02:00", 23, true);
        check(Year, "2026-01-01T01:30:00+02:00", 2025, true);
        check(Week, "2027-01-01T00:00:00Z", 53, true);
        check(Minute, "2019-04-27 15:57:25.868", 57, true);
        check(Month, "2019-04-27 15:57:25.868", 4, true);
        check(Day, "2019-04-27 15:57:25.868", 27, true);
        check(Day, "2019-04-27", 27, false);
        check(Day, "soon", 27, false);
    }
}
