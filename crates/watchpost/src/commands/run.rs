//! `watchpost run`: the engine until it is told to stop.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use event::Level;
use sigma::{Diagnostic, Severity};

use crate::args::RunArgs;
use crate::commands::{Outcome, checked};
use crate::config::Config;
use crate::engine::{Engine, Part};
use crate::listeners;
use crate::rules::rule_sources;
use crate::signals::Signals;
use crate::style;
use crate::terminal::AlertPrinter;

/// How often a running engine looks at its stages.
const CHECK_EVERY: Duration = Duration::from_millis(500);

/// How many refused rules are told one by one at the start; `rules check` tells all.
const REFUSED_SHOWN_MAX: usize = 20;

pub(crate) fn run(args: &RunArgs) -> Outcome {
    let mut config = Config::load(args.config.as_deref())?;
    if let Some(data) = &args.data {
        config.data.folder.clone_from(data);
    }
    if let Some(bus) = &args.bus {
        config.bus.url.clone_from(bus);
    }
    let parts = match args.stages.as_slice() {
        [] => Part::ALL.to_vec(),
        parts => parts.to_vec(),
    };
    if args.check {
        return check(&config, &parts);
    }
    let signals = Signals::catch()?;
    let engine = Engine::start(&config, &parts)?;
    say_what_runs(&engine, &config);
    if parts.contains(&Part::Correlation) {
        engine.spawn(Box::new(AlertPrinter::new(Level::Low, None)))?;
    }
    while !signals.wait(CHECK_EVERY) {
        if let Some(stage) = engine.stopped() {
            tracing::error!(stage, "a stage stopped by itself; the engine stops with it");
            engine.stop()?;
            return Ok(ExitCode::from(1));
        }
    }
    tell(std::io::stderr(), format_args!("stopping: listeners first, then the stages"));
    engine.stop()?;
    Ok(ExitCode::SUCCESS)
}

fn check(config: &Config, parts: &[Part]) -> Outcome {
    let addresses = listeners::addresses(config, parts)?;
    let book = rule_sources(config).load();
    println!("configuration: fine");
    println!("data folder:   {}", config.data.folder.display());
    println!("bus:           {}", config.bus.url);
    println!(
        "stages:        {}",
        parts.iter().map(|part| part.as_str()).collect::<Vec<_>>().join(", ")
    );
    for (setting, address) in &addresses {
        println!("{:<14} {address}", format!("{setting}:"));
    }
    println!(
        "rules:         {} and {} correlations, {} faults",
        book.rules().len(),
        book.correlations().len(),
        book.diagnostics().len()
    );
    for diagnostic in book.diagnostics() {
        eprint!("{}", diagnostic.render(book.source(&diagnostic.file)));
    }
    let is_error = |diagnostic: &Diagnostic| diagnostic.severity == Severity::Error;
    Ok(checked(!book.diagnostics().iter().any(is_error)))
}

/// What a person wants to know first: where the pages are, what is loaded, where logs go.
fn say_what_runs(engine: &Engine, config: &Config) {
    let book = engine.rules.current();
    let say = |line: std::fmt::Arguments<'_>| tell(std::io::stderr(), line);
    say(format_args!(
        "{} {} rules and {} correlations; data in {}",
        style::bold("watchpost"),
        book.rules().len(),
        book.correlations().len(),
        config.data.folder.display()
    ));
    for diagnostic in book.diagnostics().iter().take(REFUSED_SHOWN_MAX) {
        say(format_args!("{} {diagnostic}", style::dim("rule:")));
    }
    let more = book.diagnostics().len().saturating_sub(REFUSED_SHOWN_MAX);
    if more > 0 {
        say(format_args!(
            "{} {more} more findings; `watchpost rules check` shows all",
            style::dim("rule:")
        ));
    }
    for (protocol, address) in engine.taking() {
        say(format_args!("{protocol} on {address}"));
    }
    if let Some(link) = engine.link() {
        tell(std::io::stdout(), format_args!("{} {link}", style::good("ready:")));
    }
}

/// Writes a line if somebody takes it. `println!` would panic on a full disk, and an engine runs on.
fn tell(mut to: impl Write, line: std::fmt::Arguments<'_>) {
    writeln!(to, "{line}").ok();
}
