//! Lucene's query syntax, as `query_string` has it: what people type into Grafana, and what converters of
//! Sigma rules write.
//!
//! `field:value`, `field:"a phrase"`, `field:(a OR b)`, `field:/regex/`, `[1 TO 5}`, `>=5`, `_exists_:field`,
//! `AND`, `OR`, `NOT`, `&&`, `||`, `!`, `+`, `-`. A backslash takes its meaning from any character; `*` and
//! `?` outside of quotes are wildcards.
//!
//! It is not the language of `query`: there, words side by side must all be found, backslashes before
//! letters are themselves, and a regular expression is found anywhere. One difference to Lucene is meant:
//! `AND` binds stronger than `OR`, where Lucene's old parser makes `a OR b AND c` mean `b AND c`.
//!
//! Boosts (`^2`) are read and mean nothing; fuzzy words (`word~`) and loose phrases (`"a b"~3`) are refused.

use event::Timestamp;
use query::{Filter, Glob, Pattern, Piece, Term, Test};

use crate::dsl::{self, Ends, like, nothing, regex, some_words, test, words};
use crate::error::Refusal;

/// The longest query; converted rules with lists of hundreds of values take less.
pub const QUERY_BYTES_MAX: usize = 256 * 1024;

/// How deep parentheses and `NOT` may nest.
const DEPTH_MAX: usize = 64;

/// How a query is read.
#[derive(Debug, Clone)]
pub struct Options<'a> {
    /// Where words without a field are looked for; everywhere if there are none.
    pub fields: Vec<String>,
    /// Words side by side must all be found.
    pub all: bool,
    /// The time zone of times without one.
    pub zone: Option<&'a str>,
    /// What `now` means.
    pub now: Timestamp,
}

/// Reads a query.
///
/// # Errors
/// When it is none; the reason names the column.
pub fn parse(text: &str, options: &Options<'_>) -> Result<Filter, Refusal> {
    if text.len() > QUERY_BYTES_MAX {
        return Err(Refusal::illegal(format!("the query is longer than {QUERY_BYTES_MAX} bytes")));
    }
    let mut parser = Parser { chars: text.chars().collect(), at: 0, depth: 0, options };
    parser.space();
    if parser.peek().is_none() {
        return Ok(Filter::All);
    }
    let filter = parser.clauses(None)?;
    match parser.peek() {
        None => Ok(filter),
        Some(c) => Err(parser.wrong(parser.at, &format!("`{c}` is not expected here"))),
    }
}

/// A pattern with `*` and `?`; a backslash takes their meaning.
pub fn glob(text: &str) -> Glob {
    let mut pieces = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        pieces.push(match c {
            '*' => Piece::Any,
            '?' => Piece::One,
            '\\' => Piece::Literal(chars.next().unwrap_or('\\').to_string()),
            c => Piece::Literal(c.to_string()),
        });
    }
    Glob::new(pieces)
}

/// What parts words; other spaces are letters to Lucene, and rules look for them.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{3000}')
}

/// A word as it was written: whether each character is itself.
type Letters = Vec<(char, bool)>;

/// How a clause stands to those beside it.
struct Clause {
    /// `AND` or `OR` stood before it; nothing if neither.
    joined: Option<bool>,
    /// `+` or `-`; `NOT` is `-`.
    sign: Option<char>,
    filter: Filter,
}

struct Parser<'a> {
    chars: Vec<char>,
    at: usize,
    depth: usize,
    options: &'a Options<'a>,
}

impl Parser<'_> {
    fn peek(&self) -> Option<char> {
        self.peek_at(0)
    }

    fn peek_at(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn space(&mut self) {
        while self.peek().is_some_and(is_space) {
            self.at += 1;
        }
    }

    fn take(&mut self, sign: &str) -> bool {
        let found = sign.chars().enumerate().all(|(n, c)| self.peek_at(n) == Some(c));
        if found {
            self.at += sign.chars().count();
        }
        found
    }

    /// An operator that is a word.
    fn take_word(&mut self, word: &str) -> bool {
        let after = self.peek_at(word.len());
        let ends = after.is_none_or(|c| is_space(c) || "()\"".contains(c));
        ends && self.take(word)
    }

    fn wrong(&self, at: usize, what: &str) -> Refusal {
        Refusal::illegal(format!("Failed to parse query: {what}, at column {}", at + 1))
    }

    /// Clauses up to a closing parenthesis or the end.
    fn clauses(&mut self, field: Option<&str>) -> Result<Filter, Refusal> {
        let start = self.at;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.wrong(start, &format!("nested deeper than {DEPTH_MAX} levels")));
        }
        let mut clauses: Vec<Clause> = Vec::new();
        loop {
            self.space();
            if matches!(self.peek(), None | Some(')')) {
                break;
            }
            let at = self.at;
            let joined = if self.take_word("AND") || self.take("&&") {
                Some(true)
            } else if self.take_word("OR") || self.take("||") {
                Some(false)
            } else {
                None
            };
            if joined.is_some() && clauses.is_empty() {
                return Err(self.wrong(at, "an operator has nothing before it"));
            }
            self.space();
            let mut sign = None;
            loop {
                let not = match self.peek() {
                    Some('+') => false,
                    Some('-' | '!') => true,
                    _ if self.take_word("NOT") => {
                        self.space();
                        sign = turned(sign, true);
                        continue;
                    }
                    _ => break,
                };
                self.at += 1;
                self.space();
                sign = turned(sign, not);
            }
            if matches!(self.peek(), None | Some(')')) {
                return Err(self.wrong(self.at, "a condition is missing here"));
            }
            let filter = self.clause(field)?;
            self.boost()?;
            clauses.push(Clause { joined, sign, filter });
        }
        self.depth -= 1;
        if clauses.is_empty() {
            return Err(self.wrong(start, "there is nothing in these parentheses"));
        }
        Ok(combine(clauses, self.options.all))
    }

    fn clause(&mut self, field: Option<&str>) -> Result<Filter, Refusal> {
        let start = self.at;
        if self.take("(") {
            let inner = self.clauses(field)?;
            if !self.take(")") {
                return Err(self.wrong(start, "this parenthesis is not closed"));
            }
            return Ok(inner);
        }
        if field.is_none()
            && let Some(name) = self.name()
        {
            self.space();
            if name == "_exists_" {
                let of = self.word();
                return Ok(test(&plain(&of), Test::Exists));
            }
            if name == "*" && self.peek() == Some('*') {
                self.at += 1;
                return Ok(Filter::All);
            }
            if self.peek() == Some('(') {
                return self.clause(Some(&name));
            }
            return self.value(&name);
        }
        match field {
            Some(field) => self.value(field),
            None => self.free(),
        }
    }

    /// The name of a field, if one stands here with its colon.
    fn name(&mut self) -> Option<String> {
        let start = self.at;
        let word = self.word();
        if !word.is_empty() && self.peek() == Some(':') {
            self.at += 1;
            return Some(plain(&word));
        }
        self.at = start;
        None
    }

    /// What is said of a field.
    fn value(&mut self, field: &str) -> Result<Filter, Refusal> {
        let start = self.at;
        match self.peek() {
            Some('"') => {
                let text = self.quoted()?;
                Ok(test(field, Test::Equal(Term::new(text))))
            }
            Some('[' | '{') => self.range(field),
            Some('/') => {
                let pattern = self.slashes()?;
                regex("query", field, &pattern, false)
                    .map_err(|error| self.wrong(start, &error.reason))
            }
            Some('<' | '>') => self.compared(field),
            _ => {
                let word = self.word();
                if word.is_empty() {
                    return Err(self.wrong(start, &format!("a value is missing after [{field}:]")));
                }
                if self.peek() == Some(':') {
                    return Err(self.wrong(self.at, "a colon within a value is written `\\:`"));
                }
                Ok(like(field, letters_glob(&word)))
            }
        }
    }

    /// Words without a field.
    fn free(&mut self) -> Result<Filter, Refusal> {
        let start = self.at;
        let fields = &self.options.fields;
        if self.peek() == Some('"') {
            let text = self.quoted()?;
            return Ok(match fields.is_empty() {
                true => words(Pattern::Text(text)),
                false => each(fields, |field| test(field, Test::Equal(Term::new(text.as_str())))),
            });
        }
        if matches!(self.peek(), Some('/' | '[' | '{' | '<' | '>')) && !fields.is_empty() {
            let mut all = Vec::with_capacity(fields.len());
            for field in fields {
                self.at = start;
                all.push(self.value(field)?);
            }
            return Ok(Filter::or(all));
        }
        if self.peek() == Some('/') {
            return Err(self.wrong(start, "a regular expression needs a field"));
        }
        let word = self.word();
        if word.is_empty() {
            return Err(self.wrong(start, "a word or a field is expected here"));
        }
        let glob = letters_glob(&word);
        if !fields.is_empty() {
            return Ok(each(fields, |field| like(field, glob.clone())));
        }
        Ok(match glob.literal() {
            _ if glob.pieces() == [Piece::Any] => Filter::All,
            Some(text) => words(Pattern::Text(text.to_owned())),
            None => words(Pattern::Glob(glob)),
        })
    }

    /// A run of letters up to one that means something.
    fn word(&mut self) -> Letters {
        let mut letters = Letters::new();
        while let Some(c) = self.peek() {
            if c == '\\' {
                match self.peek_at(1) {
                    // A backslash at the very end is one.
                    None => letters.push(('\\', true)),
                    Some(next) => letters.push((next, true)),
                }
                self.at = (self.at + 2).min(self.chars.len());
                continue;
            }
            if is_space(c) || "()[]{}\"^~:".contains(c) {
                break;
            }
            letters.push((c, c != '*' && c != '?'));
            self.at += 1;
        }
        letters
    }

    fn quoted(&mut self) -> Result<String, Refusal> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        while let Some(c) = self.peek() {
            self.at += 1;
            match c {
                '"' => {
                    if self.peek() == Some('~') {
                        return Err(self.wrong(
                            self.at,
                            "the words of a phrase must stand side by side; `~` is not supported",
                        ));
                    }
                    return Ok(text);
                }
                '\\' => {
                    text.push(self.peek().unwrap_or('\\'));
                    self.at = (self.at + 1).min(self.chars.len());
                }
                c => text.push(c),
            }
        }
        Err(self.wrong(start, "this quote is not closed"))
    }

    fn slashes(&mut self) -> Result<String, Refusal> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        while let Some(c) = self.peek() {
            self.at += 1;
            match (c, self.peek()) {
                ('/', _) => return Ok(text),
                ('\\', Some('/')) => {
                    text.push('/');
                    self.at += 1;
                }
                ('\\', Some(next)) => {
                    text.extend(['\\', next]);
                    self.at += 1;
                }
                (c, _) => text.push(c),
            }
        }
        Err(self.wrong(start, "this regular expression is not closed"))
    }

    /// `>=5`, `<now-1d`.
    fn compared(&mut self, field: &str) -> Result<Filter, Refusal> {
        let start = self.at;
        let below = self.peek() == Some('<');
        self.at += 1;
        let including = self.take("=");
        let text = self.end(start)?;
        let mut ends = Ends { zone: self.options.zone, ..Ends::default() };
        let end = match (below, including) {
            (true, true) => &mut ends.lte,
            (true, false) => &mut ends.lt,
            (false, true) => &mut ends.gte,
            (false, false) => &mut ends.gt,
        };
        *end = text;
        self.ranged(start, field, &ends)
    }

    /// `[1 TO 5}`.
    fn range(&mut self, field: &str) -> Result<Filter, Refusal> {
        let start = self.at;
        let low_in = self.peek() == Some('[');
        self.at += 1;
        self.space();
        let low = self.end(start)?;
        self.space();
        if !self.take_word("TO") {
            return Err(self.wrong(self.at, "a range is written [a TO b]; `TO` is missing here"));
        }
        self.space();
        let high = self.end(start)?;
        self.space();
        let high_in = match self.peek() {
            Some(']') => true,
            Some('}') => false,
            _ => return Err(self.wrong(start, "this range is not closed")),
        };
        self.at += 1;
        let mut ends = Ends { zone: self.options.zone, ..Ends::default() };
        *if low_in { &mut ends.gte } else { &mut ends.gt } = low;
        *if high_in { &mut ends.lte } else { &mut ends.lt } = high;
        self.ranged(start, field, &ends)
    }

    fn ranged(&self, start: usize, field: &str, ends: &Ends<'_>) -> Result<Filter, Refusal> {
        dsl::range("query", field, ends, self.options.now)
            .map_err(|error| self.wrong(start, &error.reason))
    }

    /// An end of a range; `*` is none. Colons are no field here.
    fn end(&mut self, start: usize) -> Result<Option<String>, Refusal> {
        if self.peek() == Some('"') {
            return self.quoted().map(Some);
        }
        let mut word = self.word();
        while self.peek() == Some(':') {
            self.at += 1;
            word.push((':', true));
            word.extend(self.word());
        }
        match word.as_slice() {
            [] => Err(self.wrong(start, "an end of this range is missing")),
            [('*', false)] => Ok(None),
            _ => Ok(Some(plain(&word))),
        }
    }

    /// What may follow a clause: a boost, which means nothing.
    fn boost(&mut self) -> Result<(), Refusal> {
        let start = self.at;
        if self.peek() == Some('~') {
            return Err(self.wrong(start, "words are compared exactly; `~` is not supported"));
        }
        if self.take("^") {
            while self.peek().is_some_and(|c| c.is_ascii_digit() || c == '.') {
                self.at += 1;
            }
        }
        Ok(())
    }
}

fn turned(sign: Option<char>, not: bool) -> Option<char> {
    match (sign, not) {
        (Some('-'), true) => Some('+'),
        (Some('-'), false) | (_, true) => Some('-'),
        (_, false) => Some('+'),
    }
}

fn each(fields: &[String], of: impl Fn(&str) -> Filter) -> Filter {
    Filter::or(fields.iter().map(|field| of(field)).collect())
}

fn plain(letters: &Letters) -> String {
    letters.iter().map(|(c, _)| c).collect()
}

fn letters_glob(letters: &Letters) -> Glob {
    Glob::new(letters.iter().map(|(c, itself)| match (c, itself) {
        ('*', false) => Piece::Any,
        ('?', false) => Piece::One,
        (c, _) => Piece::Literal(c.to_string()),
    }))
}

/// One filter of clauses side by side.
fn combine(clauses: Vec<Clause>, all: bool) -> Filter {
    // What `AND` joins, and whether an `OR` was written beside it.
    let mut groups: Vec<(Vec<Clause>, bool)> = Vec::new();
    for clause in clauses {
        let joined = clause.joined.or_else(|| (all && !groups.is_empty()).then_some(true));
        match (joined, groups.last_mut()) {
            (Some(true), Some((group, _))) => group.push(clause),
            (Some(false), Some((_, beside_or))) => {
                *beside_or = true;
                groups.push((vec![clause], true));
            }
            _ => groups.push((vec![clause], false)),
        }
    }
    let (mut must, mut should) = (Vec::new(), Vec::new());
    for (group, beside_or) in groups {
        // A sign on a clause that stands alone is for the whole, as Lucene has it.
        let sign = match group.as_slice() {
            [one] if !beside_or => one.sign,
            _ => None,
        };
        let filter = Filter::and(
            group
                .into_iter()
                .map(|clause| match clause.sign {
                    Some('-') => clause.filter.negated(),
                    _ => clause.filter,
                })
                .collect(),
        );
        if sign.is_some() { must.push(filter) } else { should.push((filter, beside_or)) }
    }
    let required = must.iter().any(|filter| !matches!(filter, Filter::Not(_)));
    let should: Vec<Filter> = should.into_iter().map(|(filter, _)| filter).collect();
    // What only should be found matters where nothing must be.
    if !should.is_empty() && !required {
        must.insert(0, Filter::or(should));
    }
    Filter::and(must)
}

/// Reads `simple_query_string`: `+` is and, `|` is or, `-` is not, quotes make phrases, a star at the end
/// of a word a prefix. Nothing in it is an error but fuzzy words.
///
/// # Errors
/// When it is too long, or wants something that is not supported.
pub fn parse_simple(text: &str, fields: &[String], all: bool) -> Result<Filter, Refusal> {
    if text.len() > QUERY_BYTES_MAX {
        return Err(Refusal::illegal(format!("the query is longer than {QUERY_BYTES_MAX} bytes")));
    }
    let mut chars = text.chars().peekable();
    simple(&mut chars, fields, all, 0).map(|filter| filter.unwrap_or_else(nothing))
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn simple(
    chars: &mut Chars<'_>,
    fields: &[String],
    all: bool,
    depth: usize,
) -> Result<Option<Filter>, Refusal> {
    if depth > DEPTH_MAX {
        return Err(Refusal::illegal(format!("nested deeper than {DEPTH_MAX} levels")));
    }
    let mut found: Option<Filter> = None;
    let mut and = all;
    let mut not = false;
    while let Some(c) = chars.next() {
        let filter = match c {
            c if is_space(c) => continue,
            ')' => break,
            '+' => {
                and = true;
                continue;
            }
            '|' => {
                and = false;
                continue;
            }
            '-' => {
                not = !not;
                continue;
            }
            '(' => simple(chars, fields, all, depth + 1)?,
            '"' => {
                let mut text = String::new();
                while let Some(c) = chars.next() {
                    match c {
                        '"' => break,
                        '\\' => text.extend(chars.next()),
                        c => text.push(c),
                    }
                }
                if chars.peek() == Some(&'~') {
                    return Err(Refusal::illegal("`~` after a phrase is not supported"));
                }
                Some(in_fields(fields, |field| dsl::phrase(field, &text, false)))
            }
            c => {
                let mut text = String::new();
                let mut next = Some(c);
                while let Some(c) = next {
                    if c == '\\' {
                        text.extend(chars.next());
                    } else {
                        text.push(c);
                    }
                    next = chars.next_if(|c| !is_space(*c) && !"()|\"".contains(*c));
                }
                if let Some((_, distance)) = text.rsplit_once('~')
                    && distance.chars().all(|c| c.is_ascii_digit())
                {
                    return Err(Refusal::illegal("`~` after a word is not supported"));
                }
                Some(match text.strip_suffix('*') {
                    Some(front) => in_fields(fields, |field| dsl::phrase(field, front, true)),
                    None => in_fields(fields, |field| some_words(field, &text, true)),
                })
            }
        };
        let Some(filter) = filter else { continue };
        let filter = if std::mem::take(&mut not) { filter.negated() } else { filter };
        found = Some(match found {
            None => filter,
            Some(before) if and => Filter::and(vec![before, filter]),
            Some(before) => Filter::or(vec![before, filter]),
        });
        and = all;
    }
    Ok(found)
}

fn in_fields(fields: &[String], of: impl Fn(&str) -> Filter) -> Filter {
    if fields.is_empty() { of("*") } else { each(fields, of) }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use proptest::prelude::*;

    use super::*;

    fn options() -> Options<'static> {
        let now = Timestamp::parse_rfc3339("2026-08-05T12:00:00Z").unwrap();
        Options { fields: Vec::new(), all: false, zone: None, now }
    }

    fn read(text: &str) -> String {
        match parse(text, &options()) {
            Ok(filter) => filter.to_string(),
            Err(refusal) => refusal.reason,
        }
    }

    #[test]
    fn queries_become_filters() {
        assert_snapshot!(read("*"), @"*");
        assert_snapshot!(read("  "), @"*");
        assert_snapshot!(read("*:*"), @"*");
        assert_snapshot!(read("anna"), @"anna");
        assert_snapshot!(read("anna bert"), @"anna or bert");
        assert_snapshot!(read("user.name:anna AND NOT host.name:a*"), @"user.name:anna and not host.name:a*");
        assert_snapshot!(read(r"process.executable:*\\powershell.exe"), @r#"process.executable:*\\powershell.exe"#);
        assert_snapshot!(read(r"process.command_line:*\ \-enc\ *"), @r#"process.command_line:*\ \-enc\ *"#);
        assert_snapshot!(read(r#"a:"b \"c\" *" OR (NOT a:b)"#), @r#"a:"b \"c\" *" or not a:b"#);
        assert_snapshot!(read("event.code:(4624 OR 4625)"), @"event.code:4624 or event.code:4625");
        assert_snapshot!(read("event.code:(4624 4625)"), @"event.code:4624 or event.code:4625");
        assert_snapshot!(read("_exists_:user.name"), @"user.name:*");
        assert_snapshot!(read("NOT _exists_:user.name"), @"not user.name:*");
        assert_snapshot!(read("user.name:*"), @"user.name:*");
        assert_snapshot!(read(r"file.path:/.*\.ps1/"), @r#"file.path:/(?s-i)^(?:.*\.ps1)$/"#);
        assert_snapshot!(read("process.pid:[1 TO 5}"), @"process.pid:[1 TO 5}");
        assert_snapshot!(read("process.pid:[10 TO *]"), @"process.pid>=10");
        assert_snapshot!(read("process.pid:>=10 AND process.pid:<20"), @"process.pid>=10 and process.pid<20");
        assert_snapshot!(read("@timestamp:[now-1h TO now]"), @r#"@timestamp:["2026-08-05T11:00:00Z" TO "2026-08-05T12:00:00.001Z"}"#);
        assert_snapshot!(read(r#"@timestamp:["2026-08-05T10:00:00Z" TO 2026-08-05T11:00:00Z]"#), @r#"@timestamp:["2026-08-05T10:00:00Z" TO "2026-08-05T11:00:00.001Z"}"#);
        assert_snapshot!(read("+a:1 -b:2 c:3"), @"a:1 and not b:2");
        assert_snapshot!(read("a:1 -b:2"), @"a:1 and not b:2");
        assert_snapshot!(read("a:1 OR b:2 AND c:3"), @"a:1 or (b:2 and c:3)");
        assert_snapshot!(read("a:x^2 && !b:y || c:z"), @"(a:x and not b:y) or c:z");
        assert_snapshot!(read(r"url.full:http\:\/\/x"), @r#"url.full:"http://x""#);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_column() {
        assert_snapshot!(read("a:"), @"Failed to parse query: a value is missing after [a:], at column 3");
        assert_snapshot!(read("(a"), @"Failed to parse query: this parenthesis is not closed, at column 1");
        assert_snapshot!(read("a)"), @"Failed to parse query: `)` is not expected here, at column 2");
        assert_snapshot!(read("AND a"), @"Failed to parse query: an operator has nothing before it, at column 1");
        assert_snapshot!(read("a AND"), @"Failed to parse query: a condition is missing here, at column 6");
        assert_snapshot!(read("a:\"b"), @"Failed to parse query: this quote is not closed, at column 3");
        assert_snapshot!(read("a:/b"), @"Failed to parse query: this regular expression is not closed, at column 3");
        assert_snapshot!(read("a:[1 5]"), @"Failed to parse query: a range is written [a TO b]; `TO` is missing here, at column 6");
        assert_snapshot!(read("a:[1 TO 5"), @"Failed to parse query: this range is not closed, at column 3");
        assert_snapshot!(read("roam~2"), @"Failed to parse query: words are compared exactly; `~` is not supported, at column 5");
        assert_snapshot!(read("\"a b\"~2"), @"Failed to parse query: the words of a phrase must stand side by side; `~` is not supported, at column 6");
        assert_snapshot!(read("a:b:c"), @r#"Failed to parse query: a colon within a value is written `\:`, at column 4"#);
        assert_snapshot!(read("/x/"), @"Failed to parse query: a regular expression needs a field, at column 1");
        assert!(read(&"(".repeat(100)).contains("deeper than 64"));
    }

    #[test]
    fn simple_queries_become_filters() {
        let read = |text| {
            parse_simple(text, &[], false).map(|f| f.to_string()).unwrap_or_else(|e| e.reason)
        };
        assert_snapshot!(read("anna bert"), @"anna or bert");
        assert_snapshot!(read("anna + bert | -carl"), @"(anna and bert) or not carl");
        assert_snapshot!(read("\"logon failed\" + (ann* | b)"), @r#""logon failed" and (ann* or b)"#);
        assert_snapshot!(read(")("), @"not *");
        assert_snapshot!(read("roam~2"), @"`~` after a word is not supported");
    }

    proptest! {
        #[test]
        fn what_is_no_query_is_told_with_its_place(text in "[a-c:()\\[\\]{}\"/*?\\\\+!~^<>= ANDORTOä-]{0,40}") {
            if let Err(refusal) = parse(&text, &options()) {
                prop_assert!(refusal.reason.contains("at column"), "{}", refusal.reason);
            }
            if let Err(refusal) = parse_simple(&text, &[], true) {
                prop_assert!(refusal.reason.contains('~'), "{}", refusal.reason);
            }
        }
    }
}
