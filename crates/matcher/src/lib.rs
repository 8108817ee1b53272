//! All rules compiled into one matcher.
//!
//! The work for an event depends on its length and on what it hits, not on the number of rules:
//!
//! 1. Equal tests of different rules become one atom (`atoms`), equal parts of conditions one node
//!    (`nodes`).
//! 2. Each rule names the rarest thing that it needs, mostly a few literals: its witness
//!    (`witness`; how rare is guessed by `common`, what a regular expression needs is found by
//!    `required`).
//! 3. For an event, the values that rules ask for are lower-cased once, and each is searched in one
//!    pass for all literals that rules of the event's logsource class seek in its field (`needles`,
//!    `plan`). Which values that are follows from the names of the event's fields, and is remembered
//!    for the next event with the same names (`shapes`). Only rules whose witness was seen go on.
//! 4. Their conditions are short programs of tests and jumps (`program`). A test that the search
//!    did not answer is made when first asked for and its answer kept (`run`).
//!
//! Rules that can hold by what is *not* there have no witness and are evaluated for every event of
//! their class; [`Matcher::report`] names them. Beside all this stands [`plain`], which reads like
//! the definition and is held equal to the fast way by property tests.
//!
//! What it refuses: conditions deeper than [`DEPTH_MAX`], and regular expressions that grow beyond
//! [`regex::REGEX_BYTES_MAX`]; such a rule is [`Refused`] and the others are matched. No unsafe
//! code, no lock on the way of an event (but for the first of its class), no allocation once a
//! worker's [`Scratch`] is warm and has met the event's names.

mod atoms;
mod common;
pub mod explain;
mod needles;
mod nodes;
pub mod plain;
mod plan;
mod prepared;
mod program;
pub mod regex;
mod report;
mod required;
mod run;
mod shapes;
mod text;
mod value;
mod witness;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use event::{Event, MatchedField};
use sigma::expr::Expr;

use atoms::{Atoms, Interner};
use needles::Needles;
use nodes::Nodes;
use plan::Plan;
use program::{Compiler, FAILS, Step};
use witness::{Chooser, Lack, Trigger, TriggerId, Witness};

pub use explain::{Explanation, Part, Seen, explain, matched};
pub use nodes::DEPTH_MAX;
pub use prepared::Prepared;
pub use report::{Costly, Report};
pub use run::Scratch;

/// The most plans for logsource classes that are kept. There are as many as there are different
/// sets of rules that an event may be for: with all public rules, some hundred.
const PLANS_MAX: usize = 1024;

/// A rule as the matcher takes it.
#[derive(Debug, Clone)]
pub struct Rule {
    /// How people call it, for messages.
    pub label: String,
    /// Which events it reads.
    pub logsource: sigma::Logsource,
    /// What it asks of them, in the names of the event model.
    pub expr: Expr,
}

/// A rule that the matcher does not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{label}: {reason}")]
pub struct Refused {
    /// Its index in the input.
    pub rule: u32,
    /// How people call it.
    pub label: String,
    /// Why, in one line.
    pub reason: String,
}

/// All rules; shared by the workers, each of which has its own [`Scratch`].
#[derive(Debug)]
pub struct Matcher {
    rules: Vec<Rule>,
    compiled: Compiled,
}

impl Matcher {
    /// Compiles rules. Those that can't be matched are left out and returned with the reason; the
    /// indices of the others stay those of the input.
    pub fn new(rules: Vec<Rule>) -> (Matcher, Vec<Refused>) {
        let (compiled, refused) = Compiled::new(&rules);
        (Matcher { rules, compiled }, refused)
    }

    /// A rule by its index in the input.
    pub fn rule(&self, rule: u32) -> Option<&Rule> {
        self.rules.get(rule as usize)
    }

    /// Room for one worker.
    pub fn scratch(&self) -> Scratch {
        Scratch::new(&self.compiled)
    }

    /// The rules that hold for the event, as indices into the input, ascending. Only rules whose
    /// logsource the event feeds are looked at.
    pub fn matches<'s>(&self, event: &Event, scratch: &'s mut Scratch) -> &'s [u32] {
        run::matches(&self.compiled, event, scratch)
    }

    /// What became of each part of a rule's condition for this event; `None` if there is no such
    /// rule. The logsource is not looked at.
    pub fn explain(&self, rule: u32, event: &Event) -> Option<Explanation> {
        self.rules.get(rule as usize).map(|rule| explain::explain(&rule.expr, event))
    }

    /// The fields that made a rule hold for this event; empty if it does not.
    pub fn matched(&self, rule: u32, event: &Event) -> Vec<MatchedField> {
        self.rules
            .get(rule as usize)
            .map_or_else(Vec::new, |rule| explain::matched(&rule.expr, event))
    }

    /// Sizes, memory, and the rules that cost every event something.
    pub fn report(&self) -> Report {
        Report::new(&self.compiled, &self.rules)
    }
}

/// The compiled form of all rules.
#[derive(Debug)]
pub(crate) struct Compiled {
    /// Tells matchers apart; never 0.
    id: u64,
    atoms: Atoms,
    steps: Vec<Step>,
    /// By number in the input.
    rules: Vec<CompiledRule>,
    triggers: Vec<Trigger>,
    /// By atom: the trigger that decides it.
    deciders: Vec<Option<TriggerId>>,
    needles: Needles,
    groups: Vec<Group>,
    /// How many of the atoms stand for shared parts.
    shared: usize,
    /// By the groups that the class's rules are in.
    plans: RwLock<HashMap<Vec<u32>, Arc<Plan>>>,
}

#[derive(Debug)]
struct CompiledRule {
    program: u32,
    /// What must be seen for the rule to be evaluated, or why there is nothing.
    witness: Result<Witness, Lack>,
}

/// The rules of one logsource.
#[derive(Debug)]
struct Group {
    logsource: sigma::Logsource,
    rules: Vec<u32>,
}

impl Compiled {
    fn new(rules: &[Rule]) -> (Compiled, Vec<Refused>) {
        static IDS: AtomicU64 = AtomicU64::new(1);

        let mut interner = Interner::default();
        let mut nodes = Nodes::default();
        let mut refused = Vec::new();
        let roots: Vec<_> = rules
            .iter()
            .enumerate()
            .map(|(number, rule)| {
                let root = nodes.add(&rule.expr, &mut interner, 0);
                root.map_err(|reason| {
                    let label = rule.label.clone();
                    refused.push(Refused { rule: number as u32, label, reason });
                })
            })
            .collect();

        let mut chooser = Chooser::new(&nodes);
        let witnesses: Vec<_> = roots
            .iter()
            .map(|root| root.map(|root| chooser.witness(root, &mut interner)))
            .collect();
        chooser.search_large_lists(&mut interner);
        let triggers = chooser.triggers;

        let matched: Vec<_> = roots.iter().copied().flatten().collect();
        let simple = interner.atoms.prepared.len();
        let mut compiler = Compiler::new(&nodes, &matched, &mut interner);
        let mut compiled_rules = Vec::with_capacity(rules.len());
        for (root, witness) in roots.iter().zip(witnesses) {
            let (program, witness) = match (root, witness) {
                (Ok(root), Ok(witness)) => (compiler.program(*root), witness),
                // In no group, so never asked for.
                _ => (FAILS, Ok(Witness::default())),
            };
            compiled_rules.push(CompiledRule { program, witness });
        }
        let programs = compiler.finish();

        let mut groups: Vec<Group> = Vec::new();
        let mut group_of: HashMap<[Option<&str>; 3], usize> = HashMap::new();
        for (number, rule) in rules.iter().enumerate().filter(|(n, _)| roots[*n].is_ok()) {
            let sigma::Logsource { product, category, service, .. } = &rule.logsource;
            let key = [product.as_deref(), category.as_deref(), service.as_deref()];
            let group = *group_of.entry(key).or_insert_with(|| {
                groups.push(Group { logsource: rule.logsource.clone(), rules: Vec::new() });
                groups.len() - 1
            });
            groups[group].rules.push(number as u32);
        }

        let mut atoms = interner.atoms;
        atoms.prepared.shrink_to_fit();
        let mut deciders = vec![None; atoms.prepared.len()];
        for (trigger, atom) in triggers.decides.iter().enumerate() {
            if let Some(atom) = atom {
                deciders[*atom as usize] = Some(trigger as TriggerId);
            }
        }
        let compiled = Compiled {
            id: IDS.fetch_add(1, Ordering::Relaxed),
            shared: atoms.prepared.len() - simple,
            atoms,
            steps: programs.steps,
            rules: compiled_rules,
            needles: Needles::new(&triggers),
            triggers: triggers.all,
            deciders,
            groups,
            plans: RwLock::default(),
        };
        (compiled, refused)
    }

    /// The plan for events of this product, category and service.
    fn plan(&self, class: (Option<&str>, Option<&str>, Option<&str>)) -> Arc<Plan> {
        let fed: Vec<u32> = self
            .groups
            .iter()
            .enumerate()
            .filter(|(_, group)| sigma::logsource::feeds(&group.logsource, class))
            .map(|(number, _)| number as u32)
            .collect();
        // A panic elsewhere leaves the plans as they were: whole.
        let known = self.plans.read().unwrap_or_else(PoisonError::into_inner).get(&fed).cloned();
        if let Some(plan) = known {
            return plan;
        }
        let mut numbers: Vec<u32> =
            fed.iter().flat_map(|group| &self.groups[*group as usize].rules).copied().collect();
        numbers.sort_unstable();
        let plan = Arc::new(Plan::new(self, numbers));
        let mut plans = self.plans.write().unwrap_or_else(PoisonError::into_inner);
        if plans.len() >= PLANS_MAX {
            plans.clear();
        }
        plans.insert(fed, plan.clone());
        plan
    }

    fn plans(&self) -> Vec<Arc<Plan>> {
        let plans = self.plans.read().unwrap_or_else(PoisonError::into_inner);
        plans.values().cloned().collect()
    }

    /// How much memory it takes without the plans, in bytes.
    fn bytes(&self) -> usize {
        let triggers_of = |witness: &Witness| witness.first.len() + witness.second.len();
        let witnesses: usize =
            self.rules.iter().map(|rule| rule.witness.as_ref().map_or(0, triggers_of) * 4).sum();
        let triggers: usize = self
            .triggers
            .iter()
            .map(|trigger| match trigger {
                Trigger::Literal(_, bytes) => bytes.len() + size_of::<Trigger>(),
                Trigger::Present(_) => size_of::<Trigger>(),
            })
            .sum();
        self.atoms.bytes()
            + self.steps.len() * size_of::<Step>()
            + self.rules.len() * size_of::<CompiledRule>()
            + witnesses
            + triggers
            + self.deciders.len() * 8
            + self.needles.memory()
            + self.groups.iter().map(|group| group.rules.len() * 4).sum::<usize>()
    }
}
