//! Gossip as the node hears it.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use libp2p::PeerId;
use theta_types::Address;
use tokio::sync::broadcast;

/// The largest gossip message, in bytes.
pub const MAX_GOSSIP_BYTES: usize = 64 * 1024;

/// A message: the peer that signed it, the wallet it acts for when it is or was connected to this node, and the bytes,
/// which are opaque here.
pub type GossipMessage = (PeerId, Option<Address>, Vec<u8>);

/// Messages of one topic, in the order of their arrival. A subscriber that falls more than 256 messages behind misses
/// the oldest ones, and the log says so.
#[derive(Debug)]
pub struct Subscription {
    receiver: broadcast::Receiver<GossipMessage>,
}

pub(crate) const SUBSCRIPTION_QUEUE: usize = 256;

impl Subscription {
    pub(crate) fn new(receiver: broadcast::Receiver<GossipMessage>) -> Self {
        Self { receiver }
    }

    /// The next message; `None` when the overlay has ended.
    pub async fn recv(&mut self) -> Option<GossipMessage> {
        loop {
            match self.receiver.recv().await {
                Ok(message) => return Some(message),
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "a subscriber is slow and misses gossip");
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

/// How much each peer may say: a burst, and then so many messages a second.
#[derive(Debug, Default)]
pub(crate) struct GossipBudget {
    spent: HashMap<PeerId, (f64, Instant)>,
}

const BURST: f64 = 64.0;
const PER_SECOND: f64 = 8.0;
const MAX_SOURCES: usize = 8192;

impl GossipBudget {
    /// Whether the peer may say one more thing.
    pub fn allows(&mut self, peer: PeerId, now: Instant) -> bool {
        if self.spent.len() >= MAX_SOURCES && !self.spent.contains_key(&peer) {
            // Those who have been silent for long enough have their whole burst back: nothing is lost by forgetting them.
            let whole = Duration::from_secs_f64(BURST / PER_SECOND);
            self.spent.retain(|_, (_, since)| now.saturating_duration_since(*since) < whole);
            if self.spent.len() >= MAX_SOURCES {
                return false;
            }
        }
        let (spent, since) = self.spent.entry(peer).or_insert((0.0, now));
        *spent = (*spent - now.saturating_duration_since(*since).as_secs_f64() * PER_SECOND).max(0.0);
        *since = now;
        if *spent + 1.0 > BURST {
            return false;
        }
        *spent += 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_talks_without_pause_is_cut_to_its_rate_and_others_are_not() {
        let (talker, other, start) = (PeerId::random(), PeerId::random(), Instant::now());
        let mut budget = GossipBudget::default();
        let heard = (0..10_000)
            .filter(|index| budget.allows(talker, start + Duration::from_millis(index * 10)))
            .count();
        assert!((860..=870).contains(&heard), "64 + 100 s of 8: {heard}");
        assert!(budget.allows(other, start + Duration::from_secs(100)));
    }
}
