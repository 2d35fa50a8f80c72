//! What can go wrong on the overlay.

use std::time::Duration;

use libp2p::{Multiaddr, PeerId};

use crate::{BindingError, Protocol};

/// Why the overlay could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// A node key is 32 bytes. Restore the file, or make a new key.
    #[error("a node key is 32 bytes")]
    NodeKey,
    /// A setting cannot be used. Change it.
    #[error("the overlay's settings cannot be used: {0}")]
    Settings(String),
    /// An address cannot be listened on: it is taken, or not of this machine. Choose another.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The address as it was asked for.
        address: Multiaddr,
        /// What the system said.
        reason: String,
    },
    /// The peer cannot be reached now. Try another, or this one later.
    #[error("{peer} cannot be reached: {reason}")]
    Unreachable {
        /// The peer.
        peer: PeerId,
        /// What was tried.
        reason: String,
    },
    /// Nobody answers at this address. Try another, or this one later.
    #[error("{address} cannot be reached: {reason}")]
    NoAnswer {
        /// The address.
        address: Multiaddr,
        /// What was tried.
        reason: String,
    },
    /// The peer did not prove its wallet, so nothing is asked of it. Use another.
    #[error("{peer} did not prove its wallet: {source}")]
    Unproven {
        /// The peer.
        peer: PeerId,
        /// What was wrong.
        source: BindingError,
    },
    /// The peer does not speak this protocol. Use another.
    #[error("{peer} does not speak {protocol}")]
    NotSpoken {
        /// The peer.
        peer: PeerId,
        /// The protocol.
        protocol: Protocol,
    },
    /// The peer is banned. Use another.
    #[error("{peer} is banned: {reason}")]
    Banned {
        /// The peer.
        peer: PeerId,
        /// Why.
        reason: String,
    },
    /// The stream broke while it was opened. Try again.
    #[error("the stream broke: {0}")]
    Broken(#[from] std::io::Error),
    /// Nothing happened in this time. Try again, or another peer.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// A message, key or record is larger than the overlay carries. Send less.
    #[error("{what} of {bytes} bytes is larger than the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// No connected peer listens to this topic yet. Say it again later.
    #[error("nobody listens to this topic yet")]
    NobodyListens,
    /// A queue is full. Try again in a moment.
    #[error("the overlay is busy: {0}")]
    Busy(&'static str),
    /// Somebody in this node already accepts this protocol.
    #[error("{0} is already accepted by this node")]
    AlreadyAccepted(Protocol),
    /// The overlay has ended.
    #[error("the overlay has ended")]
    Stopped,
}
