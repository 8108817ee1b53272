//! The condition language: `selection and not 1 of filter_*`.
//!
//! A hand-written parser, by descent, with a bound on nesting: the grammar is small, and a hand
//! can say what was meant when something else stands there. Precedence, weakest first: `or`,
//! `and`, `not`, `N of`, parentheses. The old aggregation form behind a pipe is recognised only to
//! say what replaced it.

use std::sync::Arc;

use crate::diagnostic::{Code, Diagnostic, Span};
use crate::rule::Selection;
use crate::suggest;

/// The most bytes of a condition. The longest public one has 542.
pub const CONDITION_BYTES_MAX: usize = 16 << 10;
/// The most nested parentheses and `not`s.
pub const CONDITION_DEPTH_MAX: usize = 100;

/// How the selections of a rule are linked.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// Every part holds.
    And(Vec<Condition>),
    /// At least one part holds.
    Or(Vec<Condition>),
    /// The part does not hold.
    Not(Box<Condition>),
    /// The selection of this name holds.
    Selection(Arc<str>, Span),
    /// Several selections at once.
    Of(Quantifier, Target, Span),
    /// At least so many of the parts hold; only [`Condition::spelled_out`] makes it.
    AtLeast(u32, Vec<Condition>),
}

/// How many of several selections must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantifier {
    /// Every one.
    All,
    /// At least so many; `1 of` and `any of` are `AtLeast(1)`.
    AtLeast(u32),
}

/// Which selections are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `them`: all whose names don't begin with an underscore.
    Them,
    /// All whose names match, `*` being any number of characters.
    Pattern(Arc<str>),
}

impl Condition {
    /// Parses a condition whose text begins at `at` and stands on one line of the file.
    pub fn parse(text: &str, at: Span) -> Result<Condition, Diagnostic> {
        Parser::new(text, at, true)?.whole()
    }

    /// The same for a text that does not stand in the file as it is (a folded scalar): every
    /// diagnostic points at `at` as a whole.
    pub(crate) fn parse_displaced(text: &str, at: Span) -> Result<Condition, Diagnostic> {
        Parser::new(text, at, false)?.whole()
    }

    /// Checks that every selection it names is there.
    pub fn check(&self, selections: &[Selection]) -> Result<(), Diagnostic> {
        match self {
            Condition::And(parts) | Condition::Or(parts) | Condition::AtLeast(_, parts) => {
                parts.iter().try_for_each(|part| part.check(selections))
            }
            Condition::Not(part) => part.check(selections),
            Condition::Selection(name, span) => {
                if selections.iter().any(|selection| selection.name == *name) {
                    return Ok(());
                }
                let names = selections.iter().map(|selection| &*selection.name);
                let message = format!("there is no selection `{name}`");
                Err(Diagnostic::error(Code::UnknownSelection, *span, message)
                    .with_help(suggest::help(name, names)))
            }
            Condition::Of(quantifier, target, span) => {
                let count = target.select(selections).count();
                let enough = match quantifier {
                    Quantifier::All => 1,
                    Quantifier::AtLeast(least) => *least as usize,
                };
                if count >= enough {
                    return Ok(());
                }
                let message = match target {
                    Target::Them if count == 0 => "there is no selection for `them`".to_owned(),
                    Target::Pattern(pattern) if count == 0 => {
                        format!("no selection matches `{pattern}`")
                    }
                    _ => format!("it asks for {enough} selections, but there are {count}"),
                };
                let names = selections.iter().map(|selection| &*selection.name);
                let names = names.collect::<Vec<_>>().join(", ");
                Err(Diagnostic::error(Code::UnknownSelection, *span, message)
                    .with_help(format!("the selections are: {names}")))
            }
        }
    }

    /// Calls `each` with the name of every selection it uses.
    pub fn for_each_used<'a>(&self, selections: &'a [Selection], each: &mut impl FnMut(&'a str)) {
        match self {
            Condition::And(parts) | Condition::Or(parts) | Condition::AtLeast(_, parts) => {
                for part in parts {
                    part.for_each_used(selections, each);
                }
            }
            Condition::Not(part) => part.for_each_used(selections, each),
            Condition::Selection(name, _) => {
                for selection in selections.iter().filter(|selection| selection.name == *name) {
                    each(&selection.name);
                }
            }
            Condition::Of(_, target, _) => {
                for selection in target.select(selections) {
                    each(&selection.name);
                }
            }
        }
    }

    /// Whether a `not` stands anywhere in it.
    pub fn has_not(&self) -> bool {
        match self {
            Condition::And(parts) | Condition::Or(parts) | Condition::AtLeast(_, parts) => {
                parts.iter().any(Condition::has_not)
            }
            Condition::Not(_) => true,
            Condition::Selection(..) | Condition::Of(..) => false,
        }
    }

    /// The same with each `N of ...` spelled out over these selections, so that selections which
    /// a filter or a pipeline adds later can't be meant by its patterns.
    pub fn spelled_out(&self, selections: &[Selection]) -> Condition {
        let all = |parts: &[Condition]| -> Vec<Condition> {
            parts.iter().map(|part| part.spelled_out(selections)).collect()
        };
        match self {
            Condition::And(parts) => Condition::And(all(parts)),
            Condition::Or(parts) => Condition::Or(all(parts)),
            Condition::AtLeast(least, parts) => Condition::AtLeast(*least, all(parts)),
            Condition::Not(part) => Condition::Not(Box::new(part.spelled_out(selections))),
            Condition::Selection(..) => self.clone(),
            Condition::Of(quantifier, target, span) => {
                let parts: Vec<Condition> = target
                    .select(selections)
                    .map(|selection| Condition::Selection(selection.name.clone(), *span))
                    .collect();
                match quantifier {
                    Quantifier::All => single_or(parts, Condition::And),
                    Quantifier::AtLeast(1) => single_or(parts, Condition::Or),
                    Quantifier::AtLeast(least) => Condition::AtLeast(*least, parts),
                }
            }
        }
    }

    /// This and another, without nesting deeper for each one that is added.
    pub(crate) fn and(self, other: Condition) -> Condition {
        match self {
            Condition::And(mut parts) => {
                parts.push(other);
                Condition::And(parts)
            }
            single => Condition::And(vec![single, other]),
        }
    }

    /// Renames every selection of a condition that is spelled out.
    pub(crate) fn rename(&mut self, new_name: &impl Fn(&str) -> Arc<str>) {
        match self {
            Condition::And(parts) | Condition::Or(parts) | Condition::AtLeast(_, parts) => {
                for part in parts {
                    part.rename(new_name);
                }
            }
            Condition::Not(part) => part.rename(new_name),
            Condition::Selection(name, _) => *name = new_name(name),
            Condition::Of(..) => {}
        }
    }
}

impl Target {
    /// The selections that are meant.
    pub fn select<'a>(&self, selections: &'a [Selection]) -> impl Iterator<Item = &'a Selection> {
        selections.iter().filter(move |selection| match self {
            Target::Them => !selection.name.starts_with('_'),
            Target::Pattern(pattern) => matches_glob(pattern, &selection.name),
        })
    }
}

/// Whether a name matches a pattern in which `*` is any number of characters.
pub(crate) fn matches_glob(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut pieces = pieces.peekable();
    if pieces.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return rest.ends_with(piece);
        }
        // The leftmost place leaves the most for the pieces that follow.
        match rest.split_once(piece) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    true
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Open,
    Close,
    Pipe,
    Word(&'a str),
}

struct Parser<'a> {
    tokens: Vec<(Token<'a>, Span)>,
    next: usize,
    end: Span,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, at: Span, columns: bool) -> Result<Self, Diagnostic> {
        if text.len() > CONDITION_BYTES_MAX {
            let message = format!("the condition has more than {CONDITION_BYTES_MAX} bytes");
            return Err(Diagnostic::error(Code::Condition, at, message));
        }
        let place = |offset: usize, length: usize| match columns {
            true => Span {
                line: at.line,
                column: at.column + u32::try_from(offset).unwrap_or(0),
                length: u32::try_from(length).unwrap_or(1),
            },
            false => at,
        };
        let mut tokens = Vec::new();
        let mut offset = 0;
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let is_word = |c: char| !c.is_whitespace() && !matches!(c, '(' | ')' | '|');
            let length = match first {
                c if c.is_whitespace() => {
                    let trimmed = rest.trim_start();
                    offset += rest.chars().count() - trimmed.chars().count();
                    rest = trimmed;
                    continue;
                }
                '(' | ')' | '|' => 1,
                _ => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            };
            let (word, after) = rest.split_at(length);
            let token = match first {
                '(' => Token::Open,
                ')' => Token::Close,
                '|' => Token::Pipe,
                _ => Token::Word(word),
            };
            let characters = word.chars().count();
            tokens.push((token, place(offset, characters)));
            offset += characters;
            rest = after;
        }
        Ok(Parser { tokens, next: 0, end: place(offset, 1), depth: 0 })
    }

    fn whole(mut self) -> Result<Condition, Diagnostic> {
        if let Some((_, span)) = self.tokens.iter().find(|(token, _)| *token == Token::Pipe) {
            let message = "aggregations in the condition (`| count() ...`) are not supported: \
                           Sigma replaced them by correlation rules";
            return Err(Diagnostic::error(Code::Aggregation, *span, message).with_help(
                "keep the part before `|` as the rule's condition, and add a document with \
                 `correlation: {type: event_count, rules: [...], group-by: [...], timespan: ..., \
                 condition: {gte: N}}`",
            ));
        }
        let condition = self.or()?;
        match self.peek() {
            None => Ok(condition),
            Some((Token::Close, span)) => Err(fault(span, "this `)` closes nothing")),
            Some((_, span)) => Err(fault(span, "here `and`, `or` or the end should stand")),
        }
    }

    fn or(&mut self) -> Result<Condition, Diagnostic> {
        let mut parts = vec![self.and()?];
        while self.takes_word("or") {
            parts.push(self.and()?);
        }
        Ok(single_or(parts, Condition::Or))
    }

    fn and(&mut self) -> Result<Condition, Diagnostic> {
        let mut parts = vec![self.not()?];
        while self.takes_word("and") {
            parts.push(self.not()?);
        }
        Ok(single_or(parts, Condition::And))
    }

    fn not(&mut self) -> Result<Condition, Diagnostic> {
        self.depth += 1;
        if self.depth > CONDITION_DEPTH_MAX {
            let message = format!("the condition is nested deeper than {CONDITION_DEPTH_MAX}");
            return Err(fault(self.peek().map_or(self.end, |(_, span)| span), message));
        }
        let condition = match self.takes_word("not") {
            true => Condition::Not(Box::new(self.not()?)),
            false => self.primary()?,
        };
        self.depth -= 1;
        Ok(condition)
    }

    fn primary(&mut self) -> Result<Condition, Diagnostic> {
        let Some((token, span)) = self.take() else {
            return Err(fault(self.end, "the condition ends where a selection should stand"));
        };
        let word = match token {
            Token::Open => {
                let inner = self.or()?;
                return match self.take() {
                    Some((Token::Close, _)) => Ok(inner),
                    _ => Err(fault(span, "this `(` is never closed")),
                };
            }
            Token::Word(word) if !is_operator(word) => word,
            Token::Word(word) => {
                return Err(fault(span, format!("before `{word}` a selection should stand")));
            }
            Token::Close | Token::Pipe => {
                return Err(fault(span, "here a selection should stand"));
            }
        };
        if !matches!(self.peek(), Some((Token::Word(of), _)) if of.eq_ignore_ascii_case("of")) {
            if word.contains('*') {
                return Err(fault(span, format!("`{word}` is a pattern, not a name"))
                    .with_help(format!("write `1 of {word}` or `all of {word}`")));
            }
            return Ok(Condition::Selection(word.into(), span));
        }
        self.next += 1;
        let quantifier = match word.to_ascii_lowercase().as_str() {
            "all" => Quantifier::All,
            "any" => Quantifier::AtLeast(1),
            number => match number.parse() {
                Ok(least) if least > 0 => Quantifier::AtLeast(least),
                _ => {
                    return Err(fault(span, format!("`{word} of` is not a quantity"))
                        .with_help("write `1 of`, `any of`, `all of` or a number"));
                }
            },
        };
        match self.take() {
            Some((Token::Word(target), _)) => {
                let target = match target.eq_ignore_ascii_case("them") {
                    true => Target::Them,
                    false => Target::Pattern(target.into()),
                };
                Ok(Condition::Of(quantifier, target, span))
            }
            _ => Err(fault(span, format!("after `{word} of` a name or `them` should stand"))),
        }
    }

    fn peek(&self) -> Option<(Token<'a>, Span)> {
        self.tokens.get(self.next).copied()
    }

    fn take(&mut self) -> Option<(Token<'a>, Span)> {
        let token = self.peek();
        self.next += 1;
        token
    }

    fn takes_word(&mut self, word: &str) -> bool {
        let is =
            matches!(self.peek(), Some((Token::Word(next), _)) if next.eq_ignore_ascii_case(word));
        self.next += usize::from(is);
        is
    }
}

fn is_operator(word: &str) -> bool {
    ["and", "or", "not", "of"].iter().any(|operator| word.eq_ignore_ascii_case(operator))
}

fn single_or(mut parts: Vec<Condition>, make: fn(Vec<Condition>) -> Condition) -> Condition {
    match parts.len() {
        1 => parts.remove(0),
        _ => make(parts),
    }
}

fn fault(span: Span, message: impl Into<String>) -> Diagnostic {
    Diagnostic::error(Code::Condition, span, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(condition: &Condition) -> String {
        let join = |parts: &[Condition], word: &str| {
            format!("({})", parts.iter().map(form).collect::<Vec<_>>().join(word))
        };
        match condition {
            Condition::And(parts) => join(parts, " & "),
            Condition::Or(parts) => join(parts, " | "),
            Condition::Not(part) => format!("!{}", form(part)),
            Condition::Selection(name, _) => name.to_string(),
            Condition::Of(quantifier, target, _) => format!("{quantifier:?}:{target:?}"),
            Condition::AtLeast(least, parts) => format!("{least}{}", join(parts, ", ")),
        }
    }

    fn parse(text: &str) -> Result<Condition, Diagnostic> {
        Condition::parse(text, Span { line: 1, column: 1, length: 1 })
    }

    #[test]
    fn precedence() {
        let check = |text, expected: &str| assert_eq!(form(&parse(text).unwrap()), expected);
        check("a", "a");
        check("a or b and not c", "(a | (b & !c))");
        check("(a or b) and not (c or d)", "((a | b) & !(c | d))");
        check("not not a", "!!a");
        check("a AND NOT b OR c", "((a & !b) | c)");
        check("1 of them", "AtLeast(1):Them");
        check("not all of f_*", r#"!All:Pattern("f_*")"#);
        check("2 of sel*", r#"AtLeast(2):Pattern("sel*")"#);
        check("1 of selection-1", r#"AtLeast(1):Pattern("selection-1")"#);
    }

    #[test]
    fn faults_say_where_and_what() {
        let check = |text: &str| {
            let fault = parse(text).expect_err("a fault");
            fault.in_file("r.yml").render(Some(text))
        };
        insta::assert_snapshot!(check("a and"), @r"
        error[condition]: the condition ends where a selection should stand
         --> r.yml:1:6
          |
        1 | a and
          |      ^
        ");
        insta::assert_snapshot!(check("(a or b"), @r"
        error[condition]: this `(` is never closed
         --> r.yml:1:1
          |
        1 | (a or b
          | ^
        ");
        insta::assert_snapshot!(check("a and filter*"), @r"
        error[condition]: `filter*` is a pattern, not a name
         --> r.yml:1:7
          |
        1 | a and filter*
          |       ^^^^^^^
          = help: write `1 of filter*` or `all of filter*`
        ");
        insta::assert_snapshot!(check("a b"), @r"
        error[condition]: here `and`, `or` or the end should stand
         --> r.yml:1:3
          |
        1 | a b
          |   ^
        ");
        assert_eq!(parse("a | count() by x > 5").unwrap_err().code, Code::Aggregation);
        assert_eq!(parse("").unwrap_err().code, Code::Condition);
        assert_eq!(parse(&"(".repeat(50_000)).unwrap_err().code, Code::Condition);
    }

    #[test]
    fn globs() {
        assert!(matches_glob("sel*", "selection"));
        assert!(matches_glob("*_img", "selection_img"));
        assert!(matches_glob("s*_*g", "selection_img"));
        assert!(matches_glob("a*a", "aa"));
        assert!(!matches_glob("a*a", "a"));
        assert!(!matches_glob("sel", "selection"));
        assert!(matches_glob("*", ""));
    }
}
