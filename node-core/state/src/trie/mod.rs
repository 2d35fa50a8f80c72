//! The Merkle Patricia trie of the state.

mod entries;
mod node;
mod path;
mod proof;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use theta_types::{B256, EMPTY_ROOT_HASH};

use crate::nodes::{NodeStore, StoreError};
pub use entries::Entries;
use node::{Branch, Link, Node};
use path::{joined, nibbles_of, shared_len};
pub use proof::{Proof, ProofError};

/// What a key holds: never empty.
pub type Value = Arc<[u8]>;

/// A map from byte strings to byte strings with one hash for its whole content (spec 02 section 1.1).
///
/// Keys are taken as they are, of any length; one may be the beginning of another. Nodes are read from the store as they are needed
/// and stay in memory; changes stay there too until [`Trie::unsaved_nodes`] are written by whoever owns the store.
///
/// A clone is cheap and independent: it shares all nodes, and either side copies only what it changes. It serves as the view on which a
/// block, or one transaction of it, is tried and thrown away.
#[derive(Clone)]
pub struct Trie {
    root: Link,
    store: Arc<dyn NodeStore>,
}

/// Why the trie could not answer.
#[derive(Debug, thiserror::Error)]
pub enum TrieError {
    /// A node is not in the store: this state is not available here. Take another root, or fetch the state anew.
    #[error("trie node {0} is not stored")]
    MissingNode(B256),
    /// A stored node is damaged. Restore the data folder from a copy, or build it anew.
    #[error("trie node {0} is damaged")]
    CorruptNode(B256),
    /// The store failed. See there.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Trie {
    /// The trie with nothing in it.
    pub fn empty(store: Arc<dyn NodeStore>) -> Self {
        Self { root: Link::Empty, store }
    }

    /// The trie with this root. The root node is read at once, the others when needed. Thirty-two zero bytes mean empty, too.
    ///
    /// # Errors
    /// [`TrieError::MissingNode`] when the store does not hold this state.
    pub fn open(store: Arc<dyn NodeStore>, root: B256) -> Result<Self, TrieError> {
        if root.is_zero() || root == EMPTY_ROOT_HASH {
            return Ok(Self::empty(store));
        }
        let root = Link::stored(root);
        root.cell(&*store)?;
        Ok(Self { root, store })
    }

    /// The hash of the content.
    pub fn root(&self) -> B256 {
        match &self.root {
            Link::Empty => EMPTY_ROOT_HASH,
            Link::Stored(stored) => stored.hash(),
            Link::Loaded(cell) => cell.root_hash(),
        }
    }

    /// True when nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.root.is_empty()
    }

    /// What the key holds.
    ///
    /// # Errors
    /// A node on the way is missing or damaged.
    pub fn get(&self, key: &[u8]) -> Result<Option<Value>, TrieError> {
        let nibbles = nibbles_of(key);
        let mut rest = &nibbles[..];
        let mut link = &self.root;
        while let Some(cell) = link.cell(&*self.store)? {
            match cell.node() {
                Node::Leaf { path, value } => return Ok((**path == *rest).then(|| Arc::clone(value))),
                Node::Extension { path, child } => match rest.strip_prefix(&**path) {
                    Some(below) => (rest, link) = (below, child),
                    None => return Ok(None),
                },
                Node::Branch(branch) => match rest.split_first() {
                    Some((nibble, below)) => (rest, link) = (below, &branch.children[usize::from(*nibble)]),
                    None => return Ok(branch.value.clone()),
                },
            }
        }
        Ok(None)
    }

    /// Whether the key holds anything.
    ///
    /// # Errors
    /// As [`Trie::get`].
    pub fn contains(&self, key: &[u8]) -> Result<bool, TrieError> {
        Ok(self.get(key)?.is_some())
    }

    /// Lets the key hold the value. An empty value removes the key.
    ///
    /// # Errors
    /// As [`Trie::get`]; nothing has changed then.
    pub fn insert(&mut self, key: &[u8], value: impl Into<Value>) -> Result<(), TrieError> {
        let value = value.into();
        if value.is_empty() {
            return self.remove(key);
        }
        // What is written again unchanged costs no new nodes.
        if self.get(key)?.is_some_and(|held| held == value) {
            return Ok(());
        }
        let nibbles = nibbles_of(key);
        let mut rest = &nibbles[..];
        let mut link = &mut self.root;
        loop {
            if link.is_empty() {
                *link = Link::leaf(rest, value);
                return Ok(());
            }
            let Some(node) = link.node_mut(&*self.store)? else {
                return Ok(());
            };
            if node.shared_len(rest) < node.path().len() || (node.is_leaf() && node.path().len() < rest.len())
            {
                node.fork(rest, value);
                return Ok(());
            }
            match node {
                Node::Leaf { value: held, .. } => {
                    *held = value;
                    return Ok(());
                }
                Node::Extension { path, child } => (rest, link) = (&rest[path.len()..], child),
                Node::Branch(branch) => match rest.split_first() {
                    None => {
                        branch.value = Some(value);
                        return Ok(());
                    }
                    Some((nibble, below)) => {
                        (rest, link) = (below, &mut branch.children[usize::from(*nibble)])
                    }
                },
            }
        }
    }

    /// Lets the key hold nothing. The result is the trie that never had it.
    ///
    /// # Errors
    /// As [`Trie::get`]; nothing has changed then.
    pub fn remove(&mut self, key: &[u8]) -> Result<(), TrieError> {
        if !self.contains(key)? {
            return Ok(());
        }
        let nibbles = nibbles_of(key);
        let Some(lowest_branch) = self.lowest_branch(&nibbles)? else {
            self.root = Link::Empty;
            return Ok(());
        };
        let store = &*self.store;
        let mut at = 0;
        let mut link = &mut self.root;
        while let Some(node) = link.node_mut(store)? {
            match node {
                Node::Leaf { .. } => return Ok(()),
                Node::Extension { path, .. } if at + path.len() == lowest_branch => {
                    return node.remove_below(&nibbles[lowest_branch..], store);
                }
                Node::Extension { path, child } => {
                    at += path.len();
                    link = child;
                }
                Node::Branch(_) if at == lowest_branch => return node.remove_entry(&nibbles[at..], store),
                Node::Branch(branch) => {
                    link = &mut branch.children[usize::from(nibbles[at])];
                    at += 1;
                }
            }
        }
        Ok(())
    }

    /// How many nibbles of a key that is there lead to the last branch on its way. `None` without any branch.
    fn lowest_branch(&self, nibbles: &[u8]) -> Result<Option<usize>, TrieError> {
        let mut at = 0;
        let mut lowest = None;
        let mut link = &self.root;
        while let Some(cell) = link.cell(&*self.store)? {
            match cell.node() {
                Node::Leaf { .. } => break,
                Node::Extension { path, child } => {
                    at += path.len();
                    link = child;
                }
                Node::Branch(branch) => {
                    lowest = Some(at);
                    let Some(nibble) = nibbles.get(at) else { break };
                    link = &branch.children[usize::from(*nibble)];
                    at += 1;
                }
            }
        }
        Ok(lowest)
    }

    /// All keys that begin with the prefix, with what they hold, ascending. An empty prefix gives everything.
    pub fn entries(&self, prefix: &[u8]) -> Entries {
        Entries::new(self, prefix)
    }

    /// A proof of what the key holds, or of its holding nothing, against [`Trie::root`].
    ///
    /// # Errors
    /// As [`Trie::get`].
    pub fn prove(&self, key: &[u8]) -> Result<Proof, TrieError> {
        Proof::build(self, key)
    }

    /// The nodes, by hash, that the store lacks. Write all of them in one transaction, then call [`Trie::mark_saved`].
    pub fn unsaved_nodes(&self) -> Vec<(B256, Vec<u8>)> {
        // What is in the store only, nobody changed.
        let Link::Loaded(root) = &self.root else {
            return Vec::new();
        };
        let root_hash = root.root_hash();
        let mut nodes = Vec::new();
        for cell in root.unsaved() {
            match cell.reference() {
                node::Reference::Hash(hash) => nodes.push((*hash, cell.node().encode())),
                // Inside its parent; a root has none.
                node::Reference::Inline(bytes) if std::ptr::eq(cell, &**root) => {
                    nodes.push((root_hash, bytes.to_vec()))
                }
                node::Reference::Inline(_) => {}
            }
        }
        nodes
    }

    /// Says that the nodes of [`Trie::unsaved_nodes`] are in the store now. Call it only after they are, and before any change.
    pub fn mark_saved(&self) {
        if let Link::Loaded(root) = &self.root {
            for cell in root.unsaved() {
                cell.mark_saved();
            }
        }
    }

    /// The store it reads from.
    pub fn store(&self) -> &Arc<dyn NodeStore> {
        &self.store
    }
}

impl fmt::Debug for Trie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trie").field("empty", &self.is_empty()).finish_non_exhaustive()
    }
}

impl Branch {
    /// Puts a value below or into an empty place.
    fn place(&mut self, path: &[u8], value: Value) {
        match path.split_first() {
            None => self.value = Some(value),
            Some((nibble, below)) => self.children[usize::from(*nibble)] = Link::leaf(below, value),
        }
    }

    /// The branch at the end of a path.
    fn below(self, path: &[u8]) -> Node {
        let branch = Node::Branch(Box::new(self));
        if path.is_empty() { branch } else { Node::Extension { path: path.into(), child: Link::new(branch) } }
    }
}

impl Node {
    /// The nibbles that a key must go through here; none for a branch.
    fn path(&self) -> &[u8] {
        match self {
            Self::Leaf { path, .. } | Self::Extension { path, .. } => path,
            Self::Branch(_) => &[],
        }
    }

    fn is_leaf(&self) -> bool {
        matches!(self, Self::Leaf { .. })
    }

    fn shared_len(&self, rest: &[u8]) -> usize {
        shared_len(self.path(), rest)
    }

    /// Puts a branch where the path of a leaf or an extension and that of a new value part.
    fn fork(&mut self, rest: &[u8], value: Value) {
        let shared = self.shared_len(rest);
        let mut branch = Branch::default();
        branch.place(&rest[shared..], value);
        match self {
            Self::Leaf { path, value: held } => branch.place(&path[shared..], Arc::clone(held)),
            Self::Extension { path, child } => {
                let below = std::mem::take(child);
                branch.children[usize::from(path[shared])] = match &path[shared + 1..] {
                    [] => below,
                    path => Link::new(Self::Extension { path: path.into(), child: below }),
                };
            }
            Self::Branch(_) => return,
        }
        *self = branch.below(&rest[..shared]);
    }

    /// Removes an entry of the branch that this extension leads to. What becomes of the branch may join the extension.
    fn remove_below(&mut self, path: &[u8], store: &dyn NodeStore) -> Result<(), TrieError> {
        let Self::Extension { path: before, child } = self else {
            return Ok(());
        };
        if let Some(branch) = child.node_mut(store)? {
            branch.remove_entry(path, store)?;
        }
        if let Some(joined) = child.cell(store)?.and_then(|cell| cell.node().extended_by(before)) {
            *self = joined;
        }
        Ok(())
    }

    /// Removes the value (empty path) or the leaf that a branch holds at the path's first nibble. A branch left with one entry becomes a
    /// leaf or an extension.
    fn remove_entry(&mut self, path: &[u8], store: &dyn NodeStore) -> Result<(), TrieError> {
        let Node::Branch(branch) = self else {
            return Ok(());
        };
        let removed = path.first().map(|nibble| usize::from(*nibble));
        let mut others =
            (0..node::WIDTH).filter(|at| Some(*at) != removed && !branch.children[*at].is_empty());
        let (first, second) = (others.next(), others.next());
        let value = branch.value.as_ref().filter(|_| removed.is_some());
        let replacement = match (first, second, value) {
            (None, None, Some(value)) => Some(Node::Leaf { path: Box::default(), value: Arc::clone(value) }),
            // Read before anything changes, since reading can fail.
            (Some(only), None, None) => match branch.children[only].cell(store)? {
                Some(cell) => {
                    let step = [only as u8];
                    let child = || branch.children[only].clone();
                    let apart = || Node::Extension { path: step.as_slice().into(), child: child() };
                    Some(cell.node().extended_by(&step).unwrap_or_else(apart))
                }
                None => None,
            },
            _ => None,
        };
        match (replacement, removed) {
            (Some(node), _) => *self = node,
            (None, Some(at)) => branch.children[at] = Link::Empty,
            (None, None) => branch.value = None,
        }
        Ok(())
    }

    /// The leaf or extension with a longer path. A branch cannot take one.
    fn extended_by(&self, before: &[u8]) -> Option<Node> {
        match self {
            Node::Leaf { path, value } => {
                Some(Node::Leaf { path: joined(before, path), value: Arc::clone(value) })
            }
            Node::Extension { path, child } => {
                Some(Node::Extension { path: joined(before, path), child: child.clone() })
            }
            Node::Branch(_) => None,
        }
    }
}
