//! What the overlay adds to libp2p: the proof of wallets on each connection, and streams on proven ones.
//!
//! On a new connection each side opens a hello stream and sends its [`WalletBinding`](crate::WalletBinding). Streams that
//! a peer opens meanwhile wait; they are handed out when its binding is verified, and dropped with the connection when
//! it is not. [`Sessions`] is the part in the swarm's task, [`Handler`] the part beside each connection.

mod behaviour;
mod handler;
mod hello;
mod upgrade;

pub(crate) use behaviour::{SessionEvent, Sessions};
pub(crate) use handler::OpenFailure;
pub(crate) use hello::HELLO;
