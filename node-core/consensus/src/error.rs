//! What can go wrong with the chain as a whole.

use std::sync::Arc;

use theta_ledger::{LedgerError, MempoolError};
use theta_state::{GenesisError, StoreError, TrieError};
use theta_types::BlockHash;

/// Why the chain cannot go on, or not answer. A bad block or transaction is no such error: those are refused, and the chain goes on.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The database failed. Check disk and permissions, then start again: the chain goes on where it was.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A state cannot be read. See there.
    #[error(transparent)]
    Trie(#[from] TrieError),
    /// Execution failed for reasons that are no transaction's fault. See there.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The genesis cannot be used. See there.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// The database holds another chain. Choose another data folder, or the network that this one belongs to.
    #[error("the database is of the chain that begins with {found}, not with {expected}")]
    OtherChain {
        /// Genesis of the network that was asked for.
        expected: BlockHash,
        /// Genesis in the database.
        found: BlockHash,
    },
    /// A stored value is not what its key promises. Restore the data folder from a copy, or build it anew.
    #[error("the chain database is damaged: {0}")]
    Damaged(String),
    /// The folder of the database cannot be made, or the chain's thread not be started.
    #[error("{0}")]
    Start(#[source] std::io::Error),
    /// The chain has stopped, for the reason given. Start it again.
    #[error("the chain has stopped: {0}")]
    Stopped(Arc<str>),
}

impl ChainError {
    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged(what.into())
    }
}

/// Why a transaction was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The mempool does not take it. See there.
    #[error(transparent)]
    NotTaken(#[from] MempoolError),
    /// There is no chain to take it.
    #[error(transparent)]
    Chain(#[from] ChainError),
}
