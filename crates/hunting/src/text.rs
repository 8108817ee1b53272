//! The report for a terminal.

use std::fmt::Write as _;

use crate::report::{Report, StepReport, cut, harmless};

/// The most characters of a query that are shown; lists of values make it long.
const QUERY_CHARS_MAX: usize = 400;
/// The most characters of a cell.
const CELL_CHARS_MAX: usize = 48;
/// The most characters of an event's line.
const EVENT_CHARS_MAX: usize = 300;

pub(crate) fn text(report: &Report) -> String {
    let mut out = String::new();
    line(&mut out, &report.title);
    line(&mut out, &format!("  {}, because {}", report.verdict.as_str(), report.reason));
    line(&mut out, "");
    for part in report.hypothesis.lines() {
        line(&mut out, &format!("  {part}"));
    }
    let mut attack = report.techniques.clone();
    attack.extend(report.tactics.iter().cloned());
    if !attack.is_empty() {
        line(&mut out, &format!("  ATT&CK    {}", attack.join(", ")));
    }
    let searched = format!("{}, {} events", report.range.words(), report.events);
    line(&mut out, &format!("  searched  {searched}"));
    if !report.needs.is_empty() {
        line(&mut out, "");
        line(&mut out, "What it needs to see");
        for need in &report.needs {
            line(
                &mut out,
                &format!("  {:<7} {}", if need.ok { "ok" } else { "missing" }, need.title),
            );
            for check in &need.checks {
                let (found, wanted) = (check.shown(&check.found), check.shown(&check.wanted));
                let mark = if check.ok { "" } else { "  <-" };
                let what = check.what();
                line(&mut out, &format!("          {what}: {found}, wanted {wanted}{mark}"));
            }
            for reason in &need.incomplete {
                line(&mut out, &format!("          ! {reason}"));
            }
        }
    }
    line(&mut out, "");
    line(&mut out, "What was looked for");
    for step in &report.steps {
        push_step(&mut out, step);
    }
    if !report.next.is_empty() {
        line(&mut out, "");
        line(&mut out, "Next, if it is supported");
        for next in &report.next {
            line(&mut out, &format!("  - {}", next.replace('\n', " ")));
        }
    }
    line(&mut out, "");
    line(&mut out, &format!("took {} ms", report.took_ms));
    out
}

fn push_step(out: &mut String, step: &StepReport) {
    let mark = match step.holds {
        Some(true) => "yes",
        Some(false) => "no",
        None => "unknown",
    };
    let found = step.found_words();
    line(out, &format!("  {mark:<7} {}: {}: found {found}", step.id, step.title));
    let query = step.query.split_whitespace().collect::<Vec<_>>().join(" ");
    line(out, &format!("          {}", cut(&query, QUERY_CHARS_MAX)));
    for given in &step.substituted {
        let (name, used, of) = (&given.reference, given.used, given.of);
        line(out, &format!("          {name}: {used} of {of} values"));
    }
    for note in &step.notes {
        line(out, &format!("          {note}"));
    }
    for reason in &step.incomplete {
        line(out, &format!("          ! {reason}"));
    }
    if !step.rows.is_empty() {
        push_table(out, step);
    }
    for event in &step.evidence {
        let fields: Vec<String> =
            event.fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let event = format!("{}  {}  {}", event.time, event.id, fields.join(" "));
        line(out, &format!("          {}", cut(&harmless(&event), EVENT_CHARS_MAX)));
    }
    let shown = u64::try_from(step.rows.len().max(step.evidence.len())).unwrap_or(u64::MAX);
    if shown > 0 && shown < step.found {
        line(out, &format!("          … and {} more", step.found - shown));
    }
}

fn push_table(out: &mut String, step: &StepReport) {
    let cell = |text: &str| cut(&harmless(text), CELL_CHARS_MAX);
    let mut table: Vec<Vec<String>> = vec![step.columns.iter().map(|name| cell(name)).collect()];
    table.extend(
        step.rows.iter().map(|row| row.iter().map(|value| cell(&value.to_string())).collect()),
    );
    if step.row_events.iter().any(|ids| !ids.is_empty()) {
        for (n, row) in table.iter_mut().enumerate() {
            row.push(match n.checked_sub(1) {
                None => "event.id".to_owned(),
                // Ids are ours and short, and a cut one is of no use.
                Some(n) => harmless(&step.row_events.get(n).cloned().unwrap_or_default().join(" ")),
            });
        }
    }
    let width = |at: usize| {
        table.iter().filter_map(|row| row.get(at)).map(|text| text.chars().count()).max()
    };
    let widths: Vec<usize> = (0..).map_while(width).collect();
    for row in &table {
        let mut text = String::from("         ");
        for (value, width) in row.iter().zip(&widths) {
            // Writing to a String can't fail.
            _ = write!(text, " {value:<width$} ");
        }
        line(out, &text);
    }
}

fn line(out: &mut String, text: &str) {
    out.push_str(harmless(text).trim_end());
    out.push('\n');
}
