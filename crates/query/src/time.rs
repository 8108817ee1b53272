//! Times and ranges of time as people give them: `24h`, `7d`, `now-1h`, RFC 3339, a day.

use event::Timestamp;

const SECOND: i64 = 1_000_000_000;

/// From when (inclusive) to when (exclusive).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct TimeRange {
    /// The first moment; `None` for the beginning of time.
    pub since: Option<Timestamp>,
    /// The first moment that is out again; `None` for the end of time.
    pub until: Option<Timestamp>,
}

/// Why a text is no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// None of the known forms.
    #[error(
        "`{0}` is no time; use an age (15m, 24h, 7d), now-1h, a day (2026-08-05), RFC 3339 (2026-08-05T12:00:00Z) or all"
    )]
    Form(String),
    /// The range ends before it begins.
    #[error("the range ends ({until}) before it begins ({since})")]
    Backwards {
        /// The beginning.
        since: Timestamp,
        /// The end.
        until: Timestamp,
    },
}

impl TimeRange {
    /// All of time.
    pub const ALL: TimeRange = TimeRange { since: None, until: None };

    /// Reads both ends; empty and `all` leave an end open.
    ///
    /// # Errors
    /// When an end is no time, or the range is backwards.
    pub fn parse(since: &str, until: &str, now: Timestamp) -> Result<TimeRange, TimeError> {
        let since = parse_time(since, now)?;
        let until = parse_time(until, now)?;
        match (since, until) {
            (Some(since), Some(until)) if until < since => {
                Err(TimeError::Backwards { since, until })
            }
            _ => Ok(TimeRange { since, until }),
        }
    }

    /// Whether a moment lies within.
    pub fn contains(&self, time: Timestamp) -> bool {
        self.since.is_none_or(|since| since <= time) && self.until.is_none_or(|until| time < until)
    }
}

/// Reads a time: an age before `now` (`24h`), `now`, `now-1h`, `now+5m`, a day, RFC 3339. `None`
/// for `all` and for nothing.
///
/// # Errors
/// When it is none of these.
pub fn parse_time(text: &str, now: Timestamp) -> Result<Option<Timestamp>, TimeError> {
    let text = text.trim();
    let lower = text.to_ascii_lowercase();
    if lower.is_empty() || lower == "all" {
        return Ok(None);
    }
    let wrong = || TimeError::Form(text.to_owned());
    if let Some(rest) = lower.strip_prefix("now") {
        if rest.is_empty() {
            return Ok(Some(now));
        }
        let (sign, rest) = match rest.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, rest.strip_prefix('+').ok_or_else(wrong)?),
        };
        let nanos = parse_duration(rest).ok_or_else(wrong)?;
        return Ok(Some(now.plus_nanos(sign * nanos)));
    }
    if let Some(nanos) = parse_duration(lower.strip_prefix('-').unwrap_or(&lower)) {
        return Ok(Some(now.plus_nanos(-nanos)));
    }
    parse_day(text).or_else(|| parse_absolute(text)).map(Some).ok_or_else(wrong)
}

/// Reads a length of time (`500ms`, `30s`, `15m`, `24h`, `7d`, `2w`) in nanoseconds; never zero.
pub fn parse_duration(text: &str) -> Option<i64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: i64 = number.parse().ok().filter(|number| *number > 0)?;
    let size = match unit {
        "ms" => SECOND / 1000,
        "s" => SECOND,
        "m" | "min" => 60 * SECOND,
        "h" => 3600 * SECOND,
        "d" => 86_400 * SECOND,
        "w" => 7 * 86_400 * SECOND,
        _ => return None,
    };
    number.checked_mul(size)
}

/// Reads RFC 3339; without an offset it is UTC, and seconds may be left out.
pub(crate) fn parse_absolute(text: &str) -> Option<Timestamp> {
    // Every form begins with a year; this spares most terms the attempts.
    if !text.starts_with(|c: char| c.is_ascii_digit()) || text.len() < 16 {
        return None;
    }
    Timestamp::parse_rfc3339(text)
        .or_else(|| Timestamp::parse_rfc3339(&format!("{text}Z")))
        .or_else(|| Timestamp::parse_rfc3339(&format!("{text}:00Z")))
}

/// Reads a day (`2026-08-05`): its beginning in UTC.
pub(crate) fn parse_day(text: &str) -> Option<Timestamp> {
    if text.len() != 10 || !text.bytes().all(|b| b.is_ascii_digit() || b == b'-') {
        return None;
    }
    Timestamp::parse_rfc3339(&format!("{text}T00:00:00Z"))
}

#[cfg(test)]
mod tests {
    use event::Timestamp;

    use super::{TimeRange, parse_duration, parse_time};

    #[test]
    fn times_are_read_in_every_form() {
        let now = Timestamp::parse_rfc3339("2026-08-05T12:00:00Z").unwrap();
        for (text, wanted) in [
            ("24h", Some("2026-08-04T12:00:00Z")),
            ("-7d", Some("2026-07-29T12:00:00Z")),
            ("now", Some("2026-08-05T12:00:00Z")),
            ("now-15m", Some("2026-08-05T11:45:00Z")),
            ("NOW+1h", Some("2026-08-05T13:00:00Z")),
            ("2026-08-01", Some("2026-08-01T00:00:00Z")),
            ("2026-08-01T10:30", Some("2026-08-01T10:30:00Z")),
            ("2026-08-01T10:30:00.5", Some("2026-08-01T10:30:00.5Z")),
            ("2026-08-01T10:30:00+02:00", Some("2026-08-01T08:30:00Z")),
            ("all", None),
            ("", None),
        ] {
            let read = parse_time(text, now).unwrap().map(|time| time.to_string());
            assert_eq!(read.as_deref(), wanted, "{text}");
        }
        assert!(parse_time("yesterday", now).is_err());
        assert!(parse_time("now*2", now).is_err());
        assert_eq!(parse_duration("0s"), None);
        assert_eq!(parse_duration("9223372036854775807w"), None);
    }

    #[test]
    fn a_range_must_not_run_backwards() {
        let now = Timestamp::parse_rfc3339("2026-08-05T12:00:00Z").unwrap();
        insta::assert_snapshot!(TimeRange::parse("1h", "2h", now).unwrap_err(), @"the range ends (2026-08-05T10:00:00Z) before it begins (2026-08-05T11:00:00Z)");
        let range = TimeRange::parse("2h", "1h", now).unwrap();
        assert!(range.contains(Timestamp::parse_rfc3339("2026-08-05T10:00:00Z").unwrap()));
        assert!(!range.contains(Timestamp::parse_rfc3339("2026-08-05T11:00:00Z").unwrap()));
    }
}
