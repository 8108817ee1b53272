//! What of an installation belongs into a backup, and how it becomes an installation again.
//!
//! A backup has the index, the small files of the data folder, and what the configuration names of
//! rules, pipelines, sources and watchlists. It does not have the bus, which a running server does not
//! share, nor what names the bus's log (`log-id`) and this copy on a cluster (`instance`): the index
//! notes which log its offsets are of. So where an index is restored
//!
//! - beside the log that it was made from, it reads again from its checkpoint on, and has everything;
//! - without a log, a new one with another name begins, of which it has nothing: what comes then is
//!   added, under ids that no event has.
//!
//! Neither loses or doubles an event. What lies in the data folder beside the index stays as it is when
//! a backup is restored, because it is newer; what is missing is put there.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use backup::{About, Backup, BackupError, Created, Key, Manifest, Partition, Place};
use fail::fail_point;
use indexing::{IndexError, Snapshot};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::config::Config;
use crate::engine::{EngineError, make_folder};

/// What of the data folder is in no backup.
const LEFT_OUT: [&str; 7] = [BUS, INDEX, LOG_ID, "instance", CONFIGURATION, STAGING, "lost+found"];

const BUS: &str = "bus";
const INDEX: &str = "index";
const LOG_ID: &str = "log-id";

/// Where files of the configuration are put: below it, each at the path that it had. They are for the
/// operator to put back; nothing outside of the data folder is written.
const CONFIGURATION: &str = "configuration";

/// Where a backup is fetched to, in the data folder, before anything is put in place.
const STAGING: &str = "restoring";

/// How deep folders of rules are looked through.
const DEPTH_MAX: usize = 16;

/// Why there is no backup, or nothing was restored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("cannot {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: std::io::Error },
    #[error("a server, or another command, uses {}; stop it first", .0.display())]
    InUse(PathBuf),
    #[error(
        "{} has an installation already; with --replace-index its index is exchanged for that of the backup, and its bus and all else stay", .0.display()
    )]
    Occupied(PathBuf),
    #[error(
        "{} is on a file system that cannot exchange two folders in one step ({source}); restore into an empty folder instead", path.display()
    )]
    NoExchange { path: PathBuf, source: std::io::Error },
}

fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Fault {
    move |source| Fault::Io { doing, path: path.to_owned(), source }
}

/// Backs an installation up, whether a server runs on it or not.
pub(crate) fn create(
    place: &Place,
    key: Option<&Key>,
    config: &Config,
    config_file: Option<&Path>,
    progress: &mut dyn FnMut(&str),
) -> Result<Created, Fault> {
    let data = &config.data.folder;
    let mut backup = Backup::begin(place, key)?;
    // How far followed files were read, before the index: what comes between is read again after a
    // restore, and not missing.
    for name in names(data)? {
        let path = data.join(&name);
        if !LEFT_OUT.contains(&name.as_str()) && !is_temporary(&name) {
            add_all(&mut backup, &name, &path, 0)?;
        }
    }
    let snapshot = Snapshot::of(data)?;
    for (name, file) in &snapshot.files {
        backup.add(&format!("{INDEX}/{name}"), file)?;
    }
    let mut about = About {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        log: snapshot.log.clone(),
        partitions: Vec::new(),
        left_out: Vec::new(),
    };
    for name in &snapshot.partitions {
        progress(name);
        let taken = match snapshot.partition(name) {
            Ok(Some(taken)) => taken,
            Ok(None) => continue,
            Err(error) => {
                // The others are worth a backup all the same.
                about.left_out.push(error.to_string());
                continue;
            }
        };
        for (file, opened) in &taken.files {
            backup.add(&format!("{INDEX}/{name}/{file}"), opened)?;
        }
        for (file, content) in &taken.lists {
            backup.add_bytes(&format!("{INDEX}/{name}/{file}"), content)?;
        }
        about.partitions.push(Partition { name: name.clone(), documents: taken.documents });
    }
    for path in configured(config, config_file) {
        let shown = path.display().to_string();
        let Ok(path) = path.canonicalize() else {
            about.left_out.push(format!("{shown}, which the configuration names, is not there"));
            continue;
        };
        add_all(&mut backup, &format!("{CONFIGURATION}{}", path.display()), &path, 0)?;
    }
    Ok(backup.finish(about)?)
}

/// What the configuration names of an operator's own work. Keys and passwords that it names are not
/// among it: they belong into a safe of their own.
fn configured(config: &Config, config_file: Option<&Path>) -> Vec<PathBuf> {
    let watchlists = config.enrichment.watchlists.iter().map(|list| &list.file);
    let all = config.rules.paths.iter().chain(&config.rules.pipelines);
    let all = all.chain(&config.sources.paths).chain(watchlists).cloned();
    config_file.map(Path::to_owned).into_iter().chain(all).collect()
}

/// Adds a file, or all files of a folder. What is neither is passed over, and so is what vanishes.
fn add_all(backup: &mut Backup<'_>, name: &str, path: &Path, depth: usize) -> Result<(), Fault> {
    let Ok(about) = std::fs::metadata(path) else { return Ok(()) };
    if about.is_file() {
        match File::open(path) {
            Ok(file) => backup.add(name, &file)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(io("read", path)(error)),
        }
    } else if about.is_dir() && depth < DEPTH_MAX {
        for below in names(path)?.iter().filter(|below| !is_temporary(below)) {
            add_all(backup, &format!("{name}/{below}"), &path.join(below), depth + 1)?;
        }
    }
    Ok(())
}

/// What is being written to be renamed, and locks.
fn is_temporary(name: &str) -> bool {
    name.ends_with(".new") || name.ends_with(".lock") || name.ends_with(".tmp")
}

/// What is in a folder, sorted.
fn names(folder: &Path) -> Result<Vec<String>, Fault> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io("list", folder))? {
        let entry = entry.map_err(io("list", folder))?;
        names.extend(entry.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// What a restore did besides.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    /// Files and folders of the backup that were there already, and stayed.
    pub(crate) kept: Vec<String>,
    /// Whether the log that is there is not the one that the index was made from.
    pub(crate) is_other_log: bool,
    /// Whether files of the configuration are there to be put back.
    pub(crate) has_configuration: bool,
}

/// Restores a backup into a data folder: an empty one, or that of an installation whose index is to be
/// replaced. Until the last step, which is one, the index that was there stays as it was.
pub(crate) fn restore(
    place: &Place,
    key: Option<&Key>,
    manifest: &Manifest,
    data: &Path,
    replaces: bool,
    progress: &mut dyn FnMut(u64),
) -> Result<Restored, Fault> {
    make_folder(data)?;
    let _stopped = lock_out(data)?;
    let index = data.join(INDEX);
    let has_bus = data.join(BUS).exists();
    if (has_bus || has_partitions(&index)) && !replaces {
        return Err(Fault::Occupied(data.to_owned()));
    }
    let staging = data.join(STAGING);
    remove_folder(&staging)?;
    make_folder(&staging)?;
    if let Err(error) = backup::fetch(place, key, manifest, &staging, progress) {
        remove_folder(&staging)?;
        return Err(error.into());
    }
    fail_point!("restore-before-index", |_| std::process::abort());
    let mut restored = Restored::default();
    if has_bus {
        let log = std::fs::read_to_string(data.join(LOG_ID)).unwrap_or_default();
        restored.is_other_log = log.trim() != manifest.about.log;
    } else {
        // It names a log that is gone; a new one must not have its name.
        match std::fs::remove_file(data.join(LOG_ID)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(io("remove", &data.join(LOG_ID))(error));
            }
            _ => {}
        }
    }
    remove_folder(&data.join(CONFIGURATION))?;
    for name in names(&staging)?.into_iter().filter(|name| name != INDEX) {
        let to = data.join(&name);
        if to.exists() {
            restored.kept.push(name);
            continue;
        }
        restored.has_configuration |= name == CONFIGURATION;
        std::fs::rename(staging.join(&name), &to).map_err(io("put in place", &to))?;
    }
    place_index(&staging.join(INDEX), &index)?;
    sync(data)?;
    fail_point!("restore-after-index", |_| std::process::abort());
    remove_folder(&staging)?;
    Ok(restored)
}

/// Puts an index in the place of the one that is there, in one step.
fn place_index(new: &Path, index: &Path) -> Result<(), Fault> {
    make_folder(new)?;
    if !index.exists() {
        return std::fs::rename(new, index).map_err(io("put in place", index));
    }
    // Beside the partitions lie small files that are newer than the backup's; but how far it is, and
    // what was purged from it, goes with an index.
    let own = [indexing::CHECKPOINT_FILE, indexing::PURGED_FILE];
    for name in names(index)? {
        let path = index.join(&name);
        if path.is_file() && !own.contains(&name.as_str()) && !is_temporary(&name) {
            std::fs::copy(&path, new.join(&name)).map_err(io("copy", &path))?;
        }
    }
    sync(new)?;
    renameat_with(CWD, new, CWD, index, RenameFlags::EXCHANGE)
        .map_err(|error| Fault::NoExchange { path: index.to_owned(), source: error.into() })
}

/// Keeps servers of this data folder from starting, as long as what is returned lives.
fn lock_out(data: &Path) -> Result<Vec<File>, Fault> {
    // Without an embedded bus, a server is known by the index that it writes.
    let locks = [data.join(BUS).join("lock"), data.join(INDEX).join(indexing::WRITER_LOCK)];
    let mut held = Vec::new();
    for path in locks {
        let Ok(file) = File::options().write(true).open(&path) else { continue };
        match file.try_lock() {
            Ok(()) => held.push(file),
            Err(TryLockError::WouldBlock) => return Err(Fault::InUse(data.to_owned())),
            Err(TryLockError::Error(error)) => return Err(io("lock", &path)(error)),
        }
    }
    Ok(held)
}

fn has_partitions(index: &Path) -> bool {
    let names = names(index).unwrap_or_default();
    names.iter().any(|name| index.join(name).join("meta.json").exists())
}

fn remove_folder(path: &Path) -> Result<(), Fault> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

fn sync(folder: &Path) -> Result<(), Fault> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io("sync", folder))
}
