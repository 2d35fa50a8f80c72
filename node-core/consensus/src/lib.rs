//! The consensus of the Theta chain: which block comes next, which votes commit it, when it is final.
//!
//! [`Chain::start`] opens the chain in a data folder and gives a [`ChainHandle`], everybody's way to it. Behind it one task owns an
//! [`Engine`]: blocks, votes and the passing of time go in; votes, proposals and final blocks come out, after they are durable. Execution is
//! the ledger's, bytes are the types', pages on disk are the state's; messages to other nodes are carried by somebody else.
//! [`verify`] checks a data folder from genesis on. [`local_network`] makes the chain that a machine has for itself.
#![warn(missing_docs)]

mod block_rules;
mod chain;
mod chain_status;
mod engine;
mod error;
mod events;
mod go_rand;
mod handle;
mod known;
mod local;
mod memory;
mod network;
mod proposer;
mod recent;
mod status;
mod store;
#[cfg(test)]
mod test_data;
mod tree;
mod verify;
mod votes;

pub use block_rules::BlockRefusal;
pub use chain::{Chain, ChainConfig, DATABASE, GenesisSource};
pub use chain_status::ChainStatus;
pub use engine::{Engine, Input, Now, Outgoing, Output};
pub use error::{ChainError, SubmitError};
pub use events::ChainEvent;
pub use handle::{ChainHandle, StoredBlock, TransactionStatus};
pub use local::local_network;
pub use network::{Network, Timing};
pub use proposer::proposer;
pub use status::BlockStatus;
pub use store::TxPlace;
pub use verify::{VerifyError, VerifyProgress, VerifyReport, verify};
