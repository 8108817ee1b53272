//! When a hypothesis is supported or refuted: `success and not (maintenance or test)`.
//!
//! Steps hold, do not hold, or cannot be told, so an expression has three values too (Kleene's
//! logic): `a and b` is false when `a` is, whatever is not known of `b`.

use sigma::suggest;

/// The longest expression, in bytes.
const EXPRESSION_BYTES_MAX: usize = 4 << 10;
/// The most nested parentheses and `not`s.
const DEPTH_MAX: usize = 32;

/// A condition over the steps of a hunt, which it names by their index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// The step holds.
    Step(usize),
    /// The part does not hold.
    Not(Box<Expression>),
    /// All parts hold.
    And(Vec<Expression>),
    /// One of the parts holds.
    Or(Vec<Expression>),
}

/// What is wrong with an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// How many characters stand before the place.
    pub(crate) at: usize,
    pub(crate) length: usize,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    pub(crate) unknown_step: bool,
}

impl Expression {
    /// Its value, when `holds` tells of each step whether it holds; `None` for what is not known.
    pub fn evaluate(&self, holds: &dyn Fn(usize) -> Option<bool>) -> Option<bool> {
        match self {
            Expression::Step(step) => holds(*step),
            Expression::Not(part) => part.evaluate(holds).map(|value| !value),
            Expression::And(parts) => all(parts, holds, true),
            Expression::Or(parts) => all(parts, holds, false),
        }
    }

    /// The steps that it names, each once, in the order of the hunt.
    pub fn steps(&self) -> Vec<usize> {
        let mut steps = Vec::new();
        self.collect(&mut steps);
        steps.sort_unstable();
        steps.dedup();
        steps
    }

    fn collect(&self, steps: &mut Vec<usize>) {
        match self {
            Expression::Step(step) => steps.push(*step),
            Expression::Not(part) => part.collect(steps),
            Expression::And(parts) | Expression::Or(parts) => {
                parts.iter().for_each(|part| part.collect(steps));
            }
        }
    }

    pub(crate) fn parse(text: &str, ids: &[&str]) -> Result<Expression, Fault> {
        let mut parser = Parser { tokens: Vec::new(), next: 0, depth: 0, end: 0, ids };
        if text.len() > EXPRESSION_BYTES_MAX {
            return Err(parser.fault(0, 1, format!("longer than {EXPRESSION_BYTES_MAX} bytes")));
        }
        let mut word = String::new();
        let mut count = 0;
        for (at, c) in text.chars().chain([' ']).enumerate() {
            if !c.is_whitespace() && c != '(' && c != ')' {
                word.push(c);
                continue;
            }
            if !word.is_empty() {
                parser.tokens.push((at - word.chars().count(), std::mem::take(&mut word)));
            }
            if !c.is_whitespace() {
                parser.tokens.push((at, c.to_string()));
            }
            count = at;
        }
        parser.end = count;
        let expression = parser.or()?;
        match parser.peek() {
            None => Ok(expression),
            Some((at, ")")) => Err(parser.fault(at, 1, "this `)` closes nothing")),
            Some((at, word)) => {
                let length = word.chars().count();
                let message = format!("before `{word}`, `and` or `or` should stand");
                Err(parser.fault(at, length, message))
            }
        }
    }
}

/// `and` for `until` true, `or` for `until` false: the first part that is otherwise decides.
fn all(parts: &[Expression], holds: &dyn Fn(usize) -> Option<bool>, until: bool) -> Option<bool> {
    let mut value = Some(until);
    for part in parts {
        match part.evaluate(holds) {
            Some(known) if known != until => return Some(known),
            Some(_) => {}
            None => value = None,
        }
    }
    value
}

struct Parser<'i> {
    tokens: Vec<(usize, String)>,
    next: usize,
    depth: usize,
    end: usize,
    ids: &'i [&'i str],
}

impl Parser<'_> {
    fn or(&mut self) -> Result<Expression, Fault> {
        let mut parts = vec![self.and()?];
        while self.takes("or") {
            parts.push(self.and()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expression::Or(parts) })
    }

    fn and(&mut self) -> Result<Expression, Fault> {
        let mut parts = vec![self.not()?];
        while self.takes("and") {
            parts.push(self.not()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expression::And(parts) })
    }

    fn not(&mut self) -> Result<Expression, Fault> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let at = self.peek().map_or(self.end, |(at, _)| at);
            return Err(self.fault(at, 1, format!("nested deeper than {DEPTH_MAX}")));
        }
        let expression = if self.takes("not") {
            Expression::Not(Box::new(self.not()?))
        } else {
            self.primary()?
        };
        self.depth -= 1;
        Ok(expression)
    }

    fn primary(&mut self) -> Result<Expression, Fault> {
        let Some((at, word)) = self.peek().map(|(at, word)| (at, word.to_owned())) else {
            return Err(self.fault(self.end, 1, "the name of a step is missing at the end"));
        };
        self.next += 1;
        let length = word.chars().count();
        match word.as_str() {
            "(" => {
                let inner = self.or()?;
                if self.takes(")") {
                    return Ok(inner);
                }
                Err(self.fault(at, 1, "this `(` is never closed"))
            }
            ")" => Err(self.fault(at, 1, "the name of a step should stand here")),
            _ if is_operator(&word) => {
                Err(self.fault(at, length, format!("before `{word}` a step should stand")))
            }
            _ => match self.ids.iter().position(|id| *id == word) {
                Some(step) => Ok(Expression::Step(step)),
                None => {
                    let help = suggest::help(&word, self.ids.iter().copied());
                    let fault = self.fault(at, length, format!("there is no step `{word}`"));
                    Err(Fault { help: Some(help), unknown_step: true, ..fault })
                }
            },
        }
    }

    fn peek(&self) -> Option<(usize, &str)> {
        self.tokens.get(self.next).map(|(at, word)| (*at, word.as_str()))
    }

    fn takes(&mut self, wanted: &str) -> bool {
        let is = self.peek().is_some_and(|(_, word)| word.eq_ignore_ascii_case(wanted));
        self.next += usize::from(is);
        is
    }

    fn fault(&self, at: usize, length: usize, message: impl Into<String>) -> Fault {
        Fault { at, length, message: message.into(), help: None, unknown_step: false }
    }
}

/// Whether a word is one that no step can have as its id.
pub(crate) fn is_operator(word: &str) -> bool {
    ["and", "or", "not"].iter().any(|operator| word.eq_ignore_ascii_case(operator))
}

#[cfg(test)]
mod tests {
    use super::Expression;

    const IDS: [&str; 3] = ["a", "b", "long-name"];

    fn value(text: &str, holds: [Option<bool>; 3]) -> Option<bool> {
        Expression::parse(text, &IDS).expect("valid").evaluate(&|step| holds[step])
    }

    #[test]
    fn three_values() {
        let (yes, no) = (Some(true), Some(false));
        for (text, holds, wanted) in [
            ("a", [yes, no, no], yes),
            ("a and b", [yes, None, no], None),
            ("a and b", [no, None, no], no),
            ("a and b", [None, no, no], no),
            ("a or b", [None, yes, no], yes),
            ("a or b", [None, no, no], None),
            ("not a", [None, no, no], None),
            ("not a", [no, no, no], yes),
            ("NOT (a Or b) and long-name", [no, no, yes], yes),
            ("a or b and long-name", [yes, no, no], yes),
            ("(a or b)and(long-name)", [yes, no, no], no),
        ] {
            assert_eq!(value(text, holds), wanted, "{text} {holds:?}");
        }
    }

    #[test]
    fn faults_have_a_place() {
        let shown = |text: &str| {
            let fault = Expression::parse(text, &IDS).expect_err("wrong");
            let mark = format!("{}{}", " ".repeat(fault.at), "^".repeat(fault.length));
            format!("{text}\n{mark} {} ({:?})", fault.message, fault.help.as_deref())
        };
        insta::assert_snapshot!(shown("a and longname"), @r#"
        a and longname
              ^^^^^^^^ there is no step `longname` (Some("did you mean `long-name`?"))
        "#);
        insta::assert_snapshot!(shown("a b"), @r"
        a b
          ^ before `b`, `and` or `or` should stand (None)
        ");
        insta::assert_snapshot!(shown("(a and"), @r"
        (a and
              ^ the name of a step is missing at the end (None)
        ");
        insta::assert_snapshot!(shown("(a"), @r"
        (a
        ^ this `(` is never closed (None)
        ");
        insta::assert_snapshot!(shown("a or or b"), @r"
        a or or b
             ^^ before `or` a step should stand (None)
        ");
        insta::assert_snapshot!(shown("a)"), @r"
        a)
         ^ this `)` closes nothing (None)
        ");
        assert!(Expression::parse("", &IDS).is_err());
        assert!(Expression::parse(&"(".repeat(2000), &IDS).is_err());
        assert!(Expression::parse(&"not ".repeat(1000), &IDS).is_err());
        assert!(Expression::parse(&"a ".repeat(4000), &IDS).is_err());
    }
}
