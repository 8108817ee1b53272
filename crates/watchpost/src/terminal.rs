//! Alerts in the terminal: one line each, as they fire.
//!
//! A stage of its own reading the topic `alerts`, so that what is printed is what is stored, and a
//! slow terminal holds up nothing else. An alert that is told again with the same id (a
//! correlation that grew) is printed once.

use std::collections::{HashSet, VecDeque};
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use bus::{Output, Record, Reject, Stage, StageError, Topic};
use event::{Event, Level, Timestamp};

use crate::style;

/// How many ids of printed alerts are remembered; an alert grows within minutes, not days.
const REMEMBERED_MAX: usize = 20_000;

/// The longest reason that is printed.
const REASON_CHARS_MAX: usize = 160;

/// An alert as it was seen.
#[derive(Debug, Clone)]
pub(crate) struct SeenAlert {
    pub(crate) time: Timestamp,
    pub(crate) rule_id: String,
    pub(crate) title: String,
    pub(crate) level: Level,
    pub(crate) reason: String,
    /// ATT&CK techniques and sub-techniques.
    pub(crate) techniques: Vec<String>,
}

/// What was printed, for whoever sums up.
pub(crate) type Seen = Arc<Mutex<Vec<SeenAlert>>>;

/// Prints alerts of a level or above.
pub(crate) struct AlertPrinter {
    at_least: Level,
    seen: Option<Seen>,
    printed: HashSet<String>,
    order: VecDeque<String>,
    lines: String,
}

impl AlertPrinter {
    /// A printer; with `seen`, it also keeps what it printed.
    pub(crate) fn new(at_least: Level, seen: Option<Seen>) -> AlertPrinter {
        AlertPrinter {
            at_least,
            seen,
            printed: HashSet::new(),
            order: VecDeque::new(),
            lines: String::new(),
        }
    }

    /// Whether this id is new.
    fn remember(&mut self, id: &str) -> bool {
        if !self.printed.insert(id.to_owned()) {
            return false;
        }
        self.order.push_back(id.to_owned());
        if self.order.len() > REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.printed.remove(&oldest);
        }
        true
    }
}

impl Stage for AlertPrinter {
    fn name(&self) -> &'static str {
        "terminal"
    }

    fn inputs(&self) -> &[Topic] {
        &[Topic::Alerts]
    }

    fn process(
        &mut self,
        record: &Record<'_>,
        _now: Timestamp,
        _output: &mut Output,
    ) -> Result<(), Reject> {
        let mut event = Event::new();
        event.parse_json(record.value).map_err(|error| Reject::new(error.to_string()))?;
        if !self.remember(event.str("event.id").unwrap_or_default()) {
            return Ok(());
        }
        let alert = read(&event);
        if alert.level >= self.at_least {
            self.lines.push_str(&line(&alert));
            self.lines.push('\n');
        }
        if let Some(seen) = &self.seen {
            seen.lock().unwrap_or_else(PoisonError::into_inner).push(alert);
        }
        Ok(())
    }

    fn end_batch(&mut self, _now: Timestamp, _output: &mut Output) -> Result<(), StageError> {
        if !self.lines.is_empty() {
            // A terminal that is gone takes no alerts; the topic and the index have them.
            std::io::stdout().write_all(self.lines.as_bytes()).ok();
            self.lines.clear();
        }
        Ok(())
    }
}

fn read(event: &Event) -> SeenAlert {
    let text = |path| event.str(path).unwrap_or_default().to_owned();
    let all = |path| {
        event.values(path).filter_map(|value| value.as_str()).map(str::to_owned).collect::<Vec<_>>()
    };
    let mut techniques = all("threat.technique.subtechnique.id");
    for technique in all("threat.technique.id") {
        let covered = techniques.iter().any(|sub| sub.split('.').next() == Some(&technique));
        if !covered {
            techniques.push(technique);
        }
    }
    SeenAlert {
        time: event.timestamp().unwrap_or_default(),
        rule_id: text("rule.id"),
        title: text("rule.name"),
        level: text("watchpost.alert.level").parse().unwrap_or_default(),
        reason: text("event.reason"),
        techniques,
    }
}

/// `12:00:01 high     T1059.001  Encoded PowerShell: anna on ws-07 ran ...`
pub(crate) fn line(alert: &SeenAlert) -> String {
    let time = alert.time.to_jiff().strftime("%H:%M:%S").to_string();
    let technique = alert.techniques.first().map_or("-", String::as_str);
    let reason = style::clip(&style::plain(&alert.reason), REASON_CHARS_MAX);
    format!("{} {} {technique:<10} {reason}", style::dim(&time), style::level(alert.level))
}
