//! What a stage makes of a batch: records for topics, and changes of its own state.
//!
//! All of it is committed together with the offsets of the batch, or not at all. A [`Mark`] takes
//! the output back to an earlier point, so that a record that fails halfway leaves nothing behind.

use crate::records::RecordRef;
use crate::{Partition, Records, Topic};

/// Records and state changes of one commit, reused by [`Output::clear`].
#[derive(Debug, Default)]
pub struct Output {
    topics: [Records; Topic::ALL.len()],
    state: Vec<StateChange>,
    is_held: bool,
}

/// One change of a stage's durable state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChange {
    /// The input partition whose records made this state; it moves with the partition.
    pub partition: Partition,
    /// The key, unique within the partition.
    pub key: Vec<u8>,
    /// The new value, or `None` to delete.
    pub value: Option<Vec<u8>>,
}

/// A point to which an output can be taken back.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    topics: [usize; Topic::ALL.len()],
    state: usize,
}

impl Output {
    /// An empty output.
    pub fn new() -> Self {
        Output::default()
    }

    /// The records that go to a topic.
    pub fn to(&mut self, topic: Topic) -> &mut Records {
        // `index` is below the number of topics.
        &mut self.topics[topic.index()]
    }

    /// The records that go to a topic, to look at.
    pub fn records(&self, topic: Topic) -> &Records {
        &self.topics[topic.index()]
    }

    /// Sets a value of the stage's state. `partition` is the one of the record that caused it: when
    /// the partition moves to another worker, this state moves with it.
    pub fn put_state(
        &mut self,
        partition: Partition,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
    ) {
        self.state.push(StateChange { partition, key: key.into(), value: Some(value.into()) });
    }

    /// Deletes a value of the stage's state.
    pub fn delete_state(&mut self, partition: Partition, key: impl Into<Vec<u8>>) {
        self.state.push(StateChange { partition, key: key.into(), value: None });
    }

    /// Says that the stage keeps the record that it is given, as part of what it will make with
    /// others. Without it a raw record of which nothing is made counts as dropped.
    pub fn hold(&mut self) {
        self.is_held = true;
    }

    /// Whether [`Output::hold`] was called since this was asked last.
    pub(crate) fn take_held(&mut self) -> bool {
        std::mem::take(&mut self.is_held)
    }

    /// The state changes, oldest first; a later change of the same key wins.
    pub fn state(&self) -> &[StateChange] {
        &self.state
    }

    /// Whether there is nothing to commit but offsets.
    pub fn is_empty(&self) -> bool {
        self.state.is_empty() && self.topics.iter().all(Records::is_empty)
    }

    /// The bytes of all records and state changes.
    pub fn bytes_len(&self) -> usize {
        let state: usize = self
            .state
            .iter()
            .map(|change| change.key.len() + change.value.as_ref().map_or(0, Vec::len))
            .sum();
        state + self.topics.iter().map(Records::bytes_len).sum::<usize>()
    }

    /// Forgets all, and keeps the memory.
    pub fn clear(&mut self) {
        self.state.clear();
        self.is_held = false;
        self.topics.iter_mut().for_each(Records::clear);
    }

    /// The point that is reached now.
    pub fn mark(&self) -> Mark {
        Mark { topics: self.topics.each_ref().map(Records::len), state: self.state.len() }
    }

    /// How many records came after the mark.
    pub(crate) fn records_since(&self, mark: Mark) -> u64 {
        let counts = self.topics.iter().zip(mark.topics);
        counts.map(|(records, len)| records.len().saturating_sub(len) as u64).sum()
    }

    /// The records that came after the mark, of one topic.
    pub(crate) fn made_since(
        &self,
        topic: Topic,
        mark: Mark,
    ) -> impl Iterator<Item = RecordRef<'_>> {
        let before = mark.topics.get(topic.index()).copied().unwrap_or_default();
        self.records(topic).iter().skip(before)
    }

    /// Forgets what came after the mark.
    pub fn rewind(&mut self, mark: Mark) {
        self.is_held = false;
        for (records, len) in self.topics.iter_mut().zip(mark.topics) {
            records.truncate(len);
        }
        self.state.truncate(mark.state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewinding_leaves_what_was_before() {
        let mut output = Output::new();
        output.to(Topic::Events).push(b"", &[], b"first");
        output.put_state(Partition(0), b"k", b"1");
        let mark = output.mark();
        output.to(Topic::Events).push(b"", &[], b"second");
        output.to(Topic::Rejected).push(b"", &[], b"x");
        output.delete_state(Partition(0), b"k");
        output.rewind(mark);
        assert_eq!(output.records(Topic::Events).len(), 1);
        assert!(output.records(Topic::Rejected).is_empty());
        assert_eq!(output.state().len(), 1);
        output.clear();
        assert!(output.is_empty());
    }
}
