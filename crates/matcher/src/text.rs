//! Letter case and wildcards, once for everybody.
//!
//! "Case does not count" means Unicode *simple* lower-casing of both sides: one character becomes
//! one character, so a `?` still stands for one character of the original. Full lower-casing
//! differs for one letter only (`İ` would become two).

use memchr::memmem::Finder;
use sigma::expr::{Pattern, Piece};

/// Unicode simple lower-casing of one character.
pub(crate) fn lower_char(c: char) -> char {
    if c.is_ascii() { c.to_ascii_lowercase() } else { c.to_lowercase().next().unwrap_or(c) }
}

/// Unicode simple lower-casing of a text.
pub(crate) fn lower(text: &str) -> String {
    text.chars().map(lower_char).collect()
}

/// Appends a text lower-cased.
pub(crate) fn push_lower(text: &str, out: &mut Vec<u8>) {
    let start = out.len();
    let highest = match text.len() {
        16.. => push_ascii_lower::<16>(text.as_bytes(), out),
        4.. => push_ascii_lower::<4>(text.as_bytes(), out),
        _ => push_ascii_lower::<1>(text.as_bytes(), out),
    };
    // Below U+00C0, among them signs that stand in many names (`®`), only ASCII letters have two
    // cases. The bytes from which on characters begin that are above it are 0xC3 and up.
    if highest < 0xC3 {
        return;
    }
    out.truncate(start);
    let mut room = [0; 4];
    for c in text.chars() {
        out.extend_from_slice(lower_char(c).encode_utf8(&mut room).as_bytes());
    }
}

/// Appends a text of at least `BLOCK` bytes with its ASCII letters lower-cased, and tells the highest
/// byte in it. In blocks of one size, the last of which may begin within the one before: no loop
/// has a rest to see to, and most values are short.
fn push_ascii_lower<const BLOCK: usize>(text: &[u8], out: &mut Vec<u8>) -> u8 {
    let mut highest = [0; BLOCK];
    let mut push = |block: &[u8; BLOCK], out: &mut Vec<u8>| {
        highest.iter_mut().zip(block).for_each(|(most, byte)| *most = u8::max(*most, *byte));
        let mut block = *block;
        block.make_ascii_lowercase();
        out.extend_from_slice(&block);
    };
    out.reserve(text.len());
    let (blocks, rest) = text.as_chunks::<BLOCK>();
    for block in blocks {
        push(block, out);
    }
    if !rest.is_empty()
        && let Some(last) = text.last_chunk()
    {
        out.truncate(out.len() + rest.len() - BLOCK);
        push(last, out);
    }
    highest.into_iter().max().unwrap_or_default()
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
    Literal(Box<Finder<'static>>),
    One,
    Any,
}

impl GlobPiece {
    fn literal(text: &str) -> GlobPiece {
        GlobPiece::Literal(Box::new(Finder::new(text).into_owned()))
    }
}

impl Glob {
    /// `anywhere`: the pattern may match within the text, as a keyword does.
    pub(crate) fn new(pattern: &Pattern, anywhere: bool) -> Glob {
        let mut pieces = Vec::with_capacity(pattern.pieces.len() + 2);
        if anywhere {
            pieces.push(GlobPiece::Any);
        }
        pieces.extend(pattern.pieces.iter().map(|piece| match piece {
            Piece::Literal(text) if pattern.cased => GlobPiece::literal(text),
            Piece::Literal(text) => GlobPiece::literal(&lower(text)),
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
            GlobPiece::Literal(literal) => size_of::<Finder<'_>>() + literal.needle().len(),
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
                    let literal = literal.needle();
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
                let Some(found) = literal.find(rest) else { return false };
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
    fn texts_of_any_length_are_lower_cased() {
        let mut text = String::new();
        for c in "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789\\®ª\u{B5}\u{BF}ÀÄbC\u{212A}x".chars() {
            let mut out = b"-".to_vec();
            push_lower(&text, &mut out);
            assert_eq!(out[1..], *lower(&text).as_bytes());
            text.push(c);
        }
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
