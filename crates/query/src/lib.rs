//! The search language: from text to a tree, and what a tree means.
//!
//! `process.name:powershell.exe and not user.name:SYSTEM | stats count by host.name | sort -count`
//!
//! # Filters
//!
//! | written | holds for events where |
//! | --- | --- |
//! | `mimikatz`, `"access denied"` | any field has this word, these words one after the other |
//! | `mimi*`, `?imikatz` | any field has a word like this |
//! | `user.name:anna`, `user.name="Anna"` | the field is `anna`, in any case |
//! | `process.command_line:*-enc*` | the whole value looks like this (`*` any run, `?` one character) |
//! | `message:"logon failed"` | the text has these words one after the other |
//! | `event.code:(4624 or 4625)` | the field is one of these |
//! | `source.ip:10.0.0.0/8` | the field is an address of this network |
//! | `process.pid >= 1000`, `x:[1 TO 5}` | the value is in the range; `{` and `}` leave their end out |
//! | `file.path:/\.(ps1\|vbs)$/` | the regular expression is found in the value, in any case |
//! | `user.name:*` | the event has the field |
//! | `user.*:anna` | any of these fields is `anna` |
//! | `a and b`, `a b`, `a && b`; `a or b`, `a \|\| b`; `not a`, `!a`, `-a`; `( )` | |
//! | `*` | every event |
//!
//! Letters compare without case; names of fields do not. A field that ECS types as text
//! (`message`) is compared word by word, every other one whole. An array matches if one of its
//! values does. Words are runs of letters and digits; one of over [`WORD_CHARS_MAX`] characters
//! counts as several. Free words look at texts and whole numbers of all fields except times and
//! [`UNSEARCHED`], whose content is in the other fields too. A range compares numbers if its end
//! is a number, then addresses, then times, else texts.
//!
//! Within quotes `*` and `?` are themselves, and a backslash escapes `"` and `\`. Outside, a
//! backslash before anything but a letter or digit takes away its meaning; before those it is a
//! backslash, so `C:\Windows` needs none doubled, while `C:\\Windows\\*` does before the star.
//! `/…/` is a regular expression only if its second slash ends the value: `/etc/passwd` is a path.
//!
//! # Pipes
//!
//! `stats AGG [as NAME], … [by FIELD, …]` (`count`, `dc`, `sum`, `avg`, `min`, `max`, `first`,
//! `last`, `p95`, `percentile(FIELD, 99.9)`), `timechart span=1h [AGG, …] [by FIELD, …]`,
//! `top [N] FIELD, … [by FIELD, …]`, `rare` likewise, `head [N]`, `sort [-]FIELD, …`,
//! `fields FIELD [as NAME], …`, `where FILTER`, `dedup [N] FIELD, …`,
//! `sequence [by FIELD, …] within 5m [FILTER] [FILTER] …`. Groups keep the case of their values; an
//! event without one of the fields after `by` is in no group, one with several values is in a group
//! for each. What sequences are is told in `sequence`; `docs/search.md` has the grammar, and an
//! example of everything.
//!
//! What the crate refuses to do: know of any engine. [`matches`](fn@matches) is the meaning of a
//! filter, and [`run`] that of pipes; the index, the live tail and whatever else answers queries is
//! held to them by tests.

mod cell;
mod error;
mod eval;
mod glob;
mod hints;
mod lexer;
mod parse;
mod parse_pipes;
mod pipes;
mod print;
mod sequence;
mod stats;
mod suggest;
mod term;
mod time;
mod tree;
mod words;

pub use cell::{Cell, Table};
pub use error::ParseError;
pub use eval::{
    Fields, Scalar, UNSEARCHED, is_text, is_unsearched, matches, matches_fields, scalar,
};
pub use glob::{Glob, Piece};
pub use hints::{Hint, hints};
pub use parse::{QUERY_BYTES_MAX, parse};
pub use pipes::{Exceeded, Rows, cells, columns, run, run_table};
pub use sequence::{Sequencer, Step};
pub use stats::{EXACT_VALUES_MAX, Groups, State};
pub use suggest::{Kind, Suggestions, Wanted, Word, quoted_if_needed, suggest};
pub use term::{Network, Number, Term};
pub use time::{TimeError, TimeRange, parse_duration, parse_time};
pub use tree::{
    Aggregate, At, Bound, Column, FieldName, FieldTest, Filter, Function, Pattern, Percent, Pipe,
    Query, Sequence, SortKey, Stats, Test, WordTest, Words,
};
pub use words::{WORD_CHARS_MAX, fold, fold_into, for_each_word, words};
