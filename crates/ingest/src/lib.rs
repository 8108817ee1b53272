//! Bytes to raw records: the edge where shippers, files and archives come in.
//!
//! Every way in ends in the topic `raw`, each payload byte for byte, with what the listener knew in
//! headers ([`event::raw`]). Asynchronous listeners ([`http`], [`syslog`]) share one [`Intake`],
//! which bounds what is in flight and tells when it is durable; readers of [`files`] are plain
//! synchronous functions, for a scan without a bus and for [`import`].
//!
//! One splitter takes apart what holds several records (lines, JSON arrays, pretty-printed
//! objects), for a request as for a file, piece by piece as the bytes arrive.
//!
//! What it refuses to do: understand a payload. A broken line is a record like any other, and
//! normalisation says what is wrong with it. Only what is larger than a record may be is refused,
//! and that is told to the sender or the caller, with its place.

pub mod files;
pub mod http;
mod import;
mod intake;
mod metrics;
mod name;
mod split;
pub mod syslog;

pub use import::{ImportError, Imported, import};
pub use intake::{Batch, Gate, Intake, IntakeLimits, WhenFull};
pub use name::{DatasetName, NameError, Namespace};
pub use split::LINE_BYTES_MAX;
