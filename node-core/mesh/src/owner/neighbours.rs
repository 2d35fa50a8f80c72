//! Nodes of the same local network, found by multicast DNS.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, PeerId, mdns};
use rand::RngExt;

use super::Owner;

/// With so many peers a node looks for no more of them in its neighbourhood, where anybody can say that there are thousands.
const ENOUGH_PEERS: usize = 32;
/// Neighbours that are remembered.
const MOST_KNOWN: usize = 256;
/// How soon a neighbour is dialled, at most. Two that find each other at one moment would dial each other at one moment, and then
/// TCP makes one connection of the two of which both think that they opened it.
const FIRST_WITHIN: Duration = Duration::from_millis(800);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// Neighbours that are there now.
pub(super) type Neighbours = HashMap<PeerId, Neighbour>;

#[derive(Debug)]
pub(super) struct Neighbour {
    address: Multiaddr,
    tries: u32,
    next: Instant,
}

impl Neighbour {
    /// A try is made; the next one is due after a pause that grows, and is never that of another node.
    fn tried(&mut self, now: Instant) {
        self.tries = self.tries.saturating_add(1);
        let pause = Duration::from_secs(1).saturating_mul(1 << self.tries.min(10)).min(LONGEST_PAUSE);
        self.next = now + pause.mul_f64(rand::rng().random_range(0.5..1.0));
    }
}

impl Owner {
    pub(super) fn on_neighbours(&mut self, event: mdns::Event) {
        match event {
            mdns::Event::Discovered(found) => {
                for (peer, address) in found {
                    // The address may say whose it is.
                    let Ok(address) = address.with_p2p(peer) else { continue };
                    if self.neighbours.len() < MOST_KNOWN {
                        tracing::debug!(%address, "a node of the local network");
                        let next = Instant::now() + FIRST_WITHIN.mul_f64(rand::rng().random_range(0.0..1.0));
                        self.neighbours.entry(peer).or_insert(Neighbour { address, tries: 0, next });
                    }
                }
            }
            mdns::Event::Expired(gone) => {
                for (peer, _) in gone {
                    self.neighbours.remove(&peer);
                }
            }
        }
    }

    /// Dials neighbours that are due.
    pub(super) fn dial_neighbours(&mut self, now: Instant) {
        let mut due = Vec::new();
        for (peer, neighbour) in &mut self.neighbours {
            if now < neighbour.next || self.peers.contains_key(peer) {
                continue;
            }
            if self.peers.len() + due.len() >= ENOUGH_PEERS {
                break;
            }
            neighbour.tried(now);
            due.push(neighbour.address.clone());
        }
        for address in due {
            self.dial(address, None);
        }
    }
}
