//! Notices that rule files changed, and makes a new book of them.
//!
//! It looks at names, lengths and times of change, every few seconds, as its caller wishes: no
//! service of the operating system is needed, it works on network file systems, and a thousand
//! changes at once (a `git pull`) are one reload.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use crate::book::{RuleBook, Rules};
use crate::load::{RuleSources, faulty_files};

/// Keeps [`Rules`] up to date with their files.
#[derive(Debug)]
pub struct Watcher {
    rules: Rules,
    sources: RuleSources,
    seen: Vec<Seen>,
    /// The text of each file when it last had no fault.
    faultless: HashMap<String, Arc<str>>,
    /// Whether every file is gone, which is told once.
    all_gone: bool,
}

/// What is looked at of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    path: PathBuf,
    /// When it was changed last, and its length; `None` if that can't be told.
    state: Option<(SystemTime, u64)>,
}

/// What a reload changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Change {
    /// Rules and correlations that were not there before.
    pub added: usize,
    /// Those that are gone.
    pub removed: usize,
    /// Those that say something else now.
    pub changed: usize,
}

impl Watcher {
    /// Loads the rules. The rules are taken as they are now: look for changes later.
    pub fn start(sources: RuleSources) -> (Watcher, Rules) {
        // First looked at, then loaded: what changes in between is noticed.
        let seen = look(&sources);
        let book = sources.load();
        let mut faultless = HashMap::new();
        remember(&mut faultless, &book);
        let rules = Rules::new(book);
        (Watcher { rules: rules.clone(), sources, seen, faultless, all_gone: false }, rules)
    }

    /// Looks whether files changed since, and if so, puts a new book into use. `before` is shown
    /// the book just before: the place to make its correlations known to the stage that counts,
    /// which must know them first.
    ///
    /// When not one file can be found where there were some, the old rules stay: a folder that is
    /// not mounted, or a checkout that is being replaced, should not end all detection. For the
    /// same reason a file that has a fault now stays in use as it was before the fault.
    pub fn poll(&mut self, before: impl FnOnce(&RuleBook)) -> Option<Change> {
        let seen = look(&self.sources);
        if seen == self.seen {
            self.all_gone = false;
            return None;
        }
        let nothing_left = seen.iter().all(|file| file.state.is_none());
        if nothing_left && self.seen.iter().any(|file| file.state.is_some()) {
            if !self.all_gone {
                tracing::error!(
                    paths = ?self.sources.paths,
                    "no rule file can be found any more; the rules that were loaded stay in use"
                );
            }
            self.all_gone = true;
            return None;
        }
        self.all_gone = false;
        let old = self.rules.current();
        let book = self.load();
        self.seen = seen;
        let change = Change::between(&old, &book);
        let errors = book.refused();
        let Change { added, removed, changed } = change;
        let rules = book.rules().len();
        tracing::info!(rules, added, removed, changed, errors, "rules reloaded");
        before(&book);
        self.rules.replace(book);
        Some(change)
    }

    /// What the files say now; those with a fault, what they said before it.
    fn load(&mut self) -> RuleBook {
        let book = self.sources.load();
        remember(&mut self.faultless, &book);
        let mut former = HashMap::new();
        for file in faulty_files(&book.diagnostics) {
            if let Some(text) = self.faultless.get(file)
                && book.source(file) != Some(text)
            {
                former.insert(file.to_owned(), Arc::clone(text));
            }
        }
        if former.is_empty() {
            return book;
        }
        for file in former.keys() {
            tracing::warn!(file, "the file has a fault now; its former version stays in use");
        }
        let mut kept = self.sources.load_with(&former);
        // People are still told of the fault, and shown the text that has it.
        let told = book.diagnostics.iter().filter(|fault| former.contains_key(&fault.file));
        kept.diagnostics.extend(told.cloned());
        let shown = book.sources.iter().filter(|(file, _)| former.contains_key(*file));
        kept.sources.extend(shown.map(|(file, text)| (file.clone(), Arc::clone(text))));
        kept.refused = faulty_files(&kept.diagnostics).len();
        kept
    }
}

/// Notes the texts of files without a fault, and forgets those that are gone.
fn remember(faultless: &mut HashMap<String, Arc<str>>, book: &RuleBook) {
    let faulty = faulty_files(&book.diagnostics);
    faultless.retain(|file, _| book.sources.contains_key(file) || faulty.contains(file.as_str()));
    for (file, text) in book.sources.iter().filter(|(file, _)| !faulty.contains(file.as_str())) {
        faultless.insert(file.clone(), Arc::clone(text));
    }
}

impl Change {
    /// What is different in the later book.
    pub fn between(old: &RuleBook, new: &RuleBook) -> Change {
        use crate::book::Found;
        let mut change = Change::default();
        let ids = |book: &RuleBook| -> Vec<String> {
            let rules = book.rules().iter().map(|entry| entry.reference.id.clone());
            let others = book.correlations().iter().map(|entry| entry.reference.id.clone());
            rules.chain(others).collect()
        };
        for id in ids(new) {
            let is_same = match (old.find(&id), new.find(&id)) {
                (None, _) | (_, None) => {
                    change.added += 1;
                    continue;
                }
                (Some(Found::Rule(old)), Some(Found::Rule(new))) => old.rule == new.rule,
                (Some(Found::Correlation(old)), Some(Found::Correlation(new))) => {
                    old.correlation == new.correlation
                }
                _ => false,
            };
            change.changed += usize::from(!is_same);
        }
        change.removed = ids(old).iter().filter(|id| new.find(id).is_none()).count();
        change
    }
}

fn look(sources: &RuleSources) -> Vec<Seen> {
    let (rules, _) = sigma::list_files(&sources.paths);
    let (pipelines, _) = sigma::list_files(&sources.pipelines);
    let state = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    let files = rules.into_iter().chain(pipelines);
    files.map(|path| Seen { state: state(&path), path }).collect()
}
