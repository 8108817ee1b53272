//! A rule's witness, near misses and score as text for a terminal.

use std::fmt::{self, Display, Formatter};

use sigma::Logsource;
use sigma::expr::Expr;

use crate::{
    Change, GaveUp, Nearby, NoWitness, Roles, Score, Value, Variation, Witness, near_misses, score,
    solve,
};

/// The most characters of a value that are shown.
const VALUE_CHARS_MAX: usize = 200;

/// The most evasions that are shown.
const EVASIONS_MAX: usize = 5;

/// All that is found out about one rule; shown as text.
#[derive(Debug, Clone)]
pub struct Report {
    /// How people call the rule.
    pub label: String,
    /// An event that it matches, or why there is none.
    pub witness: Result<Witness, NoWitness>,
    /// Events that it must not match; none without a witness.
    pub nearby: Nearby,
    /// What it catches of the witness's variations; nothing without a witness.
    pub score: Option<Score>,
}

impl Report {
    /// Solves a rule and looks at what is around its witness.
    pub fn new(label: String, expr: &Expr, logsource: &Logsource, roles: &Roles<'_>) -> Report {
        let witness = solve(expr, logsource);
        let (nearby, score) = match &witness {
            Ok(witness) => (
                near_misses(expr, witness, logsource),
                Some(score(expr, &witness.event_of(logsource), roles)),
            ),
            Err(_) => (Nearby::default(), None),
        };
        Report { label, witness, nearby, score }
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.label)?;
        match &self.witness {
            Ok(witness) => writeln!(f, "  matches\n{witness}")?,
            Err(reason) => return writeln!(f, "  {reason}"),
        }
        write!(f, "{}", self.nearby)?;
        match &self.score {
            Some(score) => write!(f, "{score}"),
            None => Ok(()),
        }
    }
}

impl Display for Witness {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.fields.is_empty() {
            return write!(f, "    any event of its logsource");
        }
        let width = self.fields.iter().map(|field| field.name.chars().count()).max().unwrap_or(0);
        for (number, field) in self.fields.iter().enumerate() {
            let line_end = if number == 0 { "" } else { "\n" };
            write!(f, "{line_end}    {:width$}  {}", field.name, shown(&field.values))?;
        }
        Ok(())
    }
}

impl Display for NoWitness {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            NoWitness::Contradiction(conflicts) => {
                f.write_str("can never match")?;
                for conflict in conflicts {
                    write!(f, "\n    {}", conflict.tests.join("\n      against "))?;
                }
                Ok(())
            }
            NoWitness::GaveUp(reason) => write!(f, "no witness found: {reason}"),
        }
    }
}

impl Display for GaveUp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            GaveUp::Decisions => f.write_str("too many alternatives were tried"),
            GaveUp::Depth => f.write_str("too many alternatives depend on one another"),
            GaveUp::Unverified => f.write_str("the event that was found does not match"),
            GaveUp::Values(conflict) => {
                write!(f, "no value found for {}: {}", conflict.field, conflict.tests.join(", "))
            }
        }
    }
}

impl Display for Nearby {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if !self.misses.is_empty() {
            writeln!(f, "  must not match")?;
        }
        for miss in &self.misses {
            writeln!(f, "    {}", miss.part)?;
            for change in &miss.changes {
                writeln!(f, "      {change}")?;
            }
        }
        for part in &self.without {
            let what = if part.never_applies { "never applies" } else { "no near miss found" };
            writeln!(f, "    {}\n      {what}", part.part)?;
        }
        Ok(())
    }
}

impl Display for Change {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (self.before.as_slice(), self.after.as_slice()) {
            ([], after) => write!(f, "{} is {}", self.field, shown(after)),
            (_, []) => write!(f, "{} is not there", self.field),
            (_, after) => write!(f, "{} is {}", self.field, shown(after)),
        }
    }
}

impl Display for Score {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(percent) = self.percent() else {
            return writeln!(f, "  nothing to vary");
        };
        writeln!(f, "  catches {} of {} variations ({percent} %)", self.caught, self.tried)?;
        // One of each kind: the parameters of PowerShell alone have dozens of forms.
        let mut seen: Vec<(&str, &str)> = Vec::new();
        for evasion in &self.evasions {
            let kind = (evasion.name, evasion.field.as_str());
            if !seen.contains(&kind) && seen.len() < EVASIONS_MAX {
                seen.push(kind);
                write!(f, "{evasion}")?;
            }
        }
        Ok(())
    }
}

impl Display for Variation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "    cost {}, {}", self.cost, self.name)?;
        writeln!(f, "      {} is {}", self.field, clipped(&self.after))
    }
}

fn shown(values: &[Value]) -> String {
    let one = |value: &Value| match value {
        Value::Text(text) if text.is_empty() || text.trim() != text => {
            format!("\"{}\"", clipped(text))
        }
        value => clipped(&value.to_string()),
    };
    values.iter().map(one).collect::<Vec<String>>().join(" and ")
}

fn clipped(text: &str) -> String {
    // A control character must not do anything to the terminal.
    let plain: String = text
        .chars()
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .collect();
    match plain.char_indices().nth(VALUE_CHARS_MAX) {
        Some((at, _)) => format!("{}…", plain.get(..at).unwrap_or_default()),
        None => plain,
    }
}
