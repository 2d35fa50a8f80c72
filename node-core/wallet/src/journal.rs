//! The journal of the wallet's own transactions: on disk before they are on the chain.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use theta_types::{Address, Height, TxHash};

/// One transaction of the wallet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// Name that the asker gave the request. The same name is never sent twice.
    pub request_id: String,
    /// Whose transaction.
    pub sender: Address,
    /// Its sequence.
    pub sequence: u64,
    /// Names the raw bytes.
    pub hash: TxHash,
    /// The bytes that are submitted, again and again if need be.
    #[serde(with = "theta_types::json::hex_bytes")]
    pub raw: Vec<u8>,
    /// How it ended; `None` while open.
    pub outcome: Option<TxOutcome>,
}

/// How a transaction ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TxOutcome {
    /// In a final block.
    Final {
        /// Height of that block.
        height: Height,
    },
    /// The node refused it, and it is nowhere. Its sequence is free again.
    Refused {
        /// What the node said.
        reason: String,
    },
    /// Another transaction took its sequence: the key is in use elsewhere. It will never be executed.
    Superseded,
}

/// Why the journal did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// There is an open or final transaction with this sequence, or an entry of this request. Nothing was written.
    #[error("the journal has a transaction for this sequence or request already")]
    Taken,
    /// The disk refused. Nothing may be submitted.
    #[error("the journal cannot be written or read: {0}")]
    Storage(String),
}

/// Where entries are kept. The node provides it, on disk.
#[async_trait]
pub trait TxJournal: Send + Sync {
    /// Writes an open entry. It is durable when this returns.
    ///
    /// Refuses with [`JournalError::Taken`] when the request has an entry, or when the sender's sequence has one that was not refused.
    async fn record(&self, entry: JournalEntry) -> Result<(), JournalError>;

    /// Writes how the open entry with this hash ended. Concluded entries stay as they are: a request that was refused may have had the
    /// same bytes as a later one.
    async fn conclude(&self, hash: TxHash, outcome: TxOutcome) -> Result<(), JournalError>;

    /// The sender's open entries by ascending sequence.
    async fn open(&self, sender: Address) -> Result<Vec<JournalEntry>, JournalError>;

    /// The entry of a request.
    async fn of_request(
        &self,
        sender: Address,
        request_id: &str,
    ) -> Result<Option<JournalEntry>, JournalError>;
}
