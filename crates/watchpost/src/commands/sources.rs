//! `watchpost sources ledger`: what each source sent, and what became of it.

use std::io::Write;
use std::time::Duration;

use web::ledger::{LedgerAnswer, SourceAccount};

use crate::args::{Format, SourcesArgs, SourcesCommand};
use crate::commands::rejected::{Reached, reach};
use crate::commands::{Outcome, checked};
use crate::style;

/// How long a server may take to count what is on its way.
const TIME_MAX: Duration = Duration::from_secs(120);

pub(crate) fn run(args: &SourcesArgs) -> Outcome {
    let SourcesCommand::Ledger { on, format } = &args.command;
    let ledger: LedgerAnswer = match reach(on, TIME_MAX)? {
        Reached::Server(server) => serde_json::from_str(&server.get("/api/v1/ledger", &[])?)?,
        Reached::Bus(bus, index_group) => web::ledger::read(bus.as_ref(), &index_group)?,
    };
    let text = match format {
        Format::Table => table(&ledger.sources),
        Format::Jsonl => {
            let lines: Result<Vec<String>, _> =
                ledger.sources.iter().map(serde_json::to_string).collect();
            lines?.into_iter().map(|line| line + "\n").collect()
        }
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    eprint!("{}", verdict(&ledger));
    Ok(checked(ledger.imbalance == 0))
}

/// The accounts as a table.
fn table(sources: &[SourceAccount]) -> String {
    let head = ["received", "dropped", "rejected", "events", "stored", "in flight", "error"];
    let rows: Vec<[String; 7]> = sources
        .iter()
        .map(|of| {
            let SourceAccount { received, dropped, rejected, events, stored, in_flight, .. } = of;
            let counts = [received, dropped, rejected, events, stored, in_flight];
            let mut cells = counts.map(u64::to_string).to_vec();
            cells.push(if of.error == 0 { "-".to_owned() } else { format!("{:+}", of.error) });
            cells.try_into().unwrap_or_default()
        })
        .collect();
    let name_width = sources.iter().map(|of| of.source.chars().count()).max().unwrap_or(0).max(6);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(String::len);
        cells.max().unwrap_or(0).max(head.get(column).map_or(0, |name| name.len()))
    };
    let mut text = format!("{:<name_width$}", "source");
    for (column, name) in head.iter().enumerate() {
        text += &format!("  {name:>width$}", width = width(column));
    }
    text.push('\n');
    for (of, row) in sources.iter().zip(&rows) {
        // A source names itself; nothing of it may reach the terminal as a command.
        text += &format!("{:<name_width$}", style::plain(&of.source));
        for (column, cell) in row.iter().enumerate() {
            text += &format!("  {cell:>width$}", width = width(column));
        }
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
        };
        let two = SourceAccount {
            source: "/var/log/\u{1b}[31mauth.log".to_owned(),
            error: -2,
            ..one.clone()
        };
        assert_snapshot!(table(&[one, two]));
    }
}
