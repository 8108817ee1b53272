//! An expression as a line of text, for explanations, tests and logs.
//!
//! `(process.executable = '*\cmd.exe' and not user.name is null)`: values in Sigma's own text
//! form, so that what is shown can be pasted into a rule.

use std::fmt::{self, Display, Formatter};

use crate::expr::{Atom, Comparison, Expr, Regex, Relation, Test, TimePart};

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Expr::And(parts) => join(f, parts, " and "),
            Expr::Or(parts) => join(f, parts, " or "),
            Expr::Not(part) => write!(f, "not {part}"),
            Expr::Selection(name, part) => write!(f, "{name}{{{part}}}"),
            Expr::Atom(atom) => atom.fmt(f),
        }
    }
}

fn join(f: &mut Formatter<'_>, parts: &[Expr], word: &str) -> fmt::Result {
    for (index, part) in parts.iter().enumerate() {
        write!(f, "{}{part}", if index == 0 { "(" } else { word })?;
    }
    f.write_str(")")
}

impl Display for Atom {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let field = self.field.as_deref().unwrap_or("any text");
        match &self.test {
            Test::Text(pattern) => {
                let verb = match (self.field.is_some(), pattern.cased) {
                    (true, false) => "=",
                    (true, true) => "==",
                    (false, false) => "has",
                    (false, true) => "has exactly",
                };
                write!(f, "{field} {verb} '{pattern}'")
            }
            Test::Regex(regex) => write!(f, "{field} ~ {regex}"),
            Test::Cidr(network) => write!(f, "{field} in {network}"),
            Test::Compare(comparison, number) => write!(f, "{field} {comparison} {number}"),
            Test::Exists(true) => write!(f, "{field} exists"),
            Test::Exists(false) => write!(f, "{field} does not exist"),
            Test::Null => write!(f, "{field} is null"),
            Test::FieldRef { field: other, relation, cased } => {
                let cased = if *cased { " exactly" } else { "" };
                write!(f, "{field} {relation}{cased} the value of {other}")
            }
            Test::TimePart(part, number) => write!(f, "{part} of {field} = {number}"),
        }
    }
}

impl Display for Regex {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.source)?;
        for (flag, letter) in [(self.ignore_case, 'i'), (self.multi_line, 'm'), (self.dot_all, 's')]
        {
            if flag {
                write!(f, "{letter}")?;
            }
        }
        Ok(())
    }
}

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
        })
    }
}

impl Display for Relation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Relation::Equals => "equals",
            Relation::StartsWith => "starts with",
            Relation::EndsWith => "ends with",
            Relation::Contains => "contains",
        })
    }
}

impl Display for TimePart {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TimePart::Minute => "minute",
            TimePart::Hour => "hour",
            TimePart::Day => "day",
            TimePart::Week => "week",
            TimePart::Month => "month",
            TimePart::Year => "year",
        })
    }
}
