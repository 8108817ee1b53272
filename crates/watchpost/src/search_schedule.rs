//! Runs scheduled searches when they are due, and raises their alerts.
//!
//! A window is run once what arrived in it is indexed: first all of `raw` that was there when the window
//! ended must be normalised, then all of `events` that was there after that must be in the index. How far
//! each search has come lies in a file of the data folder and is written after its alerts are; a run that
//! is done again after a crash makes the same alerts with the same ids.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bus::{Bus, BusError, Offset, Shutdown, Topic};
use event::Timestamp;
use indexing::Searcher;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts};
use searches::{Due, Loaded, SavedSearch, Schedule, Standing, Window};

use crate::config::SavedSearchSettings;
use crate::own_alert;

/// How often it is looked whether a search is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often files are read again.
const RELOAD_EVERY: Duration = Duration::from_secs(10);

/// How long after its end a window is run: a record is stamped with its arrival before it is on the bus.
const GRACE_NANOS: i64 = 5 * 1_000_000_000;

/// How long normalisation may hold the lines of one event back after it has read them.
const HELD_MAX: Duration = Duration::from_secs(3);

/// How long is waited for the stages, before the other duties of this thread are seen to. The windows
/// stay due.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// How often it is looked whether the stages have come there.
const WAIT_CHECK: Duration = Duration::from_millis(250);

/// The most windows of one search that are run before the others have their turn.
const WINDOWS_AT_ONCE_MAX: usize = 20;

/// The file in the data folder.
const FILE: &str = "searches.json";

static RUNS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let name = "watchpost_searches_runs_total";
    let help = "Runs of scheduled searches; `partial` ones did not see all of their window.";
    register(IntCounterVec::new(Opts::new(name, help), &["result"]).expect("the name is valid"))
});
static SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    let help = "Time of a run of a scheduled search.";
    let options = HistogramOpts::new("watchpost_searches_run_seconds", help)
        .buckets(vec![0.001, 0.01, 0.1, 1.0, 10.0, 60.0]);
    register(Histogram::with_opts(options).expect("the name is valid"))
});
static SKIPPED: LazyLock<IntCounter> = LazyLock::new(|| {
    counter(
        "watchpost_searches_windows_skipped_total",
        "Windows of scheduled searches that were too old to be caught up.",
    )
});
static ALERTS: LazyLock<IntCounter> = LazyLock::new(|| {
    counter("watchpost_searches_alerts_total", "Alerts that scheduled searches raised.")
});
static SUPPRESSED: LazyLock<IntCounter> = LazyLock::new(|| {
    let help = "Alerts of scheduled searches that were not raised because of `suppress`.";
    counter("watchpost_searches_alerts_suppressed_total", help)
});
static LEFT_OUT: LazyLock<IntCounter> = LazyLock::new(|| {
    let help = "Alerts of scheduled searches beyond those that one run may raise.";
    counter("watchpost_searches_alerts_left_out_total", help)
});

fn counter(name: &str, help: &str) -> IntCounter {
    register(IntCounter::with_opts(Opts::new(name, help)).expect("the name is valid"))
}

fn register<C: prometheus::core::Collector + Clone + 'static>(collector: C) -> C {
    // A name that is taken already is a mistake in this file; the metric still counts, unseen.
    prometheus::register(Box::new(collector.clone())).ok();
    collector
}

/// The saved searches of a process and how far the scheduled ones are, for whoever asks.
#[derive(Clone, Default)]
pub(crate) struct SavedSearches(Arc<Mutex<Shared>>);

#[derive(Default)]
struct Shared {
    loaded: Arc<Loaded>,
    runs: BTreeMap<String, web::searches::LastRun>,
    until: BTreeMap<String, Timestamp>,
}

/// The built-in searches and those of the configuration.
pub(crate) fn load(settings: &SavedSearchSettings) -> Loaded {
    let builtin = detections::searches()
        .map(|file| (format!("detections/{}", file.path), file.text))
        .filter(|_| settings.builtin);
    searches::load(builtin, &settings.paths)
}

impl SavedSearches {
    pub(crate) fn new(settings: &SavedSearchSettings) -> SavedSearches {
        let saved = SavedSearches::default();
        saved.reload(settings);
        saved
    }

    /// All of them, as the API tells them.
    pub(crate) fn list(&self) -> web::searches::List {
        let shared = self.lock();
        let search = |search: &SavedSearch| web::searches::Saved {
            search: search.clone(),
            until: shared.until.get(&search.id).copied(),
            last_run: shared.runs.get(&search.id).cloned(),
        };
        web::searches::List {
            searches: shared.loaded.searches.iter().map(search).collect(),
            faults: shared.loaded.diagnostics.iter().map(ToString::to_string).collect(),
        }
    }

    /// Reads the files again, and logs what is newly wrong with them. A file that has a fault after a
    /// change stays in use as it was.
    fn reload(&self, settings: &SavedSearchSettings) {
        let mut loaded = load(settings);
        let before = Arc::clone(&self.lock().loaded);
        for search in &before.searches {
            let is_faulty = loaded.diagnostics.iter().any(|fault| fault.file == search.file);
            if is_faulty && loaded.find(&search.id).is_none() {
                loaded.searches.push(search.clone());
            }
        }
        for fault in &loaded.diagnostics {
            if !before.diagnostics.contains(fault) {
                tracing::error!(%fault, "a saved search is refused, the others run");
            }
        }
        self.lock().loaded = Arc::new(loaded);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The index that this process fills.
pub(crate) struct Indexed {
    pub(crate) searcher: Searcher,
    /// The consumer group that tells how far it is.
    pub(crate) group: String,
}

/// Keeps saved searches as their files are, and runs the scheduled ones.
pub(crate) struct Scheduler {
    saved: SavedSearches,
    settings: SavedSearchSettings,
    bus: Arc<dyn Bus>,
    /// Without it none runs: of a cluster, or another process's index, nobody here knows how far it is.
    indexed: Option<Indexed>,
    file: PathBuf,
    standings: BTreeMap<String, Standing>,
    shutdown: Shutdown,
}

impl Scheduler {
    pub(crate) fn new(
        saved: SavedSearches,
        settings: SavedSearchSettings,
        bus: Arc<dyn Bus>,
        indexed: Option<Indexed>,
        folder: &Path,
        shutdown: Shutdown,
    ) -> Scheduler {
        let file = folder.join(FILE);
        let standings = read_standings(&file);
        Scheduler { saved, settings, bus, indexed, file, standings, shutdown }
    }

    /// In a thread of its own.
    pub(crate) fn start(mut self) -> std::io::Result<std::thread::JoinHandle<()>> {
        std::thread::Builder::new().name("searches".to_owned()).spawn(move || self.run())
    }

    fn run(&mut self) {
        let Some(Indexed { searcher, group }) = self.indexed.take() else {
            return self.only_reload();
        };
        let mut loaded_at = Instant::now();
        while self.shutdown.sleep(LOOK_EVERY) {
            if loaded_at.elapsed() >= RELOAD_EVERY {
                self.saved.reload(&self.settings);
                loaded_at = Instant::now();
            }
            let now = Timestamp::now().plus_nanos(-GRACE_NANOS);
            let loaded = Arc::clone(&self.saved.lock().loaded);
            let mut due: Vec<(&SavedSearch, &Schedule, Due)> = Vec::new();
            for search in &loaded.searches {
                let Some(schedule) = &search.schedule else { continue };
                let standing = self.standings.entry(search.id.clone());
                let standing = standing.or_insert_with(|| Standing::new(schedule, now));
                self.saved.lock().until.insert(search.id.clone(), standing.until);
                let found = searches::due(schedule, standing.until, now);
                if !found.windows.is_empty() {
                    due.push((search, schedule, found));
                }
            }
            if due.is_empty() {
                continue;
            }
            match self.everything_is_indexed(&group) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(error) => {
                    tracing::warn!(%error, "scheduled searches wait for the bus");
                    continue;
                }
            }
            for (search, schedule, due) in due {
                self.run_search(&searcher, search, schedule, due);
            }
            // What is no more in any file is forgotten.
            self.standings.retain(|id, _| loaded.find(id).is_some_and(|s| s.schedule.is_some()));
            self.save();
        }
        self.save();
    }

    /// For a process that others ask for its saved searches, and that runs none.
    fn only_reload(&self) {
        let loaded = Arc::clone(&self.saved.lock().loaded);
        let searches = loaded.searches.iter().filter(|search| search.schedule.is_some()).count();
        if searches > 0 {
            tracing::warn!(searches, "scheduled searches run beside an index, and here is none");
        }
        while self.shutdown.sleep(RELOAD_EVERY) {
            self.saved.reload(&self.settings);
        }
    }

    /// Waits until what is on the bus now is searchable; `false` if that takes too long.
    fn everything_is_indexed(&self, group: &str) -> Result<bool, BusError> {
        if !self.wait("normalize", Topic::Raw)? || !self.shutdown.sleep(HELD_MAX) {
            return Ok(false);
        }
        self.wait(group, Topic::Events)
    }

    fn wait(&self, group: &str, topic: Topic) -> Result<bool, BusError> {
        let ends = self.bus.extents(topic)?;
        let began = Instant::now();
        loop {
            let committed = self.bus.committed(group, topic)?;
            let mut places = ends.iter().zip(committed);
            let is_there = |at: Option<Offset>, extent: &bus::Extent| {
                extent.begin == extent.end || at.is_some_and(|at| at >= extent.end)
            };
            // Offsets with holes end behind the last record; then it counts that nothing is left.
            if places.all(|(extent, at)| is_there(at, extent))
                || self.bus.lag(group, &[topic])? == 0
            {
                return Ok(true);
            }
            if began.elapsed() >= WAIT_MAX {
                tracing::warn!(group, %topic, "scheduled searches wait for a stage that is behind");
                return Ok(false);
            }
            if !self.shutdown.sleep(WAIT_CHECK) {
                return Ok(false);
            }
        }
    }

    fn run_search(
        &mut self,
        searcher: &Searcher,
        search: &SavedSearch,
        schedule: &Schedule,
        due: Due,
    ) {
        if due.skipped > 0 {
            SKIPPED.inc_by(due.skipped);
            let windows = due.skipped;
            tracing::warn!(search = search.id, windows, "windows are too old to be caught up");
        }
        for window in due.windows.into_iter().take(WINDOWS_AT_ONCE_MAX) {
            if self.shutdown.is_triggered() {
                return;
            }
            if let Err(error) = self.run_window(searcher, search, schedule, window) {
                // Its place stays, so it is run again.
                RUNS.with_label_values(&["failed"]).inc();
                tracing::error!(%error, search = search.id, "the alerts of a search were not stored");
                let failed = Some(error.to_string());
                self.note(search, window, |run| run.failed = failed);
                return;
            }
        }
    }

    fn run_window(
        &mut self,
        searcher: &Searcher,
        search: &SavedSearch,
        schedule: &Schedule,
        window: Window,
    ) -> Result<(), BusError> {
        let began = Instant::now();
        let Some(standing) = self.standings.get_mut(&search.id) else { return Ok(()) };
        let now = Timestamp::now();
        let outcome = searches::run(search, schedule, searcher, window, now);
        SECONDS.observe(began.elapsed().as_secs_f64());
        let mut after = standing.clone();
        let mut raised = 0;
        for alert in &outcome.alerts {
            if after.is_new(schedule, &alert.id, window.to) {
                own_alert::store(self.bus.as_ref(), alert)?;
                raised += 1;
            } else {
                SUPPRESSED.inc();
            }
        }
        after.until = window.to;
        *standing = after;
        ALERTS.inc_by(raised);
        LEFT_OUT.inc_by(outcome.left_out);
        if outcome.left_out > 0 {
            let alerts = outcome.left_out;
            tracing::warn!(
                search = search.id,
                alerts,
                "a search has more alerts than a run raises"
            );
        }
        for reason in &outcome.partial {
            tracing::warn!(search = search.id, reason, "a search did not see all of its window");
        }
        let result = if outcome.partial.is_empty() { "whole" } else { "partial" };
        RUNS.with_label_values(&[result]).inc();
        self.note(search, window, |run| {
            run.took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            (run.total, run.alerts, run.left_out) = (outcome.total, raised, outcome.left_out);
            run.partial = outcome.partial;
        });
        Ok(())
    }

    fn note(
        &self,
        search: &SavedSearch,
        window: Window,
        fill: impl FnOnce(&mut web::searches::LastRun),
    ) {
        let mut run = web::searches::LastRun::of(window.from, window.to);
        fill(&mut run);
        let mut shared = self.saved.lock();
        if run.failed.is_none() {
            shared.until.insert(search.id.clone(), window.to);
        }
        shared.runs.insert(search.id.clone(), run);
    }

    /// Written beside and renamed: a crash leaves the old one.
    fn save(&self) {
        if self.standings.is_empty() && !self.file.exists() {
            return;
        }
        let Ok(bytes) = serde_json::to_vec(&self.standings) else { return };
        let new = self.file.with_extension("new");
        let written = std::fs::write(&new, bytes).and_then(|()| std::fs::rename(&new, &self.file));
        if let Err(error) = written {
            let file = self.file.display();
            tracing::warn!(%error, %file, "how far scheduled searches have come was not kept");
        }
    }
}

/// What was kept; a file that cannot be read begins anew, and says so.
fn read_standings(file: &Path) -> BTreeMap<String, Standing> {
    let read = match std::fs::read(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return BTreeMap::new(),
        Err(error) => Err(error.to_string()),
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| error.to_string()),
    };
    read.unwrap_or_else(|error| {
        let file = file.display();
        tracing::error!(%error, %file, "scheduled searches begin anew: how far they were is unknown");
        BTreeMap::new()
    })
}
