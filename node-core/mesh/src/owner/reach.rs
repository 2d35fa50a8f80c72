//! How others reach this node: listeners, NAT, and places at relays.

use std::{
    collections::HashMap,
    io,
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, PeerId, autonat, core::transport::ListenerId, multiaddr::Protocol as Part};

use super::Owner;
use crate::{
    MeshError, Reachability,
    overlay::is_relayed,
    peers::{MeshEvent, NatState},
};

/// Relays at which a node behind NAT holds a place.
const RELAYS: usize = 2;
/// Relays that are remembered as candidates.
const MAX_CANDIDATES: usize = 64;
const RESERVE_AGAIN_AFTER: Duration = Duration::from_secs(15);

/// What is listened on, and what is still awaited.
#[derive(Default)]
pub(super) struct Listeners {
    awaited: HashMap<ListenerId, Multiaddr>,
    reservations: HashMap<ListenerId, Multiaddr>,
    candidates: HashMap<PeerId, Multiaddr>,
    reserve_at: Option<Instant>,
}

impl Listeners {
    /// A peer that says it relays for others.
    pub fn remember_relay(&mut self, peer: PeerId, address: Multiaddr) {
        if self.candidates.len() < MAX_CANDIDATES {
            self.candidates.insert(peer, address);
        }
    }
}

impl Owner {
    pub(super) fn listen(&mut self) {
        for address in self.config.listen.clone() {
            match self.swarm.listen_on(address.clone()) {
                Ok(id) => {
                    self.listeners.awaited.insert(id, address);
                }
                Err(error) => self.fail_start(address, error.to_string()),
            }
        }
        for address in self.config.external.clone() {
            self.swarm.add_external_address(address);
        }
        self.tell_ready();
    }

    pub(super) fn on_listening(&mut self, listener: ListenerId, address: Multiaddr) {
        tracing::info!(%address, "listening");
        self.listeners.awaited.remove(&listener);
        if is_relayed(&address) {
            self.say(MeshEvent::Relayed { address: address.clone() });
        } else if self.config.reachability == Reachability::Public {
            self.swarm.add_external_address(address.clone());
        }
        let own = *self.swarm.local_peer_id();
        let address = address.with_p2p(own).unwrap_or_else(|address| address);
        self.published.listening.send_modify(|addresses| {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        });
        self.tell_ready();
    }

    pub(super) fn on_address_gone(&mut self, address: &Multiaddr) {
        let own = *self.swarm.local_peer_id();
        self.published.listening.send_modify(|addresses| {
            addresses.retain(|known| {
                known != address && Some(known) != address.clone().with_p2p(own).ok().as_ref()
            });
        });
    }

    pub(super) fn on_listener_failed(&mut self, listener: ListenerId, reason: &str) {
        tracing::debug!(?listener, reason, "a listener failed");
        if let Some(address) = self.listeners.awaited.remove(&listener) {
            self.fail_start(address, reason.to_owned());
        }
    }

    pub(super) fn on_listener_closed(
        &mut self,
        listener: ListenerId,
        addresses: &[Multiaddr],
        reason: io::Result<()>,
    ) {
        let words = reason.as_ref().map_or_else(ToString::to_string, |()| "it was closed".into());
        self.on_listener_failed(listener, &words);
        self.listeners.reservations.remove(&listener);
        for address in addresses {
            self.on_address_gone(address);
        }
    }

    fn fail_start(&mut self, address: Multiaddr, reason: String) {
        tracing::warn!(%address, reason, "cannot listen");
        if let Some(ready) = self.ready.take() {
            // Whoever started may have stopped waiting.
            let _ = ready.send(Err(MeshError::Listen { address, reason }));
        }
    }

    fn tell_ready(&mut self) {
        if self.listeners.awaited.is_empty()
            && let Some(ready) = self.ready.take()
        {
            let _ = ready.send(Ok(()));
        }
    }

    pub(super) fn on_reachable_at(&mut self, address: &Multiaddr) {
        if !is_relayed(address) {
            self.change_nat(NatState::Public);
        }
    }

    pub(super) fn on_reachability_test(&mut self, event: &autonat::v2::client::Event) {
        tracing::debug!(address = %event.tested_addr, success = event.result.is_ok(), "reachability test");
        let reached = self.swarm.external_addresses().any(|address| !is_relayed(address));
        if event.result.is_err() && !reached {
            self.change_nat(NatState::Private);
        }
    }

    fn change_nat(&mut self, state: NatState) {
        self.published.nat.send_if_modified(|known| std::mem::replace(known, state) != state);
    }

    /// Holds places at relays: at those of the settings, and for a node behind NAT at some peers.
    pub(super) fn reserve_relays(&mut self, now: Instant) {
        if self.listeners.reserve_at.is_some_and(|next| now < next) {
            return;
        }
        self.listeners.reserve_at = Some(now + RESERVE_AGAIN_AFTER);
        let private = *self.published.nat.borrow() == NatState::Private;
        let wanted: Vec<Multiaddr> = if !self.config.relays.is_empty() {
            self.config.relays.clone()
        } else if private {
            self.listeners
                .candidates
                .iter()
                .filter(|(peer, _)| self.peers.contains_key(peer))
                .map(|(peer, address)| address.clone().with_p2p(*peer).unwrap_or_else(|address| address))
                .take(RELAYS)
                .collect()
        } else {
            Vec::new()
        };
        for relay in wanted {
            let address = relay.with(Part::P2pCircuit);
            if self.listeners.reservations.values().any(|held| *held == address) {
                continue;
            }
            match self.swarm.listen_on(address.clone()) {
                Ok(id) => {
                    self.listeners.reservations.insert(id, address);
                }
                Err(error) => tracing::warn!(%address, %error, "a relay cannot be used"),
            }
        }
    }
}
