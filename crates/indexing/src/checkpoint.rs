//! How far the index is, so that a crash loses nothing and doubles nothing.
//!
//! Partitions commit at different moments, so there is no one offset up to which "the index" is
//! complete. Each commit's payload holds the offsets up to which *its* partition is: it has every
//! record below them that belongs to it. The checkpoint, a file of its own, is written after all
//! partitions with changes were committed, and holds offsets below which no partition lacks
//! anything. After a crash the bus is read from the checkpoint on, and each partition skips what
//! lies below its own offsets: it has that already, whether it committed before the crash or not.
//! Without the file everything is read again, and still nothing is doubled.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use bus::Topic;

use crate::error::IndexError;

/// The name of the checkpoint's file in the index folder.
const FILE: &str = "checkpoint.json";

/// For each partition of each topic, the first offset that is not included.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Offsets(BTreeMap<(Topic, u32), u64>);

impl Offsets {
    /// Whether a record is included.
    pub(crate) fn include(&self, topic: Topic, partition: u32, offset: u64) -> bool {
        self.0.get(&(topic, partition)).is_some_and(|next| offset < *next)
    }

    /// Includes a record, and all before it.
    pub(crate) fn advance(&mut self, topic: Topic, partition: u32, offset: u64) {
        let next = self.0.entry((topic, partition)).or_default();
        *next = (*next).max(offset + 1);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Topic, u32, u64)> + '_ {
        self.0.iter().map(|((topic, partition), offset)| (*topic, *partition, *offset))
    }

    /// As the payload of a commit.
    pub(crate) fn to_json(&self) -> String {
        let map: BTreeMap<String, u64> = self
            .iter()
            .map(|(topic, partition, offset)| (format!("{topic}/{partition}"), offset))
            .collect();
        serde_json::json!(map).to_string()
    }

    /// From the payload of a commit; what cannot be read is `None`.
    pub(crate) fn parse(json: &str) -> Option<Offsets> {
        let map: BTreeMap<String, u64> = serde_json::from_str(json).ok()?;
        let mut offsets = Offsets::default();
        for (name, offset) in map {
            let (topic, partition) = name.split_once('/')?;
            offsets.0.insert((topic.parse().ok()?, partition.parse().ok()?), offset);
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
        let new = dir.join("checkpoint.json.new");
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&new)?;
            file.write_all(self.to_json().as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, &path)?;
            File::open(dir)?.sync_all()
        };
        write().map_err(IndexError::io("write", &path))
    }
}

#[cfg(test)]
mod tests {
    use bus::Topic;

    use super::Offsets;

    #[test]
    fn offsets_survive_their_file() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Offsets::read_checkpoint(dir.path()), Offsets::default());
        let mut offsets = Offsets::default();
        offsets.advance(Topic::Events, 3, 41);
        offsets.advance(Topic::Events, 3, 7);
        offsets.advance(Topic::Alerts, 0, 0);
        offsets.write_checkpoint(dir.path()).unwrap();
        assert_eq!(Offsets::read_checkpoint(dir.path()), offsets);
        assert!(offsets.include(Topic::Events, 3, 41) && !offsets.include(Topic::Events, 3, 42));
        insta::assert_snapshot!(offsets.to_json(), @r#"{"alerts/0":1,"events/3":42}"#);
        std::fs::write(dir.path().join("checkpoint.json"), "{\"events/0\":").unwrap();
        assert_eq!(Offsets::read_checkpoint(dir.path()), Offsets::default());
    }
}
