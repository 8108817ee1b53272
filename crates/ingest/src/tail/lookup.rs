//! Which files the patterns name now.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::place::Id;
use super::settings::{MATCH, Source};
use crate::metrics;

/// The most paths that one look through all patterns goes through.
pub const PATHS_MAX: usize = 200_000;

/// How many different troubles are told; all are counted.
const TOLD_MAX: usize = 1000;

/// A file that was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) source: usize,
    /// The pattern that named it.
    pub(super) pattern: String,
    pub(super) metadata: Metadata,
}

/// What could not be read and was told, so that it is told once.
#[derive(Debug, Default)]
pub(super) struct Told(BTreeSet<String>);

impl Told {
    /// Counts a trouble, and tells it if it is new.
    pub(super) fn tell(&mut self, reason: &'static str, path: &Path, message: &str) {
        metrics::FILES_ERRORS.with_label_values(&[reason]).inc();
        if self.0.len() < TOLD_MAX && self.0.insert(format!("{reason} {}", path.display())) {
            tracing::warn!(path = %path.display(), reason, error = message, "a file cannot be followed");
        }
    }

    /// It is well again: the next trouble is told anew.
    pub(super) fn forget(&mut self, reason: &'static str, path: &Path) {
        if !self.0.is_empty() {
            self.0.remove(&format!("{reason} {}", path.display()));
        }
    }
}

/// Finds the files. A file that has several names (links) is there once, by the name for which
/// `is_known` or else by the first. `None` after a stop.
///
/// Links to files are followed, links to folders are too where the pattern names them, but not by
/// `**`: no circle is possible.
pub(super) fn look_up(
    sources: &[Source],
    is_known: &dyn Fn(Id, &Path) -> bool,
    told: &mut Told,
    is_stopped: &dyn Fn() -> bool,
) -> Option<BTreeMap<Id, Found>> {
    let mut found = BTreeMap::new();
    let mut paths = 0;
    for (index, source) in sources.iter().enumerate() {
        for pattern in &source.paths {
            // It was checked when the settings were.
            let Ok(matches) = glob::glob_with(pattern, MATCH) else { continue };
            for path in matches {
                paths += 1;
                if is_stopped() {
                    return None;
                }
                if paths > PATHS_MAX {
                    let message = format!("more than {PATHS_MAX} paths match; narrow the patterns");
                    told.tell("limit", Path::new(pattern), &message);
                    return Some(found);
                }
                let path = match path {
                    Ok(path) => path,
                    Err(error) => {
                        told.tell("lookup", error.path(), &error.error().to_string());
                        continue;
                    }
                };
                if source.is_excluded(&path) {
                    continue;
                }
                let metadata = match fs::metadata(&path) {
                    Ok(metadata) if metadata.is_file() => metadata,
                    Ok(_) => continue,
                    // It vanished, or is a link to nothing.
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    Err(error) => {
                        told.tell("lookup", &path, &error.to_string());
                        continue;
                    }
                };
                let id = Id::of(&metadata);
                if !found.contains_key(&id) || is_known(id, &path) {
                    let pattern = pattern.clone();
                    found.insert(id, Found { path, source: index, pattern, metadata });
                }
            }
        }
    }
    Some(found)
}
