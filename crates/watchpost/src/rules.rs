//! The rules of a running engine: where they come from, and what becomes of changed files.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use correlation::{Correlations, Definition};
use detection::{RuleBook, RuleSources, Watcher};
use sigma::Severity;

use crate::config::Config;

/// How many faults of changed rule files are logged one by one.
const FAULTS_LOGGED_MAX: usize = 20;

/// The built-in rules and the configured ones.
pub(crate) fn rule_sources(config: &Config) -> RuleSources {
    RuleSources {
        builtin: if config.rules.builtin { builtin_rules() } else { Vec::new() },
        paths: config.rules.paths.clone(),
        pipelines: config.rules.pipelines.clone(),
    }
}

/// The correlations of a book that run.
pub(crate) fn definitions(book: &RuleBook) -> Vec<Definition> {
    book.correlations()
        .iter()
        .filter(|entry| entry.runs)
        .filter_map(|entry| Definition::new(&entry.correlation, entry.reference.clone()).ok())
        .collect()
}

/// The rules that come with Watchpost: (file name, text).
pub(crate) fn builtin_rules() -> Vec<(String, String)> {
    detections::rules()
        .map(|file| (format!("detections/{}", file.path), file.text.to_owned()))
        .collect()
}

/// Looks for changed rule files now and then, and swaps the rules without losing an event.
pub(crate) struct RuleWatcher {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl RuleWatcher {
    pub(crate) fn start(
        mut watcher: Watcher,
        correlations: Correlations,
        every: Duration,
    ) -> RuleWatcher {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let waiting = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("rules".into()).spawn(move || {
            let (stopped, changed) = &*waiting;
            loop {
                let guard = lock(stopped);
                let (guard, _) = changed
                    .wait_timeout_while(guard, every, |stopped| !*stopped)
                    .unwrap_or_else(PoisonError::into_inner);
                if *guard {
                    return;
                }
                drop(guard);
                // The stage that counts must know a correlation before its first match comes.
                watcher.poll(|book| {
                    correlations.replace(definitions(book));
                    let faults = book.diagnostics().iter();
                    let errors = faults.filter(|fault| fault.severity == Severity::Error);
                    for fault in errors.take(FAULTS_LOGGED_MAX) {
                        tracing::error!(%fault, "a rule is refused, the others run");
                    }
                });
            }
        });
        // Without the thread the rules stay as they are, which is no reason not to run.
        let thread = thread.inspect_err(|error| tracing::error!(%error, "rules are not watched"));
        RuleWatcher { stop, thread: thread.ok() }
    }
}

impl Drop for RuleWatcher {
    fn drop(&mut self) {
        let (stopped, changed) = &*self.stop;
        *lock(stopped) = true;
        changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic there was logged by its thread.
            thread.join().ok();
        }
    }
}

fn lock(stopped: &Mutex<bool>) -> std::sync::MutexGuard<'_, bool> {
    stopped.lock().unwrap_or_else(PoisonError::into_inner)
}
