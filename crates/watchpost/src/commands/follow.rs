//! `watchpost search --follow`: events as they come, from a running server.
//!
//! When the connection breaks it comes back and goes on where it was, as long as the server's bus has
//! what passed meanwhile. What was left out is told on standard error.

use std::io::{BufRead, BufReader, Write};
use std::process::ExitCode;
use std::time::Duration;

use crate::args::{SearchArgs, SearchFormat};
use crate::commands::search::event_row;
use crate::commands::server::Server;
use crate::commands::{Outcome, export};
use crate::style;

/// The server that is asked if none is named.
const SERVER_DEFAULT: &str = "127.0.0.1:8480";

/// A tail lives as long as somebody looks at it: a month.
const TIME_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// How long to wait before the server is asked again.
const PAUSE: Duration = Duration::from_secs(2);

/// How often in a row it is asked in vain; a restart takes less.
const TRIES_MAX: u32 = 30;

/// Why nothing is followed any more.
enum End {
    /// Whoever reads us has read enough.
    Reader,
    Server(String),
}

/// Follows until it is stopped.
pub(crate) fn run(args: &SearchArgs) -> Outcome {
    if matches!(args.format, SearchFormat::Csv | SearchFormat::Parquet) {
        return Err(export::NO_OUTPUT.into());
    }
    let name = args.place.server.as_deref().unwrap_or(SERVER_DEFAULT);
    let server = Server::new(name, TIME_MAX)?;
    let mut place = None;
    let mut tries = 0;
    loop {
        let known: Vec<(&str, &str)> =
            place.as_deref().map(|place| ("last-event-id", place)).into_iter().collect();
        let opened = server.open("/api/v1/tail", &[("q", &args.query)], &known);
        match opened {
            Ok(answer) => {
                tries = 0;
                let mut lines = BufReader::new(answer);
                match show(&mut lines, args.format, &mut place) {
                    End::Reader => return Ok(ExitCode::SUCCESS),
                    End::Server(why) => tracing::warn!(server = name, why, "the tail broke off"),
                }
            }
            // The first time it is the person's to mend.
            Err(error) if place.is_none() || tries >= TRIES_MAX => return Err(error),
            Err(error) => {
                tries += 1;
                tracing::warn!(%error, tries, "the tail cannot go on yet");
            }
        }
        std::thread::sleep(PAUSE);
    }
}

/// Shows what comes until the stream ends, and keeps how far it came.
fn show(lines: &mut dyn BufRead, format: SearchFormat, place: &mut Option<String>) -> End {
    let (mut kind, mut data) = (String::new(), String::new());
    let mut line = String::new();
    loop {
        line.clear();
        match lines.read_line(&mut line) {
            Ok(0) => return End::Server("the server ended it".to_owned()),
            Err(error) => return End::Server(error.to_string()),
            Ok(_) => {}
        }
        let text = line.trim_end_matches(['\n', '\r']);
        if text.is_empty() {
            if kind == "left_out" {
                eprintln!("{} {data}", style::error("left out:"));
            } else if !data.is_empty() && print(&data, format).is_err() {
                return End::Reader;
            }
            kind.clear();
            data.clear();
        } else if let Some(id) = text.strip_prefix("id: ") {
            *place = Some(id.to_owned());
        } else if let Some(event) = text.strip_prefix("event: ") {
            event.clone_into(&mut kind);
        } else if let Some(text) = text.strip_prefix("data: ") {
            data.push_str(text);
        }
    }
}

fn print(json: &str, format: SearchFormat) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match format {
        SearchFormat::Ndjson => writeln!(out, "{json}")?,
        _ => writeln!(out, "{}", event_row(json).join("  "))?,
    }
    out.flush()
}
