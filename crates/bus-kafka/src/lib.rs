//! The bus over a Kafka cluster: the same two traits as the embedded log, the same promises.
//!
//! | on the bus | on the cluster |
//! | --- | --- |
//! | topic, partition, offset | the same; names have a prefix ([`Settings::prefix`]) |
//! | append | idempotent produce with `acks=all`; done when the last record's delivery is told |
//! | consumer | a static member of a consumer group, cooperative-sticky, reading committed records only |
//! | commit | one transaction: records, state changes, and the offsets with the group's generation |
//! | state of a stage | a compacted topic per group; this process holds a copy of its partitions' |
//! | fencing | an older generation's commit is refused by the group's coordinator |
//!
//! What is different from the embedded log, and stays so: transactions leave marks that take an
//! offset of their own, so offsets have holes; retention happens when the brokers get to it, and
//! bounds each partition by its share of the topic's bytes; and an append whose answer did not come
//! may be stored all the same.
//!
//! This is the only crate that builds `librdkafka`. It is compiled with its own OpenSSL, because TLS
//! and SCRAM in `librdkafka` need one; everything else in Watchpost uses rustls.

mod append;
mod bus;
mod client;
mod consumer;
mod error;
mod identity;
mod input;
mod membership;
mod metrics;
mod positions;
mod settings;
mod state;
mod topics;

pub use bus::KafkaBus;
pub use input::{InputLimits, InputRecord, TopicInput};
pub use settings::{Sasl, SaslMechanism, Secret, Settings, Tls, UrlError};
