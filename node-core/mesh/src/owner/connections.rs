//! Dialling, sessions, dead peers, faults and bans.

use std::time::{Duration, Instant};

use libp2p::{
    Multiaddr, PeerId, identify, ping,
    relay::HOP_PROTOCOL_NAME,
    swarm::{
        ConnectionId, DialError,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use tokio::sync::{mpsc::error::TrySendError, oneshot};

use super::{MAX_WALLETS, Owner};
use crate::{
    BindingError, Fault, MeshError,
    overlay::{is_local, is_relayed, peer_of},
    peers::{MeshEvent, PeerInfo},
    sessions::{HELLO, OpenFailure, SessionEvent},
    stream::MeshStream,
};

/// Addresses of a peer that are believed.
const MAX_ADDRESSES: usize = 16;
const REDIAL_FIRST: Duration = Duration::from_secs(1);
const REDIAL_LAST: Duration = Duration::from_secs(60);

/// A dial that somebody may wait for.
pub(super) struct Dial {
    address: Multiaddr,
    answer: Option<oneshot::Sender<Result<PeerId, MeshError>>>,
}

/// When the bootstrap nodes are dialled again.
#[derive(Default)]
pub(super) struct Redial {
    next: Option<Instant>,
    pause: Duration,
}

impl Owner {
    /// Dials an address; the answer comes when the peer has proven its wallet.
    pub(super) fn dial(
        &mut self,
        address: Multiaddr,
        mut answer: Option<oneshot::Sender<Result<PeerId, MeshError>>>,
    ) {
        if let Some(peer) = peer_of(&address)
            && self.peers.contains_key(&peer)
        {
            reply(&mut answer, Ok(peer));
            return;
        }
        let options = match peer_of(&address) {
            Some(peer) => DialOpts::peer_id(peer)
                .addresses(vec![address.clone()])
                .condition(PeerCondition::Always)
                .build(),
            None => DialOpts::unknown_peer_id().address(address.clone()).build(),
        };
        let id = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => {
                self.dials.insert(id, Dial { address, answer });
            }
            Err(error) => reply(&mut answer, Err(MeshError::NoAnswer { address, reason: error.to_string() })),
        }
    }

    pub(super) fn dial_bootstrap(&mut self) {
        for address in self.config.bootstrap.clone() {
            self.dial(address, None);
        }
    }

    pub(super) fn redial_if_alone(&mut self, now: Instant) {
        if !self.peers.is_empty() || self.config.bootstrap.is_empty() {
            self.redial = Redial::default();
            return;
        }
        match self.redial.next {
            Some(next) if now < next => {}
            Some(_) => {
                self.dial_bootstrap();
                self.redial.pause = (self.redial.pause * 2).min(REDIAL_LAST);
                self.redial.next = Some(now + self.redial.pause);
            }
            None => self.redial = Redial { next: Some(now + REDIAL_FIRST), pause: REDIAL_FIRST },
        }
    }

    pub(super) fn on_connected(&mut self, peer: PeerId, connection: ConnectionId, address: &Multiaddr) {
        tracing::debug!(%peer, ?connection, %address, "connected");
        self.asked_for.remove(&peer);
    }

    pub(super) fn on_disconnected(&mut self, peer: PeerId, connection: ConnectionId) {
        if let Some(mut dial) = self.dials.remove(&connection) {
            let reason = "the connection closed before the peer proved its wallet".into();
            reply(&mut dial.answer, Err(MeshError::NoAnswer { address: dial.address, reason }));
        }
        if self.swarm.behaviour().sessions.is_connected(&peer) {
            let direct = self.swarm.behaviour().sessions.is_direct(&peer);
            self.change_peer(&peer, |info| info.direct = direct);
            return;
        }
        if self.peers.remove(&peer).is_some() {
            self.publish_peers();
            self.say(MeshEvent::Left { peer });
        }
    }

    pub(super) fn on_dial_failed(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        error: DialError,
    ) {
        let reason = error.to_string();
        tracing::debug!(?peer, reason, "a dial failed");
        if let Some(mut dial) = self.dials.remove(&connection) {
            reply(
                &mut dial.answer,
                Err(MeshError::NoAnswer { address: dial.address, reason: reason.clone() }),
            );
        }
        let Some(peer) = peer else { return };
        let sessions = &self.swarm.behaviour().sessions;
        let condition = matches!(error, DialError::DialPeerConditionFalse(_));
        if condition || sessions.is_connected(&peer) || !sessions.is_wanted(&peer) {
            return;
        }
        self.ask_for_addresses(peer, reason);
    }

    /// Dials a peer that streams are wanted from, at the addresses that are known.
    fn connect(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) -> Result<(), DialError> {
        // Not `Disconnected`: a dead connection that cannot be closed does not stand in the way of a new one.
        let options = DialOpts::peer_id(peer).condition(PeerCondition::NotDialing);
        let options = match addresses.is_empty() {
            true => options.build(),
            false => options.addresses(addresses).extend_addresses_through_behaviour().build(),
        };
        match self.swarm.dial(options) {
            // Dialling already: what is wanted will come of that.
            Err(DialError::DialPeerConditionFalse(_)) => Ok(()),
            outcome => outcome,
        }
    }

    fn ask_for_addresses(&mut self, peer: PeerId, reason: String) {
        if !self.asked_for.insert(peer) {
            self.asked_for.remove(&peer);
            self.swarm.behaviour_mut().sessions.give_up(&peer, || OpenFailure::Unreachable(reason.clone()));
            return;
        }
        self.look_up_addresses(peer);
    }

    /// The hash table said where a wanted peer is.
    pub(super) fn on_addresses(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) {
        if !self.swarm.behaviour().sessions.is_wanted(&peer) {
            self.asked_for.remove(&peer);
            return;
        }
        if let Err(error) = self.connect(peer, addresses) {
            self.ask_for_addresses(peer, error.to_string());
        }
    }

    pub(super) fn on_session(&mut self, event: SessionEvent) {
        match event {
            SessionEvent::ConnectionWanted { peer } => {
                if let Err(error) = self.connect(peer, Vec::new()) {
                    self.ask_for_addresses(peer, error.to_string());
                }
            }
            SessionEvent::Proven { peer, connection, wallet } => {
                if let Some(mut dial) = self.dials.remove(&connection) {
                    reply(&mut dial.answer, Ok(peer));
                }
                self.remember_wallet(peer, wallet);
                let direct = self.swarm.behaviour().sessions.is_direct(&peer);
                let before = self
                    .peers
                    .insert(peer, PeerInfo { peer, wallet, direct, agent: String::new(), rtt: None });
                self.peers_changed = true;
                match before {
                    Some(before) => self.change_peer(&peer, |info| {
                        info.agent = before.agent;
                        info.rtt = before.rtt;
                    }),
                    None => {
                        self.publish_peers();
                        self.say(MeshEvent::Joined { peer, wallet });
                    }
                }
            }
            SessionEvent::Refused { peer, connection, error } => {
                tracing::debug!(%peer, %error, "a peer did not prove its wallet");
                if let Some(mut dial) = self.dials.remove(&connection) {
                    reply(&mut dial.answer, Err(MeshError::Unproven { peer, source: error.clone() }));
                }
                match error {
                    // An honest node of another network.
                    BindingError::OtherChain(_) => {}
                    BindingError::Missing => self.fault(peer, Fault::NoBinding),
                    BindingError::Malformed => self.fault(peer, Fault::Garbage),
                    BindingError::TooLong => self.fault(peer, Fault::Oversize),
                    BindingError::WrongSignature => self.fault(peer, Fault::WrongBinding),
                }
            }
            SessionEvent::Inbound { peer, protocol, stream, pulse, place } => {
                let Some(wallet) = self.peers.get(&peer).map(|info| info.wallet) else { return };
                let Some(queue) = self.accepting.get(&protocol) else { return };
                let (limit, traffic) = (self.limit.clone(), self.traffic.clone());
                let stream = MeshStream::new(stream, limit, traffic, pulse, Some(place));
                if let Err(TrySendError::Full(_)) = queue.try_send((peer, wallet, stream)) {
                    tracing::warn!(%peer, %protocol, "too many streams wait to be accepted, one is dropped");
                }
            }
        }
    }

    pub(super) fn on_identified(&mut self, event: identify::Event) {
        let identify::Event::Received { peer_id: peer, info, .. } = event else { return };
        self.change_peer(&peer, |known| known.agent = info.agent_version.chars().take(64).collect());
        if !info.protocols.contains(&HELLO) {
            return;
        }
        // Addresses of a local network mean something only to those in it.
        let near = is_local(&info.observed_addr);
        let believed: Vec<Multiaddr> = info
            .listen_addrs
            .into_iter()
            .filter(|address| near || !is_local(address))
            .take(MAX_ADDRESSES)
            .collect();
        if info.protocols.contains(&HOP_PROTOCOL_NAME)
            && let Some(address) = believed.iter().find(|address| !is_relayed(address))
        {
            self.listeners.remember_relay(peer, address.clone());
        }
        if info.protocols.contains(&self.kademlia_protocol) {
            for address in believed {
                self.swarm.behaviour_mut().kademlia.add_address(&peer, address);
            }
        }
    }

    pub(super) fn on_ping(&mut self, event: ping::Event) {
        let ping::Event { peer, connection, result } = event;
        match result {
            Ok(rtt) => {
                self.swarm.behaviour().sessions.beat(connection);
                // Only changes that somebody could see are published.
                let steps = |rtt: Duration| rtt.as_millis() / 5;
                let seen = self.peers.get(&peer).and_then(|info| info.rtt);
                if seen.map(steps) != Some(steps(rtt)) {
                    self.change_peer(&peer, |info| info.rtt = Some(rtt));
                }
            }
            // What is dead is found by its silence: a lost ping alone proves nothing on a connection full of data.
            Err(error) => tracing::trace!(%peer, %error, "a ping was lost"),
        }
    }

    /// Cuts connections that gave no sign of life for too long.
    pub(super) fn cut_dead_connections(&mut self) {
        let dead = self.swarm.behaviour_mut().sessions.bury_the_dead(self.config.dead_after);
        for (peer, connection) in dead {
            tracing::debug!(%peer, ?connection, "no sign of life, the connection is cut");
            self.swarm.close_connection(connection);
            self.on_disconnected(peer, connection);
        }
    }

    /// Adds a fault of a peer, and bans it when it was the last one.
    pub(super) fn fault(&mut self, peer: PeerId, fault: Fault) {
        let now = Instant::now();
        tracing::debug!(%peer, ?fault, "a peer misbehaved");
        if self.faults.add(peer, fault, now) {
            self.ban(peer, format!("repeated faults, at last {fault:?}"), now);
        }
    }

    pub(super) fn ban(&mut self, peer: PeerId, reason: String, now: Instant) {
        tracing::info!(%peer, reason, "a peer is banned");
        self.faults.ban(peer, reason.clone(), now);
        let overlay = self.swarm.behaviour_mut();
        overlay.sessions.give_up(&peer, || OpenFailure::Banned(reason.clone()));
        overlay.kademlia.remove_peer(&peer);
        overlay.blocked.block_peer(peer);
        self.say(MeshEvent::Banned { peer, reason });
    }

    fn remember_wallet(&mut self, peer: PeerId, wallet: theta_types::Address) {
        if self.wallets.len() >= MAX_WALLETS {
            self.wallets.retain(|peer, _| self.peers.contains_key(peer));
        }
        self.wallets.insert(peer, wallet);
    }
}

fn reply(
    answer: &mut Option<oneshot::Sender<Result<PeerId, MeshError>>>,
    outcome: Result<PeerId, MeshError>,
) {
    if let Some(answer) = answer.take() {
        // Whoever asked may have stopped waiting.
        let _ = answer.send(outcome);
    }
}
