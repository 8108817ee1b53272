//! What rules would have found: Sigma rules over the index of the past.
//!
//! A rule is made for a stream, one event after the other; the index has months of them. So of the
//! rule a filter is made that everything it could match passes ([`necessary`]), the index answers
//! that from its columns, and only what passes is read and shown to the rule itself. The hits are
//! those of the stream, because the same matcher decides; the filter only spares it work.
//!
//! What it refuses to do: translate a rule into a query and believe the query. Sigma and the search
//! language differ in small things, and where they do the filter lets more through.

mod necessary;
mod run;

pub use necessary::necessary;
pub use run::{Backtest, Bucket, Change, ENTITIES, Entity, HITS_MAX, RuleHits, compare, run};
