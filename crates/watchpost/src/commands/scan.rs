//! `watchpost scan`: rules over files, without a server.
//!
//! Files are shared out among threads, and their matches are written in the order of the files, so
//! that two runs over the same files write the same text. What correlations count is gathered from
//! all files and decided at the end.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use correlation::Correlations;
use detection::{Otherwise, RuleBook, Scratch};
use event::{Level, Match, MatchKind, MatchedField, RuleRef, Timestamp};
use ingest::files::{self, File};
use serde::Serialize;

use crate::args::{Format, ScanArgs};
use crate::commands::{Outcome, checked, rules};
use crate::events::{Found, Read, Reader};
use crate::rules::definitions;
use crate::style;

/// The most matches that are kept for correlations. Each holds its event, some kilobytes.
const CORRELATED_MAX: usize = 200_000;

/// How many problems of all files are told one by one.
const PROBLEMS_SHOWN_MAX: usize = 50;

/// The most characters of a matched value in the table.
const VALUE_CHARS_MAX: usize = 90;

pub(crate) fn run(args: &ScanArgs) -> Outcome {
    let started = Instant::now();
    let book = rules::sources(&args.source.rules, &args.source.pipelines).load();
    rules::show_faults(&book);
    rules::all_usable(&book, &[&*args.source.rules, &*args.source.pipelines].concat())?;
    if book.rules().is_empty() {
        return Err("no rule was loaded, so there is nothing to look for".into());
    }
    let loaded = started.elapsed();
    let listing = files::list(&args.paths);
    if listing.files.is_empty() && listing.problems.is_empty() {
        return Err("there is no file to scan".into());
    }
    let threads = args
        .threads
        .map_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get()), usize::from);
    let scan = Scan {
        book: &book,
        files: &listing.files,
        format: args.format,
        level: args.level,
        next: AtomicUsize::new(0),
        out: Mutex::new(Ordered::default()),
        correlated: Mutex::new(Correlated::default()),
        ended: AtomicBool::new(false),
    };
    let scanning = Instant::now();
    let totals = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.clamp(1, listing.files.len().max(1)))
            .map(|_| scope.spawn(|| scan.work()))
            .collect();
        let mut totals = Totals::default();
        for worker in workers {
            match worker.join() {
                Ok(of_worker) => totals.add(of_worker),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        totals
    });
    let mut totals = totals;
    totals.problems.splice(0..0, listing.problems.iter().map(ToString::to_string));
    scan.correlations(&mut totals)?;
    if let Some(error) = lock(&scan.out).failed.take() {
        return Err(error.into());
    }
    show_problems(&totals);
    let seconds = scanning.elapsed().as_secs_f64();
    eprintln!(
        "{}",
        style::bold(&format!(
            "{} matches of {} rules in {} events of {} files",
            totals.matches,
            totals.by_rule.len(),
            totals.events,
            listing.files.len()
        ))
    );
    eprintln!(
        "{} rules loaded in {} ms; scanned in {seconds:.2} s, {:.0} events a second; {} events unparsed, {} problems",
        book.rules().len(),
        loaded.as_millis(),
        totals.events as f64 / seconds.max(0.001),
        totals.unparsed,
        totals.problems.len() as u64 + totals.problems_more,
    );
    // Something that was named is not there, or nothing could be read: then it did not work.
    let nothing = totals.events == 0 && !totals.problems.is_empty();
    Ok(checked(!nothing && listing.problems.is_empty()))
}

/// What the threads share.
struct Scan<'s> {
    book: &'s RuleBook,
    files: &'s [File],
    format: Format,
    level: Level,
    /// The next file that nobody has taken.
    next: AtomicUsize,
    out: Mutex<Ordered>,
    correlated: Mutex<Correlated>,
    /// Whoever reads our output has gone.
    ended: AtomicBool,
}

/// Matches that wait for what else happened.
#[derive(Default)]
struct Correlated {
    matches: Vec<Match>,
    left_out: u64,
}

/// What was done, counted.
#[derive(Default)]
struct Totals {
    events: u64,
    unparsed: u64,
    matches: u64,
    by_rule: BTreeMap<String, u64>,
    problems: Vec<String>,
    problems_more: u64,
}

impl Totals {
    fn add(&mut self, other: Totals) {
        self.events += other.events;
        self.unparsed += other.unparsed;
        self.matches += other.matches;
        for (rule, count) in other.by_rule {
            *self.by_rule.entry(rule).or_default() += count;
        }
        self.problems.extend(other.problems);
        self.problems_more += other.problems_more;
    }

    fn read(&mut self, read: Read) {
        self.events += read.events;
        self.unparsed += read.unparsed;
        self.problems.extend(read.problems);
        self.problems_more += read.problems_more;
    }

    fn hit(&mut self, rule: &RuleRef) {
        self.matches += 1;
        match self.by_rule.get_mut(&rule.id) {
            Some(count) => *count += 1,
            None => drop(self.by_rule.insert(rule.id.clone(), 1)),
        }
    }
}

impl Scan<'_> {
    /// Takes files until there are none.
    fn work(&self) -> Totals {
        let mut totals = Totals::default();
        let mut reader = Reader::new();
        let mut scratch = self.book.scratch();
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = self.files.get(number) else { return totals };
            let mut lines = String::new();
            let mut hits = Totals::default();
            let read = reader.read(file, "", &mut |found| {
                if !self.ended.load(Ordering::Relaxed) {
                    self.event(file, &found, &mut scratch, &mut lines, &mut hits);
                    // Long output of the file whose turn it is does not wait for its end.
                    if lines.len() >= Ordered::CHUNK_BYTES {
                        self.write(number, &mut lines, false);
                    }
                }
            });
            totals.add(hits);
            totals.read(read);
            self.write(number, &mut lines, true);
        }
    }

    fn event(
        &self,
        file: &File,
        found: &Found<'_>,
        scratch: &mut Scratch,
        lines: &mut String,
        totals: &mut Totals,
    ) {
        let event = found.event;
        let mut feeds = false;
        self.book.for_each_match(event, scratch, |entry| {
            feeds |= !entry.feeds.is_empty();
            if entry.alerts && entry.reference.level >= self.level {
                totals.hit(&entry.reference);
                let matched = self.book.matched(entry, event);
                let time = event.str("@timestamp").unwrap_or_default();
                let place = Place { file: file.name(), record: found.record, time };
                self.line(&entry.reference, &place, &matched, lines);
            }
        });
        if feeds {
            self.keep(file, found, scratch);
        }
    }

    /// Keeps the matches that correlations read.
    fn keep(&self, file: &File, found: &Found<'_>, scratch: &mut Scratch) {
        let id = format!("{}#{}", file.name(), found.record);
        let otherwise = Otherwise { event_id: &id, received: Timestamp::EPOCH };
        self.book.for_each_record(found.event, &otherwise, scratch, |_, mut record| {
            if matches!(record.kind, MatchKind::Correlation { .. }) {
                record.event_id.clone_from(&id);
                let mut correlated = lock(&self.correlated);
                if correlated.matches.len() < CORRELATED_MAX {
                    correlated.matches.push(record);
                } else {
                    correlated.left_out += 1;
                }
            }
        });
    }

    /// Decides the correlations over all files.
    fn correlations(&self, totals: &mut Totals) -> io::Result<()> {
        let Correlated { matches, left_out } = std::mem::take(&mut *lock(&self.correlated));
        if left_out > 0 {
            totals.problems.push(format!(
                "correlations looked at the first {CORRELATED_MAX} matches; {left_out} were left out"
            ));
        }
        let correlations = Correlations::new(definitions(self.book));
        let mut lines = String::new();
        for alert in correlation::batch::alerts(&correlations, matches, Timestamp::now()) {
            if alert.rule.level < self.level {
                continue;
            }
            totals.hit(&alert.rule);
            let last = alert.event_ids.last().map_or("", String::as_str);
            let (file, record) = last.rsplit_once('#').unwrap_or((last, ""));
            let time = alert.time.to_string();
            let place = Place { file, record: record.parse().unwrap_or_default(), time: &time };
            let mut matched: Vec<MatchedField> = alert
                .group
                .iter()
                .map(|(field, value)| MatchedField {
                    field: field.clone(),
                    value: value.clone(),
                    pattern: "group-by".to_owned(),
                })
                .collect();
            matched.extend(alert.matched);
            self.line(&alert.rule, &place, &matched, &mut lines);
        }
        self.write(self.files.len(), &mut lines, true);
        Ok(())
    }

    fn write(&self, number: usize, lines: &mut String, is_last: bool) {
        let mut out = lock(&self.out);
        out.take(number, std::mem::take(lines), is_last);
        if out.ended {
            self.ended.store(true, Ordering::Relaxed);
        }
    }

    /// Appends a match in the form that was asked for.
    fn line(
        &self,
        rule: &RuleRef,
        place: &Place<'_>,
        matched: &[MatchedField],
        lines: &mut String,
    ) {
        match self.format {
            Format::Jsonl => {
                let line = Line {
                    rule: LineRule { id: &rule.id, title: &rule.title, level: rule.level.as_str() },
                    file: place.file,
                    record: place.record,
                    timestamp: place.time,
                    matched,
                };
                // Texts and numbers always have a JSON form.
                lines.push_str(&serde_json::to_string(&line).unwrap_or_default());
            }
            Format::Table => {
                // A value that several tests of the rule matched is told once.
                let mut told: Vec<String> = Vec::with_capacity(matched.len());
                for field in matched {
                    let value = style::clip(&style::plain(&field.value), VALUE_CHARS_MAX);
                    let text = format!("{}={value}", field.field);
                    if !told.contains(&text) {
                        told.push(text);
                    }
                }
                _ = write!(
                    lines,
                    "{} {} {} {}\n         {}",
                    style::level(rule.level),
                    place.time,
                    style::bold(&style::plain(&rule.title)),
                    style::dim(&format!("{}:{}", style::plain(place.file), place.record)),
                    told.join("  ")
                );
            }
        }
        lines.push('\n');
    }
}

/// Where an event stands.
struct Place<'p> {
    file: &'p str,
    record: u64,
    time: &'p str,
}

/// A line of `--format jsonl`; its form is a contract.
#[derive(Serialize)]
struct Line<'l> {
    rule: LineRule<'l>,
    file: &'l str,
    record: u64,
    #[serde(rename = "@timestamp")]
    timestamp: &'l str,
    matched: &'l [MatchedField],
}

#[derive(Serialize)]
struct LineRule<'l> {
    id: &'l str,
    title: &'l str,
    level: &'l str,
}

/// Writes the output of files in their order, however their threads finish. The output of a file
/// waits in memory until those before it are done.
#[derive(Default)]
struct Ordered {
    /// The file whose turn it is.
    turn: usize,
    waiting: BTreeMap<usize, (String, bool)>,
    /// Whoever reads us has gone; nothing more is written.
    ended: bool,
    failed: Option<io::Error>,
}

impl Ordered {
    /// How much output of one file is gathered before it is handed on.
    const CHUNK_BYTES: usize = 64 * 1024;

    fn take(&mut self, number: usize, text: String, is_last: bool) {
        let (waiting, last) = self.waiting.entry(number).or_default();
        waiting.push_str(&text);
        *last |= is_last;
        let mut out = io::stdout().lock();
        while let Some((text, last)) = self.waiting.get_mut(&self.turn) {
            let written = if self.ended { Ok(()) } else { out.write_all(text.as_bytes()) };
            text.clear();
            let last = *last;
            if let Err(error) = written {
                self.ended = true;
                // `scan | head` has read enough.
                if error.kind() != io::ErrorKind::BrokenPipe {
                    self.failed = Some(error);
                }
            }
            if !last {
                return;
            }
            self.waiting.remove(&self.turn);
            self.turn += 1;
        }
    }
}

fn show_problems(totals: &Totals) {
    for problem in totals.problems.iter().take(PROBLEMS_SHOWN_MAX) {
        eprintln!("{} {}", style::error("problem:"), style::plain(problem));
    }
    let more =
        totals.problems.len().saturating_sub(PROBLEMS_SHOWN_MAX) as u64 + totals.problems_more;
    if more > 0 {
        eprintln!("{more} more problems");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
