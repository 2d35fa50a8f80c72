//! The one way in which wallet and market reach a chain: in process, or over RPC.

use async_trait::async_trait;
use theta_types::{Account, Address, Height, SplitRule, TxHash};
use tokio::sync::watch;

/// Why a chain did not answer, or said no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// The node looked at the transaction and refused it. Sending the same bytes again soon gives the same answer.
    #[error("the chain refused it: {0}")]
    Refused(String),
    /// No answer, or a node that is not able to answer now. Whether a submitted transaction got through is unknown: submit the same
    /// bytes again.
    #[error("the chain cannot be reached: {0}")]
    Unreachable(String),
    /// An answer that makes no sense. The URL leads to something else than a node of this protocol.
    #[error("the chain gave an unusable answer: {0}")]
    BadAnswer(String),
}

/// What became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TxStatus {
    /// The node does not know it.
    NotFound,
    /// In the mempool, or in a block that is not final.
    Pending,
    /// In a final block.
    Finalized {
        /// Height of that block.
        height: Height,
    },
    /// The mempool dropped it.
    Abandoned,
}

/// A chain as its users see it: submit, and read finalized state.
#[async_trait]
pub trait ChainAccess: Send + Sync {
    /// The chain's name, which stands in everything that is signed.
    fn chain_id(&self) -> String;

    /// Hands a raw transaction to the node's mempool. A transaction that is there already counts as handed in.
    async fn submit(&self, raw: Vec<u8>) -> Result<TxHash, ChainError>;

    /// The account in the finalized state; `None` when it does not exist.
    async fn account(&self, address: Address) -> Result<Option<Account>, ChainError>;

    /// Height of the last finalized block.
    async fn finalized_height(&self) -> Result<Height, ChainError>;

    /// The split rule of a resource; `None` when there is none.
    async fn split_rule(&self, resource_id: &str) -> Result<Option<SplitRule>, ChainError>;

    /// What became of a transaction.
    async fn transaction(&self, hash: TxHash) -> Result<TxStatus, ChainError>;

    /// The last finalized height, as it changes.
    fn heights(&self) -> watch::Receiver<Height>;
}
