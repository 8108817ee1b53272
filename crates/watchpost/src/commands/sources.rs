//! `watchpost sources`: who sends, how much and when last; `sources ledger`: what became of it;
//! `sources health`: how well it becomes events; `sources files`: how far the followed files are read; `sources test`: the tests of mappings.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use event::Timestamp;
use normalize::health::DatasetHealth;
use web::datasets::DatasetList;
use web::files::{FileList, FollowedFile};
use web::ledger::{LedgerAnswer, SourceAccount};

use crate::args::{Format, RejectedOn, SourcesArgs, SourcesCommand};
use crate::commands::rejected::{Reached, reach};
use crate::commands::server::Server;
use crate::commands::{Outcome, checked};
use crate::{source_tests, style};

/// How long a server may take to count what is on its way.
const TIME_MAX: Duration = Duration::from_secs(120);

pub(crate) fn run(args: &SourcesArgs) -> Outcome {
    let (on, format) = match &args.command {
        None => (&args.on, args.format),
        Some(SourcesCommand::Ledger { on, format }) => (on, *format),
        Some(SourcesCommand::Health { on, format }) => return health(on, *format),
        Some(SourcesCommand::Files { server, format }) => return files(server, *format),
        Some(SourcesCommand::Test { paths, update }) => return source_tests::run(paths, *update),
    };
    let ledger: LedgerAnswer = match reach(on, TIME_MAX)? {
        Reached::Server(server) => serde_json::from_str(&server.get("/api/v1/ledger", &[])?)?,
        Reached::Bus(bus, index_group) => web::ledger::read(bus.as_ref(), &index_group)?,
    };
    let is_ledger = args.command.is_some();
    let text = match format {
        Format::Table if is_ledger => {
            table(&ledger.sources, ("source", |of| &of.source), &ACCOUNTS)
        }
        Format::Table => {
            let mut sources = ledger.sources.clone();
            // Who was heard last comes first.
            sources.sort_by(|a, b| b.last.cmp(&a.last).then_with(|| a.source.cmp(&b.source)));
            table(&sources, ("source", |of| &of.source), &REGISTRY)
        }
        Format::Jsonl => lines(&ledger.sources)?,
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    if !is_ledger {
        return Ok(ExitCode::SUCCESS);
    }
    eprint!("{}", verdict(&ledger));
    Ok(checked(ledger.imbalance == 0))
}

fn files(server: &str, format: Format) -> Outcome {
    let answer = Server::new(server, TIME_MAX)?.get("/api/v1/files", &[])?;
    let FileList { files } = serde_json::from_str(&answer)?;
    let text = match format {
        Format::Table => table(&files, ("file", |of| &of.path), &FILES),
        Format::Jsonl => lines(&files)?,
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(checked(files.iter().all(|file| file.problem.is_empty())))
}

fn health(on: &RejectedOn, format: Format) -> Outcome {
    let DatasetList { datasets } = match reach(on, TIME_MAX)? {
        Reached::Server(server) => serde_json::from_str(&server.get("/api/v1/datasets", &[])?)?,
        Reached::Bus(bus, _) => web::datasets::read(bus.as_ref(), Timestamp::now())?,
    };
    let text = match format {
        Format::Table => {
            table(&datasets, ("dataset", |of| &of.dataset), &HEALTH) + &problems(&datasets)
        }
        Format::Jsonl => lines(&datasets)?,
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(checked(datasets.iter().all(|dataset| dataset.problems.is_empty())))
}

/// What is wrong, a line each, below the table.
fn problems(datasets: &[DatasetHealth]) -> String {
    let all = datasets.iter().flat_map(|of| of.problems.iter().map(move |problem| (of, problem)));
    let lines = all.map(|(of, problem)| {
        let (name, text) = (style::plain(&of.dataset), style::plain(&problem.text));
        format!("{} {name}: {text}\n", style::error(&format!("{}:", problem.kind)))
    });
    let lines: String = lines.collect();
    if lines.is_empty() { lines } else { format!("\n{lines}") }
}

fn lines<T: serde::Serialize>(rows: &[T]) -> Result<String, serde_json::Error> {
    let lines: Result<Vec<String>, _> = rows.iter().map(serde_json::to_string).collect();
    Ok(lines?.into_iter().map(|line| line + "\n").collect())
}

/// A column: its name, whether it is a number, and its text for a row.
type Column<T> = (&'static str, bool, fn(&T) -> String);

/// Who sends, how much, when last, how much failed.
const REGISTRY: [Column<SourceAccount>; 7] = [
    ("sender", false, |of| or_dash(&of.sender)),
    ("listener", false, |of| or_dash(&of.listener)),
    ("records", true, |of| of.received.to_string()),
    ("bytes", true, |of| of.bytes.to_string()),
    ("rejected", true, |of| of.rejected.to_string()),
    ("first", false, |of| to_the_second(&of.first)),
    ("last", false, |of| to_the_second(&of.last)),
];

/// What became of it.
const ACCOUNTS: [Column<SourceAccount>; 8] = [
    ("received", true, |of| of.received.to_string()),
    ("joined", true, |of| of.joined.to_string()),
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

/// How well a dataset's records become events.
const HEALTH: [Column<DatasetHealth>; 10] = [
    ("events 24h", true, |of| of.events.to_string()),
    ("last hour", true, |of| of.events_last_hour.to_string()),
    ("usual", true, |of| of.events_usual_hour.to_string()),
    ("unparsed", true, |of| share(of, of.unparsed)),
    ("no time", true, |of| share(of, of.missing_time)),
    ("late", true, |of| share(of, of.late)),
    ("delay", true, |of| format!("{:.1} s", of.delay_ms as f64 / 1000.0)),
    ("fields", true, |of| of.fields.to_string()),
    ("not ECS", true, |of| of.fields_outside_ecs.to_string()),
    ("last", false, |of| to_the_second(&of.last)),
];

fn share(of: &DatasetHealth, count: u64) -> String {
    if count == 0 { "-".to_owned() } else { of.share(count) }
}

/// How far a file is read.
const FILES: [Column<FollowedFile>; 4] = [
    ("read", true, |of| of.position.to_string()),
    ("bytes", true, |of| of.size.to_string()),
    ("last", false, |of| to_the_second(&of.last_read)),
    ("", false, |of| match (of.problem.as_str(), of.gone) {
        ("", true) => "gone; read to its end".to_owned(),
        (problem, _) => problem.to_owned(),
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

/// Rows as a table, with the name of each in front.
fn table<T>(of: &[T], (head, name): (&str, fn(&T) -> &str), columns: &[Column<T>]) -> String {
    // A source names itself; nothing of it may reach the terminal as a command.
    let plain = |text: &str| style::plain(text).to_string();
    let cells = |row: &T| columns.iter().map(|(_, _, text)| plain(&text(row))).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> =
        of.iter().map(|row| [vec![plain(name(row))], cells(row)].concat()).collect();
    let heads = columns.iter().map(|(name, ..)| *name);
    let head: Vec<String> = std::iter::once(head).chain(heads).map(str::to_owned).collect();
    let width = |column: usize| {
        let cells = std::iter::once(&head).chain(&rows).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let are_numbers = columns.iter().map(|(_, is_number, _)| *is_number);
    let are_numbers: Vec<bool> = std::iter::once(false).chain(are_numbers).collect();
    let mut text = String::new();
    for row in std::iter::once(&head).chain(&rows) {
        let mut line = String::new();
        for ((cell, &width), is_number) in row.iter().zip(&widths).zip(&are_numbers) {
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
            joined: 0,
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
        let shown =
            |columns| table(&[one.clone(), two.clone()], ("source", |of| &of.source), columns);
        assert_snapshot!(shown(&ACCOUNTS));
        assert_snapshot!("registry", shown(&REGISTRY));
    }

    #[test]
    fn health_is_shown_in_columns() {
        let problem = normalize::health::Problem {
            kind: "vanished".to_owned(),
            field: "user.name".to_owned(),
            text: "`user.name` was in nearly every event and is in none of the last 60 looked at"
                .to_owned(),
            since: "2026-11-24T12:00:00Z".to_owned(),
        };
        let one = DatasetHealth {
            dataset: "okta.system".to_owned(),
            events: 24_000,
            events_last_hour: 900,
            events_usual_hour: 1000,
            unparsed: 48,
            late: 7,
            delay_ms: 1_450,
            fields: 64,
            fields_outside_ecs: 31,
            last: "2026-11-24T12:10:00.25Z".to_owned(),
            problems: vec![problem],
            ..DatasetHealth::default()
        };
        let two = DatasetHealth { dataset: "a\u{1b}[31m".to_owned(), ..DatasetHealth::default() };
        let all = [one, two];
        assert_snapshot!(table(&all, ("dataset", |of| &of.dataset), &HEALTH) + &problems(&all), @"
        dataset      events 24h  last hour  usual  unparsed  no time   late  delay  fields  not ECS  last
        okta.system       24000        900   1000     0.2 %        -  0.0 %  1.4 s      64       31  2026-11-24T12:10:00Z
        a�[31m                0          0      0         -        -      -  0.0 s       0        0  -

        vanished: okta.system: `user.name` was in nearly every event and is in none of the last 60 looked at
        ");
    }

    #[test]
    fn followed_files_are_shown_in_columns() {
        let read = FollowedFile {
            path: "/var/log/auth.log".to_owned(),
            position: 1200,
            size: 1200,
            last_read: "2026-11-24T12:10:00.25Z".to_owned(),
            ..FollowedFile::default()
        };
        let gone =
            FollowedFile { gone: true, path: "/var/log/app.log.1".to_owned(), ..read.clone() };
        let refused = FollowedFile {
            path: "/var/log/secret.log".to_owned(),
            size: 5,
            problem: "Permission denied".to_owned(),
            ..FollowedFile::default()
        };
        assert_snapshot!(table(&[read, gone, refused], ("file", |of| &of.path), &FILES), @"
        file                 read  bytes  last
        /var/log/auth.log    1200   1200  2026-11-24T12:10:00Z
        /var/log/app.log.1   1200   1200  2026-11-24T12:10:00Z  gone; read to its end
        /var/log/secret.log     0      5  -                     Permission denied
        ");
    }
}
