//! Times as Elasticsearch writes them: numbers, ISO 8601 in part, and reckoning (`now-15m/d`).
//!
//! What is written stands for a span: `2026-08` for a month, a number for a millisecond. Which end of
//! it counts depends on where it stands in a range, so that `lte: "2026-08"` includes the whole month.

use event::Timestamp;
use indexing::{CalendarUnit, DateStep};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan};

/// From its first moment to the first that is out again.
pub(crate) type Moments = (Timestamp, Timestamp);

const MILLI: i64 = 1_000_000;

/// Reads a time. `format` is Elasticsearch's, of which only the epochs matter: all others that are
/// supported are parts of ISO 8601.
pub(crate) fn read(
    text: &str,
    now: Timestamp,
    format: Option<&str>,
    zone: &TimeZone,
) -> Option<Moments> {
    let text = text.trim();
    if let Some(rest) = text.strip_prefix("now") {
        return reckon((now, now.plus_nanos(MILLI)), rest, zone);
    }
    if let Some((base, rest)) = text.split_once("||") {
        return reckon(absolute(base, format, zone)?, rest, zone);
    }
    absolute(text, format, zone)
}

fn absolute(text: &str, format: Option<&str>, zone: &TimeZone) -> Option<Moments> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let has = |name: &str| format.is_some_and(|format| format.split("||").any(|f| f == name));
    let is_year = digits.len() == 4 && digits == text && !has("epoch_millis");
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) && !is_year {
        let number: i64 = text.parse().ok()?;
        let millis = if has("epoch_second") { number.checked_mul(1000)? } else { number };
        let first = Timestamp::from_millis(millis);
        return Some((first, first.plus_nanos(MILLI)));
    }
    // The parts that are missing are those of the first moment, and tell how long the span is.
    let (rest, length): (&str, Span) = match text.len() {
        4 => ("-01-01T00:00:00", 1.year()),
        7 => ("-01T00:00:00", 1.month()),
        10 => ("T00:00:00", 1.day()),
        13 => (":00:00", 1.hour()),
        16 => (":00", 1.minute()),
        _ => ("", 1.millisecond()),
    };
    if rest.is_empty()
        && let Some(first) = Timestamp::parse_rfc3339(text)
    {
        let fine = text.split_once('.').is_some_and(|(_, fraction)| {
            fraction.bytes().take_while(u8::is_ascii_digit).count() > 3
        });
        // A zone may follow the minutes: 2026-08-05T12:00Z.
        let nanos = match text.as_bytes().get(16) {
            Some(b'Z' | b'+' | b'-') => 60_000 * MILLI,
            _ if fine => 1,
            _ => MILLI,
        };
        return Some((first, first.plus_nanos(nanos)));
    }
    let full = format!("{text}{rest}");
    let local: DateTime = full.parse().ok()?;
    let end = local.checked_add(length).ok()?;
    Some((in_zone(local, zone)?, in_zone(end, zone)?))
}

fn in_zone(local: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    Timestamp::from_jiff(zone.to_timestamp(local).ok()?)
}

/// `-15m`, `+1d/d`: steps forth and back, and down to the beginning of a unit.
fn reckon(from: Moments, text: &str, zone: &TimeZone) -> Option<Moments> {
    let (mut first, mut end) = from;
    let mut rest = text;
    while let Some(sign) = rest.chars().next() {
        rest = rest.get(1..)?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at_checked(digits)?;
        let unit = after.chars().next()?;
        rest = after.get(unit.len_utf8()..)?;
        match sign {
            '+' | '-' => {
                let number: i64 = if number.is_empty() { 1 } else { number.parse().ok()? };
                first = moved(first, if sign == '+' { number } else { -number }, unit, zone)?;
                end = first.plus_nanos(MILLI);
            }
            '/' if number.is_empty() => (first, end) = step(unit, zone)?.around(first),
            _ => return None,
        }
    }
    Some((first, end))
}

/// So many units later; days and longer ones by the calendar of the zone.
fn moved(from: Timestamp, number: i64, unit: char, zone: &TimeZone) -> Option<Timestamp> {
    let seconds = match unit {
        'h' | 'H' => 3600,
        'm' => 60,
        's' => 1,
        _ => 0,
    };
    if seconds > 0 {
        let nanos = number.checked_mul(seconds * 1000 * MILLI)?;
        return from.as_nanos().checked_add(nanos).map(Timestamp::from_nanos);
    }
    let span = Span::new();
    let span = match unit {
        'y' => span.try_years(number),
        'M' => span.try_months(number),
        'w' => span.try_weeks(number),
        'd' => span.try_days(number),
        _ => return None,
    };
    in_zone(zone.to_datetime(from.to_jiff()).checked_add(span.ok()?).ok()?, zone)
}

/// The steps of a unit.
fn step(unit: char, zone: &TimeZone) -> Option<DateStep> {
    let fixed = |seconds: i64| DateStep::Fixed {
        nanos: seconds * 1000 * MILLI,
        offset_nanos: 0,
        zone: zone.clone(),
    };
    let calendar = |unit| DateStep::Calendar(unit, zone.clone());
    Some(match unit {
        'y' => calendar(CalendarUnit::Year),
        'M' => calendar(CalendarUnit::Month),
        'w' => calendar(CalendarUnit::Week),
        'd' => calendar(CalendarUnit::Day),
        'h' | 'H' => fixed(3600),
        'm' => fixed(60),
        's' => fixed(1),
        _ => return None,
    })
}

/// Reads a zone: `UTC`, `+02:00`, `Europe/Berlin`.
pub(crate) fn zone(text: &str) -> Option<TimeZone> {
    if matches!(text, "UTC" | "Z" | "utc" | "GMT") {
        return Some(TimeZone::UTC);
    }
    if let Some(sign) = text.chars().next().filter(|c| "+-".contains(*c)) {
        let (hours, minutes) = text.get(1..)?.split_once(':')?;
        let seconds = hours.parse::<i32>().ok()? * 3600 + minutes.parse::<i32>().ok()? * 60;
        let seconds = if sign == '-' { -seconds } else { seconds };
        return Some(TimeZone::fixed(jiff::tz::Offset::from_seconds(seconds).ok()?));
    }
    TimeZone::get(text).ok()
}

/// Writes a time in one of Elasticsearch's formats; `None` for a format that is not known.
pub(crate) fn write(time: Timestamp, format: Option<&str>, zone: &TimeZone) -> Option<String> {
    match format.map(|format| format.split("||").next().unwrap_or_default()) {
        Some("epoch_millis") => Some(time.as_millis().to_string()),
        Some("epoch_second") => Some(time.as_seconds().to_string()),
        None
        | Some(
            "strict_date_optional_time"
            | "date_optional_time"
            | "date_time"
            | "strict_date_time"
            | "iso8601"
            | "strict_date_optional_time_nanos"
            | "",
        ) => {
            let text = pattern(time, "yyyy-MM-dd'T'HH:mm:ss.SSS", zone)?;
            let offset = zone.to_offset(time.to_jiff());
            if offset.is_zero() {
                return Some(format!("{text}Z"));
            }
            let minutes = offset.seconds() / 60;
            let sign = if minutes < 0 { '-' } else { '+' };
            let minutes = minutes.abs();
            Some(format!("{text}{sign}{:02}:{:02}", minutes / 60, minutes % 60))
        }
        Some(format) => pattern(time, format, zone),
    }
}

/// Java's patterns, as far as people use them.
fn pattern(time: Timestamp, pattern: &str, zone: &TimeZone) -> Option<String> {
    let zoned = zone.to_datetime(time.to_jiff());
    let mut out = String::new();
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        if c == '\'' {
            let (quoted, after) = rest.get(1..)?.split_once('\'')?;
            out.push_str(if quoted.is_empty() { "'" } else { quoted });
            rest = after;
            continue;
        }
        let run = rest.chars().take_while(|other| *other == c).count();
        rest = rest.get(run * c.len_utf8()..)?;
        match (c, run) {
            ('y' | 'u', 4) => out.push_str(&format!("{:04}", zoned.year())),
            ('M', 2) => out.push_str(&format!("{:02}", zoned.month())),
            ('d', 2) => out.push_str(&format!("{:02}", zoned.day())),
            ('H', 2) => out.push_str(&format!("{:02}", zoned.hour())),
            ('m', 2) => out.push_str(&format!("{:02}", zoned.minute())),
            ('s', 2) => out.push_str(&format!("{:02}", zoned.second())),
            ('S', 3) => out.push_str(&format!("{:03}", zoned.millisecond())),
            (c, _) if c.is_ascii_alphabetic() => return None,
            (c, run) => out.extend(std::iter::repeat_n(c, run)),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_stands_for_a_span() {
        let now = Timestamp::parse_rfc3339("2026-08-05T12:34:56.789Z").unwrap();
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        for (text, format, zone, wanted) in [
            ("now", None, &TimeZone::UTC, "2026-08-05T12:34:56.789Z 2026-08-05T12:34:56.79Z"),
            ("now-15m", None, &TimeZone::UTC, "2026-08-05T12:19:56.789Z 2026-08-05T12:19:56.79Z"),
            ("now/d", None, &TimeZone::UTC, "2026-08-05T00:00:00Z 2026-08-06T00:00:00Z"),
            ("now-1M/M", None, &TimeZone::UTC, "2026-07-01T00:00:00Z 2026-08-01T00:00:00Z"),
            ("now/w", None, &TimeZone::UTC, "2026-08-03T00:00:00Z 2026-08-10T00:00:00Z"),
            ("now/d", None, &berlin, "2026-08-04T22:00:00Z 2026-08-05T22:00:00Z"),
            (
                "2026-08-05||+1d/d",
                None,
                &TimeZone::UTC,
                "2026-08-06T00:00:00Z 2026-08-07T00:00:00Z",
            ),
            ("2026-08", None, &TimeZone::UTC, "2026-08-01T00:00:00Z 2026-09-01T00:00:00Z"),
            ("2026", None, &TimeZone::UTC, "2026-01-01T00:00:00Z 2027-01-01T00:00:00Z"),
            ("2026-08-05T10", None, &berlin, "2026-08-05T08:00:00Z 2026-08-05T09:00:00Z"),
            ("2026-08-05T10:00Z", None, &berlin, "2026-08-05T10:00:00Z 2026-08-05T10:01:00Z"),
            (
                "2026-08-05T10:00:00+02:00",
                None,
                &TimeZone::UTC,
                "2026-08-05T08:00:00Z 2026-08-05T08:00:00.001Z",
            ),
            (
                "1785933296789",
                Some("epoch_millis"),
                &TimeZone::UTC,
                "2026-08-05T12:34:56.789Z 2026-08-05T12:34:56.79Z",
            ),
            (
                "1785933296",
                Some("epoch_second"),
                &TimeZone::UTC,
                "2026-08-05T12:34:56Z 2026-08-05T12:34:56.001Z",
            ),
        ] {
            let (first, end) = read(text, now, format, zone).unwrap();
            assert_eq!(format!("{first} {end}"), wanted, "{text}");
        }
        for text in ["", "yesterday", "now-", "now/x", "now*2", "2026-13", "2026-08-05||", "ä"] {
            let read = read(text, now, None, &TimeZone::UTC);
            assert!(read.is_none() || text.ends_with("||"), "{text}: {read:?}");
        }
    }

    #[test]
    fn times_are_written_in_the_format_that_is_asked_for() {
        let time = Timestamp::parse_rfc3339("2026-08-05T22:34:56.789Z").unwrap();
        let berlin = zone("Europe/Berlin").unwrap();
        assert_eq!(write(time, None, &TimeZone::UTC).unwrap(), "2026-08-05T22:34:56.789Z");
        assert_eq!(write(time, None, &berlin).unwrap(), "2026-08-06T00:34:56.789+02:00");
        assert_eq!(write(time, Some("epoch_millis"), &berlin).unwrap(), "1785969296789");
        assert_eq!(write(time, Some("yyyy.MM.dd"), &berlin).unwrap(), "2026.08.06");
        assert_eq!(write(time, Some("EEE"), &berlin), None);
    }
}
