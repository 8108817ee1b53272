//! The index of this project.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::{Duration, Instant};

use event::{Event, Timestamp};
use indexing::{Document, Index, Kind, Options, SearchRequest};

use crate::questions::Question;
use crate::{Answered, Fault, Loaded, bytes_below, drop_cached};

/// How many events are handed over at once.
const BATCH: usize = 5_000;

/// How often what was taken becomes searchable: the stage's rhythm.
const COMMIT_EVERY: Duration = Duration::from_millis(800);

pub(crate) fn load(lines: &Path, folder: &Path) -> Result<Loaded, Fault> {
    let index = Index::open(folder, Options::default())?;
    let mut writer = index.writer("log")?;
    let started = Instant::now();
    let mut committed = Instant::now();
    for (n, line) in BufReader::new(std::fs::File::open(lines)?).split(b'\n').enumerate() {
        let json = line?;
        let mut event = Event::new();
        event.parse_json(&json)?;
        let time = event.timestamp().unwrap_or(Timestamp::EPOCH);
        writer.add(Document { kind: Kind::Events, time, event, json, position: None });
        if n % BATCH == BATCH - 1 {
            writer.flush()?;
            if committed.elapsed() >= COMMIT_EVERY {
                writer.commit()?;
                committed = Instant::now();
            }
        }
    }
    writer.commit()?;
    let took = started.elapsed();
    let merging = Instant::now();
    writer.compact()?;
    Ok(Loaded { took, merged: merging.elapsed(), bytes: bytes_below(folder)? })
}

pub(crate) fn ask(folder: &Path, question: &Question, rounds: usize) -> Result<Answered, Fault> {
    let query = query::parse(question.ours).map_err(|error| error.render())?;
    drop_cached(folder)?;
    let index = Index::open_read_only(folder)?;
    let searcher = index.searcher();
    let mut answered = Answered::default();
    for _ in 0..=rounds {
        let mut request = SearchRequest::new(&query);
        request.histogram = query.pipes.is_empty().then_some(50);
        let started = Instant::now();
        let results = searcher.search(&request);
        answered.took(started.elapsed());
        if let Some(reason) = results.partial.first() {
            return Err(reason.to_string().into());
        }
        answered.hits = results.total;
    }
    Ok(answered)
}
