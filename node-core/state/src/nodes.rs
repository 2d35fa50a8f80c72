//! Where trie nodes come from.

use std::collections::HashMap;
use std::fmt;

use theta_types::{B256, keccak256};

/// A place that trie nodes are read from, by the hash of their bytes. Readers hash them again.
pub trait NodeStore: fmt::Debug + Send + Sync {
    /// The node's RLP; `None` when it is not here.
    ///
    /// # Errors
    /// The medium failed.
    fn node(&self, hash: &B256) -> Result<Option<Vec<u8>>, StoreError>;
}

/// The storage engine failed: disk full, file damaged, no permission. Nothing of the attempt is visible; stop, tell the operator, and
/// start again when the cause is gone.
#[derive(Debug, thiserror::Error)]
#[error("chain database: {message}")]
pub struct StoreError {
    message: String,
}

impl StoreError {
    /// With the engine's own words.
    pub fn new(message: impl fmt::Display) -> Self {
        Self { message: message.to_string() }
    }
}

/// Nodes in memory, for tries that never see a disk: transaction roots, proofs, inspection of files.
#[derive(Debug, Clone, Default)]
pub struct MemoryNodes {
    nodes: HashMap<B256, Vec<u8>>,
}

impl MemoryNodes {
    /// Keeps these nodes, as [`crate::Trie::unsaved_nodes`] gives them.
    pub fn insert_all(&mut self, nodes: Vec<(B256, Vec<u8>)>) {
        self.nodes.extend(nodes);
    }
}

impl NodeStore for MemoryNodes {
    fn node(&self, hash: &B256) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.nodes.get(hash).cloned())
    }
}

impl FromIterator<Vec<u8>> for MemoryNodes {
    fn from_iter<I: IntoIterator<Item = Vec<u8>>>(nodes: I) -> Self {
        Self { nodes: nodes.into_iter().map(|node| (keccak256(&node), node)).collect() }
    }
}
