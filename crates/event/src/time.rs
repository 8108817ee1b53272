//! Time as the whole engine keeps it: UTC, nanoseconds, one machine word.
//!
//! Formatting and parsing are RFC 3339 through `jiff`; other forms (syslog, Windows, epoch) belong
//! to the decoders that meet them. The range, years 1677 to 2262, is what 64 bits of nanoseconds
//! give; a time outside it is no usable time, and is treated as one that is missing.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Nanoseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment the Unix epoch began.
    pub const EPOCH: Timestamp = Timestamp(0);

    /// From nanoseconds since the epoch.
    pub const fn from_nanos(nanos: i64) -> Self {
        Timestamp(nanos)
    }

    /// From milliseconds since the epoch; saturates at the ends of the range.
    pub const fn from_millis(millis: i64) -> Self {
        Timestamp(millis.saturating_mul(1_000_000))
    }

    /// Now, by the machine's clock. Only edges call this; stages are handed the time.
    pub fn now() -> Self {
        Timestamp::from_jiff(jiff::Timestamp::now()).unwrap_or(Timestamp::EPOCH)
    }

    /// Nanoseconds since the epoch.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Milliseconds since the epoch, rounded down.
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Seconds since the epoch, rounded down.
    pub const fn as_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }

    /// From `jiff`; `None` outside the range.
    pub fn from_jiff(time: jiff::Timestamp) -> Option<Self> {
        i64::try_from(time.as_nanosecond()).ok().map(Timestamp)
    }

    /// To `jiff`, which can hold every value of ours.
    pub fn to_jiff(self) -> jiff::Timestamp {
        jiff::Timestamp::from_nanosecond(i128::from(self.0)).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }

    /// Reads RFC 3339 (`2026-08-05T12:00:00.123Z`, any offset, `T` or a space). `None` if it is
    /// something else or out of range.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().and_then(Timestamp::from_jiff)
    }

    /// This time plus so many nanoseconds; saturates.
    #[must_use]
    pub const fn plus_nanos(self, nanos: i64) -> Self {
        Timestamp(self.0.saturating_add(nanos))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, with as many fractional digits as are needed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to_jiff())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Timestamp::parse_rfc3339(&text)
            .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is no RFC 3339 time")))
    }
}

#[cfg(test)]
mod tests {
    use super::Timestamp;

    #[test]
    fn reads_and_writes_rfc_3339() {
        for (text, nanos) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-08-05T12:00:00.123456789+02:00", Some(1_785_924_000_123_456_789)),
            ("1969-12-31 23:59:59.999Z", Some(-1_000_000)),
            ("2026-08-05", None),
            ("yesterday", None),
            ("9999-01-01T00:00:00Z", None),
        ] {
            assert_eq!(Timestamp::parse_rfc3339(text).map(Timestamp::as_nanos), nanos, "{text}");
        }
        assert_eq!(Timestamp::from_nanos(-1_000_000).to_string(), "1969-12-31T23:59:59.999Z");
        assert_eq!(Timestamp::from_nanos(-1).as_millis(), -1);
    }
}
