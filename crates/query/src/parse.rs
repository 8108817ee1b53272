//! Reads a query: the filter. The pipes are in `parse_pipes`.

use crate::error::ParseError;
use crate::lexer::{Cursor, Place};
use crate::term::{Network, Term};
use crate::tree::{At, Bound, FieldName, FieldTest, Filter, Pattern, Query, Test, WordTest};

/// The longest query. Lists of thousands of indicators fit; what is longer belongs into a file.
pub const QUERY_BYTES_MAX: usize = 256 * 1024;

/// How deep parentheses and `not` may nest. People stay below ten.
const DEPTH_MAX: usize = 64;

/// The most memory that a compiled regular expression may take. The library's default of 10 MiB is
/// too much when a query has hundreds.
const REGEX_BYTES_MAX: usize = 1024 * 1024;

/// Reads a query.
///
/// # Errors
/// When the text is no query; the error has the column and, where one can be guessed, a suggestion.
pub fn parse(text: &str) -> Result<Query, ParseError> {
    if text.len() > QUERY_BYTES_MAX {
        return Err(ParseError::new(
            "",
            0,
            format!("the query is longer than {QUERY_BYTES_MAX} bytes"),
        ));
    }
    let mut cursor = Cursor::new(text);
    let filter = if cursor.is_end() || cursor.peek() == Some('|') {
        Filter::All
    } else {
        filter(&mut cursor)?
    };
    let pipes = crate::parse_pipes::pipes(&mut cursor)?;
    if !cursor.is_end() {
        return Err(unexpected(&cursor));
    }
    Ok(Query { filter, pipes })
}

/// Reads a filter up to a pipe, a closing parenthesis or the end.
pub(crate) fn filter(cursor: &mut Cursor<'_>) -> Result<Filter, ParseError> {
    Parser { cursor, depth: 0 }.or(None)
}

pub(crate) fn unexpected(cursor: &Cursor<'_>) -> ParseError {
    match cursor.peek() {
        Some(')') => cursor.error(cursor.at, "this parenthesis was never opened"),
        Some(']') => cursor.error(cursor.at, "a condition is missing before this bracket"),
        Some(c) => cursor.error(cursor.at, format!("`{c}` is not expected here")),
        None => cursor.error(cursor.at, "the query ends too early"),
    }
}

pub(crate) fn unclosed(cursor: &Cursor<'_>, open: usize) -> ParseError {
    cursor
        .error(open, "this parenthesis is not closed")
        .help("add a `)`, or write `\\(` for a parenthesis that is meant")
}

struct Parser<'c, 't> {
    cursor: &'c mut Cursor<'t>,
    depth: usize,
}

impl Parser<'_, '_> {
    /// Alternatives; `field` is set within `field:( … )`.
    fn or(&mut self, field: Option<&FieldName>) -> Result<Filter, ParseError> {
        let mut all = vec![self.and(field)?];
        while self.operator(&["or"], "||") {
            all.push(self.and(field)?);
        }
        Ok(Filter::or(all))
    }

    fn and(&mut self, field: Option<&FieldName>) -> Result<Filter, ParseError> {
        let mut all = vec![self.unary(field)?];
        loop {
            if self.operator(&["and"], "&&") {
                all.push(self.unary(field)?);
                continue;
            }
            // Side by side means `and` too.
            match self.cursor.peek() {
                None | Some(')') | Some('|') => return Ok(Filter::and(all)),
                Some(']') if self.cursor.in_step => return Ok(Filter::and(all)),
                Some(_) if self.cursor.peek_keyword() == "or" => return Ok(Filter::and(all)),
                Some(_) => all.push(self.unary(field)?),
            }
        }
    }

    fn operator(&mut self, words: &[&str], sign: &str) -> bool {
        self.cursor.skip_space();
        if words.contains(&self.cursor.peek_keyword().as_str()) {
            self.cursor.at += words.first().map_or(0, |word| word.len());
            return true;
        }
        let found = sign.chars().enumerate().all(|(n, c)| self.cursor.peek_at(n) == Some(c));
        if found {
            self.cursor.at += sign.len();
        }
        found
    }

    fn unary(&mut self, field: Option<&FieldName>) -> Result<Filter, ParseError> {
        self.cursor.skip_space();
        let start = self.cursor.at;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.cursor.error(start, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        let dash = self.cursor.peek() == Some('-')
            && self.cursor.peek_at(1).is_some_and(|c| !c.is_whitespace() && c != '-');
        let filter = if self.operator(&["not"], "!") {
            self.unary(field)?.negated()
        } else if dash {
            self.cursor.at += 1;
            self.unary(field)?.negated()
        } else {
            self.primary(field)?
        };
        self.depth -= 1;
        Ok(filter)
    }

    fn primary(&mut self, field: Option<&FieldName>) -> Result<Filter, ParseError> {
        self.cursor.skip_space();
        let start = self.cursor.at;
        if matches!(self.cursor.peek_keyword().as_str(), "and" | "or") {
            let word = self.cursor.peek_keyword();
            return Err(self
                .cursor
                .error(start, format!("`{word}` has nothing before it"))
                .length(word.len())
                .help(format!("to search for the word, write \"{word}\"")));
        }
        if self.cursor.peek() == Some('|') {
            return Err(self.cursor.error(start, "a condition is missing before the pipe"));
        }
        if self.cursor.take('(') {
            let inner = self.or(field)?;
            if !self.cursor.take(')') {
                return Err(unclosed(self.cursor, start));
            }
            return Ok(inner);
        }
        match field {
            Some(field) => {
                let test = self.test(field)?;
                Ok(Filter::Field(FieldTest { field: field.clone(), test, at: At(start) }))
            }
            None => self.clause(start),
        }
    }

    /// A free word, or a field and what must hold for it.
    fn clause(&mut self, start: usize) -> Result<Filter, ParseError> {
        if self.cursor.peek() == Some('"') {
            let text = self.cursor.quoted()?;
            if !matches!(self.cursor.peek(), Some(':' | '<' | '>')) {
                return self.free(Pattern::Text(text), start);
            }
            // A field whose name has spaces or the like.
            return self.field_clause(text, start);
        }
        let from = self.cursor.at;
        if self.cursor.regex().is_some() {
            return Err(self
                .cursor
                .error_from(from, "a regular expression needs a field")
                .help("write field:/…/, or quotes around it to search for its words"));
        }
        let word = self.cursor.bare(Place::Free);
        let bare_end = self.cursor.at;
        self.cursor.skip_space();
        if matches!(self.cursor.peek(), Some(':' | '<' | '>' | '=')) {
            return self.field_clause(name_of(&word), start);
        }
        self.cursor.at = bare_end;
        if matches!(&word, Pattern::Text(text) if text.is_empty()) {
            return Err(unexpected(self.cursor));
        }
        self.free(word, start)
    }

    fn free(&mut self, pattern: Pattern, start: usize) -> Result<Filter, ParseError> {
        if let Pattern::Glob(glob) = &pattern
            && matches!(glob.pieces(), [crate::glob::Piece::Any])
        {
            return Ok(Filter::All);
        }
        let words = pattern.words();
        if words.is_empty() {
            return Err(self
                .cursor
                .error_from(start, "there is no letter or digit to search for")
                .help("name a field: field:\"…\" compares its whole value"));
        }
        Ok(Filter::Words(WordTest { pattern, words, at: At(start) }))
    }

    fn field_clause(&mut self, name: String, start: usize) -> Result<Filter, ParseError> {
        if name.is_empty() {
            let missing = "the name of a field is missing before this";
            return Err(self.cursor.error(self.cursor.at, missing));
        }
        let field = FieldName::new(name);
        self.cursor.skip_space();
        if self.cursor.peek() == Some(':') || self.cursor.peek() == Some('=') {
            self.cursor.at += 1;
            self.cursor.skip_space();
            if self.cursor.peek() == Some('(') {
                self.cursor.at += 1;
                let open = self.cursor.at - 1;
                let inner = self.or(Some(&field))?;
                if !self.cursor.take(')') {
                    return Err(unclosed(self.cursor, open));
                }
                return Ok(inner);
            }
        }
        let test = self.test(&field)?;
        Ok(Filter::Field(FieldTest { field, test, at: At(start) }))
    }

    /// What must hold for a field's value.
    fn test(&mut self, field: &FieldName) -> Result<Test, ParseError> {
        self.cursor.skip_space();
        let start = self.cursor.at;
        match self.cursor.peek() {
            Some('"') => return Ok(Test::Equal(Term::new(self.cursor.quoted()?))),
            Some('[' | '{') => return self.range(),
            Some(sign @ ('<' | '>')) => {
                self.cursor.at += 1;
                let including = self.cursor.peek() == Some('=');
                self.cursor.at += usize::from(including);
                let term = Term::new(self.bound_text(Place::Value)?);
                let end = if including { Bound::Including(term) } else { Bound::Excluding(term) };
                return Ok(if sign == '<' {
                    Test::Range { low: Bound::Open, high: end }
                } else {
                    Test::Range { low: end, high: Bound::Open }
                });
            }
            _ => {}
        }
        if let Some(regex) = self.cursor.regex() {
            return self.regex(&regex, start);
        }
        match self.cursor.bare(Place::Value) {
            Pattern::Text(text) if text.is_empty() => Err(self
                .cursor
                .error(start, format!("a value is missing after `{}`", field.as_str()))
                .help(format!("`{}:*` finds events that have the field", field.as_str()))),
            Pattern::Text(text) if Network::is_wrong(&text) => Err(self
                .cursor
                .error_from(start, format!("there is no network `{text}`"))
                .help("after an address, `/` is followed by up to 32 bits, for IPv6 128; a text is put in quotes")),
            Pattern::Text(text) => Ok(Test::Equal(Term::new(text))),
            Pattern::Glob(glob) if matches!(glob.pieces(), [crate::glob::Piece::Any]) => {
                Ok(Test::Exists)
            }
            Pattern::Glob(glob) => Ok(Test::Like(glob)),
        }
    }

    fn regex(&mut self, text: &str, start: usize) -> Result<Test, ParseError> {
        match compile(text) {
            Ok(regex) => Ok(Test::Regex(regex)),
            Err(error) => {
                let reason = error.to_string();
                let line = reason.lines().last().unwrap_or_default().trim();
                let reason = line.strip_prefix("error: ").unwrap_or(line);
                let message = format!("not a regular expression: {reason}");
                Err(self.cursor.error_from(start, message))
            }
        }
    }

    /// `[a TO b]`, with `{` and `}` for ends that are left out.
    fn range(&mut self) -> Result<Test, ParseError> {
        let start = self.cursor.at;
        let low_in = self.cursor.peek() == Some('[');
        self.cursor.at += 1;
        let low = self.end(low_in)?;
        self.cursor.skip_space();
        if self.cursor.peek_keyword() != "to" {
            return Err(self
                .cursor
                .error(self.cursor.at, "a range is written [a TO b]")
                .help("`TO` is missing here"));
        }
        self.cursor.at += 2;
        let high_text = self.bound_text(Place::Range)?;
        self.cursor.skip_space();
        let high_in = match self.cursor.peek() {
            Some(']') => true,
            Some('}') => false,
            _ => {
                return Err(self
                    .cursor
                    .error(start, "this range is not closed")
                    .help("add `]` or `}`"));
            }
        };
        self.cursor.at += 1;
        Ok(Test::Range { low, high: bound(high_text, high_in) })
    }

    fn end(&mut self, including: bool) -> Result<Bound, ParseError> {
        Ok(bound(self.bound_text(Place::Range)?, including))
    }

    fn bound_text(&mut self, place: Place) -> Result<String, ParseError> {
        self.cursor.skip_space();
        let start = self.cursor.at;
        if self.cursor.peek() == Some('"') {
            return self.cursor.quoted();
        }
        match self.cursor.bare(place) {
            Pattern::Text(text) if !text.is_empty() => Ok(text),
            Pattern::Glob(glob)
                if place == Place::Range && matches!(glob.pieces(), [crate::glob::Piece::Any]) =>
            {
                Ok(OPEN.to_owned())
            }
            Pattern::Glob(_) => Err(self
                .cursor
                .error_from(start, "wildcards do not go with ranges")
                .help("put quotes around the value if the star is meant")),
            Pattern::Text(_) => Err(self.cursor.error(start, "a value is missing here")),
        }
    }
}

/// Stands for the open end of a range between reading its text and making its bound; no value that
/// is read can be it.
const OPEN: &str = "\u{0}*";

fn bound(text: String, including: bool) -> Bound {
    if text == OPEN {
        Bound::Open
    } else if including {
        Bound::Including(Term::new(text))
    } else {
        Bound::Excluding(Term::new(text))
    }
}

/// A regular expression as queries mean it: any case, bounded in memory.
pub(crate) fn compile(text: &str) -> Result<regex::Regex, regex::Error> {
    regex::RegexBuilder::new(text)
        .case_insensitive(true)
        .size_limit(REGEX_BYTES_MAX)
        .dfa_size_limit(REGEX_BYTES_MAX)
        .build()
}

/// The name of a field as written; the star stays, a question mark is itself.
fn name_of(pattern: &Pattern) -> String {
    use crate::glob::Piece;
    match pattern {
        Pattern::Text(text) => text.clone(),
        Pattern::Glob(glob) => glob
            .pieces()
            .iter()
            .map(|piece| match piece {
                Piece::Literal(text) => text.as_str(),
                Piece::One => "?",
                Piece::Any => "*",
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::parse;

    fn shown(text: &str) -> String {
        match parse(text) {
            Ok(query) => query.to_string(),
            Err(error) => error.render(),
        }
    }

    #[test]
    fn filters_are_read() {
        assert_snapshot!(shown("process.name:powershell.exe and not user.name:SYSTEM"), @"process.name:powershell.exe and not user.name:SYSTEM");
        assert_snapshot!(shown("a b OR -c"), @"(a and b) or not c");
        assert_snapshot!(shown("!(a || b) && c"), @"not (a or b) and c");
        assert_snapshot!(shown(r#"event.code:(4624 or "4625" or 47*)"#), @"event.code:4624 or event.code:4625 or event.code:47*");
        assert_snapshot!(shown("x:[1 TO 5} y>=3 z<a"), @"x:[1 TO 5} and y>=3 and z<a");
        assert_snapshot!(shown("x:{* to *]"), @"x:[* TO *]");
        assert_snapshot!(shown(r"process.executable:C:\Windows\System32\cmd.exe"), @r#"process.executable:"C:\\Windows\\System32\\cmd.exe""#);
        assert_snapshot!(shown(r"process.executable:*\\cmd.exe"), @r"process.executable:*\\cmd.exe");
        assert_snapshot!(shown("file.path:/etc/passwd"), @r#"file.path:"/etc/passwd""#);
        assert_snapshot!(shown(r"file.path:/\.ps1$/ or b"), @r"file.path:/\.ps1$/ or b");
        assert_snapshot!(shown("source.ip:fe80::1 user.name:*"), @r#"source.ip:"fe80::1" and user.name:*"#);
        assert_snapshot!(shown(r#""a \"b\" \ c""#), @r#""a \"b\" \\ c""#);
        assert_snapshot!(shown("*"), @"*");
        assert_snapshot!(shown("  "), @"*");
        assert_snapshot!(shown("count > 5"), @"count>5");
        assert_snapshot!(shown("user.*:anna"), @"user.*:anna");
    }

    #[test]
    fn errors_point_at_the_place() {
        assert_snapshot!(shown("user.name:"), @r"
        user.name:
                  ^ a value is missing after `user.name`
                    `user.name:*` finds events that have the field
        ");
        assert_snapshot!(shown("\"\":a"), @r#"
        "":a
          ^ the name of a field is missing before this
        "#);
        assert_snapshot!(shown("source.ip:10.0.0.0/99"), @r"
        source.ip:10.0.0.0/99
                  ^^^^^^^^^^^ there is no network `10.0.0.0/99`
                              after an address, `/` is followed by up to 32 bits, for IPv6 128; a text is put in quotes
        ");
        assert_snapshot!(shown("(a or b"), @r"
        (a or b
        ^ this parenthesis is not closed
          add a `)`, or write `\(` for a parenthesis that is meant
        ");
        assert_snapshot!(shown("a) b"), @r"
        a) b
         ^ this parenthesis was never opened
        ");
        assert_snapshot!(shown("a and"), @r"
        a and
             ^ the query ends too early
        ");
        assert_snapshot!(shown("or a"), @r#"
        or a
        ^^ `or` has nothing before it
           to search for the word, write "or"
        "#);
        assert_snapshot!(shown("x:/(/"), @r"
        x:/(/
          ^^^ not a regular expression: unclosed group
        ");
        assert_snapshot!(shown("x:[1 2]"), @r"
        x:[1 2]
             ^ a range is written [a TO b]
               `TO` is missing here
        ");
        assert_snapshot!(shown("x:\"abc"), @r#"
        x:"abc
          ^ the quotes are not closed
            add a `"`, or write `\"` for a quotation mark that is meant
        "#);
        assert_snapshot!(shown("a --"), @r#"
        a --
          ^^ there is no letter or digit to search for
             name a field: field:"…" compares its whole value
        "#);
        assert!(parse(&"(".repeat(100_000)).is_err());
        assert!(parse(&"not ".repeat(10_000)).is_err());
    }
}
