//! Making a genesis for a network of one's own.

use std::collections::BTreeMap;
use std::sync::Arc;

use theta_types::{
    Account, Address, BlockHeader, Coins, Encode, Height, HeightList, Stake, StakeHolder, Timestamp,
    ValidatorCandidatePool, Wei,
};

use super::{ACCOUNTS, Genesis, GenesisError, STAKE_HEIGHTS, VALIDATOR_CANDIDATES};
use crate::nodes::MemoryNodes;
use crate::trie::Trie;

/// Collects balances and stakes, and makes a genesis of them (spec 03 section 9.3). The same input gives the same block hash.
#[derive(Debug, Clone)]
pub struct GenesisBuilder {
    chain_id: String,
    timestamp: u64,
    balances: BTreeMap<Address, Coins>,
    stakes: Vec<(Address, Address, Wei)>,
}

impl GenesisBuilder {
    /// For a chain of this name that begins at this time, in seconds since 1970.
    pub fn new(chain_id: impl Into<String>, timestamp: u64) -> Self {
        Self { chain_id: chain_id.into(), timestamp, balances: BTreeMap::new(), stakes: Vec::new() }
    }

    /// Gives coins to an account, in addition to what it was given before.
    #[must_use]
    pub fn fund(mut self, address: Address, coins: Coins) -> Self {
        *self.balances.entry(address).or_default() += coins;
        self
    }

    /// Moves Theta from the source's balance to the holder's stake as a validator.
    #[must_use]
    pub fn stake(mut self, source: Address, holder: Address, theta: Wei) -> Self {
        self.stakes.push((source, holder, theta));
        self
    }

    /// Makes the genesis.
    ///
    /// # Errors
    /// A source stakes more than it was given.
    pub fn build(mut self) -> Result<Genesis, GenesisError> {
        let mut pool = ValidatorCandidatePool::default();
        for (source, holder, theta) in self.stakes {
            let balance = self.balances.get_mut(&source).ok_or(GenesisError::StakeNotCovered(source))?;
            balance.theta = balance.theta.checked_sub(&theta).ok_or(GenesisError::StakeNotCovered(source))?;
            deposit(&mut pool, source, holder, theta);
        }
        pool.sort();

        let mut state = Trie::empty(Arc::new(MemoryNodes::default()));
        for (address, balance) in self.balances {
            let account = Account { balance, ..Account::new(address, Height(0)) };
            state.insert(&[ACCOUNTS, address.as_slice()].concat(), account.to_rlp())?;
        }
        state.insert(VALIDATOR_CANDIDATES, pool.to_rlp())?;
        state.insert(STAKE_HEIGHTS, HeightList { heights: vec![Height(0)] }.to_rlp())?;

        let header = BlockHeader {
            chain_id: self.chain_id,
            state_hash: state.root(),
            timestamp: Timestamp::from(self.timestamp),
            ..BlockHeader::default()
        };
        Genesis::checked(header, state)
    }
}

fn deposit(pool: &mut ValidatorCandidatePool, source: Address, holder: Address, theta: Wei) {
    let candidates = &mut pool.sorted_candidates;
    let at = candidates.iter().position(|candidate| candidate.holder == holder).unwrap_or_else(|| {
        candidates.push(StakeHolder { holder, stakes: Vec::new() });
        candidates.len() - 1
    });
    let stakes = &mut candidates[at].stakes;
    match stakes.iter_mut().find(|stake| stake.source == source) {
        Some(stake) => stake.amount += theta,
        None => stakes.push(Stake::new(source, theta)),
    }
}
