//! Sigma's texts as patterns: wildcards and their escapes.
//!
//! The specification's rule in one line: a backslash before `*`, `?` or another backslash makes
//! that character plain; before anything else, and at the end, it is a backslash.

use crate::expr::{Pattern, Piece};

/// Reads a Sigma text.
pub(crate) fn pieces(text: &str) -> Vec<Piece> {
    let mut builder = Builder::default();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\\' => match rest.next_if(|next| matches!(next, '*' | '?' | '\\')) {
                Some(escaped) => builder.push_char(escaped),
                None => builder.push_char('\\'),
            },
            '*' => builder.push(Piece::Any),
            '?' => builder.push(Piece::One),
            _ => builder.push_char(c),
        }
    }
    builder.pieces
}

/// One plain text.
pub(crate) fn literal(text: &str) -> Vec<Piece> {
    let mut builder = Builder::default();
    builder.push(Piece::Literal(text.to_owned()));
    builder.pieces
}

/// The text, when it has no wildcard.
pub(crate) fn plain(pieces: &[Piece]) -> Option<&str> {
    match pieces {
        [] => Some(""),
        [Piece::Literal(text)] => Some(text),
        _ => None,
    }
}

/// The pieces between wildcards, as asked.
pub(crate) fn surrounded(before: bool, pieces: Vec<Piece>, after: bool) -> Vec<Piece> {
    let mut builder = Builder::default();
    if before {
        builder.push(Piece::Any);
    }
    for piece in pieces {
        builder.push(piece);
    }
    if after {
        builder.push(Piece::Any);
    }
    builder.pieces
}

/// The pieces without `*` at either end, for what is looked for anywhere.
pub(crate) fn bare(mut pieces: Vec<Piece>) -> Vec<Piece> {
    if pieces.last() == Some(&Piece::Any) {
        pieces.pop();
    }
    if pieces.first() == Some(&Piece::Any) {
        pieces.remove(0);
    }
    pieces
}

/// A regular expression that means the pieces, with `class` in place of each character that it
/// names. A keyword is looked for anywhere, so it has no anchors.
pub(crate) fn regex_source(
    pieces: &[Piece],
    keyword: bool,
    class: impl Fn(&[char], usize) -> Option<&'static str>,
) -> String {
    let open_start = keyword || pieces.first() == Some(&Piece::Any);
    let open_end = keyword || pieces.last() == Some(&Piece::Any);
    let mut source = String::from(if open_start { "" } else { r"\A" });
    for piece in bare(pieces.to_vec()) {
        match piece {
            Piece::Any => source.push_str(".*"),
            Piece::One => source.push('.'),
            Piece::Literal(text) => {
                let characters: Vec<char> = text.chars().collect();
                for (index, c) in characters.iter().enumerate() {
                    match class(&characters, index) {
                        Some(class) => source.push_str(class),
                        None => source.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
                    }
                }
            }
        }
    }
    if !open_end {
        source.push_str(r"\z");
    }
    source
}

impl Pattern {
    /// Reads a Sigma text with its wildcards and escapes.
    pub fn parse(text: &str, cased: bool) -> Pattern {
        Pattern { pieces: pieces(text), cased }
    }
}

impl std::fmt::Display for Pattern {
    /// The shortest Sigma text that means the pattern.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use std::fmt::Write as _;
        for (index, piece) in self.pieces.iter().enumerate() {
            match piece {
                Piece::Any => f.write_char('*')?,
                Piece::One => f.write_char('?')?,
                Piece::Literal(text) => {
                    let wildcard_follows = index + 1 < self.pieces.len();
                    let mut characters = text.chars().peekable();
                    while let Some(c) = characters.next() {
                        let escaped = match c {
                            '*' | '?' => true,
                            '\\' => match characters.peek() {
                                Some(next) => matches!(next, '*' | '?' | '\\'),
                                None => wildcard_follows,
                            },
                            _ => false,
                        };
                        if escaped {
                            f.write_char('\\')?;
                        }
                        f.write_char(c)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Keeps what `Pattern` promises: no empty literal, no two literals or `*` side by side.
#[derive(Default)]
struct Builder {
    pieces: Vec<Piece>,
}

impl Builder {
    fn push_char(&mut self, c: char) {
        match self.pieces.last_mut() {
            Some(Piece::Literal(text)) => text.push(c),
            _ => self.pieces.push(Piece::Literal(c.into())),
        }
    }

    fn push(&mut self, piece: Piece) {
        match (self.pieces.last_mut(), piece) {
            (Some(Piece::Literal(last)), Piece::Literal(text)) => last.push_str(&text),
            (Some(Piece::Any), Piece::Any) => {}
            (_, Piece::Literal(text)) if text.is_empty() => {}
            (_, piece) => self.pieces.push(piece),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> String {
        let form = |piece: &Piece| match piece {
            Piece::Any => "<any>".to_owned(),
            Piece::One => "<one>".to_owned(),
            Piece::Literal(text) => format!("[{text}]"),
        };
        pieces(text).iter().map(form).collect()
    }

    #[test]
    fn escapes_as_specified() {
        assert_eq!(form(""), "");
        assert_eq!(form(r"C:\Windows"), r"[C:\Windows]");
        assert_eq!(form(r"C:\\Windows"), r"[C:\Windows]");
        assert_eq!(form(r"a\*b"), "[a*b]");
        assert_eq!(form(r"a\?b"), "[a?b]");
        assert_eq!(form(r"a\\*b"), r"[a\]<any>[b]");
        assert_eq!(form(r"a\\\*b"), r"[a\*b]");
        assert_eq!(form(r"a\\\b"), r"[a\\b]");
        assert_eq!(form(r"a\\\\b"), r"[a\\b]");
        assert_eq!(form(r"folder\"), r"[folder\]");
        assert_eq!(form("a**b??"), "[a]<any>[b]<one><one>");
    }

    #[test]
    fn display_reads_back_as_the_same() {
        for text in [r"C:\a*", r"\\\\srv\\*", r"a\*b\?c", r"\", r"\\\*", "**", r"a\\?", ""] {
            let pattern = Pattern::parse(text, false);
            assert_eq!(Pattern::parse(&pattern.to_string(), false), pattern, "{text}");
        }
    }
}
