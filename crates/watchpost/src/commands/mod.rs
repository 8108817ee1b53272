//! The commands, one file each, and what they all answer with.

pub(crate) mod backtest;
pub(crate) mod backup;
pub(crate) mod bus;
pub(crate) mod coverage;
pub(crate) mod demo;
pub(crate) mod export;
pub(crate) mod follow;
pub(crate) mod hold;
pub(crate) mod hunt;
pub(crate) mod import;
pub(crate) mod index;
pub(crate) mod purge;
pub(crate) mod rejected;
pub(crate) mod renormalize;
pub(crate) mod rules;
pub(crate) mod run;
pub(crate) mod scan;
pub(crate) mod search;
pub(crate) mod searches;
pub(crate) mod server;
pub(crate) mod sources;
pub(crate) mod witness;

use std::process::ExitCode;

/// The exit code, or what went wrong in words for the person who called.
pub(crate) type Outcome = Result<ExitCode, Box<dyn std::error::Error>>;

/// The exit code of a check: 0 when it held.
pub(crate) fn checked(held: bool) -> ExitCode {
    if held { ExitCode::SUCCESS } else { ExitCode::from(1) }
}
