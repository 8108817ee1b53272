//! `watchpost searches`: list, check and run saved searches.

use std::path::PathBuf;

use searches::{Loaded, SavedSearch};

use crate::args::{SearchArgs, SearchesArgs, SearchesCommand};
use crate::commands::{Outcome, checked, search};
use crate::config::Config;
use crate::search_schedule;
use crate::style;

pub(crate) fn run(args: &SearchesArgs) -> Outcome {
    let config = Config::load(args.config.as_deref())?;
    match &args.command {
        SearchesCommand::List { paths } => list(&config, paths),
        SearchesCommand::Check { paths } => check(&config, paths),
        SearchesCommand::Run { id, place, format, output } => {
            let loaded = load(&config, &[]);
            let Some(found) = loaded.find(id) else {
                show_faults(&loaded);
                let known = loaded.searches.iter().map(|search| search.id.as_str());
                let help = sigma::suggest::help(id, known);
                return Err(format!("there is no search with the id `{id}`: {help}").into());
            };
            let mut place = place.clone();
            place.data.get_or_insert_with(|| config.data.folder.clone());
            search::run(&SearchArgs {
                place,
                format: *format,
                output: output.clone(),
                follow: false,
                alerts: false,
                query: found.text.clone(),
            })
        }
    }
}

/// Those of these paths, or the built-in and the configured ones if none is named.
fn load(config: &Config, paths: &[PathBuf]) -> Loaded {
    match paths {
        [] => search_schedule::load(&config.searches),
        paths => searches::load(std::iter::empty(), paths),
    }
}

fn list(config: &Config, paths: &[PathBuf]) -> Outcome {
    let loaded = load(config, paths);
    let columns = ["id", "title", "every", "over", "alert"].map(str::to_owned);
    let rows: Vec<Vec<String>> = loaded.searches.iter().map(row).collect();
    if !rows.is_empty() {
        println!("{}", style::table(&columns, &rows, 80));
    }
    show_faults(&loaded);
    Ok(checked(loaded.diagnostics.is_empty()))
}

fn row(search: &SavedSearch) -> Vec<String> {
    let mut row = vec![search.id.clone(), search.title.clone()];
    row.extend(match &search.schedule {
        None => [String::new(), String::new(), String::new()],
        Some(schedule) => {
            let seconds = |nanos: i64| format!("{} s", nanos / 1_000_000_000);
            let alert = format!("{} when {}", schedule.raise.level, schedule.raise.when);
            [seconds(schedule.every_nanos), seconds(schedule.over_nanos), alert]
        }
    });
    row
}

fn check(config: &Config, paths: &[PathBuf]) -> Outcome {
    let loaded = load(config, paths);
    show_faults(&loaded);
    if loaded.searches.is_empty() && loaded.diagnostics.is_empty() {
        return Err("there is no search to check".into());
    }
    eprintln!("{} searches, {} errors", loaded.searches.len(), loaded.diagnostics.len());
    Ok(checked(loaded.diagnostics.is_empty()))
}

fn show_faults(loaded: &Loaded) {
    for diagnostic in &loaded.diagnostics {
        let text = std::fs::read_to_string(&diagnostic.file).ok();
        eprintln!("{}", diagnostic.render(text.as_deref()));
    }
}
