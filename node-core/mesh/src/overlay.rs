//! The libp2p protocols that make up the overlay, and their limits.

use std::time::Duration;

use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder, allow_block_list, autonat, connection_limits,
    dcutr, gossipsub, identify, kad, mdns,
    multiaddr::Protocol as Part,
    noise, ping, relay,
    swarm::{NetworkBehaviour, behaviour::toggle::Toggle},
    tcp, yamux,
};

use crate::{
    MeshConfig, MeshError, Reachability, gossip::MAX_GOSSIP_BYTES, record::MAX_RECORD_BYTES,
    sessions::Sessions,
};

/// How long a provider record is believed; it is said again in a third of that.
pub(crate) const PROVIDER_TTL: Duration = Duration::from_secs(30 * 60);
/// Provider keys that are kept for all nodes together.
pub(crate) const MAX_PROVIDER_KEYS: usize = 65_536;

const RECORD_TTL: Duration = Duration::from_secs(2 * 60 * 60);
const MAX_RECORDS: usize = 4096;
const LOOKUP_WITHIN: Duration = Duration::from_secs(10);
const MAX_TOPICS_OF_A_PEER: usize = 32;
const MAX_CONNECTIONS_OF_A_PEER: u32 = 4;
const MAX_PENDING: u32 = 64;

pub(crate) type Gossip = gossipsub::Behaviour<
    gossipsub::IdentityTransform,
    gossipsub::MaxCountSubscriptionFilter<gossipsub::AllowAllSubscriptionFilter>,
>;

/// The protocols. The first two may refuse a connection before the others see it.
#[derive(NetworkBehaviour)]
pub(crate) struct Overlay {
    pub limits: connection_limits::Behaviour,
    pub blocked: allow_block_list::Behaviour<allow_block_list::BlockedPeers>,
    pub sessions: Sessions,
    pub identify: identify::Behaviour,
    pub ping: ping::Behaviour,
    pub kademlia: kad::Behaviour<kad::store::MemoryStore>,
    pub neighbours: Toggle<mdns::tokio::Behaviour>,
    pub gossip: Gossip,
    pub autonat_client: Toggle<autonat::v2::client::Behaviour>,
    pub autonat_server: autonat::v2::server::Behaviour,
    pub relay: Toggle<relay::Behaviour>,
    pub relay_client: relay::client::Behaviour,
    pub hole_punching: dcutr::Behaviour,
}

/// The name under which Kademlia of this chain is spoken.
pub(crate) fn kademlia_protocol(chain_id: &str) -> Result<StreamProtocol, MeshError> {
    StreamProtocol::try_from_owned(format!("/thetis/{chain_id}/kad/1"))
        .map_err(|error| MeshError::Settings(error.to_string()))
}

/// Builds the swarm; nothing listens yet.
pub(crate) fn build(config: &MeshConfig, binding: Vec<u8>) -> Result<Swarm<Overlay>, MeshError> {
    let settings = |error: &dyn std::fmt::Display| MeshError::Settings(error.to_string());
    let quiet = config.dead_after;
    let swarm = SwarmBuilder::with_existing_identity(config.node_key.keypair().clone())
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)
        .map_err(|error| settings(&error))?
        .with_quic_config(|mut quic| {
            // The last keep-alive restarts the idle clock once, so both together are the time to notice a death.
            quic.keep_alive_interval = quiet / 4;
            quic.max_idle_timeout = (quiet.as_millis() * 3 / 4).try_into().unwrap_or(u32::MAX);
            quic
        })
        .with_dns()
        .map_err(|error| settings(&error))?
        .with_relay_client(noise::Config::new, yamux::Config::default)
        .map_err(|error| settings(&error))?
        .with_behaviour(|_, relay_client| {
            overlay(config, binding, relay_client).map_err(|error| Box::new(error) as Box<_>)
        })
        .map_err(|error| settings(&error))?
        .with_swarm_config(|swarm| {
            swarm.with_idle_connection_timeout(config.idle_after).with_max_negotiating_inbound_streams(256)
        })
        .build();
    Ok(swarm)
}

fn overlay(
    config: &MeshConfig,
    binding: Vec<u8>,
    relay_client: relay::client::Behaviour,
) -> Result<Overlay, MeshError> {
    let key = config.node_key.keypair();
    let peer = config.node_key.peer_id();
    let detect = config.reachability == Reachability::Detect;
    Ok(Overlay {
        limits: connection_limits::Behaviour::new(
            connection_limits::ConnectionLimits::default()
                .with_max_established(Some(config.max_connections))
                .with_max_established_per_peer(Some(MAX_CONNECTIONS_OF_A_PEER))
                .with_max_pending_incoming(Some(MAX_PENDING))
                .with_max_pending_outgoing(Some(MAX_PENDING)),
        ),
        blocked: allow_block_list::Behaviour::default(),
        sessions: Sessions::new(&config.chain_id, binding),
        identify: identify::Behaviour::new(
            identify::Config::new(format!("/thetis/{}/1", config.chain_id), key.public())
                .with_agent_version(concat!("thetis/", env!("CARGO_PKG_VERSION")).into())
                .with_push_listen_addr_updates(true)
                .with_cache_size(1024),
        ),
        // Several pings fit into the time after which silence means death; that they come back is a sign of life.
        ping: ping::Behaviour::new(ping::Config::new().with_interval(config.dead_after / 4)),
        kademlia: kademlia(config, peer)?,
        neighbours: Toggle::from(config.local_discovery.then(|| neighbours(peer)).flatten()),
        gossip: gossip(config)?,
        autonat_client: Toggle::from(detect.then(autonat::v2::client::Behaviour::default)),
        autonat_server: autonat::v2::server::Behaviour::default(),
        relay: Toggle::from(
            config.relay_for_others.then(|| relay::Behaviour::new(peer, relay::Config::default())),
        ),
        relay_client,
        hole_punching: dcutr::Behaviour::new(peer),
    })
}

/// Multicast DNS; a machine that does not let it be goes without.
fn neighbours(peer: PeerId) -> Option<mdns::tokio::Behaviour> {
    mdns::tokio::Behaviour::new(mdns::Config::default(), peer)
        .inspect_err(|error| tracing::warn!(%error, "nodes of the local network are not looked for"))
        .ok()
}

fn kademlia(config: &MeshConfig, peer: PeerId) -> Result<kad::Behaviour<kad::store::MemoryStore>, MeshError> {
    let store = kad::store::MemoryStore::with_config(
        peer,
        kad::store::MemoryStoreConfig {
            max_records: MAX_RECORDS,
            max_value_bytes: MAX_RECORD_BYTES + 1024,
            max_provided_keys: MAX_PROVIDER_KEYS,
            ..Default::default()
        },
    );
    let mut settings = kad::Config::new(kademlia_protocol(&config.chain_id)?);
    settings
        .set_query_timeout(LOOKUP_WITHIN)
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_record_ttl(Some(RECORD_TTL))
        .set_publication_interval(Some(RECORD_TTL / 3))
        .set_replication_interval(Some(RECORD_TTL / 6))
        .set_provider_record_ttl(Some(PROVIDER_TTL))
        .set_provider_publication_interval(Some(PROVIDER_TTL / 3))
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        .set_caching(kad::Caching::Disabled);
    let mut kademlia = kad::Behaviour::with_config(peer, store, settings);
    if config.reachability == Reachability::Public {
        kademlia.set_mode(Some(kad::Mode::Server));
    }
    Ok(kademlia)
}

fn gossip(config: &MeshConfig) -> Result<Gossip, MeshError> {
    let settings = |error: &dyn std::fmt::Display| MeshError::Settings(error.to_string());
    let rules = gossipsub::ConfigBuilder::default()
        .protocol_id_prefix(format!("/thetis/{}/gossip", config.chain_id))
        // Room for the signature, the key and the topic around the largest message.
        .max_transmit_size(MAX_GOSSIP_BYTES + 4096)
        .validation_mode(gossipsub::ValidationMode::Strict)
        .validate_messages()
        .connection_handler_queue_len(512)
        .build()
        .map_err(|error| settings(&error))?;
    let filter = gossipsub::MaxCountSubscriptionFilter {
        filter: gossipsub::AllowAllSubscriptionFilter {},
        max_subscribed_topics: MAX_TOPICS_OF_A_PEER,
        max_subscriptions_per_request: MAX_TOPICS_OF_A_PEER,
    };
    let mut gossip = gossipsub::Behaviour::new_with_subscription_filter(
        gossipsub::MessageAuthenticity::Signed(config.node_key.keypair().clone()),
        rules,
        filter,
    )
    .map_err(|error| settings(&error))?;
    // Forged messages and broken rules of the protocol cost the neighbour its place. Many nodes of one household
    // share an address, so that costs nothing here.
    let scores = gossipsub::PeerScoreParams { ip_colocation_factor_weight: 0.0, ..Default::default() };
    gossip
        .with_peer_score(scores, gossipsub::PeerScoreThresholds::default())
        .map_err(|error| settings(&error))?;
    Ok(gossip)
}

/// Whether an address passes a relay.
pub(crate) fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Part::P2pCircuit)
}

/// The peer that an address ends with.
pub(crate) fn peer_of(address: &Multiaddr) -> Option<PeerId> {
    match address.iter().last() {
        Some(Part::P2p(peer)) => Some(peer),
        _ => None,
    }
}

/// Whether an address is of this machine or of a local network, where strangers' addresses mean nothing.
pub(crate) fn is_local(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Part::Ip4(ip)) => {
            ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified()
        }
        Some(Part::Ip6(ip)) => {
            ip.is_loopback() || ip.is_unspecified() || ip.is_unique_local() || ip.is_unicast_link_local()
        }
        _ => false,
    }
}
