//! What the comparisons share: the corpus, a counting allocator, and fair timing.
//!
//! The events and rules are real and lie outside of the project (`../shared/data`); where they are
//! absent, made-up ones of the same shape stand in, and the output says so.

pub mod allocator;
pub mod corpus;
pub mod timing;
