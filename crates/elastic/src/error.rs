//! A request that is refused, in the form in which Elasticsearch refuses.

use serde_json::{Value, json};

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    /// The status of HTTP.
    pub status: u16,
    /// Elasticsearch's name for it.
    pub kind: &'static str,
    /// What is wrong, and where.
    pub reason: String,
}

impl Refusal {
    /// Something of the request cannot be read; `path` leads to it (`query.bool.must[0]`).
    pub fn parsing(path: &str, reason: impl std::fmt::Display) -> Refusal {
        Refusal { status: 400, kind: "parsing_exception", reason: format!("[{path}] {reason}") }
    }

    /// It can be read, but not done.
    pub fn illegal(reason: impl Into<String>) -> Refusal {
        Refusal { status: 400, kind: "illegal_argument_exception", reason: reason.into() }
    }

    /// There is no such index.
    pub fn no_index(name: &str) -> Refusal {
        let reason = format!("no such index [{name}]; there are events-* and alerts-*");
        Refusal { status: 404, kind: "index_not_found_exception", reason }
    }

    /// It would keep more than a request may.
    pub fn too_large(reason: impl Into<String>) -> Refusal {
        Refusal { status: 429, kind: "circuit_breaking_exception", reason: reason.into() }
    }

    /// The body of the answer.
    pub fn to_json(&self) -> Value {
        let cause = json!({ "type": self.kind, "reason": self.reason });
        json!({
            "error": { "root_cause": [cause], "type": self.kind, "reason": self.reason },
            "status": self.status,
        })
    }
}
