//! The Sigma language, whole: from text to an expression over atoms.
//!
//! [`load`] and [`parse_documents`] read rule files into [`Document`]s; [`apply_filters`] and
//! [`pipeline`] change rules; [`resolve`] turns a rule into the [`expr::Expr`] that matchers
//! compile. [`lint`] gives advice. Everything that is wrong is a [`Diagnostic`] with a place.
//!
//! The usual way: load, apply filters, choose the rules of a logsource ([`logsource::feeds`]),
//! apply the built-in and the user's pipelines, resolve.
//!
//! This crate knows nothing of events and of the other crates. It follows specification 2.1
//! (<https://github.com/SigmaHQ/sigma-specification>), and where that is silent, pySigma.

pub mod condition;
mod correlation;
mod diagnostic;
mod display;
mod documents;
mod encode;
pub mod expr;
mod filter;
mod lint;
mod load;
pub mod logsource;
mod modifier;
mod pattern;
mod pcre;
pub mod pipeline;
mod place;
mod reader;
mod resolve;
mod rule;
pub mod suggest;
pub mod taxonomy;
mod values;
pub mod yaml;

pub use condition::Condition;
pub use correlation::{
    Alias, Correlation, CorrelationCondition, CorrelationKind, Operator, Reference, Threshold,
    check_references, parse_timespan_s,
};
pub use diagnostic::{Code, Diagnostic, Severity, Span, sarif};
pub use documents::{Document, parse_documents};
pub use filter::{Filter, FilteredRules, apply_filters};
pub use lint::{LintOptions, lint};
pub use load::{FILES_MAX, FOLDER_DEPTH_MAX, Loaded, list_files, load, read_file};
pub use modifier::Modifier;
pub use pcre::REGEX_BYTES_MAX;
pub use place::place;
pub use resolve::{CHOICE_SELECTIONS_MAX, EXPR_NODES_MAX, resolve, selection};
pub use rule::{
    Body, Item, Level, Logsource, Related, Rule, Selection, Status, Tag, Value, ValueKind,
};
