//! `watchpost sources`: who sends, how much and when last; `sources ledger`: what became of it.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use web::ledger::{LedgerAnswer, SourceAccount};

use crate::args::{Format, SourcesArgs, SourcesCommand};
use crate::commands::rejected::{Reached, reach};
use crate::commands::{Outcome, checked};
use crate::style;

/// How long a server may take to count what is on its way.
const TIME_MAX: Duration = Duration::from_secs(120);

pub(crate) fn run(args: &SourcesArgs) -> Outcome {
    let (on, format) = match &args.command {
        None => (&args.on, args.format),
        Some(SourcesCommand::Ledger { on, format }) => (on, *format),
    };
    let ledger: LedgerAnswer = match reach(on, TIME_MAX)? {
        Reached::Server(server) => serde_json::from_str(&server.get("/api/v1/ledger", &[])?)?,
        Reached::Bus(bus, index_group) => web::ledger::read(bus.as_ref(), &index_group)?,
    };
    let is_ledger = args.command.is_some();
    let text = match format {
        Format::Table if is_ledger => table(&ledger.sources, &ACCOUNTS),
        Format::Table => {
            let mut sources = ledger.sources.clone();
            // Who was heard last comes first.
            sources.sort_by(|a, b| b.last.cmp(&a.last).then_with(|| a.source.cmp(&b.source)));
            table(&sources, &REGISTRY)
        }
        Format::Jsonl => {
            let lines: Result<Vec<String>, _> =
                ledger.sources.iter().map(serde_json::to_string).collect();
            lines?.into_iter().map(|line| line + "\n").collect()
        }
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    if !is_ledger {
        return Ok(ExitCode::SUCCESS);
    }
    eprint!("{}", verdict(&ledger));
    Ok(checked(ledger.imbalance == 0))
}

/// A column: its name, whether it is a number, and its text for a source.
type Column = (&'static str, bool, fn(&SourceAccount) -> String);

/// Who sends, how much, when last, how much failed.
const REGISTRY: [Column; 7] = [
    ("sender", false, |of| or_dash(&of.sender)),
    ("listener", false, |of| or_dash(&of.listener)),
    ("records", true, |of| of.received.to_string()),
    ("bytes", true, |of| of.bytes.to_string()),
    ("rejected", true, |of| of.rejected.to_string()),
    ("first", false, |of| to_the_second(&of.first)),
    ("last", false, |of| to_the_second(&of.last)),
];

/// What became of it.
const ACCOUNTS: [Column; 7] = [
    ("received", true, |of| of.received.to_string()),
    ("dropped", true, |of| of.dropped.to_string()),
    ("rejected", true, |of| of.rejected.to_string()),
    ("events", true, |of| of.events.to_string()),
    ("stored", true, |of| of.stored.to_string()),
    ("in flight", true, |of| of.in_flight.to_string()),
    ("error", true, |of| match of.error {
        0 => "-".to_owned(),
        error => format!("{error:+}"),
    }),
];

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

/// A time without its fraction.
fn to_the_second(time: &str) -> String {
    match time.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => or_dash(time),
    }
}

/// The accounts as a table.
fn table(sources: &[SourceAccount], columns: &[Column]) -> String {
    let source: Column = ("source", false, |of| of.source.clone());
    let columns: Vec<&Column> = std::iter::once(&source).chain(columns).collect();
    // A source names itself; nothing of it may reach the terminal as a command.
    let rows: Vec<Vec<String>> = sources
        .iter()
        .map(|of| columns.iter().map(|(_, _, text)| style::plain(&text(of)).to_string()).collect())
        .collect();
    let head: Vec<String> = columns.iter().map(|(name, ..)| (*name).to_owned()).collect();
    let width = |column: usize| {
        let cells = std::iter::once(&head).chain(&rows).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut text = String::new();
    for row in std::iter::once(&head).chain(&rows) {
        let mut line = String::new();
        for ((cell, &width), (_, is_number, _)) in row.iter().zip(&widths).zip(&columns) {
            let gap = if line.is_empty() { "" } else { "  " };
            line += &match is_number {
                true => format!("{gap}{cell:>width$}"),
                false => format!("{gap}{cell:<width$}"),
            };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// Whether it balances, in a sentence or two.
fn verdict(ledger: &LedgerAnswer) -> String {
    let mut text = format!(
        "{} raw records and {} events are on their way.\n",
        ledger.raw_in_flight, ledger.events_in_flight
    );
    if ledger.partial {
        text += "So many are on their way that they are not told apart; ask again later.\n";
    } else if ledger.imbalance == 0 {
        text += &format!("{} nothing is missing, nothing is too much.\n", style::good("balanced:"));
    } else {
        text += &format!(
            "{} {} records are missing, too many or uncounted. That is a fault of the engine; keep the data folder and report it.\n",
            style::error("out of balance:"),
            ledger.imbalance
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    #[test]
    fn accounts_are_shown_in_columns() {
        let one = SourceAccount {
            source: "10.0.0.1".to_owned(),
            received: 1200,
            dropped: 0,
            rejected: 3,
            events: 1197,
            stored: 1190,
            in_flight: 7,
            error: 0,
            bytes: 180_000,
            first: "2026-11-24T12:00:00.5Z".to_owned(),
            last: "2026-11-24T12:10:00.25Z".to_owned(),
            listener: "syslog-tls".to_owned(),
            sender: "edge".to_owned(),
        };
        let two = SourceAccount {
            source: "/var/log/\u{1b}[31mauth.log".to_owned(),
            error: -2,
            sender: String::new(),
            ..one.clone()
        };
        assert_snapshot!(table(&[one.clone(), two.clone()], &ACCOUNTS));
        assert_snapshot!("registry", table(&[one, two], &REGISTRY));
    }
}
