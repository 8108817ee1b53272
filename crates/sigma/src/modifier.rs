//! The words after the pipe: `CommandLine|contains|all`.
//!
//! An enum and its two tables. What a modifier does to a value is decided in `values`, which
//! knows all of them together; which of them go together is decided there too.

/// A value modifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Modifier {
    /// Every value, rather than one of them.
    All,
    /// Anywhere in the field.
    Contains,
    /// At the beginning of the field.
    StartsWith,
    /// At the end of the field.
    EndsWith,
    /// Letter case counts.
    Cased,
    /// The field is there, or is not.
    Exists,
    /// A regular expression.
    Re,
    /// Of a regular expression: letter case does not count.
    IgnoreCase,
    /// Of a regular expression: `^` and `$` match at line ends.
    MultiLine,
    /// Of a regular expression: `.` matches a line end.
    DotAll,
    /// A network.
    Cidr,
    /// Encoded as Base64.
    Base64,
    /// Encoded as Base64, at any of the three alignments.
    Base64Offset,
    /// UTF-16, little endian.
    Utf16Le,
    /// UTF-16, big endian.
    Utf16Be,
    /// UTF-16, little endian, with a byte order mark.
    Utf16,
    /// Dashes in all the forms that Windows programs take.
    WinDash,
    /// The name of another field.
    FieldRef,
    /// Less than.
    Lt,
    /// Less than or equal.
    Lte,
    /// Greater than.
    Gt,
    /// Greater than or equal.
    Gte,
    /// Not equal.
    Neq,
    /// Placeholders are filled by a pipeline.
    Expand,
    /// The minute of a time.
    Minute,
    /// The hour of a time.
    Hour,
    /// The day of the month of a time.
    Day,
    /// The week of a time.
    Week,
    /// The month of a time.
    Month,
    /// The year of a time.
    Year,
}

/// Every word and what it means; the first word of a modifier is the one it is written with.
const WORDS: &[(&str, Modifier)] = &[
    ("all", Modifier::All),
    ("contains", Modifier::Contains),
    ("startswith", Modifier::StartsWith),
    ("endswith", Modifier::EndsWith),
    ("cased", Modifier::Cased),
    ("exists", Modifier::Exists),
    ("re", Modifier::Re),
    ("i", Modifier::IgnoreCase),
    ("ignorecase", Modifier::IgnoreCase),
    ("m", Modifier::MultiLine),
    ("multiline", Modifier::MultiLine),
    ("s", Modifier::DotAll),
    ("dotall", Modifier::DotAll),
    ("cidr", Modifier::Cidr),
    ("base64", Modifier::Base64),
    ("base64offset", Modifier::Base64Offset),
    ("utf16le", Modifier::Utf16Le),
    ("wide", Modifier::Utf16Le),
    ("utf16be", Modifier::Utf16Be),
    ("utf16", Modifier::Utf16),
    ("windash", Modifier::WinDash),
    ("fieldref", Modifier::FieldRef),
    ("lt", Modifier::Lt),
    ("lte", Modifier::Lte),
    ("gt", Modifier::Gt),
    ("gte", Modifier::Gte),
    ("neq", Modifier::Neq),
    ("expand", Modifier::Expand),
    ("minute", Modifier::Minute),
    ("hour", Modifier::Hour),
    ("day", Modifier::Day),
    ("week", Modifier::Week),
    ("month", Modifier::Month),
    ("year", Modifier::Year),
];

impl Modifier {
    /// The modifier of a word.
    pub fn from_word(word: &str) -> Option<Modifier> {
        WORDS.iter().find(|(known, _)| *known == word).map(|(_, modifier)| *modifier)
    }

    /// The word it is written with.
    pub fn as_str(self) -> &'static str {
        WORDS.iter().find(|(_, modifier)| *modifier == self).map_or("", |(word, _)| word)
    }

    /// Every word that is a modifier.
    pub fn words() -> impl Iterator<Item = &'static str> + Clone {
        WORDS.iter().map(|(word, _)| *word)
    }
}

impl std::fmt::Display for Modifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_modifiers_agree() {
        for (word, modifier) in WORDS {
            assert_eq!(Modifier::from_word(word), Some(*modifier));
            assert_eq!(Modifier::from_word(modifier.as_str()), Some(*modifier));
        }
        assert_eq!(Modifier::from_word("contain"), None);
        assert_eq!(Modifier::Utf16Le.as_str(), "utf16le");
    }
}
