//! What the chain tells those who listen.

use theta_types::{BlockHash, Height};

/// Something happened on the chain. It is durable by the time that it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainEvent {
    /// A block became final. They come by ascending height, each once; a listener that was too slow reads those it missed by height.
    Finalized {
        /// Its height.
        height: Height,
        /// Its hash.
        hash: BlockHash,
    },
}
