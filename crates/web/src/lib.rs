//! What people and programs see of the engine: the HTTP API, the pages, and who may ask.
//!
//! One [`router`] serves all of it. Pages are rendered on the server from templates that are
//! checked at compile time; their whole state is in the address, so every view is a link that can
//! be sent to a colleague, and nothing needs a script. The API answers the same questions as JSON;
//! its routes and its OpenAPI document come from one table (`api::ROUTES`), so that they cannot
//! drift apart.
//!
//! Everything but the sign-in, the static files and the two health probes asks for the access
//! token. Searches block, so they run on tokio's blocking threads, a bounded number at a time; who
//! comes beyond that number is told to come again, rather than all being slow.
//!
//! What the crate refuses to do: change anything that was observed or found. No page writes, and one
//! call does: `POST /api/v1/rejected/replay` puts dead letters back for the stage that refused them.
//! It takes nothing but JSON, which pages of other sites cannot send here, so a link that someone is
//! tricked into opening does no harm. Taking events in is `ingest`'s business, whose router is only
//! put behind the same token here.

mod access;
mod api;
mod auth;
pub mod datasets;
mod elastic;
pub mod files;
mod health;
pub mod ledger;
mod pages;
pub mod rejected;
mod rulebook;
mod search;
mod server;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use auth::Token;
pub use server::{ServeLimits, ingest_router, router, serve};

/// What the pages and the API show.
#[derive(Clone)]
pub struct AppState {
    /// Events and alerts, as far as this machine has them.
    pub index: indexing::Index,
    /// What answers searches: the index, or a cluster.
    pub search: Arc<dyn indexing::Search>,
    /// Whether it is the index. What only the index can answer (`/es`) is not offered otherwise.
    pub is_indexed: bool,
    /// The consumer group that feeds the index.
    pub index_group: String,
    /// The rules in force.
    pub rules: detection::Rules,
    /// Who knows it may ask.
    pub token: Token,
    /// For how far each stage has come.
    pub bus: Arc<dyn bus::Bus>,
    /// What is wrong in this process now, one line each; nothing when all is well. Asked by every
    /// readiness probe, so it must answer at once.
    pub problems: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
    /// The files that this process follows, as they were about a second ago.
    pub files: Arc<dyn Fn() -> Vec<files::FollowedFile> + Send + Sync>,
}
