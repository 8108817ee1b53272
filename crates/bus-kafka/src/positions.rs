//! How far a consumer is in each of its partitions.

use std::collections::BTreeMap;

use bus::{BusError, Offset, Partition, Topic};
use rdkafka::TopicPartitionList;

use crate::error::bus_error;
use crate::topics::Names;

/// A place in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) next: Offset,
    /// Whether it is ahead of what the group committed.
    pub(crate) is_moved: bool,
}

/// The places in all partitions of a consumer.
pub(crate) type Positions = BTreeMap<(Topic, Partition), Position>;

/// The client's list of these partitions, with an offset for each.
pub(crate) fn list(
    names: &Names,
    places: impl IntoIterator<Item = ((Topic, Partition), rdkafka::Offset)>,
) -> Result<TopicPartitionList, BusError> {
    let mut list = TopicPartitionList::new();
    for ((topic, partition), offset) in places {
        list.add_partition_offset(names.of(topic), partition.0 as i32, offset)
            .map_err(|error| bus_error("naming an offset", &error))?;
    }
    Ok(list)
}

/// An offset as the client has it.
pub(crate) fn client_offset(offset: Offset) -> rdkafka::Offset {
    rdkafka::Offset::Offset(i64::try_from(offset.0).unwrap_or(i64::MAX))
}

/// An offset as the bus has it.
pub(crate) fn bus_offset(offset: i64) -> Offset {
    Offset(u64::try_from(offset).unwrap_or(0))
}
