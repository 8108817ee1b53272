//! How long events stay, by their dataset: an age, and a size.
//!
//! The age of an event counts from its time or its arrival, whichever is later, so that logs of last
//! year that are imported today are kept as long as today's. An event that arrived before its day came
//! from a clock that was behind; it counts from when its partition last changed. Ages are applied by whole UTC days: the
//! events of a day go once the day's last moment is too old. Of a day that holds several datasets only
//! some may go then; what remains of it is merged once enough of it is gone (see `writer`), and a day
//! of which nothing remains is dropped whole, without a look at its events.
//!
//! A size bounds what all datasets of one entry take together, as `usage` measures it; the oldest
//! events go first, by whole minutes. Alerts are kept by the default's age alone.

use std::collections::BTreeMap;

use event::Timestamp;
use query::{At, Bound, FieldName, FieldTest, Filter, Glob, Piece, Term, Test};

use crate::document::TIME;
use crate::partition::{Kind, PartitionId};
use crate::usage::{DATASET, Usage};

/// The name of the default among classes, in metrics and logs.
const DEFAULT: &str = "default";

/// How long events are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retention {
    /// Events of datasets that no entry names, and alerts.
    pub default: Keep,
    /// By dataset; the first entry that names it holds.
    pub datasets: Vec<(DatasetPattern, Keep)>,
}

/// How long something is kept. A bound that is `None` does not bind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keep {
    /// In days.
    pub days: Option<u32>,
    /// In bytes of the index's files.
    pub bytes_max: Option<u64>,
}

impl Keep {
    /// The first moment that is kept.
    fn since(self, now: Timestamp) -> Option<Timestamp> {
        const DAY_NANOS: i64 = 86_400 * 1_000_000_000;
        self.days.map(|days| now.plus_nanos(i64::from(days).saturating_mul(-DAY_NANOS)))
    }
}

/// A dataset's name, or a pattern in which `*` stands for any run of characters.
#[derive(Debug, Clone, PartialEq)]
pub struct DatasetPattern {
    text: String,
    glob: Glob,
}

impl Eq for DatasetPattern {}

impl DatasetPattern {
    /// Reads it as it was written.
    pub fn new(text: &str) -> DatasetPattern {
        let pieces = text.split('*').enumerate().flat_map(|(n, part)| {
            let star = (n > 0).then_some(Piece::Any);
            star.into_iter().chain([Piece::Literal(part.to_owned())])
        });
        DatasetPattern { text: text.to_owned(), glob: Glob::new(pieces) }
    }

    fn names(&self, dataset: &str) -> bool {
        self.glob.matches_folded(&query::fold(dataset))
    }
}

/// The events that one entry is about; entries are numbered as written, the default is the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Class(usize);

impl Retention {
    /// Whether anything is ever removed.
    pub(crate) fn binds(&self) -> bool {
        self.classes().any(|class| self.keep(class) != Keep::default())
    }

    pub(crate) fn classes(&self) -> impl Iterator<Item = Class> + use<> {
        (0..=self.datasets.len()).map(Class)
    }

    pub(crate) fn keep(&self, Class(n): Class) -> Keep {
        self.datasets.get(n).map_or(self.default, |(_, keep)| *keep)
    }

    /// How a class is called: the pattern.
    pub(crate) fn name(&self, Class(n): Class) -> &str {
        self.datasets.get(n).map_or(DEFAULT, |(pattern, _)| &pattern.text)
    }

    pub(crate) fn class_of(&self, dataset: &str) -> Class {
        let named = self.datasets.iter().position(|(pattern, _)| pattern.names(dataset));
        Class(named.unwrap_or(self.datasets.len()))
    }

    /// Whether a partition's day is too old for some class; most are not, and need no closer look.
    pub(crate) fn reaches(&self, id: PartitionId, now: Timestamp) -> bool {
        let mut since = self.classes().filter_map(|class| self.keep(class).since(now));
        since.any(|since| id.end() <= since)
    }

    /// What of a partition that last changed at a moment is too old, class by class.
    pub(crate) fn past(
        &self,
        id: PartitionId,
        changed: Timestamp,
        usage: &Usage,
        now: Timestamp,
    ) -> Vec<(Class, Filter)> {
        let mut classes: BTreeMap<Class, Vec<&str>> = BTreeMap::new();
        for dataset in usage.keys() {
            let class = match id.kind {
                Kind::Events => self.class_of(dataset),
                Kind::Alerts => Class(self.datasets.len()),
            };
            classes.entry(class).or_default().push(dataset);
        }
        let past = classes.into_iter().filter_map(|(class, datasets)| {
            let since = self.keep(class).since(now).filter(|since| id.end() <= *since)?;
            let arrived_since = range(arrival(id.kind), Some(since), None);
            let mut filters = vec![among(datasets), arrived_since.negated()];
            if changed >= since {
                filters.push(range(arrival(id.kind), None, Some(id.start())).negated());
            }
            Some((class, Filter::and(filters)))
        });
        past.collect()
    }
}

/// The field that says when something came to be here.
pub(crate) fn arrival(kind: Kind) -> &'static str {
    match kind {
        Kind::Events => "event.ingested",
        Kind::Alerts => "event.created",
    }
}

/// Events of one of these datasets; the empty name stands for none, however that is said.
pub(crate) fn among<'d>(datasets: impl IntoIterator<Item = &'d str>) -> Filter {
    let tests = datasets.into_iter().map(|dataset| match dataset {
        "" => {
            let field = FieldName::new(DATASET);
            let named = Filter::Field(FieldTest { field, test: Test::Exists, at: At(0) });
            Filter::or(vec![named.negated(), Filter::term(DATASET, "")])
        }
        named => Filter::term(DATASET, named),
    });
    Filter::or(tests.collect())
}

/// Events before a moment, by their own time.
pub(crate) fn before(moment: Timestamp) -> Filter {
    range(TIME, None, Some(moment))
}

/// Where a time is not before `low`, and before `high`.
fn range(field: &str, low: Option<Timestamp>, high: Option<Timestamp>) -> Filter {
    let term = |time: Timestamp| Term::new(time.to_string());
    Filter::Field(FieldTest {
        field: FieldName::new(field),
        test: Test::Range {
            low: low.map_or(Bound::Open, |time| Bound::Including(term(time))),
            high: high.map_or(Bound::Open, |time| Bound::Excluding(term(time))),
        },
        at: At(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_entry_that_names_a_dataset_holds() {
        let keep = |days| Keep { days: Some(days), bytes_max: None };
        let retention = Retention {
            default: keep(90),
            datasets: vec![
                (DatasetPattern::new("linux.audit"), keep(365)),
                (DatasetPattern::new("linux.*"), keep(30)),
                (DatasetPattern::new("*.debug*"), keep(1)),
            ],
        };
        let days = |dataset| {
            let class = retention.class_of(dataset);
            (retention.name(class), retention.keep(class).days.unwrap())
        };
        assert_eq!(days("linux.audit"), ("linux.audit", 365));
        assert_eq!(days("Linux.auth.debug"), ("linux.*", 30));
        assert_eq!(days("app.debugging"), ("*.debug*", 1));
        assert_eq!(days("linux"), ("default", 90));
        assert_eq!(days(""), ("default", 90));
        assert!(retention.binds() && !Retention::default().binds());
    }
}
