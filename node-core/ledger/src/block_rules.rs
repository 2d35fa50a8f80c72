//! Which rules hold for the block that is built or applied.

use theta_types::{ChainRules, Height};

/// The rules of one block. Most of them ask for the block's own height; what transactions call "now" is the parent's height.
#[derive(Debug, Clone, Copy)]
pub struct BlockRules<'a> {
    chain: &'a ChainRules,
    parent_height: Height,
}

impl<'a> BlockRules<'a> {
    /// For the block after one of `parent_height`.
    pub fn after(chain: &'a ChainRules, parent_height: Height) -> Self {
        Self { chain, parent_height }
    }

    /// Height of the parent: `H` of spec 02.
    pub fn parent_height(&self) -> Height {
        self.parent_height
    }

    /// Height of the block: `B` of spec 02.
    pub fn height(&self) -> Height {
        self.parent_height.next()
    }

    /// The chain's name, as it is signed.
    pub fn chain_id(&self) -> &'a str {
        &self.chain.chain_id
    }

    pub(crate) fn validators_earn(&self) -> bool {
        self.height() >= self.chain.forks.validator_reward
    }

    pub(crate) fn contracts_exist(&self) -> bool {
        self.height() >= self.chain.forks.smart_contract
    }

    pub(crate) fn fees_of_june_2021(&self) -> bool {
        self.height() >= self.chain.forks.june_2021_fees
    }

    pub(crate) fn second_wrapper_counts(&self) -> bool {
        self.height() >= self.chain.forks.tx_wrapper_extension
    }
}
