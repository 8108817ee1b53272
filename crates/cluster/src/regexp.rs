//! Regular expressions in Lucene's language.
//!
//! Ours are read by `regex-syntax`, with the case already dissolved into classes, and written anew:
//! Lucene's have no anchors (the whole value has to match), no classes such as `\b`, and a bound on
//! their length. What cannot be said there is not translated, and the plain evaluator decides.

use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind, Look, Repetition};

/// The longest expression that a cluster takes (`index.max_regex_length`), in characters.
const LENGTH_MAX: usize = 1000;

/// What Lucene reads as an operator, with or without its optional ones.
const SPECIAL: &str = ".?+*|{}[]()\"\\#@&<>~^-";

/// The expression in Lucene's language that holds for the same whole texts in which `pattern` is
/// found; `None` if there is none.
pub(crate) fn translate(pattern: &str) -> Option<String> {
    let hir = ParserBuilder::new().case_insensitive(true).build().parse(pattern).ok()?;
    let mut parts: &[Hir] = match hir.kind() {
        HirKind::Concat(parts) => parts,
        _ => std::slice::from_ref(&hir),
    };
    let mut written = String::new();
    match parts.split_first() {
        Some((first, rest)) if *first.kind() == HirKind::Look(Look::Start) => parts = rest,
        _ => written.push_str(".*"),
    }
    let is_closed = match parts.split_last() {
        Some((last, rest)) if *last.kind() == HirKind::Look(Look::End) => {
            parts = rest;
            true
        }
        _ => false,
    };
    for part in parts {
        write(part, &mut written)?;
    }
    if !is_closed {
        written.push_str(".*");
    }
    // An empty expression would mean something else there.
    (!written.is_empty() && written.chars().count() <= LENGTH_MAX).then_some(written)
}

fn write(hir: &Hir, into: &mut String) -> Option<()> {
    match hir.kind() {
        HirKind::Empty => into.push_str("()"),
        HirKind::Literal(literal) => {
            std::str::from_utf8(&literal.0).ok()?.chars().for_each(|c| character(c, into));
        }
        HirKind::Class(class) => write_class(class, into)?,
        HirKind::Look(_) => return None,
        HirKind::Repetition(repetition) => write_repetition(repetition, into)?,
        HirKind::Capture(capture) => write_group(&capture.sub, into)?,
        HirKind::Concat(parts) => parts.iter().try_for_each(|part| write(part, into))?,
        HirKind::Alternation(parts) => {
            into.push('(');
            for (n, part) in parts.iter().enumerate() {
                into.push_str(if n > 0 { "|" } else { "" });
                write(part, into)?;
            }
            into.push(')');
        }
    }
    // Long before a bomb of nested repetitions is written out.
    (into.len() <= 4 * LENGTH_MAX).then_some(())
}

fn write_group(hir: &Hir, into: &mut String) -> Option<()> {
    into.push('(');
    write(hir, into)?;
    into.push(')');
    Some(())
}

fn write_repetition(repetition: &Repetition, into: &mut String) -> Option<()> {
    write_group(&repetition.sub, into)?;
    match (repetition.min, repetition.max) {
        (0, None) => into.push('*'),
        (1, None) => into.push('+'),
        (0, Some(1)) => into.push('?'),
        (min, None) => into.push_str(&format!("{{{min},}}")),
        (min, Some(max)) => into.push_str(&format!("{{{min},{max}}}")),
    }
    Some(())
}

fn write_class(class: &Class, into: &mut String) -> Option<()> {
    let Class::Unicode(class) = class else { return None };
    let mut class = class.clone();
    let mut ranges = class.ranges().to_vec();
    into.push('[');
    let reaches_the_end = ranges.last().is_some_and(|range| range.end() == char::MAX);
    if reaches_the_end {
        class.negate();
        ranges = class.ranges().to_vec();
        into.push('^');
    }
    if ranges.is_empty() {
        if !reaches_the_end {
            // A class of nothing.
            return None;
        }
        // Any character at all.
        into.truncate(into.len() - "[^".len());
        into.push('.');
        return Some(());
    }
    for range in ranges {
        character(range.start(), into);
        if range.end() > range.start() {
            into.push('-');
            character(range.end(), into);
        }
    }
    into.push(']');
    Some(())
}

fn character(c: char, into: &mut String) {
    if SPECIAL.contains(c) {
        into.push('\\');
    }
    into.push(c);
}

#[cfg(test)]
mod tests {
    use super::translate;

    #[test]
    fn expressions_are_written_in_lucenes_language() {
        for (ours, lucenes) in [
            ("^a", Some("[Aa].*")),
            ("exe$", Some(".*[Ee][Xx][Ee]")),
            ("^4[0-9]{2}$", Some("4([0-9]){2,2}")),
            (r"\.(vbs|1)$", Some(r".*\.(([Vv][Bb][Ss\u{17f}]|1))")),
            ("1.*2", Some("1([^\n])*2")),
            (r"\b1", None),
            ("(?m)^1", None),
            ("^$", None),
            (r"\w", None),
        ] {
            let lucenes = lucenes.map(|text| text.replace(r"\u{17f}", "\u{17f}"));
            let lucenes = match ours {
                "1.*2" => lucenes.map(|text| format!(".*{text}.*")),
                _ => lucenes,
            };
            assert_eq!(translate(ours), lucenes, "{ours}");
        }
    }
}
