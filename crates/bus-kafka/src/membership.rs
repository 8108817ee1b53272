//! What a group tells its member: the partitions, and the generation that they were dealt in.

use std::sync::Mutex;

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{
    BaseConsumer, Consumer as _, ConsumerContext, ConsumerGroupMetadata, RebalanceProtocol,
};
use rdkafka::error::KafkaError;
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;

use crate::client::{Events, lock};

/// What the group tells its member.
#[derive(Default)]
pub(crate) struct Membership {
    pub(crate) events: Events,
    pub(crate) dealt: Mutex<Dealt>,
}

/// What is not yet taken over of it.
#[derive(Default)]
pub(crate) struct Dealt {
    /// Whether the assignment changed since it was taken over.
    pub(crate) is_new: bool,
    was_told: bool,
    pub(crate) generation: Option<ConsumerGroupMetadata>,
}

impl ClientContext for Membership {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.events.log(level, facility, message);
    }

    fn stats(&self, statistics: Statistics) {
        self.events.stats(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.events.error(error, reason);
    }
}

impl ConsumerContext for Membership {
    fn rebalance(
        &self,
        client: &BaseConsumer<Self>,
        kind: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let is_assign = kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        let is_eager = matches!(client.rebalance_protocol(), RebalanceProtocol::Eager);
        let changed = if is_assign {
            // Paused, and from the beginning: where to read is decided when it is taken over.
            let from_beginning = partitions.set_all_offsets(rdkafka::Offset::Beginning);
            let assigned = from_beginning.and_then(|()| match is_eager {
                true => client.assign(partitions),
                false => client.incremental_assign(partitions),
            });
            assigned.and_then(|()| client.pause(partitions))
        } else if is_eager {
            client.unassign()
        } else {
            client.incremental_unassign(partitions)
        };
        if let Err(error) = changed {
            tracing::error!(%error, "the group's new assignment was not accepted");
        }
        let mut dealt = lock(&self.dealt);
        if is_assign {
            dealt.generation = client.group_metadata().filter(|_| !client.assignment_lost());
        }
        // An assignment without change has a new generation and nothing else.
        dealt.is_new |= partitions.count() > 0 || !dealt.was_told;
        dealt.was_told = true;
    }
}
