//! Elasticsearch's search API over our index: for Grafana, Python's client and rules in Lucene's syntax.
//!
//! A request's JSON becomes a [`query::Filter`] ([`dsl`], and [`lucene`] for the text within), its
//! aggregations become [`indexing::Aggregation`]s, and what the index found is written in the form that
//! clients of Elasticsearch read (`run`). HTTP is `web`'s business: here are values in, values out.
//!
//! # What is meant
//!
//! Filters mean what they mean in our own language: letters compare without case, a field that ECS types
//! as text is compared by its words and every other whole. `name.keyword` is `name`. Nothing is scored.
//!
//! What the crate refuses to do: ignore. A query, an option or an aggregation that it does not know is
//! refused with the path to it, in Elasticsearch's form, since half an answer of a SIEM is a wrong one.
//! Only options that cannot change which events are found (boosts, caching, highlighting) are let pass.

mod aggs;
mod body;
mod dates;
pub mod dsl;
mod error;
mod index_names;
mod json;
pub mod lucene;
mod render;
mod run;
mod scroll;

pub use error::Refusal;
pub use index_names::{IndexNames, partitions};
pub use run::{Limits, count, field_caps, mapping, scroll, search};
pub use scroll::{Pit, Scroll};
