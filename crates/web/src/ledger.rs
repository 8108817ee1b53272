//! The ledger of conservation as the API and the command line show it.

use bus::ledger::{Account, Ledger, Seen};
use bus::{Bus, BusError};
use serde::{Deserialize, Serialize};

/// The consumer group of the stage that makes events.
const NORMALIZE: &str = "normalize";

/// What came in and what became of it, by source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerAnswer {
    /// Records missing, too many or uncounted. Zero, or something is wrong.
    pub imbalance: u64,
    /// Raw records that are not normalised yet.
    pub raw_in_flight: u64,
    /// Events on their way to the index.
    pub events_in_flight: u64,
    /// Committed offsets that no source was counted for, or counts without an offset.
    pub uncounted: i64,
    /// Whether so much is on its way that errors by source are not known.
    pub partial: bool,
    /// The sources, by name.
    pub sources: Vec<SourceAccount>,
}

/// The account of one source.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SourceAccount {
    /// Who sends: an address, or the path of a file.
    pub source: String,
    /// Raw records that were looked at.
    pub received: u64,
    /// Raw records that are a part of an event made of several.
    #[serde(default)]
    pub joined: u64,
    /// Raw records of which nothing was made on purpose.
    pub dropped: u64,
    /// Records on `rejected`.
    pub rejected: u64,
    /// Events made.
    pub events: u64,
    /// Events in the index.
    pub stored: u64,
    /// Events on their way there.
    pub in_flight: u64,
    /// Events missing (negative) or too many.
    pub error: i64,
    /// Bytes of its records.
    #[serde(default)]
    pub bytes: u64,
    /// When its first record came, RFC 3339; empty if not known.
    #[serde(default)]
    pub first: String,
    /// When its last record came.
    #[serde(default)]
    pub last: String,
    /// The listener of its last record.
    #[serde(default)]
    pub listener: String,
    /// The name of the sender that it proved to be; empty if it was not asked.
    #[serde(default)]
    pub sender: String,
}

/// Reads the ledger of a bus whose index is fed by this group.
///
/// # Errors
/// When the bus does not answer.
pub fn read(bus: &dyn Bus, index_group: &str) -> Result<LedgerAnswer, BusError> {
    Ledger::read(bus, NORMALIZE, index_group).map(LedgerAnswer::from)
}

impl From<Ledger> for LedgerAnswer {
    fn from(ledger: Ledger) -> Self {
        LedgerAnswer {
            imbalance: ledger.imbalance(),
            raw_in_flight: ledger.raw_in_flight,
            events_in_flight: ledger.events_in_flight,
            uncounted: ledger.uncounted,
            partial: ledger.is_partial,
            sources: ledger.accounts.into_iter().map(SourceAccount::from).collect(),
        }
    }
}

impl From<Account> for SourceAccount {
    fn from(account: Account) -> Self {
        let Account {
            source, received, joined, dropped, rejected, events, stored, in_flight, ..
        } = account;
        let Seen { bytes, first, last, listener, sender } = account.seen;
        SourceAccount {
            source,
            received,
            joined,
            dropped,
            rejected,
            events,
            stored,
            in_flight,
            error: account.error,
            bytes,
            first: first.map(|time| time.to_string()).unwrap_or_default(),
            last: last.map(|time| time.to_string()).unwrap_or_default(),
            listener,
            sender,
        }
    }
}
