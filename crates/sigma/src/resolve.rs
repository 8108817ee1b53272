//! From a rule to one expression.
//!
//! The last step, after filters and pipelines: each item becomes atoms by way of its modifiers
//! (`values`), maps become `And`, lists `Or`, and the condition links the selections. Whatever the
//! rule can't mean is refused here, with its place. A list of conditions is one `Or`: the
//! specification lets each make a query of its own, and to match one of them is to match the rule.

use crate::condition::Condition;
use crate::diagnostic::{Code, Diagnostic, Faults, Span};
use crate::expr::Expr;
use crate::rule::{Body, Rule};
use crate::values;
use crate::yaml::Node;

/// The most nodes of a resolved rule. The largest public rule has 4,434.
pub const EXPR_NODES_MAX: usize = 200_000;

/// What a rule means. The rule should have gone through its pipelines already.
pub fn resolve(rule: &Rule) -> Result<Expr, Diagnostic> {
    let mut budget = Budget { left: EXPR_NODES_MAX, span: rule.span };
    let mut parts = Vec::new();
    for condition in &rule.conditions {
        let part = condition_expr(condition, rule, &mut budget)
            .map_err(|fault| fault.in_file(&rule.file))?;
        parts.extend(part);
    }
    match any(parts) {
        Some(expr) => Ok(expr),
        None => {
            let message = "nothing is left of this rule to match with";
            Err(Diagnostic::error(Code::NeverMatches, rule.span, message)
                .with_help("pipelines dropped all of its fields")
                .in_file(&rule.file))
        }
    }
}

/// What one selection asks of an event: a map of fields and values, or a list of such maps. For files
/// that are no rules and speak of events in Sigma's words. `key` is where its name stands.
///
/// # Errors
/// All that is wrong with it.
pub fn selection(node: &Node, key: Span, file: &str) -> Result<Expr, Vec<Diagnostic>> {
    let mut faults = Faults::new(file);
    let body = crate::reader::selection_body(node, key, &mut faults);
    let mut budget = Budget { left: EXPR_NODES_MAX, span: key };
    let expr = match body.map(|body| body_expr(&body, &mut budget)) {
        Some(Ok(expr)) => expr,
        Some(Err(fault)) => {
            faults.push(fault);
            None
        }
        None => None,
    };
    match expr {
        Some(expr) if faults.errors() == 0 => Ok(expr),
        _ => Err(faults.into_list()),
    }
}

/// The most selections of an `N of` that is neither one nor all of them: what it means grows with
/// the number of ways to choose them.
pub const CHOICE_SELECTIONS_MAX: usize = 64;

/// How many nodes the rule may still grow.
pub(crate) struct Budget {
    left: usize,
    span: Span,
}

impl Budget {
    pub(crate) fn spend(&mut self, nodes: usize) -> Result<(), Diagnostic> {
        match self.left.checked_sub(nodes) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                let message = format!("the rule grows to more than {EXPR_NODES_MAX} tests");
                Err(Diagnostic::error(Code::RuleTooLarge, self.span, message)
                    .with_help("use fewer values, or fewer selections in `N of`"))
            }
        }
    }
}

/// The expression of a condition; nothing when pipelines dropped all that it asks, in which case
/// the condition around it does without, as pySigma has it.
fn condition_expr(
    condition: &Condition,
    rule: &Rule,
    budget: &mut Budget,
) -> Result<Option<Expr>, Diagnostic> {
    budget.spend(1)?;
    Ok(match condition {
        Condition::And(parts) => all(condition_exprs(parts, rule, budget)?),
        Condition::Or(parts) => any(condition_exprs(parts, rule, budget)?),
        Condition::Not(part) => {
            condition_expr(part, rule, budget)?.map(|part| Expr::Not(Box::new(part)))
        }
        Condition::Selection(name, span) => {
            let Some(selection) = rule.selection(name) else {
                let message = format!("there is no selection `{name}`");
                return Err(Diagnostic::error(Code::UnknownSelection, *span, message));
            };
            body_expr(&selection.body, budget)?
                .map(|body| Expr::Selection(selection.name.clone(), Box::new(body)))
        }
        Condition::Of(..) => {
            condition_expr(&condition.spelled_out(&rule.selections), rule, budget)?
        }
        Condition::AtLeast(least, parts) => {
            if parts.len() > CHOICE_SELECTIONS_MAX {
                let message = format!(
                    "`{least} of` chooses among more than {CHOICE_SELECTIONS_MAX} selections"
                );
                return Err(Diagnostic::error(Code::RuleTooLarge, rule.span, message));
            }
            let parts = condition_exprs(parts, rule, budget)?;
            at_least(*least as usize, &parts, budget)?
        }
    })
}

fn condition_exprs(
    parts: &[Condition],
    rule: &Rule,
    budget: &mut Budget,
) -> Result<Vec<Expr>, Diagnostic> {
    let mut exprs = Vec::new();
    for part in parts {
        exprs.extend(condition_expr(part, rule, budget)?);
    }
    Ok(exprs)
}

/// At least `least` of the parts, spelled out: the first part and one fewer of the rest, or as
/// many of the rest. The budget stops what would explode.
fn at_least(least: usize, parts: &[Expr], budget: &mut Budget) -> Result<Option<Expr>, Diagnostic> {
    let Some((first, rest)) = parts.split_first() else { return Ok(None) };
    if least > parts.len() {
        return Ok(None);
    }
    if least <= 1 {
        spend_copies(parts, budget)?;
        return Ok(any(parts.to_vec()));
    }
    if least == parts.len() {
        spend_copies(parts, budget)?;
        return Ok(all(parts.to_vec()));
    }
    spend_copies(std::slice::from_ref(first), budget)?;
    let with = at_least(least - 1, rest, budget)?.and_then(|rest| all(vec![first.clone(), rest]));
    let without = at_least(least, rest, budget)?;
    Ok(any(with.into_iter().chain(without).collect()))
}

fn spend_copies(parts: &[Expr], budget: &mut Budget) -> Result<(), Diagnostic> {
    budget.spend(parts.iter().map(Expr::size).sum())
}

/// The expression of a selection's body; nothing when a pipeline dropped all of it.
fn body_expr(body: &Body, budget: &mut Budget) -> Result<Option<Expr>, Diagnostic> {
    budget.spend(1)?;
    match body {
        Body::All(parts) => Ok(all(body_exprs(parts, budget)?)),
        Body::Any(parts) => Ok(any(body_exprs(parts, budget)?)),
        Body::Item(item) => values::item_expr(item, budget).map(Some),
    }
}

fn body_exprs(parts: &[Body], budget: &mut Budget) -> Result<Vec<Expr>, Diagnostic> {
    let mut exprs = Vec::new();
    for part in parts {
        exprs.extend(body_expr(part, budget)?);
    }
    Ok(exprs)
}

/// `And` of the parts; the part itself when there is one.
pub(crate) fn all(mut parts: Vec<Expr>) -> Option<Expr> {
    match parts.len() {
        0 => None,
        1 => parts.pop(),
        _ => Some(Expr::And(parts)),
    }
}

/// `Or` of the parts; the part itself when there is one.
pub(crate) fn any(mut parts: Vec<Expr>) -> Option<Expr> {
    match parts.len() {
        0 => None,
        1 => parts.pop(),
        _ => Some(Expr::Or(parts)),
    }
}
