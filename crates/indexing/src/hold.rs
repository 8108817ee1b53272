//! Legal holds: what matches one is removed neither by retention nor by a purge until it is lifted.
//!
//! Each is a file of its own in the folder `holds` of the data folder, made and removed whole, so that no two who hold
//! something at once overwrite each other. They are read anew before each removal. A hold that cannot
//! be read stops every removal: it is not known any more what must be kept.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use event::Timestamp;
use query::Filter;
use serde::{Deserialize, Serialize};

use crate::audit::{self, Act};
use crate::error::IndexError;
use crate::set_aside::write_whole;

/// The folder of holds in the data folder; beside the index, which a restore exchanges.
const FOLDER: &str = "holds";

/// The longest name of a hold, in bytes: it is the name of a file too.
const NAME_BYTES_MAX: usize = 64;

/// A legal hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Its name: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// What is held, in the search language, without pipes.
    pub query: String,
    /// Why.
    pub reason: String,
    /// Who asked for it.
    pub who: String,
    /// Since when.
    pub since: Timestamp,
}

impl Hold {
    /// Puts a hold on what matches a query, from now on.
    ///
    /// # Errors
    /// When the name or the query is wrong, or there is a hold of that name.
    pub fn add(
        data_dir: &Path,
        name: &str,
        query: &str,
        who: &str,
        reason: &str,
    ) -> Result<Hold, IndexError> {
        check_name(name)?;
        filter_of(query)?;
        let hold = Hold {
            name: name.to_owned(),
            query: query.to_owned(),
            reason: reason.to_owned(),
            who: who.to_owned(),
            since: Timestamp::now(),
        };
        let folder = folder(data_dir)?;
        std::fs::create_dir_all(&folder).map_err(IndexError::io("create the folder", &folder))?;
        let path = folder.join(format!("{name}.json"));
        // Claims the name; until it has its content, it cannot be read and holds everything.
        OpenOptions::new().write(true).create_new(true).open(&path).map_err(|error| match error
            .kind()
        {
            std::io::ErrorKind::AlreadyExists => {
                IndexError::Hold(format!("there is a hold {name} already; remove it first"))
            }
            _ => IndexError::io("create", &path)(error),
        })?;
        let json = serde_json::to_vec_pretty(&hold).unwrap_or_default();
        write_whole(&path, &json).map_err(IndexError::io("write", &path))?;
        record(data_dir, "hold-add", &hold, who, reason)?;
        Ok(hold)
    }

    /// Lifts a hold.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn remove(
        data_dir: &Path,
        name: &str,
        who: &str,
        reason: &str,
    ) -> Result<Hold, IndexError> {
        let holds = Hold::list(data_dir)?;
        let Some(hold) = holds.into_iter().find(|hold| hold.name == name) else {
            return Err(IndexError::Hold(format!("there is no hold {name}")));
        };
        let path = folder(data_dir)?.join(format!("{name}.json"));
        std::fs::remove_file(&path).map_err(IndexError::io("remove", &path))?;
        record(data_dir, "hold-remove", &hold, who, reason)?;
        Ok(hold)
    }

    /// All holds, by name.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn list(data_dir: &Path) -> Result<Vec<Hold>, IndexError> {
        read(&folder(data_dir)?)
    }
}

fn record(
    data_dir: &Path,
    action: &str,
    hold: &Hold,
    who: &str,
    reason: &str,
) -> Result<(), IndexError> {
    let details = serde_json::json!({ "hold": hold });
    audit::record(data_dir, &Act { action, outcome: "success", who, reason, details })
}

/// What each hold holds, by its name.
pub(crate) fn filters(data_dir: &Path) -> Result<Vec<(String, Filter)>, IndexError> {
    let holds = read(&data_dir.join(FOLDER))?;
    holds.into_iter().map(|hold| Ok((hold.name, filter_of(&hold.query)?))).collect()
}

/// A query that only says which events, as its filter.
pub(crate) fn filter_of(query: &str) -> Result<Filter, IndexError> {
    let parsed = query::parse(query).map_err(|error| IndexError::Query(error.render()))?;
    if !parsed.pipes.is_empty() {
        let fault = format!("`{query}` has pipes; only a filter can say which events are meant");
        return Err(IndexError::Query(fault));
    }
    Ok(parsed.filter)
}

fn folder(data_dir: &Path) -> Result<PathBuf, IndexError> {
    if !data_dir.join("index").is_dir() {
        return Err(IndexError::Missing(data_dir.to_owned()));
    }
    Ok(data_dir.join(FOLDER))
}

fn read(folder: &Path) -> Result<Vec<Hold>, IndexError> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(IndexError::io("list", folder))?,
    };
    let mut holds: Vec<Hold> = Vec::new();
    for entry in entries {
        let path = entry.map_err(IndexError::io("list", folder))?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let json = std::fs::read(&path).map_err(IndexError::io("read", &path))?;
        holds.push(serde_json::from_slice(&json).map_err(|error| {
            IndexError::Hold(format!(
                "the hold in {} cannot be read ({error}); nothing is removed until it is mended or taken away",
                path.display()
            ))
        })?);
    }
    holds.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(holds)
}

fn check_name(name: &str) -> Result<(), IndexError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty()
        || name.len() > NAME_BYTES_MAX
        || name.starts_with('.')
        || !name.chars().all(is_plain)
    {
        return Err(IndexError::Hold(format!(
            "`{name}` cannot name a hold; a name has letters, digits, `-`, `_` and `.`, at most {NAME_BYTES_MAX}, and begins with no point"
        )));
    }
    Ok(())
}
