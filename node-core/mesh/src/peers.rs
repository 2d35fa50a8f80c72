//! What a node knows of its peers and of its own place, to be shown and acted on.

use std::{collections::HashMap, time::Duration};

use libp2p::{Multiaddr, PeerId};
use theta_types::Address;

/// Connected peers that proved their wallets.
pub(crate) type Peers = HashMap<PeerId, PeerInfo>;

/// A connected peer that proved its wallet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// Who it is on the overlay.
    pub peer: PeerId,
    /// The wallet it acts for.
    pub wallet: Address,
    /// Whether a connection to it passes no relay.
    pub direct: bool,
    /// The program and version it says it is; empty until it said so.
    pub agent: String,
    /// The last measured round trip; `None` until there was one.
    pub rtt: Option<Duration>,
}

/// Whether others can open connections to this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NatState {
    /// Not known yet.
    #[default]
    Unknown,
    /// Others reach it.
    Public,
    /// Others do not reach it but through a relay.
    Private,
}

/// News of the overlay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MeshEvent {
    /// A peer connected and proved its wallet.
    Joined {
        /// The peer.
        peer: PeerId,
        /// Its wallet.
        wallet: Address,
    },
    /// The last connection to a peer closed or died.
    Left {
        /// The peer.
        peer: PeerId,
    },
    /// A peer is banned.
    Banned {
        /// The peer.
        peer: PeerId,
        /// Why.
        reason: String,
    },
    /// A relay keeps a place for this node.
    Relayed {
        /// The address under which others reach it there.
        address: Multiaddr,
    },
}
