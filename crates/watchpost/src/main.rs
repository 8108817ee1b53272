//! The binary: the command line, and which command does what.
//!
//! Results go to standard output, progress and summaries to standard error. Exit codes are a
//! contract: 0 when it worked, 1 when a check failed or something could not be done, 2 for a wrong
//! call. The commands themselves are in `commands/`, one file each; what they share, a running
//! engine, is in `engine`.

#![expect(clippy::print_stdout, reason = "results on standard output are the purpose")]

mod address;
mod args;
mod commands;
mod config;
mod dataset_watch;
mod engine;
mod events;
mod followed_files;
mod hold_back;
mod index_watch;
mod installation;
mod kafka_input;
mod ledger_watch;
mod listeners;
mod mappings;
mod open_bus;
mod own_alert;
mod rule_tests;
mod rules;
mod search_schedule;
mod secret;
mod signals;
mod source_tests;
mod source_watch;
mod style;
mod table_watch;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Command};

/// The system's allocator costs a fifth of the throughput of the pipeline's short-lived buffers.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Tests end the process at named instants (FAILPOINTS=name=3*off->return); a release has none.
    let _instants = fail::FailScenario::setup();
    let args = Args::parse();
    start_logging(&args);
    leave_quietly_when_nobody_reads();
    let done = match args.command {
        Command::Demo(args) => commands::demo::run(args),
        Command::Run(args) => commands::run::run(&args),
        Command::Scan(args) => commands::scan::run(&args),
        Command::Rules(args) => commands::rules::run(&args),
        Command::Backtest(args) => commands::backtest::run(&args),
        Command::Search(args) => commands::search::run(&args),
        Command::Searches(args) => commands::searches::run(&args),
        Command::Hunt(args) => commands::hunt::run(&args),
        Command::Import(args) => commands::import::run(&args),
        Command::Renormalize(args) => commands::renormalize::run(&args),
        Command::Rejected(args) => commands::rejected::run(&args),
        Command::Sources(args) => commands::sources::run(&args),
        Command::Bus(args) => commands::bus::run(&args),
        Command::Index(args) => commands::index::run(&args),
        Command::Purge(args) => commands::purge::run(&args),
        Command::Hold(args) => commands::hold::run(&args),
        Command::Backup(args) => commands::backup::run(&args),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            let mut told = error.to_string();
            eprintln!("{} {told}", style::error("error:"));
            let mut source = error.source();
            while let Some(cause) = source {
                // Most messages tell their cause themselves.
                let text = cause.to_string();
                if !told.contains(&text) {
                    eprintln!("  because: {text}");
                }
                told.push_str(&text);
                source = cause.source();
            }
            ExitCode::from(1)
        }
    }
}

/// `println!` panics when whoever reads us has gone; `watchpost rules check | head` is no fault.
fn leave_quietly_when_nobody_reads() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload_as_str().unwrap_or_default();
        if text.starts_with("failed printing to std") && text.contains("Broken pipe") {
            std::process::exit(0);
        }
        report(panic);
    }));
}

/// Logs go to standard error; `WATCHPOST_LOG` has the filter, `--log-format json` the form.
fn start_logging(args: &Args) {
    let default = match args.command {
        Command::Run(_) => "info",
        // Who made, restored and removed backups is on record.
        Command::Backup(_) => "warn,watchpost=info",
        // A bus that is only looked at warns of settings that are not meant for it.
        Command::Rejected(_) | Command::Sources(_) => "error",
        _ => "warn",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("WATCHPOST_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    // A log that cannot be written, on a full disk or to a reader that has gone, is told to standard
    // error by default, with a panic when that fails too. It would stop the stages one by one.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    // A second logger can only be set by a test; then the first one stays.
    match args.log_format {
        args::LogFormat::Text => builder.with_ansi(style::is_on()).try_init().ok(),
        args::LogFormat::Json => builder.json().try_init().ok(),
    };
}
