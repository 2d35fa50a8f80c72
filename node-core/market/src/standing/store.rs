//! What is kept about other nodes' standing.

use serde::{Deserialize, Serialize};
use theta_types::Address;

use super::Fault;
use crate::StoreError;

/// A node's standing at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandingRecord {
    /// The node's wallet.
    pub node: Address,
    /// Its penalty then.
    pub penalty: u32,
    /// Seconds since 1970.
    pub at: u64,
}

/// One fault, for people to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultRecord {
    /// The node's wallet.
    pub node: Address,
    /// What it did.
    pub fault: Fault,
    /// Seconds since 1970.
    pub at: u64,
    /// What was seen.
    pub detail: String,
}

/// Where standing is kept. Calls block until the record is durable.
pub trait StandingStore: Send + Sync {
    /// Every node's last record.
    fn load(&self) -> Result<Vec<StandingRecord>, StoreError>;

    /// Replaces a node's record, and keeps the fault that changed it.
    fn put(&self, record: &StandingRecord, fault: &FaultRecord) -> Result<(), StoreError>;
}
