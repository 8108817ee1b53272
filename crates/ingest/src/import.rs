//! Files into the bus: what `watchpost import` does.
//!
//! Plain and synchronous: the bus itself holds the caller back when it is full. Each batch is durable
//! before the next is read, so an import that is cut off has stored a beginning of the files, in
//! their order.

use std::ops::ControlFlow;

use bus::{Bus, BusError, Topic};

use crate::files::{self, File, Problem, ReadOptions};
use crate::privacy::Privacy;
use crate::{Batch, metrics};

/// A batch is appended when it has so many bytes: enough that a sync's few milliseconds are spread.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// What an import did so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// Files read to their end.
    pub files: usize,
    /// Records that are durable.
    pub records: u64,
    /// Their payloads' bytes.
    pub bytes: u64,
    /// What could not be read; at most [`files::PROBLEMS_MAX`] of each file.
    pub problems: Vec<Problem>,
    /// How many more problems there were.
    pub problems_more: u64,
}

/// Why an import ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The bus failed.
    #[error("while importing {file}: {error}")]
    Bus {
        /// The file whose records could not be appended.
        file: String,
        /// What the bus says.
        error: BusError,
    },
}

/// Appends the records of files, in their order, without what privacy rules hide. `progress` is told after every batch and file, and
/// may stop the import; what was read by then is appended.
///
/// # Errors
/// [`ImportError`] when the bus fails; problems of files are in what is returned.
pub fn import(
    bus: &dyn Bus,
    files: &[File],
    options: &ReadOptions<'_>,
    privacy: &Privacy,
    progress: &mut dyn FnMut(&File, &Imported) -> ControlFlow<()>,
) -> Result<Imported, ImportError> {
    let mut imported = Imported::default();
    let mut batch = Batch::new();
    for file in files {
        let mut failed = None;
        let mut stopped = false;
        let read = files::read(file, options, &mut |record| {
            batch.push(&record);
            if batch.bytes_len() < BATCH_BYTES {
                return ControlFlow::Continue(());
            }
            if let Err(error) = append(bus, &mut batch, privacy, &mut imported) {
                failed = Some(error);
                return ControlFlow::Break(());
            }
            stopped = progress(file, &imported).is_break();
            if stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let appended = match failed {
            Some(error) => Err(error),
            None => append(bus, &mut batch, privacy, &mut imported),
        };
        appended.map_err(|error| ImportError::Bus { file: file.name().to_owned(), error })?;
        imported.problems.extend(read.problems);
        imported.problems_more += read.problems_more;
        if stopped {
            break;
        }
        imported.files += 1;
        if progress(file, &imported).is_break() {
            break;
        }
    }
    Ok(imported)
}

fn append(
    bus: &dyn Bus,
    batch: &mut Batch,
    privacy: &Privacy,
    imported: &mut Imported,
) -> Result<(), BusError> {
    let (records, bytes) = (batch.len() as u64, batch.payload_bytes());
    batch.hide(privacy);
    bus.append(Topic::Raw, batch.records_mut())?;
    batch.clear();
    imported.records += records;
    imported.bytes += bytes;
    metrics::RECORDS.with_label_values(&[files::LISTENER]).inc_by(records);
    metrics::BYTES.with_label_values(&[files::LISTENER]).inc_by(bytes);
    Ok(())
}
