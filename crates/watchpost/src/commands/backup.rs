//! `watchpost backup`: create, list, verify, restore, remove.
//!
//! What changes something is on record in the log: who, what and where. Keys never are.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use backup::{Key, Manifest, Place};

use crate::args::{BackupArgs, BackupAt, BackupCommand, BackupOf, Format};
use crate::commands::{Outcome, checked};
use crate::config::Config;
use crate::{installation, style};

/// How many damaged files are told one by one.
const FAULTS_SHOWN_MAX: usize = 100;

pub(crate) fn run(args: &BackupArgs) -> Outcome {
    match &args.command {
        BackupCommand::Create { of, at, keep } => create(of, at, *keep),
        BackupCommand::List { at, format } => list(at, *format),
        BackupCommand::Verify { at, name } => verify(at, name.as_deref()),
        BackupCommand::Restore { of, at, name, replace_index } => {
            restore(of, at, name.as_deref(), *replace_index)
        }
        BackupCommand::Remove { at, keep, names } => remove(at, *keep, names),
    }
}

/// An open place, and the key if one is named.
struct Opened {
    place: Place,
    key: Option<Key>,
}

impl Opened {
    fn of(at: &BackupAt) -> Result<Opened, Box<dyn std::error::Error>> {
        let key = at.key_file.as_deref().map(Key::read).transpose()?;
        Ok(Opened { place: Place::open(&at.place)?, key })
    }

    /// The manifest of a backup, or of the newest.
    fn manifest(&self, name: Option<&str>) -> Result<Manifest, backup::BackupError> {
        let found = backup::find(&self.place, name)?;
        backup::read(&self.place, self.key.as_ref(), &found)
    }
}

fn config_of(of: &BackupOf) -> Result<Config, Box<dyn std::error::Error>> {
    let mut config = Config::load(of.config.as_deref())?;
    if let Some(data) = &of.data {
        config.data.folder.clone_from(data);
    }
    Ok(config)
}

fn create(of: &BackupOf, at: &BackupAt, keep: Option<u32>) -> Outcome {
    let config = config_of(of)?;
    let data = &config.data.folder;
    refuse_inside(&at.place, data)?;
    let Opened { place, key } = Opened::of(at)?;
    let started = Instant::now();
    let mut progress = Progress::new();
    let created =
        installation::create(&place, key.as_ref(), &config, of.config.as_deref(), &mut |what| {
            progress.show(what);
        });
    progress.end();
    let created = created?;
    let manifest = &created.manifest;
    let (user, sudo_user) = who();
    tracing::info!(user, sudo_user, data = %data.display(), place = place.name(),
        backup = %manifest.name, encrypted = manifest.encrypted, bytes = manifest.bytes(),
        copied_bytes = created.copied_bytes, "made a backup");
    for what in &manifest.about.left_out {
        eprintln!("{} {what}", style::error("left out:"));
    }
    eprintln!(
        "{} {} in {:.1} s: {} events, {} alerts, {}; {} copied, the place had the rest.",
        style::good("backed up"),
        manifest.name,
        started.elapsed().as_secs_f64(),
        documents(manifest, "events-"),
        documents(manifest, "alerts-"),
        megabytes(manifest.bytes()),
        megabytes(created.copied_bytes),
    );
    println!("{}", manifest.name);
    if let Some(keep) = keep {
        remove_old(&place, key.as_ref(), keep)?;
    }
    Ok(checked(manifest.about.left_out.is_empty()))
}

/// A backup in the folder that it is of would have itself in the next one, and be lost with it.
fn refuse_inside(place: &str, data: &Path) -> Result<(), Box<dyn std::error::Error>> {
    if place.contains("://") {
        return Ok(());
    }
    let data = data
        .canonicalize()
        .map_err(|error| format!("cannot read the data folder {}: {error}", data.display()))?;
    // The place may not be there yet.
    let place = std::path::absolute(place)?;
    let there = place.ancestors().find_map(|folder| folder.canonicalize().ok());
    if there.is_some_and(|there| there.starts_with(&data)) {
        return Err(format!(
            "{} is in the data folder; name another disk, or s3://bucket/prefix",
            place.display()
        )
        .into());
    }
    Ok(())
}

fn list(at: &BackupAt, format: Format) -> Outcome {
    let Opened { place, key } = Opened::of(at)?;
    let mut rows = Vec::new();
    let mut is_whole = true;
    for found in backup::list(&place)? {
        let known = match backup::read(&place, key.as_ref(), &found) {
            Ok(manifest) => Some(manifest),
            Err(backup::BackupError::Key(backup::KeyError::Missing(_))) => None,
            Err(error) => {
                is_whole = false;
                eprintln!("{} {error}", style::error("problem:"));
                None
            }
        };
        let about = known.as_ref();
        match format {
            Format::Table => rows.push(vec![
                found.name.clone(),
                about.map(|it| documents(it, "events-").to_string()).unwrap_or_default(),
                about.map(|it| documents(it, "alerts-").to_string()).unwrap_or_default(),
                about.map(|it| megabytes(it.bytes())).unwrap_or_default(),
                if found.sealed { "yes" } else { "no" }.to_owned(),
            ]),
            Format::Jsonl => println!(
                "{}",
                serde_json::json!({
                    "name": found.name,
                    "encrypted": found.sealed,
                    "created": about.map(|it| it.created),
                    "events": about.map(|it| documents(it, "events-")),
                    "alerts": about.map(|it| documents(it, "alerts-")),
                    "bytes": about.map(Manifest::bytes),
                    "left_out": about.map(|it| it.about.left_out.clone()),
                })
            ),
        }
    }
    if format == Format::Table {
        let columns = ["backup", "events", "alerts", "size", "encrypted"].map(str::to_owned);
        print!("{}", style::table(&columns, &rows, 60));
    }
    Ok(checked(is_whole))
}

fn verify(at: &BackupAt, name: Option<&str>) -> Outcome {
    let opened = Opened::of(at)?;
    let manifest = opened.manifest(name)?;
    let started = Instant::now();
    let mut progress = Progress::new();
    let total = manifest.bytes();
    let verified = backup::verify(&opened.place, opened.key.as_ref(), &manifest, &mut |done| {
        progress.show(&format!("{} of {}", megabytes(done), megabytes(total)));
    });
    progress.end();
    let verified = verified?;
    for (file, object, fault) in verified.faults.iter().take(FAULTS_SHOWN_MAX) {
        let object = object.as_deref().map(|object| format!(" ({object})")).unwrap_or_default();
        println!("{} {file}: {fault}{object}", style::error("damaged:"));
    }
    let more = verified.faults.len().saturating_sub(FAULTS_SHOWN_MAX);
    if more > 0 {
        println!("{} {more} more", style::error("damaged:"));
    }
    let is_whole = verified.faults.is_empty();
    eprintln!(
        "{} {}: {} files, {} read and compared in {:.1} s",
        if is_whole { style::good("whole:") } else { style::error("not whole:") },
        manifest.name,
        verified.files,
        megabytes(verified.bytes),
        started.elapsed().as_secs_f64(),
    );
    Ok(checked(is_whole))
}

fn restore(of: &BackupOf, at: &BackupAt, name: Option<&str>, replaces: bool) -> Outcome {
    let config = config_of(of)?;
    let data = &config.data.folder;
    let opened = Opened::of(at)?;
    let manifest = opened.manifest(name)?;
    let Opened { place, key } = opened;
    let started = Instant::now();
    let mut progress = Progress::new();
    let total = manifest.bytes();
    let restored =
        installation::restore(&place, key.as_ref(), &manifest, data, replaces, &mut |done| {
            progress.show(&format!("{} of {}", megabytes(done), megabytes(total)));
        });
    progress.end();
    let (user, sudo_user) = who();
    let restored = match restored {
        Ok(restored) => restored,
        Err(error) => {
            tracing::warn!(user, sudo_user, data = %data.display(), place = place.name(),
                backup = %manifest.name, %error, "a backup was not restored");
            return Err(error.into());
        }
    };
    tracing::info!(user, sudo_user, data = %data.display(), place = place.name(),
        backup = %manifest.name, replaces, "restored a backup");
    eprintln!(
        "{} {} in {:.1} s: {} events, {} alerts, {}, every object compared.",
        style::good("restored"),
        manifest.name,
        started.elapsed().as_secs_f64(),
        documents(&manifest, "events-"),
        documents(&manifest, "alerts-"),
        megabytes(total),
    );
    if !restored.kept.is_empty() {
        eprintln!("was there and stayed as it is: {}", restored.kept.join(", "));
    }
    if restored.is_other_log {
        eprintln!(
            "{} the bus in {} is not the one that this index was made from; what the former index \
             had of it is not in this one, and only what comes from now on is added",
            style::error("note:"),
            data.display()
        );
    }
    if restored.has_configuration {
        eprintln!(
            "rules and configuration are in {}, to be put back where they belong",
            data.join("configuration").display()
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn remove(at: &BackupAt, keep: Option<u32>, names: &[String]) -> Outcome {
    let Opened { place, key } = Opened::of(at)?;
    match keep {
        Some(keep) => remove_old(&place, key.as_ref(), keep)?,
        None => {
            let names: BTreeSet<String> = names.iter().cloned().collect();
            for name in &names {
                backup::find(&place, Some(name))?;
            }
            remove_named(&place, key.as_ref(), &names)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Removes all backups but the newest.
fn remove_old(place: &Place, key: Option<&Key>, keep: u32) -> Result<(), backup::BackupError> {
    let newest_first = backup::list(place)?.into_iter().rev();
    let old = newest_first.skip(usize::try_from(keep).unwrap_or(usize::MAX));
    // Also if there is none: what a killed backup or removal left goes with it.
    remove_named(place, key, &old.map(|found| found.name).collect())
}

fn remove_named(
    place: &Place,
    key: Option<&Key>,
    names: &BTreeSet<String>,
) -> Result<(), backup::BackupError> {
    let removed = backup::remove(place, key, names)?;
    let (user, sudo_user) = who();
    for name in names {
        tracing::info!(user, sudo_user, place = place.name(), backup = %name, "removed a backup");
    }
    if names.is_empty() && removed.objects == 0 {
        return Ok(());
    }
    eprintln!(
        "{} {} backups and {} objects, {}",
        style::good("removed"),
        names.len(),
        removed.objects,
        megabytes(removed.bytes)
    );
    Ok(())
}

/// Who runs this, as the system knows, and who became that by `sudo`.
fn who() -> (u32, Option<String>) {
    (rustix::process::getuid().as_raw(), std::env::var("SUDO_USER").ok())
}

/// How many documents a backup has in partitions of this name.
fn documents(manifest: &Manifest, of: &str) -> u64 {
    let partitions = manifest.about.partitions.iter();
    partitions.filter(|it| it.name.starts_with(of)).map(|it| it.documents).sum()
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// What is being done, on a terminal.
struct Progress {
    is_shown: bool,
}

impl Progress {
    fn new() -> Progress {
        Progress { is_shown: std::io::stderr().is_terminal() }
    }

    fn show(&mut self, what: &str) {
        if self.is_shown {
            eprint!("\r{what}\x1b[K");
            std::io::stderr().flush().ok();
        }
    }

    fn end(&mut self) {
        if self.is_shown {
            eprint!("\r\x1b[K");
        }
    }
}
