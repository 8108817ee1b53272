//! `watchpost hunt`: list, check and run hypotheses.

use std::path::PathBuf;
use std::process::ExitCode;

use event::Timestamp;
use hunting::{Hunt, Limits, Loaded, Report, Verdict};
use indexing::Search;
use query::TimeRange;
use sigma::Severity;

use crate::args::{HuntArgs, HuntCommand, HuntOver, ReportFormat};
use crate::commands::{Outcome, checked, search};
use crate::config::Config;
use crate::style;

pub(crate) fn run(args: &HuntArgs) -> Outcome {
    match &args.command {
        HuntCommand::List { paths } => list(paths),
        HuntCommand::Check { paths } => check(paths),
        HuntCommand::Run { over, format } => hunt(over, *format),
        HuntCommand::Report { over } => hunt(over, ReportFormat::Markdown),
    }
}

/// The hunts of these paths, or the built-in ones if none is named.
fn load(paths: &[PathBuf]) -> Loaded {
    if !paths.is_empty() {
        return hunting::load(paths);
    }
    let mut loaded = Loaded::default();
    for file in detections::hunts() {
        loaded.add(file.text, &format!("detections/{}", file.path));
    }
    loaded
}

fn list(paths: &[PathBuf]) -> Outcome {
    let loaded = load(paths);
    let columns = ["id", "title", "ATT&CK", "needs", "steps"].map(str::to_owned);
    let rows: Vec<Vec<String>> = loaded
        .hunts
        .iter()
        .map(|hunt| {
            vec![
                hunt.id.clone(),
                hunt.title.clone(),
                hunt.techniques().join(", "),
                hunt.needs.len().to_string(),
                hunt.steps.len().to_string(),
            ]
        })
        .collect();
    if !rows.is_empty() {
        println!("{}", style::table(&columns, &rows, 80));
    }
    show_faults(&loaded);
    Ok(checked(loaded.diagnostics.is_empty()))
}

fn check(paths: &[PathBuf]) -> Outcome {
    let loaded = load(paths);
    show_faults(&loaded);
    let advice: Vec<_> = loaded.hunts.iter().flat_map(hunting::check).collect();
    for diagnostic in &advice {
        let text = std::fs::read_to_string(&diagnostic.file).ok();
        eprintln!("{}", diagnostic.render(text.as_deref()));
    }
    let errors = loaded
        .diagnostics
        .iter()
        .chain(&advice)
        .filter(|diagnostic| diagnostic.severity == Severity::Error)
        .count();
    if loaded.hunts.is_empty() && errors == 0 {
        return Err("there is no hunt to check".into());
    }
    eprintln!("{} hunts, {errors} errors", loaded.hunts.len());
    Ok(checked(errors == 0))
}

fn show_faults(loaded: &Loaded) {
    for diagnostic in &loaded.diagnostics {
        let text = std::fs::read_to_string(&diagnostic.file).ok();
        eprintln!("{}", diagnostic.render(text.as_deref()));
    }
}

fn hunt(over: &HuntOver, format: ReportFormat) -> Outcome {
    let loaded = load(&over.paths);
    show_faults(&loaded);
    if loaded.hunts.is_empty() {
        return Err("there is no hunt to run".into());
    }
    let config = Config::load(over.config.as_deref())?;
    let folder = over.data.clone().unwrap_or_else(|| config.data.folder.clone());
    let searcher: Box<dyn Search> = match config.search.cluster()? {
        Some(cluster) => Box::new(cluster),
        None => Box::new(search::open_index(&folder)?.searcher()),
    };
    let now = Timestamp::now();
    let mut reports = Vec::new();
    for hunt in &loaded.hunts {
        let range = range(hunt, over, now)?;
        reports.push(hunting::run(hunt, searcher.as_ref(), range, now, &Limits::default()));
    }
    match format {
        ReportFormat::Text => reports.iter().for_each(|report| println!("{}", report.text())),
        ReportFormat::Markdown => {
            reports.iter().for_each(|report| println!("{}", report.markdown()));
        }
        ReportFormat::Json => println!("{}", serde_json::to_string_pretty(&reports)?),
    }
    say_how_many(&reports);
    Ok(if loaded.diagnostics.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// What the caller says, else what the hunt says.
fn range(hunt: &Hunt, over: &HuntOver, now: Timestamp) -> Result<TimeRange, query::TimeError> {
    let until = over.until.as_deref().unwrap_or_default();
    match &over.since {
        Some(since) => TimeRange::parse(since, until, now),
        None => {
            let until = query::parse_time(until, now)?;
            Ok(TimeRange { until, ..hunt.range(now) })
        }
    }
}

fn say_how_many(reports: &[Report]) {
    let count = |verdict: fn(&Verdict) -> bool| {
        reports.iter().filter(|report| verdict(&report.verdict)).count()
    };
    eprintln!(
        "{} supported, {} refuted, {} inconclusive",
        count(|verdict| *verdict == Verdict::Supported),
        count(|verdict| *verdict == Verdict::Refuted),
        count(|verdict| matches!(verdict, Verdict::Inconclusive { .. })),
    );
}
