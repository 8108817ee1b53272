//! What may come at the cursor of a query that is being written.
//!
//! The text up to the cursor is no query yet, so the parser is of no use. It is walked through once,
//! by the same signs that the parser goes by, to tell where the cursor stands: in which pipe, in
//! which of its arguments, after which field. From that follows what may come: words of the language
//! ([`Suggestions::words`]), or names of fields and their values ([`Suggestions::wanted`]), which
//! only who has the events can tell.
//!
//! What it refuses to do: look at events, or at what stands behind the cursor.

use crate::parse_pipes::{FUNCTIONS, PIPES};

/// What may come at the cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suggestions {
    /// The first character that a choice takes the place of; the last is the one before the cursor.
    pub from: usize,
    /// What was typed of it, as it is meant: without quotes.
    pub typed: String,
    /// What the events' owner must add.
    pub wanted: Wanted,
    /// Words of the language that begin with what was typed.
    pub words: Vec<Word>,
}

/// What only the events can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Nothing.
    Nothing,
    /// Names of fields.
    Fields {
        /// What follows the name: `:` where it is to be compared, or nothing.
        then: &'static str,
    },
    /// Names of the columns that the pipes before have made.
    Columns {
        /// These.
        names: Vec<String>,
        /// What follows the name.
        then: &'static str,
    },
    /// Values of this field.
    Values {
        /// Which.
        field: String,
    },
}

/// A word of the language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// What takes the place of what was typed.
    pub text: String,
    /// What kind of word it is.
    pub kind: Kind,
    /// What it does, in a few words; may be empty.
    pub about: &'static str,
}

/// What kind of word may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `and`, `or`, `>`, `|`.
    Operator,
    /// `by`, `as`, `within`.
    Keyword,
    /// A pipe.
    Pipe,
    /// A function of `stats`.
    Function,
    /// A length of time.
    Duration,
}

impl Kind {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Operator => "operator",
            Kind::Keyword => "keyword",
            Kind::Pipe => "pipe",
            Kind::Function => "function",
            Kind::Duration => "duration",
        }
    }
}

/// Writes a value so that it is read as one: in quotes if it must be.
pub fn quoted_if_needed(value: &str) -> String {
    crate::print::value_text(value)
}

const JOINING: &[(&str, &str)] =
    &[("and", "both hold"), ("or", "one holds"), ("|", "does something with what was found")];
const COMPARING: &[(&str, &str)] = &[
    (":", "is, or looks like"),
    (">", "is greater"),
    (">=", "is at least"),
    ("<", "is less"),
    ("<=", "is at most"),
];
const NOT: &[(&str, &str)] = &[("not", "does not hold")];
const STEPS: &[(&str, &str)] =
    &[("1m", "a minute"), ("5m", ""), ("15m", ""), ("1h", "an hour"), ("1d", "a day")];

/// What may come at the cursor, which stands behind so many characters.
pub fn suggest(text: &str, cursor: usize) -> Suggestions {
    let before: Vec<char> = text.chars().take(cursor).collect();
    let (mut tokens, last_pipe) = tokens(&before);
    // What is being typed is the last token, if nothing separates it from the cursor.
    let typed = tokens.pop_if(|token| token.is_word() && token.to == before.len());
    let done = tokens.get(last_pipe..).unwrap_or_default();
    let mut found = match last_pipe {
        0 => in_filter(done, None),
        _ => in_pipe(done, columns_before(&tokens, last_pipe, &before).as_deref()),
    };
    let (mut from, mut typed) =
        typed.map_or((before.len(), String::new()), |token| (token.from, token.text));
    // A sign before a name stays: `-user.name:anna`, `sort -count`.
    if !matches!(found.wanted, Wanted::Nothing | Wanted::Values { .. })
        && let Some(name) = typed.strip_prefix(['-', '+', '!'])
    {
        typed = name.to_owned();
        from += 1;
    }
    let lower = typed.to_lowercase();
    found.words.retain(|word| word.text.to_lowercase().starts_with(&lower));
    Suggestions { from, typed, wanted: found.wanted, words: found.words }
}

struct Found {
    wanted: Wanted,
    words: Vec<Word>,
}

impl Found {
    fn new(wanted: Wanted) -> Found {
        Found { wanted, words: Vec::new() }
    }

    fn with(mut self, kind: Kind, words: &[(&str, &'static str)]) -> Found {
        let words = words.iter();
        self.words.extend(words.map(|(text, about)| Word { text: (*text).into(), kind, about }));
        self
    }
}

fn nothing() -> Found {
    Found::new(Wanted::Nothing)
}

/// Fields, or the columns that stand for them.
fn fields(columns: Option<&[String]>, then: &'static str) -> Found {
    Found::new(match columns {
        None => Wanted::Fields { then },
        Some(names) => Wanted::Columns { names: names.to_vec(), then },
    })
}

/// A word, or one of the signs between words.
#[derive(Debug, Clone, PartialEq)]
struct Token {
    from: usize,
    to: usize,
    text: String,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum What {
    Bare,
    /// In quotes, which may still be open.
    Quoted,
    Sign(char),
}

impl Token {
    fn is_word(&self) -> bool {
        matches!(self.what, What::Bare | What::Quoted)
    }

    fn is_sign(&self, sign: char) -> bool {
        self.what == What::Sign(sign)
    }

    fn is(&self, keyword: &str) -> bool {
        self.what == What::Bare && self.text.eq_ignore_ascii_case(keyword)
    }
}

/// The words and signs of a text, and where the last pipe begins among them.
fn tokens(text: &[char]) -> (Vec<Token>, usize) {
    let mut tokens: Vec<Token> = Vec::new();
    let mut last_pipe = 0;
    let mut at = 0;
    while let Some(c) = text.get(at).copied() {
        let from = at;
        // A value goes on over signs that end the name of a field: `fe80::1`, `a=b`.
        let value = tokens.last().is_some_and(|before| {
            before.to == from && matches!(before.what, What::Sign(':' | '=' | '<' | '>'))
        });
        if c.is_whitespace() {
            at += 1;
            continue;
        }
        let mut word = String::new();
        let what = if c == '"' {
            at += 1;
            while let Some(c) = text.get(at).copied() {
                at += 1;
                match c {
                    '"' => break,
                    '\\' if matches!(text.get(at), Some('"' | '\\')) => {
                        word.extend(text.get(at));
                        at += 1;
                    }
                    c => word.push(c),
                }
            }
            What::Quoted
        } else if value && c == '/' {
            // A regular expression, up to its second slash.
            loop {
                at += 1;
                match text.get(at) {
                    None => break,
                    Some('\\') => at += 1,
                    Some('/') => {
                        at += 1;
                        break;
                    }
                    Some(_) => {}
                }
            }
            at = at.min(text.len());
            word.extend(text.get(from..at).unwrap_or_default());
            What::Bare
        } else if is_sign(c, value) {
            at += 1;
            if c == '|' && text.get(at) == Some(&'|') {
                at += 1;
                word.push_str("or");
                What::Bare
            } else {
                at += usize::from(matches!(c, '<' | '>') && text.get(at) == Some(&'='));
                What::Sign(c)
            }
        } else {
            while let Some(c) = text.get(at).copied() {
                if c.is_whitespace() || c == '"' || is_sign(c, value) {
                    break;
                }
                at += 1;
                word.push(c);
                if c == '\\' {
                    word.extend(text.get(at));
                    at = (at + 1).min(text.len());
                }
            }
            What::Bare
        };
        if what == What::Sign('|') {
            last_pipe = tokens.len() + 1;
        }
        tokens.push(Token { from, to: at, text: word, what });
    }
    (tokens, last_pipe)
}

fn is_sign(c: char, value: bool) -> bool {
    match c {
        '(' | ')' | '|' | ']' => true,
        '[' | ',' | ':' | '=' | '<' | '>' => !value,
        _ => false,
    }
}

/// The columns of the table that the pipes before the last one make, if they make one.
fn columns_before(tokens: &[Token], last_pipe: usize, before: &[char]) -> Option<Vec<String>> {
    let end = tokens.get(last_pipe.checked_sub(1)?)?.from;
    let text: String = before.get(..end)?.iter().collect();
    crate::columns(&crate::parse(&text).ok()?.pipes)
}

/// What may come in a filter after these; of a table, its columns stand for fields.
fn in_filter(done: &[Token], columns: Option<&[String]>) -> Found {
    let term = || fields(columns, ":").with(Kind::Operator, NOT);
    let list = list_field(done);
    match done.last() {
        Some(sign) if is_comparison(sign) => values(field_of(done)),
        // In a list: `field:(a or b`.
        Some(last) if list.is_some() && ends_term(last) => {
            nothing().with(Kind::Operator, JOINING.get(..2).unwrap_or_default())
        }
        Some(_) if list.is_some() => values(list),
        Some(last) if ends_term(last) => {
            let mut found = after_term(done).merged(term());
            let open = |sign| done.iter().filter(|token| token.is_sign(sign)).count();
            // A pipe ends no parenthesis.
            found.words.retain(|word| word.text != "|" || open('(') <= open(')'));
            found
        }
        _ => term(),
    }
}

impl Found {
    /// Both may come; the first's words first.
    fn merged(mut self, other: Found) -> Found {
        self.words.extend(other.words);
        Found { wanted: other.wanted, words: self.words }
    }
}

fn is_comparison(token: &Token) -> bool {
    matches!(token.what, What::Sign(':' | '=' | '<' | '>'))
}

/// Whether a term ends with it, rather than one being begun.
fn ends_term(token: &Token) -> bool {
    let joins = ["and", "or", "not", "&&", "!"].iter().any(|word| token.is(word));
    token.is_sign(')') || (token.is_word() && !joins)
}

/// What may come behind a term: more, or for a lone word how it is compared.
fn after_term(done: &[Token]) -> Found {
    let lone = match done {
        [.., sign, _] if is_comparison(sign) => false,
        [.., last] => last.is_word(),
        [] => false,
    };
    let found = nothing().with(Kind::Operator, JOINING);
    if lone { found.with(Kind::Operator, COMPARING) } else { found }
}

fn values(field: Option<String>) -> Found {
    field.map_or_else(nothing, |field| Found::new(Wanted::Values { field }))
}

/// The field before the comparison that these end with.
fn field_of(tokens: &[Token]) -> Option<String> {
    let signs = tokens.iter().rev().take_while(|token| is_comparison(token)).count();
    let at = tokens.len().checked_sub(1 + signs)?;
    tokens.get(at).filter(|token| token.is_word()).map(|token| token.text.clone())
}

/// The field of the list that is open here: `field:(a or`.
fn list_field(tokens: &[Token]) -> Option<String> {
    let mut closed = 0usize;
    for (n, token) in tokens.iter().enumerate().rev() {
        match token.what {
            What::Sign(')') => closed += 1,
            What::Sign('(') if closed > 0 => closed -= 1,
            What::Sign('(') => match n.checked_sub(1).and_then(|n| tokens.get(n)) {
                Some(sign) if is_comparison(sign) => return field_of(tokens.get(..n)?),
                _ => {}
            },
            _ => {}
        }
    }
    None
}

/// What may come in a pipe after these. The first is its name.
fn in_pipe(done: &[Token], columns: Option<&[String]>) -> Found {
    let Some((name, done)) = done.split_first() else { return nothing().with(Kind::Pipe, PIPES) };
    match name.text.to_ascii_lowercase().as_str() {
        "stats" => in_stats(done, columns),
        "timechart" => in_timechart(done, columns),
        "top" | "rare" => in_names(done, columns, &[("by", "for each of these")]),
        "dedup" => in_names(done, columns, &[]),
        "fields" => in_names(done, columns, &[("as", "under this name")]),
        "sort" => {
            in_names(done, columns, &[("desc", "the greatest first"), ("asc", "the least first")])
        }
        "where" => in_filter(done, columns),
        "sequence" => in_sequence(done, columns),
        _ => nothing(),
    }
}

/// Names with commas between; behind one, what else may follow.
fn in_names(done: &[Token], columns: Option<&[String]>, then: &[(&str, &'static str)]) -> Found {
    match done.last() {
        Some(last) if last.is("as") => nothing(),
        Some(last) if last.is_word() && !last.is("by") && last.text.parse::<u64>().is_err() => {
            let pipe = &[("|", "does something with what was found")];
            nothing().with(Kind::Keyword, then).with(Kind::Operator, pipe)
        }
        _ => fields(columns, ""),
    }
}

fn in_stats(done: &[Token], columns: Option<&[String]>) -> Found {
    if done.iter().any(|token| token.is("by")) {
        let by = done.iter().rposition(|token| token.is("by")).unwrap_or(0);
        return in_names(done.get(by..).unwrap_or_default(), columns, &[]);
    }
    match done.last() {
        Some(last) if last.is_sign('(') => fields(columns, ")"),
        Some(last) if last.is("as") => nothing(),
        Some(last) if last.is_sign(',') => {
            let open = done.iter().rev().find(|token| matches!(token.what, What::Sign('(' | ')')));
            match open {
                // The second argument of `percentile`.
                Some(open) if open.is_sign('(') => nothing(),
                _ => functions(),
            }
        }
        Some(_) => nothing()
            .with(Kind::Keyword, &[("by", "a row for each of these"), ("as", "under this name")])
            .with(Kind::Operator, &[("|", "does something with what was found")]),
        None => functions(),
    }
}

fn functions() -> Found {
    let mut found = nothing().with(Kind::Function, FUNCTIONS);
    for word in &mut found.words {
        // All but `count` need a field.
        if word.text != "count" {
            word.text.push('(');
        }
    }
    found
}

fn in_timechart(done: &[Token], columns: Option<&[String]>) -> Found {
    match done {
        [] => nothing().with(Kind::Keyword, &[("span=", "the length of a step")]),
        [_, _] => nothing().with(Kind::Duration, STEPS),
        [_, sign, _] if sign.is_sign('=') => {
            functions().with(Kind::Keyword, &[("by", "a row for each of these")])
        }
        [_, _, _, rest @ ..] => in_stats(rest, columns),
        _ => nothing(),
    }
}

fn in_sequence(done: &[Token], columns: Option<&[String]>) -> Found {
    // Within a step it is a filter.
    let open = done.iter().rposition(|token| token.is_sign('['));
    let closed = done.iter().rposition(|token| token.is_sign(']'));
    if let Some(open) = open.filter(|open| closed.is_none_or(|closed| closed < *open)) {
        let step = done.get(open + 1..).unwrap_or_default();
        let mut found = in_filter(step, columns);
        // It ends with a bracket, not with a pipe.
        for word in found.words.iter_mut().filter(|word| word.text == "|") {
            (word.text, word.about) = ("]".to_owned(), "ends what this event must pass");
        }
        return found;
    }
    let within = ("within", "from the first to the last event at most");
    match done.last() {
        None => nothing().with(Kind::Keyword, &[("by", "events of one of these"), within]),
        Some(last) if last.is("within") => nothing().with(Kind::Duration, STEPS),
        Some(last) if last.is("by") || last.is_sign(',') => fields(columns, ""),
        Some(_) if done.iter().any(|token| token.is("within")) => {
            nothing().with(Kind::Operator, &[("[", "what the next event must pass")])
        }
        Some(_) => nothing().with(Kind::Keyword, &[within]),
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::{Wanted, suggest};

    /// At the end of the text.
    fn shown(text: &str) -> String {
        let found = suggest(text, text.chars().count());
        let mut all: Vec<String> = match found.wanted {
            Wanted::Nothing => vec![],
            Wanted::Fields { then } => vec![format!("<field>{then}")],
            Wanted::Columns { names, then } => names.iter().map(|n| format!("{n}{then}")).collect(),
            Wanted::Values { field } => vec![format!("<value of {field}>")],
        };
        all.extend(found.words.iter().map(|word| word.text.clone()));
        format!("{}\"{}\": {}", found.from, found.typed, all.join(" "))
    }

    #[test]
    fn filters_are_completed() {
        assert_snapshot!(shown(""), @r#"0"": <field>: not"#);
        assert_snapshot!(shown("proc"), @r#"0"proc": <field>:"#);
        assert_snapshot!(shown("n"), @r#"0"n": <field>: not"#);
        assert_snapshot!(shown("process.name:"), @r#"13"": <value of process.name>"#);
        assert_snapshot!(shown("process.name:power"), @r#"13"power": <value of process.name>"#);
        assert_snapshot!(shown(r#"process.name:"Power S"#), @r#"13"Power S": <value of process.name>"#);
        assert_snapshot!(shown("-us"), @r#"1"us": <field>:"#);
        assert_snapshot!(shown("source.ip:fe80::1"), @r#"10"fe80::1": <value of source.ip>"#);
        assert_snapshot!(shown("process.pid >= 4"), @r#"15"4": <value of process.pid>"#);
        assert_snapshot!(shown("event.code:(4624 or "), @r#"20"": <value of event.code>"#);
        assert_snapshot!(shown("event.code:(4624 "), @r#"17"": and or"#);
        assert_snapshot!(shown("event.code:(4624 or 4625) "), @r#"26"": <field>: and or | not"#);
        assert_snapshot!(shown("a:b "), @r#"4"": <field>: and or | not"#);
        assert_snapshot!(shown("a:b a"), @r#"4"a": <field>: and"#);
        assert_snapshot!(shown("process.pid "), @r#"12"": <field>: and or | : > >= < <= not"#);
        assert_snapshot!(shown("a:b and "), @r#"8"": <field>: not"#);
        assert_snapshot!(shown("a:b and not us"), @r#"12"us": <field>:"#);
        assert_snapshot!(shown("(a:b or "), @r#"8"": <field>: not"#);
        assert_snapshot!(shown("(a:b or c:d "), @r#"12"": <field>: and or not"#);
        assert_snapshot!(shown(r"file.path:/\.(ps1|vbs)$/ "), @r#"25"": <field>: and or | not"#);
    }

    #[test]
    fn pipes_are_completed() {
        assert_snapshot!(shown("* | "), @r#"4"": stats timechart top rare sort head fields where dedup sequence"#);
        assert_snapshot!(shown("* | s"), @r#"4"s": stats sort sequence"#);
        assert_snapshot!(shown("a || s"), @r#"5"s": <field>:"#);
        assert_snapshot!(shown("* | stats "), @r#"10"": count dc( sum( avg( min( max( first( last( p50( p95( p99( percentile("#);
        assert_snapshot!(shown("* | stats p"), @r#"10"p": p50( p95( p99( percentile("#);
        assert_snapshot!(shown("* | stats sum(so"), @r#"14"so": <field>)"#);
        assert_snapshot!(shown("* | stats percentile(a, "), @r#"24"": "#);
        assert_snapshot!(shown("* | stats count "), @r#"16"": by as |"#);
        assert_snapshot!(shown("* | stats count, d"), @r#"17"d": dc("#);
        assert_snapshot!(shown("* | stats count by ho"), @r#"19"ho": <field>"#);
        assert_snapshot!(shown("* | stats count by host.name, "), @r#"30"": <field>"#);
        assert_snapshot!(shown("* | timechart "), @r#"14"": span="#);
        assert_snapshot!(shown("* | timechart span="), @r#"19"": 1m 5m 15m 1h 1d"#);
        assert_snapshot!(shown("* | timechart span=1h c"), @r#"22"c": count"#);
        assert_snapshot!(shown("* | top 5 us"), @r#"10"us": <field>"#);
        assert_snapshot!(shown("* | top 5 user.name "), @r#"20"": by |"#);
        assert_snapshot!(shown("* | stats count as n by host.name | sort -"), @r#"42"": host.name n"#);
        assert_snapshot!(shown("* | stats count as n by host.name | where "), @r#"42"": host.name: n: not"#);
        assert_snapshot!(shown("* | where us"), @r#"10"us": <field>:"#);
        assert_snapshot!(shown("* | where a:"), @r#"12"": <value of a>"#);
        assert_snapshot!(shown("* | sequence "), @r#"13"": by within"#);
        assert_snapshot!(shown("* | sequence by host.name "), @r#"26"": within"#);
        assert_snapshot!(shown("* | sequence within 5m "), @r#"23"": ["#);
        assert_snapshot!(shown("* | sequence within 5m [process.name:who"), @r#"37"who": <value of process.name>"#);
        assert_snapshot!(shown("* | sequence within 5m [a:b "), @r#"28"": <field>: and or ] not"#);
        assert_snapshot!(shown("* | sequence within 5m [a:b] [pro"), @r#"30"pro": <field>:"#);
    }
}
