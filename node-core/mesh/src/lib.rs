//! The overlay of edge nodes: who is there, what they say, and streams between them.
//!
//! Built on libp2p (QUIC, TCP with Noise and yamux, Kademlia, gossipsub, relays and hole punching). What this crate adds is
//! the proof that a node acts for a wallet ([`WalletBinding`]), exchanged before any stream is handed out; records that
//! carry such a proof; an upload limit over all streams; and scores that end in bans. It knows nothing of what is said on
//! a stream, of money, or of jobs.
//!
//! [`Mesh::start`] gives a [`MeshHandle`]; one task behind it owns everything.
#![warn(missing_docs)]

mod binding;
mod config;
mod error;
mod faults;
mod gossip;
mod handle;
mod node_key;
mod overlay;
mod owner;
mod peers;
mod protocol;
mod provider_ledger;
mod record;
mod sessions;
mod stream;
mod upload_limit;

pub use binding::{BindingError, MAX_BINDING_BYTES, MAX_CHAIN_ID_BYTES, WalletBinding};
pub use config::{MeshConfig, Reachability};
pub use error::MeshError;
pub use faults::{BAN_AT, BAN_FOR, Fault};
pub use gossip::{GossipMessage, MAX_GOSSIP_BYTES, Subscription};
pub use handle::{Incoming, Mesh, MeshHandle};
pub use libp2p::{Multiaddr, PeerId};
pub use node_key::NodeKey;
pub use peers::{MeshEvent, NatState, PeerInfo};
pub use protocol::{Protocol, Topic};
pub use provider_ledger::MAX_KEY_BYTES;
pub use record::{MAX_RECORD_BYTES, MAX_RECORD_NAME_BYTES, SignedRecord};
pub use stream::{MeshStream, TrafficTotals};
pub use upload_limit::UploadLimit;
