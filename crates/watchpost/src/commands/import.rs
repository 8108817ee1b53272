//! `watchpost import`: files through the whole pipeline, into a data folder that no server uses.

use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Instant;

use event::Timestamp;
use ingest::files::{self, ReadOptions};

use crate::args::ImportArgs;
use crate::commands::{Outcome, checked};
use crate::config::Config;
use crate::engine::{Engine, Part};
use crate::style;

pub(crate) fn run(args: &ImportArgs) -> Outcome {
    let mut config = Config::load(args.config.as_deref())?;
    if let Some(data) = &args.data {
        config.data.folder.clone_from(data);
    }
    let listing = files::list(&args.paths);
    for problem in &listing.problems {
        eprintln!("{} {problem}", style::error("problem:"));
    }
    if listing.files.is_empty() {
        return Err("there is no file to import".into());
    }
    let started = Instant::now();
    let engine = Engine::start(&config, &Part::STAGES)?;
    let options = ReadOptions {
        dataset: &args.dataset,
        namespace: &args.namespace,
        ..ReadOptions::new(Timestamp::now())
    };
    let shows_progress = std::io::stderr().is_terminal();
    let privacy = engine.intake.privacy();
    let imported = ingest::import(
        engine.bus.as_ref(),
        &listing.files,
        &options,
        privacy,
        &mut |file, so_far| {
            if shows_progress {
                eprint!("\r{} records, in {}\x1b[K", so_far.records, style::plain(file.name()));
                std::io::stderr().flush().ok();
            }
            ControlFlow::Continue(())
        },
    );
    if shows_progress {
        eprint!("\r\x1b[K");
    }
    let idle = engine.wait_until_idle();
    engine.stop()?;
    let imported = imported?;
    idle?;
    for problem in &imported.problems {
        eprintln!("{} {problem}", style::error("problem:"));
    }
    let problems = imported.problems.len() as u64 + imported.problems_more;
    let seconds = started.elapsed().as_secs_f64();
    eprintln!(
        "{} records of {} files in {seconds:.1} s ({:.0} a second), {problems} problems; searchable in {}",
        imported.records,
        imported.files,
        imported.records as f64 / seconds.max(0.001),
        config.data.folder.display(),
    );
    let whole = imported.records > 0 || problems == 0;
    Ok(if listing.problems.is_empty() { checked(whole) } else { ExitCode::from(1) })
}
