//! What the lists of events and of alerts have in common: the form, the histogram, the facets, and
//! going from page to page.

use event::Timestamp;
use indexing::{Histogram, Kinds};
use query::{Query, TimeRange};
use serde::Deserialize;

use super::Link;
use super::histogram::{self, Chart};
use super::link;
use crate::api::search::SINCE_DEFAULT;
use crate::search::{Ask, Cursor, SearchError, parse};

/// Rows of a page.
const ROWS_SHOWN: usize = 100;

/// Rows of a table on a page; the API gives more.
const TABLE_ROWS_SHOWN: usize = 1_000;

/// Bars of the histogram; still wide enough to be hit with a finger on a laptop's screen.
const BARS: usize = 80;

/// Ranges that are one click away.
const QUICK: [(&str, &str); 7] = [
    ("15m", "15 min"),
    ("1h", "1 h"),
    ("4h", "4 h"),
    ("24h", "24 h"),
    ("7d", "7 d"),
    ("30d", "30 d"),
    ("all", "all"),
];

/// What the address says.
#[derive(Deserialize)]
#[serde(default)]
pub(super) struct Params {
    pub(super) q: String,
    pub(super) since: String,
    pub(super) until: String,
    pub(super) cursor: String,
}

impl Default for Params {
    fn default() -> Self {
        Params {
            q: String::new(),
            since: SINCE_DEFAULT.into(),
            until: String::new(),
            cursor: String::new(),
        }
    }
}

/// A list's address, and what was read from it.
pub(super) struct Place<'p> {
    /// The list's path.
    pub(super) path: &'static str,
    pub(super) params: &'p Params,
    pub(super) query: Query,
    pub(super) range: TimeRange,
}

/// The form above a list.
pub(super) struct Form {
    pub(super) action: &'static str,
    pub(super) placeholder: &'static str,
    pub(super) query: String,
    pub(super) since: String,
    pub(super) until: String,
    pub(super) quick: Vec<Quick>,
    /// What is wrong with what was typed, in several lines.
    pub(super) error: Option<String>,
}

pub(super) struct Quick {
    pub(super) link: Link,
    pub(super) current: bool,
}

/// A field and its most frequent values.
pub(super) struct Facet {
    pub(super) field: String,
    pub(super) values: Vec<Choice>,
}

pub(super) struct Choice {
    pub(super) value: String,
    pub(super) count: String,
    pub(super) include: String,
    pub(super) exclude: String,
}

impl Form {
    pub(super) fn new(
        action: &'static str,
        placeholder: &'static str,
        params: &Params,
        error: Option<&SearchError>,
    ) -> Form {
        let quick = QUICK.map(|(since, label)| Quick {
            link: Link::new(label, link::query(action, &params.q, since, "")),
            current: params.since == since && params.until.is_empty(),
        });
        Form {
            action,
            placeholder,
            query: params.q.clone(),
            since: params.since.clone(),
            until: params.until.clone(),
            quick: quick.into(),
            error: error.map(|error| match error {
                SearchError::Query(error) => error.render(),
                other => other.to_string(),
            }),
        }
    }
}

impl<'p> Place<'p> {
    /// Reads what the address says.
    pub(super) fn read(path: &'static str, params: &'p Params) -> Result<Self, SearchError> {
        let range = TimeRange::parse(&params.since, &params.until, Timestamp::now())?;
        Ok(Place { path, params, query: parse(&params.q)?, range })
    }

    /// What is asked of the index.
    pub(super) fn ask(&self, kinds: Kinds, facets: &[&str]) -> Result<Ask, SearchError> {
        let mut ask = Ask::new(self.query.clone(), self.range);
        ask.text.clone_from(&self.params.q);
        ask.kinds = kinds;
        ask.hits = ROWS_SHOWN;
        ask.rows = TABLE_ROWS_SHOWN;
        ask.histogram = Some(BARS);
        ask.facets = facets.iter().map(|field| (*field).to_owned()).collect();
        if !self.params.cursor.is_empty() {
            ask.cursor = Some(self.params.cursor.parse()?);
        }
        Ok(ask)
    }

    /// This list with another query.
    fn with_query(&self, query: &str) -> String {
        link::query(self.path, query, &self.params.since, &self.params.until)
    }

    /// The list's next page. Its range is written out, so that `24h` does not move in between.
    pub(super) fn next(&self, cursor: Option<Cursor>) -> Option<String> {
        let cursor = cursor?.to_string();
        let since = self.range.since.map_or_else(|| "all".to_owned(), |since| since.to_string());
        let until = self.range.until.map(|until| until.to_string()).unwrap_or_default();
        let pairs = [
            ("q", self.params.q.as_str()),
            ("since", since.as_str()),
            ("until", until.as_str()),
            ("cursor", cursor.as_str()),
        ];
        Some(link::with(self.path, &pairs))
    }

    /// The list's first page, if this is another.
    pub(super) fn first(&self) -> Option<String> {
        (!self.params.cursor.is_empty()).then(|| self.with_query(&self.params.q))
    }

    pub(super) fn chart(&self, histogram: Option<&Histogram>) -> Option<Chart> {
        let histogram = histogram?;
        histogram::draw(&histogram.buckets(), histogram.step_nanos, |from, to| {
            link::query(self.path, &self.params.q, &from.to_string(), &to.to_string())
        })
    }

    pub(super) fn facets(&self, facets: &[indexing::Facet]) -> Vec<Facet> {
        facets
            .iter()
            .filter(|facet| !facet.values.is_empty())
            .map(|facet| Facet {
                field: facet.field.clone(),
                values: facet
                    .values
                    .iter()
                    .map(|counted| {
                        let value = counted.value.to_string();
                        let term = crate::search::term(&facet.field, &value);
                        let exclude = link::narrow(&self.query, term.clone().negated());
                        Choice {
                            include: self.with_query(&link::narrow(&self.query, term)),
                            exclude: self.with_query(&exclude),
                            count: grouped(counted.count),
                            value,
                        }
                    })
                    .collect(),
            })
            .collect()
    }
}

/// What is said above the results: why they are not whole, and what is odd about the query.
pub(super) fn notes(mut notes: Vec<String>, hints: &[query::Hint]) -> Vec<String> {
    notes.extend(hints.iter().map(ToString::to_string));
    notes
}

/// A number with commas between thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 event`, `2,000 events`.
pub(super) fn plural(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(number), if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::{grouped, plural};

    #[test]
    fn numbers_are_readable() {
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(12_345_678), "12,345,678");
        assert_eq!(plural(1, "alert", "alerts"), "1 alert");
        assert_eq!(plural(0, "alert", "alerts"), "0 alerts");
    }
}
