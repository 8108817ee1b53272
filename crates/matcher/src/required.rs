//! What a text must contain for a regular expression to match it.
//!
//! Running an expression costs a hundred times what finding a literal does. Nearly every one that
//! a rule uses has some literal that any match contains (`IEX` in `\bIEX\b.{1,30}http`), so the
//! expression is run only where one was found. All is said of the lower-cased text, in which the
//! literals of all expressions and patterns are searched at once.

use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind};
use sigma::expr::Regex;

use crate::common;
use crate::text::{lower, lower_char};

/// The most literals of which one must be there; an expression that needs more is treated as if
/// nothing were known.
const LITERALS_MAX: usize = 64;
/// The most texts that a part is spelled out to.
const SPELLED_OUT_MAX: usize = 16;
/// The most characters of a class that is spelled out.
const CLASS_CHARS_MAX: u32 = 12;

/// Lower-cased literals: whenever the expression matches a text, the lower-cased text contains at
/// least one of them. `None`: nothing useful is known.
pub(crate) fn literals(regex: &Regex) -> Option<Vec<String>> {
    let hir = ParserBuilder::new()
        .case_insensitive(regex.ignore_case)
        .multi_line(regex.multi_line)
        .dot_matches_new_line(regex.dot_all)
        .build()
        .parse(&regex.source)
        .ok()?;
    let known = walk(&hir);
    better(known.exact, known.required).filter(|literals| usable(literals))
}

/// What is known of the lower-cased texts that a part matches.
#[derive(Debug, Default)]
struct Known {
    /// All of them.
    exact: Option<Vec<String>>,
    /// Texts of which each of them contains at least one.
    required: Option<Vec<String>>,
}

impl Known {
    fn exactly(texts: Vec<String>) -> Known {
        Known { exact: Some(texts), required: None }
    }

    fn best(self) -> Option<Vec<String>> {
        better(self.exact, self.required)
    }
}

fn walk(hir: &Hir) -> Known {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Known::exactly(vec![String::new()]),
        HirKind::Literal(literal) => match std::str::from_utf8(&literal.0) {
            Ok(text) => Known::exactly(vec![lower(text)]),
            Err(_) => Known::default(),
        },
        HirKind::Class(class) => Known { exact: class_texts(class), required: None },
        HirKind::Capture(capture) => walk(&capture.sub),
        HirKind::Repetition(repetition) => {
            let sub = walk(&repetition.sub);
            match (repetition.min, repetition.max) {
                (1, Some(1)) => sub,
                (0, Some(1)) => match sub.exact {
                    Some(mut texts) if texts.len() < SPELLED_OUT_MAX => {
                        texts.push(String::new());
                        Known::exactly(texts)
                    }
                    _ => Known::default(),
                },
                (0, _) => Known::default(),
                _ => Known { exact: None, required: sub.best() },
            }
        }
        HirKind::Concat(parts) => concat(parts),
        HirKind::Alternation(parts) => alternation(parts),
    }
}

fn class_texts(class: &Class) -> Option<Vec<String>> {
    let Class::Unicode(class) = class else { return None };
    let chars: u32 = class
        .ranges()
        .iter()
        .map(|range| u32::from(range.end()) - u32::from(range.start()) + 1)
        .fold(0, u32::saturating_add);
    if chars == 0 || chars > CLASS_CHARS_MAX {
        return None;
    }
    let mut texts: Vec<String> = class
        .ranges()
        .iter()
        .flat_map(|range| range.start()..=range.end())
        .map(|c| lower_char(c).to_string())
        .collect();
    texts.sort();
    texts.dedup();
    Some(texts)
}

/// Neighbours that are known exactly are joined as far as they stay few; the best of the joined
/// runs and of what single parts require is what the whole requires.
fn concat(parts: &[Hir]) -> Known {
    let mut run = vec![String::new()];
    let mut whole = true;
    let mut required: Option<Vec<String>> = None;
    for part in parts {
        let known = walk(part);
        match known.exact {
            Some(texts) if run.len() * texts.len() <= SPELLED_OUT_MAX => {
                run = run
                    .iter()
                    .flat_map(|before| texts.iter().map(move |after| format!("{before}{after}")))
                    .collect();
            }
            Some(texts) => {
                whole = false;
                required = better(required, Some(std::mem::replace(&mut run, texts)));
            }
            None => {
                whole = false;
                let ended = std::mem::replace(&mut run, vec![String::new()]);
                required = better(better(required, Some(ended)), known.required);
            }
        }
    }
    if whole {
        return Known::exactly(run);
    }
    Known { exact: None, required: better(required, Some(run)) }
}

fn alternation(parts: &[Hir]) -> Known {
    let known: Vec<Known> = parts.iter().map(walk).collect();
    let spelled_out: usize =
        known.iter().map(|one| one.exact.as_ref().map_or(usize::MAX / 8, Vec::len)).sum();
    if spelled_out <= SPELLED_OUT_MAX {
        return Known::exactly(known.into_iter().filter_map(|one| one.exact).flatten().collect());
    }
    let mut all = Vec::new();
    for one in known {
        match one.best() {
            Some(texts) if usable(&texts) => all.extend(texts),
            _ => return Known::default(),
        }
    }
    Known { exact: None, required: (all.len() <= LITERALS_MAX).then_some(all) }
}

/// Whether something is known at all.
fn usable(literals: &[String]) -> bool {
    !literals.is_empty()
        && literals.len() <= LITERALS_MAX
        && literals.iter().all(|literal| common::tells_enough(literal.as_bytes()))
}

/// The set that fewer texts contain one of.
fn better(one: Option<Vec<String>>, other: Option<Vec<String>>) -> Option<Vec<String>> {
    let weight = |set: &Vec<String>| {
        if usable(set) {
            set.iter().map(|literal| common::contained(literal.as_bytes())).sum()
        } else {
            f64::INFINITY
        }
    };
    match (one, other) {
        (Some(one), Some(other)) => Some(if weight(&other) < weight(&one) { other } else { one }),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn required_literals() {
        let check = |source: &str, ignore_case: bool, expected: &[&str]| {
            let regex =
                Regex { source: source.to_owned(), ignore_case, multi_line: false, dot_all: false };
            let found = literals(&regex).unwrap_or_default();
            assert_eq!(found, expected, "{source}");
        };
        check(r"\bIEX\b.{1,30}http", false, &["http"]);
        check(r"a.*Windows[0-9]+", false, &["windows"]);
        check(r"(foo1|BAR2)baz", false, &["foo1baz", "bar2baz"]);
        check(r"x*y?", false, &[]);
        check(r"(abcd|e)", false, &[]);
        check(r"(?:abcd|.*efgh)z+", false, &["abcd", "efgh"]);
        check(r"^(xyzw)+$", false, &["xyzw"]);
        check(r"[a-z]{3}", false, &[]);
        check(r"power\s+kel", true, &["power"]);
        // `ſ` is an `s` to the expression but not to lower-casing.
        check(r"shell", true, &["shell", "ſhell"]);
        check(r"colou?r", false, &["colour", "color"]);
        check(r"\w+`(?:\w|-)`\w", false, &["`"]);
    }
}
