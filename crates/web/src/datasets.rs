//! Data health by dataset, as the API, the pages and the command line show it.

use bus::{Bus, BusError};
use event::Timestamp;
use normalize::health::{self, DatasetHealth};
use serde::{Deserialize, Serialize};

/// The consumer group of the stage that makes events.
const NORMALIZE: &str = "normalize";

/// All datasets.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DatasetList {
    /// By name.
    pub datasets: Vec<DatasetHealth>,
}

/// Reads how the records of each dataset fare, as of at most a minute ago.
///
/// # Errors
/// When the bus does not answer.
pub fn read(bus: &dyn Bus, now: Timestamp) -> Result<DatasetList, BusError> {
    Ok(DatasetList { datasets: health::read(bus, NORMALIZE, now)? })
}
