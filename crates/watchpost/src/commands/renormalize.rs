//! `watchpost renormalize`: what the index has of the kept raw records, as the mappings are now.
//!
//! Every kept raw record is normalised again, with the sources and tables of the configuration, and
//! an event that comes out otherwise takes the place of the one with its id. It can be cut off at any
//! point and run again: an event whose day changes is added before the old one is removed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Instant;

use bus::{BusError, Record, Topic, copy};
use enrichment::Enrichment;
use event::{Event, EventId, RawRecord, Timestamp};
use indexing::{Document, Hit, Index, IndexError, IndexWriter, Kind, PartitionId, Searcher};
use normalize::{Joiner, Normalizer, Place, arrival, event_json, raw_record};
use query::TimeRange;

use crate::args::RenormalizeArgs;
use crate::commands::Outcome;
use crate::config::Config;
use crate::engine::normalize_options;
use crate::open_bus::{self, OpenBus};
use crate::style;

/// How much is exchanged before it is made durable.
const COMMIT_BYTES: usize = 64 * 1024 * 1024;

/// Fields that are told of each dataset; those that changed most.
const FIELDS_TOLD: usize = 12;

/// How often progress is shown.
const PROGRESS_EVERY: u64 = 1_000;

pub(crate) fn run(args: &RenormalizeArgs) -> Outcome {
    let mut config = Config::load(args.config.as_deref())?;
    if let Some(data) = &args.data {
        config.data.folder.clone_from(data);
    }
    let since = match &args.since {
        Some(since) => TimeRange::parse(since, "", Timestamp::now())?.since,
        None => None,
    };
    let options = normalize_options(&config, Enrichment::open(config.enrichment.clone())?)?;
    let OpenBus { bus, log_id, index_group } = open_bus::open(&config)?;
    let index = Index::open(&config.data.folder, config.index_options())?;
    let _claim = index.claim()?;
    let behind = bus.lag("normalize", &[Topic::Raw])? + bus.lag(&index_group, &[Topic::Events])?;
    if behind > 0 {
        return Err(format!(
            "{behind} records are not indexed yet; run the server until they are, then stop it and try again"
        )
        .into());
    }
    let writer = index.writer(&log_id)?;
    if writer.is_rebuilding() {
        // Else it would be added now, and once more when the log is read again.
        return Err(IndexError::Rebuilding.into());
    }
    let mut exchange = Exchange {
        normalizer: Normalizer::new(options),
        joiner: Joiner::default(),
        log_id: &log_id,
        since,
        dataset: args.dataset.as_deref(),
        dry_run: args.dry_run,
        searcher: index.searcher(),
        writer,
        moved: Vec::new(),
        told: BTreeMap::new(),
        records: 0,
        absent: 0,
    };
    let started = Instant::now();
    let shows_progress = std::io::stderr().is_terminal();
    let mut failed = None;
    let read = copy::read_all(bus.as_ref(), Topic::Raw, &mut |record| {
        if let Err(error) = exchange.record(&record) {
            failed = Some(error);
            return Err(BusError::Closed);
        }
        if shows_progress && exchange.records.is_multiple_of(PROGRESS_EVERY) {
            eprint!("\r{} records\x1b[K", exchange.records);
            std::io::stderr().flush().ok();
        }
        Ok(())
    });
    if shows_progress {
        eprint!("\r\x1b[K");
    }
    if let Some(error) = failed {
        return Err(error.into());
    }
    read?;
    exchange.finish()?;
    exchange.commit()?;
    bus.close();
    print!("{}", exchange.table());
    eprintln!(
        "{} {} raw records in {:.1} s; {} of them have no event in the index and were left alone.",
        style::good(if args.dry_run { "looked at" } else { "renormalized" }),
        exchange.records,
        started.elapsed().as_secs_f64(),
        exchange.absent
    );
    Ok(ExitCode::SUCCESS)
}

/// What is told of a dataset.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    same: u64,
    changed: u64,
    added: u64,
    removed: u64,
    /// By what happened to it (`+` new, `-` gone, `~` another value) and field.
    fields: BTreeMap<(char, String), u64>,
}

struct Exchange<'a> {
    normalizer: Normalizer,
    joiner: Joiner,
    log_id: &'a str,
    since: Option<Timestamp>,
    dataset: Option<&'a str>,
    dry_run: bool,
    searcher: Searcher,
    writer: IndexWriter,
    /// What is to be removed once that which takes its place is durable: its time, and its id.
    moved: Vec<(Timestamp, String)>,
    told: BTreeMap<String, Told>,
    records: u64,
    absent: u64,
}

/// An event as it is now.
struct New {
    event: Event,
    json: Vec<u8>,
    time: Timestamp,
}

impl<'a> Exchange<'a> {
    fn record(&mut self, record: &Record<'_>) -> Result<(), IndexError> {
        let raw = raw_record(record);
        if self.since.is_some_and(|since| raw.received < since) {
            return Ok(());
        }
        self.records += 1;
        let arrival = arrival(record, &raw);
        let mut whole = Vec::new();
        let is_part = self.joiner.push(&arrival, &mut whole);
        for joined in whole {
            self.exchange(&joined.raw(), joined.place)?;
        }
        if !is_part {
            return self.exchange(&raw, arrival.place);
        }
        if !self.joiner.began_at(arrival.place) {
            // It is in the event of another record, and has none of its own any more.
            self.replace(self.id(arrival.place), Vec::new())?;
        }
        Ok(())
    }

    /// What waits for records that did not come.
    fn finish(&mut self) -> Result<(), IndexError> {
        let mut whole = Vec::new();
        self.joiner.finish(&mut whole);
        for joined in whole {
            self.exchange(&joined.raw(), joined.place)?;
        }
        Ok(())
    }

    fn id(&self, place: Place) -> EventId<'a> {
        let Place { partition, offset } = place;
        EventId { log: self.log_id, partition, offset, index: 0 }
    }

    fn exchange(&mut self, raw: &RawRecord<'_>, place: Place) -> Result<(), IndexError> {
        let first = self.id(place);
        let mut made = Vec::new();
        let normalized = self.normalizer.normalize(raw, Some(first), &mut |event| {
            let time = event.timestamp().unwrap_or(raw.received);
            made.push(event_json(event).map(|json| New { event: event.clone(), json, time }));
        });
        // What would be rejected now stays as it is.
        match normalized.ok().and_then(|()| made.into_iter().collect::<Option<Vec<_>>>()) {
            Some(made) => self.replace(first, made),
            None => Ok(()),
        }
    }

    /// Puts what was made of a record in the place of what the index has of it.
    fn replace(&mut self, first: EventId<'_>, made: Vec<New>) -> Result<(), IndexError> {
        let is_part = made.is_empty();
        let mut old = Vec::new();
        for index in 0.. {
            let id = EventId { index, ..first }.to_string();
            let hits = self.searcher.get_all(&id)?;
            if hits.is_empty() && index as usize >= made.len() {
                break;
            }
            old.push((id, hits));
        }
        if old.iter().all(|(_, hits)| hits.is_empty()) {
            self.absent += u64::from(!is_part);
            return Ok(());
        }
        let mut made = made.into_iter();
        for (id, hits) in old {
            self.event(&id, &hits, made.next())?;
        }
        if self.writer.uncommitted_bytes() >= COMMIT_BYTES {
            self.commit()?;
        }
        Ok(())
    }

    /// Exchanges one event: what the index has under its id, and what it is now.
    fn event(&mut self, id: &str, old: &[Hit], new: Option<New>) -> Result<(), IndexError> {
        let was: Option<Event> = old.first().map(Hit::event);
        let name = |event: &Event| event.str("event.dataset").unwrap_or_default().to_owned();
        let names: Vec<String> =
            was.iter().chain(new.as_ref().map(|new| &new.event)).map(name).collect();
        let is_wanted = |name: &String| match self.dataset {
            None => true,
            Some(wanted) => match wanted.strip_suffix('*') {
                Some(start) => name.starts_with(start),
                None => name == wanted,
            },
        };
        let Some(dataset) = names.last().filter(|_| names.iter().any(is_wanted)) else {
            return Ok(());
        };
        let told = self.told.entry(dataset.clone()).or_default();
        let Some(new) = new else {
            told.removed += 1;
            for hit in old.iter().filter(|_| !self.dry_run) {
                self.writer.remove(Kind::Events, hit.time, id)?;
            }
            return Ok(());
        };
        let text = String::from_utf8_lossy(&new.json);
        if let [hit] = old
            && hit.json == text
        {
            told.same += 1;
            return Ok(());
        }
        match &was {
            None => told.added += 1,
            Some(was) => {
                told.changed += 1;
                for field in differences(was, &new.event) {
                    *told.fields.entry(field).or_default() += 1;
                }
            }
        }
        if self.dry_run {
            return Ok(());
        }
        let partition = |time| PartitionId::of(Kind::Events, time);
        for hit in old {
            if partition(hit.time) == partition(new.time) {
                self.writer.remove(Kind::Events, hit.time, id)?;
            } else {
                self.moved.push((hit.time, id.to_owned()));
            }
        }
        let New { event, json, time } = new;
        self.writer.add(Document { kind: Kind::Events, time, event, json, position: None });
        Ok(())
    }

    fn commit(&mut self) -> Result<(), IndexError> {
        self.writer.commit()?;
        if self.moved.is_empty() {
            return Ok(());
        }
        for (time, id) in self.moved.drain(..) {
            self.writer.remove(Kind::Events, time, &id)?;
        }
        self.writer.commit()
    }

    fn table(&self) -> String {
        let mut text = String::new();
        for (dataset, told) in &self.told {
            let Told { same, changed, added, removed, fields } = told;
            let dataset = style::plain(dataset);
            text += &format!(
                "{dataset}: {changed} changed, {added} new, {removed} gone, {same} the same\n"
            );
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
            for ((what, field), count) in fields.iter().take(FIELDS_TOLD) {
                text += &format!("  {what} {:<40} {count}\n", style::plain(field).to_string());
            }
            if let Some(more) = fields.len().checked_sub(FIELDS_TOLD).filter(|more| *more > 0) {
                text += &format!("  and {more} more fields\n");
            }
        }
        text
    }
}

/// What differs between two events, by field.
fn differences(was: &Event, is: &Event) -> Vec<(char, String)> {
    let values = |event: &Event| {
        let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (_, name, value) in event.fields() {
            all.entry(name.to_owned()).or_default().insert(format!("{value:?}"));
        }
        all
    };
    let (was, is) = (values(was), values(is));
    let names: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    let what = |name: &String| match (was.get(name), is.get(name)) {
        (None, _) => Some('+'),
        (_, None) => Some('-'),
        (before, now) => (before != now).then_some('~'),
    };
    names.into_iter().filter_map(|name| Some((what(name)?, name.clone()))).collect()
}
