//! Checking everything that is stored, from genesis on.

mod audit;

use std::path::Path;

use theta_state::{ChainDb, StoreError, TrieError};
use theta_types::{B256, BlockHash, ChainRules, Height};

use crate::block_rules::BlockRefusal;
use crate::chain::DATABASE;
use crate::error::ChainError;
use crate::store::ChainStore;
use audit::Audit;

/// Why a data folder does not hold what it should. Restore it from a copy, or start from genesis again.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The database cannot be opened, is in use by a running node, or its pages are damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something cannot be read. See there.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A state is incomplete or damaged.
    #[error("state after block {height}: {error}")]
    State {
        /// Which block.
        height: Height,
        /// What is wrong.
        error: TrieError,
    },
    /// A block breaks a rule.
    #[error("block {height} ({hash}): {refusal}")]
    Block {
        /// Its height.
        height: Height,
        /// Its hash.
        hash: BlockHash,
        /// The rule.
        refusal: BlockRefusal,
    },
    /// There is no final block at a height below the last final one, or there are two.
    #[error("{count} final blocks at height {height}")]
    FinalBlocks {
        /// Which height.
        height: Height,
        /// How many.
        count: usize,
    },
    /// It is another chain than the expected one.
    #[error("the chain begins with {found}, not with {expected}")]
    OtherChain {
        /// Wanted.
        expected: BlockHash,
        /// Stored.
        found: BlockHash,
    },
    /// Nothing was ever stored here.
    #[error("the database holds no chain")]
    Empty,
    /// An index or a record does not fit the blocks.
    #[error("{0}")]
    Index(String),
}

/// How far the check has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifyProgress {
    /// The height that was just checked.
    pub height: Height,
    /// The last final height.
    pub of: Height,
}

/// What was checked and found in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyReport {
    /// The first block.
    pub genesis_hash: BlockHash,
    /// The last final block.
    pub final_hash: BlockHash,
    /// Its height.
    pub final_height: Height,
    /// Root of the state after it.
    pub state_root: B256,
    /// Blocks, final or not, genesis included.
    pub blocks: u64,
    /// Transactions in them.
    pub transactions: u64,
    /// Trie nodes.
    pub nodes: u64,
}

/// Checks a data folder whose node does not run, trusting nothing but the rules and, if given, the hash of the genesis block: the engine's
/// checksums, the hash of every block and trie node, signatures, certificates, finality, every transaction by executing it again, every
/// state root, and that indexes and consensus state fit the blocks.
///
/// # Errors
/// The first thing that is wrong.
pub fn verify(
    data_dir: &Path,
    rules: &ChainRules,
    genesis: Option<BlockHash>,
    progress: impl FnMut(VerifyProgress),
) -> Result<VerifyReport, VerifyError> {
    let db = ChainDb::open_checked(data_dir.join(DATABASE))?;
    let store = ChainStore::new(db, rules.clone());
    let memory = store.memory()?.ok_or(VerifyError::Empty)?;
    if let Some(expected) = genesis
        && memory.root != expected
    {
        return Err(VerifyError::OtherChain { expected, found: memory.root });
    }
    Audit::new(&store, rules, &memory).run(progress)
}
