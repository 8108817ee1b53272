//! `watchpost index`: whether its files are whole.

use crate::args::{IndexArgs, IndexCommand};
use crate::commands::search::open_index;
use crate::commands::{Outcome, checked};
use crate::config::Config;
use crate::style;

pub(crate) fn run(args: &IndexArgs) -> Outcome {
    let IndexCommand::Check { data } = &args.command;
    let folder = data.clone().unwrap_or_else(|| Config::default().data.folder);
    let index = open_index(&folder)?;
    let mut is_whole = true;
    let mut bytes = 0;
    for partition in index.partitions() {
        let Some(found) = index.check(partition.id)? else { continue };
        bytes += found.bytes;
        let id = partition.id;
        if found.damage.is_empty() {
            println!("{id}: {} documents, {} files: whole", partition.documents, found.files);
            continue;
        }
        is_whole = false;
        println!("{id}: {}", style::error("damaged"));
        for damage in &found.damage {
            println!("  {damage}");
        }
    }
    for problem in index.problems() {
        is_whole = false;
        println!("{}: {} {}", problem.partition, style::error("not whole:"), problem.reason);
    }
    eprintln!("{}", style::dim(&format!("{bytes} bytes read")));
    if !is_whole {
        eprintln!(
            "a running server sets damaged partitions aside by itself and makes them again from the bus; `watchpost run` does so too when it starts"
        );
    }
    Ok(checked(is_whole))
}
