//! Keys and values in order.

use std::sync::Arc;

use super::node::{Cell, Link, Node};
use super::path::{key_of, nibbles_of};
use super::{Trie, TrieError, Value};
use crate::nodes::NodeStore;

/// The entries of a trie from a prefix on, by ascending key. Made by [`Trie::entries`]; later changes of that trie do not show.
///
/// After an error it ends.
pub struct Entries {
    store: Arc<dyn NodeStore>,
    /// The prefix's subtree, not looked for yet.
    start: Option<(Link, Vec<u8>)>,
    /// What is still to visit, next one last, each with the nibbles that lead to it.
    open: Vec<(Vec<u8>, Link)>,
}

impl Entries {
    pub(super) fn new(trie: &Trie, prefix: &[u8]) -> Self {
        let start = Some((trie.root.clone(), nibbles_of(prefix)));
        Self { store: Arc::clone(trie.store()), start, open: Vec::new() }
    }

    /// Finds the lowest node that has all keys with the prefix below it.
    fn seek(&mut self, root: Link, prefix: &[u8]) -> Result<(), TrieError> {
        let mut link = root;
        let mut at = 0;
        while at < prefix.len() {
            let rest = &prefix[at..];
            let Some(cell) = link.cell(&*self.store)?.cloned() else {
                return Ok(());
            };
            match cell.node() {
                Node::Leaf { path, .. } => {
                    if !path.starts_with(rest) {
                        return Ok(());
                    }
                    break;
                }
                Node::Extension { path, .. } if path.starts_with(rest) => break,
                Node::Extension { path, child } => {
                    if !rest.starts_with(path) {
                        return Ok(());
                    }
                    at += path.len();
                    link = child.clone();
                }
                Node::Branch(branch) => {
                    link = branch.children[usize::from(rest[0])].clone();
                    at += 1;
                }
            }
        }
        self.open.push((prefix[..at].to_vec(), link));
        Ok(())
    }

    fn advance(&mut self) -> Result<Option<(Vec<u8>, Value)>, TrieError> {
        if let Some((root, prefix)) = self.start.take() {
            self.seek(root, &prefix)?;
        }
        while let Some((mut path, link)) = self.open.pop() {
            let Some(cell) = link.cell(&*self.store)?.cloned() else { continue };
            match cell.node() {
                Node::Leaf { path: tail, value } => {
                    path.extend_from_slice(tail);
                    return entry(&cell, &path, value).map(Some);
                }
                Node::Extension { path: tail, child } => {
                    path.extend_from_slice(tail);
                    self.open.push((path, child.clone()));
                }
                Node::Branch(branch) => {
                    for (nibble, child) in branch.children.iter().enumerate().rev() {
                        if !child.is_empty() {
                            self.open.push(([&path[..], &[nibble as u8]].concat(), child.clone()));
                        }
                    }
                    if let Some(value) = &branch.value {
                        return entry(&cell, &path, value).map(Some);
                    }
                }
            }
        }
        Ok(None)
    }
}

fn entry(cell: &Cell, path: &[u8], value: &Value) -> Result<(Vec<u8>, Value), TrieError> {
    let key = key_of(path).ok_or_else(|| TrieError::CorruptNode(cell.root_hash()))?;
    Ok((key, Arc::clone(value)))
}

impl Iterator for Entries {
    type Item = Result<(Vec<u8>, Value), TrieError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance().transpose();
        if matches!(next, Some(Err(_))) {
            self.open.clear();
        }
        next
    }
}

impl std::fmt::Debug for Entries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entries").finish_non_exhaustive()
    }
}
