//! Patterns with `*` and `?`.

use memchr::memmem;

use crate::fold;

/// One piece of a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Piece {
    /// These characters, as they were written.
    Literal(String),
    /// `?`: exactly one character.
    One,
    /// `*`: any run of characters.
    Any,
}

/// A pattern that a whole text must have.
#[derive(Debug, Clone)]
pub struct Glob {
    pieces: Vec<Piece>,
    /// The folded pattern, with wildcards apart from characters.
    folded: Vec<Token>,
    /// For `*part*`, by far the most used form: the folded part.
    contains: Option<Box<memmem::Finder<'static>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Char(char),
    One,
    Any,
}

impl PartialEq for Glob {
    fn eq(&self, other: &Self) -> bool {
        self.pieces == other.pieces
    }
}

impl Glob {
    /// A pattern of these pieces; neighbouring stars and literals become one.
    pub fn new(pieces: impl IntoIterator<Item = Piece>) -> Self {
        let mut merged: Vec<Piece> = Vec::new();
        for piece in pieces {
            match (merged.last_mut(), piece) {
                (Some(Piece::Any), Piece::Any) => {}
                (Some(Piece::Literal(before)), Piece::Literal(more)) => before.push_str(&more),
                (_, Piece::Literal(empty)) if empty.is_empty() => {}
                (_, piece) => merged.push(piece),
            }
        }
        let mut folded = Vec::new();
        for piece in &merged {
            match piece {
                Piece::Literal(text) => folded.extend(fold(text).chars().map(Token::Char)),
                Piece::One => folded.push(Token::One),
                Piece::Any => folded.push(Token::Any),
            }
        }
        let contains = match merged.as_slice() {
            [Piece::Any, Piece::Literal(part), Piece::Any] => {
                Some(Box::new(memmem::Finder::new(fold(part).as_bytes()).into_owned()))
            }
            _ => None,
        };
        Glob { pieces: merged, folded, contains }
    }

    /// Its pieces.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Whether a folded text has the pattern.
    pub fn matches_folded(&self, text: &str) -> bool {
        if let Some(part) = &self.contains {
            return part.find(text.as_bytes()).is_some();
        }
        // The usual two cursors: on a mismatch, let the last star take one character more.
        let mut rest = text.chars();
        let mut at = 0;
        let mut star: Option<(usize, std::str::Chars<'_>)> = None;
        loop {
            match self.folded.get(at) {
                Some(Token::Any) => {
                    star = Some((at, rest.clone()));
                    at += 1;
                    continue;
                }
                Some(token) => {
                    let mut ahead = rest.clone();
                    let found = ahead.next();
                    if found.is_some_and(|c| *token == Token::One || *token == Token::Char(c)) {
                        rest = ahead;
                        at += 1;
                        continue;
                    }
                }
                None if rest.as_str().is_empty() => return true,
                None => {}
            }
            match &mut star {
                Some((star_at, from)) => {
                    if from.next().is_none() {
                        return false;
                    }
                    rest = from.clone();
                    at = *star_at + 1;
                }
                None => return false,
            }
        }
    }

    /// The folded characters that every match begins with.
    pub fn prefix(&self) -> String {
        self.folded
            .iter()
            .map_while(|token| match token {
                Token::Char(c) => Some(*c),
                _ => None,
            })
            .collect()
    }

    /// Cuts the pattern where words are cut, for texts that are compared by words. A literal
    /// piece cuts at what is no letter or digit; a wildcard belongs to the words beside it.
    pub fn by_words(&self) -> Vec<Glob> {
        let mut globs = Vec::new();
        let mut current: Vec<Piece> = Vec::new();
        let mut close = |current: &mut Vec<Piece>| {
            // A star alone between two separators stands for anything, not for one word.
            if current.iter().any(|piece| *piece != Piece::Any) {
                globs.push(Glob::new(current.drain(..)));
            }
            current.clear();
        };
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => {
                    for c in text.chars() {
                        if c.is_alphanumeric() {
                            current.push(Piece::Literal(c.to_string()));
                        } else {
                            close(&mut current);
                        }
                    }
                }
                other => current.push(other.clone()),
            }
        }
        close(&mut current);
        globs
    }

    /// The text, if the pattern has no wildcard.
    pub fn literal(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [] => Some(""),
            [Piece::Literal(text)] => Some(text),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Glob, Piece};

    fn glob(text: &str) -> Glob {
        Glob::new(text.chars().map(|c| match c {
            '*' => Piece::Any,
            '?' => Piece::One,
            c => Piece::Literal(c.to_string()),
        }))
    }

    #[test]
    fn patterns_hold_for_whole_texts() {
        for (pattern, text, holds) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abcd", false),
            ("*b*", "abc", true),
            ("*ab*ab*", "xabyab", true),
            ("?b?", "abc", true),
            ("?", "", false),
            ("*.exe", "x.exe.txt", false),
            ("Ä?", "äx", true),
        ] {
            assert_eq!(glob(pattern).matches_folded(text), holds, "{pattern} on {text}");
        }
    }

    #[test]
    fn patterns_are_cut_like_words() {
        let cut = |text| -> Vec<_> {
            glob(text).by_words().iter().map(|g| format!("{:?}", g.pieces())).collect()
        };
        assert_eq!(cut("*logon failed*").len(), 2);
        assert_eq!(cut("a.*.b").len(), 2);
        assert_eq!(cut("*").len(), 0);
    }

    proptest! {
        /// Against the simplest recursive definition.
        #[test]
        fn globs_agree_with_their_definition(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
            fn holds(pattern: &[char], text: &[char]) -> bool {
                match (pattern, text) {
                    ([], rest) => rest.is_empty(),
                    (['*', after @ ..], rest) =>
                        holds(after, rest) || (!rest.is_empty() && holds(pattern, &rest[1..])),
                    ([c, after @ ..], [first, rest @ ..]) =>
                        (*c == '?' || c == first) && holds(after, rest),
                    _ => false,
                }
            }
            let chars: Vec<char> = pattern.chars().collect();
            let wanted = holds(&chars, &text.chars().collect::<Vec<_>>());
            prop_assert_eq!(glob(&pattern).matches_folded(&text), wanted);
        }
    }
}
