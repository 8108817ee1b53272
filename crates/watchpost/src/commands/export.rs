//! `watchpost search --output`: everything that a query finds, into a file.
//!
//! A file is written under a temporary name beside its place and renamed once it is whole, so that no
//! program ever sees a part of it.

use std::io::{BufWriter, Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use export::{Export, Format, Request};
use indexing::{Cancel, Kinds};
use query::Query;

use crate::args::{SearchArgs, SearchFormat};
use crate::commands::Outcome;
use crate::commands::search::{data_folder, open_index, time_range};
use crate::commands::server::Server;
use crate::style;

/// What is said where a format goes into files only.
pub(crate) const NO_OUTPUT: &str =
    "csv and parquet are for files: name one with --output FILE, or `-` for standard output";

/// The longest that a server may take; it ends its exports by itself before.
const TIME_MAX: Duration = Duration::from_secs(1200);

/// Exports.
pub(crate) fn run(args: &SearchArgs, query: Query, output: &Path) -> Outcome {
    let format = match args.format {
        SearchFormat::Ndjson => Format::Ndjson,
        SearchFormat::Csv => Format::Csv,
        SearchFormat::Parquet => Format::Parquet,
        SearchFormat::Table => {
            return Err("a table is for people; write --format ndjson, csv or parquet".into());
        }
    };
    if output == Path::new("-") {
        let mut out = BufWriter::new(std::io::stdout());
        write(args, query, format, &mut out)?;
        out.flush()?;
        return Ok(ExitCode::SUCCESS);
    }
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let cannot = |error| format!("cannot write {}: {error}", output.display());
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(cannot)?;
    let told = {
        let mut out = BufWriter::new(file.as_file_mut());
        let told = write(args, query, format, &mut out)?;
        out.flush().map_err(cannot)?;
        told
    };
    file.as_file().sync_all().map_err(cannot)?;
    file.persist(output).map_err(|error| cannot(error.error))?;
    eprintln!("{}", style::dim(&format!("{told} in {}", output.display())));
    Ok(ExitCode::SUCCESS)
}

/// Writes all of it, and tells how much it was.
fn write(
    args: &SearchArgs,
    query: Query,
    format: Format,
    out: &mut (dyn Write + Send),
) -> Result<String, Box<dyn std::error::Error>> {
    let Some(server) = &args.place.server else {
        let request = Request {
            query,
            kinds: if args.alerts { Kinds::Alerts } else { Kinds::Events },
            range: time_range(&args.place)?,
            format,
            cancel: Cancel::default(),
        };
        let index = open_index(&data_folder(&args.place))?;
        let rows = Export::begin(&index, request)?.write(out)?;
        return Ok(format!("{rows} rows"));
    };
    let query = [
        ("q", args.query.as_str()),
        ("since", &args.place.since),
        ("until", args.place.until.as_deref().unwrap_or_default()),
        ("kind", if args.alerts { "alerts" } else { "events" }),
        ("format", format.extension()),
    ];
    let mut answer = Server::new(server, TIME_MAX)?.open("/api/v1/export", &query, &[])?;
    let mut buffer = vec![0; 64 * 1024];
    let mut bytes = 0;
    loop {
        let read = answer.read(&mut buffer);
        let read = read.map_err(|error| format!("{server} broke the export off: {error}"))?;
        let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else { break };
        out.write_all(piece)?;
        bytes += read;
    }
    Ok(format!("{bytes} bytes"))
}
