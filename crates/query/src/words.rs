//! Words and case: the one place that says how texts are cut and folded.
//!
//! The index tokenizes with these very functions, so that it and the plain evaluator cannot
//! disagree about what a word is.

/// The most characters of one word. Longer runs (base64, hexadecimal) become several words, so
/// that no part of a text is unsearchable and no term of the index is huge.
pub const WORD_CHARS_MAX: usize = 64;

/// The text with its case folded, character by character.
pub fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    fold_into(text, &mut folded);
    folded
}

/// Like [`fold`], into a buffer that is overwritten.
pub fn fold_into(text: &str, out: &mut String) {
    out.clear();
    if text.is_ascii() {
        out.push_str(text);
        out.make_ascii_lowercase();
    } else {
        // Not `str::to_lowercase`, which folds a final sigma by its context: a part of a text
        // must fold as it does within the whole.
        out.extend(text.chars().flat_map(char::to_lowercase));
    }
}

/// Calls `each` with every word and the range of bytes it was cut from; `buffer` is scratch.
pub fn for_each_word(text: &str, buffer: &mut String, mut each: impl FnMut(&str, usize, usize)) {
    buffer.clear();
    let mut start = 0;
    let mut chars = 0;
    let mut end = 0;
    for (at, c) in text.char_indices() {
        let part = c.is_alphanumeric();
        if chars > 0 && (!part || chars == WORD_CHARS_MAX) {
            each(buffer, start, end);
            buffer.clear();
            chars = 0;
        }
        if !part {
            continue;
        }
        if chars == 0 {
            start = at;
        }
        if c.is_ascii() {
            buffer.push(c.to_ascii_lowercase());
        } else {
            buffer.extend(c.to_lowercase());
        }
        chars += 1;
        end = at + c.len_utf8();
    }
    if chars > 0 {
        each(buffer, start, end);
    }
}

/// The words of a text.
pub fn words(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    for_each_word(text, &mut String::new(), |word, _, _| all.push(word.to_owned()));
    all
}

#[cfg(test)]
mod tests {
    use super::{WORD_CHARS_MAX, fold, words};

    #[test]
    fn texts_are_cut_at_what_is_no_letter_or_digit() {
        assert_eq!(
            words(r"C:\Windows\System32\cmd.exe /c"),
            ["c", "windows", "system32", "cmd", "exe", "c"]
        );
        assert_eq!(words("Überfall_2"), ["überfall", "2"]);
        assert!(words(" -- ").is_empty());
        let long = "x".repeat(WORD_CHARS_MAX + 1);
        assert_eq!(words(&long).iter().map(String::len).collect::<Vec<_>>(), [WORD_CHARS_MAX, 1]);
    }

    #[test]
    fn a_part_folds_as_it_does_within_the_whole() {
        assert_eq!(fold("ΟΔΟΣ"), format!("{}{}", fold("ΟΔΟ"), fold("Σ")));
        assert_eq!(fold("WS-07"), "ws-07");
    }
}
