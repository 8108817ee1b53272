//! The records that stages pass to one another, and nothing that does work on them.
//!
//! Everything else in Watchpost depends on this crate, so it depends on nothing of ours and holds
//! only what two stages must agree on: the flat [`Event`] with its ECS names, the [`RawRecord`]
//! that a listener writes, the [`Match`] that detection writes, the [`Alert`] that correlation
//! writes, ids that are the same on every replay, and time.

mod age;
pub mod alert;
pub mod ecs;
mod event;
mod json;
pub mod logsource;
mod names;
pub mod raw;
mod summary;
mod time;

pub use age::AgeClock;
pub use alert::{Alert, Evidence, Level, Match, MatchKind, MatchedField, RuleRef, Threat};
pub use event::{Event, FIELDS_MAX, Value};
pub use json::ParseError;
pub use logsource::Logsource;
pub use names::{Names, path_hash};
pub use raw::{EventId, RawRecord};
pub use time::Timestamp;
