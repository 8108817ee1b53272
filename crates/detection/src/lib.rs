//! Matches every event against all rules, and tells what matched.
//!
//! [`RuleSources`] says where rules come from; loading them gives a [`RuleBook`], which never
//! changes: rules and correlations as written, the matcher made of them, and a diagnostic for each
//! one that was refused. [`Rules`] is the handle by which a new book takes the place of the old
//! one between two batches, and [`Watcher`] makes new books when files change.
//!
//! [`DetectionStage`] writes one record of `matches` for each rule that held, if the rule makes
//! alerts of its own, and one for each group of a correlation that reads the rule. It counts
//! nothing and remembers nothing: what needs memory is correlation's.
//!
//! # Which rules make alerts
//!
//! As Sigma has it, a rule that a correlation reads makes no alerts itself, unless the correlation
//! says `generate: true`.

mod book;
mod groups;
mod load;
mod metrics;
mod stage;
mod watch;

pub use book::{CorrelationEntry, Feed, Found, Otherwise, RuleBook, RuleEntry, Rules};
pub use groups::COMBINATIONS_MAX;
pub use load::RuleSources;
pub use matcher::{Explanation, Scratch};
pub use stage::DetectionStage;
pub use watch::{Change, Watcher};
