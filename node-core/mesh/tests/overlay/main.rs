//! Real nodes on the loopback interface.

mod gossip;
mod hostile;
mod limits;
mod lookups;
mod network;
mod strangers;
mod streams;
mod vanishing;
