//! The overlay's settings.

use std::time::Duration;

use libp2p::Multiaddr;
use tokio_util::sync::CancellationToken;

use crate::{MeshError, NodeKey, binding::is_chain_id};

/// Everything the overlay is told when it starts.
#[derive(Clone, Debug)]
pub struct MeshConfig {
    /// Who the node is.
    pub node_key: NodeKey,
    /// The chain whose wallets are meant; nodes of different chains do not talk.
    pub chain_id: String,
    /// Where to listen: `/ip4/…/udp/PORT/quic-v1` and `/ip4/…/tcp/PORT`; port 0 takes a free one.
    pub listen: Vec<Multiaddr>,
    /// Nodes to begin with, with or without `/p2p/PEER`. They are dialled again, with growing pauses, whenever no peer is left.
    pub bootstrap: Vec<Multiaddr>,
    /// Whether nodes of the same local network are looked for, and told of this one (multicast DNS, RFC 6762).
    pub local_discovery: bool,
    /// Addresses under which others reach this node although it does not listen on them (a forwarded port).
    pub external: Vec<Multiaddr>,
    /// Relays to reserve a place at. Without any, a node that finds itself behind NAT chooses among its peers.
    pub relays: Vec<Multiaddr>,
    /// What is known about being reached.
    pub reachability: Reachability,
    /// Whether other nodes behind NAT may use this one to meet (bounded in number, time and bytes).
    pub relay_for_others: bool,
    /// Upload limit in bytes per second; it can be changed while the node runs.
    pub upload_limit: Option<u64>,
    /// The most connections, of which a peer may hold four.
    pub max_connections: u32,
    /// A peer that is silent for this long is dead. At least 200 ms.
    pub dead_after: Duration,
    /// A connection on which nothing is spoken for this long is closed.
    pub idle_after: Duration,
    /// Ends the overlay.
    pub cancel: CancellationToken,
}

/// Whether others can open connections to this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reachability {
    /// Find out by asking others to try (AutoNAT).
    #[default]
    Detect,
    /// Take it as given, for all addresses that are listened on: servers, and networks of one machine.
    Public,
}

impl MeshConfig {
    /// Listens on every interface, on free ports.
    pub fn new(node_key: NodeKey, chain_id: impl Into<String>) -> Self {
        Self {
            node_key,
            chain_id: chain_id.into(),
            listen: both_transports("0.0.0.0"),
            bootstrap: Vec::new(),
            local_discovery: true,
            external: Vec::new(),
            relays: Vec::new(),
            reachability: Reachability::Detect,
            relay_for_others: true,
            upload_limit: None,
            max_connections: 256,
            dead_after: Duration::from_secs(3),
            idle_after: Duration::from_secs(120),
            cancel: CancellationToken::new(),
        }
    }

    /// Listens on the loopback interface alone: networks of one machine.
    pub fn loopback(node_key: NodeKey, chain_id: impl Into<String>) -> Self {
        Self {
            listen: both_transports("127.0.0.1"),
            local_discovery: false,
            reachability: Reachability::Public,
            ..Self::new(node_key, chain_id)
        }
    }

    pub(crate) fn check(&self) -> Result<(), MeshError> {
        if !is_chain_id(&self.chain_id) {
            return Err(MeshError::Settings(format!("`{}` is no chain id", self.chain_id)));
        }
        if self.dead_after < Duration::from_millis(200) {
            return Err(MeshError::Settings("dead_after is below 200 ms".into()));
        }
        Ok(())
    }
}

fn both_transports(ip: &str) -> Vec<Multiaddr> {
    [format!("/ip4/{ip}/udp/0/quic-v1"), format!("/ip4/{ip}/tcp/0")]
        .iter()
        .filter_map(|address| address.parse().ok())
        .collect()
}
