//! What goes wrong with the records of a dataset is an alert.
//!
//! A mapping that fits no more blinds the rules behind it, and nothing else would tell. Silence and
//! volume are told by sender ([`crate::source_watch`]), so here they are only metrics.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bus::{Bus, Shutdown};
use event::{Level, Timestamp};
use normalize::health::{self, DatasetHealth, Problem};
use prometheus::{IntGaugeVec, Opts};

use crate::own_alert::{OwnAlert, raise};

/// How often it is looked; the counts are written once a minute.
const EVERY: Duration = Duration::from_secs(60);

static PROBLEMS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let name = "watchpost_dataset_problems";
    let help = "What is wrong with the records of datasets now, by kind.";
    let gauge = IntGaugeVec::new(Opts::new(name, help), &["kind"]).expect("the name is valid");
    // A name that is taken already is a mistake in this file; the metric still counts, unseen.
    prometheus::register(Box::new(gauge.clone())).ok();
    gauge
});

/// Watches the datasets of a bus in a thread of its own.
pub(crate) fn start(
    bus: Arc<dyn Bus>,
    normalize: &'static str,
    shutdown: Shutdown,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name("datasets".to_owned()).spawn(move || {
        let mut told = BTreeSet::new();
        while shutdown.sleep(EVERY) {
            let now = Timestamp::now();
            match health::read(bus.as_ref(), normalize, now) {
                Ok(datasets) => {
                    count(&datasets);
                    for found in new_findings(&datasets, now, &mut told) {
                        tracing::warn!(reason = found.reason, "a dataset is not read as it was");
                        if let Err(error) = raise(bus.as_ref(), found.as_own(), now) {
                            tracing::error!(%error, "the alert about a dataset was not stored");
                            told.remove(&found.identity);
                        }
                    }
                }
                Err(error) => tracing::debug!(%error, "data health cannot be read now"),
            }
        }
    })
}

fn count(datasets: &[DatasetHealth]) {
    PROBLEMS.reset();
    for problem in datasets.iter().flat_map(|dataset| &dataset.problems) {
        PROBLEMS.with_label_values(&[problem.kind.as_str()]).inc();
    }
}

/// Something to tell of a dataset.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    rule: &'static str,
    title: &'static str,
    dataset: String,
    reason: String,
    identity: String,
}

impl Finding {
    /// None for what is told elsewhere.
    fn of(dataset: &str, problem: &Problem, now: Timestamp) -> Option<Finding> {
        let today = day(now);
        let (rule, title, identity) = match problem.kind.as_str() {
            "vanished" => ("watchpost.dataset.vanished", "A field has vanished", &problem.since),
            "type" => ("watchpost.dataset.type", "A field has changed its type", &problem.since),
            "unparsed" => {
                ("watchpost.dataset.unparsed", "Records of a dataset cannot be read", &today)
            }
            "missing_time" => {
                ("watchpost.dataset.time", "Records of a dataset have no time", &today)
            }
            "clock" => ("watchpost.dataset.clock", "A clock is ahead", &today),
            _ => return None,
        };
        // The same of a change, and of a day for what is a share: a restart tells nothing twice.
        let identity = format!("{dataset} {} {} {identity}", problem.kind, problem.field);
        let reason = format!("{dataset}: {}", problem.text);
        Some(Finding { rule, title, dataset: dataset.to_owned(), reason, identity })
    }

    fn as_own(&self) -> OwnAlert<'_> {
        OwnAlert {
            rule: self.rule,
            title: self.title,
            level: Level::Medium,
            reason: self.reason.clone(),
            identity: &self.identity,
            group: vec![("event.dataset".to_owned(), self.dataset.clone())],
        }
    }
}

fn day(now: Timestamp) -> String {
    let text = now.to_string();
    text.split('T').next().unwrap_or_default().to_owned()
}

/// What was not told yet.
fn new_findings(
    datasets: &[DatasetHealth],
    now: Timestamp,
    told: &mut BTreeSet<String>,
) -> Vec<Finding> {
    let all = datasets.iter().flat_map(|of| of.problems.iter().map(move |each| (of, each)));
    let found: Vec<Finding> =
        all.filter_map(|(of, problem)| Finding::of(&of.dataset, problem, now)).collect();
    let new = found.into_iter().filter(|found| told.insert(found.identity.clone())).collect();
    // What is over may be told again, some day.
    let past = told.len().saturating_sub(10_000);
    for _ in 0..past {
        told.pop_first();
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_once() {
        let problem = |kind: &str, since: &str| Problem {
            kind: kind.to_owned(),
            field: "user.name".to_owned(),
            text: "gone".to_owned(),
            since: since.to_owned(),
        };
        let dataset = |problems| DatasetHealth {
            dataset: "okta.system".to_owned(),
            problems,
            ..DatasetHealth::default()
        };
        let now = Timestamp::EPOCH;
        let mut told = BTreeSet::new();
        let first = [dataset(vec![problem("vanished", "a"), problem("volume", "a")])];
        let found = new_findings(&first, now, &mut told);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].reason, "okta.system: gone");
        assert!(new_findings(&first, now, &mut told).is_empty());
        let again = [dataset(vec![problem("vanished", "b"), problem("unparsed", "b")])];
        let rules: Vec<_> =
            new_findings(&again, now, &mut told).into_iter().map(|found| found.rule).collect();
        assert_eq!(rules, ["watchpost.dataset.vanished", "watchpost.dataset.unparsed"]);
    }
}
