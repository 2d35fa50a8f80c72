//! Merkle proofs of single keys.

use std::sync::Arc;

use theta_types::B256;

use super::node::{Node, Reference};
use super::path::nibbles_of;
use super::{Trie, TrieError, Value};
use crate::nodes::MemoryNodes;

/// The nodes on a key's way, root first: those that are named by a hash, as the others stand inside their parents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// RLP of each node.
    pub nodes: Vec<Vec<u8>>,
}

/// Why a proof proves nothing. Whoever sent it is wrong or dishonest: ask somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// A node on the key's way is not in it, or is no node.
    #[error("the proof lacks node {0}, or that node is malformed")]
    Broken(B256),
    /// It holds nodes that are not on the key's way.
    #[error("the proof holds {0} nodes, {1} belong to it")]
    Padded(usize, usize),
}

impl Proof {
    pub(super) fn build(trie: &Trie, key: &[u8]) -> Result<Self, TrieError> {
        let nibbles = nibbles_of(key);
        let mut rest = &nibbles[..];
        let mut nodes = Vec::new();
        let mut link = &trie.root;
        while let Some(cell) = link.cell(&*trie.store)? {
            // A root is hashed even when short.
            match cell.reference() {
                Reference::Hash(_) => nodes.push(cell.node().encode()),
                Reference::Inline(bytes) if nodes.is_empty() => nodes.push(bytes.to_vec()),
                Reference::Inline(_) => {}
            }
            match cell.node() {
                Node::Leaf { .. } => break,
                Node::Extension { path, child } => match rest.strip_prefix(&**path) {
                    Some(below) => (rest, link) = (below, child),
                    None => break,
                },
                Node::Branch(branch) => match rest.split_first() {
                    Some((nibble, below)) => (rest, link) = (below, &branch.children[usize::from(*nibble)]),
                    None => break,
                },
            }
        }
        Ok(Self { nodes })
    }

    /// What the key holds in the trie with this root; `None` is proven, too.
    ///
    /// # Errors
    /// Nodes are missing, malformed, of another root, or too many.
    pub fn verify(&self, root: B256, key: &[u8]) -> Result<Option<Value>, ProofError> {
        // Every node is found by the hash of its bytes, so a claim cannot differ from what is there.
        let nodes: MemoryNodes = self.nodes.iter().cloned().collect();
        let answer = (|| {
            let trie = Trie::open(Arc::new(nodes), root)?;
            Ok((trie.get(key)?, trie.prove(key)?))
        })();
        match answer {
            Ok((value, needed)) if needed.nodes.len() == self.nodes.len() => Ok(value),
            Ok((_, needed)) => Err(ProofError::Padded(self.nodes.len(), needed.nodes.len())),
            Err(TrieError::MissingNode(hash) | TrieError::CorruptNode(hash)) => Err(ProofError::Broken(hash)),
            Err(TrieError::Store(_)) => Err(ProofError::Broken(root)),
        }
    }
}
