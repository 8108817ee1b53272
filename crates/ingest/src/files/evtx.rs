//! Windows event logs in their binary form.
//!
//! A file is a header and chunks of 64 KiB, each of which can be read alone. So it is read some
//! chunks at a time, forward only: from a pipe or out of a compressed file as well, and in little
//! memory. The header's facts are not needed, and a file that Windows had open when it was copied
//! has wrong ones; each run of chunks gets a header of ours.
//!
//! The chunks come in the order of the file. In a log that has wrapped around that is not the order
//! of time, which nothing after us relies on.
//!
//! What is damaged costs what is damaged: the parser goes on at the next record that it can find. A
//! chunk that is cut short is filled up with zeros, and its whole records are read.

use std::error::Error;
use std::io::{Cursor, Read};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use event::raw::Encoding;
use evtx::err::EvtxError;
use evtx::{EvtxParser, ParserSettings};

use super::{Place, Reading};

/// How an EVTX file begins.
pub(super) const MAGIC: &[u8] = b"ElfFile\0";

const HEADER_BYTES: usize = 4096;
const CHUNK_BYTES: usize = 64 * 1024;
const CHUNK_HEADER_BYTES: usize = 512;

/// The smallest record: its header, and its size once more.
const RECORD_BYTES_MIN: usize = 28;

/// How many chunks are parsed as one. The parser compiles the templates of events anew for each run.
const RUN_CHUNKS: usize = 64;

pub(super) fn read(source: &mut dyn Read, reading: &mut Reading<'_>) -> ControlFlow<()> {
    let mut run = Vec::with_capacity(HEADER_BYTES + RUN_CHUNKS * CHUNK_BYTES);
    if !fill(source, &mut run, HEADER_BYTES, Place::Byte(0), reading) {
        let message = format!(
            "the EVTX file is cut short: it has {} bytes, its header alone {HEADER_BYTES}",
            run.len()
        );
        reading.problem(Place::File, message);
        return ControlFlow::Continue(());
    }
    let mut first_chunk = 0;
    let mut is_whole = true;
    while is_whole {
        run.clear();
        run.extend_from_slice(&header());
        let place = Place::Chunk(first_chunk);
        is_whole = fill(source, &mut run, HEADER_BYTES + RUN_CHUNKS * CHUNK_BYTES, place, reading);
        let chunk_bytes = run.len() - HEADER_BYTES;
        let cut_bytes = chunk_bytes % CHUNK_BYTES;
        if cut_bytes > 0 {
            let place = Place::Chunk(first_chunk + (chunk_bytes / CHUNK_BYTES) as u64);
            let message = format!(
                "the EVTX file is cut short: only {cut_bytes} bytes of {CHUNK_BYTES} are there; the whole records among them are read"
            );
            reading.problem(place, message);
            let cut = run.split_off(run.len() - cut_bytes);
            run.extend_from_slice(cut.get(..whole_records_bytes(&cut)).unwrap_or_default());
            run.resize(HEADER_BYTES + chunk_bytes.next_multiple_of(CHUNK_BYTES), 0);
        }
        if chunk_bytes > 0 {
            chunks(&run, first_chunk, reading)?;
        }
        first_chunk += RUN_CHUNKS as u64;
    }
    ControlFlow::Continue(())
}

/// Reads until the buffer has so many bytes; false if the source ended before. An error of the
/// source is a problem, and its end.
fn fill(
    source: &mut dyn Read,
    buffer: &mut Vec<u8>,
    bytes: usize,
    place: Place,
    reading: &mut Reading<'_>,
) -> bool {
    let missing = bytes.saturating_sub(buffer.len());
    if let Err(error) = source.take(missing as u64).read_to_end(buffer) {
        reading.problem(place, format!("cannot be read further: {error}"));
    }
    buffer.len() == bytes
}

/// How many bytes of a chunk that is cut short its whole records take, and all before them. The
/// parser would fill the record that was cut with zeros and take it for an event.
fn whole_records_bytes(cut: &[u8]) -> usize {
    let mut end = CHUNK_HEADER_BYTES.min(cut.len());
    while let Some([0x2a, 0x2a, 0, 0, size @ ..]) = cut.get(end..)
        && let Some(size) = size.first_chunk::<4>()
    {
        let size = u32::from_le_bytes(*size) as usize;
        if size < RECORD_BYTES_MIN || size > cut.len() - end {
            break;
        }
        end += size;
    }
    end
}

/// A header that is right, of a file of any length.
fn header() -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(place) = header.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    put(0, MAGIC);
    put(32, &128_u32.to_le_bytes());
    put(36, &1_u16.to_le_bytes());
    put(38, &3_u16.to_le_bytes());
    put(40, &(HEADER_BYTES as u16).to_le_bytes());
    // Flag: there is no checksum.
    put(120, &4_u32.to_le_bytes());
    header
}

fn chunks(run: &[u8], first_chunk: u64, reading: &mut Reading<'_>) -> ControlFlow<()> {
    let settings =
        ParserSettings::new().indent(false).separate_json_attributes(false).num_threads(1);
    let mut parser = match EvtxParser::from_read_seek(Cursor::new(run)) {
        Ok(parser) => parser.with_configuration(settings),
        Err(error) => {
            reading.problem(Place::Chunk(first_chunk), explain(&error));
            return ControlFlow::Continue(());
        }
    };
    let mut records = parser.records_json_bytes();
    loop {
        // The parser is tested against hostile bytes; should it panic all the same, that costs the
        // rest of these chunks and not the scan.
        let Ok(next) = catch_unwind(AssertUnwindSafe(|| records.next())) else {
            let message = format!(
                "the parser failed here; the rest of the {RUN_CHUNKS} chunks from here is skipped"
            );
            reading.problem(Place::Chunk(first_chunk), message);
            return ControlFlow::Continue(());
        };
        match next {
            None => return ControlFlow::Continue(()),
            Some(Ok(record)) if record.data.len() > reading.options.line_bytes_max => {
                let max = reading.options.line_bytes_max;
                let message = format!(
                    "has {} bytes as JSON, at most {max} are read; skipped",
                    record.data.len()
                );
                reading.problem(Place::Record(record.event_record_id), message);
            }
            Some(Ok(record)) => {
                let id = event_record_id(&record.data).unwrap_or(record.event_record_id);
                reading.record(&record.data, id, Encoding::Json)?;
            }
            Some(Err(error)) => {
                reading.problem(place(&error, first_chunk), explain(&error));
            }
        }
    }
}

/// The event's own `EventRecordID`, which is what Event Viewer shows. The parser's is that of the
/// record in the file, which counts from 1 again when events are exported.
fn event_record_id(json: &[u8]) -> Option<u64> {
    const NAME: &[u8] = b"\"EventRecordID\":";
    // `System` comes before all that the event's author chose.
    let value = json.get(memchr::memmem::find(json, NAME)? + NAME.len()..)?;
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(value.get(..digits)?).ok()?.parse().ok()
}

/// Where an error is, in the whole file.
fn place(error: &EvtxError, first_chunk: u64) -> Place {
    match error {
        EvtxError::FailedToParseChunk { chunk_id, .. } => Place::Chunk(first_chunk + chunk_id),
        EvtxError::FailedToParseRecord { record_id, .. } => Place::Record(*record_id),
        EvtxError::FailedToReadRecordAt { chunk, .. } => {
            Place::Chunk(first_chunk + chunk.unwrap_or(0))
        }
        _ => Place::Chunk(first_chunk),
    }
}

/// The deepest causes say what is wrong; the outermost only that something is.
fn explain(error: &EvtxError) -> String {
    let mut causes = Vec::new();
    let mut cause: Option<&dyn Error> = error.source();
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    let causes = if causes.is_empty() { error.to_string() } else { causes.join(": ") };
    format!("damaged, skipped: {causes}")
}
