//! Hunts: hypotheses as files that run over the index and come back with an answer.
//!
//! A detection asks of every event whether it is bad. A hunt asks of weeks of them whether somebody
//! did something, and its hardest answer is *no*: that is worth something only if the traces would
//! have been there. So a hunt states what data it needs, and that is looked at first.
//!
//! The verdict is one of three. *Supported*: what the hypothesis predicts was found. *Refuted*: it
//! was not, and the data was there and was searched whole. *Inconclusive*: neither can be said, and
//! why. The engine never makes a refutation out of a search that broke off, a partition that did
//! not answer, a list of values that was cut, or a source that sent nothing. What was found in such
//! data still counts when more of it could not take it away; `shape` tells when that is so.
//!
//! A step may use what a former one found: `source.ip:{{spray.source.ip}}`. The values come from
//! logs, so from attackers. They are put in as quoted values of the query language, and
//! [`Hunt::parse`] takes a reference only where a value of a field can stand, so nothing that they
//! hold can become an operator, a wildcard, a network or a pipe.
//!
//! The form of a file is described in `detections/README.md`. What the crate refuses to do: change
//! anything, wait for anything, or say how sure it is in per cent.

mod check;
mod expression;
mod hunt;
mod load;
mod markdown;
mod read;
mod report;
mod run;
mod shape;
mod template;
mod text;
mod values;

pub use check::check;
pub use expression::Expression;
pub use hunt::{Expect, Hunt, Need, Step};
pub use load::{Loaded, load};
pub use read::{HUNT_BYTES_MAX, NEEDS_MAX, STEPS_MAX};
pub use report::{
    Check, CheckKind, Evidence, NeedReport, Range, Report, StepReport, Substitution, Verdict,
};
pub use run::{Limits, run};
pub use template::{REFERENCES_MAX, Reference, Template};
pub use values::quoted_value;
