//! Texts that a regular expression matches, read off its syntax tree.
//!
//! The first sample takes the first of all alternatives, repeats as little as allowed and picks the
//! plainest character of every class; the others choose differently, in case a filter objects. A
//! sample is a guess (look-around is only partly heeded), so whoever uses it evaluates it.

use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind, Look};
use sigma::expr::Regex;

/// The most samples of one expression.
const SAMPLES_MAX: usize = 8;

/// The most bytes of a sample; the longest that a public rule asks for has 1,000.
const SAMPLE_BYTES_MAX: usize = 64 * 1024;

/// A text that an expression probably matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) text: String,
    /// It must stand at the start of the value.
    pub(crate) starts: bool,
    /// It must stand at the end of the value.
    pub(crate) ends: bool,
}

/// Different samples, the plainest first; none when the expression can't match or is not understood.
pub(crate) fn samples(regex: &Regex) -> Vec<Sample> {
    let parsed = ParserBuilder::new()
        .case_insensitive(regex.ignore_case)
        .multi_line(regex.multi_line)
        .dot_matches_new_line(regex.dot_all)
        .build()
        .parse(&regex.source);
    let Ok(hir) = parsed else { return Vec::new() };
    let mut samples = Vec::new();
    for round in 0..SAMPLES_MAX {
        let mut writer = Writer { text: String::new(), starts: false, ends: false, round };
        if writer.write(&hir).is_some() {
            let sample = Sample { text: writer.text, starts: writer.starts, ends: writer.ends };
            if !samples.contains(&sample) {
                samples.push(sample);
            }
        }
    }
    samples
}

struct Writer {
    text: String,
    starts: bool,
    ends: bool,
    round: usize,
}

impl Writer {
    /// `None` when what was written does not fit what is asked.
    fn write(&mut self, hir: &Hir) -> Option<()> {
        match hir.kind() {
            HirKind::Empty => Some(()),
            HirKind::Literal(literal) => self.push(std::str::from_utf8(&literal.0).ok()?),
            HirKind::Class(class) => {
                let c = plainest(class, self.round)?;
                self.push(c.encode_utf8(&mut [0; 4]))
            }
            HirKind::Look(look) => self.look(*look),
            HirKind::Repetition(repetition) => {
                // Odd rounds take one more than they must where they may.
                let more = (self.round % 2) as u32;
                let most = repetition.max.unwrap_or(u32::MAX);
                for _ in 0..repetition.min.saturating_add(more).min(most) {
                    self.write(&repetition.sub)?;
                }
                Some(())
            }
            HirKind::Capture(capture) => self.write(&capture.sub),
            HirKind::Concat(parts) => parts.iter().try_for_each(|part| self.write(part)),
            HirKind::Alternation(parts) => {
                // An alternative may not fit where it stands (`(^|/)x`); then the next does.
                for turn in 0..parts.len() {
                    let before = (self.text.len(), self.starts, self.ends);
                    let part = parts.get((self.round / 2 + turn) % parts.len())?;
                    if self.write(part).is_some() {
                        return Some(());
                    }
                    self.text.truncate(before.0);
                    (self.starts, self.ends) = (before.1, before.2);
                }
                None
            }
        }
    }

    fn push(&mut self, text: &str) -> Option<()> {
        if self.ends || self.text.len() + text.len() > SAMPLE_BYTES_MAX {
            return None;
        }
        self.text.push_str(text);
        Some(())
    }

    fn look(&mut self, look: Look) -> Option<()> {
        match look {
            Look::Start if self.text.is_empty() => self.starts = true,
            Look::Start => return None,
            Look::End => self.ends = true,
            Look::StartLF | Look::StartCRLF => match self.text.chars().last() {
                None => self.starts = true,
                Some('\n') => {}
                Some(_) => return None,
            },
            // More may follow on another line, but nothing is as plain as nothing.
            Look::EndLF | Look::EndCRLF => self.ends = true,
            // Boundaries of words are left to luck: samples are evaluated.
            _ => {}
        }
        Some(())
    }
}

/// Characters in the order of taste.
const PLAIN: &str = "axe01bcdfghijklmnopqrstuvwyz23456789ABCDEFGHIJKLMNOPQRSTUVWXYZ -_./\\:;,=+%@#&()[]{}<>'\"`^~$*?|!";

fn plainest(class: &Class, round: usize) -> Option<char> {
    let ranges: Vec<(char, char)> = match class {
        Class::Unicode(class) => class.iter().map(|range| (range.start(), range.end())).collect(),
        Class::Bytes(class) => class
            .iter()
            .filter(|range| range.start().is_ascii())
            .map(|range| (char::from(range.start()), char::from(range.end().min(0x7F))))
            .collect(),
    };
    let within = |c: &char| ranges.iter().any(|(start, end)| (start..=end).contains(&c));
    let plain: Vec<char> = PLAIN.chars().filter(within).collect();
    match plain.len() {
        0 => ranges.first().map(|(start, _)| *start),
        len => plain.get(round / 2 % len.min(4)).copied(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_sample_is_the_plainest() {
        let check = |source: &str, expected: &str| {
            let regex = Regex {
                source: source.to_owned(),
                ignore_case: false,
                multi_line: false,
                dot_all: false,
            };
            let shown = samples(&regex).first().map(|sample| {
                let mark = |at: bool, mark: &'static str| if at { mark } else { "" };
                format!("{}{}{}", mark(sample.starts, "^"), sample.text, mark(sample.ends, "$"))
            });
            assert_eq!(shown.as_deref().unwrap_or("none"), expected, "{source}");
        };
        check("a+b?c*", "a");
        check(r"(?i)\\(venv|python(.+)?)\\lib\\", r"\venv\lib\");
        check(r"[0-9]{1,3}\.[0-9]{2}", "0.00");
        check("(^|/)run$", "^run$");
        check("x(^|/)run", "x/run");
        check("[^/]{3}$", "aaa$");
        check("x^", "none");
        check("[[:^ascii:]]", "\u{80}");
    }
}
