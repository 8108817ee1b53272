//! `watchpost purge`: what matches a query is removed for good, and shown to be gone.
//!
//! The purge is asked for in the data folder. The server that runs on it does it; where none runs, it
//! is done here. What the bus still has of it is told, with how long it keeps it.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indexing::{Found, Index, IndexError, Purge, PurgeState};

use crate::args::{PurgeArgs, who};
use crate::commands::Outcome;
use crate::commands::search::open_index;
use crate::config::{Backend, Config};
use crate::open_bus::EMBEDDED;
use crate::style;

/// How often it is looked whether the server has done it.
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(crate) fn run(args: &PurgeArgs) -> Outcome {
    let mut config = Config::load(args.config.as_deref())?;
    if let Some(data) = &args.data {
        config.data.folder.clone_from(data);
    }
    let folder = &config.data.folder;
    let index = open_index(folder)?;
    let (found, holds) = index.preview_purge(&args.query)?;
    for problem in index.problems() {
        eprintln!("{} is not counted: {}", problem.partition, problem.reason);
    }
    println!("{} match {}", told(found), args.query);
    if !holds.is_empty() {
        return refused(holds.into_iter());
    }
    if !args.yes {
        eprintln!("nothing was removed; `--yes` removes them for good");
        return Ok(ExitCode::SUCCESS);
    }
    let reason = args.reason.as_deref().unwrap_or_default();
    let purge = Purge::ask(folder, &args.query, found, &who(args.who.as_deref()), reason)?;
    let state = match do_it_here(&config, &purge)? {
        Some(state) => state,
        None => wait(folder, &purge, args.timeout)?,
    };
    match state {
        PurgeState::Done { removed, ids_looked_for } => {
            println!(
                "{} {}; searched again, {ids_looked_for} ids looked for, and every file checked: nothing is left in the index",
                style::good("purged"),
                told(removed)
            );
            tell_what_is_left(&config);
            Ok(ExitCode::SUCCESS)
        }
        PurgeState::Held { holds } => refused(holds.into_iter()),
        PurgeState::Failed { reason } => Err(format!(
            "the purge is not whole: {reason}; it is tried again when the server starts"
        )
        .into()),
        PurgeState::Pending => Err(format!(
            "the server has not done it within {:?}; it goes on, and {} tells when it is done",
            args.timeout,
            folder.join(indexing::AUDIT_FILE).display()
        )
        .into()),
    }
}

fn told(found: Found) -> String {
    format!("{} events and {} alerts", found.events, found.alerts)
}

fn refused(holds: impl Iterator<Item = (String, u64)>) -> Outcome {
    let holds: Vec<String> =
        holds.map(|(name, count)| format!("{name} ({count} of them)")).collect();
    Err(format!(
        "nothing was removed: legal holds keep what is to be purged: {}; see `watchpost hold list`",
        holds.join(", ")
    )
    .into())
}

/// Does the purge, if no server runs that would; what came of it.
fn do_it_here(config: &Config, purge: &Purge) -> Result<Option<PurgeState>, IndexError> {
    let folder = &config.data.folder;
    let claim = match open_index(folder)?.claim() {
        Err(IndexError::InUse(_)) => return Ok(None),
        claim => claim?,
    };
    let index = Index::open(folder, config.index_options())?;
    // No log is read here, so it may be any.
    let mut writer = index.writer("")?;
    if writer.is_rebuilding() {
        return Err(IndexError::Rebuilding);
    }
    writer.run_purges()?;
    drop(claim);
    Ok(Some(purge.look(folder)?.state))
}

/// Waits until the server has done it.
fn wait(folder: &Path, purge: &Purge, time_max: Duration) -> Result<PurgeState, IndexError> {
    eprintln!("a server runs on {}; it does the purge", folder.display());
    let started = Instant::now();
    loop {
        let state = purge.look(folder)?.state;
        if state != PurgeState::Pending || started.elapsed() >= time_max {
            return Ok(state);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// The index of this machine is not the only place where an event is.
fn tell_what_is_left(config: &Config) {
    let days = |days: u64| if days == 1 { "1 day".to_owned() } else { format!("{days} days") };
    let bus = match config.bus.url.as_str() {
        EMBEDDED => "the bus in the data folder".to_owned(),
        url => format!("the bus at {url}"),
    };
    if config.search.backend == Backend::Elasticsearch {
        eprintln!(
            "the cluster at {} was not touched: remove there what matches, with its own means",
            config.search.url
        );
    }
    eprintln!(
        "{bus} is a log, of which nothing can be taken out of the middle: it keeps raw records for {} (bus.raw_days), events, matches and rejected records for {} (bus.events_days), and alerts the longest (90 days on the embedded bus). Until then the originals are there; none of them comes back into the index. Backups keep what they have.",
        days(config.bus.raw_days),
        days(config.bus.events_days)
    );
}
