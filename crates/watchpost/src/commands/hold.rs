//! `watchpost hold`: legal holds, which neither retention nor a purge goes past.
//!
//! They lie in the data folder; a running server reads them anew before it removes anything.

use std::process::ExitCode;

use indexing::Hold;

use crate::args::{HoldArgs, HoldCommand, who};
use crate::commands::Outcome;
use crate::config::Config;
use crate::style;

/// The widest cell of the printed table.
const CELL_CHARS_MAX: usize = 100;

pub(crate) fn run(args: &HoldArgs) -> Outcome {
    let folder = args.data.clone().unwrap_or_else(|| Config::default().data.folder);
    match &args.command {
        HoldCommand::Add { name, query, by } => {
            let hold = Hold::add(&folder, name, query, &who(by.who.as_deref()), &by.reason)?;
            println!("held from now on: {} ({})", hold.query, hold.name);
        }
        HoldCommand::Remove { name, by } => {
            let hold = Hold::remove(&folder, name, &who(by.who.as_deref()), &by.reason)?;
            println!("held no longer: {} ({})", hold.query, hold.name);
        }
        HoldCommand::List => {
            let columns = ["name", "query", "since", "who", "reason"].map(str::to_owned).to_vec();
            let rows: Vec<Vec<String>> = Hold::list(&folder)?
                .into_iter()
                .map(|hold| {
                    vec![hold.name, hold.query, hold.since.to_string(), hold.who, hold.reason]
                })
                .collect();
            if !rows.is_empty() {
                println!("{}", style::table(&columns, &rows, CELL_CHARS_MAX));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
