//! Letter case and wildcards, once for everybody.
//!
//! "Case does not count" means Unicode *simple* lower-casing of both sides: one character becomes
//! one character, so a `?` still stands for one character of the original. Full lower-casing
//! differs for one letter only (`İ` would become two).

use sigma::expr::{Pattern, Piece};

/// Unicode simple lower-casing of one character.
pub(crate) fn lower_char(c: char) -> char {
    if c.is_ascii() { c.to_ascii_lowercase() } else { c.to_lowercase().next().unwrap_or(c) }
}

/// Unicode simple lower-casing of a text.
pub(crate) fn lower(text: &str) -> String {
    text.chars().map(lower_char).collect()
}

/// Appends a text lower-cased; the common case, ASCII, is one copy and one vectorised pass.
pub(crate) fn push_lower(text: &str, out: &mut Vec<u8>) {
    let start = out.len();
    if text.is_ascii() {
        out.extend_from_slice(text.as_bytes());
        out[start..].make_ascii_lowercase();
        return;
    }
    let mut room = [0; 4];
    for c in text.chars() {
        out.extend_from_slice(lower_char(c).encode_utf8(&mut room).as_bytes());
    }
}

/// Appends a whole number in decimal.
pub(crate) fn push_number(negative: bool, magnitude: u64, out: &mut Vec<u8>) {
    if negative {
        out.push(b'-');
    }
    let start = out.len();
    let mut rest = magnitude;
    loop {
        out.push(b'0' + (rest % 10) as u8);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out[start..].reverse();
}

/// A pattern prepared for matching: literals in the letter case that is compared.
#[derive(Debug, Clone)]
pub(crate) struct Glob {
    pieces: Vec<GlobPiece>,
}

#[derive(Debug, Clone)]
enum GlobPiece {
    Literal(Vec<u8>),
    One,
    Any,
}

impl Glob {
    /// `anywhere`: the pattern may match within the text, as a keyword does.
    pub(crate) fn new(pattern: &Pattern, anywhere: bool) -> Glob {
        let mut pieces = Vec::with_capacity(pattern.pieces.len() + 2);
        if anywhere {
            pieces.push(GlobPiece::Any);
        }
        pieces.extend(pattern.pieces.iter().map(|piece| match piece {
            Piece::Literal(text) if pattern.cased => GlobPiece::Literal(text.clone().into_bytes()),
            Piece::Literal(text) => GlobPiece::Literal(lower(text).into_bytes()),
            Piece::One => GlobPiece::One,
            Piece::Any => GlobPiece::Any,
        }));
        if anywhere {
            pieces.push(GlobPiece::Any);
        }
        Glob { pieces }
    }

    /// How much memory it takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let inner = |piece: &GlobPiece| match piece {
            GlobPiece::Literal(text) => text.len(),
            GlobPiece::One | GlobPiece::Any => 0,
        };
        self.pieces.iter().map(|piece| size_of::<GlobPiece>() + inner(piece)).sum()
    }

    /// Whether the whole text matches. The text is UTF-8 in the letter case of the pattern.
    ///
    /// On a mismatch only the last `*` is tried further on: an earlier one that took more would
    /// leave no more to the rest. So the time is at most the product of the two lengths.
    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        let (mut at, mut piece) = (0, 0);
        // Where to go on after a mismatch: the piece after the last `*`, and the next place to
        // try it at.
        let mut retry: Option<(usize, usize)> = None;
        loop {
            let fits = match self.pieces.get(piece) {
                Some(GlobPiece::Any) => {
                    piece += 1;
                    if piece == self.pieces.len() {
                        return true;
                    }
                    retry = Some((piece, at));
                    continue;
                }
                Some(GlobPiece::Literal(literal)) => {
                    text.get(at..).filter(|rest| rest.starts_with(literal)).map(|_| literal.len())
                }
                Some(GlobPiece::One) => text.get(at).map(|byte| char_len(*byte)),
                None if at == text.len() => return true,
                None => None,
            };
            if let Some(len) = fits {
                at += len;
                piece += 1;
                continue;
            }
            let Some((after, from)) = retry else { return false };
            let Some(byte) = text.get(from) else { return false };
            let mut next = from + char_len(*byte);
            if let Some(GlobPiece::Literal(literal)) = self.pieces.get(after) {
                let rest = text.get(next..).unwrap_or_default();
                let Some(found) = memchr::memmem::find(rest, literal) else { return false };
                next += found;
            }
            retry = Some((after, next));
            (piece, at) = (after, next);
        }
    }
}

/// The length of a character by its first byte.
fn char_len(first: u8) -> usize {
    match first {
        0..0xC0 => 1,
        0xC0..0xE0 => 2,
        0xE0..0xF0 => 3,
        0xF0.. => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lower_casing_is_one_to_one() {
        assert_eq!(lower("AÇİΣK\u{212A}ẞ"), "açiσkkß");
        let mut out = Vec::new();
        push_lower("AÇİ", &mut out);
        push_lower("XyZ", &mut out);
        assert_eq!(out, "açixyz".as_bytes());
    }

    #[test]
    fn numbers_are_written_as_json() {
        let check = |number: i64, expected: &str| {
            let mut out = Vec::new();
            push_number(number < 0, number.unsigned_abs(), &mut out);
            assert_eq!(out, expected.as_bytes());
        };
        check(0, "0");
        check(-70, "-70");
        check(i64::MIN, "-9223372036854775808");
    }

    #[test]
    fn wildcards_match_whole_texts() {
        let check = |pattern: &str, text: &str, expected: bool| {
            let glob = Glob::new(&Pattern::parse(pattern, false), false);
            assert_eq!(glob.matches(lower(text).as_bytes()), expected, "{pattern} {text}");
        };
        check("", "", true);
        check("", "a", false);
        check("*", "", true);
        check("a*", "ABC", true);
        check("*a*b", "xaxbxb", true);
        check("*a*b", "xaxbx", false);
        check("a?c", "aÇc", true);
        check("a?c", "ac", false);
        check("?", "€", true);
        check("*?b?", "€bé", true);
        check("*aab", "aaab", true);
        check("a*b*c", "abbbbd", false);
        check("*ab?d*", "ababcdx", true);
    }
}
