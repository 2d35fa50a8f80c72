//! The task that owns the swarm. Everything else talks to it by [`Command`], and sees what it publishes.

mod command;
mod connections;
mod gossiping;
mod lookups;
mod neighbours;
mod reach;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm,
    gossipsub::TopicHash,
    kad,
    swarm::{ConnectionId, SwarmEvent},
};
use theta_types::Address;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

pub(crate) use command::{Command, Opened};

use crate::{
    MeshConfig, MeshError, WalletBinding,
    faults::Faults,
    gossip::{GossipBudget, GossipMessage},
    overlay::{MAX_PROVIDER_KEYS, Overlay, OverlayEvent, PROVIDER_TTL, kademlia_protocol},
    peers::{MeshEvent, NatState, PeerInfo, Peers},
    provider_ledger::ProviderLedger,
    stream::{MeshStream, Traffic},
    upload_limit::UploadLimit,
};

/// Streams of one protocol that wait to be accepted by this node.
const ACCEPT_QUEUE: usize = 64;
/// Queries of the hash table at one time.
const MAX_LOOKUPS: usize = 256;
/// Wallets that are remembered beyond their connections.
const MAX_WALLETS: usize = 8192;
/// How long the end may take before connections are cut.
const CLOSE_WITHIN: Duration = Duration::from_millis(500);

/// A stream that a peer opened to this node.
pub(crate) type InboundStream = (PeerId, Address, MeshStream);

/// What handles see without asking.
pub(crate) struct Published {
    pub peers: watch::Sender<Arc<Peers>>,
    pub listening: watch::Sender<Vec<Multiaddr>>,
    pub nat: watch::Sender<NatState>,
    pub events: broadcast::Sender<MeshEvent>,
}

/// The owner's state.
pub(crate) struct Owner {
    swarm: Swarm<Overlay>,
    config: MeshConfig,
    binding: WalletBinding,
    kademlia_protocol: StreamProtocol,
    commands: mpsc::Receiver<Command>,
    published: Published,
    limit: UploadLimit,
    traffic: Arc<Traffic>,

    accepting: HashMap<StreamProtocol, mpsc::Sender<InboundStream>>,
    subscriptions: HashMap<TopicHash, broadcast::Sender<GossipMessage>>,
    gossip_budget: GossipBudget,
    lookups: HashMap<kad::QueryId, lookups::Lookup>,
    provided: HashSet<kad::RecordKey>,
    provider_ledger: ProviderLedger,
    /// Set when the provided keys should be announced (again) to peers that were not there before.
    announce_at: Option<tokio::time::Instant>,

    peers: Peers,
    peers_changed: bool,
    wallets: HashMap<PeerId, Address>,
    faults: Faults,
    dials: HashMap<ConnectionId, connections::Dial>,
    /// Peers that are wanted and whose addresses were asked of the hash table: once, then they count as unreachable.
    asked_for: HashSet<PeerId>,
    redial: connections::Redial,
    neighbours: neighbours::Neighbours,

    listeners: reach::Listeners,
    ready: Option<oneshot::Sender<Result<(), MeshError>>>,
}

impl Owner {
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        swarm: Swarm<Overlay>,
        config: MeshConfig,
        binding: WalletBinding,
        commands: mpsc::Receiver<Command>,
        published: Published,
        limit: UploadLimit,
        traffic: Arc<Traffic>,
        ready: oneshot::Sender<Result<(), MeshError>>,
    ) -> Result<Self, MeshError> {
        Ok(Self {
            swarm,
            kademlia_protocol: kademlia_protocol(&config.chain_id)?,
            config,
            binding,
            commands,
            published,
            limit,
            traffic,
            accepting: HashMap::new(),
            subscriptions: HashMap::new(),
            gossip_budget: GossipBudget::default(),
            lookups: HashMap::new(),
            provided: HashSet::new(),
            // Half of the store is for announcements of others, so that there is always room for this node's own.
            provider_ledger: ProviderLedger::new(MAX_PROVIDER_KEYS / 2, PROVIDER_TTL),
            announce_at: None,
            peers: Peers::new(),
            peers_changed: false,
            wallets: HashMap::new(),
            faults: Faults::default(),
            dials: HashMap::new(),
            asked_for: HashSet::new(),
            redial: connections::Redial::default(),
            neighbours: neighbours::Neighbours::new(),
            listeners: reach::Listeners::default(),
            ready: Some(ready),
        })
    }

    /// Runs until the token is cancelled or every handle is gone.
    pub async fn run(mut self, cancel: CancellationToken) {
        self.listen();
        self.dial_bootstrap();
        let mut tick = tokio::time::interval(Duration::from_secs(1).min(self.config.dead_after / 8));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let announce_at = self.announce_at;
            tokio::select! {
                () = cancel.cancelled() => break,
                command = self.commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => break,
                },
                event = self.swarm.select_next_some() => self.on_event(event),
                () = async { tokio::time::sleep_until(announce_at.unwrap_or_else(tokio::time::Instant::now)).await },
                    if announce_at.is_some() => self.announce_provided(),
                _ = tick.tick() => self.on_tick(),
            }
            if self.peers_changed {
                self.publish_peers();
            }
        }
        self.close().await;
    }

    fn on_event(&mut self, event: SwarmEvent<OverlayEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_protocol_event(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.on_connected(peer_id, connection_id, endpoint.get_remote_address());
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, cause, .. } => {
                tracing::debug!(peer = %peer_id, ?cause, "a connection closed");
                self.on_disconnected(peer_id, connection_id);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error } => {
                self.on_dial_failed(connection_id, peer_id, error);
            }
            SwarmEvent::NewListenAddr { listener_id, address } => self.on_listening(listener_id, address),
            SwarmEvent::ExpiredListenAddr { address, .. } => self.on_address_gone(&address),
            SwarmEvent::ListenerError { listener_id, error } => {
                self.on_listener_failed(listener_id, &error.to_string());
            }
            SwarmEvent::ListenerClosed { listener_id, addresses, reason } => {
                self.on_listener_closed(listener_id, &addresses, reason);
            }
            SwarmEvent::ExternalAddrConfirmed { address } => self.on_reachable_at(&address),
            _ => {}
        }
    }

    fn on_protocol_event(&mut self, event: OverlayEvent) {
        match event {
            OverlayEvent::Sessions(event) => self.on_session(event),
            OverlayEvent::Identify(event) => self.on_identified(event),
            OverlayEvent::Ping(event) => self.on_ping(event),
            OverlayEvent::Kademlia(event) => self.on_kademlia(event),
            OverlayEvent::Neighbours(event) => self.on_neighbours(event),
            OverlayEvent::Gossip(event) => self.on_gossip(event),
            OverlayEvent::AutonatClient(event) => self.on_reachability_test(&event),
            OverlayEvent::RelayClient(event) => tracing::debug!(?event, "relay"),
            OverlayEvent::HolePunching(event) => tracing::debug!(?event, "hole punching"),
            OverlayEvent::Relay(_) | OverlayEvent::AutonatServer(_) => {}
            OverlayEvent::Limits(never) => match never {},
            OverlayEvent::Blocked(never) => match never {},
        }
    }

    fn on_tick(&mut self) {
        let now = Instant::now();
        self.cut_dead_connections();
        for peer in self.faults.end_bans(now) {
            self.swarm.behaviour_mut().blocked.unblock_peer(peer);
        }
        for (key, peer) in self.provider_ledger.expire(now) {
            kad::store::RecordStore::remove_provider(
                self.swarm.behaviour_mut().kademlia.store_mut(),
                &key,
                &peer,
            );
        }
        let before = self.accepting.len();
        self.accepting.retain(|_, queue| !queue.is_closed());
        if self.accepting.len() != before {
            self.tell_accepted();
        }
        self.redial_if_alone(now);
        self.dial_neighbours(now);
        self.reserve_relays(now);
    }

    /// Tells peers that this node leaves, so that they need not find out.
    async fn close(mut self) {
        self.accepting.clear();
        let connected: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
        for peer in connected {
            // Not being connected any more is as good.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let deadline = tokio::time::Instant::now() + CLOSE_WITHIN;
        while self.swarm.connected_peers().next().is_some() {
            if tokio::time::timeout_at(deadline, self.swarm.select_next_some()).await.is_err() {
                break;
            }
        }
        // A last look, so that what was queued for closing is sent.
        let _ = tokio::time::timeout(Duration::from_millis(20), self.swarm.select_next_some()).await;
    }

    fn publish_peers(&mut self) {
        self.peers_changed = false;
        self.published.peers.send_replace(Arc::new(self.peers.clone()));
    }

    fn change_peer(&mut self, peer: &PeerId, change: impl FnOnce(&mut PeerInfo)) {
        if let Some(info) = self.peers.get_mut(peer) {
            change(info);
            self.peers_changed = true;
        }
    }

    fn say(&self, event: MeshEvent) {
        // Nobody has to listen.
        let _ = self.published.events.send(event);
    }
}
