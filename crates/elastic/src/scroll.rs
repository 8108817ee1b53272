//! Going through everything: points in time and scrolls, without anything kept here.
//!
//! Both are texts that a client gives back: a point in time says which indices are meant, a scroll also
//! what was asked and after which hit to go on. So they never run out, cost nothing while nobody asks,
//! and outlive a restart. What that costs: they are no snapshots. Events that arrive meanwhile are found
//! too if their place in the order is still to come; none is missed or given twice, since the order is
//! whole (ties are broken by `event.id`).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::error::Refusal;

/// The longest scroll, as text; the query of the first request is in it.
const SCROLL_BYTES_MAX: usize = 1024 * 1024;

/// Which indices are gone through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pit {
    /// Names and patterns.
    pub index: String,
}

impl Pit {
    /// As clients give it back.
    pub fn id(&self) -> String {
        URL_SAFE_NO_PAD.encode(json!({ "pit": self.index }).to_string())
    }

    /// Reads what a client gives back.
    ///
    /// # Errors
    /// When it is none of ours.
    pub fn read(id: &str) -> Result<Pit, Refusal> {
        let index = decode(id).and_then(|value| Some(value.get("pit")?.as_str()?.to_owned()));
        index.map(|index| Pit { index }).ok_or_else(|| missing("point in time"))
    }
}

/// A search that goes on.
#[derive(Debug, Clone, PartialEq)]
pub struct Scroll {
    /// Names and patterns.
    pub index: String,
    /// What was asked.
    pub body: Value,
    /// The sort values of the last hit; empty before the first.
    pub after: Vec<Value>,
}

impl Scroll {
    /// As clients give it back.
    pub fn id(&self) -> String {
        let value = json!({ "scroll": self.index, "body": self.body, "after": self.after });
        URL_SAFE_NO_PAD.encode(value.to_string())
    }

    /// Reads what a client gives back.
    ///
    /// # Errors
    /// When it is none of ours.
    pub fn read(id: &str) -> Result<Scroll, Refusal> {
        let read = decode(id).and_then(|value| {
            Some(Scroll {
                index: value.get("scroll")?.as_str()?.to_owned(),
                body: value.get("body")?.clone(),
                after: value.get("after")?.as_array()?.clone(),
            })
        });
        read.ok_or_else(|| missing("scroll"))
    }
}

fn decode(id: &str) -> Option<Value> {
    if id.len() > SCROLL_BYTES_MAX {
        return None;
    }
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(id).ok()?).ok()
}

fn missing(what: &str) -> Refusal {
    let reason = format!("this is no {what} of this server");
    Refusal { status: 404, kind: "search_context_missing_exception", reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_read_again() {
        let scroll = Scroll {
            index: "events-*".into(),
            body: json!({"size": 3}),
            after: vec![json!(17), json!("e1")],
        };
        assert_eq!(Scroll::read(&scroll.id()), Ok(scroll.clone()));
        let pit = Pit { index: "_all".into() };
        assert_eq!(Pit::read(&pit.id()), Ok(pit.clone()));
        assert_eq!(Pit::read(&scroll.id()).unwrap_err().status, 404);
        assert_eq!(Scroll::read("nonsense").unwrap_err().status, 404);
    }
}
