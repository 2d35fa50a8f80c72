//! The state of the Theta chain: its Merkle Patricia trie, the database it lives in, and the genesis files it starts from.
//!
//! A [`Trie`] maps raw keys to values under one root hash; a clone of it is the scratch view on which a block is tried. It knows nothing
//! of what the values mean. [`ChainDb`] keeps trie nodes, blocks, indexes and the consensus state in one embedded key-value engine:
//! a [`Batch`] is there whole or not at all, whenever the process ends. [`Genesis`] is read from a file, checked against its hash, or
//! made anew for a network of one's own.
#![warn(missing_docs)]

mod db;
mod genesis;
mod list_root;
mod nodes;
mod trie;

pub use db::{Batch, ChainDb, Entry, Table};
pub use genesis::{Genesis, GenesisBuilder, GenesisError, GenesisSummary, GenesisValidator};
pub use list_root::list_root;
pub use nodes::{MemoryNodes, NodeStore, StoreError};
pub use trie::{Entries, Proof, ProofError, Trie, TrieError, Value};
