//! What can go wrong on the bus, and what the caller can do about it.
//!
//! One failed sync fails every append that shared it, so errors can be cloned. The caller's question
//! is mostly one: try again, or stop? [`BusError::is_transient`] answers it.

use std::path::PathBuf;
use std::sync::Arc;

use crate::{HEADERS_MAX, Partition, Records, Topic, metrics};

/// Why the bus refused or failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BusError {
    /// More is waiting to be made durable than the bound allows.
    #[error(
        "the bus is full: {pending_bytes} bytes wait to be written, the bound is {pending_bytes_max}; send again later"
    )]
    Full {
        /// What waits now.
        pending_bytes: usize,
        /// The bound.
        pending_bytes_max: usize,
    },
    /// A stage has so much to read that nothing is taken until it has caught up.
    #[error(
        "the stage {group} has {records} records ({bytes} bytes) still to read; nothing is accepted until it has caught up"
    )]
    Behind {
        /// Its consumer group.
        group: String,
        /// How many records it has to read.
        records: u64,
        /// About how many bytes they take on disk, where that is known.
        bytes: u64,
    },
    /// One record is larger than a record may be. Nothing of its append was stored.
    #[error(
        "record {index} of this append to {topic} has {bytes} bytes, a record may have {bytes_max}"
    )]
    RecordTooLarge {
        /// The topic.
        topic: Topic,
        /// Which record of the append, from zero.
        index: usize,
        /// Its size.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// The disk is nearly full; appends are refused until there is space again.
    #[error(
        "only {free_bytes} bytes are free for {path}, {reserve_bytes} are kept in reserve; nothing is accepted until space is freed"
    )]
    DiskLow {
        /// The data folder.
        path: PathBuf,
        /// What is free.
        free_bytes: u64,
        /// What must stay free.
        reserve_bytes: u64,
    },
    /// The data folder is in use.
    #[error(
        "the data folder {path} is in use by another process; stop it or choose another folder"
    )]
    InUse {
        /// The data folder.
        path: PathBuf,
    },
    /// The data folder cannot be opened or written.
    #[error("cannot open the data folder {path}: {reason}")]
    Open {
        /// The data folder.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The cluster did not answer, or not in time. It is tried again.
    #[error("the cluster did not answer while {doing}: {reason}")]
    Unavailable {
        /// What was being done.
        doing: &'static str,
        /// What the client library said.
        reason: String,
    },
    /// The cluster answered, and refused who we are or what we ask.
    #[error("the cluster refused {doing}: {reason}")]
    Denied {
        /// What was being done.
        doing: &'static str,
        /// What it said, and what to do.
        reason: String,
    },
    /// The settings cannot work, or do not fit what is there.
    #[error("{reason}")]
    Misconfigured {
        /// What does not fit, and what to do.
        reason: String,
    },
    /// Writing or reading failed. After a failed write the log accepts nothing more until it is
    /// opened again, because what the disk holds is no longer known.
    #[error("the log failed while {doing}: {source}")]
    Storage {
        /// What was being done.
        doing: &'static str,
        /// What the store said.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// This consumer's partitions were given to others since it polled; what it made is not stored.
    /// Poll again.
    #[error("a commit of group {group:?} came after its partitions were given to others")]
    Fenced {
        /// The group.
        group: String,
    },
    /// No such partition.
    #[error("topic {topic} has no partition {partition}")]
    NoPartition {
        /// The topic.
        topic: Topic,
        /// The partition.
        partition: Partition,
    },
    /// A state change names a partition that this consumer does not have.
    #[error(
        "a state change of group {group:?} names partition {partition}, which this consumer does not have"
    )]
    ForeignState {
        /// The group.
        group: String,
        /// The partition.
        partition: Partition,
    },
    /// The name of a group is empty, too long or has a control character.
    #[error(
        "{group:?} cannot name a consumer group; use 1 to 200 letters, digits, '-', '_' or '.'"
    )]
    GroupName {
        /// The name.
        group: String,
    },
    /// The bus was closed.
    #[error("the bus is closed")]
    Closed,
}

impl BusError {
    /// Whether the same call may succeed later without anyone changing anything but time and space.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            BusError::Full { .. }
                | BusError::Behind { .. }
                | BusError::DiskLow { .. }
                | BusError::Fenced { .. }
                | BusError::Unavailable { .. }
        )
    }

    pub(crate) fn storage(
        doing: &'static str,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        BusError::Storage { doing, source: Arc::new(source) }
    }
}

/// Refuses records above the bound. A rejected record may be larger by its added headers, or the
/// largest records could not be rejected.
pub fn too_large(topic: Topic, records: &Records, record_bytes_max: usize) -> Result<(), BusError> {
    let bytes_max = match topic {
        Topic::Rejected => record_bytes_max + HEADERS_MAX,
        _ => record_bytes_max,
    };
    match records.encoded().enumerate().find(|(_, record)| record.len() > bytes_max) {
        None => Ok(()),
        Some((index, record)) => {
            Err(BusError::RecordTooLarge { topic, index, bytes: record.len(), bytes_max })
        }
    }
}

/// Counts a refusal under its reason.
pub fn count_refused(error: &BusError) {
    let reason = match error {
        BusError::Full { .. } => "full",
        BusError::Behind { .. } => "behind",
        BusError::RecordTooLarge { .. } => "too_large",
        BusError::DiskLow { .. } => "disk_low",
        BusError::Fenced { .. } => "fenced",
        BusError::Closed => "closed",
        BusError::Unavailable { .. } => "unavailable",
        BusError::Denied { .. } => "denied",
        _ => "storage",
    };
    metrics::BUS_REFUSED.with_label_values(&[reason]).inc();
}
