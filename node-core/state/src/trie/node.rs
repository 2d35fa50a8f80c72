//! Nodes in memory, and their encoding.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use theta_types::rlp::{Reader, RlpError, encode_list, encode_string};
use theta_types::{B256, keccak256};

use super::path::{Nibbles, compact, from_compact};
use super::{TrieError, Value};
use crate::nodes::NodeStore;

/// Children of a branch.
pub(super) const WIDTH: usize = 16;

/// A node whose encoding is shorter stands inside its parent instead of being named by its hash.
const HASH_LEN: usize = 32;

/// A node of the trie (spec 02 section 1.1).
#[derive(Debug, Clone)]
pub(super) enum Node {
    Leaf { path: Nibbles, value: Value },
    Extension { path: Nibbles, child: Link },
    Branch(Box<Branch>),
}

#[derive(Debug, Clone, Default)]
pub(super) struct Branch {
    pub(super) children: [Link; WIDTH],
    pub(super) value: Option<Value>,
}

/// What a parent knows of a child.
#[derive(Debug, Clone, Default)]
pub(super) enum Link {
    #[default]
    Empty,
    /// In the store, and read when needed.
    Stored(Arc<Stored>),
    /// In memory.
    Loaded(Arc<Cell>),
}

#[derive(Debug)]
pub(super) struct Stored {
    hash: B256,
    cell: OnceLock<Arc<Cell>>,
}

/// A node with what was worked out about it. Cells are shared between copies of a trie and never change while shared.
#[derive(Debug)]
pub(super) struct Cell {
    node: Node,
    reference: OnceLock<Reference>,
    saved: AtomicBool,
}

/// How a parent's encoding names the node.
#[derive(Debug, Clone)]
pub(super) enum Reference {
    Hash(B256),
    Inline(Box<[u8]>),
}

impl Link {
    pub(super) fn stored(hash: B256) -> Self {
        Self::Stored(Arc::new(Stored { hash, cell: OnceLock::new() }))
    }

    pub(super) fn new(node: Node) -> Self {
        Self::Loaded(Arc::new(Cell::new(node)))
    }

    pub(super) fn leaf(path: &[u8], value: Value) -> Self {
        Self::new(Node::Leaf { path: path.into(), value })
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    /// The node, read from the store if it is not in memory yet.
    pub(super) fn cell(&self, store: &dyn NodeStore) -> Result<Option<&Arc<Cell>>, TrieError> {
        match self {
            Self::Empty => Ok(None),
            Self::Loaded(cell) => Ok(Some(cell)),
            Self::Stored(stored) => match stored.cell.get() {
                Some(cell) => Ok(Some(cell)),
                None => {
                    let cell = Arc::new(Cell::read(stored.hash, store)?);
                    Ok(Some(stored.cell.get_or_init(|| cell)))
                }
            },
        }
    }

    /// The node, to be changed: it and its reference are no longer those of the store. `None` when the link is empty.
    pub(super) fn node_mut(&mut self, store: &dyn NodeStore) -> Result<Option<&mut Node>, TrieError> {
        if let Self::Stored(_) = self
            && let Some(cell) = self.cell(store)?
        {
            *self = Self::Loaded(Arc::clone(cell));
        }
        let Self::Loaded(shared) = self else {
            return Ok(None);
        };
        let cell = Arc::make_mut(shared);
        cell.reference = OnceLock::new();
        cell.saved = AtomicBool::new(false);
        Ok(Some(&mut cell.node))
    }

    fn in_memory(&self) -> Option<&Cell> {
        match self {
            Self::Empty => None,
            Self::Stored(stored) => stored.cell.get().map(AsRef::as_ref),
            Self::Loaded(cell) => Some(cell),
        }
    }

    /// Appends what the parent's encoding says of this child. Its reference is known by then.
    fn encode_to(&self, out: &mut Vec<u8>) {
        match self {
            Self::Empty => encode_string(&[], out),
            Self::Stored(stored) => encode_string(stored.hash.as_slice(), out),
            Self::Loaded(cell) => match cell.reference() {
                Reference::Hash(hash) => encode_string(hash.as_slice(), out),
                Reference::Inline(bytes) => out.extend_from_slice(bytes),
            },
        }
    }

    /// Takes the node out when nobody else holds it.
    fn into_unshared(self) -> Option<Cell> {
        match self {
            Self::Empty => None,
            Self::Loaded(cell) => Arc::into_inner(cell),
            Self::Stored(stored) => Arc::into_inner(stored)?.cell.into_inner().and_then(Arc::into_inner),
        }
    }
}

impl Stored {
    pub(super) fn hash(&self) -> B256 {
        self.hash
    }
}

impl Cell {
    fn new(node: Node) -> Self {
        Self { node, reference: OnceLock::new(), saved: AtomicBool::new(false) }
    }

    /// Reads a node from the store. Its bytes are hashed again, so that whatever a disk or a peer did to them shows here.
    fn read(hash: B256, store: &dyn NodeStore) -> Result<Self, TrieError> {
        let bytes = store.node(&hash)?.ok_or(TrieError::MissingNode(hash))?;
        if keccak256(&bytes) != hash {
            return Err(TrieError::CorruptNode(hash));
        }
        let node = Node::decode(&bytes).map_err(|_| TrieError::CorruptNode(hash))?;
        Ok(Self { node, reference: OnceLock::from(Reference::Hash(hash)), saved: AtomicBool::new(true) })
    }

    pub(super) fn node(&self) -> &Node {
        &self.node
    }

    /// The reference. Deep tries would overflow the stack by recursion, so a list of what is to do stands in for it.
    pub(super) fn reference(&self) -> &Reference {
        if self.reference.get().is_none() {
            let mut open = vec![self];
            let mut unknown = Vec::new();
            while let Some(cell) = open.pop() {
                if cell.reference.get().is_none() {
                    unknown.push(cell);
                    open.extend(cell.node.links().iter().filter_map(Link::in_memory));
                }
            }
            // Parents stand before their descendants, so from the back every child is known before its parent.
            for cell in unknown.into_iter().rev() {
                cell.reference.get_or_init(|| cell.own_reference());
            }
        }
        self.reference.get_or_init(|| self.own_reference())
    }

    /// From the children's references.
    fn own_reference(&self) -> Reference {
        let encoding = self.node.encode();
        if encoding.len() < HASH_LEN {
            Reference::Inline(encoding.into())
        } else {
            Reference::Hash(keccak256(&encoding))
        }
    }

    /// The hash as a root: even a short node is hashed there.
    pub(super) fn root_hash(&self) -> B256 {
        match self.reference() {
            Reference::Hash(hash) => *hash,
            Reference::Inline(bytes) => keccak256(bytes),
        }
    }

    /// This node and all below it that are in memory only, parents first.
    pub(super) fn unsaved(&self) -> Vec<&Cell> {
        let mut open = vec![self];
        let mut unsaved = Vec::new();
        while let Some(cell) = open.pop() {
            if !cell.saved.load(Ordering::Acquire) {
                unsaved.push(cell);
                open.extend(cell.node.links().iter().filter_map(Link::in_memory));
            }
        }
        unsaved
    }

    pub(super) fn mark_saved(&self) {
        self.saved.store(true, Ordering::Release);
    }
}

/// A copy that is about to change: nothing worked out about the original holds for it.
impl Clone for Cell {
    fn clone(&self) -> Self {
        Self::new(self.node.clone())
    }
}

/// Drops what hangs below without recursion: a trie is as deep as its longest chain of keys that begin one another, which strangers
/// choose.
impl Drop for Cell {
    fn drop(&mut self) {
        let mut links = self.node.take_links();
        while let Some(link) = links.pop() {
            if let Some(mut cell) = link.into_unshared() {
                links.append(&mut cell.node.take_links());
            }
        }
    }
}

impl Node {
    /// Where children can be.
    pub(super) fn links(&self) -> &[Link] {
        match self {
            Self::Leaf { .. } => &[],
            Self::Extension { child, .. } => std::slice::from_ref(child),
            Self::Branch(branch) => &branch.children,
        }
    }

    fn take_links(&mut self) -> Vec<Link> {
        match self {
            Self::Leaf { .. } => Vec::new(),
            Self::Extension { child, .. } => match std::mem::take(child) {
                Link::Empty => Vec::new(),
                link => vec![link],
            },
            Self::Branch(branch) => {
                branch.children.iter_mut().filter(|link| !link.is_empty()).map(std::mem::take).collect()
            }
        }
    }

    /// The RLP. The references of all children in memory must be known, else they are worked out here, one inside the other.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        encode_list(&mut out, |out| match self {
            Self::Leaf { path, value } => {
                encode_string(&compact(path, true), out);
                encode_string(value, out);
            }
            Self::Extension { path, child } => {
                encode_string(&compact(path, false), out);
                child.encode_to(out);
            }
            Self::Branch(branch) => {
                for child in &branch.children {
                    child.encode_to(out);
                }
                encode_string(branch.value.as_deref().unwrap_or_default(), out);
            }
        });
        out
    }

    /// Reads the RLP of one node. Forms that no trie writes are refused: they would only have a meaning that differs between readers.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, RlpError> {
        let mut reader = Reader::new(bytes);
        let node = Self::decode_from(&mut reader)?;
        reader.finish()?;
        Ok(node)
    }

    fn decode_from(reader: &mut Reader<'_>) -> Result<Self, RlpError> {
        let mut items = reader.list()?;
        // A node has 2 items or 17: an attempt on a copy tells which.
        let mut count = items.clone();
        count.raw_item()?;
        count.raw_item()?;
        let node =
            if count.is_empty() { Self::decode_short(&mut items)? } else { Self::decode_branch(&mut items)? };
        items.finish()?;
        Ok(node)
    }

    fn decode_short(items: &mut Reader<'_>) -> Result<Self, RlpError> {
        let (path, leaf) = from_compact(items.string()?).ok_or(RlpError::Refused("a malformed trie path"))?;
        if leaf {
            let value = items.string()?;
            if value.is_empty() {
                return Err(RlpError::Refused("a trie leaf without a value"));
            }
            return Ok(Self::Leaf { path, value: value.into() });
        }
        let child = decode_link(items)?;
        if path.is_empty() || child.is_empty() {
            return Err(RlpError::Refused("a trie extension that leads nowhere"));
        }
        Ok(Self::Extension { path, child })
    }

    fn decode_branch(items: &mut Reader<'_>) -> Result<Self, RlpError> {
        let mut branch = Box::new(Branch::default());
        for child in &mut branch.children {
            *child = decode_link(items)?;
        }
        let value = items.string()?;
        branch.value = (!value.is_empty()).then(|| value.into());
        let entries = branch.children.iter().filter(|child| !child.is_empty()).count();
        if entries + usize::from(branch.value.is_some()) < 2 {
            return Err(RlpError::Refused("a trie branch with less than two entries"));
        }
        Ok(Self::Branch(branch))
    }
}

/// An absent child, a hash, or a short node itself. Depth is bounded by the 31 bytes that such a node has at most.
fn decode_link(items: &mut Reader<'_>) -> Result<Link, RlpError> {
    if items.next_is_list() == Some(true) {
        let raw = items.raw_item()?;
        if raw.len() >= HASH_LEN {
            return Err(RlpError::Refused("a long trie node inside its parent"));
        }
        return Ok(Link::new(Node::decode(raw)?));
    }
    match items.string()? {
        [] => Ok(Link::Empty),
        bytes => match <[u8; HASH_LEN]>::try_from(bytes) {
            Ok(hash) => Ok(Link::stored(B256::from(hash))),
            Err(_) => Err(RlpError::WrongSize { expected: HASH_LEN, found: bytes.len() }),
        },
    }
}
