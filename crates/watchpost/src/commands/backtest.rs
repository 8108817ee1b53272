//! `watchpost backtest`: what rules would have found in what is indexed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use ::backtest::{Backtest, Bucket, RuleHits};
use detection::{Found, RuleBook, RuleSources};
use event::Timestamp;
use indexing::Limits;
use query::TimeRange;

use crate::args::{BacktestArgs, Format};
use crate::commands::{Outcome, checked, rules, search};
use crate::config::Config;
use crate::rules::rule_sources;
use crate::style;

/// The heights of a small diagram.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The longest value of an entity that is shown, in letters.
const VALUE_CHARS_MAX: usize = 40;

pub(crate) fn run(args: &BacktestArgs) -> Outcome {
    let mut config = Config::load(args.config.as_deref())?;
    if let Some(data) = &args.data {
        config.data.folder.clone_from(data);
    }
    let sources = RuleSources {
        builtin: Vec::new(),
        paths: args.rules.clone(),
        pipelines: [config.rules.pipelines.clone(), args.pipelines.clone()].concat(),
    };
    let book = sources.load();
    rules::show_faults(&book);
    rules::all_usable(&book, &args.rules)?;
    if book.rules().is_empty() {
        return Err("there is no rule in these files".into());
    }
    let former = match args.former.is_empty() {
        false => RuleSources { paths: args.former.clone(), ..sources.clone() }.load(),
        true => used_until_now(&book, &config, &sources),
    };
    let now = Timestamp::now();
    let until = args.until.as_deref().unwrap_or_default();
    let mut range = TimeRange::parse(&args.since, until, now)?;
    // What comes while it runs would be in one of two versions only.
    range.until.get_or_insert(now);
    let index = search::open_index(&config.data.folder)?;
    let searcher = index.searcher();
    let limits = Limits { time: args.timeout, ..Limits::default() };
    let started = Instant::now();
    let mut found = ::backtest::run(&book, &searcher, range, &limits);
    let took = started.elapsed();
    if !former.rules().is_empty() {
        ::backtest::compare(&mut found, &::backtest::run(&former, &searcher, range, &limits));
    }
    match args.format {
        Format::Table => print!("{}", report(&found)),
        Format::Jsonl => {
            for rule in &found.rules {
                println!("{}", serde_json::to_string(rule)?);
            }
        }
    }
    for reason in &found.partial {
        eprintln!("{} {reason}", style::error("not whole:"));
    }
    eprintln!("{}", style::dim(&summary(&found, took)));
    Ok(checked(found.partial.is_empty()))
}

/// The rules with the ids of these that are in use, where they are others.
fn used_until_now(book: &RuleBook, config: &Config, sources: &RuleSources) -> RuleBook {
    let used = rule_sources(config).load();
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    for entry in book.rules() {
        let Some(Found::Rule(other)) = used.find(&entry.reference.id) else { continue };
        let (Some(new), Some(old)) = (book.source(&entry.rule.file), used.source(&other.rule.file))
        else {
            continue;
        };
        if new != old {
            texts.insert(other.rule.file.to_string(), old.to_owned());
        }
    }
    let builtin = texts.into_iter().collect();
    RuleSources { builtin, paths: Vec::new(), pipelines: sources.pipelines.clone() }.load()
}

fn summary(found: &Backtest, took: Duration) -> String {
    format!(
        "{} events of {:.1} days; {} had to be read; {:.1} s",
        found.events,
        found.days,
        found.read,
        took.as_secs_f64()
    )
}

fn report(found: &Backtest) -> String {
    let mut text = String::new();
    for rule in &found.rules {
        // Writing to a String cannot fail.
        of_rule(rule, &mut text).unwrap_or_default();
    }
    text
}

fn of_rule(rule: &RuleHits, text: &mut String) -> std::fmt::Result {
    let title = style::bold(&style::plain(&rule.rule.title));
    writeln!(text, "{} {title} {}", style::level(rule.rule.level), style::dim(&rule.rule.id))?;
    let hits = match rule.hits {
        1 => "1 hit".to_owned(),
        hits => format!("{hits} hits"),
    };
    match (rule.alerts, rule.first, rule.last) {
        (true, Some(first), Some(last)) => writeln!(
            text,
            "  {hits}, {} alerts a day; from {} to {}",
            per_day(rule.per_day),
            to_the_second(first),
            to_the_second(last)
        )?,
        (false, Some(first), Some(last)) => writeln!(
            text,
            "  {hits}, which make no alert by themselves; from {} to {}",
            to_the_second(first),
            to_the_second(last)
        )?,
        _ => writeln!(text, "  {hits}")?,
    }
    if rule.over_time.len() > 1 {
        let (first, last) = (rule.over_time.first(), rule.over_time.last());
        let day = |bucket: Option<&Bucket>| {
            let day = bucket.map(|bucket| bucket.start.to_string());
            day.unwrap_or_default().split('T').next().unwrap_or_default().to_owned()
        };
        writeln!(text, "  {} {} {}", day(first), diagram(&rule.over_time), day(last))?;
    }
    for entity in &rule.entities {
        let top: Vec<String> = entity
            .top
            .iter()
            .map(|(value, hits)| {
                format!("{} {hits}", style::clip(&style::plain(value), VALUE_CHARS_MAX))
            })
            .collect();
        let more = entity.distinct.saturating_sub(entity.top.len());
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        writeln!(text, "  {:<20} {}{more}", entity.field, top.join(", "))?;
    }
    if let Some(change) = &rule.change {
        writeln!(
            text,
            "  the former version has {}: {} new, {} gone",
            change.former, change.added, change.removed
        )?;
        for (sign, ids) in [("+", &change.added_examples), ("-", &change.removed_examples)] {
            for id in ids {
                writeln!(text, "    {sign} {}", style::plain(id))?;
            }
        }
    }
    Ok(())
}

fn per_day(number: f64) -> String {
    if number == 0.0 || number >= 10.0 { format!("{number:.0}") } else { format!("{number:.1}") }
}

fn to_the_second(time: Timestamp) -> String {
    let text = time.to_string();
    match text.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => text,
    }
}

/// A bar for each part of the time, those without a hit too.
fn diagram(buckets: &[Bucket]) -> String {
    let starts: Vec<i64> = buckets.iter().map(|bucket| bucket.start.as_nanos()).collect();
    let step = starts.windows(2).filter_map(|pair| match pair {
        [before, after] => Some(after - before),
        _ => None,
    });
    // Buckets without a hit are not there; the least distance is the length of one.
    let step = step.min().unwrap_or(1).max(1);
    let (Some(first), Some(last)) = (starts.first(), starts.last()) else { return String::new() };
    let count = usize::try_from((last - first) / step + 1).unwrap_or(1).min(400);
    let mut hits = vec![0; count];
    for bucket in buckets {
        let at = usize::try_from((bucket.start.as_nanos() - first) / step).unwrap_or(usize::MAX);
        if let Some(place) = hits.get_mut(at) {
            *place += bucket.hits;
        }
    }
    let most = hits.iter().copied().max().unwrap_or(1).max(1);
    hits.iter()
        .map(|hits| match *hits {
            0 => ' ',
            hits => {
                let height = (hits * (BARS.len() as u64 - 1)).div_ceil(most);
                BARS.get(usize::try_from(height).unwrap_or(0)).copied().unwrap_or('█')
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diagrams_show_gaps() {
        let bucket = |day: i64, hits| Bucket {
            start: Timestamp::from_nanos(day * 86_400_000_000_000),
            hits,
        };
        assert_eq!(diagram(&[bucket(1, 1), bucket(2, 8), bucket(5, 4)]), "▂█  ▅");
        assert_eq!(diagram(&[]), "");
    }
}
