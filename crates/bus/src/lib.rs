//! The bus: where stages meet, and nothing that is acknowledged is lost.
//!
//! Records are appended to [`Topic`]s, each a few partitions, each partition an ordered log with
//! offsets. A consumer polls a batch and then commits *in one atomic step* the records it made from
//! it, the offsets it consumed and the changes of its state. So between topics every record is
//! processed exactly once, and a [`Stage`] is a plain function from records to records: the
//! [runtime](run_stage) does the polling, the committing, the retrying and the dead letters, which
//! [`rejected`] lists and puts back.
//!
//! [`Bus`] and [`Consumer`] are the whole interface. [`MemoryBus`] is for tests, [`EmbeddedBus`] is
//! the durable log of one process, and a Kafka cluster is behind the same two traits in the crate
//! `bus-kafka`. The `contract` module, behind the feature of that name, is the test suite that a
//! backend must pass, and [`backend`] has what all of them need.
//!
//! What it refuses to do: wait in async code (an append tells its end through a callback), give
//! random access by key, or keep an order between partitions.

pub mod backend;
mod batch;
mod bus;
mod consumer;
#[cfg(feature = "contract")]
pub mod contract;
pub mod copy;
mod embedded;
mod error;
mod group;
pub mod ledger;
mod memory;
mod metrics;
mod output;
mod records;
pub mod rejected;
mod runtime;
mod topic;

pub use batch::{Batch, Gap, GapReason, Record};
pub use bus::{
    Bus, Clock, Consumer, Extent, OnDone, PollLimits, Polled, Retention, StateReader, StateVisitor,
};
pub use embedded::{Compression, EmbeddedBus, Running, Settings, TopicSettings};
pub use error::BusError;
pub use memory::{MemoryBus, MemorySettings};
pub use output::{Mark, Output, StateChange};
pub use records::{HEADERS_MAX, Headers, RECORD_BYTES_MAX, RecordRef, Records};
pub use runtime::{
    Reject, Shutdown, Stage, StageError, StageHandle, StageOptions, Start, rejected_header,
    replayed_header, run_stage,
};
pub use topic::{Offset, Partition, Topic, UnknownTopic, partition_of_key};
