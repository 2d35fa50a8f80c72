//! The executed blocks that are not final yet, and the last final one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use theta_state::Trie;
use theta_types::{Block, BlockHash, Height};

use crate::known::Known;
use crate::status::BlockStatus;

/// An executed block in the tree.
#[derive(Debug, Clone)]
pub(crate) struct Leaf {
    pub(crate) known: Known,
    /// In the order of their arrival.
    pub(crate) children: Vec<BlockHash>,
    /// The state after it.
    pub(crate) state: Trie,
}

/// A tree whose root is the last final block.
#[derive(Debug)]
pub(crate) struct BlockTree {
    blocks: HashMap<BlockHash, Leaf>,
    root: BlockHash,
}

impl BlockTree {
    pub(crate) fn new(root: Known, state: Trie) -> Self {
        let hash = root.hash;
        Self {
            blocks: HashMap::from([(hash, Leaf { known: root, children: Vec::new(), state })]),
            root: hash,
        }
    }

    /// The last final block when the tree was pruned last.
    pub(crate) fn root(&self) -> BlockHash {
        self.root
    }

    pub(crate) fn get(&self, hash: &BlockHash) -> Option<&Leaf> {
        self.blocks.get(hash)
    }

    pub(crate) fn contains(&self, hash: &BlockHash) -> bool {
        self.blocks.contains_key(hash)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Leaf> {
        self.blocks.values()
    }

    /// Adds a block whose parent is here.
    pub(crate) fn add(&mut self, known: Known, state: Trie) {
        let hash = known.hash;
        if let Some(parent) = self.blocks.get_mut(&known.header().parent) {
            parent.children.push(hash);
        }
        self.blocks.insert(hash, Leaf { known, children: Vec::new(), state });
    }

    pub(crate) fn set_status(&mut self, hash: &BlockHash, status: BlockStatus) {
        if let Some(leaf) = self.blocks.get_mut(hash) {
            leaf.known.status = status;
        }
    }

    /// Gives a block's state up for another handle on it, so that what was read of it can go.
    pub(crate) fn set_state(&mut self, hash: &BlockHash, state: Trie) {
        if let Some(leaf) = self.blocks.get_mut(hash) {
            leaf.state = state;
        }
    }

    /// The highest block on top of `from`; of equals, the one found first with later children before earlier ones. With
    /// `extend`, blocks that changed the validators are left out, and all above them: nobody builds on those before they are committed
    /// (spec 03 section 2.9).
    pub(crate) fn tip(&self, from: &BlockHash, extend: bool) -> Option<&Leaf> {
        let mut best = self.blocks.get(from)?;
        let mut open: Vec<_> = best.children.iter().collect();
        while let Some(leaf) = open.pop().and_then(|hash| self.blocks.get(hash)) {
            if extend && leaf.known.validator_update {
                continue;
            }
            if leaf.known.height() > best.known.height() {
                best = leaf;
            }
            open.extend(&leaf.children);
        }
        Some(best)
    }

    /// The blocks from the child of the root to this one, lowest first. `None` when it does not descend from the root.
    pub(crate) fn path_from_root(&self, hash: BlockHash) -> Option<Vec<Known>> {
        let mut path = Vec::new();
        let mut at = hash;
        while at != self.root {
            let leaf = self.blocks.get(&at)?;
            path.push(leaf.known.clone());
            at = leaf.known.header().parent;
        }
        path.reverse();
        Some(path)
    }

    /// Makes a block the root, and forgets what does not descend from it.
    pub(crate) fn prune_to(&mut self, root: BlockHash) {
        if !self.blocks.contains_key(&root) {
            return;
        }
        let mut kept = HashSet::new();
        let mut open = vec![root];
        while let Some(hash) = open.pop() {
            if let Some(leaf) = self.blocks.get(&hash) {
                kept.insert(hash);
                open.extend(&leaf.children);
            }
        }
        self.blocks.retain(|hash, _| kept.contains(hash));
        self.root = root;
    }
}

/// Blocks whose parent is not known yet. They wait in memory, and the highest go first when there are too many.
#[derive(Debug, Default)]
pub(crate) struct Orphans {
    by_parent: HashMap<BlockHash, Vec<Arc<Block>>>,
    count: usize,
}

const MAX_ORPHANS: usize = 128;

impl Orphans {
    /// Keeps a block for later.
    pub(crate) fn add(&mut self, block: Arc<Block>) {
        let siblings = self.by_parent.entry(block.header.parent).or_default();
        if siblings.contains(&block) {
            return;
        }
        siblings.push(block);
        self.count += 1;
        if self.count > MAX_ORPHANS {
            self.drop_highest();
        }
    }

    /// Takes the blocks that waited for this parent.
    pub(crate) fn take_children(&mut self, parent: &BlockHash) -> Vec<Arc<Block>> {
        let children = self.by_parent.remove(parent).unwrap_or_default();
        self.count -= children.len();
        children
    }

    /// Drops those that cannot become part of the chain any more.
    pub(crate) fn drop_up_to(&mut self, height: Height) {
        self.by_parent.retain(|_, blocks| {
            blocks.retain(|block| block.header.height > height);
            !blocks.is_empty()
        });
        self.count = self.by_parent.values().map(Vec::len).sum();
    }

    fn drop_highest(&mut self) {
        let all = self.by_parent.iter().flat_map(|(parent, blocks)| {
            blocks.iter().enumerate().map(|(index, block)| (block.header.height, *parent, index))
        });
        let Some((_, parent, index)) = all.max() else { return };
        if let Some(blocks) = self.by_parent.get_mut(&parent) {
            blocks.remove(index);
            self.count -= 1;
            if blocks.is_empty() {
                self.by_parent.remove(&parent);
            }
        }
    }
}
