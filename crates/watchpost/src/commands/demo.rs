//! `watchpost demo`: everything at once on a temporary data folder, with a fleet under attack.
//!
//! The simulated shippers send in real time. What they stage is known, so the summary can hold
//! what was found against it, and count every alert that nothing staged explains.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use bus::Topic;
use event::{Level, RawRecord, Timestamp};
use simulation::{Simulation, Staged};

use crate::address::{Address, Addresses};
use crate::args::DemoArgs;
use crate::commands::Outcome;
use crate::config::{Config, Syslog};
use crate::engine::{Engine, EngineError, Part};
use crate::signals::Signals;
use crate::style;
use crate::terminal::{AlertPrinter, Seen, SeenAlert};

/// How often what the fleet wrote since is sent.
const TICK: Duration = Duration::from_millis(50);

/// The most events that are sent at once: a machine that can't keep up still sees that time is up.
/// 20 ticks a second allow for the highest rate.
const SENT_MAX: u64 = 5_000;

/// With how many events behind the person who waits for the end is told so.
const BEHIND_TOLD_MIN: u64 = 2_000;

/// Alerts below this level are counted and not printed.
const PRINTED_LEVEL_MIN: Level = Level::Low;

pub(crate) fn run(args: DemoArgs) -> Outcome {
    let temporary = match &args.data {
        Some(_) => None,
        None => Some(tempfile::Builder::new().prefix("watchpost-demo-").tempdir()?),
    };
    let folder: &Path = match (&args.data, &temporary) {
        (Some(folder), _) => folder,
        (None, Some(temporary)) => temporary.path(),
        (None, None) => return Err("there is no data folder".into()),
    };
    let mut config = Config::default();
    config.data.folder = folder.to_owned();
    config.server.listen = Address::local(args.listen);
    config.syslog = Syslog { udp: Addresses::default(), tcp: Addresses::default() };
    config.shippers.listen = Addresses::default();
    config.rules.reload_seconds = 0;

    let signals = Signals::catch()?;
    let engine = Engine::start(&config, &Part::ALL)?;
    let book = engine.rules.current();
    println!(
        "{} {} rules and {} correlations watch a simulated fleet.",
        style::bold("Watchpost."),
        book.rules().len(),
        book.correlations().len(),
    );
    if let Some(link) = engine.link() {
        println!("Search and alerts: {}", style::good(&link));
    }
    match args.duration {
        Some(time) => println!("It stops after {} s. Alerts:\n", time.as_secs()),
        None => println!("Ctrl-C stops it and sums up. Alerts:\n"),
    }
    let seen = Seen::default();
    engine.spawn(Box::new(AlertPrinter::new(PRINTED_LEVEL_MIN, Some(seen.clone()))))?;

    let mut fleet = Simulation::new(simulation::Settings {
        seed: args.seed,
        rate: args.rate,
        attacks: !args.benign,
        without: args.without.clone(),
        start: Timestamp::now(),
        ..simulation::Settings::default()
    });
    let staged = fleet.staged().to_vec();
    let sent = send(&engine, &mut fleet, &signals, args.duration)?;
    let behind = engine.bus.lag("normalize", &[Topic::Raw])?;
    if behind >= BEHIND_TOLD_MIN {
        eprintln!("{behind} events are still to be looked at; Ctrl-C twice ends at once");
    }
    engine.wait_until_idle()?;
    wait_for_the_printer(&engine)?;
    engine.stop()?;
    let seen = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    let summary = Summary::new(&sent, &staged, &seen, args.benign);
    let mut out = std::io::stdout().lock();
    write!(out, "{summary}")?;
    if let Some(data) = &args.data {
        writeln!(out, "The data stays in {}; ask it with", data.display())?;
        writeln!(out, "  watchpost search --data {} --alerts '*'", data.display())?;
        writeln!(out, "  watchpost hunt run --data {}", data.display())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What was sent, and in which time.
struct Sent {
    events: u64,
    elapsed: Duration,
    /// How far the fleet's time came.
    until: Timestamp,
}

/// Sends the fleet's events as their time comes, until it is told to stop.
fn send(
    engine: &Engine,
    fleet: &mut Simulation,
    signals: &Signals,
    duration: Option<Duration>,
) -> Result<Sent, EngineError> {
    let started = Instant::now();
    let mut batch = ingest::Batch::new();
    let mut next = fleet.next();
    let mut events = 0;
    loop {
        let now = Timestamp::now();
        let mut left = SENT_MAX;
        while left > 0
            && let Some(event) = next.take_if(|event| event.time <= now)
        {
            left -= 1;
            batch.push(&RawRecord {
                listener: event.listener(),
                peer: &event.host,
                dataset: event.dataset,
                ..RawRecord::new(&event.payload, now)
            });
            events += 1;
            next = fleet.next();
        }
        if !batch.is_empty() {
            engine.bus.append(Topic::Raw, batch.records_mut())?;
            batch.clear();
        }
        let over = duration.is_some_and(|duration| started.elapsed() >= duration);
        if over || signals.wait(TICK) || engine.stopped().is_some() {
            let until = next.map_or(now, |event| event.time.min(now));
            return Ok(Sent { events, elapsed: started.elapsed(), until });
        }
    }
}

/// The last alerts may still be on their way to the terminal.
fn wait_for_the_printer(engine: &Engine) -> Result<(), EngineError> {
    let started = Instant::now();
    while engine.bus.lag("terminal", &[Topic::Alerts])? > 0
        && started.elapsed() < Duration::from_secs(5)
    {
        std::thread::sleep(TICK);
    }
    Ok(())
}

/// What was staged against what was found.
struct Summary {
    events: u64,
    seconds: f64,
    alerts: usize,
    /// Technique, how many alerts.
    techniques: BTreeMap<String, usize>,
    /// What was staged, and the titles of the rules that told of it.
    staged: Vec<(String, String, Vec<String>)>,
    /// Staged after the end.
    cut_off: usize,
    benign: bool,
    /// Rule, how many alerts that nothing staged explains.
    unexplained: BTreeMap<String, usize>,
}

impl Summary {
    fn new(sent: &Sent, staged: &[Staged], seen: &[SeenAlert], benign: bool) -> Summary {
        let mut techniques = BTreeMap::new();
        for alert in seen {
            for technique in &alert.techniques {
                *techniques.entry(technique.clone()).or_insert(0) += 1;
            }
        }
        let (done, cut_off): (Vec<&Staged>, Vec<&Staged>) =
            staged.iter().partition(|attack| attack.ends_at < sent.until);
        let mut unexplained = BTreeMap::new();
        for alert in seen {
            if !staged.iter().any(|attack| explains(attack, alert)) {
                *unexplained.entry(alert.title.clone()).or_insert(0) += 1;
            }
        }
        let staged = done
            .iter()
            .map(|attack| {
                let titles: BTreeSet<String> = seen
                    .iter()
                    .filter(|alert| explains(attack, alert))
                    .map(|alert| alert.title.clone())
                    .collect();
                let techniques = attack.techniques.join(", ");
                (attack.title.to_owned(), techniques, titles.into_iter().collect())
            })
            .collect();
        Summary {
            events: sent.events,
            seconds: sent.elapsed.as_secs_f64(),
            alerts: seen.len(),
            techniques,
            staged,
            cut_off: cut_off.len(),
            benign,
            unexplained,
        }
    }
}

/// Syslog and CloudTrail write whole seconds, so an event may seem so much earlier than it was.
const CLOCK_STEP_NANOS: i64 = 1_000_000_000;

/// Whether an alert tells of this attack: one of its rules, at its time.
fn explains(attack: &Staged, alert: &SeenAlert) -> bool {
    let starts_at = attack.starts_at.plus_nanos(-CLOCK_STEP_NANOS);
    attack.expected_rules.contains(&alert.rule_id.as_str())
        && (starts_at..=attack.ends_at).contains(&alert.time)
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "\n{}", style::bold("Summary"))?;
        writeln!(
            f,
            "  {} events in {:.0} s ({:.0} a second), {} alerts",
            self.events,
            self.seconds,
            self.events as f64 / self.seconds.max(0.001),
            self.alerts
        )?;
        if !self.techniques.is_empty() {
            writeln!(f, "\n{}", style::bold("Alerts by ATT&CK technique"))?;
            for (technique, count) in &self.techniques {
                writeln!(f, "  {technique:<10} {count:>4}")?;
            }
        }
        if !self.benign {
            writeln!(f, "\n{}", style::bold("Staged and found"))?;
            for (title, techniques, rules) in &self.staged {
                let mark =
                    if rules.is_empty() { style::error("missed") } else { style::good("found ") };
                writeln!(f, "  {mark} {title} ({techniques})")?;
                for rule in rules {
                    writeln!(f, "         {}", style::dim(rule))?;
                }
            }
            let missed = self.staged.iter().filter(|(_, _, rules)| rules.is_empty()).count();
            match (self.staged.len(), missed) {
                (0, _) => writeln!(f, "  nothing was staged in this time")?,
                (_, 0) => writeln!(f, "  {}", style::good("every staged attack was found"))?,
                (all, missed) => writeln!(f, "  {missed} of {all} staged attacks were missed")?,
            }
            if self.cut_off > 0 {
                writeln!(f, "  {} more would have followed; run it longer", self.cut_off)?;
            }
        }
        let false_alerts: usize = self.unexplained.values().sum();
        let per_million = false_alerts as f64 * 1e6 / self.events.max(1) as f64;
        writeln!(f, "\n{}", style::bold("False alerts"))?;
        writeln!(
            f,
            "  {false_alerts} alerts that nothing staged explains ({per_million:.0} in a million events)"
        )?;
        for (rule, count) in &self.unexplained {
            writeln!(f, "  {count:>4} {rule}")?;
        }
        writeln!(f)
    }
}
