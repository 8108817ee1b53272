//! Who reads which partition: the members of consumer groups, and their generations.
//!
//! Both local backends use it. A group's partitions are dealt out to its members in the order in
//! which they joined; each join and leave deals anew and raises the generation. A commit carries the
//! generation that its consumer last saw: one of an older generation is refused, because the
//! partitions may have another reader by now. That is all the fencing that one process needs.

use std::collections::BTreeMap;

use crate::{BusError, Partition, Topic};

/// The longest name of a group; it becomes part of stored keys.
pub(crate) const GROUP_BYTES_MAX: usize = 200;

/// The groups of one bus.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    groups: BTreeMap<String, Group>,
    next_member: u64,
}

/// One member of a group, for as long as it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member(u64);

#[derive(Debug, Default)]
struct Group {
    generation: u64,
    members: Vec<(Member, Vec<Topic>)>,
}

impl Groups {
    pub(crate) fn join(&mut self, name: &str, topics: &[Topic]) -> Member {
        self.next_member += 1;
        let member = Member(self.next_member);
        let group = self.groups.entry(name.to_owned()).or_default();
        group.generation += 1;
        let mut topics = topics.to_vec();
        topics.sort_unstable();
        topics.dedup();
        group.members.push((member, topics));
        member
    }

    pub(crate) fn leave(&mut self, name: &str, member: Member) {
        if let Some(group) = self.groups.get_mut(name) {
            group.generation += 1;
            group.members.retain(|(other, _)| *other != member);
        }
    }

    /// The generation of a group; zero before anyone joined.
    pub(crate) fn generation(&self, name: &str) -> u64 {
        self.groups.get(name).map_or(0, |group| group.generation)
    }

    /// The partitions of a member, in the order of topic and partition. Partition `p` of every topic
    /// goes to the same member if all subscribed to the same topics, so that state by partition
    /// number has one owner.
    pub(crate) fn assignment(
        &self,
        name: &str,
        member: Member,
        partitions: impl Fn(Topic) -> u32,
    ) -> Vec<(Topic, Partition)> {
        let Some(group) = self.groups.get(name) else { return Vec::new() };
        let mut assigned = Vec::new();
        for topic in Topic::ALL {
            let readers: Vec<Member> = group
                .members
                .iter()
                .filter(|(_, topics)| topics.contains(&topic))
                .map(|(reader, _)| *reader)
                .collect();
            for partition in 0..partitions(topic) {
                let reader = readers.get(partition as usize % readers.len().max(1));
                if reader == Some(&member) {
                    assigned.push((topic, Partition(partition)));
                }
            }
        }
        assigned
    }
}

/// Refuses names that could not be part of a stored key or of a metric's label.
pub fn check_name(group: &str) -> Result<(), BusError> {
    let valid = (1..=GROUP_BYTES_MAX).contains(&group.len())
        && group.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if valid { Ok(()) } else { Err(BusError::GroupName { group: group.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_dealt_out_and_dealt_anew() {
        let mut groups = Groups::default();
        let partitions = |topic| if topic == Topic::Raw { 4 } else { 1 };
        let first = groups.join("g", &[Topic::Raw, Topic::Events]);
        let generation = groups.generation("g");
        assert_eq!(groups.assignment("g", first, partitions).len(), 5);

        let second = groups.join("g", &[Topic::Raw, Topic::Events]);
        assert!(groups.generation("g") > generation);
        let of_first = groups.assignment("g", first, partitions);
        let of_second = groups.assignment("g", second, partitions);
        assert_eq!(
            of_first,
            [(Topic::Raw, Partition(0)), (Topic::Raw, Partition(2)), (Topic::Events, Partition(0))]
        );
        assert_eq!(of_second, [(Topic::Raw, Partition(1)), (Topic::Raw, Partition(3))]);

        groups.leave("g", first);
        assert_eq!(groups.assignment("g", second, partitions).len(), 5);
        assert!(groups.assignment("g", first, partitions).is_empty());
    }

    #[test]
    fn names_of_groups_are_checked() {
        assert!(check_name("detection-2.b_c").is_ok());
        for bad in ["", "a b", "a/b", "\u{e9}", &"x".repeat(GROUP_BYTES_MAX + 1)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }
}
