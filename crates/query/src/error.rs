//! What is wrong with a query, and where.

use std::fmt;

/// A query that cannot be read. [`ParseError::render`] shows it with a caret under the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// What is wrong.
    pub message: String,
    /// The column, from 1, counted in characters.
    pub column: usize,
    /// How many characters from there are meant; at least one.
    pub length: usize,
    /// What may have been meant, or what to write instead.
    pub help: Option<String>,
    /// What to write instead of these characters, if that is known.
    pub suggestion: Option<String>,
    /// The whole query.
    pub text: String,
}

/// The most characters of a query that an error shows around the place.
const SHOWN_CHARS_MAX: usize = 120;

impl ParseError {
    pub(crate) fn new(text: &str, at: usize, message: impl Into<String>) -> Self {
        ParseError {
            message: message.into(),
            column: at + 1,
            length: 1,
            help: None,
            suggestion: None,
            text: text.to_owned(),
        }
    }

    pub(crate) fn length(mut self, length: usize) -> Self {
        self.length = length.max(1);
        self
    }

    /// This was probably meant.
    pub(crate) fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        let suggestion = suggestion.into();
        self.help = Some(format!("did you mean `{suggestion}`?"));
        self.suggestion = Some(suggestion);
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Several lines: the query, a caret, what is wrong.
    pub fn render(&self) -> String {
        let before = self.column.saturating_sub(1);
        let from = before.saturating_sub(SHOWN_CHARS_MAX / 2);
        let shown: String = self
            .text
            .chars()
            .skip(from)
            .take(SHOWN_CHARS_MAX)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        // What is meant may go on behind what is shown.
        let room = (shown.chars().count() + 1).saturating_sub(before - from).max(1);
        let marks = "^".repeat(self.length.min(room));
        let indent = " ".repeat(before - from);
        let mut out = format!("{shown}\n{indent}{marks} {}", self.message);
        if let Some(help) = &self.help {
            out.push_str(&format!("\n{indent}{} {help}", " ".repeat(marks.len())));
        }
        out
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {}: {}", self.column, self.message)?;
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ParseError {}

/// The candidate nearest to a word, if it is near enough to have been meant.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word = word.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.chars().count() / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The edit distance of two words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    // A word far longer than any candidate is none of them.
    for (i, ca) in a.chars().take(64).enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, cb) in row.iter_mut().skip(1).zip(&b) {
            let replaced = diagonal + usize::from(ca != *cb);
            diagonal = *cell;
            left = replaced.min(diagonal + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn near_words_are_suggested() {
        let pipes = ["stats", "head", "sort", "fields", "top"];
        assert_eq!(nearest("stat", pipes), Some("stats"));
        assert_eq!(nearest("haed", pipes), None.or(Some("head")));
        assert_eq!(nearest("frobnicate", pipes), None);
    }
}
