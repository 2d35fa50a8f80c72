//! Who announced which content here, so that nobody fills the hash table alone and old news goes.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use libp2p::{PeerId, kad::RecordKey};

/// Keys that one node may announce here.
const MAX_KEYS_OF_A_PEER: usize = 4096;

/// The longest key of a provider record, in bytes.
pub const MAX_KEY_BYTES: usize = 128;

/// Announcements of other nodes that are held in the store. Time is passed in.
#[derive(Debug)]
pub(crate) struct ProviderLedger {
    peers: HashMap<PeerId, HashMap<RecordKey, Instant>>,
    total: usize,
    max_total: usize,
    believed_for: Duration,
}

impl ProviderLedger {
    pub fn new(max_total: usize, believed_for: Duration) -> Self {
        Self { peers: HashMap::new(), total: 0, max_total, believed_for }
    }

    /// Whether an announcement may be stored; if so it counts from now on.
    pub fn admit(&mut self, peer: PeerId, key: &RecordKey, now: Instant) -> bool {
        let keys = self.peers.entry(peer).or_default();
        let known = keys.contains_key(key);
        if !known && (self.total >= self.max_total || keys.len() >= MAX_KEYS_OF_A_PEER) {
            if keys.is_empty() {
                self.peers.remove(&peer);
            }
            return false;
        }
        self.total += usize::from(!known);
        keys.insert(key.clone(), now + self.believed_for);
        true
    }

    /// Forgets what is too old, and says what it was.
    pub fn expire(&mut self, now: Instant) -> Vec<(RecordKey, PeerId)> {
        let mut over = Vec::new();
        for (peer, keys) in &mut self.peers {
            keys.retain(|key, until| {
                let stays = *until > now;
                if !stays {
                    over.push((key.clone(), *peer));
                }
                stays
            });
        }
        self.peers.retain(|_, keys| !keys.is_empty());
        self.total -= over.len();
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> RecordKey {
        RecordKey::new(&number.to_be_bytes())
    }

    #[test]
    fn one_peer_cannot_fill_the_store() {
        let (greedy, modest, now) = (PeerId::random(), PeerId::random(), Instant::now());
        let mut ledger = ProviderLedger::new(10_000, Duration::from_secs(60));
        let admitted = (0..20_000).filter(|number| ledger.admit(greedy, &key(*number), now)).count();
        assert_eq!(admitted, MAX_KEYS_OF_A_PEER);
        assert!(ledger.admit(modest, &key(1), now));
    }

    #[test]
    fn what_is_not_said_again_is_forgotten() {
        let (peer, start) = (PeerId::random(), Instant::now());
        let mut ledger = ProviderLedger::new(2, Duration::from_secs(60));
        assert!(ledger.admit(peer, &key(1), start));
        assert!(ledger.admit(peer, &key(2), start));
        assert!(!ledger.admit(peer, &key(3), start));
        assert!(ledger.admit(peer, &key(2), start + Duration::from_secs(30)));
        assert_eq!(ledger.expire(start + Duration::from_secs(61)), vec![(key(1), peer)]);
        assert!(ledger.admit(peer, &key(3), start + Duration::from_secs(61)));
    }
}
