//! What a matcher is made of: sizes, memory, and the rules that cost every event something.

use std::fmt::{self, Display, Formatter};

use sigma::expr::Expr;

use crate::witness::{Lack, Trigger};
use crate::{Compiled, Rule};

/// Sizes and costs of a matcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Rules that are matched.
    pub rules: usize,
    /// Tests as the rules write them.
    pub tests: usize,
    /// Different ones among them.
    pub atoms: usize,
    /// Parts that several rules share and that are evaluated once.
    pub shared: usize,
    /// Different fields.
    pub fields: usize,
    /// Different regular expressions.
    pub regexes: usize,
    /// Literals that are searched for, of all classes.
    pub literals: usize,
    /// Logsource classes met so far.
    pub classes: usize,
    /// Memory of the search tables of those classes, in bytes.
    pub table_bytes: usize,
    /// Memory of compiled regular expressions, in bytes.
    pub regex_bytes: usize,
    /// Memory of all that is compiled, in bytes; the two above included.
    pub compiled_bytes: usize,
    /// Memory of the rules as they were given, kept for explanations, in bytes (roughly).
    pub rule_bytes: usize,
    /// Rules that are evaluated for every event of their class.
    pub always: Vec<Costly>,
    /// Rules that are evaluated whenever a field is there, whatever it holds.
    pub by_field: Vec<Costly>,
}

/// A rule that is evaluated more often than others, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Costly {
    /// Its index in the input.
    pub rule: u32,
    /// How people call it.
    pub label: String,
    /// Why, in one line.
    pub reason: String,
}

impl Report {
    pub(crate) fn new(compiled: &Compiled, rules: &[Rule]) -> Report {
        let matched: Vec<u32> =
            compiled.groups.iter().flat_map(|group| group.rules.iter().copied()).collect();
        let (mut tests, mut rule_bytes) = (0, 0);
        for rule in rules {
            rule.expr.for_each_atom(&mut |_| tests += 1);
            rule_bytes += expr_bytes(&rule.expr);
        }
        let (mut always, mut by_field) = (Vec::new(), Vec::new());
        for number in &matched {
            let (Some(rule), Some(written)) =
                (compiled.rules.get(*number as usize), rules.get(*number as usize))
            else {
                continue;
            };
            let costly = |reason| Costly { rule: *number, label: written.label.clone(), reason };
            match &rule.witness {
                Err(lack) => always.push(costly(compiled.why(*lack))),
                Ok(witness) => {
                    let field = witness.first.iter().find_map(|trigger| {
                        match compiled.triggers.get(*trigger as usize) {
                            Some(Trigger::Present(field)) => {
                                compiled.atoms.fields.get(*field as usize)
                            }
                            _ => None,
                        }
                    });
                    if let Some(field) = field {
                        let reason = format!(
                            "nothing it asks of {} can be searched for as a literal",
                            field.name
                        );
                        by_field.push(costly(reason));
                    }
                }
            }
        }
        always.sort_by_key(|costly| costly.rule);
        by_field.sort_by_key(|costly| costly.rule);
        let plans = compiled.plans();
        Report {
            rules: matched.len(),
            tests,
            atoms: compiled.atoms.prepared.len() - compiled.shared,
            shared: compiled.shared,
            fields: compiled.atoms.fields.len(),
            regexes: compiled.atoms.regexes.len(),
            literals: compiled.needles.all.iter().flatten().count(),
            classes: plans.len(),
            table_bytes: plans.iter().map(|plan| plan.memory()).sum(),
            regex_bytes: compiled.atoms.regexes.iter().map(|regex| regex.memory_usage()).sum(),
            compiled_bytes: compiled.bytes()
                + plans.iter().map(|plan| plan.memory()).sum::<usize>(),
            rule_bytes,
            always,
            by_field,
        }
    }
}

impl Compiled {
    fn why(&self, lack: Lack) -> String {
        let (Lack::Negated(atom) | Lack::Anything(atom)) = lack;
        let field = self.atoms.prepared.get(atom as usize).map(|prepared| prepared.field);
        let field = field.and_then(|field| self.atoms.fields.get(field as usize));
        match (lack, field) {
            (Lack::Negated(_), Some(field)) => {
                format!("it can hold by what {} is not", field.name)
            }
            (Lack::Negated(_), None) => "it can hold by what no text has".to_owned(),
            (Lack::Anything(_), Some(field)) => {
                format!("it can hold where {} is absent", field.name)
            }
            (Lack::Anything(_), None) => "a keyword of it has no literal to search for".to_owned(),
        }
    }
}

fn expr_bytes(expr: &Expr) -> usize {
    size_of::<Expr>()
        + match expr {
            Expr::And(parts) | Expr::Or(parts) => parts.iter().map(expr_bytes).sum(),
            Expr::Not(part) | Expr::Selection(_, part) => expr_bytes(part),
            Expr::Atom(atom) => match &atom.test {
                sigma::expr::Test::Text(pattern) => pattern
                    .pieces
                    .iter()
                    .map(|piece| match piece {
                        sigma::expr::Piece::Literal(text) => text.len() + size_of_val(piece),
                        _ => size_of_val(piece),
                    })
                    .sum(),
                sigma::expr::Test::Regex(regex) => regex.source.len(),
                _ => 0,
            },
        }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} rules with {} tests: {} different ones of {} fields, {} shared parts, {} regular \
             expressions, {} literals to search for",
            self.rules,
            self.tests,
            self.atoms,
            self.fields,
            self.shared,
            self.regexes,
            self.literals
        )?;
        let kib = |bytes: usize| bytes.div_ceil(1024);
        writeln!(
            f,
            "{} KiB compiled ({} KiB regular expressions, {} KiB search tables of {} classes met), \
             {} KiB rules kept for explanations",
            kib(self.compiled_bytes),
            kib(self.regex_bytes),
            kib(self.table_bytes),
            self.classes,
            kib(self.rule_bytes)
        )?;
        for (costly, when) in [
            (&self.always, "for every event of their class"),
            (&self.by_field, "whenever a field is there"),
        ] {
            writeln!(f, "{} rules are evaluated {when}", costly.len())?;
            for rule in costly {
                writeln!(f, "  {}: {}", rule.label, rule.reason)?;
            }
        }
        Ok(())
    }
}
