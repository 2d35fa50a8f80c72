//! The block and the state that a chain begins with.

mod build;
mod file;
mod records;
mod summary;

use std::io;

use theta_types::{Address, B256, BlockHash, BlockHeader, Height, MAINNET_GENESIS_HASH, RlpError};

use crate::trie::{Trie, TrieError};
pub use build::GenesisBuilder;
pub use summary::{GenesisSummary, GenesisValidator};

/// Where accounts are in the state: this, then the 20 bytes of the address.
const ACCOUNTS: &[u8] = b"ls/a/";
const VALIDATOR_CANDIDATES: &[u8] = b"ls/vcp";
const STAKE_HEIGHTS: &[u8] = b"ls/sthl";

/// The genesis block of a chain with its state, checked against the block's state root (spec 05 section 3).
#[derive(Debug, Clone)]
pub struct Genesis {
    header: BlockHeader,
    state: Trie,
}

impl Genesis {
    /// The header. The block has no transactions.
    pub fn header(&self) -> &BlockHeader {
        &self.header
    }

    /// Hash of the block, which names the chain.
    pub fn hash(&self) -> BlockHash {
        self.header.hash()
    }

    /// The state, all of it in memory: its [`Trie::unsaved_nodes`] are to be stored together with the block.
    pub fn state(&self) -> &Trie {
        &self.state
    }

    /// Refuses any other chain than the expected one.
    ///
    /// # Errors
    /// [`GenesisError::OtherChain`].
    pub fn require(&self, expected: BlockHash) -> Result<(), GenesisError> {
        let found = self.hash();
        if found == expected { Ok(()) } else { Err(GenesisError::OtherChain { expected, found }) }
    }

    fn checked(header: BlockHeader, state: Trie) -> Result<Self, GenesisError> {
        if header.height != Height(0) {
            return Err(GenesisError::NotGenesis(header.height));
        }
        let computed = state.root();
        if computed != header.state_hash {
            return Err(GenesisError::StateRoot { header: header.state_hash, computed });
        }
        let genesis = Self { header, state };
        if genesis.header.chain_id == "mainnet" {
            genesis.require(MAINNET_GENESIS_HASH)?;
        }
        Ok(genesis)
    }
}

/// Why a file is not the genesis of a chain, or of the wanted one. Nothing was stored; get the file again from a source you trust.
#[derive(Debug, thiserror::Error)]
pub enum GenesisError {
    /// The file cannot be read, or ends within a record.
    #[error("reading the genesis: {0}")]
    Io(#[from] io::Error),
    /// A record is longer than any honest one.
    #[error("a record of {length} bytes, {limit} are allowed")]
    RecordTooLong {
        /// What the file says.
        length: u64,
        /// What is read.
        limit: u64,
    },
    /// All records together are longer than the state of any genesis.
    #[error("the genesis state is larger than {0} bytes")]
    TooLarge(u64),
    /// A record is not what belongs at its place.
    #[error("record {index}: {error}")]
    Record {
        /// From 0: the metadata.
        index: u64,
        /// What is wrong.
        error: RlpError,
    },
    /// A snapshot of a later format or height. This version starts from genesis files alone.
    #[error("a snapshot of format version {0}: only genesis files (version 1) can be read")]
    Snapshot(u64),
    /// A version 1 file of a block that is no genesis.
    #[error("the file holds block {0}, not a genesis block")]
    NotGenesis(Height),
    /// The state is not the one that the block commits to.
    #[error("the state has root {computed}, its block says {header}")]
    StateRoot {
        /// In the header.
        header: B256,
        /// Of what the file holds.
        computed: B256,
    },
    /// A sound genesis, but of another chain.
    #[error("genesis block {found}, expected {expected}")]
    OtherChain {
        /// Wanted.
        expected: BlockHash,
        /// In the file.
        found: BlockHash,
    },
    /// A value of the state is not of the type that its key says.
    #[error("state key {}: {error}", hex_of(.key))]
    Value {
        /// The key.
        key: Vec<u8>,
        /// What is wrong.
        error: RlpError,
    },
    /// A stake is larger than what its source has left, so no such chain can be made.
    #[error("{0} stakes more than it has")]
    StakeNotCovered(Address),
    /// See there.
    #[error(transparent)]
    Trie(#[from] TrieError),
}

fn hex_of(key: &[u8]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}
