//! What a group tells its member: the partitions, and the generation that they were dealt in.

use std::ops::Deref;
use std::sync::Mutex;
use std::time::{Duration, Instant};

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

/// How long nothing may be told before a member that leaves takes it that all was.
const QUIET: Duration = Duration::from_millis(20);
/// How long a member waits, when it leaves, for what it is still told.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// A member of a group, which leaves when it is dropped.
pub(crate) struct Member(pub(crate) BaseConsumer<Membership>);

impl Deref for Member {
    type Target = BaseConsumer<Membership>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Drop for Member {
    /// Leaves and hears what is told of it, before the client is closed: an assignment that is answered
    /// while its group ends gets no reply, and the client would wait for it for ever
    /// (<https://github.com/confluentinc/librdkafka/issues/4884>).
    fn drop(&mut self) {
        self.0.unsubscribe();
        let started = Instant::now();
        while started.elapsed() < LEAVE_TIMEOUT {
            let asked = Instant::now();
            let is_quiet = self.0.poll(QUIET).is_none() && asked.elapsed() >= QUIET;
            if is_quiet && self.0.assignment().is_ok_and(|partitions| partitions.count() == 0) {
                break;
            }
        }
    }
}

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
