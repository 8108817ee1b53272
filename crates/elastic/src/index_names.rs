//! Names of indices: `events-2026-08-05` is a partition, and patterns name several.
//!
//! `logs-…` and `events` mean events, since that is what tools are set up with; dots in dates are
//! dashes. A name without a star must be there, as Elasticsearch has it, unless `ignore_unavailable`.

use indexing::{Index, Kind, PartitionId};
use query::{Glob, Piece};

use crate::error::Refusal;

/// What is searched, as it was written.
#[derive(Debug, Clone, Copy)]
pub struct IndexNames<'a> {
    /// Names and patterns with commas between; everything if it is empty.
    pub text: &'a str,
    /// Names that are not there are passed over.
    pub ignore_unavailable: bool,
}

/// The partitions that are meant, oldest first.
///
/// # Errors
/// When a name without a star is not there.
pub fn partitions(names: &IndexNames<'_>, index: &Index) -> Result<Vec<PartitionId>, Refusal> {
    let all: Vec<PartitionId> = index.partitions().iter().map(|partition| partition.id).collect();
    let mut wanted: Vec<PartitionId> = Vec::new();
    let text = if names.text.trim().is_empty() { "*" } else { names.text };
    for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        if let Some(name) = name.strip_prefix('-') {
            wanted.retain(|id| !is_meant(name, *id));
            continue;
        }
        let found: Vec<PartitionId> =
            all.iter().copied().filter(|id| is_meant(name, *id)).collect();
        let is_pattern = name.contains('*') || ["_all", "events", "alerts", "logs"].contains(&name);
        if found.is_empty() && !is_pattern && !names.ignore_unavailable {
            return Err(Refusal::no_index(name));
        }
        wanted.extend(found);
    }
    wanted.sort_unstable_by_key(|id| (id.day, id.kind));
    wanted.dedup();
    Ok(wanted)
}

/// Whether a name or pattern means a partition.
fn is_meant(name: &str, id: PartitionId) -> bool {
    let kind = id.kind.as_str();
    if name == "_all" || name == kind || (name == "logs" && id.kind == Kind::Events) {
        return true;
    }
    let glob = Glob::new(name.chars().map(|c| match c {
        '*' => Piece::Any,
        // Grafana writes days as 2026.08.05.
        '.' => Piece::Literal("-".to_owned()),
        c => Piece::Literal(c.to_string()),
    }));
    let own = id.to_string();
    let alias = own.replace("events-", "logs-");
    glob.matches_folded(&own) || (id.kind == Kind::Events && glob.matches_folded(&alias))
}

#[cfg(test)]
mod tests {
    use event::Timestamp;
    use indexing::{Kind, PartitionId};

    use super::is_meant;

    #[test]
    fn names_and_patterns_mean_partitions() {
        let time = Timestamp::parse_rfc3339("2026-08-05T12:00:00Z").unwrap();
        let events = PartitionId::of(Kind::Events, time);
        let alerts = PartitionId::of(Kind::Alerts, time);
        for (name, of_events, of_alerts) in [
            ("_all", true, true),
            ("*", true, true),
            ("events-*", true, false),
            ("logs-*", true, false),
            ("logs-*-*", true, false),
            ("logs", true, false),
            ("events", true, false),
            ("alerts-*", false, true),
            ("events-2026-08-05", true, false),
            ("events-2026.08.05", true, false),
            ("*-2026.08.*", true, true),
            ("events-2026-08-06", false, false),
            ("winlogbeat-*", false, false),
        ] {
            assert_eq!(
                (is_meant(name, events), is_meant(name, alerts)),
                (of_events, of_alerts),
                "{name}"
            );
        }
    }
}
