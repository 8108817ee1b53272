//! Sources that go silent, or send far more or less than they used to, are alerts.
//!
//! What no longer arrives raises no alarm by itself: a shipper that died and an attacker who stopped
//! the logging look the same as a quiet night. So each source is held against its own past, which
//! is kept in the data folder: how many records it sent in each of the last [`BUCKETS`] spans of a
//! quarter of `sources.silent_after_seconds`.
//!
//! - **silent**: nothing for that long, from a source that sent in three of four spans before.
//! - **volume**: the last four spans together differ from the median of such sums by more than
//!   `sources.volume_factor`, from a source with [`VOLUME_MIN`] records or more.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bus::ledger::{Seen, Sources, sources};
use bus::{Bus, BusError, Shutdown, Topic};
use event::{Level, Timestamp};
use prometheus::{IntGauge, Opts};
use serde::{Deserialize, Serialize};

use crate::config::SourceSettings;
use crate::own_alert::{OwnAlert, raise};

/// How many spans are remembered of a source: a day, with the default of an hour of silence.
const BUCKETS: usize = 96;

/// How many spans make the sum whose change is a change of volume.
const SUM_BUCKETS: usize = 4;

/// With fewer spans than this, a source has no past to be held against.
const KNOWN_MIN: usize = 8;
const KNOWN_MIN_FOR_VOLUME: usize = 24;

/// Below so many records in four spans, a factor says nothing.
const VOLUME_MIN: u64 = 100;

/// The most sources that are watched; the ledger bounds them too.
const SOURCES_MAX: usize = 10_000;

/// How often the past is written to disk, if a span is shorter.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// The file in the data folder.
const FILE: &str = "sources.json";

static SILENT: LazyLock<IntGauge> = LazyLock::new(|| {
    gauge("watchpost_sources_silent", "Sources that sent steadily and have gone silent.")
});
static KNOWN: LazyLock<IntGauge> =
    LazyLock::new(|| gauge("watchpost_sources", "Sources that have sent anything."));

fn gauge(name: &str, help: &str) -> IntGauge {
    let gauge = IntGauge::with_opts(Opts::new(name, help)).expect("the name is valid");
    // A name that is taken already is a mistake in this file; the metric still counts, unseen.
    prometheus::register(Box::new(gauge.clone())).ok();
    gauge
}

/// Watches the sources of a bus in a thread of its own.
pub(crate) fn start(
    bus: Arc<dyn Bus>,
    normalize: &'static str,
    settings: SourceSettings,
    folder: &Path,
    shutdown: Shutdown,
) -> std::io::Result<Option<std::thread::JoinHandle<()>>> {
    if settings.silent_after_seconds == 0 {
        return Ok(None);
    }
    let file = folder.join(FILE);
    let thread = std::thread::Builder::new().name("sources".to_owned());
    let run = move || {
        let mut watch = Watch::load(settings, &file);
        let mut saved = std::time::Instant::now();
        while shutdown.sleep(watch.span()) {
            match seen_sources(bus.as_ref(), normalize) {
                // What has come in and is not read yet is no silence of its source.
                Ok((seen, unread)) if unread > 0 && !watch.has_moved(&seen) => {
                    tracing::debug!(unread, "the sources are not judged while nothing is read");
                }
                Ok((seen, _)) => {
                    for alert in watch.look(&seen, Timestamp::now()) {
                        tracing::warn!(reason = alert.reason, "a source is not as it used to be");
                        let now = Timestamp::now();
                        if let Err(error) = raise(bus.as_ref(), alert.as_own(), now) {
                            tracing::error!(%error, "the alert about a source was not stored");
                        }
                    }
                }
                Err(error) => tracing::debug!(%error, "the sources cannot be read now"),
            }
            if saved.elapsed() >= SAVE_EVERY {
                watch.save(&file);
                saved = std::time::Instant::now();
            }
        }
        watch.save(&file);
    };
    thread.spawn(run).map(Some)
}

/// What was read of each source, and how many records are still to be read.
fn seen_sources(bus: &dyn Bus, normalize: &str) -> Result<(Sources, u64), BusError> {
    Ok((sources(bus, normalize)?, bus.lag(normalize, &[Topic::Raw])?))
}

/// The past of all sources.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Watch {
    #[serde(skip)]
    settings: SourceSettings,
    /// The length of a span, to which all counts belong.
    span_ms: u64,
    sources: BTreeMap<String, Past>,
}

/// The past of one source.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct Past {
    /// All that it ever sent, at the last look.
    total: u64,
    /// Records in each span, the newest last.
    spans: Vec<u64>,
    /// Whether its silence was told.
    is_silent: bool,
    /// Whether its volume was told.
    is_odd: bool,
}

/// Something to tell of a source.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    source: String,
    rule: &'static str,
    title: &'static str,
    reason: String,
    identity: String,
}

impl Finding {
    fn as_own(&self) -> OwnAlert<'_> {
        OwnAlert {
            rule: self.rule,
            title: self.title,
            level: Level::Medium,
            reason: self.reason.clone(),
            identity: &self.identity,
            group: vec![("log.source.address".to_owned(), self.source.clone())],
        }
    }
}

impl Watch {
    fn load(settings: SourceSettings, file: &Path) -> Watch {
        let kept: Option<Watch> =
            fs::read(file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let fresh = Watch { settings: settings.clone(), ..Watch::default() };
        let span_ms = fresh.span().as_millis() as u64;
        match kept {
            // Counts of spans of another length mean nothing.
            Some(kept) if kept.span_ms == span_ms => Watch { settings, ..kept },
            _ => Watch { span_ms, ..fresh },
        }
    }

    /// Written beside and renamed: a crash leaves the old one.
    fn save(&self, file: &Path) {
        let Ok(bytes) = serde_json::to_vec(self) else { return };
        let new: PathBuf = file.with_extension("new");
        let written = fs::write(&new, bytes).and_then(|()| fs::rename(&new, file));
        if let Err(error) = written {
            tracing::warn!(%error, file = %file.display(), "what sources used to send was not kept");
        }
    }

    /// Whether anything was read since the last look.
    fn has_moved(&self, seen: &Sources) -> bool {
        seen.iter().any(|(name, (counts, _))| {
            self.sources.get(name).is_none_or(|past| past.total != counts.consumed)
        })
    }

    /// The length of a span.
    fn span(&self) -> Duration {
        Duration::from_secs(self.settings.silent_after_seconds) / SUM_BUCKETS as u32
    }

    /// Takes the counts at the end of a span, and tells what has changed.
    fn look(&mut self, seen: &Sources, now: Timestamp) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (name, (counts, seen)) in seen {
            if !self.sources.contains_key(name) {
                if self.sources.len() >= SOURCES_MAX {
                    continue;
                }
                // What it sent before it was watched is no volume of this span.
                let past = Past { total: counts.consumed, ..Past::default() };
                self.sources.insert(name.clone(), past);
                continue;
            }
            let Some(past) = self.sources.get_mut(name) else { continue };
            past.spans.push(counts.consumed.saturating_sub(past.total));
            past.total = counts.consumed;
            let over = past.spans.len().saturating_sub(BUCKETS);
            past.spans.drain(..over);
            findings.extend(past.silence(name, seen, now, &self.settings));
            findings.extend(past.volume(name, now, &self.settings));
        }
        let silent = self.sources.values().filter(|past| past.is_silent).count();
        SILENT.set(i64::try_from(silent).unwrap_or(i64::MAX));
        KNOWN.set(i64::try_from(self.sources.len()).unwrap_or(i64::MAX));
        findings
    }
}

impl Past {
    /// The spans before the newest four, and those.
    fn parts(&self) -> Option<(&[u64], &[u64])> {
        self.spans.split_at_checked(self.spans.len().checked_sub(SUM_BUCKETS)?)
    }

    fn silence(
        &mut self,
        name: &str,
        seen: &Seen,
        now: Timestamp,
        settings: &SourceSettings,
    ) -> Option<Finding> {
        let (before, newest) = self.parts()?;
        let is_quiet = newest.iter().all(|&count| count == 0);
        if !is_quiet {
            self.is_silent = false;
            return None;
        }
        let busy = before.iter().filter(|&&count| count > 0).count();
        let was_steady = before.len() >= KNOWN_MIN && busy * 4 >= before.len() * 3;
        if self.is_silent || !was_steady {
            return None;
        }
        let steady = busy * 100 / before.len();
        self.is_silent = true;
        let last = seen.last.unwrap_or(now).to_string();
        let minutes = settings.silent_after_seconds / 60;
        Some(Finding {
            source: name.to_owned(),
            rule: "watchpost.source.silent",
            title: "A source has gone silent",
            reason: format!(
                "{name} sent nothing for {minutes} minutes, its last record came at {last}; before, it sent in {steady} of 100 spans of time"
            ),
            identity: format!("{name} {last}"),
        })
    }

    fn volume(&mut self, name: &str, now: Timestamp, settings: &SourceSettings) -> Option<Finding> {
        let (before, newest) = self.parts()?;
        if settings.volume_factor < 2 || before.len() < KNOWN_MIN_FOR_VOLUME {
            return None;
        }
        let mut sums: Vec<u64> =
            before.windows(SUM_BUCKETS).map(|window| window.iter().sum()).collect();
        sums.sort_unstable();
        let median = sums.get(sums.len() / 2).copied().unwrap_or_default();
        let newest: u64 = newest.iter().sum();
        let factor = settings.volume_factor;
        // Silence is told as such.
        let is_less = newest > 0 && median >= VOLUME_MIN && newest.saturating_mul(factor) < median;
        let is_more = newest >= VOLUME_MIN && newest > median.max(1).saturating_mul(factor);
        if !is_less && !is_more {
            self.is_odd = false;
            return None;
        }
        if std::mem::replace(&mut self.is_odd, true) {
            return None;
        }
        let word = if is_more { "more" } else { "less" };
        let minutes = settings.silent_after_seconds / 60;
        Some(Finding {
            source: name.to_owned(),
            rule: "watchpost.source.volume",
            title: "A source sends far more or less than it used to",
            reason: format!(
                "{name} sent {newest} records in {minutes} minutes, more than {factor} times {word} than its usual {median}"
            ),
            identity: format!("{name} {now}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use bus::ledger::Counts;

    use super::*;

    fn watch() -> Watch {
        let settings = SourceSettings::default();
        Watch { settings, ..Watch::default() }
    }

    /// Lets spans pass in which the source sends so many each, and returns what was told.
    fn pass(watch: &mut Watch, total: &mut u64, spans: &[u64]) -> Vec<&'static str> {
        let mut told = Vec::new();
        for count in spans {
            *total += count;
            let counts = Counts { consumed: *total, ..Counts::default() };
            let seen = BTreeMap::from([("10.0.0.1".to_owned(), (counts, Seen::default()))]);
            told.extend(watch.look(&seen, Timestamp::EPOCH).into_iter().map(|found| found.rule));
        }
        told
    }

    #[test]
    fn a_steady_source_that_goes_silent_is_told_once_for_each_time() {
        let (mut watch, mut total) = (watch(), 500);
        assert!(pass(&mut watch, &mut total, &[7; 20]).is_empty());
        assert!(pass(&mut watch, &mut total, &[0; 3]).is_empty());
        assert_eq!(pass(&mut watch, &mut total, &[0; 9]), ["watchpost.source.silent"]);
        assert!(pass(&mut watch, &mut total, &[7; 40]).is_empty());
        assert_eq!(pass(&mut watch, &mut total, &[0; 5]), ["watchpost.source.silent"]);
    }

    #[test]
    fn a_stage_that_stands_still_is_told_from_a_silent_source() {
        let (mut watch, mut total) = (watch(), 500);
        let seen = |consumed| {
            let counts = Counts { consumed, ..Counts::default() };
            BTreeMap::from([("10.0.0.1".to_owned(), (counts, Seen::default()))])
        };
        assert!(watch.has_moved(&seen(total)), "a new source");
        pass(&mut watch, &mut total, &[7]);
        assert!(!watch.has_moved(&seen(total)));
        assert!(watch.has_moved(&seen(total + 1)));
    }

    #[test]
    fn one_that_speaks_now_and_then_may_be_silent() {
        let (mut watch, mut total) = (watch(), 0);
        let now_and_then = [5, 0, 0, 0, 0, 0, 0, 0].repeat(10);
        assert!(pass(&mut watch, &mut total, &now_and_then).is_empty());
    }

    #[test]
    fn far_more_and_far_less_are_told_once() {
        let (mut watch, mut total) = (watch(), 0);
        assert!(pass(&mut watch, &mut total, &[100; 40]).is_empty());
        assert!(pass(&mut watch, &mut total, &[300; 8]).is_empty());
        let flood = pass(&mut watch, &mut total, &[5000; 6]);
        assert_eq!(flood, ["watchpost.source.volume"]);
        assert!(pass(&mut watch, &mut total, &[100; 60]).is_empty());
        assert_eq!(pass(&mut watch, &mut total, &[3; 6]), ["watchpost.source.volume"]);
    }

    #[test]
    fn the_past_outlives_a_restart_but_not_another_span() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        let settings = SourceSettings::default();
        let (mut watch, mut total) = (Watch::load(settings.clone(), &file), 0);
        pass(&mut watch, &mut total, &[7; 20]);
        watch.save(&file);
        let mut again = Watch::load(settings.clone(), &file);
        assert_eq!(pass(&mut again, &mut total, &[0; 4]), ["watchpost.source.silent"]);
        let other = SourceSettings { silent_after_seconds: 60, ..settings };
        assert!(Watch::load(other, &file).sources.is_empty());
    }
}
