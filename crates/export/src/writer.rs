//! Writes rows in a format.
//!
//! Spreadsheets run a cell that begins like a formula, and attackers choose what logs hold. So a text in
//! CSV that begins with one of [`FORMULA_BEGINS`] gets a `'` before it, which spreadsheets do not show. It
//! changes what other programs read: for them there are NDJSON and Parquet, which have texts as they are.

use std::io::{BufWriter, Write};

use indexing::Hit;
use query::Cell;
use serde_json::{Map, Value};

use crate::columns::Columns;
use crate::parquet::ParquetFile;
use crate::rows::text;
use crate::{ExportError, Format, row};

/// What a text begins with that a spreadsheet may take for a formula.
const FORMULA_BEGINS: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// A file that is being written.
pub(crate) struct Writer<W: Write + Send> {
    out: Out<W>,
    rows: u64,
}

enum Out<W: Write + Send> {
    Ndjson(BufWriter<W>),
    Csv(Box<csv::Writer<W>>),
    Parquet(Box<ParquetFile<W>>),
}

impl<W: Write + Send> Writer<W> {
    pub(crate) fn new(format: Format, columns: &Columns, out: W) -> Result<Self, ExportError> {
        let out = match format {
            Format::Ndjson => Out::Ndjson(BufWriter::new(out)),
            Format::Csv => {
                let mut csv = csv::Writer::from_writer(out);
                csv.write_record(columns.names().map(header)).map_err(std::io::Error::from)?;
                Out::Csv(Box::new(csv))
            }
            Format::Parquet => Out::Parquet(Box::new(ParquetFile::new(columns, out)?)),
        };
        Ok(Writer { out, rows: 0 })
    }

    /// Events, as they are stored or under the columns.
    pub(crate) fn hits<'h>(
        &mut self,
        columns: &Columns,
        hits: impl Iterator<Item = &'h Hit>,
    ) -> Result<(), ExportError> {
        if columns.are_whole()
            && let Out::Ndjson(out) = &mut self.out
        {
            for hit in hits {
                out.write_all(hit.json.as_bytes())?;
                out.write_all(b"\n")?;
                self.rows += 1;
            }
            // So that whoever is gone is noticed before the next page is read.
            return Ok(out.flush()?);
        }
        let rows: Vec<Vec<Cell>> = hits.map(|hit| row(&hit.event(), columns)).collect();
        self.rows(columns, &rows)
    }

    pub(crate) fn rows(
        &mut self,
        columns: &Columns,
        rows: &[Vec<Cell>],
    ) -> Result<(), ExportError> {
        self.rows += rows.len() as u64;
        match &mut self.out {
            Out::Ndjson(out) => {
                for row in rows {
                    let object: Map<String, Value> = columns
                        .names()
                        .zip(row)
                        .filter(|(_, cell)| **cell != Cell::Null)
                        .map(|(name, cell)| {
                            (name.to_owned(), serde_json::to_value(cell).unwrap_or_default())
                        })
                        .collect();
                    writeln!(out, "{}", Value::Object(object))?;
                }
                out.flush()?;
            }
            Out::Csv(csv) => {
                for row in rows {
                    csv.write_record(row.iter().map(csv_cell)).map_err(std::io::Error::from)?;
                }
                csv.flush()?;
            }
            Out::Parquet(file) => file.row_group(columns, rows)?,
        }
        Ok(())
    }

    /// Writes what is left, and tells how many rows there were.
    pub(crate) fn finish(self) -> Result<u64, ExportError> {
        match self.out {
            Out::Ndjson(mut out) => out.flush()?,
            Out::Csv(mut csv) => csv.flush()?,
            Out::Parquet(file) => file.close()?,
        }
        Ok(self.rows)
    }
}

/// Numbers and times stay as they are: `-1` is no formula of anybody.
fn csv_cell(cell: &Cell) -> String {
    let text = text(cell).unwrap_or_default();
    if matches!(cell, Cell::Text(_)) { harmless(&text) } else { text }
}

/// `@timestamp` stays as it is: a spreadsheet runs nothing that has no parenthesis, and programs look
/// for the name.
fn header(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
    match name.strip_prefix('@') {
        Some(rest) if rest.chars().all(is_plain) => name.to_owned(),
        _ => harmless(name),
    }
}

fn harmless(text: &str) -> String {
    let mark = if text.starts_with(FORMULA_BEGINS) { "'" } else { "" };
    format!("{mark}{text}")
}
