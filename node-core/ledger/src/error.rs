//! What can go wrong besides a transaction that is refused.

use theta_state::TrieError;
use theta_types::{Address, B256, RlpError};

use crate::refusal::Refusal;

/// Why a state could not be read or a block not be executed.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The store failed or lacks a node of the state. Check the disk; a state that was pruned has to be synced again.
    #[error("the state cannot be read: {0}")]
    Unreadable(#[from] TrieError),
    /// A value in the state is not what its key promises. The database is damaged: sync again.
    #[error("the state holds a damaged value under {}: {error}", hex::encode(.key))]
    Damaged {
        /// The key.
        key: Vec<u8>,
        /// What is wrong with the value.
        error: RlpError,
    },
    /// The chain has guardians or elite edge nodes, whose rules this version does not know. Follow it with a later version.
    #[error("the state holds a {0}, which this version of Thetis cannot follow")]
    UnsupportedPool(&'static str),
    /// The block carries votes whose rewards this version cannot compute. Follow the chain with a later version.
    #[error("the block carries {0}, which this version of Thetis cannot follow")]
    UnsupportedVotes(&'static str),
    /// A returning stake's owner has no account. No valid chain gets there.
    #[error("the owner {0} of a returning stake has no account")]
    StakeSourceMissing(Address),
    /// A validator is no candidate any more. The validator set does not belong to this state.
    #[error("validator {0} is not among the candidates of the state")]
    NotACandidate(Address),
    /// The block holds a transaction that is refused. The block is invalid.
    #[error("transaction {index} of the block is refused: {refusal}")]
    InvalidTransaction {
        /// Position in the block, from 0.
        index: usize,
        /// Why.
        refusal: Box<Refusal>,
    },
    /// Execution leads to another state than the header says. The block is invalid, or this version has a bug.
    #[error("the block leads to state root {computed}, its header says {header}")]
    StateRoot {
        /// What execution gives.
        computed: B256,
        /// What the header says.
        header: B256,
    },
}

/// Why a single transaction had no effect.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// The transaction is at fault.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The node is at fault.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}
