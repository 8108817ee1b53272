//! Files as normalised events, without a server: what `scan` and `rules` read.

use std::ops::ControlFlow;
use std::path::PathBuf;

use event::{Event, RawRecord, Timestamp};
use ingest::files::{self, File, Problem, ReadOptions};
use normalize::{Arrival, Joiner, Normalizer, Options};

use crate::mappings;

/// An event of a file.
pub(crate) struct Found<'e> {
    /// The event, normalised.
    pub(crate) event: &'e Event,
    /// Its line, from 1, or its record id.
    pub(crate) record: u64,
}

/// Reads one file's events in their order.
pub(crate) struct Reader {
    normalizer: Normalizer,
    received: Timestamp,
}

/// How the reading of a file went.
#[derive(Debug, Default)]
pub(crate) struct Read {
    /// Events handed on.
    pub(crate) events: u64,
    /// Bytes of their payloads.
    pub(crate) bytes: u64,
    /// Records that no decoder could read; they are events all the same.
    pub(crate) unparsed: u64,
    /// What could not be read.
    pub(crate) problems: Vec<String>,
    /// How many more problems there were.
    pub(crate) problems_more: u64,
}

impl Reader {
    /// A reader; times that an event lacks are the time of this call.
    pub(crate) fn new() -> Reader {
        // The original is in the file.
        let options =
            Options { keep_original: false, mappings: mappings::builtin(), ..Options::default() };
        Reader { normalizer: Normalizer::new(options), received: Timestamp::now() }
    }

    /// Hands on the events of a file.
    pub(crate) fn read(
        &mut self,
        file: &File,
        dataset: &str,
        each: &mut dyn FnMut(Found<'_>),
    ) -> Read {
        let mut read = Read::default();
        let options = ReadOptions { dataset, ..ReadOptions::new(self.received) };
        let mut one = |raw: &RawRecord<'_>| {
            let record = raw.position.unwrap_or_default();
            let normalized = self.normalizer.normalize(raw, None, &mut |event| {
                read.events += 1;
                read.unparsed += u64::from(is_unparsed(event));
                each(Found { event, record });
            });
            if let Err(rejected) = normalized {
                read.problems.push(format!("{}: record {record}: {rejected}", file.name()));
            }
        };
        // Lines of the audit log that are one event are one record.
        let (mut joiner, mut whole) = (Joiner::default(), Vec::new());
        let done = files::read(file, &options, &mut |raw: RawRecord<'_>| {
            let is_part = joiner.push(&Arrival::of_file(&raw), &mut whole);
            whole.drain(..).for_each(|joined| one(&joined.raw()));
            if !is_part {
                one(&raw);
            }
            ControlFlow::Continue(())
        });
        joiner.finish(&mut whole);
        whole.drain(..).for_each(|joined| one(&joined.raw()));
        read.bytes = done.bytes;
        read.problems.extend(done.problems.iter().map(Problem::to_string));
        read.problems_more = done.problems_more;
        read
    }
}

fn is_unparsed(event: &Event) -> bool {
    event.values("tags").any(|tag| tag.as_str() == Some(normalize::UNPARSED))
}

/// Hands on the events of files and folders, one after the other; what could not be read comes
/// back.
pub(crate) fn read(
    paths: &[PathBuf],
    dataset: &str,
    each: &mut dyn FnMut(Found<'_>),
) -> Vec<String> {
    let listing = files::list(paths);
    let mut problems: Vec<String> = listing.problems.iter().map(Problem::to_string).collect();
    let mut reader = Reader::new();
    for file in &listing.files {
        problems.extend(reader.read(file, dataset, each).problems);
    }
    problems
}
