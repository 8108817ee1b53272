//! How far the index is, so that a crash loses nothing and doubles nothing.
//!
//! Partitions commit at different moments, so there is no one offset up to which "the index" is
//! complete. Each commit's payload holds the offsets up to which *its* partition is: it has every
//! record below them that belongs to it. The checkpoint, a file of its own, is written after all
//! partitions with changes were committed, and holds offsets below which no partition lacks
//! anything. After a crash the bus is read from the checkpoint on, and each partition skips what
//! lies below its own offsets: it has that already, whether it committed before the crash or not.
//! Without the file everything is read again, and still nothing is doubled.
//!
//! Offsets mean something in one log only, so they carry its identity. Those of another log are
//! dropped: the index then goes on where its group is on the new one.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use bus::Topic;
use serde_json::Value;

use crate::error::IndexError;
use crate::set_aside::write_whole;

/// The name of the checkpoint's file in the index folder.
pub const FILE: &str = "checkpoint.json";

/// The name of the log's identity beside the offsets.
const LOG: &str = "log";

/// For each partition of each topic of a log, the first offset that is not included.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Offsets {
    /// The identity of the log; empty if it was not noted.
    log: String,
    next: BTreeMap<(Topic, u32), u64>,
}

impl Offsets {
    /// Nothing of this log.
    pub(crate) fn none_of(log: &str) -> Offsets {
        Offsets { log: log.to_owned(), next: BTreeMap::new() }
    }

    /// The identity of the log; empty if it was not noted.
    pub(crate) fn log(&self) -> &str {
        &self.log
    }

    /// Whether these are offsets of another log. Who reads no log, whose identity is empty, takes any.
    pub(crate) fn is_foreign(&self, log: &str) -> bool {
        !log.is_empty() && !self.log.is_empty() && self.log != log && !self.next.is_empty()
    }

    /// These offsets if they are of this log, else none.
    pub(crate) fn or_none_of(mut self, log: &str) -> Offsets {
        if self.is_foreign(log) {
            return Offsets::none_of(log);
        }
        if !log.is_empty() {
            log.clone_into(&mut self.log);
        }
        self
    }

    /// Whether a record is included.
    pub(crate) fn include(&self, topic: Topic, partition: u32, offset: u64) -> bool {
        self.next.get(&(topic, partition)).is_some_and(|next| offset < *next)
    }

    /// Includes a record, and all before it.
    pub(crate) fn advance(&mut self, topic: Topic, partition: u32, offset: u64) {
        let next = self.next.entry((topic, partition)).or_default();
        *next = (*next).max(offset + 1);
    }

    /// Includes all that these include. What a partition has it keeps, also while an earlier part of
    /// the log is read again for another one.
    pub(crate) fn include_all(&mut self, other: &Offsets) {
        if !other.log.is_empty() {
            other.log.clone_into(&mut self.log);
        }
        for (place, next) in &other.next {
            let ours = self.next.entry(*place).or_default();
            *ours = (*ours).max(*next);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Topic, u32, u64)> + '_ {
        self.next.iter().map(|((topic, partition), offset)| (*topic, *partition, *offset))
    }

    /// As the payload of a commit.
    pub(crate) fn to_json(&self) -> String {
        let mut map: BTreeMap<String, Value> = self
            .iter()
            .map(|(topic, partition, offset)| (format!("{topic}/{partition}"), offset.into()))
            .collect();
        map.insert(LOG.to_owned(), self.log.as_str().into());
        serde_json::json!(map).to_string()
    }

    /// From the payload of a commit; what cannot be read is `None`.
    pub(crate) fn parse(json: &str) -> Option<Offsets> {
        let map: BTreeMap<String, Value> = serde_json::from_str(json).ok()?;
        let mut offsets = Offsets::default();
        for (name, value) in map {
            if name == LOG {
                value.as_str()?.clone_into(&mut offsets.log);
                continue;
            }
            let (topic, partition) = name.split_once('/')?;
            offsets.next.insert((topic.parse().ok()?, partition.parse().ok()?), value.as_u64()?);
        }
        Some(offsets)
    }

    /// Reads the checkpoint; nothing if there is none or it is damaged, because reading too much
    /// again does no harm.
    pub(crate) fn read_checkpoint(dir: &Path) -> Offsets {
        let Ok(json) = std::fs::read_to_string(dir.join(FILE)) else { return Offsets::default() };
        Offsets::parse(&json).unwrap_or_else(|| {
            tracing::warn!(dir = %dir.display(), "the index's checkpoint is damaged; the log is read again from its beginning");
            Offsets::default()
        })
    }

    /// Writes the checkpoint: whole, or not at all.
    pub(crate) fn write_checkpoint(&self, dir: &Path) -> Result<(), IndexError> {
        let path = dir.join(FILE);
        write_whole(&path, self.to_json().as_bytes()).map_err(IndexError::io("write", &path))
    }

    /// Removes the checkpoint, so that the log is read again from its beginning.
    pub(crate) fn remove_checkpoint(dir: &Path) -> Result<(), IndexError> {
        let path = dir.join(FILE);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => removed
                .and_then(|()| File::open(dir)?.sync_all())
                .map_err(IndexError::io("remove", &path)),
        }
    }

    /// Whether these are as far as others.
    pub(crate) fn cover(&self, others: &Offsets) -> bool {
        others
            .iter()
            .all(|(topic, partition, next)| next == 0 || self.include(topic, partition, next - 1))
    }
}

#[cfg(test)]
mod tests {
    use bus::Topic;

    use super::Offsets;

    #[test]
    fn offsets_of_another_log_are_none() {
        let mut offsets = Offsets::none_of("ab12");
        offsets.advance(Topic::Events, 0, 7);
        assert_eq!(offsets.clone().or_none_of("ab12"), offsets);
        assert_eq!(offsets.or_none_of("cd34"), Offsets::none_of("cd34"));
        // Written before logs were told apart.
        let offsets = Offsets::parse(r#"{"events/0":8}"#).unwrap();
        assert!(
            !offsets.is_foreign("cd34") && offsets.or_none_of("cd34").include(Topic::Events, 0, 7)
        );
    }

    #[test]
    fn offsets_survive_their_file() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Offsets::read_checkpoint(dir.path()), Offsets::default());
        let mut offsets = Offsets::none_of("ab12");
        offsets.advance(Topic::Events, 3, 41);
        offsets.advance(Topic::Events, 3, 7);
        offsets.advance(Topic::Alerts, 0, 0);
        offsets.write_checkpoint(dir.path()).unwrap();
        assert_eq!(Offsets::read_checkpoint(dir.path()), offsets);
        assert!(offsets.include(Topic::Events, 3, 41) && !offsets.include(Topic::Events, 3, 42));
        insta::assert_snapshot!(offsets.to_json(), @r#"{"alerts/0":1,"events/3":42,"log":"ab12"}"#);
        std::fs::write(dir.path().join("checkpoint.json"), "{\"events/0\":").unwrap();
        assert_eq!(Offsets::read_checkpoint(dir.path()), Offsets::default());
    }
}
