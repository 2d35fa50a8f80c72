//! What lies in the store, and what goes first.

use std::collections::{BTreeMap, HashMap, HashSet};

use edge_jobs::ContentHash;

use super::{StoreError, StoreUsage};
use crate::StreamId;

/// Sizes and order of use of all content, with the pins of streams.
#[derive(Debug)]
pub struct Index {
    /// The most bytes that may lie here unpinned.
    pub cap: u64,
    entries: HashMap<ContentHash, Entry>,
    /// Unpinned content by its last use, least recent first.
    by_use: BTreeMap<u64, ContentHash>,
    pins: HashMap<StreamId, HashSet<ContentHash>>,
    /// How many streams pin a content.
    pinned: HashMap<ContentHash, usize>,
    cached: u64,
    pinned_bytes: u64,
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    bytes: u64,
    last_use: u64,
}

impl Index {
    pub fn new(cap: u64) -> Self {
        Self {
            cap,
            entries: HashMap::new(),
            by_use: BTreeMap::new(),
            pins: HashMap::new(),
            pinned: HashMap::new(),
            cached: 0,
            pinned_bytes: 0,
            clock: 0,
        }
    }

    pub fn contains(&self, hash: &ContentHash) -> bool {
        self.entries.contains_key(hash)
    }

    pub fn is_pinned(&self, hash: &ContentHash) -> bool {
        self.pinned.contains_key(hash)
    }

    pub fn insert(&mut self, hash: ContentHash, bytes: u64) {
        self.remove(&hash);
        let last_use = self.next_use();
        self.entries.insert(hash, Entry { bytes, last_use });
        if self.is_pinned(&hash) {
            self.pinned_bytes += bytes;
        } else {
            self.cached += bytes;
            self.by_use.insert(last_use, hash);
        }
    }

    pub fn remove(&mut self, hash: &ContentHash) {
        if let Some(entry) = self.entries.remove(hash) {
            if self.is_pinned(hash) {
                self.pinned_bytes -= entry.bytes;
            } else {
                self.cached -= entry.bytes;
                self.by_use.remove(&entry.last_use);
            }
        }
    }

    /// Notes a use; false when the content is not here.
    pub fn touch(&mut self, hash: &ContentHash) -> bool {
        let now = self.next_use();
        let pinned = self.is_pinned(hash);
        let Some(entry) = self.entries.get_mut(hash) else { return false };
        if !pinned {
            self.by_use.remove(&entry.last_use);
            self.by_use.insert(now, *hash);
        }
        entry.last_use = now;
        true
    }

    pub fn pin(&mut self, stream: StreamId, contents: HashSet<ContentHash>) {
        self.unpin(stream);
        for hash in &contents {
            let count = self.pinned.entry(*hash).or_insert(0);
            *count += 1;
            if *count == 1
                && let Some(entry) = self.entries.get(hash)
            {
                self.cached -= entry.bytes;
                self.pinned_bytes += entry.bytes;
                self.by_use.remove(&entry.last_use);
            }
        }
        self.pins.insert(stream, contents);
    }

    pub fn unpin(&mut self, stream: StreamId) {
        for hash in self.pins.remove(&stream).unwrap_or_default() {
            let Some(count) = self.pinned.get_mut(&hash) else { continue };
            *count -= 1;
            if *count > 0 {
                continue;
            }
            self.pinned.remove(&hash);
            if let Some(entry) = self.entries.get(&hash) {
                self.pinned_bytes -= entry.bytes;
                self.cached += entry.bytes;
                self.by_use.insert(entry.last_use, hash);
            }
        }
    }

    /// Forgets what has to go so that `room` bytes more fit under the cap; the caller deletes the files.
    pub fn evict(&mut self, room: u64) -> Result<Vec<ContentHash>, StoreError> {
        if room > self.cap {
            return Err(StoreError::AboveCap { bytes: room, cap: self.cap });
        }
        let mut evicted = Vec::new();
        while self.cached + room > self.cap {
            let Some((_, hash)) = self.by_use.pop_first() else { break };
            if let Some(entry) = self.entries.remove(&hash) {
                self.cached -= entry.bytes;
            }
            evicted.push(hash);
        }
        Ok(evicted)
    }

    pub fn usage(&self) -> StoreUsage {
        StoreUsage {
            cached: self.cached,
            pinned: self.pinned_bytes,
            cap: self.cap,
            files: self.entries.len(),
        }
    }

    fn next_use(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
}
