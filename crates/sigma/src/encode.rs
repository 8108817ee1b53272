//! The encodings a value can be searched in: Base64 at three alignments, UTF-16, Windows dashes.
//!
//! Each turns one text into the texts that stand for it in a log. Base64 is written here rather
//! than taken from a crate, because what matters is the part of it that stays the same wherever
//! the value stands, which no crate offers.

use crate::expr::Piece;

/// The characters that Windows programs take as the beginning of an option.
pub(crate) const DASHES: [char; 5] = ['-', '/', '–', '—', '―'];
/// The same as a class of a regular expression.
pub(crate) const DASH_CLASS: &str = "[-/–—―]";

/// Standard Base64, padded.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for position in 0..4 {
            let sextet = (bits >> (18 - 6 * position)) & 63;
            match position <= chunk.len() {
                true => out.push(char::from(ALPHABET[sextet as usize])),
                false => out.push('='),
            }
        }
    }
    out
}

/// What stays the same of a value's Base64 form wherever it stands in a longer encoded text: one
/// for each of the three alignments. A value of fewer than three bytes has alignments at which
/// nothing stays the same; those come out empty.
pub(crate) fn base64_offsets(bytes: &[u8]) -> [String; 3] {
    [0, 1, 2].map(|shift| {
        let mut shifted = vec![b' '; shift];
        shifted.extend_from_slice(bytes);
        let encoded = base64(&shifted);
        // A character is fixed when all of its six bits are of the value.
        let first = (shift * 8).div_ceil(6);
        let end = shifted.len() * 8 / 6;
        encoded.get(first..end.max(first)).unwrap_or_default().to_owned()
    })
}

/// UTF-16, little endian.
pub(crate) fn utf16_le(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// UTF-16, big endian.
pub(crate) fn utf16_be(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

/// Whether the character begins an option: a dash with no word before it and a word after it.
pub(crate) fn is_option_dash(characters: &[char], index: usize) -> bool {
    let is_word = |c: &char| c.is_alphanumeric() || *c == '_';
    let before = index.checked_sub(1).and_then(|before| characters.get(before));
    characters.get(index).is_some_and(|c| DASHES.contains(c))
        && !before.is_some_and(is_word)
        && characters.get(index + 1).is_some_and(is_word)
}

/// Every way to write the option dashes of a pattern, or `None` when there are more than `most`.
pub(crate) fn windash(pieces: &[Piece], most: usize) -> Option<Vec<Vec<Piece>>> {
    let mut variants: Vec<Vec<Piece>> = vec![Vec::new()];
    for piece in pieces {
        let Piece::Literal(text) = piece else {
            for variant in &mut variants {
                variant.push(piece.clone());
            }
            continue;
        };
        let characters: Vec<char> = text.chars().collect();
        let mut texts = vec![String::new()];
        for (index, c) in characters.iter().enumerate() {
            if !is_option_dash(&characters, index) {
                texts.iter_mut().for_each(|text| text.push(*c));
                continue;
            }
            if texts.len() * DASHES.len() * variants.len() > most {
                return None;
            }
            texts =
                texts.iter().flat_map(|text| DASHES.map(|dash| format!("{text}{dash}"))).collect();
        }
        variants = variants
            .iter()
            .flat_map(|variant| {
                texts.iter().map(|text| {
                    let mut variant = variant.clone();
                    variant.push(Piece::Literal(text.clone()));
                    variant
                })
            })
            .collect();
    }
    Some(variants)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern;

    #[test]
    fn base64_as_in_the_rfc() {
        let check = |text: &str, expected| assert_eq!(base64(text.as_bytes()), expected);
        check("", "");
        check("f", "Zg==");
        check("fo", "Zm8=");
        check("foo", "Zm9v");
        check("foobar", "Zm9vYmFy");
    }

    #[test]
    fn one_of_the_offsets_is_found_wherever_the_value_stands() {
        let value = b"http://";
        let offsets = base64_offsets(value);
        assert_eq!(offsets, ["aHR0cDovL", "h0dHA6Ly", "odHRwOi8v"]);
        for before in 0..7 {
            for after in 0..4 {
                let mut text = vec![b'x'; before];
                text.extend_from_slice(value);
                text.extend(std::iter::repeat_n(b'y', after));
                assert!(base64(&text).contains(&offsets[before % 3]), "{before} {after}");
            }
        }
    }

    #[test]
    fn utf16() {
        assert_eq!(utf16_le("cmd"), b"c\0m\0d\0");
        assert_eq!(utf16_be("cmd"), b"\0c\0m\0d");
    }

    #[test]
    fn dashes() {
        let forms = |text: &str, most| {
            let variants = windash(&pattern::pieces(text), most)?;
            let display = |pieces| crate::expr::Pattern { pieces, cased: false }.to_string();
            Some(variants.into_iter().map(display).collect::<Vec<_>>())
        };
        assert_eq!(forms(" -f", 125).unwrap(), [" -f", " /f", " –f", " —f", " ―f"]);
        assert_eq!(forms("a-b", 125).unwrap(), ["a-b"]);
        assert_eq!(forms("* -a*/b", 125).unwrap().len(), 25);
        assert_eq!(forms("-a -b -c -d", 125), None);
    }
}
