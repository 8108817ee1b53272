//! Search in a cluster of OpenSearch or Elasticsearch instead of the index of this machine.
//!
//! A team that has outgrown one machine, or has a cluster already, sets `[search] backend =
//! "elasticsearch"`: the stage `indexing` then writes events and alerts there ([`FeedStage`]), or
//! somebody else feeds the cluster from the topics, and searches, hunts and pages ask it
//! ([`Cluster`], through [`indexing::Search`]). The language means the same as ever.
//!
//! # How the meaning is kept
//!
//! A filter is translated to the query DSL by what the cluster says of each field (`translate`). What
//! has no exact counterpart there becomes a wider condition, and the answer is then made of the events
//! that the plain evaluator lets pass, read in pages, newest first, up to the limit of documents, which
//! is told when it is hit. Statistics become composite aggregations where all that they need is exact
//! in the cluster, and are else counted here over the same pages.
//!
//! The mappings that this needs (texts compared whole, words cut as ours, addresses as addresses) are
//! an index template, made from the ECS catalogue (`template`, also in `deploy/opensearch`). An index
//! that was mapped otherwise is searched by what its mapping can say.
//!
//! Three things differ, and are accepted: distinct counts above 40,000 are approximate, the least and
//! the greatest time are told to the millisecond, and a value of more than 8,191 characters is found by
//! its words only.
//!
//! What the crate refuses to do: anything but reading events and alerts and adding them. It changes no
//! document that is not Watchpost's own and no setting of the cluster but its own template.

mod client;
mod feed;
mod fields;
mod groups;
mod regexp;
mod search;
mod settings;
mod template;
mod translate;

pub use client::ClusterError;
pub use feed::FeedStage;
pub use search::Cluster;
pub use settings::Settings;
pub use template::template;
