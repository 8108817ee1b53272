//! `watchpost bus copy`: from one bus to another, with all records, places and state.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Instant;

use bus::Topic;
use bus::copy::{Moved, copy};

use crate::args::{BusArgs, BusCommand, BusCopyArgs};
use crate::commands::Outcome;
use crate::config::Config;
use crate::open_bus::{self, OpenBus};
use crate::style;

pub(crate) fn run(args: &BusArgs) -> Outcome {
    match &args.command {
        BusCommand::Copy(args) => run_copy(args),
    }
}

fn run_copy(args: &BusCopyArgs) -> Outcome {
    let mut config = Config::load(args.config.as_deref())?;
    if let Some(data) = &args.data {
        config.data.folder.clone_from(data);
    }
    if args.from == args.to {
        return Err("--from and --to are the same bus".into());
    }
    let mut open = |url: &str| {
        url.clone_into(&mut config.bus.url);
        open_bus::open(&config)
    };
    let OpenBus { bus: from, index_group: from_index, .. } = open(&args.from)?;
    let OpenBus { bus: to, index_group: to_index, .. } = open(&args.to)?;
    let groups = [
        Moved { from: "normalize", to: "normalize", topics: &[Topic::Raw] },
        Moved { from: "detection", to: "detection", topics: &[Topic::Events] },
        Moved { from: "correlation", to: "correlation", topics: &[Topic::Matches] },
        Moved { from: &from_index, to: &to_index, topics: &[Topic::Events, Topic::Alerts] },
        Moved { from: "terminal", to: "terminal", topics: &[Topic::Alerts] },
    ];
    let started = Instant::now();
    let shows_progress = std::io::stderr().is_terminal();
    let copied = copy(from.as_ref(), to.as_ref(), &groups, args.drop_state, &mut |topic, count| {
        if shows_progress {
            eprint!("\r{topic}: {count}\x1b[K");
            std::io::stderr().flush().ok();
        }
    });
    if shows_progress {
        eprint!("\r\x1b[K");
    }
    to.close();
    from.close();
    let copied = copied?;
    for topic in Topic::ALL {
        println!(
            "{topic:<10} {:>12} records, read back and the same",
            copied.records[topic.index()]
        );
    }
    println!("{:<10} {:>12} entries", "state", copied.state);
    eprintln!(
        "{} {} MB in {:.1} s. Run on it with --bus {}, and the same data folder: the index goes on from here.",
        style::good("copied"),
        copied.bytes / 1_000_000,
        started.elapsed().as_secs_f64(),
        args.to
    );
    Ok(ExitCode::SUCCESS)
}
