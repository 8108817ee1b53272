//! Where records begin and end in the bytes of a file: plain functions over a slice.
//!
//! The slice always begins where a record does, so nothing is kept between two looks at a file. What
//! is not complete is read again when the file has more.

use std::borrow::Cow;

use super::settings::Rules;
use crate::files::Wide;

/// What follows the bytes that are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// More bytes, which are there already.
    More,
    /// The end of a file that may grow.
    Open,
    /// The end of a file that was quiet for so long that its last whole lines are a record.
    Quiet,
    /// The end of a file of which nothing more is expected.
    Last,
}

/// What stands at the beginning of a slice.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cut<'a> {
    /// A record without its line end, which takes so many bytes.
    Record { taken: usize, text: &'a [u8] },
    /// So many bytes that are nothing: a blank line, or a hole.
    Nothing { taken: usize },
    /// A line over the limit. `is_open` when its end is not among the bytes taken.
    TooLong { taken: usize, is_open: bool },
    /// Nothing that is complete.
    Incomplete,
}

/// Takes one record.
///
/// It is never [`Cut::Incomplete`] where `bytes` has more than `rules.bytes_max` and
/// [`LINE_END_BYTES_MAX`].
pub(super) fn cut<'a>(bytes: &'a [u8], rules: &Rules, wide: Option<Wide>, end: End) -> Cut<'a> {
    let bytes = match wide {
        // Half a character is not looked at.
        Some(_) => bytes.get(..bytes.len() & !1).unwrap_or_default(),
        None => bytes,
    };
    if wide.is_none() && bytes.first() == Some(&0) {
        return hole(bytes, end);
    }
    let bytes_max = match wide {
        // Two bytes become up to three.
        Some(_) => (rules.bytes_max / 3 * 2).max(2),
        None => rules.bytes_max,
    };
    let (mut lines, mut text_end, mut taken) = (0, 0, 0);
    loop {
        let Some((line_end, next)) = line_end(bytes, taken, wide) else {
            let open = bytes.get(taken..).unwrap_or_default();
            if bytes.len() > bytes_max {
                if lines > 0 {
                    break;
                }
                return Cut::TooLong { taken: bytes.len(), is_open: true };
            }
            match end {
                End::Last if !open.is_empty() && (lines == 0 || !starts(open, rules, wide)) => {
                    (text_end, taken) = (bytes.len(), bytes.len());
                }
                End::Last | End::Quiet if lines > 0 => {}
                _ => return Cut::Incomplete,
            }
            break;
        };
        let line = bytes.get(taken..line_end).unwrap_or_default();
        if lines > 0 && (line_end > bytes_max || starts(line, rules, wide)) {
            break;
        }
        if line_end > bytes_max {
            return Cut::TooLong { taken: next, is_open: false };
        }
        (text_end, taken) = (line_end, next);
        lines += 1;
        if rules.start.is_none() || lines >= rules.lines_max {
            break;
        }
    }
    let text = trim_return(bytes.get(..text_end).unwrap_or_default(), wide);
    if is_blank(text, wide) { Cut::Nothing { taken } } else { Cut::Record { taken, text } }
}

/// The most bytes of a line end.
pub(super) const LINE_END_BYTES_MAX: usize = 4;

/// How many bytes of a byte order mark a file begins with.
pub(super) fn mark_bytes(head: &[u8]) -> usize {
    if head.starts_with(b"\xef\xbb\xbf") {
        3
    } else if Wide::of(head).is_some() {
        2
    } else {
        0
    }
}

/// Where the line that `bytes` are in the middle of has ended.
pub(super) fn after_line(bytes: &[u8], wide: Option<Wide>) -> Option<usize> {
    line_end(bytes, 0, wide).map(|(_, next)| next)
}

/// The text as UTF-8, where it is UTF-16; other bytes stay as they are.
pub(super) fn narrow(text: &[u8], wide: Option<Wide>) -> Cow<'_, [u8]> {
    let Some(order) = wide else { return Cow::Borrowed(text) };
    let units = text.chunks_exact(2).map(|unit| match (order, unit) {
        (Wide::Little, &[low, high]) | (Wide::Big, &[high, low]) => u16::from_be_bytes([high, low]),
        _ => 0,
    });
    let text: String =
        char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    Cow::Owned(text.into_bytes())
}

/// The next line's end without its `\n`, and behind it.
fn line_end(bytes: &[u8], from: usize, wide: Option<Wide>) -> Option<(usize, usize)> {
    let mut at = from;
    loop {
        let found = at + memchr::memchr(b'\n', bytes.get(at..)?)?;
        match wide {
            None => return Some((found, found + 1)),
            Some(Wide::Little) if found.is_multiple_of(2) && bytes.get(found + 1) == Some(&0) => {
                return Some((found, found + 2));
            }
            Some(Wide::Big) if !found.is_multiple_of(2) && bytes.get(found - 1) == Some(&0) => {
                return Some((found - 1, found + 1));
            }
            Some(_) => at = found + 1,
        }
    }
}

/// Zeros before a line: what a writer leaves that goes on at its old place after the file was
/// emptied. Zeros at the very end may be a page that is still being written.
fn hole(bytes: &[u8], end: End) -> Cut<'_> {
    match bytes.iter().position(|&byte| byte != 0) {
        Some(taken) => Cut::Nothing { taken },
        None if end == End::More => Cut::Nothing { taken: bytes.len() },
        None => Cut::Incomplete,
    }
}

fn starts(line: &[u8], rules: &Rules, wide: Option<Wide>) -> bool {
    rules.start.as_ref().is_none_or(|start| start.is_match(&narrow(line, wide)))
}

fn trim_return(text: &[u8], wide: Option<Wide>) -> &[u8] {
    let ending: &[u8] = match wide {
        None => b"\r",
        Some(Wide::Little) => b"\r\0",
        Some(Wide::Big) => b"\0\r",
    };
    text.strip_suffix(ending).unwrap_or(text)
}

fn is_blank(text: &[u8], wide: Option<Wide>) -> bool {
    match wide {
        None => text.trim_ascii().is_empty(),
        Some(_) => text.iter().all(|byte| *byte == 0 || byte.is_ascii_whitespace()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(start: &str, lines_max: usize, bytes_max: usize) -> Rules {
        let start = (!start.is_empty()).then(|| regex::bytes::Regex::new(start).unwrap());
        Rules { start, lines_max, bytes_max }
    }

    /// All that can be cut, with what is left.
    fn all(text: &[u8], rules: &Rules, end: End) -> String {
        let (mut rest, mut out) = (text, String::new());
        let wide = Wide::of(text);
        if wide.is_some() {
            rest = &text[2..];
        }
        loop {
            match cut(rest, rules, wide, end) {
                Cut::Record { taken, text } => {
                    out.push_str(&format!("[{}]", narrow(text, wide).escape_ascii()));
                    rest = &rest[taken..];
                }
                Cut::Nothing { taken } => rest = &rest[taken..],
                Cut::TooLong { taken, is_open } => {
                    out.push_str(if is_open { "<long...>" } else { "<long>" });
                    rest = &rest[taken..];
                }
                Cut::Incomplete => return out + &rest.escape_ascii().to_string(),
            }
        }
    }

    #[test]
    fn lines() {
        let lines = rules("", 9, 10);
        assert_eq!(all(b"a\nb\r\n\n \r\nc", &lines, End::Open), "[a][b]c");
        assert_eq!(all(b"a\nb\r\n\n \r\nc", &lines, End::Last), "[a][b][c]");
        assert_eq!(all(b"0123456789\n", &lines, End::Open), "[0123456789]");
        assert_eq!(all(b"01234567890\na\n", &lines, End::Open), "<long>[a]");
        assert_eq!(all(b"01234567890", &lines, End::Open), "<long...>");
        assert_eq!(all(b"a\n\0\0\0b\n\0\0", &lines, End::Open), "[a][b]\\x00\\x00");
        assert_eq!(all(b"a\n\0\0", &lines, End::More), "[a]");
        assert_eq!(all(b"a\xff\n", &lines, End::More), "[a\\xff]");
    }

    #[test]
    fn several_lines() {
        let dated = rules("^[0-9]", 3, 12);
        assert_eq!(all(b" x\n1 a\n b\n2 c\n d\n", &dated, End::Open), "[ x][1 a\\n b]2 c\\n d\\n");
        assert_eq!(all(b"1 a\n b\n2 c\n d\n e", &dated, End::Quiet), "[1 a\\n b][2 c\\n d] e");
        assert_eq!(all(b"1 a\n b", &dated, End::Last), "[1 a\\n b]");
        assert_eq!(all(b"1 a\n2 b", &dated, End::Last), "[1 a][2 b]");
        // Bounded in lines and in bytes.
        assert_eq!(
            all(b"1\n2\n\n \n x\n y\n z\n3\n", &dated, End::Open),
            "[1][2\\n\\n ][ x\\n y\\n z]3\\n"
        );
        assert_eq!(all(b"1\n aaaaaa\n bbbbbb\n", &dated, End::Quiet), "[1\\n aaaaaa][ bbbbbb]");
        assert_eq!(all(b"1\n aaaaaa\n bbbbbb", &dated, End::Open), "[1\\n aaaaaa] bbbbbb");
    }

    #[test]
    fn wide_lines() {
        // U+0A0A has the bytes of a line end, and U+0D00 those of a return.
        let text = "\u{feff}a\u{a0a}\u{d00}\r\n\r\nJ\u{f6}rg\nb";
        for big in [false, true] {
            let bytes: Vec<u8> = text
                .encode_utf16()
                .flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() })
                .collect();
            let lines = rules("", 9, 100);
            let expected = "[a\\xe0\\xa8\\x8a\\xe0\\xb4\\x80][J\\xc3\\xb6rg]";
            let rest = if big { "\\x00b" } else { "b\\x00" };
            assert_eq!(all(&bytes, &lines, End::Open), format!("{expected}{rest}"));
            assert_eq!(all(&bytes, &lines, End::Last), format!("{expected}[b]"));
        }
    }
}
