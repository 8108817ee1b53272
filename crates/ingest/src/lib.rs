//! Bytes to raw records: the edge where shippers, files and archives come in.
//!
//! Every way in ends in the topic `raw`, each payload byte for byte, with what the listener knew in
//! headers ([`event::raw`]). What listens comes in three kinds: requests ([`http`]), connections
//! ([`stream`], which drives any [`protocol`]) and [`datagrams`]. They share one [`Intake`], which
//! bounds what is in flight and tells when it is durable, the [`Senders`] who may send, and one
//! [`tls`] identity. Readers of [`files`] are plain synchronous functions, for a scan without a bus
//! and for [`import`]; [`tail`] follows files as they are written, on a thread of its own.
//!
//! One splitter takes apart what holds several records (lines, JSON arrays, pretty-printed
//! objects), for a request as for a file, piece by piece as the bytes arrive.
//!
//! Each payload, that is, but for what [`privacy`] rules hide of it before it is stored.
//!
//! What it refuses to do: understand a payload. A broken line is a record like any other, and
//! normalisation says what is wrong with it. Only what is larger than a record may be is refused,
//! and that is told to the sender or the caller, with its place.

pub mod datagrams;
pub mod files;
pub mod fluent;
pub mod gelf;
pub mod http;
mod import;
mod intake;
pub mod lumberjack;
mod metrics;
mod name;
pub mod privacy;
pub mod protocol;
mod sender;
mod split;
pub mod stream;
pub mod syslog;
pub mod tail;

pub use ::tls;
pub use import::{ImportError, Imported, import};
pub use intake::{Batch, Gate, Intake, IntakeLimits, WhenFull};
pub use name::{DatasetName, NameError, Namespace};
pub use sender::{SECRET_BYTES_MIN, SENDERS_MAX, Sender, SenderError, SenderSettings, Senders};
pub use split::LINE_BYTES_MAX;

/// Counts a record over [`LINE_BYTES_MAX`] that a reader left out; whoever leaves it out says which.
pub fn count_too_large(listener: &str) {
    metrics::DROPPED.with_label_values(&[listener, "too_large"]).inc();
}
