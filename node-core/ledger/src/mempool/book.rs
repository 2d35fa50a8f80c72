//! What the mempool remembers of transactions, for a while.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use theta_types::TxHash;

/// What became of a transaction that was admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TxMemory {
    /// It waits for a block, or is in one by now.
    Pending,
    /// It could not be executed any more, and was dropped.
    Abandoned,
}

/// Bounded in number and age. The oldest goes first.
#[derive(Debug)]
pub(super) struct Book {
    capacity: usize,
    lifetime: Duration,
    entries: HashMap<TxHash, (TxMemory, Instant)>,
    by_age: VecDeque<TxHash>,
}

impl Book {
    pub(super) fn new(capacity: usize, lifetime: Duration) -> Self {
        Self { capacity, lifetime, entries: HashMap::new(), by_age: VecDeque::new() }
    }

    pub(super) fn get(&self, hash: &TxHash, now: Instant) -> Option<TxMemory> {
        let (memory, since) = self.entries.get(hash)?;
        (now.saturating_duration_since(*since) < self.lifetime).then_some(*memory)
    }

    pub(super) fn remember_pending(&mut self, hash: TxHash, now: Instant) {
        self.forget_old(now);
        while self.entries.len() >= self.capacity
            && let Some(oldest) = self.by_age.pop_front()
        {
            self.entries.remove(&oldest);
        }
        self.entries.insert(hash, (TxMemory::Pending, now));
        self.by_age.push_back(hash);
    }

    pub(super) fn abandon(&mut self, hash: &TxHash) {
        if let Some((memory, _)) = self.entries.get_mut(hash) {
            *memory = TxMemory::Abandoned;
        }
    }

    fn forget_old(&mut self, now: Instant) {
        while let Some(oldest) = self.by_age.front()
            && self.get(oldest, now).is_none()
        {
            self.entries.remove(oldest);
            self.by_age.pop_front();
        }
    }
}
