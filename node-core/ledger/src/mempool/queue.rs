//! The order of waiting transactions: the best fee first, and each sender's own in sequence.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::Arc;

use theta_types::{Address, TxHash, Wei};

/// Place within a sender's transactions: the sequence, then the arrival.
type Place = (u64, u64);

/// A waiting transaction.
#[derive(Debug, Clone)]
pub(super) struct Queued {
    pub(super) raw: Arc<[u8]>,
    pub(super) hash: TxHash,
    sender: Address,
    sequence: u64,
    price: Wei,
    arrival: u64,
}

impl Queued {
    pub(super) fn new(raw: Vec<u8>, hash: TxHash, sender: Address, sequence: u64, price: Wei) -> Self {
        Self { raw: raw.into(), hash, sender, sequence, price, arrival: 0 }
    }
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    by_sender: BTreeMap<Address, BTreeMap<Place, Queued>>,
    places: HashMap<TxHash, (Address, Place)>,
    bytes: usize,
    arrivals: u64,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn of_sender(&self, sender: &Address) -> usize {
        self.by_sender.get(sender).map_or(0, BTreeMap::len)
    }

    pub(super) fn push(&mut self, mut queued: Queued) {
        self.remove(&queued.hash);
        queued.arrival = self.arrivals;
        self.arrivals += 1;
        let place = (queued.sequence, queued.arrival);
        self.bytes += queued.raw.len();
        self.places.insert(queued.hash, (queued.sender, place));
        self.by_sender.entry(queued.sender).or_default().insert(place, queued);
    }

    pub(super) fn get(&self, hash: &TxHash) -> Option<&Queued> {
        let (sender, place) = self.places.get(hash)?;
        self.by_sender.get(sender)?.get(place)
    }

    pub(super) fn remove(&mut self, hash: &TxHash) {
        let Some((sender, place)) = self.places.remove(hash) else { return };
        let Some(own) = self.by_sender.get_mut(&sender) else { return };
        if let Some(removed) = own.remove(&place) {
            self.bytes -= removed.raw.len();
        }
        if own.is_empty() {
            self.by_sender.remove(&sender);
        }
    }

    pub(super) fn in_order_of_arrival(&self) -> Vec<TxHash> {
        let mut all: Vec<_> = self.places.iter().map(|(hash, (_, (_, arrival)))| (*arrival, *hash)).collect();
        all.sort_unstable();
        all.into_iter().map(|(_, hash)| hash).collect()
    }

    /// Again and again the sender whose next transaction pays best; of equals, the one that came first.
    pub(super) fn best_first(&self) -> impl Iterator<Item = &Queued> {
        let mut senders: Vec<_> = self.by_sender.values().map(|own| own.values().peekable()).collect();
        let mut heads: BinaryHeap<_> = senders
            .iter_mut()
            .enumerate()
            .filter_map(|(index, own)| own.peek().map(|head| (&head.price, Reverse(head.arrival), index)))
            .collect();
        std::iter::from_fn(move || {
            let (_, _, index) = heads.pop()?;
            let own = senders.get_mut(index)?;
            let best = own.next()?;
            if let Some(head) = own.peek() {
                heads.push((&head.price, Reverse(head.arrival), index));
            }
            Some(best)
        })
    }
}

#[cfg(test)]
mod tests;
