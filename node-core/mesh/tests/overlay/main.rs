//! Real nodes on the loopback interface.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod gossip;
mod hostile;
mod limits;
mod lookups;
mod neighbours;
mod network;
mod strangers;
mod streams;
mod vanishing;
