//! What a node has to be told of the network that it joins.

use std::time::Duration;

use theta_types::{BlockHash, ChainRules};

/// A network: its rules, its first block, its rhythm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Chain id and fork heights.
    pub rules: ChainRules,
    /// The one thing that a node trusts without proof.
    pub genesis_hash: BlockHash,
    /// How long to wait for what.
    pub timing: Timing,
}

/// The two waits of an epoch (spec 03 section 2.5). They are local policy: nodes with different ones understand each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Earliest vote after an epoch begins, which is the time between blocks when all goes well.
    pub min_block_interval: Duration,
    /// When to give an epoch up. Longer than the other.
    pub max_epoch_length: Duration,
}

impl Timing {
    /// Of the public networks: 6 and 12 seconds.
    pub const fn public() -> Self {
        Self { min_block_interval: Duration::from_secs(6), max_epoch_length: Duration::from_secs(12) }
    }

    /// Of the network of one machine: a block a second.
    pub const fn local() -> Self {
        Self { min_block_interval: Duration::from_secs(1), max_epoch_length: Duration::from_secs(2) }
    }
}
