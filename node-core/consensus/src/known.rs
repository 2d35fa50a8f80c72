//! Blocks that were executed, as the rules see them.

use std::sync::Arc;

use theta_types::{Block, BlockHash, BlockHeader, Decode, Height, ValidatorCandidatePool, ValidatorSet};

use crate::error::ChainError;
use crate::status::BlockStatus;

/// An executed block.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) hash: BlockHash,
    pub(crate) block: Arc<Block>,
    pub(crate) status: BlockStatus,
    pub(crate) validator_update: bool,
}

impl Known {
    pub(crate) fn header(&self) -> &BlockHeader {
        &self.block.header
    }

    pub(crate) fn height(&self) -> Height {
        self.block.header.height
    }
}

/// Where executed blocks and their states are found.
pub(crate) trait KnownBlocks {
    /// The block, if it was executed here.
    fn known(&self, hash: BlockHash) -> Result<Option<Known>, ChainError>;

    /// A value in the state after the block.
    fn state_value(&self, block: &Known, key: &[u8]) -> Result<Option<Vec<u8>>, ChainError>;

    /// Who votes on the block (spec 03 section 2.3): two steps back along the certificates.
    fn validators_of(&self, block: &Known) -> Result<ValidatorSet, ChainError> {
        self.validators_back(block, 2)
    }

    /// Who proposes on top of the block, and whose votes end epochs: one step back.
    fn validators_after(&self, block: &Known) -> Result<ValidatorSet, ChainError> {
        self.validators_back(block, 1)
    }

    /// Chosen from the candidates in the state of the block that is reached by so many steps along the certificates.
    fn validators_back(&self, block: &Known, steps: usize) -> Result<ValidatorSet, ChainError> {
        let mut at = block.clone();
        for _ in 0..steps {
            let committed = at.header().hcc.block_hash;
            if committed.is_zero() || at.status == BlockStatus::Trusted {
                break;
            }
            at = self.known(committed)?.ok_or_else(|| {
                ChainError::damaged(format!("block {committed}, which {} builds on, is missing", at.hash))
            })?;
        }
        let pool = self.state_value(&at, theta_ledger::keys::VALIDATOR_CANDIDATES)?;
        let pool = pool.map_or_else(
            || Ok(ValidatorCandidatePool::default()),
            |value| ValidatorCandidatePool::from_rlp(&value),
        );
        let pool = pool.map_err(|error| {
            ChainError::damaged(format!("validator candidates in the state of block {}: {error}", at.hash))
        })?;
        Ok(ValidatorSet::select(&pool))
    }
}
