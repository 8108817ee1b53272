//! How long a rule takes over all that is indexed: each built-in rule by itself, and of the public
//! collection, if it is there, every fiftieth.

use std::path::Path;
use std::time::{Duration, Instant};

use detection::{RuleBook, RuleSources};
use indexing::{Index, Limits, Searcher};
use query::TimeRange;

use crate::Fault;

const PUBLIC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/sigma/rules");

/// Of how many public rules one is tried.
const PUBLIC_EVERY: usize = 50;

/// The most files that are looked through for public rules.
const FILES_MAX: usize = 10_000;

pub(crate) fn run(folder: &Path) -> Result<(), Fault> {
    let index = Index::open_read_only(folder)?;
    let searcher = index.searcher();
    let mut books = Vec::new();
    for file in detections::rules() {
        let builtin = vec![(format!("detections/{}", file.path), file.text.to_owned())];
        books.push(RuleSources { builtin, ..RuleSources::default() }.load());
    }
    tell("built-in rules", &searcher, &books)?;
    let mut paths = Vec::new();
    rules_below(Path::new(PUBLIC), &mut paths);
    if paths.is_empty() {
        println!("public rules: left out, {PUBLIC} is not there");
        return Ok(());
    }
    paths.sort();
    let public = paths.into_iter().step_by(PUBLIC_EVERY);
    let books: Vec<RuleBook> = public
        .map(|path| RuleSources { paths: vec![path], ..RuleSources::default() }.load())
        .collect();
    tell("public rules", &searcher, &books)
}

/// Runs each book by itself.
fn tell(name: &str, searcher: &Searcher, books: &[RuleBook]) -> Result<(), Fault> {
    let mut times: Vec<(Duration, String, u64)> = Vec::new();
    for book in books {
        let Some(entry) = book.rules().first() else { continue };
        let started = Instant::now();
        let found = backtest::run(book, searcher, TimeRange::ALL, &Limits::default());
        let took = started.elapsed();
        if let Some(reason) = found.partial.first() {
            return Err(format!("{}: {reason}", entry.reference.title).into());
        }
        times.push((took, entry.reference.title.clone(), found.read));
    }
    times.sort();
    let seconds = |percent: usize| {
        let at = (times.len() * percent).div_ceil(100).saturating_sub(1);
        times.get(at).map_or(0.0, |(took, ..)| took.as_secs_f64())
    };
    println!(
        "\nbacktest of {} {name}, one by one: {:.3} s in the median, {:.3} s the 95th percentile",
        times.len(),
        seconds(50),
        seconds(95)
    );
    if let Some((took, title, read)) = times.last() {
        println!("  the slowest: {title}, {:.3} s, {read} events read", took.as_secs_f64());
    }
    Ok(())
}

fn rules_below(folder: &Path, into: &mut Vec<std::path::PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if into.len() >= FILES_MAX {
            return;
        }
        if path.is_dir() {
            rules_below(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "yml") {
            into.push(path);
        }
    }
}
