//! The search index: events and alerts on disk, found again by any field.
//!
//! # Layout
//!
//! One tantivy index per UTC day and kind, in `DIR/index/events-2026-08-05` and
//! `DIR/index/alerts-2026-08-05`. A range of time prunes whole days, retention drops them, and a
//! broken one is set aside while the others answer. An hour after a day is over and nothing came for it
//! any more, it is merged into one segment, whose files never change again and end with checksums.
//!
//! # Schema
//!
//! Values are indexed in one uniform way instead of by a mapping that somebody has to keep:
//!
//! | field | holds | serves |
//! | --- | --- | --- |
//! | `time` | `@timestamp` in nanoseconds, a column | ranges, order, histogram |
//! | `id` | `event.id`, as one term | get by id, replacing alerts |
//! | `source` | the ECS JSON, zstd | showing; the last resort of odd tests |
//! | `words` | the words of all other values, with positions | free words and phrases |
//! | `text.*` | the words of one field that ECS types as text | the same, and tests of that field |
//! | `data` | every other field as a column: texts as a sorted dictionary and its ordinals | tests of fields, wildcards, ranges, statistics |
//! | `kept` | that a field is there which has no column | `field:*` |
//! | `bytes` | how long the JSON is, a column | what a dataset takes of the disk, for retention |
//!
//! There are no posting lists per field. A test of a field runs once for each *different* value, in
//! the column's dictionary, through the same function as the plain evaluator; the ordinals that
//! pass are then looked up in the column. That is what makes wildcards, networks, ranges and
//! regular expressions on any field cheap, and it stores each value twice (document, dictionary)
//! rather than three times. What it costs: a test of a field reads the column, about a nanosecond
//! per event, where a posting list would be read only where it hits. For rare values of columns
//! with many different ones the words are used as that list first.
//!
//! Threads take segments, and slices of one that has most of the documents. Slices share what they find
//! in dictionaries (`dictionary`), and count groups by numbers that mean the same in all (`group`).
//!
//! Measured on two cores (`benches`, `searching`): 5 million events of 1.4 KB at 27,700 a second into
//! 0.27 of their size. In one segment, with a histogram: terms and ranges 2 to 20 ms, a phrase that a
//! fifth of them has 53 ms; `*part*` of a command line 250 to 390 ms, statistics by one field 76 ms.
//!
//! Two things differ from the plain evaluator, and are accepted. A column that has both whole
//! numbers and others keeps all as 64-bit floats, so whole ones beyond 2^53 lose their last digits
//! there. An event without a usable `@timestamp` stands at the time of its arrival.
//!
//! # Exactly once
//!
//! The payload of each partition's commit holds the bus offsets up to which it is complete; see
//! `checkpoint`. The stage replays from the last checkpoint and each partition skips what it has.
//!
//! What the crate refuses to do: interpret queries itself. What a filter or a pipe means is in
//! `query`, and the tests hold this index equal to it.

mod age;
mod aggregate;
mod audit;
mod bits;
mod check;
mod checkpoint;
mod columns;
mod dictionary;
mod document;
mod error;
mod explore;
mod filter;
mod group;
mod hold;
mod index;
mod merge;
mod metrics;
mod partition;
mod purge;
mod removal;
mod request;
mod retention;
mod scan;
mod schema;
mod search;
mod segment;
mod sequence;
mod set_aside;
mod snapshot;
mod stage;
mod usage;
mod values;
mod writer;

pub use aggregate::{
    Aggregation, AggregationKind, Bucket, BucketOrder, CalendarUnit, DateStep, FoundHit, Measure,
    Numbers, OrderBy, Outcome, as_number, step_of,
};
pub use audit::AUDIT_FILE;
pub use check::Checked;
pub use checkpoint::FILE as CHECKPOINT_FILE;
pub use error::IndexError;
pub use explore::{ExploreRequest, Explored, Order, SORT_KEYS_MAX, TIE_BREAKER};
pub use hold::Hold;
pub use index::{Claim, FieldInfo, Index, Options, PartitionInfo, Problem, WRITER_LOCK};
pub use partition::{Kind, PartitionId};
pub use purge::{Found, PURGED_FILE, Purge, PurgeState};
pub use request::{
    Answer, Cancel, Facet, FacetValue, Histogram, Hit, Kinds, Limits, Partial, Results, Search,
    SearchRequest,
};
pub use retention::{DatasetPattern, Keep, Retention};
pub use scan::Scan;
pub use search::Searcher;
pub use snapshot::{PartitionSnapshot, Snapshot};
pub use stage::IndexStage;
pub use writer::{Document, IndexWriter, Position, Removed};
