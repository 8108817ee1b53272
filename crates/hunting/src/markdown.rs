//! The report for a ticket or a wiki.
//!
//! Values come from attackers and tickets are rendered by browsers, so every character that
//! Markdown or HTML could take for its own is escaped.

use crate::report::{Report, StepReport, cut, harmless};

/// The most characters of a query that are shown.
const QUERY_CHARS_MAX: usize = 4000;
/// The most characters of a cell.
const CELL_CHARS_MAX: usize = 200;

pub(crate) fn markdown(report: &Report) -> String {
    let mut out = String::new();
    let answer = report.verdict.as_str();
    line(&mut out, &format!("# {}", escaped(&report.title)));
    line(&mut out, "");
    line(&mut out, &format!("**{answer}**: {}", escaped(&report.reason)));
    line(&mut out, "");
    for part in report.hypothesis.lines() {
        line(&mut out, &format!("> {}", escaped(part)));
    }
    line(&mut out, "");
    if !report.techniques.is_empty() || !report.tactics.is_empty() {
        let mut attack = report.techniques.clone();
        attack.extend(report.tactics.iter().cloned());
        line(&mut out, &format!("- ATT&CK: {}", escaped(&attack.join(", "))));
    }
    let (words, events) = (report.range.words(), report.events);
    line(&mut out, &format!("- searched: {}, {events} events", escaped(&words)));
    line(&mut out, &format!("- run at {} in {} ms", report.run_at, report.took_ms));
    line(&mut out, &format!("- hunt: {} ({})", escaped(&report.id), escaped(&report.file)));
    if !report.needs.is_empty() {
        line(&mut out, "");
        line(&mut out, "## What it needs to see");
        line(&mut out, "");
        row(&mut out, ["data", "looked at", "wanted", "found", ""].map(str::to_owned));
        row(&mut out, ["---", "---", "---", "---", "---"].map(str::to_owned));
        for need in &report.needs {
            for check in &need.checks {
                let mark = if check.ok { "ok" } else { "missing" };
                let (wanted, found) = (check.shown(&check.wanted), check.shown(&check.found));
                let cells = [need.title.as_str(), &check.what(), &wanted, &found, mark];
                row(&mut out, cells.map(escaped));
            }
        }
        for need in &report.needs {
            for reason in &need.incomplete {
                line(&mut out, "");
                line(&mut out, &format!("{}: {}", escaped(&need.title), escaped(reason)));
            }
        }
    }
    line(&mut out, "");
    line(&mut out, "## What was looked for");
    for step in &report.steps {
        push_step(&mut out, step);
    }
    if !report.next.is_empty() {
        line(&mut out, "");
        line(&mut out, "## Next, if it is supported");
        line(&mut out, "");
        for next in &report.next {
            line(&mut out, &format!("- {}", escaped(&next.replace('\n', " "))));
        }
    }
    out
}

fn push_step(out: &mut String, step: &StepReport) {
    let holds = match step.holds {
        Some(true) => "holds",
        Some(false) => "does not hold",
        None => "cannot be told",
    };
    line(out, "");
    line(out, &format!("### {}: {}", escaped(&step.id), escaped(&step.title)));
    line(out, "");
    line(out, &format!("Found {}; the step {holds}.", step.found_words()));
    line(out, "");
    let query = cut(&step.query, QUERY_CHARS_MAX);
    let fence = "`".repeat(longest_run(&query, '`').max(2) + 1);
    line(out, &fence);
    for part in query.lines() {
        line(out, &harmless(part));
    }
    line(out, &fence);
    for given in &step.substituted {
        let name = escaped(&given.reference);
        line(out, &format!("- {name}: {} of {} values", given.used, given.of));
    }
    for note in step.notes.iter().chain(&step.incomplete) {
        line(out, &format!("- {}", escaped(note)));
    }
    if !step.rows.is_empty() {
        let with_events = step.row_events.iter().any(|ids| !ids.is_empty());
        let extra = |text: String| with_events.then_some(text);
        line(out, "");
        row(out, step.columns.iter().map(|name| cell(name)).chain(extra("event.id".into())));
        row(out, step.columns.iter().map(|_| "---".to_owned()).chain(extra("---".into())));
        for (n, cells) in step.rows.iter().enumerate() {
            let ids = step.row_events.get(n).map(|ids| ids.join(" ")).unwrap_or_default();
            let cells = cells.iter().map(|value| cell(&value.to_string()));
            row(out, cells.chain(extra(escaped(&ids))));
        }
    }
    if !step.evidence.is_empty() {
        line(out, "");
        row(out, ["time", "event.id", ""].map(str::to_owned));
        row(out, ["---", "---", "---"].map(str::to_owned));
        for event in &step.evidence {
            let fields: Vec<String> = event
                .fields
                .iter()
                .map(|(name, value)| format!("{}={}", escaped(name), cell(value)))
                .collect();
            row(out, [event.time.to_string(), escaped(&event.id), fields.join(", ")]);
        }
    }
    let shown = u64::try_from(step.rows.len().max(step.evidence.len())).unwrap_or(u64::MAX);
    if shown > 0 && shown < step.found {
        line(out, "");
        line(out, &format!("… and {} more", step.found - shown));
    }
}

fn row(out: &mut String, cells: impl IntoIterator<Item = String>) {
    let cells: Vec<String> = cells.into_iter().collect();
    line(out, &format!("| {} |", cells.join(" | ")));
}

fn cell(text: &str) -> String {
    escaped(&cut(text, CELL_CHARS_MAX))
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in harmless(text).chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    // Bare addresses would become links, and an attacker's must not.
    out.replace("://", "&#58;//").replace("www.", "www&#46;").replace('@', "&#64;")
}

fn longest_run(text: &str, wanted: char) -> usize {
    text.split(|c| c != wanted).map(|run| run.chars().count()).max().unwrap_or(0)
}

fn line(out: &mut String, text: &str) {
    out.push_str(text.trim_end());
    out.push('\n');
}
