//! Values that are no free text: addresses within networks, numbers within bounds, times.
//!
//! Each is a question about intervals, so a few candidates at their ends are enough to find a value
//! if there is one, and to know when there is none. Other tests of the same value (patterns, say)
//! are checked by the caller.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jiff::civil::{Date, date};
use sigma::expr::{Comparison, Network, Test, TimePart};

use crate::Value;

pub(crate) enum Found {
    /// None of the tests that must hold is of this kind.
    NotAsked,
    /// They exclude each other.
    Impossible,
    /// Values to be checked; there may be others.
    Candidates(Vec<Value>),
}

/// An address in all networks wanted and in none denied.
pub(crate) fn addresses(wanted: &[Test], denied: &[Test]) -> Found {
    let networks = |tests: &[Test]| {
        tests
            .iter()
            .filter_map(|test| match test {
                Test::Cidr(network) => Some(Range::of(network)),
                _ => None,
            })
            .collect::<Vec<Range>>()
    };
    let (wanted, denied) = (networks(wanted), networks(denied));
    let Some(first) = wanted.first() else { return Found::NotAsked };
    let mut room = *first;
    for range in &wanted {
        if range.v4 != room.v4 {
            // An IPv4 address written as IPv6 is in networks of both; no rule asks for that.
            return Found::Candidates(Vec::new());
        }
        room.start = room.start.max(range.start);
        room.end = room.end.min(range.end);
    }
    if room.start > room.end {
        return Found::Impossible;
    }
    // The lowest address outside of all that is denied is the start or just after a denied one.
    let mut starts = vec![room.start.saturating_add(1).min(room.end), room.start];
    for range in denied.iter().filter(|range| range.v4 == room.v4) {
        let Some(next) = range.end.checked_add(1) else { continue };
        starts.extend([next.saturating_add(1), next]);
    }
    let free = |address: &u128| {
        (room.start..=room.end).contains(address)
            && !denied
                .iter()
                .any(|range| range.v4 == room.v4 && (range.start..=range.end).contains(address))
    };
    starts.retain(free);
    if starts.is_empty() {
        return Found::Impossible;
    }
    let text = |address: u128| match u32::try_from(address) {
        Ok(address) if room.v4 => Ipv4Addr::from_bits(address).to_string(),
        _ => Ipv6Addr::from_bits(address).to_string(),
    };
    Found::Candidates(starts.into_iter().map(|address| Value::Text(text(address))).collect())
}

/// The first and the last address of a network, as numbers.
#[derive(Debug, Clone, Copy)]
struct Range {
    v4: bool,
    start: u128,
    end: u128,
}

impl Range {
    fn of(network: &Network) -> Range {
        let (v4, start, bits) = match network.address {
            IpAddr::V4(address) => (true, u128::from(address.to_bits()), 32),
            IpAddr::V6(address) => (false, address.to_bits(), 128),
        };
        let free = bits - u32::from(network.prefix).min(bits);
        let size_less_one = if free == 128 { u128::MAX } else { (1 << free) - 1 };
        Range { v4, start, end: start | size_less_one }
    }
}

/// An address just outside of a network, if there is one.
pub(crate) fn neighbour(network: &Network) -> Option<String> {
    let range = Range::of(network);
    let most = if range.v4 { u128::from(u32::MAX) } else { u128::MAX };
    let address = match range.end.checked_add(1) {
        Some(next) if next <= most => next,
        _ => range.start.checked_sub(1)?,
    };
    Some(match u32::try_from(address) {
        Ok(address) if range.v4 => Ipv4Addr::from_bits(address).to_string(),
        _ => Ipv6Addr::from_bits(address).to_string(),
    })
}

/// A number that compares as wanted, and not as denied.
pub(crate) fn numbers(wanted: &[Test], denied: &[Test]) -> Found {
    let (mut low, mut low_open) = (f64::NEG_INFINITY, true);
    let (mut high, mut high_open) = (f64::INFINITY, true);
    let mut asked = false;
    let mut bound = |comparison: Comparison, number: f64| match comparison {
        Comparison::Greater if number >= low => (low, low_open) = (number, true),
        Comparison::GreaterOrEqual if number > low => (low, low_open) = (number, false),
        Comparison::Less if number <= high => (high, high_open) = (number, true),
        Comparison::LessOrEqual if number < high => (high, high_open) = (number, false),
        _ => {}
    };
    for test in wanted {
        if let Test::Compare(comparison, number) = test {
            asked = true;
            bound(*comparison, *number);
        }
    }
    if !asked {
        return Found::NotAsked;
    }
    for test in denied {
        if let Test::Compare(comparison, number) = test {
            bound(opposite(*comparison), *number);
        }
    }
    if low > high || (low == high && (low_open || high_open)) {
        return Found::Impossible;
    }
    let mut candidates = Vec::new();
    let mut whole = |number: f64| {
        // Beyond this, not every whole number is one of floating point.
        if number.abs() < 9e15 {
            candidates.push(Value::Int(number as i64));
        }
    };
    if low.is_finite() {
        [0.0, 1.0, 2.0, 10.0].into_iter().for_each(|step| whole(low.ceil() + step));
    } else if high >= 0.0 {
        whole(0.0);
    }
    if high.is_finite() {
        [0.0, 1.0, 2.0, 10.0].into_iter().for_each(|step| whole(high.floor() - step));
    }
    let between = match (low.is_finite(), high.is_finite()) {
        (true, true) => low / 2.0 + high / 2.0,
        (true, false) => low + low.abs().max(1.0),
        (false, true) => high - high.abs().max(1.0),
        (false, false) => 0.0,
    };
    candidates.push(Value::Float(between));
    candidates.extend([low, high].into_iter().filter(|n| n.is_finite()).map(Value::Float));
    Found::Candidates(candidates)
}

fn opposite(comparison: Comparison) -> Comparison {
    match comparison {
        Comparison::Less => Comparison::GreaterOrEqual,
        Comparison::LessOrEqual => Comparison::Greater,
        Comparison::Greater => Comparison::LessOrEqual,
        Comparison::GreaterOrEqual => Comparison::Less,
    }
}

/// The first year that is tried; from there on, 28 years have every calendar that there is.
const YEAR_FIRST: i16 = 2020;
const CALENDARS: i16 = 28;

/// A time with all parts wanted and none denied.
pub(crate) fn times(wanted: &[Test], denied: &[Test]) -> Found {
    let parts = |tests: &[Test]| {
        tests
            .iter()
            .filter_map(|test| match test {
                Test::TimePart(part, number) => Some((*part, *number)),
                _ => None,
            })
            .collect::<Vec<(TimePart, i64)>>()
    };
    let (wanted, denied) = (parts(wanted), parts(denied));
    if wanted.is_empty() {
        return Found::NotAsked;
    }
    let clock = |part: TimePart, range: std::ops::Range<i64>| {
        range.into_iter().find(|number| fits(&wanted, &denied, part, *number))
    };
    let (Some(hour), Some(minute)) = (clock(TimePart::Hour, 0..24), clock(TimePart::Minute, 0..60))
    else {
        return Found::Impossible;
    };
    let years: Vec<i16> = match wanted.iter().find(|(part, _)| *part == TimePart::Year) {
        Some((_, year)) => match i16::try_from(*year) {
            Ok(year) if (0..=9998).contains(&year) => vec![year],
            _ => return Found::Impossible,
        },
        None => {
            let free = (YEAR_FIRST..9990)
                .filter(|year| !denied.contains(&(TimePart::Year, i64::from(*year))));
            free.take(CALENDARS as usize).collect()
        }
    };
    for year in years {
        let mut day = date(year, 1, 1);
        while day.year() == year {
            if day_fits(day, &wanted, &denied) {
                let time = format!("{day}T{hour:02}:{minute:02}:00Z");
                return Found::Candidates(vec![Value::Text(time)]);
            }
            match day.tomorrow() {
                Ok(next) => day = next,
                Err(_) => break,
            }
        }
    }
    Found::Impossible
}

fn day_fits(day: Date, wanted: &[(TimePart, i64)], denied: &[(TimePart, i64)]) -> bool {
    [
        (TimePart::Year, i64::from(day.year())),
        (TimePart::Month, i64::from(day.month())),
        (TimePart::Day, i64::from(day.day())),
        (TimePart::Week, i64::from(day.iso_week_date().week())),
    ]
    .into_iter()
    .all(|(part, number)| fits(wanted, denied, part, number))
}

fn fits(
    wanted: &[(TimePart, i64)],
    denied: &[(TimePart, i64)],
    part: TimePart,
    number: i64,
) -> bool {
    wanted.iter().all(|(own, want)| *own != part || *want == number)
        && !denied.contains(&(part, number))
}
