//! What is asked for in `[[files]]`, and the same checked and made ready.

use std::path::Path;
use std::time::Duration;

use glob::{MatchOptions, Pattern};
use regex::bytes::{Regex, RegexBuilder};
use serde::Deserialize;

use super::TailError;
use crate::{DatasetName, LINE_BYTES_MAX, Namespace};

/// The most patterns of one `[[files]]`: each is looked up again every few seconds.
pub const PATTERNS_MAX: usize = 1000;

/// The most memory that `multiline_start` may take once it is compiled.
const REGEX_BYTES_MAX: usize = 1024 * 1024;

/// The most lines of a record that `multiline_lines_max` may allow.
pub const MULTILINE_LINES_MAX: usize = 100_000;

/// Files that are followed in one way: one `[[files]]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FileSettings {
    /// Absolute paths with `*`, `?`, `[...]` and `**` for any folders.
    pub paths: Vec<String>,
    /// What is left out: patterns without `/` for the file's name, others for its whole path.
    pub exclude: Vec<String>,
    /// The dataset of the records; empty when normalisation shall find it out.
    pub dataset: String,
    /// The namespace of the records.
    pub namespace: String,
    /// Where a file begins that is there when these paths are followed for the first time.
    pub from: From,
    /// A line that matches begins a record. Empty: every line is one.
    pub multiline_start: String,
    /// How long the last record of a file waits for another line.
    pub multiline_wait_ms: u64,
    /// The most lines of a record.
    pub multiline_lines_max: usize,
    /// The longest record; longer lines are left out, longer records are cut between lines.
    pub line_bytes_max: usize,
    /// How long a line without its end waits for it, from when the file last changed. In a file
    /// that was renamed or removed it is five seconds at most.
    pub line_wait_ms: u64,
    /// Files that nothing was written to for so long are not begun; 0 begins all.
    pub ignore_older_days: u32,
}

/// Where a file begins that is met for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum From {
    /// At its first line.
    #[default]
    Beginning,
    /// Behind what it has by then.
    End,
}

impl Default for FileSettings {
    fn default() -> Self {
        FileSettings {
            paths: Vec::new(),
            exclude: Vec::new(),
            dataset: String::new(),
            namespace: event::raw::NAMESPACE_DEFAULT.to_owned(),
            from: From::Beginning,
            multiline_start: String::new(),
            multiline_wait_ms: 2000,
            multiline_lines_max: 1000,
            line_bytes_max: 1024 * 1024,
            // A writer that leaves a line half written for so long has most likely ended.
            line_wait_ms: 10 * 60 * 1000,
            ignore_older_days: 30,
        }
    }
}

/// A [`FileSettings`] that is right.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) paths: Vec<String>,
    exclude: Vec<Pattern>,
    pub(super) dataset: String,
    pub(super) namespace: String,
    pub(super) from: From,
    pub(super) rules: Rules,
    pub(super) multiline_wait: Duration,
    pub(super) line_wait: Duration,
    pub(super) ignore_older: Option<Duration>,
}

/// How lines become records.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) start: Option<Regex>,
    pub(super) lines_max: usize,
    pub(super) bytes_max: usize,
}

/// A `*` stays within a folder and meets hidden files too, as in logrotate.
pub(super) const MATCH: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

impl Source {
    pub(super) fn new(index: usize, settings: &FileSettings) -> Result<Source, TailError> {
        let wrong =
            |setting, reason: String| Err(TailError::Setting { index: index + 1, setting, reason });
        if settings.paths.is_empty() {
            return wrong("paths", "name at least one, such as \"/var/log/*.log\"".to_owned());
        }
        for (setting, patterns) in [("paths", &settings.paths), ("exclude", &settings.exclude)] {
            if patterns.len() > PATTERNS_MAX {
                let reason = format!("has {}, at most {PATTERNS_MAX} are taken", patterns.len());
                return wrong(setting, reason);
            }
            for pattern in patterns {
                if let Err(error) = Pattern::new(pattern) {
                    return wrong(setting, format!("{pattern:?} is no pattern: {error}"));
                }
                if pattern.replace("[{]", "").contains('{') {
                    let reason = format!(
                        "{pattern:?} has braces, which are not expanded; write one pattern for each choice, or [{{] for the sign itself"
                    );
                    return wrong(setting, reason);
                }
            }
        }
        if let Some(path) = settings.paths.iter().find(|path| !Path::new(path).is_absolute()) {
            return wrong("paths", format!("{path:?} must be absolute: begin it with /"));
        }
        if !settings.dataset.is_empty()
            && let Err(error) = settings.dataset.parse::<DatasetName>()
        {
            return wrong("dataset", error.to_string());
        }
        if let Err(error) = settings.namespace.parse::<Namespace>() {
            return wrong("namespace", error.to_string());
        }
        if settings.line_bytes_max == 0 || settings.line_bytes_max > LINE_BYTES_MAX {
            let reason = format!(
                "is {}, it must be from 1 to {LINE_BYTES_MAX} (a record of the bus has no room for more)",
                settings.line_bytes_max
            );
            return wrong("line_bytes_max", reason);
        }
        if settings.multiline_lines_max == 0 || settings.multiline_lines_max > MULTILINE_LINES_MAX {
            let reason = format!(
                "is {}, it must be from 1 to {MULTILINE_LINES_MAX}",
                settings.multiline_lines_max
            );
            return wrong("multiline_lines_max", reason);
        }
        let start = match settings.multiline_start.as_str() {
            "" => None,
            pattern => match RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).build() {
                Ok(start) => Some(start),
                Err(error) => return wrong("multiline_start", format!("{error}")),
            },
        };
        let exclude = settings.exclude.iter().filter_map(|one| Pattern::new(one).ok()).collect();
        let days = u64::from(settings.ignore_older_days);
        Ok(Source {
            paths: settings.paths.clone(),
            exclude,
            dataset: settings.dataset.clone(),
            namespace: settings.namespace.clone(),
            from: settings.from,
            rules: Rules {
                start,
                lines_max: settings.multiline_lines_max,
                bytes_max: settings.line_bytes_max,
            },
            multiline_wait: Duration::from_millis(settings.multiline_wait_ms),
            line_wait: Duration::from_millis(settings.line_wait_ms),
            ignore_older: (days > 0).then(|| Duration::from_secs(days * 86_400)),
        })
    }

    pub(super) fn is_excluded(&self, path: &Path) -> bool {
        let name = path.file_name().map(Path::new).unwrap_or(path);
        self.exclude.iter().any(|pattern| {
            let of = if pattern.as_str().contains('/') { path } else { name };
            pattern.matches_path_with(of, MATCH)
        })
    }
}
