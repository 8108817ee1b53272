//! A cursor over the characters of a query.
//!
//! There is no separate list of tokens: what ends a word depends on where it stands (`:` ends the
//! name of a field and is a part of a value), so the parser asks for what it expects.

use crate::error::ParseError;
use crate::glob::{Glob, Piece};
use crate::tree::Pattern;

/// Where a bare word stands, which decides what ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// A free word or the name of a field.
    Free,
    /// After a field and its operator.
    Value,
    /// Between the brackets of a range.
    Range,
    /// In the arguments of a pipe.
    Argument,
}

pub(crate) struct Cursor<'t> {
    pub(crate) text: &'t str,
    chars: Vec<char>,
    pub(crate) at: usize,
    /// Whether this is a step of a sequence, which `]` ends.
    pub(crate) in_step: bool,
}

impl<'t> Cursor<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Cursor { text, chars: text.chars().collect(), at: 0, in_step: false }
    }

    pub(crate) fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    pub(crate) fn peek_at(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    pub(crate) fn skip_space(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    /// Skips space, then this character if it is next.
    pub(crate) fn take(&mut self, wanted: char) -> bool {
        self.skip_space();
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    /// Skips space; whether the text ends here.
    pub(crate) fn is_end(&mut self) -> bool {
        self.skip_space();
        self.at >= self.chars.len()
    }

    pub(crate) fn error(&self, at: usize, message: impl Into<String>) -> ParseError {
        ParseError::new(self.text, at, message)
    }

    /// An error about what was read from `at` up to here.
    pub(crate) fn error_from(&self, at: usize, message: impl Into<String>) -> ParseError {
        ParseError::new(self.text, at, message).length(self.at.saturating_sub(at))
    }

    /// The next word as it stands, if it is only letters: a keyword perhaps. Takes nothing.
    pub(crate) fn peek_keyword(&self) -> String {
        let word: String =
            self.chars.iter().skip(self.at).take_while(|c| c.is_ascii_alphabetic()).collect();
        let after = self.chars.get(self.at + word.chars().count());
        match after {
            None => word.to_ascii_lowercase(),
            Some(c) if c.is_whitespace() || "()|\"[],".contains(*c) => word.to_ascii_lowercase(),
            _ => String::new(),
        }
    }

    /// A text in quotes, which must be next.
    pub(crate) fn quoted(&mut self) -> Result<String, ParseError> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            let c = self.peek();
            self.at += 1;
            match c {
                None => {
                    self.at = start;
                    return Err(self
                        .error(start, "the quotes are not closed")
                        .help("add a `\"`, or write `\\\"` for a quotation mark that is meant"));
                }
                Some('"') => return Ok(text),
                Some('\\') if matches!(self.peek(), Some('"' | '\\')) => {
                    text.extend(self.peek());
                    self.at += 1;
                }
                Some(c) => text.push(c),
            }
        }
    }

    /// A word without quotes; empty if there is none.
    pub(crate) fn bare(&mut self, place: Place) -> Pattern {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut text = String::new();
        while let Some(c) = self.peek() {
            if c.is_whitespace() || ends(place, c) || (c == ']' && self.in_step) {
                break;
            }
            self.at += 1;
            match c {
                '\\' => match self.peek() {
                    Some(next) if !next.is_alphanumeric() => {
                        text.push(next);
                        self.at += 1;
                    }
                    _ => text.push('\\'),
                },
                '*' | '?' => {
                    pieces.push(Piece::Literal(std::mem::take(&mut text)));
                    pieces.push(if c == '*' { Piece::Any } else { Piece::One });
                }
                c => text.push(c),
            }
        }
        if pieces.is_empty() {
            return Pattern::Text(text);
        }
        pieces.push(Piece::Literal(text));
        Pattern::Glob(Glob::new(pieces))
    }

    /// `/…/`, if what is next is one: its second unescaped slash ends the value.
    pub(crate) fn regex(&mut self) -> Option<String> {
        if self.peek() != Some('/') {
            return None;
        }
        let mut text = String::new();
        let mut at = self.at + 1;
        loop {
            match self.chars.get(at)? {
                '/' => break,
                '\\' if self.chars.get(at + 1) == Some(&'/') => {
                    text.push('/');
                    at += 2;
                }
                '\\' => {
                    text.push('\\');
                    text.extend(self.chars.get(at + 1));
                    at += 2;
                }
                c => {
                    text.push(*c);
                    at += 1;
                }
            }
        }
        let after = self.chars.get(at + 1);
        let closed = after.is_none_or(|c| {
            c.is_whitespace() || matches!(c, ')' | '|' | ',') || (*c == ']' && self.in_step)
        });
        if !closed || text.is_empty() {
            return None;
        }
        self.at = at + 1;
        Some(text)
    }
}

fn ends(place: Place, c: char) -> bool {
    match place {
        Place::Free => matches!(c, '(' | ')' | '"' | '|' | ':' | '<' | '>' | '='),
        Place::Value => matches!(c, '(' | ')' | '"' | '|'),
        Place::Range => matches!(c, ']' | '}' | '"'),
        Place::Argument => matches!(c, '(' | ')' | '"' | '|' | ',' | '='),
    }
}
